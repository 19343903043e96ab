//! Takes tensors out of a file of weights by name and shape.
//!
//! The adversary made the file: each tensor must be there, of 32-bit floats, of the expected shape, and
//! hold only finite numbers.

use std::path::Path;

use ndarray::{Array1, Array2};
use safetensors::{Dtype, SafeTensors};

use crate::error::EmbedError;

/// A file of weights that is being read.
pub(super) struct Weights<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    pub(super) fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self, EmbedError> {
        let damaged = |what: String| EmbedError::Damaged { path: path.to_owned(), what };
        let tensors = SafeTensors::deserialize(bytes).map_err(|why| damaged(why.to_string()))?;
        Ok(Self { path, tensors })
    }

    pub(super) fn matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Array2<f32>, EmbedError> {
        let values = self.values(name, &[rows, columns])?;
        Array2::from_shape_vec((rows, columns), values)
            .map_err(|why| self.damaged(name, &why.to_string()))
    }

    pub(super) fn row(&self, name: &str, length: usize) -> Result<Array1<f32>, EmbedError> {
        self.values(name, &[length]).map(Array1::from_vec)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EmbedError> {
        let tensor = self.tensors.tensor(name).map_err(|_| self.damaged(name, "is missing"))?;
        if tensor.dtype() != Dtype::F32 {
            let what = format!("a tensor `{name}` of {:?}", tensor.dtype());
            return Err(EmbedError::Unsupported { path: self.path.to_owned(), what });
        }
        if tensor.shape() != shape {
            let what = format!("has the shape {:?} instead of {shape:?}", tensor.shape());
            return Err(self.damaged(name, &what));
        }
        let (numbers, rest) = tensor.data().as_chunks::<4>();
        let values: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if !rest.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err(self.damaged(name, "holds values that are not numbers"));
        }
        Ok(values)
    }

    fn damaged(&self, name: &str, what: &str) -> EmbedError {
        EmbedError::Damaged { path: self.path.to_owned(), what: format!("`{name}` {what}") }
    }
}
