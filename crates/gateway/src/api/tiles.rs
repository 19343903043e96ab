//! The files of the tiled log (C2SP `tlog-tiles`), read for clients and for our own answers.
//!
//! The adversary asks for files of the home that are no part of the log: a path here is made from a
//! number and a width, never from text. A partial tile that was removed since is cut from a wider one,
//! which begins with the same bytes: every checkpoint that was ever given can be followed.

use std::path::{Path, PathBuf};

use tipstaff_ledger::tile::{Content, TILE_WIDTH, TileId};
use tipstaff_store::{Disk, StoreError};

/// The checkpoint's file.
pub(crate) const CHECKPOINT: &str = "log/checkpoint";

const HASH_BYTES: usize = 32;

/// The bytes of a tile or bundle; `None` if the log has none of this number and width.
pub(crate) fn read(disk: &dyn Disk, id: TileId) -> Result<Option<Vec<u8>>, StoreError> {
    if let Some(bytes) = optional(disk, &path(id))? {
        return Ok(Some(bytes));
    }
    if id.width == TILE_WIDTH {
        return Ok(None);
    }
    let full = TileId { width: TILE_WIDTH, ..id };
    let folder = PathBuf::from(format!("{}.p", path(full).display()));
    let widths = disk.list(&folder)?.into_iter().filter_map(|name| name.parse::<u16>().ok());
    let wider = widths.filter(|width| (id.width..TILE_WIDTH).contains(width));
    // What is listed may be gone when it is read, and then the full one is there.
    for width in wider.chain([TILE_WIDTH]) {
        if let Some(bytes) = optional(disk, &path(TileId { width, ..id }))? {
            return Ok(cut(id, bytes));
        }
    }
    Ok(None)
}

/// The beginning of a wider tile.
fn cut(id: TileId, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let length = match id.content {
        Content::Hashes { .. } => usize::from(id.width) * HASH_BYTES,
        Content::Entries => {
            let mut length = 0;
            for _ in 0..id.width {
                let header = bytes.get(length..)?.first_chunk::<2>()?;
                length += 2 + usize::from(u16::from_be_bytes(*header));
            }
            length
        }
    };
    if length > bytes.len() {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}

fn optional(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(id: TileId) -> PathBuf {
    Path::new("log").join(id.path())
}

#[cfg(test)]
mod tests {
    use tipstaff_ledger::tile::{decode_bundle, encode_entry};
    use tipstaff_store::MemoryDisk;

    use super::*;

    fn bundle(entries: std::ops::Range<u16>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            encode_entry(format!("entry {entry}").as_bytes(), &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn a_partial_tile_that_is_gone_is_the_beginning_of_a_wider_one() {
        let disk = MemoryDisk::new();
        let id = |content, width| TileId { content, index: 0, width };
        let entries = |width| id(Content::Entries, width);
        let hashes = |width| id(Content::Hashes { level: 0 }, width);
        let has = |id| read(&disk, id).unwrap();
        assert_eq!(has(entries(3)), None);
        disk.replace(&path(entries(9)), &bundle(0..9)).unwrap();
        assert_eq!(has(entries(9)), Some(bundle(0..9)));
        assert_eq!(has(entries(3)), Some(bundle(0..3)));
        assert_eq!(decode_bundle(&has(entries(3)).unwrap(), 3).unwrap().len(), 3);
        assert_eq!(has(entries(10)), None);
        assert_eq!(has(entries(TILE_WIDTH)), None);
        disk.replace(&path(hashes(TILE_WIDTH)), &[7; 8192]).unwrap();
        assert_eq!(has(hashes(5)), Some(vec![7; 160]));
        // A damaged one is not cut short.
        disk.replace(&path(entries(9)), &bundle(0..9)[..40]).unwrap();
        assert_eq!(has(entries(8)), None);
        assert_eq!(has(TileId { index: 1, ..entries(1) }), None);
    }
}
