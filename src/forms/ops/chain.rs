//! What a layer's sums go through as floats, and runs inside of its operator.

use std::collections::BTreeSet;

use super::layer::{Binary, only_reader, per_channel};
use crate::forms::is_float32;
use crate::graph::{Facts, Graph, NodeId, TensorId, is_training};

/// `y = ((sum / divisor) + bias) · factor + shift + residual`, each rounded.
#[derive(Debug)]
pub(super) struct Chain {
    /// Rows of `[4, O]`: what is divided by, added, multiplied by, added. A row that changes nothing is 1, -0, 1, -0.
    pub rows: [Vec<f32>; 4],
    /// What is added at last.
    pub residual: Option<TensorId>,
    /// The node that writes the result.
    pub last: NodeId,
    /// The result.
    pub result: TensorId,
}

const DIVISOR: usize = 0;
const BIAS: usize = 1;
const FACTOR: usize = 2;
const SHIFT: usize = 3;

impl Chain {
    /// Follows a layer's sums as far as they are read by one node that can be a step. `claimed` are nodes that belong
    /// to another layer's chain.
    pub fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        binary: &Binary<'_>,
        claimed: &mut BTreeSet<NodeId>,
    ) -> Self {
        let filters = binary.layer.filters;
        let mut chain = Self {
            rows: [1.0, -0.0, 1.0, -0.0].map(|idle| vec![idle; filters]),
            residual: None,
            last: binary.layer.node,
            result: binary.sums,
        };
        // The first row that is still free.
        let mut free = DIVISOR;
        while let Some(n) = only_reader(graph, chain.result) {
            let t = chain.result;
            let others = graph.inputs_of(n).into_iter().flatten().filter(|&i| i != t);
            let others: Vec<TensorId> = others.collect();
            let node = graph.node(n);
            let Some(out) = graph.output_of(n, 0) else {
                break;
            };
            let number = |of: Option<TensorId>| per_channel(facts, of, t, filters);
            let same = facts.same_shape(t, out) && is_float32(facts, out);
            if claimed.contains(&n) || !same {
                break;
            }
            let constant = match others[..] {
                [other] => number(Some(other)),
                _ => None,
            };
            let set = match (node.op(), constant) {
                ("Div", Some(by)) if free == DIVISOR && graph.input_of(n, 0) == Some(t) => {
                    Some(vec![(DIVISOR, by)])
                }
                ("Add", Some(c)) if free <= BIAS => Some(vec![(BIAS, c)]),
                ("Add", Some(c)) if free <= SHIFT => Some(vec![(SHIFT, c)]),
                ("Mul", Some(c)) if free <= FACTOR => Some(vec![(FACTOR, c)]),
                ("BatchNormalization", _)
                    if free <= FACTOR
                        && graph.input_of(n, 0) == Some(t)
                        && !is_training(graph, facts, n) =>
                {
                    norm(graph, facts, n, filters)
                }
                _ => None,
            };
            if let Some(set) = set {
                for (row, values) in set {
                    free = row + 1;
                    if let Some(place) = chain.rows.get_mut(row) {
                        *place = values;
                    }
                }
                claimed.insert(n);
                (chain.last, chain.result) = (n, out);
                continue;
            }
            if let ("Add", [residual]) = (node.op(), &others[..])
                && !binary.is_product()
                && facts.constant(*residual).is_none()
                && facts.same_shape(*residual, out)
                && is_float32(facts, *residual)
            {
                claimed.insert(n);
                chain.residual = Some(*residual);
                (chain.last, chain.result) = (n, out);
            }
            break;
        }
        chain
    }

    /// `[4, O]`, row by row.
    pub fn numbers(&self) -> Vec<f32> {
        self.rows.concat()
    }
}

/// BatchNormalization as ONNX Runtime computes it: `x · (γ / √(σ² + ε)) + (β - μ · that)`.
fn norm(
    graph: &Graph<'_>,
    facts: &Facts,
    n: NodeId,
    filters: usize,
) -> Option<Vec<(usize, Vec<f32>)>> {
    let parameter = |k: usize| -> Option<Vec<f32>> {
        let value = facts.constant(graph.input_of(n, k)?)?.as_f32()?;
        (value.len() == filters).then(|| value.iter().copied().collect())
    };
    let epsilon = graph.node(n).epsilon();
    let (gamma, beta) = (parameter(1)?, parameter(2)?);
    let (mean, variance) = (parameter(3)?, parameter(4)?);
    let scale = gamma.iter().zip(&variance);
    let factor: Vec<f32> = scale
        .map(|(g, v)| (1.0 / (v + epsilon).sqrt()) * g)
        .collect();
    let each = beta.iter().zip(&mean).zip(&factor);
    let shift = each.map(|((b, m), f)| b - m * f).collect();
    Some(vec![(FACTOR, factor), (SHIFT, shift)])
}
