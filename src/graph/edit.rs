//! Edits of the main graph of a model that is written or run: names stay unique, and subgraphs follow.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto,
};
use crate::onnx::{Tensor, names};

/// Applies edits to a model's main graph and keeps names unique.
#[derive(Debug)]
pub struct Editor<'m> {
    graph: &'m mut GraphProto,
    ir_version: &'m mut Option<i64>,
    names: HashSet<String>,
}

impl<'m> Editor<'m> {
    /// An editor of `model`'s main graph.
    pub fn new(model: &'m mut ModelProto) -> Self {
        let graph = model.graph.get_or_insert_default();
        let names = names(graph);
        Self {
            graph,
            ir_version: &mut model.ir_version,
            names,
        }
    }

    /// A name that nothing in the graph has yet, made from `wish`.
    pub fn fresh_name(&mut self, wish: &str) -> String {
        let mut name = wish.to_owned();
        let mut n = 1;
        while self.names.contains(&name) {
            name = format!("{wish}_{n}");
            n += 1;
        }
        self.names.insert(name.clone());
        name
    }

    /// Replaces the value of the initializer `name`; `false` if there is none. Its doc string and
    /// metadata stay.
    pub fn set_initializer(&mut self, name: &str, value: &Tensor) -> bool {
        let Some(t) = self.graph.initializer.iter_mut().find(|t| t.name() == name) else {
            return false;
        };
        let mut new = value.to_proto(name);
        new.doc_string = t.doc_string.take();
        new.metadata_props = std::mem::take(&mut t.metadata_props);
        *t = new;
        true
    }

    /// Adds an initializer under a fresh name made from `wish`, and returns the name.
    pub fn add_initializer(&mut self, wish: &str, value: &Tensor) -> String {
        let name = self.fresh_name(wish);
        self.put_initializer(&name, value);
        name
    }

    /// Makes input `k` of node `index` read `name`; inputs between are left out.
    pub fn set_input(&mut self, index: usize, k: usize, name: &str) {
        if let Some(node) = self.graph.node.get_mut(index) {
            if node.input.len() <= k {
                node.input.resize(k + 1, String::new());
            }
            node.input[k] = name.to_owned();
        }
    }

    /// The node at `index`.
    pub fn node_mut(&mut self, index: usize) -> Option<&mut NodeProto> {
        self.graph.node.get_mut(index)
    }

    /// Sets an attribute of the node at `index`.
    pub fn set_attribute(&mut self, index: usize, attribute: AttributeProto) {
        if let Some(node) = self.graph.node.get_mut(index) {
            node.attribute.retain(|a| a.name() != attribute.name());
            node.attribute.push(attribute);
        }
    }

    /// Removes the node that writes `output`, for another to do so. Indices behind it move down.
    pub fn remove_producer(&mut self, output: &str) {
        let writes = |n: &NodeProto| n.output.iter().any(|o| o == output);
        self.graph.node.retain(|n| !writes(n));
    }

    /// Takes away what gives the tensor `name` its value: an initializer, or the node that writes it.
    /// A node with other outputs stays, and writes that one under another name. Indices behind a
    /// removed node move down.
    pub fn remove_source(&mut self, name: &str) {
        let writer = self
            .graph
            .node
            .iter_mut()
            .find(|n| n.output.iter().any(|o| o == name));
        if let Some(node) = writer {
            let others = node.output.iter().any(|o| o != name && !o.is_empty());
            if !others {
                self.remove_producer(name);
                return;
            }
            let other = self.fresh_name(&format!("{name}.unused"));
            let outputs = self.graph.node.iter_mut().flat_map(|n| &mut n.output);
            outputs
                .filter(|o| *o == name)
                .for_each(|o| o.clone_from(&other));
            return;
        }
        self.graph.initializer.retain(|t| t.name() != name);
        self.graph
            .sparse_initializer
            .retain(|s| s.values.as_ref().is_none_or(|v| v.name() != name));
        self.graph.input.retain(|v| v.name() != name);
    }

