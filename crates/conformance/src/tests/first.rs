//! R1: interception before execution.

use std::time::Instant;

use serde_json::json;

use super::{Test, effects, is_suspended, seat};
use crate::case::Case;
use crate::client::{Stop, WAIT};
use crate::run::Exam;
use crate::transport::Say;

pub(super) const DENIED: Test = (
    ("MCP: wipe, which a rule forbids", denied),
    ("MCP: write_note, which no rule forbids", not_denied),
);

fn denied(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R1.1"));
    let called = seat.mcp.call("wipe", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(called.refused, "the call was refused");
    case.check(effects(exam, &marker)? == 0, "it had no effect");
    let shown = exam.receipt(&called.receipt)?;
    case.check(shown.verdict() == "DENY", "its receipt says DENY");
    let named = !shown.text("/decision/rule").is_empty() && !shown.reason().is_empty();
    case.check(named, "the receipt names rule and reason");
    Ok(())
}

fn not_denied(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R1.1"));
    let called = seat.mcp.call("write_note", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(!called.refused, "the call was not refused");
    case.check(effects(exam, &marker)? == 1, "it had its effect, once");
    case.check(exam.receipt(&called.receipt)?.verdict() == "ALLOW", "its receipt says ALLOW");
    Ok(())
}

pub(super) const DEFERRED: Test = (
    ("MCP: deploy, whose rule waits for given_ticket", deferred),
    ("MCP: deploy in a session that was given a ticket", not_deferred),
);

fn deferred(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R1.2"));
    let arguments = json!({ "marker": marker });
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| seat.mcp.call("deploy", &arguments, exam.timing.expiry));
        let until = Instant::now() + exam.timing.soon;
        let found = loop {
            let chain = exam.chain(&seat.chain)?;
            let found = chain.into_iter().find(|shown| shown.verdict() == "DEFER");
            if found.is_some() || Instant::now() >= until {
                break found;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        case.check(effects(exam, &marker)? == 0, "it had no effect");
        case.check(found.is_some(), "a receipt says DEFER");
        if let Some(shown) = found {
            case.of(shown.hash());
            case.check(!shown.reason().is_empty(), "the receipt has a reason");
            case.check(is_suspended(&shown), "the receipt says that the call is suspended");
        }
        // So that nobody waits for what waits for nobody.
        if exam.approver.is_some() && !calling.is_finished() {
            let _ = exam.tell(&seat.chain, &seat.log, Say::Give("given_ticket", "CHG-1"));
        }
        Ok(())
    })
}

fn not_deferred(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R1.2"));
    let told = exam.tell(&seat.chain, &seat.log, Say::Give("given_ticket", "CHG-7"))?;
    case.of(&told);
    let called = seat.mcp.call("deploy", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(!called.refused, "the call ran");
    case.check(effects(exam, &marker)? == 1, "it had its effect, once");
    Ok(())
}

pub(super) const AWAY: Test = (
    ("MCP over stdio: write_note while what judges is gone and can't come back", away),
    ("MCP over stdio: write_note while what judges is there", there),
);

fn away(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let seen = outage(exam)?;
    case.check(!seen.during, "the call had no effect");
    case.check(!seen.told.is_empty(), "the caller was told");
    case.say(&seen.told);
    Ok(())
}

fn there(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    case.check(outage(exam)?.before, "the call had its effect");
    Ok(())
}

fn outage(exam: &Exam<'_>) -> Result<crate::transport::Outaged, Stop> {
    let outage = exam.outage.ok_or_else(|| {
        Stop::untested("only an instance that the runner started itself can be taken away")
    })?;
    outage.try_out().map_err(Stop::untested)
}
