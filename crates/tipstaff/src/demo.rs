//! A short agent session through the real path: door, monitor, log and server are the ones that `wrap`
//! uses. What is printed is what came back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};
use tipstaff_monitor::{Client, Home};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::{log, receipts, verify};

/// A rule beside the default set, to show a changed call: searches return at most three results.
const DEMO_POLICY: &str = r#"// Searches return at most three results.
@id("cap-search")
@rank("1")
@modify("cap-limit")
permit (principal, action, resource == Tool::"notes/search_notes");
"#;
const DEMO_PATCH: &str = r#"[{"op": "add", "path": "/limit", "value": 3}]"#;

/// What the scripted agent does: words for the reader, tool, arguments.
fn script(outside: &Path) -> [(&'static str, &'static str, Value); 7] {
    let secret = outside.join(".ssh").join("id_ed25519");
    [
        ("list the notes", "list_notes", json!({})),
        ("read one", "read_note", json!({ "name": "welcome.md" })),
        (
            "write one inside the declared folder",
            "write_note",
            json!({ "name": "plan.md", "text": "Ask before deleting." }),
        ),
        ("search with a limit of 100", "search_notes", json!({ "query": "a", "limit": 100 })),
        ("delete a note, which can't be undone", "delete_note", json!({ "name": "welcome.md" })),
        ("read a private key", "read_note", json!({ "name": secret.to_string_lossy() })),
        ("call a tool that the server never listed", "drop_all_notes", json!({})),
    ]
}

pub(crate) fn run(at: &Place, keep: bool) -> Outcome {
    let folder = make_folder()?;
    let home = Home::at(&folder.join("home"));
    let notes = folder.join("notes");
    let result = session(at.json, &home, &notes).and_then(|()| {
        let place = Place { home: home.clone(), json: at.json };
        say(at.json, "\nVerifying the log, and deriving every verdict again:");
        verify::run(&place, None, None, None)?;
        log::fsck(&place)?;
        receipts::replay(&place)
    });
    wait_for_monitor(&home);
    if keep {
        say(at.json, &format!("\nKept in {}.", folder.display()));
    } else {
        // A folder that can't be removed is only untidy.
        let _ = fs::remove_dir_all(&folder);
    }
    result?;
    say(
        at.json,
        "\nTo put a real client behind it, name this as the server's command in its configuration:\n  \
         tipstaff wrap -- npx -y @modelcontextprotocol/server-filesystem@2026.8.31 ./notes\nThen: \
         tipstaff receipts list · tipstaff why ID · tipstaff verify · tipstaff replay",
    );
    Ok(())
}

fn session(json: bool, home: &Home, notes: &Path) -> Outcome {
    prepare(home, notes).map_err(|e| Failure::undone("The demo can't be prepared.", e, RETRY))?;
    let mut agent = Agent::start(home, notes)?;
    let mut printed = 0;
    agent.handshake()?;
    printed = print_new(json, home, printed)?;
    let outside = notes.parent().unwrap_or(notes).to_owned();
    for (words, tool, arguments) in script(&outside) {
        say(json, &format!("\nThe agent wants to {words}: {tool} {arguments}"));
        let answer = agent.call(tool, &arguments)?;
        say(json, &format!("  answer: {}", summary(&answer)));
        printed = print_new(json, home, printed)?;
    }
    say(json, "\nA forged frame names the tool twice, so that two readers disagree about it:");
    let forged = r#"{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"read_note","name":"delete_note","arguments":{"name":"welcome.md"}}}"#;
    say(json, &format!("  {forged}"));
    let answer = agent.raw(forged)?;
    say(json, &format!("  answer: {}", summary(&answer)));
    if !notes.join("welcome.md").exists() {
        let cause = "welcome.md is gone though nothing allowed it";
        return Err(Failure::undone("The demo failed.", cause, "Please report this."));
    }
    agent.end()?;
    wait_for_close(home);
    print_new(json, home, printed)?;
    Ok(())
}

const RETRY: &str = "Set TMPDIR to a folder of yours with some space, and try again.";

fn make_folder() -> Result<PathBuf, Failure> {
    let failed = |e: std::io::Error| Failure::undone("There is no room for the demo.", e, RETRY);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unique = nanos.map(|since| since.as_nanos()).unwrap_or_default();
    let folder =
        std::env::temp_dir().join(format!("tipstaff-demo-{}-{unique}", std::process::id()));
    fs::create_dir(&folder).map_err(failed)?;
    fs::canonicalize(&folder).map_err(failed)
}

