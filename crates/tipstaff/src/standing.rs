//! Saying yes to later calls, too: what exactly, what is left of it, and its end.
//!
//! The adversary is a yes whose reach nobody read: it is said in one sentence, made from what is signed and from
//! nothing else, before it is signed.

use std::fmt::{self, Write as _};

use tipstaff_classify::ActionKind;
use tipstaff_core::action::Salt;
use tipstaff_core::{Json, Labels, Millis, Tier};
use tipstaff_identity::{HomeKeys, SystemRandom};
use tipstaff_monitor::{Client, LASTS_MAX_MS, Repeat, Statement, kind_digest};
use tipstaff_store::Random as _;

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::policy::now;
use crate::principal::milliseconds;
use crate::queue::{DIGITS_MIN, nothing, plain, short, text};

/// What is asked for: how many calls, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    count: u64,
    ms: u64,
}

/// What is signed besides the call.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) repeat: Repeat,
    pub(crate) salt: Salt,
    kind: ActionKind,
}

impl Wanted {
    /// Reads `--repeat` and `--within`.
    pub(crate) fn read(ids: &[String], count: u64, within: &str) -> Result<Self, Failure> {
        if ids.len() != 1 {
            let what =
                "--repeat is for one call: name it alone, so that you see what else it covers";
            return Err(Failure::Usage(what.to_owned()));
        }
        let ms = milliseconds("--within", within)?;
        if !(1000..=LASTS_MAX_MS).contains(&ms) {
            return Err(Failure::Usage("--within is from 1s to 8h".to_owned()));
        }
        Ok(Self { count, ms })
    }
}

impl Terms {
    /// What a yes to a call that waits would cover besides.
    pub(crate) fn of(hold: &Json, wanted: &Wanted, undone: &str) -> Result<Self, Failure> {
        let why = hold.pointer("/offer/none").and_then(Json::as_str);
        let why = why.unwrap_or("it was asked for before the monitor started").to_owned();
        let next = "Leave out --repeat: then it is approved alone.";
        let none = || {
            let cause = format!("no yes to it can cover later calls: {why}");
            Failure::undone(undone, cause, next)
        };
        let kind = hold.pointer("/offer/kind").and_then(ActionKind::from_json);
        let kind = kind.ok_or_else(none)?;
        let mut salt = [0; 16];
        let random = SystemRandom.fill(&mut salt);
        random.map_err(|error| Failure::undone(undone, error, "Try again."))?;
        let salt = Salt(salt);
        let repeat = || {
            let labels = hold.pointer("/offer/labels")?.as_array()?.iter().map(Json::as_str);
            let tier = u8::try_from(hold.get("tier")?.as_integer()?).ok()?;
            Some(Repeat {
                count: wanted.count,
                kind: kind_digest(&kind, salt),
                labels: Labels::parse(labels.collect::<Option<Vec<_>>>()?)?,
                rule: hold.get("rule")?.as_str()?.to_owned(),
                session: text(hold, "session"),
                tier: Tier::from_number(tier)?,
                until: Millis(now().0.saturating_add(wanted.ms)),
            })
        };
        let unread = || {
            let cause = "the monitor's list can't be read";
            Failure::undone(undone, cause, "Update both to one release.")
        };
        Ok(Self { repeat: repeat().ok_or_else(unread)?, salt, kind })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repeat { count, labels, rule, session, tier, until, .. } = &self.repeat;
        let met = labels.names().join(", ");
        write!(
            f,
            "This also covers up to {count} later calls of {}, until {until}, in session {}, each {tier} at most, \
             asked for by policy `{}`, while the policies stay as they are and the session meets no data but {}.\n\
             It does not cover: any other place or verb, what can't be undone, what carries a secret, credentials, \
             Tipstaff's own folder, and what is asked for because of risk or drift.",
            words(&self.kind),
            plain(session),
            plain(rule),
            if met.is_empty() { "public data" } else { &met },
        )
    }
}

/// What calls of a kind do.
fn words(kind: &ActionKind) -> String {
    let acts: Vec<String> = kind.acts.iter().map(|act| format!("`{}`", plain(act))).collect();
    let folders: Vec<String> = kind.folders.iter().map(|folder| plain(folder)).collect();
    let tool = format!("{}/{}", plain(&kind.server), plain(&kind.tool));
    let place =
        if folders.is_empty() { String::new() } else { format!(" in {}", folders.join(", ")) };
    format!("{tool} ({}) that do {}{place}", plain(&kind.class), acts.join(" and "))
}

