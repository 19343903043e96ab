//! A yes that covers later calls: what it covers, and every way to have it cover more.

use super::*;
use crate::permit::Settlement;
use crate::repeat::{Repeat, kind_digest};
use tipstaff_classify::ActionKind;
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{Outcome, Status};
use tipstaff_core::{Label, Labels, Tier};

const SALT: Salt = Salt([9; 16]);
const LONG: u64 = 60_000;

impl Desk {
    fn shown(&self, of: Digest) -> Json {
        let waiting = self.monitor.waiting();
        let hex = of.to_hex();
        let found = waiting.into_iter().find(|hold| hold.get("of").unwrap().as_str() == Some(&hex));
        found.expect("it waits")
    }

    /// What an approver would sign: this call, and `count` more of its kind.
    fn standing(&self, of: Digest, count: u64, ms: u64) -> Statement {
        let hold = self.shown(of);
        let offer = hold.get("offer").unwrap();
        let kind = ActionKind::from_json(offer.get("kind").unwrap()).expect("it has a kind");
        let labels = offer.get("labels").unwrap().as_array().unwrap().iter();
        let text = |name: &str| hold.get(name).unwrap().as_str().unwrap().to_owned();
        let repeat = Repeat {
            count,
            kind: kind_digest(&kind, SALT),
            labels: Labels::parse(labels.map(|label| label.as_str().unwrap())).unwrap(),
            rule: text("rule"),
            session: text("session"),
            tier: Tier::T3,
            until: Millis(self.monitor.now().0 + ms),
        };
        Statement { repeat: Some(repeat), ..self.statement(of, Reply::Approve) }
    }

    fn say_salted(&self, statement: Statement, pid: u32) -> Result<Digest, Rejection> {
        let signature = statement.sign(&self.key);
        let key_id = self.key.verifying_key().key_id();
        let salt = Some(SALT);
        self.monitor.answer(&Said { statement, key_id, signature, salt, pid, uid: 1000 })
    }

    /// Approves a call and `count` more, and runs the first.
    fn stand(&self, path: &str, count: u64, ms: u64) -> Digest {
        let hold = self.hold(path);
        let yes = self.say_salted(self.standing(hold, count, ms), STRANGER).unwrap();
        self.run(path);
        yes
    }

    /// Asks for a call that is permitted, and ends it well.
    fn run(&self, path: &str) {
        let Answer::Granted(granted) = self.ask(write(path)) else { panic!("{path} is not run") };
        self.ends(granted.receipt, None);
    }

    fn ends(&self, of: Digest, labels: Option<Vec<String>>) {
        let status = Status::Ok;
        let outcome = Outcome { bytes: 1, duration_us: 1, labels, result_digest: None, status };
        self.monitor.settle(&self.member, Settlement { of, outcome }).unwrap();
    }

    fn withdraw(&self, of: Digest) -> Result<Digest, Rejection> {
        let listed = self.monitor.repeats_shown();
        let known = listed.iter().find(|one| one.get("of").unwrap().as_str() == Some(&of.to_hex()));
        let known = known.expect("it stands");
        let statement = Statement::from_json(known.get("withdrawal").unwrap()).unwrap();
        self.say(statement, &self.key, STRANGER)
    }

    fn left(&self) -> Vec<(u64, u64)> {
        let listed = self.monitor.repeats_shown();
        let number = |json: &Json| u64::try_from(json.as_integer().unwrap()).unwrap();
        let left = listed.iter().map(|one| {
            (number(one.get("used").unwrap()), number(one.pointer("/repeat/count").unwrap()))
        });
        left.collect()
    }

