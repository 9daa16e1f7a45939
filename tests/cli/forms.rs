//! `--to` and `convert`: the forms that a network is written in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{
    NETWORKS, digit_bytes, fixture, json, max_abs_diff, network, quick, quick_rule, refused,
    runtime, tool, write_masks,
};
use crate::graphs::{Attr, Builder};
use ndarray::{ArrayD, Axis};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::{ModelProto, TensorProto};
use onnx_bnnprune::onnx::{DataType, Model, Tensor, save, to_bytes};
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::qonnx;
use onnx_bnnprune::recognize;
use onnx_bnnprune::verify::{Optimization, Runtime as _, SessionOptions};

mod packed;
mod stored_in_bytes;

const LEVELS: [Optimization; 3] = [Optimization::Off, Optimization::Basic, Optimization::All];

fn proto(path: &Path) -> ModelProto {
    Model::load(path).unwrap().proto
}

fn initializers(model: &ModelProto) -> &[TensorProto] {
    &model.graph.as_ref().unwrap().initializer
}

fn named<'a>(model: &'a ModelProto, name: &str) -> Option<&'a TensorProto> {
    initializers(model).iter().find(|t| t.name() == name)
}

/// Two models give the same bits at each level of optimisation, but for the lowest: there nothing is
/// folded, and a Gemm whose weights are computed adds up in another order than one that was prepared.
fn same(a: &Path, b: &Path) {
    let (a, b) = (outputs(a), outputs(b));
    assert_eq!(a[1..], b[1..]);
    assert!(max_abs_diff(&a[0], &b[0]) < 1e-5);
}

/// The weights of each layer, by its name.
fn weights(path: &Path) -> BTreeMap<String, ArrayD<f32>> {
    let model = proto(path);
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let layers = recognize::layers(&graph, &facts).into_iter();
    layers.map(|l| (l.name, l.values)).collect()
}

/// Outputs on test digits, at each level of optimisation.
fn outputs(path: &Path) -> Vec<ArrayD<f32>> {
    let (images, _) = digit_bytes();
    let x = images.select(Axis(0), &[0, 5, 9, 40, 77, 100, 203, 333]);
    let x = x.mapv(|v| f32::from(v) / 255.0).into_dyn();
    let lowered = proto(path);
    let lowered = qonnx::lower(&lowered).unwrap().model.into_owned();
    let name = lowered.graph.as_ref().unwrap().input[0].name().to_owned();
    LEVELS
        .map(|optimization| {
            let options = SessionOptions {
                optimization,
                ..SessionOptions::default()
            };
            let mut session = runtime().load(&to_bytes(&lowered), &options).unwrap();
            session
                .run(&[(name.clone(), x.clone())])
                .unwrap()
                .remove(0)
                .1
        })
        .into()
}

fn convert(from: &Path, to: &Path, form: &str) {
    let mut c = tool();
    c.arg("convert").args([from, to]).args(["--to", form, "-q"]);
    c.assert().success();
}

/// Initializers of bytes.
fn of_bytes(path: &Path) -> usize {
    let model = proto(path);
    let tensors = initializers(&model).iter();
    let bytes = tensors.filter(|t| t.data_type() == DataType::U8.to_onnx());
    bytes.count()
}

/// A network packed in a folder.
fn packed(dir: &Path, name: &str) -> PathBuf {
    let out = dir.join(format!("{name}.packed.onnx"));
    convert(&network(name), &out, "packed");
    out
}

