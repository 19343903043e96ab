//! Whether each verdict was made with the authority that its receipt names.
//!
//! The adversary is a node that lets an agent act outside of its capability and says afterwards that there was none, or
//! that less of it was used up.

use tipstaff_core::Json;
use tipstaff_core::receipt::Receipt;

use crate::judge::{Authority, Facts, Kept};
use crate::used::{SPENT, Used};

/// What a receipt says of its authority, and its inputs don't.
pub(super) fn fault(facts: &Facts, receipt: &Receipt, used: &Used) -> Option<&'static str> {
    let said = |name| receipt.authority.as_ref().and_then(|authority| authority.get(name));
    let names = said("capability").is_some();
    let refused = said("refused").and_then(Json::as_str);
    let presented = match &facts.authority {
        Authority::Policies | Authority::Nothing => {
            return (names || refused.is_some()).then_some("authority");
        }
        Authority::Refused(fault) => {
            let told = names || refused == Some(fault.as_str());
            return (!told).then_some("authority");
        }
        Authority::Capability(presented) => presented,
    };
    let Kept::Read(_, capability) = &presented.token else { return Some("capability") };
    let ids = capability.ids().iter().map(|id| Json::String(id.to_hex())).collect();
    if said("capability") != Some(&Json::Array(ids)) {
        return Some("capability");
    }
    if presented.session != receipt.session || presented.position > receipt.as_of.size {
        return Some("position or session");
    }
    let metered: Vec<_> = presented.metered.iter().map(|metered| &metered.meter).collect();
    let is_same = metered.iter().copied().eq(capability.meters());
    // A sum whose parts were deleted since was known then.
    let counted = presented.metered.iter().all(|metered| {
        let now = used.of(capability.ids(), &metered.meter);
        now == metered.value || now >= SPENT
    });
    (!is_same || !counted).then_some("uses")
}
