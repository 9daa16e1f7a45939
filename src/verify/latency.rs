//! How long a model takes, compared fairly with another.

use std::time::Instant;

use super::batched::BatchedSession;
use super::runtime::RuntimeError;
use super::samples::Samples;

/// How latency is measured.
#[derive(Clone, Copy, Debug)]
pub struct LatencyOptions {
    /// Samples a run.
    pub batch: usize,
    /// Runs of each model before the clock counts.
    pub warm_up: usize,
    /// Runs of each model that count.
    pub runs: usize,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        LatencyOptions {
            batch: 1,
            warm_up: 5,
            runs: 51,
        }
    }
}

/// The median time of one run of each model, in milliseconds.
///
/// The models take turns, and which goes first alternates, so that a machine that gets slower or
/// faster meanwhile treats them alike.
///
/// # Errors
/// If a model can't be run on the samples.
pub fn latency_ms(
    models: &mut [&mut BatchedSession],
    samples: &Samples<'_>,
    options: &LatencyOptions,
) -> Result<Vec<f64>, RuntimeError> {
    let mut inputs = Vec::new();
    for model in models.iter() {
        // A model that insists on a batch size is timed at that size.
        let batch = model.fixed_batch().unwrap_or(options.batch).max(1);
        inputs.push(samples.batch(model.inputs(), 0..samples.len().min(batch))?);
    }
    for _ in 0..options.warm_up {
        for (model, inputs) in models.iter_mut().zip(&inputs) {
            model.run(inputs)?;
        }
    }
    let mut times = vec![Vec::with_capacity(options.runs); models.len()];
    for run in 0..options.runs.max(1) {
        for turn in 0..models.len() {
            let number = (run + turn) % models.len();
            let start = Instant::now();
            models[number].run(&inputs[number])?;
            times[number].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.as_slice() {
        [] => 0.0,
        all if all.len() % 2 == 1 => all[middle],
        all => (all[middle - 1] + all[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
