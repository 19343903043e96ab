//! Orders on principals: whose count, in which place, and what a restart makes of them. The adversary forges an
//! order, brings an old one or one of another home, or changes what was kept of it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Millis};
use tipstaff_identity::{Change, ChangeFault, HomeKeys, Kind, Name, Order, SignedOrder};
use tipstaff_monitor::{Disobeyed, Home, Monitor};

struct World {
    _folder: tempfile::TempDir,
    home: Home,
    approver: SigningKey,
    log: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        home.create().unwrap();
        let approver = HomeKeys::approver(home.root()).unwrap();
        let log = HomeKeys::open(home.root()).unwrap().origin().to_owned();
        Self { _folder: folder, home, approver, log }
    }

    fn order(&self, change: Change, prev: Option<&SignedOrder>) -> Order {
        let prev = prev.map(|prev| Digest::of(prev.to_canonical().as_bytes()));
        Order { change, log: self.log.clone(), prev, at: now() }
    }
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Millis(u64::try_from(now.as_millis()).unwrap())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn person(name: &str, seed: u8) -> Change {
    Change::Enrol {
        name: Name::parse(name).unwrap(),
        kind: Kind::Human,
        owner: None,
        key: key(seed).verifying_key().clone(),
        roles: Vec::new(),
    }
}

#[test]
fn an_order_is_an_approvers_for_this_log_and_of_now() {
    let world = World::new();
    let monitor = Monitor::open(&world.home).unwrap();
    let order = || world.order(person("ada", 1), None);
    let elsewhere = Order { log: "tipstaff.local/00".to_owned(), ..order() };
    let early = Order { at: Millis(order().at.0 - 11 * 60 * 1000), ..order() };
    assert!(matches!(monitor.order(&order().sign(&key(9))), Err(Disobeyed::NotSigned)));
    assert!(matches!(monitor.order(&elsewhere.sign(&world.approver)), Err(Disobeyed::NotSigned)));
    assert!(matches!(monitor.order(&early.sign(&world.approver)), Err(Disobeyed::Time)));
    monitor.order(&order().sign(&world.approver)).unwrap();
    monitor.shut_down().unwrap();
}

#[test]
fn a_restart_knows_what_was_known_and_an_old_order_counts_once() {
    let world = World::new();
    let ada = world.order(person("ada", 1), None).sign(&world.approver);
    let bob = world.order(person("bob", 2), Some(&ada)).sign(&world.approver);
    let monitor = Monitor::open(&world.home).unwrap();
    monitor.order(&ada).unwrap();
    monitor.order(&bob).unwrap();
    drop(monitor);

    let monitor = Monitor::open(&world.home).unwrap();
    let stale = |order: &SignedOrder| {
        matches!(monitor.order(order), Err(Disobeyed::Fault(ChangeFault::Stale)))
    };
    assert!(stale(&ada) && stale(&bob));
    let again = world.order(person("ada", 3), Some(&bob)).sign(&world.approver);
    assert!(matches!(monitor.order(&again), Err(Disobeyed::Fault(ChangeFault::NameTaken))));
    let gone = Change::Retire { name: Name::parse("ada").unwrap() };
    monitor.order(&world.order(gone, Some(&bob)).sign(&world.approver)).unwrap();
    drop(monitor);

    // What was kept of an order can't be changed or taken away: the node does not start on less.
    let digest = Digest::of(bob.to_canonical().as_bytes()).to_hex();
    let (folder, name) = digest.split_at(2);
    let file = world.home.root().join("objects").join(folder).join(name);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("bob", "eve")).unwrap();
    assert!(Monitor::open(&world.home).is_err());
    fs::remove_file(&file).unwrap();
    assert!(Monitor::open(&world.home).is_err());
    fs::write(&file, text).unwrap();
    Monitor::open(&world.home).unwrap();
}

#[test]
fn who_is_there_says_so_with_a_key_of_its_own_and_at_that_time() {
    let world = World::new();
    let monitor = Monitor::open(&world.home).unwrap();
    let name = |name: &str| Name::parse(name).unwrap();
    let ada = world.order(person("ada", 1), None).sign(&world.approver);
    let bob = world.order(person("bob", 2), Some(&ada)).sign(&world.approver);
    let times = (60_000, 60_000);
    let group = Change::Convene {
        name: name("night"),
        members: vec![name("ada"), name("bob")],
        join_within: times.0,
        inactive_after: times.1,
    };
    let group = world.order(group, Some(&bob)).sign(&world.approver);
    for order in [&ada, &bob, &group] {
        monitor.order(order).unwrap();
    }
    let join =
        || world.order(Change::Join { name: name("ada"), group: name("night") }, Some(&group));
    // Neither another member nor the operator says so in ada's place, and nobody orders more than that.
    for other in [key(2), key(9)] {
        assert!(matches!(monitor.order(&join().sign(&other)), Err(Disobeyed::NotSigned)));
    }
    assert!(matches!(monitor.order(&join().sign(&world.approver)), Err(Disobeyed::NotSigned)));
    let suspend = world.order(Change::Suspend { name: name("bob") }, Some(&group)).sign(&key(1));
    assert!(matches!(monitor.order(&suspend), Err(Disobeyed::NotSigned)));
    for at in [join().at.0 - 10_000, join().at.0 + 10_000] {
        let order = Order { at: Millis(at), ..join() }.sign(&key(1));
        assert!(matches!(monitor.order(&order), Err(Disobeyed::Time)));
    }
    monitor.order(&join().sign(&key(1))).unwrap();
    monitor.shut_down().unwrap();
    drop(monitor);
    // A restart knows who is there.
    let monitor = Monitor::open(&world.home).unwrap();
    monitor.shut_down().unwrap();
}
