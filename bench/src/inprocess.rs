//! The monitor in one thread, without a disk that syncs: what judging and both receipts cost.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tipstaff_classify::{Annotations, Catalogue, classify};
use tipstaff_context::{Context, Distance, Entry, Measure as MeasureKind, Step};
use tipstaff_core::key::SigningKey;
use tipstaff_core::receipt::{Door, Status};
use tipstaff_core::{Action, Digest, Json, Label, Labels, Millis, Sink, Tier};
use tipstaff_gateway::labels;
use tipstaff_identity::Peer;
use tipstaff_monitor::{Ended, Home, ListedTool, Measure, Member, Monitor};
use tipstaff_policy::paths::PathFacts;
use tipstaff_policy::{
    Classified, Distances, InWords, Limits, PolicySet, PolicySource, Request, SessionContext,
    ToolPins,
};
use tipstaff_store::{Disk, DiskFile, NativeDisk, StoreError};
use zeroize::Zeroizing;

use crate::echo::{SERVER, TOOL};
use crate::failure::Failure;
use crate::machine::{Load, median};
use crate::out::Out;

/// Repetitions of what takes microseconds.
const REPEAT: usize = 50_000;
/// Policies in the larger sets.
const LARGER: usize = 100;

pub(crate) fn run(scratch: &Path, actions: usize, out: &Out) -> Result<(), Failure> {
    whole(scratch, actions, out)?;
    verdict(out)?;
    context(out)?;
    classifier(out)
}

/// What the monitor of the command line looks at, except distances: there is no request here.
#[derive(Debug)]
struct Detectors;

impl Measure for Detectors {
    fn distance(&self, _: &[String], _: &Action) -> Option<Distance> {
        None
    }

    fn carries(&self, action: &Action) -> Labels {
        labels::of_arguments(action.parameters().to_canonical().as_bytes())
    }
}

/// A monitor whose log is written and never synced, with one door joined.
pub(crate) fn unsynced(home: &Home) -> Result<(Arc<Monitor>, Arc<Member>), Failure> {
    home.create()?;
    let disk = Arc::new(Unsynced(NativeDisk::new(home.root())));
    let monitor = Monitor::open_on(home, disk)?;
    monitor.measure_with(Arc::new(Detectors));
    let peer = Peer::of_process(std::process::id(), 1000);
    let joined = monitor.join(&peer, None, SERVER, Door::McpStdio);
    let member = joined.map_err(|refusal| Failure::wrong(refusal.text))?;
    let definition = format!(
        "{{\"name\":\"{TOOL}\",\"description\":\"Reads a note.\",\"inputSchema\":{{\"type\":\
         \"object\",\"properties\":{{\"name\":{{\"type\":\"string\"}},\"text\":{{\"type\":\
         \"string\"}}}},\"required\":[\"name\"]}}}}"
    );
    let tool = ListedTool { name: TOOL.to_owned(), definition };
    let listed = monitor.tools_listed(&member, &[tool]);
    listed.map_err(|refusal| Failure::wrong(refusal.text))?;
    Ok((monitor, member))
}

/// Judges, records, settles and records one action: two receipts.
pub(crate) fn one(monitor: &Arc<Monitor>, member: &Arc<Member>) -> Result<(), Failure> {
    let permit = monitor.admit(member, call(SERVER, TOOL, ARGUMENTS)?);
    let permit = permit.map_err(|refusal| Failure::wrong(refusal.text))?;
    let settlement = permit.start().settle(Ended::of(Status::Ok, &[b'e'; 100]));
    Ok(monitor.settle(member, settlement)?)
}

const ARGUMENTS: &str = "{\"name\":\"today\",\"text\":\"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\
                         eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"}";

fn call(server: &str, tool: &str, arguments: &str) -> Result<Action, Failure> {
    Ok(Action::new(server, tool, "tools/call", Json::parse(arguments.as_bytes())?, None)?)
}

/// Runs of the whole path; the middle one counts.
const RUNS: usize = 7;

/// Actions a second of processor time, and by the clock; foreign load; µs of an action's two signatures alone.
type Row = (f64, f64, f64, f64);

