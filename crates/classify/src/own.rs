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

/// Whether a path is a client's settings file with hooks, or the folder of one.
fn holds_hooks(text: &str) -> bool {
    let Some(path) = lexical_absolute(text, "/", "/") else { return false };
    let path = path.to_lowercase();
    let mut parts = path.rsplit('/');
    let (last, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let settings = last.starts_with("settings") && last.contains(".json");
    last == ".claude" || folder == ".claude" && (settings || last.contains(['*', '?', '[', '{']))
}
