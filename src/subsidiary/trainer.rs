//! Epochs and batches of one run: what the stages are made of.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::ArrayD;

use super::average::Average;
use super::error::TrainError;
use super::evaluate::{EVAL_BATCH, STATISTICS_IMAGES};
use super::prefix::PrefixCache;
use super::sanity::spread;
use super::teacher::{Sample, Teacher};
use super::{Decay, MainOptimizer, Options, Unit, mask};
use crate::autograd::{
    Cut, EditError, Inference, MaskSpec, Mode, Network, Optimizer, ParamId, ParamKind, Rule,
    ScaleMode, Schedule, StepId,
    loss::{Loss, cross_entropy, distillation},
};
use crate::data::{Augmentation, Images, epoch_order};
use crate::graph::NodeId;
use crate::progress::Observer;
use crate::rewrite::Removal;

/// Softens the distributions that distillation compares.
const TEMPERATURE: f32 = 2.0;

/// What a stage runs on: the steps from its first layer on, and what the frozen ones below give.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) from: StepId,
    /// Trainable parameters of the main network from there on.
    params: Vec<ParamId>,
    cache: Option<PrefixCache>,
    /// The frozen steps, where they run more than once.
    frozen: Option<Box<Inference<'static>>>,
}

/// One run's network, images and options.
pub(super) struct Trainer<'a> {
    pub(super) network: &'a mut Network,
    pub(super) images: &'a Images,
    options: &'a Options,
    pub(super) observer: &'a dyn Observer,
    pub(super) teacher: Option<Teacher>,
    /// Counts every epoch of the run, so that no two have the same order of images.
    epoch: u64,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        network: &'a mut Network,
        images: &'a Images,
        options: &'a Options,
        observer: &'a dyn Observer,
    ) -> Result<Self, TrainError> {
        let teacher = Teacher::new(network, images, options, observer)?;
        let mut trainer = Self {
            network,
            images,
            options,
            observer,
            teacher,
            epoch: 0,
        };
        trainer.unfold()?;
        Ok(trainer)
    }

    /// Puts BatchNormalizations back that the exporter folded into binary layers.
    fn unfold(&mut self) -> Result<(), TrainError> {
        let folded = self.network.folded_layers();
        if folded.is_empty() {
            return Ok(());
        }
        let chosen = spread(&self.images.train_indices, STATISTICS_IMAGES);
        let mut starts = Vec::new();
        for indices in chosen.chunks(EVAL_BATCH) {
            let x = self.images.train.batch(indices, &self.images.preprocess);
            starts.push(self.network.start(x)?);
        }
        Ok(self.network.unfold_batch_norms(&folded, starts)?)
    }

    pub(super) fn options(&self) -> &'a Options {
        self.options
    }

    pub(super) fn param(&self, p: ParamId) -> &ArrayD<f32> {
        &self.network.param(p).value
    }

    /// A seed for stage `index`, different from those of other purposes.
    pub(super) fn seed_of(&self, index: u64) -> u64 {
        let mixed = self.options.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ index.wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    pub(super) fn steps_per_epoch(&self) -> usize {
        let images = self.images.train_indices.len();
        images.div_ceil(self.options.batch_size.max(1))
    }

    /// Adds a unit's mask parameters and puts them where the rewrite will cut: in `drop` in front
    /// of each channel-mixing consumer, in `fold` behind each member.
    pub(super) fn insert_mask(
        &mut self,
        unit: &Unit,
        value: ArrayD<f32>,
    ) -> Result<ParamId, TrainError> {
        let name = format!("mask of {}", unit.layers.join(", "));
        let param = self.network.add_param(&name, ParamKind::Mask, value);
        match self.options.removal {
            Removal::Drop => {
                for site in &unit.sites {
                    let mask = MaskSpec {
                        axis: site.axis,
                        filter_of: site.filter_of.clone(),
                        param,
                    };
                    self.network.insert_mask(site.consumer, site.input, mask)?;
                }
            }
            Removal::Fold => {
                for (&node, channel_of) in unit.nodes.iter().zip(&unit.group.channel_of) {
                    let mask = MaskSpec {
                        // [N, C, …] for Conv, [N, C] for Gemm and MatMul.
                        axis: 1,
                        filter_of: channel_of.iter().copied().map(Some).collect(),
                        param,
                    };
                    self.network.insert_output_mask(node, mask)?;
                }
            }
        }
        Ok(param)
    }

    /// The whole network.
    pub(super) fn whole(&self) -> Span {
        Span {
            from: StepId(0),
            params: self.network.main_params(self.network.all()),
            cache: None,
            frozen: None,
        }
    }

    /// Everything from `first` on.
    pub(super) fn span_over(&self, first: NodeId) -> Result<Span, TrainError> {
        let from = self
            .network
            .step_of(first)
            .ok_or(EditError::NoStep(first.0))?;
        let params = self.network.main_params(from..self.network.end());
        Ok(Span {
            from,
            params,
            cache: None,
            frozen: None,
        })
    }

    /// Everything from `first` on, with the frozen part below computed once where that is valid
    /// and fits in memory.
    pub(super) fn span_from(&self, first: NodeId) -> Result<Span, TrainError> {
        let mut span = self.span_over(first)?;
        let from = span.from;
        let frozen = Inference::new(Cow::Owned(self.network.clone()), from);
        span.frozen = Some(Box::new(frozen));
        let at_input = self.network.cut(from) == [self.network.input()];
        if !self.options.augment.is_none() || at_input {
            return Ok(span);
        }
        let count = self.images.train.len();
        let mut cache = PrefixCache::default();
        let all: Vec<usize> = (0..count).collect();
        for (i, chunk) in all.chunks(EVAL_BATCH).enumerate() {
            self.check_cancelled()?;
            let cut = self.prefix(&span, self.input(chunk, false))?;
            let values: Vec<Arc<ArrayD<f32>>> = cut.values.into_iter().map(|(_, x)| x).collect();
            let per_image = PrefixCache::bytes_per_image(&values);
            if i == 0
                && per_image.saturating_mul(count) > self.options.cache_mb.saturating_mul(1 << 20)
            {
                return Ok(span);
            }
            cache.push(&values);
        }
        span.cache = Some(cache);
        Ok(span)
    }

    /// What the frozen part gives for training images.
    pub(super) fn cut(
        &self,
        span: &Span,
        indices: &[usize],
        augmented: bool,
    ) -> Result<Cut, TrainError> {
        match &span.cache {
            Some(cache) => {
                let values = self.network.cut(span.from).into_iter();
                Ok(Cut {
                    step: span.from,
                    values: values
                        .zip(cache.batch(indices).into_iter().map(Arc::new))
                        .collect(),
                })
            }
            None => self.prefix(span, self.input(indices, augmented)),
        }
    }

    /// The network's input for training images.
    pub(super) fn input(&self, indices: &[usize], augmented: bool) -> ArrayD<f32> {
        let (set, pre) = (&self.images.train, &self.images.preprocess);
        match augmented && !self.options.augment.is_none() {
            false => set.batch(indices, pre),
            true => {
                let augmentation = Augmentation {
                    augment: self.options.augment,
                    seed: self.options.seed,
                    epoch: self.epoch,
                };
                set.augmented_batch(indices, pre, &augmentation)
            }
        }
    }

    /// What the frozen part gives for an input.
    pub(super) fn prefix(&self, span: &Span, x: ArrayD<f32>) -> Result<Cut, TrainError> {
        let start = self.network.start(x)?;
        Ok(match &span.frozen {
            Some(frozen) => frozen.run(&start)?,
            None => self.network.infer_to(&start, span.from)?,
        })
    }

    /// One epoch of training the parameters of `phase`; the mean loss.
    fn train_epoch(
        &mut self,
        phase: &mut Phase,
        span: &Span,
        regularizer: Option<&mask::Regularizer>,
    ) -> Result<f32, TrainError> {
        let order = epoch_order(&self.images.train_indices, self.options.seed, self.epoch);
        let wanted = self.network.wanted(phase.params.iter().copied());
        let (mut sum, mut count) = (0f64, 0usize);
        for indices in order.chunks(self.options.batch_size.max(1)) {
            self.check_cancelled()?;
            // A batch of one has no variance to normalise by.
            if phase.batch_statistics && indices.len() < 2 {
                continue;
            }
            let Sample { cut, taught } = self.sample(span, indices, true)?;
            let mode = Mode {
                batch_statistics_from: phase.batch_statistics.then_some(span.from),
                wanted: Some(&wanted),
            };
            let trace = self.network.forward(&cut, self.network.end(), mode)?;
            let logits = trace
                .value(self.network.logits())
                .ok_or_else(|| TrainError::Mismatch("the network has no output".to_owned()))?;
            let Loss {
                value: mut loss,
                grad,
            } = self.loss(logits, indices, taught.as_ref());
            let mut gradients = self.network.backward(&trace, grad);
            drop(trace);
            if let Some(r) = regularizer {
                for &p in &phase.params {
                    let value = &self.network.param(p).value;
                    loss += r.loss(value);
                    let mut extra = ArrayD::zeros(value.raw_dim());
                    r.add_gradient(&mut extra);
                    gradients.add(p, extra);
                }
            }
            if !loss.is_finite() {
                return Err(TrainError::Diverged(loss));
            }
            phase.optimizer.step(self.network, &gradients);
            if let Some(keep) = phase.keep {
                for p in &phase.params {
                    mask::centre(&mut self.network.params[p.0].value, keep);
                }
            }
            if let Some(average) = &mut phase.average {
                average.update(self.network, &phase.params);
            }
            sum += f64::from(loss) * indices.len() as f64;
            count += indices.len();
            self.observer.advance(1);
        }
        self.epoch += 1;
        Ok((sum / count.max(1) as f64) as f32)
    }

    /// Cross-entropy with the labels and distillation of the original's logits, mixed as the
    /// options say; without labels, distillation alone.
    pub(super) fn loss(
        &self,
        logits: &ArrayD<f32>,
        indices: &[usize],
        taught: Option<&ArrayD<f32>>,
    ) -> Loss {
        let hard = self.images.train.labels.as_ref().map(|labels| {
            let labels: Vec<usize> = indices.iter().map(|&i| labels[i]).collect();
            cross_entropy(logits, &labels)
        });
        let soft = taught.map(|t| distillation(logits, t, TEMPERATURE));
        match (hard, soft) {
            (Some(hard), Some(soft)) => hard.mix(soft, self.options.distill),
            (Some(loss), None) | (None, Some(loss)) => loss,
            (None, None) => Loss {
                value: 0.0,
                grad: ArrayD::zeros(logits.raw_dim()),
            },
        }
    }

    /// A phase that trains a mask alone; the main network is frozen, and BatchNormalization uses
    /// running statistics.
    /// With `keep`, exactly so many filters are kept after each step.
    pub(super) fn mask_phase(&self, m: ParamId, keep: Option<usize>) -> Phase {
        let steps = self.steps_per_epoch() * self.options.mask_epochs;
        let schedule = self.schedule(steps);
        Phase {
            params: vec![m],
            optimizer: Optimizer::new(Rule::ADAM, self.options.mask_lr, schedule),
            batch_statistics: false,
            average: None,
            keep,
        }
    }

    pub(super) fn mask_epoch(
        &mut self,
        phase: &mut Phase,
        span: &Span,
        regularizer: &mask::Regularizer,
    ) -> Result<f32, TrainError> {
        self.train_epoch(phase, span, Some(regularizer))
    }

    /// Phase 2 of a stage: retrains the main network from the span's first step on, by batch
    /// statistics, and re-estimates the running ones. The share of binary weights that flipped,
    /// and the mean loss of the last epoch.
    pub(super) fn retrain(
        &mut self,
        span: &Span,
        epochs: usize,
        label: &str,
    ) -> Result<(f64, f32), TrainError> {
        let before = self.latent_signs(span);
        let steps = self.steps_per_epoch() * epochs;
        let rule = match self.options.optimizer {
            MainOptimizer::Adam => Rule::ADAM,
            MainOptimizer::Sgd => Rule::Sgd { momentum: 0.9 },
        };
        let mut phase = Phase {
            params: span.params.clone(),
            optimizer: Optimizer::new(rule, self.options.main_lr, self.schedule(steps)),
            batch_statistics: true,
            average: Some(Average::new(steps)),
            keep: None,
        };
        let mut loss = 0.0;
        for _ in 0..epochs {
            loss = self.train_epoch(&mut phase, span, None)?;
            self.observer
                .detail(&format!("{label}, retraining: loss {loss:.3}"));
        }
        if epochs > 0 {
            self.reestimate(span)?;
        }
        if let Some(average) = phase.average {
            self.settle(span, &phase.params, average)?;
        }
        let after = self.latent_signs(span);
        let flipped = after.iter().zip(&before).filter(|(a, b)| a != b).count();
        Ok((flipped as f64 / before.len().max(1) as f64, loss))
    }

    fn latent_signs(&self, span: &Span) -> Vec<bool> {
        let latents = span.params.iter().map(|&p| self.network.param(p));
        latents
            .filter(|p| p.kind == ParamKind::Latent)
            .flat_map(|p| p.value.iter().map(|v| *v >= 0.0))
            .collect()
    }

    /// From now on the scale of each consumer averages over kept columns only.
    pub(super) fn keep_columns(&mut self, unit: &Unit, keep: &[bool]) {
        if self.options.removal == Removal::Fold {
            return;
        }
        for site in &unit.sites {
            let Some(id) = self.network.binary_of(site.consumer) else {
                continue;
            };
            let weight = &mut self.network.binary[id.0];
            if let ScaleMode::MeanAbs { kept_columns } = &mut weight.scale {
                let columns = kept_columns.get_or_insert_with(|| vec![true; site.filter_of.len()]);
                for (column, filter) in columns.iter_mut().zip(&site.filter_of) {
                    *column &= filter.is_none_or(|f| keep.get(f).copied().unwrap_or(true));
                }
            }
        }
    }

    pub(super) fn check_cancelled(&self) -> Result<(), TrainError> {
        match self.observer.cancelled() {
            true => Err(TrainError::Interrupted),
            false => Ok(()),
        }
    }

    fn schedule(&self, steps: usize) -> Schedule {
        match self.options.decay {
            // To a thousandth, as in section 4 of the paper.
            Decay::Exponential => Schedule::Exponential {
                factor: 1e-3,
                steps,
            },
            Decay::Cosine => Schedule::Cosine { steps },
            Decay::Constant => Schedule::Constant,
        }
    }
}

/// What is trained in a phase.
#[derive(Debug)]
pub(super) struct Phase {
    params: Vec<ParamId>,
    optimizer: Optimizer,
    batch_statistics: bool,
    average: Option<Average>,
    /// Of a mask phase: how many filters to keep after each step.
    keep: Option<usize>,
}
