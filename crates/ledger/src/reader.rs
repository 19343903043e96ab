//! Looking at a log without opening it for writing: exports, proofs and checks, also of a damaged one.
//!
//! The adversary is whoever left the folder as it is. Nothing read here is believed: a reader is given
//! the log's public key and checks what it hands out against the signed checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tipstaff_core::receipt::Signed;
use tipstaff_store::Disk;

use crate::error::LedgerError;
use crate::inputs::Kept;
use crate::merkle::{HashReader as _, inclusion_proof, leaf_hash};
use crate::note::{Checkpoint, NoteVerifier};
use crate::proof::InclusionProof;
use crate::recover::{is_unused, ordered_segments, read_optional, read_snapshot, read_tile};
use crate::tile::{
    Content, TILE_WIDTH, TileHashes, TileId, TileWriter, decode_bundle, encode_entry,
};
use crate::wal::{self, Item};

/// Looks at a log that is being written.
const ATTEMPTS: usize = 5;

/// A log as it stands, read-only.
#[derive(Debug)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    note: Option<String>,
    checkpoint: Option<Checkpoint>,
    /// Leaves of the write-ahead log and the index of the first.
    tail: Vec<String>,
    tail_first: u64,
    kept: Kept,
    /// What could be saved of a damaged log, and what is wrong with it.
    salvaged: Option<(BTreeMap<u64, String>, Vec<String>)>,
}

/// What a full check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fsck {
    /// Leaves looked at.
    pub leaves: u64,
    /// Leaves that the signed checkpoint covers.
    pub published: u64,
    /// Every fault, in the order of the log; empty if there is none.
    pub faults: Vec<String>,
}

