//! Memory that begins with a line of the cache, so that no vector lies across two.

use super::lookup::BYTES;
use crate::buffers::{Reusable, buffer, recycle};

/// Numbers from a multiple of 64 bytes on.
#[derive(Debug)]
pub(in crate::binary) struct Aligned<E: Reusable> {
    data: Vec<E>,
    start: usize,
    len: usize,
}

impl<E: Reusable> Default for Aligned<E> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            start: 0,
            len: 0,
        }
    }
}

impl<E: Reusable> Aligned<E> {
    /// All of that value.
    pub fn new(len: usize, value: E) -> Self {
        let mut new = Self::default();
        new.resize(len, value);
        new
    }

    /// All of that value, unless it has that length already.
    pub fn resize(&mut self, len: usize, value: E) {
        if self.len == len {
            return;
        }
        let spare = BYTES / size_of::<E>();
        recycle(std::mem::take(&mut self.data));
        self.data = buffer(len + spare);
        // Where that cannot be found out (under Miri), anywhere.
        self.start = self.data.as_ptr().align_offset(BYTES).min(spare);
        self.len = len;
        self.slice_mut().fill(value);
    }

    pub fn slice(&self) -> &[E] {
        &self.data[self.start..self.start + self.len]
    }

    pub fn slice_mut(&mut self) -> &mut [E] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl<E: Reusable> Drop for Aligned<E> {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.data));
    }
}
