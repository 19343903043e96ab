//! `WWW-Authenticate`: what a server wants to see (RFC 9110, RFC 6750, RFC 9728).
//!
//! The adversary is the server: it writes a header that two readers read differently, or without end. What isn't a
//! list of challenges as the grammar has it, or says one thing twice, is no challenge.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::scopes::Scopes;

/// Longest header that is looked at, and most of them.
const LENGTH_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 8;

/// A challenge for a bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::http) struct Challenge {
    /// Where the server describes itself.
    pub(super) resource_metadata: Option<String>,
    /// What a token has to be for.
    pub(super) scopes: Option<Scopes>,
    error: Option<String>,
}

/// One challenge of any scheme, with its parameters.
type Any = (String, Vec<(String, String)>);

impl Challenge {
    /// The challenge for a bearer token among some headers, if there is one.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().take(HEADERS_MAX);
        let texts = values.filter_map(|value| value.to_str().ok());
        let mut all = texts.filter_map(challenges).flatten();
        let (_, parameters) = all.find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))?;
        let one = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        Some(Self {
            resource_metadata: one("resource_metadata"),
            scopes: one("scope").and_then(|text| Scopes::parse(&text)).filter(|s| !s.is_empty()),
            error: one("error"),
        })
    }

    /// Whether the token is good, and not for this.
    pub(in crate::http) fn is_insufficient(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    /// The command by which a person gives a server's login more.
    pub(in crate::http) fn next(&self, server: &str) -> String {
        let options = self.scopes.as_ref().and_then(Scopes::options).unwrap_or_default();
        format!("tipstaff login {server}{options}")
    }
}

/// Every challenge of a header; `None` if it is no list of them.
fn challenges(text: &str) -> Option<Vec<Any>> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let mut rest = Rest(text);
    let mut found: Vec<Any> = Vec::new();
    loop {
        rest.skip(|c| matches!(c, ' ' | '\t' | ','));
        if rest.0.is_empty() {
            return Some(found);
        }
        let word = rest.token()?;
        match rest.parameter(word, found.last_mut()) {
            Parameter::Read => {}
            Parameter::Wrong => return None,
            Parameter::None => {
                found.push((word.to_owned(), Vec::new()));
                if rest.0.starts_with(' ') {
                    rest.skip(|c| c == ' ');
                    rest.token68();
                    continue;
                }
            }
        }
        if !(rest.0.is_empty() || rest.0.starts_with([',', ' ', '\t'])) {
            return None;
        }
    }
}

enum Parameter {
    Read,
    Wrong,
    /// The word stands for itself.
    None,
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let length = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        self.take(length).filter(|word| !word.is_empty())
    }

    /// Takes credentials that are one word, if that is what stands here.
    fn token68(&mut self) {
        let is_one = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let body = self.0.trim_start_matches(is_one);
        let rest = body.trim_start_matches('=').trim_start_matches([' ', '\t']);
        // `a=b` is a parameter.
        let is_whole = body.len() < self.0.len() && (rest.is_empty() || rest.starts_with(','));
        if is_whole {
            self.0 = rest;
        }
    }

    fn parameter(&mut self, name: &str, to: Option<&mut Any>) -> Parameter {
        let after = self.0.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix('=') else { return Parameter::None };
        self.0 = value.trim_start_matches([' ', '\t']);
        let value =
            if self.0.starts_with('"') { self.quoted() } else { self.token().map(str::to_owned) };
        let (Some(value), Some((_, parameters))) = (value, to) else { return Parameter::Wrong };
        if parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Parameter::Wrong;
        }
        parameters.push((name.to_owned(), value));
        Parameter::Read
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.0.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = self.0.get(at + 1..)?;
                    return Some(text);
                }
                '\\' => text.push(chars.next()?.1),
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).ok()?);
        }
        Challenge::of(&headers)
    }

    #[test]
    fn the_bearer_challenge_is_found_wherever_it_stands() {
        let whole = Challenge {
            resource_metadata: Some("https://a/x".into()),
            scopes: Scopes::parse("a b"),
            error: Some("invalid_token".into()),
        };
        let text = r#"Bearer resource_metadata="https://a/x", scope="a b", error=invalid_token"#;
        for texts in [
            vec![text.to_owned()],
            vec!["Basic realm=\"x, Bearer y=\\\"z\\\"\"".to_owned(), text.to_owned()],
            vec![format!("Negotiate YWJj==, Basic realm=\"x\",{text}")],
            vec![format!("{}, DPoP algs=\"ES256\"", text.replace("Bearer", "bEARER"))],
            vec![text.replace("=\"", " = \"")],
        ] {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            assert_eq!(of(&texts), Some(whole.clone()), "{texts:?}");
        }
        assert_eq!(of(&["Bearer"]), Some(Challenge::default()));
        assert_eq!(of(&["Basic realm=\"Bearer\""]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_challenge() {
        for wrong in [
            "Bearer scope=\"a\", scope=\"b\"",
            "Bearer scope=\"a",
            "scope=\"a\", Bearer",
            "Bearer scope=\"a\"x=\"b\", (",
            "Bearer \u{1}",
        ] {
            assert_eq!(of(&[wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[&format!("Bearer scope=\"{}\"", "a ".repeat(5000))]), None);
    }

    #[test]
    fn the_next_step_holds_nothing_but_words() {
        let plain = of(&["Bearer error=\"insufficient_scope\", scope=\"files:write\""]).unwrap();
        assert!(plain.is_insufficient());
        assert_eq!(plain.next("far"), "tipstaff login far --scope files:write");
        let odd = of(&["Bearer error=\"insufficient_scope\", scope=\"x;rm\""]).unwrap();
        assert_eq!(odd.next("far"), "tipstaff login far");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~]{0,200}", more in "(Bearer )?([a-z]{1,4}=(\"[a-z\\\\ ]{0,4}\"|[a-z]{1,3}),? ?){0,4}") {
            let _ = of(&[&text, &more]);
        }

        #[test]
        fn what_is_written_by_the_grammar_is_read(
            realm in "[a-zA-Z0-9 ,=]{0,20}", scope in "[a-z:]{1,10}( [a-z:]{1,10}){0,3}", gap in " {0,2}",
        ) {
            let text = format!("Basic realm=\"{realm}\"{gap},{gap}Bearer scope=\"{scope}\"");
            let found = of(&[&text]).and_then(|challenge| challenge.scopes);
            prop_assert_eq!(found, Scopes::parse(&scope));
        }
    }
}
