//! `serve` end to end over HTTP: what passes, who may ask, what is refused, and what it leaves behind.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it speaks to sockets and processes"
)]

mod support;

use std::fs;
use std::io::{BufReader, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{Served, Talk, hello, names, notes, pair, read_answer};
use support::{kill, lives, text};

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
fn a_connection_whose_request_is_refused_unread_goes_on_or_says_that_it_ends() {
    let world = notes();
    let served = Served::start(&world);
    let head = |host: &str, more: &str, length: usize| {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAccept: application/json, text/event-stream\r\n\
             Content-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
        )
    };
    // The body comes after the head, as many clients send it, and the next request over the same connection.
    let mut stream = served.connect();
    stream.write_all(head("evil.example", "", hello().len()).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    stream.write_all(hello().as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let refused = read_answer(&mut reader);
    assert_eq!((refused.status, refused.header("connection")), (403, None), "{refused:?}");
    let host = format!("127.0.0.1:{}", served.port);
    stream.write_all((head(&host, "", hello().len()) + &hello()).as_bytes()).unwrap();
    assert_eq!(read_answer(&mut reader).status, 200);
    // What is long, or was not asked to come, is not waited for.
    for (more, length) in [("", 1 << 20), ("Expect: 100-continue\r\n", 10)] {
        let mut stream = served.connect();
        let began = Instant::now();
        stream.write_all(head("evil.example", more, length).as_bytes()).unwrap();
        let refused = read_answer(&mut BufReader::new(stream));
        let ends = refused.header("connection");
        assert_eq!((refused.status, ends.as_deref()), (403, Some("close")), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "before a body's time is over");
    }
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
    assert_eq!(unknown.json()["error"]["data"], json!({"uri": "gamma://one"}));

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
        assert!(since.elapsed() < Duration::from_secs(15), "{ended:?}");
        assert!(ended.json()["error"]["message"].to_string().contains("cancelled"));
    });
}

#[test]
fn it_takes_the_home_from_a_monitor_and_from_no_other_serve() {
    let world = notes();
    // A client that is a process of its own: what an agent started ends no monitor.
    let work = world.work();
    let command = [support::BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart("notes", &command);
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
    assert!(since.elapsed() < Duration::from_secs(25));
    drop(silent);
    kill(served.child.id(), "TERM");
}
