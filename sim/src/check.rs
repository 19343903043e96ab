//! What has to hold at every step, whatever happened before.
//!
//! It knows the real time and who asked what when, which no node does, and nothing of how a node judges.

use std::collections::BTreeMap;

use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::{BOUND_MS, Entry, Known, ROUNDS};

use crate::Failure;
use crate::faults::folded;
use crate::node::{Act, named};
use crate::token::Token;

#[derive(Debug, Default)]
pub(crate) struct Check {
    /// When each revocation had its receipt: real time, and step.
    receipts: BTreeMap<Digest, (u64, u64)>,
    /// What was granted.
    granted: BTreeMap<Digest, u64>,
    nodes: BTreeMap<u64, Watched>,
    /// Actions whose effect started, and where.
    started: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
struct Watched {
    /// The steps at which the requests of this life were sent that were answered, oldest first.
    exchanged: Vec<u64>,
    /// Real time at which the last answer came.
    heard: Option<u64>,
    /// The control revision that it reached.
    revision: u64,
}

/// A moment of the simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) real: u64,
    pub(crate) step: u64,
}

impl Now {
    fn violated(self, what: String) -> Failure {
        Failure::Violated { at: self.real, what }
    }
}

impl Check {
    /// An order is durable, and has its receipt unless the store crashed before.
    pub(crate) fn ordered(&mut self, now: Now, entry: Entry, receipt: bool) {
        match entry {
            Entry::Grant { id, .. } => drop(self.granted.insert(id, now.step)),
            Entry::Revoke { id } if receipt => {
                self.receipts.entry(id).or_insert((now.real, now.step));
            }
            Entry::Revoke { .. } | Entry::Other { .. } => {}
        }
    }

    /// An answer came to a node, whatever it makes of it.
    pub(crate) fn heard(&mut self, now: Now, node: u64) {
        self.nodes.entry(node).or_default().heard = Some(now.real);
    }

    /// A node took an answer to a request that was sent at a step.
    pub(crate) fn exchanged(
        &mut self,
        now: Now,
        node: u64,
        sent: u64,
        (known, store): (&Known, &[Entry]),
    ) -> Result<(), Failure> {
        let watched = self.nodes.entry(node).or_default();
        watched.exchanged.push(sent);
        watched.revision = known.head().revision;
        same_as_the_log(now, node, known, store)
    }

    /// A node started, with what it had kept and the receipts that it has.
    pub(crate) fn restarted(
        &mut self,
        now: Now,
        node: u64,
        (known, store): (&Known, &[Entry]),
        receipts: &BTreeMap<Digest, u64>,
    ) -> Result<(), Failure> {
        let watched = self.nodes.entry(node).or_default();
        watched.exchanged.clear();
        if known.head().revision < watched.revision {
            return Err(now.violated(format!("node {node} forgot what it had judged by")));
        }
        for (action, _) in self.started.iter().filter(|(_, at)| **at == node) {
            match receipts.get(&named(*action)) {
                Some(1) => {}
                Some(more) => {
                    let what = format!("action {action} of node {node} has {more} receipts");
                    return Err(now.violated(what));
                }
                None => {
                    let what =
                        format!("the effect of action {action} of node {node} has no receipt");
                    return Err(now.violated(what));
                }
            }
        }
        same_as_the_log(now, node, known, store)
    }

    /// A node permitted something.
    pub(crate) fn permitted(
        &self,
        now: Now,
        node: u64,
        (token, tier): (&Token, Tier),
        (revision, store): (u64, &[Entry]),
    ) -> Result<(), Failure> {
        let known = store.iter().take(usize::try_from(revision).unwrap_or(usize::MAX));
        for entry in known {
            if let Entry::Revoke { id } = entry
                && token.ids().any(|above| above == *id)
            {
                let what = format!("node {node} permitted {tier} with what it knew to be revoked");
                return Err(now.violated(what));
            }
        }
        let exchanged = self.nodes.get(&node).map(|node| &node.exchanged[..]).unwrap_or_default();
        for id in token.ids().filter(|_| tier >= Tier::T3) {
            let Some((_, receipt)) = self.receipts.get(&id) else { continue };
            let after = exchanged.iter().filter(|sent| *sent > receipt).count() as u64;
            if after >= u64::from(ROUNDS) {
                let what = format!(
                    "node {node} permitted {tier} with a revoked capability, {after} exchanges after its receipt"
                );
                return Err(now.violated(what));
            }
        }
        Ok(())
    }

    /// An effect started.
    pub(crate) fn started(
        &mut self,
        now: Now,
        (node, number): (u64, u64),
        act: &Act,
    ) -> Result<(), Failure> {
        self.started.insert(number, node);
        let Act { token, tool, tier, .. } = act;
        if !token.allows(*tool, *tier) {
            return Err(now.violated(format!("node {node} did {tier} outside of its grant")));
        }
        if !token.ids().next().is_some_and(|id| self.granted.contains_key(&id)) {
            return Err(now.violated(format!("node {node} did {tier} by what nobody granted")));
        }
        if *tier < Tier::T3 {
            return Ok(());
        }
        for id in token.ids() {
            if let Some((receipt, _)) = self.receipts.get(&id)
                && now.real >= receipt + BOUND_MS
            {
                let late = now.real - receipt;
                let what =
                    format!("node {node} did {tier} {late} ms after the revocation's receipt");
                return Err(now.violated(what));
            }
        }
        let heard = self.nodes.get(&node).and_then(|node| node.heard);
        if heard.is_none_or(|heard| now.real >= heard + BOUND_MS) {
            return Err(now.violated(format!("node {node} was cut off, and did {tier}")));
        }
        Ok(())
    }
}

/// What a node knows is what the store's log says up to there.
fn same_as_the_log(now: Now, node: u64, known: &Known, store: &[Entry]) -> Result<(), Failure> {
    let revision = usize::try_from(known.head().revision).unwrap_or(usize::MAX);
    let log = folded(store.iter().take(revision)).map_err(|_| Failure::Wrong("a log"))?;
    if log.digest() == known.digest() {
        return Ok(());
    }
    Err(now.violated(format!("node {node} knows something else than the log says")))
}
