//! Why a measurement could not be made.

/// A measurement that was not made. A wrong count is a failure too: speed of a wrong answer is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The system.
    #[error(transparent)]
    System(#[from] rustix::io::Errno),
    /// A value of the core.
    #[error(transparent)]
    Core(#[from] tipstaff_core::CoreError),
    /// Keys.
    #[error(transparent)]
    Identity(#[from] tipstaff_identity::IdentityError),
    /// The log.
    #[error(transparent)]
    Ledger(#[from] tipstaff_ledger::LedgerError),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] tipstaff_monitor::MonitorError),
    /// JSON of a result or an answer.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// What was measured did not do what it is for.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    /// A failure in words.
    pub(crate) fn wrong(what: impl std::fmt::Display) -> Self {
        Self::Wrong(what.to_string())
    }
}
