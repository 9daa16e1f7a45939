//! The report, from what the steps found.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Choice, DataSource, Job, View, drawn};
use crate::data::{Channels, Images};
use crate::error::Error;
use crate::onnx::{Model, Written};
use crate::report::{FileReport, LayerReport, Report, RunReport, Totals, as_written};
use crate::rewrite::{Eliminated, FilterMasks, LayerCost, cost};
use crate::stopwatch::Stopwatch;
use crate::subsidiary::{Excluded, Learned, Options};

/// What became of the model.
pub(super) struct Pruned<'a> {
    /// What is written, or what it computes.
    pub(super) view: &'a View<'a>,
    /// What the elimination did.
    pub(super) eliminated: &'a Eliminated,
    /// Which filters were to go.
    pub(super) masks: Option<&'a FilterMasks>,
    /// Parameters before and after, without the form, in which bytes hold eight of them.
    pub(super) params: [u64; 2],
}

/// What the steps found, beside the models.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Masks and stages, where there was training.
    pub learned: Option<(Learned, Options)>,
    /// How it would be learned and which layers would be left alone, where it is only planned.
    pub planned: Option<(Options, Vec<Excluded>)>,
    /// Images that were left out, and why.
    pub skipped: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The factor on pixels as it was.
    pub scale: Option<f32>,
    /// The channel order in which images were read.
    pub channels: Option<Channels>,
    /// What masking did, for the JSON report.
    pub details: Vec<String>,
    /// Where the time goes.
    pub clock: Stopwatch,
    /// Which run it is.
    pub run: RunReport,
}

impl Summary {
    /// Of a run that begins now.
    pub(super) fn beginning() -> Self {
        Self {
            run: RunReport::beginning(),
            ..Self::default()
        }
    }

    /// Takes up how images were read, and which were left out.
    pub(super) fn images_are(&mut self, images: Option<&Images>) {
        if let Some(images) = images {
            self.channels = Some(images.preprocess.channels);
            self.scale = Some(images.preprocess.scale);
            self.skipped = images.skipped();
        }
    }

    /// Native accuracy right after the last stage's mask, before its retraining.
    pub(super) fn after_masking(&self) -> Option<f64> {
        self.learned.as_ref()?.0.stages.last()?.after_masking
    }

    /// The report but for what was measured in a runtime.
    pub(super) fn report(
        &self,
        job: &Job,
        model: &Model,
        before: &View<'_>,
        pruned: &Pruned<'_>,
    ) -> Result<Report, Error> {
        let &Pruned {
            view: after,
            eliminated,
            masks,
            params,
        } = pruned;
        let cost_before = cost(&before.graph, &before.facts, &before.layers);
        let cost_after = cost(&after.graph, &after.facts, &after.layers);
        let after_by_name: BTreeMap<&str, &LayerCost> = cost_after
            .layers
            .iter()
            .map(|l| (l.name.as_str(), l))
            .collect();
        let outcomes: BTreeMap<&str, _> = eliminated
            .layers
            .iter()
            .map(|l| (l.name.as_str(), l))
            .collect();
        let excluded: BTreeMap<&str, &str> = self
            .learned
            .iter()
            .flat_map(|(l, _)| &l.excluded)
            .chain(self.planned.iter().flat_map(|(_, excluded)| excluded))
            .map(|e| (e.layer.as_str(), e.reason.as_str()))
            .collect();
        let mut layers = Vec::new();
        for (layer, cost) in before.layers.iter().zip(&cost_before.layers) {
            let name = layer.name.as_str();
            let outcome = outcomes.get(name);
            let kept: Vec<usize> = match outcome {
                Some(o) => o.kept.clone(),
                None => (0..layer.filters).collect(),
            };
            let pruned: Vec<usize> = (0..layer.filters).filter(|f| !kept.contains(f)).collect();
            let masked = masks.and_then(|m| m.layers.get(name));
            let stayed = masked.map_or(0, |m| m.pruned.iter().filter(|f| kept.contains(f)).count());
            let reason = outcome
                .and_then(|o| o.reason.clone())
                .or_else(|| excluded.get(name).map(ToString::to_string))
                .or_else(|| layer.why_not_binary().map(str::to_owned))
                .or_else(|| too_few_to_round(job.round_to, layer.filters));
            let then = after_by_name.get(name);
            layers.push(LayerReport {
                name: name.to_owned(),
                kind: match layer.is_binary() {
                    true => format!("binary {}", layer.op.name()),
                    false => format!("float {}", layer.op.name()),
                },
                binary: layer.is_binary(),
                filters: layer.filters,
                kept: kept.len(),
                pruned,
                masked_but_kept: stayed,
                reason,
                macs_before: cost.macs,
                macs_after: then.map_or(0, |c| c.macs),
                binary_ops_before: cost.binary_ops,
                binary_ops_after: then.map_or(0, |c| c.binary_ops),
                bytes_before: cost.stored_bytes,
                bytes_after: then.map_or(0, |c| c.stored_bytes),
                bits_before: cost.bits.into(),
                bits_after: then.map(|c| c.bits.into()).unwrap_or_default(),
            });
        }
        layers.extend(cut_beside(before, eliminated, masks));
        let mut totals = Totals::of(&layers);
        [totals.params_before, totals.params_after] = params;
        Ok(Report {
            tool: "onnx-bnnprune".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            input: input_file(model, before.graph.opset()),
            layers,
            totals,
            stages: self
                .learned
                .as_ref()
                .map_or(Vec::new(), |(l, _)| l.stages.clone()),
            final_retraining: self
                .learned
                .as_ref()
                .map_or(Vec::new(), |(l, _)| l.final_retraining.clone()),
            activation_cache: self.learned.as_ref().map(|(l, _)| l.cache),
            settings: self.settings(job),
            seed: job.seed,
            run: self.run.clone(),
            pictures: job.pictures.then(|| drawn::pictures(before, after)),
            skipped_images: self.skipped.clone(),
            notes: self.notes.clone(),
            details: self.details.clone(),
            warnings: self.warnings(model),
            ..Report::default()
        })
    }

