//! A session's accumulated context as a pure fold, Cₙ = Cₙ₋₁ ∪ {aₙ, oₙ, δₙ} (row A5, first form).
//!
//! The adversary splits one harmful deed into many harmless calls: what a session has done must be known
//! when its next action is judged. Here the context holds which tools a session used and how far it
//! went; labels and distances are unknown until something computes them, and unknown is not "none".
//! A random nonce in it keeps its digest from being guessed in a public log.

use std::collections::BTreeSet;

use tipstaff_core::json::Object;
use tipstaff_core::{Digest, Json, Tier};

/// Most tools that a context names; further ones are counted as one, `…`.
pub const TOOLS_MAX: usize = 1024;

/// What a session has accumulated. Equal contexts of one session have equal digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    nonce: [u8; 16],
    tools: BTreeSet<String>,
    highest: Option<Tier>,
    count: u64,
    head: Digest,
    digest: Digest,
}

impl Context {
    /// The context of a new session.
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut context = Self {
            nonce,
            tools: BTreeSet::new(),
            highest: None,
            count: 0,
            head: Digest::ZERO,
            digest: Digest::ZERO,
        };
        context.digest = Digest::of(context.to_json().to_canonical().as_bytes());
        context
    }

    /// Folds one permitted action in: its tool, its tier, and the hash of its receipt.
    pub fn fold(&mut self, tool: &str, tier: Tier, receipt: Digest) {
        self.count += 1;
        self.head = receipt;
        let known = self.tools.contains(tool) || self.tools.len() >= TOOLS_MAX;
        if known && self.highest >= Some(tier) {
            return;
        }
        if !known {
            let last = self.tools.len() + 1 == TOOLS_MAX;
            self.tools.insert(if last { "…" } else { tool }.to_owned());
        }
        self.highest = self.highest.max(Some(tier));
        self.digest = Digest::of(self.to_json().to_canonical().as_bytes());
    }

    /// SHA-256 of the RFC 8785 form.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many actions were folded in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Hash of the last receipt folded in.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// What the digest is taken of. Number and head are beside it: two sessions' states that mean the
    /// same have the same digest, however they were reached.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let tools = self.tools.iter().map(|tool| Json::string(tool)).collect();
        let highest = self.highest.map_or(Json::Null, |tier| Json::from(i64::from(tier.number())));
        let members = vec![
            ("highest_tier".to_owned(), highest),
            ("labels".to_owned(), Json::Null),
            ("nonce".to_owned(), Json::String(tipstaff_core::digest::hex(&self.nonce))),
            ("tools".to_owned(), Json::Array(tools)),
        ];
        Json::Object(Object::new(members).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contexts_have_equal_digests_whatever_the_way() {
        let (mut one, mut two) = (Context::new([1; 16]), Context::new([1; 16]));
        one.fold("a/x", Tier::T1, Digest::of(b"1"));
        one.fold("b/y", Tier::T3, Digest::of(b"2"));
        two.fold("b/y", Tier::T3, Digest::of(b"3"));
        two.fold("a/x", Tier::T1, Digest::of(b"4"));
        two.fold("a/x", Tier::T1, Digest::of(b"5"));
        assert_eq!(one.digest(), two.digest());
        assert_ne!(one.head(), two.head());
        two.fold("a/x", Tier::T4, Digest::of(b"6"));
        assert_ne!(one.digest(), two.digest());
        assert_ne!(Context::new([1; 16]).digest(), Context::new([2; 16]).digest());
    }

    #[test]
    fn tools_are_bounded() {
        let mut context = Context::new([0; 16]);
        for number in 0..2 * TOOLS_MAX {
            context.fold(&number.to_string(), Tier::T1, Digest::ZERO);
        }
        assert_eq!(context.tools.len(), TOOLS_MAX);
    }
}
