//! `wrap` end to end over pipes: what passes, what is refused and how, and what survives.

#![expect(clippy::disallowed_methods, reason = "a test speaks to sockets and processes")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use support::{BINARY, World, kill, text};

#[test]
fn a_session_with_the_notes_server() {
    let world = World::new();
    let mut session = world.notes();
    let opened = session.handshake();
    assert_eq!(opened["result"]["serverInfo"]["name"], json!("tipstaff-notes"));
    assert_eq!(opened["result"]["protocolVersion"], json!("2025-11-25"));
    assert_eq!(session.list().as_array().unwrap().len(), 5);
    assert_eq!(session.request("ping", json!({}))["result"], json!({}));
    let wrote = session.call("write_note", json!({"name": "a.md", "text": "one"}));
    assert_ne!(wrote["isError"], json!(true), "{wrote}");
    let receipt = wrote["_meta"]["tipstaff/receipt"].as_str().unwrap().to_owned();
    assert_eq!(text(&session.call("read_note", json!({"name": "a.md"}))), "one");
    assert_eq!(fs::read_to_string(world.work().join("a.md")).unwrap(), "one");

    // A refusal: a result that the agent sees, with the reason, and the receipt in `_meta`.
    let refused = session.call("delete_note", json!({"name": "a.md"}));
    assert_eq!(refused["isError"], json!(true));
    let meta = &refused["_meta"];
    assert_eq!(meta["tipstaff/verdict"], json!("STEP_UP"));
    assert_eq!(meta["tipstaff/policy"], json!("high-tiers"));
    assert_eq!(meta["tipstaff/receipt"].as_str().unwrap().len(), 64);
    assert!(text(&refused).contains("by policy `high-tiers`"), "{refused}");
    assert!(world.work().join("a.md").exists());
    let refused = session.call("read_note", json!({"name": world.home().join("config.toml")}));
    assert_eq!(refused["_meta"]["tipstaff/policy"], json!("own-home"), "{refused}");
    let refused = session.call("no_such_tool", json!({}));
    assert_eq!(refused["_meta"]["tipstaff/verdict"], json!("DENY"));

    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let hashes: Vec<_> = receipts.iter().map(|r| r["hash"].as_str().unwrap().to_owned()).collect();
    assert!(hashes.contains(&receipt));
    let outcome = receipts.iter().find(|r| r["receipt"]["of"] == json!(receipt)).unwrap();
    assert_eq!(outcome["receipt"]["outcome"]["status"], json!("ok"));
    world.assert_whole();
}

