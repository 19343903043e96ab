//! Text in another encoding, decoded within bounds and scanned again. The adversary wraps a secret, or an
//! order, until nobody recognises it.

use std::ops::Range;

use crate::bytes::{ahead, at, behind, is_word, part, run};
use crate::findings::Detector;
use crate::view::{Sink, View};
use crate::walk::{DIGIT, LOWER, UPPER};

mod codec;

use codec::{base32_bytes, hex_bytes, inflate};
pub(crate) use codec::{base64_bytes, hex_number};

/// Shortest encoded text of each kind, in characters.
const BASE64_MIN: usize = 20;
const BASE32_MIN: usize = 24;
const HEX_MIN: usize = 24;
/// Fewest letters with a needless percent sign or character reference.
const NEEDLESS_MIN: usize = 6;
/// Longest base64 that is also tried from its second, third and fourth sign on.
const SHIFTED_MAX: usize = 4096;
/// Shortest stretch of printable bytes that is no chance.
const STRETCH_MIN: usize = 14;
/// Most plain characters between two encoded ones.
const PLAIN_MAX: usize = 64;
/// Longest encoded text that is decoded at once. Blocks of the input are not longer.
const ENCODED_MAX: usize = 512 << 10;
/// Most bytes that one compressed text may grow to.
const INFLATED_MAX: usize = 1 << 20;

/// Looks at a run of token characters; its end, if it is an encoding.
pub(crate) fn token(
    view: &View<'_>,
    sink: &mut Sink,
    range: &Range<usize>,
    kinds: u8,
) -> Option<usize> {
    let text = part(view.text, range.clone());
    if kinds & DIGIT != 0 && text.len() >= HEX_MIN {
        // An identifier may stand before the digits: `0x…`, `payload-…`.
        let digits = text.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        // A digit too many, before or behind, hides nothing.
        let starts = [range.end - digits, range.end - digits + 1];
        let step = |start: usize| hex_bytes(part(view.text, start..range.end));
        if digits >= HEX_MIN
            && let Some(start) = starts.into_iter().find(|start| holds_text(&step(*start)))
        {
            let found = start..range.end;
            let decoded = step(start);
            // Digits alone are rather a table or a long number: looked at, not reported.
            if part(view.text, found.clone()).iter().all(u8::is_ascii_digit) {
                sink.descend(view, &found, &decoded, false);
                return None;
            }
            if deeper(view, sink, Detector::Hex, found, &decoded) == Layer::Encoding {
                return Some(range.end);
            }
        }
    }
    if text.len() >= BASE32_MIN
        && kinds & LOWER == 0
        && text.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
    {
        let decoded = base32_bytes(text);
        let padding = run(view.text, range.end, 6, |byte| byte == b'=');
        let found = range.start..range.end + padding;
        if deeper(view, sink, Detector::Base32, found, &decoded) == Layer::Encoding {
            return Some(range.end + padding);
        }
    }
    if text.len() >= BASE64_MIN && kinds & (UPPER | LOWER) != 0 && kinds & (UPPER | DIGIT) != 0 {
        return base64(view, sink, range);
    }
    None
}

fn base64(view: &View<'_>, sink: &mut Sink, range: &Range<usize>) -> Option<usize> {
    // A dot, a tilde or a stray sign ends base64.
    let is_sign =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let mut start = range.start;
    let mut last = None;
    while start < range.end {
        let length = run(view.text, start, ENCODED_MAX.min(range.end - start), is_sign);
        if length >= BASE64_MIN {
            let (joined, end) = lines(view.text, start, start + length, is_sign);
            let decoded = base64_bytes(&joined);
            let padding = run(view.text, end, 2, |byte| byte == b'=');
            match payload(view, sink, start..end + padding, &decoded) {
                Layer::Nothing => {}
                layer => {
                    if layer == Layer::Encoding {
                        last = Some(end + padding);
                    }
                    start = end;
                    continue;
                }
            }
            // A sign too many before it hides nothing.
            let signs = part(view.text, start..start + length);
            let shifted = |skip: &usize| holds_text(&base64_bytes(ahead(signs, *skip, length)));
            if length <= SHIFTED_MAX
                && let Some(skip) = (1..4).find(shifted)
            {
                let decoded = base64_bytes(ahead(signs, skip, length));
                if payload(view, sink, start + skip..end + padding, &decoded) == Layer::Encoding {
                    last = Some(end + padding);
                }
                start = end;
                continue;
            }
            // A path or a prefix before it: try behind each slash, and behind the last dash.
            let text = part(view.text, start..start + length);
            for cut in [b'/', b'-', b'_'] {
                if let Some(at) = text.iter().position(|byte| *byte == cut)
                    && length - at > BASE64_MIN
                    && at < 40
                {
                    let from = start + at + 1;
                    let decoded = base64_bytes(part(view.text, from..start + length));
                    if payload(view, sink, from..start + length, &decoded) == Layer::Encoding {
                        last = Some(start + length);
                        break;
                    }
                }
            }
        }
        start += length + 1;
    }
    last
}

