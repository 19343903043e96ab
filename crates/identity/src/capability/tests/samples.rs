//! Biscuit's published samples, read where the registry keeps its crate.
//!
//! Signatures and structure go through our own reader, what the tokens say through the engine within our bounds. Where
//! ours is stricter, the test says why.

use std::path::PathBuf;

use super::*;
use crate::capability::wire::Wire;

/// Refused here and not by the library, each for its reason.
const STRICTER: [(&str, &str); 4] = [
    ("test032_laziness_closures.bc", "closures in closures may run more often than is looked at"),
    ("test035_ffi.bc", "no functions of the host: what one says is no input that is kept"),
    ("test036_secp256r1.bc", "Ed25519 alone: the ids of the other curve's blocks are malleable"),
    ("test037_secp256r1_third_party.bc", "Ed25519 alone"),
];

fn folder() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let sources = std::fs::read_dir(home.join("registry/src")).ok()?.flatten();
    let mut found = sources.map(|source| source.path().join("biscuit-auth-6.0.0/samples"));
    let found = found.find(|folder| folder.is_dir());
    if found.is_none() {
        println!("SKIPPED: the registry's copy of biscuit-auth 6.0.0 is not here");
    }
    found
}

#[test]
fn the_published_samples_give_what_they_say() {
    let Some(folder) = folder() else { return };
    let samples = std::fs::read_to_string(folder.join("samples.json")).unwrap();
    let samples: serde_json::Value = serde_json::from_str(&samples).unwrap();
    let root = samples["root_public_key"].as_str().unwrap();
    let root = tipstaff_core::Digest::from_hex(root).unwrap();
    let root = VerifyingKey::from_bytes(root.as_bytes()).unwrap();
    let (mut tokens, mut validations, mut stricter) = (0, 0, Vec::new());
    for case in samples["testcases"].as_array().unwrap() {
        let name = case["filename"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        tokens += 1;
        let read = Wire::decode(&bytes).and_then(|wire| wire.verify(&root).map(|()| wire));
        for (which, validation) in case["validations"].as_object().unwrap() {
            validations += 1;
            let code = validation["authorizer_code"].as_str().unwrap();
            let expected = validation["result"]["Ok"].as_u64();
            let ran = read.as_ref().map_err(Clone::clone).and_then(|wire| {
                let engine = engine_of(&wire.bytes, &root)?;
                crate::capability::engine::tests::run(&engine, code)
            });
            match (expected, &ran) {
                (Some(policy), Ok(matched)) => {
                    assert_eq!(policy, *matched as u64, "{name} {which}")
                }
                (None, Err(_)) => {}
                (None, Ok(_)) => panic!("{name} {which} must be refused"),
                (Some(_), Err(fault)) => stricter.push((name.to_owned(), fault.clone())),
            }
        }
        // The ids are those of Biscuit's own revocation identifiers.
        if let Ok(wire) = &read {
            let ids = case["validations"].as_object().unwrap().values().next().unwrap();
            let given: Vec<tipstaff_core::Digest> = ids["revocation_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| tipstaff_core::Digest::of(&hex(id.as_str().unwrap())))
                .collect();
            let ours: Vec<_> = wire.blocks.iter().map(|block| block.id).collect();
            assert!(given.is_empty() || given == ours, "{name}");
        }
    }
    assert_eq!((tokens, validations), (38, 50));
    let names: Vec<&str> = stricter.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, STRICTER.map(|(name, _)| name), "{stricter:?}");
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
