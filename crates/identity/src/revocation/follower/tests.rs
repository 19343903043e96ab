use super::*;
use crate::revocation::{ASK_EVERY_MS, BOUND_MS, DRIFT_PPM, STEP_MS};

fn id(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn life(n: u64) -> Life {
    Life(id(n))
}

fn line(n: u64) -> Lineage {
    Lineage::new(vec![id(n)]).unwrap()
}

/// The store of a test.
#[derive(Default)]
struct Store {
    log: Vec<Entry>,
    known: Known,
}

impl Store {
    fn order(&mut self, entry: Entry) {
        self.known.apply(&entry).unwrap();
        self.log.push(entry);
    }

    fn grant(&mut self, n: u64) {
        self.order(Entry::Grant { id: id(n), parent: None });
    }

    fn revoke(&mut self, n: u64) {
        self.order(Entry::Revoke { id: id(n) });
    }

    fn answer(&self, ask: &Ask) -> Answer {
        let have = usize::try_from(ask.have.revision).unwrap();
        Answer::to(ask, &self.log[have..], self.known.head())
    }
}

fn started() -> (Store, Follower) {
    let mut store = Store::default();
    store.grant(1);
    let mut node = Follower::start(Known::default(), life(1));
    exchange(&store, &mut node, Reading(1_000)).unwrap();
    (store, node)
}

fn exchange(store: &Store, node: &mut Follower, at: Reading) -> Result<Freshness, AnswerFault> {
    let ask = node.ask(at);
    node.take(&store.answer(&ask))
}

fn writes(node: &Follower, now: u64) -> Result<Leave, Refused> {
    node.judge(&line(1), Tier::T3, Reading(now))
}

#[test]
fn a_node_that_is_cut_off_refuses_t3_and_goes_on_below() {
    let (_, node) = started();
    for (now, fine) in [
        (1_000, true),
        (1_000 + LEASE_MS - 1, true),
        (1_000 + LEASE_MS, false),
        (u64::MAX, false),
        // A clock that went back says nothing.
        (999, false),
    ] {
        for tier in Tier::ALL {
            let judged = node.judge(&line(1), tier, Reading(now));
            assert_eq!(judged.is_ok(), fine || tier < Tier::T3, "{tier} at {now}");
            if let Err(why) = judged {
                assert_eq!(why, Refused::Stale);
            }
        }
    }
}

#[test]
fn a_node_that_starts_knows_nothing_of_the_present() {
    let (store, before) = started();
    let mut node = Follower::start(before.known().clone(), life(2));
    assert_eq!(node.freshness(), Freshness::Unconfirmed);
    assert_eq!(writes(&node, 1_000), Err(Refused::Stale));
    assert!(node.judge(&line(1), Tier::T2, Reading(1_000)).is_ok());
    // An answer to the life before, though its round is open here too.
    let ask = node.ask(Reading(5_000));
    let late = Answer { life: life(1), ..store.answer(&ask) };
    assert_eq!(node.take(&late), Err(AnswerFault::NotAsked));
    assert_eq!(writes(&node, 5_000), Err(Refused::Stale));
    node.take(&store.answer(&ask)).unwrap();
    assert!(writes(&node, 5_000).is_ok());
}

#[test]
fn confirmation_counts_from_the_request_and_once() {
    let (mut store, mut node) = started();
    let ask = node.ask(Reading(2_000));
    let answer = store.answer(&ask);
    store.revoke(1);
    // It arrives late, when it is worth almost nothing, and again.
    node.take(&answer).unwrap();
    let last = 2_000 + LEASE_MS - 1;
    assert!(writes(&node, last).is_ok());
    assert_eq!(node.take(&answer), Err(AnswerFault::NotAsked));
    assert_eq!(writes(&node, last + 1), Err(Refused::Stale));
    exchange(&store, &mut node, Reading(3_000)).unwrap();
    let ended = Refused::NotInForce(NotInForce::Revoked { id: id(1) });
    assert_eq!(writes(&node, 3_000), Err(ended));
    assert_eq!(node.judge(&line(1), Tier::T1, Reading(3_000)), Err(ended));
}

#[test]
fn an_answer_that_was_overtaken_confirms_nothing() {
    let (mut store, mut node) = started();
    let (first, second) = (node.ask(Reading(2_000)), node.ask(Reading(3_000)));
    let early = store.answer(&second);
    store.grant(2);
    let late = store.answer(&first);
    // The store answered the second first, and the network turned them round.
    node.take(&late).unwrap();
    assert!(writes(&node, 2_000 + LEASE_MS).is_err());
    assert_eq!(node.news(&early), Ok(&[][..]));
    node.take(&early).unwrap();
    assert_eq!(node.known().digest(), store.known.digest());
    assert!(writes(&node, 2_000 + LEASE_MS).is_ok());
    let (third, fourth) = (node.ask(Reading(4_000)), node.ask(Reading(5_000)));
    node.take(&store.answer(&fourth)).unwrap();
    assert_eq!(node.take(&store.answer(&third)), Err(AnswerFault::NotAsked));
}

#[test]
fn a_node_that_knows_that_it_is_behind_stops() {
    let (mut store, mut node) = started();
    for n in 2..2 + 2 * ANSWER_ENTRIES_MAX as u64 {
        store.grant(n);
    }
    store.revoke(1);
    let all = store.known.head().revision;
    let behind = exchange(&store, &mut node, Reading(1_100)).unwrap();
    assert_eq!(behind, Freshness::Behind { revision: all });
    // It was confirmed a moment ago, and is no more.
    assert_eq!(writes(&node, 1_100), Err(Refused::Stale));
    assert!(node.judge(&line(1), Tier::T2, Reading(1_100)).is_ok());
    assert!(matches!(exchange(&store, &mut node, Reading(1_200)), Ok(Freshness::Behind { .. })));
    assert!(matches!(exchange(&store, &mut node, Reading(1_300)), Ok(Freshness::Confirmed(_))));
    assert!(writes(&node, 1_300).is_err());
    assert!(node.judge(&line(2), Tier::T5, Reading(1_300)).is_ok());
}

#[test]
fn what_was_permitted_starts_in_time_or_not() {
    let (_, node) = started();
    let leave = writes(&node, 1_000 + LEASE_MS - 1).unwrap();
    assert!(leave.may_start(Reading(1_000 + LEASE_MS - 1)));
    assert!(!leave.may_start(Reading(1_000 + LEASE_MS)));
    assert!(!leave.may_start(Reading(999)));
    assert_eq!(leave.revision(), 1);
    let read = node.judge(&line(1), Tier::T2, Reading(1_000)).unwrap();
    assert!(read.may_start(Reading(u64::MAX)));
}

#[test]
fn a_store_that_contradicts_itself_confirms_nothing() {
    let (mut store, node) = started();
    store.grant(2);
    for (fault, other) in [
        (AnswerFault::Lost, Store::default()),
        (AnswerFault::Changed, {
            let mut other = Store::default();
            other.grant(7);
            other.grant(8);
            other
        }),
        (AnswerFault::Changed, {
            // It forgot a revocation, and wrote something else in its place.
            let mut other = Store::default();
            other.revoke(1);
            other
        }),
    ] {
        let mut node = node.clone();
        let ask = node.ask(Reading(1_100));
        let have = usize::try_from(ask.have.revision).unwrap().min(other.log.len());
        let answer = Answer::to(&ask, &other.log[have..], other.known.head());
        assert_eq!(node.take(&answer), Err(fault));
        assert_eq!(node.freshness(), Freshness::Unconfirmed);
        assert_eq!(writes(&node, 1_100), Err(Refused::Stale));
    }
    let mut node = node;
    let ask = node.ask(Reading(1_100));
    let mut long = store.answer(&ask);
    long.entries = vec![Entry::Other { to: id(1) }; ANSWER_ENTRIES_MAX + 1];
    assert_eq!(node.news(&long), Err(AnswerFault::TooLong));
    assert_eq!(node.take(&long), Err(AnswerFault::TooLong));
}

#[test]
fn requests_that_nobody_answers_are_forgotten() {
    let (store, mut node) = started();
    let first = node.ask(Reading(1_100));
    for _ in 0..ASKED_MAX {
        let _ = node.ask(Reading(1_200));
    }
    assert_eq!(node.asked.len(), ASKED_MAX);
    assert_eq!(node.take(&store.answer(&first)), Err(AnswerFault::NotAsked));
}

#[test]
fn a_monitor_that_is_its_own_store_knows_what_there_is() {
    let mut known = Known::default();
    known.apply(&Entry::Grant { id: id(1), parent: None }).unwrap();
    let leave = Leave::of_own_store(&known, &line(1)).unwrap();
    assert!(leave.may_start(Reading(u64::MAX)));
    known.apply(&Entry::Revoke { id: id(1) }).unwrap();
    assert!(Leave::of_own_store(&known, &line(1)).is_err());
}

/// The arithmetic of the bound: the slowest clock that is within its limits, started just before the revocation.
#[test]
fn the_slowest_clock_ends_within_the_bound() {
    let shown = |real: u64| real - real * DRIFT_PPM / 1_000_000 - STEP_MS;
    let lease = Lease { since: Reading(7) };
    assert!(lease.holds(Reading(7 + shown(BOUND_MS) - 1)));
    assert!(!lease.holds(Reading(7 + shown(BOUND_MS))));
    assert_eq!(LEASE_MS, 9_400);
    const { assert!(4 * ASK_EVERY_MS < LEASE_MS && LEASE_MS < 5 * ASK_EVERY_MS) };
}
