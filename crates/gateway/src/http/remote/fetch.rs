//! One small document from elsewhere, or one small answer: an issuer's keys, what it says of itself, its tokens.
//!
//! The adversary sends too much, nothing, or to somewhere else: the size and the time are bounded, no redirect is
//! followed, and what is asked on somebody else's word goes no farther than that may reach.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use zeroize::Zeroizing;

use super::super::body::{Body, collect};
use super::Fault;
use super::connect::Target;
use super::reach::Reach;

/// Time for the whole of it.
const WAIT: Duration = Duration::from_secs(10);

/// What is asked.
pub(in crate::http) struct Ask<'a> {
    pub(in crate::http) url: &'a str,
    pub(in crate::http) reach: Reach,
    pub(in crate::http) method: Method,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Bytes,
    /// Most bytes of the answer; `None`: only its head is wanted.
    pub(in crate::http) limit: Option<usize>,
}

impl<'a> Ask<'a> {
    /// A document, of at most `limit` bytes.
    pub(in crate::http) fn document(url: &'a str, reach: Reach, limit: usize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (method, body) = (Method::GET, Bytes::new());
        Self { url, reach, method, headers, body, limit: Some(limit) }
    }
}

/// What was answered.
pub(in crate::http) struct Said {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Zeroizing<Vec<u8>>,
}

/// The answer, whatever it is.
///
/// # Errors
/// Why there is none, in words.
pub(in crate::http) async fn ask(ask: Ask<'_>) -> Result<Said, String> {
    let asked = tokio::time::timeout(WAIT, send(ask)).await;
    asked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// The body of the answer at an address of the operator's, of at most `limit` bytes.
///
/// # Errors
/// Why there is none, in words.
pub(in crate::http) async fn fetch(url: &str, limit: usize) -> Result<Vec<u8>, String> {
    let said = ask(Ask::document(url, Reach::Anywhere, limit)).await?;
    if said.status != StatusCode::OK {
        return Err(format!("it answered {}", said.status));
    }
    Ok(said.body.to_vec())
}

async fn send(ask: Ask<'_>) -> Result<Said, String> {
    let mut request = Request::new(Body::Whole(ask.body));
    *request.method_mut() = ask.method;
    *request.headers_mut() = ask.headers;
    let answer = Target::within(ask.url, ask.reach)?.send(request).await;
    let answer = answer.map_err(|fault| match fault {
        Fault::NotSent(why) => why,
        Fault::Lost => "it can't be reached".to_owned(),
    })?;
    let (head, mut body) = answer.into_parts();
    let body = match ask.limit {
        Some(limit) => collect(&mut body, limit, 0)
            .await
            .map_err(|_| "its answer could not be read, or is too large".to_owned())?,
        None => Vec::new(),
    };
    Ok(Said { status: head.status, headers: head.headers, body: Zeroizing::new(body) })
}
