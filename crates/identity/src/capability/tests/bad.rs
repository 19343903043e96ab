//! Tokens of whoever means harm: each is refused, with one reason.

use biscuit_auth::format::schema;
use prost::Message as _;

use super::*;

fn proto(bytes: &[u8]) -> schema::Biscuit {
    schema::Biscuit::decode(bytes).unwrap()
}

fn fault(bytes: &[u8], root: &VerifyingKey) -> Fault {
    read(bytes, root).map(drop).unwrap_err()
}

/// Three blocks: for key 1, narrowed, for key 2.
fn three() -> (Vec<u8>, VerifyingKey) {
    let (bytes, root) = granted(&[]);
    let tier = Caveat::Bounds { of: Number::Tier, bounds: vec![(Compare::AtMost, 3)] };
    let bytes = attenuate(&bytes, None, &parts(&[tier])).unwrap();
    (attenuate(&bytes, Some((&public(2), &key(1))), &[]).unwrap(), root)
}

#[test]
fn forged_cut_and_reordered_tokens_are_refused() {
    let (good, root) = three();
    assert!(read(&good, &root).is_ok());
    assert_eq!(fault(&good, &public(9)), Fault::Forged, "another root");
    // Every bit of it counts, or means nothing.
    let ids = Token::decode(&good).unwrap().ids();
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(capability) = read(&bad, &root) {
                assert_eq!(capability.ids(), ids, "byte {at} bit {bit}");
                assert_eq!(capability.holder(), Some(&public(2)), "byte {at} bit {bit}");
            }
        }
        assert!(read(good.get(..at).unwrap(), &root).is_err(), "cut at {at}");
    }
    let changed = |change: &dyn Fn(&mut schema::Biscuit)| {
        let mut token = proto(&good);
        change(&mut token);
        fault(&token.encode_to_vec(), &root)
    };
    assert_eq!(changed(&|token| token.blocks.swap(0, 1)), Fault::Forged);
    assert_eq!(changed(&|token| drop(token.blocks.remove(0))), Fault::Forged);
    // The last block is the one that narrows most: without it the proof is of another key.
    assert_eq!(changed(&|token| drop(token.blocks.pop())), Fault::Forged);
    let again = |token: &mut schema::Biscuit| token.blocks.push(token.blocks[0].clone());
    assert_eq!(changed(&again), Fault::Forged);
    let bare = |token: &mut schema::Biscuit| token.blocks[1].external_signature = None;
    assert_eq!(changed(&bare), Fault::Forged);
    let no_proof = |token: &mut schema::Biscuit| token.proof.content = None;
    assert_eq!(changed(&no_proof), Fault::Malformed("it has no proof"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let (mut bytes, root) = granted(&[]);
    let mut count = 1;
    while let Ok(longer) = attenuate(&bytes, None, &[]) {
        (bytes, count) = (longer, count + 1);
    }
    assert_eq!(count, BLOCKS_MAX);
    assert!(read(&bytes, &root).is_ok());
    assert_eq!(attenuate(&bytes, None, &[]), Err(Fault::TooManyBlocks));
    let repeated = |times: usize| {
        let mut token = proto(&bytes);
        let last = token.blocks.pop().unwrap();
        token.blocks.extend(std::iter::repeat_n(last, times));
        token.encode_to_vec()
    };
    assert_eq!(fault(&repeated(2), &root), Fault::TooManyBlocks);
    assert_eq!(fault(&repeated(10_000), &root), Fault::TooLarge);
    let long = Part::Check(format!("check if tool(\"{}\")", "x".repeat(TOKEN_BYTES_MAX)));
    assert_eq!(grant(&public(1), &[long]), Err(Fault::TooLarge));
    assert_eq!(from_text(&"A".repeat(30_000)), Err(Fault::TooLarge));
    for garbage in [&b""[..], b"x", &[0; 64], &[255; 64], b"\x0a\xff\xff\xff\xff\x0f"] {
        assert!(matches!(fault(garbage, &root), Fault::Malformed(_)), "{garbage:?}");
    }
}

#[test]
fn a_stolen_token_can_be_narrowed_and_nothing_else() {
    let (bytes, root) = granted(&[]);
    // A thief has the bytes, and a key of its own.
    assert_eq!(attenuate(&bytes, Some((&public(9), &key(9))), &[]), Err(Fault::NotHolder));
    // Without the library's help: a block that names it.
    let named = format!("holder(\"{}\")", public(9).to_did_key());
    let stolen = biscuit_auth::UnverifiedBiscuit::from(&bytes).unwrap();
    let block = || biscuit_auth::BlockBuilder::new().fact(named.as_str()).unwrap();
    let plain = stolen.append(block()).unwrap().to_vec().unwrap();
    assert_eq!(fault(&plain, &root), Fault::HolderChanged);
    // Signed as a third party, by its own key.
    let request = stolen.third_party_request().unwrap();
    let thief = biscuit_auth::PrivateKey::from_bytes(&[9; 32], biscuit_auth::Algorithm::Ed25519);
    let signed = request.create_block(&thief.unwrap(), block()).unwrap().serialize().unwrap();
    let signed = stolen.append_third_party(&signed).unwrap().to_vec().unwrap();
    assert_eq!(fault(&signed, &root), Fault::HolderChanged);
    // Derived instead of said: nobody is named by it.
    let rule = format!("holder(\"{}\") <- tier($t)", public(9).to_did_key());
    let derived = biscuit_auth::BlockBuilder::new().rule(rule.as_str()).unwrap();
    let derived = stolen.append(derived).unwrap().to_vec().unwrap();
    assert_eq!(read(&derived, &root).unwrap().holder(), Some(&public(1)));
    // The holder's signature for another place of another token.
    let (other, _) = granted(&[]);
    let given = attenuate(&other, Some((&public(9), &key(1))), &[]).unwrap();
    let block = proto(&given).blocks.remove(0);
    let contents = schema::ThirdPartyBlockContents {
        payload: block.block,
        external_signature: block.external_signature.unwrap(),
    };
    let moved = stolen.append_third_party(&contents.encode_to_vec()).unwrap().to_vec().unwrap();
    assert_eq!(fault(&moved, &root), Fault::Forged);
    // Two at once, or none at all.
    let two = format!("{named}; holder(\"{}\");", public(1).to_did_key());
    let two = biscuit_auth::BlockBuilder::new().code(&two).unwrap();
    let two = stolen.append(two).unwrap().to_vec().unwrap();
    assert_eq!(fault(&two, &root), Fault::Malformed("a block names two holders"));
    let pair = biscuit_auth::KeyPair::new();
    let bearer = biscuit_auth::Biscuit::builder().build(&pair).unwrap().to_vec().unwrap();
    let root: [u8; 32] = pair.public().to_bytes().try_into().unwrap();
    let root = VerifyingKey::from_bytes(&root).unwrap();
    assert_eq!(fault(&bearer, &root), Fault::NoHolder);
}

#[test]
fn keys_and_versions_on_which_readers_differ_are_refused() {
    let (good, root) = three();
    let changed = |change: &dyn Fn(&mut schema::Biscuit)| {
        let mut token = proto(&good);
        change(&mut token);
        fault(&token.encode_to_vec(), &root)
    };
    // The identity and a point of order eight, in the places of keys.
    let mut one = vec![0; 32];
    one[0] = 1;
    let eight = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let eight = tipstaff_core::Digest::from_hex(eight).unwrap().as_bytes().to_vec();
    for small in [one, eight] {
        let next = |token: &mut schema::Biscuit| token.authority.next_key.key = small.clone();
        // The signature over it is wrong too; a signer of its own is refused for the key.
        assert!(matches!(changed(&next), Fault::Forged | Fault::Key));
        let external = |token: &mut schema::Biscuit| {
            token.blocks[1].external_signature.as_mut().unwrap().public_key.key = small.clone();
        };
        assert_eq!(changed(&external), Fault::Key);
    }
    let curve = |token: &mut schema::Biscuit| {
        token.blocks[0].next_key.algorithm = schema::public_key::Algorithm::Secp256r1 as i32;
    };
    assert_eq!(changed(&curve), Fault::Algorithm);
    let unbound = |token: &mut schema::Biscuit| token.blocks[1].version = None;
    assert!(matches!(changed(&unbound), Fault::Malformed(_)));
    let unknown = |token: &mut schema::Biscuit| token.authority.version = Some(2);
    assert!(matches!(changed(&unknown), Fault::Malformed(_)));
    // A block whose contents are of a version that nobody knows, well signed: by the library's own rules.
    let secp = biscuit_auth::KeyPair::new_with_algorithm(biscuit_auth::Algorithm::Secp256r1);
    let token = biscuit_auth::Biscuit::builder().build_with_key_pair(
        &biscuit_auth::KeyPair::new(),
        biscuit_auth::datalog::SymbolTable::new(),
        &secp,
    );
    assert_eq!(fault(&token.unwrap().to_vec().unwrap(), &root), Fault::Algorithm);
}

#[test]
fn what_is_over_or_not_begun_or_elsewhere_is_outside() {
    let bound = |of, compare, value| Caveat::Bounds { of, bounds: vec![(compare, value)] };
    let case = Case::of("read", r#"{"n":3}"#);
    for caveat in [
        bound(Number::Time, Compare::Less, 50),
        bound(Number::Time, Compare::AtLeast, 51),
        bound(Number::Position, Compare::Less, 50),
        bound(Number::Uses(0), Compare::Less, 1),
        Caveat::Named(vec![Named::Session("s-2".to_owned())]),
        Caveat::Budget { block: 0, at: "/n".to_owned(), most: 3 },
    ] {
        let (bytes, root) = granted(std::slice::from_ref(&caveat));
        let capability = read(&bytes, &root).unwrap();
        let said = case.ask(capability.meters(), |asked| capability.permits(asked));
        assert_eq!(said, Err(Fault::Outside { block: 0, check: caveat.to_string() }));
    }
    // A child that says it may do more may not.
    let tier = |most| bound(Number::Tier, Compare::AtMost, most);
    let (bytes, root) = granted(&[tier(1)]);
    let wider = attenuate(&bytes, Some((&public(2), &key(1))), &parts(&[tier(5)])).unwrap();
    assert!(!case.permits(&read(&wider, &root).unwrap()));
    // Nor one that brings facts of its own.
    let own = biscuit_auth::BlockBuilder::new().fact("tier(1)").unwrap();
    let own = biscuit_auth::UnverifiedBiscuit::from(&bytes).unwrap().append(own).unwrap();
    assert!(!case.permits(&read(&own.to_vec().unwrap(), &root).unwrap()));
}

#[test]
fn a_sealed_token_is_good_and_can_not_be_given_on() {
    let (bytes, root) = three();
    let open = biscuit_auth::UnverifiedBiscuit::from(&bytes).unwrap();
    let sealed = open.seal().unwrap().to_vec().unwrap();
    assert!(read(&sealed, &root).is_ok());
    assert!(attenuate(&sealed, None, &[]).is_err());
    let mut cut = proto(&sealed);
    cut.blocks.pop();
    assert_eq!(fault(&cut.encode_to_vec(), &root), Fault::Forged);
}
