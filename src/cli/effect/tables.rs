//! The arguments of each command, and what each of them needs to do something.

use super::needs::{
    always, by_masks, by_rule, cache, cache_dir, choice, compared_cache, compared_masks,
    compared_views, data, every, kept, learning, limits, losses, mask_lr, max_share, method,
    normalise, not_json, ort_lib, ort_threads, random_inputs, retraining, saved_masks, seed,
    stages, synthetic, val_split, views, warm_up, written,
};
use super::{Group, Table};

/// The arguments of a subcommand.
pub(super) fn of(command: &str) -> Table {
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

/// Options in files.
const CONFIG: Group = &[
    ("config", always),
    ("save_config", always),
    // Never without --config.
    ("unset", always),
];

pub(super) const MAIN: Table = &[
    &[("input", always), ("output", always), ("others", always)],
    CONFIG,
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
        ("stage_images", stages),
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
        ("seed", seed),
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
    CONFIG,
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
    CONFIG,
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
