//! Drafting rules from what was observed (row A17).
//!
//! The adversary is the week in which the agent was already misled: a draft is never in force by itself,
//! never broader than the tool and the class that were seen, never for what can't be undone, and says
//! how often each was seen and what it would change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::receipt::Enforcement;
use tipstaff_core::{Tier, Verdict};
use tipstaff_identity::HomeKeys;
use tipstaff_ledger::SealingKey;
use tipstaff_monitor::replay::{Recorded, each_recorded};
use tipstaff_monitor::{Explainer, read_policies};
use tipstaff_policy::PolicySource;

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::queue::plain;

/// Most actions that are looked at; the latest ones.
const ACTIONS_MAX: usize = 100_000;
/// Name of the file that is drafted.
const FILE: &str = "suggested.cedar";
const DAY_MS: u64 = 24 * 3600 * 1000;

/// What was seen, by what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    tool: String,
    class: String,
    tier: Tier,
    verdict: Verdict,
    rule: String,
}

/// A drafted rule, or folder.
#[derive(Debug)]
struct Draft {
    what: What,
    /// How often what it is about was seen.
    seen: usize,
    /// Of all that was seen, what would be allowed by it and is held or refused without it.
    allows: usize,
    /// And what would then still be held or refused.
    leaves: usize,
}

#[derive(Debug)]
enum What {
    /// A permit's id and text.
    Rule(String, String),
    /// A folder for `roots`.
    Root(String),
}

pub(crate) fn run(at: &Place, days: u64, all: bool) -> Outcome {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::undone("No rules could be drafted.", e.to_string(), "Run `tipstaff doctor`.")
    };
    let opened = at.open()?;
    let keys = HomeKeys::open(at.home.root()).map_err(|e| failed(&e))?;
    let sealing = SealingKey::new(keys.home_key()).map_err(|e| failed(&e))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let since = u64::try_from(now).unwrap_or(0).saturating_sub(days.saturating_mul(DAY_MS));
    let mut found = std::collections::VecDeque::new();
    each_recorded(&opened.reader, &sealing, &mut |recorded: Recorded| {
        let observed = recorded.receipt.enforcement == Enforcement::Observe;
        if recorded.receipt.now.0 >= since && (observed || all) {
            if found.len() == ACTIONS_MAX {
                found.pop_front();
            }
            found.push_back(recorded);
        }
    })
    .map_err(|e| failed(&e))?;
    let found: Vec<Recorded> = found.into();
    let source = read_policies(&at.home.policies()).map_err(|e| failed(&e))?;
    let explainer = |source: &PolicySource| {
        Explainer::new(&at.home, source, crate::policy::pins(at)).map_err(|e| failed(&e))
    };
    let before = verdicts(&explainer(&source)?, &found);
    let seen = count(&found, &before);
    let mut drafts = Vec::new();
    for what in rules(&seen).into_iter().chain(roots(at, &found, &before)) {
        let (what, about) = what;
        let judge = match &what {
            What::Rule(_, text) => {
                let mut more = source.clone();
                more.files.insert(FILE.to_owned(), text.clone());
                explainer(&more)?
            }
            What::Root(folder) => {
                let mut judge = explainer(&source)?;
                judge.add_root(folder);
                judge
            }
        };
        let after = verdicts(&judge, &found);
        let both = || before.iter().zip(&after);
        let allows = both().filter(|(before, after)| !before.allows() && after.allows()).count();
        let leaves = after.iter().filter(|after| !after.allows()).count();
        drafts.push(Draft { what, seen: about, allows, leaves });
    }
    match at.json {
        true => println!("{}", to_json(&found, &seen, &drafts)),
        false => println!("{}", to_cedar(days, &found, &seen, &drafts)),
    }
    Ok(())
}

/// What the rules of now say of something that was recorded.
#[derive(Debug, Clone)]
struct Now {
    verdict: Verdict,
    rule: String,
    class: String,
    tier: Tier,
}

impl Now {
    const fn allows(&self) -> bool {
        matches!(self.verdict, Verdict::Allow | Verdict::Modify)
    }
}

fn verdicts(judge: &Explainer, found: &[Recorded]) -> Vec<Now> {
    let judged = found.iter().map(|recorded| judge.again(&recorded.action, &recorded.facts));
    judged
        .map(|judged| Now {
            verdict: judged.verdict,
            rule: judged.rule.unwrap_or_else(|| judged.reason.to_owned()),
            class: judged.class,
            tier: judged.tier,
        })
        .collect()
}

fn count(found: &[Recorded], now: &[Now]) -> BTreeMap<Seen, usize> {
    let mut seen = BTreeMap::new();
    for (recorded, now) in found.iter().zip(now) {
        let tool = recorded.action.qualified_tool();
        let Now { verdict, rule, class, tier } = now.clone();
        *seen.entry(Seen { tool, class, tier, verdict, rule }).or_insert(0) += 1;
    }
    seen
}

