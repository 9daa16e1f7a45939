//! The native network computes what ONNX Runtime computes.

use std::sync::Arc;

use crate::common::{gray, logits, max_abs_diff, network, test_digits};
use onnx_bnnprune::engine::{Boundary, Inference, Mode, Plan, Weights};
use onnx_bnnprune::network::Network;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::pipeline::View;

#[test]
fn native_logits_equal_those_of_onnx_runtime_on_every_fixture() {
    let data = test_digits();
    let all: Vec<usize> = (0..data.len()).collect();
    let batch = data.batch(&all, &gray()).unwrap();
    let mut paths: Vec<_> = crate::common::NETWORKS.map(network).to_vec();
    paths.push(crate::common::fixture("digits_float.onnx"));
    for path in paths {
        let model = Model::load(&path).unwrap();
        let view = View::new(&path, &model.proto).unwrap();
        let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let diff = max_abs_diff(
            &Inference::of(&native).infer_output(batch.clone()).unwrap(),
            &logits(&path, data.len()),
        );
        assert!(diff < 1e-4, "{}: logits differ by {diff}", path.display());
    }
}

/// The packed path from layer to layer gives the bits of the steps one by one.
#[test]
fn inference_on_integers_is_exact() {
    let data = test_digits();
    let batch = data.batch(&(0..64).collect::<Vec<_>>(), &gray()).unwrap();
    for path in crate::common::NETWORKS.map(network) {
        let model = Model::load(&path).unwrap();
        let view = View::new(&path, &model.proto).unwrap();
        let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let start = Boundary::start(&native, batch.clone()).unwrap();
        let plan = Plan::new(&native, native.all(), Mode::default());
        let weights = Arc::new(Weights::new(&native));
        let trace = plan.forward(&native, &weights, &start).unwrap();
        let expected = trace.value(native.logits()).unwrap();
        assert_eq!(
            &Inference::of(&native).infer(batch.clone()).unwrap(),
            expected,
            "{}",
            path.display()
        );
    }
}
