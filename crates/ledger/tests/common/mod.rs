//! What the ledger's tests share: a home of its own keys, drafts, and the checks that a log must pass.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{
    AsOf, ChainVerifier, DecisionRef, Door, Enforcement, Identity as Who, Kind, Level, Outcome,
    Proof, Signed, Status,
};
use tipstaff_core::{Digest, Json, Millis, Receipt, Tier, Verdict};
use tipstaff_ledger::merkle::leaf_hash;
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::tile::TileWriter;
use tipstaff_ledger::{Appended, Draft, Identity, Ledger, LedgerError, LogReader, SealingKey};
use tipstaff_store::{Disk, MemoryDisk, Random, StoreError};

pub const ORIGIN: &str = "tipstaff.test/0001";

/// A random source that gives the same bytes in each run.
#[derive(Debug)]
pub struct Seeded(Mutex<u64>);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// SplitMix64.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl Random for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), StoreError> {
        for byte in buffer {
            *byte = self.next() as u8;
        }
        Ok(())
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

pub fn home_key() -> SealingKey {
    SealingKey::new(&[3; 32]).unwrap()
}

pub fn identity() -> Identity {
    Identity {
        origin: ORIGIN.to_owned(),
        log_key: key(1),
        receipt_key: key(2),
        home_key: home_key(),
    }
}

pub fn verifier() -> NoteVerifier {
    NoteVerifier::new(ORIGIN, key(1).verifying_key().clone()).unwrap()
}

/// One home: a disk that survives restarts, and a random source.
pub struct Home {
    pub disk: MemoryDisk,
    pub random: Arc<Seeded>,
}

impl Home {
    pub fn new(seed: u64) -> Self {
        Self { disk: MemoryDisk::new(), random: Arc::new(Seeded::new(seed)) }
    }

    pub fn open(&self) -> Result<Ledger, LedgerError> {
        Ledger::open(Arc::new(self.disk.clone()), Arc::clone(&self.random) as _, identity())
    }

    pub fn read(&self) -> Result<LogReader, LedgerError> {
        LogReader::open(Arc::new(self.disk.clone()), &verifier())
    }

    /// Takes a file away for good.
    pub fn lose(&self, path: &Path) {
        self.disk.remove(path).unwrap();
        self.disk.sync_folder(Path::new("")).unwrap();
    }

    /// The files of a folder and those below it.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for name in self.disk.list(Path::new(folder)).unwrap() {
            let path = Path::new(folder).join(name);
            match self.disk.read(&path) {
                Ok(_) => files.push(path),
                Err(_) => files.extend(self.files(path.to_str().unwrap())),
            }
        }
        files
    }
}

pub fn draft(chain: &str, kind: Kind, action: &str) -> Draft {
    let level = || Level { id: None, proof: Proof::None };
    let receipt = Receipt {
        action: action.to_owned(),
        actor: format!("agent://{ORIGIN}/a"),
        approval: None,
        as_of: AsOf { control: 0, log: String::new(), size: 0 },
        authority: None,
        chain: chain.to_owned(),
        chain_seq: 0,
        context: None,
        context_digest: Digest::of(b"c"),
        continues: None,
        control: None,
        decision: None,
        deferral: None,
        door: Door::McpStdio,
        enforcement: Enforcement::Inline,
        identity: Who {
            agent: level(),
            principal: level(),
            roles: level(),
            service: level(),
            session: level(),
        },
        inputs_digest: None,
        key_id: String::new(),
        kind,
        now: Millis(1_776_772_800_000),
        obligations: None,
        of: None,
        outcome: None,
        prev_hash: Digest::ZERO,
        requested_digest: None,
        session: chain.to_owned(),
        tier: Tier::T3,
    };
    Draft { receipt, inputs: None }
}

pub fn verdict(chain: &str, inputs: &[u8]) -> Draft {
    let mut draft = draft(chain, Kind::Verdict, "fs:write");
    draft.receipt.decision = Some(DecisionRef {
        catalogue: Digest::of(b"1"),
        engine: "e".to_owned(),
        policy_set: Digest::of(b"2"),
        reason: "permitted".to_owned(),
        rule: None,
        schema: Digest::of(b"3"),
        tool_pins: Digest::of(b"4"),
        verdict: Verdict::Allow,
    });
    draft.receipt.inputs_digest = Some(Digest::of(inputs));
    draft.inputs = Some(inputs.to_vec());
    draft
}

pub fn outcome(chain: &str, of: Digest) -> Draft {
    let mut draft = draft(chain, Kind::Outcome, "fs:write");
    draft.receipt.of = Some(of);
    draft.receipt.outcome = Some(Outcome {
        bytes: 5,
        duration_us: 7,
        labels: None,
        result_digest: Some(Digest::of(b"r")),
        status: Status::Ok,
    });
    draft
}

/// Appends a verdict with inputs, commits it, and appends its outcome.
pub fn act(ledger: &Ledger, chain: &str, inputs: &[u8]) -> (Appended, Appended) {
    let verdict = ledger.append(verdict(chain, inputs)).unwrap();
    ledger.commit(verdict.index).unwrap();
    let outcome = ledger.append(outcome(chain, verdict.signed.hash())).unwrap();
    (verdict, outcome)
}

/// Checks every leaf, signature, link, tile and proof of a log, and returns its leaves.
pub fn check(home: &Home) -> Vec<Signed> {
    let reader = home.read().unwrap();
    let report = reader.fsck().unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    let keys = [key(2).verifying_key().clone()];
    let mut chains: BTreeMap<String, ChainVerifier<'_>> = BTreeMap::new();
    let mut hashes = Vec::new();
    let mut leaves = Vec::new();
    for (index, signed) in reader.receipts().unwrap() {
        assert_eq!(index, leaves.len() as u64);
        signed.verify(&keys[0]).unwrap();
        let chain = signed.receipt().chain.clone();
        let chain = chains.entry(chain).or_insert_with(|| ChainVerifier::new(&keys));
        chain.push(&Json::parse(signed.to_leaf().as_bytes()).unwrap()).unwrap();
        hashes.push(leaf_hash(signed.to_leaf().as_bytes()));
        leaves.push(signed);
    }
    let checkpoint = reader.checkpoint().unwrap();
    let mut tree = TileWriter::new();
    let published = &hashes[..usize::try_from(checkpoint.size).unwrap()];
    published.iter().for_each(|hash| tree.append(*hash));
    assert_eq!(checkpoint.root, tree.root());
    for index in [0, checkpoint.size / 2, checkpoint.size.saturating_sub(1)] {
        if index < checkpoint.size {
            let leaf = leaves[usize::try_from(index).unwrap()].to_leaf();
            reader.prove(index).unwrap().verify(leaf.as_bytes(), &verifier()).unwrap();
        }
    }
    leaves
}

/// Checks that the inputs of these leaves are kept.
pub fn check_inputs(home: &Home, inputs: &HashMap<u64, (String, Vec<u8>)>) {
    let reader = home.read().unwrap();
    for (index, (chain, expected)) in inputs {
        assert_eq!(&reader.kept().open(&home_key(), chain, *index).unwrap(), expected, "{index}");
    }
}
