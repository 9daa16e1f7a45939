//! Producers, consumers and order of a graph.

use std::collections::HashMap;

use thiserror::Error;

use super::Node;
use crate::onnx::proto::{
    GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto,
    attribute_proto,
};
use crate::onnx::{Tensor, default_opset};

/// Index of a node in `GraphProto.node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A named tensor of the graph: input, initializer or node output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub usize);

/// One place where a node reads a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// The node that reads.
    pub node: NodeId,
    /// Which of its inputs; `None` if a subgraph of the node reads the tensor by name.
    pub input: Option<usize>,
}

/// Why a graph cannot be indexed: it breaks a rule of the ONNX standard.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// Two producers of one name.
    #[error("node '{node}': writes tensor '{tensor}', which already exists; the model is invalid")]
    Duplicate {
        /// The second producer.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// Read, but never written.
    #[error("node '{node}': reads tensor '{tensor}', which nothing produces; the model is invalid")]
    Missing {
        /// The reader.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A graph output that nothing produces.
    #[error("the graph output '{0}' is not produced by any node; the model is invalid")]
    MissingOutput(String),
    /// The nodes form a cycle.
    #[error("node '{0}': is part of a cycle; the model is invalid")]
    Cycle(String),
}

/// An indexed view of a model's main graph.
#[derive(Debug)]
pub struct Graph<'m> {
    model: &'m ModelProto,
    graph: &'m GraphProto,
    opset: i64,
    names: Vec<&'m str>,
    ids: HashMap<&'m str, TensorId>,
    producer: Vec<Option<NodeId>>,
    consumers: Vec<Vec<Use>>,
    initializer: Vec<Option<usize>>,
    sparse: HashMap<TensorId, &'m SparseTensorProto>,
    order: Vec<NodeId>,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    /// Whether a tensor is among the outputs.
    is_output: Vec<bool>,
    /// How graph inputs and outputs are declared; the first declaration of a name counts.
    declared: HashMap<&'m str, &'m ValueInfoProto>,
    /// The same of the tensors between them, where the file says it.
    described: HashMap<&'m str, &'m ValueInfoProto>,
    labels: Vec<String>,
}

impl<'m> Graph<'m> {
    /// Indexes the main graph of `model`; checks single assignment, dangling names and cycles.
    pub fn new(model: &'m ModelProto) -> Result<Self, GraphError> {
        static EMPTY: std::sync::LazyLock<GraphProto> = std::sync::LazyLock::new(Default::default);
        let graph = model.graph.as_ref().unwrap_or(&EMPTY);
        let mut g = Self {
            model,
            graph,
            opset: default_opset(model),
            names: Vec::new(),
            ids: HashMap::new(),
            producer: Vec::new(),
            consumers: Vec::new(),
            initializer: Vec::new(),
            sparse: HashMap::new(),
            order: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            is_output: Vec::new(),
            declared: HashMap::new(),
            described: HashMap::new(),
            labels: layer_names(graph),
        };
        for (i, t) in graph.initializer.iter().enumerate() {
            let id = g.intern(t.name());
            g.initializer[id.0] = Some(i);
        }
        for s in &graph.sparse_initializer {
            if let Some(values) = &s.values {
                let id = g.intern(values.name());
                g.sparse.insert(id, s);
            }
        }
        for v in &graph.input {
            let id = g.intern(v.name());
            // Old exporters list initializers as inputs as well.
            if g.initializer[id.0].is_none() && !g.sparse.contains_key(&id) {
                g.inputs.push(id);
            }
        }
        for (i, node) in graph.node.iter().enumerate() {
            for out in node.output.iter().filter(|o| !o.is_empty()) {
                let known = g.ids.contains_key(out.as_str());
                let id = g.intern(out);
                if known {
                    return Err(GraphError::Duplicate {
                        node: g.labels[i].clone(),
                        tensor: out.clone(),
                    });
                }
                g.producer[id.0] = Some(NodeId(i));
            }
        }
        g.index_uses()?;
        for v in &graph.output {
            let Some(&id) = g.ids.get(v.name()) else {
                return Err(GraphError::MissingOutput(v.name().to_owned()));
            };
            g.outputs.push(id);
        }
        g.is_output = vec![false; g.names.len()];
        for id in &g.outputs {
            g.is_output[id.0] = true;
        }
        for v in graph.input.iter().chain(&graph.output) {
            g.declared.entry(v.name()).or_insert(v);
        }
        for v in &graph.value_info {
            g.described.entry(v.name()).or_insert(v);
        }
        g.order = g.topological_order()?;
        Ok(g)
    }

    fn intern(&mut self, name: &'m str) -> TensorId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = TensorId(self.names.len());
        self.names.push(name);
        self.ids.insert(name, id);
        self.producer.push(None);
        self.consumers.push(Vec::new());
        self.initializer.push(None);
        id
    }

