//! Checking a chain without trusting who wrote it (row A8).
//!
//! The adversary edits a receipt, drops one, reorders them or splices two chains. Any of these breaks
//! `prev_hash`, `chain_seq` or a signature at a place that can be named. A chain whose end was cut off
//! can't be told from a shorter one by its links alone: a `close` receipt or a known head can.

use super::rests::Rests;
use super::{Kind, Receipt};
use crate::digest::Digest;
use crate::error::CoreError;
use crate::json::{Json, Node, Plain};
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

/// Looks at the elements of a chain one by one, each by itself: this part can run on all cores.
#[derive(Debug)]
pub struct Examiner<'k> {
    keys: &'k [VerifyingKey],
    key_ids: Vec<String>,
}

/// What an element is by itself, before its neighbours are known.
#[derive(Debug, Clone)]
pub struct Examined {
    chain: Option<String>,
    hash: Digest,
    /// What it says about its place, or why it says nothing that can be believed.
    link: Result<Link, BreakReason>,
    /// `None` if no signature was looked for.
    signature: Option<bool>,
    /// What it has to do with a principal's key.
    rests: Option<Box<Rests>>,
}

/// Follows one chain, receipt by receipt.
#[derive(Debug)]
pub struct ChainVerifier<'k> {
    examiner: Examiner<'k>,
    links: Links,
}

#[derive(Debug)]
struct Links {
    head: Digest,
    next: u64,
    closed: bool,
    signatures: usize,
}

impl<'k> Examiner<'k> {
    /// An examiner that knows `keys`. Without keys no signature is checked.
    #[must_use]
    pub fn new(keys: &'k [VerifyingKey]) -> Self {
        Self { keys, key_ids: keys.iter().map(VerifyingKey::key_id).collect() }
    }

    /// Looks at an element: a receipt of at least the eight-field shape, raw or wrapped as
    /// `{receipt, hash}` with optional `signature` and `key_id`.
    #[must_use]
    pub fn examine(&self, element: &Json) -> Examined {
        let text = element.get("receipt").unwrap_or(element).to_canonical();
        self.examine_node(element, &text)
    }

    /// Looks at an element's JSON text. What is canonical, as every line of an export is, is checked in
    /// place.
    #[must_use]
    pub fn examine_text(&self, text: &str) -> Examined {
        if let Some(plain) = Plain::read(text) {
            return self.examine_node(&plain, plain.text_of("receipt").unwrap_or(text));
        }
        match Json::parse(text.as_bytes()) {
            Ok(json) => self.examine(&json),
            Err(_) => Examined {
                chain: None,
                hash: Digest::ZERO,
                link: Err(BreakReason::Malformed),
                signature: None,
                rests: None,
            },
        }
    }

    /// `text` is the canonical text of the receipt in the element.
    fn examine_node<N: Node>(&self, element: &N, text: &str) -> Examined {
        let wrapped = element.get("receipt");
        let receipt = wrapped.unwrap_or(element);
        let hash = Digest::of(text.as_bytes());
        let link = match wrapped.and_then(|_| element.get("hash")) {
            Some(stated) if !stated.is_null() => match stated.as_str() {
                Some(stated) if Digest::from_hex(stated) == Ok(hash) => Link::read(receipt),
                Some(_) => Err(BreakReason::HashMismatch),
                None => Err(BreakReason::Malformed),
            },
            _ => Link::read(receipt),
        };
        let looked = wrapped.is_some() && !self.keys.is_empty() && link.is_ok();
        let signature = looked.then(|| self.check_signature(element, receipt, text).is_ok());
        let chain = receipt.get("chain").and_then(Node::as_str).map(str::to_owned);
        let believed = signature != Some(false);
        let rests = Rests::read(receipt).filter(|_| believed).map(Box::new);
        Examined { chain, hash, link, signature, rests }
    }

    fn check_signature<N: Node>(
        &self,
        element: &N,
        receipt: &N,
        text: &str,
    ) -> Result<(), CoreError> {
        let signature = element.get("signature").and_then(Node::as_str);
        let signature = Signature::from_base64url(signature.ok_or(CoreError::BadSignature)?)?;
        let key_id = receipt.get("key_id").or_else(|| element.get("key_id"));
        let key_id = key_id.and_then(Node::as_str).ok_or(CoreError::BadSignature)?;
        // The key named beside the receipt must be the one named, and signed, inside it.
        if element.get("key_id").and_then(Node::as_str).is_some_and(|outer| outer != key_id) {
            return Err(CoreError::BadSignature);
        }
        let known = self.key_ids.iter().position(|id| id == key_id);
        let key = known.and_then(|at| self.keys.get(at)).ok_or(CoreError::BadSignature)?;
        key.verify(text.as_bytes(), &signature)
    }
}

impl Examined {
    /// The chain that the receipt says it belongs to.
    #[must_use]
    pub fn chain(&self) -> Option<&str> {
        self.chain.as_deref()
    }

    /// The hash of the receipt.
    pub(super) const fn hash(&self) -> Digest {
        self.hash
    }

