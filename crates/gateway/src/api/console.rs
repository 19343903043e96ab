//! The console: who may act, what was given on to whom, what a revocation would cut, and what somebody did.
//!
//! The adversary writes markup where a name stands, or wants a page of another origin to read this one. Everything is
//! escaped, nothing on the page runs or comes from elsewhere, and looking at it changes nothing: what changes something
//! is a command, which the page spells out.

mod forest;

use std::fmt::Write as _;

use ::http::StatusCode;
use tipstaff_core::{Json, Millis};
use tipstaff_identity::Name;
use tipstaff_monitor::{Monitor, Wanted};

use self::forest::Forest;
use super::conformance::{POLICY, escaped};
use super::library::{Filter, Library, Start};
use super::receipts::unreadable;
use super::reply::{Answered, Fault, bytes, with_header};

/// Receipts of one principal that are shown.
const SHOWN_MAX: usize = 100;
/// Principals on a page.
const PAGE: usize = 100;
const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #999;padding:.25em .5em;text-align:left;\
vertical-align:top}code{font-size:85%}.no{background:#fdd}.yes{background:#dfd}\
ul.tree,ul.tree ul{list-style:none;margin:0;padding-left:1.5em}ul.tree li{border-left:2px solid #999;padding:.2em 0 .2em .8em}\
.cut{background:#fdd;text-decoration:line-through}.what{color:#555}";

/// What a page is asked for.
#[derive(Debug, Default)]
struct Asked {
    /// The principal whose receipts are wanted.
    principal: Option<Name>,
    /// The beginning of the id of a block that would be revoked.
    cut: Option<String>,
    /// After whom the page begins.
    after: Option<Name>,
}

/// The page.
pub(crate) fn page(query: Option<&str>, monitor: &Monitor, library: &Library) -> Answered {
    let asked = Asked::read(query.unwrap_or_default())?;
    let known = monitor.principals_shown(&Wanted {
        limit: PAGE,
        after: asked.after.clone(),
        groups: true,
        grants: true,
        ..Wanted::default()
    });
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tipstaff</title><style>{STYLE}</style>\
         <h1>Who may act here</h1>"
    );
    principals(&mut page, &known);
    groups(&mut page, &known);
    page.push_str("<h1>What was given on</h1>");
    let forest = Forest::of(&known, &monitor.capabilities_shown());
    forest.draw(&mut page, asked.cut.as_deref());
    if let Some(name) = &asked.principal {
        audit(&mut page, name, monitor, library)?;
    }
    page.push_str("</html>\n");
    let reply = bytes(StatusCode::OK, "text/html; charset=utf-8", page.into_bytes());
    let reply = with_header(reply, "content-security-policy", POLICY);
    Ok(with_header(reply, "referrer-policy", "no-referrer"))
}

impl Asked {
    fn read(query: &str) -> Result<Self, Fault> {
        let bad = |what: &str| {
            let known = "Known are principal and after (names) and cut (8 to 64 hex digits of a block's id), once each.";
            Fault::bad("bad_query", what.to_owned(), known)
        };
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("principal", name)) if asked.principal.is_none() => {
                    let name = Name::parse(name).ok_or_else(|| bad("That is no name."))?;
                    asked.principal = Some(name);
                }
                Some(("after", name)) if asked.after.is_none() => {
                    asked.after = Some(Name::parse(name).ok_or_else(|| bad("That is no name."))?);
                }
                Some(("cut", id)) if asked.cut.is_none() => {
                    let is_id = (8..=64).contains(&id.len())
                        && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                    asked.cut =
                        Some(is_id.then(|| id.to_owned()).ok_or_else(|| bad("That is no id."))?);
                }
                _ => return Err(bad("A parameter is unknown, or there twice.")),
            }
        }
        Ok(asked)
    }
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn array<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json.get(name).and_then(Json::as_array).unwrap_or_default()
}

