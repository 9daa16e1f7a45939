//! Which option has an effect on which run: one that has none is an error, not ignored.
//!
//! Every argument stands in a table with what it needs; a test fails for one that does not. What
//! depends on the model or the images is checked where these are known.

use super::args::SYNTHETIC;
use super::options::is_given;
use crate::error::Error;
use crate::forms;
use crate::subsidiary::rule;
use clap::ArgMatches;

/// Why an option would do nothing in such a run; `None` if it does something.
type Need = fn(&Given<'_>) -> Option<String>;
/// Arguments by name, each with what it needs.
type Group = &'static [(&'static str, Need)];
/// The arguments of a command, those that commands share in groups.
type Table = &'static [Group];

/// The arguments of a run.
struct Given<'m>(&'m ArgMatches);

/// Checks the arguments that were given.
///
/// # Errors
/// Names the first that would do nothing, and says why.
pub fn check(matches: &ArgMatches) -> Result<(), Error> {
    let (table, matches) = match matches.subcommand() {
        Some((name, matches)) => (table_of(name), matches),
        None => (MAIN, matches),
    };
    let given = Given(matches);
    for (name, need) in table.iter().copied().flatten() {
        if given.has(name)
            && let Some(why) = need(&given)
        {
            let option = option_of(name);
            return Err(Error::Usage(format!("{option} has no effect here: {why}")));
        }
    }
    Ok(())
}

fn table_of(command: &str) -> Table {
    match command {
        "eval" => EVAL,
        "verify" => VERIFY,
        "check" => CHECK,
        "convert" => CONVERT,
        "train" => TRAIN,
        "compare" => COMPARE,
        "inspect" => INSPECT,
        "completions" => COMPLETIONS,
        "man" => MAN,
        _ => &[],
    }
}

/// Sizes of what the model leaves free.
const SIZES: Group = &[("input_shape", always), ("dim", always)];

/// Images to learn from and to validate on.
const LEARNED_FROM: Group = &[
    ("data", always),
    ("synthetic_images", synthetic),
    ("val", data),
    ("val_split", val_split),
];

/// How images are read.
const IMAGES: Group = &[
    ("classes", data),
    ("scale", data),
    ("mean", data),
    ("std", data),
    ("channels", data),
    ("resize", data),
    ("crop", data),
    ("preprocessor", data),
    ("images_mb", data),
    ("skip_bad", data),
];

/// How images to learn from vary, in commands that do nothing but learn.
const VARIED: Group = &[
    ("flip", data),
    ("crop_padding", data),
    ("random_crop", data),
    ("colour_jitter", data),
];

/// Who runs models.
const RUNTIME: Group = &[
    ("runtime", always),
    ("ort_lib", ort_lib),
    ("ops_library", ort_lib),
    ("timeout", limits),
    ("memory", limits),
    ("in_process", always),
];

/// What a command says.
const MESSAGES: Group = &[
    ("quiet", always),
    ("verbose", always),
    ("log_file", always),
    ("markdown", not_json),
];

const MAIN: Table = &[
    &[
        ("input", always),
        ("output", always),
        ("others", always),
        ("config", always),
        ("save_config", always),
        // Never without --config.
        ("unset", always),
    ],
    SIZES,
    LEARNED_FROM,
    IMAGES,
    &[
        ("flip", learning),
        ("crop_padding", learning),
        ("random_crop", learning),
        ("colour_jitter", learning),
        // Which filters go.
        ("method", method),
        ("ratio", learning),
        ("cost", by_masks),
        ("max_drop", data),
        ("like", by_rule),
        ("keep", always),
        ("round_to", always),
        ("masks", always),
        ("save_masks", saved_masks),
        ("save_masked", written),
        ("removal", choice),
        ("residual", always),
        ("normalise", normalise),
        // How masks and weights are learned.
        ("alpha", by_masks),
        ("max_share", max_share),
        ("distill", losses),
        ("stage_images", learning),
        ("mask_epochs", by_masks),
        ("main_epochs", learning),
        ("final_epochs", learning),
        ("mask_start", by_masks),
        ("mask_lr", mask_lr),
        ("main_lr", retraining),
        ("optimizer", retraining),
        ("lr_schedule", retraining),
        ("gradients", retraining),
        ("batch_size", retraining),
        ("cache_mb", cache),
        ("cache_disk_mb", cache),
        ("cache_dir", cache_dir),
        ("views", views),
        ("seed", always),
        ("threads", always),
        ("folder", kept),
        ("every", every),
    ],
    RUNTIME,
    &[
        // What is written.
        ("inference_mode", always),
        ("report", always),
        ("html", always),
        ("to", always),
        ("dry_run", always),
        ("in_place", written),
    ],
    MESSAGES,
];

