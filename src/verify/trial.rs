//! One run of a model on made-up inputs: does it load and run at all, and what comes out?

use ndarray::{ArrayD, IxDyn};
use ndarray_rand::rand::{Rng as _, SeedableRng};
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use super::ort::OrtRuntime;
use super::runtime::{RuntimeError, SessionOptions, first_line};
use super::samples::Samples;

/// Largest made-up input in elements.
const MAX_ELEMENTS: usize = 1 << 28;

/// What came of a run on made-up inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Trial {
    /// It ran.
    Ran {
        /// What came out.
        outputs: Vec<TrialOutput>,
        /// An input of integers or text: other values may give other shapes, or no numbers.
        guessed: Option<String>,
    },
    /// It loads, but there is no telling what to feed it, and why.
    NotRun(String),
}

/// What an output held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialOutput {
    /// Name in the graph.
    pub name: String,
    /// Its dimensions; `None` if it is no tensor.
    pub shape: Option<Vec<usize>>,
    /// Number of elements.
    pub elements: usize,
    /// Of these, NaN or infinite.
    pub non_finite: usize,
}

impl OrtRuntime {
    /// [`Runtime::try_out`](super::Runtime::try_out) with inputs of any element type. Float inputs are drawn from a standard normal distribution;
    /// bytes from their whole range; wider integers, which are mostly indices and sizes, are 0 or 1.
    ///
    /// # Errors
    /// If the model cannot be loaded; or run, except where an integer or string input may be to
    /// blame.
    pub(super) fn try_any_types(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        let options = SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        };
        let mut session = self.session(model, &options)?;
        let mut guessed = None;
        let mut inputs: Vec<(String, SessionInputValue<'static>)> = Vec::new();
        for (number, input) in session.inputs().iter().enumerate() {
            let number = (number as u64).wrapping_mul(0xd134_2543_de82_ef95);
            let mut rng = ChaCha12Rng::seed_from_u64(seed ^ number);
            match made_up(input.dtype(), &mut rng) {
                Ok((value, certain)) => {
                    if !certain {
                        guessed.get_or_insert_with(|| input.name().to_owned());
                    }
                    inputs.push((input.name().to_owned(), value.into()));
                }
                Err(why) => {
                    return Ok(Trial::NotRun(format!("input '{}' {why}", input.name())));
                }
            }
        }
        match (outputs_of(&mut session, inputs), guessed) {
            (Ok(outputs), guessed) => Ok(Trial::Ran { outputs, guessed }),
            (Err(reason), Some(input)) => Ok(Trial::NotRun(format!(
                "input '{input}' takes integers or text, and what was made up does not suit: {reason}"
            ))),
            (Err(reason), None) => Err(RuntimeError::Run {
                runtime: super::ort::NAME,
                reason,
            }),
        }
    }
}

/// [`Runtime::try_out`](super::Runtime::try_out) for a runtime that takes 32-bit floats only.
///
/// # Errors
/// If the model cannot be loaded or run.
pub(super) fn try_floats(
    session: &mut dyn super::Session,
    seed: u64,
) -> Result<Trial, RuntimeError> {
    let samples = Samples::Random { seed, count: 1 };
    let inputs = match samples.batch(session.inputs(), 0..1) {
        Ok(inputs) => inputs,
        Err(e) => return Ok(Trial::NotRun(e.to_string())),
    };
    let outputs = session
        .run(&inputs)?
        .into_iter()
        .map(|(name, y)| TrialOutput {
            name,
            shape: Some(y.shape().to_vec()),
            elements: y.len(),
            non_finite: y.iter().filter(|v| !v.is_finite()).count(),
        });
    Ok(Trial::Ran {
        outputs: outputs.collect(),
        guessed: None,
    })
}

/// A value for an input, and whether any value of that type can be expected to suit.
fn made_up(kind: &ValueType, rng: &mut ChaCha12Rng) -> Result<(DynValue, bool), String> {
    let ValueType::Tensor { ty, shape, .. } = kind else {
        return Err("is no tensor".to_owned());
    };
    let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let dims = dims.ok_or("leaves its size free")?;
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if count.is_none_or(|n| n > MAX_ELEMENTS) {
        return Err(format!("is too large: {dims:?}"));
    }
    let dims = IxDyn(&dims);
    macro_rules! tensor {
        ($draw:expr) => {{
            let array = ArrayD::from_shape_simple_fn(dims, || $draw);
            let value = Tensor::from_array(array).map_err(first_line)?;
            value.into_dyn()
        }};
    }
    let mut normal = || -> f64 { StandardNormal.sample(rng) };
    Ok(match ty {
        TensorElementType::Float32 => (tensor!(normal() as f32), true),
        TensorElementType::Float64 => (tensor!(normal()), true),
        TensorElementType::Uint8 => (tensor!(rng.random::<u8>()), true),
        TensorElementType::Int8 => (tensor!(rng.random::<i8>()), true),
        TensorElementType::Int16 => (tensor!(rng.random_range(0..2i16)), false),
        TensorElementType::Uint16 => (tensor!(rng.random_range(0..2u16)), false),
        TensorElementType::Int32 => (tensor!(rng.random_range(0..2i32)), false),
        TensorElementType::Uint32 => (tensor!(rng.random_range(0..2u32)), false),
        TensorElementType::Int64 => (tensor!(rng.random_range(0..2i64)), false),
        TensorElementType::Uint64 => (tensor!(rng.random_range(0..2u64)), false),
        TensorElementType::Bool => (tensor!(rng.random::<bool>()), false),
        TensorElementType::String => {
            let array = ArrayD::from_elem(dims, "a".to_owned());
            let value = Tensor::from_string_array(&array).map_err(first_line)?;
            (value.into_dyn(), false)
        }
        other => {
            return Err(format!(
                "has the element type {other}, which is not made up here"
            ));
        }
    })
}

fn outputs_of(
    session: &mut Session,
    inputs: Vec<(String, SessionInputValue<'static>)>,
) -> Result<Vec<TrialOutput>, String> {
    let results = session.run(inputs).map_err(first_line)?;
    let mut outputs = Vec::new();
    for (name, value) in results.iter() {
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
            outputs.push(TrialOutput {
                name: name.to_owned(),
                shape: None,
                elements: 0,
                non_finite: 0,
            });
            continue;
        };
        let shape: Vec<usize> = shape
            .iter()
            .map(|&d| usize::try_from(d).unwrap_or(0))
            .collect();
        let non_finite = match ty {
            TensorElementType::Float32 => {
                let array = value.try_extract_array::<f32>().map_err(first_line)?;
                array.iter().filter(|x| !x.is_finite()).count()
            }
            TensorElementType::Float64 => {
                let array = value.try_extract_array::<f64>().map_err(first_line)?;
                array.iter().filter(|x| !x.is_finite()).count()
            }
            _ => 0,
        };
        outputs.push(TrialOutput {
            name: name.to_owned(),
            elements: shape.iter().product(),
            shape: Some(shape),
            non_finite,
        });
    }
    Ok(outputs)
}
