//! How an action becomes the sentence that is embedded.
//!
//! The adversary chooses the arguments, and would fill the sentence with words of the request so that the
//! rest isn't looked at. So arguments share the room equally, whatever the others hold, and the sentence is
//! so short that no alphabet makes more tokens of it than a model looks at.

use tipstaff_core::Json;

/// Longest sentence in bytes. A token is at least one byte of it, and the model looks at 254.
const SENTENCE_BYTES: usize = 250;
/// Room for the tool's name, and for each of the other two, in bytes.
const TOOL_BYTES: usize = 60;
const NAME_BYTES: usize = 24;
/// Most arguments that are shown.
const ARGUMENTS_MAX: usize = 12;
/// Between two arguments.
const SEPARATOR: &str = ", ";
/// For what was left out of the middle.
const GAP: &str = "…";

/// The sentence for an action: `TOOL WORDS (SERVER WORDS): NAME VALUE, NAME VALUE`, at most 250 bytes.
///
/// - Names are split into lower-case words at punctuation and where a small letter meets a large one; a
///   protocol's own verb for calling tools says nothing and is left out, any other follows the tool.
/// - `arguments` is JSON. Strings, numbers and booleans are shown with the name of the nearest member that
///   holds them, in the order of the canonical form (members sorted, elements as they come); `null` and
///   empty strings are not. Of more than 12, the first 6 and the last 6 are shown.
/// - What is longer than its share keeps its beginning and its end. Shares are equal, and what short
///   arguments leave over is shared among the longer ones. White space and control characters become one
///   space.
/// - JSON that the strict parser refuses is treated as one value without a name.
///
/// The same action gives the same sentence on every machine.
#[must_use]
pub fn action_text(server: &str, tool: &str, operation: &str, arguments: &str) -> String {
    let mut text = shortened(&words(tool), TOOL_BYTES);
    if !matches!(operation, "tools/call" | "call" | "") {
        text = format!("{text} {}", shortened(&words(operation), NAME_BYTES)).trim().to_owned();
    }
    let server = shortened(&words(server), NAME_BYTES);
    if !server.is_empty() {
        text = format!("{text} ({server})");
    }
    let shown = arguments_shown(arguments);
    if shown.is_empty() {
        return text;
    }
    text.push_str(": ");
    let between = SEPARATOR.len() * (shown.len() - 1);
    let room = SENTENCE_BYTES.saturating_sub(text.len() + between);
    let shares = shares(&shown.iter().map(String::len).collect::<Vec<_>>(), room);
    let parts: Vec<String> =
        shown.iter().zip(shares).map(|(part, share)| shortened(part, share)).collect();
    text + &parts.join(SEPARATOR)
}

/// A name as words.
fn words(name: &str) -> String {
    let mut text = String::new();
    let mut small = false;
    for c in name.chars().take(4 * TOOL_BYTES) {
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

/// The arguments that are shown, each with its name.
fn arguments_shown(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    match Json::parse(arguments.as_bytes()) {
        Ok(json) => collect("", &json, &mut found),
        Err(_) => found.push((String::new(), spaced(arguments))),
    }
    found.retain(|(_, value)| !value.is_empty());
    let tail = found.split_off(found.len().min(ARGUMENTS_MAX / 2));
    let dropped = tail.len().saturating_sub(ARGUMENTS_MAX / 2);
    found.extend(tail.into_iter().skip(dropped));
    let one = |(name, value): (String, String)| {
        // A name that is longer than a value has any room for would hide it.
        let name = shortened(&name, NAME_BYTES);
        if name.is_empty() { value } else { format!("{name} {value}") }
    };
    found.into_iter().map(one).collect()
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

/// How many bytes of each part are shown.
fn shares(lengths: &[usize], mut room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = lengths.to_vec();
    order.sort_unstable();
    let mut left = order.len();
    for length in order {
        if length * left > room {
            break;
        }
        room -= length;
        left -= 1;
    }
    let share = room.checked_div(left).unwrap_or(usize::MAX);
    // Those that fit whole are at most as long as the others' share.
    lengths.iter().map(|length| (*length).min(share)).collect()
}

/// The beginning and the end of what is longer than its share of bytes.
fn shortened(text: &str, share: usize) -> String {
    if text.len() <= share {
        return text.to_owned();
    }
    let kept = share.saturating_sub(GAP.len());
    let head = text.floor_char_boundary(kept - kept / 3);
    let tail = text.ceil_char_boundary(text.len() - kept / 3);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    let gap = if share < GAP.len() { "" } else { GAP };
    format!("{head}{gap}{tail}")
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
        assert!(text.len() <= SENTENCE_BYTES);
        // Nor does a name.
        let long = format!(r#"{{"{filler}":"attacker@evil.example","b{filler}":"{filler}"}}"#);
        assert!(call("send", &long).contains("evil.example"), "{}", call("send", &long));
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
                prop_assert!(text.len() <= SENTENCE_BYTES);
                prop_assert!(!text.contains(char::is_control));
            }
        }

        #[test]
        fn shares_fill_the_room_and_no_more(
            lengths in prop::collection::vec(0_usize..200, 0..12),
            room in 0_usize..300,
        ) {
            let shares = shares(&lengths, room);
            let sum: usize = shares.iter().sum();
            let all: usize = lengths.iter().sum();
            prop_assert!(sum <= room);
            prop_assert!(all > room || shares == lengths);
            prop_assert!(all <= room || sum + lengths.len() > room);
        }
    }
}
