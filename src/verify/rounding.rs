//! How far rounding can move a tensor: a bound for each channel, from the fan-in of the sums and
//! the magnitudes that one run of the model showed.
//!
//! A sum of n terms in f32 is off by about u·√n times its partial sums, in whatever order it is
//! added up (Higham and Mary, *A new approach to probabilistic rounding error analysis*, 2019).
//! Partial sums are taken as at most the largest result, or four standard deviations of a sum
//! with random signs. The bound is that times [`SAFETY`]: far above what happens, and far below
//! a wrong channel, a missing bias or a scale off by a thousandth. Too small a bound can only
//! turn a tie into a fault, never the reverse.

use std::collections::HashMap;

use ndarray::{ArrayD, ArrayViewD, Axis, Dimension};

use crate::graph::{Facts, Graph, NodeId, TensorId};

/// Unit roundoff of f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;
/// Factor between the probable error and the bound.
const SAFETY: f64 = 4.0;
/// Standard deviations that a partial sum with random signs stays within.
const DEVIATIONS: f64 = 4.0;

/// A number for each channel (axis 1), or one for the whole tensor.
type PerChannel = Vec<f64>;

/// The value of every data tensor of one run.
pub(super) type Values = HashMap<String, ArrayD<f32>>;

/// Bounds of the tensors of a graph.
pub(super) struct Bounds<'g> {
    graph: &'g Graph<'g>,
    facts: &'g Facts,
    values: &'g Values,
    of: HashMap<TensorId, PerChannel>,
}

impl<'g> Bounds<'g> {
    /// Bounds every data tensor that follows from the graph's inputs and from `exact` tensors
    /// (decisions that both models share) by operators with a rule.
    pub(super) fn compute(
        graph: &'g Graph<'g>,
        facts: &'g Facts,
        values: &'g Values,
        exact: &[String],
    ) -> Self {
        let mut bounds = Bounds {
            graph,
            facts,
            values,
            of: HashMap::new(),
        };
        for &input in graph.inputs() {
            bounds.of.insert(input, vec![0.0]);
        }
        for &id in graph.order() {
            for output in graph.outputs_of(id).into_iter().flatten() {
                if !facts.is_data(output) {
                    continue;
                }
                if exact.iter().any(|name| name == graph.name(output)) {
                    bounds.of.insert(output, vec![0.0]);
                } else if let Some(bound) = bounds.rule(id, output) {
                    bounds.of.insert(output, bound);
                }
            }
        }
        bounds
    }

    /// The bound of every element of a tensor; zero for a constant. `None` where an operator
    /// without a rule lies before it.
    pub(super) fn elementwise(&self, tensor: &str, shape: &[usize]) -> Option<ArrayD<f32>> {
        let id = self.graph.find(tensor)?;
        let bound = self.bound(id)?;
        Some(ArrayD::from_shape_fn(shape, |index| {
            let channel = if index.ndim() > 1 { index[1] } else { 0 };
            at(&bound, channel) as f32
        }))
    }

    fn bound(&self, t: TensorId) -> Option<PerChannel> {
        if self.facts.is_data(t) {
            self.of.get(&t).cloned()
        } else {
            Some(vec![0.0])
        }
    }

