//! What waits for context runs when it is known, once, in order, for whoever asked; and every way around that.

use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tipstaff_core::action::Salt;
use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Door, Kind, Outcome, Receipt, Status};
use tipstaff_core::{Json, Verdict};
use tipstaff_identity::{HomeKeys, Peer};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LogReader, SealingKey};
use tipstaff_store::{Disk, NativeDisk};

use super::*;
use crate::approval::{Reply, Statement};
use crate::deferral::placeholder;
use crate::error::Rejection;
use crate::home::Home;
use crate::monitor::{Said, Switch};
use crate::permit::Settlement;
use crate::pins::ListedTool;
use crate::replay::replay;
use crate::told::{Tell, Told};

mod crashes;

/// Writing and sending wait for a ticket, another for a word of a person's; reading is free.
const POLICIES: &str = "
@id(\"ticket\") permit (principal, action, resource == Tool::\"files/write\")
    when { context.given_ticket == \"CHG-1\" };
@id(\"ask\") @step_up(\"look\") permit (principal, action, resource == Tool::\"files/send\")
    when { context.given_ticket == \"CHG-1\" };
@id(\"free\") permit (principal, action, resource == Tool::\"files/read\");
";
const TOOLS: [&str; 3] = ["write", "send", "read"];

pub(super) struct World {
    _folder: tempfile::TempDir,
    home: Home,
}

pub(super) struct Desk {
    monitor: Arc<Monitor>,
    member: Arc<Member>,
    key: SigningKey,
}

impl World {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        home.create().unwrap();
        fs::write(home.root().join("config.toml"), config).unwrap();
        fs::write(home.policies().join("tipstaff.cedar"), POLICIES).unwrap();
        Self { _folder: folder, home }
    }

    fn open(&self) -> Desk {
        let monitor = Monitor::open(&self.home).unwrap();
        let member = join(&monitor, Peer::of_process(std::process::id(), 1000));
        Desk { monitor, member, key: HomeKeys::approver(self.home.root()).unwrap() }
    }

    fn reader(&self) -> (LogReader, SealingKey) {
        let keys = HomeKeys::open(self.home.root()).unwrap();
        let verifier = NoteVerifier::new(keys.origin(), keys.public().log).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(self.home.root()));
        (LogReader::open(disk, &verifier).unwrap(), SealingKey::new(keys.home_key()).unwrap())
    }

    fn receipts(&self) -> Vec<(Digest, Receipt)> {
        let receipts = self.reader().0.receipts().unwrap();
        receipts.into_iter().map(|(_, signed)| (signed.hash(), signed.receipt().clone())).collect()
    }

    /// Verdict and reason of what followed a deferral.
    fn followed(&self, of: Digest) -> Vec<(Verdict, String)> {
        let receipts = self.receipts();
        let follows = receipts.iter().filter(|(_, receipt)| receipt.continues == Some(of));
        let said = follows.map(|(_, receipt)| {
            let deferral = receipt.deferral.as_ref().unwrap();
            assert_eq!(deferral.get("of").unwrap().as_str(), Some(of.to_hex().as_str()));
            assert_eq!(deferral.get("state").unwrap().as_str(), Some("resolved"));
            let decision = receipt.decision.as_ref().unwrap();
            (decision.verdict, decision.reason.clone())
        });
        said.collect()
    }

    fn replays(&self) {
        let (reader, sealing) = self.reader();
        let report = replay(&self.home, &reader, &sealing, &mut |_| {}).unwrap();
        assert_eq!((report.differ, report.expired), (0, 0), "{report:?}");
        assert!(report.rederived > 0);
    }
}

fn join(monitor: &Arc<Monitor>, peer: Peer) -> Arc<Member> {
    let peer = Peer { client: None, ..peer };
    let member = monitor.join(&peer, None, "files", Door::McpStdio).unwrap();
    let tools = TOOLS.map(|name| ListedTool {
        name: name.to_owned(),
        definition: format!("{{\"name\":\"{name}\",\"inputSchema\":{{\"type\":\"object\"}}}}"),
    });
    monitor.tools_listed(&member, &tools).unwrap();
    member
}

fn call(tool: &str, text: &str) -> Action {
    let arguments = Json::object(vec![("text".to_owned(), Json::string(text))]).unwrap();
    Action::new("files", tool, "tools/call", arguments, None).unwrap()
}

fn done(of: Digest) -> Settlement {
    let outcome =
        Outcome { bytes: 0, duration_us: 1, labels: None, result_digest: None, status: Status::Ok };
    Settlement { of, outcome }
}

impl Desk {
    fn ask(&self, action: Action, depends_on: &[Digest]) -> Answer {
        let depends_on = depends_on.to_vec();
        self.monitor
            .admit_batch(&self.member, vec![Asked { depends_on, ..Asked::of(action) }])
            .remove(0)
    }

    /// Asks, and sees that it is deferred.
    fn defer(&self, action: Action, depends_on: &[Digest]) -> Digest {
        match self.ask(action, depends_on) {
            Answer::Held(held) if held.verdict == Verdict::Defer => held.receipt,
            other => panic!("{other:?}"),
        }
    }

    /// The reason of a refusal.
    fn refused(&self, action: Action, depends_on: &[Digest]) -> String {
        match self.ask(action, depends_on) {
            Answer::Refused(refusal) => refusal.text,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, of: Digest, number: u64, into: &std::sync::mpsc::Sender<(u64, Answer)>) {
        let into = into.clone();
        let then = Box::new(move |answer| drop(into.send((number, answer))));
        let member = Arc::clone(&self.member);
        self.monitor.wait_for(of, Waiter { member, number, ticket: None, then });
    }

    fn waits(&self, of: Digest) -> Receiver<(u64, Answer)> {
        let (sender, receiver) = channel();
        self.wait(of, 1, &sender);
        receiver
    }

    fn give(&self, value: &str) {
        let log = self.monitor.ledger().identity().origin.clone();
        let tell = Tell::Give { name: "given_ticket".to_owned(), value: value.to_owned() };
        let told = Told { tell, session: self.member.chain(), log, salt: Salt([3; 16]) };
        self.monitor.tell(&told.sign(&self.key), Door::Cli).unwrap();
    }

    fn settle(&self, of: Digest) {
        self.monitor.settle(&self.member, done(of)).unwrap();
    }

    fn size(&self) -> u64 {
        self.monitor.ledger().position().0
    }

    fn say(&self, of: Digest, reply: Reply) -> Result<Digest, Rejection> {
        let waiting = self.monitor.waiting();
        let hold =
            waiting.iter().find(|hold| hold.get("of").unwrap().as_str() == Some(&of.to_hex()));
        let members = hold.unwrap().as_object().unwrap();
        let action = members.get("inputs_digest").unwrap().clone();
        let members = members.with("answer", Json::string(reply.as_str())).with("action", action);
        let statement = Statement::from_json(&Json::Object(members)).unwrap();
        let (signature, key_id) = (statement.sign(&self.key), self.key.verifying_key().key_id());
        self.monitor.answer(&Said {
            statement,
            key_id,
            signature,
            salt: None,
            pid: 4_194_305,
            uid: 1000,
        })
    }
}

fn granted(answer: &Answer) -> Digest {
    match answer {
        Answer::Granted(granted) => granted.receipt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_deferred_runs_for_whoever_waits_when_its_context_is_known() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let size = desk.size();
    // Repeated: the same call, and no second receipt. What doesn't depend on it goes on.
    assert_eq!(desk.defer(call("write", "a"), &[]), of);
    assert_eq!(desk.size(), size);
    granted(&desk.ask(call("read", "b"), &[]));
    let waits = desk.waits(of);
    let queue = desk.monitor.waiting();
    let shown = queue.first().unwrap();
    assert_eq!(shown.get("state").unwrap().as_str(), Some("deferred"));
    assert_eq!(shown.get("missing").unwrap().to_canonical(), "[\"given_ticket\"]");

    // A person's yes doesn't supply it.
    let yes = desk.say(of, Reply::Approve);
    assert!(matches!(yes, Err(Rejection::Deferred)), "{yes:?}");
    assert!(waits.try_recv().is_err());
    let size = desk.size();
    desk.monitor.review(&desk.member.session);
    assert_eq!(desk.size(), size, "still deferred: no receipt");

    desk.give("CHG-1");
    let ran = granted(&waits.recv().unwrap().1);
    assert!(waits.try_recv().is_err());
    desk.settle(ran);
    // It is over: the same call is a new one.
    granted(&desk.ask(call("write", "a"), &[]));
    drop(desk);
    let (_, receipt) = world.receipts().into_iter().find(|(hash, _)| *hash == of).unwrap();
    let deferral = receipt.deferral.unwrap();
    assert_eq!(deferral.get("state").unwrap().as_str(), Some("deferred"));
    assert_eq!(deferral.get("missing").unwrap().to_canonical(), "[\"given_ticket\"]");
    assert_eq!(deferral.get("after").unwrap().to_canonical(), "[]");
    assert_eq!(world.followed(of), [(Verdict::Allow, "permitted".to_owned())]);
    world.replays();
}

#[test]
fn what_becomes_ready_together_runs_in_the_order_asked() {
    let world = World::new("");
    let desk = world.open();
    let (sender, receiver) = channel();
    let mut asked = Vec::new();
    for number in 0..12 {
        let of = desk.defer(call("write", &number.to_string()), &[]);
        asked.push(of);
    }
    // Doors wait in another order.
    for (number, of) in asked.iter().enumerate().rev() {
        desk.wait(*of, number as u64, &sender);
    }
    desk.give("CHG-1");
    let order: Vec<u64> = receiver
        .try_iter()
        .map(|(number, answer)| {
            granted(&answer);
            number
        })
        .collect();
    assert_eq!(order, (0..12).collect::<Vec<u64>>());
    let receipts = world.receipts();
    let follows: Vec<Digest> = receipts.iter().filter_map(|(_, r)| r.continues).collect();
    assert_eq!(follows, asked, "in the log too");
    drop(desk);
    world.replays();
}

#[test]
fn what_depends_on_a_deferred_call_waits_until_that_one_is_over() {
    let world = World::new("");
    let desk = world.open();
    let first = desk.defer(call("write", "a"), &[]);
    // Reading is free, and yet these wait: one says so, one carries the stand-in of a result, one is both.
    let declared = desk.defer(call("read", "b"), &[first]);
    let stand_in = placeholder(first);
    let carried = desk.defer(call("read", &format!("see {stand_in}!")), &[]);
    let second = desk.defer(call("read", "c"), &[declared]);
    granted(&desk.ask(call("read", "independent"), &[]));
    let (sender, receiver) = channel();
    for (number, of) in [first, declared, carried, second].into_iter().enumerate() {
        desk.wait(of, number as u64, &sender);
    }
    desk.give("CHG-1");
    let told: Vec<(u64, Answer)> = receiver.try_iter().collect();
    assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0], "{told:?}");
    let ran = granted(&told.first().unwrap().1);
    // Permitted is not over.
    desk.monitor.review(&desk.member.session);
    assert!(receiver.try_recv().is_err());
    desk.settle(ran);
    let told: Vec<(u64, Answer)> = receiver.try_iter().collect();
    assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    let ran = granted(&told[0].1);
    assert!(matches!(&told[1].1, Answer::Refused(refusal) if refusal.text.contains("real result")));
    desk.settle(ran);
    let (number, answer) = receiver.try_recv().unwrap();
    assert_eq!(number, 3);
    granted(&answer);
    // Whatever came of it: a stand-in is never sent on.
    assert!(desk.refused(call("read", &stand_in), &[]).contains("stand-in"));
    assert!(
        desk.refused(call("read", "tipstaff:result:0123456789abcdef"), &[]).contains("stand-in")
    );
    let unknown = desk.refused(call("read", "x"), &[Digest::of(b"another")]);
    assert!(unknown.contains("no such call was deferred"), "{unknown}");
    drop(desk);
    assert_eq!(world.followed(carried), [(Verdict::Deny, "placeholder".to_owned())]);
    world.replays();
}

#[test]
fn what_depends_on_a_refused_call_is_refused_and_so_on() {
    let world = World::new("");
    let desk = world.open();
    let first = desk.defer(call("write", "a"), &[]);
    let second = desk.defer(call("read", "b"), &[first]);
    let third = desk.defer(call("read", &placeholder(second)), &[]);
    let (sender, receiver) = channel();
    for (number, of) in [third, second, first].into_iter().enumerate() {
        desk.wait(of, number as u64, &sender);
    }
    desk.give("CHG-2");
    let told: Vec<u64> = receiver
        .try_iter()
        .map(|(number, answer)| {
            assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
            number
        })
        .collect();
    assert_eq!(told, [2, 1, 0]);
    assert!(desk.refused(call("read", "d"), &[second]).contains("was refused"));
    drop(desk);
    let denied = [(Verdict::Deny, "dependency_denied".to_owned())];
    assert_eq!(world.followed(first), [(Verdict::Deny, "no_rule".to_owned())]);
    assert_eq!((world.followed(second), world.followed(third)), (denied.to_vec(), denied.to_vec()));
    world.replays();
}

#[test]
fn a_cascade_ends_in_a_refusal() {
    let world = World::new("deferrals_max = 3");
    let desk = world.open();
    let first = desk.defer(call("write", "a"), &[]);
    desk.defer(call("read", "b"), &[first]);
    desk.defer(call("write", "c"), &[]);
    assert!(desk.refused(call("write", "d"), &[]).contains("Too many calls"));
    assert!(desk.refused(call("read", "e"), &[first]).contains("Too many calls"));
    granted(&desk.ask(call("read", "free"), &[]));
    desk.say(first, Reply::Refuse).unwrap();
    desk.defer(call("write", "d"), &[]);
    drop(desk);
    let reason = |r: &Receipt| r.decision.as_ref().is_some_and(|d| d.reason == "deferral_cascade");
    assert_eq!(world.receipts().iter().filter(|(_, receipt)| reason(receipt)).count(), 2);
    assert_eq!(world.followed(first), [(Verdict::Deny, "deferral_refused".to_owned())]);
    world.replays();
}

#[test]
fn time_alone_never_permits() {
    let world = World::new("deferral_wait_s = 1");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let dependent = desk.defer(call("read", "b"), &[of]);
    let repeated = desk.defer(call("write", "again"), &[]);
    let (waits, also) = (desk.waits(of), desk.waits(dependent));
    std::thread::sleep(Duration::from_millis(1100));
    // What it waited for comes a moment too late, before anyone has looked at the clock.
    desk.give("CHG-1");
    assert!(waits.try_recv().is_err());
    assert!(desk.refused(call("write", "again"), &[]).contains("in time"));
    desk.monitor.tick().unwrap();
    for answer in [waits.recv().unwrap().1, also.recv().unwrap().1] {
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    assert!(desk.monitor.waiting().is_empty());
    drop(desk);
    let expired = [(Verdict::Deny, "deferral_expired".to_owned())];
    assert_eq!(
        (world.followed(of), world.followed(repeated)),
        (expired.to_vec(), expired.to_vec())
    );
    assert_eq!(world.followed(dependent).len(), 1);
    world.replays();
}

#[test]
fn without_anyone_waiting_it_runs_when_the_same_agent_repeats_it() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    desk.give("CHG-1");
    // Nobody is there to carry it out, so nothing is permitted.
    assert!(world.followed(of).is_empty());
    let stranger =
        Peer { instance: "stranger".to_owned(), ..Peer::of_process(std::process::id(), 1000) };
    let stranger = join(&desk.monitor, stranger);
    let theirs = desk.monitor.admit_batch(&stranger, vec![Asked::of(call("write", "a"))]).remove(0);
    assert!(matches!(&theirs, Answer::Held(held) if held.receipt != of), "{theirs:?}");
    assert!(world.followed(of).is_empty());
    granted(&desk.ask(call("write", "a"), &[]));
    assert_eq!(world.followed(of).len(), 1);
    // A door that comes back waits, and is answered at once.
    let other = desk.defer_again("b");
    granted(&desk.waits(other).try_recv().unwrap().1);
    // A refusal is recorded whether anyone waits or not.
    drop(desk);
    world.replays();
}

impl Desk {
    /// A call that was deferred and whose context is known by now, without anyone waiting.
    fn defer_again(&self, text: &str) -> Digest {
        self.give("CHG-1");
        let policies = self.monitor.home.policies().join("tipstaff.cedar");
        fs::write(&policies, POLICIES.replace("given_ticket", "given_other")).unwrap();
        self.monitor.try_policies();
        let of = self.defer(call("write", text), &[]);
        fs::write(&policies, POLICIES).unwrap();
        self.monitor.try_policies();
        of
    }
}

#[test]
fn a_change_of_the_policies_is_no_end_but_a_new_look() {
    let world = World::new("");
    let desk = world.open();
    let (one, two) = (desk.defer(call("write", "a"), &[]), desk.defer(call("send", "b"), &[]));
    let (waits, also) = (desk.waits(one), desk.waits(two));
    let rules = "permit (principal, action, resource == Tool::\"files/write\");";
    fs::write(world.home.policies().join("tipstaff.cedar"), rules).unwrap();
    desk.monitor.tick().unwrap();
    granted(&waits.try_recv().unwrap().1);
    assert!(matches!(also.try_recv().unwrap().1, Answer::Refused(_)));
    drop(desk);
    assert_eq!(world.followed(two), [(Verdict::Deny, "no_rule".to_owned())]);
    world.replays();
}

#[test]
fn what_a_person_has_to_approve_then_is_held_for_one() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("send", "a"), &[]);
    let dependent = desk.defer(call("read", "b"), &[of]);
    let waits = desk.waits(of);
    desk.give("CHG-1");
    let held = match waits.try_recv().unwrap().1 {
        Answer::Held(held) => held,
        other => panic!("{other:?}"),
    };
    assert_eq!(held.verdict, Verdict::StepUp);
    assert_ne!(held.receipt, of);
    assert!(waits.try_recv().is_err());
    desk.say(held.receipt, Reply::Approve).unwrap();
    let ran = granted(&waits.try_recv().unwrap().1);
    assert!(world.followed(dependent).is_empty(), "it is not over yet");
    desk.settle(ran);
    granted(&desk.ask(call("read", "b"), &[]));
    // And what depends on one that a person refuses is refused.
    let of = desk.defer_again_send();
    let dependent = desk.defer(call("read", "c"), &[of]);
    let held = match desk.ask(call("send", "z"), &[]) {
        Answer::Held(held) => held.receipt,
        other => panic!("{other:?}"),
    };
    desk.say(held, Reply::Refuse).unwrap();
    assert_eq!(world.followed(dependent), [(Verdict::Deny, "dependency_denied".to_owned())]);
    drop(desk);
    world.replays();
}

impl Desk {
    fn defer_again_send(&self) -> Digest {
        let policies = self.monitor.home.policies().join("tipstaff.cedar");
        fs::write(&policies, POLICIES.replace("given_ticket", "given_other")).unwrap();
        self.monitor.try_policies();
        let of = self.defer(call("send", "z"), &[]);
        fs::write(&policies, POLICIES).unwrap();
        // The door isn't there any more: nobody looks before it is asked for again.
        self.monitor.try_policies();
        of
    }
}

#[test]
fn whoever_is_gone_gets_nothing() {
    let world = World::new("session_grace_s = 0");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let waits = desk.waits(of);
    desk.monitor.leave(&desk.member).unwrap();
    desk.give("CHG-1");
    assert!(waits.try_recv().is_err());
    desk.monitor.tick().unwrap();
    assert_eq!(world.followed(of), [(Verdict::Deny, "deferral_withdrawn".to_owned())]);
    let last = world.receipts().into_iter().rfind(|(_, receipt)| receipt.kind == Kind::Session);
    assert_eq!(last.unwrap().1.action, "session:close");

    // A client whose process has ended, though its door is still there.
    let mut child = sleeper();
    let client = Process::of(child.id());
    let peer = Peer { client, ..Peer::of_process(std::process::id(), 1000) };
    let member = desk.monitor.join(&peer, None, "files", Door::Hook).unwrap();
    let desk = Desk { member, ..desk };
    let of = desk.defer(call("write", "b"), &[]);
    let waits = desk.waits(of);
    child.kill().unwrap();
    child.wait().unwrap();
    desk.give("CHG-1");
    assert!(waits.try_recv().is_err(), "its client's process is gone");
    assert!(world.followed(of).is_empty());
    drop(desk);
    world.replays();
}

#[expect(clippy::disallowed_methods, reason = "a client")]
fn sleeper() -> std::process::Child {
    std::process::Command::new("sleep").arg("60").spawn().unwrap()
}

#[test]
fn nothing_waits_where_nothing_may_or_where_everything_passes() {
    let world = World::new("deferral_wait_s = 0");
    let desk = world.open();
    assert!(desk.refused(call("write", "a"), &[]).contains("not known yet"));
    assert!(desk.monitor.waiting().is_empty());
    drop(desk);
    world.replays();
    let world = World::new("observe = true");
    let desk = world.open();
    granted(&desk.ask(call("write", "a"), &[]));
    assert!(desk.monitor.waiting().is_empty());
    drop(desk);
    world.replays();
}

#[test]
fn what_is_paused_waits_on() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let waits = desk.waits(of);
    desk.monitor.switch(Switch::Paused).unwrap();
    desk.give("CHG-1");
    assert!(waits.try_recv().is_err());
    desk.monitor.switch(Switch::Running).unwrap();
    granted(&waits.try_recv().unwrap().1);
    drop(desk);
    world.replays();
}
