//! What goes out and what comes in: whole messages, streams of events, and requests of bounded size.
//!
//! The adversary sends a body without an end, or slowly, and reads answers the same way. A request is
//! read whole, within a size and a time, before anything looks at it; a stream says something every few
//! seconds, so that a client which is gone is noticed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::session::Session;
use super::stream::{Answered, Next, Reader};

/// Time between signs of life on a stream.
const ALIVE: Duration = Duration::from_secs(15);
/// Time to send a request's body.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// What is passed over of a request that is answered unread, and how long that may take.
const PASSED_MAX: usize = 64 << 10;
const PASSED_WAIT: Duration = Duration::from_secs(1);

/// The body of an answer.
pub(super) enum Body {
    /// All of it, sent with the header in one write.
    Whole(Bytes),
    /// Events as they come.
    Events(Box<Events>),
}

/// A stream of events that is being read.
pub(super) struct Events {
    reading: Reading,
    alive: Interval,
    first: Option<Bytes>,
}

/// Gives the reader of a stream back when whoever read is gone.
pub(super) struct Reading {
    pub(super) session: Arc<Session>,
    pub(super) reader: Reader,
}

/// Why a request's body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

/// What became of the rest of a request that was answered before it was read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none any more: the next request can come.
    Gone,
    /// It is still there, or still to come.
    There,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.session.state().streams.detach(self.reader);
    }
}

impl Reading {
    /// The only message of the stream, or `None` if it should be read as events.
    pub(super) async fn first(&self, form: Answered) -> Option<Next> {
        let look = (self.reader, form);
        std::future::poll_fn(|cx| self.session.state().streams.poll_first(look, cx)).await
    }

    /// The events, after those that were read before if the stream is resumed.
    pub(super) fn events(self, first: Option<Bytes>) -> Body {
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        alive.reset();
        Body::Events(Box::new(Events { reading: self, alive, first }))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => events.poll(cx).map(|data| data.map(|d| Ok(Frame::data(d)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

impl Events {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let Reading { session, reader } = &self.reading;
        let next = session.state().streams.poll_events(*reader, cx);
        match next {
            Poll::Ready(Next::Events(bytes) | Next::Only(bytes, _)) => {
                session.made_room();
                self.alive.reset();
                Poll::Ready(Some(bytes))
            }
            Poll::Ready(Next::End) => Poll::Ready(None),
            Poll::Pending => {
                self.alive.poll_tick(cx).map(|_| Some(Bytes::from_static(b": still here\n\n")))
            }
        }
    }
}

/// Reads a request's body.
pub(super) async fn read(
    headers: &http::HeaderMap,
    body: &mut Incoming,
    limit: usize,
) -> Result<Vec<u8>, Unread> {
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if said.is_some_and(|said: usize| said > limit) {
        return Err(Unread::TooLarge);
    }
    match tokio::time::timeout(BODY_WAIT, collect(body, limit, said.unwrap_or(0))).await {
        Ok(read) => read,
        Err(_) => Err(Unread::TooSlow),
    }
}

/// A body of at most `limit` bytes.
pub(super) async fn collect(
    body: &mut Incoming,
    limit: usize,
    room: usize,
) -> Result<Vec<u8>, Unread> {
    // What is only announced costs little.
    let mut read = Vec::with_capacity(room.min(64 << 10));
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(frame) = frame else { return Ok(read) };
        if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
            if read.len() + data.len() > limit {
                return Err(Unread::TooLarge);
            }
            read.extend_from_slice(&data);
        }
    }
}

/// Passes over what is left of a request, within bounds. A connection whose request was not read to its end is closed
/// after the answer, and a client that doesn't know sends its next request into nothing.
pub(super) async fn pass_over(body: &mut Incoming) -> Rest {
    if body.is_end_stream() {
        return Rest::Gone;
    }
    if body.size_hint().lower() > PASSED_MAX as u64 {
        return Rest::There;
    }
    match tokio::time::timeout(PASSED_WAIT, collect(body, PASSED_MAX, 0)).await {
        Ok(Ok(_)) => Rest::Gone,
        Ok(Err(_)) | Err(_) => Rest::There,
    }
}
