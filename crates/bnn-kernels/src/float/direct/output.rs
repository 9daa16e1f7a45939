//! The output of a convolution, as it is or binarised.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::{Scratch, channels_last, images, places, usable, weight_panel};
use crate::ConvGeometry;
use crate::binary::{Codes, PoolWindows};
use crate::float::panel::{LANES, Panel};
use crate::padded_grid::PaddedGrid;
use crate::simd::Instructions;
use crate::simd::wide;
use crate::transpose::transpose;

/// A layer's weights as its output reads them; for layers without groups.
#[derive(Debug)]
pub struct OutputWeights {
    panel: Panel<f32>,
    sizes: [usize; 4],
}

/// What becomes of an output y of each filter in front of a binariser, with u = direction · y: +1
/// from `positive` on, 0 from `not_negative` on, else -1. Where a threshold is NaN, nothing reaches it. All
/// three vectors have a number for each filter.
#[derive(Debug, Clone)]
pub struct FloatThresholds {
    /// 1 where what follows grows with the output, -1 where it falls.
    pub direction: Vec<f32>,
    /// The least u that gives 0 or +1.
    pub not_negative: Vec<f32>,
    /// The least u that gives +1.
    pub positive: Vec<f32>,
}

/// Where windows begin, and what they read from there on.
struct Plan {
    grid: PaddedGrid,
    offsets: Vec<u32>,
    places: Vec<usize>,
}

impl OutputWeights {
    /// Of `weight` `[O, C, kH, kW]`; `None` if there is no path for the geometry: then
    /// [`conv_forward`](crate::float::conv_forward) computes the output.
    ///
    /// # Panics
    /// If it has another size than the geometry says.
    pub fn new(g: &ConvGeometry, weight: &[f32]) -> Option<Self> {
        if !usable(g) {
            return None;
        }
        let (c, o, taps) = (g.channels, g.filters, g.kernel[0] * g.kernel[1]);
        assert_eq!(weight.len(), c * o * taps, "weight size");
        let panel = weight_panel(weight, [taps * c, o], |step, o| {
            (o * c + step % c) * taps + step / c
        });
        Some(Self {
            panel,
            sizes: [c, o, g.kernel[0], g.kernel[1]],
        })
    }

    /// Writes the output, `y = x ⊛ weight + bias`: x `[N, C, H, W]`, bias `[O]`, y `[N, O, OH, OW]`. The batch
    /// may be another one than when the weights were prepared.
    ///
    /// # Panics
    /// If a size is not what the geometry says, or the weights are of another one.
    pub fn output(&self, g: &ConvGeometry, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        self.output_with(g, x, bias, y, Instructions::detect());
    }

    pub(super) fn output_with(
        &self,
        g: &ConvGeometry,
        x: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        instructions: Instructions,
    ) {
        let plan = self.plan(g, x, bias);
        let (c, o, out) = (g.channels, g.filters, g.out_plane());
        assert_eq!(y.len(), g.batch * o * out, "output size");
        let count = images(out);
        y.par_chunks_mut(count * o * out)
            .zip(x.par_chunks(count * c * g.height * g.width))
            .for_each_init(Scratch::default, |scratch, (y, x)| {
                self.sums(g, &plan, x, bias, scratch, instructions);
                planes_of(&scratch.sums, self.width(), o, out, y);
            });
    }

    /// The activations of a binary layer behind this one, `[N, O, OH, OW]`: the output through thresholds.
    /// With `windows`, the largest output of each window is taken first, and the result has their size.
    /// `None` if an output is NaN or its absolute value beyond [`FloatThresholds::LARGEST`].
    ///
    /// # Panics
    /// If a size is not what the geometry says, or the weights are of another one.
    pub fn codes(
        &self,
        g: &ConvGeometry,
        x: &[f32],
        bias: Option<&[f32]>,
        windows: Option<&PoolWindows>,
        thresholds: &FloatThresholds,
    ) -> Option<Codes> {
        let instructions = Instructions::detect();
        let plan = self.plan(g, x, bias);
        let (c, o, out) = (g.channels, g.filters, g.out_plane());
        assert_eq!(thresholds.direction.len(), o, "thresholds");
        let thresholds = thresholds.padded(self.width());
        let [height, width] = match windows {
            Some(w) => [w.rows.len(), w.columns.len()],
            None => [g.out_height, g.out_width],
        };
        let mut codes = Codes::zeros([g.batch, o, height, width]);
        let (count, image) = (images(out), codes.image());
        if image == 0 {
            return Some(codes);
        }
        let pixel = o.div_ceil(Codes::CHANNELS);
        let any_beyond = AtomicBool::new(false);
        codes
            .data_mut()
            .par_chunks_mut(count * image)
            .zip(x.par_chunks(count * c * g.height * g.width))
            .for_each_init(
                || (Scratch::default(), vec![0.0; self.width()]),
                |(scratch, most), (to, x)| {
                    self.sums(g, &plan, x, bias, scratch, instructions);
                    let sums = &scratch.sums;
                    let beyond = |v: &f32| v.is_nan() | (v.abs() > FloatThresholds::LARGEST);
                    if wide(|| sums.iter().fold(false, |any, v| any | beyond(v))) {
                        any_beyond.store(true, Ordering::Relaxed);
                    }
                    let pixels = to.chunks_exact_mut(pixel);
                    let width = self.width();
                    wide(
                        #[inline(always)]
                        || match windows {
                            None => {
                                let rows = sums.chunks_exact(width).zip(pixels);
                                rows.for_each(|(u, to)| thresholds.write(u, to));
                            }
                            Some(w) => {
                                let images = 0..sums.len() / (out * width);
                                let positions = images.flat_map(|n| {
                                    w.rows.iter().flat_map(move |rows| {
                                        w.columns.iter().map(move |columns| (n, rows, columns))
                                    })
                                });
                                for ((n, rows, columns), to) in positions.zip(pixels) {
                                    most.fill(f32::NEG_INFINITY);
                                    for y in rows {
                                        for x in columns {
                                            let at = n * out + y * g.out_width + x;
                                            largest(&sums[at * width..], most);
                                        }
                                    }
                                    thresholds.write(most, to);
                                }
                            }
                        },
                    );
                },
            );
        (!any_beyond.into_inner()).then_some(codes)
    }

