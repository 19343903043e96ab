//! A monitor that answers late: what is permitted after nobody waits for it is not lost.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::server::bind;
use crate::wire::{digest_of, number_of, text_of};

const LONG: Duration = Duration::from_secs(20);

/// A stand-in monitor: it greets, gives out what it hears, and says what it is told to say.
fn stand_in(listener: UnixListener, heard: Sender<Json>, say: Receiver<Json>) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut frames = Frames::new(Socket::new(stream.try_clone().unwrap()));
    frames.next().unwrap().unwrap();
    stream.write_all(&wire::frame(&object([("t", Json::string("joined"))]))).unwrap();
    thread::spawn(move || {
        while let Ok(answer) = say.recv() {
            stream.write_all(&wire::frame(&answer)).unwrap();
        }
    });
    while let Ok(Some(frame)) = frames.next() {
        let _ = heard.send(frame);
    }
}

fn verdict(n: u64, receipt: Digest, ok: bool) -> Json {
    object([
        ("action", Json::Null),
        ("n", number(n)),
        ("ok", Json::from(ok)),
        ("receipt", Json::String(receipt.to_hex())),
        ("rule", Json::Null),
        ("salt", Json::string("00112233445566778899aabbccddeeff")),
        ("t", Json::string("verdict")),
        ("text", Json::string("no")),
        ("verdict", Json::string(if ok { "ALLOW" } else { "DENY" })),
    ])
}

#[test]
fn a_permit_that_comes_after_its_request_was_withdrawn_is_settled_as_ambiguous() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(&folder.path().join("home"));
    home.create().unwrap();
    let listener = bind(&home).unwrap();
    let ((heard, hears), (says, say)) = (channel(), channel());
    thread::spawn(move || stand_in(listener, heard, say));
    let join = Join {
        server: "notes".to_owned(),
        door: Door::McpStdio,
        command: Vec::new(),
        caller: Caller::Parent,
    };
    let client = Client::join(home.root(), join).unwrap();
    let (told, tells) = channel();
    let ask = || {
        let action = Action::new("notes", "write", "tools/call", Json::Null, None).unwrap();
        let told = told.clone();
        client.submit(
            action,
            Box::new(move |answer: Result<Permit, Refusal>| {
                let _ = told.send(answer.is_ok());
            }),
        )
    };
    let next = || {
        let frame = hears.recv_timeout(LONG).expect("the door says so");
        (text_of(&frame, "t").unwrap(), frame)
    };
    // Two are given up; the answers were on their way. Only the one that permits is owed an outcome.
    for (ok, receipt) in [(false, b"refused".as_slice()), (true, b"granted".as_slice())] {
        let n = ask();
        assert_eq!(next().0, "admit");
        client.withdraw(n);
        let (what, frame) = next();
        assert_eq!((what.as_str(), number_of(&frame, "n")), ("withdraw", Some(n)));
        says.send(verdict(n, Digest::of(receipt), ok)).unwrap();
    }
    let (what, frame) = next();
    assert_eq!(what, "settle", "{frame:?}");
    assert_eq!(digest_of(&frame, "receipt"), Some(Digest::of(b"granted")));
    assert_eq!(text_of(&frame, "status").as_deref(), Some("ambiguous"));
    assert_eq!(frame.get("digest"), Some(&Json::Null), "nothing ran, so there is no result");
    assert!(tells.try_recv().is_err(), "whoever gave up hears nothing");

    // What is still waited for is not given back.
    let n = ask();
    assert_eq!(next().0, "admit");
    says.send(verdict(n, Digest::of(b"waited for"), true)).unwrap();
    assert_eq!(tells.recv_timeout(LONG), Ok(true));
}