const TRAIN: Table = &[
    &[("input", always), ("output", always)],
    SIZES,
    LEARNED_FROM,
    IMAGES,
    VARIED,
    &[
        ("epochs", always),
        ("lr", always),
        ("warm_up", warm_up),
        ("lr_schedule", always),
        ("optimizer", always),
        ("gradients", always),
        ("batch_size", always),
        ("seed", always),
        ("threads", always),
        ("folder", always),
        ("every", every),
    ],
    RUNTIME,
    &[("report", always), ("html", always), ("in_place", always)],
    MESSAGES,
];

const COMPARE: Table = &[
    &[("input", always)],
    SIZES,
    LEARNED_FROM,
    IMAGES,
    VARIED,
    &[
        ("methods", always),
        ("ratios", always),
        ("seeds", always),
        ("only", always),
        ("keep", always),
        ("cost", always),
        ("max_share", always),
        ("distill", always),
        ("stage_images", always),
        ("mask_epochs", always),
        ("main_epochs", always),
        ("final_epochs", always),
        ("mask_start", compared_masks),
        ("mask_lr", always),
        ("main_lr", always),
        ("optimizer", always),
        ("lr_schedule", always),
        ("gradients", always),
        ("batch_size", always),
        ("cache_mb", compared_cache),
        ("cache_disk_mb", compared_cache),
        ("cache_dir", compared_cache),
        ("views", compared_views),
        ("threads", always),
        ("folder", always),
        ("every", every),
    ],
    RUNTIME,
    &[("report", always), ("html", always)],
    MESSAGES,
];

const EVAL: Table = &[
    &[("model", always)],
    SIZES,
    &[("data", always)],
    IMAGES,
    RUNTIME,
    &[
        ("threads", ort_threads),
        ("batch", always),
        ("runs", always),
        ("warm_up", always),
        ("json", always),
    ],
    MESSAGES,
];

const VERIFY: Table = &[
    &[("reference", always), ("candidate", always)],
    SIZES,
    &[("data", always)],
    IMAGES,
    RUNTIME,
    &[
        ("atol", always),
        ("rtol", always),
        ("seed", random_inputs),
        ("json", always),
    ],
    MESSAGES,
];

const CONVERT: Table = &[
    &[("input", always), ("output", always), ("to", always)],
    SIZES,
    &[("data", always)],
    IMAGES,
    RUNTIME,
    &[
        ("report", always),
        ("html", always),
        ("in_place", always),
        ("seed", random_inputs),
    ],
    MESSAGES,
];

const CHECK: Table = &[
    &[
        ("paths", always),
        ("baseline", always),
        ("write_baseline", always),
        ("junit", always),
        ("json", always),
    ],
    SIZES,
    &[("seed", always)],
    RUNTIME,
    MESSAGES,
];

const INSPECT: Table = &[
    &[("model", always), ("json", always), ("markdown", not_json)],
    SIZES,
];

const COMPLETIONS: Table = &[&[("shell", always)]];

const MAN: Table = &[&[("folder", always)]];

impl Given<'_> {
    /// Whether the user gave it.
    fn has(&self, name: &str) -> bool {
        is_given(self.0, name)
    }

    /// Its value as typed.
    fn text(&self, name: &str) -> Option<String> {
        let mut values = self.0.try_get_raw(name).ok()??;
        Some(values.next()?.to_string_lossy().into_owned())
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name).as_deref() == Some(value)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    fn varied(&self) -> bool {
        let some = ["flip", "random_crop", "colour_jitter"];
        some.iter().any(|name| self.has(name))
            || self.number("crop_padding").is_some_and(|n| n > 0.0)
    }
}

/// The option as a user types it.
pub(super) fn option_of(name: &str) -> String {
    match name {
        "folder" => "--checkpoint".to_owned(),
        "every" => "--checkpoint-every".to_owned(),
        "paths" | "model" | "input" | "output" | "reference" | "candidate" => name.to_uppercase(),
        _ => format!("--{}", name.replace('_', "-")),
    }
}

fn unless(fine: bool, why: &str) -> Option<String> {
    (!fine).then(|| why.to_owned())
}

fn always(_: &Given<'_>) -> Option<String> {
    None
}

fn not_json(g: &Given<'_>) -> Option<String> {
    unless(!g.has("json"), "--json prints JSON")
}

fn data(g: &Given<'_>) -> Option<String> {
    unless(
        g.has("data"),
        "it is about the images of --data, which is not given",
    )
}

/// Images are made.
fn synthetic(g: &Given<'_>) -> Option<String> {
    unless(
        g.is("data", SYNTHETIC),
        "images are made only with --data synthetic",
    )
}

fn val_split(g: &Given<'_>) -> Option<String> {
    data(g).or_else(|| unless(!g.has("val"), "the validation images are those of --val"))
}

/// Something is learned, or at least retrained.
fn learning(g: &Given<'_>) -> Option<String> {
    if g.has("masks") {
        return Some("with --masks nothing is learned".to_owned());
    }
    if g.is("method", "none") {
        return Some("with --method none nothing is learned".to_owned());
    }
    unless(g.has("data"), "without --data nothing is learned")
}

