//! Actions of agents that are not MCP: asked for, judged, done by the caller, and settled by it.
//!
//! The adversary writes an action that two readers understand differently, settles what is not its own,
//! or settles twice. Actions go through the strict parser and hold nothing but what is judged; an outcome
//! is taken once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use ::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tipstaff_core::json::Object;
use tipstaff_core::receipt::Status;
use tipstaff_core::{Action, CoreError, Digest, Json, Label, Labels};
use tipstaff_monitor::Ended;

use super::desk::{Desk, Judged, Settled, Whose};
use super::latency::Latency;
use super::reply::{Answered, Fault, json, with_header};
use super::session::Handle;
use crate::http::{Credential, Token};
use crate::request::TOOLS_CALL;

const BODY: &str = "Send an object with server, tool and parameters; see /api/openapi.json.";
const OUTCOME: &str = "Send an object with status (ok, error or ambiguous), and result or bytes; see /api/openapi.json.";
/// Most receipts that an action may depend on.
const DEPENDS_ON_MAX: usize = 16;
/// Longest resource in bytes: as long as a line of a request may be.
const RESOURCE_BYTES_MAX: usize = 8 << 10;

/// What a request asks for.
struct Asked {
    action: Action,
    session: Option<String>,
    depends_on: Vec<Digest>,
}

/// The answer on an action.
#[derive(Serialize)]
struct Verdict<'a> {
    verdict: &'a str,
    permitted: bool,
    receipt: &'a str,
    rule: Option<&'a str>,
    text: Option<&'a str>,
    action: Option<Changed<'a>>,
    session: &'a str,
}

/// An action to carry out instead of the one that was asked for.
#[derive(Serialize)]
struct Changed<'a> {
    operation: &'a str,
    parameters: Option<Box<RawValue>>,
    resource: Option<&'a str>,
    server: &'a str,
    tool: &'a str,
}

/// How an action ended. It has happened: its result is never refused for its numbers, and is digested
/// as it stands, a string as its text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reported<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    bytes: Option<&'a RawValue>,
}

/// `null` is a result, too, and no count.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Who signed a request, and the capability that it presents.
pub(crate) type Signer = (Credential, Option<Arc<str>>);

/// Judges one action. `fresh` are random bytes for a new session; a principal has one session, under its key's name.
pub(crate) fn judge(
    body: &[u8],
    (token, fresh, by): (&Token, [u8; 16], Option<Signer>),
    desk: &dyn Desk,
    latency: &Latency,
) -> Answered {
    let began = Instant::now();
    let asked = read(body)?;
    let whose = match (by, &asked.session) {
        (Some((own, capability)), None) => Some(Whose::Principal(own, capability)),
        (Some((own, capability)), Some(text)) => {
            Some(Whose::Principal(own, capability)).filter(|own| *text == own.to_string())
        }
        (None, None) => Some(Whose::Session(Handle::issue(token, fresh))),
        (None, Some(text)) => Handle::parse(token, text).map(Whose::Session),
    };
    let whose = whose.ok_or_else(|| {
        let message = "The session is none that was issued here.";
        let next = "Leave `session` out; the answer has a new one.";
        Fault::new(StatusCode::NOT_FOUND, "unknown_session", message, next)
    })?;
    let before = asked.action.clone();
    let judged = desk.judge(&whose, asked.action, &asked.depends_on).map_err(|_| {
        let message = "Too many actions or sessions are open.";
        let next = "Report the outcomes of open actions, then try again.";
        Fault::new(StatusCode::TOO_MANY_REQUESTS, "busy", message, next)
    })?;
    let took = began.elapsed();
    let (verdict, receipt, rule) = match &judged {
        Judged::Permitted { verdict, receipt, rule, .. } => (*verdict, *receipt, rule.as_deref()),
        Judged::Refused(refusal) => match (refusal.verdict, refusal.receipt) {
            (Some(verdict), Some(receipt)) => (verdict, receipt, refusal.rule.as_deref()),
            _ => {
                let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, refusal.text.as_str());
                let next = "Do not carry it out. The operator has to look.";
                return Err(Fault::new(status, "not_recorded", text, next));
            }
        },
    };
    let (permitted, text, action) = match &judged {
        Judged::Permitted { action, .. } => {
            (true, None, (*action != before).then(|| Changed::of(action)))
        }
        Judged::Refused(refusal) => (false, Some(refusal.text.as_str()), None),
    };
    let (verdict, session) = (verdict.as_str(), whose.to_string());
    let session = session.as_str();
    let hash = receipt.to_hex();
    let answer = Verdict { verdict, permitted, receipt: &hash, rule, text, action, session };
    latency.record(took);
    let reply = with_header(json(StatusCode::OK, &answer), "x-tipstaff-receipt", &hash);
    let millis = format!("{:.3}", took.as_secs_f64() * 1e3);
    Ok(with_header(reply, "x-tipstaff-latency-ms", &millis))
}

