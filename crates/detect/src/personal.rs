//! Data about persons, each by a rule that a random number fails: check digits, issuer ranges, ranges of
//! areas, a word nearby. The adversary carries records of people out; the nuisance is a log full of numbers.

use std::ops::Range;
use std::sync::LazyLock;

use crate::bytes::{Needles, at, before, behind, is_word, part, run};
use crate::findings::Detector;
use crate::view::{Sink, View};

mod checks;
mod iban;
pub(crate) mod mail;
mod phone;

/// Most digits and groups that are read as one number.
const DIGITS_MAX: usize = 40;
const GROUPS_MAX: usize = 12;

/// Digits with single separators between groups of them.
struct Number {
    digits: [u8; DIGITS_MAX],
    groups: [Group; GROUPS_MAX],
    digit_count: usize,
    group_count: usize,
    end: usize,
}

/// A group of digits in a number.
#[derive(Clone, Copy, Default)]
struct Group {
    /// Where it is in the text.
    start: usize,
    /// Its first digit within the number's digits.
    first: usize,
    length: usize,
    /// What stands before it: 0 for the first.
    separator: u8,
}

impl Number {
    fn read(text: &[u8], start: usize) -> Self {
        let mut number = Self {
            digits: [0; DIGITS_MAX],
            groups: [Group::default(); GROUPS_MAX],
            digit_count: 0,
            group_count: 0,
            end: start,
        };
        let mut position = start;
        let mut separator = 0;
        while let Some(group) = number.groups.get_mut(number.group_count) {
            let length = run(text, position, 4 * DIGITS_MAX, |byte| byte.is_ascii_digit());
            if length == 0 {
                break;
            }
            let first = number.digit_count;
            *group = Group { start: position, first, length, separator };
            number.group_count += 1;
            let Some(room) = number.digits.get_mut(first..first + length) else {
                // Longer than anything that is looked for.
                number.group_count -= 1;
                number.end = position + length;
                break;
            };
            for (digit, byte) in room.iter_mut().zip(part(text, position..position + length)) {
                *digit = byte - b'0';
            }
            number.digit_count += length;
            position += length;
            number.end = position;
            separator = at(text, position);
            let next = at(text, position + 1);
            if matches!(separator, b' ' | b'-' | b'.' | b'/' | b')') && next.is_ascii_digit() {
                position += 1;
            } else if separator == b')' && matches!(next, b' ' | b'-')
                || separator == b' ' && matches!(next, b'(' | b'-')
            {
                position += 2;
            } else {
                break;
            }
        }
        number
    }

    fn groups(&self) -> &[Group] {
        self.groups.get(..self.group_count).unwrap_or(&[])
    }

    /// The digits of groups, from the first of these on.
    fn of(&self, groups: &[Group]) -> &[u8] {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return &[] };
        part(&self.digits, first.first..last.first + last.length)
    }
}

/// What groups are, and how many of them.
type Rule = fn(&[u8], &Number, &[Group]) -> Option<(Detector, usize)>;

fn end_of(groups: &[Group]) -> usize {
    groups.last().map_or(0, |group| group.start + group.length)
}

/// Looks at the number that begins here; its end.
pub(crate) fn number(view: &View<'_>, sink: &mut Sink, start: usize) -> usize {
    let text = view.text;
    let number = Number::read(text, start);
    if number.digit_count < 6 {
        return number.end;
    }
    let mut position = 0;
    while let Some(groups) = number.groups().get(position..)
        && !groups.is_empty()
    {
        let taken = group_finding(view, sink, &number, groups);
        position += taken.max(1);
    }
    number.end
}

/// How many groups from the first on are something.
fn group_finding(view: &View<'_>, sink: &mut Sink, number: &Number, groups: &[Group]) -> usize {
    let text = view.text;
    let Some(first) = groups.first() else { return 0 };
    const RULES: [Rule; 4] = [card, ssn, phone::phone, national];
    for rule in RULES {
        if let Some((detector, taken)) = rule(text, number, groups) {
            let end = end_of(groups.get(..taken).unwrap_or(&[]));
            // A number that goes on as a word is an identifier.
            if is_word(at(text, end)) && detector != Detector::NationalId {
                continue;
            }
            sink.report(view, detector, first.start..end);
            return taken;
        }
    }
    if let Some(taken) = birth_date(text, groups) {
        sink.report(view, Detector::BirthDate, first.start..end_of(groups));
        return taken;
    }
    0
}

