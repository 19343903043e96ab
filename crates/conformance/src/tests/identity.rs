//! R6: who acts.

use serde_json::json;

use super::{Test, desk, is_suspended};
use crate::SERVER;
use crate::case::Case;
use crate::client::{Shown, Stop, WAIT};
use crate::mcp::Mcp;
use crate::run::Exam;
use crate::transport::{Credential, Say};

const LEVELS: [&str; 5] = ["agent", "principal", "service", "session", "roles"];

pub(super) const APART: Test =
    (("MCP and API, two sessions each", apart), ("API: two calls of one session", together));

fn of(shown: &Shown, level: &str) -> String {
    shown.text(&format!("/identity/{level}/id")).to_owned()
}

fn apart(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let mut all = Vec::new();
    let read = json!({ "server": SERVER, "tool": "read_public", "parameters": {} });
    // Where there are principals, each is one; a role without a name to it would be no role.
    let who = |number: usize| {
        if number < exam.principals { Credential::Principal(number) } else { Credential::Token }
    };
    for round in 0..2 {
        let api = exam.act_as(who(2 * round), &read)?;
        let mcp = Mcp::open_as(exam, who(2 * round + 1))?;
        let mcp = mcp.call("read_public", &json!({}), WAIT)?;
        for receipt in [api.receipt, mcp.receipt] {
            case.of(&receipt);
            all.push(exam.receipt(&receipt)?);
        }
    }
    let mut sessions: Vec<String> = all.iter().map(|shown| of(shown, "session")).collect();
    sessions.sort();
    sessions.dedup();
    case.check(sessions.len() == 4, "each session has a name of its own");
    let mut agents: Vec<String> = all.iter().map(|shown| of(shown, "agent")).collect();
    agents.sort();
    agents.dedup();
    case.check(agents.len() == 4, "each agent has a name of its own");
    for level in LEVELS {
        let known = all.iter().all(|shown| !of(shown, level).is_empty());
        case.check(known, &format!("{level} is in each receipt"));
    }
    Ok(())
}

fn together(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let next = exam.act("read_public", json!({}), Some(&desk.session))?;
    case.of(&next.receipt);
    let next = exam.receipt(&next.receipt)?;
    case.check(next.text("/session") == desk.chain, "the same session");
    let others = exam.chain(&desk.chain)?;
    let same = others.iter().all(|shown| of(shown, "agent") == of(&next, "agent"));
    case.check(same, "the same agent");
    Ok(())
}

pub(super) const KEPT: Test = (
    ("API: deploy, deferred and then resolved", kept),
    ("API: another session is told the ticket", not_anothers),
);

fn kept(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let parameters = json!({ "marker": exam.marker("R6.2") });
    let first = exam.act("deploy", parameters.clone(), Some(&desk.session))?;
    case.of(&first.receipt);
    let shown = exam.receipt(&first.receipt)?;
    exam.tell(&desk.chain, &desk.log, Say::Give("given_ticket", "CHG-5"))?;
    // What no door waits for runs when it is asked for again.
    exam.act("deploy", parameters, Some(&desk.session))?;
    let next = exam.follow_up(&desk.chain, &first.receipt, exam.timing.soon)?;
    let Some(next) = next else {
        case.check(false, "a receipt follows on the resolution");
        return Ok(());
    };
    case.of(next.hash());
    case.check(next.at("/identity") == shown.at("/identity"), "who asked is the same in both");
    Ok(())
}

fn not_anothers(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let (desk, other) = (desk(exam)?, super::desk(exam)?);
    let parameters = json!({ "marker": exam.marker("R6.2") });
    let first = exam.act("deploy", parameters.clone(), Some(&desk.session))?;
    case.of(&first.receipt);
    exam.tell(&other.chain, &other.log, Say::Give("given_ticket", "CHG-6"))?;
    let shown = exam.receipt(&first.receipt)?;
    case.check(is_suspended(&shown), "the call is suspended");
    // What no door waits for would run now, if the other's ticket were its own.
    let again = exam.act("deploy", parameters, Some(&desk.session))?;
    case.of(&again.receipt);
    let next = exam.follow_up(&desk.chain, &first.receipt, std::time::Duration::from_secs(1))?;
    let resolved = again.permitted || next.is_some_and(|next| next.verdict() == "ALLOW");
    case.check(!resolved, "it is not resolved by another's");
    Ok(())
}
