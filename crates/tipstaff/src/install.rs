//! `install`: puts the servers and tool hooks of the clients on this machine behind the gateway, and takes
//! them out again.
//!
//! The adversary is a half-done job: a client whose configuration is broken by the one program that was
//! meant to protect it, or a server that stays outside and nobody says so.

mod address;
pub(crate) mod clients;
mod codex;
mod diff;
mod edit;
mod file;
mod hook_file;
pub(crate) mod hooks;
mod jsonc;
mod mode;
pub(crate) mod plan;
mod record;
pub(crate) mod servers;
mod undo;

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use tipstaff_core::Digest;

use self::clients::{Client, Folders, Place as File};
use self::hooks::State;
pub(crate) use self::mode::Mode;
use self::plan::{Behind, Outcome as Fate, Planned, Rewrite, plan};
use self::record::{Change, Held, Record};
use self::servers::Own;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// What the command was asked to do.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Only these clients; all if empty.
    pub(crate) clients: Vec<Client>,
    /// Servers at an address without a credential that go behind the gateway all the same.
    pub(crate) include: Vec<String>,
    pub(crate) step: Step,
}

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put behind the gateway.
    Install(Strictness),
    /// Only say what would change.
    DryRun(Strictness),
    /// Take everything back.
    Undo,
}

/// Whether verdicts bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// As the home says; a new home observes.
    AsItIs,
    /// Verdicts are enforced.
    Enforce,
}

pub(crate) fn run(at: &Place, wanted: &Wanted) -> Outcome {
    let folders = Folders::of_user().ok_or_else(|| {
        Failure::Usage(
            "no home folder of yours: set HOME, where the clients keep theirs".to_owned(),
        )
    })?;
    let own = own(at)?;
    match wanted.step {
        Step::Install(strictness) => install(at, wanted, &folders, &own, strictness),
        Step::DryRun(strictness) => dry_run(at, wanted, &folders, &own, strictness),
        Step::Undo => undo::run(at, &wanted.clients, &folders, &own),
    }
}

/// This program and home, as a client's configuration names them.
pub(crate) fn own(at: &Place) -> Result<Own, Failure> {
    let exe = std::env::current_exe().map_err(|error| error.to_string());
    let exe =
        exe.and_then(|exe| exe.into_os_string().into_string().map_err(|_| "not UTF-8".into()));
    let exe = exe.map_err(|e| Failure::undone("This program can't be named.", e, "Move it."))?;
    let home = at.home.root().to_string_lossy().into_owned();
    Ok(Own { exe, home })
}

/// The plans for every file of the clients that were named.
pub(crate) fn plans(
    clients: &[Client],
    include: &[String],
    folders: &Folders,
    own: &Own,
) -> Vec<Planned> {
    let wanted = |client: Client| clients.is_empty() || clients.contains(&client);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for file in folders.places().into_iter().filter(|file| wanted(file.client)) {
        let real = std::fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        // Two names of one file are one file.
        if !seen.insert(real) {
            continue;
        }
        found.extend(plan(&file, own, include, folders.if_missing(file.client)));
    }
    found
}

fn install(
    at: &Place,
    wanted: &Wanted,
    folders: &Folders,
    own: &Own,
    strictness: Strictness,
) -> Outcome {
    if plans(&wanted.clients, &wanted.include, folders, own).is_empty() {
        return nothing_found(at, &wanted.clients);
    }
    let failed = |why: String| {
        Failure::undone("Nothing was changed.", why, "Mend that and run `tipstaff install` again.")
    };
    let _held = Held::take(&at.home).map_err(failed)?;
    let mode = mode::settle(&at.home, strictness).map_err(failed)?;
    // As it stands now that nobody else changes it.
    let plans = plans(&wanted.clients, &wanted.include, folders, own);
    let mut record = Record::read(&at.home)
        .map_err(|why| failed(format!("install/record.json of the home: {why}")))?;
    for entry in &record.files {
        file::sweep(&entry.path);
    }
    let changes: Vec<Change> = plans.iter().filter_map(|plan| change(plan, own)).collect();
    record.prepare(&at.home, &changes).map_err(failed)?;
    let mut report = Report::default();
    for plan in &plans {
        let result = match &plan.outcome {
            Fate::Same => Ok(false),
            Fate::Refused(why) => Err(why.clone()),
            Fate::Changes(rewrite) => write(plan, rewrite).map(|()| true),
        };
        report.add(plan, result);
    }
    report.say_what_has_no_hook(&plans);
    report.print(at, mode, &at.home.root().to_string_lossy())
}

