//! Appending receipts: number, chain, sign, make durable, publish.
//!
//! The adversary is a crash, a full disk, a failing sync, and anyone who edits the folder. A verdict's
//! receipt is durable before its effect may start; several callers share one sync (the first who
//! commits writes for all). Room for the outcome of every open verdict is reserved before the verdict,
//! so a full disk can't lose it. After a failed write or sync nothing is appended any more.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tipstaff_core::CoreError;
use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Kind, Receipt, Signed};
use tipstaff_store::{Disk, DiskFile, Random, StoreError};

use crate::error::LedgerError;
use crate::inputs::{SealingKey, key_bound, record_bound};
use crate::note::NoteSigner;
use crate::publish::Publisher;
use crate::recover::{self, Recovered};
use crate::state::State;
use crate::waiting::{Ended, Waiting};
use crate::wal::{self, Item};

/// Space that is reserved at a time, in bytes.
const RESERVE_STEP: u64 = 4 << 20;
/// Space that is reserved at a time where none is laid out yet, in bytes.
const FIRST_STEP: u64 = 512 << 10;
/// Space that runs low sooner than this after it was laid out was too little.
const LAY_OUT_PACE: Duration = Duration::from_millis(500);
/// Space kept for the outcome of each open verdict, in bytes: an outcome has no free text.
const OUTCOME_ROOM: u64 = 4 << 10;
/// Longest name of a chain in bytes: its length is written in 8 bits.
const CHAIN_BYTES_MAX: usize = u8::MAX as usize;
/// Most room that is held for the next batch, in bytes.
const BATCH_ROOM: usize = 256 << 10;
/// A segment of the write-ahead log is left behind at this size, in bytes.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Keys and names of one home's log.
#[derive(Debug)]
pub struct Identity {
    /// The log's origin, unique per home.
    pub origin: String,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// Signs receipts.
    pub receipt_key: SigningKey,
    /// Wraps the keys of sessions.
    pub home_key: SealingKey,
}

/// One home's log. One process has it open; see the monitor's lock.
#[derive(Debug)]
pub struct Ledger {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    identity: Identity,
    key_id: String,
    tail: Mutex<Tail>,
    progress: Condvar,
    /// Space that is laid out runs low.
    low: Condvar,
    publisher: Mutex<Publisher>,
}

/// What is appended: the ledger fills number, `prev_hash`, `key_id` and position in.
#[derive(Debug)]
pub struct Draft {
    /// The receipt.
    pub receipt: Receipt,
    /// What its digests are digests of, to be kept encrypted.
    pub inputs: Option<Vec<u8>>,
}

/// A receipt that has its place. Durable once [`Ledger::commit`] of its index returned.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Its leaf index.
    pub index: u64,
    /// The signed receipt.
    pub signed: Signed,
}

#[derive(Debug)]
struct Tail {
    state: State,
    /// Leaves that have a place.
    size: u64,
    /// Leaves that are durable.
    durable: u64,
    payload: Vec<u8>,
    payload_leaves: u32,
    /// Items appended and not yet published, in order.
    queue: VecDeque<Item>,
    keys: HashMap<String, SealingKey>,
    file: Arc<dyn DiskFile>,
    segment: u64,
    offset: u64,
    reserved: u64,
    /// Space after `reserved` is being laid out: nothing may be reserved meanwhile.
    laying_out: bool,
    /// How much space to lay out ahead, in bytes.
    ahead: u64,
    /// Bytes of the batch that is being written.
    in_flight: u64,
    committing: bool,
    /// Those whose leaves are not durable yet, while somebody writes.
    waiting: Waiting,
    stopped: Option<String>,
}

