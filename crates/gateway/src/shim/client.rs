//! Frames of the client.
//!
//! The adversary is the agent: a frame that can't be read as one thing is refused, an action goes to
//! the monitor before anything goes to the server, and an id in flight is not used again.

use std::sync::Arc;
use std::time::Instant;

use tipstaff_core::json::{Json, Object};
use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_core::receipt::Status;
use tipstaff_monitor::Ended;

use super::listing::HOLD;
use super::{CANCELLED_WAIT, Call, IN_FLIGHT_MAX, Pages, Shim, Side, Stage, Waiting};
use crate::answer::{self, Failure};
use crate::frame::Frame;
use crate::judge::{Effect as _, Judge};
use crate::labels;
use crate::message::{Answer, INVALID_REQUEST, Id, Malformed, Message, OWN_ID};
use crate::request::{self, Draft, Form, Route};

impl<J: Judge> Shim<J> {
    /// Takes one frame of the client.
    pub(crate) fn client_frame(self: &Arc<Self>, frame: Frame<'_>) {
        let refused = match frame {
            Frame::TooLong(skim, bytes) => Err(Malformed {
                code: INVALID_REQUEST,
                id: skim.id,
                text: format!("The message has {bytes} bytes; the limit is {BODY_BYTES_MAX}."),
            }),
            Frame::Line(line) => Message::parse(line).and_then(|message| self.take_in(message)),
        };
        if let Err(fault) = refused {
            self.tell(Side::Client, &answer::malformed(&fault));
        }
    }

    /// Takes one message of the client that was read already.
    pub(crate) fn client_message(self: &Arc<Self>, message: Message) {
        if let Err(fault) = self.take_in(message) {
            self.tell(Side::Client, &answer::malformed(&fault));
        }
    }

    fn take_in(self: &Arc<Self>, message: Message) -> Result<(), Malformed> {
        match message {
            Message::Request(id, method, params) => self.asked(id, &method, params.as_ref()),
            Message::Notification(method, params) => {
                self.notified(&method, params);
                Ok(())
            }
            Message::Answer(id, answer) => {
                self.replied(&id, &answer);
                Ok(())
            }
        }
    }

    /// Nothing else of the client is here: what was asked may be answered at once.
    pub(crate) fn attend(&self) {
        self.judge.attend();
    }

    fn asked(
        self: &Arc<Self>,
        id: Id,
        method: &str,
        params: Option<&Object>,
    ) -> Result<(), Malformed> {
        let route = request::from_client(&self.terms.server, &id, method, params)?;
        let no = |text: &str| Malformed {
            code: INVALID_REQUEST,
            id: Some(id.clone()),
            text: text.to_owned(),
        };
        if matches!(&id, Id::Text(text) if text.starts_with(OWN_ID)) {
            return Err(no("Ids that begin with `tipstaff-` are the gateway's own."));
        }
        let (form, token) = match &route {
            Route::Pass => (Form::Error, None),
            Route::Judge(draft) => (draft.envelope.form, draft.envelope.progress_token()),
        };
        let mut table = self.table();
        if table.calls.contains_key(&id) {
            return Err(no("A request with this id is still in flight."));
        }
        if table.ending || table.calls.len() >= IN_FLIGHT_MAX {
            let text = if table.ending { "The server has ended." } else { TOO_MANY };
            drop(table);
            self.tell(Side::Client, &answer::failure(&id, form, Failure { text, receipt: None }));
            return Ok(());
        }
        let serial = table.next_serial();
        let now = Instant::now();
        let mut call = Call {
            serial,
            form,
            stage: Stage::Passed,
            token,
            until: None,
            cancelled: false,
            held: None,
        };
        match route {
            Route::Pass => {
                if method == "tools/list" {
                    let later = params.is_some_and(|params| params.get("cursor").is_some());
                    call.stage = Stage::ToolList(if later { Pages::Later } else { Pages::First });
                }
                table.calls.insert(id.clone(), call);
                drop(table);
                let params = params.map(|params| Json::Object(params.clone()));
                self.tell(Side::Server, &answer::request(Some(&id), method, params.as_ref()));
            }
            Route::Judge(draft) if table.listing.is_reviewed() => {
                call.stage = Stage::Judging;
                call.until = Some(now + self.terms.call_timeout);
                let stale = table.listing.is_stale(now);
                table.calls.insert(id, call);
                drop(table);
                self.submit(Side::Client, serial, *draft);
                if stale {
                    self.review_tools();
                }
            }
            Route::Judge(draft) => {
                call.stage = Stage::Held(draft);
                call.until = Some(now + HOLD);
                table.calls.insert(id, call);
                drop(table);
                self.review_tools();
            }
        }
        Ok(())
    }

