//! Calls that wait for context, end to end: a client that waits over `wrap`, an API caller that asks again, and a
//! monitor that is killed between.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::Served;
use support::{BINARY, Session, World, kill, text};
use tipstaff_core::action::Salt;
use tipstaff_identity::HomeKeys;
use tipstaff_monitor::{Client, Home, Tell, Told};

fn world(rules: &str) -> World {
    let world = World::new();
    world.config("approval_wait_s = 60");
    let policies = world.home().join("policies");
    for entry in fs::read_dir(&policies).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "cedar") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::write(policies.join("tipstaff.cedar"), rules).unwrap();
    world
}

/// A client that is a process of its own: whoever starts it is not the one who supplies context.
fn client(world: &World) -> Session {
    let work = world.work();
    let mut session = world.wrap_apart("notes", &[BINARY, "notes", work.to_str().unwrap()]);
    session.handshake();
    session.list();
    session
}

fn queue(world: &World) -> Vec<Value> {
    world.run(&["--json", "queue"]).json().as_array().cloned().unwrap_or_default()
}

/// What waits, once it is as many.
fn waiting(world: &World, many: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = queue(world);
        if found.len() == many {
            return found;
        }
        assert!(Instant::now() < until, "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the session of a call what its policies wait for, as the operator does.
fn give(world: &World, hold: &Value, value: &str) {
    let home = Home::at(&world.home());
    let (name, value) = ("given_ticket".to_owned(), value.to_owned());
    let told = Told {
        tell: Tell::Give { name, value },
        session: hold["session"].as_str().unwrap().to_owned(),
        log: hold["log"].as_str().unwrap().to_owned(),
        salt: Salt([7; 16]),
    };
    let key = HomeKeys::approver(home.root()).unwrap();
    let answer = Client::tell(&home, &told.sign(&key)).unwrap().unwrap();
    assert_eq!(answer.get("ok").unwrap().to_canonical(), "true", "{answer:?}");
}

const NOTES: &str = "
@id(\"ticket\") permit (principal, action, resource == Tool::\"notes/write_note\")
    when { context.given_ticket == \"CHG-1\" };
@id(\"free\") permit (principal, action, resource == Tool::\"notes/read_note\");
";

#[test]
fn a_deferred_call_waits_with_what_depends_on_it_and_survives_the_monitor() {
    let world = world(NOTES);
    fs::write(world.work().join("a.md"), "old").unwrap();
    fs::write(world.work().join("b.md"), "other").unwrap();
    let mut session = client(&world);
    let write = |name: &str| {
        json!({ "name": "write_note", "arguments": { "name": name, "text": "new" },
                "_meta": { "progressToken": name } })
    };
    let first = session.post("tools/call", write("a.md"));
    let progress = session.receive();
    let message = progress["params"]["message"].as_str().unwrap();
    assert!(message.contains("given_ticket") && message.contains("session give"), "{message}");
    let of = waiting(&world, 1)[0]["of"].as_str().unwrap().to_owned();
    let stand_in = format!("tipstaff:result:{}", of.get(..16).unwrap_or_default());
    assert!(message.contains(&stand_in), "{message}");

    // It says that it depends on it; another carries the stand-in; a third is independent.
    let read = json!({ "name": "read_note", "arguments": { "name": "a.md" },
                       "_meta": { "tipstaff/depends_on": [of] } });
    let declared = session.post("tools/call", read);
    let carried = session
        .post("tools/call", json!({ "name": "read_note", "arguments": { "name": stand_in } }));
    let holds = waiting(&world, 3);
    assert_eq!(holds[1]["reason"], json!("depends_on"));
    assert_eq!(holds[1]["after"], json!([of]));
    assert_eq!(text(&session.call("read_note", json!({ "name": "b.md" }))), "other");

    let shown = world.run(&["queue"]);
    assert!(
        shown.out.contains("deferred (needs_context), not known yet: given_ticket"),
        "{shown:?}"
    );
    let approved = world.run(&["approve", of.get(..12).unwrap_or_default()]);
    assert_eq!(approved.code, 3, "{approved:?}");
    assert!(approved.err.contains("waits for context"), "{approved:?}");
    // Not among others, either: then none is answered.
    let both = holds.iter().take(2).map(|hold| hold["of"].as_str().unwrap()).collect::<Vec<_>>();
    let approved = world.run(&["approve", both[0], both[1]]);
    assert_eq!(approved.code, 3, "{approved:?}");
    assert!(approved.err.contains("does not wait for that answer"), "{approved:?}");

    // The monitor is killed; the shim asks again, in the same order, and it is the same three.
    kill(world.monitor().unwrap(), "KILL");
    let names = |holds: &[Value]| holds.iter().map(|hold| hold["of"].clone()).collect::<Vec<_>>();
    let until = Instant::now() + Duration::from_secs(60);
    while queue(&world).iter().filter(|hold| hold["doors"] == json!(1)).count() < 3 {
        assert!(Instant::now() < until, "{:?}", queue(&world));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(names(&queue(&world)), names(&holds));
    assert_eq!(fs::read_to_string(world.work().join("a.md")).unwrap(), "old");

    give(&world, &holds[0], "CHG-1");
    let done = session.answer(first)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    let read = session.answer(declared)["result"].clone();
    assert_eq!(text(&read), "new", "after it, not before");
    let refused = session.answer(carried)["result"].clone();
    assert!(text(&refused).contains("real result"), "{refused}");
    assert_eq!(waiting(&world, 0), Vec::<Value>::new());
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    for hold in &holds {
        let follows = receipts.iter().filter(|r| r["receipt"]["continues"] == hold["of"]);
        let follows: Vec<&Value> = follows.collect();
        assert_eq!(follows.len(), 1, "{follows:?}");
        assert_eq!(follows[0]["receipt"]["deferral"]["state"], json!("resolved"));
    }
    world.assert_whole();
}

const BILLING: &str = "
@id(\"ticket\") permit (principal, action, resource == Tool::\"billing/charge\")
    when { context.given_ticket == \"CHG-1\" };
@id(\"free\") permit (principal, action, resource == Tool::\"billing/list\");
";

#[test]
fn an_api_caller_asks_again_and_is_answered_once() {
    let world = world(BILLING);
    let mut served = Served::start(&world);
    let token = fs::read_to_string(world.home().join("keys/http.token")).unwrap();
    let token = token.trim().to_owned();
    let host = format!("127.0.0.1:{}", served.port);
    let bearer = format!("Bearer {token}");
    let post = |body: &Value| {
        let headers = [
            ("Host", host.as_str()),
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let answer = served.raw("POST /api/v1/actions", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let charge = json!({ "server": "billing", "tool": "charge", "parameters": { "amount": 5 } });
    let asked = post(&charge);
    assert_eq!((&asked["verdict"], &asked["permitted"]), (&json!("DEFER"), &json!(false)));
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body["session"] = asked["session"].clone();
        body
    };
    let list = json!({ "server": "billing", "tool": "list", "parameters": {} });
    let depends = with(list.clone(), json!({ "depends_on": [asked["receipt"]] }));
    let dependent = post(&depends);
    assert_eq!(dependent["verdict"], json!("DEFER"), "{dependent}");
    let free = post(&with(list, json!({ "parameters": { "page": 2 } })));
    assert_eq!(free["permitted"], json!(true), "{free}");

    let again = post(&with(charge.clone(), json!({})));
    assert_eq!(again["receipt"], asked["receipt"], "still the same");
    give(&world, &waiting(&world, 2)[0], "CHG-1");
    assert_eq!(post(&depends)["verdict"], json!("DEFER"), "what it depends on is not over");
    let ran = post(&with(charge, json!({})));
    assert_eq!(ran["permitted"], json!(true), "{ran}");
    assert_eq!(post(&depends)["verdict"], json!("DEFER"), "permitted is not over");
    let path = format!("POST /api/v1/actions/{}/outcome", ran["receipt"].as_str().unwrap());
    let headers = [
        ("Host", host.as_str()),
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let settled = served.raw(&path, &headers, b"{\"status\":\"ok\"}");
    assert_eq!(settled.status, 200, "{settled:?}");
    assert_eq!(post(&depends)["permitted"], json!(true));
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    for of in [&asked["receipt"], &dependent["receipt"]] {
        let follows = receipts.iter().filter(|r| r["receipt"]["continues"] == *of).count();
        assert_eq!(follows, 1);
    }
    world.assert_whole();
}
