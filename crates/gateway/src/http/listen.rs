//! The listener and its connections.
//!
//! The adversary opens connections and sends nothing, sends a header without an end, reads nothing, or
//! opens more than there is room for. Each step has its limit in bytes and time; over the number of
//! connections, or of those that are still shaking hands, a new one is closed at once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::pki_types::CertificateDer;
use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_monitor::{Monitor, Proved};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use super::body::{Body, Rest, pass_over, read};
use super::connection::Connection;
use super::guard::{Credential, Stopped, names};
use super::mcp::{Mcp, json};
use super::nonces::Nonces;
use super::oauth::Oauth;
use super::pages::Pages;
use super::refuse::{Reader, refuse, stop, unreadable};
use super::signed::{is_signed, prove};
use super::tls::{Tls, TlsOptions};
use super::token::Token;
use crate::error::GatewayError;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 512;
/// Connections at a time that have not shown yet who they are: a stranger can't take the room of others.
const HANDSHAKES_MAX: usize = 64;
/// Time for a handshake of TLS.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Requests to pages at a time: each has a thread.
const PAGES_MAX: usize = 16;
/// Largest body of a request to a page: 10 MiB and the wrapping around it.
const PAGE_BYTES_MAX: usize = (10 << 20) + (64 << 10);
/// Bodies of clients that proved nothing, together: each takes at least one of these pieces.
const STRANGERS_PIECES: u32 = 512;
const PIECE_BYTES: usize = 64 << 10;
/// Largest header, and most fields in it.
const HEADER_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
/// Time to send a header, and for an idle connection.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// Time for sent bytes to be taken by the other side, in milliseconds.
const UNREAD_MS: u32 = 60_000;
/// Time between looks at sessions that nobody uses.
const SWEEP: Duration = Duration::from_secs(5);
/// Threads of the runtime: they only pass messages on.
const WORKERS: usize = 2;
/// Threads for pages, look-ups and ends of sessions.
const BLOCKING_MAX: usize = 64;

/// What the door is opened with.
pub struct HttpOptions {
    /// The home folder.
    pub home: PathBuf,
    /// The monitor of this process.
    pub monitor: Arc<Monitor>,
    /// What is served beside `/mcp`.
    pub pages: Option<Arc<dyn Pages>>,
}

impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOptions").field("home", &self.home).finish_non_exhaustive()
    }
}

/// An address that is listened on, and how.
#[derive(Debug)]
pub struct HttpListener {
    socket: std::net::TcpListener,
    tls: Option<TlsOptions>,
}

/// The door over HTTP, open until it is ended.
pub struct HttpDoor {
    address: SocketAddr,
    runtime: Mutex<Option<Runtime>>,
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    ended: AtomicBool,
}

struct Shared {
    port: u16,
    tls: Option<Tls>,
    handshake_room: Arc<Semaphore>,
    monitor: Arc<Monitor>,
    token: Token,
    mcp: Mcp,
    oauth: Oauth,
    nonces: Nonces,
    pages: Option<Arc<dyn Pages>>,
    page_room: Arc<Semaphore>,
    connection_room: Arc<Semaphore>,
    strangers_room: Semaphore,
}

impl HttpDoor {
    /// Listens on an address, which without TLS has to be this machine's own; port 0 takes a free one.
    ///
    /// # Errors
    /// [`GatewayError::NotLoopback`] for any other address, [`GatewayError::System`] if it is taken.
    #[expect(clippy::disallowed_methods, reason = "the one listener of this door")]
    pub fn bind(
        address: SocketAddr,
        tls: Option<TlsOptions>,
    ) -> Result<HttpListener, GatewayError> {
        if tls.is_none() && !is_loopback(address.ip()) {
            return Err(GatewayError::NotLoopback(address));
        }
        let socket = std::net::TcpListener::bind(address);
        let socket = socket.map_err(GatewayError::system("the listening address"))?;
        socket.set_nonblocking(true).map_err(GatewayError::system("the listening address"))?;
        Ok(HttpListener { socket, tls })
    }

