//! Sums of products: Conv, ConvTranspose, Gemm, MatMul.

use ndarray::{ArrayD, ArrayViewD, Axis, CowArray, Dimension};

use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, ProductAxes, TensorId, WeightsAt};
use crate::operators::Shape;

/// Standard deviations that a partial sum with random signs stays within.
pub(super) const DEVIATIONS: f64 = 4.0;

/// What one run showed of each channel that a sum reads.
struct Channel {
    largest: f64,
    /// All values are multiples of it.
    grid: f64,
    sums: f64,
    single: f64,
}

/// Where a layer's channels lie.
struct Layout {
    axes: ProductAxes,
    groups: usize,
    transposed: bool,
}

impl Bounds<'_> {
    /// x·W + b with constant weights: the bound, and what it would be if exact sums were not.
    pub(super) fn products(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<(Bound, ArrayD<f32>)> {
        let (x, weight) = (*inputs.first()?, *inputs.get(1)?);
        let is_matrix = node.operator()?.shape == Shape::MatMul;
        if is_matrix && (self.facts.is_data(weight) || !self.facts.is_data(x)) {
            return self.matrices([x, weight], out);
        }
        if self.facts.is_data(weight) {
            return None;
        }
        let constants = [Some(weight), inputs.get(2).copied()];
        let determined = (constants.into_iter().flatten()).all(|t| self.is_determined(t));
        let initializer = self.graph.initializer_value(weight);
        let weight = match self.facts.constant(weight) {
            Some(weight) => weight.as_f32()?,
            None => initializer.as_ref()?.as_f32()?,
        };
        // Gemm's factors of sums and bias.
        let [alpha, beta] = ["alpha", "beta"].map(|name| node.float(name, 1.0));
        let weight = match alpha == 1.0 {
            true => CowArray::from(weight),
            false => CowArray::from(weight * alpha),
        };
        let value = self.value(x)?;
        let layout = layout(node, value.ndim(), out.ndim(), weight.ndim())?;
        let error = self.bound(x)?.broadcast(value.shape())?;
        let channels: Vec<Channel> = (0..value.len_of(Axis(layout.axes.data)))
            .map(|c| Channel {
                largest: largest(value.index_axis(Axis(layout.axes.data), c)),
                grid: grid(value.index_axis(Axis(layout.axes.data), c)),
                sums: largest(error.sums.index_axis(Axis(layout.axes.data), c)),
                single: largest(error.single.index_axis(Axis(layout.axes.data), c)),
            })
            .collect();
        let filters = *out.shape().get(layout.axes.output)?;
        let bias: Vec<f64> = match inputs.get(2) {
            Some(&bias) if !self.facts.is_data(bias) => self
                .value(bias)?
                .iter()
                .map(|&b| f64::from(b * beta))
                .collect(),
            Some(_) => return None,
            None => vec![0.0],
        };
        if bias.len() != 1 && bias.len() != filters {
            return None;
        }
        let mut columns = Vec::new();
        for o in 0..filters {
            let bias = bias.get(if bias.len() == 1 { 0 } else { o })?;
            let most = largest(out.index_axis(Axis(layout.axes.output), o));
            let [sums, single, rounding] =
                layout.filter(o, filters, weight.view(), &channels, *bias, most)?;
            // What looked exact here need not be so with weights that differ in their last bit.
            let sums = match determined {
                true => sums,
                false => sums.max(rounding),
            };
            columns.push([sums, single, rounding]);
        }
        let spread = |part: fn(&[f64; 3]) -> f64| {
            ArrayD::from_shape_fn(out.raw_dim(), |index| {
                let o = index.as_array_view().get(layout.axes.output).copied();
                o.and_then(|o| columns.get(o)).map_or(0.0, part) as f32
            })
        };
        let bound = Bound {
            sums: spread(|c| c[0]),
            single: spread(|c| c[1]),
        };
        Some((bound, spread(|c| c[2])))
    }
}

fn layout(node: &Node<'_>, x: usize, out: usize, weight: usize) -> Option<Layout> {
    let fits = match node.op() {
        "Gemm" => node.int("transA", 0) == 0,
        "MatMul" => weight == 2 && x >= 2 && out >= 2,
        _ => true,
    };
    let axes = node.product_axes(WeightsAt::Right, x).filter(|_| fits)?;
    Some(Layout {
        axes,
        groups: node.groups()?.max(1),
        transposed: node.op() == "ConvTranspose",
    })
}

