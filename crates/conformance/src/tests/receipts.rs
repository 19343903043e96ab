//! R5: receipts that anyone can check.

use serde_json::{Value, json};
use tipstaff_core::key::SigningKey;

use super::{Test, desk, is_suspended};
use crate::case::Case;
use crate::client::{Shown, Stop};
use crate::run::Exam;
use crate::transport::{Credential, Say};

/// A call for each decision.
const CALLS: [(&str, &str); 5] = [
    ("ALLOW", "write_note"),
    ("DENY", "wipe"),
    ("MODIFY", "search"),
    ("STEP_UP", "pay"),
    ("DEFER", "deploy"),
];

/// The receipts of all five decisions.
fn five(exam: &Exam<'_>, case: &mut Case) -> Result<Vec<Shown>, Stop> {
    let mut all = Vec::new();
    for (word, tool) in CALLS {
        let parameters = json!({ "marker": exam.marker("R5"), "limit": 100 });
        let verdict = exam.act(tool, parameters, None)?;
        case.of(&verdict.receipt);
        if verdict.verdict != word {
            let why = format!("{tool} has to lead to {word}, and led to {}", verdict.verdict);
            return Err(Stop::failed(why));
        }
        all.push(exam.receipt(&verdict.receipt)?);
    }
    Ok(all)
}

pub(super) const COMPLETE: Test = (
    ("API: one call for each decision", complete),
    ("API: a call that names its own actor, session and time", claimed),
);

fn complete(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let receipts = five(exam, case)?;
    let all = |holds: &dyn Fn(&Shown) -> bool| receipts.iter().all(holds);
    let levels = ["agent", "principal", "service", "session"];
    let named = |shown: &Shown| {
        levels.iter().all(|level| !shown.text(&format!("/identity/{level}/id")).is_empty())
    };
    case.check(all(&named), "requester: agent, person, service, session");
    let digest = |shown: &Shown| shown.text("/decision/policy_set").len() == 64;
    case.check(all(&digest), "the digest of the policies");
    let same = receipts.windows(2).all(|pair| match pair {
        [one, next] => one.at("/decision/policy_set") == next.at("/decision/policy_set"),
        _ => true,
    });
    case.check(same, "of the same policies");
    let reasoned = |shown: &Shown| {
        !shown.reason().is_empty()
            && !shown.text("/action").is_empty()
            && !shown.text("/ts").is_empty()
            && !shown.text("/session").is_empty()
            && shown.text("/context_digest").len() == 64
    };
    case.check(all(&reasoned), "action, time, session, context and reason");
    let delegation = |shown: &Shown| shown.0.pointer("/receipt/authority").is_some();
    case.check(all(&delegation), "a place for the delegation");
    Ok(())
}

fn claimed(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for (name, value) in [
        ("actor", json!("agent://somebody")),
        ("identity", json!({ "principal": { "id": "root" } })),
        ("session", json!("A".repeat(43))),
        ("ts", json!("2020-01-01T00:00:00.000Z")),
    ] {
        let mut body = json!({ "server": "exam", "tool": "write_note", "parameters": {} });
        if let Some(members) = body.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        let (status, answer) =
            exam.ask("POST", "/api/v1/actions", Some(&body), Credential::Token)?;
        let refused = (400..500).contains(&status) && answer.get("receipt").is_none();
        case.check(refused, &format!("a claimed {name} is refused"));
    }
    Ok(())
}

pub(super) const OFFLINE: Test = (
    ("receipts of all decisions, checked here with the key of the key set", offline),
    ("the same, with another key", another_key),
);

fn offline(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for shown in five(exam, case)? {
        let key = exam.key(shown.text("/key_id"))?;
        case.check(shown.is_signed_by(&key), &format!("{} verifies", shown.verdict()));
    }
    Ok(())
}

fn another_key(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let other = SigningKey::from_seed(&[7; 32].into()).map_err(|e| Stop::failed(e.to_string()))?;
    let receipts = five(exam, case)?;
    let any = receipts.iter().any(|shown| shown.is_signed_by(other.verifying_key()));
    case.check(!any, "none verifies with a key that did not sign it");
    Ok(())
}

pub(super) const TAMPERED: Test = (
    ("receipts with the requester or the policy hash changed", tampered),
    ("the same as they stand", untouched),
);

fn tampered(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for shown in five(exam, case)? {
        let key = exam.key(shown.text("/key_id"))?;
        for (pointer, to) in [
            ("/identity/principal/id", "somebody"),
            ("/identity/agent/id", "somebody"),
            ("/actor", "agent://x/y"),
            (
                "/decision/policy_set",
                "0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ] {
            let other = shown.changed(pointer, to.into());
            if other.0 == shown.0 || other.is_signed_by(&key) {
                case.check(false, &format!("{}: a change of {pointer} is found", shown.verdict()));
            }
        }
    }
    let chain = exam.chain(&desk(exam)?.chain)?;
    let first = chain.first().map(|shown| shown.changed("/actor", "agent://x/y".into()));
    let (valid, said) = exam.verifies(&first.into_iter().collect::<Vec<_>>())?;
    case.check(!valid, "each change is found, here and by the public verifier");
    case.say(&said);
    Ok(())
}

fn untouched(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    for shown in five(exam, case)? {
        let key = exam.key(shown.text("/key_id"))?;
        if !shown.is_signed_by(&key) {
            case.check(false, &format!("{} verifies as it stands", shown.verdict()));
        }
    }
    let chain = exam.chain(&desk(exam)?.chain)?;
    case.check(exam.verifies(&chain)?.0, "all verify as they stand, here and there");
    Ok(())
}

pub(super) const DEFERRAL: Test = (
    ("API: deploy, resolved by a ticket", deferral),
    ("API: deploy, before it is resolved", unresolved),
);

fn deferral(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let desk = desk(exam)?;
    let parameters = json!({ "marker": exam.marker("R5.4") });
    let first = exam.act("deploy", parameters.clone(), Some(&desk.session))?;
    case.of(&first.receipt);
    let shown = exam.receipt(&first.receipt)?;
    case.check(!shown.reason().is_empty(), "the deferral has a reason");
    exam.tell(&desk.chain, &desk.log, Say::Give("given_ticket", "CHG-4"))?;
    // What no door waits for runs when it is asked for again.
    exam.act("deploy", parameters, Some(&desk.session))?;
    let next = exam.follow_up(&desk.chain, &first.receipt, exam.timing.soon)?;
    let Some(next) = next else {
        case.check(false, "a receipt follows on the resolution");
        return Ok(());
    };
    case.of(next.hash());
    case.check(next.text("/deferral/state") == "resolved", "it says that it is resolved");
    let way = !next.at("/deferral/of").is_null();
    case.check(way, "and by what");
    case.check(!next.text("/ts").is_empty(), "and when");
    Ok(())
}

fn unresolved(exam: &Exam<'_>, case: &mut Case) -> Result<(), Stop> {
    let parameters = json!({ "marker": exam.marker("R5.4") });
    let first = exam.act("deploy", parameters, None)?;
    case.of(&first.receipt);
    let shown = exam.receipt(&first.receipt)?;
    case.check(is_suspended(&shown), "the receipt says what it waits for");
    let missing = shown.at("/deferral/missing").as_array().map(Vec::len);
    case.check(missing > Some(0), "by name");
    case.check(shown.at("/deferral/of") == &Value::Null, "and no resolution yet");
    Ok(())
}
