//! all-MiniLM-L6-v2 from its folder: tokenizer, encoder, mean of the tokens, length 1.
//!
//! The adversary is whoever made the folder: truncated weights, shapes that don't fit, values that are not
//! numbers, a tokenizer that does something else. All of it is checked when the folder is read, so that
//! embedding can't fail on it later. Text is only ever text: `[SEP]` in it is five characters and a word.

mod encoder;
mod tokenizer;
mod weights;

use std::path::Path;

use serde::Deserialize;
use tipstaff_core::Digest;

use crate::error::EmbedError;
use crate::vector::Vector;
use crate::{Embedder, Method, Semantic, file};
use encoder::Encoder;
use tokenizer::Tokenizer;

/// Largest file of settings, in bytes.
const SETTINGS_BYTES_MAX: u64 = 64 << 10;
/// Largest tokenizer, in bytes: a vocabulary of 30,000 words takes half a megabyte.
const TOKENIZER_BYTES_MAX: u64 = 8 << 20;
/// Largest file of weights, in bytes: the model has 91 million.
const WEIGHTS_BYTES_MAX: u64 = 512 << 20;
/// Tokens that are looked at if the folder doesn't say how many.
const TOKENS: usize = 256;

/// A sentence-embedding model of the BERT family, in memory.
#[derive(Debug)]
pub struct MiniLm {
    method: Method,
    tokenizer: Tokenizer,
    encoder: Encoder,
}

/// `config.json`, as far as it changes what is computed.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    layer_norm_eps: f32,
    max_position_embeddings: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    #[serde(default)]
    position_embedding_type: Option<String>,
    vocab_size: usize,
}

/// `sentence_bert_config.json`.
#[derive(Debug, Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

/// A line of `modules.json`.
#[derive(Debug, Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
}

impl MiniLm {
    /// Reads the folder of a model in the layout of sentence-transformers: `config.json`,
    /// `tokenizer.json`, `model.safetensors`, and if they are there `modules.json`,
    /// `sentence_bert_config.json` and `1_Pooling/config.json`.
    ///
    /// # Errors
    /// [`EmbedError::File`], [`EmbedError::FileTooLarge`], [`EmbedError::Damaged`] or
    /// [`EmbedError::Unsupported`], with the file.
    pub fn open(folder: &Path) -> Result<Self, EmbedError> {
        let path = folder.join("config.json");
        let settings = file::read(&path, SETTINGS_BYTES_MAX)?;
        let config: Config = parse(&path, &settings)?;
        config.check(&path)?;
        let (tokens, sentence) = tokens(folder, &config)?;
        let (modules, pooling) = (modules(folder)?, pooling(folder)?);

        let path = folder.join("tokenizer.json");
        let words = file::read(&path, TOKENIZER_BYTES_MAX)?;
        let tokenizer = Tokenizer::parse(&path, &words, config.vocab_size, tokens)?;

        let path = folder.join("model.safetensors");
        let weights = file::read(&path, WEIGHTS_BYTES_MAX)?;
        let encoder = Encoder::read(&path, &weights, &config)?;

        // Each file by its own digest: two files can't pass for two others with the same bytes in a row.
        let files = [&settings, &modules, &sentence, &pooling, &words, &weights];
        let digests: Vec<Digest> = files.iter().map(|bytes| Digest::of(bytes)).collect();
        let parts: Vec<&[u8]> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
        let digest = Digest::of_parts(&parts).to_hex();
        let method = Method::new("minilm", digest.get(..32).unwrap_or(&digest));
        Ok(Self { method, tokenizer, encoder })
    }

    /// The numbers of the tokens of `text`, as the model sees them.
    ///
    /// # Errors
    /// [`EmbedError::TextTooLarge`].
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        crate::bounded(text)?;
        Ok(self.tokenizer.tokens(text))
    }
}

impl Embedder for MiniLm {
    fn method(&self) -> &Method {
        &self.method
    }

    fn semantic(&self) -> Semantic {
        Semantic::Yes
    }

