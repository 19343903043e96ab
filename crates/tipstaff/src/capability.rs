//! Giving an agent what it may do, giving a part of it on, looking at it, ending it.
//!
//! The adversary is an agent that widens what it was given. A grant is an operator's order, signed with the approver's
//! key; whatever is made from it is narrower, and ends with it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::VerifyingKey;
use tipstaff_core::{Digest, Json, Tier};
use tipstaff_identity::capability::{
    self, Caveat, Compare, Fault, Many, Match, Named, Number, Part, Pattern, Shown, Token,
};
use tipstaff_identity::{Change, key_at};
use tipstaff_monitor::Wanted;

use crate::cli::Demands;
use crate::home::Place;
use crate::outcome::{Failure, Outcome, counted};
use crate::principal::{Known, milliseconds, named, ordered, public, text};

/// Most bytes of a file that is read as a capability.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Shown of an id in a sentence.
const SHOWN: usize = 12;

pub(crate) fn grant(at: &Place, to: &str, demands: &Demands, output: &Path) -> Outcome {
    let undone = "Nothing was granted.";
    let (to, parts) = (named(to)?, demands.parts(0)?);
    free(undone, output)?;
    let mut made = Vec::new();
    let wanted = Wanted { names: vec![to.clone()], ..Wanted::default() };
    let (_, receipt) = ordered(at, &wanted, |known| {
        let holder = current(known, &to)?;
        let (bytes, root) = capability::grant(&holder, &parts).map_err(|f| refused(undone, &f))?;
        let token = Token::decode(&bytes).map_err(|fault| refused(undone, &fault))?;
        made = bytes;
        Ok(Change::Grant { name: to.clone(), id: token.grant(), root, holder })
    })?;
    write("It was granted, and can't be used.", output, &made)?;
    said(at, &made, output, Some(&receipt))
}

pub(crate) fn attenuate(
    at: &Place,
    file: &Path,
    to: Option<(&Path, &str)>,
    demands: &Demands,
    output: &Path,
) -> Outcome {
    let undone = "Nothing was made.";
    let bytes = bytes_of(undone, file)?;
    free(undone, output)?;
    let blocks = capability::inspect(&bytes).map_err(|fault| refused(undone, &fault))?;
    let parts = demands.parts(blocks.len())?;
    let to = to.map(|(key, did)| {
        let key = key_at(key).map_err(|error| {
            let next = "Name the file that `tipstaff principal key FILE` wrote.";
            Failure::undone(undone, error, next)
        })?;
        Ok::<_, Failure>((public(did)?, key))
    });
    let to = to.transpose()?;
    let given = to.as_ref().map(|(holder, key)| (holder, key));
    let made = capability::attenuate(&bytes, given, &parts);
    let made = made.map_err(|fault| refused(undone, &fault))?;
    write(undone, output, &made)?;
    said(at, &made, output, None)
}

pub(crate) fn inspect(at: &Place, file: &Path) -> Outcome {
    let undone = "There is nothing to show.";
    let bytes = bytes_of(undone, file)?;
    let blocks = capability::inspect(&bytes).map_err(|fault| refused(undone, &fault))?;
    if at.json {
        let blocks: Vec<_> = blocks.iter().map(shown).collect();
        println!("{}", serde_json::json!({ "blocks": blocks, "bytes": bytes.len() }));
        return Ok(());
    }
    for (index, block) in blocks.iter().enumerate() {
        println!("block {index}  {}", block.id.to_hex());
        if let Some(holder) = &block.holder {
            println!("  for    {holder}");
        }
        if let Some(by) = &block.signed_by {
            println!("  by     {by}");
        }
        for line in block.source.lines().filter(|line| !line.starts_with("holder(")) {
            println!("  {}", crate::queue::plain(line));
        }
    }
    println!("Whether it was granted here, and still stands, its home says: `tipstaff whoami`.");
    Ok(())
}

pub(crate) fn revoke(at: &Place, what: &str) -> Outcome {
    let undone = "Nothing was revoked.";
    let file = Path::new(what);
    let given = match Digest::from_hex(what) {
        Ok(id) => Some(id),
        Err(_) if file.is_file() => {
            let bytes = bytes_of(undone, file)?;
            let token = Token::decode(&bytes).map_err(|fault| refused(undone, &fault))?;
            token.ids().last().copied()
        }
        Err(_) => None,
    };
    let mut revoked = Digest::ZERO;
    let wanted = Wanted { grants: given.is_none(), ..Wanted::default() };
    let (_, receipt) = ordered(at, &wanted, |known| {
        revoked = given.map_or_else(|| begins(known, what), Ok)?;
        Ok(Change::Revoke { id: revoked })
    })?;
    let id = revoked.to_hex();
    if at.json {
        println!("{}", serde_json::json!({ "id": id, "receipt": receipt }));
    } else {
        let (id, receipt) = (short(&id), short(&receipt));
        println!("{id} and whatever was made from it end with the next action. Receipt {receipt}.");
    }
    Ok(())
}

