use proptest::prelude::*;
use tipstaff_core::key::{SigningKey, VerifyingKey};
use tipstaff_core::{Action, Json, Millis, Tier};

use super::engine::Engine;
use super::recognise::Symbols;
use super::*;

mod bad;
mod samples;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn public(seed: u8) -> VerifyingKey {
    key(seed).verifying_key().clone()
}

fn read(bytes: &[u8], root: &VerifyingKey) -> Result<Capability, Fault> {
    Token::decode(bytes)?.verify(root)
}

/// A grant for key 1.
fn granted(caveats: &[Caveat]) -> (Vec<u8>, VerifyingKey) {
    grant(&public(1), &parts(caveats)).unwrap()
}

fn parts(caveats: &[Caveat]) -> Vec<Part> {
    caveats.iter().cloned().map(Part::Caveat).collect()
}

/// An action with everything that a capability is asked about.
#[derive(Debug, Clone)]
struct Case {
    action: Action,
    tier: Tier,
    now: u64,
    position: u64,
    session: &'static str,
    paths: Vec<&'static str>,
    used: i64,
}

impl Case {
    fn of(tool: &str, arguments: &str) -> Self {
        let arguments = Json::parse(arguments.as_bytes()).unwrap();
        Self {
            action: Action::new("notes", tool, "tools/call", arguments, None).unwrap(),
            tier: Tier::T2,
            now: 50_000,
            position: 50,
            session: "s-1",
            paths: vec!["/srv/a/x"],
            used: 1,
        }
    }

    fn ask<T>(&self, meters: &[Meter], then: impl FnOnce(&Asked<'_>) -> T) -> T {
        let metered = |meter: &Meter| Metered { meter: meter.clone(), value: self.used };
        let metered: Vec<Metered> = meters.iter().map(metered).collect();
        then(&Asked {
            action: &self.action,
            tier: self.tier,
            now: Millis(self.now),
            position: self.position,
            session: self.session,
            paths: &self.paths,
            metered: &metered,
        })
    }

    fn permits(&self, capability: &Capability) -> bool {
        self.ask(capability.meters(), |asked| capability.permits(asked).is_ok())
    }
}

fn engine(bytes: &[u8], root: &VerifyingKey) -> Engine {
    engine_of(bytes, root).unwrap()
}

fn engine_of(bytes: &[u8], root: &VerifyingKey) -> Result<Engine, Fault> {
    let token = Token::decode(bytes)?;
    let (mut shared, mut thirds) = (Symbols::default(), Vec::new());
    for signed in &token.wire().blocks {
        let mut own = Symbols::default();
        let table = if signed.external.is_some() { &mut own } else { &mut shared };
        table.extend(&signed.block.symbols).unwrap();
        thirds.push(signed.external.as_ref().map(|_| own));
    }
    let symbols = thirds.iter().map(|own| own.as_ref().unwrap_or(&shared));
    let blocks: Vec<_> =
        token.wire().blocks.iter().map(|signed| &signed.block).zip(symbols).collect();
    Engine::new(bytes, root, &blocks)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "", "/srv/a", "\"", "x\\y", "\u{e9}"])
        .prop_map(str::to_owned)
}

fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/srv/a", "/srv/a/x", "/srv/ab", "/etc/passwd", "", "/"])
}

fn one_match() -> impl Strategy<Value = Match> {
    let texts = prop::sample::select(vec![
        "/srv/a",
        "/srv/a/",
        "/",
        "",
        "a.example",
        ".example",
        "b.example",
        "/etc/passwd",
    ]);
    (texts, 0..3).prop_map(|(text, which)| match which {
        0 => Match::Is(text.to_owned()),
        1 => Match::Begins(text.to_owned()),
        _ => Match::Ends(text.to_owned()),
    })
}

fn named() -> impl Strategy<Value = Named> {
    let texts = prop::sample::select(vec!["notes/read", "notes", "web", "tools/call", "s-1", "x"]);
    (texts, 0..4).prop_map(|(text, which)| {
        let text = text.to_owned();
        match which {
            0 => Named::Tool(text),
            1 => Named::Server(text),
            2 => Named::Operation(text),
            _ => Named::Session(text),
        }
    })
}

