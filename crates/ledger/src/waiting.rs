//! Those whose receipts are not durable yet, while somebody else writes.
//!
//! The adversary is a wake-up that is lost, and one that comes early: a verdict's effect may start when its
//! caller is told, and not before. Each is told by name, once, outside the lock. With one condition for all,
//! everybody would be woken at each batch only to wait for the same lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread};

/// What a thread that waited is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its leaf is durable.
    Durable,
    /// It has to look again: it writes next, or the node stopped.
    Again,
}

/// The place of one thread that waits.
#[derive(Debug)]
pub(crate) struct Ticket {
    thread: Thread,
    /// 0 while it waits.
    told: AtomicU8,
}

/// Everybody who waits, in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<(u64, Arc<Ticket>)>);

/// Those to be told, once the lock is free.
#[derive(Debug)]
#[must_use]
pub(crate) struct Woken {
    writes: Option<Arc<Ticket>>,
    durable: Vec<Arc<Ticket>>,
}

const DURABLE: u8 = 1;
const AGAIN: u8 = 2;

impl Ticket {
    /// Sleeps until this thread is told.
    pub(crate) fn wait(&self) -> Ended {
        loop {
            match self.told.load(Ordering::Acquire) {
                DURABLE => return Ended::Durable,
                AGAIN => return Ended::Again,
                _ => thread::park(),
            }
        }
    }

    fn tell(&self, ended: Ended) {
        let told = match ended {
            Ended::Durable => DURABLE,
            Ended::Again => AGAIN,
        };
        self.told.store(told, Ordering::Release);
        self.thread.unpark();
    }
}

impl Waiting {
    /// This thread waits for the leaf at `index`.
    pub(crate) fn enter(&mut self, index: u64) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket { thread: thread::current(), told: AtomicU8::new(0) });
        self.0.push_back((index, Arc::clone(&ticket)));
        ticket
    }

    /// Takes out whose leaves are below `durable`, and one more, who writes what the others wait for.
    pub(crate) fn up_to(&mut self, durable: u64) -> Woken {
        let mut done = Vec::new();
        self.0.retain(|(index, ticket)| {
            let waits = *index >= durable;
            if !waits {
                done.push(Arc::clone(ticket));
            }
            waits
        });
        // INVARIANT: while nobody writes and somebody waits, one of them was told to look again.
        let writes = self.0.pop_front().map(|(_, ticket)| ticket);
        Woken { writes, durable: done }
    }

    /// Has everybody look again: the node stopped.
    pub(crate) fn end(&mut self) {
        for (_, ticket) in self.0.drain(..) {
            ticket.tell(Ended::Again);
        }
    }
}

impl Woken {
    /// Tells them; who writes comes first, so that the disk is not idle meanwhile.
    pub(crate) fn wake(self) {
        if let Some(ticket) = self.writes {
            ticket.tell(Ended::Again);
        }
        for ticket in self.durable {
            ticket.tell(Ended::Durable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_one_writes_for_those_who_are_left() {
        let mut waiting = Waiting::default();
        let tickets: Vec<_> = [7, 3, 9, 8].map(|index| waiting.enter(index)).into();
        let told = |at: usize| tickets[at].told.load(Ordering::Acquire);
        let woken = waiting.up_to(8);
        assert!((0..4).all(|at| told(at) == 0), "nobody is told under the lock");
        woken.wake();
        assert_eq!([told(0), told(1)], [DURABLE; 2]);
        assert_eq!([told(2), told(3)], [AGAIN, 0], "the first of the rest writes");
        assert_eq!((tickets[0].wait(), tickets[2].wait()), (Ended::Durable, Ended::Again));
        waiting.end();
        assert_eq!(told(3), AGAIN);
        assert!(waiting.0.is_empty() && waiting.up_to(100).writes.is_none());
    }

    #[test]
    fn who_is_told_before_it_sleeps_does_not_sleep() {
        let ticket = Waiting::default().enter(1);
        ticket.tell(Ended::Durable);
        assert_eq!(ticket.wait(), Ended::Durable);
        // A wake-up meant for something else ends nothing.
        let (sender, receiver) = std::sync::mpsc::channel();
        let sleeper = thread::spawn(move || {
            let ticket = Waiting::default().enter(1);
            sender.send(Arc::clone(&ticket)).unwrap();
            ticket.wait()
        });
        let ticket = receiver.recv().unwrap();
        sleeper.thread().unpark();
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!sleeper.is_finished());
        ticket.tell(Ended::Again);
        assert_eq!(sleeper.join().unwrap(), Ended::Again);
    }
}
