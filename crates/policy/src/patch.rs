//! JSON Patch (RFC 6902) on the parameters of an action: what a MODIFY verdict does.
//!
//! The adversary hopes that a patch, applied to arguments of his choosing, yields something that no
//! strict parser would have accepted, or grows without bound. The result is measured after every
//! operation and read again by the strict parser.

use json_patch::PatchOperation;
use tipstaff_core::Json;
use tipstaff_core::limits::BODY_BYTES_MAX;

use crate::error::PatchFault;

/// Most operations in one patch; each may copy the whole document.
pub const PATCH_OPERATIONS_MAX: usize = 64;

/// A parsed patch.
#[derive(Debug, Clone)]
pub struct Patch {
    operations: Vec<PatchOperation>,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// [`PatchFault::NotAPatch`] or [`PatchFault::TooLong`].
    pub fn new(json: &Json) -> Result<Self, PatchFault> {
        let operations: Vec<PatchOperation> =
            serde_json::from_str(&json.to_canonical()).map_err(|_| PatchFault::NotAPatch)?;
        if operations.len() > PATCH_OPERATIONS_MAX {
            return Err(PatchFault::TooLong);
        }
        Ok(Self { operations })
    }

    /// The patched parameters.
    ///
    /// # Errors
    /// [`PatchFault::DoesNotFit`] if an operation fails, [`PatchFault::BadResult`] if the result is too
    /// large or not acceptable to the strict parser.
    pub fn apply(&self, parameters: &Json) -> Result<Json, PatchFault> {
        let mut document: serde_json::Value =
            serde_json::from_str(&parameters.to_canonical()).map_err(|_| PatchFault::BadResult)?;
        let mut text = None;
        for operation in &self.operations {
            json_patch::patch(&mut document, std::slice::from_ref(operation))
                .map_err(|_| PatchFault::DoesNotFit)?;
            let written = document.to_string();
            // A `copy` can double the document, so that measuring only the end would be too late.
            if written.len() > BODY_BYTES_MAX {
                return Err(PatchFault::BadResult);
            }
            text = Some(written);
        }
        text.map_or_else(
            || Ok(parameters.clone()),
            |text| Json::parse(text.as_bytes()).map_err(|_| PatchFault::BadResult),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let patch = Patch::new(&json(r#"[{"op":"add","path":"/dry","value":true}]"#)).unwrap();
        let before = json(r#"{"n":1.5,"s":"\u0000é","big":9007199254740991}"#);
        let after = patch.apply(&before).unwrap();
        let expected = before.as_object().unwrap().with("dry", Json::Bool(true));
        assert_eq!(after, Json::Object(expected));
    }

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(Patch::new(&json(r#"{"op":"add"}"#)).err(), Some(PatchFault::NotAPatch));
        let many = format!("[{}]", vec![r#"{"op":"remove","path":"/a"}"#; 65].join(","));
        assert_eq!(Patch::new(&json(&many)).err(), Some(PatchFault::TooLong));
        let remove = Patch::new(&json(r#"[{"op":"remove","path":"/a"}]"#)).unwrap();
        assert_eq!(remove.apply(&json("{}")), Err(PatchFault::DoesNotFit));
    }

    #[test]
    fn a_patch_that_doubles_is_stopped_early() {
        let double = r#"{"op":"copy","from":"","path":"/a"},{"op":"copy","from":"/a","path":"/b"}"#;
        let patch = Patch::new(&json(&format!("[{}]", vec![double; 30].join(",")))).unwrap();
        assert_eq!(patch.apply(&json(r#"{"x":"0123456789"}"#)), Err(PatchFault::BadResult));
        let large = Patch::new(&json(r#"[{"op":"add","path":"/n","value":1}]"#)).unwrap();
        let nearly = format!("{{\"s\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX - 9));
        assert_eq!(large.apply(&json(&nearly)), Err(PatchFault::BadResult));
    }
}
