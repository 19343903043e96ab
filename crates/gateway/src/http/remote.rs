//! A server that is reached over streamable HTTP.
//!
//! The adversary is the far server, and whoever sits between: certificates are checked, only the session
//! id that it gave is sent back to it, answers are bounded in size and time, redirects to another server
//! are not followed, and a request whose answer was lost on the way counts as unknown, never as failed.

mod connect;
mod events;
mod fetch;
mod reach;
mod webhook;

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tipstaff_core::limits::RESULT_BYTES_MAX;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::body::{Body, collect};
use super::login::{Bearer, Challenge};
use super::secrets::Secret;
use connect::Target;
use events::EventReader;
pub(super) use fetch::{Ask, Said, ask, fetch};
pub(super) use reach::Reach;
pub use webhook::notify;

use crate::answer::{self, Failure};
use crate::message::{Id, OWN_ID};
use crate::raw::{self, Members};
use crate::request::Form;

/// Requests in flight to one server.
const IN_FLIGHT_MAX: usize = 64;
/// Messages that wait to be sent, and answers that wait to be read.
const QUEUE_MAX: usize = 256;
/// Time for the far server to begin an answer, or between two events of one.
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// How often a broken stream is taken up again before the answer counts as lost.
const RESUMES_MAX: u32 = 5;
/// How often an answer may send a request elsewhere on the same server.
const REDIRECTS_MAX: u32 = 3;
/// Bounds on how long the far server may make us wait before we come back.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Time for the farewell.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Called with the id of a request whose answer was lost.
type Lost = Box<dyn Fn(&Id) + Send + Sync>;

/// Who is told why a list of the gateway's own, by its id, was not asked for.
type Unlisted = Box<dyn Fn(&str, &str) + Send + Sync>;

/// A far server, and the session with it.
pub(super) struct Remote {
    far: Arc<Far>,
    runtime: Handle,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct Far {
    target: Target,
    headers: HeaderMap,
    /// The login, for a server that may have one.
    bearer: Option<Bearer>,
    /// The session's id and the revision that was agreed on.
    session: RwLock<(Option<HeaderValue>, Option<HeaderValue>)>,
    /// Answers, as lines. Dropped, the server counts as gone.
    heard: Mutex<Option<SyncSender<Vec<u8>>>>,
    lost: OnceLock<Lost>,
    unlisted: OnceLock<Unlisted>,
    room: Arc<Semaphore>,
    /// The far side has ended the session.
    over: AtomicBool,
}

/// Where the shim writes.
pub(super) struct Input(mpsc::Sender<Vec<u8>>);

/// Where the shim reads.
pub(super) struct Output {
    lines: Receiver<Vec<u8>>,
    rest: io::Cursor<Vec<u8>>,
}

impl Remote {
    /// A session with the server at `url`; nothing is sent before the first message is.
    pub(super) fn open(
        runtime: &Handle,
        url: &str,
        settings: Vec<(String, Secret)>,
        bearer: Option<Bearer>,
    ) -> Result<(Self, Input, Output), String> {
        let target = Target::parse(url)?;
        let mut headers = HeaderMap::new();
        for (name, secret) in settings {
            let fault = || format!("the header `{name}` can't be sent as it is configured");
            let key = HeaderName::try_from(name.as_str()).map_err(|_| fault())?;
            let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| fault())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let (tell, lines) = sync_channel(QUEUE_MAX);
        let (send, queue) = mpsc::channel(QUEUE_MAX);
        let far = Arc::new(Far {
            target,
            headers,
            bearer,
            session: RwLock::default(),
            heard: Mutex::new(Some(tell)),
            lost: OnceLock::new(),
            unlisted: OnceLock::new(),
            room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            over: AtomicBool::new(false),
        });
        let task = runtime.spawn(run(Arc::clone(&far), queue));
        let (runtime, task) = (runtime.clone(), Mutex::new(Some(task)));
        let output = Output { lines, rest: io::Cursor::new(Vec::new()) };
        Ok((Self { far, runtime, task }, Input(send), output))
    }

    /// Sets who is told of answers that were lost.
    pub(super) fn on_lost(&self, lost: Lost) {
        let _ = self.far.lost.set(lost);
    }

