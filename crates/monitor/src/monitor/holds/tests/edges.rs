//! What goes wrong at the edges: other agents, other doors, a crash between two receipts, a rule that
//! changed a moment ago.

use super::*;
use crate::monitor::{Asker, Report, Which};
use tipstaff_core::Labels;
use tipstaff_core::receipt::Status;

fn other(monitor: &Arc<Monitor>, instance: &str, door: Door) -> Arc<Member> {
    let peer = Peer { client: None, ..Peer::of_process(std::process::id(), 1000) };
    let peer = Peer { instance: instance.to_owned(), ..peer };
    let member = monitor.join(&peer, None, "filesystem", door).unwrap();
    let definition = "{\"name\":\"write_file\",\"inputSchema\":{\"type\":\"object\"}}".to_owned();
    let tools = [ListedTool { name: "write_file".to_owned(), definition }];
    monitor.tools_listed(&member, &tools).unwrap();
    member
}

fn ask(desk: &Desk, member: &Arc<Member>, action: Action) -> Answer {
    desk.monitor.admit_batch(member, vec![Asked::of(action)]).remove(0)
}

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Refused(refusal) => &refusal.text,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn each_member_of_an_answer_is_compared_with_what_waits() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let good = desk.statement(hold, Reply::Approve);
    let other = Digest::of(b"another");
    let others = [
        Statement { action: other, ..good.clone() },
        Statement { policy_set: other, ..good.clone() },
        Statement { log: "another".to_owned(), ..good.clone() },
        Statement { requester: "another".to_owned(), ..good.clone() },
        Statement { expires: Millis(good.expires.0 + 1), ..good.clone() },
    ];
    for other in others {
        let rejection = desk.say(other.clone(), &desk.key, STRANGER).unwrap_err();
        assert!(matches!(rejection, Rejection::AnotherCall), "{other:?}: {rejection}");
    }
    // The log is public: it has no text of whoever tried.
    for receipt in world.receipts().iter().filter(|receipt| receipt.kind == Kind::Approval) {
        let said = receipt.approval.as_ref().unwrap();
        assert!(said.get("requester").is_none() && said.get("log").is_none(), "{said:?}");
    }
    desk.say(good, &desk.key, STRANGER).unwrap();
}

#[test]
fn of_a_yes_and_a_no_at_once_one_is_in_the_log() {
    let world = World::new("");
    let desk = world.open();
    for round in 0..20 {
        let hold = desk.hold(&format!("/srv/{round}"));
        std::thread::scope(|scope| {
            for reply in [Reply::Approve, Reply::Refuse] {
                let (statement, desk) = (desk.statement(hold, reply), &desk);
                scope.spawn(move || desk.say(statement, &desk.key, STRANGER).is_ok());
            }
        });
    }
    assert_eq!(world.attempts().iter().filter(|attempt| attempt.is_none()).count(), 20);
}

#[test]
fn an_approval_of_other_rules_is_worth_nothing_from_the_moment_they_change() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    desk.approve(hold).unwrap();
    let rule = "@id(\"no-t5\") forbid (principal, action, resource) when { context.tier == 5 };\n";
    fs::write(world.home.policies().join("more.cedar"), rule).unwrap();
    desk.monitor.try_policies();
    let answer = desk.ask(write("/srv/a"));
    assert!(reason(&answer).contains("policies changed"), "{answer:?}");
}

#[test]
fn an_approved_call_that_is_forbidden_by_now_does_not_run() {
    let world = World::new("");
    let desk = world.open();
    let path = world.home.root().parent().unwrap().join("note");
    let path = path.to_str().unwrap();
    desk.approve(desk.hold(path)).unwrap();
    // Meanwhile the path has become a way into the home.
    std::os::unix::fs::symlink(world.home.root().join("config.toml"), path).unwrap();
    assert!(
        matches!(desk.ask(write(path)), Answer::Refused(r) if r.verdict == Some(Verdict::Deny))
    );
    drop(desk);
    world.replays();
}

