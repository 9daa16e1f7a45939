//! `--normalise`: binary layers in integer form, the same in every runtime.

use crate::common::{json, network, quick, write_masks};
use crate::graphs::{Attr, Builder, Network, run, with_outputs};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::normalise::{Form, normalise};
use onnx_bnnprune::onnx::proto::{GraphProto, ModelProto, NodeProto};
use onnx_bnnprune::onnx::{Model, Tensor, save};
use onnx_bnnprune::recognize;
use onnx_bnnprune::verify::{Optimization, SessionOptions};
use proptest::prelude::*;

const LEVELS: [Optimization; 3] = [Optimization::Off, Optimization::Basic, Optimization::All];

fn normal(model: &ModelProto) -> (ModelProto, Vec<(String, Form)>) {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let layers = recognize::layers(&graph, &facts);
    let found = normalise(&graph, &facts, &layers);
    (found.model, found.layers)
}

/// Pseudo-random numbers in [-1, 1).
fn noise(count: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64 * 2 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// An untrained network without biases: binary convolutions of ±α one behind the other, so that
/// a large part of the sums is exactly 0.
fn tie_heavy(depth: usize) -> (ModelProto, Vec<String>) {
    let mut b = Builder::new(&[8, 10, 10]);
    let mut at = b.node("Sign", &["x"], vec![]);
    let mut signs = Vec::new();
    for i in 0..depth {
        let scales = noise(16, 100 + i);
        let inputs = if i == 0 { 8 } else { 16 };
        let size = inputs * 9;
        let weights = noise(16 * size, 200 + i);
        let weights = weights.iter().enumerate();
        let weights = weights.map(|(k, w)| w.signum() * (scales[k / size].abs() + 0.05));
        let weight = b.weight(&[16, inputs, 3, 3], weights.collect());
        at = b.node(
            "Conv",
            &[&at, &weight],
            vec![("pads", Attr::Ints(vec![1; 4]))],
        );
        at = b.node("Sign", &[&at], vec![]);
        signs.push(at.clone());
    }
    let pooled = b.node("GlobalAveragePool", &[&at], vec![]);
    (b.model(&[&pooled]), signs)
}

#[test]
fn every_optimisation_level_gives_the_same_signs_on_a_network_full_of_ties() {
    let (model, signs) = tie_heavy(6);
    let (integer, layers) = normal(&model);
    assert!(
        layers.iter().all(|(_, form)| *form == Form::Threshold),
        "{layers:?}"
    );
    let x = ArrayD::from_shape_vec(IxDyn(&[4, 8, 10, 10]), noise(4 * 800, 7)).unwrap();
    let names: Vec<&str> = signs.iter().map(String::as_str).collect();
    let integer = with_outputs(&integer, &names);
    let outputs: Vec<_> = LEVELS.iter().map(|&l| run(&integer, &x, l)).collect();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
    let zeros = outputs[0][1].iter().filter(|v| **v == 0.0).count();
    assert!(zeros * 50 > outputs[0][1].len(), "ties: {zeros}");
    // The native network sums in an order of its own.
    let (plain, _) = normal(&model);
    let graph = Graph::new(&plain).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let layers = recognize::layers(&graph, &facts);
    let native = onnx_bnnprune::network::Network::import(&graph, &facts, &layers).unwrap();
    let logits = onnx_bnnprune::engine::Inference::of(&native)
        .infer(x)
        .unwrap();
    let worst = (&logits - &outputs[0][0])
        .iter()
        .fold(0f32, |m, d| m.max(d.abs()));
    assert!(worst < 1e-6, "native inference differs by {worst}");
}

/// The tool tells the many ties of such a network from faults, whatever the binariser is.
#[test]
fn the_tool_takes_a_network_full_of_ties() {
    let dir = tempfile::tempdir().unwrap();
    let (input, report) = (dir.path().join("in.onnx"), dir.path().join("r.json"));
    for compared in [false, true] {
        let (mut model, _) = tie_heavy(3);
        if compared {
            let graph = model.graph.as_mut().unwrap();
            signs_to_comparisons(graph);
        }
        save(&model, &input).unwrap();
        crate::common::tool()
            .arg(&input)
            .arg(dir.path().join("out.onnx"))
            .args(["--normalise", "--report"])
            .arg(&report)
            .assert()
            .success();
        let found = &json(&report)["normalised"];
        assert_eq!(found["thresholds"].as_array().unwrap().len(), 3);
        assert!(found["verification"]["ties"].as_u64().unwrap() > 100);
    }
}

/// `Sign(x)` as `Where(x >= 0, 1, -1)`.
fn signs_to_comparisons(graph: &mut GraphProto) {
    for (name, value) in [("zero", 0.0), ("one", 1.0), ("minus", -1.0)] {
        let value = Tensor::F32(ndarray::arr0(value).into_dyn());
        graph.initializer.push(value.to_proto(name));
    }
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        if node.op_type() != "Sign" {
            graph.node.push(node);
            continue;
        }
        let positive = format!("{}_positive", node.name());
        let of = |op: &str, inputs: [&str; 3], output: &str| NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs
                .iter()
                .filter(|i| !i.is_empty())
                .map(|i| (*i).to_owned())
                .collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        };
        let x = node.input[0].as_str();
        graph
            .node
            .push(of("GreaterOrEqual", [x, "zero", ""], &positive));
        graph
            .node
            .push(of("Where", [&positive, "one", "minus"], &node.output[0]));
    }
}

