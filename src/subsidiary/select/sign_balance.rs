//! The entropy of a channel's sign on data: what is nearly always +1, or nearly always -1, tells its
//! consumers next to nothing of the image. For each position the entropy over the images (Luo and Wu,
//! "An Entropy-based Pruning Method for CNN Compression", 2017, on binary activations), averaged over
//! the positions.

use super::{Rule, RuleContext, TrainError};
use crate::arrays::slice;

/// Training images looked at.
const IMAGES: usize = 1_024;

#[derive(Debug)]
pub(super) struct SignBalance;

impl Rule for SignBalance {
    fn name(&self) -> &'static str {
        "sign-balance"
    }

    fn about(&self) -> &'static str {
        "Prune the filters whose ±1 outputs vary least from image to image"
    }

    fn looks_at_outputs(&self) -> bool {
        true
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let readings = context.readings();
        // For each element of a sample: on how many images it is positive.
        let mut positive: Vec<Vec<u32>> = vec![Vec::new(); readings.len()];
        let (mut images, mut inner) = (0, vec![1; readings.len()]);
        context.look(&readings, IMAGES, |seen| {
            let x = slice(seen.x);
            let size = x.len() / seen.images.max(1);
            let counts = &mut positive[seen.reading];
            counts.resize(size, 0);
            for sample in x.chunks_exact(size.max(1)) {
                for (count, &v) in counts.iter_mut().zip(sample) {
                    *count += u32::from(v > 0.0);
                }
            }
            images = seen.first + seen.images;
            inner[seen.reading] = seen.planes.inner.max(1);
        })?;
        let mut sums = vec![(0.0, 0usize); context.filters()];
        for ((reading, counts), inner) in readings.iter().zip(&positive).zip(inner) {
            let filters = reading.filter_of.iter().cycle();
            for (plane, filter) in counts.chunks(inner).zip(filters) {
                let Some((sum, count)) = filter.and_then(|f| sums.get_mut(f)) else {
                    continue;
                };
                *sum += plane.iter().map(|&n| entropy(n, images)).sum::<f64>();
                *count += plane.len();
            }
        }
        let mean = |(sum, count): (f64, usize)| sum / count.max(1) as f64;
        Ok(sums.into_iter().map(mean).collect())
    }
}

/// Bits that a sign which is positive `n` times of `all` tells.
fn entropy(n: u32, all: usize) -> f64 {
    let p = f64::from(n) / all.max(1) as f64;
    let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    part(p) + part(1.0 - p)
}
