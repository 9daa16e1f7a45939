//! How well the reference repeats itself: the same model with its sums added up in reverse, or on
//! another scale.
//!
//! What it shows is the measure for a candidate: how much of the theoretical bound rounding needs,
//! and on how many samples rounding may decide.

use std::collections::BTreeMap;

use super::batched::BatchedSession;
use super::compare::{Tolerance, compare};
use super::runtime::{Optimization, Runtime, RuntimeError, SessionOptions};
use super::samples::Samples;
use crate::graph::edit::Editor;
use crate::graph::{Facts, Graph, Node, WeightsAt};
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use crate::onnx::{DataType, Tensor};
use crate::operators::Kind;
use prost::Message as _;

/// How many times what the reference shows against itself.
const FACTOR: f64 = 1.5;
/// Standard deviations of that share, for few samples.
const DEVIATIONS: f64 = 3.0;

/// The model with the inputs of its sums of products in reverse order: the same function, rounded
/// otherwise. What is exact stays exact.
pub(super) fn reversed(graph: &Graph<'_>, facts: &Facts) -> ModelProto {
    let mut turned = graph.model().clone();
    let mut editor = Editor::new(&mut turned);
    let mut gathers = Vec::new();
    for &id in graph.order() {
        let Some(at) = WeightsAt::of(graph, facts, id) else {
            continue;
        };
        let inputs = [at.data_input(), at.weight_input()];
        let [Some(x), Some(weight)] = inputs.map(|k| graph.input_of(id, k)) else {
            continue;
        };
        let shape = facts.shape(weight).unwrap_or_default();
        let rank = facts.shape(x).map_or(0, <[usize]>::len);
        let Some((of_input, of_weight)) = summed_axes(&graph.node(id), at, rank, shape) else {
            continue;
        };
        let count = shape[of_weight] as i64;
        if count < 2 {
            continue;
        }
        let order = Tensor::I64(
            (0..count)
                .rev()
                .collect::<ndarray::Array1<i64>>()
                .into_dyn(),
        );
        let order = editor.add_initializer("reversed/order", &order);
        let of_data = (at.data_input(), x, of_input);
        for (k, t, axis) in [of_data, (at.weight_input(), weight, of_weight)] {
            let output = editor.fresh_name(&format!("{}/reversed", graph.name(t)));
            let inputs = [graph.name(t).to_owned(), order.clone()];
            gathers.push((
                id.0,
                NodeProto::of("Gather", inputs, &output)
                    .with(AttributeProto::int("axis", axis as i64)),
            ));
            editor.set_input(id.0, k, &output);
        }
    }
    // From the end, so that earlier indices stay true.
    gathers.sort_by_key(|(index, _)| *index);
    for (index, node) in gathers.into_iter().rev() {
        editor.insert_node(index, node);
    }
    turned
}

/// A scale that no sum in the file has.
const SCALE: f64 = 1.234_567_9;

/// The model with all its sums of products scaled, and divided again: the same function, rounded
/// otherwise. Sums of equal terms (±0.1, say) round alike in any order, but not on another scale.
pub(super) fn rescaled(graph: &Graph<'_>, facts: &Facts) -> ModelProto {
    let mut scaled = graph.model().clone();
    let mut editor = Editor::new(&mut scaled);
    let mut scales: BTreeMap<DataType, String> = BTreeMap::new();
    let mut new = Vec::new();
    for &id in graph.order() {
        let row = graph.node(id).operator();
        let sums = row.is_some_and(|row| matches!(row.kind, Kind::Products));
        let Some(at) = WeightsAt::of(graph, facts, id).filter(|_| sums) else {
            continue;
        };
        let x = graph.input_of(id, at.data_input());
        let (Some(x), Some(out)) = (x, graph.output_of(id, 0)) else {
            continue;
        };
        // In the type that the node computes in.
        let kind = facts.element(x).and_then(DataType::from_onnx);
        let kind = kind.filter(|k| k.is_float()).unwrap_or(DataType::F32);
        let scale = scales.entry(kind).or_insert_with(|| {
            let scale = Tensor::of(kind, &ndarray::arr0(SCALE).into_dyn());
            editor.add_initializer("rescaled/scale", &scale)
        });
        // Weights and bias.
        for k in [at.weight_input(), 2] {
            let Some(t) = graph.input_of(id, k) else {
                continue;
            };
            let output = editor.fresh_name(&format!("{}/rescaled", graph.name(t)));
            let inputs = [graph.name(t).to_owned(), scale.clone()];
            new.push((id.0, NodeProto::of("Mul", inputs, &output)));
            editor.set_input(id.0, k, &output);
        }
        let larger = editor.fresh_name(&format!("{}/rescaled", graph.name(out)));
        let inputs = [larger.clone(), scale.clone()];
        new.push((id.0 + 1, NodeProto::of("Div", inputs, graph.name(out))));
        if let Some(output) = editor.node_mut(id.0).and_then(|n| n.output.first_mut()) {
            *output = larger;
        }
    }
    // From the end, so that earlier indices stay true; what comes after a node before what comes
    // in front of the next.
    new.sort_by_key(|(index, node)| (*index, node.op_type() == "Mul"));
    for (index, node) in new.into_iter().rev() {
        editor.insert_node(index, node);
    }
    scaled
}

/// The axes of input and weights that a node sums over.
fn summed_axes(
    node: &Node<'_>,
    at: WeightsAt,
    rank: usize,
    weight: &[usize],
) -> Option<(usize, usize)> {
    let fits = match (node.op(), weight.len()) {
        ("Conv", 3..) => node.groups() == Some(1),
        ("Gemm" | "MatMul", 2) => true,
        _ => false,
    };
    let axes = node.product_axes(at, rank).filter(|_| fits)?;
    Some((axes.data, axes.inputs))
}

