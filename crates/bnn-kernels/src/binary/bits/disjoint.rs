//! A slice that tasks write to, each its own part, once.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which tasks of what have begun to write into an output: each does once, so that no two write to one place.
#[derive(Debug)]
pub(super) struct Claims<W> {
    held: OnceLock<(W, Vec<AtomicBool>)>,
}

impl<W> Default for Claims<W> {
    fn default() -> Self {
        Self {
            held: OnceLock::new(),
        }
    }
}

impl<W: Copy + PartialEq> Claims<W> {
    /// Begins one of the tasks of `work`, which says where each of them writes.
    ///
    /// # Panics
    /// If there is no such task, it has begun before, or tasks of other work have.
    pub fn begin(&self, task: usize, tasks: usize, work: W) {
        let (first, begun) = self.held.get_or_init(|| {
            let none = || AtomicBool::new(false);
            (work, std::iter::repeat_with(none).take(tasks).collect())
        });
        assert!(*first == work, "an output is of one job");
        let again = begun.get(task).map(|b| b.swap(true, Ordering::Relaxed));
        assert_eq!(again, Some(false), "each task is computed once");
    }
}

/// A mutable slice that several threads write to.
#[derive(Debug)]
pub(super) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: what is reached through it are elements of `T`, each by one thread at a time (`slice` asks for that).
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements from `at` on.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// # Safety
    /// Nobody else may have any of these elements while the slice lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller promises that it is the only one"
    )]
    pub unsafe fn slice(&self, at: usize, count: usize) -> &mut [T] {
        let end = at.checked_add(count);
        assert!(end.is_some_and(|end| end <= self.len), "part of an output");
        // SAFETY: within the slice that `self` borrows mutably; the caller is the only one to have it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), count) }
    }
}

impl<T: Copy> Disjoint<'_, T> {
    /// Elements from `at` on, every `step`th, `count` of them.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// # Safety
    /// As for [`Disjoint::slice`].
    #[inline(always)]
    pub unsafe fn strided(&self, at: usize, step: usize, count: usize) -> Strided<'_, T> {
        let last = step.checked_mul(count.saturating_sub(1));
        let last = last.and_then(|n| n.checked_add(at));
        assert!(
            count == 0 || last.is_some_and(|last| last < self.len),
            "part of an output"
        );
        // SAFETY: within the slice, if there is any element.
        let start = unsafe { self.start.add(at.min(self.len)) };
        Strided {
            start,
            step,
            count,
            slice: PhantomData,
        }
    }
}

/// Every so many elements of a slice.
#[derive(Debug)]
pub(super) struct Strided<'a, T> {
    start: *mut T,
    step: usize,
    count: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T: Copy> Strided<'_, T> {
    /// Writes the elements, as many as there are.
    #[inline(always)]
    pub fn put(self, values: &[T]) {
        for (i, value) in values.iter().enumerate().take(self.count) {
            // SAFETY: `strided` checked the last one, and promised that they are nobody else's.
            unsafe { self.start.add(i * self.step).write(*value) };
        }
    }
}
