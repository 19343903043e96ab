//! Policies for their authors: classify, check, compile, test, explain, prove; who can and what can.

mod prove;
mod who;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_classify::{Annotations, Catalogue, classify as judge_class};
use tipstaff_core::receipt::Signed;
use tipstaff_core::{Action, Digest, Json, Millis, Verdict};
use tipstaff_monitor::{Explainer, MonitorError, check_policies, read_policies};
use tipstaff_policy::{PolicySource, Words};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
pub(crate) use prove::{Proofs, run as prove};
pub(crate) use who::{what_can, who_can};

pub(crate) fn classify(
    at: &Place,
    tool: Option<String>,
    arguments: Option<&str>,
    server: &str,
    shell: Option<String>,
) -> Outcome {
    let action = match (shell, tool) {
        (Some(line), _) => {
            let arguments = Json::object(vec![("command".to_owned(), Json::String(line))]);
            call("shell", "shell_exec", arguments.unwrap_or(Json::Null))?
        }
        (None, Some(tool)) => call(server, &tool, parse_arguments(arguments)?)?,
        (None, None) => return Err(Failure::Usage("name a tool, or give --shell".to_owned())),
    };
    let found = judge_class(Catalogue::builtin(), &action, Annotations::default());
    if at.json {
        let paths: Vec<_> = found
            .paths
            .iter()
            .map(|path| serde_json::json!({ "pointer": path.pointer, "text": path.text }))
            .collect();
        let answer = serde_json::json!({
            "class": found.class, "tier": found.tier.number(),
            "basis": format!("{:?}", found.basis).to_lowercase(), "paths": paths,
        });
        println!("{answer}");
    } else {
        println!(
            "{}  {}  (by {})",
            found.class,
            found.tier,
            format!("{:?}", found.basis).to_lowercase()
        );
        for path in &found.paths {
            println!("  path {} at {}", path.text, path.pointer);
        }
    }
    Ok(())
}

pub(crate) fn check(at: &Place, folder: Option<PathBuf>) -> Outcome {
    let source = source(at, folder)?;
    match check_policies(&at.home, &source, pins(at)) {
        Ok((count, warnings)) => {
            let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            warnings.extend(who::strangers(at, explainer(at, &source)?.set()));
            if at.json {
                println!(
                    "{}",
                    serde_json::json!({ "policies": count, "warnings": warnings, "faults": [] })
                );
            } else {
                for warning in &warnings {
                    println!("warning: {warning}");
                }
                println!("{count} policies, all of them can decide something");
            }
            Ok(())
        }
        Err(error) => refused(at, error),
    }
}

/// Prints the Cedar that a file of access words means.
pub(crate) fn compile(at: &Place, file: &Path) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Failure::undone(&format!("{} can't be read.", file.display()), e, "Name another file.")
    })?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let classes = Catalogue::builtin().classes();
    match Words::parse(&name, &text).and_then(|words| words.to_cedar(&name, classes)) {
        Ok(cedar) if at.json => println!("{}", serde_json::json!({ "cedar": cedar })),
        Ok(cedar) => print!("{cedar}"),
        Err(faults) => return refused(at, MonitorError::Policies(faults)),
    }
    Ok(())
}

/// What answers by the policies in force: what the last control receipt says, else what a new home would have.
fn in_force(at: &Place) -> Result<Explainer, Failure> {
    let source = match last_control(at, "policy-set")? {
        Some(digest) => {
            let kept = at.home.kept(digest).ok();
            let kept = kept.and_then(|text| PolicySource::from_canonical(&text).ok());
            kept.ok_or_else(|| {
                let next = "Restore `objects/` of the home from a backup.";
                Failure::undone("The policies in force can't be read.", "their text is gone", next)
            })?
        }
        None => source(at, None)?,
    };
    explainer(at, &source)
}

fn explainer(at: &Place, source: &PolicySource) -> Result<Explainer, Failure> {
    Explainer::new(&at.home, source, pins(at)).map_err(|error| match refused(at, error) {
        Err(failure) => failure,
        Ok(()) => Failure::No,
    })
}

pub(crate) fn explain(at: &Place, tool: &str, arguments: Option<&str>, server: &str) -> Outcome {
    let source = source(at, None)?;
    let explainer = match Explainer::new(&at.home, &source, pins(at)) {
        Ok(explainer) => explainer,
        Err(error) => return refused(at, error),
    };
    let action = call(server, tool, parse_arguments(arguments)?)?;
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let (judged, facts) = explainer.explain(&action, &cwd, now());
    if at.json {
        let answer = serde_json::json!({
            "verdict": judged.verdict.as_str(), "class": judged.class, "tier": judged.tier.number(),
            "rule": judged.rule, "reason": judged.reason, "advice": judged.advice,
            "resolved": facts.resolved,
        });
        println!("{answer}");
    } else {
        println!("{} {}  {}", judged.verdict, judged.class, judged.tier);
        println!("  rule    {} ({})", judged.rule.as_deref().unwrap_or("none"), judged.reason);
        if let Some(advice) = &judged.advice {
            println!("  advice  {advice}");
        }
        for (from, to) in &facts.resolved {
            println!("  path    {from} is {to}");
        }
        if let Some((executed, patch)) = &judged.modified {
            println!("  patch   {patch} gives {}", executed.parameters().to_canonical());
        }
    }
    let permits = matches!(judged.verdict, Verdict::Allow | Verdict::Modify);
    if permits { Ok(()) } else { Err(Failure::No) }
}

