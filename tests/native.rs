//! The native network computes what ONNX Runtime computes.

mod common;

use common::{gray, logits, max_abs_diff, network, test_digits};
use onnx_bnnprune::autograd::Network;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::pipeline::View;

#[test]
fn native_logits_equal_those_of_onnx_runtime_on_every_fixture() {
    let data = test_digits();
    let all: Vec<usize> = (0..data.len()).collect();
    let batch = data.batch(&all, &gray());
    let mut paths: Vec<_> = common::NETWORKS.map(network).to_vec();
    paths.push(common::fixture("digits_float.onnx"));
    for path in paths {
        let model = Model::load(&path).unwrap();
        let view = View::new(&path, &model.proto).unwrap();
        let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let diff = max_abs_diff(
            &native.infer_output(batch.clone()).unwrap(),
            &logits(&path, data.len()),
        );
        assert!(diff < 1e-4, "{}: logits differ by {diff}", path.display());
    }
}
