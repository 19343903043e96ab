//! A yes to later calls of one kind, end to end: through the hook of a client that is a process of its own, with a
//! person at a terminal.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, World};

/// A client that asks its hook for each line that is put before it, and writes the answer down.
struct Agent<'a> {
    world: &'a World,
    child: Child,
    asked: usize,
}

impl<'a> Agent<'a> {
    fn new(world: &'a World) -> Self {
        let script = "n=1; while [ ! -e end ]; do if [ -e ask$n ]; then \"$TIPSTAFF\" hook --wait 20 < event$n > out$n; \
                      echo $? >> out$n; mv out$n said$n; n=$((n+1)); else sleep 0.02; fi; done";
        let child = Command::new("sh")
            .args(["-c", script])
            .current_dir(world.at(""))
            .env("TIPSTAFF", BINARY)
            .env("TIPSTAFF_HOME", world.home())
            .env_remove("TIPSTAFF_SESSION")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { world, child, asked: 0 }
    }

    fn ask(&mut self, tool: &str, input: Value) -> usize {
        let number = self.asked + 1;
        let event = json!({
            "session_id": "abc123", "cwd": self.world.work(), "hook_event_name": "PreToolUse",
            "tool_name": tool, "tool_input": input, "tool_use_id": format!("toolu_{number}"),
        });
        self.put(&event)
    }

    /// Tells the hook what came of a call.
    fn tell(&mut self, of: usize, result: &str) {
        let event = fs::read_to_string(self.world.at(&format!("event{of}"))).unwrap();
        let mut event: Value = serde_json::from_str(&event).unwrap();
        event["hook_event_name"] = "PostToolUse".into();
        event["tool_response"] = result.into();
        let number = self.put(&event);
        assert_eq!(self.said(number), "0");
    }

    fn put(&mut self, event: &Value) -> usize {
        self.asked += 1;
        let number = self.asked;
        fs::write(self.world.at(&format!("event{number}")), event.to_string()).unwrap();
        fs::write(self.world.at(&format!("ask{number}")), "").unwrap();
        number
    }

    fn line(&mut self, line: &str) -> usize {
        self.ask("Bash", json!({ "command": line }))
    }

