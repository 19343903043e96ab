//! How sessions end that nobody ends in order, and what a home or a server may do to it meanwhile.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it starts processes"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BINARY, Ran, Session, World, kill, lives, peak_mib, text};

/// The server that is hard to end; see the file.
const UNRULY: &str = include_str!("support/unruly.py");
/// What a shim may hold at most, whatever it is sent.
const PEAK_MIB: u64 = 64;
/// A user who owns nothing here.
const GUEST: u32 = 65534;

/// The words that start the server that is hard to end.
fn unruly(world: &World, more: &[&str]) -> Vec<String> {
    let script = world.at("unruly.py");
    fs::write(&script, UNRULY).unwrap();
    let folder = world.at("notes");
    fs::create_dir_all(&folder).unwrap();
    let words = [support::python(), script.to_str().unwrap(), folder.to_str().unwrap()];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn wrapped(world: &World, more: &[&str]) -> Session {
    let words = unruly(world, more);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut session = world.wrap("fake", &words, &[]);
    session.handshake();
    session
}

/// What the server noted down, once it has.
fn noted(world: &World, name: &str) -> String {
    let path = world.at("notes").join(name);
    wait(&format!("no note {name}"), || path.exists());
    fs::read_to_string(path).unwrap()
}

fn upstream(world: &World) -> u32 {
    noted(world, "pid").parse().unwrap()
}

/// Waits until `done`, or fails.
fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// The receipts of the one permitted action that was left running: its own hash, and its outcome.
fn the_ambiguous(world: &World) -> String {
    let receipts = world.receipts();
    let permitted: Vec<&Value> =
        receipts.iter().filter(|r| r["receipt"]["decision"]["verdict"] == json!("ALLOW")).collect();
    assert_eq!(permitted.len(), 1, "{receipts:?}");
    let hash = permitted[0]["hash"].as_str().unwrap().to_owned();
    let outcomes: Vec<&Value> =
        receipts.iter().filter(|r| r["receipt"]["of"] == json!(hash)).collect();
    assert_eq!(outcomes.len(), 1, "{receipts:?}");
    assert_eq!(outcomes[0]["receipt"]["outcome"]["status"], json!("ambiguous"));
    hash
}

/// A signal while `tool` runs: everyone is told, and everything ends.
fn ended_by(signal: &str, tool: &str, limit: Duration) {
    let world = World::new();
    let mut session = wrapped(&world, &[]);
    let id = session.post("tools/call", json!({"name": tool, "arguments": {}}));
    noted(&world, "running");
    let server = upstream(&world);
    assert!(lives(server));

    let start = Instant::now();
    kill(session.child.id(), signal);
    let answer = session.answer(id);
    assert_eq!(session.code(), 0, "{signal}: an end that was asked for is in order");
    let took = start.elapsed();
    assert!(took < limit, "{signal}: it took {took:?}");
    assert!(!lives(server), "{signal}: the server is left behind");
    let result = &answer["result"];
    assert_eq!(result["isError"], json!(true), "{answer}");
    assert!(text(result).contains("not known whether"), "{answer}");
    let words = session.words().join("\n");
    assert!(!words.contains("because:"), "nothing went wrong: {words}");

    world.settle();
    assert_eq!(result["_meta"]["tipstaff/receipt"], json!(the_ambiguous(&world)));
    world.assert_whole();
}

#[test]
fn a_signal_ends_the_session_in_order() {
    for signal in ["TERM", "INT", "HUP"] {
        ended_by(signal, "hang", Duration::from_secs(40));
    }
}

#[test]
fn a_signal_ends_it_while_it_starts() {
    let world = World::new();
    let pid = world.at("pid");
    // The server's first act is the signal, so that it comes while the shim is still making itself ready.
    let script = format!("kill -TERM $PPID; echo $$ > {0}.new; mv {0}.new {0}", pid.display());
    for round in 0..10 {
        let mut session = world.wrap("fake", &["sh", "-c", &format!("{script}; sleep 60")], &[]);
        assert_eq!(session.code(), 0, "round {round}: {:?}", session.words());
        // It may have been ended before it could write down its number.
        if let Ok(text) = fs::read_to_string(&pid) {
            assert!(!lives(text.trim().parse().unwrap()), "round {round}: the server is left");
            fs::remove_file(&pid).unwrap();
        }
    }
    world.settle();
    world.assert_whole();
}

#[test]
fn a_signal_ends_a_server_that_ignores_everything() {
    ended_by("TERM", "deaf", Duration::from_secs(40));
}

#[test]
fn a_killed_shim_is_cleaned_up_after_by_the_monitor() {
    for (tool, limit) in [("hang", 5), ("deaf", 8)] {
        let world = World::new();
        let mut session = wrapped(&world, &[]);
        session.post("tools/call", json!({"name": tool, "arguments": {}}));
        noted(&world, "running");
        let server = upstream(&world);

        let start = Instant::now();
        kill(session.child.id(), "KILL");
        assert_eq!(session.code(), -1);
        assert!(lives(server), "{tool}: without the monitor it would go on");
        wait("the server goes on without its shim", || !lives(server));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(limit), "{tool}: it took {took:?}");

        world.settle();
        the_ambiguous(&world);
        world.assert_whole();
    }
}

