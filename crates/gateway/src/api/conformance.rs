//! What the conformance runner measured, for programs and for people.
//!
//! The adversary is whoever wants to be shown more than was measured: both are made from the one file that
//! the runner left in the home, and where there is none, that is said. The file is read as data; whatever it
//! says, the page runs nothing.

use std::fmt::Write as _;

use ::http::StatusCode;
use serde_json::Value;
use tipstaff_store::Disk;

use super::reply::{Answered, Fault, bytes, with_header};

/// Where the runner leaves its manifest, below the home.
pub(crate) const FILE: &str = "conformance.json";
/// No script, no picture, no frame, nothing from elsewhere.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #999;padding:.3em .5em;text-align:left;\
vertical-align:top}td.no{background:#fdd}td.yes{background:#dfd}td.none{background:#eee}code{font-size:85%}";

/// The manifest as it was measured.
pub(crate) fn manifest(disk: &dyn Disk) -> Answered {
    let (text, _) = read(disk)?;
    Ok(bytes(StatusCode::OK, "application/json", text))
}

/// The same for people.
pub(crate) fn page(disk: &dyn Disk) -> Answered {
    let (_, manifest) = read(disk)?;
    let reply = bytes(StatusCode::OK, "text/html; charset=utf-8", html(&manifest).into_bytes());
    let reply = with_header(reply, "content-security-policy", POLICY);
    Ok(with_header(reply, "referrer-policy", "no-referrer"))
}

fn read(disk: &dyn Disk) -> Result<(Vec<u8>, Value), Fault> {
    let never = || {
        let message = "The conformance runner was never run for this home.";
        let next = "Run `tipstaff conformance` with this home.";
        Fault::new(StatusCode::NOT_FOUND, "never_measured", message, next)
    };
    let text = disk.read(FILE.as_ref()).map_err(|_| never())?;
    let manifest = serde_json::from_slice(&text)
        .map_err(|_| Fault::unavailable("unreadable", "The manifest can't be read."))?;
    Ok((text, manifest))
}

fn html(manifest: &Value) -> String {
    let word = |pointer: &str| match manifest.pointer(pointer) {
        Some(Value::String(text)) => escaped(text),
        Some(Value::Null) | None => "not known".to_owned(),
        Some(other) => escaped(&other.to_string()),
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>What was measured</title>\
         <style>{STYLE}</style><h1>The R1\u{2013}R9 technical tests, as measured</h1><p>{} of {} tests met. \
         Measured {} with {} {} (commit {}, engine {}), on {}.</p><p>{}</p><p>The same for programs: \
         <a href=\"/api/v1/aarm/conformance\">/api/v1/aarm/conformance</a>.</p>",
        word("/summary/tests/met"),
        word("/summary/tests/of"),
        word("/measured_at"),
        word("/build/name"),
        word("/build/version"),
        word("/build/commit"),
        word("/build/engine"),
        word("/measured_on/instance"),
        word("/claim"),
    );
    for (name, title) in
        [("tests", "Tests"), ("objectives", "Objectives"), ("structural", "Structural items")]
    {
        let _ = write!(
            page,
            "<h2>{title}</h2><table><tr><th>Id</th><th>What</th><th>Result</th><th>Cases</th></tr>"
        );
        for item in manifest.get(name).and_then(Value::as_array).into_iter().flatten() {
            row(&mut page, item);
        }
        page.push_str("</table>");
    }
    page.push_str("</html>\n");
    page
}

fn row(page: &mut String, item: &Value) {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let class = match text("result") {
        "met" => "yes",
        "not met" => "no",
        _ => "none",
    };
    let _ = write!(
        page,
        "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}",
        escaped(text("id")),
        escaped(text("what")),
        escaped(text("result")),
        escaped(text("why")),
    );
    for case in item.get("cases").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| escaped(case.get(name).and_then(Value::as_str).unwrap_or_default());
        let _ = write!(
            page,
            "<p>{}, {}: {} \u{2192} {}",
            text("kind"),
            text("result"),
            text("sent"),
            text("came")
        );
        for receipt in case.get("receipts").and_then(Value::as_array).into_iter().flatten() {
            let id = receipt.as_str().unwrap_or_default();
            let _ = write!(page, " <code>{}</code>", escaped(id.get(..12).unwrap_or(id)));
        }
        page.push_str("</p>");
    }
    page.push_str("</td></tr>");
}

pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_shown_and_never_run() {
        let bad = "<script>alert(1)</script>\"'&";
        let case = serde_json::json!({
            "kind": bad, "result": bad, "sent": bad, "came": bad, "receipts": [bad]
        });
        let item = serde_json::json!({
            "id": bad, "what": bad, "result": "met", "why": bad, "cases": [case]
        });
        let page = html(&serde_json::json!({ "tests": [item], "claim": bad }));
        assert!(!page.contains("<script") && page.matches("class=\"yes\"").count() == 1, "{page}");
        assert!(html(&Value::Null).contains("not known"));
    }
}
