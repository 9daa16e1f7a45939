//! Operators that only rearrange: `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`, `Transpose`.

use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter, shuffle};

/// Where the channel axis goes when a shape is rewritten.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    /// Axis of the output that holds the channels.
    axis: usize,
    /// Index `j` on it is channel `(j / inner) % channels`.
    inner: usize,
}

/// `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze` where the channel axis stays, or is merged with
/// axes after or before it (not the batch) into one.
pub(super) fn reshape(ctx: &Context<'_, '_>) -> Outcome {
    if let Some(behaviour) = shuffle::ends(ctx) {
        return Ok(Some(behaviour));
    }
    if shuffle::begins(ctx) {
        return Ok(None);
    }
    let (x, from) = ctx.data()?;
    let to = ctx.out_shape()?;
    let channels = x.states.len();
    let map = mapping(from, x.axis, to).ok_or_else(|| {
        let normalised = normalised_as_groups(ctx).map(|n| {
            format!("makes groups of channels for the group normalisation '{n}', which mixes them")
        });
        normalised
            .unwrap_or_else(|| "splits the channel axis or merges the batch into it".to_owned())
    })?;
    let index: Vec<usize> = (0..ctx.bounded(to[map.axis])?)
        .map(|j| (j / map.inner) % channels)
        .collect();
    let mut behaviour = Behaviour::of(Output::rearranged(x, map.axis, &index));
    if ctx.node().op() == "Reshape" {
        behaviour.parameters = target(ctx, x.axis, map.axis)?.into_iter().collect();
    }
    Ok(Some(behaviour))
}

/// The `InstanceNormalization` that normalises groups of channels, which this node makes.
fn normalised_as_groups<'g>(ctx: &Context<'g, '_>) -> Option<&'g str> {
    let out = ctx.graph.output_of(ctx.id, 0)?;
    let mut uses = ctx.graph.consumers(out).iter();
    let norm = uses.find(|u| ctx.graph.node(u.node).op() == "InstanceNormalization")?;
    Some(ctx.graph.label(norm.node))
}

/// The entry of the Reshape target that holds the channels' count, of which `before` is the axis in what is read and
/// `axis` that in what is written: -1 and 0 follow by themselves.
fn target(ctx: &Context<'_, '_>, before: usize, axis: usize) -> Result<Option<Parameter>, String> {
    let t = ctx.tensor(1).ok_or("has no target shape")?;
    // Also where it is computed from other shapes.
    let value = ctx.facts.value(t).and_then(|v| v.to_ints());
    let entry = |axis| value.as_deref().and_then(|v: &[i64]| v.get(axis)).copied();
    let copies = |axis| entry(axis) == Some(0) && ctx.node().int("allowzero", 0) == 0;
    // A size that is taken over from an axis is not that of another one, but by chance.
    if before != axis && (copies(before) || copies(axis)) {
        return Err("takes the size of another axis over, which is equal by chance".to_owned());
    }
    match entry(axis) {
        Some(-1) => Ok(None),
        Some(0) if copies(axis) => Ok(None),
        Some(_) => Ok(Some(Parameter {
            input: 1,
            along: Along::Output(0),
            cut: Cut::Entry(axis),
        })),
        None => Err("has a target shape that is not known".to_owned()),
    }
}

/// Axes `first..last` of `from`, the channel axis among them, become one axis of `to`.
fn mapping(from: &[usize], axis: usize, to: &[usize]) -> Option<Mapping> {
    let product = |s: &[usize]| s.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    if from.contains(&0) || to.contains(&0) {
        return None;
    }
    // The batch stays by itself; a batch of 1 must not hide that it would be merged.
    let lowest = axis.min(1);
    // The narrowest range first: the channel axis alone, if it survives.
    for width in 1..=from.len() {
        for first in lowest..=axis {
            let last = first + width;
            if last <= axis || last > from.len() {
                continue;
            }
            let (before, merged) = (product(&from[..first])?, product(&from[first..last])?);
            // Axes of size 1 make several answers equal; the same position is the natural one.
            let candidates = (first..to.len()).chain(lowest..first.min(to.len()));
            for b in candidates {
                if to[b] == merged && product(&to[..b])? == before {
                    return Some(Mapping {
                        axis: b,
                        inner: product(&from[axis + 1..last])?,
                    });
                }
            }
        }
    }
    None
}

/// `Transpose`: the channel axis moves.
pub(super) fn transpose(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let moved = match ctx.node().ints("perm") {
        None => shape.len().checked_sub(x.axis + 1),
        Some(p) => p.iter().position(|&a| usize::try_from(a) == Ok(x.axis)),
    };
    Ok(Some(Behaviour::of(Output {
        axis: moved.ok_or("has a permutation that does not fit its input")?,
        ..Output::channelwise(x, |s| s)
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(from: &[usize], axis: usize, to: &[usize]) -> Option<(usize, usize)> {
        mapping(from, axis, to).map(|m| (m.axis, m.inner))
    }

    #[test]
    fn channels_are_followed_through_shapes() {
        // Flatten of NCHW: blocks of H·W; of NHWC: channels innermost.
        assert_eq!(map(&[1, 8, 2, 2], 1, &[1, 32]), Some((1, 4)));
        assert_eq!(map(&[1, 2, 2, 8], 3, &[1, 32]), Some((1, 1)));
        assert_eq!(map(&[1, 8, 1, 1], 1, &[1, 8]), Some((1, 1)));
        assert_eq!(map(&[1, 8], 1, &[1, 8, 1, 1]), Some((1, 1)));
        assert_eq!(map(&[1, 8, 4, 4], 1, &[1, 8, 16]), Some((1, 1)));
        assert_eq!(map(&[1, 3, 5, 8], 3, &[15, 8]), Some((1, 1)));
        assert_eq!(map(&[1, 4, 3, 2], 2, &[1, 24]), Some((1, 2)));
    }

    #[test]
    fn splits_and_merged_batches_are_declined() {
        assert_eq!(map(&[1, 8, 2, 2], 1, &[1, 2, 4, 2, 2]), None);
        assert_eq!(map(&[1, 8, 2, 2], 1, &[32]), None);
        assert_eq!(map(&[1, 8], 1, &[8]), None);
        assert_eq!(map(&[1, 8, 0], 1, &[1, 0]), None);
    }
}
