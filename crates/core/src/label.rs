//! What is known of data that a session has met (row A5): labels, and where an action leads.
//!
//! The adversary carries data from where it may be read to where it may not go, in steps that are each
//! harmless. Labels only accumulate, so that no order of steps loses one; what nobody classified has the
//! highest sensitivity (law 8).

/// One thing that is known of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Label {
    /// Its owner means it for few.
    Confidential = 1 << 0,
    /// Something was sent out of the reach of whoever the agent works for.
    External = 1 << 1,
    /// Its owner means it for those of the house.
    Internal = 1 << 2,
    /// It is about people.
    Personal = 1 << 3,
    /// It opens something: a key, a password, a token.
    Secret = 1 << 4,
    /// Nothing says how sensitive it is.
    Unclassified = 1 << 5,
    /// Somebody else could have written it.
    Untrusted = 1 << 6,
}

/// A set of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(u8);

/// How bad it would be if others read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Sensitivity {
    /// Anybody may.
    Public = 0,
    /// Those of the house may.
    Internal = 1,
    /// Few may.
    Confidential = 2,
    /// Nobody else may.
    Restricted = 3,
}

/// Where what an action carries ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sink {
    /// With others.
    External,
    /// On this machine, or where only whoever the agent works for reads it.
    Local,
    /// Nowhere: it only reads.
    None,
    /// Nobody knows.
    Unknown,
}

impl Label {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::Confidential,
        Self::External,
        Self::Internal,
        Self::Personal,
        Self::Secret,
        Self::Unclassified,
        Self::Untrusted,
    ];

    /// The spelling in receipts and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::External => "external",
            Self::Internal => "internal",
            Self::Personal => "personal",
            Self::Secret => "secret",
            Self::Unclassified => "unclassified",
            Self::Untrusted => "untrusted",
        }
    }

    /// The label of a spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == text)
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Labels {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a label is in it.
    #[must_use]
    pub const fn has(self, label: Label) -> bool {
        self.0 & label as u8 != 0
    }

    /// With another label.
    #[must_use]
    pub const fn with(self, label: Label) -> Self {
        Self(self.0 | label as u8)
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this and not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The labels, in the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Label> {
        Label::ALL.into_iter().filter(move |label| self.has(*label))
    }

    /// Their spellings, in order.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        self.iter().map(|label| label.as_str().to_owned()).collect()
    }

    /// Reads what [`Labels::names`] wrote. `None` for a word that is no label.
    #[must_use]
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().try_fold(Self::NONE, |all, name| Some(all.with(Label::parse(name)?)))
    }

    /// How sensitive data with these labels is.
    #[must_use]
    pub const fn sensitivity(self) -> Sensitivity {
        if self.has(Label::Secret) || self.has(Label::Unclassified) {
            Sensitivity::Restricted
        } else if self.has(Label::Confidential) || self.has(Label::Personal) {
            Sensitivity::Confidential
        } else if self.has(Label::Internal) {
            Sensitivity::Internal
        } else {
            Sensitivity::Public
        }
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        labels.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Sink {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::External, Self::Local, Self::None, Self::Unknown];

    /// The spelling in policies and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Local => "local",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }

    /// The value of a spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sink| sink.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_and_what_is_unclassified_is_most_sensitive() {
        let all: Labels = Label::ALL.into_iter().collect();
        let names = all.names();
        assert!(names.is_sorted());
        assert_eq!(Labels::parse(names.iter().map(String::as_str)), Some(all));
        assert_eq!(Labels::parse(["secrets"]), None);
        let of = |labels: &[Label]| labels.iter().copied().collect::<Labels>().sensitivity();
        assert_eq!(of(&[]), Sensitivity::Public);
        assert_eq!(of(&[Label::Internal, Label::Untrusted]), Sensitivity::Internal);
        assert_eq!(of(&[Label::Personal]), Sensitivity::Confidential);
        assert_eq!(of(&[Label::Unclassified]), Sensitivity::Restricted);
        assert_eq!(all.minus(all), Labels::NONE);
    }
}
