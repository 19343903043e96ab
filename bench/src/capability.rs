//! What a capability adds to a verdict, what reading one costs beside its signatures, and what revoking one costs.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Digest, Json, Millis, Tier};
use tipstaff_identity::capability::{
    Asked, Capability, Caveat, Compare, Grant, Grants, Handle, Named, Number, Part, Token,
    attenuate, grant, to_text,
};
use tipstaff_identity::{Change, HomeKeys, Kind, Name, Order, Peer};
use tipstaff_monitor::{Home, Member, Monitor, Proved};
use zeroize::Zeroizing;

use crate::echo::{SERVER, TOOL};
use crate::failure::Failure;
use crate::inprocess::{one, thread_time, unsynced};
use crate::machine::{Load, median};
use crate::out::Out;

/// Repetitions of what takes less than a microsecond, and rounds of which the middle one counts.
const REPEAT: usize = 20_000;
const ROUNDS: usize = 7;
/// What is compared is done in turn, so little at a time that the machine is the same for both: turns, of which the
/// middle one counts, and verifications in each.
const TURNS: usize = 201;
const COLD: usize = 12;
/// Live grants, and what was made from one of them.
pub(crate) const LIVE: usize = 1_000_000;
pub(crate) const MADE: usize = 10_000;
/// Actions of each kind in a turn of the whole monitor.
const ACTIONS: usize = 120;

pub(crate) fn run(scratch: &Path, out: &Out) -> Result<(), Failure> {
    let (bytes, root) = three()?;
    let capability = Token::decode(&bytes).and_then(|token| token.verify(&root));
    let capability = Arc::new(capability.map_err(Failure::wrong)?);
    let look = Load::look(scratch);
    let (warm, (cold, checks, times)) = (warm(&capability)?, cold(&bytes, &root)?);
    let (added, without) = whole(scratch)?;
    let (revoked, looked) = revoking(&bytes, &capability)?;
    let foreign = Load::look(scratch).since(look).foreign;
    println!("a capability of 3 blocks, {} bytes, medians:", bytes.len());
    println!(
        "  warm: {warm:.2} µs to look at; {added:.2} µs more of processor time in an action of"
    );
    println!("  {without:.1} µs with both receipts");
    println!(
        "  cold: {cold:.1} µs; three strict signature checks alone {checks:.1} µs ({times:.2} times)"
    );
    println!(
        "revoking one of {LIVE} that stand: {revoked:.2} µs; then one of the {MADE} made from it is"
    );
    println!("  refused after {looked:.2} µs; foreign load {foreign:.2}");
    out.write(
        "capability",
        &json!({ "warm_us": warm, "added_us": added, "action_us": without, "cold_us": cold,
                 "checks_us": checks, "times_checks": times, "revoke_us": revoked,
                 "refused_us": looked, "live": LIVE, "made": MADE, "bytes": bytes.len(), "foreign": foreign }),
    )
}

fn key(seed: u8) -> Result<SigningKey, Failure> {
    Ok(SigningKey::from_seed(&Zeroizing::new([seed; 32]))?)
}

/// What an operator grants, and its holder narrows twice.
fn three() -> Result<(Vec<u8>, VerifyingKey), Failure> {
    let bound =
        |of, compare, value| Part::Caveat(Caveat::Bounds { of, bounds: vec![(compare, value)] });
    let tool = Named::Tool(format!("{SERVER}/{TOOL}"));
    let first = [
        Part::Caveat(Caveat::Named(vec![tool, Named::Server("other".to_owned())])),
        bound(Number::Tier, Compare::AtMost, 4),
        bound(Number::Time, Compare::Less, i64::MAX >> 11),
    ];
    let values = ["today", "tomorrow"].map(str::to_owned).into();
    let narrow = [Part::Caveat(Caveat::OneOf { at: "/name".to_owned(), values })];
    let holder = key(1)?;
    let (bytes, root) = grant(holder.verifying_key(), &first).map_err(Failure::wrong)?;
    let bytes = attenuate(&bytes, None, &narrow).map_err(Failure::wrong)?;
    let last = bound(Number::Position, Compare::Less, i64::MAX >> 11);
    let bytes = attenuate(&bytes, None, &[last]);
    Ok((bytes.map_err(Failure::wrong)?, root))
}