#[test]
fn what_a_killed_shims_server_left_behind_is_ended_too() {
    let world = World::new();
    let script = unruly(&world, &[]).join(" ");
    let line = format!("sleep 120 & echo $! > {}/left; exec {script}", world.at("notes").display());
    let mut session = world.wrap("fake", &["sh", "-c", &line], &[]);
    session.handshake();
    let (left, server) = (noted(&world, "left").trim().parse().unwrap(), upstream(&world));
    kill(session.child.id(), "KILL");
    assert_eq!(session.code(), -1);
    wait("the server goes on without its shim", || !lives(server));
    wait("what the server started goes on", || !lives(left));
}

/// A shim whose answers nobody reads until the test does.
fn unread(world: &World, tool: &str) -> Child {
    let words = unruly(world, &[]);
    let mut command = world.command();
    command.args(["wrap", "--name", "fake", "--"]).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let mut frames = String::new();
    for (id, method, params) in
        [(1, "initialize", params), (2, "tools/call", json!({"name": tool, "arguments": {}}))]
    {
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        frames.push_str(&format!("{frame}\n"));
    }
    child.stdin.as_mut().unwrap().write_all(frames.as_bytes()).unwrap();
    child
}

fn ends_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[test]
fn it_ends_though_the_client_reads_nothing() {
    // After 3 s the call has passed its deadline, so that somebody waits to tell the client.
    for (signal, before) in [(true, 0), (true, 3), (false, 3)] {
        let world = World::new();
        world.config("call_timeout_s = 1");
        let mut child = unread(&world, "babble");
        noted(&world, "running");
        let server = upstream(&world);
        sleep(Duration::from_secs(before));
        if signal {
            kill(child.id(), "TERM");
        } else {
            drop(child.stdin.take());
        }
        let code = ends_within(&mut child, Duration::from_secs(40));
        assert_eq!(code, Some(0), "signal: {signal}, after {before} s");
        assert!(!lives(server), "signal: {signal}, after {before} s: the server is left behind");
        world.settle();
        the_ambiguous(&world);
        world.assert_whole();
    }
}

#[test]
fn a_huge_result_is_an_error_that_names_its_size() {
    let world = World::new();
    let mut session = wrapped(&world, &[]);
    let result = session.call("huge", json!({}));
    assert_eq!(result["isError"], json!(true));
    let (said, bytes) = (text(&result), noted(&world, "bytes"));
    assert!(bytes.parse::<u64>().unwrap() > 100_000_000);
    assert!(said.contains("too large") && said.contains(&bytes), "{bytes}: {said}");
    let receipt = result["_meta"]["tipstaff/receipt"].clone();
    let peak = peak_mib(session.child.id());
    assert!(peak < PEAK_MIB, "{peak} MiB");
    assert_eq!(text(&session.call("echo", json!({"text": "on"}))), "echo on");
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let outcome = receipts.iter().find(|r| r["receipt"]["of"] == receipt).unwrap();
    let outcome = &outcome["receipt"]["outcome"];
    assert_eq!(outcome["bytes"].as_u64(), bytes.parse().ok(), "{outcome}");
    world.assert_whole();
}