impl Ledger {
    /// Opens or creates the log of a home, checks it and recovers from a crash.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if it is damaged in a way that no honest crash leaves.
    pub fn open(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        identity: Identity,
    ) -> Result<Self, LedgerError> {
        let Recovered { state, size, publisher, queue, segment, offset, is_new, keys } =
            recover::recover(&*disk, &identity)?;
        let file = disk.open(&segment_path(segment))?;
        // Never more than was reserved before, so a full disk does not keep outcomes out after a crash.
        let needed = offset + (due(&state) + 1) * OUTCOME_ROOM;
        let reserved = needed.next_multiple_of(FIRST_STEP);
        file.reserve(reserved).map_err(full)?;
        let tail = Tail {
            state,
            size,
            durable: size,
            payload: Vec::new(),
            payload_leaves: 0,
            queue,
            keys,
            file,
            segment,
            offset,
            reserved,
            laying_out: false,
            ahead: RESERVE_STEP,
            in_flight: 0,
            committing: false,
            waiting: Waiting::default(),
            stopped: None,
        };
        let key_id = identity.receipt_key.verifying_key().key_id();
        let ledger = Self {
            disk,
            random,
            identity,
            key_id,
            tail: Mutex::new(tail),
            progress: Condvar::new(),
            low: Condvar::new(),
            publisher: Mutex::new(publisher),
        };
        match ledger.publish() {
            Ok(()) if is_new => ledger.disk.sync_folder(Path::new(""))?,
            // What is due can be settled without a new checkpoint.
            Err(LedgerError::Full) if !is_new => {}
            done => done?,
        }
        Ok(ledger)
    }

    /// Gives a receipt its place in its chain and the log, and signs it.
    ///
    /// # Errors
    /// [`LedgerError::Full`] if no room is left for it and the outcomes that are due;
    /// [`LedgerError::Stopped`] after a failure.
    pub fn append(&self, draft: Draft) -> Result<Appended, LedgerError> {
        let mut tail = self.tail();
        tail.check()?;
        let Draft { mut receipt, inputs } = draft;
        if receipt.chain.len() > CHAIN_BYTES_MAX {
            let what = "chain name";
            return Err(CoreError::TooLarge { what, limit: CHAIN_BYTES_MAX }.into());
        }
        if receipt.kind != Kind::Outcome || inputs.is_some() {
            let inputs = inputs.as_ref().map_or(0, Vec::len) as u64;
            tail = self.make_room(tail, inputs)?;
        }
        (receipt.chain_seq, receipt.prev_hash) = tail.state.next(&receipt.chain);
        receipt.key_id.clone_from(&self.key_id);
        receipt.as_of.log.clone_from(&self.identity.origin);
        receipt.as_of.size = tail.size;
        receipt.as_of.control = tail.state.revision;
        let signed = Signed::new(receipt, &self.identity.receipt_key)?;
        let index = tail.size;
        if let Some(inputs) = inputs {
            self.keep_inputs(&mut tail, &signed.receipt().chain, index, &inputs)?;
        }
        tail.push(Item::Leaf(signed.to_leaf()));
        tail.payload_leaves += 1;
        tail.size += 1;
        tail.state.apply(index, &signed);
        if signed.receipt().action == "session:close" {
            tail.keys.remove(&signed.receipt().chain);
        }
        Ok(Appended { index, signed })
    }

