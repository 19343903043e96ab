//! The ledger on a disk that forgets, fails, fills up, and is edited behind its back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers fail by panicking"
)]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Home, Seeded, act, check, check_inputs, draft, home_key, outcome, verdict, verifier};
use tipstaff_core::Digest;
use tipstaff_core::receipt::Kind;
use tipstaff_ledger::note::{Checkpoint, NoteSigner};
use tipstaff_ledger::{Ledger, LedgerError, LogReader};
use tipstaff_store::{Disk as _, Fault, NativeDisk, Random, StoreError};

const CHAINS: [&str; 3] = ["a", "b", "c"];

#[test]
fn a_log_lives_and_goes_on_in_the_same_chains() {
    let home = Home::new(1);
    let ledger = home.open().unwrap();
    let mut inputs = HashMap::new();
    for round in 0..7_u8 {
        for chain in CHAINS {
            let (verdict, _) = act(&ledger, chain, &[round; 20]);
            inputs.insert(verdict.index, (chain.to_owned(), vec![round; 20]));
        }
    }
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    assert_eq!(check(&home).len(), 42);
    check_inputs(&home, &inputs);
    assert!(ledger.state().chains.values().all(|chain| chain.unsettled.is_empty()));

    ledger.rotate().unwrap();
    assert_eq!(check(&home).len(), 42);
    check_inputs(&home, &inputs);
    let state = ledger.state();
    drop(ledger);

    let ledger = home.open().unwrap();
    assert_eq!(ledger.state(), state);
    let (verdict, after) = act(&ledger, "a", b"later");
    inputs.insert(verdict.index, ("a".to_owned(), b"later".to_vec()));
    assert_eq!(verdict.signed.receipt().chain_seq, 14);
    let close = ledger.append(draft("b", Kind::Session, "session:close")).unwrap();
    ledger.commit(close.index).unwrap();
    ledger.publish().unwrap();
    assert_eq!((after.index, check(&home).len()), (43, 45));
    check_inputs(&home, &inputs);
    drop(ledger);
    let ledger = home.open().unwrap();
    assert!(!ledger.state().chains.contains_key("b"));
    assert!(matches!(ledger.commit(1000), Err(LedgerError::Unknown(_))));
    let mut long = verdict_of("a");
    long.receipt.chain = "x".repeat(256);
    assert!(matches!(ledger.append(long), Err(LedgerError::Receipt(_))));
}

fn verdict_of(chain: &str) -> tipstaff_ledger::Draft {
    verdict(chain, b"in")
}

/// One life after another, each ended by a crash that keeps any part of what was not synced.
fn storm(seed: u64, lives: u64, steps: u64) {
    let home = Home::new(seed);
    let random = Seeded::new(!seed);
    let (mut acknowledged, mut committed) = (0, Vec::new());
    for life in 0..lives {
        let ledger =
            home.open().unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
        let (size, _) = ledger.position();
        assert!(size >= acknowledged, "seed {seed}: {size} < {acknowledged}");
        let leaves: Vec<_> = check(&home).iter().map(|signed| signed.to_leaf()).collect();
        assert_eq!(leaves.len() as u64, size);
        assert_eq!(&leaves[..committed.len()], committed, "seed {seed}: a receipt changed");
        let mut appended = leaves;
        for _ in 0..random.below(steps) {
            let chain = CHAINS[random.below(3) as usize];
            let state = ledger.state();
            let due =
                state.chains.get(chain).and_then(|chain| chain.unsettled.keys().next().copied());
            match (random.below(20), due) {
                (0, _) => ledger.rotate().unwrap(),
                (1..=3, _) => ledger.publish().unwrap(),
                (19, _) => assert!(ledger.lay_out().unwrap()),
                (4..=9, _) => {
                    ledger.flush().unwrap();
                    acknowledged = ledger.position().0;
                    committed.clone_from(&appended);
                }
                (10..=14, Some(of)) => {
                    appended.push(ledger.append(outcome(chain, of)).unwrap().signed.to_leaf());
                }
                _ => {
                    let inputs = vec![7; random.below(2000) as usize];
                    appended.push(ledger.append(verdict(chain, &inputs)).unwrap().signed.to_leaf());
                }
            }
        }
        acknowledged = acknowledged.max(committed.len() as u64);
        if random.below(4) == 0 {
            // Power goes while a batch is being written.
            home.disk.set_fault(Fault::Sync);
            let _ = ledger.flush();
        }
        let odds = random.below(5);
        home.disk.crash(|_| random.below(4) < odds);
    }
    home.open().unwrap();
    check(&home);
}