fn dry_run(
    at: &Place,
    wanted: &Wanted,
    folders: &Folders,
    own: &Own,
    strictness: Strictness,
) -> Outcome {
    let plans = plans(&wanted.clients, &wanted.include, folders, own);
    if plans.is_empty() {
        return nothing_found(at, &wanted.clients);
    }
    let mode = mode::would_be(&at.home, strictness)
        .map_err(|why| Failure::undone("The home's config.toml can't be read.", why, "Mend it."))?;
    let mut report = Report { dry: true, ..Report::default() };
    for plan in &plans {
        let result = match &plan.outcome {
            Fate::Same => Ok(false),
            Fate::Refused(why) => Err(why.clone()),
            Fate::Changes(rewrite) => {
                if !at.json {
                    println!("{}", plan.place.path.display());
                    let before = rewrite.seen.as_ref().and_then(|seen| seen.text().ok());
                    let mask = |text| plan::masked(plan.place.holds, text);
                    let (before, after) = (mask(before.unwrap_or_default()), mask(&rewrite.after));
                    for line in diff::diff(&before, &after) {
                        println!("  {line}");
                    }
                }
                Ok(true)
            }
        };
        report.add(plan, result);
    }
    report.say_what_has_no_hook(&plans);
    report.print(at, mode, &at.home.root().to_string_lossy())
}

fn nothing_found(at: &Place, clients: &[Client]) -> Outcome {
    let names: Vec<&str> = clients.iter().map(|client| client.as_str()).collect();
    if at.json {
        println!("{}", json!({ "files": [], "not_behind": [] }));
    } else if names.is_empty() {
        println!("No client's configuration was found on this machine or in this folder.");
    } else {
        println!("No configuration of {} was found on this machine.", names.join(", "));
    }
    if !at.json {
        println!("  next: put `tipstaff wrap -- ` before the command of a server by hand");
    }
    Err(Failure::No)
}

fn change(plan: &Planned, own: &Own) -> Option<Change> {
    let Fate::Changes(rewrite) = &plan.outcome else { return None };
    let seen = rewrite.seen.as_ref();
    let without = seen.map(|seen| {
        let text = seen.text().unwrap_or_default();
        let text =
            plan::taken_back(plan.place.holds, text, own).unwrap_or_else(|_| text.to_owned());
        text.into_bytes()
    });
    Some(Change {
        path: real(plan, rewrite),
        client: plan.place.client.as_str().to_owned(),
        mode: seen.map_or(0o600, |seen| seen.mode),
        now: seen.map(|seen| seen.bytes.clone()),
        without,
        after: rewrite.after.clone().into_bytes(),
    })
}

fn real(plan: &Planned, rewrite: &Rewrite) -> PathBuf {
    rewrite.seen.as_ref().map_or_else(|| plan.place.path.clone(), |seen| seen.real.clone())
}

