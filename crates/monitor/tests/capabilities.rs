//! Capabilities in the monitor. The adversary uses one up from several doors at once, or goes on with what was revoked
//! while it had a door open.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Door, Status};
use tipstaff_core::{Action, Digest, Json, Millis};
use tipstaff_identity::capability::{
    Caveat, Compare, Number, Part, Token, attenuate, grant, to_text,
};
use tipstaff_identity::{Change, HomeKeys, Kind, Name, Order, Peer};
use tipstaff_monitor::{Ended, Home, Member, Monitor, Proved, Refusal};

struct World {
    _folder: tempfile::TempDir,
    home: Home,
    monitor: Arc<Monitor>,
    head: Mutex<Option<Digest>>,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

impl World {
    /// A home with a person and two agents of theirs, keys 1 and 2, without roles.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        let monitor = Monitor::open(&home).unwrap();
        let world = Self { _folder: folder, home, monitor, head: Mutex::default() };
        let enrol = |who, kind, owner: Option<&str>, seed| {
            let (name, owner, roles) = (name(who), owner.map(self::name), Vec::new());
            let key = key(seed).verifying_key().clone();
            world.order(Change::Enrol { name, kind, owner, key, roles });
        };
        enrol("ada", Kind::Human, None, 9);
        enrol("coder", Kind::Agent, Some("ada"), 1);
        enrol("helper", Kind::Agent, Some("ada"), 2);
        world
    }

    fn order(&self, change: Change) {
        let approver = HomeKeys::approver(self.home.root()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let (log, at) = (self.monitor.ledger().identity().origin.clone(), Millis(now as u64));
        let mut head = self.head.lock().unwrap();
        let order = Order { change, log, prev: *head, at }.sign(&approver);
        self.monitor.order(&order).unwrap();
        *head = Some(Digest::of(order.to_canonical().as_bytes()));
    }

    fn grant(&self, parts: &[Part]) -> Vec<u8> {
        let holder = key(1).verifying_key().clone();
        let (bytes, root) = grant(&holder, parts).unwrap();
        let id = Token::decode(&bytes).unwrap().grant();
        self.order(Change::Grant { name: name("coder"), id, root, holder });
        bytes
    }

    fn join(&self, seed: u8, token: &[u8]) -> Arc<Member> {
        let peer = Peer::of_process(std::process::id(), 1000);
        let (key, text) = (key(seed).verifying_key().key_id(), to_text(token));
        self.monitor
            .join_network(&peer, (&Proved::Key(key), Some(&text)), "notes", Door::Api)
            .unwrap()
    }
}

/// Reads a note, which the shipped policies permit.
fn read(monitor: &Arc<Monitor>, member: &Arc<Member>, number: usize) -> Result<(), Refusal> {
    let arguments = Json::parse(format!("{{\"name\":\"{number}\"}}").as_bytes()).unwrap();
    let action = Action::new("notes", "read_note", "tools/call", arguments, None).unwrap();
    let permit = monitor.admit(member, action)?;
    let ended = permit.start().settle(Ended::of(Status::Ok, b"hi"));
    monitor.settle(member, ended).unwrap();
    Ok(())
}

#[test]
fn several_doors_at_once_use_it_as_often_as_was_granted() {
    let world = World::new();
    let uses = Caveat::Bounds { of: Number::Uses(0), bounds: vec![(Compare::Less, 10)] };
    let token = world.grant(&[Part::Caveat(uses)]);
    let given = attenuate(&token, Some((key(2).verifying_key(), &key(1))), &[]).unwrap();
    let permitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for door in 0..6 {
            let (world, permitted) = (&world, &permitted);
            let (seed, token) = if door % 2 == 0 { (1, &token) } else { (2, &given) };
            scope.spawn(move || {
                let member = world.join(seed, token);
                for number in 0..5 {
                    if read(&world.monitor, &member, door * 10 + number).is_ok() {
                        permitted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(permitted.load(Ordering::SeqCst), 10);
}

#[test]
fn what_is_revoked_ends_at_the_next_action_of_every_door() {
    let world = World::new();
    let token = world.grant(&[]);
    let given = attenuate(&token, Some((key(2).verifying_key(), &key(1))), &[]).unwrap();
    let doors: Vec<_> = (0..8)
        .map(|door| world.join(1 + door % 2, if door % 2 == 0 { &token } else { &given }))
        .collect();
    for (number, door) in doors.iter().enumerate() {
        read(&world.monitor, door, number).unwrap();
    }
    world.order(Change::Revoke { id: Token::decode(&token).unwrap().grant() });
    for (number, door) in doors.iter().enumerate() {
        let refusal = read(&world.monitor, door, 100 + number).unwrap_err();
        assert!(refusal.text.contains("was revoked"), "{}", refusal.text);
    }
}
