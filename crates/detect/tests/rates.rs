//! The labelled sets against the documentation: the table in `docs/detectors.md` is what the sets give now,
//! and the sets are as large and as apart as the page says. The adversary is a number that was true once.

mod support;

use std::collections::HashSet;
use std::path::Path;

use support::{Half, SETS, all, load};
use tipstaff_detect::Kind;

#[test]
fn the_documented_table_is_what_the_sets_give() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/detectors.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = "<!-- rates: begin -->\n";
    let from = page.find(begin).expect("no marker") + begin.len();
    let to = page.find("<!-- rates: end -->").expect("no end marker");
    let documented = page.get(from..to).unwrap();
    assert_eq!(
        documented,
        support::table(),
        "docs/detectors.md is stale; cargo run -p tipstaff-detect --example rates prints the table"
    );
}

#[test]
fn the_sets_are_large_enough_and_labelled_once() {
    let items = all();
    let ids: HashSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids.len(), items.len());
    let common = load("common").len();
    for (kind, set) in
        Kind::ALL.into_iter().zip(["secret", "personal", "instruction", "hidden", "encoded"])
    {
        let own = load(set);
        let positives = items.iter().filter(|item| item.kinds.contains(&kind)).count();
        let negatives = own.iter().filter(|item| !item.kinds.contains(&kind)).count() + common;
        assert!(positives >= 150 && negatives >= 300, "{set}: {positives}, {negatives}");
    }
    let held_out = items.iter().filter(|item| item.half() == Half::HeldOut).count();
    assert!(held_out * 5 > items.len() * 2 && held_out * 5 < items.len() * 3);
    assert_eq!(SETS.len(), 6);
}

/// No file of the sets holds what a scanner of repositories would stop.
#[test]
fn the_sets_hold_no_token_as_written() {
    for set in SETS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sets/{set}.jsonl"));
        let text = std::fs::read_to_string(path).unwrap();
        let found = tipstaff_detect::scan(text.as_bytes(), &tipstaff_detect::Limits::default());
        let known: Vec<&str> = found
            .detectors()
            .map(|(one, _)| one.as_str())
            .filter(|name| {
                matches!(
                    *name,
                    "known_token" | "github_token" | "aws_access_key" | "jwt" | "pem_private_key"
                )
            })
            .collect();
        assert!(known.is_empty(), "{set}: {known:?}");
    }
}
