//! Capabilities at the doors: taking one when a door joins, saying what it is worth at each action, counting its uses.
//!
//! The adversary brings a token that is somebody else's or was revoked meanwhile, uses one up from several doors at
//! once, or hopes that a restart forgets how often it was used. What is ordered counts at the next action; what is
//! counted is read and written under one lock, and is found again in the receipts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tipstaff_core::receipt::Signed;
use tipstaff_core::{Action, Digest, Json};
use tipstaff_identity::Principals;
use tipstaff_identity::capability::{
    Capability, Fault, Handle, Metered, Token, from_text, to_text,
};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LedgerError, LogReader};

use super::principals::Proven;
use super::{Monitor, lock};
use crate::authority::{Authority, Kept, Presented, text};
use crate::replay::read_inputs;
use crate::used::{METERED, SPENT, Used};
use crate::wire::{number, object};

/// Verified tokens that are remembered.
const REMEMBERED_MAX: usize = 4096;
/// What a door presented.
#[derive(Debug)]
pub(crate) enum Brought {
    /// It gives nothing.
    Refused(Fault),
    /// It is looked at for each action.
    Held {
        handle: Handle,
        /// Digest of what is kept of it.
        kept: Digest,
        /// What receipts say of it.
        shown: Vec<(String, Json)>,
    },
}

/// Tokens that were verified, and what was used of them.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    verified: HashMap<Digest, Arc<Capability>>,
    /// `None` until the log was read.
    used: Option<Used>,
}

impl Brought {
    /// Whether uses are counted.
    pub(super) fn is_metered(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Held { handle, .. } => !handle.capability().meters().is_empty(),
        }
    }

    /// What a receipt says of it, beside the holder.
    pub(super) fn shown(&self) -> Vec<(String, Json)> {
        match self {
            Self::Refused(fault) => vec![("refused".to_owned(), Json::string(fault.as_str()))],
            Self::Held { shown, .. } => shown.clone(),
        }
    }
}

impl Capabilities {
    /// How far each meter of a capability has come. What is not known counts as used up.
    pub(super) fn metered(&self, capability: &Capability) -> Vec<Metered> {
        let meters = capability.meters().iter();
        let value =
            |meter| self.used.as_ref().map_or(SPENT, |used| used.of(capability.ids(), meter));
        meters.map(|meter| Metered { meter: meter.clone(), value: value(meter) }).collect()
    }

    /// Counts an action that was permitted.
    pub(super) fn count(&mut self, capability: &Capability, action: &Action) {
        if let Some(used) = &mut self.used {
            used.add(capability.ids(), capability.meters().iter(), action);
        }
    }
}

impl Monitor {
    /// The capabilities that doors presented since the start, for the operator's eyes: the ids of their blocks, who
    /// may present them, and what they demand.
    #[must_use]
    pub fn capabilities_shown(&self) -> Json {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let capabilities = lock(&self.capabilities);
        let shown = capabilities.verified.values().map(|capability| {
            let ids = capability.ids().iter().map(|id| Json::String(id.to_hex()));
            let checks = capability.checks().map(|(block, check)| {
                object([("block", number(block as u64)), ("check", Json::String(check))])
            });
            let holder = capability.holder().map(|key| {
                let speaker = known.speaker(&key.key_id(), now);
                speaker.map_or_else(|_| key.to_did_key(), |speaker| speaker.name.to_string())
            });
            object([
                ("checks", Json::Array(checks.collect())),
                ("holder", holder.map_or(Json::Null, Json::String)),
                ("ids", Json::Array(ids.collect())),
            ])
        });
        Json::Array(shown.collect())
    }

    /// Takes what a door presents. One that is refused is remembered as such, so that everything is refused.
    pub(super) fn take(&self, token: &str, proven: Option<&Proven>) -> Brought {
        match self.looked_at(token, proven) {
            Ok(brought) => brought,
            Err(fault) => Brought::Refused(fault),
        }
    }

