//! Constant evaluation: operators on tensors whose values are known.

mod arithmetic;
mod bits;
mod conv;
mod linear;

pub(crate) use linear::integer_range;

use ndarray::{Array1, ArrayD, Axis, IxDyn, Slice, arr0};

use super::node::{Node, normalize_axis};
use super::{Quantizer, scalar, shapes};
use crate::onnx::{DataType, Tensor, map_each};
use crate::operators::Reduction;
use arithmetic::{cast, map_unary, zip, zip_arrays};

/// Evaluates a node whose inputs (in order, `None` where left out) are all known. `None` if the
/// operator has no constant evaluation or the inputs do not fit it. Only the first output.
///
/// The caller has bounded the size of the result (see [`super::budget`]); no intermediate result
/// is larger than inputs and output.
pub(crate) fn evaluate(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let input = |k: usize| inputs.get(k).copied().flatten();
    let ints = |k: usize| input(k)?.to_ints();
    let x = || input(0);
    if let Some(f) = scalar::unary(node) {
        return map_unary(node.op(), x()?, &f);
    }
    if let Some(f) = scalar::binary(node.op()) {
        let mut acc = x()?.clone();
        for k in 1..inputs.len() {
            acc = zip(&acc, input(k)?, node.op(), f)?;
        }
        return Some(acc);
    }
    if let Some(f) = scalar::comparison(node.op()) {
        let (a, b) = (x()?.to_f64(), input(1)?.to_f64());
        return Some(Tensor::Bool(zip_arrays(&a, &b, f)?));
    }
    match node.op() {
        "Dropout" => x().cloned(),
        "Cast" => {
            let to = i32::try_from(node.int("to", 0)).ok()?;
            cast(x()?, DataType::from_onnx(to)?)
        }
        "CastLike" => cast(x()?, input(1)?.data_type()),
        "QuantizeLinear" | "DequantizeLinear" => linear::evaluate(node, inputs),
        "Conv" => conv::evaluate(node, inputs),
        "Not" => match x()? {
            Tensor::Bool(a) => Some(Tensor::Bool(a.mapv(|b| !b))),
            _ => None,
        },
        "Clip" => clip(node, x()?, input(1), input(2)),
        "Where" => where_(x()?, input(1)?, input(2)?),
        "Shape" => Some(int_vector(x()?.shape().iter().map(|&d| d as i64).collect())),
        "Size" => Some(Tensor::I64(arr0(x()?.len() as i64).into_dyn())),
        "Reshape" => {
            let shape = shapes::reshape(x()?.shape(), &ints(1)?, node.int("allowzero", 0) != 0)?;
            to_shape(x()?, &shape)
        }
        "Flatten" | "Squeeze" | "Unsqueeze" => {
            let known: Vec<_> = inputs.iter().map(|t| t.map(Tensor::shape)).collect();
            let inputs = shapes::Inputs {
                shapes: &known,
                values: inputs,
            };
            let shape = shapes::infer(node, &inputs)?.into_iter().next()?;
            to_shape(x()?, &shape)
        }
        "Transpose" => transpose(node, x()?),
        "Concat" => concat(node, inputs),
        "Gather" => gather(node, x()?, input(1)?),
        "Slice" => slice(node, inputs),
        "Expand" => {
            let target: Vec<usize> = ints(1)?
                .iter()
                .map(|&d| usize::try_from(d).ok())
                .collect::<Option<_>>()?;
            let shape = shapes::broadcast(x()?.shape(), &target)?;
            broadcast_to(x()?, &shape)
        }
        "ConstantOfShape" => constant_of_shape(node, &ints(0)?),
        "And" | "Or" | "Xor" => logic(node.op(), x()?, input(1)?),
        "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Mod" => {
            bits::evaluate(node, x()?, input(1)?)
        }
        "Tile" => tile(x()?, &ints(1)?),
        "Mean" => {
            let mut sum = x()?.clone();
            for k in 1..inputs.len() {
                sum = zip(&sum, input(k)?, "Add", |a, b| a + b)?;
            }
            let count = Tensor::of(sum.data_type(), &arr0(inputs.len() as f64).into_dyn());
            zip(&sum, &count, "Div", |a, b| a / b).filter(|t| t.data_type().is_float())
        }
        "qonnx.BipolarQuant" | "qonnx.Quant" | "qonnx.Trunc" => quantize(node, inputs),
        _ => reduce(node, x()?, input(1)),
    }
}