#[test]
fn crash_storms_lose_nothing_that_was_acknowledged() {
    let storms = std::env::var("TIPSTAFF_STORMS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    for seed in 0..storms {
        storm(seed, 8, 60);
    }
    // Long enough to fill bundles, with the snapshot in the middle of one.
    for seed in 0..storms / 10 {
        storm(1_000_000 + seed, 5, 900);
    }
}

#[test]
fn a_snapshot_in_the_middle_of_a_bundle_is_found_again() {
    // More publications than superseded partial bundles are kept, within one bundle and beyond it.
    for (before, after) in [(10, 40), (10, 300), (256, 20), (255, 2), (300, 600), (0, 257)] {
        let home = Home::new(9);
        let ledger = home.open().unwrap();
        let add = || {
            let appended = ledger.append(verdict_of("a")).unwrap();
            ledger.commit(appended.index).unwrap();
            ledger.publish().unwrap();
        };
        (0..before).for_each(|_| add());
        ledger.rotate().unwrap();
        (0..after).for_each(|_| add());
        drop(ledger);
        let ledger = home.open().unwrap();
        assert_eq!(check(&home).len(), before + after);
        // Nothing that was written after the snapshot is sure to be there.
        home.disk.crash(|number| number % 2 == 0);
        drop(ledger);
        let ledger = home.open().unwrap();
        ledger.rotate().unwrap();
        assert_eq!(check(&home).len(), before + after);
        drop(ledger);
        home.open().unwrap();
        assert_eq!(check(&home).len(), before + after);
        let partial =
            home.files("log/tile/0/000.p").len() + home.files("log/tile/entries/000.p").len();
        assert!(before + after < 256 || partial == 0, "{partial} superseded files are left");
    }
}

