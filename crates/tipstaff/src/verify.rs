//! Verifying exports offline (row A8).

mod pieces;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pieces::{Buffer, PIECE, Pieces};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tipstaff_core::Json;
use tipstaff_core::key::VerifyingKey;
use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_core::receipt::{
    ChainReport, Discounted, Examined, Examiner, discounted, verify_examined,
};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::receipts::hash_argument;

/// The answer on an export.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) chains: Vec<Checked>,
    /// Verdicts on the word of a key that was somebody else's by then.
    pub(crate) discounted: Vec<Discounted>,
}

/// The answer on one chain of an export.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) report: ChainReport,
}

pub(crate) fn run(
    at: &Place,
    file: Option<&Path>,
    jwks: Option<&Path>,
    head: Option<String>,
) -> Outcome {
    let head = head.map(|head| hash_argument(&head)).transpose()?;
    let keys = match jwks {
        Some(path) => read_jwks(path)?,
        None if at.home.exists() => vec![at.open()?.public.receipts],
        None => Vec::new(),
    };
    let mut faults = Vec::new();
    let Answer { chains, discounted } = match file {
        Some(path) => check_file(path, &keys)?,
        None => {
            let opened = at.open()?;
            // What could be saved of a damaged log may hold, and the log doesn't.
            faults = opened.reader.salvaged().unwrap_or_default().to_vec();
            let receipts = opened.reader.receipts().map_err(|e| {
                Failure::undone("The log can't be read.", e, "Run `tipstaff log fsck`.")
            })?;
            if receipts.is_empty() && !at.json {
                println!("There are no receipts yet, so there is nothing that could be valid.");
                return Err(Failure::No);
            }
            let leaves: Vec<String> = receipts.iter().map(|(_, signed)| signed.to_leaf()).collect();
            check(&leaves.iter().map(String::as_str).collect::<Vec<_>>(), &keys)
        }
    };
    let mut good = faults.is_empty();
    let mut answers = Vec::new();
    for Checked { name, report } in &chains {
        let head_found = head.is_none_or(|head| head == report.head);
        let valid = report.broken.is_none() && (chains.len() > 1 || head_found);
        good &= valid;
        let mut answer = serde_json::json!({
            "chain": name, "valid": valid, "length": report.length, "closed": report.closed,
            "signatures": report.signatures, "head": report.head.to_hex(),
        });
        if let (Some((at, reason)), Some(members)) = (report.broken, answer.as_object_mut()) {
            members.insert("brokenAt".to_owned(), at.into());
            members.insert("reason".to_owned(), reason.as_str().into());
        }
        answers.push(answer);
        if !at.json {
            println!("{}", sentence(name, report, head.is_some(), head_found));
        }
    }
    if let Some(head) = head {
        let anywhere = chains.iter().any(|chain| chain.report.head == head);
        if !anywhere && chains.len() > 1 && !at.json {
            println!("no chain ends at {head}: an end was cut off, or it is not in this file");
        }
        good &= anywhere;
    }
    if !faults.is_empty() && !at.json {
        println!("the log is damaged; `tipstaff log fsck` says where");
    }
    if at.json {
        let discounted = discounted.iter().map(|one| {
            serde_json::json!({
                "receipt": one.receipt.to_hex(), "key_id": one.key, "lost_at": one.from
            })
        });
        let discounted: Vec<_> = discounted.collect();
        println!(
            "{}",
            serde_json::json!({
                "valid": good, "chains": answers, "faults": faults, "discounted": discounted
            })
        );
    } else if !discounted.is_empty() {
        say_discounted(&discounted);
    }
    if !at.json && keys.is_empty() {
        println!("no keys were given (--jwks): links were checked, signatures were not");
    }
    if good { Ok(()) } else { Err(Failure::No) }
}

/// Checks the lines of an export, chain by chain.
pub(crate) fn check(lines: &[&str], keys: &[VerifyingKey]) -> Answer {
    const PART: usize = 256;
    let examiner = Examiner::new(keys);
    let parts: Vec<&[&str]> = lines.chunks(PART).collect();
    let examined = on_all_cores(parts.len(), |at, _| {
        let part = parts.get(at).copied().unwrap_or_default();
        part.iter().map(|line| examiner.examine_text(line)).collect()
    });
    by_chain(examined)
}

/// Checks an export. One receipt a line, as most are written, is read in pieces on all cores.
fn check_file(path: &Path, keys: &[VerifyingKey]) -> Result<Answer, Failure> {
    let unreadable =
        |e| Failure::undone(&format!("{} can't be read.", path.display()), e, "Name another file.");
    let Some(file) = file_of_lines(path).map_err(unreadable)? else {
        let text = read(path)?;
        let lines = lines(&text);
        return Ok(check(&lines.iter().map(AsRef::as_ref).collect::<Vec<_>>(), keys));
    };
    let pieces = Pieces::new(file, PIECE).map_err(unreadable)?;
    let examiner = Examiner::new(keys);
    let examined = on_all_cores(pieces.count(), |at, buffer| -> io::Result<Vec<Examined>> {
        let lines = pieces.lines(at, buffer)?.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty());
        // What is no text is no JSON: it counts, as malformed.
        let lines = lines.map(|line| std::str::from_utf8(line).unwrap_or_default());
        Ok(lines.map(|line| examiner.examine_text(line)).collect())
    });
    let examined = examined.into_iter().collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    Ok(by_chain(examined))
}

