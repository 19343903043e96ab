//! Checking a chain without trusting who wrote it (row A8).
//!
//! The adversary edits a receipt, drops one, reorders them or splices two chains. Any of these breaks
//! `prev_hash`, `chain_seq` or a signature at a place that can be named. A chain whose end was cut off
//! can't be told from a shorter one by its links alone: a `close` receipt or a known head can.

use super::{Kind, Receipt};
use crate::digest::Digest;
use crate::error::CoreError;
use crate::json::Json;
use crate::key::{Signature, VerifyingKey};

/// Why a chain is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakReason {
    /// The first receipt is not number 0 with a `prev_hash` of zeros.
    BadGenesis,
    /// A signature does not verify, or the key is not a known one.
    BadSignature,
    /// There are no receipts.
    Empty,
    /// The hash beside a receipt is not the hash of the receipt.
    HashMismatch,
    /// A member is missing or of the wrong type.
    Malformed,
    /// A receipt does not commit to the one before it.
    PrevHashMismatch,
    /// A number is missing or repeated.
    SeqGap,
}

impl BreakReason {
    /// The word in replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadGenesis => "bad_genesis",
            Self::BadSignature => "bad_signature",
            Self::Empty => "empty",
            Self::HashMismatch => "hash_mismatch",
            Self::Malformed => "malformed",
            Self::PrevHashMismatch => "prev_hash_mismatch",
            Self::SeqGap => "seq_gap",
        }
    }
}

/// The answer on a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Where and why it breaks, `None` if it holds.
    pub broken: Option<(usize, BreakReason)>,
    /// Whether the last receipt closes the session.
    pub closed: bool,
    /// Hash of the last receipt that holds.
    pub head: Digest,
    /// Number of receipts looked at.
    pub length: usize,
    /// How many signatures were checked.
    pub signatures: usize,
}

/// Follows one chain, receipt by receipt.
#[derive(Debug)]
pub struct ChainVerifier<'k> {
    keys: &'k [VerifyingKey],
    key_ids: Vec<String>,
    head: Digest,
    next: u64,
    closed: bool,
    signatures: usize,
}

impl<'k> ChainVerifier<'k> {
    /// A verifier that knows `keys`. Without keys only the links are checked.
    #[must_use]
    pub fn new(keys: &'k [VerifyingKey]) -> Self {
        let key_ids = keys.iter().map(VerifyingKey::key_id).collect();
        Self { keys, key_ids, head: Digest::ZERO, next: 0, closed: false, signatures: 0 }
    }

    /// The next element: a receipt of at least the eight-field shape, raw or wrapped as
    /// `{receipt, hash}` with optional `signature` and `key_id`.
    ///
    /// # Errors
    /// The reason why the chain does not hold here.
    pub fn push(&mut self, element: &Json) -> Result<(), BreakReason> {
        let (receipt, wrapped) = match element.get("receipt") {
            Some(receipt) => (receipt, true),
            None => (element, false),
        };
        let text = receipt.to_canonical();
        let hash = Digest::of(text.as_bytes());
        if wrapped {
            match element.get("hash") {
                Some(Json::String(stated)) if Digest::from_hex(stated) == Ok(hash) => {}
                None | Some(Json::Null) => {}
                Some(Json::String(_)) => return Err(BreakReason::HashMismatch),
                Some(_) => return Err(BreakReason::Malformed),
            }
        }
        let link = Link::read(receipt)?;
        if self.next == 0 && (link.seq != 0 || link.prev != Digest::ZERO) {
            return Err(BreakReason::BadGenesis);
        }
        if link.seq != self.next {
            return Err(BreakReason::SeqGap);
        }
        if link.prev != self.head {
            return Err(BreakReason::PrevHashMismatch);
        }
        if wrapped && !self.keys.is_empty() {
            self.check_signature(element, receipt, &text).map_err(|_| BreakReason::BadSignature)?;
            self.signatures += 1;
        }
        self.closed = link.closes;
        self.head = hash;
        self.next += 1;
        Ok(())
    }

    /// Hash of the last receipt that held.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Whether the last receipt closes the session.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// How many signatures were checked.
    #[must_use]
    pub const fn signatures(&self) -> usize {
        self.signatures
    }

    fn check_signature(&self, element: &Json, receipt: &Json, text: &str) -> Result<(), CoreError> {
        let signature = element.get("signature").and_then(Json::as_str);
        let signature = Signature::from_base64url(signature.ok_or(CoreError::BadSignature)?)?;
        let key_id = receipt.get("key_id").or_else(|| element.get("key_id"));
        let key_id = key_id.and_then(Json::as_str).ok_or(CoreError::BadSignature)?;
        // The key named beside the receipt must be the one named, and signed, inside it.
        if element.get("key_id").and_then(Json::as_str).is_some_and(|outer| outer != key_id) {
            return Err(CoreError::BadSignature);
        }
        let known = self.key_ids.iter().position(|id| id == key_id);
        let key = known.and_then(|at| self.keys.get(at)).ok_or(CoreError::BadSignature)?;
        key.verify(text.as_bytes(), &signature)
    }
}

/// Checks a whole chain.
#[must_use]
pub fn verify_links(elements: &[Json], keys: &[VerifyingKey]) -> ChainReport {
    let mut verifier = ChainVerifier::new(keys);
    let mut broken = elements.is_empty().then_some((0, BreakReason::Empty));
    for (index, element) in elements.iter().enumerate() {
        if let Err(reason) = verifier.push(element) {
            broken = Some((index, reason));
            break;
        }
    }
    ChainReport {
        broken,
        closed: verifier.closed,
        head: verifier.head,
        length: elements.len(),
        signatures: verifier.signatures,
    }
}