fn shape(groups: &[Group], lengths: &[usize], separator: &[u8]) -> bool {
    groups.len() >= lengths.len()
        && groups.iter().zip(lengths).all(|(group, length)| group.length == *length)
        && groups
            .iter()
            .take(lengths.len())
            .skip(1)
            .all(|group| separator.contains(&group.separator))
}

/// Whether the number is part of a longer one, such as `1.2.3` or `A-12-34`.
fn is_continued(text: &[u8], start: usize, end: usize) -> bool {
    let next = at(text, end);
    let last = before(text, start);
    matches!(last, b'.' | b'-' | b'/' | b'_' | b'#' | b'=' | b'$') && last != b'='
        || matches!(next, b'-' | b'/' | b'_' | b'.') && at(text, end + 1).is_ascii_digit()
}

/// Whether one of these begins a word shortly before a place.
fn has_word(text: &[u8], start: usize, most: usize, words: &LazyLock<Needles>) -> bool {
    words.begin_word(behind(text, start, most))
}

/// Words near which a number is looked at in another way.
macro_rules! needles {
    ($($name:ident: $($word:literal)+;)+) => {
        $(static $name: LazyLock<Needles> = LazyLock::new(|| Needles::new(&[$($word),+]));)+
    };
}

needles! {
    CARD: b"card" b"visa" b"master" b"amex" b"credit" b"debit" b"pan" b"karte" b"kredit" b"tarjeta" b"carte"
        b"payment" b"\xe5\x8d\xa1";
    SSN: b"ssn" b"social" b"tax id" b"itin" b"tin";
    SSN_PLAIN: b"ssn" b"social sec";
    ELEVEN: b"cpf" b"steuer" b"idnr" b"identifikationsnummer" b"pesel";
    STEUER: b"steuer" b"idnr" b"identifikationsnummer" b"tax";
    NIR: b"nir" b"s\xc3\xa9curit" b"securit" b"insee";
    NHS: b"nhs";
    AADHAAR: b"aadhaar" b"aadhar" b"uid";
    DNI: b"dni" b"nif" b"documento";
    BIRTH: b"born" b"birth" b"dob" b"d.o.b" b"geboren" b"geburts" b"geb." b"n\xc3\xa9 le" b"n\xc3\xa9e le"
        b"naissance" b"nacimiento" b"nacid" b"nascid" b"nascimento" b"nascita" b"nato il" b"nata il"
        b"geboortedatum" b"\xe5\x87\xba\xe7\x94\x9f" b"\xe7\x94\x9f\xe6\x97\xa5";
}

fn card(text: &[u8], number: &Number, groups: &[Group]) -> Option<(Detector, usize)> {
    let separators = b" -.";
    let taken = if shape(groups, &[4, 4, 4, 4, 3], separators) {
        5
    } else if shape(groups, &[4, 4, 4, 4], separators) {
        4
    } else if shape(groups, &[4, 6, 5], separators) || shape(groups, &[4, 6, 4], separators) {
        3
    } else if matches!(groups.first()?.length, 13..=19) {
        1
    } else {
        return None;
    };
    let groups = groups.get(..taken)?;
    let digits = number.of(groups);
    let start = groups.first()?.start;
    if !checks::is_card(digits) || is_continued(text, start, end_of(groups)) {
        return None;
    }
    // An unspaced number passes by chance now and then; those that are rare as cards need a word.
    let is_usual = taken > 1 || matches!(digits.len(), 15 | 16);
    let is_named = || has_word(text, start, 48, &CARD);
    (is_usual || is_named()).then_some((Detector::Card, taken))
}

fn ssn(text: &[u8], number: &Number, groups: &[Group]) -> Option<(Detector, usize)> {
    let start = groups.first()?.start;
    if shape(groups, &[3, 2, 4], b"-")
        || shape(groups, &[3, 2, 4], b" ") && has_word(text, start, 32, &SSN)
    {
        let groups = groups.get(..3)?;
        let is_free = !is_continued(text, start, end_of(groups)) && groups.first()?.separator == 0;
        return (is_free && checks::is_ssn(number.of(groups))).then_some((Detector::Ssn, 3));
    }
    let is_plain = groups.first()?.length == 9 && has_word(text, start, 28, &SSN_PLAIN);
    (is_plain && checks::is_ssn(number.of(groups.get(..1)?))).then_some((Detector::Ssn, 1))
}

