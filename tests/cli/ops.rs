//! `--to ops`: binary layers as operators, which a library computes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayD};
use onnx_bnnprune::forms::OPS_DOMAIN;
use onnx_bnnprune::onnx::proto::{AttributeProto, ModelProto};
use onnx_bnnprune::onnx::{Model, save, to_bytes};
use onnx_bnnprune::verify::{Optimization, Runtime as _, SessionOptions, name_operator_library};

use crate::common::{NETWORKS, fixture, json, network, quick_rule, refused, runtime, tool};
use crate::graphs::{Attr, Builder};

/// The library, which Cargo builds beside the tests.
fn library() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let here = std::env::current_exe().unwrap();
    let name = format!("{DLL_PREFIX}onnx_bnnprune_ops{DLL_SUFFIX}");
    let path = here.parent().unwrap().join(name);
    assert!(path.is_file(), "{}", path.display());
    path
}

/// A network in a form, written to a folder.
fn converted(dir: &Path, network: &Path, form: &str) -> PathBuf {
    let name = network.file_stem().unwrap().to_str().unwrap();
    let out = dir.join(format!("{name}.{form}.onnx"));
    let mut c = tool();
    c.arg("convert")
        .args([network, &out])
        .args(["--to", form, "-q"]);
    c.arg("--ops-library").arg(library());
    c.assert().success();
    out
}

/// What a model gives for some images, at a level of optimisation, or why it gives nothing.
fn outputs(model: &[u8], images: usize, level: Optimization) -> Result<ArrayD<f32>, String> {
    name_operator_library(library());
    let options = SessionOptions {
        optimization: level,
        threads: 2,
    };
    let mut session = runtime().load(model, &options).map_err(|e| e.to_string())?;
    let input = session.inputs()[0].clone();
    let shape: Vec<usize> = input.shape[1..].iter().map(|d| d.unwrap_or(1)).collect();
    let x = Array4::from_shape_fn((images, shape[0], shape[1], shape[2]), |(n, c, y, x)| {
        ((n * 7919 + c * 31 + y * 101 + x * 57) % 97) as f32 / 48.0 - 1.0
    });
    let ran = session.run(&[(input.name, x.into_dyn())]);
    ran.map(|mut y| y.remove(0).1).map_err(|e| e.to_string())
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn outputs_are_those_of_the_integer_form_to_the_bit_at_any_batch_and_level() {
    let dir = tempfile::tempdir().unwrap();
    let others = ["cifar10/nin_w50.onnx", "cifar10/vgg11_w50.onnx"].map(fixture);
    for network in NETWORKS.map(network).into_iter().chain(others) {
        let ops = bytes(&converted(dir.path(), &network, "ops"));
        let integer = bytes(&converted(dir.path(), &network, "integer"));
        for level in [Optimization::Off, Optimization::Basic, Optimization::All] {
            for images in [1, 5] {
                let [a, b] = [&ops, &integer].map(|m| outputs(m, images, level).unwrap());
                assert_eq!(a, b, "{} {level:?}", network.display());
            }
        }
    }
}

/// Sums that may be equal to their thresholds, of activations that may be 0, with pooling on either side of a sign: whole
/// numbers as thresholds, as networks for FPGAs have them.
#[test]
fn what_is_equal_to_a_threshold_is_0_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for (padded, shift) in [(0, 0.0), (1, 0.0), (0, 1.0), (1, 0.5)] {
        let mut b = Builder::new(&[3, 9, 9]);
        let mut signs = 0u32;
        let mut weights = |b: &mut Builder, shape: [usize; 4]| {
            let all = (0..shape.iter().product()).map(|_| {
                signs = signs.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if signs >> 31 == 0 { 1.0 } else { -1.0 }
            });
            let all = all.collect();
            b.weight(&shape, all)
        };
        let mut layer = |b: &mut Builder, x: &str, [from, to]: [usize; 2], pooled: bool| {
            let w = weights(b, [to, from, 3, 3]);
            let pads = vec![("pads", Attr::Ints(vec![padded; 4]))];
            let mut y = b.node("Conv", &[x, &w], pads);
            b.graph.node.last_mut().unwrap().name = Some(format!("conv{from}"));
            let pool = vec![("kernel_shape", Attr::Ints(vec![2, 2]))];
            if pooled {
                y = b.node("MaxPool", &[&y], pool);
                let turned = (0..to).map(|c| if c % 3 == 0 { -1.0 } else { 1.0 });
                let turned = b.weight(&[1, to, 1, 1], turned.collect());
                y = b.node("Mul", &[&y, &turned], vec![]);
            }
            let limits = (0..to).map(|c| (c % 5) as f32 - 2.0 + shift);
            let limits = b.weight(&[1, to, 1, 1], limits.collect());
            let y = b.node("Sub", &[&y, &limits], vec![]);
            b.node("Sign", &[&y], vec![])
        };
        let x = b.node("Sign", &["x"], vec![]);
        let x = layer(&mut b, &x, [3, 11], false);
        let x = layer(&mut b, &x, [11, 9], true);
        let x = layer(&mut b, &x, [9, 10], false);
        let y = b.node("GlobalAveragePool", &[&x], vec![]);
        let y = b.node("Flatten", &[&y], vec![]);
        let path = dir.path().join("ties.onnx");
        save(&b.model(&[&y]), &path).unwrap();
        let ops = converted(dir.path(), &path, "ops");
        let integer = bytes(&converted(dir.path(), &path, "integer"));
        let model = Model::load(&ops).unwrap().proto;
        let nodes = &model.graph.as_ref().unwrap().node;
        let names: BTreeSet<&str> = nodes.iter().map(|n| n.name()).collect();
        assert_eq!(names.len(), nodes.len(), "{names:?}");
        let with_at = nodes.iter().filter(|n| {
            n.op_type() == "BinaryConvSign" && n.attribute.iter().any(|a| a.name() == "at")
        });
        assert_eq!(with_at.count() > 0, shift != 0.5, "{padded} {shift}");
        assert!(nodes.iter().all(|n| n.op_type() != "Conv"), "{names:?}");
        let ops = bytes(&ops);
        for level in [Optimization::Off, Optimization::All] {
            let [a, b] = [&ops, &integer].map(|m| outputs(m, 7, level).unwrap());
            assert_eq!(a, b, "{padded} {shift} {level:?}");
        }
    }
}

