//! Making proofs from a stored tree.
//!
//! The adversary is damage to the store, or someone asking for positions that do not exist: a hash that
//! should be there and is not is an error that names it, never a shorter proof.

use tipstaff_core::Digest;

use super::{HashReader, ProofError, empty_root, node_hash};

/// The root of the first `size` leaves.
///
/// # Errors
/// [`ProofError::MissingHash`]
pub fn tree_root(size: u64, reader: &impl HashReader) -> Result<Digest, ProofError> {
    if size == 0 { Ok(empty_root()) } else { range_root(0, size, reader) }
}

/// The proof that leaf `index` is in the tree of the first `size` leaves.
///
/// # Errors
/// [`ProofError::OutOfTree`] unless `index < size`, [`ProofError::MissingHash`].
pub fn inclusion_proof(
    index: u64,
    size: u64,
    reader: &impl HashReader,
) -> Result<Vec<Digest>, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree);
    }
    let (mut start, mut count) = (0, size);
    let mut proof = Vec::new();
    while count > 1 {
        let left = left_count(count);
        if index - start < left {
            proof.push(range_root(start + left, count - left, reader)?);
            count = left;
        } else {
            proof.push(range_root(start, left, reader)?);
            start += left;
            count -= left;
        }
    }
    // Collected from the root down; the format is from the leaf up.
    proof.reverse();
    Ok(proof)
}

/// The proof that the first `size1` leaves of the tree of `size2` are the whole tree of `size1`.
///
/// # Errors
/// [`ProofError::OutOfTree`] unless `0 < size1 <= size2` (nothing need be proved of the empty tree),
/// [`ProofError::MissingHash`].
pub fn consistency_proof(
    size1: u64,
    size2: u64,
    reader: &impl HashReader,
) -> Result<Vec<Digest>, ProofError> {
    if size1 == 0 || size1 > size2 {
        return Err(ProofError::OutOfTree);
    }
    let (mut start, mut count) = (0, size2);
    let mut proof = Vec::new();
    while start + count != size1 {
        let left = left_count(count);
        if size1 - start <= left {
            proof.push(range_root(start + left, count - left, reader)?);
            count = left;
        } else {
            proof.push(range_root(start, left, reader)?);
            start += left;
            count -= left;
        }
    }
    // The last subtree of the old tree, unless that is the old tree itself, which the verifier has.
    if start > 0 {
        proof.push(range_root(start, count, reader)?);
    }
    proof.reverse();
    Ok(proof)
}

/// How many of `count` leaves go to the left: the largest power of two below `count`, which is at
/// least 2.
const fn left_count(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over `count` leaves from `start`, which no subtree of the tree crosses.
fn range_root(start: u64, count: u64, reader: &impl HashReader) -> Result<Digest, ProofError> {
    if count.is_power_of_two() {
        // At most 63, so the cast cannot lose anything.
        let level = count.trailing_zeros() as u8;
        let index = start >> level;
        return reader.subtree(level, index).ok_or(ProofError::MissingHash { level, index });
    }
    let left = left_count(count);
    Ok(node_hash(
        &range_root(start, left, reader)?,
        &range_root(start + left, count - left, reader)?,
    ))
}
