//! What the matchers share: constants of one value, operands, comparisons with a threshold.

use ndarray::{ArrayD, arr0};

use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::operators::Kind;

/// The node that writes `t`, if it is an `op`.
pub(super) fn node_of(graph: &Graph<'_>, t: TensorId, op: &str) -> Option<NodeId> {
    graph.producer(t).filter(|&n| graph.node(n).op() == op)
}

/// Input 0 of the node that writes `t`, if that node is an `op`.
pub(super) fn operand(graph: &Graph<'_>, t: TensorId, op: &str) -> Option<TensorId> {
    graph.input_of(node_of(graph, t, op)?, 0)
}

/// The one value of all elements of a constant: a scalar, one baked to the shape of the data, or
/// one expanded to it.
pub(super) fn uniform(facts: &Facts, t: TensorId) -> Option<f32> {
    let value = facts.value(t)?.floats()?;
    let first = *value.first()?;
    value.iter().all(|&x| x == first).then_some(first)
}

/// [`uniform`], of a constant of any numbers, integers that no float holds among them.
pub(super) fn uniform_number(facts: &Facts, t: TensorId) -> Option<f64> {
    let values = facts.value(t)?.to_f64();
    let &first = values.first()?;
    values.iter().all(|&v| v == first).then_some(first)
}

/// `t` seen through nodes that give their input unchanged.
pub(super) fn through_identity(graph: &Graph<'_>, mut t: TensorId) -> TensorId {
    while let Some(x) = operand(graph, t, "Identity").or_else(|| operand(graph, t, "Dropout")) {
        t = x;
    }
    t
}

/// Nodes that [`same_value`] looks at: what is written twice is short.
const MOST_TWICE: usize = 24;

/// Whether two tensors are one, or computed alike: exporters write what a program does twice as two nodes.
pub(super) fn same_value(graph: &Graph<'_>, facts: &Facts, a: TensorId, b: TensorId) -> bool {
    let mut left = MOST_TWICE;
    alike(graph, facts, [a, b], &mut left)
}

fn alike(graph: &Graph<'_>, facts: &Facts, both: [TensorId; 2], left: &mut usize) -> bool {
    let [a, b] = both.map(|t| through_identity(graph, t));
    if a == b {
        return true;
    }
    if !facts.is_data(a) || !facts.is_data(b) {
        return facts.value(a).is_some() && facts.value(a) == facts.value(b);
    }
    let (Some(n), Some(m), Some(rest)) =
        (graph.producer(a), graph.producer(b), left.checked_sub(1))
    else {
        return false;
    };
    *left = rest;
    let [x, y] = [n, m].map(|n| graph.node(n));
    // An operator that is not known may draw numbers.
    let known = x
        .operator()
        .is_some_and(|row| !matches!(row.kind, Kind::Other));
    let same = known && x.op() == y.op() && x.proto().attribute == y.proto().attribute;
    let place = |n, t| graph.outputs_of(n).iter().position(|&o| o == Some(t));
    let (of_x, of_y) = (graph.inputs_of(n), graph.inputs_of(m));
    same && place(n, a) == place(m, b)
        && of_x.len() == of_y.len()
        && of_x.into_iter().zip(of_y).all(|inputs| match inputs {
            (Some(p), Some(q)) => alike(graph, facts, [p, q], left),
            (p, q) => p == q,
        })
}

/// Both operands of a node that writes `t` with operator `op`, the data one first and the other
/// constant; `swapped` if the constant is the first operand of the node.
pub(super) struct WithConstant {
    pub data: TensorId,
    pub constant: TensorId,
    pub swapped: bool,
}

pub(super) fn with_constant(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    op: &str,
) -> Option<WithConstant> {
    let n = node_of(graph, t, op)?;
    let (a, b) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
    let swapped = match (facts.is_data(a), facts.is_data(b)) {
        (true, false) => false,
        (false, true) => true,
        _ => return None,
    };
    let (data, constant) = if swapped { (b, a) } else { (a, b) };
    Some(WithConstant {
        data,
        constant,
        swapped,
    })
}

/// A truth value that says on which side of a threshold `x` lies.
pub(super) struct Side {
    /// What is compared.
    pub x: TensorId,
    /// With what: broadcasts to `x`.
    pub threshold: ArrayD<f32>,
    /// The node that compares, and which of its inputs the threshold is.
    pub place: (NodeId, usize),
    /// Whether it is true above the threshold (else below).
    pub above: bool,
    /// Its value at the threshold.
    pub at: bool,
}

/// `t` as a comparison of data with a constant, seen through `Not`, `Cast` and `Identity`.
pub(super) fn side(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Side> {
    let mut t = t;
    let mut negated = false;
    loop {
        let n = graph.producer(t)?;
        match graph.node(n).op() {
            "Not" => negated = !negated,
            "Cast" | "Identity" => {}
            _ => break,
        }
        t = graph.input_of(n, 0)?;
    }
    let comparison = graph.producer(t)?;
    let op = graph.node(comparison).op();
    let (above, at) = match op {
        "Greater" => (true, false),
        "GreaterOrEqual" => (true, true),
        "Less" => (false, false),
        "LessOrEqual" => (false, true),
        _ => return None,
    };
    let found = with_constant(graph, facts, t, op)?;
    let threshold = match uniform(facts, found.constant) {
        Some(c) => arr0(c).into_dyn(),
        None => facts.constant(found.constant)?.floats()?.into_owned(),
    };
    Some(Side {
        x: found.data,
        threshold,
        place: (comparison, usize::from(!found.swapped)),
        above: above ^ found.swapped ^ negated,
        at: at ^ negated,
    })
}

/// `t` as `factor · x + offset` with numbers, through any chain of additions, multiplications and
/// the like with constants of one value; as it is (1, 0) if it is no such chain.
pub(super) fn affine(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> (TensorId, f32, f32) {
    let mut x = t;
    // t = factor · x + offset throughout; in double precision, as it is only compared.
    let (mut factor, mut offset) = (1f64, 0f64);
    while let Some(n) = graph.producer(x) {
        let op = graph.node(n).op();
        let data = match op {
            "Identity" => graph.input_of(n, 0),
            "Neg" => {
                factor = -factor;
                graph.input_of(n, 0)
            }
            "Add" | "Sub" | "Mul" | "Div" => {
                let found = with_constant(graph, facts, x, op)
                    .and_then(|w| Some((uniform(facts, w.constant)?, w)));
                match found {
                    Some((c, w)) => {
                        let c = f64::from(c);
                        match (op, w.swapped) {
                            ("Add", _) => offset += factor * c,
                            ("Sub", false) => offset -= factor * c,
                            ("Sub", true) => {
                                offset += factor * c;
                                factor = -factor;
                            }
                            ("Mul", _) => factor *= c,
                            ("Div", false) if c != 0.0 => factor /= c,
                            _ => break,
                        }
                        Some(w.data)
                    }
                    None => None,
                }
            }
            _ => None,
        };
        match data.filter(|&d| facts.is_data(d)) {
            Some(d) => x = d,
            None => break,
        }
    }
    (x, factor as f32, offset as f32)
}
