//! A connection that is waited for awake for a moment.
//!
//! No adversary: this is about time. Waking a processor that sleeps takes longer than judging, and a
//! door that was just heard is likely to be heard again at once. So whoever waits and whose last wait
//! was short looks again for a moment, giving way to anyone who wants to run, before it sleeps. One
//! thread of the process at a time does.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::wire::Source;

/// How long to stay awake; also the longest wait that counts as short.
const AWAKE: Duration = Duration::from_micros(300);
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The reading side of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: UnixStream,
    /// Whether the last wait was short.
    brisk: bool,
}

impl Socket {
    pub(crate) const fn new(stream: UnixStream) -> Self {
        Self { stream, brisk: false }
    }
}

impl Source for Socket {
    fn try_read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(&self.stream, into, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Ok((read, _)) => Ok(Some(read)),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let since = Instant::now();
        let mut readable = false;
        if self.brisk && !TAKEN.swap(true, Ordering::Relaxed) {
            while !readable && since.elapsed() < AWAKE {
                std::thread::yield_now();
                readable = is_readable(&self.stream, Some(&AT_ONCE)).unwrap_or(true);
            }
            TAKEN.store(false, Ordering::Relaxed);
        }
        if !readable {
            is_readable(&self.stream, None)?;
        }
        self.brisk = since.elapsed() < AWAKE;
        Ok(())
    }
}

/// Waits until there is something to read, or the end. A blocked read would not do: it is woken by each
/// frame of ours that the other side takes, too.
pub(crate) fn is_readable(stream: &UnixStream, limit: Option<&Timespec>) -> io::Result<bool> {
    match poll(&mut [PollFd::new(stream, PollFlags::IN)], limit) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
