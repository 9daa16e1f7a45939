//! Constants in front of a zero-padded convolution: around the border fewer weights meet them, and
//! what is added for them is exact there too.
//!
//! Numbers are small dyadic ones, so sums are exact in any order.

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::to_bytes;
use onnx_bnnprune::rewrite::{EliminateOptions, FilterMasks, Removal, apply_masks, eliminate_with};
use onnx_bnnprune::verify::Optimization;

const FILTERS: usize = 12;
const SIDE: usize = 11;

fn values(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0)
        .collect()
}

fn ints(name: &'static str, v: &[i64]) -> (&'static str, Attr) {
    (name, Attr::Ints(v.to_vec()))
}

/// A convolution of 12 filters, a shift (so that zero filters leave constants), `op` with these
/// weights and attributes on it, and a reader.
fn model(op: &str, shape: &[usize], attributes: Vec<(&str, Attr)>) -> (ModelProto, String) {
    let mut b = Builder::new(&[2, SIDE as i64, SIDE as i64]);
    let w = b.weight(&[FILTERS, 2, 1, 1], values(FILTERS * 2, 5));
    let first = b.node("Conv", &["x", &w], vec![]);
    let shift = b.weight(&[FILTERS, 1, 1], values(FILTERS, 1));
    let x = b.node("Add", &[&first, &shift], vec![]);
    let w = b.weight(shape, values(shape.iter().product(), 3));
    let group = attributes.iter().find_map(|(n, a)| match (n, a) {
        (&"group", Attr::Int(g)) => Some(*g as usize),
        _ => None,
    });
    let outputs = match op {
        "ConvTranspose" => shape[1] * group.unwrap_or(1),
        _ => shape[0],
    };
    let bias = b.weight(&[outputs], values(outputs, 8));
    let y = b.node(op, &[&x, &w, &bias], attributes);
    (b.model(&[&y]), first)
}

/// Masks filters, folds, compares; the pruned model's operators and what is left of the first layer.
fn fold(model: &ModelProto, first: &str, pruned: &[usize]) -> (Vec<String>, Vec<usize>, String) {
    let mut masks = FilterMasks::default();
    masks.prune(first, FILTERS, pruned.iter().copied());
    let masked = apply_masks(model, &masks, Removal::Fold).unwrap().model;
    let e = eliminate_with(&masked, &EliminateOptions::default()).unwrap();
    assert!(to_bytes(&e.model).len() < to_bytes(&masked).len());
    for batch in [1, 3] {
        let shape = [batch, 2, SIDE, SIDE];
        let x = values(shape.iter().product(), 3);
        let x = ArrayD::from_shape_vec(IxDyn(&shape), x).unwrap();
        for level in [Optimization::Off, Optimization::All] {
            assert_ne!(run(model, &x, level), run(&masked, &x, level));
            assert_eq!(run(&masked, &x, level), run(&e.model, &x, level));
        }
    }
    let nodes = &e.model.graph.as_ref().unwrap().node;
    let ops = nodes.iter().map(|n| n.op_type().to_owned()).collect();
    (ops, e.layers[0].kept.clone(), e.plan)
}

#[test]
fn a_kernel_on_a_plane_of_ones_stands_for_a_large_map() {
    let cases = vec![
        ("Conv", [16, 12, 3, 3], vec![ints("pads", &[1; 4])]),
        (
            "Conv",
            [16, 12, 3, 2],
            vec![
                ints("pads", &[2, 0, 1, 1]),
                ints("dilations", &[2, 1]),
                ints("kernel_shape", &[3, 2]),
            ],
        ),
        (
            "Conv",
            [40, 12, 3, 3],
            vec![
                ("auto_pad", Attr::Text("SAME_UPPER")),
                ints("strides", &[2, 2]),
            ],
        ),
        (
            "Conv",
            [16, 6, 3, 3],
            vec![ints("pads", &[1; 4]), ("group", Attr::Int(2))],
        ),
        (
            "ConvTranspose",
            [12, 6, 3, 3],
            vec![
                ints("strides", &[2, 1]),
                ints("pads", &[1, 0, 0, 2]),
                ints("output_padding", &[1, 0]),
            ],
        ),
    ];
    for (op, shape, attributes) in cases {
        let (model, first) = model(op, &shape, attributes);
        let (ops, kept, plan) = fold(&model, &first, &[1, 2, 6, 9]);
        assert_eq!(kept, [0, 3, 4, 5, 7, 8, 10, 11], "{op} {shape:?}: {plan}");
        assert!(plan.contains("border map"), "{plan}");
        let expected = ["Conv", "Add", op, "ConstantOfShape", op, "Add"];
        assert_eq!(ops, expected, "{shape:?}");
    }
}

