//! One client's session: which request went to which server, and on which stream its answer goes.
//!
//! The adversary is a client that reuses ids or answers what nobody asked, and a server that answers for
//! another one or talks without end. Every id stands in one table with the server it belongs to; what a
//! server asks gets an id of the session's own; whoever talks faster than the client reads has to wait.

mod hear;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tipstaff_core::json::{Json, Object};
use tokio::sync::oneshot;

use super::guard::Credential;
use super::seat::{Plan, Seat, Waiter};
use super::several;
use super::stream::{Kind, Reader, Streams};
use super::upstream::Upstream;
use crate::answer::{self, FAILED, Failure};
use crate::message::{Answer, INVALID_REQUEST, Id, Malformed, Message};
use crate::request::{Form, TOOLS_CALL};
use crate::shim::{IN_FLIGHT_MAX, Judgement};

/// How long servers wait for a client that doesn't read, before what waits is given up.
const READ_WAIT: Duration = Duration::from_secs(20);
/// The revision from which clients know events without data.
pub(super) const PRIMED_SINCE: &str = "2025-11-25";
/// The revision that a client speaks which doesn't say.
pub(super) const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// A session.
pub(super) struct Session {
    pub(super) id: String,
    pub(super) credential: Credential,
    pub(super) upstreams: Vec<Upstream>,
    /// Ids of our own requests to servers begin so; no client and no server knows it beforehand.
    own: String,
    pub(super) greeting: Vec<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    room: Condvar,
}

pub(super) struct State {
    over: bool,
    touched: Instant,
    /// What the client said of itself.
    pub(super) params: Object,
    pub(super) revision: String,
    /// What each server answered to the handshake.
    pub(super) hellos: Vec<Option<String>>,
    initialized: bool,
    /// The log level that the client asked for.
    pub(super) level: Option<Object>,
    calls: HashMap<Id, Call>,
    waiting: HashMap<String, Waiter>,
    next_own: u64,
    asks: BTreeMap<i64, Ask>,
    next_ask: i64,
    pub(super) streams: Streams,
    /// Who listed which resource, and which template.
    pub(super) places: several::Places,
}

/// A request of the client.
struct Call {
    upstream: usize,
    stream: u64,
    token: Option<Id>,
}

/// A request of a server.
struct Ask {
    upstream: usize,
    id: Id,
    token: Option<Id>,
    stream: u64,
}

/// What is said to a server that is started again.
pub(super) struct HelloAgain {
    pub(super) params: Object,
    pub(super) then: Vec<Message>,
}

/// What a message of the client is answered with.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing but that it was taken.
    Taken,
    /// One message.
    Message(Bytes),
    /// Whatever comes on a stream.
    Stream(Reader),
    /// It was refused.
    Refused(String),
}

impl Session {
    pub(super) fn new(
        (id, own): (String, String),
        credential: Credential,
        plans: Vec<Plan>,
        params: Object,
    ) -> Arc<Self> {
        let count = plans.len();
        let mut streams = Streams::default();
        streams.open_unread();
        let state = State {
            over: false,
            touched: Instant::now(),
            params,
            revision: PRIMED_SINCE.to_owned(),
            hellos: vec![None; count],
            initialized: false,
            level: None,
            calls: HashMap::new(),
            waiting: HashMap::new(),
            next_own: 0,
            asks: BTreeMap::new(),
            next_ask: 0,
            streams,
            places: several::Places::default(),
        };
        Arc::new(Self {
            id,
            credential,
            upstreams: plans.into_iter().map(Upstream::new).collect(),
            own,
            greeting: (0..count).map(|_| tokio::sync::Mutex::new(())).collect(),
            state: Mutex::new(state),
            room: Condvar::new(),
        })
    }

