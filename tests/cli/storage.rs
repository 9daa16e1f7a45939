//! Weights in every element type, behind casts and quantisers, in functions: each layer is found and
//! pruned, or listed with the reason why not.

use std::path::Path;

use crate::common::{refused, tool, write_masks};
use crate::graphs::{Attr, Builder};
use ndarray::{Array1, ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, TensorProto, attribute_proto::AttributeType, type_proto,
};
use onnx_bnnprune::onnx::{DataType, Model, Tensor, to_bytes};
use serde_json::Value;

/// The shape of the binary layer's weights.
const SHAPE: [usize; 4] = [6, 4, 3, 3];

fn signs(shape: &[usize]) -> ArrayD<f64> {
    let count = shape.iter().product();
    let of = |i: usize| {
        if (i * 7 + i / 5).is_multiple_of(3) {
            -1.0
        } else {
            1.0
        }
    };
    ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(of).collect()).unwrap()
}

fn cast(b: &mut Builder, t: &str, to: DataType) -> String {
    b.node(
        "Cast",
        &[t],
        vec![("to", Attr::Int(i64::from(to.to_onnx())))],
    )
}

/// A float layer, a Sign, and a binary layer `binary` whose weights `weights` makes.
fn network(weights: impl FnOnce(&mut Builder) -> String) -> ModelProto {
    let mut b = Builder::new(&[2, 6, 6]);
    let stem = signs(&[4, 2, 3, 3]).into_iter().enumerate();
    let stem = stem
        .map(|(i, s)| (s * (0.1 + i as f64 * 0.01)) as f32)
        .collect();
    let stem = b.weight(&[4, 2, 3, 3], stem);
    let t = b.node("Conv", &["x", &stem], vec![]);
    let t = b.node("Sign", &[&t], vec![]);
    let w = weights(&mut b);
    let t = b.node("Conv", &[&t, &w], vec![("pads", Attr::Ints(vec![1; 4]))]);
    b.graph.node.last_mut().unwrap().name = Some("binary".to_owned());
    let t = b.node("Sign", &[&t], vec![]);
    let t = b.node("GlobalAveragePool", &[&t], vec![]);
    let t = b.node("Flatten", &[&t], vec![]);
    let head = (0..18).map(|i| i as f32 * 0.25 - 2.0).collect();
    let head = b.weight(&[6, 3], head);
    let y = b.node("MatMul", &[&t, &head], vec![]);
    let mut model = b.model(&[]);
    let output = crate::graphs::declare(&y, &[3]);
    model.graph.as_mut().unwrap().output.push(output);
    model
}

fn write(model: &ModelProto, dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, to_bytes(model)).unwrap();
    path
}

fn inspected(path: &Path) -> Value {
    let out = tool()
        .args(["inspect", "--json"])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

fn layer<'v>(found: &'v Value, name: &str) -> &'v Value {
    let layers = found["layers"].as_array().unwrap();
    let layer = layers.iter().find(|l| l["name"] == name);
    layer.unwrap_or_else(|| panic!("no {name} in {found}"))
}

/// Prunes filters 0 and 3 of `binary`; the pruned model.
fn pruned(path: &Path, dir: &Path) -> ModelProto {
    let (masks, out) = (dir.join("masks.json"), dir.join("out.onnx"));
    write_masks(&masks, &[("binary", 6, &[0, 3])]);
    let run = tool()
        .arg(path)
        .arg(&out)
        .arg("--masks")
        .arg(&masks)
        .arg("-q")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{}: {stderr}", path.display());
    Model::load(&out).unwrap().proto
}

