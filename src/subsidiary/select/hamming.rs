//! Redundancy between channels: two whose signs agree nearly everywhere on data say the same, and so
//! do two that disagree nearly everywhere, as the consumers' weights have a sign as well. Of the
//! closest pair one goes, again and again; the score is the order in which they go. The distance is
//! that of Hamming on ±1 outputs, in the way of pruning by similarity of feature maps (Ayinde et al.,
//! "Redundant feature pruning for accelerated inference in deep neural networks", 2019).

use rayon::prelude::*;

use super::data::{Reading, places};
use super::{Rule, RuleContext, TrainError, by_removal};
use crate::arrays::slice;

/// Training images looked at.
const IMAGES: usize = 1_024;
/// Signs of a channel that are compared, at each place where it is read.
const SIGNS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Hamming;

impl Rule for Hamming {
    fn name(&self) -> &'static str {
        "hamming"
    }

    fn about(&self) -> &'static str {
        "Prune the filters whose ±1 outputs another one repeats, as they are or negated"
    }

    fn looks_at_outputs(&self) -> bool {
        true
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let filters = context.filters();
        let readings = context.readings();
        let images = context.span.images.len().clamp(1, IMAGES);
        let mut signs: Vec<Signs> = readings.iter().map(|r| Signs::new(r, filters)).collect();
        context.look(&readings, IMAGES, |seen| {
            let (x, planes) = (slice(seen.x), seen.planes);
            let signs = &mut signs[seen.reading];
            let total = planes.outer * signs.each * planes.inner;
            for image in 0..seen.images {
                let turn = context.turn(seen.first + image);
                for place in places(total, SIGNS.div_ceil(images), turn) {
                    let (plane, at) = (place / planes.inner, place % planes.inner);
                    let row = image * planes.outer + plane / signs.each;
                    let start = row * planes.channels * planes.inner + at;
                    signs.push(plane % signs.each, |i| x[start + i * planes.inner] > 0.0);
                }
            }
        })?;
        let read = |f: &usize| signs.iter().any(|s| s.read[*f]);
        // What nobody reads goes first.
        let mut order: Vec<usize> = (0..filters).rev().filter(|f| !read(f)).collect();
        let there: Vec<usize> = (0..filters).filter(read).collect();
        let far = distances(&signs, &there);
        order.extend(removals(&far, there.len()).into_iter().map(|i| there[i]));
        Ok(by_removal(&order))
    }
}

/// Signs of each channel at the same places.
struct Signs {
    /// For each channel its indices along the axis.
    indices: Vec<Vec<usize>>,
    /// How many these are.
    each: usize,
    /// The channels that are there.
    read: Vec<bool>,
    /// Of each channel, 64 signs a word.
    words: Vec<Vec<u64>>,
    count: usize,
}

impl Signs {
    fn new(reading: &Reading, filters: usize) -> Self {
        let indices = reading.indices(filters);
        let each = indices.iter().map(Vec::len).max().unwrap_or(0);
        // One that is read in fewer places than the others has none that go with theirs.
        let read = indices.iter().map(|i| i.len() == each && each > 0);
        Self {
            read: read.collect(),
            each,
            words: vec![Vec::new(); filters],
            count: 0,
            indices,
        }
    }

    /// Adds the sign of each channel at its index number `k`.
    fn push(&mut self, k: usize, positive: impl Fn(usize) -> bool) {
        let (word, bit) = (self.count / 64, self.count % 64);
        for ((words, indices), &read) in self.words.iter_mut().zip(&self.indices).zip(&self.read) {
            if !read {
                continue;
            }
            if words.len() <= word {
                words.push(0);
            }
            words[word] |= u64::from(positive(indices[k])) << bit;
        }
        self.count += 1;
    }
}

/// For each pair of the channels `there` how far they are from saying the same: the smaller one of the
/// shares in which they agree and disagree, row by row.
fn distances(signs: &[Signs], there: &[usize]) -> Vec<f32> {
    let apart = |a: usize, b: usize| {
        let (mut differ, mut all) = (0usize, 0usize);
        for s in signs.iter().filter(|s| s.read[a] && s.read[b]) {
            let pairs = s.words[a].iter().zip(&s.words[b]);
            differ += pairs
                .map(|(x, y)| (x ^ y).count_ones() as usize)
                .sum::<usize>();
            all += s.count;
        }
        match all {
            0 => 1.0,
            all => differ.min(all - differ) as f32 / all as f32,
        }
    };
    let rows = there.par_iter();
    rows.flat_map_iter(|&a| there.iter().map(move |&b| apart(a, b)))
        .collect()
}

/// The order in which channels go: of the closest pair the one that is closer to a third, else the one
/// behind.
fn removals(distances: &[f32], count: usize) -> Vec<usize> {
    let far = |a: usize, b: usize| distances[a * count + b];
    let closest = |alive: &[bool], a: usize, but: usize| {
        let others = (0..count).filter(|&b| alive[b] && b != a && b != but);
        others.min_by(|&b, &c| far(a, b).total_cmp(&far(a, c)))
    };
    let mut alive = vec![true; count];
    let mut nearest: Vec<Option<usize>> = (0..count).map(|a| closest(&alive, a, a)).collect();
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        let pairs = (0..count).filter(|&a| alive[a]);
        let pairs = pairs.filter_map(|a| Some((a, nearest[a]?)));
        let pair = pairs.min_by(|&(a, b), &(c, d)| far(a, b).total_cmp(&far(c, d)));
        let goes = match pair {
            Some((a, b)) => {
                let third = |x: usize, y: usize| closest(&alive, x, y).map_or(0.0, |z| far(x, z));
                let (low, high) = (a.min(b), a.max(b));
                if third(low, high) < third(high, low) {
                    low
                } else {
                    high
                }
            }
            // The last one.
            None => match alive.iter().position(|&there| there) {
                Some(last) => last,
                None => break,
            },
        };
        alive[goes] = false;
        order.push(goes);
        for a in (0..count).filter(|&a| alive[a]) {
            if nearest[a] == Some(goes) {
                nearest[a] = closest(&alive, a, a);
            }
        }
    }
    order
}
