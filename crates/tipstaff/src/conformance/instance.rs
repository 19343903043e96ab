//! An instance of this program on a temporary home, with rules and tools made for the tests.
//!
//! The adversary is what an earlier run left behind: each instance has a new folder, and both are removed with
//! it, whatever the tests did.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tipstaff_conformance::{CONFIG, Outage, Outaged, PATCH, PATCH_NAME, POLICY, SERVER};
use tipstaff_monitor::Home;

/// Time for an instance to end by itself.
const END: Duration = Duration::from_secs(10);
/// Time for an answer of a door whose monitor is gone.
const ANSWER: Duration = Duration::from_secs(60);

/// A folder that goes with its instance.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is only untidy.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running instance.
pub(super) struct Instance {
    child: Child,
    url: String,
    home: PathBuf,
    folder: Folder,
}

impl Instance {
    /// Starts one.
    pub(super) fn start() -> std::io::Result<Self> {
        let folder = Folder(fresh()?);
        let home = prepared(&folder.0)?;
        let mut child = program()?
            .arg("--home")
            .arg(&home)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let mut url = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut url)?;
        }
        let errors = child.stderr.take();
        if !url.starts_with("http://") {
            let mut words = String::new();
            let _ = child.kill();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut words));
            let _ = child.wait();
            return Err(std::io::Error::other(words.trim().to_owned()));
        }
        // What it says is read, so that it never waits for a reader.
        if let Some(errors) = errors {
            std::thread::spawn(move || {
                BufReader::new(errors).lines().map_while(Result::ok).for_each(drop);
            });
        }
        Ok(Self { child, url: url.trim().to_owned(), home, folder })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    fn effects(&self, marker: &str) -> bool {
        let text = fs::read_to_string(self.folder.0.join("effects/effects")).unwrap_or_default();
        text.contains(marker)
    }

    fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + END;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the monitor of another instance away, behind a door that holds its server's pipes.
#[derive(Default)]
pub(super) struct Away {
    /// Both cases look at one outage.
    seen: OnceLock<Result<Outaged, String>>,
}

impl Outage for Away {
    fn try_out(&self) -> Result<Outaged, String> {
        self.seen.get_or_init(|| taken_away().map_err(|error| error.to_string())).clone()
    }
}

fn taken_away() -> std::io::Result<Outaged> {
    let mut instance = Instance::start()?;
    let mut door = Door::open(&instance)?;
    door.ask(
        "initialize",
        &json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "conformance", "version": "1" },
        }),
    )?;
    door.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    door.ask("tools/list", &json!({}))?;
    let call = |marker: &str| json!({ "name": "write_note", "arguments": { "marker": marker } });
    door.ask("tools/call", &call("while-it-is-there"))?;
    let before = instance.effects("while-it-is-there");
    // Gone, and its keys too, so that none can be started in its place.
    instance.kill()?;
    fs::rename(instance.home.join("keys"), instance.home.join("no-keys"))?;
    let told = match door.ask("tools/call", &call("while-it-is-away")) {
        Ok(answer) => {
            let text = answer.pointer("/result/content/0/text");
            let text = text.or_else(|| answer.pointer("/error/message"));
            text.and_then(Value::as_str).unwrap_or("an answer without words").to_owned()
        }
        Err(error) => format!("no answer: {error}"),
    };
    Ok(Outaged { before, during: instance.effects("while-it-is-away"), told })
}

/// A client of `wrap`.
struct Door {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
}

impl Door {
    fn open(instance: &Instance) -> std::io::Result<Self> {
        let mut child = program()?
            .arg("--home")
            .arg(&instance.home)
            .args(["wrap", "--name", SERVER, "--"])
            .arg(std::env::current_exe()?)
            .arg("conformance-tools")
            .arg(instance.folder.0.join("effects"))
            .current_dir(&instance.folder.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, lines) = channel();
        if let Some(output) = output {
            std::thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
            });
        }
        Ok(Self { child, input, lines, next: 1 })
    }

    fn send(&mut self, message: &Value) -> std::io::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| std::io::Error::other("no input"))?;
        writeln!(input, "{message}")
    }

    fn ask(&mut self, method: &str, params: &Value) -> std::io::Result<Value> {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        let until = Instant::now() + ANSWER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => std::io::Error::other("nothing for a minute"),
                RecvTimeoutError::Disconnected => std::io::Error::other("the door closed"),
            })?;
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            if message.get("id") == Some(&id.into()) && message.get("method").is_none() {
                return Ok(message);
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.input = None;
        let until = Instant::now() + END;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the runner starts what it tests")]
fn program() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for name in ["TIPSTAFF_HOME", "TIPSTAFF_SESSION"] {
        command.env_remove(name);
    }
    Ok(command)
}

fn fresh() -> std::io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("tipstaff-conformance-{}-{}", std::process::id(), since.as_nanos());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder)?;
    fs::canonicalize(folder)
}

/// A home with the fixture's rules and no others.
fn prepared(folder: &Path) -> std::io::Result<PathBuf> {
    let home = Home::at(&folder.join("home"));
    home.create().map_err(std::io::Error::other)?;
    let policies = home.policies();
    for entry in fs::read_dir(&policies)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "cedar") {
            fs::remove_file(path)?;
        }
    }
    fs::write(policies.join("exam.cedar"), POLICY)?;
    fs::create_dir_all(policies.join("patches"))?;
    fs::write(policies.join("patches").join(format!("{PATCH_NAME}.json")), PATCH)?;
    let effects = folder.join("effects");
    fs::create_dir(&effects)?;
    let quoted = |path: &Path| Value::from(path.to_string_lossy().into_owned()).to_string();
    let command =
        [quoted(&std::env::current_exe()?), "\"conformance-tools\"".to_owned(), quoted(&effects)];
    // A sentence embedding needs weights, which this program doesn't bring.
    let model = std::env::var_os("TIPSTAFF_MINILM").map(PathBuf::from);
    let model =
        model.map(|folder| format!("[context]\nembedding = {{ folder = {} }}", quoted(&folder)));
    // Each measure has a scale of its own.
    let scaled = |model: String| {
        let fixture = CONFIG.replace("[context]", &model);
        fixture.replace("drift_limit_ppm = 950000", "drift_limit_ppm = 800000")
    };
    let fixture = model.map_or_else(|| CONFIG.to_owned(), scaled);
    let config = format!("{fixture}\n[servers.{SERVER}]\ncommand = [{}]\n", command.join(", "));
    fs::write(home.root().join("config.toml"), config)?;
    Ok(home.root().to_owned())
}
