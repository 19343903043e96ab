//! What would switch Tipstaff off or speak in its name, as if it were an act on Tipstaff's own home.
//!
//! The adversary is the agent that is being judged: the client runs Tipstaff's hook because its settings
//! say so, and those settings may lie in the very folder in which the agent works. Looking at them is
//! harmless; changing them is not the agent's to do.

use tipstaff_core::Tier;

use crate::paths::lexical_absolute;
use crate::{Classification, PathUse};

/// Stands among the paths of an action that acts on Tipstaff itself: whoever resolves paths puts Tipstaff's
/// own home in its place.
pub const OWN_HOME: &str = "tipstaff:";

/// Adds [`OWN_HOME`] to what changes the settings by which a client runs Tipstaff's hook.
pub(crate) fn guard(found: &mut Classification) {
    if found.tier < Tier::T3 || found.paths.iter().any(|path| path.text == OWN_HOME) {
        return;
    }
    let settings = found.paths.iter().find(|path| holds_hooks(&path.text));
    if let Some(pointer) = settings.map(|path| path.pointer.clone()) {
        found.paths.push(PathUse { pointer, text: OWN_HOME.to_owned() });
    }
}

/// Where clients keep what makes them run a hook, as folders and the beginnings of the names in them.
const HOOK_FILES: [(&str, &[&str]); 6] = [
    (".claude", &["settings"]),
    (".codex", &["hooks.json", "config.toml"]),
    (".cursor", &["hooks.json"]),
    (".gemini", &["settings.json"]),
    // VS Code and Copilot read every file of these.
    (".copilot/hooks", &[""]),
    (".github/hooks", &[""]),
];

/// Whether a path is a client's file with hooks, or the folder of one.
fn holds_hooks(text: &str) -> bool {
    let Some(path) = lexical_absolute(text, "/", "/") else { return false };
    let path = path.to_lowercase();
    let (folder, last) = path.rsplit_once('/').unwrap_or(("", path.as_str()));
    let ends = |path: &str, folder: &str| {
        path.strip_suffix(folder).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    HOOK_FILES.iter().any(|(hooks, names)| {
        let is_file = |name: &&str| match *name {
            "settings" => last.starts_with("settings") && last.contains(".json"),
            name => last.starts_with(name),
        };
        // The folder itself, and for `.copilot/hooks` what holds it.
        let outer = hooks.split_once('/').filter(|(outer, _)| *outer != ".github");
        ends(&path, hooks)
            || outer.is_some_and(|(outer, _)| ends(&path, outer))
            || ends(folder, hooks)
                && (names.iter().any(is_file) || last.contains(['*', '?', '[', '{']))
    })
}
