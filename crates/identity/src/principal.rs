//! Principals: who may act, with which keys, and how that ends (rows A12, D4, I10).
//!
//! The adversary acts under a name or key that is not his: a key that was stolen and revoked, a name that was
//! retired and taken again, an agent whose owner is gone. What is known of principals is the fold of signed
//! orders, each bound to one log and to the order before it, so that no order counts twice, out of place or in
//! another home. Pure: times and log positions are inputs.

mod book;
mod group;
mod name;
mod order;
mod registry;
mod service;

pub use book::{Book, BookError};
pub use group::{Group, GroupFault, Standing};
pub use name::Name;
pub use order::{Change, Order, OrderFault, SignedOrder};
pub use registry::{ChangeFault, PRINCIPALS_MAX, Principal, Principals, Silence, Speaker};
pub use service::{Service, ServiceFault};

use tipstaff_core::Json;

/// What a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person. Nobody owns a person.
    Human,
    /// A program that runs for many.
    Service,
    /// A language-model agent.
    Agent,
    /// CI, a formatter, an analysis.
    System,
    /// A machine of a cluster.
    Node,
}

/// How a principal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may act.
    Active,
    /// It may not act until it is restored.
    Suspended,
    /// It may never act again, and its name is never given again.
    Retired,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Human, Self::Service, Self::Agent, Self::System, Self::Node];

    /// The word in orders.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Agent => "agent",
            Self::System => "system",
            Self::Node => "node",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Status {
    /// The word in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }
}

pub(crate) fn object(members: Vec<(&str, Json)>) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::object(members).unwrap_or(Json::Null)
}

pub(crate) fn number(value: u64) -> Json {
    Json::from(i64::try_from(value).unwrap_or(i64::MAX))
}
