//! The tests, one function for each case.
//!
//! The adversary is a result that would have come anyway: where something must not happen, the other case shows
//! that it does happen without the cause.

mod context;
mod decisions;
mod first;
mod identity;
mod items;
mod receipts;

use serde_json::json;

use crate::case::Case;
use crate::client::{Shown, Stop, WAIT};
use crate::mcp::Mcp;
use crate::run::Exam;

/// What is sent, and the case that sends it.
pub(crate) type Way = (&'static str, fn(&Exam<'_>, &mut Case) -> Result<(), Stop>);
/// The positive case and the negative one.
pub(crate) type Test = (Way, Way);

/// The test of an item that has one of its own.
pub(crate) fn of(id: &str) -> Option<Test> {
    Some(match id {
        "R1.1" => first::DENIED,
        "R1.2" => first::DEFERRED,
        "R1.3" => first::AWAY,
        "R2.1" => context::ACCUMULATED,
        "R2.2" => context::TAMPERED,
        "R3.1" => context::FORBIDDEN,
        "R3.2" => context::DENIED_IN_CONTEXT,
        "R3.3" => context::ALLOWED_IN_CONTEXT,
        "R3.4" => context::CONFLICTING,
        "R4.1" => decisions::FIVE,
        "R4.2" => decisions::NOBODY_APPROVES,
        "R4.3" => decisions::NOTHING_RESOLVES,
        "R5.1" => receipts::COMPLETE,
        "R5.2" => receipts::OFFLINE,
        "R5.3" => receipts::TAMPERED,
        "R5.4" => receipts::DEFERRAL,
        "R6.1" => identity::APART,
        "R6.2" => identity::KEPT,
        "R7.1" => items::DRIFT,
        "R8.1" => items::TELEMETRY,
        "R9.1" => items::CREDENTIALS,
        "O4" => items::CLASSIFIED,
        "O7" => items::LEAST,
        "S3.1" => items::GATEWAY,
        _ => return None,
    })
}

/// The procedure of decisions that its receipts name.
pub(crate) fn engine(exam: &Exam<'_>) -> Option<String> {
    let receipt = exam.act("read_public", json!({}), None).ok()?.receipt;
    let shown = exam.receipt(&receipt).ok()?;
    Some(shown.text("/decision/engine").to_owned()).filter(|engine| !engine.is_empty())
}

/// The name of its log.
pub(crate) fn log(exam: &Exam<'_>) -> Option<String> {
    let receipt = exam.act("read_public", json!({}), None).ok()?.receipt;
    let shown = exam.receipt(&receipt).ok()?;
    Some(shown.text("/as_of/log").to_owned()).filter(|log| !log.is_empty())
}

/// A session over MCP that has begun, with its chain and log.
pub(crate) struct Seat<'a> {
    pub(crate) mcp: Mcp<'a>,
    pub(crate) chain: String,
    pub(crate) log: String,
}

pub(crate) fn seat<'a>(exam: &'a Exam<'a>) -> Result<Seat<'a>, Stop> {
    let mcp = Mcp::open(exam)?;
    let first = mcp.call("read_public", &json!({}), WAIT)?;
    if first.refused || first.receipt.is_empty() {
        return Err(Stop::failed(format!(
            "read_public was not allowed with a receipt: {}",
            first.text
        )));
    }
    let shown = exam.receipt(&first.receipt)?;
    let (chain, log) = (shown.text("/session").to_owned(), shown.text("/as_of/log").to_owned());
    Ok(Seat { mcp, chain, log })
}

/// A session over the API that has begun.
pub(crate) struct Desk {
    pub(crate) session: String,
    pub(crate) chain: String,
    pub(crate) log: String,
}

pub(crate) fn desk(exam: &Exam<'_>) -> Result<Desk, Stop> {
    let first = exam.done("read_public", json!({}), None)?;
    let shown = exam.receipt(&first.receipt)?;
    Ok(Desk {
        session: first.session,
        chain: shown.text("/session").to_owned(),
        log: shown.text("/as_of/log").to_owned(),
    })
}

/// How often a call of this marker had its effect, as another session reads it.
pub(crate) fn effects(exam: &Exam<'_>, marker: &str) -> Result<usize, Stop> {
    let told = Mcp::open(exam)?.call("effects", &json!({}), WAIT)?;
    if told.refused {
        return Err(Stop::failed(format!("effects was not allowed: {}", told.text)));
    }
    Ok(told.text.lines().filter(|line| line.split(' ').nth(1) == Some(marker)).count())
}

/// The receipt of a deferral says that it is suspended.
pub(crate) fn is_suspended(shown: &Shown) -> bool {
    shown.verdict() == "DEFER" && shown.text("/deferral/state") == "deferred"
}
