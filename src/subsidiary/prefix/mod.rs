//! What frozen layers compute, kept instead of computed again: in memory, and beyond that on disk.
//!
//! Valid for fixed inputs (as they are, or varied in one way) and frozen BatchNormalization below
//! the cut. A value comes back to the bit, or not at all.

mod budget;
mod disk;
mod format;

pub use budget::CacheUse;
pub(super) use budget::{Budget, Caching, NotKept};
pub(super) use disk::DiskError;

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};
use rayon::prelude::*;

use disk::{Disk, Rows};
use format::Format;

/// The values at a cut through the network, image by image.
#[derive(Debug)]
pub(super) struct PrefixCache {
    /// Images that there will be.
    images: usize,
    /// Images that there are.
    pushed: usize,
    /// Shape of one image's value of each tensor at the cut.
    shapes: Vec<Vec<usize>>,
    blocks: Vec<Block>,
    /// Made for the first block that memory has no room for.
    disk: Option<Disk>,
}

/// The values of images that were pushed together.
#[derive(Debug)]
struct Block {
    /// The number of its first image.
    first: usize,
    /// Of each tensor at the cut.
    formats: Vec<Format>,
    /// Bytes of one image: the tensors one after another.
    length: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Disk(Rows),
}

impl PrefixCache {
    /// Will hold so many images.
    pub(super) fn new(images: usize) -> Self {
        Self {
            images,
            pushed: 0,
            shapes: Vec::new(),
            blocks: Vec::new(),
            disk: None,
        }
    }

    /// Appends a batch: for each tensor at the cut its value `[B, …]`. Takes from the budget what
    /// that needs.
    ///
    /// # Errors
    /// If there is no room, at the first batch if there will be none for all images that are like
    /// its own; or if the disk fails. The cache is then of no use.
    pub(super) fn push(
        &mut self,
        batch: &[Arc<ArrayD<f32>>],
        budget: &mut Budget,
    ) -> Result<(), NotKept> {
        let count = batch.first().map_or(0, |a| a.len_of(Axis(0)));
        let values: Vec<Cow<'_, [f32]>> = batch.iter().map(|a| row_major(a)).collect();
        let formats: Vec<Format> = values.iter().map(|v| Format::of(v)).collect();
        let sizes = values.iter().map(|v| v.len() / count.max(1));
        let parts: Vec<(Format, usize)> = formats.iter().copied().zip(sizes).collect();
        let length: usize = parts.iter().map(|(f, size)| f.bytes(*size)).sum();
        if self.blocks.is_empty() {
            self.shapes = batch.iter().map(|a| a.shape()[1..].to_vec()).collect();
        }
        let all = self.images as u64 * length as u64;
        if self.blocks.is_empty() && !budget.fits(all) {
            return Err(NotKept::TooLarge(all));
        }
        let mut bytes = vec![0; count * length];
        let rows = bytes.par_chunks_mut(length.max(1)).enumerate();
        rows.for_each(|(i, mut row)| {
            for (&(format, size), values) in parts.iter().zip(&values) {
                let (part, rest) = row.split_at_mut(format.bytes(size));
                format.write(&values[i * size..(i + 1) * size], part);
                row = rest;
            }
        });
        let place = if budget.take_memory(bytes.len()) {
            Place::Memory(bytes)
        } else if budget.take_disk(bytes.len()) {
            let disk = match &mut self.disk {
                Some(disk) => disk,
                none => none.insert(Disk::create(budget.folder())?),
            };
            Place::Disk(disk.append(&bytes, length)?)
        } else {
            return Err(NotKept::TooLarge(all));
        };
        self.blocks.push(Block {
            first: self.pushed,
            formats,
            length,
            place,
        });
        self.pushed += count;
        Ok(())
    }

    /// The values of the images `indices`, a tensor `[B, …]` for each at the cut.
    ///
    /// # Panics
    /// If there is no such image.
    pub(super) fn batch(&self, indices: &[usize]) -> Result<Vec<ArrayD<f32>>, DiskError> {
        let rows = indices.par_iter().map(|&i| self.row(i));
        let rows: Vec<(&[Format], Cow<'_, [u8]>)> = rows.collect::<Result<_, _>>()?;
        let sizes = self.shapes.iter().map(|s| s.iter().product());
        let sizes: Vec<usize> = sizes.collect();
        let tensor = |(t, shape): (usize, &Vec<usize>)| {
            let mut values = vec![0.0; rows.len() * sizes[t]];
            let images = values.par_chunks_mut(sizes[t].max(1)).zip(&rows);
            images.for_each(|(values, (formats, row))| {
                let before = formats.iter().zip(&sizes).take(t);
                let start: usize = before.map(|(f, &size)| f.bytes(size)).sum();
                formats[t].read(&row[start..], values);
            });
            let shape = [&[rows.len()], &shape[..]].concat();
            ArrayD::from_shape_vec(IxDyn(&shape), values).expect("as many values as the shape has")
        };
        Ok(self.shapes.iter().enumerate().map(tensor).collect())
    }

    /// The bytes of one image, and how its tensors are written.
    fn row(&self, image: usize) -> Result<(&[Format], Cow<'_, [u8]>), DiskError> {
        let block = self.blocks.partition_point(|b| b.first <= image);
        let block = &self.blocks[block.saturating_sub(1)];
        let i = image - block.first;
        let bytes = match (&block.place, &self.disk) {
            (Place::Memory(bytes), _) => Cow::Borrowed(&bytes[i * block.length..][..block.length]),
            (Place::Disk(rows), Some(disk)) => Cow::Owned(disk.read(rows, i)?),
            (Place::Disk(_), None) => unreachable!("rows were written to a file"),
        };
        Ok((&block.formats, bytes))
    }

    /// Bytes that it takes.
    pub(super) fn uses(&self) -> CacheUse {
        let mut all = CacheUse::default();
        for block in &self.blocks {
            match &block.place {
                Place::Memory(bytes) => all.memory_bytes += bytes.len() as u64,
                Place::Disk(rows) => all.disk_bytes += rows.bytes(),
            }
        }
        all
    }
}

/// The elements in row-major order.
fn row_major(a: &ArrayD<f32>) -> Cow<'_, [f32]> {
    match a.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(a.iter().copied().collect()),
    }
}

#[cfg(test)]
mod tests;
