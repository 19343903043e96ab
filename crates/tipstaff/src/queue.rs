//! Calls that wait, and the kill switch.
//!
//! The adversary is a call that looks harmless on the screen of whoever approves it: it is shown whole,
//! with everything that a terminal would act upon spelled out, and what is signed is what was shown.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Json};
use tipstaff_identity::HomeKeys;
use tipstaff_monitor::{Client, Reply, Statement};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::standing::{self, Terms, Wanted};

/// Least digits that name a held call.
pub(crate) const DIGITS_MIN: usize = 4;

pub(crate) fn list(at: &Place) -> Outcome {
    let Some(holds) = holds(at)? else {
        return nothing(at, "No monitor runs, so nothing waits now.");
    };
    if at.json {
        println!("{}", Json::Array(holds).to_canonical());
        return Ok(());
    }
    if holds.is_empty() {
        return nothing(at, "Nothing waits.");
    }
    for hold in &holds {
        println!("{}", described(hold));
    }
    println!(
        "Answer with `tipstaff approve ID…` or `tipstaff refuse ID…`. What is deferred needs context, not a yes; \
         `refuse` ends it."
    );
    Ok(())
}

/// Answers calls that wait. All of them are found and shown before the first one is answered; each answer is
/// signed for its own call.
pub(crate) fn answer(
    at: &Place,
    ids: &[String],
    reply: Reply,
    standing: Option<&Wanted>,
) -> Outcome {
    let word = reply.as_str();
    let undone = match ids {
        [_] => format!("The call was not answered ({word})."),
        _ => format!("None of the calls was answered ({word})."),
    };
    for id in ids {
        if id.len() < DIGITS_MIN || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let what =
                format!("`{id}` names no held call: give at least {DIGITS_MIN} of its hex digits");
            return Err(Failure::Usage(what));
        }
    }
    let Some(holds) = holds(at)? else {
        let cause = "no monitor runs, so nothing waits";
        return Err(Failure::undone(&undone, cause, "See `tipstaff queue`."));
    };
    let mut chosen = BTreeSet::new();
    for id in ids {
        if !chosen.insert(place(&holds, id, &undone)?) {
            return Err(Failure::Usage(format!("`{id}` names a call that is named already")));
        }
    }
    // Oldest first, as the queue shows them: what was asked first runs first.
    let chosen: Vec<&Json> = chosen.into_iter().filter_map(|place| holds.get(place)).collect();
    if let ([_, _, ..], Some(other)) = (chosen.as_slice(), unanswerable(&chosen, reply)) {
        let (id, state) = (text(other, "of"), text(other, "state"));
        let cause = format!("{} is {state} and does not wait for that answer", short(&id));
        return Err(Failure::undone(&undone, cause, "Leave it out."));
    }
    if !at.json {
        for hold in &chosen {
            println!("{}", described(hold));
        }
    }
    let terms = match (standing, chosen.first()) {
        (Some(wanted), Some(hold)) => Some(Terms::of(hold, wanted, &undone)?),
        _ => None,
    };
    // What is signed is said before it is.
    if let Some(terms) = terms.as_ref().filter(|_| !at.json) {
        println!("{terms}");
    }
    let key = HomeKeys::approver(at.home.root()).map_err(|e| {
        Failure::undone(&undone, e, "Run it as the user whose home this is, or restore its keys.")
    })?;
    for (number, hold) in chosen.iter().enumerate() {
        let of = text(hold, "of");
        let undone = match number {
            0 => undone.clone(),
            _ => format!("From {} on, no call was answered ({word}).", short(&of)),
        };
        answer_one(at, hold, (reply, terms.as_ref()), &key)
            .map_err(|(cause, next)| Failure::undone(&undone, cause, next))?;
    }
    Ok(())
}

/// Where in the list the one call is that an id names.
fn place(holds: &[Json], id: &str, undone: &str) -> Result<usize, Failure> {
    let id = id.to_ascii_lowercase();
    let mut named = holds.iter().enumerate().filter(|(_, hold)| text(hold, "of").starts_with(&id));
    match (named.next(), named.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => {
            let cause = format!("more than one call that waits begins with {id}");
            Err(Failure::undone(undone, cause, "Give more digits."))
        }
        (None, _) => {
            let cause = format!("no call that waits has an id that begins with {id}");
            Err(Failure::undone(undone, cause, "See `tipstaff queue`."))
        }
    }
}

/// The first of these calls that can't be answered so.
fn unanswerable<'a>(chosen: &[&'a Json], reply: Reply) -> Option<&'a Json> {
    let mut chosen = chosen.iter().copied();
    chosen.find(|hold| {
        let state = text(hold, "state");
        !matches!((reply, state.as_str()), (_, "waiting") | (Reply::Refuse, "deferred" | "ready"))
    })
}

