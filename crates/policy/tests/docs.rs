//! The examples of `docs/policies.md`, admitted and judged. The adversary here is a page that teaches a
//! rule that is refused, or that does something else than the page says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

use std::path::Path;

use tipstaff_classify::paths::lexical_absolute;
use tipstaff_classify::{Annotations, Basis, Catalogue, Classification, classify};
use tipstaff_core::{Action, Json, Labels, Millis, Verdict};
use tipstaff_policy::paths::{Bounds, Place, facts};
use tipstaff_policy::{
    Classified, Decision, InWords, Limits, PolicySet, PolicySource, Request, SessionContext,
    ToolPins, default_source,
};

const USER_HOME: &str = "/home/u";
const CWD: &str = "/home/u/work";

/// A fenced block: what follows the backticks, its first line in the page, its text.
struct Block {
    info: String,
    line: usize,
    text: String,
}

/// A set of policies with what follows it.
#[derive(Default)]
struct Example {
    line: usize,
    is_refused: bool,
    source: PolicySource,
    pins: ToolPins,
    cases: Vec<(usize, Json)>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(info) => {
                is_open = true;
                found.push(Block { info: info.to_owned(), line: number + 2, text: String::new() });
            }
            None if is_open => {
                let block = found.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!is_open, "a block does not end");
    found
}

fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for Block { info, line, text } in blocks(page) {
        let mut words = info.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("cedar"), mark, None) => {
                let source = PolicySource {
                    files: [("example.cedar".to_owned(), text)].into(),
                    ..PolicySource::default()
                };
                let is_refused = mark == Some("refused");
                found.push(Example { line, is_refused, source, ..Example::default() });
            }
            (Some("json"), Some("schema"), Some(tool)) => {
                let schema = Json::parse(text.as_bytes()).unwrap();
                let example = found.last_mut().expect("a schema before any policy");
                example.pins.tools.insert(tool.to_owned(), Some(schema));
            }
            (Some("json"), Some(path), None) => {
                let name = path.strip_prefix("patches/").and_then(|p| p.strip_suffix(".json"));
                let example = found.last_mut().expect("a patch before any policy");
                example.source.patches.insert(name.unwrap().to_owned(), text);
            }
            (Some("jsonl"), None, None) => {
                let example = found.last_mut().expect("cases before any policy");
                for (at, case) in text.lines().enumerate() {
                    example.cases.push((line + at, Json::parse(case.as_bytes()).unwrap()));
                }
            }
            _ => panic!("line {line}: nobody reads a block of `{info}`"),
        }
    }
    found
}

fn admit(source: &PolicySource, pins: &ToolPins) -> Result<PolicySet, String> {
    PolicySet::admit(source, pins, Catalogue::builtin().classes())
        .map(|admitted| admitted.set)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Judges as the monitor does: classify, measure paths, decide, and a changed call once more.
fn judge(set: &PolicySet, action: &Action) -> Decision {
    let found = classify(Catalogue::builtin(), action, Annotations::default());
    let decision = request(action, &found, |request| set.decide(request));
    let (Some(parameters), Some(patch)) = (&decision.modified, &decision.patch) else {
        return decision;
    };
    let patched = action.with_parameters(parameters.clone());
    let found = classify(Catalogue::builtin(), &patched, Annotations::default());
    request(&patched, &found, |request| set.decide_modified(request, patch))
}

fn request(
    action: &Action,
    found: &Classification,
    decide: impl FnOnce(&Request<'_>) -> Decision,
) -> Decision {
    let places: Vec<Place> = found
        .paths
        .iter()
        .filter_map(|path| {
            let full = lexical_absolute(&path.text, CWD, USER_HOME)?;
            Some(Place { pointer: path.pointer.clone(), path: full })
        })
        .collect();
    let bounds = Bounds {
        roots: &[CWD.to_owned()],
        home: "/home/u/.local/share/tipstaff",
        user_home: USER_HOME,
    };
    decide(&Request {
        action,
        tier: found.tier,
        class: &found.class,
        classified: match found.basis {
            Basis::Unclassified => Classified::Unclassified,
            _ => Classified::Known,
        },
        paths: facts(&places, &bounds),
        principal: "agent",
        user: "user",
        roles: &[],
        sink: found.means.sink,
        carries: Labels::NONE,
        words: InWords::default(),
        session: &SessionContext { labels: Some(Labels::NONE), ..SessionContext::default() },
        limits: Limits::default(),
        now: Millis(1_790_000_000_000),
    })
}

#[test]
fn every_example_is_admitted_and_does_what_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies.md");
    let page = std::fs::read_to_string(path).unwrap();
    let found = examples(&page);
    assert!(found.len() >= 9 && found.iter().any(|example| example.is_refused));
    let mut judged = 0;
    for Example { line, is_refused, source, pins, cases } in found {
        let alone = admit(&source, &pins);
        if is_refused {
            assert!(alone.is_err(), "line {line} is said to be refused");
            continue;
        }
        assert!(alone.is_ok(), "line {line}: {}", alone.err().unwrap_or_default());
        let mut whole = default_source();
        whole.files.extend(source.files);
        whole.patches.extend(source.patches);
        let set = admit(&whole, &pins).unwrap();
        for (line, case) in cases {
            let word = |name: &str| case.get(name).and_then(Json::as_str).unwrap();
            let arguments = case.get("arguments").unwrap().clone();
            let action =
                Action::new(word("server"), word("tool"), "tools/call", arguments, None).unwrap();
            let expected = Verdict::parse(word("expect")).unwrap();
            let decision = judge(&set, &action);
            assert_eq!(decision.verdict, expected, "line {line}: {decision:?}");
            judged += 1;
        }
    }
    assert!(judged >= 15, "only {judged} cases");
}
