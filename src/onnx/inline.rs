//! Local functions, put in place of the nodes that call them.
//!
//! Layers inside a function are shared by all its calls, and nothing outside sees them. So the
//! working copy of a model has none: each call becomes the function's nodes, under names of their
//! own. A function whose body means other operators than the model (another opset) stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prost::Message as _;

use super::is_default_domain;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};

/// Nodes of an inlined model: functions of functions can ask for any number.
const MOST_NODES: usize = 1 << 18;
/// Bytes of what is put in place of calls, names included.
const MOST_BYTES: usize = 1 << 28;
/// Functions within functions.
const DEEPEST: usize = 32;

/// Domain, name and overload.
type Key = (String, String, String);

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if is_default_domain(domain) {
        ""
    } else {
        domain
    };
    (domain.to_owned(), name.to_owned(), overload.to_owned())
}

/// What became of a model's local functions, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inlined {
    /// Which were expanded, if any were.
    pub expanded: Option<String>,
    /// Which stay, and why: what is in them is hidden.
    pub hidden: Vec<String>,
}

/// Replaces every call of a local function by its nodes.
pub fn inline_functions(model: &mut ModelProto) -> Inlined {
    if model.functions.is_empty() {
        return Inlined::default();
    }
    let mut inliner = Inliner::new(model);
    let mut imports = BTreeMap::new();
    if let Some(graph) = model.graph.as_mut() {
        inliner.names = names(graph);
        inliner.graph(graph, 0);
        imports = std::mem::take(&mut inliner.imports);
    }
    let (used, refused) = (inliner.used, inliner.refused);
    let mut notes = Inlined::default();
    if !used.is_empty() {
        let list: Vec<String> = used
            .iter()
            .map(|(k, calls)| match calls {
                1 => shown(k),
                n => format!("{} ({n} calls)", shown(k)),
            })
            .collect();
        notes.expanded = Some(format!(
            "local functions are expanded, also in what is written of a changed model: {}",
            list.join(", ")
        ));
    }
    for (k, why) in &refused {
        notes.hidden.push(format!(
            "the local function {} {why}; it stays, and what is in it is not looked at: inline it with onnx.inliner.inline_local_functions(model, convert_version=True)",
            shown(k)
        ));
    }
    for (domain, version) in imports {
        model.opset_import.push(OperatorSetIdProto {
            domain: Some(domain),
            version: Some(version),
        });
    }
    // Functions that stay may call others.
    if refused.is_empty() {
        let gone = |f: &FunctionProto| used.contains_key(&key(f.domain(), f.name(), f.overload()));
        model.functions.retain(|f| !gone(f));
    }
    notes
}

fn shown((domain, name, overload): &Key) -> String {
    let overload = match overload.as_str() {
        "" => String::new(),
        o => format!(":{o}"),
    };
    format!("'{domain}.{name}{overload}'")
}

struct Inliner {
    functions: HashMap<Key, FunctionProto>,
    /// Versions of the operator sets that the model imports.
    versions: BTreeMap<String, i64>,
    /// Further ones that inlined bodies need.
    imports: BTreeMap<String, i64>,
    names: HashSet<String>,
    /// By a call's name, how many prefixes were tried for calls of it.
    calls: HashMap<String, usize>,
    nodes: usize,
    bytes: usize,
    /// How often each function was inlined.
    used: BTreeMap<Key, usize>,
    /// Why a function was not.
    refused: BTreeMap<Key, String>,
}

