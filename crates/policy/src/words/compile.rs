//! From access words to Cedar, and from a line of that Cedar back to the words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tipstaff_core::limits::POLICY_BYTES_MAX;

use crate::error::{Place, PolicyFault};
use crate::schema::quoted;
use crate::set::PolicySource;

use super::{At, Choice, Resource, Rule, SUFFIX, Sense, Verb, What, Who, Words};

/// Longest name of a file before its suffix: ids of rules are made from it.
const STEM_MAX: usize = 40;
/// Above the rules without a rank, and so above those that a new home starts with.
const RANK: &str = "@rank(\"1\")\n";
/// Begins the comment that says where a policy comes from.
const FROM: &str = "// from ";

/// A source with its access words as Cedar, and what is wrong with them.
pub(crate) fn compiled<'a>(
    source: &'a PolicySource,
    classes: &BTreeSet<String>,
) -> (Cow<'a, PolicySource>, Vec<PolicyFault>) {
    if !source.files.keys().any(|name| name.ends_with(SUFFIX)) {
        return (Cow::Borrowed(source), Vec::new());
    }
    let mut faults = Vec::new();
    let mut files = BTreeMap::new();
    for (name, text) in &source.files {
        if !name.ends_with(SUFFIX) {
            files.insert(name.clone(), text.clone());
            continue;
        }
        let place = Place::new(name, text, 0);
        if source.files.contains_key(&cedar_name(name)) {
            let what =
                format!("{} is there too, which is what this file becomes", cedar_name(name));
            faults.push(place.hinted(what, "remove one of the two"));
            continue;
        }
        let known = classes.iter().map(String::as_str);
        match Words::parse(name, text).and_then(|words| words.to_cedar(name, known)) {
            Ok(cedar) => drop(files.insert(cedar_name(name), cedar)),
            Err(found) => faults.extend(found),
        }
    }
    (Cow::Owned(PolicySource { files, patches: source.patches.clone() }), faults)
}

/// The words that a line of compiled Cedar comes from.
pub(crate) fn trace(file: &str, text: &str, line: usize) -> Option<(String, At)> {
    let own = file.strip_suffix(".cedar").filter(|name| name.ends_with(SUFFIX))?;
    let from = text.lines().take(line).filter_map(|line| line.strip_prefix(FROM)).last()?;
    let (line, column) = from.strip_prefix(own)?.strip_prefix(':')?.split_once(':')?;
    Some((own.to_owned(), At { line: line.parse().ok()?, column: column.parse().ok()? }))
}

