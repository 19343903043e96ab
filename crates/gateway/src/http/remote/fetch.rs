//! One small document from elsewhere: an issuer's keys.
//!
//! The adversary sends too much, nothing, or to somewhere else: the size and the time are bounded, and no redirect is
//! followed.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};

use super::super::body::{Body, collect};
use super::connect::Target;

/// Time for the whole of it.
const WAIT: Duration = Duration::from_secs(10);

/// The body of the answer at an address, of at most `limit` bytes.
///
/// # Errors
/// Why there is none, in words.
pub(in crate::http) async fn fetch(url: &str, limit: usize) -> Result<Vec<u8>, String> {
    let fetched = tokio::time::timeout(WAIT, get(url, limit)).await;
    fetched.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn get(url: &str, limit: usize) -> Result<Vec<u8>, String> {
    let request = Request::builder().method(Method::GET).header(ACCEPT, "application/json");
    let request = request.body(Body::Whole(Bytes::new())).map_err(|error| error.to_string())?;
    let answer = Target::parse(url)?.send(request).await;
    let answer = answer.map_err(|_| "it can't be reached".to_owned())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answered {}", answer.status()));
    }
    let body = collect(answer.into_body(), limit, 0).await;
    body.map_err(|_| "its answer could not be read, or is too large".to_owned())
}
