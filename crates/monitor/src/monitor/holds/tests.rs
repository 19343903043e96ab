//! What a person's yes is good for, and every way to get one that isn't.

use std::fs;
use std::sync::mpsc::{Receiver, channel};

use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Receipt, Signed};
use tipstaff_core::{Action, Millis, Verdict};
use tipstaff_identity::{HomeKeys, Peer, Process};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LogReader, SealingKey};
use tipstaff_store::{Disk, NativeDisk};

use super::*;
use crate::home::Home;
use crate::monitor::Switch;
use crate::pins::ListedTool;
use crate::replay::replay;

mod edges;
mod standing;

/// No process has this number.
const STRANGER: u32 = 4_194_305;

struct World {
    _folder: tempfile::TempDir,
    home: Home,
}

struct Desk {
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
        Self { _folder: folder, home }
    }

    fn open(&self) -> Desk {
        let monitor = Monitor::open(&self.home).unwrap();
        let member = join(&monitor, Door::McpStdio);
        let key = HomeKeys::approver(self.home.root()).unwrap();
        Desk { monitor, member, key }
    }

    fn reader(&self) -> (LogReader, SealingKey) {
        let keys = HomeKeys::open(self.home.root()).unwrap();
        let verifier = NoteVerifier::new(keys.origin(), keys.public().log).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(self.home.root()));
        (LogReader::open(disk, &verifier).unwrap(), SealingKey::new(keys.home_key()).unwrap())
    }

    fn receipts(&self) -> Vec<Receipt> {
        let receipts = self.reader().0.receipts().unwrap();
        receipts.into_iter().map(|(_, signed): (u64, Signed)| signed.receipt().clone()).collect()
    }

    /// How each attempt to answer ended: `None` for those that counted.
    fn attempts(&self) -> Vec<Option<String>> {
        let receipts = self.receipts();
        let attempts = receipts.iter().filter(|receipt| receipt.kind == Kind::Approval);
        let rejected = attempts.map(|receipt| {
            let rejected = receipt.approval.as_ref().unwrap().get("rejected")?;
            Some(rejected.as_str().unwrap().to_owned())
        });
        rejected.collect()
    }

    /// Every verdict is derived again, and nothing differs.
    fn replays(&self) {
        let (reader, sealing) = self.reader();
        let report = replay(&self.home, &reader, &sealing, &mut |_| {}).unwrap();
        assert_eq!((report.differ, report.expired), (0, 0), "{report:?}");
        assert!(report.rederived > 0);
    }
}

fn join(monitor: &Arc<Monitor>, door: Door) -> Arc<Member> {
    let peer = Peer { client: None, ..Peer::of_process(std::process::id(), 1000) };
    let member = monitor.join(&peer, None, "filesystem", door).unwrap();
    let definition = "{\"name\":\"write_file\",\"inputSchema\":{\"type\":\"object\"}}".to_owned();
    let tools = [ListedTool { name: "write_file".to_owned(), definition }];
    monitor.tools_listed(&member, &tools).unwrap();
    member
}

fn write(path: &str) -> Action {
    let arguments = Json::object(vec![("path".to_owned(), Json::string(path))]).unwrap();
    Action::new("filesystem", "write_file", "tools/call", arguments, None).unwrap()
}

impl Desk {
    fn ask(&self, action: Action) -> Answer {
        self.monitor.admit_batch(&self.member, vec![Asked::of(action)]).remove(0)
    }

