//! Writes access words as they are read.

use std::fmt::{self, Display, Formatter};

use super::items::OPERATIONS;
use super::scan::is_plain;
use super::{Choice, Resource, Rule, Sense, Statement, What, Who, Words};

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl Display for Words {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.statements.is_empty() {
            // A file without a word in it isn't read: a cut-off one would look like it.
            return writeln!(f, "// no rules");
        }
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement}"))
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => {
                let Rule { verb, who, action, resource, .. } = rule;
                write!(f, "{}({who}, {action}, {resource})", verb.as_str())?;
                advice(f, rule)
            }
            Self::Role { role, privileges } => {
                writeln!(f, "role({role}) = {{")?;
                for rule in privileges {
                    write!(f, "  {}", rule.action)?;
                    if rule.resource != Choice::one(Resource::Anything) {
                        write!(f, " on {}", rule.resource)?;
                    }
                    writeln!(f, ",")?;
                }
                f.write_str("}")
            }
            Self::Policy { resource, rules } => {
                writeln!(f, "policy({resource}) = {{")?;
                for rule in rules {
                    write!(f, "  {}({}, {})", rule.verb.as_str(), rule.who, rule.action)?;
                    advice(f, rule)?;
                    writeln!(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn advice(f: &mut Formatter<'_>, rule: &Rule) -> fmt::Result {
    rule.advice.as_ref().map_or(Ok(()), |text| write!(f, " {}", Quoted(text)))
}

impl<T: Display> Display for Choice<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.sense == Sense::IsNot {
            f.write_str("not ")?;
        }
        if let [item] = self.items.as_slice() {
            return item.fmt(f);
        }
        f.write_str("{ ")?;
        for (at, item) in self.items.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            item.fmt(f)?;
        }
        f.write_str(" }")
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            // The word before braces or items can't be a name.
            Self::Agent(name) if name == "not" => write!(f, "agent({name})"),
            Self::Agent(name) => f.write_str(name),
            Self::User(name) => write!(f, "user({name})"),
            Self::Role(name) => write!(f, "role({name})"),
        }
    }
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("*"),
            Self::Tiers(first, last) if first == last => write!(f, "T{first}"),
            Self::Tiers(first, 5) => write!(f, "T{first}+"),
            Self::Tiers(first, last) => write!(f, "T{first}..T{last}"),
            Self::Class(class) => f.write_str(class),
            Self::Family(family) => write!(f, "{family}:*"),
            Self::Tool(tool) if is_bare(tool) => f.write_str(tool),
            Self::Tool(tool) => Quoted(tool).fmt(f),
            Self::Server(server) => write!(f, "{server}/*"),
            Self::Operation(word) => {
                debug_assert!(OPERATIONS.contains(&word.as_str()));
                f.write_str(word)
            }
        }
    }
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("*"),
            Self::Roots => f.write_str("roots"),
            Self::Credentials => f.write_str("credentials"),
            Self::Tipstaff => f.write_str("tipstaff"),
            Self::Outside => f.write_str("outside"),
            Self::Server(name) if is_bare(name) => write!(f, "server({name})"),
            Self::Server(name) => write!(f, "server({})", Quoted(name)),
            Self::Argument { pointer, pattern } => {
                write!(f, "argument({}, {})", Quoted(pointer), Quoted(pattern))
            }
        }
    }
}

/// Whether a name of a tool or server reads back without quotes.
fn is_bare(name: &str) -> bool {
    name.chars().all(|c| is_plain(c) && c != '*') && !name.contains("//")
}