/// One copy behind the other along each axis.
fn tile(x: &Tensor, repeats: &[i64]) -> Option<Tensor> {
    let shape = x.shape().to_vec();
    let counts = repeats.iter().map(|&n| usize::try_from(n).ok());
    let counts: Vec<usize> = counts.collect::<Option<_>>()?;
    if counts.len() != shape.len() {
        return None;
    }
    // Of nothing there are no copies, however many are asked for; and no weights are of none.
    if shape.contains(&0) || counts.contains(&0) {
        return None;
    }
    let mut tiled = x.clone();
    for (axis, (&size, count)) in shape.iter().zip(counts).enumerate() {
        let places: Vec<usize> = (0..size.checked_mul(count)?).map(|i| i % size).collect();
        tiled = tiled.select(axis, &places)?;
    }
    Some(tiled)
}

fn logic(op: &str, a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let (Tensor::Bool(a), Tensor::Bool(b)) = (a, b) else {
        return None;
    };
    Some(Tensor::Bool(match op {
        "And" => zip_arrays(a, b, |a, b| a && b)?,
        "Or" => zip_arrays(a, b, |a, b| a || b)?,
        _ => zip_arrays(a, b, |a, b| a != b)?,
    }))
}

fn quantize(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let float = |k: usize| inputs.get(k).copied().flatten()?.as_f32();
    let number = |k: usize| inputs.get(k).copied().flatten()?.scalar_f32();
    let quantizer = Quantizer::of(node, number)?;
    let (x, scale) = (float(0)?, float(1)?);
    let zero = match quantizer {
        Quantizer::Bipolar => ArrayD::zeros(IxDyn(&[])),
        _ => float(2)?.clone(),
    };
    let parameters = zip_arrays(scale, &zero, |s, z| (s, z))?;
    let result = zip_arrays(x, &parameters, |x, (s, z)| quantizer.apply(x, s, z))?;
    (result.shape() == x.shape()).then_some(Tensor::F32(result))
}

fn int_vector(v: Vec<i64>) -> Tensor {
    Tensor::I64(Array1::from(v).into_dyn())
}

fn clip(node: &Node<'_>, x: &Tensor, min: Option<&Tensor>, max: Option<&Tensor>) -> Option<Tensor> {
    let given = |k| if k == 1 { min } else { max }.map(Tensor::scalar_f32);
    let [Some(lo), Some(hi)] = node.clip_bounds(given) else {
        return None;
    };
    // The lower bound first, as ONNX defines it when the bounds cross.
    match x {
        Tensor::F32(a) => Some(Tensor::F32(a.mapv(|v| v.max(lo).min(hi)))),
        x if x.data_type().is_float() => {
            // Bounds in their own precision.
            let own = |t: Option<&Tensor>, plain: f32| {
                let given = t.and_then(|t| t.to_f64().first().copied());
                given.unwrap_or(f64::from(plain))
            };
            let (lo, hi) = (own(min, lo), own(max, hi));
            let clipped = x.to_f64().mapv(|v| v.max(lo).min(hi));
            Some(Tensor::of(x.data_type(), &clipped))
        }
        _ => None,
    }
}

