//! How long a model takes, compared fairly with another.

use serde::Serialize;

use super::batched::BatchedSession;
use super::runtime::RuntimeError;
use super::samples::Samples;

/// Runs that count in each turn of a model.
const IN_A_ROW: usize = 3;

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

/// How the times of a model's runs are distributed, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latency {
    /// Half of the runs took no longer.
    pub median: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// The fastest.
    pub min: f64,
    /// The slowest.
    pub max: f64,
}

/// The median time of one run of each model, in milliseconds. See [`latencies`].
///
/// # Errors
/// As [`latencies`].
pub fn latency_ms(
    models: &mut [&mut BatchedSession],
    samples: &Samples<'_>,
    options: &LatencyOptions,
) -> Result<Vec<f64>, RuntimeError> {
    let found = latencies(models, samples, options)?;
    Ok(found.iter().map(|latency| latency.median).collect())
}

/// How long a run of each model takes.
///
/// The models take turns of a few runs, and which goes first alternates, so that a machine that gets
/// slower or faster meanwhile treats them alike. The clock runs where the model is.
///
/// # Errors
/// If a model can't be run on the samples; [`RuntimeError::Candidate`] if it is not the first one.
pub fn latencies(
    models: &mut [&mut BatchedSession],
    samples: &Samples<'_>,
    options: &LatencyOptions,
) -> Result<Vec<Latency>, RuntimeError> {
    let mut inputs = Vec::new();
    for model in models.iter() {
        // A model that insists on a batch size is timed at that size.
        let batch = model.fixed_batch().unwrap_or(options.batch).max(1);
        inputs.push(samples.batch(model.inputs(), 0..samples.len().min(batch))?);
    }
    for _ in 0..options.warm_up {
        for (number, (model, inputs)) in models.iter_mut().zip(&inputs).enumerate() {
            model.run(inputs).map_err(|e| of_model(number, e))?;
        }
    }
    let runs = options.runs.max(1);
    let mut times = vec![Vec::with_capacity(runs); models.len()];
    for (turn, done) in (0..runs).step_by(IN_A_ROW).enumerate() {
        let now = IN_A_ROW.min(runs - done);
        for offset in 0..models.len() {
            let number = (turn + offset) % models.len();
            let (Some(model), Some(inputs), Some(times)) = (
                models.get_mut(number),
                inputs.get(number),
                times.get_mut(number),
            ) else {
                continue;
            };
            // The model's turn finds caches full of another's.
            let taken = model.time(inputs, 1, now);
            times.extend(taken.map_err(|e| of_model(number, e))?);
        }
    }
    Ok(times.into_iter().map(distribution).collect())
}

/// What a model met: beside the first one, it is what is measured against that.
fn of_model(number: usize, e: RuntimeError) -> RuntimeError {
    match number {
        0 => e,
        _ => e.of_candidate(),
    }
}

fn distribution(mut times: Vec<f64>) -> Latency {
    times.sort_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (times.first(), times.last()) else {
        return Latency::default();
    };
    let middle = times.len() / 2;
    let median = match times.len() % 2 {
        1 => times[middle],
        _ => (times[middle - 1] + times[middle]) / 2.0,
    };
    // The nearest rank.
    let rank = (times.len() * 95).div_ceil(100);
    let p95 = times[rank.saturating_sub(1)];
    Latency {
        median,
        p95,
        min,
        max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        assert_eq!(distribution(vec![3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(distribution(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = distribution(times);
        assert_eq!((found.min, found.p95, found.max), (1.0, 95.0, 100.0));
        assert_eq!(distribution(vec![7.0]).p95, 7.0);
    }
}
