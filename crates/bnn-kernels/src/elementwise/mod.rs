//! Operators that work on single elements, channel by channel, one behind the other, as one: each
//! channel's elements go through all of them while they are in the cache.
//!
//! An [`ElementwiseChain`] is maps, at most one [`Normalization`], and maps again, such as ReLU,
//! BatchNormalization, sign, mask. It reads floats or a binary layer's integers ([`Source`]) and writes
//! floats or packed activations. The most common chains ([`KnownMap`]) have loops of their own, in which an
//! element goes through all functions ([`Element`]) in registers; they give the same bits as one map after
//! another, but for the sign of a gradient of 0.

mod backward;
mod chain;
mod compiled;
mod element;
mod loops;
mod source;
#[cfg(test)]
mod tests;

pub use chain::{
    ChannelStatistics, ElementwiseChain, ElementwiseMap, KnownMap, Moments, Normalization,
    ParameterGradients, WantedGradients,
};
pub use element::{Affine, Element, Relu, SignStep, leaky_relu, leaky_relu_slope, relu};
pub use source::Source;
