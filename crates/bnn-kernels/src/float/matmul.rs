//! Matrix products, through the crate `gemm-f32`.

use rayon::prelude::*;

/// A matrix in a slice, to be read: with strides, so that its transpose is a view of it.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `rows × cols` matrix at the start of `data`.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "matrix beyond its data");
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transpose, of the same numbers.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `start .. start + count`.
    fn row_range(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows beyond the matrix");
        // Of an empty matrix any offset is past the end.
        let offset = (start * self.row_stride).min(self.data.len());
        Self {
            data: &self.data[offset..],
            rows: count,
            ..self
        }
    }
}

/// How a product gets to where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Over what was there.
    Written,
    /// Added to what was there.
    Added,
}

/// `out = scale · lhs · rhs`, or `out += scale · lhs · rhs` where it is added, on the calling thread; `out` is
/// row-major, `[rows of lhs, columns of rhs]`.
///
/// # Panics
/// If the sizes do not fit.
pub fn gemm(out: &mut [f32], lhs: Matrix<'_>, rhs: Matrix<'_>, scale: f32, product: Product) {
    let accumulate = product == Product::Added;
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert_eq!(k, rhs.rows, "inner dimensions of a product");
    assert_eq!(out.len(), m * n, "size of a product");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out.fill(0.0);
        }
        return;
    }
    // The kernels want columns next to each other, except of one alone: outᵀ = rhsᵀ · lhsᵀ.
    let (lhs, rhs, column_stride, row_stride) = match n {
        1 => (lhs, rhs, 1, 1),
        _ => (rhs.t(), lhs.t(), n as isize, 1),
    };
    let kernel = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: `Matrix` holds at least rows × cols elements at its strides (checked where it is
    // made; transposing and taking rows keep that), `out` has m × n elements, and it is borrowed
    // mutably, so it overlaps neither operand. Strides are at most the slices' lengths.
    unsafe {
        kernel(
            lhs.rows,
            rhs.cols,
            k,
            out.as_mut_ptr(),
            column_stride,
            row_stride,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Rows of the product that one task computes.
const ROWS: usize = 32;

/// `out = scale · lhs · rhs`, in parallel over fixed blocks of rows; `out` as in [`gemm()`].
///
/// # Panics
/// If the sizes do not fit.
pub fn par_gemm(out: &mut [f32], lhs: Matrix<'_>, rhs: Matrix<'_>, scale: f32) {
    let n = rhs.cols;
    assert_eq!(out.len(), lhs.rows * n, "size of a product");
    if n == 0 {
        return;
    }
    out.par_chunks_mut(ROWS * n)
        .enumerate()
        .for_each(|(i, out)| {
            let rows = lhs.row_range(i * ROWS, out.len() / n);
            gemm(out, rows, rhs, scale, Product::Written);
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_transpositions_match_the_definition() {
        let (m, k, n) = (37, 5, 11);
        let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
        let transposed = |v: &[f32], r: usize, c: usize| -> Vec<f32> {
            (0..r * c).map(|i| v[(i % r) * c + i / r]).collect()
        };
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        let mut expected = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                expected[i * n + j] =
                    2.0 * (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
            }
        }
        let lhs = [Matrix::new(&a, m, k), Matrix::new(&at, k, m).t()];
        let rhs = [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).t()];
        for l in lhs {
            for r in rhs {
                let mut out = vec![f32::NAN; m * n];
                par_gemm(&mut out, l, r, 2.0);
                assert_eq!(out, expected);
                gemm(&mut out, l, r, 2.0, Product::Added);
                let twice: Vec<f32> = expected.iter().map(|x| 2.0 * x).collect();
                assert_eq!(out, twice);
            }
        }
    }
}
