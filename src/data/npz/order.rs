//! Which dimension of an array of images is which.

use ndarray::{Array4, ArrayD, Axis, Ix4};

use super::super::{Layout, LoadOptions, Size};

/// What the dimensions of `x` are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// `[N, pixels]`, for a model that takes them so
    Flat,
    /// `[N, H · W]` of that height and width, for a model with one channel
    FlatGray(usize, usize),
    /// `[N, H, W]`
    Gray,
    /// `[N, C, H, W]`
    Nchw,
    /// `[N, H, W, C]`
    Nhwc,
    /// Signals, images of one row or, `upright`, of one column: `[N, C, L]`, or `[N, L, C]` with the
    /// channels `last`.
    Signals { last: bool, upright: bool },
}

/// The order of `x`'s dimensions, in which the model's channel count decides, and the number of
/// images; an error text if they do not suit the model.
pub(super) fn order(shape: &[usize], options: &LoadOptions) -> Result<(Order, usize), String> {
    let channels = options.channels;
    let (order, [n, c, h, w]) = match *shape {
        [n, values] => flat(n, values, options)?,
        [n, a, b] if of_signals(options) => signals(n, [a, b], options),
        [n, h, w] => (Order::Gray, [n, 1, h, w]),
        // Signals with an axis too many are taken where it says nothing.
        [_, a, b, _] if of_rank_3(options) && (b != 1 || channels != Some(a)) => {
            let of = channels.map_or_else(String::new, |c| format!(" of {c} channel(s)"));
            return Err(format!(
                "x has shape {shape:?}, the model takes signals{of}; save x as the model takes it, with three dimensions"
            ));
        }
        [n, a, b, last] => {
            let swapped = match channels {
                Some(want) => a != want && last == want,
                // With no model to ask: one or three channels, in the place where they stand.
                None => !matches!(a, 1 | 3) && matches!(last, 1 | 3),
            };
            match swapped {
                true => (Order::Nhwc, [n, last, a, b]),
                false => (Order::Nchw, [n, a, b, last]),
            }
        }
        _ => {
            return Err(format!(
                "x has shape {shape:?}; expected [N,H,W], [N,C,H,W] or [N,H,W,C], or [N,C,L] for a model of signals"
            ));
        }
    };
    if let Some(want) = channels
        && c != want
    {
        return Err(format!(
            "x has shape {shape:?}, the model's input has {want} channel(s); save x with {want} channel(s)"
        ));
    }
    if let Some(Size { height, width }) = options.size
        && (h, w) != (height as usize, width as usize)
    {
        return Err(format!(
            "x has images of {h}x{w}, the model's input is {height}x{width}; save x in that size"
        ));
    }
    Ok((order, n))
}

/// Whether the model takes signals as such.
fn of_rank_3(options: &LoadOptions) -> bool {
    matches!(options.preprocess.layout, Layout::Ncl | Layout::Nlc)
}

/// Whether the model takes signals, as such or as images of several channels and one row or column.
fn of_signals(options: &LoadOptions) -> bool {
    let row = |size: Size| size.height == 1 || size.width == 1;
    of_rank_3(options) || (options.size.is_some_and(row) && options.channels.is_some_and(|c| c > 1))
}

/// The order of signals; where both axes could be the channels, it is the model's.
fn signals(n: usize, [a, b]: [usize; 2], options: &LoadOptions) -> (Order, [usize; 4]) {
    let is = |axis: usize| options.channels.is_none_or(|want| want == axis);
    let last = match options.preprocess.layout {
        Layout::Nlc | Layout::Nhwc => is(b),
        _ => !is(a) && is(b),
    };
    let upright = (options.size).is_some_and(|size| size.width == 1 && size.height > 1);
    let order = Order::Signals { last, upright };
    let [c, h, w] = order.image_shape(&[a, b]);
    (order, [n, c, h, w])
}

/// The order of flat images, which a model of images takes only where there is one way to see them
/// as such.
fn flat(n: usize, values: usize, options: &LoadOptions) -> Result<(Order, [usize; 4]), String> {
    let (Some(c), Some(Size { height, width })) = (options.channels, options.size) else {
        return Ok((Order::Flat, [n, values, 1, 1]));
    };
    let (h, w) = (height as usize, width as usize);
    if h.checked_mul(w).and_then(|area| area.checked_mul(c)) != Some(values) {
        return Err(format!(
            "x has {values} values an image, the model takes {c}x{h}x{w}; save x as [N, {c}, {h}, {w}]"
        ));
    }
    match c {
        1 => Ok((Order::FlatGray(h, w), [n, 1, h, w])),
        _ => Err(format!(
            "x is flat; say in which order its values are: save x.reshape(-1, {c}, {h}, {w}) if channels come first, x.reshape(-1, {h}, {w}, {c}) if they come last"
        )),
    }
}

impl Order {
    /// `[C, H, W]` of images that lie in rows of that shape.
    pub fn image_shape(self, row: &[usize]) -> [usize; 3] {
        match (self, row) {
            (Self::FlatGray(h, w), _) => [1, h, w],
            (Self::Nhwc, &[h, w, c]) => [c, h, w],
            (Self::Signals { last, upright }, &[a, b]) => {
                let (c, length) = if last { (b, a) } else { (a, b) };
                if upright {
                    [c, length, 1]
                } else {
                    [c, 1, length]
                }
            }
            (_, &[c, h, w]) => [c, h, w],
            (_, &[h, w]) => [1, h, w],
            (_, row) => [row.iter().product(), 1, 1],
        }
    }

    /// Brings `x` to `[N, C, H, W]`.
    pub fn images<T: Copy>(self, x: ArrayD<T>) -> Result<Array4<T>, String> {
        let x = match self {
            Self::Flat => x.insert_axis(Axis(2)).insert_axis(Axis(3)),
            Self::FlatGray(h, w) => {
                let n = x.shape().first().copied().unwrap_or(0);
                let x = x.as_standard_layout().into_owned();
                x.into_shape_with_order(vec![n, 1, h, w])
                    .map_err(|e| e.to_string())?
            }
            Self::Gray => x.insert_axis(Axis(1)),
            Self::Nchw => x,
            Self::Nhwc => x.permuted_axes(vec![0, 3, 1, 2]),
            Self::Signals { last, upright } => {
                let x = if last {
                    x.permuted_axes(vec![0, 2, 1])
                } else {
                    x
                };
                x.insert_axis(Axis(if upright { 3 } else { 2 }))
            }
        };
        let x = match x.is_standard_layout() {
            true => x,
            false => x.as_standard_layout().into_owned(),
        };
        x.into_dimensionality::<Ix4>().map_err(|e| e.to_string())
    }
}
