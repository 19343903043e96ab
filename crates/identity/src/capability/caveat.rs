//! The forms of checks that are looked at without an engine, and how each is written in a token.
//!
//! The adversary is a difference between what a check says to a reader with Biscuit's own tools and what is decided
//! here. Each form is written as an ordinary check over documented facts; a property compares both on random input.

use std::collections::BTreeSet;

use biscuit_auth::builder::{self, Binary, CheckKind, Expression, Op, Predicate, Rule, Term};
use regex::{Regex, RegexBuilder};
use tipstaff_core::Json;

use super::request::{Asked, hosts};

/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caveat {
    /// `check if tool("a/b") or server("c")`: one of them is so.
    Named(Vec<Named>),
    /// `check if tier($v), $v <= 3`: a number is within bounds.
    Bounds {
        /// Which number.
        of: Number,
        /// All of them hold.
        bounds: Vec<(Compare, i64)>,
    },
    /// `check all path($v), $v == "/a" || $v.starts_with("/a/")`: there is one at least, and each is one of these.
    Every {
        /// Of what.
        of: Many,
        /// One of them holds.
        any: Vec<Match>,
    },
    /// `check if argument("/k", $v), $v.matches("^a+$")`
    Matches {
        /// JSON pointer of the argument.
        at: String,
        /// The pattern.
        pattern: Pattern,
    },
    /// `check if argument("/k", $v), {"a", "b"}.contains($v)`
    OneOf {
        /// JSON pointer of the argument.
        at: String,
        /// What it may be.
        values: BTreeSet<String>,
    },
    /// `check if spent(0, "/k", $s), argument("/k", $a), $a >= 0, $s + $a <= 100`: the sum over all uses.
    Budget {
        /// The block whose uses are summed up.
        block: usize,
        /// JSON pointer of the argument.
        at: String,
        /// The most in all.
        most: i64,
    },
}

/// A fact that has one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// `tool("server/name")`, of calls of tools alone.
    Tool(String),
    /// `server("name")`
    Server(String),
    /// `operation("tools/call")`
    Operation(String),
    /// `session("s-…")`
    Session(String),
}

/// A number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// `argument("/k", $v)`, a whole number.
    Argument(String),
    /// `position($v)`: how many receipts the log has.
    Position,
    /// `tier($v)`, 1 to 5.
    Tier,
    /// `time($v)`, in seconds; written as a date.
    Time,
    /// `uses(0, $v)`: how often an action was permitted with this block before.
    Uses(usize),
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

/// A fact that can have several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Many {
    /// `host("api.example.org")`, of each address in the arguments.
    Hosts,
    /// `path("/srv/a")`, of what each path resolves to.
    Paths,
}

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// `$v == "a"`
    Is(String),
    /// `$v.starts_with("a")`
    Begins(String),
    /// `$v.ends_with("a")`
    Ends(String),
}

/// A regular expression, compiled within bounds. It matches anywhere unless it says otherwise.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Reads a pattern. `None` if it is none, or too large.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let regex = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().ok()?;
        Some(Self { text: text.to_owned(), regex })
    }

    /// A pattern that the whole text has to match.
    #[must_use]
    pub fn whole(text: &str) -> Option<Self> {
        // As it is, first: two halves of a group would make a whole.
        Self::new(text)?;
        Self::new(&format!("^(?:{text})$"))
    }
}