    /// Sets who is told why a list that the gateway itself wanted was not asked for.
    pub(super) fn on_unlisted(&self, unlisted: Unlisted) {
        let _ = self.far.unlisted.set(unlisted);
    }

    /// Whether the far side has ended the session: what is sent from then on would be lost.
    pub(super) fn is_over(&self) -> bool {
        self.far.over.load(Ordering::SeqCst)
    }

    /// What gives up the writing side, whoever waits for it.
    pub(super) fn abort_handle(&self) -> Option<tokio::task::AbortHandle> {
        lock(&self.task).as_ref().map(tokio::task::JoinHandle::abort_handle)
    }

    /// Says farewell and gives everything up.
    pub(super) fn end(self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        lock(&self.far.heard).take();
        let far = Arc::clone(&self.far);
        let has_session = far.session.read().is_ok_and(|session| session.0.is_some());
        if has_session {
            let (done, wait) = sync_channel(1);
            self.runtime.spawn(async move {
                let _ = timeout(LEAVE_WAIT, far.send(Method::DELETE, Bytes::new(), None)).await;
                let _ = done.try_send(());
            });
            let _ = wait.recv_timeout(LEAVE_WAIT);
        }
    }
}

impl Write for Input {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        for line in frames.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.0.blocking_send(line.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.rest.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.lines.recv() {
                Ok(line) => self.rest = io::Cursor::new(line),
                Err(_) => return Ok(0),
            }
        }
    }
}

/// What a message of ours is.
struct Sent {
    id: Option<Id>,
    method: Option<String>,
    line: Bytes,
}

/// Sends what comes, the handshake in order and the rest as it comes.
async fn run(far: Arc<Far>, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut exchanges = JoinSet::new();
    while let Some(line) = queue.recv().await {
        while exchanges.try_join_next().is_some() {}
        let sent = Sent::read(line);
        match sent.method.as_deref() {
            Some("initialize") => far.exchange(sent).await,
            Some("notifications/initialized") => {
                far.exchange(sent).await;
                let far = Arc::clone(&far);
                exchanges.spawn(async move { far.listen().await });
            }
            _ => {
                let Ok(room) = Arc::clone(&far.room).acquire_owned().await else { return };
                let far = Arc::clone(&far);
                exchanges.spawn(async move {
                    far.exchange(sent).await;
                    drop(room);
                });
            }
        }
    }
}

impl Sent {
    fn read(line: Vec<u8>) -> Self {
        let text = std::str::from_utf8(&line).unwrap_or_default();
        let members = Members::read(text);
        let one = |name| members.as_ref().and_then(|members| members.one(name));
        let method = one("method").and_then(raw::text);
        // An answer of the client's bears an id, too, but waits for none.
        let id = one("id").filter(|_| method.is_some()).and_then(Id::of_raw);
        Self { id, method, line: Bytes::from(line) }
    }
}

impl Far {
    /// Sends one message and takes what comes back.
    async fn exchange(&self, sent: Sent) {
        let first = sent.method.as_deref() == Some("initialize");
        let answer = match self.send(Method::POST, sent.line.clone(), None).await {
            Ok(answer) => answer,
            Err(fault) => return self.failed(sent.id.as_ref(), fault),
        };
        match answer.status() {
            StatusCode::NOT_FOUND if !first && self.has_session() => {
                // The far session is over: the next use opens another one.
                // Before the client hears of it, which may repeat the request at once.
                self.over.store(true, Ordering::SeqCst);
                let text = "The server has closed its session, and this request was not carried out. Repeat it: another session is opened.";
                self.refuse(sent.id.as_ref(), text);
                lock(&self.heard).take();
                return;
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return self.refuse(sent.id.as_ref(), &self.wanted(&answer));
            }
            status if !status.is_success() => {
                let code = status.as_u16();
                let hint = match code {
                    404 | 405 if first => {
                        " There may be no MCP here, or only its old SSE transport, which is not spoken."
                    }
                    300..400 => " It redirects to another server, which is not followed.",
                    _ => "",
                };
                let text = format!("The server answered HTTP {code}.{hint}");
                return self.refuse(sent.id.as_ref(), &text);
            }
            _ => {}
        }
        if first {
            let id = answer.headers().get(SESSION).cloned();
            if let Ok(mut session) = self.session.write() {
                *session = (id, None);
            }
        }
        let Some(id) = sent.id else { return };
        if let Err(fault) = self.take(answer, Some(&id), first).await {
            self.failed(Some(&id), fault);
        }
    }

