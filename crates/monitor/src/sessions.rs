//! Sessions: who acts together, with one chain and one context.
//!
//! The adversary is a process that claims another's session, or an agent that splits its doings over
//! several servers so that nobody sees them together. A session is keyed by what the kernel says of the
//! client that started the door; all doors of one client share it, and a restart finds it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tipstaff_context::{Context, REQUESTS_MAX, Words};
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{
    AsOf, ContextRef, Door, Enforcement, Identity, Kind, Outcome, Proof, Receipt,
};
use tipstaff_core::{Digest, Millis, Tier};
use tipstaff_identity::Process;

use crate::deferral::{Deferrals, Stirred};
use crate::pace::Pace;
use crate::proof::proved_by;
use crate::repeat::Repeats;

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
    /// The client's process, where there is one on this machine and it was seen.
    pub(crate) client: Option<Process>,
    /// The client's program, for the operator's eyes.
    pub(crate) service: String,
    /// Whether it goes on between doors: hooks are processes of a moment.
    pub(crate) lasting: Lasting,
    /// What its person said yes to besides single calls.
    pub(crate) repeats: Repeats,
    /// How fast it acts.
    pub(crate) pace: Pace,
    /// What its principal asked for: the first request, and the last ones.
    pub(crate) requests: Arc<Requests>,
    /// What became of its deferred calls.
    pub(crate) deferrals: Deferrals,
    /// Whether its deferred calls are being judged again.
    pub(crate) review: Review,
}

/// Whether the deferred calls of a session are being judged again: by one thread at a time, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Review {
    #[default]
    Idle,
    /// Something changed that they may have waited for.
    Due,
    Busy,
    /// Something changed meanwhile: once more.
    Again,
}

/// What a session's principal asked for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) texts: Vec<String>,
    pub(crate) words: Words,
}

/// What a session without doors waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// A moment, in which another door may come.
    Grace,
    /// The end of its client's process.
    Client,
    /// A moment, or the end of what is held: a restart found it, and its client may come back.
    Resumed,
}

/// A permitted action without an outcome.
#[derive(Debug, Clone)]
pub(crate) struct OpenVerdict {
    pub(crate) class: String,
    pub(crate) tier: Tier,
    pub(crate) door: Door,
    pub(crate) enforcement: Enforcement,
    pub(crate) member: u64,
    pub(crate) salt: Salt,
    /// How its caller proved who it is, if it did.
    pub(crate) proof: Option<Proof>,
    /// The caller's own name of the action, by which it reports the outcome.
    pub(crate) ticket: Option<Digest>,
}

/// The member of verdicts that outlive their door: their outcome is reported by a later one.
pub(crate) const NO_MEMBER: u64 = u64::MAX;

impl Session {
    /// A receipt of this session with nothing decided in it.
    pub(crate) fn receipt(
        &self,
        kind: Kind,
        (action, tier): (&str, Tier),
        door: Door,
        now: Millis,
    ) -> Receipt {
        let enforcement = match door {
            Door::Api | Door::Hook => Enforcement::Cooperative,
            Door::Cli | Door::McpHttp | Door::McpStdio | Door::Monitor => Enforcement::Inline,
        };
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
                labels: Some(self.context.labels().names()),
            }),
            context_digest: self.context.digest(),
            continues: None,
            control: None,
            decision: None,
            deferral: None,
            door,
            enforcement,
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

    /// Keeps what a receipt says of its deferred calls.
    pub(crate) fn deferral(&mut self, receipt: &Receipt, hash: Digest) {
        if self.deferrals.fold(receipt, hash) == Stirred::Yes {
            self.review = match self.review {
                Review::Idle | Review::Due => Review::Due,
                Review::Busy | Review::Again => Review::Again,
            };
        }
    }

    /// Keeps what its principal asked for, as many as its context is measured against.
    pub(crate) fn asked(&mut self, text: String) {
        let mut texts = self.requests.texts.clone();
        if texts.len() >= REQUESTS_MAX {
            texts.remove(1);
        }
        texts.push(text);
        let words = Words::new(texts.iter().map(String::as_str));
        self.requests = Arc::new(Requests { texts, words });
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
        receipt.enforcement = open.enforcement;
        receipt.of = Some(of);
        receipt.outcome = Some(outcome);
        if let Some(proof) = open.proof {
            proved_by(proof, &mut receipt.identity);
        }
        receipt
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session of nobody's.
    pub(crate) fn session() -> Session {
        let pseudonyms = tipstaff_identity::Pseudonyms::new(&[0; 32], "o");
        Session {
            chain: "s".to_owned(),
            actor: pseudonyms.actor("a"),
            identity: pseudonyms.monitor("s"),
            context: Context::new([0; 16]),
            doors: 0,
            alone_since: Instant::now(),
            open: HashMap::new(),
            closed: false,
            client: None,
            service: String::new(),
            lasting: Lasting::Grace,
            repeats: Repeats::default(),
            pace: Pace::default(),
            requests: Arc::default(),
            deferrals: Deferrals::default(),
            review: Review::Idle,
        }
    }
}
