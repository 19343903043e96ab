//! Checks that have none of our forms, in the library's Datalog engine, within bounds.
//!
//! The adversary attenuates a capability of its own with a check that takes hours, and so holds up everybody. What a
//! check can cost is bounded before it runs, by the number of facts and of what is combined; the clock has no part in
//! it, so that the same inputs always give the same answer. A failure of the engine is a refusal.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use biscuit_auth::builder::{AuthorizerBuilder, Fact, Policy, Predicate, Term};
use biscuit_auth::error::{FailedCheck, Logic, Token as EngineError};
use biscuit_auth::format::schema::{self, op, op_binary, term};
use biscuit_auth::{Algorithm, AuthorizerLimits, Biscuit, PublicKey, UnverifiedBiscuit};
use tipstaff_core::Json;
use tipstaff_core::key::VerifyingKey;

use super::Fault;
use super::caveat::{Many, fact, index, string};
use super::recognise::Symbols;
use super::request::{ARGUMENTS_MAX, Asked, hosts};

/// Most rounds of derivation.
const ROUNDS_MAX: u64 = 8;
/// Facts that may be derived beyond what was given.
const DERIVED_MAX: u64 = 64;
/// Most that a judgement may cost, in steps of the engine.
const COST_MAX: u64 = 200_000;
/// Steps that a regular expression counts for: the engine compiles it each time, and it may be a large one.
const REGEX_COST: u64 = 20_000;
/// Steps that a closure's steps count for: it may run for each element of a set.
const CLOSURE_COST: u64 = 64;

/// A token in the engine's form.
#[derive(Debug)]
pub(super) struct Engine {
    token: Biscuit,
    queries: Vec<Query>,
    /// How many facts of each name its blocks state.
    stated: Counts,
}

/// How many facts there are of each name.
type Counts = BTreeMap<String, u64>;

/// What is matched, and what looking at one match costs.
#[derive(Debug, Clone)]
struct Query {
    /// The name of a rule's facts.
    derives: Option<String>,
    combines: Vec<String>,
    cost: u64,
}

impl Engine {
    /// Prepares a token whose signatures were checked.
    pub(super) fn new(
        bytes: &[u8],
        root: &VerifyingKey,
        blocks: &[(&schema::Block, &Symbols)],
    ) -> Result<Self, Fault> {
        let malformed = || Fault::Malformed("the library refuses it");
        let token = guarded(|| {
            let root = PublicKey::from_bytes(root.as_bytes(), Algorithm::Ed25519).ok()?;
            UnverifiedBiscuit::from(bytes).ok()?.verify(root).ok()
        });
        let token = token.flatten().ok_or_else(malformed)?;
        let (mut queries, mut stated) = (Vec::new(), Counts::new());
        for (block, symbols) in blocks {
            let name = |predicate: &schema::Predicate| symbols.name(predicate.name);
            for fact in &block.facts {
                *stated.entry(name(&fact.predicate).ok_or_else(malformed)?).or_insert(0) += 1;
            }
            let checks = block.checks.iter().flat_map(|check| &check.queries);
            let checks = checks.map(|query| (query, false));
            for (rule, is_rule) in checks.chain(block.rules.iter().map(|rule| (rule, true))) {
                let combines = rule.body.iter().map(name).collect::<Option<_>>();
                let ops = rule.expressions.iter().map(|expression| cost(&expression.ops, 0));
                queries.push(Query {
                    derives: if is_rule { name(&rule.head) } else { None },
                    combines: combines.ok_or_else(malformed)?,
                    cost: ops.fold(1, u64::saturating_add),
                });
            }
        }
        Ok(Self { token, queries, stated })
    }

    /// Whether every check of the token holds.
    pub(super) fn permits(&self, asked: &Asked<'_>) -> Result<(), Fault> {
        let facts = facts(asked)?;
        let mut authorizer = AuthorizerBuilder::new();
        let mut given = Counts::new();
        for fact in facts {
            *given.entry(fact.predicate.name.clone()).or_insert(0) += 1;
            authorizer = authorizer.fact(fact).map_err(|_| Fault::Costly)?;
        }
        let allow = Policy::try_from("allow if true").map_err(|_| Fault::Costly)?;
        let authorizer = authorizer.policy(allow).map_err(|_| Fault::Costly)?;
        self.run(authorizer, given).map(drop)
    }

    /// Runs the token's checks and an authorizer's, within bounds; the policy that matched.
    fn run(&self, authorizer: AuthorizerBuilder, mut facts: Counts) -> Result<usize, Fault> {
        for (name, count) in &self.stated {
            *facts.entry(name.clone()).or_insert(0) += count;
        }
        let stated: u64 = facts.values().sum();
        if self.cost(facts) > COST_MAX {
            return Err(Fault::Costly);
        }
        let limits = AuthorizerLimits {
            max_facts: stated.saturating_add(DERIVED_MAX),
            max_iterations: ROUNDS_MAX,
            // By the clock nothing ends: what it can cost was looked at.
            max_time: Duration::from_secs(365 * 24 * 60 * 60),
        };
        let authorizer = authorizer.set_limits(limits);
        let run = guarded(|| authorizer.build(&self.token).and_then(|mut built| built.authorize()));
        match run {
            Some(Ok(policy)) => Ok(policy),
            Some(Err(error)) => Err(fault(&error)),
            None => Err(Fault::Costly),
        }
    }

