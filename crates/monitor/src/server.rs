//! The monitor process: a Unix socket that doors of this user join.
//!
//! The adversary is a process of another user, and one that claims to be what it is not: the kernel says
//! who the peer is. Requests that arrived together share one commit.

mod control;

use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use rustix::net::sockopt::socket_peercred;
use tipstaff_core::receipt::{Door, Outcome, Status};
use tipstaff_core::{Action, Json, Labels, digest};
use tipstaff_identity::Peer;

use crate::error::MonitorError;
use crate::home::Home;
use crate::monitor::{Answer, Asked, Asker, Member, Monitor, Report, Which, log_line};
use crate::permit::{Refusal, Settlement};
use crate::pins::ListedTool;
use crate::proof::{Proved, SignedJoin};
use crate::queue::Waiter;
use crate::service::Stopper;
use crate::socket::Socket;
use crate::told::SignedTold;
use crate::wire::{self, Frames, digest_of, number, number_of, object, text, text_of};

/// Connections at a time; each is one thread.
const CONNECTIONS_MAX: usize = 256;
/// Requests that are judged with one commit.
const BATCH_MAX: usize = 128;

/// Time that a door may take to read an answer.
const WRITE_WAIT: Duration = Duration::from_secs(20);

/// The writing side of a connection.
#[derive(Debug, Clone)]
struct Out(Arc<Mutex<UnixStream>>);

impl Out {
    fn send(&self, frames: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(frames)
    }
}

pub(crate) const SOCKET: &str = "monitor.sock";

/// The socket's path as the system takes it: paths over 107 bytes go by the folder's descriptor.
pub(crate) fn with_socket<T>(
    home: &Home,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let path = home.run().join(SOCKET);
    if path.as_os_str().len() < 100 {
        return act(&path);
    }
    let folder = fs::File::open(home.run())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    act(&short)
}

#[expect(clippy::disallowed_methods, reason = "the monitor's one listener")]
pub(crate) fn bind(home: &Home) -> Result<UnixListener, MonitorError> {
    let failed = |source| MonitorError::System { what: "open the monitor's socket", source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home.run()).map_err(failed)?;
    // The lock is held: a socket that is there was left by a monitor that is gone.
    let _ = fs::remove_file(home.run().join(SOCKET));
    let listener = with_socket(home, |path| UnixListener::bind(path)).map_err(failed)?;
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(home.run().join(SOCKET), mode).map_err(failed)?;
    Ok(listener)
}

