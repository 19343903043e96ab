//! Reads JSON strings, one a line, and prints each one's tokens and vector as JSON.
//!
//! `cargo run -p tipstaff-embed --example embed -- FOLDER [--tokens] < texts.jsonl`

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use tipstaff_embed::{Embedder as _, MiniLm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("embed FOLDER [--tokens]")?;
    let tokens_only = arguments.next().is_some_and(|argument| argument == "--tokens");
    let model = MiniLm::open(Path::new(&folder))?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let tokens = model.tokens(&text)?;
        let answer = if tokens_only {
            serde_json::json!({"tokens": tokens})
        } else {
            serde_json::json!({"tokens": tokens, "vector": model.embed(&text)?.values()})
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
