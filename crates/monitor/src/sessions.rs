//! Sessions: who acts together, with one chain and one context.
//!
//! The adversary is a process that claims another's session, or an agent that splits its doings over
//! several servers so that nobody sees them together. A session is keyed by what the kernel says of the
//! client that started the door; all doors of one client share it, and a restart finds it again.

use std::collections::HashMap;
use std::time::Instant;

use tipstaff_context::Context;
use tipstaff_core::receipt::{
    AsOf, ContextRef, Door, Enforcement, Identity, Kind, Outcome, Receipt,
};
use tipstaff_core::{Digest, Millis, Tier};

/// Name of the chain of control receipts.
pub(crate) const CONTROL_CHAIN: &str = "control";

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) chain: String,
    pub(crate) actor: String,
    pub(crate) identity: Identity,
    pub(crate) context: Context,
    pub(crate) doors: usize,
    pub(crate) alone_since: Instant,
    pub(crate) open: HashMap<Digest, OpenVerdict>,
    pub(crate) closed: bool,
}

/// A permitted action without an outcome.
#[derive(Debug, Clone)]
pub(crate) struct OpenVerdict {
    pub(crate) class: String,
    pub(crate) tier: Tier,
    pub(crate) door: Door,
    pub(crate) member: u64,
}

impl Session {
    /// A receipt of this session with nothing decided in it.
    pub(crate) fn receipt(
        &self,
        kind: Kind,
        (action, tier): (&str, Tier),
        door: Door,
        now: Millis,
    ) -> Receipt {
        Receipt {
            action: action.to_owned(),
            actor: self.actor.clone(),
            approval: None,
            as_of: AsOf { control: 0, log: String::new(), size: 0 },
            authority: None,
            chain: self.chain.clone(),
            chain_seq: 0,
            context: Some(ContextRef {
                count: self.context.count(),
                distance_method: None,
                distance_ppm: None,
                head: self.context.head(),
                labels: None,
            }),
            context_digest: self.context.digest(),
            continues: None,
            control: None,
            decision: None,
            deferral: None,
            door,
            enforcement: Enforcement::Inline,
            identity: self.identity.clone(),
            inputs_digest: None,
            key_id: String::new(),
            kind,
            now,
            obligations: None,
            of: None,
            outcome: None,
            prev_hash: Digest::ZERO,
            requested_digest: None,
            session: self.chain.clone(),
            tier,
        }
    }

    /// The second receipt of an action.
    pub(crate) fn outcome(
        &self,
        of: Digest,
        open: &OpenVerdict,
        outcome: Outcome,
        now: Millis,
    ) -> Receipt {
        let mut receipt = self.receipt(Kind::Outcome, (&open.class, open.tier), open.door, now);
        receipt.of = Some(of);
        receipt.outcome = Some(outcome);
        receipt
    }
}
