//! What a refused agent is told: who refused, why, and what to do instead.
//!
//! The adversary is the agent that takes a refusal for a fault and tries again for ever, or the person
//! who can't find out which rule it was.

use std::fmt::Write as _;

use tipstaff_core::{Action, Digest, Label, Verdict};
use tipstaff_identity::capability::Fault;

use super::admit::{After, Held, Why};
use super::{Member, Monitor};
use crate::authority::NOTHING;
use crate::deferral::placeholder;
use crate::judge::Judged;
use crate::permit::Refusal;
use crate::policies::Rules;
use crate::queue::{Awaits, Hold, Missing};

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
            (NOTHING, _) => unauthorized(member, action),
            ("outside_capability", _) => "It is not in this agent's capability.".to_owned(),
            (_, Verdict::Defer) => {
                "It needs context that is not known yet, so it was not done.".to_owned()
            }
            (reason, _) => {
                let gives_nothing = Fault::parse(reason)
                    .map(|fault| format!("It was not done: {fault}, so it permits nothing: tell the user."));
                let explained = || explained(reason).map(str::to_owned);
                gives_nothing.or_else(explained).unwrap_or_else(|| format!("Reason: {reason}."))
            }
        };
        let rule =
            judged.rule.as_ref().map_or_else(String::new, |rule| format!(" by policy `{rule}`"));
        let advice = judged.advice.as_ref().map_or_else(String::new, |advice| format!(" {advice}"));
        let again = match (judged.reason, after) {
            ("rate" | "paused" | "class_rate" | "class_concurrent", _) => "Don't repeat it now.",
            (_, Some(After { why: Why::Answered(no), .. })) if !no.ends_deferral() => {
                "Repeating it asks a person again."
            }
            (_, Some(_)) => "Repeating it is a new call.",
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

impl From<&Hold> for Held {
    fn from(hold: &Hold) -> Self {
        let name = hold.receipt.short();
        let verdict = if hold.is_deferred() { Verdict::Defer } else { Verdict::StepUp };
        let text = match &hold.awaits {
            Awaits::Person => format!(
                "Tipstaff holds this call ({}, {}) for a person's approval, as {name}, until {}. It was \
                 not done. A person answers with `tipstaff approve {name}` or `tipstaff refuse {name}`; \
                 after that, the same call, repeated unchanged, runs once.",
                hold.class, hold.tier, hold.expires
            ),
            Awaits::Context(missing) => format!(
                "Tipstaff deferred this call ({}, {}), as {name}, until {}. It was not done. {} Go on with what \
                 does not depend on it. Where its result will be needed, write `{}`: such a call waits too, and is \
                 asked again with the real result. `tipstaff refuse {name}` ends it.",
                hold.class,
                hold.tier,
                hold.expires,
                supplied(missing, &hold.chain),
                placeholder(hold.receipt)
            ),
        };
        Self {
            receipt: hold.receipt,
            expires: hold.expires,
            rule: hold.rule.clone(),
            verdict,
            text,
        }
    }
}

/// What is missing, and who can supply it.
fn supplied(missing: &Missing, session: &str) -> String {
    match missing.reason.as_str() {
        "depends_on" => {
            let names: Vec<String> = missing.after.iter().map(Digest::short).collect();
            format!("It depends on calls that are not over yet: {}.", names.join(", "))
        }
        "conflict" => "Policies of equal rank disagree: the operator has to change one.".to_owned(),
        "uncertain" => {
            "What it does is not known well enough: the operator has to describe the tool \
             under `[meaning]`."
                .to_owned()
        }
        _ => {
            let given = |name: &&String| tipstaff_policy::is_given(name);
            let gives: Vec<String> = missing.names.iter().filter(given).cloned().collect();
            let mut text = format!("Not known yet: {}.", missing.names.join(", "));
            if !gives.is_empty() {
                let name = gives.first().map_or("", String::as_str);
                let _ = write!(
                    text,
                    " A person supplies it with `tipstaff session give {session} {name} VALUE`."
                );
            }
            if gives.len() < missing.names.len() {
                text.push_str(" The user supplies it by saying, in a request, what is wanted.");
            }
            text
        }
    }
}

impl From<Held> for Refusal {
    fn from(held: Held) -> Self {
        Self {
            verdict: Some(held.verdict),
            receipt: Some(held.receipt),
            rule: held.rule,
            text: held.text,
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

/// Which authority is missing, and how it is given.
fn unauthorized(member: &Member, action: &Action) -> String {
    let name = member.proven.as_ref().map_or("NAME", |proven| proven.speaker.name.as_str());
    format!(
        "This agent has neither a role nor a capability. Ask the user for one: `tipstaff grant --to {name} \
         --tool '{}' -o FILE`, and start again with `--capability FILE`.",
        action.qualified_tool()
    )
}

fn explained(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "no_rule" => "No policy permits it.",
        "approval_expired" => "A person had to approve it, and nobody did in time.",
        "approval_policy_changed" => "The policies changed while it waited for approval.",
        "approval_refused" => "A person looked at it and refused.",
        "approval_withdrawn" | "deferral_withdrawn" => "Whoever asked for it is gone.",
        "deferral_expired" => "What has to be known first did not become known in time.",
        "deferral_refused" => "A person ended its wait.",
        "deferral_cascade" => {
            "Too many calls of this session wait for context already: wait for them, or tell the user what is \
             missing."
        }
        "depends_on" => "It depends on a call that is not over yet.",
        "dependency_denied" => "A call that it depends on was refused.",
        "dependency_unknown" => {
            "It names a call that it depends on, and no such call was deferred in this session: name only \
             deferred calls."
        }
        "placeholder" => {
            "It carries a stand-in for a result, which is never sent on: ask again with the real result."
        }
        "class_tier" => {
            "It is of a tier that is not for agents of this kind: leave it to somebody else."
        }
        "class_size" => {
            "Its arguments are larger than agents of this kind may send: send less at a time."
        }
        "class_concurrent" => {
            "Too many calls of this session run already: wait until one of them has ended."
        }
        "class_rate" => {
            "This session called too often within a minute: wait, and do more with each call."
        }
        "drifted" => "It is permitted, but too far from what the user asked for.",
        "budget" => "The number of calls that this session may make is used up: tell the user.",
        "paused" => "The operator has paused everything: stop, and tell the user.",
        "principal" => "Whoever this agent acts as may not act any more: stop, and tell the user.",
        "unproven" => {
            "Callers that prove nothing may only do what changes nothing (T1), if anything: prove who you are \
             (docs/network.md)."
        }
        "rate" => "This tool was called too often within a minute: go on with something else.",
        "repeated" => {
            "The same call was refused several times within a minute: stop repeating it, and tell the \
             user what you need."
        }
        _ => return None,
    })
}
