//! Capabilities, end to end: granted, used, given on in part, revoked.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test; the lints know only `#[test]`"
)]

mod support;
use std::fs;

use serde_json::{Value, json};
use support::{BINARY, Ran, Session, World, kill, text};

/// A world with a person and two agents of theirs without roles, each with a key.
fn world() -> World {
    let world = World::new();
    fs::write(world.work().join("a.md"), "hi").unwrap();
    fs::write(world.work().join("b.md"), "ho").unwrap();
    let ada = key(&world, "ada");
    done(&world, &["principal", "enrol", "ada", "--kind", "human", "--key", &ada]);
    for name in ["coder", "helper"] {
        let key = key(&world, name);
        let words =
            ["principal", "enrol", name, "--kind", "agent", "--owner", "ada", "--key", &key];
        done(&world, &words);
    }
    world
}

/// Makes a key; its public half.
fn key(world: &World, name: &str) -> String {
    done(world, &["principal", "key", &format!("{name}.key")]).out.trim().to_owned()
}

fn done(world: &World, words: &[&str]) -> Ran {
    let done = world.run(words);
    assert_eq!(done.code, 0, "{words:?}: {done:?}");
    done
}

fn grant(world: &World, demands: &[&str], file: &str) {
    done(world, &[&["grant", "--to", "coder", "-o", file][..], demands].concat());
}

/// A session of the notes server for a principal, with a capability if one is named.
fn acts(world: &World, name: &str, capability: Option<&str>) -> Session {
    let (work, key) = (world.work(), world.at(&format!("{name}.key")));
    let mut options = vec!["--key", key.to_str().unwrap()];
    let file = capability.map(|file| world.at(file));
    if let Some(file) = &file {
        options.extend(["--capability", file.to_str().unwrap()]);
    }
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &options, &server);
    session.handshake();
    session.list();
    session
}

fn read(session: &mut Session, name: &str) -> String {
    text(&session.call("read_note", json!({ "name": name })))
}

fn reasons(world: &World) -> Vec<String> {
    let receipts = world.receipts();
    let verdicts = receipts.iter().map(|line| &line["receipt"]).filter(|r| r["kind"] == "verdict");
    verdicts.map(|v| v["decision"]["reason"].as_str().unwrap().to_owned()).collect()
}

