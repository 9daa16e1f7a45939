//! The network as a whole, on small models built here.

mod chains;
mod hidden_forms;
mod integer;
mod rounded;
mod shrinking;
mod write_back;

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::ArrayD;

use super::loss::cross_entropy;
use super::{Adam, Optimizer, Schedule, reestimate_running_statistics, restore_norms};
use crate::distributed::Alone;
use crate::engine::{Boundary, Gradients, Inference, Mode, Plan, RunError, Trace, Wanted, Weights};
use crate::graph::{Facts, Graph, NodeId};
use crate::network::testing::ModelBuilder;
use crate::network::{EditError, MaskSpec, Network, ParamId, ScaleMode, StepId, write_back};
use crate::onnx::proto::ModelProto;
use crate::ops::testing::random;
use crate::ops::{Head, ParamKind};
use crate::recognize;

/// stem → BatchNormalization → two binary layers with a shortcut → pool → Gemm → Softmax.
fn model() -> ModelProto {
    ModelBuilder::new(&[0, 2, 6, 6])
        .constant("stem.w", random(&[4, 2, 3, 3], 1))
        .constant("stem.b", random(&[4], 2))
        .node(
            "stem",
            "Conv",
            &["x", "stem.w", "stem.b"],
            &[("pads", &[1, 1, 1, 1])],
        )
        .batch_norm("bn0", "stem", 4)
        .binary_conv("c1", "bn0", 6, 4)
        .batch_norm("bn1", "c1", 6)
        .binary_conv("c2", "bn1", 6, 6)
        .batch_norm("bn2", "c2", 6)
        .node("sum", "Add", &["bn2", "bn1"], &[])
        .node("gap", "GlobalAveragePool", &["sum"], &[])
        .node("flat", "Flatten", &["gap"], &[])
        .constant("fc.w", random(&[3, 6], 3))
        .constant("fc.b", random(&[3], 4))
        .node("fc", "Gemm", &["flat", "fc.w", "fc.b"], &[("transB", &[1])])
        .node("out", "Softmax", &["fc"], &[])
        .build()
}

fn import(model: &ModelProto) -> Network {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    Network::import(&graph, &facts, &recognize::layers(&graph, &facts)).unwrap()
}

fn node(model: &ModelProto, name: &str) -> NodeId {
    Graph::new(model).unwrap().find_node(name).unwrap()
}

fn x(n: usize) -> ArrayD<f32> {
    random(&[n, 2, 6, 6], 77)
}

fn mask(network: &mut Network, filters: usize) -> MaskSpec {
    let param = network.add_param("mask", ParamKind::Mask, random(&[filters], 5));
    MaskSpec {
        axis: 1,
        filter_of: (0..filters).map(Some).collect(),
        param,
    }
}

/// The loss's gradients on `size` samples, with batch statistics from `from` on.
fn gradients(n: &Network, wanted: &Wanted, from: Option<StepId>, size: usize) -> Gradients {
    let mode = Mode {
        batch_statistics_from: from,
        wanted: wanted.clone(),
        ..Mode::default()
    };
    let plan = Plan::new(n, n.all(), mode);
    let trace = run(n, &plan, &start(n, x(size)));
    let labels: Vec<usize> = (0..size).map(|i| i % 3).collect();
    let loss = cross_entropy(trace.value(n.logits()).unwrap(), &labels);
    plan.backward(n, trace, loss.grad).unwrap()
}

fn start(n: &Network, x: ArrayD<f32>) -> Boundary {
    Boundary::start(n, x).unwrap()
}

fn infer(n: &Network, x: ArrayD<f32>) -> Result<ArrayD<f32>, RunError> {
    Inference::of(n).infer(x)
}

fn run(n: &Network, plan: &Plan, from: &Boundary) -> Trace {
    plan.forward(n, &Arc::new(Weights::new(n)), from).unwrap()
}

