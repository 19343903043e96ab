//! A principal's key that changes while a call of theirs is held: what was asked with it runs while it is valid, and is
//! refused once, with a receipt, when it is not. The adversary has the old key, or is the one who was suspended.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test; the lints know only `#[test]`"
)]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, Session, World, text};

fn world() -> World {
    let world = World::new();
    world.config("approval_wait_s = 60\nidle_exit_s = 60\nsession_grace_s = 60");
    fs::write(world.work().join("a.md"), "keep").unwrap();
    let (ada, coder) = (world.principal_key("ada.key"), world.principal_key("coder.key"));
    world.order(&["enrol", "ada", "--kind", "human", "--key", &ada]);
    let rest = ["--kind", "agent", "--owner", "ada", "--key", &coder, "--role", "reader"];
    world.order(&[&["enrol", "coder"][..], &rest].concat());
    world
}

fn acts_with(world: &World, key: &str) -> Session {
    let work = world.work();
    let key = work.join(key);
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &["--key", key.to_str().unwrap()], &server);
    session.handshake();
    session.list();
    session
}

fn delete(session: &mut Session) -> u64 {
    let call = json!({ "name": "delete_note", "arguments": { "name": "a.md" } });
    session.post("tools/call", call)
}

/// The id of the first call that waits.
fn held(world: &World) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let queue = world.run(&["--json", "queue"]).json();
        if let Some(hold) = queue.as_array().and_then(|holds| holds.first()) {
            return hold["of"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < until, "nothing waits");
        thread::sleep(Duration::from_millis(20));
    }
}

fn approve(world: &World, id: &str) {
    let approved = world.run(&["approve", id]);
    assert_eq!(approved.code, 0, "{approved:?}");
}

fn kept(world: &World) -> bool {
    world.work().join("a.md").exists()
}

/// The verdicts that follow a held call: reason, and the key of whoever asked.
fn verdicts_after(world: &World, hold: &str) -> Vec<(String, String)> {
    let receipts = world.receipts();
    let after = receipts.iter().map(|line| &line["receipt"]);
    let after = after.filter(|r| r["kind"] == "verdict" && r["continues"] == hold);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    after.map(|r| (text(&r["decision"]["reason"]), text(&r["authority"]["holder"]))).collect()
}

fn key_id(world: &World, file: &str) -> String {
    tipstaff_identity::key_at(&world.work().join(file)).unwrap().verifying_key().key_id()
}

/// Refused once, with one receipt, and nothing happened.
fn assert_refused(world: &World, session: &mut Session, call: u64, hold: &str) {
    let no = session.answer(call)["result"].clone();
    assert_eq!(no["isError"], json!(true), "{no}");
    assert!(text(&no).contains("may not act any more"), "{no}");
    assert!(kept(world));
    assert_eq!(verdicts_after(world, hold), [("principal".to_owned(), key_id(world, "coder.key"))]);
    assert_eq!(world.run(&["--json", "queue"]).json(), json!([]));
    let again = world.run(&["approve", hold]);
    assert_eq!(again.code, 3, "the approval is used up: {again:?}");
}

#[test]
fn within_the_overlap_what_was_held_runs() {
    let world = world();
    let mut session = acts_with(&world, "coder.key");
    let call = delete(&mut session);
    let hold = held(&world);
    let new = world.principal_key("new.key");
    world.order(&["rotate", "coder", "--key", &new, "--overlap", "1h"]);
    approve(&world, &hold);
    let done = session.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    assert!(!kept(&world));
    let verdicts = verdicts_after(&world, &hold);
    assert_eq!(verdicts, [("approved".to_owned(), key_id(&world, "coder.key"))]);
    drop(session);
    world.ends_whole();
}