    /// Serves on the listener, from threads of its own.
    ///
    /// # Errors
    /// [`GatewayError`] if the token can't be read or the threads can't be started.
    pub fn open(listener: HttpListener, options: HttpOptions) -> Result<Self, GatewayError> {
        let HttpOptions { home, monitor, pages } = options;
        let HttpListener { socket: listener, tls } = listener;
        let tls = tls.map(|tls| Tls::new(tls, Arc::clone(&monitor))).transpose()?;
        let address = listener.local_addr().map_err(GatewayError::system("the address"))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_MAX)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(GatewayError::system("the threads of the listener"))?;
        let resource = match tls.as_ref().and_then(|tls| tls.names.first()) {
            Some(name) if address.port() == 443 => format!("https://{name}/mcp"),
            Some(name) => format!("https://{name}:{}/mcp", address.port()),
            None => format!("http://{address}/mcp"),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let nonces = Nonces::open(&home.join("run"), now)?;
        let shared = Arc::new(Shared {
            port: address.port(),
            tls,
            handshake_room: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            token: Token::open_or_create(&home)?,
            oauth: Oauth::new(home.clone(), Arc::clone(&monitor), resource),
            mcp: Mcp::new(home, Arc::clone(&monitor)),
            monitor,
            nonces,
            pages,
            page_room: Arc::new(Semaphore::new(PAGES_MAX)),
            connection_room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            strangers_room: Semaphore::new(STRANGERS_PIECES as usize),
        });
        let listener = {
            let _in_runtime = runtime.enter();
            TcpListener::from_std(listener).map_err(GatewayError::system("the listener"))?
        };
        let (closing, closed) = watch::channel(false);
        runtime.spawn(accept(listener, Arc::clone(&shared), closed));
        let swept = Arc::clone(&shared);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                swept.mcp.sweep();
                if let Some(tls) = &swept.tls {
                    tls.renew();
                }
            }
        });
        let (runtime, ended) = (Mutex::new(Some(runtime)), AtomicBool::new(false));
        Ok(Self { address, runtime, shared, closing, ended })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends in order: no new connection is taken, sessions are ended and their servers reaped.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = self.closing.send(true);
        self.shared.mcp.end();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // Long enough for last answers to leave.
            std::thread::sleep(Duration::from_millis(50));
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl std::fmt::Debug for HttpDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpDoor").field("address", &self.address).finish_non_exhaustive()
    }
}

/// IPv6 addresses that stand for IPv4 ones are no loopback names of ours.
const fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut closing: watch::Receiver<bool>) {
    let mut close = std::pin::pin!(async move {
        let _ = closing.wait_for(|closing| *closing).await;
    });
    loop {
        let next = std::future::poll_fn(|cx| {
            if close.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        });
        let Some(accepted) = next.await else { return };
        let Ok((stream, remote)) = accepted else {
            // Out of descriptors: the next moment may be better.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(room) = Arc::clone(&shared.connection_room).try_acquire_owned() else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            serve(stream, remote, shared).await;
            drop(room);
        });
    }
}

async fn serve(stream: TcpStream, remote: SocketAddr, shared: Arc<Shared>) {
    let Ok(local) = stream.local_addr() else { return };
    // An answer is one write: it should leave at once. Whoever doesn't take it loses the connection.
    if stream.set_nodelay(true).is_err() || set_tcp_user_timeout(&stream, UNREAD_MS).is_err() {
        return;
    }
    let Some(tls) = &shared.tls else {
        let connection = Arc::new(Connection::plain(local, remote));
        return converse(stream, connection, Arc::clone(&shared)).await;
    };
    let Ok(room) = Arc::clone(&shared.handshake_room).try_acquire_owned() else { return };
    let shaken = tokio::time::timeout(HANDSHAKE_WAIT, tls.acceptor().accept(stream)).await;
    drop(room);
    // Why it failed was told to the client, in an alert.
    let Ok(Ok(stream)) = shaken else { return };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|shown| shown.first()).cloned();
    let certificate = certificate.map(CertificateDer::into_owned);
    let connection = Arc::new(Connection::tls((local, remote), certificate));
    converse(stream, connection, Arc::clone(&shared)).await;
}

