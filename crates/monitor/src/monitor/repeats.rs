//! Giving, showing and withdrawing a yes that covers later calls.
//!
//! The adversary signs less than it looks like: bounds that never end, another kind than the call's own, a session that
//! met less than it did. What is signed is compared with the call that waits, member by member.

use std::sync::{Arc, Mutex, PoisonError};

use tipstaff_core::receipt::{Door, Kind};
use tipstaff_core::{Digest, Json, Millis};
use tipstaff_ledger::Draft;

use super::{Monitor, lock};
use crate::approval::Reply;
use crate::error::Rejection;
use crate::monitor::Said;
use crate::queue::Hold;
use crate::repeat::{Known, Repeat, kept_kind, kind_digest};
use crate::sessions::Session;
use crate::wire::{number, object, text};

/// Whether a yes to a call that waits may cover this besides.
pub(super) fn may_cover(
    hold: &Hold,
    repeat: &Repeat,
    said: &Said,
    now: Millis,
) -> Result<(), Rejection> {
    let no = |why: &str| Err(Rejection::NotRepeatable(why.to_owned()));
    if said.statement.reply != Reply::Approve {
        return no("a no covers nothing");
    }
    let Some(offer) = &hold.offer else {
        return no("the call was asked for before the monitor started");
    };
    let kind = offer.kind.as_ref().map_err(|why| Rejection::NotRepeatable(why.clone()))?;
    let asked = Repeat {
        count: repeat.count,
        kind: said.salt.map_or(Digest::ZERO, |salt| kind_digest(kind, salt)),
        labels: offer.labels,
        rule: hold.rule.clone().unwrap_or_default(),
        session: hold.chain.clone(),
        tier: hold.tier,
        until: repeat.until,
    };
    match (*repeat == asked, repeat.is_bounded(now)) {
        (false, _) => no("what was signed is not what it would cover"),
        (true, false) => no("it lasts for 8 hours and 100 calls at most"),
        (true, true) => Ok(()),
    }
}

/// What is kept beside the receipt of an answer.
pub(super) fn kept(hold: &Hold, said: &Said) -> Option<Vec<u8>> {
    said.statement.repeat.as_ref()?;
    let kind = hold.offer.as_ref()?.kind.as_ref().ok()?;
    Some(kept_kind(kind, said.salt?).into_bytes())
}

/// What a yes could cover, for the operator's eyes.
pub(super) fn offered(hold: &Hold) -> Json {
    let Some(offer) = hold.offer.as_ref().filter(|_| !hold.is_deferred()) else {
        return Json::Null;
    };
    let labels = offer.labels.names().iter().map(|label| Json::string(label)).collect();
    object([
        ("again", text(offer.again)),
        ("kind", offer.kind.as_ref().map_or(Json::Null, tipstaff_classify::ActionKind::to_json)),
        ("labels", Json::Array(labels)),
        ("none", text(offer.kind.as_ref().err().map(String::as_str))),
    ])
}

impl Monitor {
    /// Ends what a yes covers, when an approver signs that.
    pub(super) fn end_repeat(&self, said: &Said) -> Result<Digest, Rejection> {
        let ended = self.end_repeat_of(said);
        if let Err(rejection) = &ended {
            self.record_rejection(said, rejection)?;
        }
        ended
    }

    fn end_repeat_of(&self, said: &Said) -> Result<Digest, Rejection> {
        // INVARIANT: nobody's key is replaced between the look at the answer and its receipt's place.
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let sessions: Vec<Arc<Mutex<Session>>> = lock(&self.sessions).values().cloned().collect();
        for session in sessions {
            let mut session = lock(&session);
            let of = said.statement.of;
            let Some(known) = session.repeats.list().iter().find(|known| known.of == of) else {
                continue;
            };
            let asked = known.withdrawal();
            if said.statement != asked {
                return Err(Rejection::AnotherCall);
            }
            let by = approvers.key(&said.key_id, now)?;
            if !asked.is_signed(by, &said.signature) {
                return Err(Rejection::NotSigned);
            }
            let kind = (known.kind.class.clone(), known.repeat.tier);
            let kind = (kind.0.as_str(), kind.1);
            let mut receipt = session.receipt(Kind::Approval, kind, Door::Cli, now);
            receipt.of = Some(of);
            receipt.approval = Some(self.approval_of(said, None));
            let appended = self.ledger.append(Draft { receipt, inputs: None })?;
            session.repeats.fold(&appended.signed, None);
            drop(session);
            self.ledger.commit(appended.index)?;
            return Ok(appended.signed.hash());
        }
        Err(Rejection::Unknown)
    }

    /// What covers later calls now, for the operator's eyes.
    pub(crate) fn repeats_shown(&self) -> Vec<Json> {
        let (now, policy_set) = (self.now(), self.rules().set.digest());
        let sessions: Vec<Arc<Mutex<Session>>> = lock(&self.sessions).values().cloned().collect();
        let mut listed = Vec::new();
        for session in sessions {
            let session = lock(&session);
            let live = session.repeats.list().iter().filter(|known| {
                now < known.repeat.until
                    && known.used < known.repeat.count
                    && known.statement.policy_set == policy_set
            });
            listed.extend(live.map(shown));
        }
        listed
    }
}

fn shown(known: &Known) -> Json {
    let withdrawal = known.withdrawal();
    object([
        ("kind", known.kind.to_json()),
        ("of", Json::String(known.of.to_hex())),
        ("repeat", known.repeat.to_json()),
        ("used", number(known.used)),
        ("withdrawal", Json::object(withdrawal.members()).unwrap_or(Json::Null)),
    ])
}
