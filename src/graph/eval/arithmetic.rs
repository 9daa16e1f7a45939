//! Arithmetic of constants, element by element, in each element type.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn, Zip};

use crate::graph::{scalar, shapes};
use crate::onnx::{DataType, Tensor};

pub(super) fn map_unary(op: &str, x: &Tensor, f: &scalar::Unary) -> Option<Tensor> {
    Some(match (x, op) {
        (t, "Identity") => t.clone(),
        (Tensor::F32(a), _) => Tensor::F32(a.mapv(f)),
        (Tensor::F16(a), _) => Tensor::F16(a.mapv(|v| f16::from_f32(f(f32::from(v))))),
        (Tensor::Bf16(a), _) => Tensor::Bf16(a.mapv(|v| bf16::from_f32(f(f32::from(v))))),
        (Tensor::F64(a), _) => Tensor::F64(a.mapv(scalar::unary_of_double(op)?)),
        (Tensor::I64(a), "Neg") => Tensor::I64(a.mapv(i64::wrapping_neg)),
        (Tensor::I64(a), "Abs") => Tensor::I64(a.mapv(i64::wrapping_abs)),
        (Tensor::I64(a), "Sign") => Tensor::I64(a.mapv(i64::signum)),
        (Tensor::I32(a), "Neg") => Tensor::I32(a.mapv(i32::wrapping_neg)),
        (Tensor::I32(a), "Abs") => Tensor::I32(a.mapv(i32::wrapping_abs)),
        (Tensor::I32(a), "Sign") => Tensor::I32(a.mapv(i32::signum)),
        (Tensor::I8(a), "Neg") => Tensor::I8(a.mapv(i8::wrapping_neg)),
        (Tensor::I8(a), "Abs") => Tensor::I8(a.mapv(i8::wrapping_abs)),
        (Tensor::I8(a), "Sign") => Tensor::I8(a.mapv(i8::signum)),
        _ => return None,
    })
}

pub(super) fn zip_arrays<A: Clone, B: Clone, C>(
    a: &ArrayD<A>,
    b: &ArrayD<B>,
    f: impl Fn(A, B) -> C,
) -> Option<ArrayD<C>> {
    let shape = shapes::broadcast(a.shape(), b.shape())?;
    let (a, b) = (a.broadcast(IxDyn(&shape))?, b.broadcast(IxDyn(&shape))?);
    Some(
        Zip::from(&a)
            .and(&b)
            .map_collect(|a, b| f(a.clone(), b.clone())),
    )
}

pub(super) fn zip(a: &Tensor, b: &Tensor, op: &str, f: scalar::Binary) -> Option<Tensor> {
    let integer = |a: i64, b: i64| match op {
        "Add" | "Sum" => a.wrapping_add(b),
        "Sub" => a.wrapping_sub(b),
        "Mul" => a.wrapping_mul(b),
        "Div" => a.checked_div(b).unwrap_or(0),
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => f(a as f32, b as f32) as i64,
    };
    // Narrow integers wrap around as wide ones do.
    macro_rules! narrow {
        ($v:ident, $t:ty, $a:expr, $b:expr) => {
            Tensor::$v(zip_arrays($a, $b, |a: $t, b: $t| {
                integer(i64::from(a), i64::from(b)) as $t
            })?)
        };
    }
    macro_rules! half {
        ($v:ident, $t:ty, $a:expr, $b:expr) => {
            Tensor::$v(zip_arrays($a, $b, |a: $t, b: $t| {
                <$t>::from_f32(f(f32::from(a), f32::from(b)))
            })?)
        };
    }
    Some(match (a, b) {
        (Tensor::F32(a), Tensor::F32(b)) => Tensor::F32(zip_arrays(a, b, f)?),
        (Tensor::F64(a), Tensor::F64(b)) => {
            Tensor::F64(zip_arrays(a, b, scalar::binary_of_double(op)?)?)
        }
        (Tensor::F16(a), Tensor::F16(b)) => half!(F16, f16, a, b),
        (Tensor::Bf16(a), Tensor::Bf16(b)) => half!(Bf16, bf16, a, b),
        (Tensor::I64(a), Tensor::I64(b)) => Tensor::I64(zip_arrays(a, b, integer)?),
        (Tensor::I32(a), Tensor::I32(b)) => narrow!(I32, i32, a, b),
        (Tensor::I16(a), Tensor::I16(b)) => narrow!(I16, i16, a, b),
        (Tensor::I8(a), Tensor::I8(b)) => narrow!(I8, i8, a, b),
        (Tensor::U16(a), Tensor::U16(b)) => narrow!(U16, u16, a, b),
        (Tensor::U8(a), Tensor::U8(b)) => narrow!(U8, u8, a, b),
        // Pow may mix types; the result has the base's.
        (Tensor::F32(a), b) if op == "Pow" => {
            Tensor::F32(zip_arrays(a, &b.to_f64(), |a, b| f(a, b as f32))?)
        }
        (Tensor::F64(a), b) if op == "Pow" => Tensor::F64(zip_arrays(a, &b.to_f64(), f64::powf)?),
        _ => return None,
    })
}

pub(super) fn cast(t: &Tensor, to: DataType) -> Option<Tensor> {
    let wide = |t: &Tensor| -> Option<Vec<i64>> { t.to_ints() };
    Some(match (t, to) {
        (t, to) if t.data_type() == to => t.clone(),
        // To floats too small for it, a number is rounded once.
        (t, to) if to.is_float() || to == DataType::Bool => Tensor::of(to, &t.to_f64()),
        // What of a float does not fit an integer, ONNX leaves open: runtimes wrap around, or stop at the end.
        (t, to) if t.data_type().is_float() => {
            let values = t.to_f64();
            let whole = Tensor::of(to, &values);
            let fits = whole.to_f64() == values.mapv(f64::trunc);
            return fits.then_some(whole);
        }
        (t, to) if matches!(t, Tensor::Bool(_)) => Tensor::of(to, &t.to_f64()),
        // Between integers, what does not fit wraps around.
        (t, to) => {
            let ints = ArrayD::from_shape_vec(IxDyn(t.shape()), wide(t)?).ok()?;
            match to {
                DataType::I64 => Tensor::I64(ints),
                DataType::I32 => Tensor::I32(ints.mapv(|v| v as i32)),
                DataType::I16 => Tensor::I16(ints.mapv(|v| v as i16)),
                DataType::I8 => Tensor::I8(ints.mapv(|v| v as i8)),
                DataType::U64 => Tensor::U64(ints.mapv(|v| v as u64)),
                DataType::U32 => Tensor::U32(ints.mapv(|v| v as u32)),
                DataType::U16 => Tensor::U16(ints.mapv(|v| v as u16)),
                DataType::U8 => Tensor::U8(ints.mapv(|v| v as u8)),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_that_no_integer_holds_are_not_cast() {
        let of = |v: f32| Tensor::F32(ndarray::arr1(&[1.0, v]).into_dyn());
        let bytes = |v: f32| cast(&of(v), DataType::U8).map(|t| t.to_f64()[1]);
        assert_eq!(bytes(12.7), Some(12.0));
        assert_eq!((bytes(-0.5), bytes(255.9)), (Some(0.0), Some(255.0)));
        for outside in [-1.0, 256.0, f32::INFINITY, f32::NAN] {
            assert_eq!(bytes(outside), None, "{outside}");
        }
        let signed = cast(&of(-128.0), DataType::I8).map(|t| t.to_f64()[1]);
        assert_eq!(signed, Some(-128.0));
        assert!(cast(&of(128.0), DataType::I8).is_none());
    }
}
