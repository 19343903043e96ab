//! `serve` end to end over HTTP: what passes, who may ask, what is refused, and what it leaves behind.

#![expect(clippy::disallowed_methods, reason = "a test speaks to sockets and processes")]

mod support;

use std::fs;
use std::io::{BufReader, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{Served, Talk, hello, read_answer};
use support::{BINARY, World, kill, lives, text};

const FAR: &str = include_str!("support/far.py");
/// Lets the servers of these tests do everything, and one tool nothing.
const POLICY: &str = r#"@id("far-may")
@rank("1")
permit (principal, action, resource) when { resource in Server::"alpha" || resource in Server::"beta" };
"#;

/// A home with the notes server behind it.
fn notes() -> World {
    let world = World::new();
    let work = world.work();
    world.config(&format!("[servers.notes]\ncommand = [{BINARY:?}, \"notes\", {work:?}]"));
    world
}

/// A home with two servers, each with its arguments.
fn pair(alpha: &str, beta: &str) -> World {
    let world = World::new();
    fs::write(world.at("far.py"), FAR).unwrap();
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    let script = world.at("far.py");
    let server = |name: &str, more: &str| {
        let python = support::python();
        format!("[servers.{name}]\ncommand = [{python:?}, {script:?}, {name:?}{more}]\n")
    };
    world.config(&format!("{}{}", server("alpha", alpha), server("beta", beta)));
    world
}

fn names(list: &Value, key: &str, of: &str) -> Vec<String> {
    list[key].as_array().unwrap().iter().map(|e| e[of].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_session_from_hello_to_farewell() {
    let world = notes();
    let mut served = Served::start(&world);
    let talk = served.open();
    assert_eq!(talk.opened["serverInfo"]["name"], json!("tipstaff-notes"));
    assert_eq!(talk.opened["protocolVersion"], json!("2025-11-25"));
    assert!(talk.id.len() >= 32);
    assert_eq!(talk.result("tools/list", json!({}))["tools"].as_array().unwrap().len(), 5);
    let wrote = talk.call("write_note", json!({"name": "a.md", "text": "one"}));
    assert_ne!(wrote["isError"], json!(true), "{wrote}");
    assert_eq!(wrote["_meta"]["tipstaff/receipt"].as_str().unwrap().len(), 64);
    assert_eq!(text(&talk.call("read_note", json!({"name": "a.md"}))), "one");
    // A refusal comes as it does over standard streams.
    let refused = talk.call("delete_note", json!({"name": "a.md"}));
    assert_eq!((&refused["isError"], world.work().join("a.md").exists()), (&json!(true), true));
    assert_eq!(refused["_meta"]["tipstaff/verdict"], json!("STEP_UP"));

    assert_eq!(talk.send("DELETE", &[], "").status, 204);
    assert_eq!(talk.request(1, "ping", json!({})).status, 404);
    assert_eq!(talk.send("DELETE", &[], "").status, 404);
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let of_door = |r: &&Value| r["receipt"]["door"] == json!("mcp-http");
    assert!(receipts.iter().filter(of_door).count() >= 6, "{receipts:?}");
    world.assert_whole();
}

#[test]
fn who_may_not_ask_is_told_so_and_nothing_happens() {
    let world = notes();
    let served = Served::start(&world);
    let port = served.port.to_string();
    let open = |more: &[(&str, &str)]| served.mcp("POST", more, &hello()).status;
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80"] {
        assert_eq!(open(&[("Host", host)]), 403, "{host}");
    }
    assert_eq!(open(&[("Host", &format!("evil.example:{port}"))]), 403);
    for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
        assert_eq!(open(&[("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(open(&[("Origin", "http://localhost:6274")]), 200);
    // A wrong token is not made good by the right user.
    for wrong in ["Bearer 0000", "Bearer ", "Basic abc", "x"] {
        assert_eq!(open(&[("Authorization", wrong)]), 401, "{wrong}");
    }
    let token = fs::read_to_string(world.home().join("keys/http.token")).unwrap();
    let bearer = format!("Bearer {token}");
    assert_eq!(open(&[("Authorization", &bearer)]), 200);

    // A session stays with the credential that opened it, and its id alone opens nothing.
    let talk = served.open();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    assert_eq!(talk.send("POST", &[], &ping).status, 200);
    assert_eq!(talk.send("POST", &[("Authorization", &bearer)], &ping).status, 404);
    assert_eq!(talk.send("DELETE", &[("Authorization", &bearer)], "").status, 404);
    for id in ["", "x", &"0".repeat(64), "../../etc"] {
        let sent = served.mcp("POST", &[("Mcp-Session-Id", id)], &ping);
        assert!(matches!(sent.status, 400 | 404), "{id}: {sent:?}");
    }
    assert_eq!(served.mcp("POST", &[], &ping).status, 400);
    let twice = [("Mcp-Session-Id", talk.id.as_str()), ("Mcp-Session-Id", "x")];
    assert_eq!(served.mcp("POST", &twice, &ping).status, 400);
    assert_eq!(talk.send("POST", &[("MCP-Protocol-Version", "1999-01-01")], &ping).status, 400);
    // What the home knows of the token is in no log.
    let log = fs::read_to_string(world.home().join("monitor.log")).unwrap_or_default();
    assert!(!log.contains(token.trim()));
}

#[test]
fn another_user_is_nobody() {
    if !rustix_is_root() {
        return;
    }
    let world = notes();
    let served = Served::start(&world);
    let body = hello();
    let script = format!(
        "import encodings.idna, os, socket\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n\
         s = socket.create_connection(('127.0.0.1', {0}))\nbody = {body:?}\n\
         s.sendall(('POST /mcp HTTP/1.1\\r\\nHost: 127.0.0.1:{0}\\r\\nAccept: */*\\r\\nConnection: close\\r\\n'\
         'Content-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body).encode())\n\
         print(s.recv(65536).decode())\n",
        served.port
    );
    let ran = std::process::Command::new(support::python()).args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(said.starts_with("HTTP/1.1 401"), "{said} {}", String::from_utf8_lossy(&ran.stderr));
}

fn rustix_is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

#[test]
fn what_is_malformed_is_refused_and_never_forwarded() {
    let world = notes();
    fs::write(world.work().join("a.md"), "keep").unwrap();
    let served = Served::start(&world);
    let talk = served.open();
    let call = |arguments: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{arguments}}}"#)
    };
    let write = call(r#"{"name":"write_note","arguments":{"name":"b.md","text":"x"}}"#);
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("null", 400),
        ("\u{0}", 400),
        (&format!("[{write}]"), 400),
        (&format!("{write}{write}"), 400),
        (&write.replace("\"id\":5,", ""), 400),
        (&write.replace("\"id\":5", "\"id\":5,\"id\":6"), 400),
        (&write.replace("\"id\":5", "\"id\":null"), 400),
        (&write.replace("2.0", "1.0"), 400),
        (&write.replace("\"text\"", "\"name\""), 400),
    ] {
        let sent = talk.send("POST", &[], body);
        assert_eq!(sent.status, status, "{body}: {sent:?}");
        assert!(sent.json()["error"]["message"].is_string(), "{sent:?}");
    }
    assert!(!world.work().join("b.md").exists());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(talk.send("POST", &[("Content-Type", "text/plain")], ping).status, 415);
    assert_eq!(talk.send("POST", &[("Accept", "application/json")], ping).status, 406);
    assert_eq!(talk.send("POST", &[("Accept", "*/*")], ping).status, 200);
    assert_eq!(talk.send("GET", &[("Accept", "application/json")], "").status, 406);
    assert_eq!(talk.send("PUT", &[], ping).status, 405);
    assert_eq!(talk.send("POST", &[], &hello()).status, 400, "a session is opened once");
    assert_eq!(served.raw("GET /other", &[("Host", &host(&served))], b"").status, 404);

    // Sizes: a body that says too much of itself, one that is too large, and a header without an end.
    let large = call(&format!(r#"{{"name":"write_note","text":"{}"}}"#, "x".repeat(5 << 20)));
    assert_eq!(talk.send("POST", &[], &large).status, 413);
    let mut stream = served.connect();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999999999\r\n\r\n",
        host(&served)
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(stream)).status, 413);
    let mut stream = served.connect();
    let head =
        format!("GET /mcp HTTP/1.1\r\nHost: {}\r\nX: {}", host(&served), "x".repeat(1 << 20));
    let _ = stream.write_all(head.as_bytes());
    assert!(matches!(read_answer(&mut BufReader::new(stream)).status, 400 | 431 | 0));
    assert_eq!(talk.send("POST", &[], ping).status, 200, "it goes on");
    assert!(support::peak_mib(served.child.id()) < 128);
}

fn host(served: &Served) -> String {
    format!("127.0.0.1:{}", served.port)
}

#[test]
fn two_servers_are_one_and_their_names_stay_apart() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(talk.opened["serverInfo"]["name"], json!("tipstaff"));
    let instructions = talk.opened["instructions"].as_str().unwrap();
    assert!(instructions.contains("alpha: Use alpha.") && instructions.contains("Use beta."));
    for capability in ["tools", "prompts", "resources", "logging", "completions"] {
        assert!(talk.opened["capabilities"][capability].is_object(), "{capability}");
    }
    let tools = names(&talk.result("tools/list", json!({})), "tools", "name");
    assert_eq!(tools.len(), 16, "both pages of both: {tools:?}");
    assert!(
        tools.contains(&"alpha__echo".to_owned()) && tools.contains(&"beta__change".to_owned())
    );
    assert_eq!(text(&talk.call("alpha__echo", json!({"text": "x"}))), "alpha says x");
    assert_eq!(text(&talk.call("beta__echo", json!({"text": "y"}))), "beta says y");
    for name in ["echo", "gamma__echo", "alpha_echo", "__echo", ""] {
        let answer = talk.request(3, "tools/call", json!({"name": name, "arguments": {}}));
        assert!(answer.json()["error"].is_object(), "{name}: {answer:?}");
    }
    assert_eq!(
        names(&talk.result("prompts/list", json!({})), "prompts", "name"),
        ["alpha__greet", "beta__greet"]
    );
    let got = talk.result("prompts/get", json!({"name": "beta__greet"}));
    assert_eq!(got["messages"][0]["content"]["text"], json!("betagreet"));

    // Resources keep their addresses; what both list is the first one's. A fresh client need not list.
    let read = |uri: &str| {
        talk.result("resources/read", json!({"uri": uri}))["contents"][0]["text"].clone()
    };
    assert_eq!(read("beta://one"), json!("beta has beta://one"));
    assert_eq!(read("shared://one"), json!("alpha has shared://one"));
    assert_eq!(read("beta://item/7"), json!("beta has beta://item/7"));
    let listed = names(&talk.result("resources/list", json!({})), "resources", "uri");
    assert_eq!(listed, ["alpha://one", "shared://one", "beta://one"]);
    let unknown = talk.request(4, "resources/read", json!({"uri": "gamma://one"}));
    assert_eq!(unknown.json()["error"]["code"], json!(-32002));

    let complete = |of: Value| {
        let argument = json!({"name": "a", "value": "b"});
        let params = json!({"ref": of, "argument": argument});
        talk.result("completion/complete", params)["completion"]["values"][0].clone()
    };
    let of_prompt = complete(json!({"type": "ref/prompt", "name": "beta__greet"}));
    assert_eq!(of_prompt, json!("beta{\"name\": \"greet\", \"type\": \"ref/prompt\"}"));
    let template = complete(json!({"type": "ref/resource", "uri": "alpha://item/{id}"}));
    assert!(template.as_str().unwrap().starts_with("alpha{"), "{template}");
    assert_eq!(talk.result("logging/setLevel", json!({"level": "info"})), json!({}));
    assert_eq!(talk.result("ping", json!({})), json!({}));

    // Receipts name the server and the tool, not the prefixed name.
    let receipts = world.receipts();
    let all = serde_json::to_string(&receipts).unwrap();
    assert!(!all.contains("alpha__"), "a receipt names the server's own tool");
}

#[test]
fn what_belongs_to_a_call_comes_before_its_answer() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    let params =
        json!({"name": "alpha__progress", "arguments": {}, "_meta": {"progressToken": "t1"}});
    let answer = talk.request(1, "tools/call", params);
    assert_eq!(answer.header("content-type").as_deref(), Some("text/event-stream"));
    assert!(answer.body.starts_with("id: "), "the first event primes: {}", answer.body);
    let messages = answer.messages();
    let methods: Vec<_> = messages.iter().map(|m| m["method"].as_str().unwrap_or("-")).collect();
    let progress = "notifications/progress";
    assert_eq!(methods, [progress, progress, progress, "notifications/message", "-"]);
    assert_eq!(messages[0]["params"]["progressToken"], json!("t1"));
    // A call without any is plain JSON.
    let plain = talk.request(2, "tools/call", json!({"name": "beta__pid", "arguments": {}}));
    assert_eq!(plain.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(plain.header("content-length").unwrap(), plain.body.len().to_string());
}

#[test]
fn two_servers_ask_with_one_id_and_each_gets_its_answer() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for (id, server) in [(11, "alpha"), (12, "beta")] {
            let (served, session) = (&served, &talk.id);
            let port = served.port;
            waiting.push(scope.spawn(move || {
                let talk = Talk { served, id: session.clone(), opened: Value::Null };
                let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                    "params": {"name": format!("{server}__ask"), "arguments": {}}});
                let body = body.to_string();
                let mut stream = served.connect();
                let head = format!(
                    "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
                     Accept: */*\r\nMcp-Session-Id: {session}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                let mut listening = support::http::Listening::new(stream);
                let asked = listening.next().unwrap();
                assert_eq!(asked["method"], json!("sampling/createMessage"), "{asked}");
                // Both are in flight before either is answered.
                std::thread::sleep(Duration::from_millis(500));
                let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result":
                    {"role": "assistant", "model": server, "content": {"type": "text", "text": ""}}});
                assert_eq!(talk.post(&reply).status, 202);
                // Once more: nobody asked that any more.
                assert_eq!(talk.post(&reply).status, 202);
                let answer = listening.next().unwrap();
                assert!(text(&answer["result"]).contains(server), "{answer}");
                asked["id"].clone()
            }));
        }
        let ids: Vec<Value> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_ne!(ids[0], ids[1], "the client sees two ids");
    });
}

#[test]
fn what_belongs_to_no_call_comes_where_the_client_listens() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    let mut first = talk.listen(&[]);
    let mut second = talk.listen(&[]);
    talk.call("alpha__change", json!({}));
    let told = second.next().unwrap();
    assert_eq!(told["method"], json!("notifications/tools/list_changed"));
    assert_eq!(second.next().unwrap()["params"]["uri"], json!("alpha://one"));
    // Each message went on one stream only. A stream that broke is taken up where it was.
    let last = second.last.clone().unwrap();
    drop(second);
    talk.call("beta__change", json!({}));
    assert_eq!(first.next().unwrap()["method"], json!("notifications/tools/list_changed"));
    let (stream, _) = last.split_once('-').unwrap();
    let mut again = talk.listen(&[("Last-Event-ID", &format!("{stream}-0"))]);
    assert_eq!(again.next().unwrap()["method"], json!("notifications/tools/list_changed"));
    assert_eq!(again.next().unwrap()["params"]["uri"], json!("alpha://one"));
    for wrong in ["999-0", "x", "0-99"] {
        assert_eq!(talk.send("GET", &[("Last-Event-ID", wrong)], "").status, 404, "{wrong}");
    }
    let other = served.open();
    assert_eq!(other.send("GET", &[("Last-Event-ID", &last)], "").status, 404, "another's stream");
    // DELETE ends the streams.
    assert_eq!(talk.send("DELETE", &[], "").status, 204);
    while first.next().is_some() {}
    assert!(again.next().is_none());
}

#[test]
fn a_slow_server_keeps_only_its_own_callers_waiting() {
    let world = pair(", \"60\"", "");
    let served = Served::start(&world);
    let talk = served.open();
    let since = Instant::now();
    let listed = talk.result("tools/list", json!({}));
    let took = since.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(9), "{took:?}");
    assert_eq!(listed["_meta"]["tipstaff/missing"], json!(["alpha"]));
    assert!(names(&listed, "tools", "name").iter().all(|name| name.starts_with("beta__")));
    std::thread::scope(|scope| {
        let (served, id) = (&served, &talk.id);
        let slow = scope.spawn(move || {
            let talk = Talk { served, id: id.clone(), opened: Value::Null };
            talk.request(99, "tools/call", json!({"name": "beta__sleep", "arguments": {"s": 3}}))
        });
        std::thread::sleep(Duration::from_millis(300));
        let since = Instant::now();
        for n in 0..20 {
            let talk = Talk { served, id: id.clone(), opened: Value::Null };
            talk.call("beta__echo", json!({"text": n.to_string()}));
        }
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        assert_eq!(slow.join().unwrap().status, 200);
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
fn a_cancelled_call_ends_and_its_id_is_not_taken_for_another() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    std::thread::scope(|scope| {
        let (served, id) = (&served, &talk.id);
        let slow = scope.spawn(move || {
            let talk = Talk { served, id: id.clone(), opened: Value::Null };
            talk.request(50, "tools/call", json!({"name": "alpha__sleep", "arguments": {"s": 20}}))
        });
        std::thread::sleep(Duration::from_millis(700));
        let again = talk.request(50, "tools/call", json!({"name": "beta__pid", "arguments": {}}));
        assert_eq!(again.status, 400, "an id in flight is not used twice: {again:?}");
        let since = Instant::now();
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": 50, "reason": "test"}});
        assert_eq!(talk.post(&cancel).status, 202);
        let ended = slow.join().unwrap();
        assert!(since.elapsed() < Duration::from_secs(3), "{ended:?}");
        assert!(ended.json()["error"]["message"].to_string().contains("cancelled"));
    });
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
fn it_takes_the_home_from_a_monitor_and_from_no_other_serve() {
    let world = notes();
    let mut session = world.notes();
    session.handshake();
    assert_ne!(session.call("list_notes", json!({}))["isError"], json!(true));
    let before = world.monitor().unwrap();
    let mut served = Served::start(&world);
    assert!(!lives(before), "the monitor made way");
    // The door that was there goes on, with the new one.
    assert_ne!(session.call("list_notes", json!({}))["isError"], json!(true));
    assert_eq!(world.monitor(), None);
    let second = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((second.code, second.out.as_str()), (3, ""), "{second:?}");
    assert!(second.err.contains("served already"), "{second:?}");
    assert_eq!(session.end(), 0);
    // Nobody needs it, and it stays.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(lives(served.child.id()));
    assert_eq!(served.end(), 0);
    world.assert_whole();
}

#[test]
fn only_loopback_is_listened_on() {
    let world = notes();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "localhost:0", "127.0.0.1"] {
        let ran = world.run(&["serve", "--listen", address]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{address}: {ran:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = world.run(&["serve", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(ran.code, 3, "{ran:?}");
}

#[test]
fn whoever_sends_nothing_is_not_waited_for() {
    let world = notes();
    let served = Served::start(&world);
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut stream = served.connect();
        if n % 2 == 0 {
            let _ = stream.write_all(b"POST /mcp HTTP/1.1\r\nHo");
        }
        silent.push(stream);
    }
    let since = Instant::now();
    let talk = served.open();
    assert_ne!(talk.call("list_notes", json!({}))["isError"], json!(true));
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(silent);
    kill(served.child.id(), "TERM");
}

/// A home whose one server is another `serve`, over HTTP.
fn beyond(port: u16) -> World {
    let world = World::new();
    let policy = POLICY.replace("alpha", "far");
    fs::write(world.home().join("policies/far.cedar"), policy).unwrap();
    world.config(&format!("[servers.far]\nurl = \"http://127.0.0.1:{port}/mcp\""));
    world
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
    let refused = text(&talk.call("alpha__echo", json!({})));
    assert!(refused.contains("can't be reached") || refused.contains("not running"), "{refused}");
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
    let until = Instant::now() + Duration::from_secs(20);
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
