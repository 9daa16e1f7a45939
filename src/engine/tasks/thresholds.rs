//! From a layer's output to the next binariser: a threshold for each filter, found by computing the
//! steps between them.

use bnn_kernels::binary::{PoolWindows, Thresholds};
use bnn_kernels::float::FloatThresholds;
use ndarray::ArrayD;

use crate::arrays::slice;
use crate::bisection::{self, Rising, float_of_key, key_of_float};
use crate::engine::weights::PackedLayer;
use crate::network::{Input, Network, Step, StepId, ValueId};
use crate::ops::{ConvolutionForm, Monotone, Role, Signs};

/// Steps from behind a layer to a tensor of -1, 0 and +1 that depends on its output alone.
#[derive(Debug)]
pub(super) struct Chain {
    /// In the order of execution.
    pub steps: Vec<StepId>,
    /// Which of them, by its index, takes maxima of windows.
    pool: Option<usize>,
    /// None of them rounds in a way that may break their order.
    exact: bool,
    /// What the last one writes.
    pub output: ValueId,
}

impl Chain {
    /// The chain behind step `at`, as far as it goes before `end`. `readers` has for each value the
    /// steps of the whole network that read it.
    pub fn behind(
        network: &Network,
        at: StepId,
        end: StepId,
        readers: &[Vec<usize>],
    ) -> Option<Self> {
        let mut value = network.step(at).output;
        let (mut steps, mut pool, mut found) = (Vec::new(), None, None);
        let mut exact = true;
        while let [reader] = readers[value.0][..]
            && reader < end.0
            && value != network.logits()
        {
            let reader = StepId(reader);
            let step = network.step(reader);
            if !reads_alone(step, value) {
                break;
            }
            let traits = step.op.traits(&network.step_params(reader));
            match (traits.role, traits.monotone) {
                (Role::MaxPooling(_), _) if pool.is_none() && found.is_none() => {
                    pool = Some(steps.len());
                }
                (_, Monotone::No) => break,
                (_, monotone) => exact &= monotone == Monotone::Exact,
            }
            steps.push(reader);
            value = step.output;
            match traits.signs {
                Signs::Makes => found = Some((steps.len(), value, exact)),
                Signs::Keeps if found.is_some() => found = Some((steps.len(), value, exact)),
                Signs::Keeps | Signs::No if found.is_some() => break,
                Signs::Keeps | Signs::No => {}
            }
        }
        let (count, output, exact) = found?;
        steps.truncate(count);
        Some(Self {
            steps,
            pool,
            exact,
            output,
        })
    }

    /// The windows of its pooling on planes of that size, if it has one; `None` if one of them lies in
    /// the padding altogether.
    pub fn pool_windows(
        &self,
        network: &Network,
        plane: [usize; 2],
    ) -> Option<Option<PoolWindows>> {
        let Some(pool) = self.pool else {
            return Some(None);
        };
        let Role::MaxPooling(pool) = network.step(self.steps[pool]).op.traits(&[]).role else {
            return None;
        };
        let windows = pool.max_windows(plane)?;
        let full = |spans: &[Vec<usize>]| spans.iter().all(|s| !s.is_empty());
        (full(&windows.rows) && full(&windows.columns)).then_some(Some(windows))
    }

    /// What becomes of a binary layer's sums, found by computing the chain at integers. `None` if it
    /// is not one threshold (or two, with 0 between them) for each filter.
    pub fn of_sums(
        &self,
        network: &Network,
        form: &ConvolutionForm,
        layer: &PackedLayer,
    ) -> Option<Thresholds> {
        let channels = layer.scale.len();
        let most = i64::try_from(form.fan_in()).ok()?;
        let all = self.steps.len();
        let rank = form.output.len();
        let at = |sums: &[i64], steps: usize| {
            let affine = layer.scale.iter().zip(&layer.bias);
            let y = sums.iter().zip(affine).map(|(&n, (s, b))| s * n as f32 + b);
            self.values(network, y.collect(), rank, steps)
        };
        if let Some(pool) = self.pool {
            // The largest sum must give the largest value where pooling chooses.
            let falling = bisection::falling(|sums| at(sums, pool), channels, most)?;
            if falling.contains(&true) {
                return None;
            }
        }
        let rising = Rising::of(channels, most, |sums| at(sums, all))?;
        let narrow =
            |v: &[i64]| -> Option<Vec<i16>> { v.iter().map(|&v| i16::try_from(v).ok()).collect() };
        Some(Thresholds {
            not_negative: narrow(&rising.first(|v| v >= 0.0)?)?,
            positive: narrow(&rising.first(|v| v >= 1.0)?)?,
            direction: narrow(&rising.direction)?,
        })
    }

    /// What becomes of the output of a layer in single precision, `channels` and `rank` being its
    /// output's, found by computing the chain at floats. `None` if it is not one threshold (or two)
    /// for each filter.
    pub fn of_floats(
        &self,
        network: &Network,
        channels: usize,
        rank: usize,
    ) -> Option<FloatThresholds> {
        if !self.exact {
            return None;
        }
        let most = key_of_float(LARGEST);
        let all = self.steps.len();
        let at = |keys: &[i64], steps: usize| {
            let y = keys.iter().map(|&k| float_of_key(k));
            self.values(network, y.collect(), rank, steps)
        };
        if let Some(pool) = self.pool {
            let falling = bisection::falling(|keys| at(keys, pool), channels, most)?;
            if falling.contains(&true) {
                return None;
            }
        }
        let rising = Rising::of(channels, most, |keys| at(keys, all))?;
        let find = |least: f32| -> Option<Vec<f32>> {
            let found = rising.first(|v| v >= least)?;
            let float = |u: i64| match u {
                u if u > most => f32::NAN,
                u if u == -most => f32::NEG_INFINITY,
                u => float_of_key(u),
            };
            Some(found.into_iter().map(float).collect())
        };
        Some(FloatThresholds {
            not_negative: find(0.0)?,
            positive: find(1.0)?,
            direction: rising.direction.iter().map(|&d| d as f32).collect(),
        })
    }

    /// What its first `count` steps make of one output `y` of the layer for each filter, the pooling
    /// left out. `None` if it is not finite.
    fn values(
        &self,
        network: &Network,
        y: Vec<f32>,
        rank: usize,
        count: usize,
    ) -> Option<Vec<f32>> {
        let mut shape = vec![1; rank];
        *shape.get_mut(1)? = y.len();
        let mut x = ArrayD::from_shape_vec(shape, y).ok()?;
        for (i, &step) in self.steps.iter().enumerate().take(count) {
            if Some(i) == self.pool {
                continue;
            }
            let step = network.step(step);
            let inputs: Vec<&ArrayD<f32>> = step
                .inputs
                .iter()
                .map(|i| match i {
                    Input::Param(p) => &network.param(*p).value,
                    Input::Value(_) | Input::Binary(_) => &x,
                })
                .collect();
            let (y, _) = step.op.forward(&inputs).ok()?;
            if y.shape() != x.shape() || y.iter().any(|v| !v.is_finite()) {
                return None;
            }
            x = y;
        }
        Some(slice(&x).to_vec())
    }
}

/// Whether `value` is the only thing that depends on the data among what a step reads, once.
fn reads_alone(step: &Step, value: ValueId) -> bool {
    let data = |i: &&Input| !matches!(i, Input::Param(_));
    let mut data = step.inputs.iter().filter(data);
    data.next() == Some(&Input::Value(value)) && data.next().is_none()
}

/// Beyond this no output of a layer is looked at.
const LARGEST: f32 = FloatThresholds::LARGEST;
