//! Files by which git knows where to push and what to run on the way.
//!
//! The adversary writes them with a tool for files: `git config` and `git remote` have the same effect, and are held.

use tipstaff_core::Tier;

use crate::paths::lexical_absolute;
use crate::{Classification, meaning};

/// The class of what changes git's configuration.
const CLASS: &str = "git:config";

/// Holds what writes them, and knows no place of a line that does.
pub(crate) fn guard(found: &mut Classification) {
    if found.tier < Tier::T3 || !found.paths.iter().any(|path| steers_git(&path.text)) {
        return;
    }
    found.reach = None;
    if found.tier == Tier::T3 {
        (found.tier, found.class) = (Tier::T4, CLASS.to_owned());
        found.means = found.means.join(meaning(CLASS, Tier::T4));
    }
}

fn steers_git(text: &str) -> bool {
    let Some(path) = lexical_absolute(text, "/", "/") else { return false };
    let path = path.to_lowercase();
    let parts: Vec<&str> = path.split('/').collect();
    let inner = parts.iter().position(|part| *part == ".git");
    let inner = inner.and_then(|at| parts.get(at + 1..)).unwrap_or_default();
    path.ends_with("/.gitconfig")
        || inner.contains(&"hooks")
        || inner.last().is_some_and(|last| matches!(*last, "config" | "config.worktree"))
}
