//! Bounds on what a small file can ask for: an Expand, a Gather or a broadcast of a few bytes may
//! declare tensors that no memory holds.

/// Elements of a tensor whose value is kept, or whose shape is believed: no weight and no
/// activation of one image of a real network comes near it.
const MAX_ELEMENTS: usize = 1 << 28;
/// Elements read and written by constant evaluation in a model of any size...
const BASE_WORK: usize = 1 << 25;
/// ...and further ones for each element that the file itself holds: a chain of a dozen operators
/// from latents to weights, several times over, or one of six from bytes to eight weights each.
const WORK_PER_ELEMENT: usize = 96;
/// Sum of the largest dimensions of all tensors: what is kept channel by channel is in proportion.
const MAX_EXTENT: usize = 1 << 25;

/// What may still be computed and kept for one graph. What goes beyond is unknown, as if its
/// operator were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    work: usize,
    extent: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            work: BASE_WORK,
            extent: MAX_EXTENT,
        }
    }

    /// Counts a tensor that the file holds; `false` if its shape is absurd (a dimension of 0 hides
    /// others of any size).
    pub(super) fn read(&mut self, shape: &[usize]) -> bool {
        let Some(count) = volume(shape).filter(|&n| n <= MAX_ELEMENTS) else {
            return false;
        };
        self.work = self
            .work
            .saturating_add(count.saturating_mul(WORK_PER_ELEMENT));
        true
    }

    /// Whether an operator with inputs and output of these shapes may be evaluated.
    pub(super) fn spend<'s>(&mut self, shapes: impl IntoIterator<Item = &'s [usize]>) -> bool {
        let cost = shapes.into_iter().try_fold(0usize, |sum, s| {
            sum.checked_add(volume(s).filter(|&n| n <= MAX_ELEMENTS)?)
        });
        match cost.and_then(|c| self.work.checked_sub(c)) {
            Some(left) => {
                self.work = left;
                true
            }
            None => false,
        }
    }

    /// Whether a tensor of that shape, computed or declared, is believed.
    pub(super) fn admit(&mut self, shape: &[usize]) -> bool {
        if volume(shape).is_none_or(|n| n > MAX_ELEMENTS) {
            return false;
        }
        let largest = shape.iter().copied().max().unwrap_or(0);
        match self.extent.checked_sub(largest) {
            Some(left) => {
                self.extent = left;
                true
            }
            None => false,
        }
    }
}

