//! The Merkle log: proofs and full checks.

use std::time::{Duration, Instant};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};
use crate::receipts::find;
use crate::verify;

pub(crate) fn proof(at: &Place, id: &str) -> Outcome {
    // A running monitor publishes within a second.
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let opened = at.open()?;
        let (index, signed) = find(&opened, id)?;
        match opened.reader.prove(index) {
            Ok(proof) => {
                let leaf = signed.to_leaf();
                proof.verify(leaf.as_bytes(), &opened.verifier).map_err(|e| {
                    Failure::undone("The proof does not hold.", e, "Run `tipstaff log fsck`.")
                })?;
                if at.json {
                    let answer = serde_json::json!({
                        "index": index, "leaf": leaf, "proof": proof.to_text(),
                        "vkey": opened.verifier.to_vkey(),
                    });
                    println!("{answer}");
                } else {
                    print!("{}", proof.to_text());
                }
                return Ok(());
            }
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(300)),
            Err(error) => {
                let next = "Start the monitor (any door does) and try again.";
                return Err(Failure::undone("There is no proof yet.", error, next));
            }
        }
    }
}

pub(crate) fn fsck(at: &Place) -> Outcome {
    let opened = at.open()?;
    let next = "Restore the folder from a backup; receipts exported before still verify.";
    let failed = |e: &dyn ToString| Failure::undone("The log is not whole.", e.to_string(), next);
    let mut report = opened.reader.fsck().map_err(|e| failed(&e))?;
    let receipts = match opened.reader.receipts() {
        // The faults say why.
        Err(_) if !report.faults.is_empty() => Vec::new(),
        read => read.map_err(|e| failed(&e))?,
    };
    let leaves: Vec<String> = receipts.iter().map(|(_, signed)| signed.to_leaf()).collect();
    let lines: Vec<&str> = leaves.iter().map(String::as_str).collect();
    let key = std::slice::from_ref(&opened.public.receipts);
    let chains = if lines.is_empty() { Vec::new() } else { verify::check(&lines, key).chains };
    for chain in &chains {
        if let Some((at, reason)) = chain.report.broken {
            report.faults.push(format!("chain {}: {} at {at}", chain.name, reason.as_str()));
        }
    }
    if at.json {
        let answer = serde_json::json!({
            "leaves": report.leaves, "published": report.published, "chains": chains.len(),
            "faults": report.faults,
        });
        println!("{answer}");
    } else {
        println!(
            "{} leaves, {} under the signed checkpoint, {} chains, {} faults",
            report.leaves,
            report.published,
            chains.len(),
            report.faults.len()
        );
        for fault in &report.faults {
            println!("  {fault}");
        }
    }
    if report.faults.is_empty() { Ok(()) } else { Err(Failure::No) }
}
