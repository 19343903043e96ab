//! Why the monitor could not start, or could not be reached.

use tipstaff_identity::IdentityError;
use tipstaff_identity::{ApproverFault, ChangeFault};
use tipstaff_ledger::LedgerError;
use tipstaff_policy::PolicyFault;
use tipstaff_store::StoreError;

/// Named for what the operator can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// Another monitor has this home.
    #[error("another monitor runs on this home")]
    AlreadyRunning,
    /// Another monitor has this home and was not started by a door: it stays until its user ends it.
    #[error("`tipstaff serve` runs on this home already")]
    AlreadyServing,
    /// Another monitor has this home and doesn't make way for this process.
    #[error("another monitor runs on this home and was not ended: {0}")]
    Stays(String),
    /// The configuration is wrong.
    #[error("config.toml: {0}")]
    Config(String),
    /// Keys.
    #[error("keys: {0}")]
    Keys(#[from] IdentityError),
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The policies on disk are refused and there is no earlier set to keep.
    #[error("the policies are refused: {}", first(.0))]
    Policies(Vec<PolicyFault>),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system said no.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Its error.
        source: std::io::Error,
    },
    /// What is kept does not belong together.
    #[error("{0}")]
    Inconsistent(String),
}

/// Why a door could not reach the monitor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It could not be started.
    #[error("the monitor could not be started: {0}")]
    NotStarted(String),
    /// It refused this process.
    #[error("the monitor refused: {0}")]
    Refused(String),
    /// The connection broke.
    #[error("the connection to the monitor broke: {0}")]
    Broken(String),
}

/// Why an answer to a held call does not count. The attempt has a receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It was answered already.
    #[error("it was answered already")]
    Answered,
    /// What was signed is another call, or other terms.
    #[error("what was signed is not the call that waits")]
    AnotherCall,
    /// It waits for context, not for a person.
    #[error(
        "it is deferred: it waits for context, which a person's yes doesn't supply; `tipstaff queue` says what \
         is missing"
    )]
    Deferred,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
    /// By a key that was replaced.
    #[error(
        "the approver's key that signed it was replaced, and its time is over; sign with the new one"
    )]
    KeyEnded,
    /// It can't cover more than the call that waits.
    #[error("it can't cover later calls: {0}")]
    NotRepeatable(String),
    /// Not by a key of this home's approvers.
    #[error("it is not signed by an approver of this home")]
    NotSigned,
    /// The policies changed.
    #[error("the policies changed since it was held")]
    PolicyChanged,
    /// The answer comes from the requester, or from what it started.
    #[error("it comes from the agent that asked, or from a process that the agent started")]
    SelfApproval,
    /// No such call waits.
    #[error("no such call waits")]
    Unknown,
    /// It could not be recorded, so it does not count.
    #[error("it could not be recorded: {0}")]
    Unrecorded(#[from] LedgerError),
}

impl Rejection {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::AnotherCall => "another_call",
            Self::Deferred => "deferred",
            Self::Expired => "expired",
            Self::KeyEnded => "key_ended",
            Self::NotRepeatable(_) => "not_repeatable",
            Self::NotSigned => "not_signed",
            Self::PolicyChanged => "policy_changed",
            Self::SelfApproval => "self_approval",
            Self::Unknown => "unknown",
            Self::Unrecorded(_) => "unrecorded",
        }
    }
}

/// Why what was told to a session does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untold {
    /// An agent could have said it.
    #[error("from a client's own process only the first request counts, before anything was done")]
    Late,
    /// It can't be told.
    #[error("{0}")]
    Malformed(&'static str),
    /// Not by a key of this home's approvers, or for another home.
    #[error("it is not signed by an approver of this home")]
    NotSigned,
    /// No such session goes on.
    #[error("no such session goes on")]
    Unknown,
    /// It could not be recorded, so it does not count.
    #[error("it could not be recorded: {0}")]
    Unrecorded(String),
}

/// Why an order changes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disobeyed {
    /// Not by a key of this home's approvers, or for another home.
    #[error("it is not signed by an approver of this home")]
    NotSigned,
    /// It was not given now.
    #[error("it was not given within ten minutes of now")]
    Time,
    /// It doesn't fit what is known.
    #[error("{0}")]
    Fault(#[from] ChangeFault),
    /// It doesn't fit the approvers.
    #[error("{0}")]
    Approver(#[from] ApproverFault),
    /// A lost key is replaced while a client is there.
    #[error("clients are connected: end them first, so that none of them can have a hand in it")]
    Connected,
    /// It could not be recorded.
    #[error("it could not be recorded: {0}")]
    Unrecorded(#[from] MonitorError),
}

impl From<ApproverFault> for Rejection {
    fn from(fault: ApproverFault) -> Self {
        match fault {
            ApproverFault::Ended => Self::KeyEnded,
            _ => Self::NotSigned,
        }
    }
}

impl Disobeyed {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotSigned => "not_signed",
            Self::Time => "time",
            Self::Fault(fault) => fault.as_str(),
            Self::Approver(fault) => fault.as_str(),
            Self::Connected => "connected",
            Self::Unrecorded(_) => "unrecorded",
        }
    }
}

fn first(faults: &[PolicyFault]) -> String {
    faults.first().map_or_else(|| "no fault named".to_owned(), ToString::to_string)
}
