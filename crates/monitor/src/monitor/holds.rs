//! Holding calls for a person, and what a person's answer leads to (row A4).
//!
//! The adversary has a yes that is not for this call: of another time, for other arguments, given by
//! the requester itself, given twice, or given under rules that have changed since. Each is refused with
//! a receipt. An approved call is judged once more, by the rules of the moment, before it runs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tipstaff_core::action::Salt;
use tipstaff_core::key::Signature;
use tipstaff_core::receipt::{Door, Kind};
use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::{Approvers, Peer};
use tipstaff_ledger::{Draft, LedgerError};

use super::admit::{After, Answer, Asked, Why};
use super::{Member, Monitor, lock, repeats};
use crate::approval::{Reply, Statement};
use crate::error::Rejection;
use crate::judge::Answered;
use crate::permit::Refusal;
use crate::queue::{Awaits, Hold, HoldState, Waiter};
use crate::sessions::{Lasting, Session};

#[cfg(test)]
mod tests;

/// An answer as it came in.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) statement: Statement,
    pub(crate) key_id: String,
    pub(crate) signature: Signature,
    /// The salt of the kind that it covers besides the call.
    pub(crate) salt: Option<Salt>,
    /// The process that brought it, and its user.
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

impl Monitor {
    /// Adds a door that waits for a held call. What was answered meanwhile is answered at once.
    pub(crate) fn wait_for(&self, receipt: Digest, waiter: Waiter) {
        if self.is_paused() && lock(&self.queue).is_approved(receipt) {
            return self.ask_again(receipt, waiter);
        }
        let approved = lock(&self.queue).take_approved(receipt);
        if let Some((hold, approval)) = approved {
            return self.run(&hold, approval, waiter);
        }
        let left_over = lock(&self.queue).wait(receipt, waiter);
        if lock(&self.queue).get_mut(receipt).is_some_and(|hold| hold.state == HoldState::Ready) {
            let session = lock(&self.queue).get_mut(receipt).map(|hold| Arc::clone(&hold.session));
            if let Some(session) = session {
                self.review(&session);
            }
        }
        if let Err(waiter) = left_over {
            let text = "This call was answered meanwhile, or too many wait for it: repeat it.";
            (waiter.then)(Answer::Refused(Refusal::about(receipt, text)));
        }
    }

    /// A door gave a call up: the call stays in the queue, and nothing runs unless it is repeated.
    pub(crate) fn withdraw(&self, member: &Member, number: u64) {
        lock(&self.queue).forget(|w| w.member.id == member.id && w.number == number);
    }

    /// Records a person's answer, and runs or ends what waited for it.
    ///
    /// # Errors
    /// [`Rejection`]; the attempt has a receipt.
    pub(crate) fn answer(&self, said: &Said) -> Result<Digest, Rejection> {
        if said.statement.reply == Reply::Withdraw {
            return self.end_repeat(said);
        }
        let of = said.statement.of;
        // INVARIANT: nobody's key is replaced, and no time passes, between the look at the answer and its receipt's
        // place.
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let accepted = self.accept(said, &approvers, now);
        if let Err(rejection) = accepted {
            drop(approvers);
            self.record_rejection(said, &rejection)?;
            return Err(rejection);
        }
        let recorded = self.record_answer(said, now);
        drop(approvers);
        let paused = self.is_paused();
        let (hold, waiter, others, approval) = {
            let mut queue = lock(&self.queue);
            let Some(hold) = queue.get_mut(of) else { return Err(Rejection::Unknown) };
            let approval = match recorded {
                Ok(approval) => approval,
                Err(error) => {
                    hold.state = HoldState::Waiting;
                    return Err(error.into());
                }
            };
            // The last one that asked is the one that is most likely still there; while everything is
            // paused nobody runs it, and the approval is kept for whoever repeats it in time.
            if said.statement.reply == Reply::Approve && paused {
                hold.state = HoldState::Approved(approval);
                let waiters = std::mem::take(&mut hold.waiters);
                drop(queue);
                for waiter in waiters {
                    self.ask_again(of, waiter);
                }
                return Ok(approval);
            }
            let waiter = match said.statement.reply {
                Reply::Approve => hold.waiters.pop(),
                Reply::Refuse | Reply::Withdraw => None,
            };
            if said.statement.reply == Reply::Approve && waiter.is_none() {
                hold.state = HoldState::Approved(approval);
                return Ok(approval);
            }
            let Some(mut hold) = queue.take(of) else { return Err(Rejection::Unknown) };
            let others = match waiter {
                Some(_) => std::mem::take(&mut hold.waiters),
                None => Vec::new(),
            };
            (hold, waiter, others, approval)
        };
        match waiter {
            Some(waiter) => self.run(&hold, approval, waiter),
            None => {
                let refused = hold.refused();
                self.end(hold, refused, Some(approval));
            }
        }
        for other in others {
            let text = "The same call was asked for again, and ran once, there.";
            (other.then)(Answer::Refused(Refusal::about(of, text)));
        }
        Ok(approval)
    }

