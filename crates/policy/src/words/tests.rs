use proptest::prelude::*;
use tipstaff_core::{Action, Json, Labels, Millis, Sink, Tier, Verdict};

use super::*;
use crate::paths::PathFacts;
use crate::{
    Classified, InWords, Limits, PolicySet, PolicySource, Reason, Request, SessionContext, ToolPins,
};

const CLASSES: [&str; 5] = ["fs:read", "fs:write", "git:push", "chat:send", "unclassified"];

fn admit(files: &[(&str, &str)]) -> Result<PolicySet, Vec<PolicyFault>> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let source = PolicySource { files, ..PolicySource::default() };
    PolicySet::admit(&source, &ToolPins::default(), CLASSES.into_iter())
        .map(|admitted| admitted.set)
}

fn fault(text: &str) -> String {
    let faults = admit(&[("team.access", text)]).unwrap_err();
    faults.first().map(ToString::to_string).unwrap_or_default()
}

/// What is asked for, in the words' own terms.
#[derive(Debug, Clone)]
struct Asked {
    agent: &'static str,
    user: &'static str,
    roles: Vec<String>,
    server: &'static str,
    tool: &'static str,
    calls: bool,
    class: &'static str,
    tier: u8,
    facts: [bool; 3],
    sink: Sink,
    branch: Option<&'static str>,
}

impl Asked {
    fn judge(&self, set: &PolicySet) -> crate::Decision {
        let (tool, operation) = if self.calls {
            (self.tool, "tools/call")
        } else {
            ("sampling/createMessage", "sampling/createMessage")
        };
        let arguments = self.branch.map(|branch| {
            vec![("branch".to_owned(), Json::string(branch)), ("n".to_owned(), Json::from(1))]
        });
        let arguments = Json::object(arguments.unwrap_or_default()).unwrap();
        let action = Action::new(self.server, tool, operation, arguments, None).unwrap();
        let [inside_roots, touches_tipstaff, touches_credentials] = self.facts;
        set.decide(&Request {
            action: &action,
            tier: Tier::from_number(self.tier).unwrap(),
            class: self.class,
            classified: Classified::Known,
            paths: PathFacts { inside_roots, touches_tipstaff, touches_credentials },
            principal: self.agent,
            user: self.user,
            roles: &self.roles,
            sink: self.sink,
            carries: Labels::NONE,
            words: InWords::default(),
            session: &SessionContext { labels: Some(Labels::NONE), ..SessionContext::default() },
            limits: Limits { risk: None, ..Limits::default() },
            now: Millis(1_776_772_800_000),
        })
    }

    /// What the words say, read naively.
    fn naive(&self, words: &Words) -> Verdict {
        let says = |verb| words.rules().any(|rule| rule.verb == verb && self.is_met(rule));
        if says(Verb::Deny) {
            Verdict::Deny
        } else if says(Verb::Ask) {
            Verdict::StepUp
        } else if says(Verb::Allow) {
            Verdict::Allow
        } else {
            Verdict::Deny
        }
    }

