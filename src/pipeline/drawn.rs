//! Pictures for the page about a run: filters, and the way through the network.

use std::collections::{BTreeMap, HashMap};

use ndarray::Axis;

use super::View;
use crate::graph::NodeId;
use crate::recognize::Layer;
use crate::report::{FilterSigns, GraphItem, GraphPlace, Pictures};

/// Weights in all pictures of filters, at most: beyond, each filter shows its first input channels.
const MOST_WEIGHTS: usize = 1 << 21;
/// Operators that are named behind a place, at most.
const MOST_NAMED: usize = 6;

/// Pictures of the network as it was read, and its operators before and after.
pub(super) fn pictures(before: &View<'_>, after: &View<'_>) -> Pictures {
    let binary = || before.layers.iter().filter(|l| l.is_binary());
    let room = MOST_WEIGHTS / binary().count().max(1);
    Pictures {
        filters: binary().map(|l| signs(l, room)).collect(),
        graph: way(before),
        operators: operators(before, after),
    }
}

fn signs(layer: &Layer, room: usize) -> FilterSigns {
    let kernel = match *layer.kernel.as_slice() {
        [] => [1, 1],
        [width] => [1, width],
        [height, width] => [height, width],
        // Deeper ones as a row of planes.
        [height, ref rest @ ..] => [height, rest.iter().product()],
    };
    let area = kernel.iter().product::<usize>().max(1);
    let most = room / layer.filters.max(1).saturating_mul(area).max(1);
    let shown = layer.inputs.min(most.max(1));
    let sign = |&w: &f32| match w {
        w if w > 0.0 => 1,
        w if w < 0.0 => -1,
        _ => 0,
    };
    let filters = layer.values.axis_iter(Axis(layer.filter_axis));
    FilterSigns {
        layer: layer.name.clone(),
        filters: layer.filters,
        inputs: layer.inputs,
        shown,
        kernel,
        signs: filters
            .flat_map(|filter| {
                filter
                    .iter()
                    .take(shown * area)
                    .map(sign)
                    .collect::<Vec<_>>()
            })
            .collect(),
    }
}

fn operators(before: &View<'_>, after: &View<'_>) -> Vec<(String, usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for &node in before.graph.order() {
        counts
            .entry(before.graph.node(node).full_op())
            .or_default()
            .0 += 1;
    }
    for &node in after.graph.order() {
        counts
            .entry(after.graph.node(node).full_op())
            .or_default()
            .1 += 1;
    }
    let rows = counts.into_iter();
    rows.map(|(op, (before, after))| (op, before, after))
        .collect()
}

/// Layers and joins in the order of execution. What has one source is folded up into that.
fn way(view: &View<'_>) -> Vec<GraphItem> {
    let (graph, facts) = (&view.graph, &view.facts);
    let layer_of: HashMap<NodeId, usize> = view
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| (layer.node, index))
        .collect();
    let mut items: Vec<GraphItem> = Vec::new();
    // The item that a tensor comes from.
    let mut from: HashMap<usize, usize> = HashMap::new();
    let item = |place, name: &str, sources| GraphItem {
        place,
        name: name.to_owned(),
        sources,
        then: Vec::new(),
    };
    for &input in graph.inputs() {
        from.insert(input.0, items.len());
        items.push(item(GraphPlace::Input, graph.name(input), Vec::new()));
    }
    for &node in graph.order() {
        let mut sources = Vec::new();
        for tensor in graph.inputs_of(node).into_iter().flatten() {
            let source = from
                .get(&tensor.0)
                .filter(|_| facts.constant(tensor).is_none());
            sources.extend(source.copied());
        }
        sources.sort_unstable();
        sources.dedup();
        let op = graph.node(node).full_op();
        let at = match (layer_of.get(&node), sources.as_slice()) {
            (_, []) => continue,
            (Some(&layer), _) => {
                items.push(item(GraphPlace::Layer(layer), graph.label(node), sources));
                items.len() - 1
            }
            (None, &[one]) => {
                if let Some(item) = items.get_mut(one) {
                    fold_up(&mut item.then, op);
                }
                one
            }
            (None, _) => {
                let place = GraphPlace::Join(op);
                items.push(item(place, graph.label(node), sources));
                items.len() - 1
            }
        };
        for tensor in graph.outputs_of(node).into_iter().flatten() {
            from.insert(tensor.0, at);
        }
    }
    for &output in graph.outputs() {
        let sources = from.get(&output.0).copied().into_iter().collect();
        items.push(item(GraphPlace::Output, graph.name(output), sources));
    }
    items
}

/// Adds an operator's name, once in a row.
fn fold_up(then: &mut Vec<String>, op: String) {
    let full = then.len() >= MOST_NAMED;
    if then.last() == Some(&op) || (full && then.last().is_some_and(|last| last == "…")) {
        return;
    }
    then.push(if full { "…".to_owned() } else { op });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Model;

    fn of(name: &str) -> Pictures {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let path = root.join(name);
        let model = Model::load(&path).unwrap().proto;
        let view = View::lean(&path, &model).unwrap();
        pictures(&view, &view)
    }

    #[test]
    fn a_plain_network_is_a_chain_of_its_layers() {
        let found = of("digits_vgg.onnx");
        let places: Vec<&GraphPlace> = found.graph.iter().map(|i| &i.place).collect();
        use GraphPlace::{Input, Layer, Output};
        let chain = [
            Input,
            Layer(0),
            Layer(1),
            Layer(2),
            Layer(3),
            Layer(4),
            Output,
        ];
        assert_eq!(places, chain.iter().collect::<Vec<_>>());
        for (at, item) in found.graph.iter().enumerate().skip(1) {
            assert_eq!(item.sources, [at - 1], "{item:?}");
        }
        let conv1 = &found.filters[0];
        assert_eq!((conv1.filters, conv1.inputs, conv1.shown), (40, 16, 16));
        assert_eq!(conv1.signs.len(), 40 * 16 * 9);
        assert!(conv1.signs.iter().all(|s| s.abs() == 1));
        assert!(
            found
                .operators
                .iter()
                .any(|(op, n, _)| op == "Conv" && *n == 4)
        );
    }

    #[test]
    fn a_residual_network_joins_its_streams() {
        let found = of("digits_resnet.onnx");
        let joins = found
            .graph
            .iter()
            .filter(|i| matches!(&i.place, GraphPlace::Join(op) if op == "Add"));
        let joins: Vec<_> = joins.collect();
        assert!(!joins.is_empty());
        assert!(joins.iter().all(|j| j.sources.len() == 2), "{joins:?}");
    }

    #[test]
    fn large_layers_show_their_first_channels() {
        let found = of("digits_vgg.onnx");
        assert_eq!(found.filters.len(), 3);
        let model = Model::load("fixtures/digits_vgg.onnx".as_ref())
            .unwrap()
            .proto;
        let view = View::lean("m".as_ref(), &model).unwrap();
        let layer = view.layers.iter().find(|l| l.is_binary()).unwrap();
        let few = signs(layer, 40 * 9 * 3 + 5);
        assert_eq!((few.shown, few.signs.len()), (3, 40 * 9 * 3));
        assert_eq!(few.signs[..27], found.filters[0].signs[..27]);
    }
}
