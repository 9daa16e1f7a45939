//! Images of opaque shapes that cover each other: edges, corners, flat and shaded areas at all scales,
//! in about the proportions of photographs (the dead leaves model: Lee, Mumford, Huang, *Occlusion
//! Models for Natural Images*, 2001; Baradad et al., *Learning to See by Looking at Noise*, 2021, train
//! networks on them).

use ndarray::{Array3, s};
use ndarray_rand::rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

use crate::data::mix;

/// The most shapes of an image.
const MOST_SHAPES: usize = 40;

/// Image number `index` of a seed, `[C, H, W]`, 0 to 1.
pub fn dead_leaves([c, h, w]: [usize; 3], seed: u64, index: usize) -> Array3<f32> {
    let mut rng = ChaCha12Rng::seed_from_u64(mix(&[seed, index as u64, 0x1eaf]));
    let mut image = Array3::zeros((c, h, w));
    for mut plane in image.outer_iter_mut() {
        plane.fill(rng.random::<f32>());
    }
    for _ in 0..rng.random_range(3..MOST_SHAPES) {
        let leaf = Leaf::new(&mut rng, c, h, w);
        for y in 0..h {
            for x in 0..w {
                if let Some(shade) = leaf.at(y as f32, x as f32) {
                    let mut pixel = image.slice_mut(s![.., y, x]);
                    for (value, colour) in pixel.iter_mut().zip(&leaf.colour) {
                        *value = colour + shade;
                    }
                }
            }
        }
    }
    let contrast = 0.5 + rng.random::<f32>();
    let grain = 0.1 * rng.random::<f32>().powi(2);
    let mean = image.mean().unwrap_or_default();
    image.mapv_inplace(|v| {
        let noise = grain * (2.0 * rng.random::<f32>() - 1.0);
        ((v - mean) * contrast + mean + noise).clamp(0.0, 1.0)
    });
    match rng.random_bool(0.5) {
        true => blurred(&image),
        false => image,
    }
}

/// The mean of each pixel and its neighbours, the pixel itself and those beside it weighing more.
pub fn blurred(image: &Array3<f32>) -> Array3<f32> {
    let (_, h, w) = image.dim();
    let near = |i: usize, d: isize, end: usize| i.saturating_add_signed(d).min(end - 1);
    Array3::from_shape_fn(image.dim(), |(c, y, x)| {
        let mut sum = 0.0;
        for (dy, weight_y) in [(-1, 1.0), (0, 2.0), (1, 1.0)] {
            for (dx, weight_x) in [(-1, 1.0), (0, 2.0), (1, 1.0)] {
                let at = [c, near(y, dy, h), near(x, dx, w)];
                sum += weight_y * weight_x * image.get(at).copied().unwrap_or_default();
            }
        }
        sum / 16.0
    })
}

/// What a shape is.
#[derive(Debug, Clone, Copy)]
enum Outline {
    Ellipse,
    Rectangle,
    Triangle,
}

/// A shape in an image.
#[derive(Debug)]
struct Leaf {
    outline: Outline,
    centre: [f32; 2],
    radius: f32,
    /// Its width as a share of its length.
    slimness: f32,
    /// Sine and cosine of its angle.
    turn: (f32, f32),
    colour: Vec<f32>,
    /// How much brighter its far end is.
    shading: f32,
}

impl Leaf {
    fn new(rng: &mut ChaCha12Rng, channels: usize, h: usize, w: usize) -> Self {
        let outline = match rng.random_range(0..3) {
            0 => Outline::Ellipse,
            1 => Outline::Rectangle,
            _ => Outline::Triangle,
        };
        let size = rng.random::<f32>().powi(2);
        let shaded = rng.random_bool(0.5);
        let shading = 0.4 * (rng.random::<f32>() - 0.5);
        Self {
            outline,
            centre: [
                rng.random::<f32>() * h as f32,
                rng.random::<f32>() * w as f32,
            ],
            radius: 0.5 * h.min(w) as f32 * (0.06 + 0.9 * size),
            slimness: 0.2 + 0.8 * rng.random::<f32>(),
            turn: (std::f32::consts::TAU * rng.random::<f32>()).sin_cos(),
            colour: (0..channels).map(|_| rng.random::<f32>()).collect(),
            shading: if shaded { shading } else { 0.0 },
        }
    }

    /// By how much a pixel of the shape is brighter than its colour; `None` outside.
    fn at(&self, y: f32, x: f32) -> Option<f32> {
        let (sin, cos) = self.turn;
        let [dy, dx] = [y - self.centre[0], x - self.centre[1]];
        let along = (dy * cos - dx * sin) / self.radius;
        let across = (dy * sin + dx * cos) / (self.radius * self.slimness);
        let inside = match self.outline {
            Outline::Ellipse => along * along + across * across < 1.0,
            Outline::Rectangle => along.abs() < 1.0 && across.abs() < 1.0,
            Outline::Triangle => along > -1.0 && 2.0 * across.abs() < 1.0 - along,
        };
        inside.then_some(self.shading * along)
    }
}
