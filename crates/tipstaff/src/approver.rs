//! The approver's key: looking at it, replacing it, and what is left when it is lost.
//!
//! The adversary has an old key, or would like a key of his own in its place. The old key signs the order that names the
//! new one; a lost key is replaced by naming it, while no client is connected, and the log says for ever that nobody
//! gave a word.

use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::{HomeKeys, Succession};
use tipstaff_monitor::{Client, ClientError};

use crate::cli::ApproverCommand;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::principal::{milliseconds, text};

const UNDONE: &str = "The approver's key was not replaced.";
/// Shown of a receipt's id in a sentence.
const SHOWN: usize = 12;

pub(crate) fn run(at: &Place, command: ApproverCommand) -> Outcome {
    match command {
        ApproverCommand::Show => show(at),
        ApproverCommand::Rotate { overlap } => {
            let overlap = milliseconds("--overlap", &overlap)?;
            replace(at, &By::Word { overlap })
        }
        ApproverCommand::Recover { lost } => replace(at, &By::Nobody { lost }),
    }
}

/// By whose word a key is replaced.
enum By {
    /// That of the old one.
    Word { overlap: u64 },
    /// The old one was lost.
    Nobody { lost: String },
}

/// What the monitor says of the approvers.
struct Known(Json);

impl Known {
    fn of(at: &Place) -> Result<Self, Failure> {
        let undone = "The approvers can't be looked at.";
        let failed = |error: ClientError| Failure::undone(undone, error, "Run `tipstaff doctor`.");
        Client::ensure_monitor(&at.home).map_err(failed)?;
        let known = Client::control(&at.home, "approvers", None).map_err(failed)?;
        known
            .map(Self)
            .ok_or_else(|| Failure::undone(undone, "the monitor has just ended", "Try again."))
    }

    fn keys(&self) -> &[Json] {
        self.0.get("keys").and_then(Json::as_array).unwrap_or_default()
    }

    /// The keys that nothing has replaced.
    fn current(&self) -> impl Iterator<Item = String> {
        let lasting = self.keys().iter().filter(|key| key.get("until") == Some(&Json::Null));
        lasting.map(|key| text(key, "key_id"))
    }
}

fn show(at: &Place) -> Outcome {
    let known = Known::of(at)?;
    if at.json {
        println!("{}", known.0.to_canonical());
        return Ok(());
    }
    for key in known.keys() {
        let until = key.get("until").and_then(Json::as_integer);
        let until = until.and_then(|until| u64::try_from(until).ok()).map(Millis);
        let ends = match until {
            Some(until) if until > crate::policy::now() => format!("valid until {until}"),
            Some(until) => format!("ended {until}"),
            None => "in force".to_owned(),
        };
        println!("{}  {ends}", text(key, "key_id"));
    }
    if known.0.get("recovered").and_then(Json::as_bool) == Some(true) {
        println!("The one before was lost: nobody gave its word for the one in force.");
    }
    Ok(())
}

fn replace(at: &Place, by: &By) -> Outcome {
    let known = Known::of(at)?;
    let failed = |error| Failure::undone(UNDONE, error, "Run it as the user whose home this is.");
    let now = crate::policy::now();
    let (old, replaces, until) = match by {
        By::Word { overlap } => {
            let old = HomeKeys::approver(at.home.root()).map_err(failed)?;
            let key_id = old.verifying_key().key_id();
            if !known.current().any(|current| current == key_id) {
                let cause = "the key in keys/approver.key is not the approver's that is in force";
                let next = "Restore it from a backup, or see `tipstaff approver recover --help`.";
                return Err(Failure::undone(UNDONE, cause, next));
            }
            (Some(old), key_id, Millis(now.0.saturating_add(*overlap)))
        }
        By::Nobody { lost } => {
            if !known.current().any(|current| current == *lost) {
                let next = "Name the key that is in force, as `tipstaff approver show` does.";
                return Err(Failure::undone(UNDONE, format!("`{lost}` is not in force"), next));
            }
            (None, lost.clone(), now)
        }
    };
    let prev = Digest::from_hex(&text(&known.0, "digest"));
    let prev = prev.map_err(|error| Failure::undone(UNDONE, error, "Try again."))?;
    // It is durable before anybody relies on it; the monitor puts it in its place once its receipt is.
    let new = HomeKeys::next_approver(at.home.root()).map_err(failed)?;
    let key = new.verifying_key().clone();
    let log = text(&known.0, "log");
    let succession = Succession { key: key.clone(), replaces, until, log, prev, at: now };
    let signed = succession.sign(&new, old.as_ref());
    let unsure = |cause: String| {
        let next = "See `tipstaff approver show`, and try again.";
        Failure::undone("Whether the approver's key was replaced is not known.", cause, next)
    };
    let answer = Client::succeed(&at.home, &signed).map_err(|error| unsure(error.to_string()))?;
    let answer = answer.ok_or_else(|| unsure("the monitor has just ended".to_owned()))?;
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        return Err(Failure::undone(
            UNDONE,
            text(&answer, "text"),
            "See `tipstaff approver show`.",
        ));
    }
    let receipt = text(&answer, "receipt");
    if at.json {
        let key_id = key.key_id();
        println!(
            "{}",
            serde_json::json!({ "key_id": key_id, "until": until.0, "receipt": receipt })
        );
        return Ok(());
    }
    println!("The approver has a new key, {}.", key.key_id());
    match by {
        By::Word { overlap: 0 } => println!("The old one has ended."),
        By::Word { .. } => {
            println!("The old one is valid until {until}, wherever a copy of it is.")
        }
        By::Nobody { .. } => {
            println!("The old one has ended. The log says that nobody gave its word for this.");
        }
    }
    println!(
        "Receipt {}. Keep a copy of the home's keys.",
        receipt.get(..SHOWN).unwrap_or(&receipt)
    );
    Ok(())
}
