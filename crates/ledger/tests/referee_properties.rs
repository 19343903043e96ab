//! Properties of proofs, tiles and texts, with the definition of the tree hash as the referee.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers fail by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tipstaff_core::Digest;
use tipstaff_core::key::SigningKey;
use tipstaff_ledger::merkle::{
    HashReader, ProofError, RightEdge, consistency_proof, empty_root, inclusion_proof, leaf_hash,
    node_hash, tree_root, verify_consistency, verify_inclusion, verify_subtree_consistency,
};
use tipstaff_ledger::note::{Checkpoint, NoteSigner, NoteVerifier, open_note, sign_note};
use tipstaff_ledger::proof::InclusionProof;
use tipstaff_ledger::tile::{
    Content, TileHashes, TileId, TileWriter, changed_tiles, decode_bundle, decode_hashes,
    encode_entry, encode_hashes,
};

/// The tree hash as RFC 6962 section 2.1 defines it, over leaf hashes.
fn defined_root(leaves: &[Digest]) -> Digest {
    match leaves.len() {
        0 => empty_root(),
        1 => leaves[0],
        count => {
            let (left, right) = leaves.split_at(count.next_power_of_two() / 2);
            node_hash(&defined_root(left), &defined_root(right))
        }
    }
}

struct Leaves(Vec<Digest>);

impl Leaves {
    fn new(count: u64) -> Self {
        Self((0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect())
    }

    fn root(&self, size: u64) -> Digest {
        defined_root(&self.0[..size as usize])
    }
}

impl HashReader for Leaves {
    fn subtree(&self, level: u8, index: u64) -> Option<Digest> {
        let start = (index << level) as usize;
        self.0.get(start..start + (1 << level)).map(defined_root)
    }
}

/// Files by path, as a publisher would leave them.
type Files = BTreeMap<String, Vec<u8>>;

fn publish(writer: &mut TileWriter, files: &mut Files) {
    files.extend(writer.tiles_for_publish());
    writer.mark_published();
}

fn fetch(files: &Files) -> impl Fn(u8, u64, u16) -> Option<Vec<u8>> {
    move |level, index, width| {
        let content = Content::Hashes { level };
        let id = |width| TileId { content, index, width }.path();
        files.get(&id(width)).or_else(|| files.get(&id(256))).cloned()
    }
}

fn flip(hash: &Digest, bit: usize) -> Digest {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest::from_bytes(bytes)
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32].into()).unwrap()
}

#[test]
fn every_inclusion_and_consistency_proof_up_to_forty_leaves() {
    let leaves = Leaves::new(40);
    for size in 1..=40 {
        let root = leaves.root(size);
        assert_eq!(tree_root(size, &leaves), Ok(root));
        for other in 0..40 {
            let leaf = leaves.0[other as usize];
            let proof = inclusion_proof(other, size, &leaves);
            let Ok(proof) = proof else {
                assert!(other >= size);
                continue;
            };
            // The proof fits its own index and no other.
            for index in 0..41 {
                let verified = verify_inclusion(index, size, &leaf, &proof, &root).is_ok();
                assert_eq!(verified, index == other, "{index} {other} {size}");
            }
            let (old, old_root) = (other + 1, leaves.root(other + 1));
            let proof = consistency_proof(old, size, &leaves).unwrap();
            for claimed in 0..=size {
                let result = verify_consistency(claimed, size, &old_root, &root, &proof);
                assert_eq!(result.is_ok(), claimed == old, "{claimed} {old} {size}");
            }
        }
    }
    assert_eq!(inclusion_proof(40, 40, &leaves), Err(ProofError::OutOfTree));
    assert_eq!(consistency_proof(0, 40, &leaves), Err(ProofError::OutOfTree));
    let missing = ProofError::MissingHash { level: 0, index: 40 };
    assert_eq!(inclusion_proof(0, 41, &leaves), Err(missing));
}

#[test]
fn a_checkpoint_has_one_spelling() {
    let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let good = format!("log\n0\n{root}\n");
    assert_eq!(Checkpoint::parse(&good).unwrap().root, empty_root());
    assert!(Checkpoint::parse(&format!("{good}extension\n")).is_ok());
    for bad in [
        format!("log\n00\n{root}\n"),
        format!("log\n+1\n{root}\n"),
        format!("log\n-1\n{root}\n"),
        format!("log\n9223372036854775808\n{root}\n"),
        format!("\n0\n{root}\n"),
        format!("log\n0\n{root}"),
        format!("log\n0\n{root}\n\n"),
        format!("log\r\n0\n{root}\n"),
        format!("log\n0\n{}\n", root.trim_end_matches('=')),
        // The same bytes with other trailing bits, and the URL alphabet.
        format!("log\n0\n{}\n", root.replace("FU=", "FV=")),
        format!("log\n0\n{}\n", root.replace('/', "_")),
        format!("log\n0\n{}\n", root.replacen("47DE", "", 1)),
        "log\n0\n".to_owned(),
        String::new(),
    ] {
        assert_eq!(Checkpoint::parse(&bad), Err(ProofError::Malformed("checkpoint")), "{bad:?}");
    }
}

