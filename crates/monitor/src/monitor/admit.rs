//! From a request to a verdict's receipt.
//!
//! The adversary is an action that is judged by one set of rules and recorded under another, or that
//! runs before its receipt is durable. Rules and standing are held from the judgement to the receipt's
//! place in the log, and an answer leaves after the commit.

use std::sync::{Arc, PoisonError};

use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{DecisionRef, Door, Enforcement, Kind};
use tipstaff_core::{Action, Digest, Labels, Millis, Tier, Verdict};
use tipstaff_identity::{Approvers, Principals};
use tipstaff_ledger::{Draft, LedgerError};

use super::deferrals::{Earlier, Suspends};
use super::recorded::{
    brought, deferred, obligations, resolved, rests_on, rests_on_one_of, shown, waiting,
};
use super::refusal::Words;
use super::{Member, Monitor, Trust, capabilities, lock};
use crate::deferral::Links;
use crate::fold::fold_action;
use crate::judge::{Answered, Authority, Barred, ENGINE, Facts, Kept, judge, kind_here, offer};
use crate::kept::kept_inputs;
use crate::permit::{Permit, Refusal, Settlement, Sink};
use crate::policies::Rules;
use crate::proof::proved_by;
use crate::queue::{Awaits, Hold, HoldState, Missing};
use crate::repeat::REASON;
use crate::resolve::resolve;
use crate::sessions::{NO_MEMBER, OpenVerdict};
use crate::standing::Standing;
use crate::tails::News;

/// What the monitor answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It may run now.
    Granted(Granted),
    /// It waits, for a person or for context.
    Held(Held),
    /// It may not run.
    Refused(Refusal),
}

/// A verdict that permits, as it leaves the monitor.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) receipt: Digest,
    pub(crate) salt: Salt,
    pub(crate) verdict: Verdict,
    pub(crate) rule: Option<String>,
    /// What is executed instead of what was asked.
    pub(crate) executed: Option<Action>,
}

/// A call that waits for a person's answer, or for context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Hash of the receipt that holds it. A person names it by the first digits.
    pub receipt: Digest,
    /// When it is refused if nothing came of it.
    pub expires: Millis,
    /// The policy that wants a person asked, or more known.
    pub rule: Option<String>,
    /// STEP_UP or DEFER.
    pub verdict: Verdict,
    /// What to tell the agent.
    pub text: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) action: Action,
    /// The caller's own name of it.
    pub(crate) ticket: Option<Digest>,
    /// Receipts of the calls that it depends on.
    pub(crate) depends_on: Vec<Digest>,
}

/// The call that waited and that a judgement follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) hold: Digest,
    pub(crate) approval: Option<Digest>,
    pub(crate) why: Why,
}

/// Why what waited is judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The question is answered, or is no longer one.
    Answered(Answered),
    /// What it was deferred for may be known by now.
    Known(Runs),
}

/// Whether somebody is there to carry a deferred call out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Now,
    /// Not before it is repeated: what would permit it is not recorded yet.
    Later,
}

/// What is in force at one position of the log.
pub(super) struct Law<'a> {
    pub(super) rules: &'a Rules,
    pub(super) standing: &'a Standing,
    pub(super) principals: &'a Principals,
    pub(super) approvers: &'a Approvers,
}

impl Asked {
    /// A request without a name of its own.
    pub(crate) const fn of(action: Action) -> Self {
        Self { action, ticket: None, depends_on: Vec::new() }
    }
}

impl After {
    pub(super) fn answered(self) -> Option<Answered> {
        match self.why {
            Why::Answered(answered) => Some(answered),
            Why::Known(_) => None,
        }
    }

    /// Whether nothing is to be judged any more: it only ends.
    pub(super) fn ends_deferral(self) -> bool {
        self.answered().is_some_and(Answered::ends_deferral)
    }

    /// Whether it follows a deferral.
    fn is_resolution(self) -> bool {
        self.ends_deferral() || matches!(self.why, Why::Known(_))
    }
}

impl Monitor {
    /// Judges and records one action. The permit is there once its receipt is durable. What is held for
    /// a person, or deferred, is refused for now: when it may run, the same call runs if it is asked again.
    ///
    /// # Errors
    /// [`Refusal`], with its receipt where one could be written.
    pub fn admit(
        self: &Arc<Self>,
        member: &Arc<Member>,
        action: Action,
    ) -> Result<Permit, Refusal> {
        self.admit_depending(member, action, &[])
    }

