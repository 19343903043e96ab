//! The command line as a user meets it: every command, its answers in JSON, its errors and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::World;

#[test]
fn without_a_home_every_command_says_what_to_do() {
    let world = World::empty();
    for words in ["--help", "--version", "help wrap", "receipts --help"] {
        let ran = world.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{words}");
        assert!(!ran.out.is_empty(), "{words}");
    }
    for (code, words) in [
        (2, ""),
        (2, "nonsense"),
        (3, "verify"),
        (3, "verify nofile"),
        (2, "verify --head zz"),
        (3, "receipts list"),
        (3, "receipts show abcd"),
        (3, "receipts export"),
        (3, "keys jwks"),
        (3, "replay"),
        (3, "why abcd"),
        (3, "log fsck"),
        (3, "log proof abcd"),
        (3, "tools accept fake"),
        (3, "tools diff"),
        (0, "policy check"),
        (0, "policy explain read_file"),
        (1, "policy explain delete_everything"),
        (3, "policy test nofile"),
        (3, "policy check nofolder"),
        (0, "classify read_file"),
        (2, "classify"),
        (2, "classify x [1]"),
        (2, "completions nosh"),
        (2, "wrap"),
        (2, "notes"),
    ] {
        let ran = world.run(&words.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>());
        assert_eq!(ran.code, code, "{words}: {ran:?}");
        match code {
            3 => assert!(ran.err.contains("because:") && ran.err.contains("next:"), "{ran:?}"),
            2 => assert!(!ran.err.is_empty() && ran.out.is_empty(), "{words}: {ran:?}"),
            _ => assert!(!ran.out.is_empty() && ran.err.is_empty(), "{words}: {ran:?}"),
        }
    }
    assert!(!world.home().exists(), "looking makes no home");
    // A mistyped home is not paused, watched or empty: it isn't there.
    for words in [
        "queue",
        "queue --standing",
        "pause",
        "resume",
        "tail",
        "approve 3f2a9c",
        "refuse 3f2a9c",
        "withdraw 3f2a9c",
        "session list",
        "principal list",
        "principal suspend coder",
        "approver rotate",
        "group list",
        "grants",
        "revoke 3f2a9c",
        "whoami",
        "login tickets",
        "login --list",
        "logout tickets",
        "keys jwks",
        "keys ca",
        "tools accept notes",
        "policy suggest",
    ] {
        let ran = world.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 3, "{words}: {ran:?}");
        let home = world.home().display().to_string();
        assert!(ran.err.contains(&format!("There is no home at {home}.")), "{words}: {ran:?}");
        assert!(ran.err.contains("tipstaff init"), "{words}: {ran:?}");
    }
    assert!(!world.home().exists(), "and none was made");
    let failed = world.run(&["--json", "verify"]).json();
    assert!(
        failed["error"].is_string() && failed["cause"].is_string() && failed["next"].is_string()
    );
    for words in [
        &["--json", "nonsense"][..],
        &["--json", "classify"],
        &["verify", "--head", "zz", "--json"],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.json()["error"].is_string() && ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn a_new_home_is_empty_and_owned_by_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::empty();
    let made = world.run(&["--json", "init"]);
    assert_eq!((made.code, &made.json()["existed"]), (0, &json!(false)));
    assert_eq!(world.run(&["--json", "init"]).json()["existed"], json!(true));
    for name in ["", "keys", "keys/receipts.key"] {
        let mode = fs::metadata(world.home().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    for name in ["config.toml", "policies/tipstaff.cedar"] {
        assert!(world.home().join(name).exists(), "{name}");
    }
    assert_eq!(world.run(&["--json", "policy", "check"]).json()["faults"], json!([]));
    let keys = world.run(&["keys", "jwks"]).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!(keys["keys"][0]["crv"], json!("Ed25519"));
    assert!(!keys.to_string().contains("\"d\""), "no private half");
    // An empty chain is not valid, and says so.
    assert_eq!(world.run(&["verify"]).code, 1);
    assert_eq!(world.run(&["--json", "verify"]).json()["valid"], json!(false));
    assert_eq!(world.run(&["receipts", "list"]).code, 0);
    assert_eq!(world.run(&["--json", "replay"]).json()["rederived"], json!(0));
    assert_eq!(world.run(&["receipts", "show", "abcd"]).code, 3);
    assert_eq!(world.run(&["receipts", "show", "zz"]).code, 2);
}

#[test]
fn completions_are_for_every_shell() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}");
        assert!(ran.out.contains("receipts") && ran.out.contains("replay"), "{shell}");
    }
}