/// Weights as bits of bytes, which are shifted to the last place, or picked where they are.
fn packed_bits(picked: bool) -> ModelProto {
    let mut model = network(|b| {
        let signs = signs(&SHAPE);
        let bytes = signs.iter().collect::<Vec<_>>();
        let bytes = bytes.chunks(8).map(|eight| {
            let bits = eight.iter().enumerate();
            f64::from(bits.map(|(i, s)| u32::from(**s > 0.0) << i).sum::<u32>())
        });
        let bytes: Vec<f64> = bytes.collect();
        let count = bytes.len();
        let bytes = ArrayD::from_shape_vec(IxDyn(&[count, 1]), bytes).unwrap();
        let bytes = b.constant(&Tensor::of(DataType::U8, &bytes));
        let places = |f: fn(u32) -> f64| {
            Tensor::of(
                DataType::U8,
                &(0..8).map(f).collect::<Array1<f64>>().into_dyn(),
            )
        };
        let bits = match picked {
            true => {
                let picks = b.constant(&places(|i| f64::from(1u32 << i)));
                let bits = b.node("BitwiseAnd", &[&bytes, &picks], vec![]);
                cast(b, &bits, DataType::Bool)
            }
            false => {
                let by = b.constant(&places(f64::from));
                let right = vec![("direction", Attr::Text("RIGHT"))];
                let bits = b.node("BitShift", &[&bytes, &by], right);
                let two = b.constant(&Tensor::of(
                    DataType::U8,
                    &ArrayD::from_elem(IxDyn(&[]), 2.0),
                ));
                b.node("Mod", &[&bits, &two], vec![])
            }
        };
        let shape = b.ints(&SHAPE.map(|d| d as i64));
        let bits = b.node("Reshape", &[&bits, &shape], vec![]);
        let w = cast(b, &bits, DataType::F32);
        let (two, one) = (b.weight(&[], vec![2.0]), b.weight(&[], vec![1.0]));
        let w = b.node("Mul", &[&w, &two], vec![]);
        b.node("Sub", &[&w, &one], vec![])
    });
    // The first with functions of integers' bits.
    model.opset_import[0].version = Some(18);
    model
}

/// However many copies a file asks for.
#[test]
fn copies_of_nothing_take_no_time() {
    let dir = tempfile::tempdir().unwrap();
    for (shape, repeats) in [
        (vec![0], vec![1 << 62]),
        (vec![1, 0], vec![1 << 62, 1]),
        (vec![2, 2], vec![1 << 40, 0]),
        (vec![2], vec![2, 2]),
        (vec![1], vec![-1]),
    ] {
        let model = network(|b| {
            let values = ArrayD::zeros(IxDyn(&shape));
            let w = b.constant(&Tensor::of(DataType::F32, &values));
            let repeats = b.ints(&repeats);
            let w = b.node("Tile", &[&w, &repeats], vec![]);
            let shape = b.ints(&SHAPE.map(|d| d as i64));
            b.node("Reshape", &[&w, &shape], vec![])
        });
        let path = write(&model, dir.path(), "none.onnx");
        let mut c = tool();
        c.arg("inspect").arg(&path);
        c.timeout(std::time::Duration::from_secs(60));
        let code = c.output().unwrap().status.code();
        assert!(matches!(code, Some(0 | 2)), "{shape:?}: {code:?}");
    }
}

