//! The order in which the five verdicts win.
//!
//! The adversary looks for the case in which nothing says no: a rule that errs and is skipped, a fact
//! that isn't known yet, two rules that cancel each other. Here an error is never an allow, what is not
//! known defers, and what contradicts defers; a forbid without a rank beats everything.

use std::collections::BTreeMap;

use cedar_policy::{
    Context, Entities, EntityUid, EvaluationError, PolicyId, Request as CedarRequest,
    RestrictedExpression,
};
use tipstaff_core::{Action, Json, Labels, Millis, Sink, Tier, Verdict};

use crate::entity::{self, EntityFault, EntitySpec, TAGS_MAX};
use crate::index::{Outcome, Scope, Slice};
use crate::memo::Question;
use crate::paths::PathFacts;
use crate::risk::{Distances, Limits, OverRisk, risk};
use crate::schema::{self, DEFERRABLE};
use crate::set::{Obligation, PolicySet, Rule};

/// Everything that a decision depends on; nothing else does.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is asked for.
    pub action: &'a Action,
    /// How much it can change.
    pub tier: Tier,
    /// Its class in the catalogue.
    pub class: &'a str,
    /// Whether the catalogue knows it.
    pub classified: Classified,
    /// What its paths touch.
    pub paths: PathFacts,
    /// The agent: its name if it proved one, otherwise its pseudonym.
    pub principal: &'a str,
    /// The user that the agent works for, in the same way.
    pub user: &'a str,
    /// The agent's roles.
    pub roles: &'a [String],
    /// Where what it carries ends up.
    pub sink: Sink,
    /// What detectors found in its arguments.
    pub carries: Labels,
    /// What of it stands in the principal's own words.
    pub words: InWords,
    /// What the session has seen.
    pub session: &'a SessionContext,
    /// What the operator set.
    pub limits: Limits,
    /// Time, as an input.
    pub now: Millis,
}

/// What of an action stands in its session's signed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct InWords {
    /// Whom or what it acts upon.
    pub named: bool,
    /// That such a thing is done.
    pub asked: bool,
}

/// How well an action is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Classified {
    /// The catalogue or the rules for shells know it.
    Known,
    /// Only its name says something.
    Named,
    /// Nothing does: the action is treated as risky.
    Unclassified,
}

impl Classified {
    /// How sure the classification is, 0 to 100.
    #[must_use]
    pub const fn confidence(self) -> u32 {
        match self {
            Self::Known => 100,
            Self::Named => 50,
            Self::Unclassified => 0,
        }
    }
}

/// The accumulated context of a session; `None` is "not known yet", never "empty".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SessionContext {
    /// Labels of what the session has seen.
    pub labels: Option<Labels>,
    /// Distances from the signed request.
    pub distances: Option<Distances>,
    /// What the session was given from outside, by name (`given_…`).
    pub given: BTreeMap<String, String>,
}

/// An answer, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The policy that decided: its `@id`, or `FILE#NUMBER`.
    pub rule: Option<String>,
    /// Why.
    pub reason: Reason,
    /// What would change the answer.
    pub advice: Option<String>,
    /// The parameters to execute instead, with [`Verdict::Modify`].
    pub modified: Option<Json>,
    /// The patch that changed them.
    pub patch: Option<String>,
    /// All policies that match, sorted.
    pub matched: Vec<String>,
    /// What the permits that match say of the result.
    pub label: Labels,
    /// What they say no longer applies.
    pub declassify: Labels,
    /// What had to be known and wasn't: names of attributes of the context.
    pub missing: Vec<String>,
}

/// Why a decision came out as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nothing permits it, but it is near to the request, and a policy says that it may be asked for.
    Aligned,
    /// The typed arguments that a policy looks at do not fit the tool's input schema.
    ArgumentsMismatch,
    /// Policies of equal rank disagree.
    Conflict,
    /// It is permitted, but too far from the request.
    Drifted,
    /// A forbid matches.
    Forbidden,
    /// A permit matches that needs a person's approval.
    HeldForApproval,
    /// A permit matches that changes the parameters.
    Modified,
    /// The patch failed, or what it made is not allowed without further ado.
    ModifyFailed,
    /// A policy needs what isn't known yet.
    NeedsContext,
    /// Nothing matches.
    NoRule,
    /// A permit matches.
    Permitted,
    /// A policy could not be evaluated.
    PolicyError,
    /// What the session has met, and where the action leads, are too much together.
    Risk,
    /// What the action is, is not known well enough.
    Uncertain,
}

