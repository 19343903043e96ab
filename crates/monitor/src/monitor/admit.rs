//! From a request to a verdict's receipt.
//!
//! The adversary is an action that is judged by one set of rules and recorded under another, or that
//! runs before its receipt is durable. Rules and standing are held from the judgement to the receipt's
//! place in the log, and an answer leaves after the commit.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tipstaff_classify::Meaning;
use tipstaff_context::{Context, Distance};
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{DecisionRef, Door, Enforcement, Kind, Signed};
use tipstaff_core::{Action, Digest, Json, Label, Labels, Millis, Verdict};
use tipstaff_ledger::{Draft, LedgerError};
use tipstaff_policy::{InWords, Reason};

use super::refusal::Words;
use super::{Measure, Member, Monitor, lock};
use crate::fold::{declassify, fold_action};
use crate::judge::{Answered, Barred, ENGINE, Facts, Judged, Listing, judge, meaning_text, tier};
use crate::pace::Pace;
use crate::permit::{Permit, Refusal, Settlement, Sink};
use crate::policies::Rules;
use crate::queue::{Hold, HoldState};
use crate::resolve::resolve;
use crate::sessions::{NO_MEMBER, OpenVerdict};
use crate::standing::Standing;
use crate::tails::News;

/// What the monitor answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It may run now.
    Granted(Granted),
    /// It waits for a person.
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

/// A call that waits for a person's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Hash of the receipt that holds it. A person names the hold by the first digits.
    pub receipt: Digest,
    /// When it is refused if nobody answers.
    pub expires: Millis,
    /// The policy that wants a person asked.
    pub rule: Option<String>,
    /// What to tell the agent.
    pub text: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) action: Action,
    /// The caller's own name of it.
    pub(crate) ticket: Option<Digest>,
}

/// The question to a person that a judgement follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) hold: Digest,
    pub(crate) approval: Option<Digest>,
    pub(crate) answered: Answered,
}

/// What is in force at one position of the log.
pub(super) struct Law<'a> {
    pub(super) rules: &'a Rules,
    pub(super) standing: &'a Standing,
}

impl Asked {
    /// A request without a name of its own.
    pub(crate) const fn of(action: Action) -> Self {
        Self { action, ticket: None }
    }
}

