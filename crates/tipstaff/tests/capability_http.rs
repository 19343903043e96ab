//! Capabilities over HTTP: presented in a header that the holder signs. The adversary presents another's, leaves the
//! header out of its signature, or brings one later.

#![expect(clippy::unwrap_used, reason = "a test; the lint knows only `#[test]`")]

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

impl Signer<'_> {
    /// Posts a body with headers, all of them signed, and some that are not.
    fn post(
        &self,
        path: &str,
        body: &Value,
        signed: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Answer {
        let body = body.to_string();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.count.set(self.count.get() + 1);
        let key = self.key.verifying_key().key_id();
        let nonce = format!("{key}-{}", self.count.get());
        let host = format!("127.0.0.1:{}", self.served.port);
        let digest =
            format!("sha-256=:{}:", STANDARD.encode(Digest::of(body.as_bytes()).as_bytes()));
        let fixed = [
            ("@method", "POST"),
            ("@authority", host.as_str()),
            ("@path", path),
            ("content-digest", digest.as_str()),
        ];
        let covered = || fixed.iter().chain(signed);
        let list: Vec<String> = covered().map(|(name, _)| format!("\"{name}\"")).collect();
        let params = format!(
            "({});created={created};keyid=\"{key}\";alg=\"ed25519\";nonce=\"{nonce}\"",
            list.join(" ")
        );
        let mut base: String =
            covered().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
        base.push_str(&format!("\"@signature-params\": {params}"));
        let signature = STANDARD.encode(self.key.sign(base.as_bytes()).as_bytes());
        let (input, signature) = (format!("sig={params}"), format!("sig=:{signature}:"));
        let mut headers = vec![
            ("Content-Digest", digest.as_str()),
            ("Signature-Input", input.as_str()),
            ("Signature", signature.as_str()),
        ];
        headers.extend(signed.iter().chain(more));
        if path == "/mcp" {
            return self.served.mcp("POST", &headers, &body);
        }
        headers.extend([("Host", host.as_str()), ("Content-Type", "application/json")]);
        self.served.raw(&format!("POST {path}"), &headers, body.as_bytes())
    }
}

#[test]
fn a_session_and_the_api_have_the_capability_that_their_principal_signs() {
    let world = World::new();
    for name in ["a.md", "b.md"] {
        fs::write(world.work().join(name), "hi").unwrap();
    }
    let work = world.work();
    let server = format!("command = [{BINARY:?}, \"notes\", {:?}]", work.to_str().unwrap());
    world.config(&format!("[servers.notes]\n{server}"));
    let done = |words: &[&str]| {
        let done = world.run(words);
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        done.out.trim().to_owned()
    };
    let (ada, coder, helper) = (
        done(&["principal", "key", "ada.key"]),
        done(&["principal", "key", "coder.key"]),
        done(&["principal", "key", "helper.key"]),
    );
    done(&["principal", "enrol", "ada", "--kind", "human", "--key", &ada]);
    for (name, key) in [("coder", &coder), ("helper", &helper)] {
        done(&["principal", "enrol", name, "--kind", "agent", "--owner", "ada", "--key", key]);
    }
    done(&["grant", "--to", "coder", "--one-of", "name=a.md", "-o", "coder.cap"]);
    let token = fs::read_to_string(world.at("coder.cap")).unwrap();
    let token = [("tipstaff-capability", token.trim())];
    world.settle();
    let mut served = Served::start(&world);
    let signer = |file: &str| {
        let key = tipstaff_identity::key_at(&world.at(file)).unwrap();
        Signer { served: &served, key, count: Cell::new(0) }
    };
    let (coder, helper) = (signer("coder.key"), signer("helper.key"));
    let hello: Value = serde_json::from_str(&hello()).unwrap();
    let open = |signer: &Signer<'_>, with: &[(&str, &str)]| {
        let opened = signer.post("/mcp", &hello, with, &[]);
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = opened.header("mcp-session-id").unwrap();
        let own = [("mcp-session-id", session.as_str())];
        let line = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(signer.post("/mcp", &line, &own, &[]).status, 202);
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        assert_eq!(signer.post("/mcp", &list, &own, &[]).status, 200);
        session
    };
    let call = |signer: &Signer<'_>, session: &str, name: &str| {
        let call = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
            "params": { "name": "read_note", "arguments": { "name": name } } });
        let done = signer.post("/mcp", &call, &[("mcp-session-id", session)], &[]);
        done.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    let session = open(&coder, &token);
    assert_eq!(call(&coder, &session, "a.md"), "hi");
    assert!(call(&coder, &session, "b.md").contains("not in this agent's capability"));
    // Without one, nothing; with another's, nothing.
    let bare = open(&coder, &[]);
    assert!(call(&coder, &bare, "a.md").contains("neither a role nor a capability"));
    let stolen = open(&helper, &token);
    assert!(call(&helper, &stolen, "a.md").contains("another holder's"));
    // A header that is not signed, or that comes later.
    let unsigned = coder.post("/mcp", &hello, &[], &token);
    assert_eq!(unsigned.status, 401, "{unsigned:?}");
    assert!(unsigned.body.contains("tipstaff-capability"), "{unsigned:?}");
    let late = [("mcp-session-id", session.as_str()), token[0]];
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(coder.post("/mcp", &list, &late, &[]).status, 400);

    let action = |name: &str| json!({ "server": "notes", "tool": "read_note", "parameters": { "name": name } });
    let ask = |signer: &Signer<'_>, name: &str, with: &[(&str, &str)]| {
        let asked = signer.post("/api/v1/actions", &action(name), with, &[]);
        assert_eq!(asked.status, 200, "{asked:?}");
        asked.json()["permitted"] == true
    };
    assert!(ask(&coder, "a.md", &token));
    assert!(!ask(&coder, "b.md", &token));
    assert!(!ask(&coder, "a.md", &[]));
    assert!(!ask(&helper, "a.md", &token));
    done(&["revoke", "coder.cap"]);
    assert!(!ask(&coder, "a.md", &token), "the next action");
    assert!(call(&coder, &session, "a.md").contains("revoked"), "the next action");
    assert_eq!(served.end(), 0);
    world.assert_whole();
}
