//! What the tests of this crate share.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use tipstaff_core::{Action, Json, Labels, Millis, Sink, Tier};
use tipstaff_policy::paths::PathFacts;
use tipstaff_policy::{
    Classified, Decision, InWords, Limits, PolicyFault, PolicySet, PolicySource, Request,
    SessionContext, ToolPins,
};

pub const CLASSES: [&str; 3] = ["file.read", "file.write", "mail.send"];

pub fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

pub fn source(text: &str) -> PolicySource {
    PolicySource { files: [("a.cedar".to_owned(), text.to_owned())].into(), ..Default::default() }
}

pub fn pins() -> ToolPins {
    let schema = json(
        r#"{"type":"object","required":["path"],
            "properties":{"path":{"type":"string"},"count":{"type":"integer"},"dry":{"type":"boolean"}}}"#,
    );
    ToolPins { tools: [("fs/write".to_owned(), Some(schema)), ("fs/read".to_owned(), None)].into() }
}

pub fn admit(source: &PolicySource) -> PolicySet {
    let admitted = PolicySet::admit(source, &pins(), CLASSES.into_iter());
    admitted.unwrap_or_else(|faults| panic!("{}", faults[0])).set
}

pub fn set(text: &str) -> PolicySet {
    admit(&source(text))
}

pub fn faults(text: &str) -> Vec<PolicyFault> {
    PolicySet::admit(&source(text), &pins(), CLASSES.into_iter()).err().unwrap_or_default()
}

/// A request that a test changes as it needs.
pub struct Ask {
    pub action: Action,
    pub tier: Tier,
    pub class: &'static str,
    pub classified: Classified,
    pub paths: PathFacts,
    pub sink: Sink,
    pub session: SessionContext,
    pub limits: Limits,
}

pub fn ask(tool: &str, arguments: &str) -> Ask {
    let (server, tool) = tool.split_once('/').unwrap();
    Ask {
        action: Action::new(server, tool, "tools/call", json(arguments), None).unwrap(),
        tier: Tier::T3,
        class: "file.write",
        classified: Classified::Known,
        paths: PathFacts {
            inside_roots: true,
            touches_tipstaff: false,
            touches_credentials: false,
        },
        sink: Sink::Local,
        session: SessionContext::default(),
        limits: Limits::default(),
    }
}

impl Ask {
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = tier;
        self
    }

    pub fn labels(mut self, labels: &[&str]) -> Self {
        self.session.labels = Labels::parse(labels.iter().copied());
        self
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            action: &self.action,
            tier: self.tier,
            class: self.class,
            classified: self.classified,
            paths: self.paths,
            principal: "agent-1",
            user: "user-1",
            roles: &[],
            sink: self.sink,
            carries: Labels::NONE,
            words: InWords::default(),
            session: &self.session,
            limits: self.limits,
            now: Millis(1_776_772_800_000),
        }
    }

    pub fn judge(&self, set: &PolicySet) -> Decision {
        set.decide(&self.request())
    }
}
