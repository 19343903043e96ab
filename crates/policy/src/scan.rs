//! Reads policy text as tokens before Cedar's parser sees it.
//!
//! The adversary is a small text that overflows a stack: Cedar's parser recurses on brackets and `if`,
//! and its evaluator on long chains of operators. What this scanner accepts is shallow enough for a
//! thread with 2 MiB of stack. Its token rules are those of Cedar's grammar, so that nothing that is a
//! bracket there is a string or comment here.

use tipstaff_core::limits::POLICY_DEPTH_MAX;

/// Most operators on one path from the root of an expression to a leaf. A list counts its longest
/// element only, so that long lists of names stay possible.
pub(crate) const CHAIN_MAX: usize = 256;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, keyword or number.
    Word,
    /// A string literal, quotes included.
    Text,
    /// Anything else.
    Mark,
}

/// One token and the byte at which it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

/// Why a text is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanFault {
    #[error("nested deeper than {POLICY_DEPTH_MAX} levels")]
    TooDeep,
    #[error("more than {CHAIN_MAX} operators in one chain")]
    ChainTooLong,
    #[error("a string that is never closed")]
    OpenString,
}

/// The policies of a file, each as its tokens without the closing `;`.
pub(crate) fn statements(text: &str) -> Result<Vec<Vec<Token<'_>>>, (usize, ScanFault)> {
    let mut statements = Vec::new();
    let mut tokens = Vec::new();
    let mut depth = Depth::default();
    let mut at = 0;
    while let Some(token) = next(text, at)? {
        at = token.at + token.text.len();
        depth.take(token).map_err(|fault| (token.at, fault))?;
        if token.kind == Kind::Mark && token.text == ";" {
            statements.push(std::mem::take(&mut tokens));
            depth = Depth::default();
        } else {
            tokens.push(token);
        }
    }
    if !tokens.is_empty() {
        statements.push(tokens);
    }
    Ok(statements)
}

/// Operators and conditionals on the path to the current token, one entry for each open bracket.
struct Depth {
    open: Vec<(usize, usize)>,
}

impl Default for Depth {
    fn default() -> Self {
        Self { open: vec![(0, 0)] }
    }
}

impl Depth {
    fn take(&mut self, token: Token<'_>) -> Result<(), ScanFault> {
        match (token.kind, token.text) {
            (Kind::Mark, "(" | "[" | "{") => {
                self.add(1, 0);
                self.open.push((0, 0));
            }
            // An unbalanced bracket is for the parser to report.
            (Kind::Mark, ")" | "]" | "}") if self.open.len() > 1 => drop(self.open.pop()),
            (Kind::Mark, ")" | "]" | "}") => {}
            (Kind::Mark, ",") => {
                if let Some(top) = self.open.last_mut() {
                    *top = (0, 0);
                }
            }
            (Kind::Mark, _) | (Kind::Word, "has" | "like" | "in" | "is") => self.add(1, 0),
            (Kind::Word, "if") => self.add(1, 1),
            _ => {}
        }
        let (chain, conditionals) =
            self.open.iter().fold((0, 0), |(chain, ifs), (c, i)| (chain + c, ifs + i));
        if self.open.len() - 1 + conditionals > POLICY_DEPTH_MAX {
            Err(ScanFault::TooDeep)
        } else if chain > CHAIN_MAX {
            Err(ScanFault::ChainTooLong)
        } else {
            Ok(())
        }
    }

    fn add(&mut self, chain: usize, conditionals: usize) {
        if let Some((c, i)) = self.open.last_mut() {
            *c += chain;
            *i += conditionals;
        }
    }
}

fn next(text: &str, mut at: usize) -> Result<Option<Token<'_>>, (usize, ScanFault)> {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        } else {
            let (kind, length) = measure(rest, first).ok_or((at, ScanFault::OpenString))?;
            let text = rest.get(..length).unwrap_or(rest);
            return Ok(Some(Token { kind, text, at }));
        }
    }
}

fn measure(rest: &str, first: char) -> Option<(Kind, usize)> {
    if first == '"' {
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Some((Kind::Text, at + 1)),
                _ => {}
            }
        }
        return None;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if is_word(first) {
        return Some((Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len())));
    }
    let pair = ["::", "==", "!=", "<=", ">=", "||", "&&"].iter().any(|two| rest.starts_with(two));
    Some((Kind::Mark, if pair { 2 } else { first.len_utf8() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<ScanFault> {
        statements(text).err().map(|(_, fault)| fault)
    }

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        let text = "@id(\"a;b\") permit(principal, action, resource); // one; two\nforbid;";
        let found = statements(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1][0].text, "forbid");
        assert_eq!(found[1][0].at, text.rfind("forbid").unwrap());
    }

    #[test]
    fn a_carriage_return_ends_a_comment_as_it_does_for_cedar() {
        assert_eq!(statements("// x\rpermit").unwrap().len(), 1);
    }

    #[test]
    fn depth_counts_brackets_and_conditionals_but_not_those_in_strings() {
        assert_eq!(fault(&"(".repeat(33)), Some(ScanFault::TooDeep));
        assert_eq!(fault(&"(".repeat(32)), None);
        assert_eq!(fault(&format!("\"{}\"", "(".repeat(99))), None);
        assert_eq!(fault(&"if a then b else ".repeat(33)), Some(ScanFault::TooDeep));
        assert_eq!(fault("\"abc\\\""), Some(ScanFault::OpenString));
    }

    #[test]
    fn chains_are_bounded_but_lists_are_not() {
        assert_eq!(fault(&"a && ".repeat(300)), Some(ScanFault::ChainTooLong));
        assert_eq!(fault(&"!".repeat(300)), Some(ScanFault::ChainTooLong));
        assert_eq!(fault(&format!("[{}]", "Tool::\"a/b\", ".repeat(5000))), None);
        let nested = "(a && b && c && d && e && f && g && h && i && ".repeat(32);
        assert_eq!(fault(&nested), Some(ScanFault::ChainTooLong));
    }
}
