//! What the operating system says of a peer process, and the pseudonyms that receipts carry.

use std::fs;
use std::path::PathBuf;

use tipstaff_core::Digest;
use tipstaff_core::receipt::{Identity, Level, Proof};

/// A peer process on this machine, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// The client instance that started it: parent process, its start time, the boot.
    pub instance: String,
    /// The program of the parent, as the kernel names it.
    pub service: String,
    /// Its working folder, against which relative paths of calls are read.
    pub cwd: Option<PathBuf>,
    /// The process that started it; `None` for one that is not on this machine.
    pub client: Option<Process>,
}

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// How far up a process's ancestors are looked for. Real ones are a dozen.
const ANCESTORS_MAX: usize = 256;

impl Process {
    /// The process that has a number now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.started })
    }

    /// Whether it is still there.
    #[must_use]
    pub fn lives(self) -> bool {
        Peer::started(self.pid) == Some(self.started)
    }

    /// Whether the process `pid` is this one, or was started by it or by one that it started. A process
    /// whose starter has ended is the init process's, so this can miss one that wants to be missed.
    #[must_use]
    pub fn is_ancestor_of(self, pid: u32) -> bool {
        let mut at = Some(pid);
        for _ in 0..ANCESTORS_MAX {
            let Some(found) = at.filter(|pid| *pid > 1) else { return false };
            if found == self.pid {
                return self.lives();
            }
            at = stat(found).and_then(|stat| stat.parent);
        }
        // Nobody's ancestors are so many: a reader that can't see the end doesn't say no.
        true
    }
}

impl Peer {
    /// Describes a peer of this machine. Its parent is what started it: the MCP client.
    #[must_use]
    pub fn of_process(pid: u32, uid: u32) -> Self {
        let parent = stat(pid).and_then(|stat| stat.parent).unwrap_or(0);
        let started = stat(parent).map_or(0, |stat| stat.started);
        let service = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        Self {
            pid,
            uid,
            instance: instance(uid, parent, started, &boot()),
            service: service.trim().to_owned(),
            cwd: fs::read_link(format!("/proc/{pid}/cwd")).ok(),
            client: (parent > 0).then_some(Process { pid: parent, started }),
        }
    }

    /// The client instances that a process and those that it descends from would be, if they had started
    /// a door of user `uid`.
    #[must_use]
    pub fn instances_above(pid: u32, uid: u32) -> Vec<String> {
        let (boot, mut at) = (boot(), Some(pid));
        let next = || {
            let pid = at.filter(|pid| *pid > 1)?;
            let stat = stat(pid)?;
            at = stat.parent;
            Some(instance(uid, pid, stat.started, &boot))
        };
        std::iter::from_fn(next).take(ANCESTORS_MAX).collect()
    }

    /// When a process started, in clock ticks since boot: with its id, its identity.
    #[must_use]
    pub fn started(pid: u32) -> Option<u64> {
        stat(pid).map(|stat| stat.started)
    }
}

/// Turns identities into pseudonyms that only this home can make: the log is public.
#[derive(Clone)]
pub struct Pseudonyms {
    key: [u8; 32],
    origin: String,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// Pseudonyms of a home.
    #[must_use]
    pub fn new(key: &[u8; 32], origin: &str) -> Self {
        Self { key: *key, origin: origin.to_owned() }
    }

    /// The pseudonym of a name at a level: 128 bits of a keyed digest. The key is of fixed length and
    /// comes first, the level ends with a zero byte, and SHA-256 is applied twice, so that no name
    /// extends another.
    #[must_use]
    pub fn of(&self, level: &str, name: &str) -> String {
        let inner = Digest::of_parts(&[&self.key, level.as_bytes(), b"\0", name.as_bytes()]);
        let outer = Digest::of_parts(&[&self.key, inner.as_bytes()]);
        outer.to_hex().get(..32).unwrap_or_default().to_owned()
    }

    /// The `actor` member for an agent instance.
    #[must_use]
    pub fn actor(&self, instance: &str) -> String {
        format!("agent://{}/{}", self.origin, self.of("agent", instance))
    }

    /// The five levels of a local peer in a session.
    #[must_use]
    pub fn identity(&self, peer: &Peer, session: &str) -> Identity {
        let local =
            |level: &str, name: &str| Level { id: Some(self.of(level, name)), proof: Proof::Local };
        Identity {
            agent: local("agent", &peer.instance),
            principal: local("principal", &peer.uid.to_string()),
            roles: Level { id: None, proof: Proof::None },
            service: local("service", &peer.service),
            session: Level { id: Some(session.to_owned()), proof: Proof::Local },
        }
    }

    /// The identity of the monitor itself.
    #[must_use]
    pub fn monitor(&self, session: &str) -> Identity {
        let own = || Level { id: Some(self.of("service", "monitor")), proof: Proof::Local };
        let none = || Level { id: None, proof: Proof::None };
        Identity {
            agent: own(),
            principal: none(),
            roles: none(),
            service: own(),
            session: Level { id: Some(session.to_owned()), proof: Proof::Local },
        }
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn instance(uid: u32, pid: u32, started: u64, boot: &str) -> String {
    format!("{uid}:{pid}:{started}:{boot}")
}

struct Stat {
    parent: Option<u32>,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything; fields count from the last one.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(Stat { parent: fields.get(1)?.parse().ok(), started: fields.get(19)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_this_process() {
        let peer = Peer::of_process(std::process::id(), 7);
        assert!(peer.instance.starts_with("7:"));
        assert_eq!(peer.cwd, std::env::current_dir().ok());
        assert_eq!(peer, Peer::of_process(std::process::id(), 7));
        assert!(Peer::started(std::process::id()).is_some());
        assert!(Peer::started(u32::MAX).is_none());
    }

    #[test]
    fn pseudonyms_differ_by_key_level_and_name() {
        let one = Pseudonyms::new(&[1; 32], "o");
        let two = Pseudonyms::new(&[2; 32], "o");
        assert_eq!(one.of("a", "b"), one.of("a", "b"));
        assert_ne!(one.of("a", "b"), two.of("a", "b"));
        assert_ne!(one.of("a", "b"), one.of("ab", ""));
    }
}
