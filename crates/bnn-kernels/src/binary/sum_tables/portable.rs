//! The definition of the sums.

use super::entry::TableEntry;
use super::image_signs::SUMS;
use super::lookup::{BYTES, PlaneTerms, ROWS, RowTerms};

/// See [`crate::simd::Instructions::planes`].
pub(super) fn planes<E: TableEntry>(
    table: &[E],
    terms: &PlaneTerms<'_>,
    fresh: bool,
    out: &mut [f32],
) {
    let (pixels, vector) = (terms.pixels::<E>(), E::LANES / 2);
    for (i, out) in out.chunks_exact_mut(pixels).enumerate() {
        if fresh {
            out.fill(0.0);
        }
        let offsets = &terms.offsets()[i / ROWS * terms.terms * ROWS..][..terms.terms * ROWS];
        for offset in offsets[i % ROWS..].iter().step_by(ROWS) {
            for (start, out) in terms.starts.iter().zip(out.chunks_exact_mut(vector)) {
                let from = &table[(offset + start) as usize..][..vector];
                out.iter_mut()
                    .zip(from)
                    .for_each(|(to, x)| *to += x.float());
            }
        }
    }
}

/// See [`crate::simd::Instructions::combine`].
pub(super) fn combine<E: TableEntry, const N: usize>(planes: [&[E]; N], table: &mut [E]) {
    let plane = planes[0].len();
    table[..plane].fill(E::default());
    for (n, x) in planes.into_iter().enumerate() {
        let (minus, plus) = table[..plane << (n + 1)].split_at_mut(plane << n);
        let sums = minus.chunks_exact_mut(plane.max(1));
        for (minus, plus) in sums.zip(plus.chunks_exact_mut(plane.max(1))) {
            for ((minus, plus), x) in minus.iter_mut().zip(plus).zip(x) {
                *plus = minus.plus(*x);
                *minus = minus.minus(*x);
            }
        }
    }
}

/// See [`crate::simd::Instructions::rows`].
pub(super) fn rows<E: TableEntry>(tables: &[E], terms: &RowTerms<'_>, out: &mut [f32]) {
    let entry = BYTES / size_of::<E>();
    for (i, out) in out.chunks_exact_mut(E::LANES).enumerate() {
        let row = terms.rows.all()[i / ROWS] as usize + i % ROWS;
        let tables = tables.chunks_exact((SUMS + 1) * E::LANES);
        for (table, place) in tables.zip(terms.places) {
            let at = terms.indices.at(row + *place as usize) * entry;
            let from = &table[at..][..E::LANES];
            out.iter_mut()
                .zip(from)
                .for_each(|(to, x)| *to += x.float());
        }
    }
}
