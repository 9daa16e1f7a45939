//! From the sums of a convolution of bits to floats.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::convolution::Affine;
use super::disjoint::{Claims, Disjoint};
use super::job::{Job, STRIP, Work};
use super::tile::{LANES, Mask, ROWS, Tile};
use super::windows::Windows;
use super::{PER_BYTE, bytes_of};
use crate::simd::wide;
use crate::transpose::transpose_words;

/// Where floats go.
#[derive(Debug)]
pub struct Floats<'a> {
    affine: &'a Affine,
    residual: Option<&'a [f32]>,
    y: Disjoint<'a, f32>,
    signs: Option<Disjoint<'a, u8>>,
    zeros: AtomicBool,
    claims: Claims<Work>,
}

impl<'a> Floats<'a> {
    /// Floats `y` `[N, O, OH, OW]`, with a tensor of that shape added to them, if one is given.
    pub fn new(affine: &'a Affine, residual: Option<&'a [f32]>, y: &'a mut [f32]) -> Self {
        Self {
            affine,
            residual,
            y: Disjoint::new(y),
            signs: None,
            zeros: AtomicBool::new(false),
            claims: Claims::default(),
        }
    }

    /// And their signs, as [`Bits`](super::Bits) of one plane. The other one, if there are zeros, is to be packed of the floats.
    pub fn with_signs(mut self, signs: &'a mut [u8]) -> Self {
        self.signs = Some(Disjoint::new(signs));
        self
    }

    /// Whether any was 0, of those computed with signs.
    pub fn has_zeros(&self) -> bool {
        self.zeros.load(Ordering::Relaxed)
    }
}