#[test]
fn a_key_that_is_put_in_the_home_later_approves_nothing() {
    let world = World::new("");
    drop(world.open());
    fs::remove_file(world.home.root().join("keys/approver.key")).unwrap();
    let desk = world.open();
    let late = desk.approve(desk.hold("/srv/a"));
    assert!(matches!(late, Err(Rejection::NotSigned)), "{late:?}");
}

#[test]
fn the_same_call_of_another_agent_is_a_call_of_its_own() {
    let world = World::new("");
    let desk = world.open();
    let second = other(&desk.monitor, "another", Door::McpStdio);
    let hold = desk.hold("/srv/a");
    let Answer::Held(theirs) = ask(&desk, &second, write("/srv/a")) else { panic!("not held") };
    assert_ne!(theirs.receipt, hold);
    desk.approve(hold).unwrap();
    assert!(matches!(ask(&desk, &second, write("/srv/a")), Answer::Held(_)));
    assert!(granted(&desk.ask(write("/srv/a"))));
}

#[test]
fn what_is_approved_before_its_door_waits_runs_for_it_once() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    desk.approve(hold).unwrap();
    assert!(granted(&desk.wait(hold, 1).recv().unwrap()));
    assert!(matches!(desk.wait(hold, 2).recv().unwrap(), Answer::Refused(_)));
}

#[test]
fn a_door_withdraws_its_own_requests_and_no_others() {
    let world = World::new("");
    let desk = world.open();
    let second = other(&desk.monitor, "another", Door::McpStdio);
    let hold = desk.hold("/srv/a");
    let waiting = desk.wait(hold, 1);
    desk.monitor.withdraw(&second, 1);
    desk.approve(hold).unwrap();
    assert!(granted(&waiting.recv().unwrap()));
}

#[test]
fn what_ran_before_a_crash_does_not_run_after_it() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let waiting = desk.wait(hold, 1);
    desk.approve(hold).unwrap();
    assert!(granted(&waiting.recv().unwrap()));
    desk.monitor.ledger().flush().unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((waiting, member, monitor));
    let desk = world.open();
    assert!(desk.monitor.waiting().is_empty());
    assert_ne!(desk.hold("/srv/a"), hold, "a person is asked again");
}

#[test]
fn a_refusal_before_a_crash_stays_one_though_its_verdict_was_not_written() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let statement = desk.statement(hold, Reply::Refuse);
    let (signature, key_id) = (statement.sign(&desk.key), desk.key.verifying_key().key_id());
    let said = Said { statement, key_id, signature, pid: STRANGER, uid: 1000 };
    let approvers = desk.monitor.approvers.read().unwrap().clone();
    let now = desk.monitor.now();
    desk.monitor.accept(&said, &approvers, now).unwrap();
    desk.monitor.record_answer(&said, now).unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));
    let desk = world.open();
    assert!(desk.monitor.waiting().is_empty());
    let receipts = world.receipts();
    let ended = receipts.iter().find(|receipt| receipt.continues == Some(hold)).unwrap();
    assert_eq!(ended.decision.as_ref().unwrap().reason, "approval_refused");
    drop(desk);
    world.replays();
}

#[test]
fn many_agents_do_not_fill_the_queue_without_end() {
    let world = World::new("");
    let desk = world.open();
    for agent in 0..16 {
        let member = other(&desk.monitor, &format!("agent {agent}"), Door::McpStdio);
        let asked = (0..64).map(|number| Asked::of(write(&format!("/srv/{number}"))));
        let answers = desk.monitor.admit_batch(&member, asked.collect());
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Held(_))));
    }
    let Answer::Refused(refusal) = desk.ask(write("/srv/more")) else { panic!("it is held") };
    assert_eq!(refusal.verdict, Some(Verdict::StepUp));
}

