//! Where actions that are not MCP are judged, and how their ends get back to them.
//!
//! The adversary is an agent that settles what was never permitted, or settles twice, or never: a permit
//! waits here, used up, for one outcome; what stays out too long becomes ambiguous. What is done with a
//! permit here is up to the caller, and the receipts say so.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Digest, Verdict};
use tipstaff_identity::Peer;
use tipstaff_monitor::{Ended, Member, Monitor, Refusal, Running};

use super::session::Handle;
use crate::http::Credential;

/// Permitted actions without an outcome at a time.
const OPEN_MAX: usize = 4096;
/// Doors, one for each session and server, at a time. Beyond them the one goes that was not used for the
/// longest time.
const DOORS_MAX: usize = 256;
/// How long a session without open actions keeps its doors. A call that waits for a person is given up
/// with the last of them.
const IDLE: Duration = Duration::from_secs(3600);
/// Settled actions that are remembered as such.
const SETTLED_KEPT: usize = 4096;
/// Time between looks for what stayed out too long.
const SWEEP: Duration = Duration::from_secs(1);

/// Whoever judges.
pub(crate) trait Desk: Send + Sync {
    /// Judges one action of a session, which depends on the calls of these receipts.
    fn judge(&self, whose: &Whose, action: Action, depends_on: &[Digest]) -> Result<Judged, Busy>;
    /// Takes the end of a permitted action, once. A principal ends its own alone.
    fn settle(&self, receipt: Digest, by: Option<Credential>, ended: Ended<'_>) -> Settled;
    /// Ends what stayed out too long.
    fn sweep(&self);
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// That of whoever has the token and this handle.
    Session(Handle),
    /// That of the principal who proves itself so, and perhaps presents a capability.
    Principal(Credential, Option<Arc<str>>),
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(handle) => f.write_str(handle.as_str()),
            Self::Principal(Credential::Key(key), _) => key.fmt(f),
            Self::Principal(own, _) => own.fmt(f),
        }
    }
}

/// What was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The caller may do exactly this.
    Permitted { verdict: Verdict, receipt: Digest, rule: Option<String>, action: Action },
    /// The caller may not.
    Refused(Refusal),
}

/// Too much is open; nothing was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is recorded.
    Now,
    /// There is one already.
    Before,
    /// Nothing of this receipt waits for one.
    Unknown,
    /// The log can't take it.
    Unrecorded,
}

/// The monitor's own desk.
#[derive(Debug)]
pub(crate) struct MonitorDesk {
    monitor: Arc<Monitor>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    doors: HashMap<(Whose, String), DoorKept>,
    open: HashMap<Digest, Open>,
    settled: VecDeque<Digest>,
    swept: Instant,
}

#[derive(Debug)]
struct DoorKept {
    member: Arc<Member>,
    used: Instant,
}

#[derive(Debug)]
struct Open {
    member: Arc<Member>,
    whose: Whose,
    running: Running,
    since: Instant,
}

impl MonitorDesk {
    pub(crate) fn new(monitor: Arc<Monitor>) -> Self {
        let state = State {
            doors: HashMap::new(),
            open: HashMap::new(),
            settled: VecDeque::new(),
            swept: Instant::now(),
        };
        Self { monitor, state: Mutex::new(state) }
    }

    /// The door of a session to a server, joined on first use.
    fn door(&self, whose: &Whose, server: &str) -> Result<Result<Arc<Member>, Refusal>, Busy> {
        let mut state = self.state();
        if state.open.len() >= OPEN_MAX {
            return Err(Busy);
        }
        let key = (whose.clone(), server.to_owned());
        if let Some(door) = state.doors.get_mut(&key) {
            door.used = Instant::now();
            return Ok(Ok(Arc::clone(&door.member)));
        }
        let left = match state.doors.len() {
            0..DOORS_MAX => None,
            _ => Some(state.longest_unused().ok_or(Busy)?),
        };
        let peer = Peer {
            // The caller has the home's token: on this machine that is its owner.
            instance: format!("network:api:{whose}"),
            service: "api".to_owned(),
            cwd: None,
            client: None,
            ..Peer::of_process(std::process::id(), rustix::process::getuid().as_raw())
        };
        let joined = match whose {
            Whose::Session(_) => self.monitor.join(&peer, None, server, Door::Api),
            Whose::Principal(own, token) => {
                let brought = (&own.proved(), token.as_deref());
                self.monitor.join_network(&peer, brought, server, Door::Api)
            }
        };
        if let Ok(member) = &joined {
            let member = Arc::clone(member);
            state.doors.insert(key, DoorKept { member, used: Instant::now() });
        }
        drop(state);
        if let Some(member) = left {
            self.leave(&member);
        }
        Ok(joined)
    }

