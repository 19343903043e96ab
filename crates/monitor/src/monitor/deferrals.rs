//! Calls that wait for context, and what becomes of them (row A4).
//!
//! The adversary gains by order: a call that runs before the one that it rests on, on context that is not there
//! yet, after its time, for somebody else, or twice because a crash came between. What is deferred is judged
//! again by one thread at a time in the order in which it was asked; what follows has a receipt before anyone
//! is told; time alone never permits.

use std::sync::{Arc, Mutex};

use tipstaff_core::{Action, Digest, Millis};
use tipstaff_identity::Process;

use super::admit::{After, Answer, Asked, Held, Law, Runs, Why};
use super::{Member, Monitor, ambiguous, lock};
use crate::deferral::Links;
use crate::judge::{Answered, Barred};
use crate::permit::Refusal;
use crate::queue::{Awaits, Hold, HoldState, Missing, Waiter};
use crate::sessions::{Review, Session};

#[cfg(test)]
mod tests;

/// Whether the same call of the same agent is deferred already.
#[derive(Debug)]
pub(super) enum Earlier {
    Nothing,
    /// It is, and somebody waits for it, or it is judged just now.
    Waits(u64, Held),
    /// It was, and is out of the queue: whoever has it judges it.
    Deferred(After, Box<Hold>),
}

/// Whether a call can wait for context.
#[derive(Debug)]
pub(super) enum Suspends {
    /// None does here.
    Not,
    Until(Millis),
    /// The same call waits for a person already.
    Same(u64, Held),
    /// As many wait as may.
    Crowded(u64),
}

/// A deferred call that is about to be judged again.
struct Claim {
    member: Arc<Member>,
    asked: Asked,
    runs: Runs,
    /// The door's request that it would run for.
    number: u64,
}

impl Monitor {
    /// Judges the deferred calls of a session again if something changed that they may have waited for.
    pub(super) fn review_if_due(&self, session: &Arc<Mutex<Session>>) {
        let due = lock(session).review == Review::Due;
        if due {
            self.review(session);
        }
    }

    /// Judges all deferred calls again: what is in force has changed.
    pub(super) fn review_all(&self) {
        let sessions = lock(&self.queue).deferring();
        for session in sessions {
            self.review(&session);
        }
    }

    /// Judges the deferred calls of a session again, in the order in which they were asked.
    pub(super) fn review(&self, session: &Arc<Mutex<Session>>) {
        {
            let mut session = lock(session);
            if matches!(session.review, Review::Busy | Review::Again) {
                // INVARIANT: one thread at a time, or a later call could overtake an earlier one.
                session.review = Review::Again;
                return;
            }
            session.review = Review::Busy;
        }
        loop {
            self.review_once(session);
            let mut session = lock(session);
            if session.review != Review::Again {
                session.review = Review::Idle;
                return;
            }
            session.review = Review::Busy;
        }
    }

    fn review_once(&self, session: &Arc<Mutex<Session>>) {
        // What is paused is not refused for it: it is looked at again when everything goes on.
        if self.is_paused() {
            return;
        }
        let order = lock(&self.queue).deferred_of(session);
        for of in order {
            let Some(claim) = self.claim(of, session) else { continue };
            let after = After { hold: of, approval: None, why: Why::Known(claim.runs) };
            let answer = self.admit_after(&claim.member, &claim.asked, after);
            self.conclude(of, session, &claim, answer);
        }
    }

    /// Takes a deferred call in hand. From here on nobody else judges or ends it.
    fn claim(&self, of: Digest, session: &Arc<Mutex<Session>>) -> Option<Claim> {
        let now = self.now();
        let mut queue = lock(&self.queue);
        let hold = queue.get_mut(of)?;
        let Awaits::Context(missing) = &hold.awaits else { return None };
        if !matches!(hold.state, HoldState::Waiting | HoldState::Ready) || hold.expires <= now {
            return None;
        }
        let depends_on = missing.depends_on.clone();
        // Whom it was asked for is proved once more: a door whose client has ended runs nothing.
        let waiter = hold.waiters.iter().rev().find(|waiter| is_there(waiter));
        let found = match (waiter, &hold.asker) {
            (Some(waiter), _) => {
                Some((Arc::clone(&waiter.member), Runs::Now, waiter.ticket, waiter.number))
            }
            (None, Some(asker)) => Some((Arc::clone(asker), Runs::Later, None, 0)),
            (None, None) => None,
        };
        let asked = |ticket| Asked {
            ticket,
            depends_on: depends_on.clone(),
            ..Asked::of(hold.action.clone())
        };
        if let Some((member, runs, ticket, number)) = found {
            let asked = asked(ticket);
            hold.state = HoldState::Answering;
            return Some(Claim { member, asked, runs, number });
        }
        // After a restart nobody knows what its server lists: what can be said without that is said.
        let (asked, member) = (asked(None), Arc::new(Member::absent(hold)));
        drop(queue);
        let bar = lock(session).deferrals.bar(&Links::of(&asked.action, &asked.depends_on));
        let mut queue = lock(&self.queue);
        let hold = queue.get_mut(of)?;
        if !matches!(bar, Some(bar) if bar != Barred::DependsOn) {
            hold.state = HoldState::Ready;
            return None;
        }
        hold.state = HoldState::Answering;
        Some(Claim { member, asked, runs: Runs::Later, number: 0 })
    }