/// Every way in which a threshold can come about: flipped filters, with and without pooling,
/// sums that are exactly at the threshold, thresholds out of reach, clipping, slopes.
#[test]
fn thresholds_reproduce_the_float_expression() {
    for (pool, gamma_sign, zero_is_one) in [
        (false, 1.0, false),
        (false, -1.0, false),
        (true, 1.0, true),
        (true, -1.0, false),
        (false, -1.0, true),
    ] {
        let mut b = Builder::new(&[4, 6, 6]);
        let at = b.node("Sign", &["x"], vec![]);
        let weights: Vec<f32> = noise(8 * 36, 3).iter().map(|w| w.signum() * 0.5).collect();
        let weight = b.weight(&[8, 4, 3, 3], weights);
        let bias = b.weight(&[8], (0..8).map(|i| i as f32 * 0.5 - 2.0).collect());
        let mut at = b.node("Conv", &[&at, &weight, &bias], vec![]);
        if pool {
            let kernel = vec![("kernel_shape", Attr::Ints(vec![2, 2]))];
            at = b.node("MaxPool", &[&at], kernel);
        }
        let mut vector = |values: Vec<f32>| b.weight(&[8], values);
        let gamma = vector((0..8).map(|i| gamma_sign * (0.25 + i as f32)).collect());
        let beta = vector((0..8).map(|i| 3.0 - i as f32).collect());
        let mean = vector((0..8).map(|i| [0.5, 100.0, -100.0, 0.0][i % 4]).collect());
        let variance = vector(vec![1.0 - 1e-5; 8]);
        let inputs = [at.as_str(), &gamma, &beta, &mean, &variance];
        at = b.node("BatchNormalization", &inputs, vec![]);
        let slope = b.weight(&[8, 1, 1], vec![0.25; 8]);
        at = b.node("PRelu", &[&at, &slope], vec![]);
        let sign = match zero_is_one {
            false => b.node("Sign", &[&at], vec![]),
            true => {
                let zero = b.weight(&[], vec![0.0]);
                let positive = b.node("GreaterOrEqual", &[&at, &zero], vec![]);
                let (one, minus) = (b.weight(&[], vec![1.0]), b.weight(&[], vec![-1.0]));
                b.node("Where", &[&positive, &one, &minus], vec![])
            }
        };
        let next = b.weight(
            &[2, 8, 1, 1],
            noise(16, 9).iter().map(|w| w.signum()).collect(),
        );
        let y = b.node("Conv", &[&sign, &next], vec![]);
        let model = b.model(&[&y]);
        let (integer, layers) = normal(&model);
        assert_eq!(layers[0].1, Form::Threshold);
        let x = ArrayD::from_shape_vec(IxDyn(&[32, 4, 6, 6]), noise(32 * 144, 5)).unwrap();
        let (model, integer) = (
            with_outputs(&model, &[&sign]),
            with_outputs(&integer, &[&sign]),
        );
        let expected = run(&model, &x, Optimization::Off);
        for level in LEVELS {
            assert_eq!(
                run(&integer, &x, level),
                expected,
                "{pool} {gamma_sign} {level:?}"
            );
        }
    }
}

