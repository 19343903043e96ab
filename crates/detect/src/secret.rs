//! Credentials: by the published form of tokens, by the name that a value is given to, by chance-like text.
//! The adversary carries one out in an argument, or plants one in a result.

use std::ops::Range;
use std::sync::LazyLock;

use crate::bytes::{ahead, at, before, begins, is_word, part, run};
use crate::findings::Detector;
use crate::view::{Sink, View};
use crate::{encoded, walk};

pub(crate) mod assign;
pub(crate) mod entropy;
mod formats;

use formats::{Alphabet, FORMATS, Format};

/// Longest header of a JSON Web Token.
const HEADER_MAX: usize = 400;
/// Shortest body of a private key that is more than an ellipsis.
const PEM_BODY_MIN: usize = 40;
/// Longest public block whose body is known to be no secret.
const PEM_MAX: usize = 8 << 10;

/// For each first byte, where its formats are in the list.
static BY_FIRST: LazyLock<Vec<Vec<&'static Format>>> = LazyLock::new(|| {
    let mut table = vec![Vec::new(); 128];
    for format in FORMATS {
        let first = format.prefix.as_bytes().first().copied().unwrap_or(0);
        if let Some(list) = table.get_mut(usize::from(first)) {
            list.push(format);
        }
    }
    table
});

/// Looks for tokens of known form in a run of token characters; the last that was found.
pub(crate) fn token(
    view: &View<'_>,
    sink: &mut Sink,
    range: &Range<usize>,
    kinds: u8,
) -> Option<Range<usize>> {
    let text = view.text;
    let mut last_found = None;
    let table = &*BY_FIRST;
    let mut position = range.start;
    while position < range.end {
        let first = at(text, position);
        let is_start = !before(text, position).is_ascii_alphanumeric() || position == range.start;
        if is_start
            && first.is_ascii_alphanumeric()
            && let Some(formats) = table.get(usize::from(first))
        {
            let found =
                formats.iter().find_map(|format| Some((format, matched(text, position, format)?)));
            if let Some((format, end)) = found {
                sink.report(view, format.detector, position..end);
                last_found = Some(position..end);
                position = end;
                continue;
            }
            let last = before(text, position);
            let is_alone = position == range.start || last != b'-';
            if is_alone
                && kinds & walk::UPPER != 0
                && ahead(text, position, 3) == b"eyJ"
                && let Some(end) = jwt(text, position)
            {
                sink.report(view, Detector::Jwt, position..end);
                last_found = Some(position..end);
                position = end;
                continue;
            }
        }
        position += 1;
    }
    if text.get(range.start).is_some_and(u8::is_ascii_uppercase) {
        named_key_file(view, sink, range);
    }
    last_found
}

/// The end of a token of this format, if one begins here.
fn matched(text: &[u8], position: usize, format: &Format) -> Option<usize> {
    let prefix = format.prefix.as_bytes();
    if part(text, position..position + prefix.len()) != prefix {
        return None;
    }
    let from = position + prefix.len();
    let length = run(text, from, format.most + 1, |byte| format.alphabet.has(byte));
    if format.has_checksum {
        let lengths = [length.min(format.most), format.least];
        let is = |length: &usize| checksum_holds(part(text, from..from + length));
        if let Some(length) = lengths.into_iter().find(is) {
            return Some(from + length);
        }
    }
    if length < format.least || length > format.most {
        return None;
    }
    let body = part(text, from..from + length);
    let is_example = crate::bytes::ends(body, b"example") || crate::bytes::begins(body, b"xxxx");
    (!is_example && entropy::bits(body) >= format.bits).then_some(from + length)
}

/// GitHub and npm: the last six characters are the CRC-32 of those before, in base 62.
fn checksum_holds(body: &[u8]) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((random, check)) = body.split_last_chunk::<6>() else { return false };
    let mut left = crc32fast::hash(random);
    random.len() >= 30
        && check.iter().rev().all(|byte| {
            let digit = usize::try_from(left % 62).unwrap_or(0);
            left /= 62;
            DIGITS.get(digit) == Some(byte)
        })
}

