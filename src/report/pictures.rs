//! What the page shows beside the report: the filters themselves, and the way through the network.

/// Pictures of a network before it was pruned. They stand in no JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// The binary layers' filters, in the order of execution.
    pub filters: Vec<FilterSigns>,
    /// The network from its inputs to its outputs, everything between layers and joins folded up.
    pub graph: Vec<GraphItem>,
    /// Operators, and how many nodes of each there are before and after.
    pub operators: Vec<(String, usize, usize)>,
}

/// The signs of a binary layer's weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterSigns {
    /// The layer.
    pub layer: String,
    /// Its filters.
    pub filters: usize,
    /// Input channels that each reads.
    pub inputs: usize,
    /// Of these, how many are in `signs`: the first ones.
    pub shown: usize,
    /// Height and width of the kernel; 1 and 1 of a layer without.
    pub kernel: [usize; 2],
    /// `[filters, shown, height, width]`, each -1, 0 or 1.
    pub signs: Vec<i8>,
}

/// What stands at a place of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphPlace {
    /// An input of the graph.
    Input,
    /// The layer of that place in [`Report::layers`](super::Report::layers).
    Layer(usize),
    /// An operator that brings several streams together: `Add`, `Concat`.
    Join(String),
    /// An output of the graph.
    Output,
}

/// A place of the way through the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphItem {
    /// What it is.
    pub place: GraphPlace,
    /// Its name.
    pub name: String,
    /// The places that it reads, all of them before it.
    pub sources: Vec<usize>,
    /// The operators behind it that are folded up, in their order.
    pub then: Vec<String>,
}