#[test]
fn a_call_is_waited_for_by_so_many_and_no_more() {
    let world = World::new("");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    let all: Vec<_> = (0..64).map(|number| desk.wait(hold, number)).collect();
    assert!(matches!(desk.wait(hold, 64).try_recv(), Ok(Answer::Refused(_))));
    drop(all);
}

#[test]
fn what_was_approved_does_not_run_while_everything_is_paused() {
    let world = World::new("");
    let desk = world.open();
    let (hold, repeated) = (desk.hold("/srv/a"), desk.hold("/srv/b"));
    let waiting = desk.wait(hold, 1);
    desk.approve(repeated).unwrap();
    desk.monitor.switch(Switch::Paused).unwrap();
    desk.approve(hold).unwrap();
    let answer = waiting.recv().unwrap();
    assert!(reason(&answer).contains("paused everything"), "{answer:?}");
    let answer = desk.ask(write("/srv/b"));
    assert!(reason(&answer).contains("paused everything"), "{answer:?}");
}

#[test]
fn a_pause_does_not_use_an_approval_up() {
    let world = World::new("");
    let desk = world.open();
    let (waited, repeated) = (desk.hold("/srv/a"), desk.hold("/srv/b"));
    let waiting = desk.wait(waited, 1);
    desk.approve(repeated).unwrap();
    desk.monitor.switch(Switch::Paused).unwrap();
    desk.approve(waited).unwrap();
    assert!(reason(&waiting.recv().unwrap()).contains("paused everything"));
    for path in ["/srv/b", "/srv/b"] {
        assert!(reason(&desk.ask(write(path))).contains("paused everything"));
    }
    // A door that begins to wait just then hears the same.
    let late = desk.wait(repeated, 2).recv().unwrap();
    assert!(reason(&late).contains("paused everything"), "{late:?}");
    // Nor does a restart.
    desk.monitor.ledger().flush().unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));
    let desk = world.open();
    desk.monitor.switch(Switch::Running).unwrap();
    for path in ["/srv/a", "/srv/b"] {
        assert!(granted(&desk.ask(write(path))), "{path}: approved, and not run yet");
        assert!(matches!(desk.ask(write(path)), Answer::Held(_)), "{path}: once");
    }
    drop(desk);
    world.replays();

    // It ends when it would have ended.
    let world = World::new("approval_wait_s = 1\n");
    let desk = world.open();
    let hold = desk.hold("/srv/a");
    desk.approve(hold).unwrap();
    desk.monitor.switch(Switch::Paused).unwrap();
    assert!(reason(&desk.ask(write("/srv/a"))).contains("paused everything"));
    std::thread::sleep(Duration::from_millis(1100));
    desk.monitor.switch(Switch::Running).unwrap();
    assert!(reason(&desk.ask(write("/srv/a"))).contains("nobody did in time"));
    drop(desk);
    world.replays();
}

#[test]
fn what_is_only_observed_is_not_changed_and_others_are_not_observed() {
    let world = World::new("observe_servers = [\"filesystem\"]\n");
    let patches = world.home.policies().join("patches");
    fs::create_dir_all(&patches).unwrap();
    let patch = "[{\"op\":\"replace\",\"path\":\"/path\",\"value\":\"/srv/safe\"}]";
    fs::write(patches.join("move.json"), patch).unwrap();
    let rule = "@rank(\"1\") @modify(\"move\") permit (principal, action, resource);";
    fs::write(world.home.policies().join("move.cedar"), rule).unwrap();
    let desk = world.open();
    let Answer::Granted(granted) = desk.ask(write("/srv/a")) else { panic!("it is stopped") };
    assert_eq!((granted.verdict, granted.executed), (Verdict::Modify, None));
    let elsewhere = desk.monitor.join(
        &Peer { client: None, ..Peer::of_process(std::process::id(), 1000) },
        None,
        "elsewhere",
        Door::Hook,
    );
    let action = Action::new("elsewhere", "delete", "tools/call", Json::Null, None).unwrap();
    let answer = ask(&desk, &elsewhere.unwrap(), action);
    assert!(!matches!(answer, Answer::Granted(_)), "{answer:?}");
    drop(desk);
    world.replays();
}

