//! The main job: from arguments to a [`Job`], and from its outcome to text.

use std::ffi::OsString;
use std::path::Path;

use crate::checkpoint::{self, Plan};
use crate::error::Error;
use crate::output::Target;
use crate::page;
use crate::pipeline::{self, Choice, Job, Tuning};
use crate::report;
use crate::rewrite::{FilterMasks, Removal, Residual};
use crate::subsidiary::{Amount, Options, Selector};
use crate::verify::{Runtime, RuntimeError};

use super::Printed;
use super::args::{Method, PruneArgs, RemovalName, ResidualName};
use super::host::{Host, Outcome};
use super::isolate::tried;
use super::shared::{also_written, words, write_page, write_report};
use super::targets::{self, Targets};

/// Prunes a model.
pub fn run(args: &PruneArgs, line: &[OsString], host: &Host<'_>) -> Printed {
    let input = args.input.clone().unwrap_or_default();
    if let Some(other) = args.others.first() {
        return Err(Error::Usage(unexpected(&input, other)));
    }
    let open = || {
        // What is wrong with the arguments is said by then.
        let source = args.images.source().ok().flatten();
        tried(
            &args.runtime,
            host,
            &input,
            &args.shape.sizes(),
            source.as_ref(),
        )
    };
    run_in(args, line, host, open).map_err(|e| e.about(&input))
}

/// The main job, verified in the runtime that `open` gives.
fn run_in(
    args: &PruneArgs,
    line: &[OsString],
    host: &Host<'_>,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
) -> Printed {
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        return Err(Error::Usage(
            "IN.onnx and OUT.onnx are needed; see --help".to_owned(),
        ));
    };
    let writes = targets::check(&targets_of(args, input, output))?;
    let observer = host.observer;
    let on_stdout = targets::on_stdout(&writes);
    let job = job(args, input, output, writes)?;
    if host.processes.rank() > 0 {
        pipeline::follow(&job, observer, host.processes)?;
        return Ok(Outcome::default());
    }
    let mut report = pipeline::run_among(&job, open, observer, host.processes)?;
    report.run.command = words(line);
    let reported = write_report(args.run.report.as_deref(), &report);
    let paged = write_page(args.run.html.as_deref(), || page::of_report(&report));
    let verified = report.passed() || report.plans_learning();
    let passed = verified && report.within_budget();
    if let Some(plan) = job
        .checkpoint
        .as_ref()
        .filter(|_| passed && reported.is_ok() && paged.is_ok())
        && let Err(e) = checkpoint::remove(&plan.folder)
    {
        observer.warn(&e.to_string());
    }
    let mut screen = report::render(&report);
    if args.run.messages.verbose {
        if !report.details.is_empty() {
            screen.blank();
            screen.line("what was changed:");
        }
        report.details.iter().for_each(|d| screen.item(d.as_str()));
    }
    let mut failures = Vec::new();
    let written = match (passed, &report.output) {
        (true, Some(file)) => file.path.clone(),
        (true, None) => "nothing (--dry-run): this is the plan".to_owned(),
        (false, _) => {
            let why = match verified {
                true => too_costly(input, &report, &job),
                false => format!(
                    "{}: the pruned model does not compute what the masked model computes",
                    input.display()
                ),
            };
            failures.push(format!("{why}; {} was not written", output.display()));
            "nothing".to_owned()
        }
    };
    screen.figure("written", written);
    let masked = report.within_budget() && !args.dry_run;
    let beside: Vec<_> = (targets_of(args, input, output).writes.into_iter())
        .map(|file| {
            let well = match file.0 {
                "--report" => reported.is_ok(),
                "--html" => paged.is_ok(),
                "--save-config" => true,
                _ => masked,
            };
            (file, well)
        })
        .collect();
    also_written(&mut screen, &beside);
    // A report that cannot be written takes nothing else with it.
    let outcome = Outcome {
        screen,
        on_stderr: on_stdout,
        failures,
        code: u8::from(!passed),
    };
    Ok(outcome.and(reported).and(paged))
}

