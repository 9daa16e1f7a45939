//! The operators of the native network: one file each (or one for a family), each with its forward and
//! backward pass and its import from ONNX, and one function that finds it, [`importer`].
//!
//! [`op`] says what an operator is. Nothing here knows of networks or of how they run.

mod activation;
mod arithmetic;
mod batch_norm;
mod binarize;
mod broadcast;
mod channel_mask;
mod choose;
mod clip;
mod concat;
mod conv;
mod convolution_form;
mod dense;
mod hard_sigmoid;
mod head;
mod identity;
mod lanes;
mod left_matrix;
mod match_statistics;
mod moved_batch;
mod node_view;
mod op;
mod own_norm;
mod pad;
mod param_kind;
mod part;
mod pointwise;
mod pool;
mod quantize;
mod quantize_linear;
mod reduce;
mod reduce_norm;
mod reshape;
mod response_norm;
mod softmax;
mod tensor_product;
#[cfg(test)]
pub(crate) mod testing;
mod transpose;

pub use arithmetic::Arithmetic;
pub use batch_norm::BatchNorm;
pub(crate) use batch_norm::channel_statistics;
pub use binarize::Binarize;
pub(crate) use binarize::sign;
pub use channel_mask::ChannelMask;
pub use convolution_form::ConvolutionForm;
pub use head::Head;
pub use match_statistics::MatchStatistics;
pub(crate) use moved_batch::import as import_moved_batch;
pub use node_view::ImportError;
pub(crate) use node_view::{Imported, NodeView};
pub(crate) use op::Backward;
use op::check;
pub use op::{
    ChannelsLeft, Convolution, Elementwise, LeftOnAxis, Monotone, Op, Params, Role, Saved,
    ShapeError, Signs, Traits,
};
pub use param_kind::ParamKind;
pub use part::Part;
pub use pool::Pool;
pub(crate) use softmax::log_softmax;

/// Makes an operator of a node.
pub(crate) type Importer = fn(&NodeView<'_, '_>) -> Result<Imported, ImportError>;

/// What makes an operator of the native network of an ONNX operator: the functions of one number that have a
/// derivative in their row of [`crate::operators`], and those of a table. `None` if nothing can be learned
/// through it.
pub(crate) fn importer(operator: &str) -> Option<Importer> {
    match OPERATORS.iter().find(|(name, _)| *name == operator) {
        Some(&(_, import)) => Some(import),
        None => pointwise::is_learned_through(operator).then_some(pointwise::import),
    }
}

/// Every ONNX operator that the native network has by an operator of its own.
const OPERATORS: &[(&str, Importer)] = &[
    ("Add", arithmetic::import),
    ("AveragePool", pool::import_average),
    ("BatchNormalization", batch_norm::import),
    ("Cast", pointwise::import_cast),
    ("Clip", clip::import),
    ("Concat", concat::import),
    ("Conv", conv::import),
    ("DequantizeLinear", quantize_linear::import),
    ("Div", arithmetic::import),
    ("Dropout", identity::import_dropout),
    ("Equal", choose::import_pair),
    ("Expand", identity::import_expand),
    ("Flatten", reshape::import),
    ("Gather", part::import_gather),
    ("Gemm", dense::import_gemm),
    ("GlobalAveragePool", reduce::import_global),
    ("GlobalMaxPool", reduce::import_global),
    ("Greater", choose::import_pair),
    ("GreaterOrEqual", choose::import_pair),
    ("GroupNormalization", own_norm::import),
    ("HardSigmoid", hard_sigmoid::import),
    ("Identity", identity::import),
    ("InstanceNormalization", own_norm::import),
    ("LRN", response_norm::import),
    ("LayerNormalization", own_norm::import),
    ("LeakyRelu", activation::import_leaky),
    ("Less", choose::import_pair),
    ("LessOrEqual", choose::import_pair),
    ("LogSoftmax", softmax::import),
    ("MatMul", dense::import_matmul),
    ("Max", choose::import_pair),
    ("MaxPool", pool::import_max),
    ("Min", choose::import_pair),
    ("Mul", arithmetic::import),
    ("Not", pointwise::import_not),
    ("PRelu", activation::import_prelu),
    ("Pad", pad::import),
    ("Pow", pointwise::import_pow),
    ("QuantizeLinear", quantize_linear::import),
    ("ReduceL1", reduce_norm::import),
    ("ReduceL2", reduce_norm::import),
    ("ReduceLogSum", reduce_norm::import),
    ("ReduceLogSumExp", reduce_norm::import),
    ("ReduceMax", reduce::import),
    ("ReduceMean", reduce::import),
    ("ReduceMin", reduce::import),
    ("ReduceSum", reduce::import),
    ("ReduceSumSquare", reduce_norm::import),
    ("RMSNormalization", own_norm::import),
    ("Relu", activation::import_relu),
    ("Reshape", reshape::import),
    ("Sign", binarize::import_sign),
    ("Slice", part::import_slice),
    ("Softmax", softmax::import),
    ("Split", part::import_split),
    ("Squeeze", reshape::import),
    ("Sub", arithmetic::import),
    ("Sum", arithmetic::import_sum),
    ("Transpose", transpose::import),
    ("Unsqueeze", reshape::import),
    ("Where", choose::import_where),
    ("qonnx.BipolarQuant", quantize::import),
    ("qonnx.Quant", quantize::import),
    ("qonnx.Trunc", quantize::import),
];