    /// What the hook said and its exit code, once it said something: `0` alone permits.
    fn said(&self, number: usize) -> String {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            if let Ok(text) = fs::read_to_string(self.world.at(&format!("said{number}"))) {
                return text.trim_end().to_owned();
            }
            assert!(Instant::now() < until, "call {number} has no answer");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn passes(&mut self, line: &str) {
        let number = self.line(line);
        assert_eq!(self.said(number), "0", "{line}");
    }

    /// The call that waits for this.
    fn held(&mut self, line: &str) -> (usize, Value) {
        let number = self.line(line);
        (number, self.hold())
    }

    fn hold(&self) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let queue = self.world.run(&["--json", "queue"]).json();
            if let Some(hold) = queue.as_array().and_then(|holds| holds.last()) {
                return hold.clone();
            }
            assert!(Instant::now() < until, "nothing waits");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn refuse(&mut self, line: &str) -> String {
        let (number, hold) = self.held(line);
        let queue = self.world.run(&["queue"]).out;
        assert_eq!(self.world.run(&["refuse", &id(&hold)]).code, 0, "{line}");
        assert!(self.said(number).contains("refused"), "{line}");
        queue
    }

    fn end(mut self) {
        fs::write(self.world.at("end"), "").unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn world() -> World {
    let world = World::new();
    world.config("approval_wait_s = 60\nsession_grace_s = 60\nidle_exit_s = 60");
    world
}

fn id(hold: &Value) -> String {
    hold["of"].as_str().unwrap().chars().take(8).collect()
}

#[test]
fn a_yes_to_later_pushes_covers_them_says_what_it_covers_and_ends() {
    let world = world();
    let mut agent = Agent::new(&world);
    let (first, hold) = agent.held("git push origin topic");
    let shown = world.run(&["queue"]).out;
    let offer = "--repeat 10 would also cover: 10 more of";
    assert!(shown.contains(offer) && shown.contains("`git push origin topic` in"), "{shown}");
    let yes = world.run(&["approve", &id(&hold), "--repeat", "2", "--within", "10m"]);
    assert_eq!(yes.code, 0, "{yes:?}");
    let covers = yes.out.find("also covers up to 2 later calls").unwrap();
    let named = yes.out.rfind("`git push origin topic` in").unwrap();
    let signed = yes.out.find("Approved: it runs now").unwrap();
    assert!(covers < named && named < signed, "it is said before it is signed: {yes:?}");
    for part in ["It does not cover:", "each T4 at most", "policy `high-tiers`", "until 2"] {
        assert!(yes.out.contains(part), "{part}: {yes:?}");
    }
    assert_eq!(agent.said(first), "0");

    agent.passes("git add -A && git commit -m x && git push -u origin topic 2>&1 | tail -2");
    let standing = world.run(&["--json", "queue", "--standing"]).json();
    let of = standing[0]["of"].as_str().unwrap().to_owned();
    assert_eq!((&standing[0]["used"], &standing[0]["repeat"]["count"]), (&json!(1), &json!(2)));
    let listed = world.run(&["queue", "--standing"]).out;
    assert!(
        listed.contains("1 of 2 left") && listed.contains("`git push origin topic`"),
        "{listed}"
    );
    // Another branch, a forced push, what can't be read: asked, and for most no more than once is possible.
    assert!(agent.refuse("git push origin main").contains(offer));
    for line in ["git push --force origin topic", "git push", "$(cat x) && git push origin topic"] {
        assert!(!agent.refuse(line).contains(offer), "{line}");
    }
    agent.passes("git push origin topic");
    let queue = agent.refuse("git push origin topic");
    assert!(queue.contains("does not cover this one: it is used up"), "{queue}");
    assert_eq!(world.run(&["--json", "queue", "--standing"]).json(), json!([]));

    // A new one, and its end by a person's word.
    let (next, hold) = agent.held("git push origin topic");
    let yes = world.run(&["--json", "approve", &id(&hold), "--repeat", "5"]);
    assert_eq!((yes.code, &yes.json()["repeat"]), (0, &json!(5)), "{yes:?}");
    assert_eq!(agent.said(next), "0");
    let new = yes.json()["receipt"].as_str().unwrap().to_owned();
    agent.passes("git push origin topic");
    let ended = world.run(&["withdraw", new.get(..10).unwrap()]);
    assert!(ended.code == 0 && ended.out.contains("covers nothing more"), "{ended:?}");
    assert_eq!(world.run(&["withdraw", new.get(..10).unwrap()]).code, 3);
    agent.refuse("git push origin topic");
    agent.end();

    let receipts = world.receipts();
    let used: Vec<&Value> = receipts
        .iter()
        .filter(|one| one["receipt"]["decision"]["reason"] == json!("approved_before"))
        .collect();
    assert_eq!(used.len(), 3);
    let why = world.run(&["why", used[1]["hash"].as_str().unwrap()]).out;
    assert!(why.contains(&format!("before, by {}", of.get(..12).unwrap())), "{why}");
    assert!(why.contains("its number 2") && why.contains("high-tiers"), "{why}");
    let log = json!(receipts).to_string();
    assert!(!log.contains("topic"), "the log says where nothing led");
    world.assert_whole();
}

#[test]
fn a_yes_to_more_is_refused_where_nobody_can_tell_what_that_would_be() {
    let world = world();
    let mut agent = Agent::new(&world);
    for line in ["rm -rf x", "git push", "git push origin main && npm publish"] {
        let (number, hold) = agent.held(line);
        let yes = world.run(&["approve", &id(&hold), "--repeat", "2"]);
        assert_eq!(yes.code, 3, "{line}: {yes:?}");
        assert!(yes.err.contains("no yes to it can cover later calls"), "{yes:?}");
        assert!(yes.err.contains("Leave out --repeat"), "{yes:?}");
        assert_eq!(world.run(&["refuse", &id(&hold)]).code, 0, "it waits still");
        assert!(agent.said(number).contains("refused"));
    }
    for words in [
        vec!["approve", "abcd", "abce", "--repeat", "2"],
        vec!["approve", "abcd", "--repeat", "0"],
        vec!["approve", "abcd", "--repeat", "101"],
        vec!["approve", "abcd", "--repeat", "2", "--within", "9h"],
        vec!["approve", "abcd", "--within", "1h"],
        vec!["withdraw", "zz"],
    ] {
        let ran = world.run(&words);
        assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
    }
    agent.end();
}

#[test]
fn a_question_about_risk_is_put_each_time() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\n".to_owned() + &"MIIEowIBAAKCAQEA7bq1".repeat(20);
    let key = format!("{key}\n-----END RSA PRIVATE KEY-----\n");
    let world = world();
    let mut agent = Agent::new(&world);
    let page = json!({ "url": "https://example.org/", "prompt": "What is new?" });
    for (tool, input, result) in [
        ("WebFetch", page, "Welcome to our page."),
        ("Bash", json!({ "command": "cat key.md" }), key.as_str()),
    ] {
        let number = agent.ask(tool, input);
        assert_eq!(agent.said(number), "0");
        agent.tell(number, result);
    }
    let (number, hold) = agent.held("git push origin topic");
    assert_eq!(hold["reason"], json!("risk"), "{hold}");
    assert!(!world.run(&["queue"]).out.contains("--repeat"));
    let yes = world.run(&["approve", &id(&hold), "--repeat", "2"]);
    assert!(yes.code == 3 && yes.err.contains("what its session met"), "{yes:?}");
    assert_eq!(world.run(&["approve", &id(&hold)]).code, 0, "alone it can be");
    assert_eq!(agent.said(number), "0");
    agent.end();
    world.assert_whole();
}

#[test]
fn a_yes_to_later_calls_ends_with_the_key_that_gave_it() {
    let world = world();
    let mut agent = Agent::new(&world);
    let (first, hold) = agent.held("git push origin topic");
    let done = world.run(&["approve", &id(&hold), "--repeat", "5"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(agent.said(first), "0");
    agent.passes("git push origin topic");
    // Both keys count for a while, and so does what either signed.
    let rotated = world.run(&["approver", "rotate", "--overlap", "1h"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    agent.passes("git push origin topic");
    let (second, hold) = agent.held("git push origin other");
    let done = world.run(&["approve", &id(&hold), "--repeat", "5"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(agent.said(second), "0");
    agent.passes("git push origin other");
    let rotated = world.run(&["approver", "rotate"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    // The second key ended at once; the first lasts until the end of its hour.
    agent.refuse("git push origin other");
    agent.passes("git push origin topic");
    agent.end();
    world.ends_whole();
}
