use proptest::prelude::*;
use tipstaff_core::key::SigningKey;

use super::super::Order;
use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn key(seed: u8) -> VerifyingKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap().verifying_key().clone()
}

fn order(known: &Principals, change: Change, at: u64) -> SignedOrder {
    let operator = SigningKey::from_seed(&[255; 32].into()).unwrap();
    Order { change, log: "l".to_owned(), prev: known.head(), at: Millis(at) }.sign(&operator)
}

fn give(known: &mut Principals, change: Change, at: u64) -> Result<Digest, ChangeFault> {
    let order = order(known, change, at);
    known.apply(&order, 100)
}

fn enrol(who: &str, kind: Kind, owner: Option<&str>, seed: u8) -> Change {
    let owner = owner.map(name);
    Change::Enrol { name: name(who), kind, owner, key: key(seed), roles: vec![name("reader")] }
}

fn some() -> Principals {
    let mut known = Principals::default();
    give(&mut known, enrol("ada", Kind::Human, None, 1), 1).unwrap();
    give(&mut known, enrol("ops", Kind::Service, Some("ada"), 2), 2).unwrap();
    give(&mut known, enrol("coder", Kind::Agent, Some("ops"), 3), 3).unwrap();
    known
}

fn says(known: &Principals, seed: u8, now: u64) -> Result<String, Silence> {
    known.speaker(&key(seed).key_id(), Millis(now)).map(|speaker| speaker.name.to_string())
}

#[test]
fn a_key_speaks_for_its_principal_and_the_person_behind_it() {
    let known = some();
    let speaker = known.speaker(&key(3).key_id(), Millis(9)).unwrap();
    assert_eq!(speaker.name, name("coder"));
    assert_eq!(speaker.person, Some(name("ada")));
    assert_eq!(speaker.roles, [name("reader")]);
    assert_eq!(says(&known, 4, 9), Err(Silence::Unknown));
}

#[test]
fn old_and_new_keys_are_valid_over_the_overlap_and_no_longer() {
    let mut known = some();
    let rotate = |until| Change::Rotate { name: name("coder"), key: key(4), until: Millis(until) };
    assert_eq!(give(&mut known, rotate(9), 10), Err(ChangeFault::Overlap));
    assert_eq!(give(&mut known, rotate(11 + OVERLAP_MAX), 10), Err(ChangeFault::Overlap));
    give(&mut known, rotate(20), 10).unwrap();
    assert_eq!(
        (says(&known, 3, 19), says(&known, 4, 19)),
        (Ok("coder".into()), Ok("coder".into()))
    );
    assert_eq!(
        (says(&known, 3, 20), says(&known, 4, 20)),
        (Err(Silence::KeyEnded), Ok("coder".into()))
    );
    // A later rotation does not bring the first key back.
    let again = Change::Rotate { name: name("coder"), key: key(5), until: Millis(40) };
    give(&mut known, again, 30).unwrap();
    assert_eq!(says(&known, 3, 31), Err(Silence::KeyEnded));
    assert_eq!(says(&known, 4, 31), Ok("coder".to_owned()));
}

#[test]
fn whoever_ended_is_silent_and_so_is_what_they_own() {
    let mut known = some();
    give(&mut known, Change::Suspend { name: name("ops") }, 4).unwrap();
    assert_eq!(says(&known, 2, 5), Err(Silence::Suspended));
    assert_eq!(says(&known, 3, 5), Err(Silence::Owner));
    give(&mut known, Change::Restore { name: name("ops") }, 6).unwrap();
    assert_eq!(says(&known, 3, 7), Ok("coder".to_owned()));
    give(&mut known, Change::Retire { name: name("ada") }, 8).unwrap();
    assert_eq!(says(&known, 3, 9), Err(Silence::Owner));
    assert_eq!(says(&known, 1, 9), Err(Silence::Retired));
    let back = Change::Restore { name: name("ada") };
    assert_eq!(give(&mut known, back, 10), Err(ChangeFault::Retired));
}

