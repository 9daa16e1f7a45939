//! `check` finds each kind of broken model, and names what is wrong.

use crate::checked::{check, externalise, graph, node, small};
use crate::graphs::sized;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, ModelProto, TensorProto, attribute_proto::AttributeType,
};
use onnx_bnnprune::onnx::save;
use prost::Message as _;
use serde_json::Value;

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

type Break = fn(&mut ModelProto);

/// Each kind of broken model: its file, what breaks it, the rule, and words of the message.
const BROKEN: [(&str, Break, &str, &[&str]); 33] = [
    (
        "ir",
        |m| m.ir_version = Some(99),
        "ir-version",
        &["ir_version 99"],
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
        &["twice"],
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
        &["initializer 'c2'", "exists twice"],
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
        &[
            "node 'gemm4'",
            "reads 'relu1', which nothing before",
            "topologically",
        ],
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
        "load",
        &["'c2'", "../w.data", "outside"],
    ),
    (
        "external-short",
        |m| externalise(m, "w.data", &[("length", "24")]),
        "load",
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
        &["output 'concat5'", "not finite", "random inputs"],
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
    assert_eq!((code, json["passed"].as_u64()), (1, Some(1)));
    let files = json["models"].as_array().unwrap();
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
    assert_eq!(of("good")["problems"].as_array().unwrap().len(), 0);
    let cut: (&str, Break, &str, &[&str]) =
        ("cut", |_| (), "load", &["copied or downloaded completely"]);
    let noise: (&str, Break, &str, &[&str]) = ("noise", |_| (), "load", &["ONNX"]);
    for (name, _, rule, words) in BROKEN.iter().chain(&[cut, noise]) {
        let file = of(name);
        assert_eq!(file["passed"], false, "{name}: {file}");
        let findings = file["problems"].as_array().unwrap();
        let fits = |f: &Value| {
            let node = f["node"]
                .as_str()
                .map_or(String::new(), |n| format!("node '{n}': "));
            let text = node + f["message"].as_str().unwrap();
            f["check"] == *rule && !text.contains('\n') && words.iter().all(|w| text.contains(w))
        };
        assert!(
            findings.iter().any(fits),
            "{name}: {rule} {words:?} in {file}"
        );
    }
}
