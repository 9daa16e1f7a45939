//! The network as a whole, on small models built here.

use std::sync::Arc;

use ndarray::ArrayD;

use super::testing::random;
use super::*;
use crate::graph::{Facts, Graph, NodeId};
use crate::onnx::Tensor;
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::recognize;

/// A model from lines `output = Op(input, …)`; a node's name is its output's.
struct ModelBuilder(GraphProto);

impl ModelBuilder {
    fn new(input: &[i64]) -> Self {
        let dim = |&d: &i64| tensor_shape_proto::Dimension {
            value: (d > 0).then_some(tensor_shape_proto::dimension::Value::DimValue(d)),
            ..Default::default()
        };
        let tensor = type_proto::Tensor {
            elem_type: Some(1),
            shape: Some(TensorShapeProto {
                dim: input.iter().map(dim).collect(),
            }),
        };
        Self(GraphProto {
            input: vec![ValueInfoProto {
                name: Some("x".into()),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(tensor)),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn constant(mut self, name: &str, value: ArrayD<f32>) -> Self {
        self.0.initializer.push(Tensor::F32(value).to_proto(name));
        self
    }

    fn node(mut self, output: &str, op: &str, inputs: &[&str], ints: &[(&str, &[i64])]) -> Self {
        let attribute = |(name, v): &(&str, &[i64])| AttributeProto {
            name: Some((*name).into()),
            r#type: Some(if v.len() == 1 { 2 } else { 7 }),
            i: (v.len() == 1).then(|| v[0]),
            ints: if v.len() == 1 { vec![] } else { v.to_vec() },
            ..Default::default()
        };
        self.0.node.push(NodeProto {
            name: Some(output.into()),
            op_type: Some(op.into()),
            input: inputs.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            attribute: ints.iter().map(attribute).collect(),
            ..Default::default()
        });
        self
    }

    /// A binary 3×3 convolution of `sign(input)` on live latents, scaled by their mean.
    fn binary_conv(self, output: &str, input: &str, filters: usize, channels: usize) -> Self {
        let w = format!("{output}.w");
        let part = |p: &str| format!("{output}.{p}");
        self.constant(&w, random(&[filters, channels, 3, 3], filters as u64))
            .node(&part("s"), "Sign", &[input], &[])
            .node(&part("ws"), "Sign", &[&w], &[])
            .node(&part("wa"), "Abs", &[&w], &[])
            .node(
                &part("wm"),
                "ReduceMean",
                &[&part("wa")],
                &[("axes", &[1, 2, 3]), ("keepdims", &[1])],
            )
            .node(&part("we"), "Mul", &[&part("ws"), &part("wm")], &[])
            .node(
                output,
                "Conv",
                &[&part("s"), &part("we")],
                &[("pads", &[1, 1, 1, 1])],
            )
    }

    fn batch_norm(self, output: &str, input: &str, channels: usize) -> Self {
        let p = |p: &str| format!("{output}.{p}");
        let c = [channels];
        self.constant(&p("g"), random(&c, 11).mapv(|x| 1.0 + 0.3 * x))
            .constant(&p("b"), random(&c, 12).mapv(|x| 0.3 * x))
            .constant(&p("m"), random(&c, 13).mapv(|x| 0.3 * x))
            .constant(&p("v"), random(&c, 14).mapv(|x| 1.0 + 0.5 * x))
            .node(
                output,
                "BatchNormalization",
                &[input, &p("g"), &p("b"), &p("m"), &p("v")],
                &[],
            )
    }

    fn build(mut self) -> ModelProto {
        let last = self.0.node.last().and_then(|n| n.output.first().cloned());
        self.0.output.push(ValueInfoProto {
            name: last,
            ..Default::default()
        });
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                version: Some(17),
                ..Default::default()
            }],
            graph: Some(self.0),
            ..Default::default()
        }
    }
}

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

/// The loss's gradients with batch statistics from `from` on.
fn gradients(n: &Network, wanted: &Wanted, from: Option<StepId>) -> Gradients {
    let mode = Mode {
        batch_statistics_from: from,
        wanted: Some(wanted),
    };
    let trace = n.forward(&n.start(x(8)).unwrap(), n.end(), mode).unwrap();
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let loss = loss::cross_entropy(trace.value(n.logits()).unwrap(), &labels);
    n.backward(&trace, loss.grad)
}

#[test]
fn import_makes_binary_layers_of_live_chains_and_strips_the_softmax() {
    let n = import(&model());
    assert_eq!(n.binary.len(), 2);
    assert!(
        n.binary
            .iter()
            .all(|b| b.scale == ScaleMode::MeanAbs { kept_columns: None })
    );
    assert_eq!(n.head(), Some(Head::Softmax));
    assert_eq!(n.input_shape(), [2, 6, 6]);
    for size in [1, 5] {
        let out = n.infer_output(x(size)).unwrap();
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
    let params: Vec<ParamId> = (0..n.params.len())
        .map(ParamId)
        .filter(|p| smooth.contains(&n.param(*p).name.as_str()))
        .collect();
    assert_eq!(params.len(), 4);
    let wanted = n.wanted(params.iter().copied());
    let grads = gradients(&n, &wanted, Some(bn1));
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let mut loss = |p: ParamId, i: usize, h: f32| {
        n.params[p.0].value.as_slice_mut().unwrap()[i] += h;
        let mode = Mode {
            batch_statistics_from: Some(bn1),
            wanted: None,
        };
        let trace = n.forward(&n.start(x(8)).unwrap(), n.end(), mode).unwrap();
        n.params[p.0].value.as_slice_mut().unwrap()[i] -= h;
        loss::cross_entropy(trace.value(n.logits()).unwrap(), &labels).value
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
    let latent = n.binary[b.0].latent;
    n.params[latent.0].value[[0, 0, 0, 0]] = 1.5;
    n.params[latent.0].value[[0, 1, 0, 0]] = 0.0;
    for kept in [None, Some(vec![true, false, true, true, false, true])] {
        n.binary[b.0].scale = ScaleMode::MeanAbs {
            kept_columns: kept.clone(),
        };
        let grad = random(&[6, 6, 3, 3], 21);
        let (g, scale) = n.binary_backward(b, &grad, true, true);
        assert!(scale.is_none());
        let (g, w) = (g.unwrap(), &n.params[latent.0].value);
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
fn scale_parameters_get_the_dot_with_the_signs() {
    let m = model();
    let mut n = import(&m);
    let b = n.binary_of(node(&m, "c1")).unwrap();
    let scale = n.add_param("s", ParamKind::Scale, random(&[6], 31));
    n.binary[b.0].scale = ScaleMode::Param(scale);
    let grad = random(&[6, 4, 3, 3], 22);
    let (g, s) = n.binary_backward(b, &grad, true, true);
    let w = &n.params[n.binary[b.0].latent.0].value;
    for (f, s) in s.unwrap().iter().enumerate() {
        let pairs = grad.indexed_iter().filter(|(i, _)| i[0] == f);
        let dot: f32 = pairs.map(|(i, g)| g * w[&i].signum()).sum();
        assert!((s - dot).abs() < 1e-5);
    }
    // Without a mean in it, the latents' gradient is the estimator alone.
    for (i, g) in g.unwrap().indexed_iter() {
        let alpha = n.params[scale.0].value[[i[0]]];
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
    let wanted = n.wanted([p]);
    let grads = gradients(&n, &wanted, None);
    assert_eq!(grads.iter().map(|(p, _)| p).collect::<Vec<_>>(), [p]);
    // The same among all gradients.
    let everything = n.wanted((0..n.params.len()).map(ParamId));
    let all = gradients(&n, &everything, None);
    assert_eq!(all.get(p), grads.get(p));
    for p in n.main_params(n.all()) {
        assert!(all.get(p).is_some(), "{}", n.param(p).name);
    }
}

#[test]
fn a_mask_in_front_of_a_consumer_is_seen_by_it_alone_and_behind_a_node_by_all() {
    let m = model();
    let (mut before, mut behind) = (import(&m), import(&m));
    let plain = before.infer(x(3)).unwrap();
    let mut spec = mask(&mut before, 6);
    before.params[spec.param.0].value.fill(-0.5);
    before
        .insert_mask(node(&m, "sum"), 1, spec.clone())
        .unwrap();
    // Nothing but bn2 reaches the sum: as if the shortcut were gone.
    let masked = before.infer(x(3)).unwrap();
    assert_ne!(masked, plain);
    spec = mask(&mut behind, 6);
    behind.params[spec.param.0].value.fill(-0.5);
    behind.insert_output_mask(node(&m, "sum"), spec).unwrap();
    let logits = behind.infer(x(3)).unwrap();
    for row in logits.rows() {
        let bias = random(&[3], 4);
        assert!(row.iter().zip(&bias).all(|(l, b)| l == b));
    }
    let mut kept = import(&m);
    let spec = mask(&mut kept, 6);
    kept.params[spec.param.0].value.fill(0.0);
    kept.insert_output_mask(node(&m, "c2"), spec.clone())
        .unwrap();
    assert_eq!(kept.infer(x(3)).unwrap(), plain, "sign(0) is +1: kept");
    assert_eq!(
        kept.insert_mask(NodeId(999), 0, spec.clone()),
        Err(EditError::NoStep(999))
    );
    assert!(kept.insert_mask(node(&m, "fc"), 1, spec).is_err());
}

#[test]
fn a_run_from_any_cut_gives_the_whole_runs_result() {
    let n = import(&model());
    let whole = n.infer(x(4)).unwrap();
    let start = n.start(x(4)).unwrap();
    for i in 0..=n.steps().len() {
        let trace = n.forward(&start, StepId(i), Mode::default()).unwrap();
        let cut = n.cut_of(&trace);
        assert_eq!(
            cut.values.iter().map(|(v, _)| *v).collect::<Vec<_>>(),
            n.cut(StepId(i))
        );
        assert_eq!(n.infer_from(&cut).unwrap(), whole, "cut at {i}");
        let some = n.infer_from(&cut.select(&[2, 0])).unwrap();
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
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut n = import(&model());
            let wanted = n.wanted(n.main_params(n.all()));
            let mut adam = Optimizer::new(Rule::ADAM, 1e-2, Schedule::Constant);
            for _ in 0..5 {
                let grads = gradients(&n, &wanted, Some(StepId(0)));
                adam.step(&mut n, &grads);
            }
            let params: Vec<u32> = n
                .params
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
    let wanted = n.wanted(n.main_params(n.all()));
    let mut adam = Optimizer::new(Rule::ADAM, 1e-2, Schedule::Constant);
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    let mut losses = Vec::new();
    for _ in 0..60 {
        let mode = Mode {
            batch_statistics_from: Some(StepId(0)),
            wanted: Some(&wanted),
        };
        let trace = n.forward(&n.start(x(8)).unwrap(), n.end(), mode).unwrap();
        let loss = loss::cross_entropy(trace.value(n.logits()).unwrap(), &labels);
        losses.push(loss.value);
        let grads = n.backward(&trace, loss.grad);
        adam.step(&mut n, &grads);
    }
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    assert!(
        n.params
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
    let halves = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|r| n.start(all.clone()).unwrap().select(&r));
    let bn0 = n.step_of(node(&m, "bn0")).unwrap();
    n.reestimate_batch_norm(halves, bn0).unwrap();
    let trace = n
        .forward(&n.start(all).unwrap(), bn0, Mode::default())
        .unwrap();
    let stem = trace.value(n.steps()[bn0.0 - 1].output).unwrap();
    let named = |name: &str| &n.params.iter().find(|p| p.name == name).unwrap().value;
    for c in 0..4 {
        let channel = stem.index_axis(ndarray::Axis(1), c).mapv(f64::from);
        let mean = channel.mean().unwrap();
        assert!((f64::from(named("bn0.m")[[c]]) - mean).abs() < 1e-5);
        let unbiased = channel.var(1.0);
        assert!((f64::from(named("bn0.v")[[c]]) - unbiased).abs() < 1e-4 * unbiased);
    }
}

#[test]
fn write_back_changes_nothing_untrained_and_the_trained_model_computes_the_same() {
    let original = model();
    let mut n = import(&original);
    let mut out = original.clone();
    n.write_back(&mut out).unwrap();
    assert_eq!(out, original);
    for p in &mut n.params {
        p.value.mapv_inplace(|v| 0.9 * v + 0.01);
    }
    n.write_back(&mut out).unwrap();
    // Latents went into their initializers: the chains are still there.
    assert_eq!(
        out.graph.as_ref().unwrap().node,
        original.graph.as_ref().unwrap().node
    );
    let again = import(&out).infer(x(4)).unwrap();
    assert_eq!(again, n.infer(x(4)).unwrap());
    // With dropped columns the chain would compute another mean: the weight becomes a constant.
    let b = n.binary_of(node(&original, "c2")).unwrap();
    n.binary[b.0].scale = ScaleMode::MeanAbs {
        kept_columns: Some(vec![true, true, true, true, true, false]),
    };
    let mut cut = original.clone();
    n.write_back(&mut cut).unwrap();
    assert!(cut.graph.as_ref().unwrap().node.len() < original.graph.as_ref().unwrap().node.len());
    let difference = &import(&cut).infer(x(4)).unwrap() - &n.infer(x(4)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn shared_initializers_get_copies_where_their_values_part() {
    let mut original = model();
    let graph = original.graph.as_mut().unwrap();
    // One tensor is γ of bn1, and γ and running variance of bn2.
    let bn2 = graph.node.iter_mut().find(|n| n.name() == "bn2").unwrap();
    bn2.input[1] = "bn1.g".into();
    bn2.input[4] = "bn1.g".into();
    let mut n = import(&original);
    let gammas: Vec<usize> = (0..n.params.len())
        .filter(|&p| n.params[p].name == "bn1.g")
        .collect();
    assert_eq!(gammas.len(), 2, "γ is tied, the variance is its own");
    for (i, p) in gammas.into_iter().enumerate() {
        n.params[p].value += 0.5 + i as f32;
    }
    let mut out = original.clone();
    n.write_back(&mut out).unwrap();
    let difference = &import(&out).infer(x(4)).unwrap() - &n.infer(x(4)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-6));
}

/// A layer with a folded BatchNormalization: constant ±s weights and a bias.
fn folded_model() -> ModelProto {
    let signs = random(&[5, 2, 3, 3], 41).mapv(f32::signum);
    let scale = random(&[5], 42)
        .mapv(f32::abs)
        .into_shape_with_order(vec![5, 1, 1, 1])
        .unwrap();
    ModelBuilder::new(&[0, 2, 6, 6])
        .node("s", "Sign", &["x"], &[])
        .constant("w", &signs * &scale)
        .constant("b", random(&[5], 43))
        .node("c", "Conv", &["s", "w", "b"], &[("pads", &[1, 1, 1, 1])])
        .node("out", "GlobalAveragePool", &["c"], &[])
        .build()
}

#[test]
fn a_folded_batch_norm_is_put_back_and_folded_again() {
    let original = folded_model();
    let mut n = import(&original);
    let before = n.infer(x(6)).unwrap();
    let nodes = n.folded_layers();
    assert_eq!(nodes, [node(&original, "c")]);
    let batch = n.start(x(6)).unwrap();
    n.unfold_batch_norms(&nodes, [batch.clone()]).unwrap();
    assert!(n.folded_layers().is_empty());
    let after = n.infer(x(6)).unwrap();
    assert!((&after - &before).iter().all(|d| d.abs() < 1e-5));
    // Its statistics are those of the data: batch statistics change next to nothing.
    let mode = Mode {
        batch_statistics_from: Some(StepId(0)),
        wanted: None,
    };
    let trace = n.forward(&batch, n.end(), mode).unwrap();
    let trained = trace.value(n.logits()).unwrap();
    assert!((trained - &before).iter().all(|d| d.abs() < 1e-2));
    assert_eq!(trace.batch_statistics().count(), 1);
    let mut out = original.clone();
    n.write_back(&mut out).unwrap();
    assert_eq!(out, original, "untrained, the file's own numbers stay");
    for p in &mut n.params {
        p.value.mapv_inplace(|v| 0.8 * v - 0.05);
    }
    n.write_back(&mut out).unwrap();
    assert_ne!(out, original);
    let again = import(&out).infer(x(6)).unwrap();
    let difference = &again - &n.infer(x(6)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-5));
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
    assert!(n.infer(zeros).unwrap().iter().all(|&v| v == 1.0));
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
        n.start(ArrayD::zeros(vec![1, 3, 6, 6])),
        Err(RunError::InputShape { .. })
    ));
    let empty = Cut {
        step: StepId(3),
        values: vec![(n.input(), Arc::new(x(1)))],
    };
    assert!(matches!(
        n.infer_from(&empty),
        Err(RunError::Missing { .. })
    ));
}
