//! Reductions along axes, and running sums.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Zip};

use super::sums::{grid, largest};
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId, normalize_axis};
use crate::operators::Reduction;

/// Folds what lies along some axes, which stay with size 1.
fn fold(x: ArrayD<f64>, axes: &[usize], start: f64, f: fn(f64, f64) -> f64) -> ArrayD<f64> {
    let mut folded = x;
    for &axis in axes {
        let along = folded.fold_axis(Axis(axis), start, |&a, &b| f(a, b));
        folded = along.insert_axis(Axis(axis));
    }
    folded
}

/// The finite magnitudes.
fn magnitudes(x: &ArrayD<f32>) -> ArrayD<f64> {
    x.mapv(|v| {
        if v.is_finite() {
            f64::from(v.abs())
        } else {
            0.0
        }
    })
}

impl Bounds<'_> {
    /// The axes that a reduction goes along.
    fn axes(&self, node: &Node<'_>, inputs: &[TensorId], rank: usize) -> Option<Vec<usize>> {
        let given = match inputs.get(1) {
            Some(&t) => Some(self.facts.value(t)?.to_ints()?),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        node.reduced_axes(given, rank)
    }

    /// Reductions along some axes.
    pub(super) fn reduce(
        &self,
        node: &Node<'_>,
        reduction: Reduction,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let x = *inputs.first()?;
        let value = self.value(x)?.into_owned();
        let errors = self.bound(x)?.broadcast(value.shape())?;
        let axes = self.axes(node, inputs, value.ndim())?;
        if axes.is_empty() {
            // What a runtime makes of a reduction over nothing differs by operator.
            return reduction.keeps_one_value().then_some(errors);
        }
        let shaped = |folded: ArrayD<f64>| -> Option<ArrayD<f32>> {
            let single = folded.mapv(|v| v as f32);
            let fits = single.len() == out.len();
            let shaped = fits.then(|| single.to_shape(IxDyn(out.shape())).ok())??;
            Some(shaped.to_owned())
        };
        let over = |part: &ArrayD<f32>, f: fn(f64, f64) -> f64| {
            shaped(fold(magnitudes(part), &axes, 0.0, f))
        };
        let largest_of = |part: &ArrayD<f32>| over(part, f64::max);
        let sum_of = |part: &ArrayD<f32>| over(part, |a, b| a + b);
        let terms: usize = axes.iter().map(|&a| value.len_of(Axis(a))).product();
        let terms = terms as f64;
        let exact = errors.is_exact();
        let unit = SAFETY * UNIT;
        // What the errors come to, and how far rounding moves the result besides.
        let (mut bound, own): (Bound, ArrayD<f32>) = match reduction {
            Reduction::Max | Reduction::Min => return errors.map(largest_of),
            Reduction::Mean => {
                if exact && exact_mean(value.view(), terms) {
                    return errors.map(largest_of);
                }
                let level = largest_of(&value)?;
                let roundings = terms.sqrt() + 4.0;
                (
                    errors.map(largest_of)?,
                    level.mapv(|v| (unit * roundings) as f32 * v),
                )
            }
            Reduction::Sum | Reduction::L1 => {
                if exact && largest(value.view()) * terms * UNIT < grid(value.view()) {
                    return errors.map(sum_of);
                }
                let sizes = sum_of(&value)?;
                (
                    errors.map(sum_of)?,
                    sizes.mapv(|s| (unit * terms.sqrt()) as f32 * s),
                )
            }
            Reduction::L2 | Reduction::SumSquare => {
                let squares = |part: &ArrayD<f32>| sum_of(&part.mapv(|v| v * v));
                let roundings = (unit * (terms.sqrt() + 2.0)) as f32;
                match reduction {
                    // The norm of a difference is at least the difference of the norms.
                    Reduction::L2 => (
                        errors.map(|e| Some(squares(e)?.mapv(f32::sqrt)))?,
                        out.mapv(|v| roundings * v.abs()),
                    ),
                    _ => (
                        errors.map(|e| sum_of(&((value.mapv(f32::abs) * 2.0 + e) * e)))?,
                        squares(&value)?.mapv(|v| roundings * v),
                    ),
                }
            }
            // Π(|x| + e) − Π|x|
            Reduction::Prod => {
                let product = |part| fold(part, &axes, 1.0, |a, b| a * b);
                let sizes = magnitudes(&value);
                let before = product(sizes.clone());
                (
                    errors.map(|e| shaped(product(&sizes + &e.mapv(f64::from)) - &before))?,
                    out.mapv(|v| (unit * terms) as f32 * v.abs()),
                )
            }
            // The sum's error in relation to it, twice: it is not much smaller within rounding.
            Reduction::LogSum => {
                let of_sum = |part: &ArrayD<f32>| {
                    let gain = out.mapv(|y| 2.0 * (-y).exp());
                    Some(sum_of(part)? * gain)
                };
                let rounded = of_sum(&value)?.mapv(|s| (unit * (terms.sqrt() + 8.0)) as f32 * s);
                (errors.map(of_sum)?, rounded)
            }
            // A mean of the errors, with weights.
            Reduction::LogSumExp => (
                errors.map(largest_of)?,
                largest_of(&value)?.mapv(|v| (unit * (terms.sqrt() + 16.0)) as f32 * v.max(1.0)),
            ),
        };
        // What rounds to nothing adds nothing.
        bound.single += &own;
        bound.single += &out.mapv(|v| (unit * f64::from(v.abs())) as f32);
        Some(bound)
    }

    /// Sums of everything before, along an axis.
    pub(super) fn running_sum(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let &[x, axis] = inputs else { return None };
        let axis = *self.facts.value(axis)?.to_ints()?.first()?;
        let axis = Axis(normalize_axis(axis, out.ndim())?);
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let errors = self.bound(x)?.broadcast(out.shape())?;
        // With its own element, which an exclusive sum leaves out.
        let run = |part: &ArrayD<f32>| {
            let mut sums = magnitudes(part);
            if node.int("reverse", 0) != 0 {
                sums.invert_axis(axis);
            }
            sums.accumulate_axis_inplace(axis, |&before, own| *own += before);
            if node.int("reverse", 0) != 0 {
                sums.invert_axis(axis);
            }
            Some(sums.mapv(|v| v as f32))
        };
        let mut bound = errors.map(run)?;
        let terms = out.len_of(axis) as f64;
        if !errors.is_exact() || largest(value.view()) * terms * UNIT >= grid(value.view()) {
            let unit = (SAFETY * UNIT * terms.sqrt()) as f32;
            Zip::from(&mut bound.single)
                .and(&run(&value)?)
                .for_each(|single, &size| *single += unit * size);
        }
        Some(bound)
    }
}

/// Whether the mean of `terms` of these values is exact: their sums are, and the division is by a
/// power of two.
pub(super) fn exact_mean(values: ArrayViewD<'_, f32>, terms: f64) -> bool {
    terms.log2().fract() == 0.0 && largest(values.view()) * terms * UNIT < grid(values)
}