pub(crate) fn test(at: &Place, file: &Path) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Failure::undone(&format!("{} can't be read.", file.display()), e, "Name another file.")
    })?;
    let source = source(at, None)?;
    let explainer = match Explainer::new(&at.home, &source, pins(at)) {
        Ok(explainer) => explainer,
        Err(error) => return refused(at, error),
    };
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let (mut passed, mut failed) = (0, Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: &str| Failure::Usage(format!("{}:{}: {why}", file.display(), number + 1));
        let case = Json::parse(line.as_bytes()).map_err(|e| bad(&e.to_string()))?;
        let word = |name: &str| case.get(name).and_then(Json::as_str);
        let expect = word("expect").and_then(Verdict::parse);
        let expect = expect.ok_or_else(|| bad("`expect` is none of the five verdicts"))?;
        let tool = word("tool").ok_or_else(|| bad("`tool` is missing"))?;
        let arguments = case.get("arguments").cloned().unwrap_or(Json::Object(Default::default()));
        let action = call(word("server").unwrap_or("unknown"), tool, arguments)?;
        let (judged, _) = explainer.explain(&action, &cwd, now());
        if judged.verdict == expect {
            passed += 1;
        } else {
            let rule = judged.rule.unwrap_or_else(|| judged.reason.to_owned());
            failed.push(format!(
                "line {}: expected {expect}, got {} by {rule}",
                number + 1,
                judged.verdict
            ));
        }
    }
    if at.json {
        println!("{}", serde_json::json!({ "passed": passed, "failed": failed }));
    } else {
        for failure in &failed {
            println!("{failure}");
        }
        println!("{passed} passed, {} failed", failed.len());
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::No) }
}

fn source(at: &Place, folder: Option<PathBuf>) -> Result<PolicySource, Failure> {
    let named = folder.is_some();
    let folder = folder.unwrap_or_else(|| at.home.policies());
    if !folder.is_dir() {
        if named {
            let what = format!("There is no folder {}.", folder.display());
            return Err(Failure::undone(
                &what,
                "nothing is there",
                "Name the folder of the policies.",
            ));
        }
        return Ok(tipstaff_policy::default_source());
    }
    read_policies(&folder)
        .map_err(|e| Failure::undone("The policies can't be read.", e, "Mend that and try again."))
}

/// The pins in force, by the last control receipt; none in a home without a log.
pub(crate) fn pins(at: &Place) -> Option<Digest> {
    last_control(at, "tool-pins").ok().flatten()
}

/// What a kind of control state is by the log's last word.
pub(crate) fn last_control(at: &Place, what: &str) -> Result<Option<Digest>, Failure> {
    if !at.home.exists() {
        return Ok(None);
    }
    let unread =
        |error| Failure::undone("The log can't be read.", error, "Look with `tipstaff log fsck`.");
    let (opened, wanted) = (at.open()?, format!("\"what\":\"{what}\""));
    // Of a long log only what may be meant is read.
    let mut likely = Vec::new();
    let looked = opened.reader.each_leaf(|index, leaf| {
        if leaf.contains(&wanted) {
            likely.push(index);
        }
        Ok(())
    });
    looked.map_err(unread)?;
    for first in likely.into_iter().rev() {
        let mut found = None;
        let read = opened.reader.each_leaf_from(first, |index, leaf| {
            if index == first {
                let signed = Signed::from_leaf(leaf)?;
                found = signed
                    .receipt()
                    .control
                    .as_ref()
                    .filter(|control| control.what == what)
                    .map(|control| control.to);
            }
            Ok(())
        });
        read.map_err(unread)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn refused(at: &Place, error: MonitorError) -> Outcome {
    let MonitorError::Policies(faults) = error else {
        return Err(Failure::undone(
            "The policies can't be checked.",
            error,
            "Mend that and try again.",
        ));
    };
    if at.json {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        println!("{}", serde_json::json!({ "faults": faults }));
    } else {
        for fault in &faults {
            println!("{fault}");
            if let Some(hint) = &fault.hint {
                println!("  hint: {hint}");
            }
        }
        println!("{} faults: this set would be refused", faults.len());
    }
    Err(Failure::No)
}

fn call(server: &str, tool: &str, arguments: Json) -> Result<Action, Failure> {
    Action::new(server, tool, "tools/call", arguments, None)
        .map_err(|e| Failure::Usage(format!("that is no call: {e}")))
}

fn parse_arguments(arguments: Option<&str>) -> Result<Json, Failure> {
    let text = arguments.unwrap_or("{}");
    let json = Json::parse(text.as_bytes())
        .map_err(|e| Failure::Usage(format!("the arguments are not acceptable JSON: {e}")))?;
    match json {
        Json::Object(_) => Ok(json),
        _ => Err(Failure::Usage("the arguments must be a JSON object".to_owned())),
    }
}

pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(0))
}