    /// What a tensor held: measured where it is data, else its constant.
    fn value(&self, t: TensorId) -> Option<ArrayViewD<'_, f32>> {
        match self.values.get(self.graph.name(t)) {
            Some(value) => Some(value.view()),
            None => self.facts.constant(t)?.as_f32().map(|value| value.view()),
        }
    }

    /// Largest magnitude per channel, as broadcast into a tensor of rank `rank`.
    fn magnitude(&self, t: TensorId, rank: usize) -> Option<PerChannel> {
        per_channel(self.value(t)?, rank, 0.0, |a, x| {
            f64::max(a, f64::from(x.abs()))
        })
    }

    fn rule(&self, id: NodeId, output: TensorId) -> Option<PerChannel> {
        let node = self.graph.node(id);
        let inputs: Vec<TensorId> = self.graph.inputs_of(id).into_iter().flatten().collect();
        let out = self.values.get(self.graph.name(output))?;
        let rank = out.ndim();
        let out_max = self.magnitude(output, rank)?;
        let first = *inputs.first()?;
        let bound = |k: usize| self.bound(*inputs.get(k)?);
        let rounded =
            |error: PerChannel| combine(&[&error, &out_max], |v| v[0] + SAFETY * UNIT * v[1]);
        match node.op() {
            "Conv" => self.sum_of_products(&inputs, 0, &out_max),
            "Gemm" => {
                let plain = node.float("alpha", 1.0) == 1.0
                    && node.float("beta", 1.0) == 1.0
                    && node.int("transA", 0) == 0;
                let axis = if node.int("transB", 0) == 0 { 1 } else { 0 };
                plain.then(|| self.sum_of_products(&inputs, axis, &out_max))?
            }
            "MatMul" => match rank {
                2 => self.sum_of_products(&inputs, 1, &out_max),
                _ => {
                    let largest = vec![largest(&out_max)];
                    let bound = self.sum_of_products(&inputs, 1, &largest)?;
                    Some(vec![self::largest(&bound)])
                }
            },
            "BatchNormalization" => {
                self.normalization(&inputs, f64::from(node.float("epsilon", 1e-5)), &out_max)
            }
            "Add" | "Sub" => {
                let (ea, eb) = (bound(0)?, bound(1)?);
                let a = self.magnitude(first, rank)?;
                let b = self.magnitude(*inputs.get(1)?, rank)?;
                combine(&[&ea, &eb, &a, &b, &out_max], |v| {
                    v[0] + v[1] + SAFETY * UNIT * (v[2] + v[3] + v[4])
                })
            }
            "Mul" => {
                let (ea, eb) = (bound(0)?, bound(1)?);
                let a = self.magnitude(first, rank)?;
                let b = self.magnitude(*inputs.get(1)?, rank)?;
                rounded(combine(&[&ea, &eb, &a, &b], |v| v[0] * v[3] + v[1] * v[2])?)
            }
            "Div" => {
                let divisor = *inputs.get(1)?;
                let constant = self.facts.constant(divisor)?.as_f32()?;
                let least = per_channel(constant.view(), rank, f64::INFINITY, |a, x| {
                    f64::min(a, f64::from(x.abs()))
                })?;
                rounded(combine(&[&bound(0)?, &least], |v| v[0] / v[1])?)
            }
            "LeakyRelu" => {
                let slope = f64::from(node.float("alpha", 0.01)).abs().max(1.0);
                rounded(combine(&[&bound(0)?], |v| v[0] * slope)?)
            }
            "PRelu" => {
                let slope = self.magnitude(*inputs.get(1)?, rank)?;
                rounded(combine(&[&bound(0)?, &slope], |v| v[0] * v[1].max(1.0))?)
            }
            // None of these has a slope above 1.
            "Relu" | "Clip" | "Abs" | "Neg" | "Sigmoid" | "Tanh" | "HardSwish" => {
                let steepest = if node.op() == "HardSwish" { 1.5 } else { 1.0 };
                rounded(combine(&[&bound(0)?], |v| v[0] * steepest)?)
            }
            "Identity" | "Dropout" | "MaxPool" | "GlobalMaxPool" | "Cast" => bound(0),
            "AveragePool" | "GlobalAveragePool" | "ReduceMean" => {
                let before = self.value(first)?.len();
                let terms = before as f64 / out.len().max(1) as f64 + 16.0;
                let magnitude = largest(&self.magnitude(first, rank)?);
                let error = largest(&bound(0)?);
                Some(vec![error + SAFETY * UNIT * terms.sqrt() * magnitude])
            }
            "Max" | "Min" | "Concat" | "Where" => {
                let from = usize::from(node.op() == "Where");
                let errors = (from..inputs.len())
                    .map(bound)
                    .collect::<Option<Vec<_>>>()?;
                Some(vec![errors.iter().map(|e| largest(e)).fold(0.0, f64::max)])
            }
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand" | "Slice"
            | "Split" | "Gather" | "Pad" | "Tile" | "DepthToSpace" | "SpaceToDepth" => {
                Some(vec![largest(&bound(0)?)])
            }
            "Not" | "And" | "Or" | "Xor" => Some(vec![0.0]),
            _ => None,
        }
    }

    /// Conv, Gemm, MatMul: x·W + b with the filters of W along `axis`.
    fn sum_of_products(
        &self,
        inputs: &[TensorId],
        axis: usize,
        out_max: &PerChannel,
    ) -> Option<PerChannel> {
        let (x, weight) = (*inputs.first()?, *inputs.get(1)?);
        if self.facts.is_data(weight) {
            return None;
        }
        let x_max = self
            .value(x)?
            .iter()
            .fold(0.0, |a, &v| f64::max(a, f64::from(v.abs())));
        let error = largest(&self.bound(x)?);
        let initializer = self.graph.initializer_value(weight);
        let weight = match self.facts.constant(weight) {
            Some(weight) => weight.as_f32()?,
            None => initializer.as_ref()?.as_f32()?,
        };
        let filters = *weight.shape().get(axis)?;
        let terms = weight.len() as f64 / filters.max(1) as f64 + 1.0;
        let bias = match inputs.get(2) {
            Some(&bias) => {
                let value = self.value(bias)?;
                let value = value.iter().map(|&b| f64::from(b.abs()));
                value.collect()
            }
            None => vec![0.0],
        };
        if bias.len() != 1 && bias.len() != filters {
            return None;
        }
        let bounds = weight.axis_iter(Axis(axis)).enumerate().map(|(o, filter)| {
            let (mut l1, mut l2) = (0.0, 0.0);
            for &w in filter {
                l1 += f64::from(w.abs());
                l2 += f64::from(w) * f64::from(w);
            }
            let partial = at(out_max, o).max(DEVIATIONS * l2.sqrt() * x_max) + at(&bias, o);
            l1 * error + SAFETY * UNIT * terms.sqrt() * partial
        });
        Some(bounds.collect())
    }

    /// γ·(x − μ)/√(σ² + ε) + β with constant statistics.
    fn normalization(
        &self,
        inputs: &[TensorId],
        epsilon: f64,
        out_max: &PerChannel,
    ) -> Option<PerChannel> {
        let &[x, gamma, beta, mean, variance] = inputs else {
            return None;
        };
        let column = |t: TensorId| -> Option<PerChannel> {
            let value = self.facts.constant(t)?.as_f32()?;
            Some(value.iter().map(|&v| f64::from(v)).collect())
        };
        let rank = self.value(x)?.ndim();
        let magnitude = self.magnitude(x, rank)?;
        let (gamma, beta) = (column(gamma)?, column(beta)?);
        let (mean, variance) = (column(mean)?, column(variance)?);
        let error = self.bound(x)?;
        combine(
            &[&error, &magnitude, &gamma, &beta, &mean, &variance, out_max],
            |v| {
                let gain = (v[2] / (v[5] + epsilon).sqrt()).abs();
                let terms = gain * (v[1] + v[4].abs()) + v[3].abs() + v[6];
                gain * v[0] + SAFETY * UNIT * terms
            },
        )
    }
}

