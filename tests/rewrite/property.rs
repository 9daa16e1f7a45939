//! Masked and pruned model compute the same, bit for bit, on random networks in ONNX Runtime.
//!
//! `PROPTEST_CASES` sets the number of networks of each test.

use crate::graphs::{Network, run, with_outputs};
use ndarray::{ArrayD, Axis};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    Analysis, EliminateOptions, Eliminated, FilterMasks, Removal, Residual, apply_masks,
    eliminate_with,
};
use onnx_bnnprune::verify::Optimization;
use proptest::prelude::*;

/// Border maps without limit: tests want to see them.
const OPTIONS: EliminateOptions = EliminateOptions {
    border_map_ratio: 1e6,
    round_to: 1,
    residual: Residual::Coupled,
    scatter_cost: 8,
    keep: Vec::new(),
    free: std::collections::BTreeMap::new(),
};

/// The pruned model's outputs, and every surviving tensor that was cut, equal the masked model's.
fn assert_same(masked: &ModelProto, pruned: &Eliminated, x: &ArrayD<f32>) {
    for level in [Optimization::Off, Optimization::All] {
        assert_eq!(run(masked, x, level), run(&pruned.model, x, level));
    }
    let names: Vec<&str> = pruned.channels.keys().map(String::as_str).collect();
    let before = run(&with_outputs(masked, &names), x, Optimization::Off);
    let after = run(&with_outputs(&pruned.model, &names), x, Optimization::Off);
    let maps = pruned.channels.iter();
    for ((name, map), (a, b)) in maps.zip(before[1..].iter().zip(&after[1..])) {
        assert_eq!(&a.select(Axis(map.axis), &map.kept), b, "tensor {name}");
    }
}

fn check(network: &Network, masks: &FilterMasks, removal: Removal) -> Eliminated {
    let model = network.model();
    let masked = apply_masks(&model, masks, removal).unwrap().model;
    let pruned = eliminate_with(&masked, &OPTIONS).unwrap();
    assert_same(&masked, &pruned, &network.input());
    pruned
}

/// The masks without filters whose output is constant anyway (a threshold that never fires): those
/// are folded, not dropped.
fn live(model: &ModelProto, masks: &FilterMasks) -> FilterMasks {
    let graph = Graph::new(model).unwrap();
    let analysis = Analysis::new(&graph, &Facts::infer(&graph, 1).unwrap());
    let mut out = FilterMasks::default();
    for (layer, mask) in &masks.layers {
        let id = analysis.group_of(layer).unwrap();
        let group = &analysis.groups()[id.0];
        let place = group.layers.iter().position(|l| l == layer).unwrap();
        let read = |f: &usize| {
            let channel = group.channel_of[place][*f];
            let mut sites = analysis.mask_sites(id).iter();
            sites.any(|s| s.filter_of.contains(&Some(channel)))
        };
        let pruned = mask.pruned.iter().copied().filter(read);
        out.prune(layer, mask.filters, pruned);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_masks_drop(network in Network::strategy(true, true), percent in 0u64..90) {
        check(&network, &network.masks(percent), Removal::Drop);
    }

    #[test]
    fn any_masks_fold(network in Network::strategy(true, true), percent in 0u64..90) {
        check(&network, &network.masks(percent), Removal::Fold);
    }

    #[test]
    fn masks_of_whole_groups(network in Network::strategy(false, true), percent in 10u64..90) {
        let masks = network.equal_masks(percent);
        check(&network, &masks, Removal::Drop);
        check(&network, &masks, Removal::Fold);
    }

    /// Without masks: what is dead goes, and nothing changes.
    #[test]
    fn lossless(network in Network::strategy(true, true)) {
        let model = network.model();
        let pruned = eliminate_with(&model, &OPTIONS).unwrap();
        assert_same(&model, &pruned, &network.input());
    }

    /// `fold` means: the layer's output times a 0/1 vector.
    #[test]
    fn fold_is_the_output_times_a_mask(network in Network::strategy(true, true), percent in 10u64..90) {
        let masks = network.masks(percent);
        let masked = apply_masks(&network.model(), &masks, Removal::Fold).unwrap();
        let x = network.input();
        let reference = run(&network.reference(&masks, true), &x, Optimization::Off);
        prop_assert_eq!(reference, run(&masked.model, &x, Optimization::Off));
    }

    /// `drop` means: what the next layer reads times a 0/1 vector; and then every masked filter of a
    /// chain goes.
    #[test]
    fn drop_is_the_next_input_times_a_mask(network in Network::strategy(false, false), percent in 10u64..90) {
        let masks = live(&network.model(), &network.masks(percent));
        let masked = apply_masks(&network.model(), &masks, Removal::Drop).unwrap();
        let x = network.input();
        let reference = run(&network.reference(&masks, false), &x, Optimization::Off);
        prop_assert_eq!(reference, run(&masked.model, &x, Optimization::Off));
        for outcome in check(&network, &masks, Removal::Drop).layers {
            if outcome.reason.as_deref().is_some_and(|r| r.contains("at least one channel")) {
                continue;
            }
            let pruned = masks.layers.get(&outcome.name).map_or(&[][..], |m| &m.pruned);
            prop_assert!(
                pruned.iter().all(|f| !outcome.kept.contains(f)),
                "{}: {:?} stay, {:?} were masked", outcome.name, outcome.kept, pruned
            );
        }
    }
}

/// The tests above would also pass on networks where nothing happens; these numbers say that much
/// does.
#[test]
fn the_networks_exercise_elimination() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = Network::strategy(true, true);
    let (mut cut, mut maps, mut biases, mut moved) = (0, 0, 0, 0);
    for _ in 0..100 {
        let network = strategy.new_tree(&mut runner).unwrap().current();
        let masks = network.masks(40);
        let pruned = check(&network, &masks, Removal::Fold);
        cut += usize::from(!pruned.channels.is_empty());
        maps += usize::from(pruned.plan.contains("border map"));
        biases += usize::from(pruned.plan.contains("its bias"));
        let x = network.input();
        let original = run(&network.model(), &x, Optimization::Off);
        moved += usize::from(original != run(&pruned.model, &x, Optimization::Off));
    }
    assert!(
        cut >= 60 && maps >= 10 && biases >= 20 && moved >= 40,
        "of 100: {cut} cut, {maps} with border maps, {biases} with biases, {moved} moved"
    );
}
