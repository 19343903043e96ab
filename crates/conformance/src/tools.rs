//! The fixture: a server whose tools do nothing but count, and the rules that the tests expect for them.
//!
//! The adversary is a test that passes because nothing could have happened: each tool that has an effect
//! writes its marker into one file, and `effects` reads it back.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read as _, Write};
use std::path::Path;

use serde_json::{Value, json};

/// The fixture's name as a server.
pub const SERVER: &str = "exam";
/// Longest line of a request, in bytes.
const LINE_MAX: usize = 1 << 20;
/// Where effects are written.
const FILE: &str = "effects";

/// The policies, for Tipstaff. For another implementation `docs/conformance.md` says what they mean.
pub const POLICY: &str = include_str!("fixture/exam.cedar");
/// The name of the one patch.
pub const PATCH_NAME: &str = "exam-cap";
/// The one patch.
pub const PATCH: &str = r#"[{"op": "replace", "path": "/limit", "value": 10}]"#;
/// What of a configuration the tests need beside the server itself.
pub const CONFIG: &str = include_str!("fixture/config.toml");

/// Names, what they say they do, and whether they have an effect.
const TOOLS: [(&str, &str, bool); 11] = [
    ("read_public", "Reads what everyone may know.", false),
    ("read_secret", "Reads a secret.", false),
    ("read_unlabelled", "Reads what nobody has classified.", false),
    ("write_note", "Writes a note.", true),
    ("post_outside", "Posts to the outside.", true),
    ("wipe", "Deletes everything.", true),
    ("search", "Searches, with a limit.", true),
    ("pay", "Pays an invoice.", true),
    ("deploy", "Deploys under a change ticket.", true),
    ("merge", "Merges a branch.", true),
    ("refund", "Refunds an order.", true),
];

/// Serves the fixture's tools over MCP on the given streams, with effects in `folder`.
///
/// # Errors
/// What the streams or the file say.
pub fn serve_tools(
    folder: &Path,
    mut input: impl BufRead,
    mut output: impl Write,
) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        input.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
        let (Some(id), Some(method)) =
            (message.get("id"), message.get("method").and_then(Value::as_str))
        else {
            continue;
        };
        let params = message.get("params").cloned().unwrap_or_default();
        let result = match method {
            "initialize" => Some(json!({
                "protocolVersion": params.get("protocolVersion").cloned().unwrap_or_default(),
                "capabilities": { "tools": {} },
                "serverInfo": { "name": SERVER, "version": env!("CARGO_PKG_VERSION") },
            })),
            "ping" => Some(json!({})),
            "tools/list" => Some(json!({ "tools": listed() })),
            "tools/call" => called(folder, &params)?,
            _ => None,
        };
        let answer = match result {
            Some(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            None => json!({
                "jsonrpc": "2.0", "id": id,
                "error": { "code": -32601, "message": "There is no such thing." },
            }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
}

fn listed() -> Vec<Value> {
    let schema = json!({
        "type": "object",
        "properties": {
            "marker": { "type": "string" }, "limit": { "type": "integer" },
            "text": { "type": "string" },
        },
    });
    let effects = ("effects", "Reads the markers of all effects so far.", false);
    let tools = TOOLS.iter().chain(std::iter::once(&effects));
    tools
        .map(|(name, what, _)| json!({ "name": name, "description": what, "inputSchema": schema }))
        .collect()
}

fn called(folder: &Path, params: &Value) -> std::io::Result<Option<Value>> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let arguments = params.get("arguments").cloned().unwrap_or_default();
    let text = if name == "effects" {
        let mut text = String::new();
        match File::open(folder.join(FILE)) {
            Ok(file) => file.take(16 << 20).read_to_string(&mut text).map(drop)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        text
    } else {
        let Some((_, _, has_effect)) = TOOLS.iter().find(|(known, ..)| *known == name) else {
            return Ok(None);
        };
        if *has_effect {
            let marker = arguments.get("marker").and_then(Value::as_str).unwrap_or("-");
            let mut file = OpenOptions::new().create(true).append(true).open(folder.join(FILE))?;
            file.write_all(format!("{name} {marker} {arguments}\n").as_bytes())?;
        }
        format!("{name} did {arguments}")
    };
    Ok(Some(json!({ "content": [{ "type": "text", "text": text }], "isError": false })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_written_and_read_back_and_reading_has_none() {
        let folder = std::env::temp_dir().join(format!("exam-tools-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let call = |name: &str| {
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{name}\",\"arguments\":{{\"marker\":\"m\"}}}}}}\n"
            )
        };
        let input = ["read_secret", "pay", "effects", "nothing"].map(call).concat();
        let mut output = Vec::new();
        serve_tools(&folder, input.as_bytes(), &mut output).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let output = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[2].contains("pay m") && !lines[2].contains("read_secret m"), "{output}");
        assert!(lines[3].contains("error") && lines.len() == 4);
    }
}
