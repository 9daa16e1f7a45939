//! Layers that the user names, in masks files and by `--keep`: do they fit the model?

use std::collections::HashSet;
use std::path::Path;

use glob::Pattern;

use super::{Choice, Job, View, cut};
use crate::error::Error;
use crate::recognize::{self, Unread};
use crate::rewrite::FilterMasks;
use crate::subsidiary::{Amount, Selector};

fn unread(view: &View<'_>) -> Vec<Unread> {
    recognize::unread(&view.graph, &view.facts, &view.layers)
}

/// The layers that the job keeps as they are: those that `--keep` names, or that its patterns match.
///
/// # Errors
/// For a name or a pattern of no layer.
pub(super) fn kept(job: &Job, view: &View<'_>) -> Result<Vec<String>, Error> {
    let layers = view.layers.iter().map(|l| l.name.clone());
    // Nothing is taken from what is not read.
    let names: Vec<String> = layers
        .chain(unread(view).into_iter().map(|u| u.name))
        .collect();
    let mut kept: Vec<String> = Vec::new();
    for name in &job.keep {
        let refused = |why: String| {
            Error::unsuitable(
                &job.input,
                format!("--keep {name}: {why}; `onnx-bnnprune inspect` lists them"),
            )
        };
        if names.contains(name) {
            kept.push(name.clone());
            continue;
        }
        if !name.contains(['*', '?', '[']) {
            let near = view.analysis.did_you_mean(name);
            return Err(refused(format!("there is no such layer{near}")));
        }
        let pattern = Pattern::new(name)
            .map_err(|e| refused(format!("is no pattern of layers' names: {e}")))?;
        let before = kept.len();
        kept.extend(names.iter().filter(|n| pattern.matches(n)).cloned());
        if kept.len() == before {
            return Err(refused("no layer's name is like that".to_owned()));
        }
    }
    let mut seen = HashSet::new();
    kept.retain(|name| seen.insert(name.clone()));
    Ok(kept)
}

/// Checks every layer of the job's masks, before any work; the masks to apply, if it gives some.
pub(super) fn check(job: &Job, view: &View<'_>) -> Result<Option<FilterMasks>, Error> {
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
        let valid = masks.validate(&view.analysis);
        valid.map_err(|e| cut::rewrite_error(path, e.into()))
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