    /// Ends what waited too long, or under rules that are no longer in force.
    pub(super) fn end_stale(&self) {
        if lock(&self.queue).is_empty() {
            return;
        }
        let (now, rules) = (self.now(), self.rules());
        let policy_set = rules.set.digest();
        let changed = lock(&self.queue).take_if(|hold| {
            // What waits for context is judged under what is in force then.
            hold.policy_set != policy_set && !hold.is_deferred()
        });
        for hold in changed {
            self.end(hold, Answered::PolicyChanged, None);
        }
        let mut expired = lock(&self.queue).take_if(|hold| hold.expires <= now);
        expired.sort_by_key(|hold| hold.index);
        for hold in expired {
            let expired = hold.expired();
            self.end(hold, expired, None);
        }
    }

    /// Ends what nobody comes back for: the requester's process has ended, or its last door is gone for
    /// longer than `grace`.
    pub(super) fn end_deserted(&self, grace: Duration) {
        let asked: Vec<_> = {
            let queue = lock(&self.queue);
            let session = |hold: &Hold| (hold.receipt, Arc::clone(&hold.session));
            queue.list().into_iter().map(session).collect()
        };
        for (receipt, session) in asked {
            if is_deserted(&lock(&session), grace) {
                let deserted = lock(&self.queue).take_if(|hold| hold.receipt == receipt);
                for hold in deserted {
                    let withdrawn = hold.withdrawn();
                    self.end(hold, withdrawn, None);
                }
            }
        }
    }

    /// Refuses what waited, with a receipt, and tells who waits.
    pub(super) fn end(&self, hold: Hold, answered: Answered, approval: Option<Digest>) {
        let after = After { hold: hold.receipt, approval, why: Why::Answered(answered) };
        let member = Arc::new(Member::absent(&hold));
        let answer = self.admit_after(&member, &Asked::of(hold.action), after);
        for waiter in hold.waiters {
            (waiter.then)(answer.clone());
        }
        self.review_if_due(&member.session);
    }

    /// Runs what was approved, for the door that waits for it.
    fn run(&self, hold: &Hold, approval: Digest, waiter: Waiter) {
        let answered = hold.still_approved(self.now(), self.rules().set.digest());
        let why = Why::Answered(answered);
        let after = After { hold: hold.receipt, approval: Some(approval), why };
        let asked = Asked { ticket: waiter.ticket, ..Asked::of(hold.action.clone()) };
        (waiter.then)(self.admit_after(&waiter.member, &asked, after));
        self.review_if_due(&waiter.member.session);
    }

    /// Tells a door what it would be told if it asked again now.
    fn ask_again(&self, of: Digest, waiter: Waiter) {
        let action = lock(&self.queue).get_mut(of).map(|hold| hold.action.clone());
        let asked = action.map(|action| Asked { ticket: waiter.ticket, ..Asked::of(action) });
        let answer = asked.and_then(|asked| self.admit_batch(&waiter.member, vec![asked]).pop());
        (waiter.then)(match answer {
            Some(Answer::Held(held)) => Answer::Refused(held.into()),
            Some(answer) => answer,
            None => {
                Answer::Refused(Refusal::about(of, "This call was answered meanwhile: repeat it."))
            }
        });
    }