impl Job<'_> {
    /// Elements of [`Job::floats`], `[N, O, OH, OW]`.
    pub fn floats_len(&self) -> usize {
        self.x.batch * self.plane() * self.filters()
    }

    /// Computes a task's floats, as [`Job::signs`] does signs.
    ///
    /// # Panics
    /// If anything in `to` has another size, or as [`Job::signs`].
    pub fn floats(&self, task: usize, to: &Floats<'_>) {
        let len = self.floats_len();
        assert_eq!(to.y.len(), len, "floats");
        assert!(to.residual.is_none_or(|r| r.len() == len), "what is added");
        assert!(to.affine.fits(self.filters()), "numbers of filters");
        let signs = to.signs.as_ref();
        assert!(signs.is_none_or(|s| s.len() == self.sign_bytes()), "signs");
        let work = self.work(self.cut_of_floats());
        to.claims.begin(task, self.float_tasks(), work);
        match self.filters_in_lanes() {
            true => self.floats_by_filters(task, to),
            false => self.floats_by_pixels(task, to),
        }
    }

    /// Pixels side by side: rows of the output are written as they come.
    fn floats_by_pixels(&self, task: usize, to: &Floats<'_>) {
        let cut = self.cut_of_floats();
        let (strips, blocks) = self.task(task, &cut);
        let (words, plane, bytes) = (self.conv.words, self.plane(), bytes_of(self.filters()));
        let in_image = plane.div_ceil(STRIP);
        let filters = blocks.start * LANES..(blocks.end * LANES).min(self.filters());
        let mut windows = Windows::default();
        let mut lanes = vec![0; STRIP * words];
        let mut mask = vec![0; STRIP * words];
        for strip in strips {
            let (image, first) = (strip / in_image, strip % in_image * STRIP);
            let some = first..(first + STRIP).min(plane);
            let pixels = image * plane + some.start..image * plane + some.end;
            windows.fill(self.conv, &self.x, &self.places, pixels);
            let groups = some.len().div_ceil(LANES);
            let mut all = [true; STRIP / LANES];
            for (group, all) in all.iter_mut().enumerate().take(groups) {
                let at = group * LANES;
                let rows = LANES.min(windows.whole.len() - at);
                let place = group * LANES * words;
                let turn = |from: &[u32], to: &mut [u32]| {
                    turned([rows, words], &from[at * words..], &mut to[place..]);
                };
                turn(&windows.rows, &mut lanes);
                let tiles = at / ROWS..(at + rows).div_ceil(ROWS);
                *all = windows.all[tiles].iter().all(|&all| all);
                if !*all {
                    turn(&windows.mask, &mut mask);
                }
            }
            windows.whole.resize(STRIP, 0);
            let Some((whole, _)) = windows.whole.split_first_chunk::<STRIP>() else {
                continue;
            };
            for f in filters.clone().step_by(ROWS) {
                let count = ROWS.min(filters.end - f);
                let mut sums = [[0; STRIP]; ROWS];
                for (group, &all) in all.iter().enumerate().take(groups) {
                    let at = group * LANES;
                    let part = at * words..(at + LANES) * words;
                    let tile = Tile {
                        lanes: &lanes[part.clone()],
                        rows: &self.conv.rows[f * words..],
                        mask: match all {
                            true => Mask::All,
                            false => Mask::Lanes(&mask[part]),
                        },
                        words,
                        count,
                    };
                    let mut counts = [[0; LANES]; ROWS];
                    tile.differing(self.level, &mut counts);
                    for (sums, counts) in sums.iter_mut().zip(&counts) {
                        if let Some((to, _)) = sums[at..].split_first_chunk_mut() {
                            *to = *counts;
                        }
                    }
                }
                let at = (image * self.filters() + f) * plane + some.start;
                let place = (image * plane + some.start) * bytes + f / PER_BYTE;
                let rows = Rows {
                    f,
                    count,
                    pixels: some.len(),
                    plane,
                    at,
                    place,
                    bytes,
                };
                wide(
                    #[inline(always)]
                    || rows.put(&sums, whole, to),
                );
            }
        }
    }

    /// Filters side by side, for planes of few pixels.
    fn floats_by_filters(&self, task: usize, to: &Floats<'_>) {
        let (strips, blocks) = self.task(task, &self.cut_of_floats());
        let (plane, filters) = (self.plane(), self.filters());
        let pixels = self.x.batch * plane;
        let mut windows = Windows::default();
        for strip in strips {
            let first = strip * STRIP;
            let some = first..(first + STRIP).min(pixels);
            windows.fill(self.conv, &self.x, &self.places, some.clone());
            for block in blocks.clone() {
                for (t, &all) in windows.all.iter().enumerate() {
                    let at = t * ROWS;
                    let rows = ROWS.min(some.len() - at);
                    let tile = self.filters_tile(&windows, block, at, rows, all);
                    let mut counts = [[0; LANES]; ROWS];
                    tile.differing(self.level, &mut counts);
                    for (r, counts) in counts.iter().enumerate().take(rows) {
                        let whole = windows.whole[at + r];
                        let sums = counts.map(|count| (whole - 2 * count) as f32);
                        let f = block * LANES..(block * LANES + LANES).min(filters);
                        self.floats_of_pixel(first + at + r, f, sums, to);
                    }
                }
            }
        }
    }

    /// From the sums of a block's filters at one pixel to the output.
    fn floats_of_pixel(&self, pixel: usize, f: Range<usize>, mut y: [f32; LANES], to: &Floats<'_>) {
        let (plane, filters) = (self.plane(), self.filters());
        let (image, p) = (pixel / plane, pixel % plane);
        let numbers = |of: &'_ Option<Vec<f32>>| of.as_ref().map(|v| v[f.clone()].to_vec());
        let affine = to.affine;
        let mut each = |numbers: Option<Vec<f32>>, step: fn(&mut f32, f32)| {
            let numbers = numbers.into_iter().flatten();
            y.iter_mut().zip(numbers).for_each(|(y, n)| step(y, n));
        };
        each(numbers(&affine.divisor), |y, n| *y /= n);
        each(numbers(&affine.bias), |y, n| *y += n);
        each(numbers(&affine.factor), |y, n| *y *= n);
        each(numbers(&affine.shift), |y, n| *y += n);
        let (mut plus, mut zeros) = (0u16, false);
        for (l, y) in y.iter_mut().enumerate().take(f.len()) {
            let at = (image * filters + f.start + l) * plane + p;
            if let Some(residual) = to.residual {
                *y += residual[at];
            }
            // SAFETY: these filters of this pixel are this task's alone.
            unsafe { to.y.slice(at, 1)[0] = *y };
            plus |= u16::from(*y > 0.0) << l;
            zeros |= *y == 0.0;
        }
        let Some(signs) = &to.signs else {
            return;
        };
        let bytes = bytes_of(filters);
        let byte = f.start / PER_BYTE;
        let count = (bytes - byte).min(2);
        // SAFETY: as above; blocks are two bytes.
        let out = unsafe { signs.slice(pixel * bytes + byte, count) };
        out.copy_from_slice(&plus.to_le_bytes()[..count]);
        if zeros {
            to.zeros.store(true, Ordering::Relaxed);
        }
    }
}

