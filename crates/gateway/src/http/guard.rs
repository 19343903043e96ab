//! Who may speak to the listener.
//!
//! The adversary is a web page in a browser of this machine, whose requests carry a foreign `Origin` or,
//! after DNS rebinding, a foreign `Host`; another user of the machine; and a process that got hold of a
//! session's id. Only loopback names pass, or with TLS those of the certificate, and a session stays with the
//! credential that opened it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use tipstaff_core::Digest;
use tipstaff_core::key::VerifyingKey;
use tipstaff_identity::Name;
use tipstaff_monitor::Proved;

/// What a client proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// It has the home's token.
    Token,
    /// It has the home's token, on a listener with TLS: it sees what the operator sees, and acts as nobody.
    Operator,
    /// The kernel says that its end of the connection belongs to this user, who is ours.
    User(u32),
    /// It signs its requests with a principal's key.
    Key(Thumbprint),
    /// It has a principal's key, by the certificate of its connection.
    Certificate(Thumbprint),
    /// It has an access token of an issuer, for whom the operator takes it.
    Account(Arc<Account>),
    /// Nothing, and the configuration lets it in for what changes nothing.
    Nothing,
}

/// Who an issuer says that a client is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// The principal.
    pub(super) name: Name,
    /// The issuer and the subject.
    pub(super) subject: Digest,
}

impl Credential {
    /// What the monitor is told of it.
    pub(crate) fn proved(&self) -> Proved {
        match self {
            Self::Token | Self::User(_) => Proved::Owner,
            Self::Key(key) => Proved::Key(key.to_string()),
            Self::Certificate(key) => Proved::Certificate(key.to_string()),
            Self::Account(account) => Proved::Account(account.name.clone()),
            Self::Operator | Self::Nothing => Proved::Nothing,
        }
    }

    /// Whether it is a principal's.
    pub(crate) const fn is_principals(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Certificate(_) | Self::Account(_))
    }
}

/// The RFC 7638 thumbprint of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// That of a key.
    pub(super) fn of(key: &VerifyingKey) -> Option<Self> {
        Self::parse(&key.key_id())
    }

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
            Self::Certificate(key) => write!(f, "certificate-{key}"),
            Self::Account(account) => write!(f, "account-{}", account.subject.to_hex()),
            Self::Operator | Self::Nothing => f.write_str("nobody"),
        }
    }
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    Host,
    Origin,
    /// It proves nothing.
    Credential,
    /// What it proves is not enough, in words.
    Proof(String),
    /// Its access token counts for nothing, in words.
    Token(String),
    /// Its access token lacks these scopes.
    Scope(String),
    /// It can't be told now what its access token proves, in words.
    Unsure(String),
    /// It has an access token where others read it.
    InAddress,
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

/// Checks that the request is meant for us and comes from no foreign page. With TLS, ours are the names of the
/// certificate and its pages; without, those of this machine.
pub(super) fn names(
    headers: &HeaderMap,
    port: u16,
    certified: Option<&[String]>,
) -> Result<(), Stopped> {
    let is_host = |host: &str| match certified {
        None => is_ours(host, port),
        Some(names) => is_certified(host, names, port),
    };
    match one(headers, &HOST) {
        Ok(Some(host)) if is_host(host) => {}
        _ => return Err(Stopped::Host),
    }
    let is_origin = |origin: &str| match certified {
        None => is_loopback_origin(origin),
        Some(names) => origin
            .strip_prefix("https://")
            .is_some_and(|authority| is_certified(authority, names, port)),
    };
    match one(headers, &ORIGIN) {
        Ok(None) => Ok(()),
        Ok(Some(origin)) if is_origin(origin) => Ok(()),
        _ => Err(Stopped::Origin),
    }
}

fn is_certified(authority: &str, names: &[String], port: u16) -> bool {
    let (name, given) = split_port(authority);
    names.iter().any(|own| own.eq_ignore_ascii_case(name))
        && given.map_or(port == 443, |given| given.parse() == Ok(port))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<(), Stopped> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        names(&map, 8080, None)
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
    fn with_tls_ours_are_the_names_of_the_certificate() {
        let certified = ["gateway.example".to_owned(), "[::1]".to_owned()];
        let check = |host: &str, origin: Option<&str>, port: u16| {
            let mut map = HeaderMap::new();
            map.append(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                map.append(ORIGIN, origin.parse().unwrap());
            }
            names(&map, port, Some(&certified))
        };
        assert_eq!(check("Gateway.example:4443", None, 4443), Ok(()));
        assert_eq!(check("gateway.example", Some("https://gateway.example"), 443), Ok(()));
        assert_eq!(check("[::1]:4443", Some("https://gateway.example:4443"), 4443), Ok(()));
        for host in
            ["localhost:4443", "127.0.0.1:4443", "gateway.example", "gateway.example:80", ""]
        {
            assert_eq!(check(host, None, 4443), Err(Stopped::Host), "{host}");
        }
        for origin in [
            "http://gateway.example:4443",
            "https://gateway.example",
            "https://gateway.example:4444",
            "https://evil.example:4443",
            "http://localhost:4443",
            "null",
        ] {
            let stopped = check("gateway.example:4443", Some(origin), 4443);
            assert_eq!(stopped, Err(Stopped::Origin), "{origin}");
        }
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
