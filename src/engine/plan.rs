//! What runs as one, and when memory comes free: decided once, before anything runs.

use std::ops::Range;

use super::gradients::{Precision, Wanted};
use super::tasks::{self, StepGradients, Task};
use super::weights::Weights;
use crate::network::{Input, Network, ParamId, StepId, ValueId};
use crate::ops::{Role, Signs};

/// How a plan runs.
#[derive(Debug, Clone, Default)]
pub struct Mode {
    /// BatchNormalizations at and behind this step normalise by the batch's statistics, the others
    /// by their running ones. `None`: all by their running ones.
    pub batch_statistics_from: Option<StepId>,
    /// The parameters whose gradients a backward pass is to compute.
    pub wanted: Wanted,
    /// Whether it is to compute the gradient of the network's input as well.
    pub input: bool,
    /// How binary layers compute gradients.
    pub gradients: Precision,
}

/// The tasks that take a network from one position to another, in order, each with the form of what
/// it writes.
///
/// A plan for training may be used while parameters change, as long as the steps stay. A plan for
/// inference holds thresholds, which are those of the network's parameters when it was made.
#[derive(Debug)]
pub struct Plan {
    pub(super) range: Range<StepId>,
    pub(super) tasks: Vec<Planned>,
    /// Tasks between which nothing is known of the whole batch; all but the first begin with one that
    /// normalises by its statistics.
    pub(super) stretches: Vec<Range<usize>>,
    pub(super) mode: Mode,
    /// Of the network's steps when the plan was made.
    pub(super) revision: u64,
    /// What steps behind the range read.
    pub(super) boundary: Vec<ValueId>,
}

/// A task in its place.
#[derive(Debug)]
pub(super) struct Planned {
    pub task: Box<dyn Task>,
    /// What it writes.
    pub output: ValueId,
    /// Whether a gradient of its output leads to a wanted parameter.
    pub moves: bool,
    /// Values that nobody reads afterwards.
    pub free: Vec<ValueId>,
}

impl Plan {
    /// The steps `range` of a network, as `mode` says.
    pub fn new(network: &Network, range: Range<StepId>, mode: Mode) -> Self {
        Planner::new(network, range, mode).plan(None)
    }

    /// The steps `range` of a network by running statistics, without a backward pass: activations
    /// stay packed from one binary layer to the next where that is possible.
    pub fn inference(network: &Network, weights: &Weights, range: Range<StepId>) -> Self {
        Planner::new(network, range, Mode::default()).plan(Some(weights))
    }

    /// Every step by its operator alone: the reference that tests compare with.
    #[cfg(test)]
    pub(crate) fn step_by_step(network: &Network, range: Range<StepId>, mode: Mode) -> Self {
        let mut planner = Planner::new(network, range, mode);
        planner.joins = false;
        planner.plan(None)
    }

    /// Steps of each elementwise chain.
    #[cfg(test)]
    pub(crate) fn chains(&self) -> Vec<usize> {
        let chains = self.tasks.iter().filter(|t| t.task.is_chain());
        chains.map(|t| t.task.steps().len()).collect()
    }
}

/// See [`Plan::stretches`].
fn stretches(tasks: &[Planned]) -> Vec<Range<usize>> {
    let starts = tasks.iter().enumerate();
    let starts = starts.filter(|(_, t)| t.task.normalizer().is_some());
    let mut bounds = vec![0];
    bounds.extend(starts.map(|(i, _)| i));
    bounds.push(tasks.len());
    bounds.windows(2).map(|w| w[0]..w[1]).collect()
}

/// A plan in the making.
struct Planner<'n> {
    network: &'n Network,
    range: Range<StepId>,
    mode: Mode,
    /// See [`Network::readers`].
    readers: Vec<Vec<usize>>,
    /// Values that depend on what a gradient is wanted of.
    moving: Vec<bool>,
    /// Values that the backward pass reads.
    kept: Vec<bool>,
    /// Values that are written as sums.
    sums: Vec<bool>,
    /// Run steps as one where that gives the same bits (always, but in tests).
    joins: bool,
}

impl<'n> Planner<'n> {
    fn new(network: &'n Network, range: Range<StepId>, mode: Mode) -> Self {
        let end = range.end.min(network.end());
        let values = network.value_count();
        let mut moving = vec![false; values];
        moving[network.input().0] = mode.input;
        Self {
            network,
            range: range.start.min(end)..end,
            mode,
            readers: network.readers(),
            moving,
            kept: vec![false; values],
            sums: vec![false; values],
            joins: true,
        }
    }

