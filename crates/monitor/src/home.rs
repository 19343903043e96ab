//! The home folder: where everything of one node lies.
//!
//! The adversary is another user of the machine. The folder is its owner's alone; the lock that makes
//! one monitor of it is released by the kernel with the process, so no stale file can hold it.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipstaff_core::Digest;
use tipstaff_store::{Disk as _, NativeDisk, StoreError};

use crate::config::{Config, DEFAULT_TEXT};
use crate::error::MonitorError;
use crate::required::Requirements;

/// A home folder.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
    requirements: Option<Arc<dyn Requirements>>,
}

impl PartialEq for Home {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Eq for Home {}

/// Held by the one monitor of a home.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// The home at `root`, which need not exist yet.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), requirements: None }
    }

    /// The same home, with what proves the statements that its configuration requires.
    #[must_use]
    pub fn proving(self, requirements: Arc<dyn Requirements>) -> Self {
        Self { requirements: Some(requirements), ..self }
    }

    pub(crate) fn requirements(&self) -> Option<&dyn Requirements> {
        self.requirements.as_deref()
    }

    /// Makes folder, keys, configuration and default policies where they are missing.
    ///
    /// # Errors
    /// [`MonitorError`]
    pub fn create(&self) -> Result<(), MonitorError> {
        let failed =
            |source| MonitorError::System { what: "make or write the home folder", source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(failed)?;
        let found = fs::metadata(&self.root).map_err(failed)?;
        if found.mode() & 0o077 != 0 {
            let what = "the home folder can be read by others; run chmod 700 on it".to_owned();
            return Err(MonitorError::Inconsistent(what));
        }
        // Clients start one door per server, all at once: one of them makes the home, the others wait.
        let making = self.root.join("making.lock");
        let making = File::options().create(true).truncate(false).write(true).open(making);
        let making = making.map_err(failed)?;
        making.lock().map_err(failed)?;
        let disk = NativeDisk::new(&self.root);
        if !self.root.join("config.toml").exists() {
            disk.replace(Path::new("config.toml"), DEFAULT_TEXT.as_bytes())?;
        }
        // Keys are made last. Policies that are gone later stay gone: then nothing is permitted.
        if !self.exists() && !self.policies().exists() {
            // Put in place whole: half a policy set, left by a crash, would be a set of its own.
            let staged = Path::new("policies.new");
            for (name, text) in tipstaff_policy::default_source().files {
                disk.replace(&staged.join(name), text.as_bytes())?;
            }
            fs::rename(self.root.join(staged), self.policies()).map_err(failed)?;
        }
        tipstaff_identity::HomeKeys::open_or_create(&self.root)?;
        Ok(())
    }

    /// Whether it was made.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.root.join("keys").is_dir()
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`MonitorError::Config`]
    pub fn config(&self) -> Result<Config, MonitorError> {
        Config::parse(&self.config_text()?)
    }

    pub(crate) fn config_text(&self) -> Result<String, MonitorError> {
        match fs::read_to_string(self.root.join("config.toml")) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(MonitorError::Config(error.to_string())),
        }
    }

    /// The folder of the policies.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    /// The folder of the servers' standard error.
    #[must_use]
    pub fn stderr(&self) -> PathBuf {
        self.root.join("stderr")
    }

    /// The folder with the socket.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> Result<Lock, MonitorError> {
        let failed = |source| MonitorError::System { what: "lock the home", source };
        let path = self.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(MonitorError::AlreadyRunning),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Keeps a text by its digest for the life of the log: policy sets, schemas, pins, catalogues.
    pub(crate) fn keep(&self, text: &str) -> Result<Digest, MonitorError> {
        let digest = Digest::of(text.as_bytes());
        let path = object_path(digest);
        if !self.root.join(&path).exists() {
            NativeDisk::new(&self.root).replace(&path, text.as_bytes())?;
        }
        Ok(digest)
    }

    /// A kept text, checked against its digest.
    ///
    /// # Errors
    /// [`MonitorError::Store`] if it is not there, [`MonitorError::Inconsistent`] if it was changed.
    pub fn kept(&self, digest: Digest) -> Result<String, MonitorError> {
        let bytes = NativeDisk::new(&self.root).read(&object_path(digest))?;
        if Digest::of(&bytes) != digest {
            return Err(MonitorError::Inconsistent(format!("object {digest} was changed")));
        }
        String::from_utf8(bytes)
            .map_err(|_| StoreError::NotFound(format!("object {digest} is not text")).into())
    }
}

fn object_path(digest: Digest) -> PathBuf {
    let hex = digest.to_hex();
    let (folder, name) = hex.split_at_checked(2).unwrap_or_default();
    Path::new("objects").join(folder).join(name)
}
