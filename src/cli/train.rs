//! `train`: from arguments to a job, and from its report to text.

use std::ffi::OsString;

use crate::checkpoint::{self, Plan};
use crate::error::Error;
use crate::page;
use crate::pipeline::{self, TrainJob};
use crate::subsidiary::TrainOptions;

use super::Printed;
use super::args::TrainArgs;
use super::host::{Host, Outcome};
use super::isolate::tried;
use super::shared::{also_written, concluded, decay, precision, words, write_page, write_report};
use super::targets::{self, Targets};

/// Trains a network as it is.
pub fn run(args: &TrainArgs, line: &[OsString], host: &Host<'_>) -> Printed {
    let data = &args.images;
    let beside = [
        ("--report", args.run.report.as_deref()),
        ("--html", args.run.html.as_deref()),
        ("--save-config", args.config.save_config.as_deref()),
    ];
    let writes = targets::check(&Targets {
        input: &args.input,
        output: Some(&args.output),
        in_place: args.run.in_place,
        reads: vec![
            ("--data", data.data.data.as_deref()),
            ("--val", data.val.as_deref()),
            ("--classes", data.data.classes.as_deref()),
            ("--preprocessor", data.data.preprocessor.as_deref()),
            ("--config", args.config.config.as_deref()),
            ("--ort-lib", args.runtime.ort_lib.as_deref()),
        ],
        writes: beside.to_vec(),
        checkpoint: args.checkpoint.folder.as_deref(),
    })?;
    let on_stdout = targets::on_stdout(&writes);
    let source = data
        .source()?
        .ok_or_else(|| Error::Usage("train needs --data: labelled images".to_owned()))?;
    let job = TrainJob {
        input: args.input.clone(),
        output: args.output.clone(),
        source,
        sizes: args.shape.sizes(),
        options: TrainOptions {
            epochs: args.epochs,
            lr: args.lr,
            warm_up: args.warm_up,
            lr_schedule: decay(args.lr_schedule),
            optimizer: args.optimizer.0,
            gradients: precision(args.gradients),
            batch_size: args.batch_size,
            seed: args.run.seed,
        },
        writes,
        checkpoint: args.checkpoint.folder.as_ref().map(|folder| Plan {
            folder: folder.clone(),
            every: args.checkpoint.every,
        }),
    };
    let observer = host.observer;
    if host.processes.rank() > 0 {
        pipeline::follow_training(&job, observer, host.processes)?;
        return Ok(Outcome::default());
    }
    let open = || {
        tried(
            &args.runtime,
            host,
            &args.input,
            &job.sizes,
            Some(&job.source),
        )
    };
    let mut report = pipeline::train_among(&job, open, observer, host.processes)
        .map_err(|e| e.about(&args.input))?;
    report.run.command = words(line);
    let reported = write_report(args.run.report.as_deref(), &report);
    let paged = write_page(args.run.html.as_deref(), || page::of_training(&report));
    if let Some(plan) = job
        .checkpoint
        .as_ref()
        .filter(|_| reported.is_ok() && paged.is_ok())
        && let Err(e) = checkpoint::remove(&plan.folder)
    {
        observer.warn(&e.to_string());
    }
    let mut screen = report.render();
    let [report_file, page_file, _] = beside;
    also_written(
        &mut screen,
        &[(report_file, reported.is_ok()), (page_file, paged.is_ok())],
    );
    Ok(concluded(screen, 0, on_stdout, reported)?.and(paged))
}