    /// What a server wants that lets nobody in so, and the next step.
    fn wanted(&self, answer: &Response<Incoming>) -> String {
        let code = answer.status().as_u16();
        let challenge = Challenge::of(answer.headers());
        match (code, challenge, &self.bearer) {
            (401, Some(_), Some(bearer)) => {
                let name = bearer.server();
                format!("The server answered HTTP 401: it wants a login. Next: `tipstaff login {name}`.")
            }
            (403, Some(challenge), Some(bearer)) if challenge.is_insufficient() => {
                let next = challenge.next(bearer.server());
                format!("The server answered HTTP 403: the login is not for this. Next: `{next}`.")
            }
            (401, ..) => "The server answered HTTP 401: it wants credentials, or a login that only the client itself can make.".to_owned(),
            _ => format!("The server answered HTTP {code}."),
        }
    }

    /// Takes an answer's messages up to the one that answers `id`.
    async fn take(
        &self,
        answer: Response<Incoming>,
        id: Option<&Id>,
        first: bool,
    ) -> Result<(), Fault> {
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("application/json") {
            let mut incoming = answer.into_body();
            let body = collect(&mut incoming, RESULT_BYTES_MAX, 0);
            let body = timeout(SILENCE, body).await.map_err(|_| Fault::Lost)?;
            return self.hear(&body.map_err(|_| Fault::Lost)?, first).await;
        }
        if !kind.starts_with("text/event-stream") {
            return Err(Fault::Lost);
        }
        let mut reader = EventReader::new(answer.into_body(), RESULT_BYTES_MAX);
        let mut resumes = 0;
        loop {
            while let Ok(Some(event)) =
                timeout(SILENCE, reader.next()).await.map_err(|_| Fault::Lost)?
            {
                let answered = id.is_some_and(|id| answers(&event, id));
                self.hear(event.as_bytes(), first).await?;
                if answered {
                    return Ok(());
                }
                resumes = 0;
            }
            // The stream broke, or was closed to be taken up again later.
            let (Some(last), true) = (reader.last_event(), resumes < RESUMES_MAX) else {
                return Err(Fault::Lost);
            };
            resumes += 1;
            sleep(reader.retry().clamp(RETRY_MIN, RETRY_MAX)).await;
            match self.send(Method::GET, Bytes::new(), Some(last)).await {
                Ok(again) if again.status() == StatusCode::OK => {
                    reader = reader.again(again.into_body());
                }
                Ok(_) => return Err(Fault::Lost),
                Err(_) => {}
            }
        }
    }

