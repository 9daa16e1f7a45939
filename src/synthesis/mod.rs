//! Images made from a network itself, for where there are no data.
//!
//! Each starts as a picture of shapes that cover each other (dead leaves) and is changed, by the
//! gradient of the network's input, until the network takes it for one of its classes, all classes
//! alike, and the tensors in front of its BatchNormalizations have the mean and variance that these
//! store (Yin et al., *Dreaming to Distill*, CVPR 2020). They have no labels: what a network learns
//! from them is to answer like the original.

mod dead_leaves;
mod refine;

use ndarray::{Array4, Axis};
use rayon::prelude::*;

use crate::data::{Dataset, Pixels, Preprocess};
use crate::engine::Boundary;
use crate::network::Network;
use crate::progress::Observer;
use crate::training::{RestoreError, restore_norms};

use dead_leaves::dead_leaves;
use refine::{Refiner, input};

/// Images that are changed together, at most; their statistics are those that are matched.
const BATCH: usize = 100;
/// Values of a batch, about: large images are changed a few at a time.
const VALUES: usize = BATCH * 4 * 3 * 32 * 32;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Images.
    pub count: usize,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// Classes that the network tells apart.
    pub classes: usize,
    /// Seed of everything random.
    pub seed: u64,
}

/// Images for `network`, as pixels that `preprocess` makes its input of. The same request and network
/// give the same images.
///
/// # Errors
/// If images of that shape do not fit the network.
pub fn synthesise(
    network: &Network,
    preprocess: &Preprocess,
    request: &Request,
    observer: &dyn Observer,
) -> Result<Dataset, RestoreError> {
    let [c, h, w] = request.shape;
    let size = (VALUES / (c * h * w).max(1)).clamp(2, BATCH);
    let stored = network.normalization_nodes();
    let mut network = network.clone();
    // Where thresholds hide BatchNormalizations: how large what is compared with them is.
    let start = input(&drawn(request, 0, size), preprocess);
    let start = Boundary::start(&network, start)?;
    restore_norms(&mut network, [start])?;
    let refiner = Refiner::new(network, &stored, preprocess, request);
    let mut pixels = Array4::<u8>::zeros((request.count, c, h, w));
    observer.begin("making images", request.count as u64);
    for (number, mut batch) in pixels.axis_chunks_iter_mut(Axis(0), size).enumerate() {
        if observer.cancelled() {
            break;
        }
        let first = number * size;
        let mut images = drawn(request, first, batch.len_of(Axis(0)));
        refiner.refine(&mut images, first)?;
        for (channel, image) in images.axis_iter(Axis(1)).enumerate() {
            let mut stored = batch.index_axis_mut(Axis(1), preprocess.stored_channel(channel, c));
            stored.zip_mut_with(&image, |to, &from| {
                *to = (255.0 * from).round().clamp(0.0, 255.0) as u8;
            });
        }
        observer.advance(batch.len_of(Axis(0)) as u64);
    }
    observer.end();
    Ok(Dataset {
        images: Pixels::U8(pixels),
        labels: None,
        classes: Vec::new(),
        source: "synthetic".into(),
        skipped: Vec::new(),
    })
}

/// Images as they start, `[count, C, H, W]`, of which the first is image number `first`.
fn drawn(request: &Request, first: usize, count: usize) -> Array4<f32> {
    let [c, h, w] = request.shape;
    let mut images = Array4::zeros((count, c, h, w));
    images
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .enumerate()
        .for_each(|(i, mut image)| {
            image.assign(&dead_leaves(request.shape, request.seed, first + i));
        });
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Inference;
    use crate::onnx::Model;
    use crate::pipeline::View;
    use crate::progress::Silent;

    /// How far the statistics of some images are from those stored, and how many of them the network
    /// takes for the class that they are to be of.
    fn judged(network: &Network, set: &Dataset, pre: &Preprocess) -> (f64, usize) {
        let all: Vec<usize> = (0..set.len()).collect();
        let x = set.batch(&all, pre).unwrap();
        let logits = Inference::of(network).infer(x.clone()).unwrap();
        let best = |row: ndarray::ArrayViewD<'_, f32>| {
            let scores = row.iter().enumerate();
            scores.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
        };
        let right = logits.outer_iter().enumerate();
        let right = right.filter(|(i, row)| best(row.view()) == i % 10).count();
        let mut measured = network.clone();
        let start = crate::engine::Boundary::start(network, x).unwrap();
        crate::training::reestimate_running_statistics(
            &mut measured,
            [start],
            crate::network::StepId(0),
            &crate::distributed::Alone,
        )
        .unwrap();
        let moments = network.params().iter().zip(measured.params());
        let mut off = Vec::new();
        for (stored, found) in moments {
            if stored.kind == crate::ops::ParamKind::RunningMean {
                let pairs = stored.value.iter().zip(&found.value);
                off.extend(pairs.map(|(a, b)| f64::from((a - b).abs())));
            }
        }
        (off.iter().sum::<f64>() / off.len() as f64, right)
    }

    #[test]
    fn images_get_classes_and_the_stored_statistics() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits_vgg.onnx");
        let model = Model::load(&path).unwrap().proto;
        let view = View::new(&path, &model).unwrap();
        let network = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let pre = Preprocess {
            channels: crate::data::Channels::Gray,
            ..Preprocess::default()
        };
        let request = Request {
            count: 100,
            shape: [1, 8, 8],
            classes: 10,
            seed: 0,
        };
        let made = synthesise(&network, &pre, &request, &Silent).unwrap();
        let mut before = made.clone();
        before.images = Pixels::U8(Array4::from_shape_fn((100, 1, 8, 8), |(i, c, y, x)| {
            (255.0 * dead_leaves([1, 8, 8], 0, i)[[c, y, x]]) as u8
        }));
        let (off_before, right_before) = judged(&network, &before, &pre);
        let (off, right) = judged(&network, &made, &pre);
        assert!(
            right >= 80 && right > 2 * right_before,
            "{right_before} to {right}"
        );
        assert!(off < 0.8 * off_before, "{off_before} to {off}");
    }
}
