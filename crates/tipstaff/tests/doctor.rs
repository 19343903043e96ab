//! `doctor` on a machine that is a temporary folder: each fault is seen, and has its fix.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod machine;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use machine::{CLAUDE, Machine, SETTINGS};
use support::BINARY;

#[test]
fn the_doctor_names_each_fault_and_its_fix() {
    let machine = Machine::new();
    let found = |machine: &Machine| -> Vec<String> {
        let ran = machine.run(&["--json", "doctor"]);
        let findings = ran.json()["findings"].as_array().unwrap().clone();
        assert_eq!(ran.code, i32::from(!findings.is_empty()), "{ran:?}");
        for finding in &findings {
            assert!(finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{finding}");
        }
        findings
            .iter()
            .map(|finding| {
                format!(
                    "{}: {}",
                    finding["about"].as_str().unwrap(),
                    finding["what"].as_str().unwrap()
                )
            })
            .collect()
    };
    let says = |all: &[String], what: &str| {
        assert!(all.iter().any(|one| one.contains(what)), "{what}: {all:?}")
    };
    says(&found(&machine), "home: there is none");
    machine.write(
        CLAUDE,
        "{\"mcpServers\":{\"a\":{\"command\":\"sh\"},\"gone\":{\"command\":\"no-such-program\"}}}",
    );
    assert_eq!(machine.run(&["init"]).code, 0);
    let idle = |machine: &Machine| {
        let path = machine.0.home().join("config.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, config.replace("idle_exit_s = 60", "idle_exit_s = 0")).unwrap();
    };
    idle(&machine);
    machine.write(SETTINGS, "{\"disableAllHooks\": true}");
    let all = found(&machine);
    for what in [
        "server a of",
        "hook PreToolUse",
        "disableAllHooks",
        "no-such-program, which is not on PATH",
    ] {
        says(&all, what);
    }
    machine.write(SETTINGS, "{}");
    machine.write(CLAUDE, "{\"mcpServers\":{\"a\":{\"command\":\"sh\"}}}");
    assert_eq!(machine.run(&["install", "--enforce"]).code, 0);
    assert_eq!(found(&machine), Vec::<String>::new());
    let ran = machine.run(&["doctor"]);
    assert!(ran.out.ends_with("Nothing is wrong.\n"), "{ran:?}");
    // Each fault is seen.
    let config = machine.0.home().join("config.toml");
    let whole = fs::read_to_string(&config).unwrap();
    fs::write(&config, whole.replace("observe = false", "observe = true")).unwrap();
    says(&found(&machine), "mode: OBSERVE MODE IS ON");
    fs::write(&config, format!("{whole}\nroots = nonsense")).unwrap();
    says(&found(&machine), "configuration: ");
    fs::write(&config, &whole).unwrap();
    let claude = machine.read(CLAUDE);
    machine.write(CLAUDE, claude.replace(BINARY, "/gone/tipstaff"));
    says(&found(&machine), "started by a tipstaff that is gone");
    assert_eq!(machine.run(&["install"]).code, 0);
    assert_eq!(machine.read(CLAUDE), claude, "mended");
    fs::set_permissions(machine.0.home(), fs::Permissions::from_mode(0o755)).unwrap();
    says(&found(&machine), "others can look into");
    fs::set_permissions(machine.0.home(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(machine.0.home().join("policies/bad.cedar"), "permit (").unwrap();
    says(&found(&machine), "policies: ");
    fs::remove_file(machine.0.home().join("policies/bad.cedar")).unwrap();
    machine.write("project/.claude/settings.local.json", "{\"disableAllHooks\": true}");
    says(&found(&machine), "settings.local.json");
    machine.0.settle();
}
