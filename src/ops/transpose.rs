//! `Transpose` that leaves the batch in front; what moves it is read by [`super::moved_batch`].

use ndarray::{ArrayD, IxDyn};

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};

/// Output axis i is input axis `order[i]`, a permutation.
#[derive(Debug, Clone)]
pub(super) struct Transpose {
    pub order: Vec<usize>,
}

/// A tensor whose axis i is axis `order[i]` of `x`.
pub(super) fn permuted(x: &ArrayD<f32>, order: &[usize]) -> ArrayD<f32> {
    let view = x.view().permuted_axes(IxDyn(order));
    view.as_standard_layout().into_owned()
}

/// The order that undoes an order of axes.
pub(super) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (i, &axis) in order.iter().enumerate() {
        inverse[axis] = i;
    }
    inverse
}

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        check(x.ndim() == self.order.len(), || {
            format!("the permutation {:?} of {:?}", self.order, x.shape())
        })?;
        Ok((permuted(x, &self.order), Saved::Nothing))
    }

    fn backward(&self, _: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        vec![Some(permuted(&grad, &inverse(&self.order)))]
    }
}

/// The input's axes in the order of the output's.
pub(super) fn order_of(view: &NodeView<'_, '_>) -> Result<Vec<usize>, ImportError> {
    let rank = view.input_shape(0)?.len();
    let order: Option<Vec<usize>> = match view.node.ints("perm") {
        None => Some((0..rank).rev().collect()),
        Some(p) => p.iter().map(|&a| usize::try_from(a).ok()).collect(),
    };
    let order = order.unwrap_or_default();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(view.reject("the attribute 'perm' is not a permutation of the input's axes"));
    }
    Ok(order)
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let order = order_of(view)?;
    view.imported(Transpose { order }, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients() {
        let op = Transpose {
            order: vec![0, 2, 3, 1],
        };
        let x = random(&[2, 3, 4, 5], 1);
        let y = forward(&op, &[&x]);
        assert_eq!(y.shape(), [2, 4, 5, 3]);
        assert_eq!(y[[1, 2, 3, 0]], x[[1, 0, 2, 3]]);
        check_gradients(&op, &[x]);
    }
}
