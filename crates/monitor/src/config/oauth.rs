//! `[oauth]`: whose access tokens are taken for which principals (docs/network.md).
//!
//! The adversary is an issuer, or somebody who writes as one: a token counts by the keys that stand here, for the
//! subjects that stand here. Who is not named is nobody.

use std::collections::BTreeMap;

use serde::Deserialize;
use tipstaff_identity::Name;

use super::servers::{Setting, url_fault};

/// Most issuers, and most subjects of one.
const ISSUERS_MAX: usize = 16;
const SUBJECTS_MAX: usize = 10_000;
/// Longest subject, scope or type, in bytes.
const WORD_MAX: usize = 256;

/// Access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct OauthConfig {
    /// The audience that tokens must name: the address of `/mcp` as clients write it. By default the listener's.
    pub resource: Option<String>,
    /// Who issues them, by a name of the operator's.
    pub issuers: BTreeMap<String, Issuer>,
}

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What its tokens say in `iss`.
    pub url: String,
    /// Where its public keys are (a JWK set): an address, or `file:NAME` in the home's secrets folder.
    pub keys: Setting,
    /// What its access tokens say in `typ` (RFC 9068: `at+jwt`).
    #[serde(default = "access_token")]
    pub typ: String,
    /// Scopes that a token must have.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Which principal a subject is.
    #[serde(default)]
    pub subjects: BTreeMap<String, String>,
}

fn access_token() -> String {
    "at+jwt".to_owned()
}

/// What is wrong with it, if anything.
pub(super) fn fault(oauth: &OauthConfig) -> Option<String> {
    let plain = |text: &str| {
        !text.is_empty() && text.len() <= WORD_MAX && !text.chars().any(char::is_control)
    };
    if oauth.issuers.len() > ISSUERS_MAX {
        return Some(format!("there are more than {ISSUERS_MAX} issuers"));
    }
    if let Some(fault) = oauth.resource.as_deref().and_then(url_fault) {
        return Some(format!("oauth.resource: {fault}"));
    }
    for (name, issuer) in &oauth.issuers {
        let at = |what: &str| Some(format!("oauth.issuers.{name}: {what}"));
        if let Some(fault) = url_fault(&issuer.url) {
            return at(fault);
        }
        match &issuer.keys {
            Setting::Plain(url) => {
                if let Some(fault) = url_fault(url) {
                    return at(fault);
                }
            }
            Setting::File(_) => {
                if let Some(fault) = super::servers::setting_fault("keys", &issuer.keys) {
                    return at(&fault);
                }
            }
            _ => return at("`keys` is an address, or `file:NAME`"),
        }
        if issuer.subjects.len() > SUBJECTS_MAX {
            return at("there are more than 10000 subjects");
        }
        let words = issuer.subjects.keys().chain(&issuer.scopes).chain([&issuer.typ]);
        if words.into_iter().any(|word| !plain(word)) {
            return at("subjects, scopes and `typ` have 1 to 256 bytes and no control characters");
        }
        if issuer.scopes.iter().any(|scope| scope.contains([' ', '"', '\\'])) {
            return at("a scope has no spaces and no quotes");
        }
        if issuer.subjects.values().any(|name| Name::parse(name).is_none()) {
            return at("a subject is mapped to what is no principal's name");
        }
    }
    let urls: std::collections::BTreeSet<&str> =
        oauth.issuers.values().map(|issuer| issuer.url.as_str()).collect();
    (urls.len() < oauth.issuers.len()).then(|| "oauth: two issuers have the same url".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn issuers_are_read_and_what_cannot_be_meant_is_refused() {
        let good = "[oauth]\nresource = \"https://gateway.example:4443/mcp\"\n[oauth.issuers.login]\n\
            url = \"https://login.example\"\nkeys = \"https://login.example/jwks\"\n\
            subjects = { \"auth0|1\" = \"ada\" }\n";
        let config = Config::parse(good).unwrap();
        let issuer = &config.oauth.issuers["login"];
        assert_eq!((issuer.typ.as_str(), issuer.subjects["auth0|1"].as_str()), ("at+jwt", "ada"));
        Config::parse(&good.replace("https://login.example/jwks", "file:login.json")).unwrap();
        for (from, to) in [
            ("https://login.example\"", "http://login.example\""),
            ("https://login.example/jwks", "http://login.example/jwks"),
            ("https://login.example/jwks", "env:KEYS"),
            ("https://login.example/jwks", "file:../x"),
            ("\"ada\"", "\"Ada!\""),
            ("auth0|1", ""),
            ("https://gateway.example:4443/mcp", "ftp://x"),
            ("keys = \"https://login.example/jwks\"\n", ""),
        ] {
            assert!(Config::parse(&good.replacen(from, to, 1)).is_err(), "{from} {to}");
        }
        let again = good.replace("[oauth]\nresource = \"https://gateway.example:4443/mcp\"\n", "");
        let again = again.replace("issuers.login", "issuers.other");
        assert!(Config::parse(&format!("{good}{again}")).is_err(), "one url twice");
    }
}