#[test]
fn a_full_disk_refuses_verdicts_and_keeps_outcomes() {
    let home = Home::new(2);
    let ledger = home.open().unwrap();
    let mut open = Vec::new();
    for chain in CHAINS {
        for _ in 0..40 {
            let verdict = ledger.append(verdict_of(chain)).unwrap();
            ledger.commit(verdict.index).unwrap();
            open.push((chain, verdict.signed.hash()));
        }
    }
    home.disk.set_fault(Fault::Full);
    let refused = (0..100_000).find_map(|_| match ledger.append(verdict("a", &[0; 4000])) {
        Ok(verdict) => {
            open.push(("a", verdict.signed.hash()));
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(refused, Some(LedgerError::Full)), "{refused:?}");
    let (size, _) = ledger.position();
    assert!(matches!(ledger.publish(), Err(LedgerError::Full)));
    let (now, later) = open.split_at(open.len() / 2);
    for (chain, of) in now {
        let settled = ledger.append(outcome(chain, *of)).unwrap();
        ledger.commit(settled.index).unwrap();
    }
    assert!(matches!(ledger.rotate(), Err(LedgerError::Full)));
    assert_eq!(ledger.stopped(), None);
    drop(ledger);

    // A restart on the full disk can still settle the rest.
    home.disk.crash(|_| false);
    home.disk.set_fault(Fault::Full);
    let ledger = home.open().unwrap();
    for (chain, of) in later {
        let settled = ledger.append(outcome(chain, *of)).unwrap();
        ledger.commit(settled.index).unwrap();
    }
    assert_eq!(ledger.position().0, size + open.len() as u64);
    home.disk.set_fault(Fault::None);
    ledger.append(verdict_of("a")).unwrap();
    ledger.rotate().unwrap();
    assert_eq!(check(&home).len() as u64, size + open.len() as u64 + 1);
    drop(ledger);
    home.open().unwrap();
}

#[test]
fn a_change_of_segments_that_a_full_disk_stops_is_tried_again() {
    let home = Home::new(6);
    let ledger = home.open().unwrap();
    act(&ledger, "a", b"x");
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    home.disk.set_fault(Fault::Full);
    assert!(matches!(ledger.rotate(), Err(LedgerError::Full)));
    home.disk.set_fault(Fault::None);
    // The removal of the new segment was not durable, and the node went on in the old one.
    home.disk.open(Path::new("wal/0000000000000002.wal")).unwrap().reserve(4096).unwrap();
    act(&ledger, "a", b"y");
    ledger.flush().unwrap();
    drop(ledger);
    let ledger = home.open().unwrap();
    assert_eq!(ledger.position().0, 4);
    ledger.rotate().unwrap();
    assert_eq!(home.files("wal"), [PathBuf::from("wal/0000000000000004.wal")]);
    assert_eq!(check(&home).len(), 4);
}

#[test]
fn a_failed_sync_ends_the_node_and_a_restart_recovers() {
    let home = Home::new(3);
    let ledger = home.open().unwrap();
    act(&ledger, "a", b"x");
    ledger.flush().unwrap();
    home.disk.set_fault(Fault::Sync);
    let lost = ledger.append(verdict_of("a")).unwrap();
    assert!(ledger.commit(lost.index).is_err());
    home.disk.set_fault(Fault::None);
    assert!(matches!(ledger.append(verdict_of("a")), Err(LedgerError::Stopped(_))));
    assert!(matches!(ledger.commit(lost.index), Err(LedgerError::Stopped(_))));
    assert!(matches!(ledger.publish(), Err(LedgerError::Stopped(_))));
    assert!(matches!(ledger.rotate(), Err(LedgerError::Stopped(_))));
    assert!(ledger.stopped().is_some());
    drop(ledger);
    home.disk.crash(|_| false);
    let ledger = home.open().unwrap();
    assert_eq!(ledger.position().0, 2);
    act(&ledger, "a", b"y");
    ledger.flush().unwrap();
    assert_eq!(check(&home).len(), 4);
}

/// A log with a snapshot at 300 leaves and 40 more in several batches, all published.
fn grown() -> Home {
    let home = Home::new(4);
    let ledger = home.open().unwrap();
    (0..150).for_each(|_| drop(act(&ledger, "a", b"secret")));
    ledger.rotate().unwrap();
    (0..20).for_each(|_| drop(act(&ledger, "b", b"secret")));
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    drop(ledger);
    home
}

const WAL: &str = "wal/000000000000012c.wal";

fn damaged(what: &str, hurt: impl FnOnce(&Home)) {
    let home = grown();
    check(&home);
    hurt(&home);
    let before: Vec<_> =
        home.files("").into_iter().map(|file| home.disk.read(&file).unwrap()).collect();
    for _ in 0..2 {
        let opened = home.open();
        assert!(matches!(opened, Err(LedgerError::Damaged { .. })), "{what}: {opened:?}");
    }
    // What was found stays as it was found.
    let after: Vec<_> =
        home.files("").into_iter().map(|file| home.disk.read(&file).unwrap()).collect();
    assert!(before == after, "{what}: the folder was changed");
    // A look at it is refused or names a fault, except where only what is rebuilt anyway is missing.
    let looked = home.read().and_then(|reader| reader.fsck());
    assert!(looked.is_err() || !looked.unwrap().faults.is_empty(), "{what}: fsck is silent");
}

#[test]
fn every_tampering_stops_the_node() {
    let flip = |path: &'static str, at: usize| {
        move |home: &Home| home.disk.tamper(Path::new(path), |bytes| bytes[at] ^= 1)
    };
    let cut = |path: &'static str, rest: usize| {
        move |home: &Home| home.disk.tamper(Path::new(path), |bytes| bytes.truncate(rest))
    };
    let lose = |path: &'static str| move |home: &Home| home.lose(Path::new(path));
    damaged("snapshot flipped", flip("snapshot", 100));
    damaged("snapshot cut", cut("snapshot", 100));
    damaged("snapshot empty", cut("snapshot", 0));
    damaged("snapshot lost", lose("snapshot"));
    damaged("wal flipped at the start", flip(WAL, 0));
    damaged("wal flipped in a header", flip(WAL, 9));
    damaged("wal flipped in the middle", flip(WAL, 20_000));
    damaged("wal cut", cut(WAL, 20_000));
    damaged("wal empty", cut(WAL, 0));
    damaged("wal lost", lose(WAL));
    damaged("a piece cut out of the wal", |home| {
        home.disk.tamper(Path::new(WAL), |bytes| drop(bytes.drain(5000..6000)));
    });
    damaged("the last published batch of the wal", |home| {
        home.disk.tamper(Path::new(WAL), |bytes| {
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[last] ^= 1;
        });
    });
    damaged("a segment in front", |home| {
        home.disk.tamper(Path::new("wal/000000000000012d.wal"), |bytes| bytes.push(0));
        home.lose(Path::new(WAL));
    });
    damaged("a later segment", |home| {
        home.disk.tamper(Path::new("wal/0000000000000fff.wal"), |bytes| bytes.push(0));
        home.disk.tamper(Path::new("log/checkpoint"), |bytes| bytes[0] ^= 1);
    });
    damaged("checkpoint flipped", flip("log/checkpoint", 30));
    damaged("checkpoint's signature flipped", |home| {
        home.disk.tamper(Path::new("log/checkpoint"), |bytes| {
            let at = bytes.len() - 20;
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        });
    });
    damaged("checkpoint cut", cut("log/checkpoint", 60));
    damaged("checkpoint empty", cut("log/checkpoint", 0));
    damaged("checkpoint lost", lose("log/checkpoint"));
    damaged("right-edge tile flipped", flip("log/tile/0/001.p/44", 5));
    damaged("right-edge tile cut", cut("log/tile/0/001.p/44", 31));
    damaged("right-edge tile of the next level", flip("log/tile/1/000.p/1", 5));
    damaged("last bundle flipped", flip("log/tile/entries/001.p/44", 500));
    damaged("last bundle cut", cut("log/tile/entries/001.p/44", 500));
    damaged("last bundle lost", lose("log/tile/entries/001.p/44"));
    damaged("snapshot and checkpoint lost", |home| {
        home.lose(Path::new("snapshot"));
        home.lose(Path::new("log/checkpoint"));
    });
    damaged("everything but the tiles lost", |home| {
        home.lose(Path::new("snapshot"));
        home.lose(Path::new("log/checkpoint"));
        home.lose(Path::new(WAL));
    });
}

