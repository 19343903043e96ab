//! The whole API over a real home, and the attacks on it.

mod actions;
mod log;

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use serde_json::Value;
use tipstaff_core::receipt::{Door, Status};
use tipstaff_core::{Action, Digest, Json};
use tipstaff_identity::Peer;
use tipstaff_monitor::{Ended, ListedTool, Member};

use super::route::tests::PATHS;
use super::*;

struct World {
    folder: tempfile::TempDir,
    monitor: Arc<Monitor>,
    api: Api,
    token: String,
}

impl World {
    fn new() -> Self {
        Self::with(|monitor| Box::new(MonitorDesk::new(monitor)))
    }

    fn with(desk: impl FnOnce(Arc<Monitor>) -> Box<dyn Desk>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        fs::create_dir(folder.path().join("work")).unwrap();
        home.create().unwrap();
        let config = format!("roots = [\"{}\"]\n", folder.path().join("work").display());
        fs::write(home.root().join("config.toml"), config).unwrap();
        let monitor = Monitor::open(&home).unwrap();
        let token = Token::open_or_create(home.root()).unwrap();
        let text = fs::read_to_string(Token::path(home.root())).unwrap();
        let desk = desk(Arc::clone(&monitor));
        let api = Api::with_desk(Arc::clone(&monitor), &home, token, desk).unwrap();
        Self { folder, monitor, api, token: text }
    }

    fn join(&self) -> Arc<Member> {
        let peer = Peer::of_process(std::process::id(), 1000);
        let member = self.monitor.join(&peer, None, "filesystem", Door::McpStdio).unwrap();
        let definition = r#"{"name":"read_file","inputSchema":{"type":"object"}}"#.to_owned();
        let tool = ListedTool { name: "read_file".to_owned(), definition };
        self.monitor.tools_listed(&member, &[tool]).unwrap();
        member
    }

    /// Actions of another door: `allowed` that are, and one that isn't.
    fn act(&self, member: &Arc<Member>, allowed: usize) -> Vec<Digest> {
        let mut receipts = Vec::new();
        for name in 0..allowed {
            let path = self.folder.path().join("work").join(name.to_string());
            let permit = self.monitor.admit(member, read_file(&path.to_string_lossy())).unwrap();
            receipts.push(permit.receipt());
            let settlement = permit.start().settle(Ended::of(Status::Ok, b"done"));
            self.monitor.settle(member, settlement).unwrap();
        }
        let refused = self.monitor.admit(member, read_file("/root/.ssh/id_ed25519")).unwrap_err();
        receipts.push(refused.receipt.unwrap());
        self.monitor.tick().unwrap();
        receipts
    }

    fn ask(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        let authorisation = format!("Bearer {}", self.token);
        self.send(method, path, &[("authorization", &authorisation)], body)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.api.answer(request.body(body.into()).unwrap())
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, "");
        assert_eq!(reply.status(), 200, "{path}: {}", String::from_utf8_lossy(reply.body()));
        serde_json::from_slice(reply.body()).unwrap()
    }

    fn text(&self, path: &str) -> String {
        let reply = self.ask("GET", path, "");
        assert_eq!(reply.status(), 200, "{path}");
        String::from_utf8(reply.into_body()).unwrap()
    }
}

