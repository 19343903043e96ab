//! One target per parser. A target fails by panicking.

use bolero::check;
use tipstaff_classify::{ActionKind, Catalogue};
use tipstaff_core::Json;
use tipstaff_core::receipt::{Receipt, Signed, verify_links};
use tipstaff_identity::capability::{Part, Token, attenuate, from_text, grant, inspect};
use tipstaff_identity::{HttpSignature, SignedEnvelope, SignedOrder};
use tipstaff_ledger::note::{Checkpoint, NoteVerifier};
use tipstaff_ledger::proof::InclusionProof;
use tipstaff_ledger::tile::{TileId, decode_bundle};
use tipstaff_monitor::Statement;
use tipstaff_policy::{PolicySet, PolicySource, ToolPins, Words};

/// What the strict parser accepts has one spelling, and a lenient reader agrees that it is JSON.
#[test]
fn json() {
    check!().for_each(|bytes: &[u8]| {
        let Ok(json) = Json::parse(bytes) else { return };
        let text = json.to_canonical();
        assert_eq!(Json::parse(text.as_bytes()).as_ref(), Ok(&json));
        assert!(tipstaff_core::json::is_canonical(&text));
    });
}

#[test]
fn receipts() {
    let good = include_str!("seed-receipt.json").trim();
    check!().for_each(move |bytes: &[u8]| {
        // Arbitrary bytes, and a good leaf with a few bytes changed.
        let _ = std::str::from_utf8(bytes).map(Signed::from_leaf);
        let mut changed = good.as_bytes().to_vec();
        for edit in bytes.chunks_exact(3).take(4) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % changed.len();
            changed[at] = edit[2];
        }
        if let Ok(signed) =
            std::str::from_utf8(&changed).map_or(Err(()), |t| Signed::from_leaf(t).map_err(drop))
        {
            assert_eq!(signed.to_leaf().as_bytes(), changed);
        }
        if let Ok(json) = Json::parse(&changed) {
            let _ = Receipt::from_json(json.get("receipt").unwrap_or(&json));
            let _ = verify_links(&[json], &[]);
        }
    });
}

/// Capabilities: whatever is read and verified names the holder that was granted, or none that its holder signed.
#[test]
fn capabilities() {
    let key = |seed: u8| tipstaff_core::key::SigningKey::from_seed(&[seed; 32].into()).unwrap();
    let (one, two) = (key(1), key(2));
    let check = Part::Check("check if argument(\"/n\", $n), $n * 2 < 9".to_owned());
    let (good, root) = grant(one.verifying_key(), &[check]).unwrap();
    let good = attenuate(&good, Some((two.verifying_key(), &one)), &[]).unwrap();
    check!().for_each(move |bytes: &[u8]| {
        let mut changed = good.clone();
        for edit in bytes.chunks_exact(3).take(4) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % changed.len();
            changed[at] = edit[2];
        }
        for token in [bytes, &changed] {
            let _ = inspect(token);
            let Ok(read) = Token::decode(token).and_then(|token| token.verify(&root)) else {
                continue;
            };
            assert_eq!(read.holder(), Some(two.verifying_key()));
            assert_eq!(read.ids(), Token::decode(&good).unwrap().ids());
        }
        let _ = std::str::from_utf8(bytes).map(from_text);
    });
}

/// Orders and signatures of requests: what is read has the one spelling that it was read from.
#[test]
fn who_acts() {
    let order = "{\"at\":5,\"change\":{\"from\":1,\"key_id\":\"k\",\"name\":\"ci\",\"what\":\"compromise\"},\
                 \"form\":\"tipstaff-order-1\",\"key_id\":\"k\",\"log\":\"l\",\"prev\":null,\"signature\":\"\"}"
        .replace("\"signature\":\"\"", &format!("\"signature\":\"{}\"", "A".repeat(86)));
    assert!(SignedOrder::from_canonical(&order).is_ok());
    let input = "sig=(\"@method\" \"@path\");created=1618884473;keyid=\"k\";nonce=\"n\"";
    let signature = format!("sig=:{}==:", "A".repeat(86));
    assert!(HttpSignature::parse(input, &signature).is_ok());
    check!().for_each(move |bytes: &[u8]| {
        let changed = |good: &str| changed(good, bytes);
        for text in [changed(&order), String::from_utf8_lossy(bytes).into_owned()] {
            if let Ok(read) = SignedOrder::from_canonical(&text) {
                assert_eq!(read.to_canonical(), text);
            }
        }
        let _ = HttpSignature::parse(&changed(input), &changed(&signature));
        let _ = HttpSignature::parse(&String::from_utf8_lossy(bytes), &signature);
    });
}