    fn hold(&self, path: &str) -> Digest {
        match self.ask(write(path)) {
            Answer::Held(held) => held.receipt,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, hold: Digest, number: u64) -> Receiver<Answer> {
        let (sender, receiver) = channel();
        let then = Box::new(move |answer| drop(sender.send(answer)));
        let member = Arc::clone(&self.member);
        self.monitor.wait_for(hold, Waiter { member, number, ticket: None, then });
        receiver
    }

    fn statement(&self, of: Digest, reply: Reply) -> Statement {
        let waiting = self.monitor.waiting();
        let hold =
            waiting.iter().find(|hold| hold.get("of").unwrap().as_str() == Some(&of.to_hex()));
        let members = hold.expect("it waits").as_object().unwrap();
        let answer = Json::string(reply.as_str());
        let json = Json::Object(members.with("answer", answer).with("action", inputs(members)));
        Statement::from_json(&json).unwrap()
    }

    fn say(&self, statement: Statement, key: &SigningKey, pid: u32) -> Result<Digest, Rejection> {
        let signature = statement.sign(key);
        let key_id = key.verifying_key().key_id();
        self.monitor.answer(&Said { statement, key_id, signature, salt: None, pid, uid: 1000 })
    }

    fn approve(&self, of: Digest) -> Result<Digest, Rejection> {
        self.say(self.statement(of, Reply::Approve), &self.key, STRANGER)
    }
}

fn inputs(members: &tipstaff_core::json::Object) -> Json {
    members.get("inputs_digest").unwrap().clone()
}

fn granted(answer: &Answer) -> bool {
    matches!(answer, Answer::Granted(granted) if granted.verdict == Verdict::Allow)
}

#[test]
fn an_approved_call_runs_once_and_everything_about_it_can_be_derived_again() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    // Repeated while it waits: the same held call, and no second receipt.
    let size = desk.monitor.ledger().position().0;
    assert_eq!(desk.hold("/srv/a"), hold);
    assert_eq!(desk.monitor.ledger().position().0, size);
    let other = desk.hold("/srv/b");
    assert_ne!(other, hold);

    let (first, second) = (desk.wait(hold, 1), desk.wait(hold, 2));
    let approval = desk.approve(hold).unwrap();
    assert!(granted(&second.recv().unwrap()));
    assert!(matches!(first.recv().unwrap(), Answer::Refused(_)), "one approval runs one call");
    // After it ran it is a new call, and a person is asked again.
    assert_ne!(desk.hold("/srv/a"), hold);
    assert!(desk.wait(other, 3).try_recv().is_err());

    let receipts = world.receipts();
    let ran = receipts.iter().find(|receipt| receipt.continues == Some(hold)).unwrap();
    let rests_on = ran.approval.as_ref().unwrap().get("receipt").unwrap();
    assert_eq!(rests_on.as_str(), Some(approval.to_hex().as_str()));
    assert_eq!(ran.decision.as_ref().unwrap().reason, "approved");
    drop(desk);
    world.replays();
}

#[test]
fn an_answer_that_is_not_for_this_call_is_refused_with_a_receipt() {
    let world = World::new("");
    let desk = world.open();
    let (hold, other) = (desk.hold("/srv/a"), desk.hold("/srv/b"));
    let waiting = desk.wait(hold, 1);
    let good = desk.statement(hold, Reply::Approve);
    let said = |statement: Statement| {
        let rejection = desk.say(statement, &desk.key, STRANGER).unwrap_err();
        rejection.as_str().to_owned()
    };
    // For other arguments, another requester, a later end, a hold that isn't there.
    let b = desk.statement(other, Reply::Approve);
    assert_eq!(said(Statement { of: hold, ..b }), "another_call");
    assert_eq!(said(Statement { requester: "x".to_owned(), ..good.clone() }), "another_call");
    assert_eq!(said(Statement { expires: Millis(u64::MAX >> 12), ..good.clone() }), "another_call");
    assert_eq!(said(Statement { of: Digest::of(b"none"), ..good.clone() }), "unknown");
    // By a key that is no approver's, and by an approver for a yes that was a no.
    let stranger = SigningKey::from_seed(&[3; 32].into()).unwrap();
    assert_eq!(desk.say(good.clone(), &stranger, STRANGER).unwrap_err().as_str(), "not_signed");
    let refused = desk.statement(hold, Reply::Refuse);
    let turned = Said {
        signature: refused.sign(&desk.key),
        statement: good.clone(),
        key_id: desk.key.verifying_key().key_id(),
        salt: None,
        pid: STRANGER,
        uid: 1000,
    };
    assert_eq!(desk.monitor.answer(&turned).unwrap_err().as_str(), "not_signed");
    assert!(waiting.try_recv().is_err(), "nothing ran");

    // Replayed, and twice.
    desk.say(good.clone(), &desk.key, STRANGER).unwrap();
    assert!(granted(&waiting.recv().unwrap()));
    assert_eq!(said(good), "unknown");
    let named =
        |words: &[&str]| words.iter().map(|word| Some((*word).to_owned())).collect::<Vec<_>>();
    let mut expected = named(&["another_call", "another_call", "another_call", "unknown"]);
    expected.extend(named(&["not_signed", "not_signed"]));
    expected.push(None);
    expected.extend(named(&["unknown"]));
    assert_eq!(world.attempts(), expected);
    drop(desk);
    world.replays();
}

