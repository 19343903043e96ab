//! What judges at a node: the product's code, and for tests the same with one thing broken.
//!
//! A simulator that finds nothing proves nothing. Each fault here is one that a hurried hand could make, and each has
//! to be found.

use std::collections::{BTreeMap, BTreeSet};

use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::{
    Answer, AnswerFault, Ask, BOUND_MS, Entry, EntryFault, Follower, Freshness, Known, Lease,
    Leave, Life, Lineage, NotInForce, Reading, Refused,
};

macro_rules! faults {
    ($($(#[$meta:meta])* $fault:ident = $word:literal,)+) => {
        /// What is broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$meta])* $fault,)+ }

        impl Fault {
            /// All of them, [`Fault::Nothing`] first.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$fault => $word,)+ }
            }
        }
    };
}

faults! {
    /// Nothing is.
    Nothing = "nothing",
    /// A node doesn't ask how fresh its knowledge is.
    Stale = "stale",
    /// A confirmation counts from when the answer came.
    FromArrival = "from-arrival",
    /// A node forgets at a restart what was revoked.
    Forgets = "forgets",
    /// Only the capability itself is looked up, not what it derives from.
    LeafOnly = "leaf-only",
    /// A node that learns that it is behind goes on with what was confirmed before.
    Behind = "behind",
    /// An answer to an earlier life of the node is taken.
    EarlierLife = "earlier-life",
    /// Clocks are taken for exact.
    NoDrift = "no-drift",
    /// An effect starts however long ago it was permitted.
    LateStart = "late-start",
    /// The scope of a capability is what it says, whatever it derives from.
    Wider = "wider",
    /// An effect starts before its receipt is durable.
    EffectFirst = "effect-first",
    /// The store gives a receipt, and tells its nodes, before the order is durable.
    EarlyReceipt = "early-receipt",
    /// A node takes what it learns before it has kept it.
    Unkept = "unkept",
}

/// What a node asks before and after an action's receipt.
pub(crate) trait Machine {
    fn ask(&mut self, now: Reading) -> Ask;
    fn news<'a>(&self, answer: &'a Answer) -> Result<&'a [Entry], AnswerFault>;
    fn take(&mut self, answer: &Answer, now: Reading) -> Result<Freshness, AnswerFault>;
    fn judge(&self, lineage: &Lineage, tier: Tier, now: Reading) -> Result<Permitted, Refused>;
    fn known(&self) -> &Known;
}

/// What the effect's start is asked of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permitted {
    pub(crate) revision: u64,
    /// `None` where a fault didn't ask.
    leave: Option<Leave>,
}

impl Permitted {
    pub(crate) fn may_start(&self, fault: Fault, now: Reading) -> bool {
        fault == Fault::LateStart || self.leave.is_none_or(|leave| leave.may_start(now))
    }
}

/// A node of the product, started with what it kept.
pub(crate) fn start(fault: Fault, kept: Known, life: Life) -> Box<dyn Machine> {
    match fault {
        Fault::Stale
        | Fault::FromArrival
        | Fault::Forgets
        | Fault::LeafOnly
        | Fault::Behind
        | Fault::NoDrift => Box::new(Broken::start(fault, kept, life)),
        Fault::EarlierLife => Box::new(Follower::start(kept, Life(Digest::ZERO))),
        _ => Box::new(Follower::start(kept, life)),
    }
}

/// The product's fold of what was kept.
pub(crate) fn folded<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Known, EntryFault> {
    let mut known = Known::default();
    for entry in entries {
        known.apply(entry)?;
    }
    Ok(known)
}

impl Machine for Follower {
    fn ask(&mut self, now: Reading) -> Ask {
        Self::ask(self, now)
    }

    fn news<'a>(&self, answer: &'a Answer) -> Result<&'a [Entry], AnswerFault> {
        Self::news(self, answer)
    }

    fn take(&mut self, answer: &Answer, _: Reading) -> Result<Freshness, AnswerFault> {
        Self::take(self, answer)
    }

    fn judge(&self, lineage: &Lineage, tier: Tier, now: Reading) -> Result<Permitted, Refused> {
        let leave = Self::judge(self, lineage, tier, now)?;
        Ok(Permitted { revision: leave.revision(), leave: Some(leave) })
    }

    fn known(&self) -> &Known {
        Self::known(self)
    }
}

