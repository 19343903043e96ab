//! Telling a session something, with a receipt.
//!
//! The adversary is an agent that tells itself what it may do. A signature by a key of the approvers is needed;
//! from a client's own process only the first request counts, before its agent has done anything.

use std::sync::{Arc, Mutex, PoisonError};

use tipstaff_core::receipt::{Door, Kind};
use tipstaff_core::{Digest, Json};
use tipstaff_ledger::{Draft, LedgerError};

use super::{Member, Monitor, lock};
use crate::error::Untold;
use crate::fold::{declassify, fold};
use crate::sessions::Session;
use crate::told::{SignedTold, Tell};
use crate::wire::{number, object};

impl Monitor {
    /// Records what a person tells a session, and folds it in.
    ///
    /// # Errors
    /// [`Untold`]
    pub fn tell(&self, signed: &SignedTold, door: Door) -> Result<Digest, Untold> {
        let session = self.session_of(&signed.told.session).ok_or(Untold::Unknown)?;
        self.tell_session(&session, signed, door)
    }

    /// Records the request that a client was started with, or that its user typed.
    ///
    /// # Errors
    /// [`Untold::Late`] if it is not the first thing that its session hears and comes from a door that an
    /// agent could open.
    pub(crate) fn open_with(&self, member: &Member, signed: &SignedTold) -> Result<Digest, Untold> {
        let Tell::Request(text) = &signed.told.tell else { return Err(Untold::Late) };
        {
            let session = lock(&member.session);
            if session.chain != signed.told.session {
                return Err(Untold::Unknown);
            }
            let first = session.requests.texts.is_empty() && session.context.count() == 0;
            // What it heard before it hears again when its client starts another server.
            let known = session.requests.texts.first() == Some(text);
            if member.door != Door::Hook && !first && !known {
                return Err(Untold::Late);
            }
            if known {
                return Ok(session.context.head());
            }
        }
        self.tell_session(&member.session, signed, member.door)
    }

    fn tell_session(
        &self,
        shared: &Arc<Mutex<Session>>,
        signed: &SignedTold,
        door: Door,
    ) -> Result<Digest, Untold> {
        let told = &signed.told;
        if let Some(fault) = told.tell.fault() {
            return Err(Untold::Malformed(fault));
        }
        // INVARIANT: nobody's key is replaced before the receipt has its place.
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        let is_signed = signed.is_by(&approvers.valid(self.now()));
        if told.log != self.ledger.identity().origin || !is_signed {
            return Err(Untold::NotSigned);
        }
        let mut session = lock(shared);
        if session.closed || session.chain != told.session {
            return Err(Untold::Unknown);
        }
        let (action, tier) = (told.tell.action(), told.tell.tier());
        let mut receipt = session.receipt(Kind::Session, (action, tier), door, self.now());
        receipt.inputs_digest = Some(told.digest());
        receipt.authority = Some(object([
            ("key_id", Json::string(&signed.key_id)),
            ("signature", Json::String(signed.signature.to_base64url())),
        ]));
        if let Tell::Declassify(labels) = &told.tell {
            receipt.obligations = Json::object(vec![declassify(*labels)]);
        }
        let inputs = told.inputs().into_bytes();
        let draft = Draft { receipt, inputs: Some(inputs.clone()) };
        let appended = self.ledger.append(draft)?;
        drop(approvers);
        let _ = fold(&mut session.context, &appended.signed, Some(&inputs));
        if let Tell::Request(text) = &told.tell {
            session.asked(text.clone());
        }
        drop(session);
        self.ledger.commit(appended.index)?;
        self.review(shared);
        Ok(appended.signed.hash())
    }

    /// The session whose chain begins so, if it is the only one.
    fn session_of(&self, chain: &str) -> Option<Arc<Mutex<Session>>> {
        let sessions = lock(&self.sessions);
        sessions.values().find(|session| lock(session).chain == chain).cloned()
    }

    /// All sessions, for the operator's eyes.
    pub(crate) fn sessions_shown(&self) -> Vec<Json> {
        let log = self.ledger.identity().origin.clone();
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let mut shown: Vec<(String, Json)> = sessions
            .iter()
            .map(|session| {
                let session = lock(session);
                (session.chain.clone(), shown(&session, &log))
            })
            .collect();
        shown.sort_by(|(one, _), (other, _)| one.cmp(other));
        shown.into_iter().map(|(_, json)| json).collect()
    }
}

fn shown(session: &Session, log: &str) -> Json {
    let context = &session.context;
    let names = context.labels().iter().map(|label| {
        let of = context.brought(label).map_or(Json::Null, |of| Json::String(of.to_hex()));
        object([("label", Json::string(label.as_str())), ("receipt", of)])
    });
    let given =
        context.attributes().iter().map(|(name, value)| (name.clone(), Json::string(value)));
    let drift = context.drift().map_or(Json::Null, |drift| {
        object([
            ("average_ppm", number(u64::from(drift.average_ppm))),
            ("max_ppm", number(u64::from(drift.max_ppm))),
        ])
    });
    object([
        ("actions", number(context.count())),
        ("context_digest", Json::String(context.digest().to_hex())),
        ("doors", number(session.doors as u64)),
        ("drift", drift),
        ("given", Json::object(given.collect()).unwrap_or(Json::Null)),
        ("labels", Json::Array(names.collect())),
        ("log", Json::string(log)),
        ("proof", Json::string(session.identity.agent.proof.as_str())),
        ("requests", number(session.requests.texts.len() as u64)),
        ("service", Json::string(&session.service)),
        ("session", Json::string(&session.chain)),
    ])
}

impl From<LedgerError> for Untold {
    fn from(error: LedgerError) -> Self {
        Self::Unrecorded(error.to_string())
    }
}