#[test]
fn the_report_says_which_layers_are_operators_and_why_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let mut c = tool();
    c.arg("convert")
        .arg(network("vgg"))
        .arg(&out)
        .args(["--to", "ops", "-q"]);
    c.arg("--ops-library")
        .arg(library())
        .arg("--report")
        .arg(&report);
    c.assert().success();
    let report = json(&report);
    assert_eq!(report["verification"]["passed"], true);
    for level in ["off", "basic", "all"] {
        assert_eq!(report["form"]["max_abs_diff"][level], 0.0, "{level}");
    }
    assert_eq!(report["form"]["layers"].as_array().unwrap().len(), 3);
    let left = report["form"]["left"]["/stem/conv/Conv"].as_str().unwrap();
    assert!(left.contains("float layer"), "{left}");
    // Nothing was pruned: costs are those of the layers.
    assert_eq!(
        report["totals"]["macs_before"],
        report["totals"]["macs_after"]
    );
    let imports = Model::load(&out).unwrap().proto.opset_import;
    assert!(
        imports
            .iter()
            .any(|o| o.domain() == OPS_DOMAIN && o.version() == 1)
    );
}

#[test]
fn a_pruned_network_is_written_with_operators_and_read_by_other_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (out, masked) = (dir.path().join("o.onnx"), dir.path().join("m.onnx"));
    let mut c = quick_rule(&network("vgg"), &out);
    c.args(["--method", "random", "--ratio", "0.3", "--to", "ops"]);
    c.arg("--save-masked")
        .arg(&masked)
        .arg("--ops-library")
        .arg(library());
    c.assert().success();
    let mut c = tool();
    c.arg("verify")
        .args([&out, &out])
        .arg("--ops-library")
        .arg(library());
    c.assert().success();
    let mut c = tool();
    c.arg("check").arg(&out).arg("--ops-library").arg(library());
    c.assert().success();
    let mut c = tool();
    c.arg("eval")
        .arg(&out)
        .arg("--data")
        .arg(fixture("digits_test.npz"));
    c.arg("--ops-library").arg(library());
    c.assert().success();
    // It is an end product.
    let again = dir.path().join("again.onnx");
    let words = [
        "o.onnx",
        "operators already",
        "the model that it was made of",
    ];
    let mut c = tool();
    c.args([&out, &again]).arg("--ops-library").arg(library());
    refused(&mut c, 2, &words);
    let mut c = tool();
    c.arg("convert").args([&out, &again]).args(["--to", "onnx"]);
    refused(&mut c, 2, &words);
    let mut c = tool();
    c.arg("train").args([&out, &again]);
    c.arg("--data").arg(fixture("digits_train.npz"));
    refused(&mut c, 2, &words);
}

