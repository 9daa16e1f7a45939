//! Every kind of layer that mixes channels, and depthwise convolutions: masked and pruned model
//! give the same in ONNX Runtime, and filters are really gone.
//!
//! All numbers are small dyadic ones, so sums are exact in any order.

use std::collections::BTreeMap;

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{EliminateOptions, FilterMasks, Removal, apply_masks, eliminate_with};
use onnx_bnnprune::verify::Optimization;

fn values(n: usize, salt: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (((i + salt) * 37 % 23) as f32 - 11.0) / 4.0)
        .collect()
}

fn weight(b: &mut Builder, shape: &[usize]) -> String {
    let n = shape.iter().product();
    b.weight(shape, values(n, shape.len()))
}

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

fn conv(b: &mut Builder, x: &str, shape: &[usize], pad: i64, group: i64) -> String {
    let w = weight(b, shape);
    let bias = weight(b, &[shape[0]]);
    let attributes = vec![("pads", ints(&[pad; 4])), ("group", Attr::Int(group))];
    b.node("Conv", &[x, &w, &bias], attributes)
}

fn transposed(b: &mut Builder, x: &str, shape: &[usize], attributes: Vec<(&str, Attr)>) -> String {
    let w = weight(b, shape);
    b.node("ConvTranspose", &[x, &w], attributes)
}

/// What is left of each layer after masking `pruned` filters of `layer`; checked against the
/// masked model in ONNX Runtime, which the masks must have moved.
fn left(model: &ModelProto, pruned: &[(&str, usize, &[usize])], removal: Removal) -> Left {
    left_with(model, pruned, removal, &EliminateOptions::default())
}

fn left_with(
    model: &ModelProto,
    pruned: &[(&str, usize, &[usize])],
    removal: Removal,
    options: &EliminateOptions,
) -> Left {
    let mut masks = FilterMasks::default();
    for (layer, filters, list) in pruned {
        masks.prune(layer, *filters, list.iter().copied());
    }
    let masked = apply_masks(model, &masks, removal).unwrap().model;
    let e = eliminate_with(&masked, options).unwrap();
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 5, 5]), values(100, 3)).unwrap();
    let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
    assert_ne!(run(model), run(&masked), "the masks move nothing");
    assert_eq!(run(&masked), run(&e.model));
    let text = e.plan;
    let layers = e.layers.into_iter();
    let kept = layers
        .map(|l| (l.name, (l.kept, l.reason)))
        .collect::<BTreeMap<_, _>>();
    Left { kept, text }
}

struct Left {
    kept: BTreeMap<String, (Vec<usize>, Option<String>)>,
    text: String,
}

impl Left {
    fn of(&self, layer: &str) -> &[usize] {
        &self.kept[layer].0
    }

    fn reason(&self, layer: &str) -> &str {
        self.kept[layer].1.as_deref().unwrap_or_default()
    }
}

const DROP: Removal = Removal::Drop;
const FOLD: Removal = Removal::Fold;

