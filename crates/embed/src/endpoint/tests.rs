//! Against a stand-in on loopback that speaks the documented shape, and its misbehaving relatives.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a stand-in for the endpoint, on loopback")]
fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Answers one connection, and gives what was asked.
fn stand_in(answer: impl FnOnce(TcpStream) + Send + 'static) -> (String, Receiver<String>) {
    let listener = listen();
    let base = format!("http://{}/v1/", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&request).to_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if let Some(end) = text.find("\r\n\r\n")
                && request.len() >= end + 4 + length
            {
                break;
            }
            let read = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..read]);
        }
        tell.send(String::from_utf8(request).unwrap()).unwrap();
        answer(stream);
    });
    (base, asked)
}

fn says(status: &'static str, body: String) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all((head + &body).as_bytes());
    }
}

fn settings(base: &str, key: Option<Key>) -> Settings {
    let (base, model) = (base.to_owned(), "text-embedding-3-small".to_owned());
    Settings { base, model, key, wait: Duration::from_secs(5) }
}

fn key(text: &str) -> Key {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    Key::resolve(&format!("file:{}", file.display())).unwrap()
}

fn body(values: &str) -> String {
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{values}]}}],
        "model":"text-embedding-3-small","usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#
    )
}

#[test]
fn it_asks_as_documented_and_takes_the_vector() {
    let (base, asked) = stand_in(says("200 OK", body("3,0,0,0,0,0,0,4.0e0")));
    let endpoint = Endpoint::new(settings(&base, Some(key("s3cret\n")))).unwrap();
    let vector = endpoint.embed("pay \"the\" rent").unwrap();
    assert_eq!(vector.values(), [0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8]);
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("POST /v1/embeddings HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer s3cret\r\n"), "{asked}");
    let (_, json) = asked.split_once("\r\n\r\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "encoding_format": "float",
            "input": "pay \"the\" rent",
            "model": "text-embedding-3-small",
        })
    );
    assert_eq!(endpoint.semantic(), Semantic::Yes);
    let method = endpoint.method().as_str();
    assert!(method.starts_with("openai:text-embedding-3-small:"), "{method}");
    assert!(!method.contains("127.0.0.1"));
}

