//! What all operators check.

use std::ffi::CStr;

use bnn_kernels::binary::bits::{Bits, Packing, bytes_of, interleave};

use crate::runtime::{Attributes, Context, Error, Tensor};

/// Most channels.
const MOST_CHANNELS: usize = 1 << 20;
/// Largest pad, stride, dilation and window.
const MOST_STEP: usize = 1 << 20;

/// A number of channels.
pub fn channels(node: &impl Attributes) -> Result<usize, Error> {
    let given = node.int(c"channels").ok_or("has no attribute `channels`")?;
    let fits = usize::try_from(given).ok();
    let fits = fits.filter(|c| (1..=MOST_CHANNELS).contains(c));
    fits.ok_or_else(|| {
        Error(format!(
            "channels {given}: is not between 1 and {MOST_CHANNELS}"
        ))
    })
}

/// Whether an attribute has to be there.
#[derive(Clone, Copy)]
pub enum Presence {
    Required,
    Optional,
}

/// As many numbers, from `least` on, or `least` where the attribute is not there and may be left out.
pub fn sizes<const N: usize>(
    node: &impl Attributes,
    name: &'static CStr,
    least: usize,
    presence: Presence,
) -> Result<[usize; N], Error> {
    let label = name.to_string_lossy();
    let Some(given) = node.ints(name) else {
        return match presence {
            Presence::Required => Err(Error(format!(
                "has no attribute `{label}`, or none of whole numbers"
            ))),
            Presence::Optional => Ok([least; N]),
        };
    };
    let fit = |&d: &i64| {
        usize::try_from(d)
            .ok()
            .filter(|d| (least..=MOST_STEP).contains(d))
    };
    let fit: Option<Vec<usize>> = given.iter().map(fit).collect();
    fit.and_then(|fit| fit.try_into().ok()).ok_or_else(|| {
        Error(format!(
            "{label} {given:?}: are not {N} numbers from {least} to {MOST_STEP}"
        ))
    })
}

/// Whether an attribute is 1; it may be left out.
pub fn flag(node: &impl Attributes, name: &'static CStr) -> Result<bool, Error> {
    match node.int(name) {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(other) => Err(Error(format!(
            "{} {other}: is not 0 or 1",
            name.to_string_lossy()
        ))),
    }
}

/// How many planes an innermost dimension has room for.
pub fn planes(channels: usize, innermost: usize) -> Result<usize, Error> {
    let bytes = bytes_of(channels);
    match innermost {
        n if n == bytes => Ok(1),
        n if n == 2 * bytes => Ok(2),
        n => Err(Error(format!(
            "its input has {n} bytes a pixel; {channels} channels need {bytes}, or {} where something is 0",
            2 * bytes
        ))),
    }
}

/// Packed activations.
pub fn bits<'a>(x: &Tensor<'a, u8>, channels: usize) -> Result<Bits<'a>, Error> {
    let [batch, height, width, innermost] = x.shape[..] else {
        return Err(Error(format!(
            "its input has {} dimensions instead of 4",
            x.shape.len()
        )));
    };
    Ok(Bits {
        bytes: x.data,
        batch,
        height,
        width,
        channels,
        planes: planes(channels, innermost)?,
    })
}

/// What is known of packed activations before they are there.
pub fn bits_dims(
    dims: Option<Vec<Option<usize>>>,
    channels: usize,
) -> Result<[Option<usize>; 3], Error> {
    let Some(dims) = dims else {
        return Ok([None; 3]);
    };
    let [batch, height, width, innermost] = dims[..] else {
        return Err(Error(format!(
            "its input has {} dimensions instead of 4",
            dims.len()
        )));
    };
    if let Some(innermost) = innermost {
        planes(channels, innermost)?;
    }
    Ok([batch, height, width])
}

/// Writes signs `[N, H, W, ⌈C/8⌉]` as an output. Where some are 0, `zeros` are the floats `[N, C, H, W]` that they are the
/// signs of, and what these were compared with.
pub fn put_signs(
    node: &Context,
    index: usize,
    [n, h, w, c]: [usize; 4],
    signs: &[u8],
    zeros: Option<(&[f32], &[f32])>,
) -> Result<(), Error> {
    let bytes = bytes_of(c);
    let Some((floats, thresholds)) = zeros else {
        let out = node.output(index, &[n, h, w, bytes])?;
        // Nobody may want it.
        if !out.is_empty() {
            out.copy_from_slice(signs);
        }
        return Ok(());
    };
    let mut nonzero = vec![0; signs.len()];
    let packing = Packing::nonzero(floats, [n, c, h * w], thresholds, &mut nonzero);
    node.parallel(packing.tasks(), |task| packing.run(task))?;
    let out = node.output(index, &[n, h, w, 2 * bytes])?;
    if !out.is_empty() {
        out.copy_from_slice(&interleave(signs, &nonzero, bytes));
    }
    Ok(())
}