/// `Where(x >= 0, -1, 1)`: -1 at a tie, and -1 above.
#[test]
fn reversed_binarisers_keep_their_ties() {
    for (op, swapped) in [("GreaterOrEqual", true), ("Greater", true), ("Less", false)] {
        let mut b = Builder::new(&[4, 6, 6]);
        let at = b.node("Sign", &["x"], vec![]);
        let weights = noise(8 * 36, 3).iter().map(|w| w.signum() * 0.5).collect();
        let weight = b.weight(&[8, 4, 3, 3], weights);
        let at = b.node("Conv", &[&at, &weight], vec![]);
        let zero = b.weight(&[], vec![0.0]);
        let (one, minus) = (b.weight(&[], vec![1.0]), b.weight(&[], vec![-1.0]));
        let condition = b.node(op, &[&at, &zero], vec![]);
        let sign = match swapped {
            true => b.node("Where", &[&condition, &minus, &one], vec![]),
            false => b.node("Where", &[&condition, &one, &minus], vec![]),
        };
        let y = b.node("GlobalAveragePool", &[&sign], vec![]);
        let model = b.model(&[&y]);
        let (integer, layers) = normal(&model);
        assert_eq!(layers[0].1, Form::Threshold, "{op}");
        let x = ArrayD::from_shape_vec(IxDyn(&[16, 4, 6, 6]), noise(16 * 144, 5)).unwrap();
        let [before, after] = [&model, &integer].map(|m| run(m, &x, Optimization::Off));
        assert_eq!(before, after, "{op}");
    }
}

/// What stands between binariser and layer belongs to the layer's scale: it stays as it is.
#[test]
fn inputs_of_another_scale_are_left_alone() {
    let mut b = Builder::new(&[4, 6, 6]);
    let at = b.node("Sign", &["x"], vec![]);
    let scale = b.weight(&[], vec![0.1]);
    let at = b.node("Mul", &[&at, &scale], vec![]);
    let weight = b.weight(
        &[8, 4, 1, 1],
        noise(32, 3).iter().map(|w| w.signum()).collect(),
    );
    let bias = b.weight(&[8], noise(8, 4));
    let at = b.node("Conv", &[&at, &weight, &bias], vec![]);
    let sign = b.node("Sign", &[&at], vec![]);
    let y = b.node("GlobalAveragePool", &[&sign], vec![]);
    let (_, layers) = normal(&b.model(&[&y]));
    assert!(matches!(layers[0].1, Form::Unchanged(_)), "{layers:?}");
}

