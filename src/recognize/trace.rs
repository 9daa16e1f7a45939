//! From a layer's data input back to the binariser.

use ndarray::arr0;

use super::pattern::{uniform, with_constant};
use super::{Binarizer, Form, binarizer_of, levels};
use crate::graph::{Facts, Graph, NodeId, TensorId, evaluate};
use crate::onnx::Tensor;

/// Inputs of Concats followed, in all: a hostile graph doubles them at every node.
const MOST_BRANCHES: usize = 64;

/// A layer's input, traced back.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Traced {
    pub binarizer: Binarizer,
    /// What explicit `Pad`s between binariser and layer write.
    pub padding: Option<f32>,
    /// What the binariser's values are multiplied by on the way.
    pub factor: f32,
}

/// The binariser behind `t`, through operators that keep its values what they are.
pub(super) fn binarizer_behind(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Traced> {
    follow(graph, facts, t, &mut MOST_BRANCHES.clone())
}

fn follow(
    graph: &Graph<'_>,
    facts: &Facts,
    mut t: TensorId,
    branches: &mut usize,
) -> Option<Traced> {
    let mut padding: Option<f32> = None;
    // On the whole way, and up to the padding.
    let (mut factor, mut unpadded) = (1.0, 1.0);
    loop {
        if let Some(binarizer) = binarizer_of(graph, facts, t) {
            // A border of another value than the binariser's own (or nothing) makes more levels.
            let alien = padding
                .is_some_and(|p| p != 0.0 && p.abs() != binarizer.scale() * f32::abs(unpadded));
            if alien {
                return None;
            }
            return Some(Traced {
                binarizer,
                padding,
                factor,
            });
        }
        let n = graph.producer(t)?;
        let node = graph.node(n);
        let op = node.op();
        let behind = match op {
            "Concat" => Some(concat(graph, facts, n, branches)?),
            "DequantizeLinear" => in_integers(graph, facts, n, branches),
            _ => None,
        };
        if let Some(found) = behind {
            let size = found.binarizer.scale() * f32::abs(unpadded * found.factor);
            let alien = padding.is_some_and(|p| p != 0.0 && p.abs() != size);
            // Two borders of two values.
            if alien || padding.zip(found.padding).is_some_and(|(a, b)| a != b) {
                return None;
            }
            return Some(Traced {
                padding: padding.or(found.padding),
                factor: factor * found.factor,
                ..found
            });
        }
        match op {
            "Pad" => match (pad_value(graph, facts, n)?, padding) {
                (Some(v), None) => (padding, unpadded) = (Some(v), 1.0),
                (Some(v), Some(p)) if v != p => return None,
                _ => {}
            },
            "Mul" | "Div" if scaled(graph, facts, t, op).is_some() => {
                let (data, by) = scaled(graph, facts, t, op)?;
                (t, factor, unpadded) = (data, factor * by, unpadded * by);
                continue;
            }
            // ±1 stays ±1.
            _ if node.operator().is_some_and(|row| row.moves) => {}
            _ => {
                let binarizer = Binarizer {
                    form: levels::form_of(graph, facts, t)?,
                    kind: "levels",
                    ..Binarizer::signed("levels", 0, t, t)
                };
                let kind = match binarizer.form {
                    Form::ZeroOne => "01",
                    Form::Ternary => "ternary",
                    Form::PerChannel => "per-channel",
                    _ => "k-bit",
                };
                let binarizer = Binarizer { kind, ..binarizer };
                return Some(Traced {
                    binarizer,
                    padding,
                    factor,
                });
            }
        }
        t = graph.input_of(n, 0)?;
    }
}

/// The data of a node that multiplies or divides them by one number, and what they are multiplied
/// by.
fn scaled(graph: &Graph<'_>, facts: &Facts, t: TensorId, op: &str) -> Option<(TensorId, f32)> {
    let found = with_constant(graph, facts, t, op)?;
    let c = uniform(facts, found.constant)?;
    let by = if op == "Div" { 1.0 / c } else { c };
    let usable = by != 0.0 && by.is_finite() && !(op == "Div" && found.swapped);
    usable.then_some((found.data, by))
}

/// All inputs of a `Concat`, if they are binarised to the same values.
fn concat(graph: &Graph<'_>, facts: &Facts, n: NodeId, branches: &mut usize) -> Option<Traced> {
    let mut first: Option<Traced> = None;
    for t in graph.inputs_of(n) {
        *branches = branches.checked_sub(1)?;
        let found = follow(graph, facts, t?, branches)?;
        match &first {
            None => first = Some(found),
            Some(f) => {
                let (a, b) = (&f.binarizer, &found.binarizer);
                let same = a.form == b.form && a.scale() == b.scale() && a.zero == b.zero;
                if !same || f.factor != found.factor {
                    return None;
                }
            }
        }
    }
    first
}

/// What a `QuantizeLinear` takes, of which this `DequantizeLinear` makes floats again, if it gives ± one number for ±s.
fn in_integers(
    graph: &Graph<'_>,
    facts: &Facts,
    n: NodeId,
    branches: &mut usize,
) -> Option<Traced> {
    let q = graph.producer(graph.input_of(n, 0)?)?;
    if graph.node(q).op() != "QuantizeLinear" {
        return None;
    }
    *branches = branches.checked_sub(1)?;
    let found = follow(graph, facts, graph.input_of(q, 0)?, branches)?;
    let size = found.binarizer.scale() * found.factor.abs();
    let of_one = |node: NodeId, x: &Tensor| -> Option<Tensor> {
        let constant = |k: usize| match graph.input_of(node, k) {
            Some(t) => facts.constant(t).filter(|c| c.len() == 1).map(Some),
            None => Some(None),
        };
        evaluate(&graph.node(node), &[Some(x), constant(1)?, constant(2)?])
    };
    let through = |x: f32| {
        let x = Tensor::F32(arr0(x).into_dyn());
        of_one(n, &of_one(q, &x)?)?.scalar_f32()
    };
    let (low, high) = (through(-size)?, through(size)?);
    (low == -high && high > 0.0).then(|| Traced {
        factor: found.factor * high / size,
        ..found
    })
}

/// What a `Pad` writes: `Some(None)` if it repeats values or pads nothing, `None` if that is not
/// known.
fn pad_value(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Option<Option<f32>> {
    let node = graph.node(n);
    if node.string("mode").unwrap_or("constant") != "constant" {
        return Some(None);
    }
    let value = match graph.input_of(n, 2) {
        Some(t) => facts.value(t)?.scalar_f32()?,
        None => node.float("value", 0.0),
    };
    Some(Some(value))
}
