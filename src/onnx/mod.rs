//! ONNX files in and out: the protobuf model, tensors as ndarray, external data, limits.

pub mod proto;
mod load;
mod save;
mod tensor;

pub use load::{LoadError, Model};
pub use save::{SaveError, save};
pub use tensor::{DataType, Tensor, TensorError};
