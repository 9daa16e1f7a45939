//! The main job, end to end: import, recognise, learn, remove, verify, write, report.

mod among;
mod channels;
mod compare;
mod computed_weights;
mod cut;
mod disjoint;
mod drawn;
mod dry_run;
mod end;
mod fit;
mod given;
mod identity;
mod images;
mod input_form;
mod job;
mod kept;
mod memory;
mod model;
mod normal;
mod outputs;
mod proof;
mod rehearsal;
mod sizes;
mod summary;
mod train;
mod trained;
mod types;
mod view;
mod written;

pub use among::{follow, follow_training};
pub use compare::{Cell, Comparison, compare, forget};
pub use fit::doubt;
pub use images::{ImagesFor, VAL_SPLIT, load as load_images, load_all as load_all_images};
pub use job::{Budget, Choice, Job, Tuning};
pub use model::{load_model, put_scores_first};
pub use sizes::fill as fill_sizes;
pub use train::{TrainJob, train, train_among};
pub use types::other_float_type;
pub use view::View;

pub use crate::data::DataSource;
pub use crate::output::Target;
pub use crate::sizes::Sizes;

use std::borrow::Cow;
use std::time::Instant;

use crate::checkpoint::{self, Folder, Plan};
use crate::data::Images;
use crate::distributed::{Alone, Communicator};
use crate::error::Error;
use crate::forms;
use crate::network::{Network, write_back};
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::{Heard, Observer, Phase};
use crate::report::Report;
use crate::rewrite::{self, FilterMasks, FoldedColumns, Residual};
use crate::runnable::needs_single;
use crate::subsidiary::{self, Control, Learned, NativePredictions, Options, Selector};
use crate::verify::{Runtime, RuntimeError};

use end::End;
use proof::Proof;
use summary::Summary;

/// Runs a job; `open` gives the runtime that verifies. The report says whether verification
/// passed; if it did not, nothing was written to the output. A dry run trains and writes nothing: the
/// report has its plan.
///
/// # Errors
/// Whatever stops the job before a verdict: see [`Error`].
pub fn run(
    job: &Job,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    run_among(job, open, observer, &Alone)
}

/// [`run`] where other processes learn along ([`follow`]): those of `processes`, of which this is the first.
///
/// # Errors
/// As [`run`], or if another process fails.
pub fn run_among(
    job: &Job,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<Report, Error> {
    let learns = job.learns();
    if processes.size() > 1 && (!learns || job.dry_run) {
        return Err(among::nothing_to_share());
    }
    let start = Instant::now();
    let heard = Heard::new(observer);
    let mut report = through(job, open, &heard, processes)
        .map_err(|e| stopped(e, observer, job.checkpoint.as_ref(), learns))?;
    report.warnings = heard.warnings_and(report.warnings);
    report.seconds = start.elapsed().as_secs_f64();
    report.peak_memory_bytes = memory::peak_memory();
    Ok(report)
}

/// An error that stops a run: where it goes on from, if learning was saved, or that it was not.
fn stopped(e: Error, observer: &dyn Observer, plan: Option<&Plan>, learns: bool) -> Error {
    let folder = plan.map(|plan| plan.folder.clone());
    let saved = folder.as_ref().is_some_and(|f| checkpoint::exists(f));
    match (e.unless_stopped(observer.cancelled()), folder) {
        (Error::Interrupted, Some(folder)) if saved => Error::Paused(folder),
        (Error::Absent(who), Some(folder)) if saved => Error::AbsentPaused { who, folder },
        (Error::Interrupted, None) if learns => Error::Unsaved,
        (e, _) => e,
    }
}

/// The model as it is worked with: what is packed is learned from, and cut, as floats, and packed again; what
/// is in training mode is taken out of it where that is asked for. Notes on what was left.
fn opened<'m>(job: &Job, model: &'m Model) -> Result<(Cow<'m, ModelProto>, Vec<String>), Error> {
    let opened = forms::unpack(&model.proto);
    let opened = opened.map_err(|e| written::form_error(&job.input, e))?;
    if !job.inference_mode {
        return Ok((opened, Vec::new()));
    }
    let made = rewrite::to_inference_mode(&opened);
    let (proto, left) = made.map_err(|source| cut::rewrite_error(&job.input, source))?;
    if left.is_empty() {
        return Err(Error::Usage(format!(
            "--inference-mode: nothing in {} is in training mode; leave it out",
            job.input.display()
        )));
    }
    Ok((Cow::Owned(proto), left))
}

