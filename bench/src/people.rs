//! What a person and a client notice: from an approval to its effect, and one call of a hook.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tipstaff_core::Json;
use tipstaff_monitor::{Client as Monitor, Home};

use crate::echo::{SERVER, TOOL};
use crate::failure::Failure;
use crate::load::Client;
use crate::machine::{Load, ms, percentile};
use crate::out::Out;
use crate::stdio::{end_of_monitor, make_home, stop_monitor};

/// Approvals, and hooks of each kind.
const APPROVALS: usize = 40;
const HOOKS: usize = 200;
/// Time for a call to be held.
const HELD_WAIT: Duration = Duration::from_secs(10);

pub(crate) fn run(own: &Path, tipstaff: &Path, scratch: &Path, out: &Out) -> Result<(), Failure> {
    approve(own, tipstaff, scratch, out)?;
    hook(tipstaff, scratch, out)
}

/// From the start of `tipstaff approve` to the answer of the call that it lets run.
fn approve(own: &Path, tipstaff: &Path, scratch: &Path, out: &Out) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = folder.path().join("home");
    make_home(tipstaff, &home)?;
    let rule = format!(
        "@id(\"ask\")\n@rank(\"9\")\n@step_up(\"Measured.\")\npermit (principal, action, resource == \
         Tool::\"{SERVER}/{TOOL}\");\n"
    );
    fs::write(home.join("policies").join("ask.cedar"), rule)?;
    // The client is a process of its own: what starts both is the requester, and approves nothing.
    let mut command = ["sh", "-c", "\"$@\"; exit $?", "client"].map(str::to_owned).to_vec();
    command.push(tipstaff.to_string_lossy().into_owned());
    command.extend(["wrap", "--home"].map(str::to_owned));
    command.push(home.to_string_lossy().into_owned());
    command.extend(["--name", SERVER, "--"].map(str::to_owned));
    command.extend([own.to_string_lossy().into_owned(), "echo".to_owned()]);
    let mut client = Client::start(&command)?;
    let look = Load::look(folder.path());
    let mut taken = Vec::new();
    for _ in 0..APPROVALS {
        let number = client.post()?;
        let id = held(&Home::at(&home))?;
        let begun = Instant::now();
        let mut approver = Command::new(tipstaff);
        approver.args(["approve", &id, "--home"]).arg(&home);
        let mut approver = approver.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        client.answer(number)?;
        taken.push(begun.elapsed());
        if !approver.wait()?.success() {
            return Err(Failure::wrong("an approval was refused"));
        }
    }
    let foreign = Load::look(folder.path()).since(look).foreign;
    client.end()?;
    end_of_monitor(&home)?;
    let (p50, p99) = (ms(percentile(&mut taken, 50)), ms(percentile(&mut taken, 99)));
    println!("from `tipstaff approve` to the answer of the call, {APPROVALS} times:");
    println!("  p50 {p50:.1} ms, p99 {p99:.1} ms; foreign load {foreign:.2} processors");
    out.write(
        "approve",
        &json!({ "times": APPROVALS, "p50_ms": p50, "p99_ms": p99, "foreign": foreign }),
    )
}

/// The id of the first call that waits.
fn held(home: &Home) -> Result<String, Failure> {
    let until = Instant::now() + HELD_WAIT;
    while Instant::now() < until {
        let answer = Monitor::control(home, "queue", None).map_err(Failure::wrong)?;
        let holds = answer.as_ref().and_then(|a| a.get("holds")).and_then(Json::as_array);
        let first = holds.and_then(|holds| holds.first()?.get("of")?.as_str());
        if let Some(id) = first {
            return Ok(id.to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Failure::wrong("the call was not held"))
}

/// One process of `tipstaff hook` from its start to its end, beside a program that does nothing.
fn hook(tipstaff: &Path, scratch: &Path, out: &Out) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = folder.path().join("home");
    make_home(tipstaff, &home)?;
    let input = json!({
        "session_id": "bench", "transcript_path": "/dev/null", "cwd": folder.path(),
        "hook_event_name": "PreToolUse", "tool_name": "Bash",
        "tool_input": { "command": "ls -la" }, "tool_use_id": "toolu_1",
    })
    .to_string();
    let tipstaff_hook = || -> Result<(), Failure> {
        let mut command = Command::new(tipstaff);
        command.args(["hook", "--home"]).arg(&home);
        once(command, &input)
    };
    // The first one starts the monitor.
    tipstaff_hook()?;
    let look = Load::look(folder.path());
    let (mut taken, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..HOOKS {
        let begun = Instant::now();
        once(Command::new(PathBuf::from("true")), "")?;
        nothing.push(begun.elapsed());
        let begun = Instant::now();
        tipstaff_hook()?;
        taken.push(begun.elapsed());
    }
    let foreign = Load::look(folder.path()).since(look).foreign;
    let mut ask = Command::new(tipstaff);
    let listed = ask.args(["receipts", "list", "--json", "--home"]).arg(&home).output()?;
    let judged = String::from_utf8_lossy(&listed.stdout).matches("\"kind\":\"verdict\"").count();
    if judged != HOOKS + 1 {
        return Err(Failure::wrong(format!("{judged} verdicts of {} hooks", HOOKS + 1)));
    }
    stop_monitor(&home)?;
    let (p50, p99) = (ms(percentile(&mut taken, 50)), ms(percentile(&mut taken, 99)));
    let nothing = ms(percentile(&mut nothing, 50));
    println!("one `tipstaff hook`, process start included, {HOOKS} times:");
    println!(
        "  p50 {p50:.2} ms, p99 {p99:.2} ms; a program that does nothing: p50 {nothing:.2} ms"
    );
    println!("  foreign load {foreign:.2} processors");
    out.write(
        "hook",
        &json!({ "times": HOOKS, "p50_ms": p50, "p99_ms": p99, "nothing_p50_ms": nothing,
                 "foreign": foreign }),
    )
}

fn once(mut command: Command, input: &str) -> Result<(), Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that doesn't read is not at fault.
        let _ = stdin.write_all(input.as_bytes());
    }
    if child.wait()?.success() { Ok(()) } else { Err(Failure::wrong("a hook failed")) }
}
