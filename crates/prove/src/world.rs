//! What is true of every request that is ever judged, and the policies as sets whose permission is a verdict's.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet as CedarSet};
use tipstaff_policy::{Does, PolicySet, Ranked};

use crate::{Claim, ProveError};

/// Most servers of which is said that a tool is in one of them alone.
const SERVERS_MAX: usize = 16;

/// Conditions that hold for every request of the engine. What they leave out is proved about too, though it can't
/// happen; what they say has to be so, which a test holds.
pub const ALWAYS: [&str; 8] = [
    "[1, 2, 3, 4, 5].contains(context.tier)",
    "[0, 50, 100].contains(context.confidence)",
    "context.unclassified == (context.confidence == 0)",
    "[\"none\", \"local\", \"external\", \"unknown\"].contains(context.sink)",
    "context.risk >= 0 && context.risk <= 110",
    "context.sensitivity >= 0 && context.sensitivity <= 3",
    "context.distance_ppm >= 0 && context.distance_max_ppm >= 0 && context.distance_average_ppm >= 0",
    "context.now >= datetime(\"1970-01-01\")",
];

/// The entities of a kind that policies name.
pub(crate) fn named(set: &PolicySet, kind: &str) -> BTreeSet<String> {
    let literals = set.ranked().flat_map(|ranked| ranked.policy.entity_literals());
    let of_kind = literals.filter(|uid| uid.type_name().to_string() == kind);
    of_kind.map(|uid| uid.id().unescaped().to_owned()).collect()
}

/// What holds of the tools and servers that are named: a call of a tool is on that tool, and a tool is in its server
/// alone.
pub(crate) fn hierarchy(
    action: &EntityUid,
    tools: &BTreeSet<String>,
    servers: &BTreeSet<String>,
) -> Vec<String> {
    let literal = |kind: &str, id: &str| format!("{kind}::\"{}\"", id.escape_default());
    let mut holds = Vec::new();
    let called = action.id().unescaped().strip_prefix("call:").filter(|tool| *tool != "*");
    if let Some(tool) = called {
        holds.push(format!("resource == {}", literal("Tool", tool)));
    }
    let tools: BTreeSet<&str> = tools.iter().map(String::as_str).chain(called).collect();
    for tool in tools {
        let own = tool.split_once('/').map_or("", |(server, _)| server);
        let (name, is_in) = (literal("Tool", tool), literal("Server", own));
        if servers.contains(own) {
            holds.push(format!("resource != {name} || resource in {is_in}"));
        }
        for server in servers.iter().filter(|server| *server != own) {
            let server = literal("Server", server);
            holds.push(format!("resource != {name} || !(resource in {server})"));
        }
    }
    if servers.len() <= SERVERS_MAX {
        for (at, one) in servers.iter().enumerate() {
            for other in servers.iter().skip(at + 1) {
                let (one, other) = (literal("Server", one), literal("Server", other));
                holds.push(format!("!(resource in {one} && resource in {other})"));
            }
        }
    }
    holds
}

/// The policies as Cedar sets, of which some one permits exactly where the verdict may be one that the claim rules
/// out.
///
/// The highest rank among the matching policies decides (docs/policies.md). So for each rank `r` of a permit there is
/// a set: the permits of rank `r`, and the forbids without a rank or of rank `r` and above. If one of these sets
/// permits, the highest rank that matches holds permits alone; and if it does, the set of that rank permits. Where
/// approval is left out, what asks at rank `r`, and every permit above it, forbids in the set of `r`.
pub(crate) fn sets(set: &PolicySet, claim: Claim) -> Result<Vec<CedarSet>, ProveError> {
    let all: Vec<Ranked<'_>> = set.ranked().collect();
    let forbids = |at: i64| {
        all.iter()
            .filter(move |one| one.does == Does::Forbids && one.rank.is_none_or(|rank| rank >= at))
            .map(|one| one.policy.clone())
    };
    let grants = |one: &&Ranked<'_>| matches!(one.does, Does::Permits | Does::Asks);
    let ranks: BTreeSet<i64> = all.iter().filter(grants).map(|one| one.rank.unwrap_or(0)).collect();
    let mut sets = Vec::new();
    for at in ranks {
        let mut policies: Vec<Policy> = forbids(at).collect();
        for one in all.iter().filter(grants) {
            let rank = one.rank.unwrap_or(0);
            match claim {
                Claim::Never if rank == at => policies.push(one.policy.clone()),
                Claim::Never => {}
                Claim::NeverUnapproved if rank == at && one.does == Does::Permits => {
                    policies.push(one.policy.clone());
                }
                Claim::NeverUnapproved if rank >= at => policies.push(forbidding(one.policy)?),
                Claim::NeverUnapproved => {}
            }
        }
        sets.push(policies);
    }
    // What nothing permits or forbids may be asked for.
    if claim == Claim::Never && all.iter().any(|one| one.does == Does::AsksIfAligned) {
        let mut policies: Vec<Policy> = forbids(i64::MIN).collect();
        for one in &all {
            match one.does {
                Does::AsksIfAligned => policies.push(one.policy.clone()),
                Does::Permits | Does::Asks => policies.push(forbidding(one.policy)?),
                Does::Forbids => {}
            }
        }
        sets.push(policies);
    }
    let sets = sets.into_iter().map(CedarSet::from_policies);
    sets.collect::<Result<_, _>>().map_err(|error| ProveError::NotLogic(error.to_string()))
}

/// The policies whose scope lets them be about an action: the others neither match nor err there.
pub(crate) fn about(set: &CedarSet, action: &EntityUid) -> Result<CedarSet, ProveError> {
    let is_call = action.id().unescaped().starts_with("call:");
    let holds = |uid: &EntityUid| uid == action || (is_call && uid.id().unescaped() == "call");
    let about = set.policies().filter(|policy| match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => uid == *action,
        ActionConstraint::In(uids) => uids.iter().any(holds),
    });
    let about = CedarSet::from_policies(about.cloned());
    about.map_err(|error| ProveError::NotLogic(error.to_string()))
}

/// The same policy as a forbid.
fn forbidding(policy: &Policy) -> Result<Policy, ProveError> {
    let not_logic = |error: &dyn std::fmt::Display| ProveError::NotLogic(error.to_string());
    let mut json = policy.to_json().map_err(|error| not_logic(&error))?;
    if let Some(effect) = json.get_mut("effect") {
        *effect = "forbid".into();
    }
    let id: PolicyId = policy.id().clone();
    Policy::from_json(Some(id), json).map_err(|error| not_logic(&error))
}