    /// Like [`Monitor::admit`], for an action that depends on others, which are named by their receipts.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit_depending(
        self: &Arc<Self>,
        member: &Arc<Member>,
        action: Action,
        depends_on: &[Digest],
    ) -> Result<Permit, Refusal> {
        let asked = action.clone();
        let depends_on = depends_on.to_vec();
        let answer =
            self.admit_batch(member, vec![Asked { depends_on, ..Asked::of(action) }]).pop();
        let granted = match answer {
            Some(Answer::Granted(granted)) => granted,
            Some(Answer::Held(held)) => return Err(held.into()),
            Some(Answer::Refused(refusal)) => return Err(refusal),
            None => return Err(Refusal::unrecorded("nothing was asked")),
        };
        let sink = LocalSink { monitor: Arc::clone(self), member: Arc::clone(member) };
        let Granted { receipt, salt, verdict, rule, executed } = granted;
        let action = executed.unwrap_or(asked);
        Ok(Permit::issue(action, verdict, rule, (receipt, salt), Arc::new(sink)))
    }

    /// Judges and records several actions of one door with one commit.
    pub(crate) fn admit_batch(&self, member: &Arc<Member>, asked: Vec<Asked>) -> Vec<Answer> {
        let asked = asked.iter().map(|asked| (asked, None)).collect();
        let answers = self.answer_batch(member, asked);
        self.review_if_due(&member.session);
        answers
    }

    /// Judges and records what follows a person's answer, or its absence, or new context.
    pub(super) fn admit_after(&self, member: &Arc<Member>, asked: &Asked, after: After) -> Answer {
        let answer = self.answer_batch(member, vec![(asked, Some(after))]).pop();
        answer.unwrap_or_else(|| Answer::Refused(Refusal::unrecorded("nothing was asked")))
    }

    fn answer_batch(
        &self,
        member: &Arc<Member>,
        asked: Vec<(&Asked, Option<After>)>,
    ) -> Vec<Answer> {
        // INVARIANT: rules and standing are not replaced between a judgement and its receipt's place in
        // the log, so that what was in force at a position is what the receipts before it say (law 7).
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let principals = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let law = Law {
            rules: &rules,
            standing: &standing,
            principals: &principals,
            approvers: &approvers,
        };
        let mut last = None;
        let mut answers: Vec<Answer> = asked
            .into_iter()
            .map(|(asked, after)| match self.append_verdict(&law, member, asked, after) {
                Ok((index, answer)) => {
                    last = last.max(Some(index));
                    answer
                }
                Err(error) => Answer::Refused(Refusal::unrecorded(&error.to_string())),
            })
            .collect();
        drop((principals, standing, rules, approvers));
        if let Some(Err(error)) = last.map(|index| self.ledger.commit(index)) {
            // Nothing of this batch is known to be durable: nothing of it may run.
            for answer in &mut answers {
                *answer = Answer::Refused(Refusal::unrecorded(&error.to_string()));
            }
        }
        answers
    }

    fn append_verdict(
        &self,
        law: &Law<'_>,
        member: &Arc<Member>,
        asked: &Asked,
        mut after: Option<After>,
    ) -> Result<(u64, Answer), LedgerError> {
        let (rules, action) = (law.rules, &asked.action);
        let standing = law.standing.enforcement(member.door, &member.server);
        let watched = standing == Enforcement::Observe;
        let mut salt = [0; 16];
        self.random.fill(&mut salt)?;
        let salt = Salt(salt);
        let measure = self.measure.read().unwrap_or_else(PoisonError::into_inner).clone();
        let distance =
            measure.as_deref().and_then(|measure| self.distance(measure, law, member, action));
        let carries = measure.map_or(Labels::NONE, |measure| measure.carries(action));
        let mut taken = None;
        if after.is_none() {
            match self.earlier(law, member, action) {
                Earlier::Waits(index, held) => return Ok((index, Answer::Held(held))),
                Earlier::Deferred(follows, hold) => (after, taken) = (Some(follows), Some(hold)),
                Earlier::Nothing if watched => {}
                Earlier::Nothing => after = self.approved(law, member, action),
            }
        }
        let ends = after.is_some_and(After::ends_deferral);
        // INVARIANT: the session is locked from reading its context to having the receipt's place, so
        // that the order of the chain is the order in which contexts were read and folded.
        let mut session = lock(&member.session);
        if session.closed {
            return Err(LedgerError::Stopped("the session was closed".to_owned()));
        }
        let mut links = Links::of(action, &asked.depends_on);
        if let Some(Awaits::Context(missing)) = taken.as_deref().map(|hold: &Hold| &hold.awaits) {
            links = Links::of(action, &[asked.depends_on.as_slice(), &missing.depends_on].concat());
        }
        let mut facts = self.facts(law, member, &mut session, action, after);
        // INVARIANT: what was used up is locked from reading it to having the receipt's place.
        let metered = member.brought.as_deref().filter(|brought| brought.is_metered());
        let mut used = metered.map(|_| lock(&self.capabilities));
        if let (Some(used), Authority::Capability(presented)) = (&used, &mut facts.authority)
            && let Kept::Read(_, capability) = &presented.token
        {
            presented.metered = used.metered(capability);
        }
        facts.distance = distance;
        facts.carries = carries;
        facts.words = law.standing.config.in_words(action, &session.requests.words);
        if facts.barred.is_none() {
            let asked = (action, after);
            facts.class = self.class(law, member, &mut session, asked, facts.now);
        }
        if facts.barred.is_none() && after.and_then(After::answered).is_none() {
            facts.barred = session.deferrals.bar(&links);
        }
        facts.depends_on.clone_from(&links.named);
        let mut resolves = |facts: &mut Facts, paths: &[_]| resolve(facts, paths, &member.cwd);
        if after.is_none() && !session.repeats.is_empty() {
            let kind = kind_here(rules, action, &mut facts, &member.cwd, &mut resolves).ok();
            let counts = |by: &str| law.approvers.key(by, facts.now).is_ok();
            let covering = kind
                .and_then(|kind| session.repeats.covering(&kind, &member.cwd, facts.now, counts));
            facts.repeat = covering;
        }
        let context = &session.context;
        // What only ends is not let through by watching, nor what nobody vouches for.
        let observed = watched && !ends && facts.barred != Some(Barred::Unproven);
        let mut judged = judge(rules, action, &mut facts, context, &mut resolves);
        let mut suspended = None;
        if judged.verdict == Verdict::Defer && !observed && after.is_none() {
            match self.suspends(law, &session, (member, action), facts.now) {
                Suspends::Not => {}
                Suspends::Same(index, held) => return Ok((index, Answer::Held(held))),
                Suspends::Until(expires) => suspended = Some(expires),
                Suspends::Crowded(most) => {
                    (facts.barred, facts.deferrals_max) = (Some(Barred::Cascade), Some(most));
                    judged = judge(rules, action, &mut facts, context, &mut resolves);
                }
            }
        }
        if member.trust == Trust::Unproven && judged.tier > Tier::T1 && facts.barred.is_none() {
            // What a policy made of it changes something.
            facts.barred = Some(Barred::Unproven);
            judged = judge(rules, action, &mut facts, context, &mut resolves);
        }
        let obligations = obligations(&judged);
        if observed {
            // It passes as it was asked; the receipt says what would have been.
            judged.modified = None;
        }
        let permits = observed || matches!(judged.verdict, Verdict::Allow | Verdict::Modify);
        let missing = || Missing {
            reason: judged.reason.to_owned(),
            names: judged.missing.clone(),
            after: session.deferrals.after(&links),
            depends_on: links.named.clone(),
        };
        if let Some(After { hold, why: Why::Known(runs), .. }) = after {
            let kept = match (permits, judged.verdict, runs) {
                (true, _, Runs::Later) => Some(HoldState::Ready),
                (false, Verdict::Defer, _) => Some(HoldState::Waiting),
                _ => None,
            };
            if let Some(state) = kept {
                return Ok(self.waits_on(hold, taken, state, missing()));
            }
        }
        let executed = judged.modified.take().map(|(executed, _)| executed);
        let inputs = executed.as_ref().unwrap_or(action).inputs(salt);
        let requested = executed.is_some().then(|| action.inputs(salt));
        let kept = kept_inputs(&facts, &inputs, judged.meaning, requested.as_deref());
        let asks = judged.verdict == Verdict::StepUp && !permits;
        let wait = law.standing.wait_ms().filter(|_| asks);
        let expires = match wait.map(|wait| Millis(facts.now.0.saturating_add(wait))) {
            Some(expires) => {
                let queue = lock(&self.queue);
                // A call that is repeated while it waits is the same held call.
                if let Some(hold) = queue.same(&member.agent, action) {
                    return Ok((hold.index, Answer::Held(hold.into())));
                }
                queue.room(&member.agent).is_ok().then_some(expires)
            }
            None => None,
        };
        let awaits = match suspended {
            Some(_) => Awaits::Context(missing()),
            None => Awaits::Person,
        };
        let kind = (judged.class.as_str(), judged.tier);
        let mut receipt = session.receipt(Kind::Verdict, kind, member.door, facts.now);
        if !ends && facts.barred != Some(Barred::Unproven) {
            receipt.enforcement = standing;
        }
        let enforcement = receipt.enforcement;
        if let (Some(context), Some(distance)) = (&mut receipt.context, &facts.distance) {
            context.distance_ppm = Some(distance.ppm);
            context.distance_method = Some(distance.method.clone());
        }
        receipt.authority = capabilities::shown(member.proven.as_ref(), member.brought.as_deref());
        if let Some(own) = &member.proven {
            proved_by(own.proof, &mut receipt.identity);
        }
        receipt.inputs_digest = Some(Digest::of(inputs.as_bytes()));
        receipt.requested_digest = requested.map(|text| Digest::of(text.as_bytes()));
        receipt.obligations = obligations;
        receipt.continues = after.map(|after| after.hold);
        receipt.approval = match (expires, after) {
            (Some(expires), _) => Some(waiting(expires)),
            (None, Some(After { approval: Some(approval), .. })) => Some(rests_on(approval)),
            (None, _) if judged.reason == REASON => facts.repeat.as_ref().map(rests_on_one_of),
            (None, _) => None,
        };
        receipt.deferral = match (suspended, &awaits, after) {
            (Some(expires), Awaits::Context(missing), _) => Some(deferred(missing, expires)),
            (_, _, Some(after)) if after.is_resolution() => Some(resolved(after.hold)),
            _ => None,
        };
        receipt.decision = Some(DecisionRef {
            catalogue: rules.catalogue_digest,
            engine: ENGINE.to_owned(),
            policy_set: rules.set.digest(),
            reason: judged.reason.to_owned(),
            rule: judged.rule.clone(),
            schema: rules.schema_digest,
            tool_pins: rules.pins_digest,
            verdict: judged.verdict,
        });
        let appended = self.ledger.append(Draft { receipt, inputs: Some(kept) })?;
        let (index, hash) = (appended.index, appended.signed.hash());
        if let (Some(used), Authority::Capability(presented), true) =
            (&mut used, &facts.authority, permits)
            && let Kept::Read(_, capability) = &presented.token
        {
            used.count(capability, executed.as_ref().unwrap_or(action));
        }
        drop(used);
        session.deferral(appended.signed.receipt(), hash);
        session.repeats.fold(&appended.signed, None);
        let news = if expires.is_some() { News::Held } else { News::Any };
        self.tails.tell(news, || shown(&appended.signed, action, expires));
        if let Some(expires) = expires.or(suspended) {
            let offer = offer(rules, action, &judged, &facts, (&session.context, &member.cwd));
            let inputs_digest = appended.signed.receipt().inputs_digest.unwrap_or(hash);
            let hold = Hold {
                receipt: hash,
                index,
                awaits,
                action: action.clone(),
                inputs_digest,
                policy_set: rules.set.digest(),
                agent: member.agent.clone(),
                chain: session.chain.clone(),
                service: session.service.clone(),
                class: judged.class,
                tier: judged.tier,
                rule: judged.rule,
                reason: judged.reason.to_owned(),
                door: member.door,
                user: member.user.clone(),
                since: facts.now,
                expires,
                session: Arc::clone(&member.session),
                client: member.client,
                asker: Some(Arc::clone(member)),
                offer: Some(offer),
                state: HoldState::Waiting,
                waiters: Vec::new(),
            };
            let held = Held::from(&hold);
            lock(&self.queue).insert(hold);
            return Ok((index, Answer::Held(held)));
        }
        if !permits {
            session.pace.refused(action, facts.now);
            let brought = brought(&session.context, &judged);
            drop(session);
            let words = Words { member, action, judged: &judged, rules, after, brought };
            return Ok((index, Answer::Refused(self.refusal(&words, hash))));
        }
        let tool = executed.as_ref().unwrap_or(action).qualified_tool();
        fold_action(&mut session.context, &appended.signed, &tool, judged.meaning);
        let cooperative = matches!(member.door, Door::Api | Door::Hook);
        let open = OpenVerdict {
            class: judged.class,
            tier: judged.tier,
            door: member.door,
            enforcement,
            member: if cooperative { NO_MEMBER } else { member.id },
            salt,
            proof: member.proven.as_ref().map(|own| own.proof),
            ticket: asked.ticket,
        };
        session.open.insert(hash, open);
        let (verdict, rule) = (judged.verdict, judged.rule);
        Ok((index, Answer::Granted(Granted { receipt: hash, salt, verdict, rule, executed })))
    }

    /// The approval of the same call that nobody waited for when it was given. While everything is paused it
    /// is not looked for: it would be used up by a call that doesn't run.
    fn approved(&self, law: &Law<'_>, member: &Member, action: &Action) -> Option<After> {
        if law.standing.paused {
            return None;
        }
        let mut queue = lock(&self.queue);
        let receipt = queue.same(&member.agent, action)?.receipt;
        // INVARIANT: whoever takes it out of the queue runs it, so that one approval runs one call.
        let (hold, approval) = queue.take_approved(receipt)?;
        let answered = hold.still_approved(self.now(), law.rules.set.digest());
        Some(After { hold: receipt, approval: Some(approval), why: Why::Answered(answered) })
    }
}

#[derive(Debug)]
struct LocalSink {
    monitor: Arc<Monitor>,
    member: Arc<Member>,
}

impl Sink for LocalSink {
    fn settle(&self, settlement: Settlement) {
        // A ledger that can't take it has stopped, and recovery will write the same.
        let _ = self.monitor.settle(&self.member, settlement);
    }
}
