//! `Identity` and `Dropout` at inference.

use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Saved, ShapeError, Signs, Traits};
use crate::arrays::copy;

/// The input.
#[derive(Debug, Clone)]
struct Identity {
    name: &'static str,
}

impl Op for Identity {
    fn name(&self) -> &'static str {
        self.name
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::Exact,
            signs: Signs::Keeps,
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        Ok((copy(inputs[0]), Saved::Nothing))
    }

    fn backward(&self, _: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        vec![Some(grad)]
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    view.imported(Identity { name: "Identity" }, &[ParamKind::Constant])
}

pub(super) fn import_dropout(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.has_input(2) && view.flag(2)? {
        return Err(view.reject(
            "training_mode = true makes the output random; export the model in evaluation mode, or give --inference-mode",
        ));
    }
    view.imported(Identity { name: "Dropout" }, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn nothing_changes() {
        let x = random(&[2, 3], 1);
        let op = Identity { name: "Identity" };
        assert_eq!(forward(&op, &[&x]), x);
        check_gradients(&op, &[x]);
    }
}
