//! `check`: good files pass, each kind of bad file fails by name, and CI can read the result.

mod common;
mod graphs;

use std::path::Path;

use common::{fixture, network, tool};
use graphs::{Attr, Builder, sized};
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    attribute_proto::AttributeType, tensor_proto::DataLocation,
};
use onnx_bnnprune::onnx::{Model, save};
use prost::Message as _;
use serde_json::Value;

/// relu(x)·w + b, then Concat with itself: `[1, 3] -> [1, 4]`.
fn small() -> ModelProto {
    let mut b = Builder::new(&[3]);
    let relu = b.node("Relu", &["x"], vec![]);
    let w = b.weight(&[3, 2], vec![1.0; 6]);
    let bias = b.weight(&[2], vec![0.5; 2]);
    let gemm = b.node("Gemm", &[&relu, &w, &bias], vec![]);
    let y = b.node("Concat", &[&gemm, &gemm], vec![("axis", Attr::Int(1))]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 4]));
    model
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn node<'m>(model: &'m mut ModelProto, op: &str) -> &'m mut NodeProto {
    let mut nodes = graph(model).node.iter_mut();
    nodes.find(|n| n.op_type() == op).unwrap()
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// Moves the first initializer's data to another file.
fn externalise(model: &mut ModelProto, location: &str, extra: &[(&str, &str)]) {
    let tensor = &mut graph(model).initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = [("location", location)]
        .iter()
        .chain(extra)
        .map(|&(key, value)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        })
        .collect();
}

/// `check PATH --json` with further arguments: exit code and output.
fn check(path: &Path, arguments: &[&str]) -> (i32, Value) {
    let mut c = tool();
    c.arg("check")
        .arg(path)
        .args(["--json", "-q"])
        .args(arguments);
    let done = c.output().unwrap();
    let code = done.status.code().unwrap();
    let json = serde_json::from_slice(&done.stdout);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    (code, json.unwrap_or_else(|e| panic!("{e}: {stderr}")))
}

type Break = fn(&mut ModelProto);

