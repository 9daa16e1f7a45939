//! Products of two matrices of data, as attention has them.

use ndarray::{ArrayD, ArrayViewD, Axis, Ix2, IxDyn};

use super::sums::{DEVIATIONS, grid, largest};
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::TensorId;

/// Products of matrices of the same outer axes, one by one.
fn product(a: ArrayViewD<'_, f32>, b: ArrayViewD<'_, f32>) -> Option<ArrayD<f32>> {
    if a.ndim() == 2 {
        let (a, b) = (
            a.into_dimensionality::<Ix2>().ok()?,
            b.into_dimensionality::<Ix2>().ok()?,
        );
        return Some(a.dot(&b).into_dyn());
    }
    let mut parts = Vec::new();
    for (a, b) in a.outer_iter().zip(b.outer_iter()) {
        parts.push(product(a, b)?);
    }
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::stack(Axis(0), &parts).ok()
}

impl Bounds<'_> {
    /// A·B of data, with batches: |A|·e(B) + e(A)·|B|, and the rounding of its sums.
    pub(super) fn matrices(
        &self,
        [a, b]: [TensorId; 2],
        out: &ArrayD<f32>,
    ) -> Option<(Bound, ArrayD<f32>)> {
        let outer = out.shape().get(..out.ndim().checked_sub(2)?)?;
        let spread = |x: ArrayViewD<'_, f32>| -> Option<ArrayD<f32>> {
            let matrix = x.shape().get(x.ndim().checked_sub(2)?..)?;
            let shape = [outer, matrix].concat();
            Some(x.broadcast(IxDyn(&shape))?.to_owned())
        };
        let (x, y) = (self.value(a)?, self.value(b)?);
        let (ea, eb) = (
            self.bound(a)?.broadcast(x.shape())?,
            self.bound(b)?.broadcast(y.shape())?,
        );
        let terms = *x.shape().last()? as f64;
        let exact = ea.is_exact()
            && eb.is_exact()
            && largest(x.view()) * largest(y.view()) * terms * UNIT
                < grid(x.view()) * grid(y.view());
        let (x, y) = (
            spread(x.view())?.mapv(f32::abs),
            spread(y.view())?.mapv(f32::abs),
        );
        let squares = product(x.mapv(|v| v * v).view(), y.mapv(|v| v * v).view())?;
        if squares.shape() != out.shape() {
            return None;
        }
        let rounding = ndarray::Zip::from(&squares).and(out).map_collect(|&s, &y| {
            let partial = f64::from(y.abs()).max(DEVIATIONS * f64::from(s).sqrt());
            (SAFETY * UNIT * (terms + 1.0).sqrt() * partial) as f32
        });
        let through = |ea: &ArrayD<f32>, eb: &ArrayD<f32>| -> Option<ArrayD<f32>> {
            let (ea, eb) = (spread(ea.view())?, spread(eb.view())?);
            Some(product(x.view(), eb.view())? + product(ea.view(), y.view())?)
        };
        let mut bound = Bound {
            sums: through(&ea.sums, &eb.sums)?,
            single: through(&ea.single, &eb.single)?,
        };
        if !exact {
            bound.sums += &rounding;
        }
        Some((bound, rounding))
    }
}