pub(crate) fn accept(
    listener: &UnixListener,
    monitor: &Arc<Monitor>,
    connections: &Arc<AtomicUsize>,
    retire: Option<&Stopper>,
) {
    for stream in listener.incoming().flatten() {
        if connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (monitor, connections) = (Arc::clone(monitor), Arc::clone(connections));
        let retire = retire.cloned();
        thread::spawn(move || {
            if let Err(error) = connection(stream, &monitor, retire.as_ref())
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                log_line(&format!("a door's connection ended: {error}"));
            }
            connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn connection(
    stream: UnixStream,
    monitor: &Arc<Monitor>,
    retire: Option<&Stopper>,
) -> io::Result<()> {
    let credentials = socket_peercred(&stream)?;
    if credentials.uid != rustix::process::getuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's process"));
    }
    let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).unwrap_or(0);
    let mut frames = Frames::new(Socket::new(stream.try_clone()?));
    // Answers come from other threads too: a door that doesn't read must not keep them for ever.
    stream.set_write_timeout(Some(WRITE_WAIT))?;
    let out = Out(Arc::new(Mutex::new(stream)));
    let Some(hello) = frames.next()? else { return Ok(()) };
    match text_of(&hello, "t").as_deref() {
        Some("join") => {}
        Some("control") => {
            if text_of(&hello, "do").as_deref() == Some("tail") {
                return control::tail(&out, monitor);
            }
            let asker = Asker { pid, uid: credentials.uid.as_raw() };
            return out.send(&wire::frame(&control::answer(&hello, asker, monitor, retire)));
        }
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a greeting")),
    }
    let joined =
        peer(pid, credentials.uid.as_raw(), &hello).and_then(|peer| join(monitor, &peer, &hello));
    let member = match joined {
        Ok(member) => member,
        Err(why) => {
            let reply = object([("t", Json::string("refused")), ("text", Json::string(&why))]);
            return out.send(&wire::frame(&reply));
        }
    };
    out.send(&wire::frame(&welcome(monitor, &member)))?;
    let mut child = None;
    let ended = converse(&out, &mut frames, monitor, &member, &mut child);
    monitor.leave(&member).map_err(|error| io::Error::other(error.to_string()))?;
    if let Some((pid, started)) = child {
        reap(pid, started);
    }
    ended
}

/// Who is at the other end. Only the monitor's own process may speak for somebody else: what it says of
/// a network client it has checked.
fn peer(pid: u32, uid: u32, hello: &Json) -> Result<Peer, String> {
    let peer = Peer::of_process(pid, uid);
    let Some(instance) = text_of(hello, "instance") else { return Ok(peer) };
    if pid != std::process::id() {
        return Err("only the monitor's own process may join for another client".to_owned());
    }
    let service = text_of(hello, "service").unwrap_or_default();
    Ok(Peer { instance: format!("network:{instance}"), service, cwd: None, client: None, ..peer })
}

fn join(monitor: &Monitor, peer: &Peer, hello: &Json) -> Result<Arc<Member>, String> {
    if number_of(hello, "v") != u64::try_from(wire::VERSION).ok() {
        return Err("this monitor is another release; stop it and try again".to_owned());
    }
    let server = text_of(hello, "server").unwrap_or_default();
    let door = text_of(hello, "door").and_then(|door| Door::parse(&door));
    let door = door.ok_or("the door is not known")?;
    let probe = Action::new(&server, "probe", "probe", Json::Null, None);
    probe.map_err(|error| error.to_string())?;
    // A network client has no environment here that could name a session, and no working folder: what its
    // server was started in is what relative paths mean.
    let network = text_of(hello, "instance").is_some();
    let label = text_of(hello, "session").filter(|_| !network);
    // A network client's proof was looked at by the door that speaks for it, which is this process.
    let proved = text_of(hello, "proved").filter(|_| network);
    let proved = proved.map(|how| {
        let read = Proved::from_words(&how, text_of(hello, "who"));
        read.ok_or_else(|| "what the client proved is malformed".to_owned())
    });
    let proved = proved.transpose()?;
    let proven = match hello.get("proof") {
        None | Some(Json::Null) => None,
        Some(proof) => {
            let proof = SignedJoin::from_json(proof).filter(|proof| proof.server() == server);
            let proof = proof.ok_or("the proof is malformed, or for another server")?;
            Some(monitor.prove(&proof, peer.pid)?)
        }
    };
    let started = || monitor.servers().get(&server).is_some_and(|s| !s.command.is_empty());
    let cwd = if network && started() { std::env::current_dir().ok() } else { peer.cwd.clone() };
    let peer = &Peer { cwd, ..peer.clone() };
    let token = text_of(hello, "capability");
    let token = token.as_deref();
    let joined = match (proven, proved) {
        (Some(proven), None) => monitor.join_as(peer, (Some(proven), token), &server, door),
        (_, Some(proved)) => monitor.join_network(peer, (&proved, token), &server, door),
        (None, None) if token.is_some() => monitor.join_as(peer, (None, token), &server, door),
        (None, None) => monitor.join(peer, label.as_deref(), &server, door),
    };
    joined.map_err(|refusal| refusal.text)
}

fn welcome(monitor: &Monitor, member: &Member) -> Json {
    let settings = monitor.settings_for(member);
    let allowed = settings.env_allow.iter().map(|name| Json::string(name)).collect();
    object([
        ("call_timeout_s", number(settings.call_timeout.as_secs())),
        ("env_allow", Json::Array(allowed)),
        ("log", Json::string(&monitor.ledger().identity().origin)),
        ("receipt_in_meta", Json::from(settings.receipt_in_meta)),
        ("server_memory_mib", settings.server_memory_mib.map_or(Json::Null, number)),
        ("session", Json::String(member.chain())),
        ("stderr", Json::string(&settings.stderr_folder.to_string_lossy())),
        ("t", Json::string("joined")),
    ])
}

fn converse(
    out: &Out,
    frames: &mut Frames<Socket>,
    monitor: &Arc<Monitor>,
    member: &Arc<Member>,
    child: &mut Option<(u32, u64)>,
) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    while let Some(first) = frames.next()? {
        let mut waiting = Some(first);
        let (mut numbers, mut asked, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = Vec::new();
        while let Some(frame) = waiting.take() {
            match text_of(&frame, "t").as_deref() {
                Some("admit") => {
                    let n = number_of(&frame, "n").ok_or_else(|| bad("no number"))?;
                    let action = frame.get("action").and_then(wire::action_from_json);
                    let action = action.ok_or_else(|| bad("not an action"))?;
                    let ticket = digest_of(&frame, "ticket");
                    let depends_on = frame.get("depends_on").map(wire::digests);
                    let depends_on =
                        depends_on.map(|named| named.ok_or_else(|| bad("not receipts")));
                    let depends_on = depends_on.transpose()?.unwrap_or_default();
                    numbers.push((n, ticket));
                    asked.push(Asked { action, ticket, depends_on });
                }
                Some("withdraw") => {
                    let n = number_of(&frame, "n").ok_or_else(|| bad("no number"))?;
                    monitor.withdraw(member, n);
                }
                Some("report") => {
                    replies.extend_from_slice(&wire::frame(&report(monitor, member, &frame)?));
                }
                Some("settle") => {
                    let settlement = settlement(&frame).ok_or_else(|| bad("not a settlement"))?;
                    let of = settlement.of;
                    let settled = monitor.settle(member, settlement);
                    settled.map_err(|error| io::Error::other(error.to_string()))?;
                    if let Some(n) = number_of(&frame, "n") {
                        let settled = object([
                            ("n", number(n)),
                            ("receipt", Json::String(of.to_hex())),
                            ("t", Json::string("settled")),
                        ]);
                        replies.extend_from_slice(&wire::frame(&settled));
                    }
                }
                Some("request") => {
                    let told = frame.get("told").and_then(SignedTold::from_json);
                    let told = told.ok_or_else(|| bad("not a request"))?;
                    if let Err(untold) = monitor.open_with(member, &told) {
                        log_line(&format!("a session's request does not count: {untold}"));
                    }
                }
                Some("tools") => {
                    replies.extend_from_slice(&wire::frame(&review(monitor, member, &frame)))
                }
                Some("child") => {
                    let pid = number_of(&frame, "pid").and_then(|pid| u32::try_from(pid).ok());
                    *child = pid.and_then(|pid| Some((pid, Peer::started(pid)?)));
                }
                Some("leave") => return Ok(()),
                _ => return Err(bad("not a frame of this protocol")),
            }
            if asked.len() < BATCH_MAX {
                waiting = frames.ready()?;
            }
        }
        if !asked.is_empty() {
            for ((n, ticket), answer) in numbers.into_iter().zip(monitor.admit_batch(member, asked))
            {
                if let Answer::Held(hold) = &answer {
                    held.push((n, ticket, hold.receipt));
                }
                replies.extend_from_slice(&wire::frame(&verdict(n, &answer)));
            }
        }
        if !replies.is_empty() {
            out.send(&replies)?;
        }
        for (number, ticket, receipt) in held {
            let (member, out) = (Arc::clone(member), out.clone());
            // A door that is gone by then has left, and what was granted to it is ambiguous.
            let then = Box::new(move |answer: Answer| {
                let _ = out.send(&wire::frame(&verdict(number, &answer)));
            });
            monitor.wait_for(receipt, Waiter { member, number, ticket, then });
        }
    }
    Ok(())
}

fn verdict(n: u64, answer: &Answer) -> Json {
    match answer {
        Answer::Granted(granted) => object([
            ("action", granted.executed.as_ref().map_or(Json::Null, wire::action_to_json)),
            ("n", number(n)),
            ("ok", Json::from(true)),
            ("receipt", Json::String(granted.receipt.to_hex())),
            ("rule", text(granted.rule.as_deref())),
            ("salt", Json::String(digest::hex(&granted.salt.0))),
            ("t", Json::string("verdict")),
            ("verdict", Json::string(granted.verdict.as_str())),
        ]),
        Answer::Held(held) => object([
            ("expires", number(held.expires.0)),
            ("n", number(n)),
            ("receipt", Json::String(held.receipt.to_hex())),
            ("rule", text(held.rule.as_deref())),
            ("t", Json::string("held")),
            ("text", Json::string(&held.text)),
            ("verdict", Json::string(held.verdict.as_str())),
        ]),
        Answer::Refused(refusal) => refused(n, refusal),
    }
}

fn report(monitor: &Monitor, member: &Member, frame: &Json) -> io::Result<Json> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a report");
    let receipt = digest_of(frame, "receipt").map(Which::Receipt);
    let of = receipt.or_else(|| digest_of(frame, "ticket").map(Which::Ticket)).ok_or_else(bad)?;
    let status = frame.get("status").and_then(Json::as_str).and_then(Status::parse);
    let report = Report {
        of,
        status: status.ok_or_else(bad)?,
        result: text_of(frame, "result"),
        labels: labels(frame).ok_or_else(bad)?,
        duration_us: number_of(frame, "us").unwrap_or(0),
    };
    let found = monitor.report(member, &report);
    let found = found.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(object([
        ("n", number(number_of(frame, "n").unwrap_or(0))),
        ("receipt", found.map_or(Json::Null, |of| Json::String(of.to_hex()))),
        ("t", Json::string("reported")),
    ]))
}

