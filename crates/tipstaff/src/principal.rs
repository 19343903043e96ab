//! Who may act here: enrolling principals, rotating their keys, ending them.
//!
//! The adversary is an agent that enrols itself, or an operator who overwrites another's order unseen: an order is
//! signed with the approver's key, refused from a process that an agent's client started, and names the order that
//! it follows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tipstaff_core::key::{SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::{
    Change, HomeKeys, Kind, Name, Order, Peer, Principals, Pseudonyms, SignedOrder, key_at,
    key_pem_at, make_key, principal_certificate,
};
use tipstaff_monitor::Client;

use crate::cli::PrincipalCommand;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// How often a monitor that is just ending is passed over.
const TRIES: u32 = 20;
/// Shown of a key's name in a listing.
const SHOWN: usize = 12;

pub(crate) fn run(at: &Place, command: PrincipalCommand) -> Outcome {
    match command {
        PrincipalCommand::Key { file } => make(at, &file),
        PrincipalCommand::Certificate { file, out, pem, name, days } => {
            certificate(at, &file, (&out, pem.as_deref()), (&name, days))
        }
        PrincipalCommand::List => list(at),
        PrincipalCommand::Show { name, did } => show(at, &named(&name)?, did),
        PrincipalCommand::Enrol { name, kind, owner, key, role } => {
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
            order(at, "has lost this key", |known| {
                let key_id = match key_id {
                    Some(key_id) => key_id,
                    None => known.only_key(&name)?,
                };
                Ok(Change::Compromise { name, key_id, from })
            })
        }
    }
}

/// Who a door would be that this command's starter started.
pub(crate) fn whoami(at: &Place, key: Option<&Path>) -> Outcome {
    let undone = "Who this is can't be said.";
    let Some(file) = key else {
        let keys = HomeKeys::open(at.home.root())
            .map_err(|error| Failure::undone(undone, error, "Make a home with `tipstaff init`."))?;
        let peer = Peer::of_process(std::process::id(), rustix::process::getuid().as_raw());
        let pseudonyms = Pseudonyms::new(keys.pseudonym_key(), keys.origin());
        let agent = pseudonyms.of("agent", &peer.instance);
        let user = pseudonyms.of("principal", &peer.uid.to_string());
        return tell_who(at, (&agent, &user, &[]), ("local", &peer.service));
    };
    let key = key_at(file).map_err(|error| {
        Failure::undone(undone, error, "Name the file that `tipstaff principal key FILE` wrote.")
    })?;
    let (known, key_id) = (Known::of(at)?, key.verifying_key().key_id());
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
    tell_who(at, (&name, &person, &names(found)), ("key", &status))
}

