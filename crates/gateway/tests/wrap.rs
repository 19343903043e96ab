//! `wrap` with the real monitor and the notes server, each in a process of its own.
//!
//! The adversary is the agent in front of `wrap`: what is refused must leave no trace on disk.

#![expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test; the lints know only `#[test]`"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use tipstaff_core::Json;
use tipstaff_gateway::{Reached, WrapOptions, serve_notes, wrap};
use tipstaff_monitor::{Home, serve};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        // As the monitor's client starts it.
        ["monitor", "--home", home] => {
            serve(&Home::at(Path::new(home))).unwrap();
            ExitCode::SUCCESS
        }
        ["wrap", home, notes] => {
            let options = WrapOptions {
                home: home.into(),
                server_name: Some("notes".into()),
                reached: Reached::Command {
                    command: std::env::current_exe().unwrap().to_str().unwrap().to_owned(),
                    args: vec!["notes".into(), (*notes).to_owned()],
                    env: Vec::new(),
                },
                caller: tipstaff_monitor::Caller::Parent,
                intent: None,
            };
            ExitCode::from(wrap(options).unwrap().exit_code())
        }
        ["notes", folder] => {
            serve_notes(Path::new(folder)).unwrap();
            ExitCode::SUCCESS
        }
        ["--list", ..] => ExitCode::SUCCESS,
        _ => {
            a_session_is_judged_and_receipted();
            println!("test a_session_is_judged_and_receipted ... ok");
            ExitCode::SUCCESS
        }
    }
}

fn a_session_is_judged_and_receipted() {
    let place = tempfile::tempdir().unwrap();
    let (home, notes) = (place.path().join("home"), place.path().join("notes"));
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("plan.txt"), "Buy milk").unwrap();
    Home::at(&home).create().unwrap();
    // Nobody is there to ask.
    std::fs::write(home.join("config.toml"), "approval_wait_s = 0\n").unwrap();
    let mut session = Session::start(&home, &notes);

    let hello = session.ask(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
    );
    assert_eq!(text(&hello, "/result/protocolVersion"), "2025-11-25");
    session.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let tools = session.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(tools.pointer("/result/tools").and_then(Json::as_array).unwrap().len(), 5);

    let read = session.ask(&call(2, "read_note", r#"{"name":"plan.txt"}"#));
    assert_eq!(text(&read, "/result/content/0/text"), "Buy milk");
    assert_eq!(text(&read, "/result/_meta/tipstaff~1receipt").len(), 64);

    let deleted = session.ask(&call(3, "delete_note", r#"{"name":"plan.txt"}"#));
    assert_eq!(deleted.pointer("/result/isError"), Some(&Json::Bool(true)));
    assert_ne!(text(&deleted, "/result/_meta/tipstaff~1verdict"), "ALLOW");
    assert_eq!(text(&deleted, "/result/_meta/tipstaff~1receipt").len(), 64);
    assert!(notes.join("plan.txt").exists(), "a refused call had its effect");

    let forged = call(4, "read_note", r#"{"name":"plan.txt","name":"other"}"#);
    let forged = session.ask(&forged);
    assert_eq!(forged.pointer("/error/code").and_then(Json::as_integer), Some(-32700));

    assert!(session.end());
    let log = home.join("log");
    assert!(log.is_dir(), "there is a log in the home");
}

struct Session {
    child: Child,
    from: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn start(home: &Path, notes: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("wrap")
            .args([home, notes])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, from }
    }

    fn say(&mut self, line: &str) {
        let to = self.child.stdin.as_mut().unwrap();
        to.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn ask(&mut self, line: &str) -> Json {
        self.say(line);
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        Json::parse(answer.trim_end().as_bytes()).unwrap()
    }

    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

fn call(id: u32, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

fn text<'a>(json: &'a Json, pointer: &str) -> &'a str {
    let found = json.pointer(pointer).and_then(Json::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {}", json.to_canonical()))
}
