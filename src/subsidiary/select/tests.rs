//! Each rule on small networks where what it must say is known.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{Array2, Array4, ArrayD, Axis};

use super::taylor::gate_gradients;
use super::*;
use crate::data::{Dataset, Images, Pixels, Preprocess};
use crate::engine::{Boundary, Inference, Mode, Plan, Value, Weights};
use crate::graph::{Facts, Graph};
use crate::network::testing::ModelBuilder;
use crate::network::{Input, Network, StepId, ValueId};
use crate::onnx::Tensor;
use crate::onnx::proto::ModelProto;
use crate::ops::testing::random as values;
use crate::progress::Silent;
use crate::recognize;
use crate::rewrite::Analysis;
use crate::subsidiary::objective::loss;
use crate::subsidiary::rules;
use crate::subsidiary::span::{Frozen, TrainingImages};
use crate::subsidiary::{Control, Grouping, Options, mask_groups};

const IMAGES: usize = 80;

fn stem() -> ModelBuilder {
    ModelBuilder::new(&[0, 3, 5, 5])
        .constant("stem.w", values(&[4, 3, 3, 3], 1))
        .node("stem", "Conv", &["x", "stem.w"], &[("pads", &[1, 1, 1, 1])])
        .batch_norm("bn0", "stem", 4)
}

fn head(body: ModelBuilder) -> ModelProto {
    body.binary_conv("c2", "bn1", 5, 6)
        .batch_norm("bn2", "c2", 5)
        .node("gap", "GlobalAveragePool", &["bn2"], &[])
        .node("flat", "Flatten", &["gap"], &[])
        .constant("fc.w", values(&[3, 5], 3))
        .constant("fc.b", values(&[3], 4))
        .node("fc", "Gemm", &["flat", "fc.w", "fc.b"], &[("transB", &[1])])
        .build()
}

/// stem → c1 (6 filters) → c2 (5), both binary with BatchNormalization → pool → Gemm. No sign stands
/// behind c2.
pub(in crate::subsidiary) fn model() -> ModelProto {
    head(
        stem()
            .binary_conv("c1", "bn0", 6, 4)
            .batch_norm("bn1", "c1", 6),
    )
}

pub(in crate::subsidiary) fn images() -> Images {
    let images = values(&[IMAGES, 3, 5, 5], 9);
    Images {
        train: Dataset {
            images: Pixels::F32(Array4::from_shape_fn((IMAGES, 3, 5, 5), |(n, c, y, x)| {
                images[[n, c, y, x]]
            })),
            labels: Some((0..IMAGES).map(|i| i % 3).collect()),
            classes: Vec::new(),
            source: "d".into(),
            skipped: Vec::new(),
        },
        train_indices: (0..IMAGES).collect(),
        val: None,
        val_indices: vec![0],
        preprocess: Preprocess::default(),
        val_source: String::new(),
    }
}

/// What `ask` says of a mask group of a model, after the network was prepared.
fn asked<R>(
    model: &ModelProto,
    group: usize,
    prepare: impl FnOnce(&mut Network),
    ask: impl FnOnce(&mut RuleContext<'_, '_>) -> R,
) -> R {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    let layers = recognize::layers(&graph, &facts);
    let analysis = Analysis::new(&graph, &facts);
    let (groups, excluded) = mask_groups(&graph, &layers, &analysis, Grouping::default());
    assert!(excluded.is_empty(), "{excluded:?}");
    let mut network = Network::import(&graph, &facts, &layers).unwrap();
    prepare(&mut network);
    let (images, options) = (images(), Options::for_images(IMAGES));
    let control = Control {
        observer: &Silent,
        checkpoint: None,
        processes: &crate::distributed::Alone,
    };
    let mut trainer = Trainer::new(&mut network, &images, &options, control).unwrap();
    let (m, span) = trainer.enter(&groups[group], 5, Frozen::Before).unwrap();
    let target = StageMask {
        group: &groups[group],
        layers: &layers,
        m,
        goal: None,
        seed: 5,
    };
    let mut context = RuleContext::new(&mut trainer, &target, &span);
    ask(&mut context)
}

fn scores(name: &str, group: usize, prepare: impl FnOnce(&mut Network)) -> Vec<f64> {
    asked(&model(), group, prepare, |context| {
        rule(name).unwrap().scores(context).unwrap()
    })
}

