//! One node: operator and attributes.

use std::ops::Range;

use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::{Tensor, is_default_domain};
use crate::operators::{self, Attributes, Operator};

/// The domain of the operators on bits. ONNX Runtime names it where it does not know it: it says where to look.
pub const OPS_DOMAIN: &str = "onnx-bnnprune/docs/operators.md";

/// Domains that QONNX's quantisers have been exported in.
const QONNX_DOMAINS: [&str; 3] = [
    "qonnx.custom_op.general",
    "onnx.brevitas",
    "finn.custom_op.general",
];

/// Whether QONNX's quantisers are exported in this domain.
pub(crate) fn is_qonnx_domain(domain: &str) -> bool {
    QONNX_DOMAINS.contains(&domain)
}

/// A node of the graph with typed access to its attributes.
#[derive(Debug, Clone, Copy)]
pub struct Node<'m> {
    proto: &'m NodeProto,
    opset: i64,
}

impl<'m> Node<'m> {
    pub(crate) fn new(proto: &'m NodeProto, opset: i64) -> Self {
        Self { proto, opset }
    }

    /// The protobuf message.
    pub fn proto(&self) -> &'m NodeProto {
        self.proto
    }

    /// The operator if it is of the default domain; `qonnx.Quant` and the like for the quantisers
    /// of QONNX; else the empty string (so that an operator of another domain never passes for a
    /// standard one).
    pub fn op(&self) -> &'m str {
        match self.proto.domain() {
            d if is_default_domain(d) => self.proto.op_type(),
            d if QONNX_DOMAINS.contains(&d) => match self.proto.op_type() {
                "BipolarQuant" => "qonnx.BipolarQuant",
                "Quant" | "IntQuant" => "qonnx.Quant",
                "Trunc" => "qonnx.Trunc",
                _ => "",
            },
            _ => "",
        }
    }

    /// What is known of the operator; `None` for one without a row.
    pub fn operator(&self) -> Option<&'static Operator> {
        operators::operator(self.op())
    }

    /// The operator with its domain, for messages.
    pub fn full_op(&self) -> String {
        match self.proto.domain() {
            d if is_default_domain(d) => self.proto.op_type().to_owned(),
            d => format!("{d}.{}", self.proto.op_type()),
        }
    }

    /// Opset of the default domain, by which attributes turn into inputs.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    fn attribute(&self, name: &str) -> Option<&'m AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name() == name)
    }

    /// Whether an attribute is present.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer attribute, or the default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// What is added to a variance; its default is that of all normalisations.
    pub fn epsilon(&self) -> f32 {
        self.float("epsilon", 1e-5)
    }

    /// The axes of an input of this rank that a `Softmax` or `LogSoftmax` normalises together: one, or up to opset
    /// 12 all from one on.
    pub fn softmax_axes(&self, rank: usize) -> Option<Range<usize>> {
        let old = self.opset < 13;
        let axis = self.axis(if old { 1 } else { -1 }, rank)?;
        Some(axis..if old { rank } else { axis + 1 })
    }

    /// The axes that a reduction goes along, in their order, of those `given` by its attribute or input: all where
    /// none are, or none at all with `noop_with_empty_axes`. `None` if one is no axis of `rank`.
    pub fn reduced_axes(&self, given: Option<Vec<i64>>, rank: usize) -> Option<Vec<usize>> {
        let mut axes: Vec<usize> = match given.filter(|axes| !axes.is_empty()) {
            Some(axes) => {
                let axes = axes.iter().map(|&a| normalize_axis(a, rank));
                axes.collect::<Option<_>>()?
            }
            None if self.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
            None => (0..rank).collect(),
        };
        axes.sort_unstable();
        axes.dedup();
        Some(axes)
    }

    /// A float attribute, or the default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// The lower and upper bound of a `Clip`: attributes up to opset 10, inputs 1 and 2 from then
    /// on, infinite where there are none. `given` says what is known of an input: `None` where the
    /// node lacks it, `Some(None)` where it is not a constant number; then the bound is `None`.
    pub fn clip_bounds(&self, given: impl Fn(usize) -> Option<Option<f32>>) -> [Option<f32>; 2] {
        let bound = |k, name, default| given(k).unwrap_or_else(|| Some(self.float(name, default)));
        [
            bound(1, "min", f32::NEG_INFINITY),
            bound(2, "max", f32::INFINITY),
        ]
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Option<&'m [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// An attribute that is a list of floats.
    pub fn floats(&self, name: &str) -> Option<&'m [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// A list of integers that must not be negative (strides, pads, kernel sizes), or `n` times the
    /// default; `None` if the list has another length or a negative entry.
    pub fn sizes(&self, name: &str, n: usize, default: usize) -> Option<Vec<usize>> {
        match self.ints(name) {
            None => Some(vec![default; n]),
            Some([]) => Some(vec![default; n]),
            Some(v) if v.len() == n => v.iter().map(|&x| usize::try_from(x).ok()).collect(),
            Some(_) => None,
        }
    }

    /// A string attribute.
    pub fn string(&self, name: &str) -> Option<&'m str> {
        self.attribute(name)
            .and_then(|a| a.s.as_ref())
            .and_then(|s| std::str::from_utf8(s).ok())
    }

    /// A tensor attribute of a supported element type.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        Tensor::from_proto(self.attribute(name)?.t.as_ref()?).ok()
    }

    /// The `axis` attribute as an index into `rank` dimensions; negative counts from the end.
    pub fn axis(&self, default: i64, rank: usize) -> Option<usize> {
        normalize_axis(self.int("axis", default), rank)
    }

    /// The value of a `Constant` node.
    pub fn constant(&self) -> Option<Tensor> {
        use ndarray::{ArrayD, IxDyn, arr0};
        if self.op() != "Constant" {
            return None;
        }
        let vector = |n| IxDyn(&[n]);
        self.proto.attribute.iter().find_map(|a| match a.name() {
            "value" => Tensor::from_proto(a.t.as_ref()?).ok(),
            "sparse_value" => Tensor::from_sparse(a.sparse_tensor.as_ref()?),
            "value_float" => Some(Tensor::F32(arr0(a.f?).into_dyn())),
            "value_int" => Some(Tensor::I64(arr0(a.i?).into_dyn())),
            "value_floats" => ArrayD::from_shape_vec(vector(a.floats.len()), a.floats.clone())
                .ok()
                .map(Tensor::F32),
            "value_ints" => ArrayD::from_shape_vec(vector(a.ints.len()), a.ints.clone())
                .ok()
                .map(Tensor::I64),
            _ => None,
        })
    }
}

impl Attributes for Node<'_> {
    fn float(&self, name: &str, default: f32) -> f32 {
        Node::float(self, name, default)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        Node::int(self, name, default)
    }

    fn string(&self, name: &str) -> Option<&str> {
        Node::string(self, name)
    }
}

/// `axis` as an index into `rank` dimensions; negative counts from the end.
pub fn normalize_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank_i = i64::try_from(rank).ok()?;
    let a = if axis < 0 {
        axis.checked_add(rank_i)?
    } else {
        axis
    };
    usize::try_from(a).ok().filter(|&a| a < rank)
}
