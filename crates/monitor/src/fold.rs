//! What a receipt adds to its session's context: the one place that says so, for the running monitor, a
//! restart and a replay alike.
//!
//! The adversary is a crash, or a deletion, after which a session would know less than before. What can no
//! longer be read counts as the worst that it can have been.

use tipstaff_classify::Meaning;
use tipstaff_context::{Context, Entry, Step};
use tipstaff_core::receipt::{Kind, Signed, Status};
use tipstaff_core::{Digest, Json, Label, Labels, Sink};

use crate::kept::meaning_from_json;
use crate::wire::text_of;

/// The actions of a session's own receipts.
pub(crate) const ATTRIBUTE: &str = "session:attribute";
pub(crate) const DECLASSIFY: &str = "session:declassify";
pub(crate) const REQUEST: &str = "session:request";

/// Whether everything that a receipt adds could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Folded {
    Whole,
    /// Inputs are gone: the context knows the worst instead.
    Worst,
}

/// Folds a receipt in. `plain` are its kept inputs, where it has any and they are there.
pub(crate) fn fold(context: &mut Context, signed: &Signed, plain: Option<&[u8]>) -> Folded {
    let (receipt, hash) = (signed.receipt(), signed.hash());
    let json = plain.and_then(|plain| Json::parse(plain).ok());
    match receipt.kind {
        Kind::Verdict if receipt.permits() => {
            let step = json.as_ref().and_then(step_of);
            let folded = if step.is_some() { Folded::Whole } else { Folded::Worst };
            let unknown = Meaning { gives: worst(), sink: Sink::Unknown };
            let (tool, means) = step.unwrap_or_else(|| ("?".to_owned(), unknown));
            fold_action(context, signed, &tool, means);
            folded
        }
        Kind::Outcome => {
            let (Some(outcome), Some(of)) = (&receipt.outcome, receipt.of) else {
                return Folded::Whole;
            };
            let named = outcome.labels.as_deref().unwrap_or_default().iter().map(String::as_str);
            // What happened to an action is not known, so what it brought is not either.
            let unknown = if outcome.status == Status::Ambiguous { worst() } else { Labels::NONE };
            let labels = Labels::parse(named).unwrap_or_else(worst).union(unknown);
            if !labels.is_empty() {
                context.fold(&Entry::Outcome { labels, of, receipt: hash });
            }
            Folded::Whole
        }
        Kind::Session => match receipt.action.as_str() {
            REQUEST => {
                let text = json.and_then(|json| text_of(&json, "text"));
                let folded = if text.is_some() { Folded::Whole } else { Folded::Worst };
                let text = text.map_or(hash, |text| Digest::of(text.as_bytes()));
                context.fold(&Entry::Request { text, receipt: hash });
                folded
            }
            ATTRIBUTE => {
                let member = |name| json.as_ref().and_then(|json| text_of(json, name));
                let (Some(name), Some(value)) = (member("name"), member("value")) else {
                    return Folded::Worst;
                };
                context.fold(&Entry::Attribute { name: &name, value: &value, receipt: hash });
                Folded::Whole
            }
            DECLASSIFY => {
                let labels = declassified(receipt.obligations.as_ref());
                context.fold(&Entry::Declassified { labels, receipt: hash });
                Folded::Whole
            }
            _ => Folded::Whole,
        },
        Kind::Approval | Kind::Control | Kind::Deferral | Kind::Verdict | Kind::Void => {
            Folded::Whole
        }
    }
}

/// Folds a verdict in that permits.
pub(crate) fn fold_action(context: &mut Context, signed: &Signed, tool: &str, means: Meaning) {
    let (Meaning { gives, sink }, receipt) = (means, signed.receipt());
    let distance_ppm = receipt.context.as_ref().and_then(|context| context.distance_ppm);
    let (tier, hash) = (receipt.tier, signed.hash());
    context.fold(&Entry::Action(Step { tool, tier, gives, sink, distance_ppm, receipt: hash }));
    let labels = declassified(receipt.obligations.as_ref());
    if !labels.is_empty() {
        context.fold(&Entry::Declassified { labels, receipt: hash });
    }
}

/// The labels that an obligation takes from a session.
pub(crate) fn declassified(obligations: Option<&Json>) -> Labels {
    let named = obligations.and_then(|json| json.get("declassify")).and_then(Json::as_array);
    let named = named.unwrap_or_default().iter().filter_map(Json::as_str);
    Labels::parse(named).unwrap_or_default()
}

/// The obligation that takes labels from a session.
pub(crate) fn declassify(labels: Labels) -> (String, Json) {
    let names = labels.iter().map(|label| Json::string(label.as_str())).collect();
    ("declassify".to_owned(), Json::Array(names))
}

/// The tool of a verdict's inputs, and what it meant for its session.
fn step_of(json: &Json) -> Option<(String, Meaning)> {
    let tool = text_of(json.get("inputs")?, "tool")?;
    Some((tool, meaning_from_json(json.get("means")?)?))
}

fn worst() -> Labels {
    [Label::Unclassified, Label::Untrusted].into_iter().collect()
}
