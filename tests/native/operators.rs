//! Operators that masks are learned through, within a small network: the native network against ONNX Runtime,
//! forward, and whole runs.

mod attention;
mod chains;

use ndarray::{Array4, ArrayD};
use onnx_bnnprune::engine::Inference;
use onnx_bnnprune::network::Network;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Tensor, save};
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::verify::Optimization;

use crate::common::{json, max_abs_diff, tool};
use crate::graphs::{Attr, Builder, declare, run, undeclared};
use chains::all;

/// Channels of the tensor that an operator reads, `[N, 16, 6, 6]`.
const CHANNELS: usize = 16;

/// Where the operator stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Behind the float convolution; its values reach the logits by a way without a sign, too.
    First,
    /// Behind the first binary convolution.
    Middle,
}

/// A number between -1 and 1 for each index.
fn value(i: usize) -> f32 {
    ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0
}

fn floats(b: &mut Builder, shape: &[usize], salt: usize) -> String {
    let count: usize = shape.iter().product();
    b.weight(shape, (0..count).map(|i| value(i + salt)).collect())
}

/// A float convolution, two binary convolutions with BatchNormalization, a classifier, and `chain` at its place.
fn network(opset: i64, place: Place, chain: &dyn Fn(&mut Builder, &str) -> String) -> ModelProto {
    let mut b = Builder::new(&[3, 6, 6]);
    let pads = || vec![("pads", Attr::Ints(vec![1; 4]))];
    let w = floats(&mut b, &[CHANNELS, 3, 3, 3], 1);
    let mut x = b.node("Conv", &["x", &w], pads());
    if place == Place::First {
        x = chain(&mut b, &x);
    }
    let pooled = |b: &mut Builder, x: &str, channels: usize| {
        let x = b.node("GlobalAveragePool", &[x], vec![]);
        let x = b.node("Flatten", &[&x], vec![]);
        let w = floats(b, &[channels, 4], 3);
        b.node("MatMul", &[&x, &w], vec![])
    };
    let direct = (place == Place::First).then(|| pooled(&mut b, &x, CHANNELS));
    for (k, [i, o]) in [[CHANNELS, CHANNELS], [CHANNELS, 12]]
        .into_iter()
        .enumerate()
    {
        let s = b.node("Sign", &[&x], vec![]);
        let signs = (0..o * i * 9).map(|j| value(j + 31 * k).signum()).collect();
        let w = b.weight(&[o, i, 3, 3], signs);
        let y = b.node("Conv", &[&s, &w], pads());
        let scale = b.weight(&[o], (0..o).map(|j| 1.0 + value(j) / 2.0).collect());
        let shift = floats(&mut b, &[o], 5);
        let mean = b.weight(&[o], vec![0.0; o]);
        let variance = b.weight(&[o], vec![9.0 * i as f32; o]);
        let inputs = [&y[..], &scale, &shift, &mean, &variance];
        x = b.node("BatchNormalization", &inputs, vec![]);
        if place == Place::Middle && k == 0 {
            x = chain(&mut b, &x);
        }
    }
    let mut y = pooled(&mut b, &x, 12);
    if let Some(direct) = direct {
        y = b.node("Add", &[&y, &direct], vec![]);
    }
    b.graph.output.push(declare(&y, &[4]));
    let mut model = b.model(&[]);
    model.opset_import[0].version = Some(opset);
    model
}

fn images(count: usize) -> Array4<f32> {
    Array4::from_shape_fn((count, 3, 6, 6), |(n, c, y, x)| {
        value(n * 131 + c * 37 + y * 7 + x)
    })
}

#[test]
fn the_native_network_computes_what_the_runtime_does() {
    let x = images(5).into_dyn();
    for (op, (opset, chain)) in all() {
        for place in [Place::First, Place::Middle] {
            let model = network(opset, place, &chain);
            let view = View::new("test.onnx".as_ref(), &model).unwrap();
            let native = Network::import(&view.graph, &view.facts, &view.layers);
            let native = native.unwrap_or_else(|e| panic!("{op}: {e}"));
            let y = Inference::of(&native).infer_output(x.clone()).unwrap();
            let expected: ArrayD<f32> = run(&model, &x, Optimization::Off).remove(0);
            let diff = max_abs_diff(&y, &expected);
            assert!(diff < 1e-4, "{op}: {diff}");
        }
    }
}

