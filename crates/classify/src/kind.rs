//! What later actions have to have in common with one that a person approved, for the same yes to cover them.
//!
//! The adversary has an honest yes to one thing and asks for another that looks like it. So a kind names what the
//! action does and where it leads; where the classifier can't tell that, there is none. Pure, and outside of the
//! kernel, which compares kinds and knows nothing of them.

use std::collections::BTreeMap;

use tipstaff_core::{Action, Json, Tier};

use crate::paths::lexical_absolute;
use crate::{Basis, Classification, OWN_HOME};

/// What the world is like around an action.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The folder that it is asked from.
    pub folder: &'a str,
    /// The home folder of the user.
    pub user_home: &'a str,
    /// Whether each path that it names is inside a declared root.
    pub inside_roots: bool,
    /// Whether it touches credentials, or Tipstaff's own home.
    pub guarded: bool,
    /// Where its paths lead.
    pub resolved: &'a BTreeMap<String, String>,
    /// Those that can be read as two places.
    pub physical: &'a BTreeMap<String, String>,
}

/// What an action does, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The upstream.
    pub server: String,
    /// Its tool.
    pub tool: String,
    /// The class.
    pub class: String,
    /// What it does to what, sorted.
    pub acts: Vec<String>,
    /// The folders in which it does, where that says what is meant.
    pub folders: Vec<String>,
}

/// Why an action is of no kind that a yes could cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKind {
    /// It can't be undone.
    #[error("it can't be undone, and such a call is approved alone")]
    Irreversible,
    /// It touches what stays guarded.
    #[error("it touches credentials, or Tipstaff's own folder")]
    Guarded,
    /// It names files elsewhere.
    #[error("it names files outside the declared folders")]
    Outside,
    /// What it does is not known well enough.
    #[error("nobody can tell from the call alone what else would be of its kind")]
    Unknown,
    /// Where it leads is not known.
    #[error(
        "the call doesn't say by itself where it leads (name remote and branch, repository, or address)"
    )]
    Nowhere,
}

/// Where the commands of a shell line lead that others see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) acts: Vec<String>,
    /// The folders that it may run in, as the line spells them, where that says what is meant.
    pub(crate) bases: Vec<String>,
}

impl Kind {
    /// Its canonical form.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let texts = |texts: &[String]| Json::Array(texts.iter().map(|t| Json::string(t)).collect());
        let members = vec![
            ("acts".to_owned(), texts(&self.acts)),
            ("class".to_owned(), Json::string(&self.class)),
            ("folders".to_owned(), texts(&self.folders)),
            ("server".to_owned(), Json::string(&self.server)),
            ("tool".to_owned(), Json::string(&self.tool)),
        ];
        Json::object(members).unwrap_or(Json::Null)
    }

    /// Reads it.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let text = |name| Some(json.get(name)?.as_str()?.to_owned());
        let texts = |name| -> Option<Vec<String>> {
            json.get(name)?.as_array()?.iter().map(|one| Some(one.as_str()?.to_owned())).collect()
        };
        Some(Self {
            server: text("server")?,
            tool: text("tool")?,
            class: text("class")?,
            acts: texts("acts")?,
            folders: texts("folders")?,
        })
    }
}

