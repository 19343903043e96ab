//! Who can do something, and what somebody can do: the engine's own answers, for each principal who is enrolled.
//!
//! The adversary is a right that nobody remembers having given. The answers come from the rules in force, as they
//! would be given to a new session; what is assumed besides is said with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tipstaff_classify::Catalogue;
use tipstaff_core::{Action, Json, Millis, Sink, Tier, Verdict};
use tipstaff_identity::Name;
use tipstaff_monitor::{Acting, Explainer, Supposed};
use tipstaff_policy::PolicySet;
use tipstaff_policy::paths::PathFacts;
use tipstaff_policy::words::{Choice, Resource, Rule, Sense, Statement, What, Words};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::principal::Known;

/// Stands for whoever proves nothing.
const ANYBODY: &str = "anybody";
/// No agent, user, server or tool has such a name, so that no rule names it.
const NOBODY: &str = "?";
const OPERATIONS: [(&str, &str); 6] = [
    ("read", "resources/read"),
    ("prompt", "prompts/get"),
    ("complete", "completion/complete"),
    ("sample", "sampling/createMessage"),
    ("elicit", "elicitation/create"),
    ("other", "other"),
];

/// One thing that may be done.
struct Deed {
    /// What it is called in the answer.
    name: String,
    what: Doing,
}

enum Doing {
    /// A tool of which the name is known: classified and judged as a call would be.
    Call(Action),
    /// A class.
    Class(Supposed),
}

/// One answer.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Answer {
    verdict: &'static str,
    rule: String,
}

/// Somebody who may be asked about.
struct Somebody {
    name: String,
    acting: Acting,
    /// Why they may not act at all.
    barred: Option<String>,
    brings: Brings,
}

/// What somebody brings of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// Enough for policies to decide.
    Enough,
    /// An agent with neither role nor capability: nothing is permitted.
    Nothing,
}

pub(crate) fn who_can(at: &Place, action: &str, resource: Option<&str>) -> Outcome {
    let explainer = super::in_force(at)?;
    let asked = read(action, resource)?;
    let deeds = deeds(&explainer, &asked)?;
    let mut people = enrolled(at)?;
    people.push(anybody());
    let (mut rows, mut may) = (Vec::new(), false);
    for somebody in &people {
        let answers = answers(&explainer, somebody, &deeds);
        may |= answers.keys().any(|answer| may_be_done(answer.verdict));
        rows.push((somebody, answers));
    }
    let assumed = assumed(&asked);
    if at.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(somebody, answers)| {
                let Acting { agent, user, roles } = &somebody.acting;
                serde_json::json!({
                    "principal": somebody.name, "agent": agent, "user": user, "roles": roles,
                    "barred": somebody.barred, "answers": json_of(answers),
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "assumed": assumed, "who": rows }));
    } else {
        println!("{assumed}");
        for (somebody, answers) in &rows {
            for (answer, names) in answers {
                println!("{:<20} {}", somebody.name, line(answer, names, deeds.len()));
            }
            if let Some(why) = &somebody.barred {
                println!("{:<20} DENY     everything: {why}", somebody.name);
            }
        }
    }
    if may { Ok(()) } else { Err(Failure::No) }
}

