//! Masks of a network that was retrained: which columns are folded was decided when learning began.
//!
//! All numbers are small dyadic ones, so sums are exact in any order.

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    Analysis, FilterMasks, FoldedColumns, Removal, apply_learned_masks, apply_masks, without_biases,
};
use onnx_bnnprune::verify::Optimization;

const WIDTH: usize = 4;
/// The filter that is masked.
const MASKED: usize = 1;

fn values(n: usize, salt: usize) -> Vec<f32> {
    let value = |i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0;
    (0..n).map(value).collect()
}

fn conv(b: &mut Builder, x: &str, inputs: usize, salt: usize) -> String {
    let w = b.weight(&[WIDTH, inputs, 1, 1], values(WIDTH * inputs, salt));
    b.node("Conv", &[x, &w], vec![])
}

/// A stem and Sign, convolution, Relu, a shift, Sign, and a convolution that reads it: with a shift above 0 a
/// channel is 1 whatever its filter gives. Also the name of the layer in the middle.
fn chain(shift_of_masked: f32) -> (ModelProto, String) {
    let mut b = Builder::new(&[2, 3, 3]);
    let stem = conv(&mut b, "x", 2, 7);
    // Sums of ±1 have bounds.
    let signs = b.node("Sign", &[&stem], vec![]);
    let first = conv(&mut b, &signs, WIDTH, 1);
    let relu = b.node("Relu", &[&first], vec![]);
    let mut shifts = vec![-1.0; WIDTH];
    shifts[MASKED] = shift_of_masked;
    let shift = b.weight(&[1, WIDTH, 1, 1], shifts);
    let moved = b.node("Add", &[&relu, &shift], vec![]);
    let signs = b.node("Sign", &[&moved], vec![]);
    let last = conv(&mut b, &signs, WIDTH, 5);
    (b.model(&[&last]), first)
}

fn masks(layers: &[&str]) -> FilterMasks {
    let mut masks = FilterMasks::default();
    for layer in layers {
        masks.prune(layer, WIDTH, [MASKED]);
    }
    masks
}

fn folded(model: &ModelProto) -> FoldedColumns {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::lean(&graph, 1).unwrap();
    FoldedColumns::of(&graph, &Analysis::new(&graph, &facts))
}

fn outputs(model: &ModelProto) -> ArrayD<f32> {
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 3, 3]), values(36, 3)).unwrap();
    run(model, &x, Optimization::Basic).swap_remove(0)
}

#[test]
fn what_was_live_is_dropped_though_it_is_constant_now() {
    let ((before, layer), (learned, _)) = (chain(-1.0), chain(1.0));
    let masks = masks(&[&layer]);
    let masked = |folded| apply_learned_masks(&learned, &masks, Removal::Drop, folded);
    let dropped = outputs(&masked(&folded(&before)).unwrap().model);
    // As if it had not been learned: nothing depends on the masked channel's parameters.
    let reference = apply_masks(&before, &masks, Removal::Drop).unwrap();
    assert_eq!(dropped, outputs(&reference.model));
    // By itself the model says that the channel is 1 and stays.
    let alone = apply_masks(&learned, &masks, Removal::Drop).unwrap();
    assert_eq!(outputs(&alone.model), outputs(&learned));
    assert_ne!(dropped, outputs(&learned));
}

#[test]
fn what_was_constant_is_folded_though_it_is_live_now() {
    let ((before, layer), (learned, _)) = (chain(1.0), chain(-1.0));
    let masks = masks(&[&layer]);
    let masked = apply_learned_masks(&learned, &masks, Removal::Drop, &folded(&before)).unwrap();
    let as_fold = apply_masks(&learned, &masks, Removal::Fold).unwrap();
    assert_eq!(outputs(&masked.model), outputs(&as_fold.model));
    let dropped = apply_masks(&learned, &masks, Removal::Drop).unwrap();
    assert_ne!(outputs(&masked.model), outputs(&dropped.model));
}

#[test]
fn readers_that_nobody_knows_of_are_judged_by_the_model() {
    let (model, layer) = chain(-1.0);
    let masks = masks(&[&layer]);
    let none = FoldedColumns::default();
    let learned = apply_learned_masks(&model, &masks, Removal::Drop, &none).unwrap();
    let alone = apply_masks(&model, &masks, Removal::Drop).unwrap();
    assert_eq!(learned.model, alone.model);
}

#[test]
fn a_stream_keeps_the_constants_of_layers_that_are_masked_one_by_one() {
    let mut b = Builder::new(&[2, 3, 3]);
    let signs = b.node("Sign", &["x"], vec![]);
    let branches = [1, 9].map(|salt| conv(&mut b, &signs, 2, salt));
    let moved = [0.5, 1.0].map(|by| b.weight(&[1, WIDTH, 1, 1], vec![by; WIDTH]));
    let terms = [0, 1].map(|i| b.node("Add", &[&branches[i], &moved[i]], vec![]));
    let stream = b.node("Add", &[&terms[0], &terms[1]], vec![]);
    let signs = b.node("Sign", &[&stream], vec![]);
    let last = conv(&mut b, &signs, WIDTH, 5);
    let model = b.model(&[&last]);
    let masks = masks(&[&branches[0], &branches[1]]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::lean(&graph, 1).unwrap();
    let analysis = Analysis::new(&graph, &facts);
    let group = analysis.groups().iter();
    let group = group.into_iter().find(|g| g.layers.len() == 2).unwrap();
    let streams = FoldedColumns::of(&graph, &analysis).with_stream(&graph, &analysis, group.id);
    let learned = apply_learned_masks(&model, &masks, Removal::Drop, &streams).unwrap();
    let as_fold = apply_masks(&model, &masks, Removal::Fold).unwrap();
    assert_eq!(outputs(&learned.model), outputs(&as_fold.model));
    let dropped = apply_masks(&model, &masks, Removal::Drop).unwrap();
    assert_ne!(outputs(&learned.model), outputs(&dropped.model));
}

#[test]
fn biases_of_masked_filters_go_alone() {
    let mut b = Builder::new(&[2, 3, 3]);
    let w = b.weight(&[WIDTH, 2, 1, 1], values(WIDTH * 2, 1));
    let bias = b.weight(&[WIDTH], vec![0.5, 0.25, 1.0, 2.0]);
    let layer = b.node("Conv", &["x", &w, &bias], vec![("group", Attr::Int(1))]);
    let signs = b.node("Sign", &[&layer], vec![]);
    let last = conv(&mut b, &signs, WIDTH, 5);
    let model = b.model(&[&last]);
    let without = without_biases(&model, &masks(&[&layer])).unwrap();
    let tensors = |m: &ModelProto| -> Vec<Vec<f64>> {
        let graph = m.graph.as_ref().unwrap();
        let tensor = |t| Tensor::from_proto(t).unwrap().to_f64();
        let values = graph.initializer.iter().map(tensor);
        values.map(|v| v.iter().copied().collect()).collect()
    };
    let (before, after) = (tensors(&model), tensors(&without));
    let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert_eq!(
        changed,
        [(&vec![0.5, 0.25, 1.0, 2.0], &vec![0.5, 0.0, 1.0, 2.0])]
    );
}