#[test]
fn an_agent_in_a_loop_is_stopped_by_the_monitor_and_the_log_says_so() {
    let world = World::new("approval_wait_s = 0\n[limits]\nrepeats_per_minute = 2\n");
    let desk = world.open();
    for _ in 0..2 {
        assert!(!reason(&desk.ask(write("/srv/a"))).contains("stop repeating it"));
    }
    assert!(reason(&desk.ask(write("/srv/a"))).contains("stop repeating it"));
    assert!(!reason(&desk.ask(write("/srv/b"))).contains("stop repeating it"));
    fs::write(world.home.root().join("config.toml"), "[limits]\ncalls_per_minute = 1\n").unwrap();
    desk.monitor.tick().unwrap();
    let hold = desk.hold("/srv/c");
    assert!(reason(&desk.ask(write("/srv/d"))).contains("too often"));
    // An approved call was counted when it was asked.
    let waiting = desk.wait(hold, 1);
    desk.approve(hold).unwrap();
    assert!(granted(&waiting.recv().unwrap()));
    let reasons: Vec<String> =
        world.receipts().iter().filter_map(|r| Some(r.decision.as_ref()?.reason.clone())).collect();
    assert!(reasons.iter().any(|r| r == "repeated") && reasons.iter().any(|r| r == "rate"));
    drop(desk);
    world.replays();
}

#[test]
fn an_outcome_is_reported_once_and_by_the_session_that_was_permitted() {
    let world = World::new("observe = true\n");
    let desk = world.open();
    let [own, stranger] = ["own", "stranger"].map(|name| other(&desk.monitor, name, Door::Hook));
    let ticket = Digest::of(b"ticket");
    let asked = Asked { ticket: Some(ticket), ..Asked::of(write("/srv/a")) };
    let answer = desk.monitor.admit_batch(&own, vec![asked]).remove(0);
    let Answer::Granted(granted) = answer else { panic!("it is stopped") };
    let report = |member: &Arc<Member>, of: Which| {
        let result = Some("done".to_owned());
        let report =
            Report { of, status: Status::Ok, result, duration_us: 1, labels: Labels::NONE };
        desk.monitor.report(member, &report).unwrap()
    };
    let (receipt, ticket) = (Which::Receipt(granted.receipt), Which::Ticket(ticket));
    assert_eq!([report(&stranger, receipt), report(&stranger, ticket)], [None, None]);
    assert_eq!(report(&own, ticket), Some(granted.receipt));
    assert_eq!(report(&own, receipt), None, "once");
    // What a door settles by itself is not for a report.
    let Answer::Granted(inline) = desk.ask(write("/srv/b")) else { panic!("it is stopped") };
    assert_eq!(report(&desk.member, Which::Receipt(inline.receipt)), None);
}

#[test]
fn tools_that_no_call_is_allowed_of_are_hidden_and_refused_all_the_same() {
    let world = World::new("");
    let rule = "@id(\"no-writes\") forbid (principal, action, resource == Tool::\"filesystem/write_file\");";
    fs::write(world.home.policies().join("more.cedar"), rule).unwrap();
    let desk = world.open();
    let tools = ["write_file", "read_file"].map(|name| ListedTool {
        name: name.to_owned(),
        definition: format!("{{\"name\":\"{name}\",\"inputSchema\":{{\"type\":\"object\"}}}}"),
    });
    let hidden = |config: &str| {
        fs::write(world.home.root().join("config.toml"), config).unwrap();
        desk.monitor.tick().unwrap();
        desk.monitor.accept_tools("filesystem").ok();
        let review = desk.monitor.tools_listed(&desk.member, &tools).unwrap();
        review.withheld.into_iter().map(|tool| tool.name).collect::<Vec<_>>()
    };
    desk.monitor.tools_listed(&desk.member, &tools).unwrap();
    assert_eq!(hidden(""), ["write_file"]);
    assert!(matches!(desk.ask(write("/srv/a")), Answer::Refused(_)));
    assert!(hidden("hide_forbidden = false\n").is_empty());
    assert!(hidden("observe = true\n").is_empty(), "what is observed is shown");
}