fn set(network: &mut Network, name: &str, change: impl FnOnce(&mut [f32])) {
    let at = network.params().iter().position(|p| p.name == name);
    let at = at.unwrap_or_else(|| panic!("no '{name}'"));
    let mut values = network.values_mut(ParamId(at));
    change(values.as_slice_mut().unwrap());
}

/// Makes filter `copy` of c1 compute what filter `of` computes, times `sign`.
fn repeat(network: &mut Network, of: usize, copy: usize, sign: f32) {
    let latent = network.binaries().iter().find(|b| b.layer == "c1");
    let latent = latent.unwrap().latent;
    let row = network
        .param(latent)
        .value
        .index_axis(Axis(0), of)
        .to_owned();
    let mut weights = network.values_mut(latent);
    weights.index_axis_mut(Axis(0), copy).assign(&(row * sign));
    for (name, sign) in [("g", 1.0), ("b", sign), ("m", sign), ("v", 1.0)] {
        set(network, &format!("bn1.{name}"), |v| v[copy] = sign * v[of]);
    }
}

fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order
}

#[test]
fn every_rule_has_a_name_and_a_line_of_its_own() {
    let promised = "random magnitude bn-scale sign-balance hamming reconstruction taylor fisher";
    assert!(promised.split(' ').all(|name| rule(name).is_some()));
    for r in RULES {
        assert!(!r.about().is_empty());
        assert_eq!(serde_json::to_value(r).unwrap(), r.name());
        assert_eq!(RULES.iter().filter(|o| o.name() == r.name()).count(), 1);
        assert_eq!(rule(r.name()).unwrap(), *r);
    }
    assert!(rule("subsidiary").is_none());
}

#[test]
fn scores_are_the_same_at_any_number_of_threads() {
    for rule in RULES {
        for group in [0, 1] {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build()
                    .unwrap()
                    .install(|| scores(rule.name(), group, |_| {}))
            };
            let once = on(1);
            assert_eq!(once.len(), [6, 5][group]);
            assert!(once.iter().all(|s| s.is_finite()), "{}", rule.name());
            assert_eq!(once, on(3), "{}", rule.name());
        }
    }
}

#[test]
fn random_is_the_random_mask() {
    let found = scores("random", 0, |_| {});
    assert_eq!(rules::largest(&found, 4), rules::random(6, 4, 5));
}

#[test]
fn magnitude_is_the_mean_size_of_the_weights() {
    let found = scores("magnitude", 0, |_| {});
    let latents = values(&[6, 4, 3, 3], 6);
    for (score, filter) in found.iter().zip(latents.outer_iter()) {
        let mean = filter.mapv(f32::abs).mean().unwrap();
        assert!((score - f64::from(mean)).abs() < 1e-6);
    }
}

#[test]
fn a_gamma_counts_by_its_size() {
    let found = scores("bn-scale", 0, |network| {
        set(network, "bn1.g", |g| {
            g.copy_from_slice(&[0.5, -2.0, 0.1, 1.0, -0.2, 0.0]);
        });
    });
    assert_eq!(order(&found), [5, 2, 4, 0, 3, 1]);
    assert_eq!(found[1], 2.0);
}

#[test]
fn a_gamma_behind_channels_in_another_order_is_no_filters() {
    let order = Tensor::I64(ndarray::arr1(&[5, 0, 3, 1, 4, 2]).into_dyn());
    let shuffled = stem()
        .binary_conv("c1", "bn0", 6, 4)
        .tensor("order", &order)
        .node("shuffled", "Gather", &["c1", "order"], &[("axis", &[1])])
        .batch_norm("bn1", "shuffled", 6);
    let model = head(shuffled);
    let with = |gamma: f32| {
        let change = |network: &mut Network| set(network, "bn1.g", |g| g[0] = gamma);
        asked(&model, 0, change, |context| {
            rule("bn-scale").unwrap().scores(context).unwrap()
        })
    };
    assert_eq!(with(0.1), with(9.0));
}