/// The product's node with a wrong rule around it.
struct Broken {
    fault: Fault,
    inner: Follower,
    /// What each open request had, and when it was sent.
    asked: BTreeMap<u64, (u64, Reading)>,
    /// What was revoked when the node started.
    forgotten: BTreeSet<Digest>,
    /// When what was confirmed last was asked for.
    since: Option<Reading>,
    lease: Option<Lease>,
}

impl Broken {
    fn start(fault: Fault, kept: Known, life: Life) -> Self {
        let inner = Follower::start(kept, life);
        let forgotten = BTreeSet::new();
        let mut broken =
            Self { fault, inner, asked: BTreeMap::new(), forgotten, since: None, lease: None };
        if fault == Fault::Forgets {
            broken.forgotten = broken.inner.known().revoked().copied().collect();
        }
        broken
    }

    /// Whether the wrong rule lets an action pass that the right one refuses.
    fn passes(&self, why: Refused, lineage: &Lineage, now: Reading) -> bool {
        let age = self.since.and_then(|since| now.0.checked_sub(since.0));
        match (self.fault, why) {
            (Fault::Stale, Refused::Stale) => true,
            (Fault::Forgets, Refused::NotInForce(NotInForce::Revoked { id })) => {
                self.forgotten.contains(&id)
            }
            (Fault::LeafOnly, Refused::NotInForce(NotInForce::Revoked { id })) => {
                lineage.ids().last() != Some(&id)
            }
            (Fault::Behind, Refused::Stale) => self.lease.is_some_and(|lease| lease.holds(now)),
            (Fault::NoDrift, Refused::Stale) => {
                age.is_some_and(|age| age < BOUND_MS)
                    && matches!(self.inner.freshness(), Freshness::Confirmed(_))
            }
            _ => false,
        }
    }
}

impl Machine for Broken {
    fn ask(&mut self, now: Reading) -> Ask {
        let ask = self.inner.ask(now);
        self.asked.insert(ask.round, (ask.have.revision, now));
        ask
    }

    fn news<'a>(&self, answer: &'a Answer) -> Result<&'a [Entry], AnswerFault> {
        self.inner.news(answer)
    }

    fn take(&mut self, answer: &Answer, now: Reading) -> Result<Freshness, AnswerFault> {
        let asked = self.asked.get(&answer.round).copied();
        let taken = match (self.fault, asked) {
            (Fault::FromArrival, Some((have, _))) if self.inner.news(answer).is_ok() => {
                let again = self.inner.ask(now);
                let mut answer = Answer { round: again.round, ..answer.clone() };
                let known = again.have.revision.saturating_sub(have);
                let known = usize::try_from(known).unwrap_or(usize::MAX).min(answer.entries.len());
                answer.entries.drain(..known);
                self.inner.take(&answer)
            }
            _ => self.inner.take(answer),
        };
        if let (Ok(Freshness::Confirmed(lease)), Some((_, sent))) = (taken, asked) {
            (self.lease, self.since) = (Some(lease), Some(sent));
        }
        taken
    }

    fn judge(&self, lineage: &Lineage, tier: Tier, now: Reading) -> Result<Permitted, Refused> {
        match Machine::judge(&self.inner, lineage, tier, now) {
            Err(why) if self.passes(why, lineage, now) => {
                let stale = tier >= Tier::T3 && matches!(why, Refused::NotInForce(_));
                let fresh = matches!(
                    self.inner.freshness(),
                    Freshness::Confirmed(lease) if lease.holds(now)
                );
                if stale && !fresh {
                    return Err(Refused::Stale);
                }
                Ok(Permitted { revision: self.inner.known().head().revision, leave: None })
            }
            judged => judged,
        }
    }

    fn known(&self) -> &Known {
        self.inner.known()
    }
}
