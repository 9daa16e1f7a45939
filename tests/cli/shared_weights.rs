//! Layers that share weights (the branches of a Siamese network) lose the same filters and go on sharing.

use std::collections::BTreeMap;

use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::ModelProto;

use crate::common::{json, quick, quick_rule, write_trained};
use crate::graphs::{Attr, Builder};

fn numbers(count: usize, turn: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * turn).sin()).collect()
}

/// Two branches of the same two binary convolutions, on the digits and on their negative, each with norms of its own.
fn siamese() -> ModelProto {
    let mut b = Builder::new(&[1, 8, 8]);
    let pads = || vec![("pads", Attr::Ints(vec![1, 1, 1, 1]))];
    let shapes = [[12, 1], [20, 12], [16, 20]];
    let weights: Vec<String> = (shapes.iter().enumerate())
        .map(|(i, &[filters, inputs])| {
            let values = numbers(filters * inputs * 9, 0.71 + 0.13 * i as f32);
            let values = values
                .into_iter()
                .map(|v| if i == 0 { v } else { v.signum() });
            b.weight(&[filters, inputs, 3, 3], values.collect())
        })
        .collect();
    let branch = |b: &mut Builder, mut at: String, turn: f32| {
        for (weight, [filters, inputs]) in weights.iter().zip(shapes) {
            let sums = b.node("Conv", &[&at, weight], pads());
            let norm = [
                b.weight(&[filters], vec![1.0; filters]),
                b.weight(&[filters], numbers(filters, turn)),
                b.weight(&[filters], numbers(filters, turn + 1.0)),
                b.weight(&[filters], vec![9.0 * inputs as f32; filters]),
            ];
            let [gamma, beta, mean, variance] = &norm;
            let read = [&sums, gamma, beta, mean, variance].map(String::as_str);
            let normed = b.node("BatchNormalization", &read, vec![]);
            at = b.node("Sign", &[&normed], vec![]);
        }
        at
    };
    let negative = b.node("Neg", &["x"], vec![]);
    let first = branch(&mut b, "x".to_owned(), 1.3);
    let second = branch(&mut b, negative, 2.3);
    let both = b.node("Concat", &[&first, &second], vec![("axis", Attr::Int(1))]);
    let flat = b.node("Flatten", &[&both], vec![]);
    let head = b.weight(&[10, 32 * 64], numbers(10 * 32 * 64, 0.37));
    let y = b.node("Gemm", &[&flat, &head], vec![("transB", Attr::Int(1))]);
    b.model(&[&y])
}

#[test]
fn branches_of_one_weight_lose_the_same_filters_and_go_on_sharing_it() {
    let dir = tempfile::tempdir().unwrap();
    let [path, out, report] = ["m.onnx", "o.onnx", "r.json"].map(|n| dir.path().join(n));
    write_trained(&siamese(), &path);
    let mut rule = quick_rule(&path, &out);
    rule.args(["--method", "reconstruction"]);
    for mut command in [rule, quick(&path, &out)] {
        command.args(["--ratio=0.3", "--report"]).arg(&report);
        command.assert().success();
        assert_shared(&json(&report), &out);
    }
}

fn assert_shared(report: &serde_json::Value, out: &std::path::Path) {
    let layers = report["layers"].as_array().unwrap();
    let binary: Vec<_> = layers.iter().filter(|l| l["binary"] == true).collect();
    assert_eq!(binary.len(), 4);
    assert_eq!(binary[0]["pruned"], binary[2]["pruned"]);
    assert_eq!(binary[1]["pruned"], binary[3]["pruned"]);
    assert!(
        binary
            .iter()
            .any(|l| l["kept"].as_u64() < l["filters"].as_u64())
    );
    // Each weight of a binary layer is there once, and read twice.
    let graph = Model::load(out).unwrap().proto.graph.unwrap();
    let convolutions = graph.node.iter().filter(|n| n.op_type() == "Conv");
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    convolutions.for_each(|n| *readers.entry(&n.input[1]).or_default() += 1);
    assert_eq!(readers.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
    let params = ["params_before", "params_after"].map(|k| report["totals"][k].as_u64().unwrap());
    assert!(params[1] * 10 < params[0] * 9, "{params:?}");
}