    /// Returns when the leaf at `index` is durable.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`] if it can't be made durable; nothing is appended any more then.
    pub fn commit(&self, index: u64) -> Result<(), LedgerError> {
        let mut tail = self.tail();
        if index >= tail.size {
            return Err(LedgerError::Unknown(format!("leaf {index} was never appended")));
        }
        while tail.durable <= index {
            if let Err(stopped) = tail.check() {
                tail.waiting.end();
                return Err(stopped);
            }
            if tail.committing {
                let ticket = tail.waiting.enter(index);
                drop(tail);
                match ticket.wait() {
                    Ended::Durable => return Ok(()),
                    Ended::Again => tail = self.tail(),
                }
                continue;
            }
            tail = self.write_batch(tail)?;
        }
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// Like [`Ledger::commit`].
    pub fn flush(&self) -> Result<(), LedgerError> {
        let size = self.tail().size;
        if size == 0 { Ok(()) } else { self.commit(size - 1) }
    }

    /// Writes what is durable to the tiles and signs a checkpoint over it. At most once a second.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if the folder was changed underneath; the node is stopped then.
    /// [`LedgerError::Full`] if the files don't fit now: the next call writes them.
    pub fn publish(&self) -> Result<(), LedgerError> {
        let mut publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let (items, segment) = {
            let mut tail = self.tail();
            tail.check()?;
            (tail.drain_durable(), tail.segment)
        };
        let signer = self.signer()?;
        let done = publisher
            .check_folder(&*self.disk, segment)
            .and_then(|()| publisher.publish(&*self.disk, items, segment, &signer));
        let done = self.tail().end_if_broken(done);
        let rotate = done.is_ok() && self.tail().offset > SEGMENT_BYTES;
        drop(publisher);
        done?;
        if rotate { self.rotate() } else { Ok(()) }
    }

    /// Syncs the projections, writes a snapshot and begins a new segment: after this the old one is
    /// not needed any more. Part of an orderly end.
    ///
    /// # Errors
    /// [`LedgerError::Full`] if there is no room, and the old segment goes on; after any other error the
    /// node is stopped.
    pub fn rotate(&self) -> Result<(), LedgerError> {
        self.flush()?;
        let mut publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tail = self.tail();
        tail.check()?;
        while tail.committing || tail.durable < tail.size {
            if tail.committing {
                tail = self.progress.wait(tail).unwrap_or_else(PoisonError::into_inner);
                tail.check()?;
            } else {
                tail = self.write_batch(tail)?;
            }
        }
        let items = tail.drain_durable();
        let done = self.begin_segment(&mut publisher, &mut tail, items);
        tail.end_if_broken(done)
    }

    /// Where the chains stand.
    #[must_use]
    pub fn state(&self) -> State {
        self.tail().state.clone()
    }

    /// Number and control revision of the next leaf.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let tail = self.tail();
        (tail.size, tail.state.revision)
    }

    /// The log's names and keys.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Stops the node for good: a check found what no honest crash leaves.
    pub fn stop(&self, why: &LedgerError) {
        let mut tail = self.tail();
        tail.stop(why);
        tail.waiting.end();
        drop(tail);
        self.progress.notify_all();
        self.low.notify_all();
    }

