//! How long judging takes, counted in buckets of a sixteenth of their octave.
//!
//! The adversary is a figure that nobody measured. Every judged request of the HTTP doors is counted
//! here, and what is told is read off these counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per octave: a figure read off is at most 1/16 too high.
const FINE: u64 = 16;
const FINE_BITS: u32 = FINE.trailing_zeros();
/// Bits of the longest time, in microseconds, that has a bucket of its own: over an hour.
const BITS: u32 = 32;
const BUCKETS: usize = (FINE + (BITS - FINE_BITS) as u64 * FINE) as usize;

/// Times of requests from their parsing to their verdict, since this process began.
#[derive(Debug)]
pub struct Latency {
    buckets: Box<[AtomicU64]>,
    total_us: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measured {
    buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) total_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, total_us: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Counts one judged request.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn measured(&self) -> Measured {
        let buckets: Vec<u64> =
            self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count = buckets.iter().sum();
        Measured { buckets, count, total_us: self.total_us.load(Ordering::Relaxed) }
    }
}

impl Measured {
    /// The time, in microseconds, that this many per cent did not exceed; `None` if nothing was measured.
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = self.count.checked_mul(percent)?.div_ceil(100).max(1);
        let mut seen = 0;
        let place = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        place.filter(|_| self.count > 0).map(end_of)
    }

    /// How many took at most 2^`bits` microseconds.
    pub(crate) fn within(&self, bits: u32) -> u64 {
        let end = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
        let counts = (0..).zip(&self.buckets).take_while(|(place, _)| end_of(*place) <= end);
        counts.map(|(_, count)| count).sum()
    }
}

/// The bucket of a time in microseconds: one each up to 16, then 16 for each octave.
fn bucket_of(us: u64) -> usize {
    let below = us.saturating_sub(1);
    let place = match below.checked_ilog2() {
        Some(bits) if bits >= FINE_BITS => {
            let shift = bits - FINE_BITS;
            FINE * u64::from(shift + 1) + ((below >> shift) & (FINE - 1))
        }
        _ => below,
    };
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest time of a bucket.
fn end_of(place: usize) -> u64 {
    let place = place as u64;
    match place.checked_sub(FINE) {
        None => place + 1,
        Some(after) => (FINE + after % FINE + 1) << (after / FINE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_read_off_what_was_counted() {
        let latency = Latency::default();
        assert_eq!(latency.measured().percentile(50), None);
        for us in 1..=1000 {
            latency.record(Duration::from_micros(us));
        }
        let measured = latency.measured();
        assert_eq!((measured.count, measured.total_us), (1000, 500_500));
        assert_eq!(measured.percentile(50), Some(512));
        assert_eq!(measured.percentile(99), Some(992));
        assert_eq!(measured.percentile(100), Some(1024));
        assert_eq!(measured.within(6), 64);
        assert_eq!(measured.within(9), 512);
        assert_eq!(measured.within(10), 1000);
        latency.record(Duration::from_secs(1 << 40));
        assert_eq!(latency.measured().count, 1001);
    }

    proptest! {
        #[test]
        fn a_bucket_ends_at_most_a_sixteenth_above_its_times(us in 1u64..(1 << 32)) {
            let place = bucket_of(us);
            prop_assert!(us <= end_of(place) && end_of(place) <= us + us.div_ceil(16));
            prop_assert!(place == 0 || end_of(place - 1) < us);
        }
    }
}
