//! Transpositions between planes of pixels and pixels of channels.

/// Side of a block.
const SIDE: usize = 8;

/// `to[c · to_stride + r] = from[r · from_stride + c]` for `rows` r and `columns` c.
///
/// # Panics
/// If that lies beyond the slices.
pub(crate) fn transpose(
    [rows, columns]: [usize; 2],
    (from, from_stride): (&[f32], usize),
    (to, to_stride): (&mut [f32], usize),
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + columns <= from.len(), "source");
    assert!((columns - 1) * to_stride + rows <= to.len(), "target");
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let avx = is_x86_feature_detected!("avx");
    for r in (0..rows).step_by(SIDE) {
        for c in (0..columns).step_by(SIDE) {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            if avx && r + SIDE <= rows && c + SIDE <= columns {
                // SAFETY: the processor has AVX; a block of eight rows and columns from (r, c) on
                // lies within what was checked above.
                unsafe {
                    avx::block(
                        from.as_ptr().add(r * from_stride + c),
                        from_stride,
                        to.as_mut_ptr().add(c * to_stride + r),
                        to_stride,
                    );
                }
                continue;
            }
            for r in r..(r + SIDE).min(rows) {
                for c in c..(c + SIDE).min(columns) {
                    to[c * to_stride + r] = from[r * from_stride + c];
                }
            }
        }
    }
}

/// [`transpose`] of words.
///
/// # Panics
/// If that lies beyond the slices.
pub(crate) fn transpose_words(
    sizes: [usize; 2],
    (from, from_stride): (&[u32], usize),
    (to, to_stride): (&mut [u32], usize),
) {
    // SAFETY: both types have four bytes of any value, and `transpose` moves them, without looking.
    let (from, to) = unsafe {
        (
            std::slice::from_raw_parts(from.as_ptr().cast::<f32>(), from.len()),
            std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<f32>(), to.len()),
        )
    };
    transpose(sizes, (from, from_stride), (to, to_stride));
}

#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    /// Transposes eight by eight numbers.
    ///
    /// # Safety
    /// The processor must have AVX. Eight rows of eight numbers must be readable at `from` and
    /// writable at `to`, at those strides.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn block(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        // SAFETY: the caller vouches for both blocks; loads and stores are unaligned ones.
        let rows: [_; 8] =
            std::array::from_fn(|r| unsafe { _mm256_loadu_ps(from.add(r * from_stride)) });
        // Pairs of rows, then fours, then all eight.
        let pair = |a: usize| {
            [
                _mm256_unpacklo_ps(rows[a], rows[a + 1]),
                _mm256_unpackhi_ps(rows[a], rows[a + 1]),
            ]
        };
        let four = |a: usize| {
            let ([al, ah], [bl, bh]) = (pair(a), pair(a + 2));
            [
                _mm256_shuffle_ps::<0b01_00_01_00>(al, bl),
                _mm256_shuffle_ps::<0b11_10_11_10>(al, bl),
                _mm256_shuffle_ps::<0b01_00_01_00>(ah, bh),
                _mm256_shuffle_ps::<0b11_10_11_10>(ah, bh),
            ]
        };
        let (low, high) = (four(0), four(4));
        for c in 0..4 {
            // SAFETY: as above.
            unsafe {
                let first = _mm256_permute2f128_ps::<0x20>(low[c], high[c]);
                _mm256_storeu_ps(to.add(c * to_stride), first);
                let second = _mm256_permute2f128_ps::<0x31>(low[c], high[c]);
                _mm256_storeu_ps(to.add((c + 4) * to_stride), second);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_to_its_place_and_nothing_else_is_touched() {
        for (rows, columns) in [(1, 1), (8, 8), (16, 9), (7, 24), (19, 17), (0, 3)] {
            let (from_stride, to_stride) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..(rows + 1) * from_stride).map(|i| i as f32).collect();
            let mut to = vec![-1.0; (columns + 1) * to_stride];
            transpose([rows, columns], (&from, from_stride), (&mut to, to_stride));
            for (i, &v) in to.iter().enumerate() {
                let (c, r) = (i / to_stride, i % to_stride);
                let inside = r < rows && c < columns;
                let expected = if inside {
                    (r * from_stride + c) as f32
                } else {
                    -1.0
                };
                assert_eq!(v, expected, "{rows} {columns} {r} {c}");
            }
        }
    }
}