    /// Why the node stopped, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.tail().stopped.clone()
    }

    /// Lays space out ahead of what is written whenever it runs low, until the node stops: a sync of
    /// space that was only reserved takes half as long again. For a thread of its own.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`], or why a sync failed. A full disk is no error here: it is met by the
    /// next verdict.
    pub fn keep_laid_out(&self) -> Result<(), LedgerError> {
        let mut last: Option<Instant> = None;
        loop {
            let mut tail = self.tail();
            while !tail.is_low() {
                tail.check()?;
                tail = self.low.wait(tail).unwrap_or_else(PoisonError::into_inner);
            }
            let ahead = match last.replace(Instant::now()) {
                Some(last) if last.elapsed() < LAY_OUT_PACE => tail.ahead * 2,
                _ => tail.ahead / 2,
            };
            tail.ahead = ahead.clamp(RESERVE_STEP, SEGMENT_BYTES);
            drop(tail);
            if !self.lay_out()? {
                // The disk is full: verdicts say so, and room may come back.
                std::thread::sleep(LAY_OUT_PACE);
            }
        }
    }

    /// Lays space out once; `false` if there is none.
    ///
    /// # Errors
    /// Like [`Ledger::keep_laid_out`].
    pub fn lay_out(&self) -> Result<bool, LedgerError> {
        let mut tail = self.tail();
        tail.check()?;
        let (file, segment, from) = (Arc::clone(&tail.file), tail.segment, tail.reserved);
        let end = (tail.offset + tail.ahead).next_multiple_of(RESERVE_STEP);
        if tail.laying_out || from >= end {
            return Ok(true);
        }
        tail.laying_out = true;
        drop(tail);
        let done = file.lay_out(from, end);
        let mut tail = self.tail();
        tail.laying_out = false;
        self.progress.notify_all();
        match done {
            Ok(()) if tail.segment == segment => tail.reserved = end,
            Ok(()) => {}
            Err(StoreError::Full) => return Ok(false),
            Err(error) => return tail.end_if_broken(Err(error.into())).map(|()| true),
        }
        Ok(true)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signer(&self) -> Result<NoteSigner<'_>, LedgerError> {
        NoteSigner::new(&self.identity.origin, &self.identity.log_key)
            .map_err(|error| LedgerError::damaged(error.to_string(), "origin"))
    }

    fn keep_inputs(
        &self,
        tail: &mut Tail,
        chain: &str,
        index: u64,
        inputs: &[u8],
    ) -> Result<(), LedgerError> {
        if !tail.keys.contains_key(chain) {
            let mut bytes = [0; 32];
            self.random.fill(&mut bytes)?;
            let bound = key_bound(chain);
            let wrapped = self.identity.home_key.seal(&*self.random, &bound, &bytes)?;
            tail.push(Item::Key { chain: chain.to_owned(), wrapped });
            tail.keys.insert(chain.to_owned(), SealingKey::new(&bytes)?);
        }
        let key = tail.keys.get(chain).ok_or(LedgerError::Expired)?;
        let sealed = key.seal(&*self.random, &record_bound(chain, index), inputs)?;
        tail.push(Item::Inputs { index, sealed });
        Ok(())
    }

    /// Reserves room for one more receipt with its inputs, its outcome, and all outcomes that are due.
    fn make_room<'a>(
        &'a self,
        mut tail: MutexGuard<'a, Tail>,
        inputs: u64,
    ) -> Result<MutexGuard<'a, Tail>, LedgerError> {
        loop {
            let needed = tail.needed(inputs);
            if tail.is_low() {
                self.low.notify_one();
            }
            if needed <= tail.reserved {
                return Ok(tail);
            }
            if tail.laying_out {
                tail = self.progress.wait(tail).unwrap_or_else(PoisonError::into_inner);
                tail.check()?;
                continue;
            }
            let reserved = (needed + FIRST_STEP).next_multiple_of(FIRST_STEP);
            tail.file.reserve(reserved).map_err(full)?;
            tail.reserved = reserved;
        }
    }

    /// Writes and syncs what is pending, for everyone who waits.
    fn write_batch<'a>(
        &'a self,
        mut tail: MutexGuard<'a, Tail>,
    ) -> Result<MutexGuard<'a, Tail>, LedgerError> {
        tail.committing = true;
        // The next batch is likely to be of this size: it need not grow step by step.
        let room = Vec::with_capacity(tail.payload.len().min(BATCH_ROOM));
        let payload = std::mem::replace(&mut tail.payload, room);
        let leaves = std::mem::take(&mut tail.payload_leaves);
        let target = tail.size;
        let batch = wal::frame(target - u64::from(leaves), leaves, &payload);
        let (file, offset) = (Arc::clone(&tail.file), tail.offset);
        tail.in_flight = batch.len() as u64;
        drop(tail);
        let done = file.write_at(offset, &batch).and_then(|()| file.sync());
        let mut tail = self.tail();
        tail.committing = false;
        tail.in_flight = 0;
        self.progress.notify_all();
        match done {
            Ok(()) => {
                tail.offset += batch.len() as u64;
                tail.durable = target;
                // Whoever is woken doesn't need the lock: nobody is woken to wait for it.
                let woken = tail.waiting.up_to(target);
                drop(tail);
                woken.wake();
                Ok(self.tail())
            }
            Err(error) => {
                let error = LedgerError::from(error);
                tail.stop(&error);
                tail.waiting.end();
                Err(error)
            }
        }
    }

    fn begin_segment(
        &self,
        publisher: &mut Publisher,
        tail: &mut Tail,
        items: Vec<Item>,
    ) -> Result<(), LedgerError> {
        publisher.publish(&*self.disk, items, tail.segment, &self.signer()?)?;
        self.disk.sync_folder(Path::new(""))?;
        if tail.segment == tail.size {
            return Ok(());
        }
        let path = segment_path(tail.size);
        let file = self.disk.open(&path)?;
        let reserved = (due(&tail.state) * OUTCOME_ROOM + 1).next_multiple_of(FIRST_STEP);
        let begun = file.reserve(reserved).map_err(full).and_then(|()| {
            file.sync()?;
            self.disk.sync_folder(Path::new("wal"))?;
            recover::write_snapshot(&*self.disk, &tail.state, tail.size, publisher.root())
        });
        if !matches!(begun, Ok(true)) {
            // The old segment goes on; recovery passes over the new one should it come back.
            self.disk.remove(&path)?;
            return begun.map(drop);
        }
        publisher.pin(&*self.disk)?;
        for name in self.disk.list(Path::new("wal"))? {
            if segment_first(&name).is_some_and(|first| first < tail.size) {
                self.disk.remove(&Path::new("wal").join(name))?;
            }
        }
        (tail.file, tail.segment, tail.offset, tail.reserved) = (file, tail.size, 0, reserved);
        Ok(())
    }
}

