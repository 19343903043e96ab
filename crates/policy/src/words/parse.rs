//! Reads access words. Nothing here recurses: braces hold lists, and lists hold no lists.

use crate::error::{Place, PolicyFault};

use super::items::is_name;
use super::scan::{Kind, Token, scan};
use super::{
    At, Choice, FAULTS_MAX, ITEMS_MAX, Resource, Rule, Sense, Statement, Verb, What, Who, Words,
};
use tipstaff_core::limits::{POLICIES_MAX, POLICY_BYTES_MAX};

const BEGIN: &str = "write allow(WHO, ACTION, RESOURCE), ask(…), deny(…), role(NAME) = { … } or \
                     policy(RESOURCE) = { … }";
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    tokens: Vec<Token>,
    pub(super) next: usize,
}

/// What stands between the items of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Commas,
    Nothing,
}

pub(super) type Read<T> = Result<T, PolicyFault>;

pub(super) fn parse(file: &str, text: &str) -> Result<Words, Vec<PolicyFault>> {
    if text.len() > POLICY_BYTES_MAX {
        let place = Place::new(file, "", 0);
        return Err(vec![place.fault(format!("more than {POLICY_BYTES_MAX} bytes"))]);
    }
    // Whoever writes the file empties it first: that is no moment to put nothing in force.
    if text.trim().is_empty() {
        let place = Place::new(file, text, 0);
        return Err(vec![
            place.hinted("the file is empty", "write a rule or a comment, or remove it"),
        ]);
    }
    let tokens = scan(file, text).map_err(|fault| vec![fault])?;
    let mut reader = Reader { file, text, tokens, next: 0 };
    let (mut words, mut faults, mut count) = (Words::default(), Vec::new(), 0);
    while reader.peek() != &Kind::End && faults.len() < FAULTS_MAX {
        let from = reader.next;
        match reader.statement() {
            Ok(statement) => {
                count += match &statement {
                    Statement::Rule(_) => 1,
                    Statement::Role { privileges, .. } => privileges.len(),
                    Statement::Policy { rules, .. } => rules.len(),
                };
                if count > POLICIES_MAX {
                    return Err(vec![reader.fault_at(from, "too many rules", "split the set")]);
                }
                words.statements.push(statement);
            }
            Err(fault) => {
                faults.push(fault);
                reader.skip(from);
            }
        }
    }
    if faults.is_empty() { Ok(words) } else { Err(faults) }
}