    fn is_met(&self, rule: &Rule) -> bool {
        fn chosen<T>(choice: &Choice<T>, met: impl Fn(&T) -> bool) -> bool {
            choice.items.iter().any(met) == (choice.sense == Sense::Is)
        }
        chosen(&rule.who, |who| match who {
            Who::Anyone => true,
            Who::Agent(name) => name == self.agent,
            Who::User(name) => name == self.user,
            Who::Role(name) => self.roles.contains(name),
        }) && chosen(&rule.action, |what| match what {
            What::Anything => true,
            What::Tiers(first, last) => (*first..=*last).contains(&self.tier),
            What::Class(class) => class == self.class,
            What::Family(family) => self.class.split(':').next() == Some(family),
            What::Tool(tool) => self.calls && *tool == format!("{}/{}", self.server, self.tool),
            What::Server(server) => self.calls && server == self.server,
            What::Operation(word) => !self.calls && word == "sample",
        }) && chosen(&rule.resource, |resource| match resource {
            Resource::Anything => true,
            Resource::Roots => self.facts[0],
            Resource::Tipstaff => self.facts[1],
            Resource::Credentials => self.facts[2],
            Resource::Outside => matches!(self.sink, Sink::External | Sink::Unknown),
            Resource::Server(server) => server == self.server,
            Resource::Argument { pointer, pattern } => match pointer.as_str() {
                "/branch" => self.branch.is_some_and(|text| like(pattern, text)),
                "/n" => self.branch.is_some() && like(pattern, "1"),
                _ => false,
            },
        })
    }
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| like(after, rest))
        }),
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let who = (
        prop::sample::select(vec!["coder", "helper", "0123456789abcdef0123456789abcdef"]),
        prop::sample::select(vec!["ada", "bob"]),
        prop::sample::subsequence(vec!["reader".to_owned(), "writer".to_owned()], 0..=2),
    );
    let what = (
        prop::sample::select(vec![
            ("github", "push"),
            ("github", "pull"),
            ("fs", "write"),
            ("Odd one", "a/b \"c\""),
        ]),
        any::<bool>(),
        prop::sample::select(CLASSES.to_vec()),
        1..=5_u8,
    );
    let on = (
        any::<[bool; 3]>(),
        prop::sample::select(vec![Sink::None, Sink::Local, Sink::External, Sink::Unknown]),
        prop::option::of(prop::sample::select(vec!["main", "release/1", "a*b", "a\\b"])),
    );
    (who, what, on).prop_map(|((agent, user, roles), (tool, calls, class, tier), on)| {
        let ((server, tool), (facts, sink, branch)) = (tool, on);
        Asked { agent, user, roles, server, tool, calls, class, tier, facts, sink, branch }
    })
}

fn choice<T: Clone + std::fmt::Debug + 'static>(
    anything: T,
    items: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Choice<T>> {
    let some =
        (prop::collection::vec(items, 1..4), prop::sample::select(vec![Sense::Is, Sense::IsNot]))
            .prop_map(|(items, sense)| Choice { sense, items });
    prop_oneof![1 => Just(Choice::one(anything)), 4 => some]
}

fn rule() -> impl Strategy<Value = Rule> {
    let who = prop::sample::select(vec![
        Who::Agent("coder".into()),
        Who::Agent("not".into()),
        Who::Agent("0123456789abcdef0123456789abcdef".into()),
        Who::User("ada".into()),
        Who::Role("reader".into()),
        Who::Role("writer".into()),
    ]);
    let tiers = (1..=5_u8, 1..=5_u8).prop_map(|(a, b)| What::Tiers(a.min(b), a.max(b)));
    let what = prop_oneof![
        tiers,
        prop::sample::select(CLASSES.to_vec()).prop_map(|class| What::Class(class.into())),
        prop::sample::select(vec![
            What::Family("fs".into()),
            What::Tool("github/push".into()),
            What::Tool("Odd one/a/b \"c\"".into()),
            What::Server("github".into()),
            What::Operation("sample".into()),
        ]),
    ];
    let argument = |pointer: &str, pattern: &str| Resource::Argument {
        pointer: pointer.into(),
        pattern: pattern.into(),
    };
    let on = prop::sample::select(vec![
        Resource::Roots,
        Resource::Credentials,
        Resource::Tipstaff,
        Resource::Outside,
        Resource::Server("github".into()),
        Resource::Server("Odd one".into()),
        argument("/branch", "main"),
        argument("/branch", "r*/1"),
        argument("/branch", "a\\*"),
        argument("/n", "*"),
        argument("/other", "*"),
    ]);
    let advice = prop::option::of(prop::sample::select(vec!["Wait.", "Say \"why\" \\ how", ""]));
    let verb = prop::sample::select(Verb::ALL.to_vec());
    (
        verb,
        choice(Who::Anyone, who),
        choice(What::Anything, what),
        choice(Resource::Anything, on),
        advice,
    )
        .prop_map(|(verb, who, action, resource, advice)| Rule {
            at: At::default(),
            verb,
            who,
            action,
            resource,
            advice: advice.map(str::to_owned),
        })
}

fn statement() -> impl Strategy<Value = Statement> {
    let role = prop::collection::vec(rule(), 1..4).prop_map(|rules| Statement::Role {
        role: "reader".into(),
        privileges: rules
            .into_iter()
            .map(|rule| Rule {
                verb: Verb::Allow,
                who: Choice::one(Who::Role("reader".into())),
                advice: None,
                ..rule
            })
            .collect(),
    });
    let policy = prop::collection::vec(rule(), 1..4).prop_map(|mut rules| {
        let resource = rules[0].resource.clone();
        for rule in &mut rules {
            rule.resource = resource.clone();
        }
        Statement::Policy { resource, rules }
    });
    prop_oneof![4 => rule().prop_map(Statement::Rule), 1 => role, 1 => policy]
}

