//! Calls that wait, for a person or for context (row A4).
//!
//! The adversary is an agent that asks until somebody is tired, or that has a call run twice on one yes.
//! A call that is repeated while it waits is the same held call; their number is bounded; each is taken
//! out of the queue before it runs, and so runs once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Digest, Millis, Tier};
use tipstaff_identity::Process;

use crate::judge::{Answered, Offer};
use crate::monitor::{Answer, Member};
use crate::sessions::Session;

/// Most calls that wait in a home.
const HOLDS_MAX: usize = 1024;
/// Most calls of one agent that wait.
const AGENT_MAX: usize = 64;
/// Most doors that wait for one call.
const WAITERS_MAX: usize = 64;

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Hash of the verdict's receipt, which names the hold.
    pub(crate) receipt: Digest,
    pub(crate) index: u64,
    pub(crate) awaits: Awaits,
    pub(crate) action: Action,
    /// `inputs_digest` of the receipt.
    pub(crate) inputs_digest: Digest,
    pub(crate) policy_set: Digest,
    pub(crate) agent: String,
    pub(crate) service: String,
    pub(crate) class: String,
    pub(crate) tier: Tier,
    pub(crate) rule: Option<String>,
    /// The verdict's reason.
    pub(crate) reason: String,
    pub(crate) door: Door,
    /// Pseudonym of the requester's user.
    pub(crate) user: String,
    pub(crate) since: Millis,
    pub(crate) expires: Millis,
    pub(crate) session: Arc<Mutex<Session>>,
    /// Name of its chain.
    pub(crate) chain: String,
    /// The requester's process, where there is one on this machine.
    pub(crate) client: Option<Process>,
    /// The door that asked; a restart doesn't know it.
    pub(crate) asker: Option<Arc<Member>>,
    /// What a yes could cover besides it; a restart doesn't know it.
    pub(crate) offer: Option<Offer>,
    pub(crate) state: HoldState,
    pub(crate) waiters: Vec<Waiter>,
}

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// A person has to approve it.
    Person,
    /// More has to be known before it can be judged.
    Context(Missing),
}

/// What has to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The reason in its receipt.
    pub(crate) reason: String,
    /// Names of attributes.
    pub(crate) names: Vec<String>,
    /// Deferred calls that have to be over first.
    pub(crate) after: Vec<Digest>,
    /// The calls that its caller says it depends on.
    pub(crate) depends_on: Vec<Digest>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldState {
    /// Nobody has answered.
    Waiting,
    /// An answer is being recorded.
    Answering,
    /// Approved by this receipt; nobody waited for it then, so it runs when it is repeated.
    Approved(Digest),
    /// What it was deferred for may be known by now, and nobody waited for it then: it is judged when it is
    /// repeated.
    Ready,
}

/// A door that waits.
pub(crate) struct Waiter {
    pub(crate) member: Arc<Member>,
    /// The door's number of the request.
    pub(crate) number: u64,
    /// The caller's own name of the action.
    pub(crate) ticket: Option<Digest>,
    /// Hears the answer, after what else it waits for.
    pub(crate) then: Box<dyn Fn(Answer) + Send>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Why a call can't be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

/// All calls that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    holds: BTreeMap<Digest, Hold>,
}

impl Hold {
    /// Whether it waits for context.
    pub(crate) const fn is_deferred(&self) -> bool {
        matches!(self.awaits, Awaits::Context(_))
    }

    /// How it ends when nobody supplied in time what it waits for.
    pub(crate) const fn expired(&self) -> Answered {
        if self.is_deferred() { Answered::DeferralExpired } else { Answered::Expired }
    }

    /// How it ends when a person says no.
    pub(crate) const fn refused(&self) -> Answered {
        if self.is_deferred() { Answered::DeferralRefused } else { Answered::Refused }
    }

    /// How it ends when its requester is gone.
    pub(crate) const fn withdrawn(&self) -> Answered {
        if self.is_deferred() { Answered::DeferralWithdrawn } else { Answered::Withdrawn }
    }

    /// What an approval of it is worth by now.
    pub(crate) fn still_approved(&self, now: Millis, policy_set: Digest) -> Answered {
        match (now < self.expires, self.policy_set == policy_set) {
            (true, true) => Answered::Approved,
            (true, false) => Answered::PolicyChanged,
            (false, _) => Answered::Expired,
        }
    }
}

