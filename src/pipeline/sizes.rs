//! Free heights and widths: taken from the options or the images, and proven at another size.

use super::DataSource;
use super::channels::kept_channels;
use crate::data;
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::rewrite::Eliminated;
use crate::runnable::runnable;
use crate::sizes::{STEPS, Sizes, enlarged};
use crate::verify::{self, Runtime, RuntimeError, Samples, Verification, VerifyOptions};

/// Random images compared there.
const SAMPLES: usize = 8;

/// Gives a model's free dimensions sizes: those that `sizes` says, else those of the images.
///
/// # Errors
/// If the sizes do not fit the model, or the images cannot be found.
pub fn fill(model: &mut Model, sizes: &Sizes, source: Option<&DataSource>) -> Result<(), Error> {
    let path = model.path.clone();
    sizes
        .apply(model)
        .map_err(|e| Error::unsuitable(&path, e.to_string()))?;
    let Some(source) = source.filter(|_| model.free_image_axes().is_some()) else {
        return Ok(());
    };
    let size = match source.crop.or(source.resize) {
        Some(size) => Some(size),
        None if source.synthetic.is_some() => None,
        None => data::first_size(&source.data, source.classes.as_deref(), source.skip_bad)?,
    };
    if let Some(size) = size {
        model.size_images(size.height as usize, size.width as usize);
    }
    Ok(())
}

/// What was found at other sizes.
pub(super) struct Elsewhere {
    /// At each at which the masked model runs, up to the first that failed: how much larger its images are.
    found: Vec<(usize, Verification)>,
    /// Whether there are other sizes: none where all that is free is the batch, or follows from weights.
    tried: bool,
}

impl Elsewhere {
    /// Adds it to the verification at the first size; what to say of it, unless it failed.
    pub(super) fn judge(self, verification: &mut Verification) -> Option<String> {
        let sizes = 1 + self.found.len();
        for (step, found) in self.found.into_iter().filter(|(_, v)| !v.passed) {
            verification.passed = false;
            let at = |why| format!("at another size of the images ({step} more): {why}");
            verification
                .failures
                .extend(found.failures.into_iter().map(at));
        }
        match (verification.passed && self.tried, sizes) {
            (false, _) => None,
            (true, 1) => Some(
                "free dimensions: verified at one size, the model runs at none of the others tried"
                    .to_owned(),
            ),
            (true, _) => Some(format!(
                "free dimensions stay free: verified at {sizes} sizes"
            )),
        }
    }
}

/// Masked and pruned model at other sizes of images, as far as the masked one runs there (a Flatten in front of
/// a Gemm takes one size only).
///
/// # Errors
/// As [`verify::verify`].
pub(super) fn at_others(
    model: &Model,
    masked: &ModelProto,
    eliminated: &Eliminated,
    runtime: &dyn Runtime,
    seed: u64,
) -> Result<Elsewhere, Error> {
    let mut found = Vec::new();
    let mut tried = false;
    for step in STEPS {
        let other = |m: &ModelProto| enlarged(m, &model.free, step);
        let (Some(masked), Some(pruned)) = (other(masked), other(&eliminated.model)) else {
            break;
        };
        tried = true;
        let there = at(&masked, &pruned, eliminated, runtime, seed)?;
        let failed = there.as_ref().is_some_and(|v| !v.passed);
        found.extend(there.map(|v| (step, v)));
        if failed {
            break;
        }
    }
    Ok(Elsewhere { found, tried })
}

/// Both models at one size; `None` where the masked one does not run.
fn at(
    masked: &ModelProto,
    pruned: &ModelProto,
    eliminated: &Eliminated,
    runtime: &dyn Runtime,
    seed: u64,
) -> Result<Option<Verification>, Error> {
    let (reference, candidate) = (runnable(masked)?, runnable(pruned)?);
    let map = kept_channels(eliminated, [&reference, &candidate]);
    let samples = Samples::Random {
        seed,
        count: SAMPLES,
    };
    let options = VerifyOptions::in_batches_of(SAMPLES);
    let found = verify::verify(
        runtime,
        &reference.model,
        &candidate.model,
        &map,
        &samples,
        &options,
    );
    match found {
        Ok(found) => Ok(Some(found)),
        Err(RuntimeError::Candidate(why)) => Ok(Some(Verification {
            failures: vec![why],
            ..Verification::default()
        })),
        // The masked model is the original's: it has one size only.
        Err(RuntimeError::Load { .. } | RuntimeError::Run { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
