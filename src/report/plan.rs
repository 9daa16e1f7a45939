//! What a dry run says: what the job would do.

use serde::{Deserialize, Serialize};

use super::text::{grouped, percent};
use super::{Report, Totals};
use crate::screen::Screen;

/// The plan of a job that was not done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PlanReport {
    /// Layers whose filters can only be cut together, where they are several.
    pub groups: Vec<Vec<String>>,
    /// The learning; absent where nothing would be learned: what the report says of the layers is
    /// then what the job itself would say.
    pub learning: Option<LearningPlan>,
}

/// The plan of learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LearningPlan {
    /// What the figures of the layers are: [`Figures::Most`] and so on.
    pub figures: Figures,
    /// Stages in their order.
    pub stages: Vec<StagePlan>,
    /// What a share of filters is a share of, as `--cost` has it: `filters`, `macs` or `bytes`.
    pub cost: String,
    /// Images to learn from.
    pub images: usize,
    /// Of these, how many each stage learns from.
    pub stage_images: usize,
    /// Images to judge by.
    pub validation_images: usize,
    /// Epochs of each stage in which its mask is trained.
    pub mask_epochs: usize,
    /// Epochs of each stage in which the network is retrained.
    pub main_epochs: usize,
    /// Epochs of the whole network at the end.
    pub final_epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Steps of all epochs.
    pub steps: usize,
    /// Roughly how long they take, from the time of a few; absent where these could not be taken.
    pub seconds: Option<f64>,
    /// Memory for activations of frozen layers at most, in MiB.
    pub cache_mb: usize,
    /// Temporary files for them at most, in MiB.
    pub cache_disk_mb: usize,
}

/// What is known of the number of filters that will go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Figures {
    /// No more than these: how many, learning will show.
    #[default]
    Most,
    /// As many in all: which layers lose more of them and which less, learning will show.
    Total,
    /// Just as many in each layer.
    Exact,
}

/// A stage of learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StagePlan {
    /// The binary layers that get one mask.
    pub layers: Vec<String>,
    /// Its filters.
    pub filters: usize,
    /// Of these, how many stay, as [`LearningPlan::figures`] says.
    pub kept: usize,
}

/// Adds the lines of a plan under the table.
pub(super) fn show(report: &Report, plan: &PlanReport, screen: &mut Screen) {
    if let Some(learning) = &plan.learning {
        learning.show(&report.totals, screen);
    }
    for group in &plan.groups {
        screen.figure("cut together", group.join(", "));
    }
}

impl LearningPlan {
    fn show(&self, totals: &Totals, screen: &mut Screen) {
        let count = |n: usize| grouped(n as u64);
        let label = match self.figures {
            Figures::Most => "can be pruned",
            Figures::Total | Figures::Exact => "would be pruned",
        };
        let what = format!(
            "{} of {} binary filters ({})",
            count(totals.filters.saturating_sub(totals.kept)),
            count(totals.filters),
            percent(totals.pruned_ratio)
        );
        let what = match self.figures {
            Figures::Most => {
                format!("at most {what}: how many, and of which layers more, learning will show")
            }
            Figures::Total => {
                format!("{what}: more where they are missed less, learning will show")
            }
            Figures::Exact => what,
        };
        let most = |of: &str, mib: usize| (mib > 0).then(|| format!("{} MiB of {of}", count(mib)));
        let room = [
            most("memory", self.cache_mb),
            most("disk", self.cache_disk_mb),
        ];
        let room: Vec<String> = room.into_iter().flatten().collect();
        screen.figure(label, what);
        if self.figures != Figures::Exact {
            let same =
                "the same share of each layer; learning takes more where filters are missed less";
            let text = match self.cost.as_str() {
                "macs" => {
                    format!("{same}, and less in all, until the share of the operations is reached")
                }
                "bytes" => format!("{same}, until the share of the bytes is reached"),
                _ => same.to_owned(),
            };
            screen.figure("the table shows", text);
        }
        let in_stage = match self.stage_images < self.images {
            true => format!(" ({} of them in each stage)", count(self.stage_images)),
            false => String::new(),
        };
        let images = format!(
            "{} to learn from{in_stage}, {} to validate on",
            count(self.images),
            count(self.validation_images)
        );
        screen.figure("images", images);
        let learning = format!(
            "{} stages of {} epochs of a mask and {} of retraining, then {} of all layers",
            self.stages.len(),
            self.mask_epochs,
            self.main_epochs,
            self.final_epochs
        );
        screen.figure("learning", learning);
        let steps = format!("{} of {} images", count(self.steps), self.batch_size);
        screen.figure("steps", steps);
        if let Some(seconds) = self.seconds {
            screen.figure("estimated time", about(seconds));
        }
        if !room.is_empty() {
            let text = format!(
                "up to {} for activations of frozen layers",
                room.join(" and ")
            );
            screen.figure("room", text);
        }
    }
}

/// A rough time in words.
fn about(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("about {} s", s.ceil()),
        s if s < 5400.0 => format!("about {:.0} minutes", s / 60.0),
        s => format!("about {:.1} hours", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rough() {
        assert_eq!(about(0.2), "about 1 s");
        assert_eq!(about(600.0), "about 10 minutes");
        assert_eq!(about(9000.0), "about 2.5 hours");
    }
}
