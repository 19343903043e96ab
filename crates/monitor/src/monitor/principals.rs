//! Principals in force: taking orders, each with a receipt, and asking whether somebody may act.
//!
//! The adversary is whoever changes unseen who may act, or goes on after their end. An order counts if it is signed
//! by an approver of this home, follows the one before it, and its receipt is durable; from then on the next action
//! is judged by it. An order that doesn't count has a receipt too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tipstaff_core::key::VerifyingKey;
use tipstaff_core::receipt::{Control, Door, Kind, Level, Proof, Receipt};
use tipstaff_core::{Digest, Json, Millis, Tier};
use tipstaff_identity::{
    Book, Change, Name, Principals, Pseudonyms, SignedOrder, Silence, Speaker,
};
use tipstaff_ledger::{Draft, LedgerError, State};
use tipstaff_store::NativeDisk;

use super::Monitor;
use crate::config::Unproven;
use crate::error::{Disobeyed, MonitorError};
use crate::home::Home;
use crate::proof::{Proved, SignedJoin};
use crate::sessions::Session;
use crate::wire::{number, object};

/// The kind of control state.
const PRINCIPALS: &str = "principals";
/// How far an order's time may be from the monitor's, in milliseconds.
pub(super) const SKEW: u64 = 10 * 60 * 1000;
/// The same for a member who says that it is there: nobody joins at a time that suits it.
const JOIN_SKEW: u64 = 5 * 1000;
/// Orders after which the log begins a new segment.
const SEGMENT_ORDERS: u64 = 8192;
/// From so many on, signatures are looked at side by side.
const SIDE_BY_SIDE: usize = 32;

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

/// An order that is in force once its receipt is durable.
struct Taken<'a> {
    signed: &'a SignedOrder,
    text: String,
    from: Option<Digest>,
    to: Digest,
}

impl Monitor {
    /// Takes an operator's order.
    ///
    /// # Errors
    /// [`Disobeyed`]: then nothing changed.
    pub fn order(&self, signed: &SignedOrder) -> Result<Digest, Disobeyed> {
        let (receipts, fault) = self.orders(std::slice::from_ref(signed));
        match (receipts.first(), fault) {
            (Some(receipt), _) => Ok(*receipt),
            (None, Some(fault)) => Err(fault),
            (None, None) => Err(Disobeyed::NotSigned),
        }
    }

    /// Takes orders of which each follows the one before it, up to the first that doesn't count: each with its own
    /// receipt, all made durable together. The receipts, and why not more.
    pub fn orders(&self, signed: &[SignedOrder]) -> (Vec<Digest>, Option<Disobeyed>) {
        // INVARIANT: no approver's key is replaced between the look at a signature and the receipt.
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        // An approver's signature is the same whatever is known: nobody waits for this.
        let checked: Vec<bool> = checked(signed, &approvers.valid(self.now()));
        // INVARIANT: nobody is judged between the change and its durable receipt.
        let mut known = self.principals.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.head();
        let (size, _) = self.ledger.position();
        let (mut taken, mut fault) = (Vec::with_capacity(signed.len()), None);
        for (signed, by_approver) in signed.iter().zip(checked) {
            match self.look_at(&mut known, signed, by_approver, size + taken.len() as u64) {
                Ok(order) => taken.push(order),
                Err(why) => {
                    fault = Some((signed, why));
                    break;
                }
            }
        }
        let mut receipts = Vec::with_capacity(taken.len());
        let recorded = self.record(&taken, &mut receipts);
        if recorded.is_err() {
            // It is not in force without its receipt.
            let last = receipts.len().checked_sub(1).and_then(|last| taken.get(last));
            match book(&self.home, last.map_or(before, |last| Some(last.to))) {
                Ok((book, before)) => {
                    (*known, *super::lock(&self.book)) = (before, book);
                }
                Err(error) => self.ledger.stop(&LedgerError::Unknown(error.to_string())),
            }
        }
        drop((known, approvers));
        if !receipts.is_empty() {
            self.review_all();
            self.shorten(receipts.len() as u64);
        }
        let fault = match (recorded, fault) {
            (Err(error), _) => Some(error.into()),
            (Ok(()), Some((signed, (why, fault)))) => Some(self.reject(signed, why, fault)),
            (Ok(()), None) => None,
        };
        (receipts, fault)
    }

    /// After many orders the log begins a new segment, so that a start after a crash need not read all of them.
    fn shorten(&self, orders: u64) {
        if self.orders_since.fetch_add(orders, Ordering::Relaxed) + orders >= SEGMENT_ORDERS {
            self.orders_since.store(0, Ordering::Relaxed);
            // What does not fit now is begun later; after anything else the node has stopped.
            let _ = self.ledger.rotate();
        }
    }