#[test]
fn forged_frames_are_refused_and_never_forwarded() {
    let world = World::new();
    fs::write(world.work().join("a.md"), "keep").unwrap();
    let mut session = world.notes();
    session.handshake();
    let call = |members: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":71,"method":"tools/call","params":{{{members}}}}}"#)
    };
    let delete = r#""name":"delete_note","arguments":{"name":"a.md"}"#;
    let deep =
        format!(r#""name":"read_note","arguments":{}1{}"#, r#"{"a":"#.repeat(80), "}".repeat(80));
    for frame in [
        call(&format!(r#""name":"read_note",{delete}"#)),
        call(&format!(r#"{delete},"extra":1"#)),
        call(r#""name":"read_note","arguments":{"name":"a.md","name":"b.md"}"#),
        call(r#""name":"read_note","arguments":[1]"#),
        call(r#""name":"read_note","arguments":{"n":1e999}"#),
        call(r#""name":"read_note","arguments":{"n":9007199254740993}"#),
        call(r#""name":"read_note","arguments":{"name":"\ud800"}"#),
        call(&deep),
        format!("[{}]", call(delete)),
        r#"{"jsonrpc":"2.0","id":71,"method":"tools/call""#.to_owned(),
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"1.0","id":71,"method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"tipstaff-9","method":"ping"}"#.to_owned(),
        call(&format!(r#""name":"write_note","arguments":{{"text":"{}"}}"#, "x".repeat(5 << 20))),
    ] {
        session.send(&frame);
        let answer = session.receive();
        let shown = frame.get(..120).unwrap_or(&frame);
        assert!(answer["error"]["code"].is_i64(), "{shown}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 20, "{answer}");
    }
    // Answers to nobody are dropped, and the session goes on.
    session.send(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    assert_eq!(text(&session.call("read_note", json!({"name": "a.md"}))), "keep");
    assert_eq!(session.end(), 0);
    world.settle();
    let verdicts =
        world.receipts().into_iter().filter(|r| r["receipt"]["kind"] == json!("verdict"));
    assert_eq!(verdicts.count(), 1, "what was not forwarded was not judged either");
    world.assert_whole();
}

#[test]
fn servers_of_one_client_share_one_session() {
    let world = World::empty();
    fs::create_dir(world.work()).unwrap();
    // All at once, on a home that isn't there yet.
    let mut sessions: Vec<_> = (0..4).map(|_| world.notes()).collect();
    for session in &mut sessions {
        session.handshake();
        assert!(
            text(&session.call("list_notes", json!({}))).contains("no notes"),
            "an answer comes"
        );
    }
    let seen = world.receipts();
    let mut chains: Vec<_> =
        seen.iter().map(|r| r["receipt"]["chain"].as_str().unwrap().to_owned()).collect();
    chains.sort();
    chains.dedup();
    assert_eq!(chains.len(), 2, "control and one session: {chains:?}");
    let calls = seen.iter().filter(|r| r["receipt"]["kind"] == json!("verdict")).count();
    assert_eq!(calls, 4);
    // Another client, by its own word, is another session; a claimed name alone joins nobody.
    let work = world.work();
    let words = [BINARY, "notes", work.to_str().unwrap()];
    let mut other = world.wrap("notes", &words, &[("TIPSTAFF_SESSION", "other")]);
    other.handshake();
    other.call("list_notes", json!({}));
    let chains = world.receipts().into_iter().map(|r| r["receipt"]["chain"].clone());
    let mut chains: Vec<_> = chains.map(|chain| chain.to_string()).collect();
    chains.sort();
    chains.dedup();
    assert_eq!(chains.len(), 3);
    for session in sessions {
        assert_eq!(session.end(), 0);
    }
    assert_eq!(other.end(), 0);
    world.assert_whole();
}

#[test]
fn tools_that_change_are_refused_with_the_difference() {
    let world = World::new();
    // A client that is a process of its own: what it starts accepts nothing.
    let words = world.fake_server();
    let start = || world.wrap_apart("fake", &words.each_ref().map(String::as_str));
    let mut session = start();
    session.handshake();
    assert_eq!(text(&session.call("echo", json!({"text": "a"}))), "echo a");
    // Silently, in mid-session: no notification. The client's own list shows the accepted definition.
    fs::write(world.at("version"), "2").unwrap();
    let listed = session.list();
    assert_eq!(listed[0]["description"], json!("Echo, version 1."), "{listed}");
    let refused = session.call("echo", json!({"text": "b"}));
    assert_eq!(refused["isError"], json!(true), "{refused}");
    let words = text(&refused);
    assert!(words.contains("version 1") && words.contains("version 2"), "{words}");
    assert!(words.contains("tipstaff tools accept fake"), "{words}");
    assert_eq!(refused["_meta"]["tipstaff/verdict"], json!("DENY"));
    // Another tool of the server is as it was.
    assert_eq!(session.call("stranger", json!({}))["isError"], Value::Null);

    let diff = world.run(&["--json", "tools", "diff"]);
    assert_eq!(diff.code, 0);
    assert_eq!(diff.json()["servers"][0]["server"], json!("fake"), "{diff:?}");
    assert!(diff.out.contains("version 2"), "{diff:?}");
    assert_eq!(world.run(&["tools", "accept", "nobody"]).code, 3);
    let accepted = world.run(&["--json", "tools", "accept", "fake"]);
    assert_eq!((accepted.code, &accepted.json()["tools"]), (0, &json!(10)), "{accepted:?}");
    assert_eq!(text(&session.call("echo", json!({"text": "c"}))), "echo c");
    assert_eq!(session.list()[0]["description"], json!("Echo, version 2."));

    // With a notification, the change is looked at without the client's doing.
    fs::write(world.at("version"), "3").unwrap();
    session.call("notify", json!({}));
    std::thread::sleep(Duration::from_secs(1));
    assert!(text(&session.call("echo", json!({}))).contains("version 3"));
    assert_eq!(session.end(), 0);
    world.settle();

    // After a restart of everything, what was accepted is still what counts.
    let mut session = start();
    session.handshake();
    let words = text(&session.call("echo", json!({})));
    assert!(words.contains("version 2") && words.contains("version 3"), "{words}");
    fs::write(world.at("version"), "2").unwrap();
    session.list();
    assert_eq!(text(&session.call("echo", json!({"text": "d"}))), "echo d");
    assert_eq!(session.end(), 0);
    world.settle();
    world.assert_whole();
}

#[test]
fn a_silent_change_is_found_without_any_list_of_the_client() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    session.call("echo", json!({}));
    fs::write(world.at("version"), "2").unwrap();
    std::thread::sleep(Duration::from_secs(21));
    // The list is older than 20 s: this call makes the shim look again, the next one knows.
    session.call("twice", json!({}));
    std::thread::sleep(Duration::from_millis(500));
    assert!(text(&session.call("echo", json!({}))).contains("version 2"));
}

#[test]
fn the_server_sees_an_allow_list_of_the_environment() {
    let world = World::new();
    let (script, version) = (world.at("fake.py"), world.at("version"));
    let words = [support::python(), script.to_str().unwrap(), version.to_str().unwrap()];
    let secrets =
        [("MY_SECRET_TOKEN", "s3cret"), ("AWS_SECRET_ACCESS_KEY", "s3cret"), ("LANG", "C")];
    let mut session = world.wrap("fake", &words, &secrets);
    session.handshake();
    let seen: Value = serde_json::from_str(&text(&session.call("env", json!({})))).unwrap();
    assert!(seen["PATH"].is_string() && seen["LANG"] == json!("C"), "{seen}");
    assert!(!seen.to_string().contains("s3cret"), "{seen}");
    assert!(seen["TIPSTAFF_HOME"].is_null() && seen["TIPSTAFF_SESSION"].is_null(), "{seen}");
    session.end();
    world.settle();
    world.config("env_allow = [\"MY_SECRET_TOKEN\"]");
    let mut session = world.wrap("fake", &words, &secrets);
    session.handshake();
    let seen: Value = serde_json::from_str(&text(&session.call("env", json!({})))).unwrap();
    assert_eq!(seen["MY_SECRET_TOKEN"], json!("s3cret"));
    assert!(seen["AWS_SECRET_ACCESS_KEY"].is_null(), "{seen}");
    session.end();
}

#[test]
fn the_socket_refuses_garbage_and_goes_on() {
    let world = World::new();
    let mut session = world.notes();
    session.handshake();
    let socket = world.home().join("run/monitor.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o077, 0);
    let monitor = world.monitor().unwrap();
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        b"{}\n".repeat(1000),
        b"\x10\0\0\0{\"t\":\"admit\"}".to_vec(),
        b"\x7f\xff\xff\xff".to_vec(),
        b"{\"t\":\"join\",\"v\":999}\n".to_vec(),
        Vec::new(),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 4096, "no flood of words for garbage");
    }
    assert_eq!(world.monitor(), Some(monitor), "the monitor lives");
    assert!(support::peak_mib(monitor) < 96);
    assert_ne!(session.call("list_notes", json!({}))["isError"], json!(true));
    session.end();
    world.settle();
    world.assert_whole();
}

#[test]
fn a_killed_monitor_is_replaced_and_the_chain_goes_on() {
    let world = World::new();
    // A busy machine may take seconds to start the next one, and the session waits so long for its door.
    world.config("session_grace_s = 10\nidle_exit_s = 0");
    let mut session = world.notes();
    session.handshake();
    let mut receipts = Vec::new();
    for round in 0..4 {
        let name = format!("n{round}.md");
        let wrote = session.call("write_note", json!({"name": name, "text": "x"}));
        receipts.push(wrote["_meta"]["tipstaff/receipt"].as_str().unwrap().to_owned());
        kill(world.monitor().unwrap(), "KILL");
    }
    let last = session.call("read_note", json!({"name": "n0.md"}));
    assert_eq!(text(&last), "x");
    assert_eq!(session.end(), 0);
    world.settle();
    let log = world.receipts();
    let session_chain = |r: &&Value| r["receipt"]["chain"].as_str().unwrap().starts_with("s-");
    let mut chains: Vec<_> =
        log.iter().filter(session_chain).map(|r| r["receipt"]["chain"].to_string()).collect();
    chains.dedup();
    assert_eq!(chains.len(), 1, "one session, whoever judged: {chains:?}");
    for receipt in &receipts {
        assert!(log.iter().any(|r| r["hash"] == json!(receipt)), "{receipt} is lost");
    }
    let permitted = log.iter().filter(|r| r["receipt"]["decision"]["verdict"] == json!("ALLOW"));
    let ended = log.iter().filter(|r| r["receipt"]["kind"] == json!("outcome"));
    assert_eq!(permitted.count(), ended.count(), "each has one outcome, known or ambiguous");
    world.assert_whole();
}

#[test]
fn a_killed_shim_leaves_no_server_behind() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    session.call("echo", json!({}));
    kill(session.child.id(), "KILL");
    session.code();
    world.settle();
    let script = world.at("fake.py");
    let script = script.to_str().unwrap();
    let mut left = support::processes();
    left.retain(|(_, words)| words.iter().any(|word| word == script));
    assert!(left.is_empty(), "{left:?}");
    world.assert_whole();
}
