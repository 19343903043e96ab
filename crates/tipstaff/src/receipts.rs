//! Receipts for people: lists, one whole, exports, why, and replay.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use tipstaff_core::receipt::{Enforcement, Kind, Proof, Receipt, Signed};
use tipstaff_core::{Digest, Json, Verdict};
use tipstaff_ledger::LedgerError;
use tipstaff_monitor::replay::{context_at, replay as derive_again};

use crate::cli::Format;
use crate::home::{Opened, Place};
use crate::outcome::{Failure, Outcome};
use crate::queue::plain;

pub(crate) fn list(at: &Place, session: Option<&str>, last: Option<usize>) -> Outcome {
    let opened = at.open()?;
    let receipts = chosen(&opened, session)?;
    let skip = last.map_or(0, |last| receipts.len().saturating_sub(last));
    let mut out = std::io::stdout().lock();
    for (index, signed) in receipts.iter().skip(skip) {
        let line = if at.json { signed.to_leaf() } else { line(*index, signed) };
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    if receipts.is_empty() && !at.json {
        eprintln!("There are no receipts yet.");
    }
    Ok(())
}

pub(crate) fn show(at: &Place, id: &str, inputs: bool) -> Outcome {
    let opened = at.open()?;
    let (index, signed) = find(&opened, id)?;
    let receipt: serde_json::Value = serde_json::from_str(signed.text()).unwrap_or_default();
    let mut shown = serde_json::json!({
        "index": index,
        "hash": signed.hash().to_hex(),
        "receipt": receipt,
    });
    if inputs {
        let kept = match kept(&opened, index, &signed) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(LedgerError::Expired) => serde_json::Value::Null,
            Err(error) => return Err(Failure::undone("The inputs can't be read.", error, FSCK)),
        };
        if let Some(members) = shown.as_object_mut() {
            members.insert("inputs".to_owned(), kept);
        }
    }
    println!("{}", serde_json::to_string_pretty(&shown).unwrap_or_default());
    Ok(())
}

pub(crate) fn export(at: &Place, session: Option<&str>, format: Format) -> Outcome {
    let opened = at.open()?;
    let mut receipts = chosen(&opened, session)?;
    // Grouped by chain, each oldest first.
    receipts
        .sort_by(|(a, one), (b, two)| (&one.receipt().chain, a).cmp(&(&two.receipt().chain, b)));
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Jsonl => receipts.iter().try_for_each(|(_, s)| writeln!(out, "{}", s.to_leaf())),
        Format::Jtp if session.is_none() => {
            return Err(Failure::Usage(
                "--format jtp needs one session: add --session S".to_owned(),
            ));
        }
        Format::Jtp => {
            let leaves: Vec<String> = receipts.iter().map(|(_, s)| s.to_leaf()).collect();
            writeln!(out, "{{\"receipts\":[{}]}}", leaves.join(","))
        }
    };
    written.map_err(|e| Failure::undone("The export was not written whole.", e, "Try again."))
}

pub(crate) fn why(at: &Place, id: &str) -> Outcome {
    let opened = at.open()?;
    let (_, signed) = find(&opened, id)?;
    let of = signed.receipt().of;
    let (index, verdict) = match of {
        Some(of) => find(&opened, &of.to_hex())?,
        None => find(&opened, &signed.hash().to_hex())?,
    };
    let receipt = verdict.receipt();
    let Some(decision) = &receipt.decision else {
        println!(
            "Receipt {} is of kind {}: nothing was decided.",
            verdict.hash().short(),
            receipt.kind.as_str()
        );
        return Ok(());
    };
    let inputs =
        kept(&opened, index, &verdict).ok().and_then(|text| Json::parse(text.as_bytes()).ok());
    let outcome = opened.reader.receipts().unwrap_or_default().into_iter().find(|(_, other)| {
        other.receipt().kind == Kind::Outcome && other.receipt().of == Some(verdict.hash())
    });
    let outcome =
        outcome.and_then(|(_, o)| o.receipt().outcome.as_ref().map(|o| o.status.as_str()));
    if at.json {
        let tool =
            inputs.as_ref().and_then(|i| i.pointer("/inputs/tool")?.as_str().map(str::to_owned));
        let answer = serde_json::json!({
            "receipt": verdict.hash().to_hex(), "verdict": decision.verdict.as_str(),
            "rule": decision.rule, "reason": decision.reason, "class": receipt.action,
            "tier": receipt.tier.number(), "tool": tool, "outcome": outcome,
            "policy_set": decision.policy_set.to_hex(),
            "approved_before": rests_on(receipt).map(|(yes, _)| yes),
        });
        println!("{answer}");
        return Ok(());
    }
    println!("{} {}  {}", decision.verdict, receipt.action, receipt.tier);
    println!("  when      {}", receipt.now);
    if receipt.enforcement == Enforcement::Observe {
        println!("  OBSERVED: not enforced, it passed");
    }
    if let Some(held) = receipt.continues {
        println!("  after     {}, which held it for a person", held.short());
    }
    if let Some((yes, number)) = rests_on(receipt) {
        println!(
            "  approved  before, by {yes}, which covers calls of its kind: this is its number {number}"
        );
    }
    match &decision.rule {
        Some(rule) => println!("  rule      {rule} ({})", decision.reason),
        None => println!("  rule      none ({})", decision.reason),
    }
    println!("  kind      {}", action_class(decision.verdict, &decision.reason));
    println!("  policies  {}", decision.policy_set.short());
    print!("{}", met(&opened, &verdict));
    match &inputs {
        Some(inputs) => {
            let at = |pointer| inputs.pointer(pointer).map(Json::to_canonical).unwrap_or_default();
            println!("  tool      {}", at("/inputs/tool"));
            println!("  arguments {}", at("/inputs/parameters"));
            if inputs.get("requested").is_some_and(|asked| !asked.is_null()) {
                println!("  asked     {}", at("/requested/parameters"));
            }
        }
        None => println!("  inputs    no longer kept"),
    }
    println!("  outcome   {}", outcome.unwrap_or("none"));
    println!("  receipt   {}", verdict.hash());
    if let Some(change) = would_change(&decision.reason) {
        println!("  otherwise {change}");
    }
    Ok(())
}

