//! Reading the lines of a large file on all cores.
//!
//! The adversary is a file of any size: it is read in pieces, each of which is dropped once its lines
//! were looked at, and a line belongs to the piece in which it begins.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes of a piece.
pub(crate) const PIECE: usize = 256 << 10;

/// What a worker reads into. It keeps its length, since clearing it costs as much as reading.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

/// A file of lines, cut into pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: File,
    length: u64,
    piece: usize,
}

impl Pieces {
    /// The pieces of a file, of `piece` bytes each.
    pub(crate) fn new(file: File, piece: usize) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, piece })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.length.div_ceil(self.piece as u64)).unwrap_or(usize::MAX)
    }

    /// The whole lines that begin in piece `number`, in `buffer`.
    pub(crate) fn lines<'b>(&self, number: usize, buffer: &'b mut Buffer) -> io::Result<&'b [u8]> {
        let start = number as u64 * self.piece as u64;
        buffer.filled = 0;
        // One byte before tells whether a line begins at the start.
        let from = start.saturating_sub(1);
        self.read(from, self.piece + usize::from(start > 0), buffer)?;
        let skipped = match start {
            0 => 0,
            _ => match buffer.filled().iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None => return Ok(&[]),
            },
        };
        if skipped == buffer.filled {
            return Ok(&[]);
        }
        while buffer.filled().last() != Some(&b'\n') {
            let had = buffer.filled;
            self.read(from + had as u64, 4 << 10, buffer)?;
            let rest = buffer.filled().get(had..).unwrap_or_default();
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => buffer.filled = had + end + 1,
                None if rest.is_empty() => break,
                None => {}
            }
        }
        Ok(buffer.filled().get(skipped..).unwrap_or_default())
    }

    /// Appends up to `most` bytes from `at` on.
    fn read(&self, at: u64, most: usize, buffer: &mut Buffer) -> io::Result<()> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let end = buffer.filled + most.min(left);
        if buffer.bytes.len() < end {
            buffer.bytes.resize(end, 0);
        }
        let room = buffer.bytes.get_mut(buffer.filled..end).unwrap_or_default();
        self.file.read_exact_at(room, at)?;
        buffer.filled = end;
        Ok(())
    }
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_line_is_in_one_piece_whole() {
        for text in ["", "a", "a\n", "\n\n", "one\ntwo\n\nthree\r\nfour", "0123456789abcdef\nx\n"] {
            for piece in 1..20 {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(text.as_bytes()).unwrap();
                let pieces = Pieces::new(file, piece).unwrap();
                let (mut all, mut buffer) = (Vec::new(), Buffer::default());
                for number in 0..pieces.count() {
                    let lines = pieces.lines(number, &mut buffer).unwrap();
                    assert!(
                        lines.is_empty()
                            || lines.ends_with(b"\n")
                            || text.as_bytes().ends_with(lines)
                    );
                    all.extend_from_slice(lines);
                }
                assert_eq!(all, text.as_bytes(), "{piece}");
            }
        }
    }
}