/// Elements of a shape, with dimensions of 0 counted as 1; `None` beyond what can be addressed.
fn volume(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, FactsError, Graph};
    use crate::onnx::Tensor;
    use crate::onnx::proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    };
    use ndarray::{Array1, ArrayD, IxDyn};

    fn floats(name: &str, shape: &[usize]) -> TensorProto {
        Tensor::F32(ArrayD::ones(IxDyn(shape))).to_proto(name)
    }

    fn ints(name: &str, v: &[i64]) -> TensorProto {
        Tensor::I64(Array1::from(v.to_vec()).into_dyn()).to_proto(name)
    }

    fn node(op: &str, inputs: &[&str], output: &str, axis: Option<i64>) -> NodeProto {
        let attribute = axis.map(|i| AttributeProto {
            name: Some("axis".into()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(i),
            ..AttributeProto::default()
        });
        NodeProto {
            op_type: Some(op.into()),
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        }
    }

    /// A graph input `x` of that shape.
    fn input(shape: &[i64]) -> ValueInfoProto {
        let dim = |&d: &i64| Dimension {
            value: Some(dimension::Value::DimValue(d)),
            ..Dimension::default()
        };
        ValueInfoProto {
            name: Some("x".into()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(1),
                    shape: Some(TensorShapeProto {
                        dim: shape.iter().map(dim).collect(),
                    }),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        }
    }

    fn model(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
            graph: Some(GraphProto {
                initializer,
                node,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    /// Elements of all values known in a model.
    fn kept(model: &ModelProto) -> usize {
        let graph = Graph::new(model).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        let values = graph.tensors().filter_map(|t| facts.value(t));
        values.map(Tensor::len).sum()
    }

    #[test]
    fn one_operator_cannot_blow_up() {
        let (column, row) = (
            floats("column", &[1 << 15, 1]),
            floats("row", &[1, 1 << 15]),
        );
        let file = column.dims.iter().chain(&row.dims).sum::<i64>() as usize;
        for op in ["Add", "Mul", "Max", "Pow", "Greater", "Equal"] {
            let add = node(op, &["column", "row"], "y", None);
            let m = model(vec![column.clone(), row.clone()], vec![add]);
            assert!(kept(&m) <= file, "{op}");
        }
        let where_ = vec![
            node("Greater", &["row", "row"], "c", None),
            node("Where", &["c", "column", "column"], "y", None),
        ];
        assert!(kept(&model(vec![column.clone(), row.clone()], where_)) <= 2 * file);
        let gather = node("Gather", &["row", "indices"], "y", Some(0));
        let indices = ints("indices", &vec![0; 1 << 15]);
        assert!(kept(&model(vec![row.clone(), indices], vec![gather])) <= 2 * file);
        let concat = node("Concat", &["row"; 1 << 14], "y", Some(0));
        assert!(kept(&model(vec![row.clone()], vec![concat])) <= file);
        let one = floats("one", &[1]);
        for op in ["Expand", "ConstantOfShape"] {
            let shape = ints("shape", &[1 << 20, 1 << 20]);
            let inputs: &[&str] = if op == "Expand" {
                &["one", "shape"]
            } else {
                &["shape"]
            };
            let m = model(vec![one.clone(), shape], vec![node(op, inputs, "y", None)]);
            assert!(kept(&m) <= 4, "{op}");
        }
    }

    #[test]
    fn many_operators_together_cannot_blow_up() {
        // Each result is within the bound of one tensor; a thousand of them are 64 GiB.
        let shape = ints("shape", &[1 << 12, 1 << 12]);
        let names: Vec<String> = (0..1000).map(|i| format!("y{i}")).collect();
        let of = |name: &String| node("ConstantOfShape", &["shape"], name, None);
        let m = model(vec![shape], names.iter().map(of).collect());
        assert!(kept(&m) <= super::BASE_WORK + 1000);
        // What is small is still computed after that.
        let graph = Graph::new(&m).unwrap();
        let mut budget = super::Budget::new();
        assert!(!budget.spend([&[super::BASE_WORK + 1][..]]));
        assert!(budget.spend([&[1000][..]]));
        assert!(Facts::infer(&graph, 1).is_ok());
    }

    /// `-bias.expand_as(x)` and zeros like x, both read by what has x's shape; `more` nodes.
    fn repeated(more: Vec<NodeProto>) -> ModelProto {
        let mut nodes = vec![
            node("Shape", &["x"], "s", None),
            node("Expand", &["bias", "s"], "e", None),
            node("Neg", &["e"], "n", None),
            node("ConstantOfShape", &["s"], "z", None),
            node("Greater", &["x", "z"], "c", None),
            node("Where", &["c", "n", "z"], "w", None),
            node("Add", &["x", "n"], "y", None),
        ];
        nodes.extend(more);
        let mut m = model(vec![floats("bias", &[8, 1, 1])], nodes);
        m.graph.as_mut().unwrap().input.push(input(&[4, 8, 16, 16]));
        m
    }

    #[test]
    fn what_broadcasts_to_data_is_not_repeated() {
        let shape_of = |m: &ModelProto, name: &str| {
            let graph = Graph::new(m).unwrap();
            let facts = Facts::infer(&graph, 1).unwrap();
            let t = graph.find(name).unwrap();
            facts.value(t).map(|v| v.shape().to_vec())
        };
        let m = repeated(vec![]);
        for (name, shape) in [
            ("e", [1, 8, 1, 1]),
            ("n", [1, 8, 1, 1]),
            ("z", [1, 1, 1, 1]),
        ] {
            assert_eq!(shape_of(&m, name).unwrap(), shape, "{name}");
        }
        // What reads it otherwise, and what is smaller, need all of it.
        let flat = node("Flatten", &["n"], "f", Some(1));
        let mean = node("GlobalAveragePool", &["x"], "m", None);
        let smaller = node("Mul", &["m", "n"], "p", None);
        for more in [vec![flat], vec![mean, smaller]] {
            let m = repeated(more);
            assert_eq!(shape_of(&m, "n").unwrap(), [4, 8, 16, 16]);
            assert_eq!(shape_of(&m, "z").unwrap(), [1, 1, 1, 1]);
        }
    }

    #[test]
    fn constants_that_are_read_a_thousand_times_are_looked_at_once() {
        let sum = |of: &str, out: &str| node("Sum", &[of; 1000], out, None);
        let m = repeated(vec![
            sum("z", "a"),
            sum("a", "b"),
            sum("b", "d"),
            sum("d", "g"),
            node("Add", &["x", "g"], "h", None),
        ]);
        let graph = Graph::new(&m).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        let last = graph.find("g").unwrap();
        assert_eq!(facts.shape(last), Some(&[1, 1, 1, 1][..]));
    }

    #[test]
    fn zero_elements_hide_no_large_dimension() {
        let empty = TensorProto {
            name: Some("w".into()),
            data_type: Some(1),
            dims: vec![1 << 50, 0],
            ..TensorProto::default()
        };
        let m = model(vec![empty], vec![node("ReduceSum", &["w"], "y", None)]);
        let graph = Graph::new(&m).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        for t in graph.tensors() {
            let largest = facts.shape(t).and_then(|s| s.iter().max());
            assert!(largest.is_none_or(|&d| d < 1 << 28), "{}", graph.name(t));
        }
    }

    #[test]
    fn shapes_of_data_are_bounded_too() {
        let shape = ints("shape", &[1, 1 << 40]);
        let nodes = vec![
            node("Expand", &["x", "shape"], "y", None),
            node("Size", &["y"], "s", None),
        ];
        let mut m = model(vec![shape], nodes);
        m.graph.as_mut().unwrap().input.push(input(&[1, 1]));
        let graph = Graph::new(&m).unwrap();
        let facts = Facts::infer(&graph, 1).unwrap();
        assert_eq!(facts.shape(graph.find("y").unwrap()), None);
        let mut m = model(vec![], vec![]);
        m.graph.as_mut().unwrap().input.push(input(&[1, 1 << 40]));
        let graph = Graph::new(&m).unwrap();
        assert!(matches!(
            Facts::infer(&graph, 1),
            Err(FactsError::HugeInput { .. })
        ));
    }
}
