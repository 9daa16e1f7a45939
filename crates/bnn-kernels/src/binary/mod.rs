//! Convolutions of activations in {-1, 0, +1} with weights of ±1, and their gradients.

mod codes;
mod forward;
#[cfg(test)]
mod gradient_tests;
mod input_gradient;
mod int8;
mod sign_weight;
mod sum_tables;
mod sums;
mod thresholds;
mod weight_gradient;

pub use codes::Codes;
pub use forward::{PoolWindows, forward_codes, forward_scaled, forward_sums, supports};
pub use input_gradient::InputSigns;
pub use int8::RoundedGradient;
pub use sign_weight::{SignWeight, WeightStrides};
pub use sum_tables::TableEntry;
pub use sums::Sums;
pub use thresholds::Thresholds;
pub use weight_gradient::weight_gradient;
