//! `hook` as Claude Code calls it: the documented JSON on standard input, an answer on standard output, and
//! exit code 2 for whatever could not be judged.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Ran, World};

/// The event before a call, as it is documented.
fn before(world: &World, number: u32, tool: &str, input: Value) -> Value {
    json!({
        "session_id": "abc123", "transcript_path": "/t.jsonl", "cwd": world.work(),
        "permission_mode": "default", "hook_event_name": "PreToolUse", "tool_name": tool,
        "tool_input": input, "tool_use_id": format!("toolu_{number}"),
    })
}

fn after(before: &Value, name: &str, member: &str, result: Value) -> Value {
    let mut event = before.clone();
    event["hook_event_name"] = name.into();
    event[member] = result;
    event
}

fn hook(world: &World, words: &[&str], event: &Value) -> Ran {
    let words = [&["hook"], words].concat();
    world.run_with(&words, &event.to_string())
}

/// No decision: the client does what it would do without the hook.
fn is_deferred(ran: &Ran) -> bool {
    (ran.code, ran.out.as_str(), ran.err.as_str()) == (0, "", "")
}

/// The reason of a refusal by verdict.
fn refusal(ran: &Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    let output = &ran.json()["hookSpecificOutput"];
    assert_eq!(
        (&output["hookEventName"], &output["permissionDecision"]),
        (&json!("PreToolUse"), &json!("deny")),
        "{ran:?}"
    );
    output["permissionDecisionReason"].as_str().unwrap().to_owned()
}

#[test]
fn every_built_in_tool_is_judged() {
    let world = World::new();
    let inside = world.work().join("a.txt");
    let own = world.home().join("config.toml");
    let mut number = 0;
    let mut judge = |tool: &str, input: Value| {
        number += 1;
        hook(&world, &[], &before(&world, number, tool, input))
    };
    for (tool, input) in [
        ("Bash", json!({ "command": "ls -la", "description": "look", "timeout": 120_000 })),
        ("Bash", json!({ "command": "touch a.txt", "run_in_background": false })),
        ("Bash", json!({ "command": "tipstaff why 3f2a" })),
        ("Read", json!({ "file_path": "/etc/hostname", "offset": 1, "limit": 5 })),
        ("Glob", json!({ "pattern": "**/*.rs", "path": "/tmp" })),
        ("Grep", json!({ "pattern": "x", "path": "/tmp", "-n": true })),
        ("Edit", json!({ "file_path": inside, "old_string": "a", "new_string": "b" })),
        ("Write", json!({ "file_path": inside, "content": "x" })),
        ("NotebookEdit", json!({ "notebook_path": inside, "new_source": "x" })),
        ("WebFetch", json!({ "url": "https://example.com/", "prompt": "read it" })),
        ("WebSearch", json!({ "query": "x" })),
        ("Task", json!({ "description": "d", "prompt": "p", "subagent_type": "s" })),
        ("Agent", json!({ "description": "d", "prompt": "p" })),
        ("TodoWrite", json!({ "todos": [] })),
        ("AskUserQuestion", json!({ "questions": [] })),
        ("Skill", json!({ "skill": "s" })),
    ] {
        let ran = judge(tool, input.clone());
        assert!(is_deferred(&ran), "{tool} {input}: {ran:?}");
    }
    for (tool, input, why) in [
        ("Bash", json!({ "command": "rm -rf x" }), "high-tiers"),
        ("Bash", json!({ "command": "cat ~/.ssh/id_rsa" }), "credentials"),
        ("Bash", json!({ "command": "tipstaff approve 7f3a" }), "own-home"),
        ("Bash", json!({ "command": "/opt/bin/tipstaff install --undo" }), "own-home"),
        ("Read", json!({ "file_path": "/home/u/.aws/credentials" }), "credentials"),
        ("Write", json!({ "file_path": own, "content": "observe = true" }), "own-home"),
        (
            "Edit",
            json!({ "file_path": "/etc/motd", "old_string": "", "new_string": "x" }),
            "outside-roots",
        ),
        (
            "Write",
            json!({ "file_path": world.work().join(".claude/settings.local.json"), "content": "{}" }),
            "own-home",
        ),
        ("SomethingNew", json!({ "x": 1 }), "unclassified"),
        ("mcp__files__delete_everything", json!({}), "high-tiers"),
    ] {
        let ran = judge(tool, input.clone());
        let text = refusal(&ran);
        assert!(text.contains(why), "{tool} {input}: {text}");
    }
    let classes: Vec<String> = world
        .receipts()
        .iter()
        .filter(|receipt| receipt.to_string().contains("\"hook\""))
        .map(ToString::to_string)
        .collect();
    assert!(classes.len() >= 25, "each has its receipt: {}", classes.len());
    assert!(classes.iter().all(|receipt| receipt.contains("cooperative")), "{:?}", classes[0]);
    world.assert_whole();
}

