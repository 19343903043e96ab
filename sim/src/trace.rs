//! What happened, one JSON object a line, for readers and for the TLA+ specification.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tipstaff_core::Digest;
use tipstaff_identity::revocation::Reading;

use crate::token::{TOOLS, Token};

/// Lines, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    lines: Vec<String>,
    at: u64,
    shown: Vec<Reading>,
    ids: BTreeMap<Digest, usize>,
}

impl Trace {
    /// The lines, each JSON.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Digest of all of them: two runs of one seed have the same.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.lines.join("\n").as_bytes())
    }

    /// Another clock counts from here: no time of it goes over this moment.
    pub(crate) fn reset(&mut self, node: u64, shown: Reading) {
        let at = usize::try_from(node).unwrap_or(usize::MAX);
        if self.shown.len() <= at {
            self.shown.resize(at + 1, Reading(0));
        }
        if let Some(last) = self.shown.get_mut(at) {
            *last = shown;
        }
    }

    /// Time passed: `shown` is what the clocks show now.
    pub(crate) fn pass(&mut self, real: u64, shown: Vec<Reading>) {
        if real == self.at && shown == self.shown {
            return;
        }
        let by = |(now, last): (&Reading, &Reading)| {
            i64::try_from(now.0).unwrap_or(i64::MAX) - i64::try_from(last.0).unwrap_or(i64::MAX)
        };
        let clocks: Vec<i64> = shown.iter().zip(&self.shown).map(by).collect();
        self.say(&json!({ "op": "pass", "ms": real - self.at, "clocks": clocks }));
        (self.at, self.shown) = (real, shown);
    }

    pub(crate) fn say(&mut self, line: &Value) {
        self.lines.push(line.to_string());
    }

    /// A capability was made.
    pub(crate) fn make(&mut self, token: &Token) {
        let id = self.ids.len() + 1;
        self.ids.insert(token.id(), id);
        let parent = token.parent().map_or(0, |parent| self.id(parent));
        let (tools, ceiling) = match token.scope() {
            Some(scope) => {
                let tools = (0..TOOLS).filter(|tool| scope.tools >> tool & 1 == 1).collect();
                (tools, scope.ceiling.number())
            }
            None => (Vec::new(), 1),
        };
        let line =
            json!({ "op": "make", "id": id, "parent": parent, "tools": tools, "ceiling": ceiling });
        self.say(&line);
    }

    /// The number of a capability.
    pub(crate) fn id(&self, id: Digest) -> usize {
        self.ids.get(&id).copied().unwrap_or_default()
    }
}
