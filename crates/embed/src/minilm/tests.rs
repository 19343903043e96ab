//! A tiny model made here, whole and broken in every way that we could think of, and the published one if
//! `TIPSTAFF_MINILM` names its folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const SIZE: usize = 8;
const INNER: usize = 12;
const ROWS: usize = 40;
const PLACES: usize = 16;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors() -> Tensors {
    let mut found = BTreeMap::new();
    // Values that differ, with no random source.
    let mut state = 7_u32;
    let mut add = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        });
        found.insert(name.to_owned(), (shape.to_vec(), values.collect()));
    };
    add("embeddings.word_embeddings.weight", &[ROWS, SIZE]);
    add("embeddings.position_embeddings.weight", &[PLACES, SIZE]);
    add("embeddings.token_type_embeddings.weight", &[2, SIZE]);
    let mut norm = |name: &str| {
        add(&format!("{name}.LayerNorm.weight"), &[SIZE]);
        add(&format!("{name}.LayerNorm.bias"), &[SIZE]);
    };
    norm("embeddings");
    norm("encoder.layer.0.attention.output");
    norm("encoder.layer.0.output");
    for (name, inputs, outputs) in [
        ("attention.self.query", SIZE, SIZE),
        ("attention.self.key", SIZE, SIZE),
        ("attention.self.value", SIZE, SIZE),
        ("attention.output.dense", SIZE, SIZE),
        ("intermediate.dense", SIZE, INNER),
        ("output.dense", INNER, SIZE),
    ] {
        add(&format!("encoder.layer.0.{name}.weight"), &[outputs, inputs]);
        add(&format!("encoder.layer.0.{name}.bias"), &[outputs]);
    }
    found
}

fn weights(tensors: &Tensors) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn config() -> Value {
    json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": SIZE,
        "intermediate_size": INNER, "layer_norm_eps": 1e-12, "max_position_embeddings": PLACES,
        "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": ROWS,
    })
}

fn words() -> Value {
    let known = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "cls", "sep", "pay", "rent", "the", "un",
        "##pay", "##rent", "##ing", "!", "cafe", "日", "本", "##s", "a", "##a", "##", "#",
    ];
    let vocabulary: serde_json::Map<String, Value> =
        known.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 4},
        "padding": {"strategy": {"Fixed": 128}},
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// A folder of a whole model, in which a test then breaks something.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", config().to_string().as_bytes());
    write("tokenizer.json", words().to_string().as_bytes());
    write("model.safetensors", &weights(&tensors()));
    write("sentence_bert_config.json", br#"{"max_seq_length": 12, "do_lower_case": false}"#);
    write(
        "1_Pooling/config.json",
        br#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false}"#,
    );
    folder
}

fn with(name: &str, bytes: &[u8]) -> Result<MiniLm, EmbedError> {
    let folder = folder();
    fs::write(folder.path().join(name), bytes).unwrap();
    MiniLm::open(folder.path())
}

fn changed(change: impl FnOnce(&mut Tensors)) -> Result<MiniLm, EmbedError> {
    let mut tensors = tensors();
    change(&mut tensors);
    with("model.safetensors", &weights(&tensors))
}

fn tiny() -> &'static MiniLm {
    static TINY: OnceLock<MiniLm> = OnceLock::new();
    TINY.get_or_init(|| MiniLm::open(folder().path()).unwrap())
}