    fn warnings(&self, model: &Model) -> Vec<String> {
        let stages = self.learned.iter().flat_map(|(l, _)| &l.stages);
        let learning = stages.flat_map(|s| s.warnings.iter().cloned());
        model.warnings.iter().cloned().chain(learning).collect()
    }

    fn settings(&self, job: &Job) -> serde_json::Map<String, Value> {
        let mut map = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Result<Value>| {
            if let Ok(v) = value {
                map.insert(key.to_owned(), v);
            }
        };
        let learned = self.learned.as_ref().map(|(_, options)| options);
        let options = learned.or(self.planned.as_ref().map(|(options, _)| options));
        let method = match (&job.choice, options) {
            (Choice::Masks(_), _) => "masks",
            (Choice::Form, _) => "convert",
            (_, Some(options)) => options.selector.name(),
            (_, None) => "none",
        };
        put("method", as_written(method));
        if let Choice::Masks(path) = &job.choice {
            put("masks", as_written(path));
        }
        put("keep", as_written(&job.keep));
        put("normalise", as_written(&job.normalise));
        put("residual", as_written(&job.residual));
        put("round_to", as_written(&job.round_to));
        put("removal", as_written(&job.removal));
        put("threads", as_written(&rayon::current_num_threads()));
        if let Some(options) = options {
            put("training", as_written(options));
        }
        if let Some(source) = &job.source {
            // The channel order as it was, also where the model's input decided it.
            let source = DataSource {
                channels: self.channels,
                scale: self.scale.or(source.scale),
                ..source.clone()
            };
            put("data", as_written(&source));
        }
        map
    }
}

/// Layers beside those of the views that lost filters all the same, or were to: a ConvTranspose, a Gemm that turns its
/// data. What they cost is not counted.
fn cut_beside(
    before: &View<'_>,
    eliminated: &Eliminated,
    masks: Option<&FilterMasks>,
) -> Vec<LayerReport> {
    let graph = &before.graph;
    let listed = |name: &str| before.layers.iter().any(|layer| layer.name == name);
    let named = |name: &str| masks.is_some_and(|m| m.layers.contains_key(name));
    let cut = eliminated.layers.iter().filter(|outcome| {
        let touched = outcome.kept.len() < outcome.filters || named(&outcome.name);
        touched && !listed(&outcome.name)
    });
    cut.map(|outcome| {
        let stays = |f: &usize| outcome.kept.binary_search(f).is_ok();
        let masked = masks.and_then(|m| m.layers.get(&outcome.name));
        let node = graph
            .order()
            .iter()
            .find(|&&n| graph.label(n) == outcome.name);
        LayerReport {
            name: outcome.name.clone(),
            kind: format!("float {}", node.map_or("", |&n| graph.node(n).op())),
            filters: outcome.filters,
            kept: outcome.kept.len(),
            pruned: (0..outcome.filters).filter(|f| !stays(f)).collect(),
            masked_but_kept: masked.map_or(0, |m| m.pruned.iter().filter(|f| stays(f)).count()),
            reason: outcome.reason.clone(),
            ..LayerReport::default()
        }
    })
    .collect()
}

/// Why no layer of so few filters can lose one, where that is so.
fn too_few_to_round(round_to: usize, filters: usize) -> Option<String> {
    (round_to > 1 && filters <= round_to).then(|| {
        format!("has {filters} filters, and keeps a multiple of {round_to} or all (--round-to)")
    })
}

/// The model as read.
pub(super) fn input_file(model: &Model, opset: i64) -> FileReport {
    FileReport {
        path: model.path.display().to_string(),
        sha256: hex(&model.bytes),
        bytes: model.total_bytes(),
        opset,
    }
}

/// The output file as written.
pub(super) fn output_file(path: &Path, written: Written, opset: i64) -> FileReport {
    FileReport {
        path: path.display().to_string(),
        sha256: written.sha256,
        bytes: written.bytes,
        opset,
    }
}

/// The SHA-256 in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