    /// Begins to take messages for its servers.
    pub(super) fn begin(self: &Arc<Self>) -> std::io::Result<()> {
        let seat: Weak<dyn Seat> = Arc::downgrade(&(Arc::clone(self) as Arc<dyn Seat>));
        self.upstreams.iter().enumerate().try_for_each(|(index, up)| up.begin(seat.clone(), index))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the client is there.
    pub(super) fn touch(&self) {
        self.state().touched = Instant::now();
    }

    /// Whether nobody has been here for so long.
    pub(super) fn is_idle(&self, limit: Duration) -> bool {
        let mut state = self.state();
        state.streams.sweep();
        let quiet = state.calls.is_empty() && !state.streams.is_read();
        quiet && state.touched.elapsed() > limit
    }

    /// How long the client has been silent.
    pub(super) fn silence(&self) -> Duration {
        self.state().touched.elapsed()
    }

    /// Takes a message of the client.
    pub(super) async fn take(self: &Arc<Self>, message: Message) -> Reply {
        self.touch();
        match message {
            Message::Notification(method, params) => {
                self.notified(&method, params);
                Reply::Taken
            }
            Message::Answer(id, reply) => {
                self.replied(&id, reply);
                Reply::Taken
            }
            Message::Request(id, method, _) if method == "initialize" => {
                refused(id, "This session was opened already; open another one without its id.")
            }
            Message::Request(id, method, params) if self.upstreams.len() == 1 => {
                self.remember(&method, params.as_ref());
                self.forward(0, id, &method, params)
            }
            Message::Request(id, method, params) => {
                self.remember(&method, params.as_ref());
                several::request(self, id, &method, params).await
            }
        }
    }

    fn remember(&self, method: &str, params: Option<&Object>) {
        if method == "logging/setLevel" {
            self.state().level = params.cloned();
        }
    }

    /// Sends a request to a server; its answer comes on the stream.
    pub(super) fn forward(&self, to: usize, id: Id, method: &str, params: Option<Object>) -> Reply {
        let meta = params.as_ref().and_then(|params| params.get("_meta"));
        let token = meta.and_then(|meta| meta.get("progressToken")).and_then(Id::of);
        let reader = {
            let mut state = self.state();
            if state.calls.contains_key(&id) {
                return refused(id, "A request with this id is still in flight.");
            }
            if self.is_own(&id) {
                return refused(id, "Ids of this kind are the gateway's own.");
            }
            let full = state.over || state.calls.len() >= IN_FLIGHT_MAX;
            let Some(reader) = (if full { None } else { state.streams.open(Kind::Request) }) else {
                return Reply::Message(failed(&id, method, "Too many requests are in flight."));
            };
            state.calls.insert(id.clone(), Call { upstream: to, stream: reader.stream, token });
            reader
        };
        let sent = self
            .upstreams
            .get(to)
            .map(|upstream| upstream.send(Message::Request(id.clone(), method.to_owned(), params)));
        if sent != Some(Ok(())) {
            let text = "The server does not read; too many messages wait for it. Nothing was done.";
            let line = answer::failure(&id, form(method), Failure { text, receipt: None });
            self.heard(to, &line);
        }
        Reply::Stream(reader)
    }

    /// A notification of the client.
    fn notified(&self, method: &str, params: Option<Object>) {
        let to = match method {
            "notifications/cancelled" => {
                let id = params.as_ref().and_then(|params| params.get("requestId"));
                let Some(id) = id.and_then(Id::of) else { return };
                let mut state = self.state();
                let Some(call) = state.calls.remove(&id) else { return };
                // Nobody waits for the answer any more, but the request should end.
                let text = "The request was cancelled.";
                let told = answer::failure(&id, Form::Error, Failure { text, receipt: None });
                state.streams.push(call.stream, &told, true);
                vec![call.upstream]
            }
            "notifications/progress" => {
                let token = params.as_ref().and_then(|params| params.get("progressToken"));
                let token = token.and_then(Id::of);
                let state = self.state();
                let ask = state.asks.values().find(|ask| ask.token.is_some() && ask.token == token);
                ask.map(|ask| ask.upstream).into_iter().collect()
            }
            _ => {
                let mut state = self.state();
                state.initialized |= method == "notifications/initialized";
                let greeted = state.hellos.iter().enumerate().filter(|(_, hello)| hello.is_some());
                greeted.map(|(index, _)| index).collect()
            }
        };
        for index in to {
            let message = Message::Notification(method.to_owned(), params.clone());
            // A server that reads so little misses it, as it would on a full pipe.
            let _ = self.upstreams.get(index).map(|upstream| upstream.send(message));
        }
    }

    /// The client's answer to something that a server asked.
    fn replied(&self, id: &Id, reply: Answer) {
        let Id::Integer(number) = id else { return };
        let Some(ask) = self.state().asks.remove(number) else { return };
        let message = Message::Answer(ask.id, reply);
        let _ = self.upstreams.get(ask.upstream).map(|upstream| upstream.send(message));
    }

    /// Asks a server something of our own; the answer's line.
    pub(super) fn ask(
        &self,
        to: usize,
        method: &str,
        params: Option<Object>,
    ) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        let id = self.own_id(Box::new(move |line| {
            // Whoever asked may have given up.
            let _ = tell.send(line);
        }));
        let message = Message::Request(id.clone(), method.to_owned(), params);
        let sent = self.upstreams.get(to).map(|upstream| upstream.send(message));
        if sent != Some(Ok(())) {
            let text = "too many messages wait for it";
            self.heard(to, &answer::failure(&id, Form::Error, Failure { text, receipt: None }));
        }
        told
    }

    fn is_own(&self, id: &Id) -> bool {
        matches!(id, Id::Text(text) if text.starts_with(&self.own))
    }