    /// The most steps that all queries can take together.
    fn cost(&self, mut facts: Counts) -> u64 {
        for derived in self.queries.iter().filter_map(|query| query.derives.as_ref()) {
            *facts.entry(derived.clone()).or_insert(0) += DERIVED_MAX;
        }
        let all: u64 = facts.values().fold(1, |sum, count| sum.saturating_add(*count));
        let cost = self.queries.iter().map(|query| {
            let (mut matches, mut steps) = (1_u64, 0_u64);
            for name in &query.combines {
                // Each match so far is compared with every fact.
                steps = steps.saturating_add(matches.saturating_mul(all));
                matches = matches.saturating_mul(facts.get(name).copied().unwrap_or(0));
            }
            let rounds = if query.derives.is_some() { ROUNDS_MAX } else { 1 };
            steps.saturating_add(matches.saturating_mul(query.cost)).saturating_mul(rounds)
        });
        cost.fold(0, u64::saturating_add)
    }
}

fn cost(ops: &[schema::Op], depth: u32) -> u64 {
    let each = ops.iter().map(|op| match &op.content {
        Some(op::Content::Closure(closure)) if depth < 8 => {
            CLOSURE_COST.saturating_mul(cost(&closure.ops, depth + 1))
        }
        Some(op::Content::Closure(_)) => u64::MAX,
        Some(op::Content::Binary(op)) if op.kind == op_binary::Kind::Regex as i32 => REGEX_COST,
        Some(op::Content::Value(term)) => width(term),
        _ => 1,
    });
    each.fold(0, u64::saturating_add)
}

/// How many values a literal has.
fn width(term: &schema::Term) -> u64 {
    let sum = |terms: &[schema::Term]| terms.iter().map(width).fold(1, u64::saturating_add);
    match &term.content {
        Some(term::Content::Set(set)) => sum(&set.set),
        Some(term::Content::Array(array)) => sum(&array.array),
        Some(term::Content::Map(map)) => {
            map.entries.iter().map(|entry| width(&entry.value)).fold(1, u64::saturating_add)
        }
        _ => 1,
    }
}

/// What the engine is told of an action: the facts of docs/capabilities.md.
fn facts(asked: &Asked<'_>) -> Result<Vec<Fact>, Fault> {
    let action = asked.action;
    let integer = Term::Integer;
    let mut all = vec![
        fact("server", vec![string(action.server())]),
        fact("operation", vec![string(action.operation())]),
        fact("session", vec![string(asked.session)]),
        fact("tier", vec![integer(i64::from(asked.tier.number()))]),
        fact("time", vec![Term::Date(asked.now.0 / 1000)]),
        fact("position", vec![integer(asked.height())]),
    ];
    if asked.calls() {
        all.push(fact("tool", vec![string(&action.qualified_tool())]));
    }
    let several = |all: &mut Vec<Predicate>, of: Many, texts: &mut dyn Iterator<Item = &str>| {
        all.extend(texts.map(|text| fact(of.name(), vec![string(text)])));
    };
    several(&mut all, Many::Paths, &mut asked.paths.iter().copied());
    several(&mut all, Many::Hosts, &mut hosts(action).iter().map(String::as_str));
    for metered in asked.metered {
        let block = index(metered.meter.block);
        all.push(match &metered.meter.at {
            None => fact("uses", vec![block, integer(metered.value)]),
            Some(at) => fact("spent", vec![block, string(at), integer(metered.value)]),
        });
    }
    arguments(action.parameters(), &mut String::new(), &mut |at, value| {
        all.push(fact("argument", vec![string(at), value]));
        all.len() < ARGUMENTS_MAX
    })
    .ok_or(Fault::Costly)?;
    Ok(all.into_iter().map(|predicate| Fact::new(predicate.name, predicate.terms)).collect())
}

/// Visits every scalar with its JSON pointer. `None` as soon as `visit` answers no.
fn arguments(
    json: &Json,
    at: &mut String,
    visit: &mut dyn FnMut(&str, Term) -> bool,
) -> Option<()> {
    let length = at.len();
    let scalar = match json {
        Json::Null => Some(Term::Null),
        Json::Bool(value) => Some(Term::Bool(*value)),
        // A fraction has no form in the language: whoever asks about it finds nothing.
        Json::Number(number) => match number.as_integer() {
            Some(value) => Some(Term::Integer(value)),
            None => return Some(()),
        },
        Json::String(text) => Some(string(text)),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                arguments(item, at, visit)?;
                at.truncate(length);
            }
            None
        }
        Json::Object(object) => {
            for (name, item) in object.iter() {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                arguments(item, at, visit)?;
                at.truncate(length);
            }
            None
        }
    };
    match scalar {
        Some(value) => visit(at, value).then_some(()),
        None => Some(()),
    }
}

fn fault(error: &EngineError) -> Fault {
    let EngineError::FailedLogic(
        Logic::Unauthorized { checks, .. } | Logic::NoMatchingPolicy { checks },
    ) = error
    else {
        return match error {
            EngineError::RunLimit(_) => Fault::Costly,
            // A check that compares a text with a number can't be said to hold.
            _ => Fault::Outside { block: 0, check: error.to_string() },
        };
    };
    match checks.first() {
        Some(FailedCheck::Block(failed)) => Fault::Outside {
            block: usize::try_from(failed.block_id).unwrap_or(usize::MAX),
            check: failed.rule.clone(),
        },
        _ => Fault::Outside { block: 0, check: error.to_string() },
    }
}

/// The library is not ours: where it panics, it has no answer.
fn guarded<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// How the library's samples are run: with an authorizer of their own.
    pub(in super::super) fn run(engine: &Engine, code: &str) -> Result<usize, Fault> {
        let authorizer = AuthorizerBuilder::new().code(code).unwrap();
        let mut given = Counts::new();
        for line in code.lines() {
            let name = line.split('(').next().unwrap_or_default().to_owned();
            *given.entry(name).or_insert(0) += 1;
        }
        engine.run(authorizer, given)
    }
}
