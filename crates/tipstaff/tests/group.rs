//! Groups, end to end: an invitation and a seat end, a member joins with its own key alone, and whoever is there has
//! the group as a role.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::json;
use support::{BINARY, Ran, World, text};

fn key(world: &World, name: &str) -> (String, String) {
    let file = world.work().join(format!("{name}.key")).to_str().unwrap().to_owned();
    let made = world.run(&["principal", "key", &file]);
    (file, made.out.trim().to_owned())
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn refused(ran: &Ran, why: &str) {
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains(why), "{ran:?}");
}

#[test]
fn who_is_there_has_the_groups_role_and_who_falls_silent_loses_it() {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    let policy = "@id(\"day-only\") forbid (principal, action, resource) \
        unless { principal in Role::\"night-shift\" || principal in Role::\"day\" };";
    fs::write(world.home().join("policies/shift.cedar"), policy).unwrap();
    let (ada_key, ada) = key(&world, "ada");
    let (coder_key, coder) = key(&world, "coder");
    done(&world.run(&["principal", "enrol", "ada", "--kind", "human", "--key", &ada]));
    let rest = ["--kind", "agent", "--owner", "ada", "--key", &coder, "--role", "reader"];
    done(&world.run(&[&["principal", "enrol", "coder"][..], &rest].concat()));
    let work = world.work();
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &["--key", &coder_key], &server);
    session.handshake();
    session.list();
    let mut reads = || text(&session.call("read_note", json!({ "name": "a.md" })));
    assert!(reads().contains("day-only"), "no role, no call");

    let times = ["--join-within", "30s", "--inactive-after", "4s"];
    done(&world.run(&[&["group", "convene", "night-shift", "coder"][..], &times].concat()));
    assert!(reads().contains("day-only"), "invited is not there");
    // Nobody joins who has no seat, and no one with another's key.
    refused(&world.run(&["group", "join", "night-shift", "--key", &ada_key]), "no seat");
    refused(&world.run(&["group", "join", "day-shift", "--key", &coder_key]), "no such group");
    done(&world.run(&["group", "join", "night-shift", "--key", &coder_key]));
    assert_eq!(reads(), "hi");
    refused(&world.run(&["group", "join", "night-shift", "--key", &coder_key]), "a moment ago");
    thread::sleep(Duration::from_secs(4));
    assert!(reads().contains("day-only"), "who falls silent is evicted");
    refused(&world.run(&["group", "join", "night-shift", "--key", &coder_key]), "evicted");
    let listed = world.run(&["group", "list"]);
    assert!(listed.out.contains("coder") && listed.out.contains("evicted"), "{listed:?}");

    // Invited again, and too late.
    let times = ["--join-within", "1s", "--inactive-after", "1h"];
    done(&world.run(&[&["group", "convene", "night-shift", "coder"][..], &times].concat()));
    thread::sleep(Duration::from_secs(1));
    refused(
        &world.run(&["group", "join", "night-shift", "--key", &coder_key]),
        "invitation is over",
    );
    done(&world.run(&["group", "dissolve", "night-shift"]));
    drop(session);
    world.settle();
    assert_eq!(world.run(&["verify"]).code, 0);
    let replay = world.run(&["--json", "replay"]).json();
    assert_eq!(replay.get("differ"), Some(&json!(0)), "{replay}");
}
