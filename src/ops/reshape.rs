//! `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`: the same elements in another shape, for any
//! batch size.

use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, ChannelsLeft, Op, Saved, ShapeError};
use crate::arrays::copy;

/// `[N, …]` to `[N · lead, tail…]`.
#[derive(Debug, Clone)]
struct Reshape {
    name: &'static str,
    lead: usize,
    tail: Vec<usize>,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let batch = x.shape().first().copied().unwrap_or(1);
        // The element count of the result has to be the input's: from_shape refuses anything else.
        let tail: usize = self.tail.iter().product();
        let lead = match self.lead.checked_mul(batch) {
            Some(lead) if lead.checked_mul(tail) == Some(x.len()) => lead,
            _ => {
                let (x, tail) = (x.shape(), &self.tail);
                return Err(ShapeError(format!(
                    "{x:?} cannot become [N, …] with {tail:?}"
                )));
            }
        };
        let shape = [&[lead], &self.tail[..]].concat();
        Ok((reshaped(copy(x), &shape), Saved::Nothing))
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        let tail = left.sample.filter(|_| self.lead == 1)?.to_vec();
        Some(Arc::new(Self {
            tail,
            ..self.clone()
        }))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        vec![Some(reshaped(grad, pass.shapes[0]))]
    }
}

fn reshaped(x: ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    x.into_shape_with_order(IxDyn(shape))
        .expect("the same number of elements")
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (from, to) = (view.input_shape(0)?, view.output_shape()?);
    // The target was inferred at one batch size, which is the input's first dimension; it is the
    // first dimension of the output as well, or a factor of it.
    let lead = match (from.first(), to.first()) {
        (Some(&batch), Some(&lead)) if batch > 0 && lead % batch == 0 => lead / batch,
        _ => {
            return Err(view.reject(format!(
                "it does not keep the batch in front (from {from:?} to {to:?})"
            )));
        }
    };
    let op = Reshape {
        name: match view.node.op() {
            "Flatten" => "Flatten",
            "Squeeze" => "Squeeze",
            "Unsqueeze" => "Unsqueeze",
            _ => "Reshape",
        },
        lead,
        tail: to[1..].to_vec(),
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn the_batch_is_free() {
        let op = Reshape {
            name: "Flatten",
            lead: 1,
            tail: vec![12],
        };
        for n in [1, 5] {
            let x = random(&[n, 3, 4], 1);
            assert_eq!(forward(&op, &[&x]).shape(), [n, 12]);
            check_gradients(&op, &[x]);
        }
        let split = Reshape {
            name: "Reshape",
            lead: 3,
            tail: vec![2, 2],
        };
        assert_eq!(
            forward(&split, &[&random(&[2, 3, 4], 1)]).shape(),
            [6, 2, 2]
        );
    }
}
