//! What the log of orders says of capabilities: which are granted, under which, and which are revoked.
//!
//! The adversary presents a capability under another parent than its own, hides an ancestor that was revoked, or
//! gives a node a log that was changed. Every entry changes the head, so two folds with one head know the same.

use std::collections::{BTreeMap, BTreeSet};

use tipstaff_core::Digest;

/// Ancestors that a capability has at most, itself included.
pub(super) const DEPTH_MAX: usize = 64;
/// Capabilities and revocations that are known at most, each.
const IDS_MAX: usize = 4_000_000;
/// Distinguishes these digests from every other kind.
const FORM: &[u8] = b"tipstaff-feed-1";

/// One entry of the log of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A capability that derives from another, or from nothing.
    Grant {
        /// Its id.
        id: Digest,
        /// The one that it derives from.
        parent: Option<Digest>,
    },
    /// The end of a capability and of all that derive from it; also of one that was never granted here, because
    /// smaller ones are made without asking.
    Revoke {
        /// Its id.
        id: Digest,
    },
    /// Any other change of control state, by its digest.
    Other {
        /// What it leads to.
        to: Digest,
    },
}

/// How far a fold of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Entries folded in: the control revision.
    pub revision: u64,
    /// Commits to all of them, in their order.
    pub digest: Digest,
}

/// The fold of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    head: Head,
    parents: BTreeMap<Digest, Option<Digest>>,
    revoked: BTreeSet<Digest>,
}

/// A capability as it is presented: from one that the log granted to the one that is used, each deriving from the
/// one before it. That they do is proved by their signatures, before this is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage(Vec<Digest>);

/// Why an entry can't be in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// The id was granted before.
    #[error("the capability was granted before")]
    Taken,
    /// It derives from nothing that is known.
    #[error("the capability derives from one that is not known")]
    Parent,
    /// What it derives from has ended.
    #[error("the capability derives from one that was revoked")]
    Ended,
    /// It has too many ancestors.
    #[error("the capability has more than {DEPTH_MAX} ancestors")]
    Depth,
    /// Too many are known.
    #[error("more than {IDS_MAX} capabilities")]
    TooMany,
}

/// Why a capability gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInForce {
    /// The log doesn't grant it, as far as it is known here.
    #[error("the capability is not granted by the log, as far as it is known here")]
    NotGranted,
    /// It, or what it derives from, was revoked.
    #[error("the capability was revoked, or one that it derives from")]
    Revoked {
        /// Which one.
        id: Digest,
    },
}

impl Entry {
    /// Bytes of an entry.
    pub const BYTES: usize = 65;

    /// The bytes that the head commits to, and that are kept.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let (kind, id, parent) = match self {
            Self::Grant { id, parent: None } => (1, id, Digest::ZERO),
            Self::Grant { id, parent: Some(parent) } => (2, id, *parent),
            Self::Revoke { id } => (3, id, Digest::ZERO),
            Self::Other { to } => (4, to, Digest::ZERO),
        };
        let mut bytes = [0; Self::BYTES];
        let parts = [&[kind][..], id.as_bytes(), parent.as_bytes()];
        for (byte, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *from;
        }
        bytes
    }

    /// Reads them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, ids) = bytes.split_first()?;
        let (id, parent) = ids.split_at_checked(32)?;
        let digest = |bytes: &[u8]| Some(Digest::from_bytes(bytes.try_into().ok()?));
        let (id, parent) = (digest(id)?, digest(parent)?);
        let entry = match kind {
            1 => Self::Grant { id, parent: None },
            2 => Self::Grant { id, parent: Some(parent) },
            3 => Self::Revoke { id },
            4 => Self::Other { to: id },
            _ => return None,
        };
        // One spelling: what is unused is zero.
        (entry.to_bytes() == bytes).then_some(entry)
    }
}

impl Default for Head {
    fn default() -> Self {
        Self { revision: 0, digest: Digest::ZERO }
    }
}

impl Head {
    /// The head after one more entry.
    #[must_use]
    pub fn after(self, entry: &Entry) -> Self {
        let digest = Digest::of_parts(&[FORM, self.digest.as_bytes(), &entry.to_bytes()]);
        Self { revision: self.revision.saturating_add(1), digest }
    }
}

