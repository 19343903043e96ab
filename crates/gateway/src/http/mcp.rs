//! MCP over streamable HTTP, revision 2025-11-25, at `/mcp`.
//!
//! The adversary is a client that mixes up sessions, guesses an id, sends two messages as one, or asks for
//! an answer that it can't read. What isn't exactly what the protocol says is refused with its status and
//! a sentence, and nothing is forwarded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Response, StatusCode};
use tipstaff_core::json::{Json, Object};
use tipstaff_monitor::Monitor;

use super::accept::{EVENTS, JSON, accepts, media, prefers};
use super::body::{Body, Reading};
use super::guard::{Credential, one};
use super::seat::{Joins, Plan};
use super::session::{PRIMED_SINCE, REVISIONS, Reply, Session, result_line};
use super::several;
use super::stream::{Answered, Kind, Next, Reader};
use super::token::random_hex;
use crate::answer::{self, FAILED};
use crate::message::{INVALID_REQUEST, Id, Malformed, Message};
use crate::shim::Judgement;

/// Most sessions, and most servers behind all of them: each is a process and a connection of the monitor.
const SESSIONS_MAX: usize = 128;
const SERVERS_MAX: usize = 200;
/// Most sessions of clients that proved nothing, all together.
const STRANGERS_MAX: usize = 8;
/// How long servers may take to answer the handshake.
const GREET_WAIT: Duration = Duration::from_secs(30);
/// A session that was silent for so long is ended.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// A session that was silent for so long makes way for another one when there is no room.
const QUIET: Duration = Duration::from_secs(60);
/// An answer that takes longer comes as events, with signs of life before it: clients and what is on the
/// way to them give up on silence.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most streams that one session listens on.
const LISTENERS_MAX: usize = 16;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Named on every reply to a judged request, as on the API's.
const RECEIPT: HeaderName = HeaderName::from_static("x-tipstaff-receipt");
const LATENCY: HeaderName = HeaderName::from_static("x-tipstaff-latency-ms");

/// A capability, as Biscuit's URL-safe base64.
pub(crate) const CAPABILITY: HeaderName = HeaderName::from_static("tipstaff-capability");

/// An answer that says no.
pub(super) type No = Box<Response<Body>>;

/// The endpoint and its sessions.
pub(super) struct Mcp {
    home: PathBuf,
    monitor: Arc<Monitor>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// Threads that end sessions.
    ending: Mutex<Vec<JoinHandle<()>>>,
}

impl Mcp {
    pub(super) fn new(home: PathBuf, monitor: Arc<Monitor>) -> Self {
        Self { home, monitor, sessions: Mutex::default(), ending: Mutex::default() }
    }

