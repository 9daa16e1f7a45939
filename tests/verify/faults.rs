//! `verify` tells faults from ties: each injected fault is caught and called one, and a tie is never
//! called a fault.

use std::path::Path;

use crate::common::{fixture, network, tool};
use crate::graphs::Builder;
use ndarray::{ArrayD, Axis};
use ndarray_rand::rand::rngs::StdRng;
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, Tensor, save};
use serde_json::Value;

/// Changes the initializer, or Constant node's output, of that name.
fn edit(model: &mut ModelProto, name: &str, change: impl Fn(&mut ArrayD<f32>)) {
    let graph = model.graph.as_mut().unwrap();
    let constants = graph.node.iter_mut().filter(|n| n.op_type() == "Constant");
    let constants = constants.filter(|n| n.output[0] == name);
    let tensors = constants.filter_map(|n| n.attribute[0].t.as_mut());
    let named = graph.initializer.iter_mut().filter(|t| t.name() == name);
    let tensor = named.chain(tensors).next().unwrap();
    let Tensor::F32(mut values) = Tensor::from_proto(tensor).unwrap() else {
        panic!("{name} is not f32");
    };
    change(&mut values);
    let own = tensor.name().to_owned();
    *tensor = Tensor::F32(values).to_proto(&own);
}

/// Exchanges two slices along an axis.
fn exchange(values: &mut ArrayD<f32>, axis: usize, i: usize, k: usize) {
    let (a, b) = (
        values.index_axis(Axis(axis), i).to_owned(),
        values.index_axis(Axis(axis), k).to_owned(),
    );
    values.index_axis_mut(Axis(axis), i).assign(&b);
    values.index_axis_mut(Axis(axis), k).assign(&a);
}

/// `verify`: exit code, JSON and text.
fn verify(reference: &Path, candidate: &Path, further: &[&str]) -> (i32, Value, String) {
    let run = |json: &[&str]| {
        let mut c = tool();
        c.arg("verify")
            .arg(reference)
            .arg(candidate)
            .args(further)
            .args(json);
        c.output().unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code());
    (
        text.status.code().unwrap(),
        serde_json::from_slice(&json.stdout).unwrap(),
        String::from_utf8(text.stdout).unwrap(),
    )
}

type Fault = (&'static str, &'static str, fn(&mut ModelProto));

/// What is wrong, in which network, and how it is made so.
const FAULTS: [Fault; 10] = [
    ("a swapped filter pair", "vgg", |m| {
        edit(m, "conv2.weight", |w| exchange(w, 0, 3, 7));
    }),
    ("a swapped filter pair with a bias each", "folded", |m| {
        edit(m, "onnx::Conv_61", |w| exchange(w, 0, 3, 7));
    }),
    ("one wrong channel index", "vgg", |m| {
        edit(m, "conv3.weight", |w| {
            let other = w.index_axis(Axis(1), 6).to_owned();
            w.index_axis_mut(Axis(1), 5).assign(&other);
        });
    }),
    ("a dropped bias in front of the output", "vgg", |m| {
        let nodes = &mut m.graph.as_mut().unwrap().node;
        let gemm = nodes.iter_mut().find(|n| n.op_type() == "Gemm").unwrap();
        gemm.input.truncate(2);
    }),
    ("a dropped bias in front of a binariser", "folded", |m| {
        edit(m, "onnx::Conv_59", |b| b.fill(0.0));
    }),
    ("a wrong statistic", "vgg", |m| {
        edit(m, "norm1.running_mean", |v| v[[4]] += 3.0);
    }),
    ("a wrong threshold", "folded", |m| {
        edit(m, "/sign2/Constant_output_0", |v| v.fill(0.5));
    }),
    ("a wrong value of a binariser", "folded", |m| {
        edit(m, "/sign2/Constant_2_output_0", |v| v.fill(0.0));
    }),
    ("a scale off by 1e-3", "vgg", |m| {
        edit(m, "classifier.weight", |w| *w *= 1.001);
    }),
    ("one weight of the output layer", "folded", |m| {
        edit(m, "classifier.weight", |w| w[[3, 5]] += 0.05);
    }),
];

#[test]
fn each_injected_fault_is_caught_and_is_no_tie() {
    let dir = tempfile::tempdir().unwrap();
    let candidate = dir.path().join("candidate.onnx");
    let data = fixture("digits_test.npz");
    for (what, name, fault) in FAULTS {
        let mut model = Model::load(&network(name)).unwrap().proto;
        fault(&mut model);
        save(&model, &candidate).unwrap();
        let further = ["--data", data.to_str().unwrap()];
        let (code, json, text) = verify(&network(name), &candidate, &further);
        assert_eq!(code, 1, "{what}: {text}");
        assert_eq!(json["passed"], false, "{what}");
        assert_eq!(json["ties"], 0, "{what}: {json}");
        assert!(
            text.contains("fault: ") && !text.contains("tie at"),
            "{what}: {text}"
        );
        assert!(
            text.contains("samples beyond the tolerance"),
            "{what}: {text}"
        );
        let output = &json["outputs"][0];
        assert_eq!(output["name"], "logits");
        assert!(output["beyond"].as_u64().unwrap() > 0, "{what}: {json}");
        assert_eq!(output["max_abs_diff"], json["max_abs_diff"]);
        let mean = output["mean_abs_diff"].as_f64().unwrap();
        assert!(mean > 0.0 && mean <= output["max_abs_diff"].as_f64().unwrap());
    }
}