fn at() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/n", "/k", "/l/0", "/gone", "/o~1x", ""]).prop_map(str::to_owned)
}

fn bounds() -> impl Strategy<Value = Vec<(Compare, i64)>> {
    let compare =
        prop::sample::select(vec![Compare::Less, Compare::AtMost, Compare::AtLeast, Compare::More]);
    prop::collection::vec((compare, -1_i64..60), 1..3)
}

fn caveat() -> impl Strategy<Value = Caveat> {
    let number = prop_oneof![
        at().prop_map(Number::Argument),
        Just(Number::Position),
        Just(Number::Tier),
        (0_usize..3).prop_map(Number::Uses),
    ];
    let patterns = prop::sample::select(vec!["^a+$", "b", "(", "", "^(?:a|b)$", "\\d"]);
    prop_oneof![
        prop::collection::vec(named(), 1..3).prop_map(Caveat::Named),
        (number, bounds()).prop_map(|(of, bounds)| Caveat::Bounds { of, bounds }),
        (0_i64..60)
            .prop_map(|at| Caveat::Bounds { of: Number::Time, bounds: vec![(Compare::Less, at)] }),
        (any::<bool>(), prop::collection::vec(one_match(), 1..4)).prop_map(|(hosts, any)| {
            Caveat::Every { of: if hosts { Many::Hosts } else { Many::Paths }, any }
        }),
        (at(), patterns).prop_filter_map("no pattern", |(at, text)| Pattern::new(text)
            .map(|pattern| Caveat::Matches { at, pattern })),
        (at(), prop::collection::btree_set(text(), 1..4))
            .prop_map(|(at, values)| Caveat::OneOf { at, values }),
        (0_usize..3, at(), -1_i64..60).prop_map(|(block, at, most)| Caveat::Budget {
            block,
            at,
            most
        }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let arguments = prop::sample::select(vec![
        r#"{"n":3,"k":"a"}"#,
        r#"{"n":-1,"k":"ab","l":[7]}"#,
        r#"{"n":9007199254740991,"k":"b","u":"https://a.example/x"}"#,
        r#"{"n":2.5,"k":null,"u":"see https://b.example and http://a.example:80"}"#,
        r#"{"n":"3","k":true,"o/x":5,"l":["a"]}"#,
        r#"{"u":"http:/a.example","k":""}"#,
        "{}",
    ]);
    let tools = prop::sample::select(vec![
        ("notes", "read", "tools/call"),
        ("notes", "read", "prompts/get"),
        ("web", "get", "tools/call"),
    ]);
    (
        (arguments, tools, 1_u8..=5, 0_u64..60_000, 0_u64..60),
        (prop::collection::vec(place(), 0..3), 0_i64..60, any::<bool>()),
    )
        .prop_map(|((arguments, tool, tier, now, position), (paths, used, session))| {
            let (server, name, operation) = tool;
            let arguments = Json::parse(arguments.as_bytes()).unwrap();
            Case {
                action: Action::new(server, name, operation, arguments, None).unwrap(),
                tier: Tier::from_number(tier).unwrap(),
                now,
                position,
                session: if session { "s-1" } else { "s-2" },
                paths,
                used,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is decided without an engine is what Biscuit's own engine says.
    #[test]
    fn our_forms_mean_what_the_engine_says(
        caveats in prop::collection::vec(caveat(), 0..3),
        cases in prop::collection::vec(case(), 1..6),
    ) {
        let (bytes, root) = granted(&caveats);
        let capability = read(&bytes, &root).unwrap();
        prop_assert!(capability.is_native(), "{caveats:?}");
        let engine = engine(&bytes, &root);
        for case in cases {
            let theirs = case.ask(capability.meters(), |asked| engine.permits(asked));
            prop_assert!(theirs != Err(Fault::Costly), "{caveats:?}");
            prop_assert_eq!(
                case.permits(&capability), theirs.is_ok(),
                "{:?} {:?} {:?}", caveats, case, theirs
            );
        }
    }

    /// No holder exceeds what it was given: whatever a descendant permits, each of its ancestors does.
    #[test]
    fn what_was_made_from_a_capability_is_never_wider(
        first in prop::collection::vec(caveat(), 0..2),
        steps in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(caveat(), 0..2), prop::option::of(2_u8..6)), 1..8
        ),
        cases in prop::collection::vec(case(), 1..6),
    ) {
        let (bytes, root) = granted(&first);
        // A tree: each node with its parent and who holds it.
        let mut tree = vec![(bytes, usize::MAX, 1_u8)];
        for (from, caveats, to) in steps {
            let from = usize::from(from) % tree.len();
            let (parent, _, holder) = tree[from].clone();
            let next = to.map(public);
            let own = key(holder);
            let given = next.as_ref().map(|next| (next, &own));
            let made = attenuate(&parent, given, &parts(&caveats)).unwrap();
            tree.push((made, from, to.unwrap_or(holder)));
        }
        let read: Vec<Capability> =
            tree.iter().map(|(bytes, ..)| read(bytes, &root).unwrap()).collect();
        for (index, (_, parent, holder)) in tree.iter().enumerate() {
            prop_assert_eq!(read[index].holder(), Some(&public(*holder)));
            let Some(above) = read.get(*parent) else { continue };
            prop_assert!(read[index].ids().starts_with(above.ids()));
            for case in &cases {
                prop_assert!(!case.permits(&read[index]) || case.permits(above), "{case:?}");
            }
        }
        // Revoking one ends exactly what was made from it.
        let mut grants = Grants::default();
        let cut = read[tree.len() / 2].ids().last().copied().unwrap();
        grants.revoke(cut).unwrap();
        for capability in &read {
            prop_assert_eq!(
                grants.revoked(capability.ids()).is_some(), capability.ids().contains(&cut)
            );
        }
    }
}

#[test]
fn what_has_none_of_our_forms_is_left_to_the_engine() {
    let check = |text: &str| vec![Part::Check(text.to_owned())];
    let case = Case::of("read", r#"{"n":3,"k":"a"}"#);
    for (text, native, permits) in [
        ("check if tool(\"notes/read\")", true, true),
        ("check if time($t), $t <= 2030-01-01T00:00:00Z", true, true),
        ("check if argument(\"/n\", $n), $n * 2 == 6", false, true),
        ("check if argument(\"/n\", $n), $n * 2 == 7", false, false),
        ("reject if tool(\"notes/write\")", false, true),
        ("reject if tool(\"notes/read\")", false, false),
        ("check if argument(\"/n\", $n), argument(\"/k\", $k), $k == \"a\"", false, true),
        ("check if uses(0, $n), $n < 2", true, true),
        ("check if uses(0, $n), $n == 1", false, true),
        ("check if position($p), $p.type() == \"integer\"", false, true),
        // Neither form nor engine knows what this is about.
        ("check if colour(\"red\")", false, false),
        ("check if argument(\"/k\", $v), $v < 3", true, false),
    ] {
        let (bytes, root) = grant(&public(1), &check(text)).unwrap();
        let capability = read(&bytes, &root).unwrap();
        assert_eq!(capability.is_native(), native, "{text}");
        assert_eq!(case.permits(&capability), permits, "{text}");
    }
    assert!(grant(&public(1), &check("check if")).is_err());
}

#[test]
fn a_check_that_could_take_for_ever_is_refused_at_once() {
    let wide = "argument($a, $b), argument($c, $d), argument($e, $f), argument($g, $h)";
    let numbers: Vec<String> = (0..60).map(|n| format!("\"k{n}\":{n}")).collect();
    let case = Case::of("read", &format!("{{{}}}", numbers.join(",")));
    let deep = "[1].all($a -> [1].all($b -> [1].all($c -> [1].all($d -> $a == $d))))";
    for check in [format!("check if {wide}, $b + $d == 99999"), format!("check if {deep}")] {
        let (bytes, root) = grant(&public(1), &[Part::Check(check)]).unwrap();
        let capability = read(&bytes, &root).unwrap();
        let began = std::time::Instant::now();
        let said = case.ask(capability.meters(), |asked| capability.permits(asked));
        assert_eq!(said, Err(Fault::Costly));
        assert!(began.elapsed().as_secs() < 60);
    }
    // The most that is looked at is little.
    let numbers: Vec<String> = (0..150).map(|n| format!("\"k{n}\":{n}")).collect();
    let case = Case::of("read", &format!("{{{}}}", numbers.join(",")));
    let check = "check if argument($a, $b), argument($c, $d), $b + $d == 99999".to_owned();
    let (bytes, root) = grant(&public(1), &[Part::Check(check)]).unwrap();
    let capability = read(&bytes, &root).unwrap();
    let began = std::time::Instant::now();
    let said = case.ask(capability.meters(), |asked| capability.permits(asked));
    assert!(matches!(said, Err(Fault::Outside { .. })), "{said:?}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    // More arguments than the engine is told of.
    let many: Vec<String> = (0..300).map(|n| format!("\"k{n}\":{n}")).collect();
    let case = Case::of("read", &format!("{{{}}}", many.join(",")));
    let check = Part::Check("reject if tool(\"x\")".to_owned());
    let (bytes, root) = grant(&public(1), &[check]).unwrap();
    let capability = read(&bytes, &root).unwrap();
    let said = case.ask(capability.meters(), |asked| capability.permits(asked));
    assert_eq!(said, Err(Fault::Costly));
}

#[test]
fn the_reasons_in_receipts_read_back() {
    let words = [
        Fault::TooLarge,
        Fault::TooManyBlocks,
        Fault::Malformed("x"),
        Fault::Algorithm,
        Fault::Key,
        Fault::Unknown,
        Fault::Forged,
        Fault::NoHolder,
        Fault::HolderChanged,
        Fault::NotHolder,
        Fault::Revoked,
        Fault::HolderEnded,
        Fault::Costly,
        Fault::Lost,
    ];
    for fault in words {
        let read = Fault::parse(fault.as_str()).unwrap();
        assert_eq!(read.as_str(), fault.as_str());
    }
    assert_eq!(Fault::parse("outside_capability"), None);
}

#[test]
fn a_handle_looks_again_only_when_something_was_ordered() {
    let (bytes, root) = granted(&[]);
    let handle = Handle::new(std::sync::Arc::new(read(&bytes, &root).unwrap()));
    let (first, second) =
        (Some(tipstaff_core::Digest::of(b"1")), Some(tipstaff_core::Digest::of(b"2")));
    assert_eq!(handle.stands(first, |_| Ok(())), Ok(()));
    assert_eq!(handle.stands(first, |_| Err(Fault::Revoked)), Ok(()), "nothing was ordered");
    assert_eq!(handle.stands(second, |_| Err(Fault::Revoked)), Err(Fault::Revoked));
}

#[test]
fn a_capability_reads_as_text_and_shows_what_it_says() {
    let (bytes, _) = granted(&[Caveat::Named(vec![Named::Tool("a/b".to_owned())])]);
    let text = to_text(&bytes);
    assert_eq!(from_text(&format!("{text}\n")).unwrap(), bytes);
    assert_eq!(from_text(text.trim_end_matches('=')).unwrap(), bytes);
    let made = attenuate(&bytes, Some((&public(2), &key(1))), &[]).unwrap();
    let shown = inspect(&made).unwrap();
    assert_eq!(shown[0].holder, Some(public(1).to_did_key()));
    assert!(shown[0].source.contains("check if tool(\"a/b\")"), "{}", shown[0].source);
    assert_eq!(shown[1].signed_by, Some(public(1).to_did_key()));
    assert_eq!(shown[1].holder, Some(public(2).to_did_key()));
}
