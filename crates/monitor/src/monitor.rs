//! The reference monitor of one home.
//!
//! The adversary acts without a verdict, or under one that was never recorded. [`Monitor::admit`] is the
//! only way to a [`Permit`], and returns it after the verdict's receipt is durable. Whatever goes wrong
//! on the way is a refusal.

mod control;
pub(crate) use control::log_line;
mod start;
pub(crate) use start::{nonce_of, tool_of};

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tipstaff_context::Context;
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{DecisionRef, Door, Kind, Outcome, Status};
use tipstaff_core::{Action, Digest, Json, Millis, Tier, Verdict, digest};
use tipstaff_identity::{Peer, Pseudonyms};
use tipstaff_ledger::{Draft, Ledger, LedgerError};
use tipstaff_store::{Clock, Random};

use crate::config::{Config, Servers, Settings};
use crate::home::{Home, Lock};
use crate::judge::{ENGINE, Facts, Judged, Listing, judge};
use crate::permit::{Permit, Refusal, Settlement, Sink};
use crate::pins::ServerPins;
use crate::policies::Rules;
use crate::resolve::resolve;
use crate::sessions::{OpenVerdict, Session};

/// The one monitor of a home.
#[derive(Debug)]
pub struct Monitor {
    home: Home,
    config: RwLock<Arc<Config>>,
    ledger: Ledger,
    pseudonyms: Pseudonyms,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    rules: RwLock<Arc<Rules>>,
    /// By the pseudonym of the client instance.
    sessions: Mutex<HashMap<String, Arc<Mutex<Session>>>>,
    /// Lists that differ from the pins, by server, for `tools diff`.
    pending: Mutex<BTreeMap<String, ServerPins>>,
    /// What policies and configuration looked like when they were last tried.
    tried: Mutex<Tried>,
    next_member: AtomicU64,
    home_path: String,
    user_home: String,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Tried {
    policies: Option<Digest>,
    config: Option<Digest>,
}

/// A door of one client, joined to its session.
#[derive(Debug)]
pub struct Member {
    id: u64,
    server: String,
    door: Door,
    cwd: String,
    agent: String,
    user: String,
    session: Arc<Mutex<Session>>,
    listed: Mutex<Option<ServerPins>>,
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

pub(crate) type Answer = Result<Granted, Refusal>;

impl Monitor {
    /// Joins a door to the session of its client. `label` is `TIPSTAFF_SESSION`: it joins processes of
    /// one user that have different parents, never another user's.
    ///
    /// # Errors
    /// [`Refusal`] if the session's opening can't be recorded.
    pub fn join(
        &self,
        peer: &Peer,
        label: Option<&str>,
        server: &str,
        door: Door,
    ) -> Result<Arc<Member>, Refusal> {
        let instance = match label {
            Some(label) => format!("label:{}:{label}", peer.uid),
            None => peer.instance.clone(),
        };
        let agent = self.pseudonyms.of("agent", &instance);
        let peer = Peer { instance, ..peer.clone() };
        let mut sessions = lock(&self.sessions);
        let known = sessions.get(&agent).filter(|session| !lock(session).closed).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let session = Arc::new(Mutex::new(self.open_session(&peer, door)?));
                sessions.insert(agent.clone(), Arc::clone(&session));
                session
            }
        };
        lock(&session).doors += 1;
        Ok(Arc::new(Member {
            id: self.next_member.fetch_add(1, Ordering::Relaxed),
            server: server.to_owned(),
            door,
            cwd: peer.cwd.unwrap_or_else(|| PathBuf::from("/")).to_string_lossy().into_owned(),
            agent,
            user: self.pseudonyms.of("principal", &peer.uid.to_string()),
            session,
            listed: Mutex::new(None),
        }))
    }

