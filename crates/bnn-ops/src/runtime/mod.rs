//! ONNX Runtime's C interface, as far as operators need it, without unsafe code for who uses it.

mod context;
mod info;
mod shapes;

use std::ffi::{CStr, CString};
use std::fmt;

use ort_sys::{OrtApi, OrtErrorCode, OrtStatusPtr};

pub use context::{Context, Tensor};
pub use info::Info;
pub use shapes::ShapeContext;

/// Why an operator cannot be made or run. One line.
#[derive(Debug)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Error {
    fn from(why: String) -> Self {
        Self(why)
    }
}

impl From<&str> for Error {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// Types of elements that operators read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Element {
    /// Single precision.
    F32 = 1,
    /// Bytes.
    U8 = 2,
    /// Integers of 32 bits.
    I32 = 6,
}

/// A type of Rust that is an element type.
///
/// # Safety
/// Any bits are a value of the type, and it has the size and layout of [`Native::ELEMENT`].
pub unsafe trait Native: Copy {
    /// Which.
    const ELEMENT: Element;
}

// SAFETY: what the names say.
unsafe impl Native for f32 {
    const ELEMENT: Element = Element::F32;
}
// SAFETY: as above.
unsafe impl Native for u8 {
    const ELEMENT: Element = Element::U8;
}
// SAFETY: as above.
unsafe impl Native for i32 {
    const ELEMENT: Element = Element::I32;
}

/// The runtime's functions.
#[derive(Clone, Copy)]
pub struct Api(&'static OrtApi);

impl Api {
    /// # Safety
    /// `api` is null, or the runtime's table of functions of version 17 or later, which lives as long as the runtime
    /// is loaded.
    pub unsafe fn new(api: *const OrtApi) -> Option<Self> {
        // SAFETY: what the caller promises.
        unsafe { api.as_ref() }.map(Self)
    }

    /// The table.
    pub fn table(self) -> &'static OrtApi {
        self.0
    }

    /// What a call came to.
    pub fn check(self, status: OrtStatusPtr) -> Result<(), Error> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: a status that is not null is valid until it is released, here and nowhere else; its message
        // ends in a zero, and is copied before that.
        unsafe {
            let why = CStr::from_ptr((self.0.GetErrorMessage)(status.0));
            let why = why.to_string_lossy().into_owned();
            (self.0.ReleaseStatus)(status.0);
            Err(Error(why))
        }
    }

    /// What the runtime is answered.
    pub fn status(self, result: Result<(), Error>) -> OrtStatusPtr {
        let Err(Error(why)) = result else {
            return OrtStatusPtr::default();
        };
        let why = CString::new(why.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the message ends in a zero; the runtime copies it.
        unsafe { (self.0.CreateStatus)(OrtErrorCode::ORT_INVALID_ARGUMENT, why.as_ptr()) }
    }

    /// Runs `work` and answers the runtime, also where it panics.
    pub fn answer(self, work: impl FnOnce() -> Result<(), Error>) -> OrtStatusPtr {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        self.status(
            done.unwrap_or_else(|_| Err("an operator failed inside: please report it".into())),
        )
    }
}

/// Attributes of a node.
pub trait Attributes {
    /// A whole number; `None` where there is no such attribute.
    fn int(&self, name: &CStr) -> Option<i64>;
    /// A list of whole numbers; `None` where there is no such attribute.
    fn ints(&self, name: &CStr) -> Option<Vec<i64>>;
}
