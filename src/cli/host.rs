//! Around a command: the program that it is, or that it runs in.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::distributed::Communicator;
use crate::error::Error;
use crate::progress::Observer;
use crate::screen::Screen;

/// How the tool is installed, where it is not a program of its own.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// A program and the arguments before the tool's own that make it a worker; `None`: the program
    /// that runs now.
    pub worker: Option<(PathBuf, Vec<OsString>)>,
    /// The folder in which ONNX Runtime's library came along with the tool.
    pub ort: Option<PathBuf>,
    /// The library of operators on bits that came along with the tool.
    pub operators: Option<PathBuf>,
}

/// Who has a command run.
pub struct Host<'a> {
    /// Who hears how far it is.
    pub observer: &'a dyn Observer,
    /// Set when it is to stop at the next batch; also what `observer` answers.
    pub stop: Arc<AtomicBool>,
    /// How the tool is installed.
    pub installation: &'a Installation,
    /// The processes that learn together; [`Alone`](crate::distributed::Alone) where there is one.
    pub processes: &'a dyn Communicator,
}

impl Host<'_> {
    /// Whether the command is to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a command has to say at its end.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its result, or JSON where that was asked for.
    pub screen: Screen,
    /// Whether standard output holds one of its files, so that the text belongs elsewhere.
    pub on_stderr: bool,
    /// Why the code is not 0, one line each.
    pub failures: Vec<String>,
    /// The exit code.
    pub code: u8,
}

impl Outcome {
    /// A result and an exit code.
    pub fn new(screen: Screen, code: u8) -> Self {
        Self {
            screen,
            code,
            ..Self::default()
        }
    }

    /// A program's text as the result, and an exit code.
    pub(super) fn verbatim(text: String, code: u8) -> Self {
        Self::new(Screen::verbatim(text), code)
    }

    /// The result as text without colour, in lines as long as they are.
    pub fn text(&self) -> String {
        self.screen.to_string()
    }

    /// Adds what could not be written: an error, unless the command had failed before.
    pub(super) fn and(mut self, written: Result<(), Error>) -> Self {
        if let Err(e) = written {
            self.failures.push(e.to_string());
            if self.code == 0 {
                self.code = e.exit_code();
            }
        }
        self
    }
}

/// As many threads for each core as still share it, without most of them waiting for one another.
const THREADS_A_CORE: usize = 8;

/// How many threads work, of those that were asked for (`None`: all cores). What comes out does not depend on it.
///
/// # Errors
/// If it is none.
pub(super) fn usable_threads(
    asked: Option<usize>,
    observer: &dyn Observer,
) -> Result<Option<usize>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let most = cores.saturating_mul(THREADS_A_CORE);
    match asked {
        Some(0) => Err(Error::Usage("--threads must be at least 1".to_owned())),
        Some(n) if n > most => {
            observer.warn(&format!(
                "--threads {n}: this machine runs {cores} at a time, and more than {most} would only wait for each other; {most} are used"
            ));
            Ok(Some(most))
        }
        asked => Ok(asked),
    }
}

/// Calls `f` with that many threads (`None`: all cores) that do the work of this call alone and end
/// with it: calls side by side do not share them, and a forked process has its own.
///
/// # Errors
/// If there are none, or they cannot be started.
pub(super) fn with_threads<T: Send>(
    threads: Option<usize>,
    f: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let number = threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(number)
        .stack_size(STACK)
        .build();
    match (pool, threads) {
        (Ok(pool), _) => pool.install(f),
        (Err(e), Some(n)) => Err(Error::Usage(format!("--threads {n}: {e}"))),
        (Err(e), None) => Err(Error::Usage(format!(
            "threads cannot be started: {e}; give --threads 1"
        ))),
    }
}

/// As a process's first thread has it.
const STACK: usize = 8 << 20;
