//! The method of Xu et al. (CVPR 2019): a subsidiary network of one mask parameter per filter,
//! learned layer by layer, from the bottom up, on a frozen main network; and rules that choose
//! filters without learning, for comparison.
//!
//! [`units`] says what is masked together, [`outlook`] how much of it may go, [`learn`] runs the schedule, a stage a unit: train the
//! mask, fix it, retrain the layers from there on. [`sanity`] checks beforehand that model and
//! data fit. The result is a [`crate::rewrite::FilterMasks`] and a retrained network; removing the
//! filters is not done here.

mod allocation;
mod average;
mod error;
mod evaluate;
pub mod mask;
mod options;
mod outlook;
mod prefix;
mod readings;
mod resume;
mod retrain;
pub mod rules;
pub mod sanity;
mod schedule;
mod stage;
mod state;
mod teacher;
mod trainer;
mod training;
mod units;

pub use error::TrainError;
pub use evaluate::JUDGE_IMAGES;
pub use options::{Amount, Decay, MainOptimizer, Options, Rule, Selector};
pub use outlook::{Outlook, outlook};
pub use prefix::CacheUse;
pub use retrain::{EpochReport, Retrained, TrainOptions, native_predictions, retrain};
pub use schedule::{Control, Learned, learn};
pub use stage::StageReport;
pub use units::{Excluded, Unit, units};
