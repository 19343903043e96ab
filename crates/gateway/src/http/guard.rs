//! Who may speak to the listener.
//!
//! The adversary is a web page in a browser of this machine, whose requests carry a foreign `Origin` or,
//! after DNS rebinding, a foreign `Host`; another user of the machine; and a process that got hold of a
//! session's id. Only loopback names pass, and a session stays with the credential that opened it.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};

use super::pages::Ends;
use super::peer;
use super::token::Token;

/// What a client proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// It has the home's token.
    Token,
    /// The kernel says that its end of the connection belongs to this user, who is ours.
    User(u32),
    /// It signs its requests with a principal's key.
    Key(Thumbprint),
}

/// The RFC 7638 thumbprint of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Reads 43 letters of base64url.
    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token => f.write_str("token"),
            Self::User(user) => write!(f, "user-{user}"),
            Self::Key(key) => write!(f, "key-{key}"),
        }
    }
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    Host,
    Origin,
    Credential,
}

/// The one value of a header. Two would be read differently by different readers.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Checks that the request is meant for us and comes from no foreign page.
pub(super) fn names(headers: &HeaderMap, port: u16) -> Result<(), Stopped> {
    match one(headers, &HOST) {
        Ok(Some(host)) if is_ours(host, port) => {}
        _ => return Err(Stopped::Host),
    }
    match one(headers, &ORIGIN) {
        Ok(None) => Ok(()),
        Ok(Some(origin)) if is_loopback_origin(origin) => Ok(()),
        _ => Err(Stopped::Origin),
    }
}

fn is_ours(host: &str, port: u16) -> bool {
    let (name, given) = split_port(host);
    is_loopback_name(name) && given.map_or(port == 80, |given| given.parse() == Ok(port))
}

fn is_loopback_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let (name, port) = split_port(rest);
        is_loopback_name(name) && port.is_none_or(|port| port.parse::<u16>().is_ok())
    })
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

/// One connection and what the kernel says of its other end, looked up once.
#[derive(Debug)]
pub(super) struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    user: tokio::sync::OnceCell<Option<u32>>,
}

impl Connection {
    pub(super) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote, user: tokio::sync::OnceCell::new() }
    }

    /// Both ends, for a page.
    pub(super) const fn ends(&self) -> Ends {
        Ends { local: self.local, remote: self.remote }
    }

    /// What the client proves with this request. A wrong token is not made good by the right user.
    pub(super) async fn credential(
        &self,
        headers: &HeaderMap,
        token: &Token,
    ) -> Result<Option<Credential>, Stopped> {
        match one(headers, &AUTHORIZATION) {
            Err(()) => return Err(Stopped::Credential),
            Ok(Some(given)) => {
                let (scheme, given) = given.split_once(' ').unwrap_or_default();
                let right = scheme.eq_ignore_ascii_case("bearer") && token.matches(given.trim());
                return if right { Ok(Some(Credential::Token)) } else { Err(Stopped::Credential) };
            }
            Ok(None) => {}
        }
        let (local, remote) = (self.local, self.remote);
        let look = || async move {
            let looked = tokio::task::spawn_blocking(move || peer::user(local, remote));
            looked.await.ok().flatten()
        };
        let ours = rustix::process::getuid().as_raw();
        let user = self.user.get_or_init(look).await.filter(|user| *user == ours);
        Ok(user.map(Credential::User))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<(), Stopped> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        names(&map, 8080)
    }

    #[test]
    fn only_loopback_names_with_our_port_pass() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"] {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1.evil.example:8080",
            "localhost.:8080",
            "localhost:8080@evil.example",
            "[::1]",
            "0.0.0.0:8080",
            "",
        ] {
            assert_eq!(check(&[("host", host)]), Err(Stopped::Host), "{host}");
        }
        assert_eq!(check(&[]), Err(Stopped::Host));
        let twice = [("host", "localhost:8080"), ("host", "localhost:8080")];
        assert_eq!(check(&twice), Err(Stopped::Host));
    }

    #[test]
    fn a_foreign_page_is_stopped() {
        let host = ("host", "localhost:8080");
        for origin in ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:1"] {
            assert_eq!(check(&[host, ("origin", origin)]), Ok(()), "{origin}");
        }
        for origin in [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example:8080",
            "http://localhost@evil.example",
            "file://localhost",
            "http://localhost:1/x",
            "",
        ] {
            assert_eq!(check(&[host, ("origin", origin)]), Err(Stopped::Origin), "{origin}");
        }
    }
}
