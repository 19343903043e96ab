//! `serve --tls`: clients are whose keys they have. The adversary has no certificate, one of a key that is nobody's or
//! not his own, one that is over, an old protocol, or another's session.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test; the lints know only `#[test]`")]

mod support;
use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::client::{ClientConfig, ClientConnection, ResolvesClientCert};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion};
use serde_json::{Value, json};
use support::http::{Answer, Served, hello, read_answer};
use support::{BINARY, World};
use tipstaff_core::Millis;
use tipstaff_core::key::SigningKey;

type Versions = &'static [&'static SupportedProtocolVersion];
const NEW: Versions = &[&rustls::version::TLS13];
const OLD: Versions = &[&rustls::version::TLS12];

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What a client shows.
#[derive(Debug, Clone)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// A client that trusts the home's authority alone.
struct Secure<'a> {
    served: &'a Served,
    ca: String,
    shown: Shown,
    versions: Versions,
}

impl<'a> Secure<'a> {
    fn new(world: &World, served: &'a Served, shown: Shown) -> Self {
        let ca = world.run(&["keys", "ca"]).out;
        Self { served, ca, shown, versions: NEW }
    }

    fn connect(&self) -> Stream {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(self.shown.clone()));
        let name = ServerName::try_from("gateway.example").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, self.served.connect())
    }

    /// A request over a connection, which stays open.
    fn ask(&self, stream: &mut Stream, line: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{line} HTTP/1.1\r\nHost: gateway.example:{}\r\n", self.served.port);
        for (name, value) in more {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Accept: application/json, text/event-stream\r\n");
        head.push_str("Content-Type: application/json\r\n");
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut BufReader::new(stream))
    }

    fn once(&self, line: &str, more: &[(&str, &str)], body: &Value) -> Answer {
        self.ask(&mut self.connect(), line, more, &body.to_string())
    }

    /// Opens a session over a connection.
    fn open(&self, stream: &mut Stream) -> String {
        let opened = self.ask(stream, "POST /mcp", &[], &hello());
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = opened.header("mcp-session-id").unwrap();
        let own = [("Mcp-Session-Id", session.as_str())];
        let line = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.ask(stream, "POST /mcp", &own, &line.to_string()).status, 202);
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        assert_eq!(self.ask(stream, "POST /mcp", &own, &list.to_string()).status, 200);
        session
    }

    fn call(&self, stream: &mut Stream, session: &str, body: &Value) -> Answer {
        self.ask(stream, "POST /mcp", &[("Mcp-Session-Id", session)], &body.to_string())
    }

    /// Why the server doesn't speak to this client.
    fn alert(&self) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
        match stream.read(&mut [0]) {
            Err(error) => error.to_string(),
            Ok(read) => panic!("{read} bytes were read"),
        }
    }
}

fn read() -> Value {
    json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
            "params": { "name": "read_note", "arguments": { "name": "a.md" } } })
}

fn write() -> Value {
    json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call",
            "params": { "name": "write_note", "arguments": { "name": "b.md", "text": "x" } } })
}

fn world(more: &str) -> World {
    let world = World::new();
    let work = world.work();
    fs::write(work.join("a.md"), "hi").unwrap();
    world.config(&format!("{more}\n[servers.notes]\ncommand = [{BINARY:?}, \"notes\", {work:?}]"));
    for name in ["ada", "coder", "other", "stranger"] {
        let file = work.join(format!("{name}.key"));
        let did = world.run(&["principal", "key", file.to_str().unwrap()]).out.trim().to_owned();
        match name {
            "ada" => world.order(&["enrol", name, "--kind", "human", "--key", &did]),
            "stranger" => {}
            _ => {
                let rest = ["--kind", "agent", "--owner", "ada", "--role", "reader", "--key", &did];
                world.order(&[&["enrol", name][..], &rest].concat());
            }
        }
    }
    world.settle();
    world
}

/// What the command makes for a key.
fn certificate(world: &World, name: &str) -> Shown {
    let at = |end: &str| world.work().join(format!("{name}.{end}")).to_str().unwrap().to_owned();
    let words = ["certificate", &at("key"), "--out", &at("crt"), "--pem", &at("pem")];
    world.order(&words);
    shown(Path::new(&at("crt")), Path::new(&at("pem")))
}

