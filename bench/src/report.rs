//! `BENCHMARKS.md` from a file of results: no figure in it is typed.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::capability::{LIVE, MADE};
use crate::failure::Failure;

/// Promised: beyond one sync, in milliseconds.
const BEYOND_SYNC_MS: f64 = 0.15;
/// Promised: judged, signed, durable calls a second.
const CALLS: f64 = 5_000.0;
/// Promised: actions a second of one core.
const ACTIONS: f64 = 15_000.0;
/// Promised: part of what one signature check allows.
const APPROVE_MS: f64 = 50.0;
const HOOK_MS: f64 = 15.0;
const VERIFY_RATIO: f64 = 0.85;
/// Promised: principals of one home, enrolled a second, and the seconds of a start with them.
const PRINCIPALS: u64 = 100_000;
const ENROLLED: f64 = 2_000.0;
const START_S: f64 = 2.0;
/// Promised: what a capability of three blocks adds to a verdict, in microseconds; how often its signature checks go into
/// reading it; and the microseconds until one of a million is revoked, with what was made from it.
const CAPABILITY_US: f64 = 3.0;
const CAPABILITY_READ: f64 = 1.15;
const REVOKED_US: f64 = 1_000.0;
/// Promised: resident memory of what is idle, in MiB.
const IDLE_MIB: f64 = 30.0;

/// Prints the report. Of several results of one kind the last counts.
pub(crate) fn run(results: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(results)?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    print!("{}", write(&lines));
    Ok(())
}

fn write(lines: &[Value]) -> String {
    let mut out = String::from(HEAD);
    promises(lines, &mut out);
    stdio(lines, &mut out);
    web(lines, &mut out);
    alone(lines, &mut out);
    place(lines, &mut out);
    out
}

const HEAD: &str = "# Benchmarks

Written by `bench/run` from its results; nothing here is typed by hand. Absolute figures depend on the
machine and on who else uses it, so ratios come first, and the foreign load beside each measurement is
given in processors kept busy by others. Figures in brackets are the least and the most of the rounds.

";

fn last<'a>(lines: &'a [Value], name: &str, test: impl Fn(&Value) -> bool) -> Option<&'a Value> {
    let named =
        lines.iter().rev().filter(|line| line.get("name").is_some_and(|found| found == name));
    named.filter_map(|line| line.get("result")).find(|result| test(result))
}

fn of<'a>(lines: &'a [Value], name: &str) -> Option<&'a Value> {
    last(lines, name, |_| true)
}

fn shaped<'a>(lines: &'a [Value], shape: &str, target: &str) -> Option<&'a Value> {
    last(lines, "stdio", |result| {
        let is = |member, text| result.get(member).and_then(Value::as_str) == Some(text);
        is("shape", shape) && is("target", target)
    })
}

/// A figure, or the middle one of three.
fn figure(result: Option<&Value>, name: &str) -> Option<f64> {
    let value = result?.get(name)?;
    value.as_f64().or_else(|| value.get(0)?.as_f64())
}

