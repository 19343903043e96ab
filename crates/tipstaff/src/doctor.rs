//! `doctor`: what is wrong with this setup, and the fix, a line each.
//!
//! The adversary is a protection that everybody believes to be on: a server that nobody wrapped, a hook
//! that names a program that is gone, a home that only observes.

mod clients;
mod machine;

use serde_json::json;
use tipstaff_identity::HomeKeys;
use tipstaff_ledger::LogReader;
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_monitor::{Client, MonitorError, check_policies, read_policies};
use tipstaff_store::{Disk, NativeDisk};

use crate::home::Place;
use crate::install::Mode;
use crate::outcome::{Failure, Outcome, counted};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Finding {
    /// Which part of the setup.
    about: &'static str,
    what: String,
    fix: String,
}

/// What was found, and what was looked at without a finding.
#[derive(Debug, Default)]
struct Findings {
    found: Vec<Finding>,
    well: Vec<&'static str>,
    /// What can't be mended here, and should be known.
    notes: Vec<String>,
}

impl Findings {
    fn add(&mut self, about: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.found.push(Finding { about, what: what.into(), fix: fix.into() });
    }

    /// Notes a part as well if nothing was found of it.
    fn end(&mut self, about: &'static str) {
        if !self.found.iter().any(|finding| finding.about == about) {
            self.well.push(about);
        }
    }
}

pub(crate) fn run(at: &Place) -> Outcome {
    let mut findings = Findings::default();
    if home(at, &mut findings) {
        configuration(at, &mut findings);
        policies(at, &mut findings);
        logins(at, &mut findings);
        monitor(at, &mut findings);
        log(at, &mut findings);
        machine::disk(at.home.root(), &mut findings);
    }
    machine::clock(&mut findings);
    clients::look(at, &mut findings);
    let Findings { found, well, notes } = findings;
    if at.json {
        println!(
            "{}",
            json!({ "ok": found.is_empty(), "findings": found, "well": well, "notes": notes })
        );
    } else {
        for finding in &found {
            println!("{}: {}\n  fix: {}", finding.about, finding.what, finding.fix);
        }
        for note in &notes {
            println!("note: {note}");
        }
        if !well.is_empty() {
            println!("as it should be: {}", well.join(", "));
        }
        match found.len() {
            0 => println!("Nothing is wrong."),
            count => println!("{} wrong.", counted(count, "thing is", "things are")),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::No) }
}

/// Logins that have ended without their person's doing.
fn logins(at: &Place, findings: &mut Findings) {
    let about = "logins";
    match tipstaff_gateway::logins(at.home.root()) {
        Err(fault) => findings.add(about, fault.to_string(), "mend that, or log in again"),
        Ok(found) => {
            for login in found.iter().filter(|login| login.is_over) {
                let (what, server) =
                    (format!("the one to {} is over", login.server), &login.server);
                findings.add(about, what, format!("run `tipstaff login {server}`"));
            }
        }
    }
    findings.end(about);
}

/// Whether there is a home that can be looked at.
fn home(at: &Place, findings: &mut Findings) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (root, about) = (at.home.root(), "home");
    let shown = root.display();
    let found = match std::fs::metadata(root) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.add(about, format!("there is none at {shown}"), "run `tipstaff install`");
            return false;
        }
        Err(error) => {
            findings.add(about, format!("{shown} can't be read: {error}"), "run this as its owner");
            return false;
        }
    };
    if found.uid() != rustix::process::geteuid().as_raw() {
        findings.add(about, format!("{shown} belongs to another user"), "run this as its owner");
    }
    if found.mode() & 0o077 != 0 {
        let what = format!("others can look into {shown} (mode {:o})", found.mode() & 0o777);
        findings.add(about, what, format!("chmod 700 {shown}"));
    }
    let probe = root.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = written {
        let what = format!("{shown} can't be written: {error}");
        findings.add(about, what, "make it writable for its owner, or free its disk");
    }
    let made = at.home.exists();
    if !made {
        findings.add(about, format!("{shown} has no keys"), "run `tipstaff init`");
    } else if let Err(error) = HomeKeys::open(root) {
        let fix = "restore keys/ from a backup: the log can't go on without them";
        findings.add(about, format!("its keys can't be read: {error}"), fix);
    }
    findings.end(about);
    made
}

fn configuration(at: &Place, findings: &mut Findings) {
    let about = "configuration";
    match at.home.config() {
        Err(error) => findings.add(about, error.to_string(), "mend that line of config.toml"),
        Ok(config) => {
            for root in &config.roots {
                if !std::path::Path::new(root).is_dir() {
                    let what = format!("the root {root} is no folder");
                    findings.add(about, what, "name a folder that is there in `roots`");
                }
            }
            if !config.observe_servers.is_empty() {
                let names = config.observe_servers.join(", ");
                let what =
                    format!("OBSERVE MODE IS ON for {names}: nothing that they do is stopped");
                findings.add("mode", what, "take them out of `observe_servers` in config.toml");
            }
        }
    }
    if Mode::of(&at.home) == Ok(Mode::Observing) {
        let what =
            "OBSERVE MODE IS ON: everything passes, and receipts only say what would have been";
        findings.add("mode", what, "run `tipstaff install --enforce` when you have seen enough");
    }
    findings.end("mode");
    findings.end(about);
}

fn policies(at: &Place, findings: &mut Findings) {
    let about = "policies";
    let folder = at.home.policies();
    let checked = read_policies(&folder).and_then(|source| check_policies(&at.home, &source, None));
    match checked {
        Ok((0, _)) => {
            let what = "there is no policy, so everything is refused";
            findings.add(about, what, format!("put policies into {}", folder.display()));
        }
        Ok(_) => {}
        Err(MonitorError::Policies(faults)) => {
            for fault in faults {
                let hint = fault.hint.as_ref().map(ToString::to_string);
                let fix = hint.unwrap_or_else(|| "see `tipstaff policy check`".to_owned());
                findings.add(about, fault.to_string(), fix);
            }
        }
        Err(error) => findings.add(about, error.to_string(), "make the folder readable"),
    }
    findings.end(about);
}

fn monitor(at: &Place, findings: &mut Findings) {
    let about = "monitor";
    let log = at.home.root().join("monitor.log");
    if let Err(error) = Client::ensure_monitor(&at.home) {
        findings.add(about, error.to_string(), format!("see {}", log.display()));
    } else if !matches!(Client::control(&at.home, "flush", None), Ok(Some(_))) {
        let what = "it runs and does not answer";
        findings.add(about, what, format!("end it, and see {}", log.display()));
    }
    findings.end(about);
}

fn log(at: &Place, findings: &mut Findings) {
    let about = "log";
    let opened =
        HomeKeys::open(at.home.root()).map_err(|error| error.to_string()).and_then(|keys| {
            let public = keys.public();
            let verifier =
                NoteVerifier::new(&public.origin, public.log).map_err(|e| e.to_string())?;
            let disk: std::sync::Arc<dyn Disk> =
                std::sync::Arc::new(NativeDisk::new(at.home.root()));
            LogReader::open(disk, &verifier).map_err(|error| error.to_string())
        });
    match opened {
        Ok(reader) => machine::last_receipt(&reader, findings),
        Err(error) => {
            let fix = "look with `tipstaff log fsck`; restore the home from a backup";
            findings.add(about, format!("it can't be read to its end: {error}"), fix);
        }
    }
    findings.end(about);
}