    /// Whether an answer is for a call that waits, by somebody who may give it. From here on nobody
    /// else's is.
    fn accept(&self, said: &Said, approvers: &Approvers, now: Millis) -> Result<(), Rejection> {
        let rules = self.rules();
        let mut queue = lock(&self.queue);
        let hold = queue.get_mut(said.statement.of).ok_or(Rejection::Unknown)?;
        if !matches!(hold.state, HoldState::Waiting | HoldState::Ready) {
            return Err(Rejection::Answered);
        }
        if hold.is_deferred() && said.statement.reply == Reply::Approve {
            return Err(Rejection::Deferred);
        }
        let asked = Statement {
            reply: said.statement.reply,
            action: hold.inputs_digest,
            expires: hold.expires,
            log: self.ledger.identity().origin.clone(),
            of: hold.receipt,
            policy_set: hold.policy_set,
            requester: hold.agent.clone(),
            repeat: said.statement.repeat.clone(),
        };
        if said.statement != asked {
            return Err(Rejection::AnotherCall);
        }
        let known = approvers.key(&said.key_id, now)?;
        let signed = asked.is_signed(known, &said.signature);
        if !signed {
            return Err(Rejection::NotSigned);
        }
        if hold.expires <= now {
            return Err(Rejection::Expired);
        }
        if hold.policy_set != rules.set.digest() && !hold.is_deferred() {
            return Err(Rejection::PolicyChanged);
        }
        if self.is_requesters(hold, said) {
            return Err(Rejection::SelfApproval);
        }
        if let Some(repeat) = &said.statement.repeat {
            repeats::may_cover(hold, repeat, said, now)?;
        }
        hold.state = HoldState::Answering;
        Ok(())
    }

    /// Whether an answer comes from a client that asked, or from what it started. After a restart its
    /// process is not known: then its pseudonym is.
    fn is_requesters(&self, hold: &Hold, said: &Said) -> bool {
        let waiting = hold.waiters.iter().filter_map(|waiter| waiter.member.client);
        let mut clients = hold.client.into_iter().chain(waiting);
        let is_agent = |instance: &String| self.pseudonyms.of("agent", instance) == hold.agent;
        clients.any(|client| client.is_ancestor_of(said.pid))
            || Peer::instances_above(said.pid, said.uid).iter().any(is_agent)
    }

    fn record_answer(&self, said: &Said, now: Millis) -> Result<Digest, LedgerError> {
        let (session, class, tier, agent, kept) = {
            let mut queue = lock(&self.queue);
            let hold = queue.get_mut(said.statement.of);
            let hold = hold.ok_or_else(|| LedgerError::Unknown("the hold is gone".to_owned()))?;
            let kept = repeats::kept(hold, said);
            (Arc::clone(&hold.session), hold.class.clone(), hold.tier, hold.agent.clone(), kept)
        };
        debug_assert_eq!(agent, said.statement.requester, "compared when it was accepted");
        let mut session = lock(&session);
        let kind = (class.as_str(), tier);
        let mut receipt = session.receipt(Kind::Approval, kind, Door::Cli, now);
        receipt.of = Some(said.statement.of);
        receipt.approval = Some(self.approval_of(said, None));
        let appended = self.ledger.append(Draft { receipt, inputs: kept.clone() })?;
        session.repeats.fold(&appended.signed, kept.as_deref());
        drop(session);
        self.ledger.commit(appended.index)?;
        Ok(appended.signed.hash())
    }

    /// The first step of an answer, as a crash after it leaves it.
    #[cfg(test)]
    pub(super) fn record_no(&self, said: &Said) {
        let _ = self.record_answer(said, self.now());
    }

    pub(super) fn record_rejection(
        &self,
        said: &Said,
        rejection: &Rejection,
    ) -> Result<(), LedgerError> {
        let session = self.control_session();
        let kind = ("approval:rejected", tipstaff_core::Tier::T3);
        let mut receipt = session.receipt(Kind::Approval, kind, Door::Cli, self.now());
        receipt.of = Some(said.statement.of);
        receipt.approval = Some(self.approval_of(said, Some(rejection)));
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        self.ledger.commit(appended.index)
    }

