//! Remembers vectors of the last texts.
//!
//! The adversary asks for ever new texts: what is kept is bounded, and what was used least recently goes.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use tipstaff_core::Digest;

use crate::error::EmbedError;
use crate::vector::Vector;
use crate::{Embedder, Method, Semantic};

/// An embedder with a bounded memory. Keys are digests of method and text, never the texts.
#[derive(Debug)]
pub struct Cached<E> {
    inner: E,
    capacity: NonZeroUsize,
    kept: Mutex<Kept>,
}

/// How often the memory was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answers from memory.
    pub hits: u64,
    /// Answers that had to be worked out.
    pub misses: u64,
}

#[derive(Debug, Default)]
struct Kept {
    vectors: HashMap<Digest, Entry>,
    /// Uses in order. An entry's older uses stay until they reach the front.
    uses: VecDeque<(Digest, u64)>,
    clock: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    vector: Vector,
    last: u64,
}

impl<E: Embedder> Cached<E> {
    /// `inner`, remembering the last `capacity` texts.
    pub fn new(inner: E, capacity: NonZeroUsize) -> Self {
        Self { inner, capacity, kept: Mutex::default() }
    }

    /// How often the memory was asked so far.
    pub fn counts(&self) -> Counts {
        self.kept().counts
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Embedder> Embedder for Cached<E> {
    fn method(&self) -> &Method {
        self.inner.method()
    }

    fn semantic(&self) -> Semantic {
        self.inner.semantic()
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        let method = self.method().as_str().as_bytes();
        let key = Digest::of_parts(&[method, b"\0", text.as_bytes()]);
        if let Some(vector) = self.kept().find(key) {
            return Ok(vector);
        }
        // Worked out without the lock: others go on meanwhile, and an error is not remembered.
        let vector = self.inner.embed(text)?;
        self.kept().keep(key, vector.clone(), self.capacity.get());
        Ok(vector)
    }
}

impl Kept {
    fn find(&mut self, key: Digest) -> Option<Vector> {
        let Some(entry) = self.vectors.get_mut(&key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        self.clock += 1;
        entry.last = self.clock;
        let vector = entry.vector.clone();
        self.uses.push_back((key, self.clock));
        self.tidy();
        Some(vector)
    }

    fn keep(&mut self, key: Digest, vector: Vector, capacity: usize) {
        self.clock += 1;
        self.vectors.insert(key, Entry { vector, last: self.clock });
        self.uses.push_back((key, self.clock));
        while self.vectors.len() > capacity {
            let Some((oldest, at)) = self.uses.pop_front() else { return };
            if self.vectors.get(&oldest).is_some_and(|entry| entry.last == at) {
                self.vectors.remove(&oldest);
            }
        }
        self.tidy();
    }

    /// Drops uses that later ones of the same text made void, once they are the larger part.
    fn tidy(&mut self) {
        if self.uses.len() > 2 * self.vectors.len() + 16 {
            let vectors = &self.vectors;
            self.uses.retain(|(key, at)| vectors.get(key).is_some_and(|entry| entry.last == *at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lexical;

    fn cached(capacity: usize) -> Cached<Lexical> {
        Cached::new(Lexical::new(), NonZeroUsize::new(capacity).unwrap())
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cached = cached(2);
        for text in ["a", "b", "a", "c", "a", "b"] {
            cached.embed(text).unwrap();
        }
        // `c` pushed `b` out, not `a`.
        assert_eq!(cached.counts(), Counts { hits: 2, misses: 4 });
    }

    #[test]
    fn answers_are_those_of_the_embedder() {
        let cached = cached(8);
        let plain = Lexical::new().distance_ppm("pay the rent", "send money").unwrap();
        for _ in 0..3 {
            assert_eq!(cached.distance_ppm("pay the rent", "send money").unwrap(), plain);
        }
        assert_eq!(cached.counts(), Counts { hits: 4, misses: 2 });
        assert_eq!((cached.method(), cached.semantic()), (Lexical::new().method(), Semantic::No));
    }

    #[test]
    fn memory_stays_bounded() {
        let cached = cached(4);
        for turn in 0..1000 {
            cached.embed(&format!("{}", turn % 7)).unwrap();
            cached.embed("always").unwrap();
        }
        let kept = cached.kept();
        assert!(kept.vectors.len() <= 4 && kept.uses.len() <= 32, "{}", kept.uses.len());
    }
}