/// Joins lines that are nothing but base64, as mail and PEM wrap it.
fn lines(text: &[u8], start: usize, end: usize, is: impl Fn(u8) -> bool) -> (Vec<u8>, usize) {
    let mut joined = part(text, start..end).to_vec();
    let width = end - start;
    let mut end = end;
    while width >= 16 && joined.len() < ENCODED_MAX {
        let gap = usize::from(at(text, end) == b'\r' || at(text, end) == b' ');
        if at(text, end + gap) != b'\n' {
            break;
        }
        let from = end + gap + 1;
        let indent = run(text, from, 8, |byte| byte == b' ');
        let length = run(text, from + indent, width + 1, &is);
        let next = at(text, from + indent + length);
        if length == 0
            || length > width
            || !matches!(next, b'\n' | b'\r' | b'=' | b' ' | b'"' | b'\'' | b'<' | b'`' | 0)
        {
            break;
        }
        // A line of prose is no base64: its first word would be shorter than the line before.
        if length < width && length < 4 && !matches!(next, b'=') {
            break;
        }
        joined.extend_from_slice(part(text, from + indent..from + indent + length));
        end = from + indent + length;
        if length < width {
            break;
        }
    }
    (joined, end)
}

/// What a decoded text turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// Text: reported and scanned.
    Encoding,
    /// Something else with text in it: scanned.
    Looked,
    /// Nothing.
    Nothing,
}

/// What base64 held: text, or something compressed.
fn payload(view: &View<'_>, sink: &mut Sink, range: Range<usize>, decoded: &[u8]) -> Layer {
    if !sink.wants(view, range.start) {
        return if is_text(decoded) { Layer::Encoding } else { Layer::Nothing };
    }
    if let Some(inflated) = inflate(decoded, sink.decoded_left().min(INFLATED_MAX)) {
        sink.report(view, Detector::Gzip, range.clone());
        sink.descend(view, &range, &inflated.bytes, false);
        if !inflated.is_whole {
            sink.truncate();
        }
        return Layer::Encoding;
    }
    deeper(view, sink, Detector::Base64, range, decoded)
}

/// Reports and scans what decodes to text. What decodes to something else is scanned when it is long, for
/// text inside: a file of any kind.
fn deeper(
    view: &View<'_>,
    sink: &mut Sink,
    detector: Detector,
    range: Range<usize>,
    decoded: &[u8],
) -> Layer {
    if is_text(decoded) || narrowed(decoded).is_some() {
        sink.report(view, detector, range.clone());
        sink.descend(view, &range, decoded, false);
        return Layer::Encoding;
    }
    if decoded.len() >= 256 || holds_text(decoded) {
        sink.descend(view, &range, decoded, false);
        return Layer::Looked;
    }
    Layer::Nothing
}

/// Whether there is a stretch of printable ASCII that chance does not make.
fn holds_text(bytes: &[u8]) -> bool {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    bytes.split(|byte| !is_printable(byte)).any(|stretch| stretch.len() >= STRETCH_MIN)
        || is_text(bytes)
        || narrowed(bytes).is_some()
}

/// Whether bytes are something that a person could read.
fn is_text(bytes: &[u8]) -> bool {
    if bytes.len() < 12 {
        return false;
    }
    let Some(readable) = readable(bytes) else { return false };
    readable * 100 >= bytes.len() * 97
}

/// How many bytes are printable ASCII, white space, or parts of good UTF-8.
fn readable(bytes: &[u8]) -> Option<usize> {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A piece of a longer text may end within a character.
        Err(error) if error.valid_up_to() + 4 > bytes.len() => {
            std::str::from_utf8(part(bytes, 0..error.valid_up_to())).ok()?
        }
        Err(_) => return None,
    };
    let is_good = |found: &char| !found.is_control() || matches!(found, '\n' | '\r' | '\t');
    let ascii = valid.bytes().filter(u8::is_ascii).count();
    // Random bytes that happen to be UTF-8 are of many scripts; text has letters and few other signs.
    let letters = valid.chars().filter(|found| found.is_alphanumeric() || *found == ' ').count();
    let all = valid.chars().count();
    (letters * 2 >= all && (ascii * 2 >= valid.len() || all >= 8))
        .then(|| valid.chars().filter(is_good).map(char::len_utf8).sum())
}

