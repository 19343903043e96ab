//! A door's side of the monitor, in another process.
//!
//! The adversary is a monitor that dies at the wrong moment: what was asked and not answered is asked
//! again of the next one, and nothing runs meanwhile. A permit is made here only from an answer that
//! says that the receipt is durable.

mod answers;
mod commands;
mod connect;
mod out;

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tipstaff_core::receipt::{Door, Status};
use tipstaff_core::{Action, Digest, Json, Labels, Verdict};

use self::answers::{hear, read, settled};
use self::connect::{Connected, connect};
use self::out::{Out, Permitted};
use crate::config::Settings;
use crate::error::ClientError;
use crate::home::Home;
use crate::monitor::{Held, Which};
use crate::permit::{Permit, Refusal, Settlement};
use crate::pins::{ListedTool, ToolReview};
use crate::proof::{ProofKey, Proved};
use crate::socket::Socket;
use crate::told::SignedTold;
use crate::wire::{self, Frames, number, object};

/// How long to stay awake for a verdict.
const AWAKE: Duration = Duration::from_millis(1);
/// Longest that a result waits for what it holds to be known.
const SETTLE_WAIT: Duration = Duration::from_secs(20);

/// A door joined to the monitor of a home.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

/// What a door says of itself. Who it is, the kernel says.
#[derive(Debug, Clone)]
pub struct Join {
    /// Name of the server behind it.
    pub server: String,
    /// Which door it is.
    pub door: Door,
    /// The server's command, for the operator's eyes.
    pub command: Vec<String>,
    /// Whose session it joins.
    pub caller: Caller,
}

/// Whose session a door joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The client that started this process, as the kernel names it.
    Parent,
    /// The principal whose key this is; the process is as the kernel names it.
    Principal {
        /// The key.
        key: ProofKey,
        /// The capability that it presents, as text.
        capability: Option<String>,
    },
    /// A client that the monitor's own process speaks for: from any other process it is refused.
    Network {
        /// The credential and the session that it was given, in words that no other client's are.
        instance: String,
        /// The program that it says it is.
        service: String,
        /// What it proved.
        proved: Proved,
        /// The capability that it presents, as text.
        capability: Option<String>,
    },
}

/// Whoever waits for a verdict. Called on a thread of the client's.
pub trait Answered<T>: Send {
    /// Request `number` is held for a person; an answer comes later, if somebody still waits for it.
    fn held(&mut self, number: u64, held: &Held) -> Waits;

    /// The answer.
    fn judged(self: Box<Self>, answer: Result<T, Refusal>);
}

/// Whether a held call is still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It is.
    Yes,
    /// It was given up meanwhile.
    No,
}

/// For whom it is enough to hear of the end.
impl<T, F: FnOnce(Result<T, Refusal>) + Send> Answered<T> for F {
    fn held(&mut self, _number: u64, _held: &Held) -> Waits {
        Waits::Yes
    }

    fn judged(self: Box<Self>, answer: Result<T, Refusal>) {
        self(answer);
    }
}

/// What a caller that carries actions out by itself is told: it is trusted to obey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrusted {
    /// What may be carried out: exactly this.
    pub action: Action,
    /// Hash of the verdict's receipt.
    pub receipt: Digest,
    /// The policy that permitted.
    pub rule: Option<String>,
    /// ALLOW or MODIFY; anything else only in observe mode.
    pub verdict: Verdict,
}

type OnVerdict = Box<dyn Answered<Permit>>;
type OnEntrusted = Box<dyn Answered<Entrusted>>;
type OnReported = Box<dyn FnOnce(Option<Digest>) + Send>;
type OnReview = Box<dyn FnOnce(Result<ToolReview, Refusal>) + Send>;

#[derive(Debug)]
struct Inner {
    home: Home,
    join: Join,
    settings: Settings,
    next: AtomicU64,
    left: AtomicBool,
    /// Verdicts that are due, and whether the last one came within [`AWAKE`].
    due: AtomicUsize,
    brisk: AtomicBool,
    /// Whether somebody else than the reading thread looks for verdicts.
    attended: AtomicBool,
    /// Whether a permit came since the reading thread last looked.
    permitted: AtomicBool,
    /// Locked before all others.
    frames: Mutex<Frames<Socket>>,
    /// Locked before `out` where both are.
    state: Mutex<State>,
    out: Mutex<Out>,
}