#[test]
fn a_depthwise_convolution_goes_with_the_channels_it_reads() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[4, 2, 1, 1], 0, 1);
    let relu = b.node("Relu", &[&a], vec![]);
    let d = conv(&mut b, &relu, &[4, 1, 3, 3], 1, 4);
    let last = conv(&mut b, &d, &[3, 4, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    for removal in [DROP, FOLD] {
        let l = left(&model, &[(&a, 4, &[1, 3])], removal);
        assert_eq!(l.of(&a), [0, 2], "{}", l.text);
        assert_eq!(l.of(&d), [0, 2]);
    }
    // A masked depthwise filter takes its input channel along.
    let l = left(&model, &[(&d, 4, &[0])], DROP);
    assert_eq!((l.of(&a), l.of(&d)), (&[1, 2, 3][..], &[1, 2, 3][..]));
}

#[test]
fn a_depthwise_convolution_with_a_multiplier_goes_by_input_channel() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[3, 2, 1, 1], 0, 1);
    let d = conv(&mut b, &a, &[6, 1, 3, 3], 1, 3);
    let last = conv(&mut b, &d, &[2, 6, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    let l = left(&model, &[(&a, 3, &[1])], DROP);
    assert_eq!((l.of(&a), l.of(&d)), (&[0, 2][..], &[0, 1, 4, 5][..]));
    // One of a channel's two filters alone cannot go.
    let l = left(&model, &[(&d, 6, &[2])], DROP);
    assert_eq!(l.of(&d).len(), 6);
    assert!(!l.reason(&d).is_empty());
    let l = left(&model, &[(&d, 6, &[2, 3])], DROP);
    assert_eq!((l.of(&a), l.of(&d)), (&[0, 2][..], &[0, 1, 4, 5][..]));
}

#[test]
fn groups_of_a_convolution_keep_as_many_channels_as_each_other() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[6, 2, 1, 1], 0, 1);
    let relu = b.node("Relu", &[&a], vec![]);
    let g = conv(&mut b, &relu, &[6, 3, 3, 3], 1, 2);
    let last = conv(&mut b, &g, &[2, 6, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    for removal in [DROP, FOLD] {
        // One of each group.
        let l = left(&model, &[(&a, 6, &[1, 5])], removal);
        assert_eq!(l.of(&a), [0, 2, 3, 4], "{}", l.text);
        assert_eq!(l.of(&g).len(), 6);
        let l = left(&model, &[(&g, 6, &[0, 4])], removal);
        assert_eq!(l.of(&g), [1, 2, 3, 5]);
        // Two of one and one of the other: the larger count stays.
        let l = left(&model, &[(&a, 6, &[0, 1, 5])], removal);
        assert_eq!(l.of(&a).len(), 4);
        assert!(l.reason(&a).contains("keep as many"), "{}", l.reason(&a));
        // A whole group.
        let l = left(&model, &[(&g, 6, &[3, 4, 5])], removal);
        assert_eq!((l.of(&a), l.of(&g)), (&[0, 1, 2][..], &[0, 1, 2][..]));
    }
}

#[test]
fn a_transposed_convolution_has_its_filters_on_the_second_axis() {
    let attributes = || vec![("strides", ints(&[2, 2]))];
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[4, 2, 3, 3], 1, 1);
    let t = transposed(&mut b, &a, &[4, 3, 2, 2], attributes());
    let last = conv(&mut b, &t, &[2, 3, 3, 3], 1, 1);
    let model = b.model(&[&last]);
    for removal in [DROP, FOLD] {
        let l = left(&model, &[(&a, 4, &[0, 2]), (&t, 3, &[1])], removal);
        assert_eq!((l.of(&a), l.of(&t)), (&[1, 3][..], &[0, 2][..]));
    }
}

#[test]
fn a_transposed_convolution_takes_constants_in_as_a_map() {
    // Overlapping windows, cropped and extended output: every position meets other weights.
    let attributes = vec![
        ("strides", ints(&[2, 3])),
        ("pads", ints(&[1, 0, 0, 2])),
        ("output_padding", ints(&[1, 0])),
        ("dilations", ints(&[1, 2])),
    ];
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[40, 2, 3, 3], 0, 1);
    let shift = b.weight(&[1, 40, 1, 1], values(40, 8));
    let add = b.node("Add", &[&a, &shift], vec![]);
    let t = transposed(&mut b, &add, &[40, 4, 3, 2], attributes);
    let model = b.model(&[&t]);
    let pruned: Vec<usize> = (0..39).collect();
    let l = left(&model, &[(&a, 40, &pruned)], FOLD);
    assert_eq!(l.of(&a), [39], "{}", l.text);
    assert!(l.text.contains("border map"), "{}", l.text);
}

#[test]
fn a_grouped_transposed_convolution_is_cut_like_a_grouped_one() {
    let group = |n| vec![("group", Attr::Int(n))];
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[6, 2, 1, 1], 0, 1);
    let t = transposed(&mut b, &a, &[6, 2, 2, 2], group(2));
    let d = transposed(&mut b, &t, &[4, 1, 2, 2], group(4));
    let last = conv(&mut b, &d, &[2, 4, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    let l = left(&model, &[(&a, 6, &[0, 4]), (&t, 4, &[1, 2])], DROP);
    assert_eq!(l.of(&a), [1, 2, 3, 5], "{}", l.text);
    assert_eq!((l.of(&t), l.of(&d)), (&[0, 3][..], &[0, 3][..]));
}

#[test]
fn gemm_takes_any_transposes_alpha_and_beta() {
    for (ta, tb) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut b = Builder::new(&[2, 5, 5]);
        let a = conv(&mut b, "x", &[4, 2, 5, 5], 0, 1);
        let mut x = b.node("Flatten", &[&a], vec![]);
        if ta == 1 {
            x = b.node("Transpose", &[&x], vec![]);
        }
        let w = weight(&mut b, if tb == 1 { &[3, 4] } else { &[4, 3] });
        let c = weight(&mut b, &[3]);
        let attributes = vec![
            ("transA", Attr::Int(ta)),
            ("transB", Attr::Int(tb)),
            ("alpha", Attr::Float(0.5)),
            ("beta", Attr::Float(2.0)),
        ];
        let g = b.node("Gemm", &[&x, &w, &c], attributes);
        let w = weight(&mut b, &[3, 2]);
        let last = b.node("Gemm", &[&g, &w], vec![]);
        let model = b.model(&[&last]);
        for removal in [DROP, FOLD] {
            let l = left(&model, &[(&a, 4, &[1]), (&g, 3, &[0])], removal);
            assert_eq!((l.of(&a), l.of(&g)), (&[0, 2, 3][..], &[1, 2][..]));
        }
    }
}

