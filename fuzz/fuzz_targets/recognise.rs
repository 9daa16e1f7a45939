//! Any bytes as a model: its layers, dialect, groups and integer form.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::normalise::normalise;
use onnx_bnnprune::onnx::{OPSETS, decode, default_opset};
use onnx_bnnprune::report::Inspection;
use onnx_bnnprune::rewrite::Analysis;
use onnx_bnnprune::{qonnx, recognize};
use onnx_bnnprune_fuzz::mutants::sound;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    if !OPSETS.contains(&default_opset(&model)) {
        return;
    }
    if let Ok(lowered) = qonnx::lower(&model) {
        let _ = Graph::new(&lowered.model);
    }
    let Ok(graph) = Graph::new(&model) else {
        return;
    };
    let Ok(facts) = Facts::infer(&graph, 1) else {
        return;
    };
    let layers = recognize::layers(&graph, &facts);
    let analysis = Analysis::new(&graph, &facts);
    let found = Inspection::new(Path::new("m"), &graph, &layers, &analysis, Vec::new());
    assert_eq!(found.layers.len(), layers.len());
    assert!(!found.render().is_empty());
    sound(&normalise(&graph, &facts, &layers).model);
});