#[test]
fn the_requester_approves_nothing_after_a_restart_either() {
    let world = World::new("");
    let own = Process::of(std::process::id());
    let peer = Peer { client: own, ..Peer::of_process(std::process::id(), 1000) };
    let ask_once = |monitor: &Arc<Monitor>| {
        let member = monitor.join(&peer, None, "filesystem", Door::Hook).unwrap();
        let key = HomeKeys::approver(world.home.root()).unwrap();
        Desk { monitor: Arc::clone(monitor), member, key }
    };
    let desk = ask_once(&Monitor::open(&world.home).unwrap());
    let hold = desk.hold("/srv/a");
    desk.monitor.ledger().flush().unwrap();
    let Desk { monitor, member, .. } = desk;
    drop((member, monitor));
    let desk = ask_once(&Monitor::open(&world.home).unwrap());
    assert_eq!(desk.hold("/srv/a"), hold);
    let own = desk.say(desk.statement(hold, Reply::Approve), &desk.key, std::process::id());
    assert!(matches!(own, Err(Rejection::SelfApproval)), "{own:?}");
}

#[test]
fn in_a_session_of_two_clients_neither_approves_its_own_call() {
    let world = World::new("");
    let monitor = Monitor::open(&world.home).unwrap();
    let key = HomeKeys::approver(world.home.root()).unwrap();
    let mut child = sleeper();
    let own = Process::of(std::process::id());
    let first = Peer { client: own, ..Peer::of_process(std::process::id(), 1000) };
    let second = Peer { client: Process::of(child.id()), ..first.clone() };
    let member = monitor.join(&first, Some("label"), "filesystem", Door::Hook).unwrap();
    let _second = monitor.join(&second, Some("label"), "filesystem", Door::Hook).unwrap();
    let desk = Desk { monitor, member, key };
    let hold = desk.hold("/srv/a");
    let own = desk.say(desk.statement(hold, Reply::Approve), &desk.key, std::process::id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(own, Err(Rejection::SelfApproval)), "{own:?}");
}

#[test]
fn whoever_is_judged_loosens_nothing() {
    let world = World::new("session_grace_s = 0\n");
    let monitor = Monitor::open(&world.home).unwrap();
    let mut children = [sleeper(), sleeper()];
    let asker = |pid| Asker { pid, uid: 1000 };
    let ids = children.each_ref().map(std::process::Child::id);
    let own = std::process::id();
    let agents =
        |monitor: &Monitor| [own, ids[0], ids[1]].map(|pid| monitor.is_an_agents(asker(pid)));
    let before = agents(&monitor);
    // Two clients in one session: each is known, and a process of neither is not.
    let peer = |pid| Peer { client: Process::of(pid), ..Peer::of_process(pid, 1000) };
    let members = ids.map(|pid| monitor.join(&peer(pid), Some("label"), "fs", Door::Hook).unwrap());
    let both = agents(&monitor);
    // A door that is gone, and its session closed: the client lives, and is one.
    for member in &members {
        monitor.leave(member).unwrap();
    }
    monitor.tick().unwrap();
    let gone = agents(&monitor);
    // What a client started is the client's.
    let member = monitor.join(&peer(own), None, "fs", Door::Hook).unwrap();
    let started = agents(&monitor);
    monitor.ledger().flush().unwrap();
    drop((member, members, monitor));
    // A restart knows no process, but who had a session.
    let monitor = Monitor::open(&world.home).unwrap();
    let after = agents(&monitor);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(before, [false; 3], "nobody has joined");
    assert_eq!(both, [false, true, true]);
    assert_eq!(gone, [false, true, true]);
    assert_eq!(started, [true; 3]);
    assert_eq!(after, [true; 3], "its session says whose it is");
}
