//! Tools pinned by what they said of themselves.
//!
//! The adversary is a server whose tools change after they were looked at: a package runner that pulls a
//! new version, or a description that begins to give the agent orders. The first list of a server is
//! pinned; a tool that is new, changed or renamed afterwards is refused until a person accepts it.

use std::collections::BTreeMap;

use tipstaff_classify::{Annotations, Hint};
use tipstaff_core::json::Object;
use tipstaff_core::{Digest, Json};
use tipstaff_policy::ToolPins;

/// A tool as its server lists it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTool {
    /// Its name.
    pub name: String,
    /// Its definition, raw.
    pub definition: String,
}

/// Which tools of a list are not the accepted ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolReview {
    /// They are refused, and their new definitions are kept from the agent.
    pub withheld: Vec<Withheld>,
}

/// A tool that is not as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Its name.
    pub name: String,
    /// The accepted definition, raw; `None` if there never was one.
    pub pinned: Option<String>,
}

/// The accepted tools of one server: definitions by name, raw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerPins {
    /// Raw definitions by tool.
    pub tools: BTreeMap<String, String>,
}

/// How a listed tool differs from the accepted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinChange {
    /// The tool.
    pub name: String,
    /// The accepted definition.
    pub pinned: Option<String>,
    /// The listed definition; `None` if it is no longer listed.
    pub listed: Option<String>,
    /// The accepted tool that has the same definition under another name.
    pub renamed_from: Option<String>,
}

/// The accepted tools of all servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pins {
    pub(crate) servers: BTreeMap<String, ServerPins>,
}

/// How the tool of an action stands to its pin; an input of the judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Listed as accepted, or not a tool.
    Accepted,
    /// Listed with another definition.
    Changed,
    /// Never accepted, or not listed.
    Unlisted,
}

impl Listing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::Unlisted => "unlisted",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Accepted, Self::Changed, Self::Unlisted].into_iter().find(|l| l.as_str() == text)
    }
}

impl Pins {
    /// The canonical text that is kept and whose digest the receipts carry.
    pub(crate) fn to_canonical(&self) -> String {
        let servers = self.servers.iter().map(|(server, pins)| {
            let tools = pins.tools.iter().map(|(tool, raw)| (tool.clone(), Json::string(raw)));
            (server.clone(), object(tools))
        });
        object([("servers".to_owned(), object(servers))]).to_canonical()
    }

    pub(crate) fn from_canonical(text: &str) -> Option<Self> {
        let json = Json::parse(text.as_bytes()).ok()?;
        let mut pins = Self::default();
        for (server, tools) in json.get("servers")?.as_object()?.iter() {
            let mut found = ServerPins::default();
            for (tool, raw) in tools.as_object()?.iter() {
                found.tools.insert(tool.to_owned(), raw.as_str()?.to_owned());
            }
            pins.servers.insert(server.to_owned(), found);
        }
        Some(pins)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.to_canonical().as_bytes())
    }

    /// What policies are validated against.
    pub(crate) fn tool_pins(&self) -> ToolPins {
        let mut tools = BTreeMap::new();
        for (server, pins) in &self.servers {
            for (tool, raw) in &pins.tools {
                let definition = Json::parse(raw.as_bytes()).ok();
                let schema = definition.as_ref().and_then(|d| d.get("inputSchema").cloned());
                tools.insert(format!("{server}/{tool}"), schema);
            }
        }
        ToolPins { tools }
    }

    /// The annotations of every accepted tool, by server and tool.
    pub(crate) fn all_annotations(&self) -> BTreeMap<String, BTreeMap<String, Annotations>> {
        let servers = self.servers.iter().map(|(server, pins)| {
            let tools = pins.tools.iter().map(|(tool, raw)| (tool.clone(), annotations(raw)));
            (server.clone(), tools.collect())
        });
        servers.collect()
    }
}

impl ServerPins {
    pub(crate) fn of(tools: &[ListedTool]) -> Self {
        Self { tools: tools.iter().map(|t| (t.name.clone(), t.definition.clone())).collect() }
    }

