//! Operators that move values about, and those that take one of many: pools and reductions.

use ndarray::{ArrayD, Axis, IxDyn, Slice};

use super::sums::{grid, largest};
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, NodeId, TensorId, evaluate, normalize_axis};
use crate::onnx::Tensor;

impl Bounds<'_> {
    /// The bounds of the operands, moved as the values are.
    pub(super) fn moved(
        &self,
        node: &Node<'_>,
        read: &[Option<TensorId>],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let part = |of: fn(&Bound) -> &ArrayD<f32>| -> Option<ArrayD<f32>> {
            let mut operands = Vec::new();
            for t in read {
                operands.push(match *t {
                    None => None,
                    Some(t) if self.facts.is_data(t) => {
                        Some(Tensor::F32(of(&self.bound(t)?).clone()))
                    }
                    // A constant that is moved itself is exact.
                    Some(t) => Some(match (node.op(), self.facts.value(t)?) {
                        ("Concat", Tensor::F32(value)) => {
                            Tensor::F32(ArrayD::zeros(value.raw_dim()))
                        }
                        (_, value) => value.clone(),
                    }),
                });
            }
            let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
            let moved = evaluate(node, &operands)?;
            let moved = moved.as_f32()?;
            (moved.shape() == out.shape()).then(|| moved.clone())
        };
        Some(Bound {
            sums: part(|b| &b.sums)?,
            single: part(|b| &b.single)?,
        })
    }

    /// An output of Split.
    pub(super) fn part(
        &self,
        id: NodeId,
        number: usize,
        x: TensorId,
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let axis = self.graph.node(id).axis(0, out.ndim())?;
        let mut start = 0;
        for t in self.graph.outputs_of(id).into_iter().take(number) {
            start += self.facts.shape(t?)?.get(axis)?;
        }
        let size = *out.shape().get(axis)?;
        let before = self.bound(x)?;
        if before.sums.shape().get(axis)? < &(start + size) {
            return None;
        }
        before.map(|part| {
            let part = part.slice_axis(Axis(axis), Slice::from(start..start + size));
            (part.shape() == out.shape()).then(|| part.to_owned())
        })
    }

    /// Values of each channel (axis 1) that land anywhere in it, or in between; where channels
    /// become others, anywhere at all.
    pub(super) fn spread(&self, node: &Node<'_>, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        // Cubic interpolation overshoots, and all but the nearest value is rounded.
        let mode = node.string("mode").unwrap_or("nearest");
        let resizes = matches!(node.op(), "Resize" | "Upsample");
        let between = resizes && mode != "nearest";
        let slope = if between && mode == "cubic" { 2.0 } else { 1.0 };
        let level = match between {
            true => SAFETY * UNIT * 8.0 * slope * largest(self.value(x)?),
            false => 0.0,
        };
        let mut bound = self.channelwise(x, out, slope)?;
        bound.single += level as f32;
        Some(bound)
    }

    /// For each channel of the output the largest error of the input's, times `factor`.
    fn channelwise(&self, x: TensorId, out: &ArrayD<f32>, factor: f64) -> Option<Bound> {
        let value = self.value(x)?;
        let before = self.bound(x)?.broadcast(value.shape())?;
        let (same, rank) = (value.ndim() == out.ndim(), out.ndim());
        let channels = (same && rank > 1 && value.len_of(Axis(1)) == out.len_of(Axis(1)))
            .then(|| out.len_of(Axis(1)));
        before.map(|part| {
            let mut result = ArrayD::zeros(out.raw_dim());
            match channels {
                Some(channels) => {
                    for c in 0..channels {
                        let most = factor * largest(part.index_axis(Axis(1), c));
                        result.index_axis_mut(Axis(1), c).fill(most as f32);
                    }
                }
                None => result.fill((factor * largest(part.view())) as f32),
            }
            Some(result)
        })
    }

    /// Pools over space.
    pub(super) fn pool(&self, node: &Node<'_>, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        if matches!(node.op(), "MaxPool" | "GlobalMaxPool") {
            return self.channelwise(x, out, 1.0);
        }
        let value = self.value(x)?;
        let terms = match (node.ints("kernel_shape"), node.op()) {
            (Some(kernel), "AveragePool" | "LpPool") => {
                kernel.iter().map(|&side| side as f64).product::<f64>()
            }
            _ => value.shape().iter().skip(2).product::<usize>() as f64,
        };
        // A norm is no steeper than the root of the number of its terms.
        let norm = node.op().contains("Lp");
        let mut bound = self.channelwise(x, out, if norm { terms.sqrt() } else { 1.0 })?;
        if bound.is_exact() && !norm && exact_mean(value.view(), terms) {
            return Some(bound);
        }
        for c in 0..out.len_of(Axis(1)) {
            let level = largest(value.index_axis(Axis(1), c)) * if norm { terms } else { 1.0 };
            let rounding = (SAFETY * UNIT * (terms + 16.0).sqrt() * level) as f32;
            bound
                .single
                .index_axis_mut(Axis(1), c)
                .mapv_inplace(|e| e + rounding);
        }
        Some(bound)
    }

    /// Reductions along some axes.
    pub(super) fn reduce(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let x = *inputs.first()?;
        let value = self.value(x)?.to_owned();
        let given = match inputs.get(1) {
            Some(&t) => Some(self.facts.value(t)?.to_ints()?),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        let axes: Vec<usize> = match given {
            Some(axes) => axes
                .iter()
                .map(|&a| normalize_axis(a, value.ndim()))
                .collect::<Option<_>>()?,
            None => (0..value.ndim()).collect(),
        };
        let over = |part: &ArrayD<f32>| -> Option<ArrayD<f32>> {
            let mut part = part.mapv(|v| if v.is_finite() { v.abs() } else { 0.0 });
            for &axis in &axes {
                part = part
                    .fold_axis(Axis(axis), 0.0f32, |a, &b| a.max(b))
                    .insert_axis(Axis(axis));
            }
            (part.len() == out.len())
                .then(|| part.to_shape(IxDyn(out.shape())).ok().map(|p| p.to_owned()))?
        };
        let before = self.bound(x)?.broadcast(value.shape())?.map(over)?;
        let terms: usize = axes.iter().map(|&a| value.len_of(Axis(a))).product();
        let terms = terms as f64;
        let level = over(&value)?;
        // How much the error of each term counts, and what is rounded besides.
        let (slope, rounded): (ArrayD<f32>, f64) = match node.op() {
            "ReduceMax" | "ReduceMin" => return Some(before),
            "ReduceMean" if before.is_exact() && exact_mean(value.view(), terms) => {
                return Some(before);
            }
            "ReduceMean" => (level.mapv(|_| 1.0), terms.sqrt() + 4.0),
            "ReduceSum" | "ReduceL1" => (level.mapv(|_| terms as f32), terms * terms.sqrt()),
            "ReduceL2" => (level.mapv(|_| terms.sqrt() as f32), terms),
            "ReduceSumSquare" => (level.mapv(|v| 2.0 * v * terms as f32), 0.0),
            "ReduceLogSumExp" => (level.mapv(|_| 1.0), terms.sqrt() + 16.0),
            _ => return None,
        };
        let mut bound = before.map(|part| Some(part * &slope))?;
        let sum_is_exact = node.op() == "ReduceSum"
            && before.is_exact()
            && largest(value.view()) * terms * UNIT < grid(value.view());
        if !sum_is_exact {
            let unit = (SAFETY * UNIT) as f32;
            bound.single += &match node.op() {
                "ReduceSumSquare" => level.mapv(|v| unit * v * v * (terms * terms.sqrt()) as f32),
                _ => level.mapv(|v| unit * v * rounded as f32),
            };
            bound.single += &out.mapv(|v| unit * v.abs());
        }
        Some(bound)
    }
}

/// Whether the mean of `terms` of these values is exact: their sums are, and the division is by a
/// power of two.
fn exact_mean(values: ndarray::ArrayViewD<'_, f32>, terms: f64) -> bool {
    terms.log2().fract() == 0.0 && largest(values.view()) * terms * UNIT < grid(values)
}