    /// Why an earlier yes does not cover a call that is held now.
    fn again(&self, path: &str) -> String {
        let shown = self.shown(self.hold(path));
        let again = shown.pointer("/offer/again").unwrap();
        again.as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn it_covers_as_many_calls_of_its_kind_as_it_says_and_no_others() {
    let world = World::new("");
    let desk = world.open();
    let yes = desk.stand("/srv/x/a", 2, LONG);
    assert!(granted(&desk.ask(write("/srv/x/b"))));
    assert_eq!(desk.left(), [(1, 2)]);
    // Another folder, and one below.
    desk.hold("/srv/y/a");
    desk.hold("/srv/x/z/a");
    assert!(granted(&desk.ask(write("/srv/x/a"))));
    assert_eq!(desk.again("/srv/x/c"), "it is used up");
    assert!(desk.left().is_empty());

    let receipts = world.receipts();
    let rests = receipts
        .iter()
        .filter(|receipt| receipt.decision.as_ref().is_some_and(|d| d.reason == "approved_before"));
    let named: Vec<(&str, Option<i64>)> = rests
        .map(|receipt| {
            assert_eq!(receipt.decision.as_ref().unwrap().rule.as_deref(), Some("outside-roots"));
            let approval = receipt.approval.as_ref().unwrap();
            let of = approval.get("receipt").unwrap().as_str().unwrap();
            (of, approval.get("use").unwrap().as_integer())
        })
        .collect();
    let hex = yes.to_hex();
    assert_eq!(named, [(hex.as_str(), Some(1)), (hex.as_str(), Some(2))]);
    // The log is public: what the kind is can't be read there, nor guessed.
    let log: Vec<String> = receipts.iter().map(|r| format!("{:?}", r.approval)).collect();
    assert!(!log.concat().contains("/srv"), "{log:?}");
    drop(desk);
    world.replays();
}

#[test]
fn of_two_calls_at_once_with_one_left_one_runs() {
    let world = World::new("");
    let desk = world.open();
    for round in 0..20 {
        let yes = desk.stand("/srv/x/a", 1, LONG);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let both = ["b", "c"].map(|name| {
                let desk = &desk;
                scope.spawn(move || desk.ask(write(&format!("/srv/x/{round}{name}"))))
            });
            both.map(|one| one.join().unwrap()).into()
        });
        let ran = answers.iter().filter(|answer| granted(answer)).count();
        let held = answers.iter().filter(|answer| matches!(answer, Answer::Held(_))).count();
        assert_eq!((ran, held), (1, 1), "{yes:?}");
    }
    drop(desk);
    world.replays();
}

#[test]
fn a_restart_neither_forgets_it_nor_gives_a_use_back() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 2, LONG);
    let ended = desk.stand("/srv/y/a", 2, LONG);
    desk.withdraw(ended).unwrap();
    desk.run("/srv/x/b");
    desk.monitor.ledger().flush().unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));
    let desk = world.open();
    assert_eq!(desk.left(), [(1, 2)]);
    assert_eq!(desk.hold("/srv/y/b"), desk.hold("/srv/y/b"), "withdrawn before, and after");
    desk.run("/srv/x/c");
    desk.hold("/srv/x/d");
    drop(desk);
    world.replays();
}

/// Of what was under way nobody knows what it brought.
#[test]
fn what_a_crash_left_open_ends_it_too() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 2, LONG);
    assert!(granted(&desk.ask(write("/srv/x/b"))));
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));
    let desk = world.open();
    assert_eq!(desk.again("/srv/x/c"), "its session has met other data since");
    drop(desk);
    world.replays();
}

#[test]
fn what_its_session_meets_later_ends_it() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 5, LONG);
    let Answer::Granted(ran) = desk.ask(write("/srv/x/b")) else { panic!("it is covered") };
    // Somebody else wrote what came back.
    desk.ends(ran.receipt, Some(Labels::NONE.with(Label::Untrusted).names()));
    assert_eq!(desk.again("/srv/x/c"), "its session has met other data since");
    // A person who knows that may say yes again.
    desk.stand("/srv/x/d", 1, LONG);
    assert!(granted(&desk.ask(write("/srv/x/e"))));
    drop(desk);
    world.replays();
}

#[test]
fn it_ends_by_itself_by_other_rules_and_by_a_persons_word() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 5, 900);
    std::thread::sleep(Duration::from_millis(950));
    assert_eq!(desk.again("/srv/x/b"), "its time is over");

    let yes = desk.stand("/srv/y/a", 5, LONG);
    let stranger = SigningKey::from_seed(&[3; 32].into()).unwrap();
    let listed = desk.monitor.repeats_shown();
    let statement = Statement::from_json(listed[0].get("withdrawal").unwrap()).unwrap();
    let forged = desk.say(statement.clone(), &stranger, STRANGER);
    assert!(matches!(forged, Err(Rejection::NotSigned)), "{forged:?}");
    let other = Statement { requester: "x".to_owned(), ..statement };
    let other = desk.say(other, &desk.key, STRANGER);
    assert!(matches!(other, Err(Rejection::AnotherCall)), "{other:?}");
    assert!(granted(&desk.ask(write("/srv/y/b"))));
    desk.withdraw(yes).unwrap();
    assert_eq!(desk.again("/srv/y/c"), "");

    desk.stand("/srv/z/a", 5, LONG);
    let rule = "@id(\"no-t5\") forbid (principal, action, resource) when { context.tier == 5 };\n";
    fs::write(world.home.policies().join("more.cedar"), rule).unwrap();
    desk.monitor.try_policies();
    assert_eq!(desk.again("/srv/z/b"), "the policies changed since");
    drop(desk);
    world.replays();
}

