//! What would change in each file, and what can't be put behind the gateway.
//!
//! The adversary is a change that breaks the file or misses its aim: what would be written is read again,
//! and is only written if it says what was meant and nothing else differs.

use serde::Serialize;

use super::address::{Address, may_be_secret};
use super::clients::{Holds, Place};
use super::codex::of_toml;
use super::edit::{Splice, spliced};
use super::file::Seen;
use super::hook_file::HookFile;
use super::hooks::{self, State};
use super::jsonc::Node;
use super::servers::{Format, Inner, Kind, Own, Server, of_json};

/// One file of a client, and what is to become of it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) place: Place,
    pub(crate) servers: Vec<Item>,
    pub(crate) hooks: Vec<(&'static str, State)>,
    /// Hooks are there, and this switches all of them off.
    pub(crate) hooks_off: Option<&'static str>,
    pub(crate) outcome: Outcome,
}

/// What is to become of a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is as it should be.
    Same,
    /// It changes.
    Changes(Box<Rewrite>),
    /// It is left, and why.
    Refused(String),
}

/// A file before and after.
#[derive(Debug)]
pub(crate) struct Rewrite {
    /// `None` for a file that is made.
    pub(crate) seen: Option<Seen>,
    pub(crate) after: String,
}

/// One server of a file.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(flatten)]
    pub(crate) state: Behind,
    /// What starts it, without the gateway.
    #[serde(skip)]
    pub(crate) command: Option<String>,
}

/// How a server stands to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub(crate) enum Behind {
    /// It is put behind it now.
    Wrapped,
    /// It was behind it already.
    Already,
    /// The gateway before it was gone; this one takes its place.
    Mended,
    /// It is behind another gateway program, which is named.
    Other(String),
    /// It can't be put behind it, and why.
    Left(String),
}

/// Whether hooks go into the files too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// A settings file that isn't there is made.
    Make,
    /// It is left out.
    Skip,
}

/// Plans one file; `None` if there is none and none is to be made.
pub(crate) fn plan(
    place: &Place,
    own: &Own,
    include: &[String],
    missing: IfMissing,
) -> Option<Planned> {
    let seen = match Seen::read(&place.path) {
        Ok(Some(seen)) => Some(seen),
        Ok(None) if missing == IfMissing::Make && place.holds.hooks().is_some() => None,
        Ok(None) => return None,
        Err(why) => return Some(Planned::refused(place, why)),
    };
    let empty = place.holds.hooks().map_or("", HookFile::empty);
    let text = match seen.as_ref().map_or(Ok(empty), Seen::text) {
        Ok(text) => text,
        Err(why) => return Some(Planned::refused(place, why)),
    };
    // An empty file is one that its client has not filled yet.
    let blank = text.trim_start_matches('\u{feff}').trim().is_empty();
    if blank && place.holds.hooks().is_none() {
        return None;
    }
    let planned = plan_both(place.holds, if blank { empty } else { text }, own, include);
    let (servers, hooks, after) = match planned {
        Ok(planned) => planned,
        Err(why) => return Some(Planned::refused(place, why)),
    };
    let outcome = if seen.is_some() && after == text {
        Outcome::Same
    } else if let Some(Err(why)) = seen.as_ref().map(Seen::replaceable) {
        Outcome::Refused(why)
    } else {
        Outcome::Changes(Box::new(Rewrite { seen: seen.clone(), after }))
    };
    let (hooks, hooks_off) = hooks;
    Some(Planned { place: place.clone(), servers, hooks, hooks_off, outcome })
}

impl Planned {
    fn refused(place: &Place, why: String) -> Self {
        Self {
            place: place.clone(),
            servers: Vec::new(),
            hooks: Vec::new(),
            hooks_off: None,
            outcome: Outcome::Refused(why),
        }
    }

    /// The servers that stay outside the gateway.
    pub(crate) fn outside(&self) -> impl Iterator<Item = (&Item, &str)> {
        self.servers.iter().filter_map(|item| match &item.state {
            Behind::Left(why) => Some((item, why.as_str())),
            _ => None,
        })
    }
}

