//! `Identity`, `Dropout` at inference, and `Expand` to what reads it anyway.

use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Saved, ShapeError, Signs, Traits};
use crate::arrays::copy;
use crate::graph::{NodeId, TensorId};

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

/// Operators that repeat an operand to the size of the other one by themselves.
const REPEATING: [&str; 4] = ["Add", "Div", "Mul", "Sub"];

/// `Expand` in front of nothing but arithmetic with tensors of its output's shape, which needs none: what it
/// repeats is repeated there, however many channels are left by then.
pub(super) fn import_expand(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (graph, shape) = (view.graph, view.output_shape()?);
    let output = graph.output_of(view.id, 0);
    let readers = output.map_or(&[][..], |t| graph.consumers(t));
    let repeats = |reader: NodeId| {
        let mut operands = graph.inputs_of(reader).into_iter().flatten();
        let expanded = |t: TensorId| {
            graph
                .producer(t)
                .is_some_and(|n| graph.node(n).op() == "Expand")
        };
        let full = |t: TensorId| {
            view.facts.is_data(t) && view.facts.shape(t) == Some(shape) && !expanded(t)
        };
        let op = graph.node(reader).op();
        REPEATING.contains(&op) && operands.any(full)
    };
    let idle = !readers.is_empty() && readers.iter().all(|r| r.input.is_some() && repeats(r.node));
    match idle && output.is_some_and(|t| !graph.outputs().contains(&t)) {
        true => view.imported(Identity { name: "Expand" }, &[ParamKind::Constant]),
        false => {
            Err(view.reject("what it repeats is read by more than arithmetic with a whole tensor"))
        }
    }
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
