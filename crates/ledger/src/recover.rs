//! What a start checks, and how it goes on after a crash (law 3).
//!
//! The adversary is a crash at any moment, or someone who changed the folder since. The snapshot is
//! bound to the root over the leaves before it, so the right edge of the tiles must agree; every leaf
//! since is read from the write-ahead log, its signature and place in its chain checked, and the
//! published checkpoint must be one that these leaves have. A torn tail is cut. Anything else stops.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use tipstaff_core::receipt::Signed;
use tipstaff_core::{Digest, Json};
use tipstaff_store::{Disk, StoreError};

use crate::error::LedgerError;
use crate::inputs::{SealingKey, unwrap};
use crate::ledger::{Identity, segment_first, segment_path};
use crate::merkle::leaf_hash;
use crate::note::{Checkpoint, NoteSigner};
use crate::publish::Publisher;
use crate::state::State;
use crate::tile::{
    Content, TILE_WIDTH, TileHashes, TileId, TileWriter, decode_bundle, encode_entry,
};
use crate::wal::{self, Item, Scan};

/// What an open log goes on from.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) size: u64,
    pub(crate) publisher: Publisher,
    pub(crate) queue: VecDeque<Item>,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// No checkpoint was published yet.
    pub(crate) is_new: bool,
    pub(crate) keys: HashMap<String, SealingKey>,
}

/// A snapshot as read.
pub(crate) struct Snapshot {
    pub(crate) size: u64,
    pub(crate) root: Digest,
    pub(crate) state: State,
}

pub(crate) fn recover(disk: &dyn Disk, identity: &Identity) -> Result<Recovered, LedgerError> {
    let segments = disk.list(Path::new("wal"))?;
    let published = read_optional(disk, Path::new("log/checkpoint"))?;
    let snapshot = match read_snapshot(disk)? {
        Some(snapshot) => snapshot,
        None if is_unused(disk, &segments)? => begin(disk)?,
        None => return Err(LedgerError::damaged("the snapshot is missing", "snapshot")),
    };
    let segments = if segments.is_empty() { disk.list(Path::new("wal"))? } else { segments };
    let fetch = |level, index, width| read_tile(disk, Content::Hashes { level }, index, width);
    let tiles = TileWriter::restore(snapshot.size, fetch)
        .map_err(|error| LedgerError::damaged(error.to_string(), "log/tile"))?;
    if tiles.root() != snapshot.root {
        return Err(LedgerError::damaged(
            "the right edge of the tiles is not the snapshot's",
            "log/tile",
        ));
    }
    let bundle = read_last_bundle(disk, snapshot.size, &TileHashes::new(snapshot.size, fetch))?;
    let published = published.map(|note| open_checkpoint(&note, identity)).transpose()?;
    let mut replay = Replay {
        identity,
        published,
        published_seen: false,
        state: snapshot.state,
        size: snapshot.size,
        publisher: Publisher::new(tiles, bundle),
        keys: HashMap::new(),
    };
    replay.check_published()?;
    let end = replay.segments(disk, &segments, snapshot.size)?;
    replay.finish()?;
    // Nothing was written so far: what can't be explained stays as it was found.
    if let Some(length) = end.torn {
        let file = disk.open(&segment_path(end.segment))?;
        file.write_at(end.offset, &vec![0; usize::try_from(length).unwrap_or(0)])?;
        file.sync()?;
    }
    Ok(Recovered {
        state: replay.state,
        size: replay.size,
        publisher: replay.publisher,
        queue: VecDeque::new(),
        segment: end.segment,
        offset: end.offset,
        is_new: replay.published.is_none(),
        keys: replay.keys,
    })
}

/// Makes a snapshot durable; `false` if the state is too large to be one that is read again.
pub(crate) fn write_snapshot(
    disk: &dyn Disk,
    state: &State,
    size: u64,
    root: Digest,
) -> Result<bool, LedgerError> {
    let body = format!(
        "{{\"root\":\"{root}\",\"size\":{size},\"state\":{}}}",
        state.to_json().to_canonical()
    );
    if Json::parse(body.as_bytes()).is_err() {
        return Ok(false);
    }
    let text = format!("tipstaff-snapshot-1\n{}\n{body}\n", Digest::of(body.as_bytes()));
    disk.replace(Path::new("snapshot"), text.as_bytes())?;
    Ok(true)
}

