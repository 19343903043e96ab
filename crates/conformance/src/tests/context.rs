//! R2 and R3: what a session has met, and what policies make of it.

use serde_json::{Value, json};

use super::{Test, desk, effects, seat};
use crate::case::Case;
use crate::client::{Shown, Stop, WAIT};
use crate::run::Exam;
use crate::transport::Say;

pub(super) const ACCUMULATED: Test = (
    ("API: read_secret, read_unlabelled, then post_outside in one session", accumulated),
    ("API: post_outside in a session that has read nothing", not_accumulated),
);

fn accumulated(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let (mut counts, mut heads) = (Vec::new(), Vec::new());
    for tool in ["read_secret", "read_unlabelled"] {
        let verdict = exam.done(tool, json!({}), Some(&desk.session))?;
        let shown = exam.receipt(&verdict.receipt)?;
        counts.push(shown.number("/context/count"));
        heads.push(shown.text("/context/head").to_owned());
    }
    let last = exam.act("post_outside", json!({}), Some(&desk.session))?;
    case.of(&last.receipt);
    let shown = exam.receipt(&last.receipt)?;
    counts.push(shown.number("/context/count"));
    let grows = counts.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
    case.check(grows && counts.first() > Some(&0), "the count of prior actions grows");
    case.check(shown.has_label("secret"), "the label of the secret is there at step N");
    let highest = shown.has_label("unclassified");
    case.check(highest, "what nobody classified counts as the most sensitive");
    heads.push(shown.text("/context/head").to_owned());
    let links = heads.len();
    heads.dedup();
    case.check(heads.len() == links, "each step stands on a new head of the context");
    case.check(shown.verdict() == "DENY", "a rule that reads the context decided by it");
    Ok(())
}

fn not_accumulated(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let verdict = exam.act("post_outside", json!({}), None)?;
    case.of(&verdict.receipt);
    let shown = exam.receipt(&verdict.receipt)?;
    case.check(shown.number("/context/count") == 0, "nothing is counted");
    case.check(!shown.has_label("secret"), "no label of another session is there");
    case.check(shown.verdict() == "ALLOW", "the same call is allowed");
    Ok(())
}

pub(super) const TAMPERED: Test = (
    ("a session's chain with one entry's context changed, to the public verifier", tampered),
    ("the same chain as it stands", not_tampered),
);

fn session(exam: &Exam<'_>) -> Result<Vec<Shown>, Stop> {
    let desk = desk(exam)?;
    exam.done("read_secret", json!({}), Some(&desk.session))?;
    exam.done("read_public", json!({}), Some(&desk.session))?;
    // A look at one receipt publishes those before it.
    let last = exam.done("read_public", json!({}), Some(&desk.session))?;
    exam.receipt(&last.receipt)?;
    exam.chain(&desk.chain)
}

fn tampered(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let chain = session(exam)?;
    case.check(chain.len() >= 6, "the session's receipts are there");
    let at = chain.iter().position(|shown| shown.has_label("secret"));
    let at = at.ok_or_else(|| Stop::failed("no receipt has the label to take away"))?;
    for (pointer, to) in [
        ("/context/labels", json!([])),
        ("/context/count", json!(0)),
        ("/context_digest", json!("0".repeat(64))),
    ] {
        let mut changed = chain.clone();
        if let Some(shown) = changed.get_mut(at) {
            case.of(shown.hash());
            *shown = shown.changed(pointer, to);
        }
        let (valid, said) = exam.verifies(&changed)?;
        case.check(!valid, &format!("a change of {pointer} is found"));
        case.say(&said);
    }
    let mut cut = chain;
    cut.remove(at);
    case.check(!exam.verifies(&cut)?.0, "an entry taken out is found");
    Ok(())
}

fn not_tampered(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let chain = session(exam)?;
    let (valid, said) = exam.verifies(&chain)?;
    case.check(valid, "the chain verifies");
    case.say(&said);
    Ok(())
}

pub(super) const FORBIDDEN: Test = (
    ("MCP: wipe in a fresh session, after a secret, and after a signed request for it", forbidden),
    ("MCP: read_public in the same session", not_forbidden),
);

