//! Groups: who is invited, who is there, who fell silent.
//!
//! The adversary keeps a seat without being there, or takes one that is another's: a member says that it is there with
//! its own key, again and again, and only the operator invites.

use std::path::Path;

use tipstaff_core::Json;
use tipstaff_identity::{Change, Name, key_at};
use tipstaff_monitor::Wanted;

use crate::cli::GroupCommand;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::principal::{Known, milliseconds, named, ordered, ordered_by, text};

/// Shown of a receipt's id in a sentence.
const SHOWN: usize = 12;

pub(crate) fn run(at: &Place, command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::Convene { group, members, join_within, inactive_after } => {
            let change = Change::Convene {
                name: named(&group)?,
                members: members.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
                join_within: milliseconds("--join-within", &join_within)?,
                inactive_after: milliseconds("--inactive-after", &inactive_after)?,
            };
            let (_, receipt) = ordered(at, &Wanted::default(), |_| Ok(change))?;
            said(at, &group, "is convened", &receipt)
        }
        GroupCommand::Dissolve { group } => {
            let change = Change::Dissolve { name: named(&group)? };
            let (_, receipt) = ordered(at, &Wanted::default(), |_| Ok(change))?;
            said(at, &group, "is dissolved", &receipt)
        }
        GroupCommand::Join { group, key } => join(at, named(&group)?, &key),
        GroupCommand::List => list(at),
    }
}

fn join(at: &Place, group: Name, key: &Path) -> Outcome {
    let undone = "Nobody joined.";
    let key = key_at(key).map_err(|error| {
        let next = "Name the file that `tipstaff principal key FILE` wrote.";
        Failure::undone(undone, error, next)
    })?;
    let key_id = key.verifying_key().key_id();
    let wanted = Wanted { keys: vec![key_id.clone()], ..Wanted::default() };
    let (name, receipt) = ordered_by(at, &key, &wanted, |known| {
        let owner = known.with_key(&key_id).ok_or_else(|| {
            let cause = "the key belongs to nobody who is enrolled here";
            Failure::undone(undone, cause, "Enrol its principal with `tipstaff principal enrol`.")
        })?;
        Ok(Change::Join { name: named(&text(owner, "name"))?, group: group.clone() })
    })?;
    said(at, &name, &format!("is there in {group}"), &receipt)
}

fn list(at: &Place) -> Outcome {
    let known = Known::of(at, &Wanted { groups: true, ..Wanted::default() })?;
    let groups = known.json.get("groups").and_then(Json::as_array).unwrap_or_default();
    if at.json {
        println!("{}", Json::Array(groups.to_vec()).to_canonical());
        return Ok(());
    }
    for group in groups {
        println!("{}", group.get("group").map(|group| text(group, "group")).unwrap_or_default());
        for member in group.get("members").and_then(Json::as_array).unwrap_or_default() {
            println!("  {:<20} {}", text(member, "name"), text(member, "standing"));
        }
    }
    if groups.is_empty() {
        println!("There are no groups. `tipstaff group convene --help` shows how.");
    }
    Ok(())
}

fn said(at: &Place, name: &str, done: &str, receipt: &str) -> Outcome {
    if at.json {
        println!("{}", serde_json::json!({ "name": name, "receipt": receipt }));
    } else {
        println!("{name} {done}. Receipt {}.", receipt.get(..SHOWN).unwrap_or(receipt));
    }
    Ok(())
}
