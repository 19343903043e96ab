//! How far a session's actions are from what was asked for, in parts per million (row A6).
//!
//! The adversary drifts slowly, so that no single step is far from the one before. Each action is measured
//! against the request itself; the largest distance stays, and an average shows a trend. Integers only, so
//! that a replay on another machine gets the same, without the model that measured.

use tipstaff_core::Json;
use tipstaff_core::json::Object;

/// Weight of a new distance in the average, as a divisor: 1/8.
const AVERAGE_DIVISOR: u64 = 8;

/// Whether a measure looks at meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// It compares words. It is shown, and counts as nothing more.
    Lexical,
    /// It compares sentence embeddings.
    Semantic,
}

/// The distance of one action from the request: `1 − cos`, in parts per million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distance {
    /// 0 (the same) to 2,000,000 (the opposite).
    pub ppm: u32,
    /// What kind of measure it is.
    pub measure: Measure,
    /// The embedder and its version.
    pub method: String,
}

/// The distances of a session so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// The largest.
    pub max_ppm: u32,
    /// The exponential average, with weight 1/8 for the last.
    pub average_ppm: u32,
}

impl Measure {
    /// The spelling in kept inputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lexical => "lexical",
            Self::Semantic => "semantic",
        }
    }
}

impl Distance {
    /// The form that is kept.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let members = vec![
            ("measure".to_owned(), Json::string(self.measure.as_str())),
            ("method".to_owned(), Json::string(&self.method)),
            ("ppm".to_owned(), Json::from(i64::from(self.ppm))),
        ];
        Json::Object(Object::new(members).unwrap_or_default())
    }

    /// Reads what was kept.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let measure = match json.get("measure")?.as_str()? {
            "lexical" => Measure::Lexical,
            "semantic" => Measure::Semantic,
            _ => return None,
        };
        Some(Self {
            ppm: u32::try_from(json.get("ppm")?.as_integer()?).ok()?,
            measure,
            method: json.get("method")?.as_str()?.to_owned(),
        })
    }
}

impl Drift {
    /// What the drift is after one more action.
    #[must_use]
    pub fn after(before: Option<Self>, ppm: u32) -> Self {
        let Some(Self { max_ppm, average_ppm }) = before else {
            return Self { max_ppm: ppm, average_ppm: ppm };
        };
        let sum = u64::from(average_ppm) * (AVERAGE_DIVISOR - 1) + u64::from(ppm);
        let average_ppm = u32::try_from(sum / AVERAGE_DIVISOR).unwrap_or(u32::MAX);
        Self { max_ppm: max_ppm.max(ppm), average_ppm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stays_and_the_average_follows() {
        let drift = [100_000, 900_000, 100_000]
            .into_iter()
            .fold(None, |before, ppm| Some(Drift::after(before, ppm)));
        assert_eq!(drift, Some(Drift { max_ppm: 900_000, average_ppm: 187_500 }));
        let slow = (0..100u32).fold(None, |before, n| Some(Drift::after(before, n * 10_000)));
        assert!(slow.unwrap().average_ppm > 900_000);
    }

    #[test]
    fn a_distance_is_read_back() {
        let distance = Distance { ppm: 7, measure: Measure::Semantic, method: "m".to_owned() };
        assert_eq!(Distance::from_json(&distance.to_json()), Some(distance));
        assert_eq!(Distance::from_json(&Json::Null), None);
    }
}
