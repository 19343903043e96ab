//! Capabilities, end to end: granted, used, given on in part, revoked.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;
use std::fs;

use serde_json::{Value, json};
use support::{BINARY, Ran, Session, World, kill, text};

/// A world with a person and two agents of theirs without roles, each with a key.
fn world() -> World {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    fs::write(world.work().join("b.md"), "ho").unwrap();
    let ada = key(&world, "ada");
    done(&world, &["principal", "enrol", "ada", "--kind", "human", "--key", &ada]);
    for name in ["coder", "helper"] {
        let key = key(&world, name);
        let words = ["principal", "enrol", name, "--kind", "agent", "--owner", "ada", "--key", &key];
        done(&world, &words);
    }
    world
}

/// Makes a key; its public half.
fn key(world: &World, name: &str) -> String {
    done(world, &["principal", "key", &format!("{name}.key")]).out.trim().to_owned()
}

fn done(world: &World, words: &[&str]) -> Ran {
    let done = world.run(words);
    assert_eq!(done.code, 0, "{words:?}: {done:?}");
    done
}

fn grant(world: &World, demands: &[&str], file: &str) {
    done(world, &[&["grant", "--to", "coder", "-o", file][..], demands].concat());
}

/// A session of the notes server for a principal, with a capability if one is named.
fn acts(world: &World, name: &str, capability: Option<&str>) -> Session {
    let (work, key) = (world.work(), world.at(&format!("{name}.key")));
    let mut options = vec!["--key", key.to_str().unwrap()];
    let file = capability.map(|file| world.at(file));
    if let Some(file) = &file {
        options.extend(["--capability", file.to_str().unwrap()]);
    }
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &options, &server);
    session.handshake();
    session.list();
    session
}

fn read(session: &mut Session, name: &str) -> String {
    text(&session.call("read_note", json!({ "name": name })))
}

fn reasons(world: &World) -> Vec<String> {
    let receipts = world.receipts();
    let verdicts = receipts.iter().map(|line| &line["receipt"]).filter(|r| r["kind"] == "verdict");
    verdicts.map(|v| v["decision"]["reason"].as_str().unwrap().to_owned()).collect()
}

/// The ids of a capability's blocks.
fn ids(world: &World, file: &str) -> Vec<String> {
    let shown = done(world, &["--json", "inspect", file]).json();
    let blocks = shown["blocks"].as_array().unwrap().iter();
    blocks.map(|block| block["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_agent_acts_within_what_it_was_given_until_it_is_taken_back() {
    let world = world();
    // Without role and capability, nothing.
    let mut bare = acts(&world, "coder", None);
    let no = read(&mut bare, "a.md");
    assert!(no.contains("neither a role nor a capability"), "{no}");
    assert_eq!(bare.end(), 0);

    grant(&world, &["--tool", "notes/read_note", "--one-of", "name=a.md", "--tier", "T3"], "coder.cap");
    let mut session = acts(&world, "coder", Some("coder.cap"));
    assert_eq!(read(&mut session, "a.md"), "hi");
    let no = read(&mut session, "b.md");
    assert!(no.contains("not in this agent's capability") && no.contains("a.md"), "{no}");
    let no = text(&session.call("list_notes", json!({})));
    assert!(no.contains("not in this agent's capability"), "{no}");

    let id = ids(&world, "coder.cap").remove(0);
    done(&world, &["revoke", &id]);
    let no = read(&mut session, "a.md");
    assert!(no.contains("revoked"), "{no}");
    // And for ever: after a crash too.
    kill(world.monitor().unwrap(), "KILL");
    let no = read(&mut session, "a.md");
    assert!(no.contains("revoked"), "{no}");
    assert_eq!(session.end(), 0);
    world.settle();
    assert_eq!(
        reasons(&world),
        [
            "no_authority",
            "permitted",
            "outside_capability",
            "outside_capability",
            "capability_revoked",
            "capability_revoked"
        ]
    );
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|r| r["receipt"]["decision"]["verdict"] == "ALLOW").unwrap();
    let authority: &Value = &verdict["receipt"]["authority"];
    assert_eq!(authority["capability"], json!([id]));
    assert!(authority["holder"].is_string(), "{authority}");
    world.assert_whole();
}
