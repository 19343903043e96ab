//! No permit, no effect (law 1).
//!
//! The adversary is a door, ours or a later one, that forgets to ask, asks twice with one answer, or
//! loses track of what it did. A [`Permit`] has no public constructor, is neither `Clone` nor
//! `Default`, and is consumed by starting the effect; what is started must be settled, and what is
//! dropped on the way settles itself as `ambiguous`.
//!
//! Used once, it compiles:
//!
//! ```
//! use tipstaff_monitor::{Ended, Permit, Running, Settlement};
//! fn once(permit: Permit) -> Running {
//!     permit.start()
//! }
//! fn end(running: Running, ended: Ended<'_>) -> Settlement {
//!     running.settle(ended)
//! }
//! ```
//!
//! Made elsewhere, used twice, copied or settled twice, it does not:
//!
//! ```compile_fail,E0277
//! // A permit can't be made outside this crate.
//! let permit: tipstaff_monitor::Permit = Default::default();
//! ```
//!
//! ```compile_fail,E0382
//! // A permit can't be used twice.
//! fn twice(permit: tipstaff_monitor::Permit) {
//!     let _one = permit.start();
//!     let _two = permit.start();
//! }
//! ```
//!
//! ```compile_fail,E0599
//! // A permit can't be copied.
//! fn copy(permit: &tipstaff_monitor::Permit) -> tipstaff_monitor::Permit {
//!     permit.clone()
//! }
//! ```
//!
//! ```compile_fail,E0382
//! // What runs can't be settled twice.
//! use tipstaff_monitor::{Ended, Running};
//! fn twice(running: Running, one: Ended<'_>, two: Ended<'_>) {
//!     let _first = running.settle(one);
//!     let _second = running.settle(two);
//! }
//! ```

use std::sync::Arc;
use std::time::Instant;

use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{Outcome, Status};
use tipstaff_core::{Action, Digest, Labels, Verdict};

/// The right to carry out one action, once. Its receipt is durable.
#[must_use = "a permit that is dropped is recorded as an ambiguous outcome"]
#[derive(Debug)]
pub struct Permit {
    action: Action,
    verdict: Verdict,
    rule: Option<String>,
    running: Running,
}

/// An effect that has begun.
#[must_use = "an effect that is dropped is recorded as an ambiguous outcome"]
#[derive(Debug)]
pub struct Running {
    receipt: Digest,
    salt: Salt,
    started: Instant,
    /// `None` once settled.
    sink: Option<Arc<dyn Sink>>,
}

/// How an effect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended<'a> {
    status: Status,
    result: Option<&'a [u8]>,
    bytes: u64,
    labels: Labels,
}

/// The only thing that can be settled: it comes from what ran.
#[must_use = "a settlement that is dropped leaves the outcome ambiguous"]
#[derive(Debug)]
pub struct Settlement {
    pub(crate) of: Digest,
    pub(crate) outcome: Outcome,
}

/// Why an action was not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The verdict; `None` if the action could not be judged, which is a refusal too.
    pub verdict: Option<Verdict>,
    /// The receipt of the verdict.
    pub receipt: Option<Digest>,
    /// The policy that refused.
    pub rule: Option<String>,
    /// What to tell the agent: why, and what would change the answer.
    pub text: String,
}

/// Where an unsettled effect is reported.
pub(crate) trait Sink: Send + Sync + std::fmt::Debug {
    fn settle(&self, settlement: Settlement);
}

impl Permit {
    /// The only constructor. The verdict's receipt is durable when it is called.
    pub(crate) fn issue(
        action: Action,
        verdict: Verdict,
        rule: Option<String>,
        (receipt, salt): (Digest, Salt),
        sink: Arc<dyn Sink>,
    ) -> Self {
        let running = Running { receipt, salt, started: Instant::now(), sink: Some(sink) };
        Self { action, verdict, rule, running }
    }

    /// What may be carried out: exactly this.
    #[must_use]
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// The hash of the verdict's receipt.
    #[must_use]
    pub const fn receipt(&self) -> Digest {
        self.running.receipt
    }

    /// ALLOW or MODIFY; anything else only in observe mode.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The policy that permitted.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Uses the permit up: the effect begins.
    pub fn start(self) -> Running {
        let mut running = self.running;
        running.started = Instant::now();
        running
    }
}

impl Running {
    /// The hash of the verdict's receipt.
    #[must_use]
    pub const fn receipt(&self) -> Digest {
        self.receipt
    }

    /// Ends the effect.
    pub fn settle(mut self, ended: Ended<'_>) -> Settlement {
        self.sink = None;
        self.settlement(ended)
    }

    fn settlement(&self, ended: Ended<'_>) -> Settlement {
        let digest = ended.result.map(|result| Digest::of_parts(&[&self.salt.0, result]));
        let duration = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Settlement {
            of: self.receipt,
            outcome: Outcome {
                bytes: ended.bytes,
                duration_us: duration,
                labels: crate::monitor::named(ended.labels),
                result_digest: digest,
                status: ended.status,
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.settle(self.settlement(Ended::unseen(Status::Ambiguous, 0)));
        }
    }
}

impl<'a> Ended<'a> {
    /// An end with its result, raw.
    #[must_use]
    pub const fn of(status: Status, result: &'a [u8]) -> Self {
        Self { status, result: Some(result), bytes: result.len() as u64, labels: Labels::NONE }
    }

    /// With what was found in the result.
    #[must_use]
    pub const fn with(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// An end whose result was not seen whole.
    #[must_use]
    pub const fn unseen(status: Status, bytes: u64) -> Self {
        Self { status, result: None, bytes, labels: Labels::NONE }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tipstaff_core::Json;

    use super::*;

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<(Digest, Status)>>);

    impl Sink for Seen {
        fn settle(&self, settlement: Settlement) {
            self.0.lock().unwrap().push((settlement.of, settlement.outcome.status));
        }
    }

    fn permit(sink: &Arc<Seen>) -> Permit {
        let action = Action::new("s", "t", "o", Json::Null, None).unwrap();
        let sink: Arc<dyn Sink> = Arc::<Seen>::clone(sink);
        Permit::issue(action, Verdict::Allow, None, (Digest::of(b"r"), Salt([3; 16])), sink)
    }

    #[test]
    fn dropped_on_the_way_is_ambiguous_and_settled_is_not() {
        let seen = Arc::new(Seen::default());
        drop(permit(&seen));
        drop(permit(&seen).start());
        let settlement = permit(&seen).start().settle(Ended::of(Status::Ok, b"result"));
        let expected = Digest::of_parts(&[&[3; 16], b"result"]);
        assert_eq!(settlement.outcome.result_digest, Some(expected));
        let ambiguous = (Digest::of(b"r"), Status::Ambiguous);
        assert_eq!(*seen.0.lock().unwrap(), [ambiguous, ambiguous]);
    }
}
