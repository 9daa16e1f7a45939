//! Masks and elimination on small graphs made by hand: one property each.

use std::collections::BTreeMap;

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::{ModelProto, ValueInfoProto};
use onnx_bnnprune::rewrite::{
    Analysis, EliminateOptions, FilterMasks, Note, Removal, apply_masks, eliminate, eliminate_with,
};
use onnx_bnnprune::verify::Optimization;

/// Weights ±1 that differ from filter to filter.
fn weights(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| if (i * i / 3 + i) % 2 == 0 { 1.0 } else { -1.0 })
        .collect()
}

fn conv(b: &mut Builder, x: &str, o: usize, i: usize, k: usize, pad: i64) -> String {
    let w = b.weight(&[o, i, k, k], weights(o * i * k * k));
    b.node("Conv", &[x, &w], vec![("pads", Attr::Ints(vec![pad; 4]))])
}

fn gemm(b: &mut Builder, x: &str, i: usize) -> String {
    let w = b.weight(&[3, i], weights(3 * i));
    b.node("Gemm", &[x, &w], vec![("transB", Attr::Int(1))])
}

fn input(shape: &[usize]) -> ArrayD<f32> {
    let n: usize = shape.iter().product();
    let v = (0..n)
        .map(|i| ((i * 7 + 3) % 11) as f32 / 4.0 - 1.25)
        .collect();
    ArrayD::from_shape_vec(IxDyn(shape), v).unwrap()
}

fn masks(layer: &str, filters: usize, pruned: &[usize]) -> FilterMasks {
    let mut masks = FilterMasks::default();
    masks.prune(layer, filters, pruned.iter().copied());
    masks
}

/// Masks, eliminates, and checks that both give the same; the pruned model and kept filters.
fn pruned(model: &ModelProto, masks: &FilterMasks, removal: Removal) -> (ModelProto, Kept) {
    let masked = apply_masks(model, masks, removal).unwrap().model;
    let e = eliminate(&masked).unwrap();
    let x = input(&[2, 2, 6, 6]);
    let level = Optimization::All;
    assert_eq!(run(&masked, &x, level), run(&e.model, &x, level));
    let kept = e.layers.into_iter().map(|l| (l.name, l.kept)).collect();
    (e.model, kept)
}

type Kept = BTreeMap<String, Vec<usize>>;

fn shape_of(model: &ModelProto, initializer: &str) -> Vec<i64> {
    let g = model.graph.as_ref().unwrap();
    let t = g.initializer.iter().find(|t| t.name() == initializer);
    t.unwrap_or_else(|| panic!("no initializer {initializer}"))
        .dims
        .clone()
}

/// conv(4 filters) → Sign → conv(3) → Flatten → Gemm; names of the two convolutions.
fn chain() -> (ModelProto, String, String) {
    let mut b = Builder::new(&[2, 6, 6]);
    let a = conv(&mut b, "x", 4, 2, 3, 1);
    let s = b.node("Sign", &[&a], vec![]);
    let c = conv(&mut b, &s, 3, 4, 3, 0);
    let f = b.node("Flatten", &[&c], vec![]);
    let y = gemm(&mut b, &f, 48);
    (b.model(&[&y]), a, c)
}

#[test]
fn a_model_with_nothing_to_remove_comes_back_unchanged() {
    let (model, ..) = chain();
    assert_eq!(eliminate(&model).unwrap().model, model);
    let none = apply_masks(&model, &FilterMasks::default(), Removal::Drop).unwrap();
    assert_eq!(none.model, model);
}

#[test]
fn added_initializers_need_an_ir_version_that_allows_them() {
    let (mut model, a, _) = chain();
    model.ir_version = Some(3);
    // As that version asks for; what is listed may be overridden, and is not changed in its place.
    let graph = model.graph.as_mut().unwrap();
    let listed = graph.initializer.iter().map(|t| ValueInfoProto {
        name: t.name.clone(),
        ..ValueInfoProto::default()
    });
    graph.input.extend(listed.collect::<Vec<_>>());
    assert_eq!(eliminate(&model).unwrap().model.ir_version, Some(3));
    let (out, _) = pruned(&model, &masks(&a, 4, &[1, 2]), Removal::Drop);
    assert_eq!(out.ir_version, Some(4));
}

#[test]
fn what_is_not_touched_stays_the_same() {
    let (model, a, c) = chain();
    let (out, kept) = pruned(&model, &masks(&a, 4, &[1, 2]), Removal::Drop);
    assert_eq!(kept[&a], [0, 3]);
    assert_eq!(kept[&c], [0, 1, 2]);
    let (old, new) = (model.graph.unwrap(), out.graph.unwrap());
    assert_eq!(old.node, new.node);
    assert_eq!((old.input, old.output), (new.input, new.output));
    // First convolution's filters, second one's columns; the Gemm's weights stay.
    assert_eq!(new.initializer[0].dims, [2, 2, 3, 3]);
    assert_eq!(new.initializer[1].dims, [3, 2, 3, 3]);
    assert_eq!(new.initializer[2], old.initializer[2]);
}