#[test]
fn weights_of_every_type_behind_casts_and_quantisers_are_read_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let all = [
        DataType::F16,
        DataType::Bf16,
        DataType::F64,
        DataType::I8,
        DataType::I16,
        DataType::I32,
        DataType::I64,
    ];
    let mut models: Vec<(String, ModelProto)> = all
        .into_iter()
        .map(|kind| {
            let model = network(|b| {
                let w = b.constant(&Tensor::of(kind, &signs(&SHAPE)));
                let w = cast(b, &w, DataType::F32);
                let scale = b.weight(&[], vec![0.125]);
                b.node("Mul", &[&w, &scale], vec![])
            });
            (kind.name(), model)
        })
        .collect();
    for kind in [DataType::Bool, DataType::U8] {
        let model = network(|b| {
            let bits = signs(&SHAPE).mapv(|v| f64::from(u8::from(v > 0.0)));
            let w = b.constant(&Tensor::of(kind, &bits));
            let w = cast(b, &w, DataType::F32);
            let (two, one) = (b.weight(&[], vec![2.0]), b.weight(&[], vec![1.0]));
            let w = b.node("Mul", &[&w, &two], vec![]);
            b.node("Sub", &[&w, &one], vec![])
        });
        models.push((kind.name(), model));
    }
    models.push((
        "dequantized".to_owned(),
        network(|b| {
            let w = b.constant(&Tensor::of(DataType::I8, &signs(&SHAPE)));
            let scale = b.weight(&[6], (1..7).map(|i| i as f32 / 8.0).collect());
            let zero = b.constant(&Tensor::of(DataType::I8, &ArrayD::zeros(IxDyn(&[6]))));
            let axis = vec![("axis", Attr::Int(0))];
            b.node("DequantizeLinear", &[&w, &scale, &zero], axis)
        }),
    ));
    models.push((
        "quantized and dequantized".to_owned(),
        network(|b| {
            let w = b.constant(&Tensor::of(
                DataType::F32,
                &signs(&SHAPE).mapv(|v| v * 0.26),
            ));
            let scale = b.weight(&[], vec![0.25]);
            let zero = Tensor::of(DataType::U8, &ArrayD::from_elem(IxDyn(&[]), 128.0));
            let zero = b.constant(&zero);
            let w = b.node("QuantizeLinear", &[&w, &scale, &zero], vec![]);
            b.node("DequantizeLinear", &[&w, &scale, &zero], vec![])
        }),
    ));
    models.push((
        "sparse".to_owned(),
        network(|b| {
            let values = signs(&SHAPE)
                .into_iter()
                .collect::<Array1<f64>>()
                .into_dyn();
            let indices: Array1<i64> = (0..values.len() as i64).collect();
            b.graph.sparse_initializer.push(SparseTensorProto {
                values: Some(Tensor::of(DataType::F32, &values).to_proto("sparse")),
                indices: Some(Tensor::I64(indices.into_dyn()).to_proto("")),
                dims: SHAPE.iter().map(|&d| d as i64).collect(),
            });
            "sparse".to_owned()
        }),
    ));
    for (name, taken_out) in [("shifted", false), ("masked", true)] {
        models.push((name.to_owned(), packed_bits(taken_out)));
    }
    models.push((
        "tiled".to_owned(),
        network(|b| {
            let w = b.constant(&Tensor::of(DataType::F32, &signs(&[3, 2, 3, 1])));
            let repeats = b.ints(&[2, 2, 1, 3]);
            b.node("Tile", &[&w, &repeats], vec![])
        }),
    ));
    for (name, model) in models {
        let path = write(&model, dir.path(), "in.onnx");
        let found = inspected(&path);
        let layer = layer(&found, "binary");
        assert!(
            layer["binary"] == true && layer["prunable"] == true,
            "{name}: {layer}"
        );
        let out = pruned(&path, dir.path());
        let weights = out.graph.iter().flat_map(|g| &g.initializer);
        assert!(weights.clone().any(|t| t.dims == [4, 4, 3, 3]), "{name}");
        assert!(out.graph.unwrap().sparse_initializer.is_empty());
    }
}

/// The network in another float type throughout.
fn in_type(kind: DataType) -> ModelProto {
    let mut model = network(|b| b.constant(&Tensor::of(DataType::F32, &signs(&SHAPE))));
    let graph = model.graph.as_mut().unwrap();
    for t in &mut graph.initializer {
        // A third is no f32: what is kept has to be kept to the bit.
        let values = Tensor::from_proto(t).unwrap().to_f64();
        let values = if t.dims.len() == 4 && t.dims[1] == 4 {
            values / 3.0
        } else {
            values
        };
        *t = Tensor::of(kind, &values).to_proto(t.name());
    }
    for v in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(type_proto::Value::TensorType(t)) = &mut v.r#type.as_mut().unwrap().value {
            t.elem_type = Some(kind.to_onnx());
        }
    }
    model
}

