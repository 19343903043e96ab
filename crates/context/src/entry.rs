//! What is folded into a context, and the chain over it.
//!
//! The adversary changes what a session is said to have done, afterwards. Each entry has one text; the head
//! is the hash of the head before and that text, so that one changed entry changes every head after it, and
//! heads are in signed receipts.

use tipstaff_core::json::write_string;
use tipstaff_core::{Digest, Labels, Sink, Tier};

/// One thing that happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The principal said what is wanted; `receipt` is that of the signed request.
    Request {
        /// Digest of its text.
        text: Digest,
        /// Its receipt.
        receipt: Digest,
    },
    /// An action was permitted.
    Action(Step<'a>),
    /// Something was found in a result.
    Outcome {
        /// What.
        labels: Labels,
        /// The action's verdict.
        of: Digest,
        /// The outcome's receipt.
        receipt: Digest,
    },
    /// A policy or a person said that labels no longer apply.
    Declassified {
        /// Which.
        labels: Labels,
        /// The receipt that says so.
        receipt: Digest,
    },
    /// An operator or a program of theirs said something that policies can read.
    Attribute {
        /// Its name.
        name: &'a str,
        /// Its value.
        value: &'a str,
        /// The receipt that says so.
        receipt: Digest,
    },
}

/// A permitted action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// `server/tool`
    pub tool: &'a str,
    /// Its tier.
    pub tier: Tier,
    /// What its result may hold.
    pub gives: Labels,
    /// Where what it carries ends up.
    pub sink: Sink,
    /// Its distance from the request, if one was measured.
    pub distance_ppm: Option<u32>,
    /// Its verdict.
    pub receipt: Digest,
}

impl Entry<'_> {
    /// The head after this entry.
    pub(crate) fn chained(&self, head: Digest) -> Digest {
        Digest::of_parts(&[head.as_bytes(), self.text().as_bytes()])
    }

    /// The receipt that the entry is of.
    pub(crate) const fn receipt(&self) -> Digest {
        match self {
            Self::Action(step) => step.receipt,
            Self::Attribute { receipt, .. }
            | Self::Declassified { receipt, .. }
            | Self::Outcome { receipt, .. }
            | Self::Request { receipt, .. } => *receipt,
        }
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::with_capacity(256);
        let names = |labels: Labels| labels.names().join(" ");
        // Writing to a string can't fail.
        let _ = match self {
            Self::Action(step) => {
                let distance = step.distance_ppm.map_or(-1, i64::from);
                let (tier, sink, gives) = (step.tier, step.sink.as_str(), names(step.gives));
                let _ = write!(out, "action {tier} {sink} {distance} [{gives}] ");
                write_string(&mut out, step.tool);
                Ok(())
            }
            Self::Attribute { name, value, .. } => {
                out.push_str("attribute ");
                write_string(&mut out, name);
                write_string(&mut out, value);
                Ok(())
            }
            Self::Declassified { labels, .. } => write!(out, "declassified {}", names(*labels)),
            Self::Outcome { labels, of, .. } => {
                write!(out, "outcome {} {}", of.to_hex(), names(*labels))
            }
            Self::Request { text, .. } => write!(out, "request {}", text.to_hex()),
        };
        out.push(' ');
        out.push_str(&self.receipt().to_hex());
        out
    }
}
