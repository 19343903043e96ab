//! Why the ledger could not keep or give back a receipt.

use tipstaff_core::CoreError;
use tipstaff_store::StoreError;

/// Named for what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The log is damaged in a way that no honest crash leaves: the node stops, a person looks.
    #[error("the log is damaged: {what} ({place})")]
    Damaged {
        /// What is wrong.
        what: String,
        /// Where.
        place: String,
    },
    /// No room can be reserved for a verdict and its outcome; nothing was recorded.
    #[error("no room is left for another verdict and its outcome")]
    Full,
    /// An earlier failure ended this node for good; a restart recovers from what is durable.
    #[error("the ledger stopped after a failure: {0}")]
    Stopped(String),
    /// A receipt could not be built or read.
    #[error("receipt: {0}")]
    Receipt(#[from] CoreError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The named receipt, chain or proof is not in the log.
    #[error("not in the log: {0}")]
    Unknown(String),
    /// The inputs were deleted or their key is gone.
    #[error("the inputs are no longer kept")]
    Expired,
    /// Inputs are there but don't decrypt with their key.
    #[error("the kept inputs don't match their key")]
    InputsForged,
}

impl LedgerError {
    pub(crate) fn damaged(what: impl Into<String>, place: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), place: place.into() }
    }
}
