//! A log of receipts on a disk that forgets: the product's ledger, opened again after each crash.

use std::sync::Arc;

use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{
    AsOf, Control, DecisionRef, Door, Enforcement, Identity as Who, Kind, Level, Proof, Receipt,
    Signed,
};
use tipstaff_core::{Digest, Json, Millis, Tier, Verdict};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{Appended, Draft, Identity, Ledger, LogReader, SealingKey};
use tipstaff_store::MemoryDisk;

use crate::Failure;
use crate::dice::{Bytes, Dice};

pub(crate) struct Journal {
    pub(crate) disk: MemoryDisk,
    random: Arc<Bytes>,
    name: u8,
    ledger: Option<Ledger>,
}

impl Journal {
    pub(crate) fn new(name: u8, dice: &mut Dice) -> Self {
        let random = Arc::new(Bytes::new(dice.fork()));
        Self { disk: MemoryDisk::new(), random, name, ledger: None }
    }

    /// Starts, and what the log has.
    pub(crate) fn open(&mut self) -> Result<Vec<Signed>, Failure> {
        let identity = Identity {
            origin: self.origin(),
            log_key: key(self.name, 1)?,
            receipt_key: key(self.name, 2)?,
            home_key: SealingKey::new(&[self.name; 32])?,
        };
        let disk = Arc::new(self.disk.clone());
        let ledger = Ledger::open(Arc::clone(&disk) as _, Arc::clone(&self.random) as _, identity)?;
        let log_key = key(self.name, 1)?.verifying_key().clone();
        let verifier = NoteVerifier::new(&self.origin(), log_key)
            .map_err(|_| Failure::Wrong("the name of a log"))?;
        let receipts = LogReader::open(disk, &verifier)?.receipts()?;
        self.ledger = Some(ledger);
        Ok(receipts.into_iter().map(|(_, signed)| signed).collect())
    }

    /// Power goes: any part of what was not synced is lost.
    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        self.ledger = None;
        let survives = dice.below(101);
        self.disk.crash(|_| dice.chance(survives));
    }

    pub(crate) fn append(&self, receipt: Receipt) -> Result<Appended, Failure> {
        Ok(self.ledger()?.append(Draft { receipt, inputs: None })?)
    }

    /// When this returns, the receipt is durable.
    pub(crate) fn commit(&self, index: u64) -> Result<(), Failure> {
        Ok(self.ledger()?.commit(index)?)
    }

    fn ledger(&self) -> Result<&Ledger, Failure> {
        self.ledger.as_ref().ok_or(Failure::Wrong("a log that is not open"))
    }

    fn origin(&self) -> String {
        format!("tipstaff.sim/{}", self.name)
    }
}

/// The receipt of an order.
pub(crate) fn ordered(real: u64, from: Digest, to: Digest, entry: String) -> Receipt {
    let mut receipt = blank(real, Kind::Control, "control:capabilities", Tier::T3);
    receipt.control = Some(Control { from: Some(from), to, what: "capabilities".to_owned() });
    receipt.authority = Json::object(vec![("entry".to_owned(), Json::String(entry))]);
    receipt
}

/// The receipt of an action that may happen.
pub(crate) fn permitted(real: u64, action: Digest, tier: Tier, revision: u64) -> Receipt {
    let mut receipt = blank(real, Kind::Verdict, "sim:act", tier);
    receipt.inputs_digest = Some(action);
    receipt.decision = Some(DecisionRef {
        catalogue: Digest::ZERO,
        engine: "sim".to_owned(),
        policy_set: Digest::ZERO,
        reason: "permitted".to_owned(),
        rule: None,
        schema: Digest::ZERO,
        tool_pins: Digest::ZERO,
        verdict: Verdict::Allow,
    });
    // The log's own count of control receipts is not that of the store that the node follows.
    let revision = Json::from(i64::try_from(revision).unwrap_or(i64::MAX));
    receipt.authority = Json::object(vec![("control".to_owned(), revision)]);
    receipt
}

fn blank(real: u64, kind: Kind, action: &str, tier: Tier) -> Receipt {
    let level = || Level { id: None, proof: Proof::None };
    Receipt {
        action: action.to_owned(),
        actor: "agent://tipstaff.sim/a".to_owned(),
        approval: None,
        as_of: AsOf { control: 0, log: String::new(), size: 0 },
        authority: None,
        chain: "sim".to_owned(),
        chain_seq: 0,
        context: None,
        context_digest: Digest::ZERO,
        continues: None,
        control: None,
        decision: None,
        deferral: None,
        door: Door::Monitor,
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
        now: Millis(1_776_772_800_000 + real),
        obligations: None,
        of: None,
        outcome: None,
        prev_hash: Digest::ZERO,
        requested_digest: None,
        session: "sim".to_owned(),
        tier,
    }
}

fn key(name: u8, purpose: u8) -> Result<SigningKey, Failure> {
    let mut seed = [name; 32];
    seed[0] = purpose;
    Ok(SigningKey::from_seed(&seed.into())?)
}