/// Filters in front of an operator that treats channels alike go; those in front of one that mixes them stay.
#[test]
fn masks_are_learned_through_it_and_the_result_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(at("x.npz")).unwrap());
    npz.add_array("x", &images(300)).unwrap();
    npz.finish().unwrap();
    let alike = [
        "Gelu",
        "InstanceNormalization",
        "GlobalMaxPool",
        "ReduceL2",
        "opset 9",
        "gate of one channel",
        "map of one channel",
        "number an image",
        "expanded gate",
        "expanded gate of one channel",
    ];
    let mixing = [
        "GroupNormalization",
        "LRN",
        "LayerNormalization",
        "RMSNormalization",
        "attention of rows",
        "attention of channels",
        "constant matrix first",
    ];
    // Filters stay that leave a constant to one reader.
    let partly = ["two readers"];
    let mut seen = 0;
    for (op, (opset, chain)) in all() {
        if ![&alike[..], &mixing, &partly].concat().contains(&op) {
            continue;
        }
        save(&network(opset, Place::Middle, &chain), &at("in.onnx")).unwrap();
        let mut c = tool();
        c.arg(at("in.onnx")).arg(at("out.onnx"));
        c.arg("--data").arg(at("x.npz"));
        c.args(["--ratio", "0.3", "--max-drop", "none", "--mask-epochs", "1"]);
        c.args(["--main-epochs", "1", "--final-epochs", "1"]);
        c.arg("--report").arg(at("r.json")).assert().success();
        let report = json(&at("r.json"));
        assert_eq!(report["verification"]["passed"], true, "{op}");
        // What was trained is what was written.
        let trained = report["agreement_with_trained"].as_f64().unwrap();
        assert!(trained > 0.97, "{op}: {trained}");
        let layers = report["layers"].as_array().unwrap().iter();
        let first = layers.filter(|l| l["filters"] == CHANNELS).nth(1).unwrap();
        let gone = first["pruned"].as_array().unwrap().len();
        // A normalisation of rows treats channels alike as well.
        let either = ["LayerNormalization", "RMSNormalization"].contains(&op);
        if !either && !partly.contains(&op) {
            assert_eq!(gone > 0, alike.contains(&op), "{op}: {gone}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

/// A Softmax behind which only views of the classes stand is left to the loss, not trained through.
#[test]
fn the_last_softmax_is_the_loss() {
    for view_of in [
        vec![],
        vec![("Reshape", Some(vec![0, 4]))],
        vec![("Identity", None), ("Unsqueeze", Some(vec![2]))],
    ] {
        let mut model = network(17, Place::Middle, &|_, x| x.to_owned());
        let graph = model.graph.as_mut().unwrap();
        let mut t = graph.output.remove(0).name().to_owned();
        graph
            .node
            .push(crate::common::node("Softmax", &[&t], &["shares"], &[]));
        t = "shares".to_owned();
        for (i, (op, parameter)) in view_of.into_iter().enumerate() {
            let out = format!("view{i}");
            let name = format!("parameter{i}");
            let inputs = match parameter {
                Some(values) => {
                    let values = Tensor::I64(ndarray::Array1::from(values).into_dyn());
                    graph.initializer.push(values.to_proto(&name));
                    vec![&t[..], &name]
                }
                None => vec![&t[..]],
            };
            graph
                .node
                .push(crate::common::node(op, &inputs, &[&out], &[]));
            t = out;
        }
        graph.output.push(undeclared(&t));
        let view = View::new("test.onnx".as_ref(), &model).unwrap();
        let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let logits = Inference::of(&native).infer(images(3).into_dyn()).unwrap();
        let sums = logits.iter().sum::<f32>();
        assert!((sums - 3.0).abs() > 1e-3, "{sums}");
    }
}

/// Weights that the file puts together along any axis are read in the order of their shape.
#[test]
fn constants_that_are_computed_are_learned_from_like_stored_ones() {
    let halves = |b: &mut Builder, shape: &[usize], axis: usize| {
        let mut half = shape.to_vec();
        half[axis] /= 2;
        let (one, two) = (floats(b, &half, 11), floats(b, &half, 23));
        let axis = vec![("axis", Attr::Int(axis as i64))];
        b.node("Concat", &[&one, &two], axis)
    };
    let mut b = Builder::new(&[3, 6, 6]);
    let pads = || vec![("pads", Attr::Ints(vec![1; 4]))];
    let w = floats(&mut b, &[CHANNELS, 3, 3, 3], 1);
    let x = b.node("Conv", &["x", &w], pads());
    let w = halves(&mut b, &[8, CHANNELS, 3, 2], 3);
    let x = b.node("Conv", &[&x, &w], pads());
    let s = b.node("Sign", &[&x], vec![]);
    let signs = (0..4 * 8).map(|j| value(j).signum()).collect();
    let w = b.weight(&[4, 8, 1, 1], signs);
    let x = b.node("Conv", &[&s, &w], vec![]);
    // Backwards along the last axis, too.
    let w = floats(&mut b, &[4, 1, 1], 5);
    let [starts, ends, axes, steps] = [-1, i64::MIN + 1, 0, -1].map(|v| b.ints(&[v]));
    let backwards = b.node("Slice", &[&w, &starts, &ends, &axes, &steps], vec![]);
    let x = b.node("Mul", &[&x, &backwards], vec![]);
    let x = b.node("GlobalAveragePool", &[&x], vec![]);
    let x = b.node("Flatten", &[&x], vec![]);
    let w = halves(&mut b, &[4, 6], 1);
    let y = b.node("MatMul", &[&x, &w], vec![]);
    b.graph.output.push(declare(&y, &[6]));
    let model = b.model(&[]);
    let view = View::new("test.onnx".as_ref(), &model).unwrap();
    let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
    let x = images(5).into_dyn();
    let y = Inference::of(&native).infer_output(x.clone()).unwrap();
    let expected = run(&model, &x, Optimization::Off).remove(0);
    assert!(max_abs_diff(&y, &expected) < 1e-4);
}
