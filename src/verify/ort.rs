//! ONNX Runtime, loaded at run time from a shared library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ndarray::{ArrayD, ArrayViewD};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::SessionInputValue;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef, ValueType};

use super::library;
use super::operators::{find_operator_library, needs_operators};
use super::runtime::{
    NamedTensors, Optimization, Runtime, RuntimeError, Session, SessionOptions, TensorInfo,
    first_line,
};
use super::trial::Trial;

/// What messages call it.
pub(super) const NAME: &str = "ONNX Runtime";

/// The library that this process has loaded, and its environment: there is one per process.
struct Loaded {
    environment: Environment,
    version: String,
    /// The library's file.
    path: PathBuf,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// ONNX Runtime on the CPU.
#[derive(Clone, Copy)]
pub struct OrtRuntime {
    loaded: &'static Loaded,
}

impl OrtRuntime {
    /// Finds the library ([`find_ort_library`](super::find_ort_library)) and loads it. A process
    /// loads it once; later calls share it, and may name no other one.
    ///
    /// From version 1.32 on it collects telemetry unless `ORT_DISABLE_TELEMETRY=1` is in the
    /// environment when it is loaded: see [`prepare_this_process`](super::prepare_this_process).
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] with what to install, or if another library was loaded before.
    pub fn new(explicit: Option<&Path>) -> Result<Self, RuntimeError> {
        Self::from(explicit.is_some(), || library::find(explicit, None))
    }

    /// Loads the library that the system's loader finds by its name.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] with what to install.
    pub fn of_system() -> Result<Self, RuntimeError> {
        Self::from(false, || Ok(library::library_name().into()))
    }

    /// Loads the library that `find` gives. Where one is loaded already, a library that was `named`
    /// has to be the same.
    fn from(
        named: bool,
        find: impl FnOnce() -> Result<PathBuf, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        // A panic while loading leaves nothing half done that this lock protects.
        let _guard = LOADING
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(loaded) = LOADED.get() {
            if named {
                same(&loaded.path, &find()?)?;
            }
            return Ok(OrtRuntime { loaded });
        }
        let path = find()?;
        let loaded = quietly(|| load(&path)).unwrap_or_else(|| {
            Err(RuntimeError::Missing(format!(
                "{}: is not ONNX Runtime 1.17 or later, or a broken one; {}",
                path.display(),
                library::REMEDY
            )))
        })?;
        Ok(OrtRuntime {
            loaded: LOADED.get_or_init(|| loaded),
        })
    }

    /// Writes what the optimiser makes of a model to `to`, as an ONNX file.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] if the model or the file is refused.
    pub fn write_optimized(
        &self,
        model: &[u8],
        options: &SessionOptions,
        to: &Path,
    ) -> Result<(), RuntimeError> {
        let built = build(&self.loaded.environment, model, options, Some(to));
        built.map(drop).map_err(|reason| RuntimeError::Load {
            runtime: NAME,
            reason,
        })
    }

    /// Loads a model.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the runtime's reason.
    pub(super) fn session(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<ort::session::Session, RuntimeError> {
        let built = build(&self.loaded.environment, model, options, None);
        built.map_err(|reason| {
            match needs_operators(model) {
                // That is why.
                true => find_operator_library(None, None).err(),
                false => None,
            }
            .unwrap_or(RuntimeError::Load {
                runtime: NAME,
                reason,
            })
        })
    }
}

/// Refuses another library than the one that is loaded.
fn same(loaded: &Path, wanted: &Path) -> Result<(), RuntimeError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match real(loaded) == real(wanted) {
        true => Ok(()),
        false => Err(RuntimeError::Missing(format!(
            "{}: this process has loaded ONNX Runtime from {}, and cannot load another one: name that one, or run this in a process of its own",
            wanted.display(),
            loaded.display()
        ))),
    }
}

/// What `work` gives; `None` if it panics, of which nothing is printed. `ort` panics where a library
/// has no interface of the version that it needs.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    done.ok()
}

fn load(path: &Path) -> Result<Loaded, RuntimeError> {
    let builder = ort::init_from(path).map_err(|e| {
        RuntimeError::Missing(format!(
            "ONNX Runtime: {}; {}",
            first_line(e),
            library::REMEDY
        ))
    })?;
    let environment = builder
        .with_name("onnx-bnnprune")
        .with_telemetry(false)
        .build()
        .map_err(|e| RuntimeError::Missing(format!("ONNX Runtime: {}", first_line(e))))?;
    // Its errors come back as values; its warnings about a user's file are not ours to print.
    environment.set_log_level(LogLevel::Fatal);
    let version = library::version(ort::info(), path);
    Ok(Loaded {
        environment,
        version,
        path: path.to_owned(),
    })
}

impl Runtime for OrtRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> &str {
        &self.loaded.version
    }

    fn load(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError> {
        let session = self.session(model, options)?;
        let inputs = session.inputs().iter().map(info).collect();
        let outputs = session.outputs().iter().map(info).collect();
        Ok(Box::new(OrtSession {
            session,
            inputs,
            outputs,
        }))
    }

    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        self.try_any_types(model, seed)
    }
}