/// Each kind of broken model: its file, what breaks it, the rule, and words of the message.
const BROKEN: [(&str, Break, &str, &[&str]); 33] = [
    (
        "ir",
        |m| m.ir_version = Some(99),
        "ir-version",
        &["IR version 99"],
    ),
    (
        "no-opset",
        |m| m.opset_import.clear(),
        "opset",
        &["imports no operator set"],
    ),
    (
        "new-opset",
        |m| m.opset_import[0].version = Some(99),
        "opset",
        &["opset 99", "onnx.version_converter"],
    ),
    (
        "zero-opset",
        |m| m.opset_import[0].version = Some(0),
        "opset",
        &["version 0"],
    ),
    (
        "two-opsets",
        |m| {
            let mut second = m.opset_import[0].clone();
            second.version = Some(16);
            m.opset_import.push(second);
        },
        "opset",
        &["two versions"],
    ),
    (
        "graph-name",
        |m| graph(m).name = None,
        "graph",
        &["without a name"],
    ),
    (
        "same-initializers",
        |m| {
            let twice = graph(m).initializer[0].clone();
            graph(m).initializer.push(twice);
        },
        "unique-names",
        &["initializer 'c2'", "exists already"],
    ),
    (
        "same-inputs",
        |m| {
            let twice = graph(m).input[0].clone();
            graph(m).input.push(twice);
        },
        "unique-names",
        &["graph input 'x'"],
    ),
    (
        "ssa",
        |m| node(m, "Gemm").output = vec!["relu1".into()],
        "ssa",
        &["node 'gemm4'", "writes 'relu1'", "once"],
    ),
    (
        "order",
        |m| graph(m).node.swap(0, 1),
        "order",
        &["node 'gemm4'", "reads 'relu1' before", "topologically"],
    ),
    (
        "cycle",
        |m| node(m, "Relu").input = vec!["gemm4".into()],
        "cycle",
        &["cycle"],
    ),
    (
        "dangling",
        |m| node(m, "Relu").input = vec!["nowhere".into()],
        "dangling",
        &["node 'relu1'", "'nowhere'"],
    ),
    (
        "no-output",
        |m| graph(m).output[0].name = Some("nowhere".into()),
        "outputs",
        &["graph output 'nowhere'"],
    ),
    (
        "outputs",
        |m| graph(m).output.clear(),
        "graph",
        &["no output"],
    ),
    (
        "input-type",
        |m| graph(m).input[0].r#type = None,
        "interface",
        &["graph input 'x'", "no type"],
    ),
    (
        "unknown-op",
        |m| node(m, "Relu").op_type = Some("Rellu".into()),
        "operator",
        &["node 'relu1'", "Rellu is no operator of ONNX"],
    ),
    (
        "new-op",
        |m| node(m, "Relu").op_type = Some("Gelu".into()),
        "operator",
        &["Gelu came with opset 20", "uses 17"],
    ),
    (
        "old-op",
        |m| node(m, "Relu").op_type = Some("Upsample".into()),
        "operator",
        &["Upsample was withdrawn"],
    ),
    (
        "domain",
        |m| node(m, "Relu").domain = Some("my.own".into()),
        "opset",
        &["node 'relu1'", "'my.own'", "opset_import"],
    ),
    (
        "arity",
        |m| node(m, "Gemm").input.truncate(1),
        "arity",
        &["node 'gemm4'", "2 to 3 inputs", "here are 1"],
    ),
    (
        "unknown-attribute",
        |m| node(m, "Relu").attribute.push(int("nonsense", 1)),
        "attribute",
        &["node 'relu1'", "'nonsense'"],
    ),
    (
        "missing-attribute",
        |m| node(m, "Concat").attribute.clear(),
        "attribute",
        &["node 'concat5'", "lacks the attribute 'axis'"],
    ),
    (
        "attribute-twice",
        |m| node(m, "Concat").attribute.push(int("axis", 1)),
        "attribute",
        &["'axis' twice"],
    ),
    (
        "attribute-type",
        |m| {
            let axis = &mut node(m, "Concat").attribute[0];
            (axis.i, axis.f, axis.r#type) = (None, Some(1.0), Some(AttributeType::Float as i32));
        },
        "attribute",
        &["'axis'", "FLOAT", "asks for INT"],
    ),
    (
        "attribute-value",
        |m| node(m, "Concat").attribute[0].f = Some(1.0),
        "attribute",
        &["several values"],
    ),
    (
        "element-type",
        |m| graph(m).initializer[0].data_type = Some(77),
        "tensor",
        &["'c2'", "type 77"],
    ),
    (
        "length",
        |m| graph(m).initializer[0].dims = vec![3, 3],
        "tensor",
        &["'c2'", "36 bytes", "holds 24"],
    ),
    (
        "shape",
        |m| graph(m).initializer[0].dims = vec![i64::MAX, i64::MAX],
        "tensor",
        &["'c2'", "impossible shape"],
    ),
    (
        "external-escape",
        |m| externalise(m, "../w.data", &[]),
        "read",
        &["'c2'", "../w.data", "outside"],
    ),
    (
        "external-short",
        |m| externalise(m, "w.data", &[("length", "24")]),
        "read",
        &["w.data", "has 8 bytes", "0 to 24"],
    ),
    (
        "runtime",
        |m| {
            graph(m).initializer[0] = TensorProto {
                dims: vec![2, 3],
                ..graph(m).initializer[0].clone()
            };
        },
        "runtime",
        &["ONNX Runtime cannot"],
    ),
    (
        "finite",
        |m| node(m, "Relu").op_type = Some("Log".into()),
        "finite",
        &["output 'concat5'", "NaN", "made-up"],
    ),
    (
        "output-shape",
        |m| graph(m).output = vec![sized("concat5", &[1, 5])],
        "shapes",
        &["'concat5'", "[1, 5]", "[1, 4]"],
    ),
];

#[test]
fn each_kind_of_broken_model_is_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("w.data"), [0; 8]).unwrap();
    save(&small(), &dir.path().join("good.onnx")).unwrap();
    let bytes = small().encode_to_vec();
    std::fs::write(dir.path().join("cut.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(dir.path().join("noise.onnx"), b"not a model at all").unwrap();
    for (name, change, ..) in BROKEN {
        let mut model = small();
        change(&mut model);
        let path = dir.path().join(name).with_extension("onnx");
        std::fs::write(path, model.encode_to_vec()).unwrap();
    }
    let (code, json) = check(dir.path(), &[]);
    assert_eq!((code, &json["passed"]), (1, &Value::Bool(false)));
    let files = json["files"].as_array().unwrap();
    assert_eq!(files.len(), BROKEN.len() + 3);
    let of = |name: &str| {
        let file = format!("/{name}.onnx");
        let mut found = files
            .iter()
            .filter(|f| f["path"].as_str().unwrap().ends_with(&file));
        found
            .next()
            .unwrap_or_else(|| panic!("{name} is not reported"))
    };
    assert_eq!(of("good")["passed"], true, "{}", of("good"));
    assert_eq!(of("good")["findings"].as_array().unwrap().len(), 0);
    let cut: (&str, Break, &str, &[&str]) =
        ("cut", |_| (), "read", &["copied or downloaded completely"]);
    let noise: (&str, Break, &str, &[&str]) = ("noise", |_| (), "read", &["ONNX"]);
    for (name, _, rule, words) in BROKEN.iter().chain(&[cut, noise]) {
        let file = of(name);
        assert_eq!(file["passed"], false, "{name}: {file}");
        let findings = file["findings"].as_array().unwrap();
        let fits = |f: &Value| {
            let node = f["node"]
                .as_str()
                .map_or(String::new(), |n| format!("node '{n}': "));
            let text = node + f["message"].as_str().unwrap();
            f["severity"] == "error"
                && f["rule"] == *rule
                && !text.contains('\n')
                && words.iter().all(|w| text.contains(w))
        };
        assert!(
            findings.iter().any(fits),
            "{name}: {rule} {words:?} in {file}"
        );
    }
}

#[test]
fn the_fixtures_are_good_and_counted() {
    let done = tool().args(["check", "fixtures"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{text}");
    let row = text
        .lines()
        .find(|l| l.contains("digits_vgg.onnx"))
        .unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    // fixtures/README.md: three binary layers of 40, 48 and 64 filters; 219,935 bytes.
    assert_eq!(cells[1..4], ["17", "3", "152"], "{row}");
    assert!(text.contains("passed: 104 of 104 files are good"), "{text}");
    // QONNX has operators that no runtime knows: it was lowered.
    let row = text
        .lines()
        .find(|l| l.contains("brevitas_dense.qonnx"))
        .unwrap();
    assert!(row.trim_end().ends_with("good"), "{row}");
}

#[test]
fn bad_usage_and_a_missing_runtime_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    common::refused(
        tool().args(["check", "no/such/folder"]),
        2,
        &["no/such/folder"],
    );
    common::refused(tool().arg("check").arg(dir.path()), 2, &["no .onnx file"]);
    let mut c = tool();
    c.arg("check").arg(network("vgg"));
    common::refused(c.args(["--ort-lib", "no/such.so"]), 3, &["no/such.so"]);
    tool().arg("check").assert().code(2);
    let mut c = tool();
    c.arg("check")
        .arg(network("vgg"))
        .args(["--baseline", "no/such.json"]);
    common::refused(&mut c, 2, &["no/such.json"]);
}

#[test]
fn dynamic_sizes_are_filled_in_or_given() {
    use onnx_bnnprune::onnx::proto::tensor_shape_proto::{Dimension, dimension};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    // [N, 3, side, side] into 12 * 12 * 3 features: only side 12 fits.
    let mut b = Builder::new(&[3, 12, 12]);
    let flat = b.node("Flatten", &["x"], vec![]);
    let w = b.weight(&[432, 2], vec![0.1; 864]);
    let y = b.node("MatMul", &[&flat, &w], vec![]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 2]));
    use onnx_bnnprune::onnx::proto::type_proto::Value::TensorType;
    let kind = graph(&mut model).input[0].r#type.as_mut().unwrap();
    let Some(TensorType(tensor)) = &mut kind.value else {
        panic!("the input is a tensor");
    };
    for dim in &mut tensor.shape.as_mut().unwrap().dim[2..] {
        *dim = Dimension {
            value: Some(dimension::Value::DimParam("side".into())),
            ..Dimension::default()
        };
    }
    save(&model, &path).unwrap();
    let (code, json) = check(&path, &[]);
    let message = json["files"][0]["findings"][0]["message"].as_str().unwrap();
    assert!(
        code == 1 && message.contains("--dim NAME=SIZE"),
        "{message}"
    );
    let (code, json) = check(&path, &["--dim", "side=12"]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(json["files"][0]["model"]["layers"]["macs"], 864);
    tool()
        .arg("check")
        .arg(&path)
        .args(["--dim", "side=0"])
        .assert()
        .code(2);
}

#[test]
fn junit_is_well_formed_and_counts_failures() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    std::fs::copy(network("vgg"), dir.path().join("good.onnx")).unwrap();
    let mut model = small();
    // Characters that XML reserves or forbids.
    node(&mut model, "Relu").name = Some("<a & \"b\">\u{1}".into());
    node(&mut model, "Relu").input = vec!["nowhere".into()];
    save(&model, &dir.path().join("bad.onnx")).unwrap();
    tool()
        .arg("check")
        .arg(dir.path())
        .arg("-q")
        .arg("--junit")
        .arg(&junit)
        .assert()
        .code(1);
    let text = std::fs::read_to_string(&junit).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
    let suite = &report.test_suites[0];
    let [bad, good] = &suite.test_cases[..] else {
        panic!("{text}");
    };
    assert!(bad.name.as_str().ends_with("bad.onnx") && good.name.as_str().ends_with("good.onnx"));
    let quick_junit::TestCaseStatus::NonSuccess { message, .. } = &bad.status else {
        panic!("{text}");
    };
    let message = message.as_ref().unwrap().as_str();
    assert!(
        message.contains("node '<a & \"b\"> '") && message.contains("nowhere"),
        "{message}"
    );
    assert!(matches!(
        good.status,
        quick_junit::TestCaseStatus::Success { .. }
    ));
}

