//! What was learned is what is written, also where a channel becomes constant, or ceases to be, while the
//! network learns.

use std::path::Path;

use onnx_bnnprune::onnx::proto::{GraphProto, ModelProto, NodeProto};
use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{json, network, node, quick, quick_rule};

/// The BatchNormalizations that read what a Relu leaves (perhaps pooled), in the order of the graph.
fn behind_relu(graph: &GraphProto) -> Vec<NodeProto> {
    let writer = |name: &str| {
        graph
            .node
            .iter()
            .find(|n| n.output.iter().any(|o| o == name))
    };
    let reads_relu = |n: &&NodeProto| {
        let mut at = writer(&n.input[0]);
        while let Some(pool) = at.filter(|n| n.op_type().ends_with("Pool")) {
            at = writer(&pool.input[0]);
        }
        n.op_type() == "BatchNormalization" && at.is_some_and(|n| n.op_type() == "Relu")
    };
    graph.node.iter().filter(reads_relu).cloned().collect()
}

/// What becomes of scale, shift, mean and variance of a channel.
type Change = fn([f32; 4]) -> [f32; 4];

/// Changes every fourth channel of two BatchNormalizations behind a Relu.
fn changed(model: &mut ModelProto, change: Change) {
    let graph = model.graph.as_mut().unwrap();
    for norm in &behind_relu(graph)[2..4] {
        let place = |name: &String| graph.initializer.iter().position(|t| t.name() == name);
        let places: Vec<usize> = norm.input[1..].iter().filter_map(place).collect();
        let mut values: Vec<Vec<f32>> = places
            .iter()
            .map(|&p| {
                let tensor = Tensor::from_proto(&graph.initializer[p]).unwrap();
                tensor.to_f64().iter().map(|&v| v as f32).collect()
            })
            .collect();
        for channel in (1..values[0].len()).step_by(4) {
            let new = change([0, 1, 2, 3].map(|k| values[k][channel]));
            (0..4).for_each(|k| values[k][channel] = new[k]);
        }
        for (&p, values) in places.iter().zip(values) {
            let t = &mut graph.initializer[p];
            *t = Tensor::F32(ndarray::Array1::from(values).into_dyn()).to_proto(t.name());
        }
    }
}

/// A Relu gives 0 or more, so a BatchNormalization that is above 0 at 0 has one sign only.
const ABOVE_ZERO: f32 = 0.8;

/// Live by its stored mean; by the one that learning measures, mostly constant.
fn becomes_constant([scale, _, mean, variance]: [f32; 4]) -> [f32; 4] {
    let scale = scale.abs();
    [
        scale,
        ABOVE_ZERO * scale,
        mean + 2.0 * variance.sqrt(),
        variance,
    ]
}

/// Constant by its stored mean; by the one that learning measures, not always.
fn was_constant([scale, _, _, variance]: [f32; 4]) -> [f32; 4] {
    let scale = scale.abs();
    [scale, ABOVE_ZERO * scale, 0.0, variance]
}

/// How much of what the trained network answers the model written answers too.
fn agreement(input: &Path, folder: &Path, options: &[&str]) -> f64 {
    let (out, report) = (folder.join("o.onnx"), folder.join("r.json"));
    let mut c = match options.contains(&"--method") {
        true => quick_rule(input, &out),
        false => quick(input, &out),
    };
    let done = c.args(options).arg("--report").arg(&report).assert();
    done.success();
    let report = json(&report);
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("report this model"), "{warnings}");
    assert!(report["totals"]["pruned_ratio"].as_f64().unwrap() > 0.1);
    report["agreement_with_trained"].as_f64().unwrap()
}

