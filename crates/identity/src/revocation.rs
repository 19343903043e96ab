//! Revocation across nodes: when a capability that was revoked at one place has ended at every other.
//!
//! The adversary holds a revoked capability and takes it to a node that has not heard: one that is cut off, slow,
//! just restarted, whose clock is behind, or who is told old news again. Every node follows the log of orders of one
//! store. It judges T3 and above only while its last confirmed request to that store is younger than [`LEASE_MS`] by
//! its own clock, which is younger than [`BOUND_MS`] by any clock. Pure: readings of clocks are inputs, and who
//! carries requests and answers, and proves whose they are, is outside.

mod follower;
mod known;

pub use follower::{
    Answer, AnswerFault, Ask, Follower, Freshness, Lease, Leave, Life, Reading, Refused,
};
pub use known::{Entry, EntryFault, Head, Known, Lineage, NotInForce};

/// R: exchanges of a node with the store, begun after the receipt of a revocation, after which the node permits
/// nothing of T3 and above that derives from what was revoked.
pub const ROUNDS: u32 = 1;
/// T: milliseconds of real time after the receipt of a revocation, after which no node permits that, connected or not.
pub const BOUND_MS: u64 = 10_000;
/// How much slower than real time the clock of a node may run, in parts per million. What is assumed is 100 times
/// what a crystal without discipline does.
pub const DRIFT_PPM: u64 = 10_000;
/// By how much the clock of a node may fall behind at once within T, in milliseconds: steps, and the grain of its
/// readings.
pub const STEP_MS: u64 = 500;
/// How long a confirmed request counts by the node's own clock, in milliseconds. A clock that is within its bounds
/// shows at least this when T has passed.
pub const LEASE_MS: u64 = BOUND_MS - BOUND_MS * DRIFT_PPM / 1_000_000 - STEP_MS;
/// How often a node asks, in milliseconds: three exchanges in a row may fail without a refusal.
pub const ASK_EVERY_MS: u64 = 2_000;
/// Entries in one answer.
pub const ANSWER_ENTRIES_MAX: usize = 1_024;
