//! A door's side of the monitor, in another process.
//!
//! The adversary is a monitor that dies at the wrong moment: what was asked and not answered is asked
//! again of the next one, and nothing runs meanwhile. A permit is made here only from an answer that
//! says that the receipt is durable.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tipstaff_core::action::Salt;
use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Door, Status};
use tipstaff_core::{Action, Digest, Json, Millis, Verdict};

use crate::approval::{Statement, answer_to_json};
use crate::config::Settings;
use crate::error::ClientError;
use crate::home::Home;
use crate::monitor::{Held, Which};
use crate::permit::{Permit, Refusal, Settlement, Sink};
use crate::pins::{ListedTool, ToolReview, Withheld};
use crate::server::with_socket;
use crate::socket::{Socket, is_readable};
use crate::wire::{self, Frames, Heard, digest_of, number, number_of, object, text_of};

/// How long a monitor may take to start or to come back.
const START_WAIT: Duration = Duration::from_secs(20);
/// How long to stay awake for a verdict.
const AWAKE: Duration = Duration::from_millis(1);

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
    /// A client that the monitor's own process speaks for: from any other process it is refused.
    Network {
        /// The credential and the session that it was given, in words that no other client's are.
        instance: String,
        /// The program that it says it is.
        service: String,
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

/// The writing side. A lock of its own: whoever files an answer doesn't wait for a system call.
#[derive(Debug)]
struct Out {
    generation: u64,
    /// `None` while there is no monitor.
    stream: Option<UnixStream>,
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
            out: Mutex::new(Out { generation: 0, stream: Some(stream) }),
        });
        let reader = Arc::clone(&inner);
        thread::spawn(move || read(&reader, heard));
        Ok(Self(inner))
    }

    /// Asks for a permit. The number names the request if it has to be withdrawn.
    pub fn submit(&self, action: Action, then: OnVerdict) -> u64 {
        self.ask(action, None, Then::Permit(then))
    }

    /// Asks for a caller that carries the action out by itself (doors `api` and `hook`). The outcome is
    /// reported later, by the receipt or by `ticket`.
    pub fn entrust(&self, action: Action, ticket: Option<Digest>, then: OnEntrusted) -> u64 {
        self.ask(action, ticket, Then::Entrusted(then))
    }

    fn ask(&self, action: Action, ticket: Option<Digest>, then: Then) -> u64 {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let request = object([
            ("action", wire::action_to_json(&action)),
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
    pub fn report(&self, of: Which, status: Status, result: Option<&str>, then: OnReported) {
        let n = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (name, digest) = match of {
            Which::Receipt(receipt) => ("receipt", receipt),
            Which::Ticket(ticket) => ("ticket", ticket),
        };
        let frame = wire::frame(&object([
            (name, Json::String(digest.to_hex())),
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
                if let Some(stream) = &lock(&inner.out).stream {
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
        let bytes: Vec<u8> = settlements.into_iter().flat_map(|s| settled(&s)).collect();
        if !bytes.is_empty() {
            self.0.tell(&bytes);
        }
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
        let stream = lock(&self.0.out).stream.take();
        // The monitor closes its side when it has read everything.
        if let Some(stream) = stream {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let mut byte = [0];
            while matches!(io::Read::read(&mut &stream, &mut byte), Ok(1)) {}
        }
    }

    /// A request of the command line. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn control(
        home: &Home,
        what: &str,
        server: Option<&str>,
    ) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string(what)),
            ("server", wire::text(server)),
            ("t", Json::string("control")),
        ]);
        Self::request(home, &request)
    }

    /// Brings an approver's answer to a held call. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn answer(
        home: &Home,
        statement: &Statement,
        key: &SigningKey,
    ) -> Result<Option<Json>, ClientError> {
        let (key_id, signature) = (key.verifying_key().key_id(), statement.sign(key));
        Self::request(home, &answer_to_json(statement, &key_id, &signature))
    }

    fn request(home: &Home, request: &Json) -> Result<Option<Json>, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let Ok(mut stream) = dial(home) else {
            return Ok(None);
        };
        stream.write_all(&wire::frame(request)).map_err(broken)?;
        Frames::new(Socket::new(stream)).next().map_err(broken)
    }

    /// Hears of every verdict from now on, for as long as `each` wants to. `each` is given the line, or
    /// `None` every few seconds, and how many lines were lost before it. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn tail(
        home: &Home,
        each: &mut dyn FnMut(Option<&Json>, u64) -> ControlFlow<()>,
    ) -> Result<Option<()>, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let Ok(mut stream) = dial(home) else {
            return Ok(None);
        };
        let request = object([("do", Json::string("tail")), ("t", Json::string("control"))]);
        stream.write_all(&wire::frame(&request)).map_err(broken)?;
        let mut frames = Frames::new(Socket::new(stream));
        while let Some(frame) = frames.next().map_err(broken)? {
            if frame.get("ok").and_then(Json::as_bool) == Some(false) {
                return Err(ClientError::Refused(text_of(&frame, "text").unwrap_or_default()));
            }
            let line = frame.get("line").filter(|line| **line != Json::Null);
            if each(line, number_of(&frame, "lost").unwrap_or(0)).is_break() {
                break;
            }
        }
        Ok(Some(()))
    }

    /// Starts the monitor if it isn't there, and waits until it answers.
    ///
    /// # Errors
    /// [`ClientError::NotStarted`]
    pub fn ensure_monitor(home: &Home) -> Result<(), ClientError> {
        open_socket(home).map(drop)
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

    /// Says what needs no answer.
    fn tell(&self, frames: &[u8]) {
        lock(&self.out).send(frames);
    }
}

