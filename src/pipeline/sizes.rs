//! Free heights and widths: taken from the options or the images, and proven at another size.

use super::DataSource;
use crate::data;
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::rewrite::Eliminated;
use crate::runnable::runnable;
use crate::sizes::{Sizes, elsewhere};
use crate::verify::{
    self, KeptChannels, Runtime, RuntimeError, Samples, Verification, VerifyOptions,
};

/// How much larger the other images are: a multiple of what networks stride by.
const FURTHER: usize = 32;
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

/// Adds what was found at another size to the verification at the first one; what to say of it,
/// unless it failed.
pub(super) fn judge(
    other: Option<Verification>,
    verification: &mut Verification,
) -> Option<String> {
    match other {
        None => {
            Some("free dimensions: verified at one size, the model runs at no other".to_owned())
        }
        Some(other) if other.passed => {
            Some("free dimensions stay free: verified at two sizes".to_owned())
        }
        Some(other) => {
            verification.passed = false;
            let failures = other.failures.into_iter();
            let at = |why| format!("at another size of the images: {why}");
            verification.failures.extend(failures.map(at));
            None
        }
    }
}

/// Masked and pruned model at another size of images; `None` where the masked one does not run
/// there (a Flatten in front of a Gemm takes one size only).
///
/// # Errors
/// As [`verify::verify`].
pub(super) fn at_another(
    model: &Model,
    masked: &ModelProto,
    eliminated: &Eliminated,
    runtime: &dyn Runtime,
    seed: u64,
) -> Result<Option<Verification>, Error> {
    let other = |m: &ModelProto| elsewhere(m, model, FURTHER);
    let (Some(masked), Some(pruned)) = (other(masked), other(&eliminated.model)) else {
        return Ok(None);
    };
    let (reference, candidate) = (runnable(&masked)?, runnable(&pruned)?);
    let mut map = KeptChannels::default();
    for (tensor, cut) in &eliminated.channels {
        map.insert(tensor.clone(), cut.axis, cut.kept.clone());
    }
    for (tensor, of) in reference.added.iter().chain(&candidate.added) {
        if let Some(cut) = eliminated.channels.get(of) {
            map.insert(tensor.clone(), cut.axis, cut.kept.clone());
        }
    }
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
