//! Principals in force: taking orders, each with a receipt, and asking whether somebody may act.
//!
//! The adversary is whoever changes unseen who may act, or goes on after their end. An order counts if it is signed
//! by an approver of this home, follows the one before it, and its receipt is durable; from then on the next action
//! is judged by it. An order that doesn't count has a receipt too.

use std::sync::PoisonError;

use tipstaff_core::key::VerifyingKey;
use tipstaff_core::receipt::{Control, Door, Kind, Level, Proof};
use tipstaff_core::{Digest, Json, Millis, Tier};
use tipstaff_identity::{Change, Name, Principals, Pseudonyms, SignedOrder, Silence, Speaker};
use tipstaff_ledger::{Draft, State};

use super::Monitor;
use crate::config::Unproven;
use crate::error::{Disobeyed, MonitorError};
use crate::home::Home;
use crate::proof::{Proved, SignedJoin};
use crate::wire::{number, object};

/// The kind of control state.
const PRINCIPALS: &str = "principals";
/// How far an order's time may be from the monitor's, in milliseconds.
const SKEW: u64 = 10 * 60 * 1000;
/// The same for a member who says that it is there: nobody joins at a time that suits it.
const JOIN_SKEW: u64 = 5 * 1000;

/// Who proved at a door to be a principal.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    /// The key, where there is one.
    pub(crate) key_id: Option<String>,
    pub(crate) speaker: Speaker,
    pub(crate) proof: Proof,
}

impl Proven {
    /// Who it is by now; `Err` with who it was, if it may not act any more.
    pub(super) fn now(&self, known: &Principals, now: Millis) -> Result<Speaker, Speaker> {
        let speaker = match &self.key_id {
            Some(key_id) => known.speaker(key_id, now),
            None => known.speaker_named(&self.speaker.name, now),
        };
        speaker.map_err(|_| self.speaker.clone())
    }
}

impl Monitor {
    /// Takes an operator's order.
    ///
    /// # Errors
    /// [`Disobeyed`]: then nothing changed.
    pub fn order(&self, signed: &SignedOrder) -> Result<Digest, Disobeyed> {
        // INVARIANT: nobody is judged between the change and its durable receipt.
        let mut known = self.principals.write().unwrap_or_else(PoisonError::into_inner);
        let (log, now) = (&self.ledger.identity().origin, self.now());
        let is_join = matches!(signed.order.change, Change::Join { .. });
        let is_signed = match &signed.order.change {
            Change::Join { name, .. } => is_members(&known, signed, name, now),
            _ => signed.is_by(&self.approvers),
        };
        if signed.order.log != *log || !is_signed {
            return self.reject(signed, "not_signed", Disobeyed::NotSigned);
        }
        if signed.order.at.0.abs_diff(now.0) > if is_join { JOIN_SKEW } else { SKEW } {
            return self.reject(signed, "time", Disobeyed::Time);
        }
        let from = known.head();
        let (size, _) = self.ledger.position();
        let to = match known.apply(signed, size) {
            Ok(to) => to,
            Err(fault) => return self.reject(signed, fault.as_str(), Disobeyed::Fault(fault)),
        };
        let recorded = self.record(signed, from, to);
        if recorded.is_err() {
            // It is not in force without its receipt.
            *known = restored(&self.home, from)?;
        }
        drop(known);
        let receipt = recorded?;
        self.review_all();
        Ok(receipt)
    }

    /// Everybody, for the operator's eyes.
    #[must_use]
    pub fn principals_shown(&self) -> Json {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let origin = &self.ledger.identity().origin;
        let shown = known.iter().map(|(name, principal)| {
            let document = known.document(origin, name, self.now()).unwrap_or(Json::Null);
            object([("document", document), ("principal", principal.to_json(name))])
        });
        let groups = known.groups().map(|(name, group)| {
            let standing = group.members().filter_map(|member| {
                let standing = group.standing(member, self.now())?;
                Some(object([
                    ("name", Json::string(member.as_str())),
                    ("standing", Json::string(standing.as_str())),
                ]))
            });
            let standing = Json::Array(standing.collect());
            object([("group", group.to_json(name)), ("members", standing)])
        });
        object([
            ("digest", Json::String(known.digest().to_hex())),
            ("groups", Json::Array(groups.collect())),
            ("grants", known.grants().to_json()),
            ("head", known.head().map_or(Json::Null, |head| Json::String(head.to_hex()))),
            ("known", Json::Array(shown.collect())),
            ("log", Json::string(origin)),
            ("now", number(self.now().0)),
            ("ok", Json::from(true)),
            ("size", number(self.ledger.position().0)),
        ])
    }

