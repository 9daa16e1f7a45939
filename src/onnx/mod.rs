//! ONNX files in and out: the protobuf model, tensors as ndarray, external data, limits.

mod cast_like;
mod element;
mod external;
mod inline;
mod limits;
mod load;
pub mod proto;
pub mod provenance;
mod save;
mod tensor;
mod written;

pub use element::{DataType, type_name};
pub(crate) use inline::names;
pub use inline::{Inlined, inline_functions};
pub use load::{LoadError, LoadErrorKind, Model, OPSETS, decode};
pub use save::{SaveError, Written, data_file, needs_data_file, save, to_bytes, write_atomically};
pub use tensor::{Tensor, TensorError};
pub(crate) use tensor::{each, element_count, map_each};

/// The opset version of the default domain (`""` or `ai.onnx`); 0 if none is imported.
pub fn default_opset(model: &proto::ModelProto) -> i64 {
    model
        .opset_import
        .iter()
        .find(|o| is_default_domain(o.domain()))
        .map_or(0, |o| o.version())
}

/// Whether `domain` is that of the ONNX standard's own operators.
pub fn is_default_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
