//! Divisions by what lies around: the norm along an axis, or the responses of channels close by.

use ndarray::{ArrayD, Axis, Zip};

use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId, normalize_axis};

impl Bounds<'_> {
    /// x/‖x‖ along an axis: the norm moves by at most the norm of the errors.
    pub(super) fn norm_division(
        &self,
        node: &Node<'_>,
        x: TensorId,
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let axis = Axis(normalize_axis(node.int("axis", -1), out.ndim())?);
        let absolute = node.int("p", 2) == 1;
        let norm = |part: &ArrayD<f32>| -> ArrayD<f32> {
            let folded = part.map_axis(axis, |along| {
                let sizes = along.iter().map(|&v| f64::from(v.abs()));
                match absolute {
                    true => sizes.sum::<f64>() as f32,
                    false => sizes.map(|v| v * v).sum::<f64>().sqrt() as f32,
                }
            });
            folded.insert_axis(axis)
        };
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let by = norm(&value);
        let by = by.broadcast(out.shape())?;
        let mut bound = self.bound(x)?.broadcast(out.shape())?.map(|part| {
            let moved = norm(part);
            let moved = moved.broadcast(out.shape())?;
            let step = |&e: &f32, &y: &f32, &moved: &f32, &by: &f32| match moved == 0.0 {
                true => 0.0,
                false => (e + y.abs() * moved) / by,
            };
            Some(
                Zip::from(part)
                    .and(out)
                    .and(&moved)
                    .and(&by)
                    .map_collect(step),
            )
        })?;
        let roundings = (out.len_of(axis) as f64).sqrt() + 8.0;
        bound.single += &out.mapv(|y| (SAFETY * UNIT * roundings * f64::from(y.abs())) as f32);
        Some(bound)
    }

    /// x·D^−β with D = bias + α/size·Σx² over channels close by.
    pub(super) fn response(
        &self,
        node: &Node<'_>,
        x: TensorId,
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let size = usize::try_from(node.int("size", 1)).ok()?.max(1);
        let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)]
            .map(|(name, default)| f64::from(node.float(name, default)));
        let scale = alpha / size as f64;
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let error = self.bound(x)?.broadcast(out.shape())?;
        let channels = out.shape().get(1).copied()?;
        let mut bound = Bound::zeros(out.shape());
        for c in 0..channels {
            let close = c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(channels);
            let own = value.index_axis(Axis(1), c);
            let mut by = own.mapv(|_| bias);
            for k in close.clone() {
                let add = |by: &mut f64, &v: &f32| *by += scale * f64::from(v) * f64::from(v);
                Zip::from(&mut by)
                    .and(value.index_axis(Axis(1), k))
                    .for_each(add);
            }
            for (errors, bound) in [
                (&error.sums, &mut bound.sums),
                (&error.single, &mut bound.single),
            ] {
                // Σ|x|e, by which D moves, but for 2α/size.
                let mut moved = own.mapv(|_| 0.0);
                for k in close.clone() {
                    let add = |moved: &mut f64, &v: &f32, &e: &f32| {
                        *moved += f64::from(v.abs()) * f64::from(e);
                    };
                    Zip::from(&mut moved)
                        .and(value.index_axis(Axis(1), k))
                        .and(errors.index_axis(Axis(1), k))
                        .for_each(add);
                }
                let step = |bound: &mut f32, &e: &f32, &x: &f32, &moved: &f64, &by: &f64| {
                    let (e, x) = (f64::from(e), f64::from(x.abs()));
                    let through = 2.0 * scale.abs() * beta.abs() * x * moved / by;
                    let all = e + through;
                    // Twice the slope here: within rounding it is not much steeper.
                    *bound = if all == 0.0 {
                        0.0
                    } else {
                        (2.0 * all * by.powf(-beta)) as f32
                    };
                };
                Zip::from(bound.index_axis_mut(Axis(1), c))
                    .and(errors.index_axis(Axis(1), c))
                    .and(&own)
                    .and(&moved)
                    .and(&by)
                    .for_each(step);
            }
        }
        let roundings = (size as f64).sqrt() + 16.0;
        bound.single += &out.mapv(|y| (SAFETY * UNIT * roundings * f64::from(y.abs())) as f32);
        Some(bound)
    }
}
