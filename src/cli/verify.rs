//! `verify`.

use std::sync::Arc;

use crate::error::Error;
use crate::onnx::Model;
use crate::pipeline::{self, View};
use crate::progress::Phase;
use crate::report;
use crate::runnable::runnable;
use crate::verify::{
    self, KeptChannels, Runtime as _, RuntimeError, Samples, Tolerance, Verification, VerifyOptions,
};

use super::Printed;
use super::args::VerifyArgs;
use super::host::{Host, Outcome};
use super::isolate::isolated;
use super::shared::{BATCH, Interruptible, json, measured_on, samples};

/// Random samples that are compared without --data.
const RANDOM_SAMPLES: usize = 256;

/// Compares two models.
pub fn run(args: &VerifyArgs, host: &Host<'_>) -> Printed {
    let mut reference = Model::load(&args.reference)?;
    let mut candidate = Model::load(&args.candidate)?;
    let source = measured_on(&args.data)?;
    // Before sizes are given by name.
    let matched = verify::share_names(&reference.proto, &mut candidate.proto);
    for model in [&mut reference, &mut candidate] {
        pipeline::fill_sizes(model, &args.shape.sizes(), source.as_ref())?;
    }
    let runtime = Interruptible(isolated(&args.runtime, host)?, Arc::clone(&host.stop));
    // Images are read for the scores; what is compared is what the files give.
    pipeline::put_scores_first(&mut reference);
    let view = View::new(&args.reference, &reference.proto)?;
    let images = match source {
        Some(source) => Some(pipeline::load_all_images(
            &args.reference,
            &view,
            &source,
            host.observer,
        )?),
        None => None,
    };
    drop(view);
    reference.restore_outputs();
    let samples = match &images {
        Some(images) => samples(images),
        None => Samples::Random {
            seed: args.seed,
            count: RANDOM_SAMPLES,
        },
    };
    let lowered = |model: &'_ Model| -> Result<_, Error> {
        let lowered = runnable(&model.proto);
        let lowered = lowered.map_err(|e| Error::from(e).about(&model.path))?;
        Ok(lowered.model.into_owned())
    };
    let _comparing = Phase::begin(host.observer, "comparing");
    let compared = verify::verify(
        &runtime,
        &lowered(&reference)?,
        &lowered(&candidate)?,
        &KeptChannels::default(),
        &samples,
        &VerifyOptions {
            tolerance: Tolerance {
                atol: args.atol,
                rtol: args.rtol,
            },
            ..VerifyOptions::in_batches_of(BATCH)
        },
    );
    let mut found = match compared {
        Ok(found) => found,
        Err(RuntimeError::Candidate(reason)) => {
            let why = format!("{}: {reason}", args.candidate.display());
            if !args.json {
                return Err(Error::Verification(why));
            }
            Verification {
                runtime: runtime.name().to_owned(),
                runtime_version: runtime.version().to_owned(),
                failures: vec![why],
                ..Verification::default()
            }
        }
        Err(e) => return Err(Error::from(e).about(&args.reference)),
    };
    found.notes = matched;
    let code = u8::from(!found.passed);
    match args.json {
        true => Ok(Outcome::verbatim(json(&args.candidate, &found)?, code)),
        false => Ok(Outcome::new(report::render_verification(&found), code)),
    }
}