    /// Folds an order in, if it counts.
    fn look_at<'a>(
        &self,
        known: &mut Principals,
        signed: &'a SignedOrder,
        by_approver: bool,
        size: u64,
    ) -> Result<Taken<'a>, (&'static str, Disobeyed)> {
        let (log, now) = (&self.ledger.identity().origin, self.now());
        let is_join = matches!(signed.order.change, Change::Join { .. });
        let is_signed = match &signed.order.change {
            Change::Join { name, .. } => is_members(known, signed, name, now),
            _ => by_approver,
        };
        if signed.order.log != *log || !is_signed {
            return Err(("not_signed", Disobeyed::NotSigned));
        }
        if signed.order.at.0.abs_diff(now.0) > if is_join { JOIN_SKEW } else { SKEW } {
            return Err(("time", Disobeyed::Time));
        }
        let (from, text) = (known.head(), signed.to_canonical());
        let to = known.apply_named(signed, Digest::of(text.as_bytes()), size);
        let to = to.map_err(|fault| (fault.as_str(), Disobeyed::Fault(fault)))?;
        Ok(Taken { signed, text, from, to })
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

    /// Keeps orders and writes their receipts. `receipts` has those of the ones that count.
    fn record(&self, taken: &[Taken<'_>], receipts: &mut Vec<Digest>) -> Result<(), MonitorError> {
        if taken.is_empty() {
            return Ok(());
        }
        super::lock(&self.book).append(taken.iter().map(|order| order.text.as_str()))?;
        let session = self.control_session();
        let (mut last, mut appended) = (None, Ok(()));
        for order in taken {
            match self.ledger.append(Draft { receipt: self.receipt(&session, order), inputs: None })
            {
                Ok(done) => {
                    last = Some(done.index);
                    receipts.push(done.signed.hash());
                }
                Err(error) => {
                    appended = Err(error.into());
                    break;
                }
            }
        }
        let Some(last) = last else { return appended };
        if let Err(error) = self.ledger.commit(last) {
            // Nothing of it is known to be durable, and the node has stopped.
            receipts.clear();
            return Err(error.into());
        }
        appended
    }

    fn receipt(&self, session: &Session, order: &Taken<'_>) -> Receipt {
        let action = format!("control:{PRINCIPALS}");
        let kind = (action.as_str(), Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Cli, self.now());
        let (from, to) = (order.from, order.to);
        receipt.control = Some(Control { from, to, what: PRINCIPALS.to_owned() });
        let mut authority = vec![("key_id".to_owned(), Json::string(&order.signed.key_id))];
        // Whoever verifies the log without this home has to know which proofs no longer count.
        if let Change::Compromise { key_id, from, .. } = &order.signed.order.change {
            authority.push(("lost".to_owned(), Json::string(key_id)));
            authority.push(("lost_at".to_owned(), number(*from)));
        }
        receipt.authority = Json::object(authority);
        receipt
    }

    /// The receipt of an order that doesn't count; why it doesn't.
    fn reject(&self, signed: &SignedOrder, why: &str, fault: Disobeyed) -> Disobeyed {
        let order = Digest::of(signed.to_canonical().as_bytes());
        let done = self.record_rejected(&signed.key_id, order, why);
        done.map_or_else(Disobeyed::from, |()| fault)
    }

    /// Records that somebody ordered what doesn't count.
    pub(super) fn record_rejected(
        &self,
        key_id: &str,
        order: Digest,
        why: &str,
    ) -> Result<(), MonitorError> {
        let session = self.control_session();
        let kind = ("control:order-rejected", Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Cli, self.now());
        receipt.authority = Some(object([
            ("key_id", Json::string(key_id.get(..64).unwrap_or(key_id))),
            ("order", Json::String(order.to_hex())),
            ("rejected", Json::string(why)),
        ]));
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        Ok(self.ledger.commit(appended.index)?)
    }
}

/// Which of these an approver signed.
fn checked(signed: &[SignedOrder], approvers: &[VerifyingKey]) -> Vec<bool> {
    let look = |part: &[SignedOrder]| -> Vec<bool> {
        part.iter().map(|signed| signed.is_by(approvers)).collect()
    };
    if signed.len() < SIDE_BY_SIDE {
        return look(signed);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts = signed.chunks(signed.len().div_ceil(threads));
        let looks: Vec<_> = parts.map(|part| scope.spawn(move || look(part))).collect();
        // A look that did not end found nothing signed, and nothing after it counts.
        let ended = looks.into_iter().map_while(|look| look.join().ok());
        let mut checked: Vec<bool> = ended.flatten().collect();
        checked.resize(signed.len(), false);
        checked
    })
}

/// Whether an order is signed with a key that a principal may act with now.
fn is_members(known: &Principals, signed: &SignedOrder, name: &Name, now: Millis) -> bool {
    let speaks = known.speaker(&signed.key_id, now).is_ok_and(|speaker| speaker.name == *name);
    let key = known.key(&signed.key_id).filter(|_| speaks);
    key.is_some_and(|key| signed.is_by(std::slice::from_ref(key)))
}

/// The principals that the log's last word names, and the book of their orders.
pub(super) fn principals(home: &Home, state: &State) -> Result<(Book, Principals), MonitorError> {
    book(home, state.control.get(PRINCIPALS).copied())
}

fn book(home: &Home, head: Option<Digest>) -> Result<(Book, Principals), MonitorError> {
    let disk = Arc::new(NativeDisk::new(home.root()));
    let opened = Book::open(disk, head, |digest| home.kept(digest).ok());
    opened.map_err(|error| MonitorError::Inconsistent(format!("the principals: {error}")))
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