fn read_file(path: &str) -> Action {
    let arguments = Json::object(vec![("path".to_owned(), Json::string(path))]).unwrap();
    Action::new("filesystem", "read_file", "tools/call", arguments, None).unwrap()
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn read(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

fn code(reply: &Reply) -> String {
    let body = read(reply);
    assert!(body["error"]["message"].is_string() && body["error"]["next"].is_string());
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_open_is_open_and_the_rest_needs_the_token() {
    let world = World::new();
    let open = [
        "/aarm/conformance",
        "/api/v1/aarm/conformance",
        "/.well-known/jwks.json",
        "/api/openapi.json",
        "/api/v1/aarm/sample-chain",
        "/api/v1/aarm/verify-chain",
        "/healthz",
        "/log/checkpoint",
        "/log/tile/0/000.p/1",
    ];
    let wrong = format!("Bearer {}", "A".repeat(43));
    let doubled = format!("Bearer {0} {0}", world.token);
    let basic = format!("Basic {}", world.token);
    let bare = world.token.clone();
    for path in PATHS {
        let verb = Route::find(path).unwrap().verb();
        let method = if verb == Verb::Post { "POST" } else { "GET" };
        let is_open = open.contains(&path);
        for presented in [None, Some(&wrong), Some(&doubled), Some(&basic), Some(&bare)] {
            let headers: Vec<_> =
                presented.iter().map(|value| ("authorization", value.as_str())).collect();
            let reply = world.send(method, path, &headers, "");
            assert_eq!(reply.status() == 401, !is_open, "{path} {presented:?}");
            if !is_open {
                assert!(header(&reply, "www-authenticate").starts_with("Bearer realm="));
                assert_eq!(code(&reply), "unauthorised");
                assert_eq!(header(&reply, "cache-control"), "no-store");
            }
        }
        // Two tokens are none, also if one of them is right.
        let right = format!("Bearer {}", world.token);
        let two = [("authorization", right.as_str()), ("authorization", wrong.as_str())];
        assert_eq!(world.send(method, path, &two, "").status() == 401, !is_open);
        assert_ne!(world.send(method, path, &[("authorization", &right)], "").status(), 401);
        let lower = right.replace("Bearer", "bearer");
        assert_ne!(world.send(method, path, &[("authorization", &lower)], "").status(), 401);
    }
    // What the server saw counts, and the right user alone does not.
    for (proved, status) in [(Credential::Token, 200), (Credential::User(0), 401)] {
        let request = Request::get("/metrics").extension(proved).body(Vec::new()).unwrap();
        assert_eq!(world.api.answer(request).status(), status);
    }
    assert!(!format!("{:?}", world.api).contains(&world.token));
}

#[test]
fn wrong_methods_and_paths_are_told_apart() {
    let world = World::new();
    for path in PATHS {
        let is_post = Route::find(path).unwrap().verb() == Verb::Post;
        for method in [
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "TRACE",
            "MADEUP",
            if is_post { "GET" } else { "POST" },
        ] {
            let reply = world.send(method, path, &[], "");
            assert_eq!(reply.status(), 405, "{method} {path}");
            assert_eq!(header(&reply, "allow"), if is_post { "POST" } else { "GET, HEAD" });
        }
    }
    for path in
        ["/", "/nothing", "/api/v1/receipts/", "/healthz/", "/keys/http.token", "/log/%2e%2e/keys"]
    {
        let reply = world.ask("GET", path, "");
        assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (404, "unknown_path"));
    }
    assert_eq!(world.ask("HEAD", "/api/v1/aarm/verify-chain", "").status(), 405);
    let (got, asked) = (world.ask("GET", "/healthz", ""), world.ask("HEAD", "/healthz", ""));
    assert_eq!(header(&asked, "content-length"), got.body().len().to_string());
    assert_eq!((asked.status(), asked.body().len()), (got.status(), 0));
}

#[test]
fn keys_and_samples_verify() {
    let world = World::new();
    let keys = world.get("/.well-known/jwks.json");
    assert_eq!(
        header(&world.send("GET", "/.well-known/jwks.json", &[], ""), "content-type"),
        "application/jwk-set+json"
    );
    let purposes: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|k| &k["tipstaff/purpose"]).collect();
    assert_eq!(purposes, ["receipts", "log"]);
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(
            (&key["kty"], &key["crv"], &key["use"]),
            (&"OKP".into(), &"Ed25519".into(), &"sig".into())
        );
        assert!(key.get("d").is_none());
    }
    // The home has a chain from its first start: of its rules. It is whole, and signed.
    let sample = world.text("/api/v1/aarm/sample-chain");
    let parsed: Value = serde_json::from_str(&sample).unwrap();
    assert_eq!(parsed["origin"], "home");
    let length = parsed["receipts"].as_array().unwrap().len();
    let checked = world.send("POST", "/api/v1/aarm/verify-chain", &[], sample);
    assert_eq!(read(&checked), serde_json::json!({ "valid": true, "length": length }));
    assert_eq!(header(&checked, "x-tipstaff-signatures"), length.to_string());
    assert!(header(&checked, "x-tipstaff-latency-ms").is_empty());
    // What was changed in it is found.
    let forged = world.text("/api/v1/aarm/sample-chain").replace("\"tier\":", "\"tier\":1");
    let checked = world.send("POST", "/api/v1/aarm/verify-chain", &[], forged);
    assert!(String::from_utf8_lossy(checked.body()).contains("\"valid\":false"));
}

#[test]
fn bodies_over_their_limits_are_refused() {
    let world = World::new();
    let at = vec![b' '; route::CHAIN_BYTES_MAX];
    let reply = world.send("POST", "/api/v1/aarm/verify-chain", &[], at.clone());
    assert_eq!(reply.status(), 400);
    let over = [at, vec![b' ']].concat();
    let reply = world.send("POST", "/api/v1/aarm/verify-chain", &[], over.clone());
    assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (413, "too_large"));
    for path in ["/api/v1/actions", "/api/v1/actions/00/outcome"] {
        assert_eq!(world.ask("POST", path, over.clone()).status(), 413);
    }
}

