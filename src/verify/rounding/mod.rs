//! How far rounding can move a tensor: a bound for each element, from what one run of the model
//! really added up.
//!
//! A sum of n terms in f32 is off by about u·√n times its partial sums, in whatever order it is
//! added up (Higham and Mary, *A new approach to probabilistic rounding error analysis*, 2019).
//! Terms whose weight is zero count nothing, however large they are. Partial sums are taken as at
//! most the largest result, or four standard deviations of a sum with random signs. The bound is
//! that times [`SAFETY`]. Sums on a common grid (integers, say) whose magnitudes stay below 2^24
//! steps are exact in any order: their bound is zero, if the weights are the same in every runtime. What is infinite
//! or no number bounds nothing.
//!
//! The two parts of a [`Bound`] are kept apart because the first is far above what happens: the
//! reference shows how much of it is needed ([`super::repeat`]).
//!
//! Which rule bounds an operator follows from its row in [`crate::operators`]; a row without one says
//! why. Too small a bound can only turn a tie into a fault, never the reverse.

mod determined;
mod elementwise;
mod matrices;
mod moves;
mod norms;
mod reductions;
mod responses;
mod statistics;
mod sums;

use std::collections::HashMap;

use ndarray::{ArrayD, Axis, CowArray, IxDyn, Zip};

use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::onnx::Tensor;
use crate::operators::{How, Kind};

/// Unit roundoff of f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;
/// Factor between the probable error and the bound.
const SAFETY: f64 = 4.0;

/// The value of every data tensor of one run.
pub(super) type Values = HashMap<String, ArrayD<f32>>;

/// How far rounding can move each element of a tensor.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// By sums of products, in whatever order they are added up.
    sums: ArrayD<f32>,
    /// By operations that every model rounds alike: one at a time.
    single: ArrayD<f32>,
}

/// Shares of the bound of sums that differences take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    /// The largest.
    pub most: f32,
    squares: f64,
    /// Of how many elements.
    pub count: usize,
}

impl Taken {
    pub(super) fn add(&mut self, other: &Self) {
        self.most = self.most.max(other.most);
        self.squares += other.squares;
        self.count += other.count;
    }

    /// The root of the mean square.
    pub(super) fn typical(&self) -> f32 {
        (self.squares / self.count.max(1) as f64).sqrt() as f32
    }
}

impl Bound {
    fn zeros(shape: &[usize]) -> Self {
        Self {
            sums: ArrayD::zeros(IxDyn(shape)),
            single: ArrayD::zeros(IxDyn(shape)),
        }
    }

    /// What is bounded by both, where `share` of the part of sums is needed; zero where there is no
    /// finite bound.
    pub(super) fn total(&self, share: f32) -> ArrayD<f32> {
        Zip::from(&self.sums)
            .and(&self.single)
            .map_collect(|&sums, &single| {
                let total = match sums == 0.0 {
                    true => single,
                    false => sums * share + single,
                };
                if total.is_finite() { total } else { 0.0 }
            })
    }

    /// How much of the part of sums the difference of two tensors takes, element by element.
    pub(super) fn taken(&self, a: &ArrayD<f32>, b: &ArrayD<f32>) -> Taken {
        let mut taken = Taken::default();
        if a.shape() != b.shape() || a.shape() != self.sums.shape() {
            return taken;
        }
        Zip::from(a)
            .and(b)
            .and(&self.sums)
            .and(&self.single)
            .for_each(|a, b, &sums, &single| {
                let share = ((a - b).abs() - single).max(0.0) / sums;
                if share.is_finite() {
                    taken.most = taken.most.max(share);
                    taken.squares += f64::from(share) * f64::from(share);
                    taken.count += 1;
                }
            });
        taken
    }

    pub(super) fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        Some(Self {
            sums: self.sums.broadcast(shape)?.to_owned(),
            single: self.single.broadcast(shape)?.to_owned(),
        })
    }

    /// The same for each channel (of axis 1); empty where there are none.
    pub(super) fn taken_by_channel(&self, a: &ArrayD<f32>, b: &ArrayD<f32>) -> Vec<Taken> {
        if a.shape() != b.shape() || a.shape() != self.sums.shape() || a.ndim() < 2 {
            return Vec::new();
        }
        let of_channel = |c: usize| {
            let of = |x: &ArrayD<f32>| x.index_axis(Axis(1), c).to_owned();
            let channel = Self {
                sums: of(&self.sums),
                single: of(&self.single),
            };
            channel.taken(&of(a), &of(b))
        };
        (0..a.len_of(Axis(1))).map(of_channel).collect()
    }

    /// The same linear step for both parts.
    pub(super) fn map(&self, f: impl Fn(&ArrayD<f32>) -> Option<ArrayD<f32>>) -> Option<Self> {
        Some(Self {
            sums: f(&self.sums)?,
            single: f(&self.single)?,
        })
    }

    fn is_exact(&self) -> bool {
        self.sums.iter().chain(&self.single).all(|&e| e == 0.0)
    }
}

