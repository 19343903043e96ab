//! Seeds: all that are tried hold, each is its own replay, and what is broken on purpose is found.

use tipstaff_sim::{Failure, Fault, Plan, Seen, run};

const MILLIS: u64 = 60_000;
/// Seeds within which each fault is found.
const FOUND_WITHIN: u64 = 100;

fn plan(seed: u64, fault: Fault) -> Plan {
    Plan { seed, millis: MILLIS, fault }
}

#[test]
fn everything_holds_and_nobody_was_spared() {
    let mut seen = Seen::default();
    for seed in 1..=100 {
        let done = run(plan(seed, Fault::Nothing));
        if let Err(failure) = done.outcome {
            panic!("seed {seed}: {failure}\ncargo run -p tipstaff-sim -- --seed {seed}");
        }
        seen.add(&done.seen);
    }
    for (what, least) in [
        ("permitted T3+", 1_000),
        ("permitted T1, T2", 1_000),
        ("refused: stale", 500),
        ("refused: not in force", 1_000),
        ("refused: outside of the grant", 1_000),
        ("an effect was too late to start", 20),
        ("an answer came too late or twice", 500),
        ("a message was lost", 500),
        ("a node crashed", 100),
        ("a node was cut off", 100),
        ("the store crashed", 50),
        ("behind", 200),
        ("confirmed", 1_000),
        ("a capability was revoked", 500),
    ] {
        assert!(seen.of(what) >= least, "{what}: {} of {least}", seen.of(what));
    }
    assert_eq!(seen.of("an answer contradicted what was known"), 0);
}

#[test]
fn a_seed_is_its_own_replay() {
    for seed in [1, 7, 1 << 40] {
        let (one, two) = (run(plan(seed, Fault::Nothing)), run(plan(seed, Fault::Nothing)));
        assert!(one.trace.lines().len() > 100);
        assert_eq!(one.trace.digest(), two.trace.digest());
        assert_eq!(one.seen, two.seen);
        assert_ne!(one.trace.digest(), run(plan(seed + 1, Fault::Nothing)).trace.digest());
    }
    // Also of one that fails.
    let [one, two] = [0, 1].map(|_| run(plan(1, Fault::Stale)));
    let said = |outcome: Result<(), Failure>| outcome.unwrap_err().to_string();
    assert_eq!(said(one.outcome), said(two.outcome));
    assert_eq!(one.trace.digest(), two.trace.digest());
}

#[test]
fn what_is_broken_is_found() {
    for fault in Fault::ALL.iter().copied().filter(|fault| *fault != Fault::Nothing) {
        let found = (1..=FOUND_WITHIN).find_map(|seed| {
            let failure = run(plan(seed, fault)).outcome.err()?;
            assert!(matches!(failure, Failure::Violated { .. }), "{fault:?}: {failure}");
            Some(format!("seed {seed}: {failure}"))
        });
        let found = found.unwrap_or_else(|| panic!("{} was not found", fault.as_str()));
        println!("{:<14} {found}", fault.as_str());
    }
}