#[test]
fn a_lost_key_is_lost_from_its_position_on_and_for_ever() {
    let mut known = some();
    let lost = |from| Change::Compromise { name: name("coder"), key_id: key(3).key_id(), from };
    assert_eq!(give(&mut known, lost(101), 4), Err(ChangeFault::Position));
    give(&mut known, lost(50), 4).unwrap();
    assert_eq!(says(&known, 3, 5), Err(Silence::KeyCompromised));
    assert_eq!(known.lost_at(&key(3).key_id()), Some(50));
    assert_eq!(give(&mut known, lost(60), 5), Err(ChangeFault::Already), "never later");
    give(&mut known, lost(40), 5).unwrap();
    assert_eq!(known.lost_at(&key(3).key_id()), Some(40));
    let foreign = Change::Compromise { name: name("ops"), key_id: key(3).key_id(), from: 1 };
    assert_eq!(give(&mut known, foreign, 6), Err(ChangeFault::NoSuchKey));
}

#[test]
fn names_and_keys_are_given_once() {
    let mut known = some();
    give(&mut known, Change::Retire { name: name("coder") }, 4).unwrap();
    for (change, fault) in [
        (enrol("coder", Kind::Agent, Some("ada"), 9), ChangeFault::NameTaken),
        (enrol("next", Kind::Agent, Some("ada"), 3), ChangeFault::KeyTaken),
        (enrol("next", Kind::Agent, None, 9), ChangeFault::Ownership),
        (enrol("next", Kind::Human, Some("ada"), 9), ChangeFault::Ownership),
        (enrol("next", Kind::Agent, Some("coder"), 9), ChangeFault::Owner),
        (enrol("next", Kind::Agent, Some("nobody"), 9), ChangeFault::Owner),
        (Change::Suspend { name: name("nobody") }, ChangeFault::Unknown),
        (Change::Roles { name: name("ada"), roles: vec![name("reader")] }, ChangeFault::Already),
    ] {
        let before = known.digest();
        assert_eq!(give(&mut known, change, 5), Err(fault));
        assert_eq!(known.digest(), before);
    }
}

#[test]
fn roles_and_keys_are_bounded() {
    let mut known = some();
    let roles = |count: usize| Change::Roles {
        name: name("coder"),
        roles: (0..count).map(|number| name(&format!("r{number}"))).collect(),
    };
    assert!(matches!(give(&mut known, roles(ROLES_MAX + 1), 4), Err(ChangeFault::TooMany(_))));
    give(&mut known, roles(ROLES_MAX), 4).unwrap();
    for count in 0..KEYS_MAX {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(count as u64).to_le_bytes());
        let key = SigningKey::from_seed(&seed.into()).unwrap().verifying_key().clone();
        let rotated =
            give(&mut known, Change::Rotate { name: name("coder"), key, until: Millis(9) }, 5);
        assert_eq!(rotated.is_ok(), count + 1 < KEYS_MAX, "{count}: {rotated:?}");
    }
}

#[test]
fn of_two_orders_at_once_the_second_is_stale() {
    let mut known = some();
    let one = order(&known, Change::Suspend { name: name("ada") }, 4);
    let other = order(&known, Change::Suspend { name: name("ops") }, 4);
    known.apply(&one, 100).unwrap();
    assert_eq!(known.apply(&other, 100), Err(ChangeFault::Stale));
    assert_eq!(known.apply(&one, 100), Err(ChangeFault::Stale), "nothing counts twice");
}

#[test]
fn the_document_has_the_valid_keys_alone() {
    let mut known = some();
    let rotate = Change::Rotate { name: name("coder"), key: key(4), until: Millis(20) };
    give(&mut known, rotate, 10).unwrap();
    let methods = |known: &Principals, now| {
        let document = known.document("tipstaff.local/ab", &name("coder"), Millis(now)).unwrap();
        assert_eq!(
            document.get("id").unwrap().as_str(),
            Some("did:tipstaff:tipstaff.local:ab:coder")
        );
        document.get("verificationMethod").unwrap().as_array().unwrap().len()
    };
    assert_eq!((methods(&known, 15), methods(&known, 20)), (2, 1));
    give(&mut known, Change::Retire { name: name("coder") }, 30).unwrap();
    assert_eq!(methods(&known, 31), 0);
}