fn shown(certificate: &Path, key: &Path) -> Shown {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = any_supported_type(&PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    Shown(Some(Arc::new(CertifiedKey::new(vec![certificate], key))))
}

/// A certificate of other times than the command makes.
fn timed(world: &World, key: &str, (from, lasts): (i64, u64)) -> Shown {
    let file = world.work().join(format!("{key}.key"));
    let key: SigningKey = tipstaff_identity::key_at(&file).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = Millis(u64::try_from(now).unwrap().saturating_add_signed(from));
    let made = tipstaff_identity::principal_certificate(&key, "timed", (now, lasts)).unwrap();
    let certificate = CertificateDer::from_pem_slice(made.as_bytes()).unwrap();
    let pem = tipstaff_identity::key_pem_at(&file).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    Shown(Some(Arc::new(CertifiedKey::new(vec![certificate], any_supported_type(&key).unwrap()))))
}

const TLS: [&str; 3] = ["--tls", "--name", "gateway.example"];

#[test]
fn a_client_is_whose_key_it_has_and_ends_with_it() {
    let world = world("");
    let (own, other) = (certificate(&world, "coder"), certificate(&world, "other"));
    let mut served = Served::start_with(&world, &TLS);
    let client = Secure::new(&world, &served, own);
    let mut stream = client.connect();
    let session = client.open(&mut stream);
    let done = client.call(&mut stream, &session, &read());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    // The session is that of the key that opened it: another principal's connection doesn't have it.
    let thief = Secure::new(&world, &served, other);
    let no = thief.call(&mut thief.connect(), &session, &read());
    assert_eq!(no.status, 404, "{no:?}");
    // The end of a principal is the end of its open connection and session, at the next request.
    world.order(&["suspend", "coder"]);
    let no = client.call(&mut stream, &session, &read());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("suspended"), "{no:?}");
    assert_eq!(client.once("GET /healthz", &[], &json!({})).status, 401, "and of each new one");
    world.order(&["restore", "coder"]);
    let done = client.call(&mut stream, &session, &read());
    assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
    world.order(&["compromise", "coder", "--from", "0"]);
    let no = client.call(&mut stream, &session, &read());
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("compromised"), "{no:?}");
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let of = |kind: &'static str| {
        receipts.iter().map(|line| &line["receipt"]).filter(move |of| of["kind"] == kind)
    };
    assert_eq!((of("verdict").count(), of("outcome").count()), (2, 2));
    for receipt in of("verdict").chain(of("outcome")) {
        let identity = &receipt["identity"];
        for level in ["agent", "principal", "roles", "session"] {
            assert_eq!(identity[level]["proof"], "mtls", "{level}: {identity}");
        }
        assert_eq!(identity["service"]["proof"], "none", "which program it is nobody proved");
    }
    let replay = world.run(&["--json", "replay"]);
    assert_eq!((replay.code, &replay.json()["differ"]), (0, &json!(0)), "{replay:?}");
}

#[test]
fn who_has_no_key_of_a_principal_is_not_spoken_to() {
    let world = world("");
    let own = certificate(&world, "coder");
    let stranger = certificate(&world, "stranger");
    let at = |name: &str| world.work().join(name);
    let mut served = Served::start_with(&world, &TLS);
    const HOUR: u64 = 3_600_000;
    for (what, shown, alert) in [
        ("no certificate", Shown(None), "CertificateRequired"),
        ("nobody's key", stranger, "AccessDenied"),
        ("another's certificate", mixed(&own, &at("other.key")), "DecryptError"),
        ("expired", timed(&world, "coder", (-10_000_000, HOUR)), "CertificateExpired"),
        ("not yet", timed(&world, "coder", (10_000_000, HOUR)), "CertificateExpired"),
    ] {
        let told = Secure::new(&world, &served, shown).alert();
        let is_told = told.contains(alert) || told.contains("BadCertificate");
        assert!(told.contains("alert") && is_told, "{what}: {told}");
    }
    let old = Secure { versions: OLD, ..Secure::new(&world, &served, own.clone()) };
    assert!(old.alert().contains("ProtocolVersion"), "{}", old.alert());
    // What is no TLS gets no answer of ours.
    let plain = served.raw("GET /healthz", &[("Host", "gateway.example")], b"");
    assert_eq!(plain.status, 0, "{plain:?}");
    // Whom the certificate doesn't name is not served, nor foreign pages.
    let client = Secure::new(&world, &served, own);
    let mut stream = client.connect();
    let port = served.port;
    let asked = format!("GET /healthz HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(&mut stream)).status, 403);
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(client.once("GET /healthz", &foreign, &json!({})).status, 403);
    let page = format!("https://gateway.example:{port}");
    assert_eq!(client.once("GET /healthz", &[("Origin", &page)], &json!({})).status, 200);
    // A certificate that ends while its connection is open ends there.
    let brief = Secure::new(&world, &served, timed(&world, "coder", (0, 3000)));
    let mut stream = brief.connect();
    assert_eq!(brief.ask(&mut stream, "GET /healthz", &[], "").status, 200);
    std::thread::sleep(Duration::from_millis(4500));
    let no = brief.ask(&mut stream, "GET /healthz", &[], "");
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("expired"), "{no:?}");
    assert_eq!(served.end(), 0);
    let verdicts = world.receipts();
    assert!(!verdicts.iter().any(|line| line["receipt"]["kind"] == "verdict"), "nothing was asked");
}

