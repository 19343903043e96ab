//! Actions and their outcomes, before a script and before the monitor itself.

use tipstaff_core::Verdict;
use tipstaff_monitor::Refusal;

use super::super::desk::{Busy, Judged, Settled, Whose};
use super::super::session::Handle;
use super::*;

/// Judges as the tool's name says.
#[derive(Default)]
struct Script {
    sessions: Mutex<Vec<(Handle, Action)>>,
    settled: Mutex<Vec<Digest>>,
}

impl Desk for Arc<Script> {
    fn judge(&self, whose: &Whose, action: Action, _: &[Digest]) -> Result<Judged, Busy> {
        let Whose::Session(session) = whose else { return Err(Busy) };
        self.sessions.lock().unwrap().push((session.clone(), action.clone()));
        let receipt = Digest::of(action.tool().as_bytes());
        let rule = Some("rule".to_owned());
        let refusal = |verdict, receipt| {
            Judged::Refused(Refusal { verdict, receipt, rule: None, text: "why".to_owned() })
        };
        Ok(match action.tool() {
            "allow" => Judged::Permitted { verdict: Verdict::Allow, receipt, rule, action },
            "modify" => {
                let parameters = Json::parse(br#"{"b":1,"a":[1,0.5]}"#).unwrap();
                let action = action.with_parameters(parameters);
                Judged::Permitted { verdict: Verdict::Modify, receipt, rule, action }
            }
            "busy" => return Err(Busy),
            "lost" => refusal(None, None),
            _ => refusal(Some(Verdict::StepUp), Some(receipt)),
        })
    }

    fn settle(&self, receipt: Digest, _: Option<Credential>, _: Ended<'_>) -> Settled {
        let mut settled = self.settled.lock().unwrap();
        if receipt != Digest::of(b"allow") {
            return Settled::Unknown;
        }
        if settled.contains(&receipt) {
            return Settled::Before;
        }
        settled.push(receipt);
        Settled::Now
    }

    fn sweep(&self) {}
}

fn asking(tool: &str) -> String {
    format!(r#"{{"server":"s","tool":"{tool}","parameters":{{"x":1}}}}"#)
}

#[test]
fn actions_are_judged_and_their_answers_say_all() {
    let script = Arc::<Script>::default();
    let desk = Arc::clone(&script);
    let world = World::with(move |_| Box::new(desk));
    let reply = world.ask("POST", "/api/v1/actions", asking("allow"));
    assert_eq!(reply.status(), 200);
    let answer = read(&reply);
    let receipt = Digest::of(b"allow").to_hex();
    assert_eq!(header(&reply, "x-tipstaff-receipt"), receipt);
    assert!(header(&reply, "x-tipstaff-latency-ms").parse::<f64>().unwrap() >= 0.0);
    assert_eq!((&answer["verdict"], &answer["permitted"]), (&"ALLOW".into(), &true.into()));
    assert_eq!((&answer["receipt"], &answer["action"]), (&receipt.into(), &Value::Null));
    // The session that was given is taken again, and an invented one is not.
    let session = answer["session"].as_str().unwrap();
    let again = asking("deny").replace("\"x\":1}", &format!("\"x\":1}},\"session\":\"{session}\""));
    let reply = world.ask("POST", "/api/v1/actions", again.clone());
    let answer = read(&reply);
    assert_eq!((&answer["verdict"], &answer["permitted"]), (&"STEP_UP".into(), &false.into()));
    assert_eq!((&answer["text"], &answer["session"]), (&"why".into(), &session.into()));
    let invented = again.replace(session, &"A".repeat(43));
    assert_eq!(code(&world.ask("POST", "/api/v1/actions", invented)), "unknown_session");
    let asked = script.sessions.lock().unwrap();
    assert_eq!((asked.len(), &asked[0].0), (2, &asked[1].0));
    drop(asked);
    // What is to be done instead is told as it was judged.
    let reply = world.ask("POST", "/api/v1/actions", asking("modify"));
    assert!(String::from_utf8_lossy(reply.body()).contains(r#""parameters":{"a":[1,0.5],"b":1}"#));
    for (tool, status, expected) in [("busy", 429, "busy"), ("lost", 503, "not_recorded")] {
        let reply = world.ask("POST", "/api/v1/actions", asking(tool));
        assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (status, expected));
        assert!(header(&reply, "x-tipstaff-receipt").is_empty());
    }
    let level = world.get("/api/v1/trust/sla");
    assert_eq!(level["count"], 3);
    assert!(
        level["p99_ms"].as_f64() >= level["p50_ms"].as_f64()
            && level["p50_ms"].as_f64() > Some(0.0)
    );
    assert!(world.text("/metrics").contains("tipstaff_judging_seconds_bucket{le=\"+Inf\"} 3"));
}

#[test]
fn outcomes_are_taken_once() {
    let script = Arc::<Script>::default();
    let world = World::with(move |_| Box::new(script));
    let path = format!("/api/v1/actions/{}/outcome", Digest::of(b"allow").to_hex());
    for wrong in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"status":"done"}"#,
        r#"{"status":1}"#,
        r#"{"status":"ok","status":"ok"}"#,
        r#"{"status":"ok","bytes":-1}"#,
        r#"{"status":"ok","bytes":null}"#,
        r#"{"status":"ok","bytes":9007199254740992}"#,
        r#"{"status":"ok","bytes":1.5}"#,
        r#"{"status":"ok","more":1}"#,
        r#"{"status":"ok","result":"x","bytes":1}"#,
        r#"{"status":"ok","bytes":"1"}"#,
    ] {
        assert_eq!(world.ask("POST", &path, wrong).status(), 400, "{wrong}");
    }
    let reply = world.ask("POST", &path, r#"{"status":"ok","result":{"b":[1.5,null]}}"#);
    assert_eq!(reply.status(), 200);
    let reply = world.ask("POST", &path, r#"{"status":"error"}"#);
    assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (409, "already_settled"));
    let other = format!("/api/v1/actions/{}/outcome", "0".repeat(64));
    let reply = world.ask("POST", &other, r#"{"status":"ok"}"#);
    assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (404, "unknown_action"));
    for wrong in ["00", "x", &"A".repeat(64), &"0".repeat(65)] {
        let reply =
            world.ask("POST", &format!("/api/v1/actions/{wrong}/outcome"), r#"{"status":"ok"}"#);
        assert_eq!(code(&reply), "bad_receipt");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_no_action() {
    let script = Arc::<Script>::default();
    let desk = Arc::clone(&script);
    let world = World::with(move |_| Box::new(desk));
    let deep = format!(
        r#"{{"server":"s","tool":"t","parameters":{{"a":{}1{}}}}}"#,
        "[".repeat(70),
        "]".repeat(70)
    );
    for wrong in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"server":"s","tool":"t"}"#,
        r#"{"server":"s","parameters":{}}"#,
        r#"{"server":"s","tool":"t","parameters":[]}"#,
        r#"{"server":"s","tool":"t","parameters":null}"#,
        r#"{"server":"s","tool":"t","tool":"u","parameters":{}}"#,
        r#"{"server":"s","tool":"t","parameters":{"a":1,"a":2}}"#,
        r#"{"server":"s","tool":"t","parameters":{"a":9007199254740993}}"#,
        r#"{"server":"s","tool":"t","parameters":{"a":"\ud800"}}"#,
        r#"{"server":"s","tool":"t","parameters":{},"approved":true}"#,
        r#"{"server":"a/b","tool":"t","parameters":{}}"#,
        r#"{"server":"s","tool":"t\n","parameters":{}}"#,
        r#"{"server":"","tool":"t","parameters":{}}"#,
        r#"{"server":"s","tool":7,"parameters":{}}"#,
        r#"{"server":"s","tool":"t","parameters":{},"session":null}"#,
        &deep,
    ] {
        let reply = world.ask("POST", "/api/v1/actions", wrong);
        assert_eq!(reply.status(), 400, "{wrong}: {}", String::from_utf8_lossy(reply.body()));
        code(&reply);
    }
    assert!(script.sessions.lock().unwrap().is_empty());
}

#[test]
fn an_action_of_the_api_is_recorded_and_settled_in_the_log() {
    let world = World::new();
    let asked = |tool: &str, path: &str, session: Option<&str>| {
        let mut body = serde_json::json!({
            "server": "filesystem", "tool": tool, "parameters": {"path": path, "content": "x"},
        });
        if let Some(session) = session {
            body["session"] = session.into();
        }
        let reply = world.ask("POST", "/api/v1/actions", body.to_string());
        assert_eq!(reply.status(), 200, "{}", String::from_utf8_lossy(reply.body()));
        assert!(!header(&reply, "x-tipstaff-latency-ms").is_empty());
        read(&reply)
    };
    let inside = world.folder.path().join("work/a.txt").to_string_lossy().into_owned();
    let first = asked("write_file", &inside, None);
    assert_eq!((&first["verdict"], &first["permitted"]), (&"ALLOW".into(), &true.into()));
    let (receipt, session) =
        (first["receipt"].as_str().unwrap(), first["session"].as_str().unwrap());
    // Its receipt is durable and findable before anything was done, and says on whom it relies.
    let found = world.get(&format!("/api/v1/receipts/{receipt}"));
    assert_eq!(found["receipt"]["door"], "api");
    assert_eq!(found["receipt"]["enforcement"], "cooperative");
    let outcome = format!("/api/v1/actions/{receipt}/outcome");
    // What happened is never refused for its numbers.
    let settled = world.ask("POST", &outcome, r#"{"status":"ok","result":[1e400,"\ud800",1,1]}"#);
    assert_eq!(settled.status(), 200);
    assert_eq!(header(&settled, "x-tipstaff-receipt"), receipt);
    for _ in 0..2 {
        let again = world.ask("POST", &outcome, r#"{"status":"error"}"#);
        assert_eq!((again.status().as_u16(), code(&again).as_str()), (409, "already_settled"));
    }
    // What waits for a person is not permitted, and is the same call when it is repeated.
    let held = asked("write_file", "/etc/hosts", Some(session));
    assert_eq!((&held["verdict"], &held["permitted"]), (&"STEP_UP".into(), &false.into()));
    assert_eq!(asked("write_file", "/etc/hosts", Some(session))["receipt"], held["receipt"]);
    let unheld = format!("/api/v1/actions/{}/outcome", held["receipt"].as_str().unwrap());
    assert_eq!(code(&world.ask("POST", &unheld, r#"{"status":"ok"}"#)), "unknown_action");
    // Another session is another chain, and the home itself is nobody's to touch.
    let other = asked("read_file", &inside, None);
    let own = world.folder.path().join("home/config.toml").to_string_lossy().into_owned();
    let denied = asked("write_file", &own, Some(session));
    assert_eq!(denied["verdict"], "DENY");
    assert!(denied["text"].as_str().unwrap().contains("Tipstaff refused"));
    world.monitor.tick().unwrap();
    std::thread::sleep(PUBLISH_INTERVAL);
    let outcomes = world.get("/api/v1/receipts?kind=outcome");
    assert_eq!(outcomes["receipts"].as_array().unwrap().len(), 1);
    assert_eq!(outcomes["receipts"][0]["receipt"]["of"], receipt);
    assert_eq!(outcomes["receipts"][0]["receipt"]["outcome"]["status"], "ok");
    let chain = |receipt: &Value| {
        let found = world.get(&format!("/api/v1/receipts/{}", receipt.as_str().unwrap()));
        found["receipt"]["chain"].as_str().unwrap().to_owned()
    };
    assert_eq!(chain(&first["receipt"]), chain(&denied["receipt"]));
    assert_ne!(chain(&first["receipt"]), chain(&other["receipt"]));
    let page = world.text("/metrics");
    let line = "tipstaff_actions_total{door=\"api\",verdict=\"STEP_UP\"";
    assert!(page.contains(line), "{page}");
    assert_eq!(world.get("/api/v1/trust/sla")["count"], 5);
}

#[test]
fn what_stays_out_too_long_is_ambiguous_and_settled() {
    let world = World::new();
    let config = world.folder.path().join("home/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("call_timeout_s = 0\n{text}")).unwrap();
    world.monitor.tick().unwrap();
    let reply = world.ask("POST", "/api/v1/actions", asking("list_directory").replace("x", "path"));
    let answer = read(&reply);
    if answer["permitted"] != true {
        panic!("{answer}");
    }
    std::thread::sleep(Duration::from_millis(1100));
    let path = format!("/api/v1/actions/{}/outcome", answer["receipt"].as_str().unwrap());
    assert_eq!(code(&world.ask("POST", &path, r#"{"status":"ok"}"#)), "already_settled");
    world.monitor.tick().unwrap();
    world.monitor.publish().unwrap();
    let outcomes = world.get("/api/v1/receipts?kind=outcome");
    assert_eq!(outcomes["receipts"][0]["receipt"]["outcome"]["status"], "ambiguous");
}

#[test]
fn of_many_outcomes_at_once_one_is_taken() {
    let world = World::new();
    let answer = read(&world.ask("POST", "/api/v1/actions", asking("list_directory")));
    assert_eq!(answer["permitted"], true);
    let path = format!("/api/v1/actions/{}/outcome", answer["receipt"].as_str().unwrap());
    let taken: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = ["ok", "error", "ambiguous", "ok"]
            .map(|status| format!("{{\"status\":\"{status}\"}}"))
            .into_iter()
            .map(|body| scope.spawn(|| world.ask("POST", &path, body).status()))
            .collect();
        tries.into_iter().map(|t| usize::from(t.join().unwrap() == 200)).sum()
    });
    assert_eq!(taken, 1);
    world.monitor.tick().unwrap();
    world.monitor.publish().unwrap();
    let outcomes = world.get("/api/v1/receipts?kind=outcome");
    assert_eq!(outcomes["receipts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_client_that_never_names_its_session_is_served_on() {
    let world = World::new();
    let first = read(&world.ask("POST", "/api/v1/actions", asking("list_directory")));
    for _ in 0..300 {
        let reply = world.ask("POST", "/api/v1/actions", asking("unheard_of"));
        assert_eq!(reply.status(), 200);
    }
    // Doors without open actions make room; the one with an open action is still there.
    let path = format!("/api/v1/actions/{}/outcome", first["receipt"].as_str().unwrap());
    assert_eq!(world.ask("POST", &path, r#"{"status":"ok"}"#).status(), 200);
    world.monitor.tick().unwrap();
    world.monitor.publish().unwrap();
    let outcomes = world.get("/api/v1/receipts?kind=outcome");
    assert_eq!(outcomes["receipts"][0]["receipt"]["outcome"]["status"], "ok");
}

#[test]
fn the_homes_token_presents_no_capability() {
    let world = World::new();
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str()), ("tipstaff-capability", "abcd")];
    let asked = r#"{"server":"notes","tool":"list_notes","parameters":{}}"#;
    let reply = world.send("POST", "/api/v1/actions", &headers, asked);
    assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (403, "capability_unsigned"));
}