#[test]
fn a_kept_layer_stays_whole_and_the_others_do_not() {
    let (model, a, c) = chain();
    let mut both = masks(&a, 4, &[1, 2]);
    both.prune(&c, 3, [0]);
    let masked = apply_masks(&model, &both, Removal::Drop).unwrap().model;
    let options = EliminateOptions {
        keep: vec![a.clone()],
        ..EliminateOptions::default()
    };
    let e = eliminate_with(&masked, &options).unwrap();
    let kept: Kept = e.layers.into_iter().map(|l| (l.name, l.kept)).collect();
    assert_eq!(kept[&a], [0, 1, 2, 3]);
    assert_eq!(kept[&c], [1, 2]);
    let x = input(&[2, 2, 6, 6]);
    let level = Optimization::All;
    assert_eq!(run(&masked, &x, level), run(&e.model, &x, level));
}

#[test]
fn columns_behind_a_flatten_go_in_blocks() {
    let (model, _, c) = chain();
    let (out, kept) = pruned(&model, &masks(&c, 3, &[1]), Removal::Drop);
    assert_eq!(kept[&c], [0, 2]);
    let gemm = &out.graph.unwrap().initializer[2];
    assert_eq!(gemm.dims, [3, 32]);
}

#[test]
fn stale_value_info_is_dropped_and_other_value_info_kept() {
    let (mut model, a, c) = chain();
    let g = model.graph.as_mut().unwrap();
    g.value_info = vec![crate::graphs::undeclared(&a), crate::graphs::undeclared(&c)];
    let (out, _) = pruned(&model, &masks(&a, 4, &[0]), Removal::Drop);
    let names: Vec<String> = out
        .graph
        .unwrap()
        .value_info
        .iter()
        .map(|v| v.name().to_owned())
        .collect();
    assert_eq!(names, [c]);
}

/// Found on a file of torch's dynamo exporter: it lists the shapes of weights as value_info too.
#[test]
fn value_info_of_a_cut_weight_is_dropped() {
    let (mut model, a, _) = chain();
    let g = model.graph.as_mut().unwrap();
    let weight = g.initializer[0].name().to_owned();
    g.value_info = vec![crate::graphs::undeclared(&weight)];
    let (out, _) = pruned(&model, &masks(&a, 4, &[0]), Removal::Drop);
    assert!(out.graph.unwrap().value_info.is_empty());
}

#[test]
fn shared_initializers_are_copied_before_they_are_cut() {
    let mut b = Builder::new(&[2, 6, 6]);
    let w = b.weight(&[2, 2, 1, 1], vec![1.0, -1.0, 1.0, 1.0]);
    let first = b.node("Conv", &["x", &w], vec![]);
    let second = b.node("Conv", &[&first, &w], vec![]);
    let f = b.node("Flatten", &[&second], vec![]);
    let y = gemm(&mut b, &f, 72);
    let model = b.model(&[&y]);
    let (out, kept) = pruned(&model, &masks(&second, 2, &[0]), Removal::Drop);
    assert_eq!(
        (&kept[&first][..], &kept[&second][..]),
        (&[0, 1][..], &[1][..])
    );
    assert_eq!(shape_of(&out, &w), [2, 2, 1, 1]);
    let g = out.graph.unwrap();
    assert_eq!(g.node[0].input[1], w);
    assert_ne!(g.node[1].input[1], w);
}

#[test]
fn live_weight_chains_are_evaluated_and_removed() {
    let mut b = Builder::new(&[2, 6, 6]);
    let latent = b.weight(
        &[4, 2, 1, 1],
        vec![0.3, -0.1, 0.2, 0.2, -0.5, 0.5, 0.0, 0.1],
    );
    let sign = b.node("Sign", &[&latent], vec![]);
    let abs = b.node("Abs", &[&latent], vec![]);
    let mean = b.node(
        "ReduceMean",
        &[&abs],
        vec![("axes", Attr::Ints(vec![1, 2, 3]))],
    );
    let w = b.node("Mul", &[&sign, &mean], vec![]);
    let a = b.node("Conv", &["x", &w], vec![]);
    let f = b.node("Flatten", &[&a], vec![]);
    let y = gemm(&mut b, &f, 144);
    let model = b.model(&[&y]);
    let masked = apply_masks(&model, &masks(&a, 4, &[1]), Removal::Fold).unwrap();
    assert_eq!(masked.notes, [Note::Evaluated { layer: a.clone() }]);
    let g = masked.model.graph.as_ref().unwrap();
    assert_eq!(g.node.len(), 3);
    assert!(g.initializer.iter().all(|t| t.name() != latent));
    let new = Tensor::from_proto(
        g.initializer
            .iter()
            .find(|t| t.dims == [4, 2, 1, 1])
            .unwrap(),
    );
    let scale = (0.3f32 + 0.1) / 2.0;
    let values: Vec<f32> = new.unwrap().as_f32().unwrap().iter().copied().collect();
    assert_eq!(values[..4], [scale, -scale, 0.0, 0.0]);
}