#[test]
fn a_whole_folder_embeds_and_its_name_is_its_content() {
    let (one, two) = (MiniLm::open(folder().path()).unwrap(), tiny());
    assert_eq!(one.method(), two.method());
    assert_eq!(one.semantic(), Semantic::Yes);
    assert_eq!(one.method().as_str().len(), "minilm:".len() + 32);
    let vector = one.embed("pay the rent").unwrap();
    assert_eq!(vector, two.embed("  PAY the\trént ").unwrap());
    assert_ne!(vector, two.embed("rent the pay").unwrap());
    assert_eq!(vector.values().len(), SIZE);

    let other = changed(|tensors| {
        let (_, values) = tensors.get_mut("encoder.layer.0.output.dense.bias").unwrap();
        values[0] += 1e-6;
    });
    assert_ne!(other.unwrap().method(), two.method());
    let shorter = with("sentence_bert_config.json", br#"{"max_seq_length": 11}"#).unwrap();
    assert_ne!(shorter.method(), two.method());
}

#[test]
fn the_arithmetic_is_pinned_without_the_published_weights() {
    // Taken when the published model agreed with its own libraries (`referees/embedding`).
    let expected: [f32; SIZE] = [
        -0.065_142, 0.261_404, -0.728_781, -0.012_091, -0.346_097, 0.306_062, -0.086_294,
        -0.418_632,
    ];
    let vector = tiny().embed("pay the unpaying rents!").unwrap();
    for (value, expected) in vector.values().iter().zip(expected) {
        assert!((value - expected).abs() < 1e-5, "{:?}", vector.values());
    }
}

#[test]
fn words_are_cut_as_published() {
    let tokens = |text: &str| {
        let tokens = tiny().tokens(text).unwrap();
        let (first, rest) = tokens.split_first().unwrap();
        let (last, middle) = rest.split_last().unwrap();
        assert_eq!((*first, *last), (2, 3), "{text}");
        middle.to_vec()
    };
    assert!(tokens("").is_empty());
    assert_eq!(tokens("Pay the RENTS!"), [8, 10, 9, 19, 15]);
    assert_eq!(tokens("unpaying"), [11, 12, 14]);
    assert_eq!(tokens("unpayx payz"), [1, 1]);
    assert_eq!(tokens("Café cafe\u{301}"), [16, 16]);
    assert_eq!(tokens("日本pay"), [17, 18, 8]);
    assert_eq!(tokens("pa\u{0}y\u{fffd} th\u{200b}e\u{a0}rent"), [8, 10, 9]);
    assert_eq!(tokens(&"a".repeat(101)), [1]);
    // What a text says is never a control token.
    assert_eq!(tokens("[SEP][CLS]"), [4, 7, 5, 4, 6, 5]);
    // Cut at what the model looks at, not at what the tokenizer's file says.
    assert_eq!(tokens(&"pay ".repeat(100)), [8; 10]);
    assert_eq!(tokens(&format!("{}pay", " ".repeat(100_000))), [8]);
    let large = "a".repeat(crate::TEXT_BYTES_MAX + 1);
    assert!(matches!(tiny().embed(&large), Err(EmbedError::TextTooLarge)));
}

#[test]
fn a_missing_file_is_named() {
    assert!(matches!(
        MiniLm::open(Path::new("/nowhere/at/all")),
        Err(EmbedError::File { path, .. }) if path.ends_with("config.json")
    ));
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = folder();
        fs::remove_file(folder.path().join(name)).unwrap();
        let error = MiniLm::open(folder.path()).unwrap_err();
        assert!(matches!(error, EmbedError::File { .. }) && error.to_string().contains(name));
        // A folder in its place is no file either.
        fs::create_dir(folder.path().join(name)).unwrap();
        let error = MiniLm::open(folder.path()).unwrap_err();
        assert!(matches!(error, EmbedError::File { .. }) && error.to_string().contains(name));
    }
    let folder = folder();
    fs::remove_file(folder.path().join("sentence_bert_config.json")).unwrap();
    fs::remove_file(folder.path().join("1_Pooling/config.json")).unwrap();
    assert!(MiniLm::open(folder.path()).is_ok());
}

#[test]
fn a_file_over_its_limit_is_not_read() {
    let limits = [
        ("config.json", SETTINGS_BYTES_MAX),
        ("tokenizer.json", TOKENIZER_BYTES_MAX),
        ("model.safetensors", WEIGHTS_BYTES_MAX),
    ];
    for (name, limit) in limits {
        let folder = folder();
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_len(limit + 1).unwrap();
        let error = MiniLm::open(folder.path()).unwrap_err();
        assert!(matches!(error, EmbedError::FileTooLarge { .. }), "{error}");
    }
}

#[test]
fn truncated_weights_are_refused_wherever_they_end() {
    let whole = weights(&tensors());
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, header - 1, header, header + 1, whole.len() - 1] {
        let error = with("model.safetensors", &whole[..length]).unwrap_err();
        assert!(matches!(error, EmbedError::Damaged { .. }), "{length}: {error}");
    }
    // A header that announces more than there is.
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(with("model.safetensors", &lying).is_err());
    let mut longer = whole;
    longer.push(0);
    assert!(with("model.safetensors", &longer).is_err());
}

