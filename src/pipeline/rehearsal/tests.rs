//! The rehearsal is as strict as the verification behind learning, and no stricter.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::ArrayD;

use super::*;
use crate::onnx::proto::type_proto::Value;
use crate::pipeline::Choice;
use crate::progress::Silent;
use crate::sizes::Sizes;
use crate::verify::{
    NamedTensors, OrtRuntime, Runtime, RuntimeError, Session, SessionOptions, TensorInfo,
};

/// ONNX Runtime, in which some runs go wrong by a little.
struct Faulty {
    inner: OrtRuntime,
    /// Whether a run goes wrong, by its number and the height of the images.
    wrong: fn(usize, usize) -> bool,
    runs: Arc<AtomicUsize>,
}

struct FaultySession {
    inner: Box<dyn Session>,
    wrong: fn(usize, usize) -> bool,
    runs: Arc<AtomicUsize>,
}

impl Runtime for Faulty {
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
        Ok(Box::new(FaultySession {
            inner: self.inner.load(model, options)?,
            wrong: self.wrong,
            runs: Arc::clone(&self.runs),
        }))
    }
}

impl Session for FaultySession {
    fn inputs(&self) -> &[TensorInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        self.inner.outputs()
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let height = inputs[0].1.shape().get(2).copied().unwrap_or(0);
        let mut outputs = self.inner.run(inputs)?;
        if (self.wrong)(number, height) {
            outputs.iter_mut().for_each(|(_, y)| *y += 0.1);
        }
        Ok(outputs)
    }
}

fn job(input: &Path) -> Job {
    Job::new(input.to_owned(), Choice::Nothing)
}

fn verdict(input: &Path, sizes: Sizes, wrong: fn(usize, usize) -> bool) -> Verification {
    let runtime = Faulty {
        inner: OrtRuntime::new(None).unwrap(),
        wrong,
        runs: Arc::default(),
    };
    let job = Job {
        sizes,
        ..job(input)
    };
    let mut model = Model::load(input).unwrap();
    crate::pipeline::fill_sizes(&mut model, &job.sizes, None).unwrap();
    let proof = Proof::new(&job, &runtime, None, &Silent);
    run(&job, &model, &model.proto, None, &proof).unwrap().1
}

#[test]
fn what_fails_on_a_batch_is_judged_on_all_samples() {
    let vgg = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits_vgg.onnx");
    let fine = verdict(&vgg, Sizes::default(), |_, _| false);
    assert!(fine.passed && fine.samples == 64, "{fine:?}");
    let again = verdict(&vgg, Sizes::default(), |run, _| run == 1);
    assert!(again.passed && again.samples == 256, "{again:?}");
    let bad = verdict(&vgg, Sizes::default(), |run, _| run % 2 == 1);
    assert!(!bad.passed, "{bad:?}");
}

#[test]
fn free_sizes_are_tried_at_two() {
    let dir = tempfile::tempdir().unwrap();
    let free = dir.path().join("free.onnx");
    let nin = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits_nin.onnx");
    let mut model = Model::load(&nin).unwrap().proto;
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let name = input.name().to_owned();
    if let Some(Value::TensorType(t)) = input.r#type.as_mut().unwrap().value.as_mut() {
        let dims = &mut t.shape.as_mut().unwrap().dim;
        dims.iter_mut().skip(2).for_each(|d| d.value = None);
    }
    crate::onnx::save(&model, &free).unwrap();
    let sizes = Sizes {
        shapes: [(name, vec![1, 1, 8, 8])].into(),
        ..Sizes::default()
    };
    let found = verdict(&free, sizes.clone(), |_, _| false);
    assert!(found.passed, "{found:?}");
    let found = verdict(&free, sizes, |run, height| height > 8 && run % 2 == 1);
    let why = found.failures.join("; ");
    assert!(!found.passed && why.contains("at another size"), "{why}");
}
