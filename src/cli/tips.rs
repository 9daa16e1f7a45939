//! Tips for what other tools call otherwise, and for commands with a slip in their names.

use std::path::Path;

use clap::CommandFactory as _;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;

/// What users type, and what does that here.
const TIPS: &[(&[&str], &str)] = &[
    (
        &["--epochs", "--epoch", "--num-epochs", "-e"],
        "--mask-epochs and --main-epochs are for each layer, --final-epochs for all at the end",
    ),
    (
        &["--lr", "--learning-rate"],
        "--mask-lr is for masks, --main-lr for retraining",
    ),
    (
        &["-o", "--out", "--output"],
        "the output is the second argument: onnx-bnnprune IN.onnx OUT.onnx",
    ),
    (
        &["-i", "--in", "--input", "--model"],
        "the model is the first argument: onnx-bnnprune IN.onnx OUT.onnx",
    ),
    (
        &[
            "--sparsity",
            "--amount",
            "--prune-ratio",
            "--pruning-ratio",
            "--share",
        ],
        "--ratio is the share of filters that goes",
    ),
    (
        &[
            "--dataset",
            "--images",
            "--train",
            "--calibration-data",
            "-d",
        ],
        "--data names the images",
    ),
    (
        &["--validation", "--test", "--valid"],
        "--val names validation images",
    ),
    (
        &["--batch", "--bs", "-b"],
        "--batch-size is the number of images a step",
    ),
    (
        &["--workers", "--jobs", "-j", "--num-threads"],
        "--threads is the number of threads",
    ),
    (
        &["--force", "--overwrite", "-f", "-y"],
        "an existing output is replaced anyway; --in-place is for writing to the input",
    ),
    (
        &["--device", "--gpu", "--cuda"],
        "everything runs on the CPU, on all cores unless --threads says otherwise",
    ),
    (&["--format", "--form"], "--to names the form written"),
    (
        &["--exclude", "--ignore", "--skip"],
        "--keep names layers whose filters stay",
    ),
    (
        &["--tolerance", "--tol"],
        "`onnx-bnnprune verify` has --atol and --rtol",
    ),
    (
        &["--debug", "--log-level"],
        "--verbose says more, --log-file keeps it",
    ),
];

/// How alike a word and a command must be (Jaro-Winkler similarity, 0..1).
const ALIKE: f64 = 0.85;

/// `error` with a tip for what was typed, if there is one.
pub fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let typed = typed.split('=').next().unwrap_or_default();
    let tip = TIPS.iter().find(|(names, _)| names.contains(&typed));
    if let Some((_, text)) = tip {
        let tip = StyledStr::from(*text);
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Why `typed` as the first argument is a command with a slip in its name, and no model.
pub fn misspelt_command(typed: &str) -> Option<String> {
    if typed.is_empty() || typed.starts_with('-') || Path::new(typed).exists() {
        return None;
    }
    if Path::new(typed).extension().is_some() {
        return None;
    }
    let command = Cli::command();
    let names = command.get_subcommands().filter(|c| !c.is_hide_set());
    let near = names.map(|c| (strsim::jaro_winkler(typed, c.get_name()), c.get_name()));
    let (alike, name) = near.max_by(|a, b| a.0.total_cmp(&b.0))?;
    // The very name is a command, and comes here only behind options.
    let slip = (ALIKE..1.0).contains(&alike);
    slip.then(|| {
        format!("'{typed}' is no command and no model; did you mean `onnx-bnnprune {name}`?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tips_are_for_what_there_is_not_and_name_what_there_is() {
        let main = crate::cli::options(None).unwrap();
        let is_option = |name: &str| main.iter().any(|o| o.name == name);
        for (names, tip) in TIPS {
            for name in *names {
                assert!(!is_option(name.trim_start_matches('-')), "{name} exists");
            }
            for word in tip.split([' ', ',', ':']).filter(|w| w.starts_with("--")) {
                let name = &word[2..];
                let elsewhere = ["atol", "rtol"].contains(&name);
                assert!(is_option(name) || elsewhere, "{word} in '{tip}'");
            }
        }
    }

    #[test]
    fn slips_are_told_from_models() {
        let said = misspelt_command("inspec").unwrap();
        assert!(said.contains("`onnx-bnnprune inspect`"), "{said}");
        assert!(misspelt_command("comapre").is_some());
        for model in ["inspect.onnx", "Cargo.toml", "net", "src", "--data"] {
            assert_eq!(misspelt_command(model), None, "{model}");
        }
    }
}