/// Access words: what is read reads back from its own text, and what they mean is Cedar that is admitted.
#[test]
fn words() {
    let good = "role(reader) = { fs:*, T1..T3 on not server(\"a b\") }\nallow({ coder, user(ada) }, git:push, roots)\n\
                policy(argument(\"/b\", \"r*\")) = { deny(not role(x), github/*) \"No \\\" \\\\.\" ask(*, sample) }\n";
    assert!(Words::parse("a.access", good).is_ok());
    check!().for_each(move |bytes: &[u8]| {
        for text in [changed(good, bytes), String::from_utf8_lossy(bytes).into_owned()] {
            let Ok(words) = Words::parse("a.access", &text) else { continue };
            let written = words.to_string();
            assert_eq!(Words::parse("a.access", &written).as_ref(), Ok(&words), "{text}");
            let classes = Catalogue::builtin().classes();
            let Ok(cedar) = words.to_cedar("a.access", classes) else { continue };
            let mut source = PolicySource::default();
            source.files.insert("a.access.cedar".to_owned(), cedar);
            let classes = Catalogue::builtin().classes();
            if let Err(faults) = PolicySet::admit(&source, &ToolPins::default(), classes) {
                // Cedar may see that a rule can never match, or that a name has letters that mislead; it never
                // fails to read one.
                assert!(faults.iter().all(|f| f.file == "a.access"), "{faults:?} {text}");
                let known = ["never match", "identifier", "BIDI"];
                let told = |message: &str| known.iter().any(|part| message.contains(part));
                assert!(faults.iter().all(|f| told(&f.message)), "{faults:?} {text}");
            }
        }
    });
}

/// Answers to held calls, and what they cover besides: what is read says all that the text under the signature says, so
/// that no two readers see two answers in one signature. A kind of actions reads back as it was.
#[test]
fn answers() {
    let zero = "0".repeat(64);
    let good = format!(
        "{{\"action\":\"{zero}\",\"answer\":\"approve\",\"expires\":7,\"log\":\"l\",\"of\":\"{zero}\",\
         \"policy_set\":\"{zero}\",\"repeat\":{{\"count\":3,\"kind\":\"{zero}\",\"labels\":[\"internal\"],\
         \"rule\":\"r\",\"session\":\"s\",\"tier\":4,\"until\":9}},\"requester\":\"a\"}}"
    );
    let kind = "{\"acts\":[\"git push origin main\"],\"class\":\"git:push\",\"folders\":[\"/w\"],\
                \"server\":\"claude\",\"tool\":\"Bash\"}";
    let read = |text: &str| Statement::from_json(&Json::parse(text.as_bytes()).ok()?);
    assert!(read(&good).is_some_and(|statement| statement.repeat.is_some()));
    assert!(ActionKind::from_json(&Json::parse(kind.as_bytes()).unwrap()).is_some());
    check!().for_each(move |bytes: &[u8]| {
        let changed = |good: &str| changed(good, bytes);
        for text in [changed(&good), String::from_utf8_lossy(bytes).into_owned()] {
            let Some(statement) = read(&text) else { continue };
            assert_eq!(read(&statement.text()).as_ref(), Some(&statement), "{text}");
        }
        if let Some(read) =
            Json::parse(changed(kind).as_bytes()).ok().and_then(|json| ActionKind::from_json(&json))
        {
            assert_eq!(ActionKind::from_json(&read.to_json()), Some(read));
        }
    });
}

