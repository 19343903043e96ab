//! `serve` as a resource server of OAuth. The adversary has a token that is for somebody else, by somebody else or
//! over, sends it where others read it, or hopes that it is passed on.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test; the lints know only `#[test]`, and it serves an issuer's keys"
)]

mod support;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::http::{Answer, Served, hello};
use support::remote::{POLICY, Remote};
use support::{BINARY, World};
use tipstaff_core::key::SigningKey;

const ISSUER: &str = "https://login.example";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The set with some keys, named by their number.
fn set(seeds: &[u8]) -> String {
    let keys = seeds.iter().map(|seed| {
        let x = key(*seed).verifying_key().x();
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": seed.to_string(), "use": "sig" })
    });
    json!({ "keys": keys.collect::<Vec<Value>>() }).to_string()
}

/// A token by a key, with changed claims.
fn token(seed: u8, served: &Served, changed: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "sub": "1", "aud": format!("http://127.0.0.1:{}/mcp", served.port),
        "exp": now() + 300, "iat": now(), "client_id": "test", "scope": "tools",
    });
    for (name, value) in changed.as_object().unwrap() {
        claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": seed.to_string() });
    let b64 = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", b64(&header), b64(&claims));
    let signature = key(seed).sign(signed.as_bytes());
    format!("{signed}.{}", signature.to_base64url())
}

fn ask(served: &Served, token: &str, session: Option<&str>, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    headers.extend(session.map(|session| ("Mcp-Session-Id", session)));
    served.mcp("POST", &headers, body)
}

fn open(served: &Served, token: &str) -> String {
    let opened = ask(served, token, None, &hello());
    assert_eq!(opened.status, 200, "{opened:?}");
    let session = opened.header("mcp-session-id").unwrap();
    let line = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(ask(served, token, Some(&session), &line.to_string()).status, 202);
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(ask(served, token, Some(&session), &list.to_string()).status, 200);
    session
}

fn call(tool: &str, arguments: Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params }).to_string()
}

fn read() -> String {
    call("read_note", json!({ "name": "a.md" }))
}

/// A home with two people of one issuer. `keys` is where its keys are.
fn world(keys: &str, servers: &str) -> World {
    let world = World::new();
    let work = world.work();
    fs::write(work.join("a.md"), "hi").unwrap();
    let servers = match servers {
        "" => format!("[servers.notes]\ncommand = [{BINARY:?}, \"notes\", {work:?}]"),
        servers => servers.to_owned(),
    };
    world.config(&format!(
        "[oauth.issuers.login]\nurl = {ISSUER:?}\nkeys = {keys:?}\nscopes = [\"tools\"]\n\
         subjects = {{ \"1\" = \"ada\", \"2\" = \"bo\", \"3\" = \"nobody\" }}\n{servers}"
    ));
    let secrets = world.home().join("secrets");
    let _ = fs::DirBuilder::new().mode(0o700).create(&secrets);
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.create(true).write(true).mode(0o600).open(secrets.join("keys.json")).unwrap();
    file.write_all(set(&[1]).as_bytes()).unwrap();
    for name in ["ada", "bo"] {
        let file = work.join(format!("{name}.key"));
        let did = world.run(&["principal", "key", file.to_str().unwrap()]).out.trim().to_owned();
        world.order(&["enrol", name, "--kind", "human", "--key", &did]);
    }
    world.settle();
    world
}

#[test]
fn a_token_is_taken_for_its_principal_and_ends_with_it() {
    let world = world("file:keys.json", "");
    let mut served = Served::start(&world);
    let (ada, bo) = (token(1, &served, &json!({})), token(1, &served, &json!({ "sub": "2" })));
    let session = open(&served, &ada);
    let done = ask(&served, &ada, Some(&session), &read());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    // The session is the person's: a new token goes on with it, another's does not, nor none.
    let renewed = token(1, &served, &json!({ "exp": now() + 301 }));
    assert_ne!(renewed, ada);
    assert_eq!(ask(&served, &renewed, Some(&session), &read()).status, 200);
    assert_eq!(ask(&served, &bo, Some(&session), &read()).status, 404);
    let plain = served.mcp("POST", &[("Mcp-Session-Id", &session)], &read());
    assert_eq!(plain.status, 404, "{plain:?}");
    // And an action of the API is the same person's.
    let action = json!({ "server": "notes", "tool": "list_notes", "parameters": {} }).to_string();
    let host = format!("127.0.0.1:{}", served.port);
    let bearer = format!("Bearer {ada}");
    let headers = [
        ("Host", host.as_str()),
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let asked = served.raw("POST /api/v1/actions", &headers, action.as_bytes());
    assert_eq!((asked.status, &asked.json()["permitted"]), (200, &json!(true)), "{asked:?}");
    assert_eq!(
        served.raw("GET /api/v1/sessions", &headers, b"").status,
        401,
        "it is no operator's"
    );
    world.order(&["suspend", "ada"]);
    let no = ask(&served, &ada, Some(&session), &read());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("suspended"), "{no:?}");
    assert_eq!(ask(&served, &bo, None, &hello()).status, 200, "others go on");
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let verdicts = receipts.iter().map(|line| &line["receipt"]);
    let verdicts: Vec<&Value> = verdicts.filter(|of| of["kind"] == "verdict").collect();
    assert_eq!(verdicts.len(), 3);
    for verdict in verdicts {
        for level in ["agent", "principal", "session"] {
            assert_eq!(verdict["identity"][level]["proof"], "oauth", "{level}: {verdict}");
        }
        assert_eq!(verdict["authority"], Value::Null, "no key holds it");
    }
    world.assert_whole();
}

