//! `check`.

use std::path::{Path, PathBuf};

use crate::check::{self, Baseline, CheckOptions, CheckReport, FileReport};
use crate::error::Error;
use crate::onnx::write_atomically;
use crate::output;
use crate::screen::Screen;
use crate::verify::Runtime;
use rayon::prelude::*;

use super::Printed;
use super::args::CheckArgs;
use super::host::Host;
use super::isolate::isolated;
use super::shared::{concluded, json};
use super::targets;

/// Checks every file.
pub fn run(args: &CheckArgs, host: &Host<'_>) -> Printed {
    let files = check::find(&args.paths)?;
    let models = files.iter().map(PathBuf::as_path).collect();
    let writes = targets::check_files(
        &[
            ("--junit", args.junit.as_deref()),
            ("--write-baseline", args.write_baseline.as_deref()),
        ],
        &[
            ("a model", models),
            ("--baseline", args.baseline.as_deref().into_iter().collect()),
            (
                "--ort-lib",
                args.runtime.ort_lib.as_deref().into_iter().collect(),
            ),
        ],
    )?;
    let on_stdout = targets::on_stdout(&writes);
    if on_stdout && args.json {
        return Err(Error::Usage(
            "--json prints to standard output; name a file for --junit and --write-baseline"
                .to_owned(),
        ));
    }
    let baseline = args.baseline.as_deref().map(Baseline::load).transpose()?;
    let runtime = isolated(&args.runtime, host)?;
    let options = CheckOptions {
        seed: args.seed,
        sizes: args.shape.sizes(),
        alone: files.len() == 1,
    };
    let mut reports = check_all(&files, &*runtime, &options, host)?;
    if let (Some(baseline), Some(file)) = (&baseline, &args.baseline) {
        let folder = std::env::current_dir().unwrap_or_default();
        baseline.compare(&mut reports, &args.paths, &folder, file);
    }
    let passed = reports.iter().all(|r| r.passed);
    for report in &reports {
        output::overwrites(&writes, "the weights of a model", &report.reads)?;
    }
    let written = write(args, host, &reports, passed);
    let code = u8::from(!passed);
    let annotations = match std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true") {
        true => check::annotations(&reports),
        false => String::new(),
    };
    if !args.json {
        let mut screen = check::render(&reports);
        screen.add_verbatim(annotations);
        return concluded(screen, code, on_stdout, written);
    }
    // The runner reads both streams; this one leaves the JSON to be parsed.
    eprint!("{annotations}");
    let value = CheckReport {
        runtime: runtime.name().to_owned(),
        runtime_version: runtime.version().to_owned(),
        checked: reports.len(),
        passed: reports.iter().filter(|r| r.passed).count(),
        models: reports,
    };
    let json = Screen::verbatim(json(Path::new("--json"), &value)?);
    concluded(json, code, false, written)
}

/// Writes the files that were asked for.
fn write(
    args: &CheckArgs,
    host: &Host<'_>,
    reports: &[FileReport],
    passed: bool,
) -> Result<(), Error> {
    if let Some(path) = &args.junit {
        write_atomically(path, check::junit(reports)?.as_bytes())?;
    }
    match &args.write_baseline {
        Some(path) => write_baseline(path, host, reports, passed),
        None => Ok(()),
    }
}

/// Checks the files, several at a time, in their order.
fn check_all(
    files: &[PathBuf],
    runtime: &dyn Runtime,
    options: &CheckOptions,
    host: &Host<'_>,
) -> Result<Vec<FileReport>, Error> {
    let observer = host.observer;
    observer.begin("checking", files.len() as u64);
    let checked: Result<Vec<FileReport>, Error> = files
        .par_iter()
        .map(|file| {
            if host.stopped() {
                return Err(Error::Interrupted);
            }
            let report = check::check_file(file, runtime, options);
            observer.detail(&report.path);
            observer.advance(1);
            Ok(report)
        })
        .collect();
    observer.end();
    checked
}

fn write_baseline(
    path: &Path,
    host: &Host<'_>,
    reports: &[FileReport],
    passed: bool,
) -> Result<(), Error> {
    if !passed {
        host.observer.warn(&format!(
            "{}: not written, since not all files are good",
            path.display()
        ));
        return Ok(());
    }
    for report in reports {
        if report.summary.as_ref().is_none_or(|m| m.layers.is_none()) {
            host.observer.warn(&format!(
                "{}: not pinned, since its layers could not be counted",
                report.path
            ));
        }
    }
    Ok(Baseline::of(reports).save(path)?)
}
