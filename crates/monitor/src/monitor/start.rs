//! Starting a monitor on a home, and finding the sessions again that a crash left open.
//!
//! The adversary is a crash between a verdict and its outcome: each such verdict gets the outcome
//! `ambiguous`, since nobody knows, and its session goes on with the context that its receipts give.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use tipstaff_classify::Catalogue;
use tipstaff_context::Context;
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{Kind, Proof, Signed};
use tipstaff_core::{Digest, Json};
use tipstaff_identity::{HomeKeys, Pseudonyms, SystemRandom};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{Identity, Kept, Ledger, LedgerError, LogReader, SealingKey, State};
use tipstaff_store::{Clock, Disk, NativeDisk, Random, SystemClock};

use super::approvers::approvers;
use super::held::Holds;
use super::principals::principals;
use super::{Monitor, ambiguous, lock};
use crate::config::Config;
use crate::deferral::Deferrals;
use crate::error::MonitorError;
use crate::fold::{REQUEST, fold};
use crate::home::Home;
use crate::pace::Pace;
use crate::pins::Pins;
use crate::policies::{Rules, read_policies};
use crate::repeat::Repeats;
use crate::required::keep;
use crate::resolve::real_path;
use crate::sessions::{CONTROL_CHAIN, Lasting, NO_MEMBER, OpenVerdict, Review, Session};
use crate::standing::{PAUSED, Standing};
use crate::tails::Tails;
use crate::wire::text_of;

impl Monitor {
    /// Opens a home, made on first use, and recovers what a crash left.
    ///
    /// # Errors
    /// [`MonitorError`]; a damaged log stops here.
    pub fn open(home: &Home) -> Result<Arc<Self>, MonitorError> {
        Self::open_on(home, Arc::new(NativeDisk::new(home.root())))
    }

    /// Like [`Monitor::open`], with the log on a disk of the caller's: a simulated one, or one that does
    /// not sync, to measure what syncing costs. Keys, configuration and policies stay in the home.
    ///
    /// # Errors
    /// [`MonitorError`]
    pub fn open_on(home: &Home, disk: Arc<dyn Disk>) -> Result<Arc<Self>, MonitorError> {
        home.create()?;
        let held = home.lock()?;
        let keys = HomeKeys::open(home.root())?;
        let pseudonyms = Pseudonyms::new(keys.pseudonym_key(), keys.origin());
        let public = keys.public();
        let sealing = SealingKey::new(keys.home_key())?;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let identity = Identity {
            origin: keys.origin().to_owned(),
            home_key: SealingKey::new(keys.home_key())?,
            log_key: keys.log,
            receipt_key: keys.receipts,
        };
        let ledger = Ledger::open(Arc::clone(&disk), Arc::clone(&random), identity)?;
        let state = ledger.state();
        let rules = rules_in_force(home, &state)?;
        let (book, principals) = principals(home, &state)?;
        let user_home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
        let monitor = Self {
            standing: RwLock::new(standing(home, &state)?),
            queue: Mutex::default(),
            tails: Tails::default(),
            approvers: RwLock::new(approvers(home, &state)?),
            principals: RwLock::new(principals),
            book: Mutex::new(book),
            orders_since: AtomicU64::new(0),
            capabilities: Mutex::default(),
            home_path: real_path(home.root()).to_string_lossy().into_owned(),
            user_home: real_path(user_home.as_ref()).to_string_lossy().into_owned(),
            home: home.clone(),
            disk: Arc::clone(&disk),
            ledger,
            pseudonyms,
            clock: Arc::new(SystemClock) as Arc<dyn Clock>,
            random,
            rules: RwLock::new(Arc::new(rules)),
            sessions: Mutex::new(HashMap::new()),
            pending: Mutex::default(),
            tried: Mutex::default(),
            measure: RwLock::new(None),
            next_member: AtomicU64::new(0),
            clients: Mutex::default(),
            _lock: held,
        };
        monitor.record_rules(&state)?;
        let verifier = NoteVerifier::new(&public.origin, public.log.clone())
            .map_err(|error| MonitorError::Inconsistent(error.to_string()))?;
        monitor.resume(&disk, &verifier, &sealing, &state)?;
        monitor.ledger.flush()?;
        Ok(Arc::new(monitor))
    }