/// Bytes of a verdict's and of an outcome's receipt, which is what is signed for one action.
const SIGNED: [usize; 2] = [1_780, 1_330];
/// Actions whose signatures alone are made after each run.
const SIGNATURES: usize = 2_000;

fn whole(scratch: &Path, actions: usize, out: &Out) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = Home::at(&folder.path().join("home"));
    let (monitor, member) = unsynced(&home)?;
    for _ in 0..actions.min(2_000) {
        one(&monitor, &member)?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..RUNS {
        rows.push(several(&monitor, &member, folder.path(), actions / RUNS)?);
    }
    monitor.leave(&member)?;
    monitor.shut_down()?;
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let column = |pick: fn(&Row) -> f64| median(&rows.iter().map(pick).collect::<Vec<f64>>());
    let (per_core, per_second) = (column(|row| row.0), column(|row| row.1));
    let (foreign, signing_us) = (column(|row| row.2), column(|row| row.3));
    let times = 1e6 / per_core / signing_us;
    let ends = (rows.first().map_or(0.0, |row| row.0), rows.last().map_or(0.0, |row| row.0));
    println!("judge and both receipts, no fsync, one thread, {actions} actions, median of {RUNS}:");
    println!("  {per_core:.0} actions/s of processor time [{:.0} to {:.0}]", ends.0, ends.1);
    println!("  {per_second:.0}/s of wall time; foreign load {foreign:.2} processors");
    println!(
        "  its two signatures alone: {signing_us:.1} µs; an action takes {times:.2} times that"
    );
    out.write(
        "inprocess",
        &json!({ "actions": actions, "per_core": per_core, "per_core_min": ends.0,
                 "per_core_max": ends.1, "per_second": per_second, "us_per_action": 1e6 / per_core,
                 "signing_us": signing_us, "times_signing": times, "foreign": foreign }),
    )
}

fn several(
    monitor: &Arc<Monitor>,
    member: &Arc<Member>,
    folder: &Path,
    actions: usize,
) -> Result<Row, Failure> {
    let (size, _) = monitor.ledger().position();
    let (look, cpu, start) = (Load::look(folder), thread_time(), Instant::now());
    let mut ticked = start;
    for _ in 0..actions {
        one(monitor, member)?;
        // What the server does twice a second is part of the price.
        if ticked.elapsed() > Duration::from_millis(500) {
            monitor.tick()?;
            ticked = Instant::now();
        }
    }
    monitor.tick()?;
    let (wall, cpu) = (start.elapsed(), thread_time().saturating_sub(cpu));
    let spent = Load::look(folder).since(look);
    let receipts = monitor.ledger().position().0 - size;
    if receipts != 2 * actions as u64 {
        return Err(Failure::wrong(format!("{receipts} receipts of {actions} actions")));
    }
    let (done, foreign) = (actions as f64, spent.foreign);
    Ok((done / cpu.as_secs_f64(), done / wall.as_secs_f64(), foreign, signing()?))
}

/// What no implementation with these receipts goes below, on this machine at this minute: µs of processor time.
fn signing() -> Result<f64, Failure> {
    let key = SigningKey::from_seed(&Zeroizing::new([7; 32]))?;
    let messages = SIGNED.map(|bytes| vec![b'e'; bytes]);
    let start = thread_time();
    for _ in 0..SIGNATURES {
        for message in &messages {
            black_box(key.sign(black_box(message)));
        }
    }
    let spent = thread_time().saturating_sub(start);
    Ok(spent.as_secs_f64() * 1e6 / SIGNATURES as f64)
}