fn servers_of(format: Format, text: &str) -> Result<Vec<Server>, String> {
    if format == Format::Codex {
        return of_toml(text);
    }
    let node = Node::parse(text).map_err(|error| error.to_string())?;
    Ok(of_json(format, &node, text))
}

fn plan_servers(
    format: Format,
    text: &str,
    own: &Own,
    include: &[String],
) -> Result<(Vec<Item>, String), String> {
    let servers = servers_of(format, text)?;
    let (mut items, mut splices) = (Vec::new(), Vec::new());
    for server in &servers {
        let (state, command) = match &server.kind {
            Kind::Remote(address) => match address.left(&server.name, include) {
                Some(why) => (Behind::Left(why), None),
                None => {
                    splices.extend(address.wrap(&server.name, own, text));
                    (Behind::Wrapped, None)
                }
            },
            Kind::Odd(why) => (Behind::Left((*why).to_owned()), None),
            Kind::Stdio(stdio) => {
                let state = match stdio.wrapped(own) {
                    Some(wrapped) if wrapped.binary == own.exe => match wrapped.home {
                        Some(home) if home != own.home => Behind::Other(format!("that of {home}")),
                        _ => Behind::Already,
                    },
                    Some(wrapped) if std::path::Path::new(wrapped.binary).is_file() => {
                        Behind::Other(wrapped.binary.to_owned())
                    }
                    Some(_) => {
                        splices.push(stdio.mend(own));
                        Behind::Mended
                    }
                    None if stdio.obstacle.is_some() => {
                        Behind::Left(stdio.obstacle.unwrap_or_default().to_owned())
                    }
                    None => {
                        splices.extend(stdio.wrap(&server.name, own, text));
                        Behind::Wrapped
                    }
                };
                (state, stdio.inner_command(own).map(str::to_owned))
            }
        };
        items.push(Item { name: server.name.clone(), scope: server.scope.clone(), state, command });
    }
    let after = spliced(text, splices);
    let again = servers_of(format, &after)?;
    let meant = again.len() == servers.len()
        && again.iter().zip(&items).zip(&servers).all(|((now, item), before)| match item.state {
            Behind::Wrapped | Behind::Mended => match &before.kind {
                Kind::Remote(before) => leads_to(format, now, &after, (before, text), own),
                Kind::Stdio(_) | Kind::Odd(_) => is_behind(now, before, own),
            },
            _ => same_words(now, before),
        });
    if !meant {
        return Err("it is written in a way that can't be changed safely".to_owned());
    }
    Ok((items, after))
}

/// Whether a server is behind the gateway and runs what it ran before.
fn is_behind(now: &Server, before: &Server, own: &Own) -> bool {
    let (Kind::Stdio(now), Kind::Stdio(before)) = (&now.kind, &before.kind) else { return false };
    let Some(wrapped) = now.wrapped(own) else { return false };
    let words = |stdio: &super::servers::Stdio, from: usize| -> Vec<String> {
        let all = stdio.args.as_ref().map(|args| args.words.as_slice()).unwrap_or_default();
        all.iter().skip(from).map(|word| word.text.clone()).collect()
    };
    let (ran, runs) = match (before.wrapped(own).map(|wrapped| wrapped.inner), wrapped.inner) {
        (Some(Inner::Command(was)), Inner::Command(is)) => (words(before, was), words(now, is)),
        (Some(Inner::Url), Inner::Url) => (words(before, 0), words(now, 0)),
        (None, Inner::Command(is)) => {
            ([vec![before.command.text.clone()], words(before, 0)].concat(), words(now, is))
        }
        _ => return false,
    };
    wrapped.binary == own.exe && runs == ran && now.env == before.env
}

