//! x
use std::path::Path;
use crate::failure::Failure;
pub(crate) fn run(_results: &Path) -> Result<(), Failure> { Ok(()) }