#[test]
fn a_gamma_that_is_folded_into_weights_is_found_there() {
    let sizes = [0.5, 0.1, 0.3, 0.2, 0.9, 0.7];
    let mut weight = values(&[6, 4, 3, 3], 6).mapv(f32::signum);
    for (mut filter, s) in weight.outer_iter_mut().zip(sizes) {
        filter.mapv_inplace(|w| w * s);
    }
    let folded = stem()
        .constant("c1.w", weight)
        .constant("c1.b", values(&[6], 8))
        .node("s1", "Sign", &["bn0"], &[])
        .node(
            "bn1",
            "Conv",
            &["s1", "c1.w", "c1.b"],
            &[("pads", &[1, 1, 1, 1])],
        );
    let (found, variance) = asked(
        &head(folded),
        0,
        |_| {},
        |context| {
            let network = &*context.trainer.network;
            let put_back = network
                .params()
                .iter()
                .find(|p| p.name == "bn1.running_var");
            let variance: Vec<f32> = put_back.unwrap().value.iter().copied().collect();
            let bn_scale = rule("bn-scale").unwrap();
            (bn_scale.scores(context).unwrap(), variance)
        },
    );
    for ((score, size), variance) in found.iter().zip(sizes).zip(variance) {
        let expected = f64::from(size) * f64::from(variance).sqrt();
        assert!((score / expected - 1.0).abs() < 1e-4, "{found:?}");
    }
}

#[test]
fn a_constant_channel_has_no_entropy() {
    let found = scores("sign-balance", 0, |network| {
        set(network, "bn1.b", |b| (b[2], b[4]) = (100.0, -100.0));
    });
    assert_eq!([found[2], found[4]], [0.0, 0.0]);
    assert!(
        [0, 1, 3, 5]
            .iter()
            .all(|&f| found[f] > 0.1 && found[f] <= 1.0)
    );
}

#[test]
fn copies_go_first_also_negated_ones() {
    let found = scores("hamming", 0, |network| {
        repeat(network, 1, 4, 1.0);
        repeat(network, 2, 5, -1.0);
    });
    let mut first = order(&found)[..2].to_vec();
    first.sort_unstable();
    assert!([1, 4].contains(&first[0]) && [2, 5].contains(&first[1]) || first == [4, 5]);
    assert!(!first.contains(&0) && !first.contains(&3), "{found:?}");
}

#[test]
fn what_adds_nothing_goes_first() {
    // Of c2: filter 3 has no weights in its consumer, filter 1 is nothing but 0.
    let found = scores("reconstruction", 1, |network| {
        set(network, "fc.w", |w| {
            [3, 8, 13].iter().for_each(|&i| w[i] = 0.0)
        });
        set(network, "bn2.g", |g| g[1] = 0.0);
        set(network, "bn2.b", |b| b[1] = 0.0);
    });
    assert_eq!(order(&found)[..2], [3, 1]);
}

#[test]
fn two_channels_that_cancel_go_together() {
    // What each of three channels contributes to two sums.
    let order = |parts: [[f64; 2]; 3]| {
        let product = |(a, b): (usize, usize)| (0..2).map(|k| parts[a][k] * parts[b][k]).sum();
        super::reconstruction::removals(&Array2::from_shape_fn((3, 3), product))
    };
    // The second one undoes the first, and is the later of two equal ones.
    assert_eq!(order([[1.0, 2.0], [-1.0, -2.0], [1.5, 2.5]]), [1, 0, 2]);
    assert_eq!(order([[1.0, 2.0], [-1.0, -2.0], [0.9, 1.5]]), [2, 1, 0]);
}

/// The contributions of all channels at all outputs, by running the consumer once for each.
#[test]
fn sampled_contributions_are_those_of_the_layer() {
    asked(
        &model(),
        0,
        |_| {},
        |context| {
            let readings = context.readings();
            let gram = super::reconstruction::gram(context).unwrap();
            let network = &*context.trainer.network;
            let consumer = readings[0].consumer;
            let plan =
                Plan::step_by_step(network, consumer..StepId(consumer.0 + 1), Mode::default());
            let weights = Arc::new(Weights::new(network));
            let (value, x) = read(context);
            let mut parts = Vec::new();
            for channel in 0..6 {
                let mut one = ArrayD::zeros(x.raw_dim());
                one.index_axis_mut(Axis(1), channel)
                    .assign(&x.index_axis(Axis(1), channel));
                let at = Boundary {
                    step: consumer,
                    values: vec![(value, Value::from(one))],
                };
                let trace = plan.forward(network, &weights, &at).unwrap();
                let output = network.step(consumer).output;
                parts.push(trace.value(output).unwrap().clone());
            }
            let exact = |a: usize, b: usize| f64::from((&parts[a] * &parts[b]).sum());
            let size: f64 = (0..6).map(|c| exact(c, c)).sum();
            for a in 0..6 {
                for b in 0..6 {
                    let difference = gram[[a, b]] - exact(a, b) / size;
                    assert!(difference.abs() < 0.02, "{a} {b}: {difference}");
                }
            }
        },
    );
}