fn verdict(out: &Out) -> Result<(), Failure> {
    let shipped = tipstaff_policy::default_source();
    let shipped_set = admit(&shipped)?;
    let more = LARGER - shipped_set.len();
    let extra = |rule: &dyn Fn(usize) -> String| {
        let mut source = shipped.clone();
        source.files.insert("more.cedar".to_owned(), (0..more).map(rule).collect());
        source
    };
    // Policies of other tools are never looked at; policies of any tool all are.
    let elsewhere = admit(&extra(&|number| {
        format!(
            "@id(\"extra-{number}\")\nforbid (principal, action, resource == Tool::\"other/t{number}\") \
             when {{ context.tier >= 3 }};\n"
        )
    }))?;
    let candidates = admit(&extra(&|number| {
        format!(
            "@id(\"extra-{number}\")\nforbid (principal, action, resource) \
             when {{ context.tier == 5 && context.inside_roots }};\n"
        )
    }))?;
    let shipped_us = time_decide(&shipped_set, AGENTS)?;
    let elsewhere_us = time_decide(&elsewhere, AGENTS)?;
    let candidates_us = time_decide(&candidates, AGENTS)?;
    let again_us = time_decide(&shipped_set, 1)?;
    let each_us = (candidates_us - shipped_us) / more as f64;
    println!("the verdict alone, µs of processor time:");
    println!("  shipped set ({} policies): {shipped_us:.2}", shipped_set.len());
    println!("  {LARGER} policies, {more} of other tools: {elsewhere_us:.2}");
    println!("  {LARGER} policies, all candidates: {candidates_us:.2}");
    println!("  each further candidate: {each_us:.3}");
    println!("  shipped set, asked the same before: {again_us:.2}");
    out.write(
        "verdict",
        &json!({ "shipped_policies": shipped_set.len(), "shipped_us": shipped_us,
                 "larger_policies": LARGER, "elsewhere_us": elsewhere_us,
                 "candidates_us": candidates_us, "candidate_us": each_us, "again_us": again_us }),
    )
}

fn admit(source: &PolicySource) -> Result<PolicySet, Failure> {
    let classes = Catalogue::builtin().classes();
    let admitted = PolicySet::admit(source, &ToolPins::default(), classes);
    let admitted = admitted.map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::wrong(faults.join("; "))
    })?;
    Ok(admitted.set)
}

/// Agents that ask in turn: more than are remembered, so that each question is new.
const AGENTS: usize = 2_000;

/// `agents` ask the same in turn.
fn time_decide(set: &PolicySet, agents: usize) -> Result<f64, Failure> {
    let names: Vec<String> = (0..agents).map(|number| format!("{number:032x}")).collect();
    let action = call(SERVER, TOOL, ARGUMENTS)?;
    let session = SessionContext { labels: Some(Labels::NONE), ..SessionContext::default() };
    let request = Request {
        action: &action,
        tier: Tier::T1,
        class: "fs:read",
        classified: Classified::Known,
        paths: PathFacts::default(),
        principal: "0011",
        user: "2233",
        roles: &[],
        sink: Sink::None,
        carries: Labels::NONE,
        words: InWords::default(),
        session: &session,
        limits: Limits::default(),
        now: Millis(1_776_772_800_000),
    };
    let verdict = set.decide(&request).verdict;
    if verdict != tipstaff_core::Verdict::Allow {
        return Err(Failure::wrong(format!("the verdict is {verdict}")));
    }
    let mut all = names.iter().cycle();
    Ok(time(|| {
        let principal = all.next().map_or("", String::as_str);
        let asked = Request { principal, ..request.clone() };
        std::hint::black_box(set.decide(std::hint::black_box(&asked)));
    }))
}

/// What a context costs an action: what policies read of it, and folding the action in, with a distance, so
/// that its digest is new each time.
fn context(out: &Out) -> Result<(), Failure> {
    let tools: Vec<String> = (0..200).map(|number| format!("server/tool{number}")).collect();
    let gives: Labels = [Label::Secret, Label::Untrusted].into_iter().collect();
    let step = |number: usize| {
        let tool = tools.get(number % tools.len()).map_or("", String::as_str);
        let distance_ppm = u32::try_from(number % 1_000_000).ok();
        let (tier, sink, receipt) = (Tier::T4, Sink::External, Digest::of(&number.to_le_bytes()));
        Entry::Action(Step { tool, tier, gives, sink, distance_ppm, receipt })
    };
    let mut figures = serde_json::Map::new();
    println!("a session's context, µs of processor time for an action:");
    for before in [10_usize, 100_000] {
        let mut context = Context::new([7; 16]);
        for number in 0..before {
            context.fold(&step(number));
        }
        let mut number = before;
        let us = time(|| {
            let read = SessionContext {
                labels: Some(context.labels()),
                distances: Some(Distances::at(5, MeasureKind::Semantic, context.drift())),
                given: context.attributes().clone(),
            };
            std::hint::black_box(read);
            context.fold(std::hint::black_box(&step(number)));
            number += 1;
        });
        println!(
            "  after {before} actions: {us:.2}; {} bytes that policies read",
            context.text().len()
        );
        figures.insert(before.to_string(), us.into());
    }
    out.write("context", &serde_json::Value::Object(figures))
}

