//! Capabilities at the doors: taking one when a door joins, saying what it is worth at each action, counting its uses.
//!
//! The adversary brings a token that is somebody else's or was revoked meanwhile, uses one up from several doors at
//! once, or hopes that a restart forgets how often it was used. What is ordered counts at the next action; what is
//! counted is read and written under one lock, and is found again in the receipts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tipstaff_core::receipt::{Kind, Receipt, Signed};
use tipstaff_core::{Action, Digest, Json};
use tipstaff_identity::Principals;
use tipstaff_identity::capability::{
    Capability, Fault, Handle, Meter, Metered, Token, from_text, to_text,
};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LedgerError, LogReader};

use super::principals::Proven;
use super::{Monitor, lock};
use crate::authority::{Authority, Kept, Presented, text};
use crate::replay::read_inputs;

/// Verified tokens that are remembered.
const REMEMBERED_MAX: usize = 4096;
/// What the receipt of an action says whose capability counts something.
const METERED: &str = "\"metered\":true";

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
    used: Option<HashMap<(Digest, Option<String>), i64>>,
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
        let value = |meter: &Meter| {
            let id = capability.ids().get(meter.block).copied().unwrap_or(Digest::ZERO);
            let used = self.used.as_ref();
            used.map_or(i64::MAX, |used| used.get(&(id, meter.at.clone())).copied().unwrap_or(0))
        };
        let meters = capability.meters().iter();
        // More than is exact in a receipt's numbers is more than any budget.
        meters
            .map(|meter| Metered { meter: meter.clone(), value: value(meter).min(i64::MAX >> 11) })
            .collect()
    }

    /// Counts an action that was permitted.
    pub(super) fn count(&mut self, capability: &Capability, action: &Action) {
        let Some(used) = &mut self.used else { return };
        let sums = capability.meters().iter().filter_map(|meter| {
            let at = meter.at.as_ref()?;
            Some((*capability.ids().get(meter.block)?, at.clone()))
        });
        add(used, capability.ids(), sums, action);
    }
}

fn add(
    used: &mut HashMap<(Digest, Option<String>), i64>,
    ids: &[Digest],
    sums: impl Iterator<Item = (Digest, String)>,
    action: &Action,
) {
    let mut more = |key, amount: i64| {
        let sum = used.entry(key).or_insert(0);
        *sum = sum.saturating_add(amount);
    };
    for id in ids {
        more((*id, None), 1);
    }
    for (id, at) in sums {
        let amount = action.parameters().pointer(&at).and_then(Json::as_integer);
        // What is not a number was not permitted by a budget; if it was by observing, nothing is left.
        more((id, Some(at)), amount.filter(|amount| *amount >= 0).unwrap_or(i64::MAX));
    }
}

impl Monitor {
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
    fn used(&self) -> Result<HashMap<(Digest, Option<String>), i64>, LedgerError> {
        self.ledger.flush()?;
        let identity = self.ledger.identity();
        let key = identity.log_key.verifying_key().clone();
        let unknown = |error: String| LedgerError::Unknown(error);
        let verifier = NoteVerifier::new(&identity.origin, key);
        let verifier = verifier.map_err(|error| unknown(error.to_string()))?;
        let reader = LogReader::open(Arc::clone(&self.disk), &verifier)?;
        let mut used = HashMap::new();
        reader.each_leaf(|index, leaf| {
            if !leaf.contains(METERED) {
                return Ok(());
            }
            let signed = Signed::from_leaf(leaf)?;
            let receipt = signed.receipt();
            if receipt.kind == Kind::Verdict && receipt.permits() {
                count_again(&mut used, receipt, || {
                    let kept = reader.kept().open(&identity.home_key, &receipt.chain, index);
                    kept.ok()
                });
            }
            Ok(())
        })?;
        Ok(used)
    }
}

/// Counts what a receipt says was permitted. Of what is no longer kept the sum is the worst that it can be.
fn count_again(
    used: &mut HashMap<(Digest, Option<String>), i64>,
    receipt: &Receipt,
    kept: impl FnOnce() -> Option<Vec<u8>>,
) {
    let named = receipt.authority.as_ref().and_then(|authority| authority.get("capability"));
    let ids = named.and_then(crate::wire::digests).unwrap_or_default();
    let Some((facts, _, executed)) = kept().as_deref().and_then(read_inputs) else {
        for id in ids {
            used.insert((id, None), i64::MAX);
        }
        return;
    };
    let Authority::Capability(presented) = &facts.authority else { return };
    let sums = presented
        .metered
        .iter()
        .filter_map(|metered| Some((*ids.get(metered.meter.block)?, metered.meter.at.clone()?)));
    add(used, &ids, sums, &executed);
}

/// What a verdict's receipt says of whom it rests on.
pub(super) fn shown(proven: Option<&Proven>, brought: Option<&Brought>) -> Option<Json> {
    let mut members = brought.map(Brought::shown).unwrap_or_default();
    if let Some(key_id) = proven.and_then(|proven| proven.key_id.as_deref()) {
        members.push(("holder".to_owned(), Json::string(key_id)));
    }
    if members.is_empty() { None } else { Json::object(members) }
}
