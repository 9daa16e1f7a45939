//! A node, when its kernel is made.

use std::ffi::{CStr, c_int};
use std::ptr;

use ort_sys::{OrtKernelInfo, OrtValue};

use super::context::{Tensor, tensor_of};
use super::{Api, Attributes, Error, Native};

/// Longest list of whole numbers that is read.
const MOST_INTS: usize = 1 << 10;

/// A node whose kernel is made.
pub struct Info {
    api: Api,
    info: *const OrtKernelInfo,
}

impl Info {
    /// # Safety
    /// `info` is what the runtime handed over, and lives as long as this.
    pub unsafe fn new(api: Api, info: *const OrtKernelInfo) -> Self {
        Self { api, info }
    }

    /// Its name.
    pub fn name(&self) -> String {
        let mut size = 0;
        let name = self.api.table().KernelInfo_GetNodeName;
        // SAFETY: without a buffer the runtime gives the size, with one of that size it writes as much and a zero.
        unsafe {
            let asked = self.api.check(name(self.info, ptr::null_mut(), &mut size));
            let mut bytes = vec![0u8; size];
            match asked.and_then(|()| {
                self.api
                    .check(name(self.info, bytes.as_mut_ptr().cast(), &mut size))
            }) {
                Ok(()) => CStr::from_bytes_until_nul(&bytes)
                    .map_or_else(|_| String::new(), |s| s.to_string_lossy().into_owned()),
                Err(_) => String::new(),
            }
        }
    }

    /// How many inputs it has, those left out behind the last not counted.
    pub fn inputs(&self) -> usize {
        let mut count = 0;
        // SAFETY: the runtime writes one number.
        let asked = unsafe { (self.api.table().KernelInfo_GetInputCount)(self.info, &mut count) };
        self.api.check(asked).map_or(0, |()| count)
    }

    /// An input that is a constant of the file.
    ///
    /// # Errors
    /// If it is none, or of another type.
    pub fn constant<T: Native>(&self, index: usize, what: &str) -> Result<Tensor<'_, T>, Error> {
        let (mut is_constant, mut value) = (0 as c_int, ptr::null::<OrtValue>());
        if index >= self.inputs() {
            return Err(Error(format!("has no {what} (input {index})")));
        }
        // SAFETY: the runtime writes both; the value lives as long as the node.
        unsafe {
            let get = self.api.table().KernelInfoGetConstantInput_tensor;
            self.api
                .check(get(self.info, index, &mut is_constant, &mut value))?;
            if is_constant == 0 || value.is_null() {
                return Err(Error(format!(
                    "its {what} (input {index}) is no initializer"
                )));
            }
            tensor_of(self.api, value)
        }
    }
}

impl Attributes for Info {
    fn int(&self, name: &CStr) -> Option<i64> {
        let mut value = 0;
        let get = self.api.table().KernelInfoGetAttribute_int64;
        // SAFETY: the name ends in a zero; the runtime writes one number.
        let asked = unsafe { get(self.info, name.as_ptr(), &mut value) };
        self.api.check(asked).ok().map(|()| value)
    }

    fn ints(&self, name: &CStr) -> Option<Vec<i64>> {
        let mut size = 0;
        let get = self.api.table().KernelInfoGetAttributeArray_int64;
        // SAFETY: the name ends in a zero; without a buffer the runtime gives the size, with one of that size it
        // writes as much.
        unsafe {
            let asked = get(self.info, name.as_ptr(), ptr::null_mut(), &mut size);
            self.api.check(asked).ok()?;
            let mut values = vec![0; Some(size).filter(|&n| n <= MOST_INTS)?];
            let asked = get(self.info, name.as_ptr(), values.as_mut_ptr(), &mut size);
            self.api.check(asked).ok()?;
            values.truncate(size);
            Some(values)
        }
    }
}
