//! `tipstaff conformance` against a real `serve`: what is met today stands in one list, and the endpoints that
//! it needs take nothing on a token's word.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::World;
use support::http::{Answer, Served};
use tipstaff_conformance::{CONFIG, PATCH, PATCH_NAME, POLICY};
use tipstaff_core::action::Salt;
use tipstaff_core::key::SigningKey;
use tipstaff_identity::HomeKeys;
use tipstaff_monitor::{Tell, Told};

/// What this program meets. A change here is a change of what the docs say.
const MET: [&str; 18] = [
    "R1.1", "R1.2", "R1.3", "R2.1", "R2.2", "R3.1", "R3.2", "R3.3", "R3.4", "R4.1", "R4.2", "R4.3",
    "R5.1", "R5.2", "R5.3", "R5.4", "R6.1", "R6.2",
];

/// A home with the fixture behind it.
fn fixture() -> World {
    let world = World::new();
    let policies = world.home().join("policies");
    fs::remove_file(policies.join("tipstaff.cedar")).unwrap();
    fs::write(policies.join("exam.cedar"), POLICY).unwrap();
    fs::create_dir_all(policies.join("patches")).unwrap();
    fs::write(policies.join("patches").join(format!("{PATCH_NAME}.json")), PATCH).unwrap();
    let (program, effects) = (support::BINARY, world.work());
    let server =
        format!("[servers.exam]\ncommand = [{program:?}, \"conformance-tools\", {effects:?}]\n");
    fs::write(world.home().join("config.toml"), format!("{CONFIG}\n{server}")).unwrap();
    world
}

impl Served {
    fn token(&self, world: &World) -> String {
        fs::read_to_string(world.home().join("keys/http.token")).unwrap().trim().to_owned()
    }

    fn ask(&self, line: &str, token: Option<&str>, body: &Value) -> Answer {
        let host = format!("127.0.0.1:{}", self.port);
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = vec![("Host", host.as_str()), ("Content-Type", "application/json")];
        if token.is_some() {
            headers.push(("Authorization", &bearer));
        }
        let text = if line.starts_with("GET") { String::new() } else { body.to_string() };
        self.raw(line, &headers, text.as_bytes())
    }
}

fn of<'a>(report: &'a Value, part: &str) -> &'a Vec<Value> {
    report[part].as_array().unwrap()
}