fn promises(lines: &[Value], out: &mut String) {
    out.push_str("## What was promised\n\n| promise | measured | |\n|---|---|---|\n");
    let mut row = |what: &str, value: Option<f64>, unit: &str, met: fn(f64) -> bool| {
        let (shown, word) = match value {
            Some(value) => (number(value, unit), if met(value) { "met" } else { "not met" }),
            None => ("-".to_owned(), "not measured"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {what} | {shown} | {word} |");
    };
    let one = shaped(lines, "1 client", "tipstaff");
    let many = shaped(lines, "32 in flight on one", "tipstaff");
    let beside = shaped(lines, "32 side by side", "tipstaff");
    let (inside, verify) = (of(lines, "inprocess"), of(lines, "verify"));
    let memory = of(lines, "memory");
    let beyond = figure(one, "added_beyond_sync_ms");
    row(
        &format!("1 client: added p50 beyond one fdatasync, at most {BEYOND_SYNC_MS} ms"),
        beyond,
        "ms",
        |value| value <= BEYOND_SYNC_MS,
    );
    for (what, result) in
        [("32 in flight on one `wrap`", many), ("32 `wrap`s side by side", beside)]
    {
        let what = format!("{what}: at least {CALLS} durable calls/s");
        row(&what, figure(result, "per_second"), "/s", |value| value >= CALLS);
    }
    row(
        &format!("in process, both receipts, no fsync: at least {ACTIONS} actions/s a core"),
        figure(inside, "per_core"),
        "/s",
        |value| value >= ACTIONS,
    );
    row(
        &format!(
            "chain verification: at least {} % of cores ÷ one strict check",
            VERIFY_RATIO * 100.0
        ),
        figure(verify, "ratio").map(|ratio| ratio * 100.0),
        "%",
        |value| value >= VERIFY_RATIO * 100.0,
    );
    let context = of(lines, "context");
    for (at, most) in [("10", 5.0), ("100000", 10.0)] {
        let what = format!("a session's context, after {at} actions: at most {most} µs an action");
        let met: fn(f64) -> bool =
            if at == "10" { |value| value <= 5.0 } else { |value| value <= 10.0 };
        row(&what, figure(context, at), "µs", met);
    }
    let (approve, hook) = (of(lines, "approve"), of(lines, "hook"));
    row(
        &format!("from `tipstaff approve` to the call's answer: p50 at most {APPROVE_MS} ms"),
        figure(approve, "p50_ms"),
        "ms",
        |value| value <= APPROVE_MS,
    );
    row(
        &format!("one `tipstaff hook`, process start included: p50 at most {HOOK_MS} ms"),
        figure(hook, "p50_ms"),
        "ms",
        |value| value <= HOOK_MS,
    );
    let capability = of(lines, "capability");
    row(
        &format!(
            "capability of 3 blocks, read before: at most {CAPABILITY_US} µs added to a verdict"
        ),
        figure(capability, "warm_us"),
        "µs",
        |value| value <= CAPABILITY_US,
    );
    row(
        &format!("the same, read: at most {CAPABILITY_READ} times its signature checks"),
        figure(capability, "times_checks"),
        "times",
        |value| value <= CAPABILITY_READ,
    );
    row(
        &format!(
            "one of {LIVE} capabilities revoked, {MADE} made from it: at most {REVOKED_US} µs"
        ),
        figure(capability, "revoke_us"),
        "µs",
        |value| value <= REVOKED_US,
    );
    let many = of(lines, "principals").filter(|result| {
        // Fewer than were promised for say nothing.
        result.get("count").and_then(Value::as_u64).is_some_and(|count| count >= PRINCIPALS)
    });
    row(
        &format!("{PRINCIPALS} principals: enrolled at least {ENROLLED}/s"),
        figure(many, "per_second"),
        "/s",
        |value| value >= ENROLLED,
    );
    row(
        &format!("{PRINCIPALS} principals: start at most {START_S} s"),
        figure(many, "start_s"),
        "s",
        |value| value <= START_S,
    );
    row(
        &format!("{PRINCIPALS} principals: start after a kill at most {START_S} s"),
        figure(many, "killed_ms").map(|ms| ms / 1e3),
        "s",
        |value| value <= START_S,
    );
    for (what, name) in [("monitor", "monitor_mib"), ("`wrap`", "wrap_mib")] {
        let what = format!("idle {what}: at most {IDLE_MIB} MiB");
        row(&what, figure(memory, name), "MiB", |value| value <= IDLE_MIB);
    }
}

fn stdio(lines: &[Value], out: &mut String) {
    out.push_str(
        "\n## Over stdio\n\nClosed loop, an echo of 100 bytes; load, gateway and upstream share the \
         processors. Rate is relative to no gateway in the same round. After each measurement the log was \
         verified, and held two receipts for each call.\n\n\
         | load | target | rate to direct | added p50 ms | beyond one sync ms | calls/s | p50 ms | p90 ms | \
         p99 ms | own | foreign |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut seen = Vec::new();
    for line in lines.iter().filter(|line| line.get("name").is_some_and(|name| name == "stdio")) {
        let text = |name| Some(line.get("result")?.get(name)?.as_str()?.to_owned());
        let key = (text("shape").unwrap_or_default(), text("target").unwrap_or_default());
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    for (shape, target) in seen {
        let result = shaped(lines, &shape, &target);
        let cell = |name| spread(result.and_then(|result| result.get(name)));
        let cells = [
            "ratio",
            "added_p50_ms",
            "added_beyond_sync_ms",
            "per_second",
            "p50_ms",
            "p90_ms",
            "p99_ms",
            "own",
            "foreign",
        ];
        let _ = writeln!(out, "| {shape} | {target} | {} |", cells.map(cell).join(" | "));
    }
    let sync = of(lines, "sync");
    let _ = writeln!(
        out,
        "\nOne fdatasync of 1 KiB in a file that is there already, same disk, right before or after each \
         measurement (the smaller of the two): p50 {} ms, \
         p99 {} ms.",
        spread(sync.and_then(|sync| sync.get("p50_ms"))),
        spread(sync.and_then(|sync| sync.get("p99_ms")))
    );
}

fn web(lines: &[Value], out: &mut String) {
    let found = lines.iter().filter(|line| line.get("name").is_some_and(|name| name == "http"));
    let results: Vec<&Value> = found.filter_map(|line| line.get("result")).collect();
    if results.is_empty() {
        return;
    }
    out.push_str(
        "\n## Over streamable HTTP\n\nThe same echo, each client with a session and a connection of its \
         own and one call at a time; medians of the rounds. `tipstaff serve` judges, syncs and signs each \
         call. cmcp, where it is in the table, judges and syncs each call too, in one session for all clients, which it signs at its end; \
         the others only pass it on. The upstream is a process of the gateway's unless the name says \
         otherwise. Who gave no answer within 10 s is left out.\n\n| clients | target | rounds | calls/s | p50 ms | p99 ms | foreign |\n|---|---|---|---|---|---|---|\n",
    );
    let answered = |result: &&&Value| result.get("rounds").and_then(Value::as_u64) != Some(0);
    for result in results.iter().filter(answered) {
        let cell = |name: &str| {
            result.get(name).and_then(Value::as_f64).map_or("-".to_owned(), |v| number(v, ""))
        };
        let target = result.get("target").map(plain).unwrap_or_default();
        let cells = ["per_second", "p50_ms", "p99_ms", "foreign"].map(cell).join(" | ");
        let clients = result.get("clients").map(plain).unwrap_or_default();
        let rounds = result.get("rounds").map(plain).unwrap_or_default();
        let _ = writeln!(out, "| {clients} | {target} | {rounds} | {cells} |");
    }
}

fn alone(lines: &[Value], out: &mut String) {
    let shown = |result, name, unit| {
        figure(result, name).map_or_else(|| "-".to_owned(), |value| number(value, unit))
    };
    let inside = of(lines, "inprocess");
    let _ = writeln!(
        out,
        "\n## In process\n\nOne thread, one tool called again and again, verdict receipt and outcome receipt, every write made, none synced: \
         {} of processor time [{} to {}], {} by the clock; {} an action, {} times its two signatures alone, which \
         took {} in the same seconds; foreign load {}.",
        shown(inside, "per_core", "/s"),
        shown(inside, "per_core_min", "/s"),
        shown(inside, "per_core_max", "/s"),
        shown(inside, "per_second", "/s"),
        shown(inside, "us_per_action", "µs"),
        shown(inside, "times_signing", ""),
        shown(inside, "signing_us", "µs"),
        shown(inside, "foreign", "")
    );
    let verdict = of(lines, "verdict");
    out.push_str("\n| alone | processor time |\n|---|---|\n");
    for (what, name) in [
        ("verdict, shipped set", "shipped_us"),
        ("the same, asked before by the same agent", "again_us"),
        ("verdict, 100 policies of which the others name other tools", "elsewhere_us"),
        ("verdict, 100 policies that all have to be looked at", "candidates_us"),
        ("each further policy that has to be looked at", "candidate_us"),
    ] {
        let _ = writeln!(out, "| {what} | {} |", shown(verdict, name, "µs"));
    }
    if let Some(figures) = of(lines, "classifier").and_then(Value::as_object) {
        for (what, value) in figures {
            let value = number(value.as_f64().unwrap_or(f64::NAN), "µs");
            let _ = writeln!(out, "| classifier, {what} | {value} |");
        }
    }
    let verify = of(lines, "verify");
    let percent = |name| {
        figure(verify, name).map_or_else(|| "-".to_owned(), |ratio| number(ratio * 100.0, "%"))
    };
    let _ = writeln!(
        out,
        "\n## Verification\n\n`tipstaff verify` of an export of {} receipts: {} [{} to {}] of cores ÷ one \
         strict check by the clock, {} by processor time, which others' load does not change; {} beside a \
         limit of {} ({} a check); foreign load {}.",
        shown(verify, "receipts", ""),
        percent("ratio"),
        percent("ratio_min"),
        percent("ratio_max"),
        percent("ratio_time"),
        shown(verify, "per_second", "/s"),
        shown(verify, "limit", "/s"),
        shown(verify, "check_us", "µs"),
        shown(verify, "foreign", "")
    );
    let memory = of(lines, "memory");
    let _ = writeln!(
        out,
        "\n## Memory\n\nResident, idle after a short load: monitor {}, `wrap` {}.",
        shown(memory, "monitor_mib", "MiB"),
        shown(memory, "wrap_mib", "MiB")
    );
    let capability = of(lines, "capability");
    let _ = writeln!(
        out,
        "\n## Capabilities\n\nThree blocks, {} bytes. Read before: {} to look at in a verdict; with its longer receipt {} more of processor \
         time in an action of {}. Read for the first time: {}, {} times its three strict signature checks alone \
         ({}). Revoking one of {} that stand: {} in memory, beside the file and the sync of its order; then each of \
         the {} that were made from it is refused after {}. Foreign load {}.",
        shown(capability, "bytes", ""),
        shown(capability, "warm_us", "µs"),
        shown(capability, "added_us", "µs"),
        shown(capability, "action_us", "µs"),
        shown(capability, "cold_us", "µs"),
        shown(capability, "times_checks", ""),
        shown(capability, "checks_us", "µs"),
        shown(capability, "live", ""),
        shown(capability, "revoke_us", "µs"),
        shown(capability, "made", ""),
        shown(capability, "refused_us", "µs"),
        shown(capability, "foreign", "")
    );
    let many = of(lines, "principals");
    let _ = writeln!(
        out,
        "\n## Many principals\n\n{} enrolled from a file, each with a signed order and a receipt of its own, \
         through the socket and with real syncs: {}; {} where the home makes a key file for each; one more, a \
         process each: {}. The same file again: {}. Start in the process: {}, {} after a kill; a page of the \
         list: {}. The monitor has {} resident after a start; the orders take {}. Foreign load {}.",
        shown(many, "count", ""),
        shown(many, "per_second", "/s"),
        shown(many, "made_per_second", "/s"),
        shown(many, "single_ms", "ms"),
        shown(many, "again_ms", "ms"),
        shown(many, "start_ms", "ms"),
        shown(many, "killed_ms", "ms"),
        shown(many, "page_ms", "ms"),
        shown(many, "resident_after_start_mib", "MiB"),
        shown(many, "orders_mib", "MiB"),
        shown(many, "foreign", "")
    );
}

fn place(lines: &[Value], out: &mut String) {
    out.push_str("\n## Where and how\n\n");
    let Some(line) = lines.last() else { return };
    let machine = |name| line.pointer(&format!("/machine/{name}")).map(plain).unwrap_or_default();
    let when = line.get("unix").and_then(Value::as_u64).unwrap_or_default();
    let day = tipstaff_core::Millis(when * 1000).to_string();
    let _ = writeln!(
        out,
        "{} processors of \"{}\", Linux {}; {}. `bench/run`, which runs:\n",
        machine("cores"),
        machine("model"),
        machine("kernel"),
        day.get(..10).unwrap_or_default()
    );
    let mut commands: Vec<String> = Vec::new();
    for line in lines {
        let command = line.get("command").map(plain).unwrap_or_default();
        // Where this run kept its results says nothing.
        let words = command.split(" --out ").next().unwrap_or_default().to_owned();
        if !commands.contains(&words) {
            commands.push(words);
        }
    }
    for command in commands {
        let _ = writeln!(out, "    cargo run --release -p tipstaff-bench -- {command}");
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn spread(value: Option<&Value>) -> String {
    let at = |index| value.and_then(|value| value.get(index)?.as_f64());
    match (at(0), at(1), at(2)) {
        (Some(middle), Some(least), Some(most)) => {
            format!("{} [{} to {}]", number(middle, ""), number(least, ""), number(most, ""))
        }
        _ => "-".to_owned(),
    }
}

/// Three significant digits where there are fewer before the point.
fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let space = if unit.is_empty() || unit.starts_with('/') { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_promise_is_met_or_not_or_not_measured() {
        let line = |ratio: f64| json!({ "name": "verify", "result": { "ratio": ratio } });
        let report = write(&[line(0.5), line(0.9)]);
        assert!(report.contains("| 90.0 % | met |"), "{report}");
        assert!(write(&[line(0.5)]).contains("| 50.0 % | not met |"));
        assert!(write(&[]).contains("| - | not measured |"));
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([number(12_345.6, "/s"), number(0.1234, "ms")], ["12346/s", "0.123 ms"]);
    }
}