    fn index_uses(&mut self) -> Result<(), GraphError> {
        let graph = self.graph;
        for (i, node) in graph.node.iter().enumerate() {
            for (k, name) in node.input.iter().enumerate() {
                if name.is_empty() {
                    continue;
                }
                let Some(&id) = self.ids.get(name.as_str()) else {
                    return Err(GraphError::Missing {
                        node: self.labels[i].clone(),
                        tensor: name.clone(),
                    });
                };
                self.consumers[id.0].push(Use {
                    node: NodeId(i),
                    input: Some(k),
                });
            }
            for name in captured_names(node) {
                if let Some(&id) = self.ids.get(name) {
                    self.consumers[id.0].push(Use {
                        node: NodeId(i),
                        input: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn topological_order(&self) -> Result<Vec<NodeId>, GraphError> {
        let count = self.graph.node.len();
        let mut waiting = vec![0usize; count];
        for uses in self
            .producer
            .iter()
            .zip(&self.consumers)
            .filter_map(|(p, uses)| p.is_some().then_some(uses))
        {
            for u in uses {
                waiting[u.node.0] += 1;
            }
        }
        // A heap keeps the file's own order wherever that is a valid one.
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<NodeId>> = (0..count)
            .filter(|&i| waiting[i] == 0)
            .map(|i| std::cmp::Reverse(NodeId(i)))
            .collect();
        let mut order = Vec::with_capacity(count);
        while let Some(std::cmp::Reverse(n)) = ready.pop() {
            order.push(n);
            for t in self.outputs_of(n).into_iter().flatten() {
                for u in &self.consumers[t.0] {
                    waiting[u.node.0] -= 1;
                    if waiting[u.node.0] == 0 {
                        ready.push(std::cmp::Reverse(u.node));
                    }
                }
            }
        }
        match (0..count).find(|&i| waiting[i] > 0) {
            Some(i) => Err(GraphError::Cycle(self.labels[i].clone())),
            None => Ok(order),
        }
    }

    /// The model that this is a view of.
    pub fn model(&self) -> &'m ModelProto {
        self.model
    }

    /// Version of the default operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Nodes such that every producer comes before its consumers.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.graph.node.len()
    }

    /// Number of tensors; ids are `0..tensor_count()`.
    pub fn tensor_count(&self) -> usize {
        self.names.len()
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = TensorId> + use<> {
        (0..self.names.len()).map(TensorId)
    }

    /// A node with its attributes.
    pub fn node(&self, id: NodeId) -> Node<'m> {
        Node::new(&self.graph.node[id.0], self.opset)
    }

    /// A node's name, or its first output where the name is empty or not unique: what layers are
    /// called in masks files and reports.
    pub fn label(&self, id: NodeId) -> &str {
        &self.labels[id.0]
    }

    /// The node that [`Graph::label`] calls by this name.
    pub fn find_node(&self, label: &str) -> Option<NodeId> {
        self.labels.iter().position(|l| l == label).map(NodeId)
    }

    /// The tensors a node reads; `None` for an input left out.
    pub fn inputs_of(&self, id: NodeId) -> Vec<Option<TensorId>> {
        let names = &self.graph.node[id.0].input;
        names.iter().map(|n| self.find(n)).collect()
    }

    /// Input `k` of a node, if present.
    pub fn input_of(&self, id: NodeId, k: usize) -> Option<TensorId> {
        self.graph.node[id.0]
            .input
            .get(k)
            .and_then(|n| self.find(n))
    }

    /// The tensors a node writes; `None` for an output left out.
    pub fn outputs_of(&self, id: NodeId) -> Vec<Option<TensorId>> {
        let names = &self.graph.node[id.0].output;
        names.iter().map(|n| self.find(n)).collect()
    }

    /// Output `k` of a node, if present.
    pub fn output_of(&self, id: NodeId, k: usize) -> Option<TensorId> {
        self.graph.node[id.0]
            .output
            .get(k)
            .and_then(|n| self.find(n))
    }

    /// The tensor of that name (not the empty one).
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.ids.get(name).copied().filter(|_| !name.is_empty())
    }

    /// A tensor's name.
    pub fn name(&self, t: TensorId) -> &'m str {
        self.names[t.0]
    }

    /// The node that writes a tensor; `None` for graph inputs and initializers.
    pub fn producer(&self, t: TensorId) -> Option<NodeId> {
        self.producer[t.0]
    }

    /// Every place where a tensor is read by a node. Graph outputs are not among them.
    pub fn consumers(&self, t: TensorId) -> &[Use] {
        &self.consumers[t.0]
    }

    /// The initializer of that tensor.
    pub fn initializer(&self, t: TensorId) -> Option<&'m TensorProto> {
        self.initializer[t.0].map(|i| &self.graph.initializer[i])
    }

    /// The sparse initializer of that tensor.
    pub fn sparse_initializer(&self, t: TensorId) -> Option<&'m SparseTensorProto> {
        self.sparse.get(&t).copied()
    }

