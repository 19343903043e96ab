//! The hooks of a client's settings: which of them are ours, and how they get in and out.
//!
//! The adversary is a hook that is there and does nothing: one that names a program that is gone, or one
//! whose failure lets the call through.

use serde_json::{Value, json};

use super::edit::{Children, Splice, spliced};
use super::hook_file::{HookFile, Shape};
use super::jsonc::{JsoncError, Node};
use super::servers::{Own, is_tipstaff};
use crate::hook::contract::Contract;

/// A hook of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) event: String,
    /// The words of its command.
    pub(crate) words: Vec<String>,
    /// The tools that it is for.
    pub(crate) matcher: Option<String>,
    /// Where its command is.
    at: std::ops::Range<usize>,
    group: usize,
    index: usize,
}

/// What became of the hooks of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none.
    Missing,
    /// It is there and runs this program.
    Here,
    /// It runs a program that is gone.
    Gone,
    /// It runs another program that is there, or joins another home.
    Elsewhere,
    /// It runs this program, but not for every tool.
    Partial,
}

/// The hooks of ours in a client's file.
pub(crate) fn ours(file: HookFile, node: &Node, own: &Own) -> Vec<Hook> {
    let mut found = Vec::new();
    let events = node.get("hooks").and_then(Node::as_object);
    for event in events.into_iter().flat_map(|events| &events.members) {
        let items = event.value.as_array().into_iter().flat_map(|items| &items.items);
        for (at, item) in items.enumerate() {
            let hooks = match file.shape() {
                Shape::Flat => std::slice::from_ref(item),
                Shape::Groups => {
                    let hooks = item.get("hooks").and_then(Node::as_array);
                    hooks.map(|hooks| hooks.items.as_slice()).unwrap_or_default()
                }
            };
            for (index, hook) in hooks.iter().enumerate() {
                let Some(Node::Text(span, command)) = hook.get("command") else { continue };
                let mut words = words(command);
                if words.first().is_some_and(|word| word == "exec") {
                    words.remove(0);
                }
                let [binary, rest @ ..] = words.as_slice() else { continue };
                if is_tipstaff(binary, own) && rest.iter().any(|word| word == "hook") {
                    found.push(Hook {
                        event: event.name.clone(),
                        matcher: item.get("matcher").and_then(Node::as_text).map(str::to_owned),
                        at: span.clone(),
                        group: at,
                        index,
                        words,
                    });
                }
            }
        }
    }
    found
}

/// How it stands with each event.
pub(crate) fn states(file: HookFile, node: &Node, own: &Own) -> Vec<(&'static str, State)> {
    let found = ours(file, node, own);
    let state = |event: &&'static str| {
        let of = found.iter().filter(|hook| hook.event == *event);
        let best = of.map(|hook| hook.state(file, own)).min_by_key(|state| match state {
            State::Here => 0,
            State::Partial => 1,
            State::Elsewhere => 2,
            State::Gone => 3,
            State::Missing => 4,
        });
        (*event, best.unwrap_or(State::Missing))
    };
    file.events().iter().map(state).collect()
}

impl Hook {
    fn state(&self, file: HookFile, own: &Own) -> State {
        let binary = self.words.first().map(String::as_str).unwrap_or_default();
        if binary != own.exe {
            let is_there = std::path::Path::new(binary).is_file();
            return if is_there { State::Elsewhere } else { State::Gone };
        }
        let option = |name: &str| self.words.iter().skip_while(|word| *word != name).nth(1);
        if option("--home").is_some_and(|home| *home != own.home) {
            return State::Elsewhere;
        }
        let client = option("--client").map_or(Contract::ClaudeCode.as_str(), String::as_str);
        if client != file.0.as_str() {
            return State::Elsewhere;
        }
        match self.matcher.as_deref() {
            None | Some("" | "*" | ".*") => State::Here,
            Some(_) => State::Partial,
        }
    }
}

/// Adds what is missing and mends what names a program that is gone.
pub(crate) fn put(file: HookFile, text: &str, own: &Own) -> Result<String, JsoncError> {
    let mut text = text.to_owned();
    for event in file.events() {
        let node = Node::parse(&text)?;
        let state = states(file, &node, own).into_iter().find(|(name, _)| name == event);
        let splices = match state.map(|(_, state)| state) {
            Some(State::Gone) => ours(file, &node, own)
                .into_iter()
                .filter(|hook| hook.event == *event && hook.state(file, own) == State::Gone)
                .map(|hook| Splice::new(hook.at, Value::from(file.command(own)).to_string()))
                .collect(),
            Some(State::Missing | State::Partial) => addition(file, &node, &text, event, own)?,
            _ => continue,
        };
        text = spliced(&text, splices);
    }
    Ok(text)
}