struct State {
    /// Counts the monitors that were joined.
    generation: u64,
    waiting: HashMap<u64, Waiting>,
    /// The last list of tools and the child, which a new monitor has to hear again.
    tools: Option<Vec<u8>>,
    child: Option<Vec<u8>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

enum Waiting {
    Verdict { action: Action, frame: Vec<u8>, since: Instant, then: Then },
    Review { frame: Vec<u8>, then: OnReview },
    Report { frame: Vec<u8>, then: OnReported },
}

enum Then {
    Permit(OnVerdict),
    Entrusted(OnEntrusted),
}

impl Waiting {
    fn frame(&self) -> &[u8] {
        match self {
            Self::Verdict { frame, .. }
            | Self::Review { frame, .. }
            | Self::Report { frame, .. } => frame,
        }
    }
}

impl Client {
    /// Joins the monitor of a home, which is started if it isn't there.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn join(home: &Path, join: Join) -> Result<Self, ClientError> {
        let home = Home::at(home);
        let Connected { stream, heard, frames, settings } = connect(&home, &join)?;
        let state = State { generation: 0, waiting: HashMap::new(), tools: None, child: None };
        let inner = Arc::new(Inner {
            home,
            join,
            settings,
            next: AtomicU64::new(1),
            left: AtomicBool::new(false),
            due: AtomicUsize::new(0),
            brisk: AtomicBool::new(false),
            attended: AtomicBool::new(false),
            frames: Mutex::new(frames),
            state: Mutex::new(state),
            permitted: AtomicBool::new(false),
            out: Mutex::new(Out::new(0, stream)),
        });
        let reader = Arc::clone(&inner);
        thread::spawn(move || read(&reader, heard));
        Ok(Self(inner))
    }

    /// Asks for a permit. The number names the request if it has to be withdrawn.
    pub fn submit(&self, action: Action, then: OnVerdict) -> u64 {
        self.ask(action, None, &[], Then::Permit(then))
    }

    /// Like [`Client::submit`], for an action that depends on others, which are named by their receipts.
    pub fn submit_depending(&self, action: Action, depends_on: &[Digest], then: OnVerdict) -> u64 {
        self.ask(action, None, depends_on, Then::Permit(then))
    }

    /// Asks for a caller that carries the action out by itself (doors `api` and `hook`). The outcome is
    /// reported later, by the receipt or by `ticket`.
    pub fn entrust(&self, action: Action, ticket: Option<Digest>, then: OnEntrusted) -> u64 {
        self.ask(action, ticket, &[], Then::Entrusted(then))
    }

    fn ask(
        &self,
        action: Action,
        ticket: Option<Digest>,
        depends_on: &[Digest],
        then: Then,
    ) -> u64 {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let depends_on = depends_on.iter().map(|of| Json::String(of.to_hex())).collect();
        let request = object([
            ("action", wire::action_to_json(&action)),
            ("depends_on", Json::Array(depends_on)),
            ("n", number(n)),
            ("t", Json::string("admit")),
            ("ticket", ticket.map_or(Json::Null, |ticket| Json::String(ticket.to_hex()))),
        ]);
        let frame = wire::frame(&request);
        self.0.due.fetch_add(1, Ordering::Relaxed);
        self.0.ask(n, Waiting::Verdict { action, frame, since: Instant::now(), then });
        n
    }

    /// Gives a request up that has no answer yet: what is held stays in the queue, and nothing runs
    /// unless it is asked again.
    pub fn withdraw(&self, n: u64) {
        self.0.withdraw(n);
    }

    /// Reports how an action ended that was entrusted, with its raw result. `then` hears the verdict's
    /// receipt, or `None` if no such action is open.
    pub fn report(
        &self,
        of: Which,
        (status, labels): (Status, Labels),
        result: Option<&str>,
        then: OnReported,
    ) {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (name, digest) = match of {
            Which::Receipt(receipt) => ("receipt", receipt),
            Which::Ticket(ticket) => ("ticket", ticket),
        };
        let frame = wire::frame(&object([
            (name, Json::String(digest.to_hex())),
            ("labels", Json::Array(labels.iter().map(|l| Json::string(l.as_str())).collect())),
            ("n", number(n)),
            ("result", wire::text(result)),
            ("status", Json::string(status.as_str())),
            ("t", Json::string("report")),
        ]));
        self.0.ask(n, Waiting::Report { frame, then });
    }