fn words() -> impl Strategy<Value = Words> {
    prop::collection::vec(statement(), 0..6).prop_map(|statements| Words { statements })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_reads_back(words in words()) {
        let text = words.to_string();
        let read = Words::parse("team.access", &text);
        prop_assert_eq!(read.as_ref(), Ok(&words), "{}", text);
        prop_assert_eq!(read.unwrap().to_string(), text);
    }

    #[test]
    fn the_compiled_set_decides_as_the_words_say(
        words in words(),
        asked in prop::collection::vec(asked(), 1..12),
    ) {
        let text = words.to_string();
        let set = match admit(&[("team.access", &text)]) {
            Ok(set) => set,
            Err(faults) => return Err(TestCaseError::fail(format!("{faults:?}\n{text}"))),
        };
        for asked in asked {
            let decision = asked.judge(&set);
            prop_assert_eq!(decision.verdict, asked.naive(&words), "{:?}\n{}\n{}", asked, text, set.canonical_source());
            prop_assert_ne!(decision.reason, Reason::PolicyError);
        }
    }
}

#[test]
fn deny_outweighs_ask_outweighs_allow_outweighs_what_a_home_starts_with() {
    let default = include_str!("../../default/tipstaff.cedar");
    let asked = Asked {
        agent: "coder",
        user: "ada",
        roles: Vec::new(),
        server: "github",
        tool: "push",
        calls: true,
        class: "git:push",
        tier: 4,
        facts: [false; 3],
        sink: Sink::External,
        branch: None,
    };
    let judged = |words: &str| {
        let set = admit(&[("tipstaff.cedar", default), ("team.access", words)]).unwrap();
        let decision = asked.judge(&set);
        (decision.verdict, decision.rule.unwrap_or_default())
    };
    let team = |line: &str| format!("team.access.{line}");
    assert_eq!(judged("// nothing"), (Verdict::StepUp, "high-tiers".to_owned()));
    assert_eq!(judged("allow(coder, git:push, *)"), (Verdict::Allow, team("1")));
    let two = "ask(*, T4+, *)\nallow(coder, git:push, *)";
    assert_eq!(judged(two), (Verdict::StepUp, team("1")));
    assert_eq!(judged(&format!("{two} deny(coder, github/push, *)")), (Verdict::Deny, team("2.2")));
    // The words of a home's own rules stay: keys and credentials are out of reach.
    let set = admit(&[("tipstaff.cedar", default), ("team.access", "allow(*, *, *)")]).unwrap();
    let touching = Asked { facts: [true, false, true], ..asked };
    assert_eq!(touching.judge(&set).verdict, Verdict::Deny);
}

#[test]
fn what_is_admitted_is_the_cedar_and_is_admitted_again_from_it() {
    let words = "role(reader) = { fs:*, T1 on server(github) }";
    let set = admit(&[("team.access", words)]).unwrap();
    let source = PolicySource::from_canonical(set.canonical_source()).unwrap();
    assert_eq!(source.files.keys().collect::<Vec<_>>(), ["team.access.cedar"]);
    let again = PolicySet::admit(&source, &ToolPins::default(), CLASSES.into_iter()).unwrap().set;
    assert_eq!(again.digest(), set.digest());
    assert!(
        source.files["team.access.cedar"].contains("[Class::\"fs:read\", Class::\"fs:write\"]")
    );
    let both = [("team.access", words), ("team.access.cedar", "")];
    assert!(admit(&both).unwrap_err()[0].message.contains("is there too"));
}