#[test]
fn an_answer_that_is_not_as_promised_is_refused() {
    let eight = "1,0,0,0,0,0,0,0";
    let item = |index: u32| format!(r#"{{"index":{index},"embedding":[{eight}]}}"#);
    let nan = body("NaN,0,0,0,0,0,0,0");
    let bodies = [
        String::new(),
        "{}".to_owned(),
        "<html>".to_owned(),
        r#"{"data":[]}"#.to_owned(),
        format!(r#"{{"data":[{}]}}"#, item(1)),
        format!(r#"{{"data":[{},{}]}}"#, item(0), item(0)),
        r#"{"data":[{"index":0,"embedding":"AAAAAA=="}]}"#.to_owned(),
        body("1,2"),
        body("0,0,0,0,0,0,0,0"),
        body("1e999,0,0,0,0,0,0,0"),
        body(r#""1",0,0,0,0,0,0,0"#),
        body("null,0,0,0,0,0,0,0"),
        nan,
        format!("{} x", body(eight)),
        body(&vec!["1"; 20_000].join(",")),
    ];
    for body in bodies {
        let said = read(body.as_bytes());
        assert!(matches!(said, Err(EmbedError::Answer { .. })), "{body}: {said:?}");
    }
    assert!(read(body(eight).as_bytes()).is_ok());
}

#[test]
fn a_refusal_says_the_status_and_never_the_key_or_the_body() {
    let echoed = "s3cret is wrong".to_owned();
    let (base, _asked) = stand_in(says("401 Unauthorized", echoed));
    let endpoint = Endpoint::new(settings(&base, Some(key("s3cret")))).unwrap();
    let error = endpoint.embed("x").unwrap_err();
    assert!(matches!(error, EmbedError::Refused { status: 401 }));
    let shown = format!("{error} {error:?} {endpoint:?} {:?}", settings("", Some(key("s3cret"))));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_redirect_is_not_followed() {
    let (elsewhere, asked_there) = stand_in(says("200 OK", body("1,0,0,0,0,0,0,0")));
    let (base, _asked) = stand_in(move |mut stream| {
        let head = format!("HTTP/1.1 307 X\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    });
    let endpoint = Endpoint::new(settings(&base, Some(key("s3cret")))).unwrap();
    assert!(matches!(endpoint.embed("x"), Err(EmbedError::Refused { status: 307 })));
    assert!(asked_there.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn slow_and_endless_answers_are_given_up() {
    // A byte now and then is no life sign: the limit is on the whole.
    let drip = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (base, _asked) = stand_in(drip);
    let wait = Duration::from_millis(300);
    let endpoint = Endpoint::new(Settings { wait, ..settings(&base, None) }).unwrap();
    let began = Instant::now();
    assert!(matches!(endpoint.embed("x"), Err(EmbedError::Late { .. })));
    assert!(began.elapsed() < Duration::from_secs(30));

    let (base, _asked) = stand_in(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    let endpoint = Endpoint::new(settings(&base, None)).unwrap();
    let error = endpoint.embed("x").unwrap_err();
    assert!(matches!(error, EmbedError::Answer { what: "it is too large" }), "{error}");
}

#[test]
fn nobody_there_and_cut_off_are_errors_not_vectors() {
    let (base, _asked) = stand_in(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{\"data\":[");
    });
    let endpoint = Endpoint::new(settings(&base, None)).unwrap();
    assert!(matches!(endpoint.embed("x"), Err(EmbedError::Unreachable { .. })));
    // The listener is gone with its one connection.
    let endpoint = Endpoint::new(settings(&base, None)).unwrap();
    assert!(matches!(endpoint.embed("x"), Err(EmbedError::Unreachable { .. })));
}

#[test]
fn https_is_never_spoken_in_plain() {
    let listener = listen();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 256];
        let read = stream.read(&mut first).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        first[..read].to_vec()
    });
    let Ok(endpoint) = Endpoint::new(settings(&base, Some(key("s3cret")))) else {
        println!("SKIPPED: this machine has no root certificates");
        return;
    };
    assert!(matches!(endpoint.embed("x"), Err(EmbedError::Unreachable { .. })));
    let heard = heard.join().unwrap();
    // A TLS record, and the key is not in it.
    assert_eq!(heard.first(), Some(&0x16));
    assert!(!heard.windows(6).any(|six| six == b"s3cret"));
}

#[test]
fn it_may_be_asked_from_within_a_runtime() {
    let (base, _asked) = stand_in(says("200 OK", body("1,0,0,0,0,0,0,0")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = Endpoint::new(settings(&base, None)).unwrap();
    assert!(runtime.block_on(async { endpoint.embed("x") }).is_ok());
}

#[test]
fn settings_that_would_leak_are_refused() {
    let refused =
        |base: &str| matches!(Endpoint::new(settings(base, None)), Err(EmbedError::Setting { .. }));
    for base in [
        "http://example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com",
        "https://user:pass@example.com/v1",
        "https://example.com/v1?key=1",
        "ftp://example.com",
        "example.com",
        "",
    ] {
        assert!(refused(base), "{base}");
    }
    for base in ["http://localhost:1/v1", "http://[::1]:1/v1", "http://127.0.0.9:1"] {
        assert!(!refused(base), "{base}");
    }
    for model in ["", "a b", "a\"b", "a\r\nb"] {
        let asked = Settings { model: model.to_owned(), ..settings("http://localhost/v1", None) };
        assert!(Endpoint::new(asked).is_err(), "{model}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_and_none_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let write = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let setting = format!("file:{}", file.display());
    write("s3cret", 0o640);
    let error = Key::resolve(&setting).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
    for text in ["", "\n", "s3cret\nmore", "s3cret\u{e9}"] {
        write(text, 0o600);
        let error = Key::resolve(&setting).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = Key::resolve("s3cret").unwrap_err().to_string();
    assert!(error.contains("env:NAME") && !error.contains("s3cret"), "{error}");
    assert!(Key::resolve("env:TIPSTAFF_NO_SUCH_VARIABLE").is_err());
    assert!(Key::resolve("file:/nowhere").is_err());
    assert!(Key::resolve(&format!("file:{}", folder.path().display())).is_err());
    assert_eq!(format!("{:?}", key("s3cret")), "Key");
}
