//! `hook --client NAME` as Codex, Cursor, VS Code and Gemini CLI call it: what each of them documents on
//! standard input, and the answer that each of them takes for a refusal.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

mod support;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Ran, World};

/// A client: its name, the events before and after a call, and its shell.
struct Client {
    name: &'static str,
    before: &'static str,
    after: &'static str,
    shell: &'static str,
    reader: (&'static str, &'static str),
}

const CLIENTS: [Client; 4] = [
    Client {
        name: "codex",
        before: "PreToolUse",
        after: "PostToolUse",
        shell: "Bash",
        reader: ("view_image", "path"),
    },
    Client {
        name: "cursor",
        before: "preToolUse",
        after: "postToolUse",
        shell: "Shell",
        reader: ("Read", "file_path"),
    },
    Client {
        name: "vscode",
        before: "PreToolUse",
        after: "PostToolUse",
        shell: "run_in_terminal",
        reader: ("read_file", "filePath"),
    },
    Client {
        name: "gemini",
        before: "BeforeTool",
        after: "AfterTool",
        shell: "run_shell_command",
        reader: ("read_file", "file_path"),
    },
];

impl Client {
    /// The event before a call, with the members that this client writes.
    fn event(&self, world: &World, number: u32, tool: &str, input: Value) -> Value {
        let mut event = json!({
            "hook_event_name": self.before, "cwd": world.work(), "tool_name": tool,
            "tool_input": input, "transcript_path": null,
        });
        let more = match self.name {
            "codex" => json!({ "session_id": "s", "turn_id": "t", "model": "m",
                "permission_mode": "default", "tool_use_id": format!("call_{number}") }),
            "cursor" => json!({ "conversation_id": "s", "generation_id": "g", "model": "m",
                "cursor_version": "2.4.0", "workspace_roots": [world.work()], "user_email": null,
                "tool_use_id": number.to_string() }),
            "vscode" => json!({ "session_id": "s", "timestamp": "2026-11-21T10:00:00.000Z",
                "tool_use_id": format!("tool-{number}") }),
            _ => json!({ "session_id": "s", "timestamp": "2026-11-21T10:00:00.000Z" }),
        };
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    }

    fn command(&self, world: &World, number: u32, command: &str) -> Value {
        self.event(world, number, self.shell, json!({ "command": command }))
    }

    fn hook(&self, world: &World, words: &[&str], event: &Value) -> Ran {
        let words = [&["hook", "--client", self.name], words].concat();
        world.run_with(&words, &event.to_string())
    }

    /// No decision, in the words of this client.
    fn goes_on(&self, ran: &Ran) -> bool {
        let silence = if self.name == "cursor" { "{}\n" } else { "" };
        (ran.code, ran.out.as_str(), ran.err.as_str()) == (0, silence, "")
    }

    /// The reason of a refusal, in the words of this client.
    fn refusal(&self, code: i32, out: &str) -> String {
        let answer: Value = serde_json::from_str(out).unwrap_or_else(|e| panic!("{e}: {out:?}"));
        let (decision, reason) = match self.name {
            "cursor" => (&answer["permission"], &answer["agent_message"]),
            "gemini" => (&answer["decision"], &answer["reason"]),
            _ => {
                let output = &answer["hookSpecificOutput"];
                assert_eq!(output["hookEventName"], "PreToolUse");
                (&output["permissionDecision"], &output["permissionDecisionReason"])
            }
        };
        assert_eq!((code, decision), (0, &json!("deny")), "{}: {out}", self.name);
        reason.as_str().unwrap().to_owned()
    }
}

#[test]
fn what_is_allowed_goes_on_and_its_outcome_is_settled() {
    for client in CLIENTS {
        let world = World::new();
        let (reader, argument) = client.reader;
        for event in [
            client.command(&world, 1, "ls -la"),
            client.command(&world, 2, "touch a.txt"),
            client.event(&world, 3, reader, json!({ argument: "/etc/hostname" })),
        ] {
            let ran = client.hook(&world, &[], &event);
            assert!(client.goes_on(&ran), "{}: {ran:?}", client.name);
            let mut after = event.clone();
            after["hook_event_name"] = client.after.into();
            let member = if client.name == "cursor" { "tool_output" } else { "tool_response" };
            after[member] = json!({ "llmContent": "x", "ms": 0.1 });
            let ran = client.hook(&world, &[], &after);
            assert!(client.goes_on(&ran), "{}: {ran:?}", client.name);
        }
        let receipts = world.receipts();
        let of = |kind: &str| {
            receipts.iter().filter(|line| line["receipt"]["kind"] == kind).collect::<Vec<_>>()
        };
        let (verdicts, outcomes) = (of("verdict"), of("outcome"));
        assert_eq!((verdicts.len(), outcomes.len()), (3, 3), "{}", client.name);
        for (verdict, outcome) in verdicts.iter().zip(&outcomes) {
            assert_eq!(outcome["receipt"]["of"], verdict["hash"]);
            assert_eq!(outcome["receipt"]["outcome"]["status"], "ok");
            assert_eq!(verdict["receipt"]["enforcement"], "cooperative");
        }
        world.assert_whole();
    }
}

