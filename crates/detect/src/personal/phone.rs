//! Phone numbers: international ones by country and length, national ones by their form or a word nearby.
//! The adversary is a list of contacts; the nuisance is every other number.

use std::sync::LazyLock;

use crate::bytes::{Needles, at, before};
use crate::findings::Detector;

use super::{Group, Number, end_of, has_word, is_continued, shape};

/// Words that say that a number is one to call.
static WORDS: LazyLock<Needles> = LazyLock::new(|| {
    Needles::new(&[
        b"tel",
        b"phone",
        b"mobil",
        b"cell",
        b"call ",
        b"fax",
        b"ruf",
        b"handy",
        b"durchwahl",
        b"t\xc3\xa9l",
        b"m\xc3\xb3vil",
        b"movil",
        b"celular",
        b"whatsapp",
        b"sms",
        b"portable",
        b"contact",
        b"dial",
        b"text me",
        b"\xe7\x94\xb5\xe8\xaf\x9d",
        b"\xe6\x89\x8b\xe6\x9c\xba",
        b"reach me",
        b"ring ",
    ])
});

/// Country codes of one and two digits; all others have three.
const SHORT_CODES: &[u32] = &[
    1, 7, 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54,
    55, 56, 57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

pub(super) fn phone(text: &[u8], number: &Number, groups: &[Group]) -> Option<(Detector, usize)> {
    let first = groups.first()?;
    let start = first.start;
    let last = before(text, start);
    let taken = same_line(groups);
    let groups = groups.get(..taken)?;
    let digits = number.of(groups);
    let found = Some((Detector::Phone, taken));
    if last == b'+' && !before(text, start - 1).is_ascii_alphanumeric() {
        return (is_international(digits) && digits.len() <= 15).then_some(found)?;
    }
    let is_zero = digits.starts_with(&[0, 0]) && digits.get(2) != Some(&0);
    if is_zero && digits.len() >= 11 && has_word(text, start, 24, &WORDS) {
        let rest = digits.get(2..)?;
        return (is_international(rest) && rest.len() <= 15).then_some(found)?;
    }
    // North America: three, three and four digits, the first three often in brackets.
    let is_bracketed = last == b'(' && at(text, start + 3) == b')';
    let (skip, digits_here) =
        if shape(groups, &[1, 3, 3, 4], b"-. )(") && digits.first() == Some(&1) {
            (1, digits.get(1..)?)
        } else {
            (0, digits)
        };
    let rest = groups.get(skip..)?;
    if shape(rest, &[3, 3, 4], b"-. )") && first.separator == 0 {
        let used = skip + 3;
        let is_number = is_north_american(digits_here.get(..10)?);
        let dashes = rest.iter().take(3).skip(1).all(|group| group.separator == b'-');
        let is_clear = is_bracketed || dashes && !is_continued(text, start, end_of(rest.get(..3)?));
        let is_said = || has_word(text, start, 28, &WORDS);
        return (is_number && (is_clear || is_said())).then_some((Detector::Phone, used));
    }
    // Elsewhere: a leading zero, or a word nearby.
    let is_national = digits.first() == Some(&0) && digits.get(1) != Some(&0);
    let is_long_enough = matches!(digits.len(), 9..=13);
    let is_chinese =
        digits.len() == 11 && digits.first() == Some(&1) && matches!(digits.get(1), Some(3..=9));
    if is_long_enough
        && (is_national || is_chinese || digits.len() <= 10 && groups.len() >= 3)
        && has_word(text, start, 24, &WORDS)
        && !is_continued(text, start, end_of(groups))
    {
        return found;
    }
    None
}

/// How many groups belong together: a date or a second number after two spaces does not.
fn same_line(groups: &[Group]) -> usize {
    let mut digits = 0;
    let mut taken = 0;
    for group in groups {
        if digits + group.length > 15 {
            break;
        }
        digits += group.length;
        taken += 1;
    }
    taken
}

fn is_international(digits: &[u8]) -> bool {
    let head = |length: usize| {
        digits.iter().take(length).fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    if digits.first() == Some(&1) {
        return digits.len() == 11 && is_north_american(digits.get(1..).unwrap_or(&[]));
    }
    let is_known = SHORT_CODES.contains(&head(2))
        || head(1) == 7
        || matches!(head(3), 210..=299 | 350..=389 | 420..=423 | 500..=509 | 590..=599 | 670..=692 | 850..=886 | 960..=998);
    is_known
        && (8..=15).contains(&digits.len())
        && digits.windows(2).any(|two| two.first() != two.last())
}

fn is_north_american(digits: &[u8]) -> bool {
    let digit = |at: usize| digits.get(at).copied().unwrap_or(0);
    let is_fiction = digits.get(3..8) == Some(&[5, 5, 5, 0, 1]);
    digits.len() == 10
        && digit(0) >= 2
        && digit(3) >= 2
        && !(digit(1) == 1 && digit(2) == 1)
        && !(digit(4) == 1 && digit(5) == 1)
        && !is_fiction
}
