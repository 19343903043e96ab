//! Access words: who may do what, in rules that read without a manual, compiled to Cedar (row J7).
//!
//! The adversary is the rule that says less than its author thinks. So the words have one meaning, which is the
//! Cedar that they compile to: that text is admitted, pinned by its digest and derived again, and nothing else
//! evaluates words. A wildcard is written, never implied; `deny` outweighs `ask`, and `ask` outweighs `allow`.

mod compile;
mod items;
mod parse;
mod print;
mod scan;
#[cfg(test)]
mod tests;

use crate::error::PolicyFault;

/// What the name of a file of access words ends with.
pub const SUFFIX: &str = ".access";
/// Most items between one pair of braces.
pub const ITEMS_MAX: usize = 256;
/// Longest string, in bytes.
pub const TEXT_MAX: usize = 1024;
/// Most faults that one file is told.
pub(crate) const FAULTS_MAX: usize = 20;

/// The statements of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// In their order, which decides nothing.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `allow(WHO, ACTION, RESOURCE)`, `ask(…)` or `deny(…)`.
    Rule(Rule),
    /// `role(NAME) = { ACTION on RESOURCE … }`: whoever has the role may do these.
    Role {
        /// The role's name.
        role: String,
        /// What it may do.
        privileges: Vec<Rule>,
    },
    /// `policy(RESOURCE) = { allow(WHO, ACTION) … }`: the rules of one resource.
    Policy {
        /// The resource.
        resource: Choice<Resource>,
        /// Its rules.
        rules: Vec<Rule>,
    },
}

/// One rule: who, what, on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub at: At,
    /// What it says.
    pub verb: Verb,
    /// Of whom.
    pub who: Choice<Who>,
    /// Doing what.
    pub action: Choice<What>,
    /// On what.
    pub resource: Choice<Resource>,
    /// What an agent is told when the rule decides.
    pub advice: Option<String>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// It may be done.
    Allow,
    /// A person has to approve it.
    Ask,
    /// It is refused, whatever else says that it may be done.
    Deny,
}

/// One of some, or none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<T> {
    /// Which.
    pub sense: Sense,
    /// The items, never empty.
    pub items: Vec<T>,
}

/// Whether a choice is of its items or of everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// One of these.
    Is,
    /// `not`: none of these.
    IsNot,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// `*`
    Anyone,
    /// `coder`: the agent of this name.
    Agent(String),
    /// `user(ada)`: who acts for this person.
    User(String),
    /// `role(reader)`: who has this role.
    Role(String),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `*`
    Anything,
    /// `T4`, `T1..T3`, `T4+`: the tiers from the first to the last.
    Tiers(u8, u8),
    /// `fs:write`: a class of the catalogue.
    Class(String),
    /// `fs:*`: all classes of a family.
    Family(String),
    /// `github/push_files`: calls of a tool.
    Tool(String),
    /// `github/*`: calls of all tools of a server.
    Server(String),
    /// `read`, `prompt`, `complete`, `sample`, `elicit`, `other`: what isn't a tool call.
    Operation(String),
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `*`
    Anything,
    /// `roots`: all paths that are named are inside the declared folders, and there is one.
    Roots,
    /// `credentials`: a well-known key or credential file.
    Credentials,
    /// `tipstaff`: Tipstaff's own home.
    Tipstaff,
    /// `outside`: what is carried leaves this machine, or may.
    Outside,
    /// `server(github)`: whatever this server offers.
    Server(String),
    /// `argument("/branch", "release/*")`: an argument's text, where `*` stands for any.
    Argument {
        /// JSON pointer to it.
        pointer: String,
        /// The text.
        pattern: String,
    },
}

/// Where a statement stands; no part of what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct At {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

impl Verb {
    /// All of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Ask, Self::Deny];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

impl<T> Choice<T> {
    /// One item.
    #[must_use]
    pub fn one(item: T) -> Self {
        Self { sense: Sense::Is, items: vec![item] }
    }
}

impl Rule {
    /// Reads `WHO` and `ACTION [on RESOURCE]` as one rule that allows it: for questions and statements.
    ///
    /// # Errors
    /// What is wrong first; also for a text that holds more than that.
    pub fn read(who: &str, rest: &str) -> Result<Self, PolicyFault> {
        let only = |text: &str| {
            let words = Words::parse("text", text).map_err(|mut faults| faults.pop())?;
            match words.statements.as_slice() {
                [Statement::Rule(rule)] => Ok(rule.clone()),
                [Statement::Role { privileges, .. }] => match privileges.as_slice() {
                    [rule] => Ok(rule.clone()),
                    _ => Err(None),
                },
                _ => Err(None),
            }
        };
        let of = only(&format!("allow({who}, *, *)"));
        let rule = of
            .and_then(|of| Ok(Self { who: of.who, ..only(&format!("role(any) = {{ {rest} }}"))? }));
        rule.map_err(|fault| {
            let place = crate::error::Place::new("text", "", 0);
            fault.unwrap_or_else(|| {
                place.hinted("this is more than one rule", "write WHO, ACTION on RESOURCE")
            })
        })
    }
}

impl Words {
    /// Reads a file of access words.
    ///
    /// # Errors
    /// What is wrong, each with line, column and what to write instead; at most 20 of them.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyFault>> {
        parse::parse(file, text)
    }

    /// The rules, those of roles and of resources spelled out.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.statements.iter().flat_map(|statement| match statement {
            Statement::Rule(rule) => std::slice::from_ref(rule),
            Statement::Role { privileges, .. } => privileges,
            Statement::Policy { rules, .. } => rules,
        })
    }

    /// The Cedar that the words mean, one policy a rule, for a catalogue with these classes. `file` names the
    /// rules: `team.access` line 3 is `team.access.3`.
    ///
    /// # Errors
    /// What the catalogue doesn't know, and what would be too long.
    pub fn to_cedar<'a>(
        &self,
        file: &str,
        classes: impl IntoIterator<Item = &'a str>,
    ) -> Result<String, Vec<PolicyFault>> {
        compile::compile(self, file, &classes.into_iter().collect())
    }
}

pub(crate) use compile::{compiled, trace};