/// The certificate of one with the key of another.
fn mixed(shown: &Shown, key: &Path) -> Shown {
    let certificate = shown.0.as_ref().unwrap().cert.clone();
    let pem = tipstaff_identity::key_pem_at(key).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    Shown(Some(Arc::new(CertifiedKey::new(certificate, any_supported_type(&key).unwrap()))))
}

#[test]
fn an_action_of_the_api_is_the_certificates_and_the_homes_token_opens_none() {
    let world = world("");
    let (own, other) = (certificate(&world, "coder"), certificate(&world, "other"));
    let mut served = Served::start_with(&world, &TLS);
    let own = Secure::new(&world, &served, own);
    let other = Secure::new(&world, &served, other);
    let action = json!({ "server": "notes", "tool": "list_notes", "parameters": {} });
    let asked = own.once("POST /api/v1/actions", &[], &action);
    assert_eq!((asked.status, &asked.json()["permitted"]), (200, &json!(true)), "{asked:?}");
    let outcome =
        format!("POST /api/v1/actions/{}/outcome", asked.json()["receipt"].as_str().unwrap());
    let ended = json!({ "status": "ok", "result": "done" });
    assert_eq!(other.once(&outcome, &[], &ended).status, 404, "it is another's");
    assert_eq!(own.once(&outcome, &[], &ended).status, 200);
    let token = fs::read_to_string(world.home().join("keys/http.token")).unwrap();
    let bearer = format!("Bearer {token}");
    let bearer = [("Authorization", bearer.as_str())];
    assert_eq!(own.once("GET /api/v1/sessions", &bearer, &json!({})).status, 200, "it looks");
    assert_eq!(own.once("GET /api/v1/sessions", &[], &json!({})).status, 401);
    assert_eq!(own.once("POST /api/v1/actions", &bearer, &action).status, 401, "and acts not");
    let hello: Value = serde_json::from_str(&hello()).unwrap();
    let no = own.once("POST /mcp", &bearer, &hello);
    assert_eq!(no.status, 401, "{no:?}");
    assert!(no.body.contains("opens no action"), "{no:?}");
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|line| line["receipt"]["kind"] == "verdict").unwrap();
    assert_eq!(verdict["receipt"]["identity"]["agent"]["proof"], "mtls", "{verdict}");
}

#[test]
fn beyond_this_machine_there_has_to_be_tls_and_a_name() {
    let world = world("");
    for (words, said) in [
        (&["--listen", "0.0.0.0:0"][..], "TLS"),
        (&["--listen", "0.0.0.0:0", "--tls"], "--name"),
        (&["--listen", "[::]:0", "--tls", "--name", "*.example"], "no DNS name"),
        (&["--listen", "127.0.0.1:0", "--name", "gateway.example"], "--tls"),
    ] {
        let mut command = world.command();
        command.arg("serve").args(words).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let refused = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(said), "{said}: {told}");
    }
    let key = world.home().join("keys/tls.key");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&key).unwrap_or_else(|_| {
        assert_eq!(world.run(&["keys", "ca"]).code, 0);
        fs::metadata(&key).unwrap()
    }));
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn who_proves_nothing_is_refused_or_does_what_changes_nothing() {
    for (more, is_let_in) in [("", false), ("unproven = \"tier-1\"", true)] {
        let world = world(more);
        let options = [&TLS[..], &["--client-certificates", "optional"]].concat();
        let mut served = Served::start_with(&world, &options);
        // Over TLS the kernel's word counts for nothing: this test is the home's own user.
        let client = Secure::new(&world, &served, Shown(None));
        let mut stream = client.connect();
        if !is_let_in {
            let no = client.ask(&mut stream, "POST /mcp", &[], &hello());
            assert_eq!(no.status, 401, "{no:?}");
            assert!(no.body.contains("certificate"), "{no:?}");
            assert_eq!(served.end(), 0);
            continue;
        }
        let session = client.open(&mut stream);
        let done = client.call(&mut stream, &session, &read());
        assert_eq!(done.json()["result"]["content"][0]["text"], "hi", "{done:?}");
        let no = client.call(&mut stream, &session, &write());
        let said = no.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
        assert!(said.contains("prove nothing"), "{no:?}");
        assert!(!world.work().join("b.md").exists());
        let listed = world.run(&["session", "list"]);
        assert!(listed.out.contains("UNPROVEN"), "{listed:?}");
        // The API knows no such callers, and a change of the configuration ends theirs.
        let action = json!({ "server": "notes", "tool": "list_notes", "parameters": {} });
        assert_eq!(client.once("POST /api/v1/actions", &[], &action).status, 401);
        assert_eq!(served.end(), 0);
        let receipts = world.receipts();
        let verdicts = receipts.iter().map(|line| &line["receipt"]);
        let verdicts: Vec<&Value> = verdicts.filter(|of| of["kind"] == "verdict").collect();
        let reasons: Vec<&Value> = verdicts.iter().map(|of| &of["decision"]["reason"]).collect();
        assert_eq!(reasons, [&json!("permitted"), &json!("unproven")]);
        for verdict in verdicts {
            for level in ["agent", "principal", "roles", "service", "session"] {
                assert_eq!(verdict["identity"][level]["proof"], "none", "{level}: {verdict}");
            }
        }
        let listed = world.run(&["receipts", "list"]);
        assert_eq!(listed.out.matches("UNPROVEN").count(), receipts.len() - controls(&receipts));
        world.assert_whole();
    }
}