impl Lineage {
    /// From the one that the log granted to the one that is used. `None` if there is none, if there are more than 64,
    /// or if one is there twice.
    #[must_use]
    pub fn new(ids: Vec<Digest>) -> Option<Self> {
        let different: BTreeSet<&Digest> = ids.iter().collect();
        let fine = !ids.is_empty() && ids.len() <= DEPTH_MAX && different.len() == ids.len();
        fine.then_some(Self(ids))
    }

    /// They, in their order.
    #[must_use]
    pub fn ids(&self) -> &[Digest] {
        &self.0
    }
}

impl Known {
    /// How far this is.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Folds an entry in.
    ///
    /// # Errors
    /// [`EntryFault`]; then nothing changed.
    pub fn apply(&mut self, entry: &Entry) -> Result<Head, EntryFault> {
        match *entry {
            Entry::Grant { id, parent } => {
                if self.parents.contains_key(&id) {
                    return Err(EntryFault::Taken);
                }
                if self.revoked.contains(&id) {
                    return Err(EntryFault::Ended);
                }
                if let Some(parent) = parent {
                    if !self.parents.contains_key(&parent) {
                        return Err(EntryFault::Parent);
                    }
                    if self.ancestors(parent).count() >= DEPTH_MAX {
                        return Err(EntryFault::Depth);
                    }
                    if self.ancestors(parent).any(|id| self.revoked.contains(&id)) {
                        return Err(EntryFault::Ended);
                    }
                }
                if self.parents.len() >= IDS_MAX {
                    return Err(EntryFault::TooMany);
                }
                self.parents.insert(id, parent);
            }
            Entry::Revoke { id } => {
                if self.revoked.len() >= IDS_MAX {
                    return Err(EntryFault::TooMany);
                }
                self.revoked.insert(id);
            }
            Entry::Other { .. } => {}
        }
        self.head = self.head.after(entry);
        Ok(self.head)
    }

    /// Whether a capability is in force, as far as this knows.
    ///
    /// # Errors
    /// [`NotInForce`]
    pub fn in_force(&self, lineage: &Lineage) -> Result<(), NotInForce> {
        let (first, rest) = lineage.0.split_first().ok_or(NotInForce::NotGranted)?;
        if !self.parents.contains_key(first) {
            return Err(NotInForce::NotGranted);
        }
        // What the log granted under something has no other parent.
        for (above, id) in lineage.0.iter().zip(rest) {
            if self.parents.get(id).is_some_and(|parent| parent.as_ref() != Some(above)) {
                return Err(NotInForce::NotGranted);
            }
        }
        let mut all = rest.iter().copied().chain(self.ancestors(*first));
        match all.find(|id| self.revoked.contains(id)) {
            Some(id) => Err(NotInForce::Revoked { id }),
            None => Ok(()),
        }
    }

    /// What was revoked, by id, without what derives from it.
    pub fn revoked(&self) -> impl Iterator<Item = &Digest> {
        self.revoked.iter()
    }

