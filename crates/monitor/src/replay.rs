//! Deriving recorded verdicts again from kept inputs (rows A2, law 5).
//!
//! The adversary is a node that says afterwards that its rules demanded something else, or a release
//! that decides differently than the one before. Each verdict is judged again under the policy set,
//! schema, catalogue and pins that its receipt names, whatever is on disk now, and compared in
//! everything that the receipt says about it.

mod approvals;
mod authority;
mod deferrals;

use std::collections::HashMap;
use std::sync::Arc;

use tipstaff_classify::Catalogue;
use tipstaff_context::Context;
use tipstaff_core::receipt::{DecisionRef, Enforcement, Kind, Proof, Receipt, Signed};
use tipstaff_core::{Action, Digest, Json, Tier, Verdict};
use tipstaff_identity::capability::Capability;
use tipstaff_ledger::{Kept, LedgerError, LogReader, SealingKey};
use tipstaff_policy::PolicySource;

use approvals::Approvals;
use deferrals::Deferrals;

use crate::deferral::is_deferred;
use crate::error::MonitorError;
use crate::fold::{Folded, declassified, fold};
use crate::home::Home;
use crate::judge::{ENGINE, Facts, Judged, judge};
use crate::kept::meaning_from_json;
use crate::monitor::nonce_of;
use crate::pins::Pins;
use crate::policies::Rules;
use crate::used::Used;

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// Verdicts that came out the same.
    pub rederived: u64,
    /// Verdicts that came out otherwise, or whose inputs aren't what their receipt says.
    pub differ: u64,
    /// Verdicts whose inputs are no longer kept.
    pub expired: u64,
    /// Verdicts of a procedure that this release does not have.
    pub unsupported_version: u64,
    /// Which differ, and in what.
    pub differences: Vec<(Digest, String)>,
}

/// Judges every recorded verdict again. `progress` is called with the number of leaves seen.
///
/// # Errors
/// [`MonitorError`] if the log can't be read.
pub fn replay(
    home: &Home,
    reader: &LogReader,
    sealing: &SealingKey,
    progress: &mut dyn FnMut(u64),
) -> Result<Replay, MonitorError> {
    let mut state = Replayer {
        home,
        kept: reader.kept(),
        sealing,
        contexts: HashMap::new(),
        rules: HashMap::new(),
        approvals: Approvals::default(),
        deferrals: Deferrals::default(),
        used: Used::default(),
        capabilities: HashMap::new(),
        report: Replay::default(),
    };
    let mut failed = None;
    let read = reader.each_leaf(|index, leaf| {
        progress(index + 1);
        let signed = Signed::from_leaf(leaf)?;
        state.receipt(index, &signed).map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            LedgerError::Unknown(text)
        })
    });
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(state.report),
    }
}

/// A verdict with what it was made from.
#[derive(Debug)]
pub struct Recorded {
    /// What was asked.
    pub action: Action,
    /// What the world was like.
    pub facts: Facts,
    /// Its receipt.
    pub receipt: Receipt,
}

/// Every verdict whose inputs are kept, oldest first.
///
/// # Errors
/// [`LedgerError`] if the log can't be read.
pub fn each_recorded(
    reader: &LogReader,
    sealing: &SealingKey,
    each: &mut dyn FnMut(Recorded),
) -> Result<(), LedgerError> {
    let kept = reader.kept();
    reader.each_leaf(|index, leaf| {
        let signed = Signed::from_leaf(leaf)?;
        let receipt = signed.receipt();
        if receipt.kind == Kind::Verdict
            && let Ok(plain) = kept.open(sealing, &receipt.chain, index)
            && let Some((facts, action, _)) = read_inputs(&plain)
        {
            each(Recorded { action, facts, receipt: receipt.clone() });
        }
        Ok(())
    })
}

/// The context in which a verdict was made: what its session had accumulated by then. `None` if there is no
/// such receipt, or if what its session did is no longer kept.
///
/// # Errors
/// [`LedgerError`] if the log can't be read.
pub fn context_at(
    reader: &LogReader,
    sealing: &SealingKey,
    verdict: &Signed,
) -> Result<Option<Context>, LedgerError> {
    let (kept, chain) = (reader.kept(), &verdict.receipt().chain);
    let (mut context, mut reached) = (None, false);
    reader.each_leaf(|index, leaf| {
        let signed = Signed::from_leaf(leaf)?;
        reached |= signed.hash() == verdict.hash();
        if reached || signed.receipt().chain != *chain {
            return Ok(());
        }
        let plain = kept.open(sealing, chain, index).ok();
        if signed.receipt().action == "session:open" {
            context = plain.as_deref().and_then(nonce_of).map(Context::new);
        } else if let Some(known) = &mut context
            && fold(known, &signed, plain.as_deref()) == Folded::Worst
        {
            context = None;
        }
        Ok(())
    })?;
    Ok(context.filter(|context| reached && context.digest() == verdict.receipt().context_digest))
}

