//! What frozen layers compute, kept instead of computed again.
//!
//! Valid for fixed inputs (no random augmentation) and frozen BatchNormalization below the cut.

use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};

/// Values of one tensor at the cut, for every training image.
#[derive(Debug)]
struct Rows {
    /// Shape of one image's value.
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// All values are -1, 0 or +1.
    Ternary(Vec<i8>),
    Float(Vec<f32>),
}

/// The values at a cut through the network, image by image.
#[derive(Debug, Default)]
pub struct PrefixCache {
    tensors: Vec<Rows>,
}

impl PrefixCache {
    /// Bytes per image of values like these (a batch at the cut), as the cache would keep them.
    pub fn bytes_per_image(batch: &[Arc<ArrayD<f32>>]) -> usize {
        batch
            .iter()
            .map(|a| {
                let n = a.len_of(Axis(0)).max(1);
                a.len() / n * if is_ternary(a) { 1 } else { 4 }
            })
            .sum()
    }

    /// Appends a batch: for each tensor at the cut its value `[B, …]`, in row-major layout.
    pub fn push(&mut self, batch: &[Arc<ArrayD<f32>>]) {
        if self.tensors.is_empty() {
            self.tensors = batch
                .iter()
                .map(|a| Rows {
                    shape: a.shape()[1..].to_vec(),
                    data: Data::Ternary(Vec::new()),
                })
                .collect();
        }
        for (rows, values) in self.tensors.iter_mut().zip(batch) {
            if let Data::Ternary(small) = &rows.data
                && !is_ternary(values)
            {
                rows.data = Data::Float(small.iter().map(|&v| f32::from(v)).collect());
            }
            match &mut rows.data {
                Data::Ternary(v) => v.extend(values.iter().map(|&x| x as i8)),
                Data::Float(v) => v.extend(values.iter()),
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
        let mut out = Vec::with_capacity(size * indices.len());
        for &i in indices {
            let row = i * size..(i + 1) * size;
            match &self.data {
                Data::Ternary(v) => out.extend(v[row].iter().map(|&x| f32::from(x))),
                Data::Float(v) => out.extend_from_slice(&v[row]),
            }
        }
        let mut shape = vec![indices.len()];
        shape.extend(&self.shape);
        ArrayD::from_shape_vec(IxDyn(&shape), out).expect("as many elements as rows times row size")
    }
}

fn is_ternary(a: &ArrayD<f32>) -> bool {
    a.iter().all(|&x| x == 0.0 || x == 1.0 || x == -1.0)
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
        assert!(matches!(cache.tensors[0].data, Data::Ternary(_)));
        cache.push(&[rows(&[0.5, 2.0])]);
        assert!(matches!(cache.tensors[0].data, Data::Float(_)));
        assert_eq!(cache.batch(&[2, 0])[0], *rows(&[0.5, 2.0, 1.0, -1.0]));
        assert_eq!(PrefixCache::bytes_per_image(&[rows(&[1.0, 0.0])]), 2);
        assert_eq!(PrefixCache::bytes_per_image(&[rows(&[1.5, 0.0])]), 8);
    }
}
