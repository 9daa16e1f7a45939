//! tract, the runtime that is built in (feature `tract`).

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::ArrayD;
use prost::Message;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue,
    Tensor, TractResult, TypedRunnableModel, tvec,
};

use super::runtime::{
    NamedTensors, Runtime, RuntimeError, Session, SessionOptions, TensorInfo, first_line,
};
use crate::onnx::fed_inputs;
use crate::onnx::proto::{
    GraphProto, ModelProto, ValueInfoProto, tensor_proto, tensor_shape_proto::dimension, type_proto,
};

const NAME: &str = "tract";

/// tract on the CPU. It has no choice of optimisation level; it always optimises.
#[derive(Clone, Copy, Debug, Default)]
pub struct TractRuntime;

impl Runtime for TractRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> &str {
        // tract does not say; this is the version the manifest asks for.
        "0.23"
    }

    fn load(
        &self,
        model: &[u8],
        _options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError> {
        let fail = |reason: String| RuntimeError::Load {
            runtime: NAME,
            reason,
        };
        let proto = ModelProto::decode(model).map_err(|e| fail(first_line(e)))?;
        let graph = proto.graph.ok_or_else(|| fail("no graph".into()))?;
        let (inputs, outputs) = interface(&graph);
        let model = tract_onnx::onnx()
            // Both are written for the batch the exporter saw, and tract takes them literally.
            .with_ignore_output_shapes(true)
            .with_ignore_value_info(true)
            .model_for_read(&mut std::io::Cursor::new(model))
            .map_err(|e| fail(first_line(format!("{e:#}"))))?;
        Ok(Box::new(TractSession {
            model,
            inputs,
            outputs,
            plans: HashMap::new(),
        }))
    }
}

/// Inputs (without those that are initializers) and outputs of a graph.
fn interface(graph: &GraphProto) -> (Vec<TensorInfo>, Vec<TensorInfo>) {
    (
        fed_inputs(graph).map(info).collect(),
        graph.output.iter().map(info).collect(),
    )
}

fn info(value: &ValueInfoProto) -> TensorInfo {
    let tensor = match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
        _ => None,
    };
    let dims = tensor
        .and_then(|t| t.shape.as_ref())
        .map(|shape| &shape.dim);
    let size = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    TensorInfo {
        name: value.name().to_owned(),
        float: tensor.is_some_and(|t| t.elem_type() == tensor_proto::DataType::Float as i32),
        bytes: false,
        shape: dims.map_or(Vec::new(), |dims| {
            dims.iter().map(|d| size(&d.value)).collect()
        }),
    }
}

struct TractSession {
    model: InferenceModel,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// A plan for each set of input shapes: tract wants them concrete.
    plans: HashMap<Vec<Vec<usize>>, Arc<TypedRunnableModel>>,
}

impl TractSession {
    fn plan(&mut self, shapes: Vec<Vec<usize>>) -> TractResult<Arc<TypedRunnableModel>> {
        if let Some(plan) = self.plans.get(&shapes) {
            return Ok(Arc::clone(plan));
        }
        let mut model = self.model.clone();
        for (number, shape) in shapes.iter().enumerate() {
            let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
            model.set_input_fact(number, fact)?;
        }
        let plan = model.into_optimized()?.into_runnable()?;
        self.plans.insert(shapes, Arc::clone(&plan));
        Ok(plan)
    }

    fn evaluate(&mut self, inputs: Vec<ArrayD<f32>>) -> TractResult<Vec<ArrayD<f32>>> {
        let shapes = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let plan = self.plan(shapes)?;
        let mut values = tvec![];
        for input in inputs {
            values.push(Tensor::from(input).into_tvalue());
        }
        plan.run(values)?
            .iter()
            .map(|value| {
                let float = value.cast_to::<f32>()?;
                Ok(float.to_plain_array_view::<f32>()?.to_owned())
            })
            .collect()
    }
}

impl Session for TractSession {
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
        // tract takes inputs by position.
        let ordered = self
            .inputs
            .iter()
            .map(|info| {
                let input = inputs.iter().find(|(name, _)| *name == info.name);
                let (_, x) = input.ok_or_else(|| fail(format!("no input `{}`", info.name)))?;
                Ok(x.as_standard_layout().into_owned())
            })
            .collect::<Result<Vec<_>, RuntimeError>>()?;
        let results = self
            .evaluate(ordered)
            .map_err(|e| fail(first_line(format!("{e:#}"))))?;
        let names = self.outputs.iter().map(|output| output.name.clone());
        Ok(names.zip(results).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::super::{BatchedSession, OrtRuntime, Samples, Tolerance, compare};
    use super::*;

    #[test]
    fn agrees_with_onnx_runtime_at_any_batch_size() {
        let model = Build::default()
            .input("x", &[-1, 2])
            .weight("w", &[2, 3], &[1.0, 2.0, 3.0, -4.0, 5.0, 6.0])
            .node("Relu", &["x"], "r")
            .node("MatMul", &["r", "w"], "y")
            .output("y")
            .model()
            .encode_to_vec();
        let load = |runtime: &dyn Runtime| {
            BatchedSession::new(runtime.load(&model, &SessionOptions::default()).unwrap())
        };
        let ort = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
        let (mut reference, mut candidate) = (load(&ort), load(&TractRuntime));
        let samples = Samples::Random { seed: 1, count: 11 };
        let tolerance = Tolerance::default();
        let found = compare(&mut reference, &mut candidate, &samples, 4, tolerance).unwrap();
        assert_eq!((found.samples, found.offending.len()), (11, 0));
        assert!(
            TractRuntime
                .load(b"broken", &SessionOptions::default())
                .is_err()
        );
    }
}