fn prepare(home: &Home, notes: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir(notes)?;
    for (name, text) in [
        ("welcome.md", "Welcome. These notes belong to the demo.\n"),
        ("ideas.md", "An idea a day.\n"),
        ("a.md", "a\n"),
        ("b.md", "a and b\n"),
        ("c.md", "a, b and c\n"),
    ] {
        fs::write(notes.join(name), text)?;
    }
    home.create()?;
    let root = notes.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!(
        "roots = [\"{root}\"]\nsession_grace_s = 0\nidle_exit_s = 0\napproval_wait_s = 0\n"
    );
    fs::write(home.root().join("config.toml"), config)?;
    fs::write(home.policies().join("demo.cedar"), DEMO_POLICY)?;
    fs::create_dir_all(home.policies().join("patches"))?;
    fs::write(home.policies().join("patches/cap-limit.json"), DEMO_PATCH)?;
    Ok(())
}

/// The agent's side: an MCP client of the shim, as any client would be.
struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Agent {
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo's client starts the door as any client does"
    )]
    fn start(home: &Home, notes: &Path) -> Result<Self, Failure> {
        let failed = |e: &dyn ToString| {
            Failure::undone("The shim can't be started.", e.to_string(), "Try again.")
        };
        let program = std::env::current_exe().map_err(|e| failed(&e))?;
        let mut child = Command::new(&program)
            .arg("--home")
            .arg(home.root())
            .args(["wrap", "--name", "notes", "--"])
            .arg(&program)
            .arg("notes")
            .arg(notes)
            // Relative names of notes are read against this folder, by server and monitor alike.
            .current_dir(notes)
            .env_remove("TIPSTAFF_SESSION")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(&e))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| failed(&"it has no output"))?;
        Ok(Self { child, input, output: BufReader::new(output), next: 1 })
    }

    fn handshake(&mut self) -> Result<(), Failure> {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "tipstaff-demo", "version": env!("CARGO_PKG_VERSION") },
        });
        self.request("initialize", &params)?;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string())?;
        self.request("tools/list", &json!({})).map(drop)
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Failure> {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        let id = self.next;
        self.next += 1;
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&frame.to_string())?;
        loop {
            let answer = self.receive()?;
            if answer.get("id") == Some(&json!(id)) {
                return Ok(answer);
            }
        }
    }

    fn raw(&mut self, frame: &str) -> Result<Value, Failure> {
        self.send(frame)?;
        self.receive()
    }

    fn send(&mut self, frame: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or_else(|| gone(&"its input is closed"))?;
        input.write_all(format!("{frame}\n").as_bytes()).map_err(|e| gone(&e))
    }

    fn receive(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(gone(&"it closed its output")),
            Ok(_) => serde_json::from_str(&line).map_err(|e| gone(&e)),
            Err(error) => Err(gone(&error)),
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        self.input = None;
        self.child.wait().map(drop).map_err(|e| gone(&e))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.input = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gone(cause: &dyn ToString) -> Failure {
    Failure::undone("The shim did not answer.", cause.to_string(), "Look at its last words above.")
}

fn summary(answer: &Value) -> String {
    let text = answer
        .pointer("/result/content/0/text")
        .or_else(|| answer.pointer("/error/message"))
        .and_then(Value::as_str);
    let whole = text.map_or_else(|| answer.to_string(), str::to_owned);
    whole.replace('\n', " ").trim().to_owned()
}

/// Prints the receipts that are new, and returns how many there are.
fn print_new(json: bool, home: &Home, printed: usize) -> Result<usize, Failure> {
    let place = Place { home: home.clone(), json };
    let receipts = place.open()?.reader.receipts();
    let receipts =
        receipts.map_err(|e| Failure::undone("The receipts can't be read.", e, RETRY))?;
    for (index, signed) in receipts.iter().skip(printed) {
        if json {
            println!("{}", signed.to_leaf());
        } else {
            println!("{}", receipts::line(*index, signed));
        }
    }
    Ok(receipts.len())
}

/// The session's close receipt comes with the monitor's next tick.
fn wait_for_close(home: &Home) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && home.run().join("monitor.sock").exists() {
        thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_monitor(home: &Home) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && matches!(Client::control(home, "ping", None), Ok(Some(_))) {
        thread::sleep(Duration::from_millis(100));
    }
}

fn say(json: bool, text: &str) {
    if !json {
        println!("{text}");
    }
}