fn build(
    environment: &Environment,
    model: &[u8],
    options: &SessionOptions,
    optimized: Option<&Path>,
) -> Result<ort::session::Session, String> {
    let level = match options.optimization {
        Optimization::Off => GraphOptimizationLevel::Disable,
        Optimization::Basic => GraphOptimizationLevel::Level1,
        Optimization::All => GraphOptimizationLevel::All,
    };
    let mut builder = ort::session::Session::builder(environment)
        .map_err(first_line)?
        .with_optimization_level(level)
        .map_err(first_line)?
        .with_log_level(LogLevel::Fatal)
        .map_err(first_line)?;
    if options.threads > 0 {
        builder = builder
            .with_intra_threads(options.threads)
            .map_err(first_line)?;
    }
    if needs_operators(model)
        && let Ok(library) = find_operator_library(None, None)
    {
        builder = builder.with_operator_library(library).map_err(first_line)?;
    }
    if let Some(path) = optimized {
        builder = builder
            .with_optimized_model_path(path)
            .map_err(first_line)?;
    }
    builder.commit_from_memory(model).map_err(first_line)
}

fn info(outlet: &ort::value::Outlet) -> TensorInfo {
    let (ty, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (
            Some(*ty),
            shape
                .iter()
                .map(|&side| usize::try_from(side).ok())
                .collect(),
        ),
        _ => (None, Vec::new()),
    };
    TensorInfo {
        name: outlet.name().to_owned(),
        float: ty == Some(TensorElementType::Float32),
        bytes: ty == Some(TensorElementType::Uint8),
        shape,
    }
}

struct OrtSession {
    session: ort::session::Session,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Session for OrtSession {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        let fail = |reason: String| RuntimeError::Run {
            runtime: NAME,
            reason,
        };
        let contiguous: Vec<_> = inputs.iter().map(|(_, x)| x.as_standard_layout()).collect();
        let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for ((name, _), x) in inputs.iter().zip(&contiguous) {
            let takes = self.inputs.iter().find(|input| input.name == *name);
            if takes.is_some_and(|input| input.bytes) {
                let bytes = to_bytes(x.view())
                    .map_err(|reason| fail(format!("input `{name}`: {reason}")))?;
                let value = Tensor::from_array(bytes).map_err(|e| fail(first_line(e)))?;
                values.push((name.as_str(), value.into()));
                continue;
            }
            let value = TensorRef::from_array_view(x.view()).map_err(|e| fail(first_line(e)))?;
            values.push((name.as_str(), value.into()));
        }
        let results = self.session.run(values).map_err(|e| fail(first_line(e)))?;
        self.outputs
            .iter()
            .map(|output| {
                let value = results
                    .get(&output.name)
                    .ok_or_else(|| fail(format!("no output `{}`", output.name)))?;
                let array = to_f32(value)
                    .map_err(|reason| fail(format!("output `{}`: {reason}", output.name)))?;
                Ok((output.name.clone(), array))
            })
            .collect()
    }
}

/// Whole numbers from 0 to 255 as bytes.
fn to_bytes(x: ArrayViewD<'_, f32>) -> Result<ArrayD<u8>, String> {
    let whole = |&v: &f32| v.fract() == 0.0 && (0.0..=255.0).contains(&v);
    match x.iter().find(|v| !whole(v)) {
        Some(v) => Err(format!(
            "takes bytes, and {v} is no whole number from 0 to 255"
        )),
        None => Ok(x.mapv(|v| v as u8)),
    }
}