#[test]
fn a_token_that_is_not_for_this_listener_counts_for_nothing() {
    let world = world("file:keys.json", "");
    let mut served = Served::start(&world);
    let of = |seed: u8, changed: Value| token(seed, &served, &changed);
    let good = of(1, json!({}));
    let (head, rest) = good.split_once('.').unwrap();
    let other_head = |alg: &str| {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": "1" });
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    for (token, why) in [
        (of(1, json!({ "aud": "https://other.example/mcp" })), "another audience"),
        (of(1, json!({ "iss": "https://evil.example" })), "not one that is trusted"),
        (of(1, json!({ "exp": now() - 100 })), "expired"),
        (of(1, json!({ "nbf": now() + 300 })), "not valid yet"),
        (of(2, json!({})), "not signed by a key of its issuer"),
        (other_head("none"), "algorithm"),
        (other_head("HS256"), "algorithm"),
        (format!("{head}.{}", rest.replace('.', "A.")), "signed token"),
        (of(1, json!({ "sub": "4" })), "nobody's here"),
        (of(1, json!({ "sub": "3" })), "nobody of this name"),
        (of(1, json!({ "cnf": { "jkt": "x" } })), "bound to a key"),
        (of(1, json!({ "more": "x".repeat(9000) })), "8 KiB"),
    ] {
        let no = ask(&served, &token, None, &hello());
        assert_eq!(no.status, 401, "{why}: {no:?}");
        assert!(no.body.contains(why), "{why}: {no:?}");
        let challenge = no.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let no = ask(&served, &of(1, json!({ "scope": "mail" })), None, &hello());
    assert_eq!(no.status, 403, "{no:?}");
    let challenge = no.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"tools\""));
    // In an address it is others' to read, and not even the home's own user is heard.
    let host = format!("127.0.0.1:{}", served.port);
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    let no =
        served.raw(&format!("POST /mcp?a=1&access_token={good}"), &headers, hello().as_bytes());
    assert_eq!(no.status, 400, "{no:?}");
    // A client finds out where tokens come from by what it is told.
    let no = ask(&served, "x", None, &hello());
    let challenge = no.header("www-authenticate").unwrap();
    let at = format!("http://{host}/.well-known/oauth-protected-resource/mcp");
    assert!(challenge.contains(&format!("resource_metadata=\"{at}\"")), "{challenge}");
    for path in
        ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]
    {
        let described = served.raw(&format!("GET {path}"), &headers[..1], b"").json();
        assert_eq!(described["resource"], format!("http://{host}/mcp"));
        assert_eq!(described["authorization_servers"], json!([ISSUER]));
        assert_eq!(described["bearer_methods_supported"], json!(["header"]));
        assert_eq!(described["scopes_supported"], json!(["tools"]));
    }
    assert_eq!(ask(&served, &good, None, &hello()).status, 200);
    assert_eq!(served.end(), 0);
}

#[test]
fn keys_are_fetched_seldom_and_a_new_one_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let body = set(&[1]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
        }
    });
    let world = world(&url, "");
    let mut served = Served::start(&world);
    let good = token(1, &served, &json!({}));
    for _ in 0..5 {
        assert_eq!(ask(&served, &good, None, &hello()).status, 200);
    }
    // However often somebody names a key that isn't there.
    for seed in 2..12 {
        assert_eq!(ask(&served, &token(seed, &served, &json!({})), None, &hello()).status, 401);
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(served.end(), 0);
}

#[test]
fn an_issuer_that_cannot_be_reached_opens_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = world(&format!("http://{free}/jwks"), "");
    let mut served = Served::start(&world);
    let no = ask(&served, &token(1, &served, &json!({})), None, &hello());
    assert_eq!(no.status, 503, "{no:?}");
    assert_eq!(served.end(), 0);
}

#[test]
fn a_token_is_passed_on_to_no_server() {
    let place = World::empty();
    let far = Remote::start(&place, "");
    let world = world("file:keys.json", &format!("[servers.far]\nurl = {:?}", far.url()));
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    let mut served = Served::start(&world);
    let ada = token(1, &served, &json!({}));
    let session = open(&served, &ada);
    let done = ask(&served, &ada, Some(&session), &call("headers", json!({})));
    let told = done.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("Mcp-Session-Id") || told.contains("mcp-session-id"), "{done:?}");
    assert!(!told.to_lowercase().contains("authorization") && !told.contains(&ada), "{told}");
    assert_eq!(served.end(), 0);
}
