//! Many who commit at once: nobody is told before its receipt is durable, and nobody is forgotten.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test helpers fail by panicking, and not all that the tests share is needed here"
)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Home, draft, identity};
use tipstaff_core::receipt::Kind;
use tipstaff_ledger::{Ledger, LedgerError};
use tipstaff_store::{Disk, DiskFile, StoreError};

const THREADS: usize = 8;
const EACH: usize = 60;

/// A disk whose syncs take time, and of which the one with a given number fails.
#[derive(Debug, Clone)]
struct Slow {
    disk: tipstaff_store::MemoryDisk,
    seen: Arc<Mutex<Seen>>,
    /// Syncs until one fails; 0 for never.
    fails_in: Arc<AtomicU32>,
}

/// What was written to the write-ahead log, and how much of it a finished sync covers.
#[derive(Debug, Default)]
struct Seen {
    written: Vec<u8>,
    durable: usize,
}

#[derive(Debug)]
struct SlowFile(Slow, Arc<dyn DiskFile>);

impl Slow {
    fn new(home: &Home) -> Self {
        let (seen, fails_in) = (Arc::default(), Arc::default());
        Self { disk: home.disk.clone(), seen, fails_in }
    }

    fn is_durable(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        let durable = seen.written.get(..seen.durable).unwrap();
        durable.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Disk for Slow {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        Ok(Arc::new(SlowFile(self.clone(), self.disk.open(path)?)))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        self.disk.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.replace(path, bytes)
    }

    fn project(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.project(path, bytes)
    }

    fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.sync_folder(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        self.disk.list(path)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.1.write_at(offset, bytes)?;
        self.0.seen.lock().unwrap().written.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let covered = self.0.seen.lock().unwrap().written.len();
        thread::sleep(Duration::from_millis(1));
        let left = self.0.fails_in.load(Ordering::SeqCst);
        self.0.fails_in.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 1 {
            return Err(StoreError::SyncFailed("the disk is gone".to_owned()));
        }
        self.1.sync()?;
        self.0.seen.lock().unwrap().durable = covered;
        Ok(())
    }

    fn reserve(&self, length: u64) -> Result<(), StoreError> {
        self.1.reserve(length)
    }

    fn lay_out(&self, from: u64, length: u64) -> Result<(), StoreError> {
        self.1.lay_out(from, length)
    }
}

/// How each of the threads' commits ended; fails if one of them never does.
fn committed(disk: &Slow, ledger: &Arc<Ledger>) -> Vec<Result<(), LedgerError>> {
    let (sender, receiver) = channel();
    for thread in 0..THREADS {
        let (disk, ledger, sender) = (disk.clone(), Arc::clone(ledger), sender.clone());
        thread::spawn(move || {
            for _ in 0..EACH {
                let mine = draft(&format!("chain-{thread}"), Kind::Session, "session:request");
                let done = ledger.append(mine).and_then(|appended| {
                    ledger.commit(appended.index)?;
                    let hash = appended.signed.hash().to_hex();
                    assert!(disk.is_durable(&hash), "told before it was durable");
                    Ok(())
                });
                sender.send(done).unwrap();
            }
        });
    }
    // A commit that never ends is an error here.
    let one = || receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    (0..THREADS * EACH).map(|_| one()).collect()
}

#[test]
fn nobody_is_told_early_and_nobody_is_forgotten() {
    let home = Home::new(21);
    let disk = Slow::new(&home);
    let open = Ledger::open(Arc::new(disk.clone()), Arc::clone(&home.random) as _, identity());
    let ledger = Arc::new(open.unwrap());
    let done = committed(&disk, &ledger);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(ledger.position().0, (THREADS * EACH) as u64);
}

#[test]
fn a_failed_sync_is_told_to_everybody_who_waits() {
    let home = Home::new(22);
    let disk = Slow::new(&home);
    let open = Ledger::open(Arc::new(disk.clone()), Arc::clone(&home.random) as _, identity());
    let ledger = Arc::new(open.unwrap());
    disk.fails_in.store(5, Ordering::SeqCst);
    let done = committed(&disk, &ledger);
    assert!(done.iter().any(Result::is_ok) && done.iter().any(Result::is_err), "{done:?}");
    assert!(ledger.stopped().is_some());
    // Who waited while the node was stopped from outside hears it, too.
    let home = Home::new(23);
    let disk = Slow::new(&home);
    let open = Ledger::open(Arc::new(disk.clone()), Arc::clone(&home.random) as _, identity());
    let ledger = Arc::new(open.unwrap());
    let stopper = {
        let ledger = Arc::clone(&ledger);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            ledger.stop(&LedgerError::Full);
        })
    };
    let done = committed(&disk, &ledger);
    stopper.join().unwrap();
    assert!(done.iter().any(Result::is_err), "{}", done.len());
}