/// How often the reference differs from itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Repeat {
    /// Share of samples beyond the tolerance.
    pub beyond: f64,
    /// Share of samples with another top class.
    pub top1: f64,
    /// Samples that were run.
    pub samples: usize,
}

impl Repeat {
    /// Share of samples that may be ties, and of samples with another top class, in any case.
    pub(super) const ALWAYS: f64 = 0.01;

    /// Runs the reference once more without optimisation, and once with its sums in reverse.
    ///
    /// # Errors
    /// If the reference cannot be run as it is.
    pub(super) fn measure(
        runtime: &dyn Runtime,
        reference: &ModelProto,
        samples: &Samples<'_>,
        batch: usize,
        tolerance: Tolerance,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let load = |model: &ModelProto, options: &SessionOptions| {
            let session = runtime.load(&model.encode_to_vec(), options);
            session.map(BatchedSession::new)
        };
        let off = SessionOptions {
            optimization: Optimization::Off,
            ..*options
        };
        let mut as_it_is = load(reference, options)?;
        let mut worst = Repeat {
            samples: samples.len(),
            ..Self::default()
        };
        let unusable = |e: &dyn std::fmt::Display| RuntimeError::Interface(e.to_string());
        let graph = Graph::new(reference).map_err(|e| unusable(&e))?;
        let facts = Facts::lean(&graph, 1).map_err(|e| unusable(&e))?;
        let turned = reversed(&graph, &facts);
        for other in [load(reference, &off), load(&turned, options)] {
            // One that the runtime refuses shows nothing.
            let Ok(mut other) = other else { continue };
            let found = compare(&mut as_it_is, &mut other, samples, batch, tolerance);
            let Ok(found) = found else { continue };
            let beyond = found.offending.len() as f64 / found.samples.max(1) as f64;
            worst.beyond = worst.beyond.max(beyond);
            worst.top1 = worst.top1.max(1.0 - found.top1_agreement.unwrap_or(1.0));
        }
        Ok(worst)
    }

    /// The share of samples that may be ties.
    pub(super) fn ties_allowed(&self) -> f64 {
        self.allowed(self.beyond)
    }

    /// The share of samples that may have another top class because of ties.
    pub(super) fn top1_allowed(&self) -> f64 {
        self.allowed(self.top1)
    }

    fn allowed(&self, share: f64) -> f64 {
        // It could not be run again, and so excuses nothing.
        if self.samples == 0 {
            return Self::ALWAYS;
        }
        let samples = self.samples as f64;
        let deviation = (share * (1.0 - share) / samples).sqrt();
        // What none of n samples shows may still be true of 3/n of all.
        let unseen = 3.0 / samples;
        Self::ALWAYS.max((FACTOR * share + DEVIATIONS * deviation + unseen).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::verify::{NamedTensors, OrtRuntime};
    use ndarray::ArrayD;

    #[test]
    fn what_could_not_be_run_again_excuses_no_more_than_always() {
        assert_eq!(Repeat::default().ties_allowed(), Repeat::ALWAYS);
        assert_eq!(Repeat::default().top1_allowed(), Repeat::ALWAYS);
    }

    #[test]
    fn sums_in_reverse_or_scaled_are_the_same_function() {
        let weight: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin()).collect();
        let model = Build::default()
            .input("x", &[-1, 3, 4, 4])
            .weight("w", &[2, 3, 2, 2], &weight)
            .weight("m", &[18, 1], &weight[..18])
            .weight("l", &[3, 3], &weight[9..18])
            .node("Conv", &["x", "w"], "c")
            .node("MatMul", &["l", "c"], "r")
            .node("Flatten", &["r"], "f")
            .node("MatMul", &["f", "m"], "y")
            .output("y")
            .model();
        let graph = Graph::new(&model).unwrap();
        let facts = Facts::lean(&graph, 1).unwrap();
        let count = |model: &ModelProto, op: &str| {
            let nodes = &model.graph.as_ref().unwrap().node;
            nodes.iter().filter(|n| n.op_type() == op).count()
        };
        let (turned, scaled) = (reversed(&graph, &facts), rescaled(&graph, &facts));
        assert_eq!((count(&turned, "Gather"), count(&scaled, "Div")), (6, 3));
        let x = ArrayD::from_shape_fn(vec![2, 3, 4, 4], |i| (i[1] * 5 + i[2] * 3 + i[3]) as f32);
        let run = |model: &ModelProto| -> NamedTensors {
            let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
            let mut session = runtime
                .load(&model.encode_to_vec(), &SessionOptions::default())
                .unwrap();
            session.run(&[("x".into(), x.clone())]).unwrap()
        };
        for other in [turned, scaled] {
            let (a, b) = (run(&model), run(&other));
            for (a, b) in a[0].1.iter().zip(&b[0].1) {
                assert!((a - b).abs() < 1e-4, "{a} {b}");
            }
        }
    }

    #[test]
    fn one_in_a_hundred_is_always_allowed_and_more_where_the_reference_shows_more() {
        let repeat = |beyond| Repeat {
            beyond,
            top1: 0.0,
            samples: 1000,
        };
        assert_eq!(repeat(0.0).ties_allowed(), 0.01);
        assert!((0.3..0.5).contains(&repeat(0.2).ties_allowed()));
        assert_eq!(repeat(1.0).ties_allowed(), 1.0);
        assert_eq!(repeat(1.0).top1_allowed(), 0.01);
    }
}
