//! The doors and processes that the command line starts.

use std::path::Path;

use tipstaff_gateway::{WrapEnd, WrapOptions, notify, serve_notes, wrap as run_wrap};
use tipstaff_monitor::{MonitorError, Role, Service};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

pub(crate) fn wrap(
    at: &Place,
    name: Option<String>,
    env: Vec<String>,
    command: Vec<String>,
) -> Outcome {
    let mut words = command.into_iter();
    let options = WrapOptions {
        home: at.home.root().to_owned(),
        server_name: name,
        command: words.next().unwrap_or_default(),
        args: words.collect(),
        env,
    };
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