fn action() -> Result<Action, Failure> {
    let arguments = Json::parse(b"{\"name\":\"today\",\"text\":\"eeeeeeeeeeeeeeeeeeee\"}")?;
    Ok(Action::new(SERVER, TOOL, "tools/call", arguments, None)?)
}

fn rounds(mut each: impl FnMut() -> Result<f64, Failure>) -> Result<f64, Failure> {
    let taken = (0..ROUNDS).map(|_| each()).collect::<Result<Vec<f64>, _>>()?;
    Ok(median(&taken))
}

fn warm(capability: &Arc<Capability>) -> Result<f64, Failure> {
    let (handle, action) = (Handle::new(Arc::clone(capability)), action()?);
    let head = Some(Digest::of(b"head"));
    let asked = Asked {
        action: &action,
        tier: Tier::T1,
        now: Millis(1_795_272_154_009),
        position: 5,
        session: "s",
        paths: &[],
        metered: &[],
    };
    rounds(|| {
        let start = thread_time();
        for _ in 0..REPEAT {
            let stands = handle.stands(black_box(head), |_| Ok(()));
            let inside = handle.capability().permits(black_box(&asked));
            stands.and(inside).map_err(Failure::wrong)?;
        }
        Ok(spent(start) / REPEAT as f64)
    })
}

/// Reading a token, its three signatures alone by the one acceptance rule, each with the reading of its key, and how
/// often the second goes into the first.
fn cold(bytes: &[u8], root: &VerifyingKey) -> Result<(f64, f64, f64), Failure> {
    let (key, message) = (key(9)?, [b'e'; 220]);
    let (signature, public) = (key.sign(&message), *key.verifying_key().as_bytes());
    let (mut cold, mut checks, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let start = thread_time();
        for _ in 0..COLD {
            let read = Token::decode(black_box(bytes)).and_then(|token| token.verify(root));
            black_box(read.map_err(Failure::wrong)?);
        }
        let whole = spent(start) / COLD as f64;
        let start = thread_time();
        for _ in 0..3 * COLD {
            let key = VerifyingKey::from_bytes(black_box(&public))?;
            let signature = Signature::from_bytes(*black_box(&signature).as_bytes());
            key.verify(black_box(&message), &signature)?;
        }
        let alone = spent(start) / COLD as f64;
        cold.push(whole);
        checks.push(alone);
        times.push(whole / alone);
    }
    Ok((median(&cold), median(&checks), median(&times)))
}

fn spent(start: Duration) -> f64 {
    thread_time().saturating_sub(start).as_secs_f64() * 1e6
}

fn revoking(bytes: &[u8], capability: &Capability) -> Result<(f64, f64), Failure> {
    let mut grants = Grants::default();
    let root = key(2)?.verifying_key().clone();
    let to = Name::parse("coder").ok_or_else(|| Failure::wrong("no name"))?;
    for number in 0..LIVE as u64 {
        let (root, holder) = (root.clone(), root.clone());
        let one = Grant { to: to.clone(), root, holder, at: Millis(number) };
        grants.grant(Digest::of(&number.to_le_bytes()), one).map_err(Failure::wrong)?;
    }
    // Each made from the middle block of one token.
    let made = (0..MADE).map(|_| attenuate(bytes, None, &[])).collect::<Result<Vec<_>, _>>();
    let made = made.map_err(Failure::wrong)?;
    let made = made.iter().map(|bytes| Ok(Token::decode(bytes).map_err(Failure::wrong)?.ids()));
    let made = made.collect::<Result<Vec<_>, Failure>>()?;
    let cut = capability.ids().get(1).copied().ok_or_else(|| Failure::wrong("one block"))?;
    let start = Instant::now();
    grants.revoke(cut).map_err(Failure::wrong)?;
    let revoked = start.elapsed().as_secs_f64() * 1e6;
    let start = Instant::now();
    if made.iter().any(|ids| grants.revoked(black_box(ids)) != Some(cut)) {
        return Err(Failure::wrong("one that was made from it stands"));
    }
    Ok((revoked, start.elapsed().as_secs_f64() * 1e6 / MADE as f64))
}

