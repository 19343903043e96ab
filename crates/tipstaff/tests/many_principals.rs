//! Enrolling many from a file: every line is looked at first, each principal has an order and a receipt of its own, and
//! what stopped goes on. The adversary is a file of which a line is wrong, and a crash in the middle.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test; the lints know only `#[test]`"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::{Ran, World, kill};
use tipstaff_core::key::SigningKey;

fn did(number: u64) -> String {
    let mut seed = [3; 32];
    if let Some(first) = seed.first_chunk_mut::<8>() {
        *first = number.to_le_bytes();
    }
    SigningKey::from_seed(&seed.into()).unwrap().verifying_key().to_did_key()
}

fn lines(count: u64) -> Vec<Value> {
    let line = |number| {
        let (kind, owner) = if number == 0 { ("human", None) } else { ("agent", Some("p0")) };
        json!({ "name": format!("p{number}"), "kind": kind, "owner": owner, "roles": ["reader"],
                "key": did(number) })
    };
    (0..count).map(line).collect()
}

fn import(world: &World, lines: &[Value]) -> Ran {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    import_text(world, &text.join("\n"))
}

fn import_text(world: &World, text: &str) -> Ran {
    fs::write(world.at("list"), text).unwrap();
    let file = world.at("list");
    world.run(&["--json", "principal", "enrol", "--from", file.to_str().unwrap()])
}

/// How many control receipts of principals there are.
fn recorded(world: &World) -> usize {
    let receipts = world.receipts();
    receipts.iter().filter(|line| line["receipt"]["action"] == "control:principals").count()
}

#[test]
fn a_file_of_many_is_enrolled_once_each_with_a_receipt() {
    let world = World::new();
    let all = lines(1300);
    let done = import(&world, &all);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.json()["enrolled"], 1300);
    assert_eq!(recorded(&world), 1300);
    let again = import(&world, &all);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(again.json()["enrolled"], 0);
    assert_eq!(again.json()["already"].as_array().unwrap().len(), 1300);
    assert_eq!(recorded(&world), 1300);

    // A page at a time, and after a kill the same.
    let list = |after: &str| {
        let words = ["--json", "principal", "list", "--limit", "1000", "--after", after];
        world.run(&words).json()
    };
    let (first, second) = (list("a"), list("p198"));
    assert_eq!(first["principals"].as_array().unwrap().len(), 1000);
    let next = first["next"].as_str().unwrap();
    assert_eq!(list(next)["principals"].as_array().unwrap().len(), 300);
    assert_eq!(list(next)["next"], Value::Null);
    assert_eq!(second["principals"][0]["name"], "p199");
    if let Some(monitor) = world.monitor() {
        kill(monitor, "KILL");
    }
    assert_eq!(list("a"), first);
    let text = world.run(&["principal", "list"]);
    assert_eq!(text.out.lines().count(), 101, "{text:?}");
    assert!(text.out.contains("1300 in all. More: tipstaff principal list --after p"), "{text:?}");
    world.settle();
    world.assert_whole();
}