    fn looked_at(&self, token: &str, proven: Option<&Proven>) -> Result<Brought, Fault> {
        let bytes = from_text(token)?;
        let decoded = Token::decode(&bytes)?;
        // A capability is its key's: an account that an issuer vouches for has none.
        let key_id = proven.and_then(|proven| proven.key_id.as_deref()).ok_or(Fault::NotHolder)?;
        let (capability, root) = {
            let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
            let grant = known.grants().find(decoded.grant())?;
            let root = grant.root.clone();
            let digest = Digest::of(&bytes);
            let remembered = lock(&self.capabilities).verified.get(&digest).cloned();
            let capability = match remembered {
                Some(capability) => capability,
                None => Arc::new(decoded.verify(&root)?),
            };
            if capability.holders().first() != Some(&grant.holder) {
                return Err(Fault::Unknown);
            }
            known.holds(&capability, key_id)?;
            (capability, root)
        };
        let is_metered = !capability.meters().is_empty();
        let kept = self.home.keep(&text(&to_text(&bytes), &root.to_did_key()));
        let kept = kept.map_err(|_| Fault::Lost)?;
        {
            let mut capabilities = lock(&self.capabilities);
            if capabilities.verified.len() >= REMEMBERED_MAX {
                capabilities.verified.clear();
            }
            capabilities.verified.insert(capability.digest(), Arc::clone(&capability));
            if is_metered && capabilities.used.is_none() {
                // Nothing metered was permitted since the start: what counts is in the log.
                capabilities.used = Some(self.used().map_err(|_| Fault::Lost)?);
            }
        }
        let ids = capability.ids().iter().map(|id| Json::String(id.to_hex())).collect();
        let mut shown = vec![("capability".to_owned(), Json::Array(ids))];
        if is_metered {
            shown.push(("metered".to_owned(), Json::from(true)));
        }
        Ok(Brought::Held { handle: Handle::new(capability), kept, shown })
    }

    /// What a door's capability is worth now.
    pub(super) fn worth(&self, brought: &Brought, known: &Principals, session: &str) -> Authority {
        let (handle, kept) = match brought {
            Brought::Refused(fault) => return Authority::Refused(fault.clone()),
            Brought::Held { handle, kept, .. } => (handle, kept),
        };
        let stands = handle.stands(known.head(), |capability| known.stands(capability));
        if let Err(fault) = stands {
            return Authority::Refused(fault);
        }
        Authority::Capability(Presented {
            token: Kept::Read(*kept, Arc::clone(handle.capability())),
            position: self.ledger.position().0,
            session: session.to_owned(),
            metered: Vec::new(),
        })
    }

    /// What was used of metered capabilities, by the receipts.
    fn used(&self) -> Result<Used, LedgerError> {
        self.ledger.flush()?;
        let identity = self.ledger.identity();
        let key = identity.log_key.verifying_key().clone();
        let verifier = NoteVerifier::new(&identity.origin, key);
        let verifier = verifier.map_err(|error| LedgerError::Unknown(error.to_string()))?;
        let reader = LogReader::open(Arc::clone(&self.disk), &verifier)?;
        let mut used = Used::default();
        reader.each_leaf(|index, leaf| {
            // A look at the text is enough for most receipts of most logs.
            if leaf.contains(METERED) {
                let signed = Signed::from_leaf(leaf)?;
                let receipt = signed.receipt();
                let kept = reader.kept().open(&identity.home_key, &receipt.chain, index).ok();
                used.fold(receipt, kept.as_deref().and_then(read_inputs));
            }
            Ok(())
        })?;
        Ok(used)
    }
}

/// What a verdict's receipt says of whom it rests on.
pub(super) fn shown(proven: Option<&Proven>, brought: Option<&Brought>) -> Option<Json> {
    let mut members = brought.map(Brought::shown).unwrap_or_default();
    if let Some(key_id) = proven.and_then(|proven| proven.key_id.as_deref()) {
        members.push(("holder".to_owned(), Json::string(key_id)));
    }
    if members.is_empty() { None } else { Json::object(members) }
}
