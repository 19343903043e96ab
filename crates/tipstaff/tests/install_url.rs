//! `install` of servers at an address: what goes behind the gateway works there, keeps its credentials out
//! of sight and comes back, and what would stop working is left and named.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

#[expect(dead_code, reason = "each test binary uses a part of this file")]
mod machine;
mod support;

use std::fs;
use std::process::Command;

use machine::{CODEX, CURSOR, Machine, jsonc};
use serde_json::{Value, json};
use support::remote::Remote;
use support::{BINARY, Session, text};

const SECRET: &str = "Bearer s3cret-value";

/// Starts a server as a client does: with its command, its words, its variables and few others.
fn started(machine: &Machine, server: &Value, more: &[(&str, &str)]) -> Session {
    let words = server["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let mut command = Command::new(server["command"].as_str().unwrap());
    command.args(words.clone()).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("HOME", machine.path("user")).envs(more.iter().copied());
    for (name, value) in server["env"].as_object().into_iter().flatten() {
        command.env(name, value.as_str().unwrap());
    }
    let session = Session::start(command);
    assert!(words.into_iter().all(|word| !word.contains("s3cret")), "{server}");
    session
}

fn leave_soon(machine: &Machine) {
    let path = machine.0.home().join("config.toml");
    let config = fs::read_to_string(&path).unwrap().replace("idle_exit_s = 60", "idle_exit_s = 0");
    fs::write(path, config).unwrap();
}

#[test]
fn a_server_at_an_address_works_behind_the_gateway_and_comes_back() {
    let machine = Machine::new();
    let remote = Remote::start(&machine.0, SECRET);
    let (url, secret_url) = (remote.url(), format!("{}?key=s3cret-value", remote.url()));
    machine.write(
        CURSOR,
        format!(
            "{{\n  // mine\n  \"mcpServers\": {{\n    \"far\": {{\n      \"url\": \"{url}\", // why\n      \"headers\": {{\n        \"Authorization\": \"{SECRET}\"\n      }}\n    }},\n    \"key\": {{\"type\": \"http\", \"headers\": {{\"Authorization\": \"{SECRET}\", \"X-Who\": \"me\"}}, \"url\": \"{secret_url}\"}},\n    \"open\": {{\"url\": \"https://open.example/mcp\"}},\n    \"old\": {{\"type\": \"sse\", \"url\": \"{url}\"}}\n  }}\n}}\n"
        ),
    );
    machine.write(
        CODEX,
        format!("[mcp_servers.token]\nurl = \"{url}\"\nbearer_token_env_var = \"TOKEN\"\n"),
    );
    let before = machine.all();
    // What would be done is shown, and no value.
    let dry = machine.run(&["install", "--dry-run"]);
    assert_eq!((dry.code, machine.all() == before), (0, true), "{dry:?}");
    assert!(dry.out.contains("\"--url\"") && dry.out.contains("***"), "{}", dry.out);
    assert!(dry.out.contains("TIPSTAFF_HEADER_AUTHORIZATION") && !dry.out.contains("s3cret"));

    let ran = machine.run(&["--json", "install"]);
    assert_eq!((ran.code, &ran.json()["changed"]), (0, &json!(4)), "{ran:?}");
    let outside = ran.json()["not_behind"].to_string();
    assert!(outside.contains("--include open") && outside.contains("SSE"), "{outside}");
    assert!(!ran.out.contains("s3cret"), "{ran:?}");
    leave_soon(&machine);
    let installed = machine.all();
    let again = machine.run(&["--json", "install"]);
    assert_eq!((&again.json()["changed"], machine.all() == installed), (&json!(0), true));

    let file = machine.read(CURSOR);
    assert!(file.contains("// mine") && file.contains("// why"), "{file}");
    let value = jsonc(&file);
    let servers = &value["mcpServers"];
    assert_eq!(servers["far"]["command"], json!(BINARY));
    assert_eq!(servers["key"]["type"], json!("stdio"));
    assert_eq!(servers["open"], json!({"url": "https://open.example/mcp"}));
    for name in ["far", "key"] {
        let mut session = started(&machine, &servers[name], &[]);
        session.handshake();
        let sent = text(&session.call("headers", json!({})));
        assert!(sent.contains(SECRET), "{name}: {sent}");
        assert_eq!(sent.contains("me"), name == "key", "{name}: {sent}");
        let environ = fs::read(format!("/proc/{}/environ", machine.0.monitor().unwrap())).unwrap();
        assert!(!environ.windows(6).any(|part| part == b"s3cret"), "the monitor has a credential");
        assert_eq!(session.end(), 0);
    }
    let codex: toml::Table = toml::from_str(&machine.read(CODEX)).unwrap();
    let token = serde_json::to_value(&codex["mcp_servers"]["token"]).unwrap();
    assert_eq!(token["env_vars"], json!(["TOKEN"]));
    let mut session = started(&machine, &token, &[("TOKEN", "s3cret-value")]);
    session.handshake();
    assert_eq!(text(&session.call("echo", json!({"text": "x"}))), "remote says x");
    assert_eq!(session.end(), 0);
    machine.0.settle();
    let receipts = machine.0.receipts();
    let judged = |r: &&Value| r["receipt"]["kind"] == json!("verdict");
    assert_eq!(receipts.iter().filter(judged).count(), 3);
    machine.0.assert_whole();

    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(machine.all(), before);
}

#[test]
fn an_open_server_goes_behind_when_it_is_named_and_an_edit_is_kept() {
    let machine = Machine::new();
    let open = r#"{"mcpServers":{"open":{"url":"https://open.example/mcp"},"other":{"url":"https://o.example/"}}}"#;
    machine.write(CURSOR, open);
    let ran = machine.run(&["--json", "install"]);
    assert_eq!((ran.code, &ran.json()["changed"]), (0, &json!(1)), "{ran:?}");
    let ran = machine.run(&["--json", "install", "--include", "open"]);
    assert_eq!((ran.code, &ran.json()["changed"]), (0, &json!(1)), "{ran:?}");
    let servers = jsonc(&machine.read(CURSOR));
    assert_eq!(servers["mcpServers"]["open"]["command"], json!(BINARY));
    assert_eq!(servers["mcpServers"]["other"], json!({"url": "https://o.example/"}));
    // It stays there without being named again.
    let ran = machine.run(&["--json", "install"]);
    assert_eq!((ran.code, &ran.json()["changed"]), (0, &json!(0)), "{ran:?}");
    let edited = machine.read(CURSOR).replace("https://o.example/", "https://p.example/");
    machine.write(CURSOR, edited);
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(machine.read(CURSOR), open.replace("https://o.example/", "https://p.example/"));
    assert_eq!(machine.run(&["install", "--undo", "--include", "open"]).code, 2);
}
