//! What a model takes: images, signals or rows, and which axis of its input is which.

use std::path::Path;

use crate::data::{Layout, Size};
use crate::error::Error;
use crate::graph::{Facts, Graph, Node, TensorId};

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
    pub fn of(
        path: &Path,
        (graph, facts): (&Graph<'_>, &Facts),
        arrays: bool,
    ) -> Result<Self, Error> {
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
            let what = match shape.len() {
                3 => "that of signals, which are",
                _ => "not that of an image with 1 or 3 channels; other numbers of channels are",
            };
            let name = graph.name(input);
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
            [_, h, w, c] if arrays && turned_around(graph, input) => {
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
    if turned_around(graph, input) {
        return Layout::Nlc;
    }
    let unfolds = ["Flatten", "Reshape", "Unsqueeze"];
    if !all_read(graph, input, |node| unfolds.contains(&node.op())) {
        return Layout::Ncl;
    }
    // An axis of size 1 that is put in: behind the channels of signals, or in front of images.
    let made = graph.consumers(input).first();
    let Some(out) = made.and_then(|reader| graph.output_of(reader.node, 0)) else {
        return Layout::Nhw;
    };
    match (facts.shape(input), facts.shape(out)) {
        (Some(&[_, a, b]), Some(&[_, c, 1, l])) if [a, b] == [c, l] && a > 1 => {
            match turned_around(graph, out) {
                true => Layout::Nlc,
                false => Layout::Ncl,
            }
        }
        (Some(&[_, a, b]), Some(&[_, 1, l, c]))
            if [a, b] == [l, c] && turned_around(graph, out) =>
        {
            Layout::Nlc
        }
        _ => Layout::Nhw,
    }
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
