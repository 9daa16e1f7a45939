//! Decoded images in memory, and batches of them.

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayD, ArrayView3, Axis, IxDyn};
use ndarray_rand::rand::SeedableRng;
use ndarray_rand::rand::seq::SliceRandom;
use rand_chacha::ChaCha12Rng;
use rayon::prelude::*;

use super::arrays::other_than_byte;
use super::augment::{Augmentation, Shift, Varied, mix};
use super::reading::sum;
use super::{DataError, Preprocess, Stored, Streamed};

/// The images of a data set, `[N, C, H, W]`.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// 8-bit pixels (red, green, blue, or luma alone); [`Preprocess`] applies to them.
    U8(Array4<u8>),
    /// Values that are the model's input already; only the layout of a batch is applied.
    F32(Array4<f32>),
    /// 8-bit pixels that stay in their files: sets that memory has no room for.
    Streamed(Arc<Streamed>),
    /// Pixels or values that stay in an archive, for the same reason.
    Stored(Arc<Stored>),
}

impl Pixels {
    /// Whether they are values that are the model's input already, not pixels.
    pub fn are_floats(&self) -> bool {
        match self {
            Self::U8(_) | Self::Streamed(_) => false,
            Self::F32(_) => true,
            Self::Stored(rows) => rows.holds_floats(),
        }
    }

    /// A value that is no whole number from 0 to 255, if there is one.
    pub fn other_than_bytes(&self) -> Option<f32> {
        match self {
            Self::U8(_) | Self::Streamed(_) => None,
            Self::F32(values) => other_than_byte(values),
            Self::Stored(rows) => rows.other_than_bytes(),
        }
    }
}

/// Images with or without labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The images, all of one size.
    pub images: Pixels,
    /// The class index of each image.
    pub labels: Option<Vec<usize>>,
    /// Class names by index; empty where the source has no names.
    pub classes: Vec<String>,
    /// Where the images came from.
    pub source: PathBuf,
    /// Images that were left out, and why: a line each.
    pub skipped: Vec<String>,
}

