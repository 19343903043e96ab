//! What a person tells a session: what is wanted, facts that policies wait for, labels that no longer apply
//! (rows A5, A6; law 6).
//!
//! The adversary is the agent itself, which would widen its own mandate: what is told is signed by a key of this
//! home's approvers, and bound to one session and one home. Nothing that an agent says about its intent counts.

use tipstaff_core::action::Salt;
use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json, Labels, Tier, digest};
use tipstaff_policy::is_given;

use crate::fold::{ATTRIBUTE, DECLASSIFY, REQUEST, declassify};
use crate::wire::{object, text_of};

/// Distinguishes this signature from every other kind.
const FORM: &str = "tipstaff-told-1";
/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Longest value of an attribute, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// What the principal wants.
    Request(String),
    /// An attribute that policies can read, `given_…`.
    Give {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Labels that no longer apply.
    Declassify(Labels),
}

/// What is told to one session of one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What.
    pub tell: Tell,
    /// The chain of the session.
    pub session: String,
    /// Origin of the log.
    pub log: String,
    /// Keeps the public digest from being guessed.
    pub salt: Salt,
}

/// Something told, with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTold {
    /// What is told.
    pub told: Told,
    /// RFC 7638 thumbprint of the key.
    pub key_id: String,
    /// Over [`Told::text`].
    pub signature: Signature,
}

impl Tell {
    /// The action in receipts.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Request(_) => REQUEST,
            Self::Give { .. } => ATTRIBUTE,
            Self::Declassify(_) => DECLASSIFY,
        }
    }

    /// Its tier: what widens what a session may do is visible to others.
    pub(crate) const fn tier(&self) -> Tier {
        match self {
            Self::Request(_) | Self::Give { .. } => Tier::T2,
            Self::Declassify(_) => Tier::T4,
        }
    }

    /// What can't be told, in words.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Request(text) if text.trim().is_empty() => Some("the request is empty"),
            Self::Request(text) if text.len() > REQUEST_BYTES_MAX => {
                Some("the request is longer than 16 KiB")
            }
            Self::Give { name, .. } if !is_given(name) => {
                Some("a name is `given_` and 1 to 40 of a-z, 0-9, `_`")
            }
            Self::Give { value, .. } if value.len() > VALUE_BYTES_MAX => {
                Some("the value is longer than 1 KiB")
            }
            Self::Declassify(labels) if labels.is_empty() => Some("no label is named"),
            _ => None,
        }
    }

    fn members(&self) -> Vec<(String, Json)> {
        match self {
            Self::Request(text) => vec![("text".to_owned(), Json::string(text))],
            Self::Give { name, value } => vec![
                ("name".to_owned(), Json::string(name)),
                ("value".to_owned(), Json::string(value)),
            ],
            Self::Declassify(labels) => vec![declassify(*labels)],
        }
    }

    fn from_json(json: &Json) -> Option<Self> {
        if let Some(text) = text_of(json, "text") {
            return Some(Self::Request(text));
        }
        if let Some(name) = text_of(json, "name") {
            return Some(Self::Give { name, value: text_of(json, "value")? });
        }
        let labels = json.get("declassify")?.as_array()?;
        let names: Option<Vec<&str>> = labels.iter().map(Json::as_str).collect();
        Some(Self::Declassify(Labels::parse(names?)?))
    }
}

impl Told {
    /// The inputs that are kept beside its receipt.
    #[must_use]
    pub fn inputs(&self) -> String {
        let mut members = self.tell.members();
        members.push(("salt".to_owned(), Json::String(digest::hex(&self.salt.0))));
        Json::object(members).unwrap_or(Json::Null).to_canonical()
    }

    /// The salted digest in receipt and signature.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.inputs().as_bytes())
    }

    /// The RFC 8785 text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        object([
            ("action", Json::string(self.tell.action())),
            ("form", Json::string(FORM)),
            ("inputs_digest", Json::String(self.digest().to_hex())),
            ("log", Json::string(&self.log)),
            ("session", Json::string(&self.session)),
        ])
        .to_canonical()
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedTold {
        let signature = key.sign(self.text().as_bytes());
        SignedTold { told: self, key_id: key.verifying_key().key_id(), signature }
    }
}