#[test]
fn nothing_is_done_before_every_line_is_right() {
    let world = World::new();
    let good = lines(3);
    let with = |change: fn(&mut Value)| {
        let mut lines = good.clone();
        change(lines.get_mut(2).unwrap());
        lines
    };
    let cases: [(Vec<Value>, &str); 10] = [
        (with(|line| line["name"] = json!("P2")), "line 3: `name` is no name"),
        (with(|line| line["kind"] = json!("god")), "line 3: `kind` is none of"),
        (with(|line| line["owner"] = json!("nobody")), "line 3: an owner is a person or a service"),
        (with(|line| line["owner"] = Value::Null), "line 3: a person has no owner"),
        (with(|line| line["key"] = json!("did:key:z1")), "line 3: `key` is not"),
        (with(|line| line["key"] = json!(did(1))), "line 3: the key is or was a principal's"),
        (with(|line| line["name"] = json!("p1")), "line 3: p1 stands on line 2 already"),
        (with(|line| line["rolls"] = json!([])), "line 3: `rolls` is no member"),
        (with(|line| line["roles"] = json!("reader")), "line 3: `roles` is no list"),
        (with(|line| line["name"] = json!(7)), "line 3: `name` is no text"),
    ];
    for (lines, why) in cases {
        let done = import(&world, &lines);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.out.contains(why), "{why}: {done:?}");
        assert!(done.out.contains("Nobody was enrolled"), "{done:?}");
    }
    for (text, why) in [
        ("{\"name\":\"a\",\"name\":\"b\"}", "line 1"),
        ("[]", "line 1: it is no JSON object"),
        ("\n\n{", "line 3"),
        (&format!("{{\"name\":\"{}\"}}", "a".repeat(9000)), "line 1: it has more than"),
    ] {
        let done = import_text(&world, text);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.out.contains(why), "{why}: {done:?}");
    }
    assert_eq!(recorded(&world), 0);
    // Somebody else under the name that a line has.
    assert_eq!(import(&world, &good).code, 0);
    let other = with(|line| line["key"] = json!(did(99)));
    let done = import(&world, &other);
    assert!(done.code == 3 && done.out.contains("another kind, owner or key"), "{done:?}");
    let both = world.run(&["principal", "enrol", "x", "--from", "list"]);
    assert_eq!(both.code, 2, "{both:?}");
    assert_eq!(world.run(&["principal", "enrol", "x"]).code, 2);
}

#[test]
fn keys_are_made_in_the_home_and_a_run_that_stopped_goes_on_with_them() {
    let world = World::new();
    let line = |name: &str| json!({ "name": name, "kind": "human" });
    let done = import(&world, &[line("ada"), line("bob")]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.json()["keys_made"], 2);
    let folder = world.home().join("keys/principals");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let file = folder.join("ada.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let who = world.run(&["whoami", "--key", file.to_str().unwrap()]);
    assert!(who.out.contains("Agent::\"ada\""), "{who:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

    // The key was written and the order not: the same key is used.
    fs::copy(&file, folder.join("eve.key")).unwrap();
    let taken = import(&world, &[line("eve")]);
    assert!(taken.code == 3 && taken.out.contains("keys are never given twice"), "{taken:?}");
    fs::remove_file(folder.join("eve.key")).unwrap();
    let made = folder.join("eve.key");
    let key = world.run(&["principal", "key", made.to_str().unwrap()]).out.trim().to_owned();
    let done = import(&world, &[line("ada"), line("eve"), line("bob")]);
    assert_eq!(done.json()["already"], json!(["ada", "bob"]));
    assert_eq!((&done.json()["enrolled"], &done.json()["keys_made"]), (&json!(1), &json!(0)));
    let eve = world.run(&["--json", "principal", "show", "eve"]).json();
    assert_eq!(eve["keys"][0]["did"], json!(key));
}

#[test]
fn an_import_that_is_cut_off_is_finished_by_the_next() {
    let world = World::new();
    let all = lines(4000);
    let text: Vec<String> = all.iter().map(Value::to_string).collect();
    fs::write(world.at("list"), text.join("\n")).unwrap();
    // The monitor is there before, so that there is one to kill.
    world.config("idle_exit_s = 60\nsession_grace_s = 0");
    assert_eq!(world.run(&["principal", "list"]).code, 0);
    let monitor = world.monitor().unwrap();
    let mut command = world.command();
    command.args(["principal", "enrol", "--from"]).arg(world.at("list"));
    let mut import = support::Session::start(command);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let _ = import.child.kill();
    kill(monitor, "KILL");
    drop(import);
    let done =
        world.run(&["--json", "principal", "enrol", "--from", world.at("list").to_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
    let (new, already) = (&done.json()["enrolled"], &done.json()["already"]);
    let already = already.as_array().unwrap().len() as u64;
    assert_eq!(new.as_u64().unwrap() + already, 4000);
    assert_eq!(recorded(&world), 4000);
    if let Some(monitor) = world.monitor() {
        kill(monitor, "KILL");
    }
    world.assert_whole();
}
