//! The writing side of a door's connection.
//!
//! The adversary is a door that is killed: what it has not yet said is lost with it. How an effect ended needs
//! no answer and is likely to be followed by the next request at once, so it waits for that request and goes
//! with it: one write here and one wake-up of the monitor less for each call. It waits only while the reading
//! thread has promised to look again, and at most [`KEEP`]; a killed door leaves that one effect `ambiguous`.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

/// How long the end of an effect waits for the next request.
pub(super) const KEEP: Duration = Duration::from_millis(20);
/// How much waits.
const KEPT_MAX: usize = 64 << 10;

/// A lock of its own guards it: whoever files an answer doesn't wait for a system call.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) generation: u64,
    /// `None` while there is no monitor.
    stream: Option<UnixStream>,
    kept: Vec<u8>,
    /// When the reading thread looks again at the latest. Only it sets this.
    until: Option<Instant>,
}

impl Out {
    pub(super) const fn new(generation: u64, stream: UnixStream) -> Self {
        Self { generation, stream: Some(stream), kept: Vec::new(), until: None }
    }

    pub(super) const fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    /// The connection is over. What waited concerns verdicts that the monitor's end settled.
    pub(super) fn take(&mut self) -> Option<UnixStream> {
        self.kept.clear();
        self.stream.take()
    }

    /// Writes now, after what waited.
    pub(super) fn send(&mut self, frames: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        // A broken stream is noticed, and mended, by the reading thread.
        if self.kept.is_empty() {
            let _ = stream.write_all(frames);
        } else {
            self.kept.extend_from_slice(frames);
            let _ = stream.write_all(&self.kept);
            self.kept.clear();
        }
    }

    /// Writes with the next request, or when the reading thread looks again.
    pub(super) fn send_soon(&mut self, frames: &[u8], now: Instant) {
        let promised = self.until.is_some_and(|until| now < until);
        if promised && self.kept.len() + frames.len() <= KEPT_MAX {
            self.kept.extend_from_slice(frames);
        } else {
            self.send(frames);
        }
    }

    /// For the reading thread, before it waits: how long it may. `permitted` says that the end of an effect is
    /// likely to follow soon.
    pub(super) fn promise(&mut self, permitted: Permitted, now: Instant) -> Option<Timespec> {
        if permitted == Permitted::Lately && self.kept.is_empty() {
            self.until = Some(now + KEEP);
        }
        let left = self.until.map(|until| until.saturating_duration_since(now));
        match left {
            Some(left) if !left.is_zero() => Timespec::try_from(left).ok(),
            Some(_) | None => {
                self.until = None;
                self.send(&[]);
                None
            }
        }
    }
}

/// Whether a permit came since the reading thread last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permitted {
    Lately,
    Not,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn pair() -> (Out, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Out::new(0, ours), theirs)
    }

    fn here(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        let read = stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn an_end_goes_with_the_next_request() {
        let (mut out, mut monitor) = pair();
        let now = Instant::now();
        assert!(out.promise(Permitted::Lately, now).is_some());
        out.send_soon(b"end ", now);
        assert!(here(&mut monitor).is_empty());
        out.send(b"request");
        assert_eq!(here(&mut monitor), b"end request");
    }

    #[test]
    fn an_end_is_written_at_once_unless_somebody_looks_again() {
        let (mut out, mut monitor) = pair();
        let now = Instant::now();
        out.send_soon(b"end", now);
        assert_eq!(here(&mut monitor), b"end");
        assert!(out.promise(Permitted::Not, now).is_none());
        assert!(out.promise(Permitted::Lately, now).is_some());
        out.send_soon(b"late", now + KEEP);
        assert_eq!(here(&mut monitor), b"late");
        out.send_soon(&[7; KEPT_MAX + 1], now);
        assert!(!here(&mut monitor).is_empty());
    }

    #[test]
    fn what_waits_is_written_when_the_time_is_over_however_many_permits_come() {
        let (mut out, mut monitor) = pair();
        let now = Instant::now();
        let _ = out.promise(Permitted::Lately, now);
        out.send_soon(b"end", now);
        let _ = out.promise(Permitted::Lately, now + KEEP / 2);
        assert!(here(&mut monitor).is_empty());
        assert!(out.promise(Permitted::Lately, now + KEEP).is_none());
        assert_eq!(here(&mut monitor), b"end");
        // Nothing waits for a reading thread that waits without end.
        out.send_soon(b"again", now + KEEP);
        assert_eq!(here(&mut monitor), b"again");
    }
}
