//! One case of a test: what was sent, what came, and whether that is what must be.

use serde::Serialize;

/// Longest text of a case in characters.
const TEXT_MAX: usize = 700;

/// What a test, a case or an item came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// Measured, and as it has to be.
    #[serde(rename = "met")]
    Met,
    /// It could not be tried.
    #[serde(rename = "not tested")]
    NotTested,
    /// Measured, and not as it has to be.
    #[serde(rename = "not met")]
    NotMet,
}

/// Which way a case asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What has to happen.
    Positive,
    /// What must not happen, or must not happen without a cause.
    Negative,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Which way it asks.
    pub kind: Kind,
    /// What it came to.
    pub result: Outcome,
    /// What was sent.
    pub sent: String,
    /// What came back.
    pub came: String,
    /// Hashes of the receipts that it looked at.
    pub receipts: Vec<String>,
}

impl Outcome {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotTested => "not tested",
            Self::NotMet => "not met",
        }
    }
}

impl Case {
    pub(crate) fn positive(sent: &str) -> Self {
        Self::new(Kind::Positive, sent)
    }

    pub(crate) fn negative(sent: &str) -> Self {
        Self::new(Kind::Negative, sent)
    }

    fn new(kind: Kind, sent: &str) -> Self {
        Self {
            kind,
            result: Outcome::NotTested,
            sent: sent.to_owned(),
            came: String::new(),
            receipts: Vec::new(),
        }
    }

    /// One thing that has to hold.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        let now = if holds { Outcome::Met } else { Outcome::NotMet };
        self.result = match self.result {
            Outcome::NotMet => Outcome::NotMet,
            Outcome::Met | Outcome::NotTested => now,
        };
        self.say(&if holds { what.to_owned() } else { format!("NOT: {what}") });
    }

    /// It could not be tried, as far as it is not refuted already.
    pub(crate) fn untested(&mut self, why: &str) {
        if self.result != Outcome::NotMet {
            self.result = Outcome::NotTested;
        }
        self.say(why);
    }

    /// Something that came, which decides nothing.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.came.is_empty() {
            self.came.push_str("; ");
        }
        self.came.push_str(text);
        if let Some((at, _)) = self.came.char_indices().nth(TEXT_MAX) {
            self.came.truncate(at);
            self.came.push('\u{2026}');
        }
    }

    /// A receipt that it looked at.
    pub(crate) fn of(&mut self, receipt: &str) {
        if !receipt.is_empty() && !self.receipts.iter().any(|known| known == receipt) {
            self.receipts.push(receipt.to_owned());
        }
    }
}
