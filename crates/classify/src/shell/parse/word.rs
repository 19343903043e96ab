//! Words: quotes, escapes and expansions.
//!
//! The adversary spells a command so that it doesn't look like itself (`r"m"`, `$'\x72m'`, `{r,m}`). What
//! only the shell can compute is marked as computed, and what can't be told apart is [`Opaque`].

use super::{Filling, Hole, Opaque, Other, Parser, Word, parse_at};

impl Parser {
    pub(super) fn word(&mut self) -> Result<Word, Opaque> {
        let mut word = Word::default();
        let mut braces = 0_u32;
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' => break,
                '<' | '>' if self.ahead(1) == Some('(') => {
                    self.at += 2;
                    let script = self.nested()?;
                    word.nested.push(script);
                    word.computed = true;
                    word.other = Other::Anything;
                    continue;
                }
                '<' | '>' => break,
                _ => self.at += 1,
            }
            match c {
                '\\' => match self.take() {
                    None => return Err(Opaque),
                    Some('\n') => {}
                    Some(escaped) => {
                        word.quoted = true;
                        word.text.push(escaped);
                    }
                },
                '\'' => {
                    word.quoted = true;
                    loop {
                        match self.take() {
                            None => return Err(Opaque),
                            Some('\'') => break,
                            Some(inner) => word.text.push(inner),
                        }
                    }
                }
                '"' => self.double_quoted(&mut word)?,
                '$' if self.peek() == Some('\'') => {
                    // `$'\x72m'` spells any text at all.
                    self.at += 1;
                    word.quoted = true;
                    word.computed = true;
                    word.other = Other::Anything;
                    loop {
                        match self.take() {
                            None => return Err(Opaque),
                            Some('\'') => break,
                            Some('\\') => {
                                self.take();
                            }
                            Some(inner) => word.text.push(inner),
                        }
                    }
                }
                '$' if self.peek() == Some('"') => {
                    self.at += 1;
                    self.double_quoted(&mut word)?;
                }
                '$' => self.dollar(&mut word, Quotes::None)?,
                '`' => self.backticks(&mut word, Quotes::None)?,
                '*' | '?' | '[' => {
                    word.glob = true;
                    word.text.push(c);
                }
                '{' => {
                    braces += 1;
                    word.text.push(c);
                }
                '}' => {
                    braces = braces.saturating_sub(1);
                    word.text.push(c);
                }
                ',' | '.' => {
                    // Brace expansion makes several words out of one.
                    if braces > 0 && (c == ',' || self.peek() == Some('.')) {
                        word.computed = true;
                        if word.other == Other::Nothing {
                            word.other = Other::Braces;
                        }
                    }
                    word.text.push(c);
                }
                other => word.text.push(other),
            }
        }
        // A redirection without a target ends up here without having moved.
        if self.at == start && word.nested.is_empty() { Err(Opaque) } else { Ok(word) }
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), Opaque> {
        word.quoted = true;
        loop {
            match self.take() {
                None => return Err(Opaque),
                Some('"') => return Ok(()),
                Some(c) => self.quoted_char(c, word)?,
            }
        }
    }

    pub(super) fn quoted_char(&mut self, c: char, word: &mut Word) -> Result<(), Opaque> {
        match c {
            '$' => self.dollar(word, Quotes::Double)?,
            '`' => self.backticks(word, Quotes::Double)?,
            '\\' => match self.peek() {
                Some(next @ ('$' | '`' | '"' | '\\')) => {
                    self.at += 1;
                    word.text.push(next);
                }
                Some('\n') => self.at += 1,
                _ => word.text.push('\\'),
            },
            other => word.text.push(other),
        }
        Ok(())
    }

    /// What follows a `$` that has been taken.
    fn dollar(&mut self, word: &mut Word, quotes: Quotes) -> Result<(), Opaque> {
        match self.peek() {
            Some('(') if self.ahead(1) == Some('(') => self.arithmetic(word, quotes),
            Some('(') => {
                self.at += 1;
                let script = self.nested()?;
                word.nested.push(script);
                hole(word, Filling::Anything, quotes);
                Ok(())
            }
            Some('{') => {
                self.at += 1;
                let mut name = String::new();
                loop {
                    match self.take() {
                        None | Some('`' | '(' | '{' | '\'' | '"' | '\\') => return Err(Opaque),
                        Some('}') => break,
                        Some(c) => name.push(c),
                    }
                }
                variable(name, word, quotes);
                Ok(())
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                variable(name, word, quotes);
                Ok(())
            }
            Some(c @ ('?' | '$' | '!' | '#' | '@' | '*' | '-' | '0'..='9')) => {
                self.at += 1;
                let number = matches!(c, '?' | '$' | '#');
                hole(word, if number { Filling::Number } else { Filling::Anything }, quotes);
                Ok(())
            }
            _ => {
                word.text.push('$');
                Ok(())
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// `$(( … ))` of numbers, variables and the time; anything else in it is not read.
    fn arithmetic(&mut self, word: &mut Word, quotes: Quotes) -> Result<(), Opaque> {
        const TIME: &str = "(date +%s)";
        self.at += 2;
        let mut open = 2_u32;
        while open > 0 {
            match self.take() {
                Some('$') => {
                    let time = TIME.chars().enumerate().all(|(at, c)| self.ahead(at) == Some(c));
                    if time {
                        self.at += TIME.len();
                    } else if self.name().is_empty() {
                        return Err(Opaque);
                    }
                }
                None | Some('`' | '\'' | '"' | '\\' | '\n' | ';' | '[') => return Err(Opaque),
                Some('(') => open += 1,
                Some(')') => open -= 1,
                Some(_) => {}
            }
        }
        hole(word, Filling::Number, quotes);
        Ok(())
    }

    fn backticks(&mut self, word: &mut Word, quotes: Quotes) -> Result<(), Opaque> {
        let mut inner = String::new();
        loop {
            match self.take() {
                None => return Err(Opaque),
                Some('`') => break,
                Some('\\') => match self.take() {
                    None => return Err(Opaque),
                    Some(c @ ('`' | '$' | '\\')) => inner.push(c),
                    Some(c) => inner.extend(['\\', c]),
                },
                Some(c) => inner.push(c),
            }
        }
        word.nested.push(parse_at(&inner, self.depth + 1)?);
        hole(word, Filling::Anything, quotes);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Double,
}

fn variable(name: String, word: &mut Word, quotes: Quotes) {
    match name.as_str() {
        "HOME" if word.text.is_empty() => word.text.push('~'),
        "PWD" if word.text.is_empty() => word.text.push('.'),
        _ => {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let filling = match name.strip_prefix('#') {
                Some(_) => Filling::Number,
                None if plain => Filling::Variable(name),
                None => Filling::Anything,
            };
            hole(word, filling, quotes);
        }
    }
}

fn hole(word: &mut Word, filling: Filling, quotes: Quotes) {
    word.computed = true;
    word.holes.push(Hole { at: word.text.len(), filling, bare: quotes == Quotes::None });
    word.text.push('$');
}
