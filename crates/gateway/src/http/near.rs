//! `wrap --url`: one client over standard streams, one far server over streamable HTTP, and the monitor
//! between them.
//!
//! The adversary is a far server that ends its session, dies or hangs while the client stays: whoever waits
//! is told, and the next message opens another session with the handshake that the client made. Credentials
//! come from variables, files or the keyring, so that neither a list of processes nor a log holds one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tipstaff_core::json::Object;
use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_core::receipt::Door;
use tipstaff_monitor::{Caller, Client, Join, ServerConfig, Setting};
use tokio::runtime::Builder;

use super::seat::{Joins, Plan, Seat, Waiter};
use super::secrets::resolve;
use super::session::HelloAgain;
use super::token::random_hex;
use super::upstream::Upstream;
use crate::answer;
use crate::error::GatewayError;
use crate::frame::{Frame, FrameReader};
use crate::message::{INVALID_REQUEST, Id, Malformed, Message};
use crate::pipe::{Pipe, PipeError};
use crate::raw::{self, Members};
use crate::shim::Judgement;
use crate::wrap::{WrapEnd, end_signals, open_with, spawn};

/// Time for answers after the client has closed its side.
const DRAIN: Duration = Duration::from_secs(2);
/// Time to tell everyone that it is over, and the far server farewell.
const END_WAIT: Duration = Duration::from_secs(6);
/// Most requests of the server that wait for the client.
const ASKS_MAX: usize = 4096;
/// Threads that wait for the client to read.
const BLOCKING_MAX: usize = 80;

/// Serves MCP on standard input and output in front of the server at `url`, until the client ends it.
///
/// # Errors
/// [`GatewayError`] if the address can't be used or the monitor can't be reached.
pub(crate) fn wrap_url(
    home: &Path,
    name: Option<String>,
    url: &Setting,
    headers: BTreeMap<String, Setting>,
    (intent, caller): (Option<String>, Caller),
) -> Result<WrapEnd, GatewayError> {
    let home = std::path::absolute(home).map_err(GatewayError::system("the home folder"))?;
    // What a far server calls a path is none of the client's folder: it must not resolve below it.
    std::env::set_current_dir("/").map_err(GatewayError::system("the root folder"))?;
    let url = resolve(&home, "url", url).map_err(GatewayError::Remote)?;
    let server =
        ServerConfig::at_url(url.reveal().to_owned(), headers).map_err(GatewayError::Remote)?;
    let name = name.unwrap_or_else(|| host(url.reveal()).to_owned());
    let signals = end_signals()?;
    // An address can be a secret, too: it is not said.
    let (door, command) = (Door::McpStdio, Vec::new());
    let monitor = Client::join(&home, Join { server: name.clone(), door, command, caller })?;
    open_with(&monitor, &home, intent)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_name("far")
        .enable_all()
        .build()
        .map_err(GatewayError::system("the threads of the connection"))?;
    let joins = Joins::Already(monitor.clone());
    let plan = Plan { home, name, server, joins, runtime: runtime.handle().clone() };

    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input = File::from(input.map_err(GatewayError::system("standard input"))?);
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let output = File::from(output.map_err(GatewayError::system("standard output"))?);
    let (ends, ended) = sync_channel(4);
    let own = format!("gateway-{}-", random_hex()?.as_str());
    let near = Arc::new(Near::new(Pipe::new(output), own, ends.clone()));
    let upstream = Arc::new(Upstream::new(plan));
    let seat: Arc<dyn Seat> = Arc::clone(&near) as _;
    let seat: Weak<dyn Seat> = Arc::downgrade(&seat);
    upstream.begin(seat, 0).map_err(GatewayError::system("starting a thread"))?;
    let told = ends.clone();
    signals.on_first(move || {
        let _ = told.try_send(End::Asked);
    });
    let (reader, to) = (Arc::clone(&near), Arc::clone(&upstream));
    spawn("client", move || {
        read_client(&reader, &to, input);
        let _ = ends.try_send(End::ClientGone);
    })?;

    wait(&near, &ended);
    // On a thread of its own: a client that doesn't read must not keep this process.
    let (done, waiting) = sync_channel::<()>(1);
    spawn("end", move || {
        upstream.end();
        drop(done);
    })?;
    let _ = waiting.recv_timeout(END_WAIT);
    monitor.leave();
    runtime.shutdown_background();
    Ok(WrapEnd::Orderly)
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ClientGone,
    Asked,
}

