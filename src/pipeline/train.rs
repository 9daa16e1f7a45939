//! Training of a network as it is: import, train, write, measure.

use std::path::PathBuf;
use std::time::Instant;

use super::among::{self, Together};
use super::model::load_model;
use super::proof::{BATCH, session, validation};
use super::summary::{hex, input_file, output_file};
use super::trained::{self, Agreement};
use super::written::{self, Formed};
use super::{DataSource, View, cut, fit, identity, images, kept, outputs, stopped, types};
use crate::checkpoint::{Folder, Plan};
use crate::data::Images;
use crate::distributed::{Alone, Communicator};
use crate::error::Error;
use crate::forms::{self, Computed, FormError};
use crate::network::{Network, write_back};
use crate::onnx::proto::ModelProto;
use crate::onnx::provenance::stamp;
use crate::onnx::{Model, Written};
use crate::output::Target;
use crate::progress::{Observer, Phase};
use crate::qonnx;
use crate::report::{RunReport, TrainAccuracy, TrainReport};
use crate::rewrite;
use crate::runnable::runnable;
use crate::sizes::Sizes;
use crate::subsidiary::{Control, TrainOptions, native_predictions, retrain, sanity};
use crate::verify::{self, KeptChannels, Runtime, RuntimeError, SessionOptions, VerifyOptions};

/// What `train` is asked to do.
#[derive(Debug, Clone)]
pub struct TrainJob {
    /// The network to train.
    pub input: PathBuf,
    /// Where the trained one goes.
    pub output: PathBuf,
    /// The images.
    pub source: DataSource,
    /// Sizes of free dimensions.
    pub sizes: Sizes,
    /// How it is trained.
    pub options: TrainOptions,
    /// Everything that is written, also by the caller (its report): checked before any work.
    pub writes: Vec<Target>,
    /// Where training is saved, and continued from. What is there stays until
    /// [`crate::checkpoint::remove`].
    pub checkpoint: Option<Plan>,
}

/// Trains a network; `open` gives the runtime in which its accuracy is measured.
///
/// # Errors
/// Whatever stops the job: see [`Error`]. The output is then not written.
pub fn train(
    job: &TrainJob,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
) -> Result<TrainReport, Error> {
    train_among(job, open, observer, &Alone)
}

