//! Finds the policies that can matter for a request, and evaluates only those.
//!
//! The adversary is a large policy set that makes every decision slow: Cedar tries each policy in turn.
//! Policies are filed under the most telling entity of their scope. A slice holds exactly those whose
//! scope matches, so that its answer is the answer of the whole set, errors included: Cedar looks at
//! the scope first, and a policy whose scope does not match can neither match nor err.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{
    ActionConstraint, Authorizer, Effect, Entities, EntityTypeName, EntityUid, EvaluationError,
    Policy, PolicyId, PolicySet, PrincipalConstraint, Request, ResourceConstraint,
};
use cedar_policy::{AuthorizationError, PolicySetError};

use crate::memo::Memo;

/// Most slices kept ready; a fuller cache is emptied, which costs time and nothing else.
const SLICES_MAX: usize = 1024;

/// Policies, filed by scope.
#[derive(Debug)]
pub struct Index {
    policies: Vec<Policy>,
    scopes: Vec<[Constraint; 3]>,
    filed: HashMap<(Part, EntityUid), Vec<usize>>,
    unfiled: Vec<usize>,
    slices: Mutex<HashMap<Vec<usize>, Arc<Slice>>>,
}

/// What scope constraints are matched against: each entity first, then all its ancestors.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Who asks.
    pub principal: &'a [EntityUid],
    /// What is asked for.
    pub action: &'a [EntityUid],
    /// What it is done to.
    pub resource: &'a [EntityUid],
}

/// The policies whose scope matches a request, ready to evaluate.
#[derive(Debug)]
pub struct Slice {
    members: Vec<usize>,
    permits: PolicySet,
    forbids: PolicySet,
    pub(crate) memo: Memo,
}

/// What Cedar says about each policy of a slice, sorted by id: before any rule of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Permits that match.
    pub permits: Vec<PolicyId>,
    /// Forbids that match.
    pub forbids: Vec<PolicyId>,
    /// Policies that could not be evaluated, and why.
    pub errors: Vec<(PolicyId, EvaluationError)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Principal,
    Action,
    Resource,
}

#[derive(Debug)]
enum Constraint {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    In(Vec<EntityUid>),
    IsIn(EntityTypeName, EntityUid),
}

impl Index {
    /// Files policies, each with an id of its own. A policy's place in `policies` is its number.
    #[must_use]
    pub fn new(policies: Vec<Policy>) -> Self {
        let scopes: Vec<_> = policies.iter().map(scope_of).collect();
        let mut filed: HashMap<(Part, EntityUid), Vec<usize>> = HashMap::new();
        let mut unfiled = Vec::new();
        for (number, [principal, action, resource]) in scopes.iter().enumerate() {
            // A tool is named by fewer policies than a user, a user by fewer than an action.
            let under =
                [(Part::Resource, resource), (Part::Principal, principal), (Part::Action, action)]
                    .into_iter()
                    .find_map(|(part, constraint)| Some((part, constraint.entities()?)));
            match under {
                Some((part, entities)) => {
                    for entity in entities {
                        filed.entry((part, entity.clone())).or_default().push(number);
                    }
                }
                None => unfiled.push(number),
            }
        }
        Self { policies, scopes, filed, unfiled, slices: Mutex::default() }
    }

    /// The policies, in their order.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The slice for a scope.
    ///
    /// # Errors
    /// [`PolicySetError`] if two policies have the same id.
    pub fn slice(&self, scope: Scope<'_>) -> Result<Arc<Slice>, Box<PolicySetError>> {
        let members = self.candidates(scope);
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = slices.get(&members) {
            return Ok(Arc::clone(slice));
        }
        let slice = Arc::new(self.build(members.clone())?);
        if slices.len() >= SLICES_MAX {
            slices.clear();
        }
        slices.insert(members, Arc::clone(&slice));
        Ok(slice)
    }