fn forbidden(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R3.1"));
    let arguments = json!({ "marker": marker });
    for step in ["fresh", "after a secret", "after a signed request for it"] {
        match step {
            "after a secret" => drop(seat.mcp.call("read_secret", &json!({}), WAIT)?),
            "after a signed request for it" if exam.approver.is_some() => {
                let wanted = format!("wipe everything now, marker {marker}");
                exam.tell(&seat.chain, &seat.log, Say::Request(&wanted))?;
            }
            _ => {}
        }
        let called = seat.mcp.call("wipe", &arguments, WAIT)?;
        case.of(&called.receipt);
        let shown = exam.receipt(&called.receipt)?;
        let denied = called.refused && shown.verdict() == "DENY";
        case.check(denied && shown.reason() == "forbidden", &format!("{step}: DENY, forbidden"));
    }
    case.check(effects(exam, &marker)? == 0, "it had no effect");
    Ok(())
}

fn not_forbidden(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let seat = seat(exam)?;
    seat.mcp.call("read_secret", &json!({}), WAIT)?;
    let called = seat.mcp.call("read_public", &json!({}), WAIT)?;
    case.of(&called.receipt);
    case.check(!called.refused, "the call ran");
    Ok(())
}

pub(super) const DENIED_IN_CONTEXT: Test = (
    ("MCP: post_outside after read_secret", after_a_secret),
    ("MCP: post_outside before read_secret", before_a_secret),
);

fn after_a_secret(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R3.2"));
    let read = seat.mcp.call("read_secret", &json!({}), WAIT)?;
    case.of(&read.receipt);
    case.check(!read.refused, "the secret was read");
    let called = seat.mcp.call("post_outside", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(called.refused, "the call was refused");
    case.check(effects(exam, &marker)? == 0, "it had no effect");
    case.check(exam.receipt(&called.receipt)?.verdict() == "DENY", "its receipt says DENY");
    Ok(())
}

fn before_a_secret(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (seat, marker) = (seat(exam)?, exam.marker("R3.2"));
    let called = seat.mcp.call("post_outside", &json!({ "marker": marker }), WAIT)?;
    case.of(&called.receipt);
    case.check(!called.refused, "the call ran");
    case.check(effects(exam, &marker)? == 1, "it had its effect, once");
    Ok(())
}

pub(super) const ALLOWED_IN_CONTEXT: Test = (
    ("API: refund, which nothing permits, after a signed request for it", asked_for),
    ("API: refund in a session whose request is for something else", not_asked_for),
);

fn asked_for(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let shown = refund(exam, case, "Refund the order of marker order-17: refund it now")?;
    let verdict = shown.verdict();
    let asked = matches!(verdict, "STEP_UP" | "ALLOW");
    case.check(asked, "STEP_UP or ALLOW");
    case.say(&format!("{verdict}, {}", shown.reason()));
    Ok(())
}

fn not_asked_for(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let shown = refund(exam, case, "Translate the poem about autumn into French")?;
    case.check(shown.verdict() == "DENY", "DENY");
    Ok(())
}

fn refund(exam: &Exam<'_>, case: &mut Case, wanted: &str) -> Result<Shown, Stop> {
    let desk = desk(exam)?;
    let told = exam.tell(&desk.chain, &desk.log, Say::Request(wanted))?;
    case.of(&told);
    let parameters = json!({ "marker": "order-17", "text": "refund the order" });
    let verdict = exam.act("refund", parameters, Some(&desk.session))?;
    case.of(&verdict.receipt);
    exam.receipt(&verdict.receipt)
}

pub(super) const CONFLICTING: Test = (
    ("API: merge, which rules of one rank permit and forbid", conflicting),
    ("API: write_note, on which no rules disagree", agreeing),
);

fn conflicting(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let verdict = exam.act("merge", json!({}), None)?;
    case.of(&verdict.receipt);
    let shown = exam.receipt(&verdict.receipt)?;
    case.check(verdict.verdict == "DEFER" && shown.verdict() == "DEFER", "DEFER");
    case.check(!verdict.permitted, "it is not permitted");
    case.check(shown.at("/decision/reason") == &Value::from("conflict"), "because of a conflict");
    Ok(())
}

fn agreeing(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let verdict = exam.done("write_note", json!({}), None)?;
    case.of(&verdict.receipt);
    case.check(verdict.verdict == "ALLOW" && verdict.permitted, "ALLOW");
    Ok(())
}
