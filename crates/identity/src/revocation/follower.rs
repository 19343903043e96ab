//! One node that judges by the log of orders of a store that is not its own.
//!
//! The adversary holds news back, repeats old news, or lets the node believe that it is up to date. Freshness comes
//! from one thing alone: an answer to a request of this life of the node, and it counts from when that request was
//! sent, by the node's own clock. What was permitted says until when its effect may start.

use std::collections::VecDeque;

use tipstaff_core::{Digest, Tier};

use super::known::{Entry, Head, Known, Lineage, NotInForce};
use super::{ANSWER_ENTRIES_MAX, LEASE_MS};

/// Requests without an answer that are remembered.
const ASKED_MAX: usize = 16;

/// What the node's own clock shows, in milliseconds from any beginning. It is a clock that nobody sets and that goes on
/// while the machine sleeps (`CLOCK_BOOTTIME`), and never the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading(pub u64);

/// One life of a node, from start to end: at random, so that no answer to an earlier life is taken for one to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(pub Digest);

/// What a node asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Whose.
    pub life: Life,
    /// Counts up within a life.
    pub round: u64,
    /// What the node has.
    pub have: Head,
}

/// What the store answers: what the node lacks, and how far the store itself is. Only what is durable is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the request.
    pub life: Life,
    /// Of the request.
    pub round: u64,
    /// Entries after those that the node has: the first of them, if they are many.
    pub entries: Vec<Entry>,
    /// How far the store is.
    pub head: Head,
}

/// A time within which what was confirmed counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    since: Reading,
}

/// What a node knows of its own knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was confirmed in this life, or the store contradicted itself.
    Unconfirmed,
    /// The store is further than the node.
    Behind {
        /// How far the store is.
        revision: u64,
    },
    /// Everything is known that the store had when the request was sent.
    Confirmed(Lease),
}

/// That an action may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Leave {
    revision: u64,
    lease: Option<Lease>,
}

/// Why an action may not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The capability gives nothing.
    #[error(transparent)]
    NotInForce(#[from] NotInForce),
    /// What was revoked in the meantime is not known here.
    #[error("what was revoked lately is not known here: the store has not confirmed it in time")]
    Stale,
}

/// Why an answer changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Nobody asked, or not in this life, or a later answer came first.
    #[error("the answer is to no request that is open")]
    NotAsked,
    /// More entries than an answer has.
    #[error("the answer has more than {ANSWER_ENTRIES_MAX} entries")]
    TooLong,
    /// The store has less than it had. Nothing is confirmed any more.
    #[error("the store has lost entries that it had")]
    Lost,
    /// The store has other entries than it had. Nothing is confirmed any more.
    #[error("the store has other entries than it had")]
    Changed,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Follower {
    known: Known,
    life: Life,
    rounds: u64,
    asked: VecDeque<Asked>,
    freshness: Freshness,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    round: u64,
    have: u64,
    sent: Reading,
}

impl Answer {
    /// The answer of a store to a request. `after` are its durable entries after those that the node has.
    #[must_use]
    pub fn to(ask: &Ask, after: &[Entry], head: Head) -> Self {
        let entries = after.iter().take(ANSWER_ENTRIES_MAX).copied().collect();
        Self { life: ask.life, round: ask.round, entries, head }
    }
}

impl Lease {
    /// Whether it still counts. A clock that shows less than when it began has no say.
    #[must_use]
    pub const fn holds(self, now: Reading) -> bool {
        match now.0.checked_sub(self.since.0) {
            Some(age) => age < LEASE_MS,
            None => false,
        }
    }
}

impl Leave {
    /// What a monitor gives that is its own store: there, what is known is what there is.
    ///
    /// # Errors
    /// [`NotInForce`]
    pub fn of_own_store(known: &Known, lineage: &Lineage) -> Result<Self, NotInForce> {
        known.in_force(lineage)?;
        Ok(Self { revision: known.head().revision, lease: None })
    }