    /// Under which name receipts know a principal, `agent://origin/pseudonym`.
    #[must_use]
    pub fn actor(&self, principal: &Name) -> String {
        self.pseudonyms.actor(&instance(principal.as_str()))
    }

    /// Whom a door's proof speaks for.
    ///
    /// # Errors
    /// Why it proves nothing, in words.
    pub(crate) fn prove(&self, join: &SignedJoin, pid: u32) -> Result<Proven, String> {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let speaker = known.speaker(&join.key_id, now).map_err(|silence| silence.to_string())?;
        let key: &VerifyingKey =
            known.key(&join.key_id).ok_or_else(|| Silence::Unknown.to_string())?;
        join.check(key, pid, now)?;
        Ok(Proven { key_id: Some(join.key_id.clone()), speaker, proof: Proof::Key })
    }

    /// Whom a client of the network speaks for, after a door of this process has checked its proof.
    ///
    /// # Errors
    /// Why nobody who may act, in words.
    pub(crate) fn vouched(&self, proved: &Proved) -> Result<Proven, String> {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let (key_id, proof) = match proved {
            Proved::Key(key) => (Some(key), Proof::Key),
            Proved::Certificate(key) => (Some(key), Proof::Mtls),
            Proved::Account(_) => (None, Proof::Oauth),
            Proved::Owner | Proved::Nothing => return Err(Silence::Unknown.to_string()),
        };
        let speaker = match (key_id, proved) {
            (Some(key_id), _) => known.speaker(key_id, self.now()),
            (None, Proved::Account(name)) => known.speaker_named(name, self.now()),
            (None, _) => Err(Silence::Unknown),
        };
        let speaker = speaker.map_err(|silence| match (silence, key_id) {
            (Silence::Unknown, None) => "nobody of this name is enrolled here".to_owned(),
            (silence, _) => silence.to_string(),
        })?;
        Ok(Proven { key_id: key_id.cloned(), speaker, proof })
    }

    /// Whether a client of the network may act now, as whom it proved to be.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_speak(&self, proved: &Proved) -> Result<(), String> {
        match proved {
            Proved::Owner => Ok(()),
            Proved::Nothing => self.lets_unproven_in(),
            _ => self.vouched(proved).map(drop),
        }
    }

    /// The key of this thumbprint, if it is that of a principal who may act now.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn principal_key(&self, key_id: &str) -> Result<VerifyingKey, String> {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        known.speaker(key_id, self.now()).map_err(|silence| silence.to_string())?;
        known.key(key_id).cloned().ok_or_else(|| Silence::Unknown.to_string())
    }

    /// Whether this is, or was, the key of somebody who is enrolled.
    #[must_use]
    pub fn is_enrolled(&self, key_id: &str) -> bool {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        known.key(key_id).is_some()
    }

    /// Whether callers that prove nothing are let in, for what changes nothing.
    fn lets_unproven_in(&self) -> Result<(), String> {
        match self.config().unproven {
            Unproven::Tier1 => Ok(()),
            Unproven::Refuse => Err("callers that prove nothing are not let in".to_owned()),
        }
    }

    fn record(
        &self,
        signed: &SignedOrder,
        from: Option<Digest>,
        to: Digest,
    ) -> Result<Digest, MonitorError> {
        self.home.keep(&signed.to_canonical())?;
        let action = format!("control:{PRINCIPALS}");
        let session = self.control_session();
        let kind = (action.as_str(), Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Cli, self.now());
        receipt.control = Some(Control { from, to, what: PRINCIPALS.to_owned() });
        let mut authority = vec![("key_id".to_owned(), Json::string(&signed.key_id))];
        // Whoever verifies the log without this home has to know which proofs no longer count.
        if let Change::Compromise { key_id, from, .. } = &signed.order.change {
            authority.push(("lost".to_owned(), Json::string(key_id)));
            authority.push(("lost_at".to_owned(), number(*from)));
        }
        receipt.authority = Json::object(authority);
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        self.ledger.commit(appended.index)?;
        Ok(appended.signed.hash())
    }

    /// The receipt of an order that doesn't count.
    fn reject(
        &self,
        signed: &SignedOrder,
        why: &str,
        fault: Disobeyed,
    ) -> Result<Digest, Disobeyed> {
        let session = self.control_session();
        let kind = ("control:order-rejected", Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Cli, self.now());
        receipt.authority = Some(object([
            ("key_id", Json::string(signed.key_id.get(..64).unwrap_or(&signed.key_id))),
            ("order", Json::String(Digest::of(signed.to_canonical().as_bytes()).to_hex())),
            ("rejected", Json::string(why)),
        ]));
        let appended = self.ledger.append(Draft { receipt, inputs: None });
        let appended = appended.map_err(MonitorError::from)?;
        self.ledger.commit(appended.index).map_err(MonitorError::from)?;
        Err(fault)
    }
}

