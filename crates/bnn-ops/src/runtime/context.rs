//! A node, when it runs.

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ort_sys::{ONNXTensorElementDataType, OrtKernelContext, OrtTensorTypeAndShapeInfo, OrtValue};

use super::{Api, Error, Native};

/// A tensor that is read.
#[derive(Debug)]
pub struct Tensor<'a, T> {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: &'a [T],
}

impl<T> Deref for Tensor<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.data
    }
}

/// Type and dimensions, negative where they are not known, of what the runtime says of a tensor.
///
/// # Safety
/// `info` is valid.
pub(super) unsafe fn described(
    api: Api,
    info: *const OrtTensorTypeAndShapeInfo,
) -> Result<(i32, Vec<i64>), Error> {
    let table = api.table();
    let (mut element, mut rank) = (0i32, 0usize);
    // SAFETY: the runtime writes a type, which may be one that these declarations do not know: it is taken as the
    // number that it is; the rank; and as many numbers as that.
    unsafe {
        let to = (&raw mut element).cast::<ONNXTensorElementDataType>();
        api.check((table.GetTensorElementType)(info, to))?;
        api.check((table.GetDimensionsCount)(info, &mut rank))?;
        let mut dims = vec![0i64; rank];
        api.check((table.GetDimensions)(info, dims.as_mut_ptr(), rank))?;
        Ok((element, dims))
    }
}

/// The dimensions of a tensor whose elements are `T`s.
///
/// # Safety
/// `value` is a tensor.
unsafe fn dims_of<T: Native>(api: Api, value: *const OrtValue) -> Result<Vec<i64>, Error> {
    let table = api.table();
    let mut info = ptr::null_mut();
    // SAFETY: the runtime makes a description, which is released once it is read.
    let (element, dims) = unsafe {
        api.check((table.GetTensorTypeAndShape)(value, &mut info))?;
        let found = described(api, info);
        (table.ReleaseTensorTypeAndShapeInfo)(info);
        found?
    };
    match element == T::ELEMENT as i32 {
        true => Ok(dims),
        false => Err(Error(format!(
            "has elements of type {element} instead of {:?}",
            T::ELEMENT
        ))),
    }
}

/// Which outputs are taken: nobody may write to what another one writes to.
#[derive(Debug, Default)]
struct Taken(AtomicU64);

impl Taken {
    /// Takes one; false if it is taken already, or is none of those that a node may have.
    fn take(&self, index: usize) -> bool {
        let bit = u32::try_from(index).ok().and_then(|i| 1u64.checked_shl(i));
        bit.is_some_and(|bit| self.0.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}

/// # Safety
/// `value` is a tensor that is not written to for `'a`.
pub(super) unsafe fn tensor_of<'a, T: Native>(
    api: Api,
    value: *const OrtValue,
) -> Result<Tensor<'a, T>, Error> {
    let table = api.table();
    // SAFETY: the value is a tensor.
    let dims = unsafe { dims_of::<T>(api, value)? };
    let size = |d: &i64| usize::try_from(*d).map_err(|_| Error("a dimension is negative".into()));
    let shape = dims.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let count = count.ok_or("a tensor is too large")?;
    if count == 0 {
        return Ok(Tensor { shape, data: &[] });
    }
    let mut data = ptr::null_mut::<c_void>();
    // SAFETY: the value is only read; it has as many elements of that type as its dimensions say.
    let data = unsafe {
        api.check((table.GetTensorMutableData)(value.cast_mut(), &mut data))?;
        if data.is_null() || !data.cast::<T>().is_aligned() {
            return Err("a tensor has no data".into());
        }
        std::slice::from_raw_parts(data.cast::<T>().cast_const(), count)
    };
    Ok(Tensor { shape, data })
}

/// A node that runs.
pub struct Context {
    api: Api,
    context: *mut OrtKernelContext,
    outputs: Taken,
}

// SAFETY: what `parallel` hands to other threads uses nothing of it.
unsafe impl Sync for Context {}

impl Context {
    /// # Safety
    /// `context` is what the runtime handed over, and lives as long as this.
    pub unsafe fn new(api: Api, context: *mut OrtKernelContext) -> Self {
        Self {
            api,
            context,
            outputs: Taken::default(),
        }
    }