/// The kind of an action that was classified.
///
/// # Errors
/// [`NoKind`] says why there is none.
pub fn kind(action: &Action, found: &Classification, around: &Around<'_>) -> Result<Kind, NoKind> {
    if found.tier > Tier::T4 {
        return Err(NoKind::Irreversible);
    }
    if around.guarded || found.paths.iter().any(|path| path.text == OWN_HOME) {
        return Err(NoKind::Guarded);
    }
    if action.operation() != "tools/call" || action.resource().is_some() {
        return Err(NoKind::Unknown);
    }
    let elsewhere = !found.paths.is_empty() && !around.inside_roots;
    let (acts, folders) = match (found.basis, found.class.as_str()) {
        (Basis::Shell, _) => {
            let reach = found.reach.as_ref().ok_or(NoKind::Nowhere)?;
            if !says_all(action.parameters()) {
                return Err(NoKind::Unknown);
            }
            if elsewhere {
                return Err(NoKind::Outside);
            }
            // A folder that the line goes to may be a link, which leads elsewhere tomorrow.
            let bases = reach.bases.iter().map(|base| match base.as_str() {
                "" => lexical_absolute(".", around.folder, around.user_home),
                _ if around.physical.contains_key(base) => None,
                _ => around.resolved.get(base).cloned(),
            });
            let folders = bases.collect::<Option<Vec<String>>>().ok_or(NoKind::Nowhere)?;
            (reach.acts.clone(), folders)
        }
        (Basis::Catalogue, "fs:write") => (vec!["write".to_owned()], written(found, around)?),
        (Basis::Catalogue, _) if elsewhere => return Err(NoKind::Outside),
        (Basis::Catalogue, "repo:write" | "tracker:write") => {
            (vec![repository(action).ok_or(NoKind::Nowhere)?], Vec::new())
        }
        (Basis::Catalogue, "http:write" | "browser:act") => {
            (vec![address(action).ok_or(NoKind::Nowhere)?], Vec::new())
        }
        _ => return Err(NoKind::Unknown),
    };
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.dedup();
        texts
    };
    Ok(Kind {
        server: action.server().to_owned(),
        tool: action.tool().to_owned(),
        class: found.class.clone(),
        acts: sorted(acts),
        folders: sorted(folders),
    })
}

/// The folders that files are written in. In the user's home itself, and above it, lies what starts programs.
fn written(found: &Classification, around: &Around<'_>) -> Result<Vec<String>, NoKind> {
    if found.paths.is_empty() {
        return Err(NoKind::Nowhere);
    }
    let folders = found.paths.iter().map(|path| {
        let place = around.resolved.get(&path.text)?;
        let (folder, name) = place.rsplit_once('/')?;
        let above = format!("{}/", around.user_home).starts_with(&format!("{folder}/"));
        let known = !name.is_empty() && !above && !around.physical.contains_key(&path.text);
        known.then(|| folder.to_owned())
    });
    folders.collect::<Option<_>>().ok_or(NoKind::Nowhere)
}

/// The repository that a forge's tool names.
fn repository(action: &Action) -> Option<String> {
    let word = |name| action.parameters().get(name).map(|value| value.as_str());
    let (owner, name) = (word("owner")??, word("repo")??);
    let mut act = format!("{owner}/{name}");
    if !is_plain(owner, "") || !is_plain(name, "") {
        return None;
    }
    if let Some(branch) = word("branch") {
        act.push(' ');
        act.push_str(branch.filter(|branch| is_plain(branch, "/"))?);
    }
    Some(act)
}

/// Method and host of the one address that a tool is given.
fn address(action: &Action) -> Option<String> {
    let parameters = action.parameters();
    let mut addresses = 0;
    parameters.each_string(&mut |_, text| addresses += usize::from(text.contains("://")));
    let url = parameters.get("url")?.as_str().filter(|_| addresses == 1)?;
    let method = match parameters.get("method") {
        None => String::new(),
        Some(method) => format!("{} ", method.as_str()?.to_ascii_uppercase()),
    };
    Some(format!("{method}{}", origin(url)?))
}

/// Whether a shell's arguments say nothing beside the line that changes what it does.
fn says_all(parameters: &Json) -> bool {
    const NAMES: &[&str] = &[
        "command",
        "cmd",
        "cwd",
        "workdir",
        "description",
        "explanation",
        "timeout",
        "timeout_ms",
        "run_in_background",
    ];
    let members = parameters.as_object().into_iter().flat_map(|members| members.iter());
    members.into_iter().all(|(name, _)| NAMES.contains(&name))
}

/// Scheme, host and port of an address without a user in it.
pub(crate) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split(['/', '?', '#']).next()?;
    let known = matches!(scheme.as_str(), "http" | "https") && is_plain(host, ":");
    known.then(|| format!("{scheme}://{}", host.to_ascii_lowercase()))
}

/// Whether a text is a plain name, which nothing expands and no option is made of.
pub(crate) fn is_plain(text: &str, more: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c);
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(letter)
        && !text.split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests;