impl Monitor {
    /// Judges and records one action. The permit is there once its receipt is durable. What is held for
    /// a person is refused for now: when it was approved, the same call runs if it is asked again.
    ///
    /// # Errors
    /// [`Refusal`], with its receipt where one could be written.
    pub fn admit(
        self: &Arc<Self>,
        member: &Arc<Member>,
        action: Action,
    ) -> Result<Permit, Refusal> {
        let asked = action.clone();
        let answer = self.admit_batch(member, vec![Asked::of(action)]).pop();
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
    pub(crate) fn admit_batch(&self, member: &Member, asked: Vec<Asked>) -> Vec<Answer> {
        let asked = asked.iter().map(|asked| (asked, None)).collect();
        self.answer_batch(member, asked)
    }

    /// Judges and records what follows a person's answer, or its absence.
    pub(super) fn admit_after(&self, member: &Member, asked: &Asked, after: After) -> Answer {
        let answer = self.answer_batch(member, vec![(asked, Some(after))]).pop();
        answer.unwrap_or_else(|| Answer::Refused(Refusal::unrecorded("nothing was asked")))
    }

    fn answer_batch(&self, member: &Member, asked: Vec<(&Asked, Option<After>)>) -> Vec<Answer> {
        // INVARIANT: rules and standing are not replaced between a judgement and its receipt's place in
        // the log, so that what was in force at a position is what the receipts before it say (law 7).
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let law = Law { rules: &rules, standing: &standing };
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
        drop((standing, rules));
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
        member: &Member,
        asked: &Asked,
        mut after: Option<After>,
    ) -> Result<(u64, Answer), LedgerError> {
        let (rules, action) = (law.rules, &asked.action);
        let enforcement = law.standing.enforcement(member.door, &member.server);
        let observed = enforcement == Enforcement::Observe;
        if after.is_none() && !observed {
            after = self.approved(law, member, action);
        }
        let mut salt = [0; 16];
        self.random.fill(&mut salt)?;
        let salt = Salt(salt);
        let measure = self.measure.read().unwrap_or_else(PoisonError::into_inner).clone();
        let distance =
            measure.as_deref().and_then(|measure| self.distance(measure, law, member, action));
        let carries = measure.map_or(Labels::NONE, |measure| measure.carries(action));
        // INVARIANT: the session is locked from reading its context to having the receipt's place, so
        // that the order of the chain is the order in which contexts were read and folded.
        let mut session = lock(&member.session);
        if session.closed {
            return Err(LedgerError::Stopped("the session was closed".to_owned()));
        }
        let mut facts = self.facts(law, member, &mut session.pace, action, after);
        facts.distance = distance;
        facts.carries = carries;
        facts.words = law.standing.config.in_words(action, &session.requests.words);
        let context = &session.context;
        let mut judged = judge(rules, action, &mut facts, context, &mut |facts, paths| {
            resolve(facts, paths, &member.cwd);
        });
        let obligations = obligations(&judged);
        if observed {
            // It passes as it was asked; the receipt says what would have been.
            judged.modified = None;
        }
        let permits = observed || matches!(judged.verdict, Verdict::Allow | Verdict::Modify);
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
        let kind = (judged.class.as_str(), judged.tier);
        let mut receipt = session.receipt(Kind::Verdict, kind, member.door, facts.now);
        receipt.enforcement = enforcement;
        if let (Some(context), Some(distance)) = (&mut receipt.context, &facts.distance) {
            context.distance_ppm = Some(distance.ppm);
            context.distance_method = Some(distance.method.clone());
        }
        receipt.inputs_digest = Some(Digest::of(inputs.as_bytes()));
        receipt.requested_digest = requested.map(|text| Digest::of(text.as_bytes()));
        receipt.obligations = obligations;
        receipt.continues = after.map(|after| after.hold);
        receipt.approval = match (expires, after) {
            (Some(expires), _) => Some(waiting(expires)),
            (None, Some(After { approval: Some(approval), .. })) => Some(rests_on(approval)),
            (None, _) => None,
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
        let news = if expires.is_some() { News::Held } else { News::Any };
        self.tails.tell(news, || shown(&appended.signed, action, expires));
        if let Some(expires) = expires {
            let inputs_digest = appended.signed.receipt().inputs_digest.unwrap_or(hash);
            let hold = Hold {
                receipt: hash,
                index,
                action: action.clone(),
                inputs_digest,
                policy_set: rules.set.digest(),
                agent: member.agent.clone(),
                service: session.service.clone(),
                class: judged.class,
                tier: judged.tier,
                rule: judged.rule,
                door: member.door,
                user: member.user.clone(),
                since: facts.now,
                expires,
                session: Arc::clone(&member.session),
                client: member.client,
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
        Some(After { hold: receipt, approval: Some(approval), answered })
    }

    fn facts(
        &self,
        law: &Law<'_>,
        member: &Member,
        pace: &mut Pace,
        action: &Action,
        after: Option<After>,
    ) -> Facts {
        let now = self.now();
        let barred = match law.standing.paused {
            true => Some(Barred::Paused),
            // An approved call was counted when it was asked.
            false if after.is_some() => None,
            false => pace.called(action, now, &law.standing.config.limits),
        };
        Facts {
            now,
            agent: member.agent.clone(),
            user: member.user.clone(),
            listing: listing(member, action, law.rules),
            roots: law.standing.config.roots.clone(),
            home: self.home_path.clone(),
            user_home: self.user_home.clone(),
            resolved: BTreeMap::new(),
            physical: BTreeMap::new(),
            answered: after.map(|after| after.answered),
            barred,
            said: law.standing.config.meaning_of(action),
            words: InWords::default(),
            distance: None,
            carries: Labels::NONE,
            limits: law.standing.config.context.limits(),
        }
    }

    /// How far an action is from what its session was asked for, if somebody wants to know. It may take
    /// long, so nothing is locked meanwhile.
    fn distance(
        &self,
        measure: &dyn Measure,
        law: &Law<'_>,
        member: &Member,
        action: &Action,
    ) -> Option<Distance> {
        let requests = Arc::clone(&lock(&member.session).requests);
        let limits = law.standing.config.context.limits();
        let is_limited = || {
            let tier = tier(law.rules, action, law.standing.config.meaning_of(action));
            limits.drift_ppm.is_some() && tier >= limits.drift_from
        };
        let is_wanted =
            || limits.aligned_ppm.is_some() || law.rules.set.uses_distance() || is_limited();
        if requests.texts.is_empty() || !is_wanted() {
            return None;
        }
        measure.distance(&requests.texts, action)
    }
}

impl From<&Hold> for Held {
    fn from(hold: &Hold) -> Self {
        let name = hold.receipt.short();
        Self {
            receipt: hold.receipt,
            expires: hold.expires,
            rule: hold.rule.clone(),
            text: format!(
                "Tipstaff holds this call ({}, {}) for a person's approval, as {name}, until {}. It was \
                 not done. A person answers with `tipstaff approve {name}` or `tipstaff refuse {name}`; \
                 after that, the same call, repeated unchanged, runs once.",
                hold.class, hold.tier, hold.expires
            ),
        }
    }
}

impl From<Held> for Refusal {
    fn from(held: Held) -> Self {
        Self {
            verdict: Some(Verdict::StepUp),
            receipt: Some(held.receipt),
            rule: held.rule,
            text: held.text,
        }
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

fn listing(member: &Member, action: &Action, rules: &Rules) -> Listing {
    // Those doors have no list: their tools are the client's own, or a program's.
    let listless = matches!(member.door, Door::Api | Door::Hook);
    if listless || action.operation() != "tools/call" {
        return Listing::Accepted;
    }
    let listed = lock(&member.listed);
    let now = listed.as_ref().and_then(|listed| listed.tools.get(action.tool()));
    let pins = rules.pins.servers.get(action.server());
    let pinned = pins.and_then(|pins| pins.tools.get(action.tool()));
    match (now, pinned) {
        (Some(now), Some(pinned)) if now == pinned => Listing::Accepted,
        (Some(_), Some(_)) => {
            let changed = pins.zip(listed.as_ref()).is_some_and(|(pins, listed)| {
                pins.changes(listed).iter().any(|change| change.name == action.tool())
            });
            if changed { Listing::Changed } else { Listing::Accepted }
        }
        _ => Listing::Unlisted,
    }
}

fn kept_inputs(facts: &Facts, inputs: &str, means: Meaning, requested: Option<&str>) -> Vec<u8> {
    format!(
        "{{\"facts\":{},\"inputs\":{inputs},\"means\":{},\"requested\":{}}}",
        facts.to_json().to_canonical(),
        meaning_text(means),
        requested.unwrap_or("null")
    )
    .into_bytes()
}

/// What a verdict obliges to: a changed action, labels that no longer apply.
fn obligations(judged: &Judged) -> Option<Json> {
    let mut members = Vec::new();
    if let Some((_, patch)) = &judged.modified {
        // The patch's own name is the operator's word, so the public log has its digest.
        let digest = Json::String(Digest::of(patch.as_bytes()).to_hex());
        members.push(("modify".to_owned(), digest));
    }
    if !judged.declassify.is_empty() {
        members.push(declassify(judged.declassify));
    }
    if members.is_empty() { None } else { Json::object(members) }
}

/// The earlier actions without which a session's context would not have refused.
fn brought(context: &Context, judged: &Judged) -> Vec<(Label, Digest)> {
    if judged.reason != Reason::Risk.as_str() {
        return Vec::new();
    }
    let labels = context.labels().iter().filter(|label| *label != Label::External);
    labels.filter_map(|label| Some((label, context.brought(label)?))).collect()
}

/// One line for whoever watches. Arguments are not for a screen that others may see.
fn shown(signed: &Signed, action: &Action, expires: Option<Millis>) -> Json {
    use crate::wire::{number, object, text};
    let receipt = signed.receipt();
    let decision = receipt.decision.as_ref();
    object([
        ("class", Json::string(&receipt.action)),
        ("door", Json::string(receipt.door.as_str())),
        ("enforcement", Json::string(receipt.enforcement.as_str())),
        ("held_until", expires.map_or(Json::Null, |expires| number(expires.0))),
        ("now", number(receipt.now.0)),
        ("reason", text(decision.map(|decision| decision.reason.as_str()))),
        ("receipt", Json::String(signed.hash().to_hex())),
        ("rule", text(decision.and_then(|decision| decision.rule.as_deref()))),
        ("session", Json::string(&receipt.session)),
        ("tier", number(u64::from(receipt.tier.number()))),
        ("tool", Json::String(action.qualified_tool())),
        ("verdict", text(decision.map(|decision| decision.verdict.as_str()))),
    ])
}

fn waiting(expires: Millis) -> Json {
    crate::wire::object([
        ("expires", crate::wire::number(expires.0)),
        ("state", Json::string("held")),
    ])
}

fn rests_on(approval: Digest) -> Json {
    crate::wire::object([("receipt", Json::String(approval.to_hex()))])
}
