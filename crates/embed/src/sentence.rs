//! How an action becomes the sentence that is embedded.
//!
//! The adversary chooses the arguments, and would fill the sentence with words of the request so that the
//! rest isn't looked at. So every argument gets the same share of the room, whatever the others hold, and
//! names that a server chose come first.

use tipstaff_core::Json;

/// Room for arguments, in characters: with the names, about what 256 tokens hold.
const ARGUMENTS_CHARS: usize = 600;
/// Most arguments that are shown; a share has at least 25 characters.
const ARGUMENTS_MAX: usize = 24;
/// Room for each of the three names.
const NAME_CHARS: usize = 80;

/// The sentence for an action: `TOOL WORDS (SERVER WORDS): NAME VALUE, NAME VALUE`.
///
/// - Names are split into lower-case words at punctuation and where a small letter meets a large one; a
///   protocol's own verb for calling tools says nothing and is left out, any other follows the tool.
/// - `arguments` is JSON. Strings, numbers and booleans are shown with the name of the nearest member that
///   holds them, in the order of the canonical form (members sorted, elements as they come); `null` and
///   empty strings are not. Of more than 24, the first 12 and the last 12 are shown.
/// - A value longer than its share of 600 characters keeps its beginning and its end. Shares are equal, and
///   what short values leave over is shared among the longer ones. White space and control characters
///   become one space.
/// - JSON that the strict parser refuses is treated as one value without a name.
///
/// The same action gives the same sentence on every machine.
#[must_use]
pub fn action_text(server: &str, tool: &str, operation: &str, arguments: &str) -> String {
    let mut text = words(tool);
    if !matches!(operation, "tools/call" | "call" | "") {
        text = format!("{text} {}", words(operation)).trim().to_owned();
    }
    let server = words(server);
    if !server.is_empty() {
        text = format!("{text} ({server})");
    }
    let values = values(arguments);
    let shares = shares(&values.iter().map(|value| value.1.chars().count()).collect::<Vec<_>>());
    let shown = values.iter().zip(shares).map(|((name, value), share)| {
        let value = shortened(value, share);
        if name.is_empty() { value } else { format!("{name} {value}") }
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { text } else { format!("{text}: {}", shown.join(", ")) }
}

/// A name as words.
fn words(name: &str) -> String {
    let mut text = String::new();
    let mut small = false;
    for c in name.chars().take(NAME_CHARS) {
        if !c.is_alphanumeric() {
            small = false;
            if !text.ends_with(' ') && !text.is_empty() {
                text.push(' ');
            }
            continue;
        }
        if small && c.is_uppercase() {
            text.push(' ');
        }
        small = c.is_lowercase();
        text.extend(c.to_lowercase());
    }
    text.trim_end().to_owned()
}

/// The arguments' values, each with its name.
fn values(arguments: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match Json::parse(arguments.as_bytes()) {
        Ok(json) => collect("", &json, &mut found),
        Err(_) => found.push((String::new(), spaced(arguments))),
    }
    found.retain(|(_, value)| !value.is_empty());
    let tail = found.split_off(found.len().min(ARGUMENTS_MAX / 2));
    let dropped = tail.len().saturating_sub(ARGUMENTS_MAX / 2);
    found.extend(tail.into_iter().skip(dropped));
    found
}

/// The parser bounds depth and count.
fn collect(name: &str, json: &Json, found: &mut Vec<(String, String)>) {
    let value = match json {
        Json::Null => return,
        Json::Array(elements) => {
            return elements.iter().for_each(|element| collect(name, element, found));
        }
        Json::Object(members) => {
            return members.iter().for_each(|(name, value)| collect(name, value, found));
        }
        Json::String(text) => spaced(text),
        other => other.to_canonical(),
    };
    found.push((words(name), value));
}

/// The text with one space for all white space and control characters in a row.
fn spaced(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || c.is_control());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// How many characters each value may show.
fn shares(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = lengths.to_vec();
    order.sort_unstable();
    let (mut room, mut left) = (ARGUMENTS_CHARS, order.len());
    for length in order {
        if length * left > room {
            break;
        }
        room -= length;
        left -= 1;
    }
    let share = room.checked_div(left).unwrap_or(0);
    // Those that fit whole are at most as long as the others' share.
    lengths.iter().map(|length| if left == 0 { *length } else { (*length).min(share) }).collect()
}

/// The beginning and the end of a value that is longer than its share.
fn shortened(value: &str, share: usize) -> String {
    let length = value.chars().count();
    if length <= share {
        return value.to_owned();
    }
    let kept = share.saturating_sub(1);
    let (head, tail) = (kept - kept / 3, kept / 3);
    let mut text: String = value.chars().take(head).collect();
    text.push('…');
    text.extend(value.chars().skip(length - tail));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(tool: &str, arguments: &str) -> String {
        action_text("mail", tool, "tools/call", arguments)
    }

    #[test]
    fn an_action_reads_as_a_sentence() {
        let arguments = r#"{"to":["a@example.com","b@example.com"],"subject":"Q3\n figures","cc":null,
            "draft":false,"copies":2,"more":{"replyTo":""}}"#;
        assert_eq!(
            call("sendEmail_v2", arguments),
            "send email v2 (mail): copies 2, draft false, subject Q3 figures, \
             to a@example.com, to b@example.com"
        );
        assert_eq!(action_text("fs", "", "resources/read", "{}"), "resources read (fs)");
        assert_eq!(call("x", "not json"), "x (mail): not json");
    }

    #[test]
    fn no_argument_pushes_another_out() {
        let filler = "book a flight ".repeat(10_000);
        let arguments =
            format!(r#"{{"a":"{filler}","note":"{filler}","to":"attacker@evil.example"}}"#);
        let text = call("send", &arguments);
        assert!(text.contains("attacker@evil.example"), "{text}");
        assert!(text.chars().count() < 700);
        // Nor does the beginning of a long one hide its end, nor a long list its last element.
        let end = format!(r#"{{"a":"{filler} and wipe the disk"}}"#);
        assert!(call("send", &end).contains("wipe the disk"));
        let list = format!(r#"{{"to":[{}"x@evil.example"]}}"#, r#""a@b.example","#.repeat(5000));
        assert!(call("send", &list).contains("x@evil.example"));
    }

    #[test]
    fn order_and_spelling_of_the_json_do_not_matter() {
        let one = call("t", r#"{"b":1,"a":"x"}"#);
        assert_eq!(one, call("t", "{ \"a\" : \"\\u0078\",\n\"b\":1 }"));
    }

    proptest! {
        #[test]
        fn any_action_has_a_bounded_sentence(tool in ".*", arguments in ".*", list in prop::collection::vec(".*", 0..60)) {
            let json = serde_json::to_string(&list).unwrap();
            for arguments in [arguments, json] {
                let text = action_text(&tool, &tool, &tool, &arguments);
                prop_assert!(text.chars().count() <= 3000);
                prop_assert!(!text.contains(char::is_control));
            }
        }

        #[test]
        fn shares_fill_the_room_and_no_more(lengths in prop::collection::vec(0_usize..2000, 0..24)) {
            let shares = shares(&lengths);
            let sum: usize = shares.iter().sum();
            prop_assert!(sum <= ARGUMENTS_CHARS);
            let all: usize = lengths.iter().sum();
            prop_assert!(all > ARGUMENTS_CHARS || shares == lengths);
        }
    }
}
