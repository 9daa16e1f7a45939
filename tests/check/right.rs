//! `check` is right both ways: valid models that look odd pass, broken ones that runtimes let through
//! do not.

use std::path::Path;

use crate::checked::{check, graph, node, small};
use crate::graphs::{Attr, Builder, sized};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    attribute_proto::AttributeType, tensor_shape_proto::dimension::Value, type_proto,
};
use onnx_bnnprune::onnx::{DataType, Tensor, to_bytes};

/// Exit code and all findings of one model.
fn judged(model: &ModelProto) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, to_bytes(model)).unwrap();
    let (code, found) = check(&path, &[]);
    let of = &found["models"][0];
    (code, format!("{} {}", of["problems"], of["notes"]))
}

fn bad(model: &ModelProto, words: &[&str]) {
    let (code, text) = judged(model);
    assert_eq!(code, 1, "{text}");
    for w in words {
        assert!(text.contains(w), "'{w}' is not in {text}");
    }
}

fn good(model: &ModelProto) {
    let (code, text) = judged(model);
    assert_eq!(code, 0, "{text}");
}

fn plain(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A shape with `sizes` in place of the declared ones; `None`: nothing.
fn declare(model: &mut ModelProto, output: bool, sizes: &[Option<i64>]) {
    let graph = graph(model);
    let list = if output {
        &mut graph.output
    } else {
        &mut graph.input
    };
    let kind = list[0].r#type.as_mut().unwrap().value.as_mut();
    let Some(type_proto::Value::TensorType(t)) = kind else {
        panic!("no tensor");
    };
    let dims = &mut t.shape.as_mut().unwrap().dim;
    assert_eq!(dims.len(), sizes.len());
    for (dim, size) in dims.iter_mut().zip(sizes) {
        dim.value = size.map(Value::DimValue);
    }
}

#[test]
fn optional_inputs_in_front_may_be_left_out() {
    let value = |name: &str, kind: i32, shape: &[usize]| {
        let mut v = sized(name, shape);
        if let Some(type_proto::Value::TensorType(t)) = &mut v.r#type.as_mut().unwrap().value {
            t.elem_type = Some(kind);
        }
        v
    };
    let mut b = Builder::new(&[3]);
    let two = b.constant(&Tensor::of(
        DataType::I64,
        &ArrayD::from_elem(IxDyn(&[]), 2.0),
    ));
    let relu = b.node("Relu", &["x"], vec![]);
    // Twice, as long as the body says so; the condition in front is left out.
    let y = b.node("Loop", &[&two, "", &relu], vec![]);
    let body = GraphProto {
        name: Some("body".to_owned()),
        input: vec![
            value("i", 7, &[]),
            value("c", 9, &[]),
            value("v", 1, &[1, 3]),
        ],
        output: vec![value("c2", 9, &[]), value("v2", 1, &[1, 3])],
        node: vec![plain("Identity", &["c"], "c2"), plain("Neg", &["v"], "v2")],
        ..GraphProto::default()
    };
    b.graph
        .node
        .last_mut()
        .unwrap()
        .attribute
        .push(AttributeProto {
            name: Some("body".to_owned()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(body),
            ..AttributeProto::default()
        });
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 3]));
    good(&model);
    // One that it needs may not.
    node(&mut model, "Relu").input[0].clear();
    bad(&model, &["arity"]);
}

