//! `eval`.

use onnx_bnnprune::error::Error;
use onnx_bnnprune::onnx::{Model, to_bytes};
use onnx_bnnprune::pipeline::{self, View};
use onnx_bnnprune::qonnx;
use onnx_bnnprune::verify::{
    self, BatchedSession, LatencyOptions, Runtime as _, Samples, SessionOptions,
};

use super::Printed;
use super::args::EvalArgs;
use super::progress::Terminal;
use super::shared::{BATCH, Interruptible, json, runtime, samples, source_of};

/// What a model does on labelled images.
struct Measured {
    /// Top-1, 0..1.
    accuracy: f64,
    /// Median of one image at a time.
    latency_ms: f64,
}

/// Measures accuracy and latency.
pub fn run(args: &EvalArgs) -> Printed {
    let source = source_of(&args.data)
        .ok_or_else(|| Error::Usage("eval needs --data: labelled images".to_owned()))?;
    let model = Model::load(&args.model)?;
    let view = View::new(&args.model, &model.proto)?;
    let runtime = Interruptible(runtime(&args.runtime)?);
    let images = pipeline::load_all_images(&args.model, &view, &source, &Terminal::new(false))?;
    let labels = images.val_set().labels.as_ref().ok_or_else(|| {
        Error::unsuitable(
            &source.data,
            "has no labels; accuracy needs a folder per class, or `y` in the .npz",
        )
    })?;
    let found =
        measure(&runtime, &model, &samples(&images), labels).map_err(|e| e.about(&args.model))?;
    if args.json {
        let value = serde_json::json!({
            "model": args.model.display().to_string(),
            "runtime": runtime.name(),
            "runtime_version": runtime.version(),
            "accuracy": found.accuracy,
            "samples": labels.len(),
            "latency_ms": found.latency_ms,
        });
        return Ok((json(&args.model, &value)?, 0));
    }
    let text = format!(
        "{:<18}{:.2} % top-1 on {} images of {}\n{:<18}{:.3} ms an image (median)\n{:<18}{} {}\n",
        "accuracy",
        found.accuracy * 100.0,
        labels.len(),
        source.data.display(),
        "latency",
        found.latency_ms,
        "runtime",
        runtime.name(),
        runtime.version(),
    );
    Ok((text, 0))
}

fn measure(
    runtime: &Interruptible,
    model: &Model,
    samples: &Samples<'_>,
    labels: &[usize],
) -> Result<Measured, Error> {
    let lowered = qonnx::lower(&model.proto)?;
    let session = runtime.load(&to_bytes(&lowered.model), &SessionOptions::default())?;
    let mut session = BatchedSession::new(session);
    let accuracy = verify::accuracy(&mut session, samples, labels, BATCH)?.fraction;
    let latency = verify::latency_ms(&mut [&mut session], samples, &LatencyOptions::default())?;
    Ok(Measured {
        accuracy,
        latency_ms: latency.first().copied().unwrap_or(f64::NAN),
    })
}
