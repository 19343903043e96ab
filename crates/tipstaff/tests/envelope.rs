//! Messages between principals, with real files, locks and processes that are killed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use support::{Ran, World};

fn world() -> World {
    let world = World::new();
    for (name, rest) in [
        ("ada", &["--kind", "human"][..]),
        ("coder", &["--kind", "agent", "--owner", "ada"]),
        ("helper", &["--kind", "agent", "--owner", "ada"]),
    ] {
        let file = world.at(&format!("{name}.key"));
        let made = world.run(&["principal", "key", file.to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        let key = made.out.trim().to_owned();
        let words = [&["principal", "enrol", name, "--key", &key][..], rest].concat();
        let mut done = world.run(&words);
        // A monitor that is just ending takes the order with it.
        for _ in 0..20 {
            if !done.err.contains("just ended") {
                break;
            }
            done = world.run(&words);
        }
        assert_eq!(done.code, 0, "{done:?}");
    }
    world
}

fn seal(world: &World, key: &str, to: &str, body: &str) -> Ran {
    let file = world.at(&format!("{key}.key"));
    world.run_with(&["envelope", "seal", "--key", file.to_str().unwrap(), "--to", to], body)
}

fn open(world: &World, reader: &str, message: &str) -> Ran {
    world.run_with(&["envelope", "open", "--as", reader], message)
}

fn refused(world: &World, reader: &str, message: &str, why: &str) {
    let answer = open(world, reader, message);
    assert_eq!((answer.code, answer.out.as_str()), (1, ""), "{answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    assert!(answer.err.contains(why), "{answer:?}");
}

#[test]
fn a_message_goes_from_one_to_another_once() {
    let world = world();
    let body = "The build is green.\n\u{e9} \0 and any byte";
    let message = seal(&world, "coder", "helper", body);
    assert_eq!(message.code, 0, "{message:?}");
    let message = message.out;
    assert_eq!(message.lines().count(), 1);
    refused(&world, "coder", &message, "it is for helper");
    refused(&world, "helper", &message.replace("\"body\":\"V", "\"body\":\"W"), "altered");
    refused(&world, "helper", "{}", "no envelope");
    let opened = open(&world, "helper", &message);
    assert_eq!((opened.code, opened.out.as_str()), (0, body), "{opened:?}");
    refused(&world, "helper", &message, "opened before");
    let old = world.run_with(&["--json", "envelope", "open", "--as", "helper"], &message);
    assert_eq!((old.code, &old.json()["refused"]), (1, &"replay".into()), "{old:?}");
    // Nobody else may seal as coder, and nobody who isn't there gets anything.
    let stranger = world.at("eve.key");
    world.run(&["principal", "key", stranger.to_str().unwrap()]);
    assert_eq!(seal(&world, "eve", "helper", "x").code, 3);
    assert_eq!(seal(&world, "coder", "eve", "x").code, 3);
    let second = seal(&world, "coder", "helper", "late").out;
    std::thread::sleep(Duration::from_millis(1100));
    let late = world.run_with(&["envelope", "open", "--as", "helper", "--within", "1s"], &second);
    assert_eq!(late.code, 1);
    assert!(late.err.contains("too late"), "{late:?}");
    assert_eq!(open(&world, "helper", &second).code, 0);
    let long = seal(&world, "coder", "helper", &"x".repeat(256 * 1024 + 1));
    assert_eq!(long.code, 3, "{}", long.err);
    let longest = seal(&world, "coder", "helper", &"x".repeat(256 * 1024));
    assert_eq!(open(&world, "helper", &longest.out).out.len(), 256 * 1024);
}

#[test]
fn the_log_says_whose_word_counts_now() {
    let world = world();
    let before = seal(&world, "coder", "helper", "x").out;
    for (words, undo, why) in [
        (&["suspend", "coder"][..], Some("coder"), "suspended"),
        (&["suspend", "ada"], Some("ada"), "acts for"),
        (&["compromise", "coder"], None, "compromised"),
    ] {
        assert_eq!(world.run(&[&["principal"][..], words].concat()).code, 0);
        let answer = open(&world, "helper", &before);
        assert_eq!(answer.code, 1, "{why}: {answer:?}");
        assert!(answer.err.contains("its key doesn't count"), "{why}: {answer:?}");
        if let Some(name) = undo {
            assert_eq!(world.run(&["principal", "restore", name]).code, 0);
        }
    }
    assert_eq!(seal(&world, "coder", "helper", "x").code, 3);
}

#[test]
fn a_killed_sender_never_uses_a_number_twice() {
    let world = world();
    let file = world.at("coder.key");
    let (mut seen, mut killed) = (BTreeSet::new(), 0);
    for round in 0..24_u64 {
        let mut command = world.command();
        command.args(["envelope", "seal", "--key", file.to_str().unwrap(), "--to", "helper"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(b"x"));
        // Somewhere between the start and the end.
        std::thread::sleep(Duration::from_millis(round * 4));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        killed += u32::from(!output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines().filter(|line| line.ends_with('}')) {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(seen.insert(json["counter"].as_u64().unwrap()), "{line}");
        }
        let next = seal(&world, "coder", "helper", "x");
        let json: serde_json::Value = serde_json::from_str(&next.out).unwrap();
        assert!(seen.insert(json["counter"].as_u64().unwrap()), "{next:?}");
    }
    assert!(killed > 0, "none was killed");
    // Several at once.
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..8).map(|_| scope.spawn(|| seal(&world, "coder", "helper", "x"))).collect();
        for sender in senders {
            let sealed = sender.join().unwrap();
            let json: serde_json::Value = serde_json::from_str(&sealed.out).unwrap();
            assert!(seen.insert(json["counter"].as_u64().unwrap()), "{sealed:?}");
        }
    });
    // Several who open the same: one gets it.
    let message = seal(&world, "coder", "helper", "once").out;
    let got: usize = std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| open(&world, "helper", &message))).collect();
        readers
            .into_iter()
            .filter(|_| true)
            .map(|r| usize::from(r.join().unwrap().out == "once"))
            .sum()
    });
    assert_eq!(got, 1);
    // Numbers that were lost don't begin where they were.
    fs::remove_file(world.at("coder.key.sent")).unwrap();
    let sealed = seal(&world, "coder", "helper", "x");
    let json: serde_json::Value = serde_json::from_str(&sealed.out).unwrap();
    assert!(json["counter"].as_u64().unwrap() > *seen.last().unwrap(), "{sealed:?}");
    fs::write(world.at("coder.key.sent"), "{").unwrap();
    assert_eq!(seal(&world, "coder", "helper", "x").code, 3);
}