    /// Tells whoever waits what came of it. What waits on is back in the queue already.
    fn conclude(&self, of: Digest, session: &Arc<Mutex<Session>>, claim: &Claim, answer: Answer) {
        if matches!(&answer, Answer::Held(held) if held.receipt == of) {
            let came = |hold: &mut Hold| {
                hold.state == HoldState::Ready && hold.waiters.iter().any(is_there)
            };
            // Somebody asked for it while nobody seemed to.
            let came = lock(&self.queue).get_mut(of).is_some_and(came);
            if came {
                lock(session).review = Review::Again;
            }
            return;
        }
        let Some(hold) = lock(&self.queue).take(of) else { return };
        let is_it = |waiter: &Waiter| {
            claim.runs == Runs::Now
                && waiter.member.id == claim.member.id
                && waiter.number == claim.number
        };
        let (mut chosen, others): (Vec<Waiter>, Vec<Waiter>) =
            hold.waiters.into_iter().partition(is_it);
        match answer {
            Answer::Granted(granted) => match chosen.pop() {
                Some(waiter) => {
                    (waiter.then)(Answer::Granted(granted));
                    for other in others {
                        let text = "The same call was asked for again, and ran once, there.";
                        (other.then)(Answer::Refused(Refusal::about(of, text)));
                    }
                }
                // It was given up meanwhile. A ledger that can't take it has stopped.
                None => {
                    let _ = self.append_outcome(session, granted.receipt, ambiguous());
                }
            },
            Answer::Held(held) => {
                for waiter in chosen.into_iter().chain(others) {
                    (waiter.then)(Answer::Held(held.clone()));
                    self.wait_for(held.receipt, waiter);
                }
            }
            refused @ Answer::Refused(_) => {
                for waiter in chosen.iter().chain(&others) {
                    (waiter.then)(refused.clone());
                }
            }
        }
    }

    /// The same call, if it is deferred. It is taken out of the queue if nobody waits for it.
    pub(super) fn earlier(&self, law: &Law<'_>, member: &Member, action: &Action) -> Earlier {
        let mut queue = lock(&self.queue);
        let Some(hold) = queue.same_deferred(&member.agent, action) else {
            return Earlier::Nothing;
        };
        let (of, index) = (hold.receipt, hold.index);
        let is_waited = hold.state == HoldState::Answering || hold.waiters.iter().any(is_there);
        if is_waited || law.standing.paused {
            return Earlier::Waits(index, hold.into());
        }
        let why = match hold.expires <= self.now() {
            true => Why::Answered(Answered::DeferralExpired),
            false => Why::Known(Runs::Now),
        };
        // INVARIANT: whoever takes it out of the queue judges it, so that it runs once.
        match queue.take(of) {
            Some(hold) => {
                Earlier::Deferred(After { hold: of, approval: None, why }, Box::new(hold))
            }
            None => Earlier::Nothing,
        }
    }

    /// Whether a call of a session can be deferred.
    pub(super) fn suspends(
        &self,
        law: &Law<'_>,
        session: &Session,
        (member, action): (&Member, &Action),
        now: Millis,
    ) -> Suspends {
        let Some(wait) = law.standing.deferral_ms() else { return Suspends::Not };
        let queue = lock(&self.queue);
        if let Some(hold) = queue.same(&member.agent, action) {
            return Suspends::Same(hold.index, hold.into());
        }
        let waiting = session.deferrals.waiting() as u64;
        let most = law.standing.config.deferrals_max;
        if waiting >= most || queue.room(&member.agent).is_err() {
            return Suspends::Crowded(most.min(waiting));
        }
        Suspends::Until(Millis(now.0.saturating_add(wait)))
    }

    /// Leaves a deferred call where it is, with what is missing now.
    pub(super) fn waits_on(
        &self,
        of: Digest,
        taken: Option<Box<Hold>>,
        state: HoldState,
        missing: Missing,
    ) -> (u64, Answer) {
        let mut queue = lock(&self.queue);
        if let Some(hold) = taken {
            queue.insert(*hold);
        }
        let Some(hold) = queue.get_mut(of) else {
            let text = "This call was answered meanwhile: repeat it.";
            return (0, Answer::Refused(Refusal::about(of, text)));
        };
        hold.state = state;
        if state == HoldState::Waiting {
            hold.awaits = Awaits::Context(missing);
        }
        (hold.index, Answer::Held((&*hold).into()))
    }
}

/// Whether the client that a door acts for still lives. A network client's door goes with its connection.
fn is_there(waiter: &Waiter) -> bool {
    waiter.member.client.is_none_or(Process::lives)
}
