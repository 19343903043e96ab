//! The tiled log: a projection of the write-ahead log that any C2SP client can read.
//!
//! The adversary removes or rewrites published files while the node runs; it is found at the next
//! publication, which comes at most once a second, and at the next start, which rebuilds what the
//! write-ahead log still covers and compares roots. Leaves are durable before they are published.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tipstaff_core::Digest;
use tipstaff_store::Disk;

use crate::error::LedgerError;
use crate::ledger::segment_path;
use crate::merkle::leaf_hash;
use crate::note::{Checkpoint, NoteSigner};
use crate::tile::{
    Content, TILE_LEVELS, TILE_WIDTH, TileId, TileWriter, encode_entry, level_count,
};
use crate::wal::Item;

/// Superseded partial bundles that stay readable for clients with an older checkpoint.
const PARTIALS_KEPT: usize = 16;

/// Writes tiles, bundles, input segments and checkpoints.
#[derive(Debug)]
pub(crate) struct Publisher {
    tiles: TileWriter,
    /// The entry bundle that is not full, encoded.
    bundle: Vec<u8>,
    /// Full bundles that are not written yet, so that a full disk can be tried again.
    full: VecDeque<(TileId, Vec<u8>)>,
    partials: VecDeque<TileId>,
    /// Leaves of the snapshot. A start reads the right edge at this size and nothing written later is
    /// durable before the next snapshot, so these files are neither removed nor written again.
    pinned: u64,
    /// Sealed inputs of the segment that are not written yet, and how many bytes are.
    inputs: Vec<u8>,
    inputs_segment: u64,
    inputs_written: u64,
    checkpoint: Option<(u64, String)>,
}

impl Publisher {
    /// A publisher that stands where `tiles` stands, with the entries of the incomplete bundle.
    pub(crate) fn new(tiles: TileWriter, bundle: Vec<u8>) -> Self {
        Self {
            pinned: tiles.size(),
            tiles,
            bundle,
            full: VecDeque::new(),
            partials: VecDeque::new(),
            inputs: Vec::new(),
            inputs_segment: 0,
            inputs_written: 0,
            checkpoint: None,
        }
    }

    /// The root over what was taken in.
    pub(crate) fn root(&self) -> Digest {
        self.tiles.root()
    }

    pub(crate) fn size(&self) -> u64 {
        self.tiles.size()
    }

    /// Takes an item in without writing anything.
    pub(crate) fn take(&mut self, item: &Item) -> Result<(), LedgerError> {
        let Item::Leaf(leaf) = item else {
            item.encode(&mut self.inputs);
            return Ok(());
        };
        encode_entry(leaf.as_bytes(), &mut self.bundle)
            .map_err(|error| LedgerError::damaged(error.to_string(), "leaf"))?;
        self.tiles.append(leaf_hash(leaf.as_bytes()));
        if self.tiles.size().is_multiple_of(u64::from(TILE_WIDTH)) {
            let index = self.tiles.size() / u64::from(TILE_WIDTH) - 1;
            let id = TileId { content: Content::Entries, index, width: TILE_WIDTH };
            self.full.push_back((id, std::mem::take(&mut self.bundle)));
        }
        Ok(())
    }

    /// Refuses to go on when the folder is not what this node left: a removed log must not be silently
    /// begun again.
    pub(crate) fn check_folder(&self, disk: &dyn Disk, segment: u64) -> Result<(), LedgerError> {
        let path = segment_path(segment);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !disk.list(Path::new("wal"))?.iter().any(|found| *found == name) {
            return Err(LedgerError::damaged("the write-ahead log was removed", "wal"));
        }
        let Some((_, expected)) = &self.checkpoint else { return Ok(()) };
        match disk.read(Path::new("log/checkpoint")) {
            Ok(found) if found == expected.as_bytes() => Ok(()),
            _ => {
                Err(LedgerError::damaged("the published checkpoint was changed", "log/checkpoint"))
            }
        }
    }

