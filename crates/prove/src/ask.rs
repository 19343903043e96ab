//! Asks the solver, and makes sure of its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cedar_policy::{PolicySet as CedarSet, RequestEnv, Schema};
use cedar_policy_symcc::err::Error as SymError;
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, Env};
use tipstaff_core::Verdict;
use tipstaff_policy::words::{Statement as Word, Words};
use tipstaff_policy::{Decision, PolicySet, Reason};

use crate::statement::Statement;
use crate::world::{ALWAYS, about, hierarchy, named, sets};
use crate::{ProveError, StatementFault};

/// How long the solver may look at one question.
const LIMIT: Duration = Duration::from_secs(30);
/// How long all questions of a statement may take.
const LIMIT_ALL: Duration = Duration::from_secs(300);

/// Most policies of a set that is made into logic.
pub const POLICIES_MAX: usize = 1000;
/// Room for the recursion over them; only what is used is taken.
const STACK: usize = 1 << 30;

/// A solver to ask.
#[derive(Debug, Clone)]
pub struct Prover {
    solver: PathBuf,
    limit: Duration,
}

/// What came of a statement.
#[derive(Debug)]
pub enum Answer {
    /// It holds for every request.
    Proved(Extent),
    /// It doesn't.
    Refuted(Box<Counterexample>),
}

/// What a proof went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Kinds of requests: operations of the protocol, tools that policies name, and all others as one.
    pub kinds: usize,
    /// Questions to the solver.
    pub questions: usize,
}

/// A request for which a statement doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// The agent's name.
    pub agent: String,
    /// Users and roles that it is in, as Cedar writes them.
    pub within: Vec<String>,
    /// The action's name: `call:SERVER/TOOL`, where `call:*` is any tool that no policy names, or an operation's.
    pub action: String,
    /// The tool.
    pub tool: String,
    /// The servers that the tool is in.
    pub servers: Vec<String>,
    /// The facts, by attribute of the context.
    pub facts: BTreeMap<String, String>,
    /// Arguments, by JSON pointer.
    pub arguments: BTreeMap<String, String>,
    /// What the policies answer.
    pub verdict: Verdict,
    /// The policy that decides.
    pub rule: Option<String>,
}

impl Prover {
    /// A solver by its path.
    #[must_use]
    pub fn new(solver: &Path) -> Self {
        Self { solver: solver.to_owned(), limit: LIMIT }
    }