    /// The value of an initializer, if it is one of a supported element type.
    pub fn initializer_value(&self, t: TensorId) -> Option<Tensor> {
        match (self.initializer(t), self.sparse_initializer(t)) {
            (Some(dense), _) => Tensor::from_proto(dense).ok(),
            (None, Some(sparse)) => Tensor::from_sparse(sparse),
            (None, None) => None,
        }
    }

    /// Graph inputs that are not initializers.
    pub fn inputs(&self) -> &[TensorId] {
        &self.inputs
    }

    /// Graph outputs.
    pub fn outputs(&self) -> &[TensorId] {
        &self.outputs
    }

    /// Whether a tensor is an output of the graph.
    pub fn is_output(&self, t: TensorId) -> bool {
        self.is_output[t.0]
    }

    /// Whether a tensor is an output of the graph or anything reads it.
    pub fn is_used(&self, t: TensorId) -> bool {
        !self.consumers(t).is_empty() || self.is_output(t)
    }

    /// The tensors that subgraphs of a node read by name.
    pub fn captured_by(&self, id: NodeId) -> impl Iterator<Item = TensorId> {
        let names = captured_names(&self.graph.node[id.0]);
        names.into_iter().filter_map(|n| self.find(n))
    }

    /// The element type that the file declares for a tensor, as ONNX numbers it.
    pub fn declared_type(&self, t: TensorId) -> Option<i32> {
        use crate::onnx::proto::type_proto;
        let name = self.name(t);
        let declared = self.declared.get(name);
        let declared = declared.or_else(|| self.described.get(name))?;
        match declared.r#type.as_ref()?.value {
            Some(type_proto::Value::TensorType(ref tensor)) => tensor.elem_type,
            _ => None,
        }
    }

    /// The declared dimensions of a graph input or output: `None` where dynamic. `None` for the
    /// whole if no shape is declared.
    pub fn declared_shape(&self, t: TensorId) -> Option<Vec<Option<usize>>> {
        use crate::onnx::proto::{tensor_shape_proto::dimension::Value, type_proto};
        let info = self.declared.get(self.name(t))?;
        let Some(type_proto::Value::TensorType(tensor)) = &info.r#type.as_ref()?.value else {
            return None;
        };
        let dims = &tensor.shape.as_ref()?.dim;
        let known = |v: &Option<Value>| match v {
            Some(Value::DimValue(n)) => usize::try_from(*n).ok().filter(|&n| n > 0),
            _ => None,
        };
        Some(dims.iter().map(|d| known(&d.value)).collect())
    }
}

/// A name for each node: its own where present and unique, else its first output. No two nodes get
/// the same one: a node's own name is not unique either where another node goes by it as its first
/// output.
fn layer_names(graph: &GraphProto) -> Vec<String> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for n in &graph.node {
        *count.entry(n.name()).or_default() += 1;
    }
    let own = |n: &NodeProto| !n.name().is_empty() && count.get(n.name()) == Some(&1);
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut by_output = Vec::new();
    for (i, n) in graph.node.iter().enumerate() {
        match own(n) {
            true => drop(by_name.insert(n.name(), i)),
            false => by_output.push(i),
        }
    }
    // Each node that falls back on its output may take the name of another, which then does so too.
    let first_output = |i: usize| graph.node.get(i)?.output.first();
    let mut next = 0;
    while let Some(&i) = by_output.get(next) {
        let taken = first_output(i).and_then(|name| by_name.remove(name.as_str()));
        by_output.extend(taken);
        next += 1;
    }
    let mut names: Vec<String> = graph.node.iter().map(|n| n.name().to_owned()).collect();
    for i in by_output {
        if let Some(name) = names.get_mut(i) {
            *name = first_output(i).cloned().unwrap_or_default();
        }
    }
    names
}

/// Names that the subgraphs of a node (If, Loop, Scan) read or give. What they define themselves has no name of the
/// graph around them.
fn captured_names(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    for a in &node.attribute {
        use attribute_proto::AttributeType as T;
        if matches!(a.r#type(), T::Graph | T::Graphs) || a.g.is_some() || !a.graphs.is_empty() {
            for g in a.g.iter().chain(&a.graphs) {
                collect_names(g, &mut names);
            }
        }
    }
    names
}

fn collect_names<'m>(g: &'m GraphProto, names: &mut Vec<&'m str>) {
    names.extend(g.output.iter().map(|v| v.name()));
    for n in &g.node {
        names.extend(n.input.iter().map(String::as_str).filter(|s| !s.is_empty()));
        names.extend(captured_names(n));
    }
}
