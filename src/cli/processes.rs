//! Several processes of `mpirun` that run one command.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::{Cli, Command};
use crate::distributed::{Alone, Communicator, Ending, processes_started};
use crate::error::Error;

/// Set to 0, this variable says that each process is one by itself, whoever started it.
const SHARES: &str = "ONNX_BNNPRUNE_MPI";

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
        let alone = std::env::var(SHARES).is_ok_and(|v| v == "0");
        if alone || processes_started() < 2 {
            return Ok(Self::One);
        }
        match &cli.command {
            None | Some(Command::Train(_)) => Self::many(stop),
            Some(_) => Err(Error::Usage(format!(
                "mpirun: only the main job and train share their work; run this command without mpirun, or with {SHARES}=0 in each process"
            ))),
        }
    }

    #[cfg(feature = "mpi")]
    fn many(stop: &Arc<AtomicBool>) -> Result<Self, Error> {
        let mpi = crate::distributed::mpi::Mpi::start(Arc::clone(stop));
        let Some(mpi) = mpi.filter(|mpi| mpi.talk().size() > 1) else {
            return Err(Error::Usage(format!(
                "mpirun: {} processes were started, but the MPI that this program is built with does not find them: start them with its own mpirun, or set {SHARES}=0 if each is to do a job of its own",
                processes_started()
            )));
        };
        // The others would wait for a process that has panicked.
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            say(panic);
            std::process::abort();
        }));
        Ok(Self::Many(mpi))
    }

    #[cfg(not(feature = "mpi"))]
    fn many(_: &Arc<AtomicBool>) -> Result<Self, Error> {
        Err(Error::Usage(format!(
            "mpirun: this build knows nothing of MPI, so that each process would do the whole job; build it with `cargo build --release --features mpi`, run it without mpirun, or set {SHARES}=0 if each is to do a job of its own"
        )))
    }

    /// How they talk to each other.
    pub(super) fn communicator(&self) -> &dyn Communicator {
        match self {
            Self::One => &Alone,
            #[cfg(feature = "mpi")]
            Self::Many(mpi) => mpi.talk(),
        }
    }

    /// Ends the run of a process that has come to this with an exit code, or failed with one.
    pub(super) fn end(&self, code: Result<u8, u8>) -> Ending {
        match self {
            Self::One => Ending {
                code: code.unwrap_or_else(|code| code),
                told: false,
            },
            #[cfg(feature = "mpi")]
            Self::Many(mpi) => mpi.end(code),
        }
    }
}
