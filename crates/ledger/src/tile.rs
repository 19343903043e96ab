//! The log as static files: tiles of hashes and bundles of entries (C2SP `tlog-tiles`).
//!
//! The adversary altered the files, or the crash came between two of them. Every path and file has one
//! spelling and an exact length, a tile holds only hashes of complete subtrees, and whoever restores
//! from tiles gets a root to compare with a signed one before believing any of them.

use std::fmt;

use tipstaff_core::Digest;

use crate::merkle::{HashReader, ProofError, RightEdge, TREE_SIZE_MAX, node_hash};

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Largest entry in bytes: its length is written in 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

const HASH_BYTES: usize = 32;
/// Levels of the tree that one tile spans.
const TILE_HEIGHT: u8 = 8;
/// Tile levels that a tree with 64-bit sizes can have.
pub(crate) const TILE_LEVELS: u8 = 8;

/// What a file of the tiled log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Roots of perfect subtrees of `256^level` leaves.
    Hashes {
        /// The tile level, 0 to 63; 0 holds leaf hashes.
        level: u8,
    },
    /// The leaves' bytes.
    Entries,
}

/// A file of the tiled log. Its `Display` is its path below the log's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// What it holds.
    pub content: Content,
    /// Its number within its level, from the left.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256, where 256 is a full one.
    pub width: u16,
}

/// The hashes of a tree of a given size, read from its tiles.
///
/// `fetch(level, index, width)` returns a tile's bytes. It may return a wider tile than asked, as where
/// a partial tile was deleted once the full one existed. One proof reads a tile several times: a caller
/// with slow storage keeps the last few in `fetch`.
pub struct TileHashes<F> {
    size: u64,
    fetch: F,
}

/// Builds the hash tiles of a growing log: one incomplete tile per level in memory, and the full ones
/// that are not yet published.
#[derive(Debug, Clone, Default)]
pub struct TileWriter {
    edge: RightEdge,
    /// The hashes of the incomplete tile of each level, fewer than 256.
    partial: Vec<Vec<Digest>>,
    full: Vec<(TileId, Vec<u8>)>,
    published: u64,
}

impl TileId {
    /// The path below the log's prefix.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path below the log's prefix.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] unless it is the one spelling of a file that a log can have.
    pub fn parse(path: &str) -> Result<Self, ProofError> {
        let malformed = ProofError::Malformed("tile path");
        Self::read_path(path).filter(|id| id.path() == path).ok_or(malformed)
    }

