//! Prints what the detectors find and wrongly find in the labelled sets, as a Markdown table.
//!
//! ```text
//! cargo run -p tipstaff-detect --example rates              the table of docs/detectors.md
//! cargo run -p tipstaff-detect --example rates -- errors    and what went wrong in the tuning half
//! cargo run -p tipstaff-detect --example rates --release -- speed
//! … --example rates -- files < names.txt                   the detectors in each of these files
//! … --example rates -- lines < strings.jsonl               the kinds in each line, a JSON string
//! ```
#![expect(clippy::print_stdout, reason = "it prints")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use support::Half;
use tipstaff_detect::{Kind, Limits, scan};

fn main() {
    let what = std::env::args().nth(1);
    if what.as_deref() == Some("speed") {
        speed();
        return;
    }
    if what.as_deref() == Some("files") {
        files();
        return;
    }
    if what.as_deref() == Some("lines") {
        lines();
        return;
    }
    print!("{}", support::table());
    if what.as_deref() == Some("errors") {
        errors();
    }
}

fn errors() {
    for item in support::all().iter().filter(|item| item.half() == Half::Tuning) {
        let found = scan(item.text.as_bytes(), &Limits::default());
        for kind in Kind::ALL {
            let mark = match (item.kinds.contains(&kind), found.has(kind)) {
                (true, false) => "missed",
                (false, true) => "wrong",
                _ => continue,
            };
            let by: Vec<&str> = found.detectors().map(|(one, _)| one.as_str()).collect();
            let text: String = item.text.chars().take(140).collect();
            println!("{mark} {} {} {by:?} {text:?}", kind.as_str(), item.id);
        }
    }
}

/// For files of others: the detectors that find something in each that is named on the standard input.
fn files() {
    for name in std::io::stdin().lines().map_while(Result::ok) {
        let Ok(bytes) = std::fs::read(&name) else { continue };
        let found = scan(&bytes, &Limits::default());
        let by: Vec<&str> = found.detectors().map(|(one, _)| one.as_str()).collect();
        let first = found.first().next().map_or(0, |one| one.range.start);
        println!("{} {first} {name}", by.join(","));
    }
}

/// For sets of others: what is found in each JSON string of the standard input.
fn lines() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let text: String = serde_json::from_str(&line).unwrap_or(line);
        let found = scan(text.as_bytes(), &Limits::default());
        let kinds: Vec<&str> = found.kinds().map(Kind::as_str).collect();
        println!("{}", kinds.join(","));
    }
}

/// Seconds that this thread has computed, where Linux says so, so that a busy machine does not matter.
fn computed(since: Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedstat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.map_or_else(|| since.elapsed().as_secs_f64(), |count| count / 1e9)
}

fn speed() {
    let since = Instant::now();
    let items = support::load("common");
    let prose: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
    let english = "The harbour was quiet in the morning, and the gulls sat on the masts of boats. \
                   Nobody had expected that the letter would arrive before the end of the week.\n";
    let log =
        "2026-11-21T10:22:33.123Z INFO  [http-3] GET /api/v1/items/18 200 12ms 10.0.0.7 ua=curl\n";
    let json = "{\"id\":118,\"name\":\"bolt M4\",\"tags\":[\"steel\",\"small\"],\"price\":0.12,\"note\":\"a\\nb\"},";
    let html = "<div class=\"row\"><p>Some text in a <a href=\"/items/18\">page</a> of a shop.</p></div>\n";
    let chinese = "今天的会议改到下午三点请准时参加我们将讨论下个季度的计划和预算。";
    let binary: Vec<u8> =
        (0..20_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let fill = |text: &str| text.repeat(20_000_000 / text.len() + 1).into_bytes();
    let inputs = [
        ("English prose", fill(english)),
        ("the common set", fill(&prose.join("\n"))),
        ("log lines", fill(log)),
        ("JSON", fill(json)),
        ("HTML", fill(html)),
        ("Chinese prose", fill(chinese)),
        ("base64", fill("q7Rk2mZx9TbV4wLs8HdN1cYfA0PzUe")),
        ("random bytes", binary),
    ];
    println!("| text of 20 MB | MB/s |\n|---|---|");
    for (name, bytes) in inputs {
        let start = computed(since);
        let found = scan(&bytes, &Limits::default());
        let seconds = computed(since) - start;
        let kinds: Vec<&str> = found.kinds().map(Kind::as_str).collect();
        println!("| {name} | {:.0} | {kinds:?}", bytes.len() as f64 / 1e6 / seconds);
    }
}