#[test]
fn faults_say_where_and_what_to_write_instead() {
    for (text, says) in [
        ("alow(coder, T3, *)", "team.access:1:1: no statement begins with `alow` (write allow(WHO"),
        (
            "// x\n  allow(coder, T3)",
            "team.access:2:18: `,` is missing before `)` (write allow(WHO, ACTION, RESOURCE); * is any",
        ),
        ("allow(Coder, T3, *)", "team.access:1:7: `Coder` is no name (write an agent's name"),
        ("allow(coder, T6, *)", "team.access:1:14: `T6` is no action (write a class"),
        ("allow(coder, T3..T1, *)", "team.access:1:14: `T3..T1` is no action"),
        (
            "allow(coder, fs:wriet, *)",
            "team.access:1:1: the catalogue has no class `fs:wriet` (classes of fs are fs:read, fs:write)",
        ),
        ("allow(coder, fss:*, *)", "the catalogue has no class `fss` (families are chat, fs, git)"),
        ("allow(coder, git*/push, *)", "`*` stands for itself in no word"),
        (
            "allow(coder, T3, /home/ada)",
            "team.access:1:18: a path is no resource (paths are compared",
        ),
        ("allow(coder, T3, root)", "`root` is no resource (write roots,"),
        ("allow({coder, *}, T3, *)", "team.access:1:7: `*` is everything"),
        ("deny(not *, T3, *)", "team.access:1:10: `*` is everything"),
        ("deny({not coder, helper}, T3, *)", "`not` stands before the braces"),
        ("deny({}, T3, *)", "nobody is named by `}`"),
        ("role(reader) = { fs:read fs:write }", "`,` is missing before `fs:write`"),
        ("role(reader) = { fs:read \"git hub/push\" }", "`,` is missing before a text in quotes"),
        ("role(reader) = { }", "nothing is between the braces (write a privilege"),
        (
            "policy(roots) = { allow(coder, T3, *) }",
            "`)` is missing before `,` (write allow(WHO, ACTION))",
        ),
        ("policy(roots) = { allow(coder, T3)", "the block is not closed"),
        ("# x", "team.access:1:1: `#` stands for nothing here (comments begin with //)"),
        (
            "allow(coder, T3, argument(\"branch\", \"x\"))",
            "this is no JSON pointer (begin it with `/`",
        ),
        ("deny(*, T5, *) \"no end", "team.access:1:16: this text is never closed"),
    ] {
        let found = fault(text);
        assert!(found.contains(says), "{text}\n  {found}\n  {says}");
    }
    assert!(fault(" \n").contains("the file is empty (write a rule"));
    assert!(admit(&[("team.access", "// nothing yet")]).is_ok());
    let nothing = Words::parse("team.access", "// nothing yet").unwrap();
    assert_eq!(Words::parse("team.access", &nothing.to_string()), Ok(nothing));
    // Each statement has its own; what Cedar finds is told of the line of words.
    let faults =
        admit(&[("team.access", "alow(a, T1, *)\nallow(a, T1, *)\ndeny(a)\n")]).unwrap_err();
    assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [1, 3]);
    let other = "@id(\"team.access.2\") permit (principal, action, resource);";
    let twice = admit(&[("z.cedar", other), ("team.access", "\nallow(a, T1, *)")]).unwrap_err();
    assert!(twice[0].message.contains("a second policy"), "{twice:?}");
    assert!(
        admit(&[("Team.access", "allow(a, T1, *)")]).unwrap_err()[0].message.contains("not a name")
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let items = vec!["coder"; ITEMS_MAX + 1].join(", ");
    assert!(fault(&format!("allow({{{items}}}, T1, *)")).contains("more than 256 items"));
    assert!(fault(&"allow(a, T1, *)\n".repeat(10_001)).contains("too many rules"));
    let advice = "x".repeat(TEXT_MAX + 1);
    assert!(fault(&format!("deny(*, T5, *) \"{advice}\"")).contains("a text of more than"));
    // Small words may mean much Cedar.
    let much = format!("deny(*, T5, *) \"{}\"\n", "\u{1F600}".repeat(200)).repeat(900);
    assert!(much.len() < 1 << 20);
    assert!(fault(&much).contains("bytes of Cedar"), "{}", fault(&much));
}

#[test]
fn the_example_of_the_docs_is_read_and_admitted() {
    let docs = include_str!("../../../../docs/access-words.md");
    let words = docs.split("```").nth(1).unwrap().trim_start();
    assert!(words.starts_with("// Who may do what"), "{words}");
    let source = PolicySource {
        files: [("team.access".to_owned(), words.to_owned())].into(),
        ..PolicySource::default()
    };
    let classes = tipstaff_classify::Catalogue::builtin().classes();
    let admitted = PolicySet::admit(&source, &ToolPins::default(), classes);
    assert_eq!(admitted.unwrap().set.len(), 7);
}