/// [`train`] where other processes train along ([`follow_training`](super::follow_training)): those of
/// `processes`, of which this is the first.
///
/// # Errors
/// As [`train`], or if another process fails.
pub fn train_among(
    job: &TrainJob,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<TrainReport, Error> {
    through(job, open, observer, processes)
        .map_err(|e| stopped(e, observer, job.checkpoint.as_ref(), true))
}

fn through(
    job: &TrainJob,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<TrainReport, Error> {
    let start = Instant::now();
    let run = RunReport::beginning();
    let model = readable(job, observer)?;
    let form_error = |e| written::form_error(&job.input, e);
    let opened = forms::unpack(&model.proto).map_err(form_error)?;
    let view = View::new(&job.input, &opened)?;
    trainable(job, &view)?;
    processes.gather(&[])?;
    let folder = match &job.checkpoint {
        Some(plan) => Some((Folder::open(&plan.folder)?, plan)),
        None => None,
    };
    let images = labelled_images(job, &view, observer)?;
    if let Some(note) = view.first_of_several_outputs(&model.outputs) {
        observer.note(&note);
    }
    let runtime = open()?;
    let about = |e: Error| e.about(&job.input);
    // Before training: that the runtime refuses the model must show now.
    let measuring = Phase::begin(observer, "measuring the network as it is");
    let before = accuracy(&*runtime, &model.proto, &images, observer).map_err(about)?;
    drop(measuring);
    let mut network = importable(job, &view, &opened)?;
    // Whether what came packed can be packed again shows now, too.
    let packs = written::formed(None, &model.proto, &opened, Computed::new);
    packs.map_err(form_error)?;
    let identity = || identity::of_training(job, &model, &images);
    let mut checkpoint = among::agreed(identity, folder, processes)?;
    let control = Control {
        observer: &Together {
            observer,
            processes,
        },
        checkpoint: checkpoint.as_mut(),
        processes,
    };
    let augment = job.source.augment;
    let trained = retrain(&mut network, &images, augment, &job.options, control)
        .map_err(|e| Error::of_training(e, &job.input))?;
    let mut proto = opened.clone().into_owned();
    write_back(&network, &mut proto).map_err(|e| Error::unsuitable(&job.input, e.to_string()))?;
    let mut notes = Vec::new();
    if qonnx::is_qonnx(&proto) {
        // Weights that were trained are constants: back in the dialect's own form.
        let restored = qonnx::restore(&model.proto, &mut proto);
        let restored = restored.map_err(|e| Error::from(e).about(&job.input))?;
        notes = restored.notes(None);
    }
    // What came packed stays packed.
    let made = in_its_form(&model.proto, &proto, &*runtime, &mut notes);
    let finish = || {
        let shaped = made
            .as_ref()
            .map_err(|e| Error::unsuitable(&job.input, e.to_string()))?;
        let trained = Trained {
            network: &network,
            proto: &proto,
            shaped: shaped.as_ref(),
        };
        finish(
            job,
            &model,
            &trained,
            &images,
            before.as_ref(),
            &*runtime,
            observer,
        )
    };
    let plan = job.checkpoint.as_ref();
    let measuring = Phase::begin(observer, "measuring the trained network");
    let (after, agreement, written) =
        finish().map_err(
            |e| match e.about(&job.input).unless_stopped(observer.cancelled()) {
                ruined @ Error::Ruined(_) => ruined,
                e => kept::trained(e, plan, &job.output, &model, &proto),
            },
        )?;
    drop(measuring);
    Ok(TrainReport {
        tool: "onnx-bnnprune".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        input: input_file(&model, view.graph.opset()),
        output: output_file(&job.output, written, view.graph.opset()),
        accuracy: before.zip(after).map(|(before, after)| TrainAccuracy {
            before: before.fraction,
            after: after.fraction,
            samples: after.predictions.len(),
            source: images.val_source.clone(),
        }),
        agreement_with_native: agreement,
        epochs: trained.epochs,
        flipped_weights: trained.flipped_weights,
        resumed: trained.resumed,
        notes,
        runtime: runtime.name().to_owned(),
        runtime_version: runtime.version().to_owned(),
        options: job.options.clone(),
        data: DataSource {
            scale: Some(images.preprocess.scale),
            ..job.source.clone()
        },
        run,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The network's file, its free sizes filled in, and nothing in the way of what is written.
fn readable(job: &TrainJob, observer: &dyn Observer) -> Result<Model, Error> {
    if job.source.synthetic.is_some() {
        return Err(Error::Usage(
            "--data synthetic: images that are made have no labels, and training as it is needs them; give a folder per class".to_owned(),
        ));
    }
    let model = load_model(&job.input, &job.sizes, Some(&job.source))?;
    model.warnings.iter().for_each(|w| observer.warn(w));
    outputs::check(&job.writes, &model, Some(&job.source))?;
    written::of_layers(&job.input, &model.proto)?;
    Ok(model)
}

/// Refuses what cannot be trained.
fn trainable(job: &TrainJob, view: &View<'_>) -> Result<(), Error> {
    fit::learnable(&job.input, view)?;
    types::check_learning(&job.input, view)?;
    rewrite::check_deterministic(&view.graph, &view.facts)
        .map_err(|source| cut::rewrite_error(&job.input, source))
}

fn labelled_images(
    job: &TrainJob,
    view: &View<'_>,
    observer: &dyn Observer,
) -> Result<Images, Error> {
    let seed = job.options.seed;
    let images = images::load_to_learn_from(&job.input, view, &job.source, seed, observer)?;
    match &images.train.labels {
        Some(_) => Ok(images),
        None => Err(Error::unsuitable(
            &job.source.data,
            "has no labels to train with; training needs a folder per class, or `y` in the .npz",
        )),
    }
}

/// The network of a model. What was not trained goes back as it came: whether it can shows here.
fn importable(job: &TrainJob, view: &View<'_>, model: &ModelProto) -> Result<Network, Error> {
    let network = Network::import(&view.graph, &view.facts, &view.layers);
    let network = network.map_err(|source| Error::Import {
        path: job.input.clone(),
        source,
    })?;
    write_back(&network, &mut model.clone())
        .map_err(|e| Error::unsuitable(&job.input, e.to_string()))?;
    Ok(network)
}

/// What was trained in the form that it `came` in; `None` if that is the one it has. What was packed
/// and is no longer gets a note.
fn in_its_form(
    came: &ModelProto,
    trained: &ModelProto,
    runtime: &dyn Runtime,
    notes: &mut Vec<String>,
) -> Result<Option<ModelProto>, FormError> {
    let computed = || written::computed(trained, runtime);
    match written::formed(None, came, trained, computed)? {
        Formed::AsItIs => Ok(None),
        Formed::Lost(why) => {
            notes.push(why);
            Ok(None)
        }
        Formed::In(_, shaped) => {
            let left = forms::packed_layers(came).into_iter().filter_map(|layer| {
                let why = shaped.left.get(&layer)?;
                Some(format!(
                    "'{layer}' is written with weights as floats: {why}"
                ))
            });
            notes.extend(left);
            Ok(Some(shaped.model))
        }
    }
}

/// Holds what is written against what was trained, where it is in another form.
fn verified(
    job: &TrainJob,
    trained: &ModelProto,
    shaped: &ModelProto,
    images: &Images,
    runtime: &dyn Runtime,
) -> Result<(), Error> {
    let (reference, candidate) = (runnable(trained)?, runnable(shaped)?);
    let found = verify::verify(
        runtime,
        &reference.model,
        &candidate.model,
        &KeptChannels::default(),
        &validation(images),
        &VerifyOptions::in_batches_of(BATCH),
    )?;
    match found.passed {
        true => Ok(()),
        false => Err(Error::Verification(format!(
            "{}: packed again, the trained network computes something else ({}); {} was not written",
            job.input.display(),
            found.failures.join("; "),
            job.output.display(),
        ))),
    }
}

/// What training left.
struct Trained<'a> {
    network: &'a Network,
    /// The network as a model.
    proto: &'a ModelProto,
    /// The same in the form that the model came in, where that is another one.
    shaped: Option<&'a ModelProto>,
}

/// Measures the trained network, holds it against what was trained, and writes it, in the form that it
/// came in where that is another one.
fn finish(
    job: &TrainJob,
    model: &Model,
    trained: &Trained<'_>,
    images: &Images,
    before: Option<&verify::Accuracy>,
    runtime: &dyn Runtime,
    observer: &dyn Observer,
) -> Result<(Option<verify::Accuracy>, Option<f64>, Written), Error> {
    if let Some(shaped) = trained.shaped {
        verified(job, trained.proto, shaped, images, runtime)?;
    }
    let proto = trained.shaped.unwrap_or(trained.proto);
    let after = accuracy(runtime, proto, images, observer)?;
    let agreement = match &after {
        Some(after) => {
            let answers = native_predictions(trained.network, images, observer);
            let answers = answers.map_err(|e| Error::of_training(e, &job.input))?;
            Agreement::of(&answers, images, &after.predictions)
        }
        None => None,
    };
    // Asked only where the trained one differs: of a network that hangs on ties, so does the original.
    let of_original = || -> Option<Agreement> {
        let answers = trained::answers_of_original(&job.input, &model.proto, images, observer)?;
        Agreement::of(&answers, images, &before?.predictions)
    };
    let differs = agreement.filter(|a| !a.holds());
    let original = differs.and_then(|a| of_original().filter(|&o| a.holds_beside(o)));
    if let Some(original) = original {
        observer.warn(&trained::hangs_on_ties(original));
    }
    if let Some(a) = differs.filter(|_| original.is_none()) {
        return Err(Error::Verification(format!(
            "{}: the trained network and what {} makes of the model written agree on {:.1} % of the \
             images only; {} was not written",
            job.input.display(),
            runtime.name(),
            a.share() * 100.0,
            job.output.display(),
        )));
    }
    if let (Some(before), Some(after)) = (before, &after) {
        judged(job, before.fraction, after.fraction, images, observer)?;
    }
    if observer.cancelled() {
        return Err(Error::Interrupted);
    }
    let mut made = proto.clone();
    if made != model.proto {
        let mut entries = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("method", "train".to_owned()),
            ("input_sha256", hex(&model.bytes)),
            ("runtime", written::ran_by(runtime)),
            ("seed", job.options.seed.to_string()),
        ];
        let share = |a: &verify::Accuracy| format!("{:.6}", a.fraction);
        entries.extend(before.map(|a| ("accuracy_before", share(a))));
        entries.extend(after.as_ref().map(|a| ("accuracy_after", share(a))));
        stamp(&mut made, &entries);
    }
    let written = model.save_edited(&made, &job.output)?;
    Ok((after, agreement.map(|a| a.share()), written))
}

/// Accuracy that training may cost before that is said.
const WORSE: f64 = 0.01;

/// Accuracy that a ruined network has lost at least.
const RUINED: f64 = 0.1;

/// Refuses a network that training has ruined: that lost more than half of what it was better than the most
/// frequent class by, and more than so many images can err by. What got worse is said.
fn judged(
    job: &TrainJob,
    before: f64,
    after: f64,
    images: &Images,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let points = format!("{:.2} -> {:.2} %", 100.0 * before, 100.0 * after);
    let most_frequent = truth_of(images).and_then(|truth| sanity::most_frequent(&truth));
    let chance = most_frequent.map_or(0.0, |(_, share)| share);
    // Two standard errors of the difference of two shares.
    let by_chance = (2.0 / images.val_indices.len().max(1) as f64).sqrt();
    let lost = before - after;
    if lost > RUINED.max(by_chance) && lost > (before - chance) / 2.0 {
        let folder = match &job.checkpoint {
            Some(_) => ", and another folder for --checkpoint",
            None => "",
        };
        return Err(Error::Ruined(format!(
            "{}: training ruined the network ({points} of the validation images); {} was not written; give a smaller --lr, a longer --warm-up or more --epochs{folder}",
            job.input.display(),
            job.output.display(),
        )));
    }
    if after < before - WORSE {
        observer.warn(&format!(
            "training made the network worse: {points} of the validation images; give a smaller --lr or more --epochs"
        ));
    }
    Ok(())
}

/// The labels of the validation images, where they have some.
fn truth_of(images: &Images) -> Option<Vec<usize>> {
    let labels = images.val_set().labels.as_ref()?;
    Some(images.val_indices.iter().map(|&i| labels[i]).collect())
}

/// Top-1 accuracy in the runtime; `None` without labels.
fn accuracy(
    runtime: &dyn Runtime,
    model: &ModelProto,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Option<verify::Accuracy>, Error> {
    if observer.cancelled() {
        return Err(Error::Interrupted);
    }
    let Some(truth) = truth_of(images) else {
        return Ok(None);
    };
    let mut session = session(runtime, model, &SessionOptions::default())?;
    let threshold = verify::threshold_of_one_output(model);
    let samples = validation(images);
    let found = verify::accuracy(&mut session, &samples, &truth, BATCH, threshold)?;
    Ok(Some(found))
}