impl Reason {
    /// The spelling in receipts and replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aligned => "aligned",
            Self::ArgumentsMismatch => "arguments_mismatch",
            Self::Conflict => "conflict",
            Self::Drifted => "drifted",
            Self::Forbidden => "forbidden",
            Self::HeldForApproval => "held_for_approval",
            Self::Modified => "modified",
            Self::ModifyFailed => "modify_failed",
            Self::NeedsContext => "needs_context",
            Self::NoRule => "no_rule",
            Self::Permitted => "permitted",
            Self::PolicyError => "policy_error",
            Self::Risk => "risk",
            Self::Uncertain => "uncertain",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal that comes before any policy is evaluated.
struct Refusal {
    reason: Reason,
    rule: Option<String>,
    advice: String,
}

impl From<EntityFault> for Refusal {
    fn from(fault: EntityFault) -> Self {
        Self { reason: Reason::PolicyError, rule: None, advice: fault.to_string() }
    }
}

impl PolicySet {
    /// Decides. The same request and set always give the same decision.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        match self.evaluate(request) {
            Ok(outcome) => self.conclude(request, &outcome),
            Err(refusal) => Decision {
                rule: refusal.rule,
                advice: Some(refusal.advice),
                ..Decision::bare(Verdict::Deny, refusal.reason)
            },
        }
    }

    /// Judges an action that a MODIFY verdict has changed, classified afresh. It must be allowed as it
    /// is: [`Verdict::Modify`] if so, else [`Verdict::Deny`].
    #[must_use]
    pub fn decide_modified(&self, patched: &Request<'_>, patch: &str) -> Decision {
        let inner = self.decide(patched);
        if inner.verdict == Verdict::Allow {
            return Decision {
                verdict: Verdict::Modify,
                reason: Reason::Modified,
                modified: Some(patched.action.parameters().clone()),
                patch: Some(patch.to_owned()),
                ..inner
            };
        }
        Decision {
            patch: Some(patch.to_owned()),
            modified: None,
            verdict: Verdict::Deny,
            reason: Reason::ModifyFailed,
            ..inner
        }
    }

    fn evaluate(&self, request: &Request<'_>) -> Result<Outcome, Refusal> {
        let action = request.action;
        if entity::count_scalars(action.parameters()) > TAGS_MAX {
            return Err(EntityFault::TooManyTags.into());
        }
        let tool = action.qualified_tool();
        let operation = schema::operation(action.operation());
        if operation.is_none()
            && let Some(rule) = self.pending.get(&tool)
        {
            return Err(Refusal {
                reason: Reason::PolicyError,
                rule: Some(rule.clone()),
                advice: format!(
                    "this policy looks at arguments of {tool}, which is not accepted yet"
                ),
            });
        }
        let names = &self.names;
        let call = names.action("call");
        let own = entity::uid(&names.agent, request.principal);
        let roles = request.roles.iter().map(|role| entity::uid(&names.role, role));
        let mut principal = vec![own.clone(), entity::uid(&names.user, request.user)];
        principal.extend(roles);
        let resource =
            [entity::uid(&names.tool, &tool), entity::uid(&names.server, action.server())];
        let verb = match operation {
            Some(name) => vec![names.action(name)],
            None => vec![names.action(&format!("call:{tool}")), call.clone()],
        };
        let scope = Scope { principal: &principal, action: &verb, resource: &resource };
        let slice = self.index.slice(scope).map_err(|error| Refusal {
            reason: Reason::PolicyError,
            rule: None,
            advice: error.to_string(),
        })?;
        if slice.members().is_empty() {
            return Ok(Outcome::default());
        }
        let question =
            (!self.any(&slice, |rule| rule.uses.more_than_the_request_says())).then(|| {
                let verb = verb.first().unwrap_or(&call);
                let distances = request.session.distances.filter(|_| {
                    // Each action has its own: where nobody looks, they are no part of the question.
                    self.any(&slice, |rule| rule.uses.distance)
                });
                Question::of(request, distances, [&own, verb, &resource[0]])
            });
        if let Some(answer) = question.as_ref().and_then(|question| slice.memo.recall(question)) {
            return Ok(answer);
        }
        let context = self.context(request, &slice, &tool, operation)?;
        let entities = self.entities(request, &slice, [&principal, &verb, &resource])?;
        let [resource, _] = resource;
        let verb = verb.into_iter().next().unwrap_or_else(|| names.action("other"));
        let asked = CedarRequest::new(own, verb, resource, context, None)
            .map_err(|error| EntityFault::Refused(error.to_string()))?;
        let outcome = slice.evaluate(&asked, &entities);
        if let Some(question) = question {
            slice.memo.keep(question, &outcome);
        }
        Ok(outcome)
    }

    fn entities(
        &self,
        request: &Request<'_>,
        slice: &Slice,
        lineages: [&[EntityUid]; 3],
    ) -> Result<Entities, EntityFault> {
        // The schema gives entities no attributes: without tags and `in`, nothing is read from them.
        if !self.any(slice, |rule| rule.uses.tags || rule.uses.hierarchy) {
            return Ok(Entities::empty());
        }
        let mut specs: Vec<EntitySpec> = lineages
            .into_iter()
            .filter_map(|lineage| {
                let (own, parents) = lineage.split_first()?;
                Some(parents.iter().cloned().fold(EntitySpec::new(own.clone()), EntitySpec::within))
            })
            .collect();
        if self.any(slice, |rule| rule.uses.tags)
            && let Some(resource) = specs.last_mut()
        {
            resource.tags = entity::tags(request.action.parameters());
        }
        entity::entities(specs)
    }

    fn context(
        &self,
        request: &Request<'_>,
        slice: &Slice,
        tool: &str,
        operation: Option<&str>,
    ) -> Result<Context, Refusal> {
        use RestrictedExpression as Value;
        let paths = &request.paths;
        let names = |labels: Labels| {
            Value::new_set(labels.iter().map(|label| Value::new_string(label.as_str().to_owned())))
        };
        let mut pairs = vec![
            ("tier", Value::new_long(i64::from(request.tier.number()))),
            ("class", Value::new_entity_uid(entity::uid(&self.names.class, request.class))),
            ("unclassified", Value::new_bool(request.classified == Classified::Unclassified)),
            ("confidence", Value::new_long(i64::from(request.classified.confidence()))),
            ("carries", names(request.carries)),
            ("named", Value::new_bool(request.words.named)),
            ("asked", Value::new_bool(request.words.asked)),
            ("sink", Value::new_string(request.sink.as_str().to_owned())),
            ("inside_roots", Value::new_bool(paths.inside_roots)),
            ("touches_tipstaff", Value::new_bool(paths.touches_tipstaff)),
            ("touches_credentials", Value::new_bool(paths.touches_credentials)),
            ("operation", Value::new_string(request.action.operation().to_owned())),
        ];
        if let Some(labels) = request.session.labels {
            pairs.push(("labels", names(labels)));
            let long = |number: u32| Value::new_long(i64::from(number));
            pairs.push(("sensitivity", long(labels.sensitivity() as u32)));
            pairs.push(("risk", long(risk(labels.union(request.carries), request.sink))));
        }
        if let Some(Distances { ppm, drift: (average, max), .. }) = request.session.distances {
            let long = |number: u32| Value::new_long(i64::from(number));
            pairs.push(("distance_ppm", long(ppm)));
            pairs.push(("distance_max_ppm", long(max)));
            pairs.push(("distance_average_ppm", long(average)));
        }
        for (name, value) in &request.session.given {
            pairs.push((name.as_str(), Value::new_string(value.clone())));
        }
        if self.any(slice, |rule| rule.uses.now) {
            pairs.push(("now", Value::new_datetime(request.now.to_string())));
        }
        if operation.is_none()
            && self.any(slice, |rule| rule.uses.arguments)
            && let Some(shape) = self.typed.get(tool)
        {
            let typed = entity::typed(shape, request.action.parameters()).ok_or(Refusal {
                reason: Reason::ArgumentsMismatch,
                rule: None,
                advice: "Send arguments that fit the tool's input schema.".to_owned(),
            })?;
            pairs.push(("arguments", typed));
        }
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        Context::from_pairs(pairs).map_err(|error| EntityFault::Refused(error.to_string()).into())
    }

    fn any(&self, slice: &Slice, test: impl Fn(&Rule) -> bool) -> bool {
        slice.members().iter().filter_map(|number| self.rules.get(*number)).any(test)
    }

    /// The order of the verdicts.
    pub(crate) fn conclude(&self, request: &Request<'_>, outcome: &Outcome) -> Decision {
        let rules = |ids: &[PolicyId]| -> Vec<&Rule> {
            ids.iter().filter_map(|id| self.rule(id)).collect()
        };
        let (permits, forbids) = (rules(&outcome.permits), rules(&outcome.forbids));
        let mut matched: Vec<String> =
            permits.iter().chain(&forbids).map(|rule| rule.id.clone()).collect();
        matched.sort();
        let said = |of: fn(&Rule) -> Labels| {
            permits.iter().map(|rule| of(rule)).fold(Labels::NONE, Labels::union)
        };
        let (label, declassify) = (said(|rule| rule.label), said(|rule| rule.declassify));
        let answer = |verdict, reason, rule: Option<&Rule>| Decision {
            rule: rule.map(|rule| rule.id.clone()),
            advice: rule.and_then(|rule| rule.advice.clone()),
            matched: matched.clone(),
            label,
            declassify,
            ..Decision::bare(verdict, reason)
        };

        if let Some(rule) = forbids.iter().find(|rule| rule.rank.is_none()) {
            return answer(Verdict::Deny, Reason::Forbidden, Some(rule));
        }
        let missing = |error: &EvaluationError| awaits(error, request.session);
        if let Some((id, error)) = outcome.errors.iter().find(|(_, error)| missing(error).is_none())
        {
            let mut decision = answer(Verdict::Deny, Reason::PolicyError, self.rule(id));
            decision.advice = Some(format!("The operator has to mend this policy: {error}."));
            return decision;
        }
        if let Some((id, _)) = outcome.errors.first() {
            let mut decision = answer(Verdict::Defer, Reason::NeedsContext, self.rule(id));
            let named = outcome.errors.iter().filter_map(|(_, error)| missing(error));
            decision.missing = named.collect();
            decision.missing.sort();
            decision.missing.dedup();
            return decision;
        }
        let limits = &request.limits;
        let met = request.session.labels.map(|labels| labels.union(request.carries));
        let risk = met.map_or(0, |labels| risk(labels, request.sink));
        let is_over = limits.risk.is_some_and(|limit| risk >= limit);
        if is_over && limits.over_risk == OverRisk::Deny {
            return answer(Verdict::Deny, Reason::Risk, None);
        }
        let decision = self.weigh(request, permits, &forbids, answer);
        if is_over { decision.over_risk() } else { decision }
    }

    /// Permits against forbids of a rank.
    fn weigh(
        &self,
        request: &Request<'_>,
        permits: Vec<&Rule>,
        forbids: &[&Rule],
        answer: impl Fn(Verdict, Reason, Option<&Rule>) -> Decision,
    ) -> Decision {
        let limits = &request.limits;
        let (asking, permits): (Vec<&Rule>, Vec<&Rule>) =
            permits.iter().partition(|rule| rule.obligation == Obligation::StepUpIfAligned);
        let rank = |rule: &&Rule| rule.rank.unwrap_or(0);
        let Some(top) = permits.iter().chain(forbids).map(rank).max() else {
            return self.unpermitted(request, &asking, answer);
        };
        let permits: Vec<&Rule> = permits.into_iter().filter(|rule| rank(rule) == top).collect();
        match (permits.as_slice(), forbids.iter().find(|rule| rank(rule) == top)) {
            ([], forbid) => answer(Verdict::Deny, Reason::Forbidden, forbid.copied()),
            (_, Some(forbid)) => answer(Verdict::Defer, Reason::Conflict, Some(forbid)),
            (permits, None) if request.classified.confidence() < limits.confidence => {
                answer(Verdict::Defer, Reason::Uncertain, permits.first().copied())
            }
            (permits, None) if drifted(request) => {
                answer(Verdict::Deny, Reason::Drifted, permits.first().copied())
            }
            (permits, None) => self.oblige(request, permits, answer),
        }
    }

    /// What nothing permits is denied, unless it is near to the request and may be asked for.
    fn unpermitted(
        &self,
        request: &Request<'_>,
        asking: &[&Rule],
        answer: impl Fn(Verdict, Reason, Option<&Rule>) -> Decision,
    ) -> Decision {
        if let (Some(rule), Some(limit)) = (asking.first(), request.limits.aligned_ppm) {
            match request.session.distances {
                None => {
                    let mut decision = answer(Verdict::Defer, Reason::NeedsContext, Some(rule));
                    decision.missing = vec!["distance_ppm".to_owned()];
                    return decision;
                }
                // Words in common are no sign of meaning: a lexical measure opens nothing.
                Some(found) if found.is_semantic && found.ppm <= limit => {
                    return answer(Verdict::StepUp, Reason::Aligned, Some(rule));
                }
                Some(_) => {}
            }
        }
        let mut decision = answer(Verdict::Deny, Reason::NoRule, None);
        decision.advice = Some("Ask the operator for a rule.".into());
        decision
    }

    /// What the permits of the highest rank ask for.
    fn oblige(
        &self,
        request: &Request<'_>,
        permits: &[&Rule],
        answer: impl Fn(Verdict, Reason, Option<&Rule>) -> Decision,
    ) -> Decision {
        let mut held = None;
        let mut changed: Option<(&Rule, &String)> = None;
        for rule in permits {
            match &rule.obligation {
                Obligation::None | Obligation::StepUpIfAligned => {}
                Obligation::StepUp(message) => held = held.or(Some((rule, message))),
                Obligation::Modify(patch) => match changed {
                    Some((_, other)) if other != patch => {
                        return answer(Verdict::Defer, Reason::Conflict, Some(rule));
                    }
                    _ => changed = changed.or(Some((rule, patch))),
                },
            }
        }
        match (held, changed) {
            (None, None) => answer(Verdict::Allow, Reason::Permitted, permits.first().copied()),
            // An approval is for the exact action that was asked for, which the patch would change.
            (Some((rule, _)), Some(_)) => answer(Verdict::Defer, Reason::Conflict, Some(rule)),
            (Some((rule, message)), None) => {
                let mut decision = answer(Verdict::StepUp, Reason::HeldForApproval, Some(rule));
                if decision.advice.is_none() && !message.is_empty() {
                    decision.advice = Some(message.clone());
                }
                decision
            }
            (None, Some((rule, name))) => {
                let before = request.action.parameters();
                let after = self.patches.get(name).and_then(|patch| patch.apply(before).ok());
                match after {
                    None => Decision {
                        patch: Some(name.clone()),
                        ..answer(Verdict::Deny, Reason::ModifyFailed, Some(rule))
                    },
                    Some(after) if after == *before => {
                        answer(Verdict::Allow, Reason::Permitted, Some(rule))
                    }
                    Some(after) => Decision {
                        modified: Some(after),
                        patch: Some(name.clone()),
                        ..answer(Verdict::Modify, Reason::Modified, Some(rule))
                    },
                }
            }
        }
    }
}

