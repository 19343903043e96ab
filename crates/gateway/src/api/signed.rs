//! What a person signed: answers to calls that wait, and what a session is told.
//!
//! The adversary is an agent that has the home's token. The token lets it bring something here and no more:
//! what counts is signed by an approver's key over the exact call or session, and whoever brings it must be
//! a process of this machine that no agent's client started.

use std::sync::Arc;

use ::http::StatusCode;
use tipstaff_core::key::Signature;
use tipstaff_core::receipt::Door;
use tipstaff_core::{Digest, Json};
use tipstaff_monitor::{Monitor, Rejection, SignedTold, Statement, Untold};

use super::reply::{Answered, Fault, Reply, bytes, json};

/// The processes at the other end and their user, as the kernel says.
pub(crate) type By = [(u32, u32)];

const STATEMENT: &str =
    "Send an object with statement, key_id and signature; see /api/openapi.json.";
const TOLD: &str =
    "Send an object with tell, session, log, salt, key_id and signature; see /api/openapi.json.";

/// A list of what an operator sees.
pub(crate) fn list(name: &str, of: Vec<Json>) -> Reply {
    let body = Json::object(vec![(name.to_owned(), Json::Array(of))]).unwrap_or(Json::Null);
    bytes(StatusCode::OK, "application/json", body.to_canonical().into_bytes())
}

/// Takes an approver's answer to a call that waits.
pub(crate) fn answer(body: &[u8], by: &By, monitor: &Arc<Monitor>) -> Answered {
    let by = person(by, monitor)?;
    let json = read(body, &["statement", "key_id", "signature"], STATEMENT)?;
    let signed = ["action", "answer", "expires", "log", "of", "policy_set", "requester"];
    if let Some(statement) = json.get("statement") {
        only(statement, &signed, STATEMENT)?;
    }
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    let said = || {
        let statement = Statement::from_json(json.get("statement")?)?;
        let signature = Signature::from_base64url(text("signature")?).ok()?;
        Some((statement, text("key_id")?.to_owned(), signature))
    };
    let (statement, key_id, signature) =
        said().ok_or_else(|| Fault::bad("malformed", "This is no signed answer.", STATEMENT))?;
    let recorded = monitor.bring_answer(statement, (key_id, signature), by);
    recorded.map(receipt).map_err(|rejection| {
        let (status, code) = match rejection {
            Rejection::Unknown => (StatusCode::NOT_FOUND, "unknown"),
            Rejection::NotSigned => (StatusCode::FORBIDDEN, "not_signed"),
            Rejection::KeyEnded => (StatusCode::FORBIDDEN, "key_ended"),
            Rejection::SelfApproval => (StatusCode::FORBIDDEN, "self_approval"),
            Rejection::Unrecorded(_) => {
                return Fault::unavailable("not_recorded", "The answer could not be recorded.");
            }
            Rejection::Answered => (StatusCode::CONFLICT, "answered"),
            Rejection::AnotherCall => (StatusCode::CONFLICT, "another_call"),
            Rejection::Expired => (StatusCode::CONFLICT, "expired"),
            Rejection::PolicyChanged => (StatusCode::CONFLICT, "policy_changed"),
            _ => (StatusCode::CONFLICT, "rejected"),
        };
        let message = format!("The answer does not count: {rejection}.");
        Fault::new(status, code, message, "See /api/v1/queue for what waits.")
    })
}

/// Tells a session what a person signed.
pub(crate) fn tell(body: &[u8], by: &By, monitor: &Arc<Monitor>) -> Answered {
    person(by, monitor)?;
    let members = ["tell", "session", "log", "salt", "key_id", "signature"];
    let json = read(body, &members, TOLD)?;
    let signed = SignedTold::from_json(&json)
        .ok_or_else(|| Fault::bad("malformed", "This is nothing signed to tell.", TOLD))?;
    monitor.tell(&signed, Door::Api).map(receipt).map_err(|untold| {
        let (status, code) = match untold {
            Untold::Unknown => (StatusCode::NOT_FOUND, "unknown_session"),
            Untold::NotSigned => (StatusCode::FORBIDDEN, "not_signed"),
            Untold::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Untold::Late => (StatusCode::CONFLICT, "late"),
            Untold::Unrecorded(_) => {
                return Fault::unavailable("not_recorded", "It could not be recorded.");
            }
            _ => (StatusCode::CONFLICT, "rejected"),
        };
        let message = format!("The session was not told: {untold}.");
        Fault::new(status, code, message, "See /api/v1/sessions for the sessions and the log.")
    })
}

/// Who brings it, if that can be a person's doing.
fn person(by: &By, monitor: &Monitor) -> Result<(u32, u32), Fault> {
    let refuse = |code, message: &str| {
        let next =
            "Bring it from a process of this user on this machine that no agent's client started.";
        Fault::new(StatusCode::FORBIDDEN, code, message, next)
    };
    let Some(first) = by.first() else {
        return Err(refuse("unknown_process", "It can't be told which process asks."));
    };
    if by.iter().any(|(pid, uid)| monitor.is_judged(*pid, *uid)) {
        return Err(refuse(
            "agents_process",
            "This comes from an agent's client, or from its child.",
        ));
    }
    Ok(*first)
}

fn read(body: &[u8], known: &[&str], next: &'static str) -> Result<Json, Fault> {
    let json = Json::parse(body).map_err(|error| {
        Fault::bad("malformed_json", format!("The body is refused: {error}."), next)
    })?;
    only(&json, known, next)?;
    Ok(json)
}

/// What is beside the known members could be taken for signed, and isn't.
fn only(json: &Json, known: &[&str], next: &'static str) -> Result<(), Fault> {
    let members =
        json.as_object().ok_or_else(|| Fault::bad("no_object", "This is no object.", next))?;
    match members.iter().all(|(name, _)| known.contains(&name)) {
        true => Ok(()),
        false => Err(Fault::bad("unknown_member", "There is an unknown member.", next)),
    }
}

fn receipt(receipt: Digest) -> Reply {
    json(StatusCode::OK, &serde_json::json!({ "receipt": receipt.to_hex() }))
}
