//! `install` and the files in which Codex, Cursor, VS Code and Gemini CLI keep their hooks: made, added to,
//! mended, and taken back byte for byte.

#![expect(clippy::indexing_slicing, reason = "a test that can't go on has failed")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod machine;
mod support;

use std::fs;

use machine::{Machine, jsonc};
use serde_json::{Value, json};
use support::BINARY;

/// A client, its file with hooks, and what such a file says that somebody wrote.
struct Client {
    name: &'static str,
    file: &'static str,
    /// What shows that this user has the client.
    sign: (&'static str, &'static str),
    theirs: &'static str,
    events: &'static [&'static str],
}

const CLIENTS: [Client; 4] = [
    Client {
        name: "codex",
        file: "user/.codex/hooks.json",
        sign: ("user/.codex/config.toml", "model = \"m\"\n"),
        theirs: "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"guard\"}]}]}}",
        events: &["PreToolUse", "PostToolUse", "UserPromptSubmit"],
    },
    Client {
        name: "cursor",
        file: "user/.cursor/hooks.json",
        sign: ("user/.cursor/mcp.json", "{\"mcpServers\":{}}\n"),
        theirs: "{\n  // mine\n  \"version\": 1,\n  \"hooks\": {\n    \"stop\": [{ \"command\": \"./bell.sh\" }], // ring\n    \"preToolUse\": [\n      { \"command\": \"guard\" }\n    ]\n  }\n}\n",
        events: &[
            "preToolUse",
            "postToolUse",
            "postToolUseFailure",
            "beforeMCPExecution",
            "afterMCPExecution",
            "beforeSubmitPrompt",
        ],
    },
    Client {
        name: "vscode",
        file: "user/.copilot/hooks/tipstaff.json",
        sign: ("user/.config/Code/User/settings.json", "{}\n"),
        theirs: "{\r\n\t\"hooks\": {\r\n\t\t\"Stop\": [{ \"type\": \"command\", \"command\": \"bell\" }]\r\n\t}\r\n}",
        events: &["PreToolUse", "PostToolUse", "UserPromptSubmit"],
    },
    Client {
        name: "gemini",
        file: "user/.gemini/settings.json",
        sign: ("user/.gemini/GEMINI.md", "be brief\n"),
        theirs: "{\n  // mine\n  \"mcpServers\": {\"db\": {\"command\": \"db-server\", \"args\": []}}, /* why */\n  \"hooks\": {\"AfterTool\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"guard\"}]}]},\n  \"theme\": \"x\"\n}\n",
        events: &["BeforeTool", "AfterTool", "BeforeAgent"],
    },
];

impl Client {
    /// Our entries of an event, without the groups around them.
    fn ours(&self, machine: &Machine, event: &str) -> Vec<Value> {
        let file = jsonc(&machine.read(self.file));
        let items = file["hooks"][event].as_array().cloned().unwrap_or_default();
        let entries = items.iter().flat_map(|item| match item["hooks"].as_array() {
            Some(hooks) => hooks.clone(),
            None => vec![item.clone()],
        });
        let command =
            format!("exec {BINARY} hook --client {} --home {}", self.name, machine.home());
        entries.filter(|entry| entry["command"] == json!(command)).collect()
    }

    fn assert_installed(&self, machine: &Machine) {
        for event in self.events {
            let ours = self.ours(machine, event);
            assert_eq!(ours.len(), 1, "{} {event}: {}", self.name, machine.read(self.file));
            let seconds = if self.name == "gemini" { 600_000 } else { 600 };
            assert_eq!(ours[0]["timeout"], json!(seconds));
            // A prompt goes on, whether or not it is heard.
            let judges = event.starts_with("pre")
                || event.starts_with("before") && *event != "beforeSubmitPrompt";
            let closed = self.name == "cursor" && judges;
            assert_eq!(ours[0]["failClosed"] == json!(true), closed, "{event}");
            // A key that a strict reader doesn't know would cost all hooks of the file.
            assert_eq!(ours[0].get("onFailure"), None);
        }
    }
}

