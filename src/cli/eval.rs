//! `eval`.

use std::sync::Arc;

use crate::error::Error;
use crate::onnx::{Model, to_bytes};
use crate::pipeline::{self, View};
use crate::progress::Phase;
use crate::report::{Evaluation, LatencyEntry};
use crate::runnable::runnable;
use crate::verify::{
    self, BatchedSession, Confusion, LatencyOptions, Runtime as _, Samples, SessionOptions,
};

use super::Printed;
use super::args::EvalArgs;
use super::host::{Host, Outcome, usable_threads};
use super::isolate::isolated;
use super::shared::{BATCH, Interruptible, json, measured_on, samples};

/// Measures accuracy and latency.
pub fn run(args: &EvalArgs, host: &Host<'_>) -> Printed {
    let source = measured_on(&args.data)?
        .ok_or_else(|| Error::Usage("eval needs --data: labelled images".to_owned()))?;
    let model = pipeline::load_model(&args.model, &args.shape.sizes(), Some(&source))?;
    let view = View::new(&args.model, &model.proto)?;
    let runtime = Interruptible(isolated(&args.runtime, host)?, Arc::clone(&host.stop));
    if let Some(note) = view.first_of_several_outputs(&model.outputs) {
        host.observer.note(&note);
    }
    let images = pipeline::load_all_images(&args.model, &view, &source, host.observer)?;
    let set = images.val_set();
    let labels = set.labels.as_ref().ok_or_else(|| {
        Error::unsuitable(
            &source.data,
            "has no labels; accuracy needs a folder per class, or `y` in the .npz",
        )
    })?;
    pipeline::doubt(&view, &images, host.observer);
    let _measuring = Phase::begin(host.observer, "measuring");
    let threads = usable_threads(args.threads, host.observer)?;
    let found = measure(
        args,
        threads,
        &runtime,
        &model,
        &samples(&images),
        labels,
        &set.classes,
    )
    .map_err(|e| e.about(&args.model))?;
    match args.json {
        true => Ok(Outcome::verbatim(json(&args.model, &found)?, 0)),
        false => Ok(Outcome::new(found.render(), 0)),
    }
}

fn measure(
    args: &EvalArgs,
    threads: Option<usize>,
    runtime: &Interruptible,
    model: &Model,
    samples: &Samples<'_>,
    labels: &[usize],
    names: &[String],
) -> Result<Evaluation, Error> {
    let lowered = runnable(&model.proto)?;
    let options = SessionOptions {
        threads: threads.unwrap_or(0),
        ..SessionOptions::default()
    };
    let session = runtime.load(&to_bytes(&lowered.model), &options)?;
    let mut session = BatchedSession::new(session);
    let classes = verify::output_classes(&mut session, samples)?;
    let threshold = verify::threshold_of_one_output(&model.proto);
    let accuracy = verify::accuracy(&mut session, samples, labels, BATCH, threshold)?;
    // Known for sure only now that the model has run.
    if let Some(fixed) = session
        .fixed_batch()
        .filter(|&n| ![1, n].contains(&args.batch))
    {
        let why = format!(
            "--batch {}: the model takes batches of {fixed} only; leave --batch out",
            args.batch
        );
        return Err(Error::unsuitable(&args.model, why));
    }
    if args.batch > samples.len() {
        return Err(Error::Usage(format!(
            "--batch {}: there are {} images only",
            args.batch,
            samples.len()
        )));
    }
    let options = LatencyOptions {
        batch: args.batch,
        warm_up: args.warm_up,
        runs: args.runs,
    };
    let times = verify::latencies(&mut [&mut session], samples, &options)?;
    let times = times.first().copied().unwrap_or_default();
    let found = Evaluation {
        model: args.model.display().to_string(),
        data: args
            .data
            .data
            .as_ref()
            .map_or(String::new(), |d| d.display().to_string()),
        runtime: runtime.name().to_owned(),
        runtime_version: runtime.version().to_owned(),
        threads,
        accuracy: accuracy.fraction,
        top5: accuracy.top5,
        samples: labels.len(),
        latency_ms: times.median,
        latency: LatencyEntry {
            batch: session
                .fixed_batch()
                .unwrap_or(args.batch)
                .min(samples.len()),
            warm_up: args.warm_up,
            runs: args.runs,
            times,
        },
        classes: Vec::new(),
        confused: Vec::new(),
        confusion: None,
    };
    let confusion = Confusion::new(labels, &accuracy.predictions, classes);
    Ok(found.with_confusion(&confusion, names))
}
