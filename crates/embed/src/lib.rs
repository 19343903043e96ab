//! How far an action is from what was asked for: a text becomes a vector, two texts a distance.
//!
//! The adversary is an agent that was talked into something else than its principal signed, and that
//! words it well. Distances are a measure, not a proof: they raise a question, and never add a permit.
//!
//! Not pure: it reads a folder of weights, or asks an endpoint. The kernel does not depend on it; what it
//! works out goes into a receipt as parts per million with the name of the method, so that replay needs
//! neither weights nor network.

#![forbid(unsafe_code)]

mod cache;
pub mod calibrate;
mod endpoint;
mod error;
mod file;
mod lexical;
mod minilm;
mod sentence;
mod vector;

pub use cache::{Cached, Counts};
pub use endpoint::{Endpoint, Key, Settings};
pub use error::EmbedError;
pub use lexical::Lexical;
pub use minilm::MiniLm;
pub use sentence::action_text;
pub use vector::Vector;

/// Largest text that is embedded, in bytes. A model looks at far less; this bounds the work before it.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Whether a measure compares meanings, or only the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantic {
    /// It is a sentence-embedding model.
    Yes,
    /// It compares words and letters. What speaks of semantic distance may not count it.
    No,
}

/// What goes into a receipt beside a distance: the measure, and what it was computed with.
///
/// The names `minilm` and `openai` stand for the sentences of [`action_text`] as well: whoever changes its
/// rule changes the names with it.
///
/// INVARIANT: 1 to 200 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(String);

impl Method {
    /// The only maker; `name` is one of ours, `detail` is checked by its caller.
    fn new(name: &str, detail: &str) -> Self {
        Self(if detail.is_empty() { name.to_owned() } else { format!("{name}:{detail}") })
    }

    /// As it is spelled in receipts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that turns texts into vectors. Two vectors compare only if one method made both.
pub trait Embedder: Send + Sync {
    /// The measure, as receipts name it.
    fn method(&self) -> &Method;

    /// Whether it compares meanings.
    fn semantic(&self) -> Semantic;

    /// The vector of `text`.
    ///
    /// # Errors
    /// [`EmbedError`], named for what can be done about it.
    fn embed(&self, text: &str) -> Result<Vector, EmbedError>;

    /// The distance of `action` from `request`, 0 to 2,000,000 parts per million.
    ///
    /// # Errors
    /// Like [`Embedder::embed`].
    fn distance_ppm(&self, request: &str, action: &str) -> Result<u32, EmbedError> {
        self.embed(request)?.distance_ppm(&self.embed(action)?)
    }
}

impl<E: Embedder + ?Sized> Embedder for &E {
    fn method(&self) -> &Method {
        (**self).method()
    }

    fn semantic(&self) -> Semantic {
        (**self).semantic()
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        (**self).embed(text)
    }
}

impl<E: Embedder + ?Sized> Embedder for Box<E> {
    fn method(&self) -> &Method {
        (**self).method()
    }

    fn semantic(&self) -> Semantic {
        (**self).semantic()
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        (**self).embed(text)
    }
}

/// Refuses a text that is too large to look at.
fn bounded(text: &str) -> Result<(), EmbedError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(EmbedError::TextTooLarge);
    }
    Ok(())
}
