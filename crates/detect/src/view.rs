//! Blocks of the input as the walker reads them, with JSON escapes resolved, and the way back from a place
//! in a block to a place in the input. The adversary spells text in escapes, puts it across a boundary, or
//! sends so much that a copy of it would exhaust memory.

use std::ops::Range;

use crate::bytes::{ahead, at, part};
use crate::findings::{Detector, Finding, Findings};
use crate::{Limits, encoded, walk};

/// How much is read at a time.
const BLOCK: usize = 256 << 10;
/// How much of its neighbours a block sees, so that what lies across a boundary is found.
const OVERLAP: usize = 4 << 10;
/// Every so many signs, base64, base32 and hexadecimal are at the edge of a byte.
const STEP: usize = 8;
/// Fewest escaped plain letters in a row that count as a payload.
const ESCAPED_LETTERS_MIN: usize = 8;
/// Bytes that all decoding together may produce, beyond twice the input.
const DECODED_EXTRA: usize = 4 << 20;

/// Where a block lies in the input.
enum Origin<'a> {
    /// So many bytes after its start.
    Shifted(usize),
    /// The same, after escapes were resolved.
    Unescaped(usize, &'a Unescaped),
    /// Everywhere in this range: the block was decoded from it.
    Within(Range<usize>),
}

/// How a text came to be looked at.
#[derive(Clone)]
pub(crate) enum Source {
    /// It is the input.
    Input,
    /// It was decoded from a range of the input, under so many layers.
    Decoded(Range<usize>, u8),
    /// The same, and a reader does not see it.
    Concealed(Range<usize>, u8),
}

/// A block for the walker.
pub(crate) struct View<'a> {
    pub(crate) text: &'a [u8],
    /// Findings that begin here belong to this block; others to its neighbours.
    accept: Range<usize>,
    /// Whether bytes were left out before the block.
    cut: bool,
    /// How many signs after the part that is the block's own an encoding that began earlier is in step again.
    phase: usize,
    origin: Origin<'a>,
    pub(crate) depth: u8,
    pub(crate) concealed: bool,
}

impl View<'_> {
    /// Where a run that the block's start cuts begins: at the first place that is this block's.
    pub(crate) fn run_start(&self, start: usize, end: usize) -> usize {
        if self.cut && start == 0 && end > self.accept.start {
            (self.accept.start + self.phase).min(end)
        } else {
            start
        }
    }

    fn locate(&self, range: &Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Shifted(by) => range.start + by..range.end + by,
            Origin::Unescaped(by, map) => map.back(range.start) + by..map.back(range.end) + by,
            Origin::Within(whole) => whole.clone(),
        }
    }
}

/// Collects findings and holds what is shared by all blocks and layers.
pub(crate) struct Sink {
    findings: Findings,
    limits: Limits,
    decoded_left: usize,
    length: usize,
}

impl Sink {
    /// Records a finding, if it begins in the part that is the view's own.
    pub(crate) fn report(&mut self, view: &View<'_>, detector: Detector, range: Range<usize>) {
        if view.accept.contains(&range.start) {
            let mut place = view.locate(&range);
            place.end = place.end.min(self.length);
            place.start = place.start.min(place.end);
            let finding = Finding { detector, range: place, depth: view.depth };
            self.findings.add(finding, self.limits.findings_max);
        }
    }

    /// Whether a finding that begins here would be recorded, so that work for it is not done twice.
    pub(crate) fn wants(&self, view: &View<'_>, start: usize) -> bool {
        view.accept.contains(&start)
    }

    /// Scans what was decoded from a range of a view.
    pub(crate) fn descend(
        &mut self,
        view: &View<'_>,
        range: &Range<usize>,
        decoded: &[u8],
        concealed: bool,
    ) {
        if !view.accept.contains(&range.start) {
            return;
        }
        if view.depth >= self.limits.decode_depth_max || decoded.len() > self.decoded_left {
            self.findings.truncated = true;
            return;
        }
        self.decoded_left -= decoded.len();
        let place = view.locate(range);
        let source = if concealed || view.concealed {
            Source::Concealed(place, view.depth + 1)
        } else {
            Source::Decoded(place, view.depth + 1)
        };
        blocks(decoded, &source, self);
    }

