//! Memory of large tensors, used again: a tensor of one training step is as large as that of the step
//! before, and pages that go back to the operating system in between cost more than the work on them.
//!
//! [`buffer`] hands memory out, [`recycle`] takes it back. What is never given back is freed as usual.

use std::sync::{Mutex, OnceLock, PoisonError};

/// Fewer elements than this are left to the allocator.
const LEAST: usize = 1 << 14;
/// What so many requests did not ask for is given up: some steps of training, whose sizes recur.
const PATIENCE: u64 = 512;

/// Elements whose memory is used again: `f32`, `i16` and `u8`.
pub trait Reusable: pool::Pooled {}

mod pool {
    use std::sync::Mutex;

    /// What is needed of such elements.
    pub trait Pooled: Copy + 'static {
        /// Any value.
        const ANY: Self;
        /// What nobody should read.
        const POISON: Self;

        /// What was given back.
        fn free() -> &'static Mutex<Free<Self>>;
    }

    /// Buffers that are free.
    pub struct Free<T> {
        /// With the number of the request before which each came back; in that order.
        pub(super) buffers: Vec<(u64, Vec<T>)>,
        pub(super) requests: u64,
    }
}

use pool::{Free, Pooled};

macro_rules! reusable {
    ($type:ty, $any:expr, $poison:expr) => {
        impl Pooled for $type {
            const ANY: Self = $any;
            const POISON: Self = $poison;

            fn free() -> &'static Mutex<Free<Self>> {
                static FREE: Mutex<Free<$type>> = Mutex::new(Free::new());
                &FREE
            }
        }

        impl Reusable for $type {}
    };
}

reusable!(f32, 0.0, f32::NAN);
reusable!(i16, 0, i16::MIN);
reusable!(u8, 0, u8::MAX);

impl<T> Free<T> {
    const fn new() -> Self {
        Self {
            buffers: Vec::new(),
            requests: 0,
        }
    }

    /// A buffer of exactly `len` elements, the last one given back.
    fn take(&mut self, len: usize) -> Option<Vec<T>> {
        self.requests += 1;
        let stale = |since: u64| since + PATIENCE < self.requests;
        let old = self.buffers.iter().take_while(|(since, _)| stale(*since));
        self.buffers.drain(..old.count());
        let found = self.buffers.iter().rposition(|(_, b)| b.len() == len)?;
        Some(self.buffers.remove(found).1)
    }

    fn give(&mut self, buffer: Vec<T>) {
        self.buffers.push((self.requests, buffer));
    }
}

/// Whether elements that nobody has written are what nobody should read: in this crate's tests, and
/// where the environment variable `BNN_KERNELS_POISON` is set (by the tests of crates that use this one).
fn poisons() -> bool {
    static SET: OnceLock<bool> = OnceLock::new();
    cfg!(test) || *SET.get_or_init(|| std::env::var_os("BNN_KERNELS_POISON").is_some())
}

/// `len` elements of any value, to be overwritten: the last vector of exactly that length that was given
/// back, else a new one. Short ones are always new.
pub fn buffer<T: Reusable>(len: usize) -> Vec<T> {
    let found = match len < LEAST {
        true => None,
        false => T::free()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(len),
    };
    let mut buffer = found.unwrap_or_else(|| vec![T::ANY; len]);
    // Whoever reads what he has not written finds out in tests.
    if poisons() {
        buffer.fill(T::POISON);
    }
    buffer
}

/// Takes memory back for the next [`buffer`] of that length. After a few hundred requests that did not
/// ask for it, it is freed.
pub fn recycle<T: Reusable>(buffer: Vec<T>) {
    if buffer.len() >= LEAST {
        let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
        free.give(buffer);
    }
}

/// Frees all memory that was given back and not handed out again: at the end of a phase whose sizes do not
/// recur.
pub fn release_memory() {
    fn release<T: Reusable>() {
        let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
        free.buffers = Vec::new();
    }
    release::<f32>();
    release::<i16>();
    release::<u8>();
}

/// A buffer of changing size, for what one task computes with; it goes back when it is dropped.
#[derive(Debug, Default)]
pub struct Scratch(Vec<f32>);

impl Scratch {
    /// `len` elements of any value, to be overwritten. What an earlier call gave is lost.
    pub fn of(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            recycle(std::mem::take(&mut self.0));
            // Of few sizes, so that they are found again.
            self.0 = buffer(len.next_power_of_two());
        }
        &mut self.0[..len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_the_same_size_is_used_again_and_what_nobody_asks_for_is_given_up() {
        let mut free = Free::new();
        for (value, len) in [(1.0, 30), (2.0, 20), (3.0, 30)] {
            free.give(vec![value; len]);
        }
        assert_eq!(free.take(30), Some(vec![3.0; 30]));
        assert_eq!(free.take(25), None);
        for _ in 3..PATIENCE {
            assert_eq!(free.take(25), None);
        }
        assert_eq!(free.take(20), Some(vec![2.0; 20]));
        assert_eq!(free.take(30), None, "given up");
    }

    #[test]
    fn buffers_have_their_size_whatever_was_there() {
        recycle(vec![f32::NAN; LEAST + 3]);
        assert_eq!(buffer::<f32>(LEAST + 3).len(), LEAST + 3);
        assert_eq!(buffer::<i16>(7).len(), 7);
        let mut scratch = Scratch::default();
        assert_eq!(scratch.of(LEAST + 1).len(), LEAST + 1);
        assert_eq!(scratch.of(5).len(), 5);
    }
}
