//! Principals, end to end: who acts under whose name, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{BINARY, Session, World, kill, text};

/// A world with a person and an agent of theirs; the file of the agent's key.
fn world() -> (World, PathBuf) {
    enrolled(World::new())
}

fn enrolled(world: World) -> (World, PathBuf) {
    fs::write(world.work().join("a.md"), "hi").unwrap();
    let (ada, coder) = (world.principal_key("ada.key"), world.principal_key("coder.key"));
    world.order(&["enrol", "ada", "--kind", "human", "--key", &ada]);
    let rest = ["--kind", "agent", "--owner", "ada", "--key", &coder, "--role", "reader"];
    world.order(&[&["enrol", "coder"][..], &rest].concat());
    let file = world.work().join("coder.key");
    (world, file)
}

fn refused(world: &World, words: &[&str], why: &str) {
    let done = world.run(&[&["principal"][..], words].concat());
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.err.contains(why), "{done:?}");
}

fn acts_as(world: &World, key: &Path) -> Session {
    let work = world.work();
    let key = key.to_str().unwrap();
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &["--key", key], &server);
    session.handshake();
    session.list();
    session
}

fn read(session: &mut Session) -> Value {
    session.call("read_note", json!({ "name": "a.md" }))
}

#[test]
fn the_document_says_where_an_agent_is_reached_and_the_log_keeps_it() {
    let (world, _) = world();
    let document = || world.run(&["principal", "show", "coder", "--did"]).json();
    assert_eq!(document().get("service"), None);
    let at = "https://agents.example/coder/mcp";
    world.order(&["services", "coder", "--service", "mcp", "McpServer", at]);
    let with = document();
    let did = with["id"].as_str().unwrap();
    let expected = json!([
        { "id": format!("{did}#mcp"), "type": "McpServer", "serviceEndpoint": at }
    ]);
    assert_eq!(with["service"], expected);
    let shown = world.run(&["principal", "show", "coder"]);
    assert!(shown.out.contains(&format!("service  mcp, McpServer, {at}")), "{shown:?}");
    // What could be a secret is never written down.
    for (words, why) in [
        (
            &["mcp", "McpServer", "https://me:secret@agents.example/"][..],
            "without a name or password",
        ),
        (&["mcp", "McpServer", "agents.example"], "a scheme and a host"),
        (&["mcp", "Mcp Server", at], "the kind of a service"),
        (&["mcp", "McpServer"], "3 values required"),
    ] {
        let done =
            world.run(&[&["principal", "services", "coder", "--service"][..], words].concat());
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains(why) && !done.err.contains("secret"), "{done:?}");
    }
    let twice = ["--service", "mcp", "McpServer", at, "--service", "mcp", "Other", at];
    refused(&world, &[&["services", "coder"][..], &twice].concat(), "an id of its own");
    kill(world.monitor().unwrap(), "KILL");
    assert_eq!(document(), with, "a restart knows the same");
    world.order(&["services", "coder"]);
    assert_eq!(document().get("service"), None);
    assert_eq!(world.run(&["verify"]).code, 0);
    world.settle();
}

