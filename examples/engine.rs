//! Times one phase of the native network on random images, for `scripts/compare_pytorch.py`.
//!
//! ```text
//! cargo run --release --example engine -- MODEL.onnx inference [--batch 128] [--repeat 5]
//! ```
//!
//! Phases: `inference`; `mask LAYER`, a mask step of the group that the layer belongs to, with the frozen part below
//! computed beforehand; `retrain`, a full step. Prints a line of JSON: milliseconds per image of
//! each repetition, the loss of the first step, and the gradient of M (mask phase).

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, Subcommand};
use ndarray::ArrayD;
use onnx_bnnprune::distributed::Alone;
use onnx_bnnprune::engine::{
    Boundary, Gradients, Inference, Mode, Plan, Precision, Wanted, Weights,
};
use onnx_bnnprune::network::{MaskSpec, Network, StepId};
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::ops::ParamKind;
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::subsidiary::{Grouping, mask_groups};
use onnx_bnnprune::training::loss::cross_entropy;
use onnx_bnnprune::training::{Adam, Optimizer, Schedule};

#[derive(Parser)]
struct Args {
    model: PathBuf,
    #[command(subcommand)]
    phase: Phase,
    /// Images a step.
    #[arg(long, default_value_t = 128, global = true)]
    batch: usize,
    /// Timed steps.
    #[arg(long, default_value_t = 5, global = true)]
    repeat: usize,
    /// Gradients of binary layers in 8 bits.
    #[arg(long, global = true)]
    int8: bool,
    /// Threads.
    #[arg(long, default_value_t = 2, global = true)]
    threads: usize,
    /// Raw little-endian f32 images `[batch, …]`; default: a fixed pattern.
    #[arg(long, global = true)]
    images: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Phase {
    /// The logits.
    Inference,
    /// A mask step of the group that a layer belongs to.
    Mask {
        /// A layer of it.
        layer: String,
    },
    /// A step of the whole network.
    Retrain,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads);
    pool.build()?.install(|| run(&args))
}

fn images(args: &Args, sample: &[usize]) -> Result<ArrayD<f32>, Failure> {
    let shape = [&[args.batch], sample].concat();
    let count: usize = shape.iter().product();
    let values: Vec<f32> = match &args.images {
        Some(path) => {
            let bytes = std::fs::read(path)?;
            let numbers = bytes.chunks_exact(4);
            numbers
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        }
        None => (0..count)
            .map(|i| (i * 7919 % 10_007) as f32 / 5_003.5 - 1.0)
            .collect(),
    };
    Ok(ArrayD::from_shape_vec(shape, values)?)
}

fn run(args: &Args) -> Result<(), Failure> {
    let model = Model::load(&args.model)?;
    let view = View::new(&args.model, &model.proto)?;
    let mut network = Network::import(&view.graph, &view.facts, &view.layers)?;
    let x = images(args, network.input_shape())?;
    let classes = Inference::of(&network).infer(x.clone())?.shape()[1];
    let labels: Vec<usize> = (0..args.batch).map(|i| i % classes).collect();
    let mut boundary = Boundary::start(&network, x.clone())?;
    let mut mask = None;
    if let Phase::Mask { layer } = &args.phase {
        let (groups, _) = mask_groups(
            &view.graph,
            &view.layers,
            &view.analysis,
            Grouping::default(),
        );
        let group = groups.iter().find(|u| u.layers.contains(layer));
        let group = group.ok_or_else(|| format!("{layer}: is not a layer that can be masked"))?;
        // Every fourth filter is masked.
        let m = (0..group.filters).map(|f| if f % 4 == 1 { -1e-4 } else { 1e-4 });
        let m = ArrayD::from_shape_vec(vec![group.filters], m.collect())?;
        let param = network.add_param("M", ParamKind::Mask, m);
        for site in &group.sites {
            let spec = MaskSpec {
                axis: site.axis,
                filter_of: site.filter_of.clone(),
                param,
            };
            network.insert_mask(site.consumer, site.input, spec)?;
        }
        let from = network.step_of(group.first).ok_or("no step")?;
        boundary = Inference::new(Cow::Borrowed(&network), StepId(0)..from).run(&boundary)?;
        mask = Some(param);
    }
    let mut times = Vec::new();
    let (mut first_loss, mut first_gradient) = (None, None);
    let mode = Mode {
        batch_statistics_from: mask.is_none().then_some(StepId(0)),
        wanted: match mask {
            Some(m) => Wanted::of(&network, [m]),
            None => Wanted::of(&network, network.main_params(network.all())),
        },
        gradients: match args.int8 {
            true => Precision::Int8,
            false => Precision::F32,
        },
        ..Mode::default()
    };
    let plan = Plan::new(&network, boundary.step..network.end(), mode);
    let mut adam = Optimizer::new(&Adam, 1e-4, Schedule::Constant);
    let mut weights = Arc::new(Weights::new(&network));
    // As the runtimes do: what depends on the weights alone is made once, with the first run.
    let inference = Inference::new(Cow::Owned(network.clone()), network.all());
    let start = Boundary::start(&network, x.clone())?;
    // The first is not timed.
    for round in 0..=args.repeat {
        let begun = Instant::now();
        if matches!(args.phase, Phase::Inference) {
            std::hint::black_box(inference.logits(&start)?);
        } else {
            // A mask alone leaves the weights as they are.
            if mask.is_none() {
                weights = Arc::new(Weights::new(&network));
            }
            let (loss, gradient) =
                step(&mut network, &plan, &weights, &boundary, &labels, &mut adam)?;
            first_loss.get_or_insert(loss);
            let gradient = mask.and_then(|m| gradient.get(m).cloned());
            first_gradient =
                first_gradient.or(gradient.map(|g| g.iter().copied().collect::<Vec<f32>>()));
        }
        if round > 0 {
            times.push(begun.elapsed().as_secs_f64() * 1e3 / args.batch as f64);
        }
    }
    println!(
        "{}",
        serde_json::json!({"ms_per_image": times, "loss": first_loss, "mask_gradient": first_gradient})
    );
    Ok(())
}

/// Forward, loss, backward, update.
fn step(
    network: &mut Network,
    plan: &Plan,
    weights: &Arc<Weights>,
    boundary: &Boundary,
    labels: &[usize],
    optimizer: &mut Optimizer,
) -> Result<(f32, Gradients), Failure> {
    let batch = plan.batch(network, labels.len(), &Alone);
    let (value, gradients) =
        plan.gradients(network, weights, &batch, boundary, |logits, rows| {
            cross_entropy(logits, &labels[rows])
        })?;
    optimizer.step(network, &gradients);
    Ok((value, gradients))
}
