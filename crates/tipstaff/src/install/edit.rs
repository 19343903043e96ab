//! Changes of a text at single places: everything between them keeps its bytes.
//!
//! The adversary is an editor's goodwill: a file that is rewritten whole loses comments, order and the
//! keys that the editor doesn't know.

use std::ops::Range;

use serde_json::Value;

use super::jsonc::{Array, Node, Object};

/// What comes instead of a part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

impl Splice {
    pub(crate) fn new(at: Range<usize>, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    pub(crate) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self::new(at..at, text)
    }
}

/// The text with every splice carried out. Splices don't overlap.
pub(crate) fn spliced(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| (splice.at.start, splice.at.end));
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for splice in splices {
        out.push_str(text.get(done..splice.at.start).unwrap_or_default());
        out.push_str(&splice.text);
        done = splice.at.end.max(done);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// The children of a container, by where they stand.
#[derive(Debug)]
pub(crate) struct Children {
    span: Range<usize>,
    children: Vec<Range<usize>>,
}

impl Children {
    pub(crate) fn of_object(object: &Object) -> Self {
        let children =
            object.members.iter().map(|member| member.name_span.start..member.value.span().end);
        Self { span: object.span.clone(), children: children.collect() }
    }

    pub(crate) fn of_array(array: &Array) -> Self {
        let children = array.items.iter().map(Node::span);
        Self { span: array.span.clone(), children: children.collect() }
    }

    /// Adds a child at the end, in the manner of the text: `name` is for objects.
    pub(crate) fn append(&self, text: &str, name: Option<&str>, value: &Value) -> Vec<Splice> {
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        let (open, close) = (self.span.start, self.span.end.saturating_sub(1));
        let on_lines = part(open..close).contains('\n');
        let wide = on_lines || self.children.is_empty() && !is_compact(text);
        if !wide {
            let item = rendered(name, value, None);
            let Some(last) = self.children.last() else {
                return vec![Splice::insert(open + 1, item)];
            };
            let behind = part(last.end..close);
            return match comma_of(behind) {
                Some(comma) => vec![Splice::insert(last.end + comma + 1, format!(" {item}"))],
                None => vec![Splice::insert(last.end, format!(", {item}"))],
            };
        }
        let newline = newline(text);
        let outer = indent_at(text, open);
        let indent = match self.children.first() {
            Some(first) if part(open..first.start).contains('\n') => {
                indent_at(text, first.start).to_owned()
            }
            _ => format!("{outer}{}", unit(text)),
        };
        let item = rendered(name, value, Some((&indent, &unit(text), newline)));
        let Some(last) = self.children.last() else {
            let tail = if on_lines { String::new() } else { format!("{newline}{outer}") };
            return vec![Splice::insert(open + 1, format!("{newline}{indent}{item}{tail}"))];
        };
        let mut splices = Vec::new();
        if comma_of(part(last.end..close)).is_none() {
            splices.push(Splice::insert(last.end, ","));
        }
        // Behind comments that belong to the child before.
        let end = open + part(open..close).trim_end().len();
        let tail = if part(end..close).contains('\n') {
            String::new()
        } else {
            format!("{newline}{outer}")
        };
        splices.push(Splice::insert(end, format!("{newline}{indent}{item}{tail}")));
        splices
    }

    /// Takes a child out, with the comma that parted it from its neighbours.
    pub(crate) fn remove(&self, text: &str, index: usize) -> Vec<Splice> {
        let Some(child) = self.children.get(index) else { return Vec::new() };
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        if let Some(next) = self.children.get(index + 1) {
            return vec![Splice::new(child.start..next.start, "")];
        }
        let close = self.span.end.saturating_sub(1);
        let behind = part(child.end..close);
        if let Some(before) = index.checked_sub(1).and_then(|at| self.children.get(at)) {
            // A comment behind the child before stays, and must not swallow what comes now.
            let gap = part(before.end..child.start);
            let kept = if behind.trim_start_matches([' ', '\t']).starts_with(['\r', '\n']) {
                gap.trim_end().len()
            } else {
                gap.trim_end_matches([' ', '\t']).len()
            };
            let comma = comma_of(gap).map(|at| before.end + at);
            let comma = comma.map(|at| Splice::new(at..at + 1, ""));
            let rest = Splice::new(before.end + kept..child.end, "");
            return comma.into_iter().chain([rest]).collect();
        }
        let end = comma_of(behind).map_or(child.end, |comma| child.end + comma + 1);
        let inner = [part(self.span.start + 1..child.start), part(end..close)];
        // Nothing but white space is left: the container is empty as a person would write it.
        if inner.iter().all(|blank| blank.trim().is_empty()) {
            return vec![Splice::new(self.span.start + 1..close, "")];
        }
        vec![Splice::new(child.start..end, "")]
    }
}

/// The line end of a text.
pub(crate) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).unwrap_or_default().ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// The white space at the beginning of the line of an offset.
pub(crate) fn indent_at(text: &str, at: usize) -> &str {
    let before = text.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).unwrap_or_default();
    let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..blank).unwrap_or_default()
}

