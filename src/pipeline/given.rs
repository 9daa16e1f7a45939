//! Layers that the user names, in masks files and by `--keep`: do they fit the model?

use std::path::Path;

use super::{Choice, Job, View};
use crate::error::Error;
use crate::rewrite::FilterMasks;
use crate::subsidiary::{Amount, Selector};

/// Checks every layer that the job names, before any work; the masks to apply, if it gives some.
pub(super) fn check(job: &Job, view: &View<'_>) -> Result<Option<FilterMasks>, Error> {
    for name in &job.keep {
        if view.analysis.filters(name).is_none() {
            return Err(Error::unsuitable(
                &job.input,
                format!(
                    "--keep {name}: there is no such layer{}; `onnx-bnnprune inspect` lists them",
                    view.analysis.did_you_mean(name)
                ),
            ));
        }
    }
    let fit = |path: &Path, masks: &FilterMasks| {
        masks.validate(&view.analysis).map_err(|e| Error::Rewrite {
            path: path.to_owned(),
            source: e.into(),
        })
    };
    match &job.choice {
        Choice::Nothing => Ok(None),
        Choice::Masks(path) => {
            let masks = FilterMasks::load(path)?;
            fit(path, &masks)?;
            let mut pruned = masks.layers.iter().filter(|(_, m)| !m.pruned.is_empty());
            match pruned.find(|(name, _)| job.keep.contains(name)) {
                None => Ok(Some(masks)),
                Some((name, _)) => Err(Error::unsuitable(
                    path,
                    format!("prunes filters of '{name}', which --keep {name} keeps; leave one out"),
                )),
            }
        }
        Choice::Learn(tuning) => {
            if let Some(Selector::Rule {
                amount: Amount::Like { path, masks },
                ..
            }) = &tuning.selector
            {
                fit(path, masks)?;
            }
            Ok(None)
        }
    }
}