    /// Whether the statement holds of every request that the set may be asked about, whatever the configuration's
    /// limits are. `classes` are those of the catalogue.
    ///
    /// # Errors
    /// [`ProveError`], if neither a proof nor a counterexample was found.
    pub fn prove<'a>(
        &self,
        set: &PolicySet,
        classes: impl Iterator<Item = &'a str>,
        statement: &Statement,
    ) -> Result<Answer, ProveError> {
        let policies = set.ranked().count();
        if policies > POLICIES_MAX {
            let what = format!("{policies} policies are more than {POLICIES_MAX}");
            return Err(ProveError::NotLogic(what));
        }
        let classes: Vec<&str> = classes.collect();
        let asking = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| ProveError::NoSolver(error.to_string()))?;
            runtime.block_on(self.ask(set, classes, statement))
        };
        // Logic is as deep as the set has policies, and what walks it recurses.
        std::thread::scope(|scope| {
            let asked = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, asking);
            let asked = asked.map_err(|error| ProveError::Undecided(error.to_string()))?;
            let gone = |_| Err(ProveError::Undecided("the prover broke off".to_owned()));
            asked.join().unwrap_or_else(gone)
        })
    }

    async fn ask(
        &self,
        set: &PolicySet,
        classes: Vec<&str>,
        statement: &Statement,
    ) -> Result<Answer, ProveError> {
        let schema = Schema::from_cedarschema_str(set.schema_text());
        let (schema, _) = schema.map_err(|error| ProveError::NotLogic(error.to_string()))?;
        let guard = guard(statement, classes)?;
        let mut actions = named(set, "Action");
        actions.extend(guard.actions.iter().cloned());
        let (mut tools, mut servers) = (named(set, "Tool"), named(set, "Server"));
        tools.extend(guard.tools.iter().cloned());
        servers.extend(guard.servers.iter().cloned());
        let sets = sets(set, statement.claim)?;
        let mut solver = CedarSymCompiler::new(self.start()?).map_err(|error| failed(&error))?;
        let mut extent = Extent { kinds: 0, questions: 0 };
        let until = tokio::time::Instant::now() + LIMIT_ALL;
        for kind in kinds(&schema, &actions) {
            extent.kinds += 1;
            let asked = guard.within(kind.action(), &tools, &servers)?;
            let asked = CompiledPolicySet::compile(&asked, &kind, &schema)
                .map_err(|error| failed(&error))?;
            for permitting in &sets {
                let permitting = &about(permitting, kind.action())?;
                let permitting = CompiledPolicySet::compile(permitting, &kind, &schema);
                let permitting = permitting.map_err(|error| failed(&error))?;
                extent.questions += 1;
                let question = solver.check_disjoint_with_counterexample_opt(&permitting, &asked);
                let limit = until.min(tokio::time::Instant::now() + self.limit);
                let found = tokio::time::timeout_at(limit, question).await.map_err(|_| {
                    let (one, all) = (self.limit.as_secs(), LIMIT_ALL.as_secs());
                    let what =
                        format!("{one} seconds for a question, or {all} for all, were too few");
                    ProveError::Undecided(what)
                })?;
                if let Some(found) = found.map_err(|error| failed(&error))? {
                    return Counterexample::of(set, &found)
                        .map(|found| Answer::Refuted(Box::new(found)));
                }
            }
        }
        Ok(Answer::Proved(extent))
    }

    fn start(&self) -> Result<LocalSolver, ProveError> {
        let mut command = tokio::process::Command::new(&self.solver);
        let limit = format!("--tlimit-per={}", self.limit.as_millis());
        command
            .args(["--lang", "smt", &limit])
            .env_clear()
            .kill_on_drop(true)
            .stderr(Stdio::null());
        let at = self.solver.display();
        LocalSolver::from_command(&mut command)
            .map_err(|error| ProveError::NoSolver(format!("{at}: {}", said(&error))))
    }
}

/// The requests that a statement is about, as one Cedar policy.
struct Guard {
    text: String,
    actions: BTreeSet<String>,
    tools: BTreeSet<String>,
    servers: BTreeSet<String>,
}

fn guard(statement: &Statement, classes: Vec<&str>) -> Result<Guard, ProveError> {
    let words = Words { statements: vec![Word::Rule(statement.rule.clone())] };
    let text = words.to_cedar("statement.access", classes).map_err(|faults| {
        let fault = faults.into_iter().next();
        StatementFault {
            message: fault.as_ref().map_or_else(String::new, |fault| fault.message.clone()),
            hint: fault.and_then(|fault| fault.hint).unwrap_or_default(),
        }
    })?;
    let policies: CedarSet = text
        .parse()
        .map_err(|error: cedar_policy::ParseErrors| ProveError::NotLogic(error.to_string()))?;
    let literals: Vec<_> =
        policies.policies().flat_map(cedar_policy::Policy::entity_literals).collect();
    let of = |kind: &str| {
        let of_kind = literals.iter().filter(|uid| uid.type_name().to_string() == kind);
        of_kind.map(|uid| uid.id().unescaped().to_owned()).collect()
    };
    let (actions, tools, servers) = (of("Action"), of("Tool"), of("Server"));
    Ok(Guard { text, actions, tools, servers })
}

impl Guard {
    /// For requests of one action, with what is true of them all.
    fn within(
        &self,
        action: &cedar_policy::EntityUid,
        tools: &BTreeSet<String>,
        servers: &BTreeSet<String>,
    ) -> Result<CedarSet, ProveError> {
        let mut text = self.text.trim_end().trim_end_matches(';').to_owned();
        let holds = hierarchy(action, tools, servers);
        for condition in ALWAYS.into_iter().map(str::to_owned).chain(holds) {
            text.push_str(&format!("\nwhen {{ {condition} }}"));
        }
        text.push(';');
        text.parse()
            .map_err(|error: cedar_policy::ParseErrors| ProveError::NotLogic(error.to_string()))
    }
}

