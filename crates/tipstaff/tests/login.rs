//! `tipstaff login`: a person logs in to a far server, and `serve` uses and renews what they got. The adversary is the
//! server, the issuer of its tokens, another issuer, a page in the browser, and whoever reads what is kept or said.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test; the lints know only `#[test]`, and it starts processes and opens pages"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{Answer, Served, Talk, read_answer};
use support::{Ran, World, python, text};

const ISSUER: &str = include_str!("support/login.py");
const POLICY: &str = "@id(\"far-may\")\n@rank(\"1\")\npermit (principal, action in Action::\"call\", \
    resource) when { resource in Server::\"far\" || resource in Server::\"near\" };\n";

/// An issuer with its server.
struct Far {
    child: Child,
    issuer: u16,
    server: u16,
}

impl Far {
    fn start(world: &World) -> Self {
        let script = world.at("login.py");
        fs::write(&script, ISSUER).unwrap();
        let mut command = Command::new(python());
        let mut child = command.arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut ports = line.split_whitespace().map(|port| port.parse().unwrap());
        Self { child, issuer: ports.next().unwrap(), server: ports.next().unwrap() }
    }

    fn set(&self, knobs: Value) {
        let body = knobs.to_string();
        let asked = ask(
            self.issuer,
            &format!("POST /control HTTP/1.1\r\nContent-Length: {}", body.len()),
            &body,
        );
        assert_eq!(asked.status, 200, "{asked:?}");
    }

    fn seen(&self) -> Vec<Value> {
        let seen = ask(self.issuer, "GET /seen HTTP/1.1", "");
        serde_json::from_str(&seen.body).unwrap()
    }

