//! Who may answer for this home, and how their keys are replaced.
//!
//! The adversary answers with a key that was replaced, or puts one of his own in its place. A new key counts by the word
//! of the old one, once its receipt is durable. A key that was lost is replaced without a word only while no client is
//! connected, and the receipt says so.

use std::sync::PoisonError;

use tipstaff_core::receipt::{Control, Door, Kind};
use tipstaff_core::{Digest, Json, Millis, Tier};
use tipstaff_identity::{Approvers, HomeKeys, SignedSuccession};
use tipstaff_ledger::{Draft, State};

use super::principals::SKEW;
use super::{Monitor, lock, log_line};
use crate::error::{Disobeyed, MonitorError};
use crate::home::Home;
use crate::wire::{number, object};

/// The kind of control state.
pub(crate) const APPROVERS: &str = "approvers";

impl Monitor {
    /// Replaces an approver's key.
    ///
    /// # Errors
    /// [`Disobeyed`]: then nothing changed.
    pub fn succeed(&self, signed: &SignedSuccession) -> Result<Digest, Disobeyed> {
        // INVARIANT: no answer is taken between the change and its durable receipt.
        let mut approvers = self.approvers.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let next = self.next(&approvers, signed, now);
        let next = match next {
            Ok(next) => next,
            Err(fault) => {
                drop(approvers);
                return self.reject_succession(signed, fault);
            }
        };
        let receipt = self.record_succession(&approvers, &next, signed)?;
        *approvers = next;
        drop(approvers);
        install(&self.home, &signed.succession.key.key_id());
        Ok(receipt)
    }

    /// The approvers' keys, for the operator's eyes.
    #[must_use]
    pub fn approvers_shown(&self) -> Json {
        let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
        let shown = |key: &tipstaff_core::key::VerifyingKey, until: Json| {
            let did = Json::String(key.to_did_key());
            object([("did", did), ("key_id", Json::String(key.key_id())), ("until", until)])
        };
        let current = approvers.current().iter().map(|key| shown(key, Json::Null));
        let replaced = approvers.replaced().iter().map(|(key, until)| shown(key, number(until.0)));
        let recovered = approvers.by().is_some_and(SignedSuccession::is_recovery);
        object([
            ("digest", Json::String(approvers.digest().to_hex())),
            ("keys", Json::Array(current.chain(replaced).collect())),
            ("log", Json::string(&self.ledger.identity().origin)),
            ("now", number(self.now().0)),
            ("ok", Json::from(true)),
            ("recovered", Json::from(recovered)),
        ])
    }

    fn next(
        &self,
        approvers: &Approvers,
        signed: &SignedSuccession,
        now: Millis,
    ) -> Result<Approvers, Disobeyed> {
        if signed.succession.log != self.ledger.identity().origin {
            return Err(Disobeyed::NotSigned);
        }
        if signed.succession.at.0.abs_diff(now.0) > SKEW {
            return Err(Disobeyed::Time);
        }
        if signed.is_recovery() && lock(&self.sessions).values().any(|s| lock(s).doors > 0) {
            return Err(Disobeyed::Connected);
        }
        approvers.succeeded(signed).map_err(Disobeyed::Approver)
    }

    fn record_succession(
        &self,
        before: &Approvers,
        next: &Approvers,
        signed: &SignedSuccession,
    ) -> Result<Digest, MonitorError> {
        let (from, to) = (Some(before.digest()), self.home.keep(&next.to_text())?);
        let session = self.control_session();
        let kind = ("control:approvers", Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Cli, self.now());
        receipt.control = Some(Control { from, to, what: APPROVERS.to_owned() });
        let succession = &signed.succession;
        let mut authority = vec![
            ("key_id".to_owned(), Json::string(&succession.replaces)),
            ("next".to_owned(), Json::String(succession.key.key_id())),
            ("until".to_owned(), number(succession.until.0)),
        ];
        if signed.is_recovery() {
            authority.push(("recovered".to_owned(), Json::from(true)));
        }
        receipt.authority = Json::object(authority);
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        self.ledger.commit(appended.index)?;
        Ok(appended.signed.hash())
    }

    fn reject_succession(
        &self,
        signed: &SignedSuccession,
        fault: Disobeyed,
    ) -> Result<Digest, Disobeyed> {
        let replaces = &signed.succession.replaces;
        let order = Digest::of(signed.to_json().to_canonical().as_bytes());
        self.record_rejected(replaces, order, fault.as_str())?;
        Err(fault)
    }
}

/// Who may approve: what the log says, at first the home's own approver.
pub(super) fn approvers(home: &Home, state: &State) -> Result<Approvers, MonitorError> {
    let Some(digest) = state.control.get(APPROVERS) else {
        let first = HomeKeys::approver(home.root())?.verifying_key().clone();
        return Ok(Approvers::first(vec![first]));
    };
    let approvers = Approvers::from_text(&home.kept(*digest)?)
        .filter(|approvers| approvers.digest() == *digest)
        .ok_or_else(|| MonitorError::Inconsistent("the approvers are unreadable".to_owned()))?;
    // The receipt may be all that there was time for.
    for key in approvers.current() {
        install(home, &key.key_id());
    }
    Ok(approvers)
}

/// Puts the key that is in force in its place, if it waits beside it.
fn install(home: &Home, key_id: &str) {
    if let Err(error) = HomeKeys::install_approver(home.root(), key_id) {
        log_line(&format!("the approver's new key could not be put in its place: {error}"));
    }
}