#[test]
fn each_tensor_must_be_there_in_its_shape_and_of_numbers() {
    for name in tensors().keys() {
        let expect = |what: &str, result: Result<MiniLm, EmbedError>| {
            let error = result.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, EmbedError::Damaged { .. }), "{what}: {text}");
            assert!(text.contains(name) && text.contains("fetch the model again"), "{text}");
        };
        expect("missing", changed(|tensors| drop(tensors.remove(name))));
        expect(
            "one more value",
            changed(|tensors| {
                let (shape, values) = tensors.get_mut(name).unwrap();
                let row: usize = shape[1..].iter().product();
                shape[0] += 1;
                values.extend(vec![0.0; row]);
            }),
        );
        expect(
            "flat",
            changed(|tensors| {
                let (shape, values) = tensors.get_mut(name).unwrap();
                *shape = vec![1, values.len()];
            }),
        );
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            expect(
                "not a number",
                changed(|tensors| *tensors.get_mut(name).unwrap().1.last_mut().unwrap() = strange),
            );
        }
    }
}

#[test]
fn weights_of_other_numbers_are_not_supported() {
    let halves = vec![0_u8; ROWS * SIZE * 2];
    let view = TensorView::new(Dtype::F16, vec![ROWS, SIZE], &halves).unwrap();
    let bytes =
        safetensors::serialize([("embeddings.word_embeddings.weight", view)], None).unwrap();
    let error = with("model.safetensors", &bytes).unwrap_err();
    assert!(matches!(error, EmbedError::Unsupported { .. }), "{error}");
}

#[test]
fn finite_weights_that_overflow_give_an_error_and_no_vector() {
    let model = changed(|tensors| {
        let (_, values) = tensors.get_mut("encoder.layer.0.output.dense.weight").unwrap();
        values.fill(f32::MAX);
    });
    assert!(matches!(model.unwrap().embed("pay"), Err(EmbedError::NotComparable)));
}

#[test]
fn a_tokenizer_that_does_something_else_is_refused() {
    let changes: [(&str, Value); 10] = [
        ("/normalizer/lowercase", json!(false)),
        ("/normalizer/strip_accents", json!(false)),
        ("/normalizer", json!({"type": "Sequence", "normalizers": []})),
        ("/normalizer", Value::Null),
        ("/pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}})),
        ("/post_processor/single", json!([{"Sequence": {"id": "A", "type_id": 0}}])),
        ("/model/type", json!("BPE")),
        ("/model/unk_token", json!("pay")),
        ("/model/continuing_subword_prefix", json!("@@")),
        ("/model/max_input_chars_per_word", json!(1_000_000)),
    ];
    for (pointer, value) in changes {
        let mut words = words();
        *words.pointer_mut(pointer).unwrap() = value;
        let error = with("tokenizer.json", words.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, EmbedError::Unsupported { .. }), "{pointer}: {error}");
    }
    for (word, id) in [("strange", json!(ROWS)), ("strange", json!(-1)), ("strange", json!("1"))] {
        let mut words = words();
        words["model"]["vocab"][word] = id;
        assert!(with("tokenizer.json", words.to_string().as_bytes()).is_err());
    }
    for lost in ["[CLS]", "[SEP]", "[UNK]"] {
        let mut words = words();
        words["model"]["vocab"].as_object_mut().unwrap().remove(lost);
        let error = with("tokenizer.json", words.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(lost), "{error}");
    }
    assert!(with("tokenizer.json", "[".repeat(1 << 20).as_bytes()).is_err());
}

