//! What the name of an unknown tool says.
//!
//! The adversary puts a harmless verb in front of a dangerous one (`get_and_delete`), so a dangerous
//! word counts wherever it stands, and only a whole leading word makes a tool harmless.

use tipstaff_core::{Json, Tier};

/// Every class of this module.
pub(crate) const CLASSES: &[&str] =
    &["tool:destroy", "tool:read", "tool:send", "tool:write", "tool:write-files"];

const READS: &[&str] = &[
    "get", "list", "read", "search", "find", "describe", "show", "view", "count", "lookup",
    "check", "inspect",
];
const WRITES: &[&str] = &[
    "create", "update", "write", "add", "set", "insert", "edit", "modify", "patch", "rename",
    "move", "copy", "append", "save", "put", "upsert", "replace",
];
const SENDS: &[&str] = &[
    "send", "post", "push", "publish", "merge", "reply", "comment", "invite", "share", "deploy",
    "release", "submit", "notify", "email", "transfer", "pay", "buy", "upload", "forward", "tweet",
];
const DESTROYS: &[&str] = &[
    "delete",
    "drop",
    "destroy",
    "purge",
    "grant",
    "revoke",
    "remove",
    "wipe",
    "truncate",
    "terminate",
    "erase",
    "uninstall",
    "shutdown",
    "format",
    "nuke",
    "rm",
];
/// Words that are verbs even behind another one; the others are often nouns there (`list_merge_requests`).
const VERBS_ANYWHERE: &[&str] = &[
    "send",
    "publish",
    "write",
    "update",
    "create",
    "modify",
    "insert",
    "upload",
    "deploy",
    "overwrite",
];
const RUNS: &[&str] = &["exec", "execute", "eval", "shell", "run", "sudo", "command", "spawn"];

/// The tier and class of a name, if it begins with a verb that is known or holds a dangerous one.
pub(crate) fn judge(server: &str, tool: &str, parameters: &Json) -> Option<(Tier, &'static str)> {
    let words = words(tool);
    let first = words.first()?.as_str();
    let files = about_files(server, &words, parameters);
    let verb = |word: &str| {
        if DESTROYS.contains(&word) {
            Some((Tier::T5, "tool:destroy"))
        } else if SENDS.contains(&word) {
            Some((Tier::T4, "tool:send"))
        } else if WRITES.contains(&word) || word == "overwrite" {
            Some(if files { (Tier::T3, "tool:write-files") } else { (Tier::T4, "tool:write") })
        } else {
            None
        }
    };
    let mut worst =
        verb(first).or_else(|| READS.contains(&first).then_some((Tier::T1, "tool:read")));
    let mut joined = false;
    for word in words.iter().skip(1).map(String::as_str) {
        let counts = joined || DESTROYS.contains(&word) || VERBS_ANYWHERE.contains(&word);
        if let Some(found) = verb(word).filter(|_| counts)
            && worst.is_none_or(|worst| found.0 > worst.0)
        {
            worst = Some(found);
        }
        joined = matches!(word, "and" | "then" | "or");
    }
    // A reader that also runs something is no reader: better unknown than harmless.
    let runs = words.iter().any(|word| RUNS.contains(&word.as_str()));
    worst.filter(|(tier, _)| !(runs && *tier < Tier::T4))
}

/// The words of `snake_case`, `kebab-case`, `camelCase` and mixtures, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let starts = c.is_uppercase()
            && (before.is_lowercase()
                || before.is_numeric()
                || before.is_uppercase() && chars.peek().is_some_and(|next| next.is_lowercase()));
        if (starts || !c.is_alphanumeric()) && !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

fn about_files(server: &str, name: &[String], parameters: &Json) -> bool {
    const NOUNS: &[&str] =
        &["file", "files", "dir", "directory", "folder", "path", "note", "notes"];
    let server = server.to_ascii_lowercase();
    server.contains("filesystem")
        || server.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == "fs")
        || name.iter().any(|word| NOUNS.contains(&word.as_str()))
        || parameters
            .as_object()
            .is_some_and(|object| object.iter().any(|(name, _)| crate::reach::is_path_name(name)))
}