/// The ids of a capability's blocks.
fn ids(world: &World, file: &str) -> Vec<String> {
    let shown = done(world, &["--json", "inspect", file]).json();
    let blocks = shown["blocks"].as_array().unwrap().iter();
    blocks.map(|block| block["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_agent_acts_within_what_it_was_given_until_it_is_taken_back() {
    let world = world();
    // Without role and capability, nothing.
    let mut bare = acts(&world, "coder", None);
    let no = read(&mut bare, "a.md");
    assert!(no.contains("neither a role nor a capability"), "{no}");
    assert_eq!(bare.end(), 0);

    grant(
        &world,
        &["--tool", "notes/read_note", "--one-of", "name=a.md", "--tier", "T3"],
        "coder.cap",
    );
    let mut session = acts(&world, "coder", Some("coder.cap"));
    assert_eq!(read(&mut session, "a.md"), "hi");
    let no = read(&mut session, "b.md");
    assert!(no.contains("not in this agent's capability") && no.contains("a.md"), "{no}");
    let no = text(&session.call("list_notes", json!({})));
    assert!(no.contains("not in this agent's capability"), "{no}");

    let id = ids(&world, "coder.cap").remove(0);
    done(&world, &["revoke", &id]);
    let no = read(&mut session, "a.md");
    assert!(no.contains("revoked"), "{no}");
    // And for ever: after a crash too.
    kill(world.monitor().unwrap(), "KILL");
    let no = read(&mut session, "a.md");
    assert!(no.contains("revoked"), "{no}");
    assert_eq!(session.end(), 0);
    world.settle();
    assert_eq!(
        reasons(&world),
        [
            "no_authority",
            "permitted",
            "outside_capability",
            "outside_capability",
            "capability_revoked",
            "capability_revoked"
        ]
    );
    let receipts = world.receipts();
    let verdict = receipts.iter().find(|r| r["receipt"]["decision"]["verdict"] == "ALLOW").unwrap();
    let authority: &Value = &verdict["receipt"]["authority"];
    assert_eq!(authority["capability"], json!([id]));
    assert!(authority["holder"].is_string(), "{authority}");
    world.assert_whole();
}

#[test]
fn a_part_of_it_is_given_on_without_asking_anybody_and_ends_with_the_whole() {
    let world = world();
    grant(&world, &["--tool", "notes/*", "--tier", "T3"], "coder.cap");
    let helper = done(&world, &["--json", "whoami", "--key", "helper.key"]);
    assert_eq!(helper.json()["agent"], "helper");
    let did = done(&world, &["--json", "principal", "show", "helper"]).json();
    let did = did["keys"][0]["did"].as_str().unwrap().to_owned();
    // Offline: there is no home where this runs.
    let mut command = world.command();
    command.env("TIPSTAFF_HOME", world.at("nowhere"));
    command.args(["attenuate", "coder.cap", "--key", "coder.key", "--to", &did]);
    command.args(["--tool", "notes/read_note", "--one-of", "name=a.md", "-o", "helper.cap"]);
    assert!(command.status().unwrap().success());
    assert!(!world.at("nowhere").exists());
    // Narrowing alone needs no key.
    done(&world, &["attenuate", "helper.cap", "--tier", "T1", "-o", "narrow.cap"]);
    assert_eq!(ids(&world, "narrow.cap").len(), 3);
    // Whoever isn't its holder gives nothing on.
    let stolen = world.run(&[
        "attenuate",
        "coder.cap",
        "--key",
        "helper.key",
        "--to",
        &did,
        "-o",
        "stolen.cap",
    ]);
    assert_eq!(stolen.code, 3, "{stolen:?}");
    assert!(stolen.err.contains("another holder's"), "{stolen:?}");

    let mut coder = acts(&world, "coder", Some("coder.cap"));
    let mut helper = acts(&world, "helper", Some("helper.cap"));
    let mut narrow = acts(&world, "helper", Some("narrow.cap"));
    assert_eq!(read(&mut coder, "b.md"), "ho");
    assert_eq!(read(&mut helper, "a.md"), "hi");
    assert_eq!(read(&mut narrow, "a.md"), "hi");
    assert!(read(&mut helper, "b.md").contains("not in this agent's capability"));

    // The last block ends alone, the one before it with it, the grant with everything.
    done(&world, &["revoke", "narrow.cap"]);
    assert!(read(&mut narrow, "a.md").contains("revoked"));
    assert_eq!(read(&mut helper, "a.md"), "hi");
    // Whom it went through may not act: nor does whoever has it from them.
    done(&world, &["principal", "suspend", "coder"]);
    assert!(read(&mut helper, "a.md").contains("went through"));
    done(&world, &["principal", "restore", "coder"]);
    assert_eq!(read(&mut helper, "a.md"), "hi");
    let grant = ids(&world, "coder.cap").remove(0);
    done(&world, &["revoke", grant.get(..12).unwrap()]);
    assert!(read(&mut helper, "a.md").contains("revoked"));
    assert!(read(&mut coder, "a.md").contains("revoked"));
    let list = done(&world, &["grants"]);
    assert!(list.out.contains("1 granted, 2 blocks revoked"), "{list:?}");
    assert_eq!((coder.end(), helper.end(), narrow.end()), (0, 0, 0));
    // A door that comes later finds the same.
    let mut late = acts(&world, "helper", Some("helper.cap"));
    assert!(read(&mut late, "a.md").contains("revoked"));
    assert_eq!(late.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let helpers = receipts.iter().find(|line| {
        let of = &line["receipt"]["authority"]["capability"];
        of.as_array().is_some_and(|ids| ids.len() == 2 && ids[0] == grant.as_str())
    });
    assert!(helpers.is_some(), "receipts name every block");
    world.assert_whole();
}

#[test]
fn what_is_refused_is_refused_for_everything_with_one_reason_and_a_receipt() {
    let world = world();
    grant(&world, &[], "coder.cap");
    let token = fs::read_to_string(world.at("coder.cap")).unwrap();
    fs::write(world.at("garbage.cap"), "not a capability").unwrap();
    fs::write(world.at("long.cap"), "A".repeat(40_000)).unwrap();
    let forged: String = token.chars().rev().collect();
    fs::write(world.at("forged.cap"), forged.trim()).unwrap();
    let elsewhere = World::new();
    let key = self::key(&elsewhere, "coder");
    done(&elsewhere, &["principal", "enrol", "ada", "--kind", "human", "--key", &key]);
    done(&elsewhere, &["grant", "--to", "ada", "-o", "ada.cap"]);
    fs::copy(elsewhere.at("ada.cap"), world.at("unknown.cap")).unwrap();
    for (name, file, reason, said) in [
        ("helper", "coder.cap", "capability_not_holder", "another holder's"),
        ("coder", "garbage.cap", "capability_malformed", "malformed"),
        ("coder", "long.cap", "capability_too_large", "larger than 16 KiB"),
        ("coder", "forged.cap", "capability_malformed", "malformed"),
        ("coder", "unknown.cap", "capability_unknown", "was not granted here"),
    ] {
        let before = reasons(&world).len();
        let mut session = acts(&world, name, Some(file));
        for _ in 0..2 {
            let no = read(&mut session, "a.md");
            assert!(no.contains(said) && no.contains("Receipt"), "{file}: {no}");
        }
        assert_eq!(session.end(), 0);
        world.settle();
        assert_eq!(reasons(&world).get(before..).unwrap(), [reason, reason], "{file}");
    }
    // What isn't there is no server.
    let words =
        ["wrap", "--key", "coder.key", "--capability", "gone.cap", "--", BINARY, "notes", "."];
    let gone = world.run(&words);
    assert_eq!(gone.code, 3, "{gone:?}");
    // And without a key nothing is anybody's.
    let bare = world.run(&["wrap", "--capability", "coder.cap", "--", BINARY, "notes", "."]);
    assert_eq!(bare.code, 2, "{bare:?}");
    world.assert_whole();
}

#[test]
fn uses_and_sums_are_counted_for_everybody_and_over_restarts() {
    let world = world();
    let demands =
        ["--tool", "fake/echo", "--uses", "5", "--budget", "amount=10", "--range", "amount=1.."];
    grant(&world, &demands, "coder.cap");
    let did = done(&world, &["--json", "principal", "show", "helper"]).json();
    let did = did["keys"][0]["did"].as_str().unwrap().to_owned();
    let words = ["attenuate", "coder.cap", "--key", "coder.key", "--to", &did, "--uses", "1"];
    done(&world, &[&words[..], &["-o", "helper.cap"]].concat());
    let fake = world.fake_server();
    let acts = |name: &str| {
        let (key, file) = (world.at(&format!("{name}.key")), world.at(&format!("{name}.cap")));
        let options = ["--key", key.to_str().unwrap(), "--capability", file.to_str().unwrap()];
        let mut session =
            world.wrap_apart_with("fake", &options, &fake.each_ref().map(String::as_str));
        session.handshake();
        session.list();
        session
    };
    let pay = |session: &mut Session, amount: i64| {
        text(&session.call("echo", json!({ "text": "paid", "amount": amount })))
    };
    let (mut coder, mut helper) = (acts("coder"), acts("helper"));
    assert_eq!(pay(&mut coder, 4), "echo paid");
    assert_eq!(pay(&mut helper, 3), "echo paid");
    // The helper's one use, and the sum of both.
    assert!(pay(&mut helper, 1).contains("check if uses(1, $v), $v < 1"));
    assert!(pay(&mut coder, 4).contains("spent(0, \"/amount\""));
    assert!(pay(&mut coder, -4).contains("not in this agent's capability"));
    kill(world.monitor().unwrap(), "KILL");
    assert!(pay(&mut helper, 1).contains("check if uses(1, $v), $v < 1"), "not forgotten");
    assert!(pay(&mut coder, 4).contains("spent(0, \"/amount\""), "not forgotten");
    assert_eq!(pay(&mut coder, 2), "echo paid");
    assert_eq!((coder.end(), helper.end()), (0, 0));
    world.settle();
    let mut coder = acts("coder");
    assert_eq!(pay(&mut coder, 1), "echo paid");
    assert!(pay(&mut coder, 1).contains("spent(0, \"/amount\""), "ten are spent");
    assert_eq!(coder.end(), 0);
    world.settle();
    world.assert_whole();
}

#[test]
fn time_position_session_and_paths_are_where_it_ends() {
    let world = world();
    let inside = world.work();
    let under = inside.to_str().unwrap();
    for (demands, ends) in [
        (&["--expires", "2h", "--until-position", "100000", "--under", under][..], None),
        (&["--expires", "0s"][..], Some("check if time($v), $v < ")),
        (&["--begins", "1h"][..], Some("check if time($v), $v >= ")),
        (&["--until-position", "3"][..], Some("check if position($v), $v < 3")),
        (&["--session", "s-0"][..], Some("check if session(\"s-0\")")),
        (&["--under", "/usr"][..], Some("check all path($v)")),
        (&["--host", "a.example"][..], Some("check all host($v)")),
        (&["--check", "reject if tool($t), $t.ends_with(\"note\")"][..], Some("reject if tool")),
        (&["--pattern", "name=[bc].md"][..], Some("[bc].md")),
    ] {
        let file = format!("{}.cap", demands.concat().replace(['/', '-', '"', ' '], "_"));
        grant(&world, demands, &file);
        let mut session = acts(&world, "coder", Some(&file));
        let said = read(&mut session, "a.md");
        match ends {
            None => assert_eq!(said, "hi", "{demands:?}"),
            Some(check) => assert!(said.contains(check), "{demands:?}: {said}"),
        }
        assert_eq!(session.end(), 0);
    }
    for wrong in [
        &["--tool", "read_note"][..],
        &["--tier", "T9"],
        &["--range", "n=3"],
        &["--pattern", "k=("],
        &["--expires", "soon"],
        &["--budget", "n=-1"],
    ] {
        let words = [&["grant", "--to", "coder", "-o", "wrong.cap"][..], wrong].concat();
        assert_eq!(world.run(&words).code, 2, "{wrong:?}");
    }
    assert!(!world.at("wrong.cap").exists());
    world.settle();
    world.assert_whole();
}

#[test]
fn a_capability_permits_nothing_that_policies_do_not() {
    let world = world();
    // Nothing permits a shell line like this, whatever was granted.
    grant(&world, &[], "coder.cap");
    let (key, file) = (world.at("coder.key"), world.at("coder.cap"));
    let options = ["--key", key.to_str().unwrap(), "--capability", file.to_str().unwrap()];
    let event = |tool: &str, input: Value| {
        json!({
            "hook_event_name": "PreToolUse", "session_id": "s", "cwd": world.work(),
            "tool_name": tool, "tool_input": input, "tool_use_id": "t1",
        })
        .to_string()
    };
    let hook = |event: &str| world.run_apart(&[&["hook"][..], &options].concat(), event);
    let inside = event("Read", json!({ "file_path": world.work().join("a.md") }));
    let ran = hook(&inside);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let ran = hook(&event("Bash", json!({ "command": "rm -rf /" })));
    assert!(ran.out.contains("deny"), "{ran:?}");
    // Rotation changes nothing of what was granted; the loss of the key ends it.
    let new = self::key(&world, "new");
    done(&world, &["principal", "rotate", "coder", "--key", &new, "--overlap", "0s"]);
    let new = world.at("new.key");
    let options = ["--key", new.to_str().unwrap(), "--capability", file.to_str().unwrap()];
    let hook = |event: &str| world.run_apart(&[&["hook"][..], &options].concat(), event);
    let ran = hook(&inside);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let shown = done(&world, &["--json", "principal", "show", "coder"]).json();
    let old = shown["keys"][0]["key_id"].as_str().unwrap().to_owned();
    done(&world, &["principal", "compromise", "coder", "--key-id", &old, "--from", "0"]);
    let ran = hook(&inside);
    assert!(ran.out.contains("deny") && ran.out.contains("went through"), "{ran:?}");
    world.settle();
    let reasons = reasons(&world);
    assert_eq!(reasons.first().map(String::as_str), Some("permitted"));
    assert_eq!(reasons.last().map(String::as_str), Some("capability_holder_ended"));
    assert!(!reasons.iter().any(|reason| reason == "outside_capability"), "{reasons:?}");
    world.assert_whole();
}

#[test]
fn whoami_and_inspect_say_what_a_capability_is_worth() {
    let world = world();
    grant(&world, &["--tier", "T2"], "coder.cap");
    let words = ["whoami", "--key", "coder.key", "--capability", "coder.cap"];
    let told = done(&world, &words);
    assert!(told.out.contains("within a capability of 1 block "), "{told:?}");
    let whole = done(&world, &[&["--json"][..], &words].concat()).json();
    let (agent, blocks) = (whole["agent"].as_str(), whole["capability"].as_array().map(Vec::len));
    assert_eq!((agent, blocks, &whole["refused"]), (Some("coder"), Some(1), &Value::Null));
    let shown = done(&world, &["inspect", "coder.cap"]);
    assert!(shown.out.contains("check if tier($v), $v <= 2"), "{shown:?}");
    assert!(shown.out.contains(&ids(&world, "coder.cap").remove(0)), "{shown:?}");
    done(&world, &["revoke", "coder.cap"]);
    let told = world.run(&words);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("revoked"), "{told:?}");
    let whole = world.run(&[&["--json"][..], &words].concat());
    assert_eq!((whole.code, &whole.json()["refused"]), (1, &json!("capability_revoked")));
    let again = world.run(&["revoke", "coder.cap"]);
    assert_eq!(again.code, 3, "{again:?}");
    // A grant is an order: an agent gives itself nothing.
    let work = world.work();
    let mut session = world.wrap("notes", &[BINARY, "notes", work.to_str().unwrap()], &[]);
    session.handshake();
    let own = world.run(&["grant", "--to", "coder", "-o", "own.cap"]);
    assert_eq!(own.code, 3, "{own:?}");
    assert!(own.err.contains("a person has to do it"), "{own:?}");
    assert!(!world.at("own.cap").exists());
    assert_eq!(session.end(), 0);
}