fn where_(condition: &Tensor, a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let Tensor::Bool(c) = condition else {
        return None;
    };
    macro_rules! pick {
        ($($v:ident),*) => {
            match (a, b) {
                $((Tensor::$v(a), Tensor::$v(b)) => {
                    let chosen = zip_arrays(c, a, |c, a| c.then_some(a))?;
                    Some(Tensor::$v(zip_arrays(&chosen, b, |x, b| x.unwrap_or(b))?))
                })*
                _ => None,
            }
        };
    }
    pick!(
        F32, F64, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8, Bool
    )
}

pub(super) fn to_shape(t: &Tensor, shape: &[usize]) -> Option<Tensor> {
    if shapes::product(shape)? != t.len() {
        return None;
    }
    Some(map_each!(t, a => {
        ArrayD::from_shape_vec(IxDyn(shape), a.iter().copied().collect()).ok()?
    }))
}

pub(super) fn broadcast_to(t: &Tensor, shape: &[usize]) -> Option<Tensor> {
    Some(map_each!(t, a => a.broadcast(IxDyn(shape))?.to_owned()))
}

fn transpose(node: &Node<'_>, t: &Tensor) -> Option<Tensor> {
    let rank = t.shape().len();
    let perm: Vec<usize> = match node.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(p) => p
            .iter()
            .map(|&p| usize::try_from(p).ok())
            .collect::<Option<_>>()?,
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return None;
    }
    Some(map_each!(t, a => {
        a.view().permuted_axes(IxDyn(&perm)).as_standard_layout().into_owned()
    }))
}

