//! Tokens that look drawn by chance: the net below the known forms. The adversary has a key of a form that
//! nobody published. Digests, identifiers, paths and words are no secrets, and look like some.

use std::ops::Range;
use std::sync::LazyLock;

use crate::bytes::{Needles, before, part};
use crate::findings::Detector;
use crate::view::{Sink, View};
use crate::walk::{DIGIT, LOWER, UPPER};

/// Shortest and longest token that is judged.
const LEAST: usize = 20;
const MOST: usize = 128;

/// What says, shortly before it, that a random-looking token is public.
const PUBLIC: &[&[u8]] = &[
    b"integrity",
    b"sha1",
    b"sha2",
    b"sha3",
    b"sha5",
    b"md5",
    b"checksum",
    b"digest",
    b"hash",
    b"etag",
    b"fingerprint",
    b"public",
    b"ssh-",
    b"ecdsa-",
    b"cert",
    b"nonce",
    b"spki",
    b"thumbprint",
    b"cursor",
    b"commit",
    b"revision",
    b"signature",
    b"h1:",
    b"data:",
    b"blob",
    b"trace",
    b"pin-",
    b"uuid",
    b"x5t",
    b"kid",
    b"docid",
    b"/d/",
    b"watch?v",
    b"video",
    b"cid",
    b"ipfs",
    b"request-id",
    b"requestid",
    b"request_id",
    b"crc",
    b"snapshot",
    b"build",
    b"version",
    b"sourcemap",
    b"resolved",
];

static IS_PUBLIC: LazyLock<Needles> = LazyLock::new(|| Needles::new(PUBLIC));

/// Shannon entropy in bits for each byte.
pub(super) fn bits(text: &[u8]) -> f32 {
    let mut counts = [0_u16; 128];
    let mut length = 0_f32;
    for byte in text.iter().take(1024) {
        if let Some(count) = counts.get_mut(usize::from(*byte & 0x7f)) {
            *count += 1;
            length += 1.0;
        }
    }
    let some = counts.iter().filter(|count| **count > 0);
    let sum: f32 = some.map(|count| f32::from(*count) * f32::from(*count).log2()).sum();
    if length == 0.0 { 0.0 } else { length.log2() - sum / length }
}

/// Judges a run of token characters that is of no known form.
pub(crate) fn token(view: &View<'_>, sink: &mut Sink, range: &Range<usize>, kinds: u8) {
    if kinds & (LOWER | UPPER | DIGIT) != LOWER | UPPER | DIGIT {
        return;
    }
    let text = part(view.text, range.clone());
    let count = |sign: u8| text.iter().filter(|byte| **byte == sign).count();
    let (slashes, dots) = (count(b'/'), count(b'.'));
    // A path or a dotted name is judged by its parts; base64 has a slash or plus now and then.
    let is_base64 = dots == 0
        && (count(b'+') > 0 || text.len() >= 12 * slashes)
        && !matches!(before(view.text, range.start), b'/' | b':' | b'.');
    if slashes + dots == 0 || is_base64 {
        judge(view, sink, range.clone(), range.start);
        return;
    }
    let mut from = range.start;
    for piece in text.split(|byte| matches!(byte, b'/' | b'.')) {
        judge(view, sink, from..from + piece.len(), range.start);
        from += piece.len() + 1;
    }
}

fn judge(view: &View<'_>, sink: &mut Sink, range: Range<usize>, token: usize) {
    let text = part(view.text, range.clone());
    if looks_random(text) && !is_identifier(text) && sink.wants(view, range.start) {
        let start = range.start.min(token + 48);
        if !is_public(view.text, token, start.max(token + 8)) {
            sink.report(view, Detector::HighEntropy, range);
        }
    }
}

