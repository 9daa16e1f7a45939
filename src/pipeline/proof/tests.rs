//! A pruned model that goes wrong in the runtime, and how often each model is run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ndarray::{ArrayD, Axis, Slice};

use super::*;
use crate::pipeline::{Choice, DataSource, run};
use crate::progress::Silent;
use crate::verify::{NamedTensors, OrtRuntime, Session, TensorInfo};

/// What goes wrong with every pruned model.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Load,
    Run,
    Shape,
    Time,
}

/// ONNX Runtime in which pruned models (the clearly smaller ones) go wrong.
struct Broken {
    inner: OrtRuntime,
    fault: Fault,
    masked: Mutex<Option<usize>>,
}

impl Runtime for Broken {
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
        let masked = *self.masked.lock().unwrap().get_or_insert(model.len());
        let inner = self.inner.load(model, options)?;
        if model.len() * 20 > masked * 19 {
            return Ok(inner);
        }
        match self.fault {
            // Cut short: the real runtime's own refusal.
            Fault::Load => self.inner.load(&model[..model.len() / 2], options),
            fault => Ok(Box::new(BrokenSession { inner, fault })),
        }
    }
}

struct BrokenSession {
    inner: Box<dyn Session>,
    fault: Fault,
}

impl Session for BrokenSession {
    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        self.inner.outputs()
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        if matches!(self.fault, Fault::Run) {
            // Images a row too small: the real runtime's own refusal.
            let cut = |(name, x): &(String, ArrayD<f32>)| {
                let less = x.slice_axis(Axis(2), Slice::from(1..)).to_owned();
                (name.clone(), less)
            };
            let inputs: Vec<_> = inputs.iter().map(cut).collect();
            return self.inner.run(&inputs);
        }
        let mut outputs = self.inner.run(inputs)?;
        if matches!(self.fault, Fault::Shape) {
            for (_, y) in &mut outputs {
                y.slice_axis_inplace(Axis(1), Slice::from(1..));
            }
        }
        Ok(outputs)
    }

    fn time(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
        warm_up: usize,
        runs: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        match self.fault {
            Fault::Time => Err(RuntimeError::Died {
                runtime: "ONNX Runtime",
                reason: "was killed".to_owned(),
            }),
            _ => self.inner.time(inputs, warm_up, runs),
        }
    }
}

/// A job on the VGG.
fn job(choice: Choice, output: Option<PathBuf>) -> Job {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits_vgg.onnx");
    Job {
        output,
        ..Job::new(input, choice)
    }
}

#[test]
fn a_pruned_model_that_the_runtime_refuses_failed_verification() {
    let dir = tempfile::tempdir().unwrap();
    let (masks, output) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    let pruned: Vec<usize> = (0..20).collect();
    let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
        "layers": {"/conv2/Conv": {"filters": 48, "pruned": pruned}}});
    std::fs::write(&masks, text.to_string()).unwrap();
    let job = job(Choice::Masks(masks), Some(output.clone()));
    for (fault, word) in [
        (Fault::Load, "cannot load"),
        (Fault::Run, "cannot run"),
        (Fault::Shape, "[64, 9]"),
        (Fault::Time, "was killed"),
    ] {
        let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
            Ok(Box::new(Broken {
                inner: OrtRuntime::new(None)?,
                fault,
                masked: Mutex::new(None),
            }))
        };
        let error = run(&job, open, &Silent).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 1, "{fault:?}: {message}");
        assert!(message.contains(word), "{fault:?}: {message}");
        assert!(
            message.contains("digits_vgg.onnx") && message.contains("o.onnx was not written"),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
        assert!(!output.exists());
    }
}

/// ONNX Runtime that counts the samples that it is given.
struct Counting {
    inner: OrtRuntime,
    rows: Arc<AtomicUsize>,
}

struct CountingSession {
    inner: Box<dyn Session>,
    rows: Arc<AtomicUsize>,
}

impl Runtime for Counting {
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
        Ok(Box::new(CountingSession {
            inner: self.inner.load(model, options)?,
            rows: Arc::clone(&self.rows),
        }))
    }
}

impl Session for CountingSession {
    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        self.inner.outputs()
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        // What computes weights is fed none.
        let rows = inputs.first().map_or(0, |(_, x)| x.len_of(Axis(0)));
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.inner.run(inputs)
    }
}