pub(crate) fn what_can(at: &Place, principal: &str) -> Outcome {
    let explainer = super::in_force(at)?;
    let mut people = enrolled(at)?;
    people.push(anybody());
    let somebody = people.into_iter().find(|somebody| somebody.name == principal);
    let somebody = somebody.ok_or_else(|| {
        let next = "See `tipstaff principal list`, or ask for `anybody`, who proves nothing.";
        Failure::undone("There is nothing to say.", "nobody of this name is enrolled", next)
    })?;
    if let Some(why) = &somebody.barred {
        if at.json {
            let nothing = serde_json::json!({ "principal": principal, "barred": why, "can": [] });
            println!("{nothing}");
        } else {
            println!("{principal} can do nothing: {why}");
        }
        return Err(Failure::No);
    }
    if somebody.brings == Brings::Nothing && !at.json {
        println!(
            "{principal} can do nothing by itself: it has no role. What a capability gives it \
             `tipstaff inspect` shows."
        );
        return Err(Failure::No);
    }
    let (mut places, mut tools) = (Vec::new(), Vec::new());
    for (place, resource) in [("in roots", "roots"), ("elsewhere", "*")] {
        let asked = read("*", Some(resource))?;
        places.push((place, answers(&explainer, &somebody, &deeds(&explainer, &asked)?)));
    }
    for (server, tool) in explainer.tools() {
        let deed = call(server, tool, Json::Object(tipstaff_core::json::Object::default()))?;
        tools.push(deed);
    }
    places.push(("tools", answers(&explainer, &somebody, &tools)));
    let assumed = "Assumed: a new session that has met nothing; classes as tools that no policy \
                   names; accepted tools without arguments.";
    if at.json {
        let can: Vec<_> = places
            .iter()
            .map(|(place, answers)| serde_json::json!({ "where": place, "answers": json_of(answers) }))
            .collect();
        let answer = serde_json::json!({
            "assumed": assumed, "principal": principal, "roles": somebody.acting.roles,
            "user": somebody.acting.user, "can": can,
        });
        println!("{answer}");
        return Ok(());
    }
    println!("{assumed}");
    for (place, answers) in &places {
        for (answer, names) in answers {
            println!("{place:<10} {}", line(answer, names, usize::MAX));
        }
    }
    Ok(())
}

fn may_be_done(verdict: &str) -> bool {
    [Verdict::Allow, Verdict::Modify, Verdict::StepUp].iter().any(|may| may.as_str() == verdict)
}

fn line(answer: &Answer, names: &[String], of: usize) -> String {
    let names = if names.len() == of { String::new() } else { tiers(names).join(" ") };
    format!("{:<8} by {:<24} {names}", answer.verdict, answer.rule).trim_end().to_owned()
}

/// `class@T1 class@T2 class@T5` as `class@T1-2,5`, and a class at every tier as its name.
fn tiers(names: &[String]) -> Vec<String> {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (class, tier) = name.split_once("@T").unwrap_or((name, ""));
        classes.entry(class).or_default().push(tier);
    }
    let shown = classes.into_iter().map(|(class, mut tiers)| {
        tiers.sort_unstable();
        match tiers.as_slice() {
            [""] | ["1", "2", "3", "4", "5"] => class.to_owned(),
            [one] => format!("{class}@T{one}"),
            [first, .., last] if is_run(&tiers) => format!("{class}@T{first}-{last}"),
            _ => format!("{class}@T{}", tiers.join(",")),
        }
    });
    shown.collect()
}

fn is_run(tiers: &[&str]) -> bool {
    let numbers: Option<Vec<u8>> = tiers.iter().map(|tier| tier.parse().ok()).collect();
    numbers.is_some_and(|n| n.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b)))
}

fn json_of(answers: &BTreeMap<Answer, Vec<String>>) -> Vec<serde_json::Value> {
    let rows = answers.iter().map(|(answer, names)| {
        serde_json::json!({ "verdict": answer.verdict, "rule": answer.rule, "actions": names })
    });
    rows.collect()
}

/// Everybody's answers to everything, those that are alike together.
fn answers(
    explainer: &Explainer,
    somebody: &Somebody,
    deeds: &[Deed],
) -> BTreeMap<Answer, Vec<String>> {
    let mut answers: BTreeMap<Answer, Vec<String>> = BTreeMap::new();
    if somebody.barred.is_some() {
        return answers;
    }
    let now = super::now();
    for deed in deeds {
        let (verdict, rule, reason) = match &deed.what {
            _ if somebody.brings == Brings::Nothing => (Verdict::Deny, None, "no_authority"),
            Doing::Call(action) => {
                let cwd = Path::new("/");
                let (judged, _) = explainer.explain_as(action, cwd, now, &somebody.acting);
                (judged.verdict, judged.rule, judged.reason)
            }
            Doing::Class(supposed) => {
                let decision = explainer.suppose(supposed, &somebody.acting, now);
                (decision.verdict, decision.rule, decision.reason.as_str())
            }
        };
        let rule = rule.unwrap_or_else(|| reason.to_owned());
        let answer = Answer { verdict: verdict.as_str(), rule };
        answers.entry(answer).or_default().push(deed.name.clone());
    }
    answers
}

