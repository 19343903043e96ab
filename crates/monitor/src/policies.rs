//! Policies on disk: read, admitted, put in force with a receipt, or refused while the old set stays.
//!
//! The adversary is a mistake in a rule, and whoever changes a file behind the operator's back: a change
//! is a proposal, its effect is a receipt with the digests before and after, and a set that can't be
//! admitted changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tipstaff_classify::{Annotations, Catalogue};
use tipstaff_core::Digest;
use tipstaff_core::limits::POLICY_BYTES_MAX;
use tipstaff_policy::words::SUFFIX;
use tipstaff_policy::{PolicyFault, PolicySet, PolicySource};

use crate::error::MonitorError;
use crate::pins::Pins;

/// Everything a judgement rests on besides the action and its context. Never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) set: PolicySet,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) pins: Pins,
    /// What the accepted tools say of themselves, by server and tool: read once, not at every call.
    annotations: BTreeMap<String, BTreeMap<String, Annotations>>,
    pub(crate) pins_digest: Digest,
    pub(crate) schema_digest: Digest,
    pub(crate) catalogue_digest: Digest,
}

impl Rules {
    /// Admits a set against the pins.
    pub(crate) fn admit(
        source: &PolicySource,
        pins: &Pins,
        catalogue: &Arc<Catalogue>,
    ) -> Result<Self, Vec<PolicyFault>> {
        let admitted = PolicySet::admit(source, &pins.tool_pins(), catalogue.classes())?;
        Ok(Self {
            schema_digest: admitted.set.schema_digest(),
            set: admitted.set,
            catalogue: Arc::clone(catalogue),
            pins: pins.clone(),
            annotations: pins.all_annotations(),
            pins_digest: pins.digest(),
            catalogue_digest: catalogue.digest(),
        })
    }

    /// The annotations of an accepted tool. They may raise a tier, never lower it.
    pub(crate) fn annotations(&self, server: &str, tool: &str) -> Annotations {
        let known = self.annotations.get(server).and_then(|tools| tools.get(tool));
        known.copied().unwrap_or_default()
    }
}

/// Reads a policy folder: `*.cedar`, access words in `*.access`, and JSON Patches in `patches/*.json`.
///
/// # Errors
/// [`MonitorError`] if it can't be read or is too large.
pub fn read_policies(folder: &Path) -> Result<PolicySource, MonitorError> {
    let mut source = PolicySource::default();
    let mut left = POLICY_BYTES_MAX;
    for (folder, suffixes, into) in [
        (folder.to_owned(), &[".cedar", SUFFIX][..], &mut source.files),
        (folder.join("patches"), &[".json"], &mut source.patches),
    ] {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(MonitorError::System { what: "read the policies", source }),
        };
        for entry in entries {
            let failed = |source| MonitorError::System { what: "read the policies", source };
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let suffix = suffixes.iter().find(|suffix| name.ends_with(**suffix));
            let Some(suffix) = suffix.filter(|_| !name.starts_with('.')) else {
                continue;
            };
            let mut text = String::new();
            let file = fs::File::open(&path).map_err(failed)?;
            let read = file.take(left as u64 + 1).read_to_string(&mut text).map_err(failed)?;
            left = left.checked_sub(read).ok_or_else(|| {
                MonitorError::Inconsistent(format!(
                    "the policies are over {POLICY_BYTES_MAX} bytes"
                ))
            })?;
            let key =
                if *suffix == ".json" { name.trim_end_matches(suffix).to_owned() } else { name };
            into.insert(key, text);
        }
    }
    Ok(source)
}
