//! A published tiled log, made again byte for byte at every size from 0 to 15.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers fail by panicking")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tipstaff_core::key::SigningKey;
use tipstaff_ledger::merkle::{ProofError, inclusion_proof, leaf_hash};
use tipstaff_ledger::note::{Checkpoint, NoteSigner, NoteVerifier};
use tipstaff_ledger::proof::InclusionProof;
use tipstaff_ledger::tile::{
    Content, TileHashes, TileId, TileWriter, changed_bundles, changed_tiles, decode_bundle,
    encode_entry,
};

const ENTRIES: [&str; 15] = [
    "one", "two", "three", "four", "five", "six", "seven", "eit", "nain", "ten", "ileven", "twelf",
    "threeten", "fourten", "fivten",
];
/// The published log's published test key.
const SIGNER: &str =
    "PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg";
const VERIFIER: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

#[test]
fn reproduces_the_published_log_at_every_size() {
    let Some(folder) = referees("tlog") else { return };
    let read = |path: &str| std::fs::read(folder.join(path)).unwrap();
    let (name, key) = signing_key();
    let signer = NoteSigner::new(&name, &key).unwrap();
    let verifier = NoteVerifier::parse(VERIFIER).unwrap();
    assert_eq!(signer.verifier(), verifier);
    assert_eq!(verifier.to_vkey(), VERIFIER);

    let mut writer = TileWriter::new();
    let mut bundle = Vec::new();
    for size in 0..=15_u64 {
        let checkpoint =
            Checkpoint { origin: name.clone(), size, root: writer.root(), extensions: Vec::new() };
        let published = read(&format!("checkpoint.{size}"));
        assert_eq!(checkpoint.sign(&signer).unwrap().as_bytes(), published, "size {size}");
        assert_eq!(Checkpoint::open(&published, &verifier), Ok(checkpoint));

        let tiles: Vec<(String, Vec<u8>)> = writer.tiles_for_publish().collect();
        assert_eq!(tiles.len(), usize::from(size > 0));
        for (path, bytes) in &tiles {
            assert_eq!(bytes, &read(path), "{path}");
        }
        let expected: Vec<String> =
            changed_tiles(size.saturating_sub(1), size).map(|id| id.path()).collect();
        assert_eq!(tiles.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);
        for id in changed_bundles(size.saturating_sub(1), size) {
            assert_eq!(bundle, read(&id.path()));
            let entries = decode_bundle(&bundle, id.width).unwrap();
            assert!(entries.into_iter().eq(ENTRIES[..size as usize].iter().map(|e| e.as_bytes())));
        }
        writer.mark_published();
        assert_eq!(writer.tiles_for_publish().count(), 0);
        if let Some(entry) = ENTRIES.get(size as usize) {
            writer.append(leaf_hash(entry.as_bytes()));
            encode_entry(entry.as_bytes(), &mut bundle).unwrap();
        }
    }
    assert_eq!(read("checkpoint"), read("checkpoint.15"));
}

#[test]
fn proves_inclusion_from_the_published_files_alone() {
    let Some(folder) = referees("tlog") else { return };
    let verifier = NoteVerifier::parse(VERIFIER).unwrap();
    for size in 1..=15 {
        let reader = TileHashes::new(size, |level, index, width| {
            let id = TileId { content: Content::Hashes { level }, index, width };
            std::fs::read(folder.join(id.path())).ok()
        });
        let note = std::fs::read_to_string(folder.join(format!("checkpoint.{size}"))).unwrap();
        for index in 0..size {
            let proof = InclusionProof {
                index,
                hashes: inclusion_proof(index, size, &reader).unwrap(),
                checkpoint_note: note.clone(),
                extra: Vec::new(),
            };
            let proof = InclusionProof::parse(&proof.to_text()).unwrap();
            let entry = ENTRIES[index as usize].as_bytes();
            assert_eq!(proof.verify(entry, &verifier).unwrap().size, size);
            assert_eq!(proof.verify(b"other", &verifier), Err(ProofError::RootMismatch));
        }
    }
}

/// Reads the Go module's text form of a signing key, which we never write.
fn signing_key() -> (String, SigningKey) {
    let mut parts = SIGNER.strip_prefix("PRIVATE+KEY+").unwrap().splitn(3, '+');
    let name = parts.next().unwrap().to_owned();
    let bytes = STANDARD.decode(parts.nth(1).unwrap()).unwrap();
    let seed: [u8; 32] = bytes.strip_prefix(&[1]).unwrap().try_into().unwrap();
    (name, SigningKey::from_seed(&seed.into()).unwrap())
}

fn referees(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TIPSTAFF_REFEREES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/referees"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no published vectors in {name}; set TIPSTAFF_REFEREES to their folder");
    None
}