/// Why a network is worse than its budget allows, and what to do.
fn too_costly(input: &Path, report: &report::Report, job: &Job) -> String {
    let Some(budget) = &report.budget else {
        return input.display().to_string();
    };
    let points = |share: f64| format!("{:.2}", 100.0 * share);
    let attempts = budget.attempts.iter();
    let nearest = attempts.min_by(|a, b| a.drop.total_cmp(&b.drop));
    let nearest = match nearest {
        Some(a) if budget.attempts.len() > 1 => format!(
            "; of {} attempts one with {} filters masked, for {} points, came nearest",
            budget.attempts.len(),
            a.pruned,
            points(a.drop)
        ),
        _ => String::new(),
    };
    let remedy = match &job.choice {
        Choice::Masks(_) => "leave filters out of the masks file, or allow more",
        _ => {
            "prune less (--ratio, --alpha), train longer (--final-epochs), give more images, or allow more"
        }
    };
    let saved = match &job.checkpoint {
        Some(_) => "; the same command with --max-drop none takes it from the checkpoint",
        None => "",
    };
    format!(
        "{}: without {} of {} binary filters {} falls by {} points, more than the {} of --max-drop{nearest}; {remedy}{saved}",
        input.display(),
        report.totals.filters.saturating_sub(report.totals.kept),
        report.totals.filters,
        budget.measure,
        points(budget.drop),
        points(budget.max_drop),
    )
}

/// What to say of a third argument.
fn unexpected(input: &Path, other: &Path) -> String {
    let named = input.extension().is_none() && !input.exists();
    let remedy = match named {
        true => format!(
            "'{}' is no command (see --help); the main job needs none",
            input.display()
        ),
        false => "quote names that hold spaces".to_owned(),
    };
    format!(
        "unexpected argument '{}': the main job takes IN.onnx and OUT.onnx, and {remedy}",
        other.display()
    )
}

/// The files that the job reads and writes.
fn targets_of<'a>(args: &'a PruneArgs, input: &'a Path, output: &'a Path) -> Targets<'a> {
    let data = &args.images;
    Targets {
        input,
        output: Some(output).filter(|_| !args.dry_run),
        in_place: args.run.in_place,
        reads: vec![
            ("--data", data.data.data.as_deref()),
            ("--val", data.val.as_deref()),
            ("--classes", data.data.classes.as_deref()),
            ("--preprocessor", data.data.preprocessor.as_deref()),
            ("--config", args.config.config.as_deref()),
            ("--masks", args.masks.as_deref()),
            ("--like", args.like.as_deref()),
            ("--ort-lib", args.runtime.ort_lib.as_deref()),
        ],
        writes: vec![
            ("--report", args.run.report.as_deref()),
            ("--html", args.run.html.as_deref()),
            ("--save-config", args.config.save_config.as_deref()),
            ("--save-masks", args.save_masks.as_deref()),
            ("--save-masked", args.save_masked.as_deref()),
        ],
        checkpoint: args.checkpoint.folder.as_deref(),
    }
}

fn job(args: &PruneArgs, input: &Path, output: &Path, writes: Vec<Target>) -> Result<Job, Error> {
    let mut source = args.images.source()?;
    let choice = match (&args.masks, args.method) {
        (Some(path), _) => Choice::Masks(path.clone()),
        (None, Method::None) => Choice::Nothing,
        (None, method) => Choice::Learn(Box::new(tuning(args, method)?)),
    };
    let learns = matches!(choice, Choice::Learn(_));
    if let Some(source) = source.as_mut().filter(|_| !learns) {
        // Nothing has to be kept from learning.
        source.val_split = args.images.val_split;
    }
    Ok(Job {
        input: input.to_owned(),
        output: Some(output.to_owned()),
        form: args.to.map(|form| form.0),
        dry_run: args.dry_run,
        source,
        choice,
        sizes: args.shape.sizes(),
        keep: args.keep.clone(),
        round_to: usize::try_from(args.round_to).unwrap_or(usize::MAX),
        removal: match args.removal {
            RemovalName::Drop => Removal::Drop,
            RemovalName::Fold => Removal::Fold,
        },
        normalise: args.normalise || args.to.is_some_and(|form| form.0.is_integer()),
        budget: args.max_drop.unwrap_or_default(),
        residual: match args.residual {
            ResidualName::Coupled => Residual::Coupled,
            ResidualName::Scatter => Residual::Scatter,
        },
        inference_mode: args.inference_mode,
        save_masks: args.save_masks.clone(),
        save_masked: args.save_masked.clone(),
        pictures: args.run.html.is_some(),
        writes,
        checkpoint: args.checkpoint.folder.as_ref().map(|folder| Plan {
            folder: folder.clone(),
            every: args.checkpoint.every,
        }),
        seed: args.run.seed,
    })
}

