//! Operators that move values about, and pools.

use ndarray::{ArrayD, Axis, Slice};

use super::reductions::exact_mean;
use super::sums::largest;
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, NodeId, TensorId, evaluate};
use crate::onnx::Tensor;
use crate::operators::{Kind, Pool};

impl Bounds<'_> {
    /// The bounds of the operands, moved as the values are.
    pub(super) fn moved(
        &self,
        node: &Node<'_>,
        read: &[Option<TensorId>],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let row = node.operator();
        let concat = row.is_some_and(|row| matches!(row.kind, Kind::Concat));
        let part = |of: fn(&Bound) -> &ArrayD<f32>| -> Option<ArrayD<f32>> {
            let mut operands = Vec::new();
            for t in read {
                operands.push(match *t {
                    None => None,
                    Some(t) if self.facts.is_data(t) => {
                        Some(Tensor::F32(of(&self.bound(t)?).clone()))
                    }
                    // A constant that is moved itself is exact.
                    Some(t) => Some(match (concat, self.facts.value(t)?) {
                        (true, Tensor::F32(value)) => Tensor::F32(ArrayD::zeros(value.raw_dim())),
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

    /// Values of each channel (axis 1) in between others.
    pub(super) fn resized(&self, node: &Node<'_>, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        let mode = node.string("mode").unwrap_or("nearest");
        let slope = match mode {
            "nearest" => return self.channelwise(x, out, 1.0),
            // The magnitudes of a cubic's four weights add up to 1 + |a|/2 at most, on each axis
            // of space; at borders that are left out to less than twice that.
            "cubic" => {
                let axis = 1.0 + f64::from(node.float("cubic_coeff_a", -0.75).abs()) / 2.0;
                let scale = if node.int("exclude_outside", 0) == 0 {
                    1.0
                } else {
                    2.0
                };
                scale * axis.powi(i32::try_from(out.ndim().saturating_sub(2)).ok()?)
            }
            _ => 1.0,
        };
        // All but the nearest value is rounded.
        let level = SAFETY * UNIT * 8.0 * slope * largest(self.value(x)?.view());
        let mut bound = self.channelwise(x, out, slope)?;
        bound.single += level as f32;
        Some(bound)
    }

    /// For each channel (axis 1) of the output the largest error of the input's, times `factor`;
    /// where channels become others, the largest of all.
    pub(super) fn channelwise(&self, x: TensorId, out: &ArrayD<f32>, factor: f64) -> Option<Bound> {
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
    pub(super) fn pool(
        &self,
        node: &Node<'_>,
        pool: Pool,
        x: TensorId,
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        if pool == Pool::Max {
            return self.channelwise(x, out, 1.0);
        }
        let value = self.value(x)?;
        // A global pool has no kernel.
        let terms = match node.ints("kernel_shape") {
            Some(kernel) => kernel.iter().map(|&side| side as f64).product::<f64>(),
            None => value.shape().iter().skip(2).product::<usize>() as f64,
        };
        // The p-norm of as many equal errors.
        let norm = pool == Pool::Norm;
        let slope = match norm {
            true => terms.powf(1.0 / node.int("p", 2).max(1) as f64),
            false => 1.0,
        };
        let mut bound = self.channelwise(x, out, slope)?;
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
}
