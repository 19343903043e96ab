//! The part of the order of verdicts that context decides. The adversary here takes harmless steps.

mod common;

use common::{Ask, ask, faults, set};
use tipstaff_context::{Drift, Measure};
use tipstaff_core::{Label, Labels, Sink, Tier, Verdict};
use tipstaff_policy::{Classified, Distances, InWords, Limits, OverRisk, Reason, Request};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

fn post(labels: &[&str]) -> Ask {
    let mut asked = ask("mail/send", "{}").tier(Tier::T4).labels(labels);
    asked.sink = Sink::External;
    asked
}

fn far(ppm: u32, measure: Measure) -> Option<Distances> {
    Some(Distances::at(ppm, measure, None))
}

#[test]
fn a_secret_and_foreign_text_and_a_way_out_are_too_much_together() {
    let all = set(ALL);
    for fewer in [&["secret"][..], &["untrusted"], &["personal", "untrusted"]] {
        assert_eq!(post(fewer).judge(&all).verdict, Verdict::Allow, "{fewer:?}");
    }
    let decision = post(&["secret", "untrusted"]).judge(&all);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::Risk));
    let mut inside = post(&["secret", "untrusted"]);
    inside.sink = Sink::Local;
    assert_eq!(inside.judge(&all).verdict, Verdict::Allow);
    let mut lax = post(&["secret", "untrusted"]);
    lax.limits.risk = None;
    assert_eq!(lax.judge(&all).verdict, Verdict::Allow);
    let mut strict = post(&["untrusted"]);
    strict.limits.risk = Some(70);
    assert_eq!(strict.judge(&all).reason, Reason::Risk);
}

#[test]
fn policies_see_sink_sensitivity_risk_and_confidence() {
    let rule = "@id(\"r\") forbid (principal, action, resource) when { \
        context.sink == \"external\" && context.sensitivity >= 2 && context.risk >= 90 };";
    let policy = set(&format!("{ALL}{rule}"));
    assert_eq!(post(&["confidential", "untrusted"]).judge(&policy).rule.as_deref(), Some("r"));
    assert_eq!(post(&["internal", "untrusted"]).judge(&policy).verdict, Verdict::Allow);
    let sure = set("permit (principal, action, resource) when { context.confidence >= 50 };");
    let mut named = ask("x/get", "{}").labels(&[]);
    named.classified = Classified::Named;
    assert_eq!(named.judge(&sure).verdict, Verdict::Allow);
    named.classified = Classified::Unclassified;
    assert_eq!(named.judge(&sure).verdict, Verdict::Deny);
}

#[test]
fn what_is_known_badly_waits_where_an_operator_wants_certainty() {
    let mut asked = ask("x/get", "{}").labels(&[]);
    asked.limits.confidence = 60;
    assert_eq!(asked.judge(&set(ALL)).verdict, Verdict::Allow);
    asked.classified = Classified::Named;
    let decision = asked.judge(&set(ALL));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Defer, Reason::Uncertain));
    // A denial needs no certainty.
    assert_eq!(asked.judge(&set("")).verdict, Verdict::Deny);
}

#[test]
fn what_is_permitted_and_far_from_the_request_is_denied() {
    let mut asked = ask("fs/write", "{}").labels(&[]);
    asked.limits = Limits { drift_ppm: Some(700_000), ..Limits::default() };
    assert_eq!(asked.judge(&set(ALL)).verdict, Verdict::Allow, "no request, no drift");
    for measure in [Measure::Lexical, Measure::Semantic] {
        asked.session.distances = far(700_000, measure);
        assert_eq!(asked.judge(&set(ALL)).verdict, Verdict::Allow);
        asked.session.distances = far(700_001, measure);
        let decision = asked.judge(&set(ALL));
        assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::Drifted));
    }
    // Reading far afield is no harm: the limit begins at a tier.
    let decision = Ask { tier: Tier::T2, ..asked }.judge(&set(ALL));
    assert_eq!(decision.verdict, Verdict::Allow);
}

#[test]
fn where_a_person_is_asked_about_risk_only_what_would_be_permitted_is_asked_for() {
    let ask = |rules: &str| {
        let mut asked = post(&["secret", "untrusted"]);
        let denied = asked.judge(&set(rules));
        asked.limits.over_risk = OverRisk::Ask;
        (denied, asked.judge(&set(rules)))
    };
    let (denied, asked) = ask(ALL);
    assert_eq!((denied.verdict, denied.reason), (Verdict::Deny, Reason::Risk));
    assert_eq!((asked.verdict, asked.reason), (Verdict::StepUp, Reason::Risk));
    let held = "@step_up(\"x\") permit (principal, action, resource);";
    assert_eq!(ask(held).1.reason, Reason::Risk, "the person hears of the risk");
    let forbid = "forbid (principal, action, resource);";
    assert_eq!(ask(&format!("{ALL}{forbid}")).1.verdict, Verdict::Deny);
    let ranked = "@rank(\"1\") forbid (principal, action, resource);";
    assert_eq!(ask(&format!("{ALL}{ranked}")).1.verdict, Verdict::Deny);
    assert_eq!(ask("").1.verdict, Verdict::Deny, "nothing permits it");
    // Under the limit nothing changes.
    let mut calm = post(&["secret"]);
    calm.limits.over_risk = OverRisk::Ask;
    assert_eq!(calm.judge(&set(ALL)).verdict, Verdict::Allow);
}

