//! QONNX as Brevitas first wrote it: opset 9, a domain of its own that is not imported.

use crate::common::{refused, tool, write_masks};
use crate::graphs::{Attr, Builder};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, to_bytes};

fn signs(count: usize) -> Vec<f32> {
    let of = |i: usize| {
        if (i * 7 + i / 5).is_multiple_of(3) {
            -0.4
        } else {
            0.4
        }
    };
    (0..count).map(of).collect()
}

fn quant(b: &mut Builder, t: &str, domain: &str) -> String {
    let scale = b.weight(&[], vec![1.0]);
    let out = b.node("BipolarQuant", &[t, &scale], vec![]);
    b.graph.node.last_mut().unwrap().domain = Some(domain.to_owned());
    out
}

/// Three dense layers, the inner one binary, behind a Clip with its bounds as attributes.
fn network(domain: &str, extra: Option<&str>) -> ModelProto {
    let mut b = Builder::new(&[6]);
    let bounds = vec![("min", Attr::Float(-1.5)), ("max", Attr::Float(1.5))];
    let mut t = b.node("Clip", &["x"], bounds);
    if let Some(op) = extra {
        t = b.node(op, &[&t], vec![("scales", Attr::Floats(vec![1.0, 1.0]))]);
    }
    t = quant(&mut b, &t, domain);
    for (rows, columns) in [(6, 8), (8, 5)] {
        let w = b.weight(&[rows, columns], signs(rows * columns));
        let w = quant(&mut b, &w, domain);
        t = b.node("MatMul", &[&t, &w], vec![]);
        b.graph.node.last_mut().unwrap().name = Some(format!("dense{rows}"));
        if rows == 6 {
            let numbers = |v: f32| (0..8).map(|i| v + i as f32 * 0.1).collect::<Vec<_>>();
            let p: Vec<String> = [1.0, 0.1, 0.2, 0.9]
                .map(|v| b.weight(&[8], numbers(v)))
                .into();
            t = b.node(
                "BatchNormalization",
                &[&t, &p[0], &p[1], &p[2], &p[3]],
                vec![],
            );
            t = quant(&mut b, &t, domain);
        }
    }
    let mut model = b.model(&[]);
    model
        .graph
        .as_mut()
        .unwrap()
        .output
        .push(crate::graphs::declare(&t, &[5]));
    model.opset_import[0].version = Some(9);
    model.ir_version = Some(6);
    model
}

#[test]
fn files_of_opset_9_are_inspected_checked_pruned_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    let masks = dir.path().join("m.json");
    write_masks(&masks, &[("dense6", 8, &[1, 6])]);
    for domain in ["onnx.brevitas", "finn.custom_op.general"] {
        std::fs::write(&path, to_bytes(&network(domain, None))).unwrap();
        tool().arg("inspect").arg(&path).assert().success();
        tool().arg("check").arg(&path).assert().success();
        tool()
            .arg(&path)
            .arg(&out)
            .arg("--masks")
            .arg(&masks)
            .assert()
            .success();
        tool()
            .arg("verify")
            .arg(&path)
            .arg(&path)
            .assert()
            .success();
        let written = Model::load(&out).unwrap().proto;
        let opsets: Vec<_> = written
            .opset_import
            .iter()
            .map(|o| (o.domain(), o.version()))
            .collect();
        assert_eq!(opsets, [("", 9)], "as the input has it");
        let nodes = &written.graph.as_ref().unwrap().node;
        let quantisers = nodes.iter().filter(|n| n.op_type() == "BipolarQuant");
        assert!(quantisers.clone().count() >= 4);
        assert!(quantisers.clone().all(|n| n.domain() == domain));
    }
}

#[test]
fn an_operator_that_means_something_else_in_a_newer_opset_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.onnx");
    std::fs::write(&path, to_bytes(&network("onnx.brevitas", Some("Upsample")))).unwrap();
    let out = dir.path().join("out.onnx");
    refused(tool().arg(&path).arg(&out), 2, &["Upsample", "opset 11"]);
}
