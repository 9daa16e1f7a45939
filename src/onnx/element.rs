//! Element types: how each is stored, and its numbers.

use half::{bf16, f16};

use super::proto::{TensorProto, tensor_proto};

/// The element types of the ONNX standard that this tool computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit float of IEEE 754.
    F16,
    /// 16-bit float with the exponent of 32-bit ones.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
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
            D::Float16 => Some(Self::F16),
            D::Bfloat16 => Some(Self::Bf16),
            D::Int64 => Some(Self::I64),
            D::Int32 => Some(Self::I32),
            D::Int16 => Some(Self::I16),
            D::Int8 => Some(Self::I8),
            D::Uint64 => Some(Self::U64),
            D::Uint32 => Some(Self::U32),
            D::Uint16 => Some(Self::U16),
            D::Uint8 => Some(Self::U8),
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
            Self::F16 => D::Float16,
            Self::Bf16 => D::Bfloat16,
            Self::I64 => D::Int64,
            Self::I32 => D::Int32,
            Self::I16 => D::Int16,
            Self::I8 => D::Int8,
            Self::U64 => D::Uint64,
            Self::U32 => D::Uint32,
            Self::U16 => D::Uint16,
            Self::U8 => D::Uint8,
            Self::Bool => D::Bool,
        };
        d as i32
    }

    /// Whether it holds real numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64) || self.is_half()
    }

    /// Whether it is a 16-bit float.
    pub fn is_half(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16)
    }

    /// What ONNX calls it, as in `float16`.
    pub fn name(self) -> String {
        type_name(self.to_onnx())
    }
}

/// What ONNX calls the element type of that number, as in `float16` or `int4`.
pub fn type_name(number: i32) -> String {
    match tensor_proto::DataType::try_from(number) {
        Ok(tensor_proto::DataType::Undefined) | Err(_) => format!("element type {number}"),
        Ok(known) => known.as_str_name().to_lowercase(),
    }
}

/// A number as tensors hold it.
pub(crate) trait Element: Copy + Default + PartialEq {
    /// Bytes in `raw_data`.
    const SIZE: usize;
    /// From so many bytes, little-endian.
    fn from_le(bytes: &[u8]) -> Self;
    /// Appends its bytes, little-endian.
    fn push_le(self, out: &mut Vec<u8>);
    /// The elements in the typed field of a tensor.
    fn typed(t: &TensorProto) -> Vec<Self>;
    /// Its value.
    fn to_f64(self) -> f64;
    /// The element for a value, as `Cast` has it: floats are rounded to the nearest, for integers
    /// the fraction is cut off.
    fn from_f64(value: f64) -> Self;
}

macro_rules! element {
    ($type:ty, $field:ident, $typed:expr, $to:expr, $from:expr) => {
        impl Element for $type {
            const SIZE: usize = size_of::<$type>();

            fn from_le(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                if bytes.len() == own.len() {
                    own.copy_from_slice(bytes);
                }
                <$type>::from_le_bytes(own)
            }

            fn push_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn typed(t: &TensorProto) -> Vec<Self> {
                t.$field.iter().copied().map($typed).collect()
            }

            fn to_f64(self) -> f64 {
                ($to)(self)
            }

            fn from_f64(value: f64) -> Self {
                ($from)(value)
            }
        }
    };
}

element!(f32, float_data, |v| v, f64::from, |v| v as f32);
element!(f64, double_data, |v| v, |v| v, |v| v);
// Their bits are stored as integers.
element!(
    f16,
    int32_data,
    |v| f16::from_bits(v as u16),
    f64::from,
    f16::from_f64
);
element!(
    bf16,
    int32_data,
    |v| bf16::from_bits(v as u16),
    f64::from,
    bf16::from_f64
);
element!(i64, int64_data, |v| v, |v| v as f64, |v| v as i64);
element!(i32, int32_data, |v| v, f64::from, |v| v as i32);
element!(i16, int32_data, |v| v as i16, f64::from, |v| v as i16);
element!(i8, int32_data, |v| v as i8, f64::from, |v| v as i8);
element!(u64, uint64_data, |v| v, |v| v as f64, |v| v as u64);
element!(u32, uint64_data, |v| v as u32, f64::from, |v| v as u32);
element!(u16, int32_data, |v| v as u16, f64::from, |v| v as u16);
element!(u8, int32_data, |v| v as u8, f64::from, |v| v as u8);

impl Element for bool {
    const SIZE: usize = 1;

    fn from_le(bytes: &[u8]) -> Self {
        bytes.first().is_some_and(|&b| b != 0)
    }

    fn push_le(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }

    fn typed(t: &TensorProto) -> Vec<Self> {
        t.int32_data.iter().map(|&v| v != 0).collect()
    }

    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }

    fn from_f64(value: f64) -> Self {
        value != 0.0
    }
}