#[test]
fn after_the_old_keys_end_it_is_refused_once_and_asked_again_with_the_new_one() {
    let world = world();
    let mut session = acts_with(&world, "coder.key");
    let call = delete(&mut session);
    let hold = held(&world);
    let new = world.principal_key("new.key");
    world.order(&["rotate", "coder", "--key", &new, "--overlap", "2s"]);
    thread::sleep(Duration::from_millis(2200));
    approve(&world, &hold);
    assert_refused(&world, &mut session, call, &hold);

    // Proved again, it is a call of its own, for which a person is asked again.
    let mut next = acts_with(&world, "new.key");
    let call = delete(&mut next);
    let hold = held(&world);
    approve(&world, &hold);
    let done = next.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    let verdicts = verdicts_after(&world, &hold);
    assert_eq!(verdicts, [("approved".to_owned(), key_id(&world, "new.key"))]);
    drop((session, next));
    world.ends_whole();
}

#[test]
fn what_was_approved_while_nobody_waited_runs_for_whoever_proves_again_to_be_the_same() {
    let world = world();
    let mut session = acts_with(&world, "coder.key");
    delete(&mut session);
    let hold = held(&world);
    // The client is gone, its call still waits.
    drop(session);
    let until = Instant::now() + Duration::from_secs(60);
    while world.run(&["--json", "queue"]).json()[0]["doors"] != json!(0) {
        assert!(Instant::now() < until, "the door stays");
        thread::sleep(Duration::from_millis(20));
    }
    let new = world.principal_key("new.key");
    world.order(&["rotate", "coder", "--key", &new, "--overlap", "0s"]);
    approve(&world, &hold);
    assert!(kept(&world));

    // The old key opens nothing any more, and uses nothing up.
    let (file, work) = (world.work().join("coder.key"), world.work());
    let (file, folder) = (file.to_str().unwrap(), work.to_str().unwrap());
    let words = ["wrap", "--name", "notes", "--key", file, "--", BINARY, "notes", folder];
    let late = world.run(&words);
    assert_eq!(late.code, 3, "{late:?}");
    assert!(late.err.contains("was replaced"), "{late:?}");

    let mut next = acts_with(&world, "new.key");
    let call = delete(&mut next);
    let done = next.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    let verdicts = verdicts_after(&world, &hold);
    assert_eq!(verdicts, [("approved".to_owned(), key_id(&world, "new.key"))]);
    drop(next);
    world.ends_whole();
}

#[test]
fn a_key_that_is_declared_compromised_carries_nothing_that_was_held() {
    let world = world();
    let mut session = acts_with(&world, "coder.key");
    let call = delete(&mut session);
    let hold = held(&world);
    let new = world.principal_key("new.key");
    world.order(&["rotate", "coder", "--key", &new, "--overlap", "1h"]);
    let lost = key_id(&world, "coder.key");
    world.order(&["compromise", "coder", "--key-id", &lost]);
    approve(&world, &hold);
    assert_refused(&world, &mut session, call, &hold);
    drop(session);
    // What was asked with it doesn't count, and everybody can see it.
    let verify = world.run(&["--json", "verify"]).json();
    let discounted = verify["discounted"].as_array().unwrap();
    assert!(discounted.iter().any(|one| one["receipt"] == json!(hold)), "{verify}");
    world.ends_whole();
}

#[test]
fn whoever_is_suspended_gets_nothing_that_was_held_until_restored() {
    let world = world();
    let mut session = acts_with(&world, "coder.key");
    let call = delete(&mut session);
    let hold = held(&world);
    world.order(&["suspend", "coder"]);
    approve(&world, &hold);
    assert_refused(&world, &mut session, call, &hold);

    world.order(&["restore", "coder"]);
    let call = delete(&mut session);
    let hold = held(&world);
    // Its owner's end is its own; before the answer it is taken back.
    world.order(&["suspend", "ada"]);
    world.order(&["restore", "ada"]);
    approve(&world, &hold);
    let done = session.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    assert!(!kept(&world));
    drop(session);
    world.ends_whole();
}
