//! Reading bytes without a panic: what lies outside is a NUL or nothing. The adversary is an index
//! computed from the data.

use std::ops::Range;

/// The byte at a position, NUL beyond the end.
#[inline]
pub(crate) fn at(text: &[u8], position: usize) -> u8 {
    text.get(position).copied().unwrap_or(0)
}

/// The byte before a position, a space at the start.
#[inline]
pub(crate) fn before(text: &[u8], position: usize) -> u8 {
    position.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(b' ')
}

/// A part, empty when it does not lie inside.
#[inline]
pub(crate) fn part(text: &[u8], range: Range<usize>) -> &[u8] {
    text.get(range).unwrap_or(&[])
}

/// At most so many bytes from a position on.
pub(crate) fn ahead(text: &[u8], from: usize, most: usize) -> &[u8] {
    part(text, from.min(text.len())..from.saturating_add(most).min(text.len()))
}

/// At most so many bytes up to a position.
pub(crate) fn behind(text: &[u8], to: usize, most: usize) -> &[u8] {
    part(text, to.saturating_sub(most)..to.min(text.len()))
}

/// How many bytes from a position on fulfil a condition, counted up to a bound.
pub(crate) fn run(text: &[u8], from: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
    ahead(text, from, most).iter().take_while(|byte| is(**byte)).count()
}

/// Needles by their first byte, so that a text is compared only with those that may be there.
pub(crate) struct Needles([Vec<&'static [u8]>; 256]);

impl Needles {
    /// The needles are in lower case.
    pub(crate) fn new(needles: &[&'static [u8]]) -> Self {
        let mut lists = [const { Vec::new() }; 256];
        for needle in needles {
            if let Some(list) = needle.first().and_then(|first| lists.get_mut(usize::from(*first)))
            {
                list.push(*needle);
            }
        }
        Self(lists)
    }

    fn starts(&self, text: &[u8], position: usize) -> bool {
        let first = at(text, position).to_ascii_lowercase();
        let list = self.0.get(usize::from(first)).map_or(&[][..], Vec::as_slice);
        list.iter().any(|needle| begins(ahead(text, position, needle.len()), needle))
    }

    /// Whether one of them is anywhere in a text, read without case.
    pub(crate) fn are_in(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|position| self.starts(text, position))
    }

    /// Whether one of them begins a word of a text.
    pub(crate) fn begin_word(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|position| {
            let is_start = !before(text, position).is_ascii_alphabetic()
                || at(text, position).is_ascii_uppercase();
            is_start && self.starts(text, position)
        })
    }
}

/// Whether a text holds a needle, both read without case. The needle is in lower case.
pub(crate) fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len().max(1)).any(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether a text ends in a needle, read without case.
pub(crate) fn ends(text: &[u8], needle: &[u8]) -> bool {
    text.len()
        .checked_sub(needle.len())
        .is_some_and(|from| text.get(from..).is_some_and(|tail| tail.eq_ignore_ascii_case(needle)))
}

/// Whether a text begins with a needle, read without case.
pub(crate) fn begins(text: &[u8], needle: &[u8]) -> bool {
    text.get(..needle.len()).is_some_and(|head| head.eq_ignore_ascii_case(needle))
}

/// A part of a word: letters, digits, underscore.
#[inline]
pub(crate) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Decodes the character that starts at a position. `None` where the bytes are no UTF-8.
#[inline]
pub(crate) fn decode(text: &[u8], position: usize) -> Option<(char, usize)> {
    let first = at(text, position);
    let length = match first {
        0..=0x7f => return Some((char::from(first), 1)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut code = u32::from(first) & (0x7f >> length);
    for offset in 1..length {
        let next = at(text, position + offset);
        if next & 0xc0 != 0x80 {
            return None;
        }
        code = code << 6 | u32::from(next & 0x3f);
    }
    let least = [0, 0, 0x80, 0x800, 0x1_0000].get(length).copied().unwrap_or(0);
    if code < least {
        return None;
    }
    char::from_u32(code).map(|found| (found, length))
}