/// Bounds of `Clip` were attributes once: some of these filters never get above their threshold.
/// Up to opset 10 a Gemm has to have a bias, also where the division behind it takes its place.
#[test]
fn old_opsets_keep_a_bias() {
    for opset in [9, 11] {
        let mut b = Builder::new(&[8]);
        let signs = b.node("Sign", &["x"], vec![]);
        let weight = (0..32).map(|k| if k * k % 7 < 3 { 0.5 } else { -0.5 });
        let weight = b.weight(&[4, 8], weight.collect());
        let bias = b.weight(&[4], vec![0.25, -0.5, 0.75, 0.0]);
        let turned = vec![("transB", Attr::Int(1))];
        let y = b.node("Gemm", &[&signs, &weight, &bias], turned);
        let mut model = b.model(&[&y]);
        model.opset_import[0].version = Some(opset);
        let x = ArrayD::from_shape_vec(IxDyn(&[16, 8]), noise(128, 7)).unwrap();
        let expected = run(&model, &x, Optimization::Off);
        let (integer, layers) = normal(&model);
        assert_eq!(layers[0].1, Form::Divided, "{opset}");
        assert_eq!(run(&integer, &x, Optimization::Off), expected, "{opset}");
    }
}

#[test]
fn old_opsets_keep_their_bounds() {
    let mut b = Builder::new(&[4, 6, 6]);
    let at = b.node("Sign", &["x"], vec![]);
    let weights = noise(8 * 36, 3).iter().map(|w| w.signum() * 0.5).collect();
    let weight = b.weight(&[8, 4, 3, 3], weights);
    let at = b.node("Conv", &[&at, &weight], vec![]);
    let bounds = vec![("min", Attr::Float(-1.25)), ("max", Attr::Float(2.25))];
    let at = b.node("Clip", &[&at], bounds);
    let at = b.node("Dropout", &[&at], vec![("ratio", Attr::Float(0.5))]);
    let shift = [-2.5, 2.0, 0.0, 1.5, -2.0, -1.0, 1.0, 0.25];
    let shift = b.weight(&[8, 1, 1], shift.to_vec());
    let at = b.node("Add", &[&at, &shift], vec![]);
    let sign = b.node("Sign", &[&at], vec![]);
    let y = b.node("GlobalAveragePool", &[&sign], vec![]);
    let mut model = b.model(&[&y]);
    model.opset_import[0].version = Some(10);
    let (integer, layers) = normal(&model);
    assert_eq!(layers[0].1, Form::Threshold);
    let x = ArrayD::from_shape_vec(IxDyn(&[16, 4, 6, 6]), noise(16 * 144, 5)).unwrap();
    let [before, after] = [&model, &integer].map(|m| {
        let signs = run(&with_outputs(m, &[&sign]), &x, Optimization::Off).remove(1);
        signs.into_raw_vec_and_offset().0
    });
    assert_eq!(before, after);
}

#[test]
fn masked_and_pruned_are_both_normalised_and_onnx_runtime_leaves_the_weights_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    for name in crate::common::NETWORKS {
        quick(&network(name), &at("out.onnx"))
            .args(["--normalise", "--alpha", "0.3", "--save-masked"])
            .arg(at("masked.onnx"))
            .arg("--report")
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        let found = &report["normalised"];
        let named = |key: &str| -> Vec<String> {
            let list = found[key].as_array().unwrap();
            list.iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect()
        };
        let (thresholds, divided) = (named("thresholds"), named("divided"));
        assert!(!thresholds.is_empty(), "{name}");
        assert_eq!(found["unchanged"].as_object().unwrap().len(), 0);
        assert_eq!(found["verification"]["passed"], true);
        assert!(report["totals"]["pruned_ratio"].as_f64().unwrap() > 0.0);
        for file in ["masked.onnx", "out.onnx"] {
            let optimised = optimised(&at(file), &at("optimised.onnx"));
            let layers = thresholds.iter().chain(&divided);
            for layer in layers {
                let weights = weights_of(&optimised, layer);
                assert!(
                    weights.iter().all(|w| [-1.0, 0.0, 1.0].contains(w)),
                    "{name} {file} {layer}"
                );
            }
        }
    }
}

#[test]
fn masks_files_fit_the_normalised_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    write_masks(&at("m.json"), &[("/conv2/Conv", 48, &[0, 5, 7])]);
    for removal in ["drop", "fold"] {
        crate::common::tool()
            .arg(network("vgg"))
            .arg(at("out.onnx"))
            .args(["--normalise", "--removal", removal, "--masks"])
            .arg(at("m.json"))
            .arg("--report")
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        assert_eq!(report["totals"]["filters"], 40 + 48 + 64);
        assert_eq!(report["totals"]["kept"], 40 + 45 + 64, "{removal}");
    }
}

