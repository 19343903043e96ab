//! Why the monitor could not start, or could not be reached.

use tipstaff_identity::IdentityError;
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

fn first(faults: &[PolicyFault]) -> String {
    faults.first().map_or_else(|| "no fault named".to_owned(), ToString::to_string)
}
