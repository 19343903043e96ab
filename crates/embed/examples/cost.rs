//! What the local model costs: time to load, time for a text, memory.
//!
//! `cargo run -p tipstaff-embed --release --example cost -- FOLDER`

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use tipstaff_embed::{Embedder as _, MiniLm, action_text};

const TURNS: usize = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("cost FOLDER")?;
    let before = resident()?;
    let began = Instant::now();
    let model = MiniLm::open(Path::new(&folder))?;
    println!("method   {}", model.method());
    println!("load     {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    println!("memory   {:.0} MiB more than before", resident()? - before);
    let short = action_text(
        "mail",
        "send_email",
        "tools/call",
        r#"{"to":"anna@example.com","subject":"Rent for March","body":"Paid today, thank you."}"#,
    );
    let long = "the quick brown fox jumps over the lazy dog and ".repeat(40);
    for (name, text) in [("action", short.as_str()), ("longest", &long)] {
        let mut times = Vec::with_capacity(TURNS);
        let busy = processor()?;
        for _ in 0..TURNS {
            let began = Instant::now();
            model.embed(text)?;
            times.push(began.elapsed());
        }
        let busy = (processor()? - busy) / TURNS as f64;
        times.sort();
        let at = |part: usize| times.get(TURNS * part / 100).copied().unwrap_or(Duration::ZERO);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let tokens = model.tokens(text)?.len();
        println!(
            "{name:8} {tokens} tokens: p50 {:.1} ms, p95 {:.1} ms, of the processor {busy:.1} ms",
            ms(at(50)),
            ms(at(95))
        );
    }
    println!("memory   {:.0} MiB more than before, in use", resident()? - before);
    Ok(())
}

/// Milliseconds that this thread ran, however busy the machine is.
fn processor() -> Result<f64, Box<dyn std::error::Error>> {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = spent.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e6)
}

/// Resident memory of this process in MiB.
fn resident() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