/// Orders of one home, one after another.
struct Orders {
    key: SigningKey,
    log: String,
    prev: Option<Digest>,
}

impl Orders {
    fn give(&mut self, monitor: &Monitor, change: Change) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = Millis(u64::try_from(now).unwrap_or(u64::MAX));
        let order = Order { change, log: self.log.clone(), prev: self.prev, at }.sign(&self.key);
        monitor.order(&order).map_err(Failure::wrong)?;
        self.prev = Some(Digest::of(order.to_canonical().as_bytes()));
        Ok(())
    }
}

/// What a capability adds to an action in the whole monitor, and what the action takes without: µs of processor time.
fn whole(scratch: &Path) -> Result<(f64, f64), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = Home::at(&folder.path().join("home"));
    let (monitor, _) = unsynced(&home)?;
    let log = monitor.ledger().identity().origin.clone();
    let mut orders =
        Orders { key: HomeKeys::approver(home.root()).map_err(Failure::wrong)?, log, prev: None };
    let (ada, coder) = (key(3)?, key(1)?);
    let enrol = |who, kind, owner, key: &SigningKey| -> Result<Change, Failure> {
        let (name, key) = (self::name(who)?, key.verifying_key().clone());
        Ok(Change::Enrol { name, kind, owner, key, roles: vec![self::name("reader")?] })
    };
    orders.give(&monitor, enrol("ada", Kind::Human, None, &ada)?)?;
    orders.give(&monitor, enrol("coder", Kind::Agent, Some(name("ada")?), &coder)?)?;
    let (bytes, root) = three()?;
    let id = Token::decode(&bytes).map_err(Failure::wrong)?.grant();
    let holder = coder.verifying_key().clone();
    orders.give(&monitor, Change::Grant { name: name("coder")?, id, root, holder })?;
    let peer = Peer::of_process(std::process::id(), 1000);
    let (key_id, text) = (coder.verifying_key().key_id(), to_text(&bytes));
    let join = |token| -> Result<Arc<Member>, Failure> {
        let joined =
            monitor.join_network(&peer, (&Proved::Key(key_id.clone()), token), SERVER, Door::Api);
        joined.map_err(|refusal| Failure::wrong(refusal.text))
    };
    let (bare, within) = (join(None)?, join(Some(&text))?);
    let timed = |member: &Arc<Member>| -> Result<f64, Failure> {
        let start = thread_time();
        for _ in 0..ACTIONS {
            one(&monitor, member)?;
        }
        let spent = spent(start) / ACTIONS as f64;
        monitor.tick()?;
        Ok(spent)
    };
    timed(&bare)?;
    let (mut added, mut without) = (Vec::new(), Vec::new());
    for turn in 0..2 * TURNS {
        // What comes second finds the machine as the first left it: each comes second as often.
        let (plain, with) = if turn % 2 == 0 {
            let plain = timed(&bare)?;
            (plain, timed(&within)?)
        } else {
            let with = timed(&within)?;
            (timed(&bare)?, with)
        };
        added.push(with - plain);
        without.push(plain);
    }
    monitor.shut_down()?;
    Ok((median(&added), median(&without)))
}

fn name(text: &str) -> Result<Name, Failure> {
    Name::parse(text).ok_or_else(|| Failure::wrong("no name"))
}