/// The steps from a boundary up to `end`.
fn forward(n: &Network, from: &Boundary, end: StepId, mode: Mode) -> Trace {
    run(n, &Plan::new(n, from.step..end, mode), from)
}

#[test]
fn import_makes_binary_layers_of_live_chains_and_strips_the_softmax() {
    let n = import(&model());
    assert_eq!(n.binaries().len(), 2);
    assert!(
        n.binaries()
            .iter()
            .all(|b| b.scale == ScaleMode::MeanAbs { kept_columns: None })
    );
    assert_eq!(n.head(), Some(Head::Softmax));
    assert_eq!(n.input_shape(), [2, 6, 6]);
    for size in [1, 5] {
        let out = Inference::of(&n).infer_output(x(size)).unwrap();
        assert_eq!(out.shape(), [size, 3]);
        for row in out.rows() {
            assert!((row.sum() - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn gradients_above_the_last_sign_are_finite_differences() {
    let m = model();
    let mut n = import(&m);
    let bn1 = n.step_of(node(&m, "bn1")).unwrap();
    // Smooth in: γ and β of bn2, scale of c2 through its latents (moved without a change of sign),
    // the classifier.
    let smooth = ["bn2.g", "bn2.b", "fc.w", "fc.b"];
    let params: Vec<ParamId> = (0..n.params().len())
        .map(ParamId)
        .filter(|p| smooth.contains(&n.param(*p).name.as_str()))
        .collect();
    assert_eq!(params.len(), 4);
    let wanted = Wanted::of(&n, params.iter().copied());
    let grads = gradients(&n, &wanted, Some(bn1), 8);
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let mut loss = |p: ParamId, i: usize, h: f32| {
        n.values_mut(p).as_slice_mut().unwrap()[i] += h;
        let mode = Mode {
            batch_statistics_from: Some(bn1),
            ..Mode::default()
        };
        let trace = forward(&n, &start(&n, x(8)), n.end(), mode);
        n.values_mut(p).as_slice_mut().unwrap()[i] -= h;
        cross_entropy(trace.value(n.logits()).unwrap(), &labels).value
    };
    for p in params {
        for (i, g) in grads.get(p).unwrap().iter().enumerate() {
            let numeric = (loss(p, i, 1e-2) - loss(p, i, -1e-2)) / 2e-2;
            assert!((numeric - g).abs() < 2e-3, "{g} instead of {numeric}");
        }
    }
}

#[test]
fn latent_gradients_are_the_straight_through_estimator() {
    let m = model();
    let mut n = import(&m);
    let b = n.binary_of(node(&m, "c2")).unwrap();
    let latent = n.binary(b).latent;
    n.values_mut(latent)[[0, 0, 0, 0]] = 1.5;
    n.values_mut(latent)[[0, 1, 0, 0]] = 0.0;
    for kept in [None, Some(vec![true, false, true, true, false, true])] {
        n.binary_mut(b).scale = ScaleMode::MeanAbs {
            kept_columns: kept.clone(),
        };
        let grad = random(&[6, 6, 3, 3], 21);
        let (g, scale) = n.binary_backward(b, &grad, true, true);
        assert!(scale.is_none());
        let (g, w) = (g.unwrap(), &n.param(latent).value);
        let is_kept = |c: usize| kept.as_ref().is_none_or(|k| k[c]);
        for f in 0..6 {
            let count = 9.0 * (0..6).filter(|&c| is_kept(c)).count() as f32;
            let sign = |v: f32| if v == 0.0 { 0.0 } else { v.signum() };
            let (mut alpha, mut dot) = (0.0, 0.0);
            for (i, v) in w.indexed_iter().filter(|(i, _)| i[0] == f) {
                alpha += if is_kept(i[1]) { v.abs() / count } else { 0.0 };
                dot += grad[&i] * sign(*v);
            }
            assert!((n.scales(b)[f] - alpha).abs() < 1e-6);
            for (i, v) in w.indexed_iter().filter(|(i, _)| i[0] == f) {
                let through = if v.abs() <= 1.0 {
                    grad[&i] * alpha
                } else {
                    0.0
                };
                let by_scale = if is_kept(i[1]) {
                    dot * sign(*v) / count
                } else {
                    0.0
                };
                assert!((g[&i] - through - by_scale).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn the_filters_of_a_matmul_are_its_columns() {
    let signs = random(&[4, 3], 51).mapv(f32::signum);
    let scale = random(&[1, 3], 52).mapv(f32::abs);
    let m = ModelBuilder::new(&[0, 4])
        .node("s", "Sign", &["x"], &[])
        .constant("w", &signs * &scale)
        .node("out", "MatMul", &["s", "w"], &[])
        .build();
    let mut n = import(&m);
    let b = n.binary_of(node(&m, "out")).unwrap();
    assert_eq!(n.scales(b), scale.iter().copied().collect::<Vec<_>>());
    assert_eq!(n.effective_weight(b), &signs * &scale);
    n.binary_mut(b).scale = ScaleMode::MeanAbs {
        kept_columns: Some(vec![true, false, true, true]),
    };
    let latent = n.latent(b).clone();
    let grad = random(&[4, 3], 53);
    let g = n.binary_backward(b, &grad, true, false).0.unwrap();
    for o in 0..3 {
        let alpha = [0, 2, 3].map(|i| latent[[i, o]].abs()).iter().sum::<f32>() / 3.0;
        assert!((n.scales(b)[o] - alpha).abs() < 1e-6);
        let dot: f32 = (0..4).map(|i| grad[[i, o]] * signs[[i, o]]).sum();
        for i in 0..4 {
            let by_scale = if i == 1 {
                0.0
            } else {
                dot * signs[[i, o]] / 3.0
            };
            let expected = grad[[i, o]] * alpha + by_scale;
            assert!((g[[i, o]] - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn scale_parameters_get_the_dot_with_the_signs() {
    let m = model();
    let mut n = import(&m);
    let b = n.binary_of(node(&m, "c1")).unwrap();
    let scale = n.add_param("s", ParamKind::Scale, random(&[6], 31));
    n.binary_mut(b).scale = ScaleMode::Param(scale);
    let grad = random(&[6, 4, 3, 3], 22);
    let (g, s) = n.binary_backward(b, &grad, true, true);
    let w = n.latent(b);
    for (f, s) in s.unwrap().iter().enumerate() {
        let pairs = grad.indexed_iter().filter(|(i, _)| i[0] == f);
        let dot: f32 = pairs.map(|(i, g)| g * w[&i].signum()).sum();
        assert!((s - dot).abs() < 1e-5);
    }
    // Without a mean in it, the latents' gradient is the estimator alone.
    for (i, g) in g.unwrap().indexed_iter() {
        let alpha = n.param(scale).value[[i[0]]];
        assert!((g - grad[&i] * alpha).abs() < 1e-6);
    }
}

#[test]
fn only_wanted_gradients_are_computed() {
    let m = model();
    let mut n = import(&m);
    let spec = mask(&mut n, 6);
    let p = spec.param;
    n.insert_mask(node(&m, "c2"), 0, spec).unwrap();
    let wanted = Wanted::of(&n, [p]);
    let grads = gradients(&n, &wanted, None, 8);
    assert_eq!(grads.iter().map(|(p, _)| p).collect::<Vec<_>>(), [p]);
    // The same among all gradients.
    let everything = Wanted::of(&n, (0..n.params().len()).map(ParamId));
    let all = gradients(&n, &everything, None, 8);
    assert_eq!(all.get(p), grads.get(p));
    for p in n.main_params(n.all()) {
        assert!(all.get(p).is_some(), "{}", n.param(p).name);
    }
}

#[test]
fn a_mask_in_front_of_a_consumer_is_seen_by_it_alone_and_behind_a_node_by_all() {
    let m = model();
    let (mut before, mut behind) = (import(&m), import(&m));
    let plain = infer(&before, x(3)).unwrap();
    let mut spec = mask(&mut before, 6);
    before.values_mut(spec.param).fill(-0.5);
    before
        .insert_mask(node(&m, "sum"), 1, spec.clone())
        .unwrap();
    // Nothing but bn2 reaches the sum: as if the shortcut were gone.
    let masked = infer(&before, x(3)).unwrap();
    assert_ne!(masked, plain);
    spec = mask(&mut behind, 6);
    behind.values_mut(spec.param).fill(-0.5);
    behind.insert_output_mask(node(&m, "sum"), spec).unwrap();
    let logits = infer(&behind, x(3)).unwrap();
    for row in logits.rows() {
        let bias = random(&[3], 4);
        assert!(row.iter().zip(&bias).all(|(l, b)| l == b));
    }
    let mut kept = import(&m);
    let spec = mask(&mut kept, 6);
    kept.values_mut(spec.param).fill(0.0);
    kept.insert_output_mask(node(&m, "c2"), spec.clone())
        .unwrap();
    assert_eq!(infer(&kept, x(3)).unwrap(), plain, "sign(0) is +1: kept");
    assert_eq!(
        kept.insert_mask(NodeId(999), 0, spec.clone()),
        Err(EditError::NoStep(999))
    );
    assert!(kept.insert_mask(node(&m, "fc"), 1, spec).is_err());
}

#[test]
fn masks_are_taken_out_again() {
    let m = model();
    let mut n = import(&m);
    let (plain, steps) = (infer(&n, x(3)).unwrap(), n.steps().len());
    let spec = mask(&mut n, 6);
    let param = spec.param;
    n.values_mut(param).fill(-0.5);
    n.insert_output_mask(node(&m, "c2"), spec.clone()).unwrap();
    n.insert_mask(node(&m, "sum"), 1, spec).unwrap();
    assert_ne!(infer(&n, x(3)).unwrap(), plain);
    n.remove_masks(param);
    assert_eq!(n.steps().len(), steps);
    assert_eq!(infer(&n, x(3)).unwrap(), plain);
}

#[test]
fn a_run_from_any_boundary_gives_the_whole_runs_result() {
    let n = import(&model());
    let whole = infer(&n, x(4)).unwrap();
    let start = start(&n, x(4));
    for i in 0..=n.steps().len() {
        let trace = forward(&n, &start, StepId(i), Mode::default());
        let boundary = trace.boundary();
        assert_eq!(
            boundary.values.iter().map(|(v, _)| *v).collect::<Vec<_>>(),
            n.boundary(StepId(i))
        );
        let inference = Inference::new(Cow::Borrowed(&n), StepId(i)..n.end());
        assert_eq!(inference.logits(&boundary).unwrap(), whole, "at {i}");
        let some = inference.logits(&boundary.select(&[2, 0])).unwrap();
        assert_eq!(some.row_of(0), whole.row_of(2));
    }
}

/// Rows of `[N, K]` as slices.
trait Rows {
    fn row_of(&self, i: usize) -> Vec<f32>;
}

impl Rows for ArrayD<f32> {
    fn row_of(&self, i: usize) -> Vec<f32> {
        self.index_axis(ndarray::Axis(0), i)
            .iter()
            .copied()
            .collect()
    }
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    // 200 samples: several chunks in every kind of loop.
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut n = import(&model());
            let wanted = Wanted::of(&n, n.main_params(n.all()));
            let mut adam = Optimizer::new(&Adam, 1e-2, Schedule::Constant);
            for _ in 0..3 {
                let grads = gradients(&n, &wanted, Some(StepId(0)), 200);
                adam.step(&mut n, &grads);
            }
            let params: Vec<u32> = n
                .params()
                .iter()
                .flat_map(|p| p.value.iter().map(|v| v.to_bits()))
                .collect();
            params
        })
    };
    let one = train(1);
    assert_eq!(one, train(2));
    assert_eq!(one, train(3));
}

#[test]
fn training_lowers_the_loss() {
    let mut n = import(&model());
    let wanted = Wanted::of(&n, n.main_params(n.all()));
    let mut adam = Optimizer::new(&Adam, 1e-2, Schedule::Constant);
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let mut losses = Vec::new();
    for _ in 0..60 {
        let mode = Mode {
            batch_statistics_from: Some(StepId(0)),
            wanted: wanted.clone(),
            ..Mode::default()
        };
        let plan = Plan::new(&n, n.all(), mode);
        let trace = run(&n, &plan, &start(&n, x(8)));
        let loss = cross_entropy(trace.value(n.logits()).unwrap(), &labels);
        losses.push(loss.value);
        let grads = plan.backward(&n, trace, loss.grad).unwrap();
        adam.step(&mut n, &grads);
    }
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    assert!(
        n.params()
            .iter()
            .filter(|p| p.kind.is_clipped())
            .all(|p| p.value.iter().all(|v| v.abs() <= 1.0))
    );
}

#[test]
fn reestimated_statistics_are_those_of_the_data() {
    let m = model();
    let mut n = import(&m);
    let all = x(8);
    let halves = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|r| start(&n, all.clone()).select(&r));
    let bn0 = n.step_of(node(&m, "bn0")).unwrap();
    reestimate_running_statistics(&mut n, halves, bn0, &Alone).unwrap();
    let trace = forward(&n, &start(&n, all), bn0, Mode::default());
    let stem = trace.value(n.steps()[bn0.0 - 1].output).unwrap();
    let named = |name: &str| &n.params().iter().find(|p| p.name == name).unwrap().value;
    for c in 0..4 {
        let channel = stem.index_axis(ndarray::Axis(1), c).mapv(f64::from);
        let mean = channel.mean().unwrap();
        assert!((f64::from(named("bn0.m")[[c]]) - mean).abs() < 1e-5);
        let unbiased = channel.var(1.0);
        assert!((f64::from(named("bn0.v")[[c]]) - unbiased).abs() < 1e-4 * unbiased);
    }
}

#[test]
fn binarisers_of_several_nodes_are_one_step() {
    let scalar = |v: f32| ArrayD::from_elem(vec![], v);
    let m = ModelBuilder::new(&[0, 2, 6, 6])
        .constant("zero", scalar(0.0))
        .constant("one", scalar(1.0))
        .constant("minus", scalar(-1.0))
        .node("ge", "GreaterOrEqual", &["x", "zero"], &[])
        .node("b", "Where", &["ge", "one", "minus"], &[])
        .build();
    let n = import(&m);
    assert_eq!(n.steps().len(), 1);
    let zeros = ArrayD::zeros(vec![1, 2, 6, 6]);
    assert!(infer(&n, zeros).unwrap().iter().all(|&v| v == 1.0));
}

#[test]
fn unknown_operators_and_wrong_inputs_are_errors_that_name_them() {
    let m = ModelBuilder::new(&[0, 2, 6, 6])
        .node("t", "Tan", &["x"], &[])
        .build();
    let graph = Graph::new(&m).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    let error = Network::import(&graph, &facts, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("'t'") && error.contains("Tan"), "{error}");
    let n = import(&model());
    assert!(matches!(
        Boundary::start(&n, ArrayD::zeros(vec![1, 3, 6, 6])),
        Err(RunError::InputShape { .. })
    ));
    let empty = Boundary {
        step: StepId(3),
        values: vec![(n.input(), x(1).into())],
    };
    assert!(matches!(
        Inference::new(Cow::Borrowed(&n), StepId(3)..n.end()).logits(&empty),
        Err(RunError::Missing { .. })
    ));
}
