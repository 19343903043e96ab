//! Deadlines.
//!
//! The adversary is whoever never answers. What is in flight is given up at its deadline: whoever asked
//! is told, the other side is told to stop, and the receipt says that nobody knows what happened.

use std::time::Instant;

use tipstaff_core::Json;

use super::{Call, HELD_TOLD, Shim, Side, Stage};
use crate::answer;
use crate::judge::Judge;
use crate::message::Id;

impl<J: Judge> Shim<J> {
    /// Gives up what is past its deadline at `now`. Called several times a second.
    pub(crate) fn tick(&self, now: Instant) {
        let (mut over, mut notices) = (Vec::new(), Vec::new());
        let parts = {
            let mut table = self.table();
            // While the server waits for the client, perhaps for a person, its own time doesn't run.
            if !table.asks.is_empty() {
                let later = Some(now + self.terms.call_timeout);
                for call in table.calls.values_mut() {
                    if matches!(call.stage, Stage::Running(_)) && !call.cancelled {
                        call.until = later;
                    }
                }
            }
            for call in table.calls.values_mut() {
                notices.extend(notice(call, now));
            }
            for side in [Side::Client, Side::Server] {
                let expired = table
                    .of(side)
                    .extract_if(|_, call| call.until.is_some_and(|until| until <= now));
                over.extend(expired.map(|(id, call)| (side, id, call)));
            }
            if table.listing.expire(now) { table.listing.take_parts() } else { Vec::new() }
        };
        self.refuse_parts(parts, NOT_LISTED);
        for notice in notices {
            self.tell(Side::Client, &notice);
        }
        for (side, id, call) in over {
            let (text, sent) = match call.stage {
                Stage::Held(_) => (NOT_LISTED, false),
                Stage::Judging => (NOT_JUDGED, false),
                Stage::Running(_) | Stage::Passed | Stage::ToolList(_) => {
                    (NO_ANSWER, !call.cancelled)
                }
            };
            self.give_up(side, &id, call, text);
            if sent {
                self.tell_to_stop(side, &id);
            }
        }
    }

    fn tell_to_stop(&self, side: Side, id: &Id) {
        let params = Json::object(vec![
            ("requestId".to_owned(), id.to_json()),
            ("reason".to_owned(), Json::string("no answer in time")),
        ]);
        let line = answer::request(None, "notifications/cancelled", params.as_ref());
        let (other, pipe) = match side {
            Side::Client => (Side::Server, &self.server),
            Side::Server => (Side::Client, &self.client),
        };
        // If somebody is stuck writing there, the other side isn't reading anyway.
        self.note_broken(other, pipe.try_send(line.as_bytes()));
    }
}

/// Tells a client that its call still waits for a person, so that it doesn't give up.
fn notice<E>(call: &mut Call<E>, now: Instant) -> Option<String> {
    let (token, waiting) = (call.token.as_ref()?, call.held.as_mut()?);
    if waiting.next > now {
        return None;
    }
    waiting.next = now + HELD_TOLD;
    waiting.told += 1;
    let params = Json::object(vec![
        ("message".to_owned(), Json::string(&waiting.text)),
        ("progress".to_owned(), Json::from(waiting.told)),
        ("progressToken".to_owned(), token.to_json()),
    ]);
    Some(answer::request(None, "notifications/progress", params.as_ref()))
}

const NOT_LISTED: &str = "The server did not list its tools in time, so they could not be checked. Nothing was done; try again.";
const NOT_JUDGED: &str = "The action could not be judged in time. Nothing was done; try again.";
const NO_ANSWER: &str =
    "There was no answer in time. It is not known whether the action had its effect.";
