//! Running statistics of BatchNormalizations measured anew, and BatchNormalizations put back that a
//! file's form hides.

use std::collections::BTreeMap;
use std::sync::Arc;

use bnn_kernels::buffers::release_memory;
use bnn_kernels::elementwise::ChannelStatistics;
use ndarray::Array1;

use crate::distributed::Communicator;
use crate::engine::{Boundary, Mode, Plan, RunError, Weights};
use crate::graph::NodeId;
use crate::network::{EditError, Input, Moments, Network, ParamId, StepId, ValueId};
use crate::ops::channel_statistics;

/// Mean and variance of each channel, pooled over batches.
#[derive(Debug, Clone, Default)]
struct Pooled {
    count: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Pooled {
    fn add(&mut self, s: &ChannelStatistics) {
        let n = s.count as f64;
        self.sum.resize(s.mean.len(), 0.0);
        self.squares.resize(s.mean.len(), 0.0);
        let sums = self.sum.iter_mut().zip(&mut self.squares);
        for ((sum, squares), (&mean, &variance)) in sums.zip(s.mean.iter().zip(&s.variance)) {
            let mean = f64::from(mean);
            *sum += n * mean;
            *squares += n * (f64::from(variance) + mean * mean);
        }
        self.count += n;
    }

    /// Mean and unbiased variance; `None` before any data.
    fn finish(&self) -> Option<Moments> {
        if self.count == 0.0 {
            return None;
        }
        let n = self.count;
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let unbias = if n > 1.0 { n / (n - 1.0) } else { 1.0 };
        let variance = self.squares.iter().zip(&mean);
        let variance = variance.map(|(q, m)| ((q / n - m * m).max(0.0) * unbias) as f32);
        let variance: Array1<f32> = variance.collect();
        let mean: Array1<f32> = mean.iter().map(|m| *m as f32).collect();
        Some((mean.into_dyn(), variance.into_dyn()))
    }
}

/// Measures the running statistics of all BatchNormalizations at or behind `from` on `batches` (each
/// a boundary at or before `from`, all at one position): in one pass in which each of them normalises
/// by the batch's own statistics. Mean and variance (unbiased) are pooled over all batches, those of other
/// processes included. Without batches nothing changes.
///
/// # Errors
/// If a batch does not fit the network, or another process has failed.
pub fn reestimate_running_statistics(
    network: &mut Network,
    batches: impl IntoIterator<Item = Boundary>,
    from: StepId,
    processes: &dyn Communicator,
) -> Result<(), RunError> {
    let mut batches = batches.into_iter().peekable();
    let norms = network.batch_norms(from);
    let Some(&StepId(last)) = norms.last() else {
        return Ok(());
    };
    let channels = |norm: &StepId| {
        let mean = running(network, *norm).map(|(mean, _)| network.param(mean));
        mean.map_or(0, |mean| mean.value.len())
    };
    let channels: Vec<usize> = norms.iter().map(channels).collect();
    let mode = Mode {
        batch_statistics_from: Some(from),
        ..Mode::default()
    };
    let first = batches.peek().map_or(from, |first| first.step);
    let plan = Plan::new(network, first..StepId(last + 1), mode);
    let weights = Arc::new(Weights::new(network));
    // Steps of learning, before and after, are of other sizes than these batches.
    release_memory();
    let mut measured: Vec<f64> = Vec::new();
    for batch in batches {
        let trace = plan.forward(network, &weights, &batch)?;
        let found: BTreeMap<StepId, _> = trace.batch_statistics().collect();
        for (norm, &channels) in norms.iter().zip(&channels) {
            let end = measured.len() + 1 + 2 * channels;
            if let Some(s) = found.get(norm) {
                measured.push(s.count as f64);
                let numbers = s.mean.iter().chain(&s.variance).take(2 * channels);
                measured.extend(numbers.map(|&v| f64::from(v)));
            }
            measured.resize(end, 0.0);
        }
    }
    let measured = processes.gather_numbers(&measured)?;
    let mut pooled: BTreeMap<StepId, Pooled> = BTreeMap::new();
    let mut left = &measured[..];
    while !left.is_empty() {
        for (&norm, &channels) in norms.iter().zip(&channels) {
            let Some((of_norm, rest)) = left.split_at_checked(1 + 2 * channels) else {
                return Ok(());
            };
            left = rest;
            let (mean, variance) = of_norm[1..].split_at(channels);
            let numbers = |x: &[f64]| x.iter().map(|&v| v as f32).collect();
            pooled.entry(norm).or_default().add(&ChannelStatistics {
                mean: numbers(mean),
                variance: numbers(variance),
                count: of_norm[0] as usize,
            });
        }
    }
    for (step, pooled) in &pooled {
        if let (Some((mean, variance)), Some((mut m, mut v))) =
            (running(network, *step), pooled.finish())
        {
            network.exchange(mean, &mut m);
            network.exchange(variance, &mut v);
        }
    }
    release_memory();
    Ok(())
}

/// The parameters of a BatchNormalization's running mean and variance.
fn running(network: &Network, step: StepId) -> Option<(ParamId, ParamId)> {
    match network.step(step).inputs[..] {
        [_, _, _, Input::Param(mean), Input::Param(variance)] => Some((mean, variance)),
        _ => None,
    }
}

/// Why a BatchNormalization cannot be put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The network is not as it was when the place was found.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The data do not fit the network.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Puts the BatchNormalizations back that the file's form hides ([`Network::hidden_norms`]), with mean
/// and variance measured on `batches` (starts of runs of the whole network): see
/// [`Network::restore_norm`]. Returns the nodes of their layers.
///
/// # Errors
/// If a batch does not fit. Nothing is changed then.
pub fn restore_norms(
    network: &mut Network,
    batches: impl IntoIterator<Item = Boundary>,
) -> Result<Vec<NodeId>, RestoreError> {
    let hidden = network.hidden_norms();
    // Measured before anything changes.
    let weights = Arc::new(Weights::new(network));
    let mut ends: Vec<(StepId, ValueId)> = hidden
        .iter()
        .filter_map(|h| Some((network.writer(h.measured())?, h.measured())))
        .collect();
    ends.sort_unstable();
    let mut at = StepId(0);
    let mut stretches = Vec::new();
    for (step, value) in ends {
        let end = StepId(step.0 + 1);
        stretches.push((value, Plan::new(network, at..end, Mode::default())));
        at = end;
    }
    let mut pooled: BTreeMap<ValueId, Pooled> = BTreeMap::new();
    for mut boundary in batches {
        for (value, plan) in &stretches {
            let trace = plan.forward(network, &weights, &boundary)?;
            if let Some(y) = trace.value(*value) {
                pooled
                    .entry(*value)
                    .or_default()
                    .add(&channel_statistics(y));
            }
            boundary = trace.boundary();
        }
    }
    let mut layers = Vec::new();
    for hidden in hidden {
        let moments = pooled.get(&hidden.measured()).and_then(Pooled::finish);
        layers.push(hidden.layer());
        network.restore_norm(hidden, moments)?;
    }
    Ok(layers)
}
