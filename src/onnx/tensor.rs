//! `TensorProto` to and from ndarray.

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use thiserror::Error;

use super::element::{DataType, Element, type_name};
use super::proto::{SparseTensorProto, TensorProto, tensor_proto};

/// A dense tensor of one of the supported element types, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// 32-bit float.
    F32(ArrayD<f32>),
    /// 64-bit float.
    F64(ArrayD<f64>),
    /// 16-bit float.
    F16(ArrayD<f16>),
    /// 16-bit float with a large exponent.
    Bf16(ArrayD<bf16>),
    /// 64-bit signed integer.
    I64(ArrayD<i64>),
    /// 32-bit signed integer.
    I32(ArrayD<i32>),
    /// 16-bit signed integer.
    I16(ArrayD<i16>),
    /// 8-bit signed integer.
    I8(ArrayD<i8>),
    /// 64-bit unsigned integer.
    U64(ArrayD<u64>),
    /// 32-bit unsigned integer.
    U32(ArrayD<u32>),
    /// 16-bit unsigned integer.
    U16(ArrayD<u16>),
    /// 8-bit unsigned integer.
    U8(ArrayD<u8>),
    /// Boolean.
    Bool(ArrayD<bool>),
}

/// Sparse tensors up to so many elements are read, however few they list,
const LEAST_SPARSE: usize = 1024;
/// larger ones where at least one element in so many is listed.
const SPARSEST: usize = 64;

/// Why a `TensorProto` is not a tensor this tool can read.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// The element type is not one the tool computes with.
    #[error("tensor '{name}' is of {}, which is not supported here", type_name(*number))]
    Type {
        /// The tensor.
        name: String,
        /// `TensorProto.data_type`.
        number: i32,
    },
    /// Dimensions and data do not fit.
    #[error("tensor '{name}' declares {declared} elements but holds {held}")]
    Length {
        /// The tensor.
        name: String,
        /// Elements by the dimensions.
        declared: String,
        /// Elements in the data fields.
        held: usize,
    },
    /// A negative dimension, or a product of dimensions beyond what memory can hold.
    #[error("tensor '{name}' has the impossible shape {dims:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// As declared.
        dims: Vec<i64>,
    },
    /// The data lie in a file of their own and were not loaded.
    #[error("tensor '{name}' has external data that was not loaded")]
    External {
        /// The tensor.
        name: String,
    },
}

/// Dispatches on the element type: `each!(tensor, a => expression in a)`.
macro_rules! each {
    ($t:expr, $a:ident => $e:expr) => {
        match $t {
            $crate::onnx::Tensor::F32($a) => $e,
            $crate::onnx::Tensor::F64($a) => $e,
            $crate::onnx::Tensor::F16($a) => $e,
            $crate::onnx::Tensor::Bf16($a) => $e,
            $crate::onnx::Tensor::I64($a) => $e,
            $crate::onnx::Tensor::I32($a) => $e,
            $crate::onnx::Tensor::I16($a) => $e,
            $crate::onnx::Tensor::I8($a) => $e,
            $crate::onnx::Tensor::U64($a) => $e,
            $crate::onnx::Tensor::U32($a) => $e,
            $crate::onnx::Tensor::U16($a) => $e,
            $crate::onnx::Tensor::U8($a) => $e,
            $crate::onnx::Tensor::Bool($a) => $e,
        }
    };
}

/// Like `each!`, but the result is wrapped in the same variant.
macro_rules! map_each {
    ($t:expr, $a:ident => $e:expr) => {
        match $t {
            $crate::onnx::Tensor::F32($a) => $crate::onnx::Tensor::F32($e),
            $crate::onnx::Tensor::F64($a) => $crate::onnx::Tensor::F64($e),
            $crate::onnx::Tensor::F16($a) => $crate::onnx::Tensor::F16($e),
            $crate::onnx::Tensor::Bf16($a) => $crate::onnx::Tensor::Bf16($e),
            $crate::onnx::Tensor::I64($a) => $crate::onnx::Tensor::I64($e),
            $crate::onnx::Tensor::I32($a) => $crate::onnx::Tensor::I32($e),
            $crate::onnx::Tensor::I16($a) => $crate::onnx::Tensor::I16($e),
            $crate::onnx::Tensor::I8($a) => $crate::onnx::Tensor::I8($e),
            $crate::onnx::Tensor::U64($a) => $crate::onnx::Tensor::U64($e),
            $crate::onnx::Tensor::U32($a) => $crate::onnx::Tensor::U32($e),
            $crate::onnx::Tensor::U16($a) => $crate::onnx::Tensor::U16($e),
            $crate::onnx::Tensor::U8($a) => $crate::onnx::Tensor::U8($e),
            $crate::onnx::Tensor::Bool($a) => $crate::onnx::Tensor::Bool($e),
        }
    };
}
pub(crate) use each;
pub(crate) use map_each;

