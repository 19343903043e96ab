//! The write-ahead log: the one place where a receipt becomes durable.
//!
//! The adversary is a power cut in the middle of a write, and a disk that rots afterwards. Each group
//! commit is one batch with a checksum, in a file whose space was reserved (and reads as zeros) before.
//! A batch that is torn at the end was never acknowledged and is cut. A bad batch with a good one after
//! it is no honest crash: the node stops.
//!
//! Batch: magic `TSWB`, payload length (u32 LE), index of the first leaf (u64 LE), number of leaves
//! (u32 LE), CRC-32 (u32 LE, IEEE) over the 16 bytes between magic and checksum and the payload.
//! Payload: items of type (u8), length (u32 LE) and bytes.

use crate::error::LedgerError;

/// Bytes before a batch's payload.
pub(crate) const HEADER: usize = 24;
const MAGIC: [u8; 4] = *b"TSWB";

/// What a batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A log leaf: the canonical export line of a receipt.
    Leaf(String),
    /// Encrypted inputs of the receipt at a leaf index.
    Inputs {
        /// The leaf.
        index: u64,
        /// Nonce and ciphertext.
        sealed: Vec<u8>,
    },
    /// A session's inputs key, wrapped by the home's key.
    Key {
        /// The chain of the session.
        chain: String,
        /// Nonce and ciphertext.
        wrapped: Vec<u8>,
    },
}

impl Item {
    /// Appends the item's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let prefix;
        let (kind, [first, second], body): (u8, [&[u8]; 2], &[u8]) = match self {
            Self::Leaf(text) => (1, [&[], &[]], text.as_bytes()),
            Self::Inputs { index, sealed } => {
                prefix = index.to_le_bytes();
                (2, [&prefix, &[]], sealed)
            }
            Self::Key { chain, wrapped } => {
                prefix = [u8::try_from(chain.len()).unwrap_or(u8::MAX), 0, 0, 0, 0, 0, 0, 0];
                (3, [prefix.get(..1).unwrap_or_default(), chain.as_bytes()], wrapped)
            }
        };
        let total = [first, second, body].iter().map(|part| part.len()).sum::<usize>();
        out.reserve(5 + total);
        out.push(kind);
        out.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_le_bytes());
        for part in [first, second, body] {
            out.extend_from_slice(part);
        }
    }

    /// Reads items until the bytes end.
    pub(crate) fn decode_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut items = Vec::new();
        while let Some((&kind, rest)) = bytes.split_first() {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (body, rest) =
                rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            items.push(match kind {
                1 => Self::Leaf(String::from_utf8(body.to_vec()).ok()?),
                2 => {
                    let (index, sealed) = body.split_first_chunk::<8>()?;
                    Self::Inputs { index: u64::from_le_bytes(*index), sealed: sealed.to_vec() }
                }
                3 => {
                    let (&length, rest) = body.split_first()?;
                    let (chain, wrapped) = rest.split_at_checked(usize::from(length))?;
                    let chain = String::from_utf8(chain.to_vec()).ok()?;
                    Self::Key { chain, wrapped: wrapped.to_vec() }
                }
                _ => return None,
            });
            bytes = rest;
        }
        Some(items)
    }
}

/// One batch, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    pub(crate) leaves: u32,
    pub(crate) items: Vec<Item>,
}

/// Frames a payload.
pub(crate) fn frame(first: u64, leaves: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&leaves.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(out.get(4..).unwrap_or_default());
    crc.update(payload);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// A segment, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) batches: Vec<Batch>,
    /// Where the next batch goes.
    pub(crate) end: u64,
    /// Whether bytes of a torn batch follow `end`.
    pub(crate) torn: bool,
}

/// Reads a segment. `last` says that no segment follows, so its tail may be torn.
pub(crate) fn scan(bytes: &[u8], name: &str) -> Result<Scan, LedgerError> {
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some((batch, length)) = bytes.get(at..).and_then(read_batch) {
        scan.batches.push(batch);
        at += length;
    }
    scan.end = at as u64;
    let rest = bytes.get(at..).unwrap_or_default();
    scan.torn = rest.iter().any(|byte| *byte != 0);
    if scan.torn && holds_batch(rest) {
        let what = "a batch is corrupt and good ones follow it";
        return Err(LedgerError::damaged(what, format!("{name}, byte {at}")));
    }
    Ok(scan)
}

/// Every batch that can be read of a damaged segment.
pub(crate) fn salvage(bytes: &[u8]) -> Vec<Batch> {
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some(rest) = bytes.get(at..) {
        if let Some((batch, length)) = read_batch(rest) {
            batches.push(batch);
            at += length;
            continue;
        }
        let next = rest.windows(MAGIC.len()).skip(1).position(|window| window == MAGIC);
        let Some(next) = next else { break };
        at += next + 1;
    }
    batches
}

fn read_batch(bytes: &[u8]) -> Option<(Batch, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (magic, fields) = header.split_first_chunk::<4>()?;
    let (length, fields) = fields.split_first_chunk::<4>()?;
    let (first, fields) = fields.split_first_chunk::<8>()?;
    let (leaves, crc) = fields.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let payload = rest.get(..length)?;
    let mut expected = crc32fast::Hasher::new();
    expected.update(header.get(4..HEADER - 4)?);
    expected.update(payload);
    if *magic != MAGIC || expected.finalize().to_le_bytes() != *crc {
        return None;
    }
    let items = Item::decode_all(payload)?;
    let leaves = u32::from_le_bytes(*leaves);
    let counted = items.iter().filter(|item| matches!(item, Item::Leaf(_))).count();
    (counted == usize::try_from(leaves).ok()?)
        .then_some((Batch { first: u64::from_le_bytes(*first), leaves, items }, HEADER + length))
}

fn holds_batch(bytes: &[u8]) -> bool {
    let mut from = 0;
    while let Some(rest) = bytes.get(from..) {
        let Some(found) = rest.windows(MAGIC.len()).position(|window| window == MAGIC) else {
            break;
        };
        if rest.get(found..).and_then(read_batch).is_some() {
            return true;
        }
        from += found + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(first: u64, text: &str) -> Vec<u8> {
        let mut payload = Vec::new();
        Item::Leaf(text.to_owned()).encode(&mut payload);
        Item::Inputs { index: first, sealed: vec![1, 2, 3] }.encode(&mut payload);
        Item::Key { chain: "c".to_owned(), wrapped: vec![9] }.encode(&mut payload);
        frame(first, 1, &payload)
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_in_the_middle_stops() {
        let (one, two) = (batch(0, "one"), batch(1, "two"));
        let whole = [one.clone(), two.clone(), vec![0; 100]].concat();
        let read = scan(&whole, "w").unwrap();
        assert_eq!(
            (read.batches.len(), read.end, read.torn),
            (2, (one.len() + two.len()) as u64, false)
        );
        for cut in 1..two.len() {
            let torn = [one.clone(), two[..cut].to_vec(), vec![0; 100]].concat();
            let read = scan(&torn, "w").unwrap();
            assert_eq!((read.batches.len(), read.torn), (1, true), "{cut}");
        }
        for at in 0..one.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            assert!(matches!(scan(&bad, "w"), Err(LedgerError::Damaged { .. })), "{at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = scan(&bytes, "w");
            let _ = Item::decode_all(&bytes);
        }
    }
}
