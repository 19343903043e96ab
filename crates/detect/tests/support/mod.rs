//! The labelled sets, expanded, and the rates that the detectors reach on them.
//!
//! A line of a set has slots such as `⟦ghp:7⟧` or `⟦b64|text⟧`, so that no file of the repository holds what
//! a scanner would take for a secret. The same slot always gives the same text.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "test helpers fail by panicking"
)]

mod people;
mod slots;

use std::fmt::Write as _;
use std::path::Path;

use tipstaff_detect::{Kind, Limits, scan};

/// One labelled text.
pub struct Item {
    pub id: String,
    pub kinds: Vec<Kind>,
    pub text: String,
}

/// Which half an item is in, by FNV-1a of its id: even for tuning, odd held out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Tuning,
    HeldOut,
}

impl Item {
    pub fn half(&self) -> Half {
        let hash = self.id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if (hash ^ hash >> 32) & 1 == 0 { Half::Tuning } else { Half::HeldOut }
    }
}

pub const SETS: [&str; 6] = ["secret", "personal", "instruction", "hidden", "encoded", "common"];

pub fn load(set: &str) -> Vec<Item> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sets/{set}.jsonl"));
    let lines = std::fs::read_to_string(path).unwrap();
    lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let kinds = value["kinds"].as_array().unwrap().iter().map(|kind| {
                let name = kind.as_str().unwrap();
                Kind::ALL.into_iter().find(|kind| kind.as_str() == name).unwrap()
            });
            Item {
                id: value["id"].as_str().unwrap().to_owned(),
                kinds: kinds.collect(),
                text: slots::expand(value["text"].as_str().unwrap()),
            }
        })
        .collect()
}

pub fn all() -> Vec<Item> {
    SETS.into_iter().flat_map(load).collect()
}

/// Found of those that there are.
#[derive(Clone, Copy, Default)]
pub struct Rate {
    pub found: usize,
    pub of: usize,
}

impl Rate {
    fn cell(self) -> String {
        let percent = 100.0 * self.found as f64 / self.of.max(1) as f64;
        format!("{percent:.1} % ({} of {})", self.found, self.of)
    }
}

pub fn rates(items: &[Item], kind: Kind, half: Half) -> (Rate, Rate) {
    let mut recall = Rate::default();
    let mut wrong = Rate::default();
    for item in items.iter().filter(|item| item.half() == half) {
        let is_found = scan(item.text.as_bytes(), &Limits::default()).has(kind);
        let rate = if item.kinds.contains(&kind) { &mut recall } else { &mut wrong };
        rate.of += 1;
        rate.found += usize::from(is_found);
    }
    (recall, wrong)
}

/// The table of `docs/detectors.md`.
pub fn table() -> String {
    let items = all();
    let mut table = String::from(
        "| kind | recall, tuning | recall, held out | wrongly found, tuning | wrongly found, held out |\n\
         |---|---|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let (recall, wrong) = rates(&items, kind, Half::Tuning);
        let (recall_out, wrong_out) = rates(&items, kind, Half::HeldOut);
        let cells = [recall.cell(), recall_out.cell(), wrong.cell(), wrong_out.cell()];
        writeln!(table, "| {} | {} |", kind.as_str(), cells.join(" | ")).unwrap();
    }
    table
}