#[test]
fn what_is_denied_is_refused_in_the_words_of_each_client() {
    for client in CLIENTS {
        let world = World::new();
        let (reader, argument) = client.reader;
        let own = world.work().join(".github/hooks/x.json");
        for (event, why) in [
            (client.command(&world, 1, "cat ~/.ssh/id_rsa"), "credentials"),
            (client.command(&world, 2, "tipstaff approve 7f3a"), "own-home"),
            (client.command(&world, 3, "cp /tmp/x ~/.codex/hooks.json"), "own-home"),
            (client.command(&world, 4, &format!("touch {}", own.display())), "own-home"),
            (
                client.event(&world, 5, reader, json!({ argument: "/home/u/.aws/credentials" })),
                "credentials",
            ),
        ] {
            for words in [&[][..], &["--grant"]] {
                let ran = client.hook(&world, words, &event);
                let text = client.refusal(ran.code, &ran.out);
                assert!(text.contains(why), "{} {event}: {text}", client.name);
            }
        }
        world.assert_whole();
    }
}

#[test]
fn what_needs_a_person_is_held_and_goes_on_after_approval() {
    for client in CLIENTS {
        let world = World::new();
        world.config("approval_wait_s = 60");
        let event = client.command(&world, 1, "rm -rf x");
        fs::write(world.at("event"), event.to_string()).unwrap();
        // The client is a process of its own: whoever starts both client and approver is the requester.
        let script = format!(
            "\"$TIPSTAFF\" hook --client {0} --wait 1 < event > one; echo $? >> one\n\
             \"$TIPSTAFF\" hook --client {0} --wait 50 < event > two; echo $? >> two\nexit 0",
            client.name
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(world.at(""));
        command.env("TIPSTAFF_HOME", world.home()).env("TIPSTAFF", support::BINARY);
        let mut process = command.spawn().unwrap();
        let written = |name: &str| {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let text = fs::read_to_string(world.at(name)).unwrap_or_default();
                // The exit code is written last, on a line of its own.
                if let Some((out, code)) = text.trim_end().rsplit_once('\n')
                    && !text.is_empty()
                {
                    return (out.to_owned(), code.parse::<i32>().unwrap());
                }
                if text == "0\n" {
                    return (String::new(), 0);
                }
                assert!(Instant::now() < until, "{name} is not written");
                thread::sleep(Duration::from_millis(20));
            }
        };
        let (out, code) = written("one");
        let text = client.refusal(code, &out);
        assert!(text.starts_with("Held as ") && text.contains("repeat the same call"), "{text}");
        let id = text.split_whitespace().nth(2).unwrap().trim_end_matches(':').to_owned();
        let approved = world.run(&["approve", &id]);
        assert_eq!(approved.code, 0, "{approved:?}");
        let (out, code) = written("two");
        let ran =
            Ran { code, out: if out.is_empty() { out } else { out + "\n" }, err: String::new() };
        assert!(client.goes_on(&ran), "{}: {ran:?}", client.name);
        process.wait().unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_code_2() {
    let world = World::new();
    for client in CLIENTS {
        let call = client.command(&world, 1, "ls").to_string();
        let doubled =
            call.replace("{\"command\":\"ls\"}", "{\"command\":\"ls\",\"command\":\"rm\"}");
        let session = if client.name == "cursor" { "conversation_id" } else { "session_id" };
        let nobody = call.replace(&format!("\"{session}\":\"s\""), &format!("\"{session}\":\"\""));
        let no_arguments = call.replace("tool_input", "tool_inputs");
        let a_list = call.replace("{\"command\":\"ls\"}", "[\"ls\"]");
        let twice = call.replace("\"cwd\"", "\"tool_name\":\"x\",\"cwd\"");
        for (what, input) in [
            ("nothing", ""),
            ("cut off", call.split_at(call.len() / 2).0),
            ("no JSON", "hello"),
            ("no event", "{}"),
            ("a doubled argument", &doubled),
            ("a doubled member", &twice),
            ("no session", &nobody),
            ("no arguments", &no_arguments),
            ("arguments that are a list", &a_list),
        ] {
            assert_ne!(input, call, "{what}");
            let ran = world.run_with(&["hook", "--client", client.name], input);
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{} {what}: {ran:?}", client.name);
            assert!(ran.err.contains("refused"), "{what}: {ran:?}");
        }
    }
    assert_eq!(world.run_with(&["hook", "--client", "nobody"], "{}").code, 2);
    assert_eq!(world.monitor(), None, "nothing was asked of a monitor");
}

#[test]
fn unknown_events_start_nothing_and_a_prompt_goes_on_and_is_heard() {
    let world = World::new();
    for client in CLIENTS {
        for name in ["SessionStart", "sessionStart", "BeforeModel", "NotKnownYet"] {
            let event = json!({ "session_id": "s", "hook_event_name": name, "prompt": 1.5 });
            let ran = client.hook(&world, &[], &event);
            assert!(client.goes_on(&ran), "{} {name}: {ran:?}", client.name);
        }
    }
    assert_eq!(world.monitor(), None);
    for client in CLIENTS {
        let (prompt, wanted) = match client.name {
            "cursor" => ("beforeSubmitPrompt", "{\"continue\":true}\n"),
            "gemini" => ("BeforeAgent", ""),
            _ => ("UserPromptSubmit", ""),
        };
        let event = json!({ "session_id": "s", "hook_event_name": prompt, "prompt": "rm -rf /" });
        let ran = client.hook(&world, &[], &event);
        assert_eq!((ran.code, ran.out.as_str()), (0, wanted), "{}: {ran:?}", client.name);
    }
    world.settle();
    let receipts = world.receipts();
    let heard = |line: &&Value| line["receipt"]["action"] == json!("session:request");
    assert!(receipts.iter().any(|line| heard(&line)), "{receipts:?}");
    assert!(receipts.iter().all(|line| !line.to_string().contains("rm -rf")));
}

#[test]
fn an_event_is_judged_whichever_client_the_command_names() {
    let world = World::new();
    for client in CLIENTS {
        for named in ["claude-code", "codex", "cursor", "vscode", "gemini"] {
            let event = client.command(&world, 1, "cat ~/.ssh/id_rsa");
            let ran = world.run_with(&["hook", "--client", named], &event.to_string());
            assert!(!client.refusal(ran.code, &ran.out).is_empty(), "{named}: {ran:?}");
        }
    }
}

#[test]
fn a_permission_is_only_said_where_it_was_asked_for_and_is_understood() {
    let world = World::new();
    for client in CLIENTS {
        let ran = client.hook(&world, &["--grant"], &client.command(&world, 7, "ls"));
        assert_eq!(ran.code, 0, "{ran:?}");
        match client.name {
            "cursor" => assert_eq!(ran.json(), json!({ "permission": "allow" })),
            "gemini" => assert_eq!(ran.json(), json!({ "decision": "allow" })),
            "vscode" => assert_eq!(ran.json()["hookSpecificOutput"]["permissionDecision"], "allow"),
            // Codex takes a bare `allow` for a failed hook.
            _ => assert_eq!(ran.out, ""),
        }
    }
}

#[test]
fn the_paths_inside_a_patch_are_judged() {
    let world = World::new();
    let codex = &CLIENTS[0];
    let patch = |number, header: &str| {
        let text = format!("*** Begin Patch\n*** {header}\n+x\n*** End Patch\n");
        codex.event(&world, number, "apply_patch", json!({ "command": text }))
    };
    assert!(codex.goes_on(&codex.hook(&world, &[], &patch(1, "Add File: a.txt"))));
    for (number, header, why) in [
        (2, "Add File: .codex/hooks.json", "own-home"),
        (3, "Update File: /home/u/.ssh/authorized_keys", "credentials"),
    ] {
        let ran = codex.hook(&world, &[], &patch(number, header));
        assert!(codex.refusal(ran.code, &ran.out).contains(why), "{header}: {ran:?}");
    }
    for (number, header) in
        [(4, "Update File: ../b.txt"), (5, "Delete File: a.txt"), (6, "Nothing")]
    {
        let ran = codex.hook(&world, &["--wait", "1"], &patch(number, header));
        codex.refusal(ran.code, &ran.out);
    }
}

#[test]
fn the_events_of_cursor_that_know_no_tool_are_judged_too() {
    let world = World::new();
    let cursor = &CLIENTS[1];
    let event = |name: &str, more: Value| {
        let mut event = json!({ "conversation_id": "s", "cursor_version": "2", "cwd": world.work(),
            "workspace_roots": [world.work()], "hook_event_name": name });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let mcp = |tool: &str, input: &str| json!({ "tool_name": tool, "tool_input": input, "mcp_server_name": "files", "command": "x" });
    for (name, more) in [
        ("beforeShellExecution", json!({ "command": "ls", "sandbox": false })),
        ("beforeReadFile", json!({ "file_path": "/etc/hostname", "content": "x" })),
        ("beforeMCPExecution", mcp("list_files", "{}")),
        // Judged by the event above.
        ("preToolUse", json!({ "tool_name": "MCP:delete_everything", "tool_input": {} })),
    ] {
        let ran = cursor.hook(&world, &[], &event(name, more));
        assert!(cursor.goes_on(&ran), "{name}: {ran:?}");
    }
    for (name, more) in [
        ("beforeShellExecution", json!({ "command": "cat ~/.ssh/id_rsa" })),
        ("beforeReadFile", json!({ "file_path": "/home/u/.ssh/id_rsa", "content": "x" })),
        ("beforeMCPExecution", mcp("read_file", "{\"path\":\"/home/u/.ssh/id_rsa\"}")),
    ] {
        let ran = cursor.hook(&world, &[], &event(name, more));
        assert!(cursor.refusal(ran.code, &ran.out).contains("credentials"), "{name}: {ran:?}");
    }
    let broken = cursor.hook(&world, &[], &event("beforeMCPExecution", mcp("read_file", "{")));
    assert_eq!(broken.code, 2, "{broken:?}");
}