/// Whether a token has the published form of an identifier, which opens nothing: GitHub's global node ids (`PRRT_kwDO…`,
/// `R_kgDO…`), and what models' services call their messages and tool calls.
fn is_identifier(text: &[u8]) -> bool {
    let node = text.iter().position(|byte| *byte == b'_').is_some_and(|at| {
        let (kind, rest) = text.split_at_checked(at).unwrap_or_default();
        (1..=5).contains(&kind.len())
            && kind.iter().all(u8::is_ascii_uppercase)
            && (rest.starts_with(b"_kwDO") || rest.starts_with(b"_kgDO"))
    });
    node || [b"msg_01".as_slice(), b"toolu_01", b"call_"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// Whether a token looks drawn by chance from letters of both cases and digits.
pub(super) fn looks_random(text: &[u8]) -> bool {
    if text.len() < LEAST || text.len() > MOST {
        return false;
    }
    let mut changes = 0_usize;
    let mut digits = 0_usize;
    let mut uppers = 0_usize;
    let mut lowers = 0_usize;
    let mut joints = 0_usize;
    let mut lower_run = 0_usize;
    let mut longest = 0_usize;
    let mut previous = 0;
    let mut digit_runs = 0_usize;
    let mut capitals = 0_usize;
    for byte in text {
        let kind = crate::walk::class(*byte);
        match kind {
            LOWER => lowers += 1,
            UPPER => uppers += 1,
            DIGIT => digits += 1,
            _ => joints += 1,
        }
        lower_run = if kind == LOWER { lower_run + 1 } else { 0 };
        longest = longest.max(lower_run);
        changes += usize::from(kind != previous);
        digit_runs += usize::from(kind == DIGIT && previous != DIGIT);
        capitals += usize::from(kind == LOWER && previous == UPPER);
        previous = kind;
    }
    let length = text.len();
    // Words written together, each with a capital, and a number or two.
    let is_camel = digit_runs <= 2 && lowers >= 2 * uppers && capitals * 4 >= uppers * 3;
    !is_camel
        && digits >= 2
        && uppers >= 3
        && lowers >= 3
        && joints * 6 <= length
        && longest <= 7
        && changes * 100 >= length * 40
        && bits(text) >= least_bits(length)
}

/// What text of this length drawn from 62 characters hardly ever falls below.
fn least_bits(length: usize) -> f32 {
    match length {
        0..=23 => 3.7,
        24..=31 => 3.95,
        32..=39 => 4.2,
        40..=63 => 4.4,
        _ => 4.8,
    }
}

/// Whether what stands before it, or in the same token before it, says that it is no secret.
fn is_public(text: &[u8], token: usize, start: usize) -> bool {
    let line = part(text, token.saturating_sub(56)..start.min(text.len()));
    let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or(line);
    IS_PUBLIC.are_in(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_the_counts() {
        assert!(bits(b"") == 0.0 && bits(b"aaaa") == 0.0);
        assert!((bits(b"abcd") - 2.0).abs() < 1e-6);
    }

    #[test]
    fn identifiers_of_a_published_form_open_nothing() {
        for id in [
            "PRRT_kwDOKq7Rk2mZx9TbV4wLs8",
            "R_kgDOKq7Rk2mZx9TbV4w",
            "toolu_01q7Rk2mZx9TbV4wLs8HdN1c",
        ] {
            assert!(is_identifier(id.as_bytes()), "{id}");
        }
        for other in [
            "q7Rk2mZx9TbV4wLs8HdN1cYf",
            "prrt_kwDOKq7Rk2mZx9Tb",
            "KEY_q7Rk2mZx9TbV4wLs8",
            "_kwDOKq7Rk2mZx9TbV4",
        ] {
            assert!(!is_identifier(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn words_digests_and_identifiers_are_not_random() {
        for plain in [
            "getElementsByClassNameOrTagName2",
            "9f86d081884c7d659a2feaa0c55ad015",
            "123e4567-e89b-12d3-a456-426614174000",
            "AbstractSingletonProxyFactoryBean3",
            "RelativeYearOrMonthGivenDaysAre24Hours",
        ] {
            assert!(!looks_random(plain.as_bytes()), "{plain}");
        }
        assert!(looks_random(b"q7Rk2mZx9TbV4wLs8HdN1cYf"));
    }
}
