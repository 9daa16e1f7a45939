//! Layers that share one weight lose the same filters, or each would need a copy of it: both branches of a Siamese
//! network, a block that is run several times.

use std::collections::BTreeMap;

use super::{EvenParts, MaskGroup};
use crate::recognize::Layer;
use crate::rewrite::MaskSite;

/// The groups, which come in the order of execution, those that share weights as one: at the place of the first, and
/// masked wherever one of them was. Layers that write into a stream stay apart where they are masked apart.
pub(super) fn joined(
    groups: impl IntoIterator<Item = MaskGroup>,
    by_name: &BTreeMap<&str, &Layer>,
) -> Vec<MaskGroup> {
    let mut joined: Vec<MaskGroup> = Vec::new();
    for mut group in groups {
        let mut place = joined.len();
        // What it has in common with one may bring it together with another, further in front.
        while let Some((k, channel_in_other)) = (joined.iter().enumerate().rev())
            .find_map(|(k, other)| Some((k, common_channels(other, &group, by_name)?)))
        {
            let mut first = joined.remove(k);
            take_in(&mut first, group, &channel_in_other);
            (group, place) = (first, k);
        }
        joined.insert(place, group);
    }
    joined
}

/// For each channel of `group` that of `other` whose filter is the same one of a weight that both have; `None` if they
/// have none in common, or what their channels are tied to otherwise does not let them go together.
fn common_channels(
    other: &MaskGroup,
    group: &MaskGroup,
    by_name: &BTreeMap<&str, &Layer>,
) -> Option<Vec<usize>> {
    let free = |group: &MaskGroup| group.parts == EvenParts::one(group.filters);
    let together = !other.behind && !group.behind && other.filters == group.filters;
    if !together || !free(other) || !free(group) {
        return None;
    }
    let members = |group: &MaskGroup| -> Vec<(usize, &Layer)> {
        let names = group.class.layers.iter().enumerate();
        names
            .filter_map(|(i, name)| Some((i, *by_name.get(name.as_str())?)))
            .collect()
    };
    let (theirs, own) = (members(other), members(group));
    let pairs = own.iter().flat_map(|a| theirs.iter().map(move |b| (a, b)));
    let shared = pairs.filter(|((_, a), (_, b))| share(a, b));
    let mut found: Option<Vec<usize>> = None;
    for ((i, _), (k, _)) in shared {
        let (of_own, of_their) = (
            group.class.channel_of.get(*i)?,
            other.class.channel_of.get(*k)?,
        );
        let mut map = vec![None; group.filters];
        for (&from, &to) in of_own.iter().zip(of_their) {
            let slot = map.get_mut(from)?;
            if slot.replace(to).is_some_and(|before| before != to) {
                return None;
            }
        }
        let map: Vec<usize> = map.into_iter().collect::<Option<_>>()?;
        // Two weights in common that put channels beside each other in two ways.
        if found.as_ref().is_some_and(|before| *before != map) {
            return None;
        }
        found = Some(map);
    }
    let found = found?;
    let mut all = found.clone();
    all.sort_unstable();
    all.iter().copied().eq(0..other.filters).then_some(found)
}

/// Whether two layers' weights are one tensor, or computed alike from the same latents.
fn share(a: &Layer, b: &Layer) -> bool {
    let latent = |l: &Layer| Some(l.binary_weights.as_ref()?.latent.as_ref()?.initializer);
    let same_latents = || latent(a).is_some() && latent(a) == latent(b) && a.values == b.values;
    a.filter_axis == b.filter_axis && (a.weight == b.weight || same_latents())
}

/// Adds a group whose channels are these of the other's.
fn take_in(other: &mut MaskGroup, group: MaskGroup, channel_in_other: &[usize]) {
    let in_other = |channel: usize| channel_in_other.get(channel).copied().unwrap_or(channel);
    other.layers.extend(group.layers);
    other.nodes.extend(group.nodes);
    for mut site in group.sites {
        let own = site.filter_of.iter_mut().flatten();
        own.for_each(|filter| *filter = in_other(*filter));
        let place = |s: &MaskSite| (s.consumer, s.input, s.axis);
        match other.sites.iter_mut().find(|s| place(s) == place(&site)) {
            // Both are read there, side by side.
            Some(known) => {
                let both = known.filter_of.iter_mut().zip(site.filter_of);
                both.for_each(|(a, b)| *a = a.or(b));
            }
            None => other.sites.push(site),
        }
    }
    let class = group.class;
    other.class.layers.extend(class.layers);
    let channels = class.channel_of.into_iter();
    let channels = channels.map(|of| of.into_iter().map(in_other).collect());
    other.class.channel_of.extend(channels);
    // A channel that is constant for one reader stays as that constant for all.
    let constant = class.constant.into_iter().map(in_other);
    other.class.constant.extend(constant);
}
