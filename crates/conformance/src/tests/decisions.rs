//! R4: the five decisions, and what time does to two of them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Desk, Test, desk, effects, is_suspended, seat};
use crate::case::Case;
use crate::client::{Shown, Stop, WAIT};
use crate::mcp::Called;
use crate::run::Exam;
use crate::transport::{Say, Word};

/// Longest chain of dependents that is tried.
const CASCADE_MAX: usize = 64;

pub(super) const FIVE: Test = (
    ("MCP: write_note, wipe, search with limit 100, pay, deploy", five),
    (
        "MCP: search within the limit; pay, refused by a person; a token without a signature",
        not_five,
    ),
);

fn five(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let seat = seat(exam)?;
    let ran = |tool: &str, marker: &str, limit: i64| {
        seat.mcp.call(tool, &json!({ "marker": marker, "limit": limit }), WAIT)
    };
    let marks: Vec<String> = (0..3).map(|_| exam.marker("R4.1")).collect();
    let [allowed, denied, modified] = marks.as_slice() else { return Ok(()) };
    let call = ran("write_note", allowed, 1)?;
    case.of(&call.receipt);
    let executed = !call.refused && effects(exam, allowed)? == 1;
    case.check(executed, "ALLOW executes");
    let call = ran("wipe", denied, 1)?;
    case.of(&call.receipt);
    case.check(call.refused && effects(exam, denied)? == 0, "DENY blocks");
    let call = ran("search", modified, 100)?;
    case.of(&call.receipt);
    let changed = call.text.contains("\"limit\":10}") || call.text.contains("\"limit\":10,");
    let shown = exam.receipt(&call.receipt)?;
    let receipt = shown.verdict() == "MODIFY" && shown.at("/requested_digest").is_string();
    case.check(!call.refused && changed && receipt, "MODIFY transforms");
    let marker = exam.marker("R4.1");
    let (paused, after) = held(exam, &marker, Word::Approve, case)?;
    case.check(paused, "STEP_UP pauses");
    case.check(!after.refused && effects(exam, &marker)? == 1, "what is approved runs, once");
    suspended(exam, case)
}

/// A deferred call waits without effect, and runs when what it waits for is told.
fn suspended(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R4.1"));
    let arguments = json!({ "marker": marker });
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| seat.mcp.call("deploy", &arguments, exam.timing.expiry));
        let until = Instant::now() + exam.timing.soon;
        let mut shown = None;
        while shown.is_none() && Instant::now() < until {
            let chain = exam.chain(&seat.chain)?;
            shown = chain.into_iter().find(|shown| shown.verdict() == "DEFER");
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some(shown) = &shown {
            case.of(shown.hash());
        }
        let waits = shown.as_ref().is_some_and(is_suspended) && effects(exam, &marker)? == 0;
        case.check(waits, "DEFER suspends");
        exam.tell(&seat.chain, &seat.log, Say::Give("given_ticket", "CHG-2"))?;
        let after = calling.join().map_err(|_| Stop::failed("the caller's thread ended"))?;
        let ran = after.is_ok_and(|called| !called.refused);
        case.check(ran && effects(exam, &marker)? == 1, "what is resolved runs, once");
        Ok(())
    })
}

fn not_five(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R4.1"));
    let call = seat.mcp.call("search", &json!({ "marker": marker, "limit": 7 }), WAIT)?;
    case.of(&call.receipt);
    case.check(!call.refused && call.text.contains("\"limit\":7"), "what is within is not changed");
    let marker = exam.marker("R4.1");
    let (paused, after) = held(exam, &marker, Word::Refuse, case)?;
    case.check(paused && after.refused, "what a person refuses is refused");
    case.check(effects(exam, &marker)? == 0, "and had no effect");
    Ok(())
}

/// A call that waits for a person, who says this. Whether it waited without effect, and its end.
fn held(
    exam: &Exam<'_>,
    marker: &str,
    word: Word,
    case: &mut Case,
) -> Result<(bool, Called), Stop> {
    let seat = seat(exam)?;
    let arguments = json!({ "marker": marker });
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| seat.mcp.call("pay", &arguments, exam.timing.expiry));
        let row = exam.waiting(marker, exam.timing.soon)?;
        let row = row.ok_or_else(|| Stop::failed("the call does not wait in the queue"))?;
        let quiet = effects(exam, marker)? == 0 && !calling.is_finished();
        if word == Word::Refuse {
            // The right row and the right token, and nobody's signature.
            let approver = exam.approver.ok_or_else(Stop::no_key)?;
            let mut body = approver.answer(&row, Word::Approve).unwrap_or_default();
            if let Some(members) = body.as_object_mut() {
                members.insert("signature".to_owned(), "A".repeat(86).into());
            }
            let bare = exam.post("/api/v1/approvals", &body);
            case.check(bare.is_err(), "a token without a signature approves nothing");
        }
        case.of(&exam.answer(&row, word)?);
        let called = calling.join().map_err(|_| Stop::failed("the caller's thread ended"))??;
        case.of(&called.receipt);
        Ok((quiet, called))
    })
}

pub(super) const NOBODY_APPROVES: Test = (
    ("API: pay, and nobody answers", nobody),
    ("API: pay, approved in time, and asked for again", somebody),
);

fn nobody(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (desk, marker) = (desk(exam)?, exam.marker("R4.2"));
    let shown = step_up(exam, &desk, &marker, case)?;
    case.check(shown.verdict() == "STEP_UP", "the call waits for a person");
    let row = exam.waiting(&marker, exam.timing.soon)?.unwrap_or_default();
    in_time(exam, row.get("expires").and_then(Value::as_u64))?;
    let next = exam.follow_up(&desk.chain, shown.hash(), exam.timing.expiry)?;
    expired(case, next.as_ref(), "approval_expired");
    Ok(())
}

