//! A simulated disk that forgets what was not synced, and fails where it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile, StoreError};

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// New space can't be had.
    Full,
    /// The next sync fails.
    Sync,
}

/// A disk in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: BTreeMap<PathBuf, Vec<u8>>,
    live: BTreeMap<PathBuf, Vec<u8>>,
    /// What happened since the last sync that covers it, in order.
    unsynced: Vec<Change>,
    fault: Fault,
    syncs: u64,
}

/// What a crash may or may not leave of an operation.
#[derive(Debug)]
enum Change {
    /// A new name in a folder.
    Create(PathBuf),
    /// A rename over a name, whose new content was not synced.
    Project(PathBuf, Vec<u8>),
    /// A name taken out of a folder.
    Remove(PathBuf),
    /// Bytes within one sector.
    Write(PathBuf, usize, Vec<u8>),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path)
            | Self::Project(path, _)
            | Self::Remove(path)
            | Self::Write(path, ..) => path,
        }
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// How many syncs succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Power goes: of what was not synced only that is kept which `survives` says, by its number, which
    /// is any subset in any order on a real disk. A write counts once for each sector that it touches, so
    /// it may be torn; a projection counts for its name and for its content, so it may be empty.
    pub fn crash(&self, mut survives: impl FnMut(usize) -> bool) {
        let mut state = self.state();
        let unsynced = std::mem::take(&mut state.unsynced);
        let mut number = 0;
        let mut kept = || {
            number += 1;
            survives(number - 1)
        };
        let mut lost = BTreeSet::new();
        for change in unsynced {
            match change {
                Change::Create(path) => {
                    if !kept() {
                        state.durable.remove(&path);
                        lost.insert(path);
                    }
                }
                Change::Project(path, bytes) => {
                    if kept() {
                        let bytes = if kept() { bytes } else { Vec::new() };
                        lost.remove(&path);
                        state.durable.insert(path, bytes);
                    }
                }
                Change::Remove(path) => {
                    if kept() {
                        state.durable.remove(&path);
                        lost.insert(path);
                    }
                }
                Change::Write(path, offset, bytes) => {
                    if kept() && !lost.contains(&path) {
                        put(state.durable.entry(path).or_default(), offset, &bytes);
                    }
                }
            }
        }
        state.live = state.durable.clone();
        state.fault = Fault::None;
    }

    /// Changes bytes behind everyone's back: a disk that rots, or a thief who edits.
    pub fn tamper(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let bytes = state.live.entry(path.to_owned()).or_default();
        edit(bytes);
        let bytes = bytes.clone();
        state.forget(path);
        state.durable.insert(path.to_owned(), bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What happened to a name before no longer matters.
    fn forget(&mut self, path: &Path) {
        self.unsynced.retain(|change| change.path() != path);
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(slot) = file.get_mut(offset..end) {
        slot.copy_from_slice(bytes);
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        let mut state = self.state();
        if !state.live.contains_key(path) {
            state.live.insert(path.to_owned(), Vec::new());
            state.durable.entry(path.to_owned()).or_default();
            state.unsynced.push(Change::Create(path.to_owned()));
        }
        Ok(Arc::new(MemoryFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let state = self.state();
        let bytes = state.live.get(path).cloned();
        bytes.ok_or_else(|| StoreError::NotFound(path.display().to_string()))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        match state.fault {
            Fault::Full => return Err(StoreError::Full),
            Fault::Sync => return Err(StoreError::SyncFailed("simulated".to_owned())),
            Fault::None => {}
        }
        state.forget(path);
        state.live.insert(path.to_owned(), bytes.to_owned());
        state.durable.insert(path.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn project(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.fault == Fault::Full {
            return Err(StoreError::Full);
        }
        state.live.insert(path.to_owned(), bytes.to_owned());
        state.unsynced.push(Change::Project(path.to_owned(), bytes.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.fault == Fault::Sync {
            return Err(StoreError::SyncFailed("simulated".to_owned()));
        }
        let under: Vec<_> = state
            .live
            .iter()
            .filter(|(file, _)| file.starts_with(path))
            .map(|(file, bytes)| (file.clone(), bytes.clone()))
            .collect();
        state.durable.retain(|file, _| !file.starts_with(path));
        state.durable.extend(under);
        state.unsynced.retain(|change| !change.path().starts_with(path));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let mut names: Vec<String> = state
            .live
            .keys()
            .filter_map(|file| file.strip_prefix(path).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.live.remove(path).is_some() {
            state.unsynced.push(Change::Remove(path.to_owned()));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let file = state.live.entry(self.path.clone()).or_default();
        let grows = file.len() < offset + bytes.len();
        if state.fault == Fault::Full && grows {
            return Err(StoreError::Full);
        }
        put(state.live.entry(self.path.clone()).or_default(), offset, bytes);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (sector, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            state.unsynced.push(Change::Write(self.path.clone(), at, sector.to_owned()));
            at += sector.len();
            rest = after;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        if state.fault == Fault::Sync {
            return Err(StoreError::SyncFailed("simulated".to_owned()));
        }
        if let Some(bytes) = state.live.get(&self.path).cloned() {
            state.durable.insert(self.path.clone(), bytes);
        }
        // The name of a new file is its folder's to keep.
        let path = &self.path;
        state.unsynced.retain(|change| !matches!(change, Change::Write(file, ..) if file == path));
        state.syncs += 1;
        Ok(())
    }

    fn reserve(&self, length: u64) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let file = state.live.entry(self.path.clone()).or_default();
        if file.len() >= length {
            return Ok(());
        }
        if state.fault == Fault::Full {
            return Err(StoreError::Full);
        }
        state.live.entry(self.path.clone()).or_default().resize(length, 0);
        state.durable.entry(self.path.clone()).or_default().resize(length, 0);
        Ok(())
    }

    fn lay_out(&self, from: u64, length: u64) -> Result<(), StoreError> {
        self.reserve(length)?;
        let zeros = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(0)];
        self.write_at(from, &zeros)?;
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_drops_what_was_not_synced() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("a")).unwrap();
        file.write_at(0, b"kept").unwrap();
        file.sync().unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        file.write_at(4, b"lost").unwrap();
        disk.crash(|_| false);
        assert_eq!(disk.read(Path::new("a")).unwrap(), b"kept");
        file.write_at(4, b"x").unwrap();
        disk.crash(|_| true);
        assert_eq!(disk.read(Path::new("a")).unwrap(), b"keptx");
    }

    #[test]
    fn a_crash_tears_writes_and_undoes_names() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("w/a")).unwrap();
        file.sync().unwrap();
        disk.crash(|_| false);
        assert!(disk.read(Path::new("w/a")).is_err());

        let file = disk.open(Path::new("w/a")).unwrap();
        file.write_at(0, &[1; 3 * SECTOR]).unwrap();
        disk.crash(|number| number != 2);
        let bytes = disk.read(Path::new("w/a")).unwrap();
        assert_eq!((bytes[0], bytes[SECTOR], bytes[2 * SECTOR]), (1, 0, 1));

        disk.project(Path::new("p"), b"new").unwrap();
        disk.crash(|number| number == 0);
        assert_eq!(disk.read(Path::new("p")).unwrap(), b"");
        disk.remove(Path::new("p")).unwrap();
        disk.crash(|_| false);
        assert!(disk.read(Path::new("p")).is_ok());
        disk.remove(Path::new("p")).unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        disk.crash(|_| false);
        assert!(disk.read(Path::new("p")).is_err());
    }
}
