//! Activations in {-1, 0, +1}: four channels a byte.

use rayon::prelude::*;

use crate::simd::wide;

/// Channels that share a code.
pub(super) const PER_CODE: usize = 4;
/// The code of four zeros.
pub(super) const ZEROS: u8 = 80;
/// The weight of each channel's digit in a code. Twice the powers of three: a code times eight is
/// then the offset of its table of sixteen bytes.
pub(super) const DIGITS: [u8; PER_CODE] = [2, 6, 18, 54];

/// What [`activations`] gives for each code.
static ACTIVATIONS: [[i8; PER_CODE]; 81] = {
    let mut all = [[0; PER_CODE]; 81];
    let mut i = 0;
    while i < 81 {
        all[i] = activations(2 * i);
        i += 1;
    }
    all
};

/// [`ACTIVATIONS`] as floats.
static FLOATS: [[f32; PER_CODE]; 81] = {
    let mut all = [[0.0; PER_CODE]; 81];
    let mut i = 0;
    while i < 81 {
        let four = activations(2 * i);
        all[i] = [
            four[0] as f32,
            four[1] as f32,
            four[2] as f32,
            four[3] as f32,
        ];
        i += 1;
    }
    all
};

/// The activations that a code stands for.
pub(super) const fn activations(code: usize) -> [i8; PER_CODE] {
    let (mut out, mut rest, mut i) = ([0; PER_CODE], code / 2, 0);
    while i < PER_CODE {
        out[i] = (rest % 3) as i8 - 1;
        rest /= 3;
        i += 1;
    }
    out
}

/// The code of four activations plus one each: 0, 1 or 2.
#[inline(always)]
pub(super) fn code([a, b, c, d]: [u8; PER_CODE]) -> u8 {
    DIGITS[0] * a + DIGITS[1] * b + DIGITS[2] * c + DIGITS[3] * d
}

/// Whether all bytes are codes of four activations.
fn are_codes(bytes: &[u8]) -> bool {
    let is_code = |c: &u8| c.is_multiple_of(2) & (*c <= 2 * ZEROS);
    // Without leaving early, so that it runs in vectors.
    bytes.iter().fold(true, |all, c| all & is_code(c))
}

/// A tensor `[N, C, H, W]` of values in {-1, 0, +1}, held as `[N, H, W, ⌈C/4⌉]` codes of one byte; channels
/// beyond C are 0.
///
/// The code of four channels' values `v` is `Σ 2 · 3ⁱ · (vᵢ + 1)`, i from 0 to 3: an even number up to 160.
/// No other byte is ever held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// `[N, C, H, W]`.
    shape: [usize; 4],
    data: Vec<u8>,
}

impl Codes {
    /// Zeros of that shape, `[N, C, H, W]`.
    pub fn zeros(shape: [usize; 4]) -> Self {
        let [n, c, h, w] = shape;
        Self {
            shape,
            data: vec![ZEROS; n * h * w * c.div_ceil(PER_CODE)],
        }
    }

    /// Packs `x` of that shape, `[N, C, H, W]`; `None` if it holds any value but -1, 0 (of either sign) and
    /// +1.
    ///
    /// # Panics
    /// If `x` has another size than the shape.
    pub fn pack(x: &[f32], shape: [usize; 4]) -> Option<Self> {
        let [_, c, h, w] = shape;
        assert_eq!(x.len(), shape.iter().product::<usize>(), "size of a tensor");
        let mut codes = Self::zeros(shape);
        let (image, packed) = (c * h * w, codes.image());
        if image == 0 || packed == 0 {
            return Some(codes);
        }
        let fits = codes
            .data
            .par_chunks_mut(packed)
            .zip(x.par_chunks(image))
            .map_init(
                || vec![0.0; h * w],
                |zeros, (codes, x)| pack_image(x, zeros, c.div_ceil(PER_CODE), codes),
            )
            .reduce(|| true, |a, b| a && b);
        fits.then_some(codes)
    }

    /// A tensor of that shape whose codes lie plane by plane, `[N, ⌈C/4⌉, H, W]`, as
    /// [`Codes::code_planes`] writes them.
    ///
    /// # Panics
    /// If there are more or fewer codes than the shape has, or a byte is no code.
    pub fn of_planes(planes: &[u8], shape: [usize; 4]) -> Self {
        let [n, c, h, w] = shape;
        let (groups, area) = (c.div_ceil(PER_CODE), h * w);
        assert_eq!(planes.len(), n * groups * area, "size of a tensor");
        assert!(are_codes(planes), "codes");
        let mut data = vec![ZEROS; planes.len()];
        if !data.is_empty() {
            data.par_chunks_mut(groups * area)
                .zip(planes.par_chunks(groups * area))
                .for_each(|(to, from)| turn_bytes([groups, area], from, to));
        }
        Self { shape, data }
    }