impl LogReader {
    /// Reads the log as it stands now. `verifier` is the log's key.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if the checkpoint or the write-ahead log is.
    pub fn open(disk: Arc<dyn Disk>, verifier: &NoteVerifier) -> Result<Self, LedgerError> {
        // A node may write while this reads, and even change segments: what looks wrong is looked at
        // again.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::read(&disk, verifier) {
                Ok(Some(reader)) => return Ok(reader),
                Ok(None) | Err(LedgerError::Damaged { .. } | LedgerError::Store(_))
                    if attempts < ATTEMPTS => {}
                Ok(None) => {
                    return Err(LedgerError::damaged("it changes while it is read", "snapshot"));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what can be read of a log that [`LogReader::open`] refuses, and says what is wrong with it.
    /// Nothing is written or mended, and nothing of it is more than a look: no proof is made from it.
    #[must_use]
    pub fn salvage(disk: Arc<dyn Disk>, verifier: &NoteVerifier) -> Self {
        let mut faults = Vec::new();
        if let Err(error) = Self::read(&disk, verifier) {
            faults.push(error.to_string());
        }
        let mut leaves = BTreeMap::new();
        let mut kept = Kept::default();
        salvage_bundles(&*disk, &mut leaves);
        for name in disk.list(Path::new("wal")).unwrap_or_default() {
            let Ok(bytes) = disk.read(&Path::new("wal").join(&name)) else { continue };
            for batch in wal::salvage(&bytes) {
                let mut index = batch.first;
                for item in batch.items {
                    kept.absorb(&item);
                    if let Item::Leaf(leaf) = item {
                        leaves.entry(index).or_insert(leaf);
                        index += 1;
                    }
                }
            }
        }
        if let Err(error) = kept.read_segments(&*disk, 0) {
            faults.push(error.to_string());
        }
        leaves.retain(|index, leaf| {
            let readable = Signed::from_leaf(leaf);
            if let Err(error) = &readable {
                faults.push(format!("leaf {index}: {error}"));
            }
            readable.is_ok()
        });
        let mut expected = 0;
        for index in leaves.keys() {
            if *index > expected {
                faults.push(format!("leaves {expected} to {} are missing", index - 1));
            }
            expected = index + 1;
        }
        let note = read_optional(&*disk, Path::new("log/checkpoint")).ok().flatten();
        let checkpoint = note.and_then(|note| Checkpoint::open(&note, verifier).ok());
        if let Some(checkpoint) = checkpoint.as_ref().filter(|c| c.size > expected) {
            faults.push(format!("leaves {expected} to {} are missing", checkpoint.size - 1));
        }
        let salvaged = Some((leaves, faults));
        Self { disk, note: None, checkpoint, tail: Vec::new(), tail_first: 0, kept, salvaged }
    }

    /// What is wrong with a salvaged log; `None` for one that was opened whole.
    #[must_use]
    pub fn salvaged(&self) -> Option<&[String]> {
        self.salvaged.as_ref().map(|(_, faults)| faults.as_slice())
    }

    /// One look; `None` if the snapshot changed meanwhile.
    fn read(disk: &Arc<dyn Disk>, verifier: &NoteVerifier) -> Result<Option<Self>, LedgerError> {
        let snapshot_bytes = read_optional(&**disk, Path::new("snapshot"))?;
        let snapshot = read_snapshot(&**disk)?;
        // Before the write-ahead log, which then holds all that it covers.
        let note = read_optional(&**disk, Path::new("log/checkpoint"))?;
        let mut kept = Kept::default();
        let (mut tail, tail_first) = (Vec::new(), snapshot.as_ref().map_or(0, |s| s.size));
        let segments = disk.list(Path::new("wal"))?;
        if snapshot.is_none() && note.is_none() && !is_unused(&**disk, &segments)? {
            return Err(LedgerError::damaged("the snapshot is missing", "snapshot"));
        }
        if snapshot.is_some() {
            for first in ordered_segments(&segments, tail_first)? {
                let path = crate::ledger::segment_path(first);
                let place = path.display().to_string();
                for batch in wal::scan(&disk.read(&path)?, &place)?.batches {
                    if batch.first != tail_first + tail.len() as u64 {
                        return Err(LedgerError::damaged("a batch is out of order", place));
                    }
                    for item in batch.items {
                        kept.absorb(&item);
                        if let Item::Leaf(leaf) = item {
                            tail.push(leaf);
                        }
                    }
                }
            }
        }
        kept.read_segments(&**disk, tail_first)?;
        if read_optional(&**disk, Path::new("snapshot"))? != snapshot_bytes {
            return Ok(None);
        }
        let note = note.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let checkpoint = note
            .as_ref()
            .map(|note| Checkpoint::open(note.as_bytes(), verifier))
            .transpose()
            .map_err(|error| LedgerError::damaged(error.to_string(), "log/checkpoint"))?;
        Ok(Some(Self {
            disk: Arc::clone(disk),
            note,
            checkpoint,
            tail,
            tail_first,
            kept,
            salvaged: None,
        }))
    }

    /// The signed checkpoint, if one was published.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        let published = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        published.max(self.tail_first + self.tail.len() as u64)
    }

    /// Calls `visit` with every leaf, oldest first, until it answers with an error.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if a bundle is missing or broken, and what `visit` answers.
    pub fn each_leaf(
        &self,
        visit: impl FnMut(u64, &str) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        self.each_leaf_from(0, visit)
    }

    /// The same from a leaf on. Nothing before it is read.
    ///
    /// # Errors
    /// Like [`LogReader::each_leaf`].
    pub fn each_leaf_from(
        &self,
        first: u64,
        mut visit: impl FnMut(u64, &str) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut visit = |index, leaf: &str| if index < first { Ok(()) } else { visit(index, leaf) };
        if let Some((leaves, _)) = &self.salvaged {
            return leaves.iter().try_for_each(|(index, leaf)| visit(*index, leaf));
        }
        // Bundles are read whole.
        let from = first.min(self.tail_first);
        let mut index = from - from % u64::from(TILE_WIDTH);
        while index < self.tail_first {
            let number = index / u64::from(TILE_WIDTH);
            let left = (self.tail_first - index).min(u64::from(TILE_WIDTH));
            let width = u16::try_from(left).unwrap_or(TILE_WIDTH);
            let place = || format!("bundle {number}");
            let bundle = read_tile(&*self.disk, Content::Entries, number, width)
                .ok_or_else(|| LedgerError::damaged("an entry bundle is missing", place()))?;
            let entries = decode_bundle(&bundle, width)
                .or_else(|_| decode_bundle(&bundle, TILE_WIDTH))
                .map_err(|error| LedgerError::damaged(error.to_string(), place()))?;
            for entry in entries.into_iter().take(usize::from(width)) {
                let leaf = std::str::from_utf8(entry)
                    .map_err(|_| LedgerError::damaged("a leaf is not text", place()))?;
                visit(index, leaf)?;
                index += 1;
            }
        }
        for leaf in &self.tail {
            visit(index, leaf)?;
            index += 1;
        }
        Ok(())
    }

    /// Every receipt, oldest first, with its leaf index.
    ///
    /// # Errors
    /// Like [`LogReader::each_leaf`].
    pub fn receipts(&self) -> Result<Vec<(u64, Signed)>, LedgerError> {
        let mut receipts = Vec::new();
        self.each_leaf(|index, leaf| {
            let signed = Signed::from_leaf(leaf).map_err(|error| {
                LedgerError::damaged(error.to_string(), format!("leaf {index}"))
            })?;
            receipts.push((index, signed));
            Ok(())
        })?;
        Ok(receipts)
    }

    /// The inputs that are still kept.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// A proof that the leaf at `index` is under the published checkpoint.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] if no checkpoint covers it yet.
    pub fn prove(&self, index: u64) -> Result<InclusionProof, LedgerError> {
        let (Some(checkpoint), Some(note)) = (&self.checkpoint, &self.note) else {
            return Err(LedgerError::Unknown("no checkpoint was published yet".to_owned()));
        };
        if index >= checkpoint.size {
            return Err(LedgerError::Unknown(format!("no checkpoint covers leaf {index} yet")));
        }
        let hashes = inclusion_proof(index, checkpoint.size, &self.hashes(checkpoint.size))
            .map_err(|error| LedgerError::damaged(error.to_string(), "log/tile"))?;
        Ok(InclusionProof { index, hashes, checkpoint_note: note.clone(), extra: Vec::new() })
    }

    /// Reads every tile and leaf again and compares them with each other and the checkpoint. Receipts'
    /// signatures and chains are the caller's to check, with [`LogReader::each_leaf`].
    ///
    /// # Errors
    /// [`LedgerError`] if the log can't be read to its end.
    pub fn fsck(&self) -> Result<Fsck, LedgerError> {
        if let Some((leaves, faults)) = &self.salvaged {
            let published = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
            return Ok(Fsck { leaves: leaves.len() as u64, published, faults: faults.clone() });
        }
        let published = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let reader = self.hashes(published);
        let mut report = Fsck { published, ..Fsck::default() };
        let mut tree = TileWriter::new();
        let mut bundle = Vec::new();
        for name in self.kept.unreadable() {
            report.faults.push(format!("inputs/{name} is unreadable"));
        }
        if published < self.tail_first {
            report.faults.push("the checkpoint is older than the snapshot, or missing".to_owned());
        }
        let walked = self.each_leaf(|index, leaf| {
            report.leaves += 1;
            let hash = leaf_hash(leaf.as_bytes());
            if index < published && reader.subtree(0, index) != Some(hash) {
                report.faults.push(format!("leaf {index} is not what its tile says"));
            }
            tree.append(hash);
            if index < published && !self.is_in_bundle(index, leaf, published, &mut bundle) {
                report.faults.push(format!("the bundle of leaf {index} is not what was logged"));
            }
            if index + 1 == published {
                let root = self.checkpoint.as_ref().map(|checkpoint| checkpoint.root);
                if root != Some(tree.root()) {
                    report
                        .faults
                        .push("the checkpoint's root is not the root of the leaves".to_owned());
                }
            }
            // A start needs the right edge at the snapshot's size, and a client at the checkpoint's.
            if index + 1 == published || index + 1 == self.tail_first {
                for (path, bytes) in tree.tiles_for_publish() {
                    if !self.holds_tile(&path, &bytes) {
                        report
                            .faults
                            .push(format!("{path} is missing or not what the leaves give"));
                    }
                }
                tree.mark_published();
            }
            Ok(())
        });
        match walked {
            // What can't be read any further is a fault like the others.
            Err(error @ LedgerError::Damaged { .. }) => report.faults.push(error.to_string()),
            done => done?,
        }
        // A start signs a checkpoint before anything is appended.
        if self.checkpoint.is_none() && report.leaves > 0 {
            report.faults.push("there are leaves, and no signed checkpoint over any".to_owned());
        }
        if report.leaves < published {
            report
                .faults
                .push(format!("{} published leaves are missing", published - report.leaves));
        }
        Ok(report)
    }

    /// Whether a tile is there: a node that goes on writing takes an incomplete one away once it is complete.
    fn holds_tile(&self, path: &str, bytes: &[u8]) -> bool {
        let read = |path: &str| self.disk.read(&Path::new("log").join(path)).ok();
        let full = || read(&TileId { width: TILE_WIDTH, ..TileId::parse(path).ok()? }.path());
        read(path).is_some_and(|found| found == bytes)
            || full().is_some_and(|found| found.starts_with(bytes))
    }

    /// Collects leaves into bundles, and compares one that is complete at `published` leaves with its
    /// file, unless the leaves came from there.
    fn is_in_bundle(&self, index: u64, leaf: &str, published: u64, bundle: &mut Vec<u8>) -> bool {
        let is_encoded = encode_entry(leaf.as_bytes(), bundle).is_ok();
        let (number, width) = (index / u64::from(TILE_WIDTH), index % u64::from(TILE_WIDTH) + 1);
        if width < u64::from(TILE_WIDTH) && index + 1 < published {
            return is_encoded;
        }
        let expected = std::mem::take(bundle);
        let width = u16::try_from(width).unwrap_or(TILE_WIDTH);
        index < self.tail_first
            || read_tile(&*self.disk, Content::Entries, number, width)
                .is_some_and(|found| found.starts_with(&expected))
    }

    fn hashes(&self, size: u64) -> TileHashes<impl Fn(u8, u64, u16) -> Option<Vec<u8>> + '_> {
        // Proofs and checks walk along one tile: the last one read is kept.
        let last = std::cell::RefCell::new(None::<((u8, u64, u16), Vec<u8>)>);
        TileHashes::new(size, move |level, index, width| {
            let key = (level, index, width);
            if let Some((kept, bytes)) = &*last.borrow()
                && *kept == key
            {
                return Some(bytes.clone());
            }
            let bytes = read_tile(&*self.disk, Content::Hashes { level }, index, width)?;
            *last.borrow_mut() = Some((key, bytes.clone()));
            Some(bytes)
        })
    }
}

/// The leaves of every bundle that can be read, full or partial.
fn salvage_bundles(disk: &dyn Disk, leaves: &mut BTreeMap<u64, String>) {
    for number in 0.. {
        let full = TileId { content: Content::Entries, index: number, width: TILE_WIDTH };
        let path = Path::new("log").join(full.path());
        let partials = path.with_extension("p");
        let widths = disk.list(&partials).unwrap_or_default();
        let widths = widths.iter().filter_map(|name| name.parse::<u16>().ok());
        let files = widths.map(|width| (width, partials.join(width.to_string())));
        let mut found = false;
        for (width, path) in std::iter::once((TILE_WIDTH, path.clone())).chain(files) {
            let Ok(bytes) = disk.read(&path) else { continue };
            found = true;
            let entries = decode_bundle(&bytes, width).unwrap_or_default();
            for (index, entry) in (number * u64::from(TILE_WIDTH)..).zip(entries) {
                if let Ok(leaf) = std::str::from_utf8(entry) {
                    leaves.entry(index).or_insert_with(|| leaf.to_owned());
                }
            }
        }
        if !found {
            return;
        }
    }
}
