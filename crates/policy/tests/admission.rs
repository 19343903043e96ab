//! What is refused before it is in force. The adversary here is a rule that protects nothing.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "the tests of decisions use the rest")]
mod common;

use common::{CLASSES, admit, faults, pins, source};
use tipstaff_policy::{PolicySet, ToolPins};

const RULE: &str = "(principal, action, resource)";

/// The only fault of a text, as its author sees it.
fn fault(text: &str) -> String {
    match faults(text).as_slice() {
        [one] => one.to_string(),
        other => panic!("{other:#?} for {text}"),
    }
}

#[track_caller]
fn refused(text: &str, place: &str, word: &str) {
    let found = fault(text);
    assert!(found.starts_with(&format!("a.cedar:{place}: ")) && found.contains(word), "{found}");
}

#[test]
fn what_does_not_exist_is_a_fault_with_its_line() {
    refused(
        &format!(
            "permit {RULE};\n\npermit {RULE}\nwhen {{ context.class == Class::\"file.raed\" }};"
        ),
        "4:25",
        "file.raed",
    );
    refused(&format!("permit {RULE}\nwhen {{ context.teir > 2 }};"), "2:8", "teir");
    refused("permit (principal, action == Action::\"reed\", resource);", "1:30", "reed");
    refused("permit (principal is Robot, action, resource);", "1:22", "Robot");
    refused(&format!("permit {RULE} when {{ context.tier > \"2\" }};"), "1:60", "String");
    refused("permit (principal, action, resource)\nwhen { context.tier > };", "2:23", "unexpected");
}

#[test]
fn what_can_never_match_is_a_fault() {
    refused(
        &format!("\nforbid {RULE} when {{ context.tier == 3 && false }};"),
        "2:1",
        "never match",
    );
    refused("permit (principal, action, resource is Server);", "1:1", "never match");
    refused(
        "permit (principal, action == Action::\"call\", resource);",
        "1:30",
        "Action::\"call\"",
    );
    refused("permit (principal, action, resource == Tool::\"write\");", "1:40", "server/tool");
    refused("permit (principal, action == Action::\"call:*\", resource);", "1:30", "server/tool");
}

#[test]
fn a_guard_that_would_hide_what_is_not_known_is_a_fault() {
    for guard in [
        "context has labels",
        "context has \"labels\"",
        "(context) has labels",
        "context has \"lab\\u{65}ls\"",
    ] {
        let text = format!("forbid {RULE} when {{ {guard} && context.labels.contains(\"x\") }};");
        assert!(!faults(&text).is_empty(), "{guard}");
    }
    let other = "forbid (principal, action == Action::\"call:fs/write\", resource)
        when { context has arguments && context.arguments has count };";
    assert_eq!(faults(other), []);
}

#[test]
fn annotations_are_checked() {
    refused(&format!("\n@rnak(\"1\") permit {RULE};"), "2:1", "@rnak");
    refused(&format!("@id(\"a\") @rank(\"high\") permit {RULE};"), "1:10", "integer");
    refused(&format!("@id(\"Not An Id\") permit {RULE};"), "1:1", "id");
    refused(&format!("@id(\"a\") permit {RULE};\n@id(\"a\") permit {RULE};"), "2:1", "second");
    refused(&format!("@modify(\"nope\") permit {RULE};"), "1:1", "no patch `nope`");
    for obligation in ["@step_up", "@step_up_if_aligned"] {
        refused(&format!("{obligation} forbid {RULE};"), "1:1", "forbid");
    }
    refused(&format!("@step_up @step_up_if_aligned permit {RULE};"), "1:1", "more than one");
}

#[test]
fn patches_and_names_are_checked() {
    let mut set = source(&format!("@modify(\"p\") permit {RULE};"));
    let check = |set: &tipstaff_policy::PolicySource| {
        PolicySet::admit(set, &pins(), CLASSES.into_iter())
            .map(|_| ())
            .map_err(|f| f[0].to_string())
    };
    set.patches.insert("p".into(), "[\n{]".into());
    assert!(check(&set).unwrap_err().starts_with("patches/p:2:2: "));
    set.patches.insert("p".into(), "[{\"op\":\"explode\"}]".into());
    assert!(check(&set).unwrap_err().contains("JSON Patch"));
    set.patches.insert("p".into(), "[]".into());
    assert_eq!(check(&set), Ok(()));
    set.files.insert("../up.cedar".into(), String::new());
    assert!(check(&set).unwrap_err().contains("name of a policy file"));
    set.files.clear();
    set.files.insert("big.cedar".into(), " ".repeat((1 << 20) + 1));
    assert!(check(&set).unwrap_err().contains("bytes"));
    set.files.insert("big.cedar".into(), "permit(principal,action,resource);".repeat(10_001));
    assert!(check(&set).unwrap_err().contains("10000 policies"));
    assert!(fault("permit (principal == ?principal, action, resource);").contains("templates"));
}