#[test]
fn classify_says_class_and_tier() {
    let world = World::empty();
    let tier = |words: &[&str]| {
        let mut all = vec!["--json", "classify"];
        all.extend(words);
        let ran = world.run(&all);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()["tier"].as_u64().unwrap()
    };
    let write = [r#"write_file"#, r#"{"path":"a.txt","content":"x"}"#, "--server", "filesystem"];
    assert_eq!(tier(&write), 3);
    assert_eq!(tier(&["read_text_file", r#"{"path":"a"}"#, "--server", "filesystem"]), 1);
    assert_eq!(tier(&["--shell", "ls -l"]), 1);
    assert_eq!(tier(&["--shell", "rm -rf build"]), 5);
    assert!(tier(&["--shell", "curl https://example.com/x | sh"]) >= 4);
    assert!(tier(&["--shell", "git push --force"]) >= 4);
    let unknown = world.run(&["--json", "classify", "frobnicate"]).json();
    assert_eq!((&unknown["class"], &unknown["tier"]), (&json!("unclassified"), &json!(3)));
    let paths =
        world.run(&["--json", "classify", "write_file", write[1], "--server", "filesystem"]);
    assert_eq!(paths.json()["paths"][0]["text"], json!("a.txt"));
}

#[test]
fn a_faulty_policy_set_is_named_by_file_and_line() {
    let world = World::empty();
    let folder = world.at("set");
    fs::create_dir(&folder).unwrap();
    let set = folder.to_str().unwrap().to_owned();
    fs::write(folder.join("good.cedar"), "permit (principal, action, resource);\n").unwrap();
    assert_eq!(world.run(&["policy", "check", &set]).code, 0);
    for (text, line) in [
        ("// one\npermit (principal, action, resource)\nwhen { context.teir == 1 };\n", 3),
        ("permit (principal, action, resource)\nwhen { context.tier == };\n", 2),
        ("@id(\"x\")\n@color(\"red\")\npermit (principal, action, resource);\n", 2),
    ] {
        fs::write(folder.join("bad.cedar"), text).unwrap();
        let ran = world.run(&["policy", "check", &set]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.out.contains(&format!("bad.cedar:{line}:")), "{text}\n{}", ran.out);
        let faults = world.run(&["--json", "policy", "check", &set]).json();
        assert!(!faults["faults"].as_array().unwrap().is_empty());
    }
    let nested = format!(
        "permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(5000),
        ")".repeat(5000)
    );
    fs::write(folder.join("bad.cedar"), nested).unwrap();
    assert_eq!(world.run(&["policy", "check", &set]).code, 1, "refused, and no stack overflow");
}

#[test]
fn policy_cases_are_judged() {
    let world = World::new();
    let cases = world.at("cases.jsonl");
    let file = cases.to_str().unwrap().to_owned();
    let inside = world.work().join("a.txt");
    let lines = [
        json!({"server":"filesystem","tool":"read_text_file","arguments":{"path":"/etc/hosts"},"expect":"ALLOW"}),
        json!({"server":"filesystem","tool":"write_file","arguments":{"path":inside,"content":"x"},"expect":"ALLOW"}),
        json!({"server":"filesystem","tool":"write_file","arguments":{"path":"/etc/x","content":"x"},"expect":"STEP_UP"}),
        json!({"server":"filesystem","tool":"read_text_file","arguments":{"path":"~/.ssh/id_ed25519"},"expect":"DENY"}),
        json!({"server":"filesystem","tool":"read_text_file","arguments":{"path":world.home().join("keys/log.key")},"expect":"DENY"}),
        json!({"server":"else","tool":"frobnicate","expect":"STEP_UP"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&cases, &text).unwrap();
    let ran = world.run(&["--json", "policy", "test", &file]);
    assert_eq!((ran.code, &ran.json()["passed"]), (0, &json!(6)), "{ran:?}");
    fs::write(&cases, text.replace("STEP_UP", "ALLOW")).unwrap();
    let ran = world.run(&["policy", "test", &file]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("line 3: expected ALLOW, got STEP_UP by outside-roots"), "{ran:?}");
    fs::write(&cases, format!("{text}{{\"tool\":\"x\",\"expect\":\"MAYBE\"}}\n")).unwrap();
    let ran = world.run(&["policy", "test", &file]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("cases.jsonl:7"), "{ran:?}");
    let explained = world.run(&["--json", "policy", "explain", "frobnicate"]);
    assert_eq!((explained.code, &explained.json()["rule"]), (1, &json!("unclassified")));
}

#[test]
fn the_demo_runs_and_leaves_nothing() {
    let world = World::empty();
    let mut command = world.command();
    let output = command.arg("demo").env("TMPDIR", world.at("")).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{out}");
    for word in
        ["ALLOW", "MODIFY", "STEP_UP", "DENY", "duplicate object key", " 0 faults", "0 differ"]
    {
        assert!(out.contains(word), "{word} is missing in\n{out}");
    }
    assert_eq!(fs::read_dir(world.at("")).unwrap().count(), 0, "the demo's folder is gone");
}

/// Exports of a home in which something happened: the lines, and the key set beside them.
fn exported(world: &World) -> Vec<String> {
    let mut session = world.notes();
    session.handshake();
    session.call("write_note", json!({"name": "a.md", "text": "x"}));
    session.call("delete_note", json!({"name": "a.md"}));
    session.call("read_note", json!({"name": "a.md"}));
    assert_eq!(session.end(), 0);
    world.settle();
    fs::create_dir(world.at("away")).unwrap();
    fs::write(world.at("away/jwks.json"), world.run(&["keys", "jwks"]).out).unwrap();
    world.run(&["receipts", "export"]).out.lines().map(str::to_owned).collect()
}

#[test]
fn an_export_is_verified_elsewhere_without_a_home() {
    let world = World::new();
    let lines = exported(&world);
    let elsewhere = World::empty();
    let (file, jwks) = (world.at("away/export.jsonl"), world.at("away/jwks.json"));
    let (file, jwks) = (file.to_str().unwrap(), jwks.to_str().unwrap());
    let verify = |text: &str, more: &[&str]| {
        fs::write(file, text).unwrap();
        let mut words = vec!["--json", "verify", file, "--jwks", jwks];
        words.extend(more);
        let ran = elsewhere.run(&words);
        (ran.code, ran.json())
    };
    let whole = lines.join("\n") + "\n";
    let (code, answer) = verify(&whole, &[]);
    assert_eq!((code, &answer["valid"]), (0, &json!(true)), "{answer}");
    assert!(!elsewhere.home().exists(), "no home was needed");
    let chains = answer["chains"].as_array().unwrap().clone();
    let session = chains.iter().find(|c| c["chain"].as_str().unwrap().starts_with("s-")).unwrap();
    assert_eq!(session["closed"], json!(true));
    assert_eq!(session["signatures"], session["length"]);
    // Standard input, and without keys: links are checked, and it says that signatures were not.
    let ran = elsewhere.run_with(&["verify", "-"], &whole);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("signatures were not"), "{ran:?}");

    // A cut-off end: reported without the close receipt, refused with the head.
    let head = session["head"].as_str().unwrap();
    let of_session: Vec<&String> =
        lines.iter().filter(|line| line.contains(session["chain"].as_str().unwrap())).collect();
    let text = |lines: &[&String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let cut = text(&of_session[..of_session.len() - 1]);
    let (code, answer) = verify(&cut, &[]);
    assert_eq!((code, &answer["chains"][0]["closed"]), (0, &json!(false)));
    let ran = elsewhere.run(&["verify", file, "--jwks", jwks]);
    assert!(ran.out.contains("cut-off end can't be excluded"), "{ran:?}");
    assert_eq!(verify(&cut, &["--head", head]).0, 1, "the head is not there");
    assert_eq!(verify(&text(&of_session), &["--head", head]).0, 0);

    // Tampering.
    let refused = |text: &str| {
        let (code, answer) = verify(text, &[]);
        assert_eq!((code, &answer["valid"]), (1, &json!(false)), "{text}");
    };
    refused(&whole.replacen("STEP_UP", "ALLOW", 1));
    refused(&text(&[&of_session[1..], &of_session[..1]].concat()));
    refused(&text(&[&of_session[..2], &of_session[3..]].concat()));
    refused(&whole.replacen("\"signature\":\"", "\"signature\":\"A", 1));
    refused("");
    refused("{}\n");
    // Another home's keys verify nothing of this one.
    let other = World::empty();
    other.run(&["init"]);
    fs::write(jwks, other.run(&["keys", "jwks"]).out).unwrap();
    refused(&whole);
    fs::write(jwks, "{\"keys\":[]}").unwrap();
    assert_eq!(elsewhere.run(&["verify", file, "--jwks", jwks]).code, 3);
}

#[test]
fn receipts_are_listed_shown_explained_and_proved() {
    let world = World::new();
    let lines = exported(&world);
    assert_eq!(world.receipts().len(), lines.len());
    assert_eq!(world.run(&["receipts", "list", "--last", "2"]).out.lines().count(), 2);
    let receipts = world.receipts();
    let of = |verdict: &str| -> &Value {
        let found = receipts.iter().find(|r| r["receipt"]["decision"]["verdict"] == json!(verdict));
        found.unwrap()
    };
    let held = of("STEP_UP")["hash"].as_str().unwrap();
    let why = world.run(&["--json", "why", held.get(..12).unwrap()]);
    assert_eq!(why.code, 0);
    assert_eq!(why.json()["rule"], json!("high-tiers"));
    assert_eq!(why.json()["tool"], json!("notes/delete_note"));
    let allowed = of("ALLOW")["hash"].as_str().unwrap();
    let shown = world.run(&["receipts", "show", allowed, "--inputs"]).json();
    assert_eq!(shown["hash"], json!(allowed));
    assert!(shown["inputs"].to_string().contains("write_note"), "{shown}");
    assert!(!shown["receipt"].to_string().contains("a.md"), "no arguments in the receipt");
    let proof = world.run(&["log", "proof", allowed]);
    assert_eq!(proof.code, 0, "{proof:?}");
    assert!(proof.out.starts_with("c2sp.org/tlog-proof"), "{proof:?}");
    // The format of one session, for verify-chain endpoints.
    assert_eq!(world.run(&["receipts", "export", "--format", "jtp"]).code, 2);
    let chain = of("ALLOW")["receipt"]["chain"].as_str().unwrap();
    let jtp = world.run(&["receipts", "export", "--format", "jtp", "--session", chain]);
    assert!(jtp.json()["receipts"].as_array().unwrap().len() > 4);
    assert_eq!(world.run_with(&["verify", "-"], &jtp.out).code, 0);
    assert_eq!(world.run(&["receipts", "export", "--session", "s-none"]).code, 3);
    world.assert_whole();
}
