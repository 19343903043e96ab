//! Names of principals and roles.
//!
//! The adversary picks a name that looks like another's. A name is lower-case ASCII, so that two that look alike
//! are alike.

/// Longest name, in bytes.
const BYTES_MAX: usize = 64;

/// A name of a principal or a role: 1 to 64 of `a-z 0-9 . - _`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = !text.is_empty() && text.len() <= BYTES_MAX;
        let begins = text.bytes().next().is_some_and(plain);
        let holds = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-' | b'_'));
        // What looks like a pseudonym is one: nobody is enrolled under the name of a process that isn't.
        let is_pseudonym = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (fits && begins && holds && !is_pseudonym).then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_alike() {
        for good in ["a", "ci-1", "7.build_x", &"a".repeat(64)] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "A",
            "-a",
            ".",
            "a b",
            "a/b",
            "\u{430}",
            "a\u{200b}",
            &"a".repeat(65),
            &"0a".repeat(16),
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