struct Link {
    seq: u64,
    prev: Digest,
    closes: bool,
}

impl Link {
    fn read(receipt: &Json) -> Result<Self, BreakReason> {
        let text = |name| receipt.get(name).and_then(Json::as_str).ok_or(BreakReason::Malformed);
        let number = |name| {
            let value =
                receipt.get(name).and_then(Json::as_integer).ok_or(BreakReason::Malformed)?;
            u64::try_from(value).map_err(|_| BreakReason::Malformed)
        };
        for name in ["v", "ts", "actor", "action", "context_digest"] {
            text(name)?;
        }
        if !(1..=5).contains(&number("tier")?) {
            return Err(BreakReason::Malformed);
        }
        // A receipt that claims our profile must keep all of it.
        if receipt.get("profile").is_some() {
            Receipt::from_json(receipt).map_err(|_| BreakReason::Malformed)?;
        }
        let prev = Digest::from_hex(text("prev_hash")?).map_err(|_| BreakReason::Malformed)?;
        let kind = receipt.get("kind").and_then(Json::as_str).and_then(Kind::parse);
        let closes = kind == Some(Kind::Session)
            && receipt.get("action").and_then(Json::as_str) == Some("session:close");
        Ok(Self { seq: number("chain_seq")?, prev, closes })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::tests::sample;
    use super::super::{SHAPE, Signed};
    use super::*;
    use crate::key::SigningKey;

    fn chain(length: u64) -> (Vec<Json>, SigningKey) {
        let key = SigningKey::from_seed(&Zeroizing::new([9; 32])).unwrap();
        let (mut prev, mut elements) = (Digest::ZERO, Vec::new());
        for seq in 0..length {
            let mut receipt = sample(seq, prev);
            receipt.key_id = key.verifying_key().key_id();
            let signed = Signed::new(receipt, &key).unwrap();
            prev = signed.hash();
            let leaf = signed.to_leaf();
            assert_eq!(Signed::from_leaf(&leaf).unwrap(), signed);
            elements.push(Json::parse(leaf.as_bytes()).unwrap());
        }
        (elements, key)
    }

    fn verdict(elements: &[Json], keys: &[VerifyingKey]) -> Option<(usize, BreakReason)> {
        verify_links(elements, keys).broken
    }

    fn edit(element: &Json, name: &str, value: Json) -> Json {
        let receipt = element.get("receipt").unwrap().as_object().unwrap().with(name, value);
        Json::Object(element.as_object().unwrap().with("receipt", Json::Object(receipt)))
    }

    #[test]
    fn every_kind_of_tampering_is_named() {
        let (good, key) = chain(4);
        let keys = [key.verifying_key().clone()];
        assert_eq!(verdict(&good, &keys), None);
        assert_eq!(verify_links(&good, &keys).signatures, 4);
        assert_eq!(verdict(&[], &keys), Some((0, BreakReason::Empty)));
        assert_eq!(verdict(&good[1..], &keys), Some((0, BreakReason::BadGenesis)));
        let dropped = [good[0].clone(), good[2].clone()];
        assert_eq!(verdict(&dropped, &keys), Some((1, BreakReason::SeqGap)));
        let mut edited = good.clone();
        edited[1] = edit(&good[1], "tier", Json::from(5));
        assert_eq!(verdict(&edited, &keys), Some((1, BreakReason::HashMismatch)));
        // Without the hashes beside them the edit shows at the next link.
        let raw: Vec<Json> = edited.iter().map(|e| e.get("receipt").unwrap().clone()).collect();
        assert_eq!(verdict(&raw, &keys), Some((2, BreakReason::PrevHashMismatch)));
        let other = SigningKey::from_seed(&Zeroizing::new([1; 32])).unwrap();
        let strangers = [other.verifying_key().clone()];
        assert_eq!(verdict(&good, &strangers), Some((0, BreakReason::BadSignature)));
        let mut malformed = good;
        malformed[2] = edit(&malformed[2], "door", Json::Null);
        let bare = malformed[2].as_object().unwrap().without("hash");
        malformed[2] = Json::Object(bare);
        assert_eq!(verdict(&malformed, &[]), Some((2, BreakReason::Malformed)));
    }

    #[test]
    fn the_eight_field_shape_verifies_as_it_is() {
        let mut prev = Digest::ZERO;
        let mut raw = Vec::new();
        for seq in 0..3 {
            let text = format!(
                "{{\"v\":\"{SHAPE}\",\"ts\":\"2026-04-21T12:00:00.000Z\",\"actor\":\"agent://a/b\",\
                 \"action\":\"fs:read\",\"tier\":1,\"context_digest\":\"4a8f3b\",\
                 \"prev_hash\":\"{prev}\",\"chain_seq\":{seq}}}"
            );
            let json = Json::parse(text.as_bytes()).unwrap();
            prev = Digest::of(json.to_canonical().as_bytes());
            raw.push(json);
        }
        assert_eq!(verdict(&raw, &[]), None);
        raw.swap(1, 2);
        assert_eq!(verdict(&raw, &[]), Some((1, BreakReason::SeqGap)));
    }
}
