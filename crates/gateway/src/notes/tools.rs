//! The five tools of the notes server.
//!
//! The adversary calls them with arguments that the schema doesn't allow; each is checked again here,
//! since a schema only tells, it doesn't stop.

use tipstaff_core::json::{Json, Object};

use super::folder::{Folder, NoteError};
use super::object;

/// Lines that a search gives unless asked otherwise, and at most.
const FOUND: (i64, i64) = (20, 100);

const TOOLS: &str = r#"{"tools":[
{"name":"list_notes","title":"List notes","description":"List all notes with their sizes.",
 "inputSchema":{"type":"object","properties":{},"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"read_note","title":"Read a note","description":"Read the text of one note.",
 "inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"Name of the note"}},
  "required":["name"],"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"search_notes","title":"Search notes","description":"Find lines that contain a text, whatever the case.",
 "inputSchema":{"type":"object","properties":{"query":{"type":"string","minLength":1},
  "limit":{"type":"integer","minimum":1,"maximum":100,"default":20}},
  "required":["query"],"additionalProperties":false},
 "annotations":{"readOnlyHint":true,"openWorldHint":false}},
{"name":"write_note","title":"Write a note","description":"Write a note, replacing any of the same name.",
 "inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"Name of the note"},
  "text":{"type":"string","description":"The whole text"}},
  "required":["name","text"],"additionalProperties":false},
 "annotations":{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":true,"openWorldHint":false}},
{"name":"delete_note","title":"Delete a note","description":"Delete one note for good.",
 "inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"Name of the note"}},
  "required":["name"],"additionalProperties":false},
 "annotations":{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":false,"openWorldHint":false}}
]}"#;

/// What a tool does, its arguments being checked.
type Run = fn(&Folder, &Object) -> Result<String, NoteError>;

/// The result of `tools/list`.
pub(super) fn list() -> Json {
    Json::parse(TOOLS.as_bytes()).unwrap_or(Json::Null)
}

/// The result of a call; `None` if there is no such tool.
pub(super) fn call(notes: &Folder, tool: &str, arguments: Option<&Json>) -> Option<Json> {
    let empty = Object::default();
    let arguments = match arguments {
        None => &empty,
        Some(Json::Object(arguments)) => arguments,
        Some(_) => {
            return Some(result(Err("The arguments of a tool must be an object.".to_owned())));
        }
    };
    let (known, run): (&[&str], Run) = match tool {
        "list_notes" => (&[], list_notes),
        "read_note" => (&["name"], read_note),
        "search_notes" => (&["query", "limit"], search_notes),
        "write_note" => (&["name", "text"], write_note),
        "delete_note" => (&["name"], delete_note),
        _ => return None,
    };
    if let Some((name, _)) = arguments.iter().find(|(name, _)| !known.contains(name)) {
        return Some(result(Err(format!("{tool} has no argument `{}`.", name.escape_debug()))));
    }
    let typed = |name: &&&str| match **name {
        "limit" => arguments.get(name).is_none_or(|value| value.as_integer().is_some()),
        name => arguments.get(name).and_then(Json::as_str).is_some(),
    };
    if let Some(name) = known.iter().find(|name| !typed(name)) {
        return Some(result(Err(format!("{tool} needs the argument `{name}`."))));
    }
    Some(result(run(notes, arguments).map_err(|error| error.to_string())))
}

fn list_notes(notes: &Folder, _: &Object) -> Result<String, NoteError> {
    let lines: Vec<_> =
        notes.list()?.iter().map(|(name, size)| format!("{name} ({size} bytes)")).collect();
    Ok(if lines.is_empty() { "There are no notes.".to_owned() } else { lines.join("\n") })
}

fn read_note(notes: &Folder, arguments: &Object) -> Result<String, NoteError> {
    notes.read(text(arguments, "name"))
}

fn delete_note(notes: &Folder, arguments: &Object) -> Result<String, NoteError> {
    notes.delete(text(arguments, "name"))?;
    Ok("Deleted.".to_owned())
}

fn search_notes(notes: &Folder, arguments: &Object) -> Result<String, NoteError> {
    let (default, most) = FOUND;
    let limit = arguments.get("limit").and_then(Json::as_integer).unwrap_or(default).clamp(1, most);
    let found = notes.search(text(arguments, "query"), usize::try_from(limit).unwrap_or(1))?;
    Ok(if found.is_empty() { "Nothing was found.".to_owned() } else { found.join("\n") })
}

fn write_note(notes: &Folder, arguments: &Object) -> Result<String, NoteError> {
    let text_of_note = text(arguments, "text");
    notes.write(text(arguments, "name"), text_of_note)?;
    Ok(format!("Wrote {} bytes.", text_of_note.len()))
}

fn text<'a>(arguments: &'a Object, name: &str) -> &'a str {
    arguments.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn result(outcome: Result<String, String>) -> Json {
    let failed = outcome.is_err();
    let (Ok(text) | Err(text)) = outcome;
    let content = object(vec![("type", Json::string("text")), ("text", Json::string(&text))]);
    object(vec![("content", Json::Array(vec![content])), ("isError", Json::from(failed))])
}
