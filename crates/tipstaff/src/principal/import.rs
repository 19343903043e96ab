//! Enrolling many at once, from a file with one principal a line.
//!
//! The adversary is a file of which half is wrong, or a machine that stops in the middle: every line is looked at
//! before anything is done, each principal has a signed order and a receipt of its own, and the same file again goes
//! on where it stopped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use tipstaff_core::key::{SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json};
use tipstaff_identity::{
    Book, Change, FreshKey, KeyFolder, Kind, Name, Order, PRINCIPALS_MAX, Principals, SignedOrder,
};
use tipstaff_monitor::{Client, Wanted};
use tipstaff_store::NativeDisk;

use super::known::{Known, TRIES};
use super::{SHOWN, approver, text};
use crate::home::Place;
use crate::outcome::{Failure, Outcome, counted};

/// Orders that are brought at a time.
const BATCH: usize = 512;
/// Longest line, in bytes.
const LINE_MAX: u64 = 8 << 10;
const UNDONE: &str = "Nobody was enrolled.";

/// What a line says.
struct Line {
    number: usize,
    name: Name,
    kind: Kind,
    owner: Option<Name>,
    roles: Vec<Name>,
    key: Option<VerifyingKey>,
}

/// Somebody who is to be enrolled.
struct Planned {
    line: usize,
    change: Change,
    /// The key that is made for them.
    made: Option<FreshKey>,
}

/// What a file comes to.
#[derive(Default)]
struct Plan {
    new: Vec<Planned>,
    already: Vec<Name>,
}

pub(super) fn run(at: &Place, file: &Path) -> Outcome {
    let lines = read(file)?;
    let key = approver(at)?;
    let now = Known::of(at, &Wanted::default())?;
    let mut head = now.head()?;
    let folder = KeyFolder::of(at.home.root());
    let known =
        Book::read(&NativeDisk::new(at.home.root()), head, |digest| at.home.kept(digest).ok());
    let known = known.map_err(|error| {
        Failure::undone(UNDONE, error, "Look with `tipstaff log fsck`; restore the home.")
    })?;
    let plan = planned(lines, known, &folder, &now)?;
    let (log, mut last) = (now.text("log"), None);
    for batch in plan.new.chunks(BATCH) {
        // A key is durable before its principal is enrolled.
        let made = batch.iter().filter_map(|one| Some((one.change.name()?, one.made.as_ref()?)));
        folder.write(made).map_err(|error| stopped(batch.first(), error))?;
        last = Some(bring(at, (&key, &log), batch, &mut head)?);
    }
    said(at, &plan, &folder, last);
    Ok(())
}

fn said(at: &Place, plan: &Plan, folder: &KeyFolder, last: Option<String>) {
    let made = plan.new.iter().filter(|one| one.made.is_some()).count();
    let already: Vec<&str> = plan.already.iter().map(Name::as_str).collect();
    if at.json {
        let answer = serde_json::json!({
            "enrolled": plan.new.len(), "already": already, "keys_made": made, "receipt": last,
        });
        println!("{answer}");
        return;
    }
    let receipt = last.map(|last| format!(" Last receipt {}.", last.get(..SHOWN).unwrap_or(&last)));
    println!("{} enrolled.{}", plan.new.len(), receipt.unwrap_or_default());
    if !already.is_empty() {
        let shown = already.get(..SHOWN.min(already.len())).unwrap_or_default().join(", ");
        let more = if already.len() > SHOWN { ", …" } else { "" };
        let were = counted(already.len(), "was", "were");
        println!("{were} enrolled already, and passed over: {shown}{more}");
    }
    if made > 0 {
        println!("{} made, in {}", counted(made, "key was", "keys were"), folder.path().display());
    }
}

/// Reads every line.
fn read(file: &Path) -> Result<Vec<Line>, Failure> {
    let unread = |error: std::io::Error| {
        let cause = format!("{}: {error}", file.display());
        Failure::undone(UNDONE, cause, "Name a file with one principal a line, in JSON.")
    };
    let mut input = BufReader::new(File::open(file).map_err(unread)?);
    let (mut lines, mut bytes) = (Vec::new(), Vec::new());
    for number in 1.. {
        bytes.clear();
        let read = (&mut input).take(LINE_MAX).read_until(b'\n', &mut bytes).map_err(unread)?;
        if read == 0 {
            break;
        }
        if bytes.last() != Some(&b'\n') && read as u64 == LINE_MAX {
            return Err(wrong(number, format!("it has more than {LINE_MAX} bytes")));
        }
        let line = bytes.trim_ascii();
        if line.is_empty() {
            continue;
        }
        lines.push(line_of(number, line).map_err(|cause| wrong(number, cause))?);
        if lines.len() > PRINCIPALS_MAX {
            return Err(wrong(number, format!("there are more than {PRINCIPALS_MAX}")));
        }
    }
    Ok(lines)
}

