//! The servers behind `serve`: slow, dead, far away, with credentials, and ended with it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{FAR, POLICY, Served, Talk, hello, names, pair};
use support::{BINARY, World, kill, lives, text};

/// A home whose one server is another `serve`, over HTTP.
fn beyond(port: u16) -> World {
    let world = World::new();
    let policy = POLICY.replace("alpha", "far");
    fs::write(world.home().join("policies/far.cedar"), policy).unwrap();
    world.config(&format!("[servers.far]\nurl = \"http://127.0.0.1:{port}/mcp\""));
    world
}

#[test]
fn a_slow_server_keeps_only_its_own_callers_waiting() {
    let world = pair(", \"60\"", "");
    let served = Served::start(&world);
    let talk = served.open();
    let since = Instant::now();
    let listed = talk.result("tools/list", json!({}));
    let took = since.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(50), "{took:?}");
    assert_eq!(listed["_meta"]["tipstaff/missing"], json!(["alpha"]));
    assert!(names(&listed, "tools", "name").iter().all(|name| name.starts_with("beta__")));
    std::thread::scope(|scope| {
        let (served, id) = (&served, &talk.id);
        let slow = scope.spawn(move || {
            let talk = Talk { served, id: id.clone(), opened: Value::Null };
            talk.request(99, "tools/call", json!({"name": "beta__sleep", "arguments": {"s": 12}}))
        });
        std::thread::sleep(Duration::from_millis(300));
        let since = Instant::now();
        for n in 0..20 {
            let talk = Talk { served, id: id.clone(), opened: Value::Null };
            talk.call("beta__echo", json!({"text": n.to_string()}));
        }
        assert!(!slow.is_finished(), "{:?}", since.elapsed());
        // What takes long shows signs of life before the answer.
        let slow = slow.join().unwrap();
        assert_eq!(slow.header("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(text(&slow.json()["result"]), "slept");
    });
}

#[test]
fn a_dead_server_is_told_about_and_started_again() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    let first = text(&talk.call("alpha__pid", json!({})));
    let died = talk.call("alpha__die", json!({}));
    assert!(text(&died).contains("has ended"), "{died}");
    assert_eq!(text(&talk.call("beta__echo", json!({"text": "z"}))), "beta says z");
    let again = text(&talk.call("alpha__pid", json!({})));
    assert!(!again.is_empty() && again != first, "{again}");
    // One that dies again and again is not started each time.
    talk.call("alpha__die", json!({}));
    let refused = talk.call("alpha__pid", json!({}));
    assert!(text(&refused).contains("try again in"), "{refused}");
    drop(served);
    world.assert_whole();
}

#[test]
fn a_server_that_cannot_start_leaves_the_others() {
    let world = World::new();
    let work = world.work();
    world.config(&format!(
        "[servers.broken]\ncommand = [\"/nonexistent/server\"]\n\
         [servers.notes]\ncommand = [{BINARY:?}, \"notes\", {work:?}]"
    ));
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(names(&talk.result("tools/list", json!({})), "tools", "name").len(), 5);
    let refused = talk.call("broken__x", json!({}));
    assert_eq!(refused["isError"], json!(true), "{refused}");
    drop(served);
    // Alone, it is said at once.
    world.config("[servers.broken]\ncommand = [\"/nonexistent/server\"]");
    let served = Served::start(&world);
    let opened = served.mcp("POST", &[], &hello());
    let told = opened.json()["error"]["message"].to_string();
    assert!(told.contains("could not be started"), "{told}");
    assert!(opened.header("mcp-session-id").is_none());
    drop(served);
    world.config("");
    let served = Served::start(&world);
    let opened = served.mcp("POST", &[], &hello());
    assert!(opened.json()["error"]["message"].to_string().contains("config.toml"));
}

#[test]
fn credentials_reach_the_server_and_nothing_else() {
    let world = World::new();
    fs::write(world.at("far.py"), FAR).unwrap();
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    let script = world.at("far.py");
    let python = support::python();
    fs::create_dir(world.home().join("secrets")).unwrap();
    fs::write(world.home().join("secrets/alpha"), "s3cret-value\n").unwrap();
    let config = |setting: &str| {
        world.config(&format!(
            "[servers.alpha]\ncommand = [{python:?}, {script:?}, \"alpha\"]\nenv = {{ A_TOKEN = {setting:?} }}"
        ));
    };
    // In the open: refused, with the fix, and not repeated.
    config("s3cret-value");
    let ran = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("A_TOKEN") && ran.err.contains("file:"), "{ran:?}");
    assert!(!ran.err.contains("s3cret-value"), "{ran:?}");
    // A file that others can read: refused.
    config("file:alpha");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |mode| {
        let file = world.home().join("secrets/alpha");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let served = Served::start(&world);
    let opened = served.mcp("POST", &[], &hello());
    assert!(opened.json()["error"]["message"].to_string().contains("chmod 600"), "{opened:?}");
    mode(0o600);
    let talk = served.open();
    assert_eq!(text(&talk.call("env", json!({"name": "A_TOKEN"}))), "s3cret-value");
    assert_eq!(text(&talk.call("env", json!({"name": "TIPSTAFF_HOME"}))), "absent");
    drop(served);
    for file in ["monitor.log", "config.toml", "stderr/alpha.log"] {
        let kept = fs::read_to_string(world.home().join(file)).unwrap_or_default();
        assert!(!kept.contains("s3cret-value"), "{file}");
    }
}

