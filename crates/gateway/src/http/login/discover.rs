//! From a server to the issuer of its tokens, in the order of the MCP authorization specification of 2025-11-25.
//!
//! The adversary is the server, or who writes its descriptions: each step is asked of the party that it is about, over
//! https or on this machine, without redirects, and what is found counts only if it is about who was asked.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::super::remote::{Ask, Said, ask};
use super::LoginFault;
use super::address::{Address, WellKnown};
use super::challenge::Challenge;
use super::metadata::{Issuer, Resource, object};
use super::site::Site;

/// Longest description or answer of an issuer, in bytes.
pub(super) const ANSWER_MAX: usize = 256 << 10;

const RESOURCE: &str = "oauth-protected-resource";
const SERVER: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const HELLO: &str = r#"{"id":0,"jsonrpc":"2.0","method":"initialize","params":{"capabilities":{},"clientInfo":{"name":"tipstaff-login","version":"1"},"protocolVersion":"2025-11-25"}}"#;
const LIST: &str = r#"{"id":1,"jsonrpc":"2.0","method":"tools/list","params":{}}"#;

/// What a server says to who has no token.
pub(super) async fn challenge(site: &Site) -> Result<Option<Challenge>, LoginFault> {
    let mut headers = site.headers()?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(ACCEPT, accept);
    let hello = post(site, headers.clone(), HELLO).await?;
    if hello.status == StatusCode::UNAUTHORIZED {
        return Ok(Challenge::of(&hello.headers));
    }
    // Some let everybody in and ask at the first request that does something.
    let Some(session) = hello.headers.get(SESSION).cloned() else {
        return Ok(Challenge::of(&post(site, headers, LIST).await?.headers));
    };
    headers.insert(SESSION, session);
    let list = post(site, headers.clone(), LIST).await?;
    let reach = site.reach(&site.url);
    let (url, method, body) = (site.url.as_str(), Method::DELETE, Bytes::new());
    let _ = ask(Ask { url, reach, method, headers, body, limit: None }).await;
    Ok(Challenge::of(&list.headers))
}

async fn post(site: &Site, headers: HeaderMap, body: &'static str) -> Result<Said, LoginFault> {
    let (url, reach, method) = (site.url.as_str(), site.reach(&site.url), Method::POST);
    let body = Bytes::from_static(body.as_bytes());
    let said = ask(Ask { url, reach, method, headers, body, limit: None }).await;
    said.map_err(|why| LoginFault::unreachable(url, &why))
}

/// The server's description of itself.
pub(super) async fn resource(
    site: &Site,
    challenge: Option<&Challenge>,
) -> Result<Resource, LoginFault> {
    let url = &site.url;
    let places = match challenge.and_then(|challenge| challenge.resource_metadata.clone()) {
        Some(named) => vec![named],
        None if url.has_path() => vec![
            url.well_known(RESOURCE, WellKnown::Inserted),
            url.well_known(RESOURCE, WellKnown::Root),
        ],
        None => vec![url.well_known(RESOURCE, WellKnown::Root)],
    };
    match first(site, &places).await? {
        Some(body) => Resource::parse(&body, url),
        None if challenge.is_none() => Err(LoginFault::NoLogin),
        None => {
            let what = format!("{} wants a token and doesn't say who issues them", url.as_str());
            Err(LoginFault::Untrusted(what))
        }
    }
}

/// Who issues the server's tokens: whom the configuration names, else the first that the server names.
pub(super) async fn issuer(site: &Site, resource: &Resource) -> Result<Issuer, LoginFault> {
    let wanted = site.oauth.issuer.as_deref().and_then(Address::parse);
    let found = match &wanted {
        Some(wanted) => resource.issuers.iter().find(|one| one.is_same(wanted)),
        None => resource.issuers.first(),
    };
    let Some(asked) = found else {
        let what = "the server names other issuers than the one in its configuration";
        return Err(LoginFault::Untrusted(what.to_owned()));
    };
    let mut places = vec![
        asked.well_known(SERVER, WellKnown::Inserted),
        asked.well_known(OPENID, WellKnown::Inserted),
    ];
    if asked.has_path() {
        places.push(asked.well_known(OPENID, WellKnown::Appended));
    }
    match first(site, &places).await? {
        Some(body) => Issuer::parse(&body, asked),
        None => {
            let what = format!(
                "{} doesn't describe itself where an issuer of tokens does",
                asked.as_str()
            );
            Err(LoginFault::Untrusted(what))
        }
    }
}

/// The first description that is there. What can't be reached at all is no place without one.
async fn first(site: &Site, places: &[String]) -> Result<Option<Vec<u8>>, LoginFault> {
    for place in places {
        let Some(address) = Address::parse(place) else {
            let what =
                "a description was named at an address that is neither https nor this machine's";
            return Err(LoginFault::Untrusted(what.to_owned()));
        };
        let said = ask(Ask::document(address.as_str(), site.reach(&address), ANSWER_MAX)).await;
        let said = said.map_err(|why| LoginFault::unreachable(place, &why))?;
        // A page for people is what some say wherever there is nothing.
        if said.status == StatusCode::OK && object(&said.body).is_some() {
            return Ok(Some(said.body.to_vec()));
        }
    }
    Ok(None)
}
