//! A person's key in the hands of the runner.

use serde_json::Value;
use tipstaff_conformance::{Approver, Say, Word};
use tipstaff_core::action::Salt;
use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::SystemRandom;
use tipstaff_monitor::{Reply, Statement, Tell, Told};
use tipstaff_store::Random as _;

/// Signs what the tests need a person for.
pub(super) struct Signer {
    key: SigningKey,
}

impl Signer {
    pub(super) const fn new(key: SigningKey) -> Self {
        Self { key }
    }
}

impl Approver for Signer {
    fn answer(&self, row: &Value, word: Word) -> Option<Value> {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let digest = |name: &str| Digest::from_hex(text(name)?).ok();
        let reply = match word {
            Word::Approve => Reply::Approve,
            Word::Refuse => Reply::Refuse,
        };
        let expires = row.get("expires")?.as_u64()?;
        let statement = Statement {
            reply,
            action: digest("inputs_digest")?,
            expires: Millis(expires),
            log: text("log")?.to_owned(),
            of: digest("of")?,
            policy_set: digest("policy_set")?,
            requester: text("requester")?.to_owned(),
            repeat: None,
        };
        let signature = statement.sign(&self.key).to_base64url();
        Some(serde_json::json!({
            "key_id": self.key.verifying_key().key_id(),
            "signature": signature,
            "statement": {
                "action": statement.action.to_hex(), "answer": reply.as_str(), "expires": expires,
                "log": statement.log, "of": statement.of.to_hex(),
                "policy_set": statement.policy_set.to_hex(), "requester": statement.requester,
            },
        }))
    }

    fn tell(&self, session: &str, log: &str, say: Say<'_>) -> Value {
        let tell = match say {
            Say::Request(text) => Tell::Request(text.to_owned()),
            Say::Give(name, value) => Tell::Give { name: name.to_owned(), value: value.to_owned() },
        };
        let mut salt = [0; 16];
        // Without one the statement would still be signed; it is only easier to guess.
        let _ = SystemRandom.fill(&mut salt);
        let told =
            Told { tell, session: session.to_owned(), log: log.to_owned(), salt: Salt(salt) };
        let json: Json = told.sign(&self.key).to_json();
        serde_json::from_str(&json.to_canonical()).unwrap_or_default()
    }
}