/// Indices of a data set in two disjoint parts, each in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Images to learn from.
    pub train: Vec<usize>,
    /// Images to validate on.
    pub val: Vec<usize>,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.images {
            Pixels::U8(images) => images.len_of(Axis(0)),
            Pixels::F32(images) => images.len_of(Axis(0)),
            Pixels::Streamed(files) => files.len(),
            Pixels::Stored(rows) => rows.len(),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of pixels that are held in memory.
    pub fn bytes(&self) -> u64 {
        match &self.images {
            Pixels::U8(images) => images.len() as u64,
            Pixels::F32(images) => 4 * images.len() as u64,
            Pixels::Streamed(_) | Pixels::Stored(_) => 0,
        }
    }

    /// `[C, H, W]` of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        let (_, c, h, w) = match &self.images {
            Pixels::U8(images) => images.dim(),
            Pixels::F32(images) => images.dim(),
            Pixels::Streamed(files) => return files.image_shape(),
            Pixels::Stored(rows) => return rows.image_shape(),
        };
        [c, h, w]
    }

    /// One more than the largest label: the least number of outputs a fitting classifier has.
    /// `None` without labels.
    pub fn class_count(&self) -> Option<usize> {
        let labels = self.labels.as_ref()?;
        let largest = labels
            .iter()
            .max()
            .map_or(0, |label| label.saturating_add(1));
        Some(largest.max(self.classes.len()))
    }

    /// The images `indices`, preprocessed, in `pre.layout`.
    ///
    /// # Errors
    /// If one that stays in its file cannot be read any more.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn batch(&self, indices: &[usize], pre: &Preprocess) -> Result<ArrayD<f32>, DataError> {
        self.build(indices, pre, None)
    }

    /// As [`batch`](Self::batch), each image varied by `augmentation`.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    pub fn augmented_batch(
        &self,
        indices: &[usize],
        pre: &Preprocess,
        augmentation: &Augmentation,
    ) -> Result<ArrayD<f32>, DataError> {
        self.build(indices, pre, Some(augmentation))
    }

    fn build(
        &self,
        indices: &[usize],
        pre: &Preprocess,
        augmentation: Option<&Augmentation>,
    ) -> Result<ArrayD<f32>, DataError> {
        let [c, h, w] = self.image_shape();
        let tables: Vec<[f32; 256]> = (0..c).map(|channel| pre.table(channel)).collect();
        let value = |pixels: &Array3<u8>, (channel, y, x): (usize, usize, usize)| {
            let stored = pre.stored_channel(channel, c);
            tables[channel][usize::from(pixels[[stored, y, x]])]
        };
        let image = |index: usize| -> Result<Array3<f32>, DataError> {
            let varied = augmentation.map_or(Varied::default(), |a| a.of(index));
            Ok(match &self.images {
                Pixels::F32(images) => shifted(images.index_axis(Axis(0), index), varied.shift),
                Pixels::Stored(rows) if rows.holds_floats() => {
                    shifted(rows.values(index)?.view(), varied.shift)
                }
                Pixels::U8(_) | Pixels::Streamed(_) | Pixels::Stored(_) => {
                    let pixels = self.pixels(index, &varied)?;
                    Array3::from_shape_fn((c, h, w), |at| value(&pixels, at))
                }
            })
        };
        let shape = pre.layout.batch_shape(indices.len(), [c, h, w]);
        let mut batch = ArrayD::<f32>::zeros(IxDyn(&shape));
        batch
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(indices.par_iter())
            .try_for_each(|(mut out, &index)| {
                let image = image(index)?;
                let image = match pre.layout.has_channels_last() {
                    true => image.permuted_axes([1, 2, 0]),
                    false => image,
                };
                // Both iterate in logical order, so a flat row takes C, H, W one after another.
                for (out, value) in out.iter_mut().zip(image.iter()) {
                    *out = *value;
                }
                Ok(())
            })?;
        Ok(batch)
    }

    /// An image's pixels, varied: a part of it enlarged, then mirrored and moved, then its colours.
    fn pixels(&self, index: usize, varied: &Varied) -> Result<Array3<u8>, DataError> {
        let shape = self.image_shape();
        let pixels = match &self.images {
            Pixels::Streamed(files) => files.image(index, varied.cut)?,
            Pixels::U8(images) => {
                let image = images.index_axis(Axis(0), index);
                match varied.cut {
                    Some(cut) => cut.of_planes(image),
                    None => image.to_owned(),
                }
            }
            Pixels::Stored(rows) => {
                let image = rows.pixels(index)?;
                match varied.cut {
                    Some(cut) => cut.of_planes(image.view()),
                    None => image,
                }
            }
            Pixels::F32(_) => Array3::zeros(shape),
        };
        let mut pixels = match varied.shift == Shift::default() {
            true => pixels,
            false => shifted(pixels.view(), varied.shift),
        };
        if let Some(colours) = &varied.colours {
            colours.apply(&mut pixels);
        }
        Ok(pixels)
    }

    /// Some of the images by themselves, in memory.
    ///
    /// # Errors
    /// If one cannot be read any more.
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        let images = match &self.images {
            Pixels::U8(all) => Pixels::U8(all.select(Axis(0), indices)),
            Pixels::F32(all) => Pixels::F32(all.select(Axis(0), indices)),
            Pixels::Streamed(files) => {
                let image = |index| files.image(index, None);
                Pixels::U8(gathered(indices, files.image_shape(), image)?)
            }
            Pixels::Stored(rows) => {
                let shape = rows.image_shape();
                match rows.holds_floats() {
                    true => Pixels::F32(gathered(indices, shape, |i| rows.values(i))?),
                    false => Pixels::U8(gathered(indices, shape, |i| rows.pixels(i))?),
                }
            }
        };
        let of = |labels: &Vec<usize>| -> Vec<usize> {
            let label = |&i: &usize| labels.get(i).copied().unwrap_or_default();
            indices.iter().map(label).collect()
        };
        Ok(Self {
            images,
            labels: self.labels.as_ref().map(of),
            classes: self.classes.clone(),
            source: self.source.clone(),
            skipped: Vec::new(),
        })
    }

    /// A number for each image, the same for the same pixels.
    pub fn sums(&self) -> Vec<u64> {
        match &self.images {
            Pixels::U8(all) => {
                let images = all.axis_iter(Axis(0)).into_par_iter();
                images.map(|i| sum(i, |v| [v])).collect()
            }
            Pixels::F32(all) => {
                let images = all.axis_iter(Axis(0)).into_par_iter();
                images.map(|i| sum(i, f32::to_le_bytes)).collect()
            }
            Pixels::Streamed(files) => files.sums().to_vec(),
            Pixels::Stored(rows) => rows.sums().to_vec(),
        }
    }

    /// Splits off about `fraction` of the images (of each class, where labelled) for validation.
    ///
    /// The same seed gives the same split. A class of two or more images keeps at least one on
    /// each side when 0 < `fraction` < 1.
    pub fn split(&self, fraction: f64, seed: u64) -> Split {
        let fraction = if fraction.is_finite() {
            fraction.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        match &self.labels {
            None => groups.push((0..self.len()).collect()),
            Some(labels) => {
                let mut order: Vec<usize> = (0..self.len()).collect();
                // Stable: within a class the images stay in their order.
                order.sort_by_key(|&i| labels[i]);
                groups.extend(
                    order
                        .chunk_by(|&a, &b| labels[a] == labels[b])
                        .map(<[_]>::to_vec),
                );
            }
        }
        let mut split = Split {
            train: Vec::new(),
            val: Vec::new(),
        };
        for (number, mut group) in groups.into_iter().enumerate() {
            let mut rng = ChaCha12Rng::seed_from_u64(mix(&[seed, number as u64, 0x5b11]));
            group.shuffle(&mut rng);
            let mut count = (group.len() as f64 * fraction).round() as usize;
            if group.len() >= 2 && fraction > 0.0 && fraction < 1.0 {
                count = count.clamp(1, group.len() - 1);
            }
            let (val, train) = group.split_at(count.min(group.len()));
            split.val.extend_from_slice(val);
            split.train.extend_from_slice(train);
        }
        split.train.sort_unstable();
        split.val.sort_unstable();
        split
    }
}

