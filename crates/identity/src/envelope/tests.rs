use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Millis};
use tipstaff_store::{Disk, MemoryDisk};

use super::*;
use crate::principal::{Change, Kind, Order};

const NOW: Millis = Millis(1_795_272_154_000);
const LATE: u64 = 10 * 60 * 1000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

struct World {
    known: Principals,
    prev: Option<Digest>,
}

impl World {
    /// Ada owns coder (key 2) and helper (key 3).
    fn new() -> Self {
        let mut world = Self { known: Principals::default(), prev: None };
        for (who, kind, owner, seed) in [
            ("ada", Kind::Human, None, 1),
            ("coder", Kind::Agent, Some("ada"), 2),
            ("helper", Kind::Agent, Some("ada"), 3),
        ] {
            world.order(Change::Enrol {
                name: name(who),
                kind,
                owner: owner.map(name),
                key: key(seed).verifying_key().clone(),
                roles: Vec::new(),
            });
        }
        world
    }

    fn order(&mut self, change: Change) {
        let order = Order { change, log: "l".to_owned(), prev: self.prev, at: NOW };
        self.prev = Some(self.known.apply(&order.sign(&key(9)), 100).unwrap());
    }

    fn reader<'a>(&'a self, me: &'a Name) -> Reader<'a> {
        Reader { name: me, log: "l", known: &self.known, late: LATE, now: NOW }
    }
}

fn sealed(seed: u8, from: &str, to: &str, counter: u64) -> SignedEnvelope {
    let (from, to, log) = (name(from), name(to), "l".to_owned());
    Envelope { from, to, log, counter, at: NOW, body: b"hello".to_vec() }.sign(&key(seed))
}

fn inbox() -> Inbox {
    Inbox::open(Arc::new(MemoryDisk::new()), Path::new("helper")).unwrap()
}