    /// Checks the part of the log that a start takes on trust: every tile, leaf and signature. A node
    /// whose log is damaged stops.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] with the first fault.
    pub fn scrub(&self) -> Result<(), LedgerError> {
        let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(self.home.root()));
        let identity = self.ledger.identity();
        let key = identity.log_key.verifying_key().clone();
        let damaged = |what: String| LedgerError::Damaged { what, place: "log".to_owned() };
        let verifier =
            NoteVerifier::new(&identity.origin, key).map_err(|e| damaged(e.to_string()))?;
        let check = || {
            let reader = LogReader::open(disk, &verifier)?;
            if let Some(fault) = reader.fsck()?.faults.into_iter().next() {
                return Err(damaged(fault));
            }
            let receipts = identity.receipt_key.verifying_key();
            reader.each_leaf(|index, leaf| {
                let checked = Signed::from_leaf(leaf).and_then(|signed| signed.verify(receipts));
                checked.map_err(|error| damaged(format!("leaf {index}: {error}")))
            })
        };
        check().inspect_err(|error| self.ledger.stop(error))
    }

    /// Finds the sessions again that have no close receipt.
    fn resume(
        &self,
        disk: &Arc<dyn Disk>,
        verifier: &NoteVerifier,
        sealing: &SealingKey,
        state: &State,
    ) -> Result<(), MonitorError> {
        let open = state.chains.iter().filter(|(name, _)| *name != CONTROL_CHAIN);
        let Some(first) = open.map(|(_, chain)| chain.first).min() else { return Ok(()) };
        let reader = LogReader::open(Arc::clone(disk), verifier)?;
        let mut found: HashMap<String, Session> = HashMap::new();
        let mut holds = Holds::default();
        reader.each_leaf_from(first, |index, leaf| {
            let signed = Signed::from_leaf(leaf)?;
            let chain = &signed.receipt().chain;
            if chain == CONTROL_CHAIN || !state.chains.contains_key(chain) {
                return Ok(());
            }
            match found.get_mut(chain) {
                Some(session) => {
                    refold(session, reader.kept(), sealing, index, &signed)?;
                    holds.fold(reader.kept(), sealing, index, &signed);
                }
                None => {
                    let session = reopened(reader.kept(), sealing, index, &signed)?;
                    found.insert(chain.clone(), session);
                }
            }
            Ok(())
        })?;
        let mut by_chain = HashMap::new();
        for (chain, session) in found {
            let agent = session.identity.agent.id.clone().unwrap_or_default();
            let left: Vec<Digest> = session.open.keys().copied().collect();
            let session = Arc::new(Mutex::new(session));
            for of in left {
                self.append_outcome(&session, of, ambiguous())?;
            }
            lock(&self.sessions).insert(agent, Arc::clone(&session));
            by_chain.insert(chain, session);
        }
        let (waiting, refused) = holds.found(&by_chain);
        for hold in waiting {
            lock(&self.queue).insert(hold);
        }
        for (hold, approval) in refused {
            let refused = hold.refused();
            self.end(hold, refused, Some(approval));
        }
        self.review_all();
        Ok(())
    }
}

/// What the operator has set, by the configuration on disk and the log's last word on the switch.
fn standing(home: &Home, state: &State) -> Result<Standing, MonitorError> {
    let switch = state.control.get("switch").map(|digest| home.kept(*digest)).transpose()?;
    let paused = switch.as_deref() == Some(PAUSED);
    Ok(Standing { config: Arc::new(home.config()?), paused })
}