/// Bounds of the tensors of a graph.
pub(super) struct Bounds<'g> {
    graph: &'g Graph<'g>,
    facts: &'g Facts,
    values: &'g Values,
    of: HashMap<TensorId, Bound>,
    /// How far sums would be off if they were not exact: a runtime may fold a scale behind a
    /// layer into its weights, and then they are not.
    latent: HashMap<TensorId, ArrayD<f32>>,
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
            latent: HashMap::new(),
        };
        for &input in graph.inputs() {
            bounds.set_exact(input);
        }
        for &id in graph.order() {
            for (number, output) in graph.outputs_of(id).into_iter().enumerate() {
                let Some(output) = output.filter(|&t| facts.is_data(t)) else {
                    continue;
                };
                if exact.iter().any(|name| name == graph.name(output)) {
                    bounds.set_exact(output);
                } else if let Some(bound) = bounds.rule(id, number, output) {
                    bounds.of.insert(output, bound);
                }
            }
        }
        bounds
    }

    fn set_exact(&mut self, t: TensorId) {
        if let Some(value) = self.values.get(self.graph.name(t)) {
            self.of.insert(t, Bound::zeros(value.shape()));
        }
    }

    /// The bound of every element of a tensor; zero for a constant. `None` where an operator
    /// without a rule lies before it.
    pub(super) fn of(&self, tensor: &str) -> Option<Bound> {
        self.bound(self.graph.find(tensor)?)
    }

    fn bound(&self, t: TensorId) -> Option<Bound> {
        if self.facts.is_data(t) {
            self.of.get(&t).cloned()
        } else {
            Some(Bound::zeros(&[]))
        }
    }

    /// What a tensor held: measured where it is data, else its constant.
    fn value(&self, t: TensorId) -> Option<CowArray<'_, f32, IxDyn>> {
        if let Some(value) = self.values.get(self.graph.name(t)) {
            return Some(value.view().into());
        }
        Some(match self.facts.value(t)? {
            Tensor::F32(value) => value.view().into(),
            other => other.to_f64().mapv(|v| v as f32).into(),
        })
    }

    /// One rule for each kind of operator; `None` where there is none, or it does not fit.
    fn rule(&mut self, id: NodeId, number: usize, output: TensorId) -> Option<Bound> {
        let node = self.graph.node(id);
        let row = node.operator()?;
        let read = self.graph.inputs_of(id);
        let inputs: Vec<TensorId> = read.iter().copied().flatten().collect();
        let out = self.values.get(self.graph.name(output))?;
        let first = *inputs.first()?;
        match row.kind {
            Kind::Products => {
                let (bound, latent) = self.products(&node, &inputs, out)?;
                self.latent.insert(output, latent);
                Some(bound)
            }
            Kind::BatchNormalization => self.batch_normalization(&node, &inputs, out),
            Kind::Normalization(over) => self.normalization(&node, over, &inputs, out),
            Kind::Softmax { logarithm } => self.softmax(logarithm, first, out),
            Kind::NormDivision => self.norm_division(&node, first, out),
            Kind::ResponseNormalization => self.response(&node, first, out),
            Kind::RunningSum => self.running_sum(&node, &inputs, out),
            Kind::Arithmetic(arithmetic) => {
                if arithmetic.how == How::Add
                    && let Some(latent) = inputs.iter().find_map(|t| self.latent.get(t))
                {
                    // A bias, which a runtime folds too.
                    self.latent.insert(output, latent.clone());
                }
                self.arithmetic(arithmetic, &inputs, out)
            }
            // Truth values come of decisions.
            Kind::Logic | Kind::OfShape => Some(Bound::zeros(out.shape())),
            // The condition is a decision.
            Kind::Choice => self.one_of(inputs.get(1..)?, out),
            Kind::Clip => self.one_of(&inputs, out),
            Kind::Same => self.bound(first),
            Kind::Cast => self.cast(&node, first, out),
            Kind::Dequantize => self.dequantized(&inputs, out),
            Kind::Pool(pool) => self.pool(&node, pool, first, out),
            Kind::Reduction(reduction) => self.reduce(&node, reduction, &inputs, out),
            Kind::View | Kind::Part | Kind::Concat => self.moved(&node, &read, out),
            Kind::Split => self.part(id, number, first, out),
            Kind::Spread => self.channelwise(first, out, 1.0),
            Kind::Resize => self.resized(&node, first, out),
            Kind::Unary(function) => self.function(&node, row, function, first, out),
            Kind::Slope => self.sloped(&inputs, out),
            // Decisions that could not be laid open, and what has no bound, as the row says.
            Kind::Comparison(_) | Kind::Quantize | Kind::Other => None,
        }
    }
}

#[cfg(test)]
mod tests;