/// What ONNX Runtime makes of a model at its basic level, as it writes it.
fn optimised(model: &std::path::Path, to: &std::path::Path) -> ModelProto {
    let options = SessionOptions {
        optimization: Optimization::Basic,
        threads: 1,
    };
    let bytes = std::fs::read(model).unwrap();
    let runtime = crate::common::runtime();
    runtime.write_optimized(&bytes, &options, to).unwrap();
    Model::load(to).unwrap().proto
}

/// The constant at the weight input of a layer.
fn weights_of(model: &ModelProto, layer: &str) -> Vec<f32> {
    let graph = Graph::new(model).unwrap();
    let node = graph.find_node(layer).expect("the layer's node");
    let weight = graph.input_of(node, 1).unwrap();
    let value = graph.initializer_value(weight).expect("an initializer");
    Tensor::as_f32(&value).unwrap().iter().copied().collect()
}

/// ONNX Runtime folds a factor behind weights of ±1 into them, also through an Add.
#[test]
fn weights_of_one_are_kept_from_factors_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    for (added, norm) in [(false, false), (false, true), (true, true)] {
        let mut b = Builder::new(&[8, 6, 6]);
        let sign = b.node("Sign", &["x"], vec![]);
        let weights = noise(8 * 72, 3).iter().map(|w| w.signum()).collect();
        let weight = b.weight(&[8, 8, 3, 3], weights);
        let pads = vec![("pads", Attr::Ints(vec![1; 4]))];
        let layer = b.node("Conv", &[&sign, &weight], pads);
        let mut at = layer.clone();
        let factor: Vec<f32> = (0..8).map(|i| 0.3 + 0.1 * i as f32).collect();
        let vector = b.weight(&[8, 1, 1], factor.clone());
        if added {
            at = b.node("Add", &[&at, &vector], vec![]);
        }
        at = match norm {
            false => b.node("Mul", &[&at, &vector], vec![]),
            true => {
                let parameters = [factor, vec![0.5; 8], vec![0.25; 8], vec![2.0; 8]];
                let names = parameters.map(|values| b.weight(&[8], values));
                let mut inputs = vec![at.as_str()];
                inputs.extend(names.iter().map(String::as_str));
                b.node("BatchNormalization", &inputs, vec![])
            }
        };
        let stream = b.node("Add", &[&at, "x"], vec![]);
        let model = b.model(&[&stream]);
        let (integer, layers) = normal(&model);
        assert_eq!(layers[0].1, Form::Divided);
        let x = ArrayD::from_shape_vec(IxDyn(&[4, 8, 6, 6]), noise(4 * 288, 5)).unwrap();
        let off = Optimization::Off;
        assert_eq!(run(&integer, &x, off), run(&model, &x, off));
        let absolute = |model: &ModelProto| -> Vec<f32> {
            let file = dir.path().join("m.onnx");
            save(model, &file).unwrap();
            let optimised = optimised(&file, &dir.path().join("o.onnx"));
            weights_of(&optimised, &layer)
                .iter()
                .map(|w| w.abs())
                .collect()
        };
        assert!(
            absolute(&integer).iter().all(|&w| w == 1.0),
            "{added} {norm}"
        );
        assert!(absolute(&model).iter().any(|&w| w != 1.0), "{added} {norm}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// On networks whose arithmetic is exact the integer form changes no bit.
    #[test]
    fn exact_networks_stay_what_they_are(network in Network::strategy(false, true)) {
        let model = network.model();
        let (integer, _) = normal(&model);
        let x = network.input();
        for level in LEVELS {
            prop_assert_eq!(run(&model, &x, level), run(&integer, &x, level));
        }
    }
}