    /// Accepts more than the exact spelling: the caller compares with what [`TileId::path`] writes.
    fn read_path(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let content = match level {
            "entries" => Content::Entries,
            digits => Content::Hashes { level: digits.parse().ok().filter(|level| *level < 64)? },
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?)
            }
            None => (rest, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for part in number.split('/') {
            let part: u16 = part.trim_start_matches('x').parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(part.into())?;
        }
        Some(Self { content, index, width })
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Hashes { level } => write!(f, "tile/{level}/")?,
            Content::Entries => f.write_str("tile/entries/")?,
        }
        // 1000^6 is the largest power in 64 bits.
        for power in (1..=6).rev().map(|power| 1000_u64.pow(power)) {
            if self.index >= power {
                write!(f, "x{:03}/", self.index / power % 1000)?;
            }
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// The hash tiles to write when the tree grows from `old` to `new` leaves: each new full tile, and for
/// each level that grew the one partial tile that the new size has.
pub fn changed_tiles(old: u64, new: u64) -> impl Iterator<Item = TileId> {
    (0..TILE_LEVELS).flat_map(move |level| {
        changed(Content::Hashes { level }, level_count(old, level), level_count(new, level))
    })
}

/// The entry bundles to write when the tree grows from `old` to `new` leaves.
pub fn changed_bundles(old: u64, new: u64) -> impl Iterator<Item = TileId> {
    changed(Content::Entries, old, new)
}

/// Appends an entry to a bundle.
///
/// # Errors
/// [`ProofError::TooLarge`] over [`ENTRY_BYTES_MAX`]; the bundle is then as it was.
pub fn encode_entry(entry: &[u8], bundle: &mut Vec<u8>) -> Result<(), ProofError> {
    let length = u16::try_from(entry.len())
        .map_err(|_| ProofError::TooLarge { what: "entry", limit: ENTRY_BYTES_MAX as u64 })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle of `width` entries.
///
/// # Errors
/// [`ProofError::Malformed`] unless the bytes are exactly that many entries.
pub fn decode_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, ProofError> {
    let malformed = || ProofError::Malformed("entry bundle");
    let mut rest = bundle;
    let mut entries = Vec::new();
    for _ in 0..width {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or_else(malformed)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(malformed()) }
}

/// The bytes of a hash tile.
#[must_use]
pub fn encode_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of a tile.
///
/// # Errors
/// [`ProofError::Malformed`] unless the bytes are 1 to 256 whole hashes.
pub fn decode_hashes(bytes: &[u8]) -> Result<Vec<Digest>, ProofError> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() || hashes.is_empty() || hashes.len() > usize::from(TILE_WIDTH) {
        return Err(ProofError::Malformed("hash tile"));
    }
    Ok(hashes.iter().copied().map(Digest::from_bytes).collect())
}

impl<F: Fn(u8, u64, u16) -> Option<Vec<u8>>> TileHashes<F> {
    /// The tree of `size` leaves whose tiles `fetch` returns.
    pub const fn new(size: u64, fetch: F) -> Self {
        Self { size, fetch }
    }

    /// The hashes of one tile, as many as it has in a tree of this size; `None` if it has none, or if
    /// it is missing or damaged.
    pub fn tile(&self, level: u8, index: u64) -> Option<Vec<Digest>> {
        let before = index.checked_mul(TILE_WIDTH.into())?;
        let width = level_count(self.size, level).saturating_sub(before).min(TILE_WIDTH.into());
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        let mut hashes = decode_hashes(&(self.fetch)(level, index, width)?).ok()?;
        hashes.truncate(width.into());
        (hashes.len() == usize::from(width)).then_some(hashes)
    }
}

impl<F: Fn(u8, u64, u16) -> Option<Vec<u8>>> HashReader for TileHashes<F> {
    fn subtree(&self, level: u8, index: u64) -> Option<Digest> {
        // A subtree lies within one tile: 2^(level mod 8) hashes at a multiple of that number.
        let count = 1_u64 << (level % TILE_HEIGHT);
        let first = index.checked_mul(count)?;
        let width = u64::from(TILE_WIDTH);
        let hashes = self.tile(level / TILE_HEIGHT, first / width)?;
        let offset = usize::try_from(first % width).ok()?;
        let hashes = hashes.get(offset..)?.get(..usize::try_from(count).ok()?)?;
        perfect_root(hashes)
    }
}

impl TileWriter {
    /// The writer of an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The writer of a log of `size` leaves, all published, from at most one tile per level. The tiles
    /// are believed: [`TileWriter::root`] covers every hash read here, so compare it with a signed root
    /// before appending.
    ///
    /// # Errors
    /// [`ProofError::MissingHash`] for a missing or damaged tile, [`ProofError::TooLarge`].
    pub fn restore<F: Fn(u8, u64, u16) -> Option<Vec<u8>>>(
        size: u64,
        fetch: F,
    ) -> Result<Self, ProofError> {
        if size > TREE_SIZE_MAX {
            return Err(ProofError::TooLarge { what: "tree size", limit: TREE_SIZE_MAX });
        }
        let width = u64::from(TILE_WIDTH);
        let reader = TileHashes::new(size, fetch);
        let mut partial: Vec<Vec<Digest>> = Vec::new();
        let mut edge = Vec::new();
        for level in (0..TILE_LEVELS).rev() {
            let count = level_count(size, level);
            let missing =
                || ProofError::MissingHash { level: level * TILE_HEIGHT, index: count - 1 };
            let hashes = if count.is_multiple_of(width) {
                Vec::new()
            } else {
                reader.tile(level, count / width).ok_or_else(missing)?
            };
            // Each bit of the tile's width is one subtree of the right edge, the largest first.
            let mut rest = hashes.as_slice();
            while let Some(bit) = rest.len().checked_ilog2() {
                let (subtree, after) = rest.split_at_checked(1 << bit).ok_or_else(missing)?;
                edge.push(perfect_root(subtree).ok_or_else(missing)?);
                rest = after;
            }
            partial.push(hashes);
        }
        partial.reverse();
        let edge = RightEdge::restore(size, edge)?;
        Ok(Self { edge, partial, full: Vec::new(), published: size })
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.edge.root()
    }

    /// Appends a leaf by its hash.
    pub fn append(&mut self, leaf: Digest) {
        let size = self.edge.size() + 1;
        let Self { edge, partial, full, .. } = self;
        edge.push_visiting(leaf, |height, hash| {
            if height % TILE_HEIGHT != 0 {
                return;
            }
            let level = height / TILE_HEIGHT;
            if partial.len() <= usize::from(level) {
                partial.resize_with(usize::from(level) + 1, Vec::new);
            }
            let Some(hashes) = partial.get_mut(usize::from(level)) else { return };
            hashes.push(hash);
            if hashes.len() == usize::from(TILE_WIDTH) {
                let index = level_count(size, level) / u64::from(TILE_WIDTH) - 1;
                let content = Content::Hashes { level };
                full.push((TileId { content, index, width: TILE_WIDTH }, encode_hashes(hashes)));
                hashes.clear();
            }
        });
    }

    /// The path and bytes of each file that a checkpoint of this size needs and that was not yet
    /// published: full tiles, then the partial ones. They stay until
    /// [`TileWriter::mark_published`], so that a failed write can be tried again.
    pub fn tiles_for_publish(&self) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
        let full = self.full.iter().map(|(id, bytes)| (id.path(), bytes.clone()));
        let partial = (0_u8..).zip(&self.partial).filter_map(|(level, hashes)| {
            let count = level_count(self.size(), level);
            let width = u16::try_from(hashes.len()).ok().filter(|width| *width > 0)?;
            let index = count / u64::from(TILE_WIDTH);
            let id = TileId { content: Content::Hashes { level }, index, width };
            (count != level_count(self.published, level))
                .then(|| (id.path(), encode_hashes(hashes)))
        });
        full.chain(partial)
    }

    /// Forgets what [`TileWriter::tiles_for_publish`] returns: it is all durable.
    pub fn mark_published(&mut self) {
        self.full.clear();
        self.published = self.size();
    }
}

fn changed(content: Content, old: u64, new: u64) -> impl Iterator<Item = TileId> {
    let width = u64::from(TILE_WIDTH);
    let full = (old / width..new / width).map(move |index| (index, TILE_WIDTH));
    let rest = u16::try_from(new % width).ok().filter(|rest| *rest > 0 && new > old);
    let partial = rest.map(|rest| (new / width, rest));
    full.chain(partial).map(move |(index, width)| TileId { content, index, width })
}

/// How many hashes a tree of `size` leaves has at a tile level.
pub(crate) fn level_count(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

/// The root over a power of two of hashes; `None` over none.
fn perfect_root(hashes: &[Digest]) -> Option<Digest> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node_hash(&perfect_root(left)?, &perfect_root(right)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        let id = |content, index, width| TileId { content, index, width };
        let zero = Content::Hashes { level: 0 };
        for (tile, path) in [
            (id(Content::Entries, 0, 3), "tile/entries/000.p/3"),
            (id(zero, 1_234_067, 256), "tile/0/x001/x234/067"),
            (id(Content::Hashes { level: 63 }, 1000, 255), "tile/63/x001/000.p/255"),
            (id(zero, u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
        ] {
            assert_eq!(tile.path(), path);
            assert_eq!(TileId::parse(path), Ok(tile));
        }
        for path in [
            "tile/0/1",
            "tile/0/0001",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x001",
            "tile/00/001",
            "tile/64/001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/03",
            "tile/0/000.p/+3",
            "tile/0/x+01/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "/tile/0/000",
            "tile/0/../000",
        ] {
            assert!(TileId::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_specification_example_of_70_000_leaves() {
        let tiles: Vec<TileId> = changed_tiles(0, 70_000).collect();
        let of =
            |wanted| tiles.iter().filter(move |t| t.content == Content::Hashes { level: wanted });
        assert_eq!(of(0).filter(|t| t.width == 256).count(), 273);
        assert_eq!(of(0).next_back().map(|t| (t.index, t.width)), Some((273, 112)));
        assert_eq!(of(1).map(|t| (t.index, t.width)).collect::<Vec<_>>(), [(0, 256), (1, 17)]);
        assert_eq!(of(2).map(|t| (t.index, t.width)).collect::<Vec<_>>(), [(0, 1)]);
        assert_eq!(tiles.len(), 277);
        assert_eq!(changed_tiles(70_000, 70_000).count(), 0);
        assert_eq!(changed_tiles(70_000, 70_001).count(), 1);
        assert_eq!(changed_bundles(255, 257).count(), 2);
    }
}