/// Signs the answer to one call and says what came of it; else the cause and the next step.
fn answer_one(
    at: &Place,
    hold: &Json,
    (reply, terms): (Reply, Option<&Terms>),
    key: &SigningKey,
) -> Result<(), (String, &'static str)> {
    let statement = statement(hold, reply).ok_or_else(|| {
        ("the monitor's list can't be read".to_owned(), "Update both to one release.")
    })?;
    let repeat = terms.map(|terms| terms.repeat.clone());
    let statement = Statement { repeat, ..statement };
    let salt = terms.map(|terms| terms.salt);
    let answered = Client::answer_salted(&at.home, &statement, salt, key);
    let answered = answered.map_err(|e| (e.to_string(), "Try again."))?;
    let answered = answered.ok_or_else(|| ("the monitor has ended".to_owned(), "Try again."))?;
    if answered.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err((text(&answered, "text"), "See `tipstaff queue`."));
    }
    let (of, receipt) = (text(hold, "of"), text(&answered, "receipt"));
    if at.json {
        let repeat = terms.map(|terms| terms.repeat.count);
        let said = serde_json::json!({
            "answer": reply.as_str(), "of": of, "receipt": receipt, "repeat": repeat,
        });
        println!("{said}");
        return Ok(());
    }
    let waits = hold.get("doors").and_then(Json::as_integer).unwrap_or(0) > 0;
    let came = match (reply, waits) {
        (Reply::Approve, true) => "Approved: it runs now, once.",
        (Reply::Approve, false) => "Approved: it runs once, when the agent repeats it.",
        (Reply::Refuse | Reply::Withdraw, _) => "Refused: it does not run.",
    };
    println!("{}  {came}\nReceipt {}.", short(&of), short(&receipt));
    if let Some(terms) = terms {
        let (count, id) = (terms.repeat.count, short(&receipt));
        println!("It covers {count} more, until `tipstaff withdraw {id}` ends that.");
    }
    Ok(())
}

pub(crate) fn pause(at: &Place) -> Outcome {
    switch(at, "pause", "Everything is paused: no call is permitted until `tipstaff resume`.")
}

pub(crate) fn resume(at: &Place) -> Outcome {
    switch(at, "resume", "Resumed: policies decide again.")
}

fn switch(at: &Place, what: &str, done: &str) -> Outcome {
    let undone = format!("`{what}` was not done.");
    // The switch is control state: without a monitor one is started to record it.
    let failed =
        |e| Failure::undone(&undone, e, "Run `tipstaff doctor`, or end the clients by hand.");
    Client::ensure_monitor(&at.home).map_err(failed)?;
    let answer = Client::control(&at.home, what, None).map_err(failed)?;
    let ok = answer.as_ref().and_then(|answer| answer.get("ok")).and_then(Json::as_bool);
    if ok != Some(true) {
        let cause = answer.map_or_else(|| "the monitor has ended".to_owned(), |a| text(&a, "text"));
        let next =
            "Run it in a terminal that no agent's client started, or look with `tipstaff doctor`.";
        return Err(Failure::undone(&undone, cause, next));
    }
    if at.json {
        println!("{}", serde_json::json!({ "ok": true, "switch": what }));
    } else {
        println!("{done}");
    }
    Ok(())
}

fn holds(at: &Place) -> Result<Option<Vec<Json>>, Failure> {
    let answer = Client::control(&at.home, "queue", None)
        .map_err(|e| Failure::undone("The queue can't be read.", e, "Try again."))?;
    Ok(answer.map(|answer| {
        answer.get("holds").and_then(Json::as_array).map(<[Json]>::to_vec).unwrap_or_default()
    }))
}

pub(crate) fn nothing(at: &Place, words: &str) -> Outcome {
    println!("{}", if at.json { "[]" } else { words });
    Ok(())
}

/// What is signed: everything that the list says the call is.
fn statement(hold: &Json, reply: Reply) -> Option<Statement> {
    let digest = |name| Digest::from_hex(hold.get(name)?.as_str()?).ok();
    Some(Statement {
        reply,
        action: digest("inputs_digest")?,
        expires: tipstaff_core::Millis(u64::try_from(hold.get("expires")?.as_integer()?).ok()?),
        log: hold.get("log")?.as_str()?.to_owned(),
        of: digest("of")?,
        policy_set: digest("policy_set")?,
        requester: hold.get("requester")?.as_str()?.to_owned(),
        repeat: None,
    })
}

