//! `integer`: ±1 weights and thresholds in standard operators, which is what masks meet already.

use std::collections::BTreeMap;

use super::standard::Standard;
use super::{Computed, FormError, OutputForm, Shaped};
use crate::onnx::proto::ModelProto;

#[derive(Debug)]
pub(super) struct Integer;

impl OutputForm for Integer {
    fn name(&self) -> &'static str {
        "integer"
    }

    fn about(&self) -> &'static str {
        "Binary layers in integer form: ±1 weights, thresholds in front of binarisers"
    }

    fn idle(&self, _: &ModelProto) -> Option<String> {
        None
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn is_integer_alone(&self) -> bool {
        true
    }

    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
        match Standard.idle(model) {
            // It was brought into the form before it was cut.
            Some(_) => Ok(Shaped {
                model: model.clone(),
                changed: Vec::new(),
                left: BTreeMap::new(),
            }),
            None => Standard.write(model, computed),
        }
    }
}