#[test]
fn the_document_says_where_a_principal_is_reached_until_it_retires() {
    let mut known = some();
    let service = |id: &str, at: &str| Service::new(id, "McpServer", at).unwrap();
    let services = |services| Change::Services { name: name("coder"), services };
    let shown = |known: &Principals| {
        let document = known.document("tipstaff.local/ab", &name("coder"), Millis(15)).unwrap();
        document.get("service").map(Json::to_canonical)
    };
    let before = known.digest();
    assert_eq!(shown(&known), None);
    let (mcp, inbox) =
        (service("mcp", "https://a.example/mcp"), service("inbox", "https://b.example"));
    give(&mut known, services(vec![mcp.clone(), inbox.clone()]), 10).unwrap();
    let did = "did:tipstaff:tipstaff.local:ab:coder";
    let expected = format!(
        "[{{\"id\":\"{did}#inbox\",\"serviceEndpoint\":\"https://b.example\",\"type\":\"McpServer\"}},\
         {{\"id\":\"{did}#mcp\",\"serviceEndpoint\":\"https://a.example/mcp\",\"type\":\"McpServer\"}}]"
    );
    assert_eq!(shown(&known), Some(expected));
    let with = known.digest();
    assert_ne!(with, before);
    // The order in which they are said makes no difference.
    let again = give(&mut known, services(vec![inbox, mcp.clone()]), 11);
    assert_eq!(again, Err(ChangeFault::Already));
    let twice = vec![mcp.clone(), service("mcp", "https://c.example")];
    assert_eq!(give(&mut known, services(twice), 11), Err(ChangeFault::Services));
    let many = (0..17).map(|at| service(&format!("s{at}"), "https://a.example")).collect();
    assert_eq!(give(&mut known, services(many), 11), Err(ChangeFault::Services));
    assert_eq!(known.digest(), with, "what is refused changes nothing");
    give(&mut known, services(Vec::new()), 12).unwrap();
    assert_eq!((shown(&known), known.digest()), (None, before));
    give(&mut known, services(vec![mcp]), 13).unwrap();
    give(&mut known, Change::Retire { name: name("coder") }, 14).unwrap();
    assert_eq!(shown(&known), None);
    assert_eq!(give(&mut known, services(Vec::new()), 15), Err(ChangeFault::Retired));
}

fn change() -> impl Strategy<Value = Change> {
    let who = prop::sample::select(vec!["ada", "ops", "coder", "ci"]);
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let owner = prop::option::of(who.clone());
    (who, kind, owner, 1_u8..9, 0_u8..8, 0_u64..60).prop_map(
        |(who, kind, owner, seed, what, number)| {
            let name = name(who);
            match what {
                0 => enrol(who, kind, owner, seed),
                1 => Change::Rotate { name, key: key(seed), until: Millis(number) },
                2 => Change::Suspend { name },
                3 => Change::Restore { name },
                4 => Change::Retire { name },
                5 => Change::Compromise { name, key_id: key(seed).key_id(), from: number },
                6 => Change::Services {
                    name,
                    services: vec![Service::new("mcp", "McpServer", "https://a.example").unwrap()],
                },
                _ => Change::Roles { name, roles: Vec::new() },
            }
        },
    )
}