fn principals(page: &mut String, known: &Json) {
    page.push_str("<table><tr><th>Name</th><th>Kind</th><th>Stands</th><th>Acts for</th><th>Roles</th><th>Keys</th><th>Reached at</th></tr>");
    for principal in array(known, "known").iter().filter_map(|entry| entry.get("principal")) {
        let name = escaped(text(principal, "name"));
        let roles: Vec<&str> = array(principal, "roles").iter().filter_map(Json::as_str).collect();
        let class = if text(principal, "status") == "active" { "yes" } else { "no" };
        let _ = write!(
            page,
            "<tr><td><a href=\"/console?principal={name}#receipts\">{name}</a></td><td>{}</td>\
             <td class=\"{class}\">{}</td><td>{}</td><td>{}</td><td>",
            escaped(text(principal, "kind")),
            escaped(text(principal, "status")),
            escaped(text(principal, "owner")),
            escaped(&roles.join(", ")),
        );
        for key in array(principal, "keys") {
            let number = |name| key.get(name).and_then(Json::as_integer);
            let ends =
                match (number("lost_at"), number("until").and_then(|at| u64::try_from(at).ok())) {
                    (Some(from), _) => format!(" compromised from position {from} on"),
                    (None, Some(until)) => format!(" until {}", Millis(until)),
                    (None, None) => String::new(),
                };
            let _ = write!(page, "<code>{}</code>{ends}<br>", escaped(text(key, "key_id")));
        }
        page.push_str("</td><td>");
        for service in array(principal, "services") {
            let [kind, at] = ["type", "serviceEndpoint"].map(|name| escaped(text(service, name)));
            let _ = write!(page, "{kind} <code>{at}</code><br>");
        }
        page.push_str("</td></tr>");
    }
    page.push_str("</table>");
    let last = array(known, "known").last().and_then(|entry| entry.get("principal"));
    let count = known.get("count").and_then(Json::as_integer).unwrap_or_default();
    let _ = write!(page, "<p class=\"what\">{count} in all.");
    if let (Some(last), Some(true)) = (last, known.get("more").and_then(Json::as_bool)) {
        let last = escaped(text(last, "name"));
        let _ = write!(page, " <a href=\"/console?after={last}\">Those after {last}</a>");
    }
    page.push_str("</p>");
}

fn groups(page: &mut String, known: &Json) {
    for group in array(known, "groups") {
        let name = group.get("group").map(|group| text(group, "group")).unwrap_or_default();
        let _ = write!(page, "<h2>Group {}</h2><p>", escaped(name));
        for member in array(group, "members") {
            let (name, standing) = (text(member, "name"), text(member, "standing"));
            let class = if standing == "active" { "yes" } else { "no" };
            let _ = write!(
                page,
                "<span class=\"{class}\">{}: {}</span> ",
                escaped(name),
                escaped(standing)
            );
        }
        page.push_str("</p>");
    }
}

fn audit(
    page: &mut String,
    name: &Name,
    monitor: &Monitor,
    library: &Library,
) -> Result<(), Fault> {
    let actor = monitor.actor(name);
    let filter = Filter { actor: Some(actor.clone()), ..Filter::default() };
    let found = library.select(&filter, Start::Newest, SHOWN_MAX);
    let signed = library.leaves(&found.leaves).map_err(unreadable)?;
    let _ = write!(
        page,
        "<h1 id=\"receipts\">What {} did</h1><p class=\"what\">The newest {SHOWN_MAX} receipts of \
         <code>{}</code>.</p><table><tr><th>Leaf</th><th>When</th><th>What</th><th>Class</th><th>Tier</th>\
         <th>Verdict or outcome</th><th>Receipt</th></tr>",
        escaped(name.as_str()),
        escaped(&actor)
    );
    for (at, signed) in found.leaves.iter().zip(&signed).rev() {
        let receipt = signed.receipt();
        let (class, came) = match (&receipt.decision, &receipt.outcome) {
            (Some(decision), _) => {
                let class = if receipt.permits() { "yes" } else { "no" };
                (class, format!("{} ({})", decision.verdict.as_str(), decision.reason))
            }
            (None, Some(outcome)) => ("", outcome.status.as_str().to_owned()),
            (None, None) => ("", String::new()),
        };
        let id = signed.hash().to_hex();
        let _ = write!(
            page,
            "<tr><td>{at}</td><td>{}</td><td>{}</td><td>{}</td><td>T{}</td><td class=\"{class}\">{}</td>\
             <td><code>{}</code></td></tr>",
            receipt.now,
            receipt.kind.as_str(),
            escaped(&receipt.action),
            receipt.tier.number(),
            escaped(&came),
            id.get(..16).unwrap_or(&id),
        );
    }
    page.push_str("</table>");
    Ok(())
}