pub(crate) fn list(at: &Place) -> Outcome {
    let known = Known::of(at, &Wanted { grants: true, ..Wanted::default() })?;
    let grants = known.json.get("grants").cloned().unwrap_or(Json::Null);
    if at.json {
        println!("{}", grants.to_canonical());
        return Ok(());
    }
    let granted = grants.get("granted").and_then(Json::as_array).unwrap_or_default();
    for grant in granted {
        let stands = grant.get("revoked").and_then(Json::as_bool) == Some(true);
        let stands = if stands { "  revoked" } else { "" };
        println!("{}  {:<20}{stands}", short(&text(grant, "id")), text(grant, "to"));
    }
    let revoked = grants.get("revoked").and_then(Json::as_array).unwrap_or_default().len();
    println!("{} granted, {revoked} blocks revoked.", granted.len());
    Ok(())
}

/// What a capability is worth to whoever has a key, by what the monitor knows now.
pub(crate) struct Worth {
    blocks: Vec<Digest>,
    refused: Option<Fault>,
}

impl Worth {
    pub(crate) fn of(at: &Place, file: &Path, key: Option<&Path>) -> Result<Self, Failure> {
        let undone = "What it may do can't be said.";
        let bytes = bytes_of(undone, file)?;
        let token = Token::decode(&bytes).map_err(|fault| refused(undone, &fault))?;
        let own = key.and_then(|file| key_at(file).ok()).map(|key| key.verifying_key().key_id());
        let wanted =
            Wanted { keys: own.iter().cloned().collect(), grants: true, ..Wanted::default() };
        let (known, ids) = (Known::of(at, &wanted)?, token.ids());
        let grants = known.json.get("grants").cloned().unwrap_or(Json::Null);
        let granted = grants.get("granted").and_then(Json::as_array).unwrap_or_default();
        let id = token.grant().to_hex();
        let is_grant = |grant: &&Json| text(grant, "id") == id;
        let stands = || -> Result<(), Fault> {
            let grant = granted.iter().find(is_grant).ok_or(Fault::Unknown)?;
            let root = VerifyingKey::from_did_key(&text(grant, "root")).map_err(|_| Fault::Key)?;
            let capability = token.verify(&root)?;
            let revoked = grants.get("revoked").and_then(Json::as_array).unwrap_or_default();
            let is_revoked = |id: &Digest| revoked.contains(&Json::String(id.to_hex()));
            if capability.ids().iter().any(is_revoked) {
                return Err(Fault::Revoked);
            }
            let holder = capability.holder().map(VerifyingKey::key_id);
            let theirs =
                own == holder || known.is_one_principals(own.as_deref(), holder.as_deref());
            if theirs { Ok(()) } else { Err(Fault::NotHolder) }
        };
        Ok(Self { refused: stands().err(), blocks: ids })
    }

    /// As members of an answer in JSON.
    pub(crate) fn members(&self) -> [(String, serde_json::Value); 2] {
        let ids: Vec<_> = self.blocks.iter().map(Digest::to_hex).collect();
        let refused = self.refused.as_ref().map(Fault::as_str);
        [("capability".to_owned(), ids.into()), ("refused".to_owned(), refused.into())]
    }

    /// Tells it, unless it was told in JSON. The answer is no if it is worth nothing.
    pub(crate) fn tell(&self, at: &Place) -> Outcome {
        let blocks = counted(self.blocks.len(), "block", "blocks");
        match &self.refused {
            _ if at.json => {}
            None => println!("  within a capability of {blocks} (`tipstaff inspect`)"),
            Some(fault) => println!("  permitted nothing: {fault}"),
        }
        if self.refused.is_none() { Ok(()) } else { Err(Failure::No) }
    }
}

/// A capability's text from its file, as a door presents it. What it is worth its home says.
pub(crate) fn text_of(file: &Path) -> Result<String, Failure> {
    let read = |_| "it can't be read".to_owned();
    let text = std::fs::metadata(file).map_err(read).and_then(|found| match found.len() {
        0..=FILE_BYTES_MAX => std::fs::read_to_string(file).map_err(read),
        _ => Err("it is too large".to_owned()),
    });
    let text = text.map_err(|why| {
        let next = "Name the file that `tipstaff grant` or `tipstaff attenuate` wrote.";
        let cause = format!("{}: {why}", file.display());
        Failure::undone("The server was not started: its capability can't be read.", cause, next)
    })?;
    Ok(text.trim().to_owned())
}

