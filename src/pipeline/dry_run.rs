//! A dry run: what the job would do. Nothing is trained, and no model or mask is written.

use std::time::Instant;

use super::rehearsal;
use super::summary::{Pruned, Summary};
use super::{Choice, NO_DATA, Proof, View, fit, network, options};
use crate::data::{Images, Pixels};
use crate::distributed::Alone;
use crate::error::Error;
use crate::network::Network;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::Silent;
use crate::report::{Figures, LearningPlan, PlanReport, Report, StagePlan};
use crate::rewrite::{FilterMasks, cost, parameters};
use crate::subsidiary::{self, Control, Options, Outlook, Selector, TrainOptions};

/// Training steps whose time is taken, behind a first one.
const TIMED_STEPS: usize = 2;
/// What comes around a phase is at most this many times its steps.
const AROUND: f64 = 3.0;
/// A step of a mask computes no gradients of weights, one product of three.
const MASK_STEP: f64 = 2.0 / 3.0;

/// Plans the job that `proof` is of: cuts what the masks name, and tries that on one batch; or cuts what learning could
/// cut, and says what learning would take.
///
/// # Errors
/// Whatever would stop the job itself before or behind learning, as far as it shows now.
pub(super) fn plan(
    model: &Model,
    original: &ModelProto,
    view: &View<'_>,
    masks: Option<FilterMasks>,
    proof: &Proof<'_>,
    mut summary: Summary,
) -> Result<Report, Error> {
    let &Proof {
        job,
        images,
        observer,
        ..
    } = proof;
    let groups = view.analysis.groups().iter();
    let mut plan = PlanReport {
        groups: groups
            .filter(|g| g.layers.len() > 1)
            .map(|g| g.layers.clone())
            .collect(),
        learning: None,
    };
    let learned = match (&job.choice, images) {
        (Choice::Learn(tuning), Some(images)) => {
            let options = options(job, tuning, images)?;
            let costs = cost(&view.graph, &view.facts, &view.layers).layers;
            fit::reachable(&job.input, &view.subject(&costs), &options)?;
            let copy = network(job, view, images, observer)?;
            let outlook = subsidiary::outlook(&view.subject(&costs), &options);
            // Where no layer may lose a filter, nothing is learned.
            let learns = !outlook.groups.is_empty();
            plan.learning = learns.then(|| LearningPlan {
                seconds: seconds(copy, view, images, &options, &outlook),
                ..learning(images, &options, &outlook)
            });
            Some((options, outlook))
        }
        (Choice::Learn(_), None) => {
            summary.notes.push(NO_DATA.to_owned());
            None
        }
        _ => None,
    };
    let masks = learned.as_ref().map(|(_, o)| &o.masks).or(masks.as_ref());
    let cut = match plan.learning {
        // What learning leaves is not known, and so not verified.
        Some(_) => (
            rehearsal::prepare(job, model, original, masks, proof)?,
            None,
        ),
        None => {
            let (cut, found) = rehearsal::run(job, model, original, masks, proof)?;
            (cut, Some(found))
        }
    };
    let (cut, verification) = cut;
    summary.notes.extend(cut.notes.iter().cloned());
    summary.details = cut.details();
    let planned = learned.as_ref();
    summary.planned = planned.map(|(options, o)| (options.clone(), o.excluded.clone()));
    let after = View::lean(&job.input, &cut.eliminated.model)?;
    let pruned = Pruned {
        view: &after,
        eliminated: &cut.eliminated,
        masks,
        params: [original, &cut.eliminated.model].map(parameters),
    };
    let mut report = summary.report(job, model, view, &pruned)?;
    report.verification = verification;
    report.normalised = cut.normal.map(|(_, report)| report);
    report.plan = Some(plan);
    Ok(report)
}

