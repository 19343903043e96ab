//! How a process proves that it acts for a principal when it joins the monitor.
//!
//! The adversary is a process that saw another's proof and repeats it. A proof is for one process, told from a later
//! one of the same number by when it started, for one server, and for a few minutes; the process at the other end of
//! the socket is the kernel's word.

use std::sync::Arc;

use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::receipt::{Identity, Proof};
use tipstaff_core::{Json, Millis};
use tipstaff_identity::{Name, Process};

use crate::wire::{number, number_of, object, text_of};

/// Distinguishes this signature from every other kind.
const FORM: &str = "tipstaff-join-1";
/// How far a proof's time may be from the monitor's, in milliseconds.
const SKEW: u64 = 5 * 60 * 1000;

/// The key that a process proves itself with.
#[derive(Debug, Clone)]
pub struct ProofKey(Arc<SigningKey>);

/// What a client of the network proved, as the door of this process has checked it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proved {
    /// That it is the home's owner: by the home's token, or by the kernel's word.
    Owner,
    /// That it has the principal's key of this thumbprint: it signs its requests.
    Key(String),
    /// That it has this key, by a certificate: the connection is encrypted to it.
    Certificate(String),
    /// That an issuer whom the operator trusts takes it for this principal.
    Account(Name),
    /// Nothing.
    Nothing,
}

impl Proved {
    /// The words on the wire: how, and who.
    pub(crate) fn words(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Owner => ("owner", None),
            Self::Key(key) => (Proof::Key.as_str(), Some(key)),
            Self::Certificate(key) => (Proof::Mtls.as_str(), Some(key)),
            Self::Account(name) => (Proof::Oauth.as_str(), Some(name.as_str())),
            Self::Nothing => (Proof::None.as_str(), None),
        }
    }

    /// Reads the words.
    pub(crate) fn from_words(how: &str, who: Option<String>) -> Option<Self> {
        Some(match (how, who) {
            ("owner", None) => Self::Owner,
            (how, None) if how == Proof::None.as_str() => Self::Nothing,
            (how, Some(who)) => match Proof::parse(how)? {
                Proof::Key => Self::Key(who),
                Proof::Mtls => Self::Certificate(who),
                Proof::Oauth => Self::Account(Name::parse(&who)?),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// Says at each level how this door's caller proved it: another door of the same session proved it otherwise.
pub(crate) fn proved_by(proof: Proof, identity: &mut Identity) {
    for level in [&mut identity.agent, &mut identity.principal, &mut identity.roles] {
        if !matches!(level.proof, Proof::None | Proof::Local) {
            level.proof = proof;
        }
    }
    (identity.session.proof, identity.service.proof) = match proof {
        // The session is its own by that proof, and which program it is nobody proved.
        Proof::Mtls | Proof::Oauth => (proof, Proof::None),
        _ => (Proof::Local, Proof::Local),
    };
}

/// A proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedJoin {
    server: String,
    at: Millis,
    pid: u32,
    started: u64,
    pub(crate) key_id: String,
    signature: Signature,
}

impl ProofKey {
    /// A key that is here.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(key))
    }

    /// The proof of this process. `None` if the kernel does not say when it started.
    pub(crate) fn prove(&self, server: &str, at: Millis) -> Option<SignedJoin> {
        let Process { pid, started } = Process::of(std::process::id())?;
        let signature = self.0.sign(text(server, at, pid, started).as_bytes());
        let key_id = self.0.verifying_key().key_id();
        Some(SignedJoin { server: server.to_owned(), at, pid, started, key_id, signature })
    }
}

impl PartialEq for ProofKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.verifying_key() == other.0.verifying_key()
    }
}

impl Eq for ProofKey {}

impl SignedJoin {
    /// Whether it proves that process `pid`, as the kernel names it, holds this key now.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn check(&self, key: &VerifyingKey, pid: u32, now: Millis) -> Result<(), String> {
        if self.pid != pid || Process::of(pid).is_none_or(|found| found.started != self.started) {
            return Err("the proof is another process's".to_owned());
        }
        if self.at.0.abs_diff(now.0) > SKEW {
            return Err("the proof is not of now".to_owned());
        }
        let text = text(&self.server, self.at, self.pid, self.started);
        key.verify(text.as_bytes(), &self.signature)
            .map_err(|_| "the proof is not by the key that it names".to_owned())
    }

    /// The server that it is for.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn to_json(&self) -> Json {
        object([
            ("at", number(self.at.0)),
            ("key_id", Json::string(&self.key_id)),
            ("pid", number(u64::from(self.pid))),
            ("server", Json::string(&self.server)),
            ("signature", Json::String(self.signature.to_base64url())),
            ("started", number(self.started)),
        ])
    }

    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            server: text_of(json, "server")?,
            at: Millis(number_of(json, "at")?),
            pid: u32::try_from(number_of(json, "pid")?).ok()?,
            started: number_of(json, "started")?,
            key_id: text_of(json, "key_id")?,
            signature: Signature::from_base64url(&text_of(json, "signature")?).ok()?,
        })
    }
}

/// The RFC 8785 text that is signed.
fn text(server: &str, at: Millis, pid: u32, started: u64) -> String {
    object([
        ("at", number(at.0)),
        ("form", Json::string(FORM)),
        ("pid", number(u64::from(pid))),
        ("server", Json::string(server)),
        ("started", number(started)),
    ])
    .to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_process_one_server_and_now() {
        let key = SigningKey::from_seed(&[1; 32].into()).unwrap();
        let public = key.verifying_key().clone();
        let other = SigningKey::from_seed(&[2; 32].into()).unwrap().verifying_key().clone();
        let (own, now) = (std::process::id(), Millis(1_000_000_000));
        let proof = ProofKey::new(key).prove("notes", now).unwrap();
        assert_eq!(SignedJoin::from_json(&proof.to_json()), Some(proof.clone()));
        assert_eq!(proof.check(&public, own, now), Ok(()));
        assert_eq!(proof.check(&public, own, Millis(now.0 + SKEW)), Ok(()));
        assert!(proof.check(&public, own, Millis(now.0 + SKEW + 1)).is_err());
        assert!(proof.check(&public, 1, now).is_err());
        assert!(proof.check(&other, own, now).is_err());
        for changed in [
            SignedJoin { server: "mail".to_owned(), ..proof.clone() },
            SignedJoin { at: Millis(now.0 + 1), ..proof.clone() },
            SignedJoin { started: proof.started + 1, ..proof.clone() },
            SignedJoin { pid: 1, ..proof },
        ] {
            assert!(changed.check(&public, own, now).is_err());
        }
    }
}