/// Original, masked and pruned model see each validation image once; without masks the original is
/// the masked one.
#[test]
fn each_model_sees_each_image_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let masks = dir.path().join("m.json");
    let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
        "layers": {"/conv2/Conv": {"filters": 48, "pruned": [0, 1, 2]}}});
    std::fs::write(&masks, text.to_string()).unwrap();
    let digits = root.join("fixtures/digits_test.npz");
    let source = DataSource {
        data: digits.clone(),
        synthetic: None,
        val: Some(digits),
        val_split: None,
        classes: None,
        scale: None,
        mean: Vec::new(),
        std: Vec::new(),
        channels: None,
        resize: None,
        crop: None,
        augment: Default::default(),
        images_mb: None,
        skip_bad: false,
    };
    for (choice, models) in [(Choice::Masks(masks), 3), (Choice::Nothing, 2)] {
        let job = Job {
            source: Some(source.clone()),
            ..job(choice, None)
        };
        let rows = Arc::new(AtomicUsize::new(0));
        let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
            Ok(Box::new(Counting {
                inner: OrtRuntime::new(None)?,
                rows: Arc::clone(&rows),
            }))
        };
        let report = run(&job, open, &Silent).unwrap();
        let images = report.verification.unwrap().samples;
        assert_eq!(report.accuracy.unwrap().samples, images);
        assert!(report.agreement.is_some());
        // Latency is measured on one image.
        let latency = 300;
        let seen = rows.load(Ordering::Relaxed);
        assert!(images > latency && seen >= models * images, "{seen}");
        assert!(seen < models * images + latency, "{seen} of {images}");
    }
}

/// ONNX Runtime in which packed models go wrong, at one level of optimisation or on large images.
struct Deviating {
    inner: OrtRuntime,
    at: Deviation,
}

#[derive(Clone, Copy, Debug)]
enum Deviation {
    Level(Optimization),
    Larger(usize),
}

struct DeviatingSession {
    inner: Box<dyn Session>,
    /// Larger images than these get other answers.
    larger: usize,
}

impl Runtime for Deviating {
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
        let inner = self.inner.load(model, options)?;
        let table = b"bits_of_byte";
        if !model.windows(table.len()).any(|part| part == table) {
            return Ok(inner);
        }
        let larger = match self.at {
            Deviation::Level(level) if level == options.optimization => 0,
            Deviation::Level(_) => usize::MAX,
            Deviation::Larger(side) => side,
        };
        Ok(Box::new(DeviatingSession { inner, larger }))
    }
}

impl Session for DeviatingSession {
    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        self.inner.outputs()
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        let mut outputs = self.inner.run(inputs)?;
        // What computes the weights apart has no inputs.
        let side = inputs.first().map_or(0, |(_, x)| x.len_of(Axis(2)));
        if side > self.larger {
            outputs.iter_mut().for_each(|(_, y)| *y += 1.0);
        }
        Ok(outputs)
    }
}

/// A job that packs.
fn packing(input: PathBuf, output: &Path) -> Job {
    Job {
        input,
        form: crate::forms::of_name("packed"),
        ..job(Choice::Form, Some(output.to_owned()))
    }
}

#[test]
fn a_form_that_computes_something_else_at_any_level_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("o.onnx");
    for (level, name) in [
        (Optimization::Off, "off"),
        (Optimization::Basic, "basic"),
        (Optimization::All, "all"),
    ] {
        let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
            Ok(Box::new(Deviating {
                inner: OrtRuntime::new(None)?,
                at: Deviation::Level(level),
            }))
        };
        let job = packing(job(Choice::Form, None).input, &output);
        let error = run(&job, open, &Silent).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 1, "{message}");
        assert!(message.contains(&format!("\"{name}\"")), "{message}");
        assert!(!message.contains('\n') && !output.exists(), "{message}");
    }
}

#[test]
fn a_form_that_computes_something_else_at_another_size_is_not_written() {
    use crate::onnx::proto::{tensor_shape_proto::dimension::Value, type_proto};
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("i.onnx"), dir.path().join("o.onnx"));
    let nin = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits_nin.onnx");
    let mut model = Model::load(&nin).unwrap().proto;
    let x = &mut model.graph.as_mut().unwrap().input[0];
    let name = x.name().to_owned();
    let Some(type_proto::Value::TensorType(t)) = &mut x.r#type.as_mut().unwrap().value else {
        panic!("no tensor");
    };
    for dim in &mut t.shape.as_mut().unwrap().dim[2..] {
        dim.value = Some(Value::DimParam("side".to_owned()));
    }
    crate::onnx::save(&model, &input).unwrap();
    for (side, passes) in [(usize::MAX, true), (8, false)] {
        let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
            Ok(Box::new(Deviating {
                inner: OrtRuntime::new(None)?,
                at: Deviation::Larger(side),
            }))
        };
        let mut job = packing(input.clone(), &output);
        job.sizes.shapes.insert(name.clone(), vec![1, 1, 8, 8]);
        let report = run(&job, open, &Silent).unwrap();
        assert_eq!(report.passed(), passes);
        let verification = report.verification.unwrap();
        let failures = verification.failures.join("; ");
        assert_eq!(failures.contains("another size"), !passes, "{failures}");
        assert_eq!(output.exists(), passes);
        let _ = std::fs::remove_file(&output);
    }
}
