//! Tools that no call could ever be allowed of.
//!
//! The adversary is a list of tools that tempts: what will be refused whatever the arguments need not be
//! shown to the agent at all. Hiding is no refusal: a call of a hidden tool is judged like any other.

use cedar_policy::Effect;

use crate::entity::uid;
use crate::set::PolicySet;

impl PolicySet {
    /// Whether the scopes alone say that no call of a tool can be allowed, to anybody, with any
    /// arguments: a forbid without rank and condition covers it, or no permit does.
    #[must_use]
    pub fn never_allows(&self, server: &str, tool: &str) -> bool {
        let qualified = format!("{server}/{tool}");
        let action = self.names.action(&format!("call:{qualified}"));
        let action = [action, self.names.action("call")];
        let resource = [uid(&self.names.tool, &qualified), uid(&self.names.server, server)];
        let mut permitted = false;
        for (number, for_anyone) in self.index.about(&action, &resource) {
            let policy = self.index.policies().get(number);
            let rank = self.rules.get(number).and_then(|rule| rule.rank);
            match policy.map(|policy| (policy.effect(), policy.has_non_scope_constraint())) {
                Some((Effect::Permit, _)) => permitted = true,
                Some((Effect::Forbid, false)) if for_anyone && rank.is_none() => return true,
                Some((Effect::Forbid, _)) | None => {}
            }
        }
        !permitted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::set::{PolicySet, PolicySource, ToolPins};

    fn never(text: &str) -> [bool; 3] {
        let mut source = PolicySource::default();
        source.files.insert("a.cedar".to_owned(), text.to_owned());
        let pins = ToolPins { tools: BTreeMap::new() };
        let set = PolicySet::admit(&source, &pins, ["fs:write"].into_iter()).expect("admitted").set;
        ["a/x", "a/y", "b/x"].map(|tool| {
            let (server, tool) = tool.split_once('/').expect("two parts");
            set.never_allows(server, tool)
        })
    }

    #[test]
    fn what_the_scopes_rule_out_and_nothing_else() {
        let all = "permit (principal, action, resource);";
        assert_eq!(never(all), [false; 3]);
        assert_eq!(never("forbid (principal, action, resource);"), [true; 3]);
        let tool = format!("{all} forbid (principal, action, resource == Tool::\"a/x\");");
        assert_eq!(never(&tool), [true, false, false]);
        let server = format!("{all} forbid (principal, action, resource in Server::\"a\");");
        assert_eq!(never(&server), [true, true, false]);
        let action = format!("{all} forbid (principal, action == Action::\"call:a/y\", resource);");
        assert_eq!(never(&action), [false, true, false]);
        // With a condition, a rank, or for one agent only, a call may still be allowed.
        for rest in [
            "forbid (principal, action, resource) when { context.tier > 3 };",
            "@rank(\"1\") forbid (principal, action, resource);",
            "forbid (principal == Agent::\"z\", action, resource);",
        ] {
            assert_eq!(never(&format!("{all} {rest}")), [false; 3], "{rest}");
        }
        assert_eq!(
            never("permit (principal, action, resource in Server::\"b\");"),
            [true, true, false]
        );
    }
}
