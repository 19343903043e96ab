//! Requests of the command line, one per connection.
//!
//! The adversary is an agent that runs the command line itself. The kernel says which process asks; what
//! a person has to decide is signed, and refused from a process that the requester started.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tipstaff_core::Json;
use tipstaff_core::key::Signature;

use super::Out;
use crate::approval::Statement;
use crate::monitor::{Monitor, Said, Switch};
use crate::service::Stopper;
use crate::tails::{Line, News};
use crate::wire::{frame, number, object, text_of};

/// How often a watcher is written to at least.
const STILL: Duration = Duration::from_secs(2);

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) pid: u32,
    pub(super) uid: u32,
}

/// The answer to a request.
pub(super) fn answer(
    hello: &Json,
    asker: Asker,
    monitor: &Arc<Monitor>,
    retire: Option<&Stopper>,
) -> Json {
    match text_of(hello, "do").as_deref() {
        Some("ping") => object([("ok", Json::from(true))]),
        Some("retire") => {
            if let Some(stopper) = retire {
                stopper.stop();
            }
            object([
                ("ok", Json::from(retire.is_some())),
                ("serving", Json::from(retire.is_none())),
            ])
        }
        Some("tools-diff") => tools_diff(monitor),
        Some("tools-accept") => {
            let server = text_of(hello, "server").unwrap_or_default();
            match monitor.accept_tools(&server) {
                Ok(tools) => object([("ok", Json::from(true)), ("tools", number(tools as u64))]),
                Err(error) => failed(&error.to_string()),
            }
        }
        Some("flush") => match monitor.tick().and_then(|()| monitor.publish()) {
            Ok(()) => {
                object([("observe", Json::from(monitor.observes_all())), ("ok", Json::from(true))])
            }
            Err(error) => failed(&error.to_string()),
        },
        Some("queue") => {
            object([("holds", Json::Array(monitor.waiting())), ("ok", Json::from(true))])
        }
        Some("answer") => answered(hello, asker, monitor),
        Some("pause") => switched(monitor, Switch::Paused),
        Some("resume") => switched(monitor, Switch::Running),
        _ => failed("not a request"),
    }
}

/// Tells a watcher of every verdict, until it goes.
pub(super) fn tail(out: &Out, monitor: &Monitor) -> io::Result<()> {
    let Some(lines) = monitor.tails.watch(News::Any) else {
        return out.send(&frame(&failed("too many watch already")));
    };
    out.send(&frame(&object([("ok", Json::from(true))])))?;
    loop {
        let told = match lines.recv_timeout(STILL) {
            Ok(Line { lost, json }) => object([("line", json), ("lost", number(lost))]),
            // A watcher that is gone is noticed by writing to it.
            Err(RecvTimeoutError::Timeout) => object([("line", Json::Null), ("lost", number(0))]),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        out.send(&frame(&told))?;
    }
}

fn tools_diff(monitor: &Monitor) -> Json {
    let changes = monitor.tool_changes().into_iter().map(|(server, changes)| {
        let changes = changes.iter().map(|change| {
            object([
                ("difference", Json::String(change.describe())),
                ("tool", Json::string(&change.name)),
            ])
        });
        object([("changes", Json::Array(changes.collect())), ("server", Json::String(server))])
    });
    object([("ok", Json::from(true)), ("servers", Json::Array(changes.collect()))])
}

fn answered(hello: &Json, asker: Asker, monitor: &Monitor) -> Json {
    let said = || {
        Some(Said {
            statement: Statement::from_json(hello.get("statement")?)?,
            key_id: text_of(hello, "key_id")?,
            signature: Signature::from_base64url(&text_of(hello, "signature")?).ok()?,
            pid: asker.pid,
            uid: asker.uid,
        })
    };
    let Some(said) = said() else { return failed("the answer is malformed") };
    match monitor.answer(&said) {
        Ok(receipt) => {
            object([("ok", Json::from(true)), ("receipt", Json::String(receipt.to_hex()))])
        }
        Err(rejection) => object([
            ("ok", Json::from(false)),
            ("rejected", Json::string(rejection.as_str())),
            ("text", Json::String(rejection.to_string())),
        ]),
    }
}

fn switched(monitor: &Monitor, to: Switch) -> Json {
    match monitor.switch(to) {
        Ok(()) => object([("ok", Json::from(true))]),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(text: &str) -> Json {
    object([("ok", Json::from(false)), ("text", Json::string(text))])
}
