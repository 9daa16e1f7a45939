//! A small model to break, and `check` run on it.
#![allow(dead_code)] // each test file uses a part of it

use std::path::Path;

use onnx_bnnprune::onnx::proto::{
    GraphProto, ModelProto, NodeProto, StringStringEntryProto, tensor_proto::DataLocation,
};
use serde_json::Value;

use crate::common::tool;
use crate::graphs::{Attr, Builder, sized};

/// relu(x)·w + b, then Concat with itself: `[1, 3] -> [1, 4]`.
pub fn small() -> ModelProto {
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

pub fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

pub fn node<'m>(model: &'m mut ModelProto, op: &str) -> &'m mut NodeProto {
    let mut nodes = graph(model).node.iter_mut();
    nodes.find(|n| n.op_type() == op).unwrap()
}

/// `check PATH --json` with further arguments: exit code and output.
pub fn check(path: &Path, arguments: &[&str]) -> (i32, Value) {
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

/// Moves the first initializer's data to another file.
pub fn externalise(model: &mut ModelProto, location: &str, extra: &[(&str, &str)]) {
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