    /// Judges and records one action. The permit is there once its receipt is durable.
    ///
    /// # Errors
    /// [`Refusal`], with its receipt where one could be written.
    pub fn admit(
        self: &Arc<Self>,
        member: &Arc<Member>,
        action: Action,
    ) -> Result<Permit, Refusal> {
        let asked = action.clone();
        let answer = self.admit_batch(member, vec![action]).pop();
        let granted = answer.unwrap_or_else(|| Err(Refusal::unrecorded("nothing was asked")))?;
        let sink = LocalSink { monitor: Arc::clone(self), member: Arc::clone(member) };
        let Granted { receipt, salt, verdict, rule, executed } = granted;
        let action = executed.unwrap_or(asked);
        Ok(Permit::issue(action, verdict, rule, (receipt, salt), Arc::new(sink)))
    }

    /// Judges and records several actions of one door with one commit.
    pub(crate) fn admit_batch(&self, member: &Member, actions: Vec<Action>) -> Vec<Answer> {
        // INVARIANT: rules are not replaced between a judgement and its receipt's place in the log, so
        // that what was in force at a position is what the receipts before it say (law 7).
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        let mut answers: Vec<Answer> = actions
            .iter()
            .map(|action| match self.append_verdict(&rules, member, action) {
                Ok((index, answer)) => {
                    last = Some(index);
                    answer
                }
                Err(error) => Err(Refusal::unrecorded(&error.to_string())),
            })
            .collect();
        drop(rules);
        if let Some(Err(error)) = last.map(|index| self.ledger.commit(index)) {
            // Nothing of this batch is known to be durable: nothing of it may run.
            for answer in &mut answers {
                *answer = Err(Refusal::unrecorded(&error.to_string()));
            }
        }
        answers
    }

    /// Records how an effect ended. It may follow the reply: room for it was reserved with the verdict.
    ///
    /// # Errors
    /// [`LedgerError`] if it can't be recorded; the node stops then.
    pub fn settle(&self, member: &Member, settlement: Settlement) -> Result<(), LedgerError> {
        self.append_outcome(&member.session, settlement.of, settlement.outcome)
    }

