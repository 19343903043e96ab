//! Tells a person elsewhere that a call waits: one POST for each held call.
//!
//! The adversary reads what is posted on its way or where it arrives: it names the call and its class,
//! never its arguments. A receiver that is slow or gone holds up nothing; what waits is in the queue.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use tipstaff_core::Json;
use tipstaff_monitor::{Monitor, Setting};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::super::body::Body;
use super::super::secrets::resolve;
use super::connect::Target;
use crate::error::GatewayError;

/// Time for a receiver to take a notice.
const POST_WAIT: Duration = Duration::from_secs(10);
/// How often to look whether the monitor is still there.
const LOOK: Duration = Duration::from_secs(5);

/// Posts a notice of each held call to the `approval_webhook` of the configuration, for as long as the
/// monitor is there. Without such a setting nothing is sent.
///
/// # Errors
/// [`GatewayError::System`] if no thread can be started.
pub fn notify(monitor: &Arc<Monitor>, home: PathBuf) -> Result<(), GatewayError> {
    let Some(lines) = monitor.watch() else { return Ok(()) };
    let weak = Arc::downgrade(monitor);
    let body = move || {
        let mut runtime: Option<Runtime> = None;
        loop {
            let line = lines.next(LOOK);
            let Some(monitor) = weak.upgrade() else { return };
            let Some(line) = line else { continue };
            let held = line.get("held_until").is_some_and(|until| *until != Json::Null);
            let Some(setting) = monitor.webhook().filter(|_| held) else { continue };
            drop(monitor);
            if runtime.is_none() {
                runtime = Builder::new_current_thread().enable_all().build().ok();
            }
            let Some(runtime) = &runtime else { continue };
            if let Err(why) = runtime.block_on(post(&home, &setting, &line)) {
                crate::say(&format!("the webhook was not told of a held call: {why}"));
            }
        }
    };
    let thread = std::thread::Builder::new().name("webhook".to_owned()).spawn(body);
    thread.map(drop).map_err(GatewayError::system("starting a thread"))
}

async fn post(home: &std::path::Path, setting: &Setting, line: &Json) -> Result<(), String> {
    let url = resolve(home, "approval_webhook", setting)?;
    let target = Target::parse(url.reveal())?;
    let body = Body::Whole(Bytes::from(notice(line)));
    let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json");
    let request = request.body(body).map_err(|error| error.to_string())?;
    match timeout(POST_WAIT, target.send(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(format!("it answered {}", answer.status())),
        Ok(Err(_)) => Err("it could not be reached".to_owned()),
        Err(_) => Err("it did not answer in time".to_owned()),
    }
}

/// What is said: a sentence that chat services show, and the same for programs.
fn notice(line: &Json) -> String {
    let text = |name: &str| line.get(name).and_then(Json::as_str).unwrap_or("?").to_owned();
    let receipt = text("receipt");
    let id = receipt.get(..12).unwrap_or(&receipt).to_owned();
    let (tool, class) = (text("tool"), text("class"));
    let words = format!("Tipstaff holds {tool} ({class}) as {id}: tipstaff approve {id}");
    let copied = ["class", "held_until", "receipt", "rule", "tier", "tool"];
    let members =
        copied.map(|name| (name.to_owned(), line.get(name).cloned().unwrap_or(Json::Null)));
    let mut members = members.to_vec();
    members.push(("id".to_owned(), Json::String(id)));
    members.push(("text".to_owned(), Json::String(words)));
    Json::object(members).unwrap_or(Json::Null).to_canonical()
}
