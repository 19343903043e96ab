//! Whether each approved verdict rests on an approval: signed, for this call, and for this one alone.
//!
//! The adversary is a node that lets a call run and says afterwards that a person had approved it, or that
//! runs two on one yes.

use std::collections::{HashMap, HashSet};

use tipstaff_core::key::Signature;
use tipstaff_core::receipt::{Kind, Receipt, Signed};
use tipstaff_core::{Digest, Json, Verdict};
use tipstaff_identity::Approvers;

use crate::approval::{Reply, Statement};
use crate::judge::{Answered, Facts};
use crate::monitor::APPROVERS;
use crate::repeat::{Event, REASON, event};
use crate::wire::{digest_of, number_of, text_of};

/// What the log said so far.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    approvers: Option<Approvers>,
    /// What a yes has to be bound to, by the receipt that held the call.
    held: HashMap<Digest, Asked>,
    /// The call that an answer is for, by the answer's receipt.
    approved: HashMap<Digest, Digest>,
    ran: HashSet<Digest>,
    /// What covers later calls, by the answer's receipt, with how many rested on it.
    standing: HashMap<Digest, Standing>,
}

/// What a person was asked.
#[derive(Debug)]
struct Asked {
    statement: Statement,
    receipt: Receipt,
}

impl Approvals {
    /// Folds a receipt in. `kept` reads a text of control state.
    pub(super) fn fold(&mut self, signed: &Signed, kept: impl FnOnce(Digest) -> Option<String>) {
        let receipt = signed.receipt();
        match receipt.kind {
            Kind::Control => {
                let control = receipt.control.as_ref().filter(|control| control.what == APPROVERS);
                let next = control.and_then(|control| Approvers::from_text(&kept(control.to)?));
                // What the log says without the word of those before, or without saying that there is none, is nothing.
                let counts = |next: &Approvers| {
                    self.approvers.as_ref().is_none_or(|before| next.follows(before))
                };
                if let Some(next) = next.filter(counts) {
                    self.approvers = Some(next);
                }
            }
            Kind::Verdict => {
                if let Some(statement) = asked(receipt, signed.hash()) {
                    let asked = Asked { statement, receipt: receipt.clone() };
                    self.held.insert(signed.hash(), asked);
                }
            }
            Kind::Approval => {
                if let Some(statement) = self.answered(receipt) {
                    self.approved.insert(signed.hash(), statement.of);
                    if statement.repeat.is_some() {
                        let by = receipt.approval.as_ref();
                        let by = by.and_then(|approval| text_of(approval, "key_id"));
                        let standing = Standing { statement, by: by.unwrap_or_default(), used: 0 };
                        self.standing.insert(signed.hash(), standing);
                    }
                } else if let Some(Event::Withdrawn(of)) = event(receipt) {
                    self.standing.remove(&of);
                }
            }
            Kind::Deferral | Kind::Outcome | Kind::Session | Kind::Void => {}
        }
    }

    /// Why an approved verdict does not rest on an approval, if it doesn't.
    pub(super) fn fault(&mut self, receipt: &Receipt) -> Option<&'static str> {
        let reason = receipt.decision.as_ref().map(|decision| decision.reason.as_str());
        if reason != Some(Answered::Approved.as_str()) {
            return None;
        }
        let approval =
            receipt.approval.as_ref().and_then(|approval| digest_of(approval, "receipt"));
        let of = approval.and_then(|approval| self.approved.get(&approval).copied());
        match (of, receipt.continues) {
            (Some(of), Some(held)) if of == held => {
                (!self.ran.insert(of)).then_some("a second call on one approval")
            }
            _ => Some("approval"),
        }
    }

    /// Why a verdict does not rest on an earlier yes as its inputs say, if it doesn't.
    pub(super) fn standing_fault(&self, receipt: &Receipt, facts: &Facts) -> Option<&'static str> {
        let rests = match event(receipt) {
            Some(Event::Used(of)) => Some(of),
            _ => None,
        };
        let reason = receipt.decision.as_ref().map(|decision| decision.reason.as_str());
        let Some(covering) = &facts.repeat else {
            return (reason == Some(REASON)).then_some("standing approval");
        };
        let known = self.standing.get(&covering.of);
        let same = known.is_some_and(|Standing { statement, by, used }| {
            let counts = |known: &Approvers| known.key(by, receipt.now).is_ok();
            statement.repeat.as_ref() == Some(&covering.repeat)
                && statement.policy_set == covering.policy_set
                && Some(&statement.requester) == receipt.identity.agent.id.as_ref()
                && covering.repeat.session == receipt.chain
                && *used == covering.used
                && self.approvers.as_ref().is_some_and(counts)
        });
        let number = receipt.approval.as_ref().and_then(|approval| number_of(approval, "use"));
        let named = reason != Some(REASON)
            || rests == Some(covering.of) && number == Some(covering.used.saturating_add(1));
        (!same || !named).then_some("standing approval")
    }

    /// Counts what rested on an earlier yes, after it was looked at.
    pub(super) fn count(&mut self, receipt: &Receipt) {
        if let Some(Event::Used(of)) = event(receipt)
            && let Some(standing) = self.standing.get_mut(&of)
        {
            standing.used += 1;
        }
    }

    /// The answer that approves a call: it has to be signed by an approver over exactly what was held.
    fn answered(&self, receipt: &Receipt) -> Option<Statement> {
        let approval = receipt.approval.as_ref()?;
        let said = Statement::from_json(approval)?;
        let held = self.held.get(&receipt.of?)?;
        let repeat = said.repeat.clone();
        if repeat.as_ref().is_some_and(|repeat| !repeat.fits(&held.receipt, receipt.now)) {
            return None;
        }
        let asked = Statement { reply: Reply::Approve, repeat, ..held.statement.clone() };
        let key_id = text_of(approval, "key_id")?;
        let signature = Signature::from_base64url(&text_of(approval, "signature")?).ok()?;
        let key = self.approvers.as_ref()?.key(&key_id, receipt.now).ok()?;
        (said == asked && said.is_signed(key, &signature)).then_some(said)
    }
}