#[test]
fn a_dead_layer_keeps_one_filter() {
    let mut b = Builder::new(&[2, 6, 6]);
    let a = conv(&mut b, "x", 4, 2, 1, 0);
    let zeros = b.weight(&[3, 4, 1, 1], vec![0.0; 12]);
    let c = b.node("Conv", &[&a, &zeros], vec![]);
    let f = b.node("Flatten", &[&c], vec![]);
    let y = gemm(&mut b, &f, 108);
    let model = b.model(&[&y]);
    let (_, kept) = pruned(&model, &FilterMasks::default(), Removal::Drop);
    assert_eq!((kept[&a].len(), kept[&c].len()), (1, 1));
}

#[test]
fn constants_reach_gemm_and_matmul_biases() {
    for matmul in [false, true] {
        let mut b = Builder::new(&[2, 6, 6]);
        let w = b.weight(&[4, 2, 6, 6], weights(288));
        let bias = b.weight(&[4], vec![0.5, 1.0, -2.0, 0.25]);
        let a = b.node("Conv", &["x", &w, &bias], vec![]);
        let shift = b.weight(&[4, 1, 1], vec![1.0, 2.0, -1.0, 0.5]);
        let a2 = b.node("Add", &[&a, &shift], vec![]);
        let f = b.node("Flatten", &[&a2], vec![]);
        let y = if matmul {
            let w = b.weight(&[4, 3], weights(12));
            b.node("MatMul", &[&f, &w], vec![])
        } else {
            let w = b.weight(&[3, 4], weights(12));
            let c = b.weight(&[1, 3], vec![1.0, 2.0, 3.0]);
            let attributes = vec![
                ("transB", Attr::Int(1)),
                ("alpha", Attr::Float(2.0)),
                ("beta", Attr::Float(0.5)),
            ];
            b.node("Gemm", &[&f, &w, &c], attributes)
        };
        let model = b.model(&[&y]);
        let (_, kept) = pruned(&model, &masks(&a, 4, &[0, 2]), Removal::Fold);
        assert_eq!(kept[&a], [1, 3]);
    }
}

#[test]
fn residual_streams_are_cut_only_together() {
    let mut b = Builder::new(&[2, 6, 6]);
    let a = conv(&mut b, "x", 4, 2, 3, 1);
    let s = b.node("Sign", &[&a], vec![]);
    let c = conv(&mut b, &s, 4, 4, 3, 1);
    let sum = b.node("Add", &[&c, &a], vec![]);
    let f = b.node("Flatten", &[&sum], vec![]);
    let y = gemm(&mut b, &f, 144);
    let model = b.model(&[&y]);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let analysis = Analysis::new(&graph, &facts);
    assert_eq!(analysis.group_of(&a), analysis.group_of(&c));
    let group = &analysis.groups()[0];
    assert_eq!(
        (group.channels, &group.layers),
        (4, &vec![a.clone(), c.clone()])
    );
    let sites = analysis.mask_sites(group.id);
    assert_eq!(sites.len(), 2);
    assert_eq!(sites[1].filter_of.len(), 144);
    assert_eq!(sites[1].filter_of[35..37], [Some(0), Some(1)]);

    let (_, one) = pruned(&model, &masks(&c, 4, &[2]), Removal::Drop);
    assert_eq!(one[&c], [0, 1, 2, 3]);
    let mut both = masks(&c, 4, &[2]);
    both.prune(&a, 4, [2]);
    let (_, together) = pruned(&model, &both, Removal::Drop);
    assert_eq!(
        (&together[&a], &together[&c]),
        (&vec![0, 1, 3], &vec![0, 1, 3])
    );
}

