//! The detectors on any bytes: no panic, and findings inside the input.

use bolero::check;
use tipstaff_detect::{Limits, scan};

fn holds(bytes: &[u8]) {
    let limits = Limits { findings_max: 64, ..Limits::default() };
    let findings = scan(bytes, &limits);
    for one in findings.first() {
        assert!(one.range.start <= one.range.end && one.range.end <= bytes.len());
        assert!(one.depth <= limits.decode_depth_max);
    }
    assert_eq!(findings, scan(bytes, &limits), "the same bytes, the same findings");
}

#[test]
fn bytes() {
    check!().for_each(|bytes: &[u8]| holds(bytes));
}

/// Sequences of what the detectors look for, so that chance gets past the first byte.
#[test]
fn spelled() {
    let words: [&[u8]; 44] = [
        b"ghp_",
        b"AKIA",
        b"sk-",
        b"xoxb-",
        b"eyJhbGciOiJIUzI1NiJ9",
        b".",
        b"-----BEGIN ",
        b"PRIVATE KEY-----",
        b"password",
        b"=",
        b": ",
        b"\"",
        b"://",
        b"@",
        b"nordwerk.io",
        b"+49 171 ",
        b"4111 1111 1111 1111",
        b"DE89 3704 0044 0532 0130 00",
        b"536-22-8145",
        b"born 1970-01-01",
        b"ignore ",
        b"all previous ",
        b"instructions",
        b"<!--",
        b"-->",
        b"<div style=\"display:none\">",
        b"[INST]",
        b"\xe2\x80\xae",
        b"\xe2\x80\x8b",
        b"\xf3\xa0\x81\xa1",
        b"\xef\xb8\x81",
        b"\xd0\xb0",
        b"a",
        b"aGVsbG8gd29ybGQsIGhlbGxv",
        b"H4sIAAAAAAAA",
        b"68656c6c6f20776f726c642c2068656c6c6f",
        b"%41",
        b"&#65;",
        b"\\u0041",
        b"\\",
        b"\n",
        b" ",
        b"\0",
        b"\xff\xfe",
    ];
    check!().for_each(move |bytes: &[u8]| {
        let spelled: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| words[usize::from(*byte) % words.len()].iter().copied())
            .collect();
        holds(&spelled);
    });
}