fn addition(
    file: HookFile,
    node: &Node,
    text: &str,
    event: &str,
    own: &Own,
) -> Result<Vec<Splice>, JsoncError> {
    let fault = |what: &str| JsoncError { line: 1, what: what.to_owned() };
    let entry = file.entry(event, own);
    let root = node.as_object().ok_or_else(|| fault("the settings are no object"))?;
    let Some(hooks) = root.get("hooks") else {
        let first = json!({ event: [entry] });
        return Ok(Children::of_object(root).append(text, Some("hooks"), &first));
    };
    let hooks = hooks.as_object().ok_or_else(|| fault("`hooks` is no object"))?;
    let Some(list) = hooks.get(event) else {
        return Ok(Children::of_object(hooks).append(text, Some(event), &json!([entry])));
    };
    let list = list.as_array().ok_or_else(|| fault("the hooks of an event are no list"))?;
    Ok(Children::of_array(list).append(text, None, &entry))
}

/// Takes every hook of ours out, and what is empty then.
pub(crate) fn take_out(file: HookFile, text: &str, own: &Own) -> Result<String, JsoncError> {
    let mut text = text.to_owned();
    loop {
        let node = Node::parse(&text)?;
        let Some(hook) = ours(file, &node, own).pop() else { return Ok(text) };
        let Some(splices) = removal(file, &node, &text, &hook) else { return Ok(text) };
        text = spliced(&text, splices);
    }
}

fn removal(file: HookFile, node: &Node, text: &str, hook: &Hook) -> Option<Vec<Splice>> {
    let root = node.as_object()?;
    let events = root.get("hooks")?.as_object()?;
    let groups = events.get(&hook.event)?.as_array()?;
    if file.shape() == Shape::Groups {
        let hooks = groups.items.get(hook.group)?.get("hooks")?.as_array()?;
        if hooks.items.len() > 1 {
            return Some(Children::of_array(hooks).remove(text, hook.index));
        }
    }
    if groups.items.len() > 1 {
        return Some(Children::of_array(groups).remove(text, hook.group));
    }
    let place = |members: &[super::jsonc::Member], name: &str| {
        members.iter().position(|member| member.name == name)
    };
    if events.members.len() > 1 {
        let at = place(&events.members, &hook.event)?;
        return Some(Children::of_object(events).remove(text, at));
    }
    Some(Children::of_object(root).remove(text, place(&root.members, "hooks")?))
}

/// The words of a simple shell command; a reading for looking, not for running.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAUDE: HookFile = HookFile(Contract::ClaudeCode);

    fn own() -> Own {
        Own { exe: "/opt/it's/tipstaff".to_owned(), home: "/h o".to_owned() }
    }

    #[test]
    fn hooks_get_in_once_and_out_again() {
        for text in [
            "{}",
            "{\"model\":\"x\"}",
            "{\n    // mine\n    \"model\": \"x\", // this\n}\n",
            "{\r\n\t\"hooks\": {\r\n\t\t\"Stop\": []\r\n\t}\r\n}",
            "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"guard hook\"}]}]}}",
        ] {
            let put_in = put(CLAUDE, text, &own()).unwrap();
            let node = Node::parse(&put_in).unwrap();
            assert!(
                states(CLAUDE, &node, &own()).iter().all(|(_, state)| *state == State::Here),
                "{put_in}"
            );
            assert_eq!(put(CLAUDE, &put_in, &own()).unwrap(), put_in, "idempotent");
            let found = ours(CLAUDE, &node, &own());
            assert_eq!(found[0].words, ["/opt/it's/tipstaff", "hook", "--home", "/h o"]);
            assert!(CLAUDE.command(&own()).starts_with("exec '/opt/it'\\''s/tipstaff' hook"));
            let out = take_out(CLAUDE, &put_in, &own()).unwrap();
            assert!(ours(CLAUDE, &Node::parse(&out).unwrap(), &own()).is_empty(), "{out}");
            for kept in ["// mine", "// this", "Stop", "guard hook", "\"x\""] {
                assert_eq!(out.contains(kept), text.contains(kept), "{kept} in {out}");
            }
        }
    }

    #[test]
    fn what_points_elsewhere_is_seen() {
        let settings = |command: &str, matcher: &str| {
            json!({ "hooks": { "PreToolUse": [
                { "matcher": matcher, "hooks": [{ "type": "command", "command": command }] }
            ] } })
            .to_string()
        };
        let state = |text: &str| states(CLAUDE, &Node::parse(text).unwrap(), &own())[0].1;
        assert_eq!(state(&settings("/gone/tipstaff hook", "*")), State::Gone);
        assert_eq!(state(&settings("other hook", "*")), State::Missing);
        assert_eq!(state(&settings(&CLAUDE.command(&own()), "Bash")), State::Partial);
        assert_eq!(state(&settings(&CLAUDE.command(&own()), "")), State::Here);
        let other = Own { home: "/other".to_owned(), ..own() };
        assert_eq!(state(&settings(&CLAUDE.command(&other), "")), State::Elsewhere);
        let mended = put(CLAUDE, &settings("/gone/tipstaff hook", "*"), &own()).unwrap();
        assert_eq!(state(&mended), State::Here);
        assert!(!mended.contains("/gone/"));
        for bad in ["[]", "{\"hooks\":[]}", "{\"hooks\":{\"PreToolUse\":{}}}"] {
            assert!(put(CLAUDE, bad, &own()).is_err(), "{bad}");
        }
    }
}
