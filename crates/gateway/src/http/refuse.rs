//! What is answered to a request that goes no further: its status, a sentence, and what would prove something.
//!
//! The adversary learns from refusals. They say what is missing, never what would have been found.

use bytes::Bytes;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::body::{Body, Unread};
use super::guard::Stopped;
use super::mcp::{json, refused};
use super::oauth::Oauth;
use super::tls::Tls;

/// Who reads a refusal: clients of MCP read JSON-RPC, those of the pages the form of their description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Mcp,
    Pages,
}

/// A refusal in the form that its reader reads.
pub(super) fn refuse(to: Reader, status: StatusCode, text: &str) -> Response<Body> {
    if to == Reader::Mcp {
        return refused(status, text);
    }
    let code = match status {
        StatusCode::BAD_REQUEST => "unreadable",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::REQUEST_TIMEOUT => "too_slow",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        StatusCode::UNAUTHORIZED => "unauthorized",
        _ => "failed",
    };
    let next = "Mend the request, or try again later.";
    let body = serde_json::json!({ "error": { "code": code, "message": text, "next": next } });
    json(status, Bytes::from(body.to_string()))
}

/// What is answered to a body that was not read.
pub(super) fn unreadable(to: Reader, unread: Unread, limit: usize) -> Response<Body> {
    let mut answer = match unread {
        Unread::TooLarge => {
            let text = format!("The body is too large; the limit is {limit} bytes.");
            refuse(to, StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
        Unread::TooSlow => {
            refuse(to, StatusCode::REQUEST_TIMEOUT, "The body did not come in time.")
        }
        Unread::Broken => refuse(to, StatusCode::BAD_REQUEST, "The body could not be read."),
    };
    // What is left of the body is not waited for.
    answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What is answered to a request that goes no further.
pub(super) fn stop(
    to: Reader,
    stopped: &Stopped,
    (tls, oauth): (Option<&Tls>, &Oauth),
) -> Response<Body> {
    let near = tls.is_none();
    let (status, text) = match stopped {
        Stopped::Host if near => (
            StatusCode::FORBIDDEN,
            "The header Host must be this machine's own name and this port.".to_owned(),
        ),
        Stopped::Host => (
            StatusCode::FORBIDDEN,
            "The header Host must be a name of the listener's certificate, and this port."
                .to_owned(),
        ),
        Stopped::Origin => (
            StatusCode::FORBIDDEN,
            "Pages of other origins may not speak to this port.".to_owned(),
        ),
        Stopped::Credential if near => (
            StatusCode::UNAUTHORIZED,
            "Send the token of the home's keys/http.token as a bearer token, or connect as its user."
                .to_owned(),
        ),
        Stopped::Credential => (
            StatusCode::UNAUTHORIZED,
            "Show a certificate of an enrolled principal's key, sign the request with it, or send an \
             access token if there is an issuer of such."
                .to_owned(),
        ),
        Stopped::Proof(why) | Stopped::Token(why) => {
            (StatusCode::UNAUTHORIZED, why.clone())
        }
        Stopped::Scope(scopes) => (
            StatusCode::FORBIDDEN,
            format!("The access token lacks a scope; it has to have: {scopes}."),
        ),
        Stopped::Unsure(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
        Stopped::InAddress => (
            StatusCode::BAD_REQUEST,
            "An access token doesn't belong in an address, which others read: send it in the header \
             Authorization, and have this one revoked."
                .to_owned(),
        ),
    };
    let mut answer = refuse(to, status, &text);
    if status == StatusCode::UNAUTHORIZED || matches!(stopped, Stopped::Scope(_)) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, oauth.challenge(Some(stopped)));
    }
    answer
}
