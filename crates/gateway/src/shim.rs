//! One client, one server, and the monitor between them.
//!
//! The adversary is on either side: an agent that acts without asking or reuses an id, a server that
//! answers what nobody asked, twice, too much or never. Every request in flight stands in one table,
//! bounded, with its stage and its deadline; what isn't in the table is dropped and counted.

mod client;
mod clock;
mod listing;
mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tipstaff_core::receipt::Status;
use tipstaff_core::{Digest, Labels};
use tipstaff_monitor::{Answered, Ended, Held, Refusal, Waits};

use crate::answer::{self, Failure};
use crate::effect::{self, Filed};
use crate::judge::{Effect as _, Judge, Warrant as _};
use crate::message::Id;
use crate::pipe::{Pipe, PipeError};
use crate::request::{Draft, Envelope, Form};
use listing::Listing;

pub(crate) use server::Batch;

/// Most requests in flight in each direction.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;
/// Time for an answer to a request that was cancelled.
const CANCELLED_WAIT: Duration = Duration::from_secs(5);
/// Time beyond a question's own: its end is the monitor's to tell.
const HELD_SLACK: Duration = Duration::from_secs(30);
/// How often a client is told that its call still waits for a person.
const HELD_TOLD: Duration = Duration::from_secs(5);
/// Least time for an answer of the client: a person may have to read and decide.
const ASK_WAIT: Duration = Duration::from_secs(600);

/// Why a shim ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed its side.
    ClientGone,
    /// The server died, closed its side or stopped reading.
    ServerGone,
    /// A signal asked for it.
    Asked,
}

/// A verdict on a request of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) receipt: Digest,
    /// From asking the monitor to its answer; a person's time is not in it.
    pub(crate) took: Duration,
}

pub(crate) type Ends = Box<dyn Fn(End) + Send + Sync>;
pub(crate) type Verdicts = Box<dyn Fn(&Id, Judgement) + Send + Sync>;

/// Whoever is told what a shim does. They must not block.
pub(crate) struct Ears {
    /// Why it should end.
    pub(crate) ends: Ends,
    /// Each verdict on a request of the client, before anything that follows from it.
    pub(crate) verdicts: Verdicts,
}

impl Ears {
    /// Those to whom no verdict matters.
    pub(crate) fn of(ends: impl Fn(End) + Send + Sync + 'static) -> Self {
        Self { ends: Box::new(ends), verdicts: Box::new(|_, _| {}) }
    }
}

/// What a shim needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) server: String,
    pub(crate) receipt_in_meta: bool,
    pub(crate) call_timeout: Duration,
}

/// The shim.
pub(crate) struct Shim<J: Judge> {
    judge: J,
    terms: Terms,
    client: Pipe,
    server: Pipe,
    table: Mutex<Table<J>>,
    ears: Ears,
    complaints: AtomicU64,
}

struct Table<J: Judge> {
    serial: u64,
    ending: bool,
    /// Requests of the client.
    calls: HashMap<Id, Call<J::Effect>>,
    /// Requests of the server.
    asks: HashMap<Id, Call<J::Effect>>,
    listing: Listing,
    /// What results were found to hold, as the session knows.
    told: Labels,
}

struct Call<E> {
    serial: u64,
    form: Form,
    stage: Stage<E>,
    token: Option<Id>,
    /// When it is given up; `None` for what passes unjudged.
    until: Option<Instant>,
    cancelled: bool,
    /// What a person is asked, if one is.
    held: Option<Waiting>,
}

/// A call that waits for a person.
struct Waiting {
    /// The judge's number of the request.
    number: u64,
    text: String,
    /// When the client is told next that it still waits, and how often it was.
    next: Instant,
    told: i64,
}

/// Waits for a verdict.
struct Asking<J: Judge> {
    shim: Arc<Shim<J>>,
    side: Side,
    serial: u64,
    envelope: Envelope,
    since: Instant,
    /// How long judging took, where a person was asked after it.
    took: Option<Duration>,
}

impl<J: Judge> Answered<J::Warrant> for Asking<J> {
    fn held(&mut self, number: u64, held: &Held) -> Waits {
        self.took.get_or_insert(self.since.elapsed());
        self.shim.held(self.side, self.serial, &self.envelope.id, number, held)
    }

