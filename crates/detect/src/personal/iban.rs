//! International bank account numbers: country, length, modulus 97. The adversary groups them as people do.

use crate::bytes::{at, is_word};

/// Length by country.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// The end of an account number that begins here.
pub(super) fn end(text: &[u8], start: usize) -> Option<usize> {
    let country = [at(text, start), at(text, start + 1)];
    let (_, length) = LENGTHS.iter().find(|(known, _)| **known == country)?;
    let mut signs = Vec::with_capacity(34);
    let mut position = start;
    while signs.len() < *length {
        let byte = at(text, position);
        if byte.is_ascii_uppercase() || byte.is_ascii_digit() {
            signs.push(byte);
        } else if !(matches!(byte, b' ' | b'-')
            && signs.len() >= 4
            && at(text, position + 1) != byte)
        {
            return None;
        }
        position += 1;
    }
    let (head, body) = signs.split_at_checked(4)?;
    let rest = body.iter().chain(head).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (rest == 1 && !is_word(at(text, position))).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_hold_and_a_changed_digit_does_not() {
        assert_eq!(end(b"GB82 WEST 1234 5698 7654 32", 0), Some(27));
        assert_eq!(end(b"DE89370400440532013000.", 0), Some(22));
        assert_eq!(end(b"DE89370400440532013001", 0), None);
        assert_eq!(end(b"DE89", 0), None);
        assert_eq!(end(b"DE89370400440532013000X", 0), None);
    }
}
