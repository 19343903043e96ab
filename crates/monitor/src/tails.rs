//! Who watches, and what they are told: one line for each verdict and outcome.
//!
//! The adversary is a watcher that doesn't read: it loses lines, and is told how many, and holds up
//! nobody.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use tipstaff_core::Json;

/// Lines that wait for one watcher.
const LINES_MAX: usize = 4096;
/// Watchers at a time.
const TAILS_MAX: usize = 32;

/// Everybody who watches.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<Vec<Tail>>);

#[derive(Debug)]
struct Tail {
    lines: SyncSender<Line>,
    lost: u64,
}

/// One line, and how many before it were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) lost: u64,
    pub(crate) json: Json,
}

impl Tails {
    /// Begins to watch; `None` if too many do.
    pub(crate) fn watch(&self) -> Option<Receiver<Line>> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.len() >= TAILS_MAX {
            return None;
        }
        let (lines, receiver) = sync_channel(LINES_MAX);
        tails.push(Tail { lines, lost: 0 });
        Some(receiver)
    }

    /// Tells everybody. The line is made only if there is somebody.
    pub(crate) fn tell(&self, line: impl FnOnce() -> Json) {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.is_empty() {
            return;
        }
        let json = line();
        tails.retain_mut(|tail| {
            match tail.lines.try_send(Line { lost: tail.lost, json: json.clone() }) {
                Ok(()) => tail.lost = 0,
                Err(TrySendError::Full(_)) => tail.lost += 1,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_does_not_read_loses_lines_and_is_told() {
        let tails = Tails::default();
        let made = std::cell::Cell::new(0);
        let count = || {
            made.set(made.get() + 1);
            Json::Null
        };
        tails.tell(count);
        assert_eq!(made.get(), 0, "nobody watches");
        let slow = tails.watch().unwrap();
        for number in 0..5000 {
            tails.tell(|| Json::from(number));
        }
        assert_eq!(slow.try_iter().count(), LINES_MAX);
        tails.tell(|| Json::Null);
        assert_eq!(slow.recv().unwrap().lost, 5000 - LINES_MAX as u64);
        drop(slow);
        tails.tell(count);
        tails.tell(count);
        assert_eq!(made.get(), 1, "nobody watches any more");
        let all: Vec<_> = (0..TAILS_MAX).map(|_| tails.watch().unwrap()).collect();
        assert!(tails.watch().is_none());
        drop(all);
    }
}
