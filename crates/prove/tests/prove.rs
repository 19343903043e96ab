//! Proofs with a real solver: `cvc5` from `CVC5` or the path. Without one these tests say so and prove nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and says what it leaves out"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use tipstaff_classify::Catalogue;
use tipstaff_core::{Action, Json, Labels, Millis, Sink, Tier, Verdict};
use tipstaff_policy::paths::PathFacts;
use tipstaff_policy::{
    Classified, Distances, InWords, Limits, PolicySet, PolicySource, Request, SessionContext,
    ToolPins, default_source,
};
use tipstaff_prove::{ALWAYS, Answer, Counterexample, ProveError, Prover, Statement};

fn solver() -> Option<Prover> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("CVC5").map(PathBuf::from);
    let found = named.or_else(|| {
        std::env::split_paths(&path).map(|at| at.join("cvc5")).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(std::env::var_os("TIPSTAFF_NEEDS_CVC5").is_none(), "there is no cvc5");
        eprintln!("SKIPPED: there is no cvc5 (apt install cvc5)");
    }
    found.map(|file| Prover::new(&file))
}

fn admit(files: &[(&str, &str)]) -> PolicySet {
    let mut source = PolicySource::default();
    for (name, text) in files {
        source.files.insert((*name).to_owned(), (*text).to_owned());
    }
    let schema = r#"{"type":"object","properties":{"branch":{"type":"string"}}}"#;
    let schema = Json::parse(schema.as_bytes()).unwrap();
    let tools = BTreeMap::from([
        ("github/push".to_owned(), Some(schema)),
        ("github/pull".to_owned(), None),
        ("notes/read".to_owned(), None),
    ]);
    let classes = Catalogue::builtin().classes();
    PolicySet::admit(&source, &ToolPins { tools }, classes).unwrap_or_else(|f| panic!("{f:?}")).set
}

fn with_default(words: &str) -> PolicySet {
    let default = default_source();
    admit(&[("tipstaff.cedar", &default.files["tipstaff.cedar"]), ("team.access", words)])
}

fn prove(solver: &Prover, set: &PolicySet, statement: &str) -> Option<Counterexample> {
    let statement = Statement::parse(statement).unwrap();
    match solver.prove(set, Catalogue::builtin().classes(), &statement).unwrap() {
        Answer::Proved(extent) => {
            assert!(extent.kinds >= 7, "{extent:?}");
            None
        }
        Answer::Refuted(found) => Some(*found),
    }
}

#[test]
fn what_a_home_starts_with_keeps_what_it_promises() {
    let Some(solver) = solver() else { return };
    let set = with_default("// nothing");
    for holds in [
        "no agent can ever do T5 without approval",
        "no agent can ever do T3 on not roots without approval",
        "no agent can ever do * on credentials",
        "no agent can ever do * on tipstaff",
    ] {
        assert_eq!(prove(&solver, &set, holds), None, "{holds}");
    }
    let found = prove(&solver, &set, "no agent can ever do T5").unwrap();
    assert_eq!((found.verdict, found.rule.as_deref()), (Verdict::StepUp, Some("high-tiers")));
    assert_eq!(found.facts["tier"], "5");
    let found = prove(&solver, &set, "nobody can ever do T3 without approval").unwrap();
    assert_eq!((found.verdict, found.rule.as_deref()), (Verdict::Allow, Some("inside-roots")));
}