fn normalise(g: &Given<'_>) -> Option<String> {
    let integer = g.text("to").and_then(|name| forms::of_name(&name));
    unless(
        !integer.is_some_and(|form| form.is_integer()),
        "--to integer says the same",
    )
}

fn method(g: &Given<'_>) -> Option<String> {
    match g.is("method", "none") {
        true => None,
        false => learning(g),
    }
}

/// Filters are chosen.
fn choice(g: &Given<'_>) -> Option<String> {
    match g.has("masks") {
        true => None,
        false => learning(g).map(|_| "no filters are chosen, without --masks or --data".to_owned()),
    }
}

/// A file is written besides the report.
fn written(g: &Given<'_>) -> Option<String> {
    unless(!g.has("dry_run"), "--dry-run writes nothing but its report")
}

fn saved_masks(g: &Given<'_>) -> Option<String> {
    written(g).or_else(|| choice(g))
}

/// Learning that can be saved.
fn kept(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| unless(!g.has("dry_run"), "--dry-run trains nothing"))
}

fn by_rule(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| {
        unless(
            !g.is("method", "subsidiary"),
            "it is for rules; name one with --method",
        )
    })
}

/// Masks are learned.
fn by_masks(g: &Given<'_>) -> Option<String> {
    learning(g).or_else(|| unless(g.is("method", "subsidiary"), "a rule learns no masks"))
}

fn max_share(g: &Given<'_>) -> Option<String> {
    by_masks(g).or_else(|| {
        let (most, ratio) = (g.number("max_share")?, g.number("ratio")?);
        unless(
            most >= ratio,
            "--ratio asks for more than --max-share allows in any layer; lower the one or raise the other",
        )
    })
}

fn mask_lr(g: &Given<'_>) -> Option<String> {
    by_masks(g).or_else(|| {
        unless(
            g.number("mask_epochs") != Some(0.0),
            "--mask-epochs 0 trains no masks",
        )
    })
}

/// There are steps of training.
fn retraining(g: &Given<'_>) -> Option<String> {
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
fn losses(g: &Given<'_>) -> Option<String> {
    let by_loss = g.text("method").and_then(|name| rule(&name));
    match by_loss.is_some_and(|rule| rule.uses_loss()) {
        true => learning(g),
        false => retraining(g),
    }
}

/// Something of frozen layers can be kept.
fn cache(g: &Given<'_>) -> Option<String> {
    retraining(g).or_else(|| {
        unless(
            !g.varied() || g.has("views"),
            "images that vary in a new way each epoch leave nothing to keep; give --views as well",
        )
    })
}

/// Masks are learned in some run.
fn compared_masks(g: &Given<'_>) -> Option<String> {
    let listed = g.0.try_get_raw("methods").ok().flatten();
    let learned = listed.is_none_or(|mut methods| methods.any(|m| m == "subsidiary"));
    unless(learned, "no method among --methods learns masks")
}

fn compared_cache(g: &Given<'_>) -> Option<String> {
    unless(
        !g.varied() || g.has("views"),
        "images that vary in a new way each epoch leave nothing to keep; give --views as well",
    )
}

fn compared_views(g: &Given<'_>) -> Option<String> {
    unless(
        g.varied(),
        "images vary only with --flip, --crop-padding, --random-crop or --colour-jitter",
    )
}

fn cache_dir(g: &Given<'_>) -> Option<String> {
    cache(g).or_else(|| {
        unless(
            g.number("cache_disk_mb") != Some(0.0),
            "--cache-disk-mb 0 leaves nothing to be kept there",
        )
    })
}

fn views(g: &Given<'_>) -> Option<String> {
    retraining(g).or_else(|| {
        unless(
            g.varied(),
            "images vary only with --flip, --crop-padding, --random-crop or --colour-jitter",
        )
    })
}

fn every(g: &Given<'_>) -> Option<String> {
    unless(g.has("folder"), "nothing is saved without --checkpoint")
}

fn warm_up(g: &Given<'_>) -> Option<String> {
    let (rise, epochs) = (g.number("warm_up")?, g.number("epochs")?);
    unless(
        rise < epochs,
        "the learning rate would rise through all --epochs; give fewer epochs of --warm-up",
    )
}

fn ort_lib(g: &Given<'_>) -> Option<String> {
    unless(
        !g.is("runtime", "tract"),
        "--runtime tract needs no library",
    )
}

fn ort_threads(g: &Given<'_>) -> Option<String> {
    unless(!g.is("runtime", "tract"), "tract runs on one thread")
}

fn limits(g: &Given<'_>) -> Option<String> {
    unless(
        !g.has("in_process"),
        "--in-process runs models without limits",
    )
}

fn random_inputs(g: &Given<'_>) -> Option<String> {
    unless(!g.has("data"), "the inputs are the images of --data")
}

#[cfg(test)]
mod tests;