impl Tensor {
    /// Reads a `TensorProto` (raw or typed data fields).
    pub fn from_proto(t: &TensorProto) -> Result<Self, TensorError> {
        let name = || t.name().to_owned();
        if t.data_location() == tensor_proto::DataLocation::External {
            return Err(TensorError::External { name: name() });
        }
        let (shape, count) = element_count(&t.dims).ok_or_else(|| TensorError::Shape {
            name: name(),
            dims: t.dims.clone(),
        })?;
        let number = t.data_type();
        let kind = DataType::from_onnx(number).ok_or_else(|| TensorError::Type {
            name: name(),
            number,
        })?;
        Ok(match kind {
            DataType::F32 => Self::F32(read(t, &shape, count)?),
            DataType::F64 => Self::F64(read(t, &shape, count)?),
            DataType::F16 => Self::F16(read(t, &shape, count)?),
            DataType::Bf16 => Self::Bf16(read(t, &shape, count)?),
            DataType::I64 => Self::I64(read(t, &shape, count)?),
            DataType::I32 => Self::I32(read(t, &shape, count)?),
            DataType::I16 => Self::I16(read(t, &shape, count)?),
            DataType::I8 => Self::I8(read(t, &shape, count)?),
            DataType::U64 => Self::U64(read(t, &shape, count)?),
            DataType::U32 => Self::U32(read(t, &shape, count)?),
            DataType::U16 => Self::U16(read(t, &shape, count)?),
            DataType::U8 => Self::U8(read(t, &shape, count)?),
            DataType::Bool => Self::Bool(read(t, &shape, count)?),
        })
    }

    /// Reads a sparse tensor: what it does not list is 0. `None` if it is not one that this tool can
    /// read, or is so sparse that a few bytes would ask for any memory.
    pub fn from_sparse(s: &SparseTensorProto) -> Option<Self> {
        let (shape, count) = element_count(&s.dims)?;
        let values = Self::from_proto(s.values.as_ref()?).ok()?;
        if count > LEAST_SPARSE.max(values.len().saturating_mul(SPARSEST)) {
            return None;
        }
        let indices = Self::from_proto(s.indices.as_ref()?).ok()?;
        let places = indices.to_ints()?;
        let flat: Vec<usize> = match *indices.shape() {
            [_] => places.iter().map(|&i| usize::try_from(i).ok()).collect(),
            [_, rank] if rank == shape.len() && rank > 0 => places
                .chunks_exact(rank)
                .map(|at| {
                    at.iter().zip(&shape).try_fold(0usize, |sum, (&i, &d)| {
                        let i = usize::try_from(i).ok().filter(|&i| i < d)?;
                        sum.checked_mul(d)?.checked_add(i)
                    })
                })
                .collect(),
            _ => None,
        }?;
        if flat.len() != values.len() {
            return None;
        }
        Some(map_each!(&values, a => {
            let mut dense = vec![Default::default(); count];
            for (&at, &v) in flat.iter().zip(a) {
                *dense.get_mut(at)? = v;
            }
            ArrayD::from_shape_vec(IxDyn(&shape), dense).ok()?
        }))
    }