    /// Answers one request to `/mcp`.
    pub(super) async fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        credential: Credential,
        body: Vec<u8>,
    ) -> Response<Body> {
        let answered = match *method {
            Method::POST => self.post(headers, credential, &body).await,
            Method::GET => self.listen(headers, &credential),
            Method::DELETE => self.delete(headers, &credential),
            _ => {
                let mut no = no(StatusCode::METHOD_NOT_ALLOWED, "Use POST, GET or DELETE.");
                no.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
                Err(no)
            }
        };
        answered.unwrap_or_else(|no| *no)
    }

    async fn post(
        &self,
        headers: &HeaderMap,
        credential: Credential,
        body: &[u8],
    ) -> Result<Response<Body>, No> {
        accepts(headers, &[JSON, EVENTS])?;
        let kind = one(headers, &CONTENT_TYPE).ok().flatten().unwrap_or_default();
        if !media(kind).eq_ignore_ascii_case(JSON) {
            let told = "The body must be application/json.";
            return Err(no(StatusCode::UNSUPPORTED_MEDIA_TYPE, told));
        }
        let message = Message::parse(body.trim_ascii()).map_err(|fault| {
            let line = answer::malformed(&fault);
            Box::new(json(StatusCode::BAD_REQUEST, Bytes::from(line.trim_end().to_owned())))
        })?;
        if let Message::Request(id, method, params) = &message
            && method == "initialize"
            && !headers.contains_key(&SESSION)
        {
            let params = params.clone().unwrap_or_default();
            return self.open(id, params, (credential, capability(headers)?)).await;
        }
        let session = self.find(headers, &credential)?;
        let reply = session.take(message).await;
        Ok(match reply {
            Reply::Taken => empty(StatusCode::ACCEPTED),
            Reply::Message(line) if prefers(headers) == Answered::Events => only_event(&line),
            Reply::Message(line) => json(StatusCode::OK, line),
            Reply::Refused(line) => json(StatusCode::BAD_REQUEST, Bytes::from(line)),
            Reply::Stream(reader) => stream(session, reader, prefers(headers)).await,
        })
    }

    /// Opens a session: every server of the configuration is started and greeted.
    async fn open(
        &self,
        id: &Id,
        params: Object,
        (credential, capability): (Credential, Option<String>),
    ) -> Result<Response<Body>, No> {
        let failed = |text: &str| {
            let fault = Malformed { code: FAILED, id: Some(id.clone()), text: text.to_owned() };
            let line = answer::malformed(&fault);
            Box::new(json(StatusCode::OK, Bytes::from(line.trim_end().to_owned())))
        };
        let servers = self.monitor.servers();
        if servers.is_empty() {
            let told = "There are no servers behind this endpoint; name some in config.toml as [servers.NAME].";
            return Err(failed(told));
        }
        let random = || random_hex().map(|hex| hex.to_string()).map_err(|e| failed(&e.to_string()));
        let (session_id, handle, own) = (random()?, random()?, random()?);
        let service = params.get("clientInfo").and_then(|info| info.get("name")?.as_str());
        let service: String =
            service.unwrap_or("unknown").chars().filter(|c| !c.is_control()).take(64).collect();
        let plan = |(name, server)| Plan {
            home: self.home.clone(),
            name,
            server,
            // The session's id opens the session: what names it elsewhere is another number.
            joins: Joins::Anew {
                instance: format!("{credential}:{handle}"),
                service: service.clone(),
                proved: credential.proved(),
                capability: capability.clone(),
            },
            runtime: tokio::runtime::Handle::current(),
        };
        let plans: Vec<Plan> = servers.into_iter().map(plan).collect();
        let ids = (session_id.clone(), format!("gateway-{own}-"));
        let count = plans.len();
        self.make_room(count, &credential)?;
        let session = Session::new(ids, credential, plans, params);
        self.sessions().insert(session_id.clone(), Arc::clone(&session));
        // If the client goes away meanwhile, nobody knows the session's id: it is ended.
        let unopened = Unopened { mcp: self, id: Some(session_id.clone()) };
        session.begin().map_err(|error| failed(&error.to_string()))?;
        let hello = several::greet_all(&session, GREET_WAIT).await.map_err(|why| failed(&why))?;
        let revision = Json::parse(hello.as_bytes()).ok();
        let revision = revision.as_ref().and_then(|hello| hello.get("protocolVersion")?.as_str());
        session.state().revision = revision.unwrap_or(PRIMED_SINCE).to_owned();
        unopened.opened();
        let mut opened = json(StatusCode::OK, result_line(id, &hello));
        if let Ok(value) = HeaderValue::from_str(&session_id) {
            opened.headers_mut().insert(SESSION, value);
        }
        Ok(opened)
    }

    /// Sees to it that one more session has room: clients that went away without a word make way.
    fn make_room(&self, count: usize, credential: &Credential) -> Result<(), No> {
        let busy = || {
            let mut busy = no(StatusCode::SERVICE_UNAVAILABLE, "Too many sessions are open.");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            busy
        };
        loop {
            let mut sessions = self.sessions();
            let strangers =
                sessions.values().filter(|known| known.credential == Credential::Nothing);
            if *credential == Credential::Nothing && strangers.count() >= STRANGERS_MAX {
                return Err(busy());
            }
            let behind: usize = sessions.values().map(|session| session.upstreams.len()).sum();
            if sessions.len() < SESSIONS_MAX && behind + count <= SERVERS_MAX {
                return Ok(());
            }
            let quiet = sessions.values().filter(|session| session.is_idle(QUIET));
            let longest = quiet.max_by_key(|session| session.silence()).map(|s| s.id.clone());
            let Some(session) = longest.and_then(|id| sessions.remove(&id)) else {
                return Err(busy());
            };
            drop(sessions);
            self.close(session);
        }
    }

    fn listen(&self, headers: &HeaderMap, credential: &Credential) -> Result<Response<Body>, No> {
        accepts(headers, &[EVENTS])?;
        let session = self.find(headers, credential)?;
        session.touch();
        let last = one(headers, &LAST_EVENT);
        let last = last.map_err(|()| no(StatusCode::BAD_REQUEST, "Which event was last?"))?;
        let mut state = session.state();
        let reader = match last {
            Some(last) => state.streams.resume(last).ok_or_else(|| {
                let told = "What came after this event is not kept any more.";
                no(StatusCode::NOT_FOUND, told)
            })?,
            None if state.streams.listeners() >= LISTENERS_MAX => {
                return Err(no(StatusCode::TOO_MANY_REQUESTS, "Too many streams are open."));
            }
            None => state
                .streams
                .open(Kind::Standing)
                .ok_or_else(|| no(StatusCode::TOO_MANY_REQUESTS, "Too many streams are open."))?,
        };
        let first = (last.is_none() && state.revision.as_str() >= PRIMED_SINCE)
            .then(|| state.streams.prime(reader));
        drop(state);
        Ok(events(Reading { session, reader }.events(first)))
    }

    fn delete(&self, headers: &HeaderMap, credential: &Credential) -> Result<Response<Body>, No> {
        let session = self.find(headers, credential)?;
        let known = self.sessions().remove(&session.id);
        if let Some(session) = known {
            self.close(session);
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The session that a request names, if it may.
    fn find(&self, headers: &HeaderMap, credential: &Credential) -> Result<Arc<Session>, No> {
        let missing = || {
            let told = "Begin with `initialize`, and send the header Mcp-Session-Id of its answer.";
            no(StatusCode::BAD_REQUEST, told)
        };
        let id = one(headers, &SESSION).map_err(|()| missing())?.ok_or_else(missing)?;
        if headers.contains_key(&CAPABILITY) {
            // It would be passed over: a session has the one that it was opened with.
            let told = "A capability is presented with `initialize`, for the whole session.";
            return Err(no(StatusCode::BAD_REQUEST, told));
        }
        let known = self.sessions().get(id).cloned();
        let known = known.filter(|session| session.credential == *credential && !session.is_over());
        let Some(session) = known else {
            let told = "There is no such session. Open another one with `initialize`.";
            return Err(no(StatusCode::NOT_FOUND, told));
        };
        let speaks =
            |revision: &str| REVISIONS.contains(&revision) || session.state().revision == revision;
        match one(headers, &REVISION) {
            Ok(None) => Ok(session),
            Ok(Some(revision)) if speaks(revision) => Ok(session),
            _ => {
                let told = "MCP-Protocol-Version names a revision that is not spoken here.";
                Err(no(StatusCode::BAD_REQUEST, told))
            }
        }
    }

    /// Ends sessions that were silent for long, and streams of those who may not speak any more.
    pub(super) fn sweep(&self) {
        let all: Vec<Arc<Session>> = self.sessions().values().cloned().collect();
        for session in all {
            if self.monitor.may_speak(&session.credential.proved()).is_err() {
                session.state().streams.send_away();
            }
        }
        let idle: Vec<Arc<Session>> = {
            let mut sessions = self.sessions();
            sessions.extract_if(|_, session| session.is_idle(IDLE)).map(|(_, s)| s).collect()
        };
        for session in idle {
            self.close(session);
        }
    }

    /// Ends a session on a thread of its own: its servers may take their time.
    fn close(&self, session: Arc<Session>) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|thread| !thread.is_finished());
        ending.push(std::thread::spawn(move || session.end()));
    }

    /// Ends every session and waits for it.
    pub(super) fn end(&self) {
        let sessions: Vec<_> = self.sessions().drain().map(|(_, session)| session).collect();
        for session in sessions {
            self.close(session);
        }
        let ending =
            std::mem::take(&mut *self.ending.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in ending {
            let _ = thread.join();
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The capability that a request presents.
fn capability(headers: &HeaderMap) -> Result<Option<String>, No> {
    let told = "Tipstaff-Capability is there twice, or no text.";
    let one = one(headers, &CAPABILITY).map_err(|()| no(StatusCode::BAD_REQUEST, told))?;
    Ok(one.map(str::to_owned))
}

/// Ends a session that is not opened after all.
struct Unopened<'a> {
    mcp: &'a Mcp,
    id: Option<String>,
}

impl Unopened<'_> {
    fn opened(mut self) {
        self.id = None;
    }
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let session = self.mcp.sessions().remove(&id);
        if let Some(session) = session {
            self.mcp.close(session);
        }
    }
}

