//! Proofs about the policies, on the command line and at admission.
//!
//! The adversary is a rule that opens what was promised to stay shut. A statement that the configuration requires is
//! proved before a set is in force; what is not proved, for whatever reason, is refused.

use std::path::{Path, PathBuf};

use tipstaff_classify::Catalogue;
use tipstaff_monitor::Requirements;
use tipstaff_policy::{PolicyFault, PolicySet};
use tipstaff_prove::{Answer, Counterexample, ProveError, Prover, Statement};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// Proves what a configuration requires.
#[derive(Debug)]
pub(crate) struct Proofs;

impl Requirements for Proofs {
    fn hold(
        &self,
        set: &PolicySet,
        classes: &[&str],
        required: &[String],
        solver: Option<&str>,
    ) -> Result<(), Vec<PolicyFault>> {
        let mut faults = Vec::new();
        for text in required {
            let fault = |message: String, hint: &str| PolicyFault {
                file: "policies".to_owned(),
                line: 1,
                column: 1,
                message: format!("required: {text}: {message}"),
                hint: Some(hint.to_owned()),
            };
            // The solver is named in the configuration: a client's environment has no say in it.
            let Some(solver) = solver else {
                let hint = "set `solver` in [policies] to the path of cvc5";
                return Err(vec![fault("no solver is named".to_owned(), hint)]);
            };
            let proved = Statement::parse(text).map_err(ProveError::from).and_then(|statement| {
                Prover::new(Path::new(solver)).prove(set, classes.iter().copied(), &statement)
            });
            match proved {
                Ok(Answer::Proved(_)) => {}
                Ok(Answer::Refuted(found)) => {
                    let hint = "change the rule, or take the statement out of `require`";
                    faults.push(fault(format!("not so: {}", in_a_line(&found)), hint));
                }
                Err(error) => {
                    faults.push(fault(format!("not proved: {error}"), "see docs/access-words.md"));
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

pub(crate) fn run(
    at: &Place,
    statements: &[String],
    folder: Option<PathBuf>,
    solver: Option<PathBuf>,
) -> Outcome {
    let config = at.home.config().map_err(|error| {
        Failure::undone("Nothing was proved.", error, "Mend `config.toml` and try again.")
    })?;
    let explainer = match folder {
        Some(folder) => super::explainer(at, &super::source(at, Some(folder))?)?,
        None => super::in_force(at)?,
    };
    let statements: Vec<&String> = if statements.is_empty() {
        config.policies.require.iter().collect()
    } else {
        statements.iter().collect()
    };
    if statements.is_empty() {
        let what = "give a statement, such as \"no agent can ever do T5 without approval\"";
        return Err(Failure::Usage(what.to_owned()));
    }
    let solver = solver.or_else(|| config.policies.solver.map(PathBuf::from)).or_else(found);
    let solver = solver.ok_or_else(|| {
        let next = "Install cvc5 (Debian: `apt install cvc5`), or name it with --solver.";
        Failure::undone("Nothing was proved.", "there is no `cvc5` on the path", next)
    })?;
    let (prover, mut failed, mut answers) = (Prover::new(&solver), false, Vec::new());
    for text in statements {
        let statement =
            Statement::parse(text).map_err(|fault| Failure::Usage(fault.to_string()))?;
        let classes = Catalogue::builtin().classes();
        let answer =
            prover.prove(explainer.set(), classes, &statement).map_err(|error| match error {
                ProveError::Statement(fault) => Failure::Usage(fault.to_string()),
                error => {
                    let next =
                        "Look at the solver (`cvc5 --version`), or make the statement smaller.";
                    Failure::undone(
                        &format!("Neither proved nor refuted: {statement}."),
                        error,
                        next,
                    )
                }
            })?;
        match answer {
            Answer::Proved(extent) if at.json => answers.push(serde_json::json!({
                "statement": statement.to_string(), "proved": true,
                "kinds": extent.kinds, "questions": extent.questions,
            })),
            Answer::Proved(extent) => println!(
                "proved   {statement}\n  over all requests of {} kinds, with {} questions to the solver",
                extent.kinds, extent.questions
            ),
            Answer::Refuted(found) => {
                failed = true;
                if at.json {
                    answers.push(json_of(&statement, &found));
                } else {
                    println!("not so   {statement}");
                    show(&found);
                }
            }
        }
    }
    if at.json {
        println!("{}", serde_json::json!({ "answers": answers }));
    }
    if failed { Err(Failure::No) } else { Ok(()) }
}

fn found() -> Option<PathBuf> {
    let named = std::env::var_os("CVC5").map(PathBuf::from);
    named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|at| at.join("cvc5")).find(|file| file.is_file())
    })
}

fn show(found: &Counterexample) {
    let rule = found.rule.as_deref().unwrap_or("none");
    println!("  this request gets {} by {rule}:", found.verdict);
    let within = if found.within.is_empty() {
        String::new()
    } else {
        format!(" in {}", found.within.join(", "))
    };
    println!("  agent    {:?}{within}", found.agent);
    println!("  action   {}", found.action);
    let servers = found.servers.join(", ");
    let within = if servers.is_empty() { servers } else { format!(" in {servers}") };
    println!("  tool     {:?}{within}", found.tool);
    for (pointer, text) in &found.arguments {
        println!("  argument {pointer:?} {text}");
    }
    for (name, value) in &found.facts {
        println!("  {name:<20} {value}");
    }
    println!("  (made up by the solver: what no policy looks at is arbitrary)");
}

fn in_a_line(found: &Counterexample) -> String {
    let Counterexample { agent, action, tool, verdict, rule, facts, .. } = found;
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    format!(
        "agent {agent:?} doing {action} on {tool:?} at tier {} ({}) gets {verdict} by {}",
        fact("tier"),
        fact("class"),
        rule.as_deref().unwrap_or("no rule")
    )
}

fn json_of(statement: &Statement, found: &Counterexample) -> serde_json::Value {
    serde_json::json!({
        "statement": statement.to_string(), "proved": false,
        "counterexample": {
            "verdict": found.verdict.as_str(), "rule": found.rule, "agent": found.agent,
            "within": found.within, "action": found.action, "tool": found.tool,
            "servers": found.servers, "arguments": found.arguments, "facts": found.facts,
        }
    })
}
