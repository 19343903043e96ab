//! The published log, to be looked things up in: an index that grows with it.
//!
//! The adversary is a long log that is read from its beginning for every question, or a folder that was
//! changed. Each leaf is read once, when it is published, and sixteen bytes of it are kept; what is
//! handed out is read again, checked against its own hash, and proven under the signed checkpoint.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tipstaff_core::receipt::{Door, Kind, Signed};
use tipstaff_core::{Digest, Verdict};
use tipstaff_ledger::LedgerError;
use tipstaff_ledger::merkle::inclusion_proof;
use tipstaff_ledger::note::{Checkpoint, NoteVerifier};
use tipstaff_ledger::proof::InclusionProof;
use tipstaff_ledger::tile::{Content, TILE_WIDTH, TileHashes, TileId, decode_bundle};
use tipstaff_store::{Disk, StoreError};

use super::tiles::{self, CHECKPOINT};

/// Looks at a log that is being written.
const ATTEMPTS: usize = 5;
/// Most receipts of a sample.
const SAMPLE_MAX: u64 = 16;
/// Most different reasons that are counted by name; policies can't add any, a later release might.
const REASONS_MAX: usize = 64;

/// The published log of a home.
#[derive(Debug)]
pub(crate) struct Library {
    disk: Arc<dyn Disk>,
    verifier: NoteVerifier,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    chains: Vec<Chain>,
    numbers: HashMap<String, u32>,
    published: Option<Published>,
    counts: Counts,
}

/// What is kept of a receipt.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The first eight bytes of its hash.
    hash: u64,
    chain: u32,
    kind: Kind,
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Chain {
    name: String,
    actor: String,
    first: u64,
    count: u64,
    closed: bool,
}

/// A checkpoint as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) note: String,
    pub(crate) checkpoint: Checkpoint,
}

/// What the receipts of the log add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Verdicts by door, verdict and tier.
    pub(crate) actions: BTreeMap<(Door, Verdict, u8), u64>,
    /// Verdicts that refuse, by reason.
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// Which receipts are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) chain: Option<String>,
    /// A session's chain has its name: this is another word for the same.
    pub(crate) session: Option<String>,
    /// Whoever acts in the chain, as its first receipt says.
    pub(crate) actor: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) verdict: Option<Verdict>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this leaf, going on to newer ones.
    At(u64),
    /// With the newest ones.
    Newest,
}

impl Start {
    /// The same start, and not before a leaf.
    pub(crate) fn not_before(self, leaf: u64) -> Self {
        match self {
            Self::At(from) => Self::At(from.max(leaf)),
            Self::Newest => Self::At(leaf),
        }
    }
}

/// Leaves that were found, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) leaves: Vec<u64>,
    /// The leaf to go on at.
    pub(crate) next: u64,
    /// Whether there are leaves from there on already.
    pub(crate) more: bool,
}

/// What was found by the beginning of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    One(u64),
    Several,
}

