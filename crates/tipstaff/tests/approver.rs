//! The approver's key, end to end: replaced by its own word, replaced when it was lost, and what a crash in the middle
//! leaves. The adversary answers with an old key, or is an agent that would like a key of its own to count.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test; the lints know only `#[test]`"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, Ran, Session, World, kill};
use tipstaff_identity::{HomeKeys, key_at};

fn world() -> World {
    let world = World::new();
    world.config("approval_wait_s = 60\nidle_exit_s = 60\nsession_grace_s = 60");
    world
}

fn client(world: &World) -> Session {
    let work = world.work();
    let mut session = world.wrap_apart("notes", &[BINARY, "notes", work.to_str().unwrap()]);
    session.handshake();
    session.list();
    session
}

/// Has a call held; its number, and the id of the hold.
fn hold(world: &World, session: &mut Session, name: &str) -> (u64, String) {
    fs::write(world.work().join(name), "keep").unwrap();
    let call = json!({ "name": "delete_note", "arguments": { "name": name } });
    let call = session.post("tools/call", call);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let queue = world.run(&["--json", "queue"]).json();
        let found = queue
            .as_array()
            .unwrap()
            .iter()
            .find(|hold| hold["action"]["parameters"]["name"] == json!(name));
        if let Some(hold) = found {
            return (call, hold["of"].as_str().unwrap().to_owned());
        }
        assert!(Instant::now() < until, "nothing waits");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An approval from now, and what it deletes.
fn approved(world: &World, session: &mut Session, name: &str) {
    let (call, hold) = hold(world, session, name);
    let done = world.run(&["approve", &hold]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = session.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    assert!(!world.work().join(name).exists());
}

fn rotate(world: &World, words: &[&str]) -> Ran {
    world.run(&[&["--json", "approver", "rotate"][..], words].concat())
}

fn shown(world: &World) -> Value {
    let shown = world.run(&["--json", "approver", "show"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let mut shown = shown.json();
    shown.as_object_mut().unwrap().remove("now");
    shown
}

fn file(world: &World) -> PathBuf {
    world.home().join("keys/approver.key")
}

fn key_id(file: &std::path::Path) -> String {
    key_at(file).unwrap().verifying_key().key_id()
}

/// The keys of approvers in the home.
fn files(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.home().join("keys")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("approver.")).collect()
}

fn restart(world: &World) {
    if let Some(monitor) = world.monitor() {
        kill(monitor, "KILL");
    }
}

/// The words with which answers were refused.
fn rejected(world: &World) -> Vec<String> {
    let receipts = world.receipts();
    let found = receipts.iter().filter(|line| line["receipt"]["action"] == "approval:rejected");
    found.map(|r| r["receipt"]["approval"]["rejected"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_gives_way_at_once_and_what_it_approved_counts_on() {
    let world = world();
    let mut session = client(&world);
    approved(&world, &mut session, "a.md");
    let old = world.at("old.key");
    fs::copy(file(&world), &old).unwrap();
    let (call, waits) = hold(&world, &mut session, "b.md");
    let done = rotate(&world, &[]);
    assert_eq!(done.code, 0, "{done:?}");
    let new = done.json()["key_id"].as_str().unwrap().to_owned();
    assert_eq!(key_id(&file(&world)), new);
    assert_eq!(files(&world), ["approver.key"]);
    let receipts = world.receipts();
    let control = receipts.iter().rev().find(|r| r["receipt"]["action"] == "control:approvers");
    let authority = &control.unwrap()["receipt"]["authority"];
    assert_eq!((&authority["key_id"], &authority["next"]), (&json!(key_id(&old)), &json!(new)));
    assert_eq!(authority["recovered"], Value::Null);

    // Whoever has the old key answers nothing and orders nothing.
    let next = world.at("next.key");
    fs::rename(file(&world), &next).unwrap();
    fs::copy(&old, file(&world)).unwrap();
    let no = world.run(&["approve", &waits]);
    assert_eq!(no.code, 3, "{no:?}");
    assert!(no.err.contains("was replaced"), "{no:?}");
    assert_eq!(rejected(&world), ["key_ended"]);
    let ordered = world.run(&["group", "convene", "g", "x"]);
    assert!(ordered.code == 3 && ordered.err.contains("not signed by an approver"), "{ordered:?}");
    let again = rotate(&world, &[]);
    assert!(
        again.code == 3 && again.out.contains("not the approver's that is in force"),
        "{again:?}"
    );
    fs::rename(&next, file(&world)).unwrap();

    // With the new one what waited goes on.
    let done = world.run(&["approve", &waits]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = session.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    // The same again after a kill: the state is the fold of its receipts.
    let before = shown(&world);
    drop(session);
    restart(&world);
    assert_eq!(shown(&world), before);
    let mut session = client(&world);
    approved(&world, &mut session, "c.md");
    assert_eq!(rotate(&world, &[]).code, 0);
    approved(&world, &mut session, "d.md");
    drop(session);
    world.ends_whole();
}

#[test]
fn over_a_stated_overlap_both_keys_answer() {
    let world = world();
    let mut session = client(&world);
    let (_, waits) = hold(&world, &mut session, "a.md");
    let (call, other) = hold(&world, &mut session, "b.md");
    let old = world.at("old.key");
    fs::copy(file(&world), &old).unwrap();
    let begun = Instant::now();
    assert_eq!(rotate(&world, &["--overlap", "6s"]).code, 0);
    let next = world.at("next.key");
    fs::rename(file(&world), &next).unwrap();
    fs::copy(&old, file(&world)).unwrap();
    let yes = world.run(&["approve", &other]);
    // A machine that is slower than the overlap says nothing about it.
    if begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(yes.code, 0, "{yes:?}");
        let done = session.answer(call)["result"].clone();
        assert_ne!(done["isError"], json!(true), "{done}");
    }
    thread::sleep(Duration::from_secs(7).saturating_sub(begun.elapsed()));
    let no = world.run(&["approve", &waits]);
    assert_eq!(no.code, 3, "{no:?}");
    assert_eq!(rejected(&world).last().map(String::as_str), Some("key_ended"));
    fs::rename(&next, file(&world)).unwrap();
    assert_eq!(world.run(&["approve", &waits]).code, 0);
    assert_eq!(rotate(&world, &["--overlap", "31d"]).code, 3);
    drop(session);
    world.ends_whole();
}

#[test]
fn a_crash_in_the_middle_loses_no_key() {
    let world = world();
    let session = client(&world);
    // The new key was written, and the order never came.
    let left = HomeKeys::next_approver(&world.home()).unwrap().verifying_key().key_id();
    assert_eq!(files(&world).len(), 2);
    drop(session);
    restart(&world);
    let mut session = client(&world);
    assert_ne!(key_id(&file(&world)), left, "it is not in force");
    approved(&world, &mut session, "a.md");
    let old = fs::read(file(&world)).unwrap();
    let done = rotate(&world, &[]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(files(&world), ["approver.key"], "what never came into force is thrown away");
    approved(&world, &mut session, "b.md");

    // The receipt was written, and the new key not put in its place.
    let new = done.json()["key_id"].as_str().unwrap().to_owned();
    let beside = world.home().join(format!("keys/approver.{new}.key"));
    drop(session);
    restart(&world);
    fs::rename(file(&world), &beside).unwrap();
    fs::write(file(&world), old).unwrap();
    let mut session = client(&world);
    assert_eq!(key_id(&file(&world)), new);
    assert_eq!(files(&world), ["approver.key"]);
    approved(&world, &mut session, "c.md");
    drop(session);
    world.ends_whole();
}

#[test]
fn a_lost_key_is_replaced_by_naming_it_and_the_log_says_so() {
    let world = world();
    let mut session = client(&world);
    approved(&world, &mut session, "a.md");
    let lost = key_id(&file(&world));
    fs::remove_file(file(&world)).unwrap();
    let no = rotate(&world, &[]);
    assert!(no.code == 3 && no.out.contains("not the approver's that is in force"), "{no:?}");
    let recover = |key: &str| world.run(&["--json", "approver", "recover", "--lost", key]);
    let wrong = recover("x");
    assert!(wrong.code == 3 && wrong.out.contains("is not in force"), "{wrong:?}");
    let busy = recover(&lost);
    assert!(busy.code == 3 && busy.out.contains("clients are connected"), "{busy:?}");
    let receipts = world.receipts();
    let refused = receipts.iter().filter(|r| r["receipt"]["action"] == "control:order-rejected");
    let why: Vec<&Value> = refused.map(|r| &r["receipt"]["authority"]["rejected"]).collect();
    assert_eq!(why, [&json!("connected")]);
    assert_eq!(session.end(), 0);
    let until = Instant::now() + Duration::from_secs(60);
    let done = loop {
        let done = recover(&lost);
        if done.code == 0 || Instant::now() > until {
            break done;
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(done.code, 0, "{done:?}");
    let receipts = world.receipts();
    let control = receipts.iter().rev().find(|r| r["receipt"]["action"] == "control:approvers");
    let authority = &control.unwrap()["receipt"]["authority"];
    assert_eq!((&authority["recovered"], &authority["key_id"]), (&json!(true), &json!(lost)));
    assert_eq!(shown(&world)["recovered"], json!(true));
    let told = world.run(&["approver", "show"]);
    assert!(told.out.contains("nobody gave its word"), "{told:?}");
    let mut session = client(&world);
    approved(&world, &mut session, "b.md");
    drop(session);
    world.ends_whole();
}

#[test]
fn an_agents_process_replaces_nothing() {
    let world = world();
    let work = world.work();
    // This process is the client, and starts the command itself.
    let mut session = world.wrap("notes", &[BINARY, "notes", work.to_str().unwrap()], &[]);
    session.handshake();
    let before = shown(&world);
    let no = rotate(&world, &[]);
    assert!(no.code == 3 && no.out.contains("a person has to do it"), "{no:?}");
    let lost = key_id(&file(&world));
    let no = world.run(&["--json", "approver", "recover", "--lost", &lost]);
    assert!(no.code == 3 && no.out.contains("a person has to do it"), "{no:?}");
    assert_eq!(shown(&world), before);
    assert_eq!(session.end(), 0);
}
