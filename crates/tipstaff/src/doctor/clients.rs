//! What the clients' configurations leave outside the gateway.
//!
//! The adversary is a client that starts something by another way than the one that was wrapped.

use std::collections::BTreeSet;
use std::path::Path;

use super::Findings;
use crate::home::Place;
use crate::install::clients::{Client, Folders, without_hooks};
use crate::install::hooks::State;
use crate::install::plan::{Behind, Outcome, Planned};
use crate::install::{own, plans};

pub(super) fn look(at: &Place, findings: &mut Findings) {
    let about = "clients";
    let Some(folders) = Folders::of_user() else {
        findings.add(
            about,
            "HOME is not set",
            "set it: the clients keep their configuration there",
        );
        return;
    };
    let Ok(own) = own(at) else {
        findings.add(about, "this program can't be named", "install it anew");
        return;
    };
    let plans = plans(&[], &[], &folders, &own);
    for plan in &plans {
        servers(plan, findings);
        hooks(plan, findings);
    }
    for path in [".claude/settings.json", ".claude/settings.local.json"] {
        project_settings(&folders.current.join(path), findings);
    }
    for client in without_hooks(&plans) {
        let name = client.as_str();
        findings
            .notes
            .push(format!("the built-in tools of {name} have no hook and are not judged"));
    }
    if plans.iter().any(|plan| plan.place.client == Client::Codex && !plan.hooks.is_empty()) {
        codex(&folders, findings);
    }
    if plans.iter().any(|plan| plan.place.holds.hooks().is_some()) {
        findings.end("hooks");
    }
    findings.end(about);
}

fn servers(plan: &Planned, findings: &mut Findings) {
    let about = "clients";
    let path = plan.place.path.display();
    if let Outcome::Refused(why) = &plan.outcome
        && plan.servers.is_empty()
        && plan.hooks.is_empty()
    {
        let fix = format!(
            "mend that, then run `tipstaff install --client {}`",
            plan.place.client.as_str()
        );
        findings.add(about, format!("{path} can't be read: {why}"), fix);
        return;
    }
    let mut missing = BTreeSet::new();
    for item in &plan.servers {
        let name = match &item.scope {
            Some(scope) => format!("server {} of {scope} in {path}", item.name),
            None => format!("server {} of {path}", item.name),
        };
        match &item.state {
            Behind::Already => {}
            Behind::Wrapped => findings.add(
                about,
                format!("{name} is not behind the gateway"),
                format!("run `tipstaff install --client {}`", plan.place.client.as_str()),
            ),
            Behind::Mended => findings.add(
                about,
                format!("{name} is started by a tipstaff that is gone, so it doesn't start"),
                format!("run `tipstaff install --client {}`", plan.place.client.as_str()),
            ),
            Behind::Other(binary) => findings.add(
                about,
                format!("{name} is behind another tipstaff, {binary}"),
                "run that one's `install --undo`, then `tipstaff install` of this one",
            ),
            Behind::Left(why) => findings.add(
                about,
                format!("{name} is NOT BEHIND THE GATEWAY: {why}"),
                "mend that if you can, else remove it from the client",
            ),
        }
        if let Some(command) = &item.command
            && !is_found(command)
        {
            missing.insert((name, command.clone()));
        }
    }
    for (name, command) in missing {
        let fix = "install it, or write its whole path into the configuration";
        findings.add(about, format!("{name} runs {command}, which is not on PATH"), fix);
    }
}

fn hooks(plan: &Planned, findings: &mut Findings) {
    let about = "hooks";
    if plan.place.holds.hooks().is_none() {
        return;
    }
    let path = plan.place.path.display();
    for (event, state) in &plan.hooks {
        let what = match state {
            State::Here => continue,
            State::Missing => "is missing, so that the client's own tools are not judged",
            State::Partial => "is not for every tool",
            State::Gone => "runs a tipstaff that is gone",
            State::Elsewhere => "runs another tipstaff, or joins another home",
        };
        findings.add(about, format!("hook {event} of {path} {what}"), "run `tipstaff install`");
    }
    if let Some(why) = plan.hooks_off {
        let what = format!("{why} in {path}: no built-in tool is judged");
        findings.add(about, what, "turn the hooks on there");
    }
}

/// Codex runs a hook only after its user has looked at it, and remembers that in `config.toml`.
fn codex(folders: &Folders, findings: &mut Findings) {
    let about = "hooks";
    let path = folders.codex().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    // What can't be read is said by `servers`.
    let Ok(config) = text.parse::<toml::Table>() else { return };
    let switch = config.get("features").and_then(|features| features.get("hooks"));
    if switch.and_then(toml::Value::as_bool) == Some(false) {
        let what = format!("features.hooks is false in {}: no hook runs", path.display());
        findings.add(about, what, "take that line out");
    }
    let hooks = folders.codex().join("hooks.json");
    let real = std::fs::canonicalize(&hooks).unwrap_or_else(|_| hooks.clone());
    let ours = [hooks, real].map(|path| format!("{}:pre_tool_use:", path.display()));
    let state = config.get("hooks").and_then(|hooks| hooks.get("state"));
    let states = state.and_then(toml::Value::as_table).into_iter().flatten();
    let mut of_ours = states.filter(|(key, _)| ours.iter().any(|ours| key.starts_with(ours)));
    if !of_ours.any(|(_, state)| state.get("trusted_hash").is_some()) {
        let what = "Codex was not told to trust the hook, so it doesn't run it";
        findings.add(about, what, "start Codex, enter /hooks and trust it");
    }
}

/// A project's settings come after the user's and can switch the hooks off.
fn project_settings(path: &Path, findings: &mut Findings) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let Ok(settings) = serde_json::from_str::<serde_json::Value>(&text) else { return };
    if settings.get("disableAllHooks") == Some(&true.into()) {
        let what = format!(
            "disableAllHooks is true in {}: no built-in tool is judged here",
            path.display()
        );
        findings.add("hooks", what, "set it to false");
    }
}

/// Whether a command is a file or on the path. What the client fills in is not known here.
fn is_found(command: &str) -> bool {
    if command.contains("${") || command.starts_with('~') {
        return true;
    }
    if command.contains('/') {
        // A relative one is relative to a folder that the client chooses.
        return !command.starts_with('/') || Path::new(command).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}