    /// Digest of all that is known: equal for equal folds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = self.head.revision.to_be_bytes().to_vec();
        bytes.extend(self.head.digest.as_bytes());
        for (id, parent) in &self.parents {
            bytes.extend(Entry::Grant { id: *id, parent: *parent }.to_bytes());
        }
        for id in &self.revoked {
            bytes.extend(Entry::Revoke { id: *id }.to_bytes());
        }
        Digest::of_parts(&[FORM, &bytes])
    }

    /// A granted one and what it derives from, upwards.
    fn ancestors(&self, id: Digest) -> impl Iterator<Item = Digest> {
        // INVARIANT: parents are granted before children, so this ends; the bound is for who doesn't believe it.
        let above = |id: &Digest| self.parents.get(id).copied().flatten();
        std::iter::successors(Some(id), above).take(DEPTH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    fn grant(n: u64, parent: Option<u64>) -> Entry {
        Entry::Grant { id: id(n), parent: parent.map(id) }
    }

    fn line(ids: &[u64]) -> Lineage {
        Lineage::new(ids.iter().copied().map(id).collect()).unwrap()
    }

    #[test]
    fn a_revocation_ends_what_derives_from_it_and_nothing_else() {
        let mut known = Known::default();
        for entry in [grant(1, None), grant(2, Some(1)), grant(3, Some(2)), grant(4, Some(1))] {
            known.apply(&entry).unwrap();
        }
        // 5 and 6 were made offline.
        let all = [&[1][..], &[2], &[3], &[3, 5], &[3, 5, 6], &[4], &[4, 7], &[1, 2, 3, 5]];
        assert!(all.iter().all(|ids| known.in_force(&line(ids)).is_ok()));
        known.apply(&Entry::Revoke { id: id(2) }).unwrap();
        for ids in all {
            let ended = ids.contains(&2) || ids.contains(&3);
            let revoked = NotInForce::Revoked { id: id(2) };
            let expected = if ended { Err(revoked) } else { Ok(()) };
            assert_eq!(known.in_force(&line(ids)), expected, "{ids:?}");
        }
        // One that was made offline ends alone.
        known.apply(&Entry::Revoke { id: id(7) }).unwrap();
        assert!(known.in_force(&line(&[4, 7])).is_err() && known.in_force(&line(&[4])).is_ok());
    }

    #[test]
    fn a_parent_is_the_one_that_was_granted() {
        let mut known = Known::default();
        for entry in [grant(1, None), grant(2, Some(1)), grant(3, None)] {
            known.apply(&entry).unwrap();
        }
        for (ids, fine) in [
            (&[1, 2][..], true),
            (&[3, 2], false),
            (&[2, 1], false),
            (&[9], false),
            (&[9, 2], false),
            (&[1, 9], true),
        ] {
            assert_eq!(known.in_force(&line(ids)).is_ok(), fine, "{ids:?}");
        }
        assert!(Lineage::new(Vec::new()).is_none());
        assert!(Lineage::new(vec![id(1), id(2), id(1)]).is_none());
        assert!(Lineage::new((0..65).map(id).collect()).is_none());
        for (entry, fault) in [
            (grant(2, Some(3)), EntryFault::Taken),
            (grant(4, Some(9)), EntryFault::Parent),
            (grant(4, Some(4)), EntryFault::Parent),
        ] {
            let before = known.clone();
            assert_eq!(known.apply(&entry), Err(fault));
            assert_eq!(known, before);
        }
        known.apply(&Entry::Revoke { id: id(1) }).unwrap();
        known.apply(&Entry::Revoke { id: id(5) }).unwrap();
        assert_eq!(known.apply(&grant(4, Some(2))), Err(EntryFault::Ended));
        assert_eq!(known.apply(&grant(5, None)), Err(EntryFault::Ended));
    }

    #[test]
    fn a_chain_of_grants_is_bounded() {
        let mut known = Known::default();
        known.apply(&grant(0, None)).unwrap();
        for n in 1..DEPTH_MAX as u64 {
            known.apply(&grant(n, Some(n - 1))).unwrap();
        }
        let n = DEPTH_MAX as u64;
        assert_eq!(known.apply(&grant(n, Some(n - 1))), Err(EntryFault::Depth));
        known.apply(&Entry::Revoke { id: id(0) }).unwrap();
        assert!(known.in_force(&line(&[n - 1])).is_err());
    }

    proptest! {
        #[test]
        fn entries_read_back_and_every_one_of_them_moves_the_head(
            kinds in proptest::collection::vec((0..4_u8, 0..9_u64, 0..9_u64), 1..60)
        ) {
            let (mut known, mut log) = (Known::default(), Vec::new());
            for (kind, a, b) in kinds {
                let entry = match kind {
                    0 => grant(a, None),
                    1 => grant(a, Some(b)),
                    2 => Entry::Revoke { id: id(a) },
                    _ => Entry::Other { to: id(a) },
                };
                prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
                let before = known.head();
                if known.apply(&entry).is_ok() {
                    prop_assert_eq!(known.head(), before.after(&entry));
                    prop_assert_ne!(known.head().digest, before.digest);
                    log.push(entry);
                }
            }
            let mut again = Known::default();
            for entry in &log {
                again.apply(entry).unwrap();
            }
            prop_assert_eq!(again.digest(), known.digest());
            prop_assert_eq!(known.head().revision, log.len() as u64);
            let mut bytes = grant(1, None).to_bytes();
            bytes[64] = 1;
            prop_assert_eq!(Entry::from_bytes(&bytes), None);
            prop_assert_eq!(Entry::from_bytes(&bytes[..64]), None);
        }
    }
}
