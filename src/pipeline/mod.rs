//! The main job, end to end: import, recognise, learn, remove, verify, write, report.

mod given;
mod identity;
mod images;
mod job;
mod memory;
mod normal;
mod proof;
mod summary;
mod view;

pub use images::{DataSource, load as load_images, load_all as load_all_images};
pub use job::{Choice, Job, Tuning};
pub use view::View;

use std::borrow::Cow;
use std::time::Instant;

use crate::autograd::Network;
use crate::checkpoint::{self, Checkpoint, Folder, Plan};
use crate::data::Images;
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::qonnx;
use crate::report::Report;
use crate::rewrite::{self, EliminateOptions, FilterMasks};
use crate::subsidiary::{self, Control, Learned, Options};
use crate::verify::{Runtime, RuntimeError};

use proof::Proof;
use summary::Summary;

/// The oldest opset that the native network imports.
const LEARNING_OPSET: i64 = 11;

/// Runs a job; `open` gives the runtime that verifies. The report says whether verification
/// passed; if it did not, or in a dry run, nothing was written to the output.
///
/// # Errors
/// Whatever stops the job before a verdict: see [`Error`].
pub fn run(
    job: &Job,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let folder = job.checkpoint.as_ref().map(|plan| plan.folder.as_path());
    through(job, open, observer).map_err(|e| match (e, folder) {
        (Error::Interrupted, Some(folder)) if checkpoint::exists(folder) => {
            Error::Paused(folder.to_owned())
        }
        (Error::Interrupted, None) if job.learns() => Error::Unsaved,
        (e, _) => e,
    })
}

fn through(
    job: &Job,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let start = Instant::now();
    let model = Model::load(&job.input)?;
    model.warnings.iter().for_each(|w| observer.warn(w));
    let rewrite_error = |source| Error::Rewrite {
        path: job.input.clone(),
        source,
    };
    let (original, left) = match job.inference_mode {
        true => {
            let (proto, left) = rewrite::to_inference_mode(&model.proto).map_err(rewrite_error)?;
            (Cow::Owned(proto), left)
        }
        false => (Cow::Borrowed(&model.proto), Vec::new()),
    };
    let original: &ModelProto = &original;
    let view = match job.choice {
        Choice::Learn(_) => View::new(&job.input, original)?,
        Choice::Masks(_) | Choice::Nothing => View::lean(&job.input, original)?,
    };
    rewrite::check_deterministic(&view.graph, &view.facts).map_err(rewrite_error)?;
    let given = given::check(job, &view)?;
    // Before images are read: that may take long.
    let folder = match &job.checkpoint {
        Some(plan) if job.learns() => Some((Folder::open(&plan.folder)?, plan)),
        _ => None,
    };
    let images = match &job.source {
        Some(s) => Some(images::load(&job.input, &view, s, job.seed, observer)?),
        None => None,
    };
    // Only now, so that a wrong path is not reported as a missing runtime; but before training.
    let runtime = open()?;
    let mut summary = Summary {
        channels: images.as_ref().map(|i| i.preprocess.channels),
        ..Summary::default()
    };

    if job.checkpoint.is_some() && folder.is_none() {
        let note = "--checkpoint does nothing here: nothing is learned";
        summary.notes.push(note.to_owned());
    }
    let watch = Watch { observer, folder };
    let from = (&model, &view);
    let (retrained, masks) = choose(job, from, given, images.as_ref(), watch, &mut summary)?;
    if let (Some(path), Some(masks)) = (&job.save_masks, &masks) {
        masks.save(path)?;
    }
    // It holds all weights once more. The report gets a new one.
    drop(view);
    let retrained = retrained.as_ref().unwrap_or(original);
    let proof = Proof::new(job, runtime.as_ref(), images.as_ref(), observer);
    // In the integer form first: masks and constants then meet integers.
    let normal = match job.normalise {
        true => Some(normal::form(job, retrained, &proof)?),
        false => None,
    };
    let retrained = normal.as_ref().map_or(retrained, |(model, _)| model);
    let written = match &masks {
        Some(masks) => {
            Some(rewrite::apply_masks(retrained, masks, job.removal).map_err(rewrite_error)?)
        }
        None => None,
    };
    let masked = written.as_ref().map_or(retrained, |m| &m.model);
    if let Some(path) = &job.save_masked {
        model.save_edited(masked, path)?;
    }
    let options = EliminateOptions {
        keep: job.keep.clone(),
        round_to: job.round_to,
        residual: job.residual,
        ..EliminateOptions::default()
    };
    let mut eliminated = rewrite::eliminate_with(masked, &options).map_err(rewrite_error)?;
    let about = |e: Error| e.about(&job.input);
    if qonnx::is_qonnx(&eliminated.model) {
        let restored =
            qonnx::restore(&model.proto, &mut eliminated.model).map_err(|e| about(e.into()))?;
        summary.notes.extend(restored.notes(job.to_onnx));
    } else if job.to_onnx && !qonnx::is_qonnx(&model.proto) {
        summary
            .notes
            .push("--to onnx changes nothing: the input is standard ONNX".to_owned());
    }
    let notes = written.iter().flat_map(|m| &m.notes);
    let left = left.iter();
    summary.details = left
        .map(|node| format!("'{node}': was in training mode, runs in inference mode now"))
        .chain(notes.map(ToString::to_string))
        .collect();
    summary.details.extend(eliminated.changes.iter().cloned());

    // Whatever the runtime refuses was made of the input.
    let verification = proof.verify(masked, &eliminated).map_err(about)?;
    let passed = verification.passed;
    let agreement = proof
        .agreement_with(original, &eliminated.model)
        .map_err(about)?;
    let mut accuracy = proof
        .accuracy(original, masked, &eliminated.model, summary.after_masking())
        .map_err(about)?;
    if let (Choice::Masks(_), Some(accuracy)) = (&job.choice, &mut accuracy) {
        accuracy.after_masking = Some(accuracy.masked);
    }
    let latency = proof.latency(original, &eliminated.model).map_err(about)?;

    let output = job.output.as_ref().filter(|_| passed && !job.dry_run);
    if let Some(path) = output {
        if observer.cancelled() {
            return Err(Error::Interrupted);
        }
        match job.to_onnx {
            true => {
                let lowered = qonnx::lower(&eliminated.model).map_err(|e| about(e.into()))?;
                model.save_edited(&lowered.model, path)?;
            }
            false => model.save_edited(&eliminated.model, path)?,
        }
    }
    let view = View::lean(&job.input, original)?;
    let pruned = View::lean(&job.input, &eliminated.model)?;
    let mut report = summary.report(job, &model, &view, &pruned, &eliminated, masks.as_ref())?;
    report.verification = Some(verification);
    report.agreement = agreement;
    report.accuracy = accuracy;
    report.normalised = normal.map(|(_, report)| report);
    report.latency_ms = Some(latency);
    report.output = match output {
        Some(path) => Some(summary::output_file(path, report.input.opset)?),
        None => None,
    };
    report.seconds = start.elapsed().as_secs_f64();
    report.peak_memory_bytes = memory::peak_memory();
    Ok(report)
}

