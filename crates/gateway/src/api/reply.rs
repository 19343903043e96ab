//! Answers: their form, their errors, and the headers that all of them have.
//!
//! The adversary sends what can't be answered. Every such request gets a 4xx with a code, a sentence and
//! the next step; nothing of a request is repeated in an answer's headers, and of errors in here only
//! what the caller can use is told.

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use serde::Serialize;

/// An answer.
pub(crate) type Reply = Response<Vec<u8>>;
/// An answer, or why there is none.
pub(crate) type Answered = Result<Reply, Fault>;

/// Why a request is not served: what the caller reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) next: &'static str,
}

impl Fault {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        next: &'static str,
    ) -> Self {
        Self { status, code, message: message.into(), next }
    }

    /// A request that is not what the endpoint takes.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>, next: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, next)
    }

    /// A body over its limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("The body is over the limit of {limit} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "Send less at a time.")
    }

    /// The home can't answer, and the caller can't change that.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let next = "The operator has to look: run `tipstaff log fsck` on the home.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, next)
    }
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        let Fault { status, code, message, next } = fault;
        let body = serde_json::json!({
            "error": { "code": code, "message": message, "next": next }
        });
        json(status, &body)
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Values of ours have text keys only, so that they can be written.
    let body = serde_json::to_vec(body).unwrap_or_default();
    bytes(status, "application/json", body)
}

/// An answer of any type.
pub(crate) fn bytes(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// The same answer with one header more; a value that no header can have is left out.
pub(crate) fn with_header(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
    reply
}

/// How long an answer may be kept by whoever passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It never changes.
    Forever,
    /// It changes seldom.
    Minutes,
}

/// The same answer, to be kept.
pub(crate) fn kept(reply: Reply, keep: Keep) -> Reply {
    let value = match keep {
        Keep::Forever => "public, max-age=31536000, immutable",
        Keep::Minutes => "public, max-age=300",
    };
    with_header(reply, "cache-control", value)
}

/// What every answer has: its length, and that it is of the type that it says and not to be kept unless
/// it says so. An answer to HEAD has no body.
pub(crate) fn finish(mut reply: Reply, head: Head) -> Reply {
    let length = HeaderValue::from(reply.body().len());
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if head == Head::Only {
        reply.body_mut().clear();
    }
    reply
}

/// Whether the body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// The request was HEAD.
    Only,
    /// The whole answer.
    AndBody,
}
