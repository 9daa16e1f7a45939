//! `MaxPool` and `AveragePool` over one or two spatial axes.

use bnn_kernels::binary::PoolWindows;
use bnn_kernels::buffers::buffer;
use bnn_kernels::pooling::{Axis, NOWHERE, Phases, Windows, max_of_any};
use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Params, Role, Saved, ShapeError, Traits, check};
use crate::arrays::{array, recycle_array, slice};
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
pub struct Pool {
    kind: Kind,
    window: Window,
    ceil: bool,
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

    fn is_max_pool(&self) -> bool {
        self.kind == Kind::Max && (1..=2).contains(&self.window.kernel.len())
    }

    /// The windows on planes of that size (a window over one axis: of one row); `None` if it takes no
    /// maxima, or they do not fit.
    pub fn max_windows(&self, plane: [usize; 2]) -> Option<PoolWindows> {
        if !self.is_max_pool() {
            return None;
        }
        let [height, width] = plane;
        let axes = match self.window.kernel.len() {
            1 => self.axes(&[1, 1, width]),
            _ => self.axes(&[1, 1, height, width]),
        };
        let axes = axes.ok()?;
        let each = |axis: Axis| -> Vec<Vec<usize>> {
            let spans = axis.spans().into_iter();
            spans.map(|s| s.positions().collect()).collect()
        };
        let [rows, columns] = axes.map(each);
        Some(PoolWindows { rows, columns })
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Max => "MaxPool",
            Kind::Average(_) => "AveragePool",
        }
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            role: match self.is_max_pool() {
                true => Role::MaxPooling(self),
                false => Role::Plain,
            },
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let input = inputs[0];
        let axes @ [y, x] = self.axes(input.shape())?;
        let (plane, out_plane) = (y.size * x.size, y.out * x.out);
        check(
            plane > 0 && out_plane > 0 && plane < NOWHERE as usize,
            || format!("an input of shape {:?}", input.shape()),
        )?;
        let mut shape = input.shape()[..2].to_vec();
        shape.extend(axes[2 - self.window.kernel.len()..].iter().map(|a| a.out));
        let mut out = buffer(shape.iter().product());
        let windows = Windows::new(axes);
        let phases = || Phases::suit(axes).then(|| Phases::new(axes));
        let planes = slice(input).par_chunks_exact(plane);
        let outs = out.par_chunks_exact_mut(out_plane);
        let saved = match self.kind {
            Kind::Max => {
                let mut positions = vec![0; outs.len() * out_plane];
                planes
                    .zip(outs)
                    .zip(positions.par_chunks_exact_mut(out_plane))
                    .for_each_init(phases, |phases, ((plane, out), positions)| {
                        let found = phases.as_mut().map(|p| p.max(plane, out, positions));
                        if found != Some(true) {
                            max_of_any(&windows, plane, out, positions);
                        }
                    });
                Saved::Positions(positions)
            }
            Kind::Average(count_pads) => {
                let divisors = windows.divisors(count_pads, axes);
                let pairs = planes.zip(outs);
                pairs.for_each_init(phases, |phases, (plane, out)| {
                    if let Some(phases) = phases {
                        return phases.mean(plane, &divisors, out);
                    }
                    let outs = out.iter_mut().zip(&divisors);
                    for (window, (out, divisor)) in windows.iter().zip(outs) {
                        *out = window.map(|i| plane[i]).sum::<f32>() / divisor;
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
        let windows = Windows::new(axes);
        let mut out = buffer(shape.iter().product());
        let phases = || Phases::suit(axes).then(|| Phases::new(axes));
        let outs = out.par_chunks_exact_mut(plane);
        let grads = slice(&grad).par_chunks_exact(out_plane);
        match (self.kind, pass.saved) {
            (Kind::Average(count_pads), _) => {
                let divisors = windows.divisors(count_pads, axes);
                let pairs = outs.zip(grads);
                pairs.for_each_init(phases, |phases, (out, grad)| {
                    if let Some(phases) = phases {
                        return phases.spread(grad, &divisors, out);
                    }
                    out.fill(0.0);
                    let shares = grad.iter().zip(&divisors).map(|(g, d)| g / d);
                    for (window, share) in windows.iter().zip(shares) {
                        window.for_each(|i| out[i] += share);
                    }
                });
            }
            (Kind::Max, Saved::Positions(positions)) => outs
                .zip(grads)
                .zip(positions.par_chunks_exact(out_plane))
                .for_each(|((out, grad), positions)| {
                    out.fill(0.0);
                    for (&p, g) in positions.iter().zip(grad) {
                        if p != NOWHERE {
                            out[p as usize] += g;
                        }
                    }
                }),
            (Kind::Max, _) => unreachable!("the forward pass saves positions"),
        }
        recycle_array(grad);
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
    use crate::ops::testing::{check_gradients, distinct, forward, vector};

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
        let x = distinct(&[2, 3, 6, 9]);
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
