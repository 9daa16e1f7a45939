//! What is computed, element by element, from one decision alone.
//!
//! | nodes | at 0 |
//! |---|---|
//! | `s = Sign(x); s + (1 - Abs(s))` (QKeras) | +1 |
//! | `Sign(x) - Cast(Equal(x, 0))` | -1 |
//! | `Clip(Sign(x) · 2 + 1, -1, 1)`, and whatever else | what it computes |
//!
//! Below a threshold, at it, and above it all decisions are constants, so what follows from them is
//! computed as constants are. The forms that have a name of their own are looked for before this one.

use std::collections::BTreeMap;

use ndarray::arr0;

use super::pattern::{node_of, same_value, through_identity, uniform, with_constant};
use super::{Binarizer, range};
use crate::graph::{Facts, Graph, Node, NodeId, TensorId, evaluate};
use crate::onnx::Tensor;
use crate::operators::Kind;

/// Nodes looked at: nobody writes a binariser in more.
const MOST_NODES: usize = 24;

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    // What only scales another binariser belongs to the way to the layer.
    if ["Mul", "Div"]
        .iter()
        .any(|op| with_constant(graph, facts, t, op).is_some())
        || node_of(graph, t, "Sign").is_some()
    {
        return None;
    }
    let mut search = Search {
        graph,
        facts,
        known: BTreeMap::new(),
    };
    let Cases { values, site } = search.cases(t)?;
    let Site {
        input,
        threshold,
        place,
    } = site?;
    let [below, at, above] = values.each_ref().map(Tensor::scalar_f32);
    let (below, at, above) = (below?, at?, above?);
    let scale = above.abs();
    if above != -below || scale == 0.0 || !scale.is_finite() || ![below, 0.0, above].contains(&at) {
        return None;
    }
    Some(Binarizer {
        threshold_at: place,
        ..Binarizer::at("decided", threshold, [below, at, above], input, t)
    })
}

/// What decisions are about.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Site {
    input: TensorId,
    threshold: f32,
    /// Where the file holds the threshold; `None` where it holds none, or several.
    place: Option<(NodeId, usize)>,
}

/// A tensor that follows from decisions.
#[derive(Debug, Clone)]
struct Cases {
    /// Its value where the data are below the threshold, at it, and above it.
    values: [Tensor; 3],
    /// The data; `None` of a constant.
    site: Option<Site>,
}

struct Search<'a, 'g> {
    graph: &'a Graph<'g>,
    facts: &'a Facts,
    /// What was looked at, and is not followed twice.
    known: BTreeMap<TensorId, Option<Cases>>,
}

impl Search<'_, '_> {
    /// `None` if the tensor does not follow from decisions about the same data.
    fn cases(&mut self, t: TensorId) -> Option<Cases> {
        if let Some(found) = self.known.get(&t) {
            return found.clone();
        }
        if self.known.len() >= MOST_NODES {
            return None;
        }
        self.known.insert(t, None);
        let found = match self.facts.is_data(t) {
            true => self.followed(t),
            false => self.constant(t),
        };
        self.known.insert(t, found.clone());
        found
    }

    fn constant(&self, t: TensorId) -> Option<Cases> {
        let value = match self.facts.value(t)? {
            value if value.len() == 1 => value.clone(),
            _ => number(uniform(self.facts, t)?),
        };
        Some(Cases {
            values: [value.clone(), value.clone(), value],
            site: None,
        })
    }

    fn followed(&mut self, t: TensorId) -> Option<Cases> {
        let n = self.graph.producer(t)?;
        let node = self.graph.node(n);
        let by_element = matches!(
            node.operator()?.kind,
            Kind::Unary(_)
                | Kind::Arithmetic(_)
                | Kind::Comparison(_)
                | Kind::Logic
                | Kind::Clip
                | Kind::Choice
                | Kind::Cast
        );
        if !by_element {
            return None;
        }
        let (mut inputs, mut site) = (Vec::new(), None);
        for input in self.graph.inputs_of(n) {
            let Some(input) = input else {
                inputs.push(None);
                continue;
            };
            let Some(found) = self.cases(input) else {
                return self.decision(n, &node);
            };
            site = match (site, found.site) {
                (known, None) => known,
                (None, new) => new,
                (Some(a), Some(b)) => Some(self.together(a, b)?),
            };
            inputs.push(Some(found.values));
        }
        let values = computed(&node, |case| {
            let of_case = |values: &Option<[Tensor; 3]>| values.as_ref()?.get(case).cloned();
            inputs.iter().map(of_case).collect()
        })?;
        Some(Cases { values, site })
    }

    /// Two decisions as one, if they are about the same.
    fn together(&self, a: Site, b: Site) -> Option<Site> {
        let same =
            a.threshold == b.threshold && same_value(self.graph, self.facts, a.input, b.input);
        same.then_some(Site {
            place: a.place.filter(|_| a.place == b.place),
            ..a
        })
    }

    /// A node that reads data and gives one of three values: their sign, or how they compare with a
    /// number.
    fn decision(&self, n: NodeId, node: &Node<'_>) -> Option<Cases> {
        let (input, threshold, place) = match node.operator()?.kind {
            Kind::Comparison(_) => {
                let output = self.graph.output_of(n, 0)?;
                let found = with_constant(self.graph, self.facts, output, node.op())?;
                let threshold = uniform(self.facts, found.constant)?;
                let place = usize::from(!found.swapped);
                (found.data, threshold, Some(place))
            }
            _ if node.op() == "Sign" => (self.graph.input_of(n, 0)?, 0.0, None),
            _ => return None,
        };
        // Of what cannot be negative there are two cases, not three.
        if !threshold.is_finite() || range::never_negative(self.graph, self.facts, input) {
            return None;
        }
        let data = [threshold.next_down(), threshold, threshold.next_up()].map(number);
        let values = computed(node, |case| {
            let mut inputs = vec![data.get(case).cloned()];
            if let Some(place) = place {
                inputs.insert(place, Some(number(threshold)));
            }
            inputs
        })?;
        Some(Cases {
            values,
            site: Some(Site {
                input: through_identity(self.graph, input),
                threshold,
                place: place.map(|k| (n, k)),
            }),
        })
    }
}

fn number(x: f32) -> Tensor {
    Tensor::F32(arr0(x).into_dyn())
}

/// A node's output in each of the three cases.
fn computed(node: &Node<'_>, inputs: impl Fn(usize) -> Vec<Option<Tensor>>) -> Option<[Tensor; 3]> {
    let of = |case| {
        let inputs = inputs(case);
        let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        evaluate(node, &inputs)
    };
    Some([of(0)?, of(1)?, of(2)?])
}
