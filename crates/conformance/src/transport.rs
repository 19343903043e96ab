//! What the tests need of the world: requests over HTTP, a person's signature, an outage.
//!
//! The adversary is the implementation under test, which may answer anything, slowly or never: answers are
//! bytes and a status, bounded in size and time by whoever carries them.

use std::time::Duration;

use serde_json::Value;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// With the bearer token.
    Token,
    /// With none.
    Nothing,
    /// As the principal of this number, who has a key and a role: the transport signs for it.
    Principal(usize),
}

/// A request to the implementation under test.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST or DELETE.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Header lines beside those of the connection.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks.
    pub credential: Credential,
    /// How long to wait for the whole answer.
    pub wait: Duration,
}

/// Its answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// There was no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no answer: {0}")]
pub struct Unreachable(pub String);

/// Carries requests to the implementation under test.
pub trait Transport: Sync {
    /// Sends one and waits for its answer.
    ///
    /// # Errors
    /// [`Unreachable`]
    fn send(&self, request: &Request) -> Result<Answer, Unreachable>;
}

/// What a person answers to a call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It may run, once.
    Approve,
    /// It may not.
    Refuse,
}

/// What a person tells a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say<'a> {
    /// What is wanted.
    Request(&'a str),
    /// A fact that a policy waits for: its name and value.
    Give(&'a str, &'a str),
}

/// A person's key.
pub trait Approver: Sync {
    /// The body that answers a call, from its row of the queue. `None` if the row says too little.
    fn answer(&self, row: &Value, word: Word) -> Option<Value>;
    /// The body that tells a session of a log something.
    fn tell(&self, session: &str, log: &str, say: Say<'_>) -> Value;
}

/// What was seen around an outage.
#[derive(Debug, Clone, Default)]
pub struct Outaged {
    /// Whether the call had its effect before.
    pub before: bool,
    /// Whether it had while what judges was away.
    pub during: bool,
    /// What the caller was told while it was away.
    pub told: String,
}

/// Takes what judges away while the way to the tools stays open.
pub trait Outage: Sync {
    /// Calls before and during the outage.
    ///
    /// # Errors
    /// A sentence, if it could not be tried.
    fn try_out(&self) -> Result<Outaged, String>;
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}
