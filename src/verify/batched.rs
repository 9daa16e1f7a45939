//! Models whose batch size is fixed in the graph, run as if it were free.

use ndarray::{ArrayD, Axis, Slice, concatenate};

use super::runtime::{NamedTensors, RuntimeError, Session, TensorInfo};

/// A session that takes batches of any size.
///
/// A batch size declared by the model's inputs, or baked into a Reshape so that only size 1
/// runs, is respected: a batch is cut into pieces of that size, the last one filled up with
/// copies of its last sample, and the outputs are joined again.
pub struct BatchedSession {
    session: Box<dyn Session>,
    fixed: Option<usize>,
}

impl BatchedSession {
    /// Wraps a session.
    pub fn new(session: Box<dyn Session>) -> Self {
        let fixed = declared_batch(session.inputs());
        BatchedSession { session, fixed }
    }

    /// See [`Session::inputs`].
    pub fn inputs(&self) -> &[TensorInfo] {
        self.session.inputs()
    }

    /// See [`Session::outputs`].
    pub fn outputs(&self) -> &[TensorInfo] {
        self.session.outputs()
    }

    /// The batch size the graph insists on, as far as it is known: a size that no input declares
    /// shows when a larger batch is run.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.fixed
    }

    /// Whether the graph showed that it runs samples one by one, which its inputs do not say.
    pub fn is_of_one(&self) -> bool {
        self.fixed == Some(1) && declared_batch(self.session.inputs()).is_none()
    }

    /// Runs `inputs`, whose first dimension is the batch.
    ///
    /// # Errors
    /// If the runtime fails at every batch size the model may have.
    pub fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
        let samples = batch_of(inputs);
        if let Some(size) = self.fixed {
            return self.run_in_pieces(inputs, samples, size);
        }
        match self.session.run(inputs) {
            Ok(outputs) if keeps_batch(&outputs, samples) => Ok(outputs),
            Ok(outputs) if samples <= 1 => Ok(outputs),
            // The graph may hold a batch of 1 that its inputs do not declare.
            outcome => match (outcome, self.run_in_pieces(inputs, samples, 1)) {
                (_, Ok(outputs)) if samples > 1 => {
                    self.fixed = Some(1);
                    Ok(outputs)
                }
                (outcome, _) => outcome,
            },
        }
    }

    /// Runs `inputs` `warm_up` times and `runs` times more; of these, how many milliseconds each
    /// took in the runtime.
    ///
    /// # Errors
    /// As [`BatchedSession::run`].
    pub fn time(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
        warm_up: usize,
        runs: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        let samples = batch_of(inputs);
        let Some(size) = self.fixed else {
            return self.session.time(inputs, warm_up, runs);
        };
        let mut times = vec![0.0; runs];
        for start in (0..samples).step_by(size.max(1)) {
            let take = size.min(samples - start);
            let piece = piece_of_each(inputs, start, take, size);
            let found = self.session.time(&piece, warm_up, runs)?;
            times.iter_mut().zip(found).for_each(|(sum, t)| *sum += t);
        }
        Ok(times)
    }

    fn run_in_pieces(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
        samples: usize,
        size: usize,
    ) -> Result<NamedTensors, RuntimeError> {
        let mut pieces: Vec<NamedTensors> = Vec::new();
        for start in (0..samples).step_by(size.max(1)) {
            let take = size.min(samples - start);
            let mut outputs = self
                .session
                .run(&piece_of_each(inputs, start, take, size))?;
            if !keeps_batch(&outputs, size) {
                return Err(RuntimeError::Interface(format!(
                    "the first axis of its inputs, of size {size}, is not the batch, as its outputs do not have {size} rows; export it with a batch in front"
                )));
            }
            for (_, output) in &mut outputs {
                output.slice_axis_inplace(Axis(0), Slice::from(..take));
            }
            pieces.push(outputs);
        }
        join(pieces)
    }
}

