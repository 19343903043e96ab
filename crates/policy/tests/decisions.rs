//! The order in which the verdicts win. The adversary here is each way to get from "no" to "yes".

mod common;

use common::{admit, ask, json, set, source};
use proptest::prelude::*;
use tipstaff_context::Measure;
use tipstaff_core::{Action, Millis, Sink, Tier, Verdict};
use tipstaff_policy::{
    Classified, Distances, PolicySet, PolicySource, Reason, Request, ToolPins, default_source,
};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn distances(ppm: u32) -> Distances {
    Distances::at(ppm, Measure::Semantic, None)
}

fn plus(text: &str) -> PolicySet {
    set(&format!("{ALL}{text}"))
}

#[test]
fn nothing_matched_is_a_denial() {
    let decision = ask("fs/write", "{}").judge(&set(""));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::NoRule));
    assert!(decision.advice.is_some());
}

#[test]
fn an_error_while_judging_is_never_an_allow() {
    let overflow = "context.tier + 9223372036854775807 > 0";
    for effect in ["forbid", "permit"] {
        let text =
            format!("@id(\"bad\") {effect} (principal, action, resource) when {{ {overflow} }};");
        let decision = ask("fs/write", "{}").judge(&plus(&text));
        assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::PolicyError));
        assert_eq!(decision.rule.as_deref(), Some("bad"));
    }
    // A tag that is not there can't even be admitted without a guard.
    let unguarded =
        "forbid (principal, action, resource) when { resource.getTag(\"/nope\") == \"x\" };";
    assert!(!common::faults(unguarded).is_empty());
}

#[test]
fn too_many_arguments_are_refused_before_anything_is_built() {
    let many: Vec<String> = (0..1025).map(|n| n.to_string()).collect();
    let arguments = format!("{{\"a\":[{}]}}", many.join(","));
    let decision = ask("fs/read", &arguments).judge(&plus(""));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::PolicyError));
    let arguments = format!("{{\"a\":[{}]}}", many[1..].join(","));
    assert_eq!(ask("fs/read", &arguments).judge(&plus("")).verdict, Verdict::Allow);
}

#[test]
fn what_is_not_known_yet_defers_and_a_forbid_wins_over_that() {
    let labels = "@id(\"seen\") forbid (principal, action, resource) when { context.labels.contains(\"secret\") };";
    let policy = plus(labels);
    let decision = ask("fs/write", "{}").judge(&policy);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Defer, Reason::NeedsContext));
    assert_eq!(decision.rule.as_deref(), Some("seen"));
    assert_eq!(ask("fs/write", "{}").labels(&[]).judge(&policy).verdict, Verdict::Allow);
    assert_eq!(ask("fs/write", "{}").labels(&["secret"]).judge(&policy).verdict, Verdict::Deny);

    let near = "permit (principal, action, resource) when { context.distance_ppm < 5 };";
    assert_eq!(ask("fs/write", "{}").judge(&set(near)).verdict, Verdict::Defer);

    let no = "@id(\"no\") forbid (principal, action, resource) when { context.tier == 3 };";
    let decision = ask("fs/write", "{}").judge(&plus(&format!("{labels}{no}")));
    assert_eq!((decision.verdict, decision.rule.as_deref()), (Verdict::Deny, Some("no")));

    // An error that waiting can't heal is not hidden behind one that it can.
    let bad =
        "permit (principal, action, resource) when { context.tier * 9223372036854775807 > 0 };";
    let decision = ask("fs/write", "{}").judge(&plus(&format!("{labels}{bad}")));
    assert_eq!(decision.reason, Reason::PolicyError);
}

