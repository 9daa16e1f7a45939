//! Layers that the user names, in masks files and by `--keep`: do they fit the model?

use std::path::Path;

use super::{Choice, Job, View};
use crate::error::Error;
use crate::recognize::{self, Unread};
use crate::rewrite::FilterMasks;
use crate::subsidiary::{Amount, Selector};

fn unread(view: &View<'_>) -> Vec<Unread> {
    recognize::unread(&view.graph, &view.facts, &view.layers)
}

/// Checks every layer that the job names, before any work; the masks to apply, if it gives some.
pub(super) fn check(job: &Job, view: &View<'_>) -> Result<Option<FilterMasks>, Error> {
    for name in &job.keep {
        // Nothing is taken from what is not read.
        if unread(view).iter().any(|u| &u.name == name) {
            continue;
        }
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
        for layer in masks.layers.keys() {
            if view.analysis.filters(layer).is_none()
                && let Some(found) = unread(view).into_iter().find(|u| &u.name == layer)
            {
                return Err(Error::unsuitable(
                    path,
                    format!(
                        "names '{layer}' ({}), which cannot be masked: {}",
                        found.op, found.why
                    ),
                ));
            }
        }
        masks.validate(&view.analysis).map_err(|e| Error::Rewrite {
            path: path.to_owned(),
            source: e.into(),
        })
    };
    match &job.choice {
        Choice::Form | Choice::Nothing => Ok(None),
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
