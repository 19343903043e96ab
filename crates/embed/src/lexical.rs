//! The measure for a home without a model: which words and letter groups two texts share.
//!
//! The adversary needs only a synonym against it, and an honest agent may use one. So it is called
//! lexical wherever it shows, and says that it is not semantic.

use crate::error::EmbedError;
use crate::vector::Vector;
use crate::{Embedder, Method, Semantic};

/// Places in a vector. Features share places by chance; with texts of a few hundred features, rarely.
const PLACES: u64 = 2048;
/// How often a whole word counts, beside each of its letter groups once.
const WORD_WEIGHT: f32 = 2.0;
/// Letters in a group.
const GROUP: usize = 3;

/// Hashed words and groups of three letters, counted.
///
/// The rule, which the method's name stands for: lower-case letters and digits make words, all else
/// separates them. A word counts twice, each group of three characters of `^word$` once, each at the
/// place that FNV-1a (64 bits) of `w` or `g` and its UTF-8 names modulo 2048. Square roots of the counts
/// are compared, so that repeating a word doesn't drown the others.
#[derive(Debug)]
pub struct Lexical(Method);

impl Lexical {
    /// The measure.
    #[must_use]
    pub fn new() -> Self {
        Self(Method::new("lexical-1", ""))
    }
}

impl Default for Lexical {
    fn default() -> Self {
        Self::new()
    }
}

impl Embedder for Lexical {
    fn method(&self) -> &Method {
        &self.0
    }

    fn semantic(&self) -> Semantic {
        Semantic::No
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        crate::bounded(text)?;
        let mut counts = vec![0.0_f32; PLACES as usize];
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        for word in words {
            count(&mut counts, b'w', word.as_bytes(), WORD_WEIGHT);
            let padded: Vec<char> = format!("^{word}$").chars().collect();
            for group in padded.windows(GROUP) {
                count(&mut counts, b'g', group.iter().collect::<String>().as_bytes(), 1.0);
            }
        }
        // A root is rounded the same on every machine.
        counts.iter_mut().for_each(|count| *count = count.sqrt());
        Vector::new(&counts)
    }
}

fn count(counts: &mut [f32], kind: u8, feature: &[u8], weight: f32) {
    let bytes = std::iter::once(&kind).chain(feature);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if let Some(count) = counts.get_mut((hash % PLACES) as usize) {
        *count += weight;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ppm(a: &str, b: &str) -> u32 {
        Lexical::new().distance_ppm(a, b).unwrap()
    }

    #[test]
    fn shared_words_are_near_and_others_far() {
        let request = "Book a flight to Lisbon for Ana";
        let near = ppm(request, "search flights: Lisbon");
        let far = ppm(request, "delete mailbox: archive");
        assert!(near < 700_000 && far > 850_000, "{near} {far}");
        assert_eq!(ppm(request, "BOOK, a flight... to Lisbon (for Ana)"), 0);
        assert_eq!(ppm("", "anything"), 1_000_000);
        assert_eq!(ppm("日本語の文", "日本語の文"), 0);
    }

    #[test]
    fn it_never_counts_as_semantic_and_its_numbers_are_pinned() {
        let lexical = Lexical::new();
        assert_eq!(lexical.semantic(), Semantic::No);
        assert_eq!(lexical.method().as_str(), "lexical-1");
        // Another number needs another name: receipts bear this one.
        assert_eq!(ppm("pay the rent", "send money: rent for March"), 730_592);
    }

    proptest! {
        #[test]
        fn any_text_has_a_vector(text in ".{0,200}") {
            prop_assert!(Lexical::new().embed(&text).is_ok());
        }
    }
}