#[test]
fn a_file_with_hooks_is_made_where_the_client_is_used_and_goes_again() {
    for client in CLIENTS {
        let machine = Machine::new();
        let before = machine.all();
        assert_eq!(machine.run(&["install"]).code, 1, "nothing there");
        machine.write(client.sign.0, client.sign.1);
        let with_sign = machine.all();
        assert_ne!(with_sign, before);
        let dry = machine.run(&["install", "--dry-run"]);
        assert_eq!(dry.code, 0, "{dry:?}");
        assert!(dry.out.contains(client.events[0]), "{}", dry.out);
        assert_eq!(machine.all(), with_sign, "a dry run");
        let ran = machine.run(&["--json", "install"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let file = ran.json()["files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|file| file["path"].as_str().unwrap().ends_with(client.file))
            .cloned()
            .unwrap();
        assert_eq!((&file["client"], &file["changed"]), (&json!(client.name), &json!(true)));
        assert_eq!(file["hooks"][client.events[0]], "added", "{file}");
        assert!(!ran.json()["not_behind"].to_string().contains("no hook"), "{ran:?}");
        client.assert_installed(&machine);
        if client.name == "cursor" {
            assert_eq!(jsonc(&machine.read(client.file))["version"], 1);
        }
        let installed = machine.all();
        let again = machine.run(&["install"]);
        assert_eq!((again.code, machine.all() == installed), (0, true), "{again:?}");
        assert!(again.out.contains("there already"), "{}", again.out);
        let undone = machine.run(&["install", "--undo"]);
        assert_eq!(undone.code, 0, "{undone:?}");
        assert_eq!(machine.all(), with_sign, "{}", client.name);
    }
}

#[test]
fn what_others_wrote_stays_and_comes_back_byte_for_byte() {
    for client in CLIENTS {
        let machine = Machine::new();
        machine.write(client.sign.0, client.sign.1);
        machine.write(client.file, client.theirs);
        let before = machine.all();
        let ran = machine.run(&["install", "--client", client.name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        client.assert_installed(&machine);
        let text = machine.read(client.file);
        for kept in ["// mine", "// ring", "/* why */", "guard", "bell", "\"theme\": \"x\"", "\r\n"]
        {
            assert_eq!(text.contains(kept), client.theirs.contains(kept), "{kept}: {text}");
        }
        if client.name == "gemini" {
            let args = &jsonc(&text)["mcpServers"]["db"]["args"];
            assert_eq!(*args, machine.behind("db", &[], &["db-server"]));
        }
        let installed = machine.all();
        assert_eq!(machine.run(&["install"]).code, 0);
        assert_eq!(machine.all(), installed, "idempotent");
        assert_eq!(machine.run(&["install", "--undo"]).code, 0);
        assert_eq!(machine.all(), before, "{}", client.name);
        // Edited since: ours goes, theirs stays.
        assert_eq!(machine.run(&["install"]).code, 0);
        let edited = machine.read(client.file).replace("guard", "guard2").replace("bell", "bell2");
        machine.write(client.file, &edited);
        let undone = machine.run(&["install", "--undo"]);
        assert!(undone.code == 0 && undone.out.contains("EDITED SINCE"), "{undone:?}");
        let text = machine.read(client.file);
        assert!(!text.contains("tipstaff"), "{text}");
        assert_eq!(text.contains("guard2"), client.theirs.contains("guard"), "{text}");
        assert_eq!(text.contains("bell2"), client.theirs.contains("bell"), "{text}");
        assert_eq!(text.contains("db-server"), client.name == "gemini");
        jsonc(&text);
    }
}

#[test]
fn a_hook_that_would_not_run_is_found() {
    for client in CLIENTS {
        let machine = Machine::new();
        machine.write(client.sign.0, client.sign.1);
        assert_eq!(machine.run(&["install", "--enforce"]).code, 0);
        let doctor = || {
            let found = machine.run(&["--json", "doctor"]).json()["findings"].clone();
            found
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["about"] == "hooks")
                .cloned()
                .collect::<Vec<_>>()
        };
        let trust = usize::from(client.name == "codex");
        assert_eq!(doctor().len(), trust, "{}: {:?}", client.name, doctor());
        let installed = machine.read(client.file);
        let says = |text: String, what: &str| {
            machine.write(client.file, text);
            assert!(
                doctor().iter().any(|one| one["what"].to_string().contains(what)),
                "{what}: {:?}",
                doctor()
            );
        };
        says("{}".to_owned(), "is missing");
        says(installed.replace(BINARY, "/gone/tipstaff"), "is gone");
        says(installed.replace(&format!("--client {}", client.name), ""), "another tipstaff");
        if client.name == "gemini" {
            let off = installed.replacen('{', "{\"hooksConfig\":{\"enabled\":false},", 1);
            says(off, "hooksConfig.enabled is false");
            let off = installed.replacen('{', "{\"hooksConfig\":{\"disabled\":[\"tipstaff\"]},", 1);
            says(off, "hooksConfig.disabled");
        }
        if client.name == "codex" {
            machine.write(client.file, &installed);
            let path = machine.path(client.file);
            let trusted = format!(
                "[hooks.state.\"{}:pre_tool_use:0:0\"]\ntrusted_hash = \"sha256:x\"\n",
                path.display()
            );
            machine.write(client.sign.0, &trusted);
            assert_eq!(doctor(), Vec::<Value>::new());
            machine.write(client.sign.0, format!("[features]\nhooks = false\n{trusted}"));
            assert!(doctor()[0]["what"].to_string().contains("features.hooks is false"));
        }
        machine.write(client.file, installed.replace(BINARY, "/gone/tipstaff"));
        assert_eq!(machine.run(&["install"]).code, 0);
        client.assert_installed(&machine);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_left_and_said() {
    for client in CLIENTS {
        let machine = Machine::new();
        machine.write(client.sign.0, client.sign.1);
        for broken in ["{\"hooks\":[]}", "{\"hooks\":{},\"hooks\":{}}", "[]", "{"] {
            machine.write(client.file, broken);
            let ran = machine.run(&["install", "--client", client.name]);
            assert_eq!(ran.code, 1, "{} {broken}: {ran:?}", client.name);
            assert!(ran.out.contains("LEFT AS IT WAS"), "{}", ran.out);
            assert_eq!(fs::read_to_string(machine.path(client.file)).unwrap(), broken);
        }
    }
}
