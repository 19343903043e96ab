//! Which files a patch of the form `*** Begin Patch` names, and whether it deletes some.
//!
//! The adversary writes to a place that no argument names: the paths stand inside the one text.

use crate::Classification;
use crate::PathUse;

/// What stands for the files of a patch that names none: no root holds it.
const NOWHERE: &str = "/$/patch";
const HEADERS: [&str; 4] =
    ["*** Add File:", "*** Update File:", "*** Delete File:", "*** Move to:"];

/// Adds the files that a patch names. True if it deletes one.
pub(crate) fn read(pointer: &str, text: &str, found: &mut Classification) -> bool {
    let (mut any, mut deletes) = (false, false);
    for line in text.lines() {
        // Readers of this form are lenient about white space, so this one is too.
        let line = line.trim();
        for header in HEADERS {
            if let Some(path) = line.strip_prefix(header) {
                any = true;
                deletes |= header.contains("Delete");
                let text = path.trim().to_owned();
                found.paths.push(PathUse { pointer: pointer.to_owned(), text });
            }
        }
    }
    if !any {
        found.paths.push(PathUse { pointer: pointer.to_owned(), text: NOWHERE.to_owned() });
    }
    deletes
}
