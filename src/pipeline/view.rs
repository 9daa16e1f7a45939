//! A model with everything that is known of it.

use std::path::Path;

use crate::error::Error;
use crate::graph::{Facts, FactsError, Graph};
use crate::onnx::DataType;
use crate::onnx::proto::{ModelProto, ValueInfoProto};
use crate::recognize::{self, Layer};
use crate::rewrite::{Analysis, LayerCost};
use crate::subsidiary::Subject;

/// A model's graph, facts, layers and channel analysis.
#[derive(Debug)]
pub struct View<'m> {
    /// The indexed graph.
    pub graph: Graph<'m>,
    /// Shapes and constants at batch size 1 (or the one the file fixes).
    pub facts: Facts,
    /// Every Conv, Gemm and MatMul with constant-derived weights.
    pub layers: Vec<Layer>,
    /// Groups and what is prunable.
    pub analysis: Analysis,
}

impl<'m> View<'m> {
    /// Looks at `model`, read from `path`.
    pub fn new(path: &Path, model: &'m ModelProto) -> Result<Self, Error> {
        Self::with(path, model, Facts::infer)
    }

    /// [`View::new`] in less memory, with [`Facts::lean`]: no native network can be made from it.
    pub fn lean(path: &Path, model: &'m ModelProto) -> Result<Self, Error> {
        Self::with(path, model, Facts::lean)
    }

    fn with(
        path: &Path,
        model: &'m ModelProto,
        infer: impl FnOnce(&Graph<'_>, usize) -> Result<Facts, FactsError>,
    ) -> Result<Self, Error> {
        let graph = Graph::new(model).map_err(|source| Error::Graph {
            path: path.to_owned(),
            source,
        })?;
        let facts = infer(&graph, 1).map_err(|source| Error::Facts {
            path: path.to_owned(),
            source,
        })?;
        let layers = recognize::layers(&graph, &facts);
        let analysis = Analysis::new(&graph, &facts);
        Ok(Self {
            graph,
            facts,
            layers,
            analysis,
        })
    }

    /// The model as learning sees it; `costs` are those of its layers.
    pub(super) fn subject<'a>(&'a self, costs: &'a [LayerCost]) -> Subject<'a> {
        Subject {
            graph: &self.graph,
            layers: &self.layers,
            costs,
            analysis: &self.analysis,
        }
    }

    /// Where a model has several outputs: that the first one counts. `file`: those of the file, where scores of
    /// classes were put in front of them ([`Model::outputs`](crate::onnx::Model)).
    pub fn first_of_several_outputs(&self, file: &[ValueInfoProto]) -> Option<String> {
        let outputs = self.graph.outputs();
        let first = self.graph.name(*outputs.first()?);
        match file.first() {
            Some(classes) => Some(format!(
                "the model gives classes, '{}'; accuracy and learning go by the scores that these are chosen from, '{first}'",
                classes.name()
            )),
            None => (outputs.len() > 1).then(|| {
                format!(
                    "the model has {} outputs; accuracy and learning go by the first, '{first}'",
                    outputs.len()
                )
            }),
        }
    }

    /// Numbers a sample of the first output, if it is `[N, K]`, `[N, K, 1, 1]`, or `[N]` (one), N being the batch.
    pub fn scores(&self) -> Option<usize> {
        let output = *self.graph.outputs().first()?;
        // Behind an unknown operator the file's own word counts.
        let declared = || -> Option<Vec<usize>> {
            let dims = self.graph.declared_shape(output)?.into_iter().enumerate();
            dims.map(|(i, d)| d.or((i == 0).then_some(1))).collect()
        };
        let shape = self.facts.shape(output).map(<[usize]>::to_vec);
        let scores = match shape.or_else(declared)?.as_slice() {
            [n] if *n == self.facts.batch() => 1,
            [_, k, rest @ ..] if rest.iter().all(|&d| d == 1) => *k,
            _ => return None,
        };
        // One integer is the class itself, or a count.
        let element = self.facts.element(output).and_then(DataType::from_onnx);
        let is_number = scores > 1 || element.is_none_or(DataType::is_float);
        is_number.then_some(scores)
    }

    /// Classes that the first output tells apart; one number tells two.
    pub fn classes(&self) -> Option<usize> {
        self.scores().map(|k| if k == 1 { 2 } else { k })
    }
}