impl Demands {
    /// The checks of the block with this number.
    fn parts(&self, block: usize) -> Result<Vec<Part>, Failure> {
        let wrong = |option: &str, what: &str| Failure::Usage(format!("--{option} wants {what}"));
        let mut all = Vec::new();
        if !self.tool.is_empty() {
            let tool = |tool: &String| match tool.split_once('/') {
                Some((server, "*")) => Ok(Named::Server(server.to_owned())),
                Some(_) => Ok(Named::Tool(tool.clone())),
                None => Err(wrong("tool", "SERVER/NAME or SERVER/*")),
            };
            all.push(Caveat::Named(self.tool.iter().map(tool).collect::<Result<_, _>>()?));
        }
        if !self.under.is_empty() {
            let mut any = Vec::new();
            for folder in &self.under {
                let folder = std::path::absolute(folder);
                let folder = folder.map_err(|_| wrong("under", "a folder"))?;
                // Paths are compared as they resolve.
                let folder = folder.canonicalize().unwrap_or(folder);
                let folder =
                    folder.to_str().ok_or_else(|| wrong("under", "a name that is text"))?;
                any.push(Match::Is(folder.to_owned()));
                any.push(Match::Begins(format!("{}/", folder.trim_end_matches('/'))));
            }
            all.push(Caveat::Every { of: Many::Paths, any });
        }
        if !self.host.is_empty() {
            let host = |host: &String| match host.strip_prefix('*') {
                Some(end) if end.starts_with('.') => Ok(Match::Ends(end.to_ascii_lowercase())),
                None if !host.is_empty() => Ok(Match::Is(host.to_ascii_lowercase())),
                _ => Err(wrong("host", "a name, or `*.` and the end of one")),
            };
            let any = self.host.iter().map(host).collect::<Result<_, _>>()?;
            all.push(Caveat::Every { of: Many::Hosts, any });
        }
        for range in &self.range {
            let wrong = || wrong("range", "ARGUMENT=LEAST..MOST, one of both at least");
            let (at, range) = range.split_once('=').ok_or_else(wrong)?;
            let (least, most) = range.split_once("..").ok_or_else(wrong)?;
            let ends = [(least, Compare::AtLeast), (most, Compare::AtMost)];
            let ends = ends.into_iter().filter(|(end, _)| !end.is_empty());
            let bounds =
                ends.map(|(end, compare)| Ok((compare, end.parse().map_err(|_| wrong())?)));
            let bounds = bounds.collect::<Result<Vec<_>, Failure>>()?;
            if bounds.is_empty() {
                return Err(wrong());
            }
            all.push(Caveat::Bounds { of: Number::Argument(pointer(at)), bounds });
        }
        for pattern in &self.pattern {
            let wrong =
                || wrong("pattern", "ARGUMENT=PATTERN, a regular expression that is not large");
            let (at, pattern) = pattern.split_once('=').ok_or_else(wrong)?;
            let pattern = Pattern::whole(pattern).ok_or_else(wrong)?;
            all.push(Caveat::Matches { at: pointer(at), pattern });
        }
        for one_of in &self.one_of {
            let (at, values) =
                one_of.split_once('=').ok_or_else(|| wrong("one-of", "ARGUMENT=A,B"))?;
            let values = values.split(',').map(str::to_owned).collect();
            all.push(Caveat::OneOf { at: pointer(at), values });
        }
        for budget in &self.budget {
            let wrong = || wrong("budget", "ARGUMENT=MOST");
            let (at, most) = budget.split_once('=').ok_or_else(wrong)?;
            let most = most.parse().ok().filter(|most| *most >= 0).ok_or_else(wrong)?;
            all.push(Caveat::Budget { block, at: pointer(at), most });
        }
        let mut bound = |of, compare, value| {
            all.push(Caveat::Bounds { of, bounds: vec![(compare, value)] });
        };
        if let Some(tier) = &self.tier {
            let number = tier.trim_start_matches(['T', 't']).parse().ok();
            let tier = number.and_then(Tier::from_number);
            let tier = tier.ok_or_else(|| wrong("tier", "T1 to T5"))?;
            bound(Number::Tier, Compare::AtMost, i64::from(tier.number()));
        }
        if let Some(uses) = self.uses {
            let uses = i64::try_from(uses).map_err(|_| wrong("uses", "a smaller number"))?;
            bound(Number::Uses(block), Compare::Less, uses);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let after = |time: &str| {
            let seconds = milliseconds("--expires", time)? / 1000;
            i64::try_from(now.saturating_add(seconds)).map_err(|_| wrong("expires", "less"))
        };
        if let Some(time) = &self.expires {
            bound(Number::Time, Compare::Less, after(time)?);
        }
        if let Some(time) = &self.begins {
            bound(Number::Time, Compare::AtLeast, after(time)?);
        }
        if let Some(position) = self.until_position {
            let position = i64::try_from(position);
            let position = position.map_err(|_| wrong("until-position", "a smaller number"))?;
            bound(Number::Position, Compare::Less, position);
        }
        if let Some(session) = &self.session {
            all.push(Caveat::Named(vec![Named::Session(session.clone())]));
        }
        let own = all.into_iter().map(Part::Caveat);
        Ok(own.chain(self.check.iter().cloned().map(Part::Check)).collect())
    }
}

/// The JSON pointer of an argument: as it is, or of the name.
fn pointer(name: &str) -> String {
    if name.starts_with('/') {
        return name.to_owned();
    }
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The key that a principal has now.
fn current(known: &Known, name: &tipstaff_identity::Name) -> Result<VerifyingKey, Failure> {
    let undone = "Nothing was granted.";
    let keys = known.entry(name).and_then(|entry| entry.get("principal")?.get("keys")?.as_array());
    let keys = keys.ok_or_else(|| {
        let next = "Enrol it with `tipstaff principal enrol`.";
        Failure::undone(undone, "nobody of this name is enrolled", next)
    })?;
    let is_current = |key: &&Json| {
        ["until", "lost_at"].iter().all(|member| key.get(member).is_none_or(Json::is_null))
    };
    let key = keys.iter().rfind(is_current).map(|key| text(key, "did")).unwrap_or_default();
    VerifyingKey::from_did_key(&key).map_err(|_| {
        let next = "Give it a new one with `tipstaff principal rotate`.";
        Failure::undone(undone, "it has no key that is valid without end", next)
    })
}

/// The one grant whose id begins so.
fn begins(known: &Known, start: &str) -> Result<Digest, Failure> {
    let granted = known.json.get("grants").and_then(|grants| grants.get("granted")?.as_array());
    let ids = granted.unwrap_or_default().iter().map(|grant| text(grant, "id"));
    let mut found = ids.filter(|id| start.len() >= 4 && id.starts_with(start));
    match (found.next(), found.next()) {
        (Some(id), None) => Digest::from_hex(&id).map_err(|_| Failure::No),
        (first, _) => {
            let cause = match first {
                Some(_) => "several that were granted here begin so",
                None => "it is no whole id, no file, and no beginning of what was granted here",
            };
            let next = "Name an id that `tipstaff inspect FILE` prints.";
            Err(Failure::undone("Nothing was revoked.", cause, next))
        }
    }
}

fn bytes_of(undone: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    capability::from_text(&text_of(file)?).map_err(|fault| refused(undone, &fault))
}

fn free(undone: &str, output: &Path) -> Outcome {
    if !output.exists() {
        return Ok(());
    }
    let cause = format!("{} is there already", output.display());
    Err(Failure::undone(undone, cause, "Name a file that is not there yet."))
}

fn write(undone: &str, output: &Path, bytes: &[u8]) -> Outcome {
    let file = File::options().create_new(true).write(true).mode(0o600).open(output);
    let text = format!("{}\n", capability::to_text(bytes));
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let cause = format!("{}: {error}", output.display());
        Failure::undone(undone, cause, "Name a file in a folder that is yours.")
    })
}

