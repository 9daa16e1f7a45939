//! From floats to bits and back.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disjoint::{Claims, Disjoint};
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
    what: What,
    out: Disjoint<'a, u8>,
    zeros: AtomicBool,
    claims: Claims<()>,
}

/// What becomes a 1.
#[derive(Debug, Clone, Copy)]
enum What {
    /// What is above the threshold, or at it.
    NotBelow,
    /// What is above it.
    Above,
    /// What is above it; what is at it, is noted.
    AboveOrZero,
    /// What is not at it.
    NotAt,
}

/// What is done with numbers that are at their threshold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Noted,
    Ignored,
}

impl<'a> Packing<'a> {
    /// The signs of `x` `[N, C, plane]` minus one threshold, or one for each channel, as `[N, plane, ⌈C/8⌉]` bytes; `at`
    /// is the sign of what is equal. If that is 0, and [`Packing::has_zeros`] then says so, the other plane is that of
    /// [`Packing::nonzero`]. What is no number counts as below its threshold.
    ///
    /// # Panics
    /// If sizes do not fit.
    pub fn signs(
        x: &'a [f32],
        shape: [usize; 3],
        thresholds: &'a [f32],
        at: i8,
        out: &'a mut [u8],
    ) -> Self {
        let what = match at {
            1.. => What::NotBelow,
            0 => What::AboveOrZero,
            ..0 => What::Above,
        };
        Self::new(x, shape, thresholds, what, out)
    }

    /// What is not equal to its threshold.
    ///
    /// # Panics
    /// As [`Packing::signs`].
    pub fn nonzero(
        x: &'a [f32],
        shape: [usize; 3],
        thresholds: &'a [f32],
        out: &'a mut [u8],
    ) -> Self {
        Self::new(x, shape, thresholds, What::NotAt, out)
    }

    fn new(
        x: &'a [f32],
        [batch, channels, plane]: [usize; 3],
        thresholds: &'a [f32],
        what: What,
        out: &'a mut [u8],
    ) -> Self {
        assert_eq!(x.len(), batch * channels * plane, "size of a tensor");
        assert!(
            thresholds.len() == 1 || thresholds.len() == channels,
            "thresholds"
        );
        assert_eq!(out.len(), batch * plane * bytes_of(channels), "signs");
        Self {
            x,
            channels,
            plane,
            thresholds,
            what,
            out: Disjoint::new(out),
            zeros: AtomicBool::new(false),
            claims: Claims::default(),
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

    /// Whether any sign is 0.
    pub fn has_zeros(&self) -> bool {
        self.zeros.load(Ordering::Relaxed)
    }

    /// Packs a task's pixels: each task once, any number of them at a time.
    ///
    /// # Panics
    /// If there is no such task, or it was computed before.
    pub fn run(&self, task: usize) {
        self.claims.begin(task, self.tasks(), ());
        let from = task * self.together();
        let strips = from..(from + self.together()).min(self.strips());
        wide(
            #[inline(always)]
            || self.some(strips),
        );
    }

    #[inline(always)]
    fn some(&self, strips: Range<usize>) {
        let in_image = self.plane.div_ceil(STRIP);
        let (mut from, bytes) = (strips.start, bytes_of(self.channels));
        while from < strips.end {
            let (image, first) = (from / in_image, from % in_image);
            let to = strips.end.min(from - first + in_image);
            // Eight planes at a time, each read on and on.
            for byte in 0..bytes {
                for strip in first..first + (to - from) {
                    let at = [image, strip * STRIP, byte];
                    // Constants make loops of vectors.
                    match self.what {
                        What::NotBelow => self.strip(at, |x, t| x >= t, Zeros::Ignored),
                        What::Above => self.strip(at, |x, t| x > t, Zeros::Ignored),
                        What::AboveOrZero => self.strip(at, |x, t| x > t, Zeros::Noted),
                        What::NotAt => self.strip(at, |x, t| x != t, Zeros::Ignored),
                    }
                }
            }
            from = to;
        }
    }

    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "several arrays at the same place"
    )]
    fn strip(
        &self,
        [image, first, byte]: [usize; 3],
        is_one: impl Fn(f32, f32) -> bool,
        at_threshold: Zeros,
    ) {
        let bytes = bytes_of(self.channels);
        let count = STRIP.min(self.plane - first);
        // As wide as what is compared.
        let (mut ones, mut zeros) = ([0i32; STRIP], [0i32; STRIP]);
        let channels = byte * PER_BYTE..(byte * PER_BYTE + PER_BYTE).min(self.channels);
        for (bit, c) in channels.enumerate() {
            let t = match self.thresholds {
                [one] => *one,
                each => each[c],
            };
            let x = &self.x[(image * self.channels + c) * self.plane + first..][..count];
            let mut padded = [f32::NAN; STRIP];
            let x = match <&[f32; STRIP]>::try_from(x) {
                Ok(x) => x,
                Err(_) => {
                    padded[..count].copy_from_slice(x);
                    &padded
                }
            };
            let bit = 1 << bit;
            for i in 0..STRIP {
                ones[i] |= if is_one(x[i], t) { bit } else { 0 };
            }
            if at_threshold == Zeros::Noted {
                for i in 0..STRIP {
                    zeros[i] |= if x[i] == t { 1 } else { 0 };
                }
            }
        }
        let mut narrow = [0u8; STRIP];
        for i in 0..STRIP {
            narrow[i] = ones[i] as u8;
        }
        let place = (image * self.plane + first) * bytes + byte;
        // SAFETY: these channels of these pixels are this task's alone.
        let out = unsafe { self.out.strided(place, bytes, count) };
        out.put(&narrow);
        if zeros.iter().fold(0, |all, zero| all | zero) != 0 {
            self.zeros.store(true, Ordering::Relaxed);
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