#[test]
fn many_notifications_pass_in_bounded_memory() {
    let world = World::new();
    let mut child = unread(&world, "chatter");
    let pid = child.id();
    // Nobody reads yet: what can't be passed on must wait with the server, not in memory.
    upstream(&world);
    sleep(Duration::from_secs(2));
    let waiting = peak_mib(pid);
    assert!(waiting < PEAK_MIB, "{waiting} MiB while nobody reads");

    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut seen, mut bytes) = (0_u64, 0);
    while seen < 1000 {
        let line = lines.next().unwrap().unwrap();
        if line.contains("\"id\"") {
            continue;
        }
        let line: Value = serde_json::from_str(&line).unwrap();
        let data = line["params"]["data"].as_str().unwrap();
        assert!(data.starts_with(&format!("{seen} ")), "in order and none lost");
        (seen, bytes) = (seen + 1, bytes + data.len());
    }
    assert!(bytes > 100_000_000);
    let call = json!({"name": "echo", "arguments": {"text": "on"}});
    let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call});
    writeln!(child.stdin.as_mut().unwrap(), "{call}").unwrap();
    let line = lines.next().unwrap().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["id"], text(&line["result"])), (&json!(3), "echo on".to_owned()));
    let peak = peak_mib(pid);
    assert!(peak < PEAK_MIB, "{peak} MiB");
    drop(child.stdin.take());
    assert_eq!(ends_within(&mut child, Duration::from_secs(40)), Some(0));
    world.settle();
    world.assert_whole();
}