#[test]
fn the_requester_and_what_it_started_approve_nothing() {
    let world = World::new("");
    let monitor = Monitor::open(&world.home).unwrap();
    let key = HomeKeys::approver(world.home.root()).unwrap();
    let own = Process::of(std::process::id());
    let peer = Peer { client: own, ..Peer::of_process(std::process::id(), 1000) };
    let member = monitor.join(&peer, None, "filesystem", Door::Hook).unwrap();
    let desk = Desk { monitor, member, key };
    let hold = desk.hold("/srv/a");
    let own = desk.say(desk.statement(hold, Reply::Approve), &desk.key, std::process::id());
    assert!(matches!(own, Err(Rejection::SelfApproval)), "{own:?}");
    let mut child = sleeper();
    let by_child = desk.say(desk.statement(hold, Reply::Approve), &desk.key, child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(by_child, Err(Rejection::SelfApproval)), "{by_child:?}");
    desk.approve(hold).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a process of the requester's")]
fn sleeper() -> std::process::Child {
    std::process::Command::new("sleep").arg("60").spawn().unwrap()
}

#[test]
fn two_answers_at_once_are_one() {
    let world = World::new("");
    let desk = world.open();
    for round in 0..20 {
        let hold = desk.hold(&format!("/srv/{round}"));
        let waiting = desk.wait(hold, round);
        let counted = std::thread::scope(|scope| {
            let both = [Reply::Approve, Reply::Approve].map(|reply| {
                let statement = desk.statement(hold, reply);
                let desk = &desk;
                scope.spawn(move || desk.say(statement, &desk.key, STRANGER).is_ok())
            });
            both.map(|one| usize::from(one.join().unwrap())).iter().sum::<usize>()
        });
        assert_eq!(counted, 1);
        assert!(granted(&waiting.recv().unwrap()));
        assert!(waiting.recv().is_err(), "it is answered once");
    }
}

#[test]
fn what_nobody_answers_in_time_is_denied() {
    let world = World::new("approval_wait_s = 1\n");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let statement = desk.statement(hold, Reply::Approve);
    let waiting = desk.wait(hold, 1);
    std::thread::sleep(Duration::from_millis(1100));
    let late = desk.say(statement.clone(), &desk.key, STRANGER);
    assert!(matches!(late, Err(Rejection::Expired)), "{late:?}");
    desk.monitor.tick().unwrap();
    let Answer::Refused(refusal) = waiting.recv().unwrap() else { panic!("it ran") };
    assert_eq!(refusal.verdict, Some(Verdict::Deny));
    assert!(refusal.text.contains("nobody did in time"), "{}", refusal.text);
    assert!(matches!(desk.say(statement, &desk.key, STRANGER), Err(Rejection::Unknown)));

    // Approved in time and repeated too late.
    let hold = desk.hold("/srv/b");
    desk.approve(hold).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let Answer::Refused(refusal) = desk.ask(write("/srv/b")) else { panic!("it ran") };
    assert!(refusal.text.contains("nobody did in time"), "{}", refusal.text);
    drop(desk);
    world.replays();
}

#[test]
fn a_change_of_policy_ends_what_was_held_under_the_old_one() {
    let world = World::new("");
    let desk = world.open();
    let (hold, approved) = (desk.hold("/srv/a"), desk.hold("/srv/b"));
    let waiting = desk.wait(hold, 1);
    desk.approve(approved).unwrap();
    let rule =
        "@id(\"no-writes\") forbid (principal, action, resource) when { context.tier == 3 };\n";
    fs::write(world.home.policies().join("more.cedar"), rule).unwrap();
    let statement = desk.statement(hold, Reply::Approve);
    desk.monitor.try_policies();
    let late = desk.say(statement, &desk.key, STRANGER);
    assert!(matches!(late, Err(Rejection::PolicyChanged)), "{late:?}");
    desk.monitor.tick().unwrap();
    let Answer::Refused(refusal) = waiting.recv().unwrap() else { panic!("it ran") };
    assert!(refusal.text.contains("policies changed"), "{}", refusal.text);
    assert!(matches!(desk.ask(write("/srv/b")), Answer::Refused(_)), "nor what was approved");
    drop(desk);
    world.replays();
}

#[test]
fn what_is_held_is_still_held_after_a_restart() {
    let world = World::new("");
    let desk = world.open();
    let (held, approved, refused) = (desk.hold("/srv/a"), desk.hold("/srv/b"), desk.hold("/srv/c"));
    desk.approve(approved).unwrap();
    desk.say(desk.statement(refused, Reply::Refuse), &desk.key, STRANGER).unwrap();
    // Killed: nothing is ended in order.
    desk.monitor.ledger().flush().unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));

    let desk = world.open();
    let names: Vec<String> = desk.monitor.waiting().iter().map(of).collect();
    assert_eq!(names, [held.to_hex(), approved.to_hex()]);
    let waiting = desk.wait(desk.hold("/srv/a"), 1);
    assert!(granted(&desk.ask(write("/srv/b"))), "approved before, asked again after");
    assert!(matches!(desk.ask(write("/srv/b")), Answer::Held(_)), "and only once");
    desk.approve(held).unwrap();
    assert!(granted(&waiting.recv().unwrap()));
    drop(desk);
    world.replays();
}