/// Reads the snapshot; `None` if there is none.
pub(crate) fn read_snapshot(disk: &dyn Disk) -> Result<Option<Snapshot>, LedgerError> {
    let Some(bytes) = read_optional(disk, Path::new("snapshot"))? else { return Ok(None) };
    let parsed = || {
        let text = std::str::from_utf8(&bytes).ok()?;
        let rest = text.strip_prefix("tipstaff-snapshot-1\n")?;
        let (digest, body) = rest.strip_suffix('\n')?.split_once('\n')?;
        if Digest::from_hex(digest).ok()? != Digest::of(body.as_bytes()) {
            return None;
        }
        let json = Json::parse(body.as_bytes()).ok()?;
        Some(Snapshot {
            size: u64::try_from(json.get("size")?.as_integer()?).ok()?,
            root: Digest::from_hex(json.get("root")?.as_str()?).ok()?,
            state: State::from_json(json.get("state")?)?,
        })
    };
    parsed().map(Some).ok_or_else(|| LedgerError::damaged("the snapshot is unreadable", "snapshot"))
}

/// A tile's or bundle's bytes: the partial one of this width, or the start of the full one.
pub(crate) fn read_tile(
    disk: &dyn Disk,
    content: Content,
    index: u64,
    width: u16,
) -> Option<Vec<u8>> {
    let path = |width| Path::new("log").join(TileId { content, index, width }.path());
    disk.read(&path(width)).or_else(|_| disk.read(&path(TILE_WIDTH))).ok()
}

pub(crate) fn read_optional(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The segments that hold leaves from `size` on, in order, without a hole.
pub(crate) fn ordered_segments(names: &[String], size: u64) -> Result<Vec<u64>, LedgerError> {
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
    firsts.sort_unstable();
    firsts.retain(|first| *first >= size);
    if firsts.first() != Some(&size) {
        return Err(LedgerError::damaged("a segment of the write-ahead log is missing", "wal"));
    }
    Ok(firsts)
}

/// Whether nothing was ever kept here: a first start that was interrupted leaves at most one segment
/// without a batch, since the snapshot is durable before anything else is written.
pub(crate) fn is_unused(disk: &dyn Disk, segments: &[String]) -> Result<bool, LedgerError> {
    for name in segments {
        let is_zero = disk.read(&Path::new("wal").join(name))?.iter().all(|byte| *byte == 0);
        if segment_first(name).is_some_and(|first| first > 0) || !is_zero {
            return Ok(false);
        }
    }
    Ok(disk.list(Path::new("log"))?.iter().all(|name| name != "tile" && name != "checkpoint"))
}

/// The entries of the bundle that was incomplete when the log had `size` leaves. The file may hold more.
fn read_last_bundle<F: Fn(u8, u64, u16) -> Option<Vec<u8>>>(
    disk: &dyn Disk,
    size: u64,
    hashes: &TileHashes<F>,
) -> Result<Vec<u8>, LedgerError> {
    let index = size / u64::from(TILE_WIDTH);
    let width = u16::try_from(size % u64::from(TILE_WIDTH)).unwrap_or(0);
    if width == 0 {
        return Ok(Vec::new());
    }
    let damaged = |what: &str| LedgerError::damaged(what, "log/tile/entries");
    let bytes = read_tile(disk, Content::Entries, index, width)
        .ok_or_else(|| damaged("the last bundle is missing"))?;
    let entries = decode_bundle(&bytes, width)
        .or_else(|_| decode_bundle(&bytes, TILE_WIDTH))
        .map_err(|_| damaged("the last bundle is unreadable"))?;
    let hashes = hashes.tile(0, index).unwrap_or_default();
    let mut bundle = Vec::with_capacity(bytes.len());
    for at in 0..usize::from(width) {
        let (entry, hash) = (entries.get(at), hashes.get(at));
        let entry = entry.filter(|entry| hash == Some(&leaf_hash(entry)));
        let entry = entry.ok_or_else(|| damaged("the last bundle is not what its tile says"))?;
        encode_entry(entry, &mut bundle).map_err(|_| damaged("the last bundle is unreadable"))?;
    }
    Ok(bundle)
}

fn begin(disk: &dyn Disk) -> Result<Snapshot, LedgerError> {
    let file = disk.open(&segment_path(0))?;
    file.sync()?;
    disk.sync_folder(Path::new("wal"))?;
    let (state, root) = (State::default(), TileWriter::new().root());
    write_snapshot(disk, &state, 0, root)?;
    Ok(Snapshot { size: 0, root, state })
}

fn open_checkpoint(note: &[u8], identity: &Identity) -> Result<Checkpoint, LedgerError> {
    let verifier =
        NoteSigner::new(&identity.origin, &identity.log_key).map(|signer| signer.verifier());
    verifier
        .and_then(|verifier| Checkpoint::open(note, &verifier))
        .map_err(|error| LedgerError::damaged(format!("the checkpoint: {error}"), "log/checkpoint"))
}

struct Replay<'a> {
    identity: &'a Identity,
    published: Option<Checkpoint>,
    published_seen: bool,
    state: State,
    size: u64,
    publisher: Publisher,
    keys: HashMap<String, SealingKey>,
}