    /// What a receipt says of an answer. The words of whoever gave it are bounded and not text.
    pub(super) fn approval_of(&self, said: &Said, rejection: Option<&Rejection>) -> Json {
        let mut members = said.statement.members();
        // A requester that no hold has is anybody's text: the log is public.
        if rejection.is_some() {
            members.retain(|(name, _)| !matches!(name.as_str(), "requester" | "log" | "repeat"));
        }
        let by = self.pseudonyms.of("principal", &said.uid.to_string());
        members.push(("by".to_owned(), Json::String(by)));
        if let Some(rejection) = rejection {
            members.push(("rejected".to_owned(), Json::string(rejection.as_str())));
        } else {
            members.push(("key_id".to_owned(), Json::string(&said.key_id)));
            members.push(("signature".to_owned(), Json::String(said.signature.to_base64url())));
        }
        Json::object(members).unwrap_or(Json::Null)
    }

    /// What waits, oldest first, for the operator's eyes.
    pub(crate) fn waiting(&self) -> Vec<Json> {
        let queue = lock(&self.queue);
        let log = self.ledger.identity().origin.clone();
        queue.list().into_iter().map(|hold| shown(hold, &log)).collect()
    }
}

fn is_deserted(session: &Session, grace: Duration) -> bool {
    session.doors == 0
        && session.alone_since.elapsed() >= grace
        && match session.lasting {
            Lasting::Grace => true,
            // A client that a restart doesn't know may come back until the call's time is over.
            Lasting::Resumed => false,
            Lasting::Client => session.client.is_some_and(|client| !client.lives()),
        }
}

impl Member {
    /// Stands for a door that is gone.
    pub(super) fn absent(hold: &Hold) -> Self {
        Self {
            id: crate::sessions::NO_MEMBER,
            server: hold.action.server().to_owned(),
            door: hold.door,
            cwd: "/".to_owned(),
            agent: hold.agent.clone(),
            user: hold.user.clone(),
            client: hold.client,
            session: Arc::clone(&hold.session),
            listed: std::sync::Mutex::new(None),
            // Where nobody knows it any more, whoever asks again proves it again.
            proven: hold.asker.as_ref().and_then(|asker| asker.proven.clone()),
            brought: hold.asker.as_ref().and_then(|asker| asker.brought.clone()),
            trust: hold.asker.as_ref().map_or(super::Trust::Vouched, |asker| asker.trust),
        }
    }
}

impl Refusal {
    pub(super) fn about(receipt: Digest, text: &str) -> Self {
        Self { verdict: None, receipt: Some(receipt), rule: None, text: text.to_owned() }
    }
}

fn shown(hold: &Hold, log: &str) -> Json {
    use crate::wire::{action_to_json, number, object, text};
    let state = match (&hold.awaits, hold.state) {
        (Awaits::Context(_), HoldState::Ready) => "ready",
        (Awaits::Context(_), _) => "deferred",
        (Awaits::Person, HoldState::Approved(_)) => "approved",
        (Awaits::Person, _) => "waiting",
    };
    let (mut missing, mut after) = (Vec::new(), Vec::new());
    if let Awaits::Context(context) = &hold.awaits {
        missing = context.names.iter().map(|name| Json::string(name)).collect();
        after = context.after.iter().map(|of| Json::String(of.to_hex())).collect();
    }
    let unproven = hold.asker.as_ref().is_some_and(|asker| asker.trust == super::Trust::Unproven);
    let offer = repeats::offered(hold);
    object([
        ("action", action_to_json(&hold.action)),
        ("after", Json::Array(after)),
        ("class", Json::string(&hold.class)),
        ("doors", number(hold.waiters.len() as u64)),
        ("expires", number(hold.expires.0)),
        ("inputs_digest", Json::String(hold.inputs_digest.to_hex())),
        ("log", Json::string(log)),
        ("missing", Json::Array(missing)),
        ("of", Json::String(hold.receipt.to_hex())),
        ("policy_set", Json::String(hold.policy_set.to_hex())),
        ("proof", text(unproven.then_some("none"))),
        ("reason", Json::string(&hold.reason)),
        ("offer", offer),
        ("requester", Json::string(&hold.agent)),
        ("rule", text(hold.rule.as_deref())),
        ("service", Json::string(&hold.service)),
        ("session", Json::string(&hold.chain)),
        ("since", number(hold.since.0)),
        ("state", Json::string(state)),
        ("tier", number(u64::from(hold.tier.number()))),
    ])
}
