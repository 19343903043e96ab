//! Places that a person does not see and an agent reads: comments, hidden elements, alternative texts, and
//! the markers by which models tell who speaks. The adversary writes there.

use crate::bytes::{ahead, begins, run};
use crate::view::{Sink, View};

use super::{Signal, Story};

/// How far a hidden place is followed.
const PLACE_MAX: usize = 4096;
/// Longest tag that is read.
const TAG_MAX: usize = 320;

/// Markers of chat templates and of tool calls, in lower case.
const TEMPLATES: &[&[u8]] = &[
    b"<|im_start|>",
    b"<|im_end|>",
    b"<|system|>",
    b"<|user|>",
    b"<|assistant|>",
    b"<|endoftext|>",
    b"<|eot_id|>",
    b"<|start_header_id|>",
    b"<|begin_of_text|>",
    b"<<sys>>",
    b"[inst]",
    b"[/inst]",
    b"[system_prompt]",
    b"<start_of_turn>",
    b"<end_of_turn>",
    b"<tool_call>",
    b"<tool_response>",
    b"<function_calls>",
    b"<function_results>",
    b"<invoke name=",
    b"<system_prompt>",
    b"<system-reminder>",
];

/// Weaker ones, that other documents have too.
const SPEAKERS: &[&[u8]] = &[
    b"<system>",
    b"</system>",
    b"<information>",
    b"<important>",
    b"<admin>",
    b"[system]",
    b"<instructions>",
    b"[system message]",
    b"<instruction>",
    b"<assistant>",
];

/// What in a tag makes its element invisible.
const HIDING: &[&[u8]] = &[
    b"display:none",
    b"display: none",
    b"visibility:hidden",
    b"visibility: hidden",
    b"font-size:0",
    b"font-size: 0",
    b"font-size:1px",
    b"font-size: 1px",
    b"opacity:0",
    b"opacity: 0",
    b"color:white",
    b"color: white",
    b"color:#fff",
    b"color: #fff",
    b"left:-9999",
    b"left: -9999",
    b"text-indent:-9999",
    b"hidden>",
    b"hidden ",
    b"sr-only",
];

/// Attributes whose value is text that a reader does not see.
const UNSEEN_TEXT: &[&[u8]] = &[b"alt=", b"aria-label=", b"title=", b"content="];

/// A `<` or `[`.
pub(crate) fn opening(view: &View<'_>, sink: &mut Sink, story: &mut Story, position: usize) {
    let text = ahead(view.text, position, 24);
    let is_any = |list: &[&[u8]]| list.iter().any(|marker| begins(text, marker));
    let next = text.get(1).copied().unwrap_or(0);
    if !(next.is_ascii_alphabetic() || matches!(next, b'|' | b'<' | b'/' | b'!')) {
        return;
    }
    let may_be = matches!(next | 0x20, b'|' | b'i' | b's' | b't' | b'e' | b'f')
        || matches!(next, b'<' | b'/');
    if may_be && is_any(TEMPLATES) {
        story.signal(view, sink, Signal::Template, position..position + 6);
    }
    if is_any(SPEAKERS) {
        story.signal(view, sink, Signal::Speaker, position..position + 6);
    }
    if position < story.concealed_until {
        return;
    }
    if text.starts_with(b"<!--") {
        story.concealed_until = position + until(view.text, position, b"-->");
    } else if text.starts_with(b"[//]: #") || begins(text, b"[comment]:") {
        story.concealed_until = position + until(view.text, position, b"\n");
    } else if text.first() == Some(&b'<') && next.is_ascii_alphabetic() {
        element(view, story, position);
    }
}

fn element(view: &View<'_>, story: &mut Story, position: usize) {
    // A tag is read once, also where it holds more opening signs.
    if position < story.tag_until {
        return;
    }
    let length = run(view.text, position, TAG_MAX, |byte| byte != b'>');
    let tag = ahead(view.text, position, length + 1);
    let end = position + length;
    story.tag_until = end;
    let mut hides = false;
    let mut has_text = false;
    let mut previous = b'<';
    for (at, byte) in tag.iter().enumerate() {
        if matches!(previous, b' ' | b';' | b'"' | b'\'' | b'\n')
            && matches!(
                byte | 0x20,
                b'a' | b'c' | b'd' | b'f' | b'h' | b'l' | b'o' | b's' | b't' | b'v'
            )
        {
            let rest = ahead(tag, at, 24);
            hides |= HIDING.iter().any(|hint| begins(rest, hint));
            has_text |= UNSEEN_TEXT.iter().any(|hint| begins(rest, hint));
        }
        previous = *byte;
    }
    if hides {
        story.concealed_until = end + until(view.text, end, b"</");
    } else if has_text {
        story.concealed_until = end;
    }
}

/// How many bytes up to and with an end, within bounds.
fn until(text: &[u8], from: usize, end: &[u8]) -> usize {
    let place = ahead(text, from, PLACE_MAX);
    place
        .windows(end.len())
        .position(|window| window == end)
        .map_or(place.len(), |at| at + end.len())
}
