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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tipstaff_core::key::SigningKey;
    use tipstaff_core::receipt::{Door, Kind};
    use tipstaff_core::{Action, Digest, Millis, Tier};
    use tipstaff_identity::capability::{
        Caveat, Compare, Fault, Metered, Number, Part, Token, grant,
    };

    use super::*;
    use crate::judge::Presented;
    use crate::sessions::tests::session;

    #[test]
    fn a_receipt_and_its_inputs_name_the_same_authority() {
        let key = SigningKey::from_seed(&[1; 32].into()).unwrap();
        let bounds = vec![(Compare::Less, 5)];
        let uses = Part::Caveat(Caveat::Bounds { of: Number::Uses(0), bounds });
        let (bytes, root) = grant(key.verifying_key(), &[uses]).unwrap();
        let capability = Token::decode(&bytes).unwrap().verify(&root).unwrap();
        let (ids, meter) = (capability.ids().to_vec(), capability.meters()[0].clone());
        let kept = Kept::Read(Digest::of(b"kept"), Arc::new(capability));
        let with = |value, position, session: &str| {
            let metered = vec![Metered { meter: meter.clone(), value }];
            let session = session.to_owned();
            Authority::Capability(Presented { token: kept.clone(), position, session, metered })
        };
        let facts = |authority| Facts { authority, ..crate::kept::tests::plain() };
        let mut receipt =
            session().receipt(Kind::Verdict, ("a", Tier::T1), Door::McpStdio, Millis(1));
        receipt.as_of.size = 9;
        let mut used = Used::default();
        let says =
            |receipt: &Receipt, authority, used: &Used| fault(&facts(authority), receipt, used);
        assert_eq!(says(&receipt, Authority::Policies, &used), None);
        assert_eq!(says(&receipt, Authority::Nothing, &used), None);
        // The receipt names none, and one was used; or the other way round.
        assert!(says(&receipt, with(0, 9, "s"), &used).is_some());
        assert!(says(&receipt, Authority::Refused(Fault::Forged), &used).is_some());
        let named =
            |ids: Vec<Json>| Json::object(vec![("capability".to_owned(), Json::Array(ids))]);
        let own: Vec<Json> = ids.iter().map(|id| Json::String(id.to_hex())).collect();
        receipt.authority = named(own);
        assert_eq!(says(&receipt, with(0, 9, "s"), &used), None);
        assert_eq!(says(&receipt, Authority::Refused(Fault::Revoked), &used), None);
        assert!(says(&receipt, Authority::Policies, &used).is_some());
        assert!(says(&receipt, with(0, 10, "s"), &used).is_some(), "a later position");
        assert!(says(&receipt, with(0, 9, "t"), &used).is_some(), "another session");
        let action = Action::new("s", "t", "tools/call", Json::Null, None).unwrap();
        used.add(&ids, [&meter].into_iter(), &action);
        assert!(says(&receipt, with(0, 9, "s"), &used).is_some(), "less than was used");
        assert_eq!(says(&receipt, with(1, 9, "s"), &used), None);
        receipt.authority = named(vec![Json::String(Digest::ZERO.to_hex())]);
        assert!(says(&receipt, with(1, 9, "s"), &used).is_some(), "another capability");
    }
}
