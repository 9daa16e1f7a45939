//! Which channels of the masked model are left in the pruned one, as a comparison of the two needs to know.

use crate::qonnx::Lowered;
use crate::rewrite::Eliminated;
use crate::verify::KeptChannels;

/// Which channels each tensor of the pruned model has kept, those included that were `lowered` for the runtime.
pub(super) fn kept_channels(eliminated: &Eliminated, lowered: [&Lowered<'_>; 2]) -> KeptChannels {
    let mut map = KeptChannels::default();
    for (tensor, cut) in &eliminated.channels {
        map.insert(tensor.clone(), cut.axis, cut.kept.clone());
    }
    for (tensor, of) in lowered.iter().flat_map(|l| &l.added) {
        if let Some(cut) = eliminated.channels.get(of) {
            map.insert(tensor.clone(), cut.axis, cut.kept.clone());
        }
    }
    map
}