impl Reader<'_> {
    fn statement(&mut self) -> Read<Statement> {
        let Kind::Word(word) = self.peek().clone() else {
            return Err(self.fault("no statement begins so", BEGIN));
        };
        match word.as_str() {
            "role" => {
                self.next += 1;
                self.mark('(', "role(NAME) = { fs:read on roots }")?;
                let role = self.name("role")?;
                self.mark(')', "close the name with `)`")?;
                let who = Choice::one(Who::Role(role.clone()));
                let hint = "a privilege such as `fs:read on roots`";
                let privileges = self.block(hint, Between::Commas, |reader| {
                    let at = reader.at();
                    let action = reader.choice(Self::action)?;
                    let on = reader.peek() == &Kind::Word("on".to_owned());
                    let resource = if on {
                        reader.next += 1;
                        reader.choice(Self::resource)?
                    } else {
                        Choice::one(Resource::Anything)
                    };
                    let (verb, who) = (Verb::Allow, who.clone());
                    Ok(Rule { at, verb, who, action, resource, advice: None })
                })?;
                Ok(Statement::Role { role, privileges })
            }
            "policy" => {
                self.next += 1;
                self.mark('(', "policy(RESOURCE) = { allow(WHO, ACTION) }")?;
                let resource = self.choice(Self::resource)?;
                self.mark(')', "close the resource with `)`")?;
                let hint = "a rule such as `allow(coder, T3)`";
                let rules =
                    self.block(hint, Between::Nothing, |reader| reader.rule(Some(&resource)))?;
                Ok(Statement::Policy { resource, rules })
            }
            _ => self.rule(None).map(Statement::Rule),
        }
    }

    /// A rule; the resource is that of the block that it stands in, if it stands in one.
    fn rule(&mut self, of: Option<&Choice<Resource>>) -> Read<Rule> {
        let at = self.at();
        let verb = match self.peek() {
            Kind::Word(word) => Verb::ALL.into_iter().find(|verb| verb.as_str() == word),
            _ => None,
        };
        let Some(verb) = verb else {
            let hint = if of.is_some() {
                "write allow(WHO, ACTION), ask(…) or deny(…)"
            } else {
                BEGIN
            };
            let what = format!(
                "no {} begins with {}",
                if of.is_some() { "rule" } else { "statement" },
                self.shown()
            );
            return Err(self.fault(&what, hint));
        };
        self.next += 1;
        let shape = if of.is_some() { "(WHO, ACTION)" } else { "(WHO, ACTION, RESOURCE)" };
        let hint = format!("write {}{shape}", verb.as_str());
        self.mark('(', &hint)?;
        let who = self.choice(Self::who)?;
        self.mark(',', &hint)?;
        let action = self.choice(Self::action)?;
        let resource = match of {
            Some(resource) => resource.clone(),
            None => {
                self.mark(',', &format!("{hint}; * is any resource"))?;
                self.choice(Self::resource)?
            }
        };
        self.mark(')', &hint)?;
        Ok(Rule { at, verb, who, action, resource, advice: self.advice() })
    }

    /// `= { item … }`
    fn block<T>(
        &mut self,
        what: &str,
        between: Between,
        mut item: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.mark('=', "write `= {` and what it holds")?;
        self.mark('{', "open with `{`")?;
        let mut items = Vec::new();
        loop {
            if items.len() > POLICIES_MAX {
                return Err(self.fault("too many items", "split the block"));
            }
            items.push(match self.peek() {
                Kind::Mark('}') if items.is_empty() => {
                    let hint = format!("write {what}");
                    return Err(self.fault("nothing is between the braces", &hint));
                }
                Kind::End => return Err(self.fault("the block is not closed", "close it with `}`")),
                _ => item(self)?,
            });
            let comma = self.peek() == &Kind::Mark(',');
            if comma {
                self.next += 1;
            }
            if self.peek() == &Kind::Mark('}') {
                self.next += 1;
                return Ok(items);
            }
            // Without it, a tool in quotes would read as something said of the item before it.
            if between == Between::Commas && !comma {
                self.mark(',', "write `,` between privileges and `}` after the last")?;
            }
        }
    }

    /// `ITEM`, `{ ITEM, … }`, and `not` before either.
    fn choice<T: Wild>(&mut self, item: fn(&mut Self) -> Read<T>) -> Read<Choice<T>> {
        let sense = if self.peek() == &Kind::Word("not".to_owned()) {
            self.next += 1;
            Sense::IsNot
        } else {
            Sense::Is
        };
        let from = self.next;
        let mut items = Vec::new();
        if self.peek() == &Kind::Mark('{') {
            self.next += 1;
            loop {
                if self.peek() == &Kind::Word("not".to_owned()) {
                    return Err(self.fault(
                        "`not` stands before the braces",
                        "not { a, b } is neither of them",
                    ));
                }
                items.push(item(self)?);
                if items.len() > ITEMS_MAX {
                    let what = format!("more than {ITEMS_MAX} items");
                    return Err(self.fault(&what, "write a second rule"));
                }
                match self.peek() {
                    Kind::Mark(',') => self.next += 1,
                    Kind::Mark('}') => break,
                    _ => {
                        return Err(self.fault(
                            "the list is not closed",
                            "write `,` between items and `}` after the last",
                        ));
                    }
                }
            }
            self.next += 1;
        } else {
            items.push(item(self)?);
        }
        let wild = items.iter().any(Wild::is_wild);
        if wild && (sense == Sense::IsNot || items.len() > 1) {
            return Err(self.fault_at(
                from,
                "`*` is everything",
                "leave out what stands beside it",
            ));
        }
        Ok(Choice { sense, items })
    }

    pub(super) fn name(&mut self, of: &str) -> Read<String> {
        match self.peek().clone() {
            Kind::Word(name) | Kind::Text(name) if is_name(&name) => {
                self.next += 1;
                Ok(name)
            }
            _ => {
                let what = format!("{} is no name of a {of}", self.shown());
                Err(self.fault(&what, "names are 1 to 64 of a-z, 0-9, `.`, `-`, `_`"))
            }
        }
    }

    pub(super) fn text(&mut self, hint: &str) -> Read<String> {
        let Kind::Text(text) = self.peek().clone() else {
            return Err(self.fault("a text in quotes has to stand here", hint));
        };
        self.next += 1;
        Ok(text)
    }

    fn advice(&mut self) -> Option<String> {
        let Kind::Text(text) = self.peek().clone() else { return None };
        self.next += 1;
        Some(text)
    }

    pub(super) fn mark(&mut self, mark: char, hint: &str) -> Read<()> {
        if self.peek() == &Kind::Mark(mark) {
            self.next += 1;
            return Ok(());
        }
        let what = format!("`{mark}` is missing before {}", self.shown());
        Err(self.fault(&what, hint))
    }

    pub(super) fn peek(&self) -> &Kind {
        self.tokens.get(self.next).map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn shown(&self) -> String {
        match self.peek() {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Text(_) => "a text in quotes".to_owned(),
            Kind::Mark(mark) => format!("`{mark}`"),
            Kind::End => "the end of the file".to_owned(),
        }
    }

    fn at(&self) -> At {
        let fault = self.fault("", "");
        At { line: fault.line, column: fault.column }
    }

    pub(super) fn fault(&self, what: &str, hint: &str) -> PolicyFault {
        self.fault_at(self.next, what, hint)
    }

    pub(super) fn fault_at(&self, token: usize, what: &str, hint: &str) -> PolicyFault {
        let at = self.tokens.get(token).map_or(self.text.len(), |token| token.at);
        Place::new(self.file, self.text, at).hinted(what, hint)
    }

    /// To the next statement that begins a line, past where this one began.
    fn skip(&mut self, from: usize) {
        self.next = self.next.max(from + 1);
        while let Some(token) = self.tokens.get(self.next) {
            let begins = matches!(&token.kind, Kind::Word(word)
                if ["allow", "ask", "deny", "role", "policy"].contains(&word.as_str()));
            let before = self.text.get(..token.at).unwrap_or_default();
            if begins && (before.is_empty() || before.ends_with('\n')) {
                return;
            }
            self.next += 1;
        }
    }
}

/// What stands for everything.
pub(super) trait Wild {
    fn is_wild(&self) -> bool;
}

impl Wild for Who {
    fn is_wild(&self) -> bool {
        *self == Self::Anyone
    }
}

impl Wild for What {
    fn is_wild(&self) -> bool {
        *self == Self::Anything
    }
}

impl Wild for Resource {
    fn is_wild(&self) -> bool {
        *self == Self::Anything
    }
}
