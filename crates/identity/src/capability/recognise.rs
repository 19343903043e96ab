//! From a check in a token to the form that is looked at without an engine.
//!
//! The adversary writes a check that looks like one of the forms and means more. Only exactly what
//! [`Caveat`] writes, with other names of its variables, is one of them; everything else is left to the engine.

use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::schema::{self, op, op_binary, term};

use super::caveat::{Caveat, Compare, Many, Match, Named, Number, Pattern};

/// The strings of a block, and of those before it whose strings it shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Symbols(Vec<String>);

/// Most strings of a token's own.
const SYMBOLS_MAX: usize = 512;
/// Numbers from here on are a token's own; below they are the specification's.
const OWN: u64 = 1024;

/// A term of the forms.
#[derive(Debug, Clone, PartialEq, Eq)]
enum T<'a> {
    Var(u32),
    Int(i64),
    Str(&'a str),
    Date(u64),
}

impl Symbols {
    /// Adds a block's strings. `None` if one was there before: two readers would number the rest differently.
    pub(super) fn extend(&mut self, more: &[String]) -> Option<()> {
        for symbol in more {
            if self.0.len() >= SYMBOLS_MAX || self.0.contains(symbol) {
                return None;
            }
            self.0.push(symbol.clone());
        }
        Some(())
    }

    /// The string of a number.
    pub(super) fn name(&self, number: u64) -> Option<String> {
        self.get(&SymbolTable::new(), number).map(str::to_owned)
    }

    fn get<'a>(&'a self, known: &'a SymbolTable, number: u64) -> Option<&'a str> {
        match number.checked_sub(OWN) {
            Some(own) => self.0.get(usize::try_from(own).ok()?).map(String::as_str),
            None => known.get_symbol(number),
        }
    }
}

/// What a block says, as far as it is understood here.
#[derive(Debug)]
pub(super) struct Understood {
    /// Whom it names, as it spells it.
    pub(super) holders: Vec<String>,
    /// Its checks; `None` if one is left to the engine, or the block has more than checks and a holder.
    pub(super) caveats: Option<Vec<Caveat>>,
}

/// Reads a block. `None` if it is malformed.
pub(super) fn understand(block: &schema::Block, symbols: &Symbols) -> Option<Understood> {
    let reader = Reader { symbols, known: SymbolTable::new() };
    let mut holders = Vec::new();
    let mut only = block.rules.is_empty() && block.scope.is_empty();
    for fact in &block.facts {
        if reader.name(&fact.predicate)? != "holder" {
            only = false;
            continue;
        }
        match fact.predicate.terms.as_slice() {
            [one] => match reader.term(one)? {
                T::Str(holder) => holders.push(holder.to_owned()),
                _ => return None,
            },
            _ => return None,
        }
    }
    let caveats = only.then(|| block.checks.iter().map(|check| reader.check(check)).collect());
    Some(Understood { holders, caveats: caveats.flatten() })
}

struct Reader<'a> {
    symbols: &'a Symbols,
    known: SymbolTable,
}