/// Images as one array, each read by itself.
fn gathered<T: Copy + Default + Send + Sync>(
    indices: &[usize],
    [c, h, w]: [usize; 3],
    image: impl Fn(usize) -> Result<Array3<T>, DataError> + Sync,
) -> Result<Array4<T>, DataError> {
    let mut some = Array4::from_elem((indices.len(), c, h, w), T::default());
    let rows = some.axis_iter_mut(Axis(0)).into_par_iter();
    rows.zip(indices.par_iter())
        .try_for_each(|(mut row, &index)| {
            row.assign(&image(index)?);
            Ok(())
        })?;
    Ok(some)
}

/// `image` mirrored and moved, zero where the source lies outside; a single row or column (a signal) only
/// along itself.
fn shifted<T: Copy + Default>(image: ArrayView3<'_, T>, shift: Shift) -> Array3<T> {
    if shift == Shift::default() {
        return image.to_owned();
    }
    let (c, h, w) = image.dim();
    let down = if h == 1 { 0 } else { shift.dy };
    let right = if w == 1 { 0 } else { shift.dx };
    Array3::from_shape_fn((c, h, w), |(channel, y, x)| {
        let x = if shift.flip { w - 1 - x } else { x };
        let source_y = y.checked_add_signed(down);
        let source_x = x.checked_add_signed(right);
        match (source_y, source_x) {
            (Some(y), Some(x)) => image.get([channel, y, x]).copied().unwrap_or_default(),
            _ => T::default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Augment, Channels, Layout};
    use super::*;

    fn numbered(n: usize) -> Dataset {
        let images = Array4::from_shape_fn((n, 3, 2, 4), |(i, c, y, x)| {
            (i * 50 + c * 10 + y * 4 + x) as u8
        });
        Dataset {
            images: Pixels::U8(images),
            labels: None,
            classes: Vec::new(),
            source: "test".into(),
            skipped: Vec::new(),
        }
    }

    fn raw() -> Preprocess {
        Preprocess {
            scale: 1.0,
            ..Preprocess::default()
        }
    }

    #[test]
    fn layouts_and_channel_orders() {
        let data = numbered(3);
        let nchw = data.batch(&[2, 0], &raw()).unwrap();
        assert_eq!(nchw.shape(), [2, 3, 2, 4]);
        assert_eq!(nchw[[0, 1, 1, 2]], 116.0);
        assert_eq!(nchw[[1, 1, 1, 2]], 16.0);
        let with = |layout, channels| Preprocess {
            layout,
            channels,
            ..raw()
        };
        let nhwc = data
            .batch(&[2], &with(Layout::Nhwc, Channels::Rgb))
            .unwrap();
        assert_eq!(nhwc.shape(), [1, 2, 4, 3]);
        assert_eq!(nhwc[[0, 1, 2, 1]], 116.0);
        let flat = data
            .batch(&[0], &with(Layout::Flat, Channels::Rgb))
            .unwrap();
        assert_eq!(flat.shape(), [1, 24]);
        assert_eq!(flat[[0, 8 + 4 + 2]], 16.0);
        let bgr = data
            .batch(&[0], &with(Layout::Nchw, Channels::Bgr))
            .unwrap();
        assert_eq!(bgr[[0, 0, 0, 0]], 20.0);
        assert_eq!(bgr[[0, 2, 0, 0]], 0.0);
    }

    #[test]
    fn float_images_are_used_as_they_are() {
        let mut data = numbered(1);
        data.images = Pixels::F32(Array4::from_elem((1, 3, 2, 4), -0.75));
        assert!(
            data.batch(&[0], &raw())
                .unwrap()
                .iter()
                .all(|&v| v == -0.75)
        );
    }

    #[test]
    fn shifts_move_mirror_and_pad() {
        let data = numbered(1);
        let Pixels::U8(images) = &data.images else {
            unreachable!()
        };
        let image = images.index_axis(Axis(0), 0);
        let moved = shifted(
            image,
            Shift {
                flip: false,
                dy: 1,
                dx: -1,
            },
        );
        assert_eq!(moved[[0, 0, 0]], 0);
        assert_eq!(moved[[0, 0, 1]], 4);
        assert_eq!(moved[[0, 1, 3]], 0);
        let mirrored = shifted(
            image,
            Shift {
                flip: true,
                dy: 0,
                dx: 0,
            },
        );
        assert_eq!(mirrored[[1, 0, 0]], 13);
    }

    #[test]
    fn augmentation_does_not_depend_on_the_batch() {
        let data = numbered(5);
        let augmentation = Augmentation {
            augment: Augment {
                flip: true,
                crop_padding: 1,
                ..Augment::default()
            },
            seed: 3,
            epoch: 1,
        };
        let all = data
            .augmented_batch(&[0, 1, 2, 3, 4], &raw(), &augmentation)
            .unwrap();
        let alone = data.augmented_batch(&[3], &raw(), &augmentation).unwrap();
        assert_eq!(all.index_axis(Axis(0), 3), alone.index_axis(Axis(0), 0));
    }

    #[test]
    fn splits_are_stratified_disjoint_and_seeded() {
        let mut data = numbered(1);
        data.images = Pixels::U8(Array4::zeros((100, 1, 1, 1)));
        data.labels = Some((0..100).map(|i| usize::from(i % 10 == 0)).collect());
        let split = data.split(0.1, 5);
        assert_eq!((split.train.len(), split.val.len()), (90, 10));
        let rare = split.val.iter().filter(|&&i| i % 10 == 0).count();
        assert_eq!(rare, 1);
        assert!(split.val.iter().all(|i| !split.train.contains(i)));
        assert_eq!(split, data.split(0.1, 5));
        assert_ne!(split, data.split(0.1, 6));
        assert_eq!(data.split(0.0, 5).val.len(), 0);
    }
}