#[test]
fn the_same_options_give_the_same_bytes_that_say_how_they_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let masks = dir.path().join("m.json");
    write_masks(&masks, &[("/conv2/Conv", 48, &[1, 7, 30])]);
    let run = |model: &Path, out: &str, to: &[&str]| {
        let out = dir.path().join(out);
        let mut c = tool();
        c.arg(model)
            .arg(&out)
            .arg("--masks")
            .arg(&masks)
            .args(["-q"])
            .args(to);
        c.args(["--data"])
            .arg(fixture("digits_test.npz"))
            .assert()
            .success();
        out
    };
    let first = run(&network("vgg"), "a.onnx", &["--to", "packed"]);
    let second = run(&network("vgg"), "b.onnx", &["--to", "packed"]);
    assert_eq!(
        std::fs::read(&first).unwrap(),
        std::fs::read(&second).unwrap()
    );
    let model = proto(&first);
    assert_eq!(model.producer_name(), "onnx-bnnprune");
    assert_eq!(model.producer_version(), env!("CARGO_PKG_VERSION"));
    let said = |model: &ModelProto, key: &str| {
        let key = format!("onnx_bnnprune.{key}");
        let found: Vec<_> = model
            .metadata_props
            .iter()
            .filter(|p| p.key() == key)
            .map(|p| p.value().to_owned())
            .collect();
        assert!(found.len() <= 1, "{key}");
        found.into_iter().next()
    };
    let sha = |path: &Path| {
        use sha2::{Digest as _, Sha256};
        let digits = Sha256::digest(std::fs::read(path).unwrap());
        digits
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    assert_eq!(said(&model, "method").as_deref(), Some("masks"));
    assert_eq!(said(&model, "form").as_deref(), Some("packed"));
    let ran = format!("ONNX Runtime {}", runtime().version());
    assert_eq!(said(&model, "runtime"), Some(ran));
    assert_eq!(said(&model, "input_sha256"), Some(sha(&network("vgg"))));
    assert!(said(&model, "masks_sha256").is_some_and(|s| s.len() == 64));
    assert!(
        said(&model, "pruned_share")
            .unwrap()
            .parse::<f64>()
            .unwrap()
            > 0.0
    );
    assert!(
        said(&model, "accuracy_before")
            .unwrap()
            .parse::<f64>()
            .unwrap()
            > 0.9
    );
    let original = proto(&network("vgg"));
    assert_eq!(
        said(&model, "original_producer_name").as_deref(),
        Some(original.producer_name())
    );
    // A second run says what it did itself, and still knows the first producer.
    write_masks(&masks, &[("/conv3/Conv", 64, &[2])]);
    let again = proto(&run(&first, "c.onnx", &[]));
    assert_eq!(said(&again, "input_sha256"), Some(sha(&first)));
    assert_eq!(
        said(&again, "original_producer_name").as_deref(),
        Some(original.producer_name())
    );
}

#[test]
fn what_has_no_such_form_is_refused_in_one_line_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let of = |model: &Path, form: &str| {
        let mut c = tool();
        c.arg("convert")
            .arg(model)
            .arg(&out)
            .args(["--to", form, "-q"]);
        c
    };
    let float = network("float");
    refused(
        &mut of(&float, "packed"),
        2,
        &["digits_float.onnx", "packed", "±1"],
    );
    refused(
        &mut of(&float, "qonnx"),
        2,
        &["digits_float.onnx", "qonnx", "float layer"],
    );
    refused(
        &mut of(&float, "integer"),
        2,
        &["digits_float.onnx", "integer", "no binary layer"],
    );
    refused(
        &mut of(&network("folded"), "onnx"),
        2,
        &["--to onnx", "standard operators already"],
    );
    let small = packed(dir.path(), "vgg");
    refused(
        &mut of(&small, "packed"),
        2,
        &["--to packed", "packed already"],
    );
    let quant = fixture("dialects/brevitas_conv.clean.onnx");
    refused(
        &mut of(&quant, "qonnx"),
        2,
        &["--to qonnx", "QONNX already"],
    );
    let mut b = Builder::new(&[32, 4, 4]);
    let signs = (0..1024)
        .map(|k| if k * k % 7 < 3 { 1.0 } else { -1.0 })
        .collect();
    let weight = b.weight(&[32, 32, 1, 1], signs);
    let at = b.node("Sign", &["x"], vec![]);
    let at = b.node(
        "Conv",
        &[&at, &weight],
        vec![("kernel_shape", Attr::Ints(vec![1, 1]))],
    );
    // What gives no number at all is not the form's fault.
    let mut broken = b.clone();
    let none = broken.weight(&[], vec![f32::NAN]);
    let nothing = broken.node("Add", &[&at, &none], vec![]);
    let path = dir.path().join("nan.onnx");
    save(&broken.model(&[&nothing]), &path).unwrap();
    refused(
        &mut of(&path, "packed"),
        2,
        &["nan.onnx", "no finite output"],
    );
    // Opset 10 is too old.
    let mut old = b.model(&[&at]);
    old.opset_import[0].version = Some(10);
    let path = dir.path().join("old.onnx");
    save(&old, &path).unwrap();
    refused(
        &mut of(&path, "packed"),
        2,
        &["old.onnx", "opset 10", "version_converter"],
    );
    old.opset_import[0].version = Some(11);
    save(&old, &path).unwrap();
    of(&path, "packed").assert().success();
    assert!(!dir.path().join("old.onnx.unfinished.onnx").exists());
    let mut same = tool();
    same.arg("convert")
        .args([&path, &path])
        .args(["--to", "packed", "-q"]);
    refused(&mut same, 2, &["--in-place"]);
    same.arg("--in-place").assert().success();
    refused(
        tool()
            .arg("a")
            .arg("b")
            .args(["--to", "integer", "--normalise"]),
        2,
        &["--normalise has no effect", "--to integer"],
    );
}