impl Tail {
    fn check(&self) -> Result<(), LedgerError> {
        match &self.stopped {
            Some(why) => Err(LedgerError::Stopped(why.clone())),
            None => Ok(()),
        }
    }

    /// Whether more space should be laid out.
    const fn is_low(&self) -> bool {
        !self.laying_out && self.reserved < self.offset + self.ahead / 2
    }

    fn stop(&mut self, error: &LedgerError) {
        if self.stopped.is_none() {
            self.stopped = Some(error.to_string());
        }
    }

    /// A full disk may have room again later; after anything else nothing is appended any more.
    fn end_if_broken(&mut self, done: Result<(), LedgerError>) -> Result<(), LedgerError> {
        match done {
            Err(LedgerError::Full | LedgerError::Store(StoreError::Full)) => Err(LedgerError::Full),
            Err(error) => {
                self.stop(&error);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn push(&mut self, item: Item) {
        item.encode(&mut self.payload);
        self.queue.push_back(item);
    }

    /// Where the file has to reach for one more receipt.
    fn needed(&self, inputs: u64) -> u64 {
        let receipt = tipstaff_core::limits::RECEIPT_BYTES_MAX as u64 + inputs + 512;
        let pending = self.in_flight + self.payload.len() as u64;
        self.offset + pending + receipt + (due(&self.state) + 2) * OUTCOME_ROOM
    }

    /// Takes the items of the leaves that are durable.
    fn drain_durable(&mut self) -> Vec<Item> {
        let queued = self.queue.iter().filter(|item| matches!(item, Item::Leaf(_))).count() as u64;
        let mut leaves = queued.saturating_sub(self.size - self.durable);
        let mut items = Vec::new();
        while leaves > 0 {
            let Some(item) = self.queue.pop_front() else { break };
            leaves -= u64::from(matches!(item, Item::Leaf(_)));
            items.push(item);
        }
        items
    }
}

/// Verdicts that have no outcome yet.
fn due(state: &State) -> u64 {
    state.chains.values().map(|chain| chain.unsettled.len() as u64).sum()
}

pub(crate) fn segment_path(first: u64) -> PathBuf {
    Path::new("wal").join(format!("{first:016x}.wal"))
}

pub(crate) fn segment_first(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()
}

fn full(error: StoreError) -> LedgerError {
    match error {
        StoreError::Full => LedgerError::Full,
        other => LedgerError::Store(other),
    }
}
