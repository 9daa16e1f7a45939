//! Output forms: what a network is written as.
//!
//! A form is a file here and a line in [`FORMS`]; the command line, reports and `convert` take it from
//! that table. Most forms change only how weights are stored, behind everything else
//! ([`OutputForm::write`]); the integer form is also what masks and elimination work on
//! ([`OutputForm::is_integer`]).

mod bits;
mod exact;
mod integer;
mod ops;
mod packed;
mod quantised;
mod standard;
mod unpacked;

use std::collections::BTreeMap;
use std::fmt::Debug;

use ndarray::ArrayD;
use thiserror::Error;

use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, FactsError, Graph, GraphError, TensorId};
use crate::onnx::proto::ModelProto;
use crate::onnx::{DataType, Tensor};
use crate::qonnx::LowerError;
use crate::recognize::Layer;

pub use bits::{Bits, LEAST_WEIGHTS};
pub use exact::without_rounding;
pub use ops::{DOMAIN as OPS_DOMAIN, has_operators};
pub use packed::{computed_weights, pack};
pub use unpacked::{is_packed, packed_layers, unpack};

/// Every form, in the order of `--help`.
pub const FORMS: [&dyn OutputForm; 5] = [
    &standard::Standard,
    &quantised::Quantised,
    &integer::Integer,
    &packed::Packed,
    &ops::Ops,
];

/// Values of weights that a file computes, by the names of their tensors, as the runtime computes
/// them: what is rounded there may be rounded otherwise here.
pub type Computed = BTreeMap<String, ArrayD<f32>>;

/// A way to write a network.
pub trait OutputForm: Debug + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Its line in `--help`.
    fn about(&self) -> &'static str;

    /// Whether a model came in this form, and is written in it unless another one is asked for.
    fn is_of(&self, _model: &ModelProto) -> bool {
        false
    }

    /// Why it would do nothing to ask for it; `None` if it does something.
    fn idle(&self, model: &ModelProto) -> Option<String>;

    /// Whether binary layers are in the integer form ([`crate::normalise`]) before anything is cut.
    fn is_integer(&self) -> bool {
        false
    }

    /// Whether the integer form is all that there is to it.
    fn is_integer_alone(&self) -> bool {
        false
    }

    /// Whether it has QONNX's quantisers. Where it has not, a QONNX model becomes standard ONNX.
    fn is_qonnx(&self) -> bool {
        false
    }

    /// The model in this form. Its weights are those of `model` to the bit, and it computes what `model`
    /// computes, within what the judge of [`crate::verify`] allows: a runtime may fuse other nodes of
    /// it, and then adds up in another order.
    ///
    /// # Errors
    /// Why it has no such form.
    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError>;
}

/// The form of that name.
pub fn of_name(name: &str) -> Option<&'static dyn OutputForm> {
    FORMS.into_iter().find(|form| form.name() == name)
}

/// The form that a model came in; `None` for standard ONNX of any kind.
pub fn came_as(model: &ModelProto) -> Option<&'static dyn OutputForm> {
    FORMS.into_iter().find(|form| form.is_of(model))
}

/// A layer's weights as the runtime computes them, else as they are computed here. A runtime that gives
/// another shape is not believed.
fn values_of<'a>(graph: &Graph<'_>, layer: &'a Layer, computed: &'a Computed) -> &'a ArrayD<f32> {
    let found = computed.get(graph.name(layer.weight));
    let found = found.filter(|value| value.shape() == layer.values.shape());
    found.unwrap_or(&layer.values)
}

/// Why weights have no bits that come out of a computation as ±s, such as `b - c + c` of torch's detached terms.
const ROUNDED: &str = "its weights are ± one scale a filter only up to rounding, and --normalise of the main command writes them exactly";

/// Whether a tensor holds float32, which is what forms write.
fn is_float32(facts: &Facts, t: TensorId) -> bool {
    facts.element(t) == Some(DataType::F32.to_onnx())
}

/// The model with these tensors as initializers, each under the name that it has; what computed them goes.
fn with_weights(model: &ModelProto, found: Vec<(String, Tensor)>) -> ModelProto {
    let mut out = model.clone();
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let mut editor = Editor::new(&mut out);
    for (name, value) in found {
        editor.remove_source(&name);
        editor.put_initializer(&name, &value);
    }
    editor.remove_unused(&was_used);
    out
}

/// A model in an output form.
#[derive(Debug, Clone, Default)]
pub struct Shaped {
    /// The model.
    pub model: ModelProto,
    /// Layers that were brought into the form.
    pub changed: Vec<String>,
    /// Layers, and tensors, that were left as they were, each with the reason.
    pub left: BTreeMap<String, String>,
}

/// Why a model cannot be written in a form. One line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormError {
    /// The graph is invalid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Its shapes are not known.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// Its quantisers have no form in standard operators.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// Operators that are needed came later.
    #[error(
        "uses opset {opset}; the {form} form needs opset {needed} or newer: convert it with onnx.version_converter"
    )]
    Opset {
        /// The form.
        form: &'static str,
        /// The file's.
        opset: i64,
        /// The oldest that will do.
        needed: i64,
    },
    /// There would be, but for the last digit of its weights.
    #[error("has nothing that the {form} form would write in another way: '{layer}': {ROUNDED}")]
    Rounded {
        /// The form.
        form: &'static str,
        /// One of the layers.
        layer: String,
    },
    /// There is nothing in it that the form is about.
    #[error("has nothing that the {form} form would write in another way: {why}")]
    Nothing {
        /// The form.
        form: &'static str,
        /// Why.
        why: String,
    },
}

impl FormError {
    /// Of a form that none of a model's layers has, for these reasons.
    fn nothing(form: &'static str, left: &BTreeMap<String, String>) -> Self {
        if let Some((layer, _)) = left.iter().find(|(_, why)| *why == ROUNDED) {
            let layer = layer.clone();
            return Self::Rounded { form, layer };
        }
        // What keeps most of them back; that a layer is no binary one says little.
        let count = |why: &str| left.values().filter(|other| *other == why).count();
        let rank = |why: &str| (!why.starts_with("float layer"), count(why));
        let most = left.iter().rev().max_by_key(|(_, why)| rank(why));
        let why = match most {
            Some((name, why)) => format!("'{name}': {why}"),
            None => "it has no Conv, Gemm or MatMul with constant weights".to_owned(),
        };
        Self::Nothing { form, why }
    }
}
