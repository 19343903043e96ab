//! Who watches, and what they are told: one line for each verdict and outcome.
//!
//! The adversary is a watcher that doesn't read: it loses lines, and is told how many, and holds up
//! nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tipstaff_core::Json;

/// Lines that wait for one watcher.
const LINES_MAX: usize = 4096;
/// Watchers at a time.
const TAILS_MAX: usize = 32;

/// Everybody who watches.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    tails: Mutex<Vec<Tail>>,
    /// How many want every line: a verdict that nobody wants to hear of costs one look.
    every: AtomicUsize,
}

/// What a line is about, and what somebody wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// A call that waits for a person.
    Held,
    /// Every verdict.
    Any,
}

#[derive(Debug)]
struct Tail {
    wants: News,
    lines: SyncSender<Line>,
    lost: u64,
}

/// Hears of every held call.
#[derive(Debug)]
pub struct Watch(pub(crate) Receiver<Line>);

impl Watch {
    /// The next line, if one comes within `wait`.
    #[must_use]
    pub fn next(&self, wait: Duration) -> Option<Json> {
        self.0.recv_timeout(wait).ok().map(|line| line.json)
    }
}

/// One line, and how many before it were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) lost: u64,
    pub(crate) json: Json,
}

impl Tails {
    /// Begins to watch; `None` if too many do.
    pub(crate) fn watch(&self, wants: News) -> Option<Receiver<Line>> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.len() >= TAILS_MAX {
            return None;
        }
        let (lines, receiver) = sync_channel(LINES_MAX);
        tails.push(Tail { wants, lines, lost: 0 });
        self.every.fetch_add(usize::from(wants == News::Any), Ordering::Relaxed);
        Some(receiver)
    }

    /// Tells whoever wants to hear of it. The line is made only if there is somebody.
    pub(crate) fn tell(&self, news: News, line: impl FnOnce() -> Json) {
        if news == News::Any && self.every.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.is_empty() {
            return;
        }
        let json = line();
        tails.retain_mut(|tail| {
            if (tail.wants, news) == (News::Held, News::Any) {
                return true;
            }
            match tail.lines.try_send(Line { lost: tail.lost, json: json.clone() }) {
                Ok(()) => tail.lost = 0,
                Err(TrySendError::Full(_)) => tail.lost += 1,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            true
        });
        let every = tails.iter().filter(|tail| tail.wants == News::Any).count();
        self.every.store(every, Ordering::Relaxed);
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
        tails.tell(News::Any, count);
        assert_eq!(made.get(), 0, "nobody watches");
        let slow = tails.watch(News::Any).unwrap();
        for number in 0..5000 {
            tails.tell(News::Any, || Json::from(number));
        }
        assert_eq!(slow.try_iter().count(), LINES_MAX);
        tails.tell(News::Any, || Json::Null);
        assert_eq!(slow.recv().unwrap().lost, 5000 - LINES_MAX as u64);
        drop(slow);
        tails.tell(News::Any, count);
        tails.tell(News::Any, count);
        assert_eq!(made.get(), 1, "nobody watches any more");
        let held = tails.watch(News::Held).unwrap();
        tails.tell(News::Any, count);
        tails.tell(News::Held, count);
        assert_eq!((made.get(), held.try_iter().count()), (2, 1), "only what is held");
        drop(held);
        tails.tell(News::Held, count);
        let all: Vec<_> = (0..TAILS_MAX).map(|_| tails.watch(News::Any).unwrap()).collect();
        assert!(tails.watch(News::Any).is_none());
        drop(all);
    }
}
