//! A network without its masked filters computes what the masked one does.

use ndarray::ArrayD;

use super::{import, infer};
use crate::graph::{Facts, Graph};
use crate::network::testing::ModelBuilder;
use crate::network::{MaskSpec, Network, ParamId};
use crate::onnx::Tensor;
use crate::onnx::proto::ModelProto;
use crate::ops::ParamKind;
use crate::ops::testing::random;
use crate::recognize;
use crate::rewrite::{Analysis, FilterMasks};
use crate::subsidiary::{Grouping, MaskGroup, mask, mask_groups};

/// Convolutions with all that channels run through on their way: BatchNormalization, PRelu, a
/// threshold and a Clip per channel, pooling, a shortcut, a depthwise convolution, Flatten.
fn model(shortcut: bool, depthwise: bool, constant: bool, parted: bool) -> ModelProto {
    let mut shift = random(&[1, 8, 1, 1], 9);
    if constant {
        shift[[0, 2, 0, 0]] = 1e4;
        shift[[0, 5, 0, 0]] = -1e4;
    }
    let pads: &[(&str, &[i64])] = &[("pads", &[1, 1, 1, 1])];
    let mut b = ModelBuilder::new(&[0, 2, 6, 6])
        .constant("stem.w", random(&[5, 2, 3, 3], 1))
        .constant("stem.b", random(&[5], 2))
        .node("stem", "Conv", &["x", "stem.w", "stem.b"], pads)
        .batch_norm("bn0", "stem", 5)
        .binary_conv("c1", "bn0", 8, 5)
        .batch_norm("bn1", "c1", 8)
        .constant("slope", random(&[8, 1, 1], 8))
        .node("prelu", "PRelu", &["bn1", "slope"], &[])
        // Far beyond what a sum can be: the sign behind is the same for all images.
        .constant("shift", shift)
        .node("moved", "Sub", &["prelu", "shift"], &[]);
    let mut at = "moved";
    if depthwise {
        b = b.constant("dw.w", random(&[8, 1, 3, 3], 10)).node(
            "dw",
            "Conv",
            &["moved", "dw.w"],
            &[("pads", &[1, 1, 1, 1]), ("group", &[8])],
        );
        at = "dw";
    }
    if parted {
        // Taken apart and put together in another order; one part is read twice.
        let list = |values: &[i64]| Tensor::I64(ndarray::Array1::from(values.to_vec()).into_dyn());
        b = b
            .tensor("order", &list(&[5, 0, 3, 6, 1, 4, 7, 2]))
            .tensor("last", &list(&[-1]))
            .tensor("none", &list(&[i64::MIN]))
            .tensor("one", &list(&[1]))
            .node("shuffled", "Gather", &[at, "order"], &[("axis", &[1])])
            .node(
                "turned",
                "Slice",
                &["shuffled", "last", "none", "one", "last"],
                &[],
            )
            .split("first", "second", "turned")
            .node("parted", "Concat", &["second", "first"], &[("axis", &[1])]);
        at = "parted";
    }
    b = b.binary_conv("c2", at, 8, 8).batch_norm("bn2", "c2", 8);
    let mut at = "bn2";
    if shortcut {
        b = b.node("sum", "Add", &["bn2", "moved"], &[]);
        at = "sum";
    }
    b.node(
        "pool",
        "MaxPool",
        &[at],
        &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])],
    )
    .binary_conv("c3", "pool", 7, 8)
    .batch_norm("bn3", "c3", 7)
    .node("flat", "Flatten", &["bn3"], &[])
    .constant("fc.w", random(&[3, 63], 3))
    .constant("fc.b", random(&[3], 4))
    .node("fc", "Gemm", &["flat", "fc.w", "fc.b"], &[("transB", &[1])])
    .build()
}

/// Channels that stand in front of the batch for a while, and a layer that has its weights on the left (as many places
/// as channels, so that their axes could be mistaken for each other).
fn moved() -> ModelProto {
    let list = |values: &[i64]| Tensor::I64(ndarray::Array1::from(values.to_vec()).into_dyn());
    ModelBuilder::new(&[0, 2, 2, 4])
        .binary_conv("c1", "x", 8, 2)
        .batch_norm("bn1", "c1", 8)
        .tensor("row", &list(&[0, 8, 8]))
        .tensor("plane", &list(&[0, 8, 2, 4]))
        .node("rows", "Reshape", &["bn1", "row"], &[])
        .node("tokens", "Transpose", &["rows"], &[("perm", &[0, 2, 1])])
        .node("moved", "Transpose", &["tokens"], &[("perm", &[2, 0, 1])])
        .node("back", "Transpose", &["moved"], &[("perm", &[1, 0, 2])])
        .node("signs", "Sign", &["back"], &[])
        .constant("left", random(&[8, 8], 22).mapv(f32::signum))
        .node("mixed", "MatMul", &["left", "signs"], &[])
        .batch_norm("bn2", "mixed", 8)
        .node("planes", "Reshape", &["bn2", "plane"], &[])
        .binary_conv("c2", "planes", 7, 8)
        .node("flat", "Flatten", &["c2"], &[])
        .constant("fc.w", random(&[3, 56], 3))
        .node("fc", "Gemm", &["flat", "fc.w"], &[("transB", &[1])])
        .build()
}

