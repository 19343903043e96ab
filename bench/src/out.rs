//! Results: one JSON line each, with where and beside what they were measured.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::machine;

/// Where results go beside the terminal.
#[derive(Debug)]
pub(crate) struct Out {
    file: Option<PathBuf>,
}

impl Out {
    pub(crate) const fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Appends one result.
    pub(crate) fn write(&self, name: &str, result: &Value) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let command: Vec<String> = std::env::args().skip(1).collect();
        let line = json!({
            "name": name, "result": result, "machine": machine::describe(),
            "command": command.join(" "), "unix": machine::unix_seconds(),
        });
        let mut file = File::options().create(true).append(true).open(path)?;
        Ok(writeln!(file, "{line}")?)
    }
}
