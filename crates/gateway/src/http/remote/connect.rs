//! Connections to one far server.
//!
//! The adversary sits on the way: over TLS the certificate must be one that this machine's roots vouch
//! for, and there is no way to switch that off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::body::Body;
use super::Fault;
use super::reach::Reach;

/// Time to connect, TLS included.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
/// Most connections that are kept for later.
const KEPT_MAX: usize = 8;

/// Where the far server is, and connections to it that are free.
pub(super) struct Target {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    reach: Reach,
    free: Mutex<Vec<SendRequest<Body>>>,
}

impl Target {
    /// A server that the operator named.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        Self::within(url, Reach::Anywhere)
    }

    /// A server that is connected to only within a reach.
    pub(super) fn within(url: &str, reach: Reach) -> Result<Self, String> {
        let fault = || "its url can't be used".to_owned();
        let uri: Uri = url.parse().map_err(|_| fault())?;
        let host = uri.host().ok_or_else(fault)?.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().ok_or_else(fault)?.as_str();
        let authority = HeaderValue::from_str(authority).map_err(|_| fault())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| fault())?;
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| fault())?;
            Some((connector()?, name))
        } else {
            None
        };
        Ok(Self { host, port, authority, path, tls, reach, free: Mutex::default() })
    }

    /// Where on the same server an answer redirects to; `None` if it names another one.
    pub(super) fn redirected(&self, location: &HeaderValue) -> Option<Uri> {
        let location = location.to_str().ok()?;
        if location.starts_with('/') && !location.starts_with("//") {
            return location.parse().ok();
        }
        let uri: Uri = location.parse().ok()?;
        let port = match (uri.scheme_str()?, &self.tls) {
            ("https", Some(_)) => 443,
            ("http", None) => 80,
            _ => return None,
        };
        let authority = uri.authority()?;
        let same = authority.host().trim_matches(['[', ']']).eq_ignore_ascii_case(&self.host)
            && authority.port_u16().unwrap_or(port) == self.port
            && !authority.as_str().contains('@');
        if same { uri.path_and_query()?.as_str().parse().ok() } else { None }
    }

    /// Sends a request over a free connection, or a new one.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Fault> {
        self.send_to(self.path.clone(), request).await
    }

    /// Sends a request to another path of the server.
    pub(super) async fn send_to(
        &self,
        path: Uri,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Fault> {
        *request.uri_mut() = path;
        request.headers_mut().insert(HOST, self.authority.clone());
        let (connection, answer) = loop {
            let kept = self.kept();
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(kept) => kept,
                None => {
                    let connected = tokio::time::timeout(CONNECT_WAIT, self.connect()).await;
                    let late = || Err("it does not accept connections in time".to_owned());
                    connected.unwrap_or_else(|_| late()).map_err(Fault::NotSent)?
                }
            };
            match connection.try_send_request(request).await {
                Ok(answer) => break (connection, answer),
                // A kept connection that was closed meanwhile: nothing of it was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    Some(_) => return Err(Fault::NotSent("it closed the connection".to_owned())),
                    None => return Err(Fault::Lost),
                },
            }
        };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_MAX {
            free.push(connection);
        }
        Ok(answer)
    }

    /// A connection whose last answer was read.
    fn kept(&self) -> Option<SendRequest<Body>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|connection| !connection.is_closed());
        let at = free.iter().position(SendRequest::is_ready)?;
        Some(free.swap_remove(at))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let failed = |error: std::io::Error| format!("it can't be reached: {error}");
        // The number is looked at that is connected to: a name may stand for another one a moment later.
        let found =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?;
        let permitted = found.filter(|address| self.reach.permits(address.ip()));
        let permitted: Vec<SocketAddr> = permitted.take(ADDRESSES_MAX).collect();
        if permitted.is_empty() {
            return Err("its address is not a public one, and you did not name it".to_owned());
        }
        let stream = TcpStream::connect(permitted.as_slice()).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(failed)?;
                open(stream).await
            }
            None => open(stream).await,
        }
    }
}

async fn open<S>(stream: S) -> Result<SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// TLS with the roots of this machine.
fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine has no root certificates (Debian: ca-certificates)".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_out_of_reach_is_not_connected_to() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        for (host, reach, is_permitted) in [
            ("127.0.0.1", Reach::Public, false),
            ("localhost", Reach::Public, false),
            ("127.0.0.1", Reach::Private, false),
            ("127.0.0.1", Reach::Here, true),
            ("127.0.0.1", Reach::Anywhere, true),
        ] {
            let target = Target::within(&format!("http://{host}:{port}/"), reach).unwrap();
            let connected = runtime.block_on(target.connect());
            assert_eq!(connected.is_ok(), is_permitted, "{host} {reach:?}");
            let why = connected.err().unwrap_or_else(|| "not a public one".to_owned());
            assert!(why.contains("not a public one"), "{why}");
        }
    }

    #[test]
    fn only_the_same_server_is_redirected_to() {
        let target = Target::parse("http://Far.example:8080/mcp").unwrap();
        let to = |location| {
            let location = HeaderValue::from_static(location);
            target.redirected(&location).map(|uri| uri.to_string())
        };
        assert_eq!(to("/mcp/?a=1"), Some("/mcp/?a=1".to_owned()));
        assert_eq!(to("http://far.EXAMPLE:8080/mcp/"), Some("/mcp/".to_owned()));
        for other in [
            "//evil.example/mcp",
            "https://far.example:8080/mcp/",
            "http://far.example/mcp/",
            "http://far.example:8080@evil.example/mcp/",
            "http://me@far.example:8080/mcp/",
            "http://far.example.evil:8080/mcp/",
            "mcp/",
            "",
        ] {
            assert_eq!(to(other), None, "{other}");
        }
    }
}
