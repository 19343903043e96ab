//! Server-sent events of a far server.
//!
//! The adversary sends a line or an event without an end. What is kept of an unfinished one is bounded;
//! over that, the stream counts as broken.

use std::pin::Pin;
use std::time::Duration;

use http::header::HeaderValue;
use http_body::Body as _;
use hyper::body::Incoming;

use super::Fault;

/// Longest event id that is sent back.
const ID_MAX: usize = 1024;

/// Reads the messages of a stream.
pub(super) struct EventReader {
    body: Incoming,
    parser: Parser,
}

/// The part that knows no network.
struct Parser {
    limit: usize,
    /// Bytes of lines that were not taken yet.
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins, and up to where there is no line end.
    start: usize,
    looked: usize,
    data: Option<String>,
    id: Option<HeaderValue>,
    last: Option<HeaderValue>,
    retry: Duration,
}

impl EventReader {
    pub(super) fn new(body: Incoming, limit: usize) -> Self {
        Self { body, parser: Parser::new(limit) }
    }

    /// The same stream, taken up again.
    pub(super) fn again(self, body: Incoming) -> Self {
        let Self { parser: Parser { limit, last, retry, .. }, .. } = self;
        Self { body, parser: Parser { last, retry, ..Parser::new(limit) } }
    }

    /// The id to take the stream up again with.
    pub(super) fn last_event(&self) -> Option<HeaderValue> {
        self.parser.last.clone()
    }

    /// How long to wait before that.
    pub(super) const fn retry(&self) -> Duration {
        self.parser.retry
    }

    /// The data of the next event that has any; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            if let Some(data) = self.parser.event()? {
                return Ok(Some(data));
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Fault::Lost),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.parser.feed(&data);
                    }
                }
            }
        }
    }
}

impl Parser {
    const fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            looked: 0,
            data: None,
            id: None,
            last: None,
            retry: Duration::from_secs(1),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next whole event.
    fn event(&mut self) -> Result<Option<String>, Fault> {
        while let Some(line) = self.line()? {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" if line.is_empty() => {
                    if let Some(id) = self.id.take() {
                        self.last = Some(id);
                    }
                    // An event without data carries only its id.
                    if let Some(data) = self.data.take().filter(|data| !data.trim().is_empty()) {
                        return Ok(Some(data));
                    }
                }
                "data" => {
                    let data = self.data.get_or_insert_default();
                    if data.len() + value.len() > self.limit {
                        return Err(Fault::Lost);
                    }
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                "id" if value.len() <= ID_MAX => self.id = HeaderValue::from_str(value).ok(),
                "retry" => {
                    if let Ok(wait) = value.parse() {
                        self.retry = Duration::from_millis(wait);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next whole line: it ends with a line feed, a carriage return, or both.
    fn line(&mut self) -> Result<Option<String>, Fault> {
        let unseen = self.buffer.get(self.looked..).unwrap_or_default();
        let Some(at) = unseen.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.looked = self.buffer.len();
            let open = self.buffer.len() - self.start;
            return if open > self.limit { Err(Fault::Lost) } else { Ok(None) };
        };
        let end = self.looked + at;
        let after = match (self.buffer.get(end), self.buffer.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => end + 2,
            // The line feed may still come.
            (Some(b'\r'), None) => {
                self.looked = end;
                return Ok(None);
            }
            _ => end + 1,
        };
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| Fault::Lost)?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).to_owned();
        self.start = after;
        self.looked = after;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Parser) {
        let mut parser = Parser::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece);
            while let Ok(Some(event)) = parser.event() {
                events.push(event);
            }
        }
        (events, parser)
    }

    #[test]
    fn events_ids_and_waits_are_read() {
        let text = b"\xef\xbb\xbf: hello\n\nid: 1\nretry: 250\ndata:\n\nevent: message\r\nid: 2\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: x\n";
        let (events, parser) = read(&[text], 100);
        assert_eq!(events, ["{\"a\":\n1}"]);
        assert_eq!(parser.last, Some(HeaderValue::from_static("2")));
        assert_eq!(parser.retry, Duration::from_millis(250));
    }

    #[test]
    fn what_has_no_end_is_given_up() {
        let mut parser = Parser::new(10);
        parser.feed(b"data: 12345678901");
        assert!(parser.event().is_err());
        let mut parser = Parser::new(10);
        parser.feed(b"data: 123456\ndata: 123456\n");
        assert!(parser.event().is_err());
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_events(cuts in prop::collection::vec(1_usize..7, 1..40)) {
            let text = "id: 7\ndata: one\n\n: x\r\n\r\ndata: two\r\ndata: 2\r\n\r\ndata: three\n\n";
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(head);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read(&pieces, 100).0, ["one", "two\n2", "three"]);
        }
    }
}
