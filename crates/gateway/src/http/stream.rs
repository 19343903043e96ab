//! What goes to one HTTP client as server-sent events, kept until it was read and a while longer.
//!
//! The adversary is a client that reads slowly, never, or comes back for what it lost: what waits is
//! bounded in bytes, what was read is kept in bounded amount for a resumption by event id, and a line
//! end in a server's frame can't make two events of one.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use crate::shim::Judgement;

/// Bytes that may wait in one session before its servers are made to wait.
pub(super) const UNREAD_HIGH: usize = 8 << 20;
/// Most events that are kept after they were read, and their bytes, in each stream.
const KEPT_EVENTS: usize = 256;
const KEPT_BYTES: usize = 1 << 20;
/// Most events that wait for somebody who listens.
const WAITING_MAX: usize = 1024;
/// How long a stream that has ended, or that nobody reads, may be resumed.
const RESUMABLE: Duration = Duration::from_secs(60);
/// Most streams of one session.
pub(super) const STREAMS_MAX: usize = 1200;
/// What a client is told to wait before it comes back.
const RETRY: &str = "retry: 1000\n";

/// The streams of one session.
#[derive(Debug, Default)]
pub(super) struct Streams {
    next: u64,
    streams: BTreeMap<u64, Stream>,
    unread: usize,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to one request and what comes before it.
    Request,
    /// What servers say of their own accord.
    Standing,
}

#[derive(Debug)]
struct Stream {
    kind: Kind,
    events: VecDeque<Event>,
    next_event: u64,
    /// The first event that was not read.
    cursor: u64,
    kept_bytes: usize,
    ended: bool,
    /// Whether a client was given event ids, with which it can come back.
    primed: bool,
    /// Counts the readers: a new one takes the stream from the one before.
    reader: u64,
    attached: bool,
    /// The verdict on the request that it answers, once there is one.
    judgement: Option<Judgement>,
    waker: Option<Waker>,
    since: Instant,
}

#[derive(Debug)]
struct Event {
    number: u64,
    data: Bytes,
}

/// How a client likes the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// Alone, unless something comes before it.
    Alone,
    /// As events, whatever comes.
    Events,
}

/// Who reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) stream: u64,
    number: u64,
}

/// What a look at a stream brought.
#[derive(Debug)]
pub(super) enum Next {
    /// The only message, and the last, with the verdict on the request.
    Only(Bytes, Option<Judgement>),
    /// Events, ready to be sent.
    Events(Bytes),
    /// Nothing more comes.
    End,
}

impl Streams {
    /// A new stream with its reader. `None` if there are too many.
    pub(super) fn open(&mut self, kind: Kind) -> Option<Reader> {
        if self.streams.len() >= STREAMS_MAX {
            return None;
        }
        let stream = self.next;
        self.next += 1;
        let mut new = Stream {
            kind,
            events: VecDeque::new(),
            next_event: 0,
            cursor: 0,
            kept_bytes: 0,
            ended: false,
            primed: false,
            reader: 1,
            attached: true,
            judgement: None,
            waker: None,
            since: Instant::now(),
        };
        if kind == Kind::Standing {
            // What nobody read goes to whoever listens next.
            let lost = |old: &Stream| old.kind == Kind::Standing && !old.attached;
            let old: Vec<u64> =
                self.streams.iter().filter(|(_, s)| lost(s)).map(|(n, _)| *n).collect();
            for number in old {
                let Some(old) = self.streams.remove(&number) else { continue };
                for event in old.events.into_iter().filter(|event| event.number >= old.cursor) {
                    new.events.push_back(Event { number: new.next_event, data: event.data });
                    new.next_event += 1;
                }
            }
        }
        self.streams.insert(stream, new);
        Some(Reader { stream, number: 1 })
    }

    /// A stream that nobody reads yet, for what servers say before a client listens.
    pub(super) fn open_unread(&mut self) {
        if let Some(reader) = self.open(Kind::Standing) {
            self.detach(reader);
        }
    }

