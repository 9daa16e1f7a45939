//! Saving a run, and going on from where it was saved.

use std::borrow::Cow;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::span::{Frozen, Span};
use super::state::{Done, Run, Saved, Stage, Training, Values};
use super::trainer::Trainer;
use super::{MaskGroup, mask};
use crate::checkpoint::Checkpoint;
use crate::distributed::Communicator;
use crate::network::{BinaryId, Input, Network, ParamId, StepId};

/// What both the frozen and the trained steps of a stage read, as it was when the stage began: the
/// frozen ones go on reading that.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Shared {
    params: Vec<(ParamId, ArrayD<f32>)>,
    columns: Vec<(BinaryId, Option<Vec<bool>>)>,
}

impl Shared {
    /// What steps before `from` and others read.
    pub(super) fn across(network: &Network, from: StepId) -> Self {
        let (mut params, mut binary) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (i, step) in network.steps().iter().enumerate() {
            let side = usize::from(i >= from.0);
            params[side].extend(network.params_of(StepId(i)));
            binary[side].extend(step.inputs.iter().filter_map(|input| match input {
                Input::Binary(b) => Some(*b),
                Input::Value(_) | Input::Param(_) => None,
            }));
        }
        let columns = |b: BinaryId| network.binary(b).kept_columns().map(<[bool]>::to_vec);
        let value = |p: ParamId| network.param(p).value.clone();
        Self {
            params: both(params).into_iter().map(|p| (p, value(p))).collect(),
            columns: both(binary).into_iter().map(|b| (b, columns(b))).collect(),
        }
    }

    /// Exchanges these values and the network's. Those of another network are left out.
    fn swap(&mut self, network: &mut Network) {
        for (p, value) in &mut self.params {
            network.exchange(*p, value);
        }
        for (b, columns) in &mut self.columns {
            network.exchange_kept_columns(*b, columns);
        }
    }
}

/// What to say of a run that was begun with another budget.
fn other_budget(run: &Run) -> String {
    let begun = match run.max_drop {
        // As it was typed, as far as anybody types.
        Some(most) => format!("--max-drop {}", (1e4 * most).round() / 100.0),
        None => "--max-drop none".to_owned(),
    };
    format!(
        "this run was begun with {begun}: filters that it gave back, and stages that it took, stay as they are; another folder for --checkpoint learns all with the new one"
    )
}

/// What two lists have in common, ascending.
fn both<T: Ord + Copy>([mut a, b]: [Vec<T>; 2]) -> Vec<T> {
    a.retain(|x| b.contains(x));
    a.sort_unstable();
    a.dedup();
    a
}

/// What a checkpoint holds beside the run and the network, until the phase that was under way takes
/// it up.
#[derive(Debug, Default)]
struct Resumed {
    shared: Shared,
    training: Option<Training>,
}

/// Where a run is saved, and what is yet to be taken up of what was saved there.
pub(super) struct Saving<'a> {
    checkpoint: Option<&'a mut Checkpoint>,
    /// What was found there, until the run goes on from it.
    found: Option<Saved<'static>>,
    resumed: Resumed,
}

impl<'a> Saving<'a> {
    /// Into a checkpoint, or nowhere; what the first process finds there is that of all of them.
    pub(super) fn to(
        checkpoint: Option<&'a mut Checkpoint>,
        processes: &dyn Communicator,
    ) -> Result<Self, TrainError> {
        let mut saving = Self {
            checkpoint,
            found: None,
            resumed: Resumed::default(),
        };
        saving.found = saving.saved(processes)?;
        Ok(saving)
    }

    /// Whether a run is saved there of which nothing is left to train.
    pub(super) fn is_finished(&self) -> bool {
        self.found.as_ref().is_some_and(|saved| saved.run.finished)
    }

    fn saved(&self, processes: &dyn Communicator) -> Result<Option<Saved<'static>>, TrainError> {
        let saved = match self.checkpoint.as_deref() {
            Some(checkpoint) => checkpoint.load::<Saved<'static>>()?,
            None => None,
        };
        if processes.size() == 1 {
            return Ok(saved);
        }
        let bytes = saved.as_ref().map(postcard::to_allocvec).transpose();
        let all = processes.gather(&bytes.map_err(|_| self.unfit())?.unwrap_or_default())?;
        match all.first() {
            Some(bytes) if !bytes.is_empty() => match postcard::from_bytes(bytes) {
                Ok(saved) => Ok(Some(saved)),
                Err(_) => Err(self.unfit()),
            },
            _ => Ok(None),
        }
    }

    /// The error of a checkpoint that does not fit the run.
    fn unfit(&self) -> TrainError {
        let unfit = self.checkpoint.as_deref().map(Checkpoint::unfit);
        unfit.map_or(TrainError::Interrupted, TrainError::from)
    }
}

