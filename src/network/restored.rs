//! A BatchNormalization that was put back, in the form that the file has for it.

use ndarray::ArrayD;

use super::form::{AbsorbedStep, Ending, Form, Place};
use super::graph::Network;
use super::hidden_norm::norm_at;
use super::param::ParamId;
use crate::arrays::array;
use crate::ops::Arithmetic;

/// How far a threshold may be from the file's to count as not moved, in units of (1 + its size): what
/// putting back and writing rounds.
const MOVED: f64 = 1e-4;
/// Scales stay this share of the file's at least.
const LEAST: f64 = 1e-6;
/// Thresholds are kept within this.
const MOST: f64 = 1e6;

/// A BatchNormalization that was put back behind a binary layer.
#[derive(Debug, Clone)]
pub(super) struct RestoredNorm {
    pub form: Form,
    pub gamma: ParamId,
    pub beta: ParamId,
    pub mean: ParamId,
    pub variance: ParamId,
}

/// What a put-back BatchNormalization amounts to in the file's form.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// What each filter's ±1 weights are multiplied with, if constant weights may have changed; the
    /// factor may be negative.
    pub scales: Option<Vec<f32>>,
    /// Constants with new values, and the places that read them.
    pub constants: Vec<(ArrayD<f32>, Vec<Place>)>,
    /// What is to be added to the layer's output, where nothing is so far.
    pub added: Option<ArrayD<f32>>,
}

impl RestoredNorm {
    /// The file's form of what the network has learned. What did not move is left out.
    pub(super) fn written(&self, network: &Network) -> Written {
        match &self.form.ending {
            Ending::Open => self.scaled(network),
            Ending::Binarised { threshold, zero } => self.thresholds(network, threshold, *zero),
        }
    }

    /// In front of a binariser: a threshold for each filter, and filters turned around.
    fn thresholds(&self, network: &Network, threshold: &[f32], zero: i8) -> Written {
        let place = self.form.place();
        let filters = self.form.weights.filters();
        let (mut scales, mut values) = (Vec::new(), Vec::new());
        let mut moved = false;
        let integers = self.form.counts_integers(place);
        for (f, &t) in threshold.iter().enumerate().take(filters) {
            let layer = self.form.weights.affine(f);
            let [before, behind] = self.form.around(place, layer, f, None);
            let t = f64::from(t);
            let now = self.form.added_now(place, f);
            let (slope, shift, mean) = norm_at(network, self, f);
            let target = (t - behind.shift) / behind.factor - before.shift;
            if before.factor == 0.0 {
                // A filter without weights: what is added alone decides.
                let constant = shift - slope * mean - t;
                let side = constant * behind.factor.signum();
                let new = target + side;
                moved |= (now - target).signum() != side.signum();
                scales.push(0.0);
                values.push(new as f32);
                continue;
            }
            // The sum at which the binariser turns, in the network and in the file.
            let rises = before.factor * behind.factor > 0.0;
            let crossing = match slope {
                0.0 => -MOST * (shift - t).signum() * if rises { 1.0 } else { -1.0 },
                slope => (mean - (shift - t) / slope).clamp(-MOST, MOST),
            };
            let was = self.form.crossing(f, t);
            let turned = slope != 0.0 && (slope > 0.0) != rises && self.form.weights.absorbed();
            moved |= turned || (crossing - was).abs() > MOVED * (1.0 + was.abs());
            let mut at = if turned { -crossing } else { crossing };
            if integers {
                at = match (zero * if rises { 1 } else { -1 }, self.form.halves(place)) {
                    (1.., false) => at.ceil(),
                    (..=-1, false) => at.floor(),
                    _ => at.floor() + 0.5,
                };
            }
            scales.push((if turned { -layer.factor } else { layer.factor }) as f32);
            values.push((target - before.factor * at) as f32);
        }
        let mut written = Written {
            scales: self.form.weights.absorbed().then_some(scales),
            ..Written::default()
        };
        if moved {
            self.form.add(&mut written, place, values);
        }
        written
    }

    /// In front of something to which the size matters: a scale and a shift.
    fn scaled(&self, network: &Network) -> Written {
        let place = self.form.place();
        let multiplies = |s: &AbsorbedStep| !s.adds();
        let factor_at = self.form.steps.iter().position(multiplies);
        let filters = self.form.weights.filters();
        let (mut scales, mut factors, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for f in 0..filters {
            let layer = self.form.weights.affine(f);
            let (slope, shift, mean) = norm_at(network, self, f);
            let constant = shift - slope * mean;
            let whole = self.form.steps.iter().fold(layer, |a, s| s.behind(a, f));
            let (mut new_layer, mut step_constant) = (layer, None);
            if layer.factor != 0.0 {
                // By how much more than in the file sums are multiplied.
                let more = slope / whole.factor;
                // A factor of 0 leaves nothing to be shifted.
                let more = if more == 0.0 { LEAST } else { more };
                match factor_at {
                    Some(i) => {
                        let c = f64::from(self.form.steps[i].values[f]);
                        let c = match self.form.steps[i].op {
                            Arithmetic::Div => c / more,
                            _ => c * more,
                        };
                        step_constant = Some((i, c));
                    }
                    None => new_layer.factor *= more,
                }
            }
            let [before, behind] = self.form.around(place, new_layer, f, step_constant);
            scales.push(new_layer.factor as f32);
            if let Some(i) = factor_at {
                let kept = f64::from(self.form.steps[i].values[f]);
                factors.push(step_constant.map_or(kept, |(_, c)| c) as f32);
            }
            values.push(((constant - behind.shift) / behind.factor - before.shift) as f32);
        }
        let mut written = Written::default();
        if let Some(i) = factor_at {
            let step = &self.form.steps[i];
            if !close(&factors, &step.values) {
                let shape = step.shape_by_channel(filters);
                let value = array(&shape, factors);
                written.constants.push((value, vec![step.place]));
            }
        }
        let now: Vec<f32> = (0..filters)
            .map(|f| self.form.added_now(place, f) as f32)
            .collect();
        if !close(&values, &now) {
            self.form.add(&mut written, place, values);
        }
        written.scales = Some(scales);
        written
    }
}

/// Equal up to the rounding of a few operations.
pub(super) fn close<'a>(
    a: impl IntoIterator<Item = &'a f32>,
    b: impl IntoIterator<Item = &'a f32>,
) -> bool {
    a.into_iter()
        .zip(b)
        .all(|(a, b)| (a - b).abs() <= 1e-5 * (a.abs().max(b.abs()) + 1e-3))
}
