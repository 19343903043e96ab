//! The policies of a set with what ranks and obligations make of them, for proofs about all requests.
//!
//! The adversary is a proof about something else than what decides: this hands out the very policies that are
//! evaluated, and judges a request that a prover made up by the order of the verdicts itself.

use cedar_policy::{Effect, Entities, Policy, Request as CedarRequest};
use tipstaff_core::{Action, Json, Labels, Millis, Sink, Tier};

use crate::decide::{Classified, Decision, InWords, Request, SessionContext};
use crate::paths::PathFacts;
use crate::risk::{Distances, Limits};
use crate::set::{Obligation, PolicySet};

/// One policy, and what it does when it matches.
#[derive(Debug, Clone, Copy)]
pub struct Ranked<'a> {
    /// Its id in receipts.
    pub id: &'a str,
    /// It.
    pub policy: &'a Policy,
    /// Its rank: `None` is a permit of rank 0, or a forbid above all ranks.
    pub rank: Option<i64>,
    /// What it does.
    pub does: Does,
}

/// What a policy that matches does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It forbids.
    Forbids,
    /// It permits, changed or not.
    Permits,
    /// It permits what a person approves.
    Asks,
    /// It lets a person be asked for what nothing else permits or forbids.
    AsksIfAligned,
}

impl PolicySet {
    /// The policies that decide.
    pub fn ranked(&self) -> impl Iterator<Item = Ranked<'_>> {
        let policies = self.index.policies().iter().zip(&self.rules);
        policies.map(|(policy, rule)| Ranked {
            id: &rule.id,
            policy,
            rank: rule.rank,
            does: match (policy.effect(), &rule.obligation) {
                (Effect::Forbid, _) => Does::Forbids,
                (Effect::Permit, Obligation::StepUp(_)) => Does::Asks,
                (Effect::Permit, Obligation::StepUpIfAligned) => Does::AsksIfAligned,
                (Effect::Permit, Obligation::None | Obligation::Modify(_)) => Does::Permits,
            },
        })
    }

    /// Whether a policy names a tool of a server as an action, so that it may look at its typed arguments.
    #[must_use]
    pub fn names_tools_of(&self, server: &str) -> bool {
        let prefix = format!("call:{server}/");
        let waits = self.pending.keys().any(|tool| tool.starts_with(&format!("{server}/")));
        waits
            || self.index.policies().iter().any(|policy| {
                let literals = policy.entity_literals();
                literals.iter().any(|uid| uid.id().unescaped().starts_with(&prefix))
            })
    }

    /// What the policies alone answer to a request in Cedar's own terms: without the limits of a configuration,
    /// near to what was asked for, and with no arguments that a patch could change. `None` if it can't be asked.
    #[must_use]
    pub fn policies_alone(&self, request: &CedarRequest, entities: &Entities) -> Option<Decision> {
        let outcome = self.index.whole().ok()?.evaluate(request, entities);
        let nothing = Json::Object(tipstaff_core::json::Object::default());
        let action = Action::new("any", "any", "tools/call", nothing, None).ok()?;
        let distances = Distances { ppm: 0, drift: (0, 0), is_semantic: true };
        let session = SessionContext {
            labels: Some(Labels::NONE),
            distances: Some(distances),
            ..SessionContext::default()
        };
        Some(self.conclude(
            &Request {
                action: &action,
                tier: Tier::T1,
                class: "unclassified",
                classified: Classified::Known,
                paths: PathFacts::default(),
                principal: "any",
                user: "any",
                roles: &[],
                sink: Sink::None,
                carries: Labels::NONE,
                words: InWords::default(),
                session: &session,
                limits: Limits { risk: None, aligned_ppm: Some(u32::MAX), ..Limits::default() },
                now: Millis(0),
            },
            &outcome,
        ))
    }
}