fn tuning(args: &PruneArgs, method: Method) -> Result<Tuning, Error> {
    let rule = |rule| -> Result<Selector, Error> {
        let amount = match (&args.like, args.ratio) {
            (Some(path), _) => Amount::Like {
                path: path.clone(),
                masks: FilterMasks::load(path)?,
            },
            (None, Some(r)) => Amount::Ratio(r),
            (None, None) => {
                return Err(Error::Usage(
                    "a rule needs --ratio F or --like MASKS to know how many filters to prune"
                        .to_owned(),
                ));
            }
        };
        Ok(Selector::Rule { rule, amount })
    };
    let selector = match method {
        Method::Rule(chosen) => rule(chosen)?,
        Method::Subsidiary | Method::None => {
            if args.like.is_some() {
                return Err(Error::Usage(
                    "--like is for rules; name one with --method".to_owned(),
                ));
            }
            // An --alpha decides by itself how many filters go, as in the paper.
            let usual = args.alpha.is_none().then_some(Options::FIRST_RATIO);
            Selector::Subsidiary {
                ratio: args.ratio.or(usual),
                gives_back: args.ratio.is_none(),
            }
        }
    };
    Ok(Tuning {
        selector: Some(selector),
        alpha: args.alpha,
        ..args.tuning.tuning()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::RunArgs;
    use crate::cli::host::Installation;
    use crate::onnx::proto::ModelProto;
    use crate::progress::Silent;
    use crate::verify::{OrtRuntime, Session, SessionOptions};
    use prost::Message as _;
    use std::sync::{Arc, Mutex};

    /// ONNX Runtime that sees every pruned model as if elimination had gone wrong: filters 0 and 1
    /// of its second convolution are swapped.
    struct WrongElimination {
        inner: OrtRuntime,
        masked: Mutex<Option<usize>>,
    }

    impl Runtime for WrongElimination {
        fn name(&self) -> &'static str {
            self.inner.name()
        }

        fn version(&self) -> &str {
            self.inner.version()
        }

        fn load(
            &self,
            model: &[u8],
            options: &SessionOptions,
        ) -> Result<Box<dyn Session>, RuntimeError> {
            // The masked model comes first; whatever is clearly smaller was pruned.
            let masked = *self.masked.lock().unwrap().get_or_insert(model.len());
            if model.len() * 20 > masked * 19 {
                return self.inner.load(model, options);
            }
            let mut wrong = ModelProto::decode(model).unwrap();
            swap_filters(&mut wrong);
            self.inner.load(&wrong.encode_to_vec(), options)
        }
    }

    fn swap_filters(model: &mut ModelProto) {
        let tensors = model.graph.as_mut().unwrap().initializer.iter_mut();
        let weight = tensors.filter(|t| t.dims.len() == 4).nth(1).unwrap();
        let row = weight.dims[1..].iter().product::<i64>() as usize * 4;
        let mut raw = weight.raw_data.take().unwrap().to_vec();
        let (first, second) = raw[..2 * row].split_at_mut(row);
        assert_ne!(first, second);
        first.swap_with_slice(second);
        weight.raw_data = Some(raw.into());
    }

    #[test]
    fn a_wrong_elimination_is_caught_and_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
        let page = dir.path().join("p.html");
        let pruned: Vec<usize> = (0..20).collect();
        let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
            "layers": {"/conv2/Conv": {"filters": 48, "pruned": pruned}}});
        std::fs::write(&masks, text.to_string()).unwrap();
        let args = PruneArgs {
            input: Some(root.join("fixtures/digits_vgg.onnx")),
            output: Some(out.clone()),
            masks: Some(masks),
            run: RunArgs {
                html: Some(page.clone()),
                ..RunArgs::default()
            },
            ..PruneArgs::default()
        };
        let open = |wrong: bool| -> Result<Box<dyn Runtime>, RuntimeError> {
            let inner = OrtRuntime::new(None)?;
            let masked = Mutex::new(None);
            Ok(match wrong {
                true => Box::new(WrongElimination { inner, masked }),
                false => Box::new(inner),
            })
        };
        let host = Host {
            observer: &Silent,
            stop: Arc::default(),
            installation: &Installation::default(),
            processes: &crate::distributed::Alone,
        };
        let wrong = run_in(&args, &[], &host, || open(true)).unwrap();
        assert_eq!(wrong.code, 1, "{}", wrong.text());
        assert!(wrong.text().contains("FAILED"), "{}", wrong.text());
        assert!(wrong.failures[0].contains("was not written"));
        assert!(!out.exists());
        // That is what a page has to say first.
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("Not written.") && text.contains("failed verification"));
        let right = run_in(&args, &[], &host, || open(false)).unwrap();
        assert_eq!(right.code, 0, "{}", right.text());
        assert!(out.exists());
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(!text.contains("Not written."));
    }
}
