//! Requests of the command line, one per connection.
//!
//! The adversary is an agent that runs the command line itself. The kernel says which process asks: what
//! a person has to decide is signed, and refused from a process that the requester started; what loosens
//! is refused from every agent's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tipstaff_core::Json;
use tipstaff_core::key::Signature;
use tipstaff_core::receipt::Door;
use tipstaff_identity::{Change, SignedOrder, SignedSuccession};

use super::Out;
use crate::approval::Statement;
use crate::monitor::{Asker, Monitor, Said, Switch, Wanted, log_line};
use crate::repeat::salt_of;
use crate::service::Stopper;
use crate::tails::{Line, News};
use crate::told::SignedTold;
use crate::wire::{frame, number, object, text_of};

/// Why whoever is judged loosens nothing.
const AGENTS: &str =
    "it comes from an agent's client, or from a process that one started: a person has to do it";

/// Orders that are taken at once.
const ORDERS_MAX: usize = 1024;
/// How often a watcher is written to at least.
const STILL: Duration = Duration::from_secs(2);

/// The answer to a request.
pub(super) fn answer(
    hello: &Json,
    asker: Asker,
    monitor: &Arc<Monitor>,
    retire: Option<&Stopper>,
) -> Json {
    let what = text_of(hello, "do").unwrap_or_default();
    match what.as_str() {
        "ping" => object([("ok", Json::from(true))]),
        "tools-diff" => tools_diff(monitor),
        "flush" => match monitor.tick().and_then(|()| monitor.publish()) {
            Ok(()) => {
                object([("observe", Json::from(monitor.observes_all())), ("ok", Json::from(true))])
            }
            Err(error) => failed(&error.to_string()),
        },
        "queue" => object([("holds", Json::Array(monitor.waiting())), ("ok", Json::from(true))]),
        "repeats" => {
            object([("ok", Json::from(true)), ("repeats", Json::Array(monitor.repeats_shown()))])
        }
        "answer" => answered(hello, asker, monitor),
        "sessions" => {
            let sessions = Json::Array(monitor.sessions_shown());
            object([("ok", Json::from(true)), ("sessions", sessions)])
        }
        "tell" if monitor.is_an_agents(asker) => failed(AGENTS),
        "tell" => told(hello, monitor),
        "principals" => match hello.get("wanted").and_then(Wanted::from_json) {
            Some(wanted) => monitor.principals_shown(&wanted),
            None => failed("what is wanted is malformed"),
        },
        "approvers" => monitor.approvers_shown(),
        "succeed" if monitor.is_an_agents(asker) => failed(AGENTS),
        "succeed" => succeeded(hello, monitor),
        "order" => ordered(hello, asker, monitor),
        "orders" if monitor.is_an_agents(asker) => failed(AGENTS),
        "orders" => all_ordered(hello, monitor),
        // Anyone may stop everything: that harms nothing that a person can't undo.
        "pause" => switched(monitor, Switch::Paused),
        "retire" if retire.is_none() => {
            object([("ok", Json::from(false)), ("serving", Json::from(true))])
        }
        "resume" | "retire" | "tools-accept" => {
            match (monitor.is_an_agents(asker), what.as_str()) {
                (true, _) => {
                    log_line(&format!("`{what}` was refused: process {} is an agent's", asker.pid));
                    failed(AGENTS)
                }
                (false, "resume") => switched(monitor, Switch::Running),
                (false, "retire") => retired(retire),
                (false, _) => accepted(hello, monitor),
            }
        }
        _ => failed("not a request"),
    }
}

fn told(hello: &Json, monitor: &Monitor) -> Json {
    let Some(signed) = hello.get("told").and_then(SignedTold::from_json) else {
        return failed("what is told is malformed");
    };
    match monitor.tell(&signed, Door::Cli) {
        Ok(receipt) => {
            object([("ok", Json::from(true)), ("receipt", Json::String(receipt.to_hex()))])
        }
        Err(untold) => failed(&untold.to_string()),
    }
}

fn ordered(hello: &Json, asker: Asker, monitor: &Monitor) -> Json {
    let order = text_of(hello, "order").map(|text| SignedOrder::from_canonical(&text));
    let order = match order {
        Some(Ok(order)) => order,
        Some(Err(fault)) => return failed(&fault.to_string()),
        None => return failed("there is no order"),
    };
    // Whether it is there is the only thing that an agent says of itself.
    if !matches!(order.order.change, Change::Join { .. }) && monitor.is_an_agents(asker) {
        return failed(AGENTS);
    }
    match monitor.order(&order) {
        Ok(receipt) => {
            object([("ok", Json::from(true)), ("receipt", Json::String(receipt.to_hex()))])
        }
        Err(disobeyed) => failed(&disobeyed.to_string()),
    }
}

/// Takes many orders at once. What comes back says how many of them count, and why not more.
fn all_ordered(hello: &Json, monitor: &Monitor) -> Json {
    let texts = hello.get("orders").and_then(Json::as_array).unwrap_or_default();
    if texts.is_empty() || texts.len() > ORDERS_MAX {
        return failed("there are no orders, or too many at once");
    }
    let read = |text: &Json| SignedOrder::from_canonical(text.as_str().unwrap_or_default());
    let orders = match texts.iter().map(read).collect::<Result<Vec<_>, _>>() {
        Ok(orders) => orders,
        Err(fault) => return failed(&fault.to_string()),
    };
    let (receipts, fault) = monitor.orders(&orders);
    let receipts = receipts.iter().map(|receipt| Json::String(receipt.to_hex())).collect();
    object([
        ("ok", Json::from(fault.is_none())),
        ("receipts", Json::Array(receipts)),
        ("text", fault.map_or(Json::Null, |fault| Json::String(fault.to_string()))),
    ])
}

fn succeeded(hello: &Json, monitor: &Monitor) -> Json {
    let Some(signed) = hello.get("succession").and_then(SignedSuccession::from_json) else {
        return failed("the succession is malformed");
    };
    match monitor.succeed(&signed) {
        Ok(receipt) => {
            object([("ok", Json::from(true)), ("receipt", Json::String(receipt.to_hex()))])
        }
        Err(disobeyed) => failed(&disobeyed.to_string()),
    }
}

fn retired(retire: Option<&Stopper>) -> Json {
    if let Some(stopper) = retire {
        stopper.stop();
    }
    object([("ok", Json::from(true)), ("serving", Json::from(false))])
}

fn accepted(hello: &Json, monitor: &Monitor) -> Json {
    let server = text_of(hello, "server").unwrap_or_default();
    match monitor.accept_tools(&server) {
        Ok(tools) => object([("ok", Json::from(true)), ("tools", number(tools as u64))]),
        Err(error) => failed(&error.to_string()),
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
            salt: salt_of(hello),
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
