//! Handles of sessions that were issued here.
//!
//! The adversary claims another's session by naming it. A handle has 128 random bits and a seal that only
//! the home's token makes, so an invented one joins nothing; a restart knows it again without a table.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http::Token;

const PURPOSE: &str = "api-session";
const HALF: usize = 16;

/// A session of the actions API, as its client names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handle(String);

impl Handle {
    /// A new handle from random bytes.
    pub(crate) fn issue(token: &Token, random: [u8; HALF]) -> Self {
        let seal = token.seal(PURPOSE, &random);
        let seal = seal.as_bytes().first_chunk::<HALF>().copied().unwrap_or_default();
        Self(URL_SAFE_NO_PAD.encode([random, seal].concat()))
    }

    /// The handle in a request; `None` unless it was issued under this token.
    pub(crate) fn parse(token: &Token, text: &str) -> Option<Self> {
        let bytes: [u8; 2 * HALF] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let issued = Self::issue(token, *bytes.first_chunk::<HALF>()?);
        let same = verify_slices_are_equal(issued.0.as_bytes(), text.as_bytes());
        same.is_ok().then_some(issued)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_issued_here_is_a_handle() {
        let token = |byte: u8| Token::parse(&URL_SAFE_NO_PAD.encode([byte; 32])).unwrap();
        let handle = Handle::issue(&token(1), [7; 16]);
        assert_eq!(Handle::parse(&token(1), handle.as_str()), Some(handle.clone()));
        assert_eq!(Handle::parse(&token(2), handle.as_str()), None);
        let invented = URL_SAFE_NO_PAD.encode([7; 32]);
        for wrong in [
            "",
            "x",
            &invented,
            handle.as_str().get(1..).unwrap(),
            &format!("{}=", handle.as_str()),
        ] {
            assert_eq!(Handle::parse(&token(1), wrong), None, "{wrong}");
        }
    }
}