fn refused(n: u64, refusal: &Refusal) -> Json {
    object([
        ("n", number(n)),
        ("ok", Json::from(false)),
        ("receipt", refusal.receipt.map_or(Json::Null, |hash| Json::String(hash.to_hex()))),
        ("rule", text(refusal.rule.as_deref())),
        ("t", Json::string("verdict")),
        ("text", Json::string(&refusal.text)),
        ("verdict", refusal.verdict.map_or(Json::Null, |v| Json::string(v.as_str()))),
    ])
}

fn settlement(frame: &Json) -> Option<Settlement> {
    let result_digest = match frame.get("digest")? {
        Json::Null => None,
        _ => Some(digest_of(frame, "digest")?),
    };
    Some(Settlement {
        of: digest_of(frame, "receipt")?,
        outcome: Outcome {
            bytes: number_of(frame, "bytes")?,
            duration_us: number_of(frame, "us")?,
            labels: crate::monitor::named(labels(frame)?),
            result_digest,
            status: Status::parse(frame.get("status")?.as_str()?)?,
        },
    })
}

/// What a door found in a result; a word that is no label makes the frame one of another protocol.
fn labels(frame: &Json) -> Option<Labels> {
    let Some(found) = frame.get("labels") else { return Some(Labels::NONE) };
    let names: Option<Vec<&str>> = found.as_array()?.iter().map(Json::as_str).collect();
    Labels::parse(names?)
}