#[test]
fn what_was_learned_is_what_is_written() {
    for name in crate::common::NETWORKS {
        let dir = tempfile::tempdir().unwrap();
        let found = agreement(&network(name), dir.path(), &["--alpha", "0.3"]);
        assert!(found >= 0.99, "{name}: {found}");
        // Biases in thresholds, and filters that leave a constant.
        let options = [
            "--method",
            "random",
            "--ratio",
            "0.4",
            "--removal",
            "fold",
            "--normalise",
        ];
        let found = agreement(&network(name), dir.path(), &options);
        assert!(found >= 0.99, "{name}, folded: {found}");
    }
}

#[test]
fn channels_that_become_constant_while_they_are_masked_have_no_say() {
    let kinds: [(&str, Change); 2] = [
        ("becomes constant", becomes_constant),
        ("was constant", was_constant),
    ];
    for (what, change) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in.onnx");
        let mut model = Model::load(&network("nin")).unwrap().proto;
        changed(&mut model, change);
        save(&model, &input).unwrap();
        for options in [
            &["--method", "random", "--ratio", "0.5"][..],
            &["--method", "random", "--ratio", "0.5", "--normalise"],
            &["--method", "random", "--ratio", "0.5", "--removal", "fold"],
            &["--alpha", "0.3"],
        ] {
            let found = agreement(&input, dir.path(), options);
            assert!(found >= 0.99, "{what}, {options:?}: {found}");
        }
    }
}

/// The same network, in front of whose convolutions channels are taken apart and put together again, in three ways.
fn parted(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let channels = |graph: &GraphProto, weight: &str| {
        let found = graph.initializer.iter().find(|t| t.name() == weight);
        found.map(|t| t.dims[1])
    };
    let list = |graph: &mut GraphProto, name: &str, values: Vec<i64>| {
        let values = Tensor::I64(ndarray::Array1::from(values).into_dyn());
        graph.initializer.push(values.to_proto(name));
    };
    for (name, values) in [("one", 1), ("last", -1), ("minus", -1), ("first", i64::MIN)] {
        list(graph, name, vec![values]);
    }
    let convolutions: Vec<NodeProto> = (graph.node.iter())
        .filter(|n| n.op_type() == "Conv")
        .skip(1)
        .cloned()
        .collect();
    for (way, conv) in convolutions.iter().enumerate() {
        let x = conv.input[0].as_str();
        let Some(count) = channels(graph, &weight_of(graph, &conv.input[1])) else {
            continue;
        };
        let name = |part: &str| format!("{x}/{way}/{part}");
        let (a, b, whole) = (name("a"), name("b"), name("whole"));
        let new = match way % 3 {
            0 => vec![
                node("Split", &[x], &[&a, &b], &[("axis", &[1])]),
                node("Concat", &[&a, &b], &[&whole], &[("axis", &[1])]),
            ],
            1 => {
                let order: Vec<i64> = (0..count).map(|c| (count + 2 - c) % count).collect();
                let back = (0..count).map(|c| order.iter().position(|&o| o == c).unwrap() as i64);
                let back = back.collect();
                list(graph, &name("order"), order);
                list(graph, &name("back"), back);
                vec![
                    node("Gather", &[x, &name("order")], &[&a], &[("axis", &[1])]),
                    node("Gather", &[&a, &name("back")], &[&whole], &[("axis", &[1])]),
                ]
            }
            // Turned around twice.
            _ => {
                let turned = |x: &str, y: &str| {
                    node("Slice", &[x, "last", "first", "one", "minus"], &[y], &[])
                };
                vec![turned(x, &a), turned(&a, &whole)]
            }
        };
        let at = graph.node.iter().position(|n| n.output == conv.output);
        let at = at.unwrap();
        graph.node[at].input[0] = whole;
        graph.node.splice(at..at, new);
    }
}

/// The initializer that a weight is computed of.
fn weight_of(graph: &GraphProto, tensor: &str) -> String {
    let writer = |name: &str| {
        let mut nodes = graph.node.iter();
        nodes.find(|n| n.output.iter().any(|o| o == name))
    };
    let mut at = tensor.to_owned();
    while let Some(n) = writer(&at) {
        at = n.input[0].clone();
    }
    at
}