/// The policies on disk, or the last ones in force if those are refused.
fn rules_in_force(home: &Home, state: &State) -> Result<Rules, MonitorError> {
    let catalogue = Arc::new(Catalogue::builtin().clone());
    let pins = match state.control.get("tool-pins") {
        Some(digest) => Pins::from_canonical(&home.kept(*digest)?)
            .ok_or_else(|| MonitorError::Inconsistent("the tool pins are unreadable".to_owned()))?,
        None => Pins::default(),
    };
    let source = read_policies(&home.policies())?;
    let config = home.config_text()?;
    let (last, required) = (state.control.get("policy-set"), Config::parse(&config)?.policies);
    let same_config = state.control.get("config") == Some(&Digest::of(config.as_bytes()));
    let admitted = |source: &tipstaff_policy::PolicySource| {
        let rules = Rules::admit(source, &pins, &catalogue).map_err(MonitorError::Policies)?;
        // What was in force under this configuration was proved before it was.
        if !(same_config && last == Some(&rules.set.digest())) {
            keep(home, &rules, &required)?;
        }
        Ok(rules)
    };
    admitted(&source).or_else(|error| {
        let (MonitorError::Policies(_), Some(digest)) = (&error, last) else { return Err(error) };
        let source = tipstaff_policy::PolicySource::from_canonical(&home.kept(*digest)?)
            .map_err(|error| MonitorError::Inconsistent(error.to_string()))?;
        admitted(&source)
    })
}

fn reopened(
    kept: &Kept,
    sealing: &SealingKey,
    index: u64,
    signed: &Signed,
) -> Result<Session, LedgerError> {
    let receipt = signed.receipt();
    // Without its nonce a context can't be folded on; an unguessable one is what matters.
    let nonce = kept
        .open(sealing, &receipt.chain, index)
        .ok()
        .and_then(|plain| nonce_of(&plain))
        .unwrap_or_else(|| {
            signed.hash().as_bytes().first_chunk::<16>().copied().unwrap_or_default()
        });
    Ok(Session {
        chain: receipt.chain.clone(),
        actor: receipt.actor.clone(),
        identity: receipt.identity.clone(),
        context: Context::new(nonce),
        doors: 0,
        alone_since: Instant::now(),
        open: HashMap::new(),
        closed: false,
        client: None,
        service: String::new(),
        lasting: Lasting::Resumed,
        repeats: Repeats::default(),
        pace: Pace::default(),
        requests: Arc::default(),
        deferrals: Deferrals::default(),
        review: Review::Idle,
    })
}

fn refold(
    session: &mut Session,
    kept: &Kept,
    sealing: &SealingKey,
    index: u64,
    signed: &Signed,
) -> Result<(), LedgerError> {
    let receipt = signed.receipt();
    // What is gone counts as the worst.
    let plain = kept.open(sealing, &receipt.chain, index).ok();
    let _ = fold(&mut session.context, signed, plain.as_deref());
    session.deferral(receipt, signed.hash());
    session.repeats.fold(signed, plain.as_deref());
    match receipt.kind {
        Kind::Verdict if receipt.permits() => {
            let proof = receipt.identity.agent.proof;
            let open = OpenVerdict {
                proof: (!matches!(proof, Proof::None | Proof::Local)).then_some(proof),
                class: receipt.action.clone(),
                tier: receipt.tier,
                door: receipt.door,
                enforcement: receipt.enforcement,
                member: NO_MEMBER,
                salt: Salt([0; 16]),
                ticket: None,
            };
            session.open.insert(signed.hash(), open);
        }
        Kind::Outcome => {
            if let Some(of) = receipt.of {
                session.open.remove(&of);
            }
        }
        Kind::Session if receipt.action == REQUEST => {
            let json = plain.and_then(|plain| Json::parse(&plain).ok());
            if let Some(text) = json.and_then(|json| text_of(&json, "text")) {
                session.asked(text);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The nonce that an opening receipt's inputs hold.
pub(crate) fn nonce_of(plain: &[u8]) -> Option<[u8; 16]> {
    let json = Json::parse(plain).ok()?;
    let hex = json.get("nonce")?.as_str()?;
    let padded = Digest::from_hex(&format!("{hex:0<64}")).ok()?;
    padded.as_bytes().first_chunk::<16>().copied()
}
