//! The right edge of a growing tree: all that appending needs to remember.
//!
//! The adversary is a log that grows: keeping every hash in memory, or reading the tree again for each
//! append, would let volume alone stop the node. The edge has at most 64 hashes whatever the size.

use tipstaff_core::Digest;

use super::{ProofError, TREE_SIZE_MAX, empty_root, node_hash};

/// The roots of the perfect subtrees that make up a tree, largest (leftmost) first: one for each bit
/// set in the size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RightEdge {
    size: u64,
    hashes: Vec<Digest>,
}

impl RightEdge {
    /// The edge of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// The edge of a tree of `size` leaves from its subtree roots. The hashes are believed: compare
    /// [`RightEdge::root`] with a signed root before appending.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] unless there is one hash for each bit set in `size`,
    /// [`ProofError::TooLarge`] over [`TREE_SIZE_MAX`].
    pub fn restore(size: u64, hashes: Vec<Digest>) -> Result<Self, ProofError> {
        if size > TREE_SIZE_MAX {
            return Err(ProofError::TooLarge { what: "tree size", limit: TREE_SIZE_MAX });
        }
        if u32::try_from(hashes.len()) != Ok(size.count_ones()) {
            return Err(ProofError::Malformed("right edge"));
        }
        Ok(Self { size, hashes })
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The subtree roots, largest first.
    #[must_use]
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        self.push_visiting(leaf, |_, _| ());
    }

    /// Appends a leaf and calls `visit` with the level and root of each perfect subtree that it
    /// completes, the leaf itself (level 0) first.
    pub fn push_visiting(&mut self, leaf: Digest, mut visit: impl FnMut(u8, Digest)) {
        let (mut node, mut level) = (leaf, 0);
        visit(level, node);
        // Each low bit set in the size is a subtree as large as the one in hand.
        while (self.size >> level) & 1 == 1 {
            let Some(left) = self.hashes.pop() else { break };
            node = node_hash(&left, &node);
            level += 1;
            visit(level, node);
        }
        self.hashes.push(node);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut smallest_first = self.hashes.iter().rev();
        smallest_first.next().map_or_else(empty_root, |smallest| {
            smallest_first.fold(*smallest, |right, left| node_hash(left, &right))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;

    #[test]
    fn grows_as_the_definition_says() {
        let mut edge = RightEdge::new();
        assert_eq!(edge.root(), empty_root());
        let leaf = |n: u8| leaf_hash(&[n]);
        let mut completed = Vec::new();
        for n in 0..3 {
            edge.push_visiting(leaf(n), |level, _| completed.push((n, level)));
        }
        assert_eq!(completed, [(0, 0), (1, 0), (1, 1), (2, 0)]);
        assert_eq!(edge.root(), node_hash(&node_hash(&leaf(0), &leaf(1)), &leaf(2)));
        let hashes = edge.hashes().to_vec();
        assert_eq!(RightEdge::restore(3, hashes.clone()), Ok(edge));
        assert!(RightEdge::restore(4, hashes).is_err());
        assert!(RightEdge::restore(u64::MAX, vec![Digest::ZERO; 64]).is_err());
    }
}