/// Waits for the end; for a client that has only closed its side, until it has its answers.
fn wait(near: &Near, ended: &Receiver<End>) {
    if ended.recv() != Ok(End::ClientGone) {
        return;
    }
    let until = Instant::now() + DRAIN;
    while !near.is_idle() && Instant::now() < until {
        match ended.recv_timeout(Duration::from_millis(5)) {
            Ok(End::ClientGone) | Err(RecvTimeoutError::Timeout) => {}
            Ok(End::Asked) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn read_client(near: &Near, upstream: &Upstream, input: impl Read) {
    let mut frames = FrameReader::new(input, BODY_BYTES_MAX);
    while let Ok(Some(frame)) = frames.next() {
        let taken = match frame {
            Frame::TooLong(skim, bytes) => Err(Malformed {
                code: INVALID_REQUEST,
                id: skim.id,
                text: format!("The message has {bytes} bytes; the limit is {BODY_BYTES_MAX}."),
            }),
            Frame::Line(line) => Message::parse(line).and_then(|message| near.note(message)),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(message)) => {
                if upstream.send_patiently(message).is_err() {
                    return;
                }
            }
            Err(fault) => near.tell(&answer::malformed(&fault)),
        }
    }
}

/// The client's side.
struct Near {
    client: Pipe,
    /// Ids of our own requests begin so; no client and no server knows it beforehand.
    own: String,
    ends: SyncSender<End>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The client's first request and what it said of itself.
    hello: Option<(Id, Object)>,
    greeted: bool,
    initialized: bool,
    /// The log level that the client asked for.
    level: Option<Object>,
    /// Requests of the client without an answer.
    open: HashSet<Id>,
    waiting: HashMap<String, Waiter>,
    next_own: u64,
    /// Requests of the server, by the ids that the client knows them by.
    asks: BTreeMap<i64, Id>,
    next_ask: i64,
}

impl Near {
    fn new(client: Pipe, own: String, ends: SyncSender<End>) -> Self {
        Self { client, own, ends, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        self.state().open.is_empty()
    }

    /// Remembers what a server has to hear again. `None` for an answer to what no running server asked.
    fn note(&self, message: Message) -> Result<Option<Message>, Malformed> {
        let mut state = self.state();
        match &message {
            Message::Answer(Id::Integer(number), reply) => {
                let ask = state.asks.remove(number);
                return Ok(ask.map(|id| Message::Answer(id, reply.clone())));
            }
            Message::Answer(Id::Text(_), _) => return Ok(None),
            Message::Request(id, ..) if self.is_own(id) => {
                let text = "Ids of this kind are the gateway's own.".to_owned();
                return Err(Malformed { code: INVALID_REQUEST, id: Some(id.clone()), text });
            }
            Message::Request(id, method, params) => {
                match method.as_str() {
                    "initialize" => {
                        state.hello = Some((id.clone(), params.clone().unwrap_or_default()));
                        (state.greeted, state.initialized) = (false, false);
                    }
                    "logging/setLevel" => state.level.clone_from(params),
                    _ => {}
                }
                state.open.insert(id.clone());
            }
            Message::Notification(method, _) if method == "notifications/initialized" => {
                state.initialized = true;
            }
            Message::Notification(method, params) if method == "notifications/cancelled" => {
                let id = params.as_ref().and_then(|params| Id::of(params.get("requestId")?));
                // It gets no answer any more.
                id.map(|id| state.open.remove(&id));
            }
            Message::Notification(..) => {}
        }
        drop(state);
        Ok(Some(message))
    }

    fn is_own(&self, id: &Id) -> bool {
        matches!(id, Id::Text(text) if text.starts_with(&self.own))
    }

    fn tell(&self, frames: &str) {
        if let Err(PipeError::Broken) = self.client.send(frames.as_bytes()) {
            let _ = self.ends.try_send(End::ClientGone);
        }
    }

    /// The id of a server's request, and another one that no earlier run of it has used.
    fn renamed(&self, line: &str, members: &Members<'_>) -> Option<(Range<usize>, i64)> {
        let method = raw::text(members.one("method")?)?;
        if let Some(raw_id) = members.one("id") {
            let (id, place) = (Id::of_raw(raw_id)?, raw::place(line, raw_id)?);
            let mut state = self.state();
            let number = state.next_ask;
            state.next_ask += 1;
            state.asks.insert(number, id);
            // The shim bounds how many there are; those that it gave up are over.
            while state.asks.len() > ASKS_MAX {
                state.asks.pop_first();
            }
            return Some((place, number));
        }
        if method != "notifications/cancelled" {
            return None;
        }
        let raw_id = Members::read(members.one("params")?)?.one("requestId")?;
        let (id, place) = (Id::of_raw(raw_id)?, raw::place(line, raw_id)?);
        let mut state = self.state();
        let number = state.asks.iter().find(|(_, ask)| **ask == id).map(|(number, _)| *number)?;
        state.asks.remove(&number);
        Some((place, number))
    }

    /// Takes an answer; the waiter for it, if it is one to a request of our own.
    fn answered(&self, id: &Id, members: &Members<'_>) -> Option<Waiter> {
        let mut state = self.state();
        if let Id::Text(text) = id
            && self.is_own(id)
        {
            return Some(state.waiting.remove(text).unwrap_or_else(|| Box::new(|_| {})));
        }
        state.open.remove(id);
        let is_hello = state.hello.as_ref().is_some_and(|(hello, _)| hello == id);
        state.greeted |= is_hello && members.one("result").is_some();
        None
    }
}

impl Seat for Near {
    fn judged(&self, _from: usize, _id: &Id, _judgement: Judgement) {
        // A reply over standard output has no head; its `_meta` names the receipt.
    }

    fn heard(&self, _from: usize, line: &str) {
        let Some(members) = Members::read(line) else { return };
        if members.one("method").is_none()
            && let Some(id) = members.one("id").and_then(Id::of_raw)
            && let Some(waiter) = self.answered(&id, &members)
        {
            waiter(line.to_owned());
            return;
        }
        let line = line.trim_end_matches('\n');
        let mut frame = String::with_capacity(line.len() + 16);
        match self.renamed(line, &members) {
            Some((place, number)) => raw::replace(&mut frame, line, place, &number.to_string()),
            None => frame.push_str(line),
        }
        frame.push('\n');
        self.tell(&frame);
    }

    // Writing to the client waits for it.
    fn pace(&self) {}

    fn hello_again(&self, _index: usize) -> Option<HelloAgain> {
        let mut state = self.state();
        // What the earlier run asked is over: an answer to that must not go to the next one.
        state.asks.clear();
        let (_, params) = state.hello.as_ref().filter(|_| state.greeted)?;
        let params = params.clone();
        let mut then = Vec::new();
        if state.initialized {
            then.push(Message::Notification("notifications/initialized".to_owned(), None));
        }
        let level = state.level.clone();
        drop(state);
        if let Some(level) = level {
            let id = self.own_id(Box::new(|_| {}));
            then.push(Message::Request(id, "logging/setLevel".to_owned(), Some(level)));
        }
        Some(HelloAgain { params, then })
    }

    fn own_id(&self, then: Waiter) -> Id {
        let mut state = self.state();
        let id = format!("{}{}", self.own, state.next_own);
        state.next_own += 1;
        state.waiting.insert(id.clone(), then);
        Id::Text(id)
    }
}

/// The host of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.split(':').next().filter(|host| !host.is_empty()).unwrap_or("server")
}