/// Whether this run waits long enough for what ends then (milliseconds since the epoch).
fn in_time(exam: &Exam<'_>, expires: Option<u64>) -> Result<(), Stop> {
    let Some(expires) = expires else { return Ok(()) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(expires).saturating_sub(now);
    if left < exam.timing.expiry {
        return Ok(());
    }
    Err(Stop::untested(format!("its time is over in {} s: give a longer --wait", left.as_secs())))
}

/// The verdict after the time is over.
fn expired(case: &mut Case, next: Option<&Shown>, reason: &str) {
    let Some(next) = next else {
        return case.check(false, "a verdict follows when the time is over");
    };
    case.of(next.hash());
    case.check(next.verdict() == "DENY", "DENY when the time is over");
    case.check(next.reason() == reason, &format!("because of {reason}"));
}

fn somebody(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (desk, marker) = (desk(exam)?, exam.marker("R4.2"));
    step_up(exam, &desk, &marker, case)?;
    let row = exam.waiting(&marker, exam.timing.soon)?;
    let row = row.ok_or_else(|| Stop::failed("the call does not wait in the queue"))?;
    case.of(&exam.answer(&row, Word::Approve)?);
    let again = exam.act("pay", json!({ "marker": marker }), Some(&desk.session))?;
    case.of(&again.receipt);
    case.check(again.permitted && again.verdict == "ALLOW", "what is approved in time is allowed");
    let twice = exam.act("pay", json!({ "marker": marker }), Some(&desk.session))?;
    case.of(&twice.receipt);
    case.check(!twice.permitted, "once");
    Ok(())
}

fn step_up(exam: &Exam<'_>, desk: &Desk, marker: &str, case: &mut Case) -> Result<Shown, Stop> {
    let verdict = exam.act("pay", json!({ "marker": marker }), Some(&desk.session))?;
    case.of(&verdict.receipt);
    exam.receipt(&verdict.receipt)
}

pub(super) const NOTHING_RESOLVES: Test = (
    ("API: deploy and what depends on it, and no ticket comes", nothing),
    ("API: deploy, and the ticket comes in time", something),
);

fn nothing(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (desk, marker) = (desk(exam)?, exam.marker("R4.3"));
    let first = exam.act("deploy", json!({ "marker": marker }), Some(&desk.session))?;
    case.of(&first.receipt);
    let shown = exam.receipt(&first.receipt)?;
    case.check(is_suspended(&shown), "the call is suspended");
    if !is_suspended(&shown) {
        return Ok(());
    }
    in_time(exam, shown.at("/deferral/expires").as_u64())?;
    let later = json!({ "marker": marker, "text": "after" });
    let dependent = exam.act_after("write_note", later, Some(&desk.session), &[&first.receipt])?;
    case.of(&dependent.receipt);
    let waits = exam.receipt(&dependent.receipt)?;
    let so = is_suspended(&waits) && waits.reason() == "depends_on";
    case.check(so, "what depends on it is suspended with it");
    let free = exam.done("write_note", json!({}), Some(&desk.session))?;
    case.check(free.permitted, "what doesn't depend on it goes on");
    cascade(exam, &desk, &dependent.receipt, case)?;
    expired(
        case,
        exam.follow_up(&desk.chain, shown.hash(), exam.timing.expiry)?.as_ref(),
        "deferral_expired",
    );
    let of = exam.follow_up(&desk.chain, &dependent.receipt, exam.timing.expiry)?;
    // Asked for within the same moment, its own time may be over too.
    let reasons = ["dependency_denied", "deferral_expired"];
    let denied =
        of.is_some_and(|next| next.verdict() == "DENY" && reasons.contains(&next.reason()));
    case.check(denied, "what depended on it is denied");
    Ok(())
}

/// What depends on what depends on it, and so on, is denied from some length on.
fn cascade(exam: &Exam<'_>, desk: &Desk, first: &str, case: &mut Case) -> Result<(), Stop> {
    let mut last = first.to_owned();
    for step in 0..CASCADE_MAX {
        let parameters = json!({ "marker": exam.marker("R4.3"), "text": format!("step {step}") });
        let next = exam.act_after("write_note", parameters, Some(&desk.session), &[&last])?;
        if next.verdict == "DENY" {
            case.of(&next.receipt);
            let reason = exam.receipt(&next.receipt)?.reason() == "deferral_cascade";
            case.check(reason, "a chain of dependents is bounded");
            return Ok(());
        }
        last = next.receipt;
    }
    case.check(false, "a chain of dependents is bounded");
    Ok(())
}

fn something(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (desk, marker) = (desk(exam)?, exam.marker("R4.3"));
    let first = exam.act("deploy", json!({ "marker": marker }), Some(&desk.session))?;
    case.of(&first.receipt);
    exam.tell(&desk.chain, &desk.log, Say::Give("given_ticket", "CHG-3"))?;
    // What no door waits for runs when it is asked for again.
    exam.act("deploy", json!({ "marker": marker }), Some(&desk.session))?;
    let next = exam.follow_up(&desk.chain, &first.receipt, exam.timing.soon)?;
    let Some(next) = next else {
        case.check(false, "a verdict follows when the ticket comes");
        return Ok(());
    };
    case.of(next.hash());
    case.check(next.verdict() == "ALLOW", "ALLOW when the ticket comes");
    Ok(())
}
