//! A step of mask training and a step of retraining, batch 64, on `fixtures/digits_vgg.onnx`.
//!
//! ```text
//! cargo bench --bench training
//! ```
//!
//! The stage is that of the second of three binary convolutions. What lies below is frozen and
//! computed beforehand, as in a run of the tool; reading the batch is not measured.

#[path = "../tests/common/mod.rs"]
mod common;

use std::borrow::Cow;
use std::sync::Arc;

use common::{gray, network as network_file, test_digits};
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::ArrayD;
use onnx_bnnprune::engine::{Boundary, Inference, Mode, Plan, Precision, Wanted, Weights};
use onnx_bnnprune::network::{MaskSpec, Network, ParamId, StepId};
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::ops::ParamKind;
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::subsidiary::mask::{self, Regularizer};
use onnx_bnnprune::subsidiary::{Grouping, MaskGroup, mask_groups};
use onnx_bnnprune::training::loss::cross_entropy;
use onnx_bnnprune::training::{Adam, Optimizer, Schedule};

const BATCH: usize = 64;

/// Forward, loss, backward and update from a boundary on.
fn step(
    network: &mut Network,
    boundary: &Boundary,
    plan: &Plan,
    labels: &[usize],
    regularizer: Option<(&Regularizer, ParamId)>,
    optimizer: &mut Optimizer,
) {
    let weights = Arc::new(Weights::new(network));
    let trace = plan
        .forward(network, &weights, boundary)
        .expect("shapes that fit");
    let logits = trace.value(network.logits()).expect("logits");
    let loss = cross_entropy(logits, labels);
    let mut gradients = plan.backward(network, trace, loss.grad).unwrap();
    if let Some((regularizer, m)) = regularizer {
        let mut extra = ArrayD::zeros(network.param(m).value.raw_dim());
        regularizer.add_gradient(&mut extra);
        gradients.add(m, extra);
    }
    optimizer.step(network, &gradients);
}

fn insert_mask(network: &mut Network, group: &MaskGroup) -> ParamId {
    let m = network.add_param("mask", ParamKind::Mask, mask::initial(group.filters, 0));
    for site in &group.sites {
        let spec = MaskSpec {
            axis: site.axis,
            filter_of: site.filter_of.clone(),
            param: m,
        };
        network
            .insert_mask(site.consumer, site.input, spec)
            .expect("a mask site of the plan");
    }
    m
}

fn training(c: &mut Criterion) {
    let path = network_file("vgg");
    let model = Model::load(&path).expect("the fixture");
    let view = View::new(&path, &model.proto).expect("a valid graph");
    let mut network =
        Network::import(&view.graph, &view.facts, &view.layers).expect("a native network");
    let (groups, _) = mask_groups(
        &view.graph,
        &view.layers,
        &view.analysis,
        Grouping::default(),
    );
    let group = &groups[1];
    let m = insert_mask(&mut network, group);

    let digits = test_digits();
    let labels = digits.labels.as_ref().expect("labelled digits");
    let chosen: Vec<usize> = (0..BATCH).collect();
    let labels = &labels[..BATCH];
    let start = Boundary::start(&network, digits.batch(&chosen, &gray()).expect("in memory"))
        .expect("digits fit");
    let from = network.step_of(group.first).expect("the group's layer");
    let boundary = Inference::new(Cow::Borrowed(&network), StepId(0)..from)
        .run(&start)
        .expect("shapes that fit");

    let layers = group.layers.join(" and ");
    let mut measured = c.benchmark_group(format!("digits_vgg.onnx, {layers}, batch {BATCH}"));
    let regularizer = Regularizer::new(0.1, &vec![1.0; group.filters]);
    let wanted = Wanted::of(&network, [m]);
    let main = Wanted::of(&network, network.main_params(from..network.end()));
    for (name, gradients) in [("", Precision::F32), (", 8 bits", Precision::Int8)] {
        let mut adam = Optimizer::new(&Adam, 1e-3, Schedule::Constant);
        let mode = Mode {
            batch_statistics_from: None,
            wanted: wanted.clone(),
            gradients,
            ..Mode::default()
        };
        let plan = Plan::new(&network, from..network.end(), mode);
        measured.bench_function(format!("mask step{name}"), |b| {
            b.iter(|| {
                let regularizer = Some((&regularizer, m));
                step(
                    &mut network,
                    &boundary,
                    &plan,
                    labels,
                    regularizer,
                    &mut adam,
                );
            })
        });
        let mut adam = Optimizer::new(&Adam, 1e-3, Schedule::Constant);
        let mode = Mode {
            batch_statistics_from: Some(from),
            wanted: main.clone(),
            gradients,
            ..Mode::default()
        };
        let plan = Plan::new(&network, from..network.end(), mode);
        measured.bench_function(format!("retraining step{name}"), |b| {
            b.iter(|| step(&mut network, &boundary, &plan, labels, None, &mut adam))
        });
    }
    measured.finish();
}

criterion_group!(benches, training);
criterion_main!(benches);