    /// Channels that share a code.
    pub const CHANNELS: usize = PER_CODE;

    /// The code of four values plus one each.
    #[inline(always)]
    pub(crate) fn of_digits(digits: [u8; PER_CODE]) -> u8 {
        // All four products and their sum at once, in the upper byte: none of the bytes below, at most
        // 2 · (6 + 18 + 54), carries into the next.
        const WEIGHTS: u32 = u32::from_be_bytes(DIGITS);
        (u32::from_le_bytes(digits).wrapping_mul(WEIGHTS) >> 24) as u8
    }

    /// Writes the codes of four channels' planes, which lie one behind the other and have as many elements
    /// each as `codes`. False, and of no use what is written, if a value is not -1, 0 or +1, or there are
    /// fewer planes.
    pub fn code_planes(planes: &[f32], codes: &mut [u8]) -> bool {
        let mut planes = planes.chunks_exact(codes.len().max(1));
        let [Some(a), Some(b), Some(c), Some(d)] = [(); PER_CODE].map(|()| planes.next()) else {
            return codes.is_empty();
        };
        wide(|| {
            let fits = |v: f32| (v == 0.0) | (v.abs() == 1.0);
            let mut all = true;
            let values = a.iter().zip(b).zip(c.iter().zip(d));
            for (code, ((&a, &b), (&c, &d))) in codes.iter_mut().zip(values) {
                all &= fits(a) & fits(b) & fits(c) & fits(d);
                let sum = 2.0 * a + 6.0 * b + 18.0 * c + 54.0 * d;
                *code = (sum + f32::from(ZEROS)) as i32 as u8;
            }
            all
        })
    }

    /// Writes the values of some images, `[images, H, W, C]`, each row of pixels where `row(image,
    /// y)` says.
    pub(crate) fn channels_last(
        &self,
        images: std::ops::Range<usize>,
        row: impl Fn(usize, usize) -> usize,
        to: &mut [f32],
    ) {
        let [_, c, h, w] = self.shape;
        let groups = c.div_ceil(PER_CODE);
        for (n, image) in images.enumerate() {
            for y in 0..h {
                let at = row(n, y);
                let to = to[at..at + w * c].chunks_exact_mut(c.max(1));
                let from = &self.data[image * self.image() + y * w * groups..][..w * groups];
                for (to, codes) in to.zip(from.chunks_exact(groups.max(1))) {
                    let (fours, rest) = to.as_chunks_mut::<PER_CODE>();
                    for (four, &code) in fours.iter_mut().zip(codes) {
                        *four = FLOATS[usize::from(code) / 2];
                    }
                    if let (Some(code), false) = (codes.last(), rest.is_empty()) {
                        rest.copy_from_slice(&FLOATS[usize::from(*code) / 2][..rest.len()]);
                    }
                }
            }
        }
    }

    /// The values in single precision, `[N, C, H, W]`.
    pub fn unpack(&self) -> Vec<f32> {
        let [n, c, h, w] = self.shape;
        let (plane, groups) = (h * w, c.div_ceil(PER_CODE));
        let mut x = vec![0.0; n * c * plane];
        if x.is_empty() {
            return x;
        }
        x.par_chunks_mut(c * plane)
            .zip(self.data.par_chunks(plane * groups))
            .for_each(|(x, codes)| unpack_image(x, groups, plane, codes));
        x
    }

    /// The four activations that a code, halved, stands for.
    pub(crate) const fn values(half: usize) -> [i8; PER_CODE] {
        activations(2 * half)
    }

    /// A tensor of that shape, `[N, C, H, W]`, of codes in their own order, `[N, H, W, ⌈C/4⌉]`, as from a
    /// file; `None` if a byte is no code, or there are too many or too few.
    pub fn from_bytes(shape: [usize; 4], data: Vec<u8>) -> Option<Self> {
        let [n, c, h, w] = shape;
        let right = data.len() == n * h * w * c.div_ceil(PER_CODE) && are_codes(&data);
        right.then_some(Self { shape, data })
    }

