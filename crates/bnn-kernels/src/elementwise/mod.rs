//! Operators that work on single elements, channel by channel, one behind the other, as one: each
//! channel's elements go through all of them while they are in the cache.

mod backward;
mod chain;
mod compiled;
mod element;
mod loops;
mod source;

pub use chain::{
    ChannelStatistics, ElementwiseChain, ElementwiseMap, KnownMap, Normalization,
    ParameterGradients, WantedGradients,
};
pub use element::{Affine, Element, Relu, SignStep, leaky_relu, leaky_relu_slope, relu};
pub use source::Source;