/// The entry of a channel, where there is one for each; else the one for all.
fn at(values: &[f64], channel: usize) -> f64 {
    match values {
        [one] => *one,
        many => many.get(channel).copied().unwrap_or(f64::NAN),
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Applies `f` channel by channel to operands of one or as many entries; `None` if their lengths
/// don't fit.
fn combine(operands: &[&PerChannel], f: impl Fn(&[f64]) -> f64) -> Option<PerChannel> {
    let channels = operands.iter().map(|values| values.len()).max()?;
    let fits = |values: &&PerChannel| values.len() == 1 || values.len() == channels;
    if !operands.iter().all(fits) {
        return None;
    }
    let column = |channel| -> Vec<f64> { operands.iter().map(|v| at(v, channel)).collect() };
    Some((0..channels).map(|channel| f(&column(channel))).collect())
}

/// Folds a tensor, broadcast to rank `rank`, into a number for each channel (axis 1), or one.
fn per_channel(
    value: ArrayViewD<'_, f32>,
    rank: usize,
    start: f64,
    fold: impl Fn(f64, f32) -> f64,
) -> Option<PerChannel> {
    if rank < 2 || value.ndim() > rank || value.ndim() + 1 < rank {
        return Some(vec![value.iter().fold(start, |a, &x| fold(a, x))]);
    }
    // Axis 1 of a tensor of this rank; one with a dimension less lacks the batch.
    let axis = 1 + value.ndim() - rank;
    let lanes = value.axis_iter(Axis(axis));
    Some(
        lanes
            .map(|lane| lane.iter().fold(start, |a, &x| fold(a, x)))
            .collect(),
    )
}