/// The steps of a job, one after the other.
fn through(
    job: &Job,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<Report, Error> {
    let mut summary = Summary::beginning();
    let model = read(job, observer)?;
    let (original, left) = opened(job, &model)?;
    let original: &ModelProto = &original;
    let view = viewed(job, original)?;
    let job = &Job {
        keep: given::kept(job, &view)?,
        ..job.clone()
    };
    let given = given::check(job, &view)?;
    if job.learns() {
        types::check_learning(&job.input, &view)?;
    }
    // The others wait until it is known that there is something to do.
    processes.gather(&[])?;
    // Before images are read: that may take long.
    let folder = match &job.checkpoint {
        Some(plan) if job.learns() && !job.dry_run => Some((Folder::open(&plan.folder)?, plan)),
        _ => None,
    };
    let images = match &job.source {
        Some(source) => Some(loaded(job, &view, source, observer)?),
        None => None,
    };
    if let Some(images) = images
        .as_ref()
        .filter(|_| job.learns() || job.budget.given().is_some())
    {
        fit::tells_classes(&job.input, &view, images, observer)?;
    }
    // Only now, so that a wrong path is not reported as a missing runtime; but before training.
    let trying = Phase::begin(observer, "trying the model out");
    let runtime = open()?;
    summary.clock.lap("reading model and images", None);
    summary.images_are(images.as_ref());
    summary
        .notes
        .extend(before_learning(job, &model, &view, original));
    if !matches!(job.choice, Choice::Form) {
        computed_weights::agree(&job.input, &view, original, runtime.as_ref())?;
    }
    let proof = Proof::new(job, runtime.as_ref(), images.as_ref(), observer);
    if job.learns() {
        // Whatever cannot be done with the original cannot be done with what is learned.
        fit::learnable(&job.input, &view)?;
        let (_, found) = rehearsal::run(job, &model, original, None, &proof)?;
        rehearsal::accept(job, &found)?;
        summary.clock.lap("trying the runtime out", None);
    }
    drop(trying);
    if job.dry_run {
        return dry_run::plan(&model, original, &view, given, &proof, summary);
    }
    let watch = Watch {
        observer,
        folder,
        processes,
    };
    let chosen = choose(
        job,
        &model,
        &view,
        given,
        images.as_ref(),
        watch,
        &mut summary,
    )?;
    // It holds all weights once more. The report gets a new one.
    drop(view);
    let proof = Proof::new(job, runtime.as_ref(), images.as_ref(), observer);
    let end = End {
        job,
        model: &model,
        original,
        chosen,
        proof: &proof,
        observer,
    };
    end.conclude(&left, summary)
}

/// The model of the file, sizes filled in that the job gives; what can be known to fail by it alone
/// fails here.
fn read(job: &Job, observer: &dyn Observer) -> Result<Model, Error> {
    let model = load_model(&job.input, &job.sizes, job.source.as_ref())?;
    model.warnings.iter().for_each(|w| observer.warn(w));
    outputs::check(&job.writes, &model, job.source.as_ref())?;
    written::idle(job, &model.proto)?;
    Ok(model)
}

/// What is seen in the model, which computes the same every time.
fn viewed<'m>(job: &Job, original: &'m ModelProto) -> Result<View<'m>, Error> {
    // What runs as a native network needs its weights.
    let runs = matches!(job.choice, Choice::Learn(_)) || job.makes_images();
    let view = match runs {
        true => View::new(&job.input, original)?,
        false => View::lean(&job.input, original)?,
    };
    rewrite::check_deterministic(&view.graph, &view.facts)
        .map_err(|source| cut::rewrite_error(&job.input, source))?;
    Ok(view)
}

/// The images to learn from, or to verify with.
fn loaded(
    job: &Job,
    view: &View<'_>,
    source: &DataSource,
    observer: &dyn Observer,
) -> Result<Images, Error> {
    match job.choice {
        Choice::Form => images::load_all(&job.input, view, source, observer),
        _ => {
            let purpose = ImagesFor::job(job.learns());
            images::load(&job.input, view, source, job.seed, purpose, observer)
        }
    }
}

/// What the user should know of the model and the images before anything is learned.
fn before_learning(
    job: &Job,
    model: &Model,
    view: &View<'_>,
    original: &ModelProto,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(source) = &job.source {
        notes.extend(view.first_of_several_outputs(&model.outputs));
        if source.synthetic.is_some() {
            notes.push(match source.val {
                Some(_) => MADE.to_owned(),
                None => format!(
                    "{MADE}; agreement is on such images: give real ones with --val to measure on"
                ),
            });
        }
    }
    if needs_single(original) {
        notes.push(
            "computes in float64, for which ONNX Runtime has no convolutions: verified in float32, written in float64".to_owned(),
        );
    }
    notes
}

/// Which filters go, and the network that learned to do without them.
#[derive(Default)]
struct Chosen {
    masks: Option<FilterMasks>,
    /// The retrained model, if there was training.
    network: Option<ModelProto>,
    /// Columns whose constants stayed while masks were learned, if they were.
    folded: Option<FoldedColumns>,
    /// What the network answered that was trained, or why it did not.
    answers: Option<Result<NativePredictions, Error>>,
}

