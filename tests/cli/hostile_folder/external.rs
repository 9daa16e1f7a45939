//! External data come from the model's folder alone, and cost what they hold.

use std::os::unix::fs::symlink;

use onnx_bnnprune::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataLocation,
};
use onnx_bnnprune::onnx::{Model, save};

use super::model;
use crate::common::{refused, tool};

/// External data of `w`, in `location`.
pub fn outside(location: &str) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        name: Some("w".to_owned()),
        dims: vec![3],
        data_type: Some(1),
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location), entry("length", "12")],
        ..TensorProto::default()
    }
}

fn constant(attribute: AttributeProto) -> NodeProto {
    NodeProto {
        op_type: Some("Constant".to_owned()),
        output: vec!["k".to_owned()],
        attribute: vec![attribute],
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// A model that holds `t` in each of the places where a tensor can be.
pub fn everywhere(t: &TensorProto) -> Vec<(&'static str, ModelProto)> {
    let plain = || model(|b| b.node("Relu", &["x"], vec![]));
    let value = || AttributeProto {
        t: Some(t.clone()),
        ..attribute("value", AttributeType::Tensor)
    };
    let sparse = |values: bool| SparseTensorProto {
        values: Some(if values {
            t.clone()
        } else {
            TensorProto::default()
        }),
        indices: Some(if values {
            TensorProto::default()
        } else {
            t.clone()
        }),
        dims: vec![9],
    };
    let graph = || GraphProto {
        initializer: vec![t.clone()],
        ..GraphProto::default()
    };
    let with_node = |a: AttributeProto| {
        let mut m = plain();
        m.graph.as_mut().unwrap().node.push(constant(a));
        m
    };
    let function = |f: FunctionProto| {
        let mut m = plain();
        m.functions.push(FunctionProto {
            name: Some("F".to_owned()),
            domain: Some("local".to_owned()),
            output: vec!["k".to_owned()],
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
            ..f
        });
        m
    };
    let mut initializer = plain();
    let inner = initializer.graph.as_mut().unwrap();
    inner.initializer.push(t.clone());
    let mut sparse_initializer = plain();
    let inner = sparse_initializer.graph.as_mut().unwrap();
    inner.sparse_initializer.push(sparse(true));
    let body = |a: AttributeProto| FunctionProto {
        node: vec![constant(a)],
        ..FunctionProto::default()
    };
    vec![
        ("initializer", initializer),
        ("sparse initializer", sparse_initializer),
        ("attribute", with_node(value())),
        (
            "tensors",
            with_node(AttributeProto {
                tensors: vec![t.clone()],
                ..attribute("values", AttributeType::Tensors)
            }),
        ),
        (
            "sparse values",
            with_node(AttributeProto {
                sparse_tensor: Some(sparse(true)),
                ..attribute("sparse_value", AttributeType::SparseTensor)
            }),
        ),
        (
            "sparse indices",
            with_node(AttributeProto {
                sparse_tensors: vec![sparse(false)],
                ..attribute("sparse_values", AttributeType::SparseTensors)
            }),
        ),
        (
            "subgraph",
            with_node(AttributeProto {
                g: Some(graph()),
                ..attribute("body", AttributeType::Graph)
            }),
        ),
        (
            "subgraphs",
            with_node(AttributeProto {
                graphs: vec![graph()],
                ..attribute("bodies", AttributeType::Graphs)
            }),
        ),
        ("function", function(body(value()))),
        (
            "subgraph of a function",
            function(body(AttributeProto {
                g: Some(graph()),
                ..attribute("body", AttributeType::Graph)
            })),
        ),
        (
            "default of a function",
            function(FunctionProto {
                attribute_proto: vec![value()],
                ..FunctionProto::default()
            }),
        ),
    ]
}

#[test]
fn external_data_are_read_from_the_models_folder_alone_wherever_a_tensor_is() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, [7; 64]).unwrap();
    let path = models.join("m.onnx");
    for location in ["../secret", secret.to_str().unwrap()] {
        for (place, m) in everywhere(&outside(location)) {
            save(&m, &path).unwrap();
            let error = Model::load(&path).expect_err(place).to_string();
            assert!(
                error.contains("outside the model's folder"),
                "{place}: {error}"
            );
            let mut c = tool();
            c.current_dir(dir.path()).arg("check").arg(&path).arg("-q");
            let done = c.output().unwrap();
            assert_eq!(done.status.code(), Some(1), "{place}");
            let text = String::from_utf8(done.stdout).unwrap();
            assert!(
                text.contains("outside the model's folder"),
                "{place}: {text}"
            );
        }
    }
    std::fs::write(models.join("data"), [7; 12]).unwrap();
    for (place, m) in everywhere(&outside("data")) {
        save(&m, &path).unwrap();
        let loaded = Model::load(&path).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(loaded.external_files.len(), 1, "{place}");
        let location = b"location";
        let bytes = prost::Message::encode_to_vec(&loaded.proto);
        assert!(
            !bytes.windows(location.len()).any(|w| w == location),
            "{place}"
        );
    }
}

#[test]
fn a_hub_cache_of_links_is_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (
        dir.path().join("blobs"),
        dir.path().join("snapshots/a/onnx"),
    );
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    let (_, m) = everywhere(&outside("model.data")).remove(0);
    save(&m, &blobs.join("0a1b")).unwrap();
    std::fs::write(blobs.join("2c3d"), [0; 12]).unwrap();
    symlink("../../../blobs/0a1b", snapshot.join("model.onnx")).unwrap();
    symlink("../../../blobs/2c3d", snapshot.join("model.data")).unwrap();
    let path = snapshot.join("model.onnx");
    tool().arg("inspect").arg(&path).assert().code(0);
    // ONNX Runtime looks beside the link, and `check` says so where nothing is there.
    std::fs::remove_file(snapshot.join("model.data")).unwrap();
    std::fs::write(blobs.join("model.data"), [0; 12]).unwrap();
    tool().arg("inspect").arg(&path).assert().code(0);
    let done = tool().arg("check").arg(&path).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{text}");
    assert!(text.contains("looks for them beside the link"), "{text}");
    // Elsewhere is still elsewhere.
    symlink("../../../blobs/2c3d", snapshot.join("model.data")).unwrap();
    std::fs::write(dir.path().join("secret"), [0; 12]).unwrap();
    std::fs::remove_file(snapshot.join("model.data")).unwrap();
    symlink("../../../secret", snapshot.join("model.data")).unwrap();
    refused(
        tool().arg("inspect").arg(&path),
        2,
        &["model.onnx", "through a link"],
    );
}