impl Trainer<'_> {
    /// Goes on from the checkpoint, if there is one; whether there was. If not, the run is saved as
    /// it starts: a folder that cannot take it then shows now.
    pub(super) fn resume(&mut self, groups: &[MaskGroup]) -> Result<bool, TrainError> {
        let Some(saved) = self.saving.found.take() else {
            self.run.max_drop = self.options.max_drop;
            self.save(None, None)?;
            return Ok(false);
        };
        let run = saved.run.into_owned();
        if !run.fits(groups) {
            return Err(self.saving.unfit());
        }
        let begun = run.done.len() + usize::from(run.stage.is_some());
        for group in groups.iter().take(begun) {
            self.insert_mask(group, mask::hard(&vec![true; group.filters]))?;
        }
        if saved.values.restore(self.network).is_none() {
            return Err(self.saving.unfit());
        }
        self.saving.resumed = Resumed {
            shared: saved.shared.into_owned(),
            training: saved.training.map(Cow::into_owned),
        };
        let place = match run.finished {
            true => "all layers are learned".to_owned(),
            false => format!("{} of {} layers are learned", run.done.len(), groups.len()),
        };
        if let Some(checkpoint) = self.saving.checkpoint.as_deref() {
            let path = checkpoint.path();
            let note = format!("continuing from {}: {place}", path.display());
            self.observer.note(&note);
        }
        if run.max_drop != self.options.max_drop {
            self.observer.warn(&other_budget(&run));
        }
        self.run = run;
        Ok(true)
    }

    /// Saves the run, if there is a checkpoint to save it in. Within a stage with its span, within a
    /// phase of training with its state.
    pub(super) fn save(
        &mut self,
        span: Option<&Span>,
        training: Option<&Training>,
    ) -> Result<(), TrainError> {
        let Some(checkpoint) = self.saving.checkpoint.take() else {
            return Ok(());
        };
        let shared = span.map(|s| Cow::Borrowed(&s.shared));
        let run = std::mem::take(&mut self.run);
        let saved = checkpoint.save(&Saved {
            run: Cow::Borrowed(&run),
            training: training.map(Cow::Borrowed),
            shared: shared.unwrap_or_default(),
            values: Values::of(self.whole_network()),
        });
        self.run = run;
        self.saving.checkpoint = Some(checkpoint);
        Ok(saved?)
    }

    /// [`Trainer::save`], if that has not been done for a while.
    pub(super) fn save_if_due(
        &mut self,
        span: Option<&Span>,
        training: Option<&Training>,
    ) -> Result<(), TrainError> {
        match self
            .saving
            .checkpoint
            .as_deref()
            .is_some_and(Checkpoint::is_due)
        {
            true => self.save(span, training),
            false => Ok(()),
        }
    }

    /// In front of a batch: stops where the user wants that, with the run saved.
    pub(super) fn pause(&mut self, span: &Span, training: &Training) -> Result<(), TrainError> {
        if self.observer.cancelled() {
            self.save(Some(span), Some(training))?;
            return Err(TrainError::Interrupted);
        }
        self.save_if_due(Some(span), Some(training))
    }

    /// Begins the stage of a group, or takes it up where it was saved: its mask and its span.
    pub(super) fn enter(
        &mut self,
        group: &MaskGroup,
        seed: u64,
        frozen: Frozen,
    ) -> Result<(ParamId, Span), TrainError> {
        if self.run.stage.is_none() {
            let m = self.insert_mask(group, mask::initial(group.filters, seed))?;
            let span = self.span_from(group.first, frozen)?;
            self.run.stage = Some(Stage {
                mask: Some(m),
                ..Stage::default()
            });
            return Ok((m, span));
        }
        // A stage has its mask from the first; a checkpoint without is of another program.
        let Some(m) = self.stage().mask else {
            return Err(self.saving.unfit());
        };
        let mut shared = std::mem::take(&mut self.saving.resumed.shared);
        shared.swap(self.network);
        let span = self.span_from(group.first, frozen);
        shared.swap(self.network);
        Ok((m, span?))
    }

    /// The stage under way.
    pub(super) fn stage(&mut self) -> &mut Stage {
        self.run.stage.get_or_insert_default()
    }

    /// The training of `params` that was under way when the run was saved, if there was one.
    pub(super) fn take_up(&mut self, params: &[ParamId]) -> Result<Option<Training>, TrainError> {
        let Some(training) = self.saving.resumed.training.take() else {
            return Ok(None);
        };
        match training.fits(self.network, params) {
            false => Err(self.saving.unfit()),
            true => Ok(Some(training)),
        }
    }

    /// Ends the stage under way.
    pub(super) fn finish_stage(&mut self, done: Done) -> Result<(), TrainError> {
        self.run.done.push(done);
        self.run.stage = None;
        self.save(None, None)
    }

    /// Ends the run, whose result is then in the checkpoint until that is removed.
    pub(super) fn finish(&mut self) -> Result<(), TrainError> {
        match std::mem::replace(&mut self.run.finished, true) {
            true => Ok(()),
            false => self.save(None, None),
        }
    }
}