    /// Says that something was not looked at.
    pub(crate) fn truncate(&mut self) {
        self.findings.truncated = true;
    }

    /// How many bytes may still be decoded.
    pub(crate) fn decoded_left(&self) -> usize {
        self.decoded_left
    }
}

pub(crate) fn scan(bytes: &[u8], limits: &Limits) -> Findings {
    let seen = ahead(bytes, 0, limits.bytes_max);
    let mut sink = Sink {
        findings: Findings::new(),
        limits: *limits,
        decoded_left: seen.len().saturating_mul(2).saturating_add(DECODED_EXTRA),
        length: seen.len(),
    };
    sink.findings.truncated = seen.len() < bytes.len();
    blocks(seen, &Source::Input, &mut sink);
    sink.findings
}

fn blocks(text: &[u8], source: &Source, sink: &mut Sink) {
    let (depth, concealed) = match source {
        Source::Input => (0, false),
        Source::Decoded(_, depth) => (*depth, false),
        Source::Concealed(_, depth) => (*depth, true),
    };
    if let Some(narrow) = encoded::narrowed(text) {
        blocks(&narrow, &Source::Decoded(place_of(source, text.len()), depth), sink);
    }
    let mut start = 0;
    // Where the run of encoding signs began that goes on at the start.
    let mut began = 0;
    while start < text.len() {
        let end = (start + BLOCK).min(text.len());
        let from = start.saturating_sub(OVERLAP);
        let raw = part(text, from..(end + OVERLAP).min(text.len()));
        // The last block also has what begins at its very end.
        let own_end = if end == text.len() { usize::MAX } else { end - from };
        let whole = |shifted: Origin<'static>| match source {
            Source::Input => shifted,
            Source::Decoded(range, _) | Source::Concealed(range, _) => {
                Origin::Within(range.clone())
            }
        };
        let mut view = View {
            text: raw,
            accept: start - from..own_end,
            cut: from > 0,
            phase: (STEP - (start - began) % STEP) % STEP,
            origin: whole(Origin::Shifted(from)),
            depth,
            concealed,
        };
        if let Some(plain) = unescape(raw) {
            for letters in &plain.escaped_letters {
                sink.report(&view, Detector::Escapes, letters.clone());
            }
            let accept_end = if own_end == usize::MAX { own_end } else { plain.forward(own_end) };
            let accept = plain.forward(start - from)..accept_end;
            if matches!(source, Source::Input) {
                view.origin = Origin::Unescaped(from, &plain);
            }
            walk::walk(&View { text: &plain.text, accept, ..view }, sink);
        } else {
            walk::walk(&view, sink);
        }
        let signs = part(text, start..end).iter().rev().take_while(|byte| is_sign(**byte)).count();
        began = if signs == end - start { began } else { end - signs };
        start = end;
    }
}

/// A sign of base64 in one of its alphabets; those of hexadecimal and base32 are among them.
fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn place_of(source: &Source, length: usize) -> Range<usize> {
    match source {
        Source::Input => 0..length,
        Source::Decoded(range, _) | Source::Concealed(range, _) => range.clone(),
    }
}

/// A text with its escapes resolved, and which place came from where.
struct Unescaped {
    text: Vec<u8>,
    /// Pairs of a place in the text and the place that it came from, after each escape.
    marks: Vec<(usize, usize)>,
    /// Where plain letters were escaped in a row, in the text as it was.
    escaped_letters: Vec<Range<usize>>,
}

impl Unescaped {
    fn back(&self, position: usize) -> usize {
        let next = self.marks.partition_point(|(to, _)| *to <= position);
        let (to, from) = next.checked_sub(1).and_then(|at| self.marks.get(at)).unwrap_or(&(0, 0));
        from + (position - to)
    }