    /// The control revision at which it was judged.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the effect may start now. It is asked last, after everything that takes time.
    #[must_use]
    pub const fn may_start(&self, now: Reading) -> bool {
        match self.lease {
            Some(lease) => lease.holds(now),
            None => true,
        }
    }
}

impl Follower {
    /// A node that starts with what it has kept. It permits nothing of T3 and above before the store has answered.
    #[must_use]
    pub fn start(known: Known, life: Life) -> Self {
        let freshness = Freshness::Unconfirmed;
        Self { known, life, rounds: 0, asked: VecDeque::new(), freshness }
    }

    /// What it knows.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// What it knows of its own knowledge, whether or not that still counts.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The next request, which is sent at once or never.
    pub fn ask(&mut self, now: Reading) -> Ask {
        self.rounds = self.rounds.saturating_add(1);
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        let have = self.known.head();
        self.asked.push_back(Asked { round: self.rounds, have: have.revision, sent: now });
        Ask { life: self.life, round: self.rounds, have }
    }

    /// What an answer brings that is not known, so that it can be kept before it counts.
    ///
    /// # Errors
    /// [`AnswerFault::NotAsked`], [`AnswerFault::TooLong`]
    pub fn news<'a>(&self, answer: &'a Answer) -> Result<&'a [Entry], AnswerFault> {
        let asked = self.asked(answer)?;
        let known = self.known.head().revision;
        let skip = usize::try_from(known.saturating_sub(asked.have)).unwrap_or(usize::MAX);
        Ok(answer.entries.get(skip..).unwrap_or_default())
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// [`AnswerFault`]; then nothing is confirmed by it.
    pub fn take(&mut self, answer: &Answer) -> Result<Freshness, AnswerFault> {
        let (asked, news) = (self.asked(answer)?, self.news(answer)?);
        // Older requests would confirm less.
        self.asked.retain(|other| other.round > asked.round);
        if answer.head.revision < asked.have {
            return self.doubt(AnswerFault::Lost);
        }
        let reached = news.iter().fold(self.known.head(), Head::after);
        if reached.revision == answer.head.revision && reached.digest != answer.head.digest {
            return self.doubt(AnswerFault::Changed);
        }
        for entry in news {
            if self.known.apply(entry).is_err() {
                return self.doubt(AnswerFault::Changed);
            }
        }
        // Beyond the head that is told there can only be what an answer to an earlier request brought, which the
        // store wrote later.
        self.freshness = if reached.revision >= answer.head.revision {
            Freshness::Confirmed(Lease { since: asked.sent })
        } else {
            Freshness::Behind { revision: answer.head.revision }
        };
        Ok(self.freshness)
    }

    /// Judges an action of this tier with a capability.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn judge(&self, lineage: &Lineage, tier: Tier, now: Reading) -> Result<Leave, Refused> {
        self.known.in_force(lineage)?;
        let revision = self.known.head().revision;
        if tier < Tier::T3 {
            return Ok(Leave { revision, lease: None });
        }
        match self.freshness {
            Freshness::Confirmed(lease) if lease.holds(now) => {
                Ok(Leave { revision, lease: Some(lease) })
            }
            _ => Err(Refused::Stale),
        }
    }

    fn asked(&self, answer: &Answer) -> Result<Asked, AnswerFault> {
        if answer.entries.len() > ANSWER_ENTRIES_MAX {
            return Err(AnswerFault::TooLong);
        }
        let mine = self.asked.iter().find(|asked| asked.round == answer.round);
        match mine {
            Some(asked) if answer.life == self.life => Ok(*asked),
            _ => Err(AnswerFault::NotAsked),
        }
    }

    fn doubt(&mut self, fault: AnswerFault) -> Result<Freshness, AnswerFault> {
        self.freshness = Freshness::Unconfirmed;
        Err(fault)
    }
}

#[cfg(test)]
mod tests;
