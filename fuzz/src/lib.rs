//! What the fuzz targets share: models changed at random and random graphs, both from the tests,
//! a place for files, and the native network as the judge of what elimination did.

#[path = "../../tests/graphs/mod.rs"]
pub mod graphs;
#[path = "../../tests/mutants/mod.rs"]
pub mod mutants;

use std::path::PathBuf;
use std::sync::LazyLock;

use ndarray::ArrayD;
use onnx_bnnprune::autograd::Network;
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::recognize;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));

/// A file with these bytes, in a folder of this process.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}

/// What the model gives for `x`, where the native network can run it.
pub fn output(model: &ModelProto, x: &ArrayD<f32>) -> Option<ArrayD<f32>> {
    let graph = Graph::new(model).ok()?;
    let facts = Facts::infer(&graph, 1).ok()?;
    let layers = recognize::layers(&graph, &facts);
    let network = Network::import(&graph, &facts, &layers).ok()?;
    network.infer_output(x.clone()).ok()
}

/// Both models give the same, as far as the native network can tell.
pub fn assert_same(masked: &ModelProto, pruned: &ModelProto, x: &ArrayD<f32>) {
    let (Some(a), Some(b)) = (output(masked, x), output(pruned, x)) else {
        return;
    };
    assert_eq!(a.shape(), b.shape());
    let scale = a.iter().fold(0.05f32, |m, v| m.max(v.abs()));
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() <= 1e-4 * scale, "masked {a}, pruned {b}");
    }
}
