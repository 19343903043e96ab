//! A crash at each step of a deferral: nothing runs twice, nothing early, nothing is lost without a receipt.

use super::*;

/// What a door that comes back does: it asks again, and waits.
fn asks_again(desk: &Desk, text: &str) -> Answer {
    desk.ask(call("write", text), &[])
}

#[test]
fn a_deferred_call_is_found_again_and_runs_once() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let dependent = desk.defer(call("read", "b"), &[of]);
    // No order was given to end.
    drop(desk);
    let desk = world.open();
    assert_eq!(desk.monitor.waiting().len(), 2);
    let size = desk.size();
    assert_eq!(desk.defer(call("write", "a"), &[]), of, "still the same");
    assert_eq!(desk.size(), size);
    let waits = desk.waits(of);
    desk.give("CHG-1");
    let ran = granted(&waits.try_recv().unwrap().1);
    assert!(world.followed(dependent).is_empty());
    desk.settle(ran);
    granted(&desk.ask(call("read", "b"), &[]));
    assert_eq!((world.followed(of).len(), world.followed(dependent).len()), (1, 1));
    drop(desk);
    world.replays();
}

#[test]
fn what_became_known_while_no_monitor_ran_is_seen_when_it_is_repeated() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    drop(desk);
    let rules = "permit (principal, action, resource == Tool::\"files/write\");";
    fs::write(world.home.policies().join("tipstaff.cedar"), rules).unwrap();
    let desk = world.open();
    assert!(world.followed(of).is_empty(), "nobody is there who could carry it out");
    granted(&asks_again(&desk, "a"));
    assert_eq!(world.followed(of).len(), 1);
    drop(desk);
    world.replays();
}

#[test]
fn a_verdict_that_the_door_did_not_hear_of_is_ambiguous_and_not_given_again() {
    let world = World::new("");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let dependent = desk.defer(call("read", "b"), &[of]);
    let waits = desk.waits(of);
    desk.give("CHG-1");
    let ran = granted(&waits.try_recv().unwrap().1);
    // The monitor ends before anything of the effect is recorded.
    drop((waits, desk));
    let desk = world.open();
    let outcome =
        world.receipts().into_iter().find(|(_, receipt)| receipt.of == Some(ran)).unwrap();
    assert_eq!(outcome.1.outcome.unwrap().status, Status::Ambiguous);
    assert_eq!(world.followed(of).len(), 1);
    let queue = desk.monitor.waiting();
    assert_eq!(queue.len(), 1, "{queue:?}");
    // The door asks again: a new call, judged by itself.
    let again = granted(&asks_again(&desk, "a"));
    assert_ne!(again, ran);
    assert_eq!(world.followed(of).len(), 1);
    granted(&desk.ask(call("read", "b"), &[]));
    assert_eq!(world.followed(dependent).len(), 1);
    drop(desk);
    world.replays();
}

#[test]
fn what_ended_stays_ended_and_takes_its_dependents_with_it() {
    let world = World::new("deferral_wait_s = 2");
    let desk = world.open();
    let of = desk.defer(call("write", "a"), &[]);
    let dependent = desk.defer(call("read", "b"), &[of]);
    let late = desk.defer(call("write", "late"), &[]);
    // A person's no is durable, and the monitor ends before the verdict that says so.
    let said = {
        let waiting = desk.monitor.waiting();
        let hold = waiting.first().unwrap().as_object().unwrap().clone();
        let action = hold.get("inputs_digest").unwrap().clone();
        let members = hold.with("answer", Json::string("refuse")).with("action", action);
        let statement = Statement::from_json(&Json::Object(members)).unwrap();
        let (signature, key_id) = (statement.sign(&desk.key), desk.key.verifying_key().key_id());
        Said { statement, key_id, signature, salt: None, pid: 4_194_305, uid: 1000 }
    };
    desk.monitor.record_no(&said);
    drop(desk);
    let desk = world.open();
    assert_eq!(world.followed(of), [(Verdict::Deny, "deferral_refused".to_owned())]);
    assert_eq!(world.followed(dependent), [(Verdict::Deny, "dependency_denied".to_owned())]);
    drop(desk);
    std::thread::sleep(Duration::from_millis(2100));
    let desk = world.open();
    desk.monitor.tick().unwrap();
    assert_eq!(world.followed(late), [(Verdict::Deny, "deferral_expired".to_owned())]);
    assert!(desk.monitor.waiting().is_empty());
    drop(desk);
    world.replays();
}
