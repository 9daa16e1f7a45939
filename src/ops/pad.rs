//! `Pad` with a constant.

use ndarray::{ArrayD, Slice};

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::graph::normalize_axis;

/// `before[i]` and `after[i]` positions of `value` around axis i.
#[derive(Debug, Clone)]
struct Pad {
    before: Vec<usize>,
    after: Vec<usize>,
    value: f32,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        check(x.ndim() == self.before.len(), || {
            format!("{} pads for the shape {:?}", self.before.len(), x.shape())
        })?;
        let pads = self.before.iter().zip(&self.after);
        let shape: Vec<usize> = x
            .shape()
            .iter()
            .zip(pads)
            .map(|(d, (b, a))| d + b + a)
            .collect();
        let mut y = ArrayD::from_elem(shape, self.value);
        y.slice_each_axis_mut(|axis| {
            let i = axis.axis.index();
            Slice::from(self.before[i]..self.before[i] + x.shape()[i])
        })
        .assign(x);
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let inner = grad.slice_each_axis(|axis| {
            let i = axis.axis.index();
            Slice::from(self.before[i]..self.before[i] + pass.shapes[0][i])
        });
        vec![Some(inner.as_standard_layout().into_owned())]
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.node.string("mode").unwrap_or("constant") != "constant" {
        return Err(view.reject("only the mode 'constant' is supported"));
    }
    let rank = view.input_shape(0)?.len();
    // An attribute up to opset 10.
    let pads = match view.node.has("pads") {
        true => (view.node.sizes("pads", 2 * rank, 0))
            .ok_or_else(|| view.reject("its pads must be two for each axis, none negative"))?,
        false => view.sizes(1)?,
    };
    let axes: Vec<usize> = match view.has_input(3) {
        false => (0..rank).collect(),
        true => {
            let axes = view.ints(3)?;
            let axes: Option<_> = axes.iter().map(|&a| normalize_axis(a, rank)).collect();
            axes.ok_or_else(|| view.reject("its axes are out of range"))?
        }
    };
    if pads.len() != 2 * axes.len() {
        return Err(view.reject("the number of pads does not fit the rank"));
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    let (first, second) = pads.split_at(axes.len());
    for ((&axis, &b), &a) in axes.iter().zip(first).zip(second) {
        before[axis] = b;
        after[axis] = a;
    }
    if before.first() != Some(&0) || after.first() != Some(&0) {
        return Err(view.reject("the batch cannot be padded"));
    }
    let value = if view.has_input(2) {
        view.scalar(2)?
    } else {
        view.node.float("value", 0.0)
    };
    let op = Pad {
        before,
        after,
        value,
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients() {
        let op = Pad {
            before: vec![0, 0, 1],
            after: vec![0, 2, 0],
            value: -1.0,
        };
        let x = random(&[2, 3, 4], 1);
        let y = forward(&op, &[&x]);
        assert_eq!(y.shape(), [2, 5, 5]);
        assert_eq!(y[[1, 2, 0]], -1.0);
        assert_eq!(y[[1, 3, 4]], -1.0);
        assert_eq!(y[[1, 2, 4]], x[[1, 2, 3]]);
        check_gradients(&op, &[x]);
    }
}
