//! One request over HTTP/1.1 and its answer.
//!
//! The adversary answers slowly, endlessly, with a redirect, or on the way without a certificate.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::key::Key;
use crate::error::EmbedError;

/// Largest answer, in bytes: the largest vectors take less than half of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where to ask.
pub(super) struct Address {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, EmbedError> {
        let wrong = |what: &str| EmbedError::Setting { what: what.to_owned() };
        let fault = || wrong("address must be a URL like https://host/v1");
        let uri: Uri = url.parse().map_err(|_| fault())?;
        let host = uri.host().ok_or_else(fault)?.trim_matches(['[', ']']).to_owned();
        let authority = uri.authority().ok_or_else(fault)?.as_str();
        if authority.contains('@') || uri.query().is_some() {
            return Err(wrong("address must not hold a user, a password or a query"));
        }
        let tls = match uri.scheme_str() {
            Some("https") => {
                Some((connector()?, ServerName::try_from(host.clone()).map_err(|_| fault())?))
            }
            Some("http") if is_loopback(&host) => None,
            Some("http") => return Err(wrong("address must be https, as it is another machine")),
            _ => return Err(fault()),
        };
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let authority = HeaderValue::from_str(authority).map_err(|_| fault())?;
        let path = uri.path().parse().map_err(|_| fault())?;
        Ok(Self { host, port, authority, path, tls })
    }

    /// The body of the answer to `body`, if its status is 200.
    pub(super) fn post(
        &self,
        body: &str,
        key: Option<&Key>,
        wait: Duration,
    ) -> Result<Vec<u8>, EmbedError> {
        // On a thread of its own: a caller may be on a runtime, which must not be waited on within.
        let unreachable = |why: std::io::Error| EmbedError::Unreachable { why: why.to_string() };
        std::thread::scope(|scope| {
            let asking = std::thread::Builder::new().name("embedding".to_owned());
            let asked = asking.spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(unreachable)?;
                let asking = async { tokio::time::timeout(wait, self.ask(body, key)).await };
                let answer = runtime.block_on(asking);
                // A name that is still being looked up is not waited for.
                runtime.shutdown_background();
                let late = |_| Err(EmbedError::Late { wait });
                answer.unwrap_or_else(late)
            });
            let lost = || EmbedError::Unreachable { why: "its thread ended".to_owned() };
            asked.map_err(unreachable)?.join().unwrap_or_else(|_| Err(lost()))
        })
    }

    async fn ask(&self, body: &str, key: Option<&Key>) -> Result<Vec<u8>, EmbedError> {
        let failed = |why: String| EmbedError::Unreachable { why };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.path.clone())
            .header(HOST, self.authority.clone())
            .header(CONNECTION, "close")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        if let Some(value) = key.and_then(Key::header) {
            request = request.header(AUTHORIZATION, value);
        }
        let body = Whole(Bytes::copy_from_slice(body.as_bytes()));
        let request = request.body(body).map_err(|why| failed(why.to_string()))?;
        let io = |why: std::io::Error| failed(why.to_string());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(io)?;
        let answer = match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(io)?;
                exchange(stream, request).await?
            }
            None => exchange(stream, request).await?,
        };
        if answer.status() != StatusCode::OK {
            // What it says beside may hold what was sent to it.
            return Err(EmbedError::Refused { status: answer.status().as_u16() });
        }
        collect(answer.into_body()).await
    }
}

/// Whether a host is this machine. A name other than `localhost` may lead elsewhere tomorrow.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn exchange<S>(stream: S, request: Request<Whole>) -> Result<Response<Incoming>, EmbedError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |why: hyper::Error| EmbedError::Unreachable { why: why.to_string() };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(failed)
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, EmbedError> {
    let mut read = Vec::new();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { return Ok(read) };
        let frame = frame.map_err(|why| EmbedError::Unreachable { why: why.to_string() })?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(EmbedError::Answer { what: "it is too large" });
            }
            read.extend_from_slice(&data);
        }
    }
}

/// A body that leaves in one piece.
struct Whole(Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = std::mem::take(&mut self.get_mut().0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// TLS with the roots of this machine.
fn connector() -> Result<TlsConnector, EmbedError> {
    let wrong = |what: String| EmbedError::Setting { what };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let what = "certificate can't be checked: this machine has no root certificates \
                    (Debian: ca-certificates)";
        return Err(wrong(what.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| wrong(format!("TLS can't be set up: {why}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
