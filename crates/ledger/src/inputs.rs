//! What a receipt's digests are digests of, kept encrypted beside the log.
//!
//! The adversary reads a backup, or asks for what was to be forgotten. Inputs are sealed with a key per
//! session, which the home's key wraps; deleting either leaves every receipt verifiable and the inputs
//! gone. The home's key lies in the home: this protects copies and deletion, not against its user.
//!
//! AES-256-GCM (NIST SP 800-38D), random 96-bit nonce before the ciphertext; the additional data binds
//! a record to its chain and leaf index, and a wrapped key to its chain.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tipstaff_store::{Disk, Random, StoreError};

use crate::error::LedgerError;
use crate::wal::Item;

/// A symmetric key. Not printable.
pub struct SealingKey(LessSafeKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    /// The key of 32 bytes.
    ///
    /// # Errors
    /// [`LedgerError::InputsForged`] if the library refuses it.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, LedgerError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| LedgerError::InputsForged)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    pub(crate) fn seal(
        &self,
        random: &dyn Random,
        bound: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, LedgerError> {
        let mut nonce = [0; 12];
        random.fill(&mut nonce)?;
        let mut out = plain.to_vec();
        let given = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(given, Aad::from(bound), &mut out)
            .map_err(|_| LedgerError::InputsForged)?;
        Ok([&nonce[..], &out].concat())
    }

    pub(crate) fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>, LedgerError> {
        let (nonce, cipher) = sealed.split_first_chunk::<12>().ok_or(LedgerError::InputsForged)?;
        let mut cipher = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(bound), &mut cipher)
            .map_err(|_| LedgerError::InputsForged)?;
        Ok(plain.to_vec())
    }
}

/// The additional data of a record.
pub(crate) fn record_bound(chain: &str, index: u64) -> Vec<u8> {
    [b"tipstaff inputs 1\0", chain.as_bytes(), b"\0", &index.to_le_bytes()[..]].concat()
}

/// The additional data of a wrapped session key.
pub(crate) fn key_bound(chain: &str) -> Vec<u8> {
    [b"tipstaff session key 1\0", chain.as_bytes()].concat()
}

/// Everything that is still kept.
#[derive(Debug, Default)]
pub struct Kept {
    records: BTreeMap<u64, Vec<u8>>,
    /// All keys of each chain: a session that a restart cut in two has two.
    keys: HashMap<String, Vec<Vec<u8>>>,
    /// Segments that can't be read.
    unreadable: Vec<String>,
}

impl Kept {
    pub(crate) fn absorb(&mut self, item: &Item) {
        match item {
            Item::Inputs { index, sealed } => {
                self.records.insert(*index, sealed.clone());
            }
            Item::Key { chain, wrapped } => {
                let keys = self.keys.entry(chain.clone()).or_default();
                if !keys.contains(wrapped) {
                    keys.push(wrapped.clone());
                }
            }
            Item::Leaf(_) => {}
        }
    }

    /// Reads the segments of the inputs folder before leaf `end`; later ones are in the write-ahead log.
    pub(crate) fn read_segments(&mut self, disk: &dyn Disk, end: u64) -> Result<(), LedgerError> {
        for name in disk.list(Path::new("inputs"))? {
            let first = name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            if first.is_none_or(|first| first >= end) {
                continue;
            }
            let bytes = match disk.read(&Path::new("inputs").join(&name)) {
                // Deleted in this moment.
                Err(StoreError::NotFound(_)) => continue,
                read => read?,
            };
            // The log must stay readable without its inputs.
            match Item::decode_all(&bytes) {
                Some(items) => items.iter().for_each(|item| self.absorb(item)),
                None => self.unreadable.push(name),
            }
        }
        Ok(())
    }

    /// Segments that can't be read.
    pub(crate) fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// The inputs of a leaf, opened.
    ///
    /// # Errors
    /// [`LedgerError::Expired`] if they or their key were deleted, [`LedgerError::InputsForged`] if they
    /// are there and don't open.
    pub fn open(&self, home: &SealingKey, chain: &str, index: u64) -> Result<Vec<u8>, LedgerError> {
        let missing = || match self.unreadable.is_empty() {
            true => LedgerError::Expired,
            false => LedgerError::InputsForged,
        };
        let sealed = self.records.get(&index).ok_or_else(missing)?;
        let keys = self.keys.get(chain).ok_or_else(missing)?;
        let bound = record_bound(chain, index);
        let mut opened = keys.iter().filter_map(|wrapped| {
            unwrap(home, chain, wrapped).and_then(|key| key.open(&bound, sealed)).ok()
        });
        opened.next().ok_or(LedgerError::InputsForged)
    }
}

/// Opens a wrapped session key.
pub(crate) fn unwrap(
    home: &SealingKey,
    chain: &str,
    wrapped: &[u8],
) -> Result<SealingKey, LedgerError> {
    let bytes = home.open(&key_bound(chain), wrapped)?;
    SealingKey::new(bytes.as_slice().try_into().map_err(|_| LedgerError::InputsForged)?)
}