    fn notified(self: &Arc<Self>, method: &str, params: Option<Object>) {
        if method == "notifications/cancelled" {
            let id = params.as_ref().and_then(|params| params.get("requestId")).and_then(Id::of);
            if !id.is_some_and(|id| self.cancel(Side::Client, &id)) {
                return;
            }
        }
        let params = params.map(Json::Object);
        self.tell(Side::Server, &answer::request(None, method, params.as_ref()));
        if method == "notifications/initialized" {
            self.review_tools();
        }
    }

    /// Notes a cancellation; whether the other side has seen the request and should be told.
    pub(super) fn cancel(&self, side: Side, id: &Id) -> bool {
        let mut table = self.table();
        let calls = table.of(side);
        let Some(call) = calls.get_mut(id) else { return false };
        if matches!(call.stage, Stage::Held(_) | Stage::Judging) {
            // A permit that arrives later finds nothing and is dropped.
            let never_sent: Option<Call<J::Effect>> = calls.remove(id);
            drop(table);
            if let Some(Waiting { number, .. }) = never_sent.and_then(|call| call.held) {
                self.judge.withdraw(number);
            }
            return false;
        }
        call.cancelled = true;
        call.until = Some(Instant::now() + CANCELLED_WAIT);
        true
    }

    /// The client's answer to something that the server asked.
    fn replied(&self, id: &Id, reply: &Answer) {
        let ask = {
            let mut table = self.table();
            match table.asks.get(id) {
                Some(Call { stage: Stage::Running(_) | Stage::Passed, .. }) => {
                    table.asks.remove(id)
                }
                _ => None,
            }
        };
        let Some(ask) = ask else {
            self.complain("the client answered what nobody asked; dropped");
            return;
        };
        let (member, value, status) = match reply {
            Answer::Result(value) => ("result", value, Status::Ok),
            Answer::Error(value) => ("error", value, Status::Error),
        };
        self.tell(Side::Server, &answer::answer(Some(id), member, value));
        if let Stage::Running(running) = ask.stage {
            let text = value.to_canonical();
            let found = labels::of_result(text.as_bytes());
            self.judge.settle([running.settle(Ended::of(status, text.as_bytes()).with(found))]);
        }
    }
}

/// Drafts that were held, oldest first, are no longer: they go to the monitor.
pub(super) fn release<J: Judge>(shim: &Arc<Shim<J>>) {
    let mut held: Vec<(u64, Draft)> = Vec::new();
    {
        let mut table = shim.table();
        let until = Some(Instant::now() + shim.terms.call_timeout);
        for call in table.calls.values_mut() {
            if matches!(call.stage, Stage::Held(_))
                && let Stage::Held(draft) = std::mem::replace(&mut call.stage, Stage::Judging)
            {
                call.until = until;
                held.push((call.serial, *draft));
            }
        }
    }
    held.sort_by_key(|(serial, _)| *serial);
    for (serial, draft) in held {
        shim.submit(Side::Client, serial, draft);
    }
}

pub(super) const TOO_MANY: &str = "Too many requests are in flight (1,024); wait for answers.";