    fn plan(mut self, inference: Option<&Weights>) -> Plan {
        let (start, end) = (self.range.start.0, self.range.end.0);
        let mut planned: Vec<Box<dyn Task>> = Vec::new();
        let mut done = vec![false; end];
        for at in start..end {
            if done[at] {
                continue;
            }
            let task = self.task(StepId(at), inference);
            task.steps().iter().for_each(|s| done[s.0] = true);
            planned.push(task);
        }
        self.finish(planned)
    }

    /// The task that begins with a step.
    fn task(&mut self, at: StepId, inference: Option<&Weights>) -> Box<dyn Task> {
        if let Some(weights) = inference
            && let Some(chain) = self.threshold_chain(at, weights)
        {
            return Box::new(chain);
        }
        if let Some(chain) = self.elementwise_chain(at) {
            return Box::new(chain);
        }
        if self.normalises_by_batch(at)
            && let Some(chain) = self.normalizer(at)
        {
            return Box::new(chain);
        }
        let operator = self.operator(at);
        let step = self.network.step(at);
        let Some(shape) = self.input_shape(at) else {
            return Box::new(operator);
        };
        if tasks::binary_form(self.network, step, &shape).is_some() {
            let sums = match self.readers[step.output.0][..] {
                [reader] if self.joins => self.takes_sums(StepId(reader), step.output),
                _ => false,
            };
            self.sums[step.output.0] = sums;
            return Box::new(tasks::BinaryLayer { operator, sums });
        }
        if inference.is_some() && tasks::float_form(self.network, step, &shape).is_some() {
            return Box::new(tasks::FloatConvolution { operator });
        }
        Box::new(operator)
    }

    /// The tasks in their places: what each one frees.
    fn finish(self, planned: Vec<Box<dyn Task>>) -> Plan {
        let network = self.network;
        let boundary = network.boundary(self.range.end);
        // For each value the last task that reads it.
        let mut last = vec![None; network.value_count()];
        for (i, task) in planned.iter().enumerate() {
            for v in task.steps().iter().flat_map(|&s| network.values_read(s)) {
                last[v.0] = Some(i);
            }
        }
        let stays = |v: ValueId| self.kept[v.0] || boundary.contains(&v);
        let count = planned.len();
        let tasks = planned.into_iter().enumerate().map(|(i, task)| {
            let inside: Vec<ValueId> = (task.steps().iter())
                .map(|&s| network.step(s).output)
                .collect();
            let output = inside.last().copied().unwrap_or(network.input());
            let read = task.steps().iter().flat_map(|&s| network.values_read(s));
            let mut free: Vec<ValueId> = read
                .filter(|v| last[v.0] == Some(i) && !stays(*v) && !inside.contains(v))
                .collect();
            if last[output.0].is_none() && !stays(output) && i + 1 < count {
                free.push(output);
            }
            free.sort_unstable();
            free.dedup();
            Planned {
                moves: self.moving[output.0],
                task,
                output,
                free,
            }
        });
        let tasks: Vec<Planned> = tasks.collect();
        Plan {
            stretches: stretches(&tasks),
            tasks,
            range: self.range.clone(),
            revision: network.revision(),
            mode: self.mode,
            boundary,
        }
    }

    /// The shape of what a step reads first, for a batch of one.
    fn input_shape(&self, at: StepId) -> Option<Vec<usize>> {
        match self.network.step(at).inputs.first()? {
            Input::Value(v) => Some([&[1], self.network.sample_shape(*v)?].concat()),
            Input::Param(_) | Input::Binary(_) => None,
        }
    }

    fn wants(&self, p: ParamId) -> bool {
        self.mode.wanted.contains(p)
    }

    fn batch_statistics(&self, at: StepId) -> bool {
        (self.mode.batch_statistics_from).is_some_and(|from| at >= from)
    }

    /// Whether a gradient of a step's parameters is wanted.
    fn is_trained(&self, at: StepId) -> bool {
        self.network.step(at).inputs.iter().any(|i| match i {
            Input::Param(p) => self.wants(*p),
            Input::Value(_) | Input::Binary(_) => false,
        })
    }

    /// Which gradients a step computes; notes whether its output depends on a wanted parameter.
    fn step_gradients(&mut self, at: StepId) -> StepGradients {
        let step = self.network.step(at);
        let wanted = step.inputs.iter().map(|i| match i {
            Input::Value(v) => self.moving[v.0],
            Input::Param(p) => self.wants(*p),
            Input::Binary(b) => (self.network.binary_params(*b)).any(|p| self.wants(p)),
        });
        let gradients = StepGradients {
            wanted: wanted.collect(),
        };
        self.moving[step.output.0] = gradients.any();
        gradients
    }

