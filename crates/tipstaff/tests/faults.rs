//! Upstreams and folders that fail: a refusal or a clean error, in bounded memory.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{World, peak_mib, text};

/// Status of the outcome of the last permitted action.
fn last_outcome(world: &World) -> String {
    let receipts = world.receipts();
    let last = receipts.iter().rfind(|r| r["receipt"]["kind"] == json!("outcome")).unwrap();
    last["receipt"]["outcome"]["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_dies_is_told_about() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    let result = session.call("die", json!({}));
    assert_eq!(result["isError"], json!(true));
    assert!(text(&result).contains("not known whether"), "{result}");
    assert_eq!(session.code(), 3);
    world.settle();
    assert_eq!(last_outcome(&world), "ambiguous");
    world.assert_whole();
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let world = World::new();
    world.config("call_timeout_s = 5");
    let mut session = world.fake();
    session.handshake();
    let start = Instant::now();
    let result = session.call("hang", json!({}));
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(result["isError"], json!(true));
    assert!(text(&result).contains("no answer in time"), "{result}");
    assert_eq!(
        text(&session.call("echo", json!({"text": "on"}))),
        "echo on",
        "the session goes on"
    );
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let ambiguous =
        receipts.iter().filter(|r| r["receipt"]["outcome"]["status"] == json!("ambiguous"));
    assert_eq!(ambiguous.count(), 1);
    world.assert_whole();
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    assert_eq!(text(&session.call("twice", json!({}))), "first");
    assert_eq!(text(&session.call("stranger", json!({}))), "for you");
    assert_eq!(text(&session.call("garbage", json!({}))), "after garbage");
    let id = session.post("tools/call", json!({"name": "echo", "arguments": {"text": "z"}}));
    let answer = session.receive();
    assert_eq!(answer["id"], json!(id), "nothing else came before it: {answer}");
    assert!(session.is_quiet(Duration::from_millis(200)));
    assert!(session.words().iter().any(|line| line.contains("dropped")), "it says so");
    assert_eq!(session.end(), 0);
    world.settle();
    world.assert_whole();
}

#[test]
fn a_flood_is_dropped_in_bounded_memory() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    assert_eq!(text(&session.call("flood", json!({}))), "flooded");
    let (shim, monitor) = (peak_mib(session.child.id()), peak_mib(world.monitor().unwrap()));
    assert!(shim < 96 && monitor < 128, "shim {shim} MiB, monitor {monitor} MiB");
    assert!(session.words().len() < 100, "complaints are thinned out");
    assert_eq!(session.end(), 0);
    world.settle();
    world.assert_whole();
}

#[test]
fn a_result_over_the_limit_is_an_error() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    let result = session.call("big", json!({}));
    assert_eq!(result["isError"], json!(true));
    assert!(text(&result).contains("too large"), "{}", text(&result));
    assert!(result["_meta"]["tipstaff/receipt"].is_string());
    let shim = peak_mib(session.child.id());
    assert!(shim < 96, "{shim} MiB");
    assert_eq!(text(&session.call("echo", json!({"text": "on"}))), "echo on");
    assert_eq!(session.end(), 0);
    world.settle();
    assert_eq!(last_outcome(&world), "ok");
    world.assert_whole();
}

#[test]
fn a_server_that_can_not_be_started_is_an_error() {
    let world = World::new();
    let mut session = world.wrap("fake", &["/nonexistent/server"], &[]);
    assert_eq!(session.code(), 3);
    let words = session.words().join("\n");
    assert!(words.contains("could not be started") && words.contains("next:"), "{words}");
    let mut session = world.wrap("fake", &["false"], &[]);
    assert_eq!(session.code(), 3);
}

#[test]
fn a_home_that_can_not_be_written_is_an_error() {
    if rustix_is_root() {
        println!("SKIPPED: the superuser writes everywhere; a file in the home's place stands in");
        let world = World::empty();
        fs::create_dir(world.work()).unwrap();
        fs::write(world.home(), "a file").unwrap();
        return refused(&world);
    }
    let world = World::new();
    let read_only = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(world.home(), fs::Permissions::from_mode(mode)).unwrap();
    };
    read_only(0o500);
    refused(&world);
    read_only(0o700);
}

fn refused(world: &World) {
    let mut session = world.notes();
    assert_eq!(session.code(), 3);
    let words = session.words().join("\n");
    assert!(words.contains("because:") && words.contains("next:"), "{words}");
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

#[test]
fn a_damaged_configuration_or_policy_set_is_an_error() {
    let world = World::new();
    fs::write(world.home().join("config.toml"), "rooots = []\n").unwrap();
    let mut session = world.notes();
    assert_eq!(session.code(), 3);
    let words = session.words().join("\n");
    assert!(words.contains("config.toml") && words.contains("line 1"), "{words}");
    world.config("");
    fs::write(
        world.home().join("policies/bad.cedar"),
        "permit (principal, action, resource) when { 1 };",
    )
    .unwrap();
    let mut session = world.notes();
    assert_eq!(session.code(), 3);
    let words = session.words().join("\n");
    assert!(words.contains("bad.cedar:1"), "{words}");
}

#[test]
fn a_removed_log_stops_the_node_and_nothing_runs() {
    let world = World::new();
    let mut session = world.notes();
    session.handshake();
    session.call("write_note", json!({"name": "a.md", "text": "x"}));
    fs::remove_dir_all(world.home().join("log")).unwrap();
    fs::remove_dir_all(world.home().join("wal")).unwrap();
    // The open files outlive their names until the monitor's next look, which stops it.
    let (first, until) = (world.monitor(), Instant::now() + Duration::from_secs(60));
    while first.is_some() && world.monitor() == first {
        assert!(Instant::now() < until, "the monitor goes on without its log");
        std::thread::sleep(Duration::from_millis(20));
    }
    let result = session.call("write_note", json!({"name": "b.md", "text": "x"}));
    assert_eq!(result["isError"], json!(true), "{result}");
    assert!(!world.work().join("b.md").exists(), "no receipt, no action");
    drop(session);
    let mut session = world.notes();
    assert_eq!(session.code(), 3, "{:?}", session.words());
    let verify = world.run(&["verify"]);
    assert_ne!(verify.code, 0, "{verify:?}");
}

#[test]
fn a_client_that_goes_away_at_once_ends_everything() {
    let world = World::new();
    let mut session = world.fake();
    session.handshake();
    session.post("tools/call", json!({"name": "hang", "arguments": {}}));
    let start = Instant::now();
    assert_eq!(session.end(), 0);
    assert!(start.elapsed() < Duration::from_secs(60));
    world.settle();
    let open: Vec<Value> =
        world.receipts().into_iter().filter(|r| r["receipt"]["kind"] == json!("session")).collect();
    assert_eq!(open.len(), 2, "opened and closed");
    world.assert_whole();
}
