//! Receipts and the log's files, as they are and after somebody changed them.

use tipstaff_ledger::merkle::leaf_hash;
use tipstaff_ledger::note::Checkpoint;
use tipstaff_ledger::proof::InclusionProof;
use tipstaff_ledger::tile::{TILE_WIDTH, TileWriter, decode_bundle, encode_entry};

use super::*;

#[test]
fn receipts_are_listed_found_and_proven() {
    let world = World::new();
    let member = world.join();
    let receipts = world.act(&member, 5);
    let chain = member.chain();
    let all = world.get("/api/v1/receipts?from=0");
    let listed = all["receipts"].as_array().unwrap();
    assert_eq!(listed.len() as u64, world.monitor.ledger().position().0);
    assert_eq!(all["next"], listed.len());
    assert_eq!(all["more"], false);
    let hashes = |answer: &Value| -> Vec<String> {
        let receipts = answer["receipts"].as_array().unwrap().iter();
        receipts.map(|receipt| receipt["hash"].as_str().unwrap().to_owned()).collect()
    };
    // Page by page it is the same.
    let (mut paged, mut next) = (Vec::new(), 0);
    loop {
        let page = world.get(&format!("/api/v1/receipts?from={next}&limit=3"));
        paged.extend(hashes(&page));
        next = page["next"].as_u64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(paged, hashes(&all));
    let newest = world.get("/api/v1/receipts?limit=2");
    assert_eq!(hashes(&newest), paged[paged.len() - 2..]);
    let after = world.get(&format!("/api/v1/receipts?after={}", paged.len() - 2));
    assert_eq!(hashes(&after), paged[paged.len() - 1..]);
    assert_eq!(hashes(&world.get("/api/v1/receipts?from=100000")), Vec::<String>::new());

    let of_chain = world.get(&format!("/api/v1/receipts?chain={chain}&from=0"));
    assert_eq!(of_chain["receipts"].as_array().unwrap().len(), 1 + 6 + 5);
    let denied = world.get("/api/v1/receipts?verdict=DENY&kind=verdict");
    assert_eq!(hashes(&denied), [receipts[5].to_hex()]);
    for none in ["session=s-none".to_owned(), format!("chain={chain}&session=control")] {
        assert_eq!(hashes(&world.get(&format!("/api/v1/receipts?{none}"))), Vec::<String>::new());
    }
    assert_eq!(world.get("/api/v1/receipts?chain=s-none&from=900")["next"], 900);
    let both = world.get(&format!("/api/v1/receipts?chain={chain}&session={chain}"));
    assert_eq!(both["receipts"].as_array().unwrap().len(), 12);
    // A chain as it is listed verifies as it is, with its signatures.
    let checked = world.send("POST", "/api/v1/aarm/verify-chain", &[], of_chain.to_string());
    assert_eq!(read(&checked), serde_json::json!({ "valid": true, "length": 12 }));
    assert_eq!(header(&checked, "x-tipstaff-signatures"), "12");

    let verifier = {
        let identity = world.monitor.ledger().identity();
        NoteVerifier::new(&identity.origin, identity.log_key.verifying_key().clone()).unwrap()
    };
    for receipt in &receipts {
        let hex = receipt.to_hex();
        for id in [&hex, hex.get(..8).unwrap(), hex.get(..20).unwrap(), &hex.to_uppercase()] {
            let found = world.get(&format!("/api/v1/receipts/{id}"));
            assert_eq!(found["hash"], hex);
            let text = RawValue::from_string(found["receipt"].to_string()).unwrap();
            assert_eq!(Digest::of(text.get().as_bytes()), *receipt);
            let proof = InclusionProof::parse(found["proof"]["text"].as_str().unwrap()).unwrap();
            let leaf = found["leaf"].as_str().unwrap();
            proof.verify(leaf.as_bytes(), &verifier).unwrap();
            assert_eq!(found["proof"]["index"], found["index"]);
        }
    }
    // It is there as soon as it was answered, whatever the monitor published by itself.
    for _ in 0..3 {
        std::thread::sleep(PUBLISH_INTERVAL);
        let refused = world.monitor.admit(&member, read_file("/root/.ssh/id_rsa")).unwrap_err();
        world.get(&format!("/api/v1/receipts/{}", refused.receipt.unwrap().to_hex()));
    }
    for (id, status, expected) in [
        ("ffffffffffffffff", 404, "unknown_receipt"),
        ("abc", 400, "bad_id"),
        ("g2345678", 400, "bad_id"),
        ("..", 400, "bad_id"),
        ("%2e%2e%2f%2e", 400, "bad_id"),
    ] {
        let reply = world.ask("GET", &format!("/api/v1/receipts/{id}"), "");
        assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (status, expected), "{id}");
    }
    assert_eq!(code(&world.ask("GET", "/api/v1/receipts?limit=0", "")), "bad_query");
}

