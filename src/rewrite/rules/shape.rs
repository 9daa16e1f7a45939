//! `Shape` and `Size`: what they read is no channel, but how many there are.
//!
//! Whatever is computed from them keeps the numbers of the model as it was: elimination corrects
//! them right behind the node (see [`crate::rewrite::plan`]).

use super::{Behaviour, Context};

/// Blocks nothing.
pub(super) fn shape(_: &Context<'_, '_>) -> Result<Option<Behaviour>, String> {
    Ok(None)
}
