//! The state that entries are folded into.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tipstaff_core::json::write_string;
use tipstaff_core::{Digest, Label, Labels, Sink, Tier};

use crate::drift::Drift;
use crate::entry::{Entry, Step};

/// Most tools that a context names; further ones are counted as one, `…`.
pub const TOOLS_MAX: usize = 1024;
/// Most attributes that a session is given.
pub const ATTRIBUTES_MAX: usize = 64;
/// Most requests of its principal that a session is measured against: the first and the last ones.
pub const REQUESTS_MAX: usize = 8;

/// What a session has accumulated. Equal contexts of one session have equal digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    nonce: [u8; 16],
    tools: BTreeSet<String>,
    /// Digest of the tools, kept since they rarely change.
    tools_digest: Digest,
    highest: Option<Tier>,
    labels: Labels,
    /// The receipt that brought each label in.
    brought: BTreeMap<Label, Digest>,
    requests: Vec<Digest>,
    drift: Option<Drift>,
    attributes: BTreeMap<String, String>,
    count: u64,
    head: Digest,
    digest: Digest,
}

impl Context {
    /// The context of a new session.
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut context = Self {
            nonce,
            tools: BTreeSet::new(),
            tools_digest: Digest::ZERO,
            highest: None,
            labels: Labels::NONE,
            brought: BTreeMap::new(),
            requests: Vec::new(),
            drift: None,
            attributes: BTreeMap::new(),
            count: 0,
            head: Digest::ZERO,
            digest: Digest::ZERO,
        };
        context.digest = Digest::of(context.text().as_bytes());
        context
    }

    /// Folds one entry in.
    pub fn fold(&mut self, entry: &Entry<'_>) {
        self.head = entry.chained(self.head);
        let changed = match entry {
            Entry::Action(step) => self.act(step),
            Entry::Outcome { labels, of, .. } => self.bring(*labels, *of),
            Entry::Declassified { labels, .. } => self.declassify(*labels),
            Entry::Request { text, .. } => self.ask(*text),
            Entry::Attribute { name, value, .. } => self.attribute_set(name, value),
        };
        if changed {
            self.digest = Digest::of(self.text().as_bytes());
        }
    }

    /// SHA-256 of [`Context::text`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many actions were folded in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The hash over all entries.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// What the session has met.
    #[must_use]
    pub const fn labels(&self) -> Labels {
        self.labels
    }

    /// How far it has drifted; `None` while nothing was measured.
    #[must_use]
    pub const fn drift(&self) -> Option<Drift> {
        self.drift
    }

    /// Whether its principal said what is wanted.
    #[must_use]
    pub fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// What it was told, by name.
    #[must_use]
    pub const fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// The verdict of the action that brought a label in.
    #[must_use]
    pub fn brought(&self, label: Label) -> Option<Digest> {
        self.brought.get(&label).copied()
    }

    /// What the digest is taken of: all that a policy can read. Number, head and who brought what are
    /// beside it, so that two states that mean the same have the same digest, however they were reached.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(512);
        out.push_str("{\"attributes\":{");
        for (at, (name, value)) in self.attributes.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            write_string(&mut out, name);
            out.push(':');
            write_string(&mut out, value);
        }
        out.push_str("},\"drift\":");
        // Writing to a string can't fail.
        let _ = match self.drift {
            None => write!(out, "null"),
            Some(Drift { average_ppm, max_ppm }) => {
                write!(out, "{{\"average_ppm\":{average_ppm},\"max_ppm\":{max_ppm}}}")
            }
        };
        let tier = self.highest.map_or_else(|| "null".into(), |tier| tier.number().to_string());
        let _ = write!(out, ",\"highest_tier\":{tier},\"labels\":[");
        for (at, label) in self.labels.iter().enumerate() {
            let _ = write!(out, "{}\"{}\"", if at == 0 { "" } else { "," }, label.as_str());
        }
        out.push_str("],\"nonce\":\"");
        out.push_str(&tipstaff_core::digest::hex(&self.nonce));
        out.push_str("\",\"requests\":[");
        for (at, request) in self.requests.iter().enumerate() {
            let _ = write!(out, "{}\"{}\"", if at == 0 { "" } else { "," }, request.to_hex());
        }
        out.push_str("],\"tools\":\"");
        out.push_str(&self.tools_digest.to_hex());
        out.push_str("\"}");
        out
    }

    fn act(&mut self, step: &Step<'_>) -> bool {
        self.count += 1;
        let mut changed = false;
        if !self.tools.contains(step.tool) && self.tools.len() < TOOLS_MAX {
            let last = self.tools.len() + 1 == TOOLS_MAX;
            self.tools.insert(if last { "…" } else { step.tool }.to_owned());
            let parts = self.tools.iter().flat_map(|tool| [tool.as_bytes(), b"\n".as_slice()]);
            self.tools_digest = Digest::of_parts(&parts.collect::<Vec<_>>());
            changed = true;
        }
        if self.highest < Some(step.tier) {
            self.highest = Some(step.tier);
            changed = true;
        }
        if let Some(ppm) = step.distance_ppm {
            let drift = Some(Drift::after(self.drift, ppm));
            changed |= drift != self.drift;
            self.drift = drift;
        }
        let sent = matches!(step.sink, Sink::External);
        let labels = if sent { step.gives.with(Label::External) } else { step.gives };
        self.bring(labels, step.receipt) || changed
    }

    fn bring(&mut self, labels: Labels, receipt: Digest) -> bool {
        let new = labels.minus(self.labels);
        for label in new.iter() {
            self.brought.insert(label, receipt);
        }
        self.labels = self.labels.union(new);
        !new.is_empty()
    }

    fn declassify(&mut self, labels: Labels) -> bool {
        let before = self.labels;
        self.labels = before.minus(labels);
        self.brought.retain(|label, _| !labels.has(*label));
        self.labels != before
    }

    fn ask(&mut self, text: Digest) -> bool {
        if self.requests.len() >= REQUESTS_MAX {
            // The first stays: everything after it is measured against the original too.
            self.requests.remove(1);
        }
        self.requests.push(text);
        true
    }

    fn attribute_set(&mut self, name: &str, value: &str) -> bool {
        if self.attributes.len() >= ATTRIBUTES_MAX && !self.attributes.contains_key(name) {
            return false;
        }
        self.attributes.insert(name.to_owned(), value.to_owned()).as_deref() != Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step<'a>(tool: &'a str, tier: Tier, receipt: &[u8]) -> Step<'a> {
        let of = |bytes: &[u8]| Digest::of(bytes);
        let (gives, sink) = (Labels::NONE, Sink::None);
        let receipt = of(receipt);
        Step { tool, tier, gives, sink, distance_ppm: None, receipt }
    }

    fn act(context: &mut Context, tool: &str, tier: Tier, receipt: &[u8]) {
        context.fold(&Entry::Action(step(tool, tier, receipt)));
    }

    #[test]
    fn equal_contexts_have_equal_digests_whatever_the_way() {
        let (mut one, mut two) = (Context::new([1; 16]), Context::new([1; 16]));
        act(&mut one, "a/x", Tier::T1, b"1");
        act(&mut one, "b/y", Tier::T3, b"2");
        act(&mut two, "b/y", Tier::T3, b"3");
        act(&mut two, "a/x", Tier::T1, b"4");
        act(&mut two, "a/x", Tier::T1, b"5");
        assert_eq!(one.digest(), two.digest());
        assert_ne!(one.head(), two.head());
        act(&mut two, "a/x", Tier::T4, b"6");
        assert_ne!(one.digest(), two.digest());
        assert_ne!(Context::new([1; 16]).digest(), Context::new([2; 16]).digest());
    }

    #[test]
    fn the_text_is_rfc_8785() {
        let mut context = Context::new([7; 16]);
        act(&mut context, "a/x", Tier::T1, b"1");
        let (receipt, labels) = (Digest::of(b"r"), Labels::NONE.with(Label::Secret));
        context.fold(&Entry::Outcome { labels, of: receipt, receipt });
        context.fold(&Entry::Attribute { name: "ticket", value: "é\"", receipt });
        context.fold(&Entry::Request { text: Digest::of(b"t"), receipt });
        let distant = Step { distance_ppm: Some(5), ..step("a/x", Tier::T1, b"2") };
        context.fold(&Entry::Action(distant));
        let text = context.text();
        let json = tipstaff_core::Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json.to_canonical(), text);
        assert_eq!(context.digest(), Digest::of(text.as_bytes()));
    }

    #[test]
    fn labels_accumulate_and_name_who_brought_them() {
        let mut context = Context::new([0; 16]);
        let gives = Labels::NONE.with(Label::Untrusted);
        let read = Step { gives, ..step("web/get", Tier::T1, b"page") };
        context.fold(&Entry::Action(read));
        let again = Step { gives, ..step("web/get", Tier::T1, b"other") };
        context.fold(&Entry::Action(again));
        act(&mut context, "fs/read", Tier::T1, b"file");
        assert_eq!(context.labels(), gives);
        assert_eq!(context.brought(Label::Untrusted), Some(Digest::of(b"page")));
        let sent = Step { sink: Sink::External, ..step("mail/send", Tier::T4, b"mail") };
        context.fold(&Entry::Action(sent));
        assert!(context.labels().has(Label::External));
        let receipt = Digest::of(b"person");
        context.fold(&Entry::Declassified { labels: gives, receipt });
        assert!(!context.labels().has(Label::Untrusted) && context.labels().has(Label::External));
        assert_eq!(context.brought(Label::Untrusted), None);
    }

    #[test]
    fn a_changed_entry_changes_every_head_after_it() {
        let heads = |second: &[u8]| {
            let mut context = Context::new([0; 16]);
            [b"1".as_slice(), second, b"3"].map(|receipt| {
                act(&mut context, "a/x", Tier::T1, receipt);
                context.head()
            })
        };
        let (true_ones, forged) = (heads(b"2"), heads(b"x"));
        assert_eq!(true_ones[0], forged[0]);
        assert!(true_ones[1] != forged[1] && true_ones[2] != forged[2]);
    }

    #[test]
    fn a_long_session_takes_no_more_memory() {
        let mut context = Context::new([0; 16]);
        let receipt = Digest::of(b"r");
        for number in 0..20_000_u32 {
            let tool = number.to_string();
            let step = Step { distance_ppm: Some(number), ..step(&tool, Tier::T1, b"s") };
            context.fold(&Entry::Action(step));
            if number % 100 == 0 {
                context.fold(&Entry::Attribute { name: &tool, value: "v", receipt });
                context.fold(&Entry::Request { text: receipt, receipt });
            }
        }
        assert_eq!(context.tools.len(), TOOLS_MAX);
        assert_eq!(context.attributes.len(), ATTRIBUTES_MAX);
        assert_eq!(context.requests.len(), REQUESTS_MAX);
        assert_eq!(context.drift().unwrap().max_ppm, 19_999);
        assert!(context.text().len() < 16_384);
    }
}