#[test]
fn the_log_is_served_as_its_format_says_and_nothing_beside_it() {
    let world = World::new();
    let member = world.join();
    world.act(&member, 140);
    world.monitor.publish().unwrap();
    let reply = world.send("GET", "/log/checkpoint", &[], "");
    assert_eq!(header(&reply, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&reply, "cache-control"), "no-cache");
    let key_set = world.get("/.well-known/jwks.json");
    let verifier = NoteVerifier::parse(key_set["tipstaff/log_vkey"].as_str().unwrap()).unwrap();
    let note = reply.into_body();
    let checkpoint = Checkpoint::open(&note, &verifier).unwrap();
    assert_eq!(checkpoint.size, world.monitor.ledger().position().0);
    let rest = checkpoint.size % 256;
    assert!(checkpoint.size > 256 && rest > 0, "{}", checkpoint.size);
    // The whole tree is computed from what is served.
    let mut tree = TileWriter::new();
    for path in ["entries/000".to_owned(), format!("entries/001.p/{rest}")] {
        let reply = world.send("GET", &format!("/log/tile/{path}"), &[], "");
        assert_eq!(header(&reply, "content-type"), "application/octet-stream");
        assert!(header(&reply, "cache-control").contains("immutable"));
        let width = if path.contains(".p") { u16::try_from(rest).unwrap() } else { TILE_WIDTH };
        for entry in decode_bundle(reply.body(), width).unwrap() {
            tree.append(leaf_hash(entry));
        }
    }
    assert_eq!(tree.root(), checkpoint.root);
    let tile = world.send("GET", "/log/tile/0/000", &[], "").into_body();
    assert_eq!(tile.len(), 8192);
    // Every smaller width of the same tile can still be asked for.
    for width in 1..256 {
        let part = world.send("GET", &format!("/log/tile/0/000.p/{width}"), &[], "").into_body();
        assert_eq!(part, tile[..32 * width]);
    }
    let beyond = world.send("GET", &format!("/log/tile/0/001.p/{}", rest + 1), &[], "");
    assert_eq!((beyond.status().as_u16(), code(&beyond).as_str()), (404, "unknown_tile"));
    for path in
        ["/log/tile/entries/../../../keys/http.token", "/log/tile/0/000.p/256", "/log/snapshot"]
    {
        assert_eq!(world.send("GET", path, &[], "").status(), 404);
    }
}

#[test]
fn a_log_that_was_changed_is_not_proven() {
    let world = World::new();
    let member = world.join();
    let receipts = world.act(&member, 2);
    world.monitor.publish().unwrap();
    let found = world.get(&format!("/api/v1/receipts/{}", receipts[0].to_hex()));
    let other = world.get(&format!("/api/v1/receipts/{}", receipts[1].to_hex()));
    let size = world.monitor.ledger().position().0;
    let path = world.folder.path().join(format!("home/log/tile/entries/000.p/{size}"));
    let whole = fs::read(&path).unwrap();
    let refused = |id: &Digest| {
        let reply = world.ask("GET", &format!("/api/v1/receipts/{}", id.to_hex()), "");
        assert_eq!((reply.status().as_u16(), code(&reply).as_str()), (503, "log_unreadable"));
    };
    // A verdict that was turned round.
    let mut bytes = whole.clone();
    let at = bytes.windows(7).rposition(|part| part == b"\"ALLOW\"").unwrap();
    bytes[at + 1..at + 6].copy_from_slice(b"NEVER");
    fs::write(&path, &bytes).unwrap();
    refused(&receipts[1]);
    // A receipt that was put in another's place, with its own hash and signature.
    let entries = decode_bundle(&whole, u16::try_from(size).unwrap()).unwrap();
    let mut bytes = Vec::new();
    for entry in entries {
        let is_first = entry == found["leaf"].as_str().unwrap().as_bytes();
        let entry = if is_first { other["leaf"].as_str().unwrap().as_bytes() } else { entry };
        encode_entry(entry, &mut bytes).unwrap();
    }
    fs::write(&path, &bytes).unwrap();
    refused(&receipts[0]);
    fs::write(&path, &whole).unwrap();
    world.get(&format!("/api/v1/receipts/{}", receipts[0].to_hex()));
}
