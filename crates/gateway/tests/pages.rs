//! What stands beside `/mcp`: pages get whole requests and who asked, and can't bring the door down.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on has failed, and it speaks to sockets"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tipstaff_gateway::{Credential, HttpDoor, HttpOptions, Pages};
use tipstaff_monitor::{Home, Monitor};

/// Whether a slow page is over.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// Says what it was asked.
struct Echo;

impl Pages for Echo {
    fn answer(&self, request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>> {
        match request.uri().path() {
            "/panic" => panic!("a page"),
            "/slow" => {
                let until = Instant::now() + Duration::from_secs(60);
                while !GO_ON.load(Ordering::SeqCst) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => {}
        }
        let who = request.extensions().get::<Credential>();
        let bearer = request.headers().contains_key("authorization");
        let body = request.body().len();
        let text = format!("{} {} {who:?} {bearer} {body}", request.method(), request.uri());
        http::Response::builder().status(201).header("x-a", "b").body(text.into_bytes()).unwrap()
    }
}

fn ask(at: SocketAddr, line: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // One that refuses doesn't read the rest.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn pages_get_whole_requests_and_bring_nothing_down() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(&folder.path().join("home"));
    let monitor = Monitor::open(&home).unwrap();
    let listener = HttpDoor::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let home = home.root().to_owned();
    let token = home.join("keys/http.token");
    let door = HttpDoor::open(listener, HttpOptions { home, monitor, pages: Some(Arc::new(Echo)) });
    let door = door.unwrap();
    let at = door.address();

    let answer = ask(at, "PUT /a/b?c=d", "", b"12345");
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("x-a: b\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\nPUT /a/b?c=d Some(User("), "{answer}");
    assert!(answer.ends_with("false 5"), "{answer}");
    // The token proves more than the user, and is not handed on.
    let token = std::fs::read_to_string(token).unwrap();
    let answer = ask(at, "GET /", &format!("Authorization: Bearer {token}\r\n"), b"");
    assert!(answer.ends_with("GET / Some(Token) false 0"), "{answer}");
    // A wrong one proves nothing, not even the user, and the page says what that means.
    let answer = ask(at, "GET /", "Authorization: Bearer x\r\n", b"");
    assert!(answer.ends_with("GET / None false 0"), "{answer}");
    assert!(ask(at, "GET /", "Origin: https://evil.example\r\n", b"").starts_with("HTTP/1.1 403"));

    let large = vec![b'x'; 10 << 20];
    assert!(ask(at, "POST /", "", &large).ends_with(&format!("{}", 10 << 20)));
    let larger = vec![b'x'; 11 << 20];
    let answer = ask(at, "POST /", "", &larger);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(ask(at, "GET /panic", "", b"").starts_with("HTTP/1.1 500"));

    // A slow page keeps nobody else waiting.
    let slow: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || ask(at, "GET /slow", "", b""))).collect();
    std::thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    assert!(ask(at, "GET /", "", b"").starts_with("HTTP/1.1 201"));
    assert!(since.elapsed() < Duration::from_secs(50), "before the slow ones are over");
    GO_ON.store(true, Ordering::SeqCst);
    for page in slow {
        assert!(page.join().unwrap().starts_with("HTTP/1.1 201"));
    }
    door.end();
    assert!(TcpStream::connect(at).is_err(), "nobody listens any more");
}
