//! Requests to the instance under test, one connection each.
//!
//! The adversary answers without an end, or not at all: each answer is bounded in bytes and time.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_conformance::{Answer, Credential, Request, Transport, Unreachable};
use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, digest};
use tipstaff_identity::SystemRandom;
use tipstaff_store::Random as _;

/// Largest answer in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// Longest line of a header.
const LINE_MAX: u64 = 64 << 10;

/// An instance at an address.
pub(super) struct Http {
    authority: String,
    base: String,
    token: String,
    principals: Vec<SigningKey>,
}

impl Http {
    pub(super) fn new(url: &str, token: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            format!(
                "`{url}` is no http:// address; put a forwarder on this machine in front of https"
            )
        })?;
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("`{url}` is no address like http://127.0.0.1:4173"));
        }
        let authority = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ => format!("{authority}:80"),
        };
        if token.chars().any(char::is_control) {
            return Err("the token is more than one line".to_owned());
        }
        let base = base.trim_end_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        Ok(Self { authority, base, token: token.to_owned(), principals: Vec::new() })
    }

    /// With keys of principals to sign for.
    pub(super) fn with_principals(mut self, keys: Vec<SigningKey>) -> Self {
        self.principals = keys;
        self
    }

    /// The headers of RFC 9421 that a principal's request has.
    fn signed(&self, number: usize, request: &Request) -> std::io::Result<String> {
        let key = self.principals.get(number);
        let key = key.ok_or_else(|| std::io::Error::other("there is no such principal"))?;
        let mut nonce = [0; 16];
        SystemRandom.fill(&mut nonce).map_err(std::io::Error::other)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let digest = STANDARD.encode(Digest::of(&request.body).as_bytes());
        let digest = format!("sha-256=:{digest}:");
        let path = format!("{}{}", self.base, request.path);
        let mut parts = vec![
            ("@method", request.method),
            ("@authority", self.authority.trim_end_matches(":80")),
            ("@path", path.as_str()),
            ("content-digest", digest.as_str()),
        ];
        let session = request.headers.iter().find(|(name, _)| *name == "mcp-session-id");
        parts.extend(session.map(|(name, value)| (*name, value.as_str())));
        let covered: Vec<String> = parts.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let params = format!(
            "({});created={};keyid=\"{}\";alg=\"ed25519\";nonce=\"{}\"",
            covered.join(" "),
            since.as_secs(),
            key.verifying_key().key_id(),
            digest::hex(&nonce)
        );
        let lines = parts.iter().map(|(name, value)| format!("\"{name}\": {value}\n"));
        let base = lines.collect::<String>() + "\"@signature-params\": " + &params;
        let signature = STANDARD.encode(key.sign(base.as_bytes()).as_bytes());
        Ok(format!(
            "Content-Digest: {digest}\r\nSignature-Input: sig={params}\r\nSignature: sig=:{signature}:\r\n"
        ))
    }

    #[expect(clippy::disallowed_methods, reason = "the runner is a client of what it tests")]
    fn connect(&self, wait: Duration) -> std::io::Result<TcpStream> {
        // What is sent has the target's token in it: without TLS it stays on this machine.
        let mut addresses = self.authority.to_socket_addrs()?;
        let near = addresses.find(|address| address.ip().is_loopback());
        let address = near.ok_or_else(|| {
            std::io::Error::other(
                "it is not on this machine; put a forwarder to it on this machine, over TLS",
            )
        })?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(wait))?;
        Ok(stream)
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Answer> {
        let until = Instant::now() + request.wait;
        let mut stream = self.connect(request.wait)?;
        let (method, path) = (request.method, &request.path);
        let mut head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.base, self.authority
        );
        match request.credential {
            Credential::Token => {
                head.push_str(&format!("Authorization: Bearer {}\r\n", self.token));
            }
            Credential::Nothing => {}
            Credential::Principal(number) => head.push_str(&self.signed(number, request)?),
        }
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        stream.write_all(&[head.as_bytes(), b"\r\n", &request.body].concat())?;
        read(&mut BufReader::new(stream), until)
    }
}

impl Transport for Http {
    fn send(&self, request: &Request) -> Result<Answer, Unreachable> {
        self.exchange(request).map_err(|error| Unreachable(error.to_string()))
    }
}

fn read(from: &mut impl BufRead, until: Instant) -> std::io::Result<Answer> {
    let malformed = || std::io::Error::other("the answer is no HTTP");
    let status = line(from)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(malformed)?;
    let mut headers = Vec::new();
    loop {
        let text = line(from)?;
        if text.is_empty() || headers.len() > 100 {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(malformed)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    let chunked = answer.header("transfer-encoding").is_some_and(|how| how.contains("chunked"));
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    if !chunked {
        from.take(length.unwrap_or(BYTES_MAX).min(BYTES_MAX)).read_to_end(&mut answer.body)?;
        return Ok(answer);
    }
    loop {
        let size = line(from)?;
        let size = size.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
        if size == 0 {
            return Ok(answer);
        }
        if answer.body.len() as u64 + size > BYTES_MAX {
            return Err(std::io::Error::other("the answer is too large"));
        }
        if Instant::now() > until {
            return Err(std::io::Error::other("the answer took too long"));
        }
        from.take(size).read_to_end(&mut answer.body)?;
        line(from)?;
    }
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(LINE_MAX).read_line(&mut text)?;
    if text.is_empty() {
        return Err(std::io::Error::other("the connection ended early"));
    }
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_either_length_are_read_and_no_others() {
        let until = Instant::now() + Duration::from_secs(5);
        let of = |text: &str| read(&mut text.as_bytes(), until);
        let whole = of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi!").unwrap();
        assert_eq!((whole.status, whole.body.as_slice()), (200, b"hi".as_slice()));
        assert_eq!(whole.header("x-a"), Some("b"));
        let pieces =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\n\r\n";
        assert_eq!(of(pieces).unwrap().body, b"hi!");
        for bad in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for bad in ["https://x", "http://", "http://a@b", "127.0.0.1:80"] {
            assert!(Http::new(bad, "t").is_err(), "{bad}");
        }
        assert!(Http::new("http://127.0.0.1:1", "a\r\nb").is_err());
        // The token is in what is sent: without TLS it stays on this machine.
        let far = Http::new("http://192.0.2.1:80", "t").unwrap();
        let refused = far.connect(Duration::from_secs(1)).unwrap_err().to_string();
        assert!(refused.contains("not on this machine"), "{refused}");
    }
}