/// A permit for each tool and class that a person would have been asked about. What can't be undone
/// stays with a person.
fn rules(seen: &BTreeMap<Seen, usize>) -> Vec<(What, usize)> {
    let asked = seen.iter().filter(|(seen, _)| {
        // A change outside the roots is a matter of folders, not of tools.
        seen.verdict == Verdict::StepUp && seen.tier < Tier::T5 && seen.rule != "outside-roots"
    });
    asked
        .enumerate()
        .map(|(number, (seen, times))| {
            let id = format!("seen-{}", number + 1);
            let text = format!(
                "@id(\"{id}\")\n@rank(\"1\")\npermit (principal, action, resource == Tool::{})\nwhen {{ \
                 context.class == Class::{} && context.tier <= {} }};\n",
                quoted(&seen.tool),
                quoted(&seen.class),
                seen.tier.number()
            );
            (What::Rule(id, text), *times)
        })
        .collect()
}

/// Folders in which changes were made that a person would have been asked about.
fn roots(at: &Place, found: &[Recorded], now: &[Now]) -> Vec<(What, usize)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let asked = found.iter().zip(now).filter(|(_, now)| {
        now.verdict == Verdict::StepUp && now.tier == Tier::T3 && now.rule == "outside-roots"
    });
    for (recorded, _) in asked {
        let places: BTreeSet<PathBuf> =
            recorded.facts.resolved.values().filter_map(|path| project(Path::new(path))).collect();
        for place in places {
            *folders.entry(place).or_insert(0) += 1;
        }
    }
    // Never so much that everything is inside.
    folders.retain(|folder, _| {
        !home.starts_with(folder)
            && !at.home.root().starts_with(folder)
            && folder.components().count() > 2
    });
    let folders = folders.into_iter();
    folders
        .map(|(folder, times)| (What::Root(folder.to_string_lossy().into_owned()), times))
        .collect()
}

/// The folder that a change belongs to: the repository that it is in, else the folder itself.
fn project(path: &Path) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let repository = folder.ancestors().find(|folder| folder.join(".git").exists());
    Some(repository.unwrap_or(folder).to_owned())
}

/// A Cedar string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

fn to_cedar(
    days: u64,
    found: &[Recorded],
    seen: &BTreeMap<Seen, usize>,
    drafts: &[Draft],
) -> String {
    let mut out = format!(
        "// Drafted from {} actions of the last {days} days. Nothing here is in force: read it, delete what\n\
         // you don't want, and save the rest as policies/{FILE}.\n//\n// What was seen, and what the \
         policies of now say to it:\n",
        found.len()
    );
    let mut most: Vec<_> = seen.iter().collect();
    most.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    for (seen, times) in most {
        let Seen { tool, class, tier, verdict, rule } = seen;
        let _ =
            writeln!(out, "// {times:>6} x {verdict:<7} {} {class} {tier}, {rule}", plain(tool));
    }
    let folders = drafts.iter().filter(|draft| matches!(draft.what, What::Root(_)));
    for (number, draft) in folders.enumerate() {
        let What::Root(folder) = &draft.what else { continue };
        if number == 0 {
            out.push_str("//\n// Folders for `roots` in config.toml:\n");
        }
        let _ = writeln!(out, "//   {:?}  {}", plain(folder), effect(draft));
    }
    for draft in drafts {
        if let What::Rule(_, text) = &draft.what {
            let _ = write!(out, "\n// {}\n{text}", effect(draft));
        }
    }
    if drafts.is_empty() {
        out.push_str(
            "//\n// There is nothing to add: no call would have been held that may be allowed.\n",
        );
    }
    out
}

fn effect(draft: &Draft) -> String {
    format!(
        "Seen {} times. Allows {} of what was seen; {} would still be held or refused.",
        draft.seen, draft.allows, draft.leaves
    )
}

fn to_json(
    found: &[Recorded],
    seen: &BTreeMap<Seen, usize>,
    drafts: &[Draft],
) -> serde_json::Value {
    let seen: Vec<_> = seen
        .iter()
        .map(|(seen, times)| {
            serde_json::json!({
                "tool": seen.tool, "class": seen.class, "tier": seen.tier.number(),
                "verdict": seen.verdict.as_str(), "rule": seen.rule, "times": times,
            })
        })
        .collect();
    let drafts: Vec<_> = drafts
        .iter()
        .map(|draft| {
            let (kind, id, text) = match &draft.what {
                What::Rule(id, text) => ("rule", Some(id), text),
                What::Root(folder) => ("root", None, folder),
            };
            serde_json::json!({
                "kind": kind, "id": id, "text": text, "seen": draft.seen,
                "allows": draft.allows, "leaves": draft.leaves,
            })
        })
        .collect();
    serde_json::json!({ "actions": found.len(), "seen": seen, "drafts": drafts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_s_name_stays_a_name() {
        assert_eq!(quoted("a/b\") || true //"), "\"a/b\\\") || true //\"");
        assert_eq!(quoted("x\u{202e}\\"), "\"x\\u{202e}\\\\\"");
    }
}
