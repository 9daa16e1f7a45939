//! `TensorProto` to and from ndarray.

use bytes::Bytes;
use ndarray::{ArrayD, IxDyn};
use thiserror::Error;

use super::proto::{TensorProto, tensor_proto};

/// The element types of the ONNX standard that this tool computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// Boolean, one byte an element.
    Bool,
}

impl DataType {
    /// From the number in `TensorProto.data_type`; `None` for types the tool does not compute with.
    pub fn from_onnx(number: i32) -> Option<Self> {
        use tensor_proto::DataType as D;
        match D::try_from(number).ok()? {
            D::Float => Some(Self::F32),
            D::Double => Some(Self::F64),
            D::Int64 => Some(Self::I64),
            D::Int32 => Some(Self::I32),
            D::Bool => Some(Self::Bool),
            _ => None,
        }
    }

    /// The number that `TensorProto.data_type` holds for it.
    pub fn to_onnx(self) -> i32 {
        use tensor_proto::DataType as D;
        let d = match self {
            Self::F32 => D::Float,
            Self::F64 => D::Double,
            Self::I64 => D::Int64,
            Self::I32 => D::Int32,
            Self::Bool => D::Bool,
        };
        d as i32
    }
}

/// A dense tensor of one of the supported element types, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// 32-bit float.
    F32(ArrayD<f32>),
    /// 64-bit float.
    F64(ArrayD<f64>),
    /// 64-bit signed integer.
    I64(ArrayD<i64>),
    /// 32-bit signed integer.
    I32(ArrayD<i32>),
    /// Boolean.
    Bool(ArrayD<bool>),
}

/// Why a `TensorProto` is not a tensor this tool can read.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// The element type is not one the tool computes with.
    #[error("tensor '{name}' has element type {number}, which is not supported here")]
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
            Tensor::F32($a) => $e,
            Tensor::F64($a) => $e,
            Tensor::I64($a) => $e,
            Tensor::I32($a) => $e,
            Tensor::Bool($a) => $e,
        }
    };
}

/// Like `each!`, but the result is wrapped in the same variant.
macro_rules! map_each {
    ($t:expr, $a:ident => $e:expr) => {
        match $t {
            Tensor::F32($a) => Tensor::F32($e),
            Tensor::F64($a) => Tensor::F64($e),
            Tensor::I64($a) => Tensor::I64($e),
            Tensor::I32($a) => Tensor::I32($e),
            Tensor::Bool($a) => Tensor::Bool($e),
        }
    };
}
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
        macro_rules! read {
            ($variant:ident, $ty:ty, $size:expr, $from_raw:expr, $typed:expr) => {{
                let data: Vec<$ty> = match &t.raw_data {
                    Some(raw) if raw.len().is_multiple_of($size) => {
                        raw.chunks_exact($size).map($from_raw).collect()
                    }
                    Some(raw) => {
                        return Err(TensorError::Length {
                            name: name(),
                            declared: count.to_string(),
                            held: raw.len() / $size,
                        });
                    }
                    None => $typed,
                };
                let held = data.len();
                let array = ArrayD::from_shape_vec(IxDyn(&shape), data).map_err(|_| {
                    TensorError::Length {
                        name: name(),
                        declared: count.to_string(),
                        held,
                    }
                })?;
                Ok(Tensor::$variant(array))
            }};
        }
        // `chunks_exact` hands out slices of exactly the size asked for.
        fn le<const N: usize>(b: &[u8]) -> [u8; N] {
            let mut out = [0; N];
            out.copy_from_slice(b);
            out
        }
        match kind {
            DataType::F32 => read!(
                F32,
                f32,
                4,
                |b| f32::from_le_bytes(le(b)),
                t.float_data.clone()
            ),
            DataType::F64 => read!(
                F64,
                f64,
                8,
                |b| f64::from_le_bytes(le(b)),
                t.double_data.clone()
            ),
            DataType::I64 => read!(
                I64,
                i64,
                8,
                |b| i64::from_le_bytes(le(b)),
                t.int64_data.clone()
            ),
            DataType::I32 => read!(
                I32,
                i32,
                4,
                |b| i32::from_le_bytes(le(b)),
                t.int32_data.clone()
            ),
            DataType::Bool => read!(
                Bool,
                bool,
                1,
                |b| b.first().is_some_and(|&x| x != 0),
                t.int32_data.iter().map(|&x| x != 0).collect()
            ),
        }
    }

    /// As a `TensorProto` named `name`, data in `raw_data`.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        let raw: Vec<u8> = match self {
            Self::F32(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I32(a) => a.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bool(a) => a.iter().map(|&x| u8::from(x)).collect(),
        };
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
            Self::I64(_) => DataType::I64,
            Self::I32(_) => DataType::I32,
            Self::Bool(_) => DataType::Bool,
        }
    }

    /// Its dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        each!(self, a => a.shape())
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

    /// The elements as integers, if it is of an integer type.
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::I64(a) => Some(a.iter().copied().collect()),
            Self::I32(a) => Some(a.iter().map(|&x| i64::from(x)).collect()),
            _ => None,
        }
    }

    /// The only element as `f32`, if it has one and is a number.
    pub fn scalar_f32(&self) -> Option<f32> {
        if self.len() != 1 {
            return None;
        }
        match self {
            Self::F32(a) => a.first().copied(),
            Self::F64(a) => a.first().map(|&x| x as f32),
            Self::I64(a) => a.first().map(|&x| x as f32),
            Self::I32(a) => a.first().map(|&x| x as f32),
            Self::Bool(_) => None,
        }
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
}