    fn forward(&self, position: usize) -> usize {
        let next = self.marks.partition_point(|(_, from)| *from <= position);
        let (to, from) = next.checked_sub(1).and_then(|at| self.marks.get(at)).unwrap_or(&(0, 0));
        let most = self.marks.get(next).map_or(self.text.len(), |(to, _)| *to);
        (to + (position - from)).min(most)
    }
}

/// Resolves the escapes of JSON and of most languages, nested ones too. `None` if there is none.
fn unescape(raw: &[u8]) -> Option<Unescaped> {
    if !raw.contains(&b'\\') {
        return None;
    }
    let mut plain = Unescaped {
        text: Vec::with_capacity(raw.len()),
        marks: Vec::new(),
        escaped_letters: Vec::new(),
    };
    let mut letters = 0..0;
    let mut count = 0;
    let mut from = 0;
    while let Some(length) = ahead(raw, from, raw.len()).iter().position(|byte| *byte == b'\\') {
        plain.text.extend_from_slice(part(raw, from..from + length));
        let start = from + length;
        let slashes = crate::bytes::run(raw, start, 8, |byte| byte == b'\\');
        let after = start + slashes;
        let (end, found) = resolve(raw, start, after, &mut plain.text);
        plain.marks.push((plain.text.len(), end));
        if found.is_none() || letters.end != start {
            close(&mut plain.escaped_letters, &letters, count);
            count = 0;
            letters = start..start;
        }
        if let Some(found) = found {
            letters.end = end;
            count += usize::from(found.is_ascii_alphanumeric());
        }
        from = end;
    }
    close(&mut plain.escaped_letters, &letters, count);
    plain.text.extend_from_slice(part(raw, from..raw.len()));
    Some(plain)
}

fn close(found: &mut Vec<Range<usize>>, letters: &Range<usize>, count: usize) {
    if count >= ESCAPED_LETTERS_MIN {
        found.push(letters.clone());
    }
}

/// Writes what the escape stands for; its end, and the character if it is written as a number.
fn resolve(raw: &[u8], start: usize, after: usize, text: &mut Vec<u8>) -> (usize, Option<char>) {
    let push = |code: u32, text: &mut Vec<u8>| {
        let found = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut buffer = [0; 4];
        text.extend_from_slice(found.encode_utf8(&mut buffer).as_bytes());
        Some(found)
    };
    match at(raw, after) {
        b'n' => text.push(b'\n'),
        b'r' | b't' | b'b' | b'f' => text.push(b' '),
        found @ (b'"' | b'/' | b'\'') => text.push(found),
        b'x' => {
            if let Some(code) = encoded::hex_number(raw, after + 1, 2) {
                return (after + 3, push(code, text));
            }
            text.push(b'\\');
            return (after, None);
        }
        b'u' if at(raw, after + 1) == b'{' => {
            let digits = crate::bytes::run(raw, after + 2, 6, |byte| byte.is_ascii_hexdigit());
            match encoded::hex_number(raw, after + 2, digits) {
                Some(code) if at(raw, after + 2 + digits) == b'}' => {
                    return (after + 3 + digits, push(code, text));
                }
                _ => text.push(b'\\'),
            }
            return (after, None);
        }
        b'u' => {
            let Some(code) = encoded::hex_number(raw, after + 1, 4) else {
                text.push(b'\\');
                return (after, None);
            };
            let end = after + 5;
            if (0xd800..0xdc00).contains(&code) {
                let slashes = after - start;
                let low = encoded::hex_number(raw, end + slashes + 1, 4);
                if let Some(low @ 0xdc00..0xe000) = low
                    && at(raw, end + slashes) == b'u'
                {
                    let joined = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    return (end + slashes + 5, push(joined, text));
                }
            }
            return (end, push(code, text));
        }
        _ => {
            text.push(b'\\');
            return (after, None);
        }
    }
    (after + 1, None)
}
