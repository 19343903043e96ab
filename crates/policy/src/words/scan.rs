//! The tokens of access words. What is no word, text or mark is a fault, with its place.

use crate::error::{Place, PolicyFault};

use super::TEXT_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    Text(String),
    Mark(char),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

/// Letters of a bare word.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-:/@*+~".contains(c)
}

pub(super) fn scan(file: &str, text: &str) -> Result<Vec<Token>, PolicyFault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        let here = Place::new(file, text, at);
        let from = at;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let kind = if first == '"' {
            let (read, length) = quoted(rest).ok_or_else(|| {
                here.hinted(
                    "this text is never closed, or holds an escape other than \\\" and \\\\",
                    "close it on its line with `\"`",
                )
            })?;
            if read.len() > TEXT_MAX {
                return Err(here.hinted(
                    format!("a text of more than {TEXT_MAX} bytes"),
                    "write a shorter one",
                ));
            }
            at += length;
            Kind::Text(read)
        } else if is_plain(first) {
            let word = rest.split(|c: char| !is_plain(c)).next().unwrap_or(rest);
            let word = word.split("//").next().unwrap_or(word);
            at += word.len();
            Kind::Word(word.to_owned())
        } else if "(){},=".contains(first) {
            at += 1;
            Kind::Mark(first)
        } else {
            let hint = if first == '#' {
                "comments begin with //"
            } else {
                "put names with such letters in quotes"
            };
            return Err(
                here.hinted(format!("`{}` stands for nothing here", first.escape_debug()), hint)
            );
        };
        tokens.push(Token { kind, at: from });
    }
    Ok(tokens)
}

/// The text between quotes, and how long it is with them. One line; `\"` and `\\` are the escapes.
fn quoted(rest: &str) -> Option<(String, usize)> {
    let mut read = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((read, at + 1)),
            '\\' => match letters.next()?.1 {
                escaped @ ('"' | '\\') => read.push(escaped),
                _ => return None,
            },
            _ if letter.is_control() => return None,
            _ => read.push(letter),
        }
    }
    None
}
