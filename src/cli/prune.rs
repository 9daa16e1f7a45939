//! The main job: from arguments to a [`Job`], and from its outcome to text.

use std::path::Path;

use onnx_bnnprune::autograd::Precision;
use onnx_bnnprune::checkpoint::{self, Plan};
use onnx_bnnprune::data::Augment;
use onnx_bnnprune::error::Error;
use onnx_bnnprune::onnx::write_atomically;
use onnx_bnnprune::pipeline::{self, Choice, DataSource, Job, Tuning};
use onnx_bnnprune::progress::Observer as _;
use onnx_bnnprune::report;
use onnx_bnnprune::rewrite::{FilterMasks, Removal, Residual};
use onnx_bnnprune::subsidiary::{Amount, Decay, MainOptimizer, Rule, Selector};
use onnx_bnnprune::verify::{Runtime, RuntimeError};

use super::args::{
    FormatName, MethodName, OptimizerName, PrecisionName, PruneArgs, RemovalName, ResidualName,
    ScheduleName,
};
use super::isolate::tried;
use super::progress::Terminal;
use super::shared::source_of;
use super::{Printed, targets};

/// Prunes a model.
pub fn run(args: &PruneArgs) -> Printed {
    let input = args.input.clone().unwrap_or_default();
    run_in(args, || tried(&args.runtime, &input)).map_err(|e| e.about(&input))
}

/// The main job, verified in the runtime that `open` gives.
fn run_in(
    args: &PruneArgs,
    open: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
) -> Printed {
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        return Err(Error::Usage(
            "IN.onnx and OUT.onnx are needed; see --help".to_owned(),
        ));
    };
    if let Some(n) = args.threads {
        set_threads(n)?;
    }
    targets::check(args, input, output)?;
    let observer = Terminal::new(args.quiet);
    let job = job(args, input, output)?;
    let report = pipeline::run(&job, open, &observer)?;
    if let Some(path) = &args.report {
        let json = serde_json::to_vec_pretty(&report)
            .map_err(|e| Error::unsuitable(path, format!("report cannot be written: {e}")))?;
        write_atomically(path, &json)?;
    }
    let passed = report.verification.as_ref().is_some_and(|v| v.passed);
    if let Some(plan) = job.checkpoint.as_ref().filter(|_| passed)
        && let Err(e) = checkpoint::remove(&plan.folder)
    {
        observer.warn(&e.to_string());
    }
    let mut text = report::render(&report);
    text += &match (passed, &report.output) {
        (true, Some(file)) => format!("{:<20}{}\n", "written", file.path),
        (true, None) => format!("{:<20}nothing (--dry-run)\n", "written"),
        (false, _) => {
            eprintln!(
                "onnx-bnnprune: {}: the pruned model does not compute what the masked model computes; {} was not written",
                input.display(),
                output.display()
            );
            format!("{:<20}nothing\n", "written")
        }
    };
    Ok((text, u8::from(!passed)))
}

fn job(args: &PruneArgs, input: &Path, output: &Path) -> Result<Job, Error> {
    let source = data_source(args)?;
    let choice = match (&args.masks, args.method) {
        (Some(path), _) => Choice::Masks(path.clone()),
        (None, MethodName::None) => Choice::Nothing,
        (None, method) => Choice::Learn(Box::new(tuning(args, method)?)),
    };
    Ok(Job {
        input: input.to_owned(),
        output: Some(output.to_owned()),
        to_onnx: args.to == Some(FormatName::Onnx),
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
        normalise: args.normalise,
        residual: match args.residual {
            ResidualName::Coupled => Residual::Coupled,
            ResidualName::Scatter => Residual::Scatter,
        },
        inference_mode: args.inference_mode,
        save_masks: args.save_masks.clone(),
        save_masked: args.save_masked.clone(),
        checkpoint: args.checkpoint.folder.as_ref().map(|folder| Plan {
            folder: folder.clone(),
            every: args.checkpoint.every,
        }),
        seed: args.seed,
    })
}