/// The batch size that the inputs declare, if they do.
fn declared_batch(inputs: &[TensorInfo]) -> Option<usize> {
    let first = inputs.iter().find(|input| !input.shape.is_empty())?;
    first
        .shape
        .first()
        .copied()
        .flatten()
        .filter(|&size| size > 0)
}

fn keeps_batch(outputs: &NamedTensors, samples: usize) -> bool {
    outputs
        .iter()
        .all(|(_, x)| x.shape().first() == Some(&samples))
}

/// Samples in `inputs`.
fn batch_of(inputs: &[(String, ArrayD<f32>)]) -> usize {
    let first = inputs.first();
    first.map_or(0, |(_, x)| x.shape().first().copied().unwrap_or(1))
}

/// [`piece`] of each input.
fn piece_of_each(
    inputs: &[(String, ArrayD<f32>)],
    start: usize,
    take: usize,
    size: usize,
) -> NamedTensors {
    let of = |(name, x): &(String, ArrayD<f32>)| (name.clone(), piece(x, start, take, size));
    inputs.iter().map(of).collect()
}

/// Samples `start..start + take` of `x`, filled up to `size` with the last one.
fn piece(x: &ArrayD<f32>, start: usize, take: usize, size: usize) -> ArrayD<f32> {
    let rows: Vec<usize> = (0..size)
        .map(|i| start + i.min(take.saturating_sub(1)))
        .collect();
    x.select(Axis(0), &rows)
}

fn join(pieces: Vec<NamedTensors>) -> Result<NamedTensors, RuntimeError> {
    let Some(first) = pieces.first() else {
        return Ok(Vec::new());
    };
    (0..first.len())
        .map(|output| {
            let views: Vec<_> = pieces
                .iter()
                .filter_map(|piece| piece.get(output))
                .map(|(_, x)| x.view())
                .collect();
            let joined = concatenate(Axis(0), &views).map_err(|_| {
                RuntimeError::Interface(format!(
                    "output `{}` changes its shape from batch to batch",
                    first[output].0
                ))
            })?;
            Ok((first[output].0.clone(), joined))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, IxDyn};

    /// y = 2x on exactly `size` samples at a time.
    struct Doubler {
        info: Vec<TensorInfo>,
        size: usize,
        calls: usize,
    }

    impl Session for Doubler {
        fn inputs(&self) -> &[TensorInfo] {
            &self.info
        }
        fn outputs(&self) -> &[TensorInfo] {
            &self.info
        }
        fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
            self.calls += 1;
            let x = &inputs[0].1;
            if x.shape()[0] != self.size {
                return Err(RuntimeError::Interface("wrong batch".into()));
            }
            Ok(vec![("y".into(), x * 2.0)])
        }
    }

    fn session(declared: Option<usize>, size: usize) -> BatchedSession {
        let info = TensorInfo {
            bytes: false,
            name: "x".into(),
            float: true,
            shape: vec![declared, Some(3)],
        };
        BatchedSession::new(Box::new(Doubler {
            info: vec![info],
            size,
            calls: 0,
        }))
    }

    #[test]
    fn fixed_batches_are_filled_up_and_trimmed() {
        let x = Array::from_shape_fn(IxDyn(&[5, 3]), |i| (i[0] * 3 + i[1]) as f32);
        let inputs = [("x".to_owned(), x.clone())];
        for (declared, size) in [(Some(2), 2), (Some(8), 8), (Some(1), 1), (None, 1)] {
            let mut session = session(declared, size);
            let outputs = session.run(&inputs).unwrap();
            assert_eq!(outputs[0].1, &x * 2.0);
            assert_eq!(session.fixed_batch(), Some(size));
        }
        let mut free = session(None, 5);
        assert_eq!(free.run(&inputs).unwrap()[0].1, &x * 2.0);
        assert_eq!(free.fixed_batch(), None);
        assert!(session(None, 3).run(&inputs).is_err());
    }
}
