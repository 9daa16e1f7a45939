//! Several processes that learn one network: the first does the whole job, the others learn along.

use super::train::TrainJob;
use super::{
    Choice, Job, View, Watch, fit, given, identity, images, learn, load_model, opened, options,
};
use crate::checkpoint::{Checkpoint, Folder, Identity, Plan};
use crate::distributed::Communicator;
use crate::error::Error;
use crate::forms;
use crate::network::Network;
use crate::progress::Observer;
use crate::subsidiary::{Control, retrain};

/// What all processes of a job but the first do: learn along. They write nothing.
///
/// # Errors
/// Whatever stops this process, or another one.
pub fn follow(
    job: &Job,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<(), Error> {
    let (Choice::Learn(tuning), Some(source)) = (&job.choice, &job.source) else {
        return Err(nothing_to_share());
    };
    processes.gather(&[])?;
    let model = load_model(&job.input, &job.sizes, Some(source))?;
    let (original, _) = opened(job, &model)?;
    let view = View::new(&job.input, &original)?;
    let job = &Job {
        keep: given::kept(job, &view)?,
        ..job.clone()
    };
    let images = images::load_to_learn_from(&job.input, &view, source, job.seed, observer)?;
    fit::learnable(&job.input, &view)?;
    let options = options(job, tuning, &images)?;
    let watch = Watch {
        observer,
        folder: None,
        processes,
    };
    learn(job, &model, &view, &images, &options, watch)?;
    Ok(())
}

/// [`follow`], of a network that is trained as it is.
///
/// # Errors
/// Whatever stops this process, or another one.
pub fn follow_training(
    job: &TrainJob,
    observer: &dyn Observer,
    processes: &dyn Communicator,
) -> Result<(), Error> {
    processes.gather(&[])?;
    let model = load_model(&job.input, &job.sizes, Some(&job.source))?;
    let opened = forms::unpack(&model.proto);
    let opened = opened.map_err(|e| super::written::form_error(&job.input, e))?;
    let view = View::new(&job.input, &opened)?;
    fit::learnable(&job.input, &view)?;
    let seed = job.options.seed;
    let images = images::load_to_learn_from(&job.input, &view, &job.source, seed, observer)?;
    let network = Network::import(&view.graph, &view.facts, &view.layers);
    let mut network = network.map_err(|source| Error::Import {
        path: job.input.clone(),
        source,
    })?;
    let run = || identity::of_training(job, &model, &images);
    agreed(run, None, processes)?;
    let control = Control {
        observer: &Together {
            observer,
            processes,
        },
        checkpoint: None,
        processes,
    };
    let augment = job.source.augment;
    retrain(&mut network, &images, augment, &job.options, control)
        .map_err(|e| Error::of_training(e, &job.input))?;
    Ok(())
}

/// The checkpoint of a run in a folder, if there is one, and if all processes are about to do the same. What a run
/// is, is found out only where somebody asks: that reads all images.
///
/// # Errors
/// If a process has another model, other images or other options, or the model can no longer be read.
pub(super) fn agreed(
    run: impl FnOnce() -> Result<Identity, Error>,
    folder: Option<(Folder, &Plan)>,
    processes: &dyn Communicator,
) -> Result<Option<Checkpoint>, Error> {
    if processes.size() == 1 && folder.is_none() {
        return Ok(None);
    }
    let run = run()?;
    if processes.size() > 1 {
        same(&run, processes)?;
    }
    Ok(folder.map(|(folder, plan)| Checkpoint::new(folder, plan.every, run)))
}

/// Checks that all processes are about to do the same.
fn same(run: &Identity, processes: &dyn Communicator) -> Result<(), Error> {
    let mut run = run.clone();
    let instructions = bnn_kernels::simd::instructions().to_owned();
    run.insert("the processor's instructions".to_owned(), instructions);
    let text = |run: &Identity| -> Vec<String> {
        run.iter()
            .map(|(name, value)| format!("{name} ({value})"))
            .collect()
    };
    let all = processes.gather(text(&run).join("\n").as_bytes())?;
    let read = |rank: usize| String::from_utf8_lossy(&all[rank]).into_owned();
    let first = read(0);
    for rank in 1..all.len() {
        let theirs = read(rank);
        let known: Vec<&str> = first.lines().collect();
        if let Some(other) = theirs.lines().find(|line| !known.contains(line)) {
            return Err(Error::Usage(format!(
                "process {rank} of the run (counted from 0) would learn something else than the first: it has {other}"
            )));
        }
    }
    Ok(())
}

/// The error of a job of several processes that does not learn.
pub(super) fn nothing_to_share() -> Error {
    Error::Usage(
        "mpirun: nothing is learned here that processes could share; run it without mpirun"
            .to_owned(),
    )
}

/// Progress of several processes, which stop together.
pub(super) struct Together<'a> {
    pub observer: &'a dyn Observer,
    pub processes: &'a dyn Communicator,
}

impl Observer for Together<'_> {
    fn behind(&self) -> Option<&dyn Observer> {
        Some(self.observer)
    }

    fn cancelled(&self) -> bool {
        // The first one stops by itself, where it can save the run; the others hear of that.
        self.processes.stops() || (self.processes.rank() == 0 && self.observer.cancelled())
    }
}
