//! Random graphs of every operator with a rule, random masks: the pruned model gives what the
//! masked one gives, in its outputs and in every tensor that is left. Bit for bit where all numbers
//! are dyadic; within 1e-4 where they are any and nothing jumps.
//!
//! `PROPTEST_CASES=3000 cargo test --release --test rewrite_graphs` is the long run.

use crate::graphs::random::{Family, Random, input, masks};
use crate::graphs::{run, sized, with_outputs};
use ndarray::{ArrayD, Axis};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::{ModelProto, ValueInfoProto};
use onnx_bnnprune::rewrite::{
    EliminateOptions, Eliminated, Removal, Residual, apply_masks, eliminate_with,
};
use onnx_bnnprune::verify::Optimization;
use proptest::prelude::*;

/// Both models' outputs, and what they hold in every tensor that was cut.
fn each_pair(
    masked: &ModelProto,
    pruned: &Eliminated,
    x: &ArrayD<f32>,
    same: impl Fn(&str, &ArrayD<f32>, &ArrayD<f32>),
) {
    for level in [Optimization::Off, Optimization::All] {
        let (before, after) = (run(masked, x, level), run(&pruned.model, x, level));
        for (a, b) in before.iter().zip(&after) {
            same("an output", a, b);
        }
    }
    let names: Vec<&str> = pruned.channels.keys().map(String::as_str).collect();
    let outputs = masked.graph.as_ref().unwrap().output.len();
    let before = run(&with_outputs(masked, &names), x, Optimization::Off);
    let after = run(&with_outputs(&pruned.model, &names), x, Optimization::Off);
    let maps = pruned.channels.iter();
    for ((name, map), (a, b)) in maps.zip(before[outputs..].iter().zip(&after[outputs..])) {
        same(name, &a.select(Axis(map.axis), &map.kept), b);
    }
}

fn identical(name: &str, a: &ArrayD<f32>, b: &ArrayD<f32>) {
    assert_eq!(a, b, "{name}");
}

/// Within 1e-4 of the largest value.
fn close(name: &str, a: &ArrayD<f32>, b: &ArrayD<f32>) {
    assert_eq!(a.shape(), b.shape(), "{name}");
    let scale = a.iter().fold(0.05f32, |m, v| m.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-4 * scale, "{name}: {a} and {b}");
    }
}

/// A masked model whose outputs differ from the original's, if some masks make one; else any.
fn moving(
    model: &ModelProto,
    removal: Removal,
    (percent, seed): (u64, u64),
    x: &ArrayD<f32>,
) -> (ModelProto, bool) {
    let original = run(model, x, Optimization::Off);
    let mut last = model.clone();
    for i in 0..6 {
        let masks = masks(model, percent + 5 * i, seed.wrapping_add(i));
        last = apply_masks(model, &masks, removal).unwrap().model;
        if run(&last, x, Optimization::Off) != original {
            return (last, true);
        }
    }
    (last, false)
}

/// Shapes of everything, as an exporter writes them; what is not cut is not among them.
fn declare_shapes(model: &mut ModelProto) {
    let declared: Vec<ValueInfoProto> = {
        let graph = Graph::new(model).unwrap();
        let facts = Facts::infer(&graph, 2).unwrap();
        let computed = graph.tensors().filter(|&t| graph.producer(t).is_some());
        let shapes = computed.filter(|&t| facts.is_data(t) && !graph.is_output(t));
        shapes
            .filter_map(|t| Some(sized(graph.name(t), facts.shape(t)?)))
            .collect()
    };
    model.graph.as_mut().unwrap().value_info = declared;
}

/// What the file says of shapes is what they are.
fn assert_shapes(model: &ModelProto) {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    for v in &model.graph.as_ref().unwrap().value_info {
        let shape = facts.shape(graph.find(v.name()).unwrap()).unwrap();
        assert_eq!(*v, sized(v.name(), shape));
    }
}

fn choices() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 1..14)
}

fn options() -> impl Strategy<Value = EliminateOptions> {
    let ratio = prop_oneof![Just(1.0f32), Just(1e6)];
    let residual = prop_oneof![Just(Residual::Coupled), Just(Residual::Scatter)];
    let cost = prop_oneof![Just(0usize), Just(8)];
    let all = (ratio, residual, cost, 1usize..4);
    all.prop_map(
        |(border_map_ratio, residual, scatter_cost, round_to)| EliminateOptions {
            border_map_ratio,
            residual,
            scatter_cost,
            round_to,
            keep: Vec::new(),
            free: std::collections::BTreeMap::new(),
        },
    )
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.and_then(|n| n.parse().ok()).unwrap_or(200);
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 4096,
        max_global_rejects: cases + 1024,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_graph_any_masks(steps in choices(), seed in any::<u64>(), percent in 5u64..90, options in options()) {
        let model = Random::model(Family::Dyadic, &steps);
        let x = input(Family::Dyadic, 11);
        let mut moved = false;
        for removal in [Removal::Drop, Removal::Fold] {
            let (masked, differs) = moving(&model, removal, (percent, seed), &x);
            moved |= differs;
            let pruned = eliminate_with(&masked, &options).unwrap();
            each_pair(&masked, &pruned, &x, identical);
        }
        prop_assume!(moved, "no masks move the outputs");
    }

    #[test]
    fn smooth_graphs_agree_within_rounding(steps in choices(), seed in any::<u64>(), percent in 5u64..90, options in options()) {
        let mut model = Random::model(Family::Smooth, &steps);
        declare_shapes(&mut model);
        let x = input(Family::Smooth, 11);
        let mut moved = false;
        for removal in [Removal::Drop, Removal::Fold] {
            let (masked, differs) = moving(&model, removal, (percent, seed), &x);
            moved |= differs;
            let pruned = eliminate_with(&masked, &options).unwrap();
            assert_shapes(&pruned.model);
            each_pair(&masked, &pruned, &x, close);
        }
        prop_assume!(moved, "no masks move the outputs");
    }
}

/// The tests above would also pass on graphs where nothing happens; these numbers say that much does.
#[test]
fn the_graphs_exercise_elimination() {
    use proptest::strategy::ValueTree as _;
    let options = EliminateOptions {
        residual: Residual::Scatter,
        scatter_cost: 0,
        ..EliminateOptions::default()
    };
    for family in [Family::Dyadic, Family::Smooth] {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let strategy = choices();
        let (mut cut, mut moved, mut scattered, mut gathered) = (0, 0, 0, 0);
        let (mut maps, mut biases) = (0, 0);
        let x = input(family, 11);
        for seed in 0..400 {
            let steps = strategy.new_tree(&mut runner).unwrap().current();
            let model = Random::model(family, &steps);
            let (masked, differs) = moving(&model, Removal::Fold, (40, seed), &x);
            let pruned = eliminate_with(&masked, &options).unwrap();
            moved += usize::from(differs);
            cut += usize::from(!pruned.channels.is_empty());
            scattered += usize::from(pruned.plan.contains("scattered"));
            maps += usize::from(pruned.plan.contains("border map"));
            biases += usize::from(pruned.plan.contains("its bias"));
            let nodes = &pruned.model.graph.as_ref().unwrap().node;
            gathered += usize::from(nodes.iter().any(|n| n.op_type() == "Gather"));
        }
        let much = cut >= 240 && moved >= 360 && gathered >= 40 && maps >= 12 && biases >= 80;
        assert!(
            much && scattered >= 30,
            "{family:?}, of 400: {cut} cut, {moved} moved, {gathered} with Gather, {maps} with \
             border maps, {biases} with biases, {scattered} scattered"
        );
    }
}