fn said(at: &Place, bytes: &[u8], output: &Path, receipt: Option<&str>) -> Outcome {
    let undone = "It can't be shown.";
    let blocks = capability::inspect(bytes).map_err(|fault| refused(undone, &fault))?;
    let Some(last) = blocks.last() else { return Ok(()) };
    if at.json {
        let ids: Vec<_> = blocks.iter().map(|block| block.id.to_hex()).collect();
        println!("{}", serde_json::json!({ "ids": ids, "receipt": receipt }));
        return Ok(());
    }
    println!("{}: {}", output.display(), last.id.to_hex());
    for line in last.source.lines() {
        println!("  {}", crate::queue::plain(line));
    }
    if receipt.is_some() && !last.source.contains("check") && !last.source.contains("reject") {
        println!("It demands nothing: whatever policies permit is in it.");
    }
    if let Some(receipt) = receipt {
        println!("Receipt {}.", short(receipt));
    }
    Ok(())
}

fn shown(block: &Shown) -> serde_json::Value {
    serde_json::json!({
        "holder": block.holder, "id": block.id.to_hex(), "signed_by": block.signed_by,
        "source": block.source,
    })
}

fn refused(undone: &str, fault: &Fault) -> Failure {
    let next = match fault {
        Fault::NotHolder => "Name the key of its last holder (`tipstaff inspect`).",
        Fault::Malformed(_) => "See docs/capabilities.md for what it may say.",
        _ => "Ask whoever gave it for another one.",
    };
    Failure::undone(undone, fault, next)
}

fn short(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}