    /// Takes items in, then writes them and a checkpoint over them. After an error the items are still
    /// here, and the next call writes them.
    pub(crate) fn publish(
        &mut self,
        disk: &dyn Disk,
        items: Vec<Item>,
        segment: u64,
        signer: &NoteSigner<'_>,
    ) -> Result<(), LedgerError> {
        // A segment begins only when all of the one before is written.
        if segment != self.inputs_segment {
            self.begin_inputs(segment);
        }
        for item in items {
            self.take(&item)?;
        }
        self.write_inputs(disk)?;
        if self.checkpoint.as_ref().is_some_and(|(size, _)| *size == self.tiles.size()) {
            return Ok(());
        }
        self.write_tiles(disk)?;
        self.write_partial_bundle(disk)?;
        let checkpoint = Checkpoint {
            origin: signer.verifier().name().to_owned(),
            size: self.tiles.size(),
            root: self.tiles.root(),
            extensions: Vec::new(),
        };
        let note = checkpoint
            .sign(signer)
            .map_err(|error| LedgerError::damaged(error.to_string(), "checkpoint"))?;
        // Durable, unlike the tiles: a start must be able to tell a checkpoint that someone cut from one
        // that a crash left empty, and receipts that someone took away from ones that were never there.
        disk.replace(Path::new("log/checkpoint"), note.as_bytes())?;
        self.checkpoint = Some((self.tiles.size(), note));
        Ok(())
    }

    /// The snapshot is now at the present size: everything up to here is durable.
    pub(crate) fn pin(&mut self, disk: &dyn Disk) -> Result<(), LedgerError> {
        let old = std::mem::replace(&mut self.pinned, self.tiles.size());
        for id in right_edge(old) {
            let superseded = right_edge_of(self.pinned, id.content).0 > id.index;
            if superseded {
                disk.remove(&path_of(id))?;
            }
        }
        Ok(())
    }

    /// Begins the inputs of a segment.
    pub(crate) fn begin_inputs(&mut self, segment: u64) {
        (self.inputs, self.inputs_segment, self.inputs_written) = (Vec::new(), segment, 0);
    }

    fn write_tiles(&mut self, disk: &dyn Disk) -> Result<(), LedgerError> {
        while let Some((id, bytes)) = self.full.front() {
            disk.project(&path_of(*id), bytes)?;
            self.remove_partials(disk, *id)?;
            self.full.pop_front();
        }
        for (path, bytes) in self.tiles.tiles_for_publish() {
            disk.project(&Path::new("log").join(&path), &bytes)?;
            match TileId::parse(&path) {
                Ok(id) if id.width == TILE_WIDTH => self.remove_partials(disk, id)?,
                _ => {}
            }
        }
        self.tiles.mark_published();
        Ok(())
    }

    /// A client that wants a partial tile falls back to the full one.
    fn remove_partials(&self, disk: &dyn Disk, full: TileId) -> Result<(), LedgerError> {
        let folder = PathBuf::from(format!("{}.p", path_of(full).display()));
        for name in disk.list(&folder)? {
            let width = name.parse().unwrap_or(TILE_WIDTH);
            if !self.is_pinned(TileId { width, ..full }) {
                disk.remove(&folder.join(name))?;
            }
        }
        Ok(())
    }

    fn write_partial_bundle(&mut self, disk: &dyn Disk) -> Result<(), LedgerError> {
        let (index, width) = right_edge_of(self.tiles.size(), Content::Entries);
        let id = TileId { content: Content::Entries, index, width };
        if width == 0 || self.is_pinned(id) {
            return Ok(());
        }
        disk.project(&path_of(id), &self.bundle)?;
        self.partials.push_back(id);
        while self.partials.len() > PARTIALS_KEPT {
            if let Some(old) = self.partials.pop_front()
                && !self.is_pinned(old)
            {
                disk.remove(&path_of(old))?;
            }
        }
        Ok(())
    }

    fn write_inputs(&mut self, disk: &dyn Disk) -> Result<(), LedgerError> {
        if self.inputs.is_empty() {
            return Ok(());
        }
        let path = Path::new("inputs").join(format!("{:016x}.seg", self.inputs_segment));
        disk.open(&path)?.write_at(self.inputs_written, &self.inputs)?;
        self.inputs_written += self.inputs.len() as u64;
        self.inputs.clear();
        Ok(())
    }

    fn is_pinned(&self, id: TileId) -> bool {
        right_edge_of(self.pinned, id.content) == (id.index, id.width)
    }
}

/// Number and width of the incomplete tile of a log of `size` leaves; width 0 if there is none.
fn right_edge_of(size: u64, content: Content) -> (u64, u16) {
    let count = match content {
        Content::Hashes { level } => level_count(size, level),
        Content::Entries => size,
    };
    let width = u64::from(TILE_WIDTH);
    (count / width, u16::try_from(count % width).unwrap_or(0))
}

fn right_edge(size: u64) -> impl Iterator<Item = TileId> {
    let levels = (0..TILE_LEVELS).map(|level| Content::Hashes { level });
    levels.chain([Content::Entries]).filter_map(move |content| {
        let (index, width) = right_edge_of(size, content);
        (width > 0).then_some(TileId { content, index, width })
    })
}

fn path_of(id: TileId) -> PathBuf {
    Path::new("log").join(id.path())
}
