//! An embedder behind an OpenAI-compatible endpoint.
//!
//! The adversary is the endpoint and whoever is on the way to it: certificates are checked, plain HTTP
//! goes to this machine alone, redirects are not followed, answers are bounded in size and time and read
//! strictly, and the key is in no error. What is asked leaves this machine: requests and actions are read
//! by whoever runs the endpoint.

mod call;
mod key;

use std::time::Duration;

use serde::Deserialize;
use tipstaff_core::Digest;

use crate::error::EmbedError;
use crate::vector::Vector;
use crate::{Embedder, Method, Semantic};
use call::Address;
pub use key::Key;

/// Longest name of a model.
const MODEL_CHARS_MAX: usize = 100;
/// Values in a vector: fewer tell nothing, and no known model gives more.
const VALUES: std::ops::RangeInclusive<usize> = 8..=16_384;
/// Bounds on the time limit.
const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(120);

/// Where the endpoint is and what it is asked for.
#[derive(Debug)]
pub struct Settings {
    /// The address before `/embeddings`: `https://…/v1`, or `http://` with a loopback address.
    pub base: String,
    /// The model's name there.
    pub model: String,
    /// The key that goes into `Authorization: Bearer`, if the endpoint needs one.
    pub key: Option<Key>,
    /// Time for connecting, asking and the whole answer.
    pub wait: Duration,
}

/// A far embedder. It is asked for one text at a time; put a [`crate::Cached`] around it.
pub struct Endpoint {
    method: Method,
    address: Address,
    model: String,
    key: Option<Key>,
    wait: Duration,
}

/// What the interface promises of an answer, as far as it is needed.
#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: u64,
    embedding: Vec<f32>,
}

impl Endpoint {
    /// An endpoint; nothing is sent before the first text.
    ///
    /// # Errors
    /// [`EmbedError::Setting`].
    pub fn new(settings: Settings) -> Result<Self, EmbedError> {
        let Settings { base, model, key, wait } = settings;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if model.is_empty() || model.len() > MODEL_CHARS_MAX || !model.chars().all(allowed) {
            let what = "model must be a name of at most 100 letters, digits and ._:/@-".to_owned();
            return Err(EmbedError::Setting { what });
        }
        if !WAIT.contains(&wait) {
            let what = "time limit must be between 10 milliseconds and 120 seconds".to_owned();
            return Err(EmbedError::Setting { what });
        }
        let base = base.trim_end_matches('/');
        let address = Address::parse(&format!("{base}/embeddings"))?;
        // Where it was asked may be nobody's business; that it was asked elsewhere is.
        let place = Digest::of(base.as_bytes()).short();
        let method = Method::new("openai", &format!("{model}:{place}"));
        Ok(Self { method, address, model, key, wait })
    }
}

impl Embedder for Endpoint {
    fn method(&self) -> &Method {
        &self.method
    }

    fn semantic(&self) -> Semantic {
        Semantic::Yes
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        crate::bounded(text)?;
        let body = serde_json::json!({
            "encoding_format": "float",
            "input": text,
            "model": self.model,
        });
        let bytes = self.address.post(&body.to_string(), self.key.as_ref(), self.wait)?;
        read(&bytes)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.method)
    }
}

/// The one vector of an answer.
fn read(bytes: &[u8]) -> Result<Vector, EmbedError> {
    let wrong = |what| EmbedError::Answer { what };
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|_| wrong("it is not a list of embeddings"))?;
    let [Item { index: 0, embedding }] = answer.data.as_slice() else {
        return Err(wrong("it has not exactly the one embedding that was asked for"));
    };
    if !VALUES.contains(&embedding.len()) {
        return Err(wrong("its embedding has too few or too many values"));
    }
    if embedding.iter().all(|value| *value == 0.0) {
        return Err(wrong("its embedding is all zeros"));
    }
    Vector::new(embedding).map_err(|_| wrong("its embedding holds values out of range"))
}

#[cfg(test)]
mod tests;