fn write(plan: &Planned, rewrite: &Rewrite) -> Result<(), String> {
    let real = real(plan, rewrite);
    if let Some(folder) = real.parent() {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    let seen = rewrite.seen.as_ref();
    let before = seen.map(|seen| Digest::of(&seen.bytes));
    let mode = seen.map_or(0o600, |seen| seen.mode);
    file::replace(&real, before, rewrite.after.as_bytes(), mode)
}

/// What was done, for the person who asked for it.
#[derive(Debug, Default)]
struct Report {
    dry: bool,
    files: Vec<Value>,
    lines: Vec<String>,
    changed: usize,
    refused: usize,
    outside: Vec<String>,
    shared: Vec<String>,
    /// Codex runs no hook that its user has not looked at.
    trust: bool,
}

impl Report {
    fn add(&mut self, plan: &Planned, result: Result<bool, String>) {
        let File { client, path, shared, .. } = &plan.place;
        let path = path.display().to_string();
        let changed = result == Ok(true);
        let refused = result.as_ref().err();
        self.changed += usize::from(changed);
        self.refused += usize::from(refused.is_some());
        let hooks: serde_json::Map<String, Value> = plan
            .hooks
            .iter()
            .map(|(event, state)| {
                ((*event).to_owned(), hook_word(*state, refused.is_some()).into())
            })
            .collect();
        self.files.push(json!({
            "client": client.as_str(), "path": path, "changed": changed, "refused": refused,
            "servers": if refused.is_some() { json!([]) } else { json!(plan.servers) },
            "hooks": hooks,
        }));
        self.lines.push(format!("{} {path}", client.as_str()));
        if let Some(why) = refused {
            self.lines.push(format!("  LEFT AS IT WAS: {why}"));
            self.outside.push(format!("everything in {path}: {why}"));
            return;
        }
        for item in &plan.servers {
            let of = item.scope.as_ref().map(|scope| format!(" of {scope}")).unwrap_or_default();
            let said = match &item.state {
                Behind::Wrapped if self.dry => "would go behind the gateway".to_owned(),
                Behind::Wrapped => "now behind the gateway".to_owned(),
                Behind::Already => "behind the gateway already".to_owned(),
                Behind::Mended => "behind this gateway; the one before is gone".to_owned(),
                Behind::Other(binary) => format!("behind another gateway, {binary}, which is left"),
                Behind::Left(why) => format!("NOT BEHIND THE GATEWAY: {why}"),
            };
            self.lines.push(format!("  server {}{of}: {said}", item.name));
        }
        for (item, why) in plan.outside() {
            self.outside.push(format!("server {} of {path}: {why}", item.name));
        }
        for (event, state) in &plan.hooks {
            self.lines.push(format!("  hook {event}: {}", hook_word(*state, false)));
        }
        if let Some(why) = plan.hooks_off {
            self.outside.push(format!("every built-in tool, by {path}: {why} in it"));
        }
        if *shared && changed {
            self.shared.push(path);
        }
    }

    /// Clients with tools of their own that no hook of ours judges.
    fn say_what_has_no_hook(&mut self, plans: &[Planned]) {
        for client in clients::without_hooks(plans) {
            let name = client.as_str();
            self.outside.push(format!("the built-in tools of {name}: there is no hook for them"));
        }
        let is_new = |plan: &&Planned| {
            plan.place.client == Client::Codex && matches!(plan.outcome, Fate::Changes(_))
        };
        self.trust = plans.iter().filter(is_new).any(|plan| !plan.hooks.is_empty());
    }

    fn print(&self, at: &Place, mode: Mode, home: &str) -> Outcome {
        if at.json {
            println!(
                "{}",
                json!({
                    "dry_run": self.dry, "mode": mode.as_str(), "home": home, "files": self.files,
                    "changed": self.changed, "refused": self.refused,
                    "not_behind": self.outside,
                })
            );
        } else {
            for line in &self.lines {
                println!("{line}");
            }
            self.print_end(mode);
        }
        if self.refused > 0 { Err(Failure::No) } else { Ok(()) }
    }

    fn print_end(&self, mode: Mode) {
        if !self.outside.is_empty() {
            println!("\nNOT BEHIND THE GATEWAY, so that nobody judges what these do:");
            for line in &self.outside {
                println!("  {line}");
            }
        }
        for path in &self.shared {
            println!("\n{path} names a path of this machine now: don't commit that for others.");
        }
        let files = if self.changed == 1 { "file" } else { "files" };
        if self.dry {
            println!("\nNothing was changed. {} {files} would be.", self.changed);
        } else {
            println!(
                "\n{} {files} changed; `tipstaff install --undo` takes it back.",
                self.changed
            );
        }
        if self.trust && !self.dry {
            println!("Codex runs no hook before you trust it: start it and enter /hooks.");
        }
        match mode {
            Mode::Observing => {
                println!(
                    "OBSERVE MODE IS ON: everything passes, and each receipt says what would have been."
                );
                println!("  next: restart the clients; later, `tipstaff install --enforce`");
            }
            Mode::Enforcing => {
                println!("Verdicts are enforced.");
                println!("  next: restart the clients, then `tipstaff doctor`");
            }
        }
    }
}

const fn hook_word(state: State, refused: bool) -> &'static str {
    match state {
        _ if refused => "left",
        State::Missing | State::Partial => "added",
        State::Here => "there already",
        State::Gone => "mended",
        State::Elsewhere => "runs another program or home, which is left",
    }
}
