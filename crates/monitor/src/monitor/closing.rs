//! The ends of doors and sessions.
//!
//! The adversary is whoever just goes away: what a door left open is ambiguous, and a session without
//! doors ends with a receipt that closes its chain, unless a call of it still waits for a person or its
//! client is a process that comes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipstaff_core::receipt::{Door, Kind};
use tipstaff_core::{Digest, Tier};
use tipstaff_identity::Process;
use tipstaff_ledger::{Draft, LedgerError};

use super::{Member, Monitor, ambiguous, lock};
use crate::sessions::{Lasting, OpenVerdict, Session};

/// Longest that a session without doors waits for its client's process.
const LASTING_MAX: Duration = Duration::from_secs(24 * 3600);

impl Monitor {
    /// A door is gone: what it left open is ambiguous, and its session ends with its last door.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn leave(&self, member: &Member) -> Result<(), LedgerError> {
        lock(&self.queue).forget(|waiter| waiter.member.id == member.id);
        let left: Vec<Digest> = {
            let mut session = lock(&member.session);
            session.doors = session.doors.saturating_sub(1);
            session.alone_since = Instant::now();
            let open = session.open.iter().filter(|(_, open)| open.member == member.id);
            open.map(|(hash, _)| *hash).collect()
        };
        for of in left {
            self.append_outcome(&member.session, of, ambiguous())?;
        }
        Ok(())
    }

    /// Whether somebody who is not connected just now counts on this monitor.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        let sessions = lock(&self.sessions);
        !lock(&self.queue).is_empty() || sessions.values().any(|session| lasts(&lock(session)))
    }

    /// Sessions of which a call waits for a person.
    pub(super) fn sessions_with_holds(&self) -> HashSet<*const ()> {
        let queue = lock(&self.queue);
        queue.list().into_iter().map(|hold| Arc::as_ptr(&hold.session).cast()).collect()
    }

    /// Closes the sessions that nobody comes back to.
    pub(super) fn close_abandoned(&self, grace: Duration) -> Result<(), LedgerError> {
        // Before the sessions are locked: a session is locked before the queue, never after it.
        let held = self.sessions_with_holds();
        let mut sessions = lock(&self.sessions);
        let mut closed = Vec::new();
        for (agent, shared) in sessions.iter() {
            let mut session = lock(shared);
            if session.closed
                || session.doors > 0
                || session.alone_since.elapsed() < grace
                || held.contains(&Arc::as_ptr(shared).cast())
                || (!grace.is_zero() && lasts(&session))
            {
                continue;
            }
            let left: Vec<(Digest, OpenVerdict)> = session.open.drain().collect();
            for (of, open) in left {
                let receipt = session.outcome(of, &open, ambiguous(), self.now());
                self.ledger.append(Draft { receipt, inputs: None })?;
            }
            let kind = ("session:close", Tier::T1);
            let receipt = session.receipt(Kind::Session, kind, Door::Monitor, self.now());
            self.ledger.append(Draft { receipt, inputs: None })?;
            session.closed = true;
            closed.push(agent.clone());
        }
        for agent in closed {
            sessions.remove(&agent);
        }
        Ok(())
    }
}

/// Whether a session goes on without doors, for as long as its client's process is there.
fn lasts(session: &Session) -> bool {
    session.lasting == Lasting::Client
        && session.alone_since.elapsed() < LASTING_MAX
        && session.client.is_some_and(Process::lives)
}