/// Takes the outcome of a permitted action.
pub(crate) fn settle(
    receipt: &str,
    body: &[u8],
    by: Option<Credential>,
    desk: &dyn Desk,
) -> Answered {
    let receipt = Digest::from_hex(receipt).map_err(|_| {
        let next = "Name it by the 64 lower-case hex digits that the verdict's answer has.";
        Fault::bad("bad_receipt", "The path names no receipt.", next)
    })?;
    let reported: Reported<'_> = serde_json::from_slice(body).map_err(|error| {
        let place = (error.line(), error.column());
        let message = format!("The body is no outcome: line {}, column {}.", place.0, place.1);
        Fault::bad("malformed_json", message, OUTCOME)
    })?;
    let status = Status::parse(&reported.status)
        .ok_or_else(|| Fault::bad("bad_status", "The status is unknown.", OUTCOME))?;
    let bytes = reported.bytes.map(|bytes| {
        // A receipt holds no number that some reader of JSON would change.
        let number = Json::parse(bytes.get().as_bytes()).ok().and_then(|bytes| bytes.as_integer());
        let number = number.and_then(|number| u64::try_from(number).ok());
        number
            .ok_or_else(|| Fault::bad("bad_bytes", "`bytes` is no count up to 2^53 - 1.", OUTCOME))
    });
    let bytes = bytes.transpose()?;
    let result = reported.result.map(|result| {
        serde_json::from_str(result.get()).unwrap_or_else(|_| result.get().to_owned())
    });
    let ended = match (&result, bytes) {
        (Some(_), Some(_)) => {
            let message = "`bytes` is the size of a result that is not sent.";
            return Err(Fault::bad("bad_bytes", message, OUTCOME));
        }
        (Some(result), None) => {
            let found = crate::labels::of_result(result.as_bytes());
            Ended::of(status, result.as_bytes()).with(found)
        }
        // What was not sent can hold anything.
        (None, bytes) => {
            let unseen = Labels::NONE.with(Label::Unclassified);
            Ended::unseen(status, bytes.unwrap_or(0)).with(unseen)
        }
    };
    match desk.settle(receipt, by, ended) {
        Settled::Now => {
            let answer = serde_json::json!({
                "receipt": receipt.to_hex(), "status": status.as_str(), "settled": true,
            });
            let reply = json(StatusCode::OK, &answer);
            Ok(with_header(reply, "x-tipstaff-receipt", &receipt.to_hex()))
        }
        Settled::Before => {
            let message = "This action has an outcome already.";
            let next = "The first one stands; see its receipt.";
            Err(Fault::new(StatusCode::CONFLICT, "already_settled", message, next))
        }
        Settled::Unknown => {
            let message = "No permitted action of this receipt waits for an outcome.";
            let next = "Only what this API permitted is settled here, within its time.";
            Err(Fault::new(StatusCode::NOT_FOUND, "unknown_action", message, next))
        }
        Settled::Unrecorded => {
            let message = "The outcome could not be recorded; it counts as ambiguous.";
            Err(Fault::unavailable("not_recorded", message))
        }
    }
}

fn read(body: &[u8]) -> Result<Asked, Fault> {
    let json = strict(body, BODY)?;
    let known = ["server", "tool", "operation", "parameters", "resource", "session", "depends_on"];
    let members = members(&json, &known, BODY)?;
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .map(Some)
            .ok_or_else(|| Fault::bad("bad_member", format!("`{name}` is no text."), BODY)),
    };
    let needed = |name: &str| {
        text(name)?
            .ok_or_else(|| Fault::bad("missing_member", format!("`{name}` is missing."), BODY))
    };
    let parameters = match members.get("parameters") {
        Some(Json::Object(parameters)) => Json::Object(parameters.clone()),
        Some(_) => return Err(Fault::bad("bad_member", "`parameters` is no object.", BODY)),
        None => return Err(Fault::bad("missing_member", "`parameters` is missing.", BODY)),
    };
    let resource = text("resource")?;
    if resource.is_some_and(|resource| resource.len() > RESOURCE_BYTES_MAX) {
        return Err(Fault::bad("bad_member", "`resource` is too long.", BODY));
    }
    let operation = text("operation")?.unwrap_or(TOOLS_CALL);
    let action = Action::new(needed("server")?, needed("tool")?, operation, parameters, resource);
    let action = action.map_err(|error| {
        let message = format!("This is no action: {error}.");
        Fault::bad("bad_action", message, "Names have 1 to 256 bytes and no control characters.")
    })?;
    let named = members.get("depends_on").map_or(Some(&[][..]), Json::as_array);
    let named = named.filter(|named| named.len() <= DEPENDS_ON_MAX).and_then(|named| {
        named.iter().map(|of| Digest::from_hex(of.as_str()?).ok()).collect::<Option<Vec<Digest>>>()
    });
    let depends_on = named.ok_or_else(|| {
        let next = "Send an array of at most 16 receipts of this session, each of 64 lower-case hex digits.";
        Fault::bad("bad_member", "`depends_on` names no receipts.", next)
    })?;
    Ok(Asked { action, session: text("session")?.map(str::to_owned), depends_on })
}

/// A body through the strict parser.
fn strict(body: &[u8], next: &'static str) -> Result<Json, Fault> {
    Json::parse(body).map_err(|error| match error {
        CoreError::TooLarge { limit, .. } => Fault::too_large(limit),
        error => Fault::bad("malformed_json", format!("The body is refused: {error}."), next),
    })
}

/// The members of an object that has no others than the known ones.
fn members<'a>(json: &'a Json, known: &[&str], next: &'static str) -> Result<&'a Object, Fault> {
    let no_object = || Fault::bad("no_object", "The body is no object.", next);
    let members = json.as_object().ok_or_else(no_object)?;
    match members.iter().find(|(name, _)| !known.contains(name)) {
        Some(_) => Err(Fault::bad("unknown_member", "The body has an unknown member.", next)),
        None => Ok(members),
    }
}

impl<'a> Changed<'a> {
    fn of(action: &'a Action) -> Self {
        Self {
            operation: action.operation(),
            // What is to be carried out is told byte for byte.
            parameters: RawValue::from_string(action.parameters().to_canonical()).ok(),
            resource: action.resource(),
            server: action.server(),
            tool: action.tool(),
        }
    }
}
