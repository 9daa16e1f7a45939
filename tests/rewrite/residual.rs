//! Residual streams: producers are cut together, or one by one and scattered back.
//!
//! All numbers are small dyadic ones, so sums are exact in any order.

use std::collections::BTreeMap;

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    EliminateOptions, FilterMasks, Removal, Residual, apply_masks, eliminate_with,
};
use onnx_bnnprune::verify::Optimization;

const WIDTH: usize = 16;

fn values(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0)
        .collect()
}

fn conv(b: &mut Builder, x: &str, inputs: usize) -> String {
    let w = b.weight(&[WIDTH, inputs, 3, 3], values(WIDTH * inputs * 9, 1));
    b.node("Conv", &[x, &w], vec![("pads", Attr::Ints(vec![1; 4]))])
}

/// Two blocks `stream + (conv → shift → sign)` behind a stem, and a head; names of stem and blocks.
/// `shift` is what follows each block's convolution.
fn residual(op: &str, shift: f32) -> (ModelProto, [String; 3]) {
    let mut b = Builder::new(&[2, 6, 6]);
    let stem = conv(&mut b, "x", 2);
    let mut stream = stem.clone();
    let mut names = vec![stem];
    for _ in 0..2 {
        let signs = b.node("Sign", &[&stream], vec![]);
        let c = conv(&mut b, &signs, WIDTH);
        let by = b.weight(&[1, WIDTH, 1, 1], vec![shift; WIDTH]);
        let moved = b.node("Add", &[&c, &by], vec![]);
        stream = b.node(op, &[&stream, &moved], vec![]);
        names.push(c);
    }
    let pooled = b.node("GlobalMaxPool", &[&stream], vec![]);
    let flat = b.node("Flatten", &[&pooled], vec![]);
    let w = b.weight(&[WIDTH, 3], values(WIDTH * 3, 5));
    let last = b.node("Gemm", &[&flat, &w], vec![]);
    (b.model(&[&last]), names.try_into().unwrap())
}

fn cut(
    model: &ModelProto,
    pruned: &[(&str, &[usize])],
    (removal, residual): (Removal, Residual),
) -> (BTreeMap<String, usize>, String, ModelProto) {
    let mut masks = FilterMasks::default();
    for (layer, list) in pruned {
        masks.prune(layer, WIDTH, list.iter().copied());
    }
    let masked = apply_masks(model, &masks, removal).unwrap().model;
    let options = EliminateOptions {
        residual,
        ..EliminateOptions::default()
    };
    let e = eliminate_with(&masked, &options).unwrap();
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 6, 6]), values(144, 3)).unwrap();
    let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
    assert_ne!(run(model), run(&masked), "the masks move nothing");
    assert_eq!(run(&masked), run(&e.model));
    let kept = e.layers.into_iter().map(|l| (l.name, l.kept.len()));
    (kept.collect(), e.plan, e.model)
}

fn count(model: &ModelProto, op: &str) -> usize {
    let nodes = &model.graph.as_ref().unwrap().node;
    nodes.iter().filter(|n| n.op_type() == op).count()
}

#[test]
fn a_scattered_branch_loses_its_own_filters() {
    for (op, shift, adds) in [("Add", 0.0, 2), ("Add", 0.5, 4), ("Sum", 0.5, 2)] {
        let (model, [stem, a, c]) = residual(op, shift);
        let masks: &[(&str, &[usize])] = &[(&a, &[1, 2, 7]), (&c, &[0, 7, 9, 15])];
        for removal in [Removal::Drop, Removal::Fold] {
            let (kept, ..) = cut(&model, masks, (removal, Residual::Coupled));
            assert_eq!((kept[&a], kept[&c]), (WIDTH, WIDTH));
            let (kept, plan, pruned) = cut(&model, masks, (removal, Residual::Scatter));
            assert_eq!((kept[&stem], kept[&a], kept[&c]), (16, 13, 12), "{plan}");
            assert_eq!(count(&pruned, "Gather"), 2, "{plan}");
            assert_eq!(count(&pruned, "Add"), 2 + adds);
            assert!(plan.contains("scattered"), "{plan}");
        }
    }
}

