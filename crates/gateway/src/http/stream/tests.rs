//! What a reader gets, what is kept for it, and what is bounded.

use super::*;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn read(streams: &mut Streams, reader: Reader) -> String {
    match streams.poll_events(reader, &context()) {
        Poll::Ready(Next::Events(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        Poll::Ready(_) => "END".to_owned(),
        Poll::Pending => String::new(),
    }
}

#[test]
fn a_lone_answer_is_no_stream() {
    let mut streams = Streams::default();
    let reader = streams.open(Kind::Request).unwrap();
    assert!(streams.poll_first((reader, Answered::Alone), &context()).is_pending());
    streams.push(reader.stream, "{}\n", true);
    let first = streams.poll_first((reader, Answered::Alone), &context());
    assert!(matches!(first, Poll::Ready(Some(Next::Only(data, None))) if data == "{}"));
    assert_eq!((streams.unread, streams.streams.len()), (0, 0));
}

#[test]
fn what_was_lost_is_sent_again_and_no_more() {
    let mut streams = Streams::default();
    let reader = streams.open(Kind::Request).unwrap();
    streams.push(reader.stream, "1", false);
    assert!(matches!(streams.poll_first((reader, Answered::Alone), &context()), Poll::Ready(None)));
    assert!(streams.prime(reader).starts_with(b"id: 0-0\nretry"));
    assert_eq!(read(&mut streams, reader), "event: message\nid: 0-1\ndata: 1\n\n");
    streams.detach(reader);
    streams.push(reader.stream, "2\r", false);
    streams.push(reader.stream, "3", true);
    let again = streams.resume("0-1").unwrap();
    let rest = read(&mut streams, again);
    assert_eq!(rest, "event: message\nid: 0-2\ndata: 2 \n\nevent: message\nid: 0-3\ndata: 3\n\n");
    assert_eq!(read(&mut streams, again), "END");
    assert_eq!(read(&mut streams, reader), "END", "the one before reads no more");
    let all = streams.resume("0-0").unwrap();
    assert!(read(&mut streams, all).contains("data: 1\n"));
    for wrong in ["0-4", "1-0", "0", "x-y", "0--1", ""] {
        assert!(streams.resume(wrong).is_none(), "{wrong}");
    }
    assert_eq!(streams.unread, 0);
}

#[test]
fn what_nobody_reads_is_bounded_and_found_by_the_next_reader() {
    let mut streams = Streams::default();
    streams.open_unread();
    let standing = streams.standing().unwrap();
    for n in 0..2 * WAITING_MAX {
        streams.push(standing, &n.to_string(), false);
    }
    let reader = streams.open(Kind::Standing).unwrap();
    let all = read(&mut streams, reader);
    assert_eq!(all.matches("data: ").count(), WAITING_MAX);
    assert!(all.contains(&format!("data: {}\n", 2 * WAITING_MAX - 1)));
    assert_eq!((streams.standing(), streams.unread), (Some(reader.stream), 0));
    streams.detach(reader);
    streams.push(reader.stream, &"x".repeat(2 << 20), false);
    assert!(streams.unread <= UNREAD_HIGH / 8);
}

#[test]
fn a_reader_that_stops_makes_servers_wait_and_is_cut() {
    let mut streams = Streams::default();
    let reader = streams.open(Kind::Request).unwrap();
    let other = streams.open(Kind::Request).unwrap();
    while !streams.is_full() {
        streams.push(reader.stream, &"x".repeat(1 << 20), false);
    }
    streams.push(other.stream, "1", true);
    streams.cut();
    assert!(!streams.is_full());
    assert_eq!(read(&mut streams, reader), "END");
    assert!(read(&mut streams, other).contains("data: 1"));
}