fn tell_who(
    at: &Place,
    (agent, user, roles): (&str, &str, &[String]),
    (proof, more): (&str, &str),
) -> Outcome {
    if at.json {
        println!(
            "{}",
            serde_json::json!({
                "agent": agent, "user": user, "roles": roles, "proof": proof,
                if proof == "key" { "status" } else { "program" }: more
            })
        );
        return Ok(());
    }
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
    Ok(())
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

fn list(at: &Place) -> Outcome {
    let known = Known::of(at)?;
    if at.json {
        let all = known.principals().cloned().collect();
        println!(
            "{}",
            object(vec![
                ("digest", Json::String(known.text("digest"))),
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
            "{:<20} {:<8} {:<10} {} keys{owner}{roles}",
            text(principal, "name"),
            text(principal, "kind"),
            text(principal, "status"),
            keys.len()
        );
    }
    if known.principals().next().is_none() {
        println!("Nobody is enrolled. `tipstaff principal enrol --help` shows how.");
    }
    Ok(())
}

fn show(at: &Place, name: &Name, did: bool) -> Outcome {
    let known = Known::of(at)?;
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

/// Who is known in the log as it stands, and its origin.
pub(crate) fn folded(at: &Place, undone: &str) -> Result<(Principals, String), Failure> {
    let keys = HomeKeys::open(at.home.root())
        .map_err(|error| Failure::undone(undone, error, "Make a home with `tipstaff init`."))?;
    let broken = |why: String| {
        Failure::undone(
            undone,
            why,
            "Look with `tipstaff log fsck`; restore the home from a backup.",
        )
    };
    let (mut orders, mut next) = (Vec::new(), crate::policy::last_control(at, "principals")?);
    while let Some(digest) = next {
        let text = at.home.kept(digest).map_err(|error| broken(error.to_string()))?;
        let order =
            SignedOrder::from_canonical(&text).map_err(|error| broken(error.to_string()))?;
        next = order.order.prev;
        orders.push(order);
    }
    let mut known = Principals::default();
    for order in orders.iter().rev() {
        let folded: Result<Digest, _> = known.apply(order, u64::MAX);
        folded.map_err(|fault| broken(fault.to_string()))?;
    }
    Ok((known, keys.origin().to_owned()))
}

/// What the monitor knows.
pub(crate) struct Known {
    pub(crate) json: Json,
    pub(crate) now: Millis,
}

impl Known {
    pub(crate) fn of(at: &Place) -> Result<Self, Failure> {
        let undone = "The principals can't be looked at.";
        let failed = |error: tipstaff_monitor::ClientError| {
            Failure::undone(undone, error, "Run `tipstaff doctor`.")
        };
        if !at.home.exists() {
            let cause = format!("{} is not a home", at.home.root().display());
            return Err(Failure::undone(undone, cause, "Make one with `tipstaff init`."));
        }
        // One that was just ending takes the connection with it: the next one knows the same.
        let mut tries = 0;
        let json = loop {
            Client::ensure_monitor(&at.home).map_err(failed)?;
            match Client::control(&at.home, "principals", None) {
                Ok(Some(json)) => break json,
                Ok(None) | Err(_) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(None) => {
                    let cause = "the monitor has just ended";
                    return Err(Failure::undone(undone, cause, "Try again."));
                }
                Err(error) => return Err(failed(error)),
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { json, now: Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)) })
    }

    fn text(&self, name: &str) -> String {
        text(&self.json, name)
    }

    fn entries(&self) -> &[Json] {
        self.json.get("known").and_then(Json::as_array).unwrap_or_default()
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &Json> {
        self.entries().iter().filter_map(|entry| entry.get("principal"))
    }

    pub(crate) fn entry(&self, name: &Name) -> Option<&Json> {
        let is = |entry: &&Json| {
            entry.get("principal").is_some_and(|found| text(found, "name") == name.as_str())
        };
        self.entries().iter().find(is)
    }

    /// Who has a key of this thumbprint.
    pub(crate) fn with_key(&self, key_id: &str) -> Option<&Json> {
        let has = |principal: &&Json| {
            let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
            keys.iter().any(|key| text(key, "key_id") == key_id)
        };
        self.principals().find(has)
    }

    /// The groups in which somebody is there.
    pub(crate) fn groups_of(&self, name: &str) -> impl Iterator<Item = String> {
        let groups = self.json.get("groups").and_then(Json::as_array).unwrap_or_default();
        groups.iter().filter_map(move |group| {
            let members = group.get("members").and_then(Json::as_array).unwrap_or_default();
            let is_in = members
                .iter()
                .any(|member| text(member, "name") == name && text(member, "standing") == "active");
            is_in.then(|| text(group.get("group").unwrap_or(&Json::Null), "group"))
        })
    }

    /// Whether one principal has, or had, both keys.
    pub(crate) fn is_one_principals(&self, one: Option<&str>, other: Option<&str>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return false };
        self.principals().any(|principal| {
            let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
            let has = |id: &str| keys.iter().any(|key| text(key, "key_id") == id);
            has(one) && has(other)
        })
    }

    fn only_key(&self, name: &Name) -> Result<String, Failure> {
        let keys =
            self.entry(name).and_then(|entry| entry.get("principal")?.get("keys")?.as_array());
        match keys {
            Some([key]) => Ok(text(key, "key_id")),
            Some(_) => Err(Failure::Usage(format!(
                "{name} has several keys: name one with --key-id (`tipstaff principal show {name}`)"
            ))),
            None => Err(Failure::undone(
                "Nothing was changed.",
                "nobody of this name is enrolled",
                "See `tipstaff principal list`.",
            )),
        }
    }
}

/// Signs an order that follows what is known, brings it to the monitor, and says so.
fn order(
    at: &Place,
    done: &str,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Outcome {
    let (name, receipt) = ordered(at, change)?;
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
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Result<(String, String), Failure> {
    let key = HomeKeys::approver(at.home.root()).map_err(|error| {
        let next = "Run it as the user whose home this is, or restore its keys.";
        Failure::undone("Nothing was changed.", error, next)
    })?;
    ordered_by(at, &key, change)
}

/// The same, signed with this key.
pub(crate) fn ordered_by(
    at: &Place,
    key: &SigningKey,
    change: impl FnOnce(&Known) -> Result<Change, Failure>,
) -> Result<(String, String), Failure> {
    let undone = "Nothing was changed.";
    let known = Known::of(at)?;
    let prev = Some(known.text("head")).filter(|head| !head.is_empty());
    let prev = prev.map(|head| Digest::from_hex(&head)).transpose();
    let prev = prev.map_err(|error| Failure::undone(undone, error, "Try again."))?;
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
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
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