#[test]
fn what_is_not_seen_yet_is_a_warning_and_is_checked_once_it_is_seen() {
    let text = "forbid (principal, action, resource == Tool::\"new/post\");
        forbid (principal, action, resource in Server::\"new\");
        permit (principal, action == Action::\"call:new/get\", resource);
        permit (principal, action == Action::\"call:new/put\", resource)
        when { context.arguments.path == \"x\" };";
    let admitted = PolicySet::admit(&source(text), &pins(), CLASSES.into_iter()).unwrap();
    let found: Vec<String> = admitted.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("a.cedar:1:40: Tool::\"new/post\" is not seen yet"), "{found:#?}");
    assert!(found.iter().any(|w| w.starts_with("a.cedar:4:") && w.contains("waits")));
    assert_eq!(admitted.set.len(), 3);

    let mut seen = pins();
    seen.tools.insert("new/put".into(), seen.tools["fs/write"].clone());
    let admitted = PolicySet::admit(&source(text), &seen, CLASSES.into_iter()).unwrap();
    assert_eq!(admitted.set.len(), 4);
    seen.tools.insert("new/put".into(), None);
    let faults = PolicySet::admit(&source(text), &seen, CLASSES.into_iter()).unwrap_err();
    assert!(faults[0].to_string().starts_with("a.cedar:5:"), "{}", faults[0]);
}

#[test]
fn arguments_of_all_tools_at_once_have_no_type() {
    let text = format!("permit {RULE} when {{ context.arguments.path == \"x\" }};");
    assert!(fault(&text).contains("name the tool"));
    let guarded = format!(
        "permit {RULE} when {{ context has arguments && context.arguments has path && context.arguments.path == \"x\" }};"
    );
    assert_eq!(faults(&guarded), [], "with guards it holds for the tools that have it");
}

#[test]
fn a_hostile_tool_schema_spoils_nothing() {
    let hostile = common::json(
        r#"{"type":"object","properties":{"x\"}; entity Evil; //":{"type":"string"},"__cedar":{"type":"string"}}}"#,
    );
    let tools = ToolPins { tools: [("a/b\"; }".to_owned(), Some(hostile))].into() };
    let admitted =
        PolicySet::admit(&source(&format!("permit {RULE};")), &tools, CLASSES.into_iter()).unwrap();
    assert!(!admitted.set.schema_text().contains("entity Evil; //\"}"));
}

#[test]
fn digests_name_the_source_and_the_schema() {
    let one = admit(&source(&format!("permit {RULE};")));
    let same = admit(&source(&format!("permit {RULE};")));
    let other = admit(&source(&format!("forbid {RULE};")));
    assert_eq!(one.digest(), tipstaff_core::Digest::of(one.canonical_source().as_bytes()));
    assert_eq!(one.digest(), same.digest());
    assert_ne!(one.digest(), other.digest());
    assert_eq!(one.schema_digest(), other.schema_digest());
}

/// Runs on the stack that worker threads commonly have.
fn on_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn no_text_overflows_the_stack() {
    let policy = |condition: String| format!("permit {RULE} when {{ {condition} }};");
    for condition in [
        "(".repeat(5000),
        format!("{}true{}", "(".repeat(5000), ")".repeat(5000)),
        format!("{}1{} == 2", "[".repeat(5000), "]".repeat(5000)),
        format!("{}1{} == 2", "{x:".repeat(5000), "}".repeat(5000)),
        format!("{}true", "context.inside_roots && ".repeat(3000)),
        format!("{}true", "context.inside_roots || ".repeat(3000)),
        format!("{}true", "!".repeat(10_000)),
        format!("{}1 == 1", "-".repeat(10_000)),
        format!("{}1 == 1", "1 + ".repeat(10_000)),
        format!("context{} == 1", ".a".repeat(10_000)),
        format!("context{} == 1", "[\"a\"]".repeat(10_000)),
        format!("{}true", "if context.inside_roots then true else ".repeat(5000)),
        format!("{}true{}", "if ".repeat(5000), " then true else true".repeat(5000)),
        format!("{}x == 1", "a::".repeat(10_000)),
        // Few enough operators, and too deep all the same.
        format!("{}true{}", "(".repeat(200), ")".repeat(200)),
        format!("{}true", "if true then true else ".repeat(200)),
    ] {
        on_small_stack(move || assert!(!faults(&policy(condition)).is_empty()));
    }
    for clauses in ["when { context.inside_roots } ", "unless { context.inside_roots } "] {
        let text = format!("permit {RULE} {};", clauses.repeat(5000));
        on_small_stack(move || assert!(!faults(&text).is_empty()));
    }
}

#[test]
fn what_the_scanner_accepts_fits_the_stack_from_parser_to_decision() {
    let deep = "(".repeat(30) + "context.inside_roots" + &")".repeat(30);
    let negated = "!(".repeat(30) + "context.inside_roots" + &")".repeat(30);
    let chain = format!("{}context.inside_roots", "context.inside_roots && ".repeat(120));
    let either = format!("{}context.inside_roots", "context.unclassified || ".repeat(120));
    let ifs = "if context.inside_roots then context.inside_roots else ".repeat(30) + "true";
    let sums = format!("context.tier {} > 1", "+ 1 ".repeat(240));
    let both = format!(
        "{}context.inside_roots{}",
        "(context.inside_roots && (context.unclassified || ".repeat(14),
        "))".repeat(14)
    );
    let when = "context.inside_roots } when { ".repeat(120) + "context.inside_roots";
    for condition in [deep, negated, chain, either, ifs, sums, both, when] {
        let text = format!("permit {RULE} when {{ {condition} }};");
        on_small_stack(move || {
            let set = common::set(&text);
            let decision = common::ask("fs/write", "{}").judge(&set);
            assert_eq!(decision.verdict, tipstaff_core::Verdict::Allow, "{text}");
        });
    }
}