#[test]
fn a_small_map_is_stored_as_it_is() {
    let attributes = vec![ints("pads", &[1; 4]), ints("strides", &[5, 5])];
    let (model, first) = model("Conv", &[16, 12, 3, 3], attributes);
    let (ops, kept, _) = fold(&model, &first, &[1, 2, 6]);
    assert_eq!(kept.len(), 9);
    assert_eq!(ops, ["Conv", "Add", "Conv", "Add"]);
}

/// A pooling whose last window would start in the padding: a runtime that looks at a graph of an old opset alone
/// counts it, and would refuse a map of the size that there is. So the channels stay there.
#[test]
fn no_map_is_made_of_a_size_that_runtimes_dispute() {
    for (opset, stays) in [(17, true), (22, false)] {
        let mut b = Builder::new(&[2, SIDE as i64, SIDE as i64]);
        let w = b.weight(&[FILTERS, 2, 1, 1], values(FILTERS * 2, 5));
        let first = b.node("Conv", &["x", &w], vec![]);
        let shift = b.weight(&[FILTERS, 1, 1], values(FILTERS, 1));
        let x = b.node("Add", &[&first, &shift], vec![]);
        let window = vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[3, 3]),
            ints("pads", &[0, 0, 1, 1]),
            ("ceil_mode", Attr::Int(1)),
        ];
        let x = b.node("MaxPool", &[&x], window);
        let w = b.weight(&[16, 12, 3, 3], values(16 * 12 * 9, 3));
        let y = b.node("Conv", &[&x, &w], vec![ints("pads", &[1; 4])]);
        let mut model = b.model(&[&y]);
        model.opset_import[0].version = Some(opset);
        let mut masks = FilterMasks::default();
        masks.prune(&first, FILTERS, [1, 2, 6]);
        let masked = apply_masks(&model, &masks, Removal::Fold).unwrap().model;
        let e = eliminate_with(&masked, &EliminateOptions::default()).unwrap();
        assert_eq!(e.layers[0].kept.len() == FILTERS, stays, "{}", e.plan);
        let x = values(2 * SIDE * SIDE, 3);
        let x = ArrayD::from_shape_vec(IxDyn(&[1, 2, SIDE, SIDE]), x).unwrap();
        for level in [Optimization::Off, Optimization::All] {
            assert_eq!(run(&masked, &x, level), run(&e.model, &x, level));
        }
    }
}

/// Of opset 7, which has no `ConstantOfShape`.
#[test]
fn the_plane_is_a_constant_in_old_opsets() {
    let (mut model, first) = model("Conv", &[16, 12, 3, 3], vec![ints("pads", &[1; 4])]);
    model.opset_import[0].version = Some(7);
    let (ops, kept, _) = fold(&model, &first, &[1, 2, 6]);
    assert_eq!(kept.len(), 9);
    assert_eq!(ops, ["Conv", "Add", "Conv", "Conv", "Add"]);
}

/// A constant that differs at a border is constant no more: what mixes nothing cannot take it in.
#[test]
fn a_padded_depthwise_convolution_keeps_constant_channels() {
    let (model, first) = {
        let mut b = Builder::new(&[2, SIDE as i64, SIDE as i64]);
        let w = b.weight(&[FILTERS, 2, 1, 1], values(FILTERS * 2, 5));
        let first = b.node("Conv", &["x", &w], vec![]);
        let shift = b.weight(&[FILTERS, 1, 1], vec![0.5; FILTERS]);
        let x = b.node("Add", &[&first, &shift], vec![]);
        let w = b.weight(&[FILTERS, 1, 3, 3], values(FILTERS * 9, 3));
        let group = ("group", Attr::Int(FILTERS as i64));
        let d = b.node("Conv", &[&x, &w], vec![ints("pads", &[1; 4]), group]);
        let w = b.weight(&[2, FILTERS, 1, 1], values(FILTERS * 2, 3));
        let last = b.node("Conv", &[&d, &w], vec![]);
        (b.model(&[&last]), first)
    };
    let mut masks = FilterMasks::default();
    masks.prune(&first, FILTERS, [1, 2, 6]);
    let masked = apply_masks(&model, &masks, Removal::Fold).unwrap().model;
    let e = eliminate_with(&masked, &EliminateOptions::default()).unwrap();
    assert_eq!(e.layers[0].kept.len(), FILTERS);
    let reason = e.layers[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("differs at a border"), "{reason}");
}
