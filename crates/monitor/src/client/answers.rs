//! The thread that reads the monitor's answers.
//!
//! The adversary is a monitor that dies between a question and its answer, and a client that gives a call
//! up while its answer is on the way: what was asked is asked again, and a permit that nobody waits for is
//! settled as ambiguous. Only here does an answer become a [`Permit`].

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tipstaff_core::action::Salt;
use tipstaff_core::{Action, Digest, Json, Millis, Verdict};

use super::connect::{Connected, connect};
use super::out::Out;
use super::{AWAKE, Entrusted, Inner, Then, Waiting, Waits, lock};
use crate::error::ClientError;
use crate::monitor::Held;
use crate::permit::{Permit, Refusal, Settlement, Sink};
use crate::pins::{ToolReview, Withheld};
use crate::socket::{Socket, is_readable};
use crate::wire::{self, Frames, Heard, digest_of, number, number_of, object, text_of};

impl Sink for Inner {
    fn settle(&self, settlement: Settlement) {
        self.tell(&settled(&settlement, None));
    }
}

/// The frame of a settlement. One with a number is answered when it counts.
pub(super) fn settled(Settlement { of, outcome }: &Settlement, n: Option<u64>) -> Vec<u8> {
    let digest = outcome.result_digest.map_or(Json::Null, |d| Json::String(d.to_hex()));
    let labels = outcome.labels.as_deref().unwrap_or_default().iter();
    let labels = Json::Array(labels.map(|label| Json::string(label)).collect());
    wire::frame(&object([
        ("bytes", number(outcome.bytes)),
        ("digest", digest),
        ("labels", labels),
        ("n", n.map_or(Json::Null, number)),
        ("receipt", Json::String(of.to_hex())),
        ("status", Json::string(outcome.status.as_str())),
        ("t", Json::string("settle")),
        ("us", number(outcome.duration_us)),
    ]))
}

pub(super) fn read(inner: &Arc<Inner>, mut stream: UnixStream) {
    loop {
        let limit = lock(&inner.out).promise(inner.permitted_lately(), Instant::now());
        let mut heard = is_readable(&stream, limit.as_ref()).map(|_| Heard::Nothing);
        if inner.attended.load(Ordering::Relaxed) {
            thread::sleep(AWAKE);
            continue;
        }
        if heard.is_ok() {
            heard = hear(inner, &mut lock(&inner.frames));
        }
        match heard {
            Ok(Heard::Something | Heard::Nothing) => {}
            Ok(Heard::End) | Err(_) => {
                if inner.left.load(Ordering::SeqCst) {
                    return;
                }
                match rejoin(inner) {
                    Ok(again) => stream = again,
                    Err(error) => {
                        give_up(inner, &error);
                        thread::sleep(Duration::from_millis(200));
                    }
                }
            }
        }
    }
}

/// Answers what is here.
pub(super) fn hear(inner: &Arc<Inner>, frames: &mut Frames<Socket>) -> io::Result<Heard> {
    let heard = frames.fill()?;
    while let Some(answer) = frames.ready()? {
        dispatch(inner, &answer);
    }
    Ok(heard)
}

fn rejoin(inner: &Inner) -> Result<UnixStream, ClientError> {
    drop(lock(&inner.out).take());
    let Connected { mut stream, heard, frames, .. } = connect(&inner.home, &inner.join)?;
    *lock(&inner.frames) = frames;
    let mut state = lock(&inner.state);
    // In the order in which it was asked: what waits there waits in that order.
    let mut asked: Vec<(&u64, &Waiting)> = state.waiting.iter().collect();
    asked.sort_by_key(|(number, _)| **number);
    let again = asked.into_iter().map(|(_, waiting)| waiting.frame());
    let known = [state.child.as_deref(), state.tools.as_deref()];
    let bytes = known.into_iter().flatten().chain(again).collect::<Vec<_>>().concat();
    stream.write_all(&bytes).map_err(|error| ClientError::Broken(error.to_string()))?;
    state.generation += 1;
    *lock(&inner.out) = Out::new(state.generation, stream);
    Ok(heard)
}

fn give_up(inner: &Inner, error: &ClientError) {
    let waiting = std::mem::take(&mut lock(&inner.state).waiting);
    for (_, waiting) in waiting {
        let refusal = Refusal::unrecorded(&error.to_string());
        match waiting {
            Waiting::Verdict { then, .. } => {
                match then {
                    Then::Permit(then) => then.judged(Err(refusal)),
                    Then::Entrusted(then) => then.judged(Err(refusal)),
                }
                inner.due.fetch_sub(1, Ordering::Relaxed);
            }
            Waiting::Review { then, .. } => then(Err(refusal)),
            Waiting::Report { then, .. } => then(None),
        }
    }
}

