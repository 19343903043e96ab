//! Time as an input: milliseconds since the Unix epoch, and the one RFC 3339 spelling of it.

/// Milliseconds since 1970-01-01T00:00:00Z. A value handed in, never read from a clock here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Bytes of an instant of the years 0000 to 9999.
const SPELLED: usize = 24;

impl Millis {
    /// Whether `text` is the spelling of this instant.
    #[must_use]
    pub fn is_spelled(self, text: &str) -> bool {
        match self.spell() {
            Some(spelled) => spelled == text.as_bytes(),
            None => self.to_string() == text,
        }
    }

    /// Year, month and day, by the civil-from-days algorithm of the proleptic Gregorian calendar.
    const fn date(self) -> [u64; 3] {
        let shifted = self.0 / 86_400_000 + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        [year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day]
    }

    /// Hours, minutes, seconds and milliseconds.
    const fn clock(self) -> [u64; 4] {
        let second = self.0 / 1000;
        [second / 3600 % 24, second / 60 % 60, second % 60, self.0 % 1000]
    }

    /// The spelling without the general formatter, which costs more than the rest of reading a
    /// receipt's time. `None` from the year 10000 on.
    fn spell(self) -> Option<[u8; SPELLED]> {
        let ([year, month, day], [hour, minute, second, millis]) = (self.date(), self.clock());
        if year > 9999 {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields =
            [(year, 3), (month, 6), (day, 9), (hour, 12), (minute, 15), (second, 18), (millis, 22)];
        for (mut value, mut at) in fields {
            while let (true, Some(digit)) = (value > 0, text.get_mut(at)) {
                *digit = b'0' + u8::try_from(value % 10).ok()?;
                (value, at) = (value / 10, at.wrapping_sub(1));
            }
        }
        Some(text)
    }
}

impl std::fmt::Display for Millis {
    /// `2026-04-21T12:00:00.000Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([year, month, day], [hour, minute, second, millis]) = (self.date(), self.clock());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_of_spelling_agree(millis in 0u64..300_000_000_000_000) {
            let instant = Millis(millis);
            prop_assert_eq!(instant.spell().is_some(), millis < 253_402_300_800_000);
            prop_assert!(instant.is_spelled(&instant.to_string()));
            prop_assert!(!instant.is_spelled(&Millis(millis + 1).to_string()));
        }
    }

    #[test]
    fn spells_known_instants() {
        assert_eq!(Millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Millis(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Millis(1_776_772_800_000).to_string(), "2026-04-21T12:00:00.000Z");
        assert_eq!(Millis(4_102_444_799_999).to_string(), "2099-12-31T23:59:59.999Z");
    }
}