/// Operations, tools that are named, and all other tools as `call:*`: what nobody names is judged like every other.
fn kinds(schema: &Schema, named: &BTreeSet<String>) -> Vec<RequestEnv> {
    let mut kinds: Vec<RequestEnv> = schema
        .request_envs()
        .filter(|kind| {
            let action = kind.action().id().unescaped();
            !action.starts_with("call:") || action == "call:*" || named.contains(action)
        })
        .collect();
    kinds.sort_by_key(|kind| kind.action().id().unescaped().to_owned());
    kinds
}

impl Counterexample {
    /// Reads a request that the solver found, and has the policies themselves judge it.
    fn of(set: &PolicySet, found: &Env) -> Result<Self, ProveError> {
        let nothing = || ProveError::Undecided("it found a request that is none".to_owned());
        let request = &found.request;
        let (agent, action, tool) = (request.principal(), request.action(), request.resource());
        let (Some(agent), Some(action), Some(tool)) = (agent, action, tool) else {
            return Err(nothing());
        };
        let decision = set.policies_alone(request, &found.entities).ok_or_else(nothing)?;
        let Decision { verdict, reason, rule, .. } = decision;
        let permits = matches!(verdict, Verdict::Allow | Verdict::Modify | Verdict::StepUp);
        // Without arguments there is nothing for a patch to change.
        let changes = reason == Reason::ModifyFailed;
        if !permits && !changes {
            return Err(ProveError::Undecided(format!(
                "it found a request that the policies answer with {verdict} ({reason})"
            )));
        }
        let above = |uid, kind: &[&str]| -> Vec<String> {
            let ancestors = found.entities.ancestors(uid).into_iter().flatten();
            let of_kind = ancestors.filter(|uid| {
                let name = uid.type_name().to_string();
                kind.contains(&name.as_str())
            });
            let mut shown: Vec<String> = of_kind.map(ToString::to_string).collect();
            shown.sort();
            shown
        };
        let context = request.context();
        let facts = CONTEXT.iter().filter_map(|name| {
            let value = context?.get(name)?;
            Some(((*name).to_owned(), value.to_string()))
        });
        let tags = found.entities.get(tool).into_iter().flat_map(|tool| tool.tags());
        let arguments =
            tags.filter_map(|(name, value)| Some((name.to_owned(), value.ok()?.to_string())));
        Ok(Self {
            agent: agent.id().unescaped().to_owned(),
            within: above(agent, &["User", "Role"]),
            action: action.id().unescaped().to_owned(),
            tool: tool.id().unescaped().to_owned(),
            servers: above(tool, &["Server"]),
            facts: facts.collect(),
            arguments: arguments.collect(),
            verdict: if changes { Verdict::Modify } else { verdict },
            rule,
        })
    }
}

/// The facts that are shown of a request.
const CONTEXT: [&str; 18] = [
    "tier",
    "class",
    "unclassified",
    "confidence",
    "inside_roots",
    "touches_tipstaff",
    "touches_credentials",
    "operation",
    "labels",
    "sensitivity",
    "sink",
    "risk",
    "carries",
    "named",
    "asked",
    "distance_ppm",
    "now",
    "arguments",
];

fn failed(error: &SymError) -> ProveError {
    match error {
        SymError::SolverError(error) => ProveError::Undecided(said(error)),
        SymError::SolverUnknown => ProveError::Undecided("it said `unknown`".to_owned()),
        SymError::PolicyNotWellTyped { errs } => {
            let first = errs.first().map_or_else(String::new, ToString::to_string);
            ProveError::NotLogic(format!("{error}: {first}"))
        }
        other => ProveError::NotLogic(other.to_string()),
    }
}

/// An error with what caused it.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
