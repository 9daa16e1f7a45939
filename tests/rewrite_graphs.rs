//! Random graphs of every operator with a rule, random masks: the pruned model gives what the
//! masked one gives, bit for bit, in its outputs and in every tensor that is left.
//!
//! `PROPTEST_CASES=2000 cargo test --release --test rewrite_graphs` is the long run.

mod graphs;

use graphs::random::{Random, input, masks};
use graphs::{run, with_outputs};
use ndarray::{ArrayD, Axis};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    EliminateOptions, Eliminated, FilterMasks, Removal, Residual, apply_masks, eliminate_with,
};
use onnx_bnnprune::verify::Optimization;
use proptest::prelude::*;

fn same(masked: &ModelProto, pruned: &Eliminated, x: &ArrayD<f32>) {
    for level in [Optimization::Off, Optimization::All] {
        assert_eq!(run(masked, x, level), run(&pruned.model, x, level));
    }
    let names: Vec<&str> = pruned.channels.keys().map(String::as_str).collect();
    let outputs = masked.graph.as_ref().unwrap().output.len();
    let before = run(&with_outputs(masked, &names), x, Optimization::Off);
    let after = run(&with_outputs(&pruned.model, &names), x, Optimization::Off);
    let maps = pruned.channels.iter();
    for ((name, map), (a, b)) in maps.zip(before[outputs..].iter().zip(&after[outputs..])) {
        assert_eq!(&a.select(Axis(map.axis), &map.kept), b, "tensor {name}");
    }
}

fn check(
    model: &ModelProto,
    masks: &FilterMasks,
    removal: Removal,
    options: &EliminateOptions,
) -> Eliminated {
    let masked = apply_masks(model, masks, removal).unwrap().model;
    let pruned = eliminate_with(&masked, options).unwrap();
    same(&masked, &pruned, &input(11));
    pruned
}

fn choices() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 1..14)
}

fn options() -> impl Strategy<Value = EliminateOptions> {
    let ratio = prop_oneof![Just(1.0f32), Just(1e6)];
    let residual = prop_oneof![Just(Residual::Coupled), Just(Residual::Scatter)];
    (ratio, residual, 1usize..4).prop_map(|(border_map_ratio, residual, round_to)| {
        EliminateOptions {
            border_map_ratio,
            residual,
            round_to,
            keep: Vec::new(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
    ) })]

    #[test]
    fn any_graph_any_masks(steps in choices(), seed in any::<u64>(), percent in 0u64..90, options in options()) {
        let model = Random::model(&steps);
        let masks = masks(&model, percent, seed);
        check(&model, &masks, Removal::Drop, &options);
        check(&model, &masks, Removal::Fold, &options);
    }
}

/// The test above would also pass on graphs where nothing happens; these numbers say that much does.
#[test]
fn the_graphs_exercise_elimination() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = choices();
    let (mut cut, mut moved, mut scattered, mut gathered) = (0, 0, 0, 0);
    let options = EliminateOptions {
        residual: Residual::Scatter,
        ..EliminateOptions::default()
    };
    for seed in 0..100 {
        let model = Random::model(&strategy.new_tree(&mut runner).unwrap().current());
        let pruned = check(&model, &masks(&model, 40, seed), Removal::Drop, &options);
        cut += usize::from(!pruned.channels.is_empty());
        scattered += usize::from(pruned.plan.contains("scattered"));
        let nodes = &pruned.model.graph.as_ref().unwrap().node;
        gathered += usize::from(nodes.iter().any(|n| n.op_type() == "Gather"));
        let x = input(11);
        let original = run(&model, &x, Optimization::Off);
        moved += usize::from(original != run(&pruned.model, &x, Optimization::Off));
    }
    assert!(
        cut >= 60 && moved >= 60 && gathered >= 3,
        "of 100: {cut} cut, {moved} moved, {scattered} scattered, {gathered} with Gather"
    );
}