/// Decides which filters go: those of the masks `given`, or learned ones.
fn choose(
    job: &Job,
    model: &Model,
    view: &View<'_>,
    given: Option<FilterMasks>,
    images: Option<&Images>,
    watch: Watch<'_>,
    summary: &mut Summary,
) -> Result<Chosen, Error> {
    match (&job.choice, images) {
        (Choice::Form | Choice::Nothing | Choice::Masks(_), _) => Ok(Chosen {
            masks: given,
            ..Chosen::default()
        }),
        (Choice::Learn(_), None) => {
            summary.notes.push(NO_DATA.to_owned());
            Ok(Chosen::default())
        }
        (Choice::Learn(tuning), Some(images)) => {
            let options = options(job, tuning, images)?;
            let (network, mut learned) = learn(job, model, view, images, &options, watch)?;
            let mut trained = view.graph.model().clone();
            write_back(&network, &mut trained)
                .map_err(|e| Error::unsuitable(&job.input, e.to_string()))?;
            let answers = learned.predictions.take();
            let answers = answers.map(|a| a.map_err(|e| Error::of_training(e, &job.input)));
            if learned.resumed {
                let note = "continued from a checkpoint; the time is that of the last part";
                summary.notes.push(note.to_owned());
            }
            let laps = learned.laps.clone();
            summary.clock.lap_before("checking the images", laps);
            let (masks, folded) = (learned.masks.clone(), learned.folded.clone());
            summary.learned = Some((learned, options));
            Ok(Chosen {
                masks: Some(masks),
                network: Some(trained),
                folded: Some(folded),
                answers,
            })
        }
    }
}

/// What a run on synthetic images says.
const MADE: &str =
    "--data synthetic: learned from images made from the network itself, not from real ones";

/// What a run without images says.
const NO_DATA: &str = "no --data: only filters that cannot matter were removed; with --data images/ \
                       the tool learns which others the network can do without";

/// How it is learned from those images.
fn options(job: &Job, tuning: &Tuning, images: &Images) -> Result<Options, Error> {
    if tuning.distill.is_some() && images.train.labels.is_none() {
        return Err(Error::Usage(format!(
            "--distill: {} has no labels, so the whole loss compares with the original; leave it out",
            job.source_path().display()
        )));
    }
    let rule = match &tuning.selector {
        Some(Selector::Rule { rule, .. }) => Some(("--method", *rule)),
        _ => tuning.mask_start.map(|rule| ("--mask-start", rule)),
    };
    if let (Some((option, rule)), Residual::Scatter) = (rule, job.residual)
        && rule.looks_at_outputs()
    {
        return Err(Error::Usage(format!(
            "{option} {} looks at what layers read, and with --residual scatter several layers write that; leave --residual out",
            rule.name()
        )));
    }
    Ok(tuning.options(images, job))
}

/// The native network, which is checked against the images before it learns from them.
fn network(
    job: &Job,
    view: &View<'_>,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Network, Error> {
    let network = Network::import(&view.graph, &view.facts, &view.layers);
    let network = network.map_err(|source| Error::Import {
        path: job.input.clone(),
        source,
    })?;
    let _checking = Phase::begin(observer, "looking at the images");
    let budget = job.budget.learning(images.val_set().labels.is_some());
    let data = job.source_path();
    let val = job.source.as_ref().and_then(|source| source.val.clone());
    subsidiary::sanity::check(&network, images, budget.is_some(), observer)
        .map_err(|e| Error::of_training(e, val.as_ref().unwrap_or(&data)))?;
    subsidiary::sanity::training_images_fit(&network, images, observer)
        .map_err(|e| Error::of_training(e, &data))?;
    Ok(network)
}

/// Progress, and the folder that learning is saved in.
struct Watch<'a> {
    observer: &'a dyn Observer,
    folder: Option<(Folder, &'a Plan)>,
    /// The processes that learn along.
    processes: &'a dyn Communicator,
}

fn learn(
    job: &Job,
    model: &Model,
    view: &View<'_>,
    images: &Images,
    options: &Options,
    Watch {
        observer,
        folder,
        processes,
    }: Watch<'_>,
) -> Result<(Network, Learned), Error> {
    let costs = rewrite::cost(&view.graph, &view.facts, &view.layers).layers;
    let subject = view.subject(&costs);
    fit::reachable(&job.input, &subject, options)?;
    let mut network = network(job, view, images, observer)?;
    let run = || identity::of(job, model, images, options);
    let mut checkpoint = among::agreed(run, folder, processes)?;
    let control = Control {
        observer: &among::Together {
            observer,
            processes,
        },
        checkpoint: checkpoint.as_mut(),
        processes,
    };
    let learned = subsidiary::learn(&mut network, &subject, images, options, control)
        .map_err(|e| Error::of_training(e, &job.input))?;
    Ok((network, learned))
}