/// Puts a group's mask into a network.
fn insert(n: &mut Network, group: &MaskGroup, keep: &[bool]) -> ParamId {
    let param = n.add_param("mask", ParamKind::Mask, mask::hard(keep));
    for site in &group.sites {
        let spec = MaskSpec {
            axis: site.axis,
            filter_of: site.filter_of.clone(),
            param,
        };
        n.insert_mask(site.consumer, site.input, spec).unwrap();
        let kept = site.filter_of.iter().map(|f| f.is_none_or(|f| keep[f]));
        if let Some(b) = n.binary_of(site.consumer) {
            n.keep_columns(b, &kept.collect::<Vec<_>>());
        }
    }
    param
}

/// A network with random masks, the same without its masked filters, and both again after the second
/// was given other parameters and the first took them back.
fn masked_and_smaller(
    m: &ModelProto,
    images: &[usize],
    constant: bool,
    seed: u64,
) -> [[ArrayD<f32>; 2]; 2] {
    let graph = Graph::new(m).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    let layers = recognize::layers(&graph, &facts);
    let analysis = Analysis::new(&graph, &facts);
    let (groups, excluded) = mask_groups(&graph, &layers, &analysis, Grouping::default());
    assert!(excluded.is_empty(), "{excluded:?}");
    let mut masked = import(m);
    let mut masks = FilterMasks::default();
    for (i, group) in groups.iter().enumerate() {
        let chosen = random(&[group.filters], seed + 17 * i as u64);
        let mut keep: Vec<bool> = chosen.iter().map(|v| *v > -0.2).collect();
        keep[seed as usize % group.filters] = true;
        insert(&mut masked, group, &keep);
        let gone: Vec<usize> = (0..keep.len()).filter(|&f| !keep[f]).collect();
        for (name, filters) in group.class.filters_of(&gone) {
            masks.prune(&name, analysis.filters(&name).unwrap(), filters);
        }
    }
    let remaining = analysis.remaining_channels(&masks);
    let left = masked.channels_of_values(|node| remaining.of(graph.output_of(node, 0)?).cloned());
    let (mut small, kept) = masked.shrunk(&left).unwrap();
    masked
        .mask_params()
        .for_each(|p| small.remove_idle_masks(p));
    let elements = |n: &Network| n.params().iter().map(|p| p.value.len()).sum::<usize>();
    assert!(masks.layers.is_empty() || elements(&small) < elements(&masked));
    assert!(small.steps().iter().all(|s| !s.is_mask()) || constant);
    let x = random(images, seed);
    let outputs =
        |masked: &Network, small: &Network| [masked, small].map(|n| infer(n, x.clone()).unwrap());
    let before = outputs(&masked, &small);
    for p in (0..small.params().len()).map(ParamId) {
        if small.param(p).kind != ParamKind::Mask {
            small.values_mut(p).mapv_inplace(|v| 0.9 * v + 0.003);
        }
    }
    masked.take_back(&small, &kept);
    [before, outputs(&masked, &small)]
}

#[test]
fn a_network_without_its_masked_filters_computes_what_the_masked_one_does() {
    let ways = (0..8).map(|i| (i & 1 == 1, i & 2 == 2, i & 4 == 4));
    for (shortcut, depthwise, parted) in ways {
        let cases = (0..20).map(|i| (i % 2 == 1, i / 2));
        for (constant, seed) in cases {
            let m = model(shortcut, depthwise, constant, parted);
            for [masked, small] in masked_and_smaller(&m, &[4, 2, 6, 6], constant, seed) {
                let worst = (&masked - &small).iter().fold(0f32, |m, d| m.max(d.abs()));
                assert!(
                    worst < 1e-5,
                    "{shortcut} {depthwise} {parted} {constant} {seed}: {worst}"
                );
            }
        }
    }
}

#[test]
fn channels_go_wherever_the_file_has_them() {
    for seed in 0..20 {
        for [masked, small] in masked_and_smaller(&moved(), &[4, 2, 2, 4], false, seed) {
            let worst = (&masked - &small).iter().fold(0f32, |m, d| m.max(d.abs()));
            assert!(worst < 1e-5, "{seed}: {worst}");
        }
    }
}
