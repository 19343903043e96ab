//! What can be wrong with a policy set, named so that its author can mend it.
//!
//! The adversary is the rule that looks as if it protects and does not: it names a class that no tool
//! has, or can never match. Every fault says the file, the line and what to write instead, so that
//! nobody is tempted to switch the check off.

use std::fmt;

/// One thing that keeps a policy set from being admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyFault {
    /// The file, or `patches/NAME`, or the folder (`policies`) if the fault has no single home.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Something that an author should know, but that doesn't make the set unsafe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyWarning {
    /// The file that it is about.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What to know.
    pub message: String,
}

/// Why a stored policy source or tool pin list could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A stored text is not in its canonical form.
    #[error("the stored {0} is not in its canonical form")]
    NotCanonical(&'static str),
    /// A patch is not acceptable JSON.
    #[error("patch `{name}` is not acceptable JSON: {fault}")]
    PatchJson {
        /// The patch.
        name: String,
        /// What the strict parser says.
        fault: tipstaff_core::CoreError,
    },
}

/// Why a patch could not be applied. The call is refused, whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchFault {
    /// The text is not an RFC 6902 patch.
    #[error("not a JSON Patch (RFC 6902)")]
    NotAPatch,
    /// More operations than a patch may have.
    #[error("more operations than a patch may have")]
    TooLong,
    /// An operation does not fit the parameters (a path that isn't there, a failed test).
    #[error("the patch does not fit these parameters")]
    DoesNotFit,
    /// What comes out is not acceptable as parameters.
    #[error("the patched parameters are not acceptable")]
    BadResult,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for PolicyFault {}

/// A place in a file of a policy set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl<'a> Place<'a> {
    pub(crate) const fn new(file: &'a str, text: &'a str, at: usize) -> Self {
        Self { file, text, at }
    }

    fn line_and_column(&self) -> (usize, usize) {
        let mut at = self.at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    pub(crate) fn fault(&self, message: impl Into<String>) -> PolicyFault {
        let (line, column) = self.line_and_column();
        PolicyFault {
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hinted(&self, message: impl Into<String>, hint: &str) -> PolicyFault {
        PolicyFault { hint: Some(hint.to_owned()), ..self.fault(message) }
    }

    pub(crate) fn warning(&self, message: impl Into<String>) -> PolicyWarning {
        let (line, column) = self.line_and_column();
        PolicyWarning { file: self.file.to_owned(), line, column, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let place = Place::new("a.cedar", "é\nabc", 5);
        assert_eq!(place.fault("x").to_string(), "a.cedar:2:3: x");
        assert_eq!(Place::new("a", "", 9).hinted("x", "y").to_string(), "a:1:1: x (y)");
        assert_eq!(Place::new("a", "é", 1).warning("x").to_string(), "a:1:1: x");
    }
}