/// Where the write-ahead log ends.
struct End {
    segment: u64,
    offset: u64,
    /// Bytes to clear after it, if a batch is torn there.
    torn: Option<u64>,
}

impl Replay<'_> {
    fn segments(
        &mut self,
        disk: &dyn Disk,
        names: &[String],
        size: u64,
    ) -> Result<End, LedgerError> {
        let mut end = End { segment: size, offset: 0, torn: None };
        for first in ordered_segments(names, size)? {
            let path = segment_path(first);
            let name = path.display().to_string();
            let bytes = disk.read(&path)?;
            let scan = wal::scan(&bytes, &name)?;
            let is_empty = scan.batches.is_empty() && !scan.torn;
            if first < self.size && is_empty {
                // A change of segments that a full disk stopped: the node went on in the old one.
                continue;
            }
            if first != self.size {
                return Err(LedgerError::damaged("a segment does not follow the one before", name));
            }
            if end.torn.is_some() {
                // Only the last batch can be torn, and it was never acknowledged.
                return Err(LedgerError::damaged("a finished segment has a torn end", name));
            }
            self.publisher.begin_inputs(first);
            self.batches(&scan, &name)?;
            let torn = scan.torn.then(|| bytes.len() as u64 - scan.end);
            end = End { segment: first, offset: scan.end, torn };
        }
        Ok(end)
    }

    fn batches(&mut self, scan: &Scan, name: &str) -> Result<(), LedgerError> {
        for batch in &scan.batches {
            if batch.first != self.size {
                return Err(LedgerError::damaged("a batch is out of order", name));
            }
            for item in &batch.items {
                match item {
                    Item::Leaf(leaf) => self.leaf(leaf)?,
                    Item::Key { chain, wrapped } => {
                        // Under a new home key the old inputs are gone, and the log goes on.
                        if let Ok(key) = unwrap(&self.identity.home_key, chain, wrapped) {
                            self.keys.insert(chain.clone(), key);
                        }
                    }
                    Item::Inputs { .. } => {}
                }
                self.publisher.take(item)?;
                self.check_published()?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: &str) -> Result<(), LedgerError> {
        let at = || format!("leaf {}", self.size);
        let signed = Signed::from_leaf(leaf)
            .map_err(|error| LedgerError::damaged(error.to_string(), at()))?;
        signed
            .verify(self.identity.receipt_key.verifying_key())
            .map_err(|error| LedgerError::damaged(error.to_string(), at()))?;
        let receipt = signed.receipt();
        if self.state.next(&receipt.chain) != (receipt.chain_seq, receipt.prev_hash) {
            return Err(LedgerError::damaged("a receipt does not follow its chain", at()));
        }
        self.state.apply(self.size, &signed);
        self.size += 1;
        Ok(())
    }

    fn check_published(&mut self) -> Result<(), LedgerError> {
        let Some(published) = &self.published else { return Ok(()) };
        if published.size != self.publisher.size() || self.published_seen {
            return Ok(());
        }
        self.published_seen = true;
        if published.root == self.publisher.root() {
            return Ok(());
        }
        Err(LedgerError::damaged("the published checkpoint has another root", "log/checkpoint"))
    }

    fn finish(&self) -> Result<(), LedgerError> {
        if self.published.is_none() && self.size > 0 {
            // It is durable before the first receipt is taken.
            return Err(LedgerError::damaged("the checkpoint is missing", "log/checkpoint"));
        }
        if self.published.is_some() && !self.published_seen {
            let what = "the published checkpoint is not one of this log: receipts are missing";
            return Err(LedgerError::damaged(what, "log/checkpoint"));
        }
        Ok(())
    }
}