/// Whether a server is behind the gateway, which reaches what the client reached before: taken out again,
/// the entry would say the same.
fn leads_to(
    format: Format,
    now: &Server,
    after: &str,
    (before, text): (&Address, &str),
    own: &Own,
) -> bool {
    let Kind::Stdio(stdio) = &now.kind else { return false };
    let behind = stdio.wrapped(own);
    if !behind.is_some_and(|behind| behind.binary == own.exe && behind.inner == Inner::Url) {
        return false;
    }
    let back = spliced(after, stdio.unwrap(own, after));
    let Ok(servers) = servers_of(format, &back) else { return false };
    let same = |server: &&Server| server.name == now.name && server.scope == now.scope;
    match servers.iter().find(same).map(|server| &server.kind) {
        Some(Kind::Remote(address)) => before.is_same(text, address, &back),
        _ => false,
    }
}

fn same_words(now: &Server, before: &Server) -> bool {
    let texts = |server: &Server| match &server.kind {
        Kind::Stdio(stdio) => {
            let args = stdio.args.as_ref().map(|args| args.words.iter().map(|w| w.text.clone()));
            Some((stdio.command.text.clone(), args.into_iter().flatten().collect::<Vec<_>>()))
        }
        Kind::Remote(_) | Kind::Odd(_) => None,
    };
    now.name == before.name && texts(now) == texts(before)
}

fn plan_both(
    holds: Holds,
    text: &str,
    own: &Own,
    include: &[String],
) -> Result<(Vec<Item>, HookStates, String), String> {
    let (servers, text) = match holds.servers() {
        Some(format) => plan_servers(format, text, own, include)?,
        None => (Vec::new(), text.to_owned()),
    };
    let (hooks, text) = match holds.hooks() {
        Some(file) => plan_hooks(file, &text, own)?,
        None => (HookStates::default(), text),
    };
    Ok((servers, hooks, text))
}

type HookStates = (Vec<(&'static str, State)>, Option<&'static str>);

fn plan_hooks(file: HookFile, text: &str, own: &Own) -> Result<(HookStates, String), String> {
    let node = Node::parse(text).map_err(|error| error.to_string())?;
    let states = hooks::states(file, &node, own);
    let off = file.off(&node, text);
    let after = hooks::put(file, text, own).map_err(|error| error.to_string())?;
    Node::parse(&after).map_err(|error| error.to_string())?;
    Ok(((states, off), after))
}

/// The text without anything of ours.
///
/// # Errors
/// Why it can't be read.
pub(crate) fn taken_back(holds: Holds, text: &str, own: &Own) -> Result<String, String> {
    let text = match holds.hooks() {
        Some(file) => hooks::take_out(file, text, own).map_err(|error| error.to_string())?,
        None => text.to_owned(),
    };
    let Some(format) = holds.servers() else { return Ok(text) };
    let servers = servers_of(format, &text)?;
    let splices = servers.iter().flat_map(|server| match &server.kind {
        Kind::Stdio(stdio) => stdio.unwrap(own, &text),
        Kind::Remote(_) | Kind::Odd(_) => Vec::new(),
    });
    Ok(spliced(&text, splices.collect()))
}

/// A text of servers for other eyes: what variables and headers hold is not in it.
pub(crate) fn masked(holds: Holds, text: &str) -> String {
    let Some(format) = holds.servers() else { return text.to_owned() };
    let mut splices = Vec::new();
    for server in servers_of(format, text).unwrap_or_default() {
        let parts = match &server.kind {
            Kind::Stdio(stdio) => &stdio.parts,
            Kind::Remote(address) => {
                if may_be_secret(&address.url.text) {
                    splices.push(Splice::new(address.url.at.clone(), MASK));
                }
                &address.parts
            }
            Kind::Odd(_) => continue,
        };
        let values = parts.table.iter().flat_map(|table| &table.members);
        splices.extend(values.map(|entry| Splice::new(entry.value.clone(), MASK)));
    }
    spliced(text, splices)
}

/// What stands in the place of a value.
const MASK: &str = "\"***\"";
