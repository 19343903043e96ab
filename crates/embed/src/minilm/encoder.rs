//! The encoder of BERT for one text: embeddings, layers of attention, the mean over the tokens.
//!
//! One text at a time, so that nothing is padded and no mask is needed: the result is that of a batch with
//! its mask. Products of matrices are the library's; roots and the two functions beside them are computed
//! in software, so that machines agree to the last bits of the products.

use std::path::Path;

use ndarray::{Array1, Array2, Axis, Slice};

use super::Config;
use super::weights::Weights;
use crate::error::EmbedError;

/// The weights, ready for use.
#[derive(Debug)]
pub(super) struct Encoder {
    words: Array2<f32>,
    /// Position and token type in one, as each text has one type.
    positions: Array2<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

#[derive(Debug)]
struct Linear {
    weight: Array2<f32>,
    bias: Array1<f32>,
}

#[derive(Debug)]
struct Norm {
    weight: Array1<f32>,
    bias: Array1<f32>,
    epsilon: f32,
}

impl Encoder {
    pub(super) fn read(path: &Path, bytes: &[u8], config: &Config) -> Result<Self, EmbedError> {
        let from = Weights::parse(path, bytes)?;
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, inputs, outputs| -> Result<Linear, EmbedError> {
            Ok(Linear {
                weight: from
                    .matrix(&format!("{name}.weight"), outputs, inputs)?
                    .t()
                    .as_standard_layout()
                    .into_owned(),
                bias: from.row(&format!("{name}.bias"), outputs)?,
            })
        };
        let norm = |name: &str| -> Result<Norm, EmbedError> {
            Ok(Norm {
                weight: from.row(&format!("{name}.LayerNorm.weight"), size)?,
                bias: from.row(&format!("{name}.LayerNorm.bias"), size)?,
                epsilon: config.layer_norm_eps,
            })
        };
        let words = from.matrix("embeddings.word_embeddings.weight", config.vocab_size, size)?;
        let places = config.max_position_embeddings;
        let mut positions = from.matrix("embeddings.position_embeddings.weight", places, size)?;
        let types = from.matrix("embeddings.token_type_embeddings.weight", 2, size)?;
        if let Some(first) = types.outer_iter().next() {
            positions += &first;
        }
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for number in 0..config.num_hidden_layers {
            let at = |part: &str| format!("encoder.layer.{number}.{part}");
            layers.push(Layer {
                query: linear(&at("attention.self.query"), size, size)?,
                key: linear(&at("attention.self.key"), size, size)?,
                value: linear(&at("attention.self.value"), size, size)?,
                attended: linear(&at("attention.output.dense"), size, size)?,
                attention_norm: norm(&at("attention.output"))?,
                up: linear(&at("intermediate.dense"), size, inner)?,
                down: linear(&at("output.dense"), inner, size)?,
                output_norm: norm(&at("output"))?,
            });
        }
        let heads = config.num_attention_heads;
        Ok(Self { words, positions, norm: norm("embeddings")?, layers, heads })
    }

    /// The mean of what the last layer says about each token.
    pub(super) fn mean(&self, tokens: &[u32]) -> Vec<f32> {
        // The tokenizer gives only tokens that have a row; one that had none would be left out.
        let known = tokens.iter().filter_map(|token| {
            let token = usize::try_from(*token).ok()?;
            (token < self.words.nrows()).then_some(token)
        });
        let rows: Vec<usize> = known.take(self.positions.nrows()).collect();
        let mut states = self.words.select(Axis(0), &rows);
        states += &self.positions.slice_axis(Axis(0), Slice::from(..rows.len()));
        self.norm.apply(&mut states);
        for layer in &self.layers {
            states = layer.apply(&states, self.heads);
        }
        let mean = states.mean_axis(Axis(0));
        mean.map(|mean| mean.to_vec()).unwrap_or_default()
    }
}

impl Layer {
    fn apply(&self, states: &Array2<f32>, heads: usize) -> Array2<f32> {
        let mut attended = self.attended.apply(&self.attend(states, heads));
        attended += states;
        self.attention_norm.apply(&mut attended);
        let mut up = self.up.apply(&attended);
        up.mapv_inplace(gelu);
        let mut output = self.down.apply(&up);
        output += &attended;
        self.output_norm.apply(&mut output);
        output
    }

    fn attend(&self, states: &Array2<f32>, heads: usize) -> Array2<f32> {
        let (query, key) = (self.query.apply(states), self.key.apply(states));
        let value = self.value.apply(states);
        let width = query.ncols() / heads;
        #[expect(clippy::cast_precision_loss, reason = "a width of at most 4096")]
        let scale = 1.0 / (width as f32).sqrt();
        let mut output = Array2::zeros(states.raw_dim());
        for head in 0..heads {
            let columns = Slice::from(head * width..(head + 1) * width);
            let query = query.slice_axis(Axis(1), columns);
            let key = key.slice_axis(Axis(1), columns);
            let value = value.slice_axis(Axis(1), columns);
            let mut scores = query.dot(&key.t());
            scores.outer_iter_mut().for_each(|mut row| softmax(&mut row, scale));
            output.slice_axis_mut(Axis(1), columns).assign(&scores.dot(&value));
        }
        output
    }
}

impl Linear {
    fn apply(&self, states: &Array2<f32>) -> Array2<f32> {
        let mut output = states.dot(&self.weight);
        output += &self.bias;
        output
    }
}

impl Norm {
    fn apply(&self, states: &mut Array2<f32>) {
        for mut row in states.outer_iter_mut() {
            #[expect(clippy::cast_precision_loss, reason = "a length of at most 4096")]
            let length = row.len() as f32;
            let mean = row.iter().sum::<f32>() / length;
            let variance =
                row.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / length;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for ((value, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *value = (*value - mean) * scale * weight + bias;
            }
        }
    }
}

/// A row of scores, scaled, as shares of 1.
fn softmax(row: &mut ndarray::ArrayViewMut1<'_, f32>, scale: f32) {
    let most = row.iter().fold(f32::NEG_INFINITY, |most, score| most.max(score * scale));
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = libm::expf(*score * scale - most);
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

/// The activation, by the error function and not by its approximation.
fn gelu(value: f32) -> f32 {
    value * 0.5 * (1.0 + libm::erff(value * std::f32::consts::FRAC_1_SQRT_2))
}
