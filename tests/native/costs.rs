//! Costs in bits, held against what qonnx says of the same files.

use std::path::PathBuf;

use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::rewrite::cost;

/// `scripts/deployment/qonnx_cost.py` has written it.
const COSTS: &str = include_str!("../../fixtures/dialects/costs.json");

#[test]
fn bits_are_counted_as_qonnx_counts_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/dialects");
    let costs: serde_json::Value = serde_json::from_str(COSTS).unwrap();
    let models = costs["models"].as_object().unwrap();
    for (name, wanted) in models {
        let path = folder.join(name);
        let model = Model::load(&path).unwrap().proto;
        let view = View::new(&path, &model).unwrap();
        let found = cost(&view.graph, &view.facts, &view.layers);
        let layers = wanted["layers"].as_array().unwrap();
        assert_eq!(found.layers.len(), layers.len(), "{name}");
        for (layer, wanted) in found.layers.iter().zip(layers) {
            let of = |key: &str| wanted[key].as_u64().unwrap();
            let (bits, label) = (layer.bits, &layer.name);
            assert_eq!(bits.operations, of("operations"), "{name} {label}");
            assert_eq!(bits.weights, of("weights"), "{name} {label}");
            assert_eq!(bits.outputs, of("outputs"), "{name} {label}");
        }
        let of = |key: &str| wanted["total"][key].as_u64().unwrap();
        assert_eq!(found.bits.operations, of("operations"), "{name}");
        assert_eq!(found.bits.weights, of("weights"), "{name}");
        assert_eq!(found.bits.outputs, of("outputs"), "{name}");
    }
    assert!(models.len() > 20, "{}", models.len());
}
