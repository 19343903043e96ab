//! Addresses that other parties name, and where their descriptions are.
//!
//! The adversary names an address in the clear, one with somebody else's host behind an `@`, or one that is a command
//! where it is shown or opened. What passes is https, or http on this machine, in the characters of RFC 3986 alone.

use http::Uri;

use super::super::remote::Reach;

/// Longest address.
const LENGTH_MAX: usize = 2048;
/// What could end a word or begin a command for whoever pastes an address.
const UNSAFE: &[u8] = b"'\"`\\<>|{}^$();*!";

/// An address that may be asked or opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    text: String,
    host: String,
    port: u16,
    secure: bool,
    /// How long scheme and authority are.
    base: usize,
}

/// Where a description lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WellKnown {
    /// Between host and path (RFC 8414, RFC 9728).
    Inserted,
    /// Behind the path (OpenID Connect).
    Appended,
    /// At the root, whatever the path is.
    Root,
}

impl Address {
    /// Reads an address, `None` if it is none that may be asked.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && byte != b'#' && !UNSAFE.contains(&byte);
        if text.len() > LENGTH_MAX || !text.bytes().all(is_plain) {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host().to_ascii_lowercase();
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        if host.is_empty() || authority.as_str().contains('@') {
            return None;
        }
        // In the clear it goes over this machine alone, and that is not for a name server to say.
        if !secure && Reach::of_host(&host) != Reach::Here {
            return None;
        }
        let scheme = if secure { "https://".len() } else { "http://".len() };
        let base = scheme + authority.as_str().len();
        // Nothing was left out or written otherwise on the way.
        text.get(scheme..base).filter(|found| *found == authority.as_str())?;
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // Something stands behind the host that is no port.
            None if authority.as_str().len() != authority.host().len() => return None,
            None if secure => 443,
            None => 80,
        };
        Some(Self { text: text.to_owned(), host, port, secure, base })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the two are the same server.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// Whether this names `other`, or the part of its server in which `other` is.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.rest().contains('?') {
            return self.text == other.text;
        }
        let own = self.path();
        let rest = other.path().strip_prefix(own.strip_suffix('/').unwrap_or(own));
        self.is_beside(other) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the two differ at most in the slash of an empty path.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let trimmed = |address: &Self| match address.rest() {
            "/" => address.text.trim_end_matches('/').to_owned(),
            _ => address.text.clone(),
        };
        trimmed(self) == trimmed(other)
    }

    /// Where its description of a kind lies.
    pub(super) fn well_known(&self, kind: &str, place: WellKnown) -> String {
        let base = self.text.get(..self.base).unwrap_or_default();
        let rest = if self.rest() == "/" { "" } else { self.rest() };
        let path = rest.strip_suffix('/').unwrap_or(rest);
        match place {
            WellKnown::Inserted => format!("{base}/.well-known/{kind}{rest}"),
            WellKnown::Appended => format!("{base}{path}/.well-known/{kind}"),
            WellKnown::Root => format!("{base}/.well-known/{kind}"),
        }
    }

    /// Whether there is more than a server.
    pub(super) fn has_path(&self) -> bool {
        !matches!(self.rest(), "" | "/")
    }

    /// The same without what asks something of it.
    pub(super) fn path(&self) -> &str {
        self.rest().split('?').next().unwrap_or_default()
    }

    /// The address with more parameters in its query.
    pub(super) fn with_query(&self, query: &str) -> String {
        let text = &self.text;
        match text.split_once('?') {
            None => format!("{text}?{query}"),
            Some((_, "")) => format!("{text}{query}"),
            Some(_) => format!("{text}&{query}"),
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.base..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn only_what_may_be_asked_is_an_address() {
        for good in [
            "https://a.example",
            "https://A.example:8443/x?y=z",
            "http://127.0.0.1:1/",
            "http://localhost/a",
            "http://[::1]:8/",
        ] {
            of(good);
        }
        for wrong in [
            "",
            "https://",
            "a.example",
            "/x",
            "http://a.example/",
            "http://localhost.evil/",
            "http://10.0.0.1/",
            "https://a@b.example/",
            "https://a.example/#x",
            "https://a.example/ x",
            "https://a.example/'x",
            "https://a.example/$(x)",
            "https://a.example/\u{7}",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://a.example:/",
            "https://a.example:x/",
            "https://b\u{e4}r.example/",
        ] {
            assert!(Address::parse(wrong).is_none(), "{wrong}");
        }
        assert!(Address::parse(&format!("https://a.example/{}", "a".repeat(2048))).is_none());
    }

    #[test]
    fn descriptions_lie_where_the_standards_say() {
        let (root, tenant) = (of("https://a.example"), of("https://a.example:1/tenant1"));
        let kind = "oauth-authorization-server";
        for (address, place, found) in [
            (
                &root,
                WellKnown::Inserted,
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                &tenant,
                WellKnown::Inserted,
                "https://a.example:1/.well-known/oauth-authorization-server/tenant1",
            ),
            (
                &tenant,
                WellKnown::Appended,
                "https://a.example:1/tenant1/.well-known/oauth-authorization-server",
            ),
            (
                &tenant,
                WellKnown::Root,
                "https://a.example:1/.well-known/oauth-authorization-server",
            ),
        ] {
            assert_eq!(address.well_known(kind, place), found);
        }
        assert_eq!(
            of("https://a.example/").well_known("x", WellKnown::Inserted),
            "https://a.example/.well-known/x"
        );
    }

    #[test]
    fn a_resource_covers_its_own_server_and_path_alone() {
        let server = of("https://a.example/mcp/v1");
        for good in [
            "https://a.example",
            "https://A.example:443/",
            "https://a.example/mcp",
            "https://a.example/mcp/",
            "https://a.example/mcp/v1",
        ] {
            assert!(of(good).covers(&server), "{good}");
        }
        for wrong in [
            "https://b.example/mcp/v1",
            "https://a.example:444/mcp/v1",
            "https://a.example/mc",
            "https://a.example/mcp/v1/x",
            "https://a.example/mcp/v12",
            "https://a.example/mcp?v1",
            "http://localhost/mcp/v1",
        ] {
            assert!(!of(wrong).covers(&server), "{wrong}");
        }
    }

    #[test]
    fn an_issuer_is_the_same_but_for_an_empty_path() {
        assert!(of("https://a.example").is_same(&of("https://a.example/")));
        for other in [
            "https://a.example/x",
            "https://A.example",
            "https://a.example:443",
            "https://a.example//",
        ] {
            assert!(!of("https://a.example").is_same(&of(other)), "{other}");
        }
        assert!(!of("https://a.example/x").is_same(&of("https://a.example/x/")));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_passes_is_plain(text in "(https?://)?[ -~]{0,60}") {
            if let Some(address) = Address::parse(&text) {
                prop_assert!(address.as_str().bytes().all(|b| b.is_ascii_graphic() && b != b'\''));
                prop_assert!(address.is_beside(&address) && address.covers(&address));
                prop_assert!(address.well_known("x", WellKnown::Inserted).starts_with("http"));
            }
        }
    }
}
