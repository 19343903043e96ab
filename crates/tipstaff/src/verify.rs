//! Verifying exports offline (row A8).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use tipstaff_core::Json;
use tipstaff_core::key::VerifyingKey;
use tipstaff_core::receipt::{ChainReport, Examined, Examiner, verify_examined};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::receipts::hash_argument;

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
    let text = match file {
        Some(path) => read(path)?,
        None => {
            let opened = at.open()?;
            let receipts = opened.reader.receipts().map_err(|e| {
                Failure::undone("The log can't be read.", e, "Run `tipstaff log fsck`.")
            })?;
            receipts.iter().map(|(_, signed)| signed.to_leaf() + "\n").collect()
        }
    };
    let lines = lines(&text);
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    if lines.is_empty() && file.is_none() && !at.json {
        println!("There are no receipts yet, so there is nothing that could be valid.");
        return Err(Failure::No);
    }
    let chains = check(&lines, &keys);
    let mut good = true;
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
    if at.json {
        println!("{}", serde_json::json!({ "valid": good, "chains": answers }));
    } else if keys.is_empty() {
        println!("no keys were given (--jwks): links were checked, signatures were not");
    }
    if good { Ok(()) } else { Err(Failure::No) }
}

/// Checks the lines of an export, chain by chain.
pub(crate) fn check(lines: &[&str], keys: &[VerifyingKey]) -> Vec<Checked> {
    let mut chains: BTreeMap<String, Vec<Examined>> = BTreeMap::new();
    for element in examine(lines, keys) {
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

/// Looks at every line by itself, on all cores. They take parts until none is left, so that one which
/// others keep busy holds nobody up.
fn examine(lines: &[&str], keys: &[VerifyingKey]) -> Vec<Examined> {
    const PART: usize = 256;
    let (examiner, next) = (Examiner::new(keys), AtomicUsize::new(0));
    let parts: Vec<&[&str]> = lines.chunks(PART).collect();
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(at) else { return done };
            let part: Vec<Examined> = part.iter().map(|line| examiner.examine_text(line)).collect();
            done.push((at, part));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, Vec<Examined>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        // A part that is lost must not make a chain look shorter and whole.
        let joined =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|e| resume_unwind(e)));
        joined.flatten().collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, part)| part).collect()
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