#[test]
fn it_ends_in_order_and_leaves_no_server() {
    let world = pair("", "");
    let mut served = Served::start(&world);
    let pids: Vec<u32> = {
        let (one, two) = (served.open(), served.open());
        [(&one, "alpha__pid"), (&one, "beta__pid"), (&two, "alpha__pid"), (&two, "beta__pid")]
            .map(|(talk, tool)| text(&talk.call(tool, json!({}))).parse().unwrap())
            .to_vec()
    };
    assert!(pids.iter().all(|pid| lives(*pid)));
    assert_eq!(served.end(), 0);
    assert!(!pids.iter().any(|pid| lives(*pid)), "servers are ended with it");
    world.assert_whole();
    let receipts = world.receipts();
    let closed = receipts.iter().filter(|r| r["receipt"]["action"] == json!("session:close"));
    assert_eq!(closed.count(), 2, "each session was closed");
}

#[test]
fn a_server_over_http_is_like_any_other() {
    let inner = pair("", "");
    let mut far = Served::start(&inner);
    let world = beyond(far.port);
    let mut served = Served::start(&world);
    let talk = served.open();
    assert_eq!(talk.result("tools/list", json!({}))["tools"].as_array().unwrap().len(), 16);
    assert_eq!(text(&talk.call("alpha__echo", json!({"text": "x"}))), "alpha says x");
    let params = json!({"name": "alpha__progress", "arguments": {}, "_meta": {"progressToken": 9}});
    let messages = talk.request(1, "tools/call", params).messages();
    assert_eq!(messages.len(), 5, "{messages:?}");
    let mut listening = talk.listen(&[]);
    talk.call("beta__change", json!({}));
    assert_eq!(listening.next().unwrap()["method"], json!("notifications/tools/list_changed"));
    let receipts = world.receipts();
    let last = receipts.iter().rfind(|r| r["receipt"]["kind"] == json!("outcome")).unwrap();
    assert_eq!(last["receipt"]["outcome"]["status"], json!("ok"));

    // The far side goes while a call runs: nobody knows what became of it.
    std::thread::scope(|scope| {
        let (session, near) = (&talk.id, &served);
        let lost = scope.spawn(move || {
            let talk = Talk { served: near, id: session.clone(), opened: Value::Null };
            talk.call("alpha__sleep", json!({"s": 20}))
        });
        std::thread::sleep(Duration::from_millis(800));
        kill(far.child.id(), "KILL");
        far.child.wait().unwrap();
        let told = text(&lost.join().unwrap());
        assert!(told.contains("not known"), "{told}");
    });
    let params = json!({"name": "alpha__echo", "arguments": {}});
    let refused = talk.request(5, "tools/call", params).body;
    assert!(refused.contains("can't be reached"), "{refused}");
    assert_eq!(served.end(), 0);
    let ambiguous = |r: &&Value| r["receipt"]["outcome"]["status"] == json!("ambiguous");
    assert_eq!(world.receipts().iter().filter(ambiguous).count(), 1);
    world.assert_whole();
}

#[test]
fn a_far_session_that_was_lost_is_opened_again() {
    let inner = pair("", "");
    let far = Served::start(&inner);
    let world = beyond(far.port);
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(text(&talk.call("beta__echo", json!({"text": "1"}))), "beta says 1");
    let port = far.port;
    drop(far);
    let mut command = inner.command();
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    let mut again = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = talk.call("beta__echo", json!({"text": "2"}));
        if text(&answer) == "beta says 2" {
            break;
        }
        assert!(Instant::now() < until, "{answer}");
        std::thread::sleep(Duration::from_millis(300));
    }
    let _ = again.kill();
    again.wait().unwrap();
}

#[test]
fn a_server_that_stops_reading_holds_up_no_end() {
    let world = World::new();
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    // Answers the handshake and the list, then reads no more and ignores its end.
    let script = r#"trap '' TERM
while read -r line; do id=${line#*'"id":'}; id=${id%%,*}; case $line in
*'"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"a","version":"1"}}}';;
*'"tools/list"'*) id=${id%\}}; echo '{"jsonrpc":"2.0","id":'$id',"result":{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}}'; break;;
esac; done
sleep 300"#;
    world.config(&format!("[servers.alpha]\ncommand = [\"sh\", \"-c\", '''{script}''']"));
    let mut served = Served::start(&world);
    let talk = served.open();
    std::thread::scope(|scope| {
        for n in 0..3 {
            let (served, session) = (&served, &talk.id);
            scope.spawn(move || {
                let talk = Talk { served, id: session.clone(), opened: Value::Null };
                let arguments = json!({"text": "x".repeat(1 << 20)});
                let params = json!({"name": "echo", "arguments": arguments});
                let told = talk.request(100 + n, "tools/call", params);
                assert!(told.body.contains("has ended") || told.status == 0, "{told:?}");
            });
        }
        std::thread::sleep(Duration::from_millis(1500));
        let since = Instant::now();
        kill(served.child.id(), "TERM");
        while lives(served.child.id()) {
            assert!(since.elapsed() < Duration::from_secs(20), "it hangs");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    world.assert_whole();
}
