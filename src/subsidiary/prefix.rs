//! What frozen layers compute, kept instead of computed again.
//!
//! Valid for fixed inputs (no random augmentation) and frozen BatchNormalization below the cut.

use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};

use crate::autograd::kernels::packed::Codes;

/// Values of one tensor at the cut, for every training image.
#[derive(Debug)]
struct Rows {
    /// Shape of one image's value.
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// All values are -1, 0 or +1: four in a byte.
    Packed(Codes),
    Float(Vec<f32>),
}

/// The values at a cut through the network, image by image.
#[derive(Debug, Default)]
pub struct PrefixCache {
    tensors: Vec<Rows>,
}

/// One image's value as channels and planes.
fn planes(shape: &[usize]) -> [usize; 3] {
    let channels = shape.first().copied().unwrap_or(1);
    [channels, shape.iter().skip(1).product(), 1]
}

/// A batch in four values a byte; `None` if it holds others than -1, 0 and +1.
fn packed(batch: &ArrayD<f32>) -> Option<Codes> {
    let [c, h, w] = planes(&batch.shape()[1..]);
    Codes::pack(batch.as_slice()?, [batch.len_of(Axis(0)), c, h, w])
}

impl PrefixCache {
    /// Bytes per image of values like these (a batch at the cut), as the cache would keep them.
    pub fn bytes_per_image(batch: &[Arc<ArrayD<f32>>]) -> usize {
        batch
            .iter()
            .map(|a| match packed(a) {
                Some(_) => Codes::bytes_per_image(planes(&a.shape()[1..])),
                None => 4 * a.len() / a.len_of(Axis(0)).max(1),
            })
            .sum()
    }

    /// Appends a batch: for each tensor at the cut its value `[B, …]`, in row-major layout.
    pub fn push(&mut self, batch: &[Arc<ArrayD<f32>>]) {
        if self.tensors.is_empty() {
            let empty = |a: &Arc<ArrayD<f32>>| {
                let [c, h, w] = planes(&a.shape()[1..]);
                Rows {
                    shape: a.shape()[1..].to_vec(),
                    data: Data::Packed(Codes::zeros([0, c, h, w])),
                }
            };
            self.tensors = batch.iter().map(empty).collect();
        }
        for (rows, values) in self.tensors.iter_mut().zip(batch) {
            let codes = match &rows.data {
                Data::Packed(_) => packed(values),
                Data::Float(_) => None,
            };
            match (&mut rows.data, codes) {
                (Data::Packed(all), Some(codes)) => all.append(&codes),
                (Data::Packed(all), None) => {
                    let mut floats = all.unpack();
                    floats.extend(values.iter());
                    rows.data = Data::Float(floats);
                }
                (Data::Float(all), _) => all.extend(values.iter()),
            }
        }
    }

    /// The values of the images `indices`, a tensor `[B, …]` for each at the cut.
    pub fn batch(&self, indices: &[usize]) -> Vec<ArrayD<f32>> {
        self.tensors.iter().map(|t| t.gather(indices)).collect()
    }
}

impl Rows {
    fn gather(&self, indices: &[usize]) -> ArrayD<f32> {
        let size: usize = self.shape.iter().product();
        let out = match &self.data {
            Data::Packed(codes) => codes.select(indices).unpack(),
            Data::Float(v) => {
                let rows = indices.iter().map(|&i| &v[i * size..(i + 1) * size]);
                rows.collect::<Vec<_>>().concat()
            }
        };
        let mut shape = vec![indices.len()];
        shape.extend(&self.shape);
        ArrayD::from_shape_vec(IxDyn(&shape), out).expect("as many elements as rows times row size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(v: &[f32]) -> Arc<ArrayD<f32>> {
        let shape = IxDyn(&[v.len() / 2, 2]);
        Arc::new(ArrayD::from_shape_vec(shape, v.to_vec()).unwrap())
    }

    #[test]
    fn gives_back_what_was_pushed_also_when_a_later_batch_is_not_ternary() {
        let mut cache = PrefixCache::default();
        cache.push(&[rows(&[1.0, -1.0, 0.0, 1.0])]);
        assert!(matches!(cache.tensors[0].data, Data::Packed(_)));
        cache.push(&[rows(&[0.5, 2.0])]);
        assert!(matches!(cache.tensors[0].data, Data::Float(_)));
        assert_eq!(cache.batch(&[2, 0])[0], *rows(&[0.5, 2.0, 1.0, -1.0]));
        assert_eq!(PrefixCache::bytes_per_image(&[rows(&[1.0, 0.0])]), 1);
        assert_eq!(PrefixCache::bytes_per_image(&[rows(&[1.5, 0.0])]), 8);
    }
}