#[test]
fn another_model_is_refused() {
    let changes = [
        ("model_type", json!("roberta")),
        ("hidden_act", json!("relu")),
        ("position_embedding_type", json!("relative_key")),
        ("num_attention_heads", json!(3)),
        ("num_attention_heads", json!(0)),
        ("hidden_size", json!(u64::MAX)),
        ("num_hidden_layers", json!(1_000_000)),
        ("vocab_size", json!(1_000_000_000)),
        ("max_position_embeddings", json!(2)),
        ("layer_norm_eps", json!(-1.0)),
    ];
    for (name, value) in changes {
        let mut config = config();
        config[name] = value;
        let error = with("config.json", config.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, EmbedError::Unsupported { .. }), "{name}: {error}");
    }
    for text in ["", "{}", "[]", "{\"model_type\": 1}"] {
        let error = with("config.json", text.as_bytes()).unwrap_err();
        assert!(matches!(error, EmbedError::Damaged { .. }), "{text}: {error}");
    }
    for length in [0, 1, 2, PLACES + 1] {
        let said = json!({"max_seq_length": length}).to_string();
        assert!(with("sentence_bert_config.json", said.as_bytes()).is_err(), "{length}");
    }
    let module = |kind: &str| json!({"idx": 0, "path": "", "type": format!("a.models.{kind}")});
    let modules = |kinds: &[&str]| {
        let list: Vec<Value> = kinds.iter().map(|kind| module(kind)).collect();
        with("modules.json", json!(list).to_string().as_bytes())
    };
    assert!(modules(&["Transformer", "Pooling", "Normalize"]).is_ok());
    for kinds in [&[][..], &["Transformer"], &["Transformer", "Pooling", "Dense", "Normalize"]] {
        assert!(matches!(modules(kinds), Err(EmbedError::Unsupported { .. })), "{kinds:?}");
    }
    for pooling in [
        r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
        r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#,
        "{}",
    ] {
        assert!(with("1_Pooling/config.json", pooling.as_bytes()).is_err(), "{pooling}");
    }
}

/// The published model, or `None` with a line that says that a test is skipped.
fn published() -> Option<MiniLm> {
    let Some(folder) = std::env::var_os("TIPSTAFF_MINILM") else {
        println!("SKIPPED: no weights; set TIPSTAFF_MINILM to the folder of all-MiniLM-L6-v2");
        return None;
    };
    Some(MiniLm::open(&PathBuf::from(folder)).unwrap())
}

#[test]
fn the_published_model_puts_meanings_together() {
    let Some(model) = published() else { return };
    assert_eq!(model.tokens("Hello, world!").unwrap(), [101, 7592, 1010, 2088, 999, 102]);
    let ppm = |a, b| model.distance_ppm(a, b).unwrap();
    let request = "Pay the March rent to Anna Berg";
    let near = ppm(request, "transfer money: recipient Anna Berg, amount 1250");
    let far = ppm(request, "list directory: path /etc");
    // Machines differ by the last bits of a product; a step left out would differ by thousands.
    assert!(near.abs_diff(461_343) <= 3 && far.abs_diff(950_966) <= 3, "{near} {far}");
    assert_eq!(ppm(request, request), 0);
}

#[test]
fn no_alphabet_makes_a_sentence_longer_than_the_model_looks() {
    let Some(model) = published() else { return };
    for filler in ["한국어", "漢字", "qxzj ", "!?", "0x9f", "𝄞𝅘𝅥𝅮", "ẖ́", "🎉", "a "]
    {
        let filler = filler.repeat(2000);
        let arguments = json!({"a": filler, "b": filler, "to": "zebra"}).to_string();
        let text = crate::action_text("mail", "send", "tools/call", &arguments);
        let tokens = model.tokens(&text).unwrap();
        // The last argument is still seen: `zebra` is 29145.
        assert_eq!(tokens.iter().rev().nth(1), Some(&29145), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_has_tokens_that_the_model_knows(text in ".*", strange in any::<Vec<char>>()) {
        for text in [text, strange.into_iter().collect()] {
            let tokens = tiny().tokens(&text).unwrap();
            prop_assert!((2..=12).contains(&tokens.len()));
            prop_assert!(tokens.iter().all(|token| (*token as usize) < ROWS));
            prop_assert!(tiny().embed(&text).is_ok());
        }
    }

    #[test]
    fn a_damaged_byte_is_an_error_or_another_model_and_never_a_panic(
        file in prop::sample::select(vec!["config.json", "tokenizer.json", "model.safetensors"]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let folder = folder();
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let same = bytes[at] == byte;
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        if let Ok(model) = MiniLm::open(folder.path()) {
            prop_assert_eq!(model.method() == tiny().method(), same);
            let _ = model.embed("pay the rent");
        }
    }
}