fn of(hold: &Json) -> String {
    hold.get("of").unwrap().as_str().unwrap().to_owned()
}

#[test]
fn nothing_runs_behind_the_back_of_a_client_that_gave_up() {
    let world = World::new("session_grace_s = 0\n");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let waiting = desk.wait(hold, 5);
    desk.monitor.withdraw(&desk.member, 5);
    let size = desk.monitor.ledger().position().0;
    desk.approve(hold).unwrap();
    assert!(waiting.recv().is_err(), "nobody is told, since nobody waits");
    assert_eq!(desk.monitor.ledger().position().0, size + 1, "an approval and no verdict");
    assert!(granted(&desk.ask(write("/srv/a"))), "asked again, it runs");

    // A door that is gone: what it waited for ends with its session.
    let hold = desk.hold("/srv/b");
    let waiting = desk.wait(hold, 6);
    desk.monitor.leave(&desk.member).unwrap();
    desk.monitor.tick().unwrap();
    assert!(waiting.recv().is_err());
    assert!(matches!(desk.approve_gone(hold), Err(Rejection::Unknown)));
    let withdrawn = world.receipts().into_iter().filter(|r| r.continues == Some(hold)).count();
    assert_eq!(withdrawn, 1);
}

impl Desk {
    fn approve_gone(&self, of: Digest) -> Result<Digest, Rejection> {
        let statement = Statement {
            reply: Reply::Approve,
            action: of,
            expires: Millis(0),
            log: String::new(),
            of,
            policy_set: of,
            requester: String::new(),
            repeat: None,
        };
        self.say(statement, &self.key, STRANGER)
    }
}

#[test]
fn the_kill_switch_stops_everything_and_survives_a_restart() {
    let world = World::new("observe = true\n");
    let desk = world.open();
    let observed = desk.ask(write("/srv/a"));
    assert!(matches!(&observed, Answer::Granted(granted) if granted.verdict == Verdict::StepUp));
    desk.monitor.switch(Switch::Paused).unwrap();
    let Answer::Refused(refusal) = desk.ask(write("/srv/a")) else { panic!("it ran") };
    assert!(refusal.text.contains("paused everything"), "{}", refusal.text);
    drop(desk);
    let desk = world.open();
    assert!(matches!(desk.ask(write("/srv/a")), Answer::Refused(_)));
    desk.monitor.switch(Switch::Running).unwrap();
    assert!(matches!(desk.ask(write("/srv/a")), Answer::Granted(_)));
    drop(desk);
    world.replays();
    let words: Vec<&str> = ["inline", "observe"].into();
    for receipt in world.receipts().iter().filter(|receipt| receipt.kind == Kind::Verdict) {
        let paused = receipt.decision.as_ref().unwrap().reason == "paused";
        assert_eq!(receipt.enforcement.as_str(), words[usize::from(!paused)]);
    }
}

#[test]
fn the_queue_has_an_end() {
    let world = World::new("");
    let desk = world.open();
    for number in 0..64 {
        desk.hold(&format!("/srv/{number}"));
    }
    let Answer::Refused(refusal) = desk.ask(write("/srv/more")) else { panic!("it is held") };
    assert_eq!(refusal.verdict, Some(Verdict::StepUp));
}
