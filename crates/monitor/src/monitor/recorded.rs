//! What a verdict's receipt says.
//!
//! The adversary reads the public log, where no argument and no operator's word belongs, or watches over a shoulder.

use tipstaff_context::Context;
use tipstaff_core::receipt::Signed;
use tipstaff_core::{Action, Digest, Json, Label, Millis};
use tipstaff_policy::Reason;

use crate::fold::declassify;
use crate::judge::Judged;
use crate::queue::Missing;
use crate::repeat::Covering;
use crate::wire::{number, object, text};

/// What a verdict obliges to: a changed action, labels that no longer apply.
pub(super) fn obligations(judged: &Judged) -> Option<Json> {
    let mut members = Vec::new();
    if let Some((_, patch)) = &judged.modified {
        // The patch's own name is the operator's word, so the public log has its digest.
        let digest = Json::String(Digest::of(patch.as_bytes()).to_hex());
        members.push(("modify".to_owned(), digest));
    }
    if !judged.declassify.is_empty() {
        members.push(declassify(judged.declassify));
    }
    if members.is_empty() { None } else { Json::object(members) }
}

/// The earlier actions without which a session's context would not have refused.
pub(super) fn brought(context: &Context, judged: &Judged) -> Vec<(Label, Digest)> {
    if judged.reason != Reason::Risk.as_str() {
        return Vec::new();
    }
    let labels = context.labels().iter().filter(|label| *label != Label::External);
    labels.filter_map(|label| Some((label, context.brought(label)?))).collect()
}

/// One line for whoever watches. Arguments are not for a screen that others may see.
pub(super) fn shown(signed: &Signed, action: &Action, expires: Option<Millis>) -> Json {
    let receipt = signed.receipt();
    let decision = receipt.decision.as_ref();
    object([
        ("class", Json::string(&receipt.action)),
        ("door", Json::string(receipt.door.as_str())),
        ("enforcement", Json::string(receipt.enforcement.as_str())),
        ("held_until", expires.map_or(Json::Null, |expires| number(expires.0))),
        ("now", number(receipt.now.0)),
        ("proof", Json::string(receipt.identity.agent.proof.as_str())),
        ("reason", text(decision.map(|decision| decision.reason.as_str()))),
        ("receipt", Json::String(signed.hash().to_hex())),
        ("rule", text(decision.and_then(|decision| decision.rule.as_deref()))),
        ("session", Json::string(&receipt.session)),
        ("tier", number(u64::from(receipt.tier.number()))),
        ("tool", Json::String(action.qualified_tool())),
        ("verdict", text(decision.map(|decision| decision.verdict.as_str()))),
    ])
}

pub(super) fn waiting(expires: Millis) -> Json {
    object([("expires", number(expires.0)), ("state", Json::string("held"))])
}

pub(super) fn rests_on(approval: Digest) -> Json {
    object([("receipt", Json::String(approval.to_hex()))])
}

/// What the receipt says of a call that an earlier yes covers: which one, and how many it is by now.
pub(super) fn rests_on_one_of(covering: &Covering) -> Json {
    let of = Json::String(covering.of.to_hex());
    object([("receipt", of), ("use", number(covering.used.saturating_add(1)))])
}

/// What the receipt of a deferred call says of it.
pub(super) fn deferred(missing: &Missing, expires: Millis) -> Json {
    let after = missing.after.iter().map(|of| Json::String(of.to_hex())).collect();
    let names = missing.names.iter().map(|name| Json::string(name)).collect();
    object([
        ("after", Json::Array(after)),
        ("expires", number(expires.0)),
        ("missing", Json::Array(names)),
        ("state", Json::string("deferred")),
    ])
}

/// What the receipt says that follows it.
pub(super) fn resolved(of: Digest) -> Json {
    object([("of", Json::String(of.to_hex())), ("state", Json::string("resolved"))])
}