#[test]
fn a_checkpoint_that_is_rolled_back_behind_the_snapshot_is_noticed() {
    let home = Home::new(5);
    let ledger = home.open().unwrap();
    act(&ledger, "a", b"x");
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    let old = home.disk.read(Path::new("log/checkpoint")).unwrap();
    act(&ledger, "a", b"x");
    ledger.rotate().unwrap();
    drop(ledger);
    home.disk.tamper(Path::new("log/checkpoint"), |bytes| *bytes = old);
    assert!(matches!(home.open(), Err(LedgerError::Damaged { .. })));
    assert!(!home.read().unwrap().fsck().unwrap().faults.is_empty());
}

#[test]
fn what_is_changed_under_a_running_node_stops_it() {
    for path in ["log/checkpoint", "wal/0000000000000000.wal"] {
        let home = Home::new(5);
        let ledger = home.open().unwrap();
        act(&ledger, "a", b"x");
        ledger.flush().unwrap();
        ledger.publish().unwrap();
        home.lose(Path::new(path));
        assert!(matches!(ledger.publish(), Err(LedgerError::Damaged { .. })), "{path}");
        assert!(matches!(ledger.append(verdict_of("a")), Err(LedgerError::Stopped(_))), "{path}");
    }
}

#[test]
fn fsck_sees_what_a_start_does_not_read() {
    for (path, at) in [
        ("log/tile/0/000", 40),
        ("log/tile/entries/000", 700),
        ("log/tile/entries/001.p/84", 3),
        ("log/tile/0/001.p/84", 2000),
    ] {
        let home = grown();
        home.disk.tamper(Path::new(path), |bytes| bytes[at] ^= 1);
        let looked = home.read().and_then(|reader| reader.fsck());
        assert!(looked.is_err() || !looked.unwrap().faults.is_empty(), "{path}");
    }
}

#[test]
fn inputs_can_be_forgotten_and_not_forged() {
    let home = grown();
    let segments = home.files("inputs");
    assert_eq!(home.read().unwrap().kept().open(&home_key(), "a", 0).unwrap(), b"secret");
    let unknown = home.read().unwrap().kept().open(&home_key(), "a", 1);
    assert!(matches!(unknown, Err(LedgerError::Expired)));
    let swapped = home.read().unwrap().kept().open(&home_key(), "b", 0);
    assert!(matches!(swapped, Err(LedgerError::InputsForged)));

    let sound = home.disk.read(&segments[0]).unwrap();
    home.disk.tamper(&segments[0], |bytes| bytes[200] ^= 1);
    let forged = (0..20).map(|index| home.read().unwrap().kept().open(&home_key(), "a", index * 2));
    assert!(forged.into_iter().any(|opened| matches!(opened, Err(LedgerError::InputsForged))));
    home.disk.tamper(&segments[0], |bytes| bytes.truncate(1000));
    assert!(!home.read().unwrap().fsck().unwrap().faults.is_empty());
    home.disk.tamper(&segments[0], |bytes| *bytes = sound);

    let ledger = home.open().unwrap();
    ledger.rotate().unwrap();
    drop(ledger);
    for segment in home.files("inputs") {
        home.lose(&segment);
    }
    assert_eq!(check(&home).len(), 340);
    let expired = home.read().unwrap().kept().open(&home_key(), "a", 0);
    assert!(matches!(expired, Err(LedgerError::Expired)));
    // The session goes on under a new key.
    let ledger = home.open().unwrap();
    let (verdict, _) = act(&ledger, "a", b"again");
    assert_eq!(
        home.read().unwrap().kept().open(&home_key(), "a", verdict.index).unwrap(),
        b"again"
    );
}