/// Answers what is asked over one connection.
async fn converse<S>(stream: S, connection: Arc<Connection>, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let (shared, connection) = (Arc::clone(&shared), Arc::clone(&connection));
        async move { Ok::<_, std::convert::Infallible>(shared.answer(&connection, request).await) }
    });
    // A client that breaks off is its own business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(true)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Shared {
    async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Response<Body> {
        let (parts, mut incoming) = request.into_parts();
        let asks_first = parts.headers.contains_key(EXPECT);
        let mut answer = self.answer_to(connection, parts, &mut incoming).await;
        // Whoever asks before sending is not asked to send what nobody reads.
        let rest = if asks_first && !incoming.is_end_stream() {
            Rest::There
        } else {
            pass_over(&mut incoming).await
        };
        if rest == Rest::There {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn answer_to(
        &self,
        connection: &Connection,
        mut parts: http::request::Parts,
        incoming: &mut Incoming,
    ) -> Response<Body> {
        let to = if parts.uri.path() == "/mcp" { Reader::Mcp } else { Reader::Pages };
        let certified = self.tls.as_ref().map(|tls| tls.names.as_slice());
        if let Err(stopped) = names(&parts.headers, self.port, certified) {
            return self.stop(to, stopped);
        }
        if let Some(described) = self.oauth.described(parts.uri.path())
            && parts.method == Method::GET
        {
            return json(StatusCode::OK, Bytes::from(described.to_canonical()));
        }
        if self.oauth.is_on() && names_token(parts.uri.query()) {
            return self.stop(to, Stopped::InAddress);
        }
        let by = (&self.token, &*self.monitor, &self.oauth);
        let asked = connection.credential(&parts.headers, by);
        let mut credential = match asked.await {
            Ok(credential) => credential,
            // A page says itself whether it needs one.
            Err(Stopped::Credential) if to == Reader::Pages => None,
            Err(stopped) => return self.stop(to, stopped),
        };
        let for_mcp = to == Reader::Mcp;
        let signed = is_signed(&parts.headers);
        if for_mcp && !signed {
            credential = match self.admitted(credential) {
                Ok(credential) => Some(credential),
                Err(stopped) => return self.stop(to, stopped),
            };
        }
        let limit = if for_mcp { BODY_BYTES_MAX } else { PAGE_BYTES_MAX };
        // Another user of the machine may send to public pages, but not fill the memory.
        let _room = if matches!(credential, None | Some(Credential::Nothing)) {
            let most = limit.div_ceil(PIECE_BYTES);
            let pieces =
                announced(&parts).map_or(most, |said| said.div_ceil(PIECE_BYTES).min(most));
            let pieces = u32::try_from(pieces.max(1)).unwrap_or(STRANGERS_PIECES);
            match self.strangers_room.try_acquire_many(pieces) {
                Ok(room) => Some(room),
                Err(_) => {
                    return refuse(to, StatusCode::SERVICE_UNAVAILABLE, "Too much is being sent.");
                }
            }
        } else {
            None
        };
        let body = match read(&parts.headers, incoming, limit).await {
            Ok(body) => body,
            Err(unread) => return unreadable(to, unread, limit),
        };
        let credential = match signed.then(|| prove(&parts, &body, &self.monitor, &self.nonces)) {
            None => credential,
            Some(Ok(proved)) => Some(proved),
            // What is badly signed is not made good by anything else.
            Some(Err(why)) => {
                return refuse(
                    to,
                    StatusCode::UNAUTHORIZED,
                    &format!("The signature proves nothing: {why}."),
                );
            }
        };
        if let (true, Some(credential)) = (for_mcp, credential.clone()) {
            return self.mcp.answer(&parts.method, &parts.headers, credential, body).await;
        }
        let Some(pages) = self.pages.clone() else {
            return refuse(to, StatusCode::NOT_FOUND, "There is nothing here; MCP is at /mcp.");
        };
        parts.headers.remove(AUTHORIZATION);
        if let Some(credential) = credential {
            parts.extensions.insert(credential);
        }
        if let Some(ends) = connection.ends() {
            parts.extensions.insert(ends);
        }
        let Ok(room) = Arc::clone(&self.page_room).acquire_owned().await else {
            return refuse(to, StatusCode::SERVICE_UNAVAILABLE, "This door is closing.");
        };
        let request = Request::from_parts(parts, body);
        let answered = tokio::task::spawn_blocking(move || {
            let answer = pages.answer(request);
            drop(room);
            answer
        });
        match answered.await {
            Ok(answer) => answer.map(|body| Body::Whole(Bytes::from(body))),
            Err(_) => {
                refuse(to, StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made.")
            }
        }
    }
}

impl Shared {
    /// Whose request to `/mcp` it is, if they may speak there at all.
    fn admitted(&self, credential: Option<Credential>) -> Result<Credential, Stopped> {
        match credential {
            Some(Credential::Operator) => {
                let why = "The home's token opens no action here: prove to be a principal.";
                Err(Stopped::Proof(why.to_owned()))
            }
            Some(credential) => Ok(credential),
            None if self.monitor.may_speak(&Proved::Nothing).is_ok() => Ok(Credential::Nothing),
            None => Err(Stopped::Credential),
        }
    }

    fn stop(&self, to: Reader, stopped: Stopped) -> Response<Body> {
        stop(to, &stopped, (self.tls.as_ref(), &self.oauth))
    }
}

/// Whether an access token stands in an address.
fn names_token(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| parameter.split('=').next() == Some("access_token"))
}

/// The length of a body, where it is known beforehand; none is none.
fn announced(parts: &http::request::Parts) -> Option<usize> {
    match parts.headers.get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok()?.parse().ok(),
        None => (!parts.headers.contains_key(TRANSFER_ENCODING)).then_some(0),
    }
}