    fn leave(&self, member: &Member) {
        // A log that can't take it has stopped, and recovery writes the same.
        let _ = self.monitor.leave(member);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves tables that are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk for MonitorDesk {
    fn judge(&self, whose: &Whose, action: Action, depends_on: &[Digest]) -> Result<Judged, Busy> {
        let member = match self.door(whose, action.server())? {
            Ok(member) => member,
            Err(refusal) => return Ok(Judged::Refused(refusal)),
        };
        match self.monitor.admit_depending(&member, action, depends_on) {
            Err(refusal) => Ok(Judged::Refused(refusal)),
            Ok(permit) => {
                let (verdict, receipt) = (permit.verdict(), permit.receipt());
                let rule = permit.rule().map(str::to_owned);
                let action = permit.action().clone();
                let (whose, since) = (whose.clone(), Instant::now());
                let open = Open { member, whose, running: permit.start(), since };
                self.state().open.insert(receipt, open);
                Ok(Judged::Permitted { verdict, receipt, rule, action })
            }
        }
    }

    fn settle(&self, receipt: Digest, by: Option<Credential>, ended: Ended<'_>) -> Settled {
        let found = {
            let mut state = self.state();
            let is_anothers = |open: &Open| match (&by, &open.whose) {
                (Some(by), Whose::Principal(own, _)) => by != own,
                (Some(_), Whose::Session(_)) => true,
                (None, _) => false,
            };
            if state.open.get(&receipt).is_some_and(is_anothers) {
                return Settled::Unknown;
            }
            let found = state.open.remove(&receipt);
            if found.is_some() {
                state.remember(receipt);
            } else if state.settled.contains(&receipt) {
                return Settled::Before;
            }
            found
        };
        let Some(Open { member, running, .. }) = found else { return Settled::Unknown };
        match self.monitor.settle(&member, running.settle(ended)) {
            Ok(()) => Settled::Now,
            Err(_) => Settled::Unrecorded,
        }
    }

    fn sweep(&self) {
        let (late, idle) = {
            let mut state = self.state();
            if state.swept.elapsed() < SWEEP {
                return;
            }
            state.swept = Instant::now();
            state.overdue(self.monitor.settings().call_timeout)
        };
        // A permit that is dropped settles itself as ambiguous.
        drop(late);
        for member in idle {
            self.leave(&member);
        }
    }
}

impl State {
    fn remember(&mut self, receipt: Digest) {
        self.settled.push_back(receipt);
        if self.settled.len() > SETTLED_KEPT {
            self.settled.pop_front();
        }
    }

    /// What stayed out too long, and the doors that nobody uses.
    fn overdue(&mut self, timeout: Duration) -> (Vec<Open>, Vec<Arc<Member>>) {
        let late: Vec<Digest> = self
            .open
            .iter()
            .filter(|(_, open)| open.since.elapsed() >= timeout)
            .map(|(receipt, _)| *receipt)
            .collect();
        for receipt in &late {
            self.remember(*receipt);
        }
        let late = late.iter().filter_map(|receipt| self.open.remove(receipt)).collect();
        let busy = self.busy();
        let idle: Vec<(Whose, String)> = self
            .doors
            .iter()
            .filter(|(_, door)| door.used.elapsed() >= IDLE && !busy.contains(&door.id()))
            .map(|(key, _)| key.clone())
            .collect();
        let idle = idle.iter().filter_map(|key| self.doors.remove(key));
        (late, idle.map(|door| door.member).collect())
    }

    /// Takes the door out that was not used for the longest time, of those that nothing is open at.
    fn longest_unused(&mut self) -> Option<Arc<Member>> {
        let busy = self.busy();
        let free = self.doors.iter().filter(|(_, door)| !busy.contains(&door.id()));
        let key = free.min_by_key(|(_, door)| door.used)?.0.clone();
        self.doors.remove(&key).map(|door| door.member)
    }

    /// The doors that something is open at.
    fn busy(&self) -> HashSet<*const Member> {
        self.open.values().map(|open| Arc::as_ptr(&open.member)).collect()
    }
}

impl DoorKept {
    fn id(&self) -> *const Member {
        Arc::as_ptr(&self.member)
    }
}
