//! Verifying proofs without the tree.
//!
//! The adversary wrote the proof, the indexes and the sizes. All arithmetic here is shifts and
//! comparisons, which cannot overflow, every hash must be used, and work is bounded by the proof's
//! length.

use tipstaff_core::Digest;

use super::{ProofError, empty_root, node_hash};

/// Checks that `leaf` (a leaf hash) is number `index` in the tree of `size` leaves under `root`.
///
/// # Errors
/// [`ProofError::OutOfTree`], [`ProofError::ProofLength`], [`ProofError::RootMismatch`]
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Digest,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree);
    }
    let (mut position, mut last) = (index, size - 1);
    let mut node = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::ProofLength);
        }
        if position & 1 == 1 || position == last {
            node = node_hash(sibling, &node);
            // The last node of a level has no sibling where its count is odd: it rises unchanged.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::ProofLength);
    }
    same_root(&node, root)
}

/// Checks that the tree of `size2` leaves under `root2` begins with the tree of `size1` under `root1`.
/// From the empty tree to a larger one there is nothing to check, so claiming a proof is an error.
///
/// # Errors
/// [`ProofError::OutOfTree`], [`ProofError::ProofLength`], [`ProofError::RootMismatch`]
pub fn verify_consistency(
    size1: u64,
    size2: u64,
    root1: &Digest,
    root2: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if size1 == 0 {
        if size2 != 0 {
            return Err(ProofError::OutOfTree);
        }
        same_root(root2, &empty_root())?;
    }
    verify_subtree_consistency(0, size1, size2, root1, root2, proof)
}

/// Checks that `leaf` is number `index` of the log, within the subtree over leaves `start..end`.
///
/// # Errors
/// [`ProofError::OutOfTree`], [`ProofError::ProofLength`], [`ProofError::RootMismatch`]
pub fn verify_subtree_inclusion(
    index: u64,
    start: u64,
    end: u64,
    leaf: &Digest,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    let count = subtree_count(start, end)?;
    let index = index.checked_sub(start).ok_or(ProofError::OutOfTree)?;
    verify_inclusion(index, count, leaf, proof, root)
}

/// Checks that the tree of `size` leaves under `root` has, over leaves `start..end`, the subtree under
/// `subtree_root`. An empty subtree is in every tree and says nothing about `root`.
///
/// # Errors
/// [`ProofError::OutOfTree`], [`ProofError::ProofLength`], [`ProofError::RootMismatch`]
pub fn verify_subtree_consistency(
    start: u64,
    end: u64,
    size: u64,
    subtree_root: &Digest,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    let count = subtree_count(start, end)?;
    if end > size {
        return Err(ProofError::OutOfTree);
    }
    if count == 0 {
        let empty = if proof.is_empty() { Ok(()) } else { Err(ProofError::ProofLength) };
        return empty.and_then(|()| same_root(subtree_root, &empty_root()));
    }
    // First and last leaf of the subtree, last leaf of the tree: then their ancestors, level by level.
    let (mut first, mut inner, mut outer) = (start, end - 1, size - 1);
    // Climb while the subtree's last node is also the root of a part that the tree has as it is.
    while first != inner && (inner == outer || inner & 1 == 1) {
        (first, inner, outer) = (first >> 1, inner >> 1, outer >> 1);
    }
    let mut hashes = proof.iter();
    let seed = if first == inner { Some(subtree_root) } else { hashes.next() };
    let seed = seed.ok_or(ProofError::ProofLength)?;
    let (mut subtree, mut tree) = (*seed, *seed);
    for hash in hashes {
        if outer == 0 {
            return Err(ProofError::ProofLength);
        }
        if inner & 1 == 1 || inner == outer {
            if first < inner {
                subtree = node_hash(hash, &subtree);
            }
            tree = node_hash(hash, &tree);
            while inner & 1 == 0 && inner != 0 {
                (first, inner, outer) = (first >> 1, inner >> 1, outer >> 1);
            }
        } else {
            tree = node_hash(&tree, hash);
        }
        (first, inner, outer) = (first >> 1, inner >> 1, outer >> 1);
    }
    if outer != 0 {
        return Err(ProofError::ProofLength);
    }
    same_root(&subtree, subtree_root).and_then(|()| same_root(&tree, root))
}

/// The number of leaves in `start..end`, if that is where a subtree of a larger tree can be.
fn subtree_count(start: u64, end: u64) -> Result<u64, ProofError> {
    let count = end.checked_sub(start).ok_or(ProofError::OutOfTree)?;
    // No power of two fits above 2^63 leaves: only the leftmost subtree can be that large.
    let aligned =
        count.checked_next_power_of_two().map_or(start == 0, |power| start & (power - 1) == 0);
    if aligned { Ok(count) } else { Err(ProofError::OutOfTree) }
}

fn same_root(computed: &Digest, expected: &Digest) -> Result<(), ProofError> {
    if computed == expected { Ok(()) } else { Err(ProofError::RootMismatch) }
}
