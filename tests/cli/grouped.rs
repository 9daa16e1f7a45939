//! Grouped convolutions: as many filters of each group stay, chosen before the network is retrained.

use std::path::{Path, PathBuf};

use ndarray::{Axis, Slice};
use onnx_bnnprune::onnx::proto::{AttributeProto, ModelProto};
use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{fixture, json, network, node, quick, quick_rule, tool};

/// Groups of the second and of the third binary convolution.
const GROUPS: [usize; 2] = [4, 2];

/// Makes a convolution one in groups, of the first channels that each filter reads.
fn group(model: &mut ModelProto, conv: &str, weight: &str, groups: usize) {
    let graph = model.graph.as_mut().unwrap();
    let tensor = graph.initializer.iter_mut().find(|t| t.name() == weight);
    let tensor = tensor.unwrap();
    let Tensor::F32(w) = Tensor::from_proto(tensor).unwrap() else {
        panic!("{weight} is not f32")
    };
    let channels = w.shape()[1] / groups;
    let fewer = w.slice_axis(Axis(1), Slice::from(..channels)).to_owned();
    *tensor = Tensor::F32(fewer).to_proto(weight);
    let conv = graph.node.iter_mut().find(|n| n.name() == conv).unwrap();
    conv.attribute.retain(|a| a.name() != "group");
    conv.attribute
        .push(AttributeProto::int("group", groups as i64));
}

/// The digits network with two convolutions in groups, between which channels are shuffled, trained anew.
fn shuffled(folder: &Path) -> PathBuf {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    group(&mut model, "/conv2/Conv", "conv2.weight", GROUPS[0]);
    group(&mut model, "/conv3/Conv", "conv3.weight", GROUPS[1]);
    let graph = model.graph.as_mut().unwrap();
    for (name, shape) in [
        ("apart", vec![0, 4, 12, 4, 4]),
        ("together", vec![0, 48, 4, 4]),
    ] {
        let shape = Tensor::I64(ndarray::Array1::from(shape).into_dyn());
        graph.initializer.push(shape.to_proto(name));
    }
    let at = graph.node.iter().position(|n| n.name() == "/conv3/Conv");
    let at = at.unwrap();
    let x = std::mem::replace(&mut graph.node[at].input[0], "shuffled".to_owned());
    let shuffle = [
        node("Reshape", &[&x, "apart"], &["a"], &[]),
        node("Transpose", &["a"], &["b"], &[("perm", &[0, 2, 1, 3, 4])]),
        node("Reshape", &["b", "together"], &["shuffled"], &[]),
    ];
    graph.node.splice(at..at, shuffle);
    let [raw, trained] = ["raw.onnx", "in.onnx"].map(|name| folder.join(name));
    save(&model, &raw).unwrap();
    let mut c = tool();
    c.arg("train").arg(&raw).arg(&trained);
    c.arg("--data").arg(fixture("digits_train.npz"));
    c.arg("--val").arg(fixture("digits_test.npz"));
    c.args(["--epochs", "4", "--batch-size", "64"])
        .assert()
        .success();
    trained
}

#[test]
fn no_masked_filter_has_to_stay_for_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let input = shuffled(dir.path());
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    for options in [
        // Filters of ±1 alone: one that is masked and stays would be of zeros.
        &["--ratio", "0.4", "--to", "qonnx"][..],
        &["--alpha", "0.3"],
        &["--method", "magnitude", "--ratio", "0.5", "--to", "integer"],
        &["--method", "random", "--ratio", "0.3", "--round-to", "8"],
    ] {
        let mut c = match options[0] {
            "--method" => quick_rule(&input, &out),
            _ => quick(&input, &out),
        };
        c.args(options).arg("--report").arg(&report);
        c.assert().success();
        let found = json(&report);
        let layers = found["layers"].as_array().unwrap();
        let masked = layers
            .iter()
            .map(|l| l["masked_but_kept"].as_u64().unwrap());
        assert_eq!(masked.sum::<u64>(), 0, "{options:?}");
        let gone = found["totals"]["pruned_ratio"].as_f64().unwrap();
        let asked = options.iter().skip_while(|o| **o != "--ratio").nth(1);
        let asked: f64 = asked.map_or(0.05, |o| o.parse().unwrap());
        // Multiples of 8 of 40 to 64 filters are coarse.
        let least = asked
            - if options.contains(&"--round-to") {
                0.1
            } else {
                0.0
            };
        assert!(gone >= least, "{options:?}: {gone}");
    }
}

#[test]
fn a_share_that_no_multiple_of_the_groups_can_give_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let input = shuffled(dir.path());
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let mut c = quick_rule(&input, &out);
    // 40, 48 and 64 filters in multiples of 8: nearly nothing of each.
    c.args(["--method", "random", "--ratio", "0.06", "--round-to", "8"]);
    c.arg("--report").arg(&report).assert().success();
    let found = json(&report);
    assert_eq!(found["totals"]["pruned_ratio"].as_f64(), Some(0.0));
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("asks for 6.0 % of the filters, and 0.0 % went"),
        "{warnings}"
    );
}
