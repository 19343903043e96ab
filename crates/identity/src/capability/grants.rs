//! What was granted and what was revoked, as a fold of orders.
//!
//! The adversary presents what nobody granted, or goes on with what was revoked. Revoking is one entry in a set; each
//! token carries the ids of all blocks above it, so that whatever was made from a revoked one ends with it, whether or
//! not anybody here has seen it before.

use std::collections::{BTreeMap, BTreeSet};

use tipstaff_core::key::VerifyingKey;
use tipstaff_core::{Digest, Json, Millis};

use super::Fault;
use crate::principal::Name;

/// Most grants, and most revocations.
const MAX: usize = 1 << 20;

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub to: Name,
    /// Signs its first block, and nothing else.
    pub root: VerifyingKey,
    /// Their key.
    pub holder: VerifyingKey,
    /// When.
    pub at: Millis,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    granted: BTreeMap<Digest, Grant>,
    revoked: BTreeSet<Digest>,
}

/// Why a grant or revocation changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantFault {
    /// It was granted or revoked before.
    #[error("that was done already")]
    Already,
    /// Too many.
    #[error("more than a million grants or revocations")]
    TooMany,
}

impl Grants {
    /// Adds a grant, named by the id of its first block.
    ///
    /// # Errors
    /// [`GrantFault`]
    pub fn grant(&mut self, id: Digest, grant: Grant) -> Result<(), GrantFault> {
        if self.granted.len() >= MAX {
            return Err(GrantFault::TooMany);
        }
        if self.granted.contains_key(&id) {
            return Err(GrantFault::Already);
        }
        self.granted.insert(id, grant);
        Ok(())
    }

    /// Ends a block, and whatever was made from it.
    ///
    /// # Errors
    /// [`GrantFault`]
    pub fn revoke(&mut self, id: Digest) -> Result<(), GrantFault> {
        if self.revoked.len() >= MAX {
            return Err(GrantFault::TooMany);
        }
        if self.revoked.insert(id) { Ok(()) } else { Err(GrantFault::Already) }
    }

    /// The grant of this id.
    ///
    /// # Errors
    /// [`Fault::Unknown`]
    pub fn find(&self, id: Digest) -> Result<&Grant, Fault> {
        self.granted.get(&id).ok_or(Fault::Unknown)
    }

    /// Whether one of these blocks was revoked.
    #[must_use]
    pub fn revoked(&self, ids: &[Digest]) -> Option<Digest> {
        ids.iter().find(|id| self.revoked.contains(id)).copied()
    }

    /// Whether nothing was granted or revoked yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty() && self.revoked.is_empty()
    }

    /// Everything, for a listing: grants by id, and what was revoked.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let text = |name: &str, text: String| (name.to_owned(), Json::String(text));
        let granted = self.granted.iter().map(|(id, grant)| {
            let at = i64::try_from(grant.at.0).unwrap_or(i64::MAX);
            let members = vec![
                ("at".to_owned(), Json::from(at)),
                text("holder", grant.holder.to_did_key()),
                text("id", id.to_hex()),
                ("revoked".to_owned(), Json::from(self.revoked.contains(id))),
                text("root", grant.root.to_did_key()),
                text("to", grant.to.to_string()),
            ];
            Json::object(members).unwrap_or(Json::Null)
        });
        let revoked = self.revoked.iter().map(|id| Json::String(id.to_hex()));
        let members = vec![
            ("granted".to_owned(), Json::Array(granted.collect())),
            ("revoked".to_owned(), Json::Array(revoked.collect())),
        ];
        Json::object(members).unwrap_or(Json::Null)
    }
}
