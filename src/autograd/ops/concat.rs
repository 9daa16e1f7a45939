//! `Concat` along any axis but the batch.

use ndarray::{ArrayD, Axis, Slice};

use super::{Backward, Context, Op, Saved, ShapeError};
use crate::autograd::import::{ImportError, Imported, NodeView};
use crate::autograd::param::ParamKind;

/// Inputs one after the other along `axis`.
#[derive(Debug, Clone)]
struct Concat {
    axis: usize,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        _: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let views: Vec<_> = inputs.iter().map(|x| x.view()).collect();
        let y = ndarray::concatenate(Axis(self.axis), &views)
            .map_err(|e| ShapeError(format!("inputs do not fit together: {e}")))?;
        Ok((y.as_standard_layout().into_owned(), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let mut start = 0;
        let mut grads = Vec::with_capacity(pass.shapes.len());
        for (shape, wanted) in pass.shapes.iter().zip(pass.wanted) {
            let end = start + shape[self.axis];
            grads.push(wanted.then(|| {
                let part = grad.slice_axis(Axis(self.axis), Slice::from(start..end));
                part.as_standard_layout().into_owned()
            }));
            start = end;
        }
        grads
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.output_shape()?.len();
    let axis = view.node.axis(0, rank).filter(|&a| a > 0);
    let axis = axis.ok_or_else(|| view.reject("only axes after the batch can be concatenated"))?;
    let kinds = vec![ParamKind::Constant; view.input_count()];
    if (0..kinds.len()).any(|k| view.is_constant(k)) {
        return Err(view.reject("a constant among the inputs is not supported"));
    }
    view.imported(Concat { axis }, &kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients() {
        let inputs = [
            random(&[2, 3, 4], 1),
            random(&[2, 1, 4], 2),
            random(&[2, 2, 4], 3),
        ];
        let y = forward(&Concat { axis: 1 }, &inputs.each_ref());
        assert_eq!(y.shape(), [2, 6, 4]);
        assert_eq!(y[[1, 3, 2]], inputs[1][[1, 0, 2]]);
        check_gradients(&Concat { axis: 1 }, &inputs);
    }
}
