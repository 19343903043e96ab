//! A node: it judges by what it knows, keeps what it learns, and writes a receipt before each effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::{
    Answer, AnswerFault, Ask, Entry, Freshness, Known, Life, Refused,
};
use tipstaff_store::Disk as _;

use crate::Failure;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::faults::{Fault, Machine, Permitted, folded, start};
use crate::journal::{Journal, permitted};
use crate::token::Token;

/// Where a node keeps what it learned of the store's log.
const KEPT: &str = "feed";

pub(crate) struct Node {
    journal: Journal,
    fault: Fault,
    pub(crate) clock: Clock,
    /// Counts its lives.
    pub(crate) life: u64,
    machine: Option<Box<dyn Machine>>,
    /// Entries of the store's log that are kept.
    kept: u64,
    /// Actions that were permitted in this life, and have not started.
    pub(crate) acts: BTreeMap<u64, Act>,
}

#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) token: Token,
    pub(crate) tool: u8,
    pub(crate) tier: Tier,
    pub(crate) permitted: Permitted,
    /// Where its receipt is in the node's log.
    place: u64,
}

impl Node {
    pub(crate) fn new(name: u8, fault: Fault, dice: &mut Dice) -> Result<Self, Failure> {
        let journal = Journal::new(name, dice);
        let clock = Clock::new(dice, 0);
        let (acts, machine) = (BTreeMap::new(), None);
        let mut node = Self { journal, fault, clock, life: 0, machine, kept: 0, acts };
        node.restart(dice, 0)?;
        Ok(node)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    pub(crate) fn known(&self) -> Result<&Known, Failure> {
        self.machine.as_ref().map(|machine| machine.known()).ok_or(DOWN)
    }

    pub(crate) fn ask(&mut self, real: u64) -> Result<Ask, Failure> {
        let now = self.clock.read(real);
        Ok(self.machine()?.ask(now))
    }

    /// What an answer brings; `None` if it is not one to take.
    pub(crate) fn news(&mut self, answer: &Answer) -> Result<Option<Vec<Entry>>, Failure> {
        Ok(self.machine()?.news(answer).ok().map(<[Entry]>::to_vec))
    }

    pub(crate) fn take(
        &mut self,
        answer: &Answer,
        real: u64,
    ) -> Result<Result<Freshness, AnswerFault>, Failure> {
        let now = self.clock.read(real);
        Ok(self.machine()?.take(answer, now))
    }

    /// Makes durable what an answer brings.
    pub(crate) fn keep(&mut self, news: &[Entry]) -> Result<(), Failure> {
        if !news.is_empty() {
            let bytes: Vec<u8> = news.iter().flat_map(Entry::to_bytes).collect();
            self.journal.disk.replace(&page(self.kept), &bytes)?;
            self.kept += news.len() as u64;
        }
        Ok(())
    }

    /// Judges an action; the receipt of one that may happen has its place then, and is not durable.
    pub(crate) fn judge(
        &mut self,
        (number, token): (u64, &Token),
        (tool, tier): (u8, Tier),
        real: u64,
    ) -> Result<Judged, Failure> {
        let allowed = match self.fault {
            Fault::Wider => token.scope().is_some_and(|scope| scope.allows(tool, tier)),
            _ => token.allows(tool, tier),
        };
        let (true, Some(lineage)) = (allowed, token.lineage()) else { return Ok(Judged::Outside) };
        let now = self.clock.read(real);
        let leave = match self.machine()?.judge(&lineage, tier, now) {
            Ok(leave) => leave,
            Err(why) => return Ok(Judged::Refused(why)),
        };
        let receipt = permitted(real, named(number), tier, leave.revision);
        let place = self.journal.append(receipt)?.index;
        let act = Act { token: token.clone(), tool, tier, permitted: leave, place };
        self.acts.insert(number, act);
        Ok(Judged::Permitted(leave.revision))
    }

    /// Makes the receipt of an action durable.
    pub(crate) fn sync(&mut self, number: u64) -> Result<(), Failure> {
        match self.acts.get(&number) {
            Some(act) => self.journal.commit(act.place),
            None => Ok(()),
        }
    }

    /// Whether the effect of an action starts, which is asked once.
    pub(crate) fn starts(&mut self, number: u64, real: u64) -> Option<(Act, bool)> {
        let act = self.acts.remove(&number)?;
        let starts = act.permitted.may_start(self.fault, self.clock.read(real));
        Some((act, starts))
    }

    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        self.life += 1;
        self.machine = None;
        self.acts.clear();
        self.journal.crash(dice);
    }

    /// Starts again with what it kept; how often each action has a receipt.
    pub(crate) fn restart(
        &mut self,
        dice: &mut Dice,
        real: u64,
    ) -> Result<BTreeMap<Digest, u64>, Failure> {
        let mut receipts = BTreeMap::new();
        for signed in self.journal.open()? {
            if let (true, Some(action)) =
                (signed.receipt().permits(), signed.receipt().inputs_digest)
            {
                *receipts.entry(action).or_default() += 1;
            }
        }
        let mut kept = Vec::new();
        for name in self.journal.disk.list(Path::new(KEPT))? {
            let bytes = self.journal.disk.read(&Path::new(KEPT).join(name))?;
            let (pages, _) = bytes.as_chunks::<{ Entry::BYTES }>();
            kept.extend(pages.iter().filter_map(|bytes| Entry::from_bytes(bytes)));
        }
        self.kept = kept.len() as u64;
        let known = folded(&kept).map_err(|_| Failure::Violated {
            at: real,
            what: "what a node kept does not fold".to_owned(),
        })?;
        let life = Life(Digest::of(&dice.next().to_le_bytes()));
        self.machine = Some(start(self.fault, known, life));
        Ok(receipts)
    }

    fn machine(&mut self) -> Result<&mut Box<dyn Machine>, Failure> {
        self.machine.as_mut().ok_or(DOWN)
    }
}

/// What was said of an action.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judged {
    /// At this control revision.
    Permitted(u64),
    /// The capability doesn't allow it, whether it is in force or not.
    Outside,
    Refused(Refused),
}

/// The action that a receipt is of.
pub(crate) fn named(number: u64) -> Digest {
    Digest::of_parts(&[b"sim-act-1", &number.to_le_bytes()])
}

const DOWN: Failure = Failure::Wrong("a node that is down");

fn page(kept: u64) -> PathBuf {
    Path::new(KEPT).join(format!("{kept:016x}"))
}