impl Decision {
    /// What becomes of it where risk is over the limit and a person may say that it is fine.
    fn over_risk(self) -> Self {
        let verdict = match self.verdict {
            Verdict::Allow | Verdict::StepUp => Verdict::StepUp,
            Verdict::Modify => Verdict::Deny,
            Verdict::Deny | Verdict::Defer => return self,
        };
        Self { verdict, reason: Reason::Risk, modified: None, patch: None, ..self }
    }

    const fn bare(verdict: Verdict, reason: Reason) -> Self {
        Self {
            verdict,
            rule: None,
            reason,
            advice: None,
            modified: None,
            patch: None,
            matched: Vec::new(),
            label: Labels::NONE,
            declassify: Labels::NONE,
            missing: Vec::new(),
        }
    }
}

/// Whether a permitted action is farther from the request than its tier may be. Both kinds of measure count:
/// a limit that words reach closes something, and that is safe.
fn drifted(request: &Request<'_>) -> bool {
    let Limits { drift_ppm: Some(limit), drift_from, .. } = request.limits else { return false };
    let found = request.session.distances;
    request.tier >= drift_from && found.is_some_and(|found| found.ppm > limit)
}

/// The deferrable attribute that an error is about, if this session doesn't know it yet.
fn awaits(error: &EvaluationError, session: &SessionContext) -> Option<String> {
    if !matches!(error, EvaluationError::RecordAttrDoesNotExist(_)) {
        return None;
    }
    // Cedar gives the name in the message only; a test holds this spelling.
    let message = error.to_string();
    let name = message.strip_suffix('`')?.rsplit('`').next()?;
    let known = match name {
        "labels" | "risk" | "sensitivity" => session.labels.is_some(),
        _ if DEFERRABLE.contains(&name) => session.distances.is_some(),
        _ if crate::is_given(name) => session.given.contains_key(name),
        _ => true,
    };
    (!known).then(|| name.to_owned())
}
