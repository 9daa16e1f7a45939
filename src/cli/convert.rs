//! `convert`: the main job with nothing pruned.

use std::ffi::OsString;

use crate::error::Error;
use crate::output::Target;
use crate::page;
use crate::pipeline::{self, Budget, Choice, DataSource, Job};
use crate::report;

use super::Printed;
use super::args::ConvertArgs;
use super::host::{Host, Outcome};
use super::isolate::tried;
use super::shared::{also_written, measured_on, words, write_page, write_report};
use super::targets::{self, Targets};

/// Writes a model in another form.
pub fn run(args: &ConvertArgs, line: &[OsString], host: &Host<'_>) -> Printed {
    let data = &args.data;
    let source = measured_on(data)?;
    let beside = [
        ("--report", args.report.as_deref()),
        ("--html", args.html.as_deref()),
    ];
    let writes = targets::check(&Targets {
        input: &args.input,
        output: Some(&args.output),
        in_place: args.in_place,
        reads: vec![
            ("--data", data.data.as_deref()),
            ("--classes", data.classes.as_deref()),
            ("--preprocessor", data.preprocessor.as_deref()),
            ("--ort-lib", args.runtime.ort_lib.as_deref()),
        ],
        writes: beside.to_vec(),
        checkpoint: None,
    })?;
    let on_stdout = targets::on_stdout(&writes);
    let job = job(args, source, writes);
    let open = || {
        tried(
            &args.runtime,
            host,
            &args.input,
            &job.sizes,
            job.source.as_ref(),
        )
    };
    let about = |e: Error| e.about(&args.input);
    let mut report = pipeline::run(&job, open, host.observer).map_err(about)?;
    report.run.command = words(line);
    let reported = write_report(args.report.as_deref(), &report);
    let paged = write_page(args.html.as_deref(), || page::of_report(&report));
    let mut screen = report::render(&report);
    let mut failures = Vec::new();
    let written = match &report.output {
        Some(file) => file.path.clone(),
        None => {
            failures.push(format!(
                "{}: written in {} form, the model computes something else; {} was not written",
                args.input.display(),
                args.to.0.name(),
                args.output.display()
            ));
            "nothing".to_owned()
        }
    };
    screen.figure("written", written);
    let [report_file, page_file] = beside;
    also_written(
        &mut screen,
        &[(report_file, reported.is_ok()), (page_file, paged.is_ok())],
    );
    let outcome = Outcome {
        screen,
        on_stderr: on_stdout,
        failures,
        code: u8::from(!report.passed()),
    };
    Ok(outcome.and(reported).and(paged))
}

fn job(args: &ConvertArgs, source: Option<DataSource>, writes: Vec<Target>) -> Job {
    Job {
        output: Some(args.output.clone()),
        form: Some(args.to.0),
        source,
        sizes: args.shape.sizes(),
        normalise: args.to.0.is_integer(),
        budget: Budget::Unlimited,
        pictures: args.html.is_some(),
        writes,
        seed: args.seed,
        ..Job::new(args.input.clone(), Choice::Form)
    }
}
