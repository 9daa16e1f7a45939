//! Random variation of training images, and the order in which they are seen.

use ndarray_rand::rand::seq::SliceRandom;
use ndarray_rand::rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

pub(super) use super::variation::{Colours, Cut};

/// What may be varied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Augment {
    /// Mirror left to right with probability 1/2.
    pub flip: bool,
    /// Pad with this many black pixels on each side and cut the original size out at random.
    pub crop_padding: usize,
    /// Cut out a part of random size and shape, of at least this share of the image's area, and make it the
    /// network's size (0 < share < 1); of an image in a file, the part is cut before anything is resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_crop: Option<f32>,
    /// Multiply brightness, contrast and saturation by numbers from 1 - this to 1 + this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour_jitter: Option<f32>,
}

impl Augment {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The variation of one epoch: a pure function of seed, epoch and the image's index.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    /// What may be varied.
    pub augment: Augment,
    /// The run's seed.
    pub seed: u64,
    /// Counts the passes over the data.
    pub epoch: u64,
}

/// All that is done to one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Varied {
    pub cut: Option<Cut>,
    pub shift: Shift,
    pub colours: Option<Colours>,
}

/// The variation of one image: output pixel (y, x) is stored pixel (y + dy, x' + dx) with x'
/// mirrored where `flip`, and black outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    pub flip: bool,
    pub dy: isize,
    pub dx: isize,
}

impl Augmentation {
    /// What is done to image `index`.
    pub(super) fn of(&self, index: usize) -> Varied {
        // Streams of their own: an image is moved alike whatever else is done to it.
        let rng = |purpose: u64| {
            let parts = [self.seed, self.epoch, index as u64, purpose];
            ChaCha12Rng::seed_from_u64(mix(&parts))
        };
        Varied {
            cut: self
                .augment
                .random_crop
                .map(|least| Cut::random(least, &mut rng(1))),
            shift: self.shift(index),
            colours: self
                .augment
                .colour_jitter
                .map(|s| Colours::random(s, &mut rng(2))),
        }
    }

    /// How image `index` is moved.
    pub(super) fn shift(&self, index: usize) -> Shift {
        let mut rng = ChaCha12Rng::seed_from_u64(mix(&[self.seed, self.epoch, index as u64]));
        let flip = self.augment.flip && rng.random_bool(0.5);
        let padding = self.augment.crop_padding.min(1 << 16) as i32;
        let mut offset = || rng.random_range(-padding..=padding) as isize;
        Shift {
            flip,
            dy: offset(),
            dx: offset(),
        }
    }
}

/// A seeded permutation of `indices` for one epoch.
pub fn epoch_order(indices: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
    let mut order = indices.to_vec();
    // The constant keeps this stream apart from that of an image's variation.
    let mut rng = ChaCha12Rng::seed_from_u64(mix(&[seed, epoch, 0x0bde_5000_0000_0001]));
    order.shuffle(&mut rng);
    order
}

/// One seed out of several numbers (the finaliser of SplitMix64, chained).
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_seeded_permutation() {
        let indices: Vec<usize> = (10..110).collect();
        let first = epoch_order(&indices, 1, 0);
        assert_eq!(first, epoch_order(&indices, 1, 0));
        assert_ne!(first, epoch_order(&indices, 1, 1));
        assert_ne!(first, epoch_order(&indices, 2, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, indices);
    }

    #[test]
    fn shifts_cover_their_range_and_nothing_else() {
        let of = |augment| Augmentation {
            augment,
            seed: 7,
            epoch: 3,
        };
        let augmentation = of(Augment {
            flip: true,
            crop_padding: 2,
            ..Augment::default()
        });
        let shifts: Vec<Shift> = (0..400).map(|i| augmentation.shift(i)).collect();
        for offset in -2..=2 {
            assert!(shifts.iter().any(|s| s.dy == offset));
            assert!(shifts.iter().any(|s| s.dx == offset));
        }
        assert!(shifts.iter().all(|s| s.dx.abs() <= 2 && s.dy.abs() <= 2));
        let flips = shifts.iter().filter(|s| s.flip).count();
        assert!((150..250).contains(&flips), "{flips}");
        assert_eq!(of(Augment::default()).shift(5), Shift::default());
    }
}
