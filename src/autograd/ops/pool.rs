//! `MaxPool` and `AveragePool` over one or two spatial axes.

use ndarray::ArrayD;
use rayon::prelude::*;

use super::{Backward, Context, Op, Saved, ShapeError, check};
use crate::autograd::import::{ImportError, Imported, NodeView};
use crate::autograd::parallel::{array, slice};
use crate::autograd::param::ParamKind;
use crate::graph::Window;

/// What is taken of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max,
    /// The mean; padded positions count if the flag is set.
    Average(bool),
}

/// A pooling window over the axes after `[N, C]`.
#[derive(Debug, Clone)]
struct Pool {
    kind: Kind,
    window: Window,
    ceil: bool,
}

/// Window positions along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    end: usize,
}

impl Axis {
    /// An axis of one element, for one-dimensional pooling.
    const UNIT: Self = Self {
        size: 1,
        out: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        begin: 0,
        end: 0,
    };

    /// Input positions of output `o` that lie inside the input.
    fn inside(self, o: usize) -> impl Iterator<Item = usize> + Clone {
        let start = o * self.stride;
        let first = self.begin.saturating_sub(start).div_ceil(self.dilation);
        let end = match (self.size + self.begin).checked_sub(start) {
            Some(room) => room.div_ceil(self.dilation).min(self.kernel),
            None => 0,
        };
        (first..end.max(first)).map(move |k| start + k * self.dilation - self.begin)
    }

    /// Window positions of output `o` inside the padded input: in ceil mode the last window may
    /// reach beyond it.
    fn counted(self, o: usize) -> usize {
        let room = (self.size + self.begin + self.end).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }
}

impl Pool {
    fn axes(&self, shape: &[usize]) -> Result<[Axis; 2], ShapeError> {
        let w = &self.window;
        let n = w.kernel.len();
        check(shape.len() == n + 2 && (1..=2).contains(&n), || {
            format!("an input of shape {shape:?} for a window over {n} axes")
        })?;
        let mut axes = [Axis::UNIT; 2];
        for i in 0..n {
            let size = shape[i + 2];
            let out = w.output(i, size, self.ceil);
            let out = out.ok_or_else(|| ShapeError(format!("a window larger than {shape:?}")))?;
            axes[i + 2 - n] = Axis {
                size,
                out,
                kernel: w.kernel[i],
                stride: w.strides[i],
                dilation: w.dilations[i],
                begin: w.begin[i],
                end: w.end[i],
            };
        }
        Ok(axes)
    }

    /// The number that a mean over window `(oy, ox)` divides by.
    fn divisor(count_pads: bool, [y, x]: [Axis; 2], oy: usize, ox: usize) -> f32 {
        let count = match count_pads {
            true => y.counted(oy) * x.counted(ox),
            false => y.inside(oy).count() * x.inside(ox).count(),
        };
        count.max(1) as f32
    }
}

/// The largest element of each window of a plane, and where it lies.
fn max_plane([y, x]: [Axis; 2], plane: &[f32], out: &mut [f32], positions: &mut [u32]) {
    for oy in 0..y.out {
        for ox in 0..x.out {
            let (mut best, mut at) = (f32::NEG_INFINITY, None);
            for iy in y.inside(oy) {
                for ix in x.inside(ox) {
                    let i = iy * x.size + ix;
                    // The first of equal elements wins, and NaN wins over all.
                    if at.is_none() || plane[i] > best || (plane[i].is_nan() && !best.is_nan()) {
                        (best, at) = (plane[i], Some(i));
                    }
                }
            }
            out[oy * x.out + ox] = best;
            positions[oy * x.out + ox] = at.map_or(NOWHERE, |i| i as u32);
        }
    }
}

