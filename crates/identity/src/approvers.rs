//! Who answers for a home: the approvers' keys, and how one gives way to the next.
//!
//! The adversary has an old key of an approver, or would like one of his own to count. A new key counts by the word of
//! the one that it replaces, over its own text, in its place; an old one ends at a stated time. A key that was lost
//! gives no word: then the change says of itself, for ever, that nobody gave one. Pure: times are inputs.

use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json, Millis};

use crate::principal::{number, object};

/// Distinguishes these signatures from every other kind.
const FORM: &str = "tipstaff-approver-1";
/// Keys that a home's approvers had before.
const ENDED_MAX: usize = 256;
/// Longest time for which the old key is valid beside the new one, in milliseconds: 30 days.
const OVERLAP_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

/// The keys, as they are at one position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    keys: Vec<VerifyingKey>,
    /// Those that were replaced, with their ends.
    ended: Vec<(VerifyingKey, Millis)>,
    /// What made it so; `None` for the first.
    by: Option<SignedSuccession>,
}

/// A new key in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The new key.
    pub key: VerifyingKey,
    /// Thumbprint of the key that it replaces.
    pub replaces: String,
    /// Until when that is valid too.
    pub until: Millis,
    /// Origin of the log.
    pub log: String,
    /// Digest of the approvers that it follows.
    pub prev: Digest,
    /// When it was given.
    pub at: Millis,
}

/// A succession with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSuccession {
    /// What is signed.
    pub succession: Succession,
    /// By the key that is replaced; `None` where it was lost.
    word: Option<Signature>,
    /// By the new key: somebody has it.
    proof: Signature,
}

/// Why an approver's key doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApproverFault {
    /// It is or was no approver's.
    #[error("it is not signed by an approver of this home")]
    Unknown,
    /// It was replaced.
    #[error(
        "the approver's key that signed it was replaced, and its time is over; sign with the new one"
    )]
    Ended,
    /// Another change came first.
    #[error("another change came first; look again, and order again")]
    Stale,
    /// The new key is or was an approver's.
    #[error("the new key is or was an approver's; keys are never given twice")]
    KeyTaken,
    /// The time in which both keys are valid.
    #[error("the old key ends at a time from now to 30 days from now, and at once if it was lost")]
    Overlap,
    /// Too many.
    #[error("there were 256 keys before")]
    TooMany,
}

impl ApproverFault {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "not_signed",
            Self::Ended => "key_ended",
            Self::Stale => "stale",
            Self::KeyTaken => "key_taken",
            Self::Overlap => "overlap",
            Self::TooMany => "too_many",
        }
    }
}

impl Succession {
    fn members(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("at", number(self.at.0)),
            ("form", Json::string(FORM)),
            ("key", Json::String(self.key.to_did_key())),
            ("log", Json::string(&self.log)),
            ("prev", Json::String(self.prev.to_hex())),
            ("replaces", Json::string(&self.replaces)),
            ("until", number(self.until.0)),
        ]
    }

    /// The RFC 8785 text that both keys sign.
    #[must_use]
    pub fn text(&self) -> String {
        object(self.members()).to_canonical()
    }

    /// Signs it with the new key, and with the one that it replaces unless that was lost.
    #[must_use]
    pub fn sign(self, new: &SigningKey, old: Option<&SigningKey>) -> SignedSuccession {
        let text = self.text();
        let word = old.map(|old| old.sign(text.as_bytes()));
        SignedSuccession { word, proof: new.sign(text.as_bytes()), succession: self }
    }
}

impl SignedSuccession {
    /// Whether the key that it replaces was lost, so that nobody gave a word.
    #[must_use]
    pub const fn is_recovery(&self) -> bool {
        self.word.is_none()
    }