    /// Listens for what the server says of its own accord, for as long as it offers that.
    async fn listen(&self) {
        let mut last: Option<HeaderValue> = None;
        let mut wait = RETRY_MIN;
        loop {
            if let Ok(answer) = self.send(Method::GET, Bytes::new(), last.take()).await {
                if answer.status() != StatusCode::OK {
                    return;
                }
                let mut reader = EventReader::new(answer.into_body(), RESULT_BYTES_MAX);
                while let Ok(Some(event)) = reader.next().await {
                    wait = RETRY_MIN;
                    if self.hear(event.as_bytes(), false).await.is_err() {
                        return;
                    }
                }
                last = reader.last_event();
                wait = wait.max(reader.retry());
            }
            sleep(wait.clamp(RETRY_MIN, RETRY_MAX)).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn send(
        &self,
        method: Method,
        body: Bytes,
        last: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, Fault> {
        let mut path = None;
        let mut token = match &self.bearer {
            Some(bearer) => bearer.token().await.map_err(Fault::NotSent)?,
            None => None,
        };
        let (mut is_new, mut redirects) = (false, 0);
        while redirects <= REDIRECTS_MAX {
            let mut request = self.request(method.clone(), body.clone(), last.clone());
            if let Some(token) = &token {
                request.headers_mut().insert(AUTHORIZATION, token.clone());
            }
            let sent = async {
                match path.clone() {
                    None => self.target.send(request).await,
                    Some(path) => self.target.send_to(path, request).await,
                }
            };
            let answer = timeout(SILENCE, sent).await.unwrap_or(Err(Fault::Lost))?;
            if let (StatusCode::UNAUTHORIZED, Some(bearer), Some(used)) =
                (answer.status(), &self.bearer, &token)
            {
                // Nothing was done with it: once there is another token, it goes again.
                if is_new {
                    return Err(Fault::NotSent(bearer.refused(used).await));
                }
                token = Some(bearer.instead_of(used).await.map_err(Fault::NotSent)?);
                is_new = true;
                continue;
            }
            // Only these two keep method and body, and say that nothing was done yet.
            let moved = matches!(answer.status().as_u16(), 307 | 308);
            let location = answer.headers().get(LOCATION).filter(|_| moved);
            match location.and_then(|location| self.target.redirected(location)) {
                Some(elsewhere) => path = Some(elsewhere),
                None => return Ok(answer),
            }
            redirects += 1;
        }
        Err(Fault::NotSent("it redirects again and again".to_owned()))
    }

    fn request(&self, method: Method, body: Bytes, last: Option<HeaderValue>) -> Request<Body> {
        let post = method == Method::POST;
        let mut request = Request::new(Body::Whole(body));
        *request.method_mut() = method;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let accept = if post { "application/json, text/event-stream" } else { "text/event-stream" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if post {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Ok(session) = self.session.read() {
            let (id, revision) = &*session;
            let both = [(SESSION, id.clone()), (REVISION, revision.clone()), (LAST_EVENT, last)];
            for (name, value) in both {
                if let Some(value) = value {
                    headers.insert(name, value);
                }
            }
        }
        request
    }

    /// Passes a message on to the shim.
    async fn hear(&self, message: &[u8], first: bool) -> Result<(), Fault> {
        let text = std::str::from_utf8(message).map_err(|_| Fault::Lost)?;
        if first
            && let Some(result) = Members::read(text).and_then(|m| m.one("result"))
            && let Some(revision) =
                Members::read(result).and_then(|result| raw::text(result.one("protocolVersion")?))
            && let Ok(mut session) = self.session.write()
        {
            session.1 = HeaderValue::from_str(&revision).ok();
        }
        // Line ends stand only between tokens of JSON: one message is one line.
        let mut line = text.replace(['\n', '\r'], " ").into_bytes();
        line.push(b'\n');
        let heard = lock(&self.heard).clone().ok_or(Fault::Lost)?;
        // A reader that is slow makes the far server wait, on a thread that may.
        let passed = tokio::task::spawn_blocking(move || heard.send(line)).await;
        if matches!(passed, Ok(Ok(()))) { Ok(()) } else { Err(Fault::Lost) }
    }

    fn has_session(&self) -> bool {
        self.session.read().is_ok_and(|session| session.0.is_some())
    }

    fn failed(&self, id: Option<&Id>, fault: Fault) {
        match fault {
            Fault::NotSent(why) => {
                self.refuse(id, &format!("The server was not asked: {why}. Nothing was done."));
            }
            Fault::Lost => {
                if let (Some(id), Some(lost)) = (id, self.lost.get()) {
                    lost(id);
                }
            }
        }
    }

    /// An answer in the server's place, which has not seen the request.
    fn refuse(&self, id: Option<&Id>, text: &str) {
        let Some(id) = id else { return };
        // As an answer it could as well be the server's, whose words are not ours.
        if let (Id::Text(own), Some(unlisted)) = (id, self.unlisted.get())
            && own.starts_with(OWN_ID)
        {
            return unlisted(own, text);
        }
        let line = answer::failure(id, Form::Error, Failure { text, receipt: None });
        if let Some(heard) = lock(&self.heard).clone() {
            tokio::task::spawn_blocking(move || heard.send(line.into_bytes()));
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The request did not leave.
    NotSent(String),
    /// It may have arrived.
    Lost,
}

/// Whether a message is the answer to `id`.
fn answers(message: &str, id: &Id) -> bool {
    let members = Members::read(message);
    members.is_some_and(|members| {
        members.one("method").is_none()
            && members.one("id").and_then(Id::of_raw).as_ref() == Some(id)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