#[test]
fn what_cannot_be_cut_is_declined_by_name() {
    let reason = |op: &str, attributes: Vec<(&str, Attr)>| {
        let mut b = Builder::new(&[2, 6, 6]);
        let a = conv(&mut b, "x", 4, 2, 1, 0);
        let z = b.node(op, &[&a], attributes);
        let f = b.node("Flatten", &[&z], vec![]);
        let y = gemm(&mut b, &f, 144);
        let model = b.model(&[&y]);
        let graph = Graph::new(&model).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
        // Masked all the same: as in fold, and said so.
        let masked = apply_masks(&model, &masks(&a, 4, &[1]), Removal::Drop).unwrap();
        assert!(matches!(masked.notes[..], [Note::MaskedAsFold { .. }]));
        let (_, kept) = pruned(&model, &masks(&a, 4, &[1]), Removal::Drop);
        assert_eq!(kept[&a].len(), 4);
        why
    };
    assert_eq!(
        reason("Softmax", vec![("axis", Attr::Int(1))]),
        "Softmax 'softmax3' mixes channels and has no columns to cut"
    );
    assert_eq!(
        reason("LRN", vec![("size", Attr::Int(3))]),
        "LRN 'lrn3' mixes channels and has no columns to cut"
    );
    assert_eq!(reason("Sin", vec![]), "Sin 'sin3' has no channel rule");
}

#[test]
fn a_domain_of_its_own_never_passes_for_a_standard_operator() {
    let (mut model, a, _) = chain();
    let sign = &mut model.graph.as_mut().unwrap().node[1];
    sign.domain = Some("com.example".to_owned());
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let why = Analysis::new(&graph, &facts).prunable(&a).unwrap_err();
    assert!(why.starts_with("com.example.Sign"), "{why}");
}

/// Shapes and attributes that contradict each other: an error or an untouched graph, never a panic.
#[test]
fn contradictory_graphs_do_not_panic() {
    let (model, a, _) = chain();
    let m = masks(&a, 4, &[1]);
    let attempt = |change: &dyn Fn(&mut ModelProto)| {
        let mut model = model.clone();
        change(&mut model);
        let _ = eliminate(&model);
        for removal in [Removal::Drop, Removal::Fold] {
            if let Ok(masked) = apply_masks(&model, &m, removal) {
                let _ = eliminate(&masked.model);
            }
        }
    };
    let dims: [&[i64]; 7] = [
        &[],
        &[0],
        &[4],
        &[4, 0, 3, 3],
        &[-1, 2],
        &[1, 1, 1, 1, 1],
        &[4, 2, 1],
    ];
    for d in dims {
        for k in 0..3 {
            attempt(&|m| {
                let t = &mut m.graph.as_mut().unwrap().initializer[k];
                t.dims = d.to_vec();
                let n = d.iter().product::<i64>().max(0) as usize;
                t.raw_data = Some(vec![0u8; 4 * n].into());
            });
        }
    }
    for n in 0..5 {
        attempt(&|m| m.graph.as_mut().unwrap().node[n].input.clear());
        attempt(&|m| m.graph.as_mut().unwrap().node[n].output.clear());
        attempt(&|m| m.graph.as_mut().unwrap().node[n].input[0].clear());
        attempt(&|m| {
            let g = m.graph.as_mut().unwrap();
            for a in &mut g.node[n].attribute {
                a.ints = vec![i64::MAX, -5, 7];
                a.i = Some(-9);
            }
        });
        for op in [
            "Concat",
            "BatchNormalization",
            "Where",
            "Pad",
            "PRelu",
            "Reshape",
            "Shape",
        ] {
            attempt(&|m| m.graph.as_mut().unwrap().node[n].op_type = Some(op.to_owned()));
        }
    }
}

/// A channel that is constant in the unmasked model keeps its constant in `drop`, and goes into the
/// consumer's bias.
#[test]
fn what_was_constant_before_the_masks_is_folded_not_dropped() {
    let mut b = Builder::new(&[2, 6, 6]);
    let a = conv(&mut b, "x", 4, 2, 1, 0);
    let p = [
        [1.0, 0.0, 1.0, 2.0],
        [0.5, 2.0, 1.0, 0.0],
        [0.0; 4],
        [1.0; 4],
    ];
    let p = p.map(|v| b.weight(&[4], v.to_vec()));
    let n = b.node(
        "BatchNormalization",
        &[&a, &p[0], &p[1], &p[2], &p[3]],
        vec![("epsilon", Attr::Float(0.0))],
    );
    let f = b.node("Flatten", &[&n], vec![]);
    let y = gemm(&mut b, &f, 144);
    let model = b.model(&[&y]);
    let m = masks(&a, 4, &[1]);
    let x = input(&[2, 2, 6, 6]);
    let masked = apply_masks(&model, &m, Removal::Drop).unwrap();
    assert_eq!(masked.notes, []);
    let level = Optimization::Off;
    assert_eq!(run(&model, &x, level), run(&masked.model, &x, level));
    let (_, kept) = pruned(&model, &m, Removal::Drop);
    assert_eq!(kept[&a], [0, 2, 3]);
}
