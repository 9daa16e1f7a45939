//! From floats to bits and back.

use std::sync::atomic::{AtomicBool, Ordering};

use super::disjoint::Disjoint;
use super::{Bits, PER_BYTE, bytes_of};
use crate::simd::wide;

/// Pixels that are packed together.
const STRIP: usize = 64;
/// Elements that a task packs at least, where there are so many.
const GRAIN: usize = 1 << 15;
/// Most tasks.
const MOST_TASKS: usize = 64;

/// Floats `[N, C, plane]` that become signs: +1 above a threshold, -1 below it, and at it what is said.
#[derive(Debug)]
pub struct Packing<'a> {
    x: &'a [f32],
    channels: usize,
    plane: usize,
    thresholds: &'a [f32],
    at: i8,
    out: [Disjoint<'a, u8>; 2],
    zeros: AtomicBool,
}

impl<'a> Packing<'a> {
    /// Of `x` `[N, C, plane]` with one threshold, or one for each channel, to `[N, plane, ⌈C/8⌉]` bytes of signs, and as
    /// many that say what is not 0. What is no number counts as below its threshold.
    ///
    /// # Panics
    /// If sizes do not fit.
    pub fn new(
        x: &'a [f32],
        [batch, channels, plane]: [usize; 3],
        (thresholds, at): (&'a [f32], i8),
        signs: &'a mut [u8],
        nonzero: &'a mut [u8],
    ) -> Self {
        assert_eq!(x.len(), batch * channels * plane, "size of a tensor");
        assert!(
            thresholds.len() == 1 || thresholds.len() == channels,
            "thresholds"
        );
        let bytes = batch * plane * bytes_of(channels);
        assert!(signs.len() == bytes && nonzero.len() == bytes, "signs");
        Self {
            x,
            channels,
            plane,
            thresholds,
            at,
            out: [signs, nonzero].map(Disjoint::new),
            zeros: AtomicBool::new(false),
        }
    }

    fn strips(&self) -> usize {
        let images = self.x.len().checked_div(self.channels * self.plane);
        images.unwrap_or(0) * self.plane.div_ceil(STRIP)
    }

    fn together(&self) -> usize {
        let tasks = (self.x.len() / GRAIN).clamp(1, MOST_TASKS);
        self.strips().div_ceil(tasks).max(1)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.strips().div_ceil(self.together())
    }

    /// Whether any is 0.
    pub fn has_zeros(&self) -> bool {
        self.zeros.load(Ordering::Relaxed)
    }

    /// Packs a task's pixels. Each task is to be computed by one thread; any number of tasks at once.
    pub fn run(&self, task: usize) {
        let from = task * self.together();
        let in_image = self.plane.div_ceil(STRIP);
        for strip in from..(from + self.together()).min(self.strips()) {
            let (image, first) = (strip / in_image, strip % in_image * STRIP);
            wide(|| self.strip(image, first, STRIP.min(self.plane - first)));
        }
    }

    #[inline(always)]
    fn strip(&self, image: usize, first: usize, count: usize) {
        let bytes = bytes_of(self.channels);
        for byte in 0..bytes {
            let (mut plus, mut nonzero) = ([0u8; STRIP], [0u8; STRIP]);
            let channels = byte * PER_BYTE..(byte * PER_BYTE + PER_BYTE).min(self.channels);
            for (bit, c) in channels.clone().enumerate() {
                let t = match self.thresholds {
                    [one] => *one,
                    each => each[c],
                };
                let x = &self.x[(image * self.channels + c) * self.plane + first..][..count];
                let mut whole = [0.0; STRIP];
                let x = match <&[f32; STRIP]>::try_from(x) {
                    Ok(x) => x,
                    Err(_) => {
                        whole[..count].copy_from_slice(x);
                        &whole
                    }
                };
                match self.at {
                    1.. => {
                        for (plus, x) in plus.iter_mut().zip(x) {
                            *plus |= u8::from(*x >= t) << bit;
                        }
                    }
                    ..0 => {
                        for (plus, x) in plus.iter_mut().zip(x) {
                            *plus |= u8::from(*x > t) << bit;
                        }
                    }
                    0 => {
                        for ((plus, nonzero), x) in plus.iter_mut().zip(&mut nonzero).zip(x) {
                            *plus |= u8::from(*x > t) << bit;
                            *nonzero |= u8::from(*x != t) << bit;
                        }
                    }
                }
            }
            let known = u8::MAX >> (PER_BYTE - channels.len());
            if self.at != 0 {
                nonzero = [known; STRIP];
            }
            let mut zeros = false;
            for (p, (plus, nonzero)) in plus.iter().zip(&nonzero).enumerate().take(count) {
                let place = (image * self.plane + first + p) * bytes + byte;
                // SAFETY: these channels of this pixel are this task's alone.
                unsafe {
                    self.out[0].slice(place, 1)[0] = *plus;
                    self.out[1].slice(place, 1)[0] = *nonzero;
                }
                zeros |= *nonzero != known;
            }
            if zeros {
                self.zeros.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Activations as floats `[N, C, H, W]`: ±1, and 0 where there is a second plane that says so.
///
/// # Panics
/// If sizes do not fit.
pub fn unpack(x: &Bits<'_>, y: &mut [f32]) {
    x.check();
    let (plane, bytes, pixel) = (x.height * x.width, bytes_of(x.channels), x.pixel());
    assert_eq!(y.len(), x.batch * x.channels * plane, "size of a tensor");
    for (row, y) in y.chunks_exact_mut(plane.max(1)).enumerate() {
        let (image, c) = (row / x.channels, row % x.channels);
        let from = image * x.image() + c / PER_BYTE;
        let bit = |byte: u8| byte >> (c % PER_BYTE) & 1;
        for (p, y) in y.iter_mut().enumerate() {
            let at = from + p * pixel;
            let nonzero = x.planes == 1 || bit(x.bytes[at + bytes]) == 1;
            *y = match (nonzero, bit(x.bytes[at])) {
                (false, _) => 0.0,
                (true, 1) => 1.0,
                (true, _) => -1.0,
            };
        }
    }
}
