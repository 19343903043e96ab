//! What an action is, in the facts that a capability's checks are about.
//!
//! The adversary writes an address or a path that a check reads differently than whoever carries the action out. Paths
//! are those that they resolve to; an address that can't be read beyond doubt has a name that no check permits.

use tipstaff_core::{Action, Json, Millis, Tier};

/// Most arguments that the library's engine is told of.
pub(super) const ARGUMENTS_MAX: usize = 256;

/// An action, and what the world is like.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The action.
    pub action: &'a Action,
    /// Its tier.
    pub tier: Tier,
    /// The time.
    pub now: Millis,
    /// The number of leaves in the log.
    pub position: u64,
    /// The chain of its session.
    pub session: &'a str,
    /// What the paths that it names resolve to.
    pub paths: &'a [&'a str],
    /// What was used up before, of [`super::Capability::meters`].
    pub metered: &'a [Metered],
}

/// What a capability counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meter {
    /// The block whose uses are counted, from 0.
    pub block: usize,
    /// The JSON pointer of the argument that is summed up; `None` for the number of uses.
    pub at: Option<String>,
}

/// How far a meter has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered {
    /// Which.
    pub meter: Meter,
    /// Uses, or the sum.
    pub value: i64,
}

impl Asked<'_> {
    pub(super) fn argument(&self, at: &str) -> Option<&Json> {
        self.action.parameters().pointer(at)
    }

    /// Seconds since the epoch, as a Biscuit has them.
    pub(super) fn seconds(&self) -> i64 {
        i64::try_from(self.now.0 / 1000).unwrap_or(i64::MAX)
    }

    pub(super) fn height(&self) -> i64 {
        i64::try_from(self.position).unwrap_or(i64::MAX)
    }

    pub(super) fn used(&self, block: usize, at: Option<&str>) -> Option<i64> {
        let is =
            |metered: &&Metered| metered.meter.block == block && metered.meter.at.as_deref() == at;
        self.metered.iter().find(is).map(|metered| metered.value)
    }

    /// Whether it calls a tool: a prompt or resource of a tool's name is not that tool.
    pub(super) fn calls(&self) -> bool {
        self.action.operation() == "tools/call"
    }
}

/// The hosts of all addresses in an action's arguments and resource, sorted. `""` stands for one that can't be read.
#[must_use]
pub fn hosts(action: &Action) -> Vec<String> {
    let mut found = Vec::new();
    action.parameters().each_string(&mut |_, text| collect(text, &mut found));
    if let Some(resource) = action.resource() {
        collect(resource, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn collect(text: &str, found: &mut Vec<String>) {
    if !text.contains(['/', '\\']) {
        return;
    }
    let before = found.len();
    // Some readers of addresses drop these characters, and take the other slash for this one.
    let doubtful = text.contains(['\t', '\r', '\n', '\\']);
    let text: String = text
        .chars()
        .filter(|c| !matches!(c, '\t' | '\r' | '\n'))
        .map(|c| if c == '\\' { '/' } else { c })
        .collect();
    let begun = text.trim_start_matches(|c: char| c <= ' ');
    if let Some(rest) = begun.strip_prefix("//") {
        found.push(host(rest));
    }
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(":/") {
        let scheme = before.rsplit(|c: char| !is_scheme(c)).next().unwrap_or_default();
        // One letter is a drive of another system, and no letter no scheme.
        if scheme.len() > 1 && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let is_file = scheme.eq_ignore_ascii_case("file");
            match after.strip_prefix('/') {
                Some(address) if is_file && address.starts_with('/') => {}
                Some(address) => found.push(host(address)),
                None if is_file => {}
                None => found.push(String::new()),
            }
        }
        rest = after;
    }
    if doubtful && found.len() > before {
        found.push(String::new());
    }
}

const fn is_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// The host at the beginning of an authority.
fn host(rest: &str) -> String {
    let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '`') || c <= ' ';
    let authority = rest.split(ends).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(plain) || !port.chars().all(|c| c.is_ascii_digit()) {
        return String::new();
    }
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let parameters = Json::object(vec![("url".to_owned(), Json::string(text))]).unwrap();
        hosts(&Action::new("s", "t", "tools/call", parameters, None).unwrap())
    }

    #[test]
    fn hosts_are_read_as_readers_of_addresses_do() {
        for (text, host) in [
            ("https://api.example.org/x", "api.example.org"),
            ("HTTPS://API.Example.ORG:443", "api.example.org"),
            ("https://good.example@evil.example/", "evil.example"),
            ("see http://a.example.", "a.example"),
            ("  //b.example/x", "b.example"),
        ] {
            assert_eq!(of(text), [host], "{text}");
        }
        for text in [
            "http:/e.example",
            "https://e%2eexample/",
            "https://\u{435}.example",
            "https://[::1]/",
            "https:///x",
            "https://a:b.example",
        ] {
            assert_eq!(of(text), [""], "{text}");
        }
        for text in ["plain", "/a/b", "C:\\x", "a: /b", "file:///etc/x", "1:/2"] {
            assert!(of(text).is_empty(), "{text}: {:?}", of(text));
        }
        for text in
            ["https://d.example\\@e.example/", "ht\ntps://d.example", "https:\\\\d.example\\x"]
        {
            assert_eq!(of(text), ["", "d.example"], "readers differ: {text}");
        }
        assert_eq!(of("https://a.example and ftp://b.example"), ["a.example", "b.example"]);
    }
}
