//! `conformance`: runs the technical tests against an instance, and says what was measured.
//!
//! The adversary is the wish to be told yes. Everything goes over the public interfaces; an instance of its
//! own has rules and tools made for the tests, and what a target can't be made to do is not tested.

mod http;
mod instance;
mod principals;
mod signer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tipstaff_conformance::{
    Approver, Build, Exam, Item, MeasuredOn, Outcome as Word, Report, Timing, Transport,
};
use tipstaff_core::{Digest, Millis};
use tipstaff_identity::HomeKeys;

use self::http::Http;
use self::instance::{Away, Instance};
use self::signer::Signer;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// Where an instance finds its manifest, below the home.
const FILE: &str = "conformance.json";
/// Time for what comes at once, but by way of another thread.
const SOON: Duration = Duration::from_secs(4);

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) target: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) only: Vec<String>,
    pub(crate) wait: u64,
}

pub(crate) fn run(at: &Place, wanted: &Wanted) -> Outcome {
    if let Some(unknown) = wanted.only.iter().find(|id| Item::find(id).is_none()) {
        let what =
            format!("`{unknown}` is no test: they are R1.1 to R9.1, O1 to O9, S3.1, S4, S5, S6");
        return Err(Failure::Usage(what));
    }
    let report = match &wanted.target {
        None => own(at, wanted)?,
        Some(target) => {
            let report = targeted(at, wanted, target)?;
            // Only the home that was measured says what was measured.
            let log = HomeKeys::open(at.home.root()).ok().map(|keys| keys.origin().to_owned());
            if log.is_some() && log == report.measured_on.log {
                keep(at.home.root(), wanted, &report)?;
            }
            report
        }
    };
    if at.json {
        println!("{}", report.to_json());
    } else {
        print!("\n{}", report.to_table());
    }
    if report.is_met() { Ok(()) } else { Err(Failure::No) }
}

/// The fixture's server, on standard streams.
pub(crate) fn tools(folder: &Path) -> Outcome {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    fs::create_dir_all(folder)
        .and_then(|()| tipstaff_conformance::serve_tools(folder, input, output))
        .map_err(|e| Failure::undone("The tools can't be served.", e, "Name a folder of yours."))
}

/// Tests an instance of this program.
fn own(at: &Place, wanted: &Wanted) -> Result<Report, Failure> {
    let failed = |e: std::io::Error| {
        let next = "Set TMPDIR to a folder of yours with some space, and try again.";
        Failure::undone("No instance could be started.", e, next)
    };
    let instance = Instance::start().map_err(failed)?;
    let token = fs::read_to_string(instance.home().join("keys/http.token")).map_err(failed)?;
    let transport =
        Http::new(&instance.url(), token.trim()).map_err(|e| failed(std::io::Error::other(e)))?;
    let key = HomeKeys::approver(instance.home()).map_err(|e| failed(std::io::Error::other(e)))?;
    let principals = principals::enrol(instance.home(), &key);
    let principals = principals.map_err(|e| failed(std::io::Error::other(e)))?;
    let count = principals.len();
    let transport = transport.with_principals(principals);
    let (signer, away) = (Signer::new(key), Away::default());
    let exam =
        Exam::new(&transport, timing(wanted), &unique()).with_outage(&away).with_principals(count);
    let report = measured(at, wanted, exam.with_approver(&signer), "own");
    // What is measured is served by the very instance that it was measured on.
    keep(instance.home(), wanted, &report)?;
    served(&transport, wanted, &report)?;
    if at.home.exists() {
        keep(at.home.root(), wanted, &report)?;
    }
    Ok(report)
}

/// Tests what runs elsewhere.
fn targeted(at: &Place, wanted: &Wanted, target: &str) -> Result<Report, Failure> {
    let undone = "The target can't be tested.";
    let file = wanted.token_file.as_deref().unwrap_or(Path::new(""));
    let token = fs::read_to_string(file)
        .map_err(|e| Failure::undone(undone, e, "Name the file with its token: --token-file."))?;
    let transport = Http::new(target, token.trim()).map_err(Failure::Usage)?;
    let key = wanted.key.as_deref().map(HomeKeys::approver_at).transpose();
    let key = key
        .map_err(|e| Failure::undone(undone, e, "Name an approver's key of the target: --key."))?;
    let signer = key.map(Signer::new);
    let mut exam = Exam::new(&transport, timing(wanted), &unique());
    if let Some(signer) = &signer {
        exam = exam.with_approver(signer as &dyn Approver);
    }
    exam.ready().map_err(|why| {
        let next = "Put the fixture's tools and rules behind it: see docs/conformance.md.";
        Failure::undone(undone, why, next)
    })?;
    Ok(measured(at, wanted, exam, "target"))
}

fn measured(at: &Place, wanted: &Wanted, exam: Exam<'_>, instance: &'static str) -> Report {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Millis(u64::try_from(since.as_millis()).unwrap_or_default());
    let ours = instance == "own";
    let build = Build {
        name: if ours { "tipstaff" } else { "target" }.to_owned(),
        version: if ours { env!("CARGO_PKG_VERSION") } else { "not known" }.to_owned(),
        commit: option_env!("TIPSTAFF_COMMIT").filter(|_| ours).map(str::to_owned),
        executable: ours.then(executable).flatten(),
        engine: None,
    };
    let on = MeasuredOn { instance, log: None };
    let mut each = |id: &str, word: Word| {
        if !at.json {
            println!("{id:<5} {}", word.as_str());
        }
    };
    tipstaff_conformance::run(&exam, &wanted.only, (now.to_string(), on, build), &mut each)
}

/// Leaves the manifest in a home; a part of the tests replaces no whole one.
fn keep(home: &Path, wanted: &Wanted, report: &Report) -> Outcome {
    if !wanted.only.is_empty() {
        return Ok(());
    }
    let (new, file) = (home.join(format!("{FILE}.new")), home.join(FILE));
    let text = serde_json::to_string_pretty(&report.to_json()).unwrap_or_default();
    let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, &file));
    written.map_err(|e| {
        Failure::undone("The manifest can't be kept.", e, "Run it as the user whose home this is.")
    })
}

/// Sees that the instance serves what was measured.
fn served(transport: &Http, wanted: &Wanted, report: &Report) -> Outcome {
    if !wanted.only.is_empty() {
        return Ok(());
    }
    let request = tipstaff_conformance::Request {
        method: "GET",
        path: "/api/v1/aarm/conformance".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        credential: tipstaff_conformance::Credential::Nothing,
        wait: SOON,
    };
    let answer = transport.send(&request).ok().and_then(|answer| answer.json());
    if answer.as_ref().map(Value::to_string) == Some(report.to_json().to_string()) {
        return Ok(());
    }
    let cause = "/api/v1/aarm/conformance answers something else";
    Err(Failure::undone("The manifest is not served as measured.", cause, "Please report this."))
}

fn timing(wanted: &Wanted) -> Timing {
    Timing { expiry: Duration::from_secs(wanted.wait), soon: SOON }
}

/// A name that no other run has.
fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("run-{:x}-{:x}", std::process::id(), since.as_micros())
}

fn executable() -> Option<String> {
    let bytes = fs::read(std::env::current_exe().ok()?).ok()?;
    Some(Digest::of(&bytes).to_hex())
}