impl Library {
    pub(crate) fn new(disk: Arc<dyn Disk>, verifier: NoteVerifier) -> Self {
        Self { disk, verifier, index: Mutex::default() }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The checkpoint as it stands, without looking at what it covers.
    pub(crate) fn checkpoint(&self) -> Result<Published, LedgerError> {
        let note = self.disk.read(Path::new(CHECKPOINT))?;
        let checkpoint =
            Checkpoint::open(&note, &self.verifier).map_err(|error| damaged(error, CHECKPOINT))?;
        Ok(Published { note: String::from_utf8_lossy(&note).into_owned(), checkpoint })
    }

    /// Takes in what was published since, and answers with the checkpoint over it.
    pub(crate) fn catch_up(&self) -> Result<Option<Published>, LedgerError> {
        let mut index = self.index();
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.read(&mut index) {
                Ok(()) => return Ok(index.published.clone()),
                // A node writes while this reads: what looks wrong is looked at again.
                Err(_) if attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The leaves that a filter lets through.
    pub(crate) fn select(&self, filter: &Filter, start: Start, limit: usize) -> Page {
        let index = self.index();
        let size = index.entries.len() as u64;
        let end = match start {
            Start::At(from) => size.max(from),
            Start::Newest => size,
        };
        let nothing = Page { leaves: Vec::new(), next: end, more: false };
        let mut chain = None;
        for name in [&filter.chain, &filter.session].into_iter().flatten() {
            match index.numbers.get(name) {
                Some(number) if chain.is_none_or(|chain| chain == *number) => chain = Some(*number),
                _ => return nothing,
            }
        }
        let acts = |entry: &Entry, actor: &str| {
            let chain = usize::try_from(entry.chain).ok().and_then(|at| index.chains.get(at));
            chain.is_some_and(|chain| chain.actor == actor)
        };
        let is_wanted = |entry: &Entry| {
            chain.is_none_or(|chain| chain == entry.chain)
                && filter.actor.as_ref().is_none_or(|actor| acts(entry, actor))
                && filter.kind.is_none_or(|kind| kind == entry.kind)
                && filter.verdict.is_none_or(|verdict| Some(verdict) == entry.verdict)
        };
        match start {
            Start::At(from) => {
                let skip = usize::try_from(from).unwrap_or(usize::MAX);
                let rest = index.entries.get(skip..).unwrap_or_default();
                let wanted = (from..).zip(rest).filter(|(_, entry)| is_wanted(entry));
                let leaves: Vec<u64> = wanted.map(|(at, _)| at).take(limit).collect();
                let full = leaves.len() == limit;
                let next = leaves.last().filter(|_| full).map_or(end, |last| last + 1);
                Page { leaves, next, more: next < size }
            }
            Start::Newest => {
                let newest = index.entries.iter().enumerate().rev();
                let wanted = newest.filter(|(_, entry)| is_wanted(entry)).take(limit);
                let mut leaves: Vec<u64> = wanted.map(|(at, _)| at as u64).collect();
                leaves.reverse();
                Page { leaves, next: size, more: false }
            }
        }
    }

    /// The leaf whose receipt's hash begins with these hex digits, of which there are at least 8.
    pub(crate) fn find(&self, digits: &str) -> Result<Found, LedgerError> {
        let known = digits.get(..16).unwrap_or(digits);
        let Ok(value) = u64::from_str_radix(known, 16) else { return Ok(Found::Nothing) };
        let shift = 64 - 4 * u32::try_from(known.len()).unwrap_or(16);
        let wanted = value.checked_shl(shift).unwrap_or(0);
        let mut likely: Vec<u64> = {
            let index = self.index();
            let matching = (0..).zip(&index.entries).filter(|(_, entry)| {
                entry.hash.checked_shr(shift).and_then(|hash| hash.checked_shl(shift))
                    == Some(wanted)
            });
            matching.map(|(at, _): (u64, _)| at).collect()
        };
        if digits.len() > known.len() {
            let mut exact = Vec::new();
            for at in likely {
                if self.leaf(at)?.hash().to_hex().starts_with(digits) {
                    exact.push(at);
                }
            }
            likely = exact;
        }
        Ok(match likely.as_slice() {
            [] => Found::Nothing,
            [one] => Found::One(*one),
            _ => Found::Several,
        })
    }

    /// The receipt at a leaf, checked against its hash.
    pub(crate) fn leaf(&self, at: u64) -> Result<Signed, LedgerError> {
        self.leaves(&[at])?.pop().ok_or_else(|| damaged("a leaf is missing", at))
    }

    /// The receipts at some leaves, in their order.
    pub(crate) fn leaves(&self, at: &[u64]) -> Result<Vec<Signed>, LedgerError> {
        let (size, known) = {
            let index = self.index();
            let known = at.iter().map(|at| index.entries.get(usize::try_from(*at).ok()?));
            (index.entries.len() as u64, known.map(|entry| Some(entry?.hash)).collect::<Vec<_>>())
        };
        let mut bundle: Option<(u64, Vec<u8>)> = None;
        let mut found = Vec::with_capacity(at.len());
        for (index, known) in at.iter().zip(known) {
            let number = index / u64::from(TILE_WIDTH);
            let (bytes, width) = match bundle.take() {
                Some((kept, bytes)) if kept == number => (bytes, width(number, size)),
                _ => self.bundle(number, size)?,
            };
            let entries = decode_bundle(&bytes, width).map_err(|error| damaged(error, number))?;
            let place = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
            let leaf = entries.get(place).and_then(|entry| std::str::from_utf8(entry).ok());
            let leaf = leaf.ok_or_else(|| damaged("a leaf is missing", index))?;
            let signed = Signed::from_leaf(leaf).map_err(|error| damaged(error, index))?;
            if first_of(&signed.hash()) != known {
                return Err(damaged("another receipt is in the place of one", index));
            }
            found.push(signed);
            bundle = Some((number, bytes));
        }
        Ok(found)
    }

    /// A proof that a leaf is under a checkpoint; it was checked.
    pub(crate) fn prove(
        &self,
        at: u64,
        leaf: &str,
        under: &Published,
    ) -> Result<InclusionProof, LedgerError> {
        let size = under.checkpoint.size;
        let hashes = TileHashes::new(size, |level, index, width| {
            tiles::read(&*self.disk, TileId { content: Content::Hashes { level }, index, width })
                .ok()
                .flatten()
        });
        let hashes = inclusion_proof(at, size, &hashes).map_err(|error| damaged(error, at))?;
        let (checkpoint_note, extra) = (under.note.clone(), Vec::new());
        let proof = InclusionProof { index: at, hashes, checkpoint_note, extra };
        proof.verify(leaf.as_bytes(), &self.verifier).map_err(|error| damaged(error, at))?;
        Ok(proof)
    }

    /// A small whole chain: of a session that is closed, if there is one, and the newest of them.
    pub(crate) fn sample(&self) -> Option<(String, Vec<u64>)> {
        let index = self.index();
        let small = |chain: &&Chain| chain.count <= SAMPLE_MAX;
        let newest = || index.chains.iter().rev().filter(small);
        let chosen = newest().find(|chain| chain.closed).or_else(|| newest().next())?;
        let number = index.numbers.get(&chosen.name)?;
        let from = usize::try_from(chosen.first).ok()?;
        let rest = (chosen.first..).zip(index.entries.get(from..)?);
        let members = rest.filter(|(_, entry)| entry.chain == *number).map(|(at, _)| at);
        Some((chosen.name.clone(), members.take(usize::try_from(chosen.count).ok()?).collect()))
    }

    /// What the receipts so far add up to.
    pub(crate) fn counts(&self) -> Counts {
        self.index().counts.clone()
    }

    fn read(&self, index: &mut Index) -> Result<(), LedgerError> {
        let published = match self.checkpoint() {
            Err(LedgerError::Store(StoreError::NotFound(_))) if index.published.is_none() => {
                return Ok(());
            }
            published => published?,
        };
        if index.published.as_ref().is_some_and(|known| known.note == published.note) {
            return Ok(());
        }
        let size = published.checkpoint.size;
        if size < index.entries.len() as u64 {
            return Err(damaged("the log is shorter than it was", CHECKPOINT));
        }
        while (index.entries.len() as u64) < size {
            let known = index.entries.len() as u64;
            let number = known / u64::from(TILE_WIDTH);
            let (bytes, width) = self.bundle(number, size)?;
            let entries = decode_bundle(&bytes, width).map_err(|error| damaged(error, number))?;
            let skip = usize::try_from(known % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
            for entry in entries.into_iter().skip(skip) {
                let line = serde_json::from_slice::<Line<'_>>(entry);
                let line = line.ok().and_then(|line| index.fold(&line));
                line.ok_or_else(|| damaged("a leaf is no receipt", index.entries.len()))?;
            }
        }
        index.published = Some(published);
        Ok(())
    }

    /// A bundle as it is in a log of `size` leaves.
    fn bundle(&self, number: u64, size: u64) -> Result<(Vec<u8>, u16), LedgerError> {
        let width = width(number, size);
        let id = TileId { content: Content::Entries, index: number, width };
        let bytes = tiles::read(&*self.disk, id)?;
        Ok((bytes.ok_or_else(|| damaged("an entry bundle is missing", number))?, width))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic elsewhere leaves whole entries.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Adds a receipt; `None` if it is none.
    fn fold(&mut self, line: &Line<'_>) -> Option<()> {
        let at = self.entries.len() as u64;
        let Line { hash, receipt } = line;
        let hash = Digest::from_hex(hash).ok()?;
        let hash = first_of(&hash)?;
        let kind = Kind::parse(&receipt.kind)?;
        let door = Door::parse(&receipt.door)?;
        let verdict = match &receipt.decision {
            Some(decision) => Some(Verdict::parse(&decision.verdict)?),
            None => None,
        };
        let chain = match self.numbers.get(receipt.chain.as_ref()) {
            Some(number) => *number,
            None => {
                let (number, name) = (u32::try_from(self.chains.len()).ok()?, &receipt.chain);
                let name = name.clone().into_owned();
                self.numbers.insert(name.clone(), number);
                let actor = receipt.actor.clone().into_owned();
                self.chains.push(Chain { name, actor, first: at, count: 0, closed: false });
                number
            }
        };
        let known = self.chains.get_mut(usize::try_from(chain).ok()?)?;
        known.count += 1;
        known.closed = kind == Kind::Session && receipt.action == "session:close";
        if let (Kind::Verdict, Some(verdict), Some(decision)) = (kind, verdict, &receipt.decision) {
            *self.counts.actions.entry((door, verdict, receipt.tier)).or_default() += 1;
            if !matches!(verdict, Verdict::Allow | Verdict::Modify) {
                self.counts.refused(&decision.reason);
            }
        }
        self.entries.push(Entry { hash, chain, kind, verdict });
        Some(())
    }
}

impl Counts {
    fn refused(&mut self, reason: &str) {
        let is_known = self.refusals.contains_key(reason);
        let name = if is_known || self.refusals.len() < REASONS_MAX { reason } else { "other" };
        *self.refusals.entry(name.to_owned()).or_default() += 1;
    }
}

/// What the index keeps of a hash.
fn first_of(hash: &Digest) -> Option<u64> {
    Some(u64::from_be_bytes(*hash.as_bytes().first_chunk::<8>()?))
}

/// How many entries a bundle has in a log of `size` leaves.
fn width(number: u64, size: u64) -> u16 {
    let before = number.saturating_mul(u64::from(TILE_WIDTH));
    let rest = size.saturating_sub(before).min(u64::from(TILE_WIDTH));
    u16::try_from(rest).unwrap_or(TILE_WIDTH)
}

fn damaged(what: impl ToString, place: impl ToString) -> LedgerError {
    LedgerError::Damaged { what: what.to_string(), place: place.to_string() }
}

/// What the index reads of a leaf. Only where to look is taken from it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(borrow)]
    receipt: Seen<'a>,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    chain: Cow<'a, str>,
    #[serde(borrow)]
    decision: Option<Decided<'a>>,
    #[serde(borrow)]
    door: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    tier: u8,
}

#[derive(Deserialize)]
struct Decided<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    verdict: Cow<'a, str>,
}
