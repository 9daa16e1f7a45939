//! What the import of one node may look at.

use std::sync::Arc;

use ndarray::ArrayD;
use thiserror::Error;

use super::ParamKind;
use super::op::Op;
use crate::graph::{Facts, Graph, Node, NodeId, TensorId, Window};
use crate::onnx::Tensor;

/// Why a model cannot become a native network.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// The native network has no such operator.
    #[error(
        "node '{node}': the operator {op} cannot be trained through; choose filters without it (`--masks`), or take dead ones out alone (`--method none`)"
    )]
    Operator {
        /// The node's name.
        node: String,
        /// The operator, with its domain.
        op: String,
    },
    /// The operator is known, but not in this form.
    #[error(
        "node '{node}' ({op}): {reason}; choose filters without learning through it (`--masks`), or take dead ones out alone (`--method none`)"
    )]
    Node {
        /// The node's name.
        node: String,
        /// The operator.
        op: String,
        /// What is not supported.
        reason: String,
    },
    /// The graph as a whole does not fit.
    #[error("{0}")]
    Graph(String),
}

/// A node as an operator of the network, and which of its ONNX inputs the operator reads.
#[derive(Debug)]
pub(crate) struct Imported {
    pub op: Arc<dyn Op>,
    /// ONNX input index, and what a constant there is for. In ascending order.
    pub operands: Vec<(usize, ParamKind)>,
}

/// One node with what is known of its inputs.
#[derive(Debug)]
pub(crate) struct NodeView<'g, 'm> {
    pub graph: &'g Graph<'m>,
    pub facts: &'g Facts,
    pub id: NodeId,
    pub node: Node<'m>,
    /// Which of the node's outputs is wanted.
    pub output: usize,
}

impl<'g, 'm> NodeView<'g, 'm> {
    pub fn new(graph: &'g Graph<'m>, facts: &'g Facts, id: NodeId) -> Self {
        Self {
            graph,
            facts,
            id,
            node: graph.node(id),
            output: 0,
        }
    }

    /// The same for another output.
    pub fn of_output(mut self, output: usize) -> Self {
        self.output = output;
        self
    }

    /// The error that this node is not supported, and why.
    pub fn reject(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Node {
            node: self.graph.label(self.id).to_owned(),
            op: self.node.full_op(),
            reason: reason.into(),
        }
    }

    /// Number of ONNX inputs, trailing ones left out not counted.
    pub fn input_count(&self) -> usize {
        self.graph.inputs_of(self.id).len()
    }

    fn input(&self, k: usize) -> Option<TensorId> {
        self.graph.input_of(self.id, k)
    }

    /// Whether input `k` is given.
    pub fn has_input(&self, k: usize) -> bool {
        self.input(k).is_some()
    }

    /// Whether input `k` is known before the data are.
    pub fn is_constant(&self, k: usize) -> bool {
        self.value(k).is_ok()
    }

    /// The shape of input `k`, at the batch size of the facts.
    pub fn input_shape(&self, k: usize) -> Result<&'g [usize], ImportError> {
        self.input(k)
            .and_then(|t| self.facts.shape(t))
            .ok_or_else(|| self.reject(format!("the shape of its input {k} cannot be inferred")))
    }

    /// The shape of the output that is wanted, at the batch size of the facts.
    pub fn output_shape(&self) -> Result<&'g [usize], ImportError> {
        self.shape_of_output(self.output)
    }

    /// The shape of an output, at the batch size of the facts.
    pub fn shape_of_output(&self, k: usize) -> Result<&'g [usize], ImportError> {
        self.graph
            .output_of(self.id, k)
            .and_then(|t| self.facts.shape(t))
            .ok_or_else(|| self.reject("the shape of its output cannot be inferred"))
    }

    fn value(&self, k: usize) -> Result<&'g Tensor, ImportError> {
        self.input(k)
            .filter(|t| !self.facts.is_data(*t))
            .and_then(|t| self.facts.value(t))
            .ok_or_else(|| self.reject(format!("its input {k} has to be a constant")))
    }

    /// Input `k` as a constant number.
    pub fn scalar(&self, k: usize) -> Result<f32, ImportError> {
        let number = self.value(k)?.scalar_f32();
        number.ok_or_else(|| self.reject(format!("its input {k} has to be a single number")))
    }

    /// Input `k` as constant floats.
    pub fn floats(&self, k: usize) -> Result<ArrayD<f32>, ImportError> {
        let value = self.value(k)?.as_f32().cloned();
        value.ok_or_else(|| self.reject(format!("its input {k} has to hold 32-bit floats")))
    }

    /// Input `k` as a constant list of integers.
    pub fn ints(&self, k: usize) -> Result<Vec<i64>, ImportError> {
        let list = self.value(k)?.to_ints();
        list.ok_or_else(|| self.reject(format!("its input {k} has to hold integers")))
    }

    /// Input `k` as a constant list of sizes.
    pub fn sizes(&self, k: usize) -> Result<Vec<usize>, ImportError> {
        let list = self.ints(k)?.into_iter().map(usize::try_from);
        list.collect::<Result<_, _>>()
            .map_err(|_| self.reject(format!("its input {k} must not be negative")))
    }

    /// Input `k` as a constant truth value.
    pub fn flag(&self, k: usize) -> Result<bool, ImportError> {
        match self.value(k)? {
            Tensor::Bool(a) => Ok(a.iter().any(|b| *b)),
            _ => Err(self.reject(format!("its input {k} has to be a boolean"))),
        }
    }

    /// The window of a convolution (with its kernel) or a pooling.
    pub fn window(&self, kernel: Option<&[usize]>) -> Result<Window, ImportError> {
        Window::of(&self.node, self.input_shape(0)?, kernel).ok_or_else(|| {
            self.reject("its kernel, strides, pads or dilations contradict each other")
        })
    }

    /// `op` reading the first `kinds.len()` inputs of the node (those present): input 0 and
    /// [`ParamKind::Constant`] operands may be data, all others have to be float constants.
    pub fn imported(
        &self,
        op: impl Op + 'static,
        kinds: &[ParamKind],
    ) -> Result<Imported, ImportError> {
        let mut operands = Vec::with_capacity(kinds.len());
        for (k, &kind) in kinds.iter().enumerate() {
            let Some(t) = self.input(k) else {
                continue;
            };
            let may_be_data = k == 0 || kind == ParamKind::Constant;
            if !(may_be_data && self.facts.is_data(t)) && self.value(k)?.as_f32().is_none() {
                return Err(self.reject(format!("its input {k} has to hold 32-bit floats")));
            }
            operands.push((k, kind));
        }
        Ok(Imported {
            op: Arc::new(op),
            operands,
        })
    }
}
