//! Lines of newline-delimited JSON from a stream, in bounded memory.
//!
//! The adversary sends a line without an end, or one that is merely huge. A line over the limit is
//! never kept: it is skimmed for its `id` so that somebody can be told, and what follows is read as
//! usual.

use std::io::{self, BufRead, BufReader, Read};

use crate::skim::{Skim, Skimmer};

/// Bytes asked of the system at once.
const READ_BYTES: usize = 64 << 10;
/// A line buffer larger than this is given back after use.
const KEEP_BYTES: usize = 1 << 20;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A line within the limit.
    Line(&'a [u8]),
    /// A line over the limit: what a skim of it found, and its length.
    TooLong(Skim, u64),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
}

impl<R: Read> FrameReader<R> {
    /// Reads lines of at most `limit` bytes.
    pub(crate) fn new(input: R, limit: usize) -> Self {
        Self { input: BufReader::with_capacity(READ_BYTES, input), line: Vec::new(), limit }
    }

    /// The next line that isn't blank, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        loop {
            self.line.clear();
            if self.line.capacity() > KEEP_BYTES {
                self.line = Vec::new();
            }
            let most = u64::try_from(self.limit).unwrap_or(u64::MAX).saturating_add(1);
            if self.input.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() > self.limit {
                let (skim, bytes) = self.skim_rest()?;
                return Ok(Some(Frame::TooLong(skim, bytes)));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Frame::Line(self.line.trim_ascii())));
            }
        }
    }

    /// Whether another whole line has arrived already.
    pub(crate) fn has_line(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    fn skim_rest(&mut self) -> io::Result<(Skim, u64)> {
        let mut skimmer = Skimmer::new();
        skimmer.feed(&self.line);
        let mut bytes = u64::try_from(self.line.len()).unwrap_or(u64::MAX);
        self.line = Vec::new();
        loop {
            let piece = match self.input.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = piece.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(piece.len());
            skimmer.feed(piece.get(..length).unwrap_or_default());
            bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            let last = end.is_some() || piece.is_empty();
            self.input.consume(length + usize::from(end.is_some()));
            if last {
                return Ok((skimmer.finish(), bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Id;

    /// Gives its bytes in pieces of the lengths asked for.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.pop().unwrap_or(usize::MAX).clamp(1, into.len()).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn long_lines_are_skimmed_and_the_next_is_read() {
        let text =
            format!("a\n\n  \r\n{{\"x\":\"{}\",\"id\":5}}\nexactly10!\nlast", "y".repeat(90_000));
        let mut reader = FrameReader::new(text.as_bytes(), 10);
        assert_eq!(reader.next().unwrap(), Some(Frame::Line(b"a")));
        assert!(reader.has_line());
        let Some(Frame::TooLong(skim, bytes)) = reader.next().unwrap() else { panic!("kept") };
        assert_eq!((skim.id, bytes), (Some(Id::Integer(5)), 90_015));
        assert_eq!(reader.next().unwrap(), Some(Frame::Line(b"exactly10!")));
        assert_eq!(reader.next().unwrap(), Some(Frame::Line(b"last")));
        assert_eq!(reader.next().unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            lines in prop::collection::vec("[a-z{}\":0-9]{0,30}", 0..8),
            pieces in prop::collection::vec(1_usize..12, 0..60),
        ) {
            let text = lines.join("\n");
            let collect = |pieces: Vec<usize>| {
                let mut reader = FrameReader::new(Pieces(text.as_bytes(), pieces), 16);
                let mut seen = Vec::new();
                while let Some(frame) = reader.next().unwrap() {
                    seen.push(format!("{frame:?}"));
                }
                seen
            };
            let expected = lines.iter().filter(|line| !line.is_empty()).count();
            let seen = collect(pieces);
            prop_assert_eq!(seen.len(), expected);
            prop_assert_eq!(seen, collect(Vec::new()));
        }
    }
}