/// A yes that covers later calls.
#[derive(Debug)]
struct Standing {
    statement: Statement,
    /// Thumbprint of the key that signed it.
    by: String,
    used: u64,
}

/// What a person was asked.
fn asked(receipt: &Receipt, of: Digest) -> Option<Statement> {
    let decision = receipt.decision.as_ref()?;
    let approval: &Json = receipt.approval.as_ref()?;
    if decision.verdict != Verdict::StepUp {
        return None;
    }
    Some(Statement {
        reply: Reply::Approve,
        action: receipt.inputs_digest?,
        expires: tipstaff_core::Millis(number_of(approval, "expires")?),
        log: receipt.as_of.log.clone(),
        of,
        policy_set: decision.policy_set,
        requester: receipt.identity.agent.id.clone()?,
        repeat: None,
    })
}

#[cfg(test)]
mod tests {
    use tipstaff_core::key::SigningKey;
    use tipstaff_core::receipt::{Control, Door};
    use tipstaff_core::{Millis, Tier};

    use super::*;
    use crate::sessions::tests::session;

    fn signed(receipt: Receipt) -> Signed {
        Signed::new(receipt, &SigningKey::from_seed(&[1; 32].into()).unwrap()).unwrap()
    }

    fn receipt(kind: Kind) -> Receipt {
        session().receipt(kind, ("fs:write", Tier::T3), Door::McpStdio, Millis(5))
    }

