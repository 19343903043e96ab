//! The reference monitor of one home.
//!
//! The adversary acts without a verdict, or under one that was never recorded. [`Monitor::admit`] is the
//! only way to a [`crate::Permit`], and returns it after the verdict's receipt is durable. Whatever goes wrong
//! on the way is a refusal.

mod admit;
mod approvers;
pub use admit::Held;
pub(crate) use admit::{Answer, Asked};
pub(crate) use approvers::APPROVERS;
mod brought;
mod capabilities;
mod closing;
mod control;
mod deferrals;
pub use control::Switch;
pub(crate) use control::{Asker, log_line};
mod facts;
mod held;
mod holds;
mod principals;
use capabilities::{Brought, Capabilities};
pub(crate) use holds::Said;
use principals::Proven;
mod recorded;
mod refusal;
mod repeats;
mod shown;
pub use shown::Wanted;
mod start;
mod tell;
pub(crate) use start::nonce_of;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tipstaff_context::{Context, Distance};
use tipstaff_core::receipt::{Door, Kind, Outcome, Status};
use tipstaff_core::{Action, Digest, Labels, Millis, Tier, digest};
use tipstaff_identity::{Approvers, Book, Peer, Principals, Process, Pseudonyms};
use tipstaff_ledger::{Draft, Ledger, LedgerError};
use tipstaff_store::{Clock, Disk, Random};

use crate::config::{Config, OauthConfig, Servers, Setting, Settings};
use crate::deferral::Deferrals;
use crate::fold::fold;
use crate::home::{Home, Lock};
use crate::pace::Pace;
use crate::permit::{Refusal, Settlement};
use crate::pins::ServerPins;
use crate::policies::Rules;
use crate::proof::{Proved, proved_by};
use crate::queue::Queue;
use crate::repeat::Repeats;
use crate::sessions::{Lasting, NO_MEMBER, Review, Session};
use crate::standing::Standing;
use crate::tails::{News, Tails, Watch};

/// The one monitor of a home.
#[derive(Debug)]
pub struct Monitor {
    home: Home,
    disk: Arc<dyn Disk>,
    standing: RwLock<Standing>,
    ledger: Ledger,
    pseudonyms: Pseudonyms,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    rules: RwLock<Arc<Rules>>,
    /// By the pseudonym of the client instance.
    sessions: Mutex<HashMap<String, Arc<Mutex<Session>>>>,
    /// The processes that doors acted for since the start and that still live.
    clients: Mutex<Vec<Process>>,
    /// Calls that wait. Locked after a session where both are.
    queue: Mutex<Queue>,
    pub(crate) tails: Tails,
    /// Public halves of the keys that may approve. Locked before everything else.
    approvers: RwLock<Approvers>,
    /// Who may prove to be whom. Locked after rules and standing.
    principals: RwLock<Principals>,
    /// Their orders. Locked while who is known may change.
    book: Mutex<Book>,
    /// Orders since the log last began a segment because of them.
    orders_since: AtomicU64,
    /// Locked after a session, and before the queue.
    capabilities: Mutex<Capabilities>,
    /// Lists that differ from the pins, by server, for `tools diff`.
    pending: Mutex<BTreeMap<String, ServerPins>>,
    /// What policies and configuration looked like when they were last tried.
    tried: Mutex<Tried>,
    /// What measures distances from a request, if anything does.
    measure: RwLock<Option<Arc<dyn Measure>>>,
    next_member: AtomicU64,
    home_path: String,
    user_home: String,
    _lock: Lock,
}

/// Whose user a caller is that proved nothing: no number of a user of this machine.
const UNPROVEN: &str = "unproven";

#[derive(Debug, Default)]
struct Tried {
    policies: Option<Digest>,
    config: Option<Digest>,
}

