use super::*;

fn read_of(contract: Contract, input: &str) -> Result<Event, String> {
    Told::read(contract, input.as_bytes()).map(|told| told.event)
}

fn told(input: &str) -> Result<Event, String> {
    read_of(Contract::ClaudeCode, input)
}

fn before(input: &str) -> Before {
    match told(input).unwrap() {
        Event::Before(before) => *before,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_documented_input_becomes_an_action() {
    let input = r#"{"session_id":"s","transcript_path":"/t","cwd":"/w","permission_mode":"default",
        "hook_event_name":"PreToolUse","tool_name":"Bash","tool_use_id":"toolu_1",
        "tool_input":{"command":"ls","timeout":120000}}"#;
    let read = before(input);
    assert_eq!(read.action.qualified_tool(), "claude-code/Bash");
    assert_eq!(read.cwd, Some(PathBuf::from("/w")));
    let after = r#"{"session_id":"s","hook_event_name":"PostToolUse","tool_name":"Bash",
        "tool_use_id":"toolu_1","tool_input":{"command":"ls"},"tool_response":{"ms":0.10}}"#;
    let Event::After(after) = told(after).unwrap() else { panic!() };
    assert_eq!((after.ticket, after.status), (read.ticket, Status::Ok));
    assert_eq!(after.result.as_deref(), Some("{\"ms\":0.10}"), "as it came");
    let mcp = input.replace("\"Bash\"", "\"mcp__git__git_status\"");
    assert_eq!(before(&mcp).action.qualified_tool(), "git/git_status");
    assert_ne!(before(&input.replace("toolu_1", "toolu_2")).ticket, read.ticket);
    assert_ne!(before(&input.replace("\"s\"", "\"s2\"")).ticket, read.ticket);
}

