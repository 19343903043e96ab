//! R7 to R9, and the objectives and structural items that have cases of their own.

use serde_json::json;

use super::{Test, desk, effects, seat};
use crate::case::Case;
use crate::client::{Stop, WAIT};
use crate::mcp::Mcp;
use crate::run::Exam;
use crate::transport::{Credential, Say};

pub(super) const DRIFT: Test = (
    ("API: a signed request, then calls that lead away from it", drifts),
    ("API: a signed request, then calls that it asks for", keeps),
);

fn drifts(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let wanted = "Write a note that says buy milk tomorrow";
    exam.tell(&desk.chain, &desk.log, Say::Request(wanted))?;
    let mut seen = Vec::new();
    for text in ["warehouse turbines", "quarterly tanker insurance", "encrypted zebra ledger"] {
        let verdict = exam.done("post_outside", json!({ "text": text }), Some(&desk.session))?;
        case.of(&verdict.receipt);
        seen.push(exam.receipt(&verdict.receipt)?);
    }
    let stopped = seen.iter().any(|shown| {
        matches!(shown.verdict(), "DENY" | "DEFER" | "STEP_UP") && shown.reason() == "drifted"
    });
    case.check(stopped, "beyond the limit the call is stopped or asked for");
    let measured = seen.iter().all(|shown| shown.number("/context/distance_ppm") > 0);
    case.check(measured, "each receipt has the distance");
    semantic(case, seen.last().map_or("", |shown| shown.text("/context/distance_method")));
    Ok(())
}

fn keeps(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let wanted = "Write a note that says buy milk tomorrow";
    exam.tell(&desk.chain, &desk.log, Say::Request(wanted))?;
    let parameters = json!({ "text": "buy milk tomorrow" });
    let verdict = exam.done("write_note", parameters, Some(&desk.session))?;
    case.of(&verdict.receipt);
    case.check(verdict.permitted, "what was asked for is permitted");
    Ok(())
}

/// A measure of words is none of meaning, and is not counted as one.
fn semantic(case: &mut Case, method: &str) {
    let words = method.is_empty() || method.contains("lexical");
    case.check(!words, "the distance is one of meaning (embedding), not of words");
    case.say(&format!("method: {}", if method.is_empty() { "none" } else { method }));
}

pub(super) const TELEMETRY: Test = (
    ("GET /api/v1/telemetry?format=ocsf after one call of each decision", telemetry),
    ("the same without the token", telemetry_for_anyone),
);

fn telemetry(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for tool in ["write_note", "wipe", "search", "pay", "deploy"] {
        let parameters = json!({ "limit": 100, "marker": exam.marker("R8") });
        case.of(&exam.act(tool, parameters, None)?.receipt);
    }
    let (status, events) =
        exam.ask("GET", "/api/v1/telemetry?format=ocsf", None, Credential::Token)?;
    case.check(status == 200, "events are exported");
    if status != 200 {
        case.say(&format!("answered {status}: telemetry is not built yet"));
        return Ok(());
    }
    let text = events.to_string();
    for receipt in case.receipts.clone() {
        case.check(text.contains(&receipt), "an event for each decision");
    }
    case.check(text.contains("class_uid"), "in the schema of OCSF");
    Ok(())
}

fn telemetry_for_anyone(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (status, _) =
        exam.ask("GET", "/api/v1/telemetry?format=ocsf", None, Credential::Nothing)?;
    case.check(status == 401, "refused for want of the token");
    case.say(&format!("answered {status}"));
    Ok(())
}

pub(super) const CREDENTIALS: Test = (
    ("POST /api/v1/credentials for exam/read_public, used for a write", credentials),
    ("the same credential, used for the read", credentials_read),
);

fn issued(exam: &Exam<'_>, case: &mut Case) -> Result<Option<String>, Stop> {
    let body = json!({ "server": "exam", "tool": "read_public", "parameters": {} });
    let (status, answer) =
        exam.ask("POST", "/api/v1/credentials", Some(&body), Credential::Token)?;
    let credential = answer.get("credential").and_then(|found| found.as_str()).map(str::to_owned);
    case.check(status == 200 && credential.is_some(), "a credential for one action is issued");
    if status != 200 {
        case.say(&format!("answered {status}: just-in-time credentials are not built yet"));
    }
    Ok(credential)
}