#[test]
fn what_is_met_is_measured_kept_and_served() {
    let world = World::new();
    let served = Served::start(&world);
    let (manifest, page) = ("GET /api/v1/aarm/conformance", "GET /aarm/conformance");
    for line in [manifest, page] {
        let never = served.ask(line, None, &Value::Null);
        assert_eq!(
            (never.status, never.json()["error"]["code"].as_str()),
            (404, Some("never_measured"))
        );
    }
    let ran = world.run(&["--json", "conformance"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let met: Vec<&str> = of(&report, "tests")
        .iter()
        .filter(|test| test["result"] == "met")
        .map(|test| test["id"].as_str().unwrap())
        .collect();
    assert_eq!(met, MET, "{report:#}");
    let said =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md"));
    let said = said.unwrap();
    for item in ["tests", "objectives", "structural"].into_iter().flat_map(|part| of(&report, part))
    {
        let word = |name: &str| item[name].as_str().unwrap();
        let row = format!(
            "  {:<5} {:<11} {:<6} {}\n",
            word("id"),
            word("result"),
            word("level"),
            word("what")
        );
        assert!(said.contains(&row), "docs/conformance.md lacks {row}");
    }
    assert_eq!(
        (
            of(&report, "tests").len(),
            of(&report, "objectives").len(),
            of(&report, "structural").len()
        ),
        (21, 9, 4)
    );
    for test in of(&report, "tests") {
        let kinds: Vec<&Value> = of(test, "cases").iter().map(|case| &case["kind"]).collect();
        assert_eq!(kinds, ["positive", "negative"], "{test}");
        assert_ne!(test["result"], "not tested", "{test}");
        assert!(test["result"] == "met" || !test["why"].as_str().unwrap().is_empty(), "{test}");
    }
    // What follows from a test that is not met is not met.
    let item = |part: &str, id: &str| {
        of(&report, part).iter().find(|o| o["id"] == id).unwrap()["result"].clone()
    };
    assert_eq!(
        (item("structural", "S5"), item("objectives", "O9")),
        ("not met".into(), "met".into())
    );
    assert!(!report.to_string().contains("Conformant"), "{report}");

    let kept = served.ask(manifest, None, &Value::Null);
    assert_eq!((kept.status, kept.json()), (200, report.clone()));
    let shown = served.ask(page, None, &Value::Null);
    assert_eq!(shown.header("content-type").unwrap(), "text/html; charset=utf-8");
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
    assert!(!shown.body.contains("<script") && shown.body.contains("R9.1"));
    assert!(shown.body.contains(report["measured_at"].as_str().unwrap()));
    assert_eq!(shown.body.matches("class=\"yes\"").count(), {
        let all =
            ["tests", "objectives", "structural"].into_iter().flat_map(|part| of(&report, part));
        all.filter(|item| item["result"] == "met").count()
    });
    // A part replaces no whole.
    let part = world.run(&["--json", "conformance", "--only", "R1.1"]);
    assert_eq!(part.code, 0, "{part:?}");
    assert_eq!(served.ask(manifest, None, &Value::Null).json(), report);
}

#[test]
fn a_target_is_tested_as_far_as_it_can_be() {
    let world = fixture();
    let served = Served::start(&world);
    let url = format!("http://127.0.0.1:{}", served.port);
    let token = world.home().join("keys/http.token");
    let words =
        ["--json", "conformance", "--target", &url, "--token-file", token.to_str().unwrap()];
    let without = world.run(&[&words[..], &["--only", "R1.1,R1.3,R4.2"]].concat());
    let report: Value = serde_json::from_str(&without.out).unwrap();
    let results = |report: &Value| -> Vec<String> {
        of(report, "tests").iter().map(|test| test["result"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(without.code, 1, "{without:?}");
    assert_eq!(results(&report), ["met", "not tested", "not tested"], "{report:#}");
    assert_eq!(report["measured_on"]["instance"], "target");
    let key = world.home().join("keys/approver.key");
    HomeKeys::approver(&world.home()).unwrap();
    let with = ["--key", key.to_str().unwrap(), "--only", "R1.1,R4.2"];
    let with = world.run(&[&words[..], &with].concat());
    assert_eq!(with.code, 0, "{with:?}");
    // Nobody's key is nobody's signature.
    let strange = World::new();
    HomeKeys::approver(&strange.home()).unwrap();
    let strange = strange.home().join("keys/approver.key");
    let other = ["--key", strange.to_str().unwrap(), "--only", "R4.2"];
    let other = world.run(&[&words[..], &other].concat());
    let report: Value = serde_json::from_str(&other.out).unwrap();
    assert_eq!(results(&report), ["not met"], "{report:#}");
}

#[test]
fn what_cannot_be_tested_is_said() {
    let world = support::http::notes();
    let served = Served::start(&world);
    let url = format!("http://127.0.0.1:{}", served.port);
    let token = world.home().join("keys/http.token");
    let token = token.to_str().unwrap();
    let ran = world.run(&["conformance", "--target", &url, "--token-file", token]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("docs/conformance.md"), "{ran:?}");
    for words in [
        &["conformance", "--only", "R1.9"][..],
        &["conformance", "--target", &url],
        &["conformance", "--target", "https://x.example", "--token-file", token],
        &["conformance", "--key", token],
    ] {
        assert_eq!(world.run(words).code, 2, "{words:?}");
    }
}

fn told(world: &World, session: &str, key: &SigningKey) -> Value {
    let keys = HomeKeys::open(&world.home()).unwrap();
    let tell = Tell::Give { name: "given_ticket".to_owned(), value: "CHG-1".to_owned() };
    let (session, log) = (session.to_owned(), keys.origin().to_owned());
    let signed = Told { tell, session, log, salt: Salt([3; 16]) }.sign(key);
    serde_json::from_str(&signed.to_json().to_canonical()).unwrap()
}

/// The token lets a person's word be brought; it is none.
#[test]
fn a_token_alone_tells_and_approves_nothing() {
    let world = fixture();
    let served = Served::start(&world);
    let token = served.token(&world);
    let token = Some(token.as_str());
    let ask = json!({"server": "exam", "tool": "pay", "parameters": {"marker": "m"}});
    let held = served.ask("POST /api/v1/actions", token, &ask).json();
    assert_eq!(held["verdict"], "STEP_UP");
    let sessions = served.ask("GET /api/v1/sessions", token, &Value::Null).json();
    let session = sessions["sessions"][0]["session"].as_str().unwrap().to_owned();
    let approver = HomeKeys::approver(&world.home()).unwrap();
    let stranger = SigningKey::from_seed(&[9; 32].into()).unwrap();

    for line in ["POST /api/v1/told", "POST /api/v1/approvals"] {
        assert_eq!(served.ask(line, None, &told(&world, &session, &approver)).status, 401);
        assert_eq!(served.ask(line, token, &json!({})).status, 400);
    }
    let refused = served.ask("POST /api/v1/told", token, &told(&world, &session, &stranger));
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (403, Some("not_signed"))
    );
    // For another session it is another statement.
    let mut moved = told(&world, "s-other", &approver);
    moved["session"] = session.clone().into();
    assert_eq!(served.ask("POST /api/v1/told", token, &moved).status, 403);
    let unknown = served.ask("POST /api/v1/told", token, &told(&world, "s-other", &approver));
    assert_eq!(unknown.status, 404);
    let mut more = told(&world, &session, &approver);
    more["until"] = "tomorrow".into();
    assert_eq!(served.ask("POST /api/v1/told", token, &more).status, 400);
    // A person's is taken.
    let taken = served.ask("POST /api/v1/told", token, &told(&world, &session, &approver));
    assert_eq!(taken.status, 200, "{taken:?}");

    let row = served.ask("GET /api/v1/queue", token, &Value::Null).json()["waiting"][0].clone();
    assert_eq!(row["action"]["parameters"]["marker"], "m");
    let statement = json!({
        "action": row["inputs_digest"], "answer": "approve", "expires": row["expires"],
        "log": row["log"], "of": row["of"], "policy_set": row["policy_set"],
        "requester": row["requester"],
    });
    let signature = stranger.sign(b"yes").to_base64url();
    let body = json!({
        "statement": statement, "signature": signature,
        "key_id": approver.verifying_key().key_id(),
    });
    let refused = served.ask("POST /api/v1/approvals", token, &body);
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (403, Some("not_signed"))
    );
    // This process is an agent's client from here on: even the right signature is not taken from it.
    let mut door = world.wrap(
        "exam",
        &[support::BINARY, "conformance-tools", world.work().to_str().unwrap()],
        &[],
    );
    door.handshake();
    door.list();
    let refused = served.ask("POST /api/v1/told", token, &told(&world, &session, &approver));
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (403, Some("agents_process"))
    );
    assert_eq!(door.end(), 0);
}