#[test]
fn outcomes_are_recorded_after_the_process_is_gone() {
    let world = World::new();
    world.config("session_grace_s = 5\nidle_exit_s = 5");
    let one = before(&world, 1, "Bash", json!({ "command": "ls" }));
    let two = before(&world, 2, "Read", json!({ "file_path": "/etc/hostname" }));
    for event in [&one, &two] {
        assert!(is_deferred(&hook(&world, &[], event)));
    }
    let result = json!({ "stdout": "a\n", "durationMs": 0.1, "interrupted": false });
    let done = after(&one, "PostToolUse", "tool_response", result);
    let failed = after(&two, "PostToolUseFailure", "error", json!("no such file"));
    for event in [&done, &failed, &done] {
        let ran = hook(&world, &[], event);
        assert!(is_deferred(&ran), "{ran:?}");
    }
    // An outcome of what was never asked is none.
    let stray =
        after(&before(&world, 9, "Bash", json!({})), "PostToolUse", "tool_response", json!({}));
    assert!(is_deferred(&hook(&world, &[], &stray)));
    let receipts = world.receipts();
    let outcomes: Vec<&Value> =
        receipts.iter().filter(|line| line["receipt"]["kind"] == "outcome").collect();
    let statuses: Vec<&str> = outcomes
        .iter()
        .map(|line| line["receipt"]["outcome"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["ok", "error"], "{receipts:?}");
    let verdicts: Vec<&str> = receipts
        .iter()
        .filter(|line| line["receipt"]["kind"] == "verdict")
        .map(|line| line["hash"].as_str().unwrap())
        .collect();
    let of: Vec<&str> =
        outcomes.iter().map(|line| line["receipt"]["of"].as_str().unwrap()).collect();
    assert_eq!(of, verdicts);
    let chains: Vec<&Value> = receipts
        .iter()
        .filter(|line| line["receipt"]["kind"] == "verdict")
        .map(|line| &line["receipt"]["chain"])
        .collect();
    assert_eq!(chains[0], chains[1], "one client, one session");
    world.assert_whole();
}

#[test]
fn what_cannot_be_judged_is_refused_with_code_2() {
    let world = World::new();
    let call = before(&world, 1, "Bash", json!({ "command": "ls" })).to_string();
    let doubled =
        call.replace("{\"command\":\"ls\"}", "{\"command\":\"ls\",\"command\":\"rm -rf /\"}");
    let no_folder = call.replace(world.work().to_str().unwrap(), "/no/such/folder");
    let huge = format!("{}{}", call.trim_end_matches('}'), " ".repeat(41 << 20));
    let large = call.replace("\"ls\"", &format!("\"{}\"", "x".repeat(5 << 20)));
    assert!(doubled != call && no_folder != call && large.len() > 5 << 20);
    for (what, input) in [
        ("nothing", ""),
        ("cut off", call.split_at(call.len() / 2).0),
        ("no JSON", "hello"),
        ("an array", "[]"),
        ("no event", "{}"),
        ("a doubled name", doubled.as_str()),
        ("a folder that is gone", no_folder.as_str()),
        ("too much", huge.as_str()),
        ("too large", large.as_str()),
        (
            "a broken text",
            "{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"Bash\",\"session_id\":\"s\",\"tool_input\":{\"command\":\"\\ud800\"}}",
        ),
    ] {
        let ran = world.run_with(&["hook"], input);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{what}: {ran:?}");
        assert!(
            ran.err.contains("refused") && ran.err.contains("tipstaff doctor"),
            "{what}: {ran:?}"
        );
    }
    assert_eq!(world.run_with(&["hook", "--nonsense"], &call).code, 2);
    let mut command = world.command();
    command.env_remove("TIPSTAFF_HOME").env_remove("HOME").env_remove("XDG_DATA_HOME");
    let output = command.arg("hook").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "no home");
    // Nobody listens to the answer.
    let mut command = world.command();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let deny = before(&world, 2, "Bash", json!({ "command": "cat ~/.ssh/id_rsa" })).to_string();
    let mut child = command
        .arg("hook")
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(deny.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "a refusal that is not heard");
}

#[test]
fn without_a_monitor_nothing_passes() {
    let world = World::new();
    fs::write(world.home().join("config.toml"), "nonsense").unwrap();
    let ran = hook(&world, &[], &before(&world, 1, "Bash", json!({ "command": "ls" })));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("config.toml"), "{ran:?}");
}