    /// What was asked of a place, oldest first.
    fn asked(&self, at: &str, path: &str) -> Vec<Value> {
        let is = |one: &Value| one["at"] == at && one["path"].as_str().unwrap().starts_with(path);
        self.seen().into_iter().filter(is).collect()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.server)
    }

    fn name(&self) -> String {
        format!("http://127.0.0.1:{}", self.issuer)
    }

    /// Every token that was given or asked with.
    fn tokens(&self) -> Vec<String> {
        let mut found = Vec::new();
        for one in self.seen() {
            for said in [&one["authorization"], &one["said"]["refresh_token"], &one["said"]["code"]]
            {
                let word = said.as_str().unwrap_or_default().trim_start_matches("Bearer ");
                if word.len() > 8 && !found.contains(&word.to_owned()) {
                    found.push(word.to_owned());
                }
            }
        }
        found
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(port: u16, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("{head}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut BufReader::new(stream))
}

/// Opens a page, without going where it redirects to.
fn open(url: &str) -> Answer {
    let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
    let (port, path) = rest.split_once('/').unwrap();
    ask(port.parse().unwrap(), &format!("GET /{path} HTTP/1.1"), "")
}

/// A login that waits for its person.
struct Waiting {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

impl Waiting {
    fn begin(world: &World, words: &[&str]) -> Result<Self, Ran> {
        let mut command = world.command();
        command.args(["--json", "login", "--no-browser"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let url = said["open"].as_str().map(str::to_owned);
        let waiting = Self { child, out, url: url.clone().unwrap_or_default() };
        match url {
            Some(_) => Ok(waiting),
            None => {
                let ran = waiting.end();
                Err(Ran { out: line, ..ran })
            }
        }
    }

    /// What the browser is sent back to.
    fn approve(&self) -> String {
        let approved = open(&self.url);
        assert_eq!(approved.status, 302, "{approved:?}");
        approved.header("location").unwrap()
    }

    fn end(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { code: self.child.wait().unwrap().code().unwrap_or(-1), out, err }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home with one far server.
fn world(far: impl Fn(&World) -> Vec<Far>, more: &str) -> (World, Vec<Far>) {
    let world = World::new();
    let all = far(&world);
    let tables: String = ["far", "near"]
        .iter()
        .zip(&all)
        .map(|(name, one)| format!("[servers.{name}]\nurl = \"{}\"\n{more}\n", one.url()))
        .collect();
    world.config(&tables);
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    (world, all)
}

fn one(more: &str) -> (World, Far) {
    let (world, mut all) = world(|world| vec![Far::start(world)], more);
    (world, all.remove(0))
}

fn login(world: &World, words: &[&str]) -> Ran {
    match Waiting::begin(world, words) {
        Ok(waiting) => {
            let back = waiting.approve();
            assert_eq!(open(&back).status, 200);
            waiting.end()
        }
        Err(ran) => ran,
    }
}

/// Logs in and says why that went wrong.
fn failed(world: &World, words: &[&str]) -> (i32, Value) {
    let ran = login(world, words);
    let line = ran.out.lines().last().unwrap_or_default().to_owned();
    let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert!(!world.home().join("logins/far.json").exists(), "{ran:?}");
    (ran.code, said)
}

fn kept(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.home().join("logins/far.json")).unwrap()).unwrap()
}

/// The text of an answer, or of what stands in its place.
fn said(answer: &Value) -> String {
    match &answer["error"]["message"] {
        Value::String(message) => message.clone(),
        _ => text(&answer["result"]),
    }
}

fn call(talk: &Talk<'_>, tool: &str) -> String {
    let params = json!({ "name": tool, "arguments": {} });
    said(&talk.request(9, "tools/call", params).json())
}

#[test]
fn a_person_logs_in_and_the_server_is_used_with_it() {
    let (world, far) = one("");
    let served = Served::start(&world);
    // Before it, everybody is told what to do.
    let refused = served.mcp("POST", &[], &support::http::hello());
    assert!(refused.body.contains("tipstaff login far"), "{refused:?}");
    let waiting = Waiting::begin(&world, &["far"]).unwrap_or_else(|ran| panic!("{ran:?}"));
    for part in
        ["code_challenge_method=S256", "response_type=code", "resource=http%3A%2F%2F127.0.0.1"]
    {
        assert!(waiting.url.contains(part), "{}", waiting.url);
    }
    assert!(!waiting.url.contains("scope="), "{}", waiting.url);
    let back = waiting.approve();
    let page = open(&back);
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("code-"), "{page:?}");
    let done = waiting.end();
    assert_eq!(done.code, 0, "{done:?}");
    let shown = done.json();
    assert_eq!(
        (&shown["server"], &shown["renews"], &shown["over"]),
        (&json!("far"), &json!(true), &json!(false))
    );
    let file = world.home().join("logins/far.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let talk = served.open();
    assert_eq!(call(&talk, "echo"), "done");
    // What an agent sends goes nowhere.
    let mine = [("Authorization", "Bearer mine"), ("Mcp-Session-Id", talk.id.as_str())];
    let params = json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": { "name": "echo", "arguments": {} } });
    let _ = served.mcp("POST", &mine, &params.to_string());
    let sent = far.asked("server", "/mcp");
    assert!(sent.iter().all(|one| one["authorization"] != "Bearer mine"), "{sent:?}");
    // The code was bound to this login, and the token is for this server.
    let token = &far.asked("issuer", "/token")[0]["said"];
    assert_eq!(token["resource"], json!(far.url()));
    assert!(token["code_verifier"].as_str().unwrap().len() >= 43);
    let listed = world.run(&["login", "--list"]);
    assert!(listed.out.starts_with("far: logged in until 20"), "{listed:?}");
}

#[test]
fn no_token_is_said_or_kept_anywhere_else() {
    let (world, far) = one("");
    let mut heard = vec![login(&world, &["far", "--scope", "files:read"])];
    far.set(json!({ "refuse_new": 1 }));
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(call(&talk, "echo"), "done");
    call(&talk, "save");
    let secrets = far.tokens();
    assert!(secrets.len() >= 4, "codes, access and refresh tokens: {secrets:?}");
    heard.push(world.run(&["login", "--list"]));
    heard.push(world.run(&["--json", "login", "--list"]));
    heard.push(world.run(&["--json", "doctor"]));
    heard.push(world.run(&["--json", "receipts", "list"]));
    drop(served);
    let own = world.home().join("logins");
    for secret in &secrets {
        for ran in &heard {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{ran:?}");
        }
        let mut folders = vec![world.home()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path == own {
                } else if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = fs::read(&path) {
                    let held = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                    assert!(!held, "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn an_answer_of_another_login_is_refused_and_the_first_one_ends_it() {
    let (world, far) = one("");
    let waiting = Waiting::begin(&world, &["far"]).unwrap_or_else(|ran| panic!("{ran:?}"));
    let back = waiting.approve();
    let (place, _) = back.split_once('?').unwrap();
    // Somebody else's code, by a page that has found the port.
    for stranger in ["code=theirs&state=theirs", "code=theirs", "error=access_denied&state=x"] {
        assert_eq!(open(&format!("{place}?{stranger}")).status, 400, "{stranger}");
    }
    assert_eq!(open(place).status, 404);
    assert_eq!(open(&back).status, 200);
    assert_eq!(waiting.end().code, 0);
    // What was stolen on the way finds nobody.
    let port = place.trim_start_matches("http://127.0.0.1:").split('/').next().unwrap();
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_err());
    let codes: Vec<Value> =
        far.asked("issuer", "/token").iter().map(|one| one["said"]["code"].clone()).collect();
    assert!(codes.len() == 1 && codes[0] != json!("theirs"), "{codes:?}");
    // An issuer that answers with a state of its own is not believed.
    assert_eq!(world.run(&["logout", "far"]).code, 0);
    far.set(json!({ "state": "mine" }));
    let waiting =
        Waiting::begin(&world, &["far", "--wait", "2"]).unwrap_or_else(|ran| panic!("{ran:?}"));
    assert_eq!(open(&waiting.approve()).status, 400);
    let ended = waiting.end();
    assert!(ended.code == 3 && ended.out.contains("no answer came within 2 s"), "{ended:?}");
    assert_eq!(far.asked("issuer", "/token").len(), 1);
}

#[test]
fn an_answer_of_another_issuer_is_not_exchanged() {
    let (world, far) = one("");
    for (iss, names_itself) in [
        ("https://evil.example", true),
        ("https://evil.example", false),
        ("absent", true),
        ("slash", true),
    ] {
        far.set(json!({ "iss": iss, "names_itself": names_itself }));
        let (code, said) = failed(&world, &["far"]);
        assert!(code == 3 && said["cause"].as_str().unwrap().contains("issuer"), "{iss}: {said}");
    }
    assert_eq!(far.asked("issuer", "/token").len(), 0, "the code went nowhere");
    far.set(json!({ "iss": "absent", "names_itself": false }));
    assert_eq!(login(&world, &["far"]).code, 0);
}

#[test]
fn what_descriptions_say_counts_only_for_who_was_asked() {
    let (world, far) = one("");
    let usual = json!({ "pkce": ["S256"], "issuer": null, "resource": null, "issuers": null, "metadata": null,
        "challenge": null, "token_place": null, "type": "Bearer" });
    for (knobs, word) in [
        (json!({ "pkce": null }), "PKCE"),
        (json!({ "pkce": ["plain"] }), "PKCE"),
        (json!({ "issuer": "https://evil.example" }), "another issuer"),
        (json!({ "resource": "https://evil.example/mcp" }), "another server"),
        (json!({ "resource": format!("{}/mcp", far.name()) }), "another server"),
        (json!({ "issuers": ["http://10.1.2.3"] }), "no https address"),
        (json!({ "metadata": "http://evil.example/x" }), "neither https"),
        (json!({ "token_place": "http://evil.example/token" }), "token_endpoint"),
        (json!({ "type": "DPoP" }), "bearer token"),
    ] {
        far.set(usual.clone());
        far.set(knobs.clone());
        let (code, said) = failed(&world, &["far"]);
        assert!(code == 3 && said["cause"].as_str().unwrap().contains(word), "{knobs}: {said}");
    }
    far.set(usual);
    assert_eq!(login(&world, &["far"]).code, 0);
}

#[test]
fn a_no_is_a_no_and_a_server_without_a_login_says_so() {
    let (world, far) = one("");
    far.set(json!({ "deny": "access_denied" }));
    let (code, said) = failed(&world, &["far"]);
    assert_eq!((code, &said["refused"]), (1, &json!("access_denied")));
    let ran = world.run(&["login", "nobody", "--no-browser"]);
    assert!(ran.code == 3 && ran.err.contains("no server of the configuration"), "{ran:?}");
    assert_eq!(world.run(&["login"]).code, 2);
    assert_eq!(world.run(&["logout", "../x"]).code, 2);
    let none = world.run(&["login", "--list"]);
    assert!(none.code == 0 && none.out.starts_with("There is no login."), "{none:?}");
    // One that wants a token and describes itself nowhere, and one that wants none.
    world.config(&format!("[servers.far]\nurl = \"{}/other\"\n", far.url()));
    for (knobs, word) in [
        (json!({ "challenge": "Bearer" }), "who issues them"),
        (json!({ "quiet": true }), "asks for no login"),
    ] {
        far.set(knobs);
        let ran = world.run(&["login", "far", "--no-browser", "--wait", "5"]);
        assert!(ran.code == 3 && ran.err.contains(word), "{ran:?}");
    }
    world.config("[servers.far]\ncommand = [\"x\"]\n");
    let ran = world.run(&["login", "far", "--no-browser"]);
    assert!(ran.code == 3 && ran.err.contains("only a server with a `url`"), "{ran:?}");
}

#[test]
fn a_token_of_one_server_never_reaches_another() {
    let (world, all) = world(|world| vec![Far::start(world), Far::start(world)], "");
    let [far, near] = all.as_slice() else { panic!("two") };
    assert_eq!(login(&world, &["far"]).code, 0);
    assert_eq!(login(&world, &["near"]).code, 0);
    let served = Served::start(&world);
    let talk = served.open();
    for tool in ["far__echo", "near__echo"] {
        assert_eq!(call(&talk, tool), "done");
    }
    for (one, other) in [(far, near), (near, far)] {
        let theirs = other.tokens();
        assert!(one.tokens().iter().all(|token| !theirs.contains(token)), "{theirs:?}");
    }
    // The name of one with the address of the other: what was kept is for neither.
    drop(served);
    world.config(&format!("[servers.far]\nurl = \"{}\"\n", near.url()));
    let before = near.asked("server", "/mcp").len();
    let served = Served::start(&world);
    let refused = served.mcp("POST", &[], &support::http::hello());
    assert!(refused.body.contains("tipstaff login far"), "{refused:?}");
    let sent = near.asked("server", "/mcp").split_off(before);
    assert!(!sent.is_empty() && sent.iter().all(|one| one["authorization"].is_null()), "{sent:?}");
}

#[test]
fn a_token_is_renewed_once_and_kept_before_it_is_used() {
    let (world, far) = one("");
    far.set(json!({ "life": 2, "kept": world.home().join("logins/far.json") }));
    assert_eq!(login(&world, &["far"]).code, 0);
    let first = kept(&world);
    let mut served = Served::start(&world);
    let sessions: Vec<Talk<'_>> = (0..4).map(|_| served.open()).collect();
    std::thread::sleep(Duration::from_millis(2200));
    far.set(json!({ "life": 3600, "late": 0.2 }));
    // Several at once, each in a session of its own.
    std::thread::scope(|scope| {
        for talk in &sessions {
            scope.spawn(move || assert_eq!(call(talk, "echo"), "done"));
        }
    });
    drop(sessions);
    let second = kept(&world);
    assert_ne!(first["refresh_token"], second["refresh_token"], "it was replaced");
    assert!(far.asked("reuse", "").is_empty(), "a refresh token was used twice");
    let known = far.asked("kept", "");
    assert!(known.len() >= 8 && known.iter().all(|one| one["said"] == json!(true)), "{known:?}");
    // A crash forgets nothing.
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    far.set(json!({ "refuse_new": 1 }));
    let served = Served::start(&world);
    assert_eq!(call(&served.open(), "echo"), "done");
    assert!(far.asked("reuse", "").is_empty());
    assert_ne!(kept(&world)["refresh_token"], second["refresh_token"]);
}

#[test]
fn a_login_that_is_refused_for_good_ends_with_the_next_step() {
    let (world, far) = one("");
    assert_eq!(login(&world, &["far"]).code, 0);
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(call(&talk, "echo"), "done");
    far.set(json!({ "refuse_all": true }));
    let told = call(&talk, "echo");
    assert!(
        told.contains("even with a new token") && told.contains("tipstaff login far"),
        "{told}"
    );
    // The server was asked twice, the issuer once, and from now on nobody.
    let before = (far.asked("server", "/mcp").len(), far.asked("issuer", "/token").len());
    for _ in 0..3 {
        let told = call(&talk, "echo");
        assert!(told.contains("tipstaff login far") && told.contains("Nothing was done"), "{told}");
    }
    assert_eq!((far.asked("server", "/mcp").len(), far.asked("issuer", "/token").len()), before);
    // A new login is taken up at once.
    far.set(json!({ "refuse_all": false }));
    assert_eq!(login(&world, &["far"]).code, 0);
    assert_eq!(call(&talk, "echo"), "done");
    // The issuer renews it no more, and echoes what it got: the login is over, for everybody.
    far.set(json!({ "refuse_new": 1, "refuse_refresh": true, "echo": true }));
    let told = call(&talk, "echo");
    assert!(told.contains("was not renewed") && told.contains("tipstaff login far"), "{told}");
    assert!(!told.contains("refresh-"), "{told}");
    assert_eq!(kept(&world).get("access_token"), None);
    let listed = world.run(&["login", "--list"]);
    assert!(listed.out.starts_with("far: over; `tipstaff login far`"), "{listed:?}");
    let looked = world.run(&["doctor"]);
    assert!(looked.out.contains("logins: the one to far is over"), "{looked:?}");
    let asked = far.asked("issuer", "/token").len();
    assert!(call(&talk, "echo").contains("has ended"));
    assert_eq!(far.asked("issuer", "/token").len(), asked);
}

#[test]
fn an_issuer_that_is_away_is_not_the_end() {
    let (world, far) = one("");
    far.set(json!({ "life": 3 }));
    assert_eq!(login(&world, &["far"]).code, 0);
    let served = Served::start(&world);
    let talk = served.open();
    std::thread::sleep(Duration::from_millis(3200));
    far.set(json!({ "down": true, "life": 3600 }));
    let told = call(&talk, "echo");
    assert!(told.contains("can't be renewed now") && told.contains("Nothing was done"), "{told}");
    far.set(json!({ "down": false }));
    let until = Instant::now() + Duration::from_secs(60);
    while call(&talk, "echo") != "done" {
        assert!(Instant::now() < until, "it never comes back");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn logging_out_ends_it_at_the_next_request() {
    let (world, far) = one("");
    assert_eq!(login(&world, &["far"]).code, 0);
    let served = Served::start(&world);
    let talk = served.open();
    assert_eq!(call(&talk, "echo"), "done");
    let ended = world.run(&["--json", "logout", "far"]);
    assert_eq!((ended.code, &ended.json()["login"]), (0, &json!("revoked")));
    assert_eq!(far.asked("issuer", "/revoke").len(), 2);
    let before = far.asked("server", "/mcp").len();
    assert!(call(&talk, "echo").contains("tipstaff login far"));
    let sent = far.asked("server", "/mcp").split_off(before);
    assert!(sent.iter().all(|one| one["authorization"].is_null()), "{sent:?}");
    assert_eq!(world.run(&["--json", "logout", "far"]).json()["login"], json!("none"));
    // With an issuer that takes nothing back, it is forgotten all the same.
    far.set(json!({ "revoke": false }));
    assert_eq!(login(&world, &["far"]).code, 0);
    assert_eq!(world.run(&["--json", "logout", "far"]).json()["login"], json!("forgotten"));
    assert!(!world.home().join("logins/far.json").exists());
}

#[test]
fn without_a_login_a_call_says_the_next_step_too() {
    let (world, far) = one("");
    let mut command = world.command();
    command.args(["wrap", "--name", "far", "--url", &far.url()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // A client that doesn't stop at the refused `initialize`: its call waits for the gateway's own look at the tools.
    let mut input = child.stdin.take().unwrap();
    let call = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
                       "params": { "name": "echo", "arguments": {} } });
    writeln!(input, "{}\n{call}", support::http::hello()).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let heard: Vec<Value> = (0..2)
        .map(|_| {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        })
        .collect();
    drop(input);
    child.wait().unwrap();
    assert!(heard.iter().any(|answer| answer["id"] == 3), "{heard:?}");
    assert!(heard.iter().all(|answer| said(answer).contains("`tipstaff login far`")), "{heard:?}");
}

#[test]
fn more_is_asked_for_when_the_server_wants_it() {
    let (world, far) = one("");
    far.set(json!({ "scopes": ["files:read", "profile"], "issuer_scopes": ["files:read", "offline_access"] }));
    assert_eq!(login(&world, &["far"]).code, 0);
    assert_eq!(kept(&world)["scope"], json!("files:read profile offline_access"));
    let served = Served::start(&world);
    let talk = served.open();
    let told = call(&talk, "save");
    assert!(told.contains("`tipstaff login far --scope files:write`"), "{told}");
    assert_eq!(login(&world, &["far", "--scope", "files:write"]).code, 0);
    assert_eq!(kept(&world)["scope"], json!("files:read profile offline_access files:write"));
    assert_eq!(call(&talk, "save"), "done");
    // What the server wants now stands before all that it knows.
    let named = format!(
        "Bearer scope=\"files:list\", resource_metadata=\"http://127.0.0.1:{}/.well-known/oauth-protected-resource/mcp\"",
        far.server
    );
    far.set(json!({ "challenge": named, "issuer_scopes": null }));
    assert_eq!(login(&world, &["far"]).code, 0);
    assert_eq!(kept(&world)["scope"], json!("files:list"));
}

#[test]
fn clients_are_what_the_configuration_or_the_issuer_says() {
    // Registered on the spot, with a secret.
    let (world, far) = one("");
    for (method, is_basic) in [("client_secret_basic", true), ("client_secret_post", false)] {
        far.set(json!({ "methods": [method], "secret": "s3cret" }));
        assert_eq!(login(&world, &["far"]).code, 0);
        let token = far.asked("issuer", "/token").pop().unwrap();
        assert_eq!(token["authorization"].is_string(), is_basic, "{token}");
        assert_eq!(token["said"].get("client_secret").is_some(), !is_basic, "{token}");
    }
    let registered = far.asked("issuer", "/register").pop().unwrap();
    assert_eq!(registered["said"]["application_type"], json!("native"));
    // By the address of its description, where the issuer takes that.
    far.set(json!({ "methods": ["none"], "secret": null, "documents": true }));
    let before = far.asked("issuer", "/register").len();
    let table = |oauth: &str| {
        world.config(&format!("[servers.far]\nurl = \"{}\"\noauth = {{ {oauth} }}\n", far.url()));
    };
    table("client_metadata = \"https://me.example/client.json\", scopes = [\"files:read\"]");
    assert_eq!(login(&world, &["far"]).code, 0);
    let lying = kept(&world);
    assert_eq!(
        (&lying["client_id"], &lying["scope"]),
        (&json!("https://me.example/client.json"), &json!("files:read"))
    );
    // By hand: the secret is the configuration's, and is not kept a second time.
    let secrets = world.home().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    fs::write(secrets.join("far"), "s3cret").unwrap();
    fs::set_permissions(secrets.join("far"), fs::Permissions::from_mode(0o600)).unwrap();
    far.set(json!({ "methods": ["client_secret_basic"], "secret": "s3cret", "register": false }));
    let by_hand =
        format!("issuer = \"{}\", client_id = \"me\", client_secret = \"file:far\"", far.name());
    table(&by_hand);
    assert_eq!(login(&world, &["far"]).code, 0);
    assert!(!kept(&world).to_string().contains("s3cret"), "{}", kept(&world));
    far.set(json!({ "refuse_new": 1 }));
    {
        let served = Served::start(&world);
        assert_eq!(call(&served.open(), "echo"), "done");
    }
    assert_eq!(far.asked("issuer", "/register").len(), before);
    assert_eq!(world.run(&["logout", "far"]).code, 0);
    // The secret goes to nobody else, whoever the server names.
    far.set(json!({ "issuers": ["http://127.0.0.1:1"] }));
    let (code, said) = failed(&world, &["far"]);
    assert!(code == 3 && said["cause"].as_str().unwrap().contains("other issuers"), "{said}");
    far.set(json!({ "issuers": null }));
    table("");
    let (code, said) = failed(&world, &["far"]);
    assert!(code == 3 && said["cause"].as_str().unwrap().contains("register one there"), "{said}");
}

#[test]
fn a_server_here_may_be_called_localhost() {
    let (world, far) = one("");
    world.config(&format!("[servers.far]\nurl = \"http://localhost:{}/mcp\"\n", far.server));
    far.set(json!({ "resource": format!("http://localhost:{}/mcp", far.server) }));
    // It is this machine, and so is what it names.
    let waiting = Waiting::begin(&world, &["far", "--wait", "5"]);
    assert!(waiting.is_ok(), "{:?}", waiting.err());
}