fn classifier(out: &Out) -> Result<(), Failure> {
    let cases = [
        ("a catalogue row", call(SERVER, TOOL, ARGUMENTS)?),
        ("a name's verbs", call("elsewhere", "delete_everything", ARGUMENTS)?),
        (
            "a shell line",
            call("shell", "bash", "{\"command\":\"cd /srv && rm -rf ./build | tee log\"}")?,
        ),
    ];
    println!("the classifier alone, µs of processor time:");
    let mut figures = serde_json::Map::new();
    for (name, action) in &cases {
        let catalogue = Catalogue::builtin();
        let us = time(|| {
            let found = classify(catalogue, std::hint::black_box(action), Annotations::default());
            std::hint::black_box(found);
        });
        println!("  {name}: {us:.2}");
        figures.insert((*name).to_owned(), us.into());
    }
    out.write("classifier", &json!(figures))
}

/// Microseconds of processor time of one call: the best of five, since others' noise only adds.
pub(crate) fn time(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = thread_time();
        for _ in 0..REPEAT / 5 {
            work();
        }
        let spent = thread_time().saturating_sub(start).as_secs_f64();
        best = best.min(spent * 1e6 / (REPEAT / 5) as f64);
    }
    best
}

/// Processor time of this thread.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The real disk, except that nothing is synced.
#[derive(Debug)]
struct Unsynced(NativeDisk);

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn DiskFile>);

impl Disk for Unsynced {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StoreError> {
        Ok(Arc::new(UnsyncedFile(self.0.open(path)?)))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        self.0.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.project(path, bytes)
    }

    fn project(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.project(path, bytes)
    }

    fn sync_folder(&self, _: &Path) -> Result<(), StoreError> {
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        self.0.list(path)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.0.remove(path)
    }
}

impl DiskFile for UnsyncedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reserve(&self, length: u64) -> Result<(), StoreError> {
        self.0.reserve(length)
    }

    fn lay_out(&self, from: u64, length: u64) -> Result<(), StoreError> {
        self.0.lay_out(from, length)
    }
}

/// Writes an export of a log with about `receipts` receipts in one chain, and its key set.
pub(crate) fn export(
    folder: &Path,
    receipts: usize,
    to: &Path,
    jwks: &Path,
) -> Result<usize, Failure> {
    let home = Home::at(&folder.join("home"));
    let (monitor, member) = unsynced(&home)?;
    let mut ticked = Instant::now();
    for _ in 0..receipts / 2 {
        one(&monitor, &member)?;
        if ticked.elapsed() > Duration::from_millis(500) {
            monitor.tick()?;
            ticked = Instant::now();
        }
    }
    let chain = member.chain();
    monitor.leave(&member)?;
    monitor.shut_down()?;
    drop((member, monitor));
    let keys = tipstaff_identity::HomeKeys::open(home.root())?;
    let public = keys.public();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public.receipts.x() });
    fs::write(jwks, json!({ "keys": [jwk] }).to_string())?;
    let verifier = tipstaff_ledger::note::NoteVerifier::new(&public.origin, public.log);
    let verifier = verifier.map_err(Failure::wrong)?;
    let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(home.root()));
    let reader = tipstaff_ledger::LogReader::open(disk, &verifier)?;
    let all = reader.receipts()?;
    let own = all.iter().filter(|(_, signed)| signed.receipt().chain == chain);
    let lines: Vec<String> = own.map(|(_, signed)| signed.to_leaf() + "\n").collect();
    fs::write(to, lines.concat())?;
    Ok(lines.len())
}
