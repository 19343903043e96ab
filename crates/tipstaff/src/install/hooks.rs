//! The hooks of a client's settings: which of them are ours, and how they get in and out.
//!
//! The adversary is a hook that is there and does nothing: one that names a program that is gone, or one
//! whose failure lets the call through.

use serde_json::{Value, json};

use super::edit::{Children, Splice, spliced};
use super::jsonc::{JsoncError, Node};
use super::servers::{Own, is_tipstaff};

/// The events that Tipstaff judges or settles by.
pub(crate) const EVENTS: [&str; 3] = ["PreToolUse", "PostToolUse", "PostToolUseFailure"];
/// Seconds until the client gives up on a hook. `tipstaff hook` answers sooner.
const TIMEOUT_S: u32 = 600;

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

/// The hooks of ours in a settings file.
pub(crate) fn ours(node: &Node, own: &Own) -> Vec<Hook> {
    let mut found = Vec::new();
    let events = node.get("hooks").and_then(Node::as_object);
    for event in events.into_iter().flat_map(|events| &events.members) {
        let groups = event.value.as_array().into_iter().flat_map(|groups| &groups.items);
        for (group, item) in groups.enumerate() {
            let hooks = item.get("hooks").and_then(Node::as_array);
            for (index, hook) in hooks.into_iter().flat_map(|hooks| &hooks.items).enumerate() {
                let Some(Node::Text(at, command)) = hook.get("command") else { continue };
                let mut words = words(command);
                if words.first().is_some_and(|word| word == "exec") {
                    words.remove(0);
                }
                let [binary, rest @ ..] = words.as_slice() else { continue };
                if is_tipstaff(binary, own) && rest.iter().any(|word| word == "hook") {
                    found.push(Hook {
                        event: event.name.clone(),
                        matcher: item.get("matcher").and_then(Node::as_text).map(str::to_owned),
                        at: at.clone(),
                        group,
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
pub(crate) fn states(node: &Node, own: &Own) -> [(&'static str, State); 3] {
    let found = ours(node, own);
    EVENTS.map(|event| {
        let of = found.iter().filter(|hook| hook.event == event);
        let best = of.map(|hook| hook.state(own)).min_by_key(|state| match state {
            State::Here => 0,
            State::Partial => 1,
            State::Elsewhere => 2,
            State::Gone => 3,
            State::Missing => 4,
        });
        (event, best.unwrap_or(State::Missing))
    })
}

impl Hook {
    fn state(&self, own: &Own) -> State {
        let binary = self.words.first().map(String::as_str).unwrap_or_default();
        if binary != own.exe {
            let is_there = std::path::Path::new(binary).is_file();
            return if is_there { State::Elsewhere } else { State::Gone };
        }
        let mut words = self.words.iter().skip_while(|word| *word != "--home");
        if words.nth(1).is_some_and(|home| *home != own.home) {
            return State::Elsewhere;
        }
        match self.matcher.as_deref() {
            None | Some("" | "*" | ".*") => State::Here,
            Some(_) => State::Partial,
        }
    }
}

/// Adds what is missing and mends what names a program that is gone.
pub(crate) fn put(text: &str, own: &Own) -> Result<String, JsoncError> {
    let mut text = text.to_owned();
    for (event, _) in states(&Node::parse(&text)?, own) {
        let node = Node::parse(&text)?;
        let state = states(&node, own).into_iter().find(|(name, _)| *name == event);
        let splices = match state.map(|(_, state)| state) {
            Some(State::Gone) => ours(&node, own)
                .into_iter()
                .filter(|hook| hook.event == event && hook.state(own) == State::Gone)
                .map(|hook| Splice::new(hook.at, Value::from(command(own)).to_string()))
                .collect(),
            Some(State::Missing | State::Partial) => addition(&node, &text, event, own)?,
            _ => continue,
        };
        text = spliced(&text, splices);
    }
    Ok(text)
}

fn addition(node: &Node, text: &str, event: &str, own: &Own) -> Result<Vec<Splice>, JsoncError> {
    let fault = |what: &str| JsoncError { line: 1, what: what.to_owned() };
    let mut hook = json!({ "type": "command", "command": command(own), "timeout": TIMEOUT_S });
    if event == "PreToolUse"
        && let Some(members) = hook.as_object_mut()
    {
        // Clients that know it refuse the call when the hook itself fails.
        members.insert("onFailure".to_owned(), "block".into());
    }
    let group = json!({ "matcher": "*", "hooks": [hook] });
    let root = node.as_object().ok_or_else(|| fault("the settings are no object"))?;
    let Some(hooks) = root.get("hooks") else {
        return Ok(Children::of_object(root).append(
            text,
            Some("hooks"),
            &json!({ event: [group] }),
        ));
    };
    let hooks = hooks.as_object().ok_or_else(|| fault("`hooks` is no object"))?;
    let Some(groups) = hooks.get(event) else {
        return Ok(Children::of_object(hooks).append(text, Some(event), &json!([group])));
    };
    let groups = groups.as_array().ok_or_else(|| fault("the hooks of an event are no list"))?;
    Ok(Children::of_array(groups).append(text, None, &group))
}

/// Takes every hook of ours out, and what is empty then.
pub(crate) fn take_out(text: &str, own: &Own) -> Result<String, JsoncError> {
    let mut text = text.to_owned();
    loop {
        let node = Node::parse(&text)?;
        let Some(hook) = ours(&node, own).pop() else { return Ok(text) };
        let Some(splices) = removal(&node, &text, &hook) else { return Ok(text) };
        text = spliced(&text, splices);
    }
}

fn removal(node: &Node, text: &str, hook: &Hook) -> Option<Vec<Splice>> {
    let root = node.as_object()?;
    let events = root.get("hooks")?.as_object()?;
    let groups = events.get(&hook.event)?.as_array()?;
    let group = groups.items.get(hook.group)?;
    let hooks = group.get("hooks")?.as_array()?;
    if hooks.items.len() > 1 {
        return Some(Children::of_array(hooks).remove(text, hook.index));
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

/// The command of our hook, as a shell reads it.
pub(crate) fn command(own: &Own) -> String {
    // `exec`: the hook's parent is then the client, whose session it joins, and not a shell.
    format!("exec {} hook --home {}", quoted(&own.exe), quoted(&own.home))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+@%:=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
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
            let put_in = put(text, &own()).unwrap();
            let node = Node::parse(&put_in).unwrap();
            assert!(
                states(&node, &own()).iter().all(|(_, state)| *state == State::Here),
                "{put_in}"
            );
            assert_eq!(put(&put_in, &own()).unwrap(), put_in, "idempotent");
            let found = ours(&node, &own());
            assert_eq!(found[0].words, ["/opt/it's/tipstaff", "hook", "--home", "/h o"]);
            assert!(command(&own()).starts_with("exec '/opt/it'\\''s/tipstaff' hook"));
            let out = take_out(&put_in, &own()).unwrap();
            assert!(ours(&Node::parse(&out).unwrap(), &own()).is_empty(), "{out}");
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
        let state = |text: &str| states(&Node::parse(text).unwrap(), &own())[0].1;
        assert_eq!(state(&settings("/gone/tipstaff hook", "*")), State::Gone);
        assert_eq!(state(&settings("other hook", "*")), State::Missing);
        assert_eq!(state(&settings(&command(&own()), "Bash")), State::Partial);
        assert_eq!(state(&settings(&command(&own()), "")), State::Here);
        let other = Own { home: "/other".to_owned(), ..own() };
        assert_eq!(state(&settings(&command(&other), "")), State::Elsewhere);
        let mended = put(&settings("/gone/tipstaff hook", "*"), &own()).unwrap();
        assert_eq!(state(&mended), State::Here);
        assert!(!mended.contains("/gone/"));
        for bad in ["[]", "{\"hooks\":[]}", "{\"hooks\":{\"PreToolUse\":{}}}"] {
            assert!(put(bad, &own()).is_err(), "{bad}");
        }
    }
}