#[test]
fn what_cannot_be_read_whole_is_refused_and_other_events_are_not() {
    let call = |more: &str| {
        format!(r#"{{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"Bash"{more}}}"#)
    };
    for input in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        call(""),
        call(r#","tool_input":[]"#),
        call(r#","tool_input":{"a":1,"a":2}"#),
        call(r#","tool_input":{"a":"\ud800"}"#),
        call(r#","tool_input":{},"tool_name":"Read""#),
        call(r#","tool_input":{}} {"#),
        r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{}}"#.to_owned(),
        r#"{"session_id":"s","hook_event_name":"PreToolUse","tool_input":{}}"#.to_owned(),
        call(&format!(r#","tool_input":{{"a":"{}"}}"#, "x".repeat(BODY_BYTES_MAX))),
    ] {
        let short: String = input.chars().take(80).collect();
        assert!(told(&input).is_err(), "{short}");
    }
    for name in ["SessionStart", "Stop", "SomethingNew"] {
        let input = format!(r#"{{"hook_event_name":"{name}","session_id":"s","x":1.5e400}}"#);
        assert!(matches!(told(&input), Ok(Event::Other)), "{name}");
    }
}

fn called(contract: Contract, input: &str) -> (String, Of, Digest, Option<PathBuf>) {
    match read_of(contract, input).unwrap() {
        Event::Before(before) => {
            (before.action.qualified_tool(), before.of, before.ticket, before.cwd)
        }
        other => panic!("{other:?}"),
    }
}

fn settled(contract: Contract, input: &str) -> (Digest, Status, Option<String>) {
    match read_of(contract, input).unwrap() {
        Event::After(after) => (after.ticket, after.status, after.result),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_codex_says_becomes_an_action() {
    let input = r#"{"session_id":"s","turn_id":"t","transcript_path":null,"cwd":"/w","hook_event_name":"PreToolUse",
        "model":"m","permission_mode":"default","tool_name":"Bash","tool_input":{"command":"ls"},"tool_use_id":"call_1"}"#;
    let (tool, of, ticket, cwd) = called(Contract::Codex, input);
    assert_eq!((tool.as_str(), of, cwd), ("codex/Bash", Of::Client, Some(PathBuf::from("/w"))));
    let after = input.replace("PreToolUse", "PostToolUse");
    let after = after.replace("\"tool_use_id\"", "\"tool_response\":\"a\\n\",\"tool_use_id\"");
    assert_eq!(settled(Contract::Codex, &after), (ticket, Status::Ok, Some("\"a\\n\"".to_owned())));
    let failed = after.replace("\"a\\n\"", "{\"isError\":true}");
    assert_eq!(settled(Contract::Codex, &failed).1, Status::Error);
    let server = input.replace("\"Bash\"", "\"mcp__notes__list_notes\"");
    let (tool, of, ..) = called(Contract::Codex, &server);
    assert_eq!(
        (tool.as_str(), of),
        ("notes/list_notes", Of::Joined("notes__list_notes".to_owned()))
    );
}

#[test]
fn what_cursor_says_becomes_an_action() {
    let base = r#""conversation_id":"c","generation_id":"g","cursor_version":"2.4","workspace_roots":["/w"]"#;
    let input = format!(
        r#"{{{base},"hook_event_name":"preToolUse","tool_name":"Shell","tool_input":{{"command":"ls"}},"tool_use_id":"1"}}"#
    );
    let (tool, of, ticket, cwd) = called(Contract::Cursor, &input);
    assert_eq!((tool.as_str(), of, cwd), ("cursor/Shell", Of::Client, Some(PathBuf::from("/w"))));
    let failed = input.replace("preToolUse", "postToolUseFailure");
    let failed = failed.replace("\"tool_use_id\"", "\"error_message\":\"no\",\"tool_use_id\"");
    assert_eq!(
        settled(Contract::Cursor, &failed),
        (ticket, Status::Error, Some("\"no\"".to_owned()))
    );
    // Who runs Claude Code's settings is told by what it says.
    assert_eq!(called(Contract::ClaudeCode, &input).0, "cursor/Shell");
    let mcp = format!(
        r#"{{{base},"hook_event_name":"beforeMCPExecution","tool_name":"list","tool_input":"{{\"a\":1}}","mcp_server_name":"notes","command":"x"}}"#
    );
    let (tool, of, ticket, _) = called(Contract::Cursor, &mcp);
    assert_eq!((tool.as_str(), of), ("notes/list", Of::Server("notes".to_owned())));
    let done = mcp.replace("beforeMCP", "afterMCP").replace("\"command\"", "\"result_json\"");
    assert_eq!(settled(Contract::Cursor, &done).0, ticket);
    let doubled = mcp.replace(r#"{\"a\":1}"#, r#"{\"a\":1,\"a\":2}"#);
    assert!(read_of(Contract::Cursor, &doubled).is_err());
    let generic = input.replace("\"Shell\"", "\"MCP:list\"");
    assert!(matches!(read_of(Contract::Cursor, &generic), Ok(Event::Other)));
    let shell = format!(
        r#"{{{base},"hook_event_name":"beforeShellExecution","command":"rm -rf x","cwd":"/v"}}"#
    );
    let (tool, _, ticket, cwd) = called(Contract::Cursor, &shell);
    assert_eq!((tool.as_str(), cwd), ("cursor/Shell", Some(PathBuf::from("/v"))));
    assert_eq!(settled(Contract::Cursor, &shell.replace("before", "after")).0, ticket);
    let file =
        format!(r#"{{{base},"hook_event_name":"beforeReadFile","file_path":"/k","content":"x"}}"#);
    assert_eq!(called(Contract::Cursor, &file).0, "cursor/Read");
    assert!(read_of(Contract::Cursor, &file.replace("file_path", "path")).is_err());
}

#[test]
fn what_vs_code_says_becomes_an_action() {
    let input = r#"{"timestamp":"2026-11-21T10:00:00.000Z","hook_event_name":"PreToolUse","session_id":"s","cwd":"/w",
        "tool_name":"create_file","tool_input":{"filePath":"/w/a"},"tool_use_id":"1"}"#;
    for contract in [Contract::Vscode, Contract::ClaudeCode] {
        assert_eq!(called(contract, input).0, "vscode/create_file");
    }
    let earlier =
        input.replace("hook_event_name", "hookEventName").replace("session_id", "sessionId");
    assert_eq!(called(Contract::Vscode, &earlier), called(Contract::Vscode, input));
    let both = input.replace("\"session_id\"", "\"sessionId\":\"o\",\"session_id\"");
    assert!(read_of(Contract::Vscode, &both).is_err(), "two names for one thing");
}

#[test]
fn what_gemini_says_becomes_an_action() {
    let input = r#"{"session_id":"s","transcript_path":"/t","cwd":"/w","hook_event_name":"BeforeTool","timestamp":"t",
        "tool_name":"mcp_notes_list_notes","tool_input":{},"mcp_context":{"server_name":"notes","tool_name":"list_notes","command":"x"}}"#;
    let (tool, of, ticket, _) = called(Contract::Gemini, input);
    assert_eq!((tool.as_str(), of), ("notes/list_notes", Of::Server("notes".to_owned())));
    let after = input.replace("BeforeTool", "AfterTool");
    let after = after
        .replace("\"mcp_context\"", "\"tool_response\":{\"llmContent\":\"x\"},\"mcp_context\"");
    assert_eq!(settled(Contract::Gemini, &after).0, ticket, "the same call has the same name");
    let failed = after.replace("\"llmContent\":\"x\"", "\"error\":{\"message\":\"no\"}");
    assert_eq!(settled(Contract::Gemini, &failed).1, Status::Error);
    assert!(
        read_of(Contract::Gemini, &input.replace("\"tool_name\":\"list_notes\",", "")).is_err()
    );
}

#[test]
fn a_prompt_is_read() {
    for (contract, name, session) in [
        (Contract::ClaudeCode, "UserPromptSubmit", "session_id"),
        (Contract::Codex, "UserPromptSubmit", "session_id"),
        (Contract::Vscode, "UserPromptSubmit", "sessionId"),
        (Contract::Cursor, "beforeSubmitPrompt", "conversation_id"),
        (Contract::Gemini, "BeforeAgent", "session_id"),
    ] {
        let input = format!(
            r#"{{"hook_event_name":"{name}","{session}":"s","prompt":"do \"it\"","attachments":[]}}"#
        );
        match read_of(contract, &input).unwrap() {
            Event::Prompt { text } => assert_eq!(text, "do \"it\"", "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        let none = input.replace("\"do \\\"it\\\"\"", "7");
        assert!(none != input && matches!(read_of(contract, &none), Ok(Event::Other)), "{name}");
    }
}
