//! Whether a server's tool is judged already, by a gateway that the same client started.
//!
//! The adversary is an agent that writes a configuration in which a server looks wrapped while the running
//! one isn't. So it is not asked what a file says but what runs: this very program, as `wrap`, with that
//! name and home, a child of the client that started this hook.

use std::fs;
use std::path::{Path, PathBuf};

use super::event::Of;

/// Processes that are looked at.
const PROCESSES_MAX: usize = 4096;
/// Programs through which a client may start a hook.
const SHELLS: [&str; 6] = ["sh", "bash", "zsh", "dash", "fish", "ksh"];

/// Whether the tool belongs to a server behind this home's gateway.
pub(crate) fn is_wrapped(of: &Of, home: &Path) -> bool {
    if *of == Of::Client {
        return false;
    }
    let Ok(own) = std::env::current_exe() else { return false };
    let Some(parent) = parent_of(std::process::id()) else { return false };
    let mut clients = vec![parent];
    if is_shell(parent) {
        clients.extend(parent_of(parent));
    }
    clients.into_iter().flat_map(children).take(PROCESSES_MAX).any(|pid| {
        fs::read_link(proc(pid).join("exe")).is_ok_and(|exe| exe == own)
            && wrapped_name(pid, home).is_some_and(|name| of.is_of(&normal(&name)))
    })
}

impl Of {
    /// Whether it is a tool of the server of that name.
    fn is_of(&self, server: &str) -> bool {
        match self {
            Self::Client => false,
            Self::Server(name) => normal(name) == server,
            Self::Joined(rest) => rest
                .strip_prefix(server)
                .and_then(|rest| rest.strip_prefix("__"))
                .is_some_and(|tool| !tool.is_empty()),
        }
    }
}

fn proc(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn parent_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(proc(pid).join("stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn is_shell(pid: u32) -> bool {
    let name = fs::read_to_string(proc(pid).join("comm")).unwrap_or_default();
    SHELLS.contains(&name.trim())
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(proc(pid).join("task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>())
        .collect()
}

/// The server's name of a `wrap` that joins this home.
fn wrapped_name(pid: u32, home: &Path) -> Option<String> {
    let words = fs::read(proc(pid).join("cmdline")).ok()?;
    let words: Vec<String> = words
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let own: Vec<&str> =
        words.iter().skip(1).map(String::as_str).take_while(|w| *w != "--").collect();
    if !own.contains(&"wrap") {
        return None;
    }
    let value = |option: &str| {
        let next = own.windows(2).find_map(|pair| match pair {
            [name, value] if *name == option => Some((*value).to_owned()),
            _ => None,
        });
        next.or_else(|| {
            own.iter()
                .find_map(|word| Some(word.strip_prefix(option)?.strip_prefix('=')?.to_owned()))
        })
    };
    let variable = |name: &str| {
        let all = fs::read(proc(pid).join("environ")).ok()?;
        let found = all.split(|byte| *byte == 0).find_map(|entry| {
            std::str::from_utf8(entry)
                .ok()?
                .strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        });
        found.filter(|value| !value.is_empty())
    };
    let joined = value("--home").or_else(|| variable("TIPSTAFF_HOME")).map(PathBuf::from);
    let joined = joined.or_else(|| {
        let data = variable("XDG_DATA_HOME").map(PathBuf::from);
        Some(
            data.or_else(|| Some(Path::new(&variable("HOME")?).join(".local/share")))?
                .join("tipstaff"),
        )
    })?;
    let joined = match fs::read_link(proc(pid).join("cwd")) {
        Ok(cwd) => cwd.join(joined),
        Err(_) => joined,
    };
    if joined != home { None } else { value("--name") }
}

/// A server's name as the client writes it before its tools.
fn normal(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().map(kept).collect()
}
