//! The echo upstream over HTTP: nothing between, and what stands behind gateways that start no process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::echo;
use crate::failure::Failure;

/// Serves until it is killed, a thread for each connection.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        // A client that goes away ends its own thread.
        std::thread::spawn(move || drop(connection(stream)));
    }
    Ok(())
}

fn connection(stream: TcpStream) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut out = Vec::new();
    loop {
        let (mut length, mut method) = (0, String::new());
        if reader.read_line(&mut method)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(Failure::wrong)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut answer = Vec::new();
        echo::answer(&body, &mut answer);
        out.clear();
        if !method.starts_with("POST ") {
            // There is no stream to read and no session to end.
            out.extend_from_slice(
                b"HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-length: 0\r\n\r\n",
            );
        } else if answer.is_empty() {
            out.extend_from_slice(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        } else {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&answer);
        }
        reader.get_mut().write_all(&out)?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::client::Connection;

    #[test]
    fn calls_are_answered_and_nothing_but_posts() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        std::thread::spawn(move || drop(serve(address.port())));
        let until = Instant::now() + Duration::from_secs(5);
        let mut client = loop {
            match Connection::open(address) {
                Ok(client) => break client,
                Err(failure) => assert!(Instant::now() < until, "{failure}"),
            }
        };
        let calls = client.load(Instant::now() + Duration::from_millis(50)).unwrap();
        assert!(!calls.is_empty());

        for method in ["GET", "DELETE"] {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "{method} /mcp HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert!(line.contains(" 405 "), "{line}");
        }
    }
}