/// The earlier yes that a verdict rests on, and how many did before and with it.
fn rests_on(receipt: &Receipt) -> Option<(String, i64)> {
    let approval = receipt.approval.as_ref()?;
    let yes = approval.get("receipt")?.as_str()?;
    Some((yes.get(..12).unwrap_or(yes).to_owned(), approval.get("use")?.as_integer()?))
}

/// The class of an action by how context bore on its verdict (AARM v1, table I).
fn action_class(verdict: Verdict, reason: &str) -> &'static str {
    match (reason, verdict) {
        ("forbidden", _) => "forbidden, whatever the context",
        ("risk", Verdict::StepUp) => "permitted, and asked for because of its context",
        ("risk" | "drifted", _) => "permitted, and denied by its context",
        ("aligned", _) => "not permitted, and asked for because of its context",
        ("needs_context" | "conflict" | "uncertain", _) => {
            "deferred: its context doesn't decide yet"
        }
        ("approved_before", _) => "permitted by rule, with a person's earlier approval",
        (_, Verdict::Allow | Verdict::Modify) => "permitted by rule",
        (_, Verdict::StepUp) => "permitted by rule, with a person's approval",
        (_, Verdict::Defer) => "deferred",
        (_, Verdict::Deny) => "denied by rule",
    }
}

/// What the verdict's session had met, and which actions brought it in.
fn met(opened: &Opened, verdict: &Signed) -> String {
    let mut out = String::new();
    let said = verdict.receipt().context.as_ref();
    if let Some((ppm, method)) = said.and_then(|c| c.distance_ppm.zip(c.distance_method.as_ref())) {
        let _ = writeln!(out, "  distance  {ppm} ppm from the request ({method})");
    }
    let context = context_at(&opened.reader, &opened.sealing, verdict).ok().flatten();
    for label in context.iter().flat_map(|context| context.labels().iter()) {
        let Some(of) = context.as_ref().and_then(|context| context.brought(label)) else {
            continue;
        };
        let found = find(opened, &of.to_hex()).ok();
        let tool = found.and_then(|(index, signed)| {
            let inputs = Json::parse(kept(opened, index, &signed).ok()?.as_bytes()).ok()?;
            Some(inputs.pointer("/inputs/tool")?.as_str()?.to_owned())
        });
        let tool = tool.map_or_else(|| "an earlier action".to_owned(), |tool| plain(&tool));
        let _ = writeln!(out, "  met       {label}: {tool}, receipt {}", of.short());
    }
    out
}

/// What would lead to another answer.
fn would_change(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "risk" => {
            "another session that has not met these; or a person declassifies what was harmless \
             (`tipstaff session declassify`)"
        }
        "drifted" => "a request of the user's that wants this (`tipstaff session request`)",
        "needs_context" => {
            "what is missing: a request (`tipstaff session request`) or an attribute (`tipstaff session give`)"
        }
        "conflict" => "policies that agree, or a `@rank` that says which one wins",
        "uncertain" => "a `[meaning]` of this tool in config.toml",
        "no_rule" => "a policy that permits it",
        "no_authority" => "a role (`tipstaff principal roles`) or a capability (`tipstaff grant`)",
        "outside_capability" => {
            "a capability that has it (`tipstaff grant`), and policies that permit it"
        }
        "forbidden" => "nothing but another policy",
        _ => return None,
    })
}

pub(crate) fn replay(at: &Place) -> Outcome {
    let opened = at.open()?;
    let total = opened.reader.size();
    let terminal = std::io::stderr().is_terminal() && !at.json;
    let mut progress = |done: u64| {
        if terminal && done.is_multiple_of(1000) {
            eprint!("\r{done} of {total}");
        }
    };
    let report = derive_again(&at.home, &opened.reader, &opened.sealing, &mut progress)
        .map_err(|e| Failure::undone("The replay could not be finished.", e, FSCK))?;
    if terminal {
        eprint!("\r");
    }
    if at.json {
        let answer = serde_json::json!({
            "rederived": report.rederived, "differ": report.differ, "expired": report.expired,
            "unsupported_version": report.unsupported_version,
        });
        println!("{answer}");
    } else {
        println!(
            "{} verdicts re-derived, {} differ, {} expired, {} of an unsupported version",
            report.rederived, report.differ, report.expired, report.unsupported_version
        );
        for (hash, what) in &report.differences {
            println!("  {} differs in {what}", hash.short());
        }
    }
    if report.differ == 0 { Ok(()) } else { Err(Failure::No) }
}