impl Layout {
    /// Filter `o`'s bound: of sums, of single operations, and of its sum if that were not exact.
    fn filter(
        &self,
        o: usize,
        filters: usize,
        weight: ArrayViewD<'_, f32>,
        channels: &[Channel],
        bias: f64,
        most: f64,
    ) -> Option<[f64; 3]> {
        let (per_group, read) = (filters / self.groups, channels.len() / self.groups);
        let group = o.checked_div(per_group)?;
        let slice = match self.transposed {
            true => o % per_group,
            false => o,
        };
        if weight.len_of(Axis(self.axes.filters)) <= slice {
            return None;
        }
        let filter = weight.index_axis(Axis(self.axes.filters), slice);
        // The axis of the channels, with that of the filters gone.
        let axis = Axis(self.axes.inputs - usize::from(self.axes.inputs > self.axes.filters));
        let (mut terms, mut magnitude, mut squares) = (0usize, 0.0, 0.0);
        let (mut step, mut sums, mut single) = (grid_of(bias), 0.0, 0.0);
        for c in 0..read {
            let channel = channels.get(group * read + c)?;
            let within = match self.transposed {
                true => group * read + c,
                false => c,
            };
            if filter.len_of(axis) <= within {
                return None;
            }
            let (mut l1, mut l2, mut count) = (0.0, 0.0, 0usize);
            let weights = filter.index_axis(axis, within);
            for &w in weights.iter().filter(|&&w| w != 0.0) {
                l1 += f64::from(w.abs());
                l2 += f64::from(w) * f64::from(w);
                count += 1;
            }
            if count == 0 {
                continue;
            }
            sums += l1 * channel.sums;
            single += l1 * channel.single;
            if channel.largest > 0.0 {
                terms += count;
                magnitude += l1 * channel.largest;
                squares += l2 * channel.largest * channel.largest;
                step = step.min(grid(weights) * channel.grid);
            }
        }
        let partial = most.max(DEVIATIONS * squares.sqrt()) + bias.abs();
        let rounding = SAFETY * UNIT * ((terms + 1) as f64).sqrt() * partial;
        // On a common grid nothing is rounded.
        let exact = sums == 0.0 && single == 0.0 && (magnitude + bias.abs()) * UNIT < step;
        let own = if exact { 0.0 } else { rounding };
        Some([sums + own, single, rounding])
    }
}

/// The largest finite magnitude.
pub(super) fn largest(values: ArrayViewD<'_, f32>) -> f64 {
    let finite = values.iter().filter(|v| v.is_finite());
    finite.fold(0.0, |most, v| f64::max(most, f64::from(v.abs())))
}

/// The largest power of two that divides all finite values; infinite where they are zero.
pub(super) fn grid(values: ArrayViewD<'_, f32>) -> f64 {
    let finite = values.iter().filter(|v| v.is_finite());
    finite.fold(f64::INFINITY, |step, &v| step.min(grid_of(f64::from(v))))
}

/// The largest power of two that divides an f32.
fn grid_of(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return f64::INFINITY;
    }
    // Normal in f64, as f32 are.
    let bits = value.to_bits();
    let (exponent, mantissa) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let zeros = if mantissa == 0 {
        52
    } else {
        mantissa.trailing_zeros()
    };
    f64::powi(2.0, exponent as i32 - 1075 + zeros as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;

    #[test]
    fn a_grid_divides_every_value() {
        let of = |values: &[f32]| grid(arr1(values).into_dyn().view());
        assert_eq!(of(&[3.0, -6.0, 12.0]), 1.0);
        assert_eq!(of(&[8.0, 0.0, 24.0]), 8.0);
        assert_eq!(of(&[1.5, 0.25]), 0.25);
        assert_eq!(of(&[0.0]), f64::INFINITY);
        assert!(of(&[0.1]) < 1e-7 && of(&[f32::NAN, 2.0]) == 2.0);
        assert_eq!(of(&[f32::from_bits(1)]), f64::powi(2.0, -149));
    }
}
