//! Convolutions of activations in {-1, 0, +1} with weights of ±1, and their gradients.
//!
//! **Forward.** Activations are packed into [`Codes`], weights into a [`SignWeight`]; sums are exact
//! integers. They come out as integers ([`forward_sums`]), times the scale of their filter
//! ([`forward_scaled`]), or as the next layer's activations ([`forward_codes`]), where all that lies between
//! two layers (scale, normalisation, maximum pooling, sign) is a threshold for each filter
//! ([`Thresholds`]).
//!
//! **Backward**, with respect to the input ([`InputSigns`]) and to the weights ([`weight_gradient()`]), from
//! the output's gradient in single precision, or rounded to 8 bits ([`RoundedGradient`]).
//!
//! Which geometries there is a path for, [`supports`] says of the output; gradients say so by an `Option`
//! or a `bool`. For all others [`crate::float`] computes the same.

pub mod bits;
mod codes;
mod forward;
mod input_gradient;
mod int8;
mod sign_weight;
mod sum_tables;
mod sums;
#[cfg(test)]
mod tests;
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