#[test]
fn other_events_are_left_alone_and_start_nothing() {
    let world = World::new();
    for name in ["SessionStart", "UserPromptSubmit", "Stop", "Notification", "NotKnownYet"] {
        let event = json!({ "session_id": "s", "hook_event_name": name, "source": "startup" });
        assert!(is_deferred(&hook(&world, &[], &event)), "{name}");
    }
    assert_eq!(world.monitor(), None);
}

#[test]
fn a_permission_is_only_said_where_it_was_asked_for() {
    let world = World::new();
    let event = before(&world, 1, "Bash", json!({ "command": "ls" }));
    let ran = hook(&world, &["--grant"], &event);
    let output = ran.json()["hookSpecificOutput"].clone();
    assert_eq!(output["permissionDecision"], "allow");
    assert!(output["permissionDecisionReason"].as_str().unwrap().contains("low-tiers"));
    let event = before(&world, 2, "Bash", json!({ "command": "rm -rf x" }));
    refusal(&hook(&world, &["--grant"], &event));
}

#[test]
fn relative_paths_are_read_from_the_folder_of_the_call() {
    let world = World::new();
    let mut event = before(&world, 1, "Bash", json!({ "command": "touch a.txt" }));
    assert!(is_deferred(&hook(&world, &[], &event)));
    event["cwd"] = json!("/");
    event["tool_use_id"] = json!("toolu_2");
    assert!(refusal(&hook(&world, &[], &event)).contains("outside-roots"));
}

#[test]
fn changed_arguments_are_handed_back() {
    let world = World::new();
    let policy = "@id(\"cap\")\n@rank(\"1\")\n@modify(\"cap\")\npermit (principal, action, \
        resource == Tool::\"claude-code/WebFetch\")\nwhen { resource.hasTag(\"/prompt\") && resource.getTag(\"/prompt\") like \"*secret*\" };\n";
    fs::write(world.home().join("policies/cap.cedar"), policy).unwrap();
    fs::create_dir_all(world.home().join("policies/patches")).unwrap();
    let patch = r#"[{"op":"replace","path":"/prompt","value":"summarise"}]"#;
    fs::write(world.home().join("policies/patches/cap.json"), patch).unwrap();
    assert_eq!(world.run(&["policy", "check"]).code, 0, "{:?}", world.run(&["policy", "check"]));
    let input = json!({ "url": "https://example.com/", "prompt": "find the secret" });
    let ran = hook(&world, &[], &before(&world, 1, "WebFetch", input));
    let output = ran.json()["hookSpecificOutput"].clone();
    assert_eq!(
        output["updatedInput"],
        json!({ "url": "https://example.com/", "prompt": "summarise" }),
        "{ran:?}"
    );
    assert_eq!(output.get("permissionDecision"), None, "the client still asks its user");
}

/// A client that is a process of its own, which runs the words of a script: whoever starts both client and
/// approver is the requester.
fn client(world: &World, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}\nexit 0")]).current_dir(world.at(""));
    command.env("TIPSTAFF_HOME", world.home()).env("TIPSTAFF", support::BINARY);
    command.spawn().unwrap()
}

/// The text of a file, once its last line is an exit code.
fn written(world: &World, name: &str) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(world.at(name)).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        if text.ends_with('\n') && last.parse::<i32>().is_ok() {
            return text.trim_end().to_owned();
        }
        assert!(Instant::now() < until, "{name} is not written");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_needs_a_person_is_held_and_runs_once_when_it_is_repeated_after_approval() {
    let world = World::new();
    world.config("approval_wait_s = 60");
    let event = before(&world, 1, "Bash", json!({ "command": "rm -rf x" }));
    fs::write(world.at("event"), event.to_string()).unwrap();
    let mut client = client(
        &world,
        "\"$TIPSTAFF\" hook --wait 1 < event > one; echo $? >> one\n\
         until [ -e go ]; do sleep 0.05; done\n\
         \"$TIPSTAFF\" hook --wait 1 < event > two; echo $? >> two\n\
         \"$TIPSTAFF\" hook --wait 1 < event > three; echo $? >> three",
    );
    let refused = |name: &str| {
        let text = written(&world, name);
        let (json, code) = text.split_once('\n').unwrap();
        let json: Value = serde_json::from_str(json).unwrap();
        assert_eq!(code, "0");
        json["hookSpecificOutput"]["permissionDecisionReason"].as_str().unwrap().to_owned()
    };
    let text = refused("one");
    assert!(text.starts_with("Held as ") && text.contains("repeat the same call"), "{text}");
    let id = text.split_whitespace().nth(2).unwrap().trim_end_matches(':').to_owned();
    let approved = world.run(&["approve", &id]);
    assert_eq!(approved.code, 0, "{approved:?}");
    fs::write(world.at("go"), "").unwrap();
    assert_eq!(written(&world, "two"), "0", "no decision: it may run");
    assert!(refused("three").starts_with("Held as "), "an approval is used once");
    client.wait().unwrap();
    world.assert_whole();
}

