//! What a rule sees of its node.

use super::{Channels, Zeroed};
use crate::graph::{Facts, Graph, Node, NodeId, TensorId, is_training};
use crate::onnx::Tensor;

/// A node in its graph, as a rule sees it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a, 'm> {
    pub graph: &'a Graph<'m>,
    pub facts: &'a Facts,
    pub id: NodeId,
    pub tensors: &'a [Option<Channels>],
    pub zeroed: &'a Zeroed,
    /// The most channels that the output may have: a hostile graph doubles them at every node.
    pub limit: usize,
}

impl<'a, 'm> Context<'a, 'm> {
    pub fn node(&self) -> Node<'m> {
        self.graph.node(self.id)
    }

    pub fn tensor(&self, k: usize) -> Option<TensorId> {
        self.graph.input_of(self.id, k)
    }

    /// The channels of input `k`, if they are tracked.
    pub fn channels(&self, k: usize) -> Option<&'a Channels> {
        self.tensors.get(self.tensor(k)?.0)?.as_ref()
    }

    pub(super) fn shape(&self, k: usize) -> Option<&'a [usize]> {
        self.facts.shape(self.tensor(k)?)
    }

    /// The value of input `k` where it follows from constants alone.
    pub fn constant(&self, k: usize) -> Option<&'a Tensor> {
        self.facts.constant(self.tensor(k)?)
    }

    /// The value of input `k` where it is the same for any batch, though it may be computed from
    /// shapes.
    pub fn fixed(&self, k: usize) -> Option<&'a Tensor> {
        self.facts.fixed(self.tensor(k)?)
    }

    /// The shape of the first output.
    pub fn out_shape(&self) -> Result<&'a [usize], String> {
        let out = self.graph.output_of(self.id, 0);
        out.and_then(|t| self.facts.shape(t))
            .ok_or_else(|| "has an output of unknown shape".to_owned())
    }

    /// `count` channels, unless that is more than any real network has.
    pub(super) fn bounded(&self, count: usize) -> Result<usize, String> {
        match count <= self.limit {
            true => Ok(count),
            false => Err(format!("has {count} channels, more than can be followed")),
        }
    }

    /// The channels and shape of input 0; an error where they are not tracked.
    pub(super) fn data(&self) -> Result<(&'a Channels, &'a [usize]), String> {
        match (self.channels(0), self.shape(0)) {
            (Some(c), Some(s)) if s.get(c.axis) == Some(&c.states.len()) => Ok((c, s)),
            _ => Err("reads a tensor whose channels are not tracked".to_owned()),
        }
    }

    /// An error if anything reads an output beyond the first.
    pub(super) fn only_first_output(&self) -> Result<(), String> {
        let mut others = self.graph.outputs_of(self.id).into_iter().skip(1).flatten();
        match others.find(|&t| self.graph.is_used(t)) {
            Some(t) => Err(format!(
                "has a second output '{}' in use",
                self.graph.name(t)
            )),
            None => Ok(()),
        }
    }

    /// An error for a `Dropout` or `BatchNormalization` in training mode.
    pub(super) fn in_inference_mode(&self) -> Result<(), String> {
        match is_training(self.graph, self.facts, self.id) {
            true => Err(
                "runs in training mode: export the model in evaluation mode, or give \
                 --inference-mode"
                    .to_owned(),
            ),
            false => Ok(()),
        }
    }

    /// A list given as an attribute in old opsets and as input `k` in new ones; `Err` if the input
    /// is there but not constant.
    pub(super) fn ints(&self, name: &str, k: usize) -> Result<Option<Vec<i64>>, String> {
        if let Some(v) = self.node().ints(name) {
            return Ok(Some(v.to_vec()));
        }
        match self.tensor(k) {
            None => Ok(None),
            Some(t) => match self.facts.fixed(t).and_then(Tensor::to_ints) {
                Some(v) => Ok(Some(v)),
                None => Err(format!("has {name} that are not constant")),
            },
        }
    }
}