#[test]
fn one_answer_of_a_flood_comes_through() {
    let world = World::new();
    let words = unruly(&world, &["flood"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut session = world.wrap("fake", &words, &[]);
    // With the handshake and the gateway's own list, 25 requests of 2,000 frames each.
    let opened = session.post("initialize", json!({"protocolVersion": "2025-11-25"}));
    assert_eq!(session.receive()["id"], json!(opened));
    for n in 0..23 {
        let text_in = format!("call {n}");
        let id =
            session.post("tools/call", json!({"name": "echo", "arguments": {"text": text_in}}));
        let answer = session.receive();
        assert_eq!(answer["id"], json!(id), "nothing but the answer came: {answer}");
        assert_eq!(text(&answer["result"]), format!("echo {text_in}"));
    }
    assert!(session.is_quiet(Duration::from_secs(1)), "the rest was dropped");
    let peak = peak_mib(session.child.id());
    assert!(peak < PEAK_MIB, "{peak} MiB");
    let words = session.words();
    assert!(words.len() < 100, "{} lines for 50,000 frames", words.len());
    let count = |line: &String| {
        let (_, count) = line.split_once("(complaint ")?;
        count.strip_suffix(')')?.parse::<u64>().ok()
    };
    let last = words.iter().filter_map(count).max();
    // It says so at powers of two: of 49,975 that were dropped, the last is this one.
    assert_eq!(last, Some(32_768), "{words:?}");
    assert!(words.iter().any(|line| line.contains("nobody asked")), "{words:?}");
    assert_eq!(session.end(), 0);
    world.settle();
    let receipts = world.receipts();
    let count =
        |kind: &str| receipts.iter().filter(|r| r["receipt"]["kind"] == json!(kind)).count();
    assert_eq!((count("verdict"), count("outcome")), (23, 23), "one outcome each");
    world.assert_whole();
}

/// Takes a folder of the home away at once, also while something is written there.
fn remove(world: &World, folder: &str) {
    fs::rename(world.home().join(folder), world.at("removed")).unwrap();
    fs::remove_dir_all(world.at("removed")).unwrap();
}

/// What is said when a folder is gone: with the first session's receipts only in the write-ahead log, or
/// with a session before whose receipts are only in the tiles.
fn permits_nothing_without(folder: &str, is_first: bool, words: &str) {
    let world = World::new();
    let mut written = 0;
    let mut write = |session: &mut Session| {
        written += 1;
        let name = format!("{written}.md");
        let result = session.call("write_note", json!({"name": name, "text": "x"}));
        (world.work().join(name).exists(), result)
    };
    if !is_first {
        let mut session = world.notes();
        session.handshake();
        assert!(write(&mut session).0);
        assert_eq!(session.end(), 0);
        world.settle();
    }
    let mut session = world.notes();
    session.handshake();
    assert!(write(&mut session).0);
    remove(&world, folder);
    // A tick is half a second, a publication a second, and this machine may be busy.
    let until = Instant::now() + Duration::from_secs(30);
    while write(&mut session).0 {
        assert!(Instant::now() < until, "{folder}: permits are given without it");
        sleep(Duration::from_millis(50));
    }
    // Whoever finds it first, the check of the whole log or a publication, says it in its own words; the
    // next monitor, which doesn't start, always in these.
    let (mut asked, mut is_said) = (0, false);
    while asked < 3 || !is_said {
        let (is_done, refused) = write(&mut session);
        assert!(!is_done, "{folder}: no receipt, no action");
        assert_eq!(refused["isError"], json!(true), "{folder}: {refused}");
        let said = text(&refused);
        assert!(said.contains("it was not done"), "{folder}: {said}");
        assert!(said.contains("the log is damaged"), "{folder}: {said}");
        (asked, is_said) = (asked + 1, said.contains(words));
        assert!(Instant::now() < until + Duration::from_secs(30), "{folder}: {said}");
    }
    assert_eq!(session.end(), 0);
    let mut session = world.notes();
    assert_eq!(session.code(), 3, "{folder}: {:?}", session.words());
    assert_eq!(world.run(&["log", "fsck"]).code, 1, "{folder}");
    // Without tiles no receipt is lost that is still in the write-ahead log.
    let lost = folder == "wal" || !is_first;
    assert_eq!(world.run(&["verify"]).code != 0, lost, "{folder}");
}

#[test]
fn without_its_write_ahead_log_a_node_permits_nothing() {
    permits_nothing_without("wal", true, "a segment of the write-ahead log is missing");
    permits_nothing_without("wal", false, "a segment of the write-ahead log is missing");
}

#[test]
fn without_its_tiles_a_node_permits_nothing() {
    permits_nothing_without("log", true, "(log/checkpoint)");
    permits_nothing_without("log", false, "(log/tile)");
}

/// The binary as a user who owns nothing but the home, or `None` where that can't be had.
fn guest() -> Option<World> {
    if !fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0) {
        println!("SKIPPED: only the superuser can start a process as another user");
        return None;
    }
    let world = World::empty();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(world.at("").as_path(), 0o755);
    for (folder, mode) in [(world.work(), 0o777), (world.home(), 0o700)] {
        fs::create_dir(&folder).unwrap();
        open(&folder, mode);
    }
    chown(world.home(), Some(GUEST), Some(GUEST)).unwrap();
    // By another process: a file that this one has open for writing, a fork of another test would keep
    // open, and it could not be run.
    assert!(Command::new("cp").arg(BINARY).arg(world.at("tipstaff")).status().unwrap().success());
    open(world.at("tipstaff").as_path(), 0o755);
    let init = as_guest(&world, &["init"]);
    if init.err.contains("not permitted") {
        println!("SKIPPED: a process as another user can't be started here");
        return None;
    }
    assert_eq!(init.code, 0, "{init:?}");
    world.config("");
    Some(world)
}

fn guest_command(world: &World) -> Command {
    let mut command = Command::new(world.at("tipstaff"));
    command.env("TIPSTAFF_HOME", world.home()).env("HOME", world.work());
    command.env_remove("TIPSTAFF_SESSION").current_dir(world.work());
    command.uid(GUEST).gid(GUEST);
    command
}

fn as_guest(world: &World, words: &[&str]) -> Ran {
    match guest_command(world).args(words).stdin(Stdio::null()).output() {
        Ok(output) => Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Ran { code: -1, out: String::new(), err: error.to_string() },
    }
}

/// A session of the guest with the notes server, which leaves a file where it was started.
fn guest_session(world: &World) -> Session {
    let mut command = guest_command(world);
    let (binary, folder) = (world.at("tipstaff"), world.work());
    let script = format!(
        "echo >> {folder}/started; exec {binary} notes {folder}",
        folder = folder.display(),
        binary = binary.display()
    );
    command.args(["wrap", "--name", "notes", "--", "sh", "-c", &script]);
    Session::start(command)
}

fn starts(world: &World) -> usize {
    fs::read_to_string(world.work().join("started")).unwrap_or_default().lines().count()
}

/// Sets the bits of everything below `path`.
fn set_bits(path: &Path, folders: u32, files: u32) {
    let is_folder = path.is_dir();
    if is_folder {
        for entry in fs::read_dir(path).unwrap().flatten() {
            set_bits(&entry.path(), folders, files);
        }
    }
    if path.is_dir() || path.is_file() {
        let mode = fs::Permissions::from_mode(if is_folder { folders } else { files });
        fs::set_permissions(path, mode).unwrap();
    }
}

/// A `wrap` that can't be: one sentence, its cause and the next step, and no server.
fn refused(world: &World, what: &str) {
    let before = starts(world);
    let mut session = guest_session(world);
    assert_eq!(session.code(), 3, "{what}");
    let words = session.words();
    assert_eq!(words.len(), 3, "{what}: {words:?}");
    assert!(words[0].starts_with("tipstaff: The server is not behind Tipstaff"), "{words:?}");
    assert!(words[1].trim_start().starts_with("because: "), "{what}: {words:?}");
    assert!(words[1].contains("Permission denied"), "{what}: {words:?}");
    assert!(words[2].trim_start().starts_with("next: "), "{what}: {words:?}");
    assert_eq!(starts(world), before, "{what}: a server was started");
    assert_eq!(world.monitor(), None, "{what}: a monitor was left");
}

#[test]
fn a_home_that_can_only_be_read_is_looked_at_and_not_used() {
    let Some(world) = guest() else { return };
    let mut session = guest_session(&world);
    session.handshake();
    session.call("write_note", json!({"name": "a.md", "text": "x"}));
    assert_eq!(session.end(), 0);
    world.settle();
    assert_eq!(starts(&world), 1);

    let listed = as_guest(&world, &["--json", "receipts", "list"]);
    assert!(listed.out.lines().count() >= 4, "{listed:?}");
    set_bits(&world.home(), 0o500, 0o400);
    refused(&world, "read-only");
    let again = as_guest(&world, &["--json", "receipts", "list"]);
    assert_eq!((again.code, &again.out), (0, &listed.out), "{again:?}");
    let verify = as_guest(&world, &["--json", "verify"]);
    assert_eq!((verify.code, &verify.json()["valid"]), (0, &json!(true)), "{verify:?}");
    for words in [["log", "fsck"].as_slice(), &["replay"], &["keys", "jwks"]] {
        let ran = as_guest(&world, words);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    }

    // Nothing but the bits was in the way.
    set_bits(&world.home(), 0o700, 0o600);
    let mut session = guest_session(&world);
    session.handshake();
    assert_eq!(text(&session.call("read_note", json!({"name": "a.md"}))), "x");
    assert_eq!(session.end(), 0);
    world.settle();
}

#[test]
fn a_home_that_can_not_be_read_is_an_error() {
    let Some(world) = guest() else { return };
    chown(world.home(), Some(0), Some(0)).unwrap();
    refused(&world, "unreadable");
    for words in [["receipts", "list"].as_slice(), &["verify"], &["log", "fsck"], &["keys", "jwks"]]
    {
        let ran = as_guest(&world, words);
        assert_eq!(ran.code, 3, "{words:?}: {ran:?}");
        assert!(ran.err.contains("Permission denied"), "{words:?}: {ran:?}");
        assert!(ran.err.contains("next:"), "{words:?}: {ran:?}");
    }
}