/// Whether a caller that proved nothing was permitted more than what changes nothing.
fn is_beyond_proof(receipt: &Receipt, verdict: Verdict) -> bool {
    let permits = matches!(verdict, Verdict::Allow | Verdict::Modify);
    receipt.identity.agent.proof == Proof::None && receipt.tier > Tier::T1 && permits
}

struct Replayer<'a> {
    home: &'a Home,
    kept: &'a Kept,
    sealing: &'a SealingKey,
    /// `None` once a session's context can't be folded for want of inputs.
    contexts: HashMap<String, Option<Context>>,
    rules: HashMap<[Digest; 3], Option<Arc<Rules>>>,
    approvals: Approvals,
    deferrals: Deferrals,
    used: Used,
    capabilities: HashMap<Digest, Arc<Capability>>,
    report: Replay,
}

impl Replayer<'_> {
    fn receipt(&mut self, index: u64, signed: &Signed) -> Result<(), MonitorError> {
        let looked = self.look(index, signed);
        self.deferrals.fold(signed);
        self.approvals.count(signed.receipt());
        looked
    }

    fn look(&mut self, index: u64, signed: &Signed) -> Result<(), MonitorError> {
        let receipt = signed.receipt();
        if receipt.kind == Kind::Session && receipt.action == "session:open" {
            let plain = self.kept.open(self.sealing, &receipt.chain, index).ok();
            let context = plain.and_then(|plain| nonce_of(&plain)).map(Context::new);
            self.contexts.insert(receipt.chain.clone(), context);
        } else if receipt.kind != Kind::Verdict {
            let plain = self.kept.open(self.sealing, &receipt.chain, index).ok();
            self.fold(signed, plain.as_deref());
        }
        let home = self.home;
        self.approvals.fold(signed, |digest| home.kept(digest).ok());
        if receipt.kind != Kind::Verdict {
            return Ok(());
        }
        let deferral = self.deferrals.fault(receipt);
        if let Some(fault) = self.approvals.fault(receipt).or(deferral) {
            self.differs(signed, fault);
            return Ok(());
        }
        let Some(decision) = &receipt.decision else {
            self.differs(signed, "it has no decision");
            return Ok(());
        };
        let plain = match self.kept.open(self.sealing, &receipt.chain, index) {
            Ok(plain) => plain,
            Err(LedgerError::Expired) => {
                self.report.expired += 1;
                self.used.fold(receipt, None);
                self.contexts.insert(receipt.chain.clone(), None);
                return Ok(());
            }
            Err(error) => {
                self.differs(signed, &error.to_string());
                return Ok(());
            }
        };
        self.verdict(signed, decision, &plain)?;
        self.used.fold(receipt, read_inputs(&plain));
        self.fold(signed, Some(&plain));
        Ok(())
    }

    /// A context that a receipt can't be folded into is not known any more.
    fn fold(&mut self, signed: &Signed, plain: Option<&[u8]>) {
        let context = self.contexts.entry(signed.receipt().chain.clone()).or_default();
        if let Some(known) = context
            && fold(known, signed, plain) == Folded::Worst
        {
            *context = None;
        }
    }

    fn verdict(
        &mut self,
        signed: &Signed,
        decision: &DecisionRef,
        plain: &[u8],
    ) -> Result<(), MonitorError> {
        if decision.engine != ENGINE {
            self.report.unsupported_version += 1;
            return Ok(());
        }
        let Some(rules) = self.rules(decision)? else {
            self.report.unsupported_version += 1;
            return Ok(());
        };
        let Some((mut facts, action, executed)) = read_inputs(plain) else {
            self.differs(signed, "the kept inputs are unreadable");
            return Ok(());
        };
        let home = self.home;
        facts.authority.restore(&mut self.capabilities, |digest| home.kept(digest).ok());
        let receipt = signed.receipt();
        let Some(context) = self.contexts.get(&receipt.chain).and_then(Option::as_ref) else {
            self.report.expired += 1;
            return Ok(());
        };
        if let Some(fault) = context_fault(context, &facts, receipt) {
            self.differs(signed, fault);
            return Ok(());
        }
        let standing = self.approvals.standing_fault(receipt, &facts);
        if let Some(fault) = standing.or_else(|| authority::fault(&facts, receipt, &self.used)) {
            self.differs(signed, fault);
            return Ok(());
        }
        let free = |mut facts: Facts| judge(&rules, &action, &mut facts, context, &mut |_, _| {});
        if let Some(fault) = self.deferrals.bar_fault(receipt, &action, &facts, free) {
            self.differs(signed, fault);
            return Ok(());
        }
        let recorded = facts.clone();
        // What a path resolved to then is an input: nothing is looked up again.
        let judged = judge(&rules, &action, &mut facts, context, &mut |_, _| {});
        // What is only observed passes as it was asked.
        let modified =
            judged.modified.as_ref().filter(|_| receipt.enforcement != Enforcement::Observe);
        let executed_now = modified.map_or(&action, |(executed, _)| executed);
        let checks = [
            ("verdict", judged.verdict == decision.verdict),
            ("rule", judged.rule == decision.rule),
            ("reason", judged.reason == decision.reason),
            ("action", judged.class == receipt.action),
            ("tier", judged.tier == receipt.tier),
            ("proof", !is_beyond_proof(receipt, judged.verdict)),
            ("schema", rules.schema_digest == decision.schema),
            ("executed action", *executed_now == executed),
            ("meaning", means_match(&judged, plain)),
            ("declassified", judged.declassify == declassified(receipt.obligations.as_ref())),
            ("missing", missing_match(&judged, receipt)),
            ("now", recorded.now == receipt.now),
            ("inputs_digest", inputs_match(receipt, plain)),
        ];
        match checks.iter().find(|(_, same)| !same) {
            Some((what, _)) => self.differs(signed, what),
            None => self.report.rederived += 1,
        }
        Ok(())
    }

    /// The rules that a receipt names; `None` if this release can't have them.
    fn rules(&mut self, decision: &DecisionRef) -> Result<Option<Arc<Rules>>, MonitorError> {
        let key = [decision.policy_set, decision.tool_pins, decision.catalogue];
        if let Some(rules) = self.rules.get(&key) {
            return Ok(rules.clone());
        }
        let inconsistent = |what: &str| MonitorError::Inconsistent(what.to_owned());
        let source = PolicySource::from_canonical(&self.home.kept(decision.policy_set)?)
            .map_err(|error| MonitorError::Inconsistent(error.to_string()))?;
        let pins = Pins::from_canonical(&self.home.kept(decision.tool_pins)?)
            .ok_or_else(|| inconsistent("the tool pins are unreadable"))?;
        let catalogue = Catalogue::parse(&self.home.kept(decision.catalogue)?).ok();
        let rules = catalogue.and_then(|catalogue| {
            Rules::admit(&source, &pins, &Arc::new(catalogue)).ok().map(Arc::new)
        });
        self.rules.insert(key, rules.clone());
        Ok(rules)
    }

    fn differs(&mut self, signed: &Signed, what: &str) {
        self.report.differ += 1;
        self.report.differences.push((signed.hash(), what.to_owned()));
    }
}

