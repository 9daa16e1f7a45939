//! Filters that leave a file without any mask are part of what is asked to go.

use std::path::Path;

use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{json, network, quick, quick_rule};

/// Filters of the last binary layer whose channels are constants in what this writes.
const DEAD: usize = 20;

/// The digits network with filters whose BatchNormalization has no scale.
fn with_dead_filters(path: &Path) {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let of_norm = graph.initializer.iter_mut();
    let scale = of_norm.into_iter().find(|t| t.name() == "norm3.weight");
    let scale = scale.unwrap();
    let Ok(Tensor::F32(mut values)) = Tensor::from_proto(scale) else {
        panic!("a scale in single precision");
    };
    values.iter_mut().take(DEAD).for_each(|v| *v = 0.0);
    *scale = Tensor::F32(values).to_proto("norm3.weight");
    save(&model, path).unwrap();
}

#[test]
fn dead_filters_are_the_first_to_go_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    with_dead_filters(&at("in.onnx"));
    let learned = || quick(&at("in.onnx"), &at("o.onnx"));
    let by_rule = || {
        let mut c = quick_rule(&at("in.onnx"), &at("o.onnx"));
        c.args(["--method", "hamming"]);
        c
    };
    // Of 152 filters; each layer of a rule loses its share, so many of 64 are dead as that is.
    for (mut command, ratio, gone) in [
        (learned(), "0.25", 38),
        (by_rule(), "0.25", 10 + 12 + DEAD),
        // Less than what is dead: that goes all the same, and nothing is learned.
        (learned(), "0.1", DEAD),
    ] {
        command
            .args(["--ratio", ratio, "--report"])
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        let layers = report["layers"].as_array().unwrap();
        let pruned = layers.iter().map(|l| l["pruned"].as_array().unwrap().len());
        assert_eq!(pruned.sum::<usize>(), gone, "--ratio {ratio}: {layers:#?}");
        let last = report["stages"].as_array().unwrap().last().unwrap();
        assert!(last["kept"].as_u64().unwrap() <= 64 - DEAD as u64, "{last}");
    }
}
