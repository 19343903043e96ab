//! A seeded simulation of several nodes that judge by one store: revocation under delay, loss, partition and restart.
//!
//! The adversary is the order of things that no test by hand tries: an answer that comes after a restart, a clock that
//! steps while a partition heals, a revoked capability used at the one node that has not heard. The nodes run the
//! product's own code: `tipstaff_identity::revocation` judges, `tipstaff_ledger` keeps the receipts on a disk that
//! forgets what was not synced. Everything that happens follows from the seed, so a seed that fails is its own replay.
//!
//! Reading top-down: [`run()`] runs a seed, `world` schedules, `node` and `store` are what runs, `check` is what has to
//! hold, `trace` is what TLA+ is asked about, and [`Fault`] breaks one thing, to see that it is found.

mod check;
mod clock;
mod dice;
mod faults;
mod journal;
mod node;
mod plan;
mod store;
mod token;
mod trace;
mod world;

pub use faults::Fault;
pub use plan::Plan;
pub use trace::Trace;
pub use world::{Run, Seen, run};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something happened that may not.
    #[error("after {at} ms: {what}")]
    Violated {
        /// Simulated real time, in milliseconds.
        at: u64,
        /// What happened.
        what: String,
    },
    /// The simulation itself is wrong.
    #[error("the simulation is wrong: {0}")]
    Wrong(&'static str),
    /// A log failed.
    #[error(transparent)]
    Ledger(#[from] tipstaff_ledger::LedgerError),
    /// A disk failed.
    #[error(transparent)]
    Disk(#[from] tipstaff_store::StoreError),
    /// A key or receipt failed.
    #[error(transparent)]
    Core(#[from] tipstaff_core::CoreError),
}
