//! Held calls end to end: a client that waits, a person with a terminal, and what goes wrong between.

#![expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, Session, World, kill, text};

/// A client that is a process of its own: whoever starts both client and approver is the requester.
fn client(world: &World) -> Session {
    let work = world.work();
    let mut session = world.wrap_apart("notes", &[BINARY, "notes", work.to_str().unwrap()]);
    session.handshake();
    session.list();
    session
}

fn world() -> World {
    let world = World::new();
    world.config("approval_wait_s = 60");
    fs::write(world.work().join("a.md"), "keep").unwrap();
    world
}

fn delete(session: &mut Session) -> u64 {
    let call = json!({ "name": "delete_note", "arguments": { "name": "a.md" },
                       "_meta": { "progressToken": "p" } });
    session.post("tools/call", call)
}

/// The first call that waits.
fn held(world: &World) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let queue = world.run(&["--json", "queue"]).json();
        if let Some(hold) = queue.as_array().and_then(|holds| holds.first()) {
            return hold.clone();
        }
        assert!(Instant::now() < until, "nothing waits");
        thread::sleep(Duration::from_millis(20));
    }
}

fn id(hold: &Value) -> String {
    hold["of"].as_str().unwrap().chars().take(8).collect()
}

#[test]
fn a_held_call_waits_with_progress_and_runs_once_when_a_person_says_so() {
    let world = world();
    let mut session = client(&world);
    let call = delete(&mut session);
    let progress = session.receive();
    assert_eq!(progress["method"], json!("notifications/progress"), "{progress}");
    assert_eq!(progress["params"]["progressToken"], json!("p"));
    let hold = held(&world);
    let message = progress["params"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("tipstaff approve {}", id(&hold))), "{message}");
    assert_eq!(hold["action"]["parameters"], json!({ "name": "a.md" }));
    assert!(world.work().join("a.md").exists());
    // While it waits, others go on.
    assert_eq!(text(&session.call("read_note", json!({ "name": "a.md" }))), "keep");

    let shown = world.run(&["queue"]);
    assert!(
        shown.out.contains("notes/delete_note") && shown.out.contains("name: \"a.md\""),
        "{shown:?}"
    );
    let approved = world.run(&["approve", &id(&hold)]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert!(approved.out.contains("it runs now, once"), "{approved:?}");
    let done = session.answer(call)["result"].clone();
    assert_ne!(done["isError"], json!(true), "{done}");
    assert!(!world.work().join("a.md").exists());

    let again = world.run(&["approve", &id(&hold)]);
    assert_eq!(again.code, 3, "{again:?}");
    assert_eq!(world.run(&["--json", "queue"]).json(), json!([]));
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|r| r["hash"] == done["_meta"]["tipstaff/receipt"]).unwrap();
    assert_eq!(verdict["receipt"]["continues"], hold["of"]);
    world.assert_whole();
}