    /// Adds an initializer of that very name, which [`Editor::remove_source`] has set free.
    pub fn put_initializer(&mut self, name: &str, value: &Tensor) {
        // Before IR version 4 every initializer had to be an input of the graph as well; this one is not.
        if self.ir_version.is_some_and(|v| v < 4) {
            *self.ir_version = Some(4);
        }
        self.graph.initializer.push(value.to_proto(name));
    }

    /// Puts `node` in the place of the one that writes `output`.
    pub fn replace_producer(&mut self, output: &str, node: NodeProto) {
        let writes = |n: &&mut NodeProto| n.output.iter().any(|o| o == output);
        if let Some(old) = self.graph.node.iter_mut().find(writes) {
            *old = node;
        }
    }

    /// Removes an attribute of the node at `index`.
    pub fn remove_attribute(&mut self, index: usize, name: &str) {
        if let Some(node) = self.graph.node.get_mut(index) {
            node.attribute.retain(|a| a.name() != name);
        }
    }

    /// Removes an attribute of the node at `index` if that is an `op`.
    pub fn remove_attribute_of(&mut self, index: usize, op: &str, name: &str) {
        if self
            .graph
            .node
            .get(index)
            .is_some_and(|n| n.op_type() == op)
        {
            self.remove_attribute(index, name);
        }
    }

    /// Inserts `node` before position `index`. Indices at and beyond it move up by one.
    pub fn insert_node(&mut self, index: usize, node: NodeProto) {
        self.names.extend(node.output.iter().cloned());
        let index = index.min(self.graph.node.len());
        self.graph.node.insert(index, node);
    }

    /// Puts nodes in front of all others. Indices move up by their number.
    pub fn prepend_nodes(&mut self, nodes: Vec<NodeProto>) {
        let outputs = nodes.iter().flat_map(|n| n.output.iter().cloned());
        self.names.extend(outputs);
        self.graph.node.splice(0..0, nodes);
    }

    /// Takes the nodes at the indices `gone` away, and puts behind each index the new nodes that `behind` has
    /// for it, also where its node is gone.
    pub fn replace_nodes(
        &mut self,
        gone: &BTreeSet<usize>,
        mut behind: BTreeMap<usize, Vec<NodeProto>>,
    ) {
        let new = behind.values().flatten();
        self.names
            .extend(new.flat_map(|n| n.output.iter().cloned()));
        let old = std::mem::take(&mut self.graph.node);
        for (i, node) in old.into_iter().enumerate() {
            if !gone.contains(&i) {
                self.graph.node.push(node);
            }
            let new = behind.remove(&i).unwrap_or_default();
            self.graph.node.extend(new);
        }
    }

    /// Adds an input of the graph.
    pub fn add_input(&mut self, value: ValueInfoProto) {
        self.names.insert(value.name().to_owned());
        self.graph.input.push(value);
    }