#[test]
fn the_constant_matrix_may_stand_on_the_left() {
    for op in ["MatMul", "Gemm"] {
        let mut b = Builder::new(&[2, 5, 5]);
        let a = conv(&mut b, "x", &[4, 2, 5, 5], 0, 1);
        let flat = b.node("Flatten", &[&a], vec![]);
        // [channels, samples]
        let x = b.node("Transpose", &[&flat], vec![]);
        let shift = b.weight(&[4, 1], values(4, 9));
        let x = b.node("Add", &[&x, &shift], vec![]);
        let w = weight(&mut b, &[3, 4]);
        let mut inputs = vec![w.as_str(), &x];
        let c = weight(&mut b, &[3, 1]);
        if op == "Gemm" {
            inputs.push(&c);
        }
        let m = b.node(op, &inputs, vec![]);
        let w = weight(&mut b, &[2, 3]);
        let last = b.node("MatMul", &[&w, &m], vec![]);
        let model = b.model(&[&last]);
        for removal in [DROP, FOLD] {
            let l = left(&model, &[(&a, 4, &[1]), (&m, 3, &[0])], removal);
            assert_eq!(l.of(&a), [0, 2, 3], "{op}: {}", l.text);
            assert_eq!(l.of(&m), [1, 2], "{op}: {}", l.text);
        }
    }
}

#[test]
fn filters_are_kept_in_multiples() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[12, 2, 3, 3], 0, 1);
    let last = conv(&mut b, &a, &[3, 12, 3, 3], 0, 1);
    let model = b.model(&[&last]);
    let options = EliminateOptions {
        round_to: 8,
        ..EliminateOptions::default()
    };
    let masked: &[(&str, usize, &[usize])] = &[(&a, 12, &[0, 1, 2, 3, 4, 5])];
    let l = left_with(&model, masked, DROP, &options);
    assert_eq!(l.of(&a), [0, 1, 6, 7, 8, 9, 10, 11]);
    assert!(l.reason(&a).contains("--round-to"), "{}", l.reason(&a));
    // A layer narrower than that keeps what it has.
    assert_eq!(l.of(&last).len(), 3);
}

#[test]
fn a_channel_shuffle_becomes_a_gather_where_channels_go() {
    let mut b = Builder::new(&[2, 5, 5]);
    let a = conv(&mut b, "x", &[6, 2, 1, 1], 0, 1);
    let split = b.ints(&[0, 2, 3, 5, 5]);
    let r = b.node("Reshape", &[&a, &split], vec![]);
    let t = b.node("Transpose", &[&r], vec![("perm", ints(&[0, 2, 1, 3, 4]))]);
    let merged = b.ints(&[0, -1, 5, 5]);
    let s = b.node("Reshape", &[&t, &merged], vec![]);
    let d = conv(&mut b, &s, &[6, 1, 3, 3], 1, 6);
    let last = conv(&mut b, &d, &[2, 6, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    for removal in [DROP, FOLD] {
        let l = left(&model, &[(&a, 6, &[1, 2, 3])], removal);
        assert_eq!(l.of(&a), [0, 4, 5], "{}", l.text);
        // Channel j of the shuffled is channel j / 2 + j % 2 · 3 of the other.
        assert_eq!(l.of(&d), [0, 3, 5]);
    }
}

/// What one grouped convolution writes, shuffled, another one reads: the filters that stay to make
/// one even are those that make the other even too.
#[test]
fn groups_on_both_sides_of_a_shuffle() {
    let mut b = Builder::new(&[2, 5, 5]);
    let stem = conv(&mut b, "x", &[4, 2, 1, 1], 0, 1);
    let a = conv(&mut b, &stem, &[16, 2, 1, 1], 0, 2);
    let split = b.ints(&[0, 2, 8, 5, 5]);
    let r = b.node("Reshape", &[&a, &split], vec![]);
    let t = b.node("Transpose", &[&r], vec![("perm", ints(&[0, 2, 1, 3, 4]))]);
    let merged = b.ints(&[0, 16, 5, 5]);
    let s = b.node("Reshape", &[&t, &merged], vec![]);
    let g = conv(&mut b, &s, &[6, 8, 3, 3], 1, 2);
    let last = conv(&mut b, &g, &[2, 6, 1, 1], 0, 1);
    let model = b.model(&[&last]);
    // The other convolution reads 0 to 3 and 8 to 11 in its first group: of that two are masked,
    // of the second four, so two of those stay, one of each group of the first convolution.
    let l = left(&model, &[(&a, 16, &[0, 5, 6, 8, 12, 13])], DROP);
    assert_eq!(l.of(&a).len(), 12, "{}", l.text);
}