/// Decides which filters go: those of the masks `given`, or learned ones. The model returned is the
/// retrained one, if there was training.
fn choose(
    job: &Job,
    from: (&Model, &View<'_>),
    given: Option<FilterMasks>,
    images: Option<&Images>,
    watch: Watch<'_>,
    summary: &mut Summary,
) -> Result<(Option<ModelProto>, Option<FilterMasks>), Error> {
    match (&job.choice, images) {
        (Choice::Nothing | Choice::Masks(_), _) => Ok((None, given)),
        (Choice::Learn(_), None) => {
            summary.notes.push(
                "no --data: only filters that cannot matter were removed; with --data images/ \
                 the tool learns which others the network can do without"
                    .to_owned(),
            );
            Ok((None, None))
        }
        (Choice::Learn(tuning), Some(images)) => {
            let options = tuning.options(images, job);
            let (model, learned) = train(job, from, images, &options, watch)?;
            if learned.resumed {
                let note = "continued from a checkpoint; the time is that of the last part";
                summary.notes.push(note.to_owned());
            }
            let masks = learned.masks.clone();
            summary.learned = Some((learned, options));
            Ok((Some(model), Some(masks)))
        }
    }
}

/// Progress, and the folder that learning is saved in.
struct Watch<'a> {
    observer: &'a dyn Observer,
    folder: Option<(Folder, &'a Plan)>,
}

fn train(
    job: &Job,
    (model, view): (&Model, &View<'_>),
    images: &Images,
    options: &Options,
    Watch { observer, folder }: Watch<'_>,
) -> Result<(ModelProto, Learned), Error> {
    let opset = view.graph.opset();
    if opset < LEARNING_OPSET {
        return Err(Error::unsuitable(
            &job.input,
            format!(
                "uses opset {opset}; masks are learned from opset {LEARNING_OPSET} on: convert it \
                 with onnx.version_converter, or give the filters with --masks"
            ),
        ));
    }
    if !view.layers.iter().any(|l| l.is_binary()) {
        return Err(Error::unsuitable(
            &job.input,
            format!(
                "has no binary layer (±1 weights on ±1 inputs); `onnx-bnnprune inspect {}` says why of each",
                job.input.display()
            ),
        ));
    }
    let import = |source| Error::Import {
        path: job.input.clone(),
        source,
    };
    let mut network = Network::import(&view.graph, &view.facts, &view.layers).map_err(import)?;
    subsidiary::sanity::check(&network, images, observer).map_err(|e| e.at(&job.source_path()))?;
    let mut checkpoint = match folder {
        Some((folder, plan)) => {
            let run = identity::of(job, model, images, options)?;
            Some(Checkpoint::new(folder, plan.every, run))
        }
        None => None,
    };
    let control = Control {
        observer,
        checkpoint: checkpoint.as_mut(),
    };
    let learned = subsidiary::learn(
        &mut network,
        &view.graph,
        &view.layers,
        &view.analysis,
        images,
        options,
        control,
    )
    .map_err(|e| e.at(&job.input))?;
    let mut model = view.graph.model().clone();
    network
        .write_back(&mut model)
        .map_err(|e| Error::unsuitable(&job.input, e.to_string()))?;
    Ok((model, learned))
}
