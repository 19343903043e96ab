//! What a seed stands for: how many nodes, and how bad the world is to them.

use crate::dice::Dice;
use crate::faults::Fault;

/// Longest run in simulated milliseconds: ten minutes.
pub(crate) const MILLIS_MAX: u64 = 600_000;

/// Capabilities that clients have at most.
pub(crate) const TOKENS_MAX: usize = 120;
/// How deep they derive.
pub(crate) const TOKEN_DEPTH: usize = 8;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything that happens follows from it.
    pub seed: u64,
    /// Simulated real time, in milliseconds.
    pub millis: u64,
    /// What is broken.
    pub fault: Fault,
}

/// How the world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) nodes: u64,
    /// Of a hundred messages.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) slow: u64,
    /// The longest delay of a slow message, in milliseconds.
    pub(crate) delay: u64,
    /// Entries that the store puts into an answer.
    pub(crate) page: u64,
    /// Between two of these, in milliseconds on average; `u64::MAX` if there is none.
    pub(crate) cut: u64,
    pub(crate) crash: u64,
    pub(crate) store_crash: u64,
    pub(crate) clock: u64,
    /// Between two deeds of clients, in milliseconds on average.
    pub(crate) deeds: u64,
}

impl World {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let sometimes = |from: u64, to: u64, dice: &mut Dice| {
            if dice.chance(60) { dice.between(from, to) } else { u64::MAX }
        };
        Self {
            nodes: dice.between(2, 4),
            cut: sometimes(3_000, 30_000, dice),
            crash: sometimes(2_000, 20_000, dice),
            store_crash: sometimes(8_000, 40_000, dice),
            clock: sometimes(500, 10_000, dice),
            lost: if dice.chance(50) { dice.below(50) } else { 0 },
            doubled: if dice.chance(50) { dice.below(40) } else { 0 },
            slow: if dice.chance(70) { dice.below(60) } else { 2 },
            delay: dice.between(200, 20_000),
            page: if dice.chance(40) { dice.between(1, 3) } else { 1_000 },
            deeds: dice.between(80, 400),
        }
    }
}