    /// The policies about an action on a resource, whoever asks, and whether each is about anybody.
    pub(crate) fn about<'a>(
        &'a self,
        action: &'a [EntityUid],
        resource: &'a [EntityUid],
    ) -> impl Iterator<Item = (usize, bool)> + 'a {
        let scopes = self.scopes.iter().enumerate();
        let about = scopes.filter(|(_, [_, on, to])| on.matches(action) && to.matches(resource));
        about.map(|(number, [principal, ..])| (number, matches!(principal, Constraint::Any)))
    }

    /// All policies as one slice: the slow answer that the fast one must equal.
    ///
    /// # Errors
    /// [`PolicySetError`] if two policies have the same id.
    pub fn whole(&self) -> Result<Slice, Box<PolicySetError>> {
        self.build((0..self.policies.len()).collect())
    }

    fn candidates(&self, scope: Scope<'_>) -> Vec<usize> {
        let parts = [
            (Part::Resource, scope.resource),
            (Part::Principal, scope.principal),
            (Part::Action, scope.action),
        ];
        let mut found = self.unfiled.clone();
        for (part, lineage) in parts {
            for entity in lineage {
                // The key is cloned because the map owns its keys; ids are shared, not copied.
                found.extend(self.filed.get(&(part, entity.clone())).into_iter().flatten());
            }
        }
        found.retain(|number| {
            self.scopes.get(*number).is_some_and(|[principal, action, resource]| {
                principal.matches(scope.principal)
                    && action.matches(scope.action)
                    && resource.matches(scope.resource)
            })
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    fn build(&self, members: Vec<usize>) -> Result<Slice, Box<PolicySetError>> {
        let (mut permits, mut forbids) = (PolicySet::new(), PolicySet::new());
        for policy in members.iter().filter_map(|number| self.policies.get(*number)) {
            let set = match policy.effect() {
                Effect::Permit => &mut permits,
                Effect::Forbid => &mut forbids,
            };
            set.add(policy.clone()).map_err(Box::new)?;
        }
        Ok(Slice { members, permits, forbids, memo: Memo::default() })
    }
}

impl Slice {
    /// The numbers of the policies in this slice, ascending.
    #[must_use]
    pub fn members(&self) -> &[usize] {
        &self.members
    }

    /// Evaluates every policy of the slice.
    #[must_use]
    pub fn evaluate(&self, request: &Request, entities: &Entities) -> Outcome {
        // Permits and forbids are asked separately: Cedar does not report the permits that a forbid
        // overrides, and ranks need both.
        let authorizer = Authorizer::new();
        let mut outcome = Outcome::default();
        for (set, matched) in
            [(&self.permits, &mut outcome.permits), (&self.forbids, &mut outcome.forbids)]
        {
            if set.is_empty() {
                continue;
            }
            let response = authorizer.is_authorized(request, set, entities);
            matched.extend(response.diagnostics().reason().cloned());
            outcome.errors.extend(response.diagnostics().errors().map(
                |AuthorizationError::PolicyEvaluationError(error)| {
                    (error.policy_id().clone(), error.inner().clone())
                },
            ));
        }
        outcome.permits.sort();
        outcome.forbids.sort();
        outcome.errors.sort_by(|(a, _), (b, _)| a.cmp(b));
        outcome
    }
}

impl Constraint {
    /// The entities to file a policy under, `None` if the constraint names none.
    fn entities(&self) -> Option<BTreeSet<&EntityUid>> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(entity) | Self::IsIn(_, entity) => Some(BTreeSet::from([entity])),
            Self::In(entities) => Some(entities.iter().collect()),
        }
    }

    fn matches(&self, lineage: &[EntityUid]) -> bool {
        let is = |kind: &EntityTypeName| lineage.first().is_some_and(|uid| uid.type_name() == kind);
        match self {
            Self::Any => true,
            Self::Is(kind) => is(kind),
            Self::Eq(entity) => lineage.first() == Some(entity),
            Self::In(entities) => entities.iter().any(|entity| lineage.contains(entity)),
            Self::IsIn(kind, entity) => is(kind) && lineage.contains(entity),
        }
    }
}