    fn judged(self: Box<Self>, answer: Result<J::Warrant, Refusal>) {
        let receipt = match &answer {
            Ok(permit) => Some(permit.receipt()),
            Err(refusal) => refusal.receipt,
        };
        if let Some(receipt) = receipt {
            let took = self.took.unwrap_or_else(|| self.since.elapsed());
            let judgement = Judgement { receipt, took };
            self.shim.tell_verdict(self.side, self.serial, &self.envelope.id, judgement);
        }
        self.shim.judged(self.side, self.serial, &self.envelope, answer);
    }
}

/// What ended, and calls with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Server,
    Session,
}

impl Over {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "The server has ended.",
            Self::Session => "The session has ended.",
        }
    }
}

enum Stage<E> {
    /// Waits for the review of the tool list.
    Held(Box<Draft>),
    /// The monitor was asked.
    Judging,
    /// Sent on with a permit.
    Running(E),
    /// Sent on unjudged.
    Passed,
    /// A tool list, whose answer is reviewed.
    ToolList(Pages),
}

/// Which part of a tool list was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    First,
    Later,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl<J: Judge> Table<J> {
    const fn of(&mut self, side: Side) -> &mut HashMap<Id, Call<J::Effect>> {
        match side {
            Side::Client => &mut self.calls,
            Side::Server => &mut self.asks,
        }
    }

    const fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

impl<J: Judge> Shim<J> {
    pub(crate) fn new(judge: J, terms: Terms, client: Pipe, server: Pipe, ears: Ears) -> Arc<Self> {
        let table = Table {
            serial: 0,
            ending: false,
            calls: HashMap::new(),
            asks: HashMap::new(),
            listing: Listing::default(),
            told: Labels::NONE,
        };
        let (table, complaints) = (Mutex::new(table), AtomicU64::new(0));
        Arc::new(Self { judge, terms, client, server, table, ears, complaints })
    }

    /// Whether nothing of the client's is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.table().calls.is_empty()
    }

    /// Ends the server's input.
    pub(crate) fn close_server(&self, limit: Duration) {
        self.server.close(limit);
    }

    /// Answers everything in flight with what ended and what became of it, and takes no more.
    pub(crate) fn fail_all(&self, over: Over) {
        let (calls, _asks) = {
            let mut table = self.table();
            table.ending = true;
            (std::mem::take(&mut table.calls), std::mem::take(&mut table.asks))
        };
        for (id, call) in calls {
            // INVARIANT: a call is marked as running before anything of it leaves, so that what is not was not sent.
            let became = match call.stage {
                Stage::Held(_) | Stage::Judging => "Nothing was done.",
                Stage::ToolList(_) => "Try again.",
                Stage::Running(_) | Stage::Passed => {
                    "It is not known whether the action had its effect."
                }
            };
            self.give_up(Side::Client, &id, call, &format!("{} {became}", over.as_str()));
        }
    }

    /// Gives up a request of the client's whose answer was lost on its way.
    pub(crate) fn lose(&self, id: &Id, text: &str) {
        let call = {
            let mut table = self.table();
            match table.calls.get(id).map(|call| &call.stage) {
                Some(Stage::Running(_) | Stage::Passed | Stage::ToolList(_)) => {
                    table.calls.remove(id)
                }
                _ => None,
            }
        };
        if let Some(call) = call {
            self.give_up(Side::Client, id, call, text);
        }
    }

    /// Reports why the shim should end.
    pub(crate) fn end(&self, end: End) {
        (self.ears.ends)(end);
    }

    fn table(&self) -> MutexGuard<'_, Table<J>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes to whoever asked.
    fn tell(&self, side: Side, frames: &str) {
        self.send(side, frames.as_bytes());
    }

    fn send(&self, side: Side, frames: &[u8]) {
        let sent = match side {
            Side::Client => self.client.send(frames),
            Side::Server => self.server.send(frames),
        };
        self.note_broken(side, sent);
    }

    fn note_broken(&self, side: Side, sent: Result<(), PipeError>) {
        if let Err(PipeError::Broken) = sent {
            self.end(match side {
                Side::Client => End::ClientGone,
                Side::Server => End::ServerGone,
            });
        }
    }

    /// Asks the monitor, and carries the action out if it permits.
    fn submit(self: &Arc<Self>, side: Side, serial: u64, draft: Draft) {
        let Draft { action, envelope } = draft;
        let depends_on = envelope.depends_on.clone();
        let asking = Asking {
            shim: Arc::clone(self),
            side,
            serial,
            envelope,
            since: Instant::now(),
            took: None,
        };
        self.judge.submit(action, &depends_on, Box::new(asking));
    }

    /// A person is asked: the call waits as long as the question stands.
    fn held(&self, side: Side, serial: u64, id: &Id, number: u64, held: &Held) -> Waits {
        let now = Instant::now();
        let mut table = self.table();
        let call = table.of(side).get_mut(id).filter(|call| call.serial == serial);
        let Some(call) = call.filter(|call| matches!(call.stage, Stage::Judging)) else {
            return Waits::No;
        };
        call.until = Some(now + left(held) + HELD_SLACK);
        let text = held.text.clone();
        // Told by the clock: this is the judge's thread, and the client may not be reading.
        call.held = Some(Waiting { number, text, next: now, told: 0 });
        Waits::Yes
    }

    /// Whoever wants to say something of a verdict hears of it before its answer, or its effect, is seen.
    fn tell_verdict(&self, side: Side, serial: u64, id: &Id, judgement: Judgement) {
        let waits = |call: &Call<J::Effect>| call.serial == serial;
        if side == Side::Client && self.table().calls.get(id).is_some_and(waits) {
            (self.ears.verdicts)(id, judgement);
        }
    }

    fn judged(
        &self,
        side: Side,
        serial: u64,
        envelope: &Envelope,
        answer: Result<J::Warrant, Refusal>,
    ) {
        let permit = match answer {
            Ok(permit) => permit,
            Err(refusal) => {
                if self.take(side, &envelope.id, serial).is_some() {
                    self.tell(side, &answer::refusal(&envelope.id, envelope.form, &refusal));
                }
                return;
            }
        };
        let (to, other) = match side {
            Side::Client => (&self.server, Side::Server),
            Side::Server => (&self.client, Side::Client),
        };
        let limit = self.wait(side);
        let sent = effect::send(permit, envelope, to, |running| {
            let mut table = self.table();
            match table.of(side).get_mut(&envelope.id) {
                Some(call) if call.serial == serial && matches!(call.stage, Stage::Judging) => {
                    call.stage = Stage::Running(running);
                    call.held = None;
                    call.until = Some(Instant::now() + limit);
                    Filed::Kept
                }
                // Given up meanwhile: dropped unlocked, as `running` leaves this scope.
                _ => Filed::Withdrawn,
            }
        });
        self.note_broken(other, sent);
    }

    fn wait(&self, side: Side) -> Duration {
        match side {
            Side::Client => self.terms.call_timeout,
            Side::Server => self.terms.call_timeout.max(ASK_WAIT),
        }
    }

    /// Takes a call that the monitor is judging out of the table.
    fn take(&self, side: Side, id: &Id, serial: u64) -> Option<Call<J::Effect>> {
        let mut table = self.table();
        let calls = table.of(side);
        if calls.get(id).is_some_and(|call| call.serial == serial) {
            calls.remove(id)
        } else {
            None
        }
    }

    /// Tells whoever asked that there will be no answer, and records that nobody knows what happened.
    fn give_up(&self, side: Side, id: &Id, call: Call<J::Effect>, text: &str) {
        if let Some(waiting) = &call.held {
            self.judge.withdraw(waiting.number);
        }
        let receipt = match &call.stage {
            Stage::Running(running) => Some(running.receipt()),
            Stage::Held(_) | Stage::Judging | Stage::Passed | Stage::ToolList(_) => None,
        };
        if !call.cancelled {
            self.tell(side, &answer::failure(id, call.form, Failure { text, receipt }));
        }
        if let Stage::Running(running) = call.stage {
            self.judge.settle([running.settle(Ended::unseen(Status::Ambiguous, 0))]);
        }
    }

    /// One line on standard error; a flood of complaints is thinned out.
    fn complain(&self, text: &str) {
        let count = self.complaints.fetch_add(1, Ordering::Relaxed) + 1;
        if count <= 16 || count.is_power_of_two() {
            crate::say(&format!("{}: {text} (complaint {count})", self.terms.server));
        }
    }
}

/// How long a person still has to answer.
fn left(held: &Held) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(held.expires.0).saturating_sub(now)
}

impl<J: Judge> std::fmt::Debug for Shim<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shim").field("terms", &self.terms).finish_non_exhaustive()
    }
}