#[test]
fn a_note_is_believed_only_by_the_expected_key() {
    let (ours, theirs) = (key(), SigningKey::from_seed(&[8; 32].into()).unwrap());
    let signer = NoteSigner::new("log.example/a", &ours).unwrap();
    let verifier = signer.verifier();
    let text = "log.example/a\n\n\u{2014} not a signature\n";
    let note = sign_note(text, &signer).unwrap();
    assert_eq!(open_note(note.as_bytes(), &verifier), Ok(text));

    let signature_of = |signer: &NoteSigner<'_>| {
        sign_note(text, signer).unwrap().strip_prefix(&format!("{text}\n")).unwrap().to_owned()
    };
    let stranger = signature_of(&NoteSigner::new("log.example/a", &theirs).unwrap());
    let open = |note: &str| open_note(note.as_bytes(), &verifier).map(str::to_owned);
    assert_eq!(open(&format!("{text}\n{stranger}")), Err(ProofError::UnknownSigner));
    let renamed = signature_of(&NoteSigner::new("log.example/b", &ours).unwrap());
    assert_eq!(open(&format!("{text}\n{renamed}")), Err(ProofError::UnknownSigner));
    assert_eq!(open(&format!("{note}{stranger}")), Ok(text.to_owned()));
    assert_eq!(open(&note.replacen("log", "lag", 1)), Err(ProofError::BadSignature));

    let sixteen = format!("{note}{}", stranger.repeat(15));
    assert!(open(&sixteen).is_ok());
    let limit = ProofError::TooLarge { what: "number of signatures", limit: 16 };
    assert_eq!(open(&format!("{sixteen}{stranger}")), Err(limit));
    let limit = ProofError::TooLarge { what: "note", limit: 65_536 };
    assert_eq!(open(&format!("{}{note}", "x".repeat(65_536))), Err(limit));
    for bad in [
        note.trim_end().to_owned(),
        format!("{note}\n"),
        note.replacen('\n', "\r\n", 1),
        format!("{note}garbage\n"),
        format!("{text}\n"),
        format!("{note}\u{2014} x AAAAAA==\n"),
        note.replace("\u{2014} log.example/a ", "\u{2014}  "),
    ] {
        assert_eq!(open(&bad), Err(ProofError::Malformed("note")), "{bad:?}");
    }
    let refused = |text| sign_note(text, &signer) == Err(ProofError::Malformed("note text"));
    assert!(refused("") && refused("no newline") && refused("tab\t\n"));
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb"] {
        assert!(NoteSigner::new(name, &ours).is_err(), "{name:?}");
    }

    let other = Checkpoint {
        origin: "log.example/b".to_owned(),
        size: 0,
        root: empty_root(),
        extensions: Vec::new(),
    };
    assert_eq!(other.sign(&signer), Err(ProofError::WrongOrigin));
    let note = sign_note(&other.to_text().unwrap(), &signer).unwrap();
    assert_eq!(Checkpoint::open(note.as_bytes(), &verifier), Err(ProofError::WrongOrigin));
}

