//! Backward: which classes something reads, and so have to stay.

use std::collections::{BTreeMap, BTreeSet};

use super::Analysis;
use super::analysis::Scattered;
use super::classes::ChannelClass;
use super::rules::{Channels, Mixing};
use super::state::State;
use crate::graph::NodeId;

/// Why a class stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stays {
    /// Something forbids cutting it ([`super::classes::ChannelClasses::why_blocked`]).
    Blocked,
    /// The user keeps its layer whole ([`super::EliminateOptions::keep`]).
    Kept,
    /// A tensor would be left without channels.
    Last,
    /// The groups of a grouped convolution would differ in size.
    Even(NodeId),
    /// Added to a stream that stays, which it is not worth scattering into.
    Coupled(NodeId),
    /// Their number would not be a multiple of what was asked for.
    Rounded,
    /// A layer reads it, as this.
    Read(NodeId, State),
}

/// What was decided on the way to a solution.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// Channel classes that stay though nothing reads them, and why.
    pub more: BTreeMap<ChannelClass, Stays>,
    /// An `Add` or `Mul` and which of its operands keeps the channels of the stream.
    pub no_scatter: BTreeSet<(NodeId, usize)>,
    /// Convolutions that get no border map.
    pub no_map: BTreeSet<NodeId>,
}

/// For each class (by representative) why it stays; `None` if it goes.
pub(super) type Solution = Vec<Option<Stays>>;

/// The fewest classes that must stay: assume that none is needed, and add those that a needed filter
/// reads until nothing changes.
pub(super) fn solve(a: &Analysis, decisions: &Decisions) -> Solution {
    let mut stays: Solution = (0..a.classes.len())
        .map(|u| a.classes.why_blocked(u).map(|_| Stays::Blocked))
        .collect();
    for (&u, &why) in &decisions.more {
        stays[a.classes.find(u)].get_or_insert(why);
    }
    let layers: Vec<_> = a
        .mixing()
        .filter_map(|(l, m, out)| Some((l.node, m, a.tensors[m.data?.0].as_ref()?, out)))
        .collect();
    for (node, total, data) in a.totals() {
        for (&u, &state) in data.classes.iter().zip(&data.states) {
            if !total.absorbs(state) {
                stays[a.classes.find(u)].get_or_insert(Stays::Read(node, state));
            }
        }
    }
    loop {
        let mut changed = false;
        for &(node, mixing, data, out) in layers.iter().rev() {
            let rows: Vec<usize> = (0..out.classes.len())
                .filter(|&o| stays[a.classes.find(out.classes[o])].is_some())
                .collect();
            for (i, (&u, &state)) in data.classes.iter().zip(&data.states).enumerate() {
                let root = a.classes.find(u);
                let read = || rows.iter().any(|&o| mixing.reads(o, i));
                if stays[root].is_none()
                    && !absorbs(mixing, state, decisions.no_map.contains(&node))
                    && read()
                {
                    stays[root] = Some(Stays::Read(node, state));
                    changed = true;
                }
            }
        }
        for s in &a.scattered {
            let n = s.node;
            let together = decisions.no_scatter.contains(&(n, s.input));
            for (operand, stream, state) in pairs(a, s) {
                let read = stays[stream].is_some() && stays[operand].is_none();
                if read && (together || state.constant().is_none()) {
                    stays[operand] = Some(match state.constant() {
                        Some(_) => Stays::Coupled(n),
                        None => Stays::Read(n, state),
                    });
                    changed = true;
                }
                if together && stays[operand].is_some() && stays[stream].is_none() {
                    stays[stream] = Some(Stays::Coupled(n));
                    changed = true;
                }
            }
        }
        if !changed {
            return stays;
        }
    }
}

/// For each channel of a scattered operand: its class, that of the stream, and what is known of it.
pub(super) fn pairs<'a>(
    a: &'a Analysis,
    s: &'a Scattered,
) -> impl Iterator<Item = (ChannelClass, ChannelClass, State)> + 'a {
    let (of, out) = (
        a.tensors[s.operand.0].as_ref(),
        a.tensors[s.stream.0].as_ref(),
    );
    s.index.iter().enumerate().filter_map(move |(j, i)| {
        let (of, out, i) = (of?, out?, (*i)?);
        let operand = a.classes.find(*of.classes.get(i)?);
        let stream = a.classes.find(*out.classes.get(j)?);
        Some((operand, stream, *of.states.get(i)?))
    })
}

/// Whether a layer can take an input channel into its bias (or a border map).
fn absorbs(mixing: &Mixing, state: State, no_map: bool) -> bool {
    state
        .constant()
        .is_some_and(|k| k.value == 0.0 || mixing.border.is_none() || !no_map)
}

/// Indices of `channels` that stay.
pub(super) fn kept(a: &Analysis, stays: &Solution, channels: &Channels) -> Vec<usize> {
    let stay = |u: ChannelClass| stays[a.classes.find(u)].is_some();
    (0..channels.classes.len())
        .filter(|&i| stay(channels.classes[i]))
        .collect()
}
