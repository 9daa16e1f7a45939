//! Several processes of `mpirun` that run one command.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Printed;
use super::args::{Cli, Command};
use super::host::Outcome;
use crate::distributed::{Alone, Communicator};
use crate::error::Error;

/// Variables in which a launcher says how many processes it has started: Open MPI's, MPICH's, Slurm's.
const LAUNCHERS: [&str; 4] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MPI_LOCALNRANKS",
    "SLURM_STEP_NUM_TASKS",
];

/// The processes that run a command.
pub(super) enum Processes {
    /// One.
    One,
    /// Those of MPI.
    #[cfg(feature = "mpi")]
    Many(crate::distributed::mpi::Mpi),
}

impl Processes {
    /// Those that were started for a command; `stop` is set when this one is to stop.
    ///
    /// # Errors
    /// If there are several, and the command or this build knows nothing of that.
    pub(super) fn of(cli: &Cli, stop: &Arc<AtomicBool>) -> Result<Self, Error> {
        let counts = LAUNCHERS.iter().filter_map(|name| std::env::var(name).ok());
        let started = counts.filter_map(|n| n.parse::<usize>().ok()).max();
        if started.is_none_or(|n| n < 2) {
            return Ok(Self::One);
        }
        match &cli.command {
            None | Some(Command::Train(_)) => Self::many(stop),
            // A process of one that takes part.
            Some(Command::Worker(_)) => Ok(Self::One),
            Some(_) => Err(Error::Usage(
                "mpirun: only the main job and train share their work; run this command without mpirun"
                    .to_owned(),
            )),
        }
    }

    #[cfg(feature = "mpi")]
    fn many(stop: &Arc<AtomicBool>) -> Result<Self, Error> {
        let mpi = crate::distributed::mpi::Mpi::start(Arc::clone(stop));
        mpi.map(Self::Many)
            .ok_or_else(|| Error::Usage("mpirun: MPI does not start in this process".to_owned()))
    }

    #[cfg(not(feature = "mpi"))]
    fn many(_: &Arc<AtomicBool>) -> Result<Self, Error> {
        Err(Error::Usage(
            "mpirun: this build knows nothing of MPI, so that each process would do the whole job; build it with `cargo build --release --features mpi`, or run it without mpirun"
                .to_owned(),
        ))
    }

    /// How they talk to each other.
    pub(super) fn group(&self) -> &dyn Communicator {
        match self {
            Self::One => &Alone,
            #[cfg(feature = "mpi")]
            Self::Many(mpi) => mpi.talk(),
        }
    }

    /// Ends the run of a process that has come to this: what it says, and its exit code, which is that of the
    /// first one where that came to its end.
    pub(super) fn end(self, outcome: Printed) -> Printed {
        match self {
            Self::One => outcome,
            #[cfg(feature = "mpi")]
            Self::Many(mpi) => {
                let follows = mpi.talk().rank() > 0;
                let ending = mpi.end(match &outcome {
                    Ok(outcome) => Ok(outcome.code),
                    Err(e) => Err(e.exit_code()),
                });
                let said = match &outcome {
                    // Who failed says why.
                    Err(Error::Absent(_)) => !follows,
                    // All of them see the same, and the first one says it.
                    Err(_) => !ending.told,
                    Ok(_) => !follows,
                };
                match said {
                    true => outcome,
                    false => Ok(Outcome::new(crate::screen::Screen::default(), ending.code)),
                }
            }
        }
    }
}