#[test]
fn other_forms_compute_the_same_and_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // The weights become BipolarQuant; Sign stays, where it gives 0 at 0.
    convert(&network("vgg"), &path("q.onnx"), "qonnx");
    let model = proto(&path("q.onnx"));
    let count = |model: &ModelProto, op: &str| {
        let nodes = &model.graph.as_ref().unwrap().node;
        nodes.iter().filter(|n| n.op_type() == op).count()
    };
    assert_eq!(count(&model, "BipolarQuant"), 3);
    same(&network("vgg"), &path("q.onnx"));
    convert(&path("q.onnx"), &path("back.onnx"), "onnx");
    assert_eq!(count(&proto(&path("back.onnx")), "BipolarQuant"), 0);
    same(&network("vgg"), &path("back.onnx"));
    // Weights that are computed of latents are floats then, for tools that look for initializers.
    convert(&network("vgg"), &path("w.onnx"), "onnx");
    let model = proto(&path("w.onnx"));
    assert_eq!((count(&model, "Abs"), count(&model, "Sign")), (0, 3));
    same(&network("vgg"), &path("w.onnx"));
    // Where(x >= 0, 1, -1) is a BipolarQuant; so is Cast(x >= 0) * 2 - 1.
    convert(&network("folded"), &path("f.onnx"), "qonnx");
    let model = proto(&path("f.onnx"));
    assert_eq!(count(&model, "BipolarQuant"), 3 + 2);
    assert_eq!(count(&model, "Where"), 0);
    same(&network("folded"), &path("f.onnx"));
    // A packed one of QONNX is standard.
    convert(&path("f.onnx"), &path("fp.onnx"), "packed");
    assert_eq!(count(&proto(&path("fp.onnx")), "BipolarQuant"), 0);
    same(&network("folded"), &path("fp.onnx"));
    // The integer form, and its bits.
    convert(&network("vgg"), &path("i.onnx"), "integer");
    convert(&path("i.onnx"), &path("ip.onnx"), "packed");
    same(&path("i.onnx"), &path("ip.onnx"));
    let scales = initializers(&proto(&path("ip.onnx")))
        .iter()
        .filter(|t| t.name().ends_with(".sign.scale"))
        .count();
    assert_eq!(scales, 0, "±1 need none");
    let normal = path("n.onnx");
    let mut c = tool();
    c.arg(network("vgg"))
        .arg(&normal)
        .args(["--method", "none", "--normalise", "-q"]);
    c.assert().success();
    same(&path("i.onnx"), &normal);
}