    /// For the wire and for what is kept.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut members = self.succession.members();
        members.push(("proof", Json::String(self.proof.to_base64url())));
        let word = self.word.map_or(Json::Null, |word| Json::String(word.to_base64url()));
        members.push(("word", word));
        object(members)
    }

    /// Reads it. Nothing is checked.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let text = |name| json.get(name)?.as_str();
        let time = |name| u64::try_from(json.get(name)?.as_integer()?).ok().map(Millis);
        if text("form")? != FORM {
            return None;
        }
        Some(Self {
            succession: Succession {
                key: VerifyingKey::from_did_key(text("key")?).ok()?,
                replaces: text("replaces")?.to_owned(),
                until: time("until")?,
                log: text("log")?.to_owned(),
                prev: Digest::from_hex(text("prev")?).ok()?,
                at: time("at")?,
            },
            word: match json.get("word")? {
                Json::Null => None,
                word => Some(Signature::from_base64url(word.as_str()?).ok()?),
            },
            proof: Signature::from_base64url(text("proof")?).ok()?,
        })
    }
}

impl Approvers {
    /// The first ones.
    #[must_use]
    pub const fn first(keys: Vec<VerifyingKey>) -> Self {
        Self { keys, ended: Vec::new(), by: None }
    }

    /// The key of this thumbprint, if it counts at a time.
    ///
    /// # Errors
    /// [`ApproverFault::Unknown`], [`ApproverFault::Ended`]
    pub fn key(&self, key_id: &str, now: Millis) -> Result<&VerifyingKey, ApproverFault> {
        if let Some(key) = self.keys.iter().find(|key| key.key_id() == key_id) {
            return Ok(key);
        }
        let ended = self.ended.iter().find(|(key, _)| key.key_id() == key_id);
        let (key, until) = ended.ok_or(ApproverFault::Unknown)?;
        if *until <= now { Err(ApproverFault::Ended) } else { Ok(key) }
    }

    /// The keys that count at a time.
    #[must_use]
    pub fn valid(&self, now: Millis) -> Vec<VerifyingKey> {
        let lasting = self.ended.iter().filter(|(_, until)| *until > now).map(|(key, _)| key);
        self.keys.iter().chain(lasting).cloned().collect()
    }

    /// The keys that nothing has replaced.
    #[must_use]
    pub fn current(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Those that were replaced, with their ends.
    #[must_use]
    pub fn replaced(&self) -> &[(VerifyingKey, Millis)] {
        &self.ended
    }

    /// What made it so; `None` for the first.
    #[must_use]
    pub const fn by(&self) -> Option<&SignedSuccession> {
        self.by.as_ref()
    }

    /// Those after a succession. Whether a recovery is wanted, and whether it was given now, is looked at by whoever
    /// calls this.
    ///
    /// # Errors
    /// [`ApproverFault`]
    pub fn succeeded(&self, signed: &SignedSuccession) -> Result<Self, ApproverFault> {
        let Succession { key, replaces, until, prev, at, .. } = &signed.succession;
        if *prev != self.digest() {
            return Err(ApproverFault::Stale);
        }
        let text = signed.succession.text();
        let mut current = self.keys.iter().enumerate();
        let Some((place, old)) = current.find(|(_, key)| key.key_id() == *replaces) else {
            // One that was replaced before gives no word any more, whatever time it has left.
            let fault = self.key(replaces, Millis(u64::MAX)).err();
            return Err(fault.unwrap_or(ApproverFault::Unknown));
        };
        if let Some(word) = &signed.word {
            old.verify(text.as_bytes(), word).map_err(|_| ApproverFault::Unknown)?;
        }
        key.verify(text.as_bytes(), &signed.proof).map_err(|_| ApproverFault::Unknown)?;
        let known = self.keys.iter().chain(self.ended.iter().map(|(key, _)| key));
        if known.into_iter().any(|known| known == key) {
            return Err(ApproverFault::KeyTaken);
        }
        let latest = if signed.is_recovery() { at.0 } else { at.0.saturating_add(OVERLAP_MAX) };
        if *until < *at || until.0 > latest {
            return Err(ApproverFault::Overlap);
        }
        if self.ended.len() >= ENDED_MAX {
            return Err(ApproverFault::TooMany);
        }
        let mut next = self.clone();
        if signed.is_recovery() {
            // Who lost one key may have lost the others too.
            for (_, ends) in &mut next.ended {
                *ends = (*ends).min(*at);
            }
        }
        next.ended.push((old.clone(), *until));
        if let Some(place) = next.keys.get_mut(place) {
            *place = key.clone();
        }
        next.by = Some(signed.clone());
        Ok(next)
    }

    /// Whether these are what `before` became by the succession that they name: a log that says otherwise is none.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let next = self.by.as_ref().and_then(|by| before.succeeded(by).ok());
        next.as_ref() == Some(self)
    }