/// The calls that wait, once there are so many.
fn all_held(world: &World, number: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let queue = world.run(&["--json", "queue"]).json();
        match queue.as_array() {
            Some(holds) if holds.len() == number => return holds.clone(),
            _ => assert!(Instant::now() < until, "{queue}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn calls_that_wait_together_are_answered_together_and_each_on_its_own() {
    let world = world();
    let mut session = client(&world);
    let names = ["a.md", "b.md", "c.md", "d.md"];
    let mut delete = |name: &str| {
        fs::write(world.work().join(name), "keep").unwrap();
        session.post("tools/call", json!({ "name": "delete_note", "arguments": { "name": name } }))
    };
    let calls = names.map(&mut delete);
    let holds = all_held(&world, 4);
    let asked: Vec<&Value> =
        holds.iter().map(|hold| &hold["action"]["parameters"]["name"]).collect();
    assert_eq!(asked, names, "oldest first");
    let ids: Vec<String> = holds.iter().map(id).collect();

    // One that is wrong, and none is answered.
    for (words, code) in [
        (vec!["approve", &ids[0], "ffffffffff"], 3),
        (vec!["approve", &ids[0], "zz"], 2),
        (vec!["approve", &ids[0], &ids[0]], 2),
        ([vec!["approve"], vec![ids[0].as_str(); 17]].concat(), 2),
        (vec!["approve"], 2),
    ] {
        assert_eq!(world.run(&words).code, code, "{words:?}");
    }
    assert_eq!(all_held(&world, 4).len(), 4);

    // Whatever their order on the line, they are shown and answered in the order of the queue.
    let approved = world.run(&["approve", &ids[2], &ids[0]]);
    assert_eq!(approved.code, 0, "{approved:?}");
    let at = |part: &str| approved.out.find(part).unwrap_or_else(|| panic!("{part}: {approved:?}"));
    assert!(
        at("name: \"a.md\"") < at("name: \"c.md\"")
            && at("name: \"c.md\"") < at("it runs now, once")
    );
    assert_eq!(approved.out.matches("it runs now, once").count(), 2, "{approved:?}");
    let refused = world.run(&["--json", "refuse", &ids[1], &ids[3]]);
    assert_eq!((refused.code, refused.out.lines().count()), (0, 2), "{refused:?}");
    for (number, (call, name)) in calls.into_iter().zip(names).enumerate() {
        let answer = session.answer(call)["result"].clone();
        let ran = number % 2 == 0;
        assert_eq!(answer["isError"] != json!(true), ran, "{answer}");
        assert_eq!(world.work().join(name).exists(), !ran, "{name}");
    }

    assert_eq!(session.end(), 0);
    world.settle();
    // Each has a signed answer of its own.
    let receipts = world.receipts();
    let answers: Vec<&Value> =
        receipts.iter().map(|r| &r["receipt"]).filter(|r| r["kind"] == json!("approval")).collect();
    let order: Vec<&str> = answers.iter().map(|r| r["of"].as_str().unwrap()).collect();
    let expected: Vec<&str> =
        [0, 2, 1, 3].map(|at: usize| holds[at]["of"].as_str().unwrap()).into();
    assert_eq!(order, expected);
    let mut signatures: Vec<&str> =
        answers.iter().map(|r| r["approval"]["signature"].as_str().unwrap()).collect();
    signatures.sort_unstable();
    signatures.dedup();
    assert_eq!(signatures.len(), 4);
    world.assert_whole();
}

#[test]
fn a_refused_call_says_so_and_the_requester_approves_nothing() {
    let world = world();
    let mut session = client(&world);
    let call = delete(&mut session);
    let name = id(&held(&world));
    let refused = world.run(&["refuse", &name]);
    assert_eq!(refused.code, 0, "{refused:?}");
    let told = session.answer(call)["result"].clone();
    assert_eq!(told["_meta"]["tipstaff/verdict"], json!("DENY"));
    assert!(text(&told).contains("A person looked at it and refused"), "{told}");

    // This process is the client now, and so is everything that it starts.
    let mut own = world.notes();
    own.handshake();
    own.list();
    delete(&mut own);
    let name = id(&held(&world));
    let by_itself = world.run(&["approve", &name]);
    assert_eq!(by_itself.code, 3, "{by_itself:?}");
    assert!(by_itself.err.contains("the agent that asked"), "{by_itself:?}");
    assert!(world.work().join("a.md").exists());
    drop((session, own));
    world.settle();
    let receipts = world.receipts();
    let rejected = |r: &&Value| r["receipt"]["approval"]["rejected"] == json!("self_approval");
    assert_eq!(receipts.iter().filter(rejected).count(), 1);
    world.assert_whole();
}

#[test]
fn a_killed_monitor_still_holds_what_it_held() {
    let world = world();
    let mut session = client(&world);
    let call = delete(&mut session);
    let before = held(&world);
    kill(world.monitor().unwrap(), "KILL");
    let until = Instant::now() + Duration::from_secs(60);
    let after = loop {
        let queue = world.run(&["--json", "queue"]).json();
        // The door has come back and waits.
        match queue.as_array().and_then(|holds| holds.first()) {
            Some(hold) if hold["doors"] == json!(1) => break hold.clone(),
            _ => assert!(Instant::now() < until, "nothing waits"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(after["of"], before["of"]);
    assert_eq!(world.run(&["approve", &id(&after)]).code, 0);
    assert_ne!(session.answer(call)["result"]["isError"], json!(true));
    assert!(!world.work().join("a.md").exists());
    assert_eq!(session.end(), 0);
    world.settle();
    world.assert_whole();
}

#[test]
fn what_a_client_cancelled_does_not_run_and_runs_once_when_it_is_repeated() {
    let world = world();
    let mut session = client(&world);
    let call = delete(&mut session);
    let name = id(&held(&world));
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
                         "params": { "requestId": call } });
    session.send(&cancel.to_string());
    let until = Instant::now() + Duration::from_secs(60);
    while held(&world)["doors"] != json!(0) {
        assert!(Instant::now() < until, "the door still waits");
        thread::sleep(Duration::from_millis(20));
    }
    let approved = world.run(&["approve", &name]);
    assert!(approved.out.contains("when the agent repeats it"), "{approved:?}");
    thread::sleep(Duration::from_millis(300));
    assert!(world.work().join("a.md").exists(), "it ran behind the client's back");
    let call = delete(&mut session);
    assert_ne!(session.answer(call)["result"]["isError"], json!(true));
    assert!(!world.work().join("a.md").exists());
    fs::write(world.work().join("a.md"), "again").unwrap();
    delete(&mut session);
    assert_ne!(id(&held(&world)), name, "a person is asked again");
    drop(session);
    world.settle();
    world.assert_whole();
}

#[test]
fn paused_everything_is_refused_and_watched_live() {
    let world = world();
    let mut session = client(&world);
    let mut watch = world.command();
    watch.args(["--json", "tail"]);
    let mut watch = Session::start(watch);
    // It watches once the monitor knows: a call until a line comes.
    while {
        session.call("read_note", json!({ "name": "a.md" }));
        watch.is_quiet(Duration::from_millis(200))
    } {}
    assert_eq!(world.run(&["pause"]).code, 0);
    let refused = session.call("read_note", json!({ "name": "a.md" }));
    assert!(text(&refused).contains("paused everything"), "{refused}");
    let mut lines = std::iter::from_fn(|| Some(watch.receive()));
    let line = lines.find(|line| line["reason"] == json!("paused")).unwrap();
    assert_eq!((&line["tool"], &line["verdict"]), (&json!("notes/read_note"), &json!("DENY")));
    assert_eq!(world.run(&["resume"]).code, 0);
    assert_eq!(world.run(&["resume"]).code, 0, "it is no fault to say it twice");
    assert_eq!(text(&session.call("read_note", json!({ "name": "a.md" }))), "keep");
    for (words, code) in
        [(["approve", "zz"], 2), (["approve", "abc"], 2), (["approve", "abcdef"], 3)]
    {
        assert_eq!(world.run(&words).code, code, "{words:?}");
    }
    drop((session, watch));
    world.settle();
    let switches = world.receipts();
    let switches = switches.iter().filter(|r| r["receipt"]["control"]["what"] == json!("switch"));
    assert_eq!(switches.count(), 2);
    world.assert_whole();
}

#[test]
fn the_agent_does_not_lift_a_pause_accept_a_tool_or_end_the_monitor() {
    let world = world();
    // This process is the client, and what it starts is the agent's.
    let mut session = world.fake();
    session.handshake();
    session.list();
    fs::write(world.at("version"), "2").unwrap();
    session.list();
    assert_eq!(world.run(&["pause"]).code, 0, "anyone may stop everything");
    for words in [&["resume"][..], &["tools", "accept", "fake"]] {
        let refused = world.run(words);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.err.contains("a person has to do it"), "{refused:?}");
    }
    let before = world.monitor();
    let mut serve = world.command();
    serve.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut serve = serve.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while serve.try_wait().unwrap().is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    let _ = serve.kill();
    let served = serve.wait_with_output().unwrap();
    assert_eq!(served.status.code(), Some(3), "{served:?}");
    let told = String::from_utf8_lossy(&served.stderr).into_owned();
    assert!(told.contains("a person has to do it"), "{told}");
    assert_eq!(world.monitor(), before);
    // It may look.
    assert!(world.run(&["tools", "diff"]).out.contains("version 2"));
    let paused = session.call("echo", json!({ "text": "a" }));
    assert!(text(&paused).contains("paused everything"), "{paused}");
    drop(session);
    world.settle();
    let receipts = world.receipts();
    let changes = |what: &str| {
        receipts.iter().filter(|r| r["receipt"]["control"]["what"] == json!(what)).count()
    };
    assert_eq!((changes("switch"), changes("tool-pins")), (1, 2), "nothing was lifted or accepted");
    world.assert_whole();
}

#[test]
fn observed_everything_passes_and_its_receipts_say_what_would_have_been() {
    let world = world();
    world.config("observe = true");
    let mut session = client(&world);
    let call = delete(&mut session);
    assert_ne!(session.answer(call)["result"]["isError"], json!(true));
    assert!(!world.work().join("a.md").exists());
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let decided = receipts.iter().find(|r| r["receipt"]["decision"]["verdict"] == json!("STEP_UP"));
    assert_eq!(decided.unwrap()["receipt"]["enforcement"], json!("observe"));
    world.assert_whole();
}

#[test]
fn what_was_observed_is_drafted_into_rules_that_are_read_back_and_change_what_they_say() {
    let world = world();
    let config = "observe = true\nsession_grace_s = 0\nidle_exit_s = 0\n";
    fs::write(world.home().join("config.toml"), config).unwrap();
    let mut session = client(&world);
    for number in 0..3 {
        let name = format!("n{number}.md");
        session.call("write_note", json!({ "name": name, "text": "x" }));
    }
    session.call("delete_note", json!({ "name": "a.md" }));
    assert_eq!(session.end(), 0);
    world.settle();
    let drafted = world.run(&["policy", "suggest"]);
    assert_eq!(drafted.code, 0, "{drafted:?}");
    assert!(drafted.out.contains("Drafted from 4 actions"), "{drafted:?}");
    assert!(drafted.out.contains("3 x STEP_UP notes/write_note"), "{drafted:?}");
    // What can't be undone stays with a person.
    assert!(drafted.out.contains("1 x STEP_UP notes/delete_note"), "{drafted:?}");
    assert!(!drafted.out.contains("Tool::\"notes/delete_note\""), "{drafted:?}");
    let drafts = world.run(&["--json", "policy", "suggest"]).json()["drafts"].clone();
    let work = fs::canonicalize(world.work()).unwrap();
    let root =
        json!({ "kind": "root", "id": null, "text": work, "seen": 3, "allows": 3, "leaves": 1 });
    assert_eq!(drafts, json!([root]), "{drafts}");
    fs::write(world.home().join("policies/suggested.cedar"), &drafted.out).unwrap();
    let check = world.run(&["policy", "check"]);
    assert_eq!(check.code, 0, "{check:?}");
}

#[test]
fn a_webhook_is_told_that_a_call_waits_and_nothing_of_its_arguments() {
    let world = world();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    world.config(&format!("approval_wait_s = 60\napproval_webhook = \"http://{address}/held\""));
    let mut session = client(&world);
    delete(&mut session);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut said, mut chunk) = (String::new(), [0; 4096]);
    while !said.ends_with('}') {
        let read = std::io::Read::read(&mut stream, &mut chunk).unwrap();
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /held HTTP/1.1"), "{head}");
    let notice: Value = serde_json::from_str(body).unwrap();
    assert_eq!(notice["tool"], json!("notes/delete_note"));
    assert!(notice["text"].as_str().unwrap().contains("tipstaff approve"), "{notice}");
    assert!(!body.contains("a.md"), "{body}");
    drop(session);
    world.settle();
}