#[test]
fn a_network_in_float16_or_float64_is_pruned_in_its_type() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [DataType::F16, DataType::F64] {
        let model = in_type(kind);
        let path = write(&model, dir.path(), "in.onnx");
        let found = inspected(&path);
        assert_eq!(layer(&found, "binary")["binary"], true);
        let warning = found["warnings"][0].as_str().unwrap();
        assert!(warning.contains(&kind.name()), "{warning}");
        let out = pruned(&path, dir.path());
        let graph = out.graph.unwrap();
        let found = |dims: [i64; 4]| -> Tensor {
            let t = graph.initializer.iter().find(|t| t.dims == dims).unwrap();
            Tensor::from_proto(t).unwrap()
        };
        let before = Tensor::of(kind, &(signs(&SHAPE) / 3.0));
        let kept = before.select(0, &[1, 2, 4, 5]).unwrap();
        assert_eq!(found([4, 4, 3, 3]), kept, "{kind:?}");
        let odd = graph
            .initializer
            .iter()
            .filter(|t| t.data_type() == DataType::F32.to_onnx());
        assert_eq!(odd.count(), 0, "{kind:?}: all constants keep their type");
        // Learning says which type is in the way.
        let data = crate::common::fixture("digits_train.npz");
        let mut learn = tool();
        learn.arg(&path).arg(dir.path().join("no.onnx"));
        let words = ["in.onnx", &kind.name(), "--masks"];
        refused(learn.arg("--data").arg(data), 2, &words);
    }
}

fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    }
}

fn call(op: &str, domain: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        domain: Some(domain.to_owned()),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// The binary layer in a function `mine.Outer`, which calls `mine.Inner` with its padding.
fn in_functions(opset: i64) -> ModelProto {
    let mut model = network(|b| b.constant(&Tensor::of(DataType::F32, &signs(&SHAPE))));
    let graph = model.graph.as_mut().unwrap();
    let node = graph
        .node
        .iter_mut()
        .find(|n| n.name() == "binary")
        .unwrap();
    node.op_type = Some("Outer".to_owned());
    node.domain = Some("mine".to_owned());
    node.attribute[0].name = Some("border".to_owned());
    let reference = |name: &str, of: &str| AttributeProto {
        name: Some(name.to_owned()),
        ref_attr_name: Some(of.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ..AttributeProto::default()
    };
    let mut conv = call("Conv", "", &["x", "w"], "t");
    conv.attribute.push(reference("pads", "pads"));
    let mut inner = call("Inner", "mine", &["a", "b"], "c");
    inner.attribute.push(reference("pads", "border"));
    let function =
        |name: &str, inputs: [&str; 2], output: &str, attribute: &str, nodes| FunctionProto {
            name: Some(name.to_owned()),
            domain: Some("mine".to_owned()),
            input: inputs.map(str::to_owned).to_vec(),
            output: vec![output.to_owned()],
            attribute: vec![attribute.to_owned()],
            node: nodes,
            opset_import: vec![import("", opset), import("mine", 1)],
            ..FunctionProto::default()
        };
    model.functions = vec![
        function(
            "Inner",
            ["x", "w"],
            "y",
            "pads",
            vec![conv, call("Identity", "", &["t"], "y")],
        ),
        function("Outer", ["a", "b"], "c", "border", vec![inner]),
    ];
    model.opset_import.push(import("mine", 1));
    model
}

#[test]
fn functions_are_expanded_and_their_layers_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&in_functions(17), dir.path(), "in.onnx");
    let found = inspected(&path);
    let binary = found["layers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["binary"] == true);
    let name = binary.unwrap()["name"].as_str().unwrap();
    let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    write_masks(&masks, &[(name, 6, &[1, 2])]);
    tool()
        .arg(&path)
        .arg(&out)
        .arg("--masks")
        .arg(&masks)
        .assert()
        .success();
    let written = Model::load_any_opset(&out).unwrap().proto;
    assert!(written.functions.is_empty());
    let conv = written
        .graph
        .as_ref()
        .unwrap()
        .node
        .iter()
        .filter(|n| n.op_type() == "Conv");
    assert!(
        conv.clone()
            .any(|n| n.attribute.iter().any(|a| a.ints == [1; 4]))
    );
    // Nothing to prune: the same bytes.
    tool().arg(&path).arg(&out).assert().success();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn a_function_of_another_opset_is_named_with_what_it_hides() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&in_functions(13), dir.path(), "in.onnx");
    let found = inspected(&path);
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("mine.Inner") && warnings.contains("onnx.inliner"),
        "{warnings}"
    );
    let hidden = layer(&found, "t");
    let reason = hidden["reason"].as_str().unwrap();
    assert!(reason.contains("'mine.Inner'"), "{reason}");
}

