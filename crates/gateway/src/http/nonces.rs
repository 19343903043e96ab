//! The signatures of requests that were seen and are still good, remembered past the monitor's end.
//!
//! The adversary repeats a request that he saw, right after the monitor was started again. What was seen is written
//! down before it counts, which outlasts every end but the machine's own; after that, and where nothing is written,
//! whatever was signed before this start is refused, since nobody knows whether it was used.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tipstaff_core::Digest;

use crate::error::GatewayError;

/// How long a signature is good, in seconds, and how far its clock may be ahead.
pub(super) const SKEW: u64 = 5 * 60;
/// Most signatures that are remembered. More within the time that they are good are refused.
const NONCES_MAX: usize = 65_536;
/// Lines after which the file is written again.
const LINES_MAX: usize = 2 * NONCES_MAX;
const FILE: &str = "nonces";

/// The signatures that were seen and are still good.
#[derive(Debug)]
pub(super) struct Nonces {
    seen: Mutex<Seen>,
    since: u64,
}

#[derive(Debug)]
struct Seen {
    known: HashMap<Digest, u64>,
    path: PathBuf,
    boot: String,
    file: File,
    lines: usize,
}

impl Nonces {
    /// Those that a monitor of this home saw since the machine started, in a folder of the home.
    ///
    /// # Errors
    /// [`GatewayError::System`] if nothing can be written there.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Self, GatewayError> {
        let failed = GatewayError::system("the signatures that were seen");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in(folder, boot.trim(), now).map_err(failed)
    }

    fn open_in(folder: &Path, boot: &str, now: u64) -> std::io::Result<Self> {
        let path = folder.join(FILE);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        // What another start of the machine left may lack what was seen last.
        let is_whole = !boot.is_empty() && lines.next() == Some(boot);
        let known: HashMap<Digest, u64> = match is_whole {
            true => lines.filter_map(read).filter(|(_, until)| *until >= now).collect(),
            false => HashMap::new(),
        };
        let (file, lines) = (write(&path, boot, &known)?, known.len());
        let seen = Seen { known, path, boot: boot.to_owned(), file, lines };
        Ok(Self { seen: Mutex::new(seen), since: if is_whole { 0 } else { now } })
    }

    /// Since when everything that was seen is known, in seconds since 1970.
    pub(super) const fn since(&self) -> u64 {
        self.since
    }

    /// Whether it is seen for the first time. It is written down when this says so.
    pub(super) fn take(&self, key: &str, nonce: &str, now: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.known.len() >= NONCES_MAX {
            seen.known.retain(|_, until| *until >= now);
        }
        let id = Digest::of_parts(&[key.as_bytes(), b"\0", nonce.as_bytes()]);
        // A signature's own clock may be ahead: it is good for twice the skew at most.
        let until = now.saturating_add(2 * SKEW);
        seen.known.len() < NONCES_MAX
            && seen.known.insert(id, until).is_none()
            && seen.note(id, until, now).is_ok()
    }
}

impl Seen {
    fn note(&mut self, id: Digest, until: u64, now: u64) -> std::io::Result<()> {
        if self.lines >= LINES_MAX {
            self.known.retain(|_, until| *until >= now);
            self.file = write(&self.path, &self.boot, &self.known)?;
            self.lines = self.known.len();
            return Ok(());
        }
        self.lines += 1;
        self.file.write_all(line(id, until).as_bytes())
    }
}

fn line(id: Digest, until: u64) -> String {
    format!("{until} {}\n", id.to_hex())
}

fn read(line: &str) -> Option<(Digest, u64)> {
    let (until, id) = line.split_once(' ')?;
    Some((Digest::from_hex(id).ok()?, until.parse().ok()?))
}

/// Writes the file anew, whole or not at all, and goes on at its end.
fn write(path: &Path, boot: &str, known: &HashMap<Digest, u64>) -> std::io::Result<File> {
    let mut text = format!("{boot}\n");
    for (id, until) in known {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", line(*id, *until));
    }
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir, boot: &str, now: u64) -> Nonces {
        Nonces::open_in(folder.path(), boot, now).unwrap()
    }

    #[test]
    fn a_nonce_counts_once_for_each_key_and_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let nonces = open(&folder, "b", 10);
        assert!(nonces.take("a", "1", 10) && nonces.take("b", "1", 10));
        assert!(!nonces.take("a", "1", 11));
        for number in 0..NONCES_MAX {
            nonces.take("c", &number.to_string(), 10);
        }
        assert!(!nonces.take("d", "1", 11), "full");
        assert!(nonces.take("d", "1", 11 + 2 * SKEW), "what is over makes way");
    }

    #[test]
    fn what_was_seen_is_known_after_the_monitors_end() {
        let folder = tempfile::tempdir().unwrap();
        let nonces = open(&folder, "b", 10);
        assert_eq!(nonces.since(), 10, "nothing was written yet");
        assert!(nonces.take("a", "1", 11) && nonces.take("a", "2", 12));
        drop(nonces);
        let nonces = open(&folder, "b", 13);
        assert_eq!(nonces.since(), 0);
        assert!(!nonces.take("a", "1", 14) && !nonces.take("a", "2", 14));
        assert!(nonces.take("a", "3", 14));
        drop(nonces);
        let nonces = open(&folder, "b", 12 + 2 * SKEW);
        assert!(!nonces.take("a", "3", 14) && !nonces.take("a", "2", 14));
        assert!(nonces.take("a", "1", 14), "it is over");
        // After the machine's own end nobody knows what was written last.
        assert_eq!(open(&folder, "c", 20).since(), 20);
        assert!(open(&folder, "c", 21).take("a", "3", 21));
    }

    #[test]
    fn the_file_is_bounded_too() {
        let folder = tempfile::tempdir().unwrap();
        let nonces = open(&folder, "b", 0);
        let step = 2 * SKEW + 1;
        for round in 0..40_u64 {
            for number in 0..5_000 {
                assert!(nonces.take("a", &format!("{round}-{number}"), round * step));
            }
        }
        let lines = fs::read_to_string(folder.path().join(FILE)).unwrap().lines().count();
        assert!(lines <= LINES_MAX + 1, "{lines}");
        assert!(!open(&folder, "b", 39 * step).take("a", "39-4999", 39 * step));
    }
}
