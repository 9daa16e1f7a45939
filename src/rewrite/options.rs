//! Settings of elimination.

use serde::{Deserialize, Serialize};

use crate::sizes::Declared;

/// Settings of [`super::eliminate()`].
#[derive(Debug, Clone, PartialEq)]
pub struct EliminateOptions {
    /// A convolution with zero padding that loses constant channels gets a border map (an added
    /// `[1, O, H, W]` constant, or a kernel `[O, 1, k, k]` that makes it from a plane of ones) of at
    /// most this many values for each weight that it saves. 0: the channels stay.
    pub border_map_ratio: f32,
    /// Layers keep a multiple of this many filters (or all that they have). 1: any number.
    pub round_to: usize,
    /// What becomes of filters that write into a residual stream.
    pub residual: Residual,
    /// What scattering one value costs (padding, gathering and adding read and write it), in
    /// multiply-accumulates that take as long. 0: whatever can be scattered is.
    pub scatter_cost: usize,
    /// Names of layers whose filters all stay, needed or not; a name that no layer has does
    /// nothing.
    pub keep: Vec<String>,
    /// Inputs whose sizes the file leaves free, as it declares them: channels go only where they may at other sizes too.
    pub free: Declared,
}

impl Default for EliminateOptions {
    fn default() -> Self {
        Self {
            border_map_ratio: 1.0,
            round_to: 1,
            residual: Residual::Coupled,
            scatter_cost: 8,
            keep: Vec::new(),
            free: Declared::new(),
        }
    }
}

/// How filters that write into a shared stream (through `Add` or `Mul`) are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residual {
    /// Only where all producers of the stream lose the same channel: the stream gets narrower.
    #[default]
    Coupled,
    /// One by one: the producer (of a branch that is added, or of a gate that is multiplied) gets
    /// narrower, and its output is scattered back into the stream, a pruned position receiving the
    /// branch's constant. Where that saves more than it costs.
    Scatter,
}