/// One action word and one resource word, or a path.
fn read(action: &str, resource: Option<&str>) -> Result<Rule, Failure> {
    let resource = resource.unwrap_or("*");
    let is_path = resource.starts_with(['/', '~', '.']);
    let on = if is_path { "*" } else { resource };
    let mut rule = Rule::read("*", &format!("{action} on {on}")).map_err(|fault| {
        let hint = fault.hint.map_or_else(String::new, |hint| format!(": {hint}"));
        Failure::Usage(format!("{}{hint}", fault.message))
    })?;
    if is_path {
        // Paths are no resource of rules, but what they touch is.
        let path = Resource::Argument { pointer: PATH.to_owned(), pattern: resource.to_owned() };
        rule.resource = Choice::one(path);
    }
    // The catalogue's word on classes, with what it has instead.
    let words = Words { statements: vec![Statement::Rule(rule.clone())] };
    words.to_cedar("question.access", Catalogue::builtin().classes()).map_err(|faults| {
        let fault = faults.into_iter().next();
        let hint = fault.as_ref().and_then(|fault| fault.hint.clone()).unwrap_or_default();
        let what = fault.map_or_else(String::new, |fault| fault.message);
        Failure::Usage(format!("{what}: {hint}"))
    })?;
    let one = rule.resource.sense == Sense::Is && rule.resource.items.len() == 1;
    let wild = matches!(rule.resource.items.as_slice(),
        [Resource::Argument { pointer, pattern }] if pointer != PATH && pattern.contains('*'));
    if !one || wild || rule.action.sense == Sense::IsNot {
        let what = "ask about one resource, and about actions without `not`";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(rule)
}

/// Marks a path among the resources of a question; no argument's pointer begins so.
const PATH: &str = "path";

/// What a question is about.
fn deeds(explainer: &Explainer, rule: &Rule) -> Result<Vec<Deed>, Failure> {
    let (mut server, mut arguments) = (NOBODY.to_owned(), Vec::new());
    let (mut paths, mut sink, mut path) = (PathFacts::default(), None, None);
    match rule.resource.items.first() {
        Some(Resource::Roots) => paths.inside_roots = true,
        Some(Resource::Credentials) => paths.touches_credentials = true,
        Some(Resource::Tipstaff) => paths.touches_tipstaff = true,
        Some(Resource::Outside) => sink = Some(Sink::External),
        Some(Resource::Server(name)) => server = name.clone(),
        Some(Resource::Argument { pointer, pattern }) if pointer == PATH => {
            let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
            paths = explainer.place(pattern, &cwd);
            path = Some(std::path::absolute(pattern).unwrap_or_else(|_| pattern.into()));
        }
        Some(Resource::Argument { pointer, pattern }) => {
            arguments.push((pointer.trim_start_matches('/').to_owned(), Json::string(pattern)));
        }
        Some(Resource::Anything) | None => {}
    }
    if path.is_none() && paths != PathFacts::default() {
        let named = rule.action.items.iter().any(|w| matches!(w, What::Tool(_) | What::Server(_)));
        if named {
            let what = "ask about a tool with a path or an argument: it says what it touches";
            return Err(Failure::Usage(what.to_owned()));
        }
    }
    let given = Json::object(arguments).unwrap_or(Json::Null);
    let mut deeds = Vec::new();
    for what in &rule.action.items {
        match what {
            What::Tool(tool) => {
                let (server, tool) = tool.split_once('/').unwrap_or((NOBODY, tool));
                deeds.push(call(server, tool, at(server, tool, path.as_deref(), &given))?);
            }
            What::Server(of) => {
                let tools = explainer.tools().filter(|(server, _)| server == of);
                for (server, tool) in tools {
                    deeds.push(call(server, tool, at(server, tool, path.as_deref(), &given))?);
                }
                if deeds.is_empty() {
                    let what = format!("no tool of the server `{of}` is accepted: name one");
                    return Err(Failure::Usage(what));
                }
            }
            What::Operation(word) => {
                let found = OPERATIONS.iter().find(|(name, _)| name == word);
                let method = found.map_or("other", |(_, method)| *method);
                let action = Action::new(&server, method, method, given.clone(), None);
                let action = action.map_err(|error| Failure::Usage(error.to_string()))?;
                deeds.push(Deed { name: word.clone(), what: Doing::Call(action) });
            }
            _ => {
                for (class, tier) in classes(what) {
                    let action = Action::new(&server, NOBODY, "tools/call", given.clone(), None);
                    let action = action.map_err(|error| Failure::Usage(error.to_string()))?;
                    let name = format!("{class}@{tier}");
                    let supposed = Supposed { action, class, tier, paths, sink };
                    deeds.push(Deed { name, what: Doing::Class(supposed) });
                }
            }
        }
    }
    Ok(deeds)
}

/// The arguments of a call that names a path where the catalogue says that the tool has one.
fn at(server: &str, tool: &str, path: Option<&Path>, given: &Json) -> Json {
    let Some(path) = path else { return given.clone() };
    let text = Json::String(path.to_string_lossy().into_owned());
    let row = Catalogue::builtin().rows().find(|row| {
        row.tool.eq_ignore_ascii_case(tool)
            && (row.server == "*" || row.server.split('|').any(|word| server.contains(word)))
    });
    let pointer = match row.map(|row| &row.pointers) {
        Some(tipstaff_classify::Pointers::At(pointers)) => pointers.first().cloned(),
        _ => None,
    };
    let pointer = pointer.unwrap_or_else(|| "/path".to_owned());
    let (name, value) = match pointer.trim_start_matches('/').split_once('/') {
        Some((name, _)) => (name.to_owned(), Json::Array(vec![text])),
        None => (pointer.trim_start_matches('/').to_owned(), text),
    };
    Json::object(vec![(name, value)]).unwrap_or(Json::Null)
}

fn call(server: &str, tool: &str, arguments: Json) -> Result<Deed, Failure> {
    let action = super::call(server, tool, arguments)?;
    Ok(Deed { name: format!("{server}/{tool}"), what: Doing::Call(action) })
}

/// The classes of the catalogue that a word means, each with every tier that it has. A class that only rules for
/// shells give is asked about at the tiers from 1 to 5.
fn classes(what: &What) -> Vec<(String, Tier)> {
    let catalogue = Catalogue::builtin();
    let mut tiers: BTreeMap<&str, BTreeSet<Tier>> = BTreeMap::new();
    for row in catalogue.rows() {
        tiers.entry(&row.class).or_default().insert(row.tier);
    }
    let all: BTreeSet<Tier> = (1..=5).filter_map(Tier::from_number).collect();
    let meant = |class: &str, tier: Tier| match what {
        What::Class(named) => named == class,
        What::Family(family) => class.split_once(':').is_some_and(|(found, _)| found == family),
        What::Tiers(first, last) => (*first..=*last).contains(&tier.number()),
        _ => true,
    };
    let pairs = catalogue.classes().flat_map(|class| {
        let tiers = tiers.get(class).unwrap_or(&all);
        tiers.iter().map(move |tier| (class, *tier))
    });
    let pairs = pairs.filter(|(class, tier)| meant(class, *tier));
    pairs.map(|(class, tier)| (class.to_owned(), tier)).collect()
}

/// What an answer supposes that a question doesn't say.
fn assumed(rule: &Rule) -> String {
    let place = match rule.resource.items.first() {
        Some(Resource::Anything) | None => "naming no path".to_owned(),
        Some(Resource::Argument { pointer, pattern }) if pointer == PATH => format!("on {pattern}"),
        Some(_) => format!("on {}", rule.resource),
    };
    let classes = rule
        .action
        .items
        .iter()
        .any(|what| !matches!(what, What::Tool(_) | What::Server(_) | What::Operation(_)));
    let tool = if classes {
        ", by a tool that no policy names; a class of shell commands at every tier"
    } else {
        ""
    };
    format!("Assumed: a new session that has met nothing, {place}{tool}.")
}

fn anybody() -> Somebody {
    let acting = Acting { agent: NOBODY.to_owned(), user: NOBODY.to_owned(), roles: Vec::new() };
    Somebody { name: ANYBODY.to_owned(), acting, barred: None, brings: Brings::Enough }
}

/// Everybody who is enrolled, as the rules see them now.
fn enrolled(at: &Place) -> Result<Vec<Somebody>, Failure> {
    if !at.home.exists() {
        return Ok(Vec::new());
    }
    let pages = Known::everybody(at)?;
    let Some(first) = pages.first() else { return Ok(Vec::new()) };
    let all = || pages.iter().flat_map(Known::principals);
    let by_name: BTreeMap<String, &Json> =
        all().map(|found| (text(found, "name"), found)).collect();
    let mut people = Vec::new();
    for found in all() {
        let name = text(found, "name");
        let (mut user, mut barred, mut above) = (NOBODY.to_owned(), None, Some(found));
        while let Some(principal) = above {
            let status = text(principal, "status");
            if status != "active" {
                barred = Some(format!("{} is {status}", text(principal, "name")));
            }
            if text(principal, "kind") == "human" {
                user = text(principal, "name");
            }
            above = by_name.get(&text(principal, "owner")).copied();
        }
        if barred.is_none() && !has_key(found, first.now) {
            barred = Some("no key of it is valid".to_owned());
        }
        let roles = found.get("roles").and_then(Json::as_array).unwrap_or_default();
        let own = roles.iter().filter_map(Json::as_str).map(str::to_owned);
        let roles: Vec<String> = own.chain(first.groups_of(&name)).collect();
        let is_bare = text(found, "kind") == "agent" && roles.is_empty();
        let brings = if is_bare { Brings::Nothing } else { Brings::Enough };
        let acting = Acting { agent: name.clone(), user, roles };
        people.push(Somebody { name, acting, barred, brings });
    }
    Ok(people)
}

/// Names in rules that nobody is enrolled under, and roles that nobody has: misspelt, such a rule never matches.
pub(super) fn strangers(at: &Place, set: &PolicySet) -> Vec<String> {
    // Without a log, or with one that can't be read, there is nothing to compare with.
    let Ok((known, _)) = crate::principal::folded(at, "") else { return Vec::new() };
    if known.head().is_none() {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for uid in set.ranked().flat_map(|ranked| ranked.policy.entity_literals()) {
        let (kind, id) = (uid.type_name().to_string(), uid.id().unescaped());
        // Pseudonyms of processes and accounts are no names.
        let Some(name) = Name::parse(id) else { continue };
        let is_known = match kind.as_str() {
            "Agent" | "User" => known.get(&name).is_some(),
            "Role" => known.iter().any(|(_, principal)| principal.has_role(&name)),
            _ => true,
        };
        if !is_known {
            found.insert(format!("{kind}::\"{id}\": nobody who is enrolled has this name"));
        }
    }
    found.into_iter().collect()
}

fn has_key(principal: &Json, now: Millis) -> bool {
    let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
    keys.iter().any(|key| {
        let number = |name| key.get(name).and_then(Json::as_integer);
        let lasts = number("until").and_then(|until| u64::try_from(until).ok());
        number("lost_at").is_none() && lasts.is_none_or(|until| until > now.0)
    })
}

fn text(json: &Json, name: &str) -> String {
    json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_of_a_class_stand_together() {
        let names = |names: &[&str]| -> Vec<String> {
            tiers(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&[
                "a:b@T1", "a:b@T2", "a:b@T3", "a:b@T4", "a:b@T5", "c:d@T2", "e:f@T2", "e:f@T3"
            ]),
            ["a:b", "c:d@T2", "e:f@T2-3"]
        );
        assert_eq!(names(&["a:b@T1", "a:b@T3", "s/t"]), ["a:b@T1,3", "s/t"]);
    }
}