fn line_of(number: usize, line: &[u8]) -> Result<Line, String> {
    let json = Json::parse(line).map_err(|error| error.to_string())?;
    let members = json.as_object().ok_or("it is no JSON object")?;
    let known = ["name", "kind", "owner", "roles", "key"];
    if let Some((unknown, _)) = members.iter().find(|(name, _)| !known.contains(name)) {
        let shown: String = unknown.chars().take(SHOWN).collect();
        return Err(format!("`{shown}` is no member; there are {}", known.join(", ")));
    }
    let word = |name: &str| match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| format!("`{name}` is no text")),
    };
    let name = |member: &str, word: &str| {
        let wanted = "1 to 64 of a-z, 0-9, `.`, `-`, `_`";
        Name::parse(word).ok_or_else(|| format!("`{member}` is no name: {wanted}"))
    };
    let roles = match json.get("roles") {
        None | Some(Json::Null) => &[][..],
        Some(roles) => roles.as_array().ok_or("`roles` is no list")?,
    };
    let roles = roles.iter().map(|role| name("roles", role.as_str().unwrap_or_default()));
    Ok(Line {
        number,
        name: name("name", word("name")?.ok_or("it has no `name`")?)?,
        kind: Kind::parse(word("kind")?.ok_or("it has no `kind`")?)
            .ok_or("`kind` is none of human, service, agent, system, node")?,
        owner: word("owner")?.map(|owner| name("owner", owner)).transpose()?,
        roles: roles.collect::<Result<_, _>>()?,
        key: word("key")?
            .map(VerifyingKey::from_did_key)
            .transpose()
            .map_err(|_| "`key` is not the did:key:z6Mk... of an Ed25519 key")?,
    })
}

/// Looks at every line, as the monitor will, and at what the ones before it change.
fn planned(
    lines: Vec<Line>,
    mut known: Principals,
    folder: &KeyFolder,
    now: &Known,
) -> Result<Plan, Failure> {
    let (mut plan, mut seen) = (Plan::default(), HashMap::new());
    for line in lines {
        let Line { number, name, kind, owner, roles, key } = line;
        if let Some(first) = seen.insert(name.clone(), number) {
            return Err(wrong(number, format!("{name} stands on line {first} already")));
        }
        if let Some(found) = known.get(&name) {
            let same = found.kind == kind
                && found.owner == owner
                && key.is_none_or(|key| found.has_key(&key));
            if !same {
                let cause = format!("{name} is enrolled already, with another kind, owner or key");
                return Err(wrong(number, cause));
            }
            plan.already.push(name);
            continue;
        }
        let (key, made) = match key {
            Some(key) => (key, None),
            None => match folder.find(&name).map_err(|error| wrong(number, error))? {
                // Made before a run that did not end.
                Some(key) => (key, None),
                None => {
                    let made = FreshKey::make().map_err(|error| wrong(number, error))?;
                    (made.public().clone(), Some(made))
                }
            },
        };
        let change = Change::Enrol { name, kind, owner, key, roles };
        let supposed = known.suppose(&change, now.now, u64::MAX);
        supposed.map_err(|fault| wrong(number, fault))?;
        plan.new.push(Planned { line: number, change, made });
    }
    Ok(plan)
}

/// Brings a batch of orders until all of them count; the last one's receipt.
fn bring(
    at: &Place,
    (key, log): (&SigningKey, &str),
    batch: &[Planned],
    head: &mut Option<Digest>,
) -> Result<String, Failure> {
    let (mut rest, mut tries, mut last) = (batch, 0, String::new());
    loop {
        let (signed, digests) = signed(rest, (key, log), *head);
        let mut why = "the monitor has just ended".to_owned();
        let mut done = 0;
        let answer = Client::orders(&at.home, &signed).unwrap_or_default();
        if let Some(answer) = &answer {
            let receipts = answer.get("receipts").and_then(Json::as_array).unwrap_or_default();
            (done, why) = (receipts.len(), text(answer, "text"));
            if let Some(receipt) = receipts.last().and_then(Json::as_str) {
                receipt.clone_into(&mut last);
            }
        }
        if done < rest.len() {
            // What came first: another operator's order, or the end of a monitor that had taken some?
            let found = Known::of(at, &Wanted::default())?.head()?;
            let taken = digests.iter().position(|digest| Some(*digest) == found);
            let expected = done.checked_sub(1).map_or(*head, |at| digests.get(at).copied());
            tries += 1;
            if answer.is_some() && found == expected || tries > TRIES {
                return Err(stopped(rest.get(done), why));
            }
            done = taken.map_or(done, |taken| taken + 1);
            *head = found;
        } else {
            *head = digests.last().copied();
        }
        rest = rest.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(last);
        }
    }
}

/// Signs the orders that enrol these, each following the one before it.
fn signed(
    batch: &[Planned],
    (key, log): (&SigningKey, &str),
    head: Option<Digest>,
) -> (Vec<SignedOrder>, Vec<Digest>) {
    let (mut prev, at) = (head, crate::policy::now());
    let orders = batch.iter().map(|one| {
        let order = Order { change: one.change.clone(), log: log.to_owned(), prev, at };
        let signed = order.sign(key);
        let digest = Digest::of(signed.to_canonical().as_bytes());
        prev = Some(digest);
        (signed, digest)
    });
    orders.unzip()
}

fn wrong(line: usize, cause: impl ToString) -> Failure {
    let cause = format!("line {line}: {}", cause.to_string());
    Failure::undone(UNDONE, cause, "Mend that line and run it again.")
}

/// Some may be enrolled by now.
fn stopped(from: Option<&Planned>, cause: impl ToString) -> Failure {
    let what = match from {
        Some(from) => format!("From line {} on nobody was enrolled.", from.line),
        None => UNDONE.to_owned(),
    };
    let next = "Mend that and run it again: who is enrolled by now is passed over.";
    Failure::undone(&what, cause, next)
}