#[test]
fn channels_that_are_parted_and_put_together_are_learned_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    parted(&mut model);
    let nodes = &model.graph.as_ref().unwrap().node;
    for op in ["Split", "Gather", "Slice"] {
        assert!(nodes.iter().any(|n| n.op_type() == op), "no {op}");
    }
    save(&model, &input).unwrap();
    for options in [
        &["--alpha", "0.3"][..],
        &["--method", "random", "--ratio", "0.5"],
        &["--method", "random", "--ratio", "0.5", "--removal", "fold"],
    ] {
        let found = agreement(&input, dir.path(), options);
        assert!(found >= 0.99, "{options:?}: {found}");
    }
}

/// The network of the VGG with outputs beside its logits: what they come from, shares and the class.
fn with_further_outputs(head_of_its_own: bool) -> ModelProto {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let logits = graph.output[0].name().to_owned();
    let features = graph.node.last().unwrap().input[0].clone();
    let mut outputs = vec![features.clone()];
    if head_of_its_own {
        let weight = graph.node.last().unwrap().input[1].clone();
        let mut head = graph.node.last().unwrap().clone();
        head.name = Some("second/Gemm".to_owned());
        head.input = vec![features, weight];
        head.output = vec!["second".to_owned()];
        graph.node.push(head);
        outputs.push("second".to_owned());
    } else {
        for (op, axis) in [("Softmax", 1), ("ArgMax", 1)] {
            let made = node(op, &[&logits], &[op], &[("axis", &[axis])]);
            graph.node.push(made);
            outputs.push(op.to_owned());
        }
    }
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    crate::graphs::with_outputs(&model, &outputs)
}

#[test]
fn outputs_that_the_first_one_computes_along_are_learned_along() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    let report = dir.path().join("r.json");
    save(&with_further_outputs(false), &input).unwrap();
    let mut c = quick(&input, &out);
    c.args(["--ratio", "0.3", "--report"]).arg(&report);
    c.assert().success();
    let report = json(&report);
    assert_eq!(report["verification"]["passed"], true);
    assert!(report["totals"]["pruned_ratio"].as_f64().unwrap() >= 0.29);
    let notes = report["notes"].to_string();
    assert!(notes.contains("the model has 4 outputs"), "{notes}");
    let made = Model::load(&out).unwrap().proto.graph.unwrap();
    assert_eq!(made.output.len(), 4);
    let refused = dir.path().join("refused.onnx");
    save(&with_further_outputs(true), &refused).unwrap();
    let mut c = quick(&refused, &dir.path().join("none.onnx"));
    let said = [
        "refused.onnx",
        "'second/Gemm'",
        "--masks",
        "goes by the first",
    ];
    crate::common::refused(&mut c, 2, &said);
}

/// What `fold` adds at the border is computed of constants: the file is learned from, and pruned, like any other.
#[test]
fn a_file_with_border_maps_is_pruned_again() {
    let dir = tempfile::tempdir().unwrap();
    let [once, twice] = ["once.onnx", "twice.onnx"].map(|n| dir.path().join(n));
    let rule = ["--method", "magnitude", "--ratio", "0.2"];
    let mut first = quick_rule(&network("vgg"), &once);
    first
        .args(rule)
        .args(["--removal", "fold"])
        .assert()
        .success();
    let model = Model::load(&once).unwrap().proto;
    let nodes = &model.graph.as_ref().unwrap().node;
    let maps = nodes.iter().filter(|n| n.name().ends_with(".absorbed"));
    assert!(maps.count() > 0);
    let report = dir.path().join("r.json");
    let mut second = quick_rule(&once, &twice);
    second.args(rule).arg("--report").arg(&report);
    second.assert().success();
    let layers = json(&report)["layers"].clone();
    let layers = layers.as_array().unwrap();
    for layer in layers.iter().filter(|l| l["binary"] == true) {
        assert!(!layer["pruned"].as_array().unwrap().is_empty(), "{layer}");
    }
}
