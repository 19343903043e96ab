//! Files of other programs: looked at with suspicion, replaced whole or not at all.
//!
//! The adversary is an interruption half-way, and a path that is not what it seems: a link, a file of
//! somebody else, a file that its owner made read-only.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tipstaff_core::Digest;

/// Largest configuration that is read.
const BYTES_MAX: u64 = 64 << 20;

/// A file as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The file itself, links followed.
    pub(crate) real: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    owner: u32,
    links: u64,
}

impl Seen {
    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// Why it can't be read.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let cause = |error: std::io::Error| error.to_string();
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match path.symlink_metadata() {
                    Ok(_) => Err("it is a link that leads nowhere".to_owned()),
                    Err(_) => Ok(None),
                };
            }
            Err(error) => return Err(cause(error)),
        };
        let file = File::open(&real).map_err(cause)?;
        let found = file.metadata().map_err(cause)?;
        if !found.is_file() {
            return Err("it is no file".to_owned());
        }
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cause)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err("it is larger than 64 MiB".to_owned());
        }
        let (owner, links) = (found.uid(), found.nlink());
        Ok(Some(Self { real, bytes, mode: found.mode() & 0o7777, owner, links }))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// That it is none.
    pub(crate) fn text(&self) -> Result<&str, String> {
        std::str::from_utf8(&self.bytes).map_err(|_| "it is not UTF-8".to_owned())
    }

    /// Whether it may be replaced.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn replaceable(&self) -> Result<(), String> {
        if self.mode & 0o200 == 0 {
            return Err("it is read-only: run chmod u+w on it if this is wanted".to_owned());
        }
        if self.owner != rustix::process::geteuid().as_raw() {
            return Err("it belongs to another user".to_owned());
        }
        if self.links > 1 {
            return Err("it has a second name (a hard link), which would be left behind".to_owned());
        }
        Ok(())
    }
}

/// Replaces a file so that it has the old content or the new after a crash, if it still has the content
/// that was looked at.
///
/// # Errors
/// Why it was left as it was.
pub(crate) fn replace(
    real: &Path,
    before: Option<Digest>,
    bytes: &[u8],
    mode: u32,
) -> Result<(), String> {
    let cause = |error: std::io::Error| error.to_string();
    let folder = real.parent().ok_or("it has no folder")?;
    let temporary = folder.join(format!("{}{}", temporary_start(real), std::process::id()));
    let written = (|| {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(cause)?;
        file.write_all(bytes).map_err(cause)?;
        file.set_permissions(Permissions::from_mode(mode)).map_err(cause)?;
        file.sync_all().map_err(cause)?;
        if Seen::read(real)?.map(|seen| Digest::of(&seen.bytes)) != before {
            return Err("it changed while it was being looked at: try again".to_owned());
        }
        fs::rename(&temporary, real).map_err(cause)
    })();
    if written.is_err() {
        // It holds nothing that the file itself doesn't.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(folder);
    Ok(())
}

fn temporary_start(real: &Path) -> String {
    format!(".{}.tipstaff-", real.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes what a run that was killed left beside a file. Nobody else may be at it: the caller holds the
/// lock of the record.
pub(crate) fn sweep(real: &Path) {
    let start = temporary_start(real);
    let entries = real.parent().and_then(|folder| fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(&start));
        if rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a rename durable, where the file system can.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
