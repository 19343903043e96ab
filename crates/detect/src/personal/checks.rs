//! Check digits and ranges, by their published rules. The adversary is chance: a number in a log that looks
//! like a person's.

/// Luhn's check and the ranges and lengths of issuers.
pub(super) fn is_card(digits: &[u8]) -> bool {
    let head = |length: usize| {
        digits.iter().take(length).fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let is_issued = match digits.len() {
        13 | 19 => head(1) == 4 || digits.len() == 19 && head(2) == 62,
        14 => matches!(head(3), 300..=305) || matches!(head(2), 36 | 38 | 39),
        15 => matches!(head(2), 34 | 37),
        16 => {
            head(1) == 4
                || matches!(head(2), 51..=55 | 62 | 65)
                || matches!(head(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(head(3), 644..=649)
        }
        17 | 18 => head(2) == 62,
        _ => false,
    };
    let has_variety =
        digits.windows(2).filter(|two| two.first() != two.last()).count() >= 3 || head(4) == 4111;
    is_issued && has_variety && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(*digit) << (at % 2);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Areas, groups and serials that were never given out, and two from advertisements.
pub(super) fn is_ssn(digits: &[u8]) -> bool {
    let number = value(digits);
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    digits.len() == 9
        && area != 0
        && area != 666
        && area < 900
        && group != 0
        && serial != 0
        && !matches!(number, 78_051_120 | 219_099_999 | 123_456_789 | 111_111_111)
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().take(19).fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// GB 11643: a birth date inside, weights, modulus 11.
pub(super) fn is_chinese(digits: &[u8], check: u8) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 =
        digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    let date = value(digits.get(6..14).unwrap_or(&[]));
    let is_date = matches!(date / 10_000, 1900..=2035)
        && matches!(date / 100 % 100, 1..=12)
        && matches!(date % 100, 1..=31);
    let area = value(digits.get(..2).unwrap_or(&[]));
    digits.len() == 17
        && is_date
        && (11..=82).contains(&area)
        && (12 - sum % 11) % 11 == u32::from(check)
}

/// The Brazilian CPF: two check digits, modulus 11.
pub(super) fn is_cpf(digits: &[u8]) -> bool {
    let check = |length: usize| {
        let sum: u32 = digits
            .iter()
            .take(length)
            .zip((2..=length + 1).rev())
            .map(|(digit, weight)| u32::from(*digit) * u32::try_from(weight).unwrap_or(0))
            .sum();
        let rest = sum * 10 % 11 % 10;
        digits.get(length).is_some_and(|digit| u32::from(*digit) == rest)
    };
    digits.len() == 11
        && digits.iter().any(|digit| Some(digit) != digits.first())
        && check(9)
        && check(10)
}

/// The German tax number of persons: ISO 7064, modulus 11, 10.
pub(super) fn is_steuer_id(digits: &[u8]) -> bool {
    let mut product = 10_u32;
    for digit in digits.iter().take(10) {
        let sum = (u32::from(*digit) + product) % 10;
        product = 2 * if sum == 0 { 10 } else { sum } % 11;
    }
    let check = (11 - product) % 10;
    digits.len() == 11
        && digits.first() != Some(&0)
        && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// The Polish PESEL: weights, modulus 10.
pub(super) fn is_pesel(digits: &[u8]) -> bool {
    const WEIGHTS: [u32; 11] = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1];
    let sum: u32 =
        digits.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    digits.len() == 11 && sum.is_multiple_of(10) && value(digits.get(..6).unwrap_or(&[])) > 0
}

/// The French number of social security: 97 less the rest of 97.
pub(super) fn is_french(digits: &[u8]) -> bool {
    let body = value(digits.get(..13).unwrap_or(&[]));
    let key = value(digits.get(13..).unwrap_or(&[]));
    let month = value(digits.get(3..5).unwrap_or(&[]));
    digits.len() == 15
        && matches!(digits.first(), Some(1 | 2))
        && matches!(month, 1..=12 | 20..=42)
        && 97 - body % 97 == key
}

/// The number of the British health service: weights, modulus 11.
pub(super) fn is_nhs(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .take(9)
        .zip((2..=10).rev())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    let check = (11 - sum % 11) % 11;
    digits.len() == 10 && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// The Indian Aadhaar: Verhoeff's check over the dihedral group of ten.
pub(super) fn is_aadhaar(digits: &[u8]) -> bool {
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let times = |one: u8, two: u8| match (one < 5, two < 5) {
        (true, true) => (one + two) % 5,
        (true, false) => (one + two - 5) % 5 + 5,
        (false, true) => (one - 5 + 5 - two) % 5 + 5,
        (false, false) => (one + 5 - two) % 5,
    };
    let mut check = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let mut value = *digit;
        for _ in 0..place % 8 {
            value = STEP.get(usize::from(value)).copied().unwrap_or(0);
        }
        check = times(check, value);
    }
    digits.len() == 12 && digits.first().is_some_and(|first| *first >= 2) && check == 0
}

/// The Spanish DNI: the letter follows from the rest of 23.
pub(super) fn is_spanish(digits: &[u8], letter: u8) -> bool {
    let at = usize::try_from(value(digits) % 23).unwrap_or(0);
    b"TRWAGMYFPDXBNJZSQVHLCKE".get(at) == Some(&letter)
}

/// The second line of a passport (ICAO 9303, TD3): four check digits and one over all.
pub(super) fn is_passport(line: &[u8]) -> bool {
    let check = |parts: &[(usize, usize)]| {
        let bytes = parts.iter().flat_map(|(from, to)| line.get(*from..*to).unwrap_or(&[]));
        bytes
            .zip([7, 3, 1].into_iter().cycle())
            .map(|(byte, weight)| worth(*byte) * weight)
            .sum::<u32>()
            % 10
    };
    let is = |at: usize, sum: u32| line.get(at).is_some_and(|byte| worth(*byte) == sum);
    line.len() == 44
        && line
            .get(10..13)
            .is_some_and(|state| state.iter().all(|b| b.is_ascii_uppercase() || *b == b'<'))
        && is(9, check(&[(0, 9)]))
        && is(19, check(&[(13, 19)]))
        && is(27, check(&[(21, 27)]))
        && is(43, check(&[(0, 10), (13, 20), (21, 43)]))
}

fn worth(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_examples_hold_and_a_changed_digit_does_not() {
        assert!(
            is_card(&digits("4111 1111 1111 1111")) && !is_card(&digits("4111 1111 1111 1112"))
        );
        assert!(is_card(&digits("378282246310005")) && !is_card(&digits("9999999999999995")));
        assert!(is_chinese(&digits("11010519491231002"), 10));
        assert!(!is_chinese(&digits("11010519491231003"), 10));
        assert!(is_cpf(&digits("529.982.247-25")) && !is_cpf(&digits("529.982.247-26")));
        assert!(is_steuer_id(&digits("86095742719")) && !is_steuer_id(&digits("86095742718")));
        assert!(is_pesel(&digits("44051401359")) && !is_pesel(&digits("44051401358")));
        assert!(is_french(&digits("255081416802538")) && !is_french(&digits("255081416802539")));
        assert!(is_nhs(&digits("943 476 5919")) && !is_nhs(&digits("943 476 5918")));
        assert!(is_spanish(&digits("12345678"), b'Z') && !is_spanish(&digits("12345678"), b'A'));
        assert!(is_ssn(&digits("536-22-8145")) && !is_ssn(&digits("666-22-8145")));
        let line = b"L898902C36UTO7408122F1204159ZE184226B<<<<<10";
        assert!(is_passport(line));
        let mut changed = *line;
        changed[1] = b'9';
        assert!(!is_passport(&changed));
        assert!(is_aadhaar(&digits("2341 2341 2346")) && !is_aadhaar(&digits("2341 2341 2347")));
    }
}
