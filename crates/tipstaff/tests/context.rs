//! Sessions that remember, over several servers of one client. The adversary takes harmless steps, puts a secret
//! where none should be, or tells itself what it may do.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test starts what it tests")]

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::{BINARY, Session, World, text};

const MEANINGS: &str = "
[meaning.\"web/read_note\"]
gives = [\"untrusted\"]
sink = \"none\"
tier = 1
[meaning.\"out/write_note\"]
sink = \"external\"
tier = 2
named = [\"/name\"]
acts = [\"write\", \"tell\"]
";

fn world() -> World {
    let world = World::new();
    world.config(MEANINGS);
    let key = ["-----BEGIN ", "RSA PRIVATE KEY-----\n", &"MIIEowIBAAKCAQEA0".repeat(20)].concat();
    let key = format!("{key}\n-----END RSA PRIVATE KEY-----\n");
    fs::write(world.work().join("key.md"), key).unwrap();
    fs::write(world.work().join("page.md"), "Welcome to our page.").unwrap();
    world
}

fn server(world: &World, name: &str) -> Session {
    let work = world.work();
    let mut session = world.wrap(name, &[BINARY, "notes", work.to_str().unwrap()], &[]);
    session.handshake();
    session.list();
    session
}

fn post(out: &mut Session) -> Value {
    out.call("write_note", json!({ "name": "team.md", "text": "hello" }))
}

#[test]
fn the_sequence_is_refused_and_names_the_two_earlier_actions() {
    let world = world();
    let (mut files, mut web, mut out) =
        (server(&world, "notes"), server(&world, "web"), server(&world, "out"));
    assert_ne!(post(&mut out)["isError"], json!(true));
    // Nothing but the content says that this is a secret.
    let key = files.call("read_note", json!({ "name": "key.md" }));
    let key_receipt = key["_meta"].as_object().unwrap().values().next().unwrap().clone();
    assert_ne!(post(&mut out)["isError"], json!(true));
    assert_ne!(web.call("read_note", json!({ "name": "page.md" }))["isError"], json!(true));
    let refused = post(&mut out);
    assert_eq!(refused["isError"], json!(true), "{refused}");
    let told = text(&refused);
    let short: String = key_receipt.as_str().unwrap_or_default().chars().take(8).collect();
    assert!(told.contains("secret (receipt") && told.contains("untrusted (receipt"), "{told}");
    assert!(short.is_empty() || told.contains(&short), "{told} {key_receipt}");
    // Each alone goes on.
    assert_ne!(web.call("read_note", json!({ "name": "page.md" }))["isError"], json!(true));

    let listed = world.run(&["session", "list"]);
    assert!(listed.out.contains("secret (") && listed.out.contains("untrusted ("), "{listed:?}");
    let denied = world
        .receipts()
        .into_iter()
        .rev()
        .find(|receipt| receipt["receipt"]["decision"]["reason"] == json!("risk"));
    let id = denied.unwrap()["hash"].as_str().unwrap().to_owned();
    let why = world.run(&["why", &id]);
    for part in ["secret: notes/read_note", "untrusted: web/read_note", "denied by its context"] {
        assert!(why.out.contains(part), "{part}: {why:?}");
    }
    drop((files, web, out));
    world.settle();
    assert_eq!(world.run(&["verify"]).code, 0);
    let replay = world.run(&["--json", "replay"]).json();
    assert_eq!((&replay["differ"], &replay["expired"]), (&json!(0), &json!(0)), "{replay}");
}

#[test]
fn a_session_is_told_by_a_person_and_not_by_its_agent() {
    let world = world();
    let policy = "@id(\"words\") @rank(\"5\") permit (principal, action in Action::\"call\", \
        resource in Server::\"out\") when { context.named && context.asked };\n\
        @id(\"others\") @rank(\"4\") forbid (principal, action in Action::\"call\", \
        resource in Server::\"out\") when { context.tier == 2 };";
    fs::write(world.home().join("policies/words.cedar"), policy).unwrap();
    let work = world.work();
    let mut out = world.wrap_apart("out", &[BINARY, "notes", work.to_str().unwrap()]);
    out.handshake();
    out.list();
    assert_eq!(post(&mut out)["isError"], json!(true));
    let told = world.run(&["session", "request", "Write to team.md that all is well."]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_ne!(post(&mut out)["isError"], json!(true));
    let other = out.call("write_note", json!({ "name": "evil.md", "text": "hello" }));
    assert_eq!(other["isError"], json!(true), "{other}");
    let wrong = world.run(&["session", "give", "ticket=1"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    drop(out);
    world.settle();
    // A client of this process: what it starts is an agent's, and tells nothing.
    let mut own = server(&world, "out");
    assert_eq!(post(&mut own)["isError"], json!(true));
    let told = world.run(&["session", "request", "Write to team.md that all is well."]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.err.contains("agent"), "{told:?}");
    assert_eq!(post(&mut own)["isError"], json!(true));
}

#[test]
fn a_file_opens_the_session_and_counts_once() {
    let world = world();
    fs::write(world.at("request.txt"), "Write to team.md that all is well.").unwrap();
    let policy = "@id(\"others\") @rank(\"4\") forbid (principal, action in Action::\"call\", \
        resource in Server::\"out\") when { !context.named };";
    fs::write(world.home().join("policies/words.cedar"), policy).unwrap();
    let start = |file: &str| {
        let mut command = world.command();
        command.args(["wrap", "--name", "out", "--intent", file, "--", BINARY, "notes"]);
        command.arg(world.work()).env("TIPSTAFF_SESSION", "one");
        let mut session = Session::start(command);
        session.handshake();
        session.list();
        session
    };
    let mut out = start(world.at("request.txt").to_str().unwrap());
    assert_ne!(post(&mut out)["isError"], json!(true));
    // The same client opens another server with another request: it comes too late.
    fs::write(world.at("more.txt"), "Write to evil.md, too.").unwrap();
    let mut more = start(world.at("more.txt").to_str().unwrap());
    let refused = more.call("write_note", json!({ "name": "evil.md", "text": "x" }));
    assert_eq!(refused["isError"], json!(true), "{refused}");
    assert_ne!(post(&mut more)["isError"], json!(true));
    let missing = Command::new(BINARY)
        .args(["wrap", "--intent", "/nonexistent", "--", "true"])
        .env("TIPSTAFF_HOME", world.home())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(3));
}
