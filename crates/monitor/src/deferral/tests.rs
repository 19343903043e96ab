//! Random dependency graphs, driven to their end in random ways.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A call: which earlier ones it names, and which it carries a stand-in of.
type Call = (BTreeSet<usize>, BTreeSet<usize>);

fn of(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

/// The receipt that permits a call.
fn by(number: usize) -> Digest {
    Digest::of(&[&number.to_le_bytes()[..], b"permitted"].concat())
}

fn links((named, carried): &Call) -> Links {
    let text: String = carried.iter().map(|call| format!("<{}>", placeholder(of(*call)))).collect();
    let members = vec![("text".to_owned(), Json::Array(vec![Json::string(&text)]))];
    let action = Action::new("s", "t", "tools/call", Json::object(members).unwrap(), None).unwrap();
    let named: Vec<Digest> = named.iter().map(|call| of(*call)).collect();
    Links::of(&action, &named)
}

/// Each call depends on earlier ones.
fn graph() -> impl Strategy<Value = Vec<Call>> {
    let picks = || proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    proptest::collection::vec((picks(), picks()), 1..14).prop_map(|calls| {
        let earlier = |at: usize, picks: Vec<prop::sample::Index>| {
            if at == 0 {
                BTreeSet::new()
            } else {
                picks.iter().map(|pick| pick.index(at)).collect()
            }
        };
        let calls = calls.into_iter().enumerate();
        calls.map(|(at, (named, carried))| (earlier(at, named), earlier(at, carried))).collect()
    })
}

proptest! {
    /// Nothing is judged before all that it depends on is over; what depends on a refused call is refused,
    /// and so on; what carries a stand-in never runs; what depends on nothing waits for nothing; the order
    /// is that of the asking; and in the end nothing waits.
    #[test]
    fn every_graph_comes_to_its_end_in_order(
        calls in graph(),
        verdicts in proptest::collection::vec(any::<bool>(), 14),
        ends in proptest::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let mut known = Deferrals::default();
        for (at, call) in calls.iter().enumerate() {
            let bar = known.bar(&links(call));
            let depends = !call.0.is_empty() || !call.1.is_empty();
            prop_assert_eq!(bar, depends.then_some(Barred::DependsOn));
            let named: BTreeSet<Digest> = call.0.union(&call.1).map(|call| of(*call)).collect();
            prop_assert_eq!(known.after(&links(call)), named.into_iter().collect::<Vec<_>>());
            let _ = known.apply(Event::Deferred(of(at)));
        }
        prop_assert_eq!(known.waiting(), calls.len());
        // What became of each; `None`: it runs.
        let mut fate: BTreeMap<usize, Option<bool>> = BTreeMap::new();
        let mut ends = ends.iter();
        loop {
            let mut stirred = false;
            for (at, call) in calls.iter().enumerate() {
                if fate.contains_key(&at) {
                    continue;
                }
                let all: Vec<&usize> = call.0.union(&call.1).collect();
                let is = |what: Option<bool>| all.iter().any(|call| fate.get(*call) == Some(&what));
                let open = all.iter().any(|call| !matches!(fate.get(*call), Some(Some(_))));
                match known.bar(&links(call)) {
                    Some(Barred::DependsOn) => {
                        prop_assert!(open && !is(Some(false)));
                        continue;
                    }
                    Some(Barred::DependencyDenied) => prop_assert!(is(Some(false))),
                    Some(Barred::Placeholder) => prop_assert!(!open && !call.1.is_empty()),
                    None => {
                        prop_assert!(!open && !is(Some(false)) && call.1.is_empty());
                        if verdicts[at] {
                            let _ = known.apply(Event::Permitted { of: of(at), by: by(at) });
                            fate.insert(at, None);
                            continue;
                        }
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
                prop_assert_eq!(known.apply(Event::Denied(of(at))), Stirred::Yes);
                fate.insert(at, Some(false));
                stirred = true;
            }
            let running: Vec<usize> =
                fate.iter().filter(|(_, fate)| fate.is_none()).map(|(at, _)| *at).collect();
            if let (Some(pick), false) = (ends.next(), running.is_empty()) {
                let at = running[pick.index(running.len())];
                prop_assert_eq!(known.apply(Event::Settled(by(at))), Stirred::Yes);
                fate.insert(at, Some(true));
            } else if !stirred {
                break;
            }
        }
        prop_assert_eq!(known.waiting(), 0);
        prop_assert_eq!(fate.len(), calls.len());
    }

    /// Whatever is around it, a stand-in is seen; and what only looks like one is text.
    #[test]
    fn a_stand_in_is_seen_wherever_it_is(before in ".{0,40}", after in ".{0,40}", number in 0..99_usize) {
        let text = format!("{before}{}{after}", placeholder(of(number)));
        let as_name = Json::object(vec![(text.clone(), Json::Null)]).unwrap();
        for parameters in [as_name, Json::Array(vec![Json::string(&text)])] {
            let parameters = Json::object(vec![("x".to_owned(), parameters)]).unwrap();
            let action = Action::new("s", "t", "tools/call", parameters, None).unwrap();
            let links = Links::of(&action, &[]);
            let mut known = Deferrals::default();
            prop_assert_eq!(known.bar(&links), Some(Barred::Placeholder), "of nothing that is known");
            let _ = known.apply(Event::Deferred(of(number)));
            prop_assert_eq!(known.bar(&links), Some(Barred::DependsOn));
        }
    }
}

#[test]
fn what_is_over_is_forgotten_in_time_and_what_waits_is_not() {
    let mut known = Deferrals::default();
    let _ = known.apply(Event::Deferred(of(0)));
    for number in 1..=2 * OVER_MAX {
        let _ = known.apply(Event::Deferred(of(number)));
        let _ = known.apply(Event::Denied(of(number)));
    }
    assert_eq!(known.known.len(), OVER_MAX + 2);
    let bar = |number| known.bar(&Links { named: vec![of(number)], carried: Vec::new() });
    assert_eq!(bar(0), Some(Barred::DependsOn));
    assert_eq!(bar(1), Some(Barred::DependencyUnknown), "the unknown is no reason to run");
    assert_eq!(bar(2 * OVER_MAX), Some(Barred::DependencyDenied));
    let many = (0..=NAMED_MAX).map(of).collect();
    assert_eq!(
        known.bar(&Links { named: many, carried: Vec::new() }),
        Some(Barred::DependencyUnknown)
    );
    let text = Links::of(
        &Action::new("s", "t", "o", Json::string("tipstaff:result:0123"), None).unwrap(),
        &[],
    );
    assert_eq!(known.bar(&text), None, "too few digits are text");
}