/// Rows of words as lanes.
fn turned([rows, words]: [usize; 2], from: &[u32], to: &mut [u32]) {
    if words >= 8 {
        return transpose_words([rows, words], (from, words), (to, LANES));
    }
    for (r, from) in from.chunks_exact(words).enumerate().take(rows) {
        for (k, &word) in from.iter().enumerate() {
            to[k * LANES + r] = word;
        }
    }
}

/// Some filters at the pixels of a strip, and where they go.
struct Rows {
    /// The first filter.
    f: usize,
    /// How many.
    count: usize,
    pixels: usize,
    /// From one filter to the next in the output.
    plane: usize,
    /// The first filter's first pixel in the output.
    at: usize,
    /// Its signs' byte.
    place: usize,
    /// From one pixel's signs to the next one's.
    bytes: usize,
}

impl Rows {
    /// From counts to the output. Loops are of constant length, and over one operation each, to become vectors.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "several arrays at the same place"
    )]
    fn put(&self, counts: &[[i32; STRIP]; ROWS], whole: &[i32; STRIP], to: &Floats<'_>) {
        let (mut plus, mut zeros) = ([0i32; STRIP], [0i32; STRIP]);
        let known = self.pixels == STRIP;
        for r in 0..self.count {
            let counts = &counts[r];
            // What is left out changes nothing: x / 1, x + -0, x · 1.
            let number = |of: &Option<Vec<f32>>, idle| of.as_ref().map_or(idle, |v| v[self.f + r]);
            let divisor = number(&to.affine.divisor, 1.0);
            let bias = number(&to.affine.bias, -0.0);
            let factor = number(&to.affine.factor, 1.0);
            let shift = number(&to.affine.shift, -0.0);
            let at = self.at + r * self.plane;
            let mut y = [0.0f32; STRIP];
            match to.residual {
                None => {
                    for i in 0..STRIP {
                        let sum = (whole[i] - 2 * counts[i]) as f32;
                        y[i] = (sum / divisor + bias) * factor + shift;
                    }
                }
                Some(residual) => {
                    let residual = &residual[at..at + self.pixels];
                    let mut padded = [0.0; STRIP];
                    let residual = match <&[f32; STRIP]>::try_from(residual) {
                        Ok(residual) => residual,
                        Err(_) => {
                            padded[..self.pixels].copy_from_slice(residual);
                            &padded
                        }
                    };
                    for i in 0..STRIP {
                        let sum = (whole[i] - 2 * counts[i]) as f32;
                        y[i] = ((sum / divisor + bias) * factor + shift) + residual[i];
                    }
                }
            }
            // SAFETY: these filters at these pixels are this task's alone.
            let out = unsafe { to.y.slice(at, self.pixels) };
            match <&mut [f32; STRIP]>::try_from(&mut *out) {
                Ok(out) => *out = y,
                Err(_) => out.copy_from_slice(&y[..self.pixels]),
            }
            if to.signs.is_some() {
                let bit = 1 << r;
                for i in 0..STRIP {
                    plus[i] |= if y[i] > 0.0 { bit } else { 0 };
                }
                for i in 0..STRIP {
                    zeros[i] |= if y[i] == 0.0 { 1 } else { 0 };
                }
            }
        }
        let Some(signs) = &to.signs else {
            return;
        };
        // SAFETY: as above; eight filters are a byte.
        let out = unsafe { signs.strided(self.place, self.bytes, self.pixels) };
        out.put(&plus.map(|p| p as u8));
        let mut any = 0;
        match known {
            true => zeros.iter().for_each(|z| any |= z),
            false => zeros[..self.pixels].iter().for_each(|z| any |= z),
        }
        if any != 0 {
            to.zeros.store(true, Ordering::Relaxed);
        }
    }
}
