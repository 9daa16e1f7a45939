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

use bnn_kernels::binary::Codes;
use ndarray::{ArrayD, IxDyn};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::engine::Value;
use disk::{Disk, Rows};
use format::{Format, codes_shape};

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

/// The values of some images at the cut, as they are kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Packed {
    /// Images.
    count: usize,
    /// See [`PrefixCache::shapes`].
    shapes: Vec<Vec<usize>>,
    /// Of each tensor at the cut.
    formats: Vec<Format>,
    /// Bytes of one image: the tensors one after another.
    length: usize,
    bytes: Vec<u8>,
}

impl Packed {
    /// Of each tensor at the cut its value `[B, …]`.
    pub(super) fn of(batch: &[Value]) -> Self {
        let count = batch.first().map_or(0, |x| x.shape()[0]);
        let formats: Vec<Format> = batch.iter().map(format_of).collect();
        let shapes: Vec<Vec<usize>> = batch.iter().map(|x| x.shape()[1..].to_vec()).collect();
        let parts = formats.iter().zip(&shapes);
        let parts: Vec<usize> = parts.map(|(f, shape)| f.bytes(shape)).collect();
        let length: usize = parts.iter().sum();
        let mut bytes = vec![0; count * length];
        let rows = bytes.par_chunks_mut(length.max(1)).enumerate();
        rows.for_each(|(i, mut row)| {
            for ((format, bytes), x) in formats.iter().zip(&parts).zip(batch) {
                let (part, rest) = row.split_at_mut(*bytes);
                match x.codes() {
                    Some(codes) => part.copy_from_slice(codes.codes_of(i)),
                    None => {
                        let x = x.float();
                        let size = x.len() / count.max(1);
                        let values = x.as_slice().unwrap_or(&[]);
                        format.write(&values[i * size..(i + 1) * size], part);
                    }
                }
                row = rest;
            }
        });
        Self {
            count,
            shapes,
            formats,
            length,
            bytes,
        }
    }

    /// As another process reads it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From what another process sent; `None` if that was nothing.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
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

    /// Appends a batch. Takes from the budget what that needs.
    ///
    /// # Errors
    /// If there is no room, at the first batch if there will be none for all images that are like
    /// its own; or if the disk fails. The cache is then of no use.
    pub(super) fn push(&mut self, batch: Packed, budget: &mut Budget) -> Result<(), NotKept> {
        let Packed {
            count,
            shapes,
            formats,
            length,
            bytes,
        } = batch;
        if self.blocks.is_empty() {
            self.shapes = shapes;
        }
        let all = self.images as u64 * length as u64;
        if self.blocks.is_empty() && !budget.fits(all) {
            return Err(NotKept::TooLarge(all));
        }
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
    pub(super) fn batch(&self, indices: &[usize]) -> Result<Vec<Value>, DiskError> {
        let rows = indices.par_iter().map(|&i| self.row(i));
        let rows: Vec<(&[Format], Cow<'_, [u8]>)> = rows.collect::<Result<_, _>>()?;
        // The bytes of tensor t of an image.
        let part = |(formats, row): &(&[Format], Cow<'_, [u8]>), t: usize| {
            let before = formats.iter().zip(&self.shapes).take(t);
            before.map(|(f, shape)| f.bytes(shape)).sum::<usize>()..row.len()
        };
        let tensor = |(t, one): (usize, &Vec<usize>)| {
            let shape = [&[rows.len()], &one[..]].concat();
            if rows.iter().all(|(formats, _)| formats[t] == Format::Codes) {
                let bytes = Format::Codes.bytes(one);
                let each = rows.iter().map(|row| &row.1[part(row, t)][..bytes]);
                let data = each.collect::<Vec<_>>().concat();
                let codes = Codes::from_bytes(codes_shape(rows.len(), one), data);
                let codes = codes.expect("codes, as they were pushed");
                return Value::of_codes(codes, shape);
            }
            let size: usize = one.iter().product();
            let mut values = vec![0.0; rows.len() * size];
            let images = values.par_chunks_mut(size.max(1)).zip(&rows);
            images.for_each(|(values, row)| row.0[t].read(&row.1[part(row, t)], one, values));
            ArrayD::from_shape_vec(IxDyn(&shape), values)
                .expect("as many values as the shape has")
                .into()
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

/// The shortest way to write a tensor.
fn format_of(x: &Value) -> Format {
    match x.codes() {
        Some(_) => Format::Codes,
        None => Format::of(x.float().as_slice().unwrap_or(&[])),
    }
}

#[cfg(test)]
mod tests;
