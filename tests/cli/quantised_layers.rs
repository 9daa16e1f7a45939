//! Layers of eight bits around the binary ones: they are learned through, and stay in eight bits.

use std::collections::BTreeSet;
use std::path::Path;

use ndarray::{Array2, Axis, arr0};
use onnx_bnnprune::onnx::proto::GraphProto;
use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{few_digits, fixture, network, node, quick, refused, tool};
use crate::graphs::Builder;

/// The digits network with its classifier in eight bits: weights, behind a `Transpose` perhaps, and what they read.
fn with_bytes(path: &Path, transposed: bool) {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let at = graph
        .node
        .iter()
        .position(|n| n.op_type() == "Gemm")
        .unwrap();
    let [data, weight] = [0, 1].map(|k| graph.node[at].input[k].clone());
    let held = graph
        .initializer
        .iter()
        .find(|t| t.name() == weight)
        .unwrap();
    let weights = Tensor::from_proto(held).unwrap().as_f32().unwrap().clone();
    let step = weights.iter().fold(0f32, |m, w| m.max(w.abs())) / 127.0;
    let mut whole = weights.mapv(|w| (w / step).round() as i8);
    if transposed {
        whole = whole.reversed_axes().as_standard_layout().into_owned();
    }
    let constants = [
        ("bytes", Tensor::I8(whole)),
        ("step", Tensor::F32(arr0(step).into_dyn())),
        ("zero", Tensor::I8(arr0(0i8).into_dyn())),
        ("data_step", Tensor::F32(arr0(0.05f32).into_dyn())),
    ];
    graph
        .initializer
        .extend(constants.map(|(name, value)| value.to_proto(name)));
    let mut new = vec![
        node(
            "QuantizeLinear",
            &[&data, "data_step", "zero"],
            &["data_bytes"],
            &[],
        ),
        node(
            "DequantizeLinear",
            &["data_bytes", "data_step", "zero"],
            &["data_float"],
            &[],
        ),
        node(
            "DequantizeLinear",
            &["bytes", "step", "zero"],
            &["float"],
            &[],
        ),
    ];
    let mut weight = "float";
    if transposed {
        new.push(node(
            "Transpose",
            &["float"],
            &["turned"],
            &[("perm", &[1, 0])],
        ));
        weight = "turned";
    }
    let gemm = &mut graph.node[at];
    gemm.input[0] = "data_float".to_owned();
    gemm.input[1] = weight.to_owned();
    graph.node.splice(at..at, new);
    save(&model, path).unwrap();
}

/// The integers that a file's classifier is made of, `[10, K]`.
fn bytes(path: &Path) -> Array2<i8> {
    let model = Model::load(path).unwrap().proto;
    let graph: GraphProto = model.graph.unwrap();
    let writer = graph.node.iter().find(|n| n.output[0] == "float").unwrap();
    assert_eq!(writer.op_type(), "DequantizeLinear");
    let held = graph
        .initializer
        .iter()
        .find(|t| *t.name() == writer.input[0])
        .unwrap();
    match Tensor::from_proto(held).unwrap() {
        Tensor::I8(whole) => whole.into_dimensionality().unwrap(),
        other => panic!("{:?}", other.data_type()),
    }
}

#[test]
fn pruning_leaves_columns_of_the_integers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("m.onnx"), dir.path().join("o.onnx"));
    with_bytes(&path, false);
    let mut c = quick(&path, &out);
    c.arg("--ratio=0.3").assert().success();
    let (before, after) = (bytes(&path), bytes(&out));
    assert!(after.ncols() < before.ncols(), "{:?}", after.dim());
    let columns = |of: &Array2<i8>| -> BTreeSet<Vec<i8>> {
        of.axis_iter(Axis(1))
            .map(|column| column.to_vec())
            .collect()
    };
    assert!(columns(&after).is_subset(&columns(&before)));
}

#[test]
fn training_leaves_the_integers_alone() {
    let dir = tempfile::tempdir().unwrap();
    for transposed in [false, true] {
        let (path, out) = (dir.path().join("m.onnx"), dir.path().join("o.onnx"));
        with_bytes(&path, transposed);
        let mut c = tool();
        c.arg("train")
            .arg(&path)
            .arg(&out)
            .arg("--data")
            .arg(fixture("digits_test.npz"));
        c.arg("--val").arg(few_digits()).args(["--epochs", "1"]);
        c.assert().success();
        assert_ne!(std::fs::read(&path).unwrap(), std::fs::read(&out).unwrap());
        assert_eq!(bytes(&path), bytes(&out), "{transposed}");
    }
}

/// ±1 in the steps of 2/255 that ONNX Runtime takes for it is ±0.996: sums of them are not those of ±1.
#[test]
fn signs_that_became_another_number_have_no_integer_form() {
    let mut b = Builder::new(&[2, 6, 6]);
    let weight = |count: usize| {
        (0..count)
            .map(|i| (i as f32 * 0.7).sin().signum())
            .collect()
    };
    let stem = b.weight(&[16, 2, 3, 3], weight(288));
    let stem = b.node("Conv", &["x", &stem], vec![]);
    let sign = b.node("Sign", &[&stem], vec![]);
    let step = b.weight(&[], vec![2.0 / 255.0]);
    let zero = b.constant(&Tensor::I8(arr0(0i8).into_dyn()));
    let bytes = b.node("QuantizeLinear", &[&sign, &step, &zero], vec![]);
    let floats = b.node("DequantizeLinear", &[&bytes, &step, &zero], vec![]);
    let binary = b.weight(&[4, 16, 3, 3], weight(576));
    let sums = b.node("Conv", &[&floats, &binary], vec![]);
    let y = b.node("Sign", &[&sums], vec![]);
    let dir = tempfile::tempdir().unwrap();
    let [path, out] = ["m.onnx", "o.onnx"].map(|name| dir.path().join(name));
    save(&b.model(&[&y]), &path).unwrap();
    let mut c = tool();
    c.arg("convert")
        .arg(&path)
        .arg(&out)
        .args(["--to", "integer"]);
    refused(&mut c, 2, &["scaled behind the binariser"]);
}