    /// How a list differs from the accepted one. Order and spelling of members don't count.
    pub(crate) fn changes(&self, listed: &Self) -> Vec<PinChange> {
        let mut changes = Vec::new();
        for (name, definition) in &listed.tools {
            let pinned = self.tools.get(name);
            if pinned.is_some_and(|pinned| same(pinned, definition)) {
                continue;
            }
            let renamed_from = match pinned {
                Some(_) => None,
                None => self
                    .tools
                    .iter()
                    .find(|(old, raw)| {
                        !listed.tools.contains_key(*old) && same_but_name(raw, definition)
                    })
                    .map(|(old, _)| old.clone()),
            };
            changes.push(PinChange {
                name: name.clone(),
                pinned: pinned.cloned(),
                listed: Some(definition.clone()),
                renamed_from,
            });
        }
        for (name, pinned) in &self.tools {
            if !listed.tools.contains_key(name) {
                changes.push(PinChange {
                    name: name.clone(),
                    pinned: Some(pinned.clone()),
                    listed: None,
                    renamed_from: None,
                });
            }
        }
        changes
    }
}

impl PinChange {
    /// The difference for a person: one line per member that differs.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        if let Some(old) = &self.renamed_from {
            lines.push(format!("  was `{old}` before"));
        }
        let members = |raw: &Option<String>| -> BTreeMap<String, String> {
            let json = raw.as_ref().and_then(|raw| Json::parse(raw.as_bytes()).ok());
            let object = json.as_ref().and_then(Json::as_object);
            let pairs = object.map(|o| o.iter().map(|(k, v)| (k.to_owned(), v.to_canonical())));
            pairs.map(Iterator::collect).unwrap_or_default()
        };
        let (old, new) = (members(&self.pinned), members(&self.listed));
        for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
            match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) if old == new => {}
                (old, new) => {
                    lines.extend(old.map(|old| format!("  - {name}: {}", clip(old))));
                    lines.extend(new.map(|new| format!("  + {name}: {}", clip(new))));
                }
            }
        }
        lines.join("\n")
    }
}

fn annotations(raw: &str) -> Annotations {
    let definition = Json::parse(raw.as_bytes()).ok();
    let hint = |name: &str| {
        let value = definition.as_ref().and_then(|d| d.get("annotations")?.get(name)?.as_bool());
        match value {
            Some(true) => Hint::Yes,
            Some(false) => Hint::No,
            None => Hint::Unknown,
        }
    };
    Annotations {
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        open_world: hint("openWorldHint"),
    }
}

fn clip(text: &str) -> String {
    let short: String = text.chars().take(400).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn same(a: &str, b: &str) -> bool {
    match (Json::parse(a.as_bytes()), Json::parse(b.as_bytes())) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn same_but_name(a: &str, b: &str) -> bool {
    let bare = |raw: &str| Some(Json::parse(raw.as_bytes()).ok()?.as_object()?.without("name"));
    matches!((bare(a), bare(b)), (Some(a), Some(b)) if a == b)
}

fn object(members: impl IntoIterator<Item = (String, Json)>) -> Json {
    // Names come from a map, so that none is there twice.
    Json::Object(Object::new(members.into_iter().collect()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str) -> ListedTool {
        let definition = format!(
            "{{\"name\":\"{name}\",\"description\":\"{description}\",\"inputSchema\":{{}},\
             \"annotations\":{{\"destructiveHint\":true}}}}"
        );
        ListedTool { name: name.to_owned(), definition }
    }

    #[test]
    fn changed_renamed_new_and_gone_are_told_apart() {
        let pinned = ServerPins::of(&[tool("a", "one"), tool("b", "two"), tool("c", "three")]);
        let listed = ServerPins::of(&[tool("a", "ONE"), tool("d", "two"), tool("c", "three")]);
        let changes = pinned.changes(&listed);
        let names: Vec<_> =
            changes.iter().map(|c| (c.name.as_str(), c.renamed_from.as_deref())).collect();
        assert_eq!(names, [("a", None), ("d", Some("b")), ("b", None)]);
        assert!(changes[0].describe().contains("- description: \"one\"\n  + description: \"ONE\""));
        let reordered = ListedTool {
            name: "c".to_owned(),
            definition: "{\"inputSchema\":{}, \"description\":\"three\", \"name\":\"c\",\
                         \"annotations\":{\"destructiveHint\":true}}"
                .to_owned(),
        };
        let pinned = ServerPins::of(&[tool("c", "three")]);
        assert_eq!(pinned.changes(&ServerPins::of(&[reordered])), []);
    }

    #[test]
    fn pins_read_back() {
        let mut pins = Pins::default();
        pins.servers.insert("s".to_owned(), ServerPins::of(&[tool("a", "one")]));
        assert_eq!(Pins::from_canonical(&pins.to_canonical()), Some(pins.clone()));
        assert_eq!(pins.all_annotations()["s"]["a"].destructive, Hint::Yes);
        assert!(pins.tool_pins().tools.contains_key("s/a"));
    }
}
