//! Messages between principals: sealed with a key, opened once by whom they are for.
//!
//! The adversary carries the messages. What is opened comes from who is known in this home's log now; its number is
//! kept before it is handed out. Only the holder of the home opens, and only the holder of a key seals.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_identity::{BODY_MAX, DeskError, Inbox, Outbox, Reader, TEXT_MAX, key_at};
use tipstaff_store::{Disk, NativeDisk};

use crate::cli::EnvelopeCommand;
use crate::home::Place;
use crate::outcome::{Failure, Outcome};

const UNSEALED: &str = "Nothing was sealed.";
const UNOPENED: &str = "Nothing was opened.";

pub(crate) fn run(at: &Place, command: EnvelopeCommand) -> Outcome {
    match command {
        EnvelopeCommand::Seal { key, to } => seal(at, &key, &to),
        EnvelopeCommand::Open { reader, within } => open(at, &reader, &within),
    }
}

fn seal(at: &Place, file: &Path, to: &str) -> Outcome {
    let to = crate::principal::named(to)?;
    let key = key_at(file).map_err(|error| {
        Failure::undone(UNSEALED, error, "Name the file that `tipstaff principal key FILE` wrote.")
    })?;
    let (known, origin) = crate::principal::folded(at, UNSEALED)?;
    let now = crate::policy::now();
    let from = known.speaker(&key.verifying_key().key_id(), now).map_err(|silence| {
        let next = "Seal with the key of a principal who may act: see `tipstaff principal list`.";
        Failure::undone(UNSEALED, format!("{}: {silence}", file.display()), next)
    })?;
    if known.get(&to).is_none() {
        let next = "See `tipstaff principal list`.";
        return Err(Failure::undone(UNSEALED, format!("nobody is enrolled as {to}"), next));
    }
    let body = standard_input(BODY_MAX, UNSEALED)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let _held = lock(&folder.join(format!("{name}.sent.lock")), UNSEALED)?;
    let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(folder));
    let failed = |error: DeskError| {
        let next = "Mend that and try again; restore the file of numbers only with a newer one.";
        Failure::undone(UNSEALED, error, next)
    };
    let mut outbox = Outbox::open(disk, Path::new(&format!("{name}.sent"))).map_err(failed)?;
    let sealed = outbox.seal(&key, &from.name, (&to, &origin), now, &body).map_err(failed)?;
    println!("{}", sealed.to_canonical());
    Ok(())
}

fn open(at: &Place, reader: &str, within: &str) -> Outcome {
    let name = crate::principal::named(reader)?;
    let late = crate::principal::milliseconds("--within", within)?;
    let (known, origin) = crate::principal::folded(at, UNOPENED)?;
    if known.get(&name).is_none() {
        let next = "See `tipstaff principal list`.";
        return Err(Failure::undone(UNOPENED, format!("nobody is enrolled as {name}"), next));
    }
    let text = String::from_utf8(standard_input(TEXT_MAX, UNOPENED)?).map_err(|error| {
        Failure::undone(UNOPENED, error, "Give the line that `tipstaff envelope seal` printed.")
    })?;
    let folder = at.home.root().join("envelopes");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
        Failure::undone(UNOPENED, error, "Run it as the user whose home this is.")
    })?;
    let _held = lock(&folder.join(format!("{name}.lock")), UNOPENED)?;
    let failed = |error: DeskError| {
        let next = "Mend that and try again; without its numbers nothing is opened.";
        Failure::undone(UNOPENED, error, next)
    };
    let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(&folder));
    let mut inbox = Inbox::open(disk, Path::new(&format!("{name}.received"))).map_err(failed)?;
    let now = crate::policy::now();
    let reader = Reader { name: &name, log: &origin, known: &known, late, now };
    match inbox.take(text.trim_end_matches(['\r', '\n']), &reader) {
        Ok(opened) if at.json => {
            let body = STANDARD.encode(&opened.body);
            let (from, sent) = (opened.from.as_str(), opened.at.0);
            let answer = serde_json::json!({
                "from": from, "counter": opened.counter, "sent_at": sent, "body": body,
            });
            println!("{answer}");
            Ok(())
        }
        // What it says goes out as it is: it may be anything.
        Ok(opened) => std::io::stdout()
            .write_all(&opened.body)
            .map_err(|error| Failure::undone(UNOPENED, error, "Nothing: it counts as opened.")),
        Err(DeskError::Refused(refused)) => {
            if at.json {
                let why = refused.to_string();
                println!("{}", serde_json::json!({ "refused": refused.as_str(), "why": why }));
            } else {
                eprintln!("tipstaff: the message is refused: {refused}.");
            }
            Err(Failure::No)
        }
        Err(error) => Err(failed(error)),
    }
}

fn standard_input(most: usize, undone: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(2);
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::undone(undone, error, "Give it on standard input."))?;
    if bytes.len() > most {
        let cause = format!("there are more than {most} bytes on standard input");
        return Err(Failure::undone(undone, cause, "Send a reference to what is longer."));
    }
    Ok(bytes)
}

/// One at a time reads and writes the numbers.
fn lock(path: &Path, undone: &str) -> Result<File, Failure> {
    let made = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    let held = made.and_then(|file| file.lock().map(|()| file));
    held.map_err(|error| {
        let cause = format!("{}: {error}", path.display());
        Failure::undone(undone, cause, "Make its folder writable for you alone.")
    })
}