/// Any tensor of real numbers as f32.
fn to_f32(value: &DynValue) -> Result<ArrayD<f32>, String> {
    macro_rules! cast {
        ($type:ty) => {
            value
                .try_extract_array::<$type>()
                .map(|array| array.mapv(|v| v as f32))
                .map_err(first_line)
        };
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(
            "is not a tensor: take the sequence or map out of the model's outputs (a ZipMap, say)"
                .into(),
        );
    };
    match ty {
        TensorElementType::Float32 => value
            .try_extract_array::<f32>()
            .map(|array| array.to_owned())
            .map_err(first_line),
        TensorElementType::Float16 => value
            .try_extract_array::<half::f16>()
            .map(|array| array.mapv(f32::from))
            .map_err(first_line),
        TensorElementType::Bfloat16 => value
            .try_extract_array::<half::bf16>()
            .map(|array| array.mapv(f32::from))
            .map_err(first_line),
        TensorElementType::Float64 => cast!(f64),
        TensorElementType::Int8 => cast!(i8),
        TensorElementType::Uint8 => cast!(u8),
        TensorElementType::Int16 => cast!(i16),
        TensorElementType::Uint16 => cast!(u16),
        TensorElementType::Int32 => cast!(i32),
        TensorElementType::Uint32 => cast!(u32),
        TensorElementType::Int64 => cast!(i64),
        TensorElementType::Uint64 => cast!(u64),
        TensorElementType::Bool => value
            .try_extract_array::<bool>()
            .map(|array| array.mapv(|v| f32::from(u8::from(v))))
            .map_err(first_line),
        other => Err(format!("element type {other} is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::super::{BatchedSession, Samples, Tolerance, accuracy, compare, latency_ms};
    use super::*;
    use ndarray::{IxDyn, arr2};
    use prost::Message;

    /// y = relu(x)·W for a batch of any size, or of `batch`.
    fn linear(batch: i64, weights: [f32; 4]) -> Vec<u8> {
        let model = Build::default()
            .input("x", &[batch, 2])
            .weight("w", &[2, 2], &weights)
            .node("Relu", &["x"], "r")
            .node("MatMul", &["r", "w"], "y")
            .output("y")
            .model();
        model.encode_to_vec()
    }

    fn runtime() -> OrtRuntime {
        OrtRuntime::new(None).expect("ONNX Runtime for the tests")
    }

    fn session(model: &[u8]) -> BatchedSession {
        let options = SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        };
        BatchedSession::new(runtime().load(model, &options).unwrap())
    }

    #[test]
    fn runs_and_says_its_version() {
        let version = runtime().version().to_owned();
        assert!(version.starts_with("1."), "{version}");
        let mut session = session(&linear(-1, [1.0, 2.0, 3.0, 4.0]));
        assert_eq!(session.inputs()[0].shape, [None, Some(2)]);
        assert!(session.inputs()[0].float);
        let x = arr2(&[[1.0, -1.0], [2.0, 1.0]]).into_dyn();
        let y = session.run(&[("x".into(), x)]).unwrap();
        assert_eq!(y[0].0, "y");
        assert_eq!(y[0].1, arr2(&[[1.0, 2.0], [5.0, 8.0]]).into_dyn());
    }

    #[test]
    fn another_library_than_the_one_that_is_loaded_is_refused() {
        let loaded = runtime().loaded.path.clone();
        assert!(OrtRuntime::new(Some(&loaded)).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join(library::library_name());
        std::fs::copy(&loaded, &other).unwrap();
        let Err(error) = OrtRuntime::new(Some(&other)) else {
            panic!("two libraries in a process");
        };
        let message = error.to_string();
        for path in [&loaded, &other] {
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
    }

    #[test]
    fn a_fixed_batch_is_respected() {
        let mut free = session(&linear(-1, [1.0, 2.0, 3.0, 4.0]));
        let mut fixed = session(&linear(3, [1.0, 2.0, 3.0, 4.0]));
        assert_eq!(fixed.fixed_batch(), Some(3));
        let samples = Samples::Random { seed: 4, count: 7 };
        let found = compare(&mut free, &mut fixed, &samples, 5, Tolerance::default()).unwrap();
        assert_eq!((found.samples, found.offending.len()), (7, 0));
        assert_eq!(found.top1_agreement, Some(1.0));
    }

    #[test]
    fn a_wrong_weight_is_found() {
        let mut good = session(&linear(-1, [1.0, 2.0, 3.0, 4.0]));
        let mut bad = session(&linear(-1, [1.0, 2.0, 3.0, 4.01]));
        let samples = Samples::Random { seed: 4, count: 50 };
        let found = compare(&mut good, &mut bad, &samples, 16, Tolerance::default()).unwrap();
        assert!(found.max_abs_diff > 1e-3);
        assert!(found.offending.len() > 10);
    }

    #[test]
    fn accuracy_and_latency() {
        let mut a = session(&linear(-1, [1.0, 0.0, 0.0, 1.0]));
        let mut b = session(&linear(1, [1.0, 0.0, 0.0, 1.0]));
        let samples = Samples::Random { seed: 4, count: 40 };
        let inputs = samples.batch(a.inputs(), 0..40).unwrap();
        let labels: Vec<usize> = inputs[0]
            .1
            .rows()
            .into_iter()
            .map(|row| usize::from(row[1].max(0.0) > row[0].max(0.0)))
            .collect();
        for session in [&mut a, &mut b] {
            let found = accuracy(session, &samples, &labels, 16, 0.0).unwrap();
            assert_eq!(found.fraction, 1.0);
        }
        let times = latency_ms(&mut [&mut a, &mut b], &samples, &Default::default()).unwrap();
        assert!(times.len() == 2 && times.iter().all(|&ms| ms > 0.0));
    }

    #[test]
    fn broken_models_and_inputs_are_one_line_errors() {
        let bytes = linear(-1, [1.0; 4]);
        for model in [&b"not a model"[..], &bytes[..bytes.len() / 2]] {
            let Err(error) = runtime().load(model, &SessionOptions::default()) else {
                panic!("loaded a broken model")
            };
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let mut session = runtime().load(&bytes, &SessionOptions::default()).unwrap();
        let wrong = ArrayD::zeros(IxDyn(&[1, 5]));
        assert!(matches!(
            session.run(&[("x".into(), wrong)]),
            Err(RuntimeError::Run { .. })
        ));
    }
}