fn dispatch(inner: &Arc<Inner>, answer: &Json) {
    let Some(n) = number_of(answer, "n") else { return };
    if answer.get("t").and_then(Json::as_str) == Some("held") {
        return hold(inner, n, answer);
    }
    let Some(waiting) = lock(&inner.state).waiting.remove(&n) else {
        return return_permit(inner, answer);
    };
    match waiting {
        Waiting::Verdict { action, since, then, .. } => {
            inner.brisk.store(since.elapsed() < AWAKE, Ordering::Relaxed);
            inner.permitted.store(true, Ordering::Relaxed);
            match then {
                Then::Permit(then) => then.judged(permit(inner, action, answer)),
                Then::Entrusted(then) => then.judged(entrusted(action, answer)),
            }
            inner.due.fetch_sub(1, Ordering::Relaxed);
        }
        Waiting::Review { then, .. } => then(review(answer)),
        Waiting::Report { then, .. } => then(digest_of(answer, "receipt")),
    }
}

/// Tells whoever waits that a person is asked.
fn hold(inner: &Inner, n: u64, answer: &Json) {
    // Nobody stays awake for a person.
    inner.brisk.store(false, Ordering::Relaxed);
    let held = || {
        Some(Held {
            receipt: digest_of(answer, "receipt")?,
            expires: Millis(number_of(answer, "expires")?),
            rule: text_of(answer, "rule"),
            verdict: Verdict::parse(&text_of(answer, "verdict")?)?,
            text: text_of(answer, "text")?,
        })
    };
    let Some(held) = held() else { return };
    let mut state = lock(&inner.state);
    let Some(Waiting::Verdict { then, .. }) = state.waiting.get_mut(&n) else { return };
    let waits = match then {
        Then::Permit(then) => then.held(n, &held),
        Then::Entrusted(then) => then.held(n, &held),
    };
    drop(state);
    if waits == Waits::No {
        inner.withdraw(n);
    }
}

/// A verdict that nobody waits for any more: what it permits is not done, and is settled so.
fn return_permit(inner: &Arc<Inner>, answer: &Json) {
    if answer.get("t").and_then(Json::as_str) == Some("verdict")
        && let Some((granted, salt)) = granted(answer)
    {
        let sink: Arc<dyn Sink> = Arc::<Inner>::clone(inner);
        let Granted { action, receipt, rule, verdict } = granted;
        let nothing = || Action::new("-", "-", "-", Json::Null, None).ok();
        if let Some(action) = action.or_else(nothing) {
            drop(Permit::issue(action, verdict, rule, (receipt, salt), sink));
        }
    }
}

/// An answer that permits.
struct Granted {
    /// What is executed instead of what was asked.
    action: Option<Action>,
    receipt: Digest,
    rule: Option<String>,
    verdict: Verdict,
}

fn granted(answer: &Json) -> Option<(Granted, Salt)> {
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return None;
    }
    let action = match answer.get("action")? {
        Json::Null => None,
        other => Some(wire::action_from_json(other)?),
    };
    let salt = Digest::from_hex(&format!("{:0<64}", answer.get("salt")?.as_str()?)).ok()?;
    let salt = Salt(*salt.as_bytes().first_chunk::<16>()?);
    let granted = Granted {
        action,
        receipt: digest_of(answer, "receipt")?,
        rule: text_of(answer, "rule"),
        verdict: Verdict::parse(answer.get("verdict")?.as_str()?)?,
    };
    Some((granted, salt))
}

fn permit(inner: &Arc<Inner>, asked: Action, answer: &Json) -> Result<Permit, Refusal> {
    let (granted, salt) = read_granted(answer)?;
    let sink: Arc<dyn Sink> = Arc::<Inner>::clone(inner);
    let Granted { action, receipt, rule, verdict } = granted;
    Ok(Permit::issue(action.unwrap_or(asked), verdict, rule, (receipt, salt), sink))
}

fn entrusted(asked: Action, answer: &Json) -> Result<Entrusted, Refusal> {
    let (Granted { action, receipt, rule, verdict }, _) = read_granted(answer)?;
    Ok(Entrusted { action: action.unwrap_or(asked), receipt, rule, verdict })
}

fn read_granted(answer: &Json) -> Result<(Granted, Salt), Refusal> {
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err(refusal(answer));
    }
    granted(answer).ok_or_else(|| Refusal::unrecorded("the monitor's answer can't be read"))
}

fn review(answer: &Json) -> Result<ToolReview, Refusal> {
    let withheld =
        answer.get("withheld").and_then(Json::as_array).ok_or_else(|| refusal(answer))?;
    let withheld = withheld.iter().filter_map(|tool| {
        Some(Withheld { name: text_of(tool, "name")?, pinned: text_of(tool, "pinned") })
    });
    Ok(ToolReview { withheld: withheld.collect() })
}

fn refusal(answer: &Json) -> Refusal {
    Refusal {
        verdict: answer.get("verdict").and_then(Json::as_str).and_then(Verdict::parse),
        receipt: digest_of(answer, "receipt"),
        rule: text_of(answer, "rule"),
        text: text_of(answer, "text").unwrap_or_else(|| "refused without a reason".to_owned()),
    }
}