/// The position of a window that lies in the padding altogether.
const NOWHERE: u32 = u32::MAX;

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Max => "MaxPool",
            Kind::Average(_) => "AveragePool",
        }
    }

    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        _: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let input = inputs[0];
        let axes @ [y, x] = self.axes(input.shape())?;
        let (plane, out_plane) = (y.size * x.size, y.out * x.out);
        check(
            plane > 0 && out_plane > 0 && plane < NOWHERE as usize,
            || format!("an input of shape {:?}", input.shape()),
        )?;
        let mut shape = input.shape()[..2].to_vec();
        shape.extend(axes[2 - self.window.kernel.len()..].iter().map(|a| a.out));
        let mut out = vec![0.0; shape.iter().product()];
        let planes = slice(input).par_chunks_exact(plane);
        let outs = out.par_chunks_exact_mut(out_plane);
        let saved = match self.kind {
            Kind::Max => {
                let mut positions = vec![0; outs.len() * out_plane];
                planes
                    .zip(outs)
                    .zip(positions.par_chunks_exact_mut(out_plane))
                    .for_each(|((plane, out), positions)| max_plane(axes, plane, out, positions));
                Saved::Positions(positions)
            }
            Kind::Average(count_pads) => {
                planes.zip(outs).for_each(|(plane, out)| {
                    for oy in 0..y.out {
                        for ox in 0..x.out {
                            let rows = y.inside(oy).map(|iy| iy * x.size);
                            let sum: f32 = rows
                                .flat_map(|r| x.inside(ox).map(move |ix| plane[r + ix]))
                                .sum();
                            out[oy * x.out + ox] = sum / Self::divisor(count_pads, axes, oy, ox);
                        }
                    }
                });
                Saved::Nothing
            }
        };
        Ok((array(&shape, out), saved))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shape = pass.shapes[0];
        let axes = self.axes(shape).expect("shapes of the forward pass");
        let [y, x] = axes;
        let (plane, out_plane) = (y.size * x.size, y.out * x.out);
        let mut out = vec![0.0; shape.iter().product()];
        let outs = out.par_chunks_exact_mut(plane);
        let grads = slice(&grad).par_chunks_exact(out_plane);
        match (self.kind, pass.saved) {
            (Kind::Average(count_pads), _) => outs.zip(grads).for_each(|(out, grad)| {
                for oy in 0..y.out {
                    for ox in 0..x.out {
                        let g = grad[oy * x.out + ox] / Self::divisor(count_pads, axes, oy, ox);
                        for iy in y.inside(oy) {
                            x.inside(ox).for_each(|ix| out[iy * x.size + ix] += g);
                        }
                    }
                }
            }),
            (Kind::Max, Saved::Positions(positions)) => outs
                .zip(grads)
                .zip(positions.par_chunks_exact(out_plane))
                .for_each(|((out, grad), positions)| {
                    for (&p, g) in positions.iter().zip(grad) {
                        if p != NOWHERE {
                            out[p as usize] += g;
                        }
                    }
                }),
            (Kind::Max, _) => unreachable!("the forward pass saves positions"),
        }
        vec![Some(array(shape, out))]
    }
}

fn import(view: &NodeView<'_, '_>, kind: Kind) -> Result<Imported, ImportError> {
    let window = view.window(None)?;
    if !(1..=2).contains(&window.kernel.len()) {
        return Err(view.reject("only one and two spatial axes are supported"));
    }
    if view
        .node
        .proto()
        .output
        .iter()
        .skip(1)
        .any(|o| !o.is_empty())
    {
        return Err(view.reject("its second output (indices) is not supported"));
    }
    let op = Pool {
        kind,
        window,
        ceil: view.node.int("ceil_mode", 0) != 0,
    };
    view.imported(op, &[ParamKind::Constant])
}

pub(super) fn import_max(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    import(view, Kind::Max)
}

pub(super) fn import_average(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    import(
        view,
        Kind::Average(view.node.int("count_include_pad", 0) != 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::testing::{check_gradients, distinct, forward, vector};

    fn pool(kind: Kind, kernel: &[usize], stride: usize, pads: [usize; 2], ceil: bool) -> Pool {
        let n = kernel.len();
        Pool {
            kind,
            window: Window {
                kernel: kernel.to_vec(),
                strides: vec![stride; n],
                dilations: vec![1; n],
                begin: vec![pads[0]; n],
                end: vec![pads[1]; n],
            },
            ceil,
        }
    }

    #[test]
    fn windows_on_a_line() {
        let x = vector(&[1.0, 5.0, 2.0, 4.0, 3.0])
            .into_shape_with_order(vec![1, 1, 5])
            .unwrap();
        let values = |p: Pool| forward(&p, &[&x]).into_raw_vec_and_offset().0;
        assert_eq!(values(pool(Kind::Max, &[2], 2, [0, 0], false)), [5.0, 4.0]);
        assert_eq!(
            values(pool(Kind::Max, &[2], 2, [0, 0], true)),
            [5.0, 4.0, 3.0]
        );
        assert_eq!(
            values(pool(Kind::Max, &[3], 2, [1, 1], false)),
            [5.0, 5.0, 4.0]
        );
        let mean = |pads, ceil, padded| values(pool(Kind::Average(padded), &[3], 2, pads, ceil));
        assert_eq!(mean([1, 0], false, true), [2.0, 11.0 / 3.0]);
        assert_eq!(mean([1, 0], false, false), [3.0, 11.0 / 3.0]);
        // In ceil mode the last window reaches beyond the input: only 4 and 3 count.
        assert_eq!(mean([1, 0], true, true)[2], 3.5);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let x = distinct(&[2, 3, 6, 5]);
        for kind in [Kind::Max, Kind::Average(true), Kind::Average(false)] {
            for (kernel, stride, pads, ceil) in [
                ([2, 2], 2, [0, 0], false),
                ([3, 3], 2, [1, 1], false),
                ([3, 2], 2, [1, 0], true),
                ([3, 3], 1, [1, 1], false),
            ] {
                let op = pool(kind, &kernel, stride, pads, ceil);
                check_gradients(&op, std::slice::from_ref(&x));
            }
        }
        let mut dilated = pool(Kind::Max, &[2], 1, [1, 1], false);
        dilated.window.dilations = vec![2];
        check_gradients(&dilated, &[distinct(&[2, 2, 7])]);
    }
}
