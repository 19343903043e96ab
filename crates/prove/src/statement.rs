//! Statements about all requests, in a few forms, with the words of access files.

use std::fmt;

use tipstaff_policy::words::{Choice, Resource, Rule, Who};

/// What to write, for those who wrote something else.
const FORMS: &str = "write `no agent can ever do T5`, `coder can never do git:push on not roots`, or either with \
                     `without approval`";

/// That somebody can never do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who, what, on what.
    pub rule: Rule,
    /// How much is claimed.
    pub claim: Claim,
}

/// How much is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Not at all: neither ALLOW nor MODIFY nor STEP_UP.
    Never,
    /// Not unless a person approves it: neither ALLOW nor MODIFY.
    NeverUnapproved,
}

/// What is wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({hint})")]
pub struct StatementFault {
    /// What.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Statement {
    /// Reads a statement: `no WHO can ever do ACTION [on RESOURCE] [without approval]`, or
    /// `WHO can never do ACTION …`, where WHO, ACTION and RESOURCE are those of access words and `no agent` and
    /// `nobody` are anybody.
    ///
    /// # Errors
    /// [`StatementFault`]
    pub fn parse(text: &str) -> Result<Self, StatementFault> {
        let text = text.trim().trim_end_matches('.');
        let (text, claim) = match text.strip_suffix(" without approval") {
            Some(text) => (text, Claim::NeverUnapproved),
            None => (text, Claim::Never),
        };
        let none = text.strip_prefix("no ").or_else(|| text.strip_prefix("No "));
        let (who, rest) = match (none, text.split_once(" can ever do ")) {
            (Some(none), _) => none.split_once(" can ever do ").ok_or_else(no_form)?,
            (None, Some(("nobody" | "Nobody", rest))) => ("*", rest),
            (None, _) => text.split_once(" can never do ").ok_or_else(no_form)?,
        };
        let who = if matches!(who, "agent" | "Agent" | "agents" | "one") { "*" } else { who };
        let rule = Rule::read(who, rest).map_err(|fault| StatementFault {
            message: fault.message,
            hint: fault.hint.unwrap_or_default(),
        })?;
        Ok(Self { rule, claim })
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { who, action, resource, .. } = &self.rule;
        if *who == Choice::one(Who::Anyone) {
            write!(f, "no agent can ever do {action}")?;
        } else {
            write!(f, "{who} can never do {action}")?;
        }
        if *resource != Choice::one(Resource::Anything) {
            write!(f, " on {resource}")?;
        }
        match self.claim {
            Claim::Never => Ok(()),
            Claim::NeverUnapproved => f.write_str(" without approval"),
        }
    }
}

fn no_form() -> StatementFault {
    StatementFault { message: "this is none of the statements".to_owned(), hint: FORMS.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_one_spelling_and_read_back() {
        for (text, spelled) in [
            ("no agent can ever do T5", "no agent can ever do T5"),
            (
                "Nobody can ever do T4+ without approval.",
                "no agent can ever do T4+ without approval",
            ),
            ("no role(reader) can ever do fs:write", "role(reader) can never do fs:write"),
            ("not role(admin) can never do T5", "not role(admin) can never do T5"),
            (
                "{ coder, user(ada) } can never do github/push on not { roots, argument(\"/b\", \"a on b\") }",
                "{ coder, user(ada) } can never do github/push on not { roots, argument(\"/b\", \"a on b\") }",
            ),
        ] {
            let read = Statement::parse(text).unwrap();
            assert_eq!(read.to_string(), spelled);
            assert_eq!(Statement::parse(spelled), Ok(read));
        }
        for (text, says) in [
            ("T5 is bad", "none of the statements"),
            ("no agent can ever do T9", "`T9` is no action"),
            ("no agent can ever do T1, T2", "more than one rule"),
            ("coder, *, *) deny(coder can never do T1", "more than one rule"),
            ("coder, *, *) deny(coder, *, * can never do T1", "is missing"),
            ("coder can never do T1 } deny(*, *, *) role(x) = { T1", "more than one rule"),
            ("coder can never do T1 on /etc", "a path is no resource"),
        ] {
            let fault = Statement::parse(text).unwrap_err().to_string();
            assert!(fault.contains(says), "{text}: {fault}");
        }
    }
}
