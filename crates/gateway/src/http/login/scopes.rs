//! What a login is for (RFC 6749, 3.3).
//!
//! The adversary is a server that writes words of its own where a person reads or pastes them.

use super::LoginFault;

/// Most scopes.
const SCOPES_MAX: usize = 64;
/// Longest one, in bytes.
const SCOPE_MAX: usize = 256;

/// Scopes, each once, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scopes(Vec<String>);

impl Scopes {
    /// Reads a list with spaces between, `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::of(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned))
    }

    /// Takes scopes one by one, `None` if one of them can't be one.
    pub(super) fn of(words: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut scopes = Self::default();
        for word in words {
            let is_scope = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            if word.is_empty() || word.len() > SCOPE_MAX || !word.bytes().all(is_scope) {
                return None;
            }
            scopes.add(word);
        }
        (scopes.0.len() <= SCOPES_MAX).then_some(scopes)
    }

    /// What a person or the configuration asks for.
    pub(super) fn wanted(words: &[String]) -> Result<Self, LoginFault> {
        let wrong = || {
            let what =
                "a scope has 1 to 256 visible characters without quotes, and there are at most 64";
            LoginFault::Configuration(what.to_owned())
        };
        let split = words.iter().flat_map(|word| word.split(' ')).map(str::to_owned);
        Self::of(split).ok_or_else(wrong)
    }

    pub(super) fn add(&mut self, word: String) {
        if !self.0.contains(&word) {
            self.0.push(word);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|scope| scope == word)
    }

    pub(super) fn all(&self) -> &[String] {
        &self.0
    }

    /// As a request has them.
    pub(super) fn joined(&self) -> String {
        self.0.join(" ")
    }

    /// As options of a command that somebody may paste; `None` if one of them could be more than a word there.
    pub(super) fn options(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-' | '/');
        let is_plain = |scope: &String| !scope.starts_with('-') && scope.chars().all(plain);
        let all = self.0.iter().all(is_plain);
        all.then(|| self.0.iter().map(|scope| format!(" --scope {scope}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scopes_are_words_and_only_plain_ones_are_pasted() {
        let scopes = Scopes::parse("a:read  b a:read").unwrap();
        assert_eq!((scopes.joined().as_str(), scopes.all().len()), ("a:read b", 2));
        assert_eq!(scopes.options().unwrap(), " --scope a:read --scope b");
        for odd in ["$(x)", "a;b", "`x`", "--home", "a'b", "a&b"] {
            assert_eq!(Scopes::parse(odd).unwrap().options(), None, "{odd}");
        }
        for wrong in ["a\"b", "a\\b", "a\tb", "\u{e4}"] {
            assert_eq!(Scopes::parse(wrong), None, "{wrong}");
        }
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        assert_eq!(Scopes::parse(&many.join(" ")), None);
        assert!(Scopes::wanted(&["a".to_owned(), "b\u{7}".to_owned()]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_passes_is_read_again(text in "[ -~\u{7}\u{e4}]{0,80}") {
            if let Some(scopes) = Scopes::parse(&text) {
                prop_assert_eq!(Scopes::parse(&scopes.joined()), Some(scopes));
            }
        }
    }
}