#[test]
fn the_highest_rank_decides_and_a_forbid_without_rank_is_above_all() {
    let forbid = |rank: &str| {
        format!("{rank} forbid (principal, action, resource) when {{ context.tier == 3 }};")
    };
    let verdict = |text: &str| {
        let decision = ask("fs/write", "{}").judge(&plus(text));
        (decision.verdict, decision.reason)
    };
    assert_eq!(verdict(&forbid("")), (Verdict::Deny, Reason::Forbidden));
    assert_eq!(verdict(&forbid("@rank(\"-1\")")), (Verdict::Allow, Reason::Permitted));
    assert_eq!(verdict(&forbid("@rank(\"0\")")), (Verdict::Defer, Reason::Conflict));
    assert_eq!(verdict(&forbid("@rank(\"1\")")), (Verdict::Deny, Reason::Forbidden));
    let above = "@rank(\"7\") permit (principal, action, resource);";
    assert_eq!(verdict(&format!("{}{above}", forbid("@rank(\"1\")"))).0, Verdict::Allow);
    assert_eq!(verdict(&format!("{}{above}", forbid(""))).0, Verdict::Deny);
    let matched = ask("fs/write", "{}").judge(&plus(&forbid("@rank(\"0\")"))).matched;
    assert_eq!(matched, ["a.cedar#2", "all"]);
}

#[test]
fn a_step_up_at_the_highest_rank_holds_the_action() {
    let held = "@id(\"ask\") @step_up(\"ask first\") permit (principal, action, resource);";
    let decision = ask("fs/write", "{}").judge(&plus(held));
    assert_eq!((decision.verdict, decision.reason), (Verdict::StepUp, Reason::HeldForApproval));
    assert_eq!(decision.advice.as_deref(), Some("ask first"));
    let lower = format!("@rank(\"-1\") {held}");
    assert_eq!(ask("fs/write", "{}").judge(&plus(&lower)).verdict, Verdict::Allow);
}

#[test]
fn a_step_up_if_aligned_permits_nothing_by_itself() {
    let set = set("@step_up_if_aligned permit (principal, action, resource);");
    let decision = ask("fs/write", "{}").judge(&set);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::NoRule));
}