fn described(hold: &Json) -> String {
    let action = hold.get("action").cloned().unwrap_or(Json::Null);
    let id = text(hold, "of");
    let tier = hold.get("tier").and_then(Json::as_integer).unwrap_or(5);
    let mut out = format!(
        "{}  {}/{}  ({}, T{tier})",
        short(&id),
        plain(&text(&action, "server")),
        plain(&text(&action, "tool")),
        text(hold, "class"),
    );
    let parameters = action.get("parameters").unwrap_or(&Json::Null);
    match parameters.as_object() {
        Some(members) => {
            for (name, value) in members.iter() {
                let _ = write!(out, "\n    {}: {}", plain(name), plain(&value.to_canonical()));
            }
        }
        None => {
            let _ = write!(out, "\n    {}", plain(&parameters.to_canonical()));
        }
    }
    if let Some(resource) = action.get("resource").and_then(Json::as_str) {
        let _ = write!(out, "\n    resource: {}", plain(resource));
    }
    let (service, rule) = (text(hold, "service"), text(hold, "rule"));
    let requester = text(hold, "requester");
    let state = match text(hold, "state").as_str() {
        "approved" => "approved, runs when it is repeated".to_owned(),
        state @ ("deferred" | "ready") => deferred(hold, state),
        _ => "waits".to_owned(),
    };
    let _ = write!(
        out,
        "\n    asked by {}{} (agent {}); policy {}; {state}; {} s left",
        if service.is_empty() { "an earlier client".to_owned() } else { plain(&service) },
        if text(hold, "proof") == "none" { ", UNPROVEN" } else { "" },
        requester.get(..8).unwrap_or(&requester),
        if rule.is_empty() { "-" } else { &rule },
        left(hold)
    );
    if text(hold, "reason") == "risk" {
        let _ = write!(
            out,
            "\n    asked for because its session met data worth keeping and text that others wrote, and this call \
             leads outside; `tipstaff why {}` names the calls that brought them in",
            short(&id)
        );
    }
    out + &standing::offered(hold)
}

/// What a deferred call waits for, and where that can be said.
fn deferred(hold: &Json, state: &str) -> String {
    let words = |name: &str, digits: usize| {
        let words = hold.get(name).and_then(Json::as_array).unwrap_or_default().iter();
        let words =
            words.filter_map(Json::as_str).map(|word| plain(word.get(..digits).unwrap_or(word)));
        words.collect::<Vec<_>>().join(", ")
    };
    let (missing, after) = (words("missing", usize::MAX), words("after", 12));
    let mut out = format!("deferred ({})", plain(&text(hold, "reason")));
    for (what, words) in [("not known yet", missing), ("after", after)] {
        if !words.is_empty() {
            let _ = write!(out, ", {what}: {words}");
        }
    }
    if state == "ready" {
        out.push_str(", judged when it is repeated");
    }
    let _ = write!(out, "; session {}", plain(&text(hold, "session")));
    out
}

/// As much of an id as is shown.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn left(hold: &Json) -> u64 {
    let expires = hold.get("expires").and_then(Json::as_integer).unwrap_or(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(i128::from(expires) - i128::try_from(now).unwrap_or(i128::MAX)).unwrap_or(0)
        / 1000
}

pub(crate) fn text(json: &Json, name: &str) -> String {
    json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// The text with everything spelled out that a terminal would act upon or not show: controls, and the
/// characters that turn or hide what stands beside them.
pub(crate) fn plain(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(u32::from(c), 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
                | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if hidden(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_approver_sees_is_what_is_there() {
        assert_eq!(
            plain("rm -rf \u{1b}[8m/\u{202e}x\u{200b}\r"),
            "rm -rf \\u{1b}[8m/\\u{202e}x\\u{200b}\\u{d}"
        );
        assert_eq!(plain("grüße \u{e0041}"), "grüße \\u{e0041}");
    }

    /// Whatever the agent, the tool and the client call themselves, nothing acts on the terminal.
    #[test]
    fn a_held_call_is_shown_without_what_a_terminal_acts_upon() {
        let bad = "a\u{1b}[2J\u{202e}\u{9b}b";
        let parameters = Json::object(vec![(bad.to_owned(), Json::string(bad))]).unwrap();
        let member = |name: &str| (name.to_owned(), Json::string(bad));
        let mut action = vec![member("server"), member("tool"), member("resource")];
        action.push(("parameters".to_owned(), parameters));
        let mut hold = vec![("action".to_owned(), Json::object(action).unwrap())];
        hold.push(member("service"));
        let shown = described(&Json::object(hold).unwrap());
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(acts), "{shown:?}");
        assert_eq!(shown.matches("\\u{202e}").count(), 6, "{shown}");
    }
}