#[test]
fn an_agent_acts_in_its_name_until_it_may_not() {
    let (world, key) = world();
    let mut session = acts_as(&world, &key);
    assert_eq!(text(&read(&mut session)), "hi");

    world.order(&["suspend", "coder"]);
    let no = read(&mut session);
    assert!(text(&no).contains("may not act any more"), "{no}");
    // And no new door opens.
    let work = world.work();
    let (file, folder) = (key.to_str().unwrap(), work.to_str().unwrap());
    let late =
        world.run(&["wrap", "--name", "notes", "--key", file, "--", BINARY, "notes", folder]);
    assert_eq!(late.code, 3, "{late:?}");
    assert!(late.err.contains("suspended"), "{late:?}");

    world.order(&["restore", "coder"]);
    assert_eq!(text(&read(&mut session)), "hi");
    // Whoever acts for somebody acts no longer than they.
    world.order(&["suspend", "ada"]);
    assert!(text(&read(&mut session)).contains("may not act any more"));
    world.order(&["restore", "ada"]);
    assert_eq!(text(&read(&mut session)), "hi");
    // The kill of the monitor changes nothing of who may act.
    world.order(&["retire", "coder"]);
    let before = world.run(&["--json", "principal", "list"]).json();
    kill(world.monitor().unwrap(), "KILL");
    let after = world.run(&["--json", "principal", "list"]).json();
    assert_eq!(before, after);
    refused(&world, &["restore", "coder"], "for ever");
    drop(session);
    world.settle();

    let receipts = world.receipts();
    let verdicts: Vec<&Value> = receipts
        .iter()
        .map(|line| &line["receipt"])
        .filter(|receipt| receipt["kind"] == "verdict")
        .collect();
    let reasons: Vec<&str> =
        verdicts.iter().map(|v| v["decision"]["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "principal").count(), 2, "{reasons:?}");
    for verdict in &verdicts {
        let identity = &verdict["identity"];
        for level in ["agent", "principal", "roles"] {
            assert_eq!(identity[level]["proof"], "key", "{level}: {identity}");
            assert!(identity[level]["id"].is_string(), "{level}: {identity}");
        }
    }
    world.assert_whole();
}

#[test]
fn a_key_is_replaced_while_its_session_goes_on() {
    let (world, old) = world();
    let mut session = acts_as(&world, &old);
    assert_eq!(text(&read(&mut session)), "hi");
    let new = world.principal_key("new.key");
    world.order(&["rotate", "coder", "--key", &new, "--overlap", "1h"]);
    assert_eq!(text(&read(&mut session)), "hi", "both are valid");
    let mut next = acts_as(&world, &world.work().join("new.key"));
    assert_eq!(text(&read(&mut next)), "hi");
    let shown = world.run(&["principal", "show", "coder"]);
    assert!(shown.out.contains("valid until"), "{shown:?}");

    // Nobody's key, and a key that is taken.
    let stranger = world.work().join("stranger.key");
    let did = world.principal_key("stranger.key");
    let folder = world.work();
    let words = ["wrap", "--name", "notes", "--key", stranger.to_str().unwrap(), "--", BINARY];
    let words = [&words[..], &["notes", folder.to_str().unwrap()]].concat();
    let unknown = world.run(&words);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(unknown.err.contains("belongs to nobody"), "{unknown:?}");
    refused(&world, &["enrol", "eve", "--kind", "human", "--key", &new], "never given twice");
    refused(&world, &["enrol", "coder", "--kind", "human", "--key", &did], "name is taken");
    assert_eq!((session.end(), next.end()), (0, 0));
    world.settle();
    world.assert_whole();
}

#[test]
fn what_rests_on_a_lost_key_stops_counting_and_everybody_can_see_it() {
    let (world, key) = world();
    let mut session = acts_as(&world, &key);
    assert_eq!(text(&read(&mut session)), "hi");
    let list = world.receipts();
    let from = list.len().to_string();
    assert_eq!(text(&read(&mut session)), "hi");
    world.order(&["compromise", "coder", "--from", &from]);
    assert!(text(&read(&mut session)).contains("may not act any more"));
    drop(session);
    world.settle();

    let verify = world.run(&["--json", "verify"]);
    assert_eq!(verify.code, 0, "{verify:?}");
    let discounted = verify.json()["discounted"].clone();
    // The one that ran after the position, and the refusal.
    assert_eq!(discounted.as_array().unwrap().len(), 2, "{discounted}");
    let export = world.work().join("export.jsonl");
    let text = world.run(&["receipts", "export"]);
    fs::write(&export, text.out).unwrap();
    let jwks = world.work().join("jwks.json");
    fs::write(&jwks, world.run(&["keys", "jwks"]).out).unwrap();
    let words = ["verify", export.to_str().unwrap(), "--jwks", jwks.to_str().unwrap()];
    let offline = world.run(&words);
    assert_eq!(offline.code, 0, "{offline:?}");
    assert!(offline.out.contains("2 verdicts don't count"), "{offline:?}");
    world.assert_whole();
}

#[test]
fn an_order_that_does_not_count_has_a_receipt_and_an_agent_orders_nothing() {
    let (world, key) = world();
    refused(&world, &["suspend", "nobody"], "nobody of this name");
    refused(
        &world,
        &["enrol", "x", "--kind", "agent", "--key", &world.principal_key("x")],
        "owner",
    );
    let rejected = world.receipts();
    let rejected = rejected.iter().filter(|r| r["receipt"]["action"] == "control:order-rejected");
    let why: Vec<Value> = rejected.map(|r| r["receipt"]["authority"]["rejected"].clone()).collect();
    assert_eq!(why, [json!("unknown"), json!("ownership")]);

    // Whoever is judged orders nothing: this process is the client, and starts the command itself.
    let work = world.work();
    let words = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap("notes", &words, &[]);
    session.handshake();
    refused(&world, &["suspend", "ada"], "a person has to do it");
    assert_eq!(session.end(), 0);

    // A key that others can read proves nothing.
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let words = ["wrap", "--key", key.to_str().unwrap(), "--", BINARY, "notes", "."];
    let open = world.run(&words);
    assert_eq!(open.code, 3, "{open:?}");
    assert!(open.err.contains("can be read by others"), "{open:?}");
    let again = world.run(&["principal", "key", key.to_str().unwrap()]);
    assert_eq!(again.code, 3, "a key is never overwritten: {again:?}");
}

#[test]
fn policies_name_agents_people_and_roles() {
    let world = World::new();
    let policies = world.home().join("policies");
    for entry in fs::read_dir(&policies).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "cedar") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let rules = "
@id(\"readers\") permit (principal in Role::\"reader\", action, resource == Tool::\"notes/read_note\");
@id(\"hers\") permit (principal in User::\"ada\", action, resource == Tool::\"notes/list_notes\");
@id(\"own\") permit (principal == Agent::\"coder\", action, resource == Tool::\"notes/search_notes\");
";
    fs::write(policies.join("tipstaff.cedar"), rules).unwrap();
    let (world, key) = enrolled(world);
    let mut session = acts_as(&world, &key);
    let is_allowed = |session: &mut Session, tool: &str, arguments: Value| {
        !text(&session.call(tool, arguments)).contains("Tipstaff refused")
    };
    assert!(is_allowed(&mut session, "read_note", json!({ "name": "a.md" })));
    assert!(is_allowed(&mut session, "list_notes", json!({})));
    assert!(is_allowed(&mut session, "search_notes", json!({ "text": "h" })));
    // A role that is taken away is gone at the next action.
    world.order(&["roles", "coder", "writer"]);
    assert!(!is_allowed(&mut session, "read_note", json!({ "name": "a.md" })));
    assert!(is_allowed(&mut session, "list_notes", json!({})));
    world.order(&["roles", "coder", "reader", "writer"]);
    assert!(is_allowed(&mut session, "read_note", json!({ "name": "a.md" })));

    // Who proves nothing is none of them.
    let work = world.work();
    let mut other = world.wrap_apart("notes", &[BINARY, "notes", work.to_str().unwrap()]);
    other.handshake();
    other.list();
    assert!(!is_allowed(&mut other, "read_note", json!({ "name": "a.md" })));
    assert!(!is_allowed(&mut other, "list_notes", json!({})));
    assert_eq!((session.end(), other.end()), (0, 0));
    world.settle();
    world.assert_whole();
}

#[test]
fn a_hook_acts_as_a_principal_too() {
    let (world, key) = world();
    let event = json!({
        "hook_event_name": "PreToolUse", "session_id": "s", "cwd": world.work(),
        "tool_name": "Read", "tool_input": { "file_path": world.work().join("a.md") },
        "tool_use_id": "t1",
    });
    // The client is a process of its own: whoever starts it is the operator here.
    let hook = |key: &str| {
        let done = world.run_apart(&["hook", "--key", key], &event.to_string());
        (done.code, done.err)
    };
    let file = key.to_str().unwrap();
    assert_eq!(hook(file), (0, String::new()));
    world.order(&["suspend", "coder"]);
    let (code, why) = hook(file);
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("suspended"), "{why}");
    assert_eq!(hook("nowhere.key").0, 2);
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|r| r["receipt"]["kind"] == "verdict").unwrap();
    assert_eq!(verdict["receipt"]["identity"]["agent"]["proof"], "key", "{verdict}");
    assert_eq!(verdict["receipt"]["enforcement"], "cooperative");
}

#[test]
fn whoever_asks_is_told_who_they_are_in_the_words_of_policies() {
    let (world, key) = world();
    let told = world.run(&["whoami", "--key", key.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("Agent::\"coder\" in User::\"ada\""), "{told:?}");
    assert!(told.out.contains("Role::\"reader\"") && told.out.contains("active"), "{told:?}");
    let stranger = world.principal_key("s.key");
    assert!(stranger.starts_with("did:key:"));
    let file = world.work().join("s.key");
    assert_eq!(world.run(&["whoami", "--key", file.to_str().unwrap()]).code, 3);

    // Without a key it is the client's process, as its receipts name it.
    let local = world.run(&["--json", "whoami"]).json();
    let work = world.work();
    let mut session = world.wrap("notes", &[BINARY, "notes", work.to_str().unwrap()], &[]);
    session.handshake();
    session.list();
    read(&mut session);
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|r| r["receipt"]["kind"] == "verdict").unwrap();
    let identity = &verdict["receipt"]["identity"];
    assert_eq!(identity["agent"]["id"], local["agent"]);
    assert_eq!(identity["principal"]["id"], local["user"]);
}