    fn decided(verdict: Verdict, reason: &str) -> Receipt {
        let zero = Digest::ZERO;
        let mut receipt = receipt(Kind::Verdict);
        receipt.inputs_digest = Some(Digest::of(b"inputs"));
        receipt.decision = Some(tipstaff_core::receipt::DecisionRef {
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

    #[test]
    fn an_approved_verdict_without_its_approval_is_found() {
        let key = SigningKey::from_seed(&[5; 32].into()).unwrap();
        let stranger = SigningKey::from_seed(&[6; 32].into()).unwrap();
        let text = Approvers::first(vec![key.verifying_key().clone()]).to_text();
        let mut approvals = Approvals::default();
        let mut control = receipt(Kind::Control);
        control.control =
            Some(Control { from: None, to: Digest::ZERO, what: "approvers".to_owned() });
        approvals.fold(&signed(control), |_| Some(text.clone()));
        let mut held = decided(Verdict::StepUp, "step_up");
        held.approval = Json::object(vec![("expires".to_owned(), Json::from(9))]);
        let held = signed(held);
        approvals.fold(&held, |_| None);
        let statement = asked(held.receipt(), held.hash()).unwrap();
        let answer = |statement: &Statement, by: &SigningKey| {
            let mut members = statement.members();
            let signature = statement.sign(by).to_base64url();
            members.push(("key_id".to_owned(), Json::String(by.verifying_key().key_id())));
            members.push(("signature".to_owned(), Json::String(signature)));
            let mut receipt = receipt(Kind::Approval);
            receipt.of = Some(statement.of);
            receipt.approval = Json::object(members);
            signed(receipt)
        };
        let ran = |on: Digest| {
            let mut receipt = decided(Verdict::Allow, "approved");
            receipt.continues = Some(held.hash());
            let hex = Json::String(on.to_hex());
            receipt.approval = Json::object(vec![("receipt".to_owned(), hex)]);
            receipt
        };
        let no = Statement { reply: Reply::Refuse, ..statement.clone() };
        let other = Statement { action: Digest::of(b"other"), ..statement.clone() };
        for bad in [answer(&no, &key), answer(&other, &key), answer(&statement, &stranger)] {
            approvals.fold(&bad, |_| None);
            assert_eq!(approvals.fault(&ran(bad.hash())), Some("approval"));
        }
        let good = answer(&statement, &key);
        assert_eq!(
            approvals.fault(&ran(good.hash())),
            Some("approval"),
            "it is not in the log yet"
        );
        approvals.fold(&good, |_| None);
        assert_eq!(approvals.fault(&ran(good.hash())), None);
        assert_eq!(approvals.fault(&ran(good.hash())), Some("a second call on one approval"));
        assert_eq!(approvals.fault(&decided(Verdict::Allow, "permit")), None);
    }

    #[test]
    fn a_new_key_counts_by_the_word_of_the_one_before_and_the_old_one_until_its_end() {
        use tipstaff_identity::Succession;

        let [old, new, thief] =
            [5, 6, 7].map(|seed| SigningKey::from_seed(&[seed; 32].into()).unwrap());
        let first = Approvers::first(vec![old.verifying_key().clone()]);
        let succession = |key: &SigningKey, until| Succession {
            key: key.verifying_key().clone(),
            replaces: old.verifying_key().key_id(),
            until: Millis(until),
            log: "l".to_owned(),
            prev: first.digest(),
            at: Millis(2),
        };
        let counts = |next: &Approvers, by: &SigningKey| {
            let mut approvals = Approvals::default();
            for approvers in [&first, next] {
                let mut control = receipt(Kind::Control);
                let to = approvers.digest();
                control.control = Some(Control { from: None, to, what: "approvers".to_owned() });
                approvals.fold(&signed(control), |_| Some(approvers.to_text()));
            }
            let approvers = approvals.approvers.unwrap();
            approvers.key(&by.verifying_key().key_id(), Millis(5)).is_ok()
        };
        let rotated = |until| {
            let by = succession(&new, until).sign(&new, Some(&old));
            first.succeeded(&by).unwrap()
        };
        assert!(counts(&rotated(6), &new) && counts(&rotated(6), &old));
        assert!(counts(&rotated(5), &new) && !counts(&rotated(5), &old));
        let recovered = first.succeeded(&succession(&new, 2).sign(&new, None)).unwrap();
        assert!(counts(&recovered, &new) && !counts(&recovered, &old));
        // A node that says so by itself.
        let alone = Approvers::first(vec![thief.verifying_key().clone()]);
        assert!(!counts(&alone, &thief) && counts(&alone, &old));
        let text = rotated(5).to_text();
        let did = |key: &SigningKey| key.verifying_key().to_did_key();
        let forged = Approvers::from_text(&text.replace(&did(&new), &did(&thief))).unwrap();
        assert!(!counts(&forged, &thief) && counts(&forged, &old));
    }

    /// A world in which a person said yes to one call and two later ones.
    fn stood(with: impl FnOnce(&mut Statement)) -> (Approvals, Digest, Facts) {
        let key = SigningKey::from_seed(&[5; 32].into()).unwrap();
        let mut approvals = Approvals {
            approvers: Some(Approvers::first(vec![key.verifying_key().clone()])),
            ..Approvals::default()
        };
        let mut held = decided(Verdict::StepUp, "held_for_approval");
        held.decision.as_mut().unwrap().rule = Some("r".to_owned());
        held.approval = Json::object(vec![("expires".to_owned(), Json::from(9))]);
        let held = signed(held);
        approvals.fold(&held, |_| None);
        let mut covering = crate::repeat::tests::covering();
        covering.repeat.count = 2;
        covering.repeat.rule = "r".to_owned();
        covering.repeat.session = "s".to_owned();
        covering.repeat.tier = Tier::T3;
        let mut statement = asked(held.receipt(), held.hash()).unwrap();
        statement.repeat = Some(covering.repeat.clone());
        with(&mut statement);
        let mut members = statement.members();
        let signature = statement.sign(&key).to_base64url();
        members.push(("key_id".to_owned(), Json::String(key.verifying_key().key_id())));
        members.push(("signature".to_owned(), Json::String(signature)));
        let mut yes = receipt(Kind::Approval);
        yes.of = Some(held.hash());
        yes.approval = Json::object(members);
        let yes = signed(yes);
        approvals.fold(&yes, |_| None);
        covering.of = yes.hash();
        covering.policy_set = Digest::ZERO;
        covering.used = 0;
        let facts = Facts { repeat: Some(covering), ..crate::kept::tests::plain() };
        (approvals, yes.hash(), facts)
    }

    fn uses(yes: Digest, number: i64) -> Receipt {
        let mut used = decided(Verdict::Allow, "approved_before");
        let of = ("receipt".to_owned(), Json::String(yes.to_hex()));
        used.approval = Json::object(vec![of, ("use".to_owned(), Json::from(number))]);
        used
    }

    #[test]
    fn a_call_that_rests_on_an_earlier_yes_rests_on_one_in_the_log() {
        const FAULT: Option<&str> = Some("standing approval");
        let (mut approvals, yes, facts) = stood(|_| {});
        let with = |used| {
            let mut facts = facts.clone();
            facts.repeat.as_mut().unwrap().used = used;
            facts
        };
        assert_eq!(approvals.standing_fault(&uses(yes, 1), &facts), None);
        approvals.count(&uses(yes, 1));
        assert_eq!(approvals.standing_fault(&uses(yes, 1), &facts), FAULT, "the same use twice");
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &with(1)), None);
        assert_eq!(approvals.standing_fault(&uses(yes, 1), &with(1)), FAULT);
        let bare = crate::kept::tests::plain();
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &bare), FAULT, "no yes in its inputs");
        assert_eq!(approvals.standing_fault(&uses(Digest::ZERO, 2), &with(1)), FAULT);
        let mut elsewhere = uses(yes, 2);
        elsewhere.chain = "t".to_owned();
        assert_eq!(approvals.standing_fault(&elsewhere, &with(1)), FAULT, "another session");
        let mut wider = with(1);
        wider.repeat.as_mut().unwrap().repeat.count = 100;
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &wider), FAULT, "another bound");
        // Its key was replaced, and its time is over.
        let next = SigningKey::from_seed(&[6; 32].into()).unwrap();
        let before = approvals.approvers.clone().unwrap();
        let old = SigningKey::from_seed(&[5; 32].into()).unwrap();
        let replaced = |until| {
            let succession = tipstaff_identity::Succession {
                key: next.verifying_key().clone(),
                replaces: old.verifying_key().key_id(),
                until: Millis(until),
                log: "l".to_owned(),
                prev: before.digest(),
                at: Millis(2),
            };
            before.succeeded(&succession.sign(&next, Some(&old))).ok()
        };
        approvals.approvers = replaced(6);
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &with(1)), None);
        approvals.approvers = replaced(5);
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &with(1)), FAULT, "an ended key");
        approvals.approvers = Some(before);
        // Withdrawn.
        let mut statement = Statement { reply: Reply::Withdraw, ..asked_of(&approvals, yes) };
        (statement.of, statement.repeat) = (yes, None);
        let mut ended = receipt(Kind::Approval);
        ended.approval = Json::object(statement.members());
        approvals.fold(&signed(ended), |_| None);
        assert_eq!(approvals.standing_fault(&uses(yes, 2), &with(1)), FAULT);
        assert_eq!(approvals.standing_fault(&decided(Verdict::Allow, "permit"), &bare), None);
    }

    fn asked_of(approvals: &Approvals, yes: Digest) -> Statement {
        approvals.standing.get(&yes).unwrap().statement.clone()
    }

    #[test]
    fn a_yes_without_bounds_or_for_another_call_covers_nothing() {
        fn repeat(statement: &mut Statement) -> &mut crate::repeat::Repeat {
            statement.repeat.as_mut().unwrap()
        }
        let wrong: [fn(&mut Statement); 6] = [
            |said| repeat(said).count = 101,
            |said| repeat(said).until = Millis(u64::MAX >> 12),
            |said| repeat(said).session = "t".to_owned(),
            |said| repeat(said).rule = "other".to_owned(),
            |said| repeat(said).tier = Tier::T4,
            |said| said.action = Digest::of(b"other"),
        ];
        for change in wrong {
            let (approvals, yes, _) = stood(change);
            assert!(!approvals.standing.contains_key(&yes));
            assert!(!approvals.approved.contains_key(&yes));
        }
        assert!(stood(|_| {}).0.approved.len() == 1);
    }
}