impl Out {
    fn send(&mut self, frames: &[u8]) {
        if let Some(stream) = &mut self.stream {
            // A broken stream is noticed, and mended, by the reading thread.
            let _ = stream.write_all(frames);
        }
    }
}

impl Sink for Inner {
    fn settle(&self, settlement: Settlement) {
        self.tell(&settled(&settlement));
    }
}

fn settled(Settlement { of, outcome }: &Settlement) -> Vec<u8> {
    let digest = outcome.result_digest.map_or(Json::Null, |d| Json::String(d.to_hex()));
    wire::frame(&object([
        ("bytes", number(outcome.bytes)),
        ("digest", digest),
        ("receipt", Json::String(of.to_hex())),
        ("status", Json::string(outcome.status.as_str())),
        ("t", Json::string("settle")),
        ("us", number(outcome.duration_us)),
    ]))
}

fn read(inner: &Arc<Inner>, mut stream: UnixStream) {
    loop {
        let mut heard = is_readable(&stream, None).map(|_| Heard::Nothing);
        if inner.attended.load(Ordering::Relaxed) {
            thread::sleep(AWAKE);
            continue;
        }
        if heard.is_ok() {
            heard = hear(inner, &mut lock(&inner.frames));
        }
        match heard {
            Ok(Heard::Something | Heard::Nothing) => {}
            Ok(Heard::End) | Err(_) => {
                if inner.left.load(Ordering::SeqCst) {
                    return;
                }
                match rejoin(inner) {
                    Ok(again) => stream = again,
                    Err(error) => {
                        give_up(inner, &error);
                        thread::sleep(Duration::from_millis(200));
                    }
                }
            }
        }
    }
}

/// Answers what is here.
fn hear(inner: &Arc<Inner>, frames: &mut Frames<Socket>) -> io::Result<Heard> {
    let heard = frames.fill()?;
    while let Some(answer) = frames.ready()? {
        dispatch(inner, &answer);
    }
    Ok(heard)
}

