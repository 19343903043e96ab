//! Our proof verification against published vectors: each says whether it must be refused.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers fail by panicking")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tipstaff_core::Digest;
use tipstaff_ledger::merkle::{
    verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};

type Verify = fn(&Value) -> Option<bool>;

#[test]
fn agrees_on_every_vector() {
    let Some(folder) = referees("merkle") else { return };
    let families: [(&str, usize, Verify); 4] = [
        ("inclusion", 98, inclusion),
        ("consistency", 98, consistency),
        ("subtreeinclusion", 204, subtree_inclusion),
        ("subtreeconsistency", 118, subtree_consistency),
    ];
    for (family, count, verify) in families {
        let mut vectors = Vec::new();
        collect(&folder.join(family), &mut vectors);
        assert_eq!(vectors.len(), count, "{family}");
        let mut accepted = 0;
        for path in vectors {
            let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            // A hash of no bytes is not a hash: refused before verification.
            let valid = verify(&vector).unwrap_or(false);
            assert_eq!(valid, !vector["wantErr"].as_bool().unwrap(), "{}", path.display());
            accepted += usize::from(valid);
        }
        assert!(accepted >= 6, "{family}: {accepted}");
    }
}

fn inclusion(v: &Value) -> Option<bool> {
    let (leaf, root) = (hash(&v["leafHash"])?, hash(&v["root"])?);
    let result = verify_inclusion(int(v, "leafIdx"), int(v, "treeSize"), &leaf, &proof(v)?, &root);
    Some(result.is_ok())
}

fn consistency(v: &Value) -> Option<bool> {
    let (root1, root2) = (hash(&v["root1"])?, hash(&v["root2"])?);
    Some(verify_consistency(int(v, "size1"), int(v, "size2"), &root1, &root2, &proof(v)?).is_ok())
}

fn subtree_inclusion(v: &Value) -> Option<bool> {
    let (leaf, root) = (hash(&v["leafHash"])?, hash(&v["root"])?);
    let (index, start, end) = (int(v, "leafIdx"), int(v, "start"), int(v, "end"));
    Some(verify_subtree_inclusion(index, start, end, &leaf, &proof(v)?, &root).is_ok())
}

fn subtree_consistency(v: &Value) -> Option<bool> {
    let (root1, root2) = (hash(&v["root1"])?, hash(&v["root2"])?);
    let (start, end, size) = (int(v, "start"), int(v, "end"), int(v, "size"));
    Some(verify_subtree_consistency(start, end, size, &root1, &root2, &proof(v)?).is_ok())
}

fn int(vector: &Value, name: &str) -> u64 {
    vector[name].as_u64().unwrap()
}

fn proof(vector: &Value) -> Option<Vec<Digest>> {
    vector["proof"].as_array().map_or(Some(Vec::new()), |list| list.iter().map(hash).collect())
}

/// Some vectors have short texts where hashes go, to see that only equality counts: padding keeps that.
fn hash(value: &Value) -> Option<Digest> {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    assert!(bytes.len() <= 32);
    if bytes.is_empty() {
        return None;
    }
    bytes.resize(32, 0);
    Some(Digest::from_bytes(bytes.try_into().unwrap()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
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