    fn embed(&self, text: &str) -> Result<Vector, EmbedError> {
        Vector::new(&self.encoder.mean(&self.tokens(text)?))
    }
}

impl Config {
    fn check(&self, path: &Path) -> Result<(), EmbedError> {
        let what = if self.model_type != "bert" {
            format!("the model type `{}`", self.model_type)
        } else if self.hidden_act != "gelu" {
            format!("the activation `{}`", self.hidden_act)
        } else if self.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            "another position embedding than absolute".to_owned()
        } else if !self.in_bounds() {
            "a model of this size".to_owned()
        } else {
            return Ok(());
        };
        Err(EmbedError::Unsupported { path: path.to_owned(), what })
    }

    /// Sizes far over the model's own, and under what would overflow or exhaust anything.
    fn in_bounds(&self) -> bool {
        let within = |size: usize, most: usize| (1..=most).contains(&size);
        within(self.hidden_size, 4096)
            && within(self.intermediate_size, 16_384)
            && within(self.num_attention_heads, 64)
            && within(self.num_hidden_layers, 48)
            && within(self.vocab_size, 500_000)
            && (3..=8192).contains(&self.max_position_embeddings)
            && self.hidden_size.is_multiple_of(self.num_attention_heads)
            && (0.0..1.0).contains(&self.layer_norm_eps)
    }
}

/// How many tokens the model looks at, and the bytes that said so.
fn tokens(folder: &Path, config: &Config) -> Result<(usize, Vec<u8>), EmbedError> {
    let path = folder.join("sentence_bert_config.json");
    if !path.exists() {
        return Ok((TOKENS.min(config.max_position_embeddings), Vec::new()));
    }
    let bytes = file::read(&path, SETTINGS_BYTES_MAX)?;
    let said: SentenceConfig = parse(&path, &bytes)?;
    if !(3..=config.max_position_embeddings).contains(&said.max_seq_length) {
        let what = format!("a length of {} tokens", said.max_seq_length);
        return Err(EmbedError::Unsupported { path, what });
    }
    Ok((said.max_seq_length, bytes))
}

/// Refuses a folder whose model has a step that is not taken here, such as one more layer at the end.
fn modules(folder: &Path) -> Result<Vec<u8>, EmbedError> {
    let path = folder.join("modules.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = file::read(&path, SETTINGS_BYTES_MAX)?;
    let said: Vec<Module> = parse(&path, &bytes)?;
    let kinds: Vec<&str> =
        said.iter().filter_map(|module| module.kind.rsplit('.').next()).collect();
    // Bringing vectors to length 1 changes no cosine, so it may be left out.
    if !matches!(*kinds, ["Transformer", "Pooling"] | ["Transformer", "Pooling", "Normalize"]) {
        let what = "a step other than encoder, pooling and length".to_owned();
        return Err(EmbedError::Unsupported { path, what });
    }
    Ok(bytes)
}

/// Refuses a folder that pools in another way than by the mean.
fn pooling(folder: &Path) -> Result<Vec<u8>, EmbedError> {
    let path = folder.join("1_Pooling").join("config.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = file::read(&path, SETTINGS_BYTES_MAX)?;
    let said: serde_json::Map<String, serde_json::Value> = parse(&path, &bytes)?;
    let on = |name: &&String| {
        name.starts_with("pooling_mode_") && said.get(*name) == Some(&serde_json::Value::Bool(true))
    };
    let modes: Vec<&String> = said.keys().filter(on).collect();
    if modes != ["pooling_mode_mean_tokens"] {
        let what = "another pooling than the mean of the tokens".to_owned();
        return Err(EmbedError::Unsupported { path, what });
    }
    Ok(bytes)
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, bytes: &'a [u8]) -> Result<T, EmbedError> {
    serde_json::from_slice(bytes)
        .map_err(|why| EmbedError::Damaged { path: path.to_owned(), what: why.to_string() })
}

#[cfg(test)]
mod tests;
