//! An access token (RFC 9068): what it says, and whether it counts here and now.
//!
//! The adversary writes a token, takes one that was made for another service or another issuer, or keeps an old one.
//! A pure function of the token, the issuer's keys, what is expected and the time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tipstaff_core::{Json, Millis};

use super::keys::{Algorithm, KeySet};

/// Longest token, in bytes.
const BYTES_MAX: usize = 8 << 10;
/// Most audiences of one.
const AUDIENCES_MAX: usize = 16;
/// How far an issuer's clock may be from ours, in seconds.
const SKEW: i64 = 60;

/// Why a token counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("it is not a signed token of at most 8 KiB")]
    Malformed,
    #[error("it is not an access token by its type")]
    Type,
    #[error("its algorithm is not one that is taken")]
    Algorithm,
    #[error("its issuer is not one that is trusted here")]
    Issuer,
    #[error("it is not signed by a key of its issuer")]
    Signature,
    #[error("it was issued for another audience")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    Early,
    #[error("it is bound to a key, and that is not checked here")]
    Bound,
    #[error("it has no subject")]
    Subject,
    #[error("it lacks a scope")]
    Scope,
}

/// A token that was read and not yet believed.
#[derive(Debug)]
pub(super) struct Token<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    typ: Option<String>,
    /// The name of the key that it says it is signed with.
    pub(super) key: Option<String>,
    claims: Json,
}

/// What is expected of a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) typ: &'a str,
    pub(super) scopes: &'a [String],
}

impl<'a> Token<'a> {
    /// Reads a token. Nothing of it counts before [`Token::check`].
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        if text.len() > BYTES_MAX {
            return Err(malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
        let json = |part: &str| {
            let json = Json::parse(&bytes(part)?).map_err(|_| malformed)?;
            json.as_object().is_some().then_some(json).ok_or(malformed)
        };
        let header = json(header)?;
        let word = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(|word| Some(word.to_owned())).ok_or(malformed),
        };
        // What has to be understood is not: there is nothing of the kind here.
        if header.get("crit").is_some() {
            return Err(malformed);
        }
        let algorithm = word("alg")?.as_deref().and_then(Algorithm::parse);
        Ok(Self {
            signed,
            signature: bytes(signature)?,
            algorithm: algorithm.ok_or(TokenFault::Algorithm)?,
            typ: word("typ")?,
            key: word("kid")?,
            claims: json(claims)?,
        })
    }

    /// The issuer that it names, to find the keys by.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Its subject, if it counts.
    ///
    /// # Errors
    /// [`TokenFault`]
    pub(super) fn check(
        &self,
        keys: &KeySet,
        expected: Expected<'_>,
        now: Millis,
    ) -> Result<&str, TokenFault> {
        let typ = self.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if !typ.eq_ignore_ascii_case(expected.typ) {
            return Err(TokenFault::Type);
        }
        if self.issuer() != Some(expected.issuer) {
            return Err(TokenFault::Issuer);
        }
        let by = (self.key.as_deref(), self.algorithm);
        if !keys.verify(by, self.signed.as_bytes(), &self.signature) {
            return Err(TokenFault::Signature);
        }
        if !self.is_for(expected.audience) {
            return Err(TokenFault::Audience);
        }
        let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        let time = |name: &str| match self.claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_integer().map(Some).ok_or(TokenFault::Malformed),
        };
        if time("exp")?.ok_or(TokenFault::Expired)? <= now.saturating_sub(SKEW) {
            return Err(TokenFault::Expired);
        }
        for from in [time("nbf")?, time("iat")?].into_iter().flatten() {
            if from > now.saturating_add(SKEW) {
                return Err(TokenFault::Early);
            }
        }
        if self.claims.get("cnf").is_some() {
            return Err(TokenFault::Bound);
        }
        let scopes = self.claims.get("scope").and_then(Json::as_str).unwrap_or_default();
        let has = |wanted: &String| scopes.split(' ').any(|scope| scope == wanted);
        if !expected.scopes.iter().all(has) {
            return Err(TokenFault::Scope);
        }
        self.claims.get("sub").and_then(Json::as_str).ok_or(TokenFault::Subject)
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Json::Array(all)) if all.len() <= AUDIENCES_MAX => {
                all.iter().any(|one| one.as_str() == Some(audience))
            }
            Some(one) => one.as_str() == Some(audience),
            None => false,
        }
    }
}
