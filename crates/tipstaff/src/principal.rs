//! Who may act here: enrolling principals, rotating their keys, ending them.
//!
//! The adversary is an agent that enrols itself, or an operator who overwrites another's order unseen: an order is
//! signed with the approver's key, refused from a process that an agent's client started, and names the order that
//! it follows.

mod import;
mod known;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tipstaff_core::key::{SigningKey, VerifyingKey};
use tipstaff_core::{Json, Millis};
use tipstaff_identity::{
    Book, Change, HomeKeys, Kind, Name, Order, Peer, Principals, Pseudonyms, Service, key_at,
    key_pem_at, make_key, principal_certificate,
};
use tipstaff_monitor::{Client, Wanted};
use tipstaff_store::NativeDisk;

pub(crate) use self::known::Known;
use self::known::{PAGE_MAX, TRIES};
use crate::capability::Worth;
use crate::cli::PrincipalCommand;
use crate::home::Place;
use crate::outcome::{Failure, Outcome, counted};

/// Shown of a key's name in a listing.
const SHOWN: usize = 12;

pub(crate) fn run(at: &Place, command: PrincipalCommand) -> Outcome {
    match command {
        PrincipalCommand::Key { file } => make(at, &file),
        PrincipalCommand::Certificate { file, out, pem, name, days } => {
            certificate(at, &file, (&out, pem.as_deref()), (&name, days))
        }
        PrincipalCommand::List { after, limit } => list(at, after.as_deref(), limit),
        PrincipalCommand::Show { name, did } => show(at, &named(&name)?, did),
        PrincipalCommand::Enrol { from: Some(file), .. } => import::run(at, &file),
        PrincipalCommand::Enrol {
            name: Some(name),
            kind: Some(kind),
            owner,
            key: Some(key),
            role,
            ..
        } => {
            let kind =
                Kind::parse(&kind).ok_or_else(|| Failure::Usage("no such kind".to_owned()))?;
            let change = Change::Enrol {
                name: named(&name)?,
                kind,
                owner: owner.as_deref().map(named).transpose()?,
                key: public(&key)?,
                roles: role.iter().map(|role| named(role)).collect::<Result<_, _>>()?,
            };
            order(at, "enrolled", |_| Ok(change))
        }
        PrincipalCommand::Enrol { .. } => {
            Err(Failure::Usage("enrol wants a name, --kind and --key, or --from FILE".to_owned()))
        }
        PrincipalCommand::Rotate { name, key, overlap } => {
            let (name, key, overlap) =
                (named(&name)?, public(&key)?, milliseconds("--overlap", &overlap)?);
            order(at, "has a new key", |known| {
                let until = Millis(known.now.0.saturating_add(overlap));
                Ok(Change::Rotate { name, key, until })
            })
        }
        PrincipalCommand::Roles { name, roles } => {
            let roles = roles.iter().map(|role| named(role)).collect::<Result<_, _>>()?;
            let change = Change::Roles { name: named(&name)?, roles };
            order(at, "has these roles now", |_| Ok(change))
        }
        PrincipalCommand::Services { name, service } => {
            let (name, services) = (named(&name)?, services(&service)?);
            order(at, "can be reached there now", |_| Ok(Change::Services { name, services }))
        }
        PrincipalCommand::Suspend { name } => {
            let change = Change::Suspend { name: named(&name)? };
            order(at, "may not act until restored", |_| Ok(change))
        }
        PrincipalCommand::Restore { name } => {
            let change = Change::Restore { name: named(&name)? };
            order(at, "may act again", |_| Ok(change))
        }
        PrincipalCommand::Retire { name } => {
            let change = Change::Retire { name: named(&name)? };
            order(at, "never acts again", |_| Ok(change))
        }
        PrincipalCommand::Compromise { name, key_id, from } => {
            let name = named(&name)?;
            let wanted = Wanted { names: vec![name.clone()], ..Wanted::default() };
            order_of(at, &wanted, "has lost this key", |known| {
                let key_id = match key_id {
                    Some(key_id) => key_id,
                    None => known.only_key(&name)?,
                };
                Ok(Change::Compromise { name, key_id, from })
            })
        }
    }
}