#[test]
fn free_channels_without_a_name_follow_from_the_weights() {
    let mut b = Builder::new(&[5, 8, 8]);
    let w = b.weight(&[3, 5, 1, 1], vec![0.5; 15]);
    let t = b.node("Sub", &["x", "x"], vec![]);
    let t = b.node("Conv", &[&t, &w], vec![]);
    let y = b.node("GlobalAveragePool", &[&t], vec![]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(crate::graphs::undeclared(&y));
    let mut shaped = model.clone();
    graph(&mut shaped).output[0] = sized(&y, &[1, 3, 1, 1]);
    for sizes in [
        [None; 4],
        [Some(1), None, Some(8), None],
        [None, None, Some(8), Some(8)],
    ] {
        declare(&mut shaped, false, &sizes);
        good(&shaped);
    }
}

#[test]
fn negative_dimensions_are_errors_wherever_they_are_declared() {
    let mut model = small();
    declare(&mut model, true, &[Some(-5), Some(-5)]);
    bad(&model, &["interface", "-5"]);
    let mut model = small();
    declare(&mut model, false, &[Some(1), Some(-3)]);
    bad(&model, &["interface", "-3"]);
    let mut model = small();
    let mut inner = model.clone();
    declare(&mut inner, true, &[Some(1), Some(-7)]);
    let mut value = graph(&mut inner).output[0].clone();
    value.name = graph(&mut model).node[0].output.first().cloned();
    graph(&mut model).value_info.push(value);
    bad(&model, &["interface", "-7"]);
}

#[test]
fn a_constant_has_one_value() {
    let value = |name: &str, i: i64| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(i),
        ..AttributeProto::default()
    };
    for (values, word) in [
        (vec![], "without a value"),
        (vec!["value_int", "value_float"], "several"),
    ] {
        let mut model = small();
        let mut constant = plain("Constant", &[], "constant");
        constant.attribute = values.iter().map(|v| value(v, 1)).collect();
        for a in constant
            .attribute
            .iter_mut()
            .filter(|a| a.name() == "value_float")
        {
            (a.r#type, a.i, a.f) = (Some(AttributeType::Float as i32), None, Some(1.0));
        }
        graph(&mut model).node.insert(0, constant);
        bad(&model, &["attribute", word]);
    }
}

#[test]
fn constants_that_are_no_numbers_are_found() {
    let mut model = small();
    let mut constant = plain("Constant", &[], "constant");
    constant.attribute.push(AttributeProto {
        name: Some("value_floats".to_owned()),
        r#type: Some(AttributeType::Floats as i32),
        floats: vec![1.0, f32::NAN],
        ..AttributeProto::default()
    });
    graph(&mut model).node.insert(0, constant);
    bad(&model, &["attribute", "NaN"]);
}

#[test]
fn a_function_means_the_operators_of_the_model() {
    let with = |opset: i64, op: &str| {
        let mut b = Builder::new(&[3]);
        let y = b.node("Mine", &["x"], vec![]);
        b.graph.node[0].domain = Some("mine".to_owned());
        let mut model = b.model(&[]);
        graph(&mut model).output.push(sized(&y, &[1, 3]));
        let import = |domain: &str, version: i64| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version),
        };
        model.opset_import.push(import("mine", 1));
        model.functions.push(FunctionProto {
            name: Some("Mine".to_owned()),
            domain: Some("mine".to_owned()),
            input: vec!["a".to_owned()],
            output: vec!["b".to_owned()],
            node: vec![plain(op, &["a"], "b")],
            opset_import: vec![import("", opset)],
            ..FunctionProto::default()
        });
        model
    };
    good(&with(17, "Relu"));
    // Relu came with opset 14 as it is in 17; in 13 it is another.
    good(&with(15, "Relu"));
    bad(&with(13, "Relu"), &["opset 13", "Relu"]);
}

#[test]
fn the_default_domain_of_a_node_has_no_name() {
    let mut model = small();
    node(&mut model, "Relu").domain = Some("ai.onnx".to_owned());
    bad(&model, &["ai.onnx"]);
}

#[test]
fn weights_that_are_no_numbers_are_found_behind_a_sign() {
    for bad_value in [f32::NAN, f32::INFINITY] {
        let mut b = Builder::new(&[3]);
        let mut values = vec![1.0; 6];
        values[4] = bad_value;
        let w = b.weight(&[3, 2], values);
        let t = b.node("MatMul", &["x", &w], vec![]);
        let t = b.node("Sign", &[&t], vec![]);
        let y = b.node("Clip", &[&t], vec![]);
        let mut model = b.model(&[]);
        graph(&mut model).output.push(sized(&y, &[1, 2]));
        bad(&model, &["c1"]);
    }
    // Bounds and masks may be infinite.
    let mut b = Builder::new(&[3]);
    let (low, high) = (b.weight(&[], vec![0.0]), b.weight(&[], vec![f32::INFINITY]));
    let y = b.node("Clip", &["x", &low, &high], vec![]);
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 3]));
    good(&model);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_bad_file() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("good.onnx"), to_bytes(&small())).unwrap();
    symlink("/nowhere/cache/abc", at("missing.onnx")).unwrap();
    symlink("circle.onnx", at("circle.onnx")).unwrap();
    symlink("good.onnx", at("alias.onnx")).unwrap();
    symlink("..", at("folder.onnx")).unwrap();
    let names = |path: &Path| {
        let (code, found) = check(path, &[]);
        assert_eq!(code, 1);
        let models = found["models"].as_array().unwrap().clone();
        let bad = models.into_iter().filter(|m| m["passed"] == false);
        bad.map(|m| {
            m["path"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(names(dir.path()), ["circle.onnx", "missing.onnx"]);
    assert_eq!(names(&at("missing.onnx")), ["missing.onnx"]);
    std::fs::write(
        at("pointer.onnx"),
        "version https://git-lfs.github.com/spec/v1\noid x\n",
    )
    .unwrap();
    let (_, found) = check(&at("pointer.onnx"), &[]);
    let text = found["models"][0]["problems"].to_string();
    assert!(text.contains("git lfs pull"), "{text}");
}

#[test]
fn a_half_precision_model_is_run() {
    let mut b = Builder::new(&[3]);
    let y = b.node("Neg", &["x"], vec![("unused", Attr::Int(0))]);
    b.graph.node[0].attribute.clear();
    let mut model = b.model(&[]);
    graph(&mut model).output.push(sized(&y, &[1, 3]));
    let graph = graph(&mut model);
    for v in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(type_proto::Value::TensorType(t)) = &mut v.r#type.as_mut().unwrap().value {
            t.elem_type = Some(DataType::F16.to_onnx());
        }
    }
    let (code, text) = judged(&model);
    assert_eq!((code, text.as_str()), (0, "[] []"));
}