/// Envelopes: what is read has the one spelling that it was read from.
#[test]
fn envelopes() {
    let good = format!(
        "{{\"at\":5,\"body\":\"aGVsbG8\",\"counter\":7,\"form\":\"tipstaff-envelope-1\",\"from\":\"coder\",\
         \"key_id\":\"k\",\"log\":\"l\",\"signature\":\"{}\",\"to\":\"helper\"}}",
        "A".repeat(86)
    );
    assert!(SignedEnvelope::from_canonical(&good).is_ok());
    check!().for_each(move |bytes: &[u8]| {
        for text in [changed(&good, bytes), String::from_utf8_lossy(bytes).into_owned()] {
            if let Ok(read) = SignedEnvelope::from_canonical(&text) {
                assert_eq!(read.to_canonical(), text);
            }
        }
    });
}

#[test]
fn log_formats() {
    let vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
    let verifier = NoteVerifier::parse(vkey).unwrap();
    check!().for_each(move |bytes: &[u8]| {
        assert!(Checkpoint::open(bytes, &verifier).is_err(), "nobody can sign by chance");
        let text = String::from_utf8_lossy(bytes);
        let _ = InclusionProof::parse(&text);
        let _ = NoteVerifier::parse(&text);
        if let Ok(id) = TileId::parse(&text) {
            assert_eq!(id.path(), text);
        }
        let _ = decode_bundle(bytes, 256);
    });
}

#[test]
fn policies() {
    let words = [
        "permit",
        "forbid",
        "(",
        ")",
        "principal",
        "action",
        "resource",
        ",",
        ";",
        "when",
        "unless",
        "{",
        "}",
        "context.tier",
        "==",
        "&&",
        "||",
        "!",
        "-",
        "1",
        "\"x\"",
        "[",
        "]",
        "if",
        "then",
        "else",
        "@id(\"a\")",
        "@modify(\"p\")",
        "@rank(\"1\")",
        "in",
        "Tool::\"a/b\"",
        "has",
        "like",
        ".",
        "labels",
        "resource.getTag(\"/a\")",
        "class",
        "Class::\"fs:read\"",
        "//",
        "\n",
        " ",
    ];
    check!().for_each(move |bytes: &[u8]| {
        let raw = String::from_utf8_lossy(bytes).into_owned();
        let spelled: String = bytes
            .iter()
            .map(|byte| words[usize::from(*byte) % words.len()])
            .collect::<Vec<_>>()
            .join(" ");
        for text in [raw, spelled] {
            let files = [("fuzz.cedar".to_owned(), text)].into();
            let source = PolicySource { files, ..PolicySource::default() };
            let classes = Catalogue::builtin().classes();
            let _ = PolicySet::admit(&source, &ToolPins::default(), classes);
        }
    });
}

#[test]
fn shell_lines_and_paths() {
    use tipstaff_classify::{Annotations, classify};
    use tipstaff_core::Action;
    check!().for_each(|bytes: &[u8]| {
        let line = String::from_utf8_lossy(bytes).into_owned();
        let _ = tipstaff_classify::paths::lexical_absolute(&line, "/work", "/home/u");
        let arguments = Json::object(vec![("command".to_owned(), Json::String(line))]).unwrap();
        let action = Action::new("s", "Bash", "tools/call", arguments, None).unwrap();
        let one = classify(Catalogue::builtin(), &action, Annotations::default());
        assert_eq!(one, classify(Catalogue::builtin(), &action, Annotations::default()));
    });
}

/// What was good, with a few of its bytes changed: random bytes alone don't get far into a parser.
fn changed(good: &str, bytes: &[u8]) -> String {
    let mut changed = good.as_bytes().to_vec();
    let length = changed.len();
    for edit in bytes.chunks_exact(3).take(4) {
        if let [low, high, new] = edit
            && let Some(byte) =
                changed.get_mut(usize::from(u16::from_le_bytes([*low, *high])) % length)
        {
            *byte = *new;
        }
    }
    String::from_utf8_lossy(&changed).into_owned()
}
