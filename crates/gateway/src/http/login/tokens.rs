//! The token endpoint (RFC 6749, RFC 7009).
//!
//! The adversary answers in an issuer's place, or is one that echoes what it was sent: an answer is bounded and read
//! strictly, nothing of its text is shown but an error that OAuth knows, and a token is one word.

use http::{Method, StatusCode};
use tipstaff_core::Json;

use super::super::remote::{Ask, Reach, ask};
use super::super::secrets::Secret;
use super::address::Address;
use super::client::Client;
use super::discover::ANSWER_MAX;
use super::metadata::object;
use super::scopes::Scopes;

/// Longest token, in bytes: it has to fit into a header.
const TOKEN_MAX: usize = 16 << 10;
/// Longest life of an access token that is believed, in seconds.
const LIFE_MAX: u64 = 10 * 365 * 24 * 3600;
/// What an issuer may say is wrong (RFC 6749, RFC 8707).
const ERRORS: [&str; 10] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
];

/// What an issuer gave.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    /// In seconds.
    pub(super) life: Option<u64>,
    pub(super) scopes: Option<Scopes>,
}

/// Why there are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    /// The issuer said no, and would again.
    #[error("the issuer refused it ({0})")]
    Refused(&'static str),
    /// It may be otherwise in a while.
    #[error("{0}")]
    Unreachable(String),
    /// What came is none.
    #[error("the issuer's answer holds no bearer token that can be used")]
    Odd,
}

/// An endpoint of an issuer, and who asks it.
pub(super) struct Desk<'a> {
    pub(super) place: &'a Address,
    pub(super) reach: Reach,
    pub(super) client: &'a Client,
    pub(super) secret: Option<&'a Secret>,
}

impl Desk<'_> {
    /// Asks for tokens.
    pub(super) async fn tokens(&self, said: &[(&str, &str)]) -> Result<Tokens, TokenFault> {
        let answer = self.post(said).await?;
        match answer.0 {
            StatusCode::OK => Tokens::parse(&answer.1).ok_or(TokenFault::Odd),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(
                TokenFault::Unreachable(format!("the issuer answered HTTP {}", status.as_u16())),
            ),
            _ => Err(TokenFault::Refused(error(&answer.1))),
        }
    }

    /// Gives a token back.
    pub(super) async fn revoke(&self, token: &Secret, kind: &str) -> Result<(), TokenFault> {
        let said = [("token", token.reveal()), ("token_type_hint", kind)];
        match self.post(&said).await? {
            (status, _) if status.is_success() => Ok(()),
            (_, body) => Err(TokenFault::Refused(error(&body))),
        }
    }

    async fn post(
        &self,
        said: &[(&str, &str)],
    ) -> Result<(StatusCode, zeroize::Zeroizing<Vec<u8>>), TokenFault> {
        let (headers, body) = self.client.posting(self.secret, said);
        let (url, method, limit) = (self.place.as_str(), Method::POST, Some(ANSWER_MAX));
        let said = ask(Ask { url, reach: self.reach, method, headers, body, limit }).await;
        let said = said.map_err(|why| TokenFault::Unreachable(format!("the issuer: {why}")))?;
        Ok((said.status, said.body))
    }
}

impl Tokens {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let json = object(bytes)?;
        let token = |member: &str| match json.get(member) {
            None | Some(Json::Null) => Some(None),
            Some(found) => word(found.as_str()?).map(|token| Some(Secret::new(token))),
        };
        let kind = json.get("token_type").and_then(Json::as_str).unwrap_or_default();
        if !kind.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let life = match json.get("expires_in") {
            None | Some(Json::Null) => None,
            // Some write the number as a text.
            Some(Json::String(text)) => Some(text.parse().ok()?),
            Some(found) => Some(u64::try_from(found.as_integer()?).ok()?),
        };
        let scopes = match json.get("scope") {
            None | Some(Json::Null) => None,
            Some(found) => Some(Scopes::parse(found.as_str()?)?),
        };
        let life = life.map(|life: u64| life.min(LIFE_MAX));
        Some(Self {
            access: token("access_token")??,
            refresh: token("refresh_token")?,
            life,
            scopes,
        })
    }
}

/// A token is one word that a header can hold.
pub(super) fn word(text: &str) -> Option<&str> {
    let is_word = text.bytes().all(|byte| byte.is_ascii_graphic());
    (!text.is_empty() && text.len() <= TOKEN_MAX && is_word).then_some(text)
}

/// What an issuer says is wrong, in OAuth's words and no others.
fn error(bytes: &[u8]) -> &'static str {
    let json = object(bytes);
    let said = json.as_ref().and_then(|json| json.get("error")).and_then(Json::as_str);
    known_error(said.unwrap_or_default())
}

pub(super) fn known_error(said: &str) -> &'static str {
    ERRORS.into_iter().find(|known| *known == said).unwrap_or("without a reason that is known here")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_words_of_bearers() {
        let of = |text: &str| Tokens::parse(text.as_bytes());
        let text = r#"{"access_token":"s3cret","token_type":"bearer","expires_in":3600,"refresh_token":"s4cret","scope":"a b"}"#;
        let tokens = of(text).unwrap();
        assert_eq!((tokens.access.reveal(), tokens.life), ("s3cret", Some(3600)));
        assert_eq!(tokens.scopes.as_ref().unwrap().joined(), "a b");
        let shown = format!("{tokens:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("s4cret"), "{shown}");
        assert_eq!(of(&text.replace("3600", "\"3600\"")).unwrap().life, Some(3600));
        assert_eq!(of(&text.replace("3600", "null")).unwrap().life, None);
        for (from, to) in [
            ("bearer", "DPoP"),
            ("\"token_type\":\"bearer\",", ""),
            ("s3cret", "s3 cret"),
            ("s3cret", "s3\\ncret"),
            ("s3cret", ""),
            ("\"access_token\":\"s3cret\",", ""),
            ("3600", "-1"),
            ("3600", "\"soon\""),
            ("s4cret", "s4\\u0000"),
            ("a b", "a\\\"b"),
            ("\"scope\"", "\"access_token\":\"x\",\"scope\""),
        ] {
            assert!(of(&text.replacen(from, to, 1)).is_none(), "{from} {to}");
        }
        assert!(of(&text.replace("s3cret", &"a".repeat(TOKEN_MAX + 1))).is_none());
    }

    #[test]
    fn an_error_is_one_that_is_known() {
        assert_eq!(
            error(br#"{"error":"invalid_grant","error_description":"s3cret"}"#),
            "invalid_grant"
        );
        for odd in [&br#"{"error":"s3cret"}"#[..], b"s3cret", b"{}", b"[]"] {
            assert_eq!(error(odd), "without a reason that is known here");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_token_fits_a_header(
            bytes in prop::collection::vec(any::<u8>(), 0..100), token in "[ -~]{0,20}", life in any::<i64>(),
        ) {
            let _ = Tokens::parse(&bytes);
            let text = serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": life });
            if let Some(tokens) = Tokens::parse(text.to_string().as_bytes()) {
                prop_assert_eq!(tokens.access.reveal(), token.as_str());
                prop_assert!(http::HeaderValue::from_str(tokens.access.reveal()).is_ok());
                prop_assert!(tokens.life.unwrap() <= LIFE_MAX);
            }
        }
    }
}
