//! Vectors, and the one rule that turns two of them into a number.

use crate::error::EmbedError;

/// A text as a vector.
///
/// INVARIANT: at least one value, all finite, of length 1 or, for a text of which nothing is left, 0.
#[derive(Clone, PartialEq)]
pub struct Vector(Box<[f32]>);

impl Vector {
    /// `values` brought to length 1. All zeros stay zeros.
    ///
    /// # Errors
    /// [`EmbedError::NotComparable`] if there are no values, or one is not finite.
    pub fn new(values: &[f32]) -> Result<Self, EmbedError> {
        let length = norm(values);
        if values.is_empty() || !length.is_finite() {
            return Err(EmbedError::NotComparable);
        }
        let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the nearest f32")]
        let scaled = values.iter().map(|value| (f64::from(*value) * scale) as f32);
        Ok(Self(scaled.collect()))
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// 1 − cos of the two, in parts per million, 0 to 2,000,000.
    ///
    /// The rule: products, sums, roots and the quotient in 64-bit floats, in order of the values; 1 − cos
    /// times a million, rounded to the nearest integer, half away from zero; then kept within the bounds.
    /// The cosine with a vector of zeros is 0.
    ///
    /// # Errors
    /// [`EmbedError::NotComparable`] if they are not of one length.
    pub fn distance_ppm(&self, other: &Self) -> Result<u32, EmbedError> {
        if self.0.len() != other.0.len() {
            return Err(EmbedError::NotComparable);
        }
        let dot: f64 =
            self.0.iter().zip(&other.0).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let lengths = norm(&self.0) * norm(&other.0);
        let cosine = if lengths == 0.0 { 0.0 } else { dot / lengths };
        let ppm = ((1.0 - cosine) * 1e6).round().clamp(0.0, 2e6);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an integer between the bounds by the line above"
        )]
        Ok(ppm as u32)
    }
}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vector({} values)", self.0.len())
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(values: &[f32]) -> Vector {
        Vector::new(values).unwrap()
    }

    #[test]
    fn the_rule_by_hand() {
        let east = vector(&[3.0, 0.0]);
        let ppm = |x, y| east.distance_ppm(&vector(&[x, y])).unwrap();
        assert_eq!(ppm(0.5, 0.0), 0);
        assert_eq!(ppm(0.0, 2.0), 1_000_000);
        assert_eq!(ppm(-1.0, 0.0), 2_000_000);
        assert_eq!(ppm(1.0, 1.0), 292_893);
        assert_eq!(ppm(3.0, 4.0), 400_000);
        assert_eq!(ppm(0.0, 0.0), 1_000_000);
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        for values in [&[][..], &[f32::NAN], &[1.0, f32::INFINITY]] {
            assert!(Vector::new(values).is_err());
        }
        assert!(vector(&[1.0]).distance_ppm(&vector(&[1.0, 0.0])).is_err());
    }

    proptest! {
        #[test]
        fn distances_are_bounded_symmetric_and_zero_to_oneself(
            a in prop::collection::vec(-1e30_f32..1e30, 7),
            b in prop::collection::vec(-1e-30_f32..1e-30, 7),
        ) {
            let (a, b) = (vector(&a), vector(&b));
            let there = a.distance_ppm(&b).unwrap();
            prop_assert!(there <= 2_000_000);
            prop_assert_eq!(there, b.distance_ppm(&a).unwrap());
            if a.values().iter().any(|value| *value != 0.0) {
                prop_assert_eq!(a.distance_ppm(&a).unwrap(), 0);
            }
        }
    }
}
