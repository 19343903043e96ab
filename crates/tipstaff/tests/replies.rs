//! What the replies of `/mcp` say in their head: which verdict they rest on, and in which form they come.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{Answer, Served, notes, pair};
use support::text;

/// What an answer's header says of the verdict: its receipt, and how many milliseconds judging took.
fn judged(answer: &Answer) -> Option<(String, f64)> {
    let receipt = answer.header("x-tipstaff-receipt");
    let latency = answer.header("x-tipstaff-latency-ms");
    assert_eq!(receipt.is_some(), latency.is_some(), "{answer:?}");
    let (receipt, latency) = receipt.zip(latency)?;
    assert_eq!(latency.split_once('.').unwrap().1.len(), 3, "{latency}");
    Some((receipt, latency.parse().unwrap()))
}

#[test]
fn every_judged_reply_names_its_receipt_and_how_long_judging_took() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    let named = |answer: &Answer| answer.json()["result"]["_meta"]["tipstaff/receipt"].clone();
    let call = |id: u64, tool: &str, arguments: Value| {
        let token = format!("t{id}");
        let meta = json!({"progressToken": token});
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        talk.request(id, "tools/call", params)
    };
    let echoed = call(1, "alpha__echo", json!({"text": "x"}));
    let (receipt, latency) = judged(&echoed).unwrap();
    assert_eq!(json!(receipt), named(&echoed));
    assert!(latency >= 0.0);
    // The server's time is not in it.
    let (_, latency) = judged(&call(2, "beta__sleep", json!({"s": 1.5}))).unwrap();
    assert!(latency < 1400.0, "{latency}");
    // As events, too.
    let events = call(3, "alpha__progress", json!({}));
    assert_eq!(events.header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(json!(judged(&events).unwrap().0), named(&events));
    // Other actions are judged, and what isn't judged has no receipt.
    let got = talk.request(4, "prompts/get", json!({"name": "beta__greet"}));
    let read = talk.request(5, "resources/read", json!({"uri": "beta://one"}));
    let receipts = world.receipts();
    for answer in [&got, &read] {
        let (receipt, _) = judged(answer).unwrap();
        assert!(receipts.iter().any(|r| r["hash"] == json!(receipt)), "{answer:?}");
    }
    for (id, method) in [(6, "ping"), (7, "tools/list"), (8, "prompts/list"), (9, "nothing")] {
        assert_eq!(judged(&talk.request(id, method, json!({}))), None, "{method}");
    }
    let unknown = talk.request(10, "tools/call", json!({"name": "gamma__echo"}));
    assert_eq!(judged(&unknown), None, "{unknown:?}");
}

#[test]
fn a_refused_reply_names_its_receipt_and_a_held_one_has_it_in_the_result() {
    let world = notes();
    fs::write(world.work().join("a.md"), "keep").unwrap();
    let mut served = Served::start(&world);
    let talk = served.open();
    let delete = json!({"name": "delete_note", "arguments": {"name": "a.md"},
                        "_meta": {"progressToken": "t"}});
    let refused = talk.request(1, "tools/call", delete.clone());
    let meta = &refused.json()["result"]["_meta"];
    assert_eq!(meta["tipstaff/verdict"], json!("STEP_UP"));
    assert_eq!(json!(judged(&refused).unwrap().0), meta["tipstaff/receipt"]);
    assert_eq!(talk.send("DELETE", &[], "").status, 204);
    assert_eq!(served.end(), 0);

    // Held: the head is out before anybody has answered, so the receipt is in the result alone.
    let config = fs::read_to_string(world.home().join("config.toml")).unwrap();
    let config = config.replace("approval_wait_s = 0", "approval_wait_s = 60");
    fs::write(world.home().join("config.toml"), config).unwrap();
    let served = Served::start(&world);
    let talk = served.open();
    let held = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| talk.request(2, "tools/call", delete));
        let until = Instant::now() + Duration::from_secs(60);
        let name = loop {
            let queue = world.run(&["--json", "queue"]).json();
            if let Some(of) = queue[0]["of"].as_str() {
                break of.chars().take(8).collect::<String>();
            }
            assert!(Instant::now() < until, "nothing waits");
            std::thread::sleep(Duration::from_millis(20));
        };
        // The client is told at once that it waits; then the head is out.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(world.run(&["approve", &name]).code, 0);
        waiting.join().unwrap()
    });
    assert_eq!(held.messages()[0]["method"], json!("notifications/progress"), "{held:?}");
    assert_eq!(judged(&held), None, "{held:?}");
    let receipt = held.json()["result"]["_meta"]["tipstaff/receipt"].clone();
    assert_eq!(receipt.as_str().unwrap().len(), 64, "{held:?}");
    assert!(!world.work().join("a.md").exists());
}

#[test]
fn a_client_that_likes_events_better_is_answered_by_events() {
    let world = pair("", "");
    let served = Served::start(&world);
    let talk = served.open();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "alpha__echo", "arguments": {"text": "x"}}});
    let send = |accept: &str| talk.send("POST", &[("Accept", accept)], &body.to_string());
    let events = send("text/event-stream, application/json");
    assert_eq!(events.header("content-type").as_deref(), Some("text/event-stream"));
    assert!(events.body.starts_with("id: "), "{events:?}");
    assert_eq!(events.messages().len(), 1, "{events:?}");
    assert_eq!(text(&events.json()["result"]), "alpha says x");
    assert!(judged(&events).is_some(), "{events:?}");
    // So is what the gateway answers by itself.
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
    let first = [("Accept", "text/event-stream;q=0.9, application/json;q=0.8")];
    let listed = talk.send("POST", &first, &list);
    assert_eq!(listed.header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(listed.messages().len(), 1, "{listed:?}");
    assert_eq!(listed.json()["result"]["tools"].as_array().unwrap().len(), 16);
    for accept in ["application/json, text/event-stream", "*/*"] {
        let plain = send(accept);
        assert_eq!(plain.header("content-type").as_deref(), Some("application/json"), "{accept}");
    }
}