/// BipolarQuant is of float32.
#[test]
fn what_is_not_float32_does_not_become_qonnx() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let signs: Vec<f32> = (0..1024)
        .map(|k| if k * k % 7 < 3 { 0.5 } else { -0.5 })
        .collect();
    // Binarised as Where(x >= 0, 1, -1), in 16 bits and then in 32.
    let layer = |b: &mut Builder, at: &str, half: bool| {
        let of = |b: &mut Builder, shape: &[usize], data: Vec<f32>| {
            let data = ArrayD::from_shape_vec(shape.to_vec(), data).unwrap();
            match half {
                true => b.constant(&Tensor::of(DataType::F16, &data.mapv(f64::from))),
                false => b.constant(&Tensor::F32(data)),
            }
        };
        let weight = of(b, &[32, 32, 1, 1], signs.clone());
        let [zero, one, minus] = [0.0, 1.0, -1.0].map(|v| of(b, &[], vec![v]));
        let above = b.node("GreaterOrEqual", &[at, &zero], vec![]);
        let x = b.node("Where", &[&above, &one, &minus], vec![]);
        b.node("Conv", &[&x, &weight], vec![])
    };
    let mut b = Builder::new(&[32, 4, 4]);
    let at = b.node("Cast", &["x"], vec![("to", Attr::Int(10))]);
    let at = layer(&mut b, &at, true);
    let at = b.node("Cast", &[&at], vec![("to", Attr::Int(1))]);
    let half = b.model(&[&at]);
    save(&half, &path("half.onnx")).unwrap();
    let of = |input: &str| {
        let mut c = tool();
        c.arg("convert").args([path(input), path("out.onnx")]);
        c.args(["--to", "qonnx", "--report"]).arg(path("r.json"));
        c
    };
    refused(
        &mut of("half.onnx"),
        2,
        &["half.onnx", "qonnx", "float32 become BipolarQuant"],
    );
    let mut b = Builder::new(&[32, 4, 4]);
    let at = layer(&mut b, "x", false);
    let at = b.node("Cast", &[&at], vec![("to", Attr::Int(10))]);
    let at = layer(&mut b, &at, true);
    let at = b.node("Cast", &[&at], vec![("to", Attr::Int(1))]);
    save(&b.model(&[&at]), &path("mixed.onnx")).unwrap();
    of("mixed.onnx").arg("-q").assert().success();
    let report = json(&path("r.json"));
    assert_eq!(report["form"]["layers"].as_array().unwrap().len(), 1);
    let left = report["form"]["left"].as_object().unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.values()
            .all(|why| why.as_str().unwrap().contains("float32"))
    );
}

#[test]
fn what_masked_filters_compute_is_no_tie_of_the_integer_form() {
    // With biases in its convolutions, without which sums lie at their thresholds.
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let mut c = quick_rule(&network("folded"), &out);
    c.args(["--method", "magnitude", "--ratio", "0.5", "--to", "integer"]);
    c.arg("--report").arg(&report).assert().success();
    let found = &json(&report)["normalised"]["verification"];
    assert!(found["ties"].as_u64().unwrap() < 10, "{found}");
    assert!(found["top1_agreement"].as_f64().unwrap() > 0.99, "{found}");
}

/// The digits network with weights as `b - c + c` leaves them: ±1 times one scale, some of them an ulp apart.
fn rounded(path: &Path) {
    let fixture = network("vgg");
    let mut model = Model::load(&fixture).unwrap().proto;
    let view = View::new(&fixture, &model).unwrap();
    let weights: Vec<(usize, ArrayD<f32>)> = view
        .layers
        .iter()
        .filter(|layer| layer.is_binary())
        .map(|layer| {
            let mut apart = layer.values.clone();
            let some = apart.iter_mut().step_by(3);
            some.for_each(|w| *w = f32::from_bits(w.to_bits() + 1));
            (layer.node.0, apart)
        })
        .collect();
    drop(view);
    assert!(!weights.is_empty());
    let graph = model.graph.as_mut().unwrap();
    for (node, values) in weights {
        let name = format!("apart{node}");
        graph.initializer.push(Tensor::F32(values).to_proto(&name));
        graph.node[node].input[1] = name;
    }
    save(&model, path).unwrap();
}

#[test]
fn weights_that_are_bits_but_for_rounding_say_so_and_are_packed_when_learned() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    rounded(&path);
    for form in ["packed", "qonnx"] {
        let mut c = tool();
        c.arg("convert").arg(&path).arg(&out).args(["--to", form]);
        refused(&mut c, 2, &["only up to rounding", "--normalise"]);
    }
    let mut c = tool();
    c.arg(&path).arg(&out);
    c.args(["--to", "packed", "--normalise"]).assert().success();
    std::fs::remove_file(&out).unwrap();
    // What is learned is written exactly.
    let mut c = quick(&path, &out);
    c.args(["--ratio", "0.2", "--to", "packed"])
        .assert()
        .success();
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(
        size(&out) < size(&path) * 2 / 3,
        "{} {}",
        size(&out),
        size(&path)
    );
}