proptest! {
    #[test]
    fn a_fold_of_what_was_kept_is_the_same_and_whoever_ended_never_speaks(
        changes in prop::collection::vec(change(), 0..60),
    ) {
        let mut known = Principals::default();
        let mut kept = Vec::new();
        for (at, change) in changes.into_iter().enumerate() {
            let order = order(&known, change, at as u64);
            let before = (known.digest(), known.head());
            match known.apply(&order, 100) {
                Ok(head) => {
                    prop_assert_eq!(known.head(), Some(head));
                    kept.push(order.to_canonical());
                }
                Err(_) => prop_assert_eq!((known.digest(), known.head()), before),
            }
        }
        let mut again = Principals::default();
        for text in &kept {
            again.apply(&SignedOrder::from_canonical(text).unwrap(), 100).unwrap();
        }
        prop_assert_eq!((again.digest(), again.head()), (known.digest(), known.head()));
        for seed in 1..9 {
            let id = key(seed).key_id();
            let Ok(speaker) = known.speaker(&id, Millis(100)) else { continue };
            prop_assert!(known.lost_at(&id).is_none());
            let mut at = Some(speaker.name);
            while let Some(name) = at {
                let found = known.get(&name).unwrap();
                prop_assert_eq!(found.status, Status::Active);
                at = found.owner.clone();
            }
        }
    }
}

/// A capability of key 3, given on to key 4.
fn capability() -> (crate::capability::Capability, VerifyingKey) {
    use crate::capability::{Token, attenuate, grant};
    let holder = SigningKey::from_seed(&[3; 32].into()).unwrap();
    let (bytes, root) = grant(holder.verifying_key(), &[]).unwrap();
    let bytes = attenuate(&bytes, Some((&key(4), &holder)), &[]).unwrap();
    (Token::decode(&bytes).unwrap().verify(&root).unwrap(), root)
}

#[test]
fn a_capability_is_granted_to_a_key_of_its_principal_and_ends_with_whoever_it_went_through() {
    let mut known = some();
    give(&mut known, enrol("helper", Kind::Agent, Some("ada"), 4), 4).unwrap();
    let (capability, root) = capability();
    let id = capability.ids()[0];
    let grant = |seed| {
        let (name, root, holder) = (name("coder"), root.clone(), key(seed));
        Change::Grant { name, id, root, holder }
    };
    assert_eq!(known.grants().find(id), Err(Fault::Unknown));
    assert_eq!(give(&mut known, grant(4), 5), Err(ChangeFault::NoSuchKey), "another's key");
    let before = known.digest();
    give(&mut known, grant(3), 5).unwrap();
    assert_ne!(known.digest(), before);
    assert_eq!(known.grants().find(id).unwrap().root, root);
    assert_eq!(give(&mut known, grant(3), 5), Err(ChangeFault::Grant(GrantFault::Already)));

    // Who presents it is its last holder, with whichever key they have.
    let holds = |known: &Principals, seed| known.holds(&capability, &key(seed).key_id());
    assert_eq!(holds(&known, 4), Ok(()));
    assert_eq!(holds(&known, 3), Err(Fault::NotHolder), "who gave it on");
    assert_eq!(holds(&known, 9), Err(Fault::NotHolder), "nobody's key");
    let (owner, next) = (name("helper"), key(5));
    give(&mut known, Change::Rotate { name: owner, key: next, until: Millis(6) }, 6).unwrap();
    assert_eq!(holds(&known, 5), Ok(()));

    assert_eq!(known.stands(&capability), Ok(()), "a rotation ends nothing");
    for who in ["coder", "ops", "ada", "helper"] {
        give(&mut known, Change::Suspend { name: name(who) }, 7).unwrap();
        assert_eq!(known.stands(&capability), Err(Fault::HolderEnded), "{who}");
        give(&mut known, Change::Restore { name: name(who) }, 7).unwrap();
        assert_eq!(known.stands(&capability), Ok(()), "{who}");
    }
    let mut lost = known.clone();
    let (owner, key_id) = (name("coder"), key(3).key_id());
    give(&mut lost, Change::Compromise { name: owner, key_id, from: 0 }, 8).unwrap();
    assert_eq!(lost.stands(&capability), Err(Fault::HolderEnded));
    for block in 0..2 {
        let mut known = known.clone();
        let id = capability.ids()[block];
        give(&mut known, Change::Revoke { id }, 9).unwrap();
        assert_eq!(known.stands(&capability), Err(Fault::Revoked), "{block}");
        let again = give(&mut known, Change::Revoke { id }, 9);
        assert_eq!(again, Err(ChangeFault::Grant(GrantFault::Already)));
    }
}
