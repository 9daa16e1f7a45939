//! `onnx`: standard operators, weights as floats.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::unpacked::{computes_weights, evaluated};
use super::{Computed, FormError, OutputForm, Shaped, is_packed, unpack};
use crate::onnx::proto::ModelProto;
use crate::qonnx;

#[derive(Debug)]
pub(super) struct Standard;

impl OutputForm for Standard {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn about(&self) -> &'static str {
        "Standard operators only, weights as floats: any runtime loads it"
    }

    fn idle(&self, model: &ModelProto) -> Option<String> {
        (!qonnx::is_qonnx(model) && !is_packed(model) && !computes_weights(model))
            .then(|| "has standard operators already, and no packed or computed weights".to_owned())
    }

    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
        let lowered = qonnx::lower(model)?;
        let plain = match unpack(&lowered.model)? {
            Cow::Owned(plain) => plain,
            Cow::Borrowed(_) => lowered.model.into_owned(),
        };
        // Latents are no weights: other tools look for initializers.
        let (plain, changed) = evaluated(plain, computed)?;
        Ok(Shaped {
            model: plain,
            changed,
            left: BTreeMap::new(),
        })
    }
}
