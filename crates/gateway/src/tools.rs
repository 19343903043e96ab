//! Tool lists of a server: read for review, and shown only as far as they were accepted.
//!
//! The adversary is a server that changes a tool's description or schema after it was looked at: the
//! text that an agent reads is as much an instruction as any prompt. The client is shown accepted
//! definitions, in the server's own bytes, and never a new one before somebody accepted it.

use serde_json::value::RawValue;
use tipstaff_monitor::{ListedTool, Withheld};

use crate::raw::{self, Member, Members};

/// One page of a tool list.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    tools: &'a str,
    entries: Vec<(Option<String>, &'a str)>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
}

impl<'a> Page<'a> {
    /// Reads the `result` of a `tools/list`.
    pub(crate) fn read(result: &'a str) -> Option<Self> {
        let members = Members::read(result)?;
        let tools = members.one("tools")?;
        let entries: Vec<&RawValue> = serde_json::from_str(tools).ok()?;
        let entries = entries.into_iter().map(|entry| (name(entry.get()), entry.get())).collect();
        let next = match members.get("nextCursor") {
            Member::Absent | Member::One("null") => None,
            Member::One(cursor) => Some(raw::text(cursor)?),
            Member::Several => return None,
        };
        Some(Self { tools, entries, next })
    }

    /// The tools that have a name.
    pub(crate) fn listed(&self) -> Vec<ListedTool> {
        let named = self.entries.iter().filter_map(|(name, definition)| {
            let (name, definition) = (name.clone()?, (*definition).to_owned());
            Some(ListedTool { name, definition })
        });
        named.collect()
    }

    /// `line`, which this page was read from, without what is withheld: accepted definitions stand in
    /// for changed ones, tools that were never accepted and entries without a name are left out.
    pub(crate) fn shown(&self, line: &str, withheld: &[Withheld]) -> String {
        let held = |name: &Option<String>| match name {
            Some(name) => withheld.iter().find(|held| held.name == *name),
            None => None,
        };
        if self.entries.iter().all(|(name, _)| name.is_some() && held(name).is_none()) {
            return line.to_owned();
        }
        let mut shown: Vec<&str> = Vec::new();
        let mut replaced: Vec<&str> = Vec::new();
        for (name, definition) in &self.entries {
            match (name, held(name)) {
                (Some(_), None) => shown.push(definition),
                (Some(_), Some(Withheld { name, pinned: Some(pinned) })) => {
                    if !replaced.contains(&name.as_str()) {
                        replaced.push(name);
                        shown.push(pinned);
                    }
                }
                (Some(_), Some(Withheld { pinned: None, .. })) | (None, _) => {}
            }
        }
        let mut out = String::with_capacity(line.len());
        if let Some(place) = raw::place(line, self.tools) {
            raw::replace(&mut out, line, place, &format!("[{}]", shown.join(",")));
        }
        out
    }
}

fn name(entry: &str) -> Option<String> {
    raw::text(Members::read(entry)?.one("name")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"x":1.0,"tools":[ {"name":"a","n":1.0}, {"name":"b"}, {"name":"c"},7],"nextCursor":"q"}}"#;

    fn page() -> Page<'static> {
        Page::read(Members::read(LINE).unwrap().one("result").unwrap()).unwrap()
    }

    #[test]
    fn only_what_was_accepted_is_shown() {
        let withheld = [
            Withheld { name: "b".into(), pinned: Some(r#"{"name":"b","old":true}"#.into()) },
            Withheld { name: "c".into(), pinned: None },
        ];
        assert_eq!(
            page().shown(LINE, &withheld),
            r#"{"jsonrpc":"2.0","id":1,"result":{"x":1.0,"tools":[{"name":"a","n":1.0},{"name":"b","old":true}],"nextCursor":"q"}}"#
        );
        assert_eq!(page().next.as_deref(), Some("q"));
        let listed = page().listed();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed[0].definition, r#"{"name":"a","n":1.0}"#);
    }

    #[test]
    fn an_accepted_list_passes_byte_for_byte() {
        let line = r#"{"id":1, "result":{"tools" : [{"name":"a"}]}}"#;
        let page = Page::read(Members::read(line).unwrap().one("result").unwrap()).unwrap();
        assert_eq!(page.shown(line, &[]), line);
        assert!(Page::read(r#"{"tools":{}}"#).is_none());
        assert!(Page::read(r#"{"tools":[],"tools":[]}"#).is_none());
    }
}
