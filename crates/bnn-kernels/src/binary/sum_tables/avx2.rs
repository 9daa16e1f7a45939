//! The sums with AVX2: four rows of two vectors at a time.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm256_add_epi16, _mm256_add_ps, _mm256_castsi256_si128,
    _mm256_cvtepi16_epi32, _mm256_cvtepi32_ps, _mm256_extracti128_si256, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_epi16, _mm256_sub_ps,
};

use super::entry::TableEntry;
use super::image_signs::SUMS;
use super::lookup::{BYTES, PlaneTerms, ROWS, RowTerms};

/// A vector of a table.
trait Vector: Copy {
    /// # Safety
    /// AVX2; 32 bytes must be readable.
    unsafe fn read(at: *const u8) -> Self;
    /// # Safety
    /// AVX2; 32 bytes must be writable.
    unsafe fn write(self, at: *mut u8);
    /// # Safety
    /// AVX2.
    unsafe fn plus(self, other: Self) -> Self;
    /// # Safety
    /// AVX2.
    unsafe fn minus(self, other: Self) -> Self;
    /// # Safety
    /// AVX2.
    unsafe fn zero() -> Self;
    /// Writes two of them as floats, added to what is there unless it is `fresh`.
    ///
    /// # Safety
    /// AVX2; as many floats must be readable and writable as two vectors have numbers.
    unsafe fn put(two: [Self; 2], to: *mut f32, fresh: bool);
}

macro_rules! vector {
    ($type:ty, $read:ident, $write:ident, $plus:ident, $minus:ident, $zero:ident, $put:ident) => {
        impl Vector for $type {
            #[inline(always)]
            unsafe fn read(at: *const u8) -> Self {
                // SAFETY: see the trait.
                unsafe { $read(at.cast()) }
            }

            #[inline(always)]
            unsafe fn write(self, at: *mut u8) {
                // SAFETY: see the trait.
                unsafe { $write(at.cast(), self) }
            }

            #[inline(always)]
            unsafe fn plus(self, other: Self) -> Self {
                // SAFETY: see the trait.
                unsafe { $plus(self, other) }
            }

            #[inline(always)]
            unsafe fn minus(self, other: Self) -> Self {
                // SAFETY: see the trait.
                unsafe { $minus(self, other) }
            }

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: see the trait.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn put(two: [Self; 2], to: *mut f32, fresh: bool) {
                // SAFETY: see the trait.
                unsafe { $put(two, to, fresh) }
            }
        }
    };
}

vector!(
    __m256,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_setzero_ps,
    put_floats
);
vector!(
    __m256i,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_add_epi16,
    _mm256_sub_epi16,
    _mm256_setzero_si256,
    put_shorts
);

/// # Safety
/// AVX2; sixteen floats must be readable and writable.
#[inline(always)]
unsafe fn put_floats(two: [__m256; 2], to: *mut f32, fresh: bool) {
    for (i, vector) in two.into_iter().enumerate() {
        // SAFETY: see above.
        unsafe {
            let to = to.add(8 * i);
            let sum = match fresh {
                true => vector,
                false => _mm256_add_ps(_mm256_loadu_ps(to), vector),
            };
            _mm256_storeu_ps(to, sum);
        }
    }
}

/// # Safety
/// AVX2; 32 floats must be readable and writable.
#[inline(always)]
unsafe fn put_shorts(two: [__m256i; 2], to: *mut f32, fresh: bool) {
    for (i, vector) in two.into_iter().enumerate() {
        // SAFETY: see above.
        unsafe {
            let float = |half: __m128i| _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half));
            let halves = [
                float(_mm256_castsi256_si128(vector)),
                float(_mm256_extracti128_si256::<1>(vector)),
            ];
            put_floats(halves, to.add(16 * i), fresh);
        }
    }
}

/// Sums of two vectors.
#[derive(Clone, Copy)]
struct Pair<V>([V; 2]);

impl<V: Vector> Pair<V> {
    /// # Safety
    /// AVX2.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Self([V::zero(), V::zero()]) }
    }

    /// Adds a vector from each place.
    ///
    /// # Safety
    /// AVX2; 32 bytes must be readable at each.
    #[inline(always)]
    unsafe fn add(self, at: [*const u8; 2]) -> Self {
        let Self([first, second]) = self;
        // SAFETY: see above.
        unsafe { Self([first.plus(V::read(at[0])), second.plus(V::read(at[1]))]) }
    }
}

/// See [`crate::simd::Instructions::planes`].
///
/// # Safety
/// The processor must have AVX2. `out` must have whole fours of rows of an even number of vectors,
/// one for each start, the offsets be four times `terms` for each such four, and a vector from each offset
/// plus each start on must lie within the table.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn planes<E: TableEntry>(
    table: &[E],
    terms: &PlaneTerms<'_>,
    fresh: bool,
    out: &mut [f32],
) {
    // SAFETY: as the caller vouches for.
    unsafe {
        match size_of::<E>() {
            4 => planes_of::<E, __m256>(table, terms, fresh, out),
            _ => planes_of::<E, __m256i>(table, terms, fresh, out),
        }
    }
}