impl Inliner {
    fn new(model: &ModelProto) -> Self {
        let functions = model.functions.iter();
        let plain = |d: &str| if is_default_domain(d) { "" } else { d }.to_owned();
        let imports = model.opset_import.iter();
        Self {
            functions: functions
                .map(|f| (key(f.domain(), f.name(), f.overload()), f.clone()))
                .collect(),
            versions: imports.map(|i| (plain(i.domain()), i.version())).collect(),
            imports: BTreeMap::new(),
            names: HashSet::new(),
            calls: HashMap::new(),
            nodes: 0,
            bytes: 0,
            used: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    fn graph(&mut self, graph: &mut GraphProto, depth: usize) {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.nodes(nodes, depth);
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Vec<NodeProto> {
        let mut out = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            self.nodes += 1;
            for a in &mut node.attribute {
                for g in a.g.iter_mut().chain(&mut a.graphs) {
                    self.graph(g, depth);
                }
            }
            let k = key(node.domain(), node.op_type(), node.overload());
            match self.body(&k, &node, depth) {
                Some(body) => out.extend(self.nodes(body, depth + 1)),
                None => out.push(node),
            }
        }
        out
    }

    /// The nodes that replace a call; `None` if it is none, or its function has to stay.
    fn body(&mut self, k: &Key, call: &NodeProto, depth: usize) -> Option<Vec<NodeProto>> {
        let function = self.functions.get(k)?.clone();
        if self.refused.contains_key(k) {
            return None;
        }
        if let Some(why) = self.why_not(&function, call, depth) {
            self.refused.insert(k.clone(), why);
            return None;
        }
        *self.used.entry(k.clone()).or_default() += 1;
        Some(self.expand(&function, call))
    }

    /// Why a function cannot be inlined. Notes what its body imports beyond the model.
    fn why_not(&mut self, f: &FunctionProto, call: &NodeProto, depth: usize) -> Option<String> {
        if depth >= DEEPEST {
            return Some("calls itself, or others too deep within each other".to_owned());
        }
        if self.nodes.saturating_add(f.node.len()) > MOST_NODES {
            return Some(format!("would make more than {MOST_NODES} nodes"));
        }
        let left_out = |name: &String| {
            let place = f.input.iter().position(|i| i == name);
            place.is_some_and(|k| call.input.get(k).is_none_or(String::is_empty))
        };
        let mut results = f.output.iter().zip(&call.output);
        if let Some((name, _)) = results.find(|(o, given)| !given.is_empty() && left_out(o)) {
            return Some(format!(
                "hands its input '{name}' through, which a call leaves out"
            ));
        }
        // Each name in it gets the call's in front.
        let label = label(call).len();
        let names = |n: &NodeProto| {
            n.input
                .len()
                .saturating_add(n.output.len())
                .saturating_add(1)
        };
        let size = |n: &NodeProto| {
            n.encoded_len()
                .saturating_add(names(n).saturating_mul(label))
        };
        let bytes = f
            .node
            .iter()
            .map(size)
            .fold(self.bytes, usize::saturating_add);
        if bytes > MOST_BYTES {
            return Some(format!("would make more than {} MiB", MOST_BYTES >> 20));
        }
        self.bytes = bytes;
        let plain = |d: &str| if is_default_domain(d) { "" } else { d }.to_owned();
        for domain in domains(&f.node) {
            let own = f.opset_import.iter().find(|i| plain(i.domain()) == domain);
            let Some(own) = own else { continue };
            match self.versions.get(&domain) {
                Some(&version) if version == own.version() => {}
                Some(&version) => {
                    let name = if domain.is_empty() {
                        "ai.onnx"
                    } else {
                        &domain
                    };
                    return Some(format!(
                        "imports opset {} of {name} where the model has {version}",
                        own.version()
                    ));
                }
                None => {
                    self.versions.insert(domain.clone(), own.version());
                    self.imports.insert(domain, own.version());
                }
            }
        }
        None
    }

    fn expand(&mut self, f: &FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
        let label = label(call);
        // Calls of one name go on counting where the last one ended.
        let n = self.calls.entry(label.to_owned()).or_insert(0);
        let prefix = loop {
            *n += 1;
            let prefix = match *n {
                1 => format!("{label}/"),
                n => format!("{label}_{n}/"),
            };
            if !self.names.contains(&prefix) {
                break prefix;
            }
        };
        self.names.insert(prefix.clone());
        let mut rename = Renaming {
            known: BTreeMap::new(),
            prefix,
            taken: &mut self.names,
        };
        for (i, name) in f.input.iter().enumerate() {
            let given = call.input.get(i).cloned().unwrap_or_default();
            rename.known.insert(name.clone(), given);
        }
        let mut moved = Vec::new();
        for (i, name) in f.output.iter().enumerate() {
            let Some(given) = call.output.get(i).filter(|o| !o.is_empty()) else {
                continue;
            };
            match rename.known.get(name) {
                // A parameter handed through, or one result under two names.
                Some(same) => moved.push((same.clone(), given.clone())),
                None => {
                    rename.known.insert(name.clone(), given.clone());
                }
            }
        }
        let attributes = Attributes { call, function: f };
        let mut nodes: Vec<NodeProto> = f.node.clone();
        // The only layer of a function is what its call is called.
        let layers = nodes.iter().filter(|n| is_layer(n)).count();
        for node in &mut nodes {
            let own = node.name().to_owned();
            rename.node(node);
            // After that: a graph that the call gives has the call's names.
            attributes.give(node, &mut rename);
            if own.is_empty() && layers == 1 && is_layer(node) {
                node.name = call.name.clone();
            }
        }
        let moved = moved.into_iter();
        nodes.extend(moved.map(|(from, to)| NodeProto::of("Identity", [from], to)));
        nodes
    }
}

/// A node's name, or that of its first output.
fn label(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    }
}

/// Whether a node is an operator with filters.
fn is_layer(node: &NodeProto) -> bool {
    is_default_domain(node.domain()) && matches!(node.op_type(), "Conv" | "Gemm" | "MatMul")
}

/// The domains of nodes, those in subgraphs too.
fn domains(nodes: &[NodeProto]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in nodes {
        let domain = node.domain();
        found.insert(
            if is_default_domain(domain) {
                ""
            } else {
                domain
            }
            .to_owned(),
        );
        for a in &node.attribute {
            for g in a.g.iter().chain(&a.graphs) {
                found.extend(domains(&g.node));
            }
        }
    }
    found
}

/// Every name of a graph and its subgraphs.
pub(crate) fn names(graph: &GraphProto) -> HashSet<String> {
    let mut all: HashSet<String> = HashSet::new();
    all.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
    let sparse = graph.sparse_initializer.iter().flat_map(|s| &s.values);
    all.extend(sparse.map(|t| t.name().to_owned()));
    let values = graph.input.iter().chain(&graph.output);
    all.extend(values.map(|v| v.name().to_owned()));
    for node in &graph.node {
        all.insert(node.name().to_owned());
        all.extend(node.input.iter().chain(&node.output).cloned());
        for a in &node.attribute {
            for g in a.g.iter().chain(&a.graphs) {
                all.extend(names(g));
            }
        }
    }
    all
}

/// What a call says of its function's attributes.
struct Attributes<'a> {
    call: &'a NodeProto,
    function: &'a FunctionProto,
}

