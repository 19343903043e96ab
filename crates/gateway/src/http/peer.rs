//! Whose the other end of a loopback connection is, as the kernel says.
//!
//! The adversary is another user of this machine. A socket's row in the kernel's table names the user
//! that made it. A row of a connection that is ending names nobody, which reads like the superuser: only
//! an established one with a file behind it counts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

const ESTABLISHED: &str = "01";

/// The user who owns the remote end of a connection on this machine.
pub(super) fn user(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    row(local, remote).map(|row| row.user)
}

/// The processes that hold the remote end of a connection on this machine, and their user: what one opened
/// another may have inherited. Whose files can't be looked at is nobody.
pub(super) fn processes(local: SocketAddr, remote: SocketAddr) -> Vec<(u32, u32)> {
    let Some(row) = row(local, remote) else { return Vec::new() };
    let socket = format!("socket:[{}]", row.inode);
    let holds = |folder: &Path| {
        let files = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|to| to.as_os_str() == &*socket)
    };
    let found = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = found.filter(|entry| holds(&entry.path()));
    // `self` and `thread-self` are names of the same.
    let pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(|pid| (pid, row.user)).collect()
}

/// What a row says of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    user: u32,
    inode: u64,
}

fn row(local: SocketAddr, remote: SocketAddr) -> Option<Row> {
    if !remote.ip().to_canonical().is_loopback() || !local.ip().to_canonical().is_loopback() {
        return None;
    }
    // A client of either family may reach us by its own table.
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .find_map(|path| find(&fs::read_to_string(path).ok()?, remote, local))
}

/// The row whose own end is `own` and whose other end is `other`.
fn find(table: &str, own: SocketAddr, other: SocketAddr) -> Option<Row> {
    let same = |text: &str, end: SocketAddr| {
        address(text).is_some_and(|found| {
            found.port() == end.port() && found.ip().to_canonical() == end.ip().to_canonical()
        })
    };
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (at, to, state) = (fields.next()?, fields.next()?, fields.next()?);
        let user = fields.nth(3)?;
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        let found = state == ESTABLISHED && inode != 0 && same(at, own) && same(to, other);
        found.then_some(Row { user: user.parse().ok()?, inode })
    })
}

/// An address as the table writes it: 32-bit words in the machine's order, in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a connection to itself")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_ours_is_ours_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let ours = rustix::process::getuid().as_raw();
            assert_eq!(user(local, remote), Some(ours));
            assert!(processes(local, remote).contains(&(std::process::id(), ours)));
            drop(client);
            // Whoever is gone is nobody, not the superuser.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(user(local, remote), None);
            assert!(processes(local, remote).is_empty());
        }
    }

    #[test]
    fn only_an_established_row_with_a_file_counts() {
        let row = |state: &str, user: &str, inode: &str| {
            format!(
                "  sl  local_address\n   0: 0100007F:1F90 0100007F:C350 {state} 00000000:00000000 \
                 00:00000000 00000000  {user}        0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            find(&row("01", "1000", "5"), at(8080), at(50000)),
            Some(Row { user: 1000, inode: 5 })
        );
        assert_eq!(find(&row("01", "1000", "5"), at(50000), at(8080)), None, "the other end");
        assert_eq!(find(&row("06", "0", "0"), at(8080), at(50000)), None);
        assert_eq!(find(&row("01", "0", "0"), at(8080), at(50000)), None);
        assert!(user(at(1), "192.0.2.1:5".parse().unwrap()).is_none());
    }
}