impl Queue {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Whether a call more of an agent may wait.
    pub(crate) fn room(&self, agent: &str) -> Result<(), Crowded> {
        let own = self.holds.values().filter(|hold| hold.agent == agent).count();
        if self.holds.len() < HOLDS_MAX && own < AGENT_MAX { Ok(()) } else { Err(Crowded) }
    }

    /// Adds a call, as many as recovery finds.
    pub(crate) fn insert(&mut self, hold: Hold) {
        self.holds.insert(hold.receipt, hold);
    }

    /// The same call of the same agent, held for a person.
    pub(crate) fn same(&self, agent: &str, action: &Action) -> Option<&Hold> {
        let mut holds = self.holds.values().filter(|hold| !hold.is_deferred());
        holds.find(|hold| hold.agent == agent && hold.action == *action)
    }

    /// The same call of the same agent, deferred.
    pub(crate) fn same_deferred(&self, agent: &str, action: &Action) -> Option<&Hold> {
        let mut holds = self.holds.values().filter(|hold| hold.is_deferred());
        holds.find(|hold| hold.agent == agent && hold.action == *action)
    }

    pub(crate) fn get_mut(&mut self, receipt: Digest) -> Option<&mut Hold> {
        self.holds.get_mut(&receipt)
    }

    /// The deferred calls of a session, in the order in which they were asked.
    pub(crate) fn deferred_of(&self, session: &Arc<Mutex<Session>>) -> Vec<Digest> {
        let holds = self.list().into_iter().filter(|hold| hold.is_deferred());
        holds.filter(|hold| Arc::ptr_eq(&hold.session, session)).map(|hold| hold.receipt).collect()
    }

    /// The sessions that have deferred calls.
    pub(crate) fn deferring(&self) -> Vec<Arc<Mutex<Session>>> {
        let mut sessions: Vec<Arc<Mutex<Session>>> = Vec::new();
        for hold in self.list().into_iter().filter(|hold| hold.is_deferred()) {
            if !sessions.iter().any(|known| Arc::ptr_eq(known, &hold.session)) {
                sessions.push(Arc::clone(&hold.session));
            }
        }
        sessions
    }

    /// Takes a call out: whoever has it runs it or ends it.
    pub(crate) fn take(&mut self, receipt: Digest) -> Option<Hold> {
        self.holds.remove(&receipt)
    }

    /// Whether a call was approved and waits to be repeated.
    pub(crate) fn is_approved(&self, receipt: Digest) -> bool {
        let state = self.holds.get(&receipt).map(|hold| hold.state);
        matches!(state, Some(HoldState::Approved(_)))
    }

    /// Takes a call out if it was approved.
    pub(crate) fn take_approved(&mut self, receipt: Digest) -> Option<(Hold, Digest)> {
        let HoldState::Approved(approval) = self.holds.get(&receipt)?.state else { return None };
        self.take(receipt).map(|hold| (hold, approval))
    }

    /// Calls that `which` names and nobody is answering just now.
    pub(crate) fn take_if(&mut self, which: impl Fn(&Hold) -> bool) -> Vec<Hold> {
        let found =
            self.holds.extract_if(.., |_, hold| hold.state != HoldState::Answering && which(hold));
        found.map(|(_, hold)| hold).collect()
    }

    /// Adds a door that waits for a call. It comes back if there is no such call or too many wait.
    pub(crate) fn wait(&mut self, receipt: Digest, waiter: Waiter) -> Result<(), Waiter> {
        match self.holds.get_mut(&receipt) {
            Some(hold) if hold.waiters.len() < WAITERS_MAX => {
                hold.waiters.push(waiter);
                Ok(())
            }
            _ => Err(waiter),
        }
    }

    /// Forgets doors that wait no more; the calls stay.
    pub(crate) fn forget(&mut self, which: impl Fn(&Waiter) -> bool) {
        for hold in self.holds.values_mut() {
            hold.waiters.retain(|waiter| !which(waiter));
        }
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<&Hold> {
        let mut holds: Vec<&Hold> = self.holds.values().collect();
        holds.sort_by_key(|hold| hold.index);
        holds
    }
}