#[test]
fn what_nothing_permits_may_be_asked_for_if_it_is_near_to_the_request() {
    let rule = "@id(\"ask\") @step_up_if_aligned permit (principal, action, resource);";
    let mut asked = ask("fs/write", "{}").labels(&[]);
    assert_eq!(asked.judge(&set(rule)).verdict, Verdict::Deny, "no limit is set");
    asked.limits.aligned_ppm = Some(400_000);
    let decision = asked.judge(&set(rule));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Defer, Reason::NeedsContext));
    assert_eq!(decision.missing, ["distance_ppm"]);
    asked.session.distances = far(400_000, Measure::Semantic);
    let decision = asked.judge(&set(rule));
    assert_eq!((decision.verdict, decision.reason), (Verdict::StepUp, Reason::Aligned));
    asked.session.distances = far(400_001, Measure::Semantic);
    assert_eq!(asked.judge(&set(rule)).reason, Reason::NoRule);
    // Words in common open nothing.
    asked.session.distances = far(0, Measure::Lexical);
    assert_eq!(asked.judge(&set(rule)).reason, Reason::NoRule);
    // What is forbidden is not asked for.
    asked.session.distances = far(0, Measure::Semantic);
    let forbid = "forbid (principal, action, resource);";
    assert_eq!(asked.judge(&set(&format!("{rule}{forbid}"))).reason, Reason::Forbidden);
}

#[test]
fn what_the_principal_named_and_asked_for_is_a_fact() {
    let policy =
        set("permit (principal, action, resource) when { context.named && context.asked };");
    let asked = ask("mail/send", "{}").labels(&[]);
    for (named, said, verdict) in
        [(true, true, Verdict::Allow), (true, false, Verdict::Deny), (false, true, Verdict::Deny)]
    {
        let words = InWords { named, asked: said };
        assert_eq!(policy.decide(&Request { words, ..asked.request() }).verdict, verdict);
    }
}

#[test]
fn drift_accumulates_where_a_policy_looks_at_it() {
    let rule = "forbid (principal, action, resource) when { context.distance_max_ppm > 9 || \
        context.distance_average_ppm > 5 };";
    let policy = set(&format!("{ALL}{rule}"));
    let mut asked = ask("fs/write", "{}").labels(&[]);
    let judged = asked.judge(&policy);
    assert_eq!(judged.verdict, Verdict::Defer);
    assert_eq!(judged.missing, ["distance_max_ppm"]);
    let before = Some(Drift { average_ppm: 4, max_ppm: 4 });
    asked.session.distances = Some(Distances::at(9, Measure::Lexical, before));
    assert_eq!(asked.judge(&policy).verdict, Verdict::Allow);
    asked.session.distances =
        Some(Distances::at(1, Measure::Lexical, Some(Drift { average_ppm: 4, max_ppm: 10 })));
    assert_eq!(asked.judge(&policy).verdict, Verdict::Deny);
}

#[test]
fn what_is_given_from_outside_is_waited_for() {
    let policy = set(
        "@id(\"t\") permit (principal, action, resource) when { context.given_ticket like \"CHG-*\" };",
    );
    let mut asked = ask("fs/write", "{}").labels(&[]);
    let decision = asked.judge(&policy);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Defer, Reason::NeedsContext));
    assert_eq!(decision.missing, ["given_ticket"]);
    asked.session.given.insert("given_ticket".to_owned(), "CHG-7".to_owned());
    assert_eq!(asked.judge(&policy).verdict, Verdict::Allow);
    asked.session.given.insert("given_ticket".to_owned(), "no".to_owned());
    assert_eq!(asked.judge(&policy).verdict, Verdict::Deny);
    // A guard would turn "not given yet" into "does not match".
    let guarded = "forbid (principal, action, resource) when { context has given_ticket };";
    assert_eq!(faults(guarded).len(), 1);
}

#[test]
fn permits_say_what_a_result_holds_and_what_no_longer_applies() {
    let policy = set(
        "@label(\"secret personal\") @declassify(\"untrusted\") permit (principal, action, resource);",
    );
    let decision = ask("vault/get", "{}").labels(&["untrusted"]).judge(&policy);
    assert_eq!(decision.label, [Label::Secret, Label::Personal].into_iter().collect::<Labels>());
    assert_eq!(decision.declassify, Labels::NONE.with(Label::Untrusted));
    for wrong in [
        "@label(\"sekret\") permit (principal, action, resource);",
        "@label permit (principal, action, resource);",
        "@declassify(\"untrusted\") forbid (principal, action, resource);",
    ] {
        assert_eq!(faults(wrong).len(), 1, "{wrong}");
    }
}