impl Attributes<'_> {
    /// Puts values in place of references, in a node and its subgraphs, whose names are the new ones.
    fn give(&self, node: &mut NodeProto, rename: &mut Renaming<'_>) {
        let given = std::mem::take(&mut node.attribute);
        let resolved = given.into_iter().filter_map(|a| self.resolve(a, rename));
        node.attribute = resolved.collect();
    }

    fn resolve(&self, mut a: AttributeProto, rename: &mut Renaming<'_>) -> Option<AttributeProto> {
        if !a.ref_attr_name().is_empty() {
            let wanted = a.ref_attr_name();
            let of = |all: &[AttributeProto]| all.iter().find(|g| g.name() == wanted).cloned();
            let given = of(&self.call.attribute);
            let default = || {
                let mut default = of(&self.function.attribute_proto)?;
                rename.attribute(&mut default);
                Some(default)
            };
            // One that is given nowhere has the operator's own default.
            let found = given.or_else(default)?;
            return Some(AttributeProto {
                name: a.name.take(),
                ..found
            });
        }
        for g in a.g.iter_mut().chain(&mut a.graphs) {
            g.node.iter_mut().for_each(|n| self.give(n, rename));
        }
        Some(a)
    }
}

/// The names of a function's body where it is put.
struct Renaming<'n> {
    known: BTreeMap<String, String>,
    prefix: String,
    taken: &'n mut HashSet<String>,
}

impl Renaming<'_> {
    fn name(&mut self, name: &mut String) {
        if name.is_empty() {
            return;
        }
        if let Some(new) = self.known.get(name) {
            name.clone_from(new);
            return;
        }
        let mut new = format!("{}{name}", self.prefix);
        let mut n = 1;
        while self.taken.contains(&new) {
            n += 1;
            new = format!("{}{name}_{n}", self.prefix);
        }
        self.taken.insert(new.clone());
        self.known.insert(std::mem::replace(name, new.clone()), new);
    }

    fn node(&mut self, node: &mut NodeProto) {
        if let Some(name) = node.name.as_mut().filter(|n| !n.is_empty()) {
            *name = format!("{}{name}", self.prefix);
        }
        let tensors = node.input.iter_mut().chain(&mut node.output);
        tensors.for_each(|name| self.name(name));
        node.attribute.iter_mut().for_each(|a| self.attribute(a));
    }

    fn attribute(&mut self, a: &mut AttributeProto) {
        for g in a.g.iter_mut().chain(&mut a.graphs) {
            self.graph(g);
        }
    }

    fn graph(&mut self, graph: &mut GraphProto) {
        for t in &mut graph.initializer {
            t.name.iter_mut().for_each(|n| self.name(n));
        }
        for s in &mut graph.sparse_initializer {
            let values = s.values.iter_mut().flat_map(|t| &mut t.name);
            values.for_each(|n| self.name(n));
        }
        graph.value_info.clear();
        for v in graph.input.iter_mut().chain(&mut graph.output) {
            v.name.iter_mut().for_each(|n| self.name(n));
        }
        graph.node.iter_mut().for_each(|n| self.node(n));
    }
}

#[cfg(test)]
mod tests;
