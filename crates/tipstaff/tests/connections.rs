//! Every place in the code that listens, dials or starts a process stands in docs/connections.md, with who is
//! authenticated there and what is encrypted (row D5). The adversary is the next change: a socket that nobody wrote
//! down is a door that nobody guards.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What opens a connection, a listener or a process, or hands one to a library that speaks over it.
const CALLS: [&str; 18] = [
    "Command::new",
    "TcpListener::bind",
    "TcpListener::from_std",
    "TcpSocket::new",
    "TcpStream::connect",
    "TlsAcceptor::from",
    "TlsConnector::from",
    "UdpSocket::bind",
    "UnixDatagram::bind",
    "UnixListener::bind",
    "UnixStream::connect",
    "UnixStream::pair",
    "client::conn::http1",
    "client::legacy",
    "lookup_host",
    "server::conn::http1",
    "socket_with",
    "to_socket_addrs",
];
/// What a file names that could hold a socket, under whatever name it then calls it.
const TYPES: [&str; 7] = [
    "TcpListener",
    "TcpSocket",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
];
/// Libraries through which a connection could be opened: what depends on them may do so.
const SOCKETS: [&str; 5] = ["hyper", "mio", "rustls", "socket2", "tokio"];
/// Libraries that open connections by themselves without any of those.
const CLIENTS: [&str; 14] = [
    "async-std",
    "attohttpc",
    "curl",
    "hickory-resolver",
    "isahc",
    "lettre",
    "minreq",
    "native-tls",
    "openssl",
    "quinn",
    "reqwest",
    "smol",
    "tungstenite",
    "ureq",
];
/// What may stand under `encryption`: TLS, or the one exception, or that the connection is another row's.
const ENCRYPTIONS: [&str; 4] =
    ["TLS", "none (one machine)", "pipes (one machine)", "as the row above"];

type Places = BTreeMap<(String, String), usize>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The code of a file that is built into programs: no comments, no texts, no test modules.
fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    let starts = |at: usize, text: &str| source[at..].starts_with(text);
    while at < bytes.len() {
        if !source.is_char_boundary(at) {
            at += 1;
        } else if starts(at, "//") {
            at += source[at..].find('\n').unwrap_or(source.len() - at);
        } else if starts(at, "/*") {
            at += source[at..].find("*/").map_or(source.len() - at, |end| end + 2);
        } else if starts(at, "r\"")
            || starts(at, "r#") && source[at + 1..].trim_start_matches('#').starts_with('"')
        {
            let hashes = source[at + 1..].find('"').unwrap();
            let end = format!("\"{}", "#".repeat(hashes));
            let from = at + hashes + 2;
            at = from + source[from..].find(&end).map_or(0, |found| found + end.len());
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if let Some(length) = character(&source[at..]) {
            at += length;
        } else {
            out.push(char::from(bytes[at]));
            at += 1;
        }
    }
    without_tests(&out)
}

/// The length of a character in quotes; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    if rest.starts_with('\\') {
        return rest[2..].find('\'').map(|end| end + 4);
    }
    let first = rest.chars().next()?.len_utf8();
    rest[first..].starts_with('\'').then_some(first + 2)
}

fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(TEST) {
        out.push_str(&rest[..at]);
        rest = &rest[at + TEST.len()..];
        let mut item = rest.trim_start();
        while item.starts_with("#[") {
            item = item[item.find(']').unwrap() + 1..].trim_start();
        }
        let is_module = ["mod ", "pub mod ", "pub(crate) mod "].iter().any(|m| item.starts_with(m));
        let end = item.find([';', '{']).unwrap_or(0);
        if is_module && item[end..].starts_with('{') {
            let mut depth = 0;
            let closing = item[end..].char_indices().find(|(_, c)| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            rest = &item[end + closing.unwrap().0 + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// How often each of some words stands in a file's code, as a whole word.
fn count<'a>(code: &str, words: &[&'a str]) -> Vec<(&'a str, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let found = words.iter().map(|word| {
        let whole = code.match_indices(word).filter(|(at, _)| {
            !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
                // `connect_timeout` and the like are calls as well.
                || (word.contains("::") && !code[..*at].ends_with(is_word))
        });
        (*word, whole.count())
    });
    found.filter(|(_, count)| *count > 0).collect()
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut folders: Vec<PathBuf> = fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .chain([root.join("bench/src"), root.join("fuzz/src")])
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((place, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

/// The rows of the table under a heading, cell by cell, without the back-ticks.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/connections.md")).unwrap()
}

#[test]
fn every_listener_and_dialler_is_written_down() {
    let mut found = Places::new();
    let mut holders = BTreeSet::new();
    for (place, code) in sources() {
        for (call, times) in count(&code, &CALLS) {
            found.insert((place.clone(), call.to_owned()), times);
        }
        if !count(&code, &TYPES).is_empty() {
            holders.insert(place);
        }
    }
    let document = document();
    let rows = table(&document, "Where connections are made");
    let mut written = Places::new();
    for row in &rows {
        let [place, call, times, direction, purpose, authentication, encryption] = &row[..] else {
            panic!("a row has seven cells: {row:?}");
        };
        let times = times.parse().unwrap_or_else(|_| panic!("how often? {row:?}"));
        let is_new = written.insert((place.clone(), call.clone()), times).is_none();
        assert!(is_new, "twice: {row:?}");
        for cell in [direction, purpose, authentication] {
            assert!(!cell.is_empty(), "an empty cell: {row:?}");
        }
        let is_plain = ENCRYPTIONS.iter().any(|known| encryption.starts_with(known));
        assert!(is_plain, "encryption is one of {ENCRYPTIONS:?}: {row:?}");
    }
    assert_eq!(found, written, "the code, and what docs/connections.md says of it");
    let opens: BTreeSet<String> = found.into_keys().map(|(place, _)| place).collect();
    let holds: BTreeSet<String> = holders.difference(&opens).cloned().collect();
    let written = table(&document, "Who is handed one").into_iter();
    let written: BTreeSet<String> = written.map(|row| row[0].clone()).collect();
    assert_eq!(
        holds, written,
        "files that name a socket, and what docs/connections.md says of them"
    );
}

#[test]
fn every_library_that_could_open_one_is_written_down() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut found = BTreeSet::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
        let name = name.trim_matches('"');
        let depends = package.split("dependencies = [").nth(1).unwrap_or_default();
        let depends = depends.split(']').next().unwrap().lines();
        let depends = depends.map(|line| line.trim().trim_matches([',', '"']));
        let mut depends = depends.map(|line| line.split(' ').next().unwrap());
        if CLIENTS.contains(&name) || depends.any(|on| SOCKETS.contains(&on)) {
            found.insert(name.to_owned());
        }
    }
    let written = table(&document(), "Libraries").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(found, written, "packages that could open a connection, and what the document says");
}

#[test]
fn what_is_looked_for_is_found_and_nothing_else() {
    let source = r##"
        // TcpStream::connect("a")
        /* UdpSocket::bind */
        use std::net::TcpStream as Line;
        fn a<'a>(c: char) -> &'a str { if c == '"' { "TcpListener::bind" } else { r#"Command::new"# } }
        fn b() { tokio::net::TcpStream::connect_timeout(1); let c = '{'; }
        #[cfg(test)]
        use std::net::TcpListener;
        #[cfg(test)]
        #[expect(clippy::disallowed_methods, reason = "x")]
        mod tests { fn c() { if true { UnixListener::bind(1) } } }
        fn d() { Command::new("sh"); MyTcpStream::connect(); TcpStreams::connect(); }
    "##;
    let code = code(source);
    assert_eq!(count(&code, &CALLS), [("Command::new", 1), ("TcpStream::connect", 1)], "{code}");
    assert_eq!(count(&code, &TYPES), [("TcpListener", 1), ("TcpStream", 2)], "{code}");
}
