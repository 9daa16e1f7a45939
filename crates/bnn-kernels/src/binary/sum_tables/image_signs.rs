//! The signs of activations as the gradient of the weights reads them: those of four images are the
//! index of a sum.

use rayon::prelude::*;

use super::IMAGES_PER_TABLE;
use super::lookup::ROWS;
use crate::binary::Codes;
use crate::buffers::{buffer, recycle};
use crate::padded_grid::PaddedGrid;

/// For each four images, pixel and channel which entry of a table their signs choose, `[⌈N/4⌉, grid, C
/// rounded up to whole fours]`: one of the sixteen sums or, where all four are 0, nothing. No other
/// number is ever written.
#[derive(Debug)]
pub(in crate::binary) struct Indices {
    entries: Vec<u8>,
}

/// Sums of so many numbers with signs.
pub(in crate::binary) const SUMS: usize = 1 << IMAGES_PER_TABLE;
/// The entry for four zeros.
const NOTHING: u8 = SUMS as u8;

/// Activations of four images.
#[derive(Debug)]
pub(in crate::binary) struct ImageSigns {
    /// Of activations without zeros but where all four images have them; else, twice as many, of
    /// those with zeros as plus one and as minus one, whose mean it is.
    readings: Vec<Indices>,
}

/// For each code of four channels a byte for each, 1 where the activation is positive; and where it is
/// not negative.
static POSITIVE: [[u32; 2]; 81] = {
    let mut all = [[0; 2]; 81];
    let mut code = 0;
    while code < 81 {
        let values = Codes::values(code);
        let mut c = 0;
        while c < Codes::CHANNELS {
            all[code][0] |= (values[c] > 0) as u32 * (1 << (8 * c));
            all[code][1] |= (values[c] >= 0) as u32 * (1 << (8 * c));
            c += 1;
        }
        code += 1;
    }
    all
};

impl Indices {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn at(&self, i: usize) -> usize {
        usize::from(self.entries[i])
    }

    /// Each is the number of an entry.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    fn write(
        x: &Codes,
        grid: PaddedGrid,
        index: impl Fn([u32; 2]) -> Option<[u8; ROWS]> + Sync,
    ) -> Option<Self> {
        let [n, c, h, w] = x.shape();
        let groups = c.div_ceil(Codes::CHANNELS);
        let line = groups * ROWS;
        let size = grid.area() * line;
        let mut entries = buffer::<u8>(n.div_ceil(IMAGES_PER_TABLE) * size);
        let is_padded = grid.area() != h * w;
        let written = entries
            .par_chunks_mut(size.max(1))
            .enumerate()
            .map(|(i, to)| {
                if is_padded {
                    to.fill(NOTHING);
                }
                // Images that are missing have no gradient either.
                let four: [&[u8]; IMAGES_PER_TABLE] = std::array::from_fn(|k| {
                    let at = i * IMAGES_PER_TABLE + k;
                    x.codes_of(if at < n { at } else { i * IMAGES_PER_TABLE })
                });
                for y in 0..h {
                    let at = ((grid.top + y) * grid.width + grid.left) * line;
                    let to = &mut to[at..at + w * line];
                    let [a, b, c, d] = four.map(|codes| &codes[y * w * groups..][..w * groups]);
                    let codes = a.iter().zip(b).zip(c.iter().zip(d));
                    for (to, ((a, b), (c, d))) in to.as_chunks_mut::<ROWS>().0.iter_mut().zip(codes)
                    {
                        let words = [*a, *b, *c, *d].map(|code| POSITIVE[usize::from(code) / 2]);
                        let both = [0, 1].map(|i| {
                            words[0][i] | words[1][i] << 1 | words[2][i] << 2 | words[3][i] << 3
                        });
                        *to = index(both)?;
                    }
                }
                Some(())
            })
            .reduce(|| Some(()), |a, b| a.and(b));
        match written {
            Some(()) => Some(Self { entries }),
            None => {
                recycle(entries);
                None
            }
        }
    }
}

/// For each channel the sum with those signs.
fn entries_of(nibbles: u32) -> [u8; ROWS] {
    nibbles.to_le_bytes().map(|nibble| nibble & (NOTHING - 1))
}

impl ImageSigns {
    /// Of the activations of a layer, padded as the grid says.
    pub fn new(x: &Codes, grid: PaddedGrid) -> Self {
        let simple = Indices::write(x, grid, |[positive, other]| {
            if positive == other {
                return Some(entries_of(positive));
            }
            let mut all = [0; ROWS];
            let each = positive.to_le_bytes().into_iter().zip(other.to_le_bytes());
            for (to, nibbles) in all.iter_mut().zip(each) {
                *to = match nibbles {
                    (a, b) if a == b => a,
                    (0, 15) => NOTHING,
                    _ => return None,
                };
            }
            Some(all)
        });
        let readings = match simple {
            Some(simple) => vec![simple],
            None => [0, 1]
                .into_iter()
                .filter_map(|i| Indices::write(x, grid, |both| Some(entries_of(both[i]))))
                .collect(),
        };
        Self { readings }
    }

    pub fn readings(&self) -> &[Indices] {
        &self.readings
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.entries));
    }
}