#[test]
fn a_rule_that_breaks_a_statement_is_found_and_a_forbid_mends_it() {
    let Some(solver) = solver() else { return };
    let never = "no agent can ever do T5 without approval";
    let set = with_default("allow({ coder, role(admin) }, github/*, *)");
    let found = prove(&solver, &set, never).unwrap();
    assert_eq!((found.verdict, found.rule.as_deref()), (Verdict::Allow, Some("team.access.1")));
    assert!(
        found.agent == "coder" || found.within.contains(&"Role::\"admin\"".to_owned()),
        "{found:?}"
    );
    assert_eq!(found.servers, ["Server::\"github\""]);
    assert_eq!(
        prove(&solver, &set, "helper can never do T4 without approval").map(|f| f.agent),
        Some("helper".into())
    );
    assert_eq!(
        prove(&solver, &set, "not { coder, role(admin) } can never do T4+ without approval"),
        None
    );
    let mended = "allow({ coder, role(admin) }, github/*, *) deny(*, T5, *)";
    assert_eq!(prove(&solver, &with_default(mended), never), None);
    assert_eq!(prove(&solver, &with_default(mended), "no agent can ever do T5"), None);
}

#[test]
fn ranks_and_obligations_are_part_of_what_is_proved() {
    let Some(solver) = solver() else { return };
    let base = "@id(\"p\") @rank(\"1\") permit (principal, action, resource);";
    let higher =
        "@id(\"f\") @rank(\"2\") forbid (principal, action, resource) when { context.tier == 5 };";
    let equal =
        "@id(\"f\") @rank(\"1\") forbid (principal, action, resource) when { context.tier == 5 };";
    let lower =
        "@id(\"f\") @rank(\"0\") forbid (principal, action, resource) when { context.tier == 5 };";
    let asks = "@id(\"s\") @rank(\"1\") @step_up permit (principal, action, resource) when { context.tier == 5 };";
    let asks_below =
        "@id(\"s\") @step_up permit (principal, action, resource) when { context.tier == 5 };";
    let outranks =
        "@id(\"o\") @rank(\"3\") permit (principal in Role::\"root\", action, resource);";
    let aligned = "@id(\"a\") @step_up_if_aligned permit (principal, action, resource) when { context.tier == 5 };";
    let [never, unapproved] =
        ["no agent can ever do T5", "no agent can ever do T5 without approval"];
    for (policies, refutes, approves) in [
        (&[base][..], Some("p"), Some("p")),
        (&[base, higher], None, None),
        (&[base, equal], None, None),
        (&[base, lower], Some("p"), Some("p")),
        (&[base, asks], Some("s"), None),
        (&[base, asks_below], Some("p"), Some("p")),
        (&[base, higher, outranks], Some("o"), Some("o")),
        (&[base, asks, outranks], Some("s"), Some("o")),
        (&[aligned], Some("a"), None),
        (&[aligned, lower], None, None),
        (&[], None, None),
    ] {
        let set = admit(&[("a.cedar", &policies.join("\n"))]);
        let rule = |found: Option<Counterexample>| found.and_then(|found| found.rule);
        let [never, unapproved] =
            [never, unapproved].map(|claim| rule(prove(&solver, &set, claim)));
        // Of several that refute it, the solver may find any.
        assert_eq!(never.is_some(), refutes.is_some(), "{policies:?}: {never:?}");
        assert_eq!(unapproved.as_deref(), approves, "{policies:?}");
    }
}

