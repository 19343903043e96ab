//! Where bytes live: a disk, a clock and a random source behind traits.
//!
//! The adversary here is the machine itself: power that goes, a disk that is full, a write that was
//! never synced, a clock that is set back. Everything durable goes through [`Disk`], so that a test
//! can put a simulated one underneath that forgets what was not synced and fails where it is told to.

mod memory;
mod native;

pub use memory::{Fault, MemoryDisk};
pub use native::{NativeDisk, SystemClock};

use std::path::Path;
use std::sync::Arc;

/// Why bytes could not be kept or read. Named for what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left; what was durable still is.
    #[error("no space left on the disk")]
    Full,
    /// The file or folder is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// A sync failed: what was written since the last one may be gone, and nothing may go on.
    #[error("the disk failed to sync: {0}")]
    SyncFailed(String),
    /// Anything else that the operating system said.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: std::io::Error,
    },
}

/// A folder tree of bytes. Paths are relative to its root.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file for writing at offsets, creating it if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError>;

    /// The whole file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is not there.
    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError>;

    /// Writes a file so that after a crash it has the old content or the new, never a mixture:
    /// a temporary file, a sync, a rename, a sync of the folder.
    ///
    /// # Errors
    /// [`StoreError`]
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError>;

    /// Like [`Disk::replace`], without waiting for durability: for projections that can be rebuilt.
    ///
    /// # Errors
    /// [`StoreError`]
    fn project(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes everything under a folder durable.
    ///
    /// # Errors
    /// [`StoreError::SyncFailed`]
    fn sync_folder(&self, path: &Path) -> Result<(), StoreError>;

    /// Names in a folder, sorted; empty if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]
    fn list(&self, path: &Path) -> Result<Vec<String>, StoreError>;

    /// Removes a file; fine if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]
    fn remove(&self, path: &Path) -> Result<(), StoreError>;
}

/// One open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes at an offset. Durable only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// [`StoreError::Full`] and others.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes everything written durable (`fdatasync`).
    ///
    /// # Errors
    /// [`StoreError::SyncFailed`]
    fn sync(&self) -> Result<(), StoreError>;

    /// Reserves space up to `length` bytes, which read as zeros until written.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is not that much space.
    fn reserve(&self, length: u64) -> Result<(), StoreError>;

    /// Reserves space like [`DiskFile::reserve`], writes its zeros from `from` on and syncs them, so that
    /// the first sync of what is written there later need not record that it was written. Nobody else
    /// may write there meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::SyncFailed`]
    fn lay_out(&self, from: u64, length: u64) -> Result<(), StoreError>;
}

/// Tells the time, as an input to decisions. It may go backwards: nothing depends on its order.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// Gives unpredictable bytes.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills the buffer.
    ///
    /// # Errors
    /// [`StoreError`] if the operating system has none.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), StoreError>;
}