/// What the first consumer reads, for all images.
fn read(context: &RuleContext<'_, '_>) -> (ValueId, ArrayD<f32>) {
    let trainer = &*context.trainer;
    let consumer = context.readings()[0].consumer;
    let network = &*trainer.network;
    let Input::Value(value) = network.step(consumer).inputs[0] else {
        panic!("no data input")
    };
    let all: Vec<usize> = (0..IMAGES).collect();
    let start = trainer
        .boundary(context.span, &all, TrainingImages::Augmented)
        .unwrap();
    let below = Inference::new(Cow::Borrowed(network), context.span.from..consumer);
    let at = below.run(&start).unwrap();
    let x = at.values.iter().find(|(v, _)| *v == value).unwrap();
    (value, x.1.float().clone())
}

#[test]
fn the_gradient_of_the_gate_is_that_of_the_loss() {
    asked(
        &model(),
        0,
        |_| {},
        |context| {
            let gradients = gate_gradients(context, IMAGES).unwrap();
            assert_eq!(gradients.len(), IMAGES);
            let trainer = &*context.trainer;
            let network = &*trainer.network;
            let consumer = context.readings()[0].consumer;
            let plan = Plan::step_by_step(network, consumer..network.end(), Mode::default());
            let weights = Arc::new(Weights::new(network));
            let all: Vec<usize> = (0..IMAGES).collect();
            let taught = trainer
                .sample(context.span, &all, TrainingImages::Augmented)
                .unwrap()
                .taught;
            let (value, x) = read(context);
            let at = |channel: usize, gate: f32| {
                let mut x = x.clone();
                x.index_axis_mut(Axis(1), channel)
                    .mapv_inplace(|v| gate * v);
                let boundary = Boundary {
                    step: consumer,
                    values: vec![(value, Value::from(x))],
                };
                let trace = plan.forward(network, &weights, &boundary).unwrap();
                let logits = trace.value(network.logits()).unwrap();
                let objective = trainer.objective();
                f64::from(loss(&objective, logits, &all, taught.as_ref()).value)
            };
            for channel in 0..6 {
                let of_images = gradients.iter().map(|image| image[channel]);
                let mean = of_images.sum::<f64>() / IMAGES as f64;
                let difference = (at(channel, 1.02) - at(channel, 0.98)) / 0.04;
                assert!(
                    (mean - difference).abs() < 2e-3 + 0.02 * difference.abs(),
                    "{channel}: {mean}, {difference}"
                );
            }
        },
    );
}

#[test]
fn a_gate_that_moves_nothing_scores_nothing() {
    for rule in ["taylor", "fisher"] {
        let found = scores(rule, 1, |network| {
            set(network, "fc.w", |w| {
                [3, 8, 13].iter().for_each(|&i| w[i] = 0.0)
            });
        });
        assert_eq!(found[3], 0.0);
        assert!([0, 1, 2, 4].iter().all(|&f| found[f] > 0.0), "{found:?}");
    }
}

#[test]
fn a_mask_on_a_flattened_tensor_is_read_by_all_its_elements() {
    let model = stem()
        .binary_conv("c1", "bn0", 6, 4)
        .batch_norm("bn1", "c1", 6)
        .node("flat", "Flatten", &["bn1"], &[])
        .constant("fc.w", values(&[3, 150], 3))
        .node("fc", "Gemm", &["flat", "fc.w"], &[("transB", &[1])])
        .build();
    for rule in RULES {
        let prepare = |network: &mut Network| {
            set(network, "bn1.g", |g| g[3] = 0.0);
            set(network, "bn1.b", |b| b[3] = 0.0);
        };
        let found = asked(&model, 0, prepare, |c| rule.scores(c).unwrap());
        if [
            "bn-scale",
            "sign-balance",
            "reconstruction",
            "taylor",
            "fisher",
        ]
        .contains(&rule.name())
        {
            assert_eq!((order(&found)[0], found[3]), (3, 0.0), "{}", rule.name());
        }
    }
}