/// Who a door would be that this command's starter started, and what a capability is worth to it.
pub(crate) fn whoami(at: &Place, key: Option<&Path>, capability: Option<&Path>) -> Outcome {
    let mut said = who(at, key)?;
    let worth = capability.map(|file| Worth::of(at, file, key)).transpose()?;
    if at.json {
        if let (Some(members), Some(worth)) = (said.as_object_mut(), &worth) {
            members.extend(worth.members());
        }
        println!("{said}");
    }
    worth.map_or(Ok(()), |worth| worth.tell(at))
}

/// Who it would be; told, unless the answer is wanted in JSON.
fn who(at: &Place, key: Option<&Path>) -> Result<serde_json::Value, Failure> {
    let undone = "Who this is can't be said.";
    let Some(file) = key else {
        let keys = HomeKeys::open(at.home.root()).map_err(|error| {
            Failure::undone(undone, error, "Restore the home's keys from a backup.")
        })?;
        let peer = Peer::of_process(std::process::id(), rustix::process::getuid().as_raw());
        let pseudonyms = Pseudonyms::new(keys.pseudonym_key(), keys.origin());
        let agent = pseudonyms.of("agent", &peer.instance);
        let user = pseudonyms.of("principal", &peer.uid.to_string());
        return Ok(tell_who(at, (&agent, &user, &[]), ("local", &peer.service)));
    };
    let key = key_at(file).map_err(|error| {
        Failure::undone(undone, error, "Name the file that `tipstaff principal key FILE` wrote.")
    })?;
    let key_id = key.verifying_key().key_id();
    let wanted = Wanted { keys: vec![key_id.clone()], owners: true, ..Wanted::default() };
    let known = Known::of(at, &wanted)?;
    let found = known.with_key(&key_id).ok_or_else(|| {
        Failure::undone(
            undone,
            "the key belongs to nobody who is enrolled here",
            "Enrol its principal with `tipstaff principal enrol`.",
        )
    })?;
    let (name, status) = (text(found, "name"), text(found, "status"));
    let mut person = name.clone();
    while let Some(owner) = Name::parse(&person)
        .and_then(|name| Some(text(known.entry(&name)?.get("principal")?, "owner")))
        .filter(|owner| !owner.is_empty())
    {
        person = owner;
    }
    Ok(tell_who(at, (&name, &person, &names(found)), ("key", &status)))
}

fn tell_who(
    at: &Place,
    (agent, user, roles): (&str, &str, &[String]),
    (proof, more): (&str, &str),
) -> serde_json::Value {
    if !at.json {
        println!("Agent::\"{agent}\" in User::\"{user}\"");
        for role in roles {
            println!("  in Role::\"{role}\"");
        }
        match proof {
            "key" => println!("  proved by a key; {more}"),
            _ => println!(
                "  as the kernel names the process that asks (`{}`)",
                crate::queue::plain(more)
            ),
        }
    }
    serde_json::json!({
        "agent": agent, "user": user, "roles": roles, "proof": proof,
        if proof == "key" { "status" } else { "program" }: more
    })
}

fn make(at: &Place, file: &Path) -> Outcome {
    let key = make_key(file).map_err(|error| {
        let next = "Name a file that is not there yet, in a folder that is.";
        Failure::undone("The key was not made.", error, next)
    })?;
    let (did, key_id) = (key.verifying_key().to_did_key(), key.verifying_key().key_id());
    if at.json {
        println!("{}", serde_json::json!({ "did": did, "key_id": key_id }));
    } else {
        println!("{did}");
    }
    Ok(())
}

/// Makes a certificate for a key, and where it is wanted the key in the form of other programs.
fn certificate(
    at: &Place,
    file: &Path,
    (out, pem): (&Path, Option<&Path>),
    (name, days): (&str, u64),
) -> Outcome {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let undone = "The certificate was not made.";
    let unread = |error| {
        Failure::undone(undone, error, "Name the file that `tipstaff principal key FILE` wrote.")
    };
    let key = key_at(file).map_err(unread)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let made = principal_certificate(&key, name, (now, days.saturating_mul(DAY)))
        .map_err(|error| Failure::undone(undone, error, "Give it a shorter --name."))?;
    let write = |to: &Path, text: &str, mode: u32| {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            let cause = format!("{}: {error}", to.display());
            let next = "Name a file that is not there yet, in a folder that is.";
            Failure::undone(undone, cause, next)
        })
    };
    if let Some(pem) = pem {
        write(pem, &key_pem_at(file).map_err(unread)?, 0o600)?;
    }
    write(out, &made, 0o644)?;
    let key_id = key.verifying_key().key_id();
    if at.json {
        println!("{}", serde_json::json!({ "key_id": key_id, "days": days }));
    } else {
        println!("{key_id}");
    }
    Ok(())
}