#[test]
fn a_hook_that_waits_hears_of_the_approval_at_once() {
    let world = World::new();
    world.config("approval_wait_s = 60");
    let event = before(&world, 1, "Bash", json!({ "command": "rm -rf x" }));
    fs::write(world.at("event"), event.to_string()).unwrap();
    let mut client = client(&world, "\"$TIPSTAFF\" hook --wait 50 < event > one; echo $? >> one");
    let until = Instant::now() + Duration::from_secs(60);
    let id = loop {
        let queue = world.run(&["--json", "queue"]).json();
        if let Some(hold) = queue.as_array().and_then(|holds| holds.first()) {
            break hold["of"].as_str().unwrap().chars().take(8).collect::<String>();
        }
        assert!(Instant::now() < until, "nothing waits");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(world.run(&["approve", &id]).code, 0);
    let begun = Instant::now();
    assert_eq!(written(&world, "one"), "0");
    assert!(begun.elapsed() < Duration::from_secs(40), "it waits no longer than for the answer");
    client.wait().unwrap();
}

#[test]
fn too_much_risk_asks_a_person_at_the_hook_and_is_refused_if_the_operator_says_so() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\n".to_owned() + &"MIIEowIBAAKCAQEA7bq1".repeat(20);
    let key = format!("{key}\n-----END RSA PRIVATE KEY-----\n");
    let reason = |setting: &str| {
        let world = World::new();
        let slow = "approval_wait_s = 60\nsession_grace_s = 5\nidle_exit_s = 5";
        world.config(&format!("{slow}\n{setting}"));
        let page = json!({ "url": "https://example.org/", "prompt": "What is new?" });
        for (number, tool, input, result) in [
            (1, "WebFetch", page.clone(), "Welcome to our page."),
            (2, "Bash", json!({ "command": "cat key.md" }), key.as_str()),
        ] {
            let event = before(&world, number, tool, input);
            assert!(is_deferred(&hook(&world, &[], &event)));
            let done = after(&event, "PostToolUse", "tool_response", json!(result));
            assert!(is_deferred(&hook(&world, &[], &done)));
        }
        let said = refusal(&hook(&world, &["--wait", "1"], &before(&world, 3, "WebFetch", page)));
        let replay = world.run(&["--json", "replay"]).json();
        assert_eq!(replay["differ"], json!(0), "{replay}");
        let queue = world.run(&["queue"]).out;
        world.assert_whole();
        (said, queue)
    };
    let (held, queue) = reason("");
    assert!(held.starts_with("Held as "), "{held}");
    assert!(queue.contains("leads outside"), "{queue}");
    let (refused, _) = reason("[context]\nhook_over_risk = \"deny\"");
    assert!(refused.starts_with("Tipstaff refused this call"), "{refused}");
}

#[test]
fn a_wrapped_server_is_left_to_its_gateway_while_that_runs() {
    let world = World::new();
    let event = before(&world, 1, "mcp__notes__delete_note", json!({ "name": "n" }));
    refusal(&hook(&world, &[], &event));
    let mut session = world.notes();
    session.handshake();
    session.list();
    assert!(is_deferred(&hook(&world, &[], &event)), "its gateway judges it");
    let other = before(&world, 2, "mcp__notes2__delete_note", json!({ "name": "n" }));
    refusal(&hook(&world, &[], &other));
    assert_eq!(session.end(), 0);
    let again = before(&world, 3, "mcp__notes__delete_note", json!({ "name": "n" }));
    refusal(&hook(&world, &[], &again));
}

#[test]
fn in_observe_mode_everything_passes_and_says_so() {
    let world = World::new();
    world.config("observe = true");
    let event = before(&world, 1, "Bash", json!({ "command": "rm -rf x" }));
    let ran = hook(&world, &[], &event);
    assert!(is_deferred(&ran), "{ran:?}");
    assert!(world.receipts().iter().any(|line| line["receipt"]["enforcement"] == "observe"));
}

#[test]
fn many_hooks_at_once_are_each_answered() {
    let world = World::new();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let event = before(&world, number, "Bash", json!({ "command": "ls" })).to_string();
            let mut child = world
                .command()
                .arg("hook")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(event.as_bytes()).unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    }
    world.assert_whole();
}