    /// A step by its operator.
    fn operator(&mut self, at: StepId) -> tasks::Operator {
        let gradients = self.step_gradients(at);
        let step = self.network.step(at);
        if gradients.any() {
            for (k, input) in step.inputs.iter().enumerate() {
                if let Input::Value(v) = input {
                    self.kept[v.0] |= step.op.needs_input(k, &gradients.wanted);
                }
            }
        }
        tasks::Operator {
            step: at,
            gradients,
        }
    }

    fn threshold_chain(&self, at: StepId, weights: &Weights) -> Option<tasks::ThresholdChain> {
        let shape = self.input_shape(at)?;
        tasks::ThresholdChain::behind(
            self.network,
            weights,
            at,
            self.range.end,
            &shape,
            &self.readers,
        )
    }

    /// What a step is in a chain of elementwise steps on samples of that shape.
    fn link(&self, at: StepId, sample: &[usize]) -> Option<tasks::Link<'n>> {
        tasks::Link::of(self.network, at, sample)
    }

    /// Whether a step normalises by the batch's statistics.
    fn normalises_by_batch(&self, at: StepId) -> bool {
        let role = self.network.step(at).op.traits(&[]).role;
        matches!(role, Role::Normalization(_)) && self.batch_statistics(at)
    }

    /// Such a step alone.
    fn normalizer(&mut self, at: StepId) -> Option<tasks::ElementwiseChain> {
        let input = self.network.data_input(at)?;
        let gradients = self.step_gradients(at);
        self.kept[input.0] |= gradients.any();
        Some(tasks::ElementwiseChain {
            steps: vec![at],
            input,
            gradients: vec![gradients],
            normalization: Some((0, true)),
            codes: false,
        })
    }

    /// Whether a chain begins with a step that reads a binary layer's sums as they are.
    fn takes_sums(&self, reader: StepId, sums: ValueId) -> bool {
        let Some(sample) = self.network.sample_shape(sums) else {
            return false;
        };
        if reader >= self.range.end || !tasks::large_enough(sample) {
            return false;
        }
        match self.link(reader, sample) {
            Some(tasks::Link::Normalization(_)) => true,
            Some(tasks::Link::Map(_)) => !self.is_trained(reader),
            None => false,
        }
    }

    /// Whether a step is a binary layer that runs on codes, for samples of that shape.
    fn takes_codes(&self, at: StepId, sample: &[usize]) -> bool {
        let step = self.network.step(at);
        tasks::binary_form(self.network, step, &[&[1], sample].concat()).is_some()
    }

    /// The steps from `first` on that run as one: at least two, or one that reads sums.
    fn elementwise_chain(&mut self, first: StepId) -> Option<tasks::ElementwiseChain> {
        let network = self.network;
        let input = network.data_input(first).filter(|_| self.joins)?;
        let sample = network.sample_shape(input)?;
        if !tasks::large_enough(sample) {
            return None;
        }
        let (mut steps, mut normalization, mut signs) = (Vec::new(), None, false);
        for at in (first.0..self.range.end.0).map(StepId) {
            let step = network.step(at);
            if let Some(&StepId(before)) = steps.last() {
                let output = network.steps()[before].output;
                let follows = network.data_input(at) == Some(output);
                if !follows || self.readers[output.0].len() != 1 {
                    break;
                }
            }
            let traits = step.op.traits(&[]);
            // The gradient of a mask that is learned is one of the chain's output.
            let ends = matches!(traits.role, Role::Mask(_)) && self.is_trained(at);
            match self.link(at, sample) {
                Some(tasks::Link::Normalization(_)) if normalization.is_none() => {
                    normalization = Some((steps.len(), self.batch_statistics(at)));
                }
                Some(tasks::Link::Map(_)) if ends || !self.is_trained(at) => {}
                _ => break,
            }
            signs = match traits.signs {
                Signs::Makes => true,
                Signs::Keeps => signs,
                Signs::No => false,
            };
            steps.push(at);
            if ends {
                break;
            }
        }
        let least = if self.sums[input.0] { 1 } else { 2 };
        if steps.len() < least {
            return None;
        }
        let output = network.step(*steps.last()?).output;
        let gradients: Vec<_> = steps.iter().map(|&s| self.step_gradients(s)).collect();
        self.kept[input.0] |= self.moving[output.0];
        let readers = &self.readers[output.0];
        let codes = signs
            && (2..=3).contains(&sample.len())
            && readers
                .iter()
                .all(|&r| r < self.range.end.0 && self.takes_codes(StepId(r), sample));
        Some(tasks::ElementwiseChain {
            steps,
            input,
            gradients,
            normalization,
            codes,
        })
    }
}
