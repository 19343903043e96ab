//! What a caller may do besides what policies say: the authority that it brings (rows D1, I10; law 6).
//!
//! The adversary is an agent that acts because nothing stops it, or that goes on without a capability which was
//! refused. An agent that proved who it is has a role or a capability, or nothing; an action outside of a capability
//! is refused whatever policies say, and a capability permits nothing that they don't.

use std::collections::HashMap;
use std::sync::Arc;

use tipstaff_core::{Action, Digest, Json, Tier};
use tipstaff_identity::capability::{Asked, Capability, Fault, Meter, Metered, Token};

use crate::judge::Facts;
use crate::kept::Members;
use crate::wire::{digest_of, number_of, object, text_of};

/// The reason of an agent's refusal that has neither a role nor a capability.
pub(crate) const NOTHING: &str = "no_authority";

/// The authority of one call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authority {
    /// What policies say is enough: its caller has a role, or is no agent that proved who it is.
    #[default]
    Policies,
    /// An agent that proved who it is and was given nothing.
    Nothing,
    /// A capability that gives nothing.
    Refused(Fault),
    /// A capability that the action has to be in too.
    Capability(Presented),
}

/// A capability as it stood when an action was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The token.
    pub token: Kept,
    /// The number of leaves in the log.
    pub position: u64,
    /// The chain of the session.
    pub session: String,
    /// What was used up before.
    pub metered: Vec<Metered>,
}

/// A token, by the digest of what is kept of it.
#[derive(Debug, Clone)]
pub enum Kept {
    /// As it was read.
    Read(Digest, Arc<Capability>),
    /// As its digest alone.
    Named(Digest),
}

impl Kept {
    const fn digest(&self) -> Digest {
        match self {
            Self::Read(digest, _) | Self::Named(digest) => *digest,
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Kept {}

/// What is kept of a token for the life of the log: its bytes, and the key that signed its first block.
pub(crate) fn text(token: &str, root: &str) -> String {
    object([("root", Json::string(root)), ("token", Json::string(token))]).to_canonical()
}

impl Authority {
    /// Reads the token again that an authority names, if it names one. `known` are those that were read before.
    pub(crate) fn restore(
        &mut self,
        known: &mut HashMap<Digest, Arc<Capability>>,
        kept: impl FnOnce(Digest) -> Option<String>,
    ) {
        let Self::Capability(presented) = self else { return };
        let Kept::Named(digest) = presented.token else { return };
        let again = || kept(digest).as_deref().and_then(read).map(Arc::new);
        if let Some(capability) = known.get(&digest).cloned().or_else(again) {
            known.insert(digest, Arc::clone(&capability));
            presented.token = Kept::Read(digest, capability);
        }
    }

    /// Why nothing is permitted whatever is asked for.
    pub(crate) const fn bars(&self) -> Option<&'static str> {
        match self {
            Self::Policies | Self::Capability(_) => None,
            Self::Nothing => Some(NOTHING),
            Self::Refused(fault) => Some(fault.as_str()),
        }
    }

    /// Whether what would be executed is in the capability, if there is one.
    pub(crate) fn confines(
        &self,
        (action, tier): (&Action, Tier),
        paths: &[&str],
        facts: &Facts,
    ) -> Result<(), Fault> {
        let Self::Capability(presented) = self else { return Ok(()) };
        let Kept::Read(_, capability) = &presented.token else { return Err(Fault::Lost) };
        let Presented { position, session, metered, .. } = presented;
        let (now, position) = (facts.now, *position);
        capability.permits(&Asked { action, tier, now, position, session, paths, metered })
    }

    pub(crate) fn write(&self, out: &mut String) {
        let mut members = Members::open(out);
        match self {
            Self::Policies => {}
            Self::Nothing => members.text("refused", NOTHING),
            Self::Refused(fault) => members.text("refused", fault.as_str()),
            Self::Capability(presented) => {
                if !presented.metered.is_empty() {
                    let metered = presented.metered.iter().map(|metered| {
                        object([
                            ("at", metered.meter.at.as_deref().map_or(Json::Null, Json::string)),
                            ("block", index(metered.meter.block)),
                            ("value", Json::from(metered.value)),
                        ])
                    });
                    let metered = Json::Array(metered.collect());
                    metered.write_canonical(members.at("metered"));
                }
                members.number("position", presented.position);
                members.text("session", &presented.session);
                members.text("token", &presented.token.digest().to_hex());
            }
        }
        members.close();
    }

    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        if let Some(word) = text_of(json, "refused") {
            let refused = || Fault::parse(&word).map(Self::Refused);
            return if word == NOTHING { Some(Self::Nothing) } else { refused() };
        }
        let metered = json.get("metered").and_then(Json::as_array).unwrap_or_default().iter();
        let metered = metered.map(|json| {
            let at = match json.get("at")? {
                Json::Null => None,
                at => Some(at.as_str()?.to_owned()),
            };
            let block = usize::try_from(number_of(json, "block")?).ok()?;
            let value = json.get("value")?.as_integer()?;
            Some(Metered { meter: Meter { block, at }, value })
        });
        Some(Self::Capability(Presented {
            token: Kept::Named(digest_of(json, "token")?),
            position: number_of(json, "position")?,
            session: text_of(json, "session")?,
            metered: metered.collect::<Option<_>>()?,
        }))
    }
}

/// Reads a text that [`text`] wrote.
fn read(text: &str) -> Option<Capability> {
    let json = Json::parse(text.as_bytes()).ok()?;
    let root = tipstaff_core::key::VerifyingKey::from_did_key(&text_of(&json, "root")?).ok()?;
    let bytes = tipstaff_identity::capability::from_text(&text_of(&json, "token")?).ok()?;
    Token::decode(&bytes).ok()?.verify(&root).ok()
}

fn index(block: usize) -> Json {
    Json::from(i64::try_from(block).unwrap_or(i64::MAX))
}