/// What measures an action before it is judged: how far it is from what was asked for, and what it carries. It
/// is outside of the judgement: what it says is recorded, so that a replay needs no model.
pub trait Measure: Send + Sync + std::fmt::Debug {
    /// The distance of an action from the nearest of its session's requests. `None` if it can't be told.
    fn distance(&self, requests: &[String], action: &Action) -> Option<Distance>;

    /// What detectors find in the action's arguments: what it would carry to where it leads.
    fn carries(&self, action: &Action) -> Labels;
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
    /// The process that it acts for, where there is one on this machine.
    client: Option<Process>,
    session: Arc<Mutex<Session>>,
    listed: Mutex<Option<ServerPins>>,
    /// Who it proved to be, if it did.
    proven: Option<Proven>,
    /// The capability that it presented, if it did.
    brought: Option<Arc<Brought>>,
    trust: Trust,
}

/// Whether somebody vouches for a door's caller at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Its proof, the home's token, or the kernel.
    Vouched,
    /// Nobody: it may do what changes nothing, if anything.
    Unproven,
}

/// How an action ended that its caller carried out by itself.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) of: Which,
    pub(crate) status: Status,
    pub(crate) result: Option<String>,
    pub(crate) duration_us: u64,
    pub(crate) labels: Labels,
}

