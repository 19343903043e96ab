//! `/mcp` for principals that sign their requests, by a client that knows the standard and nothing of us. The
//! adversary repeats a request, moves its signature, or leaves out of it what it changes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test; the lints know only `#[test]`")]

mod support;
use std::cell::Cell;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::http::{Answer, Served, hello};
use support::{BINARY, World};
use tipstaff_core::Digest;
use tipstaff_core::key::SigningKey;

struct Signer<'a> {
    served: &'a Served,
    key: SigningKey,
    count: Cell<u64>,
}

/// What is done to a request after, or instead of, signing it well.
#[derive(Default)]
struct Changed<'a> {
    covered: Option<&'a [&'a str]>,
    created: Option<u64>,
    nonce: Option<&'a str>,
    body: Option<&'a str>,
    session: Option<&'a str>,
    path: Option<&'a str>,
}

impl Signer<'_> {
    fn post(&self, session: Option<&str>, body: &Value, changed: &Changed<'_>) -> Answer {
        let body = body.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.count.set(self.count.get() + 1);
        let own = format!("n-{}", self.count.get());
        let nonce = changed.nonce.unwrap_or(&own);
        let created = changed.created.unwrap_or(now);
        let host = format!("127.0.0.1:{}", self.served.port);
        let sent = changed.body.unwrap_or(&body);
        let digest =
            format!("sha-256=:{}:", STANDARD.encode(Digest::of(body.as_bytes()).as_bytes()));
        let mut all = vec!["@method", "@authority", "@path", "content-digest"];
        if session.is_some() {
            all.push("mcp-session-id");
        }
        let covered = changed.covered.unwrap_or(&all);
        let list: Vec<String> = covered.iter().map(|part| format!("\"{part}\"")).collect();
        let params = format!(
            "({});created={created};keyid=\"{}\";alg=\"ed25519\";nonce=\"{nonce}\"",
            list.join(" "),
            self.key.verifying_key().key_id()
        );
        let mut base = String::new();
        for part in covered {
            let value = match *part {
                "@method" => "POST",
                "@authority" => &host,
                "@path" => changed.path.unwrap_or("/mcp"),
                "content-digest" => &digest,
                "mcp-session-id" => session.unwrap(),
                other => panic!("{other}"),
            };
            base.push_str(&format!("\"{part}\": {value}\n"));
        }
        base.push_str(&format!("\"@signature-params\": {params}"));
        let signature = STANDARD.encode(self.key.sign(base.as_bytes()).as_bytes());
        let (input, signature) = (format!("sig={params}"), format!("sig=:{signature}:"));
        let mut headers = vec![
            ("Content-Digest", digest.as_str()),
            ("Signature-Input", input.as_str()),
            ("Signature", signature.as_str()),
        ];
        if let Some(session) = changed.session.or(session) {
            headers.push(("Mcp-Session-Id", session));
        }
        if let Some(path) = changed.path {
            headers.extend([("Host", host.as_str()), ("Content-Type", "application/json")]);
            return self.served.raw(&format!("POST {path}"), &headers, sent.as_bytes());
        }
        self.served.mcp("POST", &headers, sent)
    }

    fn open(&self) -> String {
        let hello: Value = serde_json::from_str(&hello()).unwrap();
        let opened = self.post(None, &hello, &Changed::default());
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = opened.header("mcp-session-id").unwrap();
        let line = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.post(Some(&session), &line, &Changed::default()).status, 202);
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        assert_eq!(self.post(Some(&session), &list, &Changed::default()).status, 200);
        session
    }
}

fn read() -> Value {
    json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
            "params": { "name": "read_note", "arguments": { "name": "a.md" } } })
}

fn world() -> (World, SigningKey) {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    let work = world.work();
    world.config(&format!(
        "[servers.notes]\ncommand = [{BINARY:?}, \"notes\", {:?}]",
        work.to_str().unwrap()
    ));
    let key = |name: &str| {
        let file = work.join(name);
        let made = world.run(&["principal", "key", file.to_str().unwrap()]);
        (tipstaff_identity::key_at(&file).unwrap(), made.out.trim().to_owned())
    };
    let ((_, ada), (coder, did)) = (key("ada.key"), key("coder.key"));
    world.order(&["enrol", "ada", "--kind", "human", "--key", &ada]);
    let rest = ["--kind", "agent", "--owner", "ada", "--role", "reader", "--key", &did];
    world.order(&[&["enrol", "coder"][..], &rest].concat());
    world.settle();
    (world, coder)
}

#[test]
fn a_signed_request_is_its_principals_and_ends_with_it() {
    let (world, key) = world();
    let mut served = Served::start(&world);
    let signer = Signer { served: &served, key, count: Cell::new(0) };
    let session = signer.open();
    let done = signer.post(Some(&session), &read(), &Changed::default());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    world.order(&["suspend", "coder"]);
    let no = signer.post(Some(&session), &read(), &Changed::default());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("suspended"), "{no:?}");
    world.order(&["restore", "coder"]);
    let done = signer.post(Some(&session), &read(), &Changed::default());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let verdicts = receipts.iter().filter(|line| line["receipt"]["kind"] == "verdict");
    let identities: Vec<&Value> = verdicts.map(|line| &line["receipt"]["identity"]).collect();
    assert_eq!(identities.len(), 2);
    for identity in identities {
        for level in ["agent", "principal", "roles"] {
            assert_eq!(identity[level]["proof"], "key", "{level}: {identity}");
        }
    }
    world.assert_whole();
}