#[test]
fn what_is_not_understood_is_listed_with_type_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = network(|b| {
        b.graph.initializer.push(TensorProto {
            name: Some("nibbles".to_owned()),
            data_type: Some(22), // int4
            dims: SHAPE.iter().map(|&d| d as i64).collect(),
            raw_data: Some(vec![0x1f; 108].into()),
            ..TensorProto::default()
        });
        let scale = b.weight(&[], vec![0.25]);
        b.node("DequantizeLinear", &["nibbles", &scale], vec![])
    });
    model.opset_import[0].version = Some(21);
    let path = write(&model, dir.path(), "int4.onnx");
    let found = inspected(&path);
    let entry = layer(&found, "binary");
    assert_eq!(
        (&entry["weights"], &entry["prunable"]),
        (&"unknown".into(), &false.into())
    );
    assert!(
        entry["reason"]
            .as_str()
            .unwrap()
            .contains("'nibbles' of int4"),
        "{entry}"
    );
    let masks = dir.path().join("m.json");
    write_masks(&masks, &[("binary", 6, &[0])]);
    let out = dir.path().join("o.onnx");
    let words = ["m.json", "binary", "int4"];
    refused(
        tool().arg(&path).arg(&out).arg("--masks").arg(&masks),
        2,
        &words,
    );
}

#[test]
fn integer_and_fused_layers_and_those_in_subgraphs_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut b = Builder::new(&[2, 6, 6]);
    let byte = |v: f64| Tensor::of(DataType::U8, &ArrayD::from_elem(IxDyn(&[]), v));
    let (scale, zero) = (b.weight(&[], vec![0.1]), b.constant(&byte(0.0)));
    let x = b.node("QuantizeLinear", &["x", &scale, &zero], vec![]);
    let w = b.constant(&Tensor::of(DataType::I8, &signs(&[3, 2, 1, 1])));
    let own = b.constant(&Tensor::of(DataType::I8, &ArrayD::zeros(IxDyn(&[]))));
    let q = b.node(
        "QLinearConv",
        &[&x, &scale, &zero, &w, &scale, &own, &scale, &zero],
        vec![],
    );
    let i = b.node("ConvInteger", &[&x, &w], vec![]);
    let f = b.node("FusedMatMul", &["x", "x"], vec![]);
    b.graph.node.last_mut().unwrap().domain = Some("com.microsoft".to_owned());
    let m = b.node("MatMul", &["x", "x"], vec![]);
    let condition = b.constant(&Tensor::of(DataType::Bool, &ArrayD::ones(IxDyn(&[]))));
    let branch = || GraphProto {
        name: Some("branch".to_owned()),
        node: vec![call("Conv", "", &["x", "inner_w"], "inner")],
        output: vec![crate::graphs::undeclared("inner")],
        ..GraphProto::default()
    };
    let if_ = b.node("If", &[&condition], vec![]);
    for name in ["then_branch", "else_branch"] {
        b.graph
            .node
            .last_mut()
            .unwrap()
            .attribute
            .push(AttributeProto {
                name: Some(name.to_owned()),
                r#type: Some(AttributeType::Graph as i32),
                g: Some(branch()),
                ..AttributeProto::default()
            });
    }
    b.graph
        .initializer
        .push(Tensor::of(DataType::F32, &signs(&[3, 2, 1, 1])).to_proto("inner_w"));
    let mut model = b.model(&[&q, &i, &f, &m, &if_]);
    model.opset_import.push(import("com.microsoft", 1));
    let found = inspected(&write(&model, dir.path(), "in.onnx"));
    for (name, word) in [
        (q.as_str(), "int8"),
        (&i, "int8"),
        (&f, "com.microsoft.FusedMatMul"),
        (&m, "model's input"),
        ("inner", "subgraph of If"),
    ] {
        let reason = layer(&found, name)["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(word), "{name}: {reason}");
    }
}