fn concat(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let tensors: Vec<&Tensor> = inputs.iter().copied().collect::<Option<_>>()?;
    let axis = Axis(node.axis(0, tensors.first()?.shape().len())?);
    macro_rules! join {
        ($v:ident) => {{
            let views = tensors
                .iter()
                .map(|t| match t {
                    Tensor::$v(a) => Some(a.view()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?;
            Tensor::$v(ndarray::concatenate(axis, &views).ok()?)
        }};
    }
    Some(match tensors.first()? {
        Tensor::F32(_) => join!(F32),
        Tensor::F64(_) => join!(F64),
        Tensor::F16(_) => join!(F16),
        Tensor::Bf16(_) => join!(Bf16),
        Tensor::I64(_) => join!(I64),
        Tensor::I32(_) => join!(I32),
        Tensor::I16(_) => join!(I16),
        Tensor::I8(_) => join!(I8),
        Tensor::U64(_) => join!(U64),
        Tensor::U32(_) => join!(U32),
        Tensor::U16(_) => join!(U16),
        Tensor::U8(_) => join!(U8),
        Tensor::Bool(_) => join!(Bool),
    })
}

fn gather(node: &Node<'_>, data: &Tensor, indices: &Tensor) -> Option<Tensor> {
    let axis = node.axis(0, data.shape().len())?;
    let size = data.shape()[axis];
    let flat: Vec<usize> = indices
        .to_ints()?
        .iter()
        .map(|&i| normalize_axis(i, size))
        .collect::<Option<_>>()?;
    let shape = [
        &data.shape()[..axis],
        indices.shape(),
        &data.shape()[axis + 1..],
    ]
    .concat();
    to_shape(&data.select(axis, &flat)?, &shape)
}

fn slice(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let data = inputs.first().copied().flatten()?;
    let list = |k: usize, name: &str| match inputs.get(k).copied().flatten() {
        Some(t) => t.to_ints(),
        None => node.ints(name).map(<[i64]>::to_vec),
    };
    let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
    let (axes, steps) = (list(3, "axes"), list(4, "steps"));
    let taken = shapes::stretches(
        data.shape(),
        &starts,
        &ends,
        axes.as_deref(),
        steps.as_deref(),
    )?;
    Some(map_each!(data, a => {
        let mut part = a.view();
        for stretch in &taken {
            part.slice_axis_inplace(Axis(stretch.axis), range(stretch));
        }
        part.to_owned()
    }))
}

/// A stretch as ndarray takes it: forwards, read backwards where the step is negative.
fn range(stretch: &shapes::Stretch) -> Slice {
    let (first, step) = (stretch.first as isize, stretch.step as isize);
    let Some(further) = stretch.count.checked_sub(1) else {
        return Slice::from(..0);
    };
    let last = first + further as isize * step;
    Slice::new(first.min(last), Some(first.max(last) + 1), step)
}

fn constant_of_shape(node: &Node<'_>, dims: &[i64]) -> Option<Tensor> {
    let (shape, _) = crate::onnx::element_count(dims)?;
    let one = IxDyn(&[1]);
    let value = match node.has("value") {
        true => node.tensor("value")?,
        false => Tensor::F32(ArrayD::zeros(one)),
    };
    let scalar = to_shape(&value, &[])?;
    broadcast_to(&scalar, &shape)
}

/// Up to here each integer is a number of double precision.
const EXACT: f64 = (1u64 << 53) as f64;

/// Whether no sum of these integers is rounded.
fn adds_up_exactly(x: &ArrayD<f64>) -> bool {
    x.iter().map(|v| v.abs()).sum::<f64>() <= EXACT
}

fn reduce(node: &Node<'_>, x: &Tensor, axes: Option<&Tensor>) -> Option<Tensor> {
    let kind = node.operator()?.reduction()?;
    if !(x.data_type().is_float() || matches!(x, Tensor::I64(_) | Tensor::I32(_))) {
        return None;
    }
    let a = x.to_f64();
    let shape = a.shape().to_vec();
    let given = match axes {
        Some(t) => Some(t.to_ints()?),
        None => node.ints("axes").map(<[i64]>::to_vec),
    };
    let axes = node.reduced_axes(given, shape.len())?;
    if axes.is_empty() && !kind.keeps_one_value() {
        // Runtimes make different things of a reduction over nothing.
        return None;
    }
    // In double precision: the order of summation then does not show in the f32 result.
    let mut acc = match kind {
        Reduction::L1 => a.mapv(f64::abs),
        Reduction::L2 | Reduction::SumSquare => a.mapv(|v| v * v),
        Reduction::LogSum | Reduction::LogSumExp => return None,
        _ => a,
    };
    let integers = !x.data_type().is_float();
    // Beyond 2^53 sums of integers would be rounded, and means and roots of them are none.
    if integers && (!adds_up_exactly(&acc) || matches!(kind, Reduction::Mean | Reduction::L2)) {
        return None;
    }
    let count: usize = axes.iter().map(|&i| shape[i]).product();
    for &i in axes.iter().rev() {
        acc = match kind {
            Reduction::Max => acc.fold_axis(Axis(i), f64::NEG_INFINITY, |a, b| a.max(*b)),
            Reduction::Min => acc.fold_axis(Axis(i), f64::INFINITY, |a, b| a.min(*b)),
            Reduction::Prod => acc.fold_axis(Axis(i), 1.0, |a, b| a * b),
            _ => acc.sum_axis(Axis(i)),
        };
    }
    match kind {
        Reduction::Mean => acc /= count as f64,
        Reduction::L2 => acc.mapv_inplace(f64::sqrt),
        _ => {}
    }
    let out = match x {
        x if x.data_type().is_float() => Tensor::of(x.data_type(), &acc),
        // A product may be beyond it all the same.
        _ if !adds_up_exactly(&acc) => return None,
        Tensor::I32(_) if acc.iter().any(|v| v.abs() >= f64::from(i32::MAX)) => return None,
        x => Tensor::of(x.data_type(), &acc),
    };
    if node.int("keepdims", 1) != 0 {
        let kept: Vec<usize> = shape
            .iter()
            .enumerate()
            .map(|(i, &d)| if axes.contains(&i) { 1 } else { d })
            .collect();
        return to_shape(&out, &kept);
    }
    Some(out)
}
