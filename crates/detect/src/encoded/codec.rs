//! Decoders that take what there is: no padding, no checksum, an end that is cut. The adversary sends a text
//! that grows without bound when it is unpacked, or leaves out what a strict decoder insists on.

use crate::bytes::{at, begins, part, run};

/// Fewest bytes of a compressed text that is cut or damaged.
const INFLATED_MIN: usize = 32;

/// What was unpacked.
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    /// Whether that is all.
    pub(super) is_whole: bool,
}

/// Unpacks gzip or zlib, up to a bound. A stream that is cut gives what there is.
pub(super) fn inflate(bytes: &[u8], most: usize) -> Option<Inflated> {
    use miniz_oxide::inflate::{
        decompress_to_vec_with_limit as raw, decompress_to_vec_zlib_with_limit as zlib,
    };
    let result = if begins(bytes, &[0x1f, 0x8b, 8]) {
        raw(part(bytes, gzip_body(bytes)?..bytes.len()), most)
    } else if at(bytes, 0) == 0x78 && matches!(at(bytes, 1), 0x01 | 0x5e | 0x9c | 0xda) {
        zlib(bytes, most)
    } else {
        return None;
    };
    match result {
        Ok(bytes) => Some(Inflated { bytes, is_whole: true }),
        // Two bytes that happen to look like a header give little.
        Err(error) if error.output.len() >= INFLATED_MIN => {
            Some(Inflated { bytes: error.output, is_whole: false })
        }
        Err(_) => None,
    }
}

/// Where the compressed part of a gzip file begins (RFC 1952).
fn gzip_body(bytes: &[u8]) -> Option<usize> {
    let flags = at(bytes, 3);
    let mut position = 10;
    if flags & 4 != 0 {
        position += 2 + usize::from(at(bytes, 10)) + (usize::from(at(bytes, 11)) << 8);
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            position += run(bytes, position, 1024, |byte| byte != 0) + 1;
        }
    }
    if flags & 2 != 0 {
        position += 2;
    }
    (position < bytes.len()).then_some(position)
}

/// A number of so many hexadecimal digits.
pub(crate) fn hex_number(text: &[u8], from: usize, digits: usize) -> Option<u32> {
    let found = part(text, from..from + digits);
    if found.is_empty() {
        return None;
    }
    found.iter().try_fold(0_u32, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))
}

pub(super) fn hex_bytes(text: &[u8]) -> Vec<u8> {
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0);
    text.chunks_exact(2).map(|two| digit(at(two, 0)) << 4 | digit(at(two, 1))).collect()
}

/// Values of the signs of base64, of either alphabet; 64 for others.
static BASE64_VALUES: [u8; 256] = base64_values();

const fn base64_values() -> [u8; 256] {
    let mut table = [64; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        {
            let sign = byte as u8;
            table[byte] = match sign {
                b'A'..=b'Z' => sign - b'A',
                b'a'..=b'z' => sign - b'a' + 26,
                b'0'..=b'9' => sign - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => 64,
            };
        }
        byte += 1;
    }
    table
}

/// Base64 of either alphabet, without a check of its end.
pub(crate) fn base64_bytes(text: &[u8]) -> Vec<u8> {
    gather(text, 6, |byte| {
        BASE64_VALUES.get(usize::from(byte)).copied().filter(|value| *value < 64)
    })
}

pub(super) fn base32_bytes(text: &[u8]) -> Vec<u8> {
    gather(text, 5, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    })
}

fn gather(text: &[u8], bits: u32, value: impl Fn(u8) -> Option<u8>) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut held = 0_u32;
    let mut count = 0;
    for value in text.iter().filter_map(|byte| value(*byte)) {
        held = held << bits | u32::from(value);
        count += bits;
        if count >= 8 {
            count -= 8;
            decoded.push((held >> count).to_le_bytes()[0]);
        }
    }
    decoded
}
