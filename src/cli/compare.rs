//! `compare`: from arguments to a comparison, and from its outcome to a table.

use std::ffi::OsString;

use crate::checkpoint::Plan;
use crate::error::Error;
use crate::page;
use crate::pipeline::{self, Budget, Cell, Choice, Comparison, Job};
use crate::report::UNPRUNED;
use crate::subsidiary::{Amount, RULES, Rule, Selector};

use super::Printed;
use super::args::{CompareArgs, Method};
use super::host::Host;
use super::isolate::tried;
use super::shared::{concluded, words, write_page, write_report};
use super::targets::{self, Targets};

/// Compares ways of choosing filters.
pub fn run(args: &CompareArgs, line: &[OsString], host: &Host<'_>) -> Printed {
    let data = &args.images;
    let writes = targets::check(&Targets {
        input: &args.input,
        output: None,
        in_place: false,
        reads: vec![
            ("--data", data.data.data.as_deref()),
            ("--val", data.val.as_deref()),
            ("--classes", data.data.classes.as_deref()),
            ("--preprocessor", data.data.preprocessor.as_deref()),
            ("--config", args.config.config.as_deref()),
            ("--ort-lib", args.runtime.ort_lib.as_deref()),
        ],
        writes: vec![
            ("--report", args.report.as_deref()),
            ("--html", args.html.as_deref()),
            ("--save-config", args.config.save_config.as_deref()),
        ],
        checkpoint: args.checkpoint.folder.as_deref(),
    })?;
    let on_stdout = targets::on_stdout(&writes);
    let source = data
        .source()?
        .ok_or_else(|| Error::Usage("compare needs --data: images to learn from".to_owned()))?;
    let job = Job {
        source: Some(source),
        sizes: args.shape.sizes(),
        keep: args.keep.clone(),
        budget: Budget::Unlimited,
        writes,
        ..Job::new(args.input.clone(), Choice::Nothing)
    };
    let comparison = Comparison {
        job,
        tuning: args.tuning.tuning(),
        cells: cells(args)?,
        folder: args.checkpoint.folder.as_ref().map(|folder| Plan {
            folder: folder.clone(),
            every: args.checkpoint.every,
        }),
    };
    let observer = host.observer;
    let open = || {
        let (sizes, source) = (&comparison.job.sizes, comparison.job.source.as_ref());
        tried(&args.runtime, host, &args.input, sizes, source)
    };
    let mut report =
        pipeline::compare(&comparison, open, observer).map_err(|e| e.about(&args.input))?;
    report.run.command = words(line);
    let reported = write_report(args.report.as_deref(), &report);
    let paged = write_page(args.html.as_deref(), || page::of_comparison(&report));
    if let Some(plan) = comparison
        .folder
        .as_ref()
        .filter(|_| reported.is_ok() && paged.is_ok())
        && let Err(e) = pipeline::forget(&comparison, &plan.folder)
    {
        observer.warn(&e.to_string());
    }
    Ok(concluded(report.render(), 0, on_stdout, reported)?.and(paged))
}

/// Every run: the unpruned network first, then each method at each share, seed by seed; or only the
/// one that was asked for.
fn cells(args: &CompareArgs) -> Result<Vec<Cell>, Error> {
    if let Some(one) = args.only {
        let cell = match one.method {
            Some(method) => cell(method, one.ratio, one.seed)?,
            None => unpruned(one.seed),
        };
        return Ok(vec![cell]);
    }
    let mut cells = Vec::new();
    for seed in 0..args.seeds {
        cells.push(unpruned(seed));
        for &ratio in &args.ratios {
            for &method in &args.methods {
                let one = cell(method, ratio, seed)?;
                let known = |c: &Cell| c.method == one.method && c.ratio == ratio && c.seed == seed;
                // Given twice, it is run once.
                if !cells.iter().any(known) {
                    cells.push(one);
                }
            }
        }
    }
    Ok(cells)
}

/// The run of the unpruned network, retrained alike.
fn unpruned(seed: u64) -> Cell {
    Cell {
        method: UNPRUNED.to_owned(),
        ratio: 0.0,
        seed,
        selector: Selector::Rule {
            rule: RULES[0],
            // All stages retrain, all filters in place.
            amount: Amount::Ratio(0.0),
        },
    }
}

/// The run of a method.
fn cell(method: Method, ratio: f64, seed: u64) -> Result<Cell, Error> {
    let selector = match method {
        Method::Subsidiary => Selector::Subsidiary {
            ratio: Some(ratio),
            gives_back: false,
        },
        Method::Rule(chosen) => rule(chosen, ratio),
        Method::None => {
            return Err(Error::Usage(
                "--methods none: the unpruned network is always compared with".to_owned(),
            ));
        }
    };
    Ok(Cell {
        method: selector.name().to_owned(),
        ratio,
        seed,
        selector,
    })
}

/// A rule that prunes as many filters of each layer as a learned mask.
fn rule(rule: &'static dyn Rule, ratio: f64) -> Selector {
    Selector::Rule {
        rule,
        amount: Amount::Shared(ratio),
    }
}
