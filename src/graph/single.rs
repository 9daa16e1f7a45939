//! Constants of other float types, as `f32`.

use std::sync::Arc;

use super::Facts;
use crate::onnx::Tensor;

impl Facts {
    /// The same with constants of other float types as `f32`, rounded where these are finer. Types
    /// ([`Facts::element`]) stay those of the file.
    pub fn in_single(mut self) -> Self {
        for value in self.here.values.iter_mut().flatten() {
            if value.as_f32().is_none()
                && let Some(floats) = value.floats()
            {
                *value = Arc::new(Tensor::F32(floats.into_owned()));
            }
        }
        self
    }
}
