//! What a refused agent is told: who refused, why, and what to do instead.
//!
//! The adversary is the agent that takes a refusal for a fault and tries again for ever, or the person
//! who can't find out which rule it was.

use tipstaff_core::{Action, Digest, Label, Verdict};

use super::admit::After;
use super::{Member, Monitor};
use crate::judge::Judged;
use crate::permit::Refusal;
use crate::policies::Rules;

/// What a refusal is made from.
pub(super) struct Words<'a> {
    pub(super) member: &'a Member,
    pub(super) action: &'a Action,
    pub(super) judged: &'a Judged,
    pub(super) rules: &'a Rules,
    pub(super) after: Option<After>,
    /// The earlier actions that it rests on, by the label that each brought in.
    pub(super) brought: Vec<(Label, Digest)>,
}

impl Monitor {
    pub(super) fn refusal(&self, words: &Words<'_>, receipt: Digest) -> Refusal {
        let Words { member, action, judged, rules, after, brought } = words;
        let why = match (judged.reason, judged.verdict) {
            ("tool_changed" | "tool_unlisted", _) => self.describe_listing(member, action, rules),
            (_, Verdict::StepUp) => {
                "It has to be approved by a person, and nobody is asked here (`approval_wait_s = 0`), or too \
                 many calls wait already. It was not done.".to_owned()
            }
            ("risk", _) => risky(brought),
            (_, Verdict::Defer) => {
                "It needs context that is not known yet, so it was not done.".to_owned()
            }
            (reason, _) => {
                explained(reason).map_or_else(|| format!("Reason: {reason}."), str::to_owned)
            }
        };
        let rule =
            judged.rule.as_ref().map_or_else(String::new, |rule| format!(" by policy `{rule}`"));
        let advice = judged.advice.as_ref().map_or_else(String::new, |advice| format!(" {advice}"));
        let again = match (judged.reason, after) {
            ("rate" | "paused", _) => "Don't repeat it now.",
            (_, Some(_)) => "Repeating it asks a person again.",
            _ => "Repeating the same call gives the same answer.",
        };
        Refusal {
            verdict: Some(judged.verdict),
            receipt: Some(receipt),
            rule: judged.rule.clone(),
            text: format!(
                "Tipstaff refused this call ({}{rule}; {}, {}). {why}{advice} {again} Receipt {}.",
                judged.verdict,
                judged.class,
                judged.tier,
                receipt.short()
            ),
        }
    }
}

/// What came together, and which actions brought it.
fn risky(brought: &[(Label, Digest)]) -> String {
    let named = brought.iter().map(|(label, of)| format!("{label} (receipt {})", of.short()));
    format!(
        "It leads outside, and this session has met, in earlier actions, what must not come together with \
         that: {}. Each alone is harmless.",
        named.collect::<Vec<_>>().join(", ")
    )
}

fn explained(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "no_rule" => "No policy permits it.",
        "approval_expired" => "A person had to approve it, and nobody did in time.",
        "approval_policy_changed" => "The policies changed while it waited for approval.",
        "approval_refused" => "A person looked at it and refused.",
        "approval_withdrawn" => "Whoever asked for it is gone.",
        "drifted" => "It is permitted, but too far from what the user asked for.",
        "budget" => "The number of calls that this session may make is used up: tell the user.",
        "paused" => "The operator has paused everything: stop, and tell the user.",
        "rate" => "This tool was called too often within a minute: go on with something else.",
        "repeated" => {
            "The same call was refused several times within a minute: stop repeating it, and tell the \
             user what you need."
        }
        _ => return None,
    })
}