fn list(at: &Place, after: Option<&str>, limit: usize) -> Outcome {
    let after = after.map(named).transpose()?;
    let limit = limit.min(PAGE_MAX);
    // The digest of all costs a look at all: it comes with the first page.
    let digest = at.json && after.is_none();
    let known = Known::of(at, &Wanted { after, limit, digest, ..Wanted::default() })?;
    let next = known.next();
    if at.json {
        let all = known.principals().cloned().collect();
        let next = next.map_or(Json::Null, |next| Json::string(next.as_str()));
        println!(
            "{}",
            object(vec![
                ("digest", known.json.get("digest").cloned().unwrap_or(Json::Null)),
                ("next", next),
                ("principals", Json::Array(all)),
            ])
        );
        return Ok(());
    }
    for principal in known.principals() {
        let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
        let owner = match text(principal, "owner") {
            owner if owner.is_empty() => String::new(),
            owner => format!(", of {owner}"),
        };
        let roles = match names(principal) {
            roles if roles.is_empty() => String::new(),
            roles => format!(", {}", roles.join(" ")),
        };
        println!(
            "{:<20} {:<8} {:<10} {}{owner}{roles}",
            text(principal, "name"),
            text(principal, "kind"),
            text(principal, "status"),
            counted(keys.len(), "key", "keys")
        );
    }
    let count = known.json.get("count").and_then(Json::as_integer).unwrap_or_default();
    if count == 0 {
        println!("Nobody is enrolled. `tipstaff principal enrol --help` shows how.");
    }
    if let Some(next) = next {
        println!("{count} in all. More: tipstaff principal list --after {next}");
    }
    Ok(())
}

fn show(at: &Place, name: &Name, did: bool) -> Outcome {
    let wanted = Wanted { names: vec![name.clone()], ..Wanted::default() };
    let known = Known::of(at, &wanted)?;
    let entry = known.entry(name).ok_or_else(|| {
        let next = "See `tipstaff principal list`.";
        Failure::undone("There is nothing to show.", "nobody of this name is enrolled", next)
    })?;
    let (what, whole) = if did { ("document", true) } else { ("principal", at.json) };
    let found = entry.get(what).cloned().unwrap_or(Json::Null);
    if whole {
        println!("{}", found.to_canonical());
        return Ok(());
    }
    println!("{} {}, {}", text(&found, "kind"), text(&found, "name"), text(&found, "status"));
    let owner = text(&found, "owner");
    if !owner.is_empty() {
        println!("  acts for {owner}");
    }
    if !names(&found).is_empty() {
        println!("  roles    {}", names(&found).join(" "));
    }
    for service in found.get("services").and_then(Json::as_array).unwrap_or_default() {
        let [id, kind, at] = ["id", "type", "serviceEndpoint"].map(|member| text(service, member));
        println!("  service  {id}, {kind}, {at}");
    }
    for key in found.get("keys").and_then(Json::as_array).unwrap_or_default() {
        let number =
            |name| key.get(name).and_then(Json::as_integer).and_then(|n| u64::try_from(n).ok());
        let ends = match (number("lost_at"), number("until")) {
            (Some(from), _) => format!(", compromised from position {from} on"),
            (None, Some(until)) => format!(", valid until {}", Millis(until)),
            (None, None) => String::new(),
        };
        println!("  key      {}{ends}", text(key, "key_id"));
    }
    Ok(())
}

/// Services from the words of a command, three for each.
fn services(words: &[String]) -> Result<Vec<Service>, Failure> {
    let three = words.chunks(3).map(|words| match words {
        [id, kind, at] => Service::new(id, kind, at)
            // The address may hold a password, which is just what is wrong with it.
            .map_err(|fault| Failure::Usage(format!("--service {id}: {fault}"))),
        _ => Err(Failure::Usage("--service wants an id, a type and an address".to_owned())),
    });
    three.collect()
}

