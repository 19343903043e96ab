//! The real disk and clock.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Clock, Disk, DiskFile, StoreError};

/// A folder on the machine's disk. Files are readable by their owner only.
#[derive(Debug, Clone)]
pub struct NativeDisk {
    root: PathBuf,
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl NativeDisk {
    /// The disk below `root`, which must exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn temporary(&self, path: &Path, bytes: &[u8]) -> Result<(PathBuf, PathBuf, File), StoreError> {
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&folder).map_err(|e| failed("create folder", &folder, e))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.tmp"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|e| failed("create", &temporary, e))?;
        file.write_all(bytes).map_err(|e| failed("write", &temporary, e))?;
        Ok((temporary, target, file))
    }
}

impl Disk for NativeDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("create folder", folder, e))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed("open", &path, e))?;
        Ok(Arc::new(NativeFile { file, path }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let path = self.root.join(path);
        fs::read(&path).map_err(|e| failed("read", &path, e))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let (temporary, target, file) = self.temporary(path, bytes)?;
        file.sync_all().map_err(|e| StoreError::SyncFailed(e.to_string()))?;
        fs::rename(&temporary, &target).map_err(|e| failed("rename", &target, e))?;
        sync_folder(target.parent().unwrap_or(&self.root))
    }

    fn project(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let (temporary, target, _file) = self.temporary(path, bytes)?;
        fs::rename(&temporary, &target).map_err(|e| failed("rename", &target, e))
    }

    fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        // One call for every file of a projection: cheaper than a sync for each tile.
        let folder = File::open(self.root.join(path)).map_err(|e| failed("open", path, e))?;
        rustix::fs::syncfs(&folder).map_err(|e| StoreError::SyncFailed(e.to_string()))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        let path = self.root.join(path);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &path, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &path, e))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
struct NativeFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for NativeFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset).map_err(|e| failed("write", &self.path, e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|e| StoreError::SyncFailed(e.to_string()))
    }

    fn reserve(&self, length: u64) -> Result<(), StoreError> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            // Some file systems can't reserve: writing zeros is as near as they come.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let end = self.file.metadata().map_err(|e| failed("stat", &self.path, e))?.len();
                self.zero(end, length)
            }
            done => done.map_err(|e| failed("reserve", &self.path, e.into())),
        }
    }

    fn lay_out(&self, from: u64, length: u64) -> Result<(), StoreError> {
        self.reserve(length)?;
        self.zero(from, length)?;
        self.sync()
    }
}

impl NativeFile {
    fn zero(&self, from: u64, end: u64) -> Result<(), StoreError> {
        let zeros = [0; 64 << 10];
        let mut at = from;
        while at < end {
            let step = zeros.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.write_at(at, zeros.get(..step).unwrap_or_default())?;
            at += step as u64;
        }
        Ok(())
    }
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = File::open(path).map_err(|e| failed("open", path, e))?;
    folder.sync_all().map_err(|e| StoreError::SyncFailed(e.to_string()))
}

fn failed(what: &str, path: &Path, source: std::io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::NotFound => StoreError::NotFound(path.display().to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io { what: format!("{what} {}", path.display()), source },
    }
}