/// UTF-16 of Latin text without its zeroes, if that is what it is.
pub(crate) fn narrowed(bytes: &[u8]) -> Option<Vec<u8>> {
    let sample = part(bytes, 0..bytes.len().min(256));
    if sample.len() < 16 {
        return None;
    }
    let zeroes = |odd: usize| sample.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let half = sample.len() / 2;
    let (odd, even) = (zeroes(1), zeroes(0));
    let keep = if odd * 10 >= half * 8 && even * 10 <= half {
        0
    } else if even * 10 >= half * 8 && odd * 10 <= half {
        1
    } else {
        return None;
    };
    Some(bytes.iter().skip(keep).step_by(2).copied().collect())
}

/// Percent-encoding whose first sign is here, with what stands before it without a gap; its end.
pub(crate) fn percent(view: &View<'_>, sink: &mut Sink, sign: usize) -> usize {
    let before = behind(view.text, sign, PLAIN_MAX);
    let start = sign - before.iter().rev().take_while(|byte| is_word(**byte)).count();
    let mut decoded = Vec::new();
    let mut needless = 0;
    let mut signs = 0;
    let end = unwrap(view.text, start, &mut decoded, |text, position, decoded| {
        let code = hex_number(text, position + 1, 2)?;
        signs += 1;
        needless += usize::from(u8::try_from(code).is_ok_and(|byte| byte.is_ascii_alphanumeric()));
        decoded.push(u8::try_from(code).unwrap_or(0));
        Some(position + 3)
    });
    if signs >= 2 {
        if needless >= NEEDLESS_MIN {
            sink.report(view, Detector::Percent, start..end);
        }
        sink.descend(view, &(start..end), &decoded, false);
    }
    end
}

/// Character references (`&#105;`) that begin here; their end.
pub(crate) fn references(view: &View<'_>, sink: &mut Sink, start: usize) -> usize {
    let mut decoded = Vec::new();
    let mut needless = 0;
    let end = unwrap(view.text, start, &mut decoded, |text, position, decoded| {
        let (code, end) = reference(text, position)?;
        let found = char::from_u32(code)?;
        needless += usize::from(found.is_ascii_alphanumeric());
        decoded.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
        Some(end)
    });
    if needless >= NEEDLESS_MIN {
        sink.report(view, Detector::Escapes, start..end);
    }
    if decoded.len() > 8 {
        sink.descend(view, &(start..end), &decoded, false);
    }
    end
}

/// Reads on while signs or plain characters come, without white space; spaces only between signs.
fn unwrap(
    text: &[u8],
    start: usize,
    decoded: &mut Vec<u8>,
    mut sign: impl FnMut(&[u8], usize, &mut Vec<u8>) -> Option<usize>,
) -> usize {
    let mut position = start;
    let mut last = start + 1;
    let mut plain = 0;
    while position - start < ENCODED_MAX && plain <= PLAIN_MAX {
        let byte = at(text, position);
        if matches!(byte, b'%' | b'&')
            && let Some(end) = sign(text, position, decoded)
        {
            position = end;
            last = end;
            plain = 0;
        } else if byte > b' ' && !matches!(byte, b'"' | b'<' | b'>' | b'\'') {
            decoded.push(byte);
            position += 1;
            plain += 1;
        } else {
            return position.max(last);
        }
    }
    position.max(last)
}

fn reference(text: &[u8], position: usize) -> Option<(u32, usize)> {
    if at(text, position + 1) != b'#' {
        return None;
    }
    let is_hex = at(text, position + 2) | 0x20 == b'x';
    let from = position + 2 + usize::from(is_hex);
    let length =
        run(
            text,
            from,
            7,
            |byte| if is_hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() },
        );
    let digits = std::str::from_utf8(part(text, from..from + length)).ok()?;
    let code = u32::from_str_radix(digits, if is_hex { 16 } else { 10 }).ok()?;
    let end = from + length;
    Some((code, end + usize::from(at(text, end) == b';')))
}
