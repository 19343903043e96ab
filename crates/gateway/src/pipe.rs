//! The writing end of a stream, shared by threads, one whole frame at a time.
//!
//! The adversary is a reader that stops reading in the middle of a frame: what was cut can't be
//! continued, so the pipe counts as broken from then on, and whoever owns the process ends it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The writing end.
pub(crate) struct Pipe {
    out: Mutex<Option<Box<dyn Write + Send>>>,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipeError {
    /// The other side no longer reads.
    #[error("the other side no longer reads")]
    Broken,
    /// Somebody else is writing.
    #[error("somebody else is writing")]
    Busy,
}

/// A file whose reader may be slow, but not forever.
#[derive(Debug)]
pub(crate) struct Patient<F> {
    file: F,
    limit: Duration,
}

impl Pipe {
    /// A pipe into `out`.
    pub(crate) fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Some(Box::new(out))) }
    }

    /// Writes whole frames.
    pub(crate) fn send(&self, frames: &[u8]) -> Result<(), PipeError> {
        write(&mut self.out.lock().unwrap_or_else(PoisonError::into_inner), frames)
    }

    /// Writes whole frames unless another thread is at it.
    pub(crate) fn try_send(&self, frames: &[u8]) -> Result<(), PipeError> {
        match self.out.try_lock() {
            Ok(mut out) => write(&mut out, frames),
            Err(TryLockError::Poisoned(poisoned)) => write(&mut poisoned.into_inner(), frames),
            Err(TryLockError::WouldBlock) => Err(PipeError::Busy),
        }
    }

    /// Ends the stream, unless another thread is still writing after `limit`.
    pub(crate) fn close(&self, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            match self.out.try_lock() {
                Ok(mut out) => {
                    *out = None;
                    return;
                }
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return,
            }
        }
    }
}

fn write(out: &mut Option<Box<dyn Write + Send>>, frames: &[u8]) -> Result<(), PipeError> {
    let Some(writer) = out.as_mut() else { return Err(PipeError::Broken) };
    if writer.write_all(frames).and_then(|()| writer.flush()).is_err() {
        *out = None;
        return Err(PipeError::Broken);
    }
    Ok(())
}

impl<F: AsFd> Patient<F> {
    /// Waits at most `limit` for room.
    pub(crate) fn new(file: F, limit: Duration) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { file, limit })
    }
}

impl<F: AsFd + Write> Write for Patient<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let limit = Timespec::try_from(self.limit).ok();
                    let mut wait = [PollFd::new(&self.file, PollFlags::OUT)];
                    match poll(&mut wait, limit.as_ref()) {
                        Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipe")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stops_breaks_the_pipe_after_the_limit() {
        let (reader, writer) = io::pipe().unwrap();
        let pipe = Pipe::new(Patient::new(writer, Duration::from_millis(30)).unwrap());
        assert!(matches!(pipe.send(b"small\n"), Ok(())));
        assert!(matches!(pipe.send(&vec![b'x'; 1 << 20]), Err(PipeError::Broken)));
        assert!(matches!(pipe.send(b"again\n"), Err(PipeError::Broken)));
        drop(reader);
    }
}