    /// A door is gone: what it left open is ambiguous, and its session ends with its last door.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn leave(&self, member: &Member) -> Result<(), LedgerError> {
        let left: Vec<Digest> = {
            let mut session = lock(&member.session);
            session.doors = session.doors.saturating_sub(1);
            session.alone_since = Instant::now();
            let open = session.open.iter().filter(|(_, open)| open.member == member.id);
            open.map(|(hash, _)| *hash).collect()
        };
        for of in left {
            self.append_outcome(&member.session, of, ambiguous())?;
        }
        Ok(())
    }

    /// What comes up twice a second: outcomes are synced, changed policies tried, abandoned sessions
    /// closed.
    ///
    /// # Errors
    /// [`LedgerError`] if the node has to stop.
    pub fn tick(&self) -> Result<(), LedgerError> {
        let grace = Duration::from_secs(self.config().session_grace_s);
        unless_full(self.close_abandoned(grace))?;
        self.try_config();
        self.try_policies();
        self.ledger.flush()
    }

    /// Publishes what is durable under a new checkpoint; at most once a second by itself.
    ///
    /// # Errors
    /// [`LedgerError`] if the node has to stop.
    pub fn publish(&self) -> Result<(), LedgerError> {
        unless_full(self.ledger.publish())
    }

    /// Ends in order: sessions are closed, everything is published and synced.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn shut_down(&self) -> Result<(), LedgerError> {
        for session in lock(&self.sessions).values() {
            lock(session).doors = 0;
        }
        unless_full(self.close_abandoned(Duration::ZERO))?;
        self.ledger.flush()?;
        unless_full(self.ledger.rotate())
    }

    /// The log.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What a door needs to know.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let config = self.config();
        Settings {
            receipt_in_meta: config.receipt_in_meta,
            env_allow: config.env_allow.clone(),
            call_timeout: Duration::from_secs(config.call_timeout_s),
            stderr_folder: self.home.stderr(),
        }
    }

    /// How long the monitor outlives its last client.
    #[must_use]
    pub fn idle_exit(&self) -> Duration {
        Duration::from_secs(self.config().idle_exit_s)
    }

    /// The servers of the configuration that is in force.
    #[must_use]
    pub fn servers(&self) -> Servers {
        self.config().servers.clone()
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Millis {
        Millis(self.clock.now_ms())
    }

    fn open_session(&self, peer: &Peer, door: Door) -> Result<Session, Refusal> {
        let unrecorded = |error: LedgerError| Refusal::unrecorded(&error.to_string());
        let (mut nonce, mut id) = ([0; 16], [0; 16]);
        self.random.fill(&mut nonce).map_err(|e| unrecorded(e.into()))?;
        self.random.fill(&mut id).map_err(|e| unrecorded(e.into()))?;
        let chain = format!("s-{}", digest::hex(&id));
        let session = Session {
            actor: self.pseudonyms.actor(&peer.instance),
            identity: self.pseudonyms.identity(peer, &chain),
            chain,
            context: Context::new(nonce),
            doors: 0,
            alone_since: Instant::now(),
            open: HashMap::new(),
            closed: false,
        };
        let receipt = session.receipt(Kind::Session, ("session:open", Tier::T1), door, self.now());
        let inputs = format!("{{\"nonce\":\"{}\"}}", digest::hex(&nonce));
        let draft = Draft { receipt, inputs: Some(inputs.into_bytes()) };
        self.ledger.append(draft).map_err(unrecorded)?;
        Ok(session)
    }

    fn append_verdict(
        &self,
        rules: &Rules,
        member: &Member,
        action: &Action,
    ) -> Result<(u64, Answer), LedgerError> {
        let mut salt = [0; 16];
        self.random.fill(&mut salt)?;
        let salt = Salt(salt);
        let mut facts = self.facts(member, action, rules);
        let judged = judge(rules, action, &mut facts, &mut |facts, paths| {
            resolve(facts, paths, &member.cwd);
        });
        let permits = matches!(judged.verdict, Verdict::Allow | Verdict::Modify);
        let executed = judged.modified.as_ref().map(|(executed, _)| executed);
        let inputs = executed.unwrap_or(action).inputs(salt);
        let requested = executed.is_some().then(|| action.inputs(salt));
        let kept = kept_inputs(&facts, &inputs, requested.as_deref());
        // INVARIANT: the session is locked from reading its context to having the receipt's place, so
        // that the order of the chain is the order in which contexts were read and folded.
        let mut session = lock(&member.session);
        if session.closed {
            return Err(LedgerError::Stopped("the session was closed".to_owned()));
        }
        let kind = (judged.class.as_str(), judged.tier);
        let mut receipt = session.receipt(Kind::Verdict, kind, member.door, facts.now);
        receipt.inputs_digest = Some(Digest::of(inputs.as_bytes()));
        receipt.requested_digest = requested.map(|text| Digest::of(text.as_bytes()));
        receipt.obligations = judged.modified.as_ref().map(|(_, patch)| modify(patch));
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
        let hash = appended.signed.hash();
        if !permits {
            drop(session);
            return Ok((appended.index, Err(self.refusal(member, action, &judged, hash, rules))));
        }
        session.context.fold(&action.qualified_tool(), judged.tier, hash);
        let open = OpenVerdict {
            class: judged.class,
            tier: judged.tier,
            door: member.door,
            member: member.id,
        };
        session.open.insert(hash, open);
        let executed = judged.modified.map(|(executed, _)| executed);
        let (verdict, rule) = (judged.verdict, judged.rule);
        Ok((appended.index, Ok(Granted { receipt: hash, salt, verdict, rule, executed })))
    }

    fn append_outcome(
        &self,
        session: &Mutex<Session>,
        of: Digest,
        outcome: Outcome,
    ) -> Result<(), LedgerError> {
        let mut session = lock(session);
        // Settled already, by recovery or by a door that was given up: the first record stands.
        let Some(open) = session.open.get(&of) else { return Ok(()) };
        let receipt = session.outcome(of, open, outcome, self.now());
        self.ledger.append(Draft { receipt, inputs: None })?;
        session.open.remove(&of);
        Ok(())
    }

    fn close_abandoned(&self, grace: Duration) -> Result<(), LedgerError> {
        let mut sessions = lock(&self.sessions);
        let mut closed = Vec::new();
        for (agent, shared) in sessions.iter() {
            let mut session = lock(shared);
            if session.closed || session.doors > 0 || session.alone_since.elapsed() < grace {
                continue;
            }
            let left: Vec<(Digest, OpenVerdict)> = session.open.drain().collect();
            for (of, open) in left {
                let receipt = session.outcome(of, &open, ambiguous(), self.now());
                self.ledger.append(Draft { receipt, inputs: None })?;
            }
            let kind = ("session:close", Tier::T1);
            let receipt = session.receipt(Kind::Session, kind, Door::Monitor, self.now());
            self.ledger.append(Draft { receipt, inputs: None })?;
            session.closed = true;
            closed.push(agent.clone());
        }
        for agent in closed {
            sessions.remove(&agent);
        }
        Ok(())
    }

    fn facts(&self, member: &Member, action: &Action, rules: &Rules) -> Facts {
        Facts {
            now: self.now(),
            agent: member.agent.clone(),
            user: member.user.clone(),
            listing: listing(member, action, rules),
            roots: self.config().roots.clone(),
            home: self.home_path.clone(),
            user_home: self.user_home.clone(),
            resolved: BTreeMap::new(),
            physical: BTreeMap::new(),
        }
    }

    fn refusal(
        &self,
        member: &Member,
        action: &Action,
        judged: &Judged,
        receipt: Digest,
        rules: &Rules,
    ) -> Refusal {
        let why = match (judged.reason, judged.verdict) {
            ("tool_changed" | "tool_unlisted", _) => self.describe_listing(member, action, rules),
            (_, Verdict::StepUp) => {
                "It has to be approved by a person first, and this version can't \
                                     ask one yet, so it was not done."
                    .to_owned()
            }
            (_, Verdict::Defer) => {
                "It needs context that is not known yet, so it was not done.".to_owned()
            }
            ("no_rule", _) => "No policy permits it.".to_owned(),
            (reason, _) => format!("Reason: {reason}."),
        };
        let rule =
            judged.rule.as_ref().map_or_else(String::new, |rule| format!(" by policy `{rule}`"));
        let advice = judged.advice.as_ref().map_or_else(String::new, |advice| format!(" {advice}"));
        Refusal {
            verdict: Some(judged.verdict),
            receipt: Some(receipt),
            rule: judged.rule.clone(),
            text: format!(
                "Tipstaff refused this call ({}{rule}; {}, {}). {why}{advice} Repeating the same call \
                 gives the same answer. Receipt {}.",
                judged.verdict,
                judged.class,
                judged.tier,
                receipt.short()
            ),
        }
    }
}

