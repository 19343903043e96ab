//! Orders on principals: whose count, in which place, and what a restart makes of them. The adversary forges an
//! order, brings an old one or one of another home, or changes what was kept of it.

#![expect(clippy::unwrap_used, clippy::unreachable, reason = "a test that can't go on has failed")]

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Millis};
use tipstaff_identity::{Change, ChangeFault, HomeKeys, Kind, Name, Order, SignedOrder};
use tipstaff_monitor::{Disobeyed, Home, Monitor, Wanted};

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
    let file = world.home.root().join("orders");
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

fn people(world: &World, from: u64, count: u64, prev: Option<&SignedOrder>) -> Vec<SignedOrder> {
    let mut orders: Vec<SignedOrder> = Vec::new();
    for number in from..from + count {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let change = Change::Enrol {
            name: Name::parse(&format!("p{number}")).unwrap(),
            kind: Kind::Human,
            owner: None,
            key: SigningKey::from_seed(&seed.into()).unwrap().verifying_key().clone(),
            roles: Vec::new(),
        };
        let prev = orders.last().or(prev);
        orders.push(world.order(change, prev).sign(&world.approver));
    }
    orders
}

fn digest_of(monitor: &Monitor) -> (String, i64) {
    let shown = monitor.principals_shown(&Wanted { digest: true, ..Wanted::default() });
    let digest = shown.get("digest").unwrap().as_str().unwrap().to_owned();
    (digest, shown.get("count").unwrap().as_integer().unwrap())
}

#[test]
fn many_orders_at_once_count_each_on_its_own_up_to_the_first_that_does_not() {
    let world = World::new();
    let monitor = Monitor::open(&world.home).unwrap();
    let (before, _) = monitor.ledger().position();
    let orders = people(&world, 0, 100, None);
    let (receipts, fault) = monitor.orders(&orders);
    assert!(fault.is_none() && receipts.len() == 100, "{fault:?}");
    assert_eq!(monitor.ledger().position().0, before + 100, "a receipt for each");
    // One in the middle is not signed by an approver: those before it count, those after it don't.
    let mut more = people(&world, 100, 50, orders.last());
    more[20] = more[20].order.clone().sign(&key(9));
    let (receipts, fault) = monitor.orders(&more);
    assert!(matches!(fault, Some(Disobeyed::NotSigned)), "{fault:?}");
    assert_eq!(receipts.len(), 20);
    assert_eq!(monitor.ledger().position().0, before + 100 + 20 + 1, "and one that says why");
    // Those after it follow an order that does not count.
    let (receipts, fault) = monitor.orders(&more[21..]);
    assert!(matches!(fault, Some(Disobeyed::Fault(ChangeFault::Stale))), "{fault:?}");
    assert!(receipts.is_empty());
    let known = digest_of(&monitor);
    assert_eq!(known.1, 120);
    drop(monitor);
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!(digest_of(&monitor), known, "a start knows the same");
}

#[test]
fn what_the_log_did_not_take_of_a_batch_is_not_in_force_and_is_ordered_again() {
    let world = World::new();
    let orders = people(&world, 0, 40, None);
    let monitor = Monitor::open(&world.home).unwrap();
    let (receipts, _) = monitor.orders(&orders[..10]);
    assert_eq!(receipts.len(), 10);
    let known = digest_of(&monitor);
    monitor.shut_down().unwrap();
    drop(monitor);
    // The orders are on the disk and the monitor ended before their receipts: as a crash between both leaves it.
    let file = world.home.root().join("orders");
    let mut text = fs::read_to_string(&file).unwrap();
    for order in &orders[10..] {
        text.push_str(&order.to_canonical());
        text.push('\n');
    }
    text.push_str("{\"half");
    fs::write(&file, text).unwrap();
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!(digest_of(&monitor), known);
    let (receipts, fault) = monitor.orders(&orders[10..15]);
    assert!(fault.is_none() && receipts.len() == 5, "{fault:?}");
    let known = digest_of(&monitor);
    drop(monitor);
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!(digest_of(&monitor), known);
}

#[test]
fn a_home_whose_orders_have_a_file_each_opens_and_goes_on() {
    let world = World::new();
    let orders = people(&world, 0, 30, None);
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!(monitor.orders(&orders[..20]).0.len(), 20);
    let known = digest_of(&monitor);
    monitor.shut_down().unwrap();
    drop(monitor);
    // As an earlier release kept them.
    let root = world.home.root();
    fs::remove_file(root.join("orders")).unwrap();
    for order in &orders[..20] {
        let text = order.to_canonical();
        let digest = Digest::of(text.as_bytes()).to_hex();
        let (folder, name) = digest.split_at(2);
        fs::create_dir_all(root.join("objects").join(folder)).unwrap();
        fs::write(root.join("objects").join(folder).join(name), text).unwrap();
    }
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!(digest_of(&monitor), known);
    assert_eq!(monitor.orders(&orders[20..]).0.len(), 10);
    let known = digest_of(&monitor);
    drop(monitor);
    let monitor = Monitor::open(&world.home).unwrap();
    assert_eq!((digest_of(&monitor), known.1), (known, 30));
}

#[test]
fn who_is_known_is_shown_a_page_at_a_time_and_found_by_name_and_key() {
    let world = World::new();
    let monitor = Monitor::open(&world.home).unwrap();
    let orders = people(&world, 0, 25, None);
    assert_eq!(monitor.orders(&orders).0.len(), 25);
    let names = |wanted: &Wanted| -> (Vec<String>, bool) {
        let shown = monitor.principals_shown(wanted);
        let known = shown.get("known").unwrap().as_array().unwrap();
        let name = |entry: &tipstaff_core::Json| {
            entry.get("principal").unwrap().get("name").unwrap().as_str().unwrap().to_owned()
        };
        (known.iter().map(name).collect(), shown.get("more").unwrap().as_bool().unwrap())
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (page, more) = names(&Wanted { limit: 10, after, ..Wanted::default() });
        assert!(page.len() == 10 || !more);
        after = page.last().and_then(|name| Name::parse(name));
        all.extend(page);
        if !more {
            break;
        }
    }
    let mut expected: Vec<String> = (0..25).map(|number| format!("p{number}")).collect();
    expected.sort();
    assert_eq!(all, expected);
    let Change::Enrol { key, .. } = &orders[7].order.change else { unreachable!() };
    let by_key = Wanted { keys: vec![key.key_id(), "nobody's".to_owned()], ..Wanted::default() };
    assert_eq!(names(&by_key), (vec!["p7".to_owned()], false));
    let by_name = ["p3", "nobody"].map(|name| Name::parse(name).unwrap()).into();
    assert_eq!(names(&Wanted { names: by_name, ..Wanted::default() }).0, ["p3"]);
    assert_eq!(names(&Wanted::default()), (Vec::new(), false));
}