fn rejoin(inner: &Inner) -> Result<UnixStream, ClientError> {
    lock(&inner.out).stream = None;
    let Connected { mut stream, heard, frames, .. } = connect(&inner.home, &inner.join)?;
    *lock(&inner.frames) = frames;
    let mut state = lock(&inner.state);
    let again = state.waiting.values().map(Waiting::frame);
    let known = [state.child.as_deref(), state.tools.as_deref()];
    let bytes = known.into_iter().flatten().chain(again).collect::<Vec<_>>().concat();
    stream.write_all(&bytes).map_err(|error| ClientError::Broken(error.to_string()))?;
    state.generation += 1;
    *lock(&inner.out) = Out { generation: state.generation, stream: Some(stream) };
    Ok(heard)
}

fn give_up(inner: &Inner, error: &ClientError) {
    let waiting = std::mem::take(&mut lock(&inner.state).waiting);
    for (_, waiting) in waiting {
        let refusal = Refusal::unrecorded(&error.to_string());
        match waiting {
            Waiting::Verdict { then, .. } => {
                match then {
                    Then::Permit(then) => then.judged(Err(refusal)),
                    Then::Entrusted(then) => then.judged(Err(refusal)),
                }
                inner.due.fetch_sub(1, Ordering::Relaxed);
            }
            Waiting::Review { then, .. } => then(Err(refusal)),
            Waiting::Report { then, .. } => then(None),
        }
    }
}

fn dispatch(inner: &Arc<Inner>, answer: &Json) {
    let Some(n) = number_of(answer, "n") else { return };
    if answer.get("t").and_then(Json::as_str) == Some("held") {
        return hold(inner, n, answer);
    }
    let Some(waiting) = lock(&inner.state).waiting.remove(&n) else {
        return return_permit(inner, answer);
    };
    match waiting {
        Waiting::Verdict { action, since, then, .. } => {
            inner.brisk.store(since.elapsed() < AWAKE, Ordering::Relaxed);
            match then {
                Then::Permit(then) => then.judged(permit(inner, action, answer)),
                Then::Entrusted(then) => then.judged(entrusted(action, answer)),
            }
            inner.due.fetch_sub(1, Ordering::Relaxed);
        }
        Waiting::Review { then, .. } => then(review(answer)),
        Waiting::Report { then, .. } => then(digest_of(answer, "receipt")),
    }
}

/// Tells whoever waits that a person is asked.
fn hold(inner: &Inner, n: u64, answer: &Json) {
    // Nobody stays awake for a person.
    inner.brisk.store(false, Ordering::Relaxed);
    let held = || {
        Some(Held {
            receipt: digest_of(answer, "receipt")?,
            expires: Millis(number_of(answer, "expires")?),
            rule: text_of(answer, "rule"),
            text: text_of(answer, "text")?,
        })
    };
    let Some(held) = held() else { return };
    let mut state = lock(&inner.state);
    let Some(Waiting::Verdict { then, .. }) = state.waiting.get_mut(&n) else { return };
    let waits = match then {
        Then::Permit(then) => then.held(n, &held),
        Then::Entrusted(then) => then.held(n, &held),
    };
    drop(state);
    if waits == Waits::No {
        inner.withdraw(n);
    }
}

/// A verdict that nobody waits for any more: what it permits is not done, and is settled so.
fn return_permit(inner: &Arc<Inner>, answer: &Json) {
    if answer.get("t").and_then(Json::as_str) == Some("verdict")
        && let Some((granted, salt)) = granted(answer)
    {
        let sink: Arc<dyn Sink> = Arc::<Inner>::clone(inner);
        let Granted { action, receipt, rule, verdict } = granted;
        let nothing = || Action::new("-", "-", "-", Json::Null, None).ok();
        if let Some(action) = action.or_else(nothing) {
            drop(Permit::issue(action, verdict, rule, (receipt, salt), sink));
        }
    }
}

/// An answer that permits.
struct Granted {
    /// What is executed instead of what was asked.
    action: Option<Action>,
    receipt: Digest,
    rule: Option<String>,
    verdict: Verdict,
}

