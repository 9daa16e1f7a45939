//! `ops`: binary layers as operators of a domain of our own, which `crates/bnn-ops` computes on packed bits.
//!
//! It is written of the integer form. A binariser's tensor that binary layers read is wanted as bits
//! ([`bits`]): of floats by `Pack`, or directly by the binary layer whose sums it compares with thresholds. What a
//! layer's sums go through where floats are wanted (a division, BatchNormalization, the addition of a residual
//! stream) runs inside of the layer's operator ([`chain`]), step by step and rounded as before. What the operators
//! do is said in `docs/operators.md`.

mod bits;
mod chain;
mod layer;
mod thresholds;
mod written;

use super::standard::Standard;
use super::{Computed, FormError, OutputForm, Shaped};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;
use crate::recognize;

pub use crate::graph::OPS_DOMAIN as DOMAIN;

/// Version of the operators.
const VERSION: i64 = 1;

/// Older opsets are not tested.
const NEEDED: i64 = 11;

#[derive(Debug)]
pub(super) struct Ops;

/// Whether a model has operators of the domain.
pub fn has_operators(model: &ModelProto) -> bool {
    let nodes = model.graph.iter().flat_map(|g| &g.node);
    nodes.into_iter().any(|n| n.domain() == DOMAIN)
}

impl OutputForm for Ops {
    fn name(&self) -> &'static str {
        "ops"
    }

    fn about(&self) -> &'static str {
        "Binary layers as operators on packed bits, for ONNX Runtime with a library (docs/operators.md)"
    }

    fn idle(&self, _: &ModelProto) -> Option<String> {
        // Nothing is made of a model that has these operators.
        None
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
        let standard = match Standard.idle(model) {
            Some(_) => None,
            None => Some(Standard.write(model, computed)?.model),
        };
        let model = standard.as_ref().unwrap_or(model);
        let graph = Graph::new(model)?;
        if graph.opset() < NEEDED {
            return Err(FormError::Opset {
                form: self.name(),
                opset: graph.opset(),
                needed: NEEDED,
            });
        }
        let facts = Facts::lean(&graph, 1)?;
        let layers = recognize::layers(&graph, &facts);
        let shaped = written::write(&graph, &facts, &layers);
        match shaped.changed.is_empty() {
            true => Err(FormError::nothing(self.name(), &shaped.left)),
            false => Ok(shaped),
        }
    }
}
