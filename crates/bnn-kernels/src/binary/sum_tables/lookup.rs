//! The inner loops: sums of what is looked up.

use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::entry::TableEntry;
use super::image_signs::SUMS;
use super::portable;
use crate::simd::Instructions;

/// Rows that are summed together.
pub(in crate::binary) const ROWS: usize = 4;
/// Bytes that are looked up together: two vectors.
pub(in crate::binary) const BYTES: usize = 64;

/// Where in a table, or among indices, terms lie.
#[derive(Debug)]
pub(in crate::binary) struct Offsets {
    all: Vec<u32>,
    /// None is larger.
    furthest: u32,
}

impl Offsets {
    pub fn new(all: Vec<u32>) -> Self {
        let furthest = all.par_iter().copied().max().unwrap_or(0);
        Self { all, furthest }
    }

    pub fn all(&self) -> &[u32] {
        &self.all
    }
}

/// Sums of planes: `out[r][v] += Σ over terms t of table[offset(r, t) + start(v)]`, whole vectors v.
#[derive(Debug)]
pub(in crate::binary) struct PlaneTerms<'a> {
    pub offsets: &'a Offsets,
    /// Which of them: `[⌈rows / 4⌉, terms, 4]`.
    pub part: Range<usize>,
    /// For each row.
    pub terms: usize,
    /// Of the vectors, an even number.
    pub starts: &'a [u32],
}

impl<'a> PlaneTerms<'a> {
    /// Four times as many as terms, for each four rows.
    pub fn offsets(&self) -> &'a [u32] {
        &self.offsets.all[self.part.clone()]
    }

    /// Numbers of a row.
    pub fn pixels<E: TableEntry>(&self) -> usize {
        self.starts.len() * E::LANES / 2
    }
}

/// Sums of vectors: `out[r][l] += Σ over terms t of table[t][index(r, t)][l]`.
#[derive(Debug)]
pub(in crate::binary) struct RowTerms<'a> {
    /// Which entry of a table.
    pub indices: &'a super::image_signs::Indices,
    /// For each four rows where their indices lie, one behind the other.
    pub rows: &'a Offsets,
    /// For each term how far behind that.
    pub places: &'a [u32],
}

impl Instructions {
    /// Adds to `out` `[rows rounded up to whole fours, vectors]`, or overwrites it if it is `fresh`.
    ///
    /// # Panics
    /// If a term reaches beyond the table, or sizes do not fit.
    pub(in crate::binary) fn planes<E: TableEntry>(
        self,
        table: &[E],
        terms: &PlaneTerms<'_>,
        fresh: bool,
        out: &mut [f32],
    ) {
        if terms.terms == 0 {
            if fresh {
                out.fill(0.0);
            }
            return;
        }
        let pixels = terms.pixels::<E>();
        assert!(
            pixels > 0 && terms.starts.len().is_multiple_of(2),
            "vectors"
        );
        assert_eq!(out.len() % (ROWS * pixels), 0, "sums");
        let fours = out.len() / (ROWS * pixels);
        assert_eq!(terms.part.len(), fours * terms.terms * ROWS, "offsets");
        let last = terms.starts.iter().copied().max().unwrap_or(0) as usize + E::LANES / 2;
        assert!(
            terms.offsets.furthest as usize + last <= table.len(),
            "table"
        );
        match self {
            // SAFETY: `detect` found AVX2; no vector reaches beyond the table, as was just checked of
            // the largest offset and start, and `out` and the offsets have those sizes.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::planes(table, terms, fresh, out) },
            _ => portable::planes(table, terms, fresh, out),
        }
    }

    /// All sums with signs of corresponding numbers of some planes, `table` `[2^planes, plane]`.
    ///
    /// # Panics
    /// If sizes do not fit, or a plane is no whole number of vectors.
    pub(in crate::binary) fn combine<E: TableEntry, const N: usize>(
        self,
        planes: [&[E]; N],
        table: &mut [E],
    ) {
        let plane = planes[0].len();
        assert!(planes.iter().all(|x| x.len() == plane), "planes");
        assert_eq!(table.len(), plane << N, "table");
        assert!(plane.is_multiple_of(E::LANES / 2), "plane");
        match self {
            // SAFETY: `detect` found AVX2, and sizes are as was just checked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::combine(planes, table) },
            _ => portable::combine(planes, table),
        }
    }

    /// Adds to `out` `[four rows each, LANES]`.
    ///
    /// # Panics
    /// If an index lies beyond the indices, or sizes do not fit.
    pub(in crate::binary) fn rows<E: TableEntry>(
        self,
        tables: &[E],
        terms: &RowTerms<'_>,
        out: &mut [f32],
    ) {
        let (rows, Some(furthest)) = (terms.rows.all(), terms.places.iter().max()) else {
            return;
        };
        if rows.is_empty() {
            return;
        }
        let last = terms.rows.furthest as usize + *furthest as usize + ROWS - 1;
        assert!(last < terms.indices.len(), "indices");
        assert_eq!(
            tables.len(),
            terms.places.len() * (SUMS + 1) * E::LANES,
            "tables"
        );
        assert_eq!(out.len(), rows.len() * ROWS * E::LANES, "sums");
        match self {
            // SAFETY: `detect` found AVX2; what is read of `indices` lies within, each of them is the
            // number of an entry (see `Indices`), and there is a table for each place.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::rows(tables, terms, out) },
            _ => portable::rows(tables, terms, out),
        }
    }
}
