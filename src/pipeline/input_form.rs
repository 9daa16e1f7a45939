//! What a model takes: images, signals or rows, and which axis of its input is which.

use std::path::Path;

use crate::data::{Layout, Size};
use crate::error::Error;
use crate::graph::{Facts, Graph, Node, TensorId};
use crate::operators::Kind;

/// What a model takes: channels, and size where fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InputForm {
    /// Order of axes.
    pub layout: Layout,
    /// Channels; `None` for flat inputs.
    pub channels: Option<usize>,
    /// Height and width; `None` for flat inputs.
    pub size: Option<Size>,
    /// How many values a flat input has.
    flat: Option<usize>,
}

impl InputForm {
    /// The form of the only input of the model at `path`; `arrays` if what is given to it are arrays, which it
    /// gets as they are.
    ///
    /// # Errors
    /// If it has several inputs, or one that images, or arrays, are not.
    pub fn of(path: &Path, graph: &Graph<'_>, facts: &Facts, arrays: bool) -> Result<Self, Error> {
        let &[input] = graph.inputs() else {
            let count = graph.inputs().len();
            return Err(Error::unsuitable(
                path,
                format!("has {count} inputs; --data works with models that take one image"),
            ));
        };
        let shape = facts.shape(input).unwrap_or_default();
        let size = |h: usize, w: usize| {
            Some(Size {
                height: u32::try_from(h).ok()?,
                width: u32::try_from(w).ok()?,
            })
        };
        let planes = |layout, c: usize, [h, w]: [usize; 2]| Self {
            layout,
            channels: Some(c),
            size: size(h, w),
            flat: None,
        };
        let no_image = || {
            let name = graph.name(input);
            if shape.is_empty() {
                return Error::unsuitable(
                    path,
                    format!(
                        "input '{name}' has no shape in the file; give it, such as --input-shape {name}=1,3,32,32"
                    ),
                );
            }
            let what = match shape.len() {
                3 => "that of signals, which are",
                _ => "not that of an image with 1 or 3 channels; other numbers of channels are",
            };
            Error::unsuitable(
                path,
                format!(
                    "input '{name}' has the shape {shape:?}, {what} read from an .npz that holds x as the model takes it"
                ),
            )
        };
        match *shape {
            [_, c @ (1 | 3), h, w] => Ok(planes(Layout::Nchw, c, [h, w])),
            [_, h, w, c @ (1 | 3)] => Ok(planes(Layout::Nhwc, c, [h, w])),
            // What is no picture comes as it is; what turns it around at once has its channels last.
            [_, h, w, c]
                if arrays && turned_around(graph, behind_elementwise(graph, facts, input)) =>
            {
                Ok(planes(Layout::Nhwc, c, [h, w]))
            }
            [_, c, h, w] if arrays && c > 0 => Ok(planes(Layout::Nchw, c, [h, w])),
            [_, length] => Ok(Self {
                layout: Layout::Flat,
                channels: None,
                size: None,
                flat: Some(length),
            }),
            [_, a, b] => match of_matrices(graph, facts, input) {
                Layout::Nhw => Ok(planes(Layout::Nhw, 1, [a, b])),
                Layout::Nlc if arrays => Ok(planes(Layout::Nlc, b, [1, a])),
                _ if arrays => Ok(planes(Layout::Ncl, a, [1, b])),
                _ => Err(no_image()),
            },
            _ => Err(no_image()),
        }
    }

    /// Whether it is flat and may be a square of single values.
    pub fn flat_square(&self) -> bool {
        self.flat
            .is_some_and(|n| n > 0 && n.isqrt() * n.isqrt() == n)
    }
}

/// What an input `[N, A, B]` is by what reads it: signals, with their channels first or last, or gray images.
fn of_matrices(graph: &Graph<'_>, facts: &Facts, input: TensorId) -> Layout {
    let read = behind_elementwise(graph, facts, input);
    let turned = turned_around(graph, read);
    let t = match turned {
        true => behind_elementwise(graph, facts, made_of(graph, read).unwrap_or(read)),
        false => read,
    };
    let signals = |turned: bool| if turned { Layout::Nlc } else { Layout::Ncl };
    let unfolds = ["Flatten", "Reshape", "Unsqueeze"];
    if !all_read(graph, t, |node| unfolds.contains(&node.op())) {
        return signals(turned);
    }
    // An axis of size 1 that is put in: behind the channels of signals, or in front of images.
    let otherwise = if turned { Layout::Nlc } else { Layout::Nhw };
    let Some(out) = made_of(graph, t) else {
        return otherwise;
    };
    let turned_again = turned_around(graph, behind_elementwise(graph, facts, out));
    match (facts.shape(t), facts.shape(out)) {
        (Some(&[_, a, b]), Some(&[_, c, 1, l])) if [a, b] == [c, l] && a > 1 => {
            signals(turned != turned_again)
        }
        (Some(&[_, a, b]), Some(&[_, 1, l, c])) if [a, b] == [l, c] && turned_again => {
            signals(!turned)
        }
        _ => otherwise,
    }
}

/// What the first reader of a tensor makes of it.
fn made_of(graph: &Graph<'_>, t: TensorId) -> Option<TensorId> {
    let reader = graph.consumers(t).first()?;
    graph.output_of(reader.node, 0)
}

/// The tensor that `t` becomes by what treats each of its elements alike where they stand: another type, a
/// normalisation of pixels, a bound.
fn behind_elementwise(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> TensorId {
    let mut at = t;
    while let [reader] = graph.consumers(at)
        && matches!(
            graph.node(reader.node).operator().map(|o| o.kind),
            Some(
                Kind::Unary(_)
                    | Kind::Arithmetic(_)
                    | Kind::Clip
                    | Kind::Cast
                    | Kind::Quantize
                    | Kind::Dequantize
                    | Kind::Same
            )
        )
        && let Some(out) = graph.output_of(reader.node, 0)
        && facts.shape(out) == facts.shape(at)
    {
        at = out;
    }
    at
}

/// Whether all that reads a tensor brings its last axis to the second place.
fn turned_around(graph: &Graph<'_>, t: TensorId) -> bool {
    all_read(graph, t, |node| {
        node.op() == "Transpose" && matches!(node.ints("perm"), Some(&[0, 3, 1, 2] | &[0, 2, 1]))
    })
}

/// Whether a tensor is read, and all its readers are of a kind.
fn all_read(graph: &Graph<'_>, t: TensorId, kind: impl Fn(&Node<'_>) -> bool) -> bool {
    let readers = graph.consumers(t);
    !readers.is_empty() && readers.iter().all(|reader| kind(&graph.node(reader.node)))
}
