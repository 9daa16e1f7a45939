//! A node, when shapes are inferred.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use ort_sys::{ONNXTensorElementDataType, OrtOpAttrType, OrtShapeInferContext};

use super::context::described;
use super::{Api, Attributes, Element, Error};

/// Longest list of whole numbers that is read.
const MOST_INTS: usize = 1 << 10;

/// Dimensions, `None` where they are not known.
pub type Dims = Vec<Option<usize>>;

/// A name that no other dimension has.
fn unknown() -> CString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    CString::new(format!("onnx_bnnprune_ops_{count}")).unwrap_or_default()
}

/// A node whose outputs' shapes are asked for.
pub struct ShapeContext {
    api: Api,
    context: *mut OrtShapeInferContext,
}

impl ShapeContext {
    /// # Safety
    /// `context` is what the runtime handed over, and lives as long as this.
    pub unsafe fn new(api: Api, context: *mut OrtShapeInferContext) -> Self {
        Self { api, context }
    }

    /// The dimensions of an input; `None` where the input is left out or nothing is known of it.
    pub fn input(&self, index: usize) -> Option<Dims> {
        let table = self.api.table();
        let (mut count, mut info) = (0, ptr::null_mut());
        // SAFETY: the runtime writes a number and, for an index below that, a description that is the context's.
        let (_, dims) = unsafe {
            let get = table.ShapeInferContext_GetInputCount;
            self.api.check(get(self.context, &mut count)).ok()?;
            if index >= count {
                return None;
            }
            let get = table.ShapeInferContext_GetInputTypeShape;
            self.api.check(get(self.context, index, &mut info)).ok()?;
            if info.is_null() {
                return None;
            }
            described(self.api, info).ok()?
        };
        // The runtime does not tell a tensor without dimensions from one of which nothing is known.
        (!dims.is_empty()).then(|| dims.iter().map(|&d| usize::try_from(d).ok()).collect())
    }

    /// The name of an input's first dimension, the batch, where it has one.
    fn batch_name(&self) -> Option<CString> {
        let table = self.api.table();
        let (mut info, mut rank) = (ptr::null_mut(), 0);
        // SAFETY: as in `input`; names are the description's, end in a zero, and are copied.
        unsafe {
            let get = table.ShapeInferContext_GetInputTypeShape;
            self.api.check(get(self.context, 0, &mut info)).ok()?;
            if info.is_null() {
                return None;
            }
            self.api
                .check((table.GetDimensionsCount)(info, &mut rank))
                .ok()?;
            let mut names = vec![ptr::null::<c_char>(); rank];
            let get = table.GetSymbolicDimensions;
            self.api.check(get(info, names.as_mut_ptr(), rank)).ok()?;
            let first = names.first().filter(|name| !name.is_null())?;
            Some(CStr::from_ptr(*first).to_owned()).filter(|name| !name.is_empty())
        }
    }

    /// Says type and dimensions of an output. A first dimension that is not known is the batch of the first input.
    ///
    /// # Errors
    /// If the runtime does not take them.
    pub fn set_output(&self, index: usize, element: Element, dims: &Dims) -> Result<(), Error> {
        let table = self.api.table();
        let element = match element {
            Element::F32 => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            Element::U8 => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
            Element::I32 => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        };
        let known = |d: &Option<usize>| d.and_then(|d| i64::try_from(d).ok()).unwrap_or(-1);
        let sizes: Vec<i64> = dims.iter().map(known).collect();
        // A size that is neither known nor named would be taken for the number -1, and two of one name for the same.
        let names: Vec<CString> = (dims.iter().enumerate())
            .map(|(i, d)| match (i, d) {
                (_, Some(_)) => CString::default(),
                (0, None) => self.batch_name().unwrap_or_else(unknown),
                _ => unknown(),
            })
            .collect();
        let mut info = ptr::null_mut();
        // SAFETY: the description is made and released here; the runtime copies what it is handed.
        unsafe {
            self.api
                .check((table.CreateTensorTypeAndShapeInfo)(&mut info))?;
            let set = || {
                self.api
                    .check((table.SetTensorElementType)(info, element))?;
                let set = table.SetDimensions;
                self.api.check(set(info, sizes.as_ptr(), sizes.len()))?;
                let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
                let set = table.SetSymbolicDimensions;
                self.api.check(set(info, names.as_mut_ptr(), names.len()))?;
                let set = table.ShapeInferContext_SetOutputTypeShape;
                self.api.check(set(self.context, index, info))
            };
            let done = set();
            (table.ReleaseTensorTypeAndShapeInfo)(info);
            done
        }
    }

    /// Reads an attribute of that type into as many numbers as it has.
    fn attribute(&self, name: &CStr, kind: OrtOpAttrType) -> Option<Vec<i64>> {
        let table = self.api.table();
        let (mut attribute, mut size) = (ptr::null(), 0);
        // SAFETY: the name ends in a zero; the attribute is the context's; into no room the runtime writes nothing but
        // the size that it needs, in bytes, and else no more than there is.
        unsafe {
            let get = table.ShapeInferContext_GetAttribute;
            self.api
                .check(get(self.context, name.as_ptr(), &mut attribute))
                .ok()?;
            if attribute.is_null() {
                return None;
            }
            let read = table.ReadOpAttr;
            let _ = self
                .api
                .check(read(attribute, kind, ptr::null_mut(), 0, &mut size));
            let count = Some(size / size_of::<i64>()).filter(|&n| n <= MOST_INTS)?;
            let mut values = vec![0i64; count];
            let to = values.as_mut_ptr().cast::<c_void>();
            self.api
                .check(read(attribute, kind, to, 8 * count, &mut size))
                .ok()?;
            Some(values)
        }
    }
}

impl Attributes for ShapeContext {
    fn int(&self, name: &CStr) -> Option<i64> {
        self.attribute(name, OrtOpAttrType::ORT_OP_ATTR_INT)?
            .first()
            .copied()
    }

    fn ints(&self, name: &CStr) -> Option<Vec<i64>> {
        self.attribute(name, OrtOpAttrType::ORT_OP_ATTR_INTS)
    }
}