/// What `queue` says of it below a call that waits.
pub(crate) fn offered(hold: &Json) -> String {
    let mut out = String::new();
    if let Some(again) = hold.pointer("/offer/again").and_then(Json::as_str) {
        let again = plain(again);
        out = format!("\n    an earlier yes to such calls does not cover this one: {again}");
    }
    if text(hold, "state") == "waiting"
        && let Some(kind) = hold.pointer("/offer/kind").and_then(ActionKind::from_json)
    {
        let (of, words) = (text(hold, "of"), words(&kind));
        let of = short(&of);
        let _ = write!(out, "\n    approve {of} --repeat 10 would also cover: 10 more of {words}");
    }
    out
}

/// Lists what stands.
pub(crate) fn list(at: &Place) -> Outcome {
    let standing = standing(at)?;
    if at.json {
        println!("{}", Json::Array(standing).to_canonical());
        return Ok(());
    }
    if standing.is_empty() {
        return nothing(at, "No yes covers later calls now.");
    }
    for one in &standing {
        println!("{}", described(one));
    }
    println!("`tipstaff withdraw ID` ends one at once.");
    Ok(())
}

fn described(one: &Json) -> String {
    let number = |at: &str| one.pointer(at).and_then(Json::as_integer).unwrap_or(0);
    let kind = one.get("kind").and_then(ActionKind::from_json);
    let repeat = one.get("repeat").and_then(Repeat::from_json);
    let (used, count) = (number("/used"), number("/repeat/count"));
    let until = repeat.as_ref().map_or(0, |repeat| repeat.until.0);
    let left = until.saturating_sub(now().0) / 1000;
    format!(
        "{}  {} of {count} left, {left} s: {}\n    session {}",
        short(&text(one, "of")),
        count.saturating_sub(used),
        kind.map_or_else(String::new, |kind| words(&kind)),
        repeat.map_or_else(String::new, |repeat| plain(&repeat.session)),
    )
}

/// Ends one.
pub(crate) fn withdraw(at: &Place, id: &str) -> Outcome {
    let undone = "Nothing was withdrawn.";
    if id.len() < DIGITS_MIN || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = format!("`{id}` names nothing: give at least {DIGITS_MIN} of its hex digits");
        return Err(Failure::Usage(what));
    }
    let next = "See `tipstaff queue --standing`.";
    let id = id.to_ascii_lowercase();
    let standing = standing(at)?;
    let mut named = standing.iter().filter(|one| text(one, "of").starts_with(&id));
    let (Some(one), None) = (named.next(), named.next()) else {
        let cause = format!("{id} is not the beginning of exactly one that stands");
        return Err(Failure::undone(undone, cause, next));
    };
    let key = HomeKeys::approver(at.home.root()).map_err(|error| {
        let next = "Run it as the user whose home this is, or restore its keys.";
        Failure::undone(undone, error, next)
    })?;
    let unread = || Failure::undone(undone, "the monitor's list can't be read", "Try again.");
    let statement = one.get("withdrawal").and_then(Statement::from_json).ok_or_else(unread)?;
    let answer = Client::answer(&at.home, &statement, &key)
        .map_err(|error| Failure::undone(undone, error, "Try again."))?
        .ok_or_else(|| Failure::undone(undone, "the monitor has ended", "Try again."))?;
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err(Failure::undone(undone, text(&answer, "text"), next));
    }
    let (of, receipt) = (text(one, "of"), text(&answer, "receipt"));
    if at.json {
        println!("{}", serde_json::json!({ "answer": "withdraw", "of": of, "receipt": receipt }));
    } else {
        println!("Withdrawn: {} covers nothing more. Receipt {}.", short(&of), short(&receipt));
    }
    Ok(())
}

fn standing(at: &Place) -> Result<Vec<Json>, Failure> {
    let answer = Client::control(&at.home, "repeats", None)
        .map_err(|e| Failure::undone("What stands can't be read.", e, "Try again."))?;
    let listed = answer.as_ref().and_then(|answer| answer.get("repeats")?.as_array());
    Ok(listed.map(<[Json]>::to_vec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        let ids = ["7f3a".to_owned()];
        let ms = |within| Wanted::read(&ids, 1, within).ok().map(|wanted| wanted.ms);
        assert_eq!(
            [ms("90s"), ms("45m"), ms("8h")],
            [Some(90_000), Some(2_700_000), Some(28_800_000)]
        );
        for wrong in [
            "",
            "m",
            "5",
            "0m",
            "9h",
            "481m",
            "-1m",
            "1d",
            "5mm",
            "1.5h",
            "5 m",
            "99999999999999999999h",
            "é",
        ] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
        assert!(Wanted::read(&["a".to_owned(), "b".to_owned()], 1, "1m").is_err());
    }
}
