//! A tensor cut along some of its axes: the numbers that are reduced or normalised together, one after the
//! other.

use ndarray::ArrayD;

use super::NodeView;
use super::node_view::ImportError;
use super::transpose::{inverse, permuted};
use crate::arrays::{array, slice};
use crate::graph::normalize_axis;

/// Lanes along `axes` (ascending, without the batch axis) of a tensor of `rank` axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lanes {
    pub rank: usize,
    pub axes: Vec<usize>,
}

impl Lanes {
    /// Along the axes of a node that come as the attribute `axes` or as its input 1.
    ///
    /// # Errors
    /// If they are no axes of its input, or the batch is one of them.
    pub fn of_reduction(view: &NodeView<'_, '_>) -> Result<Self, ImportError> {
        let rank = view.input_shape(0)?.len();
        let axes = match view.node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None if view.has_input(1) => view.ints(1)?,
            None => vec![],
        };
        if axes.is_empty() {
            return Err(view.reject(match view.node.int("noop_with_empty_axes", 0) {
                0 => "it reduces the batch too, which is not supported",
                _ => "it reduces nothing (noop_with_empty_axes = 1)",
            }));
        }
        let axes: Option<Vec<usize>> = axes.iter().map(|&a| normalize_axis(a, rank)).collect();
        let mut axes = axes.ok_or_else(|| view.reject("its axes are out of range"))?;
        axes.sort_unstable();
        axes.dedup();
        match axes.contains(&0) {
            true => Err(view.reject("it reduces the batch, which is not supported")),
            false => Ok(Self { rank, axes }),
        }
    }

    /// Along all axes from `first` on.
    pub fn from(first: usize, rank: usize) -> Self {
        Self {
            rank,
            axes: (first..rank).collect(),
        }
    }

    /// A tensor's shape with 1 for each of the axes.
    pub fn kept(&self, shape: &[usize]) -> Vec<usize> {
        let size = |(i, &d): (usize, &usize)| if self.axes.contains(&i) { 1 } else { d };
        shape.iter().enumerate().map(size).collect()
    }

    /// A tensor's shape without the axes.
    pub fn left(&self, shape: &[usize]) -> Vec<usize> {
        let others = shape.iter().enumerate();
        let others = others.filter(|(i, _)| !self.axes.contains(i));
        others.map(|(_, &d)| d).collect()
    }

    /// Numbers in a lane.
    pub fn count(&self, shape: &[usize]) -> usize {
        self.axes.iter().filter_map(|&a| shape.get(a)).product()
    }

    /// Whether the axes are the last ones, so that lanes lie one after the other as they are.
    pub fn are_rows(&self) -> bool {
        let first = self.axes.first().copied().unwrap_or(self.rank);
        self.axes.len() == self.rank - first
    }

    /// The other axes, then these.
    fn order(&self) -> Vec<usize> {
        let others = (0..self.rank).filter(|i| !self.axes.contains(i));
        others.chain(self.axes.iter().copied()).collect()
    }

    /// The lanes of a tensor, one after the other.
    pub fn gather(&self, x: &ArrayD<f32>) -> Vec<f32> {
        match self.are_rows() {
            true => slice(x).to_vec(),
            false => permuted(x, &self.order()).into_raw_vec_and_offset().0,
        }
    }

    /// A tensor of that shape with these lanes.
    pub fn scatter(&self, lanes: Vec<f32>, shape: &[usize]) -> ArrayD<f32> {
        if self.are_rows() {
            return array(shape, lanes);
        }
        let order = self.order();
        let turned: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        permuted(&array(&turned, lanes), &inverse(&order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn lanes_come_back_to_their_places() {
        let x = random(&[2, 3, 4, 5], 1);
        for axes in [vec![1], vec![2, 3], vec![1, 3], vec![2], vec![1, 2, 3]] {
            let lanes = Lanes { rank: 4, axes };
            let all = lanes.gather(&x);
            assert_eq!(
                lanes.count(x.shape()) * lanes.left(x.shape()).iter().product::<usize>(),
                120
            );
            assert_eq!(lanes.scatter(all, x.shape()), x);
        }
        let channels = Lanes {
            rank: 4,
            axes: vec![1],
        };
        assert_eq!(
            channels.gather(&x)[..3],
            [x[[0, 0, 0, 0]], x[[0, 1, 0, 0]], x[[0, 2, 0, 0]]]
        );
    }
}
