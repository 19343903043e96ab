//! `install` and `install --undo` on a machine that is a temporary folder: every client's format, byte for
//! byte.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

mod machine;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use machine::{CLAUDE, CODEX, CURSOR, DESKTOP, Machine, SETTINGS, VSCODE, every_client, jsonc};
use serde_json::json;
use support::{BINARY, Session};

#[test]
fn every_server_of_every_client_goes_behind_and_comes_back_byte_for_byte() {
    let machine = Machine::new();
    every_client(&machine);
    let before = machine.all();
    let ran = machine.run(&["--json", "install"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((&ran.json()["mode"], &ran.json()["changed"]), (&json!("observe"), &json!(9)));
    let claude = jsonc(&machine.read(CLAUDE));
    let files = &claude["mcpServers"]["files"];
    assert_eq!(files["command"], json!(BINARY));
    assert_eq!(files["args"], machine.behind("files", &["TOKEN"], &["npx", "-y", "server-files"]));
    assert_eq!(files["env"], json!({ "TOKEN": "s3cret" }));
    assert_eq!(claude["mcpServers"]["far"]["url"], "https://x.example/mcp");
    assert_eq!(
        claude["projects"]["/p"]["mcpServers"]["git"]["args"],
        machine.behind("git", &[], &["uvx"])
    );
    assert_eq!(
        (&claude["numStartups"], &claude["projects"]["/p"]["history"]),
        (&json!(7), &json!([]))
    );
    let db = jsonc(&machine.read("project/.mcp.json"));
    assert_eq!(db["mcpServers"]["db"]["args"], machine.behind("db", &[], &["db-server"]));
    let desktop = machine.read(DESKTOP);
    assert!(
        desktop.starts_with('\u{feff}') && desktop.ends_with("\"other\" : 1.50 }"),
        "{desktop}"
    );
    assert_eq!(
        jsonc(&desktop)["mcpServers"]["a b"]["args"],
        machine.behind("a b", &[], &["/bin/a", "x y"])
    );
    let cursor = machine.read(CURSOR);
    assert!(cursor.contains("// mine") && cursor.contains("/* why */"), "{cursor}");
    assert_eq!(
        jsonc(&cursor)["mcpServers"]["c"]["args"],
        machine.behind("c", &[], &["c", "--flag"])
    );
    assert!(machine.path(CURSOR).is_symlink());
    let vscode = jsonc(&machine.read(VSCODE));
    assert_eq!(
        vscode["servers"]["v"]["args"],
        machine.behind("v", &["KEY"], &["node", "${workspaceFolder}/s.js"])
    );
    assert_eq!(vscode["servers"]["hidden"]["command"], "x", "an envFile would be lost");
    let codex = machine.read(CODEX);
    assert!(codex.starts_with("# mine\r\nmodel = \"m\"\r\n\r\n[mcp_servers.docs] # docs\r\n"));
    let table: toml::Table = toml::from_str(&codex).unwrap();
    let args = serde_json::to_value(&table["mcp_servers"]["docs"]["args"]).unwrap();
    assert_eq!(args, machine.behind("docs", &["DOCS_KEY"], &["npx", "-y", "docs"]));
    let settings = jsonc(&machine.read(SETTINGS));
    for event in ["PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit"] {
        let group = &settings["hooks"][event][0];
        assert_eq!((&group["matcher"], &group["hooks"][0]["timeout"]), (&json!("*"), &json!(600)));
        let command = group["hooks"][0]["command"].as_str().unwrap();
        assert_eq!(command, format!("exec {BINARY} hook --home {}", machine.home()));
    }
    assert_eq!(settings["hooks"]["PreToolUse"][0]["hooks"][0]["onFailure"], "block");
    // A prompt goes on, whether or not it is heard.
    assert!(settings["hooks"]["UserPromptSubmit"][0]["hooks"][0].get("onFailure").is_none());
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], "bell");
    assert_eq!(fs::metadata(machine.path(CLAUDE)).unwrap().permissions().mode() & 0o777, 0o640);
    // What stays outside is said, in words too.
    let outside = ran.json()["not_behind"].to_string();
    for name in ["server far", "server hidden", "server remote"] {
        assert!(outside.contains(name), "{outside}");
    }
    // Again: nothing changes.
    let installed = machine.all();
    let again = machine.run(&["install"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again.out.contains("NOT BEHIND THE GATEWAY") && again.out.contains("OBSERVE MODE IS ON")
    );
    assert_eq!(machine.all(), installed);
    let undone = machine.run(&["install", "--undo"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert_eq!(machine.all(), before);
    assert_eq!(fs::metadata(machine.path(CLAUDE)).unwrap().permissions().mode() & 0o777, 0o640);
    let twice = machine.run(&["install", "--undo"]);
    assert_eq!((twice.code, machine.all() == before), (0, true), "{twice:?}");
    // Copies hold secrets: they are the owner's alone.
    for entry in fs::read_dir(machine.0.home().join("install")).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
    }
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let machine = Machine::new();
    every_client(&machine);
    let before = machine.all();
    let ran = machine.run(&["install", "--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in ["- ", "+ ", "\"wrap\"", "Nothing was changed", "OBSERVE MODE"] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    assert!(!ran.out.contains("numStartups"), "only what is near a change");
    assert_eq!(machine.run(&["--json", "install", "--dry-run"]).json()["changed"], json!(9));
    assert_eq!(machine.all(), before);
    assert!(!machine.0.home().exists(), "not even a home");
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert!(!machine.0.home().exists());
    for words in ["install --undo --enforce", "install --undo --dry-run", "install --client none"] {
        assert_eq!(machine.run(&words.split(' ').collect::<Vec<_>>()).code, 2, "{words}");
    }
}

#[test]
fn what_cannot_be_changed_safely_is_left_and_the_others_go_on() {
    let machine = Machine::new();
    every_client(&machine);
    machine.write(DESKTOP, "{\"mcpServers\": {\"a\": {\"command\": \"x\"},}} trailing");
    machine.write(
        "project/.mcp.json",
        "{\"mcpServers\":{\"a\":{\"command\":\"x\",\"command\":\"y\"}}}",
    );
    machine.write(CODEX, "[mcp_servers.a]\ncommand = \"x\"\ncommand = \"y\"\n");
    machine.write("project/.cursor/mcp.json", b"{\"mcpServers\":{\"\xff\":{}}}");
    fs::set_permissions(machine.path(VSCODE), fs::Permissions::from_mode(0o444)).unwrap();
    machine.write("user/.config/Code/User/mcp.json", "{\"servers\":{\"z\":{\"command\":\"z\"}}}");
    fs::hard_link(machine.path("user/.config/Code/User/mcp.json"), machine.path("user/second"))
        .unwrap();
    let before = machine.all();
    let ran = machine.run(&["--json", "install"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let refused: BTreeMap<String, String> = ran.json()["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|file| {
            Some((file["path"].as_str()?.to_owned(), file["refused"].as_str()?.to_owned()))
        })
        .collect();
    assert_eq!(refused.len(), 6, "{refused:?}");
    for (name, why) in [
        ("claude_desktop_config.json", "more than one value"),
        ("project/.mcp.json", "occurs twice"),
        ("config.toml", "duplicate key"),
        ("project/.cursor/mcp.json", "UTF-8"),
        (".vscode/mcp.json", "read-only"),
        ("Code/User/mcp.json", "second name"),
    ] {
        let found = refused.iter().find(|(path, _)| path.ends_with(name)).unwrap();
        assert!(found.1.contains(why), "{found:?}");
        assert_eq!(fs::read(found.0).unwrap(), before[Path::new(found.0)], "{name}");
    }
    assert!(machine.read(CLAUDE).contains("\"wrap\"") && machine.read(CURSOR).contains("\"wrap\""));
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(machine.all(), before);
}

#[test]
fn an_install_that_was_killed_half_way_is_finished_or_undone() {
    for finish in [false, true] {
        let machine = Machine::new();
        every_client(&machine);
        let before = machine.all();
        assert_eq!(machine.run(&["install"]).code, 0);
        let installed = machine.all();
        // As it stands when the end came after the copies and the first files.
        for name in [SETTINGS, "user/dotfiles/mcp.json", CODEX] {
            fs::write(machine.path(name), &before[&machine.path(name)]).unwrap();
        }
        if finish {
            assert_eq!(machine.run(&["install"]).code, 0);
            assert_eq!(machine.all(), installed);
        }
        let undone = machine.run(&["install", "--undo"]);
        assert_eq!(undone.code, 0, "{undone:?}");
        assert_eq!(machine.all(), before);
        // And an undo that was killed half-way.
        assert_eq!(machine.run(&["install"]).code, 0);
        fs::write(machine.path(CODEX), &before[&machine.path(CODEX)]).unwrap();
        assert_eq!(machine.run(&["install", "--undo"]).code, 0);
        assert_eq!(machine.all(), before);
    }
}

#[test]
fn a_file_that_was_edited_since_loses_only_what_is_ours() {
    let machine = Machine::new();
    every_client(&machine);
    let before = machine.read(CLAUDE);
    assert_eq!(machine.run(&["install"]).code, 0);
    let added = "\"new\": {\"command\": \"new-server\", \"args\": [\"n\"]},\n    \"far\"";
    machine.write(CLAUDE, machine.read(CLAUDE).replace("\"far\"", added));
    machine.write(CODEX, format!("{}\n# later\n", machine.read(CODEX)));
    machine.write(SETTINGS, machine.read(SETTINGS).replace("\"model\": \"x\"", "\"model\": \"y\""));
    let undone = machine.run(&["install", "--undo"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert_eq!(undone.out.matches("EDITED SINCE").count(), 3, "{}", undone.out);
    // The server without arguments keeps the empty list that it got.
    let wanted = before
        .replace("\"far\"", added)
        .replace("\"command\": \"uvx\"", "\"command\": \"uvx\", \"args\": []");
    assert_eq!(machine.read(CLAUDE), wanted);
    assert!(machine.read(CODEX).ends_with("# later\n") && !machine.read(CODEX).contains("wrap"));
    assert!(
        machine.read(SETTINGS).contains("\"y\"") && !machine.read(SETTINGS).contains("PreToolUse")
    );
    // Installed again, then edited, then installed again: what is undone is the edit without us.
    assert_eq!(machine.run(&["install"]).code, 0);
    machine.write(CODEX, format!("{}# last\n", machine.read(CODEX)));
    let edited = machine.read(CODEX);
    machine.write(
        CODEX,
        edited.replace(
            "[mcp_servers.remote]",
            "[mcp_servers.more]\ncommand = \"m\"\nargs = []\n[mcp_servers.remote]",
        ),
    );
    assert_eq!(machine.run(&["install"]).code, 0);
    assert!(machine.read(CODEX).contains("\"more\", \"--home\""));
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    let codex = machine.read(CODEX);
    assert!(
        codex.ends_with("# last\n") && !codex.contains("wrap") && codex.contains("command = \"m\""),
        "{codex}"
    );
    // A file that is gone stays gone, and one that was made by us and edited is kept.
    fs::remove_file(machine.path(SETTINGS)).unwrap();
    assert_eq!(machine.run(&["install", "--client", "claude-code"]).code, 0);
    machine.write(SETTINGS, machine.read(SETTINGS).replacen('{', "{ \"mine\": 1,", 1));
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(jsonc(&machine.read(SETTINGS)), json!({ "mine": 1 }));
    fs::remove_file(machine.path(SETTINGS)).unwrap();
    assert_eq!(machine.run(&["install", "--client", "claude-code"]).code, 0);
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert!(!machine.path(SETTINGS).exists(), "there was none before");
}

/// Texts of servers with every oddity that the format allows, from a small generator.
fn generated(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = |of: &[&str]| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[usize::try_from(state >> 33).unwrap() % of.len()].to_owned()
    };
    let mut text = pick(&["", "\u{feff}", "// top\n", "\n\n"]);
    let blank = [" ", "\n", "\r\n\t", "", " /* c, } */ ", " // x \"y\n"];
    text.push('{');
    for (name, value) in [("a", "1.0e5"), ("é \\\"q\\\"", "[ {} , null ]")] {
        text += &format!("{}\"{name}\"{}:{}{value},", pick(&blank), pick(&blank), pick(&blank));
    }
    text += &format!("{}\"servers\"{}:{}{{", pick(&blank), pick(&blank), pick(&blank));
    for number in 0..4 {
        let env = pick(&["", "\"env\":{\"A\":\"1\",\"B\":null},", "\"env\" : { },"]);
        let args = pick(&[
            "",
            ",\"args\":[]",
            ",\"args\" : [\n \"x\" , \"--\" , \"y\\u00e9\" ]",
            ", \"args\":[\"wrap\",\"--\",\"z\"]",
            ",\"args\":[ /* none */ ]",
        ]);
        let command = pick(&["npx", "/a b/c", "x\\\\y", "\\u0041"]);
        let end = if number == 3 { "" } else { "," };
        text += &format!(
            "{}\"s{number}\"{}:{{{}{env}{}\"command\"{}:{}\"{command}\"{}{args}{}}}{end}",
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
        );
    }
    for number in 0..2 {
        let transport = pick(&["", "\"type\":\"http\",", "\"type\" : \"streamable-http\" ,"]);
        let url = pick(&["https://x.example/mcp", "https:\\/\\/x.example/?key=s", "${URL}/mcp"]);
        let inner = pick(&[
            "\"A-Key\":\"1\"",
            "\"Authorization\" : \"1\" , \"B-\\u0041\":\"${input:b}\",",
            "\n \"x-key\": \"é\", // mine\n \"X-Key\": \"\\u0041\"\n",
            "/* { */ \"Token\":\"1\" /* } */",
        ]);
        let headers = format!("\"headers\"{}:{}{{{inner}}}", pick(&blank), pick(&blank));
        let url = format!("\"url\"{}:{}\"{url}\"", pick(&blank), pick(&blank));
        let (first, second) = if number == 0 { (url, headers) } else { (headers, url) };
        text += &format!(
            ",\"u{number}\":{{{}{transport}{}{first}{},{}{second}{}}}",
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
            pick(&blank),
        );
    }
    text + &pick(&blank)
        + "}"
        + &pick(&["", ","])
        + &pick(&blank)
        + "}"
        + &pick(&["", "\n", "\r\n"])
}

#[test]
fn generated_files_come_back_byte_for_byte() {
    let machine = Machine::new();
    for seed in 0..60 {
        machine.write(
            &format!("user/.config/Code/User/profiles/p{seed:02}/mcp.json"),
            generated(seed),
        );
    }
    let before = machine.all();
    let ran = machine.run(&["--json", "install"]);
    // And VS Code's hooks, which are made.
    assert_eq!((ran.code, &ran.json()["changed"]), (0, &json!(61)), "{ran:?}");
    assert!(!ran.json()["not_behind"].to_string().contains("server "), "{ran:?}");
    let installed = machine.all();
    assert!(before.iter().all(|(path, bytes)| installed[path] != *bytes));
    assert_eq!(machine.run(&["--json", "install"]).json()["changed"], json!(0));
    assert_eq!(machine.all(), installed);
    // Every server is behind the gateway, by the eyes of another run.
    let again = machine.run(&["--json", "install", "--dry-run"]).json();
    for file in again["files"].as_array().unwrap() {
        for server in file["servers"].as_array().unwrap() {
            assert_eq!(server["state"], "already", "{file}");
        }
    }
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(machine.all(), before);
}

#[test]
fn a_new_home_observes_and_an_old_one_keeps_its_mode() {
    let machine = Machine::new();
    every_client(&machine);
    let config = || fs::read_to_string(machine.0.home().join("config.toml")).unwrap();
    assert_eq!(machine.run(&["init"]).code, 0);
    assert!(config().contains("observe = false"));
    let ran = machine.run(&["install", "--client", "cursor"]);
    assert!(
        ran.out.contains("Verdicts are enforced") && config().contains("observe = false"),
        "{ran:?}"
    );
    fs::remove_dir_all(machine.0.home()).unwrap();
    machine.run(&["install", "--client", "cursor"]);
    assert!(config().contains("\nobserve = true"), "{}", config());
    let ran = machine.run(&["install", "--client", "cursor"]);
    assert!(ran.out.contains("OBSERVE MODE IS ON"), "{ran:?}");
    let ran = machine.run(&["--json", "install", "--client", "cursor", "--enforce"]);
    assert_eq!((ran.code, &ran.json()["mode"]), (0, &json!("enforce")), "{ran:?}");
    assert!(config().contains("\nobserve = false"), "{}", config());
    assert!(!machine.read(CLAUDE).contains("wrap"), "only the client that was named");
    let none = Machine::new();
    assert_eq!(none.run(&["install"]).code, 1);
    assert!(!none.0.home().exists());
}

#[test]
fn two_installs_at_once_leave_one_result() {
    let machine = Machine::new();
    every_client(&machine);
    let before = machine.all();
    let mut children: Vec<_> = (0..4)
        .map(|_| {
            machine.command().arg("install").stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    let codes: Vec<_> = children.iter_mut().map(|child| child.wait().unwrap().code()).collect();
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(machine.run(&["--json", "install"]).json()["changed"], json!(0));
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    assert_eq!(machine.all(), before);
}

#[test]
fn a_server_put_behind_the_gateway_still_works() {
    let machine = Machine::new();
    let notes = machine.path("notes");
    fs::create_dir(&notes).unwrap();
    let server =
        json!({ "mcpServers": { "notes": { "command": BINARY, "args": ["notes", notes] } } });
    machine.write(CURSOR, server.to_string());
    assert_eq!(machine.run(&["install"]).code, 0);
    let config = fs::read_to_string(machine.0.home().join("config.toml")).unwrap();
    let config = config.replace("idle_exit_s = 60", "idle_exit_s = 0");
    fs::write(machine.0.home().join("config.toml"), config).unwrap();
    let installed = jsonc(&machine.read(CURSOR));
    let server = &installed["mcpServers"]["notes"];
    // As a client starts it: with its command, its words, and few variables.
    let mut command = Command::new(server["command"].as_str().unwrap());
    command.args(server["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", machine.path("user"));
    let mut session = Session::start(command);
    session.handshake();
    assert!(session.list().to_string().contains("list_notes"));
    assert!(session.call("list_notes", json!({}))["isError"].as_bool() != Some(true));
    assert_eq!(session.end(), 0);
    machine.0.settle();
    let receipts = machine.0.receipts();
    assert!(receipts.iter().any(|receipt| receipt.to_string().contains("fs:read")), "{receipts:?}");
}

#[test]
fn a_project_cannot_lead_the_hook_or_a_server_to_another_home() {
    let machine = Machine::new();
    machine.write(SETTINGS, "{}");
    assert_eq!(machine.run(&["install", "--enforce"]).code, 0);
    let config = fs::read_to_string(machine.0.home().join("config.toml")).unwrap();
    let config = config.replace("idle_exit_s = 60", "idle_exit_s = 0");
    fs::write(machine.0.home().join("config.toml"), config).unwrap();
    let settings = jsonc(&machine.read(SETTINGS));
    let line = settings["hooks"]["PreToolUse"][0]["hooks"][0]["command"].as_str().unwrap();
    let event = json!({
        "session_id": "s", "cwd": machine.path("project"), "hook_event_name": "PreToolUse",
        "tool_name": "Read", "tool_input": { "file_path": "/home/u/.ssh/id_rsa" },
    });
    // A client hands the variables of a project's settings to its hooks.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo '{event}' | {{ {line}; }}")]);
    command.env("TIPSTAFF_HOME", machine.path("theirs")).env("XDG_DATA_HOME", machine.path("data"));
    let output = command.env("HOME", machine.path("user")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("\"deny\"") && said.contains("credentials"), "{output:?}");
    assert!(!machine.path("theirs").exists() && !machine.path("data").exists());
    machine.0.settle();
    assert!(machine.0.receipts().iter().any(|line| line.to_string().contains("credentials")));
}

#[test]
fn an_install_or_undo_that_is_killed_anywhere_loses_nothing() {
    let machine = Machine::new();
    for seed in 0..40 {
        let name = format!("user/.config/Code/User/profiles/p{seed:02}/mcp.json");
        machine.write(&name, generated(seed));
    }
    let before = machine.all();
    let mut half_way = 0;
    // Ends are spread over the time that a whole one takes here and now.
    let start = std::time::Instant::now();
    assert_eq!(machine.run(&["install"]).code, 0);
    let whole = start.elapsed();
    assert_eq!(machine.run(&["install", "--undo"]).code, 0);
    for round in 0..24_u64 {
        let words: &[&str] = if round % 3 == 2 { &["install", "--undo"] } else { &["install"] };
        let mut command = machine.command();
        command.args(words).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(whole.mul_f64((round * 7 % 24) as f64 / 24.0));
        let _ = child.kill();
        child.wait().unwrap();
        let changed =
            before.iter().filter(|(path, bytes)| fs::read(path).unwrap() != **bytes).count();
        half_way += usize::from(changed > 0 && changed < before.len());
        // Each file is whole: as it was, or as it was meant to be.
        let seen = machine.run(&["--json", "install", "--dry-run"]);
        assert_eq!((seen.code, &seen.json()["refused"]), (0, &json!(0)), "{seen:?}");
        if round % 4 == 3 {
            let undone = machine.run(&["install", "--undo"]);
            assert_eq!(undone.code, 0, "{undone:?}");
            assert_eq!(machine.all(), before, "round {round}: not even a temporary file is left");
        }
    }
    assert!(half_way > 0, "no end came half-way: the test proves nothing");
}
