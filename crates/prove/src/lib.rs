//! Proofs about a policy set: that no request whatsoever is permitted, or here is one that is.
//!
//! The adversary is the request that nobody tried. Cedar's symbolic compiler turns the policies into logic, and an
//! SMT solver (`cvc5`) looks for a request that breaks the statement. What the solver doesn't decide is not proved,
//! and a request that it finds is judged by the policies themselves before it is shown.
//!
//! Only the command line and whoever it hands a proof to use this; no verdict rests on it.

mod ask;
mod statement;
mod world;

pub use ask::{Answer, Counterexample, Extent, POLICIES_MAX, Prover};
pub use statement::{Claim, Statement, StatementFault};
pub use world::ALWAYS;

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// There is no solver.
    #[error("no `cvc5` could be started: {0}")]
    NoSolver(String),
    /// The statement names what isn't there.
    #[error(transparent)]
    Statement(#[from] StatementFault),
    /// The policies can't be made into logic.
    #[error("the policies can't be made into logic: {0}")]
    NotLogic(String),
    /// The solver came to no answer.
    #[error("the solver came to no answer: {0}")]
    Undecided(String),
}