#[test]
fn without_the_library_one_line_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ops = converted(dir.path(), &network("vgg"), "ops");
    let mut c = tool();
    c.arg("verify")
        .args([&ops, &ops])
        .args(["--ops-library", "nowhere.so"]);
    refused(&mut c, 3, &["--ops-library", "nowhere.so", "no such file"]);
    // ONNX Runtime names the domain, which is where to read on.
    let mut model = Model::load(&ops).unwrap().proto;
    model.opset_import.retain(|o| o.domain() != OPS_DOMAIN);
    let error = outputs(&to_bytes(&model), 1, Optimization::All).unwrap_err();
    assert!(error.contains("docs/operators.md"), "{error}");
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Changes an attribute or an input of a node of the domain, or a tensor.
fn malform(model: &mut ModelProto, numbers: &mut Numbers) {
    const WILD: [i64; 10] = [i64::MIN, -1, 0, 1, 2, 7, 64, 1 << 20, 1 << 31, i64::MAX];
    let graph = model.graph.as_mut().unwrap();
    let nodes = graph.node.iter_mut().filter(|n| n.domain() == OPS_DOMAIN);
    let mut nodes: Vec<_> = nodes.collect();
    let count = nodes.len();
    let node = &mut nodes[numbers.below(count)];
    let attribute = numbers.below(node.attribute.len());
    let value = WILD[numbers.below(WILD.len())];
    match numbers.below(8) {
        0 if !node.attribute.is_empty() => drop(node.attribute.remove(attribute)),
        1 if !node.attribute.is_empty() => {
            let changed: &mut AttributeProto = &mut node.attribute[attribute];
            changed.i = Some(value);
            changed.ints.iter_mut().for_each(|i| *i = value);
        }
        2 if !node.attribute.is_empty() => {
            let changed: &mut AttributeProto = &mut node.attribute[attribute];
            changed.ints.resize(numbers.below(6), value);
        }
        3 => node.input.truncate(numbers.below(node.input.len())),
        4 => {
            let last = node.input.len() - 1;
            node.input.swap(0, last);
        }
        5 => {
            let of = [
                "Pack",
                "Unpack",
                "BinaryConv",
                "BinaryConvSign",
                "BinaryMatMul",
                "BinaryMaxPool",
            ];
            node.op_type = Some(of[numbers.below(of.len())].to_owned());
        }
        _ => {
            let count = graph.initializer.len();
            let tensor = &mut graph.initializer[numbers.below(count)];
            let axis = numbers.below(tensor.dims.len());
            match tensor.dims.get_mut(axis) {
                Some(d) if numbers.below(2) == 0 => *d = value.min(1 << 20),
                _ => tensor.dims.insert(0, 1),
            }
        }
    }
}

#[test]
fn malformed_nodes_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let sources = ["vgg", "resnet"].map(|name| {
        let path = converted(dir.path(), &network(name), "ops");
        Model::load(&path).unwrap().proto
    });
    let mut numbers = Numbers(1);
    let mut refused = 0;
    for _ in 0..400 {
        let mut model = sources[numbers.below(2)].clone();
        malform(&mut model, &mut numbers);
        if let Err(why) = outputs(&to_bytes(&model), 2, Optimization::All) {
            assert!(!why.contains("failed inside"), "{why}");
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn sessions_run_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let models: Vec<_> = ["vgg", "resnet", "nin"]
        .map(|name| bytes(&converted(dir.path(), &network(name), "ops")))
        .into_iter()
        .map(|model| {
            let wanted = outputs(&model, 3, Optimization::All).unwrap();
            (model, wanted)
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let models = &models;
            scope.spawn(move || {
                for i in 0..20 {
                    let (model, wanted) = &models[(thread + i) % models.len()];
                    assert_eq!(&outputs(model, 3, Optimization::All).unwrap(), wanted);
                }
            });
        }
    });
}

#[test]
fn a_library_that_is_missing_is_said_before_anything_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    // Beside a copy of the program lies none.
    let copy = dir.path().join("onnx-bnnprune");
    std::fs::copy(env!("CARGO_BIN_EXE_onnx-bnnprune"), &copy).unwrap();
    let mut c = std::process::Command::new(&copy);
    c.current_dir(env!("CARGO_MANIFEST_DIR"));
    c.args(quick_rule(&network("vgg"), &out).get_args());
    c.args(["--method", "random", "--ratio", "0.3", "--to", "ops"]);
    let done = c.env_remove("ONNX_BNNPRUNE_OPS").output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("cargo build --release -p bnn-ops"),
        "{stderr}"
    );
    assert!(!stderr.contains("layer 1"), "{stderr}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
