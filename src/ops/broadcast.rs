//! Broadcasting of two operands, with a fast path for what networks do: equal shapes, scalars, and
//! one value per channel.

use super::ShapeError;
use crate::arrays::{array, map_planes, slice, zip};
use bnn_kernels::buffers::buffer;
use bnn_kernels::parallel::{CHUNK, Planes};
use bnn_kernels::simd::wide;
use ndarray::{ArrayD, Axis, IxDyn, Zip};
use rayon::prelude::*;

/// How an operand is repeated to fill a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broadcast {
    /// The same shape.
    Same,
    /// Element `c` for all of channel `c`.
    Channels(Planes),
    /// Anything else.
    General,
}

/// The shape that two shapes broadcast to.
pub(super) fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let common = crate::graph::broadcast(a, b);
    common.ok_or_else(|| ShapeError(format!("shapes {a:?} and {b:?} do not broadcast")))
}

impl Broadcast {
    /// From `small` to `full`; an error if that is not possible.
    pub fn into(small: &[usize], full: &[usize]) -> Result<Self, ShapeError> {
        if small == full {
            return Ok(Self::Same);
        }
        let fits = common_shape(small, full)? == full;
        if !fits {
            return Err(ShapeError(format!(
                "shape {small:?} does not broadcast to {full:?}"
            )));
        }
        let lead = full.len() - small.len();
        let wide: Vec<usize> = (0..small.len()).filter(|&i| small[i] != 1).collect();
        let (first, end) = match (wide.first(), wide.last()) {
            (Some(&f), Some(&l)) => (f, l + 1),
            _ => (0, 0),
        };
        if wide.len() != end - first {
            return Ok(Self::General);
        }
        Ok(Self::Channels(Planes {
            outer: full[..lead + first].iter().product(),
            channels: full[lead + first..lead + end].iter().product(),
            inner: full[lead + end..].iter().product(),
        }))
    }

    /// `f(a, b)` with b repeated to a's shape.
    pub fn zip(
        &self,
        a: &ArrayD<f32>,
        b: &ArrayD<f32>,
        f: impl Fn(f32, f32) -> f32 + Sync + Copy,
    ) -> ArrayD<f32> {
        match self {
            Self::Same => zip(a, b, f),
            // One value per element of the innermost axis: runs are whole rows, not single elements.
            Self::Channels(p) if p.inner == 1 => {
                let rows = Planes {
                    outer: p.outer,
                    channels: 1,
                    inner: p.channels,
                };
                let b = slice(b);
                map_planes(rows, a, |_, a, out| {
                    let ab = a.iter().zip(b);
                    wide(|| {
                        out.iter_mut()
                            .zip(ab)
                            .for_each(|(o, (&a, &b))| *o = f(a, b));
                    });
                })
            }
            Self::Channels(p) => {
                let b = slice(b);
                map_planes(*p, a, |c, a, out| {
                    let b = b[c];
                    wide(|| out.iter_mut().zip(a).for_each(|(o, &a)| *o = f(a, b)));
                })
            }
            Self::General => {
                let b = b.broadcast(a.raw_dim()).expect("checked to broadcast");
                let mut out = ArrayD::zeros(a.raw_dim());
                Zip::from(&mut out)
                    .and(a)
                    .and(&b)
                    .for_each(|o, &a, &b| *o = f(a, b));
                out
            }
        }
    }
}

/// The gradient of a broadcast: `grad` summed over the axes along which `shape` was repeated.
pub(super) fn sum_to(grad: ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    match Broadcast::into(shape, grad.shape()).expect("checked to broadcast") {
        Broadcast::Same => grad,
        Broadcast::Channels(p) => {
            let sums = p.sums(slice(&grad)).into_iter().map(|s| s as f32).collect();
            array(shape, sums)
        }
        Broadcast::General => {
            let mut sum = grad;
            while sum.ndim() > shape.len() {
                sum = sum.sum_axis(Axis(0));
            }
            for (i, &d) in shape.iter().enumerate() {
                if d == 1 && sum.shape()[i] != 1 {
                    sum = sum.sum_axis(Axis(i)).insert_axis(Axis(i));
                }
            }
            sum.as_standard_layout().into_owned()
        }
    }
}

/// `x` repeated to `shape`.
pub(super) fn expand(x: &ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    if let Ok(Broadcast::Channels(p)) = Broadcast::into(x.shape(), shape)
        && p.inner > 1
    {
        let values = slice(x);
        let mut out = buffer(shape.iter().product());
        out.par_chunks_mut(p.inner)
            .with_min_len(CHUNK.div_ceil(p.inner))
            .enumerate()
            .for_each(|(i, out)| out.fill(values[i % p.channels]));
        return array(shape, out);
    }
    let view = x.broadcast(IxDyn(shape)).expect("checked to broadcast");
    view.as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn all_forms_agree_with_ndarray() {
        let a = random(&[2, 3, 4, 5], 1);
        for shape in [
            vec![2, 3, 4, 5],
            vec![],
            vec![1],
            vec![3, 1, 1],
            vec![1, 3, 1, 1],
            vec![5],
            vec![4, 5],
            vec![2, 1, 1, 5],
            vec![1, 3, 1, 5],
        ] {
            let b = random(&shape, 2);
            let form = Broadcast::into(&shape, a.shape()).unwrap();
            assert_eq!(form.zip(&a, &b, |a, b| a - b), &a - &b, "{shape:?}");
            let mut expected = a.clone();
            while expected.ndim() > shape.len() {
                expected = expected.sum_axis(Axis(0));
            }
            for (i, &d) in shape.iter().enumerate() {
                if d == 1 {
                    expected = expected.sum_axis(Axis(i)).insert_axis(Axis(i));
                }
            }
            let sum = sum_to(a.clone(), &shape);
            assert_eq!(sum.shape(), &shape[..]);
            assert!(
                (&sum - &expected).iter().all(|d| d.abs() < 1e-4),
                "{shape:?}"
            );
        }
        assert!(Broadcast::into(&[2], &[3]).is_err());
        assert!(Broadcast::into(&[2, 3], &[3]).is_err());
    }
}