/// Three parts with dots between, the first of which is a header with an algorithm.
fn jwt(text: &[u8], position: usize) -> Option<usize> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let header = run(text, position, HEADER_MAX, is_part);
    let claims_at = position + header + 1;
    if header < 16 || at(text, claims_at - 1) != b'.' {
        return None;
    }
    let claims = run(text, claims_at, 16 << 10, is_part);
    let signature_at = claims_at + claims + 1;
    if claims < 8 || at(text, signature_at - 1) != b'.' {
        return None;
    }
    let signature = run(text, signature_at, 2048, is_part);
    if signature < 20 {
        return None;
    }
    let decoded = encoded::base64_bytes(part(text, position..position + header));
    (decoded.starts_with(b"{") && crate::bytes::holds(&decoded, b"\"alg\""))
        .then_some(signature_at + signature)
}

/// `-----BEGIN … PRIVATE KEY-----` and enough of a body. Whether the header is that of a private key.
pub(crate) fn pem(view: &View<'_>, sink: &mut Sink, start: usize) -> bool {
    let head = ahead(view.text, start, 96);
    if begins(head, b"-----begin pgp private key block-----") {
        sink.report(view, Detector::PrivateKey, start..start + 37);
        return true;
    }
    let Some(length) = head.windows(16).position(|at| begins(at, b"private key-----")) else {
        return false;
    };
    let head_end = start + length + 16;
    let is_one_line = !ahead(head, 0, length).contains(&b'\n');
    let body = ahead(view.text, head_end, 400);
    let letters = body
        .iter()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'+' | b'/' | b'=' | b'\r' | b'\n' | b' ' | b':' | b',' | b'-')
        })
        .filter(|byte| byte.is_ascii_alphanumeric())
        .count();
    if is_one_line && letters >= PEM_BODY_MIN {
        sink.report(view, Detector::PrivateKey, start..head_end);
    }
    true
}

/// Up to where a certificate or another public block goes that begins here, as far as is looked, and whether
/// its end was seen.
pub(crate) fn public_block(text: &[u8], start: usize) -> (usize, bool) {
    let block = ahead(text, start + 10, PEM_MAX);
    let end = block.windows(8).position(|at| at == b"-----END");
    (start + 10 + end.unwrap_or(block.len()), end.is_some())
}

/// Private keys in forms of their own: age and PuTTY.
fn named_key_file(view: &View<'_>, sink: &mut Sink, range: &Range<usize>) {
    let text = part(view.text, range.clone());
    let is_age = text.starts_with(b"AGE-SECRET-KEY-1") && text.len() >= 70;
    let is_putty = text.starts_with(b"PuTTY-User-Key-File-");
    if is_age || is_putty {
        sink.report(view, Detector::PrivateKey, range.clone());
    }
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Word => is_word(byte) || byte == b'-',
            Self::Dotted => is_word(byte) || matches!(byte, b'-' | b'.'),
            Self::Base64 => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
            }
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Base32 => byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7'),
            Self::Path => is_word(byte) || matches!(byte, b'-' | b'/'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_checked() {
        let body = [b'a'; 30];
        let mut left = crc32fast::hash(&body);
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut tail = [0; 6];
        for slot in tail.iter_mut().rev() {
            *slot = digits[left as usize % 62];
            left /= 62;
        }
        let mut whole = body.to_vec();
        whole.extend(tail);
        assert!(checksum_holds(&whole));
        whole[35] ^= 1;
        assert!(!checksum_holds(&whole));
        assert!(!checksum_holds(b""));
        // A token of zeroes that another scanner's tests publish.
        let published = [b"0".repeat(31).as_slice(), b"4WZ4EQ"].concat();
        assert!(checksum_holds(&published));
    }
}
