//! Words: quotes, escapes and expansions.
//!
//! The adversary spells a command so that it doesn't look like itself (`r"m"`, `$'\x72m'`, `{r,m}`). What
//! only the shell can compute is marked as computed, and what can't be told apart is [`Opaque`].

use super::{Opaque, Parser, Word, parse_at};

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
                '$' => self.dollar(&mut word)?,
                '`' => self.backticks(&mut word)?,
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
            '$' => self.dollar(word)?,
            '`' => self.backticks(word)?,
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
    fn dollar(&mut self, word: &mut Word) -> Result<(), Opaque> {
        match self.peek() {
            Some('(') if self.ahead(1) == Some('(') => self.arithmetic(word),
            Some('(') => {
                self.at += 1;
                let script = self.nested()?;
                word.nested.push(script);
                word.computed = true;
                word.text.push('$');
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
                variable(&name, word);
                Ok(())
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.at += 1;
                }
                variable(&name, word);
                Ok(())
            }
            Some('?' | '$' | '!' | '#' | '@' | '*' | '-' | '0'..='9') => {
                self.at += 1;
                word.computed = true;
                word.text.push('$');
                Ok(())
            }
            _ => {
                word.text.push('$');
                Ok(())
            }
        }
    }

    /// `$(( … ))` without substitutions inside; anything else in it is not read.
    fn arithmetic(&mut self, word: &mut Word) -> Result<(), Opaque> {
        self.at += 2;
        let mut open = 2_u32;
        while open > 0 {
            match self.take() {
                None | Some('`' | '$' | '\'' | '"' | '\\' | '\n' | ';' | '[') => {
                    return Err(Opaque);
                }
                Some('(') => open += 1,
                Some(')') => open -= 1,
                Some(_) => {}
            }
        }
        word.computed = true;
        word.text.push('$');
        Ok(())
    }

    fn backticks(&mut self, word: &mut Word) -> Result<(), Opaque> {
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
        word.computed = true;
        word.text.push('$');
        Ok(())
    }
}

fn variable(name: &str, word: &mut Word) {
    match name {
        "HOME" if word.text.is_empty() => word.text.push('~'),
        "PWD" if word.text.is_empty() => word.text.push('.'),
        _ => {
            word.computed = true;
            word.text.push('$');
        }
    }
}
