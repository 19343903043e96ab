//! Finding the calls again that waited when a monitor ended.
//!
//! The adversary is a crash: a call that was held or deferred still is, one that was approved and did not run
//! yet still may, one that ran does not run again, and one that was refused stays refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tipstaff_core::receipt::{Kind, Receipt, Signed};
use tipstaff_core::{Action, Digest, Json, Millis, Verdict};
use tipstaff_ledger::{Kept, SealingKey};

use crate::approval::Reply;
use crate::deferral::is_deferred;
use crate::queue::{Awaits, Hold, HoldState, Missing};
use crate::replay::read_inputs;
use crate::sessions::Session;
use crate::wire::{digests, number_of};

/// The fold of held calls over the receipts of open sessions.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<Digest, Found>);

#[derive(Debug)]
struct Found {
    index: u64,
    receipt: Receipt,
    action: Action,
    user: String,
    expires: Millis,
    answer: Option<(Reply, Digest)>,
    awaits: Awaits,
}

impl Holds {
    /// Folds one receipt in.
    pub(super) fn fold(&mut self, kept: &Kept, sealing: &SealingKey, index: u64, signed: &Signed) {
        let receipt = signed.receipt();
        match receipt.kind {
            Kind::Verdict => {
                if let Some(of) = receipt.continues {
                    self.0.remove(&of);
                }
                if let Some(found) = found(kept, sealing, index, receipt) {
                    self.0.insert(signed.hash(), found);
                }
            }
            Kind::Approval => {
                let answer = receipt.approval.as_ref().and_then(|approval| approval.get("answer"));
                let reply = answer.and_then(|answer| Reply::parse(answer.as_str()?));
                if let (Some(of), Some(reply)) = (receipt.of, reply)
                    && reply != Reply::Withdraw
                    && let Some(found) = self.0.get_mut(&of)
                {
                    found.answer = Some((reply, signed.hash()));
                }
            }
            Kind::Control | Kind::Deferral | Kind::Outcome | Kind::Session | Kind::Void => {}
        }
    }

    /// What waits, and what was refused without a verdict that says so.
    pub(super) fn found(
        self,
        sessions: &HashMap<String, Arc<Mutex<Session>>>,
    ) -> (Vec<Hold>, Vec<(Hold, Digest)>) {
        let (mut waiting, mut refused) = (Vec::new(), Vec::new());
        for (hash, found) in self.0 {
            let Some(session) = sessions.get(&found.receipt.chain) else { continue };
            let answer = found.answer;
            let mut hold = found.hold(hash, Arc::clone(session));
            match answer {
                None => {
                    if hold.is_deferred() {
                        // What it waits for may have become known while no monitor ran.
                        hold.state = HoldState::Ready;
                    }
                    waiting.push(hold);
                }
                Some((Reply::Approve, approval)) => {
                    hold.state = HoldState::Approved(approval);
                    waiting.push(hold);
                }
                Some((Reply::Refuse | Reply::Withdraw, approval)) => refused.push((hold, approval)),
            }
        }
        (waiting, refused)
    }
}

impl Found {
    fn hold(self, hash: Digest, session: Arc<Mutex<Session>>) -> Hold {
        let Self { index, receipt, action, user, expires, awaits, .. } = self;
        let decision = receipt.decision.as_ref();
        Hold {
            receipt: hash,
            index,
            awaits,
            chain: receipt.chain.clone(),
            asker: None,
            action,
            inputs_digest: receipt.inputs_digest.unwrap_or(hash),
            policy_set: decision.map_or(Digest::ZERO, |decision| decision.policy_set),
            agent: receipt.identity.agent.id.clone().unwrap_or_default(),
            service: String::new(),
            class: receipt.action.clone(),
            tier: receipt.tier,
            rule: decision.and_then(|decision| decision.rule.clone()),
            reason: decision.map(|decision| decision.reason.clone()).unwrap_or_default(),
            door: receipt.door,
            user,
            since: receipt.now,
            expires,
            session,
            client: None,
            offer: None,
            state: HoldState::Waiting,
            waiters: Vec::new(),
        }
    }
}

fn found(kept: &Kept, sealing: &SealingKey, index: u64, receipt: &Receipt) -> Option<Found> {
    let (waits, deferred) = match receipt.decision.as_ref()?.verdict {
        Verdict::StepUp => (receipt.approval.as_ref()?, None),
        Verdict::Defer if is_deferred(receipt) => {
            let deferral = receipt.deferral.as_ref()?;
            (deferral, Some(deferral))
        }
        _ => return None,
    };
    let expires = Millis(number_of(waits, "expires")?);
    // Without its arguments nobody can be asked about it: it is asked again when it is repeated.
    let plain = kept.open(sealing, &receipt.chain, index).ok()?;
    let (facts, asked, _) = read_inputs(&plain)?;
    let awaits = match deferred {
        None => Awaits::Person,
        Some(deferral) => Awaits::Context(Missing {
            reason: receipt.decision.as_ref()?.reason.clone(),
            names: names(deferral.get("missing")?)?,
            after: digests(deferral.get("after")?)?,
            depends_on: facts.depends_on,
        }),
    };
    let (receipt, user) = (receipt.clone(), facts.user);
    Some(Found { index, receipt, action: asked, user, expires, answer: None, awaits })
}

fn names(json: &Json) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}
