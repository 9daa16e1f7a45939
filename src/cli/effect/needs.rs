//! What arguments need: why one would do nothing in a run.

use super::Given;
use crate::cli::args::SYNTHETIC;
use crate::forms;
use crate::subsidiary::rule;

fn unless(fine: bool, why: &str) -> Option<String> {
    (!fine).then(|| why.to_owned())
}

pub(super) fn always(_: &Given<'_>) -> Option<String> {
    None
}

pub(super) fn not_json(g: &Given<'_>) -> Option<String> {
    unless(!g.has("json"), "--json prints JSON")
}

pub(super) fn data(g: &Given<'_>) -> Option<String> {
    unless(
        g.has("data"),
        "it is about the images of --data, which is not given",
    )
}

/// Images are made.
pub(super) fn synthetic(g: &Given<'_>) -> Option<String> {
    unless(
        g.is("data", SYNTHETIC),
        "images are made only with --data synthetic",
    )
}

pub(super) fn val_split(g: &Given<'_>) -> Option<String> {
    data(g).or_else(|| unless(!g.has("val"), "the validation images are those of --val"))
}

/// Something is learned, or at least retrained.
pub(super) fn learning(g: &Given<'_>) -> Option<String> {
    if g.has("masks") {
        return Some("with --masks nothing is learned".to_owned());
    }
    if g.is("method", "none") {
        return Some("with --method none nothing is learned".to_owned());
    }
    unless(g.has("data"), "without --data nothing is learned")
}

pub(super) fn normalise(g: &Given<'_>) -> Option<String> {
    let form = g.text("to").and_then(|name| forms::of_name(&name));
    let form = form.filter(|form| form.is_integer())?;
    Some(match form.name() {
        "integer" => "--to integer says the same".to_owned(),
        other => format!("--to {other} is made of the integer form anyway"),
    })
}

pub(super) fn method(g: &Given<'_>) -> Option<String> {
    match g.is("method", "none") {
        true => None,
        false => learning(g),
    }
}

/// Something is drawn at random: what learning begins with, which images are split off, or inputs.
pub(super) fn seed(g: &Given<'_>) -> Option<String> {
    let drawn = g.is("data", "synthetic") || g.has("val_split");
    match learning(g) {
        Some(_) if !drawn => random_inputs(g),
        _ => None,
    }
}

/// Filters are chosen.
pub(super) fn choice(g: &Given<'_>) -> Option<String> {
    match g.has("masks") {
        true => None,
        false => learning(g).map(|_| "no filters are chosen, without --masks or --data".to_owned()),
    }
}

/// A file is written besides the report.
pub(super) fn written(g: &Given<'_>) -> Option<String> {
    unless(!g.has("dry_run"), "--dry-run writes nothing but its report")
}

pub(super) fn saved_masks(g: &Given<'_>) -> Option<String> {
    written(g).or_else(|| choice(g))
}

/// Learning that can be saved.
pub(super) fn kept(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| unless(!g.has("dry_run"), "--dry-run trains nothing"))
}

pub(super) fn by_rule(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| {
        unless(
            !g.is("method", "subsidiary"),
            "it is for rules; name one with --method",
        )
    })
}

/// Masks are learned.
pub(super) fn by_masks(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| unless(g.is("method", "subsidiary"), "a rule learns no masks"))
}

pub(super) fn max_share(g: &Given<'_>) -> Option<String> {
    by_masks(g).or_else(|| {
        let (most, ratio) = (g.number("max_share")?, g.number("ratio")?);
        unless(
            most >= ratio,
            "--ratio asks for more than --max-share allows in any layer; lower the one or raise the other",
        )
    })
}

pub(super) fn mask_lr(g: &Given<'_>) -> Option<String> {
    by_masks(g).or_else(|| {
        unless(
            g.number("mask_epochs") != Some(0.0),
            "--mask-epochs 0 trains no masks",
        )
    })
}