    /// An input; `None` where it is left out.
    ///
    /// # Errors
    /// If it is of another type.
    pub fn optional<T: Native>(&self, index: usize) -> Result<Option<Tensor<'_, T>>, Error> {
        let table = self.api.table();
        let (mut count, mut value) = (0, ptr::null::<OrtValue>());
        // SAFETY: the runtime writes a number and, for an index below that, a tensor that lives as long as the node
        // runs, or null.
        unsafe {
            self.api.check((table.KernelContext_GetInputCount)(
                self.context,
                &mut count,
            ))?;
            if index >= count {
                return Ok(None);
            }
            self.api.check((table.KernelContext_GetInput)(
                self.context,
                index,
                &mut value,
            ))?;
            match value.is_null() {
                true => Ok(None),
                false => tensor_of(self.api, value).map(Some),
            }
        }
    }

    /// An input.
    ///
    /// # Errors
    /// If it is left out, or of another type.
    pub fn input<T: Native>(&self, index: usize) -> Result<Tensor<'_, T>, Error> {
        self.optional(index)?
            .ok_or_else(|| Error(format!("has no input {index}")))
    }

    /// How many outputs the node has.
    pub fn outputs(&self) -> usize {
        let mut count = 0;
        let get = self.api.table().KernelContext_GetOutputCount;
        // SAFETY: the runtime writes a number.
        let asked = unsafe { get(self.context, &mut count) };
        self.api.check(asked).map_or(0, |()| count)
    }

    /// The elements of an output of that shape, to be written; none where nobody reads it.
    ///
    /// # Errors
    /// If it was asked for before, its elements are no `T`s, or the runtime has no room for it.
    #[allow(clippy::mut_from_ref, reason = "each output is handed out once")]
    pub fn output<T: Native>(&self, index: usize, shape: &[usize]) -> Result<&mut [T], Error> {
        let table = self.api.table();
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let count = count.filter(|n| n.checked_mul(size_of::<T>()).is_some());
        let dims = shape
            .iter()
            .map(|&d| i64::try_from(d))
            .collect::<Result<Vec<_>, _>>();
        let (Some(count), Ok(dims)) = (count, dims) else {
            return Err("an output is too large".into());
        };
        if !self.outputs.take(index) {
            return Err("an output is asked for twice".into());
        }
        let (mut value, mut data) = (ptr::null_mut(), ptr::null_mut::<c_void>());
        // SAFETY: the runtime makes a tensor of these dimensions, whose elements are seen to be `T`s; it lives as
        // long as the node runs, and nobody else has it, as each output is handed out once.
        unsafe {
            let get = table.KernelContext_GetOutput;
            self.api.check(get(
                self.context,
                index,
                dims.as_ptr(),
                dims.len(),
                &mut value,
            ))?;
            if value.is_null() || count == 0 {
                return Ok(&mut []);
            }
            dims_of::<T>(self.api, value)?;
            self.api
                .check((table.GetTensorMutableData)(value, &mut data))?;
            if data.is_null() || !data.cast::<T>().is_aligned() {
                return Err("an output has no data".into());
            }
            // Memory of the runtime holds any bytes, and any are elements.
            Ok(std::slice::from_raw_parts_mut(data.cast::<T>(), count))
        }
    }

    /// Runs tasks on the session's threads.
    ///
    /// # Errors
    /// If one of them panics.
    pub fn parallel(&self, tasks: usize, run: impl Fn(usize) + Sync) -> Result<(), Error> {
        struct Call<'a> {
            run: &'a (dyn Fn(usize) + Sync),
            panicked: AtomicBool,
        }
        unsafe extern "C" fn task(call: *mut c_void, index: usize) {
            // SAFETY: the call outlives `KernelContext_ParallelFor`, which waits for all tasks.
            let call = unsafe { &*call.cast::<Call<'_>>() };
            let work = std::panic::AssertUnwindSafe(|| (call.run)(index));
            if std::panic::catch_unwind(work).is_err() {
                call.panicked.store(true, Ordering::Relaxed);
            }
        }
        if tasks <= 1 {
            (0..tasks).for_each(run);
            return Ok(());
        }
        let call = Call {
            run: &run,
            panicked: AtomicBool::new(false),
        };
        let data = (&raw const call).cast_mut().cast::<c_void>();
        let parallel = self.api.table().KernelContext_ParallelFor;
        // SAFETY: the runtime calls `task` with what it is handed, on its threads, and comes back when all are done.
        let done = unsafe { parallel(self.context, task, tasks, 0, data) };
        self.api.check(done)?;
        match call.panicked.load(Ordering::Relaxed) {
            true => Err("an operator failed inside: please report it".into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_taken_once() {
        let outputs = Taken::default();
        assert!(outputs.take(1) && outputs.take(0) && outputs.take(63));
        assert!(!outputs.take(1) && !outputs.take(64) && !outputs.take(usize::MAX));
    }
}
