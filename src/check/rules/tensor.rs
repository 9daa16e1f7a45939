//! Constant tensors: a known type, a possible shape, and as many elements as the shape says.

use super::label;
use crate::check::finding::Findings;
use crate::onnx::proto::{NodeProto, SparseTensorProto, TensorProto, tensor_proto::DataType};
use crate::onnx::{Tensor, element_count};

/// Checks a tensor, an initializer or an attribute of `node`.
pub(super) fn dense(t: &TensorProto, node: Option<&NodeProto>, findings: &mut Findings) {
    let mut wrong = |why: String| {
        let message = format!("tensor '{}' {why}", t.name());
        match node {
            Some(n) => findings.error_at("tensor", label(n), message),
            None => findings.error("tensor", message),
        }
    };
    let Some(kind) = DataType::try_from(t.data_type())
        .ok()
        .filter(|&k| k != DataType::Undefined)
    else {
        return wrong(format!(
            "has the element type {}, which ONNX does not define; export the model anew",
            t.data_type()
        ));
    };
    let Some((_, count)) = element_count(&t.dims) else {
        return wrong(format!(
            "has the impossible shape {:?}; export the model anew",
            t.dims
        ));
    };
    let fields = [
        t.raw_data.as_ref().is_some_and(|r| !r.is_empty()),
        !t.float_data.is_empty(),
        !t.int32_data.is_empty(),
        !t.string_data.is_empty(),
        !t.int64_data.is_empty(),
        !t.double_data.is_empty(),
        !t.uint64_data.is_empty(),
    ];
    if fields.iter().filter(|&&f| f).count() > 1 {
        return wrong("has its elements in several fields; keep one".to_owned());
    }
    if kind == DataType::String && t.raw_data.is_some() {
        return wrong("holds strings as raw bytes; put them into string_data".to_owned());
    }
    let (unit, declared, held) = match (&t.raw_data, bits(kind)) {
        (Some(raw), Some(bits)) => {
            // Elements of fewer than 8 bits are packed.
            let bytes = count.saturating_mul(bits).div_ceil(8);
            ("bytes", bytes, raw.len())
        }
        (Some(_), None) => return,
        (None, _) => match typed(t, kind, count) {
            Some((declared, held)) => ("elements", declared, held),
            None => return,
        },
    };
    if declared != held {
        wrong(format!(
            "declares {declared} {unit} but holds {held}; was the file copied completely?"
        ));
        return;
    }
    let nan = nan_count(t, kind);
    if nan > 0 {
        wrong(format!(
            "holds {nan} values that are NaN; was the training diverging when it was exported?"
        ));
    }
}

/// How many elements are no numbers: a `Sign` or a comparison hides them from whoever runs it.
fn nan_count(t: &TensorProto, kind: DataType) -> usize {
    use DataType as D;
    if !matches!(kind, D::Float | D::Double | D::Float16 | D::Bfloat16) {
        return 0;
    }
    match Tensor::from_proto(t) {
        Ok(Tensor::F32(a)) => a.iter().filter(|v| v.is_nan()).count(),
        Ok(other) => other.to_f64().iter().filter(|v| v.is_nan()).count(),
        Err(_) => 0,
    }
}

/// Checks a sparse tensor.
pub(super) fn sparse(s: &SparseTensorProto, node: Option<&NodeProto>, findings: &mut Findings) {
    let (Some(values), Some(indices)) = (&s.values, &s.indices) else {
        return findings.error(
            "tensor",
            "has a sparse tensor without values or indices; export it anew",
        );
    };
    dense(values, node, findings);
    dense(indices, node, findings);
    let fits = match (&values.dims[..], &indices.dims[..]) {
        ([n], [m]) => n == m,
        ([n], [m, rank]) => n == m && usize::try_from(*rank) == Ok(s.dims.len()),
        _ => false,
    };
    if !fits || indices.data_type() != DataType::Int64 as i32 {
        findings.error(
            "tensor",
            format!(
                "sparse tensor '{}' has indices that do not fit its values; export it anew",
                values.name()
            ),
        );
    }
}

/// Bits of an element in `raw_data`; `None` where their layout is not defined.
fn bits(kind: DataType) -> Option<usize> {
    use DataType as D;
    Some(match kind {
        D::Uint2 | D::Int2 => 2,
        D::Uint4 | D::Int4 | D::Float4e2m1 => 4,
        D::Uint8
        | D::Int8
        | D::Bool
        | D::Float8e4m3fn
        | D::Float8e4m3fnuz
        | D::Float8e5m2
        | D::Float8e5m2fnuz
        | D::Float8e8m0 => 8,
        D::Uint16 | D::Int16 | D::Float16 | D::Bfloat16 => 16,
        D::Float | D::Int32 | D::Uint32 => 32,
        D::Double | D::Int64 | D::Uint64 | D::Complex64 => 64,
        D::Complex128 => 128,
        D::Undefined | D::String | D::Float6e2m3 | D::Float6e3m2 => return None,
    })
}

/// Entries that the typed field of an element type should hold for `count` elements, and holds.
fn typed(t: &TensorProto, kind: DataType, count: usize) -> Option<(usize, usize)> {
    use DataType as D;
    Some(match kind {
        D::Float => (count, t.float_data.len()),
        D::Complex64 => (count.saturating_mul(2), t.float_data.len()),
        D::Double => (count, t.double_data.len()),
        D::Complex128 => (count.saturating_mul(2), t.double_data.len()),
        D::Int64 => (count, t.int64_data.len()),
        D::Uint32 | D::Uint64 => (count, t.uint64_data.len()),
        D::String => (count, t.string_data.len()),
        D::Uint2 | D::Int2 => (count.div_ceil(4), t.int32_data.len()),
        D::Uint4 | D::Int4 | D::Float4e2m1 => (count.div_ceil(2), t.int32_data.len()),
        D::Undefined | D::Float6e2m3 | D::Float6e3m2 => return None,
        _ => (count, t.int32_data.len()),
    })
}
