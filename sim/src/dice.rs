//! The only source of chance: the same bytes for the same seed, on every machine.

use std::sync::{Mutex, PoisonError};

use tipstaff_store::{Random, StoreError};

/// `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `limit`.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        match self.next().checked_rem(limit) {
            Some(rest) => rest,
            None => 0,
        }
    }

    /// From `low` to `high`, both included.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Whether something happens that does so `percent` times in a hundred.
    pub(crate) const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(at)
    }

    /// Another source, which goes its own way.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// Bytes for the ledger.
#[derive(Debug)]
pub(crate) struct Bytes(Mutex<Dice>);

impl Bytes {
    pub(crate) const fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Random for Bytes {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), StoreError> {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in buffer {
            *byte = dice.next().to_le_bytes().first().copied().unwrap_or_default();
        }
        Ok(())
    }
}