/// Which action a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That of this verdict's receipt.
    Receipt(Digest),
    /// That which the caller named so when it asked.
    Ticket(Digest),
}

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
        let peer = Peer { instance, ..peer.clone() };
        self.enter(&peer, (None, None, Trust::Vouched), server, door)
    }

    /// Joins a door of this process for a client of the network, whose proof the door has checked, and with the
    /// capability that it presents.
    ///
    /// # Errors
    /// [`Refusal`] if nobody who may act proved so, or the session can't be opened.
    pub fn join_network(
        &self,
        peer: &Peer,
        (proved, token): (&Proved, Option<&str>),
        server: &str,
        door: Door,
    ) -> Result<Arc<Member>, Refusal> {
        let refused = |why: String| Refusal {
            verdict: None,
            receipt: None,
            rule: None,
            text: format!("Nothing was done: {why}. Stop, and tell the user."),
        };
        self.may_speak(proved).map_err(refused)?;
        match proved {
            Proved::Owner => self.join_as(peer, (None, token), server, door),
            Proved::Nothing => self.enter(peer, (None, token, Trust::Unproven), server, door),
            _ => {
                let proven = self.vouched(proved).map_err(refused)?;
                self.join_as(peer, (Some(proven), token), server, door)
            }
        }
    }

    /// Joins a door that presents a capability, or whose process proved to act for a principal. All doors of one
    /// principal share its session.
    ///
    /// # Errors
    /// [`Refusal`] if the session can't be opened.
    pub(crate) fn join_as(
        &self,
        peer: &Peer,
        (proven, token): (Option<Proven>, Option<&str>),
        server: &str,
        door: Door,
    ) -> Result<Arc<Member>, Refusal> {
        let instance = match &proven {
            Some(proven) => principals::instance(proven.speaker.name.as_str()),
            None => peer.instance.clone(),
        };
        let peer = Peer { instance, ..peer.clone() };
        self.enter(&peer, (proven, token, Trust::Vouched), server, door)
    }

    fn enter(
        &self,
        peer: &Peer,
        (proven, token, trust): (Option<Proven>, Option<&str>, Trust),
        server: &str,
        door: Door,
    ) -> Result<Arc<Member>, Refusal> {
        let brought = token.map(|token| Arc::new(self.take(token, proven.as_ref())));
        let agent = self.pseudonyms.of("agent", &peer.instance);
        self.remember(peer.client);
        let mut sessions = lock(&self.sessions);
        let known = sessions.get(&agent).filter(|session| !lock(session).closed).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let session = Arc::new(Mutex::new(self.open_session(
                    peer,
                    (proven.as_ref(), trust),
                    door,
                )?));
                sessions.insert(agent.clone(), Arc::clone(&session));
                session
            }
        };
        {
            let mut session = lock(&session);
            session.doors += 1;
            session.client = peer.client.or(session.client);
            session.service.clone_from(&peer.service);
            session.lasting = match door {
                Door::Hook => Lasting::Client,
                _ if session.lasting == Lasting::Client => Lasting::Client,
                _ => Lasting::Grace,
            };
        }
        Ok(Arc::new(Member {
            id: self.next_member.fetch_add(1, Ordering::Relaxed),
            server: server.to_owned(),
            door,
            cwd: peer.cwd.as_deref().unwrap_or(Path::new("/")).to_string_lossy().into_owned(),
            agent,
            user: match trust {
                Trust::Vouched => self.pseudonyms.of("principal", &peer.uid.to_string()),
                Trust::Unproven => self.pseudonyms.of("principal", UNPROVEN),
            },
            client: peer.client,
            session,
            listed: Mutex::new(None),
            proven,
            brought,
            trust,
        }))
    }

    /// Records how an effect ended. It may follow the reply: room for it was reserved with the verdict.
    ///
    /// # Errors
    /// [`LedgerError`] if it can't be recorded; the node stops then.
    pub fn settle(&self, member: &Member, settlement: Settlement) -> Result<(), LedgerError> {
        self.append_outcome(&member.session, settlement.of, settlement.outcome)
    }

    /// Records how an action ended that its caller carried out by itself. `None` if it is not open: it
    /// was reported already, or never permitted at such a door.
    ///
    /// # Errors
    /// [`LedgerError`] if it can't be recorded; the node stops then.
    pub(crate) fn report(
        &self,
        member: &Member,
        report: &Report,
    ) -> Result<Option<Digest>, LedgerError> {
        let found = {
            let session = lock(&member.session);
            let mut open = session.open.iter().filter(|(_, open)| open.member == NO_MEMBER);
            let found = open.find(|(hash, open)| match report.of {
                Which::Receipt(receipt) => **hash == receipt,
                Which::Ticket(ticket) => open.ticket == Some(ticket),
            });
            found.map(|(hash, open)| (*hash, open.salt))
        };
        let Some((of, salt)) = found else { return Ok(None) };
        let result = report.result.as_deref().map(str::as_bytes);
        let outcome = Outcome {
            bytes: result.map_or(0, <[u8]>::len) as u64,
            duration_us: report.duration_us,
            labels: named(report.labels),
            result_digest: result.map(|result| Digest::of_parts(&[&salt.0, result])),
            status: report.status,
        };
        self.append_outcome(&member.session, of, outcome)?;
        Ok(Some(of))
    }

    /// What comes up twice a second: outcomes are synced, changed policies tried, abandoned sessions
    /// closed.
    ///
    /// # Errors
    /// [`LedgerError`] if the node has to stop.
    pub fn tick(&self) -> Result<(), LedgerError> {
        let grace = Duration::from_secs(self.config().session_grace_s);
        self.end_stale();
        self.end_deserted(grace);
        unless_full(self.close_abandoned(grace))?;
        self.look_quickly();
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
        self.end_deserted(Duration::ZERO);
        let held = self.sessions_with_holds();
        for session in lock(&self.sessions).values() {
            // What is held for a door that is still there is held by the next monitor too.
            if !held.contains(&Arc::as_ptr(session).cast()) {
                lock(session).doors = 0;
            }
        }
        unless_full(self.close_abandoned(Duration::ZERO))?;
        self.ledger.flush()?;
        unless_full(self.ledger.rotate())
    }

    /// Hears of every call that is held from now on; `None` if too many do already.
    #[must_use]
    pub fn watch(&self) -> Option<Watch> {
        self.tails.watch(News::Held).map(Watch)
    }

    /// Whether the configuration in force stops nothing.
    #[must_use]
    pub fn observes_all(&self) -> bool {
        self.config().observe
    }

    /// Whom to tell of held calls.
    #[must_use]
    pub fn webhook(&self) -> Option<Setting> {
        self.config().approval_webhook.clone()
    }

    /// Measures distances with this from now on.
    pub fn measure_with(&self, measure: Arc<dyn Measure>) {
        *self.measure.write().unwrap_or_else(PoisonError::into_inner) = Some(measure);
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
            server_memory_mib: None,
            stderr_folder: self.home.stderr(),
            session: String::new(),
            log: self.ledger.identity().origin.clone(),
        }
    }

    /// What one door needs to know: the same, and what its class is held to.
    pub(crate) fn settings_for(&self, member: &Member) -> Settings {
        let server_memory_mib = self.limits_of(member).server_memory_mib;
        Settings { server_memory_mib, ..self.settings() }
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

    /// Whose access tokens are taken for which principals, by the configuration in force.
    #[must_use]
    pub fn oauth(&self) -> OauthConfig {
        self.config().oauth.clone()
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.standing.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Millis {
        Millis(self.clock.now_ms())
    }

    fn open_session(
        &self,
        peer: &Peer,
        (proven, trust): (Option<&Proven>, Trust),
        door: Door,
    ) -> Result<Session, Refusal> {
        let unrecorded = |error: LedgerError| Refusal::unrecorded(&error.to_string());
        let (mut nonce, mut id) = ([0; 16], [0; 16]);
        self.random.fill(&mut nonce).map_err(|e| unrecorded(e.into()))?;
        self.random.fill(&mut id).map_err(|e| unrecorded(e.into()))?;
        let chain = format!("s-{}", digest::hex(&id));
        let mut identity = self.pseudonyms.identity(peer, &chain);
        if let Some(proven) = proven {
            principals::levels(&self.pseudonyms, proven, &mut identity);
            proved_by(proven.proof, &mut identity);
        }
        if trust == Trust::Unproven {
            principals::unproven(&mut identity);
        }
        let session = Session {
            actor: self.pseudonyms.actor(&peer.instance),
            identity,
            chain,
            context: Context::new(nonce),
            doors: 0,
            alone_since: Instant::now(),
            open: HashMap::new(),
            closed: false,
            client: peer.client,
            service: peer.service.clone(),
            lasting: Lasting::Grace,
            repeats: Repeats::default(),
            pace: Pace::default(),
            requests: Arc::default(),
            deferrals: Deferrals::default(),
            review: Review::Idle,
        };
        let receipt = session.receipt(Kind::Session, ("session:open", Tier::T1), door, self.now());
        let inputs = format!("{{\"nonce\":\"{}\"}}", digest::hex(&nonce));
        let draft = Draft { receipt, inputs: Some(inputs.into_bytes()) };
        self.ledger.append(draft).map_err(unrecorded)?;
        Ok(session)
    }

    fn append_outcome(
        &self,
        shared: &Arc<Mutex<Session>>,
        of: Digest,
        outcome: Outcome,
    ) -> Result<(), LedgerError> {
        let mut session = lock(shared);
        // Settled already, by recovery or by a door that was given up: the first record stands.
        let Some(open) = session.open.get(&of) else { return Ok(()) };
        let receipt = session.outcome(of, open, outcome, self.now());
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        let _ = fold(&mut session.context, &appended.signed, None);
        session.deferral(appended.signed.receipt(), appended.signed.hash());
        session.open.remove(&of);
        drop(session);
        self.review_if_due(shared);
        Ok(())
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

/// What a full disk leaves undone is done at the next tick or start: what matters is durable already.
fn unless_full(done: Result<(), LedgerError>) -> Result<(), LedgerError> {
    match done {
        Err(LedgerError::Full) => Ok(()),
        other => other,
    }
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

/// The labels of an outcome, as its receipt has them: `null` for none.
pub(crate) fn named(labels: Labels) -> Option<Vec<String>> {
    (!labels.is_empty()).then(|| labels.names())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves data that is whole: every change is made by one assignment or fold.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
