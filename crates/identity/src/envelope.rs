//! Messages from one principal to another: signed, for one audience, each counted once (row D11).
//!
//! The adversary carries messages: it reads them, changes them, repeats them, keeps them back, brings them to
//! somebody else or to another home, or writes its own with a key that was lost. What is signed names the sender,
//! the audience, the log, the time and a number that the sender never uses twice; the receiver keeps which numbers it
//! has seen, durably, before anybody gets the message. Nothing here hides what a message says: what carries it has to
//! (mutual TLS between nodes).

mod desk;
mod window;

pub use desk::{DeskError, Inbox, Outbox};
pub use window::{WINDOW, Window};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tipstaff_core::key::{Signature, SigningKey};
use tipstaff_core::{Json, Millis};

use crate::principal::{Name, Principals, Silence, number, object};

/// Distinguishes this signature from every other kind.
const FORM: &str = "tipstaff-envelope-1";
/// Longest body, in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// Longest text of an envelope: the body in base64url, and the rest.
pub const TEXT_MAX: usize = BODY_MAX / 3 * 4 + 1024;
/// How far ahead of the receiver's clock a sender's may be, in milliseconds.
const SKEW: u64 = 60 * 1000;
/// The longest time that a receiver may wait for a message, in milliseconds.
pub const LATE_MAX: u64 = 24 * 60 * 60 * 1000;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who sends it.
    pub from: Name,
    /// Whom it is for.
    pub to: Name,
    /// Origin of the log in which both are known.
    pub log: String,
    /// Never used twice by this sender for this audience.
    pub counter: u64,
    /// When it was sent.
    pub at: Millis,
    /// What it says.
    pub body: Vec<u8>,
}

/// An envelope with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnvelope {
    /// What is signed.
    pub envelope: Envelope,
    /// RFC 7638 thumbprint of the key that signed.
    pub key_id: String,
    /// Over the RFC 8785 text of the envelope.
    pub signature: Signature,
}

/// What a receiver goes by.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Who receives.
    pub name: &'a Name,
    /// Origin of its log.
    pub log: &'a str,
    /// Who is known in that log, as of now.
    pub known: &'a Principals,
    /// How old a message may be, in milliseconds; never more than [`LATE_MAX`].
    pub late: u64,
    /// The time.
    pub now: Millis,
}

/// Why a message is not handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It isn't in the form, or not in its one spelling.
    #[error("it is no envelope: `{0}` is missing, malformed or spelled otherwise")]
    Malformed(&'static str),
    /// It is for somebody else.
    #[error("it is for {0}")]
    Audience(Name),
    /// It is of another home.
    #[error("it is of another log")]
    Log,
    /// Its key speaks for nobody, or not any more.
    #[error("its key doesn't count: {0}")]
    Key(Silence),
    /// Its key is another's than who it says it is from.
    #[error("its key is not the sender's that it names")]
    Sender,
    /// The signature is not of this text and key.
    #[error("it was altered, or is not by the key that it names")]
    Altered,
    /// Sent too long ago.
    #[error("it is too late: it was sent at {0}")]
    Late(Millis),
    /// Sent in the future.
    #[error("it says that it was sent in the future, at {0}")]
    Early(Millis),
    /// It was opened before.
    #[error("it was opened before")]
    Replay,
    /// So many after it were opened that nobody knows whether it was.
    #[error("it is too far behind: {WINDOW} later ones count, and it is before them")]
    Behind,
}

impl Refused {
    /// The word for programs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Audience(_) => "audience",
            Self::Log => "log",
            Self::Key(_) => "key",
            Self::Sender => "sender",
            Self::Altered => "altered",
            Self::Late(_) => "late",
            Self::Early(_) => "early",
            Self::Replay => "replay",
            Self::Behind => "behind",
        }
    }
}

impl Envelope {
    fn members(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("at", number(self.at.0)),
            ("body", Json::String(URL_SAFE_NO_PAD.encode(&self.body))),
            ("counter", number(self.counter)),
            ("form", Json::string(FORM)),
            ("from", Json::string(self.from.as_str())),
            ("log", Json::string(&self.log)),
            ("to", Json::string(self.to.as_str())),
        ]
    }

    /// The RFC 8785 text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        object(self.members()).to_canonical()
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedEnvelope {
        let signature = key.sign(self.text().as_bytes());
        SignedEnvelope { envelope: self, key_id: key.verifying_key().key_id(), signature }
    }
}

impl SignedEnvelope {
    /// The RFC 8785 text that is sent.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut members = self.envelope.members();
        members.push(("key_id", Json::string(&self.key_id)));
        members.push(("signature", Json::String(self.signature.to_base64url())));
        object(members).to_canonical()
    }

    /// Reads it. Nothing of it is checked yet.
    ///
    /// # Errors
    /// [`Refused::Malformed`]; also for a text that is not the one that [`SignedEnvelope::to_canonical`] writes.
    pub fn from_canonical(canonical: &str) -> Result<Self, Refused> {
        if canonical.len() > TEXT_MAX {
            return Err(Refused::Malformed("length"));
        }
        let json = Json::parse(canonical.as_bytes()).map_err(|_| Refused::Malformed("JSON"))?;
        let text = |name: &'static str| {
            json.get(name).and_then(Json::as_str).ok_or(Refused::Malformed(name))
        };
        let whole = |name: &'static str| {
            let value = json.get(name).and_then(Json::as_integer);
            value.and_then(|value| u64::try_from(value).ok()).ok_or(Refused::Malformed(name))
        };
        let name = |name: &'static str| Name::parse(text(name)?).ok_or(Refused::Malformed(name));
        if text("form")? != FORM {
            return Err(Refused::Malformed("form"));
        }
        let body = URL_SAFE_NO_PAD.decode(text("body")?).ok();
        let body = body.filter(|body| body.len() <= BODY_MAX);
        let signature = Signature::from_base64url(text("signature")?);
        let read = Self {
            envelope: Envelope {
                from: name("from")?,
                to: name("to")?,
                log: text("log")?.to_owned(),
                counter: whole("counter")?,
                at: Millis(whole("at")?),
                body: body.ok_or(Refused::Malformed("body"))?,
            },
            key_id: text("key_id")?.to_owned(),
            signature: signature.map_err(|_| Refused::Malformed("signature"))?,
        };
        if read.to_canonical() == canonical {
            Ok(read)
        } else {
            Err(Refused::Malformed("spelling"))
        }
    }

    /// Everything but whether it was opened before: audience, log, key and signature, time.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn check(&self, reader: &Reader<'_>) -> Result<(), Refused> {
        let Envelope { from, to, log, at, .. } = &self.envelope;
        if log != reader.log {
            return Err(Refused::Log);
        }
        if to != reader.name {
            return Err(Refused::Audience(to.clone()));
        }
        // As of now: what was sent before its sender's end is not handed out after it.
        let speaker = reader.known.speaker(&self.key_id, reader.now).map_err(Refused::Key)?;
        if speaker.name != *from {
            return Err(Refused::Sender);
        }
        let key = reader.known.key(&self.key_id).ok_or(Refused::Key(Silence::Unknown))?;
        key.verify(self.envelope.text().as_bytes(), &self.signature)
            .map_err(|_| Refused::Altered)?;
        if at.0 > reader.now.0.saturating_add(SKEW) {
            return Err(Refused::Early(*at));
        }
        if reader.now.0.saturating_sub(at.0) > reader.late.min(LATE_MAX) {
            return Err(Refused::Late(*at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
