//! Requests to `/mcp` and the API that a principal signs (RFC 9421): who asks is who holds the key.
//!
//! The adversary repeats a request that it saw, takes its signature to another session or body, or leaves out of the
//! signature what it wants to change. What a signature has to cover is fixed, it is good for minutes, and its nonce
//! counts once.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{HOST, HeaderMap, HeaderName};
use http::request::Parts;
use tipstaff_identity::{HttpParts, HttpSignature, check_content_digest};
use tipstaff_monitor::Monitor;

use super::guard::{Credential, Thumbprint, one};
use super::mcp::CAPABILITY;
use super::nonces::{Nonces, SKEW};

const INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const BODY: HeaderName = HeaderName::from_static("content-digest");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Whether a request says that it is signed.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(&INPUT) || headers.contains_key(&SIGNATURE)
}

/// Whose request it is.
///
/// # Errors
/// Why it is nobody's, in words.
pub(super) fn prove(
    parts: &Parts,
    body: &[u8],
    monitor: &Monitor,
    nonces: &Nonces,
) -> Result<Credential, String> {
    let header = |name: &HeaderName| {
        let value = one(&parts.headers, name).map_err(|()| format!("`{name}` is there twice"));
        value.map(Option::unwrap_or_default)
    };
    let text = |fault: tipstaff_identity::HttpSignatureFault| fault.to_string();
    let signature = HttpSignature::parse(header(&INPUT)?, header(&SIGNATURE)?).map_err(text)?;
    let mut covered = vec!["@method", "@authority", "@path"];
    if parts.uri.query().is_some() {
        covered.push("@query");
    }
    if parts.headers.contains_key(&SESSION) {
        covered.push("mcp-session-id");
    }
    if parts.headers.contains_key(&CAPABILITY) {
        covered.push("tipstaff-capability");
    }
    if !body.is_empty() {
        covered.push("content-digest");
        check_content_digest(header(&BODY)?, body).map_err(text)?;
    }
    signature.covers(&covered).map_err(text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let is_good = signature.created.abs_diff(now) <= SKEW
        && signature.expires.is_none_or(|until| until >= now);
    if !is_good {
        return Err("the signature was not made within five minutes of now".to_owned());
    }
    if signature.created < nonces.since() {
        let why = "it was signed before this monitor started, which can't know whether it was used";
        return Err(format!("{why}: sign it again"));
    }
    let key = monitor.principal_key(&signature.key_id)?;
    let fields: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let host = header(&HOST)?.to_ascii_lowercase();
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let asked = HttpParts {
        method: parts.method.as_str(),
        authority: host.strip_suffix(":80").unwrap_or(&host),
        path: parts.uri.path(),
        query: query.as_deref(),
        fields: &fields,
    };
    signature.verify(asked, &key).map_err(text)?;
    // Only what is signed uses a nonce up: nobody else can spoil one.
    let nonce = signature.nonce.as_deref().ok_or("the signature has no nonce")?;
    if !nonces.take(&signature.key_id, nonce, now) {
        return Err("the signature was used already, or too many were: sign it again".to_owned());
    }
    let key =
        Thumbprint::parse(&signature.key_id).ok_or("the key is not named by its thumbprint")?;
    Ok(Credential::Key(key))
}