fn refused(answer: Result<Envelope, DeskError>) -> Refused {
    match answer {
        Err(DeskError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_opened_once_by_whom_it_is_for() {
    let (world, helper, coder) = (World::new(), name("helper"), name("coder"));
    let mut inbox = inbox();
    let text = sealed(2, "coder", "helper", 5).to_canonical();
    let opened = inbox.take(&text, &world.reader(&helper)).unwrap();
    assert_eq!((opened.from.as_str(), opened.body.as_slice()), ("coder", b"hello".as_slice()));
    assert_eq!(refused(inbox.take(&text, &world.reader(&helper))), Refused::Replay);
    assert_eq!(
        refused(inbox.take(&text, &world.reader(&coder))),
        Refused::Audience(helper.clone())
    );
    // What is sent back to its sender is for somebody else.
    let own = sealed(3, "helper", "coder", 6).to_canonical();
    assert_eq!(refused(inbox.take(&own, &world.reader(&helper))), Refused::Audience(coder));
    let elsewhere = Reader { log: "m", ..world.reader(&helper) };
    let next = sealed(2, "coder", "helper", 6).to_canonical();
    assert_eq!(refused(inbox.take(&next, &elsewhere)), Refused::Log);
    // A refused one is not counted as seen.
    assert!(inbox.take(&next, &world.reader(&helper)).is_ok());
    assert!(
        inbox.take(&sealed(2, "coder", "helper", 1).to_canonical(), &world.reader(&helper)).is_ok()
    );
}

#[test]
fn whatever_is_altered_is_refused_and_leaves_no_trace() {
    let (world, helper) = (World::new(), name("helper"));
    let good = sealed(2, "coder", "helper", 5);
    let mut inbox = inbox();
    let with = |edit: &dyn Fn(&mut Envelope)| {
        let mut changed = good.clone();
        edit(&mut changed.envelope);
        changed.to_canonical()
    };
    for altered in [
        with(&|e| e.body = b"hellp".to_vec()),
        with(&|e| e.counter = 6),
        with(&|e| e.at = Millis(NOW.0 + 1)),
        with(&|e| e.counter = u64::from(u32::MAX)),
    ] {
        assert_eq!(refused(inbox.take(&altered, &world.reader(&helper))), Refused::Altered);
    }
    assert_eq!(
        refused(inbox.take(&with(&|e| e.from = name("ada")), &world.reader(&helper))),
        Refused::Sender
    );
    // Signed by somebody else under the sender's name.
    let forged = SignedEnvelope { key_id: good.key_id.clone(), ..sealed(3, "coder", "helper", 5) };
    assert_eq!(
        refused(inbox.take(&forged.to_canonical(), &world.reader(&helper))),
        Refused::Altered
    );
    assert_eq!(
        refused(
            inbox.take(&sealed(3, "coder", "helper", 5).to_canonical(), &world.reader(&helper))
        ),
        Refused::Sender
    );
    assert_eq!(
        refused(
            inbox.take(&sealed(8, "coder", "helper", 5).to_canonical(), &world.reader(&helper))
        ),
        Refused::Key(Silence::Unknown)
    );
    // A statement of another kind by the same key is no message.
    let text = good.to_canonical();
    for (from, to, part) in [
        ("tipstaff-envelope-1", "tipstaff-order-1", "form"),
        ("\"coder\"", "\"Coder\"", "from"),
        ("\"counter\":5", "\"counter\":-5", "counter"),
        ("\"counter\":5", "\"counter\":5,\"more\":1", "spelling"),
        ("\"body\":\"aGVsbG8\"", "\"body\":\"aGVsbG9\"", "body"),
        ("{", "[", "JSON"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        let found = refused(inbox.take(&bad, &world.reader(&helper)));
        assert_eq!(found, Refused::Malformed(part), "{bad}");
    }
    // None of them moved the window.
    assert!(inbox.take(&text, &world.reader(&helper)).is_ok());
}

#[test]
fn a_key_that_does_not_count_now_carries_nothing() {
    let helper = name("helper");
    let text = sealed(2, "coder", "helper", 5).to_canonical();
    let coder = || name("coder");
    let id = key(2).verifying_key().key_id();
    let ends = |change: Change| {
        let mut world = World::new();
        world.order(change);
        refused(inbox().take(&text, &world.reader(&helper)))
    };
    let fresh = key(7).verifying_key().clone();
    for (change, why) in [
        (Change::Suspend { name: coder() }, Silence::Suspended),
        (Change::Retire { name: coder() }, Silence::Retired),
        (Change::Suspend { name: name("ada") }, Silence::Owner),
        (Change::Rotate { name: coder(), key: fresh.clone(), until: NOW }, Silence::KeyEnded),
        // Compromised from any position: who signed a message has no place in the log.
        (Change::Compromise { name: coder(), key_id: id, from: 99 }, Silence::KeyCompromised),
    ] {
        assert_eq!(ends(change), Refused::Key(why));
    }
    // Within the overlap both keys count, in one window.
    let mut world = World::new();
    world.order(Change::Rotate { name: coder(), key: fresh, until: Millis(NOW.0 + 1) });
    let mut inbox = inbox();
    assert!(inbox.take(&text, &world.reader(&helper)).is_ok());
    let again = sealed(7, "coder", "helper", 5).to_canonical();
    assert_eq!(refused(inbox.take(&again, &world.reader(&helper))), Refused::Replay);
}

#[test]
fn a_message_is_of_now() {
    let (world, helper) = (World::new(), name("helper"));
    let text = sealed(2, "coder", "helper", 5).to_canonical();
    let at = |now: u64| Reader { now: Millis(now), ..world.reader(&helper) };
    assert_eq!(refused(inbox().take(&text, &at(NOW.0 + LATE + 1))), Refused::Late(NOW));
    assert_eq!(refused(inbox().take(&text, &at(NOW.0 - SKEW - 1))), Refused::Early(NOW));
    assert!(inbox().take(&text, &at(NOW.0 + LATE)).is_ok());
    assert!(inbox().take(&text, &at(NOW.0 - SKEW)).is_ok());
    let for_ever = Reader { late: u64::MAX, ..at(NOW.0 + LATE_MAX + 1) };
    assert_eq!(refused(inbox().take(&text, &for_ever)), Refused::Late(NOW));
}

#[test]
fn sizes_are_bounded() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut outbox = Outbox::open(disk, Path::new("sent")).unwrap();
    let (from, to) = (name("coder"), name("helper"));
    let most = vec![7; BODY_MAX];
    let signed =
        outbox.seal(&key(2), &from, (&to, "tipstaff.local/0123456789abcdef"), NOW, &most).unwrap();
    let text = signed.to_canonical();
    assert_eq!(SignedEnvelope::from_canonical(&text), Ok(signed));
    let more = vec![7; BODY_MAX + 1];
    let answer = outbox.seal(&key(2), &from, (&to, "l"), NOW, &more);
    assert!(matches!(answer, Err(DeskError::TooLong)));
    let padded = format!("{text}{}", " ".repeat(TEXT_MAX));
    assert_eq!(SignedEnvelope::from_canonical(&padded), Err(Refused::Malformed("length")));
}

#[test]
fn numbers_that_cannot_be_read_are_not_begun_anew() {
    for bytes in [&b""[..], b"{}", b"{\"form\":\"tipstaff-sent-1\",\"to\":{\"helper\":-1}}"] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        disk.replace(Path::new("f"), bytes).unwrap();
        let sent = Outbox::open(Arc::clone(&disk), Path::new("f"));
        assert!(matches!(sent, Err(DeskError::Unreadable(_))));
        let received = Inbox::open(disk, Path::new("f"));
        assert!(matches!(received, Err(DeskError::Unreadable(_))));
    }
}

proptest! {
    /// Against the naive reading: a number is taken if it was never taken and is near enough to the highest.
    #[test]
    fn the_window_takes_each_number_once(
        steps in prop::collection::vec((0..6_u8, 0..3000_u64), 1..300),
        from in prop::sample::select(vec![0_u64, 1, 1_795_272_154_000, u64::MAX - 4000]),
    ) {
        let (mut window, mut taken, mut highest) = (Window::default(), BTreeSet::new(), 0_u64);
        for (kind, step) in steps {
            let number = match kind {
                0 => highest.saturating_add(step),
                1 => highest.saturating_sub(step),
                2 => from.saturating_add(step),
                3 => highest,
                4 => highest.saturating_sub(WINDOW - 1 + step % 3),
                _ => highest.saturating_add(1 + step % 70),
            };
            let top = highest.max(number);
            let expected = if number == 0 || top - number >= WINDOW {
                Err(Refused::Behind)
            } else if taken.contains(&number) {
                Err(Refused::Replay)
            } else {
                Ok(())
            };
            prop_assert_eq!(window.take(number), expected.clone(), "{} of {}", number, highest);
            if expected.is_ok() {
                taken.insert(number);
                highest = top;
            }
            let (high, seen) = window.parts();
            prop_assert_eq!(high, highest);
            prop_assert_eq!(Window::of(high, &seen), Some(window.clone()));
        }
    }

    /// Crashes between any two messages, on a disk that forgets what was not synced.
    #[test]
    fn a_number_is_never_used_twice_and_no_message_is_handed_out_twice(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), any::<u64>(), 0..3_u64), 1..40),
    ) {
        let (world, coder, helper) = (World::new(), name("coder"), name("helper"));
        let (sent, received) = (Arc::new(MemoryDisk::new()), Arc::new(MemoryDisk::new()));
        let disk = |disk: &Arc<MemoryDisk>| -> Arc<dyn Disk> { disk.clone() };
        let mut outbox = Outbox::open(disk(&sent), Path::new("s")).unwrap();
        let mut inbox = Inbox::open(disk(&received), Path::new("r")).unwrap();
        let (mut used, mut opened, mut texts) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for (sender_dies, receiver_dies, luck, back) in steps {
            let signed = outbox.seal(&key(2), &coder, (&helper, "l"), NOW, b"x").unwrap();
            prop_assert!(used.insert(signed.envelope.counter));
            texts.push(signed.to_canonical());
            let pick = texts.len().saturating_sub(1 + usize::try_from(back).unwrap());
            if let Ok(envelope) = inbox.take(&texts[pick], &world.reader(&helper)) {
                prop_assert!(opened.insert(envelope.counter));
            }
            if sender_dies {
                sent.crash(|at| luck >> (at % 64) & 1 == 1);
                outbox = Outbox::open(disk(&sent), Path::new("s")).unwrap();
            }
            if receiver_dies {
                received.crash(|at| luck >> (at % 64) & 1 == 1);
                inbox = Inbox::open(disk(&received), Path::new("r")).unwrap();
            }
        }
        // Everything that was sent can be opened, in whatever order it comes.
        for text in &texts {
            if let Ok(envelope) = inbox.take(text, &world.reader(&helper)) {
                prop_assert!(opened.insert(envelope.counter));
            }
        }
        prop_assert_eq!(opened, used);
    }
}
