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

use std::collections::HashSet;

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

/// The inputs of a graph that are fed when it runs. Initializers, sparse ones too, may be listed as inputs as well: old
/// exporters list them all.
pub fn fed_inputs(graph: &proto::GraphProto) -> impl Iterator<Item = &proto::ValueInfoProto> {
    let dense = graph.initializer.iter().map(|t| t.name());
    let sparse = graph.sparse_initializer.iter();
    let sparse = sparse.filter_map(|s| Some(s.values.as_ref()?.name()));
    let held: HashSet<&str> = dense.chain(sparse).collect();
    graph.input.iter().filter(move |v| !held.contains(v.name()))
}

/// Whether `domain` is that of the ONNX standard's own operators.
pub fn is_default_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