    /// The RFC 8785 text that is kept; its digest names these approvers.
    #[must_use]
    pub fn to_text(&self) -> String {
        let keys = self.keys.iter().map(|key| Json::String(key.to_did_key()));
        let mut members = vec![("approvers", Json::Array(keys.collect()))];
        // Homes whose approver was never replaced have the text that they always had.
        if let Some(by) = &self.by {
            let ended = self.ended.iter().map(|(key, until)| {
                let key = Json::String(key.to_did_key());
                object(vec![("key", key), ("until", number(until.0))])
            });
            members.push(("by", by.to_json()));
            members.push(("ended", Json::Array(ended.collect())));
        }
        object(members).to_canonical()
    }

    /// Reads it.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let json = Json::parse(text.as_bytes()).ok()?;
        let key = |json: &Json| VerifyingKey::from_did_key(json.as_str()?).ok();
        let keys = json.get("approvers")?.as_array()?.iter().map(key);
        let ended = json.get("ended").map_or(Some(&[][..]), Json::as_array)?.iter().map(|ended| {
            let until = u64::try_from(ended.get("until")?.as_integer()?).ok()?;
            Some((key(ended.get("key")?)?, Millis(until)))
        });
        Some(Self {
            keys: keys.collect::<Option<_>>()?,
            ended: ended.collect::<Option<_>>()?,
            by: match json.get("by") {
                None => None,
                Some(by) => Some(SignedSuccession::from_json(by)?),
            },
        })
    }

    /// Digest of the text: equal for equal folds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32].into()).unwrap()
    }

    fn first() -> Approvers {
        Approvers::first(vec![key(1).verifying_key().clone()])
    }

    fn id(seed: u8) -> String {
        key(seed).verifying_key().key_id()
    }

    fn succession(before: &Approvers, (old, new): (u8, u8), (at, until): (u64, u64)) -> Succession {
        Succession {
            key: key(new).verifying_key().clone(),
            replaces: id(old),
            until: Millis(until),
            log: "l".to_owned(),
            prev: before.digest(),
            at: Millis(at),
        }
    }

    fn rotated(before: &Approvers, pair: (u8, u8), times: (u64, u64)) -> Approvers {
        let signed = succession(before, pair, times).sign(&key(pair.1), Some(&key(pair.0)));
        before.succeeded(&signed).unwrap()
    }

    #[test]
    fn a_key_gives_way_to_the_next_at_a_stated_time() {
        let next = rotated(&first(), (1, 2), (10, 20));
        let counts = |seed, now| next.key(&id(seed), Millis(now)).map(|_| ());
        assert_eq!((counts(1, 19), counts(2, 19)), (Ok(()), Ok(())));
        assert_eq!((counts(1, 20), counts(2, 20)), (Err(ApproverFault::Ended), Ok(())));
        assert_eq!(counts(3, 19), Err(ApproverFault::Unknown));
        assert_eq!((next.valid(Millis(19)).len(), next.valid(Millis(20)).len()), (2, 1));
        let at_once = rotated(&first(), (1, 2), (10, 10));
        assert_eq!(at_once.key(&id(1), Millis(10)), Err(ApproverFault::Ended));
        // And on: the first one doesn't come back.
        let last = rotated(&next, (2, 3), (30, 30));
        assert_eq!(last.current(), [key(3).verifying_key().clone()]);
        assert_eq!(last.key(&id(1), Millis(31)), Err(ApproverFault::Ended));
        assert!(last.follows(&next) && !last.follows(&first()) && !next.follows(&last));
    }

    #[test]
    fn what_is_kept_reads_back_to_the_same_digest() {
        let text = first().to_text();
        assert_eq!(
            text,
            format!("{{\"approvers\":[\"{}\"]}}", key(1).verifying_key().to_did_key())
        );
        let next = rotated(&first(), (1, 2), (10, 20));
        for approvers in [first(), rotated(&next, (2, 3), (30, 30)), next] {
            let read = Approvers::from_text(&approvers.to_text()).unwrap();
            assert_eq!(read, approvers);
            assert_eq!(read.digest(), approvers.digest());
        }
    }

    #[test]
    fn nobody_else_names_the_next_key() {
        let before = first();
        let good = succession(&before, (1, 2), (10, 20));
        let fault = |signed: SignedSuccession| before.succeeded(&signed).unwrap_err();
        let by =
            |succession: &Succession, new, old| succession.clone().sign(&key(new), Some(&key(old)));
        assert_eq!(fault(by(&good, 2, 9)), ApproverFault::Unknown, "another's word");
        assert_eq!(fault(by(&good, 9, 1)), ApproverFault::Unknown, "nobody has the new key");
        let stranger = Succession { replaces: id(9), ..good.clone() };
        assert_eq!(fault(by(&stranger, 2, 9)), ApproverFault::Unknown);
        let same = Succession { key: key(1).verifying_key().clone(), ..good.clone() };
        assert_eq!(fault(by(&same, 1, 1)), ApproverFault::KeyTaken);
        let late = Succession { until: Millis(11 + OVERLAP_MAX), ..good.clone() };
        assert_eq!(fault(by(&late, 2, 1)), ApproverFault::Overlap);
        let early = Succession { until: Millis(9), ..good.clone() };
        assert_eq!(fault(by(&early, 2, 1)), ApproverFault::Overlap);
        // Moved: no member can change under the signatures.
        let signed = by(&good, 2, 1);
        for moved in [
            Succession { until: Millis(21), ..good.clone() },
            Succession { log: "m".to_owned(), ..good.clone() },
            Succession { at: Millis(11), ..good },
        ] {
            let moved = SignedSuccession { succession: moved, ..signed.clone() };
            assert_eq!(fault(moved), ApproverFault::Unknown);
        }
        let next = before.succeeded(&signed).unwrap();
        assert_eq!(next.succeeded(&signed), Err(ApproverFault::Stale), "nothing counts twice");
        // Within its overlap the old key answers, and names nobody.
        let old = succession(&next, (1, 3), (11, 15)).sign(&key(3), Some(&key(1)));
        assert_eq!(next.succeeded(&old), Err(ApproverFault::Ended));
    }

    #[test]
    fn a_lost_key_gives_no_word_and_ends_at_once() {
        let before = first();
        let overlap = succession(&before, (1, 2), (10, 11)).sign(&key(2), None);
        assert_eq!(before.succeeded(&overlap), Err(ApproverFault::Overlap));
        let signed = succession(&before, (1, 2), (10, 10)).sign(&key(2), None);
        let next = before.succeeded(&signed).unwrap();
        assert!(next.by().unwrap().is_recovery() && next.follows(&before));
        assert_eq!(next.key(&id(1), Millis(10)), Err(ApproverFault::Ended));
        assert_eq!(Approvers::from_text(&next.to_text()), Some(next));
        // Nor does one go on that was replaced before and had time left.
        let twice = rotated(&before, (1, 2), (5, 50));
        let signed = succession(&twice, (2, 3), (10, 10)).sign(&key(3), None);
        let next = twice.succeeded(&signed).unwrap();
        assert_eq!(twice.key(&id(1), Millis(10)).err(), None);
        assert_eq!(next.key(&id(1), Millis(10)), Err(ApproverFault::Ended));
    }
}
