//! Frames of the server.
//!
//! The adversary is the server: it answers what nobody asked, twice or with more than memory holds,
//! writes frames that two readers understand differently, and asks the client for things of its own
//! accord. Answers are matched, dropped if they match nothing, and passed on raw; requests are judged.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tipstaff_core::limits::RESULT_BYTES_MAX;
use tipstaff_core::receipt::Status;
use tipstaff_core::{Digest, Labels};
use tipstaff_monitor::Ended;

use super::client::TOO_MANY;
use super::listing::Part;
use super::{Call, IN_FLIGHT_MAX, Pages, Shim, Side, Stage};
use crate::answer::{self, Failure};
use crate::frame::Frame;
use crate::judge::{Effect as _, Judge};
use crate::labels;
use crate::message::{Id, Malformed, Message, OWN_ID};
use crate::raw::{self, Member, Members};
use crate::request::{self, Form, Route};
use crate::tools::Page;

/// A batch larger than this is written out at once.
const BATCH_BYTES: usize = 256 << 10;

/// What a client is told in the place of a result that its session doesn't know of.
const UNRECORDED: &str = "What the result holds could not be recorded, so it was not passed on. The call had its effect.";

/// Frames for the client that go out in one write, and what is settled after it.
pub(crate) struct Batch<J: Judge> {
    frames: String,
    results: Vec<u8>,
    ended: Vec<(J::Effect, Found, Range<usize>)>,
}

/// How an answer looked: its status, and what it holds.
type Found = (Status, Labels);

impl<J: Judge> Batch<J> {
    pub(crate) const fn new() -> Self {
        Self { frames: String::new(), results: Vec::new(), ended: Vec::new() }
    }

    /// Whether it should not grow further.
    pub(crate) const fn is_full(&self) -> bool {
        self.frames.len() > BATCH_BYTES
    }
}

/// What a frame of the server is.
enum Seen<'a> {
    Answer(Id, Outcome<'a>),
    Request,
    Notification(String),
}

