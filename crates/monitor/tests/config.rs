//! A changed configuration is a control action: it takes effect with a receipt, or not at all.

use std::fs;

use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Json, Verdict};
use tipstaff_identity::Peer;
use tipstaff_monitor::{Home, ListedTool, Monitor};

#[test]
fn roots_change_without_a_restart_and_leave_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(&folder.path().join("home"));
    let monitor = Monitor::open(&home).unwrap();
    let peer = Peer::of_process(std::process::id(), 1000);
    let member = monitor.join(&peer, None, "filesystem", Door::McpStdio).unwrap();
    let definition = "{\"name\":\"write_file\",\"inputSchema\":{\"type\":\"object\"}}".to_owned();
    let tools = [ListedTool { name: "write_file".to_owned(), definition }];
    monitor.tools_listed(&member, &tools).unwrap();
    let write = || {
        let path = folder.path().join("a.txt").to_string_lossy().into_owned();
        let arguments = Json::object(vec![("path".to_owned(), Json::String(path))]).unwrap();
        let action =
            Action::new("filesystem", "write_file", "tools/call", arguments, None).unwrap();
        monitor.admit(&member, action).map(|permit| permit.verdict())
    };
    // An empty list of roots allows no change anywhere.
    assert_eq!(write().unwrap_err().verdict, Some(Verdict::StepUp));
    let (_, before) = monitor.ledger().position();

    fs::write(home.root().join("config.toml"), "roots = [\"relative\"]\n").unwrap();
    monitor.tick().unwrap();
    assert_eq!(write().unwrap_err().verdict, Some(Verdict::StepUp));
    assert_eq!(monitor.ledger().position().1, before);

    let roots = format!("roots = [\"{}\"]\n", folder.path().display());
    fs::write(home.root().join("config.toml"), roots).unwrap();
    monitor.tick().unwrap();
    assert_eq!(write().unwrap(), Verdict::Allow);
    assert_eq!(monitor.ledger().position().1, before + 1);
}