    pub(super) fn rests(&self) -> Option<&Rests> {
        self.rests.as_deref()
    }
}

impl<'k> ChainVerifier<'k> {
    /// A verifier that knows `keys`. Without keys only the links are checked.
    #[must_use]
    pub fn new(keys: &'k [VerifyingKey]) -> Self {
        Self { examiner: Examiner::new(keys), links: Links::new() }
    }

    /// The next element, as in [`Examiner::examine`].
    ///
    /// # Errors
    /// The reason why the chain does not hold here.
    pub fn push(&mut self, element: &Json) -> Result<(), BreakReason> {
        self.links.push(&self.examiner.examine(element))
    }

    /// Hash of the last receipt that held.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.links.head
    }

    /// Whether the last receipt closes the session.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.links.closed
    }

    /// How many signatures were checked.
    #[must_use]
    pub const fn signatures(&self) -> usize {
        self.links.signatures
    }
}

impl Links {
    const fn new() -> Self {
        Self { head: Digest::ZERO, next: 0, closed: false, signatures: 0 }
    }

    fn push(&mut self, element: &Examined) -> Result<(), BreakReason> {
        let link = element.link?;
        if self.next == 0 && (link.seq != 0 || link.prev != Digest::ZERO) {
            return Err(BreakReason::BadGenesis);
        }
        if link.seq != self.next {
            return Err(BreakReason::SeqGap);
        }
        if link.prev != self.head {
            return Err(BreakReason::PrevHashMismatch);
        }
        if element.signature == Some(false) {
            return Err(BreakReason::BadSignature);
        }
        self.signatures += usize::from(element.signature.is_some());
        self.closed = link.closes;
        self.head = element.hash;
        self.next += 1;
        Ok(())
    }
}

/// Checks a whole chain.
#[must_use]
pub fn verify_links(elements: &[Json], keys: &[VerifyingKey]) -> ChainReport {
    let examiner = Examiner::new(keys);
    report(elements.iter().map(|element| examiner.examine(element)))
}

/// Checks the links of a whole chain whose elements were looked at already.
#[must_use]
pub fn verify_examined(elements: &[Examined]) -> ChainReport {
    report(elements.iter())
}

fn report<E: std::borrow::Borrow<Examined>>(
    elements: impl ExactSizeIterator<Item = E>,
) -> ChainReport {
    let (length, mut links) = (elements.len(), Links::new());
    let mut broken = (length == 0).then_some((0, BreakReason::Empty));
    for (index, element) in elements.enumerate() {
        if let Err(reason) = links.push(element.borrow()) {
            broken = Some((index, reason));
            break;
        }
    }
    let Links { head, closed, signatures, .. } = links;
    ChainReport { broken, closed, head, length, signatures }
}

/// The action of a receipt that closes its session.
const CLOSE: &str = "session:close";

#[derive(Debug, Clone, Copy)]
struct Link {
    seq: u64,
    prev: Digest,
    closes: bool,
}

impl Link {
    fn read<N: Node>(receipt: &N) -> Result<Self, BreakReason> {
        // A receipt that claims our profile must keep all of it.
        if receipt.get("profile").is_some() {
            let receipt: Receipt<&str> =
                Receipt::from_node(receipt).map_err(|_| BreakReason::Malformed)?;
            let closes = receipt.kind == Kind::Session && receipt.action == CLOSE;
            return Ok(Self { seq: receipt.chain_seq, prev: receipt.prev_hash, closes });
        }
        Self::read_eight(receipt)
    }

    /// The eight fields that every shape has.
    fn read_eight<N: Node>(receipt: &N) -> Result<Self, BreakReason> {
        let text = |name| receipt.get(name).and_then(Node::as_str).ok_or(BreakReason::Malformed);
        let number = |name| {
            let value =
                receipt.get(name).and_then(Node::as_integer).ok_or(BreakReason::Malformed)?;
            u64::try_from(value).map_err(|_| BreakReason::Malformed)
        };
        for name in ["v", "ts", "actor", "context_digest"] {
            text(name)?;
        }
        if !(1..=5).contains(&number("tier")?) {
            return Err(BreakReason::Malformed);
        }
        let prev = Digest::from_hex(text("prev_hash")?).map_err(|_| BreakReason::Malformed)?;
        let kind = receipt.get("kind").and_then(Node::as_str).and_then(Kind::parse);
        let closes = text("action")? == CLOSE && kind == Some(Kind::Session);
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

    /// Looked at as values, in place, and as text that has to be rewritten: one answer.
    fn verdict(elements: &[Json], keys: &[VerifyingKey]) -> Option<(usize, BreakReason)> {
        let report = verify_links(elements, keys);
        let examiner = Examiner::new(keys);
        for blank in ["", " "] {
            let texts = elements.iter().map(|element| element.to_canonical() + blank);
            let examined: Vec<_> = texts.map(|text| examiner.examine_text(&text)).collect();
            assert_eq!(verify_examined(&examined), report);
        }
        report.broken
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
