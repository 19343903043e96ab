//! x
use crate::failure::Failure;
use std::path::Path;
pub(crate) fn run(_results: &Path) -> Result<(), Failure> {
    Ok(())
}
