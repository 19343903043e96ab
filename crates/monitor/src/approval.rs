//! What an approver signs, and how it is checked (row A4).
//!
//! The adversary has an honest yes and wants it for something else: another action, another requester,
//! other rules, another home, a later day. The signature covers all of these; a yes that is replayed is
//! for a call that waits no more.

use tipstaff_core::action::Salt;
use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json, Millis, digest};

use crate::repeat::Repeat;
use crate::wire::{digest_of, number, number_of, object, text_of};

/// Distinguishes this signature from every other kind.
const FORM: &str = "tipstaff-approval-1";
/// That of a yes that covers later calls too.
const STANDING_FORM: &str = "tipstaff-standing-1";
/// That of its withdrawal.
const WITHDRAWAL_FORM: &str = "tipstaff-withdrawal-1";

/// What a person says to a held call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It may run, once.
    Approve,
    /// It may not.
    Refuse,
    /// What a yes covers besides its own call may not run any more.
    Withdraw,
}

/// What is signed: the answer, and everything that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The answer.
    pub reply: Reply,
    /// Salted digest of the exact action: `inputs_digest` of the receipt that holds it.
    pub action: Digest,
    /// When the hold ends.
    pub expires: Millis,
    /// Origin of the log.
    pub log: String,
    /// Hash of the receipt that holds the call.
    pub of: Digest,
    /// Digest of the policy set that held it.
    pub policy_set: Digest,
    /// Pseudonym of the agent that asked.
    pub requester: String,
    /// What it covers besides this call.
    pub repeat: Option<Repeat>,
}

impl Reply {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Refuse => "refuse",
            Self::Withdraw => "withdraw",
        }
    }

    /// The answer of a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approve, Self::Refuse, Self::Withdraw]
            .into_iter()
            .find(|reply| reply.as_str() == text)
    }
}

impl Statement {
    /// The RFC 8785 text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut members = self.members();
        let form = match (self.reply, &self.repeat) {
            (Reply::Withdraw, _) => WITHDRAWAL_FORM,
            (_, Some(_)) => STANDING_FORM,
            (_, None) => FORM,
        };
        members.push(("form".to_owned(), Json::string(form)));
        Json::object(members).unwrap_or(Json::Null).to_canonical()
    }

    /// The members that a receipt shows of it.
    pub(crate) fn members(&self) -> Vec<(String, Json)> {
        let mut members: Vec<(String, Json)> = [
            ("action", Json::String(self.action.to_hex())),
            ("answer", Json::string(self.reply.as_str())),
            ("expires", number(self.expires.0)),
            ("log", Json::string(&self.log)),
            ("of", Json::String(self.of.to_hex())),
            ("policy_set", Json::String(self.policy_set.to_hex())),
            ("requester", Json::string(&self.requester)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(repeat) = &self.repeat {
            members.push(("repeat".to_owned(), repeat.to_json()));
        }
        members
    }

    /// Reads what a receipt shows of it.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            reply: Reply::parse(json.get("answer")?.as_str()?)?,
            action: digest_of(json, "action")?,
            expires: Millis(number_of(json, "expires")?),
            log: text_of(json, "log")?,
            of: digest_of(json, "of")?,
            policy_set: digest_of(json, "policy_set")?,
            requester: text_of(json, "requester")?,
            repeat: match json.get("repeat") {
                None => None,
                Some(repeat) => Some(Repeat::from_json(repeat)?),
            },
        })
    }

    /// Signs it.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(self.text().as_bytes())
    }

    /// Whether `signature` is `key`'s on exactly this.
    #[must_use]
    pub fn is_signed(&self, key: &VerifyingKey, signature: &Signature) -> bool {
        key.verify(self.text().as_bytes(), signature).is_ok()
    }
}

/// The wire form of an answer.
pub(crate) fn answer_to_json(
    statement: &Statement,
    (key_id, signature): (&str, &Signature),
    salt: Option<Salt>,
) -> Json {
    let salt = salt.map_or(Json::Null, |salt| Json::String(digest::hex(&salt.0)));
    object([
        ("do", Json::string("answer")),
        ("key_id", Json::string(key_id)),
        // It is never in a receipt.
        ("salt", salt),
        ("signature", Json::String(signature.to_base64url())),
        ("statement", Json::object(statement.members()).unwrap_or(Json::Null)),
        ("t", Json::string("control")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            reply: Reply::Approve,
            action: Digest::of(b"a"),
            expires: Millis(7),
            log: "o".to_owned(),
            of: Digest::of(b"of"),
            policy_set: Digest::of(b"p"),
            requester: "r".to_owned(),
            repeat: None,
        }
    }

    /// A yes to one thing is a yes to nothing else: every member is under the signature.
    #[test]
    fn an_answer_holds_for_exactly_one_thing() {
        let key = SigningKey::from_seed(&[5; 32].into()).unwrap();
        let (said, public) = (statement(), key.verifying_key());
        let signature = said.sign(&key);
        assert!(said.is_signed(public, &signature));
        let read = Json::object(said.members()).unwrap();
        assert_eq!(Statement::from_json(&read), Some(said.clone()));
        let other = Digest::of(b"other");
        let others = [
            Statement { reply: Reply::Refuse, ..said.clone() },
            Statement { action: other, ..said.clone() },
            Statement { expires: Millis(8), ..said.clone() },
            Statement { log: "p".to_owned(), ..said.clone() },
            Statement { of: other, ..said.clone() },
            Statement { policy_set: other, ..said.clone() },
            Statement { requester: "s".to_owned(), ..said.clone() },
            Statement { reply: Reply::Withdraw, ..said.clone() },
            Statement { repeat: Some(crate::repeat::tests::repeat()), ..said },
        ];
        for other in others {
            assert!(!other.is_signed(public, &signature), "{other:?}");
        }
    }
}