#[test]
fn what_is_refused_or_paused_stays_so() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 5, LONG);
    for path in ["/srv/x/.env", "/srv/x/id_rsa"] {
        assert!(matches!(desk.ask(write(path)), Answer::Refused(_)), "{path}");
    }
    desk.monitor.switch(Switch::Paused).unwrap();
    assert!(matches!(desk.ask(write("/srv/x/b")), Answer::Refused(_)));
    desk.monitor.switch(Switch::Running).unwrap();
    assert_eq!(desk.left(), [(0, 5)], "nothing was used up");
    assert!(granted(&desk.ask(write("/srv/x/b"))));
    drop(desk);
    world.replays();
}

#[test]
fn another_session_has_no_part_in_it() {
    let world = World::new("");
    let desk = world.open();
    desk.stand("/srv/x/a", 5, LONG);
    let peer = Peer { client: None, ..Peer::of_process(std::process::id(), 1000) };
    let peer = Peer { instance: "another".to_owned(), ..peer };
    let member = desk.monitor.join(&peer, None, "filesystem", Door::McpStdio).unwrap();
    let definition = "{\"name\":\"write_file\",\"inputSchema\":{\"type\":\"object\"}}".to_owned();
    let tools = [ListedTool { name: "write_file".to_owned(), definition }];
    desk.monitor.tools_listed(&member, &tools).unwrap();
    let asked = vec![Asked::of(write("/srv/x/b"))];
    let answer = desk.monitor.admit_batch(&member, asked).remove(0);
    assert!(matches!(answer, Answer::Held(_)), "{answer:?}");
}

#[test]
fn only_what_was_offered_can_be_signed() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/x/a");
    let good = desk.standing(hold, 3, LONG);
    let own = good.repeat.clone().unwrap();
    let with = |repeat| Statement { repeat: Some(repeat), ..good.clone() };
    let now = desk.monitor.now();
    for bad in [
        Repeat { kind: Digest::of(b"other"), ..own.clone() },
        Repeat { labels: Label::ALL.into_iter().collect(), ..own.clone() },
        Repeat { rule: "high-tiers".to_owned(), ..own.clone() },
        Repeat { session: "s-2".to_owned(), ..own.clone() },
        Repeat { tier: Tier::T4, ..own.clone() },
        Repeat { count: 101, ..own.clone() },
        Repeat { count: 0, ..own.clone() },
        Repeat { until: Millis(now.0 + 9 * 3600 * 1000), ..own.clone() },
        Repeat { until: now, ..own },
    ] {
        let said = desk.say_salted(with(bad.clone()), STRANGER);
        assert!(matches!(said, Err(Rejection::NotRepeatable(_))), "{bad:?}: {said:?}");
    }
    // A salt of one's own makes another kind of it; a no covers nothing.
    let unsalted = desk.say(good.clone(), &desk.key, STRANGER);
    assert!(matches!(unsalted, Err(Rejection::NotRepeatable(_))), "{unsalted:?}");
    desk.say_salted(good, STRANGER).unwrap();
    assert_eq!(desk.left(), [(0, 3)]);
    let hold = desk.hold("/srv/y/a");
    let no = Statement { reply: Reply::Refuse, ..desk.standing(hold, 3, LONG) };
    assert!(desk.say_salted(no, STRANGER).is_err());
}

#[test]
fn the_requester_and_what_it_started_give_themselves_none() {
    let world = World::new("");
    let monitor = Monitor::open(&world.home).unwrap();
    let key = HomeKeys::approver(world.home.root()).unwrap();
    let own = Process::of(std::process::id());
    let peer = Peer { client: own, ..Peer::of_process(std::process::id(), 1000) };
    let member = monitor.join(&peer, None, "filesystem", Door::Hook).unwrap();
    let desk = Desk { monitor, member, key };
    let hold = desk.hold("/srv/x/a");
    let said = desk.say_salted(desk.standing(hold, 3, LONG), std::process::id());
    assert!(matches!(said, Err(Rejection::SelfApproval)), "{said:?}");
    assert!(desk.left().is_empty());
}

#[test]
fn a_call_of_no_kind_says_so() {
    let world = World::new("");
    let desk = world.open();
    // Whatever starts programs lies there.
    let home = std::env::var("HOME").unwrap();
    let hold = desk.shown(desk.hold(&format!("{home}/notes.txt")));
    assert_eq!(hold.pointer("/offer/kind"), Some(&Json::Null), "{hold:?}");
    let why = hold.pointer("/offer/none").unwrap().as_str().unwrap();
    assert!(why.contains("where it leads"), "{why}");
}
