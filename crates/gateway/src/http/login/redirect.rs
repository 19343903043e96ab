//! Where the browser brings the answer: a listener on 127.0.0.1 for one login.
//!
//! The adversary is any page in a browser here, and any process: it asks first, asks again, asks for ever or asks
//! another host's name. Only an answer with this login's `state` counts, the first one ends the listening, and what is
//! answered says nothing of what was brought.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::pkce::Words;
use super::tokens::known_error;
use super::{LoginFault, form};

/// Longest request, and time for one.
const HEAD_MAX: usize = 32 << 10;
const PART: usize = 4 << 10;
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Most answers without this login's `state`, and most visitors.
const STRANGERS_MAX: usize = 16;
const VISITORS_MAX: usize = 256;
/// Longest code.
const CODE_MAX: usize = 8 << 10;
const PATH: &str = "/callback";

/// The listener of one login.
pub(super) struct Redirect {
    listener: TcpListener,
    port: u16,
}

/// What the issuer answered through the browser.
pub(super) struct Answer {
    pub(super) code: Result<Zeroizing<String>, &'static str>,
    pub(super) issuer: Option<String>,
}

/// What a visitor is.
enum Visit {
    Answer(Answer),
    Stranger,
    Nothing,
}

impl Redirect {
    /// Listens; port 0 is a free one.
    pub(super) async fn open(port: u16) -> Result<Self, LoginFault> {
        let failed = |error: std::io::Error| {
            LoginFault::Configuration(format!("127.0.0.1:{port} can't be listened on: {error}"))
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    /// The address that the issuer sends the browser to.
    pub(super) fn uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the answer of this login. Whoever comes later finds nobody.
    pub(super) async fn answer(
        self,
        words: &Arc<Words>,
        wait: Duration,
    ) -> Result<Answer, LoginFault> {
        let found = timeout(wait, self.first(words)).await;
        found.unwrap_or(Err(LoginFault::Late(wait)))
    }

    async fn first(self, words: &Arc<Words>) -> Result<Answer, LoginFault> {
        let (tell, mut told) = mpsc::channel(VISITORS_MAX);
        // Ended with this: nobody is listened to any more.
        let accepting = Ended(tokio::spawn(accept(self, Arc::clone(words), tell)));
        let mut strangers = 0;
        while let Some(visit) = told.recv().await {
            match visit {
                Visit::Answer(answer) => return Ok(answer),
                Visit::Stranger => strangers += 1,
                Visit::Nothing => {}
            }
            if strangers >= STRANGERS_MAX {
                break;
            }
        }
        drop(accepting);
        let what = "many answers came that belong to no login of this command";
        Err(LoginFault::Untrusted(what.to_owned()))
    }
}

/// A task that ends with its holder.
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets visitors in, each for itself: one that says nothing keeps nobody waiting.
async fn accept(redirect: Redirect, words: Arc<Words>, tell: mpsc::Sender<Visit>) {
    for _ in 0..VISITORS_MAX {
        let Ok((stream, _)) = redirect.listener.accept().await else { continue };
        let (words, tell, port) = (Arc::clone(&words), tell.clone(), redirect.port);
        tokio::spawn(async move {
            let visit = timeout(HEAD_WAIT, receive(stream, &words, port)).await;
            let _ = tell.send(visit.unwrap_or(Visit::Nothing)).await;
        });
    }
}

/// Reads one request and answers it.
async fn receive(stream: TcpStream, words: &Words, port: u16) -> Visit {
    let mut head = Zeroizing::new(Vec::with_capacity(HEAD_MAX + PART));
    let mut part = Zeroizing::new([0; PART]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Visit::Nothing;
        }
        match stream.readable().await.and_then(|()| stream.try_read(&mut *part)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Visit::Nothing,
            Ok(read) => head.extend_from_slice(part.get(..read).unwrap_or_default()),
        }
    }
    let visit = std::str::from_utf8(&head).map_or(Visit::Nothing, |head| read(head, words, port));
    let (status, text) = match visit {
        Visit::Answer(_) => (
            "200 OK",
            "Tipstaff has the answer. How it ended stands in the terminal; this page can be closed.",
        ),
        Visit::Stranger => {
            ("400 Bad Request", "This answer belongs to no login that is going on here.")
        }
        Visit::Nothing => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        match stream.writable().await.and_then(|()| stream.try_write(rest)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    visit
}

/// What a request brings.
fn read(head: &str, words: &Words, port: u16) -> Visit {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Visit::Nothing;
    };
    // A page of another host's name has no business here, wherever that name leads.
    let mut hosts = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let is_own = hosts.next().is_some_and(|(_, host)| host.trim() == format!("127.0.0.1:{port}"));
    let Some((PATH, query)) = target.split_once('?') else { return Visit::Nothing };
    if !is_own || hosts.next().is_some() {
        return Visit::Nothing;
    }
    let Some(parameters) = form::read(query) else { return Visit::Stranger };
    let one =
        |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    if !one("state").is_some_and(|state| words.is_state(state)) {
        return Visit::Stranger;
    }
    let code = one("code").filter(|code| !code.is_empty() && code.len() <= CODE_MAX).cloned();
    let code = match (one("error"), code) {
        (None, Some(code)) => Ok(code),
        (Some(error), _) => Err(known_error(error)),
        (None, None) => Err("without a code"),
    };
    Visit::Answer(Answer { code, issuer: one("iss").map(|issuer| issuer.to_string()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> Words {
        Words {
            state: Zeroizing::new("right".to_owned()),
            verifier: Zeroizing::new("v".to_owned()),
        }
    }

    fn visit(target: &str) -> Visit {
        read(&format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n"), &words(), 9)
    }

    #[test]
    fn only_this_logins_answer_counts() {
        let Visit::Answer(answer) = visit("/callback?code=a%20b&state=right&iss=https%3A%2F%2Fa")
        else {
            panic!("no answer");
        };
        assert_eq!(answer.code.unwrap().as_str(), "a b");
        assert_eq!(answer.issuer.as_deref(), Some("https://a"));
        let Visit::Answer(answer) = visit("/callback?state=right&error=access_denied&code=x")
        else {
            panic!("no answer");
        };
        assert_eq!(answer.code.unwrap_err(), "access_denied");
        for stranger in [
            "/callback?code=a",
            "/callback?code=a&state=",
            "/callback?code=a&state=wrong",
            "/callback?code=a&state=right&state=wrong",
            "/callback?state=wrong&error=access_denied",
            "/callback?code=a&code=b&state=right",
        ] {
            assert!(matches!(visit(stranger), Visit::Stranger), "{stranger}");
        }
        for nothing in
            ["/", "/callback", "/other?code=a&state=right", "/callback/?code=a&state=right"]
        {
            assert!(matches!(visit(nothing), Visit::Nothing), "{nothing}");
        }
        for (verb, host) in
            [("POST", "127.0.0.1:9"), ("GET", "evil.example"), ("GET", "127.0.0.1:9\r\nHost: x")]
        {
            let head =
                format!("{verb} /callback?code=a&state=right HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(matches!(read(&head, &words(), 9), Visit::Nothing), "{head}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(head in "\\PC{0,120}", target in "[ -~]{0,60}") {
            let _ = read(&head, &words(), 9);
            prop_assert!(!matches!(visit(&target), Visit::Answer(_)) || target.contains("state=right"));
        }
    }
}
