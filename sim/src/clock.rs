//! A node's own clock: it runs too fast or too slow and steps, always within what is promised of it.

use tipstaff_identity::revocation::{DRIFT_PPM, Reading, STEP_MS};

use crate::dice::Dice;

/// Parts of a millisecond.
const PARTS: u64 = 1_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Real time at which it was last set.
    at: u64,
    /// What it had counted then, in millionths of a millisecond.
    parts: u64,
    /// Millionths of a millisecond that it counts in a real one.
    rate: u64,
    /// By how much it is ahead, in milliseconds. Two of these differ by less than a step may be, by the grain of two
    /// readings.
    step: u64,
}

impl Clock {
    pub(crate) fn new(dice: &mut Dice, real: u64) -> Self {
        let mut clock = Self { at: real, parts: 0, rate: PARTS, step: 0 };
        clock.boot(dice, real);
        clock
    }

    /// The machine starts, and its clock from near nothing.
    pub(crate) fn boot(&mut self, dice: &mut Dice, real: u64) {
        (self.at, self.parts) = (real, dice.below(20_000) * PARTS);
        self.trouble(dice, real);
    }

    /// It runs otherwise from now on, and perhaps steps, forwards or backwards.
    pub(crate) fn trouble(&mut self, dice: &mut Dice, real: u64) {
        (self.at, self.parts) = (real, self.counted(real));
        self.rate = PARTS - DRIFT_PPM + dice.below(2 * DRIFT_PPM + 1);
        if dice.chance(30) {
            self.rate = PARTS - DRIFT_PPM;
        }
        if dice.chance(50) {
            self.step = dice.below(STEP_MS - 1);
        }
    }

    pub(crate) fn read(&self, real: u64) -> Reading {
        Reading((self.counted(real) / PARTS).saturating_add(self.step))
    }

    fn counted(&self, real: u64) -> u64 {
        self.parts.saturating_add(real.saturating_sub(self.at).saturating_mul(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use tipstaff_identity::revocation::{BOUND_MS, LEASE_MS};

    use super::*;

    #[test]
    fn it_stays_within_what_is_promised() {
        let (mut least, mut backwards) = (u64::MAX, 0);
        for seed in 0..2_000 {
            let mut dice = Dice::new(seed);
            let mut clock = Clock::new(&mut dice, 0);
            let from = clock.read(1_000);
            let (mut real, mut last) = (1_000, from);
            while real < 1_000 + BOUND_MS {
                real = (real + dice.below(3_000)).min(1_000 + BOUND_MS);
                if dice.chance(70) {
                    clock.trouble(&mut dice, real);
                }
                let shown = clock.read(real);
                backwards += u64::from(shown < last);
                last = shown;
            }
            least = least.min(last.0.saturating_sub(from.0));
        }
        assert!(least >= LEASE_MS, "{least}");
        assert!(least < LEASE_MS + 100 && backwards > 100, "the simulation spares the bound");
    }
}