fn used(exam: &Exam<'_>, credential: &str, tool: &str) -> Result<bool, Stop> {
    let body = json!({ "credential": credential, "server": "exam", "tool": tool });
    let (status, answer) =
        exam.ask("POST", "/api/v1/credentials/check", Some(&body), Credential::Token)?;
    Ok(status == 200 && answer.get("permitted").and_then(|found| found.as_bool()) == Some(true))
}

fn credentials(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    if let Some(credential) = issued(exam, case)? {
        case.check(!used(exam, &credential, "write_note")?, "it can't write");
    }
    Ok(())
}

fn credentials_read(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    if let Some(credential) = issued(exam, case)? {
        case.check(used(exam, &credential, "read_public")?, "it can read");
    }
    Ok(())
}

pub(super) const CLASSIFIED: Test = (
    ("API: git_status, and a tool that nobody knows", classified),
    ("API: the same unknown tool under a name that sounds harmless to nobody", unclassified),
);

fn tier(exam: &Exam<'_>, case: &mut Case, server: &str, tool: &str) -> Result<(i64, String), Stop> {
    let body = json!({ "server": server, "tool": tool, "parameters": {} });
    let answer = exam.post("/api/v1/actions", &body)?;
    let receipt = answer.get("receipt").and_then(|found| found.as_str()).unwrap_or_default();
    case.of(receipt);
    let shown = exam.receipt(receipt)?;
    Ok((shown.number("/tier"), shown.text("/action").to_owned()))
}

fn classified(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (known, class) = tier(exam, case, "git", "git_status")?;
    case.check(known == 1, "a read is of tier 1");
    case.say(&class);
    let (delete, class) = tier(exam, case, "filesystem", "delete_file")?;
    case.check(delete >= 3, "a deletion is of tier 3 or more");
    case.say(&class);
    Ok(())
}

fn unclassified(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (unknown, class) = tier(exam, case, "exam", "frobnicate")?;
    case.check(unknown >= 3, "what nobody knows is of tier 3 or more");
    case.check(class == "unclassified", "and marked as such");
    Ok(())
}

pub(super) const LEAST: Test = (
    ("API: a tool that no rule permits; anything that acts, without the token", least),
    ("keys, checkpoint and verification without the token", open),
);

fn least(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let verdict = exam.act("never_heard_of", json!({}), None)?;
    case.of(&verdict.receipt);
    case.check(verdict.verdict == "DENY", "what nothing permits is denied");
    let body = json!({});
    for (method, path) in [
        ("POST", "/api/v1/actions"),
        ("POST", "/api/v1/approvals"),
        ("POST", "/api/v1/told"),
        ("GET", "/api/v1/queue"),
        ("GET", "/api/v1/receipts"),
    ] {
        let sent = (method == "POST").then_some(&body);
        let (status, _) = exam.ask(method, path, sent, Credential::Nothing)?;
        case.check(status == 401, &format!("{path} needs the token"));
    }
    Ok(())
}

fn open(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for path in ["/.well-known/jwks.json", "/log/checkpoint"] {
        let (status, _) = exam.ask("GET", path, None, Credential::Nothing)?;
        case.check(status == 200, &format!("{path} is open"));
    }
    let chain = exam.chain(&desk(exam)?.chain)?;
    case.check(exam.verifies(&chain)?.0, "verification is open");
    Ok(())
}

pub(super) const GATEWAY: Test = (
    ("MCP at /mcp: list the tools and call one", gateway),
    ("MCP at /mcp: call what the server behind it never listed", unlisted),
);

fn gateway(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("S3.1"));
    let called = seat.mcp.call("write_note", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(!called.refused && effects(exam, &marker)? == 1, "the call went through it, once");
    let shown = exam.receipt(&called.receipt)?;
    case.check(shown.text("/enforcement") == "inline", "and was enforced in line");
    Ok(())
}

fn unlisted(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let called = Mcp::open(exam)?.call("never_listed", &json!({}), WAIT)?;
    case.of(&called.receipt);
    case.check(called.refused, "the call was refused");
    Ok(())
}