    fn width(&self) -> usize {
        self.sizes[1].next_multiple_of(LANES)
    }

    fn plan(&self, g: &ConvGeometry, x: &[f32], bias: Option<&[f32]>) -> Plan {
        let c = g.channels;
        assert!(usable(g), "geometry");
        assert_eq!(
            self.sizes,
            [c, g.filters, g.kernel[0], g.kernel[1]],
            "weights"
        );
        assert_eq!(x.len(), g.batch * c * g.height * g.width, "input size");
        assert!(bias.is_none_or(|b| b.len() == g.filters), "bias size");
        let grid = PaddedGrid::of_input(g);
        let offsets = (grid.taps(g).iter())
            .flat_map(|tap| (0..c).map(move |c_| (tap * c + c_) as u32))
            .collect();
        let size = [g.out_height, g.out_width];
        Plan {
            offsets,
            places: places(images(g.out_plane()), size, g.stride, grid, c),
            grid,
        }
    }

    /// The outputs of some images, `[pixels, width]`.
    fn sums(
        &self,
        g: &ConvGeometry,
        plan: &Plan,
        x: &[f32],
        bias: Option<&[f32]>,
        Scratch { left, sums }: &mut Scratch,
        instructions: Instructions,
    ) {
        channels_last(x, g.channels, [g.height, g.width], plan.grid, left);
        let count = x.len() / (g.channels * g.height * g.width);
        let rows = &plan.places[..count * g.out_plane()];
        sums.resize(rows.len() * self.width(), 0.0);
        match bias {
            None => sums.fill(0.0),
            Some(bias) => {
                let rows = sums.chunks_exact_mut(self.width());
                rows.for_each(|row| {
                    let (filters, rest) = row.split_at_mut(bias.len());
                    filters.copy_from_slice(bias);
                    rest.fill(0.0);
                });
            }
        }
        instructions.add(left, rows, &plan.offsets, &self.panel, sums);
    }
}

/// `most = max(most, x)` of each pair.
#[inline(always)]
fn largest(x: &[f32], most: &mut [f32]) {
    for (most, &x) in most.iter_mut().zip(x) {
        *most = if x > *most { x } else { *most };
    }
}

impl FloatThresholds {
    /// The largest absolute value that they are made for: squares of it are still finite.
    pub const LARGEST: f32 = 1e18;

    /// For more filters, all of whose outputs give 0.
    fn padded(&self, width: usize) -> Self {
        let padded = |v: &[f32], with: f32| {
            let rest = std::iter::repeat(with);
            v.iter().copied().chain(rest).take(width).collect()
        };
        Self {
            direction: padded(&self.direction, 1.0),
            not_negative: padded(&self.not_negative, f32::NEG_INFINITY),
            positive: padded(&self.positive, f32::NAN),
        }
    }

    /// Writes the codes of one pixel's outputs; all have whole vectors of filters, and codes may be
    /// fewer.
    #[inline(always)]
    fn write(&self, y: &[f32], codes: &mut [u8]) {
        let (directions, _) = self.direction.as_chunks::<LANES>();
        let (zeros, _) = self.not_negative.as_chunks::<LANES>();
        let (ones, _) = self.positive.as_chunks::<LANES>();
        let (y, _) = y.as_chunks::<LANES>();
        let thresholds = directions.iter().zip(zeros.iter().zip(ones));
        let blocks = codes.chunks_mut(LANES / Codes::CHANNELS).zip(y);
        for ((codes, y), (direction, (zero, one))) in blocks.zip(thresholds) {
            let mut digits = [0u8; LANES];
            for i in 0..LANES {
                let u = direction[i] * y[i];
                digits[i] = u8::from(u >= zero[i]) + u8::from(u >= one[i]);
            }
            let (fours, _) = digits.as_chunks();
            for (code, four) in codes.iter_mut().zip(fours) {
                *code = Codes::of_digits(*four);
            }
        }
    }
}

/// Sums `[images, plane, width]` as planes `[images, channels, plane]`.
pub(super) fn planes_of(sums: &[f32], width: usize, channels: usize, plane: usize, to: &mut [f32]) {
    let images = to.chunks_exact_mut(channels * plane);
    for (sums, to) in sums.chunks_exact(plane * width).zip(images) {
        transpose([plane, channels], (sums, width), (to, plane));
    }
}