    /// Comes back to a stream after the event that was read last.
    pub(super) fn resume(&mut self, last_event: &str) -> Option<Reader> {
        let (stream, event) = last_event.split_once('-')?;
        let (number, event): (u64, u64) = (stream.parse().ok()?, event.parse().ok()?);
        let stream = self.streams.get_mut(&number)?;
        // Event 0 is the priming one; the first of `events` may be gone.
        if event > stream.next_event
            || stream.events.front().is_some_and(|first| event < first.number)
        {
            return None;
        }
        let before = stream.unread();
        stream.cursor = event;
        stream.reader += 1;
        stream.attached = true;
        stream.primed = true;
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
        self.unread = self.unread.saturating_sub(before).saturating_add(stream.unread());
        Some(Reader { stream: number, number: stream.reader })
    }

    /// Notes the verdict on the request that a stream answers.
    pub(super) fn judged(&mut self, number: u64, judgement: Judgement) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.judgement = Some(judgement);
        }
    }

    /// The verdict on the request that a stream answers, as far as there is one.
    pub(super) fn judgement(&self, reader: Reader) -> Option<Judgement> {
        self.streams.get(&reader.stream)?.judgement
    }

    /// Adds a message. The last one ends the stream.
    pub(super) fn push(&mut self, number: u64, message: &str, last: bool) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let data = data(message);
        stream.since = Instant::now();
        if stream.attached || stream.primed || stream.kind == Kind::Standing {
            self.unread += data.len();
            stream.events.push_back(Event { number: stream.next_event, data });
            stream.next_event += 1;
            self.unread = self.unread.saturating_sub(stream.bound());
        }
        stream.ended |= last;
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
    }

    /// Ends every stream.
    pub(super) fn end(&mut self) {
        for stream in self.streams.values_mut() {
            stream.ended = true;
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
    }

    /// The stream for what belongs to no request: the newest that is read, else the one that waits.
    pub(super) fn standing(&self) -> Option<u64> {
        let standing = || self.streams.iter().rev().filter(|(_, s)| s.kind == Kind::Standing);
        let live = standing().find(|(_, s)| s.attached && !s.ended);
        live.or_else(|| standing().find(|(_, s)| !s.ended)).map(|(number, _)| *number)
    }

    /// Whether somebody reads what belongs to no request.
    pub(super) fn is_heard(&self) -> bool {
        self.listeners() > 0
    }

    /// How many read what belongs to no request.
    pub(super) fn listeners(&self) -> usize {
        let listens = |s: &&Stream| s.kind == Kind::Standing && s.attached;
        self.streams.values().filter(listens).count()
    }

    /// Whether anybody reads.
    pub(super) fn is_read(&self) -> bool {
        self.streams.values().any(|stream| stream.attached)
    }

    /// Whether servers should wait.
    pub(super) const fn is_full(&self) -> bool {
        self.unread > UNREAD_HIGH
    }

    /// Gives up what clients don't read.
    pub(super) fn cut(&mut self) {
        self.streams.retain(|_, stream| {
            let heavy = stream.unread() > UNREAD_HIGH / 8;
            if heavy && let Some(waker) = stream.waker.take() {
                waker.wake();
            }
            !heavy
        });
        self.unread = self.streams.values().map(Stream::unread).sum();
    }

    /// The first look at a request's stream: its only message, if that may come alone, or a sign that events
    /// should follow.
    pub(super) fn poll_first(
        &mut self,
        (reader, form): (Reader, Answered),
        cx: &Context<'_>,
    ) -> Poll<Option<Next>> {
        let Some(stream) = self.streams.get_mut(&reader.stream) else {
            return Poll::Ready(Some(Next::End));
        };
        match stream.events.front() {
            Some(only) if form == Answered::Alone && stream.ended && stream.events.len() == 1 => {
                let (data, judgement) = (only.data.clone(), stream.judgement);
                self.unread = self.unread.saturating_sub(data.len());
                self.streams.remove(&reader.stream);
                Poll::Ready(Some(Next::Only(data, judgement)))
            }
            Some(_) => Poll::Ready(None),
            None if stream.ended => Poll::Ready(Some(Next::End)),
            None => {
                stream.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sends the event that carries nothing but an id to come back with.
    pub(super) fn prime(&mut self, reader: Reader) -> Bytes {
        let Some(stream) = self.streams.get_mut(&reader.stream) else { return Bytes::new() };
        stream.primed = true;
        Bytes::from(format!("id: {}-{}\n{RETRY}data:\n\n", reader.stream, stream.cursor))
    }

    /// Every event that is here.
    pub(super) fn poll_events(&mut self, reader: Reader, cx: &Context<'_>) -> Poll<Next> {
        let Some(stream) = self.streams.get_mut(&reader.stream) else {
            return Poll::Ready(Next::End);
        };
        if stream.reader != reader.number {
            return Poll::Ready(Next::End);
        }
        let mut out = BytesMut::new();
        let cursor = stream.cursor;
        for event in stream.events.iter().filter(|event| event.number >= cursor) {
            self.unread = self.unread.saturating_sub(event.data.len());
            stream.cursor = event.number + 1;
            out.put_slice(b"event: message\n");
            if stream.primed {
                out.put_slice(format!("id: {}-{}\n", reader.stream, event.number + 1).as_bytes());
            }
            out.put_slice(b"data: ");
            out.put_slice(&event.data);
            out.put_slice(b"\n\n");
        }
        stream.forget();
        if !out.is_empty() {
            return Poll::Ready(Next::Events(out.freeze()));
        }
        if stream.ended {
            return Poll::Ready(Next::End);
        }
        stream.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends every reader away. What comes is kept for whoever comes back.
    pub(super) fn send_away(&mut self) {
        for stream in self.streams.values_mut().filter(|stream| stream.attached) {
            stream.reader += 1;
            stream.attached = false;
            stream.since = Instant::now();
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
    }

    /// The reader went away.
    pub(super) fn detach(&mut self, reader: Reader) {
        let Some(stream) = self.streams.get_mut(&reader.stream) else { return };
        if stream.reader == reader.number {
            stream.attached = false;
            stream.waker = None;
            stream.since = Instant::now();
        }
    }

    /// Drops what can't be resumed any more.
    pub(super) fn sweep(&mut self) {
        self.streams.retain(|_, stream| {
            let stale = stream.since.elapsed() > RESUMABLE;
            let done = stream.ended && (!stream.primed || stale);
            stream.attached || !done
        });
        self.unread = self.streams.values().map(Stream::unread).sum();
    }
}

impl Stream {
    fn unread(&self) -> usize {
        let unread = self.events.iter().filter(|event| event.number >= self.cursor);
        unread.map(|event| event.data.len()).sum()
    }

    /// Bounds what waits for nobody; the bytes that were dropped unread.
    fn bound(&mut self) -> usize {
        let mut dropped = 0;
        while !self.attached
            && (self.events.len() > WAITING_MAX || self.unread() > UNREAD_HIGH / 8)
            && let Some(event) = self.events.pop_front()
        {
            if event.number >= self.cursor {
                dropped += event.data.len();
                self.cursor = event.number + 1;
            } else {
                self.kept_bytes = self.kept_bytes.saturating_sub(event.data.len());
            }
        }
        dropped
    }

    /// Bounds what is kept after it was read.
    fn forget(&mut self) {
        let read = |event: &&Event| event.number < self.cursor;
        self.kept_bytes = self.events.iter().filter(read).map(|event| event.data.len()).sum();
        let mut kept = self.events.iter().filter(read).count();
        while (kept > KEPT_EVENTS || self.kept_bytes > KEPT_BYTES || !self.primed)
            && kept > 0
            && let Some(event) = self.events.pop_front()
        {
            self.kept_bytes = self.kept_bytes.saturating_sub(event.data.len());
            kept -= 1;
        }
    }
}

/// A frame as the data of an event: a carriage return between tokens would end the line.
fn data(message: &str) -> Bytes {
    let message = message.trim_end_matches('\n');
    if message.contains(['\r', '\n']) {
        return Bytes::from(message.replace(['\r', '\n'], " "));
    }
    Bytes::copy_from_slice(message.as_bytes())
}

#[cfg(test)]
mod tests;