/// Who is known in the log as it stands, and its origin.
pub(crate) fn folded(at: &Place, undone: &str) -> Result<(Principals, String), Failure> {
    let keys = HomeKeys::open(at.home.root()).map_err(|error| {
        Failure::undone(undone, error, "Restore the home's keys from a backup.")
    })?;
    let broken = |why: String| {
        Failure::undone(
            undone,
            why,
            "Look with `tipstaff log fsck`; restore the home from a backup.",
        )
    };
    let head = crate::policy::last_control(at, "principals")?;
    let disk = NativeDisk::new(at.home.root());
    let known = Book::read(&disk, head, |digest| at.home.kept(digest).ok());
    let known = known.map_err(|error| broken(error.to_string()))?;
    Ok((known, keys.origin().to_owned()))
}

/// Signs an order that follows what is known, brings it to the monitor, and says so.
fn order(
    at: &Place,
    done: &str,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Outcome {
    order_of(at, &Wanted::default(), done, change)
}

/// The same, of what is wanted of what is known.
fn order_of(
    at: &Place,
    wanted: &Wanted,
    done: &str,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Outcome {
    let (name, receipt) = ordered(at, wanted, change)?;
    if at.json {
        println!("{}", serde_json::json!({ "name": name, "receipt": receipt }));
    } else {
        println!("{name} {done}. Receipt {}.", receipt.get(..SHOWN).unwrap_or(&receipt));
    }
    Ok(())
}

/// Signs an order that follows what is known, and brings it to the monitor: whom it is about, and its receipt.
pub(crate) fn ordered(
    at: &Place,
    wanted: &Wanted,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Result<(String, String), Failure> {
    ordered_by(at, &approver(at)?, wanted, change)
}

/// The key that orders are signed with.
fn approver(at: &Place) -> Result<SigningKey, Failure> {
    HomeKeys::approver(at.home.root()).map_err(|error| {
        let next = "Run it as the user whose home this is, or restore its keys.";
        Failure::undone("Nothing was changed.", error, next)
    })
}

/// The same, signed with this key.
pub(crate) fn ordered_by(
    at: &Place,
    key: &SigningKey,
    wanted: &Wanted,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Result<(String, String), Failure> {
    let undone = "Nothing was changed.";
    let known = Known::of(at, wanted)?;
    let prev = known.head()?;
    let change = change(&known)?;
    let name = change.name().map_or_else(String::new, Name::to_string);
    let order = Order { change, log: known.text("log"), prev, at: known.now };
    let (signed, mut tries) = (order.sign(key), 0);
    // One that is just ending takes nothing: the next one knows the same.
    let answer = loop {
        let answer = Client::order(&at.home, &signed);
        match answer.map_err(|error| Failure::undone(undone, error, "Try again."))? {
            None if tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
                let again = Client::ensure_monitor(&at.home);
                again.map_err(|error| Failure::undone(undone, error, "Run `tipstaff doctor`."))?;
            }
            answer => break answer.unwrap_or(Json::Null),
        }
    };
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        let cause = match text(&answer, "text") {
            cause if cause.is_empty() => "the monitor has just ended".to_owned(),
            cause => cause,
        };
        return Err(Failure::undone(undone, cause, "See `tipstaff principal list`."));
    }
    Ok((name, text(&answer, "receipt")))
}

pub(crate) fn named(text: &str) -> Result<Name, Failure> {
    Name::parse(text).ok_or_else(|| {
        Failure::Usage(format!("`{text}` is no name: 1 to 64 of a-z, 0-9, `.`, `-`, `_`"))
    })
}

pub(crate) fn public(text: &str) -> Result<VerifyingKey, Failure> {
    VerifyingKey::from_did_key(text).map_err(|_| {
        let what = "--key wants the `did:key:z6Mk...` that `tipstaff principal key FILE` printed";
        Failure::Usage(what.to_owned())
    })
}

pub(crate) fn milliseconds(option: &str, text: &str) -> Result<u64, Failure> {
    let wrong =
        || Failure::Usage(format!("{option} wants a number with s, m, h or d, such as 12h"));
    let end = text.len().checked_sub(1).and_then(|end| text.split_at_checked(end));
    let (number, unit) = end.ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds * 1000).ok_or_else(wrong)
}

pub(crate) fn text(json: &Json, name: &str) -> String {
    json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn names(principal: &Json) -> Vec<String> {
    let roles = principal.get("roles").and_then(Json::as_array).unwrap_or_default();
    roles.iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn object(members: Vec<(&str, Json)>) -> String {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::object(members).unwrap_or(Json::Null).to_canonical()
}