impl Reader<'_> {
    fn check(&self, check: &schema::Check) -> Option<Caveat> {
        let queries = check.queries.as_slice();
        if queries.iter().any(|query| !query.scope.is_empty()) {
            return None;
        }
        let kind = check.kind.map_or(Some(schema::check::Kind::One), schema::check::Kind::from_i32);
        match kind? {
            schema::check::Kind::All => match queries {
                [query] => self.every(query),
                _ => None,
            },
            schema::check::Kind::One => match queries {
                [query] if !query.expressions.is_empty() => self.one(query),
                [] => None,
                _ => {
                    let named = queries.iter().map(|query| self.named(query));
                    named.collect::<Option<_>>().map(Caveat::Named)
                }
            },
            schema::check::Kind::Reject => None,
        }
    }

    fn named(&self, query: &schema::Rule) -> Option<Named> {
        let [predicate] = query.body.as_slice() else { return None };
        let [one] = predicate.terms.as_slice() else { return None };
        let T::Str(text) = self.term(one)? else { return None };
        if !query.expressions.is_empty() {
            return None;
        }
        Some(match self.name(predicate)? {
            "tool" => Named::Tool(text.to_owned()),
            "server" => Named::Server(text.to_owned()),
            "operation" => Named::Operation(text.to_owned()),
            "session" => Named::Session(text.to_owned()),
            _ => return None,
        })
    }

    fn one(&self, query: &schema::Rule) -> Option<Caveat> {
        match query.body.as_slice() {
            [predicate] => {
                let terms = self.terms(predicate)?;
                let (of, v) = match (self.name(predicate)?, terms.as_slice()) {
                    ("position", [T::Var(v)]) => (Number::Position, *v),
                    ("tier", [T::Var(v)]) => (Number::Tier, *v),
                    ("time", [T::Var(v)]) => (Number::Time, *v),
                    ("uses", [T::Int(block), T::Var(v)]) => {
                        (Number::Uses(usize::try_from(*block).ok()?), *v)
                    }
                    ("argument", [T::Str(at), T::Var(v)]) => {
                        return self.argument(at, *v, &query.expressions);
                    }
                    _ => return None,
                };
                self.bounds(of, v, &query.expressions)
            }
            [spent, amount] => self.budget(spent, amount, &query.expressions),
            _ => None,
        }
    }

    fn argument(&self, at: &str, v: u32, expressions: &[schema::Expression]) -> Option<Caveat> {
        let at = at.to_owned();
        if let [expression] = expressions
            && let [first, second, third] = expression.ops.as_slice()
        {
            let (first, second) = (value(first)?, value(second)?);
            match binary(third)? {
                op_binary::Kind::Regex if self.term(first)? == T::Var(v) => {
                    let T::Str(text) = self.term(second)? else { return None };
                    return Some(Caveat::Matches { at, pattern: Pattern::new(text)? });
                }
                op_binary::Kind::Contains if self.term(second)? == T::Var(v) => {
                    let Some(term::Content::Set(set)) = &first.content else { return None };
                    let values = set.set.iter().map(|term| match self.term(term)? {
                        T::Str(text) => Some(text.to_owned()),
                        _ => None,
                    });
                    return Some(Caveat::OneOf { at, values: values.collect::<Option<_>>()? });
                }
                _ => {}
            }
        }
        self.bounds(Number::Argument(at), v, expressions)
    }

    fn bounds(&self, of: Number, v: u32, expressions: &[schema::Expression]) -> Option<Caveat> {
        let bounds = expressions.iter().map(|expression| {
            let [first, second, third] = expression.ops.as_slice() else { return None };
            if self.term(value(first)?)? != T::Var(v) {
                return None;
            }
            let bound = match (&of, self.term(value(second)?)?) {
                (Number::Time, T::Date(date)) => i64::try_from(date).ok()?,
                (Number::Time, _) => return None,
                (_, T::Int(bound)) => bound,
                _ => return None,
            };
            Some((compare(binary(third)?)?, bound))
        });
        let bounds = bounds.collect::<Option<Vec<_>>>()?;
        Some(Caveat::Bounds { of, bounds })
    }

    fn every(&self, query: &schema::Rule) -> Option<Caveat> {
        let ([predicate], [expression]) = (query.body.as_slice(), query.expressions.as_slice())
        else {
            return None;
        };
        let of = match self.name(predicate)? {
            "host" => Many::Hosts,
            "path" => Many::Paths,
            _ => return None,
        };
        let terms = self.terms(predicate)?;
        let [T::Var(v)] = terms.as_slice() else { return None };
        let (first, mut rest) = expression.ops.split_at_checked(3)?;
        let mut any = vec![self.matches(*v, first)?];
        while let [closure, or, more @ ..] = rest {
            let Some(op::Content::Closure(closure)) = &closure.content else { return None };
            if binary(or)? != op_binary::Kind::LazyOr || !closure.params.is_empty() {
                return None;
            }
            any.push(self.matches(*v, &closure.ops)?);
            rest = more;
        }
        rest.is_empty().then_some(Caveat::Every { of, any })
    }

    fn matches(&self, v: u32, ops: &[schema::Op]) -> Option<Match> {
        let [first, second, third] = ops else { return None };
        let T::Str(text) = self.term(value(second)?)? else { return None };
        if self.term(value(first)?)? != T::Var(v) {
            return None;
        }
        match binary(third)? {
            op_binary::Kind::Equal => Some(Match::Is(text.to_owned())),
            op_binary::Kind::Prefix => Some(Match::Begins(text.to_owned())),
            op_binary::Kind::Suffix => Some(Match::Ends(text.to_owned())),
            _ => None,
        }
    }

    fn budget(
        &self,
        spent: &schema::Predicate,
        amount: &schema::Predicate,
        expressions: &[schema::Expression],
    ) -> Option<Caveat> {
        if (self.name(spent)?, self.name(amount)?) != ("spent", "argument") {
            return None;
        }
        let (spent, amount) = (self.terms(spent)?, self.terms(amount)?);
        let [T::Int(block), T::Str(at), T::Var(s)] = spent.as_slice() else { return None };
        let [T::Str(same), T::Var(a)] = amount.as_slice() else { return None };
        let [least, sum] = expressions else { return None };
        let ([a1, zero, least], [s1, a2, add, most, at_most]) =
            (least.ops.as_slice(), sum.ops.as_slice())
        else {
            return None;
        };
        let is =
            |op: &schema::Op, wanted: &T<'_>| self.term(value(op)?).map(|term| term == *wanted);
        let fits = at == same
            && s != a
            && is(a1, &T::Var(*a))?
            && is(zero, &T::Int(0))?
            && binary(least)? == op_binary::Kind::GreaterOrEqual
            && is(s1, &T::Var(*s))?
            && is(a2, &T::Var(*a))?
            && binary(add)? == op_binary::Kind::Add
            && binary(at_most)? == op_binary::Kind::LessOrEqual;
        let T::Int(most) = self.term(value(most)?)? else { return None };
        let block = usize::try_from(*block).ok()?;
        fits.then(|| Caveat::Budget { block, at: (*at).to_owned(), most })
    }

    fn name(&self, predicate: &schema::Predicate) -> Option<&str> {
        self.symbols.get(&self.known, predicate.name)
    }

    fn terms(&self, predicate: &schema::Predicate) -> Option<Vec<T<'_>>> {
        predicate.terms.iter().map(|term| self.term(term)).collect()
    }

    fn term(&self, term: &schema::Term) -> Option<T<'_>> {
        Some(match term.content.as_ref()? {
            term::Content::Variable(number) => T::Var(*number),
            term::Content::Integer(value) => T::Int(*value),
            term::Content::String(number) => T::Str(self.symbols.get(&self.known, *number)?),
            term::Content::Date(seconds) => T::Date(*seconds),
            _ => return None,
        })
    }
}

fn value(op: &schema::Op) -> Option<&schema::Term> {
    match op.content.as_ref()? {
        op::Content::Value(term) => Some(term),
        _ => None,
    }
}

fn binary(op: &schema::Op) -> Option<op_binary::Kind> {
    match op.content.as_ref()? {
        op::Content::Binary(binary) => op_binary::Kind::from_i32(binary.kind),
        _ => None,
    }
}

const fn compare(kind: op_binary::Kind) -> Option<Compare> {
    match kind {
        op_binary::Kind::LessThan => Some(Compare::Less),
        op_binary::Kind::LessOrEqual => Some(Compare::AtMost),
        op_binary::Kind::GreaterOrEqual => Some(Compare::AtLeast),
        op_binary::Kind::GreaterThan => Some(Compare::More),
        _ => None,
    }
}