#[test]
fn health_and_counters_say_what_was_measured() {
    let world = World::new();
    let member = world.join();
    world.act(&member, 3);
    world.monitor.publish().unwrap();
    let health = world.get("/healthz");
    assert_eq!((&health["status"], &health["stopped"]), (&"ok".into(), &false.into()));
    assert_eq!(health["log"]["size"], world.monitor.ledger().position().0);
    let page = world.text("/metrics");
    for line in [
        "tipstaff_actions_total{door=\"mcp-stdio\",verdict=\"ALLOW\",tier=\"T1\"} 3",
        "tipstaff_judging_seconds_count 0",
        "tipstaff_sessions 1",
        "tipstaff_revocation_rounds{store=\"own\"} 0",
        "tipstaff_revocation_rounds{store=\"shared\"} 1",
        "tipstaff_revocation_seconds{store=\"own\"} 0",
        "tipstaff_revocation_seconds{store=\"shared\"} 10",
        "tipstaff_stopped 0",
        "tipstaff_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    let revision = world.monitor.ledger().position().1;
    assert!(revision > 0 && page.contains(&format!("tipstaff_control_revision {revision}\n")));
    assert!(page.contains("verdict=\"DENY\"") && page.contains("tipstaff_refusals_total{reason="));
    assert!(
        page.contains("tipstaff_checkpoint_age_seconds ")
            && page.contains("process_start_time_seconds ")
    );
    // Each line is a comment or a name, labels and a number.
    for line in page.lines().filter(|line| !line.starts_with("# ")) {
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
    }
    let level = world.get("/api/v1/trust/sla");
    assert_eq!((&level["count"], &level["p50_ms"]), (&0.into(), &Value::Null));
    // A damaged log stops the node, and health says so without saying where.
    fs::write(world.folder.path().join("home/log/checkpoint"), "gone").unwrap();
    world.act(&member, 1);
    assert!(world.monitor.publish().is_err());
    let reply = world.send("GET", "/healthz", &[], "");
    assert_eq!(reply.status(), 503);
    let text = String::from_utf8_lossy(reply.body()).into_owned();
    assert!(text.contains("\"stopped\":true") && !text.contains("checkpoint"), "{text}");
    let reply = world.ask("GET", "/api/v1/receipts", "");
    assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (503, "log_unreadable"));
}

#[test]
fn the_description_is_of_these_endpoints_and_no_others() {
    let world = World::new();
    let description = world.get("/api/openapi.json");
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes: Vec<Route<'_>> = PATHS.iter().map(|path| Route::find(path).unwrap()).collect();
    let known: BTreeSet<&str> = routes.iter().map(|route| route.template()).collect();
    assert_eq!(described, known);
    assert_eq!(known.len(), PATHS.len());
    for route in routes {
        let entry = paths[route.template()].as_object().unwrap();
        let verb = if route.verb() == Verb::Post { "post" } else { "get" };
        let verbs: Vec<&str> =
            entry.keys().map(String::as_str).filter(|key| *key != "parameters").collect();
        assert_eq!(verbs, [verb], "{}", route.template());
        let operation = &entry[verb];
        let is_open = operation["security"] == serde_json::json!([]);
        assert_eq!(is_open, route.access() == Access::Anyone, "{}", route.template());
        // Principals act; they don't look into the home.
        let ways = operation["security"].as_array().into_iter().flatten();
        let ways: BTreeSet<&str> =
            ways.flat_map(|way| way.as_object().unwrap().keys().map(String::as_str)).collect();
        let proofs = ["access_token", "certificate", "signature", "token"];
        let all = proofs.iter().all(|proof| ways.contains(proof));
        assert_eq!(all, route.access() == Access::Actor, "{}: {ways:?}", route.template());
        let schemes = description["components"]["securitySchemes"].as_object().unwrap();
        assert!(ways.iter().all(|way| schemes.contains_key(*way)), "{ways:?}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.contains_key("200"));
        assert_eq!(answers.contains_key("401"), !is_open, "{}", route.template());
        assert_eq!(answers.contains_key("413"), route.verb() == Verb::Post);
        assert!(operation["operationId"].is_string() && operation["summary"].is_string());
    }
    // What is referred to is there.
    let text = description.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_sent_is_the_servers_fault(
        method in "GET|POST|HEAD|[A-Z]{1,8}",
        path in "/(api/v1/|log/|)?(receipts|actions|aarm/verify-chain|tile/|checkpoint|metrics|healthz)?[a-z0-9/._%?=&-]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        std::thread_local!(static WORLD: World = World::new());
        WORLD.with(|world| {
            let reply = world.ask(&method, &path, body);
            prop_assert!(reply.status().as_u16() < 500, "{method} {path}: {}", reply.status());
            Ok(())
        })?;
    }
}