#[test]
fn a_channel_that_all_producers_lose_leaves_the_stream() {
    let (model, [stem, a, c]) = residual("Add", 0.0);
    let both: &[usize] = &[3, 4];
    let masks: &[(&str, &[usize])] = &[(&stem, both), (&a, &[3, 4, 5]), (&c, both)];
    let (kept, plan, pruned) = cut(&model, masks, (Removal::Drop, Residual::Coupled));
    assert_eq!((kept[&stem], kept[&a], kept[&c]), (14, 14, 14), "{plan}");
    assert_eq!(count(&pruned, "Gather"), 0);
    let (kept, plan, pruned) = cut(&model, masks, (Removal::Drop, Residual::Scatter));
    assert_eq!((kept[&stem], kept[&a], kept[&c]), (14, 13, 14), "{plan}");
    assert_eq!(count(&pruned, "Gather"), 1, "{plan}");
}

#[test]
fn scattering_that_costs_more_than_it_saves_is_left() {
    // A 1x1 convolution of two channels: cheaper than moving sixteen around.
    let mut b = Builder::new(&[2, 6, 6]);
    let stem = conv(&mut b, "x", 2);
    let w = b.weight(&[WIDTH, 2, 1, 1], values(WIDTH * 2, 4));
    let side = b.node("Conv", &["x", &w], vec![]);
    let sum = b.node("Add", &[&stem, &side], vec![]);
    let last = conv(&mut b, &sum, WIDTH);
    let model = b.model(&[&last]);
    let masks: &[(&str, &[usize])] = &[(&side, &[1, 2])];
    let (kept, plan, pruned) = cut(&model, masks, (Removal::Fold, Residual::Scatter));
    assert_eq!(kept[&side], WIDTH, "{plan}");
    assert!(plan.contains("would cost more than it saves"), "{plan}");
    assert_eq!(count(&pruned, "Gather"), 0);
}

/// A gate's masked filters are 1/2 everywhere: they go from the layer that makes the gate, and come
/// back as constants in front of the product.
#[test]
fn the_filters_of_a_gate_are_scattered_too() {
    let mut b = Builder::new(&[2, 6, 6]);
    let stem = conv(&mut b, "x", 2);
    let pooled = b.node("GlobalMaxPool", &[&stem], vec![]);
    let wide = 64;
    let w = b.weight(&[wide, WIDTH, 1, 1], values(WIDTH * wide, 1));
    let squeezed = b.node("Conv", &[&pooled, &w], vec![]);
    let signs = b.node("Sign", &[&squeezed], vec![]);
    let w = b.weight(&[WIDTH, wide, 1, 1], values(WIDTH * wide, 2));
    let excited = b.node("Conv", &[&signs, &w], vec![]);
    // Hard sigmoid of dyadic numbers: max(0, min(1, x / 4 + 1 / 2)).
    let hard = vec![("alpha", Attr::Float(0.25)), ("beta", Attr::Float(0.5))];
    let gate = b.node("HardSigmoid", &[&excited], hard);
    let product = b.node("Mul", &[&stem, &gate], vec![]);
    let last = conv(&mut b, &product, WIDTH);
    let model = b.model(&[&last]);
    let masks: &[(&str, &[usize])] = &[(&excited, &[1, 2, 7])];
    for removal in [Removal::Drop, Removal::Fold] {
        let (kept, ..) = cut(&model, masks, (removal, Residual::Coupled));
        assert_eq!((kept[&stem], kept[&excited]), (WIDTH, WIDTH));
        let (kept, plan, pruned) = cut(&model, masks, (removal, Residual::Scatter));
        assert_eq!((kept[&stem], kept[&excited]), (WIDTH, WIDTH - 3), "{plan}");
        assert_eq!(count(&pruned, "Gather"), 1, "{plan}");
    }
    // Where the stream itself is zero, the gate's channel is not needed.
    let masks: &[(&str, &[usize])] = &[(&stem, &[1, 2, 7])];
    let (kept, plan, pruned) = cut(&model, masks, (Removal::Drop, Residual::Coupled));
    assert_eq!((kept[&stem], kept[&excited]), (13, 13), "{plan}");
    assert_eq!(count(&pruned, "Gather"), 0, "{plan}");
}
