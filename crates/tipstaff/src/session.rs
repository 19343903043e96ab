//! Sessions that go on: what they have met, and telling them what is wanted, what is given and what no longer
//! applies.
//!
//! The adversary is the agent that would tell itself: what is told is signed with the approver's key, and refused
//! from a process that an agent's client started.

use tipstaff_core::action::Salt;
use tipstaff_core::{Json, Labels};
use tipstaff_identity::{HomeKeys, SystemRandom};
use tipstaff_monitor::{Client, Tell, Told};
use tipstaff_store::Random as _;

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

pub(crate) fn list(at: &Place) -> Outcome {
    let sessions = sessions(at)?;
    if at.json {
        println!("{}", Json::Array(sessions).to_canonical());
        return Ok(());
    }
    if sessions.is_empty() {
        println!("No session goes on.");
    }
    for session in &sessions {
        println!("{}", described(session));
    }
    Ok(())
}

pub(crate) fn request(at: &Place, session: Option<&str>, text: &str) -> Outcome {
    tell(at, session, Tell::Request(text.to_owned()), "Its actions are measured against this now.")
}

pub(crate) fn give(at: &Place, session: Option<&str>, given: &str) -> Outcome {
    let wrong =
        || Failure::Usage("give NAME=VALUE, with a name that begins with `given_`".to_owned());
    let (name, value) = given.split_once('=').ok_or_else(wrong)?;
    let (name, value) = (name.to_owned(), value.to_owned());
    tell(at, session, Tell::Give { name, value }, "Policies read it now.")
}

pub(crate) fn declassify(at: &Place, session: Option<&str>, labels: &[String]) -> Outcome {
    let named = Labels::parse(labels.iter().map(String::as_str));
    let labels = named.ok_or_else(|| {
        let known = "confidential, external, internal, personal, secret, unclassified, untrusted";
        Failure::Usage(format!("a label is one of {known}"))
    })?;
    tell(at, session, Tell::Declassify(labels), "They no longer apply to what it did so far.")
}

/// What a session is opened with: the text of a file.
pub(crate) fn intent(file: &std::path::Path) -> Result<String, Failure> {
    let undone = "The server was not started: its session's request can't be read.";
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::undone(undone, error, "Name a file with what the user wants, in words.")
    })?;
    match Tell::Request(text.clone()).fault() {
        None => Ok(text),
        Some(fault) => Err(Failure::undone(undone, fault, "Put the request into that file.")),
    }
}

fn tell(at: &Place, named: Option<&str>, tell: Tell, done: &str) -> Outcome {
    let undone = "The session was not told.";
    if let Some(fault) = tell.fault() {
        return Err(Failure::Usage(fault.to_owned()));
    }
    let sessions = sessions(at)?;
    let next = "See `tipstaff session list`.";
    let begins = |session: &&Json| {
        let chain = text(session, "session");
        named.is_none_or(|named| {
            chain.starts_with(named) || chain.trim_start_matches("s-").starts_with(named)
        })
    };
    let mut found = sessions.iter().filter(begins);
    let (session, more) = (found.next(), found.next());
    let Some(session) = session else {
        return Err(Failure::undone(undone, "no session of that name goes on", next));
    };
    if more.is_some() {
        let cause = "more than one session goes on; name one with --session";
        return Err(Failure::undone(undone, cause, next));
    }
    let key = HomeKeys::approver(at.home.root()).map_err(|error| {
        let next = "Run it as the user whose home this is, or restore its keys.";
        Failure::undone(undone, error, next)
    })?;
    let mut salt = [0; 16];
    let random = SystemRandom.fill(&mut salt);
    random.map_err(|error| Failure::undone(undone, error, "Try again."))?;
    let (chain, log) = (text(session, "session"), text(session, "log"));
    let signed = Told { tell, session: chain.clone(), log, salt: Salt(salt) }.sign(&key);
    let answer = Client::tell(&at.home, &signed);
    let answer = answer.map_err(|error| Failure::undone(undone, error, "Try again."))?;
    let answer = answer.ok_or_else(|| {
        Failure::undone(undone, "the monitor has ended", "Start the client again.")
    })?;
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err(Failure::undone(undone, text(&answer, "text"), next));
    }
    let receipt = text(&answer, "receipt");
    if at.json {
        println!("{}", serde_json::json!({ "receipt": receipt, "session": chain }));
    } else {
        println!("Told {chain}. {done} Receipt {}.", receipt.get(..12).unwrap_or(&receipt));
    }
    Ok(())
}

fn sessions(at: &Place) -> Result<Vec<Json>, Failure> {
    let failed =
        |error| Failure::undone("The sessions can't be listed.", error, "Run `tipstaff doctor`.");
    let answer = Client::control(&at.home, "sessions", None).map_err(failed)?;
    let listed = answer.as_ref().and_then(|answer| answer.get("sessions")?.as_array());
    Ok(listed.map(<[Json]>::to_vec).unwrap_or_default())
}

fn described(session: &Json) -> String {
    let number = |name| session.get(name).and_then(Json::as_integer).unwrap_or(0);
    let labels = session.get("labels").and_then(Json::as_array).unwrap_or_default();
    let labels = labels.iter().map(|label| {
        let receipt = text(label, "receipt");
        format!("{} ({})", text(label, "label"), receipt.get(..8).unwrap_or("-"))
    });
    let labels = labels.collect::<Vec<_>>().join(", ");
    let drift = session.get("drift").and_then(|drift| drift.get("max_ppm")?.as_integer());
    let drift =
        drift.map_or_else(String::new, |ppm| format!(", at most {ppm} ppm from its request"));
    let given = session.get("given").and_then(Json::as_object);
    let given = given.map_or_else(String::new, |given| {
        given.iter().map(|(name, _)| format!(", {name}")).collect()
    });
    format!(
        "{}  {}{}  {} actions, {} requests{drift}{given}\n    met: {}",
        text(session, "session"),
        if text(session, "proof") == "none" { "UNPROVEN " } else { "" },
        crate::queue::plain(&text(session, "service")),
        number("actions"),
        number("requests"),
        if labels.is_empty() { "nothing" } else { &labels }
    )
}

fn text(json: &Json, name: &str) -> String {
    json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}