impl Member {
    /// The upstream that this door leads to.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The chain of its session.
    #[must_use]
    pub fn chain(&self) -> String {
        lock(&self.session).chain.clone()
    }
}

impl Refusal {
    /// What could not be recorded does not happen (law 3).
    pub(crate) fn unrecorded(why: &str) -> Self {
        let text = format!(
            "Tipstaff could not record this call, so it was not done: {why}. The operator has to look."
        );
        Self { verdict: None, receipt: None, rule: None, text }
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
    if action.operation() != "tools/call" {
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

/// What a full disk leaves undone is done at the next tick or start: what matters is durable already.
fn unless_full(done: Result<(), LedgerError>) -> Result<(), LedgerError> {
    match done {
        Err(LedgerError::Full) => Ok(()),
        other => other,
    }
}

fn kept_inputs(facts: &Facts, inputs: &str, requested: Option<&str>) -> Vec<u8> {
    format!(
        "{{\"facts\":{},\"inputs\":{inputs},\"requested\":{}}}",
        facts.to_json().to_canonical(),
        requested.unwrap_or("null")
    )
    .into_bytes()
}

fn modify(patch: &str) -> Json {
    // The patch's own name is the operator's word, so the public log has its digest.
    let digest = Json::String(Digest::of(patch.as_bytes()).to_hex());
    Json::object(vec![("modify".to_owned(), digest)]).unwrap_or(Json::Null)
}

fn ambiguous() -> Outcome {
    Outcome {
        bytes: 0,
        duration_us: 0,
        labels: None,
        result_digest: None,
        status: Status::Ambiguous,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves data that is whole: every change is made by one assignment or fold.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