#[test]
fn tools_arguments_and_times_are_part_of_what_is_proved() {
    let Some(solver) = solver() else { return };
    let set = admit(&[(
        "a.cedar",
        "@id(\"push\") permit (principal, action == Action::\"call:github/push\", resource)
         when { context.arguments has branch && context.arguments.branch like \"fix/*\" };
         @id(\"read\") permit (principal, action in Action::\"call\", resource == Tool::\"notes/read\")
         when { resource.hasTag(\"/name\") && resource.getTag(\"/name\") == \"a.md\" };
         @id(\"late\") permit (principal, action == Action::\"call:github/pull\", resource)
         when { context.now > datetime(\"2026-01-01\") && context.risk + 1 < 50 };",
    )]);
    let found = prove(&solver, &set, "no agent can ever do github/push").unwrap();
    assert_eq!(found.rule.as_deref(), Some("push"));
    assert_eq!((found.action.as_str(), found.tool.as_str()), ("call:github/push", "github/push"));
    assert!(found.facts["arguments"].contains("fix/"), "{found:?}");
    let found = prove(&solver, &set, "no agent can ever do notes/read").unwrap();
    assert_eq!(found.arguments["/name"], "\"a.md\"");
    let other = "no agent can ever do notes/read on not argument(\"/name\", \"a.md\")";
    assert_eq!(prove(&solver, &set, other), None);
    assert_eq!(prove(&solver, &set, "no agent can ever do * on server(fetch)"), None);
    assert_eq!(prove(&solver, &set, "no agent can ever do sample"), None);
    let found = prove(&solver, &set, "no agent can ever do github/pull").unwrap();
    assert_eq!(found.rule.as_deref(), Some("late"));
}

#[test]
fn without_a_solver_nothing_is_proved() {
    let set = with_default("// nothing");
    let statement = Statement::parse("no agent can ever do T5").unwrap();
    for solver in ["/nowhere/cvc5", "/bin/true", "/bin/cat"] {
        let solver = Prover::new(solver.as_ref());
        let answer = solver.prove(&set, Catalogue::builtin().classes(), &statement);
        assert!(
            matches!(answer, Err(ProveError::NoSolver(_) | ProveError::Undecided(_))),
            "{answer:?}"
        );
    }
    let unknown = Statement::parse("no agent can ever do fs:wriet").unwrap();
    let answer =
        Prover::new("/nowhere".as_ref()).prove(&set, Catalogue::builtin().classes(), &unknown);
    assert!(
        matches!(&answer, Err(ProveError::Statement(fault)) if fault.hint.contains("fs:write")),
        "{answer:?}"
    );
}

/// A proof leaves out what these conditions leave out, so that they have to hold of whatever is judged.
#[test]
fn what_is_taken_for_granted_holds_of_every_request() {
    let conditions: Vec<String> =
        ALWAYS.iter().map(|holds| format!("when {{ {holds} }}")).collect();
    let policy = format!("permit (principal, action, resource) {};", conditions.join("\n"));
    let set = admit(&[("a.cedar", &policy)]);
    let empty = Json::parse(b"{}").unwrap();
    let mut judged = 0;
    for (operation, tool) in
        [("tools/call", "push"), ("resources/read", "resources/read"), ("x", "x")]
    {
        let action = Action::new("github", tool, operation, empty.clone(), None).unwrap();
        for tier in (1..=5).filter_map(Tier::from_number) {
            for classified in [Classified::Known, Classified::Named, Classified::Unclassified] {
                for sink in Sink::ALL {
                    for bits in 0..128_u32 {
                        let labels: Labels = tipstaff_core::Label::ALL
                            .into_iter()
                            .enumerate()
                            .filter(|(at, _)| bits & (1 << at) != 0)
                            .map(|(_, label)| label)
                            .collect();
                        let distances =
                            Distances { ppm: bits, drift: (u32::MAX, 0), is_semantic: true };
                        let session = SessionContext {
                            labels: Some(labels),
                            distances: Some(distances),
                            ..SessionContext::default()
                        };
                        let decision = set.decide(&Request {
                            action: &action,
                            tier,
                            class: "fs:read",
                            classified,
                            paths: PathFacts::default(),
                            principal: "coder",
                            user: "ada",
                            roles: &[],
                            sink,
                            carries: labels,
                            words: InWords::default(),
                            session: &session,
                            limits: Limits { risk: None, ..Limits::default() },
                            now: Millis(u64::from(bits)),
                        });
                        assert_eq!(
                            decision.verdict,
                            Verdict::Allow,
                            "{tier} {classified:?} {sink:?} {bits}"
                        );
                        judged += 1;
                    }
                }
            }
        }
    }
    assert_eq!(judged, 3 * 5 * 3 * 4 * 128);
}

/// What the compiler makes of a set is as deep as the set has policies, and it recurses.
#[test]
fn large_sets_are_asked_about_or_refused_and_never_overflow() {
    let rule = |n: usize| format!("allow(agent{n}, fs:write, roots)\n");
    let rules = |count: usize| -> String { (0..count).map(rule).collect() };
    let statement = Statement::parse("no agent can ever do T5").unwrap();
    let classes = || Catalogue::builtin().classes();
    let many = admit(&[("team.access", &rules(tipstaff_prove::POLICIES_MAX + 1))]);
    let answer = Prover::new("/nowhere".as_ref()).prove(&many, classes(), &statement);
    assert!(matches!(&answer, Err(ProveError::NotLogic(_))), "{answer:?}");
    let Some(solver) = solver() else { return };
    let large = admit(&[("team.access", &format!("{}deny(*, T5, *)", rules(400)))]);
    assert!(matches!(solver.prove(&large, classes(), &statement), Ok(Answer::Proved(_))));
}

/// Sets of ranked policies drawn at random: a statement is proved exactly if the engine itself, asked about every
/// request that differs for these policies, never answers what the statement rules out.
#[test]
fn proofs_agree_with_trying_everything() {
    let Some(solver) = solver() else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let facts = [
        "context.tier == 5",
        "context.inside_roots",
        "context.tier >= 4",
        "!context.inside_roots",
        "true",
    ];
    let (mut proved, mut refuted) = (0, 0);
    for _ in 0..20 {
        let policies: Vec<String> = (0..2 + draw(4))
            .map(|number| {
                let rank = ["", "@rank(\"-1\")", "@rank(\"0\")", "@rank(\"1\")", "@rank(\"2\")"];
                let (effect, duty) = match draw(6) {
                    0 | 1 => ("forbid", ""),
                    2 => ("permit", "@step_up"),
                    3 => ("permit", "@step_up_if_aligned"),
                    _ => ("permit", ""),
                };
                let pick = |list: &[&'static str], at: u64| list[usize::try_from(at).unwrap()];
                let (rank, fact) = (pick(&rank, draw(5)), pick(&facts, draw(5)));
                format!("@id(\"p{number}\") {rank} {duty} {effect} (principal, action == Action::\"read\", resource) when {{ {fact} }};")
            })
            .collect();
        let text = policies.join("\n");
        let set = admit(&[("a.cedar", &text)]);
        let mut worst = [false; 2];
        for inside_roots in [false, true] {
            let verdict = read_at_tier_5(&set, inside_roots);
            let runs = matches!(verdict, Verdict::Allow | Verdict::Modify);
            worst = [worst[0] || runs || verdict == Verdict::StepUp, worst[1] || runs];
        }
        for (claim, breaks) in ["", " without approval"].into_iter().zip(worst) {
            let found = prove(&solver, &set, &format!("no agent can ever do T5{claim}"));
            assert_eq!(found.is_some(), breaks, "{claim}: {found:?}\n{text}");
            if breaks { refuted += 1 } else { proved += 1 }
        }
    }
    assert!(proved > 5 && refuted > 5, "{proved} {refuted}");
}

fn read_at_tier_5(set: &PolicySet, inside_roots: bool) -> Verdict {
    let empty = Json::parse(b"{}").unwrap();
    let action = Action::new("any", "resources/read", "resources/read", empty, None).unwrap();
    let near = Distances { ppm: 0, drift: (0, 0), is_semantic: true };
    let session = SessionContext {
        labels: Some(Labels::NONE),
        distances: Some(near),
        ..SessionContext::default()
    };
    let decision = set.decide(&Request {
        action: &action,
        tier: Tier::T5,
        class: "fs:read",
        classified: Classified::Known,
        paths: PathFacts { inside_roots, ..PathFacts::default() },
        principal: "coder",
        user: "ada",
        roles: &[],
        sink: Sink::None,
        carries: Labels::NONE,
        words: InWords::default(),
        session: &session,
        limits: Limits { risk: None, aligned_ppm: Some(u32::MAX), ..Limits::default() },
        now: Millis(1),
    });
    decision.verdict
}
