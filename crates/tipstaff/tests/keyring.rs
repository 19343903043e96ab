//! Credentials from a real Secret Service, in a session bus of the test's own.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that can't go on has failed or says why, and it starts processes"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;
use support::remote::{POLICY, Remote};
use support::{BINARY, Session, World, text};

const SECRET: &str = "Bearer s3cret-value";
/// What it takes, by Debian's packages: gnome-keyring, libsecret-tools, dbus.
const TOOLS: [&str; 3] = ["gnome-keyring-daemon", "secret-tool", "dbus-run-session"];

/// A shell's line in a session with an unlocked keyring that holds one entry.
fn in_session(world: &World, line: &str) -> Command {
    let run = world.at("run");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let script = format!(
        "echo pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null && \
         printf '%s' \"$SECRET\" | secret-tool store --label=test service 'tipstaff test' account far && \
         unset SECRET && {line}"
    );
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", &script]).env_clear().env("SECRET", SECRET);
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", world.at("user"));
    command.env("XDG_RUNTIME_DIR", run).env("TIPSTAFF_HOME", world.home());
    command.current_dir(world.work());
    command
}

fn world() -> World {
    let world = World::new();
    fs::create_dir(world.at("user")).unwrap();
    fs::write(world.home().join("policies/far.cedar"), POLICY).unwrap();
    world
}

/// Whether there is a keyring to test with; says so if not.
fn has_keyring() -> bool {
    let world = world();
    let path = std::env::var_os("PATH").unwrap();
    let is_found = |tool: &str| std::env::split_paths(&path).any(|at| at.join(tool).is_file());
    let missing = TOOLS.iter().find(|tool| !is_found(tool));
    if let Some(tool) = missing {
        eprintln!("SKIPPED: {tool} is not installed (Debian: gnome-keyring libsecret-tools dbus)");
        return false;
    }
    let works = in_session(&world, "true").stderr(Stdio::null()).status().unwrap().success();
    if !works {
        eprintln!("SKIPPED: no Secret Service starts in this environment");
    }
    works
}

#[test]
fn a_credential_comes_from_the_keyring_and_one_that_lacks_is_named() {
    if !has_keyring() {
        return;
    }
    let world = world();
    let remote = Remote::start(&world, SECRET);
    let wrap = |entry: &str| {
        let url = remote.url();
        let line = format!(
            "exec {BINARY} wrap --name far --url {url} --header-from 'Authorization=keyring:{entry}'"
        );
        Session::start(in_session(&world, &line))
    };
    let mut session = wrap("tipstaff test/far");
    session.handshake();
    assert_eq!(text(&session.call("echo", json!({"text": "x"}))), "remote says x");
    assert_eq!(session.end(), 0);
    let mut session = wrap("tipstaff test/other");
    let told = session.handshake().to_string();
    assert!(told.contains("no entry of service `tipstaff test` and account `other`"), "{told}");
    session.end();
    world.settle();
    world.assert_whole();
}

#[test]
fn without_the_tool_it_says_what_is_missing() {
    let world = world();
    let remote = Remote::start(&world, SECRET);
    let mut command = world.command();
    command.args(["wrap", "--name", "far", "--url", &remote.url()]);
    command.args(["--header-from", "Authorization=keyring:a/b"]).env("PATH", world.at("user"));
    let mut session = Session::start(command);
    let told = session.handshake().to_string();
    assert!(told.contains("secret-tool") && told.contains("libsecret-tools"), "{told}");
    session.end();
}