#[test]
fn a_verifier_key_has_one_spelling() {
    let verifier = NoteVerifier::new("log.example/a", key().verifying_key().clone()).unwrap();
    let text = verifier.to_vkey();
    assert_eq!(NoteVerifier::parse(&text), Ok(verifier));
    let (head, data) = text.rsplit_once('+').unwrap();
    for bad in [
        text.replacen("/a+", "/b+", 1),
        text.to_uppercase(),
        format!("{text}="),
        format!("{head}+{}", data.replacen('A', "C", 1)),
        head.to_owned(),
        String::new(),
    ] {
        assert!(NoteVerifier::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn tiles_across_two_levels_restore_and_prove() {
    let leaves = Leaves::new(66_000);
    let (mut writer, mut files) = (TileWriter::new(), Files::new());
    for (leaf, size) in leaves.0.iter().zip(1_u64..) {
        writer.append(*leaf);
        if [255, 256, 257, 600, 65_535, 65_536, 65_537, 66_000].contains(&size) {
            publish(&mut writer, &mut files);
            let restored = TileWriter::restore(size, fetch(&files)).unwrap();
            assert_eq!(restored.root(), leaves.root(size));
            assert_eq!(writer.root(), leaves.root(size));
        }
    }
    assert_eq!(files["tile/2/000.p/1"], leaves.root(65_536).as_bytes());
    assert!(files.contains_key("tile/1/000") && files.contains_key("tile/1/001.p/1"));
    let reader = TileHashes::new(66_000, fetch(&files));
    for index in [0, 255, 256, 65_535, 65_536, 65_999] {
        let proof = inclusion_proof(index, 66_000, &reader).unwrap();
        assert_eq!(Ok(&proof), inclusion_proof(index, 66_000, &leaves).as_ref());
    }
    drop(reader);
    files.remove("tile/1/001.p/1");
    let restored = TileWriter::restore(66_000, fetch(&files));
    assert_eq!(restored.err(), Some(ProofError::MissingHash { level: 8, index: 256 }));
    let proof = inclusion_proof(65_999, 66_000, &TileHashes::new(66_000, fetch(&files)));
    assert_eq!(proof, Err(ProofError::MissingHash { level: 8, index: 256 }));
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn proofs_verify_and_any_change_is_refused(
        size in 1_u64..=2000, a in any::<u64>(), b in any::<u64>(), bit in 0_usize..256,
    ) {
        let leaves = Leaves::new(size);
        let (root, index) = (leaves.root(size), a % size);
        let leaf = leaves.0[index as usize];
        let proof = inclusion_proof(index, size, &leaves).unwrap();
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
        let other = b % size;
        prop_assert!(other == index || verify_inclusion(other, size, &leaf, &proof, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &flip(&leaf, bit), &proof, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &flip(&root, bit)).is_err());

        let (old, old_root) = (other + 1, leaves.root(other + 1));
        let consistency = consistency_proof(old, size, &leaves).unwrap();
        let check = |proof: &[Digest], old_root: &Digest, root: &Digest| {
            verify_consistency(old, size, old_root, root, proof)
        };
        prop_assert_eq!(check(&consistency, &old_root, &root), Ok(()));
        prop_assert!(check(&consistency, &flip(&old_root, bit), &root).is_err());
        prop_assert!(check(&consistency, &old_root, &flip(&root, bit)).is_err());

        for at in 0..proof.len() {
            let mut changed = proof.clone();
            changed[at] = flip(&changed[at], bit);
            prop_assert!(verify_inclusion(index, size, &leaf, &changed, &root).is_err());
        }
        for at in 0..consistency.len() {
            let mut changed = consistency.clone();
            changed[at] = flip(&changed[at], bit);
            prop_assert!(check(&changed, &old_root, &root).is_err());
        }
        for proof in [&proof, &consistency] {
            let longer = [proof.as_slice(), &[leaf]].concat();
            prop_assert!(verify_inclusion(index, size, &leaf, &longer, &root).is_err());
            prop_assert!(check(&longer, &old_root, &root).is_err());
        }
    }

    #[test]
    fn a_restored_writer_continues_as_if_never_stopped(
        stop in 0_u64..1500, more in 0_u64..1500, earlier in 0_u64..1500,
    ) {
        let leaves = Leaves::new(stop + more);
        let (mut writer, mut files) = (TileWriter::new(), Files::new());
        let mut edge = RightEdge::new();
        for (leaf, at) in leaves.0[..stop as usize].iter().zip(0..) {
            if at == earlier {
                publish(&mut writer, &mut files);
            }
            writer.append(*leaf);
            edge.push(*leaf);
        }
        publish(&mut writer, &mut files);
        prop_assert_eq!(writer.root(), leaves.root(stop));
        prop_assert_eq!(RightEdge::restore(stop, edge.hashes().to_vec()), Ok(edge));
        let mut restored = TileWriter::restore(stop, fetch(&files)).unwrap();
        for leaf in &leaves.0[stop as usize..] {
            writer.append(*leaf);
            restored.append(*leaf);
        }
        prop_assert_eq!(restored.root(), leaves.root(stop + more));
        let published: Vec<_> = restored.tiles_for_publish().collect();
        prop_assert_eq!(&published, &writer.tiles_for_publish().collect::<Vec<_>>());
        let mut expected: Vec<String> =
            changed_tiles(stop, stop + more).map(|id| id.path()).collect();
        let mut paths: Vec<String> = published.iter().map(|(path, _)| path.clone()).collect();
        expected.sort();
        paths.sort();
        prop_assert_eq!(paths, expected);
        publish(&mut restored, &mut files);
        let reader = TileHashes::new(stop + more, fetch(&files));
        prop_assert_eq!(tree_root(stop + more, &reader), Ok(leaves.root(stop + more)));
        // Any earlier tree can still be read: its hashes are in the tiles of the later one.
        prop_assert_eq!(tree_root(stop, &reader), Ok(leaves.root(stop)));
    }

    #[test]
    fn verification_never_panics(
        numbers in any::<[u64; 3]>(), hashes in any::<[[u8; 32]; 2]>(),
        proof in prop::collection::vec(any_digest(), 0..70),
    ) {
        let [a, b, c] = numbers;
        let [x, y] = hashes.map(Digest::from_bytes);
        prop_assert!(verify_inclusion(a, b, &x, &proof, &y).is_err());
        let _ = verify_consistency(a, b, &x, &y, &proof);
        let _ = verify_subtree_consistency(a, b, c, &x, &y, &proof);
        let _ = verify_subtree_consistency(0, b, u64::MAX, &x, &y, &proof);
    }

    #[test]
    fn codecs_round_trip(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..=256),
        hashes in prop::collection::vec(any_digest(), 1..=256),
        width in 1_u16..=256, index in any::<u64>(), level in 0_u8..64,
    ) {
        let mut bundle = Vec::new();
        for entry in &entries {
            encode_entry(entry, &mut bundle).unwrap();
        }
        let count = entries.len() as u16;
        prop_assert_eq!(decode_bundle(&bundle, count).unwrap(), entries);
        prop_assert!(decode_bundle(&bundle, count + 1).is_err());
        prop_assert!(count == 0 || decode_bundle(&bundle, count - 1).is_err());
        prop_assert_eq!(decode_hashes(&encode_hashes(&hashes)).unwrap(), hashes);
        for content in
            [Content::Hashes { level }, Content::Entries]
        {
            let id = TileId { content, index, width };
            prop_assert_eq!(TileId::parse(&id.path()), Ok(id));
        }
    }

    #[test]
    fn texts_round_trip(
        size in 0_u64..1 << 63, root in any_digest(), extra in prop::collection::vec(any::<u8>(), 0..50),
        extensions in prop::collection::vec("[^\\x00-\\x1f]{1,20}", 0..3),
        hashes in prop::collection::vec(any_digest(), 0..=63), index in 0_u64..1 << 63,
    ) {
        let key = key();
        let signer = NoteSigner::new("log.example/a", &key).unwrap();
        let checkpoint = Checkpoint { origin: "log.example/a".to_owned(), size, root, extensions };
        let checkpoint_note = checkpoint.sign(&signer).unwrap();
        let opened = Checkpoint::open(checkpoint_note.as_bytes(), &signer.verifier());
        prop_assert_eq!(opened, Ok(checkpoint));
        let proof = InclusionProof { index, hashes, checkpoint_note, extra };
        prop_assert_eq!(InclusionProof::parse(&proof.to_text()), Ok(proof));
    }

    #[test]
    fn every_bit_of_a_proof_file_counts(
        size in 1_u64..300, at in any::<usize>(), bit in 0_u8..7,
    ) {
        let leaves = Leaves::new(size);
        let (key, index) = (key(), at as u64 % size);
        let signer = NoteSigner::new("log.example/a", &key).unwrap();
        let root = leaves.root(size);
        let origin = "log.example/a".to_owned();
        let checkpoint = Checkpoint { origin, size, root, extensions: Vec::new() };
        let checkpoint_note = checkpoint.sign(&signer).unwrap();
        let hashes = inclusion_proof(index, size, &leaves).unwrap();
        let proof = InclusionProof { index, hashes, checkpoint_note, extra: Vec::new() };
        prop_assert!(proof.verify(&index.to_be_bytes(), &signer.verifier()).is_ok());
        let mut text = proof.to_text().into_bytes();
        let at = at % text.len();
        text[at] ^= 1 << bit;
        let believed = std::str::from_utf8(&text).ok().and_then(|text| {
            let proof = InclusionProof::parse(text).ok()?;
            proof.verify(&index.to_be_bytes(), &signer.verifier()).ok()
        });
        prop_assert_eq!(believed, None);
    }

    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        let verifier = NoteVerifier::new("log.example/a", key().verifying_key().clone()).unwrap();
        prop_assert!(open_note(&bytes, &verifier).is_err());
        prop_assert!(Checkpoint::open(text.as_bytes(), &verifier).is_err());
        for width in [0, 1, 2, 256, u16::MAX] {
            let _ = decode_bundle(&bytes, width);
        }
        if let Ok(hashes) = decode_hashes(&bytes) {
            prop_assert_eq!(encode_hashes(&hashes), bytes);
        }
        let _ = Checkpoint::parse(&text);
        let _ = TileId::parse(&format!("tile/{text}"));
        let _ = NoteVerifier::parse(&text);
        let _ = InclusionProof::parse(&format!("c2sp.org/tlog-proof@v1\n{text}"));
    }
}
