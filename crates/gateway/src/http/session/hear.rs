//! What servers say, and where it goes.
//!
//! The adversary is a server that answers for another one, or asks with another one's id: an answer counts
//! only from the server that was asked, and what a server asks gets an id of the session's own.

use std::time::Instant;

use super::{Ask, Session};
use crate::message::Id;
use crate::raw::{self, Members};
use crate::shim::Judgement;

/// Most requests of servers that wait for the client.
const ASKS_MAX: usize = 4096;

impl Session {
    /// Takes a line of a server, which its shim has checked.
    pub(super) fn take_line(&self, from: usize, line: &str) {
        let Some(members) = Members::read(line) else { return };
        let id = members.one("id").and_then(|raw| Some((raw, Id::of_raw(raw)?)));
        match (members.one("method").and_then(raw::text), id) {
            (None, Some((_, id))) => self.answered(from, &id, line),
            (Some(_), Some((raw, id))) => self.asked(from, id, raw, line, &members),
            (Some(method), None) => self.said(from, &method, line, &members),
            (None, None) => {}
        }
    }

    fn answered(&self, from: usize, id: &Id, line: &str) {
        let mut state = self.state();
        if let Id::Text(text) = id
            && text.starts_with(&self.own)
        {
            let waiter = state.waiting.remove(text);
            drop(state);
            if let Some(waiter) = waiter {
                waiter(line.to_owned());
            }
        } else if state.calls.get(id).is_some_and(|call| call.upstream == from)
            && let Some(call) = state.calls.remove(id)
        {
            state.touched = Instant::now();
            state.streams.push(call.stream, line, true);
        }
    }

    /// Takes note of the verdict on a request of the client: its answer's header names it.
    pub(in crate::http) fn note_judgement(&self, from: usize, id: &Id, judgement: Judgement) {
        let mut state = self.state();
        let call = state.calls.get(id).filter(|call| call.upstream == from);
        if let Some(stream) = call.map(|call| call.stream) {
            state.streams.judged(stream, judgement);
        }
    }

    /// A request of a server: two servers may use one id, so it gets another.
    fn asked(&self, from: usize, id: Id, raw_id: &str, line: &str, members: &Members<'_>) {
        let Some(place) = raw::place(line, raw_id) else { return };
        let meta = members.one("params").and_then(|p| Members::read(p)?.one("_meta"));
        let token = meta.and_then(|meta| Id::of_raw(Members::read(meta)?.one("progressToken")?));
        let mut state = self.state();
        let number = state.next_ask;
        state.next_ask += 1;
        let stream = state.stream_for(from, None);
        let Some(stream) = stream else { return };
        state.asks.insert(number, Ask { upstream: from, id, token, stream });
        // The shim bounds how many there are of one run of a server; those of earlier runs are over.
        while state.asks.len() > ASKS_MAX {
            state.asks.pop_first();
        }
        let mut renamed = String::with_capacity(line.len() + 8);
        raw::replace(&mut renamed, line, place, &number.to_string());
        state.streams.push(stream, &renamed, false);
    }

    /// A notification of a server.
    fn said(&self, from: usize, method: &str, line: &str, members: &Members<'_>) {
        let param = |name| Members::read(members.one("params")?)?.one(name);
        let mut state = self.state();
        match method {
            "notifications/cancelled" => {
                let Some(raw_id) = param("requestId") else { return };
                let id = Id::of_raw(raw_id);
                let ask = state
                    .asks
                    .iter()
                    .find(|(_, a)| a.upstream == from && Some(&a.id) == id.as_ref());
                let Some((number, stream)) = ask.map(|(number, ask)| (*number, ask.stream)) else {
                    return;
                };
                state.asks.remove(&number);
                let Some(place) = raw::place(line, raw_id) else { return };
                let mut renamed = String::with_capacity(line.len() + 8);
                raw::replace(&mut renamed, line, place, &number.to_string());
                state.streams.push(stream, &renamed, false);
            }
            _ => {
                let token = match method {
                    "notifications/progress" => param("progressToken").and_then(Id::of_raw),
                    _ => None,
                };
                let general = method.ends_with("list_changed") || method.ends_with("/updated");
                let stream = if general && state.streams.is_heard() {
                    state.streams.standing()
                } else {
                    state.stream_for(from, token.as_ref())
                };
                if let Some(stream) = stream {
                    state.streams.push(stream, line, false);
                }
            }
        }
    }
}