/// One line for a person.
pub(crate) fn line(index: u64, signed: &Signed) -> String {
    let receipt = signed.receipt();
    let (what, detail) = describe(receipt);
    // Loud: a line that looks like a refusal must not be taken for one.
    let observed = match receipt.enforcement {
        Enforcement::Observe => "  OBSERVED: not enforced",
        Enforcement::Cooperative | Enforcement::Inline => "",
    };
    let unproven = match receipt.identity.agent.proof {
        Proof::None => "  UNPROVEN",
        _ => "",
    };
    format!(
        "{index:>5}  {}  {}  {:<8}  {:<22} {}  {}{observed}{unproven}",
        receipt.now,
        signed.hash().short(),
        what,
        receipt.action,
        receipt.tier,
        detail
    )
    .trim_end()
    .to_owned()
}

fn describe(receipt: &Receipt) -> (String, String) {
    match receipt.kind {
        Kind::Verdict => {
            let decision = receipt.decision.as_ref();
            let verdict = decision.map_or("?", |decision| decision.verdict.as_str());
            let rule = decision.and_then(|d| d.rule.clone());
            let reason = decision.map_or_else(String::new, |d| d.reason.clone());
            (verdict.to_owned(), rule.unwrap_or(reason))
        }
        Kind::Outcome => {
            let status = receipt.outcome.as_ref().map_or("?", |outcome| outcome.status.as_str());
            (
                format!("→ {status}"),
                receipt.of.map_or_else(String::new, |of| format!("of {}", of.short())),
            )
        }
        Kind::Control => {
            let to = receipt.control.as_ref().map(|control| control.to.short());
            ("control".to_owned(), to.map_or_else(String::new, |to| format!("now {to}")))
        }
        Kind::Approval => {
            let word = |name| receipt.approval.as_ref()?.get(name)?.as_str().map(str::to_owned);
            let said = match (word("rejected"), word("answer")) {
                (Some(why), _) => format!("rejected: {why}"),
                (None, answer) => answer.unwrap_or_default(),
            };
            let repeat =
                receipt.approval.as_ref().and_then(|a| a.pointer("/repeat/count")?.as_integer());
            let said = repeat.map_or(said.clone(), |count| format!("{said}, and {count} more,"));
            let of = receipt.of.map_or_else(String::new, |of| format!(" of {}", of.short()));
            ("approval".to_owned(), said + &of)
        }
        other => (other.as_str().to_owned(), receipt.chain.clone()),
    }
}

const FSCK: &str = "Run `tipstaff log fsck`.";

fn chosen(opened: &Opened, session: Option<&str>) -> Result<Vec<(u64, Signed)>, Failure> {
    let mut receipts = opened
        .reader
        .receipts()
        .map_err(|e| Failure::undone("The receipts can't be read.", e, FSCK))?;
    if let Some(session) = session {
        receipts.retain(|(_, signed)| signed.receipt().chain.starts_with(session));
        if receipts.is_empty() {
            return Err(Failure::undone(
                &format!("There is no session {session}."),
                "no receipt belongs to it",
                "See `tipstaff receipts list`.",
            ));
        }
    }
    Ok(receipts)
}

/// The one receipt whose hash begins with `id`.
pub(crate) fn find(opened: &Opened, id: &str) -> Result<(u64, Signed), Failure> {
    if id.len() < 4 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::Usage(format!("`{id}` is no receipt id: give 4 to 64 hex digits")));
    }
    let mut found = chosen(opened, None)?;
    found.retain(|(_, signed)| signed.hash().to_hex().starts_with(&id.to_lowercase()));
    let many = found.len() > 1;
    match found.pop() {
        Some(only) if !many => Ok(only),
        Some(_) => {
            Err(Failure::Usage(format!("`{id}` is the beginning of several: give more digits")))
        }
        None => Err(Failure::undone(
            &format!("There is no receipt {id}."),
            "no receipt of this log has this hash",
            "See `tipstaff receipts list`.",
        )),
    }
}

fn kept(opened: &Opened, index: u64, signed: &Signed) -> Result<String, LedgerError> {
    let chain = &signed.receipt().chain;
    let plain = opened.reader.kept().open(&opened.sealing, chain, index)?;
    String::from_utf8(plain).map_err(|_| LedgerError::InputsForged)
}

/// A digest that a user wrote.
pub(crate) fn hash_argument(text: &str) -> Result<Digest, Failure> {
    Digest::from_hex(text)
        .map_err(|_| Failure::Usage(format!("`{text}` is no hash: give 64 lower-case hex digits")))
}