#[derive(Clone, Copy)]
enum Outcome<'a> {
    Result(&'a str),
    Error(&'a str),
}

impl<J: Judge> Shim<J> {
    /// Takes one frame of the server; what goes to the client is added to `batch`.
    pub(crate) fn server_frame(self: &Arc<Self>, frame: Frame<'_>, batch: &mut Batch<J>) {
        let line = match frame {
            Frame::TooLong(skim, bytes) => {
                self.flush(batch);
                match skim.id {
                    Some(id) if !skim.method => self.too_large(&id, bytes),
                    _ => self.complain(&format!("a message of {bytes} bytes was dropped")),
                }
                return;
            }
            Frame::Line(line) => line,
        };
        let Some((line, seen)) =
            std::str::from_utf8(line).ok().and_then(|line| Some((line, see(line)?)))
        else {
            self.complain("the server wrote a line that is no JSON-RPC message; dropped");
            return;
        };
        match seen {
            Seen::Answer(Id::Text(id), outcome) if id.starts_with(OWN_ID) => {
                let result = match outcome {
                    Outcome::Result(result) => Ok(result),
                    Outcome::Error(error) => Err(error),
                };
                self.listed(&id, result);
            }
            Seen::Answer(id, outcome) => self.answered(&id, line, outcome, batch),
            Seen::Request => {
                self.flush(batch);
                if let Err(fault) = self.ask(line) {
                    self.tell(Side::Server, &answer::malformed(&fault));
                }
            }
            Seen::Notification(method) if !method.starts_with("notifications/") => {
                self.complain("the server sent a request without an id; dropped");
            }
            Seen::Notification(method) => {
                self.observe(&method, line);
                batch.frames.push_str(line);
                batch.frames.push('\n');
            }
        }
    }

    /// Writes the batch to the client, then settles what it carried.
    pub(crate) fn flush(&self, batch: &mut Batch<J>) {
        if !batch.frames.is_empty() {
            self.tell(Side::Client, &batch.frames);
            batch.frames.clear();
        }
        let results = &batch.results;
        self.judge.settle(batch.ended.drain(..).map(|(running, (status, found), place)| {
            let result = results.get(place).unwrap_or_default();
            running.settle(Ended::of(status, result).with(found))
        }));
        batch.results.clear();
        if batch.frames.capacity() > 4 * BATCH_BYTES {
            *batch = Batch::new();
        }
    }

    fn answered(self: &Arc<Self>, id: &Id, line: &str, outcome: Outcome<'_>, batch: &mut Batch<J>) {
        let Some(call) = self.take_answered(id) else {
            self.complain("the server answered what nobody asked, or twice; dropped");
            return;
        };
        match (call.stage, outcome) {
            (Stage::Running(running), outcome) => {
                let (Outcome::Result(text) | Outcome::Error(text)) = outcome;
                let found = labels::of_result(text.as_bytes());
                if !self.is_told_of(found) {
                    self.flush(batch);
                    let status = match outcome {
                        Outcome::Result(result) => status(result),
                        Outcome::Error(_) => Status::Error,
                    };
                    let receipt = running.receipt();
                    let ended = Ended::of(status, text.as_bytes()).with(found);
                    if !self.judge.settle_first(running.settle(ended)) {
                        let failure = Failure { text: UNRECORDED, receipt: Some(receipt) };
                        batch.frames.push_str(&answer::failure(id, call.form, failure));
                        return;
                    }
                    let mut table = self.table();
                    table.told = table.told.union(found);
                    drop(table);
                    let shown = self.terms.receipt_in_meta.then_some(receipt);
                    match outcome {
                        Outcome::Error(_) => batch.frames.push_str(line),
                        Outcome::Result(result) => {
                            let to = (id, call.form);
                            pass_on(&mut batch.frames, to, (line, result), shown, Some(receipt));
                        }
                    }
                    batch.frames.push('\n');
                    return;
                }
                let receipt = self.terms.receipt_in_meta.then(|| running.receipt());
                let (raw, status) = match outcome {
                    Outcome::Error(error) => {
                        batch.frames.push_str(line);
                        (error, Status::Error)
                    }
                    Outcome::Result(result) => {
                        let named = Some(running.receipt());
                        pass_on(&mut batch.frames, (id, call.form), (line, result), receipt, named);
                        (result, status(result))
                    }
                };
                batch.frames.push('\n');
                let start = batch.results.len();
                batch.results.extend_from_slice(raw.as_bytes());
                let place = start..batch.results.len();
                batch.ended.push((running, (status, found), place));
            }
            (Stage::ToolList(pages), Outcome::Result(result)) => {
                self.flush(batch);
                self.show_tools(id, pages, line, result);
            }
            (_, Outcome::Result(result)) => {
                pass_on(&mut batch.frames, (id, call.form), (line, result), None, None);
                batch.frames.push('\n');
            }
            (_, Outcome::Error(_)) => {
                batch.frames.push_str(line);
                batch.frames.push('\n');
            }
        }
    }

    /// Whether the session knows of these labels already. If it doesn't, the client must not see the result
    /// before it does: another server of the same client could be asked to carry it out at once.
    fn is_told_of(&self, found: Labels) -> bool {
        found.is_empty() || found.minus(self.table().told).is_empty()
    }

    fn take_answered(&self, id: &Id) -> Option<Call<J::Effect>> {
        let mut table = self.table();
        match table.calls.get(id)?.stage {
            Stage::Held(_) | Stage::Judging => None,
            Stage::Running(_) | Stage::Passed | Stage::ToolList(_) => table.calls.remove(id),
        }
    }

    pub(super) fn show_tools(self: &Arc<Self>, id: &Id, pages: Pages, line: &str, result: &str) {
        let Some(page) = Page::read(result) else {
            let text = "The server's tool list can't be read and was not passed on.";
            self.tell(
                Side::Client,
                &answer::failure(id, Form::Error, Failure { text, receipt: None }),
            );
            return;
        };
        let mut listed = page.listed();
        if pages == Pages::Later || page.next.is_some() {
            // The monitor hears whole lists only.
            let mut table = self.table();
            if !table.listing.is_reviewed() {
                let held = table.listing.hold(Part { id: id.clone(), line: line.to_owned() });
                drop(table);
                match held {
                    Ok(()) => self.review_tools(),
                    Err(part) => self.refuse_parts(vec![part], TOO_MANY),
                }
                return;
            }
            table.listing.complete(&mut listed);
        }
        let (shim, id, line) = (Arc::clone(self), id.clone(), line.to_owned());
        self.judge.tools_listed(
            listed,
            Box::new(move |review| {
                let told = match review {
                    Ok(review) => shown(&line, &review.withheld),
                    Err(refusal) => Some(answer::refusal(&id, Form::Error, &refusal)),
                };
                if let Some(told) = told {
                    shim.tell(Side::Client, &told);
                }
            }),
        );
    }

    fn too_large(&self, id: &Id, bytes: u64) {
        let Some(call) = self.take_answered(id) else {
            self.complain(&format!("an answer of {bytes} bytes to nobody was dropped"));
            return;
        };
        let receipt = match &call.stage {
            Stage::Running(running) => Some(running.receipt()),
            _ => None,
        };
        let text = format!(
            "The result is too large: {bytes} bytes, the limit is {RESULT_BYTES_MAX}. The call may have had its effect."
        );
        self.tell(Side::Client, &answer::failure(id, call.form, Failure { text: &text, receipt }));
        if let Stage::Running(running) = call.stage {
            self.judge.settle([running.settle(Ended::unseen(Status::Ambiguous, bytes))]);
        }
    }

    /// A request of the server.
    fn ask(self: &Arc<Self>, line: &str) -> Result<(), Malformed> {
        let Message::Request(id, method, params) = Message::parse(line.as_bytes())? else {
            return Ok(());
        };
        let route = request::from_server(&self.terms.server, &id, &method, params.as_ref())?;
        let mut table = self.table();
        let full = table.asks.len() >= IN_FLIGHT_MAX;
        if table.ending || full || table.asks.contains_key(&id) {
            drop(table);
            let text = if full { TOO_MANY } else { "A request with this id is still in flight." };
            self.tell(
                Side::Server,
                &answer::failure(&id, Form::Error, Failure { text, receipt: None }),
            );
            return Ok(());
        }
        let serial = table.next_serial();
        let until = Some(Instant::now() + self.wait(Side::Server));
        let stage = match &route {
            Route::Pass => Stage::Passed,
            Route::Judge(_) => Stage::Judging,
        };
        let (form, token, cancelled, held) = (Form::Error, None, false, None);
        let call = Call { serial, form, stage, token, until, cancelled, held };
        table.asks.insert(id, call);
        drop(table);
        match route {
            Route::Pass => self.tell(Side::Client, &format!("{line}\n")),
            Route::Judge(draft) => self.submit(Side::Server, serial, *draft),
        }
        Ok(())
    }

    /// What a notification of the server changes here, before it is passed on.
    fn observe(self: &Arc<Self>, method: &str, line: &str) {
        let param = |name| {
            let params = Members::read(line)?.one("params")?;
            Id::of_raw(Members::read(params)?.one(name)?)
        };
        match method {
            "notifications/tools/list_changed" => self.review_tools(),
            "notifications/cancelled" => {
                if let Some(id) = param("requestId") {
                    self.cancel(Side::Server, &id);
                }
            }
            "notifications/progress" => {
                if let Some(token) = param("progressToken") {
                    let until = Some(Instant::now() + self.terms.call_timeout);
                    let mut table = self.table();
                    let call =
                        table.calls.values_mut().find(|call| call.token.as_ref() == Some(&token));
                    if let Some(call) = call
                        .filter(|call| !call.cancelled && matches!(call.stage, Stage::Running(_)))
                    {
                        call.until = until;
                    }
                }
            }
            _ => {}
        }
    }
}

/// Appends an answer with its result: `receipt` is put in, what claims to be ours is taken out. A result
/// that can be read in two ways is replaced by an answer that says so, and names `named`.
fn pass_on(
    frames: &mut String,
    (id, form): (&Id, Form),
    (line, result): (&str, &str),
    receipt: Option<Digest>,
    named: Option<Digest>,
) {
    let length = frames.len();
    if raw::splice(frames, line, result, receipt).is_none() {
        frames.truncate(length);
        let text = "The server's result can be read in two ways and was not passed on.";
        let told = answer::failure(id, form, Failure { text, receipt: named });
        frames.push_str(told.trim_end());
    }
}

fn shown(line: &str, withheld: &[tipstaff_monitor::Withheld]) -> Option<String> {
    let result = Members::read(line)?.one("result")?;
    let mut shown = Page::read(result)?.shown(line, withheld);
    shown.push('\n');
    Some(shown)
}

fn status(result: &str) -> Status {
    match Members::read(result).map(|members| members.get("isError")) {
        Some(Member::One("true")) => Status::Error,
        _ => Status::Ok,
    }
}

/// Sorts a frame; `None` if it is none, or if readers could disagree on which.
fn see(line: &str) -> Option<Seen<'_>> {
    let members = Members::read(line)?;
    let found = |name| match members.get(name) {
        Member::Absent => Some(None),
        Member::One(raw) => Some(Some(raw)),
        Member::Several => None,
    };
    found("params")?;
    if raw::text(found("jsonrpc")??)? != "2.0" {
        return None;
    }
    Some(match (found("id")?, found("method")?, found("result")?, found("error")?) {
        (None, Some(method), None, None) => Seen::Notification(raw::text(method)?),
        (Some(_), Some(_), None, None) => Seen::Request,
        (Some(id), None, Some(result), None) => {
            Seen::Answer(Id::of_raw(id)?, Outcome::Result(result))
        }
        (Some(id), None, None, Some(error)) => Seen::Answer(Id::of_raw(id)?, Outcome::Error(error)),
        _ => return None,
    })
}
