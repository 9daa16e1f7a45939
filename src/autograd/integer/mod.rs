//! Binary layers on integers: a sum of ±1 is exact in any order, and what follows it up to the next
//! binariser is one threshold per filter.

mod backward;
mod chain;
mod infer;
mod layer;

pub use infer::Inference;
pub use layer::IntegerForm;
pub(super) use layer::IntegerLayer;