/// The answer that comes on a stream: alone as JSON, after something else as events.
async fn stream(session: Arc<Session>, reader: Reader, form: Answered) -> Response<Body> {
    let reading = Reading { session, reader };
    let first = tokio::time::timeout(PATIENCE, reading.first(form)).await.unwrap_or(None);
    match first {
        Some(Next::Only(line, judgement)) => judged(json(StatusCode::OK, line), judgement),
        Some(Next::End | Next::Events(_)) => {
            let told = "The session has ended, or too much was waiting to be read.";
            refused(StatusCode::SERVICE_UNAVAILABLE, told)
        }
        None => {
            let (first, judgement) = {
                let mut state = reading.session.state();
                let primed = state.revision.as_str() >= PRIMED_SINCE;
                let judgement = state.streams.judgement(reader);
                (primed.then(|| state.streams.prime(reader)), judgement)
            };
            // What waits for a person has no verdict yet: its head goes out without one.
            judged(events(reading.events(first)), judgement)
        }
    }
}

/// A lone message as the only event of a stream.
fn only_event(line: &[u8]) -> Response<Body> {
    // A carriage return between tokens would end the line.
    let data = line.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
    let event: Vec<u8> = b"event: message\ndata: ".iter().copied().chain(data).collect();
    events(Body::Whole(Bytes::from([event.as_slice(), b"\n\n"].concat())))
}

/// Names the verdict on the request in its answer's header.
fn judged(mut response: Response<Body>, judgement: Option<Judgement>) -> Response<Body> {
    let Some(Judgement { receipt, took }) = judgement else { return response };
    let millis = format!("{:.3}", took.as_secs_f64() * 1e3);
    for (name, value) in [(RECEIPT, receipt.to_hex()), (LATENCY, millis)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(super) fn json(status: StatusCode, line: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Whole(line));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

pub(super) fn no(status: StatusCode, text: &str) -> No {
    Box::new(refused(status, text))
}

/// A refusal in the form of JSON-RPC, as clients of MCP read it.
pub(super) fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let fault = Malformed { code: INVALID_REQUEST, id: None, text: text.to_owned() };
    json(status, Bytes::from(answer::malformed(&fault).trim_end().to_owned()))
}
