//! What an action of a class means for the data of its session: what its result may hold, and where what it
//! carries ends up (row A5).
//!
//! The adversary writes a page, a ticket or a mail that an agent will read, and waits for the agent to carry
//! something out. So whatever others can write is untrusted, whatever leaves the machine is a sink, and of
//! what no class describes the result is untrusted and unclassified.

use tipstaff_core::{Label, Labels, Sink, Tier};

use crate::UNCLASSIFIED;

/// What an action means for the data of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Labels of its result.
    pub gives: Labels,
    /// Where what it carries ends up.
    pub sink: Sink,
}

impl Meaning {
    /// What both mean together: all that either gives, and the way that leads farther.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let far = |sink: Sink| match sink {
            Sink::None => 0,
            Sink::Local => 1,
            Sink::Unknown => 2,
            Sink::External => 3,
        };
        let sink = if far(other.sink) > far(self.sink) { other.sink } else { self.sink };
        Self { gives: self.gives.union(other.gives), sink }
    }
}

/// What a class means. A table, in the order of the families.
#[must_use]
pub fn meaning(class: &str, tier: Tier) -> Meaning {
    let (family, verb) = class.split_once(':').unwrap_or((class, ""));
    let gives = match (family, verb) {
        // What is asked of a store of secrets.
        ("env", "read") | (_, "secret-read") => labels(&[Label::Secret]),
        // What anybody can write.
        ("http" | "web" | "browser" | "net", _) => labels(&[Label::Untrusted]),
        // What others of the house, or of the world, can write and not everybody may read.
        ("chat" | "mail" | "repo" | "tracker" | "docs" | "drive", "read") => {
            labels(&[Label::Internal, Label::Untrusted])
        }
        ("pay" | "sql" | "cloud", "read") => labels(&[Label::Confidential]),
        ("fs" | "git" | "code" | "k8s" | "container" | "process" | "memory" | "ops", _) => {
            labels(&[Label::Internal])
        }
        ("shell", "mixed") => Labels::NONE,
        ("shell" | "infra" | "pkg" | "system" | "tipstaff" | "demo", _) if verb != "opaque" => {
            labels(&[Label::Internal])
        }
        ("agent" | "time", _) => Labels::NONE,
        // Acknowledgements.
        ("chat" | "mail" | "repo" | "tracker" | "docs" | "drive" | "pay" | "sql" | "cloud", _) => {
            labels(&[Label::Internal])
        }
        // Unknown tools, tools of which only the name is known, and what a protocol carries for them.
        _ => labels(&[Label::Unclassified, Label::Untrusted]),
    };
    Meaning { gives, sink: sink(class, family, verb, tier) }
}

fn sink(class: &str, family: &str, verb: &str, tier: Tier) -> Sink {
    match (family, verb) {
        (UNCLASSIFIED, _) => Sink::Unknown,
        ("shell", "opaque" | "mixed" | "remote-exec" | "privileged") | ("code", "run") => {
            Sink::Unknown
        }
        // An address that is asked for can carry what it must not.
        ("http" | "web" | "net" | "mail" | "chat", _) if verb != "read" => Sink::External,
        ("browser", "navigate" | "act" | "script" | "upload") => Sink::External,
        ("git", "push" | "push-force" | "push-delete") | ("pkg", "publish") => Sink::External,
        ("tool", "send") | ("agent", "remote" | "delegate") => Sink::External,
        ("repo" | "tracker" | "docs" | "web", "write" | "merge" | "release" | "publish") => {
            Sink::External
        }
        ("pay", "move" | "write") | ("container", "push") => Sink::External,
        ("tool", "write" | "destroy") => Sink::Unknown,
        _ if class.ends_with(":read") || tier == Tier::T1 => Sink::None,
        _ => Sink::Local,
    }
}

fn labels(of: &[Label]) -> Labels {
    of.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_untrusted_and_what_leaves_is_a_sink() {
        let of = |class, tier| meaning(class, tier);
        assert!(of("http:get", Tier::T1).gives.has(Label::Untrusted));
        assert_eq!(of("http:get", Tier::T1).sink, Sink::External);
        assert_eq!(of("mail:send", Tier::T4).sink, Sink::External);
        assert_eq!(of("git:push", Tier::T4).sink, Sink::External);
        assert_eq!(of("chat:read", Tier::T1).sink, Sink::None);
        assert!(of("tracker:read", Tier::T1).gives.has(Label::Untrusted));
        assert!(of("env:read", Tier::T4).gives.has(Label::Secret));
        assert!(of("k8s:secret-read", Tier::T4).gives.has(Label::Secret));
        assert_eq!(of("fs:write", Tier::T3).sink, Sink::Local);
    }

    #[test]
    fn what_no_class_describes_is_untrusted_unclassified_and_may_lead_anywhere() {
        for class in [UNCLASSIFIED, "mcp:sample", "tool:read", "shell:opaque", "made:up"] {
            let found = meaning(class, Tier::T3).gives;
            assert!(found.has(Label::Untrusted) && found.has(Label::Unclassified), "{class}");
        }
        assert_eq!(meaning(UNCLASSIFIED, Tier::T3).sink, Sink::Unknown);
    }
}