#[test]
fn callers_share_syncs() {
    let home = Home::new(8);
    let ledger = home.open().unwrap();
    std::thread::scope(|scope| {
        for chain in CHAINS {
            let ledger = &ledger;
            scope.spawn(move || (0..100).for_each(|_| drop(act(ledger, chain, b"x"))));
        }
        scope.spawn(|| (0..50).for_each(|_| ledger.publish().unwrap()));
        scope.spawn(|| (0..5).for_each(|_| ledger.rotate().unwrap()));
        // A reader beside the writers never sees damage.
        scope.spawn(|| (0..20).for_each(|_| drop(check(&home))));
    });
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    assert_eq!(check(&home).len(), 600);
}

#[derive(Debug)]
struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), StoreError> {
        use std::io::Read as _;
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(buffer));
        read.map_err(|source| StoreError::Io { what: "random".to_owned(), source })
    }
}

#[test]
fn space_is_laid_out_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(NativeDisk::new(folder.path()));
    let ledger =
        Ledger::open(Arc::clone(&disk) as _, Arc::new(OsRandom), common::identity()).unwrap();
    let inputs = vec![b'x'; 30_000];
    std::thread::scope(|scope| {
        let writers = ["a", "b"].map(|chain| {
            let (ledger, inputs) = (&ledger, &inputs);
            scope.spawn(move || (0..400).for_each(|_| drop(act(ledger, chain, inputs))))
        });
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert!(ledger.lay_out().unwrap());
        }
    });
    ledger.flush().unwrap();
    drop(ledger);
    let ledger =
        Ledger::open(Arc::clone(&disk) as _, Arc::new(OsRandom), common::identity()).unwrap();
    assert_eq!(ledger.position().0, 1600);
    assert!(ledger.lay_out().unwrap());
    drop(act(&ledger, "a", b"after"));
    drop(ledger);
    let reader = LogReader::open(Arc::clone(&disk) as _, &verifier()).unwrap();
    assert_eq!(reader.fsck().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_real_disk_keeps_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(NativeDisk::new(folder.path()));
    for round in 0..3 {
        let ledger =
            Ledger::open(Arc::clone(&disk) as _, Arc::new(OsRandom), common::identity()).unwrap();
        assert_eq!(ledger.position().0, round * 300);
        (0..150).for_each(|_| drop(act(&ledger, "a", b"real")));
        ledger.flush().unwrap();
        ledger.publish().unwrap();
        if round == 1 {
            ledger.rotate().unwrap();
        }
        drop(ledger);
        let reader = LogReader::open(Arc::clone(&disk) as _, &verifier()).unwrap();
        assert_eq!(reader.fsck().unwrap().faults, Vec::<String>::new());
        assert_eq!(reader.receipts().unwrap().len() as u64, (round + 1) * 300);
        for index in 0..(round + 1) * 150 {
            assert_eq!(reader.kept().open(&home_key(), "a", index * 2).unwrap(), b"real");
        }
    }
}

/// Writes the checksum of every batch anew, as whoever edits a write-ahead log would.
fn reseal(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes[at..].starts_with(b"TSWB") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let end = at + 24 + length;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[at + 4..at + 20]);
        crc.update(&bytes[at + 24..end]);
        bytes[at + 20..at + 24].copy_from_slice(&crc.finalize().to_le_bytes());
        at = end;
    }
}

