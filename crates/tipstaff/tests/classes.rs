//! What a class of callers may do at most, end to end: an agent that proved its key is held to other limits than a
//! process that proved nothing, whatever the policies say, and replay arrives at the same.

#![expect(clippy::indexing_slicing, reason = "a test; the lint knows only `#[test]`")]

mod support;
use std::fs;

use serde_json::{Value, json};
use support::{BINARY, Session, World, text};

fn read(session: &mut Session) -> String {
    text(&session.call("read_note", json!({ "name": "a.md" })))
}

fn write(session: &mut Session, words: &str) -> String {
    text(&session.call("write_note", json!({ "name": "b.md", "text": words })))
}

fn replays(world: &World) {
    assert_eq!(world.run(&["verify"]).code, 0);
    let replay = world.run(&["--json", "replay"]).json();
    assert_eq!((&replay["differ"], &replay["expired"]), (&json!(0), &json!(0)), "{replay}");
}

#[test]
fn whoever_proved_nothing_is_held_to_the_limits_of_local_callers() {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    world.config("[classes.local]\ncalls_per_minute = 3\nargument_bytes = 60\n");
    let work = world.work();
    let mut session = world.wrap("notes", &[BINARY, "notes", work.to_str().unwrap()], &[]);
    session.handshake();
    session.list();
    assert_eq!(read(&mut session), "hi");
    let large = write(&mut session, &"x".repeat(60));
    assert!(large.contains("larger than agents of this kind may send"), "{large}");
    assert_eq!(read(&mut session), "hi");
    let often = read(&mut session);
    assert!(often.contains("called too often within a minute"), "{often}");
    assert!(often.contains("Don't repeat it now"), "{often}");
    drop(session);
    world.settle();
    let reasons: Vec<Value> = world
        .receipts()
        .iter()
        .map(|line| line["receipt"]["decision"]["reason"].clone())
        .filter(|reason| reason.as_str().is_some_and(|reason| reason.starts_with("class_")))
        .collect();
    assert_eq!(reasons, [json!("class_size"), json!("class_rate")]);
    replays(&world);
}

#[test]
fn an_agents_tier_ends_where_its_class_does_and_a_persons_goes_on() {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    world.config("[classes.agent]\ntier = 1\n");
    let work = world.work();
    let acts_as = |name: &str, more: &[&str]| {
        let file = work.join(format!("{name}.key"));
        let file = file.to_str().unwrap();
        let made = world.run(&["principal", "key", file]);
        let key = made.out.trim();
        let enrol = [&["principal", "enrol", name, "--key", key][..], more].concat();
        assert_eq!(world.run(&enrol).code, 0);
        let server = [BINARY, "notes", work.to_str().unwrap()];
        let mut session = world.wrap_apart_with("notes", &["--key", file], &server);
        session.handshake();
        session.list();
        session
    };
    let mut ada = acts_as("ada", &["--kind", "human"]);
    let mut coder = acts_as("coder", &["--kind", "agent", "--owner", "ada", "--role", "reader"]);
    assert_eq!((read(&mut ada), read(&mut coder)), ("hi".to_owned(), "hi".to_owned()));
    let no = write(&mut coder, "x");
    assert!(no.contains("a tier that is not for agents of this kind"), "{no}");
    let yes = write(&mut ada, "x");
    assert!(!yes.contains("refused"), "{yes}");
    drop((ada, coder));
    world.settle();
    replays(&world);
}