    /// Looks for a verdict that is likely to come at once, giving way to whoever wants to run: waking a
    /// processor that sleeps takes longer than judging. What comes is answered here.
    pub fn attend(&self) {
        let inner = &self.0;
        let is_due = || inner.due.load(Ordering::Relaxed) > 0;
        if !is_due()
            || !inner.brisk.load(Ordering::Relaxed)
            || inner.attended.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let since = Instant::now();
        while is_due() && since.elapsed() < AWAKE {
            let heard = inner.frames.try_lock().map(|mut frames| hear(inner, &mut frames));
            if matches!(heard, Ok(Err(_))) {
                // What was read is gone: the reading thread has to find an end, and joins again.
                if let Some(stream) = lock(&inner.out).stream() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                break;
            }
            thread::yield_now();
        }
        inner.attended.store(false, Ordering::Relaxed);
    }

    /// Reports how effects ended, in one message.
    pub fn settle(&self, settlements: impl IntoIterator<Item = Settlement>) {
        let bytes: Vec<u8> = settlements.into_iter().flat_map(|s| settled(&s, None)).collect();
        if !bytes.is_empty() {
            lock(&self.0.out).send_soon(&bytes, Instant::now());
        }
    }

    /// Reports how an effect ended, and waits until whatever the session does next is judged with it.
    /// Whether that is so; it isn't if the monitor can't be reached.
    #[must_use]
    pub fn settle_first(&self, settlement: &Settlement) -> bool {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        let then = Box::new(move |receipt: Option<Digest>| {
            let _ = done.send(receipt.is_some());
        });
        self.0.ask(n, Waiting::Report { frame: settled(settlement, Some(n)), then });
        ended.recv_timeout(SETTLE_WAIT).unwrap_or(false)
    }

    /// Tells the session what its principal asked for when it was started.
    pub fn open_with(&self, signed: &SignedTold) {
        let request = object([("t", Json::string("request")), ("told", signed.to_json())]);
        self.0.tell(&wire::frame(&request));
    }

    /// Reports what a server lists. `then` runs on the client's reading thread.
    pub fn tools_listed(&self, tools: Vec<ListedTool>, then: OnReview) {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let tools = tools.iter().map(|tool| {
            object([
                ("definition", Json::string(&tool.definition)),
                ("name", Json::string(&tool.name)),
            ])
        });
        let tools = Json::Array(tools.collect());
        let frame = |n: u64| {
            wire::frame(&object([
                ("n", number(n)),
                ("t", Json::string("tools")),
                ("tools", tools.clone()),
            ]))
        };
        // Number 0 is nobody's: its answer is dropped.
        lock(&self.0.state).tools = Some(frame(0));
        self.0.ask(n, Waiting::Review { frame: frame(n), then });
    }

    /// Names the server's process, so that it is ended if this process is killed.
    pub fn child_started(&self, pid: u32) {
        let request = object([("pid", number(u64::from(pid))), ("t", Json::string("child"))]);
        let frame = wire::frame(&request);
        lock(&self.0.state).child = Some(frame.clone());
        self.0.tell(&frame);
    }

    /// What the configuration says to a door.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Ends in order: what was settled before is recorded.
    pub fn leave(self) {
        self.0.left.store(true, Ordering::SeqCst);
        let frame = wire::frame(&object([("t", Json::string("leave"))]));
        self.0.tell(&frame);
        let stream = lock(&self.0.out).take();
        // The monitor closes its side when it has read everything.
        if let Some(stream) = stream {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let mut byte = [0];
            while matches!(io::Read::read(&mut &stream, &mut byte), Ok(1)) {}
        }
    }
}

impl Inner {
    fn ask(&self, n: u64, waiting: Waiting) {
        let frame = waiting.frame().to_owned();
        let generation = {
            let mut state = lock(&self.state);
            state.waiting.insert(n, waiting);
            state.generation
        };
        let mut out = lock(&self.out);
        // A monitor that was joined since was asked when it was joined; without one it waits for the next.
        if out.generation == generation {
            out.send(&frame);
        }
    }

    fn withdraw(&self, n: u64) {
        if lock(&self.state).waiting.remove(&n).is_some() {
            self.due.fetch_sub(1, Ordering::Relaxed);
            let frame = object([("n", number(n)), ("t", Json::string("withdraw"))]);
            self.tell(&wire::frame(&frame));
        }
    }

    fn permitted_lately(&self) -> Permitted {
        if self.permitted.swap(false, Ordering::Relaxed) {
            Permitted::Lately
        } else {
            Permitted::Not
        }
    }

    /// Says what needs no answer.
    fn tell(&self, frames: &[u8]) {
        lock(&self.out).send(frames);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