fn modifying(extra: &str) -> PolicySet {
    let mut source = source(&format!(
        "@id(\"dry\") @modify(\"dry\") permit (principal, action, resource);{extra}"
    ));
    let patch = r#"[{"op":"add","path":"/dry","value":true}]"#;
    source.patches.insert("dry".into(), patch.into());
    source.patches.insert("same".into(), patch.into());
    source.patches.insert("cut".into(), r#"[{"op":"remove","path":"/gone"}]"#.into());
    admit(&source)
}

#[test]
fn a_patch_is_judged_once_more_and_must_then_be_allowed() {
    let set = modifying("");
    let first = ask("fs/write", r#"{"path":"x"}"#);
    let decision = first.judge(&set);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Modify, Reason::Modified));
    let expected = json(r#"{"dry":true,"path":"x"}"#);
    assert_eq!(decision.modified.as_ref(), Some(&expected));
    assert_eq!(decision.patch.as_deref(), Some("dry"));

    let mut patched = ask("fs/write", "{}");
    patched.action = first.action.with_parameters(expected.clone());
    let again = set.decide_modified(&patched.request(), "dry");
    assert_eq!((again.verdict, again.modified.as_ref()), (Verdict::Modify, Some(&expected)));
    // The patch changes nothing now, so that the first pass allows it.
    assert_eq!(patched.judge(&set).verdict, Verdict::Allow);

    // The patched action classifies higher: it isn't allowed as it is.
    let strict =
        modifying("@step_up permit (principal, action, resource) when { context.tier == 4 };");
    let again = strict.decide_modified(&patched.tier(Tier::T4).request(), "dry");
    assert_eq!((again.verdict, again.reason), (Verdict::Deny, Reason::ModifyFailed));
    assert_eq!(again.modified, None);
}

#[test]
fn patches_that_fail_or_disagree_are_no_permission() {
    let verdict = |extra: &str| {
        let decision = ask("fs/write", r#"{"path":"x"}"#).judge(&modifying(extra));
        (decision.verdict, decision.reason)
    };
    let second =
        |patch: &str| format!("@modify(\"{patch}\") permit (principal, action, resource);");
    assert_eq!(verdict(&second("dry")), (Verdict::Modify, Reason::Modified));
    assert_eq!(verdict(&second("same")), (Verdict::Defer, Reason::Conflict));
    assert_eq!(
        verdict("@step_up permit (principal, action, resource);"),
        (Verdict::Defer, Reason::Conflict)
    );
    let higher = "@rank(\"1\") @modify(\"cut\") permit (principal, action, resource);";
    assert_eq!(verdict(higher), (Verdict::Deny, Reason::ModifyFailed));
}

#[test]
fn typed_arguments_and_tags_are_what_the_agent_sent() {
    let typed = "@id(\"many\") forbid (principal, action == Action::\"call:fs/write\", resource)
        when { context.arguments has count && context.arguments.count > 3 };";
    let set = plus(typed);
    assert_eq!(ask("fs/write", r#"{"path":"x","count":3}"#).judge(&set).verdict, Verdict::Allow);
    assert_eq!(ask("fs/write", r#"{"path":"x","count":4}"#).judge(&set).verdict, Verdict::Deny);
    let evading = ask("fs/write", r#"{"path":"x","count":"4"}"#).judge(&set);
    assert_eq!((evading.verdict, evading.reason), (Verdict::Deny, Reason::ArgumentsMismatch));
    // Nobody looks at the arguments of other tools.
    assert_eq!(ask("fs/read", r#"{"count":"4"}"#).judge(&set).verdict, Verdict::Allow);
    assert_eq!(ask("fs/write", r#"{"count":"4"}"#).judge(&plus("")).verdict, Verdict::Allow);

    let tagged = plus(
        "forbid (principal, action in Action::\"call\", resource in Server::\"fs\")
         when { resource.hasTag(\"/to/0\") && resource.getTag(\"/to/0\") like \"*@evil\" };",
    );
    assert_eq!(ask("fs/read", r#"{"to":["a@evil"]}"#).judge(&tagged).verdict, Verdict::Deny);
    assert_eq!(ask("fs/read", r#"{"to":["a@good"]}"#).judge(&tagged).verdict, Verdict::Allow);
    assert_eq!(ask("other/read", r#"{"to":["a@evil"]}"#).judge(&tagged).verdict, Verdict::Allow);
}

#[test]
fn a_forbid_that_waits_for_a_schema_is_not_forgotten() {
    let set = plus(
        "@id(\"wait\") forbid (principal, action == Action::\"call:new/post\", resource)
         when { context.arguments.to == \"x\" };",
    );
    let decision = ask("new/post", r#"{"to":"y"}"#).judge(&set);
    assert_eq!((decision.verdict, decision.rule.as_deref()), (Verdict::Deny, Some("wait")));
    assert_eq!(ask("new/other", "{}").judge(&set).verdict, Verdict::Allow);
}

#[test]
fn operations_time_and_names_reach_the_rules() {
    let set = set(
        "permit (principal in User::\"user-1\", action == Action::\"read\", resource in Server::\"fs\")
         when { context.operation == \"resources/read\" && context.class == Class::\"file.write\"
             && context.now > datetime(\"2026-01-01\") && principal == Agent::\"agent-1\" };",
    );
    let mut read = ask("fs/x", "{}");
    assert_eq!(read.judge(&set).verdict, Verdict::Deny);
    read.action = Action::new("fs", "x", "resources/read", json("{}"), None).unwrap();
    assert_eq!(read.judge(&set).verdict, Verdict::Allow);
    read.class = "file.read";
    assert_eq!(read.judge(&set).verdict, Verdict::Deny);
}

#[test]
fn the_default_set_does_what_its_comments_say() {
    let set = PolicySet::admit(&default_source(), &ToolPins::default(), [].into_iter()).unwrap();
    assert!(set.warnings.is_empty());
    let set = set.set;
    let verdict = |change: &dyn Fn(&mut common::Ask)| {
        let mut asked = ask("any/thing", "{}");
        change(&mut asked);
        let decision = asked.judge(&set);
        assert!(decision.advice.is_some() && decision.rule.is_some());
        decision.verdict
    };
    for (tier, inside, outside) in [
        (Tier::T1, Verdict::Allow, Verdict::Allow),
        (Tier::T2, Verdict::Allow, Verdict::Allow),
        (Tier::T3, Verdict::Allow, Verdict::StepUp),
        (Tier::T4, Verdict::StepUp, Verdict::StepUp),
        (Tier::T5, Verdict::StepUp, Verdict::StepUp),
    ] {
        let at = |inside_roots: bool| {
            move |asked: &mut common::Ask| {
                asked.tier = tier;
                asked.paths.inside_roots = inside_roots;
            }
        };
        assert_eq!(verdict(&at(true)), inside);
        assert_eq!(verdict(&at(false)), outside);
        for change in [
            |asked: &mut common::Ask| asked.paths.touches_tipstaff = true,
            |asked: &mut common::Ask| asked.paths.touches_credentials = true,
        ] {
            let both = |asked: &mut common::Ask| {
                at(true)(asked);
                change(asked);
            };
            assert_eq!(verdict(&both), Verdict::Deny);
        }
        let unknown = |asked: &mut common::Ask| {
            at(true)(asked);
            asked.classified = Classified::Unclassified;
        };
        assert_eq!(verdict(&unknown), Verdict::StepUp);
    }
}

#[test]
fn what_is_left_out_because_no_rule_reads_it_changes_nothing() {
    let lean = default_source();
    let mut full = lean.clone();
    // Never matches here, but reads ancestors, tags, time and arguments, so that all are built.
    let reader = "forbid (principal, action in Action::\"call\", resource) when {
        resource in Server::\"none\" && resource.hasTag(\"/x\") && context has arguments
        && context.now < datetime(\"1970-01-01\") };";
    full.files.insert("reader.cedar".into(), reader.into());
    let (lean, full) = (admit(&lean), admit(&full));
    for tier in Tier::ALL {
        for (inside, touches) in [(true, false), (false, false), (true, true)] {
            let mut asked = ask("fs/write", r#"{"path":"x"}"#).tier(tier);
            asked.paths.inside_roots = inside;
            asked.paths.touches_credentials = touches;
            assert_eq!(asked.judge(&lean), asked.judge(&full));
        }
    }
}

const PARTS: [&str; 8] = [
    "permit (principal, action, resource) when { context.tier < 4 };",
    "@step_up permit (principal, action, resource) when { context.inside_roots };",
    "@rank(\"2\") forbid (principal, action, resource) when { context.class == Class::\"mail.send\" };",
    "@rank(\"2\") permit (principal, action in Action::\"call\", resource == Tool::\"fs/write\");",
    "@rank(\"1\") forbid (principal, action, resource in Server::\"fs\");",
    "forbid (principal, action, resource) when { context.tier == 5 };",
    "permit (principal, action, resource) when { context.labels.contains(\"untrusted\") };",
    "forbid (principal, action, resource) when { context.tier + 9223372036854775803 > 5 };",
];

/// Each sees another part of a request, those after the first six also more than is remembered by.
const SEEING: [&str; 11] = [
    "@id(\"a\") permit (principal == Agent::\"agent-1\", action, resource) when { context.tier < 3 };",
    "@id(\"b\") forbid (principal, action, resource) when { context.touches_credentials };",
    "@id(\"c\") permit (principal, action, resource) when { context.inside_roots || context.unclassified };",
    "@id(\"d\") forbid (principal, action, resource) when { context.operation == \"prompts/get\" };",
    "@id(\"e\") forbid (principal, action, resource) when { resource == Tool::\"fs/write\" };",
    "@id(\"f\") permit (principal, action, resource) when { context.class == Class::\"mail.send\" && context.distance_ppm < 9 };",
    "@id(\"g\") forbid (principal, action, resource) when { context.labels.contains(\"untrusted\") };",
    "@id(\"h\") forbid (principal, action, resource) when { resource.hasTag(\"/a\") && resource.getTag(\"/a\") == \"1\" };",
    "@id(\"i\") forbid (principal, action, resource) when { context.now < datetime(\"2026-01-01\") };",
    "@id(\"j\") forbid (principal, action, resource) when { resource in Server::\"web\" };",
    "@id(\"k\") forbid (principal, action == Action::\"call:fs/write\", resource) when { context has arguments && context.arguments.path == \"x\" };",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_asked_before_changes_no_decision(
        chosen in prop::sample::subsequence(SEEING.to_vec(), 0..SEEING.len()),
        base in any::<[u8; 12]>(),
        changes in prop::collection::vec((0..12usize, any::<u8>()), 30..60),
    ) {
        let text = chosen.concat();
        // Never matches, but reads the time, so that nothing is remembered.
        let reader = "@id(\"r\") forbid (principal, action, resource) when { context.now < datetime(\"1970-01-01\") };";
        let (used, fresh) = (set(&text), set(&format!("{text}{reader}")));
        // Questions that differ in one part.
        for (part, value) in changes {
            let mut question = base;
            question[part] = value;
            let pick = |at: usize, of: usize| usize::from(question[at]) % of;
            let tool = ["fs/write", "fs/read", "web/get"][pick(0, 3)];
            let arguments = ["{}", r#"{"a":"1"}"#, r#"{"path":"x"}"#, r#"{"path":"y"}"#][pick(1, 4)];
            let mut asked = ask(tool, arguments).tier(Tier::ALL[pick(2, 5)]);
            asked.class = ["mail.send", "file.read"][pick(3, 2)];
            asked.classified = [Classified::Known, Classified::Unclassified][pick(4, 2)];
            asked.paths.inside_roots = pick(5, 2) == 0;
            asked.paths.touches_credentials = pick(6, 4) == 0;
            asked.session.distances = [None, Some(3), Some(90)][pick(7, 3)].map(distances);
            asked.sink = [Sink::None, Sink::External][pick(6, 2)];
            asked.limits.risk = [None, Some(70)][pick(4, 2)];
            if pick(8, 3) > 0 {
                asked = asked.labels(&[["untrusted", "secret"][pick(8, 3) - 1]]);
            }
            if pick(9, 4) == 0 {
                let (server, name) = tool.split_once('/').unwrap();
                let parameters = asked.action.parameters().clone();
                asked.action = Action::new(server, name, "prompts/get", parameters, None).unwrap();
            }
            let request = Request {
                principal: ["agent-1", "agent-2"][pick(10, 2)],
                now: Millis([1_700_000_000_000, 1_800_000_000_000][pick(11, 2)]),
                ..asked.request()
            };
            prop_assert_eq!(used.decide(&request), fresh.decide(&request));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_order_of_files_changes_no_decision(
        chosen in prop::sample::subsequence((0..8usize).collect::<Vec<_>>(), 0..8),
        order in prop::collection::vec(any::<u16>(), 8),
        tier in 1..=5u8,
        mail in any::<bool>(),
        inside in any::<bool>(),
        known in any::<bool>(),
        tool in prop::sample::select(vec!["fs/write", "fs/read", "web/get"]),
    ) {
        // Ids make the policies the same whatever file they are in.
        let text = |part: usize| format!("@id(\"p{part}\") {}", PARTS[part]);
        let one = source(&chosen.iter().map(|part| text(*part)).collect::<String>());
        let many = PolicySource {
            files: chosen.iter().map(|part| (format!("{}-{part}.cedar", order[*part]), text(*part))).collect(),
            ..PolicySource::default()
        };
        let mut asked = ask(tool, "{}").tier(Tier::from_number(tier).unwrap());
        asked.class = if mail { "mail.send" } else { "file.read" };
        asked.paths.inside_roots = inside;
        if known { asked = asked.labels(&["untrusted"]); }
        let (one, many) = (admit(&one), admit(&many));
        let decision = asked.judge(&one);
        prop_assert_eq!(&decision, &asked.judge(&one));
        prop_assert_eq!(&decision, &asked.judge(&many));
        let again = PolicySource::from_canonical(one.canonical_source()).unwrap();
        let again = admit(&again);
        prop_assert_eq!(again.digest(), one.digest());
        prop_assert_eq!(&decision, &asked.judge(&again));
    }
}