/// Something is learned, or looked at, layer by layer.
pub(super) fn stages(g: &Given<'_>) -> Option<String> {
    let by_name = ["random", "magnitude", "bn-scale"];
    let looks = !by_name.iter().any(|rule| g.is("method", rule));
    learning(g).or_else(|| {
        unless(
            looks || g.number("main_epochs") != Some(0.0),
            "such a rule looks at no images, and --main-epochs 0 retrains no layer",
        )
    })
}

/// There are steps of training.
pub(super) fn retraining(g: &Given<'_>) -> Option<String> {
    let none = |name: &str| g.number(name) == Some(0.0);
    let masks = g.is("method", "subsidiary") && !none("mask_epochs");
    learning(g).or_else(|| {
        let retrained = !none("main_epochs") || !none("final_epochs");
        unless(
            retrained || masks,
            "--main-epochs 0 and --final-epochs 0 retrain nothing",
        )
    })
}

/// There are losses: of training, or of a rule.
pub(super) fn losses(g: &Given<'_>) -> Option<String> {
    let by_loss = g.text("method").and_then(|name| rule(&name));
    match by_loss.is_some_and(|rule| rule.uses_loss()) {
        true => learning(g),
        false => retraining(g),
    }
}

/// Something of frozen layers can be kept.
pub(super) fn cache(g: &Given<'_>) -> Option<String> {
    retraining(g).or_else(|| {
        unless(
            !g.varied() || g.has("views"),
            "images that vary in a new way each epoch leave nothing to keep; give --views as well",
        )
    })
}

/// Masks are learned in some run.
pub(super) fn compared_masks(g: &Given<'_>) -> Option<String> {
    let listed = g.0.try_get_raw("methods").ok().flatten();
    let learned = listed.is_none_or(|mut methods| methods.any(|m| m == "subsidiary"));
    unless(learned, "no method among --methods learns masks")
}

pub(super) fn compared_cache(g: &Given<'_>) -> Option<String> {
    unless(
        !g.varied() || g.has("views"),
        "images that vary in a new way each epoch leave nothing to keep; give --views as well",
    )
}

pub(super) fn compared_views(g: &Given<'_>) -> Option<String> {
    unless(
        g.varied(),
        "images vary only with --flip, --crop-padding, --random-crop or --colour-jitter",
    )
}

pub(super) fn cache_dir(g: &Given<'_>) -> Option<String> {
    cache(g).or_else(|| {
        unless(
            g.number("cache_disk_mb") != Some(0.0),
            "--cache-disk-mb 0 leaves nothing to be kept there",
        )
    })
}

pub(super) fn views(g: &Given<'_>) -> Option<String> {
    retraining(g).or_else(|| {
        unless(
            g.varied(),
            "images vary only with --flip, --crop-padding, --random-crop or --colour-jitter",
        )
    })
}

pub(super) fn every(g: &Given<'_>) -> Option<String> {
    unless(g.has("folder"), "nothing is saved without --checkpoint")
}

pub(super) fn warm_up(g: &Given<'_>) -> Option<String> {
    let (rise, epochs) = (g.number("warm_up")?, g.number("epochs")?);
    unless(
        rise < epochs,
        "the learning rate would rise through all --epochs; give fewer epochs of --warm-up",
    )
}

pub(super) fn ort_lib(g: &Given<'_>) -> Option<String> {
    unless(
        !g.is("runtime", "tract"),
        "--runtime tract needs no library",
    )
}

pub(super) fn ort_threads(g: &Given<'_>) -> Option<String> {
    unless(!g.is("runtime", "tract"), "tract runs on one thread")
}

pub(super) fn limits(g: &Given<'_>) -> Option<String> {
    unless(
        !g.has("in_process"),
        "--in-process runs models without limits",
    )
}

pub(super) fn random_inputs(g: &Given<'_>) -> Option<String> {
    unless(!g.has("data"), "the inputs are the images of --data")
}