fn scope_of(policy: &Policy) -> [Constraint; 3] {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => Constraint::Any,
        PrincipalConstraint::Is(kind) => Constraint::Is(kind),
        PrincipalConstraint::Eq(uid) => Constraint::Eq(uid),
        PrincipalConstraint::In(uid) => Constraint::In(vec![uid]),
        PrincipalConstraint::IsIn(kind, uid) => Constraint::IsIn(kind, uid),
    };
    let action = match policy.action_constraint() {
        ActionConstraint::Any => Constraint::Any,
        ActionConstraint::Eq(uid) => Constraint::Eq(uid),
        ActionConstraint::In(uids) => Constraint::In(uids),
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any => Constraint::Any,
        ResourceConstraint::Is(kind) => Constraint::Is(kind),
        ResourceConstraint::Eq(uid) => Constraint::Eq(uid),
        ResourceConstraint::In(uid) => Constraint::In(vec![uid]),
        ResourceConstraint::IsIn(kind, uid) => Constraint::IsIn(kind, uid),
    };
    [principal, action, resource]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::{self, EntitySpec, lineage};
    use cedar_policy::{Context, RestrictedExpression};
    use proptest::prelude::*;

    const PRINCIPALS: [&str; 5] = [
        "principal",
        "principal == Agent::\"a\"",
        "principal in User::\"u\"",
        "principal is Agent",
        "principal is Agent in User::\"v\"",
    ];
    const ACTIONS: [&str; 5] = [
        "action",
        "action == Action::\"call:s/x\"",
        "action in Action::\"call\"",
        "action in [Action::\"call\", Action::\"call:s/x\", Action::\"read\"]",
        "action == Action::\"read\"",
    ];
    const RESOURCES: [&str; 5] = [
        "resource",
        "resource == Tool::\"s/x\"",
        "resource in Server::\"s\"",
        "resource is Tool",
        "resource is Tool in Server::\"t\"",
    ];
    const CONDITIONS: [&str; 4] = [
        "",
        "when { context.n > 3 }",
        "when { context.gone }",
        "unless { resource.hasTag(\"/p\") && resource.getTag(\"/p\") == \"1\" }",
    ];

    fn set(chosen: &[(usize, usize, usize, usize, bool)]) -> Index {
        let policies = chosen.iter().enumerate().map(|(n, (p, a, r, c, permit))| {
            let effect = if *permit { "permit" } else { "forbid" };
            let text = format!(
                "{effect} ({}, {}, {}) {};",
                PRINCIPALS[*p], ACTIONS[*a], RESOURCES[*r], CONDITIONS[*c]
            );
            Policy::parse(Some(PolicyId::new(format!("p{n}"))), text).unwrap()
        });
        Index::new(policies.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_slice_answers_as_the_whole_set_does(
            chosen in prop::collection::vec((0..5usize, 0..5usize, 0..5usize, 0..4usize, any::<bool>()), 0..30),
            agent in prop::sample::select(vec!["a", "b"]),
            user in prop::sample::select(vec!["u", "v"]),
            action in prop::sample::select(vec!["call:s/x", "call:t/x", "read"]),
            tool in prop::sample::select(vec![("s", "s/x"), ("t", "t/x"), ("s", "s/y")]),
            n in 0..6i64,
        ) {
            let index = set(&chosen);
            let agent: EntityUid = format!("Agent::\"{agent}\"").parse().unwrap();
            let action: EntityUid = format!("Action::\"{action}\"").parse().unwrap();
            let resource: EntityUid = format!("Tool::\"{}\"", tool.1).parse().unwrap();
            let mut named = EntitySpec::new(resource.clone()).within(format!("Server::\"{}\"", tool.0).parse().unwrap());
            named.tags.insert("/p".to_owned(), RestrictedExpression::new_string(n.to_string()));
            let call = "Action::\"call\"".parse().unwrap();
            let entities = entity::entities([
                EntitySpec::new(agent.clone()).within(format!("User::\"{user}\"").parse().unwrap()),
                if n % 2 == 0 { EntitySpec::new(action.clone()).within(call) } else { EntitySpec::new(action.clone()) },
                named,
            ]).unwrap();
            let context = Context::from_pairs([("n".to_owned(), RestrictedExpression::new_long(n))]).unwrap();
            let (p, a, r) = (lineage(&entities, &agent), lineage(&entities, &action), lineage(&entities, &resource));
            let request = Request::new(agent, action, resource, context, None).unwrap();
            let slice = index.slice(Scope { principal: &p, action: &a, resource: &r }).unwrap();
            let whole = index.whole().unwrap();
            prop_assert_eq!(slice.evaluate(&request, &entities), whole.evaluate(&request, &entities));
            prop_assert!(slice.members().len() <= whole.members().len());
        }
    }

    #[test]
    fn a_policy_for_another_tool_is_no_candidate() {
        let index = set(&[(0, 0, 1, 0, true), (0, 0, 0, 0, true)]);
        let other = ["Tool::\"s/y\"".parse().unwrap()];
        let scope = Scope { principal: &[], action: &[], resource: &other };
        assert_eq!(index.slice(scope).unwrap().members(), [1]);
    }
}
