//! The doors and processes that the command line starts.

use std::collections::BTreeMap;
use std::path::Path;

use tipstaff_gateway::{Reached, WrapEnd, WrapOptions, notify, serve_notes, wrap as run_wrap};
use tipstaff_monitor::{Caller, MonitorError, ProofKey, Role, Service, Setting};

use crate::home::Place;
use crate::measure;
use crate::outcome::{Failure, Outcome};

pub(crate) fn wrap(
    at: &Place,
    name: Option<String>,
    env: Vec<String>,
    command: Vec<String>,
    (intent, (key, capability)): (Option<&Path>, (Option<&Path>, Option<&Path>)),
) -> Outcome {
    let intent = intent.map(crate::session::intent).transpose()?;
    let caller = caller(key, capability)?;
    let mut words = command.into_iter();
    let options = WrapOptions {
        home: at.home.root().to_owned(),
        server_name: name,
        reached: Reached::Command {
            command: words.next().unwrap_or_default(),
            args: words.collect(),
            env,
        },
        intent,
        caller,
    };
    run(options)
}

/// Headers of a far server, as they were given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) from_env: Vec<String>,
    pub(crate) bearer: Option<String>,
    pub(crate) from: Vec<String>,
    pub(crate) intent: Option<std::path::PathBuf>,
    pub(crate) key: Option<std::path::PathBuf>,
    pub(crate) capability: Option<std::path::PathBuf>,
}

pub(crate) fn wrap_url(at: &Place, name: Option<String>, url: String, given: Given) -> Outcome {
    // What was typed is not repeated: it may be the secret itself.
    let wrong = |option: &str, what: &str| Failure::Usage(format!("{option} wants {what}"));
    let mut headers = BTreeMap::new();
    if let Some(variable) = given.bearer {
        if !is_variable(&variable) {
            return Err(wrong("--bearer-env", "the name of a variable that holds the token"));
        }
        headers.insert("Authorization".to_owned(), Setting::Bearer(variable));
    }
    for word in &given.from_env {
        let header = word.split_once('=').filter(|(_, name)| is_variable(name));
        let (name, variable) = header.ok_or_else(|| {
            wrong("--header-env", "NAME=VARIABLE, with the name of a variable that holds the value")
        })?;
        headers.insert(name.to_owned(), Setting::Variable(variable.to_owned()));
    }
    for word in &given.from {
        let header = word.split_once('=').map(|(name, place)| (name, place.to_owned().into()));
        let header = header.filter(|(_, place)| !matches!(place, Setting::Plain(_)));
        let (name, place) = header.ok_or_else(|| {
            wrong("--header-from", "NAME=file:FILE or NAME=keyring:SERVICE/ACCOUNT, never a value")
        })?;
        headers.insert(name.to_owned(), place);
    }
    let intent = given.intent.as_deref().map(crate::session::intent).transpose()?;
    let reached = Reached::Url { url: url.into(), headers };
    let caller = caller(given.key.as_deref(), given.capability.as_deref())?;
    run(WrapOptions { home: at.home.root().to_owned(), server_name: name, reached, intent, caller })
}

/// For whom a door acts: the client that started it, or the principal whose key is in a file.
pub(crate) fn caller(key: Option<&Path>, capability: Option<&Path>) -> Result<Caller, Failure> {
    let Some(file) = key else { return Ok(Caller::Parent) };
    let key = tipstaff_identity::key_at(file).map_err(|error| {
        let next = "Name the file that `tipstaff principal key FILE` wrote.";
        Failure::undone(
            "The server was not started: its principal's key can't be read.",
            error,
            next,
        )
    })?;
    let capability = capability.map(crate::capability::text_of).transpose()?;
    Ok(Caller::Principal { key: ProofKey::new(key), capability })
}

/// Whether a word can be the name of a variable.
fn is_variable(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !word.is_empty() && word.chars().all(plain) && !word.starts_with(|c: char| c.is_ascii_digit())
}

fn run(options: WrapOptions) -> Outcome {
    match run_wrap(options) {
        Ok(WrapEnd::Orderly) => Ok(()),
        Ok(WrapEnd::ServerDied) => Err(Failure::undone(
            "The wrapped server ended.",
            "its process exited or closed its output",
            "See its last words in the home's stderr/ folder.",
        )),
        Err(error) => Err(Failure::undone(
            "The server is not behind Tipstaff, and was not used.",
            error,
            "Mend that and start the client again.",
        )),
    }
}

pub(crate) fn notes(folder: &Path) -> Outcome {
    serve_notes(folder).map_err(|e| {
        Failure::undone("The notes can't be served.", e, "Name a folder that exists and is yours.")
    })
}

pub(crate) fn monitor(at: &Place) -> Outcome {
    let ended = Service::open(&at.home, Role::Background).and_then(|service| {
        measure::install(&at.home, service.monitor());
        // Without notices calls are held all the same.
        let _ = notify(service.monitor(), at.home.root().to_owned());
        service.run()
    });
    match ended {
        Ok(()) => Ok(()),
        Err(MonitorError::AlreadyRunning) => Err(Failure::AlreadyRunning),
        Err(error) => Err(Failure::undone(
            "The monitor stopped.",
            error,
            "Look with `tipstaff log fsck` and `tipstaff policy check`.",
        )),
    }
}