#[test]
fn github_annotates_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.onnx");
    let mut model = small();
    node(&mut model, "Relu").input = vec!["nowhere".into()];
    save(&model, &path).unwrap();
    let run = |actions: &str| {
        let mut c = tool();
        c.arg("check").arg(&path).env("GITHUB_ACTIONS", actions);
        String::from_utf8(c.output().unwrap().stderr).unwrap()
    };
    let line = run("true")
        .lines()
        .find(|l| l.starts_with("::error "))
        .unwrap()
        .to_owned();
    assert!(
        line.contains("bad.onnx,title=") && line.contains("::node 'relu1': reads 'nowhere'"),
        "{line}"
    );
    assert!(!run("").contains("::error"));
}

#[test]
fn a_baseline_passes_what_is_no_worse_and_names_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let (models, baseline) = (dir.path().join("models"), dir.path().join("baseline.json"));
    let path = models.join("m.onnx");
    std::fs::create_dir(&models).unwrap();
    std::fs::copy(network("vgg"), &path).unwrap();
    let base = baseline.to_str().unwrap();
    let (code, _) = check(&models, &["--write-baseline", base]);
    assert_eq!(code, 0);
    let key = path.to_str().unwrap().to_owned();
    let pins = common::json(&baseline);
    let pin = &pins["files"][&key];
    assert_eq!(pins["format"], "onnx-bnnprune-baseline/1");
    assert_eq!(pin["layers"]["/conv2/Conv"], 48);
    assert_eq!(pin["bytes"], 219_935);
    assert!(pin["macs"].as_u64().unwrap() > 1_900_000);
    assert_eq!(check(&models, &["--baseline", base]).0, 0);
    // Fewer filters, bytes and MACs are no regression.
    let masks = dir.path().join("masks.json");
    common::write_masks(&masks, &[("/conv1/Conv", 40, &[1, 2, 3])]);
    let prune = |out: &Path| {
        let mut c = tool();
        c.arg(network("vgg"))
            .arg(out)
            .arg("--masks")
            .arg(&masks)
            .arg("-q");
        c.assert().code(0);
    };
    prune(&path);
    let (code, json) = check(&models, &["--baseline", base]);
    assert_eq!(code, 0, "{json}");
    let smaller = dir.path().join("smaller.json");
    assert_eq!(
        check(&models, &["--write-baseline", smaller.to_str().unwrap()]).0,
        0
    );
    // Back to the larger one.
    std::fs::copy(network("vgg"), &path).unwrap();
    let failed = |base: &Path, words: &[&str]| {
        let (code, json) = check(&models, &["--baseline", base.to_str().unwrap()]);
        assert_eq!(code, 1, "{json}");
        let text = json["files"].to_string();
        for w in words {
            assert!(text.contains(w), "{w} in {text}");
        }
    };
    failed(
        &smaller,
        &[
            "has 40 filters, pinned are 37",
            "219935 bytes",
            "multiply-accumulates",
            "--write-baseline",
        ],
    );
    // A layer that is no longer binary; another file; a file gone.
    std::fs::copy(fixture("digits_float.onnx"), &path).unwrap();
    failed(
        &baseline,
        &[
            "has 0 binary layers, pinned are 3",
            "/conv3/Conv",
            "no binary layer any more",
        ],
    );
    std::fs::copy(network("nin"), &path).unwrap();
    failed(&baseline, &["/block1/conv/Conv", "not pinned"]);
    std::fs::rename(&path, models.join("other.onnx")).unwrap();
    failed(
        &baseline,
        &[
            "m.onnx",
            "pinned in the baseline but not there",
            "is not pinned",
        ],
    );
    // A bad file keeps a baseline from being written.
    std::fs::write(models.join("bad.onnx"), b"x").unwrap();
    let unwritten = dir.path().join("unwritten.json");
    assert_eq!(
        check(&models, &["--write-baseline", unwritten.to_str().unwrap()]).0,
        1
    );
    assert!(!unwritten.exists());
    std::fs::write(&baseline, "{\"format\": \"other/2\", \"files\": {}}").unwrap();
    let mut c = tool();
    c.arg("check").arg(&models).args(["--baseline", base]);
    common::refused(&mut c, 2, &["baseline.json", "other/2"]);
}

#[test]
fn external_data_in_the_folder_are_read_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let mut model = small();
    let data = graph(&mut model).initializer[0].raw_data.clone().unwrap();
    std::fs::write(dir.path().join("w.data"), &data).unwrap();
    externalise(&mut model, "w.data", &[("offset", "0"), ("length", "24")]);
    save(&model, &path).unwrap();
    let (code, json) = check(&path, &[]);
    assert_eq!(code, 0, "{json}");
    let bytes = std::fs::metadata(&path).unwrap().len() + 24;
    assert_eq!(json["files"][0]["model"]["bytes"], bytes);
    assert!(Model::load(&path).is_ok());
}