fn review(monitor: &Monitor, member: &Member, frame: &Json) -> Json {
    let n = number_of(frame, "n").unwrap_or(0);
    let tools = frame.get("tools").and_then(Json::as_array).unwrap_or_default();
    let tools: Option<Vec<ListedTool>> = tools
        .iter()
        .map(|tool| {
            Some(ListedTool {
                name: text_of(tool, "name")?,
                definition: text_of(tool, "definition")?,
            })
        })
        .collect();
    let answer = tools
        .ok_or_else(|| Refusal::unrecorded("the list of tools is malformed"))
        .and_then(|tools| monitor.tools_listed(member, &tools));
    match answer {
        Ok(review) => {
            let withheld = review.withheld.iter().map(|tool| {
                object([
                    ("name", Json::string(&tool.name)),
                    ("pinned", text(tool.pinned.as_deref())),
                ])
            });
            let withheld = Json::Array(withheld.collect());
            object([("n", number(n)), ("t", Json::string("review")), ("withheld", withheld)])
        }
        Err(refusal) => refused(n, &refusal),
    }
}

/// Ends the process group of a server whose door was killed, whether or not its leader is still there.
/// The start time tells the leader from another process that got its number since; a number that is a
/// group's is given to no one.
fn reap(pid: u32, started: u64) {
    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
    let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let lives = || match Peer::started(pid) {
        Some(now) => now == started,
        None => test_kill_process_group(group).is_ok(),
    };
    for signal in [Signal::TERM, Signal::KILL] {
        for _ in 0..2000 / 50 {
            if !lives() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        if lives() {
            let _ = kill_process_group(group, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_process_speaks_for_network_clients() {
        let hello = object([("instance", Json::string("token 1")), ("service", Json::string("x"))]);
        let own = peer(std::process::id(), 1000, &hello).unwrap();
        assert_eq!((own.instance.as_str(), own.client, own.cwd), ("network:token 1", None, None));
        // This process's parent is of the same user, and speaks for nobody.
        let parent = std::os::unix::process::parent_id();
        assert!(peer(parent, 1000, &hello).is_err());
        assert!(peer(parent, 1000, &object([])).is_ok());
    }
}
