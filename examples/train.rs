//! Trains a network from whatever its weights are, with the native engine: the retraining phase of the
//! method, without any mask.
//!
//! ```text
//! cargo run --release --example train -- IN.onnx OUT.onnx --data train/ --val test/ --epochs 10 \
//!     --mean 0.4914,0.4822,0.4465 --std 0.2023,0.1994,0.2010 --flip --crop-padding 4
//! ```
//!
//! Adam, with half a cosine of decay. Prints the loss of each epoch, and the accuracy at the end.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use ndarray::ArrayD;
use onnx_bnnprune::autograd::loss::cross_entropy;
use onnx_bnnprune::autograd::{Mode, Network, Optimizer, Precision, Rule, Schedule, StepId};
use onnx_bnnprune::data::{
    Augment, Augmentation, Dataset, LoadOptions, Preprocess, epoch_order, load,
};
use onnx_bnnprune::onnx::{Model, save};
use onnx_bnnprune::pipeline::View;

#[derive(Parser)]
struct Args {
    model: PathBuf,
    out: PathBuf,
    /// Training images.
    #[arg(long)]
    data: PathBuf,
    /// Images that accuracy is measured on.
    #[arg(long)]
    val: PathBuf,
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    #[arg(long, default_value_t = 128)]
    batch: usize,
    #[arg(long, default_value_t = 2e-3)]
    rate: f32,
    #[arg(long, value_delimiter = ',', default_value = "0")]
    mean: Vec<f32>,
    #[arg(long, value_delimiter = ',', default_value = "1")]
    std: Vec<f32>,
    #[arg(long)]
    flip: bool,
    #[arg(long, default_value_t = 0)]
    crop_padding: usize,
    /// Gradients of binary layers in 8 bits.
    #[arg(long)]
    int8: bool,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let model = Model::load(&args.model)?;
    let view = View::new(&args.model, &model.proto)?;
    let mut network = Network::import(&view.graph, &view.facts, &view.layers)?;
    let options = LoadOptions {
        preprocess: Preprocess {
            mean: args.mean.clone(),
            std: args.std.clone(),
            ..Preprocess::default()
        },
        channels: network.input_shape().first().copied(),
        ..LoadOptions::default()
    };
    let set = load(&args.data, &options, &|_, _| ())?;
    let val = load(&args.val, &options, &|_, _| ())?;
    let labels = set.labels.clone().ok_or("training images without labels")?;
    let indices: Vec<usize> = (0..set.len()).collect();
    let steps = indices.len().div_ceil(args.batch.max(1)) * args.epochs;
    let mut adam = Optimizer::new(Rule::ADAM, args.rate, Schedule::Cosine { steps });
    let wanted = network.wanted(network.main_params(network.all()));
    let pre = &options.preprocess;
    let started = Instant::now();
    for epoch in 0..args.epochs as u64 {
        let augmentation = Augmentation {
            augment: Augment {
                flip: args.flip,
                crop_padding: args.crop_padding,
            },
            seed: args.seed,
            epoch,
        };
        let mut sum = 0.0;
        for batch in epoch_order(&indices, args.seed, epoch).chunks(args.batch.max(1)) {
            if batch.len() < 2 {
                continue;
            }
            let start = network.start(set.augmented_batch(batch, pre, &augmentation))?;
            let mode = Mode {
                batch_statistics_from: Some(StepId(0)),
                wanted: Some(&wanted),
                gradients: match args.int8 {
                    true => Precision::Int8,
                    false => Precision::F32,
                },
                prepared: None,
            };
            let truth: Vec<usize> = batch.iter().map(|&i| labels[i]).collect();
            let (loss, gradients) = network.gradients(&start, mode, |logits, rows| {
                cross_entropy(logits, &truth[rows])
            })?;
            adam.step(&mut network, &gradients);
            sum += loss * batch.len() as f32;
        }
        let seconds = started.elapsed().as_secs();
        println!(
            "epoch {}: loss {:.4}, {seconds} s",
            epoch + 1,
            sum / indices.len() as f32
        );
    }
    let chosen: Vec<usize> = indices
        .iter()
        .copied()
        .step_by((indices.len() / 2048).max(1))
        .collect();
    let mut starts = Vec::new();
    for batch in chosen.chunks(256) {
        starts.push(network.start(set.batch(batch, pre))?);
    }
    network.reestimate_batch_norm(starts, StepId(0))?;
    println!(
        "accuracy {:.4} on {} images",
        accuracy(&network, &val, pre)?,
        val.len()
    );
    let mut trained = model.proto.clone();
    network.write_back(&mut trained)?;
    save(&trained, &args.out)?;
    Ok(())
}

fn accuracy(network: &Network, set: &Dataset, pre: &Preprocess) -> Result<f64, Failure> {
    let labels = set.labels.as_ref().ok_or("images without labels")?;
    let mut right = 0;
    let all: Vec<usize> = (0..set.len()).collect();
    for batch in all.chunks(256) {
        let logits: ArrayD<f32> = network.infer(set.batch(batch, pre))?;
        for (row, &i) in logits.outer_iter().zip(batch) {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            right += usize::from(best.is_some_and(|(k, _)| k == labels[i]));
        }
    }
    Ok(right as f64 / set.len() as f64)
}
