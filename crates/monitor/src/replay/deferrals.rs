//! Whether each deferred call was followed by one verdict, in time, and whether each call that depends on
//! another waited for it.
//!
//! The adversary is a node that lets a deferred call run twice, or after its time, or before the call that it
//! depends on is over, and says afterwards that nothing stood in its way.

use std::collections::HashMap;

use tipstaff_core::receipt::{Receipt, Signed};
use tipstaff_core::{Action, Digest, Millis, Verdict};

use crate::deferral::{Deferrals as Fates, Links, is_deferred};
use crate::judge::{Answered, Barred, Facts, Judged};
use crate::wire::{digest_of, digests, number_of};

/// What the log said so far.
#[derive(Debug, Default)]
pub(super) struct Deferrals {
    /// By chain.
    fates: HashMap<String, Fates>,
    /// When each call that is deferred just now is over.
    until: HashMap<Digest, Millis>,
}

impl Deferrals {
    /// Folds a receipt in, after it was looked at.
    pub(super) fn fold(&mut self, signed: &Signed) {
        let (receipt, hash) = (signed.receipt(), signed.hash());
        let fates = self.fates.entry(receipt.chain.clone()).or_default();
        let _ = fates.fold(receipt, hash);
        if let Some(of) = receipt.continues {
            self.until.remove(&of);
        }
        let expires = receipt.deferral.as_ref().and_then(|deferral| number_of(deferral, "expires"));
        if let Some(expires) = expires.filter(|_| is_deferred(receipt)) {
            self.until.insert(hash, Millis(expires));
        }
    }

    /// Why a verdict does not follow a deferral as its receipt says, if it doesn't.
    pub(super) fn fault(&self, receipt: &Receipt) -> Option<&'static str> {
        let deferral = receipt.deferral.as_ref();
        let of = deferral.and_then(|deferral| digest_of(deferral, "of"));
        let continued = receipt.continues.and_then(|of| self.until.get(&of));
        let (Some(of), Some(deferral)) = (of, deferral) else {
            return continued.map(|_| "it follows a deferral and doesn't say so");
        };
        if receipt.continues != Some(of) || deferral.get("state")?.as_str() != Some("resolved") {
            return Some("deferral");
        }
        let Some(until) = self.until.get(&of) else {
            return Some("nothing is deferred that it could follow, or it followed before");
        };
        let reason = receipt.decision.as_ref().map(|decision| decision.reason.as_str());
        let expired = reason == Some(Answered::DeferralExpired.as_str());
        match (receipt.now < *until, expired, receipt.permits()) {
            (true, true, _) => Some("its time was not over"),
            (false, _, true) => Some("its time was over"),
            _ => None,
        }
    }

    /// Why a verdict did not wait for what it depends on, if it didn't. `free` is what is judged of it when
    /// nothing bars it.
    pub(super) fn bar_fault(
        &self,
        receipt: &Receipt,
        action: &Action,
        facts: &Facts,
        free: impl FnOnce(Facts) -> Judged,
    ) -> Option<&'static str> {
        let none = Fates::default();
        let fates = self.fates.get(&receipt.chain).unwrap_or(&none);
        let links = Links::of(action, &facts.depends_on);
        let after = receipt.deferral.as_ref().filter(|_| is_deferred(receipt));
        if after.and_then(|deferral| digests(deferral.get("after")?))
            != after.map(|_| fates.after(&links))
        {
            return Some("after");
        }
        // What a person or time has ended is not barred, nor what was paused or too fast.
        if facts.answered.is_some() {
            return None;
        }
        match facts.barred {
            Some(
                Barred::Budget
                | Barred::Paused
                | Barred::Principal
                | Barred::Rate
                | Barred::Repeated
                | Barred::Unproven,
            ) => None,
            Some(Barred::Cascade) => {
                let most = facts.deferrals_max.unwrap_or(u64::MAX);
                let barred = fates.bar(&links);
                let judged = free(Facts { barred, ..facts.clone() });
                let is_full = fates.waiting() as u64 >= most && judged.verdict == Verdict::Defer;
                (!is_full).then_some("cascade")
            }
            barred => (barred != fates.bar(&links)).then_some("depends on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tipstaff_core::key::SigningKey;
    use tipstaff_core::receipt::{DecisionRef, Door, Kind};
    use tipstaff_core::{Json, Tier};

    use super::*;
    use crate::sessions::tests::session;

    fn signed(verdict: Verdict, reason: &str, now: u64, deferral: Option<&str>) -> Receipt {
        let kind = ("fs:write", Tier::T3);
        let mut receipt = session().receipt(Kind::Verdict, kind, Door::McpStdio, Millis(now));
        let zero = Digest::ZERO;
        receipt.deferral = deferral.map(|text| Json::parse(text.as_bytes()).unwrap());
        receipt.decision = Some(DecisionRef {
            catalogue: zero,
            engine: String::new(),
            policy_set: zero,
            reason: reason.to_owned(),
            rule: None,
            schema: zero,
            tool_pins: zero,
            verdict,
        });
        receipt
    }

    fn sealed(receipt: Receipt) -> Signed {
        Signed::new(receipt, &SigningKey::from_seed(&[1; 32].into()).unwrap()).unwrap()
    }

    #[test]
    fn a_log_that_resolves_twice_or_late_is_found() {
        let text = "{\"after\":[],\"expires\":100,\"missing\":[],\"state\":\"deferred\"}";
        let deferred = sealed(signed(Verdict::Defer, "needs_context", 1, Some(text)));
        let of = deferred.hash();
        let resolved = |verdict, reason: &str, now| {
            let text = format!("{{\"of\":\"{}\",\"state\":\"resolved\"}}", of.to_hex());
            Receipt { continues: Some(of), ..signed(verdict, reason, now, Some(&text)) }
        };
        let allowed = resolved(Verdict::Allow, "permitted", 99);
        let mut log = Deferrals::default();
        assert!(log.fault(&allowed).unwrap().contains("nothing is deferred"));
        log.fold(&deferred);
        assert_eq!(log.fault(&allowed), None);
        let late = resolved(Verdict::Allow, "permitted", 100);
        assert_eq!(log.fault(&late), Some("its time was over"));
        let early = resolved(Verdict::Deny, "deferral_expired", 99);
        assert_eq!(log.fault(&early), Some("its time was not over"));
        assert_eq!(log.fault(&resolved(Verdict::Deny, "deferral_expired", 100)), None);
        let silent = Receipt { deferral: None, ..allowed.clone() };
        assert!(log.fault(&silent).unwrap().contains("doesn't say so"));
        let other = Receipt { continues: Some(Digest::ZERO), ..allowed.clone() };
        assert_eq!(log.fault(&other), Some("deferral"));
        log.fold(&sealed(allowed.clone()));
        assert!(log.fault(&allowed).unwrap().contains("followed before"));
    }
}
