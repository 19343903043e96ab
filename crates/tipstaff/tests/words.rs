//! Access words end to end: put in force, asked about, compared with real calls, and proved.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and says what it leaves out"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, Session, World, text};

const WORDS: &str = "// Who may do what here.
role(reader) = { notes/read_note, notes/list_notes }
allow(coder, notes/delete_note, roots)
ask(role(reader), fs:write, *)
deny(not { coder, user(bob) }, notes/delete_note, *) \"Ask coder to do it.\"
policy(argument(\"/name\", \"keep*\")) = {
  deny(*, notes/delete_note)
}
";

/// Ada's agents: coder who is a maker, helper who is a reader, and bare who was given nothing.
fn world(words: &str) -> World {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    fs::write(world.home().join("policies/team.access"), words).unwrap();
    let [ada, coder, helper, bare] = ["ada", "coder", "helper", "bare"].map(|name| {
        let file = world.at(&format!("{name}.key"));
        let made = world.run(&["principal", "key", file.to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        made.out.trim().to_owned()
    });
    order(&world, &["ada", "--kind", "human", "--key", &ada]);
    let maker = ["coder", "--kind", "agent", "--owner", "ada", "--role", "maker", "--key", &coder];
    order(&world, &maker);
    order(&world, &["bare", "--kind", "agent", "--owner", "ada", "--key", &bare]);
    let helper =
        ["helper", "--kind", "agent", "--owner", "ada", "--role", "reader", "--key", &helper];
    order(&world, &helper);
    world
}

fn order(world: &World, words: &[&str]) {
    let mut done = world.run(&[&["principal", "enrol"][..], words].concat());
    // A monitor that is just ending takes the order with it.
    for _ in 0..20 {
        if !done.err.contains("just ended") {
            break;
        }
        done = world.run(&[&["principal", "enrol"][..], words].concat());
    }
    assert_eq!(done.code, 0, "{done:?}");
}

fn session(world: &World, key: Option<&str>) -> Session {
    let work = world.work();
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let file = key.map(|name| world.at(&format!("{name}.key")));
    let options = file.as_ref().map(|file| ["--key", file.to_str().unwrap()]);
    let options = options.as_ref().map_or(&[][..], |options| &options[..]);
    let mut session = world.wrap_apart_with("notes", options, &server);
    session.handshake();
    session.list();
    session
}

/// The answers of `who-can`, by principal.
fn who_can(world: &World, words: &[&str]) -> BTreeMap<String, (String, String)> {
    let asked = world.run(&[&["--json", "policy", "who-can"][..], words].concat());
    assert!(asked.code < 2, "{asked:?}");
    let answer = asked.json();
    let rows = answer["who"].as_array().unwrap().iter().map(|row| {
        let answers = row["answers"].as_array().unwrap();
        assert_eq!(answers.len(), 1, "{row}");
        let word = |name: &str| answers[0][name].as_str().unwrap().to_owned();
        (row["principal"].as_str().unwrap().to_owned(), (word("verdict"), word("rule")))
    });
    rows.collect()
}

#[test]
fn who_can_says_what_real_calls_are_answered() {
    let world = world(WORDS);
    let path = world.work().join("a.md");
    let (path, kept) = (path.to_str().unwrap(), "argument(\"/name\", \"keep.md\")");
    let calls = [
        ("read_note", json!({ "name": path }), path),
        ("list_notes", json!({}), "*"),
        ("write_note", json!({ "name": path, "text": "x" }), path),
        ("delete_note", json!({ "name": "keep.md" }), kept),
        ("delete_note", json!({ "name": path }), path),
    ];
    let mut said = Vec::new();
    for (name, key) in [
        ("coder", Some("coder")),
        ("helper", Some("helper")),
        ("bare", Some("bare")),
        ("anybody", None),
    ] {
        let mut session = session(&world, key);
        for (tool, arguments, resource) in &calls {
            session.call(tool, arguments.clone());
            let answers = who_can(&world, &[&format!("notes/{tool}"), resource]);
            said.push((name, *tool, answers[name].clone()));
        }
        drop(session);
    }
    world.settle();
    let receipts = world.receipts();
    let verdicts = receipts.iter().map(|line| &line["receipt"]).filter(|r| r["kind"] == "verdict");
    let judged: Vec<(String, String)> = verdicts
        .map(|receipt| {
            let decision = &receipt["decision"];
            let rule = decision["rule"].as_str().or(decision["reason"].as_str());
            (receipt["decision"]["verdict"].as_str().unwrap().to_owned(), rule.unwrap().to_owned())
        })
        .collect();
    assert_eq!(judged.len(), said.len());
    for ((name, tool, said), judged) in said.iter().zip(&judged) {
        assert_eq!(said, judged, "{name} {tool}");
    }
    // Each of the three words decided something.
    for rule in
        ["team.access.2", "team.access.3", "team.access.4", "team.access.5", "team.access.7"]
    {
        assert!(judged.iter().any(|(_, found)| found.starts_with(rule)), "{rule}: {judged:?}");
    }
    let replayed = world.run(&["replay"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    world.assert_whole();
}

#[test]
fn what_somebody_can_is_what_who_can_says_of_them() {
    let world = world(WORDS);
    let answer = world.run(&["--json", "policy", "what-can", "helper"]).json();
    assert_eq!((&answer["roles"], &answer["user"]), (&json!(["reader"]), &json!("ada")));
    let find = |place: &str, action: &str| -> (String, String) {
        let places = answer["can"].as_array().unwrap();
        let place = places.iter().find(|found| found["where"] == place).unwrap();
        let answers = place["answers"].as_array().unwrap();
        let has = |row: &&Value| row["actions"].as_array().unwrap().contains(&json!(action));
        let row = answers.iter().find(has).unwrap();
        (row["verdict"].as_str().unwrap().to_owned(), row["rule"].as_str().unwrap().to_owned())
    };
    assert_eq!(find("in roots", "fs:write@T3"), ("STEP_UP".into(), "team.access.4".into()));
    assert_eq!(find("elsewhere", "fs:write@T3"), ("STEP_UP".into(), "team.access.4".into()));
    assert_eq!(find("in roots", "git:commit@T3"), ("ALLOW".into(), "inside-roots".into()));
    let of = |words: &[&str]| who_can(&world, words)["helper"].clone();
    assert_eq!(find("elsewhere", "git:commit@T3"), of(&["git:commit"]));
    assert_eq!(find("in roots", "git:commit@T3"), of(&["git:commit", "roots"]));
    // Who may not act at all can do nothing, and exit codes say so.
    assert_eq!(world.run(&["principal", "suspend", "ada"]).code, 0);
    let nothing = world.run(&["policy", "what-can", "helper"]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.out.contains("ada is suspended"), "{nothing:?}");
    let nobody = world.run(&["policy", "what-can", "eve"]);
    assert_eq!(nobody.code, 3);
    assert!(nobody.err.contains("nobody of this name is enrolled"), "{nobody:?}");
    let wrong = world.run(&["policy", "who-can", "fs:wriet"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("classes of fs are fs:delete"), "{wrong:?}");
    let denied = world.run(&["policy", "who-can", "fs:read", "credentials"]);
    assert_eq!(denied.code, 1, "{denied:?}");
}

#[test]
fn a_file_of_words_is_checked_compiled_and_put_in_force_like_any_other() {
    let world = world(WORDS);
    let mut session = session(&world, Some("coder"));
    let path = world.work().join("a.md");
    let file = world.home().join("policies/team.access");
    // A fault keeps the old words in force, and says where it is.
    fs::write(&file, "allow(coder, fs:wriet, *)\n").unwrap();
    let check = world.run(&["policy", "check"]);
    assert_eq!(check.code, 1);
    let folder = world.at("other");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.access"), "deny({ codr, coder, role(admin) }, T5, *)").unwrap();
    let strangers = world.run(&["policy", "check", folder.to_str().unwrap()]);
    assert_eq!(strangers.code, 0);
    assert!(strangers.out.contains("Agent::\"codr\": nobody who is enrolled"), "{strangers:?}");
    assert!(strangers.out.contains("Role::\"admin\": nobody who is enrolled"), "{strangers:?}");
    assert!(!strangers.out.contains("Agent::\"coder\""), "{strangers:?}");
    assert!(
        check.out.contains("team.access:1:1: the catalogue has no class `fs:wriet`"),
        "{check:?}"
    );
    assert!(check.out.contains("hint: classes of fs are"), "{check:?}");
    let compiled = world.run(&["policy", "compile", file.to_str().unwrap()]);
    assert_eq!(compiled.code, 1);
    std::thread::sleep(Duration::from_millis(1500));
    let asked = who_can(&world, &["notes/delete_note", path.to_str().unwrap()]);
    assert_eq!(
        asked["coder"],
        ("ALLOW".into(), "team.access.3".into()),
        "{:?}",
        world.run(&["policy", "who-can", "notes/delete_note", path.to_str().unwrap()])
    );
    let log = fs::read_to_string(world.home().join("monitor.log")).unwrap();
    assert!(log.contains("no class `fs:wriet`"), "{log}");
    // Other words take its place, with a receipt that names the Cedar they mean.
    fs::write(&file, "deny(*, notes/delete_note, *) \"Not today.\"\n").unwrap();
    let compiled = world.run(&["policy", "compile", file.to_str().unwrap()]);
    assert_eq!(compiled.code, 0, "{compiled:?}");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = session.call("delete_note", json!({ "name": path.to_str().unwrap() }));
        if text(&answer).contains("Not today.") {
            break;
        }
        fs::write(&path, "hi").unwrap();
        assert!(Instant::now() < until, "{answer}");
        // Not so often that the call counts as one that is repeated for nothing.
        std::thread::sleep(Duration::from_millis(1200));
    }
    // Another comment is no change.
    fs::write(&file, "deny(*,  notes/delete_note, *)  \"Not today.\" // said otherwise\n").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    drop(session);
    world.settle();
    let receipts = world.receipts();
    let changes = receipts.iter().filter(|line| line["receipt"]["control"]["what"] == "policy-set");
    assert_eq!(changes.count(), 2, "the first words, and the second");
    let kept = objects(&world.home());
    let source = compiled.out.replace('\n', "\\n").replace('"', "\\\"");
    assert!(kept.iter().any(|text| text.contains(&source)), "the Cedar is kept");
    assert!(kept.iter().all(|text| !text.contains("deny(*")), "the words are not");
    assert_eq!(world.run(&["replay"]).code, 0);
    world.assert_whole();
}

fn objects(home: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders: Vec<PathBuf> = vec![home.join("objects")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(path) {
                texts.push(text);
            }
        }
    }
    texts
}

/// `cvc5` from `CVC5` or the path; without one, what needs it is left out, and said so.
fn solver() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("CVC5").map(PathBuf::from);
    let found = named.or_else(|| {
        std::env::split_paths(&path).map(|at| at.join("cvc5")).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(std::env::var_os("TIPSTAFF_NEEDS_CVC5").is_none(), "there is no cvc5");
        println!("SKIPPED: there is no cvc5 (apt install cvc5)");
    }
    found
}

#[test]
fn proofs_answer_with_exit_codes() {
    let world = world(WORDS);
    let prove = |words: &[&str]| world.run(&[&["policy", "prove"][..], words].concat());
    let none = prove(&["no agent can ever do T5", "--solver", "/nowhere/cvc5"]);
    assert_eq!(none.code, 3, "{none:?}");
    assert!(none.err.contains("/nowhere/cvc5"), "{none:?}");
    assert_eq!(prove(&["T5 is bad", "--solver", "/nowhere/cvc5"]).code, 2);
    assert_eq!(prove(&["--solver", "/nowhere/cvc5"]).code, 2, "nothing to prove");
    let Some(solver) = solver() else { return };
    let solver = solver.to_str().unwrap();
    let holds = "not coder can never do notes/delete_note without approval";
    let proved = prove(&[holds, "--solver", solver]);
    // Bob's agents may.
    assert_eq!(proved.code, 1, "{proved:?}");
    assert!(proved.out.contains("User::\"bob\""), "{proved:?}");
    let holds = "not { coder, user(bob) } can never do notes/delete_note";
    let proved = prove(&[holds, "--solver", solver]);
    assert_eq!(proved.code, 0, "{proved:?}");
    assert!(proved.out.contains("proved"), "{proved:?}");
    let both = world.run(&[
        "--json",
        "policy",
        "prove",
        holds,
        "no agent can ever do T1",
        "--solver",
        solver,
    ]);
    assert_eq!(both.code, 1, "{both:?}");
    assert_eq!(both.json()["answers"][0]["proved"], true);
    assert!(both.json()["answers"][1]["counterexample"]["agent"].is_string(), "{both:?}");
}

#[test]
fn a_set_that_breaks_what_is_required_is_not_put_in_force() {
    let Some(solver) = solver() else { return };
    let world = world("deny(*, T5, *)\n");
    let require = "no agent can ever do T5";
    let section =
        |solver: &str| format!("[policies]\nrequire = [{require:?}]\nsolver = {solver:?}\n");
    world.settle();
    world.config(&section(solver.to_str().unwrap()));
    let file = world.home().join("policies/team.access");
    let path = world.work().join("a.md");
    let asked = ["notes/delete_note", path.to_str().unwrap()];
    let mut coder = session(&world, Some("coder"));
    let answer = coder.call("delete_note", json!({ "name": path.to_str().unwrap() }));
    assert!(text(&answer).contains("team.access.1"), "{answer}");
    assert_eq!(who_can(&world, &asked)["coder"], ("DENY".into(), "team.access.1".into()));
    // A set that breaks it: refused with the request that it would let through.
    fs::write(&file, "allow(coder, *, *)\n").unwrap();
    let log = world.home().join("monitor.log");
    let until = Instant::now() + Duration::from_secs(40);
    while !fs::read_to_string(&log)
        .unwrap()
        .contains("required: no agent can ever do T5: not so: agent")
    {
        assert!(Instant::now() < until, "{}", fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(who_can(&world, &asked)["coder"], ("DENY".into(), "team.access.1".into()));
    // Not at a start either: what was in force before stays.
    drop(coder);
    world.settle();
    let mut coder = session(&world, Some("coder"));
    let answer = coder.call("delete_note", json!({ "name": path.to_str().unwrap() }));
    assert!(text(&answer).contains("team.access.1"), "{answer}");
    assert_eq!(who_can(&world, &asked)["coder"], ("DENY".into(), "team.access.1".into()));
    drop(coder);
    world.settle();
    // A solver that isn't there proves nothing: the last set stays as it was proved, under the old configuration.
    world.config(&section("/nowhere/cvc5"));
    let start = world.run(&["principal", "list"]);
    assert_eq!(start.code, 3, "{start:?}");
    fs::write(&file, "deny(*, T5, *)\n").unwrap();
    world.config(&section(solver.to_str().unwrap()));
    let start = world.run(&["principal", "list"]);
    assert_eq!(start.code, 0, "{start:?}");
}
