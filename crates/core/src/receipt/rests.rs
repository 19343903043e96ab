//! Which receipts no longer count, because the key that proved who acted was somebody else's by then (row D4).
//!
//! The adversary stole a principal's key and acted with it before anybody knew. When the key is declared compromised
//! from a position of the log on, a signed control receipt says so, and every verdict that rests on the key at or
//! after that position stops counting, also for readers who know nothing but the receipts.

use std::collections::HashMap;

use super::Kind;
use super::chain::Examined;
use crate::digest::Digest;
use crate::json::Node;

/// What a receipt has to do with a principal's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rests {
    /// A verdict at a position of the log, on somebody who proved to hold the key.
    On { key: String, at: u64 },
    /// The key was somebody else's from a position on.
    Lost { key: String, from: u64 },
}

/// A verdict that doesn't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discounted {
    /// Hash of its receipt.
    pub receipt: Digest,
    /// Thumbprint of the key that it rests on.
    pub key: String,
    /// From which position of the log on that key proves nothing.
    pub from: u64,
}

impl Rests {
    pub(super) fn read<N: Node>(receipt: &N) -> Option<Self> {
        let authority = receipt.get("authority").filter(|authority| !authority.is_null())?;
        let text = |name| authority.get(name).and_then(Node::as_str);
        let number = |node: Option<&N>| u64::try_from(node?.as_integer()?).ok();
        match receipt.get("kind").and_then(Node::as_str).and_then(Kind::parse)? {
            Kind::Verdict => {
                let at = number(receipt.get("as_of")?.get("size"))?;
                Some(Self::On { key: text("holder")?.to_owned(), at })
            }
            Kind::Control => {
                let from = number(authority.get("lost_at"))?;
                Some(Self::Lost { key: text("lost")?.to_owned(), from })
            }
            _ => None,
        }
    }
}

/// The verdicts among these that no longer count, in their order. What is badly signed says nothing.
#[must_use]
pub fn discounted<'e>(examined: impl IntoIterator<Item = &'e Examined> + Clone) -> Vec<Discounted> {
    let mut lost: HashMap<&str, u64> = HashMap::new();
    for element in examined.clone() {
        if let Some(Rests::Lost { key, from }) = element.rests() {
            let known = lost.entry(key).or_insert(*from);
            *known = (*known).min(*from);
        }
    }
    if lost.is_empty() {
        return Vec::new();
    }
    let found = examined.into_iter().filter_map(|element| match element.rests() {
        Some(Rests::On { key, at }) => {
            let from = *lost.get(key.as_str())?;
            let receipt = element.hash();
            (*at >= from).then(|| Discounted { receipt, key: key.clone(), from })
        }
        _ => None,
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::super::{Examiner, Receipt, Signed};
    use super::*;
    use crate::json::Json;
    use crate::key::SigningKey;

    fn object(members: Vec<(&str, Json)>) -> Json {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Json::object(members).unwrap()
    }

    fn verdict(at: u64, key: &str) -> Receipt {
        let mut receipt = sample(at, Digest::ZERO);
        receipt.kind = Kind::Verdict;
        receipt.as_of.size = at;
        receipt.authority = Some(object(vec![("holder", Json::string(key))]));
        receipt
    }

    fn lost(key: &str, from: i64) -> Receipt {
        let mut receipt = sample(9, Digest::ZERO);
        receipt.kind = Kind::Control;
        receipt.authority =
            Some(object(vec![("lost", Json::string(key)), ("lost_at", Json::from(from))]));
        receipt
    }

    #[test]
    fn what_rests_on_a_lost_key_does_not_count_from_its_position_on() {
        let key = SigningKey::from_seed(&[9; 32].into()).unwrap();
        let other = SigningKey::from_seed(&[8; 32].into()).unwrap();
        let keys = [key.verifying_key().clone()];
        let examiner = Examiner::new(&keys);
        let look = |mut receipt: Receipt, key: &SigningKey| {
            receipt.key_id = key.verifying_key().key_id();
            examiner.examine_text(&Signed::new(receipt, key).unwrap().to_leaf())
        };
        let verdicts = [verdict(3, "a"), verdict(4, "a"), verdict(5, "b"), verdict(6, "a")];
        let mut examined: Vec<Examined> = verdicts.map(|one| look(one, &key)).into();
        assert_eq!(discounted(&examined), []);
        examined.push(look(lost("b", 1), &other));
        assert_eq!(discounted(&examined), [], "nobody may say so but the log's own key");
        examined.push(look(lost("a", 6), &key));
        examined.push(look(lost("a", 4), &key));
        let found: Vec<Digest> = discounted(&examined).into_iter().map(|one| one.receipt).collect();
        assert_eq!(found, [examined[1].hash(), examined[3].hash()]);
    }
}