/// Sums of ±0.1 around 0 in front of a Sign, added up in one go or in two halves: what is 0 on
/// paper is the one or the other side of it.
fn tie_heavy(halves: bool, change: impl Fn(&mut [f32], &mut [f32])) -> ModelProto {
    const WIDE: usize = 64;
    let mut rng = StdRng::seed_from_u64(11);
    let mut random =
        |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect() };
    let w0 = random(16 * WIDE);
    let mut w1: Vec<f32> = random(WIDE * WIDE)
        .iter()
        .map(|w| w.signum() * 0.1)
        .collect();
    let mut w2 = random(WIDE * 10);
    change(&mut w1, &mut w2);
    let mut b = Builder::new(&[16]);
    let named = |b: &mut Builder, op: &str, inputs: &[&str], output: &str| {
        b.node(op, inputs, vec![]);
        let node = b.graph.node.last_mut().unwrap();
        (node.name, node.output) = (Some(output.to_owned()), vec![output.to_owned()]);
    };
    let w0 = b.weight(&[16, WIDE], w0);
    named(&mut b, "MatMul", &["x", &w0], "a0");
    named(&mut b, "Sign", &["a0"], "s0");
    if halves {
        let half = |from: usize| -> Vec<f32> {
            let rows = w1.chunks(WIDE).enumerate();
            rows.flat_map(|(i, row)| {
                let here = (from..from + WIDE / 2).contains(&i);
                row.iter().map(move |&w| if here { w } else { 0.0 })
            })
            .collect()
        };
        let (first, second) = (half(0), half(WIDE / 2));
        let first = b.weight(&[WIDE, WIDE], first);
        let second = b.weight(&[WIDE, WIDE], second);
        named(&mut b, "MatMul", &["s0", &first], "p");
        named(&mut b, "MatMul", &["s0", &second], "q");
        named(&mut b, "Add", &["p", "q"], "a1");
    } else {
        let w1 = b.weight(&[WIDE, WIDE], w1);
        named(&mut b, "MatMul", &["s0", &w1], "a1");
    }
    named(&mut b, "Sign", &["a1"], "s1");
    let w2 = b.weight(&[WIDE, 10], w2);
    named(&mut b, "MatMul", &["s1", &w2], "y");
    b.model(&["y"])
}

#[test]
fn ties_are_named_and_pass_and_faults_among_them_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    save(&tie_heavy(false, |_, _| ()), &at("reference.onnx")).unwrap();
    save(&tie_heavy(true, |_, _| ()), &at("halves.onnx")).unwrap();
    let (code, json, text) = verify(&at("reference.onnx"), &at("halves.onnx"), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(json["ties"].as_u64().unwrap() > 0 && json["max_abs_diff"].as_f64().unwrap() > 0.01);
    assert!(text.contains("tie at node 's1', |margin| = "), "{text}");
    assert!(!text.contains("fault"), "{text}");
    let note = json["tie_notes"][0].as_str().unwrap();
    let margin = note.split("|margin| = ").nth(1).unwrap();
    let margin: f64 = margin.split(';').next().unwrap().parse().unwrap();
    assert!(margin < 1e-5, "{note}");
    type Change = fn(&mut [f32], &mut [f32]);
    let faults: [(&str, Change); 3] = [
        ("one sign", |w1, _| w1[7 * 64 + 11] *= -1.0),
        ("a scale", |_, w2| w2.iter_mut().for_each(|w| *w *= 1.001)),
        ("two filters", |w1, _| {
            for row in w1.chunks_mut(64) {
                row.swap(20, 21);
            }
        }),
    ];
    for (what, change) in faults {
        save(&tie_heavy(true, change), &at("bad.onnx")).unwrap();
        let (code, json, text) = verify(&at("reference.onnx"), &at("bad.onnx"), &[]);
        assert_eq!(code, 1, "{what}: {text}");
        assert!(
            json["passed"] == false && text.contains("fault: "),
            "{what}: {text}"
        );
    }
}

#[test]
fn tolerances_are_the_users() {
    let dir = tempfile::tempdir().unwrap();
    let candidate = dir.path().join("candidate.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    edit(&mut model, "classifier.weight", |w| *w *= 1.001);
    save(&model, &candidate).unwrap();
    let code = |further: &[&str]| verify(&network("vgg"), &candidate, further).0;
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--rtol", "0.01"]), 0);
    assert_eq!(code(&["--atol", "1"]), 0);
    assert_eq!(code(&["--atol", "1e-9", "--rtol", "1e-9"]), 1);
    let (same, ..) = verify(
        &network("vgg"),
        &network("vgg"),
        &["--atol", "0", "--rtol", "0"],
    );
    assert_eq!(same, 0);
    for bad in ["-1", "nan", "much"] {
        let mut c = tool();
        c.arg("verify").args([network("vgg"), network("vgg")]);
        c.arg(format!("--atol={bad}")).assert().code(2);
    }
}
