//! `install --undo`: each file as it was, byte for byte, or without what is ours where it was edited since.
//!
//! The adversary is the wish to be helpful: an undo that throws away what somebody wrote after the
//! install.

use std::path::Path;

use serde_json::{Value, json};
use tipstaff_core::Digest;

use super::clients::{Client, Folders, Holds};
use super::file::{Seen, replace, sweep, sync_folder};
use super::hook_file::HookFile;
use super::plan::taken_back;
use super::record::{Entry, Held, Record, Stands};
use super::servers::{Format, Own};
use crate::home::Place;
use crate::hook::contract::Contract;
use crate::outcome::{Failure, Outcome};

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// It is what it was, byte for byte.
    Restored,
    /// It was made by us and is gone.
    Removed,
    /// It never changed, or was taken back already.
    Unchanged,
    /// It was edited since: only what is ours was taken out.
    Unwrapped,
    /// Somebody removed it.
    Gone,
}

impl Back {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored byte for byte",
            Self::Removed => "removed; there was none before",
            Self::Unchanged => "as it was before already",
            Self::Unwrapped => {
                "EDITED SINCE: only what Tipstaff had put in was taken out, the rest was kept"
            }
            Self::Gone => "gone; left so, its copy is in the home's install/ folder",
        }
    }
}

pub(super) fn run(at: &Place, clients: &[Client], folders: &Folders, own: &Own) -> Outcome {
    let failed = |why: String| {
        Failure::undone("Nothing was taken back.", why, "Mend that and run it again.")
    };
    if !at.home.root().is_dir() {
        return nothing(at);
    }
    let _held = Held::take(&at.home).map_err(failed)?;
    let mut record = Record::read(&at.home)
        .map_err(|why| failed(format!("install/record.json of the home: {why}")))?;
    let is_wanted = |entry: &Entry| {
        clients.is_empty() || clients.iter().any(|client| client.as_str() == entry.client)
    };
    let (wanted, mut kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(&mut record.files).into_iter().partition(is_wanted);
    if wanted.is_empty() {
        return nothing(at);
    }
    let (mut files, mut failures) = (Vec::new(), 0);
    for entry in wanted {
        let path = entry.path.display().to_string();
        sweep(&entry.path);
        let result = take_back(at, &entry, folders, own);
        let said = match &result {
            Ok(back) => back.as_str().to_owned(),
            Err(why) => format!("LEFT AS IT IS: {why}"),
        };
        if !at.json {
            println!("{} {path}: {said}", entry.client);
        }
        files.push(json!({
            "client": entry.client, "path": path, "done": result.is_ok(), "said": said,
        }));
        if result.is_err() {
            failures += 1;
            kept.push(entry);
        }
    }
    record.files = kept;
    record.write(&at.home).map_err(|why| {
        Failure::undone("The record was not brought up to date.", why, "Run it again.")
    })?;
    if at.json {
        println!("{}", json!({ "files": files, "left": failures }));
    } else {
        println!("  next: restart the clients");
    }
    if failures > 0 { Err(Failure::No) } else { Ok(()) }
}

fn nothing(at: &Place) -> Outcome {
    if at.json {
        println!("{}", json!({ "files": Value::Array(Vec::new()), "left": 0 }));
    } else {
        println!(
            "Nothing of `install` is recorded in this home, so there is nothing to take back."
        );
    }
    Ok(())
}

fn take_back(at: &Place, entry: &Entry, folders: &Folders, own: &Own) -> Result<Back, String> {
    let Some(seen) = Seen::read(&entry.path)? else {
        return Ok(match entry.stands(None) {
            Stands::Before => Back::Unchanged,
            Stands::Written | Stands::Edited => Back::Gone,
        });
    };
    let now = Digest::of(&seen.bytes);
    match entry.stands(Some(&seen.bytes)) {
        Stands::Before => Ok(Back::Unchanged),
        Stands::Written => {
            seen.replaceable()?;
            match entry.kept(&at.home)? {
                Some(bytes) => {
                    replace(&entry.path, Some(now), &bytes, entry.mode)?;
                    Ok(Back::Restored)
                }
                None => {
                    std::fs::remove_file(&entry.path).map_err(|error| error.to_string())?;
                    sync_folder(entry.path.parent().unwrap_or(Path::new("/")));
                    Ok(Back::Removed)
                }
            }
        }
        Stands::Edited => {
            let text = seen.text()?;
            let after = taken_back(holds(entry, folders), text, own)?;
            if after != text {
                seen.replaceable()?;
                replace(&entry.path, Some(now), after.as_bytes(), seen.mode)?;
            }
            Ok(Back::Unwrapped)
        }
    }
}

/// What an entry's file holds, by its client and name.
fn holds(entry: &Entry, folders: &Folders) -> Holds {
    let is_entry = |path: &Path| {
        path == entry.path || std::fs::canonicalize(path).is_ok_and(|real| real == entry.path)
    };
    let known = folders
        .places()
        .into_iter()
        .find(|place| place.client.as_str() == entry.client && is_entry(&place.path));
    if let Some(place) = known {
        return place.holds;
    }
    let name = entry.path.file_name().unwrap_or_default();
    let hooks = |contract| Holds::Hooks(HookFile(contract));
    match entry.client.as_str() {
        "claude-code" if name == "settings.json" => hooks(Contract::ClaudeCode),
        "claude-code" => Holds::Servers(Format::ClaudeCode),
        "vscode" if name == "tipstaff.json" => hooks(Contract::Vscode),
        "vscode" => Holds::Servers(Format::Servers),
        "codex" if name == "hooks.json" => hooks(Contract::Codex),
        "codex" => Holds::Servers(Format::Codex),
        "cursor" if name == "hooks.json" => hooks(Contract::Cursor),
        "gemini" => Holds::Both(Format::McpServers, HookFile(Contract::Gemini)),
        _ => Holds::Servers(Format::McpServers),
    }
}