    /// A server's answer to the handshake was taken.
    pub(super) fn greeted(&self, index: usize, result: String) {
        let mut state = self.state();
        if let Some(hello) = state.hellos.get_mut(index) {
            *hello = Some(result);
        }
        let initialized = state.initialized;
        drop(state);
        if initialized {
            let message = Message::Notification("notifications/initialized".to_owned(), None);
            let _ = self.upstreams.get(index).map(|upstream| upstream.send(message));
            // It came late: what the client has listed lacks its share.
            for list in ["tools", "prompts", "resources"] {
                let method = format!("notifications/{list}/list_changed");
                self.tell(&answer::request(None, &method, None));
            }
        }
    }

    /// Tells the client something of our own.
    fn tell(&self, line: &str) {
        let mut state = self.state();
        if let Some(stream) = state.streams.standing() {
            state.streams.push(stream, line, false);
        }
    }

    /// Something was read.
    pub(super) fn made_room(&self) {
        self.room.notify_all();
    }

    /// Ends the session: everyone who waits is told, its servers are ended and reaped.
    pub(super) fn end(&self) {
        {
            let mut state = self.state();
            if std::mem::replace(&mut state.over, true) {
                return;
            }
        }
        self.room.notify_all();
        std::thread::scope(|scope| {
            for upstream in &self.upstreams {
                scope.spawn(|| upstream.end());
            }
        });
        self.state().streams.end();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }
}

impl Seat for Session {
    fn judged(&self, from: usize, id: &Id, judgement: Judgement) {
        self.note_judgement(from, id, judgement);
    }

    fn heard(&self, from: usize, line: &str) {
        self.take_line(from, line);
    }

    fn pace(&self) {
        let state = self.state();
        if !state.streams.is_full() {
            return;
        }
        let full = |state: &mut State| state.streams.is_full() && !state.over;
        let waited = self.room.wait_timeout_while(state, READ_WAIT, full);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            crate::say("a client does not read what it asked for; it was cut off");
            state.streams.cut();
        }
    }

    fn hello_again(&self, index: usize) -> Option<HelloAgain> {
        let mut state = self.state();
        // What its earlier run asked is over: an answer to that must not go to the next one.
        state.asks.retain(|_, ask| ask.upstream != index);
        state.hellos.get(index)?.as_ref()?;
        let mut then = Vec::new();
        if state.initialized {
            then.push(Message::Notification("notifications/initialized".to_owned(), None));
        }
        let level = state.level.clone();
        let params = state.params.clone();
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

impl State {
    /// Where something that a server says belongs: to the request with the token, to the only request of
    /// that server, or to none.
    fn stream_for(&self, from: usize, token: Option<&Id>) -> Option<u64> {
        let mut calls = self.calls.values().filter(|call| call.upstream == from);
        if let Some(token) = token
            && let Some(call) = calls.clone().find(|call| call.token.as_ref() == Some(token))
        {
            return Some(call.stream);
        }
        match (calls.next(), calls.next()) {
            (Some(only), None) => Some(only.stream),
            _ => self.streams.standing(),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

/// An answer with a raw result.
pub(super) fn result_line(id: &Id, result: &str) -> Bytes {
    let mut line = String::with_capacity(result.len() + 64);
    line.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
    id.to_json().write_canonical(&mut line);
    line.push_str(",\"result\":");
    line.push_str(result);
    line.push('}');
    Bytes::from(line)
}

/// An answer that says why there is none of a server.
pub(super) fn failed(id: &Id, method: &str, text: &str) -> Bytes {
    let line = answer::failure(id, form(method), Failure { text, receipt: None });
    Bytes::from(line.trim_end().to_owned())
}

/// An error with a code.
pub(super) fn error(id: &Id, code: i64, text: &str) -> Bytes {
    let fault = Malformed { code, id: Some(id.clone()), text: text.to_owned() };
    Bytes::from(answer::malformed(&fault).trim_end().to_owned())
}

/// The same with what it is about.
pub(super) fn error_about(id: &Id, (code, text): (i64, &str), data: Option<Json>) -> Bytes {
    let line = answer::error(Some(id), code, text, data);
    Bytes::from(line.trim_end().to_owned())
}

/// The message of an error answer, for a person.
pub(super) fn why(line: &str) -> String {
    let json = Json::parse(line.trim().as_bytes()).ok();
    let text = json.as_ref().and_then(|json| json.pointer("/error/message")?.as_str());
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(300).collect();
    text.map_or_else(|| format!("it answered no result (code {FAILED})"), plain)
}

fn form(method: &str) -> Form {
    if method == TOOLS_CALL { Form::ToolResult } else { Form::Error }
}

fn refused(id: Id, text: &str) -> Reply {
    let fault = Malformed { code: INVALID_REQUEST, id: Some(id), text: text.to_owned() };
    Reply::Refused(answer::malformed(&fault).trim_end().to_owned())
}
