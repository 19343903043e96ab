//! Access tokens: this listener as a resource server of OAuth 2.1, as the MCP authorization specification of
//! 2025-11-25 has it.
//!
//! The adversary has a token that somebody trusted made for somebody else, or makes one. A token is taken for a
//! principal by its issuer's signature, for this listener alone, from a header alone, and goes no further: what servers
//! behind it are sent is the operator's. Keys are fetched seldom, however often somebody names a key that isn't there.

mod keys;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tipstaff_core::{Digest, Json};
use tipstaff_identity::Name;
use tipstaff_monitor::{Issuer, Monitor, Setting};

use super::connection::now;
use super::guard::{Account, Credential, Stopped};
use super::remote::fetch;
use super::secrets::resolve;
use keys::KeySet;
use token::{Expected, Token, TokenFault};

/// Where the description of this resource is (RFC 9728).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// How long keys are taken without looking again, and how long if there is nothing to be seen.
const FRESH: Duration = Duration::from_secs(10 * 60);
const STALE: Duration = Duration::from_secs(60 * 60);
/// Least time between looks.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest set of keys, in bytes.
const SET_BYTES_MAX: usize = 256 << 10;

/// Access tokens of this listener.
pub(super) struct Oauth {
    home: PathBuf,
    monitor: Arc<Monitor>,
    /// The listener's own address of `/mcp`.
    listener: String,
    known: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<Known>>>>,
}

/// An issuer, and where its keys are.
type Place = (String, String);

/// What is known of an issuer's keys.
#[derive(Debug, Default)]
struct Known {
    keys: Option<(Arc<KeySet>, Instant)>,
    looked: Option<Instant>,
}

impl Oauth {
    pub(super) fn new(home: PathBuf, monitor: Arc<Monitor>, listener: String) -> Self {
        Self { home, monitor, listener, known: Mutex::default() }
    }

    /// Whether tokens are taken at all.
    pub(super) fn is_on(&self) -> bool {
        !self.monitor.oauth().issuers.is_empty()
    }

    /// For whom a token is taken.
    pub(super) async fn prove(&self, text: &str) -> Result<Credential, Stopped> {
        let invalid =
            |why: String| Stopped::Token(format!("The access token counts for nothing: {why}."));
        let oauth = self.monitor.oauth();
        let token = Token::parse(text).map_err(|fault| invalid(fault.to_string()))?;
        let issuer = token.issuer().and_then(|own| oauth.issuers.values().find(|i| i.url == own));
        let issuer = issuer.ok_or_else(|| invalid(TokenFault::Issuer.to_string()))?;
        let keys = self.keys(issuer, token.key.as_deref()).await;
        let keys = keys.map_err(|why| {
            crate::say(&format!("the keys of {} can't be had: {why}", issuer.url));
            Stopped::Unsure("The keys of the token's issuer can't be had now.".to_owned())
        })?;
        let audience = oauth.resource.as_deref().unwrap_or(&self.listener);
        let expected =
            Expected { issuer: &issuer.url, audience, typ: &issuer.typ, scopes: &issuer.scopes };
        let subject = token.check(&keys, expected, now()).map_err(|fault| match fault {
            TokenFault::Scope => Stopped::Scope(issuer.scopes.join(" ")),
            fault => invalid(fault.to_string()),
        })?;
        let name = issuer.subjects.get(subject).and_then(|name| Name::parse(name));
        let name = name.ok_or_else(|| {
            invalid("its subject is nobody's here; the operator maps it in [oauth]".to_owned())
        })?;
        let subject = Digest::of_parts(&[issuer.url.as_bytes(), b"\0", subject.as_bytes()]);
        let credential = Credential::Account(Arc::new(Account { name, subject }));
        self.monitor.may_speak(&credential.proved()).map_err(invalid)?;
        Ok(credential)
    }

    /// The keys of an issuer; looked for again where they are old, or where one is named that is not among them.
    async fn keys(&self, issuer: &Issuer, wanted: Option<&str>) -> Result<Arc<KeySet>, String> {
        let at = match &issuer.keys {
            Setting::Plain(url) => url.clone(),
            setting => format!("{setting:?}"),
        };
        let place = (issuer.url.clone(), at);
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(place).or_default())
        };
        let mut known = known.lock().await;
        let is_new = known.looked.is_some_and(|looked| looked.elapsed() < AGAIN);
        match &known.keys {
            Some((keys, at)) if at.elapsed() < FRESH && (keys.has(wanted) || is_new) => {
                return Ok(Arc::clone(keys));
            }
            None if is_new => return Err("they could not be had a moment ago".to_owned()),
            _ => {}
        }
        known.looked = Some(Instant::now());
        match self.fetch(issuer).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                known.keys = Some((Arc::clone(&keys), Instant::now()));
                Ok(keys)
            }
            Err(why) => match &known.keys {
                Some((keys, at)) if at.elapsed() < STALE => Ok(Arc::clone(keys)),
                _ => Err(why),
            },
        }
    }

    async fn fetch(&self, issuer: &Issuer) -> Result<KeySet, String> {
        let bytes = match &issuer.keys {
            Setting::Plain(url) => fetch(url, SET_BYTES_MAX).await?,
            setting => {
                let text = resolve(&self.home, "keys", setting)?;
                text.reveal().as_bytes().to_vec()
            }
        };
        KeySet::parse(&bytes).ok_or_else(|| "what was found is no JWK set".to_owned())
    }

    /// The description of this resource, if that is what a path names.
    pub(super) fn described(&self, path: &str) -> Option<Json> {
        let oauth = self.monitor.oauth();
        let rest = path.strip_prefix(WELL_KNOWN)?;
        if oauth.issuers.is_empty() || !matches!(rest, "" | "/mcp") {
            return None;
        }
        let texts = |texts: Vec<&str>| Json::Array(texts.into_iter().map(Json::string).collect());
        let mut scopes: Vec<&str> =
            oauth.issuers.values().flat_map(|issuer| &issuer.scopes).map(String::as_str).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let issuers = oauth.issuers.values().map(|issuer| issuer.url.as_str()).collect();
        let mut members = vec![
            ("authorization_servers".to_owned(), texts(issuers)),
            ("bearer_methods_supported".to_owned(), texts(vec!["header"])),
            (
                "resource".to_owned(),
                Json::string(oauth.resource.as_deref().unwrap_or(&self.listener)),
            ),
            ("resource_name".to_owned(), Json::string("Tipstaff")),
        ];
        if !scopes.is_empty() {
            members.push(("scopes_supported".to_owned(), texts(scopes)));
        }
        Json::object(members)
    }

    /// What a client is told that proves nothing, or not enough (RFC 6750, RFC 9728).
    pub(super) fn challenge(&self, fault: Option<&Stopped>) -> HeaderValue {
        let mut text = "Bearer".to_owned();
        if self.is_on() {
            let resource = self.monitor.oauth().resource.unwrap_or_else(|| self.listener.clone());
            // It stands at the resource's own host, before the resource's path.
            let (scheme, rest) = resource.split_once("://").unwrap_or(("https", &resource));
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let slash = if path.is_empty() { "" } else { "/" };
            text = format!(
                "Bearer resource_metadata=\"{scheme}://{authority}{WELL_KNOWN}{slash}{path}\""
            );
            match fault {
                Some(Stopped::Token(_)) => text.push_str(", error=\"invalid_token\""),
                Some(Stopped::Scope(scopes)) => {
                    text.push_str(&format!(", error=\"insufficient_scope\", scope=\"{scopes}\""));
                }
                _ => {}
            }
        }
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

#[cfg(test)]
mod tests;
