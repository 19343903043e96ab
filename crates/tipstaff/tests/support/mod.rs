//! A home in a temporary folder, the binary, and an MCP client that speaks to it over pipes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]
#![expect(dead_code, reason = "each test binary uses a part of this file")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub mod http;
pub mod remote;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tipstaff");
const PATIENCE: Duration = Duration::from_secs(60);
/// The server that misbehaves on request; see the file.
const FAKE: &str = include_str!("fake.py");
/// Lets every tool of the misbehaving server run.
const POLICY: &str = "@id(\"fake-may-run\")\n@rank(\"1\")\n\
    permit (principal, action in Action::\"call\", resource in Server::\"fake\");\n";

/// What a command answered.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A home, a folder in which changes are allowed, and whatever a test puts beside them.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A home that was made, with a monitor that ends soon after its last client.
    pub fn new() -> Self {
        let world = Self::empty();
        fs::create_dir(world.work()).unwrap();
        assert_eq!(world.run(&["init"]).code, 0);
        world.config("");
        fs::write(world.home().join("policies/test.cedar"), POLICY).unwrap();
        fs::write(world.at("fake.py"), FAKE).unwrap();
        fs::write(world.at("version"), "1").unwrap();
        world
    }

    /// No home yet.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.at("home")
    }

    pub fn work(&self) -> PathBuf {
        self.at("work")
    }

    /// Writes the configuration, with `more` lines.
    pub fn config(&self, more: &str) {
        let roots = self.work();
        // Nobody is there to ask, unless a test says so.
        let wait = if more.contains("approval_wait_s") { "" } else { "approval_wait_s = 0\n" };
        // A test whose doors come and go says how long it may take between two of them.
        let ends = if more.contains("idle_exit_s") {
            ""
        } else {
            "session_grace_s = 0\nidle_exit_s = 0\n"
        };
        let text = format!("roots = [{roots:?}]\n{ends}{wait}{more}\n");
        fs::write(self.home().join("config.toml"), text).unwrap();
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.env("TIPSTAFF_HOME", self.home()).env_remove("TIPSTAFF_SESSION");
        command.current_dir(self.folder.path());
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, "")
    }

    pub fn run_with(&self, words: &[&str], input: &str) -> Ran {
        let mut command = self.command();
        command.args(words);
        Self::ran(command, input)
    }

    /// The same from a client that is a process of its own: whoever starts that is not the client.
    pub fn run_apart(&self, words: &[&str], input: &str) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\"; exit $?", "client", BINARY]).args(words);
        command.env("TIPSTAFF_HOME", self.home()).env_remove("TIPSTAFF_SESSION");
        command.current_dir(self.folder.path());
        Self::ran(command, input)
    }

    fn ran(mut command: Command, input: &str) -> Ran {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The receipts, oldest first, as `{receipt, hash, …}`.
    pub fn receipts(&self) -> Vec<Value> {
        let list = self.run(&["--json", "receipts", "list"]);
        assert_eq!(list.code, 0, "{list:?}");
        list.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A session with our own notes server.
    pub fn notes(&self) -> Session {
        let work = self.work();
        self.wrap("notes", &[BINARY, "notes", work.to_str().unwrap()], &[])
    }

    /// A session with the server that misbehaves on request.
    pub fn fake(&self) -> Session {
        let words = self.fake_server();
        self.wrap("fake", &words.each_ref().map(String::as_str), &[])
    }

    /// The command of that server.
    pub fn fake_server(&self) -> [String; 3] {
        let path = |name| self.at(name).to_str().unwrap().to_owned();
        [python().to_owned(), path("fake.py"), path("version")]
    }

    pub fn wrap(&self, name: &str, server: &[&str], env: &[(&str, &str)]) -> Session {
        let mut command = self.command();
        command.args(["wrap", "--name", name, "--"]).args(server).envs(env.iter().copied());
        command.current_dir(self.work());
        Session::start(command)
    }

    /// The same for a client that is a process of its own: whoever starts a client is one, too.
    pub fn wrap_apart(&self, name: &str, server: &[&str]) -> Session {
        self.wrap_apart_with(name, &[], server)
    }

    /// The same, with more options.
    pub fn wrap_apart_with(&self, name: &str, options: &[&str], server: &[&str]) -> Session {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\"; exit $?", "client", BINARY, "wrap", "--name", name]);
        command.args(options).arg("--").args(server);
        command.env("TIPSTAFF_HOME", self.home()).env_remove("TIPSTAFF_SESSION");
        command.current_dir(self.work());
        Session::start(command)
    }

    /// The process of the monitor.
    pub fn monitor(&self) -> Option<u32> {
        let home = self.home();
        processes()
            .into_iter()
            .find(|(_, words)| {
                words.iter().any(|word| word == "monitor")
                    && words.iter().any(|word| Path::new(word) == home)
            })
            .map(|(pid, _)| pid)
    }

    /// Waits until the monitor has ended and its sessions are closed.
    pub fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        while self.monitor().is_some() {
            assert!(Instant::now() < until, "the monitor does not end");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a principal's key in the work folder; its public half.
    pub fn principal_key(&self, file: &str) -> String {
        let file = self.work().join(file);
        let made = self.run(&["principal", "key", file.to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        made.out.trim().to_owned()
    }

    /// Gives an order on principals.
    pub fn order(&self, words: &[&str]) {
        let done = self.run(&[&["principal"][..], words].concat());
        assert_eq!(done.code, 0, "{done:?}");
    }

    /// Ends a world whose monitor lasts, and looks at what is left.
    pub fn ends_whole(&self) {
        self.config("approval_wait_s = 60");
        self.settle();
        self.assert_whole();
    }

    /// What must hold of every log, whatever happened.
    pub fn assert_whole(&self) {
        let verify = self.run(&["--json", "verify"]);
        assert_eq!((verify.code, &verify.json()["valid"]), (0, &json!(true)), "{verify:?}");
        let fsck = self.run(&["--json", "log", "fsck"]);
        assert_eq!((fsck.code, &fsck.json()["faults"]), (0, &json!([])), "{fsck:?}");
        let replay = self.run(&["--json", "replay"]);
        assert_eq!((replay.code, &replay.json()["differ"]), (0, &json!(0)), "{replay:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(pid) = self.monitor() {
            kill(pid, "KILL");
        }
    }
}

/// An MCP client of one `wrap`.
pub struct Session {
    pub child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    next: u64,
    /// Answers that came while another was waited for: independent calls end in any order.
    early: Vec<Value>,
}

impl Session {
    /// The client of a `wrap` that a command starts.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).all(|l| tell.send(l).is_ok()));
        let (tell, errors) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).all(|l| tell.send(l).is_ok()));
        let input = child.stdin.take();
        Self { child, input, lines, errors, next: 1, early: Vec::new() }
    }

    /// The handshake; the server's answer.
    pub fn handshake(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = self.request("initialize", params);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string());
        answer
    }

    pub fn list(&mut self) -> Value {
        self.request("tools/list", json!({}))["result"]["tools"].clone()
    }

    /// The result of a call.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))["result"]
            .clone()
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.post(method, params);
        self.answer(id)
    }

    /// Sends a request and doesn't wait.
    pub fn post(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&frame.to_string());
        id
    }

    /// The answer with this id. Answers to others are kept for those who ask; notifications are passed over.
    pub fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self.early.iter().position(|answer| answer["id"] == json!(id)) {
            return self.early.swap_remove(at);
        }
        loop {
            let answer = self.receive();
            if answer["id"] == json!(id) {
                return answer;
            }
            if answer.get("method").is_none() {
                self.early.push(answer);
            }
        }
    }

    pub fn send(&mut self, frame: &str) {
        self.input.as_mut().unwrap().write_all(format!("{frame}\n").as_bytes()).unwrap();
    }

    pub fn receive(&mut self) -> Value {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")),
            Err(error) => panic!("no answer ({error}); it said: {:?}", self.words()),
        }
    }

    /// Whether nothing comes for a while.
    pub fn is_quiet(&mut self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    /// What it wrote to standard error so far.
    pub fn words(&self) -> Vec<String> {
        let wait = Duration::from_millis(200);
        std::iter::from_fn(|| self.errors.recv_timeout(wait).ok()).collect()
    }

    /// Closes the client's side and waits for the end; the exit code.
    pub fn end(mut self) -> i32 {
        self.input = None;
        self.code()
    }

    /// Waits for it to end by itself.
    pub fn code(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the shim does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a tool's result.
pub fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

/// Largest memory that a process has held, in MiB.
pub fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Sends a signal to one process.
pub fn kill(pid: u32, signal: &str) {
    // The shell's own `kill`: the program is not everywhere.
    let done =
        Command::new("sh").args(["-c", &format!("kill -s {signal} {pid}")]).status().unwrap();
    assert!(done.success());
}

/// The interpreter of the servers that misbehave.
pub fn python() -> &'static str {
    let found = Command::new("python3").arg("--version").output();
    assert!(found.is_ok(), "this test needs python3 (Debian: apt install python3)");
    "python3"
}

/// Whether a process is there and has not ended.
pub fn lives(pid: u32) -> bool {
    // One that has ended and waits to be reaped has no words left.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}

/// Every process that is there, with its words.
pub fn processes() -> Vec<(u32, Vec<String>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(words) = fs::read(entry.path().join("cmdline")) else { continue };
        let words = words.split(|byte| *byte == 0);
        found.push((pid, words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()));
    }
    found
}