/// One step of the text's indentation.
fn unit(text: &str) -> String {
    let mut indents = text.lines().map(|line| indent_at(line, 0)).filter(|blank| !blank.is_empty());
    indents.next().map_or_else(|| "  ".to_owned(), str::to_owned)
}

/// Whether the whole text stands on one line, as a program writes it.
fn is_compact(text: &str) -> bool {
    let trimmed = text.trim();
    trimmed.len() > 2 && !trimmed.contains('\n')
}

/// Where the comma is that follows a child, comments passed over.
fn comma_of(behind: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = behind.get(at..)?;
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.get(2..)?.find("*/")? + 4
        } else if rest.starts_with(',') {
            return Some(at);
        } else {
            rest.chars().next()?.len_utf8()
        };
    }
}

/// A value as text: on one line, or on lines below `(indent, unit, newline)`.
fn rendered(name: Option<&str>, value: &Value, lines: Option<(&str, &str, &str)>) -> String {
    let key = name.map(|name| Value::from(name).to_string());
    let Some((indent, unit, newline)) = lines else {
        return key.map_or_else(|| value.to_string(), |key| format!("{key}: {value}"));
    };
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    let pretty: Vec<String> = pretty
        .lines()
        .enumerate()
        .map(|(number, line)| {
            let inner = line.trim_start_matches(' ');
            let steps = (line.len() - inner.len()) / 2;
            let indent = if number == 0 { "" } else { indent };
            format!("{indent}{}{inner}", unit.repeat(steps))
        })
        .collect();
    let text = pretty.join(newline);
    key.map_or_else(|| text.clone(), |key| format!("{key}: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn appended(text: &str) -> String {
        let node = Node::parse(text).unwrap();
        let children = Children::of_object(node.as_object().unwrap());
        spliced(text, children.append(text, Some("new"), &json!({ "a": [1] })))
    }

    #[test]
    fn a_member_is_added_in_the_manner_of_the_text() {
        for (text, wanted) in [
            ("{}", "{\n  \"new\": {\n    \"a\": [\n      1\n    ]\n  }\n}"),
            ("{\"x\":1}", "{\"x\":1, \"new\": {\"a\":[1]}}"),
            ("{\"x\":1,}", "{\"x\":1, \"new\": {\"a\":[1]}}"),
            (
                "{\r\n\t\"x\": 1 // why\r\n}\r\n",
                "{\r\n\t\"x\": 1, // why\r\n\t\"new\": {\r\n\t\t\"a\": [\r\n\t\t\t1\r\n\t\t]\r\n\t}\r\n}\r\n",
            ),
            (
                "{\n    \"x\": 1, /* a, b */\n}",
                "{\n    \"x\": 1, /* a, b */\n    \"new\": {\n        \"a\": [\n            1\n        ]\n    }\n}",
            ),
            ("{\n}", "{\n  \"new\": {\n    \"a\": [\n      1\n    ]\n  }\n}"),
            (
                "{\n  // nothing\n}",
                "{\n  \"new\": {\n    \"a\": [\n      1\n    ]\n  }\n  // nothing\n}",
            ),
            (
                "{ \"x\": {\n  } }",
                "{ \"x\": {\n  },\n  \"new\": {\n    \"a\": [\n      1\n    ]\n  }\n }",
            ),
        ] {
            let out = appended(text);
            assert!(Node::parse(&out).unwrap().get("new").is_some(), "{out}");
            assert_eq!(out, wanted, "{text}");
        }
    }

    #[test]
    fn a_child_is_taken_out_with_its_comma() {
        for (text, index, wanted) in [
            ("[1, 2, 3]", 0, "[2, 3]"),
            ("[1, 2, 3]", 1, "[1, 3]"),
            ("[1, 2, 3]", 2, "[1, 2]"),
            ("[1, 2, ]", 1, "[1, ]"),
            ("[1, // one\n 2\n]", 1, "[1 // one\n]"),
            ("[1, // one\n 2]", 1, "[1 // one\n]"),
            ("[ 1 , ]", 0, "[]"),
            ("[ /* x */ 1 ]", 0, "[ /* x */  ]"),
            ("[\n  1\n]", 0, "[]"),
        ] {
            let node = Node::parse(text).unwrap();
            let children = Children::of_array(node.as_array().unwrap());
            assert_eq!(spliced(text, children.remove(text, index)), wanted);
        }
    }
}
