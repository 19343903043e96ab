//! `oauth = { … }` of a server: how a person logs in to it (docs/servers-login.md).
//!
//! The adversary is the server, which names who issues its tokens: a client's secret goes to the issuer that stands
//! here and to nobody else.

use serde::Deserialize;

use super::servers::{Setting, setting_fault, url_fault};

/// Most scopes of one login.
const SCOPES_MAX: usize = 64;
/// Longest client id or scope, in bytes.
const WORD_MAX: usize = 256;

/// What a login needs that the server and its issuer don't say themselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// Who has to be the issuer, as it names itself.
    pub issuer: Option<String>,
    /// The client as it was registered by hand.
    pub client_id: Option<String>,
    /// The secret of that client.
    pub client_secret: Option<Setting>,
    /// Where the client's own description is published (Client ID Metadata Document).
    pub client_metadata: Option<String>,
    /// What to ask for, instead of what the server names.
    pub scopes: Vec<String>,
}

/// What is wrong with it, if anything. No value stands in the answer.
pub(super) fn fault(login: &LoginConfig) -> Option<String> {
    let at = |what: &str| Some(format!("oauth: {what}"));
    if let Some(fault) = login.issuer.as_deref().and_then(url_fault) {
        return at(&format!("issuer: {fault}"));
    }
    if let Some(secret) = &login.client_secret {
        if login.client_id.is_none() || login.issuer.is_none() {
            return at(
                "a `client_secret` stands with its `client_id` and the `issuer` that it is for",
            );
        }
        if let Some(fault) = setting_fault("client_secret", secret) {
            return at(&fault);
        }
    }
    if let Some(document) = &login.client_metadata {
        let path = document.strip_prefix("https://").and_then(|rest| rest.split_once('/'));
        if url_fault(document).is_some() || path.is_none_or(|(_, path)| path.is_empty()) {
            return at("`client_metadata` is the https address of a document");
        }
        if login.client_id.is_some() {
            return at("give either a `client_id` or `client_metadata`");
        }
    }
    let is_plain = |word: &String| {
        !word.is_empty()
            && word.len() <= WORD_MAX
            && word.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if login.client_id.iter().any(|id| !is_plain(id)) {
        return at("a `client_id` has 1 to 256 visible characters");
    }
    let is_scope = |scope: &String| is_plain(scope) && !scope.contains(['"', '\\']);
    if login.scopes.len() > SCOPES_MAX || !login.scopes.iter().all(is_scope) {
        return at("there are at most 64 scopes, each without spaces and quotes");
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_login_is_read_and_what_cannot_be_meant_is_refused() {
        let of = |oauth: &str| {
            Config::parse(&format!(
                "[servers.far]\nurl = \"https://h/mcp\"\noauth = {{ {oauth} }}\n"
            ))
        };
        for good in [
            "",
            "scopes = [\"files:read\"]",
            "client_id = \"me\"",
            "issuer = \"https://login.example\", client_id = \"me\", client_secret = \"file:far\"",
            "client_metadata = \"https://me.example/client.json\"",
        ] {
            assert!(of(good).unwrap().servers["far"].oauth.is_some(), "{good}");
        }
        for wrong in [
            "issuer = \"http://login.example\"",
            // Whoever the server names would get the secret.
            "client_id = \"me\", client_secret = \"file:far\"",
            "issuer = \"https://login.example\", client_secret = \"file:far\"",
            "issuer = \"https://l.example\", client_id = \"me\", client_secret = \"s3cret\"",
            "issuer = \"https://l.example\", client_id = \"me\", client_secret = \"file:../x\"",
            "client_metadata = \"http://127.0.0.1/client.json\"",
            "client_metadata = \"https://me.example\"",
            "client_id = \"me\", client_metadata = \"https://me.example/client.json\"",
            "client_id = \"a b\"",
            "scopes = [\"a b\"]",
            "scopes = [\"a\\\"b\"]",
            "tokens = \"x\"",
        ] {
            let fault = of(wrong).expect_err(wrong).to_string();
            assert!(!fault.contains("s3cret") || wrong.contains("tokens"), "{fault}");
        }
        for beside in [
            "[servers.far]\ncommand = [\"x\"]\noauth = {}\n",
            "[servers.far]\nurl = \"https://h/\"\noauth = {}\nheaders = { AUTHORIZATION = \"file:a\" }\n",
        ] {
            Config::parse(beside).expect_err(beside);
        }
    }
}