impl SignedTold {
    /// Whether it is signed by one of these keys.
    #[must_use]
    pub fn is_by(&self, keys: &[VerifyingKey]) -> bool {
        let mut keys = keys.iter().filter(|key| key.key_id() == self.key_id);
        keys.any(|key| key.verify(self.told.text().as_bytes(), &self.signature).is_ok())
    }

    /// Its wire form.
    #[must_use]
    pub fn to_json(&self) -> Json {
        object([
            ("key_id", Json::string(&self.key_id)),
            ("log", Json::string(&self.told.log)),
            ("salt", Json::String(digest::hex(&self.told.salt.0))),
            ("session", Json::string(&self.told.session)),
            ("signature", Json::String(self.signature.to_base64url())),
            ("tell", Json::object(self.told.tell.members()).unwrap_or(Json::Null)),
        ])
    }

    /// Reads its wire form.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let salt = text_of(json, "salt").filter(|salt| salt.len() == 32)?;
        let padded = Digest::from_hex(&format!("{salt:0<64}")).ok()?;
        Some(Self {
            told: Told {
                tell: Tell::from_json(json.get("tell")?)?,
                session: text_of(json, "session")?,
                log: text_of(json, "log")?,
                salt: Salt(padded.as_bytes().first_chunk::<16>().copied()?),
            },
            key_id: text_of(json, "key_id")?,
            signature: Signature::from_base64url(&text_of(json, "signature")?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use tipstaff_core::{Label, Millis};

    use super::*;
    use crate::approval::{Reply, Statement};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32].into()).unwrap()
    }

    fn told(tell: Tell) -> Told {
        Told { tell, session: "s-1".to_owned(), log: "l".to_owned(), salt: Salt([7; 16]) }
    }

    #[test]
    fn what_is_told_is_for_one_session_of_one_home_and_reads_back() {
        let keys = [key().verifying_key().clone()];
        for tell in [
            Tell::Request("mend the test".to_owned()),
            Tell::Give { name: "given_ticket".to_owned(), value: "CHG-1".to_owned() },
            Tell::Declassify(Labels::NONE.with(Label::Untrusted)),
        ] {
            let signed = told(tell.clone()).sign(&key());
            assert!(signed.is_by(&keys) && tell.fault().is_none());
            assert_eq!(SignedTold::from_json(&signed.to_json()), Some(signed.clone()));
            for (session, log, salt) in [("s-2", "l", 7), ("s-1", "m", 7), ("s-1", "l", 8)] {
                let (session, log, salt) = (session.to_owned(), log.to_owned(), Salt([salt; 16]));
                let moved = Told { tell: tell.clone(), session, log, salt };
                assert!(!SignedTold { told: moved, ..signed.clone() }.is_by(&keys));
            }
        }
        let other = SigningKey::from_seed(&[2; 32].into()).unwrap();
        assert!(!told(Tell::Request("x".to_owned())).sign(&other).is_by(&keys));
    }

    #[test]
    fn the_signature_of_an_approval_tells_nothing_and_the_other_way_round() {
        let statement = Statement {
            reply: Reply::Approve,
            action: Digest::ZERO,
            expires: Millis(1),
            log: "l".to_owned(),
            of: Digest::ZERO,
            policy_set: Digest::ZERO,
            requester: "s-1".to_owned(),
            repeat: None,
        };
        let (told, key) = (told(Tell::Request("x".to_owned())), key());
        let signed = told.sign(&key);
        assert!(!statement.is_signed(key.verifying_key(), &signed.signature));
        let signature = statement.sign(&key);
        assert!(!SignedTold { signature, ..signed }.is_by(&[key.verifying_key().clone()]));
    }

    #[test]
    fn what_cannot_be_told_is_named() {
        for tell in [
            Tell::Request("  ".to_owned()),
            Tell::Request("x".repeat(REQUEST_BYTES_MAX + 1)),
            Tell::Give { name: "ticket".to_owned(), value: String::new() },
            Tell::Give { name: "given_t".to_owned(), value: "x".repeat(VALUE_BYTES_MAX + 1) },
            Tell::Declassify(Labels::NONE),
        ] {
            assert!(tell.fault().is_some(), "{tell:?}");
        }
    }
}