fn granted(answer: &Json) -> Option<(Granted, Salt)> {
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return None;
    }
    let action = match answer.get("action")? {
        Json::Null => None,
        other => Some(wire::action_from_json(other)?),
    };
    let salt = Digest::from_hex(&format!("{:0<64}", answer.get("salt")?.as_str()?)).ok()?;
    let salt = Salt(*salt.as_bytes().first_chunk::<16>()?);
    let granted = Granted {
        action,
        receipt: digest_of(answer, "receipt")?,
        rule: text_of(answer, "rule"),
        verdict: Verdict::parse(answer.get("verdict")?.as_str()?)?,
    };
    Some((granted, salt))
}

fn permit(inner: &Arc<Inner>, asked: Action, answer: &Json) -> Result<Permit, Refusal> {
    let (granted, salt) = read_granted(answer)?;
    let sink: Arc<dyn Sink> = Arc::<Inner>::clone(inner);
    let Granted { action, receipt, rule, verdict } = granted;
    Ok(Permit::issue(action.unwrap_or(asked), verdict, rule, (receipt, salt), sink))
}

fn entrusted(asked: Action, answer: &Json) -> Result<Entrusted, Refusal> {
    let (Granted { action, receipt, rule, verdict }, _) = read_granted(answer)?;
    Ok(Entrusted { action: action.unwrap_or(asked), receipt, rule, verdict })
}

fn read_granted(answer: &Json) -> Result<(Granted, Salt), Refusal> {
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err(refusal(answer));
    }
    granted(answer).ok_or_else(|| Refusal::unrecorded("the monitor's answer can't be read"))
}

fn review(answer: &Json) -> Result<ToolReview, Refusal> {
    let withheld =
        answer.get("withheld").and_then(Json::as_array).ok_or_else(|| refusal(answer))?;
    let withheld = withheld.iter().filter_map(|tool| {
        Some(Withheld { name: text_of(tool, "name")?, pinned: text_of(tool, "pinned") })
    });
    Ok(ToolReview { withheld: withheld.collect() })
}

fn refusal(answer: &Json) -> Refusal {
    Refusal {
        verdict: answer.get("verdict").and_then(Json::as_str).and_then(Verdict::parse),
        receipt: digest_of(answer, "receipt"),
        rule: text_of(answer, "rule"),
        text: text_of(answer, "text").unwrap_or_else(|| "refused without a reason".to_owned()),
    }
}

/// One connection: for writing, for waiting and for reading.
struct Connected {
    stream: UnixStream,
    heard: UnixStream,
    frames: Frames<Socket>,
    settings: Settings,
}

