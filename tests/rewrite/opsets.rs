//! What older operator sets hold as attributes, and newer ones as inputs: elimination reads and
//! writes both.

use crate::graphs::around::{around, declined, goes_at, ints, left, one, values};
use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    EliminateOptions, FilterMasks, Removal, Residual, apply_masks, eliminate_with,
};
use onnx_bnnprune::verify::Optimization;

#[test]
fn attributes_that_became_inputs() {
    for opset in [7, 8, 9, 10] {
        let clip = || vec![("min", Attr::Float(-1.0)), ("max", Attr::Float(1.5))];
        goes_at(opset, 128, one("Clip", clip()));
        let pads = |v: &[i64]| vec![("pads", ints(v)), ("value", Attr::Float(0.0))];
        goes_at(opset, 160, one("Pad", pads(&[0, 0, 0, 0, 0, 0, 1, 0])));
        goes_at(opset, 192, one("Pad", pads(&[0, 1, 0, 0, 0, 3, 0, 0])));
        goes_at(
            opset,
            128,
            one("Dropout", vec![("ratio", Attr::Float(0.5))]),
        );
        goes_at(opset, 8, |b, x| {
            let axes = vec![("axes", ints(&[2, 3]))];
            let sum = b.node("ReduceSum", &[x], axes);
            let flat = b.node("Squeeze", &[&sum], vec![("axes", ints(&[2, 3]))]);
            b.node("Unsqueeze", &[&flat], vec![("axes", ints(&[2]))])
        });
        goes_at(opset, 128, |b, x| {
            let split = vec![("axis", Attr::Int(1)), ("split", ints(&[3, 5]))];
            let parts = b.split("Split", &[x], 2, split);
            let first = b.node("Relu", &[&parts[0]], vec![]);
            b.node("Concat", &[&parts[1], &first], vec![("axis", Attr::Int(1))])
        });
        goes_at(opset, 128, |b, x| {
            let shape = b.ints(&[0, 8, 16]);
            b.node("Reshape", &[x, &shape], vec![])
        });
    }
}

#[test]
fn slices_by_attributes() {
    for opset in [7, 8, 9] {
        let slice = |b: &mut Builder, x: &str, [start, end, axis]: [i64; 3]| {
            let list = vec![
                ("starts", ints(&[start])),
                ("ends", ints(&[end])),
                ("axes", ints(&[axis])),
            ];
            b.node("Slice", &[x], list)
        };
        goes_at(opset, 64, move |b, x| slice(b, x, [1, 3, 2]));
        goes_at(opset, 128, move |b, x| {
            let (head, tail) = (slice(b, x, [0, 3, 1]), slice(b, x, [-5, 99, 1]));
            b.node("Concat", &[&tail, &head], vec![("axis", Attr::Int(1))])
        });
    }
}

#[test]
fn upsampling_by_scales() {
    let nearest = |scales| vec![("mode", Attr::Text("nearest")), ("scales", scales)];
    let double = || Attr::Floats(vec![1.0, 1.0, 2.0, 2.0]);
    for opset in [7, 8] {
        goes_at(opset, 512, one("Upsample", nearest(double())));
    }
    for (opset, op) in [(9, "Upsample"), (10, "Resize")] {
        goes_at(opset, 512, move |b, x| {
            let scales = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
            b.node(op, &[x, &scales], vec![("mode", Attr::Text("nearest"))])
        });
    }
}

/// Before opset 14 the outputs say whether it trains, and before 9 it could have a value for each
/// position.
#[test]
fn batch_normalisation_of_any_age() {
    fn norm(b: &mut Builder, x: &str, attributes: Vec<(&'static str, Attr)>) -> String {
        let p = [
            [0.5, -1.0, 2.0, 1.0],
            [1.0, 0.5, -1.0, 0.0],
            [0.0; 4],
            [1.0; 4],
        ];
        let p = p.map(|v| b.weight(&[8], [v, v].concat()));
        let inputs = [x, &p[0], &p[1], &p[2], &p[3]];
        let mut list = vec![("epsilon", Attr::Float(0.0))];
        list.extend(attributes);
        b.node("BatchNormalization", &inputs, list)
    }
    for opset in [7, 8, 9, 11] {
        goes_at(opset, 128, |b, x| norm(b, x, vec![]));
    }
    let why = declined(128, |b, x| norm(b, x, vec![("spatial", Attr::Int(0))]));
    assert!(why.contains("normalises each position by itself"), "{why}");
}

/// A scattered branch is padded by a node whose amounts were an attribute before opset 11.
#[test]
fn residual_branches_are_scattered() {
    for opset in [7, 9, 11, 17] {
        let (model, _) = around(opset, 128, |b, x| {
            let w = b.weight(&[8, 8, 3, 3], values(576, 4));
            let pads = || vec![("pads", ints(&[1; 4]))];
            let branch = b.node("Conv", &[x, &w], pads());
            b.node("Add", &[x, &branch], vec![])
        });
        let branch = "conv5";
        let mut masks = FilterMasks::default();
        masks.prune(branch, 8, [1, 2, 6]);
        let masked = apply_masks(&model, &masks, Removal::Fold).unwrap().model;
        let options = EliminateOptions {
            residual: Residual::Scatter,
            ..EliminateOptions::default()
        };
        let e = eliminate_with(&masked, &options).unwrap();
        let layer = e.layers.iter().find(|l| l.name == branch).unwrap();
        assert_eq!(layer.kept.len(), 5, "{}", e.plan);
        let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 4, 4]), values(64, 3)).unwrap();
        let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
        assert_ne!(run(&model), run(&masked));
        assert_eq!(run(&masked), run(&e.model));
    }
}

/// All axes from the given one on together, before opset 13.
#[test]
fn an_old_softmax_over_the_channels_too() {
    let (model, a) = around(9, 128, one("Softmax", vec![("axis", Attr::Int(1))]));
    let [drop, fold] = left(&model, &a, &[1, 2, 6], 1e-5);
    assert_eq!((drop.len(), fold.len()), (8, 8));
}
