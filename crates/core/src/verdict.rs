//! The five tiers of an action and the five verdicts on it (AARM v1; rows A3, A4).

/// How much an action can change, from T1 (nothing) to T5 (what cannot be undone).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// Read-only.
    T1 = 1,
    /// An effect that does not persist.
    T2 = 2,
    /// A change inside the local sandbox.
    T3 = 3,
    /// Visible to another actor.
    T4 = 4,
    /// Irreversible or privileged.
    T5 = 5,
}

impl Tier {
    /// All tiers, lowest first.
    pub const ALL: [Self; 5] = [Self::T1, Self::T2, Self::T3, Self::T4, Self::T5];

    /// The tier's number, 1 to 5.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The tier of a number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.number() == number)
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "T{}", self.number())
    }
}

/// What the monitor answers. Only [`Verdict::Allow`] and [`Verdict::Modify`] lead to a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The action may happen as asked.
    Allow,
    /// There is not enough context to decide.
    Defer,
    /// The action may not happen.
    Deny,
    /// The action may happen in a changed form, which is what is recorded and executed.
    Modify,
    /// A person must approve this exact action first.
    StepUp,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 5] = [Self::Allow, Self::Defer, Self::Deny, Self::Modify, Self::StepUp];

    /// The spelling in receipts and replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Defer => "DEFER",
            Self::Deny => "DENY",
            Self::Modify => "MODIFY",
            Self::StepUp => "STEP_UP",
        }
    }

    /// The verdict of a spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