/// The file, if its first line is a JSON value by itself and not an export in one value.
fn file_of_lines(path: &Path) -> io::Result<Option<File>> {
    if path == Path::new("-") {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut first = Vec::new();
    BufReader::new((&mut file).take(BODY_BYTES_MAX as u64)).read_until(b'\n', &mut first)?;
    let is_value = serde_json::from_slice::<IgnoredAny>(&first).is_ok();
    let is_line = is_value
        && first.first() == Some(&b'{')
        && serde_json::from_slice::<Wrapped<'_>>(&first).is_err();
    Ok(is_line.then_some(file))
}

fn say_discounted(discounted: &[Discounted]) {
    const SHOWN: usize = 10;
    println!(
        "{} verdicts don't count: whoever acted proved it with a key that was declared compromised",
        discounted.len()
    );
    for one in discounted.iter().take(SHOWN) {
        println!("  {}  key {}, from position {} on", one.receipt.short(), one.key, one.from);
    }
    if discounted.len() > SHOWN {
        println!("  and {} more (--json names them all)", discounted.len() - SHOWN);
    }
}

fn by_chain(parts: Vec<Vec<Examined>>) -> Answer {
    let discounted = discounted(parts.iter().flatten());
    Answer { chains: chains_of(parts), discounted }
}

fn chains_of(parts: Vec<Vec<Examined>>) -> Vec<Checked> {
    let mut chains: BTreeMap<String, Vec<Examined>> = BTreeMap::new();
    for element in parts.into_iter().flatten() {
        match element.chain().and_then(|name| chains.get_mut(name)) {
            Some(chain) => chain.push(element),
            None => {
                let name = element.chain().unwrap_or("-").to_owned();
                chains.entry(name).or_default().push(element);
            }
        }
    }
    if chains.is_empty() {
        let report = verify_examined(&[]);
        return vec![Checked { name: "-".to_owned(), report }];
    }
    let reports = chains.into_iter();
    reports.map(|(name, elements)| Checked { name, report: verify_examined(&elements) }).collect()
}

/// Does `count` parts of work, each by itself. Workers take parts until none is left, so that one which
/// others keep busy holds nobody up; each has a buffer of its own.
fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize, &mut Buffer) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let (mut done, mut buffer) = (Vec::new(), Buffer::default());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push((at, work(at, &mut buffer)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        // A part that is lost must not make a chain look shorter and whole.
        let joined =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|e| resume_unwind(e)));
        joined.flatten().collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, part)| part).collect()
}

fn sentence(name: &str, report: &ChainReport, head_given: bool, head_found: bool) -> String {
    if let Some((at, reason)) = report.broken {
        return format!(
            "chain {name}: BROKEN at {at}: {} ({} receipts)",
            reason.as_str(),
            report.length
        );
    }
    let end = match (report.closed, head_given, head_found) {
        (_, true, true) => "ends at the given head",
        (_, true, false) => "does not end at the given head: its end may be cut off",
        (true, ..) => "closed by its session",
        (false, ..) => "no close receipt and no --head, so a cut-off end can't be excluded",
    };
    format!("chain {name}: valid, {} receipts, {end}; head {}", report.length, report.head)
}

/// An export in one JSON value. Its elements are cut out as they stand, whatever their number; each is
/// read by the strict parser afterwards.
#[derive(serde::Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    receipts: Vec<&'a RawValue>,
}

/// The elements of an export: JSON lines, an array, or `{"receipts": […]}`.
fn lines(text: &str) -> Vec<Cow<'_, str>> {
    let array = serde_json::from_str::<Vec<&RawValue>>(text).ok();
    let elements =
        array.or_else(|| serde_json::from_str::<Wrapped<'_>>(text).ok().map(|w| w.receipts));
    if let Some(elements) = elements {
        return elements.into_iter().map(|element| Cow::Borrowed(element.get())).collect();
    }
    text.lines().filter(|line| !line.trim().is_empty()).map(Cow::Borrowed).collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|e| {
        Failure::undone(&format!("{} can't be read.", path.display()), e, "Name another file.")
    })
}

fn read_jwks(path: &Path) -> Result<Vec<VerifyingKey>, Failure> {
    let text = read(path)?;
    let bad = |why: &str| {
        Failure::undone(
            &format!("{} is no key set.", path.display()),
            why,
            "Write one with `tipstaff keys jwks`.",
        )
    };
    let json = Json::parse(text.as_bytes()).map_err(|e| bad(&e.to_string()))?;
    let keys = json.get("keys").and_then(Json::as_array).ok_or_else(|| bad("it has no `keys`"))?;
    let mut found = Vec::new();
    for key in keys {
        if key.get("crv").and_then(Json::as_str) != Some("Ed25519") {
            continue;
        }
        let x = key.get("x").and_then(Json::as_str).ok_or_else(|| bad("a key has no `x`"))?;
        let bytes = URL_SAFE_NO_PAD.decode(x).map_err(|e| bad(&e.to_string()))?;
        let bytes = bytes.try_into().map_err(|_| bad("a key is not of 32 bytes"))?;
        found.push(VerifyingKey::from_bytes(&bytes).map_err(|e| bad(&e.to_string()))?);
    }
    if found.is_empty() { Err(bad("it has no Ed25519 key")) } else { Ok(found) }
}