/// # Safety
/// See [`planes`].
#[inline(always)]
unsafe fn planes_of<E: TableEntry, V: Vector>(
    table: &[E],
    terms: &PlaneTerms<'_>,
    fresh: bool,
    out: &mut [f32],
) {
    let pixels = terms.pixels::<E>();
    for (v, [first, second]) in terms.starts.as_chunks::<2>().0.iter().enumerate() {
        let fours = out.chunks_exact_mut(ROWS * pixels);
        for (out, offsets) in fours.zip(terms.offsets().chunks_exact(terms.terms * ROWS)) {
            for (i, offsets) in offsets.chunks(E::TERMS.saturating_mul(ROWS)).enumerate() {
                // SAFETY: vectors from both starts behind each offset on lie within the table, and the
                // two of each row within `out`: see above.
                unsafe {
                    let first = table.as_ptr().add(*first as usize);
                    let second = table.as_ptr().add(*second as usize);
                    let mut sums = [Pair::<V>::zero(); ROWS];
                    for four in offsets.as_chunks::<ROWS>().0 {
                        for (sums, offset) in sums.iter_mut().zip(four) {
                            let at = *offset as usize;
                            *sums = sums.add([first.add(at).cast(), second.add(at).cast()]);
                        }
                    }
                    for (r, sums) in sums.into_iter().enumerate() {
                        let to = out.as_mut_ptr().add(r * pixels + v * E::LANES);
                        V::put(sums.0, to, fresh && i == 0);
                    }
                }
            }
        }
    }
}

/// See [`crate::simd::Instructions::rows`].
///
/// # Safety
/// The processor must have AVX2. Four indices from each row plus each place on must lie within
/// `indices`, there must be a table for each place, and `out` four rows for each of `rows`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn rows<E: TableEntry>(tables: &[E], terms: &RowTerms<'_>, out: &mut [f32]) {
    // SAFETY: as the caller vouches for.
    unsafe {
        match size_of::<E>() {
            4 => rows_of::<E, __m256>(tables, terms, out),
            _ => rows_of::<E, __m256i>(tables, terms, out),
        }
    }
}

/// # Safety
/// See [`rows`].
#[inline(always)]
unsafe fn rows_of<E: TableEntry, V: Vector>(tables: &[E], terms: &RowTerms<'_>, out: &mut [f32]) {
    let size = (SUMS + 1) * E::LANES;
    let indices = terms.indices.entries();
    let most = E::TERMS.min(terms.places.len());
    for (places, tables) in terms.places.chunks(most).zip(tables.chunks(most * size)) {
        for (row, out) in terms
            .rows
            .all()
            .iter()
            .zip(out.chunks_exact_mut(ROWS * E::LANES))
        {
            // SAFETY: an index is the number of one of the entries of a table, of which there is one
            // for each place; four rows of LANES numbers lie within `out`: see above.
            unsafe {
                let indices = indices.as_ptr().add(*row as usize);
                let mut table = tables.as_ptr().cast::<u8>();
                let mut sums = [Pair::<V>::zero(); ROWS];
                for place in places {
                    let four = indices.add(*place as usize);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let at = table.add(usize::from(*four.add(i)) * BYTES);
                        *sums = sums.add([at, at.add(BYTES / 2)]);
                    }
                    table = table.add((SUMS + 1) * BYTES);
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    V::put(sums.0, out.as_mut_ptr().add(r * E::LANES), false);
                }
            }
        }
    }
}

/// See [`crate::simd::Instructions::combine`].
///
/// # Safety
/// The processor must have AVX2. The planes, four or five, must have one size, a whole number of vectors,
/// and the table as many times that as there are sums.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn combine<E: TableEntry, const N: usize>(planes: [&[E]; N], table: &mut [E]) {
    // SAFETY: as the caller vouches for.
    unsafe {
        match size_of::<E>() {
            4 => combine_of::<E, __m256, N>(planes, table),
            _ => combine_of::<E, __m256i, N>(planes, table),
        }
    }
}

/// # Safety
/// See [`combine`].
#[inline(always)]
unsafe fn combine_of<E: TableEntry, V: Vector, const N: usize>(planes: [&[E]; N], table: &mut [E]) {
    const { assert!(N == 4 || N == 5) };
    let plane = planes[0].len();
    for i in (0..plane).step_by(E::LANES / 2) {
        // SAFETY: a vector from `i` on lies within each plane, and within each of the table's.
        unsafe {
            let x = planes.map(|x| V::read(x.as_ptr().add(i).cast()));
            let pairs = |a: V, b: V| {
                let (sum, difference) = (a.plus(b), a.minus(b));
                let zero = V::zero();
                [zero.minus(sum), difference, zero.minus(difference), sum]
            };
            let (low, high) = (pairs(x[0], x[1]), pairs(x[2], x[3]));
            let mut to = table.as_mut_ptr().add(i);
            for high in high {
                for low in low {
                    let four = low.plus(high);
                    match x.get(4) {
                        None => four.write(to.cast()),
                        Some(&fifth) => {
                            four.minus(fifth).write(to.cast());
                            four.plus(fifth).write(to.wrapping_add(16 * plane).cast());
                        }
                    }
                    to = to.wrapping_add(plane);
                }
            }
        }
    }
}