impl Caveat {
    /// Whether an action is in it.
    #[must_use]
    pub fn permits(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Named(named) => named.iter().any(|named| named.is(asked)),
            Self::Bounds { of, bounds } => of.value(asked).is_some_and(|value| {
                bounds.iter().all(|(compare, bound)| compare.holds(value, *bound))
            }),
            Self::Every { of: Many::Paths, any } => {
                !asked.paths.is_empty()
                    && asked.paths.iter().all(|path| any.iter().any(|one| one.holds(path)))
            }
            Self::Every { of: Many::Hosts, any } => {
                let hosts = hosts(asked.action);
                !hosts.is_empty() && hosts.iter().all(|host| any.iter().any(|one| one.holds(host)))
            }
            Self::Matches { at, pattern } => {
                text(asked, at).is_some_and(|text| pattern.regex.is_match(text))
            }
            Self::OneOf { at, values } => text(asked, at).is_some_and(|text| values.contains(text)),
            Self::Budget { block, at, most } => {
                let amount = asked.argument(at).and_then(Json::as_integer);
                let spent = asked.used(*block, Some(at));
                amount.zip(spent).is_some_and(|(amount, spent)| {
                    amount >= 0 && spent.checked_add(amount).is_some_and(|sum| sum <= *most)
                })
            }
        }
    }

    /// The check as it stands in a token.
    pub(super) fn to_check(&self) -> builder::Check {
        let v = || var("v");
        let value = |op| Op::Value(op);
        let one = |body, expressions| builder::Check {
            queries: vec![query(body, expressions)],
            kind: CheckKind::One,
        };
        match self {
            Self::Named(named) => builder::Check {
                queries: named.iter().map(|named| query(vec![named.fact()], vec![])).collect(),
                kind: CheckKind::One,
            },
            Self::Bounds { of, bounds } => {
                let expressions = bounds.iter().map(|(compare, bound)| {
                    let bound = match of {
                        Number::Time => Term::Date(u64::try_from(*bound).unwrap_or(0)),
                        _ => Term::Integer(*bound),
                    };
                    vec![value(v()), value(bound), Op::Binary(compare.op())]
                });
                one(vec![of.fact(v())], expressions.collect())
            }
            Self::Every { of, any } => {
                let mut ops = Vec::new();
                for (index, one) in any.iter().enumerate() {
                    let (text, op) = match one {
                        Match::Is(text) => (text, Binary::Equal),
                        Match::Begins(text) => (text, Binary::Prefix),
                        Match::Ends(text) => (text, Binary::Suffix),
                    };
                    let this = vec![value(v()), value(string(text)), Op::Binary(op)];
                    if index == 0 {
                        ops = this;
                    } else {
                        ops.extend([Op::Closure(vec![], this), Op::Binary(Binary::LazyOr)]);
                    }
                }
                let check = query(vec![fact(of.name(), vec![v()])], vec![ops]);
                builder::Check { queries: vec![check], kind: CheckKind::All }
            }
            Self::Matches { at, pattern } => one(
                vec![argument(at, v())],
                vec![vec![value(v()), value(string(&pattern.text)), Op::Binary(Binary::Regex)]],
            ),
            Self::OneOf { at, values } => {
                let set = Term::Set(values.iter().map(|value| string(value)).collect());
                one(
                    vec![argument(at, v())],
                    vec![vec![value(set), value(v()), Op::Binary(Binary::Contains)]],
                )
            }
            Self::Budget { block, at, most } => one(
                vec![
                    fact("spent", vec![index(*block), string(at), var("s")]),
                    argument(at, var("a")),
                ],
                vec![
                    vec![
                        value(var("a")),
                        value(Term::Integer(0)),
                        Op::Binary(Binary::GreaterOrEqual),
                    ],
                    vec![
                        value(var("s")),
                        value(var("a")),
                        Op::Binary(Binary::Add),
                        value(Term::Integer(*most)),
                        Op::Binary(Binary::LessOrEqual),
                    ],
                ],
            ),
        }
    }
}

impl std::fmt::Display for Caveat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_check().fmt(f)
    }
}

impl Named {
    fn is(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Tool(tool) => {
                let (server, name) = tool.split_once('/').unwrap_or((tool, ""));
                asked.calls() && server == asked.action.server() && name == asked.action.tool()
            }
            Self::Server(server) => server == asked.action.server(),
            Self::Operation(operation) => operation == asked.action.operation(),
            Self::Session(session) => session == asked.session,
        }
    }

    fn fact(&self) -> Predicate {
        let (name, text) = match self {
            Self::Tool(text) => ("tool", text),
            Self::Server(text) => ("server", text),
            Self::Operation(text) => ("operation", text),
            Self::Session(text) => ("session", text),
        };
        fact(name, vec![string(text)])
    }
}

impl Number {
    fn value(&self, asked: &Asked<'_>) -> Option<i64> {
        match self {
            Self::Argument(at) => asked.argument(at)?.as_integer(),
            Self::Position => Some(asked.height()),
            Self::Tier => Some(i64::from(asked.tier.number())),
            Self::Time => Some(asked.seconds()),
            Self::Uses(block) => asked.used(*block, None),
        }
    }

    fn fact(&self, v: Term) -> Predicate {
        match self {
            Self::Argument(at) => argument(at, v),
            Self::Position => fact("position", vec![v]),
            Self::Tier => fact("tier", vec![v]),
            Self::Time => fact("time", vec![v]),
            Self::Uses(block) => fact("uses", vec![index(*block), v]),
        }
    }
}

impl Compare {
    const fn holds(self, value: i64, bound: i64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::AtLeast => value >= bound,
            Self::More => value > bound,
        }
    }

    const fn op(self) -> Binary {
        match self {
            Self::Less => Binary::LessThan,
            Self::AtMost => Binary::LessOrEqual,
            Self::AtLeast => Binary::GreaterOrEqual,
            Self::More => Binary::GreaterThan,
        }
    }
}

impl Many {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "host",
            Self::Paths => "path",
        }
    }
}

impl Match {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Is(other) => text == other,
            Self::Begins(start) => text.starts_with(start.as_str()),
            Self::Ends(end) => text.ends_with(end.as_str()),
        }
    }
}

fn text<'a>(asked: &Asked<'a>, at: &str) -> Option<&'a str> {
    asked.action.parameters().pointer(at)?.as_str()
}

fn query(body: Vec<Predicate>, expressions: Vec<Vec<Op>>) -> Rule {
    let expressions = expressions.into_iter().map(|ops| Expression { ops }).collect();
    Rule::new(fact("query", vec![]), body, expressions, vec![])
}

pub(super) fn fact(name: &str, terms: Vec<Term>) -> Predicate {
    Predicate { name: name.to_owned(), terms }
}

fn argument(at: &str, v: Term) -> Predicate {
    fact("argument", vec![string(at), v])
}

pub(super) fn string(text: &str) -> Term {
    Term::Str(text.to_owned())
}

pub(super) fn index(block: usize) -> Term {
    Term::Integer(i64::try_from(block).unwrap_or(i64::MAX))
}

fn var(name: &str) -> Term {
    Term::Variable(name.to_owned())
}