    /// Makes the tensor `name` an output of the graph, if it is none, of the type that the file says it has.
    pub fn add_output(&mut self, name: &str) {
        if self.graph.output.iter().all(|o| o.name() != name) {
            let mut said = self.graph.value_info.iter();
            let mut kind = said
                .find(|v| v.name() == name)
                .and_then(|v| v.r#type.clone());
            let value = kind.as_mut().and_then(|kind| kind.value.as_mut());
            if let Some(type_proto::Value::TensorType(t)) = value {
                t.shape = None;
            }
            self.graph.output.push(ValueInfoProto {
                name: Some(name.to_owned()),
                r#type: kind,
                ..ValueInfoProto::default()
            });
        }
    }

    /// Makes the tensor `name` the first output of the graph.
    pub fn put_output_first(&mut self, name: &str) {
        self.add_output(name);
        self.graph.output.sort_by_key(|o| o.name() != name);
    }

    /// The graph's input `old` is called `new` from now on; what reads it goes on reading `old`.
    pub fn rename_input(&mut self, old: &str, new: &str) {
        let inputs = self.graph.input.iter_mut().filter(|v| v.name() == old);
        inputs.for_each(|v| v.name = Some(new.to_owned()));
        self.names.insert(new.to_owned());
        self.prepend_nodes(vec![NodeProto::of("Identity", [new], old)]);
    }

    /// The graph's output `old` is called `new` from now on; what writes it goes on writing `old`.
    pub fn rename_output(&mut self, old: &str, new: &str) {
        let outputs = self.graph.output.iter_mut().filter(|v| v.name() == old);
        outputs.for_each(|v| v.name = Some(new.to_owned()));
        let end = self.graph.node.len();
        self.insert_node(end, NodeProto::of("Identity", [old], new));
    }

    /// Every node reads `new` instead of `old`, but for the node at `except`; so do subgraphs.
    pub fn redirect(&mut self, old: &str, new: &str, except: Option<usize>) {
        for (i, node) in self.graph.node.iter_mut().enumerate() {
            if Some(i) != except {
                redirect_node(node, old, new);
            }
        }
    }

    /// Removes the value_info of the named tensors: their shapes changed.
    pub fn drop_value_info(&mut self, changed: &HashSet<String>) {
        self.graph
            .value_info
            .retain(|v| !changed.contains(v.name()));
    }

    /// Removes nodes that nothing reads any more, and then initializers (and inputs that merely
    /// list them) that nothing reads, but only those that `was_used` names: what the file already
    /// carried unused stays as it was.
    pub fn remove_unused(&mut self, was_used: &HashSet<String>) {
        loop {
            let read = self.read_names();
            let before = self.graph.node.len();
            self.graph.node.retain(|n| {
                n.output
                    .iter()
                    .any(|o| read.contains(o) || !was_used.contains(o))
                    || n.output.is_empty()
            });
            if self.graph.node.len() == before {
                break;
            }
        }
        let read = self.read_names();
        let gone = |name: &str| was_used.contains(name) && !read.contains(name);
        let dead: HashSet<String> = self
            .graph
            .initializer
            .iter()
            .map(|t| t.name().to_owned())
            .filter(|n| gone(n))
            .collect();
        self.graph.initializer.retain(|t| !dead.contains(t.name()));
        self.graph
            .sparse_initializer
            .retain(|s| s.values.as_ref().is_none_or(|v| !gone(v.name())));
        self.graph.input.retain(|v| !dead.contains(v.name()));
        self.graph.value_info.retain(|v| !gone(v.name()));
    }

    /// Names that nodes, their subgraphs or the graph's outputs read.
    pub fn read_names(&self) -> HashSet<String> {
        used_names(self.graph)
    }
}

fn redirect_node(node: &mut NodeProto, old: &str, new: &str) {
    let inputs = node.input.iter_mut().filter(|s| *s == old);
    inputs.for_each(|s| new.clone_into(s));
    for a in &mut node.attribute {
        for graph in a.g.iter_mut().chain(&mut a.graphs) {
            let nodes = graph.node.iter_mut();
            nodes.for_each(|node| redirect_node(node, old, new));
            let outputs = graph.output.iter_mut().filter(|v| v.name() == old);
            outputs.for_each(|v| v.name = Some(new.to_owned()));
        }
    }
}

/// Names that nodes, their subgraphs or the graph's outputs read.
pub fn used_names(graph: &GraphProto) -> HashSet<String> {
    let mut names: HashSet<String> = graph.output.iter().map(|v| v.name().to_owned()).collect();
    for n in &graph.node {
        names.extend(n.input.iter().filter(|s| !s.is_empty()).cloned());
        for a in &n.attribute {
            for g in a.g.iter().chain(&a.graphs) {
                names.extend(used_names(g));
            }
        }
    }
    names
}