pub(super) fn compile(
    words: &Words,
    file: &str,
    classes: &BTreeSet<&str>,
) -> Result<String, Vec<PolicyFault>> {
    let place = Place::new(file, "", 0);
    let Some(stem) = stem(file) else {
        let hint = "NAME.access, of a-z, 0-9, `_`, `.` and `-`, at most 40 of them";
        return Err(vec![place.hinted("not a name of a file of access words", hint)]);
    };
    let mut out = format!("// What {file} means. Change that file, not this text.\n");
    let (mut faults, mut on_line, mut last) = (Vec::new(), 0, 0);
    for rule in words.rules() {
        let At { line, column } = rule.at;
        on_line = if line == last { on_line + 1 } else { 1 };
        last = line;
        let another = if on_line > 1 { format!(".{on_line}") } else { String::new() };
        let _ =
            write!(out, "\n{FROM}{file}:{line}:{column}\n@id(\"{stem}.access.{line}{another}\")\n");
        policy(rule, classes, &mut out).unwrap_or_else(|what| {
            faults.push(PolicyFault {
                file: file.to_owned(),
                line,
                column,
                message: what.0,
                hint: Some(what.1),
            });
        });
        if out.len() > POLICY_BYTES_MAX {
            let what = format!("these words mean more than {POLICY_BYTES_MAX} bytes of Cedar");
            return Err(vec![place.hinted(what, "write fewer or shorter rules")]);
        }
        if faults.len() >= super::FAULTS_MAX {
            break;
        }
    }
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

/// The name of the compiled text, beside the other files of a set.
fn cedar_name(file: &str) -> String {
    format!("{file}.cedar")
}

fn stem(file: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    let stem = file.strip_suffix(SUFFIX)?;
    ((1..=STEM_MAX).contains(&stem.len()) && stem.bytes().all(plain)).then_some(stem)
}

/// What the catalogue doesn't know, and what to write instead.
struct Unknown(String, String);

fn policy(rule: &Rule, classes: &BTreeSet<&str>, out: &mut String) -> Result<(), Unknown> {
    out.push_str(match rule.verb {
        Verb::Allow => RANK,
        // At equal rank, holding beats allowing.
        Verb::Ask => "@rank(\"1\")\n@step_up\n",
        // No rank: no permit outweighs it.
        Verb::Deny => "",
    });
    if let Some(advice) = &rule.advice {
        let _ = writeln!(out, "@advice({})", quoted(advice));
    }
    let effect = if rule.verb == Verb::Deny { "forbid" } else { "permit" };
    let mut conditions = Vec::new();
    let principal = who(&rule.who, &mut conditions);
    let action = what(&rule.action, classes, &mut conditions)?;
    let resource = on(&rule.resource, &mut conditions);
    let _ = write!(out, "{effect} (\n  {principal},\n  {action},\n  {resource}\n)");
    for (sense, condition) in conditions {
        let word = if sense == Sense::Is { "when" } else { "unless" };
        let _ = write!(out, "\n{word} {{ {condition} }}");
    }
    out.push_str(";\n");
    Ok(())
}

type Conditions = Vec<(Sense, String)>;

fn who(choice: &Choice<Who>, conditions: &mut Conditions) -> String {
    match (choice.sense, choice.items.as_slice()) {
        (_, [Who::Anyone]) => return "principal".to_owned(),
        (Sense::Is, [Who::Agent(name)]) => return format!("principal == Agent::{}", quoted(name)),
        (Sense::Is, [Who::User(name)]) => return format!("principal in User::{}", quoted(name)),
        (Sense::Is, [Who::Role(name)]) => return format!("principal in Role::{}", quoted(name)),
        _ => {}
    }
    let of = |kind: &str, pick: fn(&Who) -> Option<&str>| {
        names(kind, choice.items.iter().filter_map(pick))
    };
    let agents = of("Agent", |who| if let Who::Agent(name) = who { Some(name) } else { None });
    let users = of("User", |who| if let Who::User(name) = who { Some(name) } else { None });
    let roles = of("Role", |who| if let Who::Role(name) = who { Some(name) } else { None });
    let any = [
        agents.map(|list| format!("{list}.contains(principal)")),
        users.map(|list| format!("principal in {list}")),
        roles.map(|list| format!("principal in {list}")),
    ];
    conditions.push((choice.sense, any_of(any)));
    "principal".to_owned()
}

fn what(
    choice: &Choice<What>,
    classes: &BTreeSet<&str>,
    conditions: &mut Conditions,
) -> Result<String, Unknown> {
    let uid = |item: &What| match item {
        What::Tool(tool) => Some(format!("Action::{}", quoted(&format!("call:{tool}")))),
        What::Operation(word) => Some(format!("Action::{}", quoted(word))),
        _ => None,
    };
    let (mut tiers, mut found, mut servers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for item in &choice.items {
        match item {
            What::Tiers(first, last) => tiers.extend(*first..=*last),
            What::Class(class) => {
                if !classes.contains(class.as_str()) {
                    return Err(unknown(class, classes));
                }
                found.insert(class.as_str());
            }
            What::Family(family) => {
                let before = found.len();
                let within = |class: &&str| {
                    class.strip_prefix(family).is_some_and(|rest| rest.starts_with(':'))
                };
                found.extend(classes.iter().copied().filter(within));
                if found.len() == before && !classes.iter().any(within) {
                    return Err(unknown(family, classes));
                }
            }
            What::Server(server) => drop(servers.insert(server.as_str())),
            What::Anything | What::Tool(_) | What::Operation(_) => {}
        }
    }
    let mut named: Vec<String> = choice.items.iter().filter_map(uid).collect();
    named.dedup();
    let only_named = named.len() == choice.items.len();
    match (choice.sense, named.as_slice(), choice.items.as_slice()) {
        (_, _, [What::Anything]) => return Ok("action".to_owned()),
        (Sense::Is, [one], [_]) => return Ok(format!("action == {one}")),
        (Sense::Is, [_, ..], _) if only_named => {
            return Ok(format!("action in [{}]", named.join(", ")));
        }
        _ => {}
    }
    let tiers: Vec<String> = tiers.iter().map(ToString::to_string).collect();
    let any = [
        match tiers.as_slice() {
            [] => None,
            [one] => Some(format!("context.tier == {one}")),
            some => Some(format!("[{}].contains(context.tier)", some.join(", "))),
        },
        names("Class", found).map(|list| format!("{list}.contains(context.class)")),
        (!named.is_empty()).then(|| format!("action in [{}]", named.join(", "))),
        names("Server", servers)
            .map(|list| format!("(action in Action::\"call\" && resource in {list})")),
    ];
    conditions.push((choice.sense, any_of(any)));
    Ok("action".to_owned())
}

fn on(choice: &Choice<Resource>, conditions: &mut Conditions) -> String {
    match (choice.sense, choice.items.as_slice()) {
        (_, [Resource::Anything]) => return "resource".to_owned(),
        (Sense::Is, [Resource::Server(name)]) => {
            return format!("resource in Server::{}", quoted(name));
        }
        _ => {}
    }
    let any = choice.items.iter().map(|item| match item {
        Resource::Anything => None,
        Resource::Roots => Some("context.inside_roots".to_owned()),
        Resource::Credentials => Some("context.touches_credentials".to_owned()),
        Resource::Tipstaff => Some("context.touches_tipstaff".to_owned()),
        Resource::Outside => Some("[\"external\", \"unknown\"].contains(context.sink)".to_owned()),
        Resource::Server(name) => Some(format!("resource in Server::{}", quoted(name))),
        Resource::Argument { pointer, pattern } => {
            let (pointer, how) =
                (quoted(pointer), if pattern.contains('*') { "like" } else { "==" });
            let text = quoted(pattern);
            Some(format!("(resource.hasTag({pointer}) && resource.getTag({pointer}) {how} {text})"))
        }
    });
    conditions.push((choice.sense, any_of(any)));
    "resource".to_owned()
}

/// `[Kind::"a", Kind::"b"]`, `None` of none.
fn names<'a>(kind: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let list: Vec<String> =
        names.into_iter().map(|name| format!("{kind}::{}", quoted(name))).collect();
    (!list.is_empty()).then(|| format!("[{}]", list.join(", ")))
}

fn any_of(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" || ")
}

/// What to write instead of a class that isn't there: those of its family, else the families.
fn unknown(class: &str, classes: &BTreeSet<&str>) -> Unknown {
    let family = class.split_once(':').map_or(class, |(family, _)| family);
    let near: Vec<&str> = classes
        .iter()
        .copied()
        .filter(|known| known.split_once(':').is_some_and(|(found, _)| found == family))
        .collect();
    let hint = if near.is_empty() {
        let mut families: Vec<&str> =
            classes.iter().filter_map(|known| Some(known.split_once(':')?.0)).collect();
        families.dedup();
        format!("families are {}", families.join(", "))
    } else {
        format!("classes of {family} are {}", near.join(", "))
    };
    Unknown(format!("the catalogue has no class `{class}`"), hint)
}
