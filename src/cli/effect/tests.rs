//! What does nothing is refused, what does something is not.

use super::*;
use crate::cli::args::Cli;
use clap::CommandFactory as _;

fn checked(line: &str) -> Result<(), String> {
    let words = std::iter::once("onnx-bnnprune").chain(line.split_whitespace());
    let matches = Cli::command().try_get_matches_from(words).unwrap();
    check(&matches, &matches).map_err(|e| e.to_string())
}

#[test]
fn every_argument_says_what_it_needs() {
    let cli = Cli::command();
    let named = |table: Table, command: &clap::Command| {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            let known = table.iter().copied().flatten().any(|(n, _)| *n == name);
            let own = matches!(name, "help" | "version");
            let which = command.get_name();
            assert!(known || own, "{which}: '{name}' is in no table of effects");
        }
        for (name, _) in table.iter().copied().flatten() {
            let there = command.get_arguments().any(|a| a.get_id() == name);
            assert!(there, "{}: there is no '{name}'", command.get_name());
        }
    };
    named(tables::MAIN, &cli);
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        let table = tables::of(command.get_name());
        assert!(!table.is_empty(), "{} has no table", command.get_name());
        named(table, command);
    }
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    for (line, option, word) in [
        ("a b --ratio 0.3", "--ratio", "--data"),
        ("a b --alpha 0.3", "--alpha", "--data"),
        ("a b --flip", "--flip", "--data"),
        ("a b --method magnitude", "--method", "--data"),
        ("a b --mean 0.5", "--mean", "--data"),
        ("a b --val v", "--val", "--data"),
        ("a b --removal fold", "--removal", "no filters"),
        ("a b --save-masks m", "--save-masks", "no filters"),
        (
            "a b --data d --method none --alpha 1",
            "--alpha",
            "--method none",
        ),
        ("a b --data d --masks m --mask-lr 1", "--mask-lr", "--masks"),
        ("a b --masks m --flip", "--flip", "--masks"),
        (
            "a b --data d --val v --val-split 0.2",
            "--val-split",
            "--val",
        ),
        ("a b --data d --views 4", "--views", "--flip"),
        (
            "a b --data d --views 4 --crop-padding 0",
            "--views",
            "--flip",
        ),
        (
            "a b --data d --method random --mask-epochs 3",
            "--mask-epochs",
            "rule",
        ),
        ("a b --data d --like m", "--like", "rules"),
        (
            "a b --data d --mask-epochs 0 --mask-lr 1",
            "--mask-lr",
            "--mask-epochs 0",
        ),
        (
            "a b --data d --max-share 0.1 --ratio 0.3",
            "--max-share",
            "--ratio",
        ),
        ("a b --data d --flip --cache-mb 9", "--cache-mb", "--views"),
        (
            "a b --data d --cache-disk-mb 0 --cache-dir x",
            "--cache-dir",
            "--cache-disk-mb",
        ),
        (
            "a b --data d --checkpoint-every 3",
            "--checkpoint-every",
            "--checkpoint",
        ),
        ("a b --checkpoint c", "--checkpoint", "--data"),
        (
            "a b --data d --dry-run --checkpoint c",
            "--checkpoint",
            "--dry-run",
        ),
        (
            "a b --data d --dry-run --save-masks m",
            "--save-masks",
            "--dry-run",
        ),
        (
            "a b --masks n --dry-run --save-masks m",
            "--save-masks",
            "--dry-run",
        ),
        (
            "a b --dry-run --save-masked m",
            "--save-masked",
            "--dry-run",
        ),
        ("a a --dry-run --in-place", "--in-place", "--dry-run"),
        ("a b --runtime tract --ort-lib l", "--ort-lib", "tract"),
        ("a b --in-process --timeout 3", "--timeout", "--in-process"),
        (
            "a b --data d --method random --ratio 0.2 --main-epochs 0 --final-epochs 0 --main-lr 1",
            "--main-lr",
            "retrain nothing",
        ),
        (
            "a b --data d --method hamming --ratio 0.2 --main-epochs 0 --final-epochs 0 --distill 0.2",
            "--distill",
            "retrain nothing",
        ),
        (
            "a b --data d --method random --ratio 0.2 --mask-start magnitude",
            "--mask-start",
            "a rule learns no masks",
        ),
        (
            "compare a --data d --methods random --mask-start magnitude",
            "--mask-start",
            "--methods",
        ),
        ("verify a b --data d --seed 3", "--seed", "--data"),
        (
            "convert a b --to packed --data d --seed 3",
            "--seed",
            "--data",
        ),
        ("convert a b --to packed --mean 1", "--mean", "--data"),
        (
            "a b --to integer --normalise",
            "--normalise",
            "--to integer",
        ),
        ("a b --to ops --normalise", "--normalise", "--to ops"),
        ("a b --masks m --data d --seed 3", "--seed", "--data"),
        ("verify a b --crop 3", "--crop", "--data"),
        (
            "eval a --data d --runtime tract --threads 2",
            "--threads",
            "tract",
        ),
        (
            "check a --in-process --memory 3",
            "--memory",
            "--in-process",
        ),
        ("train a b --data d --warm-up 10", "--warm-up", "--epochs"),
        (
            "train a b --data d --checkpoint-every 3",
            "--checkpoint-every",
            "--checkpoint",
        ),
    ] {
        let error = checked(line).expect_err(line);
        assert!(
            error.starts_with(option) && error.contains(word),
            "{line}: {error}"
        );
    }
}

#[test]
fn options_that_do_something_pass() {
    for line in [
        "a b",
        "a b --method none",
        "a b --seed 3 --residual scatter --round-to 8 --keep l",
        "a b --masks m --removal fold --save-masks n --data d --mean 0.5",
        "a b --data d --ratio 0.3 --max-share 0.3 --flip --views 3 --cache-mb 9",
        "a b --data d --method random --ratio 0.3 --main-lr 0.1",
        "a b --data d --method taylor --ratio 0.2 --main-epochs 0 --final-epochs 0 --distill 0.2",
        "a b --data d --checkpoint c --checkpoint-every 3",
        "a b --data d --dry-run --report r --mask-epochs 3 --timeout 3",
        "verify a b --seed 3",
        "a b --masks m --seed 3",
        "a b --masks m --data d --val-split 0.2 --seed 3",
        "a b --method none --data synthetic --seed 3",
        "convert a b --to qonnx --seed 3",
        "a b --to packed --normalise",
        "train a b --data d --epochs 20 --warm-up 10 --flip",
        "check a --timeout 3",
    ] {
        checked(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}
