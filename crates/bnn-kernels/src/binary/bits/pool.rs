//! The largest activation of windows: of bits, whether there is a +1.

use super::{Bits, bytes_of};

/// Maximum pooling of bits; pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitPool {
    /// Window size.
    pub kernel: [usize; 2],
    /// Input positions from one output to the next.
    pub stride: [usize; 2],
    /// Input positions from one position of a window to the next.
    pub dilation: [usize; 2],
    /// At the top, at the left, at the bottom and at the right: what is there is never the largest.
    pub pads: [usize; 4],
}

impl BitPool {
    /// The largest of each window, `[N, OH, OW, planes, ⌈C/8⌉]`, its sign turned around in channels whose bit in
    /// `turned` is set, if it is given.
    ///
    /// # Panics
    /// If sizes do not fit. Every window has to reach into the image.
    pub fn run(
        &self,
        x: &Bits<'_>,
        [height, width]: [usize; 2],
        turned: Option<&[u8]>,
        out: &mut [u8],
    ) {
        x.check();
        let (bytes, pixel) = (bytes_of(x.channels), x.pixel());
        assert_eq!(out.len(), x.batch * height * width * pixel, "signs");
        assert!(
            turned.is_none_or(|t| t.len() == bytes),
            "what is turned around"
        );
        if x.planes == 1 {
            return self.of_signs(x, [height, width], turned.unwrap_or_default(), out);
        }
        for (i, out) in out.chunks_exact_mut(pixel).enumerate() {
            let (image, at) = (i / (height * width), i % (height * width));
            let image = &x.bytes[image * x.image()..][..x.image()];
            let rows = self.inside(0, at / width, x.height);
            let (signs, nonzero) = out.split_at_mut(bytes);
            signs.fill(0);
            nonzero.fill(u8::MAX);
            for y in rows {
                for x0 in self.inside(1, at % width, x.width) {
                    let from = &image[(y * x.width + x0) * pixel..][..pixel];
                    let (from, not_zero) = from.split_at(bytes);
                    signs.iter_mut().zip(from).for_each(|(s, f)| *s |= f);
                    nonzero.iter_mut().zip(not_zero).for_each(|(n, f)| *n &= f);
                }
            }
            for (n, s) in nonzero.iter_mut().zip(&*signs) {
                *n |= s;
            }
            for (s, t) in signs.iter_mut().zip(turned.unwrap_or_default()) {
                *s ^= t;
            }
            for (n, s) in nonzero.iter().zip(signs) {
                *s &= n;
            }
        }
    }

    /// Of one plane: rows first, which are long.
    fn of_signs(&self, x: &Bits<'_>, [height, width]: [usize; 2], turned: &[u8], out: &mut [u8]) {
        let bytes = bytes_of(x.channels);
        let line = x.width * bytes;
        let columns: Vec<(usize, usize)> = (0..width)
            .flat_map(|o| {
                self.inside(1, o, x.width)
                    .map(move |at| (o * bytes, at * bytes))
            })
            .collect();
        let mut tallest = vec![0; line];
        for (i, out) in out.chunks_exact_mut(width * bytes).enumerate() {
            let image = &x.bytes[i / height * x.image()..][..x.image()];
            tallest.fill(0);
            for y in self.inside(0, i % height, x.height) {
                let row = &image[y * line..][..line];
                tallest.iter_mut().zip(row).for_each(|(t, r)| *t |= r);
            }
            out.fill(0);
            for &(to, from) in &columns {
                let (to, from) = (&mut out[to..][..bytes], &tallest[from..][..bytes]);
                match (to.as_chunks_mut::<8>(), from.as_chunks::<8>()) {
                    ((to, []), (from, [])) => {
                        for (to, from) in to.iter_mut().zip(from) {
                            *to =
                                (u64::from_ne_bytes(*to) | u64::from_ne_bytes(*from)).to_ne_bytes();
                        }
                    }
                    ((to, rest), (from, others)) => {
                        let all = to.as_flattened_mut().iter_mut().chain(rest);
                        let from = from.as_flattened().iter().chain(others);
                        all.zip(from).for_each(|(t, f)| *t |= f);
                    }
                }
            }
            if !turned.is_empty() {
                for out in out.chunks_exact_mut(bytes) {
                    out.iter_mut().zip(turned).for_each(|(o, t)| *o ^= t);
                }
            }
        }
    }

    /// The positions of a window that lie in the image.
    fn inside(&self, axis: usize, out: usize, size: usize) -> impl Iterator<Item = usize> + use<> {
        let (from, step, pad) = (
            out * self.stride[axis],
            self.dilation[axis],
            self.pads[axis],
        );
        let places = (0..self.kernel[axis]).map(move |k| from + k * step);
        places
            .filter_map(move |at| at.checked_sub(pad))
            .filter(move |&at| at < size)
    }
}
