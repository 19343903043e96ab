//! The one store: it takes orders, keeps them in its log, and answers nodes with what is durable.

use tipstaff_core::Json;
use tipstaff_core::digest::hex;
use tipstaff_core::receipt::Signed;
use tipstaff_identity::revocation::{Answer, Ask, Entry, Known};

use crate::Failure;
use crate::dice::Dice;
use crate::faults::{Fault, folded};
use crate::journal::{Journal, ordered};

pub(crate) struct Store {
    journal: Journal,
    fault: Fault,
    pub(crate) up: bool,
    /// Counts its lives.
    pub(crate) life: u64,
    /// What is durable.
    entries: Vec<Entry>,
    known: Known,
    /// What has its place in the log and is not durable.
    pending: Vec<(u64, Entry)>,
    /// What is known with that.
    ahead: Known,
}

impl Store {
    pub(crate) fn new(fault: Fault, dice: &mut Dice) -> Result<Self, Failure> {
        let mut journal = Journal::new(0, dice);
        journal.open()?;
        Ok(Self {
            journal,
            fault,
            up: true,
            life: 0,
            entries: Vec::new(),
            known: Known::default(),
            pending: Vec::new(),
            ahead: Known::default(),
        })
    }

    /// The durable entries.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives an order its place in the log; where that is. `None` if it can't be carried out.
    pub(crate) fn order(&mut self, real: u64, entry: Entry) -> Result<Option<u64>, Failure> {
        let from = self.ahead.head().digest;
        let Ok(to) = self.ahead.apply(&entry) else { return Ok(None) };
        let receipt = ordered(real, from, to.digest, hex(&entry.to_bytes()));
        let place = self.journal.append(receipt)?.index;
        self.pending.push((place, entry));
        Ok(Some(place))
    }

    /// Makes everything durable up to a place, and gives receipts for it.
    pub(crate) fn sync(&mut self, place: u64) -> Result<Vec<Entry>, Failure> {
        if self.fault != Fault::EarlyReceipt {
            self.journal.commit(place)?;
        }
        let done: Vec<Entry> =
            self.pending.iter().filter(|(at, _)| *at <= place).map(|(_, entry)| *entry).collect();
        self.pending.retain(|(at, _)| *at > place);
        for entry in &done {
            self.known.apply(entry).map_err(|_| Failure::Wrong("an order that does not apply"))?;
            self.entries.push(*entry);
        }
        Ok(done)
    }

    /// The answer to a request, with at most `page` entries.
    pub(crate) fn answer(&self, ask: &Ask, page: u64) -> Answer {
        let have = usize::try_from(ask.have.revision).unwrap_or(usize::MAX);
        let after = self.entries.get(have..).unwrap_or_default();
        let page = usize::try_from(page).unwrap_or(usize::MAX).min(after.len());
        Answer::to(ask, after.get(..page).unwrap_or_default(), self.known.head())
    }

    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        (self.up, self.life) = (false, self.life + 1);
        self.pending.clear();
        self.journal.crash(dice);
    }

    /// Starts again from its log; what became durable without a receipt.
    pub(crate) fn restart(&mut self, real: u64) -> Result<Vec<Entry>, Failure> {
        let receipts = self.journal.open()?;
        let entries: Vec<Entry> = receipts.iter().filter_map(entry).collect();
        let violated = |what: &str| Failure::Violated { at: real, what: what.to_owned() };
        let Some(survived) = entries.get(self.entries.len()..).map(<[Entry]>::to_vec) else {
            return Err(violated("the store lost an order that had its receipt"));
        };
        let rebuilt = |upto: usize| folded(entries.iter().take(upto));
        let again = rebuilt(self.entries.len()).map_err(|_| violated("the log does not fold"))?;
        if again.digest() != self.known.digest() {
            return Err(violated("the state rebuilt from the log is another"));
        }
        self.known = rebuilt(usize::MAX).map_err(|_| violated("the log does not fold"))?;
        (self.ahead, self.entries, self.up) = (self.known.clone(), entries, true);
        Ok(survived)
    }
}

/// The order that a receipt of the store is of.
fn entry(signed: &Signed) -> Option<Entry> {
    let text = signed.receipt().authority.as_ref()?.get("entry").and_then(Json::as_str)?;
    let bytes =
        (0..Entry::BYTES).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok());
    Entry::from_bytes(&bytes.collect::<Option<Vec<u8>>>()?)
}
