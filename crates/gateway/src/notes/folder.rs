//! One folder of notes, and no way out of it.
//!
//! The adversary is a name: `..`, a path, a link that somebody put there. Names are single components
//! of few characters, opened relative to the folder's own handle and never through a link.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// Largest note in bytes.
pub(super) const NOTE_BYTES_MAX: usize = 1 << 20;
/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 100;
/// Most notes that are listed or searched.
const NOTES_MAX: usize = 10_000;
/// Most bytes that one search reads.
const SEARCH_BYTES_MAX: usize = 64 << 20;
/// Longest piece of a line that a search shows, in characters.
const SHOWN_MAX: usize = 200;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    made: AtomicU64,
}

/// Why a note could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoteError {
    #[error(
        "A name has letters, digits, spaces, `-`, `_` and `.`, at most 100 bytes, and doesn't begin with `.` or a space."
    )]
    Name,
    #[error("There is no note of this name.")]
    Absent,
    #[error("A note has at most 1 MiB.")]
    TooLarge,
    #[error("The note is not text.")]
    NotText,
    #[error("The note could not be reached: {0}.")]
    System(#[from] io::Error),
}

impl From<rustix::io::Errno> for NoteError {
    fn from(error: rustix::io::Errno) -> Self {
        match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::LOOP => Self::Absent,
            error => Self::System(error.into()),
        }
    }
}

impl Folder {
    /// Opens the folder, made if it isn't there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { handle: rustix::fs::open(path, flags, Mode::empty())?, made: AtomicU64::new(0) })
    }

    /// The notes by name, with their sizes.
    pub(super) fn list(&self) -> Result<Vec<(String, u64)>, NoteError> {
        let mut notes = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().ok().and_then(|name| checked(name).ok())
            else {
                continue;
            };
            let Ok(stat) = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode).is_file() && notes.len() < NOTES_MAX {
                notes.push((name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
            }
        }
        notes.sort();
        Ok(notes)
    }

    /// The text of a note.
    pub(super) fn read(&self, name: &str) -> Result<String, NoteError> {
        // A pipe that somebody put there must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file =
            File::from(rustix::fs::openat(&self.handle, checked(name)?, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(NoteError::Absent);
        }
        let mut text = Vec::new();
        let most = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut text)?;
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        String::from_utf8(text).map_err(|_| NoteError::NotText)
    }

    /// Writes a note whole or not at all.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), NoteError> {
        let name = checked(name)?;
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".draft-{}-{number}", std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            File::from(rustix::fs::openat(&self.handle, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let written =
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(NoteError::from);
        let renamed = written
            .and_then(|()| Ok(rustix::fs::renameat(&self.handle, &draft, &self.handle, name)?));
        if let Err(error) = renamed {
            // Whether or not this works, the error that matters is the first.
            let _ = rustix::fs::unlinkat(&self.handle, &draft, AtFlags::empty());
            return Err(error);
        }
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    /// Deletes a note.
    pub(super) fn delete(&self, name: &str) -> Result<(), NoteError> {
        let name = checked(name)?;
        let stat = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(NoteError::Absent);
        }
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?;
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    /// Lines that contain `query`, whatever the case, as `name:line: text`.
    pub(super) fn search(&self, query: &str, limit: usize) -> Result<Vec<String>, NoteError> {
        let query = query.to_lowercase();
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for (name, _) in self.list()? {
            let Ok(text) = self.read(&name) else { continue };
            bytes = bytes.saturating_add(text.len());
            for (number, line) in (1..).zip(text.lines()) {
                if found.len() >= limit {
                    return Ok(found);
                }
                if line.to_lowercase().contains(&query) {
                    let shown: String = line.chars().take(SHOWN_MAX).collect();
                    found.push(format!("{name}:{number}: {shown}"));
                }
            }
            if bytes > SEARCH_BYTES_MAX {
                break;
            }
        }
        Ok(found)
    }
}

fn checked(name: &str) -> Result<&str, NoteError> {
    let known = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let edges = name.starts_with(['.', ' ']) || name.ends_with([' ', '.']);
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if fits && !edges && name.chars().all(known) { Ok(name) } else { Err(NoteError::Name) }
}