/// Whether an order is signed with a key that a principal may act with now.
fn is_members(known: &Principals, signed: &SignedOrder, name: &Name, now: Millis) -> bool {
    let speaks = known.speaker(&signed.key_id, now).is_ok_and(|speaker| speaker.name == *name);
    let key = known.key(&signed.key_id).filter(|_| speaks);
    key.is_some_and(|key| signed.is_by(std::slice::from_ref(key)))
}

/// The principals that the log's last word names.
pub(super) fn principals(home: &Home, state: &State) -> Result<Principals, MonitorError> {
    restored(home, state.control.get(PRINCIPALS).copied())
}

/// Folds the kept orders up to one of them.
fn restored(home: &Home, head: Option<Digest>) -> Result<Principals, MonitorError> {
    let wrong = |what: &str| MonitorError::Inconsistent(format!("the principals: {what}"));
    let (mut orders, mut at) = (Vec::new(), head);
    while let Some(digest) = at {
        let order = SignedOrder::from_canonical(&home.kept(digest)?);
        let order = order.map_err(|fault| wrong(&fault.to_string()))?;
        at = order.order.prev;
        orders.push(order);
    }
    let mut known = Principals::default();
    for order in orders.iter().rev() {
        // Its position was looked at when it was given.
        known.apply(order, u64::MAX).map_err(|fault| wrong(&fault.to_string()))?;
    }
    Ok(known)
}

/// The levels of who proved to be a principal: what the kernel says of the process stays for the rest.
pub(super) fn levels(
    pseudonyms: &Pseudonyms,
    proven: &Proven,
    identity: &mut tipstaff_core::receipt::Identity,
) {
    let level = |level: &str, name: &str| Level {
        id: Some(pseudonyms.of(level, name)),
        proof: proven.proof,
    };
    let Speaker { name, person, roles, .. } = &proven.speaker;
    identity.agent = level("agent", &instance(name.as_str()));
    if let Some(person) = person {
        identity.principal = level("principal", &instance(person.as_str()));
    }
    if !roles.is_empty() {
        let roles: Vec<&str> = roles.iter().map(tipstaff_identity::Name::as_str).collect();
        identity.roles = level("roles", &roles.join(" "));
    }
}

/// The levels of a caller of the network that proved nothing: it is told apart, and nobody vouches for it.
pub(super) fn unproven(identity: &mut tipstaff_core::receipt::Identity) {
    identity.principal.id = None;
    let levels = [&mut identity.agent, &mut identity.principal, &mut identity.roles];
    for level in levels.into_iter().chain([&mut identity.service, &mut identity.session]) {
        level.proof = Proof::None;
    }
}

/// What a principal's pseudonym is of: no process of this machine and no client of the network has such a name.
pub(super) fn instance(name: &str) -> String {
    format!("principal:{name}")
}
