//! What the principal named: whether the values that decide whom an action serves stand in the principal's own
//! words (law 6).
//!
//! The adversary has an agent read an address, an account or a file name and act upon it. That a value was not
//! seen in foreign text proves nothing, since it can be spelled otherwise there; that it stands in the signed
//! request proves that the principal chose it.

use tipstaff_core::Json;
use unicode_normalization::UnicodeNormalization as _;

/// Most values of one action that are looked for.
pub const VALUES_MAX: usize = 256;
/// Longest value that is looked for, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Fewest digits of a value that is nothing but digits: a shorter one would be found in any date.
const DIGITS_MIN: usize = 4;

/// A session's signed requests, ready to be looked in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    texts: Vec<String>,
}

impl Words {
    /// Reads the requests.
    #[must_use]
    pub fn new<'a>(requests: impl IntoIterator<Item = &'a str>) -> Self {
        Self { texts: requests.into_iter().map(plain).collect() }
    }

    /// Whether every single value in and below the `pointers` of an action's parameters stands in a request.
    /// Nothing there is nothing chosen; without a request nothing is.
    #[must_use]
    pub fn name(&self, parameters: &Json, pointers: &[String]) -> bool {
        let mut values = Vec::new();
        let whole = pointers.iter().all(|pointer| {
            let found = at(parameters, pointer);
            found.is_none_or(|found| collect(found, &mut values).is_some())
        });
        whole && !self.texts.is_empty() && values.iter().all(|value| self.holds(value))
    }

    /// Whether a request holds one of the words with which a person asks for something.
    #[must_use]
    pub fn ask<'a>(&self, acts: impl IntoIterator<Item = &'a str>) -> bool {
        acts.into_iter().any(|act| {
            let act = plain(act);
            !act.is_empty() && self.texts.iter().any(|text| asks(text, &act))
        })
    }

    fn holds(&self, value: &str) -> bool {
        let value = plain(value);
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let is_findable = !value.is_empty() && (!digits || value.len() >= DIGITS_MIN);
        is_findable && self.texts.iter().any(|text| occurs(text, &value))
    }
}

/// NFKC, lower case, each run of white space one blank.
fn plain(text: &str) -> String {
    let folded = text.nfkc().flat_map(char::to_lowercase).collect::<String>();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each place where `part` stands, with the character before it and the text after it.
fn places<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = (Option<char>, &'a str)> {
    text.match_indices(part).filter_map(move |(start, found)| {
        let before = text.get(..start)?.chars().next_back();
        Some((before, text.get(start + found.len()..)?))
    })
}

/// Whether a value stands in a text as a whole, not as a part of a longer name.
fn occurs(text: &str, value: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    places(text, value).any(|(before, after)| {
        let opens = before.is_none_or(|c| !is_word(c) && !"@.+-/%&=#~".contains(c));
        let mut after = after.chars();
        let closes = match after.next() {
            None => true,
            Some('.') => !after.next().is_some_and(is_word),
            Some(c) => !is_word(c) && !"@+-/%&=#~".contains(c),
        };
        opens && closes
    })
}

/// Whether a text holds a word, as it is or with an ending of a verb.
fn asks(text: &str, act: &str) -> bool {
    places(text, act).any(|(before, after)| {
        let rest: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let ending = ["", "s", "es", "d", "ed", "ing"].contains(&rest.as_str());
        ending && before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

fn at<'a>(parameters: &'a Json, pointer: &str) -> Option<&'a Json> {
    let steps = pointer.strip_prefix('/')?.split('/');
    steps.map(|step| step.replace("~1", "/").replace("~0", "~")).try_fold(
        parameters,
        |json, step| match json.as_array() {
            Some(items) => items.get(step.parse::<usize>().ok()?),
            None => json.get(&step),
        },
    )
}

/// The single values in and below. `None` if there are too many, or one that can't be looked for.
fn collect(json: &Json, out: &mut Vec<String>) -> Option<()> {
    if let Some(items) = json.as_array() {
        return items.iter().try_for_each(|item| collect(item, out));
    }
    if let Some(object) = json.as_object() {
        return object.iter().try_for_each(|(_, member)| collect(member, out));
    }
    let value = match json.as_str() {
        Some(text) => text.to_owned(),
        None if json.is_null() => return Some(()),
        None => json.to_canonical(),
    };
    if out.len() >= VALUES_MAX || value.len() > VALUE_BYTES_MAX {
        return None;
    }
    out.push(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "Please send the “Q3 report” to mark@x.com and pay 1,200 to  DE89 3704 0044 0532 0130 00. \
        Then delete the file 4711 on www.x.org.";

    fn names(arguments: &str, pointers: &[&str]) -> bool {
        let arguments = Json::parse(arguments.as_bytes()).unwrap();
        let pointers: Vec<String> = pointers.iter().map(|p| (*p).to_owned()).collect();
        Words::new([REQUEST]).name(&arguments, &pointers)
    }

    #[test]
    fn a_value_is_named_as_a_whole_or_not_at_all() {
        for named in [
            r#"{"to":"mark@x.com"}"#,
            r#"{"to":"MARK@X.COM"}"#,
            r#"{"to":["mark@x.com"]}"#,
            r#"{"to":{"a":["Q3 report"]}}"#,
            r#"{"to":"DE89 3704 0044 0532 0130 00"}"#,
            r#"{"to":4711}"#,
            r#"{"to":"www.x.org"}"#,
            r#"{"to":[]}"#,
            r#"{"to":null}"#,
            r#"{"other":"evil@y.com"}"#,
        ] {
            assert!(names(named, &["/to"]), "{named}");
        }
        for foreign in [
            r#"{"to":"evil-mark@x.com"}"#,
            r#"{"to":"ark@x.com"}"#,
            r#"{"to":"mark@x.co"}"#,
            r#"{"to":"x.com"}"#,
            r#"{"to":"x.org"}"#,
            r#"{"to":["mark@x.com","evil@y.com"]}"#,
            r#"{"to":""}"#,
            r#"{"to":471}"#,
            r#"{"to":true}"#,
            r#"{"to":{"a":{"b":"evil@y.com"}}}"#,
        ] {
            assert!(!names(foreign, &["/to"]), "{foreign}");
        }
        assert!(!names(
            &format!("{{\"to\":[{}]}}", vec!["\"mark@x.com\""; 300].join(",")),
            &["/to"]
        ));
    }

    #[test]
    fn without_a_request_nothing_is_named_or_asked() {
        let none = Words::default();
        assert!(!none.name(&Json::Null, &[]));
        assert!(!none.ask(["send"]));
    }

    #[test]
    fn a_verb_is_asked_for_as_a_word() {
        let words = Words::new([REQUEST, "Emailing is fine."]);
        assert!(words.ask(["send"]) && words.ask(["delete"]) && words.ask(["email"]));
        assert!(!words.ask(["end"]) && !words.ask(["rep"]) && !words.ask([]));
    }
}
