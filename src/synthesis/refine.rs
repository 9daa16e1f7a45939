//! Images that follow the gradient of a network's input.

use std::sync::Arc;

use ndarray::{Array4, ArrayD, Axis, Zip};
use rayon::prelude::*;

use super::Request;
use super::dead_leaves::blurred;
use crate::arrays::array;
use crate::data::Preprocess;
use crate::engine::{Boundary, Mode, Plan, RunError, Weights};
use crate::graph::NodeId;
use crate::network::Network;
use crate::training::loss::cross_entropy;

/// How often a batch of images is changed.
const STEPS: usize = 20;
/// By how much a pixel changes in a step, at first; 1 is from black to white.
const RATE: f32 = 0.03;
/// How much the stored statistics weigh beside the class.
const STATISTICS: f32 = 10.0;
/// Decay of the gradients' running mean and of their squares' (Kingma and Ba, *Adam*, 2015).
const MOMENTUM: [f32; 2] = [0.9, 0.99];

/// A network whose input is changed.
#[derive(Debug)]
pub(super) struct Refiner<'a> {
    network: Network,
    weights: Arc<Weights>,
    plan: Plan,
    preprocess: &'a Preprocess,
    classes: usize,
}

impl<'a> Refiner<'a> {
    /// `stored`: see [`Network::match_statistics`].
    pub fn new(
        mut network: Network,
        stored: &[NodeId],
        preprocess: &'a Preprocess,
        request: &Request,
    ) -> Self {
        network.match_statistics(STATISTICS, stored);
        let mode = Mode {
            input: true,
            ..Mode::default()
        };
        Self {
            plan: Plan::new(&network, network.all(), mode),
            weights: Arc::new(Weights::new(&network)),
            network,
            preprocess,
            classes: request.classes,
        }
    }

    /// Changes images `[N, C, H, W]`, channels as the model has them, of which the first is image
    /// number `first`.
    pub fn refine(&self, images: &mut Array4<f32>, first: usize) -> Result<(), RunError> {
        let count = images.len_of(Axis(0));
        let labels: Vec<usize> = (first..first + count).map(|i| i % self.classes).collect();
        let mut momentum = Array4::<f32>::zeros(images.raw_dim());
        let mut squares = momentum.clone();
        for step in 0..STEPS {
            let Some(gradient) = self.gradient(images, &labels)? else {
                return Ok(());
            };
            let t = (step + 1) as i32;
            let [unbias, unbias_squares] = MOMENTUM.map(|m| 1.0 / (1.0 - m.powi(t)));
            let rate = RATE * (1.0 - step as f32 / STEPS as f32);
            Zip::from(&mut *images)
                .and(&mut momentum)
                .and(&mut squares)
                .and(&gradient)
                .par_for_each(|x, m, s, &g| {
                    *m += (1.0 - MOMENTUM[0]) * (g - *m);
                    *s += (1.0 - MOMENTUM[1]) * (g * g - *s);
                    let change = *m * unbias / ((*s * unbias_squares).sqrt() + 1e-12);
                    *x = (*x - rate * change).clamp(0.0, 1.0);
                });
        }
        Ok(())
    }

    /// The gradient of the images, smoothed: what the network's first layers make of single pixels is
    /// not what they were trained to see.
    fn gradient(
        &self,
        images: &Array4<f32>,
        labels: &[usize],
    ) -> Result<Option<Array4<f32>>, RunError> {
        let boundary = Boundary::start(&self.network, input(images, self.preprocess))?;
        let trace = self.plan.forward(&self.network, &self.weights, &boundary)?;
        let Some(logits) = trace.value(self.network.logits()) else {
            return Ok(None);
        };
        let mut loss = cross_entropy(logits, labels);
        // That of each image; the statistics' has the same size.
        loss.grad *= labels.len() as f32;
        let gradients = self.plan.backward(&self.network, trace, loss.grad)?;
        Ok(gradients.input().map(|g| self.of_images(g, images)))
    }

    /// From the gradient of the network's input to that of the images.
    fn of_images(&self, gradient: &ArrayD<f32>, images: &Array4<f32>) -> Array4<f32> {
        let (n, c, h, w) = images.dim();
        let last = self.preprocess.layout.has_channels_last();
        let position = |i: usize, k: usize, y: usize, x: usize| match last {
            true => ((i * h + y) * w + x) * c + k,
            false => ((i * c + k) * h + y) * w + x,
        };
        let values = gradient.as_slice().unwrap_or_default();
        let slopes: Vec<f32> = (0..c).map(|k| slope(self.preprocess, k)).collect();
        let mut out = Array4::from_shape_fn((n, c, h, w), |(i, k, y, x)| {
            slopes[k]
                * values
                    .get(position(i, k, y, x))
                    .copied()
                    .unwrap_or_default()
        });
        out.axis_iter_mut(Axis(0))
            .into_par_iter()
            .for_each(|mut g| {
                let smooth = blurred(&g.to_owned());
                g.assign(&smooth);
            });
        out
    }
}

/// By how much channel `c` of the input grows from black to white.
fn slope(preprocess: &Preprocess, c: usize) -> f32 {
    let table = preprocess.table(c);
    table[255] - table[0]
}

/// A network's input for images `[N, C, H, W]` of 0 to 1, channels as the model has them.
pub(super) fn input(images: &Array4<f32>, preprocess: &Preprocess) -> ArrayD<f32> {
    let mut x = images.clone();
    for (c, mut channel) in x.axis_iter_mut(Axis(1)).enumerate() {
        let (black, slope) = (preprocess.table(c)[0], slope(preprocess, c));
        channel.mapv_inplace(|v| black + slope * v);
    }
    let (n, c, h, w) = x.dim();
    let x = match preprocess.layout.has_channels_last() {
        true => x.permuted_axes([0, 2, 3, 1]),
        false => x,
    };
    array(
        &preprocess.layout.batch_shape(n, [c, h, w]),
        x.iter().copied().collect(),
    )
}