fn learning(images: &Images, options: &Options, outlook: &Outlook) -> LearningPlan {
    let count = images.train_indices.len();
    let stage_images = options.images_of_stage(count);
    let stages = outlook.groups.iter().zip(&outlook.kept);
    let figures = match options.selector {
        Selector::Subsidiary { .. } if options.selector.decides_how_many() => Figures::Most,
        Selector::Subsidiary { .. } => Figures::Total,
        Selector::Rule { .. } => Figures::Exact,
    };
    LearningPlan {
        figures,
        stages: stages
            .map(|(group, &kept)| StagePlan {
                layers: group.layers.clone(),
                filters: group.filters,
                kept,
            })
            .collect(),
        cost: options.cost.name().to_owned(),
        images: count,
        stage_images,
        validation_images: images.val_indices.len(),
        mask_epochs: options.mask_epochs_of_stage(),
        main_epochs: options.main_epochs,
        final_epochs: options.final_epochs,
        batch_size: options.batch_size,
        steps: options.steps_of_run(count, outlook.groups.len()),
        seconds: None,
        cache_mb: options.cache_mb,
        cache_disk_mb: options.cache_disk_mb,
    }
}

/// Roughly how long learning takes: a few steps of the whole network are trained in a copy that is
/// thrown away. Layers below a stage are taken to cost nothing, as their activations are kept.
fn seconds(
    mut copy: Network,
    view: &View<'_>,
    images: &Images,
    options: &Options,
    outlook: &Outlook,
) -> Option<f64> {
    let batch = options.batch_size.max(1);
    let count = images.train_indices.len();
    let batches = |images: usize| options.batches(images) as f64;
    let once = TrainOptions {
        epochs: 1,
        lr: options.main_lr,
        warm_up: 0,
        lr_schedule: options.decay,
        optimizer: options.optimizer,
        gradients: options.gradients,
        batch_size: batch,
        seed: options.seed,
    };
    let mut of_steps = |steps: usize| -> Option<(f64, usize)> {
        let images = few(images, batch.saturating_mul(steps)).ok()?;
        let control = Control {
            observer: &Silent,
            checkpoint: None,
            processes: &Alone,
        };
        let start = Instant::now();
        subsidiary::retrain(&mut copy, &images, options.augment, &once, control).ok()?;
        let steps = images.train_indices.len().div_ceil(batch);
        Some((start.elapsed().as_secs_f64(), steps))
    };
    // The first one pays for what comes before and behind a phase as well.
    let (first, one) = of_steps(1)?;
    let (all, steps) = of_steps(1 + TIMED_STEPS)?;
    let least = all / ((1.0 + AROUND) * steps.max(1) as f64);
    let step = match steps.checked_sub(one) {
        Some(more @ 1..) => ((all - first) / more as f64).max(least),
        _ => all,
    };
    let in_stage = MASK_STEP * options.mask_epochs_of_stage() as f64 + options.main_epochs as f64;
    let shares: f64 = outlook.groups.iter().map(|u| share_from(view, u)).sum();
    let in_stages = batches(options.images_of_stage(count)) * shares * in_stage;
    Some(step * (in_stages + batches(count) * options.final_epochs as f64))
}

/// The first training images, one of which also validates.
fn few(images: &Images, count: usize) -> Result<Images, Error> {
    let chosen = images.train_indices.get(..count);
    let chosen = chosen.unwrap_or(&images.train_indices);
    // Images in files stay there: decoding them is part of the time.
    let (train, indices) = match images.train.images {
        Pixels::Streamed(_) | Pixels::Stored(_) => (images.train.clone(), chosen.to_vec()),
        _ => (images.train.select(chosen)?, (0..chosen.len()).collect()),
    };
    Ok(Images {
        val_indices: indices.first().copied().into_iter().collect(),
        train_indices: indices,
        train,
        val: None,
        preprocess: images.preprocess.clone(),
        val_source: String::new(),
    })
}

/// Share of the operations in the layers from a group's first on.
fn share_from(view: &View<'_>, group: &subsidiary::MaskGroup) -> f64 {
    let order = view.graph.order();
    let place = |node| order.iter().position(|&n| n == node);
    let first = place(group.first);
    let all = cost(&view.graph, &view.facts, &view.layers);
    let of = |above: bool| -> u64 {
        let layers = view.layers.iter().zip(&all.layers);
        let counts = layers.filter(|(l, _)| !above || place(l.node) >= first);
        counts.map(|(_, c)| c.macs).fold(0, u64::saturating_add)
    };
    of(true) as f64 / of(false).max(1) as f64
}
