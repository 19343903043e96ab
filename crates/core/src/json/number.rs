//! Numbers that mean the same to every reader.

use crate::error::JsonFault;
use crate::limits::JSON_INTEGER_MAX;

/// A number whose decimal value equals the decimal value of its canonical spelling.
///
/// INVARIANT: an integer within ±(2^53 − 1), or a finite, non-integral double within it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(Repr);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Repr {
    Integer(i64),
    Double(f64),
}

impl Eq for Number {}

impl Number {
    /// An integer, saturated to ±(2^53 − 1).
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self(Repr::Integer(value.clamp(-JSON_INTEGER_MAX, JSON_INTEGER_MAX)))
    }

    /// Reads the text of a number that the grammar has already accepted.
    pub(super) fn parse(text: &str) -> Result<Self, JsonFault> {
        if !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            let value: i64 = text.parse().map_err(|_| JsonFault::NumberRange)?;
            return if value.abs() <= JSON_INTEGER_MAX {
                Ok(Self(Repr::Integer(value)))
            } else {
                Err(JsonFault::NumberRange)
            };
        }
        let value: f64 = text.parse().map_err(|_| JsonFault::Syntax)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in a double")]
        if !value.is_finite() || value.abs() > JSON_INTEGER_MAX as f64 {
            return Err(JsonFault::NumberRange);
        }
        let mut buffer = ryu_js::Buffer::new();
        if decimal(text) != decimal(buffer.format_finite(value)) {
            return Err(JsonFault::InexactNumber);
        }
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53 - 1")]
        Ok(Self(if value.fract() == 0.0 {
            Repr::Integer(value as i64)
        } else {
            Repr::Double(value)
        }))
    }

    /// The value, if it is integral.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self.0 {
            Repr::Integer(value) => Some(value),
            Repr::Double(_) => None,
        }
    }

    pub(super) fn write(self, out: &mut String) {
        use std::fmt::Write as _;
        match self.0 {
            // Writing to a String cannot fail.
            Repr::Integer(value) => {
                let _ = write!(out, "{value}");
            }
            Repr::Double(value) => out.push_str(ryu_js::Buffer::new().format_finite(value)),
        }
    }

    /// A double as it is, for tests of the writer against foreign vectors that the parser refuses.
    #[cfg(test)]
    pub(super) const fn lenient(value: f64) -> Self {
        Self(Repr::Double(value))
    }
}

/// Sign, significant digits without outer zeros, and the power of ten of the last digit.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let power = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(trailing).ok()?;
    Some((negative, significant.to_owned(), power))
}