fn tuning(args: &PruneArgs, method: MethodName) -> Result<Tuning, Error> {
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
        MethodName::Random => rule(Rule::Random)?,
        MethodName::Magnitude => rule(Rule::Magnitude)?,
        MethodName::Subsidiary | MethodName::None => {
            if args.like.is_some() {
                return Err(Error::Usage(
                    "--like is for rules; give --method random or magnitude".to_owned(),
                ));
            }
            Selector::Subsidiary { ratio: args.ratio }
        }
    };
    if args.batch_size == Some(0) {
        return Err(Error::Usage("--batch-size must be at least 1".to_owned()));
    }
    for (name, rate) in [
        ("--mask-lr", args.mask_lr),
        ("--main-lr", args.main_lr),
        ("--alpha", args.alpha),
    ] {
        if rate.is_some_and(|r| !r.is_finite() || r < 0.0) {
            return Err(Error::Usage(format!("{name} must be a number from 0 up")));
        }
    }
    if args.max_share.is_some_and(|s| !(0.0..=1.0).contains(&s)) {
        return Err(Error::Usage(
            "--max-share must be between 0 and 1".to_owned(),
        ));
    }
    if args.distill.is_some_and(|s| !(0.0..=1.0).contains(&s)) {
        return Err(Error::Usage("--distill must be between 0 and 1".to_owned()));
    }
    Ok(Tuning {
        selector: Some(selector),
        alpha: args.alpha,
        max_share: args.max_share,
        distill: args.distill,
        mask_epochs: args.mask_epochs,
        main_epochs: args.main_epochs,
        final_epochs: args.final_epochs,
        mask_lr: args.mask_lr,
        main_lr: args.main_lr,
        optimizer: Some(match args.optimizer {
            OptimizerName::Adam => MainOptimizer::Adam,
            OptimizerName::Sgd => MainOptimizer::Sgd,
        }),
        decay: Some(match args.lr_schedule {
            ScheduleName::Exponential => Decay::Exponential,
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Constant => Decay::Constant,
        }),
        gradients: Some(match args.gradients {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Int8 => Precision::Int8,
        }),
        batch_size: args.batch_size,
        cache_mb: args.cache_mb,
        cache_disk_mb: args.cache_disk_mb,
        cache_dir: args.cache_dir.clone(),
        views: args.views,
    })
}

fn data_source(args: &PruneArgs) -> Result<Option<DataSource>, Error> {
    let Some(mut source) = source_of(&args.data) else {
        if args.val.is_some() {
            return Err(Error::Usage("--val needs --data as well".to_owned()));
        }
        return Ok(None);
    };
    source.val.clone_from(&args.val);
    source.val_split = args.val_split;
    source.augment = Augment {
        flip: args.flip,
        crop_padding: args.crop_padding,
    };
    Ok(Some(source))
}

fn set_threads(n: usize) -> Result<(), Error> {
    if n == 0 {
        return Err(Error::Usage("--threads must be at least 1".to_owned()));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Error::Usage(format!("--threads {n}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx_bnnprune::onnx::proto::ModelProto;
    use onnx_bnnprune::verify::{OrtRuntime, Session, SessionOptions};
    use prost::Message as _;
    use std::sync::Mutex;

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
        let pruned: Vec<usize> = (0..20).collect();
        let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
            "layers": {"/conv2/Conv": {"filters": 48, "pruned": pruned}}});
        std::fs::write(&masks, text.to_string()).unwrap();
        let args = PruneArgs {
            input: Some(root.join("fixtures/digits_vgg.onnx")),
            output: Some(out.clone()),
            masks: Some(masks),
            quiet: true,
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
        let (text, code) = run_in(&args, || open(true)).unwrap();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("FAILED"), "{text}");
        assert!(!out.exists());
        let (text, code) = run_in(&args, || open(false)).unwrap();
        assert_eq!(code, 0, "{text}");
        assert!(out.exists());
    }
}
