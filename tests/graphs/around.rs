//! One operator, or several, between a convolution that loses filters and a layer that reads what is
//! left. Numbers are small dyadic ones, so sums are exact in any order.

use super::{Attr, Builder, run};
use ndarray::{ArrayD, Axis, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{Analysis, FilterMasks, Removal, apply_masks, eliminate};
use onnx_bnnprune::verify::Optimization;

pub type Attributes = Vec<(&'static str, Attr)>;

pub fn values(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0)
        .collect()
}

pub fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

/// `x` `[N, 2, 4, 4]` → Conv (8 filters, `[N, 8, 4, 4]`) → `body` → Flatten → MatMul; the model
/// and the name of the convolution. `sizes` is what the body gives for one image.
pub fn around(
    opset: i64,
    sizes: usize,
    body: impl FnOnce(&mut Builder, &str) -> String,
) -> (ModelProto, String) {
    let mut b = Builder::new(&[2, 4, 4]);
    let w = b.weight(&[8, 2, 1, 1], values(16, 5));
    let bias = b.weight(&[8], values(8, 1));
    let a = b.node("Conv", &["x", &w, &bias], vec![]);
    let y = body(&mut b, &a);
    let flat = b.node("Flatten", &[&y], vec![]);
    let w = b.weight(&[sizes, 2], values(sizes * 2, 2));
    let last = b.node("MatMul", &[&flat, &w], vec![]);
    let mut model = b.model(&[&last]);
    model.opset_import[0].version = Some(opset);
    if opset >= 18 {
        model.ir_version = Some(9);
    }
    (model, a)
}

/// Filters left of the eight once those are masked, in `drop` and in `fold`. Both models agree
/// with their masked one within `tolerance` at two batch sizes, and the masks move something.
pub fn left(model: &ModelProto, layer: &str, pruned: &[usize], tolerance: f32) -> [Vec<usize>; 2] {
    [Removal::Drop, Removal::Fold].map(|removal| {
        let mut masks = FilterMasks::default();
        masks.prune(layer, 8, pruned.iter().copied());
        let masked = apply_masks(model, &masks, removal).unwrap().model;
        let e = eliminate(&masked).unwrap();
        for batch in [1, 3] {
            let x = values(batch * 32, 3);
            let x = ArrayD::from_shape_vec(IxDyn(&[batch, 2, 4, 4]), x).unwrap();
            let run = |m: &ModelProto| run(m, &x, Optimization::Basic).remove(0);
            let (full, masked, cut) = (run(model), run(&masked), run(&e.model));
            assert_ne!(full, masked, "the masks move nothing");
            let scale = masked.iter().fold(1.0f32, |a, v| a.max(v.abs()));
            for (m, c) in masked.iter().zip(&cut) {
                assert!((m - c).abs() <= tolerance * scale, "{m} and {c}");
            }
            assert_eq!(masked.len_of(Axis(0)), cut.len_of(Axis(0)));
        }
        let layer = e.layers.into_iter().find(|l| l.name == layer);
        layer.unwrap().kept
    })
}

/// Filters 1, 2 and 6 go, whatever "removed" means; bit for bit the same.
pub fn goes(sizes: usize, body: impl FnOnce(&mut Builder, &str) -> String) {
    goes_at(17, sizes, body);
}

pub fn goes_at(opset: i64, sizes: usize, body: impl FnOnce(&mut Builder, &str) -> String) {
    let (model, a) = around(opset, sizes, body);
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 0.0);
    assert_eq!((drop, fold), (vec![0, 3, 4, 5, 7], vec![0, 3, 4, 5, 7]));
}

/// The same up to rounding.
pub fn goes_nearly(op: &'static str, opset: i64, attributes: Attributes) {
    let (model, a) = around(opset, 128, |b, x| b.node(op, &[x], attributes));
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 1e-5);
    assert_eq!(drop, [0, 3, 4, 5, 7], "{op}");
    assert_eq!(fold, [0, 3, 4, 5, 7], "{op}");
}

/// Why the convolution is not prunable; all of its filters stay.
pub fn declined(sizes: usize, body: impl FnOnce(&mut Builder, &str) -> String) -> String {
    let (model, a) = around(17, sizes, body);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
    let mut masks = FilterMasks::default();
    masks.prune(&a, 8, [1, 2, 6]);
    let masked = apply_masks(&model, &masks, Removal::Drop).unwrap().model;
    let e = eliminate(&masked).unwrap();
    assert_eq!(e.layers[0].kept.len(), 8);
    why
}

pub fn one(op: &'static str, attributes: Attributes) -> impl FnOnce(&mut Builder, &str) -> String {
    move |b, x| b.node(op, &[x], attributes)
}