fn connect(home: &Home, join: &Join) -> Result<Connected, ClientError> {
    let broken = |error: io::Error| ClientError::Broken(error.to_string());
    let deadline = Instant::now() + START_WAIT;
    loop {
        let mut stream = open_socket(home)?;
        let command = join.command.iter().map(|word| Json::string(word)).collect();
        let label = std::env::var("TIPSTAFF_SESSION").ok().filter(|label| !label.is_empty());
        let (instance, service) = match &join.caller {
            Caller::Parent => (None, None),
            Caller::Network { instance, service } => (Some(instance), Some(service)),
        };
        let hello = object([
            ("command", Json::Array(command)),
            ("door", Json::string(join.door.as_str())),
            ("instance", wire::text(instance.map(String::as_str))),
            ("server", Json::string(&join.server)),
            ("service", wire::text(service.map(String::as_str))),
            ("session", wire::text(label.as_deref())),
            ("t", Json::string("join")),
            ("v", Json::from(wire::VERSION)),
        ]);
        let mut frames = Frames::new(Socket::new(stream.try_clone().map_err(broken)?));
        let answer = stream.write_all(&wire::frame(&hello)).and_then(|()| frames.next());
        // A monitor that was just ending takes the connection with it: try the next one.
        let Ok(Some(answer)) = answer else {
            if Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            return Err(ClientError::Broken("it closed the connection".to_owned()));
        };
        if text_of(&answer, "t").as_deref() != Some("joined") {
            let why = text_of(&answer, "text").unwrap_or_else(|| "no reason given".to_owned());
            return Err(ClientError::Refused(why));
        }
        let allowed = answer.get("env_allow").and_then(Json::as_array).unwrap_or_default();
        let settings = Settings {
            receipt_in_meta: answer.get("receipt_in_meta").and_then(Json::as_bool).unwrap_or(true),
            env_allow: allowed.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect(),
            call_timeout: Duration::from_secs(number_of(&answer, "call_timeout_s").unwrap_or(600)),
            stderr_folder: text_of(&answer, "stderr").unwrap_or_default().into(),
        };
        let heard = stream.try_clone().map_err(broken)?;
        return Ok(Connected { stream, heard, frames, settings });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is how a door joins the monitor")]
fn dial(home: &Home) -> io::Result<UnixStream> {
    with_socket(home, |path| UnixStream::connect(path))
}

fn open_socket(home: &Home) -> Result<UnixStream, ClientError> {
    let deadline = Instant::now() + START_WAIT;
    let mut started: Option<std::process::Child> = None;
    let mut wait = Duration::from_millis(2);
    loop {
        if let Ok(stream) = dial(home) {
            // The monitor outlives its starter as a rule; where it doesn't, it must not stay a zombie.
            if let Some(mut child) = started {
                thread::spawn(move || child.wait());
            }
            return Ok(stream);
        }
        let ended = match &mut started {
            None => true,
            Some(child) => match child.try_wait() {
                // Several doors start one each; all but the one that got the lock end at once. One that
                // was killed while it started said nothing about the next.
                Ok(Some(status)) if matches!(status.code(), Some(ALREADY_RUNNING) | None) => true,
                Ok(Some(_)) => return Err(ClientError::NotStarted(last_words(home))),
                Ok(None) => false,
                Err(error) => return Err(ClientError::NotStarted(error.to_string())),
            },
        };
        if Instant::now() > deadline {
            return Err(ClientError::NotStarted(format!(
                "no answer in {} s",
                START_WAIT.as_secs()
            )));
        }
        if ended && started.as_ref().is_none_or(|_| wait > Duration::from_millis(50)) {
            started = Some(start(home).map_err(|e| ClientError::NotStarted(e.to_string()))?);
        }
        thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(100));
    }
}

/// Exit code of a monitor that found another one.
pub(crate) const ALREADY_RUNNING: i32 = 4;

#[expect(
    clippy::disallowed_methods,
    reason = "the monitor is this program, started where it is absent"
)]
fn start(home: &Home) -> io::Result<std::process::Child> {
    home.create().map_err(|error| io::Error::other(error.to_string()))?;
    let log =
        fs::File::options().create(true).append(true).open(home.root().join("monitor.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    // Headers of far servers, as `install` names them: they are the door's alone, which ends before it.
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.as_encoded_bytes().starts_with(b"TIPSTAFF_HEADER_")) {
        command.env_remove(name);
    }
    command
        .env_remove("TIPSTAFF_URL")
        .arg("monitor")
        .arg("--home")
        .arg(home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // It outlives the door that started it, and the terminal's signals.
        .process_group(0)
        .current_dir("/")
        .spawn()
}

fn last_words(home: &Home) -> String {
    let log = fs::read_to_string(home.root().join("monitor.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let cause = lines.iter().rposition(|line| line.trim_start().starts_with("because: "));
    let Some(cause) = cause.and_then(|at| lines.get(at..)) else {
        return lines.last().copied().unwrap_or("it said nothing").to_owned();
    };
    // A cause may have several lines: a fault in the configuration shows the line.
    let whole: Vec<&str> =
        cause.iter().take_while(|line| !line.trim_start().starts_with("next:")).copied().collect();
    whole.join("\n").trim_start().trim_start_matches("because: ").to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
