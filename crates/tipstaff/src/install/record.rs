//! What `install` did, so that it can be undone: a copy of each file as it was, and the digests of what
//! was written instead.
//!
//! The adversary is an end at any moment. Copies and record are durable before the first file changes, so
//! whatever was reached is told by comparing digests.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tipstaff_core::Digest;
use tipstaff_monitor::Home;
use tipstaff_store::{Disk as _, NativeDisk};

const FOLDER: &str = "install";
const RECORD: &str = "install/record.json";

/// The record of a home.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    v: u32,
    pub(crate) files: Vec<Entry>,
}

/// One file of another program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The file itself, links followed.
    pub(crate) path: PathBuf,
    /// Which client reads it.
    pub(crate) client: String,
    /// SHA-256 of what it held; absent if there was no file.
    before: Option<String>,
    /// SHA-256 of everything that was written instead, oldest first.
    written: Vec<String>,
    /// Its mode.
    pub(crate) mode: u32,
}

/// A file that is going to be changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) client: String,
    pub(crate) mode: u32,
    /// What it holds now; `None` if there is no file.
    pub(crate) now: Option<Vec<u8>>,
    /// What it would hold without us, as far as it is known from its text.
    pub(crate) without: Option<Vec<u8>>,
    pub(crate) after: Vec<u8>,
}

/// How a file stands to what was recorded of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// As it was before.
    Before,
    /// As it was written.
    Written,
    /// It was edited since.
    Edited,
}

/// Held while files are changed.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl Record {
    /// The record; an empty one if nothing was installed.
    ///
    /// # Errors
    /// Why it can't be read.
    pub(crate) fn read(home: &Home) -> Result<Self, String> {
        match fs::read_to_string(home.root().join(RECORD)) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Keeps copies of the files and records what is going to be written. Both are durable when this
    /// returns.
    ///
    /// # Errors
    /// Why nothing may be changed.
    pub(crate) fn prepare(&mut self, home: &Home, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            let after = hex(&change.after);
            let known = self.files.iter_mut().find(|entry| entry.path == change.path);
            let known = match known {
                // As it was before or as we wrote it: what it was before is still what is kept.
                Some(entry) if entry.stands(change.now.as_deref()) != Stands::Edited => {
                    if !entry.written.contains(&after) {
                        entry.written.push(after);
                    }
                    continue;
                }
                known => known,
            };
            // Edited since we wrote it: what it was before is what it would be without us.
            let before = if known.is_some() { &change.without } else { &change.now };
            for bytes in [before, &change.now].into_iter().flatten() {
                keep(home, bytes)?;
            }
            let entry = Entry {
                path: change.path.clone(),
                client: change.client.clone(),
                before: before.as_deref().map(hex),
                written: vec![after],
                mode: change.mode,
            };
            match known {
                Some(known) => *known = entry,
                None => self.files.push(entry),
            }
        }
        self.write(home)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// Why it is not durable.
    pub(crate) fn write(&mut self, home: &Home) -> Result<(), String> {
        self.v = 1;
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        disk(home).replace(Path::new(RECORD), text.as_bytes()).map_err(|error| error.to_string())
    }
}

impl Entry {
    /// How the file stands, by what it holds now.
    pub(crate) fn stands(&self, now: Option<&[u8]>) -> Stands {
        let now = now.map(hex);
        if now == self.before {
            Stands::Before
        } else if now.is_some_and(|now| self.written.contains(&now)) {
            Stands::Written
        } else {
            Stands::Edited
        }
    }

    /// What the file held; `None` if there was none.
    ///
    /// # Errors
    /// That the copy is gone or was changed.
    pub(crate) fn kept(&self, home: &Home) -> Result<Option<Vec<u8>>, String> {
        let Some(before) = &self.before else { return Ok(None) };
        let path = home.root().join(FOLDER).join(before);
        let bytes =
            fs::read(&path).map_err(|error| format!("the copy {}: {error}", path.display()))?;
        if hex(&bytes) == *before {
            Ok(Some(bytes))
        } else {
            Err(format!("the copy {} was changed", path.display()))
        }
    }
}

impl Held {
    /// Takes the lock of the record.
    ///
    /// # Errors
    /// That somebody else has it, or why it can't be taken.
    pub(crate) fn take(home: &Home) -> Result<Self, String> {
        let folder = home.root().join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| error.to_string())?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"));
        let file = file.map_err(|error| error.to_string())?;
        file.try_lock().map_err(|_| "another install is running".to_owned())?;
        Ok(Self(file))
    }
}

fn keep(home: &Home, bytes: &[u8]) -> Result<(), String> {
    let path = Path::new(FOLDER).join(hex(bytes));
    let whole = fs::read(home.root().join(&path)).is_ok_and(|kept| kept == bytes);
    if whole {
        return Ok(());
    }
    disk(home).replace(&path, bytes).map_err(|error| error.to_string())
}

fn disk(home: &Home) -> NativeDisk {
    NativeDisk::new(home.root())
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()
}