#[test]
fn a_forged_or_moved_receipt_with_a_good_checksum_stops_the_node() {
    let wal = Path::new("wal/0000000000000000.wal");
    // One receipt is under no checkpoint yet: only its signature and its chain speak for it.
    let home = || {
        let home = Home::new(10);
        let ledger = home.open().unwrap();
        let verdict = ledger.append(verdict_of("a")).unwrap();
        ledger.commit(verdict.index).unwrap();
        home
    };
    // Sealed anew and not changed, it is as good as before.
    let same = home();
    same.disk.tamper(wal, |bytes| reseal(bytes));
    assert_eq!(same.open().unwrap().position().0, 1);
    let forged = home();
    forged.disk.tamper(wal, |bytes| {
        let name = b"\"signature\":\"";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        reseal(bytes);
    });
    assert!(matches!(forged.open(), Err(LedgerError::Damaged { .. })));
    let repeated = home();
    repeated.disk.tamper(wal, |bytes| {
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize + 24;
        let mut again = bytes[..length].to_vec();
        again[8] = 1;
        bytes[length..2 * length].copy_from_slice(&again);
        reseal(bytes);
    });
    assert!(matches!(repeated.open(), Err(LedgerError::Damaged { .. })));
}

#[test]
fn a_checkpoint_with_another_root_stops_the_node() {
    // Signed with the log's own key, at a size that the log has.
    damaged("a fork's checkpoint", |home| {
        let identity = common::identity();
        let signer = NoteSigner::new(&identity.origin, &identity.log_key).unwrap();
        let checkpoint = home.read().unwrap().checkpoint().unwrap().clone();
        let fork = Checkpoint { root: Digest::of(b"fork"), ..checkpoint };
        let note = fork.sign(&signer).unwrap();
        home.disk.tamper(Path::new("log/checkpoint"), |bytes| *bytes = note.into_bytes());
    });
}

#[test]
fn inputs_of_one_receipt_are_none_of_another() {
    let home = Home::new(11);
    let ledger = home.open().unwrap();
    let (one, _) = act(&ledger, "a", b"one");
    let (two, _) = act(&ledger, "a", b"two");
    ledger.rotate().unwrap();
    let open = |index| home.read().unwrap().kept().open(&home_key(), "a", index);
    assert_eq!(open(one.index).unwrap(), b"one");
    home.disk.tamper(&home.files("inputs")[0], |bytes| {
        let (mut at, mut places) = (0, Vec::new());
        while at < bytes.len() {
            if bytes[at] == 2 {
                places.push(at + 5);
            }
            at += 5 + u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        }
        bytes[places[0]] = two.index as u8;
        bytes[places[1]] = one.index as u8;
    });
    assert!(matches!(open(one.index), Err(LedgerError::InputsForged)));
    assert!(matches!(open(two.index), Err(LedgerError::InputsForged)));
}

#[test]
fn a_torn_end_is_cleared_before_the_log_goes_on() {
    let home = Home::new(12);
    let ledger = home.open().unwrap();
    act(&ledger, "a", b"x");
    ledger.flush().unwrap();
    drop(ledger);
    // Power went while a batch was being written, after the two that are whole.
    home.disk.tamper(Path::new("wal/0000000000000000.wal"), |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[end + 100..end + 200].fill(7);
    });
    drop(home.open().unwrap());
    // And again while segments were changed: the new one is there, its snapshot is not.
    home.disk.open(Path::new("wal/0000000000000002.wal")).unwrap().reserve(4096).unwrap();
    assert_eq!(home.open().unwrap().position().0, 2);
    check(&home);
}

#[test]
fn a_new_segment_has_room_for_what_is_due() {
    let home = Home::new(13);
    let ledger = home.open().unwrap();
    let open: Vec<_> =
        (0..800).map(|_| ledger.append(verdict_of("a")).unwrap().signed.hash()).collect();
    ledger.rotate().unwrap();
    home.disk.set_fault(Fault::Full);
    for of in open {
        let settled = ledger.append(outcome("a", of)).unwrap();
        ledger.commit(settled.index).unwrap();
    }
}

#[test]
fn a_long_look_at_a_log_that_goes_on_finds_no_fault() {
    let home = Home::new(41);
    let ledger = home.open().unwrap();
    act(&ledger, "a", b"first");
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    let reader = home.read().unwrap();
    // What was an incomplete tile when the look began is complete, and gone, before it ends.
    for _ in 0..300 {
        act(&ledger, "a", b"next");
    }
    ledger.flush().unwrap();
    ledger.publish().unwrap();
    assert_eq!(reader.fsck().unwrap().faults, Vec::<String>::new());
    assert_eq!(home.read().unwrap().fsck().unwrap().faults, Vec::<String>::new());
}