#[test]
fn each_door_says_its_own_proof_and_an_open_stream_ends_with_its_principal() {
    let world = world("");
    let own = certificate(&world, "coder");
    let mut served = Served::start_with(&world, &TLS);
    let work = world.work();
    let key = work.join("coder.key");
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let near = ["--key", key.to_str().unwrap()];
    let mut near = world.wrap_apart_with("notes", &near, &server);
    near.handshake();
    near.list();
    near.call("read_note", json!({ "name": "a.md" }));
    let client = Secure::new(&world, &served, own);
    let mut stream = client.connect();
    let session = client.open(&mut stream);
    assert_eq!(client.call(&mut stream, &session, &read()).status, 200);
    near.call("list_notes", json!({}));
    let mut listening = client.connect();
    let asked = format!(
        "GET /mcp HTTP/1.1\r\nHost: gateway.example:{}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\n\r\n",
        served.port
    );
    listening.write_all(asked.as_bytes()).unwrap();
    let mut head = [0; 12];
    listening.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    world.order(&["suspend", "coder"]);
    // The last chunk of an answer is an empty one.
    let until = Instant::now() + Duration::from_secs(25);
    let mut rest = Vec::new();
    let mut bytes = [0; 1024];
    while !rest.ends_with(b"0\r\n\r\n") {
        let read = listening.read(&mut bytes).unwrap();
        assert!(read > 0 && Instant::now() < until, "it ends as it should, and soon");
        rest.extend_from_slice(bytes.get(..read).unwrap());
    }
    assert_eq!(near.end(), 0);
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let mut chains = Vec::new();
    for kind in ["verdict", "outcome"] {
        let found = receipts.iter().map(|line| &line["receipt"]).filter(|of| of["kind"] == kind);
        let mut found: Vec<&Value> = found.collect();
        // How a call ended is told a little later, so that of two doors either may be first.
        let verdict = |of: &Value| receipts.iter().position(|line| line["hash"] == of["of"]);
        found.sort_by_key(|of| verdict(of));
        let proofs: Vec<&Value> =
            found.iter().map(|of| &of["identity"]["agent"]["proof"]).collect();
        assert_eq!(proofs, [&json!("key"), &json!("mtls"), &json!("key")], "{kind}");
        chains.extend(found.iter().map(|of| of["chain"].clone()));
    }
    chains.dedup();
    assert_eq!(chains.len(), 1, "one principal, one session");
    world.assert_whole();
}

/// Receipts that are no session's.
fn controls(receipts: &[Value]) -> usize {
    let proof = |line: &Value| line.pointer("/receipt/identity/agent/proof").cloned();
    receipts.iter().filter(|line| proof(line) != Some(json!("none"))).count()
}

#[test]
fn watching_lets_nobody_in() {
    let world = world("unproven = \"tier-1\"\nobserve = true");
    let options = [&TLS[..], &["--client-certificates", "optional"]].concat();
    let mut served = Served::start_with(&world, &options);
    let client = Secure::new(&world, &served, Shown(None));
    let mut stream = client.connect();
    let session = client.open(&mut stream);
    let no = client.call(&mut stream, &session, &write());
    assert_eq!(no.json()["result"]["isError"], json!(true), "{no:?}");
    assert!(!world.work().join("b.md").exists());
    assert_eq!(served.end(), 0);
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|line| line["receipt"]["kind"] == "verdict").unwrap();
    assert_eq!(verdict["receipt"]["enforcement"], "inline", "{verdict}");
}
