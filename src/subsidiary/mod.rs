//! The method of Xu et al. (CVPR 2019): a subsidiary network of one mask parameter per filter,
//! learned layer by layer, from the bottom up, on a frozen main network; and rules that choose
//! filters without learning, for comparison.
//!
//! [`mask_groups()`] says what is masked together, [`outlook()`] how much of it may go, [`learn`] runs the
//! schedule, a stage a group: train the
//! mask, fix it, retrain the layers from there on. [`sanity`] checks beforehand that model and
//! data fit. The result is a [`crate::rewrite::FilterMasks`] and a retrained network; removing the
//! filters is not done here.

mod allocation;
#[cfg(test)]
mod among_tests;
mod average;
mod best_epoch;
mod budget;
mod cost;
mod error;
mod evaluate;
mod even_parts;
pub mod mask;
mod mask_groups;
mod objective;
mod options;
mod outlook;
mod param_values;
mod prefix;
mod readings;
mod resume;
mod retrain;
pub mod rules;
pub mod sanity;
mod schedule;
mod select;
mod shared_weights;
mod shrinking;
mod span;
mod stage;
mod state;
mod teacher;
mod temperature;
mod trainer;
mod training;

pub use budget::{Attempt, within_budget};
pub use cost::{Cost, most_that_can_go};
pub use error::TrainError;
pub use evaluate::JUDGE_IMAGES;
pub use even_parts::EvenParts;
pub use mask_groups::{Excluded, Grouping, MaskGroup, mask_groups};
pub use options::{Amount, Decay, Options, Selector};
pub use outlook::{Outlook, outlook};
pub use prefix::CacheUse;
pub use retrain::{
    EpochReport, NativePredictions, Retrained, TrainOptions, native_predictions, retrain,
};
pub use schedule::{Control, Learned, Subject, learn};
pub use select::{RULES, Rule, RuleContext, rule};
pub use stage::StageReport;