#[test]
fn what_is_not_exactly_signed_proves_nothing() {
    let (world, key) = world();
    let mut served = Served::start(&world);
    let signer = Signer { served: &served, key, count: Cell::new(0) };
    let (session, other) = (signer.open(), signer.open());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let evil = read().to_string().replace("a.md", "b.md");
    let (session, other) = (session.as_str(), other.as_str());
    let whole = ["@method", "@authority", "@path", "content-digest", "mcp-session-id"];
    let none = Changed::default;
    for (changed, why) in [
        (Changed { body: Some(&evil), ..none() }, "SHA-256 of the body"),
        (Changed { session: Some(other), ..none() }, "not by the key"),
        (Changed { covered: Some(&whole[..4]), ..none() }, "does not cover `mcp-session-id`"),
        (Changed { covered: Some(&whole[1..]), ..none() }, "does not cover `@method`"),
        (Changed { created: Some(now - 301), ..none() }, "five minutes"),
        (Changed { created: Some(now + 310), ..none() }, "five minutes"),
        (Changed { nonce: Some("n-1"), ..none() }, "used already"),
    ] {
        let no = signer.post(Some(session), &read(), &changed);
        assert_eq!(no.status, 401, "{why}: {no:?}");
        assert!(no.body.contains(why), "{why}: {no:?}");
    }
    // A session is that of who opened it: neither the same user without a signature nor another key has it.
    let plain = served.mcp("POST", &[("Mcp-Session-Id", session)], &read().to_string());
    assert_eq!(plain.status, 404, "{plain:?}");
    let stranger = SigningKey::from_seed(&[5; 32].into()).unwrap();
    let stranger = Signer { served: &served, key: stranger, count: Cell::new(0) };
    let no = stranger.post(Some(session), &read(), &none());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("belongs to nobody"), "{no:?}");
    // Half a signature is none, and not the absence of one.
    let half = served.mcp("POST", &[("Signature", "sig=:AA==:")], &hello());
    assert_eq!(half.status, 401, "{half:?}");
    let done = signer.post(Some(session), &read(), &none());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    assert_eq!(served.end(), 0);
    let verdicts = world.receipts();
    let verdicts = verdicts.iter().filter(|line| line["receipt"]["kind"] == "verdict").count();
    assert_eq!(verdicts, 1, "what proves nothing is not even judged");
}

#[test]
fn a_request_that_was_seen_counts_no_more_after_the_monitors_end() {
    let (world, key) = world();
    let mut served = Served::start(&world);
    let port = served.port;
    let seed = key_file(&world);
    let body: Value = serde_json::from_str(&hello()).unwrap();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seen = || Changed { created: Some(created), nonce: Some("seen"), ..Changed::default() };
    let fresh = |nonce| Changed { nonce: Some(nonce), ..Changed::default() };
    {
        let signer = Signer { served: &served, key, count: Cell::new(0) };
        assert_eq!(signer.post(None, &body, &seen()).status, 200);
    }
    let again = |served: &Served, changed: &Changed<'_>| {
        let key = tipstaff_identity::key_at(&seed).unwrap();
        Signer { served, key, count: Cell::new(0) }.post(None, &body, changed)
    };
    // Killed, so that it had no time to write anything down.
    support::kill(served.child.id(), "KILL");
    let _ = served.child.wait();
    let mut served = Served::start_at(&world, port, &[]);
    let no = again(&served, &seen());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("used already"), "{no:?}");
    assert_eq!(again(&served, &fresh("one")).status, 200);
    assert_eq!(served.end(), 0);

    // What was seen is gone: nothing counts that was signed before this start. Signatures know seconds only.
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    while now() <= created {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fs::remove_file(world.home().join("run/nonces")).unwrap();
    let mut served = Served::start_at(&world, port, &[]);
    let no = again(&served, &seen());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("before this monitor started"), "{no:?}");
    assert!(no.body.contains("sign it again"), "{no:?}");
    assert_eq!(again(&served, &fresh("two")).status, 200);
    assert_eq!(served.end(), 0);
    world.settle();
    world.assert_whole();
}

fn key_file(world: &World) -> std::path::PathBuf {
    world.work().join("coder.key")
}

#[test]
fn an_action_of_the_api_is_its_signers_and_nobody_elses() {
    let (world, key) = world();
    let other = world.work().join("other.key");
    let did = world.run(&["principal", "key", other.to_str().unwrap()]);
    let rest = ["--kind", "agent", "--owner", "ada", "--key", did.out.trim()];
    world.order(&[&["enrol", "other"][..], &rest].concat());
    world.settle();
    let mut served = Served::start(&world);
    let signer = |key| Signer { served: &served, key, count: Cell::new(0) };
    let (own, other) = (signer(key), signer(tipstaff_identity::key_at(&other).unwrap()));
    let at = |path| Changed { path: Some(path), ..Changed::default() };
    let action = json!({ "server": "notes", "tool": "list_notes", "parameters": {} });
    let asked = own.post(None, &action, &at("/api/v1/actions"));
    assert_eq!((asked.status, &asked.json()["permitted"]), (200, &json!(true)), "{asked:?}");
    let outcome = format!("/api/v1/actions/{}/outcome", asked.json()["receipt"].as_str().unwrap());
    let ended = json!({ "status": "ok", "result": "done" });
    assert_eq!(other.post(None, &ended, &at(&outcome)).status, 404, "it is another's");
    assert_eq!(own.post(None, &ended, &at(&outcome)).status, 200);
    // Another's session is none that was issued to this key; and a signature opens nothing but actions.
    let mut named = action;
    named["session"] = asked.json()["session"].clone();
    assert_eq!(other.post(None, &named, &at("/api/v1/actions")).status, 404);
    assert_eq!(own.post(None, &json!({}), &at("/api/v1/told")).status, 401);
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|line| line["receipt"]["kind"] == "verdict").unwrap();
    assert_eq!(verdict["receipt"]["identity"]["roles"]["proof"], "key", "{verdict}");
}