fn national(text: &[u8], number: &Number, groups: &[Group]) -> Option<(Detector, usize)> {
    let first = groups.first()?;
    let start = first.start;
    // China: seventeen digits, then a digit or X.
    let is_x = matches!(at(text, start + 17), b'X' | b'x') && !is_word(at(text, start + 18));
    if (first.length == 18 || first.length == 17 && is_x) && !is_word(before(text, start)) {
        let check = if is_x { 10 } else { number.digits.get(first.first + 17).copied()? };
        let digits = part(&number.digits, first.first..first.first + 17);
        return checks::is_chinese(digits, check).then_some((Detector::NationalId, 1));
    }
    if first.length == 11 && has_word(text, start, 32, &ELEVEN) {
        let digits = number.of(groups.get(..1)?);
        let is_any =
            checks::is_cpf(digits) || checks::is_steuer_id(digits) || checks::is_pesel(digits);
        return is_any.then_some((Detector::NationalId, 1));
    }
    if shape(groups, &[3, 3, 3, 2], b".-") && groups.get(3)?.separator == b'-' {
        let digits = number.of(groups.get(..4)?);
        return checks::is_cpf(digits).then_some((Detector::NationalId, 4));
    }
    if shape(groups, &[2, 3, 3, 3], b" ") && has_word(text, start, 40, &STEUER) {
        let digits = number.of(groups.get(..4)?);
        return checks::is_steuer_id(digits).then_some((Detector::NationalId, 4));
    }
    if shape(groups, &[1, 2, 2, 2, 3, 3, 2], b" ") {
        return checks::is_french(number.of(groups.get(..7)?)).then_some((Detector::NationalId, 7));
    }
    if first.length == 15 && has_word(text, start, 40, &NIR) {
        return checks::is_french(number.of(groups.get(..1)?)).then_some((Detector::NationalId, 1));
    }
    if shape(groups, &[3, 3, 4], b" ") && has_word(text, start, 24, &NHS) {
        return checks::is_nhs(number.of(groups.get(..3)?)).then_some((Detector::NationalId, 3));
    }
    if shape(groups, &[4, 4, 4], b" ") && has_word(text, start, 32, &AADHAAR) {
        return checks::is_aadhaar(number.of(groups.get(..3)?))
            .then_some((Detector::NationalId, 3));
    }
    // Spain: eight digits and a letter that follows from them.
    let letter = at(text, start + 8).to_ascii_uppercase();
    if first.length == 8
        && letter.is_ascii_uppercase()
        && !is_word(at(text, start + 9))
        && has_word(text, start, 32, &DNI)
    {
        return checks::is_spanish(number.of(groups.get(..1)?), letter)
            .then_some((Detector::NationalId, 1));
    }
    None
}

fn birth_date(text: &[u8], groups: &[Group]) -> Option<usize> {
    let start = groups.first()?.start;
    let value = |at: usize| {
        let group = groups.get(at)?;
        let digits = part(text, group.start..group.start + group.length.min(8));
        Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    };
    let date = match (groups.len().min(3), groups.first()?.length) {
        (3, 4) => (value(0)?, value(1)?, value(2)?),
        (3, 1 | 2) if value(1)? > 12 => (value(2)?, value(0)?, value(1)?),
        (3, 1 | 2) => (value(2)?, value(1)?, value(0)?),
        (1, 8) => (value(0)? / 10_000, value(0)? / 100 % 100, value(0)? % 100),
        _ => return None,
    };
    let is_date = matches!(date, (1900..=2035, 1..=12, 1..=31));
    (is_date && has_word(text, start, 32, &BIRTH)).then_some(groups.len().min(3))
}

/// Numbers that begin with letters: bank accounts, passports.
pub(crate) fn lettered(view: &View<'_>, sink: &mut Sink, token: Range<usize>) {
    let text = view.text;
    let first = at(text, token.start);
    let is_account = first.is_ascii_uppercase()
        && at(text, token.start + 1).is_ascii_uppercase()
        && at(text, token.start + 2).is_ascii_digit()
        && at(text, token.start + 3).is_ascii_digit();
    if is_account && let Some(end) = iban::end(text, token.start) {
        sink.report(view, Detector::Iban, token.start..end);
        return;
    }
    if first.is_ascii_uppercase() || first.is_ascii_digit() {
        let follows = matches!(at(text, token.end), b'<' | b' ' | b'\n' | 0 | b'"');
        let length = run(text, token.start, 45, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'<'
        });
        if follows && length == 44 && checks::is_passport(part(text, token.start..token.start + 44))
        {
            sink.report(view, Detector::Passport, token.start..token.start + 44);
        }
    }
}