    /// The images of those numbers, in that order.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn select(&self, images: impl ExactSizeIterator<Item = usize>) -> Self {
        let mut shape = self.shape;
        shape[0] = images.len();
        let mut data = Vec::with_capacity(images.len() * self.image());
        images.for_each(|n| data.extend_from_slice(self.codes_of(n)));
        Self { shape, data }
    }

    /// The images of several tensors, one behind the other; `None` if there is no tensor, or their images
    /// differ in size.
    pub fn joined(parts: &[&Self]) -> Option<Self> {
        let mut shape = parts.first()?.shape;
        if parts.iter().any(|p| p.shape[1..] != shape[1..]) {
            return None;
        }
        shape[0] = parts.iter().map(|p| p.shape[0]).sum();
        let data = parts.iter().flat_map(|p| &p.data).copied().collect();
        Some(Self { shape, data })
    }

    /// The codes of one image, `[H, W, ⌈C/4⌉]`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn codes_of(&self, image: usize) -> &[u8] {
        let size = self.image();
        &self.data[image * size..(image + 1) * size]
    }

    /// The tensor's shape, `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Codes of one image.
    pub(crate) fn image(&self) -> usize {
        let [_, c, h, w] = self.shape;
        h * w * c.div_ceil(PER_CODE)
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

/// Pixels that packing and unpacking take together: their codes and planes' parts stay in the cache.
const RUN: usize = 64;

/// Packs the planes of one image; false if a value is not -1, 0 or +1. `zeros` is a plane of zeros.
fn pack_image(x: &[f32], zeros: &[f32], groups: usize, codes: &mut [u8]) -> bool {
    let area = zeros.len();
    let plane = |c: usize| x.get(c * area..(c + 1) * area).unwrap_or(zeros);
    let mut fits = true;
    for (start, codes) in (0..area).step_by(RUN).zip(codes.chunks_mut(RUN * groups)) {
        let count = RUN.min(area - start);
        for g in 0..groups {
            let mut sums = [0f32; RUN];
            for (i, digit) in DIGITS.into_iter().enumerate() {
                let digit = f32::from(digit);
                let values = &plane(g * PER_CODE + i)[start..start + count];
                fits &= wide(|| {
                    let mut fits = true;
                    for (sum, &v) in sums.iter_mut().zip(values) {
                        *sum += v * digit;
                        fits &= (v == 0.0) | (v.abs() == 1.0);
                    }
                    fits
                });
            }
            let to = codes[g..].iter_mut().step_by(groups);
            for (code, sum) in to.zip(&sums[..count]) {
                *code = (*sum + f32::from(ZEROS)) as u8;
            }
        }
    }
    fits
}

/// `to[c · rows + r] = from[r · columns + c]`.
fn turn_bytes([rows, columns]: [usize; 2], from: &[u8], to: &mut [u8]) {
    const SIDE: usize = 16;
    for c in (0..columns).step_by(SIDE) {
        for r in 0..rows {
            let from = &from[r * columns + c..(r + 1) * columns];
            let to = to[c * rows + r..].iter_mut().step_by(rows);
            to.zip(from.iter().take(SIDE)).for_each(|(to, v)| *to = *v);
        }
    }
}

/// The planes of one image.
fn unpack_image(x: &mut [f32], groups: usize, area: usize, codes: &[u8]) {
    for (start, codes) in (0..area).step_by(RUN).zip(codes.chunks(RUN * groups)) {
        for g in 0..groups {
            let planes = x[g * PER_CODE * area..].chunks_mut(area);
            for (i, plane) in planes.enumerate().take(PER_CODE) {
                let from = codes[g..].iter().step_by(groups);
                for (x, &code) in plane[start..].iter_mut().zip(from) {
                    *x = f32::from(ACTIVATIONS[usize::from(code) / 2][i]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_undone_by_unpacking() {
        for shape in [[2, 1, 1, 1], [3, 7, 3, 5], [1, 32, 1, 9], [2, 6, 9, 9]] {
            let count = shape.iter().product();
            let x: Vec<f32> = (0..count).map(|i| (i * 7 % 3) as f32 - 1.0).collect();
            let codes = Codes::pack(&x, shape).unwrap();
            assert_eq!(codes.unpack(), x);
            assert_eq!(Codes::zeros(shape).unpack(), vec![0.0; count]);
        }
    }

    #[test]
    fn other_values_are_not_packed() {
        for other in [0.5, -2.0, f32::NAN, f32::INFINITY, 1e-30] {
            let mut x = vec![1.0; 100];
            x[77] = other;
            assert_eq!(Codes::pack(&x, [1, 4, 5, 5]), None, "{other}");
        }
    }

    #[test]
    fn codes_and_activations_agree() {
        for c in 0..81 {
            let t = activations(2 * c).map(|v| (v + 1) as u8);
            assert_eq!(usize::from(code(t)), 2 * c);
            assert_eq!(Codes::of_digits(t), code(t));
        }
        assert_eq!(activations(usize::from(ZEROS)), [0; PER_CODE]);
    }
}