/// The facts, the action as asked and the action as executed.
pub(crate) fn read_inputs(plain: &[u8]) -> Option<(Facts, Action, Action)> {
    let json = Json::parse(plain).ok()?;
    let facts = Facts::from_json(json.get("facts")?)?;
    let (executed, _) = Action::from_inputs(&json.get("inputs")?.to_canonical()).ok()?;
    let asked = match json.get("requested")? {
        Json::Null => executed.clone(),
        requested => Action::from_inputs(&requested.to_canonical()).ok()?.0,
    };
    Some((facts, asked, executed))
}

/// What a receipt says of its session, and the session doesn't.
fn context_fault(context: &Context, facts: &Facts, receipt: &Receipt) -> Option<&'static str> {
    let said = receipt.context.as_ref()?;
    let distance = facts.distance.as_ref();
    let checks = [
        ("context_digest", context.digest() == receipt.context_digest),
        ("context head", context.head() == said.head),
        ("context count", context.count() == said.count),
        ("labels", said.labels.as_ref() == Some(&context.labels().names())),
        ("distance", said.distance_ppm == distance.map(|distance| distance.ppm)),
        ("method", said.distance_method.as_ref() == distance.map(|distance| &distance.method)),
    ];
    checks.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

fn missing_match(judged: &Judged, receipt: &Receipt) -> bool {
    let Some(deferral) = receipt.deferral.as_ref().filter(|_| is_deferred(receipt)) else {
        return true;
    };
    let names = judged.missing.iter().map(|name| Json::string(name)).collect();
    judged.verdict == Verdict::Defer && deferral.get("missing") == Some(&Json::Array(names))
}

fn means_match(judged: &Judged, plain: &[u8]) -> bool {
    let json = Json::parse(plain).ok();
    let kept = json.as_ref().and_then(|json| json.get("means")).and_then(meaning_from_json);
    kept == Some(judged.meaning)
}

fn inputs_match(receipt: &Receipt, plain: &[u8]) -> bool {
    let Ok(json) = Json::parse(plain) else { return false };
    let digest = |name| match json.get(name) {
        None | Some(Json::Null) => None,
        Some(value) => Some(Digest::of(value.to_canonical().as_bytes())),
    };
    digest("inputs") == receipt.inputs_digest && digest("requested") == receipt.requested_digest
}