    /// Of that type, with these values: rounded to the nearest float, or cut off to an integer.
    pub fn of(kind: DataType, a: &ArrayD<f64>) -> Self {
        match kind {
            DataType::F32 => Self::F32(a.mapv(f32::from_f64)),
            DataType::F64 => Self::F64(a.mapv(f64::from_f64)),
            DataType::F16 => Self::F16(a.mapv(f16::from_f64)),
            DataType::Bf16 => Self::Bf16(a.mapv(bf16::from_f64)),
            DataType::I64 => Self::I64(a.mapv(i64::from_f64)),
            DataType::I32 => Self::I32(a.mapv(i32::from_f64)),
            DataType::I16 => Self::I16(a.mapv(i16::from_f64)),
            DataType::I8 => Self::I8(a.mapv(i8::from_f64)),
            DataType::U64 => Self::U64(a.mapv(u64::from_f64)),
            DataType::U32 => Self::U32(a.mapv(u32::from_f64)),
            DataType::U16 => Self::U16(a.mapv(u16::from_f64)),
            DataType::U8 => Self::U8(a.mapv(u8::from_f64)),
            DataType::Bool => Self::Bool(a.mapv(bool::from_f64)),
        }
    }

    /// As a `TensorProto` named `name`, data in `raw_data`.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        let mut raw = Vec::new();
        each!(self, a => a.iter().for_each(|x| x.push_le(&mut raw)));
        TensorProto {
            dims: self.shape().iter().map(|&d| d as i64).collect(),
            data_type: Some(self.data_type().to_onnx()),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        }
    }

    /// Its element type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::F32(_) => DataType::F32,
            Self::F64(_) => DataType::F64,
            Self::F16(_) => DataType::F16,
            Self::Bf16(_) => DataType::Bf16,
            Self::I64(_) => DataType::I64,
            Self::I32(_) => DataType::I32,
            Self::I16(_) => DataType::I16,
            Self::I8(_) => DataType::I8,
            Self::U64(_) => DataType::U64,
            Self::U32(_) => DataType::U32,
            Self::U16(_) => DataType::U16,
            Self::U8(_) => DataType::U8,
            Self::Bool(_) => DataType::Bool,
        }
    }

    /// Its dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        each!(self, a => a.shape())
    }

    /// The same, its elements in row-major order in memory, which whoever reads slices of them takes for granted.
    pub(crate) fn row_major(self) -> Self {
        map_each!(self, a => match a.is_standard_layout() {
            true => a,
            false => a.as_standard_layout().into_owned(),
        })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, a => a.len())
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As `f32`, if it is of that type.
    pub fn as_f32(&self) -> Option<&ArrayD<f32>> {
        match self {
            Self::F32(a) => Some(a),
            _ => None,
        }
    }

    /// The elements as `f32`, if it is of a float type: those of `float64` are rounded.
    pub fn floats(&self) -> Option<Cow<'_, ArrayD<f32>>> {
        match self {
            Self::F32(a) => Some(Cow::Borrowed(a)),
            Self::F64(a) => Some(Cow::Owned(a.mapv(|x| x as f32))),
            Self::F16(a) => Some(Cow::Owned(a.mapv(f32::from))),
            Self::Bf16(a) => Some(Cow::Owned(a.mapv(f32::from))),
            _ => None,
        }
    }

    /// The elements as `f64`; integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> ArrayD<f64> {
        each!(self, a => a.mapv(Element::to_f64))
    }

    /// The elements as integers, if it is of an integer type (and they fit `i64`).
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::I64(a) => Some(a.iter().copied().collect()),
            Self::I32(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            Self::I16(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            Self::I8(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            Self::U64(a) => a.iter().map(|&x| i64::try_from(x).ok()).collect(),
            Self::U32(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            Self::U16(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            Self::U8(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            _ => None,
        }
    }

    /// The only element as `f32`, if it has one and is a number.
    pub fn scalar_f32(&self) -> Option<f32> {
        if self.len() != 1 || matches!(self, Self::Bool(_)) {
            return None;
        }
        each!(self, a => a.first().map(|x| x.to_f64() as f32))
    }

    /// The slices `indices` along `axis`, in that order; `None` if an index is out of range.
    pub fn select(&self, axis: usize, indices: &[usize]) -> Option<Self> {
        let size = *self.shape().get(axis)?;
        if indices.iter().any(|&i| i >= size) {
            return None;
        }
        Some(map_each!(self, a => a.select(ndarray::Axis(axis), indices)))
    }
}

/// The elements of a tensor of that shape, raw or typed.
fn read<T: Element>(
    t: &TensorProto,
    shape: &[usize],
    count: usize,
) -> Result<ArrayD<T>, TensorError> {
    let wrong = |held| TensorError::Length {
        name: t.name().to_owned(),
        declared: count.to_string(),
        held,
    };
    let data: Vec<T> = match &t.raw_data {
        Some(raw) if raw.len().is_multiple_of(T::SIZE) => {
            raw.chunks_exact(T::SIZE).map(T::from_le).collect()
        }
        Some(raw) => return Err(wrong(raw.len() / T::SIZE)),
        None => T::typed(t),
    };
    let held = data.len();
    ArrayD::from_shape_vec(IxDyn(shape), data).map_err(|_| wrong(held))
}

/// The dimensions as `usize` and their product; `None` if negative or too large to address.
pub(crate) fn element_count(dims: &[i64]) -> Option<(Vec<usize>, usize)> {
    let shape = dims
        .iter()
        .map(|&d| usize::try_from(d).ok())
        .collect::<Option<Vec<_>>>()?;
    let count = shape
        .iter()
        .try_fold(1usize, |acc, &d| acc.checked_mul(d))
        .filter(|&n| n <= isize::MAX as usize / 8)?;
    // ndarray refuses shapes whose non-zero dimensions overflow, even where one is zero.
    let nonzero = shape
        .iter()
        .filter(|&&d| d != 0)
        .try_fold(1usize, |acc, &d| acc.checked_mul(d))?;
    (nonzero <= isize::MAX as usize / 8).then_some((shape, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_keeps_type_shape_and_values() {
        let t = Tensor::F32(
            ArrayD::from_shape_vec(IxDyn(&[2, 3]), vec![1., -2., 0., f32::MIN, 4., 5.]).unwrap(),
        );
        assert_eq!(Tensor::from_proto(&t.to_proto("t")), Ok(t));
        let b = Tensor::Bool(ArrayD::from_shape_vec(IxDyn(&[3]), vec![true, false, true]).unwrap());
        assert_eq!(Tensor::from_proto(&b.to_proto("b")), Ok(b));
    }

    #[test]
    fn typed_fields_are_read() {
        let p = TensorProto {
            dims: vec![2],
            data_type: Some(DataType::I64.to_onnx()),
            int64_data: vec![7, -7],
            ..TensorProto::default()
        };
        assert_eq!(Tensor::from_proto(&p).unwrap().to_ints(), Some(vec![7, -7]));
    }

    #[test]
    fn lies_about_size_are_errors() {
        let mut p = Tensor::F32(ArrayD::zeros(IxDyn(&[2, 2]))).to_proto("w");
        p.dims = vec![2, 3];
        assert!(matches!(
            Tensor::from_proto(&p),
            Err(TensorError::Length { .. })
        ));
        p.dims = vec![-1, 4];
        assert!(matches!(
            Tensor::from_proto(&p),
            Err(TensorError::Shape { .. })
        ));
        p.dims = vec![i64::MAX, i64::MAX];
        assert!(matches!(
            Tensor::from_proto(&p),
            Err(TensorError::Shape { .. })
        ));
    }

    #[test]
    fn sparse_tensors_are_read_by_flat_and_by_full_indices_but_not_made_of_nothing() {
        let sparse = |indices: Tensor, dims: &[i64]| SparseTensorProto {
            values: Some(
                Tensor::F32(ArrayD::from_shape_vec(IxDyn(&[2]), vec![1.5, -2.0]).unwrap())
                    .to_proto("v"),
            ),
            indices: Some(indices.to_proto("")),
            dims: dims.to_vec(),
        };
        let ints = |shape: &[usize], v: &[i64]| {
            Tensor::I64(ArrayD::from_shape_vec(IxDyn(shape), v.to_vec()).unwrap())
        };
        let expected = ArrayD::from_shape_vec(IxDyn(&[2, 2]), vec![0.0, 1.5, 0.0, -2.0]).unwrap();
        for indices in [ints(&[2], &[1, 3]), ints(&[2, 2], &[0, 1, 1, 1])] {
            let read = Tensor::from_sparse(&sparse(indices, &[2, 2]));
            assert_eq!(read, Some(Tensor::F32(expected.clone())));
        }
        for indices in [ints(&[2], &[1, 4]), ints(&[2, 2], &[0, 1, 1, 2])] {
            assert_eq!(Tensor::from_sparse(&sparse(indices, &[2, 2])), None);
        }
        let huge = sparse(ints(&[2], &[0, 1]), &[1 << 20, 1 << 12]);
        assert_eq!(Tensor::from_sparse(&huge), None);
    }
}
