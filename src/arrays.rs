//! Loops of [`bnn_kernels`] over whole arrays.

use bnn_kernels::parallel::Planes;
use bnn_kernels::{buffers, parallel};
use ndarray::{ArrayD, IxDyn};

/// The elements of a value in row-major order. Every value of the network is stored so: `run`
/// brings its inputs into this layout, and operators produce no other.
pub(crate) fn slice(x: &ArrayD<f32>) -> &[f32] {
    x.as_slice().expect("values are row-major")
}

/// See [`slice()`].
pub(crate) fn slice_mut(x: &mut ArrayD<f32>) -> &mut [f32] {
    x.as_slice_mut().expect("values are row-major")
}

/// An array of that shape. `data` has as many elements by construction of the caller.
pub(crate) fn array(shape: &[usize], data: Vec<f32>) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(shape), data).expect("data of the shape's size")
}

/// `f` of each element.
pub(crate) fn map(x: &ArrayD<f32>, f: impl Fn(f32) -> f32 + Sync + Copy) -> ArrayD<f32> {
    array(x.shape(), parallel::map(slice(x), f))
}

/// A copy.
pub(crate) fn copy(x: &ArrayD<f32>) -> ArrayD<f32> {
    array(x.shape(), parallel::copy(slice(x)))
}

/// `f(a, b)` of each pair of elements; `a` and `b` have one shape.
pub(crate) fn zip(
    a: &ArrayD<f32>,
    b: &ArrayD<f32>,
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) -> ArrayD<f32> {
    array(a.shape(), parallel::zip(slice(a), slice(b), f))
}

/// `a = f(a, b)` for each pair of elements; `a` and `b` have one shape.
pub(crate) fn update(
    a: &mut ArrayD<f32>,
    b: &ArrayD<f32>,
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) {
    parallel::update(slice_mut(a), slice(b), f);
}

/// [`Planes::map`] of an array.
pub(crate) fn map_planes(
    planes: Planes,
    x: &ArrayD<f32>,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> ArrayD<f32> {
    array(x.shape(), planes.map(slice(x), f))
}

/// [`Planes::update`] of an array.
pub(crate) fn update_planes(
    planes: Planes,
    x: &mut ArrayD<f32>,
    other: &ArrayD<f32>,
    f: impl Fn(usize, &mut [f32], &[f32]) + Sync,
) {
    planes.update(slice_mut(x), slice(other), f);
}

/// Takes the memory of an array back for the next value of its size.
pub(crate) fn recycle_array(x: ArrayD<f32>) {
    buffers::recycle(x.into_raw_vec_and_offset().0);
}
